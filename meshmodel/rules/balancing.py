"""Load balancing: how one of Envoy's workers picks an endpoint for a request.

First a priority level, by the levels' loads:

    health of a level = min(100, 140 * healthy / all)        integer percent
    load of level k   = min(100 - load of the levels before, 100 * health_k / total)
    total             = min(100, sum of the healths)

140 is Envoy's overprovisioning factor 1.4: a level keeps all its load until 71.4 % of its
endpoints are left.  A level panics (its unhealthy endpoints are used too) when the total
is below 100 and its healthy share is below the panic threshold; Istio's threshold is 0.

Then, with locality weights, a locality of the level: the one whose deadline is earliest.
Then one of the healthy endpoints:

    ROUND_ROBIN    an index for each worker, starting anywhere, advancing by one
    RANDOM         uniform
    LEAST_REQUEST  two independent uniform draws, with replacement; the second only if it has
                   strictly fewer active requests: those that the proxy has sent to the endpoint
                   and that are not yet answered, over all its workers

So under LEAST_REQUEST one endpoint in n is sent at least 1/n^2 of all requests, however slow it is.
A retry leaves out levels that it has tried (previous_priorities), and picks again, up to a
number of times, where it has drawn an endpoint that it has tried (previous_hosts).

Source: Envoy, "Supported load balancers", "Priority levels", "Panic threshold" and "Locality
weighted load balancing"; LoadBalancerBase::recalculatePerPriorityState and
PreviousPrioritiesRetryPriority::adjustForAttemptedPriorities; measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meshmodel.compiled import compiled

NOBODY = -1
"""No endpoint."""

OVERPROVISIONING = 140

ROUND_ROBIN, RANDOM, LEAST_REQUEST = range(3)
POLICIES = {"ROUND_ROBIN": ROUND_ROBIN, "RANDOM": RANDOM, "LEAST_REQUEST": LEAST_REQUEST}


def level_health(healthy: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Health of each level in integer percent; `healthy` and `size` count endpoints, same shape."""
    return np.minimum(100, OVERPROVISIONING * healthy // np.maximum(size, 1))


@compiled
def _divide(health, load, i):
    """Write column i of the loads from that of the health (both of shape (levels, n), or one and the same); is there any?"""
    total = 0
    for level in range(len(health)):
        total = min(100, total + health[level, i])
    left, first = 100 if total > 0 else 0, -1
    for level in range(len(health)):
        if first < 0 and health[level, i] > 0:
            first = level
        load[level, i] = min(left, 100 * health[level, i] // max(total, 1))
        left -= load[level, i]
    load[max(first, 0), i] += left
    return total > 0


@compiled
def level_loads(health: np.ndarray) -> np.ndarray:
    """Share of the load of each level in integer percent, shape (levels, n) like `health`.

    Each level takes its health, the first ones first; where all levels together have less
    than 100 the loads are normalised, the rounding going to the first level with health.
    All zero where there is no health at all.
    """
    load = np.zeros(health.shape, np.int64)
    for i in range(health.shape[1]):
        _divide(health, load, i)
    return load


def in_panic(healthy: np.ndarray, size: np.ndarray, threshold: float) -> np.ndarray:
    """Which levels panic, booleans of shape (levels, n)."""
    short = level_health(healthy, size).sum(axis=0) < 100
    return short & (100 * healthy < threshold * size)


class View(NamedTuple):
    """What a proxy's workers see of one cluster, for all replications.

    Endpoints stand in *groups*: a priority level, or, with locality weights, one locality of a level.
    """

    policy: int
    """Of `POLICIES`."""
    members: np.ndarray
    """(slots, replications) endpoints, each group's from its own first slot, those to pick from in front."""
    first_slot: np.ndarray
    """(groups,)"""
    available: np.ndarray
    """(groups, replications) how many endpoints there are to pick from."""
    size: np.ndarray
    """(groups,) endpoints, healthy or not."""
    level_of_group: np.ndarray
    """(groups,)"""
    level_of: np.ndarray
    """(endpoints,) the level of each endpoint."""
    health: np.ndarray
    """(levels, replications) in percent."""
    loads: np.ndarray
    """(levels, replications) in percent."""
    weighted: bool
    """Are there locality weights?"""
    weight: np.ndarray
    """(groups,) locality weights."""
    deadline: np.ndarray
    """(workers, groups, replications) of the schedule of localities."""
    next_index: np.ndarray
    """(workers, groups, replications) of ROUND_ROBIN."""
    active: np.ndarray
    """(endpoints, replications) requests under way."""


def draws_for(policy: int, levels: int) -> int:
    """How many uniforms a pick takes: one for the level, if there are several, one or two for the endpoint."""
    return (levels > 1) + {ROUND_ROBIN: 0, RANDOM: 1, LEAST_REQUEST: 2}[policy]


@compiled
def choose(
    view: View, replication: np.ndarray, worker: np.ndarray, tried: np.ndarray, cell: np.ndarray, tries: np.ndarray,
    frequency: int, more: int, u: np.ndarray,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """An endpoint for each request (n,), `NOBODY` where none is healthy; and how many picks that took.

    `tried`, (attempts, cells), holds at `cell` (n,) the endpoints of the `tries` (n,) attempts before.  With a
    `frequency`, a retry leaves out the levels of the attempts up to the last multiple of it; it is picked
    anew up to `more` times while it is one of those tried.  `u` (picks, draws): a row of uniforms for each pick.
    """
    # All in one loop: handing arrays to a function of its own would cost more than a pick does.
    members, first_slot, available, active, loads, next_index = (
        view.members, view.first_slot, view.available, view.active, view.loads, view.next_index,
    )  # fmt: skip
    endpoint, picks, levels = np.empty(len(replication), np.int64), 0, len(loads)
    remaining = np.empty((levels, 1), np.int64)
    for i in range(len(replication)):
        r, before = replication[i], tries[i]
        fewer = 0 < frequency <= before and _loads_without(view, r, tried, cell[i], before - before % frequency, remaining)
        for _ in range(1 + more):
            draw, picks = picks, picks + 1
            group = 0
            if levels > 1:
                passed = remaining[0, 0] if fewer else loads[0, r]
                while 100 * u[draw, 0] >= passed and group < levels - 1:
                    group += 1
                    passed += remaining[group, 0] if fewer else loads[group, r]
            if view.weighted:
                group = _locality(view, group, r, worker[i])
            slot, n = first_slot[group], available[group, r]
            if n == 0:
                endpoint[i] = NOBODY
                break
            if view.policy == ROUND_ROBIN:
                picked = members[slot + next_index[worker[i], group, r] % n, r]
                next_index[worker[i], group, r] += 1
            else:
                picked = members[slot + int(u[draw, -1] * n), r]
                if view.policy == LEAST_REQUEST:
                    other = members[slot + int(u[draw, -2] * n), r]
                    picked = other if active[other, r] < active[picked, r] else picked
            endpoint[i] = picked
            if before == 0 or not _was_tried(tried, cell[i], before, picked):
                break
    return endpoint, picks


@compiled
def _loads_without(view, r, tried, cell, attempts, loads):
    """Write the `loads` of the levels where those of the first `attempts` are left out; is any health left then?"""
    for level in range(len(loads)):
        loads[level, 0] = view.health[level, r]
    for attempt in range(attempts):
        if tried[attempt, cell] >= 0:
            loads[view.level_of[tried[attempt, cell]], 0] = 0
    return _divide(loads, loads, 0)


@compiled
def _was_tried(tried, cell, attempts, endpoint):
    for attempt in range(attempts):
        if tried[attempt, cell] == endpoint:
            return True
    return False


@compiled
def _locality(view, level, r, worker):
    """Earliest deadline first among the localities of the level: Envoy's weighted schedule.

    A locality's weight is scaled by min(1, 1.4 * its healthy share).
    """
    best, least = 0, np.inf
    for group in range(len(view.size)):
        if view.level_of_group[group] == level:
            # Where no locality of the level has an endpoint to pick, any of its empty ones will do.
            deadline = view.deadline[worker, group, r] if view.available[group, r] > 0 else 1e299
            if deadline < least:
                best, least = group, deadline
    share = min(100, OVERPROVISIONING * view.available[best, r] / max(view.size[best], 1)) / 100
    view.deadline[worker, best, r] += 1 / max(view.weight[best] * share, 1e-12)
    return best
