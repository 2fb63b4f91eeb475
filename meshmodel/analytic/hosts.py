"""Which host a cluster gives to a request, when that does not depend on what is active there.

Priorities, locality weights and ejections make the shares; ROUND_ROBIN turns over the
hosts of the level that has all the load, and weighed localities take turns whatever the
policy.  Where the first attempts of a turn begin follows from what retries take from the same ring.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from meshmodel.analytic import NoClosedForm
from meshmodel.analytic.locality import priority_load
from meshmodel.analytic.retries import cesaro_limit
from meshmodel.scenario import Cluster, RetryPolicy, Route


def seen_alike(route: Route, cluster: Cluster) -> None:
    """Refuse a cluster that its callers see differently: their loads would have to be mixed."""
    weights = cluster.locality_weights or ()
    if len(set(cluster.priorities)) > 1 or any(dict(w) != dict(weights[0]) for w in weights):
        raise NoClosedForm(f"callers of {route.host} with different priorities or locality weights")


def host_shares(cluster: Cluster, ejected: frozenset[int] = frozenset(), attempt: int = 0, policy: RetryPolicy | None = None) -> np.ndarray:
    """Share of each host (hosts,) of attempt 0, 1, ... when hosts `ejected` are out; all zero when none is left.

    Envoy: priority load, then locality weights x min(1, 1.4 healthy / all), then equal; retries that exclude
    previous priorities leave one more level out after every `previous_priorities_update_frequency` attempts.
    """
    count = len(cluster.endpoints)
    if not count:
        return np.zeros(0)
    level = np.asarray(cluster.priorities[0] if cluster.priorities else [0] * count)
    healthy = np.array([e not in ejected for e in range(count)])
    if cluster.panic_threshold > 0 and ejected:
        raise NoClosedForm("outlier detection with a panic threshold")
    frequency = policy.previous_priorities_update_frequency if policy else 0
    skip = attempt // frequency % (int(level.max()) + 1) if frequency else 0
    levels = list(range(int(level.max()) + 1))
    well = [int((healthy & (level == p)).sum()) if p >= skip else 0 for p in levels]
    load = priority_load(well, [max(1, int((level == p).sum())) for p in levels])
    shares = np.zeros(count)
    for p in levels:
        if load[p]:
            shares += load[p] / 100 * _within(cluster, healthy, level == p)
    return shares


def _within(cluster: Cluster, healthy: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Shares within one level: by locality weight where there are any, else equal among the healthy."""
    if cluster.locality_weights is None:
        return (mine & healthy) / (mine & healthy).sum()
    places = [e.locality for e in cluster.endpoints]
    every = Counter(place for place, m in zip(places, mine, strict=True) if m)
    well = Counter(place for place, m, h in zip(places, mine, healthy, strict=True) if m and h)
    whole = Counter(places)  # a locality of several levels has in each the part of its weight that its pods there are
    given = {place: cluster.locality_weights[0].get(place, 0) * n / whole[place] for place, n in every.items()}
    weight = {place: given[place] * min(1.0, 1.4 * well[place] / n) for place, n in every.items()}
    share = np.array([weight[place] / well[place] if m and h else 0.0 for place, m, h in zip(places, mine, healthy, strict=True)])
    if not share.sum():
        raise NoClosedForm(f"locality weights of {cluster.name} that leave no endpoint")
    return share / share.sum()


def ring_of(cluster: Cluster, shares: np.ndarray) -> tuple[int, ...]:
    """The hosts that are taken in turn, each once in every turn; none where that is no rule.

    ROUND_ROBIN takes them so within one level and locality.  Several localities that are weighed by their numbers of
    hosts are taken in turn as well, each as often as it has hosts: so are then their hosts, if those of one locality
    are alike, whatever the policy.  Raises NoClosedForm for other weighed localities among which it would matter.
    """
    hosts = [int(e) for e in np.flatnonzero(shares)]
    equal = len(hosts) > 0 and np.allclose(shares[hosts], 1 / len(hosts))
    places = {cluster.endpoints[e].locality for e in hosts}
    if cluster.locality_weights is None or len(places) == 1:
        return tuple(hosts) if cluster.load_balancing == "ROUND_ROBIN" and equal else ()
    alike = len({(cluster.endpoints[e].locality, cluster.endpoints[e].behaviour) for e in hosts}) == len(places)
    return tuple(_in_turn(cluster, hosts)) if equal and (alike or cluster.load_balancing == "ROUND_ROBIN") else ()


def _in_turn(cluster: Cluster, hosts: list[int]) -> list[int]:
    """Hosts of several localities in the order of one turn: each locality's evenly spread (earliest deadline first)."""
    count = Counter(cluster.endpoints[e].locality for e in hosts)
    passed: Counter[str] = Counter()
    due = []
    for e in hosts:
        place = cluster.endpoints[e].locality
        due.append(((passed[place] + 0.5) / count[place], e))
        passed[place] += 1
    return [e for _, e in sorted(due)]


def ring_starts(ends: list[dict[tuple[int, ...], float]], requests: float) -> np.ndarray:
    """Share of the first `requests` sequential requests of a ring that begin at each place, (places,), from a uniform start.

    ends[p] : the places drawn by a request that began at p -> probability; the next one begins after its last draw.
    """
    places = len(ends)
    turn = np.zeros((places, places))
    for p, end in enumerate(ends):
        for draws, probability in end.items():
            turn[p, (draws[-1] + 1) % places] += probability
    turn /= turn.sum(axis=1, keepdims=True)
    if requests > 2000:
        return cesaro_limit(turn)
    here, total = np.full(places, 1 / places), np.zeros(places)
    for _ in range(max(1, round(requests))):
        total += here
        here = here @ turn
    return total / total.sum()


def ring_starts_interleaved(ends: list[dict[tuple[int, ...], float]]) -> np.ndarray:
    """The same among concurrent requests: whatever retries draw, all draws together are spread equally over the places.

    With D[p] the expected draws at each place of a request that began at p, x solves x D = constant.
    """
    places = len(ends)
    draws = np.zeros((places, places))
    for p, end in enumerate(ends):
        for taken, probability in end.items():
            np.add.at(draws[p], list(taken), probability)
    system = np.vstack((draws.T - draws.T.mean(axis=0), np.ones(places)))
    begin = np.clip(np.linalg.lstsq(system, np.append(np.zeros(places), 1.0), rcond=None)[0], 0, None)
    return begin / begin.sum()


def ring_drift(places: int, rate: float, seconds: float, width: float) -> np.ndarray:
    """Probability that others advance a ring by 0, 1, ... places (modulo `places`) in `seconds` + U[0, width), (places,).

    Draws of others as a Poisson process of `rate` per second: P(K = j mod H) = 1/H sum_m w^(-jm) exp(rate t (w^m - 1)),
    w = exp(2 pi i / H); the mean over the uniform is in closed form, (e^(a width) - 1) / (a width).
    """
    root = np.exp(2j * np.pi * np.arange(places) / places)
    a = rate * (root - 1)
    over = np.where(np.abs(a * width) > 1e-12, np.expm1(a * width) / np.where(a * width == 0, 1, a * width), 1.0)
    return np.clip(np.real(np.fft.fft(np.exp(a * seconds) * over)) / places, 0.0, None)
