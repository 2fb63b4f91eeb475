"""The scenarios in which engines are held against the plain loop of `tests/oracle_loop.py`, and against each other.

`FAMILY` is what every Monte-Carlo engine covers; `NEW_FAMILY` what only the compiled event loop does, each a
function, since some need fields that `Scenario` lacks before it.  Nothing but `meshmodel.scenario` is needed,
so that an older checkout's engine can play them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scipy import stats

from meshmodel.scenario import (
    Caller,
    Change,
    ClosedLoop,
    ConnectionPool,
    Destination,
    Fault,
    OpenLoop,
    RetryBudget,
    Route,
    Scenario,
)
from tests.oracle_loop import cluster, detection, plain, retry, route
from tests.oracle_loop import scenario as any_scenario

COIN = {"error_rate": 0.5, "injector": "nominal"}
"""A pod that fails half of its requests, independently."""

UNTIED = stats.uniform(0.001, 0.01)
"""An overhead: events that fall together by chance alone are in no order that a rule knows."""


def scenario(*routes: Route, overhead: object = UNTIED, **more: object) -> Scenario:
    return any_scenario(*routes, overhead=overhead, **more)


def closed(connections: int = 4, duration: float = 5.0, **more: float) -> ClosedLoop:
    return ClosedLoop(connections=connections, duration=duration, **more)


def poisson(rate: float, duration: float = 5.0) -> OpenLoop:
    return OpenLoop(segments=((duration, rate, rate),))


def impatient(pool: ConnectionPool) -> Route:
    """Tries that are given up before they have waited long for a connection."""
    pods, retries = [plain(0.3), plain(0.2)], retry(1, per_try_timeout=0.25)
    return route(pods, "LEAST_REQUEST", timeout=0.5, retries=retries, connection_pool=pool)


def web(**more: object) -> Route:
    return route([plain()], callers=("gateway",), name="w", **more)


SLOW = [plain(1.0), plain(0.15), plain(0.15)]
DELAYED = plain(0.3, error_type="delay", error_delay=0.1, **COIN)
FAMILY = {
    "round robin": scenario(route(SLOW), load=closed(6)),
    "least request": scenario(route(SLOW, "LEAST_REQUEST"), load=closed(6)),
    "connections keep their worker": scenario(route(SLOW), new_connection_per_request=False),
    "several proxies": scenario(route(SLOW, "LEAST_REQUEST", callers=("a", "b", "c")), load=closed(6)),
    "curl": scenario(route([plain(0.1, **COIN), plain(0.2)], "RANDOM", retries=retry(2)), load=ClosedLoop(calls=30)),
    "random, noisy": scenario(route([plain(0.3, **COIN), plain(0.15, timing_variance=40, timing_90_percentile=0.4)], "RANDOM")),
    "every second fails": scenario(
        route([plain(0.2, error_rate=0.5, error_code=503), plain(0.15)], "LEAST_REQUEST", retries=retry(2, "gateway-error"))
    ),
    "both timeouts": scenario(route([plain(1.0, **COIN), plain(0.15)], "RANDOM", timeout=0.5, retries=retry(3, per_try_timeout=0.2))),
    "refused": scenario(
        route([plain(failure="refused"), plain(0.15)], "RANDOM", retries=retry(1, "connect-failure", previous_hosts=False))
    ),
    "a pod ejected": scenario(
        route([plain(0.05, error_rate=1.0), plain(0.15), plain(0.1)], outlier_detection=detection()), load=closed(4, 8)
    ),
    "flapping": scenario(
        route(
            [plain(0.05, **COIN), plain(0.15, **COIN), plain(0.1)],
            "RANDOM",
            outlier_detection=detection(consecutive_5xx=2, max_ejection_percent=67),
        ),
        load=closed(4, 12),
    ),
    "two detectors": scenario(
        route(
            [plain(0.05, **COIN, error_code=503), plain(0.1, **COIN)],
            outlier_detection=detection(consecutive_gateway_failure=2, one_host_always=True, max_ejection_percent=10),
        ),
        load=closed(4, 8),
    ),
    "resets": scenario(
        route([plain(0.15), plain(failure="reset")], "RANDOM", retries=retry(2, "reset"), outlier_detection=detection(consecutive_5xx=3))
    ),
    "local origin": scenario(
        route(
            [plain(0.15), plain(failure="refused")],
            "RANDOM",
            outlier_detection=detection(split_external_local_origin_errors=True, consecutive_local_origin_failure=3),
        )
    ),
    "priorities": scenario(
        route(
            [plain(0.05, **COIN), plain(0.15), plain(0.1), plain(0.1)],
            "RANDOM",
            priorities=((0, 0, 1, 1),),
            outlier_detection=detection(consecutive_5xx=2),
        ),
        load=closed(4, 8),
    ),
    "retry remote localities": scenario(
        route(
            [plain(0.05, **COIN), plain(0.05, **COIN), plain(0.1)],
            priorities=((0, 0, 1),),
            outlier_detection=detection(consecutive_5xx=50),
            retries=retry(4, previous_priorities_update_frequency=2),
        ),
    ),
    "max_requests": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", connection_pool=ConnectionPool(max_requests=3)), load=poisson(15), workers=1
    ),
    "max_connections": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", connection_pool=ConnectionPool(max_connections=3, max_pending_requests=4)),
        load=poisson(25),
    ),
    "http2 connections that take three requests": scenario(
        impatient(ConnectionPool(max_connections=2, max_requests_per_connection=3, max_pending_requests=4, http2=True)), load=poisson(25)
    ),
    "waiting for a connection": scenario(impatient(ConnectionPool(max_connections=2)), load=closed(8)),
    "max_retries": scenario(
        route([DELAYED, DELAYED], "RANDOM", retries=retry(2), connection_pool=ConnectionPool(max_retries=2)), load=poisson(25)
    ),
    "retry budget": scenario(
        route(
            [DELAYED, DELAYED],
            "RANDOM",
            retries=retry(2),
            connection_pool=ConnectionPool(retry_budget=RetryBudget(budget_percent=20, min_retry_concurrency=1)),
        ),
        load=poisson(40),
    ),
    "retries at two hops": scenario(
        web(retries=retry(2)), route([plain(0.1, **COIN), plain(0.1)], "RANDOM", retries=retry(1), callers=("w0",))
    ),
    "two web pods": scenario(
        route([plain(0.01), plain(0.02, **COIN)], callers=("gateway",), name="w", retries=retry(1)),
        route([plain(0.5), plain(0.1)], "LEAST_REQUEST", callers=("w0", "w1")),
    ),
    "the outer proxy gives up": scenario(
        web(timeout=0.35, retries=retry(2)),
        route([plain(0.5, **COIN), plain(0.1)], "RANDOM", callers=("w0",), timeout=0.45, retries=retry(1)),
    ),
    "the outer proxy gives up on who waits": scenario(
        web(retries=retry(1, per_try_timeout=0.35)),
        route(
            [plain(0.5), plain(0.1)],
            "RANDOM",
            callers=("w0",),
            connection_pool=ConnectionPool(max_connections=2, max_retries=1),
            retries=retry(1, per_try_timeout=0.3),
        ),
        load=closed(6),
    ),
    "queue in the pod": scenario(
        route([plain(0.3, concurrency=1), plain(0.2, concurrency=2)], "LEAST_REQUEST", timeout=1.0, retries=retry(1, per_try_timeout=0.5)),
        load=poisson(12),
    ),
    "faults": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", timeout=0.25, fault=Fault(delay=0.3, delay_percent=50, abort_code=418, abort_percent=30))
    ),
    "hanging": scenario(route([plain(0.3), plain(failure="hang")], "RANDOM", timeout=0.5)),
    "paced": scenario(route([plain(0.15), plain(0.2)], "RANDOM"), load=closed(3, 5, qps=7)),
    "weights": scenario(
        Route(
            host="x",
            callers=(Caller(name="web"),),
            destinations=(
                Destination(cluster=cluster([plain(0.1)], name="a"), weight=30),
                Destination(cluster=cluster([plain(0.2)] * 2, name="b"), weight=70),
            ),
        )
    ),
    "ramp": scenario(route([plain(0.15), plain(0.2)], "LEAST_REQUEST"), load=OpenLoop(segments=((2, 0, 20), (1, 20, 20), (2, 5, 0)))),
    "changes": scenario(
        route([plain(0.1), plain(0.1)]),
        changes=(
            Change(at=2, routes=(route([plain(0.5, **COIN), plain(0.1), plain(0.2)], "LEAST_REQUEST", timeout=0.4, retries=retry(1)),)),
        ),
    ),
    "a change takes a pod away": scenario(
        route([plain(0.1), plain(0.2, **COIN)], outlier_detection=detection()),
        changes=(Change(at=2, routes=(route([plain(0.1)], retries=retry(1)),)),),
    ),
}

HEDGED = retry(2, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
FLAPPING = plain(0.05, error_rate=1.0, error_type="delay", error_delay=0.05)
FAMILY |= {
    "connections that fail are opened anew": scenario(route([plain(0.1, **COIN), plain(0.3)]), new_connection_per_request=False),
    "hedging": scenario(route([plain(0.5), plain(0.15), plain(0.3)], "RANDOM", retries=HEDGED)),
    "hedging beside failures": scenario(route([plain(0.5), DELAYED, plain(failure="reset")], "RANDOM", retries=HEDGED)),
    "hedging under limits": scenario(
        route([plain(0.5), DELAYED], "LEAST_REQUEST", retries=HEDGED, connection_pool=ConnectionPool(max_connections=3, max_retries=1)),
        load=closed(6),
    ),
    "panic": scenario(
        route(
            [FLAPPING, FLAPPING, plain(0.15), plain(0.1)],
            "RANDOM",
            panic_threshold=60.0,
            outlier_detection=detection(consecutive_5xx=2, interval=1.0, base_ejection_time=3.0),
        ),
        load=closed(4, 10),
    ),
    "panic of one level": scenario(
        route(
            [FLAPPING, FLAPPING, plain(0.15), plain(0.1)],
            "LEAST_REQUEST",
            panic_threshold=50.0,
            priorities=((0, 0, 1, 1),),
            outlier_detection=detection(consecutive_5xx=2, base_ejection_time=3.0),
        ),
        load=closed(4, 10),
    ),
    "everybody ejected": scenario(
        route([FLAPPING, FLAPPING], outlier_detection=detection(consecutive_5xx=3, base_ejection_time=2.0)), load=poisson(10, 10)
    ),
    "locality weights": scenario(
        route(
            [plain(0.1), plain(0.3), plain(0.2)],
            "LEAST_REQUEST",
            localities=("a", "a", "b"),
            locality_weights=({"a": 20, "b": 80},),
        )
    ),
    "locality weights and ejections": scenario(
        route(
            [FLAPPING, plain(0.1), plain(0.1), plain(0.2)],
            localities=("a", "a", "b", "c"),
            locality_weights=({"a": 50, "b": 30, "c": 20},),
            outlier_detection=detection(consecutive_5xx=2, base_ejection_time=3.0),
        ),
        load=closed(4, 12),
    ),
    "locality weights of a locality that is out": scenario(
        route(
            [FLAPPING, FLAPPING, plain(0.1)],
            "RANDOM",
            localities=("a", "a", "b"),
            locality_weights=({"a": 90, "b": 10},),
            outlier_detection=detection(consecutive_5xx=2, base_ejection_time=3.0),
        ),
        load=closed(4, 10),
    ),
    "a web pod's own time": scenario(
        route([plain(0.2), plain(0.05, timing_variance=50)], callers=("gateway",), name="w", retries=retry(1)),
        route([plain(0.1, **COIN), plain(0.3)], "RANDOM", callers=("w0", "w1")),
    ),
    "a web pod's own time and the outer timeout": scenario(
        route([plain(0.3), plain(0.6)], "LEAST_REQUEST", callers=("gateway",), name="w", retries=retry(1, per_try_timeout=0.4)),
        route([plain(0.1), plain(0.5)], "RANDOM", callers=("w0", "w1")),
    ),
    "three hops": scenario(
        web(retries=retry(1)),
        route([plain(0.05, **COIN), plain(0.02)], callers=("w0",), name="m", retries=retry(1)),
        route([plain(0.1, **COIN), plain(0.1)], "LEAST_REQUEST", callers=("m0", "m1"), retries=retry(1)),
    ),
    "two calls, one after another": scenario(
        web(timeout=0.6, retries=retry(1)),
        route([plain(0.1, **COIN), plain(0.2)], "RANDOM", callers=("w0",), name="m", retries=retry(1)),
        route([plain(0.1, **COIN), plain(0.3)], "LEAST_REQUEST", callers=("w0",), called_from=0),
    ),
    "a tree of calls": scenario(
        route([plain(0.05), plain(0.4)], callers=("gateway",), name="w", retries=retry(1)),
        route([plain(0.02), plain(0.1)], callers=("w0", "w1"), name="m", retries=retry(1, per_try_timeout=0.35)),
        route([plain(0.1, **COIN), plain(0.3)], "RANDOM", callers=("m0", "m1"), name="x", outlier_detection=detection()),
        route([plain(0.05, concurrency=1), plain(0.1)], "RANDOM", callers=("m0", "m1"), name="y", called_from=1),
        route([plain(0.1, **COIN), plain(0.1)], "LEAST_REQUEST", callers=("w0", "w1"), called_from=0, retries=retry(1)),
    ),
    "refused by the percentage": scenario(
        route(
            [plain(0.05, **COIN, error_code=503), plain(0.05, **COIN), plain(0.1), plain(0.1)],
            "RANDOM",
            outlier_detection=detection(consecutive_5xx=3, consecutive_gateway_failure=2, max_ejection_percent=25),
        ),
        load=closed(4, 10),
    ),
    "ejected longer and longer": scenario(
        route(
            [FLAPPING, plain(0.1)],
            outlier_detection=detection(consecutive_5xx=1, interval=0.7, base_ejection_time=1.0, max_ejection_time=3.5),
        ),
        load=closed(2, 25),
    ),
    "limits that change": scenario(
        route([plain(0.3), plain(0.2)], connection_pool=ConnectionPool(max_connections=2)),
        load=closed(6),
        changes=(Change(at=2, routes=(route([plain(0.3), plain(0.2)], connection_pool=ConnectionPool(max_connections=4)),)),),
    ),
}


def patient(load: ClosedLoop, timeout: float | None) -> ClosedLoop:
    return replace(load, timeout=timeout)


def inbound(tested: Route, pool: ConnectionPool) -> Route:
    """The route's pods hold all their callers together to `pool`."""
    (destination,) = tested.destinations
    pods = tuple(replace(e, inbound=pool) for e in destination.cluster.endpoints)
    return replace(tested, destinations=(replace(destination, cluster=replace(destination.cluster, endpoints=pods)),))


NEW_FAMILY: dict[str, Callable[[], Scenario]] = {
    "hedging and a timeout": lambda: scenario(
        route([plain(0.6), plain(failure="hang")], "RANDOM", retries=HEDGED, timeout=0.5, connection_pool=ConnectionPool(max_requests=6)),
        load=poisson(8),
    ),
    "one request for each connection": lambda: scenario(
        route(
            [plain(0.3), plain(0.1)],
            "RANDOM",
            connection_pool=ConnectionPool(max_connections=2, max_requests_per_connection=1, max_pending_requests=2),
        ),
        load=poisson(14),
        workers=1,
    ),
    "hanging behind a limit": lambda: scenario(
        route(
            [plain(0.2), plain(failure="hang")],
            "LEAST_REQUEST",
            timeout=1.0,
            retries=retry(1, per_try_timeout=0.3),
            connection_pool=ConnectionPool(max_connections=3, max_pending_requests=2),
        ),
        load=closed(8),
    ),
    "a tree of calls through limits": lambda: scenario(
        web(retries=retry(1)),
        inbound(route([plain(0.02), plain(0.1)], callers=("w0",), name="m", retries=retry(1)), ConnectionPool(max_connections=1)),
        route([plain(0.1, **COIN), plain(0.3)], "RANDOM", callers=("m0", "m1"), name="x", timeout=0.25),
        inbound(route([plain(0.2)], callers=("m0", "m1"), name="y", called_from=1), ConnectionPool(max_requests=1)),
        route([plain(0.1, **COIN), plain(0.1)], "LEAST_REQUEST", callers=("w0",), called_from=0),
        load=closed(6),
    ),
    "the client gives up": lambda: scenario(
        route([plain(0.3), plain(0.9)], "RANDOM", retries=retry(1), connection_pool=ConnectionPool(max_connections=3)),
        load=patient(poisson(8), 0.5),
    ),
    "the client gives up on a pod that hangs": lambda: scenario(
        route([plain(0.1), plain(failure="hang")], "LEAST_REQUEST"), load=patient(closed(4, 6), 0.7), new_connection_per_request=False
    ),
    "the client gives up on a chain": lambda: scenario(
        web(retries=retry(1, per_try_timeout=0.6)),
        route(
            [plain(0.3, **COIN), plain(0.9)], "RANDOM", callers=("w0",), retries=retry(1), connection_pool=ConnectionPool(max_connections=3)
        ),
        load=patient(poisson(6), 0.7),
    ),
    "some never end": lambda: scenario(route([plain(0.1), plain(failure="hang")], "RANDOM"), load=closed(5, 5)),
    "some never end, at any time": lambda: scenario(route([plain(0.1), plain(failure="hang")], "RANDOM"), load=poisson(10)),
    "total panic": lambda: scenario(
        route(
            [FLAPPING, FLAPPING, FLAPPING, plain(0.1), FLAPPING],
            "RANDOM",
            panic_threshold=50.0,
            priorities=((0, 0, 1, 1, 1),),
            outlier_detection=detection(consecutive_5xx=1, base_ejection_time=3.0),
        ),
        load=closed(4, 8),
    ),
    "an empty level panics": lambda: scenario(
        route(
            [FLAPPING, FLAPPING, plain(0.1), FLAPPING],
            panic_threshold=50.0,
            priorities=((0, 0, 2, 2),),
            outlier_detection=detection(consecutive_5xx=1, base_ejection_time=3.0),
        ),
        load=closed(4, 8),
    ),
    "panic ignores locality weights": lambda: scenario(
        route(
            [FLAPPING, FLAPPING, FLAPPING, plain(0.1)],
            "RANDOM",
            panic_threshold=60.0,
            localities=("a", "a", "a", "b"),
            locality_weights=({"a": 10, "b": 90},),
            outlier_detection=detection(consecutive_5xx=1, base_ejection_time=3.0),
        ),
        load=closed(4, 8),
    ),
    "all priorities tried": lambda: scenario(
        route(
            [FLAPPING, plain(0.02, error_rate=0.75, injector="nominal")],
            priorities=((0, 1),),
            outlier_detection=detection(consecutive_5xx=1000),
            retries=retry(9, previous_priorities_update_frequency=2, previous_hosts=False),
        )
    ),
    "timeouts of any proxy": lambda: scenario(
        web(timeout=0.9, retries=retry(1, per_try_timeout=0.5)),
        route([plain(0.05), plain(0.02)], callers=("w0",), name="m", timeout=0.4, retries=retry(1, per_try_timeout=0.25)),
        route([plain(0.3, **COIN), plain(0.15)], "RANDOM", callers=("m0", "m1"), timeout=0.35, retries=retry(1)),
    ),
    "hedging behind an outer timeout": lambda: scenario(
        web(timeout=0.45, retries=retry(1)), route([plain(0.5), DELAYED, plain(0.3)], "RANDOM", callers=("w0",), retries=HEDGED)
    ),
    "hedging of a route whose pods call on": lambda: scenario(
        route([plain(0.3), plain(0.05)], "RANDOM", callers=("gateway",), name="w", retries=HEDGED),
        route([plain(0.1, **COIN), plain(0.3)], "RANDOM", callers=("w0", "w1")),
    ),
    "a pod that calls on works on few at once": lambda: scenario(
        route([plain(0.1, concurrency=2), plain(0.3, concurrency=1)], "LEAST_REQUEST", callers=("gateway",), name="w", timeout=0.9),
        route([plain(0.1, **COIN), plain(0.2)], "RANDOM", callers=("w0", "w1")),
        load=poisson(8),
    ),
    "pending while connecting": lambda: replace(
        scenario(
            route([plain(0.05)], connection_pool=ConnectionPool(max_connections=3, max_pending_requests=1, max_requests_per_connection=1)),
            load=closed(3, 5),
            workers=1,
            overhead=stats.uniform(0.0, 0.05),
        ),
        connect_time=0.01,
    ),
    "connecting takes time": lambda: replace(
        scenario(route([plain(0.05), plain(0.1)], "LEAST_REQUEST", connection_pool=ConnectionPool(max_requests_per_connection=3))),
        connect_time=0.02,
    ),
    "connections full before requests": lambda: scenario(
        route([plain(0.2)], connection_pool=ConnectionPool(max_connections=2, max_requests=2)), load=closed(5, 5), workers=1
    ),
    "the receiver's limit": lambda: scenario(
        inbound(
            route([plain(0.3), plain(0.2)], "RANDOM", callers=("a", "b", "c"), retries=retry(1)),
            ConnectionPool(max_connections=2, max_pending_requests=1),
        ),
        load=poisson(20),
        workers=1,
    ),
    "a change of the cluster forgets who is out": lambda: scenario(
        route([FLAPPING, plain(0.1)], outlier_detection=detection(consecutive_5xx=2, base_ejection_time=20.0)),
        changes=(
            Change(
                at=3,
                routes=(route([FLAPPING, plain(0.1)], "RANDOM", outlier_detection=detection(consecutive_5xx=2, base_ejection_time=20.0)),),
            ),
        ),
    ),
}
