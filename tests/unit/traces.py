"""Traces written by hand, and a small loop that makes longer ones: one proxy behind another, pods, and the rules that the theatre shows.

The loop is no model of Envoy: it gives tables of the right shape, with tries, queues, refusals and ejections.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from meshmodel.results.trace import ATTEMPTS, HOSTS, REQUESTS, Trace
from meshmodel.scenario import (
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Constant,
    Destination,
    Endpoint,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
    Workload,
)

NAN = float("nan")
PODS = ("backend-0", "backend-1", "backend-2")
WEB, CARTS = "web-0", ("cart-0", "cart-1")
DEFAULTS: dict[str, Any] = {
    "hop": 1, "number": 1, "parent": -1, "proxy": WEB, "worker": 0, "endpoint": "", "outcome": "200", "back_off": 0.0,
    "first": "", "second": "", "first_active": -1, "second_active": -1,
}  # fmt: skip


def scenario(
    behaviours: Sequence[Behaviour] = (Behaviour(timing_50_percentile=1.0), Behaviour(), Behaviour()),
    load: Workload = ClosedLoop(connections=4, duration=10.0),  # noqa: B008
    **cluster: Any,
) -> Scenario:
    """A gateway, one web pod behind it, and a backend pod for each behaviour; `timeout` and `retries` are the last route's."""
    own = {name: cluster.pop(name) for name in ("timeout", "retries", "fault") if name in cluster}
    pods = tuple(
        Endpoint(name=f"backend-{i}", deployment="backend", address=f"10.0.0.{i}:80", behaviour=b) for i, b in enumerate(behaviours)
    )
    web = Cluster(name="web", endpoints=(Endpoint(name=WEB, deployment="web", address="10.0.1.0:80"),))
    outer = Route(host="web.default", callers=(Caller(name="gateway"),), destinations=(Destination(cluster=web),))
    inner = Destination(cluster=Cluster(name="backend", endpoints=pods, **cluster))
    route = Route(host="backend.default", callers=(Caller(name=WEB),), destinations=(inner,), **own)
    return Scenario(routes=(outer, route), workload=load, overhead=Constant(0.0), connect_time=0.0)


def trace(requests: Sequence[tuple[Any, ...]], attempts: Sequence[dict[str, Any]], hosts: Sequence[tuple[Any, ...]] = (),
          told: Scenario | None = None, engine: str = "montecarlo") -> Trace:  # fmt: skip
    """Requests as (connection, start, end, code, endpoint, attempts); attempts without what `DEFAULTS` says; hosts as their columns."""
    told = told or scenario()
    rows = [{"request": i, **dict(zip(list(REQUESTS)[1:], row, strict=True))} for i, row in enumerate(requests)]
    tries = [{"call": i, **DEFAULTS, **attempt} for i, attempt in enumerate(attempts)]
    pods = tuple(pod.name for pod in told.endpoints)
    tables = [pd.DataFrame(list(made), columns=list(columns)) for made, columns in ((rows, REQUESTS), (tries, ATTEMPTS), (hosts, HOSTS))]
    return Trace(*tables, told, engine, pods, tuple(pod.deployment for pod in told.endpoints))


def through(start: float, end: float, request: int, row: int, endpoint: str = "backend-0", **more: Any) -> list[dict[str, Any]]:
    """The two attempts of a request that meets no trouble; `row` is the number of the first of them."""
    outer = {
        "request": request,
        "hop": 0,
        "call": 1000 + request,
        "proxy": "gateway",
        "endpoint": WEB,
        "chosen": start,
        "start": start,
        "end": end,
    }
    inner = {"request": request, "parent": row, "endpoint": endpoint, "chosen": start, "start": start, "end": end, **more}
    return [outer, inner]


def tree() -> Scenario:
    """web-0 calls the cart, whose pods call db-0, and then the backend: routes 0 to 3, the last one called from route 0."""
    told = scenario(load=ClosedLoop(connections=3, duration=10.0))
    web, backend = told.routes
    cart, db = ([Endpoint(name=name, deployment=name[:-2], address="10.0.2.0:80") for name in names] for names in (CARTS, ("db-0",)))
    first = Route(host="cart.default", callers=(Caller(name=WEB),), destinations=(to("cart", cart),))
    second = Route(host="db.default", callers=tuple(Caller(name=name) for name in CARTS), destinations=(to("db", db),))
    return replace(told, routes=(web, first, second, replace(backend, called_from=0)))


def to(name: str, pods: Sequence[Endpoint]) -> Destination:
    return Destination(cluster=Cluster(name=name, endpoints=tuple(pods)))


def forked() -> Trace:
    """Twelve requests through `tree`, by arithmetic: every third is tried twice at the cart, every fourth at the backend.

    Before every other one's call of the backend web-0 does something of its own for 0.1 s.
    """
    rows: list[tuple[Any, ...]] = []
    tries: list[dict[str, Any]] = []

    def tried(hop: int, parent: int, proxy: str, pod: str, start: float, seconds: float, number: int = 1, outcome: str = "200") -> int:
        call = len(tries) if number == 1 else next(t["call"] for t in reversed(tries) if t["hop"] == hop)
        told = {"request": len(rows), "hop": hop, "parent": parent, "proxy": proxy, "endpoint": pod, "number": number, "call": call}
        tries.append({**told, "chosen": start, "start": start, "end": start + seconds, "outcome": outcome, "back_off": 0.05 * (number - 1)})
        return len(tries) - 1

    for request in range(12):
        at = began = 0.5 * request
        web = tried(0, -1, "gateway", WEB, began, 0.0)
        for number in range(1, 3 if request % 3 == 0 else 2):
            pod = CARTS[(request + number) % 2]
            cart = tried(1, web, WEB, pod, at + 0.05 * (number - 1), 0.3, number, "503" if request % 3 == 0 and number == 1 else "200")
            tried(2, cart, pod, "db-0", tries[cart]["start"], 0.3)
            at = tries[cart]["end"]
        at += 0.1 * (request % 2)
        for number in range(1, 3 if request % 4 == 0 else 2):
            left = request % 4 == 0 and number == 1
            last = tried(3, web, WEB, PODS[(request + number) % 3], at, 0.2, number, "per try timeout" if left else "200")
            at = tries[last]["end"] + 0.05
        tries[web]["end"] = tries[last]["end"]
        rows.append((request % 3, began, tries[web]["end"], 200, tries[last]["endpoint"], 1 + (request % 4 == 0)))
    return trace(rows, tries, told=tree())


def played(policy: str = "LEAST_REQUEST", *, seconds: float = 6.0, seed: int = 1, seconds_of: Sequence[float] = (0.5, 0.1, 0.1),
           fails: float = 0.0, retries: int = 0, per_try: float | None = None, limit: int | None = None, pending: int = 3,
           connections: int = 6, eject: bool = False, engine: str = "montecarlo") -> Trace:  # fmt: skip
    """A closed loop on three pods of which the first takes longest and fails a share of its answers."""
    policy_of = RetryPolicy(attempts=retries, retry_on=frozenset({"5xx"}), per_try_timeout=per_try)
    pool = ConnectionPool(max_connections=limit, max_pending_requests=pending) if limit else ConnectionPool()
    detection = OutlierDetection(consecutive_5xx=2, interval=1.0, base_ejection_time=1.0, max_ejection_percent=100) if eject else None
    behaviours = [Behaviour(timing_50_percentile=s, error_rate=fails if i == 0 else 0.0) for i, s in enumerate(seconds_of)]
    told = scenario(behaviours, ClosedLoop(connections=connections, duration=seconds), load_balancing=policy, retries=policy_of,
                    connection_pool=pool, outlier_detection=detection)  # fmt: skip
    return _Loop(told, np.random.default_rng(seed), fails).run(seconds, connections, engine)


class _Loop:
    def __init__(self, told: Scenario, rng: np.random.Generator, fails: float) -> None:
        self.told, self.rng, self.fails = told, rng, fails
        self.now, self.heap, self.count = 0.0, [], 0
        self.requests, self.attempts, self.hosts = [], [], []
        self.active, self.row, self.out, self.turn = Counter(), Counter(), {}, 0
        self.route, self.cluster = told.routes[1], told.routes[1].destinations[0].cluster
        self.queue: list[dict[str, Any]] = []

    def after(self, wait: float, action: Any, *args: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + wait, self.count, action, args))

    def run(self, seconds: float, connections: int, engine: str) -> Trace:
        for connection in range(connections):
            self.after(0.0, self.send, connection)
        while self.heap:
            self.now, _, action, args = heapq.heappop(self.heap)
            action(*args)
            if action == self.send and self.now > seconds:
                break
        for attempt in self.attempts:
            attempt.setdefault("outcome", "")
        table = trace([], self.attempts, self.hosts, self.told, engine)
        requests = pd.DataFrame(self.requests, columns=list(REQUESTS))
        return Trace(requests, table.attempts, table.hosts, self.told, engine, table.pods, table.deployments)

    def send(self, connection: int) -> None:
        number = len(self.requests)
        self.requests.append(
            {"request": number, "connection": connection, "start": self.now, "end": NAN, "code": -2, "endpoint": "", "attempts": 0}
        )
        outer = {"request": number, "hop": 0, "call": 100_000 + number, "proxy": "gateway", "endpoint": WEB}
        outer |= {"chosen": self.now, "start": self.now, "end": NAN, "outcome": ""}
        self.attempts.append(outer)
        self.tries(number, len(self.attempts) - 1, 1, 0.0)

    def pick(self) -> dict[str, Any]:
        hosts = [pod for pod in PODS if pod not in self.out]
        if not hosts:
            return {"endpoint": ""}
        if self.cluster.load_balancing == "LEAST_REQUEST":
            first, second = (hosts[self.rng.integers(len(hosts))] for _ in range(2))
            drawn = {"first": first, "second": second, "first_active": self.active[first], "second_active": self.active[second]}
            return {**drawn, "endpoint": second if self.active[second] < self.active[first] else first}
        self.turn += 1
        return {"endpoint": hosts[self.turn % len(hosts)]}

    def tries(self, number: int, parent: int, tried: int, back_off: float) -> None:
        attempt = {"request": number, "parent": parent, "call": number, "number": tried, "back_off": back_off}
        attempt |= {"chosen": self.now, "start": NAN, "end": NAN, "outcome": "", **self.pick()}
        self.attempts.append(attempt)
        pool = self.cluster.connection_pool
        if not attempt["endpoint"]:
            self.ended(attempt, "no healthy upstream")
        elif self.active.total() < pool.max_connections:
            self.sent(attempt)
        elif len(self.queue) < pool.max_pending_requests:
            self.queue.append(attempt)
        else:
            attempt["endpoint"] = ""
            self.ended(attempt, "overflow")

    def sent(self, attempt: dict[str, Any]) -> None:
        attempt["start"] = self.now
        pod = attempt["endpoint"]
        self.active[pod] += 1
        self.requests[attempt["request"]]["attempts"] += 1
        takes = self.told.endpoints[PODS.index(pod)].behaviour.timing_50_percentile * (0.9 + 0.2 * self.rng.random())
        bad = pod == PODS[0] and self.rng.random() < self.fails
        self.after(takes / 10 if bad else takes, self.ended, attempt, "503" if bad else "200")
        if self.route.retries.per_try_timeout:
            self.after(self.route.retries.per_try_timeout, self.ended, attempt, "per try timeout")

    def ended(self, attempt: dict[str, Any], outcome: str) -> None:
        if attempt["outcome"]:
            return
        attempt["end"], attempt["outcome"] = self.now, outcome
        if attempt["start"] == attempt["start"]:
            self.active[attempt["endpoint"]] -= 1
            self.judge(attempt["endpoint"], outcome)
            if self.queue:
                self.sent(self.queue.pop(0))
        if outcome != "200" and attempt["number"] <= self.route.retries.attempts:
            back_off = 0.05 * float(self.rng.random())
            self.after(back_off, self.tries, attempt["request"], attempt["parent"], attempt["number"] + 1, back_off)
            return
        code = 200 if outcome == "200" else 500
        self.attempts[attempt["parent"]].update(end=self.now, outcome=str(code))
        self.requests[attempt["request"]].update(end=self.now, code=code, endpoint=attempt["endpoint"] if outcome.isdigit() else "envoy")
        self.after(0.0 if code == 200 else 0.02, self.send, self.requests[attempt["request"]]["connection"])

    def judge(self, pod: str, outcome: str) -> None:
        policy = self.cluster.outlier_detection
        self.row[pod] = 0 if outcome == "200" else self.row[pod] + 1
        if policy and self.row[pod] == policy.consecutive_5xx and pod not in self.out:
            self.out[pod] = self.now
            self.hosts.append((self.now, WEB, pod, "ejected"))
            self.after(policy.base_ejection_time, self.readmit, pod)

    def readmit(self, pod: str) -> None:
        self.row[pod] = 0
        del self.out[pod]
        self.hosts.append((self.now, WEB, pod, "readmitted"))
