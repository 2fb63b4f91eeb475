"""Each closed form against a special case that is known exactly, or against a plain loop over its definition."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshmodel.analytic import NoClosedForm, balancing, breakers, closed_loop, locality, queues, retries, timeouts

# --- queues --------------------------------------------------------------------------------


@given(st.integers(1, 30), st.floats(0.1, 40))
def test_erlang_b_is_the_truncated_poisson(servers, offered):
    weights = [offered**n / math.factorial(n) for n in range(servers + 1)]
    assert queues.erlang_b(servers, offered) == pytest.approx(weights[-1] / sum(weights))


@given(st.integers(1, 12), st.floats(0.05, 0.95))
def test_erlang_c_is_the_tail_of_a_long_queue(servers, utilisation):
    pi = queues.mmck(servers, 4000, servers * utilisation)
    assert queues.erlang_c(servers, servers * utilisation) == pytest.approx(pi[servers:].sum(), rel=1e-6)
    waiting = np.maximum(np.arange(len(pi)) - servers, 0) @ pi
    assert queues.mmc_wait(servers, servers * utilisation, 1.0) == pytest.approx(waiting / (servers * utilisation), rel=1e-5)


def test_a_saturated_queue_waits_for_ever():
    assert queues.erlang_c(2, 2.0) == 1 and queues.mmc_wait(2, 2.0, 1.0) == math.inf and queues.mg1_wait(1.0, 1.0, 1.0) == math.inf


@given(st.floats(0.05, 0.95), st.floats(0.01, 10))
def test_pollaczek_khinchine_has_mm1_as_a_special_case_and_md1_waits_half(utilisation, service):
    rate = utilisation / service
    exponential = queues.mg1_wait(rate, service, 2 * service**2)
    assert exponential == pytest.approx(queues.mmc_wait(1, rate, service))
    assert queues.mg1_wait(rate, service, service**2) == pytest.approx(exponential / 2)


def test_the_knee_is_where_the_textbook_puts_it():
    assert queues.knee(1, 1.0) == pytest.approx(0.5, abs=1e-4)
    assert queues.knee(1, 0.0) == pytest.approx(2 - math.sqrt(2), abs=1e-4)  # M/D/1
    assert queues.knee(10, 1.0) > queues.knee(2, 1.0) > queues.knee(1, 1.0)


def test_engset_with_two_sources_and_one_server():
    assert queues.engset_loss(1, 2, 0.5) == pytest.approx(0.5 / 1.5)  # the other one is busy or thinking
    assert queues.engset_loss(3, 3, 9.0) == 0
    assert queues.engset_loss(5, 10**5, 3.0 / 10**5) == pytest.approx(queues.erlang_b(5, 3.0), rel=1e-3)  # many sources: Erlang


# --- balancing -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_least_request_probabilities_are_those_of_all_pairs_of_draws(active):
    count = np.zeros(len(active))
    for first, second in itertools.product(range(len(active)), repeat=2):
        count[second if active[second] < active[first] else first] += 1
    assert balancing.least_request_probabilities(np.array(active)) == pytest.approx(count / len(active) ** 2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 2.0), min_size=2, max_size=4), st.floats(0.0, 0.3), st.integers(1, 7))
def test_the_occupancy_chain_keeps_littles_law_and_the_least_share(service, outside, connections):
    found = balancing.least_request_occupancy(tuple(service), outside, connections)
    rate = connections / (found.shares @ np.array(service) + outside)
    assert found.active == pytest.approx(rate * found.shares * service, rel=1e-6)
    assert found.shares.sum() == pytest.approx(1) and found.shares.min() >= balancing.least_share(len(service)) - 1e-9
    assert found.covariance.sum(axis=1) == pytest.approx(np.zeros(len(service)), abs=1e-6)


def test_the_covariance_of_one_connection_is_that_of_independent_draws():
    shares = balancing.least_request_occupancy((1.0, 0.2, 0.1), 0.05, 1)
    assert shares.shares == pytest.approx([1 / 3] * 3)
    assert shares.covariance == pytest.approx(np.eye(3) / 3 - 1 / 9, abs=1e-9)


def exact_occupancy(service: tuple[float, ...], outside: float, connections: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, their covariance and the burst of a chain of all states of all endpoints, in decimals of 60 digits."""
    with localcontext(prec=60):
        states = [n for n in itertools.product(range(connections + 1), repeat=len(service)) if sum(n) <= connections]
        size, hosts = len(states), len(service)
        index = {state: i for i, state in enumerate(states)}
        q, arrivals = np.full((size, size), Decimal(0)), np.full((hosts, size, size), Decimal(0))
        for i, state in enumerate(states):
            wins = [sum(n >= m for n in state) + sum(n > m for n in state) for m in state]
            for e, step in enumerate(np.eye(hosts, dtype=int)):
                if sum(state) < connections:
                    more = Decimal(connections - sum(state)) / Decimal(outside) * wins[e] / hosts**2
                    arrivals[e, i, index[tuple(int(n) for n in state + step)]] = more
                if state[e]:
                    q[i, index[tuple(int(n) for n in state - step)]] = Decimal(state[e]) / Decimal(service[e])
        q += arrivals.sum(axis=0)
        q[np.arange(size), np.arange(size)] = -q.sum(axis=1)
        one = np.full(size, Decimal(1))
        pi = inverse(np.hstack((q[:, 1:], one[:, None])))[-1]  # pi (Q, 1) = (0, 1)
        deviation = inverse(np.outer(one, pi) - q) - np.outer(one, pi)
        rewards, flow = arrivals.sum(axis=2).T, arrivals.sum(axis=2) @ pi
        cross = np.array([pi @ arrivals[e] @ (deviation @ rewards) for e in range(hosts)])
        centre = np.array([[int(i == j) - flow[i] / flow.sum() for j in range(hosts)] for i in range(hosts)])
        covariance = centre @ (np.diag(flow) + cross + cross.T) @ centre.T / flow.sum()
        return tuple(np.array(a, float) for a in (flow / flow.sum(), covariance, (deviation @ rewards)[0]))


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Gauss and Jordan, with pivots, in the numbers that it is given."""
    size = len(matrix)
    rows = np.hstack((matrix, np.array([[Decimal(int(i == j)) for j in range(size)] for i in range(size)])))
    for k in range(size):
        pivot = k + int(np.argmax(np.abs(rows[k:, k])))
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] /= rows[k, k]
        others = np.arange(size) != k
        rows[others] -= np.outer(rows[others, k], rows[k])
    return rows[:, size:]


@pytest.mark.parametrize(
    ("service", "outside", "connections"),
    [
        ((3.0, 0.15, 0.15), 0.0138, 6),  # without a request under way once in hours: the chapter's slow pod
        ((1000.0, 0.01, 0.01), 0.001, 5),
        ((1e6, 0.01), 0.01, 8),
        ((1.0, 0.3, 0.3), 1e-5, 5),
        ((1.0, 0.3), 0.1, 4),
        ((0.2, 4.0, 0.03), 2.0, 4),
        ((1.0, 0.2), 1e4, 6),
    ],
)
def test_the_chain_is_solved_to_its_own_bound(service, outside, connections):
    shares, covariance, burst = exact_occupancy(service, outside, connections)
    found = balancing.least_request_occupancy(service, outside, connections)
    assert np.abs(found.shares - shares).max() <= found.error < balancing.LARGEST_ERROR
    assert found.shares == pytest.approx(shares, rel=1e-11)
    assert found.covariance[0] == pytest.approx(covariance[0], rel=1e-8, abs=1e-12)  # the first is alone of its kind
    assert found.burst == pytest.approx(burst, rel=1e-8, abs=1e-12)


def test_an_anchor_that_is_hardly_visited_is_left_for_a_better_one():
    chain = balancing._Chain((3.0, 0.15, 0.15), (1, 1, 1), 0.0138, 10, 1000)
    q, every_state = balancing._generator(*chain.jumps()[:3], len(chain.states)), np.arange(len(chain.states))
    arrivals = (10.0 - chain.states.sum(axis=(1, 2))) / 0.0138
    _, wrong, _ = balancing._anchored(q, 0, arrivals)  # nothing under way: once in 10^14 s
    _, error, _ = balancing._stationary(q, every_state, arrivals)  # begins there
    assert wrong > balancing.LARGEST_ERROR > 1e3 * error


def test_too_many_states_are_refused():
    with pytest.raises(NoClosedForm, match="states"):
        balancing.least_request_occupancy((1.0, 0.5, 0.2), 0.1, 40, None, 500)


def test_power_of_choices():
    assert balancing.power_of_d_response(0.9, 1) == pytest.approx(10, rel=1e-6)  # M/M/1
    assert balancing.power_of_d_response(0.9, 2) == pytest.approx(2.6141, abs=1e-4)  # Mitzenmacher 2001, table 1
    tail = balancing.power_of_two_unlimited(2.0)
    assert tail[1:].sum() == pytest.approx(2.0) and np.all(np.diff(tail) <= 1e-12)
    assert 2.0 * (tail[0] ** 2 - tail[1] ** 2) == pytest.approx(tail[1] - tail[2])


# --- closed loop -------------------------------------------------------------------------------


def test_counts_of_a_poisson_process_are_exact():
    assert closed_loop.expected_count(60, 0.5, 0.25, 10) == pytest.approx(10 * (120 + 1))
    assert closed_loop.count_variance(60, 0.5, 0.25, 2 * 0.125, 10) == pytest.approx(1200)
    assert closed_loop.excess_variance(0.5, 0.5, 0.75) == pytest.approx(0.25)


def test_expected_count_agrees_with_the_sum_of_count_probabilities():
    total = closed_loop.count_probability(60, 0.4453, 0.16, range(1, 400)).sum()
    assert total == pytest.approx(closed_loop.expected_count(60, 0.4453, 0.16), rel=2e-3)


def test_pacing():
    assert closed_loop.paced_count(3, 10, 1) == 9
    assert closed_loop.is_saturated(10, 1000, 0.02) and not closed_loop.is_saturated(10, 50, 0.02) and closed_loop.is_saturated(1, 0, 0.0)


# --- locality ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("healthy", "total", "load"), [
    ([2, 3], [3, 3], [93, 7]), ([1, 2], [2, 2], [70, 30]), ([0, 2], [1, 2], [0, 100]), ([1, 0], [4, 4], [100, 0]), ([0, 0], [1, 2], [0, 0]),
])  # fmt: skip
def test_priority_load_as_measured_on_envoy(healthy, total, load):
    assert locality.priority_load(healthy, total) == load


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)).map(lambda p: (min(p), p[1])), min_size=1, max_size=4))
def test_priority_load_is_all_or_nothing_in_sum_and_skips_the_dead(levels):
    healthy, total = zip(*levels, strict=True)
    load = locality.priority_load(healthy, total)
    assert sum(load) == (100 if any(healthy) else 0)
    assert all(percent == 0 for percent, h in zip(load, healthy, strict=True) if h == 0)


def test_an_ejected_pod_returns_at_ticks_and_stays_out_longer_each_time():
    schedule = locality.ejection_schedule(until=250, interval=5, base=30, longest=300, inside=1.0, first=2.0)
    assert schedule == [(2.0, 35.0), (36.0, 100.0), (101.0, 195.0), (196.0, 320.0)]
    stays = [back - at for at, back in locality.ejection_schedule(until=1000, interval=10, base=30, longest=60)]
    assert stays[:3] == [30, 60, 60] and set(stays[1:]) == {60}
    out = 33 + 64 + 94 + 54
    assert locality.duty_cycle(250, 5, 30, 300, 2.0, first=2.0) == pytest.approx(1 - sum(min(b, 250) - a for a, b in
        locality.ejection_schedule(250, 5, 30, 300, 2.0, first=2.0)) / 250)  # fmt: skip
    assert 1 - out / 250 == pytest.approx(0.02)


@given(st.integers(1, 6), st.floats(0.1, 0.95))
def test_the_wait_for_failures_in_a_row_solves_its_recursion(k, p):
    waits = np.linalg.solve(np.eye(k) - p * np.eye(k, k=1) - (1 - p) * np.outer(np.ones(k), np.eye(k)[0]), np.ones(k))
    assert locality.consecutive_error_wait(k, p) == pytest.approx(waits[0], rel=1e-6)


def test_errors_until_ejection():
    assert locality.expected_errors(10**6, 3, 0.3) == pytest.approx(3)
    assert locality.expected_errors(2, 1, 0.5) == pytest.approx(0.75)
    assert locality.expected_requests_until_ejection(5, 1 / 3) == pytest.approx(15)


def test_the_percentage_of_ejections_by_version():
    assert not locality.may_eject(3, 0, 33, False) and locality.may_eject(3, 0, 34, False)
    assert locality.may_eject(3, 0, 10, True) and not locality.may_eject(3, 1, 10, True)


# --- timeouts and breakers ---------------------------------------------------------------------


def test_a_timeout_speeds_a_closed_loop_up():
    atoms = [(2 / 3, 0.15, 200), (1 / 3, 1.0, 200)]
    assert timeouts.share_of_504(atoms, 0.5) == pytest.approx(1 / 3)
    assert timeouts.truncated_mean(atoms, 0.5) == pytest.approx(0.1 + 0.5 / 3)
    assert timeouts.wasted_work(atoms, 0.5) == pytest.approx(0.5 / 3)
    rate, good = timeouts.closed_loop_throughput(atoms, 0.5, 10)
    assert rate == pytest.approx(10 / 0.26667, rel=1e-4) and good == pytest.approx(rate * 2 / 3)


def test_pools():
    assert breakers.loss_open(10, 20, 0.4) == pytest.approx(queues.erlang_b(10, 8))
    assert breakers.pool_loss_open(4, 0, 10, 0.3) == pytest.approx(queues.erlang_b(4, 3.0))
    assert breakers.pool_loss_closed(4, 0, 9, 0.3, 0.1) == pytest.approx(queues.engset_loss(4, 9, 3.0))
    assert breakers.pool_loss_closed(4, 5, 9, 0.3, 0.1) == 0 == breakers.loss_closed(9, 9, 1.0, 0.1)
    assert breakers.pool_wait_open(2, 4000, 1.0, 1.5) == pytest.approx(queues.mmc_wait(2, 1.0, 1.5), rel=1e-6)
    assert breakers.loss_closed(3, 4, 1.0, 0.0) == 1


# --- retries -----------------------------------------------------------------------------------


@given(st.integers(2, 6), st.sets(st.integers(0, 5), min_size=1), st.integers(0, 6))
def test_reselection_is_a_distribution(hosts, used, tries):
    used = {e for e in used if e < hosts}
    chances = retries.reselected([1 / hosts] * hosts, sorted(used), tries)
    assert chances.sum() == pytest.approx(1)
    if used:
        assert chances[sorted(used)[0]] == pytest.approx((len(used) / hosts) ** tries / hosts)


def test_random_hits_the_same_of_three_hosts_once_in_729():
    assert retries.reselected([1 / 3] * 3, [0])[0] == pytest.approx((1 / 3) ** 6)


@pytest.mark.parametrize("balancing_", ["RANDOM", "ROUND_ROBIN"])
@pytest.mark.parametrize("previous", [True, False])
def test_figures_with_failing_hosts_agree_with_a_loop(balancing_, previous):
    """40,000 requests; 4.5 standard errors: a false alarm once in 10^5."""
    failing, n, rng, index = [1.0, 0.4, 0.0], 40_000, np.random.default_rng(5), 0
    succeeded, tried, first_failed = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        used: list[int] = []
        for attempt in range(3):
            for _ in range(6 if previous else 1):
                host, index = (index % 3, index + 1) if balancing_ == "ROUND_ROBIN" else (int(rng.integers(3)), index)
                if host not in used:
                    break
            used.append(host)
            ok = rng.random() >= failing[host]
            first_failed[i] += attempt == 0 and not ok
            if ok:
                break
        succeeded[i], tried[i] = ok, len(used)
    exact = retries.with_failing_hosts(failing, 2, balancing_, previous)
    for seen, figure in ((succeeded, exact.success), (tried, exact.attempts), (first_failed, exact.first_failed)):
        assert seen.mean() == pytest.approx(figure, abs=4.5 * max(seen.std(), 0.05) / math.sqrt(n))


def test_round_robin_over_one_failing_host_meets_it_every_other_time():
    figures = retries.with_failing_hosts([1.0, 0.0, 0.0], 2, "ROUND_ROBIN")
    assert (figures.success, figures.attempts, figures.first_failed) == pytest.approx((1, 1.5, 0.5), abs=1e-6)


@given(st.floats(0, 1), st.integers(0, 8))
def test_geometric_retries(p, r):
    assert retries.success_probability(p, r) == pytest.approx(1 - p ** (r + 1))
    assert retries.expected_attempts(p, r) == pytest.approx(r + 1 if p == 1 else (1 - p ** (r + 1)) / (1 - p), rel=1e-6)


def test_the_sum_of_equal_backoffs_is_irwin_halls():
    seconds, probability = retries.backoff_distribution((0.25,) * 3)
    x = seconds / 0.25
    exact = sum((-1) ** k * math.comb(3, k) * np.maximum(x - k, 0) ** 3 for k in range(4)) / 6
    assert probability == pytest.approx(np.clip(exact, 0, 1), abs=0.005)


def test_backoff_widths():
    assert [retries.backoff_width(k) for k in range(1, 7)] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]


def test_amplification_over_hops():
    assert retries.amplification(1.0, [2, 2]) == 9
    assert retries.amplification(0.5, [1]) == 1.5
    assert retries.amplification(0.5, [1, 1]) == pytest.approx(1.5 * 1.25)  # the outer hop sees 1/4 fail


def test_a_retry_storm_has_a_good_and_a_bad_equilibrium_until_the_good_one_vanishes():
    def failure(total):
        return retries.response_tail(total, servers=10, service=0.1, seconds=1.0)

    edge = retries.storm_saddle_node(failure, 2, capacity=100)
    assert retries.storm_onset(2, 100) < edge < 100
    below, above = (retries.storm_equilibria(edge * f, failure, 2) for f in (0.995, 1.005))
    assert below.stable == (True, False, True) and below.rates[0] < below.rates[1] < 100 < below.rates[2]
    assert above.stable == (True,) and above.rates[0] == pytest.approx(3 * 1.005 * edge, rel=1e-6)
    assert retries.storm_equilibria(30, failure, 2).stable == (True,)
    budget = retries.storm_equilibria(75, failure, 2, budget=0.2)
    assert budget.stable == (True,) and budget.rates[0] < 76
    assert retries.storm_onset(2, 100, budget=0.2) == pytest.approx(100 * (1 - 0.2))
    assert retries.storm_onset(2, 100, budget=0.9) == retries.storm_onset(2, 100) == pytest.approx(100 / 3)


def test_the_response_tail_of_mm1_is_exponential():
    assert retries.response_tail(6, 1, 0.1, 0.5) == pytest.approx(math.exp(-(10 - 6) * 0.5))
    assert retries.response_tail(10, 1, 0.1, 0.5) == 1
    near = [retries.response_tail(rate, 2, 0.1, 0.3) for rate in (10 - 1e-4, 10.0, 10 + 1e-4)]  # drain = service rate: a limit
    assert near[1] == pytest.approx((near[0] + near[2]) / 2, rel=1e-6)
