"""The house: imports point one way, and what is heavy is loaded by who needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docs.house import DRAWING, PACKAGE, ROOT, TOOLS, TRADES, arrows, drawing, floors, imported

ALLOWED = {
    "scenario": set(),
    "compiled": set(),
    "fakeservice": {"scenario", "rules"},
    "istio": {"scenario", "fakeservice", "rules"},
    "rules": {"scenario", "compiled"},
    "results": {"scenario", "fakeservice"},
    "simulation": {"scenario", "fakeservice", "rules", "results", "compiled"},
    "analytic": {"scenario", "fakeservice", "results"},
    "envoy": {"scenario", "fakeservice", "results"},
    "workloads": {"scenario", "fakeservice", "istio"},
    "mesh": {"workloads", "scenario", "istio", "results", "simulation", "analytic", "envoy"},
    "grid": {"scenario", "results", "simulation"},
    "evidence": {"scenario", "fakeservice", "workloads", "results", "simulation", "analytic", "envoy", "mesh"},
    "whatif": {"scenario", "fakeservice", "results"},
    "teaching": {"analytic", "envoy", "evidence", "fakeservice", "mesh", "results", "rules", "scenario", "whatif"},
    "course": {"analytic", "evidence", "fakeservice", "mesh", "results", "rules", "teaching"},
    "warm": {"scenario", "simulation"},
}
"""What each place may import; besides, anybody the tools.  The command line, which is not listed, may use all."""

HEAVY = {"IPython", "aiohttp", "ipywidgets", "matplotlib", "numba", "pandas", "scipy", "tqdm"}


@pytest.mark.parametrize("here", sorted(arrows().keys() - TOOLS - {"__main__"}))
def test_a_place_imports_what_it_may(here: str) -> None:
    assert here in ALLOWED, f"{here}: a new place; say here in ALLOWED what it may import, and in docs/house.py what it is"
    assert arrows()[here] - TOOLS <= ALLOWED[here]


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_a_tool_of_the_house_uses_only_tools(tool: str) -> None:
    assert arrows()[tool] <= TOOLS


def test_the_allowed_arrows_make_no_circle_and_each_is_used() -> None:
    assert floors(ALLOWED)["scenario"] == 0
    for here, others in ALLOWED.items():
        assert not others - arrows()[here], f"{here}: no longer imports {others - arrows()[here]}"


def test_the_drawing_is_that_of_the_code() -> None:
    assert drawing() == DRAWING.read_text(encoding="utf-8"), "make house"
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not [here for here in TRADES if f"`{here}" not in text]


def test_files_of_one_folder_import_each_other_one_way() -> None:
    files = {path: [parts for parts in imported(path)] for path in PACKAGE.rglob("*.py")}
    names = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in files}
    after: dict[tuple[str, ...], set[tuple[str, ...]]] = {
        name: {parts[:k] for parts in files[path] for k in (1, 2) if parts[:k] in names} - {name} for name, path in names.items()
    }
    while free := {name for name, needs in after.items() if not needs}:
        after = {name: needs - free for name, needs in after.items() if name not in free}
    assert not after, "a circle among " + ", ".join(".".join(name) for name in sorted(after))


@pytest.mark.parametrize(
    ("what", "script"),
    [
        ("import", "import meshmodel"),
        ("the public verbs", "from meshmodel import Histogram, ManifestError, Mesh, catalogue, compare"),
        ("meshmodel list", "from meshmodel.__main__ import main; main(['list'])"),
        ("bad input", "from meshmodel.__main__ import main; main(['load', 'nowhere.yaml'])"),
    ],
)
def test_nothing_heavy_is_loaded_by(what: str, script: str) -> None:
    """Loading them takes seconds; the limit of half a second is kept by not loading them, not by a clock."""
    asked = f"{script}\nimport sys; print('loaded:', *sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:", what
