"""Limits of the pods' own sidecars: left out only where no load can reach them."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmodel.scenario import (
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Constant,
    Destination,
    Endpoint,
    OpenLoop,
    RetryPolicy,
    Route,
    Scenario,
)
from meshmodel.simulation import sidecars, world
from meshmodel.simulation.montecarlo import simulate
from meshmodel.simulation.trace import trace as trace_of


def pod(seconds: float, limits: ConnectionPool | None = None, name: str = "pod-1", **more: object) -> Endpoint:
    behaviour = Behaviour(timing_50_percentile=seconds, **more)  # type: ignore[arg-type]
    return Endpoint(name=name, deployment=name, address=f"10.0.0.1:{len(name)}", behaviour=behaviour, inbound=limits)


def route(endpoint: Endpoint, caller: str = "client", **more: object) -> Route:
    cluster = Cluster(name=f"to {endpoint.name}", endpoints=(endpoint,))
    return Route(host=endpoint.name, callers=(Caller(name=caller),), destinations=(Destination(cluster=cluster),), **more)  # type: ignore[arg-type]


def scenario(*routes: Route, connections: int = 4, **load: object) -> Scenario:
    workload = ClosedLoop(connections=connections, qps=0, duration=5.0, **load)  # type: ignore[arg-type]
    return Scenario(routes=routes, workload=workload, overhead=Constant(0.001))


def test_calls_are_no_more_than_the_connections_of_the_load() -> None:
    one = scenario(route(pod(0.1)))
    assert sidecars.most_in_flight(one, one.routes) == 4
    many = replace(one, workload=OpenLoop(segments=((5.0, 10.0, 10.0),)))
    assert sidecars.most_in_flight(many, many.routes) == inf


def test_behind_somebody_who_never_gives_up_there_are_no_more() -> None:
    chain = (route(pod(0.0, name="front")), route(pod(0.1), caller="front"))
    assert sidecars.most_in_flight(scenario(*chain), chain) == 4


def test_hedges_multiply_them() -> None:
    hedging = RetryPolicy(attempts=2, per_try_timeout=0.05, hedge_on_per_try_timeout=True)
    one = scenario(route(pod(0.1), retries=hedging))
    assert sidecars.most_in_flight(one, one.routes) == 12


@pytest.mark.parametrize("seconds", [0.1, 3.5])
def test_who_gives_up_leaves_calls_behind(seconds: float) -> None:
    no_retry = RetryPolicy(attempts=0)
    chain = (route(pod(0.0, name="front"), timeout=1.0), route(pod(seconds), caller="front", retries=no_retry))
    longest = seconds + no_retry.max_interval
    assert sidecars.longest_call(chain, 1) == pytest.approx(longest)
    assert sidecars.most_in_flight(scenario(*chain), chain) == pytest.approx(4 * (2 + longest / 1.0))


@pytest.mark.parametrize("unbounded", [{"failure": "hang"}, {"concurrency": 1}])
def test_a_pod_that_may_keep_a_call_for_ever_bounds_nothing(unbounded: dict[str, object]) -> None:
    chain = (route(pod(0.0, name="front"), timeout=1.0), route(pod(0.1, **unbounded), caller="front"))
    assert sidecars.most_in_flight(scenario(*chain), chain) == inf
    bounded = (chain[0], replace(chain[1], timeout=2.0))
    assert sidecars.most_in_flight(scenario(*bounded), bounded) == 4 * (2 + 2)


@pytest.mark.parametrize("field", ["max_connections", "max_pending_requests", "max_requests"])
def test_limits_are_kept_from_the_first_that_can_be_reached(field: str) -> None:
    enough = 8 if field == "max_connections" else 4  # each of the two workers may keep a connection for each request
    for limit, left_out in ((enough, True), (enough - 1, False)):
        one = scenario(route(pod(0.1, ConnectionPool(**{field: limit}))))
        assert (sidecars.without_idle_limits(one).routes[0].endpoints[0].inbound is None) is left_out
        assert (len(world.layout(one).plan.inside) == 0) is left_out
    kept = scenario(route(pod(0.1, ConnectionPool(max_requests_per_connection=1))))
    assert sidecars.without_idle_limits(kept) == kept


@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.floats(0.02, 0.5),
    st.one_of(st.none(), st.floats(0.05, 1.0)),
    st.one_of(st.none(), st.floats(0.05, 1.0)),
    st.integers(0, 2),
)
def test_never_more_than_the_bound_are_at_the_pod(
    connections: int, seed: int, seconds: float, timeout: float | None, per_try_timeout: float | None, attempts: int
) -> None:
    """What is left out would not have acted: with the bound itself as the limit of the pod, nobody meets it."""
    policy = RetryPolicy(attempts=attempts, per_try_timeout=per_try_timeout, retry_on=frozenset({"5xx"}))
    front = route(pod(0.0, name="front"), timeout=timeout, retries=policy)
    chain = (front, route(pod(seconds, error_rate=0.3), caller="front", retries=replace(policy, per_try_timeout=None)))
    asked = scenario(*chain, connections=connections)
    most = sidecars.most_in_flight(asked, chain)
    assert most < inf
    trace = trace_of(asked, seed).attempts
    at_pod = trace[(trace["hop"] == 1) & trace["start"].notna()]
    changes = sorted([(start, 1) for start in at_pod["start"]] + [(end, -1) for end in at_pod["end"].fillna(np.inf)])
    assert max(np.cumsum([step for _, step in changes]), default=0) <= most


def test_a_sidecar_frees_the_place_of_a_request_whose_caller_has_left() -> None:
    """One pod hangs; what its callers give up no longer counts against the limit of its sidecar, which never refuses."""
    limits = ConnectionPool(max_requests=2, max_requests_per_connection=1000)  # which keeps the sidecar in the model
    hanging = scenario(route(pod(0.0, limits, failure="hang"), timeout=1.0, retries=RetryPolicy(attempts=0)), connections=2)
    assert world.layout(hanging).plan.inside
    replay = simulate(replace(hanging, workload=ClosedLoop(connections=2, calls=20)), 1, 1)
    assert {code: int(count[0]) for code, count in replay.codes.items() if count[0]} == {504: 20}


def test_an_application_works_on_for_a_caller_who_has_left() -> None:
    """Its sidecar has freed the place, so the next request joins the queue of the application: served after what nobody wants."""
    limits = ConnectionPool(max_requests=1, max_requests_per_connection=1000)
    slow = scenario(route(pod(0.7, limits, concurrency=1), timeout=1.0, retries=RetryPolicy(attempts=0)), connections=1)
    replay = simulate(replace(slow, workload=ClosedLoop(connections=1, calls=6), connect_time=0.0), 1, 1)
    assert [int(code) for code in replay.log.code[:, 0]] == [200] * 6
    slower = scenario(route(pod(1.2, limits, concurrency=1), timeout=1.0, retries=RetryPolicy(attempts=0)), connections=1)
    replay = simulate(replace(slower, workload=ClosedLoop(connections=1, calls=6), connect_time=0.0), 1, 1)
    assert [int(code) for code in replay.log.code[:, 0]] == [504] * 6


def test_a_pod_behind_its_limit_is_credited_with_its_answers() -> None:
    limits = ConnectionPool(max_requests=6)
    busy = scenario(route(pod(0.1, limits, concurrency=3), retries=RetryPolicy(attempts=0)), connections=8)
    replay = simulate(busy, 1, 1)
    good, answered = int(replay.codes[200][0]), int(replay.pods["pod-1"][0])
    assert good == answered > 0 and int(replay.codes[503][0]) > 0
