"""Whatever is read, it is read or refused: one printable line that says where, never another exception, never a hang.

The same cases at every run; `make fuzz` draws fresh ones for as long as one likes (`tests/fuzz.py`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshmodel import __main__ as command_line
from meshmodel import fakeservice
from meshmodel._text import InputError
from meshmodel.mesh import Mesh
from meshmodel.results.calibration import CalibrationError, calibrate
from meshmodel.results.compare import CompareError, compare, read_outcome
from meshmodel.results.fortio import FortioError, Histogram, read_record
from meshmodel.scenario import Behaviour, ClosedLoop, ScenarioError

from . import hostile
from .hostile import without_engine

MOST_SECONDS = 10.0
"""Of CPU time, for one case: what runs away takes minutes, a calibration that loads the engine 2.3 on a busy machine."""

CASES = int(os.environ.get("FUZZ_CASES", 200))
fuzz = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

PLACE = re.compile(r"(document \d+( line \d+)?|line \d+|byte \d+)\b|: [\w.\[\]'\"\\$-]{1,210}: ")
OF_THE_WHOLE_FILE = re.compile(": (empty|not text|not a text file|a PDF|no line '|must be a JSON object|not a replay)")


played = Counter[str]()
"""How many cases there were, for `tests/fuzz.py`."""


def counted(cases: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def one(case: Any) -> Any:
        played["cases"] += 1
        return case

    return cases.map(one)


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    yield
    print(f"\ncases: {played['cases']}")


@contextmanager
def contract(*errors: type[Exception], where: str = "") -> Iterator[None]:
    """What is inside succeeds or raises one of `errors`, in one printable line with a place, in `MOST_SECONDS` of CPU time."""
    begun = time.process_time()
    try:
        yield
    except errors as problem:
        line = str(problem)
        assert line.isprintable() and 0 < len(line) <= 500, line
        assert line.startswith(where), line
        assert PLACE.search(line) or OF_THE_WHOLE_FILE.search(line) or not where, line
    assert time.process_time() - begun < MOST_SECONDS


def written(folder: Path, content: bytes, name: str) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def testbed() -> Mesh:
    return Mesh(overhead=0).apply(hostile.DATA / "tutorial" / "manifests" / "testbed.yaml")


def use(mesh: Mesh) -> None:
    """All that can be asked of a mesh without a load; what only the whole mesh shows names its resource or the target."""
    with contract(InputError, ScenarioError):
        mesh.scenario(ClosedLoop(calls=1))
        assert mesh.proxy_config_routes().replace("\n", "").isprintable()
    with contract():
        assert all(str(warning).isprintable() for warning in mesh.warnings)


@fuzz
@given(content=counted(hostile.manifests))
def test_a_file_of_manifests(content: bytes, folder: Path, testbed: Mesh) -> None:
    mesh = testbed.copy()
    with contract(InputError, where="m.yaml"):
        mesh.apply(written(folder, content, "m.yaml"))
    use(mesh)


@fuzz
@given(source=counted(hostile.plain_sources()))
def test_a_source_in_python(source: Any, testbed: Mesh) -> None:
    mesh = testbed.copy()
    with contract(InputError):
        mesh.apply(source)
    use(mesh)


@fuzz
@given(content=counted(hostile.records))
def test_a_record(content: bytes, folder: Path) -> None:
    path = written(folder, content, "record")
    with contract(FortioError, where=str(path)):
        record = read_record(path)
        assert Histogram.from_text(record.to_text()).count == record.count
        assert record.run_text().replace("\n", "").isprintable()


@fuzz
@given(content=counted(hostile.outcomes))
def test_stored_figures_and_their_comparison(content: bytes, folder: Path) -> None:
    path = written(folder, content, "outcome.json")
    with contract(CompareError, where=str(path)):
        outcome = read_outcome(path)
        comparison = compare(outcome, Histogram.from_text(hostile.RECORDS[0]))
        assert str(comparison).replace("\n", "").isprintable()


@fuzz
@given(environment=counted(hostile.environments))
def test_an_environment(environment: dict[str, str]) -> None:
    with contract():
        try:
            fakeservice.from_environment(environment)
        except ScenarioError as problem:  # the name is as it was given: the manifest's reader has refused what does not print
            assert str(problem).startswith(tuple(f"{name}: " for name in environment))


@fuzz
@given(text=counted(hostile.durations))
def test_a_duration(text: str) -> None:
    with contract(ScenarioError):
        assert abs(fakeservice.parse_duration(text, "-t", negative=True)) < 2**63 / 1e9


@pytest.fixture(scope="module")
def loaded() -> None:
    """What calibrating loads once is no case's own time."""
    calibrate(Histogram.from_text(hostile.RECORDS[0]), [Behaviour(timing_50_percentile=0.15)])


@settings(fuzz, max_examples=max(10, CASES // 20))
@given(content=counted(hostile.records))
def test_what_is_calibrated_on(content: bytes, folder: Path, loaded: None) -> None:
    try:
        record = read_record(written(folder, content, "record"))
    except FortioError:
        return
    with contract(CalibrationError, FortioError):
        overhead = calibrate(record, [Behaviour(timing_50_percentile=0.15)])
        assert 0 < overhead.mean()


WITHOUT_ENGINE = command_line.VERBS | dict.fromkeys(("load", "curl", "predict", "measure", "replay", "endpoints"), without_engine)


@pytest.fixture(scope="module")
def there(folder: Path) -> Path:
    for name in ("testbed.yaml", "dr-random.yaml"):
        (folder / name).write_bytes((hostile.DATA / "tutorial" / "manifests" / name).read_bytes())
    for load in (ClosedLoop(calls=1), ClosedLoop(duration=1.0)):  # what is loaded and calibrated once is no case's own time
        Mesh().apply(folder / "testbed.yaml").scenario(load)
    command_line.main(["student", "no-such.ipynb", "copy.ipynb"])
    return folder


@fuzz
@given(words=counted(hostile.command_lines))
def test_a_command_line(words: list[str], there: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(there), contract():
        patch.setattr(command_line, "VERBS", WITHOUT_ENGINE)
        for name, stream in (("stdin", io.StringIO()), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, stream)
        status = command_line.main(words)
    assert status in (0, 2)
    assert out.getvalue().replace("\n", "").isprintable() and err.getvalue().replace("\n", "").isprintable()
    if status == 2:  # a line for each file that is refused
        lines = err.getvalue().splitlines()
        assert lines and all(line.startswith("meshmodel: ") and len(line) < 520 for line in lines), lines
        assert all(re.search(": |no experiment '", line[11:]) for line in lines), lines
