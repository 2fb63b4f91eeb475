"""One route in the event loop: its proxies' pictures of its clusters, its pods, and its columns of the rows.

Also what the parts of the event loop share: the kinds of events, the table of statuses, and the random numbers.
"""

from __future__ import annotations

import itertools

import numpy as np

from meshmodel.engines.draws import Draws
from meshmodel.engines.upstream import Upstream
from meshmodel.fakeservice import Sampler
from meshmodel.policies import retries
from meshmodel.policies.balancing import NOBODY
from meshmodel.scenario import Route

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


class Columns:
    """Columns of the rows, flat (rows * replications,), each an attribute.

    Those that every event reads stand together in `records`, so that a row costs one trip to memory.
    """

    FIELDS: dict[str, tuple[type, object]]
    """The columns in `records`: type, and value in a row not yet used."""
    RARE: dict[str, tuple[type, object]]
    """The others."""

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
        self.most_tries = 1 + max(route.retries.attempts for route in routes)
        self.tried: np.ndarray | None = None
        self.hedges: np.ndarray | None = None

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
        self.remembers = policy.attempts > 0  # must the endpoints that a request has tried be kept?
        self.frequency = policy.previous_priorities_update_frequency if self.remembers else 0
        self.draws = policy.host_selection_retry_max_attempts if self.remembers and policy.previous_hosts else 0
        self.has_retry_budget = any(d.cluster.connection_pool.retry_budget is not None for d in route.destinations)
        self._servers()

    def _servers(self) -> None:
        """When each of a pod's workers is free, for pods with finite concurrency."""
        limits = [self.behaviours[name].concurrency for name in self.pod_names]
        before = getattr(self, "free_at", {})
        self.free_at = {pod: before.get(pod, np.zeros((n, self.replications))) for pod, n in enumerate(limits) if n is not None}
        for pod, free in self.free_at.items():
            if free.shape[0] != limits[pod]:
                kept = np.sort(free, axis=0)[: limits[pod]]
                self.free_at[pod] = np.concatenate((kept, np.zeros((limits[pod] - len(kept), self.replications))))
