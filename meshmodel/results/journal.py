"""The finished cells of a sweep in a file, so that one that was interrupted goes on: a JSON line for each, in the order in which they end.

    {"sweep": "3f2a…", "cells": 60, "of": "fortio_load over connections, qps"}
    {"cell": 7, "figures": {"requests": 120034, "avg": 0.0123, "avg lo": …}}

The first line says whose cells they are: what is built, over which values, with which seeds.  Numbers are written
with all their digits (null: not a number), so the table does not depend on where a sweep was interrupted.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from meshmodel import _files
from meshmodel._text import InputError, quoted, shortened
from meshmodel.results import json_source
from meshmodel.results.json_source import Fields
from meshmodel.scenario import plain


class SweepError(InputError):
    """A grid that cannot be run, a cell of it that cannot, or a file that is not this sweep's; the message names cell or file."""


def digest(build: Callable[..., Any], cells: Sequence[Mapping[str, Any]], seeds: Sequence[int], replications: int) -> str:
    """What tells one sweep from another: the function (its source), its fixed arguments, its mesh, and every cell with its seed.

    Not seen are the values that a function finds outside of itself.
    """
    parts = [build, [list(cell.items()) for cell in cells], seeds, replications]
    return hashlib.sha256(json.dumps(parts, default=_told).encode()).hexdigest()[:16]


def _told(value: Any) -> Any:
    """What tells one value from another that JSON does not know; the same in every process."""
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if hasattr(value, "digest"):
        return value.digest()
    if inspect.isfunction(value) or inspect.ismethod(value):
        return [value.__qualname__, _source(value), getattr(value, "__self__", None)]
    if hasattr(value, "tolist"):
        return value.tolist()
    known = plain(value)
    return known if known is not value else re.sub(" at 0x[0-9a-f]+", "", repr(value))


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except OSError:  # typed at a prompt
        return ""


class Journal:
    """`rows`: the figures of the cells that were finished before, by their number; `add` stores one more."""

    def __init__(self, lines: _files.Lines, name: str, header: Mapping[str, Any]) -> None:
        self._lines, self._name = lines, name
        self.rows: dict[int, dict[str, Any]] = {}
        if not lines.found:
            first_line = json.dumps(header)
            if not first_line.encode().startswith(lines.torn):
                raise SweepError(f"{name} line 1: is of no sweep: write to a new file")
            lines.append(first_line)
            return
        first, *rest = (self._parsed(number, line) for number, line in enumerate(lines.found, 1))
        if first.value.get("sweep") != header["sweep"]:
            whose = shortened(str(first.value.get("of", "no sweep at all")), 100)
            raise SweepError(f"{name} line 1: is of another sweep, {whose}: write to a new file")
        for number, row in enumerate(rest, 2):
            cell = row.whole("cell")
            if cell >= header["cells"] or cell in self.rows:
                row.fail("cell", f"must be below {header['cells']} and stand once (line {number})")
            self.rows[cell] = dict(_figures(row.fields("figures")))

    def _parsed(self, number: int, line: bytes) -> Fields:
        where = f"{self._name} line {number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise SweepError(f"{where}: not text: {quoted(line, 60)}") from None
        parsed = json_source.parse(text, self._name, SweepError, number)
        if not isinstance(parsed, dict):
            raise SweepError(f"{where}: must be a JSON object, got {quoted(parsed, 60)}")
        return Fields(parsed, "", where, SweepError)

    def add(self, cell: int, figures: Mapping[str, Any]) -> None:
        """Store a cell's figures; they are on the disk when this returns."""
        written = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()}
        self._lines.append(json.dumps({"cell": cell, "figures": written}, allow_nan=False))


def _figures(fields: Fields) -> Iterator[tuple[str, Any]]:
    for key in fields.keys():
        value = fields.value[key]
        yield key, value if type(value) is int else fields.number(key, low=-math.inf, null=True)


@contextmanager
def journal(path: str | Path, header: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal in the file `path`, made where there is none.  Raises SweepError: another sweep's, in use, or damaged."""
    name = shortened(str(path), 200)
    try:
        lines = _files.Lines(path)
    except BlockingIOError:
        raise SweepError(f"{name}: another process is at work on this sweep") from None
    except (OSError, ValueError) as problem:
        raise SweepError(f"{name}: {getattr(problem, 'strerror', None) or problem}") from None
    with lines:
        yield Journal(lines, name, header)
