"""A value of a manifest, which knows its path and place and reads itself or says why it cannot.

dr.yaml document 1 line 9: DestinationRule simple-backend-dr spec.host: must be text, got 7
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshmodel._text import InputError, nearest, quoted
from meshmodel.fakeservice import parse_duration

_LONGEST_PATH = 200


class ManifestError(InputError):
    """A manifest that cannot be what its author means; one line that says where and why.

    `problems`: every problem that was found, a line each; the error itself is one line of as many of them as fit.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (str(self),)


def together(problems: Sequence[ManifestError]) -> ManifestError:
    """One error of several."""
    lines = list(dict.fromkeys(line for problem in problems for line in problem.problems))
    if len(lines) == 1:
        return problems[0]
    more = f" (and {len(lines) - 1} more problem{'s' if len(lines) > 2 else ''}: {'; '.join(lines[1:])})"
    return ManifestError(lines[0] + more, lines)


@dataclass(frozen=True)
class Place:
    """Where a value stands: `source` (a file's name), `document` from 1, `line` from 1 (0: not from YAML)."""

    source: str
    document: int = 1
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source} document {self.document}" + (f" line {self.line}" if self.line else "")


@dataclass(frozen=True)
class Field:
    """A value of a manifest with its path and place.  Mappings and lists hold `Field`s."""

    value: Any
    place: Place
    path: str = ""
    owner: str = ""

    def error(self, rule: str) -> ManifestError:
        """The error to raise because this field breaks `rule`."""
        what = " ".join(part for part in (self.owner, self.path) if part)
        return ManifestError(f"{self.place}: {what}: {rule}" if what else f"{self.place}: {rule}")

    def wrong(self, rule: str) -> ManifestError:
        """As `error`, quoting the value."""
        return self.error(f"{rule}, got {quoted(self.plain())}")

    def plain(self) -> Any:
        """The value as ordinary dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {name: field.plain() for name, field in self.value.items()}
        return [field.plain() for field in self.value] if isinstance(self.value, list) else self.value

    def named(self, owner: str) -> Field:
        """The same tree, every field of it saying that it belongs to `owner`."""
        value = self.value
        if isinstance(value, dict):
            value = {name: field.named(owner) for name, field in value.items()}
        elif isinstance(value, list):
            value = [field.named(owner) for field in value]
        return replace(self, value=value, owner=owner)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> Field | None:
        """The field `name` of a mapping; None where it is absent or null."""
        found = self.mapping().get(name)
        return None if found is None or found.value is None else found

    def get_or(self, name: str, default: Any) -> Field:
        """The field `name` of a mapping; where it is absent or null, one of the value `default`."""
        found = self.get(name)
        return Field(default, self.place, join(self.path, name), self.owner) if found is None else found

    def need(self, name: str) -> Field:
        """The field `name` of a mapping, which must be there."""
        found = self.get(name)
        if found is None:
            raise self.error(f"needs the field {name!r}")
        return found

    def mapping(self) -> dict[str, Field]:
        if not isinstance(self.value, dict):
            raise self.wrong("must be a mapping")
        return self.value

    def items(self) -> list[Field]:
        if not isinstance(self.value, list):
            raise self.wrong("must be a list")
        return self.value

    def only(self, *known: str, refused: Mapping[str, str] | None = None) -> Field:
        """Refuse every field but `known`; `refused` says why a field that Istio has is not taken."""
        refused, problems = refused or {}, []
        for name, field in self.mapping().items():
            if name not in known:
                near = nearest(name, [*known, *refused])
                problems.append(field.error(refused.get(name, f"unknown field{f', did you mean {near!r}?' if near else ''}")))
        if problems:
            raise together(problems)
        return self

    def read(self, table: Table) -> dict[str, Any]:
        """The fields that are there, each under the name and as the type that `table` has for it."""
        return {name: read(self.need(field)) for field, (name, read) in table.items() if field in self}

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("must be text")
        return self.value

    def name(self) -> str:
        """A name without a rule of its own: printable, at most 253 characters, no space around it (`names` has those with one)."""
        text = self.text()
        if not text or len(text) > 253 or text != text.strip() or not text.isprintable():
            raise self.wrong("must be a name")
        return text

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("must be true or false")
        return self.value

    def integer(self, low: int = 0, high: int = 2**31 - 1) -> int:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong("must be a whole number")
        if not low <= value <= high:
            raise self.wrong(f"must be {low} or more" if high >= 2**31 - 1 and value < low else f"must be from {low} to {high}")
        return value

    def number(self, low: float, high: float) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong("must be a number")
        if not low <= value <= high:
            raise self.wrong(f"must be from {low:g} to {high:g}")
        return float(value)

    def duration(self, low: float = 0.001) -> float:
        """Seconds of a duration in Go's syntax ("1.5s", "300ms", "1m30s"), at least `low`."""
        text = self.text()
        try:
            seconds = parse_duration(text, "", negative=True)
        except ValueError as problem:
            raise self.error(str(problem).removeprefix(": ")) from None
        if seconds < low:
            raise self.wrong("must not be negative" if low == 0 else "must be 1ms or more")
        return seconds

    def choice(self, *words: str) -> str:
        if isinstance(self.value, str) and self.value in words:
            return self.value
        near = nearest(self.value, words) if isinstance(self.value, str) else None
        known = f"must be one of {', '.join(words)}" if len(words) < 10 or not near else "is unknown"
        raise self.wrong(f"{known} (did you mean {near}?)" if near else known)

    def texts(self) -> dict[str, str]:
        """A mapping of names to text, as annotations are."""
        return {name: field.text() for name, field in self.mapping().items()}


Table = Mapping[str, tuple[str, Callable[[Field], Any]]]
"""For `Field.read`: a field's name to the name that it takes and what reads it."""


def join(path: str, name: str | int) -> str:
    """The path of a field of a mapping or list; of a very long one the end, so that the paths of a deep tree stay small."""
    longer = f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}" if path else name
    return longer if len(longer) <= _LONGEST_PATH else "..." + longer[3 - _LONGEST_PATH :]
