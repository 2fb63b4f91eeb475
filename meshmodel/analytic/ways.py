"""Every way that a request can go through a route: attempts, back-offs, timers, who answers.

The tree of attempts is walked exhaustively: host, then the pod's exact outcome, then the
route's and the try's timer, then Envoy's retry decision, then the next host under the
previous_hosts predicate.  Exact when hosts are chosen independently of what is active.
Reference: Envoy, HTTP router filter (x-envoy-retry-on, per-try and global timeouts).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np

from meshmodel.analytic import NoClosedForm
from meshmodel.analytic.delays import Delay, Delays
from meshmodel.analytic.hosts import ring_drift
from meshmodel.analytic.retries import backoff_width, reselected, round_robin_next
from meshmodel.fakeservice import HANG, REFUSED, RESET, distribution
from meshmodel.results.replay import ENVOY
from meshmodel.scenario import Endpoint, RetryPolicy, Route

MOST_WAYS = 20_000


@dataclass(frozen=True)
class Way:
    """One way with its probability: `seconds` + `delay`, ending with `code` from pod (or `envoy`) `by`.

    `attempts` holds (pod, upstream attempts); `failure` is what Envoy saw instead of an answer.
    """

    probability: float
    seconds: float
    code: int
    by: str
    attempts: tuple[tuple[str, int], ...] = ()
    delay: Delay = Delay()
    failure: str = ""

    @property
    def key(self) -> tuple:
        return self.seconds, self.code, self.by, self.attempts, self.delay, self.failure


def merged(ways: list[Way]) -> list[Way]:
    """Ways that differ in nothing but probability become one."""
    total: dict[tuple, Way] = {}
    for way in ways:
        same = total.get(way.key)
        total[way.key] = way if same is None else replace(way, probability=way.probability + same.probability)
    return [way for way in total.values() if way.probability > 1e-15]


def pod_ways(endpoint: Endpoint) -> list[Way]:
    """What one attempt at a pod may come to, as its proxy's client sees it: 503 for no connection or a reset."""
    ways = []
    for p, seconds, code in distribution(endpoint.behaviour):
        failure = {REFUSED: "connect-failure", RESET: "reset"}.get(code, "")
        by, code = (ENVOY, 503) if failure else (endpoint.name, code)
        ways.append(Way(p, np.inf if code == HANG else seconds, code, by, ((endpoint.name, 1),), failure=failure))
    return ways


def is_retriable(policy: RetryPolicy, code: int, failure: str) -> bool:
    """Whether Envoy's `retry_on` covers an answer, or the lack of one (`failure`).

    Source: Envoy, source/common/router/retry_state_impl.cc; a per-try timeout counts as a reset.
    """
    words = policy.retry_on
    if failure:
        return bool({"5xx", "gateway-error", "reset", failure} & words)
    return (
        ("5xx" in words and 500 <= code <= 599)
        or ("gateway-error" in words and code in (502, 503, 504))
        or ("retriable-4xx" in words and code == 409)
        or ("retriable-status-codes" in words and code in policy.retriable_status_codes)
    )


@dataclass(frozen=True)
class Chooser:
    """How a cluster picks the host of attempt k: `shares(k)` (hosts,), or a ring under ROUND_ROBIN.

    `ring` are the hosts in turn; `others` is the rate per second at which other requests draw from it.
    """

    shares: Callable[[int], np.ndarray]
    ring: tuple[int, ...] = ()
    others: float = 0.0


@dataclass(frozen=True)
class _State:
    """A request before or between attempts; `position` is the ring's index, `draws` what it took from the ring."""

    probability: float
    seconds: float = 0.0
    delay: Delay = Delay()
    used: tuple[int, ...] = ()
    attempts: tuple[tuple[str, int], ...] = ()
    position: int = 0
    draws: tuple[int, ...] = ()


@dataclass
class Walk:
    """Walks the tree for one cluster: `outcomes[e]` are the ways of one attempt at host e."""

    outcomes: list[list[Way]]
    policy: RetryPolicy
    timeout: float | None
    chooser: Chooser
    delays: Delays
    retried: float = 0.0

    def from_host(self, host: int) -> tuple[list[Way], dict[tuple[int, ...], float]]:
        """All ways of a request whose first attempt goes to `host`, and the probability of each tuple of ring draws."""
        self.ends: dict[tuple[int, ...], float] = {}
        ring = self.chooser.ring
        position = ring.index(host) if ring else 0
        start = _State(1.0, position=position + 1, draws=(position,) if ring else ())
        ways = merged(list(self._attempt(start, host, 0)))
        if len(ways) > MOST_WAYS:
            raise NoClosedForm(f"a request with more than {MOST_WAYS} ways to go")
        return ways, self.ends

    def _attempt(self, state: _State, host: int, number: int) -> Iterator[Way]:
        for outcome in self.outcomes[host]:
            for way in self.per_try(outcome):
                probability = state.probability * way.probability
                used = (*state.used, host)
                after = replace(
                    state, probability=probability, seconds=state.seconds + way.seconds, delay=state.delay + way.delay,
                    used=used, attempts=_added(state.attempts, way.attempts),
                )  # fmt: skip
                inside, after = yield from self._deadline(after, replace(state, attempts=after.attempts))
                if inside:
                    yield from self._answered(after, way, number)

    def per_try(self, way: Way) -> Iterator[Way]:
        """Split an outcome at the per-try timeout."""
        deadline = self.policy.per_try_timeout
        late = replace(way, seconds=deadline or 0.0, delay=Delay(), code=504, by=ENVOY, failure="per-try-timeout")
        for inside, p, delay in self.delays.split(way.seconds, way.delay, deadline):
            yield replace(way, probability=way.probability * p, delay=delay) if inside else replace(late, probability=way.probability * p)

    def _deadline(self, after: _State, before: _State) -> Generator[Way, None, tuple[bool, _State]]:
        """Yield the 504 of the route's timer; return whether there is another branch, and its state."""
        going: tuple[bool, _State] = (False, after)
        for inside, p, delay in self.delays.split(after.seconds, after.delay, self.timeout):
            if inside:
                going = (True, replace(after, probability=after.probability * p, delay=delay))
            else:
                fired = replace(before, probability=after.probability * p, seconds=self.timeout or 0.0, delay=Delay())
                yield self._end(fired, 504, ENVOY, "timeout")
        return going

    def _answered(self, state: _State, way: Way, number: int) -> Iterator[Way]:
        if number >= self.policy.attempts or not is_retriable(self.policy, way.code, way.failure):
            yield self._end(state, way.code, way.by, way.failure)
            return
        if self.policy.hedge_on_per_try_timeout and way.failure == "per-try-timeout":
            raise NoClosedForm("hedging on per-try timeout")
        self.retried += state.probability
        width = backoff_width(number + 1, self.policy.backoff_base_interval, self.policy.max_interval)
        waiting = replace(state, delay=state.delay + Delay(widths=(width,)))
        inside, ready = yield from self._deadline(waiting, state)
        if inside:
            for following, host in self._next(ready, number + 1, way.seconds, width):
                yield from self._attempt(following, host, number + 1)

    def _next(self, state: _State, number: int, waited: float, width: float) -> Iterator[tuple[_State, int]]:
        """The hosts of a retry `waited` + U[0, width) seconds after the last draw, each with the state that leads there."""
        tries = self.policy.host_selection_retry_max_attempts if self.policy.previous_hosts else 0
        used = state.used if self.policy.previous_hosts else ()
        ring, shares = self.chooser.ring, self.chooser.shares(number)
        if not ring or shares[list(ring)].sum() <= 1 - 1e-9:
            for e in np.flatnonzero(shares):
                yield replace(state, probability=state.probability * reselected(shares, used, tries)[e]), int(e)
            return
        places = [ring.index(e) for e in used if e in ring]
        for moved, p in enumerate(ring_drift(len(ring), self.chooser.others, waited, width)):
            if p > 1e-12:
                begin = (state.position + moved) % len(ring)
                place, draws = round_robin_next(begin, len(ring), places, tries)
                taken = tuple((begin + d) % len(ring) for d in range(draws))
                following = replace(state, probability=state.probability * p, position=begin + draws, draws=(*state.draws, *taken))
                yield following, ring[place]

    def _end(self, state: _State, code: int, by: str, failure: str) -> Way:
        self.ends[state.draws] = self.ends.get(state.draws, 0.0) + state.probability
        return Way(state.probability, state.seconds, code, by, state.attempts, state.delay, failure)


def _added(one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    total = dict(one)
    for name, count in other:
        total[name] = total.get(name, 0) + count
    return tuple(sorted(total.items()))


def with_overhead(way: Way) -> Way:
    """The same way with the overhead that follows each call of the last route."""
    return replace(way, delay=way.delay + Delay(1), failure="")


def as_answered(way: Way) -> Way:
    """A pod whose upstream call did not end with 200 answers 500 itself (fake-service)."""
    return replace(way, code=200 if way.code == 200 else 500, failure="")


def signature(ways: tuple[Way, ...]) -> frozenset:
    """What a load generator can tell of the ways of a request: not which pod it was."""
    return frozenset((w.seconds, w.code, w.delay, sum(n for _, n in w.attempts), round(w.probability, 12)) for w in ways)


def sum_of_widths(policy: RetryPolicy) -> float:
    """The longest that all back-offs of a request can take, seconds."""
    return sum(backoff_width(k, policy.backoff_base_interval, policy.max_interval) for k in range(1, policy.attempts + 1))


def is_faulty(route: Route) -> bool:
    """Whether the route's fault filter ever does anything."""
    return route.fault.abort_percent > 0 or (route.fault.delay_percent > 0 and route.fault.delay > 0)


def with_fault(route: Route, ways: list[Way]) -> list[Way]:
    """The fault filter before the router: a delay, then an abort, each with its own coin."""
    fault = route.fault
    late, off = fault.delay_percent / 100 * (fault.delay > 0), fault.abort_percent / 100
    if not late and not off:
        return ways
    aborted = [Way(1.0, 0.0, fault.abort_code, ENVOY)]
    parts = [(1 - off, ways), (off, aborted)]
    out = []
    for share, group in parts:
        out += [replace(w, probability=w.probability * share * (1 - late)) for w in group]
        out += [replace(w, probability=w.probability * share * late, seconds=w.seconds + fault.delay) for w in group]
    return merged(out)
