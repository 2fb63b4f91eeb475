"""The short loop: a closed loop of connections whose answers change nothing but the load balancer.

Without timeouts, retries, ejections and limits a request is settled when it is sent: the
endpoint is picked, its time and code are drawn, and the connection sends its next request
when the answer is back.  So one step handles one request of every replication:

    t, slot   = the earliest connection of each replication
    endpoint  = pick(t)                      round robin, random or least request
    latency   = service time + overhead
    next[slot] = fortio's rule applied to t + latency

State arrays have the replication as their last axis.  What `meshmodel.simulation.events`
does in general this does for the simple case, several times faster; a test holds the
two against each other.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from meshmodel.fakeservice import Sampler, distribution
from meshmodel.results.replay import RequestLog
from meshmodel.scenario import ClosedLoop, LoadBalancing, Scenario
from meshmodel.simulation.requestlog import NEVER, longer, refuse_standstill

DRAWS = 64
"""How many steps' random numbers are drawn at once."""

MOST_CONNECTIONS = 64
"""Above this, counting active requests slot by slot costs more than the general loop."""


class ClosedLoopRun:
    """One block of `replications` runs; `run()` returns its log and the attempts per pod."""

    def __init__(self, scenario: Scenario, replications: int, rng: np.random.Generator, expected: int = 256) -> None:
        self.rows = -(-(expected + 2 * DRAWS) // DRAWS) * DRAWS
        self.rng, self.replications = rng, replications
        assert isinstance(scenario.workload, ClosedLoop)  # montecarlo.loop_for
        self.workload = scenario.workload
        self.cluster = scenario.routes[-1].destinations[0].cluster
        self.overhead = scenario.overhead
        self.workers = scenario.workers
        # A connection belongs to the worker that accepted it: the kernel picks one at random (SO_REUSEPORT).
        connections = self.workload.threads * replications
        self.worker = None if scenario.new_connection_per_request else rng.integers(self.workers, size=connections)
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
        step = 0
        while not step or start[step - 1].min() <= self.end:
            if step + DRAWS > start.shape[0]:
                refuse_standstill(start[:step])
                start, latency, code, endpoint = (longer(column) for column in (start, latency, code, endpoint))
            self._draw()
            for k in range(DRAWS):
                self._step(k, start[step + k], latency[step + k], code[step + k], endpoint[step + k])
            step += DRAWS
        return self._log(start[:step], latency[:step], code[:step], endpoint[:step])

    @property
    def end(self) -> float:
        """A connection whose next request is later than this sends no more."""
        return NEVER / 2 if self.paced or self.workload.duration is None else self.workload.duration

    def _draw(self) -> None:
        shape = (DRAWS, self.replications)
        self.extra = self.overhead.rvs(size=shape, random_state=self.rng)
        self.u = self.rng.random(shape) if self.sampler.needs_timing_draw else None
        self.v = self.rng.random(shape) if self.sampler.needs_variance or self.sampler.needs_error_draw else None
        self.pick.draw(self.rng, shape)

    def _step(self, k: int, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        """One request of every replication; fills its row of each column.

        A replication that is over goes on with requests after the end, which `_log` leaves out.
        """
        key = np.minimum.reduce(self.next_key, axis=0, out=start.view(np.int64))
        slot = key & self.mask
        cell = slot * self.replications
        cell += self.column
        chosen = self.pick.choose(k, start, None if self.worker is None else self.worker.take(cell))
        endpoint[:] = chosen
        if self.sampler.constant:
            seconds = self.sampler.constant_seconds.take(chosen)
            code[:] = 200
        else:
            seconds, code[:] = self._answer(k, chosen)
        self.pick.sent(cell, chosen, start, seconds)
        np.add(seconds, self.extra[k], out=latency)
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
        from meshmodel.simulation.arrivals import pacing  # compiled: see montecarlo.run_block

        return pacing(self.workload, done, calls, self.limit.take(slot))

    def _log(self, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> tuple[RequestLog, np.ndarray]:
        finished = start > self.end
        longest = int((~finished).sum(axis=0).max())
        start, latency, code, endpoint, finished = (a[:longest] for a in (start, latency, code, endpoint, finished))
        for column, filling in ((start, np.nan), (latency, np.nan), (code, -2), (endpoint, -2)):
            column[finished] = filling
        attempts = np.where(finished, -2, 1).astype(np.int16)
        pods = np.stack([(endpoint == e).sum(axis=0) for e in range(len(self.cluster.endpoints))])
        return RequestLog(start, latency, code, endpoint, attempts), pods


# --- picking an endpoint: the rules are those of `policies.balancing`, where all endpoints are healthy and equal ----


class Picker(Protocol):
    """Picks one endpoint for each replication, all endpoints being healthy and equal."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        """Draw the random numbers of the next shape[0] steps."""

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        """The endpoints, (replications,), picked at times `t` in step k of the last draw."""

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        """Note that connection `cell` (flat index) is active at `endpoint` for `seconds` from `t`."""


class RandomPicker:
    """`RANDOM`."""

    def __init__(self, endpoints: int) -> None:
        self.endpoints = endpoints

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.drawn = rng.integers(self.endpoints, size=shape)

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

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        if not len(self.index):
            self.index = rng.integers(self.endpoints, size=self.workers * len(self.column))
        self.cell = rng.integers(self.workers, size=shape) * len(self.column) + self.column

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

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.drawn = rng.integers(self.endpoints, size=(2, *shape))
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
