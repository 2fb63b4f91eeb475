"""The benchmark's loops run the experiment that our engine runs, else their ratios would mean nothing.

A figure has one value for each run, and runs are independent: Welch's t-test of ours against
theirs.  False-alarm rate: 1e-3 for each test, by Bonferroni over its figures; seeds are fixed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from meshmodel.engines.montecarlo import simulate
from meshmodel.replay import Replay
from meshmodel.scenario import Scenario

for needed in ("numba", "simpy", "ciw"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: the extra meshmodel[benchmarks] has it")

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import ciw_loop  # noqa: E402
import compiled_loop  # noqa: E402
import scenarios  # noqa: E402
import simpy_loop  # noqa: E402

FALSE_ALARMS = 1e-3
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
            p = float(stats.ttest_ind(a, b, equal_var=False).pvalue)
        if p < FALSE_ALARMS / len(ours):
            found[name] = p
    return found


def compared(scenario: Scenario, theirs: scenarios.Runs, replications: int, leave_out: tuple[str, ...] = ()) -> dict[str, float]:
    ours = our_figures(simulate(scenario, replications, seed=11))
    return differences({k: v for k, v in ours.items() if k not in leave_out}, their_figures(theirs, len(scenario.endpoints)))


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_compiled_loop_agrees_with_our_engine(name: str) -> None:
    scenario = scenarios.scenario(name, duration=25.0)
    assert compared(scenario, compiled_loop.run(scenario, 200, seed=2), 200) == {}


@pytest.mark.parametrize("name", scenarios.SIMPLE)
def test_simpy_loop_agrees_with_our_engine(name: str) -> None:
    scenario = scenarios.scenario(name, duration=25.0)
    assert compared(scenario, simpy_loop.run(scenario, 20, seed=3), 200) == {}


@pytest.mark.parametrize("name", scenarios.SIMPLE)
def test_ciw_loop_agrees_with_our_engine(name: str) -> None:
    """But for the latency: Ciw's records are of the visit to the pod."""
    scenario = scenarios.scenario(name, duration=25.0)
    assert compared(scenario, ciw_loop.run(scenario, 10, seed=4), 200, leave_out=("mean", "p95")) == {}


@pytest.mark.parametrize("name", POLICIES)
def test_a_loop_that_forgets_a_policy_is_found(name: str) -> None:
    """The comparison has the power to see that retries, or the limit on connections, are missing."""
    scenario = scenarios.scenario(name, duration=25.0)
    world = compiled_loop.world(compiled_loop.collapse(scenario))
    world.rules["attempts" if name == scenarios.ALL else "max_connections"] = 0 if name == scenarios.ALL else 100
    log, first = compiled_loop._runs(world, False, np.random.default_rng(2), 200)
    log["code"][log["code"] != 200] = 500
    assert compared(scenario, scenarios.Runs(log, first), 200) != {}


def test_every_policy_bites_where_the_scenario_says_so() -> None:
    replay = simulate(scenarios.scenario(scenarios.BITING), 50, seed=5)
    counters = {name: int(values.sum()) for name, values in replay.counters.items()}
    assert all(counters.values()), counters
    assert {len(set(replay.ejections.pod)), replay.ejections.ejected.any()} == {1, True} or len(set(replay.ejections.pod)) > 1


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_requests(name: str) -> None:
    scenario = scenarios.scenario(name, duration=5.0)
    first, second = (compiled_loop.run(scenario, 3, seed=7) for _ in range(2))
    assert np.array_equal(first.log, second.log) and not np.array_equal(first.log, compiled_loop.run(scenario, 3, seed=8).log)


def test_the_compiled_loop_refuses_what_it_leaves_out() -> None:
    from dataclasses import replace

    scenario = scenarios.scenario("RANDOM")
    with pytest.raises(ValueError, match="^new_connection_per_request: not in the compiled loop$"):
        compiled_loop.run(replace(scenario, new_connection_per_request=False), 1, seed=1)
    with pytest.raises(ValueError, match="^no scenario 'FIRST'"):
        scenarios.scenario("FIRST")
