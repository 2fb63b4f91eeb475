"""Single rules, seen through `simulate` where each decides alone: exact, whatever the random numbers, and for the plain loop as well.

The first four were once broken on purpose without any other test noticing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from meshmodel.results.log import RequestLog
from meshmodel.results.replay import Replay
from meshmodel.scenario import Behaviour, Change, ClosedLoop, ConnectionPool, Destination, Fault, OpenLoop, Scenario
from meshmodel.simulation import montecarlo, world
from meshmodel.simulation.closed_loop import NEVER, ClosedLoopRun, pacing
from meshmodel.simulation.run import Run, stream
from tests import oracle_replay
from tests.new_engine import NEW_ENGINE
from tests.oracle_loop import cluster, detection, plain, retry, route, scenario

RUNS = 20

Simulate = Callable[..., Replay]


@pytest.fixture(params=["engine", "oracle"])
def simulate(request: pytest.FixtureRequest) -> Simulate:
    """The engine under test, and the plain loop beside it."""
    return montecarlo.simulate if request.param == "engine" else oracle_replay.simulate


@pytest.fixture
def newest(request: pytest.FixtureRequest, simulate: Simulate) -> Simulate:
    """As `simulate`, for a rule that the engine before the compiled event loop has not."""
    if simulate is montecarlo.simulate and not NEW_ENGINE:
        pytest.skip("waits for the compiled event loop: tests/new_engine.py")
    return simulate


@pytest.mark.parametrize(("most", "third"), [(0, 0.16), (1, 0.1), (2, 0.16), (3, 0.1), (4, 0.16)])
def test_a_connection_carries_max_requests_per_connection(simulate: Simulate, most: int, third: float) -> None:
    """A slow and a fast pod in turn, two requests each; then slow, fast, slow: the third opens a connection only if the fast pod's is gone.

    That is so if it has just carried its last request.  At two each it was closed before, and a new one holds the second place.
    """
    pool = ConnectionPool(max_connections=2, max_requests_per_connection=most)
    load = OpenLoop(segments=((4, 1, 1), (0.06, 50, 50)), arrivals="paced")
    tested = route([plain(0.1), plain(0.01)], connection_pool=pool)
    log = simulate(scenario(tested, load=load, workers=1, overhead=0.0), RUNS).log
    latency, slow_first = np.take_along_axis(log.latency, np.argsort(log.start, axis=0), axis=0), log.endpoint[0] == 0
    assert slow_first.any() and np.allclose(latency[-1, slow_first], third, atol=1e-6)


@pytest.mark.parametrize("failing", [plain(error_rate=1.0), plain(failure="reset"), plain(failure="refused")])
def test_a_hedge_that_fails_waits_for_the_attempt_beside_it(simulate: Simulate, failing: Behaviour) -> None:
    """One pod takes 0.5 s, the other fails at once: whichever is tried first, the slow one's answer is the request's."""
    policy = retry(1, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    runs = simulate(scenario(route([plain(0.5), failing], retries=policy), load=ClosedLoop(calls=6), overhead=0.0), RUNS)
    assert set(runs.codes) == {200} and np.all(runs.log.attempts == 2)
    assert np.isclose(runs.log.latency, 0.5).any() and np.all((runs.log.latency >= 0.5 - 1e-6) & (runs.log.latency <= 0.5 + 0.025))


def test_the_last_failure_of_hedges_is_passed_on(simulate: Simulate) -> None:
    """Both attempts fail, the first at 0.3 s, the hedge beside it sooner or later: the later failure is the answer."""
    policy = retry(1, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.3, error_code=code) for code in (503, 502)]
    runs = simulate(scenario(route(pods, retries=policy), load=ClosedLoop(calls=6), overhead=0.0), RUNS)
    assert np.all(runs.log.attempts == 2) and np.all(runs.log.latency >= 0.5 - 1e-6) and set(runs.codes) == {502, 503}


def times_out(runs: object, replication: int) -> np.ndarray:
    """For how long the pod that fails was ejected, each time, in seconds."""
    mine = runs.ejections.replication == replication
    out, back = (runs.ejections.time[mine & which] for which in (runs.ejections.ejected, ~runs.ejections.ejected))
    return back - out[: len(back)]


def test_nobody_is_ejected_for_longer_than_300_seconds(simulate: Simulate) -> None:
    """A pod that fails its first request after each return: 100, 200, then 300 s and no more, each up to the next tick."""
    policy = detection(consecutive_5xx=1, interval=10.0, base_ejection_time=100.0)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.05), plain(0.05)]
    load = OpenLoop(segments=((2000, 1, 1),), arrivals="paced")
    runs = simulate(scenario(route(pods, outlier_detection=policy), load=load, overhead=0.0), 5)
    for replication in range(5):
        out = times_out(runs, replication)
        assert len(out) >= 5
        least = np.minimum(100.0 * np.arange(1, len(out) + 1), 300.0)
        assert np.all((out >= least - 1e-3) & (out <= least + 10 + 1e-3)), out


@pytest.mark.parametrize("longest", [3.5, 2.0])
def test_max_ejection_time_is_the_longest_ejection(simulate: Simulate, longest: float) -> None:
    """And no shorter than base_ejection_time; ticks each 0.1 s."""
    policy = detection(consecutive_5xx=1, interval=0.1, base_ejection_time=2.0, max_ejection_time=longest, update_merge_window=0.0)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.01), plain(0.01)]
    runs = simulate(scenario(route(pods, outlier_detection=policy), load=ClosedLoop(connections=1, duration=30, qps=50), overhead=0.0), 5)
    for replication in range(5):
        out = times_out(runs, replication)
        assert len(out) >= 5 and np.all((out[1:] >= longest - 1e-3) & (out[1:] <= longest + 0.1 + 1e-3)), out


@pytest.mark.parametrize(("own", "inner", "seconds"), [(0.5, 0.1, 0.5), (0.1, 0.5, 0.5), (0.0, 0.3, 0.3)])
def test_a_pod_that_calls_on_works_meanwhile(simulate: Simulate, own: float, inner: float, seconds: float) -> None:
    """fake-service calls its upstream first and then sleeps for what is left of its own time."""
    chain = route([plain(own)], callers=("gateway",), name="w"), route([plain(inner)], callers=("w0",))
    runs = simulate(scenario(*chain, load=ClosedLoop(calls=3), overhead=0.0), 3)
    assert np.allclose(runs.log.latency, seconds, atol=1e-6)


def test_a_pod_whose_upstream_fails_does_not_sleep(simulate: Simulate) -> None:
    """It answers 500 at once, its own time or not."""
    failing = plain(error_rate=1.0, error_type="delay", error_delay=0.2, error_code=503)
    chain = route([plain(0.5)], callers=("gateway",), name="w"), route([failing], callers=("w0",))
    runs = simulate(scenario(*chain, load=ClosedLoop(calls=3), overhead=0.0), 3)
    assert np.allclose(runs.log.latency, 0.2, atol=1e-6) and set(runs.codes) == {500}


def test_the_outer_per_try_timeout_meets_the_calling_pods_own_time(simulate: Simulate) -> None:
    chain = (
        route([plain(0.5)], callers=("gateway",), name="w", retries=retry(0, per_try_timeout=0.4)),
        route([plain(0.1)], callers=("w0",)),
    )
    runs = simulate(scenario(*chain, load=ClosedLoop(calls=3), overhead=0.0), 3)
    assert np.allclose(runs.log.latency, 0.4, atol=1e-6) and set(runs.codes) == {504}


def test_a_hedge_that_a_limit_refuses_leaves_the_first_attempt_to_answer(newest: Simulate) -> None:
    """`max_requests` 1: the hedge overflows, the first attempt goes on (router.cc, onUpstreamReset; seen on Envoy 1.40); exact."""
    policy = retry(1, per_try_timeout=0.2, hedge_on_per_try_timeout=True)
    tested = route([plain(0.5)] * 2, retries=policy, connection_pool=ConnectionPool(max_requests=1))
    runs = newest(scenario(tested, load=ClosedLoop(calls=4), overhead=0.0), RUNS)
    assert set(runs.codes) == {200} and np.allclose(runs.log.latency, 0.5, atol=1e-6)


def test_a_request_waits_for_a_connection_before_it_counts_among_max_requests(newest: Simulate) -> None:
    """Two of four callers wait, none is refused: `max_requests` is asked when a connection is there; exact.

    Source: conn_pool_base.cc, attachStreamToClient; seen on Envoy 1.40.
    """
    pool = ConnectionPool(max_connections=2, max_requests=2)
    runs = newest(
        scenario(route([plain(0.2)], connection_pool=pool), load=ClosedLoop(connections=4, calls=16), workers=1, overhead=0.0), RUNS
    )
    assert set(runs.codes) == {200} and np.allclose(runs.log.latency.max(axis=0), 0.4, atol=1e-6)


def test_a_new_connection_needs_a_place_among_the_pending(newest: Simulate) -> None:
    """One connection, one pending, three requests at once to two pods at random: refused where the first two go to one pod.

    Even if the third could have opened the other pod's first connection.  Source: conn_pool_base.cc, newStreamImpl; seen
    on Envoy 1.40, 32 times of 32.  Binomial: false-alarm rate 1e-6.
    """
    pool = ConnectionPool(max_connections=1, max_pending_requests=1)
    load = OpenLoop(segments=((0.003, 1000, 1000),), arrivals="paced")
    runs = newest(scenario(route([plain(1.0)] * 2, "RANDOM", connection_pool=pool), load=load, workers=1), 400)
    assert stats.binomtest(int(runs.codes[503].sum()), 400, 0.5).pvalue > 1e-6


def test_a_timeout_during_a_back_off_is_no_timeout_of_an_attempt(newest: Simulate) -> None:
    """Envoy counts `upstream_rq_timeout` once for each attempt under way (router.cc, onResponseTimeout; seen on Envoy 1.40): none here."""
    pods = [plain(error_rate=1.0, error_code=503)]
    tested = route(pods, retries=retry(3, backoff_base_interval=50.0, backoff_max_interval=50.0), timeout=0.4)
    runs = newest(scenario(tested, load=ClosedLoop(calls=10), overhead=0.0), RUNS)
    assert runs.codes[504].sum() > 0.9 * runs.requests.sum() and not runs.counters["upstream_rq_timeout"].any()


def test_a_timeout_ends_every_hedge(newest: Simulate) -> None:
    """Both attempts are under way, so both are counted; exact."""
    policy = retry(1, per_try_timeout=0.1, hedge_on_per_try_timeout=True)
    runs = newest(scenario(route([plain(1.0)] * 2, retries=policy, timeout=0.4), load=ClosedLoop(calls=5), overhead=0.0), RUNS)
    assert set(runs.codes) == {504} and np.all(runs.counters["upstream_rq_timeout"] == 10)


def test_a_cluster_that_changes_forgets_who_is_out(newest: Simulate) -> None:
    """Other policies make Envoy build the cluster anew, and its detector; other endpoints do not; exact."""
    policy = detection(consecutive_5xx=2, base_ejection_time=60.0)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.01), plain(0.01)]
    before = route(pods, outlier_detection=policy)
    again = {
        "policy": route(pods, "RANDOM", outlier_detection=policy),
        "endpoints": route([*pods, plain(0.01)], outlier_detection=policy),
        "route": route(pods, outlier_detection=policy, timeout=5.0),
    }
    load = ClosedLoop(connections=2, duration=6, qps=40)
    for what, after in again.items():
        runs = newest(scenario(before, load=load, overhead=0.0, changes=(Change(at=3.0, routes=(after,)),)), 5)
        late = runs.ejections.ejected & (runs.ejections.time > 3.0)
        assert late.sum() == (5 if what == "policy" else 0), what


def arriving(*times: float) -> OpenLoop:
    """One request at each of these seconds, the first of which is 0."""
    return OpenLoop(segments=(*((gap, 1 / gap, 1 / gap) for gap in np.diff(times).tolist()), (0.5, 1.0, 1.0)), arrivals="paced")


def by_start(runs: Replay, column: str) -> np.ndarray:
    """A column of the log, (requests, replications), in the order in which the requests began."""
    return np.take_along_axis(getattr(runs.log, column), np.argsort(runs.log.start, axis=0), axis=0)


@pytest.mark.parametrize(("times", "last"), [((0, 0.01, 1, 2, 2.01), 0.1), ((0, 0.01, 1, 2, 3, 3.01), 0.15)])
def test_each_connection_counts_its_own_requests(simulate: Simulate, times: tuple[float, ...], last: float) -> None:
    """Three requests each, and 50 ms for a new one.  The first two requests open two connections; the third and the fourth go on
    that which became idle last, which is closed then: what comes at once with the fourth still finds the other one, and of two
    that come together after it one needs a new one; exact.

    Source: conn_pool_base.cc, attachStreamToClient and transitionActiveClientState (moved to the front of the list).
    """
    tested = route([plain(0.1)], connection_pool=ConnectionPool(max_requests_per_connection=3))
    runs = simulate(scenario(tested, load=arriving(*times), workers=1, overhead=0.0, connect_time=0.05), 3)
    assert np.allclose(by_start(runs, "latency")[-1], last, atol=1e-6)


def test_a_connection_that_carried_nothing_counts_nothing() -> None:
    """Two requests wait for a connection each, and `max_requests` refuses one of them: its connection carries two more; exact."""
    tested = route([plain(0.1)], connection_pool=ConnectionPool(max_requests=1, max_requests_per_connection=2))
    load = arriving(0, 0.01, 1, 2, 3)
    runs = montecarlo.simulate(scenario(tested, load=load, workers=1, overhead=0.0, connect_time=0.05), 2)
    assert np.all(by_start(runs, "code") == np.array([200, 503, 200, 200, 200])[:, None])
    assert np.allclose(by_start(runs, "latency")[2:], np.array([0.1, 0.1, 0.1])[:, None], atol=1e-6)


def test_an_http2_connection_takes_so_many_requests(simulate: Simulate) -> None:
    """Any number at once, three in all; the fourth waits for another one; exact."""
    tested = route([plain(0.1)], connection_pool=ConnectionPool(max_requests_per_connection=3, http2=True))
    runs = simulate(scenario(tested, load=arriving(0, 0.5, 0.55, 1), workers=1, overhead=0.0, connect_time=0.05), 2)
    assert np.allclose(by_start(runs, "latency"), np.array([0.15, 0.1, 0.1, 0.15])[:, None], atol=1e-6)


def test_an_http2_connection_closes_with_the_last_request_that_it_may_take(simulate: Simulate) -> None:
    """Two requests each, one connection at a time: the third waits till both are over, and so does the fifth; exact."""
    limits = ConnectionPool(max_connections=1, max_requests_per_connection=2, http2=True)
    tested = route([plain(0.3)], connection_pool=limits)
    load = arriving(0, 0.1, 0.2, 0.3, 0.41)
    runs = simulate(scenario(tested, load=load, workers=1, overhead=0.0, connect_time=0.05), 2)
    assert np.allclose(by_start(runs, "latency"), np.array([0.35, 0.3, 0.55, 0.45, 0.69])[:, None], atol=1e-6)


def test_no_http2_connection_is_forgotten_and_none_counted_twice() -> None:
    """As many open at the end as after the first requests, whatever is refused, given up and closed meanwhile; exact."""
    limits = ConnectionPool(max_connections=2, max_requests_per_connection=2, max_requests=3, http2=True)
    pods = [plain(0.05), plain(failure="refused"), plain(failure="hang")]
    tested = route(pods, timeout=0.2, retries=retry(1, "5xx"), connection_pool=limits)
    laid_out = world.layout(scenario(tested, load=ClosedLoop(connections=6, calls=50), workers=2, overhead=0.0, connect_time=0.01))
    run = Run(laid_out, world.make(laid_out, 1, world.empty_log(1, 400), resolution=1.0))
    run.replicate(stream(7, 0), 0)
    w = run.world
    assert w.upstream["opened"][0] == w.pool["ready"].sum() and not w.pool["busy"].any() and not w.upstream["waiting"].any()


def changed(before: object, after: object, load: OpenLoop) -> object:
    """A scenario in which one route takes another's place after half a second."""
    return scenario(before, load=load, workers=1, overhead=0.0, changes=(Change(at=0.5, routes=(after,)),))


def test_a_cluster_with_other_settings_counts_anew(simulate: Simulate) -> None:
    """`max_requests` 1: what the old cluster has under way till 1.0 s takes no place in the new one, nor gives one back; exact."""
    before, after = (route([plain(1.0)], connection_pool=ConnectionPool(max_requests=1, max_retries=most)) for most in (5, 6))
    runs = simulate(changed(before, after, arriving(0, 0.6, 0.7, 1.1)), 2)
    assert np.all(by_start(runs, "code") == np.array([200, 200, 503, 503])[:, None])


def test_the_connections_of_a_cluster_with_other_settings_are_its_own(simulate: Simulate) -> None:
    """The one connection allowed is free again at 0.7 s, although the old cluster's is in use till 1.0 s; exact."""
    old, new = (ConnectionPool(max_connections=1, max_retries=most) for most in (5, 6))
    before, after = route([plain(1.0)], connection_pool=old), route([plain(0.1)], connection_pool=new)
    runs = simulate(changed(before, after, arriving(0, 0.6, 0.8)), 2)
    assert np.allclose(by_start(runs, "latency"), np.array([1.0, 0.1, 0.1])[:, None], atol=1e-6)


def test_what_the_old_cluster_is_answered_ejects_nobody_from_the_new_one(simulate: Simulate) -> None:
    """A failure at 1.0 s is of the old detector, one at 2.2 s of the new; exact."""
    failing = plain(error_rate=1.0, error_type="delay", error_delay=1.0)
    before, after = (route([failing], outlier_detection=detection(consecutive_5xx=1, interval=interval)) for interval in (1.3, 1.4))
    runs = simulate(changed(before, after, arriving(0, 1.2)), 2)
    assert np.allclose(runs.ejections.time[runs.ejections.ejected], 2.2)


@pytest.mark.parametrize("own", [0.05, 0.5])
def test_a_pod_makes_its_calls_one_after_another_while_its_own_time_runs(simulate: Simulate, own: float) -> None:
    """fake-service with one of UPSTREAM_WORKERS: 0.1 s and then 0.2 s; where the first fails, as each other does, there is no second."""
    first = route([plain(0.1, error_rate=0.5)], callers=("w0",), name="m")
    second = route([plain(0.2)], callers=("w0",), called_from=0)
    web = route([plain(own)], callers=("gateway",), name="w")
    runs = simulate(scenario(web, first, second, load=ClosedLoop(calls=9), overhead=0.003), RUNS)
    failed = runs.log.code == 500
    assert np.all(failed.sum(axis=0) == 4) and np.allclose(runs.log.latency[~failed], max(own, 0.303))
    assert np.allclose(runs.log.latency[failed], 0.003) and np.all(runs.log.attempts == ~failed)


# --- what a request takes ----------------------------------------------------------------------


def test_a_latency_is_whole_nanoseconds() -> None:
    """fortio's clock; a timeout that never acts, so that without a compiler too this is the event loop."""
    runs = montecarlo.simulate(scenario(route([plain(0.1)], timeout=9.0), load=ClosedLoop(calls=30), overhead=0.0), 1)
    assert runs.log.latency.ravel().tolist() == [0.1] * 30


def test_a_variance_of_two_percent_is_none_or_one_more() -> None:
    """fake-service: 1 + U{0 .. variance - 1} / 100 times as long; each of two in 40 calls, but for one run in 10^12."""
    tested = route([plain(1.0, timing_variance=2)], timeout=9.0)
    assert set(montecarlo.simulate(scenario(tested, load=ClosedLoop(calls=40), overhead=0.0), 1).log.latency.ravel()) == {1.0, 1.01}


@pytest.mark.parametrize("given", [{"s": 0.8, "loc": 0.002, "scale": 0.01}, {"s": 0.8, "scale": 0.01}, {"s": 0.8}])
def test_a_lognormal_overhead_is_drawn_as_scipy_draws_it(given: dict[str, float]) -> None:
    """By either loop; Kolmogorov-Smirnov, false-alarm rate 1e-4 each."""
    overhead, load = stats.lognorm(**given), ClosedLoop(calls=400)
    events = montecarlo.simulate(scenario(route([plain(0.1)], timeout=99.0), load=load, overhead=overhead), 1).log
    for log in (events, in_lock_step(scenario(route([plain(0.1)]), load=load, overhead=overhead), 1)):
        assert stats.kstest(log.latency.ravel() - 0.1, overhead.cdf).pvalue > 1e-4


@pytest.mark.parametrize(("fault", "code"), [(Fault(delay=0.5, delay_percent=0.9), 200), (Fault(abort_code=418, abort_percent=0.9), 418)])
def test_less_than_a_percent_is_a_fault_too(fault: Fault, code: int) -> None:
    """18 of 2,000 calls; exact binomial, false-alarm rate 1e-6."""
    log = montecarlo.simulate(scenario(route([plain(0.1)], fault=fault), load=ClosedLoop(calls=2000), overhead=0.0), 1).log
    hit = (log.code == 418) | (log.latency > 0.5)
    assert set(log.code[hit]) == {code} and stats.binomtest(int(hit.sum()), 2000, 0.009).pvalue > 1e-6


def test_an_injected_delay_is_outside_the_routes_timeout(simulate: Simulate) -> None:
    """Source: the fault filter stands before the router."""
    tested = route([plain(0.1)], timeout=0.25, fault=Fault(delay=0.3, delay_percent=100))
    runs = simulate(scenario(tested, load=ClosedLoop(calls=5), overhead=0.0), 2)
    assert set(runs.codes) == {200} and np.allclose(runs.log.latency, 0.4)


def test_each_cluster_of_a_route_gets_its_weight() -> None:
    """10, 30 and 60 of a hundred calls; chi-square, false-alarm rate 1e-6."""
    weights = {"a": 10, "b": 30, "c": 60}
    made = tuple(Destination(cluster=cluster([plain(0.01)], name=name), weight=weight) for name, weight in weights.items())
    runs = montecarlo.simulate(scenario(replace(route([plain()]), destinations=made), load=ClosedLoop(calls=500)), 1)
    assert stats.chisquare([int(runs.pods[f"{name}0"][0]) for name in weights], [50, 150, 300]).pvalue > 1e-6


# --- levels ------------------------------------------------------------------------------------

FAILING = plain(error_rate=1.0, error_type="delay", error_delay=0.01)


@pytest.mark.parametrize(("frequency", "attempts"), [(1, 2), (2, 3)])
def test_a_retry_leaves_out_the_levels_that_were_tried(simulate: Simulate, frequency: int, attempts: int) -> None:
    """The first level fails, the second does not; `previous_priorities` looks after so many attempts."""
    policy = retry(3, previous_priorities_update_frequency=frequency, previous_hosts=False)
    runs = simulate(scenario(route([FAILING, plain(0.1)], priorities=((0, 1),), retries=policy), load=ClosedLoop(calls=10)), 3)
    assert set(runs.codes) == {200} and np.all(runs.log.attempts == attempts)


def test_a_level_that_is_whole_gets_everything() -> None:
    runs = montecarlo.simulate(scenario(route([plain(0.01)] * 2, "RANDOM", priorities=((0, 1),)), load=ClosedLoop(calls=2000)), 1)
    assert set(runs.log.endpoint.ravel()) == {0}


@pytest.mark.parametrize(("levels", "failures"), [((0, 0), 20), ((0, 0, 1), 1)])
def test_a_level_panics_only_where_all_together_are_not_enough(simulate: Simulate, levels: tuple[int, ...], failures: int) -> None:
    """One of two is out, which is below 60 %: both are picked again, in turns; unless a whole level stands behind them."""
    out = detection(consecutive_5xx=1, base_ejection_time=600)
    pods = [FAILING, plain(0.01), plain(0.01)][: len(levels)]
    tested = route(pods, priorities=(levels,), panic_threshold=60.0, outlier_detection=out)
    runs = simulate(scenario(tested, load=ClosedLoop(calls=40), workers=1), 4)
    assert np.abs((runs.log.code == 500).sum(axis=0) - failures).max() <= 1


def test_where_every_level_panics_a_retry_goes_by_the_numbers_of_hosts_too() -> None:
    """Nobody in the first level is well, and one of three in the second: a quarter all the same, but for one run in 0.75^-70."""
    out = detection(consecutive_5xx=1, base_ejection_time=600)
    tested = route([FAILING] * 3 + [plain(0.01)], "RANDOM", priorities=((0, 1, 1, 1),), panic_threshold=50.0, outlier_detection=out,
                   retries=retry(1, previous_hosts=False))  # fmt: skip
    tries = montecarlo.simulate(scenario(tested, load=ClosedLoop(calls=200)), 1).trace(0).attempts
    assert (tries["endpoint"][(tries["number"] == 2) & (tries["request"] >= 100)] == "p0").any()  # all are out by then


# --- the lock-step loop ------------------------------------------------------------------------


def in_lock_step(tested: Scenario, runs: int = 2) -> RequestLog:
    return ClosedLoopRun(tested, [stream(1, i) for i in range(runs)]).run()[0]


def test_every_second_request_of_a_pod_fails_in_lock_step() -> None:
    """fake-service counts from one; exact."""
    log = in_lock_step(scenario(route([plain(0.1, error_rate=0.5, error_code=503)]), load=ClosedLoop(calls=6)))
    assert log.code.T.tolist() == [[200, 503, 200, 503, 200, 503]] * 2


def test_fortio_gives_up_in_lock_step() -> None:
    """One pod in time, one not; exact."""
    load = ClosedLoop(connections=2, duration=10, timeout=1.0)
    log = in_lock_step(scenario(route([plain(0.5), plain(1.5)]), load=load, overhead=0.0))
    real = log.code != -2
    seen = zip(log.code[real].tolist(), log.latency[real].tolist(), log.endpoint[real].tolist(), strict=True)
    assert set(seen) == {(200, 0.5, 0), (-1, 1.0, -1)}


@pytest.mark.parametrize("load", [ClosedLoop(connections=2, qps=10, duration=4), ClosedLoop(connections=2, qps=10, calls=41)])
def test_the_lock_step_keeps_fortios_pace(load: ClosedLoop) -> None:
    """periodic.go, runOne: call i of n at (i + i / (n - 1)) / rate; when late, only the first two and the last are sent."""
    limit = load.calls_per_thread[0]
    for calls in range(1, int(limit) + 1):
        for done in (0.0, 3.9, 4.1):
            start = max(done, (calls + calls / (limit - 1)) / 5)
            stops = calls >= limit or (load.calls is None and start > 4 and 2 <= calls < limit - 1)
            (found,) = pacing(load, np.array([done]), np.array([calls]), np.array([limit]))
            assert found == pytest.approx(NEVER if stops else start)


# --- what is kept ------------------------------------------------------------------------------


def test_as_many_ejections_are_noted_as_there_are() -> None:
    """However many: room for notes grows."""
    policy = detection(consecutive_5xx=1, interval=0.1, base_ejection_time=0.1, max_ejection_time=0.1, update_merge_window=0.0)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.03), plain(0.03)]
    runs = montecarlo.simulate(scenario(route(pods, outlier_detection=policy), load=ClosedLoop(duration=20), overhead=0.0), 1)
    out, counted = runs.ejections.ejected, runs.counters["outlier_detection.ejections_enforced_total"][0]
    assert out.sum() == counted > 60 and 0 <= counted - (~out).sum() <= 1


def test_a_detector_that_begins_anew_forgets_how_often_a_host_was_out() -> None:
    """Out for one and two seconds, then the cluster is another one: for one second again; ticks each 0.1 s."""
    policy = detection(consecutive_5xx=1, interval=0.1, update_merge_window=0.0, max_ejection_percent=50)
    pods = [plain(error_rate=1.0, error_type="delay", error_delay=0.01), plain(0.01)]
    before, after = (route(pods, outlier_detection=policy, connection_pool=ConnectionPool(max_retries=most)) for most in (5, 6))
    load = OpenLoop(segments=((6.0, 50.0, 50.0),), arrivals="paced")
    runs = montecarlo.simulate(scenario(before, load=load, overhead=0.0, changes=(Change(at=3.5, routes=(after,)),)), 3)
    for replication in range(3):
        mine = (runs.ejections.replication == replication) & (runs.ejections.time > 3.5)
        times, out = runs.ejections.time[mine], runs.ejections.ejected[mine]
        assert out[:2].tolist() == [True, False] and 1.0 - 1e-3 <= times[1] - times[0] <= 1.1 + 1e-3


def test_whose_request_does_not_fail_draws_its_variance_evenly(simulate: Simulate) -> None:
    """Fifty times of answer, as likely each: that one of them is missing among about 2,000 has a chance below 1e-15."""
    pod = plain(0.01, timing_variance=50, error_rate=0.5, error_code=503, errors="coin")
    log = simulate(scenario(route([pod], timeout=1.0), load=ClosedLoop(calls=200), overhead=0.0), RUNS).log
    seconds = log.latency[log.code == 200]
    assert len(np.unique(np.round(seconds / 0.0001))) == 50


def test_a_new_detector_counts_whom_it_has_ejected_anew(simulate: Simulate) -> None:
    """One of two may be out: the failing one is ejected, told to come back by a changed rule, and ejected once more; exact."""
    pods = [plain(0.01), plain(0.01, error_rate=1.0)]
    first, second = (
        route(pods, outlier_detection=detection(consecutive_5xx=1, max_ejection_percent=50, base_ejection_time=time)) for time in (100, 50)
    )
    tested = scenario(first, load=ClosedLoop(duration=4), changes=(Change(at=2.0, routes=(second,)),), workers=1)
    log = simulate(tested, RUNS).log
    late = (log.start > 2.5) & (log.code > 0)
    assert late.any() and (log.code[late] == 200).all()


def test_who_gave_up_on_a_pod_that_calls_on_sends_the_next_request_at_once(simulate: Simulate) -> None:
    tested = scenario(
        route([plain()]),
        route([plain(1.0)], callers=("p0",), timeout=5.0),
        load=ClosedLoop(connections=2, duration=0.95, timeout=0.1),
        overhead=0.0,
    )
    log = simulate(tested, 1).log
    assert np.allclose(np.sort(log.start[:20], axis=0), np.repeat(0.1 * np.arange(10), 2)[:, None])
    assert np.allclose(log.latency[:20], 0.1) and (log.code[:20] == -1).all()
