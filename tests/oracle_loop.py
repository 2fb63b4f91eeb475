"""One run of a scenario, one event at a time: the oracle of the Monte-Carlo engine.

Written from the rules (Envoy's, fortio's, fake-service's), not from the engine: a heap of
(time, function) pairs, an object for each call and each attempt, a real queue for each
limit.  Slow and plain on purpose.  Not covered: hedging, locality weights, panic.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from meshmodel.scenario import (
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    Constant,
    Destination,
    Endpoint,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
)

RESETS = {"refused", "reset", "per-try-timeout"}
STATUS = {"refused": 503, "reset": 503, "overflow": 503, "no-healthy": 503, "per-try-timeout": 504, "timeout": 504}


class Pod:
    """fake-service: counts its requests, works on `concurrency` of them at once, the others queue."""

    def __init__(self, world: World) -> None:
        self.world, self.number, self.busy, self.queue = world, 0, 0, deque()

    def outcome(self, b: Behaviour) -> tuple[float, int | str]:
        if b.failure != "none":
            return (np.inf if b.failure == "hang" else 0.0), b.failure
        self.number += 1
        rng = self.world.rng
        if b.injector == "nominal":
            fails = rng.random() < b.error_rate
        else:
            fails = b.error_rate > 0 and self.number % int(1 / b.error_rate) == 0
        if fails:
            return (0.0 if b.error_type == "http_error" else b.error_delay), b.error_code
        u, (p50, p90, p99) = rng.random(), b.timings
        seconds = p50 if u < 0.9 else p90 if u < 0.99 else p99
        if b.injector == "nominal" and u < 0.5:
            seconds = min(p50, b.undelayed)
        return seconds * (1 + (rng.integers(b.timing_variance) / 100 if b.timing_variance else 0)), 200

    def serve(self, b: Behaviour, then: Callable[[float, int | str], None]) -> None:
        """Work on a request; `then(own seconds, outcome)` when the work begins."""
        seconds, outcome = self.outcome(b)
        if b.concurrency is None or isinstance(outcome, str):
            then(seconds, outcome)
        elif self.busy < b.concurrency:
            self.busy += 1
            self.work(seconds, outcome, then)
        else:
            self.queue.append((seconds, outcome, then))

    def work(self, seconds: float, outcome: int | str, then: Callable) -> None:
        self.world.after(seconds, self.rest)
        then(seconds, outcome)

    def rest(self) -> None:
        if self.queue:
            self.work(*self.queue.popleft())
        else:
            self.busy -= 1


class Upstream:
    """One cluster as one proxy sees it."""

    def __init__(self, world: World, hop: int, cluster: Cluster, caller: int) -> None:
        self.world, self.hop, self.caller = world, hop, caller
        self.active, self.index = Counter(), {}
        self.busy, self.open, self.waiting = Counter(), Counter(), {}
        self.retrying = 0
        self.row, self.gateway, self.local, self.multiplier = Counter(), Counter(), Counter(), Counter()
        self.out: dict[str, float] = {}
        self.told: dict[int, float] = {}
        self.pending: dict[int, object] = {}
        self.cluster = None
        self.configure(cluster)

    def configure(self, cluster: Cluster) -> None:
        before, self.cluster = self.cluster, cluster
        names = [e.name for e in cluster.endpoints]
        self.level = dict(zip(names, cluster.priorities[self.caller] if cluster.priorities else [0] * len(names), strict=True))
        self.levels = 1 + max(self.level.values(), default=0)
        policy = cluster.outlier_detection
        if policy and (before is None or before.outlier_detection != policy):
            self.out.clear()
            phase = self.world.rng.random() if before is None else 1.0
            self.world.after(phase * policy.interval, lambda: self.tick(policy), daemon=True)
        self.seen = {level: [n for n in names if self.level[n] == level and n not in self.out] for level in range(self.levels)}

    # load balancing

    def loads(self, excluded: set[int]) -> list[int]:
        size = Counter(self.level.values())
        health = [0 if k in excluded else min(100, 140 * len(self.seen[k]) // max(size[k], 1)) for k in range(self.levels)]
        total, left, loads = min(100, sum(health)), 100, []
        for own in health:
            loads.append(min(left, 100 * own // total) if total else 0)
            left -= loads[-1]
        if total:
            loads[next(k for k, own in enumerate(health) if own)] += left
        return loads

    def pick(self, worker: int, excluded: set[int]) -> str | None:
        loads = self.loads(excluded)
        if not sum(loads):
            loads = self.loads(set())
        if not sum(loads):
            return None
        level = int(np.searchsorted(np.cumsum(loads), self.world.rng.integers(100), side="right"))
        hosts = self.seen[level]
        if self.cluster.load_balancing == "ROUND_ROBIN":
            index = self.index.setdefault((worker, level), int(self.world.rng.integers(len(self.level))))
            self.index[worker, level] += 1
            return hosts[index % len(hosts)]
        first, second = (hosts[self.world.rng.integers(len(hosts))] for _ in range(2))
        if self.cluster.load_balancing == "LEAST_REQUEST" and self.active[second] < self.active[first]:
            return second
        return first

    # connections

    def connect(self, worker: int, host: str, ticket: SimpleNamespace) -> bool:
        """Call `ticket.granted` now or later; False: overflow."""
        pool = self.cluster.connection_pool
        if sum(self.active.values()) >= pool.max_requests:
            return False
        where = worker, host
        if pool.http2 or self.open[where] > self.busy[where] or sum(self.open.values()) < pool.max_connections or not self.open[where]:
            self.open[where] += not pool.http2 and self.open[where] == self.busy[where]
            self.busy[where] += 1
            ticket.granted()
        elif sum(len(q) for q in self.waiting.values()) < pool.max_pending_requests:
            self.waiting.setdefault(where, deque()).append(ticket)
        else:
            return False
        return True

    def disconnect(self, worker: int, host: str, closes: bool) -> None:
        where = worker, host
        self.busy[where] -= 1
        self.open[where] -= closes and not self.cluster.connection_pool.http2
        queue = self.waiting.get(where)
        if queue:
            self.open[where] += closes
            self.busy[where] += 1
            queue.popleft().granted()

    def leave(self, ticket: SimpleNamespace) -> None:
        for queue in self.waiting.values():
            for place in [k for k, other in enumerate(queue) if other is ticket]:
                del queue[place]

    # outlier detection

    def report(self, host: str, outcome: int | str) -> None:
        policy, status = self.cluster.outlier_detection, STATUS.get(outcome, outcome)
        if policy is None:
            return
        split, ours = policy.split_external_local_origin_errors, isinstance(outcome, str)
        reached = []
        if not (split and ours):
            reached.append(self.lengthen(self.row, host, status >= 500, policy.consecutive_5xx))
            reached.append(self.lengthen(self.gateway, host, 502 <= status <= 504, policy.consecutive_gateway_failure))
        if split:
            reached.append(self.lengthen(self.local, host, outcome == "refused", policy.consecutive_local_origin_failure))
        if any(reached) and host not in self.out:
            self.eject(host, policy)

    @staticmethod
    def lengthen(row: Counter, host: str, failed: bool, threshold: int) -> bool:
        row[host] = row[host] + 1 if failed else 0
        return threshold > 0 and row[host] == threshold

    def eject(self, host: str, policy: SimpleNamespace) -> None:
        out, size = len(self.out), len(self.level)
        strict, lenient = 100 * (out + 1) <= policy.max_ejection_percent * size, out == 0 or 100 * out < policy.max_ejection_percent * size
        self.row[host] = self.gateway[host] = self.local[host] = 0
        if not (lenient if policy.one_host_always else strict):
            return
        if (
            self.multiplier[host] * policy.base_ejection_time
            < max(policy.max_ejection_time, policy.base_ejection_time) + policy.base_ejection_time
        ):
            self.multiplier[host] += 1
        self.out[host] = self.world.now
        self.note(host, True)
        self.changed(self.level[host])

    def tick(self, policy: SimpleNamespace) -> None:
        if self.cluster.outlier_detection != policy:
            return
        self.world.after(policy.interval, lambda: self.tick(policy), daemon=True)
        for host in self.level:
            longest = max(policy.max_ejection_time, policy.base_ejection_time)
            if host not in self.out:
                self.multiplier[host] = max(0, self.multiplier[host] - 1)
            elif self.world.now - self.out[host] >= min(policy.base_ejection_time * self.multiplier[host], longest) - 1e-6:
                del self.out[host]
                self.row[host] = self.gateway[host] = self.local[host] = 0
                self.note(host, False)
                self.changed(self.level[host])

    def note(self, host: str, gone: bool) -> None:
        if self.hop == self.world.last:
            self.world.ejections.append((self.world.now, host, gone))

    def changed(self, level: int) -> None:
        window = self.cluster.outlier_detection.update_merge_window
        if self.world.now - self.told.get(level, -np.inf) > window + 0.000999:  # Envoy compares whole milliseconds
            self.tell(level)
        elif level not in self.pending:
            timer = self.pending[level] = object()
            self.world.after(window, lambda: self.pending.get(level) is timer and self.tell(level), daemon=True)

    def tell(self, level: int) -> None:
        self.pending.pop(level, None)
        self.told[level] = self.world.now
        self.seen[level] = [n for n in self.level if self.level[n] == level and n not in self.out]


class Call:
    """What one proxy does with one request."""

    def __init__(self, world: World, hop: int, caller: str, request: SimpleNamespace, done: Callable[[int, str | None], None],
                 counts: Callable[[], bool] = lambda: True) -> None:  # fmt: skip
        self.world, self.hop, self.request, self.done, self.counts = world, hop, request, done, counts
        self.route: Route = world.routes[hop]
        fresh = world.scenario.new_connection_per_request or request.thread is None
        self.worker = int(world.rng.integers(world.scenario.workers)) if fresh else request.thread % world.scenario.workers
        self.tried: list[str] = []
        self.over, self.attempt, self.is_retry = False, None, False
        weights = np.array([d.weight for d in self.route.destinations], dtype=float)
        cluster = self.route.destinations[world.rng.choice(len(weights), p=weights / weights.sum())].cluster
        self.upstream = world.upstream(hop, caller, cluster)
        fault = self.route.fault
        delay = fault.delay if world.rng.random() * 100 < fault.delay_percent else 0.0
        aborted = fault.abort_code and world.rng.random() * 100 < fault.abort_percent
        world.after(delay, (lambda: self.finish(fault.abort_code, None)) if aborted else self.start)

    def start(self) -> None:
        if self.route.timeout:
            self.world.after(self.route.timeout, lambda: self.over or self.given_up("timeout"))
        self.send()

    def send(self) -> None:
        if self.over:
            return
        policy, host = self.route.retries, None
        for _ in range(1 + policy.host_selection_retry_max_attempts if policy.previous_hosts else 1):
            host = self.upstream.pick(self.worker, self.excluded(policy))
            if host not in self.tried:
                break
        if host is None:
            self.answered("no-healthy", None)
            return
        self.tried.append(host)
        self.attempt = attempt = SimpleNamespace(host=host, over=False, sent=False)
        attempt.granted = lambda: self.sent(attempt)
        if not self.upstream.connect(self.worker, host, attempt):
            self.attempt = None
            self.world.counters["upstream_rq_pending_overflow"] += self.hop == self.world.last
            self.answered("overflow", None)

    def excluded(self, policy: RetryPolicy) -> set[int]:
        frequency = policy.previous_priorities_update_frequency
        if not frequency or self.upstream.levels == 1:
            return set()
        return {self.upstream.level[h] for h in self.tried[: len(self.tried) - len(self.tried) % frequency]}

    def sent(self, attempt: SimpleNamespace) -> None:
        attempt.sent = True
        self.upstream.active[attempt.host] += 1
        limit = self.route.retries.per_try_timeout
        if limit is not None:
            self.world.after(limit, lambda: attempt.over or self.given_up("per-try-timeout"))
        if self.hop == self.world.last:
            self.world.attempts[attempt.host] += 1
            self.request.attempts += self.counts()
        self.world.deliver(self, attempt)

    def given_up(self, outcome: str) -> None:
        """A timeout: whatever the call is in ends; the pod is not told."""
        attempt = self.attempt
        if self.hop == self.world.last:
            self.world.counters["upstream_rq_timeout" if outcome == "timeout" else "upstream_rq_per_try_timeout"] += 1
        if attempt and not attempt.sent:
            self.upstream.leave(attempt)
            self.attempt = None
        self.answered(outcome, None)

    def answered(self, outcome: int | str, pod: str | None) -> None:
        """The attempt (if there is one) is over; retry, or finish."""
        upstream, policy, attempt = self.upstream, self.route.retries, self.attempt
        flying = sum(upstream.active.values()) + sum(len(q) for q in upstream.waiting.values())
        self.attempt = None
        upstream.retrying -= self.is_retry
        self.is_retry = False
        if attempt:
            attempt.over = True
            upstream.active[attempt.host] -= 1
            upstream.report(attempt.host, outcome)
            upstream.disconnect(self.worker, attempt.host, isinstance(outcome, str))
        if self.retriable(outcome) and len(self.tried) <= policy.attempts and self.retry_allowed(flying):
            upstream.retrying += 1
            self.is_retry = True
            self.world.counters["upstream_rq_retry"] += self.hop == self.world.last
            bound = min(policy.backoff_base_interval * 2 ** (len(self.tried) - 1), policy.max_interval)
            self.world.after(bound * self.world.rng.random(), self.send)
        else:
            self.finish(STATUS.get(outcome, outcome), pod)

    def retriable(self, outcome: int | str) -> bool:
        words, policy = self.route.retries.retry_on, self.route.retries
        if isinstance(outcome, str):
            wide = outcome in RESETS and words & {"5xx", "gateway-error", "reset"}
            return bool(wide or (outcome == "refused" and words & {"connect-failure", "reset-before-request"}))
        if "5xx" in words and outcome >= 500 or "gateway-error" in words and outcome in (502, 503, 504):
            return True
        return (
            "retriable-status-codes" in words and outcome in policy.retriable_status_codes or ("retriable-4xx" in words and outcome == 409)
        )

    def retry_allowed(self, flying: int) -> bool:
        pool = self.upstream.cluster.connection_pool
        limit = pool.max_retries
        if pool.retry_budget:
            limit = max(pool.retry_budget.min_retry_concurrency, int(pool.retry_budget.budget_percent / 100 * flying))
        if self.upstream.retrying >= limit:
            self.world.counters["upstream_rq_retry_overflow"] += self.hop == self.world.last
            return False
        return True

    def finish(self, status: int, pod: str | None) -> None:
        self.over = True
        extra = self.world.overhead() if self.hop == self.world.last else 0.0
        self.world.after(extra, lambda: self.done(status, pod))


class World:
    """`run()` gives the log: (start, latency, code, pod or None, attempts) of every request, in order of the answers."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.scenario, self.rng, self.now = scenario, rng, 0.0
        self.routes, self.last = scenario.routes, len(scenario.routes) - 1
        self.heap: list[tuple] = []
        self.order = itertools.count()
        self.upstreams: dict[tuple, Upstream] = {}
        self.pods: dict[tuple[int, str], Pod] = {}
        self.log: list[tuple] = []
        self.ejections: list[tuple[float, str, bool]] = []
        self.counters, self.attempts = Counter(), Counter()
        self.clients = self.living = 0
        for hop, route in enumerate(scenario.routes):
            for caller in route.callers:
                for destination in route.destinations:
                    self.upstream(hop, caller.name, destination.cluster)

    def after(self, seconds: float, action: Callable[[], object], daemon: bool = False) -> None:
        if np.isfinite(seconds):
            heapq.heappush(self.heap, (self.now + seconds, next(self.order), action, daemon))
            self.living += not daemon

    def overhead(self) -> float:
        return float(self.scenario.overhead.rvs(random_state=self.rng))

    def upstream(self, hop: int, caller: str, cluster: Cluster) -> Upstream:
        key = hop, caller, cluster.name
        if key not in self.upstreams:
            self.upstreams[key] = Upstream(self, hop, cluster, [c.name for c in self.routes[hop].callers].index(caller))
        return self.upstreams[key]

    def deliver(self, call: Call, attempt: SimpleNamespace) -> None:
        """The pod works on an attempt; what it answers is dropped when the attempt is over."""
        endpoint = next(e for e in call.upstream.cluster.endpoints if e.name == attempt.host)
        behaviour = next((e.behaviour for e in self.routes[call.hop].endpoints if e.name == attempt.host), endpoint.behaviour)
        pod = self.pods.setdefault((call.hop, attempt.host), Pod(self))

        def answer(outcome: int | str, name: str | None) -> None:
            if not attempt.over:
                call.answered(outcome, name)

        def begins(seconds: float, outcome: int | str) -> None:
            if call.hop == self.last or outcome != 200:
                name = attempt.host if call.hop == self.last and not isinstance(outcome, str) else None
                self.after(seconds, lambda: answer(outcome, name))
                return
            began = self.now

            def inner_done(status: int, name: str | None) -> None:
                wait = max(0.0, began + seconds - self.now) if status == 200 else 0.0
                self.after(wait, lambda: answer(200 if status == 200 else 500, name))

            # The pod's own call goes on when the proxy in front of it gives up, but counts for nobody then.
            Call(self, call.hop + 1, attempt.host, call.request, inner_done, lambda: not attempt.over and call.counts())

        pod.serve(behaviour, begins)

    # the load

    def client(self, thread: int | None, then: Callable[[], None]) -> None:
        """Send one request; `then` when it is answered."""
        start = self.now
        request = SimpleNamespace(thread=thread, attempts=0)
        caller = self.routes[0].callers[self.rng.integers(len(self.routes[0].callers))].name

        def done(status: int, pod: str | None) -> None:
            self.log.append((start, self.now - start, status, pod, request.attempts))
            then()

        Call(self, 0, caller, request, done)

    def thread(self, number: int, load: ClosedLoop) -> None:
        """fortio's runOne."""
        calls, most, rate = 0, load.calls_per_thread[number], load.qps / load.threads

        def go_on() -> None:
            nonlocal calls
            calls += 1
            if calls >= most:
                self.clients -= 1
            elif load.qps > 0:
                target = (calls + calls / (most - 1) if load.duration is not None else calls) / rate
                self.after(max(0.0, target - self.now), send)
            else:
                send()

        def send() -> None:
            late = load.duration is not None and load.calls is None and self.now > load.duration
            if late and (load.qps <= 0 or (calls >= 2 and calls != most - 1)):
                self.clients -= 1
            else:
                self.client(number, go_on)

        self.clients += 1
        self.after(0.0, send)

    def arrivals(self) -> None:
        """A Poisson stream by thinning, or arrivals evenly spaced in the integrated rate."""
        begin = 0.0
        for seconds, first, last in self.scenario.workload.segments:
            most = max(first, last)
            for t in np.sort(self.rng.random(self.rng.poisson(most * seconds))) * seconds if most else ():
                if self.rng.random() * most < first + (last - first) * t / seconds:
                    self.clients += 1
                    self.after(begin + t, lambda: self.client(None, self.one_less))
            begin += seconds

    def one_less(self) -> None:
        self.clients -= 1

    def change(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        for (hop, _, name), upstream in self.upstreams.items():
            for destination in routes[hop].destinations:
                if destination.cluster.name == name:
                    upstream.configure(destination.cluster)

    def run(self) -> list[tuple]:
        load = self.scenario.workload
        for change in self.scenario.changes:
            self.after(change.at, lambda routes=change.routes: self.change(routes))
        if isinstance(load, ClosedLoop):
            for number in range(load.threads):
                self.thread(number, load)
        else:
            self.arrivals()
        while self.clients and self.living:
            self.now, _, action, daemon = heapq.heappop(self.heap)
            self.living -= not daemon
            action()
        return self.log


# --- short ways to write a scenario, for the tests ------------------------------------------


def plain(seconds: float = 0.0, **behaviour: object) -> Behaviour:
    """A pod that takes `seconds`."""
    return Behaviour(timing_50_percentile=seconds, **behaviour)


def cluster(
    behaviours: list[Behaviour], load_balancing: str = "ROUND_ROBIN", name: str = "p", localities: tuple[str, ...] = (), **more: object
) -> Cluster:
    """Pods p0, p1, ..., each a Deployment of its own."""
    places = localities or ("",) * len(behaviours)
    pods = tuple(
        Endpoint(name=f"{name}{i}", deployment=f"{name}{i}", address=f"10.0.0.{i}:80", behaviour=b, locality=places[i])
        for i, b in enumerate(behaviours)
    )
    return Cluster(name=f"cluster-{name}", endpoints=pods, load_balancing=load_balancing, **more)


def route(
    behaviours: list[Behaviour], load_balancing: str = "ROUND_ROBIN", callers: tuple[str, ...] = ("web",), name: str = "p", **more: object
) -> Route:
    """A route to one cluster; what is not a field of the cluster is one of the route."""
    own = {key: more.pop(key) for key in ("timeout", "retries", "fault") if key in more}
    destination = Destination(cluster=cluster(behaviours, load_balancing, name, **more))
    return Route(host=name, callers=tuple(Caller(name=c) for c in callers), destinations=(destination,), **own)


def scenario(*routes: Route, load: object = None, overhead: object = 0.003, **more: object) -> Scenario:
    """The routes under a load (default: 4 connections, 10 s)."""
    return Scenario(
        routes=routes,
        workload=load or ClosedLoop(connections=4, duration=10),
        overhead=Constant(overhead) if isinstance(overhead, float) else overhead,
        **more,
    )


def retry(attempts: int, *words: str, codes: tuple[int, ...] = (), **more: object) -> RetryPolicy:
    """A retry policy on `words` (default: 5xx)."""
    return RetryPolicy(attempts=attempts, retry_on=frozenset(words or {"5xx"}), retriable_status_codes=frozenset(codes), **more)


def detection(**more: object) -> OutlierDetection:
    """Outlier detection that may eject everybody, ticking each 1.3 s unless told otherwise."""
    return OutlierDetection(**({"max_ejection_percent": 100, "interval": 1.3, "base_ejection_time": 1.0} | more))
