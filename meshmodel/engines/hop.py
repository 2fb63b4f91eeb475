"""One route in the event loop: its proxies' pictures of its clusters, its pods, and its columns of the rows.

Also what the parts of the event loop share: the kinds of events, the table of statuses, and the random numbers.
"""

from __future__ import annotations

import itertools

import numpy as np

from meshmodel.engines.upstream import NOBODY, Upstream
from meshmodel.fakeservice import Sampler
from meshmodel.policies import breakers, retries
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


class Draws:
    """Random numbers drawn in large blocks and handed out in order."""

    def __init__(self, draw, block: int = 1 << 16) -> None:  # noqa: ANN001
        self.draw, self.block = draw, block
        self.left = np.zeros(0)
        self.position = 0

    def __call__(self, n: int) -> np.ndarray:
        if self.position + n > len(self.left):
            self.left, self.position = self.draw(max(n, self.block)), 0
        self.position += n
        return self.left[self.position - n : self.position]


def take(which: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The elements `which` of each array; much cheaper than a boolean mask."""
    return tuple(array.take(which) for array in arrays)


class Hop:
    """One route: its upstreams (a cluster in a caller's proxy each), and its columns of the rows."""

    COLUMNS = {
        "tries": (np.int16, 0), "deadline": (float, np.inf), "limit": (float, np.inf), "upstream": (np.int16, 0),
        "endpoint": (np.int64, NOBODY), "worker": (np.int64, 0), "is_retry": (bool, False), "waiting": (bool, False),
        "began": (float, 0.0), "own": (float, 0.0),
    }  # fmt: skip

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
            upstream.counts_connections = any(breakers.limits_connections(cluster.connection_pool) for cluster in clusters)
        self.pods = [np.array([self.pod_names.index(e.name) for e in u.endpoints], dtype=np.int64) for u in self.upstreams]
        self.behaviours = {e.name: e.behaviour for route in routes for e in route.endpoints}
        self.abort_code = 0
        self.pod_count = np.zeros((len(self.pod_names), replications), dtype=np.int64)
        self.most_tries = 1 + max(route.retries.attempts for route in routes)
        self.tried: np.ndarray | None = None

    def configure(self, route: Route) -> None:
        """Take over the policies and pods of `route` (at the start, or at a change)."""
        self.route = route
        self.abort_code = route.fault.abort_code or self.abort_code  # some of before a change may still be delayed
        self.behaviours = self.behaviours | {e.name: e.behaviour for e in route.endpoints}
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

    @property
    def remembers(self) -> bool:
        """Must the endpoints that a request has tried be kept?"""
        policy = self.route.retries
        reads = policy.previous_hosts or policy.previous_priorities_update_frequency > 0 or policy.hedge_on_per_try_timeout
        return policy.attempts > 0 and reads
