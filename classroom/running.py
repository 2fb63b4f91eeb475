"""Runs a notebook in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

PATIENCE = 600
"""Seconds after which a cell is taken for stuck."""


def run(path: Path, errors: bool = False, around: tuple[str, str] | None = None, language: str = "en") -> Any:
    """The notebook at `path` after a run in its own folder; raises what a cell raises, unless `errors` are outputs too.

    `around` is the code of a cell before all others and of one after them.  Figures and widgets speak `language`.
    """
    notebook = nbformat.read(path, as_version=4)
    if around:
        first, last = map(nbformat.v4.new_code_cell, around)
        notebook.cells = [first, *notebook.cells, last]
    options = {"timeout": PATIENCE, "startup_timeout": PATIENCE, "kernel_name": "python3", "record_timing": False, "allow_errors": errors}
    with TemporaryDirectory() as folder:  # sockets in there: two kernels cannot take each other's ports
        sockets = Config(KernelManager={"transport": "ipc", "connection_file": f"{folder}/kernel.json"})
        client = NotebookClient(notebook, config=sockets, resources={"metadata": {"path": str(path.parent)}}, **options)
        client.execute(env={**os.environ, "MESHMODEL_LANGUAGE": language})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list) -> list:
    """Streams that the kernel happened to send in pieces become one again."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
