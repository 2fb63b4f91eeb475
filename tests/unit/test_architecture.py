"""The house: imports point one way, and what is heavy is loaded by who needs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "meshmodel"

OUTSIDE = {"_data", "_files", "_text", "compiled"}
"""Tools of the house that know nothing of meshes: anybody may use them, they use nobody."""

ALLOWED = {
    "scenario": set(),
    "fakeservice": {"scenario"},
    "istio": {"scenario", "fakeservice"},
    "rules": {"scenario", "fakeservice"},
    "results": {"scenario", "fakeservice"},
    "simulation": {"scenario", "fakeservice", "rules", "results"},
    "analytic": {"scenario", "fakeservice", "results"},
    "envoy": {"scenario", "fakeservice", "results"},
    "workloads": {"scenario", "fakeservice", "istio"},
    "mesh": {"workloads", "scenario", "istio", "results", "simulation", "analytic", "envoy"},
    "grid": {"scenario", "results", "simulation"},
    "evidence": {"scenario", "fakeservice", "workloads", "results", "simulation", "analytic", "envoy", "mesh"},
    "teaching": {"scenario", "fakeservice", "results", "envoy"},
    "_flags": {"fakeservice"},
}
"""What each place of the package may import.  The command line, which is not listed, may use all."""

HEAVY = {"IPython", "aiohttp", "ipywidgets", "matplotlib", "numba", "pandas", "scipy", "tqdm"}


@cache
def arrows() -> dict[str, set[str]]:
    """Place -> places that it imports, inside functions too, but not for the type checker alone."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        here = place(path.relative_to(PACKAGE).parts)
        found.setdefault(here, set()).update({place(parts) for parts in imported(path)} - {here})
    return found


def place(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in typing_only and (node.module or "").split(".")[0] == "meshmodel":
            for alias in node.names:
                yield tuple(f"{node.module}.{alias.name}".split("."))[1:]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] != "meshmodel", f"{path}: write from meshmodel... import"


@pytest.mark.parametrize("here", sorted(arrows().keys() - OUTSIDE - {"__init__", "__main__"}))
def test_a_place_imports_what_it_may(here: str) -> None:
    assert here in ALLOWED, f"{here}: a new place; say in ALLOWED what it may import, and draw it in docs/architecture.md"
    assert arrows()[here] - OUTSIDE <= ALLOWED[here]


@pytest.mark.parametrize("tool", sorted(OUTSIDE))
def test_a_tool_of_the_house_uses_nobody(tool: str) -> None:
    assert not arrows()[tool]


def test_the_allowed_arrows_make_no_circle_and_each_is_used() -> None:
    order = list(ALLOWED)
    for here, others in ALLOWED.items():
        assert all(order.index(other) < order.index(here) for other in others), here
        assert not others - arrows()[here], f"{here}: no longer imports {others - arrows()[here]}"


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
