"""What holds for every scenario, by Hypothesis; and the corners where the event loop once failed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from meshmodel.analytic import NoClosedForm
from meshmodel.analytic.engine import predict
from meshmodel.results.fortio import Histogram
from meshmodel.results.log import RequestLog
from meshmodel.scenario import Change, ClosedLoop, ConnectionPool, Constant, Destination, Fault, OpenLoop, RetryBudget, Route, Scenario
from meshmodel.simulation import loop, montecarlo
from meshmodel.simulation.montecarlo import simulate
from meshmodel.simulation.plan import only_balancing, settled_when_sent
from meshmodel.simulation.state import World
from tests.oracle_family import FAMILY, NEW_FAMILY
from tests.oracle_loop import cluster, detection, plain, retry, route, scenario
from tests.runs import worlds

REPLICATIONS = 4
COIN = {"error_rate": 0.5, "injector": "nominal"}


def some(*values: object) -> st.SearchStrategy:
    return st.sampled_from(values)


pods = some(
    plain(0.1),
    plain(0.3, timing_90_percentile=1.0, timing_variance=30),
    plain(0.05, **COIN),
    plain(0.1, error_rate=0.34, error_code=503),
    plain(0.1, error_rate=1.0),
    plain(failure="refused"),
    plain(failure="reset"),
    plain(failure="hang"),
    plain(0.2, concurrency=1),
    plain(0.1, concurrency=3, **COIN),
)
pools = some(
    ConnectionPool(),
    ConnectionPool(),
    ConnectionPool(max_requests=2),
    ConnectionPool(max_connections=1),
    ConnectionPool(max_connections=3, max_pending_requests=1),
    ConnectionPool(max_connections=2, http2=True),
    ConnectionPool(max_connections=2, http2=True, max_requests_per_connection=3),
    ConnectionPool(max_retries=1, max_requests_per_connection=2),
    ConnectionPool(max_connections=2, max_requests_per_connection=1),
    ConnectionPool(retry_budget=RetryBudget(min_retry_concurrency=1)),
)
detectors = some(
    None,
    detection(consecutive_5xx=1),
    detection(consecutive_5xx=2, interval=0.3, base_ejection_time=0.2, update_merge_window=0.3),
    detection(max_ejection_percent=34),
    detection(
        split_external_local_origin_errors=True, consecutive_gateway_failure=2, consecutive_local_origin_failure=2, one_host_always=True
    ),
)
words = some("5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "envoy-ratelimited")


@st.composite
def policies(draw: st.DrawFn, hedges: bool = False) -> object:
    return retry(
        draw(some(0, 1, 3)),
        draw(words),
        per_try_timeout=draw(some(None, 0.12)),
        previous_hosts=draw(st.booleans()),
        previous_priorities_update_frequency=draw(some(0, 2)),
        hedge_on_per_try_timeout=hedges,
    )


@st.composite
def backends(draw: st.DrawFn, hedges: bool) -> object:
    """A route to up to four pods."""
    behaviours = draw(st.lists(pods, max_size=4))
    return route(
        behaviours,
        draw(some("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")),
        callers=("w0", "w1"),
        retries=draw(policies(hedges)),
        timeout=draw(some(None, 0.25, 0.7)),
        connection_pool=draw(pools),
        outlier_detection=draw(detectors),
        panic_threshold=draw(some(0.0, 50.0)),
        fault=draw(some(Fault(), Fault(delay=0.1, delay_percent=50, abort_code=418, abort_percent=20))),
        priorities=draw(some((), (tuple(i % 2 for i in range(len(behaviours))), tuple((i + 1) % 2 for i in range(len(behaviours)))))),
    )


def passing(**more: object) -> object:
    return route([plain(), plain(0.02)], callers=("gateway",), name="w", **more)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    two = draw(st.booleans())
    hedges = not two and draw(st.booleans())
    chain = lambda: (*((passing(timeout=draw(some(None, 0.4)), retries=draw(policies())),) if two else ()), draw(backends(hedges)))  # noqa: E731
    load = draw(
        some(
            ClosedLoop(connections=3, duration=3),
            ClosedLoop(connections=12, duration=2, qps=40),
            ClosedLoop(calls=10),
            OpenLoop(segments=((2, 5, 40),)),
        )
    )
    changes = tuple(Change(at=at, routes=chain()) for at in draw(some((), (), (0.8,), (0.5, 1.5))))
    return scenario(
        *chain(), load=load, changes=changes, workers=draw(some(1, 2)), overhead=draw(some(Constant(0.02), stats.uniform(0.01, 0.02)))
    )


def check(tested: Scenario, log: RequestLog) -> None:
    """The invariants of a log."""
    real = log.code != -2
    assert np.array_equal(real, np.isfinite(log.start)) and np.array_equal(real, np.isfinite(log.latency))
    assert np.all(log.latency[real] >= 0) and np.all(log.start[real] >= 0)
    assert set(np.unique(log.code[real])) <= {200, 500, 503, 504, 418}
    most = np.prod(
        [1 + max(r.retries.attempts for r in hops) for hops in zip(tested.routes, *(c.routes for c in tested.changes), strict=True)]
    )
    assert np.all(log.attempts[real] >= 0) and np.all(log.attempts[real] <= most)
    assert np.all((log.endpoint[real] >= -1) & (log.endpoint[real] < 5))
    if isinstance(tested.workload, ClosedLoop):
        for i in range(log.start.shape[1]):
            begin, end = log.start[real[:, i], i], (log.start + log.latency)[real[:, i], i]
            steps = sorted([(t + 1e-6, 1) for t in begin] + [(t, -1) for t in end])
            assert np.cumsum([step for _, step in steps]).max(initial=0) <= tested.workload.threads


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate])
@given(scenarios())
def test_any_scenario_ends_and_keeps_its_books(tested: Scenario) -> None:
    """Nothing hangs or raises; every request is logged once; what was taken is given back when nobody hangs."""
    runs = simulate(tested, REPLICATIONS)
    check(tested, runs.log)
    assert runs.pod_attempts.min(initial=0) >= 0 and all(c.min() >= 0 for c in runs.counters.values())
    assert np.all(np.where(runs.log.code != -2, runs.log.attempts, 0).sum(axis=0) <= runs.pod_attempts.sum(axis=0))
    check_books(tested, REPLICATIONS)


@pytest.mark.parametrize("name", [*FAMILY, *NEW_FAMILY])
def test_every_policy_keeps_its_books(name: str) -> None:
    check_books(FAMILY[name] if name in FAMILY else NEW_FAMILY[name](), 1)


def check_books(tested: Scenario, replications: int) -> None:
    """No count below zero; of one route whose clients all have their answers, nothing is held, nor a slot that nobody uses."""
    for w in worlds(tested, replications):
        books = {f"{name} {field}": getattr(w, name)[field] for name, fields in BOOKS.items() for field in fields}
        assert {name: int(book.min()) for name, book in books.items() if book.min(initial=0) < 0} == {}
        if len(tested.routes) == 1 and not w.tally["unanswered"][0] and not settled_when_sent(tested):
            given_back = {name: int(book.sum()) for name, book in books.items() if name not in KEPT and book.any()}
            assert given_back == {}
            if not books["pod busy"].any():
                clients = tested.workload.threads if isinstance(tested.workload, ClosedLoop) else 0
                taken = len(w.timer) - int(w.clock["first_call"][0]) - int(w.clock["free"][0])
                assert taken == clients + books["pool connecting"].sum() + idle_with_a_slot(w)


def idle_with_a_slot(w: World) -> int:
    """Connections that carry a number of requests and no more, and are idle, or HTTP/2's, of which all are."""
    counted = w.cluster[(w.cluster["max_requests_per_connection"] > 1) | w.cluster["http2"]]
    return sum(int(w.pool["ready"][:, c["first_host"] : c["first_host"] + c["all_hosts"]].sum()) for c in counted)


BOOKS = {
    "host": ("active",),
    "upstream": ("in_flight", "retrying", "waiting", "opened", "ejected"),
    "pool": ("ready", "busy", "connecting", "length"),
    "pod": ("busy",),
}
KEPT = ("upstream opened", "upstream ejected", "pool ready", "pool connecting", "pod busy")
"""What may be left when every client has its answer: connections, hosts that are out, and work that nobody waits for."""


MIXED = scenario(
    route([plain(0.3, **COIN), plain(0.1)], "LEAST_REQUEST", retries=retry(2), timeout=0.5, outlier_detection=detection(consecutive_5xx=2)),
    load=ClosedLoop(connections=3, duration=4),
)


def test_numbers_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any executor and any number of parts: exact."""
    monkeypatch.setattr(montecarlo, "PARTS", 3)
    here = simulate(MIXED, 11, seed=5)
    with ThreadPoolExecutor(2) as executor:
        there = simulate(MIXED, 11, seed=5, executor=executor)
    for name in RequestLog.FIELDS:
        assert np.array_equal(getattr(here.log, name), getattr(there.log, name), equal_nan=True)
    assert np.array_equal(here.ejections.time, there.ejections.time) and np.array_equal(here.pod_attempts, there.pod_attempts)
    assert not np.array_equal(here.mean, simulate(MIXED, 11, seed=6).mean)
    assert here.ejections.replication.max() >= 4  # counted on over the blocks
    first = simulate(MIXED, 4, seed=5)
    assert np.array_equal(first.mean, here.mean[:4])


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
def test_a_mesh_scaled_to_zero_answers_503(policy: str) -> None:
    runs = simulate(scenario(route([], policy), load=ClosedLoop(connections=2, duration=1)), 3)
    assert set(runs.codes) == {503} and set(runs.pods) == {"envoy"}


@pytest.mark.parametrize("load", [ClosedLoop(connections=4, duration=10), OpenLoop(segments=((1, 1, 1),))])
def test_a_hanging_pod_without_a_timeout_ends_the_connections_not_the_program(load: object) -> None:
    pods = [plain(0.1), plain(failure="hang"), plain(0.1, error_rate=1.0)]
    runs = simulate(scenario(route(pods, outlier_detection=detection(consecutive_5xx=1)), load=load), 10)
    assert runs.endpoints["p1"].sum() == 0 and runs.requests.max() < 200


def test_health_changes_at_any_time_are_told() -> None:
    """The calendar rounds times: a merge window or a tick that ends at 16.000000004 s must not be waited for for ever."""
    policy = detection(consecutive_5xx=1, interval=1.0, base_ejection_time=1.0, update_merge_window=0.3)
    pods = [plain(0.2), *[plain(error_rate=1.0, error_type="delay", error_delay=0.2)] * 2]
    runs = simulate(scenario(route(pods, outlier_detection=policy), load=ClosedLoop(connections=2, duration=70)), 20)
    assert runs.ejections.time.max() > 60


def test_two_pods_that_return_on_one_tick_are_told_one_after_the_other() -> None:
    """The first at once, the second when the merge window is over."""
    policy = detection(consecutive_5xx=1, interval=10.0, base_ejection_time=5.0, update_merge_window=2.0)
    pods = [plain(0.05), *[plain(error_rate=1.0, error_type="delay", error_delay=0.05)] * 2]
    runs = simulate(scenario(route(pods, outlier_detection=policy), load=ClosedLoop(connections=4, duration=30)), 5)
    for i in range(5):
        mine = runs.ejections.replication == i
        times, pod = runs.ejections.time[mine], runs.ejections.pod[mine]
        back = times[~runs.ejections.ejected[mine]]
        assert back[0] == back[1]
        again = {p: t for t, p, gone in zip(times, pod, runs.ejections.ejected[mine], strict=True) if gone and back[0] < t < back[0] + 9}
        assert min(again.values()) < back[0] + 0.5 and max(again.values()) > back[0] + 1.9


def limits(before: ConnectionPool, after: ConnectionPool) -> np.ndarray:
    """Latencies, some time after the change, of 6 callers at a pod that takes 0.5 s."""
    tested = scenario(
        route([plain(0.5)], connection_pool=before),
        load=ClosedLoop(connections=6, duration=20),
        workers=1,
        changes=(Change(at=5.2, routes=(route([plain(0.5)], connection_pool=after),)),),
    )
    log = simulate(tested, 2).log
    return log.latency[log.start > 9]


def test_connection_limits_may_change_under_load() -> None:
    free, one = ConnectionPool(), ConnectionPool(max_connections=1)
    assert np.allclose(limits(free, one), 6 * 0.5, atol=0.01)
    assert np.allclose(limits(one, free), 0.503)
    assert len(limits(one, free)) == 2 * 6 * 22


def test_pods_may_come_and_go_under_load() -> None:
    one, three = [plain(0.1)], [plain(0.1)] * 3
    runs = simulate(
        scenario(
            route(one),
            load=ClosedLoop(connections=2, duration=9),
            changes=(Change(at=3, routes=(route(three),)), Change(at=6, routes=(route(one),))),
        ),
        3,
    )
    for begin, end, pods in ((0, 3, {0}), (3, 6, {0, 1, 2}), (6, 10, {0})):
        assert set(runs.log.endpoint[(runs.log.start >= begin) & (runs.log.start < end)]) == pods


def test_a_pod_that_gets_more_workers_has_them_free() -> None:
    tested = scenario(
        route([plain(1.0, concurrency=1)]),
        load=OpenLoop(segments=((4, 1, 1), (1, 3, 3)), arrivals="paced"),
        changes=(Change(at=4, routes=(route([plain(1.0, concurrency=4)]),)),),
        overhead=0.0,
    )
    log = simulate(tested, 1).log
    assert np.allclose(log.latency[log.start > 4], 1.0)


def test_a_locality_that_was_out_gets_its_share_again() -> None:
    """Exact but for the phase of the schedule: within two requests."""
    good, bad = [plain(0.01), plain(0.01)], [plain(0.01), plain(0.01, error_rate=1.0)]
    more = {
        "localities": ("a", "b"),
        "locality_weights": ({"a": 50, "b": 50},),
        "outlier_detection": detection(consecutive_5xx=1, base_ejection_time=5, max_ejection_percent=50),
    }
    tested = scenario(route(bad, **more), load=ClosedLoop(duration=20), changes=(Change(at=0.5, routes=(route(good, **more),)),), workers=1)
    log = simulate(tested, 5).log
    late = log.start > 9
    assert np.abs(((log.endpoint == 0) & late).sum(axis=0) - ((log.endpoint == 1) & late).sum(axis=0)).max() <= 2


def test_many_endpoints_keep_their_own_counts() -> None:
    """25 pods of which one is slow, in a large block: it gets at least 1/25^2 and far less than 1/25 (chance below 1e-9)."""
    tested = scenario(route([plain(5.0), *[plain(0.01)] * 24], "LEAST_REQUEST", timeout=4.0), load=ClosedLoop(connections=4, duration=2))
    attempts = simulate(tested, 2000).pod_attempts
    assert 0 < attempts[0].sum() < attempts[1:].sum(axis=1).min()
    assert not any(w.host["active"][1:].any() for w in worlds(tested, 20))


def test_the_outer_proxys_timeout_is_told_from_its_per_try_timeout_at_any_time() -> None:
    """A route timeout is not retried, after a minute either."""
    tested = scenario(
        passing(timeout=0.3, retries=retry(3)), route([plain(0.5)], callers=("w0", "w1")), load=ClosedLoop(connections=2, duration=60)
    )
    runs = simulate(tested, 5)
    assert set(runs.codes) == {504} and set(np.unique(runs.log.attempts[runs.log.code != -2])) == {1}
    assert np.nanmax(runs.log.latency) < 0.301


def test_a_retry_that_the_outer_proxy_gave_up_is_returned_once() -> None:
    """max_retries holds after outer timeouts: never more retries under way than allowed."""
    failing = plain(0.25, error_rate=1.0, error_type="delay", error_delay=0.25)
    tested = scenario(
        passing(timeout=0.3),
        route([failing], callers=("w0", "w1"), retries=retry(1), connection_pool=ConnectionPool(max_retries=1)),
        load=ClosedLoop(connections=4, duration=10),
    )
    for w in worlds(tested, 3):
        assert 0 <= w.upstream["retrying"].min() and w.upstream["retrying"].max() <= 1


def test_least_request_without_overhead_forgets_the_connections_last_request() -> None:
    """One connection: no host is preferred; binomial test, false-alarm rate 1e-3."""
    endpoint = simulate(scenario(route([plain(0.1)] * 3, "LEAST_REQUEST"), load=ClosedLoop(duration=20), overhead=0.0), 200).log.endpoint
    same = (endpoint[1:] == endpoint[:-1])[endpoint[1:] >= 0]
    assert stats.binomtest(int(same.sum()), len(same), 1 / 3).pvalue > 1e-3


def test_each_proxy_has_its_own_balancer() -> None:
    many = scenario(route([plain(0.1)] * 2, callers=("a", "b")))
    assert not only_balancing(many)
    assert only_balancing(replace(many, routes=(route([plain(0.1)] * 2),)))


def test_slow_answers_are_no_standstill() -> None:
    runs = simulate(scenario(route([plain(100.0), plain(0.1)], "RANDOM", timeout=30.0), load=OpenLoop(segments=((40, 30, 30),))), 10)
    assert runs.requests.min() > 1000


def test_there_is_room_for_as_many_calls_at_once_as_come() -> None:
    """A hundred in half a second, of a second each; exact."""
    tested = scenario(route([plain(1.0)], "LEAST_REQUEST"), load=OpenLoop(segments=((0.5, 200, 200),), arrivals="paced"), overhead=0.0)
    log = simulate(tested, 2).log
    assert log.latency.shape == (100, 2) and np.all(log.latency == 1.0) and np.all(log.code == 200)
    check_books(tested, 1)


def test_requests_that_take_no_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_EVENTS_AT_ONCE", 1000)  # for those without a compiler
    with pytest.raises(ValueError, match="no time"):
        simulate(scenario(route([plain()]), load=ClosedLoop(duration=1), overhead=0.0), 1)
    with pytest.raises(ValueError, match="no time"):
        simulate(scenario(route([]), load=ClosedLoop(duration=1), overhead=0.0), 1)


def test_hedges_and_connection_limits() -> None:
    """One connection, two callers, each attempt 0.5 s: whoever waits is served in the end; exact."""
    policy = retry(1, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    for limit in (1, 2, 3):
        tested = scenario(
            route([plain(0.5)], retries=policy, connection_pool=ConnectionPool(max_connections=limit)),
            load=ClosedLoop(connections=2, duration=5),
            workers=1,
        )
        runs = simulate(tested, 3)
        assert set(runs.codes) == {200} and runs.requests.min() >= 8


def test_a_refused_hedge_leaves_the_first_attempt_running() -> None:
    policy = retry(1, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    tested = scenario(
        route([plain(0.5)] * 3, retries=policy, connection_pool=ConnectionPool(max_retries=1)), load=ClosedLoop(connections=4, duration=5)
    )
    assert set(simulate(tested, 3).codes) == {200}
    assert not any(w.host["active"].any() for w in worlds(tested, 3))


def test_a_pod_that_changes_counts_its_requests_from_the_start() -> None:
    """fake-service fails every second request of its own (at once); the pod that `kubectl apply` puts in its place has seen none; exact."""
    before, after = (route([plain(0.1, error_rate=0.5, error_code=code)]) for code in (503, 501))
    for change, codes in ((before, [200, 503, 200, 503, 200, 503]), (after, [200, 503, 200, 200, 501, 200])):
        tested = scenario(before, load=ClosedLoop(calls=6), overhead=0.0, changes=(Change(at=0.15, routes=(change,)),))
        assert simulate(tested, 2).log.code[:, 0].tolist() == codes


def test_a_weight_of_zero_sends_nothing_to_the_only_locality() -> None:
    """Istio takes away the endpoints that `distribute` names no share for: no healthy upstream; exact."""
    for weight, code in ((0, 503), (100, 200)):
        only = cluster([plain(0.1)] * 2, localities=("a", "a"), locality_weights=({"a": weight},))
        tested = scenario(replace(route([plain()]), destinations=(Destination(cluster=only),)), load=ClosedLoop(connections=2, duration=1))
        assert set(simulate(tested, 3).codes) == {code}


def test_levels_without_endpoints_are_passed_over() -> None:
    """Priorities may start at 1, or skip a number; exact."""
    for levels in ((1, 1), (0, 2), (2, 1)):
        tested = scenario(route([plain(0.1)] * 2, priorities=(levels,)), load=ClosedLoop(connections=2, duration=2))
        runs = simulate(tested, 3).log
        best = [i for i, level in enumerate(levels) if level == min(levels)]
        assert set(np.unique(runs.endpoint)) - {-2} == set(best)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(scenarios())
def test_any_scenario_is_predicted_or_refused_by_name(tested: Scenario) -> None:
    """The formulas give a histogram that fortio could have written, or say what they do not cover."""
    try:
        prediction = predict(tested)
    except NoClosedForm as refusal:
        assert str(refusal).startswith("no closed form for ")
        return
    histogram = Histogram.from_json(prediction.to_json()["fortio"], "prediction")
    assert histogram.count == max(1, round(prediction.count.mean)) == sum(histogram.codes.values())


def test_a_mesh_scaled_to_zero_is_predicted() -> None:
    prediction = predict(scenario(route([]), load=ClosedLoop(connections=2, duration=1)))
    assert prediction.code_shares()[503].mean == 1.0 and prediction.endpoint_shares()["envoy"].mean == 1.0


def failing(seconds: float) -> object:
    return plain(error_rate=1.0, error_type="delay", error_delay=seconds)


def two_clusters(first: list, second: list, weights: tuple[int, int], pool: ConnectionPool | None = None, **more: object) -> Route:
    """A route to two clusters; a weight of 0 leaves its cluster out."""
    made = (cluster(first, "RANDOM", "a", connection_pool=pool or ConnectionPool()), cluster(second, "RANDOM", "b"))
    destinations = tuple(Destination(cluster=c, weight=w) for c, w in zip(made, weights, strict=True) if w)
    return replace(route([plain()], retries=retry(1, **more)), destinations=destinations)


def test_a_hedge_whose_answer_does_not_end_the_request_frees_its_connection() -> None:
    policy = retry(2, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    pods = [plain(0.5, error_rate=0.5, injector="nominal", error_type="delay", error_delay=0.4)] * 2
    tested = scenario(route(pods, "RANDOM", retries=policy, connection_pool=ConnectionPool(max_connections=3)))
    assert simulate(tested, 3).requests.min() > 30


def test_a_cluster_that_a_change_takes_away_keeps_its_retry_budget() -> None:
    """Every replication counts the same, whatever its number: 1e-4 false alarms."""
    pool = ConnectionPool(retry_budget=RetryBudget(min_retry_concurrency=1))
    before, after = (two_clusters([failing(0.3)], [plain(0.1)], weights, pool) for weights in ((99, 1), (0, 100)))
    load = OpenLoop(segments=((1.0, 60, 60),), arrivals="paced")
    overflow = simulate(scenario(before, load=load, changes=(Change(at=0.999, routes=(after,)),)), 200).counters[
        "upstream_rq_retry_overflow"
    ]
    assert stats.ttest_ind(overflow[:50], overflow[-50:]).pvalue > 1e-4 and overflow.mean() > 10


def test_retries_that_a_change_allows_know_what_was_tried_before() -> None:
    """Compiled with bounds checks, an index that nobody has set would be an error."""
    chain = [two_clusters([failing(0.3)] * 6, [failing(0.3)], weights) for weights in ((100, 1), (1, 100), (1, 100))]
    chain[1] = replace(chain[1], retries=retry(0))
    chain[2] = replace(chain[2], retries=retry(2, previous_priorities_update_frequency=1))
    changes = (Change(at=2, routes=(chain[1],)), Change(at=3.1, routes=(chain[2],)))
    assert set(simulate(scenario(chain[0], load=ClosedLoop(connections=4, duration=6), changes=changes), 50).codes) == {500}


def test_a_request_keeps_the_timeout_that_it_started_with() -> None:
    """The second fails at 0.8 s and would succeed at its retry, after 1.2 s; a change at 0.5 s takes the timeout away; exact."""
    pod = plain(0.4, error_rate=0.5, error_type="delay", error_delay=0.4)
    before, after = (route([pod], timeout=timeout, retries=retry(3)) for timeout in (0.5, None))
    tested = scenario(before, load=ClosedLoop(calls=4), overhead=0.0, changes=(Change(at=0.5, routes=(after,)),))
    log = simulate(tested, 5).log
    assert np.allclose(log.latency[:2, 0], (0.4, 0.5)) and log.code[:, 0].tolist() == [200, 504, 200, 200]
    assert np.allclose(log.start[2], 0.9) and log.attempts[1].tolist() == [2] * 5


def test_a_panic_that_is_over_leaves_no_level_in_panic() -> None:
    """Four of five pods on two levels fail and are out; when they are well and back, both levels' panics are over; exact."""
    policy = {"priorities": ((0, 0, 1, 1, 1),), "outlier_detection": detection(consecutive_5xx=1), "panic_threshold": 50.0}
    ill = route([*[plain(0.1, error_rate=1.0)] * 4, plain(0.1)], "RANDOM", **policy)
    tested = scenario(ill, load=ClosedLoop(duration=20), changes=(Change(at=5.0, routes=(route([plain(0.1)] * 5, "RANDOM", **policy),)),))
    hosts = simulate(tested, 1).trace(0).hosts
    assert (hosts.event == "panic").sum() == (hosts.event == "panic ends").sum() >= 2
    assert (hosts.endpoint[hosts.event.isin(["panic", "panic ends"])] == "").all(), "it is a level's"
    (w,) = worlds(tested, 1)
    assert not w.level["panics"].any() and not w.host["ejected"].any()
