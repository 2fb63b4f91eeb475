"""Localities and priority levels: how a proxy divides its load over them.

    health of a level = min(100, 140 * healthy / all)        integer percent
    load of level k   = min(100 - load of the levels before, 100 * health_k / total)
    total             = min(100, sum of the healths)

140 is Envoy's overprovisioning factor 1.4: a level keeps all its load until 71.4 % of its hosts are left.  A level
panics (its unhealthy hosts are used too, whatever their locality) when the total is below 100 and its healthy share
is below the panic threshold; an empty level's share is 0.  Where every level panics the load is divided by the
numbers of hosts, healthy or not.  Istio's threshold is 0: never.

With locality weights a proxy then picks a locality of the level, the one whose deadline is earliest; each pick puts
its locality's deadline off by one over the weight, scaled by min(1, 1.4 * its healthy share).

A retry leaves out the levels that it has tried (`previous_priorities`): after every `frequency` attempts anew, and
when no health is left the list of attempts is cleared and counting starts again.

Source: Envoy, "Priority levels", "Panic threshold", "Locality weighted load balancing"; load_balancer_impl.cc
(`recalculatePerPriorityState`, `recalculatePerPriorityPanic`, `recalculateLoadInTotalPanic`), upstream_impl.cc
(`rebuildLocalityScheduler`), previous_priorities.cc (`adjustForAttemptedPriorities`); measured on Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshmodel.compiled import rule
from meshmodel.rules.retries import tries_left_out

OVERPROVISIONING = 140


@rule
def health(healthy: int, total: int) -> int:
    """Health of a level in integer percent."""
    return min(100, OVERPROVISIONING * healthy // max(total, 1))


@rule
def share_out(healths: Any, loads: Any, first: int, last: int) -> bool:
    """Write loads[first:last] in percent from the healths there (the same array may be both); is there any health?

    What rounding leaves over goes to the first level with health.
    """
    total = 0
    for level in range(first, last):
        total += healths[level]
    total = min(100, total)
    left, healthiest = 100 if total > 0 else 0, -1
    for level in range(first, last):
        if healthiest < 0 and healths[level] > 0:
            healthiest = level
        loads[level] = min(left, 100 * healths[level] // max(total, 1))
        left -= loads[level]
    if healthiest >= 0:
        loads[healthiest] += left
    return total > 0


@rule
def panics(healthy: int, total: int, threshold: float, total_health: int) -> bool:
    """Does a level panic?  `total_health` is the sum of the healths of all levels."""
    return total_health < 100 and 100 * healthy < threshold * max(total, 1)


@rule
def panic_load(hosts: int, all_hosts: int) -> int:
    """Percent of the load of a level where every level panics, before rounding is made good (`share_out` on these)."""
    return 100 * hosts // max(all_hosts, 1)


@rule
def level_of(draw: float, loads: Any, first: int, last: int) -> int:
    """The level whose part of the load, in percent, the `draw` from [0, 100) falls into."""
    level = first
    draw -= loads[level]
    while draw >= 0 and level < last - 1:
        level += 1
        draw -= loads[level]
    return level


@rule
def effective_weight(weight: float, healthy: int, total: int) -> float:
    """Of a locality, as its schedule counts it; never zero, so that its inverse is a number."""
    share = min(100.0, OVERPROVISIONING * healthy / max(total, 1)) / 100
    return max(weight * share, 1e-12)


# --- with plain lists, as notebooks and checks call them ------------------------------------


def level_loads(healthy: Sequence[int], total: Sequence[int]) -> list[int]:
    """Percent of the load of each level with so many healthy hosts out of `total`, without panic; all 0: no host is healthy."""
    healths = _healths(healthy, total)
    share_out(healths, healths, 0, len(healths))
    return healths


def panicking(healthy: Sequence[int], total: Sequence[int], threshold: float) -> list[bool]:
    """Which levels panic at this threshold, in percent."""
    whole = sum(_healths(healthy, total))
    return [bool(panics(h, n, threshold, whole)) for h, n in zip(healthy, total, strict=True)]


def loads(healthy: Sequence[int], total: Sequence[int], threshold: float) -> list[int]:
    """Percent of the load of each level, panic included."""
    if not all(panicking(healthy, total, threshold)):
        return level_loads(healthy, total)
    parts = [panic_load(n, sum(total)) for n in total]
    share_out(parts, parts, 0, len(parts))
    return parts


def retry_loads(healthy: Sequence[int], total: Sequence[int], tried_levels: Sequence[int], frequency: int) -> list[int]:
    """Percent of the load of each level for the attempt that follows attempts at `tried_levels`, in their order."""
    since = 0  # the attempt from which the list counts
    for tries in range(len(tried_levels) + 1):
        out = tries_left_out(tries - since, frequency)
        left = [0 if level in tried_levels[since : since + out] else h for level, h in enumerate(_healths(healthy, total))]
        if out and not share_out(left, left, 0, len(left)):
            since = tries
            out = 0
    return left if out else level_loads(healthy, total)


def schedule(weights: Sequence[float], healthy: Sequence[int], total: Sequence[int], n: int) -> list[int]:
    """The localities of n picks, in order; those of weight 0 or without a healthy host are never picked."""
    effective = [effective_weight(w, h, t) for w, h, t in zip(weights, healthy, total, strict=True)]
    due = [1 / w if w > 1e-12 else float("inf") for w in effective]
    picked = []
    for _ in range(n):
        locality = min(range(len(due)), key=due.__getitem__)
        due[locality] += 1 / effective[locality]
        picked.append(locality)
    return picked


def _healths(healthy: Sequence[int], total: Sequence[int]) -> list[int]:
    return [health(h, n) for h, n in zip(healthy, total, strict=True)]
