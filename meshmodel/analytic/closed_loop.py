"""The closed loop of fortio: each of C connections sends its next request when the last is answered.

Each connection is a renewal process whose step X is the latency of one request
(overhead included), mean mu, variance v: after the deadline T it has made
N(T) + 1 requests, because the one in flight finishes and counts:

    E[N(T) + 1] = T/mu + (v + mu^2) / (2 mu^2),   Var = T v/mu^3 + 1/12 + 5 v^2/(4 mu^4) - 2 k3/(3 mu^3)

with k3 the third central moment.  Assumptions: latencies are stationary and not on a
lattice; T is many mu.  References: W. Feller, vol. II (1971), ch. XI; D. R. Cox,
Renewal Theory (1962), sec. 4.2 and 4.5; fortio periodic/periodic.go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm


def throughput(connections: int, latency: float) -> float:
    """Requests per second of a closed loop: C / mean latency.  Little (1961); Denning and Buzen (1978)."""
    return connections / latency


def mean_excess(mean: float, variance: float) -> float:
    """Mean seconds that the request in flight at the deadline still takes: E[X^2] / (2 E[X]).

    Holds for any stationary sequence of latencies.  Source: Cox (1962), sec. 5.4; Palm inversion formula.
    """
    return (variance + mean**2) / (2 * mean)


def expected_count(seconds: float, mean: float, variance: float, connections: int = 1) -> float:
    """Expected requests of a run, those in flight at the deadline included: C (T + mean_excess) / mean.  Wald's identity."""
    return connections * (seconds + mean_excess(mean, variance)) / mean


def count_variance(seconds: float, mean: float, variance: float, third: float, connections: int = 1) -> float:
    """Variance of the count for independent latencies, second order; `third` is the third central moment.

    Source: Cox (1962), eq. 4.5.18 (constant term), Smith (1959).
    """
    constant = 1 / 12 + 5 * variance**2 / (4 * mean**4) - 2 * third / (3 * mean**3)
    return connections * max(seconds * variance / mean**3 + constant, 0.0)


def excess_variance(mean: float, second: float, third: float) -> float:
    """Variance of the excess: E[X^3] / (3 mu) - (E[X^2] / (2 mu))^2; raw moments.  Cox (1962), sec. 5.4."""
    return third / (3 * mean) - (second / (2 * mean)) ** 2


def count_probability(seconds: float, mean: float, variance: float, at_least: Sequence[int]) -> np.ndarray:
    """Probability that one connection makes at least n requests: P(S_(n-1) < T), by the central limit theorem."""
    n = np.asarray(at_least, float) - 1
    spread = np.sqrt(np.maximum(n, 0) * variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(spread > 0, (seconds - n * mean) / spread, np.where(n * mean < seconds, np.inf, -np.inf))
    return np.where(n <= 0, 1.0, norm.cdf(z))


def is_saturated(connections: int, qps: float, latency: float) -> bool:
    """Whether every connection is always behind its schedule: latency >= connections / qps (qps 0: always)."""
    return qps <= 0 or latency >= connections / qps


def paced_count(connections: int, qps: float, seconds: float) -> float:
    """Requests of a run that keeps its schedule: int(qps T) shared out equally.  fortio periodic/periodic.go."""
    return math.floor(max(2.0, qps * seconds)) // connections * connections
