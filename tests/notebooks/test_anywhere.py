"""A chapter from an installed wheel, copied into an empty folder that it must leave as it is, with no home to write to.

It runs with numba, and all of it reads as it is stored; and as in a browser tab, where numba does not exist: what no random number is
in reads as it is stored.  `make anywhere` runs all chapters so (MESHMODEL_ALL_CHAPTERS=1), `make test` two short ones without numba,
which without a home compiles everything anew.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from classroom.running import joined
from meshmodel import _files
from tests.notebooks.reading import differences, read

ROOT = Path(__file__).parents[2]
RUN = """
import sys, nbformat, meshmodel
from nbclient import NotebookClient
assert meshmodel.__file__.startswith(sys.argv[3]), meshmodel.__file__
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=900, startup_timeout=600, kernel_name="python3", resources={"metadata": {"path": sys.argv[4]}}).execute()
nbformat.write(notebook, sys.argv[2])
"""
SHORT = ("00-testbed", "01b-two-puzzles")
ALL = os.environ.get("MESHMODEL_ALL_CHAPTERS") == "1"
RUNS = [
    pytest.param(path, numba, id=f"{path.stem}-{'with' if numba else 'without'} numba")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    for numba in (False, True)
    if ALL or (path.stem in SHORT and not numba)
]
CHANCE = re.compile(r"\b(replay|curl|fortio_load|open_loop|measure|sweep)\(|consoles|^%", re.MULTILINE)
"""In the code of a cell whose output hangs on how many replications there are, or on a real Envoy."""

WITHOUT_NUMBA = "import sys\nsys.modules['numba'] = None\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel of this checkout installs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_the_data_and_nothing_of_the_checkout_else(site: Path) -> None:
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"meshmodel"}
    for part in ("data/tutorial/round-robin.txt", "data/envoy/lb-random.json", "teaching/theatre/theatre.css", "teaching/locale/ko.po"):
        assert (site / "meshmodel" / part).is_file(), part


@pytest.mark.parametrize(("chapter", "numba"), RUNS)
def test_a_chapter_runs_from_the_wheel_in_an_empty_folder_without_a_home(site: Path, tmp_path: Path, chapter: Path, numba: bool) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    _files.write(folder / chapter.name, chapter.read_bytes())
    folder.chmod(0o555)
    _files.write(tmp_path / "a file", "")
    _files.write(tmp_path / "sitecustomize.py", "" if numba else WITHOUT_NUMBA)
    command = [sys.executable, "-c", RUN, str(folder / chapter.name), str(tmp_path / "ran.ipynb"), str(site), str(folder)]
    done = subprocess.run(command, env=_environment(tmp_path, site), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in folder.iterdir()] == [chapter.name]
    old, new = (nbformat.read(path, as_version=4).cells for path in (chapter, tmp_path / "ran.ipynb"))
    if numba:
        assert differences(old, _joined(new)) == ""
    else:
        _read_the_same_but_for_chance(old, new)


def _environment(folder: Path, site: Path) -> dict[str, str]:
    """The wheel, no home, and the machine code beside the wheel, compiled once for all chapters."""
    nowhere = str(folder / "a file" / "home")  # below a file: nobody, not even root, can make it
    inside = {"IPYTHONDIR": "ipython", "JUPYTER_RUNTIME_DIR": "runtime", "MPLCONFIGDIR": "matplotlib"}
    told = {name: value for name, value in os.environ.items() if name not in ("MESHMODEL_LITE", "NUMBA_DISABLE_JIT")}
    told |= {"PYTHONPATH": f"{folder}{os.pathsep}{site}", "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    told["NUMBA_CACHE_DIR"] = str(site.parent / "compiled")
    return told | {name: str(folder / value) for name, value in inside.items()}


def _joined(cells: list[Any]) -> list[Any]:
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return cells


def _read_the_same_but_for_chance(old: list[Any], new: list[Any]) -> None:
    by_chance = set(_by_chance(old))
    exact = [(a, b) for a, b in zip(old, new, strict=True) if a.cell_type == "code" and a.id not in by_chance]
    for a, b in exact:
        assert "".join(map(read, joined(b.outputs))) == "".join(map(read, a.outputs)), a.source
    assert len(exact) > 2


def _by_chance(cells: Iterable[Any]) -> Iterator[str]:
    """The cells that draw random numbers, or use what such a cell has made."""
    drawn: set[str] = set()
    for cell in cells:
        if cell.cell_type == "code":
            used, made = _names(cell.source)
            if CHANCE.search(cell.source) or used & drawn:
                drawn |= made
                yield cell.id


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell uses, and those that it gives a value."""
    nodes = list(ast.walk(ast.parse(re.sub(r"^%.*", "", source, flags=re.MULTILINE))))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)} | {
        node.name for node in nodes if isinstance(node, ast.FunctionDef)
    }
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}, made
