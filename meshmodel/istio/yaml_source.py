"""Kubernetes YAML with the position of every field, so that an error can point at it.

`resources(source)` turns a path, YAML text, a dict, or a list of those into `Field` trees,
one a resource.  A `Field` knows its value, its path ("spec.trafficPolicy ...") and where it
stands, and reads itself as a typed value or raises a one-line `ManifestError`:

    dr.yaml document 1 line 9: DestinationRule simple-backend-dr spec.host: must be text, got 7

Hostile input is refused before it costs time: more than 1 MB, deep nesting, aliases that
expand to more than `MAX_NODES` values, bytes that are no UTF-8 text.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from meshmodel.fakeservice import parse_duration

MAX_BYTES = 1_000_000
MAX_DEPTH = 60
MAX_NODES = 50_000
MAX_MESSAGE = 500
SUFFIXES = (".yaml", ".yml", ".json")
"""Of the files that are read of a folder."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Source = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any]


class ManifestError(ValueError):
    """A manifest that cannot be what its author means; one line that says where and why."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())  # a name in a manifest may hold line breaks, or be endless
        super().__init__(line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "...")


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
        return self.error(f"{rule}, got {_shown(self.plain())}")

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
        return Field(default, self.place, _join(self.path, name), self.owner) if found is None else found

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
        refused = refused or {}
        for name, field in self.mapping().items():
            if name not in known:
                near = difflib.get_close_matches(name, [*known, *refused], n=1)
                raise field.error(refused.get(name, f"unknown field{f', did you mean {near[0]!r}?' if near else ''}"))
        return self

    def read(self, table: Table) -> dict[str, Any]:
        """The fields that are there, each under the name and as the type that `table` has for it."""
        return {name: read(self.need(field)) for field, (name, read) in table.items() if field in self}

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("must be text")
        return self.value

    def name(self) -> str:
        text = self.text()
        if not text.strip() or len(text) > 253 or text != text.strip():
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
        try:
            seconds = parse_duration(self.text(), "", negative=True)
        except ManifestError:
            raise
        except ValueError as problem:
            raise self.error(str(problem).removeprefix(": ")) from None
        if seconds < low:
            raise self.wrong("must not be negative" if low == 0 else "must be 1ms or more")
        return seconds

    def choice(self, *words: str) -> str:
        if isinstance(self.value, str) and self.value in words:
            return self.value
        lower = {word.lower(): word for word in words}
        near = difflib.get_close_matches(str(self.value).lower(), lower, n=1)
        known = f"must be one of {', '.join(words)}" if len(words) < 10 or not near else "is unknown"
        raise self.wrong(f"{known} (did you mean {lower[near[0]]}?)" if near else known)

    def texts(self) -> dict[str, str]:
        """A mapping of names to text, as labels and annotations are."""
        return {name: field.text() for name, field in self.mapping().items()}


Table = Mapping[str, tuple[str, Callable[[Field], Any]]]
"""For `Field.read`: a field's name to the name that it takes and what reads it."""


def resources(source: _Source) -> Iterator[Field]:
    """Every resource in `source`: a path (a directory: its YAML files by name), YAML text, a dict, or a list of those.

    A string of several lines, or with a colon and a space, is YAML text; any other string is a path.
    `kind: List` is unpacked.  Raises `ManifestError` on unreadable input and where there is no resource.
    """
    for document in _documents(source):
        kind = document.get("kind") if isinstance(document.value, dict) else None
        if kind is not None and kind.value == "List":
            yield from document.need("items").items()
        else:
            yield document


def _documents(source: _Source) -> Iterator[Field]:
    if isinstance(source, Mapping):
        yield _from_plain(source, Place("dict"), "", [0], 0)
    elif isinstance(source, str) and ("\n" in source or ": " in source or source.lstrip().startswith("{")):
        yield from _parse(source, "YAML text")
    elif isinstance(source, str) and not source.strip():
        raise ManifestError("a manifest is a path, YAML text, a dict or a list of those, got an empty string")
    elif isinstance(source, (str, os.PathLike)):
        yield from _read(Path(source))
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        for each in source:
            yield from _documents(each)
    else:
        raise ManifestError(f"a manifest is a path, YAML text, a dict or a list of those, got {type(source).__name__}")


def _read(path: Path) -> Iterator[Field]:
    if "\0" in str(path):
        raise ManifestError(f"{_shown(str(path))}: no path has a NUL character")
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            if not files:
                raise ManifestError(f"{path}: the directory holds no .yaml file")
            for file in files:
                yield from _read(file)
            return
        if not path.is_file():
            raise ManifestError(f"{path}: {'is no ordinary file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise ManifestError(f"{path}: cannot be read: {problem.strerror}") from None
    yield from _parse(_decoded(content, path.name), path.name)


def _decoded(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{source}: larger than 1 MB, which no manifest is")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ManifestError(f"{source}: not a text file (byte {problem.start} is not UTF-8)") from None
    if "\0" in text:
        raise ManifestError(f"{source}: not a text file (it holds NUL bytes)")
    return text


def _parse(text: str, source: str) -> Iterator[Field]:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ManifestError(f"{source}: larger than 1 MB, which no manifest is")
    found = False
    try:
        _refuse_depth(text, source)
        for number, node in enumerate(yaml.compose_all(text, Loader=_Loader), 1):
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                found = True
                yield _from_node(node, Place(source, number), "", [0], 0)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ManifestError(f"{source}{line}: not YAML: {problem.problem or problem.context}") from None
    except yaml.YAMLError as problem:
        raise ManifestError(f"{source}: not YAML: {problem}") from None
    if not found:
        raise ManifestError(f"{source}: empty, it holds no Kubernetes resource")


def _refuse_depth(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                assert event.start_mark is not None
                raise ManifestError(f"{source} line {event.start_mark.line + 1}: nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _count(place: Place, counter: list[int], depth: int) -> None:
    counter[0] += 1
    if counter[0] > MAX_NODES or depth > MAX_DEPTH:
        raise ManifestError(f"{place}: expands to more than {MAX_NODES} values or {MAX_DEPTH} levels (anchors and aliases?)")


def _from_node(node: yaml.Node, place: Place, path: str, counter: list[int], depth: int) -> Field:
    _count(place, counter, depth)
    here = replace(place, line=node.start_mark.line + 1)
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = _from_pairs(node, here, path, counter, depth)
    elif isinstance(node, yaml.SequenceNode):
        value = [_from_node(child, here, f"{path}[{i}]", counter, depth + 1) for i, child in enumerate(node.value)]
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = _scalar(node, here, path)
    return Field(value, here, path)


def _from_pairs(node: yaml.MappingNode, here: Place, path: str, counter: list[int], depth: int) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for key, child in node.value:
        at = replace(here, line=key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            raise Field(None, at, path).error("a field's name must be plain text (merge keys are not taken)")
        if key.value in fields:
            raise Field(None, at, _join(path, key.value)).error("stands twice in the same mapping")
        child_field = _from_node(child, here, _join(path, key.value), counter, depth + 1)
        fields[key.value] = child_field if isinstance(child, yaml.ScalarNode) else replace(child_field, place=at)
    return fields


def _scalar(node: yaml.ScalarNode, here: Place, path: str) -> Any:
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise Field(node.value, here, path).error(f"cannot be read: {_shown(node.value)}") from None
    return value if not isinstance(value, (date, bytes)) else node.value


def _from_plain(value: Any, place: Place, path: str, counter: list[int], depth: int) -> Field:
    _count(place, counter, depth)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise Field(None, place, path).error(f"a field's name must be text, got {_shown(name)}")
        value = {name: _from_plain(child, place, _join(path, name), counter, depth + 1) for name, child in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_from_plain(child, place, f"{path}[{i}]", counter, depth + 1) for i, child in enumerate(value)]
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        raise Field(None, place, path).error(f"must be text, a number, true, false, a list or a mapping, got {type(value).__name__}")
    return Field(value, place, path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
