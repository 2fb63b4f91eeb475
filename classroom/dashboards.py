"""`make voila`: each chapter's consoles, guesses of theatres and all, without the chapter: dashboards for a screen in the hall.

    python -m classroom.dashboards OUT

One notebook a chapter that has consoles or a theatre: its title, each of them with the heading under which it stands, and all the code
that they need, which runs and shows nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat

from meshmodel.teaching.standalone import MIME

ROOT = Path(__file__).parents[1]
VIEW = "application/vnd.jupyter.widget-view+json"
SILENT = "%%capture\n"


def dashboard(chapter: Path) -> Any:
    """The dashboard of a chapter; None where there is nothing to touch."""
    cells = nbformat.read(chapter, as_version=4).cells
    last = max((number for number, cell in enumerate(cells) if touchable(cell)), default=None)
    if last is None:
        return None
    made, heading = [nbformat.v4.new_markdown_cell(cells[0].source.splitlines()[0])], ""
    for cell in cells[: last + 1]:
        if cell.cell_type == "markdown":
            heading = next(iter(re.findall(r"^#{2,3} (.+)$", cell.source, re.MULTILINE)[-1:]), heading)
        elif touchable(cell):
            made += [nbformat.v4.new_markdown_cell(f"## {heading}")] * bool(heading) + [nbformat.v4.new_code_cell(cell.source)]
        elif not shows_only_text(cell):
            made.append(nbformat.v4.new_code_cell(SILENT + cell.source))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(c.source) if c.cell_type == "markdown" else nbformat.v4.new_code_cell(c.source) for c in made]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def touchable(cell: Any) -> bool:
    """Is its output a console or a theatre?"""
    return any(VIEW in output.get("data", {}) or MIME in output.get("data", {}) for output in cell.get("outputs", []))


def shows_only_text(cell: Any) -> bool:
    """Is it a real Envoy's, which takes its time and changes nothing?"""
    return any(tag.lower().replace("_", "-") == "nbval-ignore-output" for tag in cell.metadata.get("tags", []))


def write(out: Path) -> list[Path]:
    """All dashboards, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for chapter in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if notebook := dashboard(chapter):
            nbformat.write(notebook, out / chapter.name)
            made.append(out / chapter.name)
    return made


if __name__ == "__main__":
    print("\n".join(map(str, write(Path(sys.argv[1])))))
