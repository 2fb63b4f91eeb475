"""What is too large is refused in one line that says what to change, before anything is allocated.

Each command runs in a process of its own that may have 2 GB of address space, and 2 seconds of CPU beside what it takes
to load the program: some times what it takes to read the manifests and print a table.
"""

from __future__ import annotations

import math
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from meshmodel._data import data_path
from tests.new_engine import only_the_new_engine

GIGABYTES, SECONDS = 2, 2
LOADING = 4
"""An engine's libraries take so many times the CPU of `routes` to load, with room."""
RUN = """
import resource, sys
memory, seconds = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
from meshmodel.__main__ import main
sys.exit(main(sys.argv[3:]))
"""
TESTBED = str(data_path("tutorial", "manifests", "testbed.yaml"))
HINT = re.compile(r"\b(fewer|shorter|lower|less|smaller|at most|raise|give)\b")

RETRIES = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: simple-backend-vs, namespace: istioinaction}
spec:
  hosts: [simple-backend]
  http:
  - route: [{destination: {host: simple-backend}}]
    retries: {attempts: 2147483647, retryOn: 5xx}
"""


def command(arguments: list[str], seconds: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command line under limits; nothing of a machine's many cores counts against the memory."""
    one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    limited = [sys.executable, "-c", RUN, str(GIGABYTES << 30), str(seconds), *arguments]
    return subprocess.run(limited, capture_output=True, text=True, cwd=folder, env={**os.environ, **one_thread}, check=False)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How much CPU a refusal may take, on this machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command(["routes", TESTBED], 60, tmp_path_factory.mktemp("routes"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return SECONDS + math.ceil(LOADING * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))


TOO_LARGE = {
    "connections": ["load", TESTBED, "-c", "100000000"],
    "calls and connections": ["load", TESTBED, "-n", "1000000000", "-c", "1000000000"],
    "calls": ["load", TESTBED, "-n", "1000000000000", "-c", "10"],
    "calls of curl": ["curl", TESTBED, "-n", "1000000000"],
    "duration": ["load", TESTBED, "-t", "1000h"],
    "connections without a rate": ["load", TESTBED, "-c", "100000", "-qps", "0"],
    "300 million requests": ["load", TESTBED, "-t", "60s", "--replications", "230000"],
    "replications": ["load", TESTBED, "--replications", "1000000000"],
    "rate": ["load", TESTBED, "--rate", "1e9", "-t", "1h"],
    "a ramp": ["load", TESTBED, "--segment", "1000h:1:1000000"],
}
WAITING = {"connections", "calls and connections"}
"""What the engine before the compiled event loop begins, or is told by the lack of memory."""

LARGE = {
    "calls": ["predict", TESTBED, "-n", "1000000000"],
    "calls and connections": ["predict", TESTBED, "-n", "1000000000", "-c", "1000000000"],
    "connections": ["predict", TESTBED, "-c", "100000000"],
    "duration": ["predict", TESTBED, "-t", "100000h"],
    "duration without a rate": ["predict", TESTBED, "-t", "100000h", "-qps", "0"],
}


def is_refusal(done: subprocess.CompletedProcess[str]) -> bool:
    """One line on standard error, from an estimate and not from the lack of memory, that says what to change."""
    one_line = len(done.stderr.strip().splitlines()) == 1 and "not enough memory" not in done.stderr
    return done.returncode == 2 and done.stdout == "" and one_line and HINT.search(done.stderr) is not None


@pytest.mark.parametrize("name", [pytest.param(name, marks=only_the_new_engine if name in WAITING else ()) for name in TOO_LARGE])
def test_what_is_too_large_is_refused_before_it_begins(name: str, seconds: int, tmp_path: Path) -> None:
    done = command(TOO_LARGE[name], seconds, tmp_path)
    assert is_refusal(done), (done.returncode, done.stderr[-500:])


@pytest.mark.parametrize("name", [pytest.param(name, marks=only_the_new_engine if name != "connections" else ()) for name in LARGE])
def test_a_prediction_of_any_size_is_quick_or_refused(name: str, seconds: int, tmp_path: Path) -> None:
    done = command(LARGE[name], seconds, tmp_path)
    assert done.returncode == 0 or is_refusal(done), (done.returncode, done.stderr[-500:])


def test_attempts_without_end_cost_nothing_until_they_are_made(seconds: int, tmp_path: Path) -> None:
    """Nobody fails here; so the run is as large as without a retry.  (Refusing it in one line would do as well.)"""
    (tmp_path / "retries.yaml").write_text(RETRIES, encoding="utf-8")
    done = command(["load", TESTBED, "retries.yaml", "-n", "20", "-c", "2", "--replications", "2"], 60, tmp_path)
    assert done.returncode == 0 or is_refusal(done), done.stderr


@pytest.mark.parametrize("timeout", ["3s", "2000001h"])
def test_a_pod_of_two_million_hours_fits_into_json(timeout: str, tmp_path: Path) -> None:
    """The series has no second for each of them."""
    text = data_path("tutorial", "manifests", "slow-backend-1.yaml").read_text(encoding="utf-8")
    slow, changes = re.subn(r'(TIMING_50_PERCENTILE"?\s*\n\s*value: )"?[0-9a-z]+"?', r'\1"2000000h"', text)
    assert changes
    (tmp_path / "slow.yaml").write_text(slow, encoding="utf-8")
    arguments = ["load", TESTBED, "slow.yaml", "-n", "6", "-c", "2", "-timeout", timeout, "--replications", "2", "--json", "out.json"]
    done = command(arguments, 60, tmp_path)
    assert done.returncode == 0 or is_refusal(done), done.stderr
    assert done.returncode or (tmp_path / "out.json").stat().st_size < 50e6
