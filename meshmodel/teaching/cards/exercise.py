"""An exercise as a card: a box, a check that says what is wrong, hints one by one, the solution behind a button."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from meshmodel.teaching import journal, typed
from meshmodel.teaching.cards.card import BOX, Card, box, button
from meshmodel.teaching.exercises import Exercise
from meshmodel.teaching.words import fill, say

UNITS = {typed.SHARE: "a share, from 0 to 1", typed.SECONDS: "seconds", "ms": "milliseconds", "%": "percent", "yes/no": "yes or no"}


class ExerciseCard(Card):
    """See `Exercise` for what it asks; `solutions=False` leaves out the button for the solution."""

    def __init__(self, exercise: Exercise, number: int | None = None, solutions: bool = True) -> None:
        self.exercise, self.solutions = exercise, solutions
        self.hints, self.solved, self.told = 0, False, False
        self.title = f"Exercise {number}" if number else "Exercise"
        minutes = f"about {_minutes(exercise.minutes)}" if exercise.minutes else ""
        choices = exercise.choices or (("yes", "no") if exercise.unit == "yes/no" else ())
        answer = box("Your answer", unit="" if choices else UNITS.get(exercise.unit, exercise.unit), choices=choices)
        super().__init__(
            {
                "kind": "exercise",
                "label": f"{self.title}: {exercise.objective}".rstrip(": "),
                "title": self.title,
                "chips": [{"label": text} for text in (exercise.objective, minutes) if text],
                "text": inline(exercise.question),
                "fields": [answer],
            }
        )
        self._say("", "note")

    def act(self, pressed: str, values: Sequence[str]) -> None:
        if pressed == "hint":
            self.hints = min(self.hints + 1, len(self.exercise.hints))
            self._say("", "note")
        elif pressed == "solution" and self.solutions:
            self.told = True
            self._note()
            self._say("", "note")
        elif pressed == "check":
            self._check(values[0] if values else "")

    def _check(self, text: str) -> None:
        if callable(self.exercise.answer):
            self.show(says="Computing the answer ...", tone="note")
        verdict = self.exercise.judge(self.exercise.read(text))
        self.solved = self.solved or verdict.right
        self._note()
        says, _, why = verdict.says.partition(": ")
        told = says[0].upper() + says[1:]
        more = " There is a hint, if you want one." if not verdict.right and self.hints < len(self.exercise.hints) else ""
        self._say(fill(f"{told}: {{}}.{more}", why) if why else fill(f"{told}.{more}"), "right" if verdict.right else "wrong")

    def _note(self) -> None:
        says = "solved" if self.solved else "solution read" if self.told else "begun"
        title = f"{self.title}: {self.exercise.objective or self.exercise.name}"
        journal.note(self.exercise.name, journal.Entry("exercise", title, says, says != "begun"))

    def _say(self, says: str, tone: str) -> None:
        count = len(self.exercise.hints)
        buttons = [button("check", "Check", first=True)]
        if self.hints < count:
            buttons.append(button("hint", f"Hint {self.hints + 1} of {count}"))
        if self.solutions and not self.told:
            buttons.append(button("solution", "Show the solution"))
        self.show(says=says, tone=tone, buttons=buttons, parts=self._parts(), done=self.solved)

    def _parts(self) -> list[dict[str, str]]:
        hints = [{"title": f"Hint {k}", "html": inline(hint)} for k, hint in enumerate(self.exercise.hints[: self.hints], 1)]
        return hints + ([{"title": "Solution", "html": self._solution()}] if self.told else [])

    def _solution(self) -> str:
        answer = inline(f"Answer: {typed.readable(self.exercise.expected)}")
        says, _, code = self.exercise.solution.partition("\n\n")
        return f"<p>{answer}</p>" + (f"<p>{inline(says)}</p>" if says else "") + (f"<pre>{escape(code)}</pre>" if code else "")

    def _told(self) -> list[str]:
        return [chip["label"] for chip in self.spec["chips"]]

    def text(self) -> str:
        told = f" ({'; '.join(self._told())})" if self._told() else ""
        question = f" {self.exercise.question}" if self.exercise.question else ""
        return f"{self.title}{told}.{question} Without a box to type into: ask.check({self.exercise.name!r}, your answer)"

    def html(self) -> str:
        text = f"<p>{inline(self.exercise.question)}</p>" if self.exercise.question else ""
        told = " · ".join(map(inline, self._told()))
        run = inline("Run the notebook to answer it here.")
        return f'<div style="{BOX}"><b>{inline(self.title)}</b> {told}{text}<p>{run}</p></div>'


def inline(text: str) -> str:
    """A line of text as HTML, in the reader's language; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(say(text), quote=False))


def _minutes(minutes: Any) -> str:
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"
