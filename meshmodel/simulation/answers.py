"""The end of an attempt in the event loop: what it held is freed, outlier detection told, a retry scheduled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.rules import retries
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.retries import LOWEST, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.simulation.attempts import Attempts
from meshmodel.simulation.hop import ANSWER, FLUSH, GRANTED, PICK, STATUS, TICK, Hop, take
from meshmodel.simulation.requestlog import NEVER
from meshmodel.simulation.upstream import Upstream


class Answers(Attempts):
    """ANSWER events, and those of outlier detection (TICK, FLUSH)."""

    # What classes further up the ladder add:
    _final: Callable[..., None]
    _hedge: Callable[..., None]
    _run_on: Callable[..., None]
    _wait_for_hedges: Callable[..., tuple]
    _end_hedges: Callable[..., None]

    def _answer(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        policy = hop.route.retries
        hedging = policy.hedge_on_per_try_timeout
        softly = (code == PER_TRY_TIMEOUT) & (hop.tries[cell] <= policy.attempts) if hedging else np.zeros(len(r), dtype=bool)
        in_flight = self._total_active(hop, r, cell) if hop.has_retry_budget else r  # without a budget nobody asks
        wished = self._settle(hop, r, row, cell, t, code, softly)
        if np.count_nonzero(wished):
            again = self._retry(hop, r, row, cell, t, wished, in_flight, softly)
            r, row, cell, t, code = take((~again).nonzero()[0], r, row, cell, t, code)
        if hedging:
            r, row, cell, t, code = self._wait_for_hedges(hop, r, row, cell, t, code)
            self._end_hedges(hop, r, cell, t)
        self._final(hop, r, row, cell, t, code)

    def _total_active(self, hop: Hop, r: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Requests in flight or waiting in the row's upstream, the one just answered included, (n,)."""
        total = np.zeros(len(r), dtype=np.int64)
        for upstream, at in self._by_upstream(hop, cell):
            total[at] = upstream.in_flight[r[at]] + upstream.connections.waiting[r[at]]
        return total

    def _settle(
        self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray, softly: np.ndarray
    ) -> np.ndarray:
        """Free what the attempts held and report them to outlier detection; which outcomes are to be tried again?  (n,)"""
        by_proxy = code.min() < 0  # else every row is a pod's answer to an attempt in flight
        wished = np.empty(len(r), dtype=bool)
        for upstream, at in self._by_upstream(hop, cell):
            who, cells, codes = r[at], cell[at], code[at]
            if by_proxy and upstream.counts_connections and (gone := hop.waiting[cells].nonzero()[0]).size:
                self._stop_waiting(hop, upstream, who[gone], row[at][gone], cells[gone])
            tables = hop.pods, hop.index == self.last, hop.retriable, hop.route.retries.attempts
            sent, held, wished[at] = _end(self.records, hop.records, upstream.retrying, *tables, who, cells, codes, softly[at])
            self._release(hop, upstream, who, cells, t[at], codes, held)
            self._report(hop, upstream, who, t[at], codes, sent)
        if by_proxy:
            self._count(hop, "upstream_rq_timeout", r[code == ROUTE_TIMEOUT])
            self._count(hop, "upstream_rq_per_try_timeout", r[(code == PER_TRY_TIMEOUT) & ~softly])
        return wished

    def _stop_waiting(self, hop: Hop, upstream: Upstream, r: np.ndarray, row: np.ndarray, cell: np.ndarray) -> None:
        """The requests leave the lists of those who wait for a connection."""
        upstream.connections.leave(hop.worker[cell], hop.endpoint[cell], r, row, self.behind)
        hop.waiting[cell] = False
        hop.endpoint[cell] = NOBODY

    def _release(
        self, hop: Hop, upstream: Upstream, r: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray, endpoint: np.ndarray
    ) -> None:
        """The attempts at `endpoint` (n,), `NOBODY` left out, are over; an attempt given up closes its HTTP/1.1 connection."""
        _release(upstream.active, upstream.in_flight, r, endpoint)
        if upstream.counts_connections:
            self._free_connection(hop, upstream, r, cell, t, endpoint, code < 0)

    def _free_connection(
        self, hop: Hop, upstream: Upstream, r: np.ndarray, cell: np.ndarray, t: np.ndarray, endpoint: np.ndarray, closes: np.ndarray
    ) -> None:
        """Each row's connection goes to whoever waits first, if anybody does."""
        waiting = upstream.connections.release(upstream.limits, hop.worker[cell], endpoint, r, closes, self.behind)
        if waiting.max(initial=-1) >= 0:
            granted = (waiting >= 0).nonzero()[0]
            self._set(r[granted], waiting[granted], t[granted], GRANTED, hop.index)

    def _report(self, hop: Hop, upstream: Upstream, r: np.ndarray, t: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        """Tell outlier detection, if there is any, of the answers of `endpoint` (n,), `NOBODY`'s left out."""
        policy = upstream.outlier_detection
        if policy is None:
            return
        out = upstream.outlier.report(policy, upstream.size, endpoint, r, STATUS.take(code - LOWEST), code < 0, t)
        if np.count_nonzero(out):
            self._count(hop, "outlier_detection.ejections_enforced_total", r[out])
            row = np.full(np.count_nonzero(out), self.row_of[id(upstream)])
            self.calendar.set(row, r[out], upstream.next_tick(r[out], t[out]), TICK)
            self._health_changed(hop, upstream, r[out], endpoint[out], t[out], gone=True)

    def _health_changed(self, hop: Hop, upstream: Upstream, r: np.ndarray, endpoint: np.ndarray, t: np.ndarray, gone: bool) -> None:
        if hop.index == self.last:
            pods = hop.pods[hop.upstreams.index(upstream)]
            self.ejections.append((r, t, pods[endpoint], np.full(len(r), gone)))
        told_at = upstream.changed(endpoint, r, t)
        later = np.isfinite(told_at)
        row = self.row_of[id(upstream)] + 1
        self.calendar.set(np.full(later.sum(), row), r[later], told_at[later], FLUSH)

    def _health_timer(self, kind: int, r: np.ndarray, row: np.ndarray, t: np.ndarray) -> None:
        """The interval tick, or the end of a merge window, of some upstreams."""
        for which in np.unique(row):
            hop, upstream = self.owner[which]
            at = row == which
            who, now = r[at], t[at]
            if kind == FLUSH:
                following = upstream.flush(who, now)
                self.calendar.set(row[at], who, np.minimum(following, NEVER), FLUSH)
                continue
            assert upstream.outlier_detection is not None  # else it has no ticks
            back = upstream.outlier.tick(upstream.outlier_detection, who, now)
            self.calendar.set(row[at], who, np.where(upstream.idle(who), NEVER, upstream.next_tick(who, now)), TICK)
            for endpoint, column in enumerate(back):
                if not column.any():
                    continue
                upstream.outlier.readmit(endpoint, who[column])
                self._health_changed(hop, upstream, who[column], np.full(column.sum(), endpoint), now[column], gone=False)

    def _retry(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, wished: np.ndarray,
               in_flight: np.ndarray, softly: np.ndarray) -> np.ndarray:  # fmt: skip
        """Schedule those of the `wished` retries that the limits allow; returns whose request goes on, (n,)."""
        again = np.empty(len(r), dtype=bool)
        for upstream, at in self._by_upstream(hop, cell):
            most = retries.most_at_once(upstream.cluster.connection_pool, in_flight[at])
            again[at] = _start_retries(hop.records, upstream.retrying, most, r[at], cell[at], wished[at])
        goes = again.nonzero()[0]
        who, rows, cells, now = take(goes, r, row, cell, t)
        self._count(hop, "upstream_rq_retry", who)
        if hop.route.retries.hedge_on_per_try_timeout and (soft := softly[goes]).any():
            self._hedge(hop, who[soft], rows[soft], cells[soft])
        when, late = _back_off(self.records, hop.records, cells, now, hop.longest_backoff, self.uniform(len(goes)))
        self._set(who, rows, when, PICK, hop.index)
        if late.size:
            self._set(who[late], rows[late], when[late], ANSWER, hop.index)
        if goes.size < np.count_nonzero(wished):
            refused = wished & ~again
            self._count(hop, "upstream_rq_retry_overflow", r[refused])
            self._run_on(hop, *take((refused & softly).nonzero()[0], r, row, cell))
            again |= refused & softly
        return again


@compiled
def _end(records, hop_records, retrying, pods, last, retriable, attempts, r, cell, code, softly):
    """Attempts are over: returns their endpoints, those among them that held something, and which are to be tried again, (n,) each.

    Remembers whose answer each is, `NOBODY` when the proxy made it.
    """
    sent, held, wished = np.empty(len(r), np.int64), np.empty(len(r), np.int64), np.empty(len(r), np.bool_)
    for i in range(len(r)):
        record = hop_records[cell[i]]
        sent[i], held[i] = record.endpoint, NOBODY if softly[i] else record.endpoint
        wished[i] = (retriable[code[i] - LOWEST] or softly[i]) and record.tries <= attempts
        retrying[r[i]] -= record.is_retry
        if code[i] < 0 or sent[i] < 0:
            records[cell[i]].server = NOBODY
        elif last:
            records[cell[i]].server = pods[record.upstream, sent[i]]
        record.is_retry, record.endpoint = False, NOBODY
    return sent, held, wished


@compiled
def _release(active, in_flight, r, endpoint):
    for i in range(len(r)):
        if endpoint[i] >= 0:
            active[endpoint[i], r[i]] -= 1
            in_flight[r[i]] -= 1


@compiled
def _start_retries(records, retrying, most, r, cell, wished):
    """Which of the `wished` retries are allowed where `most` (n,), or (1,), may be under way at once; these now are, (n,)."""
    allowed = np.zeros(len(r), np.bool_)
    for i in range(len(r)):
        if wished[i] and retrying[r[i]] < most[min(i, len(most) - 1)]:
            allowed[i] = records[cell[i]].is_retry = True
            retrying[r[i]] += 1
    return allowed


@compiled
def _back_off(records, hop_records, cell, t, longest, u):
    """When each retry starts, (n,), or at which deadline its request has failed by then; and which ones those are."""
    when, late = np.empty(len(cell)), np.zeros(len(cell), np.bool_)
    for i in range(len(cell)):
        record = hop_records[cell[i]]
        when[i] = t[i] + u[i] * longest[record.tries]
        if when[i] >= record.deadline:
            when[i], late[i] = record.deadline, True
            records[cell[i]].code = ROUTE_TIMEOUT
    return when, late.nonzero()[0]
