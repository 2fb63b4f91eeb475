"""Any scenario that can be written down: Hypothesis strategies for meshes several calls deep, under all policies at once.

In a closed loop, what stands before the last route neither fails at once nor refuses: a request that takes no
time would be sent again and again at one moment, which engines rightly refuse.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from scipy import stats

from meshmodel.scenario import (
    Behaviour,
    Change,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Constant,
    Destination,
    Fault,
    OpenLoop,
    RetryBudget,
    RetryPolicy,
    Route,
    Scenario,
    Workload,
)  # fmt: skip
from tests.new_engine import NEW_ENGINE
from tests.oracle_loop import cluster, detection, plain, retry, route, scenario

COIN = {"error_rate": 0.5, "injector": "nominal"}
MOST_PODS = 4
CODES = {200, 418, 500, 502, 503, 504}


def some(*values: object) -> st.SearchStrategy:
    return st.sampled_from(values)


STEADY = (plain(0.1), plain(), plain(0.3, timing_90_percentile=1.0, timing_variance=30), plain(0.05, timing_variance=100))
SLOW_TO_FAIL = (
    plain(0.05, error_type="delay", error_delay=0.05, **COIN),
    plain(0.1, error_rate=0.34, error_type="delay", error_delay=0.2, error_code=503),
)
BUSY = (plain(0.2, concurrency=1), plain(0.1, concurrency=3))
FAILING = (
    plain(failure="hang"),
    plain(0.05, **COIN),
    plain(0.1, error_rate=1.0, error_code=502),
    plain(0.1, concurrency=2, **COIN),
    plain(failure="refused"),
    plain(failure="reset"),
)
POOLS = (
    ConnectionPool(),
    ConnectionPool(max_requests=2),
    ConnectionPool(max_connections=1),
    ConnectionPool(max_connections=3, max_pending_requests=1),
    ConnectionPool(max_connections=2, http2=True, max_requests=4),
    ConnectionPool(max_connections=2, http2=True, max_requests_per_connection=2, max_pending_requests=2),
    ConnectionPool(max_retries=1, max_requests_per_connection=2),
    ConnectionPool(max_connections=2, max_requests_per_connection=1),
    ConnectionPool(retry_budget=RetryBudget(min_retry_concurrency=1)),
)
DETECTORS = (
    None,
    detection(consecutive_5xx=1),
    detection(consecutive_5xx=2, interval=0.3, base_ejection_time=0.2, update_merge_window=0.3),
    detection(consecutive_5xx=2, max_ejection_percent=34),
    detection(
        split_external_local_origin_errors=True, consecutive_gateway_failure=2, consecutive_local_origin_failure=2, one_host_always=True
    ),
)
WORDS = ("5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "retriable-status-codes")


@st.composite
def retry_policies(draw: st.DrawFn) -> RetryPolicy:
    return retry(
        draw(some(0, 1, 3)),
        draw(some(*WORDS)),
        codes=draw(some((), (418, 503))),
        per_try_timeout=draw(some(None, 0.12, 0.3)),
        previous_hosts=draw(st.booleans()),
        previous_priorities_update_frequency=draw(some(0, 0, 2)),
        hedge_on_per_try_timeout=draw(some(False, False, True)),
    )


@st.composite
def clusters(draw: st.DrawFn, name: str, callers: int, pods: tuple[Behaviour, ...], limited: bool) -> Cluster:
    """Up to four pods, in localities, on levels that each caller sees in its own way."""
    behaviours = draw(st.lists(some(*pods), min_size=not limited, max_size=MOST_PODS))
    levels = st.tuples(*[some(0, 1)] * len(behaviours))
    places = tuple(draw(some("a", "b", "c")) for _ in behaviours)
    weights = {"a": draw(some(1, 70)), "b": 30, "c": 20}
    return cluster(
        behaviours,
        draw(some("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")),
        name,
        places,
        priorities=tuple(draw(levels) for _ in range(callers)) if draw(st.booleans()) else (),
        locality_weights=(weights,) * callers if draw(st.booleans()) else None,
        panic_threshold=draw(some(0.0, 50.0)),
        connection_pool=draw(some(*POOLS)) if limited else ConnectionPool(),
        outlier_detection=draw(some(*DETECTORS)) if limited else None,
    )


@st.composite
def routes(draw: st.DrawFn, hop: int, last: bool, closed: bool) -> Route:
    """The route of the proxies at this place; its callers are the pods of the route before, or of that before it."""
    called_from = draw(some(None, None, hop - 2)) if hop > 1 else None
    before = "g" if hop == 0 else chr(97 + (hop - 1 if called_from is None else called_from))
    callers = tuple(f"{before}{i}" for i in range(MOST_PODS if hop else 2))
    free = last or not closed
    pods = (*(FAILING if free else ()), *STEADY, *SLOW_TO_FAIL, *BUSY)
    made = [draw(clusters(chr(97 + hop), len(callers), pods, free))]
    if last and draw(some(False, False, True)):
        made.append(draw(clusters("z", len(callers), pods, free)))
    tested = route(
        [],
        callers=callers,
        name=chr(97 + hop),
        called_from=called_from,
        retries=draw(retry_policies()),
        timeout=draw(some(None, None, 0.25, 0.7)),
        fault=draw(some(Fault(), Fault(), Fault(delay=0.1, delay_percent=50, abort_code=418, abort_percent=20))) if free else Fault(),
    )
    return replace(tested, destinations=tuple(Destination(cluster=c, weight=draw(some(30, 70))) for c in made))


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    load = draw(
        some(
            ClosedLoop(connections=3, duration=2),
            ClosedLoop(connections=12, duration=1.5, qps=40),
            ClosedLoop(calls=10),
            ClosedLoop(connections=4, calls=21),
            ClosedLoop(connections=3, calls=17, qps=30),
            OpenLoop(segments=((2, 5, 30),)),
            OpenLoop(segments=((1, 20, 20), (1, 0, 10)), arrivals="paced"),
        )
    )
    return replace(load, timeout=draw(some(None, 0.4, 3.0))) if NEW_ENGINE else load


@st.composite
def scenarios(draw: st.DrawFn, deepest: int = 3) -> Scenario:
    load = draw(workloads())
    hops = draw(some(*range(deepest, 0, -1)))
    chain = st.tuples(*[routes(hop, hop == hops - 1, isinstance(load, ClosedLoop)) for hop in range(hops)])
    routes_at_first = draw(chain)

    def later() -> tuple[Route, ...]:
        """Other routes of the same shape."""
        return tuple(
            replace(new, called_from=old.called_from, callers=old.callers) for new, old in zip(draw(chain), routes_at_first, strict=True)
        )

    return scenario(
        *routes_at_first,
        load=load,
        changes=tuple(Change(at=at, routes=later()) for at in draw(some((), (), (0.8,), (0.5, 1.2)))),
        workers=draw(some(1, 2)),
        new_connection_per_request=draw(st.booleans()),
        overhead=draw(some(Constant(0.02), stats.uniform(0.01, 0.02))),
    )


@st.composite
def plain_scenarios(draw: st.DrawFn) -> Scenario:
    """A closed loop in which only the balancer acts, behind nothing or a pod that calls on at once: what the lock-step loop runs."""
    pods = draw(st.lists(some(*STEADY[:1], *STEADY[2:], plain(0.05, **COIN), plain(0.1, error_rate=0.34)), min_size=1, max_size=MOST_PODS))
    front = (route([plain()], callers=("gateway",), name="w"),) if draw(st.booleans()) else ()
    last = route(pods, draw(some("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")), callers=("w0",))
    load = draw(some(ClosedLoop(connections=3, duration=3), ClosedLoop(calls=10), ClosedLoop(connections=4, calls=21, qps=50)))
    return scenario(*front, last, load=load, new_connection_per_request=draw(st.booleans()), overhead=0.02)
