"""A worker's connections to an endpoint (`rules.breakers`): taken, opened, waited for, and freed.

A pool belongs to one worker and one endpoint.  A request that finds no ready connection there is *pending*: it takes a
place among those that the cluster lets wait, at the end of the pool's list, and a connection is opened for it where the
limits allow one.  Whoever is first in the list when a connection is ready gets it, not whoever it was opened for.

HTTP/1.1: a connection carries one request at a time; `ready` counts idle ones.  Where it carries so many and no more, each
idle one has a slot that knows how many it has carried; of those the one that became idle last is taken.

HTTP/2: a connection carries any number at once (`streams`), and has a slot as long as it is open; `ready` counts those that
take requests, `busy` the requests on all of the pool's.  One that has carried as many as it may takes no more (`stale`), and
closes with the last of them (conn_pool_base.cc, attachStreamToClient and onStreamClosed).

Other settings make a new cluster, which counts anew: what is under way at the old one is `stale`, and closes its connection.
"""

from __future__ import annotations

from typing import Any

from meshmodel.compiled import compiled, inlined
from meshmodel.rules import breakers
from meshmodel.rules.outcomes import OVERFLOW, REFUSED, ROUTE_TIMEOUT
from meshmodel.simulation.calls import ANSWER, CONNECTED, GO, GRANTED, NONE, SENT, give_slot, schedule, take_slot
from meshmodel.simulation.state import World


@inlined
def connect(w: World, slot: int, t: float) -> int:
    """A connection for the call's attempt: GO, SENT (it waits for one, till its route's timeout), or OVERFLOW."""
    c = w.call[slot]
    cluster, upstream, pool = w.cluster[c.upstream], w.upstream[c.upstream], w.pool[c.worker, c.endpoint]
    if pool.ready > 0:
        if not breakers.admits(upstream.in_flight, cluster.max_requests):
            return OVERFLOW
        _attach(w, slot)
        return GO
    if not breakers.may_wait(upstream.waiting, cluster.max_pending_requests):
        return OVERFLOW
    _wait(w, slot, t)
    return SENT


@inlined
def _attach(w: World, slot: int) -> None:
    """The call's attempt goes on a ready connection."""
    c = w.call[slot]
    cluster, pool = w.cluster[c.upstream], w.pool[c.worker, c.endpoint]
    pool.busy += 1
    if cluster.http2:
        _share(w, slot, pool, cluster.max_requests_per_connection)
        return
    pool.ready -= 1
    if cluster.max_requests_per_connection > 0:
        _take_newest(w, slot, pool)


@compiled
def _share(w: World, slot: int, pool: Any, most: int) -> None:
    """The call's attempt is one more on the HTTP/2 connection that takes requests; if it was the last one, the next needs another."""
    shared = w.call[pool.idle]
    w.call[slot].connection = pool.idle
    shared.streams += 1
    shared.carried += 1
    if breakers.closes(shared.carried, most):
        shared.stale = True
        pool.ready -= 1
        pool.idle = shared.behind


@compiled
def _take_newest(w: World, slot: int, pool: Any) -> None:
    """Of the ready connections that one that became so last; the call's attempt is one more that it carries."""
    carried, newest = 0, pool.idle
    if newest != NONE:
        carried, pool.idle = w.call[newest].carried, w.call[newest].behind
        give_slot(w, newest)
    w.call[slot].carried = carried + 1


@compiled
def _make_ready(w: World, number: int, pool: Any, carried: int) -> None:
    """A connection that has carried so many requests is idle."""
    pool.ready += 1
    if w.cluster[number].http2 or w.cluster[number].max_requests_per_connection > 1:
        fresh = take_slot(w)
        idle = w.call[fresh]
        idle.upstream, idle.stale, idle.carried, idle.streams, idle.behind = number, False, carried, 0, pool.idle
        pool.idle = fresh


@compiled
def close_idle(w: World, pool: Any) -> int:
    """No connection of the pool is ready any more; how many are closed: an HTTP/2 one in use will be, with its last request."""
    closed = pool.ready
    pool.ready = 0
    while pool.idle != NONE:
        each = pool.idle
        pool.idle = w.call[each].behind
        w.call[each].stale = True
        if w.call[each].streams > 0:
            closed -= 1
        else:
            give_slot(w, each)
    return closed


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
    on_their_way = pool.connecting
    if cluster.http2:
        on_their_way *= breakers.most_requests(cluster.max_requests_per_connection)
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
        _make_ready(w, number, pool, 0)
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
        _attach(w, pool.head)
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
def disconnect(w: World, slot: int, closes: bool, t: float) -> None:
    """The call's attempt gives its connection back, or closes it; whoever waits first may go."""
    c = w.call[slot]
    pool, cluster = w.pool[c.worker, c.endpoint], w.cluster[c.upstream]
    if closes or pool.head != NONE or c.stale or cluster.http2 or cluster.max_requests_per_connection > 0:
        _close_or_hand_out(w, slot, closes, t)
    else:
        pool.busy -= 1
        pool.ready += 1


@compiled
def _close_or_hand_out(w: World, slot: int, closes: bool, t: float) -> None:
    c = w.call[slot]
    number, worker, host = c.upstream, c.worker, c.endpoint
    cluster, upstream, pool = w.cluster[number], w.upstream[number], w.pool[worker, host]
    shared = c.connection
    if shared != NONE:
        c.connection = NONE
        closes = _leave(w, shared)
    if c.stale:  # it closes, and was not counted
        _open_if_wanted(w, number, worker, host, t)
        return
    pool.busy -= 1
    if shared != NONE and not closes:
        _hand_out(w, number, worker, host, t)
        return
    if closes or breakers.closes(c.carried, cluster.max_requests_per_connection):
        upstream.opened -= 1
        _open_if_wanted(w, number, worker, host, t)
    else:
        _make_ready(w, number, pool, c.carried)
        _hand_out(w, number, worker, host, t)


@compiled
def _leave(w: World, shared: int) -> bool:
    """A request on an HTTP/2 connection is over: does it close?  If it takes no more and that was the last one."""
    w.call[shared].streams -= 1
    closes = w.call[shared].streams == 0 and w.call[shared].stale
    if closes:
        give_slot(w, shared)
    return closes


@compiled
def give_back(w: World, slot: int, t: float) -> None:
    """The call's attempt has a connection, and sends nothing on it."""
    c = w.call[slot]
    if c.connection == NONE:
        c.carried -= 1
    else:
        _take_back(w, c.connection, w.pool[c.worker, c.endpoint])
    disconnect(w, slot, False, t)


@compiled
def _take_back(w: World, shared: int, pool: Any) -> None:
    """An HTTP/2 connection has carried one request less, so that it takes requests again if it took no more."""
    w.call[shared].carried -= 1
    if w.call[shared].stale:
        w.call[shared].stale, w.call[shared].behind = False, pool.idle
        pool.ready += 1
        pool.idle = shared
