"""Calls: what one proxy does with one request, each in a slot with one timer.

The timer's end means, by the call's `kind`:

    ENTER    the request reaches the proxy           -> fault, cluster, then as PICK
    PICK     an attempt starts (the first, or after its back-off)
    GRANTED  a connection became free for it         -> it is sent
    ANSWER   its attempt is over, with `code`        -> ejection, retry, or the end of the call
    REPLY    the pod that made the call, or did other work, answers the attempt that it works for
    HEDGE    an attempt that a hedging proxy left running is answered
    CONNECTED  (no call's) a connection that was being opened is ready

What becomes of an attempt is known when it is sent (the pod's answer, its per-try timeout or the route's, whichever
comes first), so that it needs one timer.  Where the pod calls on, or works on a limited number of requests at once, the
attempt has a `child`: the call, or the work, that ends in a REPLY.  A child whose attempt was given up becomes an
orphan and goes on: fake-service makes its calls with no context of the request that caused them.
"""

from __future__ import annotations

from meshmodel.compiled import inlined
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, set_timer

ENTER, PICK, GRANTED, ANSWER, REPLY, HEDGE, QUEUED, CONNECTED = range(8)

CLIENT, ORPHAN, SHADOW = -1, -2, -3
"""In place of a `parent`: the load generator waits for the call, or nobody does any more, or ever did (a mirror's copy)."""

NONE = -1
"""No slot, no host."""

SLOTS, TRIES, LOG, DRAWS, NOTES, BINS, TRACE, STANDSTILL = (1 << bit for bit in range(8))
"""What the loop may be short of: whoever takes the last but a few places says so, before the next event needs them."""

SPARE_SLOTS = 8
"""One event takes no more: for each attempt of a hedge that it ends, and whose connection another takes the place of, it gives one."""

MOST_MIRRORS = 4
"""Of a route: one event makes all copies."""

SENT, GO = 0, 1
"""In place of an outcome: the attempt is under way (or waits), or may be sent."""


@inlined
def schedule(w: World, slot: int, at: float, kind: int) -> None:
    """Give the call its timer; its client's patience may end first."""
    c = w.call[slot]
    c.kind = kind
    c.at = min(at, NEVER)
    set_timer(w.timer, w.tree, slot, min(c.at, c.patience))


@inlined
def take_slot(w: World) -> int:
    """A free slot; the loop sees to it that there is one."""
    clock = w.clock[0]
    clock.free -= 1
    if clock.free < SPARE_SLOTS:
        clock.short_of |= SLOTS
    slot = w.free[clock.free]
    c = w.call[slot]
    c.patience = NEVER
    c.child, c.hedge, c.behind, c.row = NONE, NONE, NONE, NONE
    c.is_retry, c.waiting, c.idle = False, False, False
    return slot


@inlined
def give_slot(w: World, slot: int) -> None:
    """The call is over."""
    clock = w.clock[0]
    w.free[clock.free] = slot
    clock.free += 1
    set_timer(w.timer, w.tree, slot, NEVER)


@inlined
def client_call(w: World, slot: int) -> int:
    """The slot of the load generator's own call that a call belongs to, `NONE`: somebody on the way has given up."""
    top = slot
    while w.call[top].parent >= 0:
        top = w.call[top].parent
    return top if w.call[top].parent == CLIENT else NONE
