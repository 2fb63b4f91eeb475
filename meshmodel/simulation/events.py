"""The event loop: every replication's next event, all policies, in lock-step.

A request is a *row*; at any time it has one timer in the `Calendar`, of one of these kinds:

    ENTER    it reaches a route's proxy             -> fault, worker, destination, then PICK
    PICK     an attempt starts (first or retry)     -> endpoint, limits, dispatch
    GRANTED  a connection became free for it        -> dispatch
    ANSWER   its attempt is over (`code`)           -> ejection, retry, or the final answer
    OUTER    a proxy further out gave up on it      -> the inner call goes on without it
    HEDGE    the answer of an attempt that a hedging proxy left running

What happens to an attempt is known when it is dispatched (the pod's answer, its per-try
timeout or the route's, whichever comes first), so each attempt needs one timer.  A pod
with finite concurrency works first come first served and never cancels, so the finish of
a request is known on its arrival too: the Kiefer-Wolfowitz recursion.

Every step takes the earliest event of every replication and handles those of one kind
together, as arrays (n,) of replication `r`, `row`, flat index `cell` and time `t`.  Replications
do not see each other, so within a step the attempts that start come first, then those that are
sent, then those that are over: a request that a limit refuses is all three at once.

The loop stands on a ladder of files, each a subject: `hop` (a route), `rows` (the state), `attempts`
(PICK, GRANTED), `answers` (ANSWER), `abandoned` (OUTER, HEDGE), and here the start and the end of requests.

Reference: Kiefer and Wolfowitz, "On the theory of queues with many servers", Trans. AMS 78
(1955); the rules of each policy are in `meshmodel.rules` with their sources.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.results.replay import Ejections
from meshmodel.rules.balancing import NOBODY
from meshmodel.rules.retries import ABORTED, LOWEST
from meshmodel.scenario import ClosedLoop, Route, Scenario
from meshmodel.simulation.abandoned import Abandoned
from meshmodel.simulation.arrivals import Arrivals, pacing
from meshmodel.simulation.calendar import Calendar
from meshmodel.simulation.draws import Draws
from meshmodel.simulation.hop import (
    ANSWER,
    ARRIVAL,
    COUNTERS,
    ENTER,
    GRANTED,
    HEDGE,
    KINDS,
    OUTER,
    PICK,
    STATUS,
    TICK,
    Hop,
    NotModelled,
    drained,
)
from meshmodel.simulation.logwriter import LogWriter
from meshmodel.simulation.requestlog import NEVER


class EventLoop(Abandoned):
    """One block of `replications` runs of any scenario; `run()` returns log, attempts, counters and ejections."""

    def __init__(self, scenario: Scenario, replications: int, rng: np.random.Generator, expected: int = 256) -> None:
        self.scenario, self.replications = scenario, replications
        self.uniform = Draws(rng.random)
        self.overhead = Draws(lambda n: scenario.overhead.rvs(size=n, random_state=rng))
        chains = scenario.chains
        if len({len(chain) for chain in chains}) > 1:
            raise NotModelled("changes: the chain of calls must stay the same length")
        if any(len({route.retries.hedge_on_per_try_timeout for route in hop}) > 1 for hop in zip(*chains, strict=True)):
            raise NotModelled("changes: hedging cannot be switched on or off under load")
        self.hops = [Hop(i, [chain[i] for chain in chains], scenario.workers, replications, self.uniform) for i in range(len(chains[0]))]
        self.last = len(self.hops) - 1
        detectors = [d.cluster.outlier_detection for chain in chains for route in chain for d in route.destinations]
        self.splits_local_origin = any(each is not None and each.split_external_local_origin_errors for each in detectors)
        threads = scenario.workload.threads if isinstance(scenario.workload, ClosedLoop) else 0
        self.closed = threads > 0
        self._special_rows()
        rows = self.specials + max(8, threads)
        self.calendar = Calendar(rows, replications, len(self.hops) * KINDS)
        self._columns(self.calendar.rows)
        self._accept_connections()
        self.log = LogWriter(replications, max(256, expected))
        self.counters = {name: np.zeros(replications, dtype=np.int64) for name in COUNTERS}
        self.ejections: list[tuple] = []
        self.finished = np.zeros(replications, dtype=bool)
        self.has_outer = False  # can the first route's proxy give up while the inner call goes on?
        self._start(threads)

    def _start(self, threads: int) -> None:
        everyone = np.arange(self.replications)
        workload = self.scenario.workload
        if isinstance(workload, ClosedLoop):
            self.pacing = partial(pacing, workload)
            self.limits = np.zeros(self.allocated)
            for limit in workload.calls_per_thread:
                row = self._take_row(everyone)
                self.limits[row[0]] = limit
                self._set(everyone, row, np.zeros(self.replications), ENTER)
            self.outstanding = np.full(self.replications, threads)
        else:
            self.arrivals = Arrivals(workload, self.replications, self.uniform)
            first, more = self.arrivals.next(everyone)
            self.outstanding = more.astype(np.int64)  # the stream of arrivals counts as one
            self.calendar.set(np.zeros(self.replications, dtype=np.int64), everyone, first, ARRIVAL)

    def _configure(self, routes: tuple[Route, ...], now: float) -> None:
        everyone = np.arange(self.replications)
        for hop, route in zip(self.hops, routes, strict=True):
            had = [u.outlier_detection for u in hop.upstreams]
            hop.configure(route)
            for upstream, before in zip(hop.upstreams, had, strict=True):
                policy = upstream.outlier_detection
                if policy != before:
                    # The proxy started its interval timer long before the load: any phase is as likely.
                    phase = self.uniform(self.replications) if now == 0 else 1.0
                    upstream.first_tick = now + (policy.interval if policy else 0.0) * phase * np.ones(self.replications)
                    row = np.full(self.replications, self.row_of[id(upstream)])
                    self.calendar.set(row, everyone, np.full(self.replications, NEVER), TICK)
        # Once true always true: calls that an outer proxy gave up outlive a change of its timeout.
        self.has_outer = self.has_outer or any(h.route.timeout or h.route.retries.per_try_timeout for h in self.hops[:-1])
        if self.has_outer and self.last > 1:
            raise NotModelled("timeouts of a proxy that is more than one call away from the last")
        if self.has_outer and self.hops[-1].route.retries.hedge_on_per_try_timeout:
            raise NotModelled("hedging behind another proxy's timeout")
        for hop in self.hops[:-1]:
            if hop.free_at:
                raise NotModelled("meshmodel/concurrency of a pod that calls another")
            if hop.route.retries.hedge_on_per_try_timeout:
                raise NotModelled("hedging of a route whose pods call another")

    def run(self) -> tuple:
        """Run to the end; returns RequestLog, pod attempts, counters and `Ejections`."""
        times = [0.0, *(change.at for change in self.scenario.changes), NEVER / 2]
        for routes, now, until in zip(self.scenario.chains, times[:-1], times[1:], strict=True):
            self._configure(routes, now)
            while self._step(until):
                pass
        return self.log.finish(), self.hops[-1].pod_attempts, self.counters, self._ejections()

    def _step(self, until: float) -> bool:
        begin, r, row, cell, t = self.calendar.earliest(until, self.finished)
        if not r.size:
            return False
        for code in (begin[1:] > begin[:-1]).nonzero()[0]:
            which = slice(begin[code], begin[code + 1])
            self._handle(int(code), r[which], row[which], cell[which], t[which])
        for hop in self.hops:
            if hop.to_pick:
                self._pick(hop, *drained(hop.to_pick))
            if hop.to_send:
                self._send(hop, *drained(hop.to_send))
            if hop.to_answer:
                self._answer(hop, *drained(hop.to_answer))
        return True

    def _handle(self, code: int, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        index, kind = divmod(code, KINDS)
        hop = self.hops[index]
        if kind == ENTER:
            self._enter(hop, r, row, cell, t)
        elif kind == PICK:
            hop.to_pick.append((r, row, cell, t))
        elif kind == GRANTED:
            hop.to_send.append((r, row, cell, t))
        elif kind == ANSWER:
            hop.to_answer.append((r, row, cell, t, self.code[cell]))
        elif kind == OUTER:
            self._outer(r, row, cell, t)
        elif kind == HEDGE:
            self._hedge_answers(hop, r, row, cell, t)
        elif kind == ARRIVAL:
            self._arrive(r, t)
        else:
            self._health_timer(kind, r, row, t)

    def _arrive(self, r: np.ndarray, t: np.ndarray) -> None:
        """The open loop sends a request and knows when it sends the next."""
        row = self._take_row(r)
        self.outstanding[r] += 1
        following, more = self.arrivals.next(r)
        self.outstanding[r] -= ~more
        self.calendar.set(np.zeros(len(r), dtype=np.int64), r, following, ARRIVAL)
        self._enter(self.hops[0], r, row, row * self.replications + r, t)

    def _enter(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        route, n = hop.route, len(r)
        workers = self.scenario.workers if self.fresh_connections else 1
        u = self.uniform(n if workers > 1 else 0)
        if len(hop.upstreams) > 1:
            hop.upstream[cell] = self._destination(hop, cell, n)
        delay, aborted = self._fault(route, n)
        arrived, t = t, t if delay is None else t + delay
        _begin(self.records, hop.records, cell, arrived, t, route.timeout or np.inf, hop.index == 0, u, workers)
        if self.has_outer and hop.index == 0:
            hop.limit[cell] = np.inf
        if aborted is not None and aborted.any():
            self._set(r[aborted], row[aborted], t[aborted], ANSWER, hop.index)
            self.code[cell[aborted]] = ABORTED
            go = ~aborted
            r, row, cell, t = r[go], row[go], cell[go], t[go]
        if delay is not None:
            self._set(r, row, t, PICK, hop.index)
        else:
            hop.to_pick.append((r, row, cell, t))

    def _destination(self, hop: Hop, cell: np.ndarray, n: int) -> np.ndarray:
        """Which upstream: the caller's (the pod that the route before picked), and a weighted cluster."""
        caller, cluster = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if hop.index > 0 and len(hop.callers) > 1:
            outer = self.hops[hop.index - 1]
            pods = np.array([hop.callers.index(name) for name in outer.pod_names])
            caller = pods[self._pod(outer, cell, outer.endpoint[cell])]
        elif len(hop.callers) > 1:
            caller = (self.uniform(n) * len(hop.callers)).astype(np.int64)
        if len(hop.clusters) > 1:
            cluster = np.searchsorted(hop.weights, self.uniform(n) * hop.weights[-1], side="right")
        return caller * len(hop.clusters) + cluster

    def _fault(self, route: Route, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The fault filter comes before the router: its delay is outside the route's timeout."""
        fault = route.fault
        delay = fault.delay * (self.uniform(n) * 100 < fault.delay_percent) if fault.delay and fault.delay_percent else None
        aborted = self.uniform(n) * 100 < fault.abort_percent if fault.abort_code and fault.abort_percent else None
        return delay, aborted

    def _final(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        if not r.size:
            return
        status = STATUS.take(code - LOWEST)
        if np.count_nonzero(aborted := code == ABORTED):
            status[aborted] = hop.abort_code
        if hop.index == self.last:
            t = t + self.overhead(len(r))
        if hop.index == 0:
            self._complete(r, row, cell, t, status)
            return
        if self.has_outer and (lost := self.orphan[cell]).any():
            self.orphan[cell[lost]] = False
            self._give_row(r[lost], row[lost])
            r, row, cell, t, status = (a[~lost] for a in (r, row, cell, t, status))
        outer = self.hops[hop.index - 1]
        ok = status == 200
        done = np.where(ok, np.maximum(t, outer.began[cell] + outer.own[cell]), t)
        self.code[cell] = np.where(ok, 200, 500)
        self._set(r, row, done, ANSWER, outer.index)

    def _complete(self, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, status: np.ndarray) -> None:
        """The load generator has its answer: log it, and let it send the next."""
        calls = self.log.write(self.records, r, cell, t, status)
        if not self.closed:
            self._give_row(r, row)
            self._leave(r)
            return
        following = self.pacing(t, calls, self.limits.take(row))
        self._set(r, row, following, ENTER)
        if following.max() >= NEVER:
            self._leave(r[following >= NEVER])

    def _leave(self, r: np.ndarray) -> None:
        self.outstanding[r] -= 1
        self.finished[r] = self.outstanding[r] == 0

    def _ejections(self) -> Ejections:
        if not self.ejections:
            return Ejections()
        replication, time, pod, gone = (np.concatenate(column) for column in zip(*self.ejections, strict=True))
        order = np.lexsort((time, replication))
        return Ejections(replication[order], time[order], pod[order], gone[order])


@compiled
def _begin(records, hop_records, cell, arrived, t, timeout, first, u, workers):
    """A request that `arrived` at a route's proxy gets to its router at `t`."""
    for i in range(len(cell)):
        record = hop_records[cell[i]]
        record.tries, record.endpoint, record.deadline = 0, NOBODY, t[i] + timeout
        if workers > 1:
            record.worker = int(u[i] * workers)
        if first:
            records[cell[i]].start, records[cell[i]].attempts = arrived[i], 0
