"""The analytic engine: a `Scenario` in, a `Prediction` out, without a random number.

    ways of one attempt -> ways of a request (retries, timers) -> law of a request
        per destination, mixed by weight -> law of the run (count, shares, percentiles)

The formulas live in `meshmodel.analytic`, one file per chapter; here is only the choice
among them.  What they do not cover raises `NoClosedForm`; what they cover by an
approximation is named in `Prediction.assumptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from meshmodel.analytic import NoClosedForm, approximations, closed_loop
from meshmodel.analytic.balancing import MAX_STATES, least_request_constant
from meshmodel.analytic.breakers import loss_closed, loss_open
from meshmodel.analytic.delays import Delay, Delays
from meshmodel.analytic.hosts import host_shares, ring_of, ring_starts, ring_starts_interleaved, seen_alike
from meshmodel.analytic.locality import failing_and_answered, may_eject
from meshmodel.analytic.prediction import Count, Law, Prediction, alone, combined, given_up, multinomial, until_ejected
from meshmodel.analytic.ways import (
    Chooser,
    Walk,
    Way,
    as_answered,
    is_faulty,
    is_retriable,
    merged,
    pod_ways,
    signature,
    sum_of_widths,
    with_fault,
    with_overhead,
)
from meshmodel.fakeservice import error_period
from meshmodel.results.replay import ENVOY
from meshmodel.scenario import UNLIMITED, Behaviour, ClosedLoop, Cluster, LoadBalancing, OpenLoop, OutlierDetection, Route, Scenario

PRACTICALLY_NEVER = 1e-9
"""A share of requests that is left out of account."""

SMALL_CHAIN = 1500
"""States of an occupancy chain that is solved only to know how evenly alike endpoints are loaded."""

__all__ = ["NoClosedForm", "Prediction", "predict"]


def predict(scenario: Scenario, resolution: float = 0.001) -> Prediction:
    """The figures of a scenario from closed forms; `resolution` is fortio's, in seconds.

    Raises
    ------
    NoClosedForm : naming the first feature that no formula covers.
    """
    plan = _Plan(scenario)
    law = plan.as_seen(plan.law())
    count = plan.count(law)
    return Prediction(scenario, law, count, {name: approximations.ERRORS[name] for name in sorted(plan.assumptions)}, resolution)


@dataclass
class _Plan:
    """One prediction in the making: `assumptions` collects the approximations that it uses."""

    scenario: Scenario
    assumptions: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.scenario.changes:
            raise NoClosedForm("changes during the run")
        if self.scenario.branches:
            raise NoClosedForm("a pod that makes more than one call")
        for route in self.scenario.routes:
            _refuse_unformulated(route)
        loop = self.scenario.workload
        self.threads = loop.threads if isinstance(loop, ClosedLoop) else None
        self.sequential = self.threads == 1
        self.outside = float(self.scenario.overhead.mean())
        self.delays = Delays(self.scenario.overhead, max(2 * sum_of_widths(route.retries) for route in self.scenario.routes))
        self.refusal = alone([Way(1.0, 0.0, 503, ENVOY)], self.delays)

    # --- the chain of routes ------------------------------------------------------------

    def law(self) -> Law:
        """The law of a request as the load generator sees it."""
        routes = self.scenario.routes
        law = self._route_law(routes[-1])
        for outer in reversed(routes[:-1]):
            law = self._through(outer, law)
        return law

    def as_seen(self, law: Law) -> Law:
        """`law` as the client has it, which gives up after its timeout; what takes longer than that is left out if it never happens."""
        timeout = self.scenario.workload.timeout
        if timeout is None or law.shares @ (1 - law.cdf(np.array([timeout])))[:, 0] < PRACTICALLY_NEVER:
            return law
        for route in self.scenario.routes:
            for destination in route.destinations:
                self._check_giving_up(destination.cluster)
        if any(sum(count for _, count in way.attempts) > 1 for ways in law.ways for way in ways):
            raise NoClosedForm("a client that gives up on requests that are tried again")
        return given_up(law, timeout)

    def _check_giving_up(self, cluster: Cluster) -> None:
        """Refuse a client that gives up where that changes more than its request: a place at the proxy or the pod is free, or is not."""
        pool, name = cluster.connection_pool, f"a client that gives up on {cluster.name}"
        if cluster.outlier_detection or pool.max_requests < UNLIMITED or pool.limits_connections:
            raise NoClosedForm(f"{name}, with outlier detection or limits")
        if any(e.behaviour.concurrency for e in cluster.endpoints):
            raise NoClosedForm(f"{name}, whose pods have a queue")
        if cluster.load_balancing == "LEAST_REQUEST" and len(cluster.endpoints) > 1:
            raise NoClosedForm(f"{name}, under LEAST_REQUEST")

    def _through(self, route: Route, inner: Law) -> Law:
        """What a request comes to that goes through `route` to pods that call on and answer as `inner`."""
        inner = replace(inner, ways=tuple(tuple(as_answered(way) for way in ways) for ways in inner.ways))
        codes = {way.code for ways in inner.ways for way in ways}
        for destination in route.destinations:
            for pod in destination.cluster.endpoints:
                if replace(pod.behaviour, injector="fake-service", errors=None, percentiles=None) != Behaviour():
                    raise NoClosedForm(f"{pod.name}, a pod that calls on, with times or errors of its own")
            if destination.cluster.outlier_detection and max(codes) >= 500:
                raise NoClosedForm(f"outlier detection of {route.host}, whose pods call on")
        retried = route.retries.attempts > 0 and any(is_retriable(route.retries, code, "") for code in codes)
        limited = route.timeout is not None or route.retries.per_try_timeout is not None or is_faulty(route)
        self._check_pool(route, [d.cluster for d in route.destinations], retried, None)
        if not retried:
            return replace(inner, ways=tuple(self._outer_ways(route, list(ways)) for ways in inner.ways)) if limited else inner
        if not inner.independent and len({signature(ways) for ways in inner.ways}) > 1:
            raise NoClosedForm("retries at two hops over unequal endpoints, unless they are chosen at random")
        flat = merged([replace(w, probability=w.probability * p) for p, ways in zip(inner.shares, inner.ways, strict=True) for w in ways])
        return alone(self._outer_ways(route, flat), self.delays)

    def _outer_ways(self, route: Route, ways: list[Way]) -> tuple[Way, ...]:
        walk = Walk([ways], route.retries, route.timeout, Chooser(lambda attempt: np.ones(1)), self.delays)
        return tuple(with_fault(route, walk.from_host(0)[0]))

    def _route_law(self, route: Route) -> Law:
        """The last route: its destinations, mixed by weight; each answer is followed by an overhead."""
        chosen = [d for d in route.destinations if d.weight > 0]
        weights = np.array([d.weight for d in chosen], float)
        weights /= weights.sum()
        if len(chosen) > 1 and not self.sequential and any(d.cluster.load_balancing == "LEAST_REQUEST" for d in chosen):
            if any(len({e.behaviour for e in d.cluster.endpoints}) > 1 for d in chosen):
                raise NoClosedForm("LEAST_REQUEST among unequal endpoints in several destinations")
        laws = [self._cluster_law(route, d.cluster, float(w)) for d, w in zip(chosen, weights, strict=True)]
        law = combined(weights, laws, multinomial(weights))
        return replace(law, ways=tuple(tuple(with_overhead(w) for w in with_fault(route, list(ways))) for ways in law.ways))

    # --- one cluster --------------------------------------------------------------------

    def _cluster_law(self, route: Route, cluster: Cluster, weight: float) -> Law:
        seen_alike(route, cluster)
        self._check_pods(cluster)
        outcomes = [pod_ways(e) for e in cluster.endpoints]
        bad = self._ejectable(route, cluster, outcomes)
        if bad is not None:
            return self._law_with_ejection(route, cluster, outcomes, bad)
        law, retried = self._steady_law(route, cluster, outcomes, frozenset())
        refused = self._check_pool(route, [cluster], retried > 0, law, weight)
        if not refused:
            return law
        weights = np.array([refused, 1 - refused])
        return combined(weights, [self.refusal, law], multinomial(weights))

    def _check_pods(self, cluster: Cluster) -> None:
        for e in cluster.endpoints:
            b = e.behaviour
            if b.concurrency is not None and (self.threads is None or b.concurrency < self.threads):
                raise NoClosedForm(f"{e.name} with a queue (concurrency {b.concurrency})")
            if b.concurrency is not None and self.scenario.routes[-1].timeout is not None:
                raise NoClosedForm(f"{e.name} with finite concurrency and a timeout")
            if _counts_errors(b):
                self.assumptions.add(approximations.COUNTER)

    def _steady_law(self, route: Route, cluster: Cluster, outcomes: list[list[Way]], ejected: frozenset[int]) -> tuple[Law, float]:
        """The law of requests while hosts `ejected` are out, and the probability of a retry (summed over first hosts)."""
        shares = host_shares(cluster, ejected, 0, route.retries)
        if not shares.sum():
            return self.refusal, 0.0
        ring = ring_of(cluster, shares)
        hosts = ring or tuple(int(e) for e in np.flatnonzero(shares))

        def walked(others: float) -> tuple[Walk, list]:
            chooser = Chooser(lambda attempt: host_shares(cluster, ejected, attempt, route.retries), ring, others)
            walk = Walk(outcomes, route.retries, route.timeout, chooser, self.delays)
            return walk, [walk.from_host(e) for e in hosts]

        walk, results = walked(0.0)
        picked = shares[list(hosts)]
        self._check_counted(route, cluster, outcomes, hosts, bool(ring))
        if ring and walk.retried:
            if not self.sequential:
                _check_interleaved(walk, hosts)
            results, picked = self._ring_law(route, walked, results)
        law = Law(picked, tuple(tuple(ways) for ways, _ in results), multinomial(picked), self.delays, True)
        if any(way.seconds == np.inf for ways in law.ways for way in ways):
            if self.scenario.workload.timeout is None:
                raise NoClosedForm("a pod that hangs without any timeout")
            self._check_giving_up(cluster)
        if not ring:
            self._check_places(cluster, hosts, walk.retried)
        if ring or cluster.load_balancing == "ROUND_ROBIN":
            law = replace(law, between=self._ring_covariance(route, law), independent=len(hosts) == 1)
        elif cluster.load_balancing == "LEAST_REQUEST" and not self.sequential and len(hosts) > 1:
            law = self._least_request(route, cluster, law, hosts, walk.retried)
        return law, walk.retried

    def _check_places(self, cluster: Cluster, hosts: tuple[int, ...], retried: float) -> None:
        """Refuse weighed localities whose schedule would matter: for retries, and for what is active at unlike hosts."""
        several = cluster.locality_weights is not None and len({cluster.endpoints[e].locality for e in hosts}) > 1
        if several and (retried or (cluster.load_balancing == "LEAST_REQUEST" and not self.sequential)):
            raise NoClosedForm(f"retries, or LEAST_REQUEST with concurrent requests, over the weighed localities of {cluster.name}")

    def _check_counted(self, route: Route, cluster: Cluster, outcomes: list[list[Way]], hosts: tuple[int, ...], ring: bool) -> None:
        """Refuse retries that would meet the counter of fake-service's errors again, or in a fixed order."""
        policy = route.retries
        counted = any(
            _counts_errors(cluster.endpoints[e].behaviour) and any(is_retriable(policy, w.code, w.failure) for w in outcomes[e])
            for e in hosts
        )
        apart = policy.previous_hosts and policy.attempts < len(hosts) and not ring
        if counted and policy.attempts and not apart:
            raise NoClosedForm("retries of counted errors (ERROR_RATE) that are not drawn apart")

    def _ring_law(self, route: Route, walked: Callable[[float], tuple[Walk, list]], results: list) -> tuple[list, np.ndarray]:
        """Ways and shares of the first hosts when retries draw from ROUND_ROBIN's ring too."""
        rings = self.scenario.workers * len(route.callers)
        if self.sequential:
            calls = getattr(self.scenario.workload, "calls", None) or np.inf
            return results, ring_starts([ends for _, ends in results], calls / rings)
        self.assumptions.add(approximations.INTERLEAVED)
        for _ in range(4):  # the rate of the others' draws depends on the result: a fixed point, reached in a few turns
            begin = ring_starts_interleaved([ends for _, ends in results])
            law = Law(begin, tuple(tuple(with_overhead(w) for w in ways) for ways, _ in results), multinomial(begin), self.delays)
            drawn = begin @ [sum(len(draws) * p for draws, p in ends.items()) for _, ends in results]
            results = walked(self._request_rate(law) * drawn / rings)[1]
        return results, ring_starts_interleaved([ends for _, ends in results])

    def _request_rate(self, law: Law) -> float:
        """Requests per second of all connections but one (closed loop), or of the open loop."""
        loop = self.scenario.workload
        if isinstance(loop, OpenLoop):
            return loop.expected / loop.duration
        rate = (loop.threads - 1) / law.latency_moments[0]
        return min(rate, loop.qps) if loop.qps else rate

    def _requests(self, law: Law) -> float:
        """About how many requests the run makes."""
        loop = self.scenario.workload
        if isinstance(loop, OpenLoop):
            return loop.expected
        if loop.calls is not None:
            return float(loop.calls)
        assert loop.duration is not None  # a closed loop has calls or a duration
        patience = np.inf if loop.timeout is None else loop.timeout
        mean = law.mean(lambda way: min(way.seconds + self.delays.moments(way.delay)[0] + self.outside, patience))
        mean = max(mean, 1e-9)
        return loop.threads * loop.duration / max(mean, loop.threads / loop.qps if loop.qps else 0.0)

    def _ring_covariance(self, route: Route, law: Law) -> np.ndarray:
        """Covariance of ROUND_ROBIN's shares times requests: only the phase of each worker's ring is random.

        A worker's count of one host is within one of its part; a uniform phase has variance (1 - 1/H^2) / 6.
        """
        hosts = len(law.shares)
        rings = self.scenario.workers * len(route.callers)
        per_host = rings * (1 - 1 / hosts**2) / 6 / max(self._requests(law), 1.0)
        return per_host * (np.eye(hosts) - 1 / hosts) * (hosts / max(hosts - 1, 1))

    # --- LEAST_REQUEST ------------------------------------------------------------------

    def _least_request(self, route: Route, cluster: Cluster, law: Law, hosts: tuple[int, ...], retried: float) -> Law:
        loop, alike = self.scenario.workload, len({cluster.endpoints[e].behaviour for e in hosts}) == 1
        if retried and not alike:
            raise NoClosedForm("LEAST_REQUEST with concurrent requests and retries")
        if not np.allclose(law.shares, 1 / len(hosts)):
            raise NoClosedForm("LEAST_REQUEST with concurrent requests over several priorities or localities")
        service = [float(sum(w.probability * w.seconds for w in ways)) for ways in law.ways]
        mean = sum(service) / len(service) + self.outside
        several = len(route.callers) > 1 or len(route.destinations) > 1
        if (
            isinstance(loop, OpenLoop)
            or not closed_loop.is_saturated(loop.threads, loop.qps, mean)
            or several
            or retried
            or not any(service)
        ):
            if not alike:
                raise NoClosedForm("LEAST_REQUEST among unequal endpoints outside a saturated closed loop of one caller")
            return self._symmetric(law)
        try:
            chain = least_request_constant(tuple(service), self.outside, loop.threads, SMALL_CHAIN if alike else MAX_STATES)
        except NoClosedForm:
            if not alike:
                raise
            return self._symmetric(law)
        self.assumptions.add(approximations.OCCUPANCY)
        shares = chain.shares if alike else self._with_burst(chain.shares, chain.burst, service)
        return replace(law, shares=shares, between=chain.covariance, independent=False)

    def _with_burst(self, shares: np.ndarray, burst: np.ndarray, service: list[float]) -> np.ndarray:
        """Shares over the whole run: the first requests of all connections come at once and spread more evenly."""
        loop = self.scenario.workload
        assert isinstance(loop, ClosedLoop)
        if loop.calls is None:
            counts = shares * (loop.threads * (loop.duration or 0.0) / (float(shares @ np.asarray(service)) + self.outside)) + burst
        else:
            counts = shares * float(loop.calls) + (burst - shares * burst.sum())
        counts = np.clip(counts, 0, None)
        return counts / counts.sum()

    def _symmetric(self, law: Law) -> Law:
        """Endpoints that are all alike get equal shares whatever is active; how evenly is bounded by independent draws."""
        self.assumptions.add(approximations.SYMMETRIC)
        return replace(law, independent=False)

    # --- outlier detection --------------------------------------------------------------

    def _ejectable(self, route: Route, cluster: Cluster, outcomes: list[list[Way]]) -> int | None:
        """The one host that outlier detection will eject, if any; refuses what it might eject by chance."""
        detection, shares = cluster.outlier_detection, host_shares(cluster)
        if detection is None or not may_eject(len(shares), 0, detection.max_ejection_percent, detection.one_host_always):
            return None
        deadlines = [t for t in (route.timeout, route.retries.per_try_timeout) if t is not None]
        failing = [sum(w.probability for w in ways if w.code >= 500 or w.seconds > min(deadlines, default=np.inf)) for ways in outcomes]
        hosts = [int(e) for e in np.flatnonzero(shares)]
        sure = [e for e in hosts if failing[e] > 1 - 1e-9]
        for e in hosts:
            never_in_a_row = not cluster.endpoints[e].behaviour.coin and detection.consecutive_5xx > 1 and not deadlines
            if 0 < failing[e] <= 1 - 1e-9 and not never_in_a_row:
                raise NoClosedForm(f"outlier detection while {cluster.endpoints[e].name} fails now and then")
        if not sure:
            return None
        others = [failing[e] > 0 for e in range(len(shares)) if e not in sure]
        if len(sure) > 1 or any(others) or not self.sequential:
            raise NoClosedForm("outlier detection with several failing endpoints or concurrent requests")
        split = detection.split_external_local_origin_errors and any(w.failure for w in outcomes[sure[0]])
        if detection.consecutive_gateway_failure or split or not detection.consecutive_5xx or deadlines or len(route.callers) > 1:
            raise NoClosedForm("outlier detection other than consecutive_5xx of one caller without timeouts")
        return sure[0]

    def _law_with_ejection(self, route: Route, cluster: Cluster, outcomes: list[list[Way]], bad: int) -> Law:
        """Sequential requests: until the bad host has failed k times, and after."""
        detection, loop = cluster.outlier_detection, self.scenario.workload
        assert detection is not None and isinstance(loop, ClosedLoop)  # _ejectable saw to it
        before, retried = self._steady_law(route, cluster, outcomes, frozenset())
        after, _ = self._steady_law(route, cluster, outcomes, frozenset({bad}))
        longest = max(law.latency_moments[0] for law in (before, after)) + self.delays.largest(Delay(1))
        if loop.calls is None or loop.calls * longest >= detection.base_ejection_time:
            return self._law_of_ejections(before, after, detection, loop, retried)
        if retried and detection.consecutive_5xx > 1:
            raise NoClosedForm("retries of requests that lead to an ejection")
        name = cluster.endpoints[bad].name
        touches = before.per_stratum(lambda way: any(pod == name for pod, _ in way.attempts))
        share = float(before.shares @ touches)
        if share < 1 and cluster.load_balancing == "ROUND_ROBIN":
            raise NoClosedForm("ROUND_ROBIN over several endpoints until an ejection")
        failing = self._failing_ways(route, cluster, outcomes, bad, detection)
        return until_ejected(before, after, failing, name, share, detection.consecutive_5xx, loop.calls)

    def _law_of_ejections(self, before: Law, after: Law, detection: OutlierDetection, loop: ClosedLoop, retried: float) -> Law:
        """A run in which the failing host, alone in its priority, comes back and goes again; mean over the timer's phase."""
        failing, answered = (law.latency_moments[0] + self.outside for law in (before, after))
        if retried or len(before.shares) > 1 or min(failing, answered) <= 0 or loop.qps:
            raise NoClosedForm("ejections and returns of an endpoint that is not alone in its priority, or with retries or pacing")
        self.assumptions.add(approximations.EJECTIONS)
        until = np.inf if loop.calls or loop.duration is None else loop.duration
        runs = np.array([
            failing_and_answered(
                loop.calls or np.inf, until, detection.consecutive_5xx, failing, answered,
                detection.interval, detection.base_ejection_time, detection.max_ejection_time, detection.update_merge_window, phase,
            ) for phase in (np.arange(20) + 0.5) / 20 * detection.interval
        ]).astype(float)  # fmt: skip
        share = runs[:, 0] / runs.sum(axis=1)
        total, scatter = runs.sum(axis=1).mean(), 0.0
        if detection.update_merge_window > detection.consecutive_5xx * failing:  # how many failures fit into the window varies
            scatter = share.mean() * (before.latency_variance + float(self.scenario.overhead.var())) / failing**2
        spread = (share.var() * total + scatter) * np.array([[1, -1], [-1, 1]])
        return combined(np.array([share.mean(), 1 - share.mean()]), [before, after], spread)

    def _failing_ways(
        self, route: Route, cluster: Cluster, outcomes: list[list[Way]], bad: int, detection: OutlierDetection
    ) -> tuple[Way, ...]:
        """The ways of a request whose first attempt fails at `bad`; where that ejects it, retries see it out."""
        out = frozenset({bad} if detection.consecutive_5xx == 1 else ())
        if out and cluster.load_balancing == "ROUND_ROBIN":
            self.assumptions.add(approximations.EJECTED_RING)
        chooser = Chooser(lambda attempt: host_shares(cluster, out, attempt, route.retries))
        return tuple(Walk(outcomes, route.retries, route.timeout, chooser, self.delays).from_host(bad)[0])

    # --- circuit breakers ---------------------------------------------------------------

    def _check_pool(self, route: Route, clusters: list[Cluster], retried: bool, law: Law | None, weight: float = 1.0) -> float:
        """Probability that `max_requests` refuses a request; refuses other limits that could bite."""
        refused = 0.0
        at_once = np.inf if self.threads is None else self.threads
        for pool in (cluster.connection_pool for cluster in clusters):
            if not pool.http2 and pool.max_connections < min(at_once, 2**31):
                raise NoClosedForm(f"{route.host} with fewer connections (maxConnections) than concurrent requests")
            few = pool.retry_budget is not None and at_once > pool.retry_budget.min_retry_concurrency
            if retried and (pool.max_retries < min(at_once, 2**31) or few):
                raise NoClosedForm(f"{route.host} with a limit on concurrent retries")
            if pool.max_requests < min(at_once, 2**31):
                refused = self._loss(route, clusters, retried, law, pool.max_requests, weight)
        return refused

    def _loss(self, route: Route, clusters: list[Cluster], retried: bool, law: Law | None, limit: int, weight: float) -> float:
        loop, policy = self.scenario.workload, clusters[0].load_balancing
        unequal = policy == "LEAST_REQUEST" and len({e.behaviour for e in clusters[0].endpoints}) > 1
        if law is None or retried or len(route.callers) > 1 or unequal:
            raise NoClosedForm(f"max_requests of {route.host} with retries, several callers, callers further on, or LEAST_REQUEST")
        self.assumptions.add(approximations.LOSSES)
        service = law.latency_moments[0]
        if isinstance(loop, OpenLoop):
            if len(loop.segments) > 1 or loop.segments[0][1] != loop.segments[0][2] or loop.arrivals != "poisson":
                raise NoClosedForm("max_requests under arrivals that are not steady and Poisson")
            return loss_open(limit, weight * loop.segments[0][1], service)
        if weight < 1 or self.outside <= 0 or not closed_loop.is_saturated(loop.threads, loop.qps, self.outside):
            raise NoClosedForm("max_requests in a closed loop that is paced, split, or without overhead")
        if self.delays.constant is not None:
            raise NoClosedForm("max_requests in a closed loop of constant overhead, whose callers march in step")
        return loss_closed(limit, loop.threads, service, self.outside)

    # --- how many -----------------------------------------------------------------------

    def count(self, law: Law) -> Count:
        loop = self.scenario.workload
        if isinstance(loop, OpenLoop):
            return Count(loop.expected, loop.expected if loop.arrivals == "poisson" else 0.0)
        if loop.calls is not None:
            return Count(float(loop.calls))
        assert loop.duration is not None  # a closed loop has calls or a duration
        first, second, third = law.latency_moments
        pace = loop.threads / loop.qps if loop.qps else 0.0
        if first * 1.1 < pace:
            self.assumptions.add(approximations.PACED)
            assert loop.planned_calls is not None  # it has a rate and a duration
            return Count(float(loop.planned_calls // loop.threads * loop.threads))
        if first < pace * 1.1:
            raise NoClosedForm("a closed loop that only just keeps its target rate")
        if loop.duration < 3 * first:
            raise NoClosedForm("a run of hardly more than one request per connection")
        variance = second - first**2
        if variance <= 1e-9 * first**2:
            return Count(loop.threads * (np.floor(loop.duration / first + 1e-9) + 1.0))
        self.assumptions.add(approximations.RENEWAL)
        mean = closed_loop.expected_count(loop.duration, first, variance, loop.threads)
        if law.independent:
            skew = third - 3 * first * second + 2 * first**3
            return Count(mean, closed_loop.count_variance(loop.duration, first, variance, skew, loop.threads))
        ends = loop.threads * closed_loop.excess_variance(first, second, third) / first**2
        return Count(mean, mean * law.latency_variance / first**2 + ends)


def _refuse_unformulated(route: Route) -> None:
    """Refuse what of a route no formula is for, whatever else there is."""
    if route.direct_response is not None:
        raise NoClosedForm("a redirect or direct response")
    if route.mirrors:
        raise NoClosedForm("a mirror")
    for cluster in route.clusters:
        if cluster.hashes:
            raise NoClosedForm("consistentHash")
        if cluster.load_balancing not in get_args(LoadBalancing):
            raise NoClosedForm(cluster.load_balancing)
        if len({endpoint.weight for endpoint in cluster.endpoints}) > 1:
            raise NoClosedForm("endpoints of unequal weights")
        if cluster.outlier_detection is not None and cluster.outlier_detection.error_codes:
            raise NoClosedForm("outlierDetectionHttpErrorCodes")


def _counts_errors(behaviour: Behaviour) -> bool:
    """Whether fake-service's counter decides which requests fail: some, not all."""
    return behaviour.failure == "none" and not behaviour.coin and 1 < error_period(behaviour.error_rate) <= 1e9


def _check_interleaved(walk: Walk, hosts: tuple[int, ...]) -> None:
    """Refuse a ring whose draws are too regular for a Poisson process: tries that fail late, or two hosts that always fail."""
    policy = walk.policy
    failed = [[w for way in walk.outcomes[e] for w in walk.per_try(way) if is_retriable(policy, w.code, w.failure)] for e in hosts]
    late = any(way.seconds > policy.backoff_base_interval for ways in failed for way in ways)
    if late or sum(sum(way.probability for way in ways) > 1 - 1e-9 for ways in failed) > 1:
        raise NoClosedForm("ROUND_ROBIN with concurrent retries of tries that fail late, or of several pods that always fail")
