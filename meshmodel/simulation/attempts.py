"""An attempt: its endpoint is picked, the circuit breakers are asked, it is sent, and what it held is freed."""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled, inlined
from meshmodel.rules import breakers, ejection, retries, timeouts
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.outcomes import HANG, LOWEST, NO_HEALTHY, OVERFLOW, REFUSED
from meshmodel.simulation.calls import GO, NONE, SHADOW, TRACE, TRIES, client_call
from meshmodel.simulation.connections import connect, disconnect, give_back
from meshmodel.simulation.health import row_of_failures
from meshmodel.simulation.mirrors import mirror
from meshmodel.simulation.picking import choose, leave_out_levels
from meshmodel.simulation.pods import fails, seconds_of, start_work
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER

COUNTERS = (
    "upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_timeout", "upstream_rq_per_try_timeout",
    "upstream_rq_pending_overflow", "outlier_detection.ejections_enforced_total",
)  # fmt: skip
SPARE_ROWS = 4
"""Of a trace: one event fills no more."""

RETRY, RETRY_OVERFLOW, TIMEOUT, PER_TRY, PENDING_OVERFLOW = range(5)


@inlined
def pick(w: World, rng: np.random.Generator, slot: int, t: float) -> int:
    """The next attempt's endpoint and connection: GO, SENT (it waits), or the outcome of an attempt that cannot be sent."""
    c = w.call[slot]
    route, cluster = w.route[c.hop], w.cluster[c.upstream]
    if len(w.trace):
        _trace_pick(w, slot, t)
    fewer = c.tries > 0 and route.frequency > 0 and cluster.levels > 1 and leave_out_levels(w, slot)
    if c.parent == SHADOW:
        w.clock[0].unsent -= 1
    elif c.tries == 0 and route.mirrors > 0:
        mirror(w, rng, slot, t)
    endpoint, drawn, draws = NOBODY, 0, 1 + (route.redraws if c.tries > 0 else 0)
    while drawn < draws:
        endpoint = choose(w, rng, slot, fewer, drawn)
        drawn += 1
        if c.tries == 0 or endpoint == NOBODY or not retries.was_tried(w.tried, slot, c.tries, endpoint):
            break
    w.tried[slot, c.tries] = endpoint
    c.tries += 1
    if c.tries >= w.tried.shape[1]:
        w.clock[0].short_of |= TRIES
    c.endpoint, c.stale, c.connection = endpoint, False, NONE
    outcome = GO
    if endpoint == NOBODY:
        outcome = NO_HEALTHY
    elif cluster.counts:
        outcome = connect(w, slot, t)
    elif not breakers.admits(w.upstream[c.upstream].in_flight, cluster.max_requests):
        outcome = OVERFLOW
    if len(w.trace) and not route.passes:
        w.trace[c.row].endpoint = endpoint
    if outcome < 0:
        c.endpoint = NOBODY
        if outcome == OVERFLOW and route.last:
            w.counter[w.clock[0].row, PENDING_OVERFLOW] += 1
    return outcome


@compiled
def refused_at_last(w: World, slot: int, t: float) -> bool:
    """A request that has waited for its connection finds too many in flight (`max_requests`); it gives it back at once."""
    c = w.call[slot]
    if breakers.admits(w.upstream[c.upstream].in_flight, w.cluster[c.upstream].max_requests):
        return False
    c.waiting = False
    give_back(w, slot, t)
    c.endpoint = NOBODY
    if w.route[c.hop].last:
        w.counter[w.clock[0].row, PENDING_OVERFLOW] += 1
    return True


@inlined
def send(w: World, rng: np.random.Generator, slot: int, t: float) -> float:
    """The attempt goes to its endpoint: what becomes of it (`code`), and when (returned), is settled here."""
    c = w.call[slot]
    route, host = w.route[c.hop], w.host[c.endpoint]
    pod, behaviour = w.pod[host.pod], w.behaviour[host.pod]
    c.waiting = False
    host.active += 1
    w.upstream[c.upstream].in_flight += 1
    pod.attempts += 1
    pod.requests += 1
    if route.last:
        top = slot if c.parent == -1 else client_call(w, slot)
        if top != NONE:
            w.call[top].attempts += 1
    v = rng.random() if behaviour.variance > 1 or behaviour.rate > 0 else 1.0
    seconds, code = behaviour.failing_seconds, behaviour.failing_code
    if not fails(behaviour, pod.requests, v):
        if behaviour.rate > 0:
            v = (v - behaviour.rate) / (1 - behaviour.rate)  # uniform again, given that the request does not fail
        seconds, code = seconds_of(behaviour, rng.random() if behaviour.varies else 0.0, v), behaviour.code
    if code == HANG:
        seconds = NEVER
    if w.cluster[c.upstream].split_external_local_origin_errors and code != REFUSED:
        ejection.connected(host)
    per_try = NEVER if c.parent == SHADOW else route.per_try_timeout
    given_up = timeouts.attempt_deadline(t, per_try, c.deadline, route.hedges and c.tries > route.attempts)
    finish = t + seconds
    c.server = host.pod if route.last else c.pod if route.passes else NONE
    if code >= 0 and (route.following != NONE or behaviour.concurrency > 0):
        finish = NEVER
        start_work(w, slot, t, seconds, code)
    if route.hedges:
        c.finish, c.finish_code = finish, code
    c.code = code
    if finish > given_up:
        finish, c.code = given_up, timeouts.outcome_at(given_up, c.deadline)
    if len(w.trace) and not route.passes:
        w.trace[c.row].start = t
    return finish


@inlined
def release(w: World, slot: int, closes: bool, t: float) -> None:
    """The call's attempt is over; one that was given up, refused or reset closes its HTTP/1.1 connection."""
    c = w.call[slot]
    if not c.stale:
        w.host[c.endpoint].active -= 1
        w.upstream[c.upstream].in_flight -= 1
    if w.cluster[c.upstream].counts or c.connection != NONE:
        disconnect(w, slot, closes, t)


@inlined
def judge(w: World, rng: np.random.Generator, slot: int, host: int, outcome: int) -> None:
    """Outlier detection, where there is any, hears of the outcome of the call's attempt at `host`, unless its cluster was replaced."""
    c = w.call[slot]
    number = c.upstream
    told = w.judged_then[w.clock[0].state, number, outcome - LOWEST]
    if w.cluster[number].detects and not c.stale and ejection.count(w.host[host], w.cluster[number], told, outcome < 0):
        row_of_failures(w, rng, number, host)


@compiled
def _trace_pick(w: World, slot: int, t: float) -> None:
    clock, c = w.clock[0], w.call[slot]
    if w.route[c.hop].passes:  # a pod's own sidecar is not shown: what its pod does belongs to the attempt at the pod
        c.row = c.outer
        return
    if c.tries == 0:
        c.name = clock.calls
        clock.calls += 1
    attempt = w.trace[clock.traced]
    c.row = clock.traced
    clock.traced += 1
    if max(clock.traced, clock.requests) + SPARE_ROWS > len(w.trace):
        clock.short_of |= TRACE
    attempt.request, attempt.hop, attempt.number, attempt.call = c.request, c.hop, c.tries + 1, c.name
    attempt.parent = c.outer if c.hop > 0 else NONE
    attempt.upstream, attempt.worker, attempt.chosen, attempt.back_off = c.upstream, c.worker, t, c.back_off
    attempt.start = attempt.end = -1.0
    attempt.first = attempt.second = attempt.first_active = attempt.second_active = attempt.outcome = NONE
