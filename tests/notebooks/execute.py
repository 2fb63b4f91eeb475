"""Run every notebook from top to bottom and store its outputs, without time stamps (`make notebooks`).

The stored text is what `make test` compares a fresh run with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm
from traitlets.config import Config

from meshmodel import _files
from meshmodel.teaching.cards.card import ALONE

PATIENCE = 600
"""Seconds after which a cell is taken for stuck."""


def run(path: Path, errors: bool = False, around: tuple[str, str] | None = None) -> Any:
    """The notebook at `path` after a run in its own folder; raises what a cell raises, unless `errors` are outputs too.

    `around` is the code of a cell before all others and of one after them.
    """
    notebook = nbformat.read(path, as_version=4)
    if around:
        first, last = map(nbformat.v4.new_code_cell, around)
        notebook.cells = [first, *notebook.cells, last]
    options = {"timeout": PATIENCE, "startup_timeout": PATIENCE, "kernel_name": "python3", "record_timing": False, "allow_errors": errors}
    with TemporaryDirectory() as folder:  # sockets in there: two kernels cannot take each other's ports
        sockets = Config(KernelManager={"transport": "ipc", "connection_file": f"{folder}/kernel.json"})
        NotebookClient(notebook, config=sockets, resources={"metadata": {"path": str(path.parent)}}, **options).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


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


def joined(outputs: list) -> list:
    """Streams that the kernel happened to send in pieces become one again."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    for name in tqdm(sys.argv[1:], desc="notebooks"):
        execute(Path(name))
