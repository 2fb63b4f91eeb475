"""An attempt in the event loop: the endpoint is picked, the circuit breakers asked, the request sent."""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.fakeservice import REFUSED
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.breakers import GO, WAIT
from meshmodel.rules.retries import NO_HEALTHY, OVERFLOW, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.simulation.hop import ANSWER, ENTER, Hop, take
from meshmodel.simulation.requestlog import NEVER
from meshmodel.simulation.rows import Rows
from meshmodel.simulation.upstream import Upstream


class Attempts(Rows):
    """PICK and GRANTED events."""

    def _pick(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        outcome = np.empty(len(r), dtype=np.int16)
        for upstream, at in self._by_upstream(hop, cell):
            outcome[at] = self._pick_endpoint(hop, upstream, r[at], row[at], cell[at])
        if not np.count_nonzero(outcome):
            hop.to_send.append((r, row, cell, t))
            return
        if (go := (outcome == GO).nonzero()[0]).size:
            hop.to_send.append(take(go, r, row, cell, t))
        if outcome.max() == WAIT:
            who, rows, cells = take((outcome == WAIT).nonzero()[0], r, row, cell)
            hop.waiting[cells] = True
            self.code[cells] = ROUTE_TIMEOUT
            self._set(who, rows, np.minimum(hop.deadline[cells], NEVER), ANSWER, hop.index)
        if outcome.min() < 0:
            refused = take((outcome < 0).nonzero()[0], r, row, cell, t, outcome)
            hop.endpoint[refused[2]] = NOBODY
            hop.to_answer.append(refused)
            self._count(hop, "upstream_rq_pending_overflow", r[outcome == OVERFLOW])

    def _pick_endpoint(self, hop: Hop, upstream: Upstream, r: np.ndarray, row: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Choose an endpoint and ask the circuit breakers; GO, WAIT, or the negative outcome, (n,)."""
        worker, tries = hop.worker[cell], hop.tries[cell]
        endpoint = upstream.choose(r, worker, hop.tried, cell, tries, hop.frequency, hop.draws)
        pool = upstream.cluster.connection_pool
        outcome = _note_pick(hop.records, hop.tried, upstream.in_flight, pool.max_requests, endpoint, r, cell)
        if upstream.counts_connections:
            upstream.connections.admit(upstream.limits, worker, endpoint, r, row, self.behind, outcome)
        return outcome

    def _send(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """Give the request to its endpoint: what becomes of the attempt is settled here."""
        pod, number = np.empty(len(r), dtype=np.int64), np.empty(len(r), dtype=np.int64)
        for upstream, at in self._by_upstream(hop, cell):
            counts = upstream.active, upstream.in_flight, hop.pod_requests, hop.pod_attempts
            pod[at], number[at] = _sent(hop.records, hop.pods, *counts, r[at], cell[at])
        seconds, code = self._serve(hop, pod, number, r, t)
        if self.splits_local_origin:
            self._connected(hop, r, cell, code)
        policy = hop.route.retries
        per_try = np.inf if policy.per_try_timeout is None else policy.per_try_timeout
        limits = per_try, policy.hedge_on_per_try_timeout, policy.attempts
        if hop.index < self.last:
            self._call_on(hop, r, row, cell, t, seconds, code, _limits(hop.records, cell, t, *limits))
        else:
            if policy.hedge_on_per_try_timeout:
                self.finish[cell], self.finish_code[cell] = t + seconds, code
            self._set(r, row, _await(self.records, hop.records, cell, t, seconds, code, *limits), ANSWER, hop.index)

    def _connected(self, hop: Hop, r: np.ndarray, cell: np.ndarray, code: np.ndarray) -> None:
        """Tell outlier detection of the connections that requests got, where it counts local-origin failures by themselves."""
        for upstream, at in self._by_upstream(hop, cell):
            policy = upstream.outlier_detection
            if policy is not None and policy.split_external_local_origin_errors:
                which = code[at] != REFUSED
                upstream.outlier.connected(hop.endpoint[cell[at]][which], r[at][which])

    def _serve(self, hop: Hop, pod: np.ndarray, number: np.ndarray, r: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds until the pod's answer, its queue included, and the code, (n,)."""
        sampler, n = hop.sampler, len(r)
        u = self.uniform(n) if sampler.needs_timing_draw else None
        v = self.uniform(n) if sampler.needs_variance or sampler.needs_error_draw else None
        seconds, code = sampler.answers(pod, number, u, v)
        for index, free_at in hop.free_at.items():
            mine = ((pod == index) & (code >= 0)).nonzero()[0]
            who = r[mine]
            server = free_at[:, who].argmin(axis=0)
            done = np.maximum(t[mine], free_at[server, who]) + seconds[mine]
            free_at[server, who] = done
            seconds = seconds.copy()
            seconds[mine] = done - t[mine]
        return seconds, code

    def _call_on(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, seconds: np.ndarray, code: np.ndarray,
                 limit: np.ndarray) -> None:  # fmt: skip
        """The pod calls the next service, unless it fails by itself."""
        hop.limit[cell] = limit
        hop.began[cell], hop.own[cell] = t, seconds
        calls = code == 200
        fails = ~calls
        if fails.any():
            self.code[cell[fails]] = code[fails]
            self.server[cell[fails]] = NOBODY
            self._set(r[fails], row[fails], np.minimum(t + seconds, NEVER)[fails], ANSWER, hop.index)
        following = self.hops[hop.index + 1]
        self._set(r[calls], row[calls], t[calls], ENTER, following.index)


@compiled
def _note_pick(records, tried, in_flight, max_requests, endpoint, r, cell):
    """Write down the endpoint of each new attempt; GO, or why it cannot be sent, (n,)."""
    outcome = np.zeros(len(r), np.int16)
    for i in range(len(r)):
        record = records[cell[i]]
        record.endpoint = endpoint[i]
        tried[record.tries, cell[i]] = endpoint[i]
        record.tries += 1
        if endpoint[i] < 0:
            outcome[i] = NO_HEALTHY
        elif in_flight[r[i]] >= max_requests:
            outcome[i] = OVERFLOW
    return outcome


@compiled
def _sent(records, pods, active, in_flight, pod_requests, pod_attempts, r, cell):
    """Count the attempts as under way; returns their pods, and the how-manieth request of its pod each is, (n,)."""
    pod, number = np.empty(len(r), np.int64), np.empty(len(r), np.int64)
    for i in range(len(r)):
        record = records[cell[i]]
        record.waiting = False
        active[record.endpoint, r[i]] += 1
        in_flight[r[i]] += 1
        pod[i] = pods[record.upstream, record.endpoint]
        pod_attempts[pod[i], r[i]] += 1
        pod_requests[pod[i], r[i]] += 1
        number[i] = pod_requests[pod[i], r[i]]
    return pod, number


@compiled
def _limit(record, t, per_try_timeout, hedges, attempts):
    """When the attempt is given up (inf: never), and the outcome then: the per-try or the route's timeout."""
    if t + per_try_timeout < record.deadline and not (hedges and record.tries > attempts):  # a hedging proxy lets the last attempt run on
        return t + per_try_timeout, PER_TRY_TIMEOUT
    return record.deadline, ROUTE_TIMEOUT


@compiled
def _limits(records, cell, t, per_try_timeout, hedges, attempts):
    limit = np.empty(len(cell))
    for i in range(len(cell)):
        limit[i], _ = _limit(records[cell[i]], t[i], per_try_timeout, hedges, attempts)
    return limit


@compiled
def _await(records, hop_records, cell, t, seconds, code, per_try_timeout, hedges, attempts):
    """Note what the attempt comes to; returns when, (n,)."""
    when = np.empty(len(cell))
    for i in range(len(cell)):
        record = records[cell[i]]
        limit, timeout = _limit(hop_records[cell[i]], t[i], per_try_timeout, hedges, attempts)
        record.attempts += 1
        record.code = timeout if t[i] + seconds[i] > limit else code[i]
        when[i] = min(t[i] + seconds[i], limit, NEVER)
    return when
