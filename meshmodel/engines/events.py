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
together, as arrays (n,) of replication `r`, `row`, flat index `cell` and time `t`.

Reference: Kiefer and Wolfowitz, "On the theory of queues with many servers", Trans. AMS 78
(1955); the rules of each policy are in `meshmodel.policies` with their sources.
"""

from __future__ import annotations

import itertools

import numpy as np

from meshmodel.engines.arrivals import Arrivals, pacing
from meshmodel.engines.calendar import NEVER, ROUNDING, Calendar
from meshmodel.engines.requestlog import LogWriter
from meshmodel.engines.upstream import NOBODY, Upstream
from meshmodel.fakeservice import REFUSED, Sampler
from meshmodel.policies import breakers, retries
from meshmodel.policies.breakers import GO, WAIT
from meshmodel.policies.retries import ABORTED, LOWEST, NO_HEALTHY, OVERFLOW, PER_TRY_TIMEOUT, ROUTE_TIMEOUT
from meshmodel.replay import Ejections
from meshmodel.scenario import UNLIMITED, ClosedLoop, Route, Scenario

ENTER, PICK, GRANTED, ANSWER, OUTER, HEDGE, ARRIVAL, TICK, FLUSH = range(9)
KINDS = 9
NONE = np.iinfo(np.int16).min

COUNTERS = (
    "upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_timeout", "upstream_rq_per_try_timeout",
    "upstream_rq_pending_overflow", "outlier_detection.ejections_enforced_total",
)  # fmt: skip
STATUS = retries.statuses()


class NotModelled(ValueError):
    """A combination that the Monte-Carlo engine does not cover; the message says which."""


class Draws:
    """Random numbers drawn in large blocks and handed out in order."""

    def __init__(self, draw, block: int = 1 << 16) -> None:  # noqa: ANN001
        self.draw, self.block = draw, block
        self.left = np.zeros(0)
        self.position = 0

    def __call__(self, n: int) -> np.ndarray:
        if self.position + n > len(self.left):
            self.left, self.position = self.draw(max(n, self.block)), 0
        self.position += n
        return self.left[self.position - n : self.position]


def _take(which: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The elements `which` of each array; much cheaper than a boolean mask."""
    return tuple(array.take(which) for array in arrays)


class Hop:
    """One route: its upstreams (a cluster in a caller's proxy each), and its columns of the rows."""

    COLUMNS = {
        "tries": (np.int16, 0), "deadline": (float, np.inf), "limit": (float, np.inf), "upstream": (np.int16, 0),
        "endpoint": (np.int64, NOBODY), "worker": (np.int64, 0), "is_retry": (bool, False), "waiting": (bool, False),
        "began": (float, 0.0), "own": (float, 0.0), "caller": (np.int16, 0),
    }  # fmt: skip

    def __init__(self, index: int, routes: list[Route], workers: int, replications: int, uniform: Draws) -> None:
        self.index, self.replications = index, replications
        names = list(dict.fromkeys(d.cluster.name for route in routes for d in route.destinations))
        self.pod_names = list(dict.fromkeys(e.name for route in routes for e in route.endpoints))
        self.callers = list(dict.fromkeys(c.name for route in routes for c in route.callers))
        everyone = {
            n: tuple({e.name: e for r in routes for d in r.destinations if d.cluster.name == n for e in d.cluster.endpoints}.values())
            for n in names
        }
        self.clusters = names
        self.upstreams = [Upstream(everyone[name], 0, workers, replications, uniform) for _ in self.callers for name in names]
        for upstream, name in zip(self.upstreams, names * len(self.callers), strict=True):
            clusters = [d.cluster for route in routes for d in route.destinations if d.cluster.name == name]
            upstream.counts_connections = any(breakers.limits_connections(cluster.connection_pool) for cluster in clusters)
        self.pods = [np.array([self.pod_names.index(e.name) for e in u.endpoints], dtype=np.int64) for u in self.upstreams]
        self.behaviours = {e.name: e.behaviour for route in routes for e in route.endpoints}
        self.abort_code = 0
        self.pod_count = np.zeros((len(self.pod_names), replications), dtype=np.int64)
        self.most_tries = 1 + max(route.retries.attempts for route in routes)
        self.tried: np.ndarray | None = None

    def configure(self, route: Route) -> None:
        """Take over the policies and pods of `route` (at the start, or at a change)."""
        self.route = route
        self.abort_code = route.fault.abort_code or self.abort_code  # some of before a change may still be delayed
        endpoints = {e.name: e for e in route.endpoints}
        self.behaviours = self.behaviours | {name: e.behaviour for name, e in endpoints.items()}
        self.sampler = Sampler([self.behaviours[name] for name in self.pod_names])
        by_name = {d.cluster.name: d.cluster for d in route.destinations}
        for (_caller, name), upstream in zip(itertools.product(self.callers, self.clusters), self.upstreams, strict=True):
            if name in by_name:
                upstream.caller = [c.name for c in route.callers].index(_caller) if _caller in [c.name for c in route.callers] else 0
                upstream.configure(by_name[name])
        self.weights = np.cumsum(
            [dict(zip(by_name, (d.weight for d in route.destinations), strict=True)).get(name, 0) for name in self.clusters], dtype=float
        )
        self.retriable = retries.retriable(route.retries)
        self._servers()

    def _servers(self) -> None:
        """When each of a pod's workers is free, for pods with finite concurrency."""
        limits = [self.behaviours[name].concurrency for name in self.pod_names]
        before = getattr(self, "free_at", {})
        self.free_at = {pod: before.get(pod, np.zeros((n, self.replications))) for pod, n in enumerate(limits) if n is not None}
        for pod, free in self.free_at.items():
            if free.shape[0] != limits[pod]:
                kept = np.sort(free, axis=0)[: limits[pod]]
                self.free_at[pod] = np.concatenate((kept, np.zeros((limits[pod] - len(kept), self.replications))))

    @property
    def remembers(self) -> bool:
        """Must the endpoints that a request has tried be kept?"""
        policy = self.route.retries
        reads = policy.previous_hosts or policy.previous_priorities_update_frequency > 0 or policy.hedge_on_per_try_timeout
        return policy.attempts > 0 and reads


class EventLoop:
    """One block of `replications` runs of any scenario; `run()` returns log, attempts, counters and ejections."""

    def __init__(self, scenario: Scenario, replications: int, rng: np.random.Generator, expected: int = 256) -> None:
        self.scenario, self.replications = scenario, replications
        self.uniform = Draws(rng.random)
        self.overhead = Draws(lambda n: scenario.overhead.rvs(size=n, random_state=rng))
        chains = [scenario.routes, *(change.routes for change in scenario.changes)]
        if len({len(chain) for chain in chains}) > 1:
            raise NotModelled("changes: the chain of calls must stay the same length")
        if any(len({route.retries.hedge_on_per_try_timeout for route in hop}) > 1 for hop in zip(*chains, strict=True)):
            raise NotModelled("changes: hedging cannot be switched on or off under load")
        self.hops = [Hop(i, [chain[i] for chain in chains], scenario.workers, replications, self.uniform) for i in range(len(chains[0]))]
        self.last = len(self.hops) - 1
        detectors = [d.cluster.outlier_detection for chain in chains for route in chain for d in route.destinations]
        self.splits_local_origin = any(each is not None and each.split_external_local_origin_errors for each in detectors)
        self.closed = isinstance(scenario.workload, ClosedLoop)
        threads = scenario.workload.threads if self.closed else 0
        self._special_rows()
        rows = self.specials + max(8, threads)
        self.calendar = Calendar(rows, replications)
        self._columns(self.calendar.rows)
        self._accept_connections()
        self.log = LogWriter(replications, max(256, expected))
        self.pod_attempts = np.zeros((len(self.hops[-1].pod_names), replications), dtype=np.int64)
        self.counters = {name: np.zeros(replications, dtype=np.int64) for name in COUNTERS}
        self.ejections: list[tuple] = []
        self.finished = np.zeros(replications, dtype=bool)
        self.has_outer = False  # can the first route's proxy give up while the inner call goes on?
        self.ready: dict[int, list[tuple]] = {}  # of each hop, the requests whose next attempt starts in this step
        self._start(threads)

    # --- set-up -------------------------------------------------------------------------

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

    def _start(self, threads: int) -> None:
        everyone = np.arange(self.replications)
        self.arrivals = None if self.closed else Arrivals(self.scenario.workload, self.replications, self.uniform)
        if self.closed:
            self.limits = np.zeros(self.allocated)
            for limit in self.scenario.workload.calls_per_thread:
                row = self._take_row(everyone)
                self.limits[row[0]] = limit
                self._set(everyone, row, np.zeros(self.replications), ENTER)
            self.outstanding = np.full(self.replications, threads)
        else:
            first, more = self.arrivals.next(everyone)
            self.outstanding = more.astype(np.int64)  # the stream of arrivals counts as one
            self.calendar.set(np.zeros(self.replications, dtype=np.int64), everyone, first)

    def _configure(self, routes: tuple[Route, ...], now: float) -> None:
        everyone = np.arange(self.replications)
        for hop, route in zip(self.hops, routes, strict=True):
            had = [u.cluster.outlier_detection if u.cluster else None for u in hop.upstreams]
            hop.configure(route)
            for upstream, before in zip(hop.upstreams, had, strict=True):
                policy = upstream.cluster.outlier_detection if upstream.cluster else None
                if policy != before:
                    # The proxy started its interval timer long before the load: any phase is as likely.
                    phase = self.uniform(self.replications) if now == 0 else 1.0
                    upstream.first_tick = now + (policy.interval if policy else 0.0) * phase * np.ones(self.replications)
                    self.calendar.set(np.full(self.replications, self.row_of[id(upstream)]), everyone, np.full(self.replications, NEVER))
        inner = self.hops[1:]
        # Once true always true: calls that an outer proxy gave up outlive a change of its timeout.
        self.has_outer = getattr(self, "has_outer", False) or any(
            h.route.timeout or h.route.retries.per_try_timeout for h in self.hops[:-1]
        )
        if self.has_outer and len(inner) > 1:
            raise NotModelled("timeouts of a proxy that is more than one call away from the last")
        if self.has_outer and self.hops[-1].route.retries.hedge_on_per_try_timeout:
            raise NotModelled("hedging behind another proxy's timeout")
        for hop in self.hops[:-1]:
            if hop.free_at:
                raise NotModelled("meshmodel/concurrency of a pod that calls another")
            if hop.route.retries.hedge_on_per_try_timeout:
                raise NotModelled("hedging of a route whose pods call another")

    # --- running ------------------------------------------------------------------------

    def run(self) -> tuple:
        """Run to the end; returns RequestLog, pod attempts, counters and `Ejections`."""
        chains = [self.scenario.routes, *(change.routes for change in self.scenario.changes)]
        times = [0.0, *(change.at for change in self.scenario.changes), NEVER / 2]
        for routes, now, until in zip(chains, times[:-1], times[1:], strict=True):
            self._configure(routes, now)
            while self._step(until):
                pass
        return self.log.finish(), self.pod_attempts, self.counters, self._ejections()

    def _step(self, until: float) -> bool:
        t, row = self.calendar.earliest()
        live = (t < until) & ~self.finished
        r = np.flatnonzero(live)
        if not r.size:
            return False
        if r.size < self.replications:
            t, row = t[r], row[r]
        cell = row * self.replications + r
        kind = self.kind.take(cell)
        for code in np.flatnonzero(np.bincount(kind, minlength=1)):
            which = np.flatnonzero(kind == code)
            events = (r, row, cell, t) if len(which) == len(kind) else _take(which, r, row, cell, t)
            self._handle(code, *events)
        for hop, ready in self.ready.items():
            self._pick(self.hops[hop], *(np.concatenate(column) if len(ready) > 1 else column[0] for column in zip(*ready, strict=True)))
        self.ready.clear()
        return True

    def _handle(self, code: int, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        index, kind = divmod(int(code), KINDS)
        hop = self.hops[index]
        if kind == ENTER:
            self._enter(hop, r, row, cell, t)
        elif kind == PICK:
            self.ready.setdefault(index, []).append((r, row, cell, t))
        elif kind == GRANTED:
            self._dispatch(hop, r, row, cell, t)
        elif kind == ANSWER:
            self._answer(hop, r, row, cell, t, self.code[cell])
        elif kind == OUTER:
            self._outer(r, row, cell, t)
        elif kind == HEDGE:
            self._hedge_answers(hop, r, row, cell, t)
        elif kind == ARRIVAL:
            self._arrive(r, t)
        else:
            self._health_timer(kind, r, row, t)

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

    # --- a request reaches a proxy ------------------------------------------------------

    def _arrive(self, r: np.ndarray, t: np.ndarray) -> None:
        """The open loop sends a request and knows when it sends the next."""
        row = self._take_row(r)
        self.outstanding[r] += 1
        following, more = self.arrivals.next(r)
        self.outstanding[r] -= ~more
        self.calendar.set(np.zeros(len(r), dtype=np.int64), r, following)
        self._enter(self.hops[0], r, row, row * self.replications + r, t)

    def _enter(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        route, n = hop.route, len(r)
        if hop.index == 0:
            self.start[cell] = t
            self.attempts[cell] = 0
            if self.has_outer:
                hop.limit[cell] = np.inf
        hop.tries[cell] = 0
        hop.endpoint[cell] = NOBODY
        if self.scenario.workers > 1 and self.fresh_connections:
            hop.worker[cell] = self.uniform(n) * self.scenario.workers
        if len(hop.upstreams) > 1:
            hop.upstream[cell] = self._destination(hop, cell, n)
        delay, aborted = self._fault(route, n)
        if delay is not None:
            t = t + delay
        hop.deadline[cell] = t + route.timeout if route.timeout else np.inf
        if aborted is not None and aborted.any():
            code = np.full(n, ABORTED, dtype=np.int16)
            self._set(r[aborted], row[aborted], t[aborted], ANSWER, hop.index)
            self.code[cell[aborted]] = code[aborted]
            go = ~aborted
            r, row, cell, t = r[go], row[go], cell[go], t[go]
        if delay is not None:
            self._set(r, row, t, PICK, hop.index)
        else:
            self.ready.setdefault(hop.index, []).append((r, row, cell, t))

    def _destination(self, hop: Hop, cell: np.ndarray, n: int) -> np.ndarray:
        """Which upstream: the caller's (the pod that the route before picked), and a weighted cluster."""
        caller: np.ndarray | int = 0
        if hop.index > 0 and len(hop.callers) > 1:
            outer = self.hops[hop.index - 1]
            pods = np.array([hop.callers.index(name) for name in outer.pod_names])
            caller = pods[self._pod(outer, cell)]
        elif len(hop.callers) > 1:
            caller = (self.uniform(n) * len(hop.callers)).astype(np.int64)
        cluster = np.searchsorted(hop.weights, self.uniform(n) * hop.weights[-1], side="right") if len(hop.clusters) > 1 else 0
        return caller * len(hop.clusters) + cluster

    def _fault(self, route: Route, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The fault filter comes before the router: its delay is outside the route's timeout."""
        fault = route.fault
        delay = fault.delay * (self.uniform(n) * 100 < fault.delay_percent) if fault.delay and fault.delay_percent else None
        aborted = self.uniform(n) * 100 < fault.abort_percent if fault.abort_code and fault.abort_percent else None
        return delay, aborted

    # --- an attempt ---------------------------------------------------------------------

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

    def _pick(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        outcome = np.zeros(len(r), dtype=np.int16)
        for upstream, _, at in self._by_upstream(hop, cell):
            outcome[at] = self._pick_endpoint(hop, upstream, r[at], row[at], cell[at])
        hop.tries[cell] += 1
        if not outcome.any():
            self._dispatch(hop, r, row, cell, t)
            return
        self._dispatch(hop, *_take(np.flatnonzero(outcome == GO), r, row, cell, t))
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

    # --- the attempt is over ------------------------------------------------------------

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
                r, row, cell, t, code = _take(np.flatnonzero(~again), r, row, cell, t, code)
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
        who, rows, cells, now = _take(goes, r, row, cell, t)
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

    # --- the final answer of a route ----------------------------------------------------

    def _final(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        if not r.size:
            return
        status = STATUS[code - LOWEST]
        if (aborted := code == ABORTED).any():
            status = np.where(aborted, hop.abort_code, status)
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
        start = self.start.take(cell)
        self.log.write(r, start, t - start, status, self.server[cell], self.attempts[cell])
        if not self.closed:
            self._give_row(r, row)
            self._leave(r)
            return
        calls = self.calls.take(cell) + 1
        self.calls[cell] = calls
        following = pacing(self.scenario.workload, t, calls, self.limits.take(row))
        self._set(r, row, following, ENTER)
        if (stops := following >= NEVER).any():
            self._leave(r[stops])

    def _leave(self, r: np.ndarray) -> None:
        self.outstanding[r] -= 1
        self.finished[r] = self.outstanding[r] == 0

    # --- an outer proxy gives up --------------------------------------------------------

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
        self._answer(hop, r, row, cell, t, code)

    def _detach(self, r: np.ndarray, row: np.ndarray) -> None:
        spare = self._take_row(r)
        old, new = row * self.replications + r, spare * self.replications + r
        for name in ("code", "start", "attempts", "server"):
            getattr(self, name)[new] = getattr(self, name)[old]
        for hop in self.hops[1:]:
            for name in hop.COLUMNS:
                getattr(hop, name)[new] = getattr(hop, name)[old]
            hop.tried[:, new] = hop.tried[:, old]
            self._replace_waiting(hop, r, row, spare, old)
            hop.waiting[old] = False
            hop.is_retry[old] = False
        self.orphan[new] = True
        self.hops[0].limit[new] = np.inf
        kind = self.saved_kind[old]
        self.kind[new] = kind
        self.calendar.set(spare, r, self.saved_time[old])

    def _replace_waiting(self, hop: Hop, r: np.ndarray, row: np.ndarray, spare: np.ndarray, old: np.ndarray) -> None:
        """A request that waits for a connection keeps its place under its new row."""
        waits = np.flatnonzero(hop.waiting[old])
        for upstream, _, at in self._by_upstream(hop, old[waits]):
            which = waits[at]
            pool = upstream.connections.pool_cell(hop.worker[old[which]], hop.endpoint[old[which]], r[which])
            links, head, tail = self.behind, upstream.connections.head.ravel(), upstream.connections.tail.ravel()
            links[spare[which] * self.replications + r[which]] = links[old[which]]
            for k, (p, a, b, who) in enumerate(zip(pool, row[which], spare[which], r[which], strict=True)):
                del k
                previous = head[p]
                if previous == a:
                    head[p] = b
                else:
                    while links[previous * self.replications + who] != a:
                        previous = links[previous * self.replications + who]
                    links[previous * self.replications + who] = b
                if tail[p] == a:
                    tail[p] = b

    # --- hedging ------------------------------------------------------------------------

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
        self._who_answered(hop, parent, endpoint, code)
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
        for upstream, _, at in self._by_upstream(hop, cell):
            cells, who = cell[at], r[at]
            upstream.retrying[who] -= hop.is_retry[cells]
            granted = hop.waiting[cells] & (self.kind[cells] == hop.index * KINDS + GRANTED)  # at this very moment
            if (waits := hop.waiting[cells] & ~granted).any():
                pool = upstream.connections.pool_cell(hop.worker[cells][waits], hop.endpoint[cells][waits], who[waits])
                upstream.connections.leave(pool, who[waits], (cells // self.replications)[waits], self.behind)
            if granted.any():
                self._free_connection(
                    hop,
                    upstream,
                    who[granted],
                    cells[granted],
                    t[at][granted],
                    hop.endpoint[cells][granted],
                    np.zeros(granted.sum(), dtype=bool),
                )
            self._release(
                hop, upstream, who, cells, t[at], np.full(len(who), PER_TRY_TIMEOUT), hop.endpoint[cells], np.flatnonzero(running[at])
            )
        hop.is_retry[cell], hop.waiting[cell] = False, False

    def _drop(self, hop: Hop, r: np.ndarray, row: np.ndarray, cell: np.ndarray, t: np.ndarray, code: np.ndarray) -> None:
        """Free what a left-running attempt holds, report its answer, give back its row."""
        for upstream, _, at in self._by_upstream(hop, cell):
            ends = hop.endpoint[cell[at]]
            self._release(hop, upstream, r[at], cell[at], t[at], code[at], ends, np.arange(len(ends)))
            answered = code[at] >= 0
            if upstream.cluster.outlier_detection is not None and answered.any():
                self._report(hop, upstream, r[at][answered], t[at][answered], code[at][answered], ends[answered])
        self._give_row(r, row)

    def _end_hedges(self, hop: Hop, r: np.ndarray, cell: np.ndarray, t: np.ndarray) -> None:
        """The request has its answer: reset every attempt of it that is still running."""
        for attempt in range(hop.most_tries):
            row = hop.hedges[attempt, cell]
            held = np.flatnonzero(row >= 0)
            if held.size:
                who, rows = r[held], row[held]
                self._drop(hop, who, rows, rows * self.replications + who, t[held], np.full(held.size, PER_TRY_TIMEOUT))
                hop.hedges[attempt, cell[held]] = -1

    # --- bookkeeping --------------------------------------------------------------------

    def _count(self, hop: Hop, name: str, r: np.ndarray) -> None:
        """Envoy's counter `name` of the last route's clusters, once for each replication (n,)."""
        if hop.index == self.last and len(r):
            self.counters[name][r] += 1

    def _ejections(self) -> Ejections:
        if not self.ejections:
            return Ejections()
        replication, time, pod, gone = (np.concatenate(column) for column in zip(*self.ejections, strict=True))
        order = np.lexsort((time, replication))
        return Ejections(replication[order], time[order], pod[order], gone[order])
