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

from meshmodel.scenario import UNLIMITED, ConnectionPool

GO, WAIT, REFUSE = 0, 1, 2


def limits_connections(pool: ConnectionPool) -> bool:
    """Must connections be counted?  HTTP/2 carries any number of requests on one."""
    return not pool.http2 and pool.max_connections < UNLIMITED


class ConnectionState:
    """One proxy's connections to one cluster; pools of shape (workers * endpoints, replications).

    Waiting requests form one first-in first-out list for each pool, linked through `behind`.
    """

    def __init__(self, workers: int, endpoints: int, replications: int) -> None:
        shape = (workers * endpoints, replications)
        self.endpoints, self.replications = endpoints, replications
        self.has_queue = self.has_drains = False  # has anybody ever waited, has a change of limits left connections to drain?
        self.open, self.busy, self.served, self.draining = (np.zeros(shape, dtype=np.int32) for _ in range(4))
        self.head, self.tail = (np.full(shape, -1, dtype=np.int64) for _ in range(2))
        self.opened = np.zeros(replications, dtype=np.int64)
        self.waiting = np.zeros(replications, dtype=np.int64)

    def restart(self) -> None:
        """New limits make a new cluster in Envoy: what is open finishes its request and closes, and does not count."""
        self.draining += self.busy
        self.has_drains = True
        for count in (self.open, self.busy, self.opened):
            count[...] = 0

    def pool_cell(self, worker: np.ndarray, endpoint: np.ndarray, replication: np.ndarray) -> np.ndarray:
        """Flat index of the pool of `worker` to `endpoint` in `replication`, each (n,)."""
        return (worker * self.endpoints + endpoint) * self.replications + replication

    def admit(self, limits: ConnectionPool, cell: np.ndarray, replication: np.ndarray) -> np.ndarray:
        """GO (a connection was taken or opened), WAIT or REFUSE, (n,)."""
        opened, busy = self.open.ravel(), self.busy.ravel()
        idle = opened.take(cell) > busy.take(cell)
        if idle.all():
            busy[cell] += 1
            return np.full(len(cell), GO)
        new = ~idle & ((self.opened[replication] < limits.max_connections) | (opened[cell] == 0))
        goes = idle | new
        busy[cell] += goes
        opened[cell] += new
        self.opened[replication] += new
        waits = ~goes & (self.waiting[replication] < limits.max_pending_requests)
        return np.where(goes, GO, np.where(waits, WAIT, REFUSE))

    def join(self, cell: np.ndarray, replication: np.ndarray, row: np.ndarray, behind: np.ndarray) -> None:
        """Request `row` (n,) goes to the end of its pool's list; `behind` (rows, replications) are the links."""
        self.has_queue = self.has_queue or bool(len(cell))
        head, tail = self.head.ravel(), self.tail.ravel()
        empty = head[cell] < 0
        head[cell[empty]] = row[empty]
        behind.ravel()[tail[cell[~empty]] * self.replications + replication[~empty]] = row[~empty]
        tail[cell] = row
        behind.ravel()[row * self.replications + replication] = -1
        self.waiting[replication] += 1

    def leave(self, cell: np.ndarray, replication: np.ndarray, row: np.ndarray, behind: np.ndarray) -> None:
        """Request `row` (n,) gives up waiting (its timeout): walk each list to unlink it."""
        links, head = behind.ravel(), self.head.ravel()
        previous = np.full_like(row, -1)
        current = head[cell].copy()
        while (walking := current != row).any():
            previous = np.where(walking, current, previous)
            current = np.where(walking, links[current * self.replications + replication], current)
        after = links[row * self.replications + replication]
        first = previous < 0
        head[cell[first]] = after[first]
        links[(previous * self.replications + replication)[~first]] = after[~first]
        last = after < 0
        self.tail.ravel()[cell[last]] = previous[last]
        self.waiting[replication] -= 1

    def release(
        self, limits: ConnectionPool, cell: np.ndarray, replication: np.ndarray, closes: np.ndarray, behind: np.ndarray
    ) -> np.ndarray:
        """A request of each pool is over; returns who may go next, (n,) rows, -1: nobody waits.

        `closes`: the connection is closed with it (a reset); also after `max_requests_per_connection`.
        """
        opened, busy, head = self.open.ravel(), self.busy.ravel(), self.head.ravel()
        if limits.max_requests_per_connection:
            served = self.served.ravel()
            served[cell] += 1
            closes = closes | (served[cell] % limits.max_requests_per_connection == 0)
        if not (self.has_queue or self.has_drains or closes.any()):
            busy[cell] -= 1  # nobody waits, nothing closes: the connections are idle again
            return np.full(len(cell), -1)
        following = head[cell]
        someone = following >= 0
        # A closed connection may be replaced at once by one for whoever waits: the count stays.
        drains = self.draining.ravel()[cell] > 0
        self.draining.ravel()[cell] -= drains
        someone &= ~drains | (opened[cell] == 0)  # a draining connection is replaced only where there is no new one
        renewed = drains & someone
        shut = closes & ~someone & ~drains
        opened[cell] += renewed.astype(np.int32) - shut
        self.opened[replication] += renewed.astype(np.int64) - shut
        busy[cell] += renewed.astype(np.int32) - (~someone & ~drains)
        following = np.where(someone, following, -1)
        served_next = cell[someone]
        head[served_next] = behind.ravel()[following[someone] * self.replications + replication[someone]]
        self.waiting[replication] -= someone
        return following
