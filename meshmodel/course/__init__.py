"""The course's own content: each chapter's exercises with their answers, the glossary, the questions that people really ask.

from meshmodel.course import exercises
ask = exercises(0)           # of chapter 0
ask("slow_share")            # a card
ask.check("slow_share", 0.1) # the same in a line of text, where no card is or answers are handed in
ask.summary()                # what you did
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from meshmodel.teaching.cards.exercise import ExerciseCard
from meshmodel.teaching.cards.summary import Summary
from meshmodel.teaching.exercises import Exercise, ExerciseError, check, register

TITLES = {
    "0": "The testbed",
    "1": "Load balancing",
    "2": "Locality and ejection",
    "3": "Timeout",
    "4": "Retry",
    "5": "Circuit breaking",
    "6": "Your own mesh",
}
"""Chapter -> what it is called in a line."""


class Exercises:
    """The exercises of one chapter, in order; see `exercises`."""

    def __init__(self, chapter: str, solutions: bool) -> None:
        self.chapter, self.solutions = chapter, solutions
        module = import_module(f"meshmodel.course.chapter{chapter}")
        self.all = [found for found in vars(module).values() if isinstance(found, Exercise)]
        for one in self.all:
            register(one)

    def __iter__(self) -> Iterator[Exercise]:
        return iter(self.all)

    def __call__(self, name: str, **given: Any) -> ExerciseCard:
        """The card of the exercise `name`; what else is given are things of the notebook's own that it is about.

        Raises
        ------
        ExerciseError : the chapter has no such exercise.
        """
        names = [one.name for one in self.all]
        if name not in names:
            raise ExerciseError(f"no exercise {name!r}; there are: {', '.join(names)}")
        number = names.index(name)
        asked = register(self.all[number].given(**given)) if given else self.all[number]
        return ExerciseCard(asked, number + 1, self.solutions)

    def check(self, name: str, value: Any) -> None:
        """Print whether `value` answers the exercise `name`, and what is wrong with it; see `exercises.check`."""
        check(name, value)

    def summary(self) -> Summary:
        """What the reader did in this session, and what is left."""
        return Summary(TITLES[self.chapter], self.all)


def exercises(chapter: int | str, solutions: bool = True) -> Exercises:
    """The exercises of a chapter; without `solutions` their cards have no button that shows one.

    Raises
    ------
    ExerciseError : there is no such chapter.
    """
    if str(chapter) not in TITLES:
        raise ExerciseError(f"no chapter {chapter!r}; there are: {', '.join(TITLES)}")
    return Exercises(str(chapter), solutions)
