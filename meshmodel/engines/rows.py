"""The rows of the event loop: one for each request under way, with its columns and its one timer."""

from __future__ import annotations

import numpy as np

from meshmodel.engines.calendar import NEVER
from meshmodel.engines.hop import ANSWER, ARRIVAL, ENTER, FLUSH, KINDS, OUTER, TICK, Hop
from meshmodel.engines.upstream import NOBODY, Upstream


class Rows:
    """The state that all events read and write; `EventLoop` fills it in."""

    def _special_rows(self) -> None:
        """Row 0: arrivals of an open loop; then a tick and a flush for each upstream of each hop."""
        self.owner: list[tuple[Hop, Upstream] | None] = [None]
        self.row_of: dict[int, int] = {}
        for hop in self.hops:
            for upstream in hop.upstreams:
                self.row_of[id(upstream)] = len(self.owner)
                self.owner += [(hop, upstream), (hop, upstream)]
        self.specials = len(self.owner)

    def _accept_connections(self) -> None:
        """A connection belongs to the worker that accepted it: the kernel picks one at random (SO_REUSEPORT)."""
        self.fresh_connections = self.scenario.new_connection_per_request or not self.closed
        if self.scenario.workers > 1 and not self.fresh_connections:
            for hop in self.hops:
                hop.worker[:] = self.uniform(len(hop.worker)) * self.scenario.workers

    def _columns(self, rows: int) -> None:
        """(Re)allocate the rows' columns, flat of rows * replications, keeping what they hold."""
        cells = rows * self.replications

        def column(holder: object, name: str, kind: type, fill: object, depth: int = 0) -> None:
            before = getattr(holder, name, None)
            new = np.full((depth, cells) if depth else cells, fill, dtype=kind)
            if before is not None:
                new[..., : before.shape[-1]] = before
            setattr(holder, name, new)

        for name, kind, fill in (("kind", np.int64, ENTER), ("code", np.int16, 0), ("start", float, 0.0), ("attempts", np.int16, 0),
                                 ("server", np.int16, NOBODY), ("saved_time", float, NEVER), ("saved_kind", np.int64, ENTER),
                                 ("orphan", bool, False), ("behind", np.int64, -1), ("finish", float, NEVER), ("finish_code", np.int16, 0),
                                 ("parent", np.int64, -1), ("calls", np.int32, 0)):  # fmt: skip
            column(self, name, kind, fill)
        for hop in self.hops:
            for name, (kind, fill) in hop.COLUMNS.items():
                column(hop, name, kind, fill)
            column(hop, "tried", np.int16, NOBODY, depth=hop.most_tries)
            column(hop, "hedges", np.int64, -1, depth=hop.most_tries)
        for row in range(self.specials):
            kind = ARRIVAL if row == 0 else (TICK if row % 2 else FLUSH)
            self.kind[row * self.replications : (row + 1) * self.replications] = kind
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
        cell = row * self.replications + r
        code = index * KINDS + kind
        if self.has_outer_limit(index, kind):
            patience = self.hops[0].limit[cell]
            early = patience < time
            self.saved_time[cell], self.saved_kind[cell] = time, code
            self.kind[cell] = np.where(early, OUTER, code)
            time = np.minimum(time, patience)
        else:
            self.kind[cell] = code
        self.calendar.set(row, r, time)

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
        self.calendar.set(row, r, np.full(len(r), NEVER))

    def _by_upstream(self, hop: Hop, cell: np.ndarray):  # noqa: ANN202
        """(upstream, its pods, positions (n,) or all) of each upstream among the rows."""
        if len(hop.upstreams) == 1:
            yield hop.upstreams[0], hop.pods[0], slice(None)
            return
        which = hop.upstream[cell]
        for index in np.unique(which):
            yield hop.upstreams[index], hop.pods[index], np.flatnonzero(which == index)

    def _pod(self, hop: Hop, cell: np.ndarray) -> np.ndarray:
        """Index of the pod that each row's endpoint is, (n,)."""
        return self._pod_of(hop, cell, hop.endpoint.take(cell))

    def _pod_of(self, hop: Hop, cell: np.ndarray, endpoint: np.ndarray) -> np.ndarray:
        """Index of the pod that is number `endpoint` (n,) of each row's upstream."""
        if len(hop.upstreams) == 1:
            return hop.pods[0].take(endpoint)
        pods = np.zeros((len(hop.upstreams), max(len(p) for p in hop.pods)), dtype=np.int64)
        for index, own in enumerate(hop.pods):
            pods[index, : len(own)] = own
        return pods[hop.upstream[cell], endpoint]

    def _count(self, hop: Hop, name: str, r: np.ndarray) -> None:
        """Envoy's counter `name` of the last route's clusters, once for each replication (n,)."""
        if hop.index == self.last and len(r):
            self.counters[name][r] += 1
