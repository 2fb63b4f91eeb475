"""The rows of the event loop: one for each request under way, with its columns and its one timer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from meshmodel.rules.balancing import NOBODY
from meshmodel.scenario import Scenario
from meshmodel.simulation.calendar import Calendar
from meshmodel.simulation.draws import Draws
from meshmodel.simulation.hop import ANSWER, ENTER, KINDS, OUTER, Columns, Hop
from meshmodel.simulation.requestlog import NEVER
from meshmodel.simulation.upstream import Upstream


class Rows(Columns):
    """The state that all events read and write; `EventLoop` fills it in."""

    FIELDS = {
        "start": (float, 0.0), "attempts": (np.int16, 0), "code": (np.int16, 0), "server": (np.int16, NOBODY), "calls": (np.int32, 0),
    }  # fmt: skip
    RARE = {
        "behind": (np.int64, -1), "parent": (np.int64, -1), "finish": (float, NEVER), "finish_code": (np.int16, 0), "orphan": (bool, False),
        "saved_time": (float, NEVER), "saved_kind": (np.int64, ENTER),
    }  # fmt: skip
    start: np.ndarray
    """When the load generator sent the request, seconds."""
    attempts: np.ndarray
    """Sent to the last route's pods for it."""
    code: np.ndarray
    """Outcome of the attempt under way: a status, or a negative code of `policies.retries`."""
    server: np.ndarray
    """The pod that answered, `NOBODY`: the proxy."""
    calls: np.ndarray
    """Requests that this connection has sent."""
    behind: np.ndarray
    """The row that waits behind this one for a connection, -1: none."""
    parent: np.ndarray
    """The row of the request whose attempt was left running in this one."""
    finish: np.ndarray
    """When the pod would answer, seconds (kept for hedging)."""
    finish_code: np.ndarray
    """What it would answer."""
    orphan: np.ndarray
    """Has everybody given up on it?"""
    saved_time: np.ndarray
    """The timer that the outer proxy's patience stands in for, seconds."""
    saved_kind: np.ndarray
    """Its kind."""

    # What `EventLoop` sets:
    scenario: Scenario
    replications: int
    closed: bool
    hops: list[Hop]
    last: int
    calendar: Calendar
    uniform: Draws
    has_outer: bool
    splits_local_origin: bool
    counters: dict[str, np.ndarray]
    ejections: list[tuple]
    allocated: int
    free_rows: np.ndarray
    free_count: np.ndarray

    def _special_rows(self) -> None:
        """Row 0: arrivals of an open loop; then a tick and a flush for each upstream of each hop."""
        self.owner: dict[int, tuple[Hop, Upstream]] = {}
        self.row_of: dict[int, int] = {}
        for hop in self.hops:
            for upstream in hop.upstreams:
                row = self.row_of[id(upstream)] = len(self.owner) + 1
                self.owner[row] = self.owner[row + 1] = hop, upstream
        self.specials = len(self.owner) + 1

    def _accept_connections(self) -> None:
        """A connection belongs to the worker that accepted it: the kernel picks one at random (SO_REUSEPORT)."""
        self.fresh_connections = self.scenario.new_connection_per_request or not self.closed
        if self.scenario.workers > 1 and not self.fresh_connections:
            for hop in self.hops:
                hop.worker[:] = self.uniform(len(hop.worker)) * self.scenario.workers

    def _columns(self, rows: int) -> None:
        """(Re)allocate the rows, keeping what they hold."""
        cells = rows * self.replications
        self.lengthen(cells)
        for hop in self.hops:
            hop.lengthen(cells)
            for name, kind, fill in (("tried", np.int16, NOBODY), ("hedges", np.int64, -1)):
                before, column = getattr(hop, name), np.full((hop.most_tries, cells), fill, dtype=kind)
                column[:, : before.shape[1]] = before
                setattr(hop, name, column)
        before = getattr(self, "allocated", self.specials)
        fresh = np.arange(before, rows)[:, None] + np.zeros((1, self.replications), dtype=np.int64)
        self.free_rows = np.concatenate((getattr(self, "free_rows", fresh[:0]), np.full_like(fresh, -1)))
        self.free_count = getattr(self, "free_count", np.zeros(self.replications, dtype=np.int64))
        place = self.free_count + np.arange(len(fresh))[:, None]
        self.free_rows[place, np.arange(self.replications)] = fresh
        self.free_count = self.free_count + len(fresh)
        self.allocated = rows

    def _set(self, r: np.ndarray, row: np.ndarray, time: np.ndarray, kind: int, index: int = 0) -> None:
        """Give the rows their one timer; a proxy further out may run out of patience first."""
        code = index * KINDS + kind
        if self.has_outer_limit(index, kind):
            cell = row * self.replications + r
            self.saved_time[cell], self.saved_kind[cell] = time, code
            early = self.hops[0].limit[cell] < time
            self.calendar.set(row[early], r[early], self.hops[0].limit[cell[early]], OUTER)
            row, r, time = row[~early], r[~early], time[~early]
        self.calendar.set(row, r, time, code)

    def has_outer_limit(self, index: int, kind: int) -> bool:
        """Is the row inside a call that the first route's proxy may give up?"""
        return self.has_outer and (index > 0 or kind == ANSWER)

    def _take_row(self, r: np.ndarray) -> np.ndarray:
        """A free row for each replication (n,)."""
        while self.free_count[r].min(initial=1) < 1:
            self.calendar.grow()
            self._columns(self.calendar.rows)
        self.free_count[r] -= 1
        return self.free_rows[self.free_count[r], r]

    def _give_row(self, r: np.ndarray, row: np.ndarray) -> None:
        self.free_rows[self.free_count[r], r] = row
        self.free_count[r] += 1
        self.calendar.set(row, r, np.full(len(r), NEVER), ENTER)

    def _by_upstream(self, hop: Hop, cell: np.ndarray) -> Iterator[tuple[Upstream, np.ndarray | slice]]:
        """Each upstream among the rows, and the positions (n,) of its rows, or all."""
        if len(hop.upstreams) == 1:
            yield hop.upstreams[0], slice(None)
            return
        which = hop.upstream[cell]
        for index in np.unique(which):
            yield hop.upstreams[index], (which == index).nonzero()[0]

    def _pod(self, hop: Hop, cell: np.ndarray, endpoint: np.ndarray) -> np.ndarray:
        """Index of the pod that is number `endpoint` (n,) of each row's upstream; for `NOBODY` any."""
        return hop.pods[0].take(endpoint) if len(hop.upstreams) == 1 else hop.pods[hop.upstream[cell], endpoint]

    def _count(self, hop: Hop, name: str, r: np.ndarray) -> None:
        """Envoy's counter `name` of the last route's clusters, once for each replication (n,)."""
        if hop.index == self.last and len(r):
            self.counters[name][r] += 1
