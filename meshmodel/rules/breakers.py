"""Circuit breakers: how many requests, connections and waiting requests a proxy allows a cluster.

`max_requests`: so many in flight, the rest answered 503 at once; on HTTP/1.1 too.
`max_connections` (HTTP/1.1: one request each): a request that finds no idle connection of
its worker to its endpoint opens one, if the cluster has fewer than `max_connections` open
or that worker has none to that endpoint; else it waits.  An idle connection stays open
and counts.  At most `max_pending_requests` wait, the rest get 503 at once.

So a limit below workers * endpoints is not strict: each worker may have one connection to
each endpoint.  Source: Envoy, "Circuit breaking", ConnPoolImplBase::tryCreateNewConnection;
measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.rules.retries import OVERFLOW
from meshmodel.scenario import ConnectionPool

GO, WAIT = 0, 1


class ConnectionState:
    """One proxy's connections to one cluster; pools of shape (workers, endpoints, replications).

    Waiting requests form one first-in first-out list for each pool, linked through `behind`.
    """

    def __init__(self, workers: int, endpoints: int, replications: int) -> None:
        shape = (workers, endpoints, replications)
        self.open, self.busy, self.served, self.draining = (np.zeros(shape, dtype=np.int32) for _ in range(4))
        self.head, self.tail = (np.full(shape, -1, dtype=np.int64) for _ in range(2))
        self.opened = np.zeros(replications, dtype=np.int64)
        self.waiting = np.zeros(replications, dtype=np.int64)

    def restart(self) -> None:
        """New limits make a new cluster in Envoy: what is open finishes its request and closes, and does not count."""
        self.draining += self.busy
        for count in (self.open, self.busy, self.opened):
            count[...] = 0

    def admit(
        self, limits: ConnectionPool, worker: np.ndarray, endpoint: np.ndarray, replication: np.ndarray, row: np.ndarray,
        behind: np.ndarray, outcome: np.ndarray,
    ) -> None:  # fmt: skip
        """Give requests `row` of `worker` to `endpoint` (n,) a connection, where their `outcome` (n,) is GO so far.

        It remains GO (a connection was taken or opened), or becomes WAIT (at the end of the pool's
        list) or OVERFLOW.  `behind`, flat (rows * replications,), are the links.
        """
        most = limits.max_connections, limits.max_pending_requests
        counts = self.open, self.busy, self.opened, self.waiting, self.head, self.tail
        _admit(*most, *counts, worker, endpoint, replication, row, behind, outcome)

    def leave(self, worker: np.ndarray, endpoint: np.ndarray, replication: np.ndarray, row: np.ndarray, behind: np.ndarray) -> None:
        """Requests `row` (n,) give up waiting (their timeout)."""
        _leave(self.waiting, self.head, self.tail, worker, endpoint, replication, row, behind)

    def replace(
        self, worker: np.ndarray, endpoint: np.ndarray, replication: np.ndarray, row: np.ndarray, by: np.ndarray, behind: np.ndarray
    ) -> None:
        """Rows `by` (n,) take the places of `row` (n,) in their lists."""
        _replace(self.head, self.tail, worker, endpoint, replication, row, by, behind)

    def release(
        self,
        limits: ConnectionPool,
        worker: np.ndarray,
        endpoint: np.ndarray,
        replication: np.ndarray,
        closes: np.ndarray,
        behind: np.ndarray,
    ) -> np.ndarray:
        """A request of each pool is over; returns who may go next, (n,) rows, -1: nobody waits.

        `endpoint` (n,): `NOBODY` holds no connection.  `closes` (n,): the connection is closed
        with its request (a reset); also after `max_requests_per_connection`.
        """
        counts = self.open, self.busy, self.served, self.draining, self.opened, self.waiting, self.head
        return _release(limits.max_requests_per_connection, *counts, worker, endpoint, replication, closes, behind)


@compiled
def _admit(
    max_connections, max_pending_requests, open_, busy, opened, waiting, head, tail, worker, endpoint, replication, row, behind, outcome
):
    for i in range(len(row)):
        r, pool = replication[i], (worker[i], endpoint[i], replication[i])
        if outcome[i] != GO:
            continue
        if open_[pool] > busy[pool]:
            busy[pool] += 1
        elif opened[r] < max_connections or open_[pool] == 0:
            open_[pool] += 1
            busy[pool] += 1
            opened[r] += 1
        elif waiting[r] < max_pending_requests:
            outcome[i] = WAIT
            if head[pool] < 0:
                head[pool] = row[i]
            else:
                behind[tail[pool] * len(opened) + r] = row[i]
            behind[row[i] * len(opened) + r] = -1
            tail[pool] = row[i]
            waiting[r] += 1
        else:
            outcome[i] = OVERFLOW


@compiled
def _before(head, replications, r, row, behind):
    """Who stands before `row` in the list that begins with `head`, -1: nobody."""
    before = -1
    while head != row:
        before = head
        head = behind[head * replications + r]
    return before


@compiled
def _leave(waiting, head, tail, worker, endpoint, replication, row, behind):
    replications = len(waiting)
    for i in range(len(row)):
        r, pool = replication[i], (worker[i], endpoint[i], replication[i])
        before = _before(head[pool], replications, r, row[i], behind)
        after = behind[row[i] * replications + r]
        if before < 0:
            head[pool] = after
        else:
            behind[before * replications + r] = after
        if after < 0:
            tail[pool] = before
        waiting[r] -= 1


@compiled
def _replace(head, tail, worker, endpoint, replication, row, by, behind):
    replications = head.shape[2]
    for i in range(len(row)):
        r, pool = replication[i], (worker[i], endpoint[i], replication[i])
        before = _before(head[pool], replications, r, row[i], behind)
        behind[by[i] * replications + r] = behind[row[i] * replications + r]
        if before < 0:
            head[pool] = by[i]
        else:
            behind[before * replications + r] = by[i]
        if tail[pool] == row[i]:
            tail[pool] = by[i]


@compiled
def _release(
    max_requests_per_connection, open_, busy, served, draining, opened, waiting, head, worker, endpoint, replication, closes, behind
):
    following = np.full(len(endpoint), -1, np.int64)
    for i in range(len(endpoint)):
        r, pool = replication[i], (worker[i], endpoint[i], replication[i])
        if endpoint[i] < 0:
            continue
        shut = closes[i]
        if max_requests_per_connection > 0:
            served[pool] += 1
            shut = shut or served[pool] % max_requests_per_connection == 0
        drains, someone = draining[pool] > 0, head[pool] >= 0
        if drains:
            draining[pool] -= 1
            someone = someone and open_[pool] == 0  # a draining connection is replaced only where there is no new one
        if someone:  # the connection, or one in its place, is for whoever waits first
            following[i] = head[pool]
            head[pool] = behind[following[i] * len(opened) + r]
            waiting[r] -= 1
            if drains:
                open_[pool] += 1
                busy[pool] += 1
                opened[r] += 1
        elif not drains:
            busy[pool] -= 1
            if shut:
                open_[pool] -= 1
                opened[r] -= 1
    return following
