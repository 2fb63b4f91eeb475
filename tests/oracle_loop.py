"""One run of a scenario, one event at a time: the oracle of the Monte-Carlo engine.

Written from the rules (Envoy's, fortio's and fake-service's source), not from the engine: a heap
of (time, function) pairs, an object for each call and each attempt, real connections and real
queues (`tests/oracle_proxy.py`).  Slow and plain on purpose.

What `Scenario` may lack yet is read with its default, under these names: `ClosedLoop.timeout` (the
client's patience; None: curl's), `Scenario.connect_time`, `Endpoint.inbound` (a `ConnectionPool` that
the pod's own sidecar holds all its callers to).  Not covered: hashing, unequal endpoint weights, slow
start, mirrors, direct responses, HTTP/2's connections (they are there).
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
    callers_of,
)
from tests.oracle_proxy import Pools, Upstream

STATUS = {"refused": 503, "reset": 503, "overflow": 503, "per-try-timeout": 504, "timeout": 504}
GIVEN_UP = -1
"""fortio's code of a call whose answer did not come in time."""

NOBODY = "nobody"
"""In place of the pod, then; None: the proxy itself answered."""


class Pod:
    """fake-service: counts its requests, works on `concurrency` of them at once, the others queue."""

    def __init__(self, world: World) -> None:
        self.world, self.number, self.busy, self.queue = world, 0, 0, deque()

    def outcome(self, b: Behaviour) -> tuple[float, int | str]:
        if b.failure != "none":
            return (np.inf if b.failure == "hang" else 0.0), b.failure
        self.number += 1
        rng = self.world.rng
        if b.coin:
            fails = rng.random() < b.error_rate
        else:
            fails = b.error_rate > 0 and self.number % int(1 / b.error_rate) == 0
        if fails:
            return (0.0 if b.error_type == "http_error" else b.error_delay), b.error_code
        u, (p50, p90, p99) = rng.random(), b.timings
        seconds = p50 if u < 0.9 else p90 if u < 0.99 else p99
        if b.prose and u < 0.5:
            seconds = min(p50, b.undelayed)
        return seconds * (1 + (rng.integers(b.timing_variance) / 100 if b.timing_variance else 0)), 200

    def serve(self, b: Behaviour, work: Callable[[float, int | str, Callable[[], None]], None]) -> None:
        """`work(own seconds, outcome, rest)` when the pod begins with the request; it calls `rest` when it has done with it."""
        seconds, outcome = self.outcome(b)
        if isinstance(outcome, str):
            work(seconds, outcome, lambda: None)
        elif b.concurrency is None or self.busy < b.concurrency:
            self.busy += 1
            work(seconds, outcome, self.rest)
        else:
            self.queue.append(lambda: work(seconds, outcome, self.rest))

    def rest(self) -> None:
        if self.queue:
            self.queue.popleft()()
        else:
            self.busy -= 1


class Attempt(SimpleNamespace):
    """One attempt of a call, as a stream of its cluster's `Pools`."""

    def __init__(self, call: Call, host: str) -> None:
        super().__init__(call=call, host=host, upstream=call.upstream, inside=None)
        self.over = self.sent = self.retried = self.told = False
        self.closes = True  # its connection, unless an answer comes

    __hash__, __eq__ = object.__hash__, object.__eq__

    def granted(self) -> None:
        self.call.sent(self)

    def overflow(self) -> None:
        self.call.world.count("upstream_rq_pending_overflow", self.call)
        self.call.reset(self, "overflow")


class Call:
    """What one proxy does with one request (Envoy's router.cc and retry_state_impl.cc); `done(status, pod)` with its answer."""

    def __init__(self, world: World, hop: int, caller: str, request: SimpleNamespace, done: Callable[[int, str | None], None],
                 counts: Callable[[], bool] = lambda: True) -> None:  # fmt: skip
        self.world, self.hop, self.caller, self.request, self.done, self.counts = world, hop, caller, request, done, counts
        self.route: Route = world.routes[hop]
        self.worker = world.worker(request.thread, hop)
        self.attempts: list[Attempt] = []
        self.tried: list[str] = []  # hosts, for previous_hosts
        self.attempted: list[str] = []  # hosts, for previous_priorities
        self.left_out: set[int] = set()
        self.loads: list[int] = []
        self.retries_left = self.route.retries.attempts if self.route.retries.retry_on else 0
        self.number, self.pending_retries, self.holds_retry, self.over = 0, 0, None, False
        weights = np.array([d.weight for d in self.route.destinations], dtype=float)
        self.cluster = self.route.destinations[world.rng.choice(len(weights), p=weights / weights.sum())].cluster.name
        fault = self.route.fault
        delay = fault.delay if world.rng.random() * 100 < fault.delay_percent else 0.0
        aborted = fault.abort_code and world.rng.random() * 100 < fault.abort_percent
        world.after(delay, (lambda: self.over or self.finish(fault.abort_code, None)) if aborted else self.start)

    def start(self) -> None:
        if self.over:
            return
        if self.route.timeout:
            self.world.after(self.route.timeout, self.timeout)
        self.send()

    def send(self) -> None:
        """An attempt: pick a host, ask for a connection."""
        self.upstream = self.world.upstream(self.hop, self.caller, self.cluster)
        host = self.pick()
        if host is None:
            self.finish(503, None)
            return
        attempt = Attempt(self, host)
        self.attempts.append(attempt)
        self.upstream.pools.ask(self.worker, host, attempt)

    def pick(self) -> str | None:
        policy, host = self.route.retries, None
        again = policy.host_selection_retry_max_attempts if policy.previous_hosts and self.number else 0
        for _ in range(1 + again):
            host = self.upstream.balancer.pick(self.worker, self.upstream.balancer.loads_for(self))
            if host not in self.tried:
                break
        return host

    def sent(self, attempt: Attempt) -> None:
        attempt.sent = True
        attempt.upstream.balancer.active[attempt.host] += 1
        self.tried.append(attempt.host)
        self.attempted.append(attempt.host)
        if self.route.retries.per_try_timeout is not None:
            self.world.after(self.route.retries.per_try_timeout, lambda: attempt.over or self.try_timeout(attempt))
        if self.hop == self.world.last:
            self.world.attempts[attempt.host] += 1
            self.request.attempts += self.counts()
        self.world.deliver(self, attempt)

    # how an attempt ends

    def answered(self, attempt: Attempt, status: int, pod: str | None) -> None:
        """The pod's answer; one that would be tried again waits for the attempts still under way."""
        self.report(attempt, status, ours=False)
        attempt.closes = False
        again = self.covers(status)
        verdict = ("refused" if again else "no") if attempt.retried else self.retry(again)
        self.end(attempt)
        if verdict == "no" or verdict == "refused" and not self.attempts and not self.pending_retries:
            self.finish(status, pod)

    def reset(self, attempt: Attempt, outcome: str) -> None:
        """No answer: `outcome` is a key of STATUS; waits for the attempts still under way, whatever the policy's words."""
        if outcome != "overflow":
            self.report(attempt, STATUS[outcome], ours=True)
        verdict = "no" if attempt.retried else self.retry(self.covers(outcome))
        self.end(attempt)
        if verdict != "yes" and not self.attempts and not self.pending_retries:
            self.finish(STATUS[outcome], None)

    def try_timeout(self, attempt: Attempt) -> None:
        if self.route.retries.hedge_on_per_try_timeout:  # the attempt goes on, the next begins beside it
            self.report(attempt, 504, ours=True)
            attempt.told = True
            attempt.retried = self.retry(True) == "yes"
        else:
            self.world.count("upstream_rq_per_try_timeout", self)
            self.reset(attempt, "per-try-timeout")

    def timeout(self) -> None:
        """The route's timeout ends everything that is under way."""
        if self.over:
            return
        for attempt in self.attempts:
            self.world.count("upstream_rq_timeout", self)
            if not attempt.told:
                self.report(attempt, 504, ours=True)
        self.finish(504, None)

    def report(self, attempt: Attempt, status: int, ours: bool) -> None:
        if attempt.upstream.detector and (attempt.sent or not ours):
            attempt.upstream.detector.report(attempt.host, status, ours)

    def end(self, attempt: Attempt) -> None:
        attempt.over = True
        self.attempts.remove(attempt)
        attempt.upstream.balancer.active[attempt.host] -= attempt.sent
        attempt.pools.end(attempt, attempt.closes)
        if attempt.inside is not None:
            attempt.inside.pools.end(attempt.inside, attempt.closes)

    # retries

    def covers(self, outcome: int | str) -> bool:
        """Does the policy try this outcome again?"""
        words, codes = self.route.retries.retry_on, self.route.retries.retriable_status_codes
        if isinstance(outcome, str):
            wide = outcome != "overflow" and words & {"5xx", "gateway-error", "reset"}
            return bool(wide or (outcome == "refused" and words & {"connect-failure", "reset-before-request"}))
        if "5xx" in words and outcome >= 500 or "gateway-error" in words and outcome in (502, 503, 504):
            return True
        return "retriable-status-codes" in words and outcome in codes or "retriable-4xx" in words and outcome == 409

    def retry(self, wished: bool) -> str:
        """Schedule a retry ("yes"), or say why not: "no", it is not wished; "refused", there is none left, or too many are under way."""
        self.give_back_retry()
        if not wished:
            return "no"
        if not self.retries_left:
            return "refused"
        self.retries_left -= 1
        if not self.retry_allowed():
            self.world.count("upstream_rq_retry_overflow", self)
            return "refused"
        policy = self.route.retries
        self.number += 1
        self.upstream.retrying += 1
        self.holds_retry = self.upstream
        self.pending_retries += 1
        self.world.count("upstream_rq_retry", self)
        bound = min(policy.backoff_base_interval * 2 ** (self.number - 1), policy.max_interval)
        self.world.after(bound * self.world.rng.random(), self.retry_now)
        return "yes"

    def retry_now(self) -> None:
        if not self.over:
            self.pending_retries -= 1
            self.send()

    def retry_allowed(self) -> bool:
        upstream = self.upstream
        pool, pools = upstream.cluster.connection_pool, upstream.pools
        if pool.retry_budget is None:
            return upstream.retrying < pool.max_retries
        share = int(pool.retry_budget.budget_percent / 100 * (pools.requests + pools.pending))
        return upstream.retrying < max(pool.retry_budget.min_retry_concurrency, share)

    def give_back_retry(self) -> None:
        if self.holds_retry:
            self.holds_retry.retrying -= 1
            self.holds_retry = None

    # how the call ends

    def finish(self, status: int, pod: str | None) -> None:
        self.abandon()
        turns_back = self.hop == self.world.last or (status != 200 and self.hop not in callers_of(self.world.routes))
        self.world.after(self.world.overhead() if turns_back else 0.0, lambda: self.done(status, pod))

    def abandon(self) -> None:
        """Nobody waits for the answer any more: reset what is under way; the pods are not told."""
        self.over = True
        self.give_back_retry()
        for attempt in list(self.attempts):
            self.end(attempt)


class World:
    """`run()` gives the log: (start, latency, code, pod, attempts) of every request, in order of the answers.

    `unanswered` then is how many requests were sent and never ended.
    """

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.scenario, self.rng, self.now = scenario, rng, 0.0
        self.last = len(scenario.routes) - 1
        self.patience = getattr(scenario.workload, "timeout", None)  # an older checkout has none
        self.connect_time = getattr(scenario, "connect_time", 0.0)
        self.heap: list[tuple] = []
        self.order = itertools.count()
        self.routes: tuple[Route, ...] = ()
        self.upstreams: dict[tuple, Upstream] = {}
        self.pods: dict[tuple[int, str], Pod] = {}
        self.inbound: dict[tuple[int, str], Pools] = {}
        self.workers: dict[tuple[int, int], int] = {}
        self.log: list[tuple] = []
        self.ejections: list[tuple[float, str, bool]] = []
        self.counters, self.attempts = Counter(), Counter()
        self.clients = self.living = self.requests = 0
        self.change(scenario.routes)

    @property
    def unanswered(self) -> int:
        return self.requests - len(self.log)

    def after(self, seconds: float, action: Callable[[], object], daemon: bool = False) -> None:
        if np.isfinite(seconds):
            heapq.heappush(self.heap, (self.now + seconds, next(self.order), action, daemon))
            self.living += not daemon

    def soon(self, seconds: float, action: Callable[[], object]) -> None:
        """As `after`, but what takes no time is done at once."""
        self.after(seconds, action) if seconds else action()

    def overhead(self) -> float:
        return float(self.scenario.overhead.rvs(random_state=self.rng))

    def count(self, counter: str, call: Call) -> None:
        self.counters[counter] += call.hop == self.last

    def any_worker(self) -> int:
        return int(self.rng.integers(self.scenario.workers))

    def worker(self, thread: int | None, hop: int) -> int:
        """The worker of a route's proxy that accepted the connection: any, and with keep-alives always the same."""
        if self.scenario.new_connection_per_request or thread is None:
            return self.any_worker()
        return self.workers.setdefault((thread, hop), self.any_worker())

    # what holds

    def change(self, routes: tuple[Route, ...]) -> None:
        """A cluster whose policies change is made anew; a pod whose behaviour changes counts from the start."""
        behaviours = {(hop, e.name): e.behaviour for hop, route in enumerate(self.routes) for e in route.endpoints}
        self.routes = routes
        for hop, route in enumerate(routes):
            for endpoint in route.endpoints:
                if behaviours.get((hop, endpoint.name), endpoint.behaviour) != endpoint.behaviour:
                    self.pods.setdefault((hop, endpoint.name), Pod(self)).number = 0
            for caller, destination in itertools.product(range(len(route.callers)), route.destinations):
                self._configure((hop, route.callers[caller].name, destination.cluster.name), destination.cluster, caller)

    def _configure(self, key: tuple, cluster: Cluster, caller: int) -> None:
        upstream = self.upstreams.get(key)
        if upstream is not None and upstream.keeps(cluster):
            upstream.update(cluster, caller)
            return
        if upstream is not None and upstream.detector:
            upstream.detector.end()
        self.upstreams[key] = Upstream(self, key[0], cluster, caller)

    def upstream(self, hop: int, caller: str, cluster: str) -> Upstream:
        return self.upstreams.get((hop, caller, cluster)) or self.upstreams[hop, self.routes[hop].callers[0].name, cluster]

    # the pods

    def deliver(self, call: Call, attempt: Attempt) -> None:
        """Send an attempt to its pod, through the pod's own sidecar where that has limits."""
        endpoint = next(e for e in attempt.upstream.cluster.endpoints if e.name == attempt.host)
        endpoint = next((e for e in self.routes[call.hop].endpoints if e.name == attempt.host), endpoint)
        if endpoint.behaviour.failure != "refused" and attempt.upstream.detector:
            attempt.upstream.detector.connected(attempt.host)
        limits = getattr(endpoint, "inbound", None)
        if limits is None:
            self.work(call, attempt, endpoint.behaviour)
            return
        pools = self.inbound.setdefault((call.hop, attempt.host), Pools(self, limits))
        attempt.inside = SimpleNamespace(
            granted=lambda: self.work(call, attempt, endpoint.behaviour),
            overflow=lambda: call.answered(attempt, 503, None),
        )
        pools.ask(attempt.connection.far_worker, attempt.host, attempt.inside)

    def work(self, call: Call, attempt: Attempt, behaviour: Behaviour) -> None:
        """The pod works on an attempt, whoever still waits for it; its own time runs while it calls on."""

        def answer(outcome: int | str, name: str | None, rest: Callable[[], None]) -> None:
            rest()
            if attempt.over:
                return
            if isinstance(outcome, str):
                call.reset(attempt, outcome)
            else:
                call.answered(attempt, outcome, name)

        def begins(seconds: float, outcome: int | str, rest: Callable[[], None]) -> None:
            calls = [hop for hop, caller in enumerate(callers_of(self.routes)) if caller == call.hop]
            if not calls or outcome != 200:
                name = attempt.host if call.hop == self.last and not isinstance(outcome, str) else None
                self.after(seconds, lambda: answer(outcome, name, rest))
                return
            began = self.now

            def go_on(status: int, name: str | None) -> None:
                if status == 200 and calls:
                    # The pod's own calls go on when the proxy in front of it gives up, but count for nobody then.
                    Call(self, calls.pop(0), attempt.host, call.request, go_on, lambda: not attempt.over and call.counts())
                    return
                wait = max(0.0, began + seconds - self.now) if status == 200 else 0.0
                self.after(wait, lambda: answer(200 if status == 200 else 500, name, rest))

            go_on(200, None)

        self.pods.setdefault((call.hop, attempt.host), Pod(self)).serve(behaviour, begins)

    # the load

    def client(self, thread: int | None, then: Callable[[], None]) -> None:
        """Send one request; `then` when it is answered, or given up."""
        start = self.now
        request = SimpleNamespace(thread=thread, attempts=0, over=False)
        caller = self.routes[0].callers[self.rng.integers(len(self.routes[0].callers))].name
        self.requests += 1

        def done(status: int, pod: str | None) -> None:
            if request.over:
                return
            request.over = True
            if not 200 <= status < 300 and status != 418:
                self.workers.pop((thread, 0), None)  # fortio goes on with a new connection after any other answer
            self.log.append((start, self.now - start, status, pod, request.attempts))
            then()

        def give_up() -> None:
            if not request.over:
                call.abandon()
                done(GIVEN_UP, NOBODY)

        call = Call(self, 0, caller, request, done)
        if self.patience is not None:
            self.after(self.patience, give_up)

    def thread(self, number: int, load: ClosedLoop) -> None:
        """fortio's runOne."""
        calls, most, rate = 0, load.calls_per_thread[number], load.qps / load.threads

        def go_on() -> None:
            nonlocal calls
            calls += 1
            if calls >= most:
                self.clients -= 1
            elif load.qps > 0:
                target = (calls + calls / (most - 1)) / rate  # the last call is due at the end
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
        """Where the integrated rate passes the next level: a Poisson process of rate 1 (by thinning), or the whole numbers."""
        load, begin, passed = self.scenario.workload, 0.0, 0.0
        for seconds, first, last in load.segments:
            if load.arrivals == "poisson":
                most = max(first, last)
                times = np.sort(self.rng.random(self.rng.poisson(most * seconds))) * seconds
                times = [t for t in times if self.rng.random() * most < first + (last - first) * t / seconds]
            else:
                area = seconds * (first + last) / 2
                levels = np.arange(np.ceil(passed), np.ceil(passed + area)) - passed
                times = [_when(level, first, (last - first) / seconds) for level in levels]
                passed += area
            for t in times:
                self.clients += 1
                self.after(begin + t, lambda: self.client(None, self.one_less))
            begin += seconds

    def one_less(self) -> None:
        self.clients -= 1

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


def _when(level: float, first: float, slope: float) -> float:
    """The x at which first * x + slope * x^2 / 2 is `level`."""
    return level / first if not slope else (np.sqrt(first**2 + 2 * slope * level) - first) / slope


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
    own = {key: more.pop(key) for key in ("timeout", "retries", "fault", "called_from") if key in more}
    destination = Destination(cluster=cluster(behaviours, load_balancing, name, **more))
    return Route(host=name, callers=tuple(Caller(name=c) for c in callers), destinations=(destination,), **own)


def scenario(*routes: Route, load: object = None, overhead: object = 0.003, **more: object) -> Scenario:
    """The routes under a load (default: 4 connections, 10 s), where connecting takes no time unless told otherwise."""
    if "connect_time" in Scenario.__dataclass_fields__:
        more = {"connect_time": 0.0} | more
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
