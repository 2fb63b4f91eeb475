"""Schedules by weight, where endpoints differ in weight or warm up (`rules.warmup`).

A worker has one for each level, or for each of its localities where those have weights; its arrays are in the order of `home`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.rules import warmup
from meshmodel.rules.balancing import LEAST_REQUEST
from meshmodel.simulation.state import World


@compiled
def draw_first_picks(w: World, rng: np.random.Generator, upstream: int) -> None:
    """A new cluster: each worker's balancer begins anywhere."""
    for worker in range(w.load[0].workers):
        w.first_picks[worker, upstream] = int(rng.random() * warmup.MOST_PICKS)


@compiled
def make_schedules(w: World, upstream: int, number: int) -> None:
    """Those of one level, for the health that the workers know of."""
    cluster, level = w.cluster[upstream], w.level[number]
    whole = level.panics or not cluster.weighted
    for each in range(level.first_group, level.first_group + (1 if whole else level.groups)):
        first, members = w.group[each].first_slot, w.group[each].members
        if whole:
            first, members = level.first_slot, level.members
        _make_schedule(w, upstream, level.panics, each, first, first + members)


@compiled
def _make_schedule(w: World, upstream: int, everybody: bool, number: int, first: int, last: int) -> None:
    cluster, now = w.cluster[upstream], w.clock[0].now
    for slot in range(first, last):
        host = w.host[w.home[slot]]
        w.usable[slot] = everybody or not host.ejected
        w.weight_of[slot] = host.weight
    usable = w.usable[first:last]
    w.group[number].scheduled = warmup.scheduled(w.weight_of[first:last], usable, now - w.upstream[upstream].joined, cluster.window)
    if not w.group[number].scheduled:
        return
    for slot in range(first, last):
        w.share_of[slot] = weight_now(cluster, w.host[w.home[slot]], now)
    for worker in range(w.load[0].workers):
        picks = w.first_picks[worker, upstream]
        warmup.start(
            w.share_of[first:last], usable, picks, w.deadline[worker, first:last], w.put_in[worker, first:last], w.given[worker, number]
        )


@compiled
def weight_now(cluster: Any, host: Any, now: float) -> float:
    """An endpoint's weight, as the schedule counts it."""
    factor = 1.0
    if cluster.window > 0:
        factor = warmup.slow_start_factor(now - host.joined, cluster.window, cluster.aggression, cluster.min_weight_percent)
    if cluster.policy == LEAST_REQUEST:
        return warmup.least_request_weight(host.weight, host.active) * factor
    return host.weight * factor


@compiled
def next_scheduled(w: World, upstream: int, worker: int, number: int, first: int, members: int) -> int:
    """The host whose turn it is in the schedule of group `number`."""
    deadline, put_in = w.deadline[worker, first : first + members], w.put_in[worker, first : first + members]
    i = warmup.next_due(deadline, put_in)
    host = w.home[first + i]
    warmup.put_back(i, weight_now(w.cluster[upstream], w.host[host], w.clock[0].now), deadline, put_in, w.given[worker, number])
    return host
