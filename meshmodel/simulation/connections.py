"""A worker's connections to an endpoint (`rules.breakers`): taken, opened, waited for, and freed.

A pool belongs to one worker and one endpoint.  A request that finds no ready connection there is *pending*: it takes a
place among those that the cluster lets wait, at the end of the pool's list, and a connection is opened for it where the
limits allow one.  Whoever is first in the list when a connection is ready gets it, not whoever it was opened for.

HTTP/1.1: a connection carries one request at a time; `ready` counts idle ones.  HTTP/2: any number; `ready` is 1 once
there is one, and `busy` counts the requests on it.
"""

from __future__ import annotations

from typing import Any

from meshmodel.compiled import compiled, inlined
from meshmodel.rules import breakers
from meshmodel.rules.outcomes import OVERFLOW, REFUSED, ROUTE_TIMEOUT
from meshmodel.simulation.calls import ANSWER, CONNECTED, GO, GRANTED, NONE, SENT, schedule, take_slot
from meshmodel.simulation.state import World


@inlined
def connect(w: World, slot: int, t: float) -> int:
    """A connection for the call's attempt: GO, SENT (it waits for one, till its route's timeout), or OVERFLOW."""
    c = w.call[slot]
    cluster, upstream, pool = w.cluster[c.upstream], w.upstream[c.upstream], w.pool[c.worker, c.endpoint]
    if pool.ready > 0:
        if not breakers.admits(upstream.in_flight, cluster.max_requests):
            return OVERFLOW
        _attach(cluster, upstream, pool)
        return GO
    if not breakers.may_wait(upstream.waiting, cluster.max_pending_requests):
        return OVERFLOW
    _wait(w, slot, t)
    return SENT


@inlined
def _attach(cluster: Any, upstream: Any, pool: Any) -> None:
    """A request goes on a ready connection."""
    pool.busy += 1
    if not cluster.http2:
        pool.ready -= 1
        return
    pool.served += 1
    if breakers.closes(pool.served, cluster.max_requests_per_connection):  # it takes no more: the next request needs another
        pool.ready, pool.served = 0, 0


@compiled
def _wait(w: World, slot: int, t: float) -> None:
    c = w.call[slot]
    pool = w.pool[c.worker, c.endpoint]
    if pool.head == NONE:
        pool.head = slot
    else:
        w.call[pool.tail].behind = slot
    pool.tail = slot
    pool.length += 1
    w.upstream[c.upstream].waiting += 1
    c.behind, c.waiting, c.code = NONE, True, ROUTE_TIMEOUT
    schedule(w, slot, c.deadline, ANSWER)
    _open_if_wanted(w, c.upstream, c.worker, c.endpoint, t)


@compiled
def _open_if_wanted(w: World, number: int, worker: int, host: int, t: float) -> None:
    """Open a connection where more requests wait than connections are on their way, and the limits allow one."""
    cluster, upstream, pool = w.cluster[number], w.upstream[number], w.pool[worker, host]
    on_their_way = pool.length if cluster.http2 and pool.connecting > 0 else pool.connecting
    open_here = pool.ready + pool.busy + pool.connecting
    if pool.length <= on_their_way or not breakers.may_connect(upstream.opened, cluster.max_connections, open_here):
        return
    upstream.opened += 1
    pool.connecting += 1
    fresh = take_slot(w)
    c = w.call[fresh]
    c.upstream, c.worker, c.endpoint = number, worker, host
    schedule(w, fresh, t + w.load[0].connect_time, CONNECTED)


@compiled
def connected(w: World, slot: int, t: float) -> None:
    """A connection is ready, or was refused: then all who wait for it meet the refusal."""
    c = w.call[slot]
    number, worker, host = c.upstream, c.worker, c.endpoint
    pool, upstream = w.pool[worker, host], w.upstream[number]
    if pool.connecting == 0:  # the pool has been replaced meanwhile
        return
    pool.connecting -= 1
    if w.behaviour[w.host[host].pod].code != REFUSED:
        pool.ready += 1
        _hand_out(w, number, worker, host, t)
        return
    upstream.opened -= 1
    while pool.head != NONE:
        upstream.opened += 1
        pool.busy += 1
        _grant_first(w, number, worker, host, t)


@compiled
def _hand_out(w: World, number: int, worker: int, host: int, t: float) -> None:
    """Ready connections are for those who wait, the first one first."""
    pool = w.pool[worker, host]
    while pool.head != NONE and pool.ready > 0:
        _attach(w.cluster[number], w.upstream[number], pool)
        _grant_first(w, number, worker, host, t)
    if pool.head != NONE:
        _open_if_wanted(w, number, worker, host, t)


@compiled
def _grant_first(w: World, number: int, worker: int, host: int, t: float) -> None:
    pool = w.pool[worker, host]
    first = pool.head
    pool.head = w.call[first].behind
    pool.length -= 1
    w.upstream[number].waiting -= 1
    schedule(w, first, t, GRANTED)


@compiled
def stop_waiting(w: World, slot: int) -> None:
    """The call gives up waiting; a connection that was opened for it will be ready for others."""
    c = w.call[slot]
    pool = w.pool[c.worker, c.endpoint]
    before, each = NONE, pool.head
    while each != slot:
        before, each = each, w.call[each].behind
    if before == NONE:
        pool.head = c.behind
    else:
        w.call[before].behind = c.behind
    if pool.tail == slot:
        pool.tail = before
    pool.length -= 1
    w.upstream[c.upstream].waiting -= 1
    c.waiting, c.endpoint = False, NONE


@inlined
def disconnect(w: World, number: int, worker: int, host: int, closes: bool, t: float) -> None:
    """A request gives its connection back, or closes it; whoever waits first may go."""
    pool, cluster = w.pool[worker, host], w.cluster[number]
    if closes or pool.head != NONE or pool.draining > 0 or cluster.http2 or cluster.max_requests_per_connection > 0:
        _close_or_hand_out(w, number, worker, host, closes, t)
    else:
        pool.busy -= 1
        pool.ready += 1


@compiled
def _close_or_hand_out(w: World, number: int, worker: int, host: int, closes: bool, t: float) -> None:
    cluster, upstream, pool = w.cluster[number], w.upstream[number], w.pool[worker, host]
    if pool.draining > 0:  # of a pool that was replaced: it closes, and was not counted
        pool.draining -= 1
        _open_if_wanted(w, number, worker, host, t)
        return
    pool.busy -= 1
    if cluster.http2:
        if pool.ready == 0 and pool.busy == 0 and pool.connecting == 0:  # it took no more, and its last request is over
            upstream.opened -= 1
            _open_if_wanted(w, number, worker, host, t)
        return
    if cluster.max_requests_per_connection > 0:
        pool.served += 1
        closes = closes or pool.served % cluster.max_requests_per_connection == 0
    if closes:
        upstream.opened -= 1
        _open_if_wanted(w, number, worker, host, t)
    else:
        pool.ready += 1
        _hand_out(w, number, worker, host, t)
