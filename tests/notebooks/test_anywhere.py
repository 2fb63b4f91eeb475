"""A chapter from an installed wheel, copied into an empty folder that it must leave as it is, with no home to write to.

It runs as in a browser tab, without a compiler: what no random number is in reads as it is stored.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from meshmodel import _files
from tests.notebooks.execute import joined
from tests.notebooks.reading import read

ROOT = Path(__file__).parents[2]
RUN = """
import sys, nbformat, meshmodel
from nbclient import NotebookClient
assert meshmodel.__file__.startswith(sys.argv[3]), meshmodel.__file__
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=900, startup_timeout=600, kernel_name="python3", resources={"metadata": {"path": sys.argv[4]}}).execute()
nbformat.write(notebook, sys.argv[2])
"""
CHANCE = ("replay", "real", "compared", "interval_plot", "%run", "measure")
"""Words in a cell of chapter 0 whose output hangs on how many replications there are."""


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


def test_a_chapter_runs_from_the_wheel_in_an_empty_folder_without_a_home(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    _files.write(folder / "00-testbed.ipynb", (ROOT / "notebooks/00-testbed.ipynb").read_bytes())
    folder.chmod(0o555)
    chapter = folder / "00-testbed.ipynb"
    nowhere = tmp_path / "a file" / "home"  # below a file: nobody, not even root, can make it
    _files.write(tmp_path / "a file", "")
    environment = os.environ | {"PYTHONPATH": str(site), "MESHMODEL_LITE": "1", "NUMBA_DISABLE_JIT": "1", "HOME": str(nowhere)}
    environment |= {
        "XDG_CACHE_HOME": str(nowhere),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    environment |= {"MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    command = [sys.executable, "-c", RUN, str(chapter), str(tmp_path / "ran.ipynb"), str(site), str(folder)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in folder.iterdir()] == ["00-testbed.ipynb"]
    _reads_the_same(chapter, tmp_path / "ran.ipynb")


def _reads_the_same(stored: Path, fresh: Path) -> None:
    cells = zip(nbformat.read(stored, as_version=4).cells, nbformat.read(fresh, as_version=4).cells, strict=True)
    compared = 0
    for old, new in cells:
        if old.cell_type == "code" and not any(word in old.source for word in CHANCE):
            assert "".join(map(read, joined(new.outputs))) == "".join(map(read, old.outputs)), old.source
            compared += 1
    assert compared > 10
