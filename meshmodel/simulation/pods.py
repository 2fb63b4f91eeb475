"""What a pod does with an attempt: its answer, and the work for it (`meshmodel.fakeservice`).

A pod that calls on, or that works on a limited number of requests at once, has *work* for each: a slot that ends in a
REPLY to the attempt.  Work waits first come first served, and is never cancelled.
"""

from __future__ import annotations

from typing import Any

from meshmodel.compiled import compiled, inlined
from meshmodel.simulation.calls import ENTER, NONE, QUEUED, REPLY, give_slot, schedule, take_slot
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER


@inlined
def fails(behaviour: Any, number: int, v: float) -> bool:
    """Does the pod's request of that number (from 1) fail?  `v`, uniform, decides where failing is a coin."""
    return (number >= behaviour.period and number % behaviour.period == 0) or v < behaviour.rate


@inlined
def seconds_of(behaviour: Any, u: float, v: float) -> float:
    """How long an answer that does not fail takes; `u` draws the percentile, `v` the variance."""
    seconds = behaviour.p50
    if behaviour.varies:
        seconds = behaviour.below_half if u < 0.5 else behaviour.p50 if u < 0.9 else behaviour.p90 if u < 0.99 else behaviour.p99
    if behaviour.variance > 1:
        seconds *= 1 + int(v * behaviour.variance) / 100
    return seconds


@compiled
def start_work(w: World, slot: int, t: float, seconds: float, code: int) -> None:
    """Give the attempt of the call in `slot` to its pod, which takes `seconds` itself and answers `code`."""
    child = take_slot(w)
    c, work = w.call[slot], w.call[child]
    c.child = child
    work.outer = c.row
    work.parent, work.hop, work.client, work.request = slot, w.route[c.hop].following, c.client, c.request
    work.user = c.user
    work.pod, work.own, work.code, work.server = w.host[c.endpoint].pod, seconds, code, NONE
    if w.route[c.hop].last:
        work.server = work.pod
    elif w.route[c.hop].passes:
        work.server = c.pod
    pod, most = w.pod[work.pod], w.behaviour[work.pod].concurrency
    if most == 0 or pod.busy < most:
        pod.busy += 1
        _begin_work(w, child, t)
        return
    schedule(w, child, NEVER, QUEUED)
    if pod.head == NONE:
        pod.head = child
    else:
        w.call[pod.tail].behind = child
    pod.tail = child


@compiled
def _begin_work(w: World, child: int, t: float) -> None:
    work = w.call[child]
    work.began = t
    calls_on = work.code == 200 and work.hop != NONE
    schedule(w, child, t if calls_on else t + work.own, ENTER if calls_on else REPLY)


@compiled
def finish_work(w: World, child: int, t: float) -> int:
    """The pod's work is done: it takes up what has waited longest; the call that is to have the reply, or a negative number."""
    work = w.call[child]
    pod, most = w.pod[work.pod], w.behaviour[work.pod].concurrency
    pod.busy -= 1
    while pod.head != NONE and (most == 0 or pod.busy < most):
        following = pod.head
        pod.head = w.call[following].behind
        pod.busy += 1
        _begin_work(w, following, t)
    caller = work.parent
    if caller >= 0:
        c = w.call[caller]
        c.child, c.code, c.server = NONE, work.code, work.server
    give_slot(w, child)
    return caller
