"""The equilibria of a retry storm against the Monte-Carlo engine: one pod that works on one request at a time, an open loop.

The pod serves 20 requests a second, in the order of their arrival, also those given up.  Fixed seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshmodel.analytic.retries import storm_equilibria, storm_onset, storm_saddle_node
from meshmodel.results.replay import Replay
from meshmodel.scenario import Behaviour, ConnectionPool, OpenLoop, RetryBudget, Scenario
from meshmodel.simulation.montecarlo import simulate
from tests.oracle_loop import retry, route, scenario

SERVICE, CAPACITY = 0.05, 20.0


def too_late(rate: float, seconds: float) -> float:
    """P(response > t) of M/D/1, t >= service: 1 - (1 - rho) sum_k (-lambda u_k)^k / k! exp(lambda u_k), u_k = t - (k + 1) service.

    Source: A. K. Erlang (1909).
    """
    if rate * SERVICE >= 1:
        return 1.0
    left = seconds - SERVICE * np.arange(1, int(seconds / SERVICE + 1e-9) + 1)
    terms = [(-rate * u) ** k / math.factorial(k) * math.exp(rate * u) for k, u in enumerate(left)]
    return 1 - (1 - rate * SERVICE) * sum(terms)


def storm(
    *segments: tuple[float, float], timeout: float = 0.4, retries: int = 2, budget: float | None = None, backoff: float = 0.001
) -> Scenario:
    """`segments` are (seconds, requests per second)."""
    pool = ConnectionPool(retry_budget=None if budget is None else RetryBudget(budget_percent=100 * budget, min_retry_concurrency=0))
    policy = retry(retries, per_try_timeout=timeout, backoff_base_interval=backoff)
    pods = [Behaviour(timing_50_percentile=SERVICE, concurrency=1)]
    return scenario(
        route(pods, "RANDOM", retries=policy, connection_pool=pool),
        load=OpenLoop(segments=tuple((s, r, r) for s, r in segments)),
        overhead=0.0,
    )


def late_attempts(replay: Replay, after: float) -> np.ndarray:
    """Attempts per request that came `after` this second, (replications,)."""
    return np.nanmean(np.where(replay.log.start > after, replay.log.attempts, np.nan), axis=0)


@pytest.mark.parametrize("load, timeout", [(0.2, 0.1), (0.35, 0.15)])
def test_the_good_equilibrium(load, timeout):
    """Attempts per request from rest, within 1.5 %: retries a second late find a queue that is as good as independent."""
    fresh = load * CAPACITY
    good = storm_equilibria(fresh, lambda rate: too_late(rate, timeout), retries=1).rates[0]
    replay = simulate(storm((120, fresh), timeout=timeout, retries=1, backoff=1.0), 12, seed=1)
    assert good > 1.01 * fresh and late_attempts(replay, 20).mean() == pytest.approx(good / fresh, rel=0.015)


def test_the_good_equilibrium_vanishes_at_the_saddle_node():
    """30 % above it every run ends in the storm; 30 % below most of five still stand after 50 s (any may tip)."""
    edge = storm_saddle_node(lambda rate: too_late(rate, 0.4), 2, CAPACITY)
    below, above = (late_attempts(simulate(storm((50, f * edge), backoff=1.0), 5, seed=2), 40) for f in (0.7, 1.3))
    assert np.mean(below < 1.05) > 0.5 and above == pytest.approx(np.full(5, 3.0), rel=0.02)


@pytest.mark.parametrize("retries, budget", [(1, None), (2, 0.2), (2, 0.5)])
def test_a_storm_stays_from_the_onset_on(retries, budget):
    """After an overload of 1.5 s: 30 % below the onset all runs recover, 20 % above it none does, and all tries fail.

    A budget b is rounded down to whole retries and bites when few are in flight: up to a sixth less than 1 / (1 - b) tries.
    """
    onset, overload = storm_onset(retries, CAPACITY, budget), (1.5, 3 * CAPACITY)
    below, above = (simulate(storm(overload, (60, f * onset), timeout=1.0, retries=retries, budget=budget), 2, seed=3) for f in (0.7, 1.2))
    assert late_attempts(below, 50) == pytest.approx(np.ones(2), abs=0.03)
    most = CAPACITY / onset
    tries = late_attempts(above, 50)
    assert np.all(tries <= most * 1.01) and tries.mean() > (most * 0.99 if budget is None else most * 5 / 6)
    assert not np.any(above.log.code[above.log.start > 50] == 200)
