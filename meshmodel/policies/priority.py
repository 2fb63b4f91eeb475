"""Priorities: how Envoy divides the load between priority levels, and when it panics.

    health of a level = min(100, 140 * healthy / all)        integer percent
    load of level k   = min(100 - load of the levels before, 100 * health_k / total)
    total             = min(100, sum of the healths)

140 is Envoy's overprovisioning factor 1.4: a level keeps all its load until 71.4 % of its
endpoints are left.  A level panics (its unhealthy endpoints are used too) when the total
is below 100 and its healthy share is below the panic threshold; Istio's threshold is 0.

Source: Envoy, "Priority levels" and "Panic threshold" (load balancing overview), and
LoadBalancerBase::recalculatePerPriorityState in load_balancer_impl.cc.
"""

from __future__ import annotations

import numpy as np

OVERPROVISIONING = 140


def level_health(healthy: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Health of each level in integer percent; `healthy` and `size` count endpoints, same shape."""
    return np.minimum(100, OVERPROVISIONING * healthy // np.maximum(size, 1))


def level_loads(health: np.ndarray) -> np.ndarray:
    """Share of the load of each level in integer percent, shape (levels, n) like `health`.

    Each level takes its health, the first ones first; where all levels together have less
    than 100 the loads are normalised, the rounding going to the first level with health.
    All zero where there is no health at all.
    """
    total = np.minimum(100, health.sum(axis=0))
    load = np.zeros_like(health)
    left = np.where(total > 0, 100, 0)
    for level, own in enumerate(health):
        load[level] = np.minimum(left, 100 * own // np.maximum(total, 1))
        left = left - load[level]
    first = (health > 0).argmax(axis=0)
    load[first, np.arange(health.shape[1])] += left
    return load


def in_panic(healthy: np.ndarray, size: np.ndarray, threshold: float) -> np.ndarray:
    """Which levels panic, booleans of shape (levels, n)."""
    short = level_health(healthy, size).sum(axis=0) < 100
    return short & (100 * healthy < threshold * size)


def pick_level(loads: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The level (n,) that a uniform draw `u` on [0, 1) picks by `loads` (levels, n)."""
    return (np.floor(100 * u) >= np.cumsum(loads, axis=0)[:-1]).sum(axis=0)


def remaining_loads(health: np.ndarray, loads: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Loads for a retry that leaves out the `excluded` levels (levels, n): Envoy's previous_priorities.

    Where that leaves no health at all, the unmodified loads.  Source: Envoy,
    PreviousPrioritiesRetryPriority::adjustForAttemptedPriorities.
    """
    left = np.where(excluded, 0, health)
    return np.where(left.sum(axis=0) > 0, level_loads(left), loads)
