"""Self-checking exercises: the answer is computed by the engines, never written down.

A notebook states the question in prose and registers how the answer is found; the
student's value is then checked to a stated tolerance.  One deterministic line is
printed, so the cell passes a strict comparison of outputs:

    exercise("slow share", answer=lambda: 1 / mesh.predict(...).pods ** 2, tolerance=0.005,
             hints=["How often do both draws give the slow pod?"])
    check("slow share", None)      # not tried yet: replace None by your answer

Solution cells carry the tag `solution`; `student_copy` leaves them out.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshmodel import _files

SOLUTION_TAG = "solution"
"""The tag of the cells that a student's copy leaves out."""

_exercises: dict[str, Exercise] = {}


class ExerciseError(ValueError):
    """An exercise that does not exist, or a notebook that cannot be copied."""


@dataclass
class Exercise:
    """One question.

    Parameters
    ----------
    answer : the value, or a function that computes it (called once, when first needed).
        A number, a text, a truth value, or a sequence or mapping of them.
    tolerance : how far a number may be off, in the answer's own unit.
    hints : shown one more with each wrong try, then the last again.
    """

    answer: Any
    tolerance: float = 0.0
    hints: Sequence[str] = ()
    tries: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise ExerciseError(f"tolerance: must be zero or more, got {self.tolerance!r}")

    @property
    def expected(self) -> Any:
        """The answer, computed where it is a function."""
        if callable(self.answer):
            self.answer = self.answer()
        return self.answer

    def holds(self, value: Any) -> bool:
        """Whether `value` is the answer, to the tolerance."""
        return _same(value, self.expected, self.tolerance)

    def check(self, value: Any) -> None:
        """Print whether `value` is the answer; None means that nobody has tried yet."""
        print(self.verdict(value))

    def verdict(self, value: Any) -> str:
        """The line that `check` prints; a wrong value counts as a try."""
        if value is None:
            return "not tried yet: replace None by your answer"
        if self.holds(value):
            return f"correct: {_readable(self.expected)}"
        self.tries += 1
        if not self.hints:
            return "not yet: try again"
        number = min(self.tries, len(self.hints))
        return f"not yet: hint {number} of {len(self.hints)}: {self.hints[number - 1]}"


def exercise(name: str, answer: Any | Callable[[], Any], *, tolerance: float = 0.0, hints: Sequence[str] = ()) -> Exercise:
    """Register the exercise `name` (again: forget the tries so far) and return it; see `Exercise`."""
    _exercises[name] = Exercise(answer, tolerance, tuple(hints))
    return _exercises[name]


def check(name: str, value: Any) -> None:
    """Check `value` against the registered exercise `name` and print the verdict.

    Raises
    ------
    ExerciseError : no exercise of that name was registered.
    """
    if name not in _exercises:
        known = ", ".join(sorted(_exercises)) or "none yet: run the notebook from the top"
        raise ExerciseError(f"no exercise {name!r}; there are: {known}")
    _exercises[name].check(value)


def student_copy(notebook: str | Path, destination: str | Path) -> Path:
    """Write `notebook` without its solution cells and without outputs to `destination`.

    Raises
    ------
    ExerciseError : `notebook` is missing or no notebook.
    ValueError : `destination` is the notebook itself.
    """
    import nbformat
    from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

    _files.refuse_overwriting(destination, [notebook])
    try:
        original = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as problem:
        raise ExerciseError(f"{notebook}: cannot be read as a notebook: {str(problem).splitlines()[0]}") from problem
    copy, _ = TagRemovePreprocessor(remove_cell_tags={SOLUTION_TAG}).preprocess(original, {})
    copy, _ = ClearOutputPreprocessor().preprocess(copy, {})
    _files.write(destination, nbformat.writes(copy).rstrip("\n") + "\n")
    return Path(destination)


def _same(value: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str):
        return isinstance(value, str) and value.strip().casefold() == expected.strip().casefold()
    if isinstance(expected, bool):
        return value is expected
    if isinstance(expected, numbers.Real):
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return number and abs(float(value) - float(expected)) <= tolerance
    if isinstance(expected, Mapping):
        same_keys = isinstance(value, Mapping) and value.keys() == expected.keys()
        return same_keys and all(_same(value[key], expected[key], tolerance) for key in expected)
    expected = list(expected)
    sized = not isinstance(value, str) and hasattr(value, "__len__") and len(value) == len(expected)
    return sized and all(_same(v, e, tolerance) for v, e in zip(value, expected, strict=True))


def _readable(value: Any) -> str:
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, numbers.Real):
        return f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_readable(item)}" for key, item in value.items())
    return ", ".join(map(_readable, value))
