"""The summary at the end of a chapter: what a reader did, and what is left, with no marks."""

from __future__ import annotations

from collections.abc import Sequence

from meshmodel.teaching import journal
from meshmodel.teaching.cards.card import BOX, Card
from meshmodel.teaching.cards.exercise import inline
from meshmodel.teaching.exercises import Exercise


class Summary(Card):
    """Follows the guesses and exercises of the session; `exercises` are those of the chapter, in order."""

    def __init__(self, title: str, exercises: Sequence[Exercise]) -> None:
        self.title, self.exercises = title, exercises
        super().__init__({"kind": "summary", "label": f"What you did: {title}", "title": "What you did"})
        self.refresh()
        journal.listen(title, self.refresh)

    def act(self, pressed: str, values: Sequence[str]) -> None:
        """A summary has no buttons."""

    def refresh(self) -> None:
        """Tell what was done by now."""
        parts = [{"title": title, "html": _list(lines)} for title, lines in self._lines().items() if lines]
        self.show(says="" if self._begun() else self._todo(), tone="note", parts=parts if self._begun() else [])

    def _begun(self) -> bool:
        names = {exercise.name for exercise in self.exercises}
        return bool(journal.entries("guess") or names & journal.entries("exercise").keys())

    def _lines(self) -> dict[str, list[tuple[str, str]]]:
        """Title -> what is told below it, each line a thing and what is said of it."""
        done = journal.entries("exercise")
        tried = [(f"{e.objective or e.name}:", done[e.name].says) for e in self.exercises if e.name in done]
        left = [(e.objective or e.name, f"({e.minutes:g} min)" if e.minutes else "") for e in self.exercises if e.name not in done]
        guesses = [(entry.title, f"{entry.says[0].upper()}{entry.says[1:]}") for entry in journal.entries("guess").values()]
        return {"Your guesses": guesses, "Exercises": tried, "Still to do": left}

    def _todo(self) -> str:
        minutes = sum(exercise.minutes or 0 for exercise in self.exercises)
        number = len(self.exercises)
        about = f", about {minutes:g} minutes" if minutes else ""
        return f"Nothing yet in this session. The chapter has {number} exercise{'' if number == 1 else 's'}{about}, and its guesses."

    def text(self) -> str:
        lines = [" ".join(line).rstrip() for part in self._lines().values() for line in part] if self._begun() else [self._todo()]
        return "\n".join([f"What you did: {self.title}", *lines])

    def html(self) -> str:
        return f'<div style="{BOX}"><b>{inline("What you did")}</b><p>{inline(self._todo())}</p></div>'


def _list(lines: Sequence[tuple[str, str]]) -> str:
    return f"<ul>{''.join(f'<li>{inline(thing)} {inline(says)}</li>' for thing, says in lines)}</ul>"
