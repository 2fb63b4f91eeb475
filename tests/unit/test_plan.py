"""What the engine decides from a scenario alone, before anything is played: which loop, which hops, how large; by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from meshmodel.scenario import (
    Change,
    ClosedLoop,
    ConnectionPool,
    Constant,
    Destination,
    DirectResponse,
    Fault,
    HashPolicy,
    Mirror,
    OpenLoop,
    Route,
    SlowStart,
)
from meshmodel.simulation import admission, world
from meshmodel.simulation.admission import TooLarge
from meshmodel.simulation.montecarlo import simulate
from meshmodel.simulation.plan import collapse, only_balancing, settled_when_sent
from tests.oracle_loop import cluster, detection, plain, retry, route, scenario

TWO = [plain(0.1), plain(0.2)]


def weighted(tested: Route, *weights: int) -> Route:
    """The same with endpoints of these weights."""
    (destination,) = tested.destinations
    endpoints = tuple(replace(e, weight=weight) for e, weight in zip(destination.cluster.endpoints, weights, strict=True))
    return replace(tested, destinations=(replace(destination, cluster=replace(destination.cluster, endpoints=endpoints)),))


def guarded(tested: Route, limits: ConnectionPool) -> Route:
    """The same whose first pod's own sidecar has limits."""
    (destination,) = tested.destinations
    first, *others = destination.cluster.endpoints
    endpoints = (replace(first, inbound=limits), *others)
    return replace(tested, destinations=(replace(destination, cluster=replace(destination.cluster, endpoints=endpoints)),))


# --- which loop --------------------------------------------------------------------------------

ACTS = {
    "a timeout": route(TWO, timeout=1.0),
    "a per-try timeout": route(TWO, retries=retry(0, per_try_timeout=1.0)),
    "a status that is tried again": route([plain(0.1, error_rate=0.5, error_code=503)], retries=retry(1)),
    "a delay": route(TWO, fault=Fault(delay=0.1, delay_percent=50)),
    "an abort": route(TWO, fault=Fault(abort_code=418, abort_percent=50)),
    "a direct response": replace(route(TWO), destinations=(), direct_response=DirectResponse(status=418)),
    "two clusters": replace(route(TWO), destinations=tuple(Destination(cluster=cluster(TWO, name=n), weight=50) for n in "ab")),
    "a mirror": replace(route(TWO), mirrors=(Mirror(cluster=cluster(TWO, name="m")),)),
    "a hash": replace(route(TWO, "RING_HASH"), hash_policy=(HashPolicy(kind="header", name="x"),)),
    "weights": weighted(route(TWO), 1, 2),
    "slow start": route(TWO, slow_start=SlowStart(window=5.0)),
    "two proxies": route(TWO, callers=("a", "b")),
    "two levels": route(TWO, priorities=((0, 1),)),
    "weights of localities": route(TWO, localities=("a", "b"), locality_weights=({"a": 50, "b": 50},)),
    "a detector": route(TWO, outlier_detection=detection()),
    "a limit": route(TWO, connection_pool=ConnectionPool(max_requests=3)),
    "a queue in a pod": route([plain(0.1), plain(0.2, concurrency=1)]),
    "a limit of a pod's own sidecar": guarded(route(TWO), ConnectionPool(max_requests=3)),
    "a pod that refuses": route([plain(0.1), plain(failure="refused")]),
    "a pod that hangs": route([plain(0.1), plain(failure="hang")]),
    "nobody": route([]),
}


@pytest.mark.parametrize("what", ACTS)
def test_what_acts_beside_the_balancer_needs_an_event_loop(what: str) -> None:
    assert not only_balancing(scenario(ACTS[what]))


def test_what_never_acts_needs_none() -> None:
    never_tried_again = route([plain(0.1, error_rate=0.5, error_code=404)], retries=retry(3))
    unused = route(TWO, connection_pool=ConnectionPool(http2=True, max_retries=1))
    for tested in (route(TWO), never_tried_again, unused, route(TWO, priorities=((0, 0),)), route([plain(0.1, error_rate=0.5)])):
        assert only_balancing(scenario(tested))
    assert not only_balancing(scenario(route(TWO), load=OpenLoop(segments=((1.0, 5.0, 5.0),))))
    assert not only_balancing(scenario(route(TWO), changes=(Change(at=1.0, routes=(route(TWO),)),)))
    assert not only_balancing(scenario(route([plain()], name="w"), route(TWO, callers=("w0",))))


@pytest.mark.parametrize(("policy", "settled"), [("ROUND_ROBIN", True), ("RANDOM", True), ("LEAST_REQUEST", False)])
def test_a_request_is_over_when_it_is_sent_unless_somebody_counts_it(policy: str, settled: bool) -> None:
    assert settled_when_sent(scenario(route(TWO, policy))) == settled
    assert not settled_when_sent(scenario(route(TWO, policy, timeout=1.0)))


# --- which hops --------------------------------------------------------------------------------

IN_FRONT = {
    "two pods": route([plain(), plain()], name="w"),
    "two clusters": replace(
        route([plain()], name="w"), destinations=tuple(Destination(cluster=cluster([plain()], name=n), weight=50) for n in "wv")
    ),
    "a mirror": replace(route([plain()], name="w"), mirrors=(Mirror(cluster=cluster([plain()], name="m")),)),
    "a timeout": route([plain()], name="w", timeout=1.0),
    "a delay": route([plain()], name="w", fault=Fault(delay=0.1, delay_percent=50)),
    "an abort": route([plain()], name="w", fault=Fault(abort_code=418, abort_percent=50)),
    "retries of its 500": route([plain()], name="w", retries=retry(1)),
    "a per-try timeout": route([plain()], name="w", retries=retry(0, per_try_timeout=1.0)),
    "a detector": route([plain()], name="w", outlier_detection=detection()),
    "a limit": route([plain()], name="w", connection_pool=ConnectionPool(max_requests=3)),
    "a time of its own": route([plain(0.1)], name="w"),
    "failures of its own": route([plain(error_rate=0.5)], name="w"),
    "a pod that hangs": route([plain(failure="hang")], name="w"),
    "a queue": route([plain(concurrency=1)], name="w"),
    "a sidecar with limits": guarded(route([plain()], name="w"), ConnectionPool(max_requests=3)),
}


def in_front(front: Route, *changed: Route) -> int:
    """How many routes are left of one in front of another."""
    behind = route(TWO, callers=("w0",))
    return len(collapse(scenario(front, behind, changes=tuple(Change(at=1.0, routes=(each, behind)) for each in changed))).routes)


@pytest.mark.parametrize("what", IN_FRONT)
def test_what_acts_in_front_is_played(what: str) -> None:
    passes_on = route([plain()], name="w")
    assert in_front(IN_FRONT[what]) == 2 and in_front(passes_on, IN_FRONT[what]) == 2


def test_what_only_passes_on_is_left_out() -> None:
    for retries in (retry(0), retry(2, "gateway-error"), retry(2, "retriable-status-codes", codes=(404,))):
        assert in_front(route([plain()], name="w", retries=retries, connection_pool=ConnectionPool(http2=True))) == 1
    chain = [route([plain()], name=name, callers=(caller,)) for name, caller in (("a", "web"), ("b", "a0"))]
    assert len(collapse(scenario(*chain, route(TWO, callers=("b0",)))).routes) == 1
    acting = route([plain()], name="b", callers=("a0",), timeout=1.0)
    assert len(collapse(scenario(chain[0], acting, route(TWO, callers=("b0",)))).routes) == 2
    behind = route([plain(0.1)], name="a"), route([plain()], name="b", callers=("a0",)), route(TWO, callers=("b0",))
    assert len(collapse(scenario(*behind)).routes) == 3, "only the first ones are left out"


# --- how large ---------------------------------------------------------------------------------


def expected(load: ClosedLoop | OpenLoop, *pods: object, overhead: float = 0.1) -> float:
    return admission.expected_requests(scenario(route(list(pods) or [plain(0.4)]), load=load, overhead=overhead))


def test_a_load_sends_what_it_plans_or_what_its_fastest_pod_lets_it() -> None:
    assert expected(ClosedLoop(connections=3, calls=7)) == 7
    assert expected(ClosedLoop(connections=4, duration=10)) == pytest.approx(4 * (10 / 0.5 + 1))
    assert expected(ClosedLoop(connections=4, qps=2, duration=10)) == 20
    assert expected(OpenLoop(segments=((4, 0, 10), (2, 5, 5)))) == 30
    two = plain(0.4), plain(0.9)
    assert expected(ClosedLoop(duration=10), *two) == pytest.approx(10 / 0.5 + 1)
    rarely, often = (plain(0.4, error_rate=rate) for rate in (0.1, 0.3))  # at once, where it fails
    assert expected(ClosedLoop(duration=10), rarely) == pytest.approx(10 / 0.5 + 1)
    assert expected(ClosedLoop(duration=10), often) == pytest.approx(10 / 0.1 + 1)
    assert expected(ClosedLoop(duration=10), plain(), overhead=0.0) == pytest.approx(10 / admission.FASTEST + 1)


def test_a_log_has_room_for_what_is_expected_and_four_deviations() -> None:
    assert admission.room(scenario(route(TWO), load=ClosedLoop(calls=100))) == 100 + 40 + 16
    assert admission.room(scenario(route(TWO), load=ClosedLoop(calls=10**9))) == admission.MOST_ROOM


def test_what_is_kept_unasked() -> None:
    def kept(requests: int, replications: int) -> str:
        return admission.kept_unasked(scenario(route(TWO), load=ClosedLoop(calls=requests)), replications)

    assert [kept(500_000, 10), kept(500_001, 10), kept(10**7, 10)] == ["log", "figures", "figures"]
    with pytest.raises(TooLarge, match="100,000,010 requests would take minutes or hours: .*--keep figures"):
        kept(10**7 + 1, 10)


def refusal(requests: int, replications: int, keep: str, load: Callable[[int], object] = lambda n: ClosedLoop(calls=n)) -> str:
    """Why a run is refused, "" if it is not."""
    try:
        admission.admit(scenario(route([plain(0.1)]), load=load(requests)), replications, keep)
    except TooLarge as why:
        return str(why)
    return ""


def paced(requests: int) -> OpenLoop:
    return OpenLoop(segments=((float(requests), 1.0, 1.0),), arrivals="paced")


def test_a_log_of_more_than_eight_gigabytes_is_refused() -> None:
    """A row's bytes twice; a connection and its endpoint take some thousand bytes more."""
    assert admission.LOG_BYTES == 2 * sum(np.dtype(kind).itemsize for kind in world.COLUMNS.values())
    most = 8 * 2**30 // admission.LOG_BYTES
    assert not refusal(most - 100, 1, "log") and "8 GB of memory" in refusal(most, 1, "log")
    assert 'keep="figures"' in refusal(most, 1, "log") and not refusal(most, 1, "figures")
    assert not refusal((most - 100) // 4, 4, "log") and refusal(most // 4 + 1, 4, "log")
    replications = 8 * 2**30 // admission.TALLY_BYTES
    assert not refusal(1, replications - 100, "figures") and "GB of memory" in refusal(1, replications, "figures")


def test_a_run_of_more_than_a_day_is_refused() -> None:
    most = int(24 * 3600 * admission.EVENTS_PER_SECOND)
    assert not refusal(most // 1000, 1000, "figures") and "about 8.64e+10 requests would take days" in refusal(
        most // 1000 + 1, 1000, "figures"
    )
    assert "fewer replications, connections or calls, or a shorter duration" in refusal(most, 2, "figures")
    assert "fewer replications, a lower rate or a shorter duration" in refusal(most, 2, "figures", paced)


def test_connections_and_what_they_reach_take_memory_too() -> None:
    """Twice a kilobyte of each connection, and 250 bytes and 60 a worker of each endpoint that a proxy sees."""
    many = ClosedLoop(connections=4_294_000, calls=4_294_000)
    tested = scenario(route([plain(0.1)] * 300, callers=tuple(f"c{i}" for i in range(10))), load=many, workers=2)
    assert admission._bytes_of_route(tested, 0) == 3000 * (250 + 120)
    with pytest.raises(TooLarge, match="4,294,000 connections and the endpoints that they reach would take 8 GB"):
        admission.admit(tested, 1, "figures")
    fewer = replace(many, connections=4_200_000)
    admission.admit(replace(tested, workload=fewer), 1, "figures")


def test_what_cannot_be_asked_for_is_refused() -> None:
    tested = scenario(route(TWO), load=ClosedLoop(calls=1), overhead=Constant(0.0))
    with pytest.raises(ValueError, match="replications: must be 1 or more, got 0"):
        simulate(tested, 0)
    with pytest.raises(ValueError, match="keep: must be log or figures, got 'all'"):
        simulate(tested, 1, keep="all")  # type: ignore[arg-type]


def test_pods_call_on_from_behind_their_sidecars() -> None:
    """gateway -> w (with a sidecar that limits) -> p, and w -> q (with one): p and q call nobody, and q's is the last."""
    limits = ConnectionPool(max_requests=1)
    tested = scenario(
        guarded(route([plain()], callers=("gateway",), name="w"), limits),
        route([plain(0.1)], callers=("w0",)),
        guarded(route([plain(0.1)], callers=("w0",), name="q", called_from=0), limits),
        load=ClosedLoop(connections=4, calls=8),
    )
    routes = world.layout(tested).shared["route_then"][0]
    assert routes["outmost"].tolist() == [False, False, True, True, False]
    assert routes["last"].tolist() == [False, False, False, True, False]
    assert routes["following"].tolist() == [1, 2, -1, 4, -1] and routes["beside"].tolist() == [-1, -1, 3, -1, -1]
