"""One proxy's picture of one cluster: its endpoints, their health, load and limits.

Envoy keeps such a picture for every cluster in every proxy; ours holds it for all
replications at once, in arrays of shape (..., replications).  The rules themselves are
in `meshmodel.rules`; here is the state that they act on.

Endpoints stand in *groups*: a priority level, or, with locality weights, one locality of
a level.  `members` lists each group's healthy endpoints as the workers see them, so that
a pick costs the same however many endpoints there are.
"""

from __future__ import annotations

import numpy as np

from meshmodel.rules import balancing
from meshmodel.rules.breakers import ConnectionState
from meshmodel.rules.outlier import OutlierState
from meshmodel.scenario import Cluster, ConnectionPool, Endpoint, OutlierDetection
from meshmodel.simulation.calendar import ROUNDING
from meshmodel.simulation.draws import Draws


class Upstream:
    """State of one cluster in the proxy of caller number `caller`, for all replications.

    `endpoints` are all that the cluster has at any time of the experiment; `configure`
    says which of them it has now, and under which policies.
    """

    cluster: Cluster

    def __init__(self, endpoints: tuple[Endpoint, ...], caller: int, workers: int, replications: int, uniform: Draws) -> None:
        self.endpoints, self.caller, self.workers, self.replications = endpoints, caller, workers, replications
        self.uniform = uniform
        self.active = np.zeros((max(1, len(endpoints)), replications), dtype=np.int32)
        self.in_flight = np.zeros(replications, dtype=np.int64)
        self.retrying = np.zeros(replications, dtype=np.int64)
        self.connections = ConnectionState(workers, len(endpoints), replications)
        self.outlier = OutlierState(len(endpoints), replications)
        self.updated = np.full((1, replications), -np.inf)
        self.flush_at = np.full((1, replications), np.inf)
        self.first_tick = np.zeros(replications)
        self.outlier_detection: OutlierDetection | None = None
        self.configured = False
        self.counts_connections = False  # does any configuration of the experiment limit them?

    # --- configuration ------------------------------------------------------------------

    def configure(self, cluster: Cluster) -> None:
        """Take over the endpoints and policies of `cluster`; a new detector starts without ejections."""
        before, self.cluster = self.cluster if self.configured else None, cluster
        self.configured = True
        detection = self.outlier_detection = cluster.outlier_detection
        self.interval, self.update_merge_window = (detection.interval, detection.update_merge_window) if detection else (np.inf, 0.0)
        if before is not None and before.outlier_detection != detection:
            self.outlier = OutlierState(len(self.endpoints), self.replications)
        place = {e.name: i for i, e in enumerate(self.endpoints)}
        now = np.array([place[e.name] for e in cluster.endpoints], dtype=np.int64)
        self._set_groups(cluster, now)
        self.size = len(now)
        if before is not None and before.connection_pool != cluster.connection_pool:
            self.connections.restart()
        self.limits = cluster.connection_pool if cluster.connection_pool.limits_connections else ConnectionPool()
        index = np.floor(self.uniform(self.workers * self.groups * self.replications) * max(1, self.size))
        self.deadline = np.zeros((self.workers, self.groups, self.replications))
        policy = balancing.POLICIES[cluster.load_balancing]
        self.draws = balancing.draws_for(policy, self.levels)
        self.view = balancing.View(
            policy, self.members, self.offset, self.count, self.group_size, self.level_of_group,
            self.level_of, self.health, self.loads, self.weighted, self.weight, self.deadline,
            index.astype(np.int64).reshape(self.deadline.shape), self.active,
        )  # fmt: skip
        self.refresh(np.arange(self.replications), np.arange(self.levels))

    def _set_groups(self, cluster: Cluster, now: np.ndarray) -> None:
        priorities = np.array(cluster.priorities[self.caller] if cluster.priorities else [0] * len(now), dtype=np.int64)
        weights = cluster.locality_weights[self.caller] if cluster.locality_weights else None
        localities = [e.locality if weights is not None else "" for e in cluster.endpoints]
        self.levels = int(priorities.max(initial=0)) + 1
        empty = set(range(self.levels)) - set(priorities.tolist())
        keys = sorted({*zip(priorities.tolist(), localities, strict=True), *((level, "") for level in empty)})
        self.groups = len(keys)
        self.level_of_group = np.array([level for level, _ in keys])
        self.weight = np.array([1.0 if weights is None else float(weights.get(locality, 0)) for _, locality in keys])
        self.weighted = weights is not None
        group = [keys.index(key) for key in zip(priorities.tolist(), localities, strict=True)]
        self.group_members = [now[[i for i, g in enumerate(group) if g == k]] for k in range(self.groups)]
        self.level_of = np.zeros(len(self.endpoints), dtype=np.int64)
        self.level_of[now] = priorities
        self.offset = np.concatenate(([0], np.cumsum([len(m) for m in self.group_members])))[:-1]
        self.group_size = np.array([len(m) for m in self.group_members])
        self.level_size = np.array([self.group_size[self.level_of_group == level].sum() for level in range(self.levels)])
        self.members = np.zeros((max(1, len(now)), self.replications), dtype=np.int64)
        self.healthy = np.zeros((self.groups, self.replications), dtype=np.int64)
        self.count = np.zeros_like(self.healthy)  # endpoints to pick from: none where the weight is 0, all in panic
        self.health = np.zeros((self.levels, self.replications), dtype=np.int64)
        self.loads = np.zeros((self.levels, self.replications), dtype=np.int64)
        self.updated = np.full((self.levels, self.replications), -np.inf)
        self.flush_at = np.full((self.levels, self.replications), np.inf)

    def refresh(self, replication: np.ndarray, levels: np.ndarray) -> None:
        """Show the workers of the replications (n,) the present health of some `levels`."""
        healthy = ~self.outlier.ejected[:, replication]
        for group in np.isin(self.level_of_group, levels).nonzero()[0]:
            members = self.group_members[group]
            up = healthy[members]
            self.healthy[group, replication] = up.sum(axis=0)
            order = np.argsort(~up, axis=0, kind="stable")
            self.members[self.offset[group] : self.offset[group] + len(members), replication] = members[order]
            if self.weighted:  # a new schedule, or who was away would get all the load until it had caught up
                phase = self.uniform(self.workers * len(replication)).reshape(self.workers, -1)
                self.deadline[:, group, replication] = phase / max(self.weight[group], 1e-12)
        self._balance_levels(replication)

    def _balance_levels(self, replication: np.ndarray) -> None:
        count = self.healthy[:, replication]
        self.count[:, replication] = count * (self.weight > 0)[:, None]
        healthy = np.stack([count[self.level_of_group == level].sum(axis=0) for level in range(self.levels)])
        size = self.level_size[:, None]
        self.health[:, replication] = balancing.level_health(healthy, size)
        self.loads[:, replication] = balancing.level_loads(self.health[:, replication])
        threshold = self.cluster.panic_threshold
        if threshold > 0 and (panic := balancing.in_panic(healthy, size, threshold)).any():
            # A panicking level uses all its endpoints; where no level has health, so does the load.
            for group in range(len(self.group_size)):
                panicking = replication[panic[self.level_of_group[group]]]
                self.count[group, panicking] = self.group_size[group] * (self.weight[group] > 0)
            nothing = replication[self.health[:, replication].sum(axis=0) == 0]
            self.loads[:, nothing] = balancing.level_loads(100 * size // max(1, self.size) + 0 * self.loads[:, nothing])

    # --- picking an endpoint ------------------------------------------------------------

    def choose(
        self, replication: np.ndarray, worker: np.ndarray, tried: np.ndarray, cell: np.ndarray, tries: np.ndarray, frequency: int, more: int
    ) -> np.ndarray:
        """An endpoint for each request (n,), `NOBODY` where none is healthy; arguments as for `balancing.choose`."""
        most, draws = len(replication) + (more * int(np.count_nonzero(tries)) if more else 0), self.draws
        u = self.uniform.ahead(draws * most).reshape(most, draws)
        endpoint, picks = balancing.choose(self.view, replication, worker, tried, cell, tries, frequency, more, u)
        self.uniform.use(draws * picks)
        return endpoint

    # --- health -------------------------------------------------------------------------

    def changed(self, endpoint: np.ndarray, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The health of `endpoint` (n,) changed at `t`; returns when the workers are to be told, inf: they were.

        A change within `update_merge_window` of the last one told waits for a timer of that
        length.  Source: Envoy, ClusterManagerImpl::scheduleUpdate.
        """
        window = self.update_merge_window
        told_at = np.full(len(endpoint), np.inf)
        for level in np.unique(self.level_of[endpoint]):
            mine = self.level_of[endpoint] == level
            where, now = replication[mine], t[mine]
            at_once = np.floor(1000 * (now - self.updated[level, where]) + 1e-3) > 1000 * window  # Envoy compares whole milliseconds
            self.updated[level, where[at_once]] = now[at_once]
            self.flush_at[level, where[at_once]] = np.inf
            self.refresh(where[at_once], np.array([level]))
            later = where[~at_once]
            self.flush_at[level, later] = np.minimum(self.flush_at[level, later], now[~at_once] + window)
            told_at[mine] = self.flush_at[:, where].min(axis=0)
        return told_at

    def next_tick(self, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The first tick of the interval timer after `t`, (n,); ticks that would find nothing to do are left out."""
        first = self.first_tick[replication]
        return first + self.interval * np.maximum(np.floor((t * (1 + ROUNDING) + ROUNDING - first) / self.interval) + 1, 0)

    def idle(self, replication: np.ndarray) -> np.ndarray:
        """Whether a tick would change nothing: nobody is out, and no multiplier is left to shrink; (n,)."""
        return np.logical_not(self.outlier.multiplier[:, replication].any(axis=0))

    def flush(self, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Tell the workers of the replications (n,) what was held back until `t`; returns the next such time."""
        for level in range(self.levels):
            due = self.flush_at[level, replication] <= t * (1 + ROUNDING) + ROUNDING
            self.updated[level, replication[due]] = t[due]
            self.flush_at[level, replication[due]] = np.inf
            self.refresh(replication[due], np.array([level]))
        return self.flush_at[:, replication].min(axis=0)
