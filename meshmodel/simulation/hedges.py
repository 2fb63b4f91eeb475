"""Attempts that run on although their call has started another one, and calls on which somebody gave up.

A proxy that hedges leaves an attempt running at its per-try timeout, in a slot of its own (HEDGE) that is linked to
the call, and tries again; the first answer that would not be retried ends the call.
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled, inlined
from meshmodel.rules.outcomes import GAVE_UP, LOWEST, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.simulation.attempts import judge, release
from meshmodel.simulation.calls import ANSWER, GRANTED, HEDGE, NONE, ORPHAN, QUEUED, give_slot, schedule, take_slot
from meshmodel.simulation.connections import give_back, stop_waiting
from meshmodel.simulation.pods import finish_work
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, set_timer


@compiled
def orphan(w: World, slot: int, t: float) -> None:
    """Nobody waits for the pod's work any more: it goes on, unless it is the pod's own sidecar's."""
    c = w.call[slot]
    child = c.child
    if child == NONE:
        return
    c.child = NONE
    w.call[child].parent = ORPHAN
    hop = w.call[child].hop
    if hop != NONE and w.route[hop].passes and w.call[child].kind != QUEUED:
        _let_go(w, child, t)
        finish_work(w, child, t)


@compiled
def _let_go(w: World, slot: int, t: float) -> None:
    """A proxy whose caller has closed the connection resets what it has under way (flag DC); its application goes on.

    Source: http/conn_manager_impl.cc, resetAllStreams; router.cc, onDestroy.
    """
    c = w.call[slot]
    if c.child != NONE:
        w.call[c.child].parent = ORPHAN
        c.child = NONE
    w.upstream[c.upstream].retrying -= c.is_retry
    c.is_retry = False
    if c.waiting and c.kind == GRANTED:  # at this very moment: the connection is for whoever waits next
        give_back(w, slot, t)
    elif c.waiting:
        stop_waiting(w, slot)
    elif c.endpoint != NONE and c.kind == ANSWER and not c.idle:
        release(w, slot, True, t)
    c.waiting, c.endpoint = False, NONE


@compiled
def leave_running(w: World, slot: int, host: int) -> None:
    """The call's attempt at `host` runs on in a slot of its own."""
    spare = take_slot(w)
    c, left = w.call[slot], w.call[spare]
    left.parent, left.hop, left.upstream, left.worker, left.endpoint = slot, c.hop, c.upstream, c.worker, host
    left.client, left.request, left.row, left.carried, left.stale = c.client, c.request, c.row, c.carried, c.stale
    left.code, left.server, left.child, left.connection = c.finish_code, c.server, c.child, c.connection
    if left.child != NONE:
        w.call[left.child].parent = spare
        c.child = NONE
    left.hedge, c.hedge = c.hedge, spare
    schedule(w, spare, c.finish, HEDGE)


@compiled
def run_on(w: World, slot: int, host: int) -> None:
    """No second attempt is allowed: the first one itself goes on to its answer, or to the route's timeout."""
    c = w.call[slot]
    c.endpoint, c.code = host, c.finish_code
    finish = min(c.finish, c.deadline)
    if c.finish > c.deadline:
        c.code = ROUTE_TIMEOUT
    schedule(w, slot, finish, ANSWER)


@compiled
def wait_for_hedges(w: World, slot: int) -> None:
    """The call has nothing of its own under way: its other attempts, or its deadline, end it."""
    c = w.call[slot]
    c.idle, c.code = True, ROUTE_TIMEOUT
    schedule(w, slot, c.deadline, ANSWER)


@inlined
def waits_for_others(w: World, slot: int, outcome: int) -> bool:
    """Does a failure leave the call to its other attempts: one that would be retried, or any reset?

    Source: router.cc, onUpstreamReset and onUpstreamHeaders.
    """
    reset = outcome < 0 and outcome != ROUTE_TIMEOUT
    return reset or w.retriable_then[w.clock[0].state, w.call[slot].hop, outcome - LOWEST]


@compiled
def hedge_answered(w: World, rng: np.random.Generator, spare: int, t: float, outcome: int) -> int:
    """An attempt that was left running is answered: the call in whose place it stands if that ends it, else `NONE`."""
    left = w.call[spare]
    slot = left.parent
    c = w.call[slot]
    _unlink(w, slot, spare)
    others = c.hedge != NONE or not c.idle
    wins = not (others and waits_for_others(w, slot, outcome))
    if wins:
        abandon(w, slot, t)  # before its connection could be granted one freed here
    server = left.server
    _drop(w, rng, spare, t, outcome)
    if not wins:
        return NONE
    c.server = server if outcome > 0 else NONE
    end_hedges(w, rng, slot, t)
    return slot


@compiled
def _unlink(w: World, slot: int, spare: int) -> None:
    before, each = slot, w.call[slot].hedge
    while each != spare:
        before, each = each, w.call[each].hedge
    w.call[before].hedge = w.call[spare].hedge


@compiled
def _drop(w: World, rng: np.random.Generator, spare: int, t: float, outcome: int) -> None:
    left = w.call[spare]
    orphan(w, spare, t)
    release(w, spare, outcome < 0, t)
    if outcome >= 0:
        judge(w, rng, spare, left.endpoint, outcome)
    if len(w.trace):
        w.trace[left.row].end, w.trace[left.row].outcome = t, outcome
    give_slot(w, spare)


@compiled
def end_hedges(w: World, rng: np.random.Generator, slot: int, t: float) -> None:
    """The call has its answer: every attempt of it that still runs is reset."""
    c = w.call[slot]
    while c.hedge != NONE:
        spare = c.hedge
        c.hedge = w.call[spare].hedge
        _drop(w, rng, spare, t, PER_TRY_TIMEOUT)


@compiled
def abandon(w: World, slot: int, t: float) -> None:
    """Reset the attempt, the wait or the back-off that a call is in."""
    c = w.call[slot]
    if len(w.trace) and c.row != NONE and w.trace[c.row].outcome == NONE:
        w.trace[c.row].end, w.trace[c.row].outcome = t, GAVE_UP
    orphan(w, slot, t)
    _let_go(w, slot, t)


@compiled
def give_up(w: World, rng: np.random.Generator, slot: int, t: float) -> int:
    """The client has lost its patience with its call; the slot in which it goes on.

    The proxy resets what is under way for it, unless a pod in front made the call: that one goes on without the client.
    """
    c = w.call[slot]
    if w.clock[0].detached:
        fresh = take_slot(w)
        new = w.call[fresh]
        new.hop, new.client, new.start, new.attempts, new.request = 0, c.client, c.start, c.attempts, c.request
        new.server, new.patience, new.at = NONE, c.patience, t
        c.parent, c.patience = ORPHAN, NEVER
        set_timer(w.timer, w.tree, slot, c.at)
        return fresh
    if c.tries > 0:
        abandon(w, slot, t)
        end_hedges(w, rng, slot, t)
    c.at = t
    return slot
