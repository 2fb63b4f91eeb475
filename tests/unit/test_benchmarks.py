"""The benchmark's loops run the experiment that our engine runs, else their ratios would mean nothing.

A figure has one value for each run, and runs are independent: Welch's t-test of ours against
theirs.  False-alarm rate: 1e-3 for each test, by Bonferroni over its figures; seeds are fixed.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from meshmodel.results.replay import Replay
from meshmodel.scenario import Scenario
from meshmodel.simulation.montecarlo import simulate

for needed in ("numba", "simpy", "ciw"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: the extra meshmodel[benchmarks] has it")

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import ciw_loop  # noqa: E402
import compiled_loop  # noqa: E402
import scenarios  # noqa: E402
import simpy_loop  # noqa: E402

FALSE_ALARMS = 1e-3
RUNS = 60
POLICIES = (scenarios.ALL, scenarios.BITING)


def their_figures(runs: scenarios.Runs, pods: int) -> dict[str, np.ndarray]:
    """Each figure of each run, (replications,)."""
    each = [runs.log[a:b] for a, b in zip(runs.first[:-1], runs.first[1:], strict=True)]
    figures = {
        "requests": [len(log) for log in each],
        "mean": [log["latency"].mean() for log in each],
        "p95": [np.quantile(log["latency"], 0.95) for log in each],
        "ok": [np.mean(log["code"] == 200) for log in each],
        "attempts": [log["attempts"].mean() for log in each],
        **{f"pod {pod}": [np.mean(log["endpoint"] == pod) for log in each] for pod in range(-1, pods)},
    }
    return {name: np.array(values, dtype=float) for name, values in figures.items()}


def our_figures(replay: Replay) -> dict[str, np.ndarray]:
    """The same of a replay."""
    log, first = [], [0]
    for i in range(replay.replications):
        real = replay.log.code[:, i] != -2
        log += list(zip(*(getattr(replay.log, name)[real, i].tolist() for name, _ in scenarios.FIELDS), strict=True))
        first.append(len(log))
    return their_figures(scenarios.Runs(np.array(log, scenarios.REQUEST), np.array(first)), len(replay.pod_names))


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """The p-values of the figures that differ beyond chance."""
    found = {}
    for name, a in ours.items():
        b = theirs[name]
        if np.ptp(a) < 1e-9 and np.ptp(b) < 1e-9:
            p = float(np.isclose(a[0], b[0], rtol=1e-9))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # one of the two does not vary at all
                p = float(stats.ttest_ind(a, b, equal_var=False).pvalue)
        if p < FALSE_ALARMS / len(ours):
            found[name] = p
    return found


def scenario_of(name: str) -> Scenario:
    """Long enough for who was ejected to come back."""
    return scenarios.scenario(name, duration=16.0)


@lru_cache
def our_replay(name: str) -> Replay:
    return simulate(scenario_of(name), RUNS, seed=11)


def compared(name: str, theirs: scenarios.Runs, leave_out: tuple[str, ...] = ()) -> dict[str, float]:
    ours = {figure: values for figure, values in our_figures(our_replay(name)).items() if figure not in leave_out}
    return differences(ours, their_figures(theirs, len(scenario_of(name).endpoints)))


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_compiled_loop_agrees_with_our_engine(name: str) -> None:
    assert compared(name, compiled_loop.run(scenario_of(name), RUNS, seed=2)) == {}


@pytest.mark.parametrize("name", scenarios.SIMPLE)
def test_simpy_loop_agrees_with_our_engine(name: str) -> None:
    assert compared(name, simpy_loop.run(scenario_of(name), 20, seed=3)) == {}


@pytest.mark.parametrize("name", scenarios.SIMPLE)
def test_ciw_loop_agrees_with_our_engine(name: str) -> None:
    """But for the latency: Ciw's records are of the visit to the pod."""
    assert compared(name, ciw_loop.run(scenario_of(name), 10, seed=4), leave_out=("mean", "p95")) == {}


@pytest.mark.parametrize("name", POLICIES)
def test_a_loop_that_forgets_a_policy_is_found(name: str) -> None:
    """The comparison has the power to see that retries, or the limit on requests, are missing."""
    world = compiled_loop.world(compiled_loop.collapse(scenario_of(name)))
    world.rules["attempts" if name == scenarios.ALL else "max_requests"] = 0 if name == scenarios.ALL else 100
    log, first = compiled_loop._runs(world, False, np.random.default_rng(2), RUNS)
    log["code"][log["code"] != 200] = 500
    assert compared(name, scenarios.Runs(log, first)) != {}


def test_every_policy_bites_where_the_scenario_says_so() -> None:
    replay = our_replay(scenarios.BITING)
    counters = {name: int(values.sum()) for name, values in replay.counters.items()}
    assert all(counters.values()), counters
    assert set(replay.ejections.ejected) == {True, False}  # gone, and back again


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_requests(name: str) -> None:
    scenario = scenarios.scenario(name, duration=5.0)
    first, second = (compiled_loop.run(scenario, 3, seed=7) for _ in range(2))
    assert np.array_equal(first.log, second.log) and not np.array_equal(first.log, compiled_loop.run(scenario, 3, seed=8).log)


def test_the_compiled_loop_refuses_what_it_leaves_out() -> None:
    scenario = scenarios.scenario("RANDOM")
    with pytest.raises(ValueError, match="^new_connection_per_request: not in the compiled loop$"):
        compiled_loop.run(replace(scenario, new_connection_per_request=False), 1, seed=1)
    with pytest.raises(ValueError, match="^no scenario 'FIRST'"):
        scenarios.scenario("FIRST")
