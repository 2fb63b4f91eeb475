"""Every Python that pyproject.toml admits, its oldest and its newest dependencies: `make matrix`.

Each environment is made from nothing in `.matrix/`, gets the package with all that its tests need, and runs them; a
table says what came of it.  The widgets are played in a browser (`make browser`) where the packages differ, not once more for
each Python.  ONLY="3.12 oldest" picks rows.  uv is used where there is one, else venv and pip.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [f"3.{minor}" for minor in range(*map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"])))]
STORED = (
    "tests/notebooks/test_notebooks.py::test_a_fresh_run_reads_as_the_stored_one",
    "tests/envoy/test_conformance_records.py::test_the_document_is_up_to_date",
)
"""What compares with text that the pinned set wrote; other versions may format and draw otherwise."""

WARMING = "import tests.conftest, meshmodel.warm as w; w.main()"
"""Compiles what would otherwise count as the time of whatever test comes first, as `make test` does."""


def rows() -> list[tuple[str, str]]:
    """(packages, Python): the pinned set on every Python, the oldest packages on the oldest, the newest on the newest that is here."""
    newest = next((version for version in reversed(PYTHONS) if interpreter(version)), PYTHONS[-1])
    return [*(("pinned", version) for version in PYTHONS), ("oldest", PYTHONS[0]), ("newest", newest)]


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: on the PATH, or one of pyenv's."""
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for candidate in filter(None, [*map(str, pyenv), shutil.which(f"python{version}")]):
        said = subprocess.run([candidate, "-c", "import sys, venv; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True)
        if said.stdout.strip() == version:
            return candidate
    return None


def oldest() -> list[str]:
    """The lower bound of each dependency, as an exact version."""
    extras = PROJECT["optional-dependencies"]
    every = [*PROJECT["dependencies"], *itertools.chain(*(extras[name] for name in ("envoy", "dask", "test")))]
    return [re.sub(r">=([\w.]+)(,[^;]*)?", r"==\1", requirement) for requirement in every]


def install(packages: str, python: str, folder: Path) -> None:
    """Make the environment in `folder`; raises CalledProcessError with what the installer said."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    constraints = {"pinned": (ROOT / "constraints.txt").read_text(encoding="utf-8"), "oldest": "\n".join(oldest()), "newest": ""}
    (folder / "wanted.txt").write_text(constraints[packages], encoding="utf-8")
    wanted = ["--quiet", "--constraint", str(folder / "wanted.txt"), "--editable", f"{ROOT}[envoy,dask,test]"]
    uv = shutil.which("uv")
    env = folder / "env"
    if uv:
        commands = [
            [uv, "venv", "-q", "--seed", "--python", python, str(env)],
            [uv, "pip", "install", "--compile-bytecode", "--python", str(env), *wanted],
        ]
    else:
        pip = [str(env / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
        commands = [[python, "-m", "venv", str(env)], [*pip, *wanted]]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, text=True)


def tested(packages: str, folder: Path) -> str:
    """The last line of the tests' output, which is kept in `folder`/log.txt."""
    command = [
        str(folder / "env/bin/python"),
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        "-p",
        "no:cacheprovider",
        "tests",
    ]
    command += ["-m", "not browser"] if packages == "pinned" else [word for test in STORED for word in ("--deselect", test)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "compiled")}
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        subprocess.run([command[0], "-c", WARMING], cwd=ROOT, env=environment, stdout=log, stderr=log, check=False)
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False)
    said = re.findall(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s", (folder / "log.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return said[-1] if said else "did not run"


def outcome(packages: str, version: str) -> str:
    """What came of one row."""
    python, folder = interpreter(version), FOLDER / f"{packages}-{version}"
    if python is None:
        return "this Python is not here"
    try:
        install(packages, python, folder)
    except subprocess.CalledProcessError as error:
        (folder / "log.txt").write_text(error.stderr, encoding="utf-8")
        return f"cannot be installed: {error.stderr.strip().splitlines()[-1]}"
    return tested(packages, folder)


def main(only: list[str]) -> int:
    """Print the table; 1 if anything failed."""
    failed = False
    print(f"{'packages':10}{'Python':8}{'minutes':>8}  tests", flush=True)
    for packages, version in rows():
        if not only or {packages, version, f"{packages}-{version}"} & set(only):
            begun = time.time()
            said = outcome(packages, version)
            failed |= not re.match(r"\d+ passed|this Python is not here", said)
            print(f"{packages:10}{version:8}{(time.time() - begun) / 60:8.1f}  {said}", flush=True)
    print(f"what each printed: {FOLDER.relative_to(ROOT)}/*/log.txt")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
