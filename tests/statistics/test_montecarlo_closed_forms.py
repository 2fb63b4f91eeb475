"""Each policy alone against its closed form.

Every test states its false-alarm rate; all use fixed seeds.
"""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from scipy import stats

from meshmodel.scenario import ClosedLoop, ConnectionPool, OpenLoop, OutlierDetection
from meshmodel.simulation.montecarlo import simulate
from tests.oracle_loop import detection, plain, retry, route, scenario

FALSE_ALARMS = 1e-3
CALM = plain(0.1)


def within(samples: np.ndarray, expected: float) -> None:
    """The mean of independent `samples` is `expected`: two-sided t-test, false-alarm rate 1e-3."""
    assert stats.ttest_1samp(samples, expected).pvalue > FALSE_ALARMS, (samples.mean(), expected)


def binomial(successes: int, trials: int, p: float) -> None:
    """Exact two-sided binomial test, false-alarm rate 1e-3."""
    assert stats.binomtest(int(successes), int(trials), p).pvalue > FALSE_ALARMS, (successes / trials, p)


def test_attempts_are_geometric() -> None:
    """P(k attempts) = p^(k-1) (1-p), the rest at the last; chi-square, false-alarm rate 1e-3."""
    p = 0.4
    flaky = [plain(0.01, error_rate=p, injector="nominal")] * 3
    runs = simulate(scenario(route(flaky, "RANDOM", retries=retry(3, previous_hosts=False)), load=ClosedLoop(calls=20)), 400, seed=2)
    seen = np.bincount(runs.log.attempts.ravel(), minlength=5)[1:5]
    expected = np.array([1 - p, p * (1 - p), p**2 * (1 - p), p**3]) * seen.sum()
    assert stats.chisquare(seen, expected).pvalue > FALSE_ALARMS
    binomial((runs.log.code == 500).sum(), seen.sum(), p**4)


def test_back_off_is_uniform_below_its_bound() -> None:
    """25, 50, 100, 200, 250, 250 ms: KS of the last retry's wait for 1 to 6 retries; false-alarm rate 1e-3 by Bonferroni.

    All retries fail at once, so n retries take the sum of n waits; the sum of the first n - 1 is in another run, so
    mean and bound of the sum are tested, and the law of the first.
    """
    bounds = np.cumsum([0.025, 0.05, 0.1, 0.2, 0.25, 0.25])
    for retries, bound in enumerate(bounds, start=1):
        runs = simulate(
            scenario(route([plain(error_rate=1.0)], retries=retry(retries)), load=ClosedLoop(calls=5), overhead=0.0), 200, seed=retries
        )
        waits = runs.log.latency.ravel()
        assert waits.max() < bound
        assert stats.ttest_1samp(waits, bound / 2).pvalue > FALSE_ALARMS / 7
        if retries == 1:
            assert stats.kstest(waits, stats.uniform(0, bound).cdf).pvalue > FALSE_ALARMS / 7


def test_previous_hosts_draws_six_times() -> None:
    """RANDOM over 3 pods repeats the host of the first attempt with probability (1/3)^6; exact binomial, 1e-3."""
    pods = [plain(error_rate=1.0), plain(0.001), plain(0.001)]
    runs = simulate(scenario(route(pods, "RANDOM", retries=retry(1)), load=ClosedLoop(calls=400), workers=1), 200, seed=1)
    retried = runs.log.attempts == 2
    binomial((runs.log.code[retried] == 500).sum(), retried.sum(), 3.0**-6)


def test_round_robin_retry_never_repeats_the_host() -> None:
    """Exact, no false alarms."""
    runs = simulate(
        scenario(route([plain(error_rate=1.0), plain(0.001), plain(0.001)], retries=retry(1)), load=ClosedLoop(calls=100), workers=1), 20
    )
    assert set(runs.codes) == {200}


@pytest.mark.parametrize(("hosts", "out", "first_level"), [(2, 1, 0.70), (3, 1, 0.93), (4, 1, 1.0), (4, 2, 0.70), (3, 3, 0.0)])
def test_priority_load_table(hosts: int, out: int, first_level: float) -> None:
    """Share of level 0 when `out` of its `hosts` are ejected; exact binomial, false-alarm rate 1e-3 each."""
    pods = [plain(0.01, error_rate=1.0)] * out + [plain(0.01)] * (hosts - out + 2)
    levels = (0,) * hosts + (1,) * 2
    policy = OutlierDetection(consecutive_5xx=1, base_ejection_time=1000, max_ejection_percent=100, update_merge_window=0.0)
    runs = simulate(scenario(route(pods, "RANDOM", priorities=(levels,), outlier_detection=policy), load=ClosedLoop(calls=600)), 60, seed=5)
    gone = np.array(
        [
            runs.ejections.time[runs.ejections.replication == i].max() if (runs.ejections.replication == i).sum() == out else np.inf
            for i in range(60)
        ]
    )
    assert np.isfinite(gone).mean() > 0.9
    late = runs.log.start > gone
    binomial((late & (runs.log.endpoint < hosts)).sum(), late.sum(), first_level)


def test_ejection_schedule_of_a_pod_that_always_fails() -> None:
    """Exact: the k-th return comes at the first tick at least k base times after its ejection."""
    policy = detection(consecutive_5xx=1, interval=1.0, base_ejection_time=2.5, update_merge_window=0.0)
    runs = simulate(
        scenario(route([plain(error_rate=1.0), plain(0.02)], outlier_detection=policy), load=ClosedLoop(duration=60)), 20, seed=3
    )
    for i in range(20):
        mine = runs.ejections.replication == i
        times, gone = runs.ejections.time[mine], runs.ejections.ejected[mine]
        assert list(gone) == [k % 2 == 0 for k in range(len(gone))] and len(gone) > 6
        out, back = times[gone], times[~gone]
        phases = back % 1.0
        assert np.ptp(np.minimum(abs(phases - phases[0]), 1 - abs(phases - phases[0]))) < 1e-5
        longest = 2.5 * np.arange(1, len(back) + 1)  # failing again at once leaves no healthy tick
        wait = back - out[: len(back)]
        assert np.all(wait > longest - 1e-5) and np.all(wait < longest + 1 + 1e-5)


@pytest.mark.parametrize(
    ("percent", "always", "expected"),
    [(10, False, 0), (33, False, 0), (34, False, 1), (67, False, 2), (100, False, 3), (10, True, 1), (34, True, 2)],
)
def test_max_ejection_percent(percent: int, always: bool, expected: int) -> None:
    """How many of three failing pods go; exact.  All gone: 503 at once."""
    policy = detection(consecutive_5xx=1, base_ejection_time=1000, max_ejection_percent=percent, one_host_always=always)
    runs = simulate(scenario(route([plain(0.01, error_rate=1.0)] * 3, outlier_detection=policy), load=ClosedLoop(duration=5)), 5)
    assert runs.ejections.ejected.sum() == 5 * expected
    assert (503 in runs.codes) == (expected == 3)


@pytest.mark.parametrize("pods", [[plain(0.5)], [plain(0.1, timing_90_percentile=4.1)]])
def test_erlang_loss(pods: list) -> None:
    """max_requests 4 under Poisson arrivals loses Erlang B of the offered load, whatever the service times; t-test over runs, 1e-3 each."""
    servers, rate = 4, 6.0
    load = rate * (0.5 if pods[0].timing_90_percentile is None else 0.9 * 0.1 + 0.1 * 4.1)
    runs = simulate(
        scenario(
            route(pods, connection_pool=ConnectionPool(max_requests=servers)), load=OpenLoop(segments=((120, rate, rate),)), overhead=0.0
        ),
        120,
        seed=7,
    )
    settled = runs.log.start > 20
    blocked = (settled & (runs.log.code == 503)).sum(axis=0) / settled.sum(axis=0)
    terms = [load**k / factorial(k) for k in range(servers + 1)]
    within(blocked, terms[-1] / sum(terms))


def test_pollaczek_khinchine() -> None:
    """M/D/1 in the pod (concurrency 1): mean wait rho s / 2 (1 - rho); t-test over runs, 1e-3."""
    rate, seconds = 6.0, 0.1
    runs = simulate(
        scenario(route([plain(seconds, concurrency=1)]), load=OpenLoop(segments=((150, rate, rate),)), overhead=0.0), 150, seed=9
    )
    settled = np.where((runs.log.start > 20), runs.log.latency, np.nan)
    rho = rate * seconds
    within(np.nanmean(settled, axis=0) - seconds, rho * seconds / 2 / (1 - rho))


def test_a_queue_with_a_fixed_number_of_workers_is_the_same_as_one_with_connections() -> None:
    """M/D/c in the pod and in the connection pool agree; two-sample t-test over runs, 1e-3."""
    load = OpenLoop(segments=((60, 12, 12),))
    pod = simulate(scenario(route([plain(0.2, concurrency=3)]), load=load, overhead=0.0), 150, seed=1)
    pool = simulate(
        scenario(route([plain(0.2)], connection_pool=ConnectionPool(max_connections=3)), load=load, overhead=0.0, workers=1), 150, seed=2
    )
    assert stats.ttest_ind(pod.mean, pool.mean).pvalue > FALSE_ALARMS


def test_least_request_floor() -> None:
    """A pod that never answers in time still gets 1/9 of all requests; t-test over runs, 1e-3."""
    runs = simulate(
        scenario(route([plain(1000.0), CALM, CALM], "LEAST_REQUEST", timeout=100.0), load=OpenLoop(segments=((40, 30, 30),))), 100, seed=4
    )
    settled = (runs.log.start > 10) & (runs.log.start < 40)
    # The slow pod's answers (504 by the proxy) are the floor.
    within((settled & (runs.log.code == 504)).sum(axis=0) / settled.sum(axis=0), 1 / 9)


def test_round_robin_shares_are_exact_per_worker() -> None:
    """Over n requests of a worker the pods' counts differ by one at most; exact."""
    tested = scenario(route([CALM] * 3), load=ClosedLoop(connections=1, calls=31), workers=1)
    runs = simulate(tested, 50)
    counts = np.stack(list(runs.pods.values()))
    assert np.ptp(counts, axis=0).max() == 1
    assert np.all(np.diff(runs.log.endpoint, axis=0) % 3 == 1)


def test_fortio_keeps_its_pace() -> None:
    """Unsaturated: qps x t calls, call i of a thread at (i + i/(n-1))/rate: the last at the very end; exact."""
    runs = simulate(scenario(route([plain(0.01)]), load=ClosedLoop(connections=2, qps=10, duration=4)), 3)
    assert set(runs.requests) == {40}
    starts = np.sort(runs.log.start[:, 0])[::2]
    i = np.arange(20)
    assert starts == pytest.approx((i + i / 19) / 5, abs=1e-6)
    exact = simulate(scenario(route([plain(0.01)]), load=ClosedLoop(connections=1, qps=10, calls=7)), 1)
    assert np.sort(exact.log.start[:, 0]) == pytest.approx(np.arange(7) * 7 / 60, abs=1e-6)


def test_arrivals_are_poisson_with_the_profile() -> None:
    """Counts have mean and variance of Poisson(area); given the count, times follow the ramp; 1e-3 over three tests."""
    load = OpenLoop(segments=((4, 0, 10), (2, 10, 10), (4, 20, 0)))
    runs = simulate(scenario(route([CALM]), load=load), 600, seed=8)
    assert stats.ttest_1samp(runs.requests, load.expected).pvalue > FALSE_ALARMS / 3
    dispersion = runs.requests.var(ddof=1) / load.expected * (len(runs.requests) - 1)
    assert 2 * min(stats.chi2.cdf(dispersion, 599), stats.chi2.sf(dispersion, 599)) > FALSE_ALARMS / 3
    times = runs.log.start[np.isfinite(runs.log.start)]

    def share(t: np.ndarray) -> np.ndarray:
        up, flat, down = np.minimum(t, 4), np.clip(t - 4, 0, 2), np.clip(t - 6, 0, 4)
        return (1.25 * up**2 + 10 * flat + 20 * down - 2.5 * down**2) / load.expected

    assert stats.kstest(times, share).pvalue > FALSE_ALARMS / 3


def test_paced_arrivals_are_evenly_spaced() -> None:
    """Exact."""
    runs = simulate(scenario(route([CALM]), load=OpenLoop(segments=((2, 5, 5), (2, 10, 10)), arrivals="paced")), 2)
    assert np.sort(runs.log.start[:, 0]) == pytest.approx(np.concatenate((np.arange(10) / 5, 2 + np.arange(20) / 10)), abs=1e-6)


def test_distribute_shares() -> None:
    """Locality weights 30/70 with all healthy: the schedule is exact to a request for each locality."""
    weights = ({"a": 30, "b": 70},)
    runs = simulate(
        scenario(route([CALM, CALM], "RANDOM", localities=("a", "b"), locality_weights=weights), load=ClosedLoop(calls=200), workers=1), 20
    )
    assert np.abs(runs.pods["p0"] - 60).max() <= 2
