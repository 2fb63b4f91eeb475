"""Exercises: the answer is computed by the engines, never written down, and a wrong one is told what is wrong with it.

An exercise is a function that computes the answer; its docstring and its body are the solution that a
reader may ask for:

    @exercise(objective="read a share from a record", minutes=2, unit="share", tolerance=0.0005,
              hints=["Slow requests are those of the last bucket."],
              mistakes=[Mistake(lambda: 277 / 1782, "that is slow over fast: the question asks for slow over all")])
    def slow_share():
        '''The last bucket holds 277 of 2059 requests.'''
        return 277 / 2059

    check("slow_share", 0.13)        # prints one line; cards.exercise has the card

Nothing is counted against anybody: a wrong answer says how far it is off, and the next hint.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshmodel.teaching import typed
from meshmodel.teaching.copies import ExerciseError, student_copy
from meshmodel.teaching.solution import explained

__all__ = ["Exercise", "ExerciseError", "Mistake", "check", "exercise", "find", "register", "student_copy"]

_exercises: dict[str, Exercise] = {}


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give (a value, or a function that computes it), and what is wrong with it.

    `tolerance` is the exercise's own where it is not given.
    """

    answer: Any
    says: str
    tolerance: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What is said about an answer."""

    right: bool
    says: str


@dataclass
class Exercise:
    """One question.

    Parameters
    ----------
    answer : the value, or a function that computes it (called once, when first needed).
        A number, a text, a truth value, or a sequence or mapping of them.
    tolerance : how far a number may be off, in the answer's own unit.
    hints : shown one by one.
    mistakes : what people usually answer instead.
    unit : `share` (0 to 1), `s`, or any other words, shown beside the box.
    choices : the texts to choose from, where the answer is one of them.
    name, question, objective, minutes : what the card is headed by.
    solution : what a reader is shown who asks for it; default: see `solution.explained`.
    """

    answer: Any
    tolerance: float = 0.0
    hints: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()
    unit: str = ""
    choices: Sequence[str] = ()
    name: str = "exercise"
    question: str = ""
    objective: str = ""
    minutes: int | None = None
    solution: str = ""
    tries: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise ExerciseError(f"tolerance: must be zero or more, got {self.tolerance!r}")
        if callable(self.answer) and not self.solution:
            self.solution = explained(self.answer)

    @property
    def expected(self) -> Any:
        """The answer, computed where it is a function."""
        if callable(self.answer):
            self.answer = self.answer()
        return self.answer

    def holds(self, value: Any) -> bool:
        """Whether `value` is the answer, to the tolerance."""
        return typed.same(value, self.expected, self.tolerance)

    def read(self, text: str) -> Any:
        """What somebody typed, as a value that may be the answer.  Raises ValueError, saying what to write."""
        return typed.read(text, self.expected, self.unit)

    def judge(self, value: Any) -> Verdict:
        """Right, or what is wrong with it: the slip or the usual mistake that leads there, else how far it is off."""
        if self.holds(value):
            return Verdict(True, f"correct: {typed.readable(self.expected)}")
        known = [mistake.says for mistake in self.mistakes if self._is(mistake, value)]
        says = known[:1] or [typed.slip(value, self.expected, self.tolerance, self.unit)]
        return Verdict(False, "not yet" + "".join(f": {text}" for text in (says[0] or typed.distance(value, self.expected),) if text))

    def _is(self, mistake: Mistake, value: Any) -> bool:
        wrong = mistake.answer() if callable(mistake.answer) else mistake.answer
        return typed.same(value, wrong, self.tolerance if mistake.tolerance is None else mistake.tolerance)

    def check(self, value: Any) -> None:
        """Print whether `value` is the answer; None means that nobody has tried yet."""
        print(self.verdict(value))

    def verdict(self, value: Any) -> str:
        """The line that `check` prints; each wrong value brings the next hint."""
        if value is None:
            return "not tried yet: replace None by your answer"
        verdict = self.judge(value)
        if verdict.right:
            return verdict.says
        self.tries += 1
        if not self.hints:
            return verdict.says
        number = min(self.tries, len(self.hints))
        return f"{verdict.says}; hint {number} of {len(self.hints)}: {self.hints[number - 1]}"

    def given(self, **values: Any) -> Exercise:
        """The exercise about things of the notebook's own: its functions get those of the values that they ask for."""
        settings = {name: getattr(self, name) for name, known in self.__dataclass_fields__.items() if known.init}
        mistakes = [replace(mistake, answer=_bound(mistake.answer, values)) for mistake in self.mistakes]
        return Exercise(**{**settings, "answer": _bound(self.answer, values), "mistakes": mistakes})


def exercise(name: str | None = None, answer: Any = None, **settings: Any) -> Any:
    """Register an exercise and return it: `exercise("name", answer, hints=...)`, or as a decorator of the function that computes it.

    Registered again, an exercise forgets the tries so far.  See `Exercise` for the settings.
    """
    if answer is None:
        return lambda function: exercise(name or function.__name__, function, **settings)
    assert name is not None
    return register(Exercise(answer, **{**settings, "name": name}))


def register(one: Exercise) -> Exercise:
    """Make `one` known by its name, to `check` and `find`."""
    _exercises[one.name] = one
    return one


def check(name: str, value: Any) -> None:
    """Check `value` against the registered exercise `name` and print the verdict.

    Raises
    ------
    ExerciseError : no exercise of that name was registered.
    """
    find(name).check(value)


def find(name: str) -> Exercise:
    """The registered exercise of that name.  Raises ExerciseError."""
    if name not in _exercises:
        known = ", ".join(sorted(_exercises)) or "none yet: run the notebook from the top"
        raise ExerciseError(f"no exercise {name!r}; there are: {known}")
    return _exercises[name]


def _bound(function: Any, given: Mapping[str, Any]) -> Any:
    """`function` with those of the values that it asks for; what is no function stays as it is."""
    if not callable(function):
        return function
    wanted = {name: given[name] for name in inspect.signature(function).parameters if name in given}
    return lambda: function(**wanted)
