"""Localities: how Envoy spreads load over priorities, and how long a failing pod stays out.

health_p = min(100, floor(140 healthy_p / all_p)) percent; level 0 takes its health, what
is left spills to level 1, and so on; divided by the sum of healths when that is below 100.
A pod is ejected on its k-th 5xx in a row and returns at the first tick of the interval
timer at or after base x (number of ejections).
References: Envoy, "Priority levels" and "Outlier detection" (architecture overview);
measured on Envoy 1.40: 2 hosts with 1 out 70/30, 3 with 1 out 93/7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom


def priority_load(healthy: Sequence[int], total: Sequence[int], overprovisioning: int = 140) -> list[int]:
    """Percent of the load that each priority gets; all zero when no host is healthy.

    Source: Envoy, LoadBalancerBase::recalculatePerPriorityState; rounding losses go to the first healthy level.
    """
    health = [min(100, overprovisioning * h // n) if n else 0 for h, n in zip(healthy, total, strict=True)]
    whole = min(sum(health), 100)
    left, loads = 100, []
    for level in health:
        loads.append(min(left, level * 100 // whole) if whole else 0)
        left -= loads[-1]
    if whole and left:
        loads[next(i for i, level in enumerate(health) if level)] += left
    return loads


def expected_requests_until_ejection(consecutive: int, share: float) -> float:
    """Requests of one client until a pod that always fails and gets `share` of them is ejected: k / share.

    Negative binomial, draws independent.  Feller vol. I (1968), sec. VI.8.
    """
    return consecutive / share


def expected_errors(requests: int, consecutive: int, share: float) -> float:
    """Expected failed requests among the first `requests`: E[min(k, Binomial(n, share))]."""
    return float(sum(binom.sf(j, requests, share) for j in range(consecutive)))


def consecutive_error_wait(consecutive: int, failing: float) -> float:
    """Expected requests at a pod until `consecutive` independent failures in a row: (1 - p^k) / ((1 - p) p^k).

    Feller vol. I (1968), sec. XIII.7.
    """
    return float(consecutive) if failing >= 1 else (1 - failing**consecutive) / ((1 - failing) * failing**consecutive)


def may_eject(hosts: int, ejected: int, max_ejection_percent: int, one_host_always: bool) -> bool:
    """Whether Envoy may eject one more host: (ejected + 1) / hosts within the percentage; older versions test ejected / hosts.

    Source: Envoy, outlier_detection_impl.cc; the older rule (`one_host_always`) lets the first host go in any case.
    """
    if one_host_always:
        return ejected == 0 or 100 * ejected < max_ejection_percent * hosts
    return 100 * (ejected + 1) <= max_ejection_percent * hosts


def ejection_schedule(
    until: float, interval: float, base: float, longest: float, inside: float = 0.0, first: float = 0.0, phase: float = 0.0
) -> list[tuple[float, float]]:
    """(ejected at, returns at) of a pod that always fails, up to `until` seconds.

    `inside` is what it takes to fail often enough after a return, `first` the first ejection,
    `phase` the time of the first interval tick after 0.  Stay n: ceil to a tick of min(base n, longest).
    """
    out, at, number = [], first, 1
    while at < until:
        back = _return(at, number, interval, base, longest, phase)
        out.append((at, back))
        at, number = back + inside, number + 1
    return out


def _return(ejected: float, number: int, interval: float, base: float, longest: float, phase: float) -> float:
    due = ejected + min(base * number, max(longest, base))
    return phase + interval * math.ceil((due - phase) / interval - 1e-9)


def duty_cycle(until: float, interval: float, base: float, longest: float, inside: float, first: float = 0.0) -> float:
    """Share of `until` seconds in which a permanently failing pod takes traffic: 1 - time out / time.

    `inside` and `first` as in `ejection_schedule`: a return costs a merge window, the first failure does not.
    """
    out = sum(min(back, until) - at for at, back in ejection_schedule(until, interval, base, longest, inside, first))
    return 1 - out / until


def failing_and_answered(
    requests: float, until: float, consecutive: int, failing: float, answered: float,
    interval: float, base: float, longest: float, window: float, phase: float,
) -> tuple[int, int]:  # fmt: skip
    """(failed, answered) requests of one client over a pod that always fails, alone in its priority, and others behind it.

    The client sends `requests` one after another, or until `until` seconds; they take `failing` and `answered`
    seconds each.  A health change less than `window` seconds after the one before reaches the workers `window`
    seconds later, so a pod that comes back and fails at once keeps its traffic for that long.
    Source: Envoy, outlier detection and ClusterManagerImpl::scheduleUpdate (`update_merge_window`).
    """
    bad = good = 0
    now, changed, number = 0.0, -math.inf, 1
    while True:
        ejected = now + consecutive * failing
        gone = ejected + (window if ejected - changed <= window else 0.0)
        kept = max(consecutive, math.ceil((gone - now) / failing - 1e-9))
        sent = min(kept, requests - bad - good, np.ceil(max(until - now, 0) / failing))
        bad, now = int(bad + sent), now + sent * failing
        changed = _return(ejected, number, interval, base, longest, phase)
        sent = min(np.ceil(max(min(changed, until) - now, 0) / answered), requests - bad - good)
        good, now = int(good + sent), now + sent * answered
        if now >= until or bad + good >= requests:
            return bad, good
        number += base * number < max(longest, base)
