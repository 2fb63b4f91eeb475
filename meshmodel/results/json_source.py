"""JSON from outside, each value with its path.

Refused, though Python would take them: a key that stands twice in one object, NaN and infinities, numbers beyond 64 bits
or the largest float, nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from meshmodel._text import InputError, quoted, shortened

MAX_DEPTH = 60
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class _Strange(ValueError):
    """A word of the text that is no JSON, as `word`; why, as the message."""

    def __init__(self, word: str, why: str) -> None:
        super().__init__(why)
        self.word = word


def parse(content: str, name: str, error: type[InputError], first: int | None = None) -> Any:
    """The value of a JSON text; `first`: the number of its first line, where it is a part of a file.

    Raises `error` with the file's name, and line or key.
    """

    def at(offset: int) -> str:
        return f"{name} line {(first or 1) + content.count(chr(10), 0, offset)}"

    if (deep := _too_deep(content)) is not None:
        raise error(f"{at(deep)}: not JSON that anybody writes: nested more than {MAX_DEPTH} levels deep")
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_constant, parse_int=_int, parse_float=_float)
    except json.JSONDecodeError as problem:
        raise error(f"{at(problem.pos)}: not JSON: {problem.msg}") from None
    except _Strange as problem:
        raise error(f"{at(max(0, content.find(problem.word)))}: not JSON: {problem}, got {quoted(problem.word, 40)}") from None
    except KeyError as problem:
        where = name if first is None else at(0)
        raise error(f"{where}: {quoted(problem.args[0], 60)}: stands twice in one object") from None


def among_lines(content: str, name: str, error: type[InputError]) -> Iterator[Mapping[str, Any]]:
    """The objects that stand in a text of other lines, one a line or from a line `{` to the next line `}`; logs are such lines too.

    Raises `error` for one that has fortio's field DurationHistogram and is no JSON.
    """
    for first, part in _objects(content.splitlines()):
        try:
            found = parse(part, name, error, first)
        except error:
            if '"DurationHistogram"' in part:
                raise
            continue
        if isinstance(found, Mapping):
            yield found


def _objects(lines: list[str]) -> Iterator[tuple[int, str]]:
    """The number of its first line, and the text."""
    opened: list[str] = []
    for number, line in enumerate(lines, 1):
        if opened or line.rstrip() == "{":
            opened.append(line)
            if line.rstrip() == "}":
                yield number - len(opened) + 1, "\n".join(opened)
                opened = []
        elif line.startswith("{"):
            yield number, line


def _too_deep(content: str) -> int | None:
    """Where the text is nested too deeply."""
    depth = 0
    for token in _TOKENS.finditer(content):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            return token.start()
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise KeyError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _constant(word: str) -> NoReturn:
    raise _Strange(word, "no number")


def _int(word: str) -> int:
    if len(word) > 20 or not -(2**63) <= int(word) < 2**64:
        raise _Strange(word, "a number of more than 64 bits")
    return int(word)


def _float(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise _Strange(word, "a number too large")
    return number


class Fields:
    """Typed access to a JSON object of the file `name`; a missing or ill-typed key raises `error` with its full path."""

    def __init__(self, value: Any, path: str, name: str, error: type[InputError]) -> None:
        if not isinstance(value, Mapping):
            raise error(f"{name}: {path}: must be an object, got {type(value).__name__}")
        self.value, self.path, self.name, self.error = value, path, name, error

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def keys(self) -> Iterator[str]:
        return iter(self.value)

    def fail(self, key: str, rule: str) -> NoReturn:
        """Raise the error to raise because the value of `key` breaks `rule`."""
        raise self.error(f"{self.name}: {self._under(key)}: {rule}, got {shortened(str(self.value.get(key, 'nothing')), 40)}")

    def _under(self, key: str) -> str:
        name = shortened(str(key), 60)
        return f"{self.path}.{name}" if self.path else name

    def fields(self, key: str) -> Fields:
        """The object of `key`."""
        return Fields(self.value.get(key), self._under(key), self.name, self.error)

    def text(self, key: str) -> str:
        value = self.value.get(key)
        if not isinstance(value, str):
            self.fail(key, "must be text")
        return value

    def status(self, key: str) -> int:
        """A key that is an HTTP status, or -1: nobody answered."""
        if not re.fullmatch("-?(0|[1-9][0-9]{0,2})", key):
            self.fail(key, "must be an HTTP status")
        return int(key)

    def number(self, key: str, low: float = 0.0, null: bool = False) -> float:
        """A finite number of at least `low`; where `null` is allowed, NaN for it."""
        value = self.value.get(key)
        if null and value is None and key in self.value:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1.7e308:
            self.fail(key, "must be a number" + (", zero or more" if low == 0 else ""))
        return float(value)

    def whole(self, key: str) -> int:
        value = self.value.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            self.fail(key, "must be a whole number, zero or more")
        return value

    def column(self, key: str, rule: str, fits: Callable[[Any], bool]) -> list[Any]:
        """The values of a list, all of which fit; else the error names the first that does not."""
        values = self.value.get(key)
        if not isinstance(values, list):
            self.fail(key, "must be a list")
        for i, value in enumerate(values):
            if not fits(value):
                raise self.error(f"{self.name}: {self._under(key)}[{i}]: {rule}, got {shortened(str(value), 40)}")
        return values

    def rows(self, key: str) -> list[Fields]:
        """The objects of a list."""
        value = self.value.get(key)
        if value is None and key in self.value:
            return []  # as Go writes an empty list
        if not isinstance(value, list):
            self.fail(key, "must be a list")
        return [Fields(row, f"{self._under(key)}[{i}]", self.name, self.error) for i, row in enumerate(value)]
