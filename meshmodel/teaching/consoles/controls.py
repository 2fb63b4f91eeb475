"""What a console is made of, as data: its controls, what its function answers, and what takes long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import yaml

from meshmodel._text import InputError, quoted
from meshmodel.teaching.picture import Picture

Settings = SimpleNamespace
"""The values of all controls, an attribute each."""


@dataclass(frozen=True)
class Slider:
    """A number from `least` to `most` in steps of `step`, or one of `stops` (then those three are left out)."""

    name: str
    label: str
    start: float
    least: float = 0
    most: float = 1
    step: float = 1
    unit: str = ""
    stops: Sequence[float] = ()

    def spec(self) -> dict[str, Any]:
        """What the browser is told."""
        kind = {"kind": "slider", "name": self.name, "label": self.label, "unit": self.unit}
        if self.stops:
            return {**kind, "least": 0, "most": len(self.stops) - 1, "step": 1, "stops": list(self.stops)}
        return {**kind, "least": self.least, "most": self.most, "step": self.step}

    def checked(self, value: Any) -> float:
        """The value at the next step; an int where all steps are whole.  Raises InputError."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{self.label}: must be a number, got {quoted(value)}")
        if self.stops:
            return min(self.stops, key=lambda stop: abs(stop - value))
        if not self.least <= value <= self.most:
            raise InputError(f"{self.label}: must be from {self.least:g} to {self.most:g}, got {value:g}")
        at = self.least + round((value - self.least) / self.step) * self.step
        return round(at) if float(self.step).is_integer() and float(self.least).is_integer() else round(min(at, self.most), 9)

    def says(self, value: Any) -> str:
        """The value as a reader is told it."""
        return f"{value:g}{' ' * bool(self.unit)}{self.unit}"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    name: str
    label: str
    start: str
    options: Sequence[str]

    def spec(self) -> dict[str, Any]:
        """What the browser is told."""
        return {"kind": "choice", "name": self.name, "label": self.label, "options": list(self.options), "labels": list(self.options)}

    def checked(self, value: Any) -> str:
        """The value.  Raises InputError."""
        if value not in self.options:
            raise InputError(f"{self.label}: must be one of {', '.join(self.options)}, got {quoted(value)}")
        return str(value)

    def says(self, value: Any) -> str:
        """The value as a reader is told it."""
        return str(value)


@dataclass(frozen=True)
class Toggle:
    """On or off."""

    name: str
    label: str
    start: bool

    def spec(self) -> dict[str, Any]:
        """What the browser is told."""
        return {"kind": "toggle", "name": self.name, "label": self.label}

    def checked(self, value: Any) -> bool:
        """The value.  Raises InputError."""
        if not isinstance(value, bool):
            raise InputError(f"{self.label}: must be true or false, got {quoted(value)}")
        return value

    def says(self, value: Any) -> str:
        """The value as a reader is told it."""
        return "on" if value else "off"


@dataclass(frozen=True)
class Text:
    """A text of several lines, such as YAML; a file may be dropped onto it.  What `Result.marks` says of its lines stands below it."""

    name: str
    label: str
    start: str
    rows: int = 14

    def spec(self) -> dict[str, Any]:
        """What the browser is told."""
        return {"kind": "text", "name": self.name, "label": self.label, "rows": self.rows}

    def checked(self, value: Any) -> str:
        """The text.  Raises InputError."""
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            raise InputError(f"{self.label}: must be a text of at most {MOST_TEXT:,} characters")
        return value

    def says(self, value: Any) -> str:
        """That there is a text, not the whole of it."""
        return f"{len(str(value).splitlines())} lines"


MOST_TEXT = 1_000_000

Control = Slider | Choice | Toggle | Text


@dataclass(frozen=True)
class Result:
    """What a console shows.

    figure : draws the picture at a width in inches; called again when the reader's page changes its width.
    status : one sentence, which a screen reader says at every move: the finding.
    table : HTML, as `tables.table` makes it.  text : shown letter by letter, such as fortio's.
    yaml : what `kubectl apply -f` would take.  beside : what it is held against, such as "the tutorial's run of RANDOM".
    page : (file name, HTML) that the reader may open or save.
    marks : name of a `Text` -> (line, "error" or "warning", words) of what is to be said of its lines.
    data : whatever a notebook or a test wants of it.
    """

    figure: Callable[[float], Picture]
    status: str
    table: str = ""
    yaml: str = ""
    text: str = ""
    beside: str = ""
    page: tuple[str, str] | None = None
    marks: Mapping[str, Sequence[tuple[int, str, str]]] = field(default_factory=dict)
    data: Any = None

    def __repr__(self) -> str:
        return self.status


Progress = Callable[[float], None]


@dataclass(frozen=True)
class Action:
    """A button for what takes long: `run(settings, progress, cancel)` with a share done and a `threading.Event`.

    `missing` says why it cannot be done here; empty: it can.
    """

    label: str
    run: Callable[[Settings, Progress, Any], Result]
    missing: str = ""


def yaml_of(*manifests: Mapping[str, Any]) -> str:
    """Manifests as `kubectl apply -f` takes them."""
    return "---\n".join(yaml.safe_dump(dict(manifest), sort_keys=False, width=100) for manifest in manifests)
