"""The short loop: a closed loop of connections whose answers change nothing but the load balancer.

Without timeouts, retries, ejections and limits a request is settled when it is sent: the
endpoint is picked, its time and code are drawn, and the connection sends its next request
when the answer is back.  So one step handles one request of every replication:

    t, slot   = the earliest connection of each replication
    endpoint  = pick(t)                      round robin, random or least request
    latency   = service time + overhead
    next[slot] = fortio's rule applied to t + latency

State arrays have the replication as their last axis.  What `meshmodel.engines.events`
does in general this does for the simple case, several times faster; a test holds the
two against each other.
"""

from __future__ import annotations

import numpy as np

from meshmodel.engines.arrivals import pacing
from meshmodel.engines.calendar import NEVER
from meshmodel.fakeservice import Sampler, distribution
from meshmodel.policies import balancing
from meshmodel.replay import RequestLog
from meshmodel.scenario import ClosedLoop, Scenario

DRAWS = 64
"""How many steps' random numbers are drawn at once."""

MOST_CONNECTIONS = 64
"""Above this, counting active requests slot by slot costs more than the general loop."""


class ClosedLoopRun:
    """One block of `replications` runs; `run()` returns its log and the attempts per pod."""

    def __init__(self, scenario: Scenario, replications: int, rng: np.random.Generator) -> None:
        self.rng, self.replications = rng, replications
        self.workload: ClosedLoop = scenario.workload
        self.cluster = scenario.routes[-1].destinations[0].cluster
        self.overhead = scenario.overhead
        self.workers = scenario.workers
        self.own_worker = not scenario.new_connection_per_request
        self.sampler = Sampler([e.behaviour for e in self.cluster.endpoints])
        threads = self.workload.threads
        self.bits = max(1, (threads - 1).bit_length())
        self.mask = np.int64((1 << self.bits) - 1)
        self.column = np.arange(replications)
        slots = np.arange(threads)[:, None]
        self.next_key = np.broadcast_to(slots, (threads, replications)).astype(np.int64)  # all start at time 0
        self.limit = np.array(self.workload.calls_per_thread)
        self.counts_calls = bool(np.isfinite(self.limit).any())
        self.paced = self.counts_calls and not self._never_binding()
        self.calls = np.zeros((threads, replications), dtype=np.int64) if self.paced else None
        self.pod_calls = np.zeros((len(self.cluster.endpoints), replications), dtype=np.int64) if self.sampler.needs_counter else None
        self.pick = balancing.picker(self.cluster.load_balancing, len(self.cluster.endpoints), threads, self.workers, replications)

    def _never_binding(self) -> bool:
        """Is every thread always behind its schedule, so that qps and the number of calls never matter?"""
        if self.workload.calls is not None or self.workload.duration is None:
            return False
        shortest = min(atom.seconds for e in self.cluster.endpoints for atom in distribution(e.behaviour))
        return bool(shortest * self.limit.min() > 2 * self.workload.duration > 8 * shortest)

    def run(self) -> tuple[RequestLog, np.ndarray]:
        rows = 256
        start, latency = (np.full((rows, self.replications), np.nan) for _ in range(2))
        code, endpoint = (np.full((rows, self.replications), -2, dtype=np.int16) for _ in range(2))
        step = 0
        while True:
            if step % DRAWS == 0:
                if step and start[step - 1].min() >= NEVER:
                    break
                self._draw()
                if step + DRAWS > start.shape[0]:
                    start, latency = (np.concatenate((a, np.full_like(a, np.nan))) for a in (start, latency))
                    code, endpoint = (np.concatenate((a, np.full_like(a, -2))) for a in (code, endpoint))
            self._step(step % DRAWS, start[step], latency[step], code[step], endpoint[step])
            step += 1
        return self._log(start[:step], latency[:step], code[:step], endpoint[:step])

    def _draw(self) -> None:
        shape = (DRAWS, self.replications)
        self.extra = self.overhead.rvs(size=shape, random_state=self.rng)
        self.u = self.rng.random(shape) if self.sampler.needs_timing_draw else None
        self.v = self.rng.random(shape) if self.sampler.needs_variance or self.sampler.needs_error_draw else None
        self.pick.draw(self.rng, shape)

    def _step(self, k: int, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        key = np.minimum.reduce(self.next_key, axis=0)
        slot = key & self.mask
        t = key.view(np.float64)
        start[:] = t
        cell = slot * self.replications
        cell += self.column
        worker = slot % self.workers if self.own_worker else None
        chosen = self.pick.choose(k, t, worker)
        seconds, codes = self._answer(k, chosen)
        code[:] = codes
        endpoint[:] = chosen
        self.pick.sent(cell, chosen, t, seconds)
        np.add(seconds, self.extra[k], out=latency)
        following = self._next(slot, cell, t + latency)
        self.next_key.ravel()[cell] = (following.view(np.int64) & ~self.mask) | slot

    def _answer(self, k: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray | int]:
        if self.sampler.constant:
            return self.sampler.constant_seconds.take(chosen), 200
        number = None
        if self.pod_calls is not None:
            pod = chosen * self.replications + self.column
            number = self.pod_calls.ravel()[pod] + 1
            self.pod_calls.ravel()[pod] = number
        draws = (None if d is None else d[k] for d in (self.u, self.v))
        return self.sampler.answers(chosen, number, *draws)

    def _next(self, slot: np.ndarray, cell: np.ndarray, done: np.ndarray) -> np.ndarray:
        if self.calls is None:
            return np.where(done > self.workload.duration, NEVER, done)
        calls = self.calls.ravel()[cell] + 1
        self.calls.ravel()[cell] = calls
        return pacing(self.workload, done, calls, self.limit[slot])

    def _log(self, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> tuple[RequestLog, np.ndarray]:
        finished = start >= NEVER
        longest = int((~finished).sum(axis=0).max())
        start, latency, code, endpoint, finished = (a[:longest] for a in (start, latency, code, endpoint, finished))
        for column, filling in ((start, np.nan), (latency, np.nan), (code, -2), (endpoint, -2)):
            column[finished] = filling
        attempts = np.where(finished, -2, 1).astype(np.int16)
        pods = np.stack([(endpoint == e).sum(axis=0) for e in range(len(self.cluster.endpoints))])
        return RequestLog(start, latency, code, endpoint, attempts), pods
