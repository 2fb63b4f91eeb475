"""One proxy's picture of one cluster: its endpoints, their health, load and limits.

Envoy keeps such a picture for every cluster in every proxy; ours holds it for all
replications at once, in arrays of shape (..., replications).  The rules themselves are
in `meshmodel.policies`; here is the state that they act on.

Endpoints stand in *groups*: a priority level, or, with locality weights, one locality of
a level.  `members` lists each group's healthy endpoints as the workers see them, so that
a pick costs the same however many endpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshmodel.engines.calendar import ROUNDING
from meshmodel.policies import balancing, priority
from meshmodel.policies.breakers import ConnectionState, limits_connections
from meshmodel.policies.outlier import OutlierState
from meshmodel.scenario import Cluster, ConnectionPool, Endpoint

Uniform = Callable[[int], np.ndarray]
"""Draws n uniforms on [0, 1)."""

NOBODY = -1


class Upstream:
    """State of one cluster in the proxy of caller number `caller`, for all replications.

    `endpoints` are all that the cluster has at any time of the experiment; `configure`
    says which of them it has now, and under which policies.
    """

    def __init__(self, endpoints: tuple[Endpoint, ...], caller: int, workers: int, replications: int, uniform: Uniform) -> None:
        self.endpoints, self.caller, self.workers, self.replications = endpoints, caller, workers, replications
        self.uniform = uniform
        self.active = np.zeros((max(1, len(endpoints)), replications), dtype=np.int32)
        self.in_flight = np.zeros(replications, dtype=np.int64)
        self.retrying = np.zeros(replications, dtype=np.int64)
        self.connections = ConnectionState(workers, len(endpoints), replications)
        self.outlier = OutlierState(len(endpoints), replications)
        self.updated = np.full((1, replications), -np.inf)
        self.flush_at = np.full((1, replications), np.inf)
        self.all_first = True  # does every replication send everything to level 0?
        self.some_empty = False  # has some group of some replication no healthy endpoint?
        self.first_tick = np.zeros(replications)
        self.counts_connections = False  # does any configuration of the experiment limit them?
        self.cluster: Cluster | None = None

    # --- configuration ------------------------------------------------------------------

    def configure(self, cluster: Cluster) -> None:
        """Take over the endpoints and policies of `cluster`; a new detector starts without ejections."""
        before, self.cluster = self.cluster, cluster
        if before is not None and before.outlier_detection != cluster.outlier_detection:
            self.outlier = OutlierState(len(self.endpoints), self.replications)
        place = {e.name: i for i, e in enumerate(self.endpoints)}
        now = np.array([place[e.name] for e in cluster.endpoints], dtype=np.int64)
        self._set_groups(cluster, now)
        self.size = len(now)
        if before is not None and before.connection_pool != cluster.connection_pool:
            self.connections.restart()
        self.limits = cluster.connection_pool if limits_connections(cluster.connection_pool) else ConnectionPool()
        self.plain = cluster.outlier_detection is None and self.groups == 1
        index = np.floor(self.uniform(self.workers * self.groups * self.replications) * max(1, self.size))
        self.next_index = index.astype(np.int64)  # (workers, groups, replications), flat
        self.deadline = np.zeros((self.workers, self.groups, self.replications))
        self.refresh(np.arange(self.replications), np.arange(self.levels))

    def _set_groups(self, cluster: Cluster, now: np.ndarray) -> None:
        priorities = np.array(cluster.priorities[self.caller] if cluster.priorities else [0] * len(now), dtype=np.int64)
        weights = cluster.locality_weights[self.caller] if cluster.locality_weights else None
        localities = [e.locality if weights is not None else "" for e in cluster.endpoints]
        keys = sorted(set(zip(priorities.tolist(), localities, strict=True))) or [(0, "")]
        self.groups = len(keys)
        self.level_of_group = np.array([level for level, _ in keys])
        self.levels = int(self.level_of_group.max()) + 1
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
        for group in np.flatnonzero(np.isin(self.level_of_group, levels)):
            members = self.group_members[group]
            up = healthy[members]
            self.healthy[group, replication] = up.sum(axis=0)
            self.count[group, replication] = self.healthy[group, replication] * (self.weight[group] > 0)
            order = np.argsort(~up, axis=0, kind="stable")
            self.members[self.offset[group] : self.offset[group] + len(members), replication] = members[order]
            if self.weighted:  # a new schedule, or who was away would get all the load until it had caught up
                phase = self.uniform(self.workers * len(replication)).reshape(self.workers, -1)
                self.deadline[:, group, replication] = phase / max(self.weight[group], 1e-12)
        self._balance_levels(replication)

    def _balance_levels(self, replication: np.ndarray) -> None:
        count = self.healthy[:, replication]
        healthy = np.stack([count[self.level_of_group == level].sum(axis=0) for level in range(self.levels)])
        size = self.level_size[:, None]
        self.health[:, replication] = priority.level_health(healthy, size)
        self.loads[:, replication] = priority.level_loads(self.health[:, replication])
        threshold = self.cluster.panic_threshold
        if threshold > 0 and (panic := priority.in_panic(healthy, size, threshold)).any():
            # A panicking level uses all its endpoints; where no level has health, so does the load.
            for group in range(self.groups):
                panicking = replication[panic[self.level_of_group[group]]]
                self.count[group, panicking] = self.group_size[group] * (self.weight[group] > 0)
            nothing = replication[self.health[:, replication].sum(axis=0) == 0]
            self.loads[:, nothing] = priority.level_loads(100 * size // max(1, self.size) + 0 * self.loads[:, nothing])
        self.all_first = bool((self.loads[0] == 100).all())
        self.some_empty = not self.count.all()

    # --- picking an endpoint ------------------------------------------------------------

    def choose(self, replication: np.ndarray, worker: np.ndarray, excluded: np.ndarray | None = None) -> np.ndarray:
        """An endpoint for each replication (n,), `NOBODY` where none is healthy.

        `excluded`: (levels, n) levels that a retry avoids (`retryRemoteLocalities`).
        """
        return self._pick_member(replication, worker, self._pick_group(replication, worker, excluded))

    def choose_untried(
        self, endpoint: np.ndarray, replication: np.ndarray, worker: np.ndarray, tried: np.ndarray, draws: int, excluded: np.ndarray | None
    ) -> np.ndarray:
        """The endpoint of a retry that drew `endpoint` (n,): up to `draws` more draws until an untried one, else the last.

        `tried`: (attempts, n) endpoints that the request has tried (any other number: none).
        """
        again = np.flatnonzero((tried == endpoint).any(axis=0) & (endpoint >= 0))
        if excluded is None and self.all_first and not self.weighted:
            again = again[self.count[0].take(replication.take(again)) > 1]  # of one endpoint every draw is the same
        if again.size and self.cluster.load_balancing != "ROUND_ROBIN":
            # The draws of a retry change nothing that the next one sees: make them all at once.
            where = np.tile(again, draws)
            drawn = self.choose(replication[where], worker[where], None if excluded is None else excluded[:, where])
            fresh = ~(tried[:, where] == drawn).any(axis=0).reshape(draws, -1)
            fresh[-1] = True
            endpoint[again] = drawn.reshape(draws, -1)[fresh.argmax(axis=0), np.arange(again.size)]
            return endpoint
        for _ in range(draws):
            if not again.size:
                break
            endpoint[again] = self.choose(replication[again], worker[again], None if excluded is None else excluded[:, again])
            again = again[(tried[:, again] == endpoint[again]).any(axis=0)]
        return endpoint

    def _pick_group(self, replication: np.ndarray, worker: np.ndarray, excluded: np.ndarray | None) -> np.ndarray | int:
        if self.groups == 1 or (self.all_first and not self.weighted and excluded is None):
            return 0
        level: np.ndarray | int = 0
        if self.levels > 1:
            level = self._pick_level(replication, excluded)
        return self._pick_locality(replication, worker, level) if self.weighted else level

    def _pick_level(self, replication: np.ndarray, excluded: np.ndarray | None) -> np.ndarray:
        if self.all_first:
            level = np.zeros(len(replication), dtype=np.int64)
        else:
            level = priority.pick_level(self.loads[:, replication], self.uniform(len(replication)))
        if excluded is not None and (some := np.flatnonzero(excluded.any(axis=0))).size:
            where = replication[some]
            loads = priority.remaining_loads(self.health[:, where], self.loads[:, where], excluded[:, some])
            level[some] = priority.pick_level(loads, self.uniform(len(some)))
        return level

    def _pick_locality(self, replication: np.ndarray, worker: np.ndarray, level: np.ndarray | int) -> np.ndarray:
        """Earliest deadline first among the localities of the level: Envoy's weighted schedule.

        A locality's weight is scaled by min(1, 1.4 * its healthy share).
        """
        deadline = self.deadline[worker, :, replication].T
        count = self.count[:, replication]
        inside = self.level_of_group[:, None] == level
        # Where no locality of the level has an endpoint to pick, any of its empty ones will do.
        group = np.where(inside, np.where(count > 0, deadline, 1e299), np.inf).argmin(axis=0)
        share = np.minimum(100, priority.OVERPROVISIONING * count[group, np.arange(len(group))] / self.group_size[group]) / 100
        now = deadline[group, np.arange(len(group))]
        self.deadline[worker, group, replication] = now + 1 / np.maximum(self.weight[group] * share, 1e-12)
        return group

    def _pick_member(self, replication: np.ndarray, worker: np.ndarray, group: np.ndarray | int) -> np.ndarray:
        """One of the healthy endpoints of the group, by the load-balancing policy, (n,)."""
        count = (
            self.size if self.plain else self.count[group].take(replication) if isinstance(group, int) else self.count[group, replication]
        )
        policy = self.cluster.load_balancing
        n, columns = len(replication), self.replications
        if policy == "ROUND_ROBIN":
            cell = (worker * self.groups + group) * columns + replication
            index = self.next_index.take(cell)
            self.next_index[cell] = index + 1
            position = index % np.maximum(count, 1)
        elif policy == "RANDOM":
            position = (self.uniform(n) * count).astype(np.int64)
        else:
            position = (self.uniform(2 * n).reshape(2, n) * count).astype(np.int64)
        position += self.offset[group]
        position *= columns
        position += replication
        endpoint = self.members.ravel().take(position)
        if policy == "LEAST_REQUEST":
            active = self.active.ravel().take(endpoint * columns + replication)
            endpoint = balancing.least_request(endpoint[0], endpoint[1], active[0], active[1])
        return np.where(count > 0, endpoint, NOBODY) if self.some_empty else endpoint

    # --- health -------------------------------------------------------------------------

    def changed(self, endpoint: np.ndarray, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The health of `endpoint` (n,) changed at `t`; returns when the workers are to be told, inf: they were.

        A change within `update_merge_window` of the last one told waits for a timer of that
        length.  Source: Envoy, ClusterManagerImpl::scheduleUpdate.
        """
        window = self.cluster.outlier_detection.update_merge_window
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
        interval, first = self.cluster.outlier_detection.interval, self.first_tick[replication]
        return first + interval * np.maximum(np.floor((t * (1 + ROUNDING) + ROUNDING - first) / interval) + 1, 0)

    def idle(self, replication: np.ndarray) -> np.ndarray:
        """Whether a tick would change nothing: nobody is out, and no multiplier is left to shrink; (n,)."""
        return ~self.outlier.multiplier[:, replication].any(axis=0)

    def flush(self, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Tell the workers of the replications (n,) what was held back until `t`; returns the next such time."""
        for level in range(self.levels):
            due = self.flush_at[level, replication] <= t * (1 + ROUNDING) + ROUNDING
            self.updated[level, replication[due]] = t[due]
            self.flush_at[level, replication[due]] = np.inf
            self.refresh(replication[due], np.array([level]))
        return self.flush_at[:, replication].min(axis=0)
