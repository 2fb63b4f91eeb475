"""Picking an endpoint: level, locality, endpoint, by the rules of `rules.locality` and `rules.balancing`."""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled, inlined
from meshmodel.rules import balancing, locality, retries
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.hashing import RING_HASH
from meshmodel.simulation.hashed import pick_by_hash
from meshmodel.simulation.state import World
from meshmodel.simulation.weighted import next_scheduled


@inlined
def choose(w: World, rng: np.random.Generator, slot: int, fewer: bool, drawn: int) -> int:
    """An endpoint for the call's next attempt, `NOBODY` where none is healthy.

    `fewer`: of the levels in `left`; `drawn`: how many were drawn for the attempt and refused.
    """
    c = w.call[slot]
    cluster = w.cluster[c.upstream]
    if cluster.policy >= RING_HASH:
        return pick_by_hash(w, rng, slot, drawn)
    number = cluster.first_level
    if cluster.levels > 1:
        loads = w.left if fewer else w.share
        number = locality.level_of(100 * rng.random(), loads, cluster.first_level, cluster.first_level + cluster.levels)
    level = w.level[number]
    group = level.first_group
    if cluster.weighted and not level.panics:
        group = _locality_of(w, c.worker, number)
    slots, available = w.group[group].first_slot, w.group[group].healthy
    if level.panics:
        slots, available = level.first_slot, level.members
    if available == 0:
        return NOBODY
    if w.group[group].scheduled:
        return next_scheduled(w, c.upstream, c.worker, group, slots, level.members if level.panics else w.group[group].members)
    chosen, first, second = balancing.pick(cluster.policy, rng, w.host, w.member, slots, available, w.turn[c.worker, group])
    w.turn[c.worker, group] += 1
    if len(w.trace) and first != NOBODY and not w.route[c.hop].passes:
        _show_draws(w, c.row, first, second)
    return chosen


@compiled
def _locality_of(w: World, worker: int, level: int) -> int:
    """The locality whose turn it is, earliest deadline first among those with a healthy host."""
    begin = w.level[level].first_group
    best, earliest = begin, 1e299
    for number in range(begin, begin + w.level[level].groups):
        if w.group[number].healthy > 0 and w.due[worker, number] < earliest:
            best, earliest = number, w.due[worker, number]
    group = w.group[best]
    w.due[worker, best] += 1 / locality.effective_weight(group.weight, group.healthy, group.members)
    return best


@compiled
def leave_out_levels(w: World, slot: int) -> bool:
    """Write into `left` the loads of the levels that a retry may use; are there fewer of them than usual?"""
    c = w.call[slot]
    cluster = w.cluster[c.upstream]
    begin, end = cluster.first_level, cluster.first_level + cluster.levels
    out = retries.tries_left_out(c.tries - c.since, w.route[c.hop].frequency)
    if out == 0:
        return False
    for level in range(begin, end):
        w.left[level] = w.health[level]
    for attempt in range(c.since, c.since + out):
        if w.tried[slot, attempt] >= 0:
            w.left[w.host[w.tried[slot, attempt]].level] = 0
    if locality.share_out(w.left, w.left, begin, end):
        return True
    if out == c.tries - c.since:
        c.since = c.tries
    return False


@compiled
def _show_draws(w: World, row: int, first: int, second: int) -> None:
    attempt = w.trace[row]
    attempt.first, attempt.second = first, second
    attempt.first_active, attempt.second_active = w.host[first].active, w.host[second].active
