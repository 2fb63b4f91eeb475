"""Kubernetes YAML with the position of every field, so that an error can point at it.

`each_resource(source)` turns a path, YAML text, a dict, or a list of those into `Field` trees, one a resource.

Hostile input is refused before it costs time: more than 1 MB a file (a List, as kubectl prints a whole cluster: `LIST` times as
much), deep nesting, aliases that expand to more than `MAX_NODES` values, endless lists of sources, bytes that are no UTF-8 text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from meshmodel._text import quoted, shortened
from meshmodel.istio import scalars
from meshmodel.istio.field import Field, ManifestError, Place, Table, join

__all__ = ["SUFFIXES", "Field", "ManifestError", "Place", "Table", "each_resource", "resources"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 60
MAX_NODES = 50_000
LIST = 8
MAX_ALL = 10 * MAX_NODES
MAX_SOURCES = 1000
MAX_DIRECTIVES = 10
SUFFIXES = (".yaml", ".yml", ".json")
"""Of the files that are read of a folder."""

_WHAT = "a manifest is a path, YAML text, a dict or a list of those"
_Source = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves plain scalars as they are: `scalars` knows what they mean."""

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return scalars.PLAIN
        return super().resolve(kind, value, (False, True))


class _Budget:
    """How many values and sources one call has read; more than a mesh can have end it."""

    def __init__(self) -> None:
        self.values = self.before = self.sources = 0
        self.most = MAX_NODES

    def value(self, place: Place, depth: int) -> None:
        self.values += 1
        if self.values - self.before > self.most or depth > MAX_DEPTH:
            raise ManifestError(f"{place}: expands to more than {self.most} values or {MAX_DEPTH} levels (anchors and aliases?)")
        if self.values > MAX_ALL:
            raise ManifestError(f"{place}: more than {MAX_ALL} values in all files together")

    def source(self, depth: int) -> None:
        self.before, self.most = self.values, MAX_NODES
        self.sources += 1
        if self.sources > MAX_SOURCES or depth > MAX_DEPTH:
            raise ManifestError(f"{_WHAT}, got more than {MAX_SOURCES} of them or a list that holds itself")


def resources(source: _Source) -> Iterator[Field]:
    """Every resource of `each_resource`.  Raises the first `ManifestError`."""
    for found in each_resource(source):
        if isinstance(found, ManifestError):
            raise found
        yield found


def each_resource(source: _Source) -> Iterator[Field | ManifestError]:
    """Every resource in `source`: a path (a directory: its YAML files by name), YAML text, a dict, or a list of those.

    A string of several lines, or with a colon and a space, is YAML text; any other string is a path.
    `kind: List` is unpacked.  A `ManifestError` stands for input that cannot be read, or in which there is no resource.
    """
    try:
        for document in _documents(source, _Budget(), 0):
            yield from [document] if isinstance(document, ManifestError) else _unpacked(document)
    except ManifestError as problem:
        yield problem


def _unpacked(document: Field) -> Iterator[Field | ManifestError]:
    try:
        kind = document.get("kind") if isinstance(document.value, dict) else None
        if kind is not None and kind.value == "List":
            document.only("apiVersion", "kind", "metadata", "items").need("apiVersion").choice("v1")
            document.get_or("metadata", {}).only("resourceVersion", "selfLink", "continue", "remainingItemCount")
            yield from document.need("items").items()
        else:
            yield document
    except ManifestError as problem:
        yield problem


def _documents(source: _Source, budget: _Budget, depth: int) -> Iterator[Field | ManifestError]:
    budget.source(depth)
    if isinstance(source, Mapping):
        yield _from_plain(source, Place("dict"), "", budget, 0)
    elif isinstance(source, str) and ("\n" in source or ": " in source or source.lstrip().startswith("{")):
        yield from _parse(source, "YAML text", budget)
    elif isinstance(source, str) and not source.strip():
        raise ManifestError(f"{_WHAT}, got an empty string")
    elif isinstance(source, (str, os.PathLike)):
        yield from _read(Path(source), budget)
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        for each in source:
            yield from _documents(each, budget, depth + 1)
    else:
        raise ManifestError(f"{_WHAT}, got {type(source).__name__}")


def _read(path: Path, budget: _Budget) -> Iterator[Field | ManifestError]:
    shown = shortened(str(path), 200)
    if "\0" in str(path):
        raise ManifestError(f"{shown}: no path has a NUL character")
    try:
        if path.is_dir():
            for file in _files_of(path):
                yield from _each_alone(file, budget)
            return
        if not path.is_file():
            raise ManifestError(f"{shown}: {'is no ordinary file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            content = stream.read(LIST * MAX_BYTES + 1)
    except OSError as problem:
        raise ManifestError(f"{shown}: cannot be read: {problem.strerror}") from None
    yield from _parse(_decoded(content, path.name), path.name, budget)


def _each_alone(file: Path, budget: _Budget) -> Iterator[Field | ManifestError]:
    """The documents of a file of a folder; where it cannot be read the others still are."""
    try:
        yield from _documents(file, budget, 1)
    except ManifestError as problem:
        yield problem


def _files_of(folder: Path) -> list[Path]:
    """The manifests of a folder, as `kubectl apply -f` takes them: not those of the folders in it."""
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.is_dir())
    if not files:
        raise ManifestError(f"{folder}: the directory holds no .yaml file")
    return files


_TOO_LARGE = f"larger than 1 MB, which no manifest is (a List, as of kubectl get -o yaml, may have {LIST} MB)"
_A_LIST = re.compile(r'^kind: "?List"?|"kind": ?"List"', re.MULTILINE)


def _most(content: str | bytes) -> int:
    """How many bytes a source may have: kubectl writes that it is a List at the top (JSON) or at the end (YAML)."""
    ends = content[:2000], content[-2000:]
    shown = [end.decode("utf-8", "replace") if isinstance(end, bytes) else end for end in ends]
    return MAX_BYTES * (LIST if any(map(_A_LIST.search, shown)) else 1)


def _decoded(content: bytes, source: str) -> str:
    if len(content) > _most(content):
        raise ManifestError(f"{source}: {_TOO_LARGE}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ManifestError(f"{source}: not a text file (byte {problem.start} is not UTF-8)") from None


def _parse(text: str, source: str, budget: _Budget) -> Iterator[Field]:
    _refuse_strange(text, source)
    budget.most = MAX_NODES * _most(text) // MAX_BYTES
    found = False
    try:
        _refuse_depth(text, source, budget.most)
        for number, node in enumerate(yaml.compose_all(text, Loader=_Loader), 1):
            if node is not None and not (node.tag == scalars.PLAIN and scalars.is_null(node.value)):
                found = True
                yield _from_node(node, Place(source, number), "", budget, 0)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ManifestError(f"{source}{line}: not YAML: {problem.problem or problem.context}") from None
    if not found:
        raise ManifestError(f"{source}: empty, it holds no Kubernetes resource")


_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""The characters that no YAML text has (YAML 1.1, section 5.1), and a byte-order mark in the middle."""


def _refuse_strange(text: str, source: str) -> None:
    """What the parser would choke on, or take very long for."""
    strange = _NOT_YAML.search(text)
    if strange:
        what = "NUL bytes" if strange[0] == "\0" else f"the character {quoted(strange[0])}"
        raise ManifestError(f"{source} line {_line(text, strange.start())}: not a text file (it holds {what})")
    if len(text) > _most(text) or len(text.encode()) > _most(text):
        raise ManifestError(f"{source}: {_TOO_LARGE}")
    directives = [found.start() for found in re.finditer("^%", text, re.MULTILINE)]  # libyaml compares each with each
    if len(directives) > MAX_DIRECTIVES:
        raise ManifestError(f"{source} line {_line(text, directives[MAX_DIRECTIVES])}: not YAML: more than {MAX_DIRECTIVES} directives")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _refuse_depth(text: str, source: str, most: int) -> None:
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or values > 2 * most:  # keys are events too, though no values
            too_much = f"nested more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else f"holds more than {most} values"
            assert event.start_mark is not None
            raise ManifestError(f"{source} line {event.start_mark.line + 1}: {too_much}")


def _from_node(node: yaml.Node, place: Place, path: str, budget: _Budget, depth: int) -> Field:
    budget.value(place, depth)
    here = replace(place, line=node.start_mark.line + 1)
    value: Any
    if isinstance(node, yaml.MappingNode):
        _require_tag(node, "map", here, path)
        value = _from_pairs(node, here, path, budget, depth)
    elif isinstance(node, yaml.SequenceNode):
        _require_tag(node, "seq", here, path)
        value = [_from_node(child, here, join(path, i), budget, depth + 1) for i, child in enumerate(node.value)]
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = _scalar(node, here, path)
    return Field(value, here, path)


def _require_tag(node: yaml.Node, kind: str, here: Place, path: str) -> None:
    if node.tag != scalars.PREFIX + kind:
        raise Field(None, here, path).error(f"a {'mapping' if kind == 'map' else 'list'} cannot be read as {scalars.shown(node.tag)}")


def _from_pairs(node: yaml.MappingNode, here: Place, path: str, budget: _Budget, depth: int) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for key, child in node.value:
        at = replace(here, line=key.start_mark.line + 1)
        name = _key(key, at, path)
        if name in fields:
            raise Field(None, at, join(path, name)).error("stands twice in the same mapping")
        if name == "managedFields" and path.endswith("metadata"):
            continue  # half of a dump, and nobody reads it
        child_field = _from_node(child, here, join(path, name), budget, depth + 1)
        fields[name] = child_field if isinstance(child, yaml.ScalarNode) else replace(child_field, place=at)
    return fields


def _key(key: yaml.Node, at: Place, path: str) -> str:
    """A field's name; as kubectl reads them, `5:` and `true:` are names too."""
    if not isinstance(key, yaml.ScalarNode) or key.tag not in (scalars.PLAIN, scalars.PREFIX + "str"):
        raise Field(None, at, path).error("a field's name must be plain text")
    if key.tag == scalars.PLAIN and (key.value == "<<" or scalars.is_null(key.value)):
        raise Field(None, at, path).error("a field's name must be plain text (merge keys are not taken)")
    return key.value


def _scalar(node: yaml.ScalarNode, here: Place, path: str) -> Any:
    try:
        return scalars.value(node.value, node.tag)
    except ValueError as problem:
        raise Field(node.value, here, path).wrong(str(problem)) from None


def _from_plain(value: Any, place: Place, path: str, budget: _Budget, depth: int) -> Field:
    budget.value(place, depth)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or not _is_text(name):
                raise Field(None, place, path).error(f"a field's name must be text, got {quoted(name)}")
        value = {name: _from_plain(child, place, join(path, name), budget, depth + 1) for name, child in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_from_plain(child, place, join(path, i), budget, depth + 1) for i, child in enumerate(value)]
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        raise Field(None, place, path).error(f"must be text, a number, true, false, a list or a mapping, got {type(value).__name__}")
    elif isinstance(value, str) and not _is_text(value):
        raise Field(value, place, path).wrong("must be text of at most a million characters")
    elif type(value) is int and not -(2**63) <= value < 2**64:
        raise Field(None, place, path).error("must be a number of at most 64 bits")
    return Field(value, place, path)


def _is_text(value: str) -> bool:
    """Whether a file could hold it: a lone surrogate is no character."""
    return len(value) <= MAX_BYTES and not re.search("[\ud800-\udfff]", value)
