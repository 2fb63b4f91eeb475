"""One route in the event loop: its proxies' pictures of its clusters, its pods, and its columns of the rows.

Also what the parts of the event loop share: the kinds of events, the table of statuses, and the random numbers.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np

from meshmodel.fakeservice import Sampler
from meshmodel.rules import retries
from meshmodel.rules.balancing import NOBODY
from meshmodel.scenario import Route
from meshmodel.simulation.draws import Draws
from meshmodel.simulation.upstream import Upstream

ENTER, PICK, GRANTED, ANSWER, OUTER, HEDGE, ARRIVAL, TICK, FLUSH = range(9)
KINDS = 9
NONE = np.iinfo(np.int16).min

COUNTERS = (
    "upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_timeout", "upstream_rq_per_try_timeout",
    "upstream_rq_pending_overflow", "outlier_detection.ejections_enforced_total",
)  # fmt: skip
STATUS = retries.statuses()


class NotModelled(ValueError):
    """A combination that the Monte-Carlo engine does not cover; the message says which."""


def take(which: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The elements `which` of each array; much cheaper than a boolean mask."""
    return tuple(array.take(which) for array in arrays)


def drained(parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Empty the list of parts, each some columns (n,), and return the columns joined."""
    joined = parts[0] if len(parts) == 1 else tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    parts.clear()
    return joined


class Columns:
    """Columns of the rows, flat (rows * replications,), each an attribute.

    Those that every event reads stand together in `records`, so that a row costs one trip to memory.
    """

    FIELDS: ClassVar[dict[str, tuple[type, object]]]
    """The columns in `records`: type, and value in a row not yet used."""
    RARE: ClassVar[dict[str, tuple[type, object]]]
    """The others."""
    records: np.ndarray

    def lengthen(self, cells: int) -> None:
        """(Re)allocate for so many cells, keeping what there is."""
        kind = np.dtype([(name, kind) for name, (kind, _) in self.FIELDS.items()], align=True)
        fills = {"records": np.array(tuple(value for _, value in self.FIELDS.values()), kind)}
        fills |= {name: np.array(value, kind) for name, (kind, value) in self.RARE.items()}
        for name, fill in fills.items():
            before, new = getattr(self, name, fill[None][:0]), np.full(cells, fill)
            new[: len(before)] = before
            setattr(self, name, new)
        for name in self.FIELDS:
            setattr(self, name, self.records[name])

    def copy(self, old: np.ndarray, new: np.ndarray) -> None:
        """Copy all columns of the cells `old` (n,) to `new` (n,)."""
        for name in ("records", *self.RARE):
            column = getattr(self, name)
            column[new] = column[old]


class Hop(Columns):
    """One route: its upstreams (a cluster in a caller's proxy each), and its columns of the rows."""

    FIELDS = {
        "tries": (np.int16, 0), "upstream": (np.int16, 0), "worker": (np.int16, 0), "is_retry": (bool, False), "waiting": (bool, False),
        "endpoint": (np.int32, NOBODY), "deadline": (float, np.inf),
    }  # fmt: skip
    RARE = {"limit": (float, np.inf), "began": (float, 0.0), "own": (float, 0.0)}
    tries: np.ndarray
    """Attempts so far."""
    upstream: np.ndarray
    """Index of the upstream that the request goes to."""
    worker: np.ndarray
    """Of the proxy, by index."""
    is_retry: np.ndarray
    """Does its attempt count among those under `maxRetries`?"""
    waiting: np.ndarray
    """For a connection."""
    endpoint: np.ndarray
    """Of the attempt under way, `NOBODY` between attempts."""
    deadline: np.ndarray
    """When the route's timeout ends the request, seconds."""
    limit: np.ndarray
    """When this proxy gives up a call that its pod makes in turn, seconds."""
    began: np.ndarray
    """When the attempt was sent, seconds."""
    own: np.ndarray
    """Seconds that the pod works itself, besides the call that it makes."""

    def __init__(self, index: int, routes: list[Route], workers: int, replications: int, uniform: Draws) -> None:
        self.index, self.replications = index, replications
        names = list(dict.fromkeys(d.cluster.name for route in routes for d in route.destinations))
        self.pod_names = list(dict.fromkeys(e.name for route in routes for e in route.endpoints))
        self.callers = list(dict.fromkeys(c.name for route in routes for c in route.callers))
        everyone = {
            n: tuple({e.name: e for r in routes for d in r.destinations if d.cluster.name == n for e in d.cluster.endpoints}.values())
            for n in names
        }
        self.clusters = names
        self.upstreams = [Upstream(everyone[name], 0, workers, replications, uniform) for _ in self.callers for name in names]
        for upstream, name in zip(self.upstreams, names * len(self.callers), strict=True):
            clusters = [d.cluster for route in routes for d in route.destinations if d.cluster.name == name]
            upstream.counts_connections = any(cluster.connection_pool.limits_connections for cluster in clusters)
        self.pods = np.zeros((len(self.upstreams), max(1, max(len(u.endpoints) for u in self.upstreams))), dtype=np.int64)
        for index, upstream in enumerate(self.upstreams):
            self.pods[index, : len(upstream.endpoints)] = [self.pod_names.index(e.name) for e in upstream.endpoints]
        self.behaviours = {e.name: e.behaviour for route in routes for e in route.endpoints}
        self.abort_code = 0
        self.pod_requests = np.zeros((max(1, len(self.pod_names)), replications), dtype=np.int64)
        self.pod_attempts = np.zeros((len(self.pod_names), replications), dtype=np.int64)
        self.to_pick: list[tuple] = []  # of this step: the requests whose next attempt starts,
        self.to_send: list[tuple] = []  # those that have an endpoint and a connection,
        self.to_answer: list[tuple] = []  # and those whose attempt is over
        self.most_tries = 1 + max(route.retries.attempts for route in routes)
        # (attempts, cells): the endpoints of a request's attempts, and the rows of those that a hedging proxy has left running
        self.tried = np.zeros((self.most_tries, 0), dtype=np.int16)
        self.hedges = np.zeros((self.most_tries, 0), dtype=np.int64)

    def configure(self, route: Route) -> None:
        """Take over the policies and pods of `route` (at the start, or at a change)."""
        self.route = route
        self.abort_code = route.fault.abort_code or self.abort_code  # some of before a change may still be delayed
        for pod in route.endpoints:
            if pod.behaviour != self.behaviours.get(pod.name):
                self.behaviours[pod.name] = pod.behaviour
                self.pod_requests[self.pod_names.index(pod.name)] = 0  # another process, which counts from the start
        self.sampler = Sampler([self.behaviours[name] for name in self.pod_names])
        by_name = {d.cluster.name: d.cluster for d in route.destinations}
        callers = [c.name for c in route.callers]
        for (caller, name), upstream in zip(itertools.product(self.callers, self.clusters), self.upstreams, strict=True):
            if name in by_name:
                upstream.caller = callers.index(caller) if caller in callers else 0
                upstream.configure(by_name[name])
        weights = {d.cluster.name: d.weight for d in route.destinations}
        self.weights = np.cumsum([weights.get(name, 0) for name in self.clusters], dtype=float)
        self.retriable = retries.retriable(route.retries)
        self.longest_backoff = retries.longest_backoff(route.retries, self.most_tries)
        policy = route.retries
        self.frequency = policy.previous_priorities_update_frequency
        self.draws = policy.host_selection_retry_max_attempts if policy.previous_hosts else 0
        # A cluster that a change has taken from the route still has requests, and its own limits.
        pools = [upstream.cluster.connection_pool for upstream in self.upstreams if upstream.configured]
        self.has_retry_budget = any(pool.retry_budget is not None for pool in pools)
        self._servers()

    def _servers(self) -> None:
        """When each of a pod's workers is free, for pods with finite concurrency."""
        limits = [self.behaviours[name].concurrency for name in self.pod_names]
        before = getattr(self, "free_at", {})
        self.free_at = {pod: before.get(pod, np.zeros((n, self.replications))) for pod, n in enumerate(limits) if n is not None}
        for pod, free in self.free_at.items():
            limit = limits[pod] or 0
            if len(free) != limit:
                kept = np.sort(free, axis=0)[:limit]
                self.free_at[pod] = np.concatenate((kept, np.zeros((limit - len(kept), self.replications))))
