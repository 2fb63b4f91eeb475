"""Notebook hygiene: each notebook is stored as a reader should find it, run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.reading import read

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MACHINE = re.compile(r"/(?:[h]ome|[U]sers)/\w|/[r]oot/|/[w]ork/|/[t]mp/|/[v]ar/folders/|\b[A-Z]:\\\\[U]sers")
LARGEST = 1_500_000

if not NOTEBOOKS:
    pytest.skip("there is no notebook yet", allow_module_level=True)

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def code_cells(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def outputs(path: Path) -> list[Any]:
    return [output for cell in code_cells(path) for output in cell.outputs]


def without_alternative_text(output: Any) -> list[str]:
    """The pictures of an output that a reader who cannot see them is told nothing about."""
    data, metadata = output.get("data", {}), output.get("metadata", {})
    html = data.get("text/html", "")
    if re.search(r"<(?:svg|img|canvas)\b", html):
        return [] if re.search(r'role="img"[^>]*aria-label="[^"]|aria-label="[^"]+"[^>]*role="img"|alt="[^"]', html) else ["text/html"]
    pictures = [kind for kind in data if kind.startswith("image/")]
    return [kind for kind in pictures if not (metadata.get("alt") or metadata.get(kind, {}).get("alt"))]


def test_is_a_python_notebook(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4 and notebook.metadata.kernelspec.name == "python3"


def test_ran_from_top_to_bottom(path: Path) -> None:
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))


def test_has_no_error_or_warning(path: Path) -> None:
    bad = [output for output in outputs(path) if output.output_type == "error" or output.get("name") == "stderr"]
    assert bad == []


def test_names_no_machine(path: Path) -> None:
    assert MACHINE.findall(path.read_text(encoding="utf-8")) == []


def test_has_no_time_stamps(path: Path) -> None:
    stamped = [cell.id for cell in nbformat.read(path, as_version=4).cells if "execution" in cell.metadata]
    assert stamped == []


def test_pictures_have_alternative_text(path: Path) -> None:
    assert [kind for output in outputs(path) for kind in without_alternative_text(output)] == []


def test_numbers_are_rounded_to_what_survives_a_last_bit(path: Path) -> None:
    """Ten digits at most: another processor's last bit then changes what is printed once in 100,000 numbers."""
    printed = [read(output) for output in outputs(path)]
    assert [number for text in printed for number in re.findall(r"[1-9]\d*\.\d+|0\.0*[1-9]\d*", text) if len(digits(number)) > 10] == []


def digits(number: str) -> str:
    return number.replace(".", "").lstrip("0")


def test_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST
