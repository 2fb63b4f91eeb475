"""Chapters without machinery: short cells, more prose than code, figures rather than tables, guesses that are drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"))
LONGEST = 12
PROSE = 13, 20
"""Words for a line of code, blank lines not counted."""
PICTURE = re.compile(r"<(?:svg|img|canvas)\b|role=\"img\"")
MACHINERY = re.compile(r"\bplt\.|\.subplots\(|\bPicture\(|\.(?:set_xlabel|set_ylim|axvline|add_axes)\(|\"(?:apiVersion|metadata)\":")
"""Axes, and manifests that are built as dicts."""

pytestmark = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind and cell.source.strip()]


def is_figure(output: Any) -> bool:
    data = output.get("data", {})
    return any(kind.startswith("image/") for kind in data) or bool(PICTURE.search(data.get("text/html", "")))


def test_no_cell_is_longer_than_a_glance(path: Path) -> None:
    assert [cell.source for cell in cells(path, "code") if len(cell.source.splitlines()) > LONGEST] == []


def test_there_is_more_prose_than_code(path: Path) -> None:
    words = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    lines = sum(bool(line.strip()) for cell in cells(path, "code") for line in cell.source.splitlines())
    least, most = PROSE
    assert least <= words / lines <= most, f"{words} words, {lines} lines"


def test_what_can_be_seen_is_no_table(path: Path) -> None:
    outputs = [output for cell in cells(path, "code") for output in cell.outputs]
    tables = [output for output in outputs if not is_figure(output) and "<table" in output.get("data", {}).get("text/html", "")]
    assert sum(map(is_figure, outputs)) >= len(tables)


def test_no_axes_and_no_manifests_of_dicts(path: Path) -> None:
    assert [found for cell in cells(path, "code") for found in MACHINERY.findall(cell.source)] == []


def test_every_guess_is_drawn_into_a_figure(path: Path) -> None:
    code = cells(path, "code")
    guessed = {name for cell in code for name in re.findall(r"^(\w+) = guess\(", cell.source, re.MULTILINE)}
    drawn = {
        name for cell in code if any(map(is_figure, cell.outputs)) for name in re.findall(r"^(\w+)\.reveal\(", cell.source, re.MULTILINE)
    }
    assert guessed <= drawn, guessed - drawn
