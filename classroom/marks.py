"""Marks, for who wants them: which exercises each handed-in notebook answers rightly, as CSV.

    python -m classroom.marks HANDED_IN/*/*.ipynb > marks.csv
    python -m classroom.marks --run HANDED_IN/*/*.ipynb > marks.csv

An answer counts where a cell says `ask.check("name", value)` and its last line begins with "correct:".  Without `--run` the stored
outputs are read, which anybody can edit; with it each notebook is run again, which runs whatever is in it: do that where you
would run the student's programs.  One row a notebook: its folder, its chapter, a 1 or 0 for each exercise, the sum.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path
from typing import Any, TextIO

import nbformat

CHECK = re.compile(r"\bcheck\(\s*[\"']([\w -]+)[\"']")


def verdicts(notebook: Any) -> dict[str, bool]:
    """Exercise -> whether the last cell that checks it says so.  Only cells that check one exercise count."""
    found: dict[str, bool] = {}
    for cell in notebook.cells:
        names = set(CHECK.findall(cell.source)) if cell.cell_type == "code" else set()
        if len(names) == 1:
            said = "".join(output.get("text", "") for output in cell.outputs).strip().splitlines()
            found[names.pop()] = bool(said) and said[-1].startswith("correct:")
    return found


def ran(path: Path) -> Any:
    """The notebook at `path` after a run in its own folder; cells that fail are left to say so."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, allow_errors=True, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def write(paths: list[Path], out: TextIO, run: bool = False) -> None:
    """The table of all notebooks."""
    rows = [(path, verdicts(ran(path) if run else nbformat.read(path, as_version=4))) for path in paths]
    exercises = list(dict.fromkeys(name for _, found in rows for name in found))
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["student", "chapter", *exercises, "sum"])
    for path, found in rows:
        table.writerow(
            [path.parent.name, path.stem, *(int(found[name]) if name in found else "" for name in exercises), sum(found.values())]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", type=Path, nargs="+")
    parser.add_argument("--run", action="store_true", help="run each notebook again")
    asked = parser.parse_args()
    write(asked.notebooks, sys.stdout, asked.run)


if __name__ == "__main__":
    main()
