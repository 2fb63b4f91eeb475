"""Calls that go on although somebody gave up on them: behind an outer timeout, and beside a hedge."""

from __future__ import annotations

import numpy as np

from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.retries import LOWEST, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.simulation.answers import Answers
from meshmodel.simulation.calendar import ROUNDING
from meshmodel.simulation.hop import ANSWER, ENTER, GRANTED, HEDGE, KINDS, NONE, Hop, take
from meshmodel.simulation.requestlog import NEVER


class Abandoned(Answers):
    """OUTER and HEDGE events."""

    def _outer(self, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """The first route's proxy ends the attempt; the pod's own call goes on in a row without a client.

        fake-service makes its upstream call with no context of the request that caused it.
        """
        hop = self.hops[0]
        inside = self.saved_kind[cell] >= KINDS
        self._detach(r[inside], row[inside])
        cell = row * self.replications + r  # the columns may have grown
        deadline = hop.deadline[cell]
        code = np.where(t < deadline * (1 - ROUNDING), PER_TRY_TIMEOUT, ROUTE_TIMEOUT).astype(np.int16)
        hop.limit[cell] = np.inf
        self.server[cell] = NOBODY
        hop.to_answer.append((r, row, cell, t, code))

    def _detach(self, r: np.ndarray, row: np.ndarray) -> None:
        spare = self._take_row(r)
        old, new = row * self.replications + r, spare * self.replications + r
        for name in ("code", "start", "attempts", "server"):
            getattr(self, name)[new] = getattr(self, name)[old]
        for hop in self.hops[1:]:
            hop.copy(old, new)
            hop.tried[:, new] = hop.tried[:, old]
            self._replace_waiting(hop, r, row, spare, old)
            hop.waiting[old] = False
            hop.is_retry[old] = False
        self.orphan[new] = True
        self.hops[0].limit[new] = np.inf
        kind = self.saved_kind[old]
        self.calendar.set(spare, r, self.saved_time[old], ENTER)
        self.calendar.kinds[spare, r] = kind

    def _replace_waiting(self, hop: Hop, r: np.ndarray, row: np.ndarray, spare: np.ndarray, old: np.ndarray) -> None:
        """A request that waits for a connection keeps its place under its new row."""
        waits = hop.waiting[old].nonzero()[0]
        for upstream, at in self._by_upstream(hop, old[waits]):
            cells = old[waits[at]]
            who, rows, spares = take(waits[at], r, row, spare)
            upstream.connections.replace(hop.worker[cells], hop.endpoint[cells], who, rows, spares, self.behind)

    def _hedge(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray) -> None:
        """Leave the attempt running in a row of its own, linked with its request."""
        spare = self._take_row(r)
        cell, new = row * self.replications + r, spare * self.replications + r
        for name in ("upstream", "worker"):
            getattr(hop, name)[new] = getattr(hop, name)[cell]
        hop.endpoint[new] = hop.tried[hop.tries[cell] - 1, cell]
        self.code[new], self.parent[new] = self.finish_code[cell], row
        hop.hedges[hop.tries[cell] - 1, cell] = spare
        self._set(r, spare, np.minimum(self.finish[cell], NEVER), HEDGE, hop.index)

    def _run_on(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray) -> None:
        """The hedge was refused (a limit on retries): the attempt itself goes on to its answer."""
        hop.endpoint[cell] = hop.tried[hop.tries[cell] - 1, cell]
        deadline = hop.deadline[cell]
        self.code[cell] = np.where(self.finish[cell] > deadline, ROUTE_TIMEOUT, self.finish_code[cell])
        self._set(r, row, np.minimum(np.minimum(self.finish[cell], deadline), NEVER), ANSWER, hop.index)

    def _hedge_answers(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """An attempt that was left running is answered first: that answer ends the request."""
        mother = self.parent[cell]
        parent = mother * self.replications + r
        code, endpoint = self.code[cell], hop.endpoint[cell]
        hop.hedges[:, parent] = np.where(hop.hedges[:, parent] == row, -1, hop.hedges[:, parent])
        others = (self.finish_code[parent] != NONE) | (hop.hedges[:, parent] >= 0).any(axis=0)
        wins = ~(hop.retriable[code - LOWEST] & others)  # a failure that would be retried waits for the others
        running = (hop.endpoint[parent] >= 0) & ~hop.waiting[parent]
        self._abandon(hop, r[wins], parent[wins], t[wins], running[wins])  # before its connection could be granted one freed here
        self._drop(hop, r, row, cell, t, code)
        r, mother, parent, code, endpoint, t = (a[wins] for a in (r, mother, parent, code, endpoint, t))
        hop.endpoint[parent] = endpoint
        self.server[parent] = np.where((code < 0) | (endpoint < 0), NOBODY, self._pod(hop, parent, endpoint))
        hop.endpoint[parent] = NOBODY
        self._end_hedges(hop, r, parent, t)
        self._final(hop, r, mother, parent, t, code)

    def _wait_for_hedges(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> tuple:
        """A failure with no retry left waits for the attempts still running; returns the requests that do not."""
        waits = hop.retriable[code - LOWEST] & (hop.hedges[:, cell] >= 0).any(axis=0)
        if waits.any():
            self._set(r[waits], row[waits], np.minimum(hop.deadline[cell[waits]], NEVER), ANSWER, hop.index)
            self.code[cell[waits]] = ROUTE_TIMEOUT
            self.finish_code[cell[waits]] = NONE  # nothing of its own is under way
        return tuple(a[~waits] for a in (r, row, cell, t, code))

    def _abandon(self, hop: Hop, r: np.ndarray, cell: np.ndarray, t: np.ndarray, running: np.ndarray) -> None:
        """Reset the attempt, wait or back-off that a request is in."""
        for upstream, at in self._by_upstream(hop, cell):
            cells, who = cell[at], r[at]
            upstream.retrying[who] -= hop.is_retry[cells]
            granted = hop.waiting[cells] & (self.calendar.kinds.ravel()[cells] == hop.index * KINDS + GRANTED)  # at this very moment
            freed = np.where(granted, hop.endpoint[cells], NOBODY)
            if (waits := (hop.waiting[cells] & ~granted).nonzero()[0]).size:
                self._stop_waiting(hop, upstream, who[waits], (cells // self.replications)[waits], cells[waits])
            if np.count_nonzero(granted):
                self._free_connection(hop, upstream, who, cells, t[at], freed, np.zeros(len(who), dtype=bool))
            ended = np.where(running[at], hop.endpoint[cells], NOBODY)
            self._release(hop, upstream, who, cells, t[at], np.full(len(who), PER_TRY_TIMEOUT), ended)
        hop.is_retry[cell], hop.waiting[cell] = False, False

    def _drop(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        """Free what a left-running attempt holds, report its answer, give back its row."""
        for upstream, at in self._by_upstream(hop, cell):
            ends = hop.endpoint[cell[at]]
            self._release(hop, upstream, r[at], cell[at], t[at], code[at], ends)
            answered = code[at] >= 0
            if answered.any():
                self._report(hop, upstream, r[at][answered], t[at][answered], code[at][answered], ends[answered])
        self._give_row(r, row)

    def _end_hedges(self, hop: Hop, r: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """The request has its answer: reset every attempt of it that is still running."""
        for attempt in range(hop.most_tries):
            row = hop.hedges[attempt, cell]
            held = (row >= 0).nonzero()[0]
            if held.size:
                who, rows = r[held], row[held]
                self._drop(hop, who, rows, rows * self.replications + who, t[held], np.full(held.size, PER_TRY_TIMEOUT))
                hop.hedges[attempt, cell[held]] = -1
