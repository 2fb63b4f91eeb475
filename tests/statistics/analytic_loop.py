"""One run of a scenario as a plain loop over a heap of events: the oracle of the closed forms.

Slow and short on purpose; one caller, one destination, one worker, every request's life in one generator.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from meshmodel.analytic.ways import is_retriable
from meshmodel.fakeservice import distribution
from meshmodel.scenario import ClosedLoop, Scenario


class Loop:
    """`run()` gives latencies (seconds), codes and endpoints (-1: the proxy) of the requests, and attempts per pod."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.route, self.rng, self.scenario = scenario.routes[-1], rng, scenario
        self.cluster = self.route.destinations[0].cluster
        self.hosts = len(self.cluster.endpoints)
        self.index = int(rng.integers(self.hosts))
        self.active, self.attempts = [0] * self.hosts, [0] * self.hosts
        atoms = [distribution(e.behaviour) for e in self.cluster.endpoints]
        self.atoms = [(np.cumsum([p for p, _, _ in a]), a) for a in atoms]
        self.log: list[tuple[float, int, int]] = []

    def pick(self) -> int:
        kind, h = self.cluster.load_balancing, self.hosts
        if kind == "ROUND_ROBIN":
            self.index += 1
            return self.index % h
        first = int(self.rng.random() * h)
        if kind == "RANDOM":
            return first
        second = int(self.rng.random() * h)
        return second if self.active[second] < self.active[first] else first

    def pick_again(self, used: list[int]) -> int:
        for _ in range(6 if self.route.retries.previous_hosts else 1):
            host = self.pick()
            if host not in used:
                break
        return host

    def answer(self, host: int) -> tuple[float, int]:
        edges, atoms = self.atoms[host]
        _, seconds, code = atoms[min(int(np.searchsorted(edges, self.rng.random(), side="right")), len(atoms) - 1)]
        return seconds, code

    def request(self, start: float) -> Iterator[float]:
        """The life of one request: yields the times at which something happens, logs its end."""
        policy, deadline, now = self.route.retries, start + (self.route.timeout or np.inf), start
        used: list[int] = []
        while True:
            if sum(self.active) >= self.cluster.connection_pool.max_requests:
                code, by = 503, -1
                break
            host = self.pick_again(used)
            used.append(host)
            self.active[host] += 1
            self.attempts[host] += 1
            seconds, code = self.answer(host)
            by, failure, limit = host, "", policy.per_try_timeout or np.inf
            if seconds > limit:
                seconds, code, by, failure = limit, 504, -1, "per-try-timeout"
            now += seconds
            yield min(now, deadline)
            self.active[host] -= 1
            if now <= deadline and len(used) <= policy.attempts and is_retriable(policy, code, failure):
                width = min(policy.backoff_base_interval * 2 ** (len(used) - 1), policy.max_interval)
                now += width * self.rng.random()
                yield min(now, deadline)
                if now <= deadline:
                    continue
            break
        if now > deadline:
            now, code, by = deadline, 504, -1
        end = now + float(self.scenario.overhead.rvs(random_state=self.rng))
        self.log.append((end - start, code, by))
        yield end

    def run(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        loop: ClosedLoop = self.scenario.workload
        queue, number, calls = [], 0, loop.calls if loop.calls is not None else np.inf
        for _ in range(loop.threads):
            number += 1
            heapq.heappush(queue, (0.0, number, self.request(0.0)))
        while queue:
            now, ticket, life = heapq.heappop(queue)
            moment = next(life, None)
            if moment is None:
                if now > (loop.duration or np.inf) or number >= calls:
                    continue
                number += 1
                ticket, life, moment = number, self.request(now), now
            heapq.heappush(queue, (moment, ticket, life))
        seconds, codes, by = zip(*self.log, strict=True)
        return np.array(seconds), np.array(codes), np.array(by), np.array(self.attempts)
