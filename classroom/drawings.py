"""The pictures of the Korean chapters: each chapter is run once in Korean, and of that run the pictures alone are taken.

A picture is stored as it was drawn, so its words cannot be translated afterwards.  Everything else of an output stays what the
English run left; what the figures' tables tell must be the same numbers.  A run is kept in dist/korean until something changes
that it is made from.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat

from classroom.running import run
from meshmodel import _files
from meshmodel.teaching import words

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "dist" / "korean"
PICTURE = ("image/png", "image/svg+xml")
TAKEN = (*PICTURE, "text/html", "text/plain")
"""Of a picture's output: the picture, the page that holds it, and the text that stands for it."""

DRAWING = ("matplotlib", "numpy", "pandas", "pillow")
"""Packages whose version may change a picture."""


def runs(paths: Sequence[Path]) -> list[Any]:
    """Each chapter as a run in Korean leaves it, two at a time; None, and a line that says why, where no font has the letters."""
    with words.speaking("ko"):
        fonts = words.fonts()
    if not fonts:
        print(f"no font with Korean letters is installed ({', '.join(words.FONTS)}): the pictures stay English")
        return [None] * len(paths)
    places = [KEPT / f"{path.stem}@{key(path, fonts)}.ipynb" for path in paths]
    if new := sum(not place.exists() for place in places):
        print(f"for their pictures {new} of {len(paths)} chapters are run in Korean: a minute or two, until something changes", flush=True)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ran, paths, places))


def ran(path: Path, place: Path) -> Any:
    """The chapter at `path` after a run in Korean, from `place` if it is kept there."""
    if not place.exists():
        told = nbformat.writes(run(path, language="ko"))
        place.parent.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob(f"{path.stem}@*"):
            old.unlink()
        _files.write(place, told)
    return nbformat.read(place, as_version=4)


def key(path: Path, fonts: Sequence[str]) -> str:
    """A name for all that the pictures of the chapter at `path` are made from: its code, the package, its data, who draws."""
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    drawn_by = [sys.version, *map(version, DRAWING), *fonts]
    digest = hashlib.sha256(repr([code, drawn_by]).encode())
    for file in sorted(file for top in ("meshmodel", "data") for file in (ROOT / top).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def redraw(notebook: Any, drawn: Any) -> None:
    """Puts the pictures of `drawn` into `notebook`, output by output.

    Raises ValueError where the two are not the same chapter, run with the same numbers.
    """
    for cell, other in zip(notebook.cells, drawn.cells, strict=True):
        before, after = cell.get("outputs", []), other.get("outputs", [])
        if any(map(is_picture, before)):
            if list(map(_told, before)) != list(map(_told, after)):
                raise ValueError(f"cell {cell.id}: its figures, run in Korean, do not tell what is stored: make notebooks")
            for old, new in zip(before, after, strict=True):
                _take(old, new)


def is_picture(output: Any) -> bool:
    """Is a picture among the forms of this output?"""
    return any(kind in output.get("data", {}) for kind in PICTURE)


def _told(output: Any) -> tuple[bool, list[str], list[list[str]]]:
    """What both languages share: the forms of a picture, and the numbers of each cell of its tables."""
    data = output.get("data", {})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", data.get("text/html", ""), flags=re.DOTALL)
    numbers = [sorted(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"<[^>]*>", "", cell))) for cell in cells]
    return is_picture(output), [kind for kind in TAKEN if kind in data], numbers if is_picture(output) else []


def _take(old: Any, new: Any) -> None:
    if is_picture(old):
        old.data.update({kind: new.data[kind] for kind in TAKEN if kind in new.data})
        old.metadata.update({kind: new.metadata[kind] for kind in PICTURE if kind in new.metadata})
