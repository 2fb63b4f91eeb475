"""The lock-step loop: a closed loop whose answers change nothing but the load balancer, for all replications at once, in NumPy.

Without timeouts, retries, ejections and limits a request is settled when it is sent: the endpoint is picked, its time
and code are drawn, and the connection sends its next request when the answer is back.  So one step handles one request
of every replication:

    t, slot   = the earliest connection of each replication
    endpoint  = pick(t)                      round robin, random or least request
    latency   = service time + overhead
    next[slot] = fortio's rule applied to t + latency

State arrays have the replication as their last axis.  It needs no compiler, shows what vectorising is, and shares no
code with the event loop but fake-service's: a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from meshmodel.fakeservice import Sampler, distribution
from meshmodel.results.log import GAVE_UP, RequestLog
from meshmodel.scenario import ClosedLoop, Constant, LoadBalancing, Scenario

DRAWS = 64
"""How many steps' random numbers are drawn at once."""

NEVER = 2.0**1000
"""A time that never comes: finite, and with clear low bits."""


class Standstill(ValueError):
    """A closed loop whose answers take no time never ends."""


class Streams:
    """The random numbers of many replications, each from its own generator; arrays of shape (n, replications)."""

    def __init__(self, generators: Sequence[np.random.Generator], overhead: object) -> None:
        self.generators, self.overhead = generators, overhead
        given = getattr(overhead, "kwds", {})
        lognormal = getattr(getattr(overhead, "dist", None), "name", None) == "lognorm" and set(given) == {"s", "loc", "scale"}
        self.lognormal = given if lognormal else None

    def random(self, n: int) -> np.ndarray:
        """Uniform on [0, 1)."""
        return np.stack([each.random(n) for each in self.generators], axis=1)

    def integers(self, below: int, n: int) -> np.ndarray:
        """Whole numbers from 0 to below - 1."""
        return (self.random(n) * below).astype(np.intp)

    def overheads(self, n: int) -> np.ndarray:
        """Seconds."""
        if isinstance(self.overhead, Constant):
            return np.full((n, len(self.generators)), self.overhead.seconds)
        if self.lognormal is None:
            return self.overhead.ppf(self.random(n))  # type: ignore[attr-defined]
        normal = np.stack([each.standard_normal(n) for each in self.generators], axis=1)
        return self.lognormal["loc"] + self.lognormal["scale"] * np.exp(self.lognormal["s"] * normal)


def pacing(workload: ClosedLoop, done: np.ndarray, calls: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """When threads of fortio that have made `calls` calls each, the last answered at `done`, make their next; NEVER: they stop.

    Arrays (n,); `limit` is the thread's number of calls.  Source: fortio's periodic/periodic.go, runOne.
    """
    seconds = np.inf if workload.duration is None else workload.duration
    spacing = workload.threads / workload.qps if workload.qps > 0 else 0.0
    start = np.maximum(done, calls * (1 + 1 / np.maximum(limit - 1, 1)) * spacing) if spacing else done  # `ClosedLoop.due`
    late = (start > seconds) & (workload.calls is None)
    if spacing:
        late &= (calls >= 2) & (calls != limit - 1)
    return np.where(late | (calls >= limit) | (done >= NEVER), NEVER, start)


class ClosedLoopRun:
    """One block of `replications` runs; `run()` returns its log and the attempts per pod."""

    def __init__(self, scenario: Scenario, generators: Sequence[np.random.Generator], expected: int = 256) -> None:
        replications, rng = len(generators), Streams(generators, scenario.overhead)
        self.rows = -(-(expected + 2 * DRAWS) // DRAWS) * DRAWS
        self.rng, self.replications = rng, replications
        assert isinstance(scenario.workload, ClosedLoop)  # plan.only_balancing
        self.workload = scenario.workload
        self.cluster = scenario.routes[-1].destinations[0].cluster
        self.overhead = scenario.overhead
        self.workers = scenario.workers
        # A connection belongs to the worker that accepted it: the kernel picks one at random (SO_REUSEPORT).
        self.worker = None if scenario.new_connection_per_request else rng.integers(self.workers, self.workload.threads).ravel()
        self.sampler = Sampler([e.behaviour for e in self.cluster.endpoints])
        threads = self.workload.threads
        self.bits = max(1, (threads - 1).bit_length())
        self.mask = np.int64((1 << self.bits) - 1)
        self.column = np.arange(replications)
        slots = np.arange(threads)[:, None]
        self.next_key = np.broadcast_to(slots, (threads, replications)).astype(np.int64)  # all start at time 0
        self.flat_next_key = self.next_key.reshape(-1)
        self.limit = np.array(self.workload.calls_per_thread)
        self.paced = bool(np.isfinite(self.limit).any()) and not self._never_binding()
        self.calls = np.zeros(threads * replications, dtype=np.int64)
        self.pod_calls = np.zeros(len(self.cluster.endpoints) * replications, dtype=np.int64) if self.sampler.needs_counter else None
        self.pick = picker(self.cluster.load_balancing, len(self.cluster.endpoints), threads, self.workers, replications)

    def _never_binding(self) -> bool:
        """Is every thread always behind its schedule, so that qps and the number of calls never matter?"""
        if self.workload.calls is not None or self.workload.duration is None:
            return False
        seconds = [atom.seconds for e in self.cluster.endpoints for atom in distribution(e.behaviour)]
        longest = max(seconds) + float(self.overhead.ppf(1 - 1e-9))  # fortio makes two calls whatever they take
        return bool(min(seconds) * self.limit.min() > 2 * self.workload.duration > 8 * longest)

    def run(self) -> tuple[RequestLog, np.ndarray]:
        """Run to the end; returns the log and the attempts of each pod, (pods, replications)."""
        kinds = (float, float, np.int16, np.int16)
        start, latency, code, endpoint = (np.empty((self.rows, self.replications), dtype=kind) for kind in kinds)
        self.sent = np.empty((self.rows, self.replications), dtype=np.int16)
        step = 0
        while not step or start[step - 1].min() <= self.end:
            if step + DRAWS > start.shape[0]:
                refuse_standstill(start[:step])
                start, latency, code, endpoint, self.sent = (longer(c) for c in (start, latency, code, endpoint, self.sent))
            self._draw()
            for k in range(DRAWS):
                self._step(k, start[step + k], latency[step + k], code[step + k], endpoint[step + k])
                self.sent[step + k] = self.chosen
            step += DRAWS
        return self._log(start[:step], latency[:step], code[:step], endpoint[:step])

    @property
    def end(self) -> float:
        """A connection whose next request is later than this sends no more."""
        return NEVER / 2 if self.paced or self.workload.duration is None else self.workload.duration

    def _draw(self) -> None:
        self.extra = self.rng.overheads(DRAWS)
        self.u = self.rng.random(DRAWS) if self.sampler.needs_timing_draw else None
        self.v = self.rng.random(DRAWS) if self.sampler.needs_variance or self.sampler.needs_error_draw else None
        self.pick.draw(self.rng, DRAWS)

    def _step(self, k: int, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        """One request of every replication; fills its row of each column.

        A replication that is over goes on with requests after the end, which `_log` leaves out.
        """
        key = np.minimum.reduce(self.next_key, axis=0, out=start.view(np.int64))
        slot = (key & self.mask).astype(np.intp, copy=False)  # `take` wants NumPy's own whole number, of 32 bits in a browser tab
        cell = slot * self.replications
        cell += self.column
        chosen = self.pick.choose(k, start, None if self.worker is None else self.worker.take(cell))
        endpoint[:] = self.chosen = chosen
        if self.sampler.constant:
            seconds = self.sampler.constant_seconds.take(chosen)
            code[:] = 200
        else:
            seconds, code[:] = self._answer(k, chosen)
        self.pick.sent(cell, chosen, start, seconds)
        np.add(seconds, self.extra[k], out=latency)
        self._patience(latency, code, endpoint)
        following = self._next(slot, cell, start + latency).view(np.int64)
        following &= ~self.mask
        following |= slot
        self.flat_next_key[cell] = following

    def _answer(self, k: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = None
        if self.pod_calls is not None:
            pod = chosen * self.replications + self.column
            number = self.pod_calls.take(pod) + 1
            self.pod_calls[pod] = number
        draws = (None if d is None else d[k] for d in (self.u, self.v))
        return self.sampler.answers(chosen, number, *draws)

    def _next(self, slot: np.ndarray, cell: np.ndarray, done: np.ndarray) -> np.ndarray:
        if not self.paced:
            return done
        calls = self.calls[cell] + 1
        self.calls[cell] = calls
        return pacing(self.workload, done, calls, self.limit.take(slot))

    def _patience(self, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        """fortio's client gives up after its `timeout`."""
        limit = getattr(self.workload, "timeout", None)
        if limit is not None and (lost := latency > limit).any():
            latency[lost], code[lost], endpoint[lost] = limit, GAVE_UP, -1

    def _log(self, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> tuple[RequestLog, np.ndarray]:
        finished = start > self.end
        longest = int((~finished).sum(axis=0).max())
        start, latency, code, endpoint, finished = (a[:longest] for a in (start, latency, code, endpoint, finished))
        for column, filling in ((start, np.nan), (latency, np.nan), (code, -2), (endpoint, -2)):
            column[finished] = filling
        attempts = np.where(finished, -2, 1).astype(np.int16)
        pods = np.stack([((self.sent[: len(endpoint)] == e) & ~finished).sum(axis=0) for e in range(len(self.cluster.endpoints))])
        return RequestLog(start, latency, code, endpoint, attempts), pods


# --- picking an endpoint: the rules are those of `policies.balancing`, where all endpoints are healthy and equal ----


class Picker(Protocol):
    """Picks one endpoint for each replication, all endpoints being healthy and equal."""

    def draw(self, rng: Streams, steps: int) -> None:
        """Draw the random numbers of the next `steps`."""

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        """The endpoints, (replications,), picked at times `t` in step k of the last draw."""

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        """Note that connection `cell` (flat index) is active at `endpoint` for `seconds` from `t`."""


class RandomPicker:
    """`RANDOM`."""

    def __init__(self, endpoints: int) -> None:
        self.endpoints = endpoints

    def draw(self, rng: Streams, steps: int) -> None:
        self.drawn = rng.integers(self.endpoints, steps)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        return self.drawn[k]

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        pass


class RoundRobinPicker(RandomPicker):
    """`ROUND_ROBIN`: one index for each worker and replication."""

    def __init__(self, endpoints: int, workers: int, replications: int) -> None:
        super().__init__(endpoints)
        self.workers, self.column = workers, np.arange(replications)
        self.index = np.zeros(0, dtype=np.int64)
        self.successor = (np.arange(endpoints) + 1) % endpoints

    def draw(self, rng: Streams, steps: int) -> None:
        if not len(self.index):
            self.index = rng.integers(self.endpoints, self.workers).ravel()
        self.cell = rng.integers(self.workers, steps) * len(self.column) + self.column

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        cell = self.cell[k] if worker is None else worker * len(self.column) + self.column
        chosen = self.index.take(cell)
        self.index[cell] = self.successor.take(chosen)
        return chosen


class LeastRequestPicker(RandomPicker):
    """`LEAST_REQUEST`: active requests are counted anew for each pick, over the connections.

    A connection has at most one request, active until `until`; so no event is needed when
    an answer leaves the endpoint.
    """

    def __init__(self, endpoints: int, connections: int, replications: int) -> None:
        super().__init__(endpoints)
        small = np.int8 if endpoints < 128 else np.int16  # compared for every connection at every pick
        self.until = np.zeros((connections, replications))
        self.at = np.zeros((connections, replications), dtype=small)
        self.flat_until, self.flat_at = self.until.reshape(-1), self.at.reshape(-1)

    def draw(self, rng: Streams, steps: int) -> None:
        self.drawn = np.stack([rng.integers(self.endpoints, steps) for _ in range(2)])
        self.small = self.drawn.astype(self.at.dtype)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        surplus = (self.at == self.small[0, k]).view(np.int8)
        surplus -= (self.at == self.small[1, k]).view(np.int8)
        surplus *= (self.until > t * (1 + 1e-12)).view(np.int8)  # t lacks its last bits: its connection's last request is over
        active_more_at_first = np.add.reduce(surplus, axis=0, dtype=np.int8)
        return np.where(active_more_at_first > 0, self.drawn[1, k], self.drawn[0, k])

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        self.flat_until[cell] = t + seconds
        self.flat_at[cell] = endpoint


def picker(policy: LoadBalancing, endpoints: int, connections: int, workers: int, replications: int) -> Picker:
    """The picker of a policy name."""
    if policy == "ROUND_ROBIN":
        return RoundRobinPicker(endpoints, workers, replications)
    if policy == "RANDOM":
        return RandomPicker(endpoints)
    return LeastRequestPicker(endpoints, connections, replications)


def refuse_standstill(start: np.ndarray) -> None:
    """Raise Standstill if the later half of the requests of some replication all started at one time.

    `start`, shape (requests, replications), holds their times in seconds in the order of the answers.
    """
    if len(start) >= 1000 and np.ptp(start[len(start) // 2 :], axis=0).min(initial=np.inf) <= 1e-6:
        raise Standstill(
            "workload: requests that take no time, in a closed loop, would never end: give the pods a timing or the mesh an overhead"
        )


def longer(column: np.ndarray) -> np.ndarray:
    """A full column in one of twice its length; the new half is not yet memory until it is written."""
    new = np.empty((2 * column.shape[0], column.shape[1]), dtype=column.dtype)
    new[: column.shape[0]] = column
    return new
