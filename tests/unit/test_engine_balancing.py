"""Consistent hashing, weights, mirrors, the proxy's own answers and error codes in the event loop: exact, by `meshmodel.rules`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshmodel.results.replay import Replay
from meshmodel.rules import hashing, warmup
from meshmodel.scenario import (
    Change,
    ClosedLoop,
    ConnectionPool,
    DirectResponse,
    Fault,
    HashPolicy,
    Mirror,
    OpenLoop,
    Request,
    Route,
    Scenario,
    SlowStart,
)
from meshmodel.simulation import montecarlo
from meshmodel.simulation.plan import NotModelled
from tests.oracle_loop import cluster, detection, plain, retry, route, scenario

FAILING = plain(error_rate=1.0, error_code=503)
HEADER = HashPolicy(kind="header", name="x-user")
WHO = [f"user {i}" for i in range(8)]
BOTH = ("RING_HASH", "MAGLEV")


def simulate(*routes: Route, load: object = None, runs: int = 4, **more: object) -> Replay:
    return montecarlo.simulate(scenario(*routes, load=load or ClosedLoop(calls=12), overhead=0.01, **more), runs)


def asked(who: str, calls: int = 12, **more: object) -> ClosedLoop:
    """A load that is one user's."""
    return ClosedLoop(calls=calls, request=Request(headers=(("x-user", who),)), **more)


def hashing_route(behaviours: list, load_balancing: str, policy: HashPolicy | None = HEADER, **more: object) -> Route:
    made = route(behaviours, load_balancing=load_balancing, **more)
    return replace(made, hash_policy=(policy,) if policy else ())


def picked(
    tested: Route,
    who: str | int,
    attempt: int = 0,
    usable: list[bool] | None = None,
    group: list[int] | None = None,
    weight: tuple[float, ...] = (),
) -> int:
    """Whom the rules pick for a user (or a hash) at pick number `attempt`, of those usable; `group` and `weight`: their localities'."""
    pods = tested.destinations[0].cluster
    keys, n = [endpoint.hash_key for endpoint in pods.endpoints], len(pods.endpoints)
    number = np.uint64(who if not isinstance(who, str) else hashing.request_hash(tested.hash_policy, {"x-user": who}, "/", ""))
    share, mine = np.zeros(n), np.array(usable or [True] * n)
    least, greatest = hashing.normalise(
        np.array([e.weight for e in pods.endpoints]), np.array(group or [0] * n), np.array(weight), mine, share
    )
    if pods.load_balancing == "RING_HASH":
        points = hashing.ring_points(keys, 3000)
        ring, owner = np.empty(len(points[0]), np.uint64), np.empty(len(points[0]), int)
        size = hashing.fill_ring(share, least, 1024, 2**23, *points, np.zeros(n, int), ring, owner)
        return int(hashing.ring_pick(ring, owner, size, number, attempt))
    table = np.empty(65537, int)
    hashing.fill_maglev(share, greatest, *hashing.maglev_orders(keys, 65537), np.zeros(n, int), np.zeros(n), table)
    return int(hashing.maglev_pick(table, number, attempt))


def attempts(runs: Replay) -> list[float]:
    return runs.pod_attempts.mean(axis=1).tolist()


# --- consistent hashing ------------------------------------------------------------------------


@pytest.mark.parametrize("load_balancing", BOTH)
def test_a_user_keeps_a_pod(load_balancing: str) -> None:
    tested = hashing_route([plain(0.01)] * 5, load_balancing)
    found = [set(simulate(tested, load=asked(who)).log.endpoint.ravel()) for who in WHO]
    assert found == [{picked(tested, who)} for who in WHO] and len({picked(tested, who) for who in WHO}) > 2


@pytest.mark.parametrize(("load_balancing", "weights"), [*((each, (1, 1, 8)) for each in BOTH), ("RING_HASH", (1, 1, 400))])
def test_weights_of_endpoints_count_in_the_tables(load_balancing: str, weights: tuple[int, ...]) -> None:
    tested = weighted(hashing_route([plain(0.01)] * 3, load_balancing), *weights)
    found = [set(simulate(tested, load=asked(who)).log.endpoint.ravel()) for who in WHO]
    assert found == [{picked(tested, who)} for who in WHO]


@pytest.mark.parametrize("users", [2, 4])
def test_every_user_of_a_load_is_drawn_alike(users: int) -> None:
    """1,000 calls of each, outside +- 140 for one of them in one run of 100 million."""
    tested = hashing_route([plain()] * 5, "RING_HASH")
    hashes, _ = hashing.user_hashes(tested.hash_policy, users, Request())
    expected = np.bincount([picked(tested, number) for number in hashes], minlength=5) * 1000
    runs = simulate(tested, load=ClosedLoop(calls=1000 * users, users=users), runs=1)
    assert np.abs(runs.pod_attempts[:, 0] - expected).max() < 140 * users and (runs.pod_attempts[expected == 0] == 0).all()


@pytest.mark.parametrize("policy", [HEADER, None])
def test_a_request_that_carries_nothing_goes_anywhere(policy: HashPolicy | None) -> None:
    """Each of 400 calls; a pod's share of the ring is 20 % give or take 3: none of five stays below 30 or above 140."""
    counts = simulate(hashing_route([plain(0.0)] * 5, "RING_HASH", policy), load=ClosedLoop(calls=400), runs=1).pod_attempts[:, 0]
    assert counts.min() > 30 and counts.max() < 140


def test_a_cookie_that_the_proxy_makes_up_is_the_connections() -> None:
    tested = hashing_route([plain(0.0)] * 5, "RING_HASH", HashPolicy(kind="cookie", name="u", ttl=0.0))
    kept = simulate(tested, load=ClosedLoop(calls=40), runs=20, new_connection_per_request=False).log.endpoint
    assert (kept == kept[0]).all() and len(set(kept[0])) > 1
    assert len(set(simulate(tested, load=ClosedLoop(calls=40), runs=1).log.endpoint.ravel())) > 2


@pytest.mark.parametrize("load_balancing", BOTH)
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_retry_picks_on_where_it_must_not_go_back(load_balancing: str, elsewhere: bool) -> None:
    tested = hashing_route([FAILING] * 5, load_balancing, retries=retry(1, backoff_base_interval=0.001, previous_hosts=elsewhere))
    for who in WHO[:4]:
        first, *later = [picked(tested, who, attempt) for attempt in range(6)]
        second = next((other for other in later if other != first), first) if elsewhere else first
        expected = np.bincount([first, second], minlength=5) * 12.0
        assert attempts(simulate(tested, load=asked(who))) == expected.tolist()


@pytest.mark.parametrize("load_balancing", BOTH)
def test_the_users_of_an_ejected_pod_are_divided_among_the_others(load_balancing: str) -> None:
    out = detection(consecutive_5xx=1, base_ejection_time=600)
    tested = hashing_route([FAILING, *[plain(0.01)] * 4], load_balancing, outlier_detection=out)
    first = [who for who in (f"somebody {i}" for i in range(60)) if picked(tested, who) == 0][:4]
    for who in first:
        heir = picked(tested, who, usable=[False, True, True, True, True])
        assert attempts(simulate(tested, load=asked(who))) == (np.bincount([0, *[heir] * 11], minlength=5) * 1.0).tolist()


def test_a_hash_has_its_level_too() -> None:
    """One of two pods of the first level is out: 70 % of the hashes stay (70 and less of 1 to 100)."""
    out = detection(consecutive_5xx=1, base_ejection_time=600)
    tested = hashing_route([FAILING, plain(), plain(), plain()], "RING_HASH", outlier_detection=out, priorities=((0, 0, 1, 1),))
    for who in WHO:
        number = hashing.request_hash((HEADER,), {"x-user": who}, "/", "")
        last = simulate(tested, load=asked(who, calls=30, connections=1), runs=1).log.endpoint[-1, 0]
        if picked(tested, who, usable=[True, True, False, False]) == 0:  # it meets the failing pod first, and ejects it
            assert (last in (2, 3)) == (number % 100 + 1 > 70)


def test_a_levels_ring_is_made_of_its_own_localities() -> None:
    """Those of the other level have no weight in it; all are well, so that the first level gets everything."""
    of = {"localities": tuple("abcd"), "locality_weights": ({"a": 3, "b": 1, "c": 5, "d": 5},), "priorities": ((0, 0, 1, 1),)}
    tested = hashing_route([plain()] * 4, "RING_HASH", **of)
    for who in [f"somebody {i}" for i in range(12)]:
        mine = picked(tested, who, usable=[True, True, False, False], group=[0, 1, 2, 3], weight=(3, 1, 0, 0))
        assert set(simulate(tested, load=asked(who, calls=2), runs=1).log.endpoint.ravel()) == {mine}


def test_previous_priorities_have_no_say_over_a_hash() -> None:
    policy = retry(5, backoff_base_interval=0.001, previous_priorities_update_frequency=2)
    tested = hashing_route([FAILING, FAILING, plain(), plain()], "RING_HASH", priorities=((0, 0, 1, 1),), retries=policy)
    assert set(simulate(tested, load=asked(WHO[0])).codes) == {503}


def test_the_same_user_is_hashed_by_every_proxy() -> None:
    first = hashing_route([plain()] * 3, "RING_HASH", name="w")
    second = hashing_route([plain()] * 5, "MAGLEV", callers=("w0", "w1", "w2"))
    for who in WHO[:4]:
        runs = simulate(first, second, load=asked(who))
        assert set(runs.log.endpoint.ravel()) == {picked(second, who)}


# --- weights -------------------------------------------------------------------------------------


def weighted(tested: Route, *weights: int) -> Route:
    """The same with endpoints of these weights."""
    (destination,) = tested.destinations
    endpoints = tuple(replace(e, weight=weight) for e, weight in zip(destination.cluster.endpoints, weights, strict=True))
    return replace(tested, destinations=(replace(destination, cluster=replace(destination.cluster, endpoints=endpoints)),))


def test_round_robin_takes_turns_by_weight() -> None:
    runs = simulate(weighted(route([plain()] * 3), 3, 1, 2), load=ClosedLoop(calls=600), runs=20, workers=1)
    assert np.abs(runs.pod_attempts - [[300], [100], [200]]).max() <= 1


def test_least_request_weighs_by_what_is_under_way() -> None:
    """Weights 1 and 2, one connection: nothing is under way when the next call comes, so that they count alone."""
    tested = weighted(route([plain()] * 2, load_balancing="LEAST_REQUEST"), 1, 2)
    assert np.abs(simulate(tested, load=ClosedLoop(calls=300), runs=20, workers=1).pod_attempts - [[100], [200]]).max() <= 1


def test_random_knows_no_weights() -> None:
    """4,000 calls, one of two: outside 2,000 +- 140 in one run of 100,000."""
    tested = weighted(route([plain()] * 2, load_balancing="RANDOM"), 1, 9)
    assert abs(simulate(tested, load=ClosedLoop(calls=4000), runs=1).pod_attempts[0, 0] - 2000) < 140


def test_locality_weights_come_first() -> None:
    tested = route([plain()] * 3, localities=("a", "a", "b"), locality_weights=({"a": 1, "b": 1},))
    runs = simulate(weighted(tested, 1, 3, 1), load=ClosedLoop(calls=800), runs=10, workers=1)
    assert np.abs(runs.pod_attempts - [[100], [300], [400]]).max() <= 2


def test_levels_that_split_a_locality_divide_its_weight() -> None:
    """Locality a has 3 of weight 3, one of them in the second level; the first level is whole: 2 to 1 between a and b."""
    tested = route([plain()] * 4, localities=("a", "a", "a", "b"), locality_weights=({"a": 3, "b": 1},), priorities=((0, 0, 1, 0),))
    runs = simulate(tested, load=ClosedLoop(calls=900), runs=10, workers=1)
    assert np.abs(runs.pod_attempts - [[300], [300], [0], [300]]).max() <= 2


# --- slow start ------------------------------------------------------------------------------------


def joining(load_balancing: str, slow_start: SlowStart, **more: object) -> Scenario:
    """Three pods, a fourth from 1 s on; 100 calls a second for 6 s."""
    before, after = (route([plain()] * n, load_balancing=load_balancing, slow_start=slow_start, **more) for n in (3, 4))
    load = OpenLoop(segments=((6.0, 100.0, 100.0),), arrivals="paced")
    return scenario(before, load=load, overhead=0.0, workers=1, changes=(Change(at=0.995, routes=(after,)),))


SLOW = (SlowStart(window=4.0), SlowStart(window=4.0, aggression=2.0), SlowStart(window=4.0, min_weight_percent=50))


@pytest.mark.parametrize("slow_start", SLOW)
@pytest.mark.parametrize("load_balancing", ["ROUND_ROBIN", "LEAST_REQUEST"])
def test_a_young_pod_gets_its_factors_part(load_balancing: str, slow_start: SlowStart) -> None:
    """factor / (3 + factor) of each call, as its turns allow: within three calls at any time, in every replication."""
    log = montecarlo.simulate(joining(load_balancing, slow_start), 10).log
    ages = log.start[:, 0] - 0.995
    factors = [warmup.slow_start_factor(age, slow_start.window, slow_start.aggression, slow_start.min_weight_percent) for age in ages]
    part = np.where(ages > 0, np.array(factors) / (3 + np.array(factors)), 0.0)
    assert np.abs((log.endpoint == 3).cumsum(axis=0) - part.cumsum()[:, None]).max() < 3.5


def test_random_does_not_warm_up() -> None:
    """500 calls, one of four: outside 125 +- 45 in one run of 200,000."""
    log = montecarlo.simulate(joining("RANDOM", SLOW[0]), 1).log
    assert abs((log.endpoint == 3).sum() - 125) < 45


def test_who_comes_back_from_an_ejection_is_warm() -> None:
    """It fails once, at 1 s, is out for a second, and then gets a fourth of what there is."""
    failing, well = (route([plain(error_rate=rate), *[plain()] * 3], slow_start=SLOW[0],
                           outlier_detection=detection(consecutive_5xx=1, interval=0.1)) for rate in (1.0, 0.0))  # fmt: skip
    load = OpenLoop(segments=((4.0, 100.0, 100.0),), arrivals="paced")
    log = montecarlo.simulate(scenario(failing, load=load, overhead=0.0, workers=1, changes=(Change(at=0.5, routes=(well,)),)), 10).log
    late = log.start >= 2.0
    assert np.abs(((log.endpoint == 0) & late).sum(axis=0) - late.sum(axis=0) / 4).max() <= 2


# --- mirrors ---------------------------------------------------------------------------------------


def mirrored(behaviours: list, percent: float = 100.0, shadows: list | None = None, of: dict | None = None, **more: object) -> Route:
    shadow = cluster(shadows or [plain()], name="shadow", **of or {})
    return replace(route(behaviours, **more), mirrors=(Mirror(cluster=shadow, percent=percent),))


def test_a_mirror_gets_every_request_and_is_nobodys_answer() -> None:
    runs = simulate(mirrored([plain(0.1)], shadows=[plain(5.0, error_rate=1.0)]))
    assert attempts(runs) == [12.0, 12.0] and set(runs.codes) == {200} and runs.log.latency.max() < 0.12


def test_a_part_of_the_requests_is_mirrored() -> None:
    """4,000 requests, 30 %: outside 1,200 +- 130 in one run of 100,000."""
    assert abs(simulate(mirrored([plain()], percent=30), load=ClosedLoop(calls=4000), runs=1).pod_attempts[1, 0] - 1200) < 130


def test_retries_are_not_mirrored_and_copies_not_retried() -> None:
    runs = simulate(mirrored([FAILING], shadows=[FAILING], retries=retry(2, backoff_base_interval=0.001)))
    assert attempts(runs) == [36.0, 12.0]


def test_what_the_fault_filter_aborts_is_not_mirrored() -> None:
    runs = simulate(mirrored([plain()], fault=Fault(abort_code=400, abort_percent=50)), load=ClosedLoop(calls=60), runs=10)
    assert (runs.pod_attempts[0] == runs.pod_attempts[1]).all() and 0 < runs.pod_attempts[0].mean() < 60


def test_a_mirror_has_limits_and_a_detector_of_its_own() -> None:
    slow = mirrored([plain(0.01)], shadows=[plain(5.0)], of={"connection_pool": ConnectionPool(max_requests=1)})
    runs = simulate(slow)
    assert attempts(runs) == [12.0, 1.0] and set(runs.codes) == {200}
    ejected = simulate(mirrored([plain(0.01)], shadows=[FAILING], of={"outlier_detection": detection(base_ejection_time=600)}))
    assert attempts(ejected) == [12.0, 5.0]


def test_a_copys_time_is_the_routes_timeout() -> None:
    """Its connection is free again then: one of a second each 0.25 s, of which one in four finds it so."""
    limited = {"connection_pool": ConnectionPool(max_requests=1)}
    load = OpenLoop(segments=((10.0, 4.0, 4.0),), arrivals="paced")
    assert simulate(mirrored([plain()], shadows=[plain(60.0)], of=limited, timeout=0.9), load=load).pod_attempts[1].max() == 10


def test_a_mirrors_pods_call_on() -> None:
    web = replace(route([plain()], name="w"), mirrors=(Mirror(cluster=cluster([plain()], name="x")),))
    runs = simulate(web, route([plain()], callers=("w0", "x0")))
    assert attempts(runs) == [24.0] and (runs.log.attempts == 1).all()


def test_a_copy_meets_the_limits_of_its_pods_own_sidecar() -> None:
    """One at a time: of two that overlap the second is refused by the sidecar, after it has reached the pod."""
    shadow = cluster([plain(5.0)], name="shadow")
    guarded = tuple(replace(e, inbound=ConnectionPool(max_requests=1)) for e in shadow.endpoints)
    mirrors = (Mirror(cluster=replace(shadow, endpoints=guarded, outlier_detection=detection(consecutive_5xx=3, base_ejection_time=600))),)
    assert attempts(simulate(replace(route([plain(0.1)]), mirrors=mirrors))) == [12.0, 4.0]


def test_more_mirrors_than_an_event_has_room_for_are_refused() -> None:
    copies = tuple(Mirror(cluster=cluster([plain()], name=f"s{i}")) for i in range(5))
    with pytest.raises(NotModelled, match="mirrors: at most 4"):
        simulate(replace(route([plain()]), mirrors=copies))


# --- the proxy's own answers -----------------------------------------------------------------------


def test_a_direct_response_is_everybodys_answer() -> None:
    answering = replace(route([plain()]), destinations=(), direct_response=DirectResponse(status=418))
    runs = simulate(answering)
    assert set(runs.codes) == {418} and (runs.log.endpoint == -1).all() and (runs.log.attempts == 0).all()
    assert set(simulate(route([plain()], name="w"), replace(answering, callers=route([plain()]).callers)).codes) == {500}


def test_a_route_may_turn_into_a_direct_response() -> None:
    before = route([plain(0.01)])
    after = replace(before, destinations=(), direct_response=DirectResponse(status=503))
    load = OpenLoop(segments=((4.0, 10.0, 10.0),), arrivals="paced")
    log = simulate(before, load=load, changes=(Change(at=2.0, routes=(after,)),)).log
    assert (log.code[log.start < 1.99] == 200).all() and (log.code[log.start > 2.01] == 503).all()


# --- what is an error ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "codes", "thresholds", "ejects"),
    [
        (429, {429}, {"consecutive_5xx": 3}, True),
        (429, {429}, {"consecutive_5xx": 0, "consecutive_gateway_failure": 3}, False),
        (429, set(), {"consecutive_5xx": 3}, False),
        (503, {429}, {"consecutive_5xx": 3, "consecutive_gateway_failure": 3}, False),
        (503, {503}, {"consecutive_5xx": 0, "consecutive_gateway_failure": 3}, True),
    ],
)
def test_error_codes_say_what_a_detector_counts(status: int, codes: set[int], thresholds: dict[str, int], ejects: bool) -> None:
    out = detection(base_ejection_time=600, error_codes=frozenset(codes), **thresholds)
    runs = simulate(route([plain(error_rate=1.0, error_code=status), plain()], outlier_detection=out), load=ClosedLoop(calls=40), workers=1)
    assert (runs.pod_attempts[0] == (3 if ejects else 20)).all()


def test_what_no_pod_answered_counts_whatever_the_error_codes() -> None:
    out = detection(consecutive_5xx=3, base_ejection_time=600, error_codes=frozenset({429}))
    runs = simulate(route([plain(failure="reset"), plain()], outlier_detection=out), load=ClosedLoop(calls=40), workers=1)
    assert (runs.pod_attempts[0] == 3).all()
