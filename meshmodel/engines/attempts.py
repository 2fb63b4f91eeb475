"""An attempt in the event loop: the endpoint is picked, the circuit breakers asked, the request sent."""

from __future__ import annotations

import numpy as np

from meshmodel.engines.calendar import NEVER
from meshmodel.engines.hop import ANSWER, ENTER, NONE, Hop, take
from meshmodel.engines.rows import Rows
from meshmodel.engines.upstream import NOBODY, Upstream
from meshmodel.fakeservice import REFUSED
from meshmodel.policies.breakers import GO, WAIT
from meshmodel.policies.retries import NO_HEALTHY, OVERFLOW, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.scenario import UNLIMITED


class Attempts(Rows):
    """PICK and GRANTED events."""

    def _pick(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        outcome = np.zeros(len(r), dtype=np.int16)
        for upstream, _, at in self._by_upstream(hop, cell):
            outcome[at] = self._pick_endpoint(hop, upstream, r[at], row[at], cell[at])
        hop.tries[cell] += 1
        if not outcome.any():
            self._dispatch(hop, r, row, cell, t)
            return
        self._dispatch(hop, *take(np.flatnonzero(outcome == GO), r, row, cell, t))
        wait = np.flatnonzero(outcome == WAIT)
        self.code[cell[wait]] = ROUTE_TIMEOUT
        self._set(r[wait], row[wait], np.minimum(hop.deadline[cell[wait]], NEVER), ANSWER, hop.index)
        refused = outcome < 0
        if refused.any():
            hop.endpoint[cell[refused]] = NOBODY
            self._answer(hop, r[refused], row[refused], cell[refused], t[refused], outcome[refused])

    def _pick_endpoint(self, hop: Hop, upstream: Upstream, r: np.ndarray, row: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Choose an endpoint and ask the circuit breakers; GO, WAIT, or the negative outcome, (n,)."""
        worker, tries = hop.worker.take(cell), hop.tries.take(cell)
        again = np.flatnonzero(tries) if hop.remembers else np.zeros(0, dtype=np.int64)
        if again.size:
            endpoint = self._pick_again(hop, upstream, r, cell, worker, tries, again)
        else:
            endpoint = upstream.choose(r, worker)
        hop.endpoint[cell] = endpoint
        if hop.remembers:
            hop.tried.ravel()[tries.astype(np.int64) * hop.tried.shape[1] + cell] = endpoint
        outcome = np.where(endpoint >= 0, GO, NO_HEALTHY) if upstream.some_empty or not upstream.size else np.zeros(len(r), dtype=np.int64)
        pool = upstream.cluster.connection_pool
        if pool.max_requests < UNLIMITED:
            full = (outcome == GO) & (upstream.in_flight[r] >= pool.max_requests)
            outcome = np.where(full, OVERFLOW, outcome)
        if upstream.counts_connections:
            self._connect(hop, upstream, outcome, r, row, cell, worker, endpoint)
        if (overflowed := outcome == OVERFLOW).any():
            self._count(hop, "upstream_rq_pending_overflow", r[overflowed])
        return outcome

    def _pick_again(self, hop: Hop, upstream: Upstream, r: np.ndarray, cell: np.ndarray, worker: np.ndarray, tries: np.ndarray,
                    again: np.ndarray) -> np.ndarray:  # fmt: skip
        """As `Upstream.choose`, those in `again` being retries that avoid tried endpoints and levels."""
        policy = hop.route.retries
        depth = int(tries.max())
        tried = np.where(np.arange(depth)[:, None] < tries[again], hop.tried[:depth, cell[again]], NONE)
        excluded = everyone = None
        frequency = policy.previous_priorities_update_frequency
        if frequency and upstream.levels > 1 and depth >= frequency:
            excluded = self._excluded(frequency, upstream, tried, tries[again])
            everyone = np.zeros((upstream.levels, len(r)), dtype=bool)
            everyone[:, again] = excluded
        endpoint = upstream.choose(r, worker, everyone)
        if policy.previous_hosts:
            draws = policy.host_selection_retry_max_attempts
            endpoint[again] = upstream.choose_untried(endpoint[again], r[again], worker[again], tried, draws, excluded)
        return endpoint

    @staticmethod
    def _excluded(frequency: int, upstream: Upstream, tried: np.ndarray, tries: np.ndarray) -> np.ndarray:
        """Levels left out of a retry, (levels, n): those of the attempts before the last multiple of `frequency`."""
        considered = np.arange(len(tried))[:, None] < (tries - tries % frequency)
        level = np.where(considered & (tried >= 0), upstream.level_of[np.maximum(tried, 0)], -1)
        return np.stack([(level == k).any(axis=0) for k in range(upstream.levels)])

    def _connect(self, hop: Hop, upstream: Upstream, outcome: np.ndarray, r: np.ndarray, row: np.ndarray, cell: np.ndarray,
                 worker: np.ndarray, endpoint: np.ndarray) -> None:  # fmt: skip
        """Take a connection, or wait for one, where `outcome` is GO; changes `outcome` in place."""
        asks = np.flatnonzero(outcome == GO)
        pool = upstream.connections.pool_cell(worker[asks], endpoint[asks], r[asks])
        answer = upstream.connections.admit(upstream.limits, pool, r[asks])
        if not answer.any():
            return  # a connection for everybody
        waits = asks[answer == WAIT]
        upstream.connections.join(pool[answer == WAIT], r[waits], row[waits], self.behind)
        hop.waiting[cell[waits]] = True
        outcome[asks] = np.where(answer == GO, GO, np.where(answer == WAIT, WAIT, OVERFLOW))

    def _dispatch(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """Give the request to its endpoint: what becomes of the attempt is settled here."""
        if not r.size:
            return
        for upstream, _, at in self._by_upstream(hop, cell):
            upstream.active.ravel()[hop.endpoint[cell[at]] * self.replications + r[at]] += 1
            upstream.in_flight[r[at]] += 1
            if upstream.counts_connections:
                hop.waiting[cell[at]] = False
        pod = self._pod(hop, cell)
        seconds, code = self._serve(hop, pod, r, t)
        if self.splits_local_origin:
            self._connected(hop, r, cell, code)
        limit, timeout = self._limit(hop, cell, t)
        if hop.index < self.last:
            self._call_on(hop, r, row, cell, t, seconds, code, limit)
            return
        self.pod_attempts.ravel()[pod * self.replications + r] += 1
        self.attempts[cell] += 1
        finish = t + seconds
        if limit is not None:
            late = finish > limit
            if hop.route.retries.hedge_on_per_try_timeout:
                self.finish[cell], self.finish_code[cell] = finish, code
            code = np.where(late, timeout, code)
            finish = np.minimum(finish, limit)
        self.code[cell] = code
        self._set(r, row, np.minimum(finish, NEVER), ANSWER, hop.index)

    def _connected(self, hop: Hop, r: np.ndarray, cell: np.ndarray, code: np.ndarray) -> None:
        """Tell outlier detection of the connections that requests got, where it counts local-origin failures by themselves."""
        for upstream, _, at in self._by_upstream(hop, cell):
            policy = upstream.cluster.outlier_detection
            if policy is not None and policy.split_external_local_origin_errors:
                which = code[at] != REFUSED
                upstream.outlier.connected(hop.endpoint[cell[at]][which], r[at][which])

    def _serve(self, hop: Hop, pod: np.ndarray, r: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds until the pod's answer, its queue included, and the code, (n,)."""
        sampler, n = hop.sampler, len(r)
        number = None
        if sampler.needs_counter:
            place = pod * self.replications + r
            number = hop.pod_count.ravel()[place] + 1
            hop.pod_count.ravel()[place] = number
        u = self.uniform(n) if sampler.needs_timing_draw else None
        v = self.uniform(n) if sampler.needs_variance or sampler.needs_error_draw else None
        seconds, code = sampler.answers(pod, number, u, v)
        for index, free_at in hop.free_at.items():
            mine = np.flatnonzero((pod == index) & (code >= 0))
            who = r[mine]
            server = free_at[:, who].argmin(axis=0)
            done = np.maximum(t[mine], free_at[server, who]) + seconds[mine]
            free_at[server, who] = done
            seconds = seconds.copy()
            seconds[mine] = done - t[mine]
        return seconds, code

    def _limit(self, hop: Hop, cell: np.ndarray, t: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | int]:
        """When the attempt is given up, and the outcome then: the per-try or the route's timeout; None: never."""
        policy = hop.route.retries
        if policy.per_try_timeout is None:
            return (hop.deadline[cell], ROUTE_TIMEOUT) if hop.route.timeout else (None, 0)
        per_try = t + policy.per_try_timeout
        if policy.hedge_on_per_try_timeout:  # a hedging proxy lets the last attempt run on
            per_try = np.where(hop.tries[cell] > policy.attempts, np.inf, per_try)
        deadline = hop.deadline[cell]
        return np.minimum(per_try, deadline), np.where(per_try < deadline, PER_TRY_TIMEOUT, ROUTE_TIMEOUT)

    def _call_on(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, seconds: np.ndarray, code: np.ndarray,
                 limit: np.ndarray | None) -> None:  # fmt: skip
        """The pod calls the next service, unless it fails by itself."""
        hop.limit[cell] = np.inf if limit is None else limit
        hop.began[cell], hop.own[cell] = t, seconds
        calls = code == 200
        fails = ~calls
        if fails.any():
            self.code[cell[fails]] = code[fails]
            self.server[cell[fails]] = NOBODY
            self._set(r[fails], row[fails], np.minimum(t + seconds, NEVER)[fails], ANSWER, hop.index)
        following = self.hops[hop.index + 1]
        self._set(r[calls], row[calls], t[calls], ENTER, following.index)
