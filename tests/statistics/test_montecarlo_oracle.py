"""The engine against the plain loop of `tests/oracle_loop.py`: every figure of many scenarios.

The engine's runs and the oracle's are compared figure by figure with an exact permutation test (`tests/figures.py`).
False-alarm rate: 1e-3 for this whole file, by Bonferroni over its tests, their scenarios and figures; seeds are fixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from meshmodel.scenario import Behaviour, ClosedLoop, ConnectionPool, Scenario
from meshmodel.simulation.closed_loop import ClosedLoopRun
from meshmodel.simulation.montecarlo import simulate
from meshmodel.simulation.plan import collapse, only_balancing
from meshmodel.simulation.run import stream
from tests import oracle_replay
from tests.figures import differences, figures_of
from tests.new_engine import only_the_new_engine
from tests.oracle_family import COIN, FAMILY, NEW_FAMILY, closed, poisson, web
from tests.oracle_loop import detection, plain, retry, route, scenario

FALSE_ALARMS = 1e-3 / 3
"""Of each of the three tests here."""


def disagreements(tested: Scenario, scenarios: int, engine: int, oracle: int) -> dict[str, tuple[float, float, float]]:
    """The figures that differ, at this scenario's part of the false alarms, of which there are so many."""
    found = differences(figures_of(simulate(tested, engine, seed=1)), figures_of(oracle_replay.simulate(tested, oracle, seed=1)))
    return {figure: values for figure, values in found.items() if values[-1] < FALSE_ALARMS / scenarios / len(found)}


@pytest.mark.parametrize("name", [*FAMILY, *(pytest.param(name, marks=only_the_new_engine) for name in NEW_FAMILY)])
def test_engine_agrees_with_the_plain_loop(name: str) -> None:
    tested = FAMILY[name] if name in FAMILY else NEW_FAMILY[name]()
    assert disagreements(tested, len(FAMILY) + len(NEW_FAMILY), engine=200, oracle=20) == {}


def some(values: list) -> st.SearchStrategy:
    return st.sampled_from(values)


pods = st.builds(
    lambda seconds, failing: replace(failing, timing_50_percentile=seconds),
    some([0.05, 0.1, 0.3]),
    some(
        [
            Behaviour(),
            Behaviour(),
            Behaviour(**COIN),
            Behaviour(error_rate=0.34, error_code=503),
            Behaviour(failure="refused"),
            Behaviour(concurrency=1),
        ]
    ),
)
pools = some(
    [
        ConnectionPool(),
        ConnectionPool(),
        ConnectionPool(max_requests=3),
        ConnectionPool(max_connections=2, max_pending_requests=3),
        ConnectionPool(max_retries=1),
    ]
)
policies = st.builds(
    retry,
    some([0, 1, 3]),
    some(["5xx", "gateway-error", "connect-failure"]),
    per_try_timeout=some([None, None, 0.12]),
    previous_hosts=st.booleans(),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any mixture of policies, on one hop or two."""
    behaviours = draw(st.lists(pods, min_size=1, max_size=4))
    two = draw(st.booleans())
    last = route(
        behaviours, draw(some(["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])), callers=("w0",), retries=draw(policies),
        timeout=draw(some([None, 0.25, 0.7])),
        connection_pool=draw(pools), outlier_detection=draw(some([None, detection(consecutive_5xx=3)])),
        priorities=draw(some([(), (tuple(min(i, 1) for i in range(len(behaviours))),)])),
    )  # fmt: skip
    front = (web(timeout=draw(some([None, 0.4])), retries=draw(policies)),) if two else ()
    load = draw(some([closed(3, 3), closed(6, 2), ClosedLoop(calls=15), poisson(8, 3), poisson(25, 2)]))
    return scenario(*front, last, load=load, workers=draw(some([1, 2])), overhead=stats.uniform(0.01, 0.02))  # no ties


EXAMPLES = 20


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(scenarios())
def test_engine_agrees_on_any_mixture(tested: Scenario) -> None:
    assert disagreements(tested, EXAMPLES, engine=60, oracle=10) == {}


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
@pytest.mark.parametrize("own_worker", [False, True])
def test_lock_step_agrees_with_the_event_loop(policy: str, own_worker: bool) -> None:
    """Kolmogorov-Smirnov on five figures of 6 cases, over runs."""
    behaviours = [plain(0.3, **COIN), plain(0.1, timing_90_percentile=0.2, timing_variance=20), plain(0.1, error_rate=0.34)]
    tested = scenario(
        route(behaviours, policy), load=closed(5, 6, qps=9 if own_worker else 0), new_connection_per_request=not own_worker, overhead=0.002
    )
    assert only_balancing(collapse(tested))
    short = ClosedLoopRun(tested, [stream(3, i) for i in range(600)]).run()[0]  # the other loop, for what `simulate` runs as events
    event = simulate(tested, 600, seed=4).log
    figures = [lambda log: (log.code == 200).sum(0), lambda log: np.nanmean(log.latency, axis=0), lambda log: np.nanmax(log.start, axis=0)]
    figures += [lambda log, e=e: (log.endpoint == e).sum(0) for e in (0, 1)]
    pvalues = [stats.ks_2samp(*(np.round(figure(log), 6) for log in (short, event))).pvalue for figure in figures]
    assert min(pvalues) > FALSE_ALARMS / 6 / len(figures), pvalues
