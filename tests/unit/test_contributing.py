"""The worked examples of CONTRIBUTING.md, applied to a copy of the package: each touches one file, and does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```diff\n--- (\S+)\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M | re.S)

PLAYED = """
import numpy as np
from meshmodel.rules.balancing import picks
from meshmodel.rules.retries import longest_backoff
from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, Constant, Destination, Endpoint, Route, Scenario
from meshmodel.simulation.montecarlo import simulate

assert np.allclose([longest_backoff(retry) for retry in (1, 2, 3, 4, 20)], [0.025, 0.05, 0.075, 0.1, 0.25])
assert picks("FEWEST", hosts=3, n=2, active=[4, 1, 2]) == [1, 1]
slow = Behaviour(timing_50_percentile=0.1, concurrency=1)
pods = [Endpoint(name=f"p{i}", deployment=f"p{i}", address=f"10.0.0.{i}:80", behaviour=slow) for i in range(3)]
for policy, longest in (("FEWEST", 0.1), ("RANDOM", 0.3)):  # with three callers nobody ever waits for a pod that is busy
    cluster = Cluster(name="p", endpoints=tuple(pods), load_balancing=policy)
    route = Route(host="p", callers=(Caller(name="web"),), destinations=(Destination(cluster=cluster),))
    tested = Scenario(routes=(route,), workload=ClosedLoop(connections=3, calls=90), overhead=Constant(0.0), connect_time=0.0)
    latency = simulate(tested, 2).log.latency
    assert np.allclose(latency.max(), longest, atol=0.002), (policy, latency.max())
print("played")
"""


def apply(package: Path, name: str, diff: str) -> None:
    """Each part (they are divided by lines with @@) must stand in the file once."""
    path = package / name
    text = path.read_text(encoding="utf-8")
    for part in re.split(r"^@@\n", diff, flags=re.M):
        lines = part.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+")
        assert text.count(before) == 1, f"CONTRIBUTING.md, {name}: this is not in it, or more than once:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def play(package: Path, **more: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(package), "NUMBA_DISABLE_JIT": "1", "MESHMODEL_NO_PROGRESS": "1"} | more
    done = subprocess.run([sys.executable, "-c", PLAYED], capture_output=True, text=True, env=environment, cwd=package)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("name", "diff"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_ten_lines_in_one_file_of_the_rules(name: str, diff: str) -> None:
    assert name.startswith("meshmodel/rules/") and sum(line.startswith("+") for line in diff.splitlines()) <= 10


def test_the_examples_do_what_they_say(tmp_path: Path) -> None:
    """Not compiled here; in a copy, which is what is imported."""
    shutil.copytree(ROOT / "meshmodel", tmp_path / "meshmodel", ignore=shutil.ignore_patterns("__pycache__"))
    assert "played" not in play(tmp_path)
    for name, diff in EXAMPLES:
        apply(tmp_path, name, diff)
    told = play(tmp_path)
    assert told == "played\n", told
