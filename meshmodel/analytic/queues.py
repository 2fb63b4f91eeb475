"""Queues in steady state: the open loop over a pod of finite capacity.

Models a pod that works on `servers` requests at once (annotation `meshmodel/concurrency`)
under Poisson arrivals.  `offered` is the load a = rate x mean service seconds (Erlangs),
utilisation rho = a / servers.  Assumptions: stationary, first come first served.
References: L. Kleinrock, Queueing Systems vol. 1 (1975), ch. 3 and 5; A. K. Erlang (1917);
T. O. Engset (1918).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, softmax


def erlang_b(servers: int, offered: float) -> float:
    """Share of arrivals that find all `servers` busy and are lost (M/G/c/c).

    B(0) = 1, B(c) = a B(c-1) / (c + a B(c-1)).  Insensitive to the service distribution.
    Source: Kleinrock vol. 1, eq. 3.45; recursion: Jagerman (1974).
    """
    loss = 1.0
    for c in range(1, servers + 1):
        loss = offered * loss / (c + offered * loss)
    return loss


def erlang_c(servers: int, offered: float) -> float:
    """Share of arrivals that must wait in M/M/c; 1 from saturation on.

    C = B / (1 - rho (1 - B)).  Source: Kleinrock vol. 1, eq. 3.40.
    """
    if offered >= servers:
        return 1.0
    loss = erlang_b(servers, offered)
    return loss / (1 - offered / servers * (1 - loss))


def mmc_wait(servers: int, rate: float, service: float) -> float:
    """Mean seconds in the queue of M/M/c: C(c, a) s / (c - a); infinite from saturation on.  Kleinrock vol. 1, ch. 3."""
    offered = rate * service
    return math.inf if offered >= servers else erlang_c(servers, offered) * service / (servers - offered)


def mg1_wait(rate: float, service: float, service_squared: float) -> float:
    """Mean seconds in the queue of M/G/1: lambda E[S^2] / (2 (1 - rho)).

    `service` and `service_squared` are E[S] and E[S^2] in seconds and seconds squared.
    Source: Pollaczek (1930), Khinchine (1932); Kleinrock vol. 1, eq. 5.63.
    """
    utilisation = rate * service
    return math.inf if utilisation >= 1 else rate * service_squared / (2 * (1 - utilisation))


def knee(servers: int = 1, scv: float = 1.0) -> float:
    """The utilisation at which response time per unit of throughput is least: the knee of the latency curve.

    Minimises R(rho) / rho, R = 1 + (1 + scv) / 2 x Wq(M/M/c) in units of the service time
    (Allen-Cunneen; exact for M/G/1 and M/M/c).  M/M/1: 1/2.
    Source: Kleinrock, "Power and deterministic rules of thumb" (ICC 1979): power = rho / R.
    """
    from scipy.optimize import minimize_scalar

    def delay_per_load(rho: float) -> float:
        return (1 + (1 + scv) / 2 * mmc_wait(servers, rho * servers, 1.0)) / rho

    return float(minimize_scalar(delay_per_load, bounds=(1e-6, 1 - 1e-9), method="bounded", options={"xatol": 1e-9}).x)


def mmck(servers: int, places: int, offered: float) -> np.ndarray:
    """Stationary distribution of the number present in M/M/c/K, shape (places + 1,).

    `places` K counts those served and those waiting; pi_n = pi_(n-1) a / min(n, c).
    The last entry is the share of arrivals that are lost.  Source: Kleinrock vol. 1, sec. 3.4 and 3.7.
    """
    ratio = np.concatenate(([1.0], offered / np.minimum(np.arange(1, places + 1), servers)))
    return softmax(np.cumsum(np.log(np.maximum(ratio, 1e-300))))


def engset(servers: int, sources: int, ratio: float) -> np.ndarray:
    """Stationary number of busy servers with `sources` clients that retry after thinking, shape (min + 1,).

    pi_n proportional to C(sources, n) ratio^n, ratio = mean service seconds / mean think seconds.
    Insensitive to both distributions.  Source: Engset (1918); F. P. Kelly, Reversibility (1979), sec. 3.3.
    """
    n = np.arange(min(servers, sources) + 1)
    return softmax(n * math.log(max(ratio, 1e-300)) - gammaln(n + 1) - gammaln(sources - n + 1))  # C(N, n) = N! / (n! (N - n)!)


def engset_loss(servers: int, sources: int, ratio: float) -> float:
    """Share of calls that find all `servers` busy: the other sources' view, engset(c, sources - 1)[c].

    0 when there are at most as many sources as servers.  Source: arrival theorem, Kelly (1979).
    """
    return 0.0 if sources <= servers else float(engset(servers, sources - 1, ratio)[servers])
