"""Retries: what they save, what they cost in time, and how they keep an overload alive.

With failure probability p at every attempt and r retries: success 1 - p^(r+1), attempts
(1 - p^(r+1)) / (1 - p).  Under Istio the previous_hosts predicate re-draws a host that
was already tried, up to 5 times: six draws in all, and the sixth stands.
Before retry k Envoy waits U[0, min(base 2^(k-1), 10 base)).
A storm: total rate L = fresh rate x attempts(f(L)), where f(L) is the failure probability
of pods that are offered L; its solutions are the equilibria.
References: Envoy, "Retry plugins: previous_hosts", "x-envoy-max-retries"; N. Bronson et al.,
"Metastable Failures in Distributed Systems" (HotOS 2021); measured on Envoy 1.40.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from meshmodel.analytic.queues import erlang_c


def success_probability(failing: float, retries: int) -> float:
    """Probability that one of 1 + retries independent attempts succeeds: 1 - p^(r+1)."""
    return 1 - failing ** (retries + 1)


def expected_attempts(failing: float, retries: int) -> float:
    """Attempts per request: 1 + p + ... + p^r (truncated geometric)."""
    return float(sum(failing**k for k in range(retries + 1)))


def reselected(shares: Sequence[float] | np.ndarray, used: Sequence[int], reselections: int = 5) -> np.ndarray:
    """Probability of each host for a retry when hosts `used` are re-drawn up to `reselections` times.

    Independent draws with `shares` (RANDOM; LEAST_REQUEST when nothing else is active).  With u the
    share of the used hosts: an unused e gets share_e (1 + u + ... + u^5), a used one share_e u^5.
    Source: Envoy, host_selection_retry_max_attempts; three hosts, one used: (1/3)^6 for the same again.
    """
    share = np.asarray(shares, float)
    mask = np.isin(np.arange(len(share)), list(used))
    u = share[mask].sum()
    return np.where(mask, share * u**reselections, share * sum(u**k for k in range(reselections + 1)))


def round_robin_next(position: int, hosts: int, used: Sequence[int], reselections: int = 5) -> tuple[int, int]:
    """(host, draws) of a ROUND_ROBIN retry from index `position`: the first unused in turn, at most 1 + 5 draws."""
    for draw in range(reselections + 1):
        host = (position + draw) % hosts
        if host not in used:
            return host, draw + 1
    return host, reselections + 1


@dataclass(frozen=True)
class RetryFigures:
    """`success` probability, mean `attempts` per request, and the share of requests whose `first_failed`."""

    success: float
    attempts: float
    first_failed: float


def with_failing_hosts(
    failing: Sequence[float], retries: int, load_balancing: str, previous_hosts: bool = True, reselections: int = 5
) -> RetryFigures:
    """Exact figures of sequential requests over hosts that fail with probability `failing[e]` at each attempt.

    RANDOM, and LEAST_REQUEST without concurrent requests, draw independently.  ROUND_ROBIN goes on from its
    index, which the retries advance too: where requests begin is the stationary law of a Markov chain on the index.
    """
    if load_balancing == "ROUND_ROBIN":
        return _round_robin_figures(failing, retries, previous_hosts, reselections)
    shares = np.full(len(failing), 1 / len(failing))
    level: dict[frozenset[int], float] = {frozenset(): 1.0}
    success = attempts = first = 0.0
    for k in range(retries + 1):
        following: dict[frozenset[int], float] = {}
        for used, mass in level.items():
            for e, p in enumerate(reselected(shares, sorted(used) if previous_hosts else [], reselections)):
                attempts += mass * p
                success += mass * p * (1 - failing[e])
                following[used | {e}] = following.get(used | {e}, 0.0) + mass * p * failing[e]
        level = following
        first = sum(level.values()) if k == 0 else first
    return RetryFigures(success, attempts, first)


def _round_robin_figures(failing: Sequence[float], retries: int, previous_hosts: bool, reselections: int) -> RetryFigures:
    hosts = len(failing)
    turn, figures = np.zeros((hosts, hosts)), np.zeros((hosts, 2))
    for start in range(hosts):
        position, used, mass = start, list[int](), 1.0
        for _ in range(retries + 1):
            e, draws = round_robin_next(position, hosts, used if previous_hosts else [], reselections)
            position, used = (position + draws) % hosts, [*used, e]
            figures[start] += mass * (1 - failing[e]), mass
            turn[start, position] += mass * (1 - failing[e])
            mass *= failing[e]
        turn[start, position] += mass
    begin = cesaro_limit(turn)
    success, attempts = (float(x) for x in begin @ figures)
    return RetryFigures(success, attempts, float(begin @ np.asarray(failing)))


def cesaro_limit(turn: np.ndarray) -> np.ndarray:
    """Long-run share of visits to each state from a uniform start; exact also for periodic or reducible chains.

    The mean of P^0 ... P^(m-1) for m -> infinity, by the resolvent (1-a) (I - a P)^-1 as a -> 1 (Abelian theorem).
    """
    closeness = 1e-9
    start = np.full(len(turn), 1 / len(turn))
    return closeness * np.linalg.solve((np.eye(len(turn)) - (1 - closeness) * turn).T, start)


# --- back-off ------------------------------------------------------------------------------


def backoff_width(retry: int, base: float = 0.025, longest: float | None = None) -> float:
    """The back-off before retry 1, 2, ... is uniform on [0, this): min(base 2^(k-1), 10 base) seconds.  Measured on Envoy 1.40."""
    return min(base * 2 ** (retry - 1), 10 * base if longest is None else longest)


@lru_cache(maxsize=512)
def backoff_distribution(widths: tuple[float, ...], points: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """CDF of the sum of independent uniforms on [0, w): (seconds, probability), on a grid of `points` or a few more.

    Numerical convolution: each uniform's CDF increments on a common grid, folded one after another;
    the error is below one grid step.
    """
    step = sum(widths) / points
    pmf = np.ones(1)
    for width in widths:
        edges = np.arange(math.ceil(width / step - 1e-9) + 1) * step
        pmf = np.convolve(pmf, np.diff(np.minimum(edges / width, 1.0)))
    seconds = (np.arange(len(pmf) + 1) + 0.5 * (len(widths) - 1)) * step
    return seconds, np.concatenate(([0.0], np.cumsum(pmf)))


# --- amplification and storms --------------------------------------------------------------


def amplification(failing: float, retries: Sequence[int]) -> float:
    """Attempts at the last hop per request of the client, hops nested: every hop retries what still fails below it.

    For hops outermost first with r_i retries: a_i = a_(i+1) x (1 + q + ... + q^r_i), q the failure below.
    At p = 1 it is the product of (1 + r_i).
    """
    total, below = 1.0, failing
    for r in reversed(retries):
        total *= expected_attempts(below, r)
        below = below ** (r + 1)
    return total


def response_tail(rate: float, servers: int, service: float, seconds: float) -> float:
    """P(response > t) in M/M/c; 1 from saturation on.  Kleinrock vol. 1, ch. 3 (sum of wait and service)."""
    a, m = rate * service, 1 / service
    if a >= servers:
        return 1.0
    wait, drain = erlang_c(servers, a), (servers - a) * m
    if abs(drain - m) < 1e-9 * m:
        return math.exp(-m * seconds) * (1 + wait * m * seconds)
    return math.exp(-m * seconds) + wait * m / (drain - m) * (math.exp(-m * seconds) - math.exp(-drain * seconds))


@dataclass(frozen=True)
class Equilibria:
    """Total rates at which a storm stands still, rising; `stable` for each.  One: no storm can stay. Three: good, tipping point, bad."""

    rates: tuple[float, ...]
    stable: tuple[bool, ...]


def storm_load(fresh: float, total: float, failure: Callable[[float], float], retries: int, budget: float | None = None) -> float:
    """The rate that pods would be offered next: fresh x (1 + f + ... + f^r), at most fresh / (1 - budget)."""
    return fresh * (1 + min(expected_attempts(failure(total), retries) - 1, _most_retries(retries, budget)))


def _most_retries(retries: int, budget: float | None) -> float:
    """Retries per fresh request when every attempt fails: r, or b / (1 - b) when a budget b allows fewer.

    Envoy's budget is a part of all requests in flight, retries included: retries <= b L.  With attempts that last
    equally long L - fresh <= b L, so L <= fresh / (1 - b); back-offs count against it too, so Envoy stays a little below.
    """
    return retries if budget is None or budget >= 1 else min(retries, budget / (1 - budget))


def storm_equilibria(
    fresh: float, failure: Callable[[float], float], retries: int, budget: float | None = None, points: int = 4000
) -> Equilibria:
    """All solutions of L = storm_load(fresh, L), with their stability (slope of the map below 1).

    `failure(L)` is the probability that an attempt fails when pods are offered L requests per second, such as
    `lambda L: response_tail(L, servers, service, timeout)`: pods finish abandoned work, so no load is shed.
    A budget of b (20 % = 0.2) bounds the storm to fresh / (1 - b): where that is below capacity the bad one is gone.
    """
    from scipy.optimize import brentq

    def surplus(total: float) -> float:
        return storm_load(fresh, total, failure, retries, budget) - total

    grid = np.linspace(0, fresh * (retries + 1) * (1 + 1e-6) + 1e-9, points)
    value = np.array([surplus(x) for x in grid])
    rates, stable = [], []
    for i in np.flatnonzero((value[:-1] > 0) != (value[1:] > 0)):
        rates.append(float(brentq(surplus, grid[i], grid[i + 1])))
        stable.append(bool(value[i] > 0))
    return Equilibria(tuple(rates), tuple(stable))


def storm_saddle_node(failure: Callable[[float], float], retries: int, capacity: float, budget: float | None = None) -> float:
    """The fresh rate at which the good equilibrium below `capacity` meets the tipping point and vanishes.

    The largest fresh rate with a solution L < capacity: max over L of L / storm_load(1, L).
    """
    total = np.linspace(0, capacity, 20001)[1:-1]
    load = np.array([storm_load(1.0, x, failure, retries, budget) for x in total])
    return float((total / load).max())


def storm_onset(retries: int, capacity: float, budget: float | None = None) -> float:
    """The fresh rate from which the bad equilibrium (every attempt fails) exists: capacity / min(1 + r, 1 / (1 - budget))."""
    return capacity / (1 + _most_retries(retries, budget))
