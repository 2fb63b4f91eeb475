"""The project's own promises: one set of versions everywhere, typed public names, nothing that only one machine has."""

from __future__ import annotations

import importlib
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import meshmodel
from meshmodel import compiled as machine_code
from tests.matrix import PYTHONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MACHINE = re.compile(
    r"/(?:[h]ome|[U]sers)/\w|/[r]oot/|/[w]ork/|/[t]mp/dev|/[v]ar/folders/"
    r"|[p]ypi\.org|[p]ythonhosted|[f]ile:///|(?:extra-)?[i]ndex-url|[f]ind-links|\b[p]ip\.conf"
)


ELSEWHERE = "sys_platform != 'emscripten'"
"""The marker of what a browser tab lacks; conda is never there."""


def normal(requirement: str) -> tuple[str, str, str]:
    parsed = Requirement(requirement)
    marker = str(parsed.marker or "").replace('"', "'")
    return canonicalize_name(parsed.name), str(parsed.specifier), "" if marker == ELSEWHERE else marker


def project_files() -> list[Path]:
    """What git tracks or would track; without git, every file outside hidden folders."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [p for p in ROOT.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]


def modules() -> list[ModuleType]:
    package = ROOT / "meshmodel"
    names = [path.relative_to(ROOT).with_suffix("").parts for path in sorted(package.rglob("*.py")) if path.name != "__init__.py"]
    return [importlib.import_module(".".join(name)) for name in names]


def public_functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value
        elif inspect.isclass(value):
            for method, member in vars(value).items():
                function = inspect.unwrap(member.fget if isinstance(member, property) else getattr(member, "__func__", member))
                ours = (
                    inspect.isfunction(function) and function.__module__ == module.__name__
                )  # a library may add methods to its subclasses
                if not method.startswith("_") and ours:
                    yield f"{module.__name__}.{name}.{method}", function


def unannotated(function: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(function)
    names = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in {"self", "cls"}]
    return names + ["return"] * (signature.return_annotation is signature.empty)


def test_conda_environment_equals_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = [item for item in environment if isinstance(item, str) and item != "pip"]
    pip = next(item["pip"] for item in environment if isinstance(item, dict))
    pip.remove("-e .")  # the package itself
    wanted = [*PROJECT["dependencies"], *EXTRAS["envoy"], *EXTRAS["dask"], *EXTRAS["test"], f"python{PROJECT['requires-python']}"]
    assert sorted(map(normal, conda + pip)) == sorted(map(normal, wanted))


def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines and all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines)
    pins: dict[str, list[Requirement]] = {}
    for line in lines:
        pins.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    for text in [*PROJECT["dependencies"], *(requirement for extra in EXTRAS.values() for requirement in extra)]:
        wanted = Requirement(text)
        found = pins.get(canonicalize_name(wanted.name), [])
        assert found, f"{wanted.name} is not pinned"
        for pin in found:
            assert wanted.specifier.contains(next(iter(pin.specifier)).version), f"{pin} is outside {wanted}"


def test_versions_agree() -> None:
    oldest, above = re.fullmatch(r">=(3\.\d+),<(3\.\d+)", PROJECT["requires-python"]).groups()
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"({oldest.replace('.', ', ')}) <= sys.version_info < ({above.replace('.', ', ')})" in makefile
    every = f"Python {', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}"
    assert PYTHONS[0] == oldest and every in makefile and every in (ROOT / "README.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_no_test_looks_at_the_clock() -> None:
    """A busy machine is late by any number of seconds: `tests/patience.py` waits, and `tests/virtual_time.py` has a clock of its own."""
    clock = re.compile(r"\b(?:[m]onotonic|[p]erf_counter)(?:_ns)?\b|\b(?:join|wait)\(\d")
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in ("patience.py", "fuzz.py")]
    assert [f"{path.relative_to(ROOT)}: {hit}" for path in tests for hit in clock.findall(path.read_text(encoding="utf-8"))] == []


def test_make_help_lists_every_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"\.PHONY: (.*)", makefile)[0].split())
    said = subprocess.run(["make", "-s", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert targets == {line.split()[1] for line in said.splitlines() if line.startswith("make ")}


PAGES = [path for path in project_files() if path.suffix == ".md" and "docs/book/" not in path.as_posix()]  # `make book` checks its own


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    """Links to files of the repository, and `make` with a target."""
    text = page.read_text(encoding="utf-8")
    links = [unquote(link.split("#")[0]) for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|@|#", link)]
    assert [link for link in links if not (page.parent / link).exists()] == []
    targets = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_a_run_that_fails_ends_with_the_test_and_what_to_do(tmp_path) -> None:
    (tmp_path / "test_bad.py").write_text(
        "def test_good(): pass\ndef test_bad(): assert 0\ndef test_broken(missing): pass\n", encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        str(tmp_path),
    ]
    end = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout.split("2 failed:")[1]
    assert "test_bad.py::test_bad\n" in end and "test_bad.py::test_broken\n" in end and "test_good" not in end
    assert "look at one alone: .venv/bin/pytest -x 'test_bad.py::test_bad'" in end and f"Python {platform.python_version()}" in end


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in project_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for number, line in enumerate(lines, 1) if (hit := MACHINE.search(line))]
    assert found == []


@pytest.mark.parametrize("leak", ["see /" + "home/ann/x", "/" + "tmp/dev/venv", "https://pypi" + ".org/simple", "--index" + "-url x"])
def test_the_search_finds_a_leak(leak: str) -> None:
    assert MACHINE.search(leak)


def test_public_functions_are_annotated() -> None:
    missing = {name: gaps for module in modules() for name, function in public_functions(module) if (gaps := unannotated(function))}
    assert missing == {}


def test_package_is_marked_as_typed() -> None:
    assert (Path(meshmodel.__path__[0]) / "py.typed").exists()


def test_machine_code_is_kept_under_a_name_of_all_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba looks for changes in a function's own file alone: an edited rule must not run stale in the loop that calls it."""
    package = tmp_path / "meshmodel"
    shutil.copytree(ROOT / "meshmodel", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(machine_code, "PACKAGE", package)
    before = machine_code.cache_folder()
    assert before == machine_code.cache_folder()
    for name in ("rules/retries.py", "simulation/loop.py", "compiled.py"):
        with (package / name).open("a") as file:
            file.write("# edited\n")
        before, last = machine_code.cache_folder(), before
        assert before != last


def test_without_numba_everything_runs_as_python(tmp_path: Path) -> None:
    """Slow, and equal: to the digit."""
    told = []
    for disabled in ({}, {"NUMBA_DISABLE_JIT": "1"}):  # "0" too would be another environment, to be compiled for anew
        script = (
            "from meshmodel import Mesh; from meshmodel._data import data_path; folder = data_path('tutorial', 'manifests'); "
            "mesh = Mesh().apply(*(folder / f'{name}.yaml' for name in ('testbed', 'slow-backend-1', 'vs-timeout'))); "
            "r = mesh.fortio_load(connections=3, qps=0, duration='1s', replications=2); "
            "print(r.codes, r.mean.round(9).tolist(), r.requests.tolist())"
        )
        environment = os.environ | disabled | {"PYTHONPATH": str(ROOT)}
        told.append(subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1] != ""


def test_without_a_place_to_keep_machine_code_functions_still_compile() -> None:
    space: dict[str, Any] = {}
    exec(compile("def twice(x):\n    return 2 * x", "<a file that is not there>", "exec"), space)
    assert machine_code.outermost(space["twice"])(21) == 42
