"""The event loop: one replication after another, one event at a time, all policies.

    the earliest timer -> what it means for its call -> an attempt over? -> the call over? -> its client, or its pod, goes on

It is written as a textbook writes it and compiled as it stands; the rules that it asks are those of `meshmodel.rules`.
Reference: Law, Simulation Modeling and Analysis, 5th ed. (2015), chapter 1: the next-event time advance.
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled, inlined, outermost
from meshmodel.rules.outcomes import ABORTED, GAVE_UP, OVERFLOW
from meshmodel.simulation.attempts import pick, refused_at_last, send
from meshmodel.simulation.calls import (
    ANSWER,
    CONNECTED,
    ENTER,
    GO,
    GRANTED,
    HEDGE,
    NONE,
    PICK,
    REPLY,
    SENT,
    STANDSTILL,
    give_slot,
    schedule,
)
from meshmodel.simulation.clients import ARRIVALS, CHANGES, arrive, begin_request, complete, start_load
from meshmodel.simulation.connections import connected
from meshmodel.simulation.ending import attempt_over, call_over
from meshmodel.simulation.hashed import hash_of_request
from meshmodel.simulation.health import LONG_AGO, TICK, configure, flush, tick
from meshmodel.simulation.hedges import give_up, hedge_answered
from meshmodel.simulation.pods import finish_work
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, set_timer, stop_all

DONE = 0
"""Why the loop stopped: the end, or what it is short of, as in `calls`."""

MOST_EVENTS_AT_ONCE = 1_000_000
"""So many events without any time passing mean that it never will, where nothing else ends the run."""


@outermost
def replicate(w: World, rng: np.random.Generator, row: int) -> int:
    """Begin replication `row`, and run it until it is done or an array is full; returns why it stopped."""
    _reset(w, rng, row)
    return _run(w, rng)


@outermost
def go_on(w: World, rng: np.random.Generator) -> int:
    """Run on after an array has grown."""
    return _run(w, rng)


@compiled
def _close(w: World) -> None:
    """The replication is over; clients that still wait will wait for ever."""
    clock = w.clock[0]
    w.tally[clock.row].unanswered, w.tally[clock.row].requests = clock.running, clock.logged
    for pod in range(w.sent.shape[1]):
        w.sent[clock.row, pod] = w.pod[pod].attempts


@compiled
def _run(w: World, rng: np.random.Generator) -> int:
    clock = w.clock[0]
    while clock.running > 0 or clock.unsent > 0:
        slot = w.tree[1]
        t = w.timer[slot]
        if t >= NEVER:
            break
        if clock.short_of != DONE:
            return clock.short_of
        clock.still = clock.still + 1 if t == clock.now else 0
        if clock.still > MOST_EVENTS_AT_ONCE and w.load[0].endless:
            return STANDSTILL
        clock.now = t
        if slot < clock.first_call:
            slot = _special(w, rng, slot, t)
            if slot == NONE:
                continue
        slot, status = _event(w, rng, slot, t)
        if status != 0:
            complete(w, slot, w.call[slot].at, status)
    _close(w)
    return DONE


@inlined
def _event(w: World, rng: np.random.Generator, slot: int, t: float) -> tuple[int, int]:
    """The timer of a call has ended: the client's call that is over, and with which status, or `GAVE_UP`; 0: none is."""
    c = w.call[slot]
    kind = c.kind
    if t < c.at:
        return give_up(w, rng, slot, t), GAVE_UP
    ended, outcome = SENT, SENT
    if kind == HEDGE:
        ended = c.code
        slot = hedge_answered(w, rng, slot, t, c.code)
        if slot == NONE:
            return slot, 0
    elif kind == REPLY:
        slot = finish_work(w, slot, t)
        if slot < 0:
            return slot, 0
        outcome = w.call[slot].code
        if w.call[slot].kind == HEDGE:
            ended, outcome = outcome, SENT
            slot = hedge_answered(w, rng, slot, t, ended)
            if slot == NONE:
                return slot, 0
    elif kind == ANSWER:
        outcome = c.code
    elif kind == GRANTED:
        outcome = OVERFLOW if refused_at_last(w, slot, t) else GO
    elif kind == CONNECTED:
        connected(w, slot, t)
        give_slot(w, slot)
        return slot, 0
    else:
        if kind == ENTER and _enter(w, rng, slot, t):
            return slot, 0
        outcome = pick(w, rng, slot, t)
    if outcome == GO:
        finish = send(w, rng, slot, t)
        if not w.load[0].settled:
            schedule(w, slot, finish, ANSWER)
            return slot, 0
        t, ended = finish, c.code  # nobody looks at what is under way: no event is needed when it ends
        if len(w.trace):
            w.trace[c.row].end, w.trace[c.row].outcome = t, ended
    elif outcome != SENT:
        ended = outcome
        if outcome != ABORTED:
            ended = attempt_over(w, rng, slot, t, outcome)
    if ended == SENT:
        return slot, 0
    return slot, call_over(w, rng, slot, t, ended)


@inlined
def _enter(w: World, rng: np.random.Generator, slot: int, t: float) -> int:
    """A request reaches a proxy: worker, cluster, fault filter; is its way to the router put off, or barred?"""
    c, load = w.call[slot], w.load[0]
    route = w.route[c.hop]
    if c.hop == 0:
        begin_request(w, rng, slot, t)
    c.worker = 0
    if load.workers > 1:
        c.worker = w.accepted[c.hop, c.client] if w.clock[0].keeps_worker else int(rng.random() * load.workers)
    c.upstream = route.first_upstream
    if route.callers > 1 or route.clusters > 1:
        c.upstream += _cluster(w, rng, slot)
    if route.hashing > 0:
        hash_of_request(w, rng, slot)
    c.tries, c.since, c.endpoint, c.server, c.row, c.idle = 0, 0, NONE, NONE, NONE, False
    c.back_off = 0.0
    c.deadline = t + route.timeout
    if route.delay_percent > 0 or route.abort_percent > 0:
        return _fault(w, rng, slot, t)
    return False


@compiled
def _cluster(w: World, rng: np.random.Generator, slot: int) -> int:
    """Which of the hop's upstreams: the calling pod's, and one of the weighted clusters."""
    c = w.call[slot]
    route = w.route[c.hop]
    caller, cluster = 0, 0
    if route.callers > 1:
        caller = w.caller_of[c.pod] if c.hop > 0 else int(rng.random() * route.callers)
    if route.clusters > 1:
        weights = w.weights_then[w.clock[0].state, c.hop]
        u = rng.random() * weights[route.clusters - 1]
        while u >= weights[cluster]:
            cluster += 1
    return caller * route.clusters + cluster


@compiled
def _fault(w: World, rng: np.random.Generator, slot: int, t: float) -> bool:
    """The fault filter comes before the router: its delay is outside the route's timeout."""
    c = w.call[slot]
    route = w.route[c.hop]
    delay = route.delay if route.delay_percent > 0 and rng.random() * 100 < route.delay_percent else 0.0
    aborted = route.abort_percent > 0 and rng.random() * 100 < route.abort_percent
    c.deadline += delay
    if aborted:
        c.code = ABORTED
        schedule(w, slot, t + delay, ANSWER)
    elif delay > 0:
        schedule(w, slot, t + delay, PICK)
    return aborted or delay > 0


@compiled
def _special(w: World, rng: np.random.Generator, slot: int, t: float) -> int:
    """An arrival (its slot), or a change of the mesh, a tick, the end of a merge window (`NONE`)."""
    clock = w.clock[0]
    if slot == ARRIVALS:
        fresh = arrive(w, rng)
        w.call[fresh].kind, w.call[fresh].at = ENTER, t
        return fresh
    if slot == CHANGES:
        clock.state += 1
        configure(w, rng, clock.state)
        set_timer(w.timer, w.tree, CHANGES, w.change_at[clock.state])
    elif (slot - 2) % 2 == TICK:
        tick(w, rng, (slot - 2) // 2)
    else:
        flush(w, rng, (slot - 2) // 2)
    return NONE


@compiled
def _reset(w: World, rng: np.random.Generator, row: int) -> None:
    """Everything as it is before the load begins."""
    clock = w.clock[0]
    clock.now, clock.still, clock.running, clock.unsent, clock.state, clock.row = 0.0, 0, 0, 0, 0, row
    clock.logged, clock.requests, clock.calls, clock.drawn, clock.traced, clock.short_of = 0, 0, 0, 0, 0, 0
    stop_all(w.timer, w.tree)
    clock.free = 0
    for slot in range(len(w.timer) - 1, clock.first_call - 1, -1):
        w.free[clock.free] = slot
        clock.free += 1
    _reset_proxies(w)
    for pod in range(len(w.pod)):
        p = w.pod[pod]
        p.requests, p.attempts, p.busy, p.head, p.tail = 0, 0, 0, NONE, NONE
    configure(w, rng, 0)
    set_timer(w.timer, w.tree, CHANGES, w.change_at[0])
    start_load(w, rng)


@compiled
def _reset_proxies(w: World) -> None:
    for upstream in range(len(w.upstream)):
        u = w.upstream[upstream]
        u.in_flight, u.retrying, u.opened, u.waiting, u.ejected, u.joined = 0, 0, 0, 0, 0, LONG_AGO
    for host in range(len(w.host)):
        h = w.host[host]
        h.active, h.multiplier, h.ejected, h.present = 0, 0, False, False
        for worker in range(w.load[0].workers):
            pool = w.pool[worker, host]
            pool.ready, pool.busy, pool.connecting, pool.length = 0, 0, 0, 0
            pool.head, pool.tail, pool.idle = NONE, NONE, NONE
