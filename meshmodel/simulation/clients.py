"""The load: when the clients send, how long they wait, and what is kept of each request.

Closed loop: fortio's threads, or one of curl's.  A thread behind schedule does not sleep; one ahead sleeps to its
target.  After the duration it stops, though with a qps never before two calls, nor before its very last.
Source: fortio's periodic/periodic.go, runOne.

Open loop: arrivals come where the integrated rate, the area under the rate's line, passes the next level: a Poisson
process of rate 1 for "poisson", the whole numbers for "paced".
Reference: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes" (1979).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meshmodel.compiled import compiled, inlined
from meshmodel.rules.outcomes import GAVE_UP
from meshmodel.simulation.calls import BINS, CLIENT, DRAWS, ENTER, LOG, NONE, give_slot, schedule, take_slot
from meshmodel.simulation.hashed import any_hash
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, set_timer

CONSTANT, LOGNORMAL, DRAWN = range(3)
"""How an overhead is drawn; `DRAWN`: from numbers that its distribution gave beforehand."""

ARRIVALS, CHANGES = 0, 1
"""Slots whose timers are the next arrival's and the next change's."""

NOT_YET = -3
"""The code of a traced request that is under way."""


@inlined
def overhead(w: World, rng: np.random.Generator) -> float:
    """What a request spends outside the pods, drawn anew, in seconds."""
    load = w.load[0]
    if load.overhead == CONSTANT:
        return load.location
    if load.overhead == LOGNORMAL:
        return load.location + load.scale * np.exp(load.sigma * rng.standard_normal())
    clock = w.clock[0]
    clock.drawn += 1
    if clock.drawn >= len(w.drawn):
        clock.short_of |= DRAWS
    return w.drawn[clock.drawn - 1]


@inlined
def next_start(load: Any, done: float, calls: int, limit: float) -> float:
    """When a thread of fortio that has made `calls` of its `limit` calls, the last one `done` then, makes the next; NEVER: it stops."""
    if calls >= limit:
        return NEVER
    start = done
    if load.spacing > 0:
        start = max(done, calls * (1 + 1 / max(limit - 1, 1)) * load.spacing)  # `ClosedLoop.due`
    if load.by_time and start > load.duration and (load.spacing == 0 or (calls >= 2 and calls != limit - 1)):
        return NEVER
    return start


@compiled
def trace_request(w: World, slot: int, end: float, code: int, server: int) -> None:
    """Note what became of a request so far, where the run is traced."""
    c = w.call[slot]
    request = w.traced_request[c.request]
    request.connection = c.client if w.load[0].closed else NONE
    request.start, request.end, request.code, request.server, request.attempts = c.start, end, code, server, c.attempts


@inlined
def begin_request(w: World, rng: np.random.Generator, slot: int, t: float) -> None:
    """A client sends a request at `t`, for one of the users."""
    c, clock = w.call[slot], w.clock[0]
    c.start, c.attempts, c.parent, c.request = t, 0, CLIENT, clock.requests
    clock.requests += 1
    c.user = int(rng.random() * w.load[0].users) if w.load[0].users > 1 else 0
    c.patience = t + clock.patience
    if len(w.trace):
        trace_request(w, slot, -1.0, NOT_YET, NONE)


@inlined
def complete(w: World, slot: int, t: float, status: int) -> None:
    """The client has its answer, or has given up (`GAVE_UP`): that is kept, and the next request follows."""
    c, clock, load = w.call[slot], w.clock[0], w.load[0]
    code, server = status, c.server
    if t > c.patience or status == GAVE_UP:
        t, code, server = min(t, c.patience), -1, NONE
    _keep(w, c.start, int((t - c.start) * 1e9 + 0.5) / 1e9, code, server, c.attempts)  # clocks count nanoseconds
    if len(w.trace):
        trace_request(w, slot, t, code, server)
    c.patience = NEVER
    if not load.closed:
        clock.running -= 1
        give_slot(w, slot)
        return
    client = w.client[c.client]
    client.calls += 1
    following = next_start(load, t, client.calls, client.limit)
    if following >= NEVER:
        clock.running -= 1
    schedule(w, slot, following, ENTER)


@inlined
def _keep(w: World, start: float, latency: float, code: int, server: int, attempts: int) -> None:
    clock = w.clock[0]
    row, n = clock.row, clock.logged
    clock.logged += 1
    if w.load[0].keeps_log:
        if clock.logged >= w.log_start.shape[1]:
            clock.short_of |= LOG
        w.log_start[row, n], w.log_latency[row, n] = start, latency
        w.log_code[row, n], w.log_endpoint[row, n], w.log_attempts[row, n] = code, server, min(attempts, 32767)
        return
    _count(w, row, start + latency, latency, code, server)


@compiled
def _count(w: World, row: int, done: float, latency: float, code: int, server: int) -> None:
    tally = w.tally[row]
    tally.lowest, tally.highest = min(tally.lowest, latency), max(tally.highest, latency)
    tally.total += latency
    tally.squares += latency * latency
    tally.elapsed = max(tally.elapsed, done)
    column, who = w.column[code + 1], 0 if code == -1 else server + 2
    w.buckets[row, _bucket(w.edges, latency)] += 1
    w.codes[row, column] += 1
    w.answers[row, who] += 1
    if code == 200:
        w.good[row, who] += 1
    bin = min(int(done / w.load[0].bin), len(w.codes_by_time) - 1)
    if 2 * bin > len(w.codes_by_time):
        w.clock[0].short_of |= BINS
    w.codes_by_time[bin, column] += 1
    w.answers_by_time[bin, who] += 1


@inlined
def _bucket(edges: np.ndarray, seconds: float) -> int:
    """The number of fortio's bucket that ends at or above `seconds`."""
    low, high = 0, len(edges)
    while low < high:
        middle = (low + high) >> 1
        if edges[middle] < seconds:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def arrive(w: World, rng: np.random.Generator) -> int:
    """An open loop sends a request, and knows when it sends the next; the slot of the request."""
    slot = take_slot(w)
    w.call[slot].hop, w.call[slot].client = 0, 0
    w.clock[0].running += 1
    _set_next_arrival(w, rng)
    return slot


@compiled
def _set_next_arrival(w: World, rng: np.random.Generator) -> None:
    clock, load = w.clock[0], w.load[0]
    if load.poisson:
        clock.level -= math.log1p(-rng.random())
        level = clock.level
    else:
        level = clock.level
        clock.level += 1
    if level >= load.arrivals:
        clock.running -= 1  # the stream of arrivals counted as one
        set_timer(w.timer, w.tree, ARRIVALS, NEVER)
        return
    set_timer(w.timer, w.tree, ARRIVALS, _arrival(w.segment, level))


@compiled
def _arrival(segment: np.ndarray, level: float) -> float:
    """When the integrated rate reaches `level`: first * x + slope * x^2 / 2 = rest, solved stably."""
    each = segment.shape[1] - 1
    while segment[1, each] > level:
        each -= 1
    rest, first, slope = level - segment[1, each], segment[2, each], segment[3, each]
    root = math.sqrt(max(first**2 + 2 * slope * rest, 0.0))
    return segment[0, each] + (2 * rest / max(first + root, 1e-300) if rest > 0 else 0.0)


@compiled
def start_load(w: World, rng: np.random.Generator) -> None:
    """All clients send their first request, or the stream of arrivals begins."""
    clock, load = w.clock[0], w.load[0]
    if not load.closed:
        clock.running = 1
        clock.level = 0.0
        _set_next_arrival(w, rng)
        return
    clock.running = len(w.client)
    for number in range(len(w.client)):
        w.client[number].calls = 0
        slot = take_slot(w)
        w.call[slot].hop, w.call[slot].client = 0, number
        for hop in range(load.hops):
            w.accepted[hop, number] = int(rng.random() * load.workers) if clock.keeps_worker else 0
            if w.route[hop].hashing > 0:
                w.made_up[hop, number] = any_hash(rng)
        schedule(w, slot, 0.0, ENTER)
