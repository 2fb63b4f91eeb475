"""The end of an attempt (what it held is freed, outlier detection told, a retry scheduled), and of a call."""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import inlined
from meshmodel.rules import outcomes, retries
from meshmodel.rules.outcomes import ABORTED, LOWEST, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.simulation.attempts import PER_TRY, RETRY, RETRY_OVERFLOW, TIMEOUT, judge, release
from meshmodel.simulation.calls import ANSWER, ENTER, NONE, ORPHAN, PICK, REPLY, SENT, SHADOW, give_slot, schedule
from meshmodel.simulation.clients import overhead
from meshmodel.simulation.connections import stop_waiting
from meshmodel.simulation.hedges import end_hedges, leave_running, orphan, run_on, wait_for_hedges, waits_for_others
from meshmodel.simulation.state import World


@inlined
def attempt_over(w: World, rng: np.random.Generator, slot: int, t: float, outcome: int) -> int:
    """The call's attempt came to `outcome`: SENT where the call goes on, else what the call comes to."""
    c = w.call[slot]
    route, upstream, endpoint = w.route[c.hop], w.upstream[c.upstream], c.endpoint
    flying = upstream.in_flight + upstream.waiting
    again = w.retriable_then[w.clock[0].state, c.hop, outcome - LOWEST]
    hedges = route.hedges and outcome == PER_TRY_TIMEOUT
    again = (again or hedges) and c.tries <= route.attempts and c.parent != SHADOW
    softly = hedges and again
    upstream.retrying -= c.is_retry
    c.is_retry = False
    if outcome < 0 and route.last:
        _count_timeouts(w, slot, outcome, softly)
    if c.waiting:
        stop_waiting(w, slot)
    elif endpoint != NONE:
        if not softly:
            orphan_if_any(w, slot, t)
            release(w, slot, outcome < 0, t)
        judge(w, rng, slot, endpoint, outcome)
    if outcome < 0 and not softly:
        c.server = NONE
    c.endpoint = NONE
    if len(w.trace) and c.row != NONE and not softly and not route.passes:
        w.trace[c.row].end, w.trace[c.row].outcome = t, outcome
    if again:
        if _may_retry(w, slot, flying):
            if softly:
                leave_running(w, slot, endpoint)
            _back_off(w, rng, slot, t)
            return SENT
        if softly:
            run_on(w, slot, endpoint)
            return SENT
    if c.hedge != NONE:
        if waits_for_others(w, slot, outcome):
            wait_for_hedges(w, slot)
            return SENT
        end_hedges(w, rng, slot, t)
    return outcome


@inlined
def orphan_if_any(w: World, slot: int, t: float) -> None:
    """The pod's work for the attempt that is over goes on for nobody."""
    if w.call[slot].child != NONE:
        orphan(w, slot, t)


@inlined
def _count_timeouts(w: World, slot: int, outcome: int, softly: bool) -> None:
    """Envoy counts a route's timeout once for each attempt that it ends (router.cc, onResponseTimeout): none during a back-off."""
    c, counter = w.call[slot], w.counter
    if outcome == PER_TRY_TIMEOUT and not softly:
        counter[w.clock[0].row, PER_TRY] += 1
    if outcome == ROUTE_TIMEOUT:
        hedge = c.hedge
        counter[w.clock[0].row, TIMEOUT] += c.waiting or c.endpoint != NONE
        while hedge != NONE:
            counter[w.clock[0].row, TIMEOUT] += 1
            hedge = w.call[hedge].hedge


@inlined
def _may_retry(w: World, slot: int, flying: int) -> bool:
    """Do `maxRetries`, or the retry budget in its place, allow one more retry?"""
    c = w.call[slot]
    cluster, upstream = w.cluster[c.upstream], w.upstream[c.upstream]
    most = cluster.max_retries
    if cluster.budget_percent >= 0:
        most = retries.budget(flying, cluster.budget_percent, cluster.budget_least)
    allowed = upstream.retrying < most
    if allowed:
        upstream.retrying += 1
        c.is_retry = True
    if w.route[c.hop].last:
        w.counter[w.clock[0].row, RETRY if allowed else RETRY_OVERFLOW] += 1
    return allowed


@inlined
def _back_off(w: World, rng: np.random.Generator, slot: int, t: float) -> None:
    """The next attempt starts after its back-off, unless the route's timeout comes first."""
    c = w.call[slot]
    route = w.route[c.hop]
    c.back_off = rng.random() * retries.longest_backoff(c.tries, route.backoff_base, route.backoff_longest)
    late = t + c.back_off >= c.deadline
    c.code = ROUTE_TIMEOUT
    schedule(w, slot, c.deadline if late else t + c.back_off, ANSWER if late else PICK)


@inlined
def call_over(w: World, rng: np.random.Generator, slot: int, t: float, outcome: int) -> int:
    """What the proxy passes back, and to whom: the status for the load generator's client at `at`; 0: nothing for it."""
    c = w.call[slot]
    if c.parent == SHADOW:
        give_slot(w, slot)
        return 0
    route = w.route[c.hop]
    code = route.abort_code if outcome == ABORTED else outcomes.status(outcome)
    if route.last or (route.outmost and code != 200):
        t += overhead(w, rng)
    if c.hop == 0:
        if c.parent == ORPHAN:
            give_slot(w, slot)
            return 0
        c.at = t
        return 500 if w.load[0].behind and code != 200 else code
    if code == 200 and route.beside != NONE:
        c.hop = route.beside
        schedule(w, slot, t, ENTER)
        return 0
    # fake-service answers 500 where a call of its own failed, at once; else when its own time is over too.
    replies = t if code != 200 else max(t, c.began + c.own)
    c.code = code if code == 200 or route.passes else 500
    schedule(w, slot, replies, REPLY)
    return 0
