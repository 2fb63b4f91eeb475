"""The end of an attempt in the event loop: what it held is freed, outlier detection told, a retry scheduled."""

from __future__ import annotations

import numpy as np

from meshmodel.engines.attempts import Attempts
from meshmodel.engines.calendar import NEVER
from meshmodel.engines.hop import ANSWER, FLUSH, GRANTED, PICK, STATUS, Hop, take
from meshmodel.engines.upstream import NOBODY, Upstream
from meshmodel.policies import retries
from meshmodel.policies.retries import LOWEST, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.scenario import UNLIMITED


class Answers(Attempts):
    """ANSWER events, and those of outlier detection (TICK, FLUSH)."""

    def _answer(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        if not r.size:
            return
        policy = hop.route.retries
        in_flight = self._total_active(hop, r, cell) if policy.attempts else None
        hedging = policy.hedge_on_per_try_timeout
        softly = (code == PER_TRY_TIMEOUT) & (hop.tries[cell] <= policy.attempts) if hedging else np.zeros(len(r), dtype=bool)
        self._settle(hop, r, row, cell, t, code, softly)
        if policy.attempts:
            again = hop.retriable.take(code - LOWEST)
            if hedging:
                again |= softly
            again &= hop.tries.take(cell) <= policy.attempts
            if again.any():
                again = self._retry(hop, r, row, cell, t, again, in_flight, softly)
                r, row, cell, t, code = take(np.flatnonzero(~again), r, row, cell, t, code)
        if hedging:
            r, row, cell, t, code = self._wait_for_hedges(hop, r, row, cell, t, code)
            self._end_hedges(hop, r, cell, t)
        self._final(hop, r, row, cell, t, code)

    def _total_active(self, hop: Hop, r: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Requests in flight or waiting in the row's upstream, the one just answered included, (n,)."""
        total = np.zeros(len(r), dtype=np.int64)
        for upstream, _, at in self._by_upstream(hop, cell):
            total[at] = upstream.in_flight[r[at]] + upstream.connections.waiting[r[at]]
        return total

    def _settle(
        self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray, softly: np.ndarray
    ) -> None:
        """Free what the attempt held and report it to outlier detection."""
        endpoint = hop.endpoint.take(cell)
        by_proxy = bool((code < 0).any())  # else every row is a pod's answer to an attempt in flight
        retries_ever = hop.most_tries > 1  # a change may have taken the policy away from those under way
        if retries_ever:
            was_retry = hop.is_retry.take(cell)
            hop.is_retry[cell] = False
        for upstream, _, at in self._by_upstream(hop, cell):
            rows, cells, who, ends, codes = row[at], cell[at], r[at], endpoint[at], code[at]
            if retries_ever:
                upstream.retrying[who] -= was_retry[at]
            if by_proxy and upstream.counts_connections and hop.waiting[cells].any():
                gone = hop.waiting[cells]
                pool = upstream.connections.pool_cell(hop.worker[cells][gone], ends[gone], who[gone])
                upstream.connections.leave(pool, who[gone], rows[gone], self.behind)
                hop.waiting[cells[gone]] = False
                ends = np.where(gone, NOBODY, ends)
            sent = np.flatnonzero(ends >= 0) if by_proxy else slice(None)
            self._release(hop, upstream, who, cells, t[at], codes, ends, sent[~softly[at][sent]] if by_proxy else sent)
            if upstream.cluster.outlier_detection is not None:
                self._report(hop, upstream, who[sent], t[at][sent], codes[sent], ends[sent])
        self._who_answered(hop, cell, endpoint, code)
        hop.endpoint[cell] = NOBODY
        if by_proxy:
            self._count(hop, "upstream_rq_timeout", r[code == ROUTE_TIMEOUT])
            self._count(hop, "upstream_rq_per_try_timeout", r[(code == PER_TRY_TIMEOUT) & ~softly])

    def _who_answered(self, hop: Hop, cell: np.ndarray, endpoint: np.ndarray, code: np.ndarray) -> None:
        """Remember the pod whose answer this is, NOBODY when the proxy made it."""
        if hop.index < self.last:
            proxy = code < 0
            self.server[cell[proxy]] = NOBODY
            return
        pod = self._pod_of(hop, cell, np.maximum(endpoint, 0)) if hop.pod_names else NOBODY
        self.server[cell] = np.where((code >= 0) & (endpoint >= 0), pod, NOBODY)

    def _release(self, hop: Hop, upstream: Upstream, r: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray, endpoint: np.ndarray,
                 which: np.ndarray) -> None:  # fmt: skip
        who, ends = r[which], endpoint[which]
        upstream.active.ravel()[ends * self.replications + who] -= 1
        upstream.in_flight[who] -= 1
        if upstream.counts_connections:
            # An attempt given up closes its HTTP/1.1 connection.
            self._free_connection(hop, upstream, who, cell[which], t[which], ends, code[which] < 0)

    def _free_connection(
        self, hop: Hop, upstream: Upstream, r: np.ndarray, cell: np.ndarray, t: np.ndarray, endpoint: np.ndarray, closes: np.ndarray
    ) -> None:
        """Each row's connection goes to whoever waits first, if anybody does."""
        pool = upstream.connections.pool_cell(hop.worker[cell], endpoint, r)
        waiting = upstream.connections.release(upstream.limits, pool, r, closes, self.behind)
        if (granted := waiting >= 0).any():
            self._set(r[granted], waiting[granted], t[granted], GRANTED, hop.index)

    def _report(self, hop: Hop, upstream: Upstream, r: np.ndarray, t: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        policy = upstream.cluster.outlier_detection
        out = upstream.outlier.report(policy, upstream.size, endpoint, r, STATUS.take(code - LOWEST), code < 0, t)
        if out.any():
            self._count(hop, "outlier_detection.ejections_enforced_total", r[out])
            row = np.full(out.sum(), self.row_of[id(upstream)])
            self.calendar.set(row, r[out], upstream.next_tick(r[out], t[out]))
            self._health_changed(hop, upstream, r[out], endpoint[out], t[out], gone=True)

    def _health_changed(self, hop: Hop, upstream: Upstream, r: np.ndarray, endpoint: np.ndarray, t: np.ndarray, gone: bool) -> None:
        if hop.index == self.last:
            pods = hop.pods[hop.upstreams.index(upstream)]
            self.ejections.append((r, t, pods[endpoint], np.full(len(r), gone)))
        told_at = upstream.changed(endpoint, r, t)
        later = np.isfinite(told_at)
        row = self.row_of[id(upstream)] + 1
        self.calendar.set(np.full(later.sum(), row), r[later], told_at[later])

    def _health_timer(self, kind: int, r: np.ndarray, row: np.ndarray, t: np.ndarray) -> None:
        """The interval tick, or the end of a merge window, of some upstreams."""
        for which in np.unique(row):
            hop, upstream = self.owner[which]
            at = row == which
            who, now = r[at], t[at]
            if kind == FLUSH:
                following = upstream.flush(who, now)
                self.calendar.set(row[at], who, np.minimum(following, NEVER))
                continue
            policy = upstream.cluster.outlier_detection
            back = upstream.outlier.tick(policy, who, now)
            self.calendar.set(row[at], who, np.where(upstream.idle(who), NEVER, upstream.next_tick(who, now)))
            for endpoint in np.flatnonzero(back.any(axis=1)):
                column = back[endpoint]
                upstream.outlier.readmit(endpoint, who[column])
                self._health_changed(hop, upstream, who[column], np.full(column.sum(), endpoint), now[column], gone=False)

    def _retry(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, again: np.ndarray, in_flight: np.ndarray,
               softly: np.ndarray) -> np.ndarray:  # fmt: skip
        """Schedule the retries that the limits allow; returns whose request goes on, (n,)."""
        policy, wished = hop.route.retries, again.copy()
        for upstream, _, at in self._by_upstream(hop, cell):
            pool = upstream.cluster.connection_pool
            if pool.max_retries < UNLIMITED or pool.retry_budget is not None:
                allowed = retries.retries_allowed(pool, upstream.retrying[r[at]], in_flight[at])
                self._count(hop, "upstream_rq_retry_overflow", r[at][again[at] & ~allowed])
                again[at] &= allowed
            upstream.retrying[r[at]] += again[at]
        goes = np.flatnonzero(again)
        who, rows, cells, now = take(goes, r, row, cell, t)
        self._count(hop, "upstream_rq_retry", who)
        hop.is_retry[cells] = True
        if policy.hedge_on_per_try_timeout and (soft := softly[goes]).any():
            self._hedge(hop, who[soft], rows[soft], cells[soft])
        at = now + retries.backoff(policy, hop.tries.take(cells).astype(float), self.uniform(len(who)))
        self._set(who, rows, at, PICK, hop.index)
        if hop.route.timeout and (late := at >= (deadline := hop.deadline.take(cells))).any():
            self.code[cells[late]] = ROUTE_TIMEOUT
            self._set(who[late], rows[late], deadline[late], ANSWER, hop.index)
        if (refused := softly & wished & ~again).any():
            self._run_on(hop, r[refused], row[refused], cell[refused])
        return again | refused
