"""The same experiments as plain event loops, compiled by numba: one replication after the other.

This is what our engine is measured against, so it is written as directly as the rules allow:
records in arrays, a linear scan for the earliest timer, one event at a time, no lock-step.
It logs the same requests as our engine, draws from the same kind of generator (PCG64), and
shares no code with it but the scenario.

`simple`: a closed loop where nothing but the load balancer looks at an answer.
`policies`: priorities, outlier detection, timeouts, retries and circuit breakers as well;
the rules are those of `meshmodel.rules`, where their sources are named.  Only what the
benchmark's scenarios use is here; `run` refuses the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scenarios import REQUEST, Runs, lognormal

from meshmodel.fakeservice import error_period
from meshmodel.scenario import ClosedLoop, Cluster, Scenario
from meshmodel.simulation.plan import collapse, only_balancing

NEVER = 1e300
NOBODY = -1
ROUND_ROBIN, RANDOM, LEAST_REQUEST = range(3)
ENTER, PICK, GRANTED, ANSWER = range(4)
SENT = 0
PER_TRY_TIMEOUT, ROUTE_TIMEOUT, OVERFLOW, NO_HEALTHY = -1, -2, -3, -4
MOST_TRIES = 8

compiled = njit(cache=True, error_model="numpy", _nrt=False)
"""Without numba's reference counting: it would count each array of `World` at every call."""

inlined = njit(cache=True, error_model="numpy", _nrt=False, inline="always")
"""For what every event calls: twice as fast again as handing over the arrays of `World`."""

FLOAT, WHOLE, FLAG = np.float64, np.int64, np.bool_


def _record(**fields: type) -> np.dtype:
    return np.dtype(list(fields.items()))


RULES = _record(
    threads=WHOLE, duration=FLOAT, rate=FLOAT, calls=FLOAT, location=FLOAT, scale=FLOAT, sigma=FLOAT, workers=WHOLE, balancing=WHOLE,
    timeout=FLOAT, per_try_timeout=FLOAT, attempts=WHOLE, retry_5xx=FLAG, backoff=FLOAT, max_backoff=FLOAT, redraws=WHOLE, frequency=WHOLE,
    max_connections=WHOLE, max_pending=WHOLE, max_requests=WHOLE, max_retries=WHOLE,
    consecutive_5xx=WHOLE, interval=FLOAT, base_ejection=FLOAT, max_ejection=FLOAT, max_ejection_percent=WHOLE, one_host_always=FLAG,
    window=FLOAT,
)  # fmt: skip
CONNECTION = _record(
    kind=WHOLE, start=FLOAT, deadline=FLOAT, code=WHOLE, endpoint=WHOLE, worker=WHOLE, tries=WHOLE, attempts=WHOLE, is_retry=FLAG,
    waiting=FLAG, ticket=WHOLE, calls=WHOLE,
)  # fmt: skip
HOST = _record(
    level=WHOLE, p50=FLOAT, p90=FLOAT, p99=FLOAT, varies=FLAG, error_period=WHOLE, error_code=WHOLE, error_seconds=FLOAT,
    active=WHOLE, requests=WHOLE, failures=WHOLE, multiplier=WHOLE, ejected=FLAG, since=FLOAT,
)  # fmt: skip
LEVEL = _record(size=WHOLE, healthy=WHOLE, health=WHOLE, load=WHOLE, left=WHOLE, updated=FLOAT, flush_at=FLOAT)
POOL = _record(open=WHOLE, busy=WHOLE)
PROXY = _record(in_flight=WHOLE, retrying=WHOLE, opened=WHOLE, waiting=WHOLE, tickets=WHOLE, ejected=WHOLE, tick=FLOAT, flush_at=FLOAT)


class World(NamedTuple):
    """One run: what holds throughout (`rules`, (1,)) and what changes."""

    rules: np.ndarray
    timer: np.ndarray  # (connections,) seconds
    connection: np.ndarray
    tried: np.ndarray  # (connections, MOST_TRIES) endpoints
    host: np.ndarray
    level: np.ndarray
    member: np.ndarray  # (levels, hosts) the endpoints that the workers believe healthy
    pool: np.ndarray  # (workers, hosts)
    index: np.ndarray  # (workers, levels) of ROUND_ROBIN
    proxy: np.ndarray  # (1,)
    until: np.ndarray  # (connections,) of the simple loop: when each one's last request leaves its endpoint
    at: np.ndarray  # (connections,) ... and which endpoint that is


# --- from a Scenario ----------------------------------------------------------------------


def world(scenario: Scenario) -> World:
    """The arrays of a scenario of one route and one cluster."""
    route, load = scenario.routes[-1], scenario.workload
    cluster = route.destinations[0].cluster
    levels = cluster.priorities[0] if cluster.priorities else (0,) * len(cluster.endpoints)
    return World(
        rules=_rules(scenario),
        timer=np.zeros(load.threads),
        connection=np.zeros(load.threads, CONNECTION),
        tried=np.zeros((load.threads, MOST_TRIES), WHOLE),
        host=_hosts(cluster, levels),
        level=np.array([(levels.count(k), 0, 0, 0, 0, 0.0, 0.0) for k in range(1 + max(levels))], LEVEL),
        member=np.zeros((1 + max(levels), len(levels)), WHOLE),
        pool=np.zeros((scenario.workers, len(levels)), POOL),
        index=np.zeros((scenario.workers, 1 + max(levels)), WHOLE),
        proxy=np.zeros(1, PROXY),
        until=np.zeros(load.threads),
        at=np.zeros(load.threads, WHOLE),
    )


def _rules(scenario: Scenario) -> np.ndarray:
    route, load, rules = scenario.routes[-1], scenario.workload, np.zeros(1, RULES)
    retries, pool, detection = route.retries, route.destinations[0].cluster.connection_pool, route.destinations[0].cluster.outlier_detection
    location, scale, sigma = lognormal(scenario.overhead)
    values = dict(
        threads=load.threads, duration=load.duration, rate=load.qps / load.threads, calls=load.calls_per_thread[0],
        location=location, scale=scale, sigma=sigma, workers=scenario.workers,
        balancing=("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST").index(route.destinations[0].cluster.load_balancing),
        timeout=route.timeout or NEVER, per_try_timeout=retries.per_try_timeout or NEVER, attempts=retries.attempts,
        retry_5xx="5xx" in retries.retry_on, backoff=retries.backoff_base_interval, max_backoff=retries.max_interval,
        redraws=retries.host_selection_retry_max_attempts if retries.previous_hosts else 0,
        frequency=retries.previous_priorities_update_frequency,
        max_connections=pool.max_connections, max_pending=pool.max_pending_requests, max_requests=pool.max_requests,
        max_retries=pool.max_retries,
    )  # fmt: skip
    if detection is not None:
        values |= dict(
            consecutive_5xx=detection.consecutive_5xx, interval=detection.interval, base_ejection=detection.base_ejection_time,
            max_ejection=max(detection.max_ejection_time, detection.base_ejection_time),
            max_ejection_percent=detection.max_ejection_percent, one_host_always=detection.one_host_always,
            window=detection.update_merge_window,
        )  # fmt: skip
    for name, value in values.items():
        rules[name] = value
    return rules


def _hosts(cluster: Cluster, levels: tuple[int, ...]) -> np.ndarray:
    host = np.zeros(len(levels), HOST)
    for h, endpoint, level in zip(host, cluster.endpoints, levels, strict=True):
        b = endpoint.behaviour
        h["level"], (h["p50"], h["p90"], h["p99"]) = level, b.timings
        h["varies"] = len(set(b.timings)) > 1
        h["error_period"], h["error_code"] = error_period(b.error_rate), b.error_code
        h["error_seconds"] = 0.0 if b.error_type == "http_error" else b.error_delay
    return host


def refuse_unknown(scenario: Scenario) -> None:
    """Raise ValueError where the scenario asks for something that these loops leave out."""
    route = scenario.routes[-1]
    cluster, retries = route.destinations[0].cluster, route.retries
    pool, pods = cluster.connection_pool, [e.behaviour for e in cluster.endpoints]
    extras = {
        "routes": len(scenario.routes) > 1 or len(route.callers) > 1 or len(route.destinations) > 1,
        "changes": scenario.changes,
        "workload": not isinstance(scenario.workload, ClosedLoop) or scenario.workload.calls is not None or scenario.workload.qps <= 0,
        "fault": route.fault.delay or route.fault.abort_code,
        "locality_weights": cluster.locality_weights,
        "panic_threshold": cluster.outlier_detection and cluster.panic_threshold,
        "connection_pool": pool.http2 or pool.retry_budget or pool.max_requests_per_connection,
        "hedge_on_per_try_timeout": retries.hedge_on_per_try_timeout,
        "attempts": retries.attempts >= MOST_TRIES,
        "new_connection_per_request": not scenario.new_connection_per_request,
        "behaviour": any(b.failure != "none" or b.concurrency or b.coin or b.prose or b.timing_variance for b in pods),
    }
    for name, there in extras.items():
        if there:
            raise ValueError(f"{name}: not in the compiled loop")


def run(scenario: Scenario, replications: int, seed: int) -> Runs:
    """`replications` runs, one after another; the simple loop where nothing but the load balancer acts."""
    reduced = collapse(scenario)
    refuse_unknown(reduced)
    simple = only_balancing(reduced)
    if not simple and reduced.routes[-1].retries.retry_on - {"5xx"}:
        raise ValueError("retry_on: only 5xx is in the compiled loop")
    log, first = _runs(world(reduced), simple, np.random.default_rng(seed), replications)
    if len(reduced.routes) < len(scenario.routes):
        log["code"][log["code"] != 200] = 500  # the pod in front turns any failure into a 500 of its own
    return Runs(log, first)


@njit(cache=True)
def _runs(w: World, simple: bool, rng: np.random.Generator, replications: int) -> tuple[np.ndarray, np.ndarray]:
    log = np.empty(4096, REQUEST)
    first = np.zeros(replications + 1, np.int64)
    for i in range(replications):
        _reset(w, rng)
        n = first[i]
        while True:
            n = _simple(w, rng, log, n) if simple else _policies(w, rng, log, n)
            if n < len(log):
                break
            longer = np.empty(2 * len(log), REQUEST)  # the loop stopped because the log is full
            longer[:n] = log
            log = longer
        first[i + 1] = n
    return log[: first[-1]], first


# --- shared by both loops -----------------------------------------------------------------


@compiled
def _earliest(timer: np.ndarray) -> int:
    best = 0
    for i in range(1, len(timer)):
        if timer[i] < timer[best]:
            best = i
    return best


@inlined
def _overhead(rules: np.ndarray, rng: np.random.Generator) -> float:
    return rules[0].location + rules[0].scale * np.exp(rules[0].sigma * rng.standard_normal())


@inlined
def _next_start(rules: np.ndarray, done: float, calls: int) -> float:
    """When fortio's thread that has made `calls` calls sends its next (periodic.go, runOne)."""
    r = rules[0]
    if calls >= r.calls:
        return NEVER
    start = max(done, (calls + calls / max(r.calls - 1, 1.0)) / r.rate)
    return NEVER if start > r.duration and calls >= 2 and calls != r.calls - 1 else start


# --- nothing but the load balancer --------------------------------------------------------


@compiled
def _simple(w: World, rng: np.random.Generator, log: np.ndarray, n: int) -> int:
    """A request is settled when it is sent, so that one event a request is enough; returns the new length of the log."""
    rules, hosts = w.rules, len(w.host)
    while n < len(log):
        i = _earliest(w.timer)
        t = w.timer[i]
        if t >= NEVER:
            return n
        endpoint = int(rng.random() * hosts)
        if rules[0].balancing == ROUND_ROBIN:
            worker = int(rng.random() * len(w.index))
            endpoint = w.index[worker, 0] = (w.index[worker, 0] + 1) % hosts
        elif rules[0].balancing == LEAST_REQUEST:
            second, surplus = int(rng.random() * hosts), 0
            for k in range(len(w.until)):
                if w.until[k] > t:
                    surplus += (w.at[k] == endpoint) - (w.at[k] == second)
            endpoint = second if surplus > 0 else endpoint
        w.until[i], w.at[i] = t + w.host[endpoint].p50, endpoint
        done = w.until[i] + _overhead(rules, rng)
        log[n].start, log[n].latency, log[n].code, log[n].endpoint, log[n].attempts = t, done - t, 200, endpoint, 1
        n += 1
        w.connection[i].calls += 1
        w.timer[i] = _next_start(rules, done, w.connection[i].calls)
    return n


# --- every policy -------------------------------------------------------------------------


@compiled
def _policies(w: World, rng: np.random.Generator, log: np.ndarray, n: int) -> int:
    """Event after event until the run is over or the log full; returns the new length of the log."""
    while n < len(log):
        i = _earliest(w.timer)
        t = w.timer[i]
        if t >= NEVER:
            return n
        if min(w.proxy[0].tick, w.proxy[0].flush_at) <= t:
            if w.proxy[0].tick <= w.proxy[0].flush_at:
                _tick(w, w.proxy[0].tick)
            else:
                _flush(w, w.proxy[0].flush_at)
            continue
        code = _event(w, rng, i, t)
        if code == SENT or not _over(w, rng, i, t, code):
            continue
        c = w.connection[i]
        done = t + _overhead(w.rules, rng)
        log[n].start, log[n].latency, log[n].code = c.start, done - c.start, _status(code)
        log[n].endpoint, log[n].attempts = c.endpoint if code > 0 else NOBODY, c.attempts
        n += 1
        c.calls += 1
        c.kind = ENTER
        w.timer[i] = _next_start(w.rules, done, c.calls)
    return n


@compiled
def _reset(w: World, rng: np.random.Generator) -> None:
    for k in range(len(w.timer)):
        w.timer[k], w.until[k] = 0.0, 0.0
        c = w.connection[k]
        c.kind, c.endpoint, c.calls, c.is_retry, c.waiting = ENTER, NOBODY, 0, False, False
    for k in range(len(w.host)):
        h = w.host[k]
        h.active, h.requests, h.failures, h.multiplier, h.ejected, h.since = 0, 0, 0, 0, False, 0.0
    for worker in range(len(w.pool)):
        for k in range(len(w.host)):
            w.pool[worker, k].open, w.pool[worker, k].busy = 0, 0
        for k in range(len(w.level)):
            w.index[worker, k] = int(rng.random() * len(w.host))
    p = w.proxy[0]
    p.in_flight, p.retrying, p.opened, p.waiting, p.tickets, p.ejected, p.flush_at = 0, 0, 0, 0, 0, 0, NEVER
    p.tick = w.rules[0].interval * rng.random() if w.rules[0].consecutive_5xx else NEVER
    for k in range(len(w.level)):
        w.level[k].updated, w.level[k].flush_at = -NEVER, NEVER
        _refresh(w, k)


@inlined
def _status(code: int) -> int:
    if code > 0:
        return code
    return 504 if code == PER_TRY_TIMEOUT or code == ROUTE_TIMEOUT else 503


@inlined
def _event(w: World, rng: np.random.Generator, i: int, t: float) -> int:
    """Handle the timer of connection `i`; `SENT`, or the code of the attempt that is over."""
    c = w.connection[i]
    if c.kind == ANSWER:
        return c.code
    if c.kind == GRANTED:
        return _dispatch(w, rng, i, t)
    if c.kind == ENTER:
        c.start, c.deadline, c.tries, c.attempts = t, t + w.rules[0].timeout, 0, 0
        c.worker = int(rng.random() * w.rules[0].workers)
    return _pick(w, rng, i, t)


# an attempt


@inlined
def _pick(w: World, rng: np.random.Generator, i: int, t: float) -> int:
    c, p, r = w.connection[i], w.proxy[0], w.rules[0]
    c.endpoint = NOBODY
    endpoint = _choose(w, rng, i)
    for _ in range(r.redraws):
        again = False
        for k in range(c.tries):
            again |= w.tried[i, k] == endpoint
        if not again:
            break
        endpoint = _choose(w, rng, i)
    w.tried[i, c.tries] = endpoint
    c.tries += 1
    if endpoint == NOBODY:
        return NO_HEALTHY
    if p.in_flight >= r.max_requests:
        return OVERFLOW
    pool = w.pool[c.worker, endpoint]
    if pool.open > pool.busy or p.opened < r.max_connections or pool.open == 0:
        if pool.open == pool.busy:
            pool.open += 1
            p.opened += 1
        pool.busy += 1
        c.endpoint = endpoint
        return _dispatch(w, rng, i, t)
    if p.waiting >= r.max_pending:
        return OVERFLOW
    p.waiting += 1
    p.tickets += 1
    c.endpoint, c.waiting, c.ticket = endpoint, True, p.tickets
    c.kind, c.code, w.timer[i] = ANSWER, ROUTE_TIMEOUT, min(c.deadline, NEVER / 2)
    return SENT


@inlined
def _choose(w: World, rng: np.random.Generator, i: int) -> int:
    """An endpoint by priority load and load balancing, NOBODY where none is healthy."""
    level = _choose_level(w, rng, i)
    count = w.level[level].healthy
    if count == 0:
        return NOBODY
    if w.rules[0].balancing == ROUND_ROBIN:
        worker = w.connection[i].worker
        w.index[worker, level] += 1
        return w.member[level, w.index[worker, level] % count]
    first = w.member[level, int(rng.random() * count)]
    if w.rules[0].balancing == RANDOM:
        return first
    second = w.member[level, int(rng.random() * count)]
    return second if w.host[second].active < w.host[first].active else first


@inlined
def _choose_level(w: World, rng: np.random.Generator, i: int) -> int:
    levels = len(w.level)
    if levels == 1:
        return 0
    draw = int(100 * rng.random())
    tries, frequency = w.connection[i].tries, w.rules[0].frequency
    if frequency == 0 or tries < frequency:
        for k in range(levels):
            draw -= w.level[k].load
            if draw < 0:
                return k
        return levels - 1
    for k in range(levels):
        w.level[k].left = w.level[k].health
    for k in range(tries - tries % frequency):
        if w.tried[i, k] != NOBODY:
            w.level[w.host[w.tried[i, k]].level].left = 0
    total = 0
    for k in range(levels):
        total += w.level[k].left
    if total:
        _shares(w.level)
    for k in range(levels):
        draw -= w.level[k].left if total else w.level[k].load
        if draw < 0:
            return k
    return levels - 1


@inlined
def _dispatch(w: World, rng: np.random.Generator, i: int, t: float) -> int:
    """The pod's answer, the per-try timeout or the route's, whichever comes first."""
    c = w.connection[i]
    h = w.host[c.endpoint]
    c.waiting = False
    c.attempts += 1
    h.active += 1
    w.proxy[0].in_flight += 1
    h.requests += 1
    seconds, c.code = h.p50, 200
    if h.requests % h.error_period == 0:
        seconds, c.code = h.error_seconds, h.error_code
    elif h.varies:
        u = rng.random()
        seconds = h.p50 if u < 0.9 else h.p90 if u < 0.99 else h.p99
    finish, per_try = t + seconds, t + w.rules[0].per_try_timeout
    if finish > min(per_try, c.deadline):
        finish = min(per_try, c.deadline)
        c.code = PER_TRY_TIMEOUT if per_try < c.deadline else ROUTE_TIMEOUT
    c.kind, w.timer[i] = ANSWER, finish
    return SENT


# the attempt is over


@inlined
def _over(w: World, rng: np.random.Generator, i: int, t: float, code: int) -> bool:
    """Free what the attempt held, report it, retry it; is the request answered?"""
    c, p, r = w.connection[i], w.proxy[0], w.rules[0]
    if c.is_retry:
        p.retrying -= 1
        c.is_retry = False
    if c.waiting:
        p.waiting -= 1
        c.waiting, c.endpoint = False, NOBODY
    elif c.endpoint != NOBODY:
        _release(w, i, t, code)
        if r.consecutive_5xx:
            _report(w, c.endpoint, t, _status(code))
    retriable = r.retry_5xx and (code >= 500 or code == PER_TRY_TIMEOUT)
    if not (retriable and c.tries <= r.attempts and p.retrying < r.max_retries):
        return True
    p.retrying += 1
    c.is_retry = True
    at = t + rng.random() * min(r.backoff * 2.0 ** (c.tries - 1), r.max_backoff)
    c.endpoint = NOBODY
    c.kind, c.code = (PICK, SENT) if at < c.deadline else (ANSWER, ROUTE_TIMEOUT)
    w.timer[i] = min(at, c.deadline)
    return False


@inlined
def _release(w: World, i: int, t: float, code: int) -> None:
    """Give the connection back: to who has waited longest for this pool, if anybody waits."""
    c, p = w.connection[i], w.proxy[0]
    w.host[c.endpoint].active -= 1
    p.in_flight -= 1
    longest = NOBODY
    if p.waiting:
        for k in range(len(w.connection)):
            other = w.connection[k]
            if other.waiting and other.worker == c.worker and other.endpoint == c.endpoint:
                if longest == NOBODY or other.ticket < w.connection[longest].ticket:
                    longest = k
    if longest != NOBODY:
        p.waiting -= 1
        w.connection[longest].waiting = False
        w.connection[longest].kind, w.timer[longest] = GRANTED, t
        return
    pool = w.pool[c.worker, c.endpoint]
    pool.busy -= 1
    if code < 0:  # an attempt given up closes its connection
        pool.open -= 1
        p.opened -= 1


# outlier detection


@inlined
def _report(w: World, endpoint: int, t: float, status: int) -> None:
    h, p, r = w.host[endpoint], w.proxy[0], w.rules[0]
    if status < 500:
        h.failures = 0
        return
    h.failures += 1
    if h.failures != r.consecutive_5xx or h.ejected:
        return
    h.failures = 0
    hosts = len(w.host)
    strict = 100 * (p.ejected + 1) <= r.max_ejection_percent * hosts
    lenient = p.ejected == 0 or 100 * p.ejected < r.max_ejection_percent * hosts
    if lenient if r.one_host_always else strict:
        if h.multiplier * r.base_ejection < r.max_ejection + r.base_ejection:
            h.multiplier += 1
        h.ejected, h.since = True, t
        p.ejected += 1
        _changed(w, h.level, t)


@compiled
def _tick(w: World, t: float) -> None:
    """Shrink the multipliers, let return whose time is over."""
    r = w.rules[0]
    w.proxy[0].tick += r.interval
    for k in range(len(w.host)):
        h = w.host[k]
        if not h.ejected:
            h.multiplier = max(h.multiplier - 1, 0)
        elif t - h.since >= min(r.base_ejection * h.multiplier, r.max_ejection) - 1e-6:
            h.ejected, h.failures = False, 0
            w.proxy[0].ejected -= 1
            _changed(w, h.level, t)


@compiled
def _changed(w: World, level: int, t: float) -> None:
    """Tell the workers at once, or when the merge window of the level's last change is over."""
    v, window = w.level[level], w.rules[0].window
    if np.floor(1000 * (t - v.updated) + 1e-3) > 1000 * window:
        v.updated, v.flush_at = t, NEVER
        _refresh(w, level)
    else:
        v.flush_at = min(v.flush_at, t + window)
    _next_flush(w)


@compiled
def _next_flush(w: World) -> None:
    w.proxy[0].flush_at = NEVER
    for k in range(len(w.level)):
        w.proxy[0].flush_at = min(w.proxy[0].flush_at, w.level[k].flush_at)


@compiled
def _flush(w: World, t: float) -> None:
    for k in range(len(w.level)):
        if w.level[k].flush_at <= t:
            w.level[k].updated, w.level[k].flush_at = t, NEVER
            _refresh(w, k)
    _next_flush(w)


@compiled
def _refresh(w: World, level: int) -> None:
    """The healthy members of the level, and with them the priority load of all levels."""
    v = w.level[level]
    v.healthy = 0
    for e in range(len(w.host)):
        if w.host[e].level == level and not w.host[e].ejected:
            w.member[level, v.healthy] = e
            v.healthy += 1
    v.health = min(100, 140 * v.healthy // max(v.size, 1))
    for k in range(len(w.level)):
        w.level[k].left = w.level[k].health
    _shares(w.level)
    for k in range(len(w.level)):
        w.level[k].load = w.level[k].left


@compiled
def _shares(level: np.ndarray) -> None:
    """Turn `left`, the healths to share the load by, into integer percents of load."""
    total = 0
    for k in range(len(level)):
        total += level[k].left
    total = min(100, total)
    rest, first = 100 if total else 0, -1
    for k in range(len(level)):
        if level[k].left > 0 and first < 0:
            first = k
        level[k].left = min(rest, 100 * level[k].left // max(total, 1))
        rest -= level[k].left
    if first >= 0:
        level[first].left += rest
