"""Run every notebook from top to bottom and store its outputs, without time stamps (`make notebooks`).

The stored text is what `make test` compares a fresh run with.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from tqdm import tqdm

from classroom.running import run
from meshmodel import _files
from meshmodel.teaching.cards.card import ALONE


def execute(path: Path) -> None:
    """Run the notebook at `path` and write it back."""
    notebook = run(path)
    notebook.metadata.pop("widgets", None)  # random ids; every widget has a static twin
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):  # a widget of a kernel that is gone shows an error; its page shows itself
            if output.get("metadata", {}).get("text/html", {}).get(ALONE):
                output.data.pop("application/vnd.jupyter.widget-view+json", None)
    _files.write(path, nbformat.writes(notebook).rstrip("\n") + "\n")


if __name__ == "__main__":
    for name in tqdm(sys.argv[1:], desc="notebooks"):
        execute(Path(name))
