"""RING_HASH and MAGLEV: what a request's hash is, the tables, and picking by them (`rules.hashing`).

A table belongs to one level of one proxy's cluster; all its workers share it.  It is made anew whenever they hear of a
change of health.
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.rules import hashing, locality
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.hashing import MAXIMUM_RING_SIZE, RING_HASH
from meshmodel.simulation.state import World

KNOWN, MADE_UP, RANDOM = range(1, 4)
"""A route's `hashing`, if it hashes: the user says it, and the connection too, or each pick draws it."""


@compiled
def hash_of_request(w: World, rng: np.random.Generator, slot: int) -> None:
    """What the proxy that the request reaches makes of it."""
    c, clock = w.call[slot], w.clock[0]
    c.hashed = w.hash_then[clock.state, c.hop, c.user]
    if w.route[c.hop].hashing == MADE_UP:
        c.hashed ^= w.made_up[c.hop, c.client] if clock.keeps_worker else any_hash(rng)


@compiled
def any_hash(rng: np.random.Generator) -> np.uint64:
    """64 random bits."""
    return np.uint64(rng.random() * 4294967296.0) << np.uint64(32) | np.uint64(rng.random() * 4294967296.0)


@compiled
def pick_by_hash(w: World, rng: np.random.Generator, slot: int, attempt: int) -> int:
    """The endpoint for the call's hash, `attempt` picks further on; `NOBODY` where none is healthy."""
    c = w.call[slot]
    cluster = w.cluster[c.upstream]
    hashed = any_hash(rng) if w.route[c.hop].hashing == RANDOM or w.route[c.hop].hashing == 0 else c.hashed
    number = cluster.first_level
    if cluster.levels > 1:
        number = locality.level_of(hashing.percent(hashed) - 0.5, w.share, number, number + cluster.levels)
    level = w.level[number]
    if level.places == 0:
        return NOBODY
    owner = w.ring_owner[level.first_place : level.first_place + level.places]
    if cluster.policy == RING_HASH:
        ring = w.ring[level.first_place : level.first_place + level.places]
        return cluster.first_host + hashing.ring_pick(ring, owner, level.places, hashed, attempt)
    return cluster.first_host + hashing.maglev_pick(owner, hashed, attempt)


@compiled
def make_tables(w: World, upstream: int) -> None:
    """Those of all levels of a cluster, for the health that its workers know of."""
    cluster = w.cluster[upstream]
    for number in range(cluster.first_level, cluster.first_level + cluster.levels):
        _mark_usable(w, upstream, number)
        _make_table(w, upstream, number)


@compiled
def _mark_usable(w: World, upstream: int, number: int) -> None:
    """Into `usable`, `weight_of` and `group_of`, by host: whom the level picks from; into `group_weight` its localities' weights."""
    cluster, level = w.cluster[upstream], w.level[number]
    for host in range(cluster.first_host, cluster.first_host + cluster.all_hosts):
        w.usable[host], w.weight_of[host], w.group_of[host] = False, w.host[host].weight, w.host[host].group - cluster.first_group
    for each in range(cluster.first_group, cluster.first_group + cluster.groups):
        group = w.group[each]
        w.group_weight[each] = group.weight if group.level == number else 0.0
        available = group.members if level.panics else group.healthy
        for slot in range(group.first_slot, group.first_slot + available):
            if group.level == number:
                w.usable[w.member[slot]] = True


@compiled
def _make_table(w: World, upstream: int, number: int) -> None:
    cluster, level = w.cluster[upstream], w.level[number]
    begin, end = cluster.first_host, cluster.first_host + cluster.all_hosts
    first, last = cluster.first_point, cluster.first_point + cluster.points
    share, count = w.share_of[begin:end], w.count_of[begin:end]
    groups = w.group_weight[cluster.first_group : cluster.first_group + (cluster.groups if cluster.weighted else 0)]
    least, greatest = hashing.normalise(w.weight_of[begin:end], w.group_of[begin:end], groups, w.usable[begin:end], share)
    if cluster.policy == RING_HASH:
        ring, owner = w.ring[level.first_place :], w.ring_owner[level.first_place :]
        points = w.point[first:last], w.point_owner[first:last], w.point_number[first:last]
        level.places = hashing.fill_ring(
            share, least, cluster.table, MAXIMUM_RING_SIZE, points[0], points[1], points[2], count, ring, owner
        )
        return
    table = w.ring_owner[level.first_place : level.first_place + cluster.table]
    offset, skip = w.offset_then[w.clock[0].state, begin:end], w.skip_then[w.clock[0].state, begin:end]
    hashing.fill_maglev(share, greatest, w.taking_turns[begin:end], offset, skip, count, w.due_of[begin:end], table)
    level.places = cluster.table if greatest > 0 else 0
