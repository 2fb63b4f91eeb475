"""Each rule of `meshmodel.rules` by itself, with plain numbers on both sides of where it decides; all exact."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

from meshmodel.rules import balancing, breakers, ejection, locality, outcomes, retries, timeouts
from meshmodel.rules.balancing import NOBODY, POLICIES, picks
from meshmodel.rules.ejection import Detector, Host
from meshmodel.rules.outcomes import ABORTED, GAVE_UP, HANG, NO_HEALTHY, OVERFLOW, PER_TRY_TIMEOUT, REFUSED, RESET, ROUTE_TIMEOUT
from meshmodel.scenario import OutlierDetection

# --- balancing -------------------------------------------------------------------------------


def test_the_three_policies_pick_by_what_they_are_given() -> None:
    assert len(set(POLICIES.values())) == 3 and NOBODY == -1
    assert picks("ROUND_ROBIN", 3, 4, start=1) == [1, 2, 0, 1]
    assert picks("RANDOM", 3, 4, uniforms=[0.0, 0.34, 0.66, 0.67]) == [0, 1, 1, 2]
    assert picks("LEAST_REQUEST", 3, 4, active=[1, 0, 1], uniforms=[0.0, 0.5, 0.5, 0.0, 0.0, 0.9, 0.9, 0.0]) == [1, 1, 0, 2]
    assert picks("LEAST_REQUEST", 3, 1, uniforms=[0.9, 0.0]) == [2]


def test_without_draws_of_ones_own_they_are_numpys() -> None:
    drawn = (np.random.default_rng(1).random(20) * 5).astype(int)
    assert picks("RANDOM", 5, 20) == drawn.tolist()
    assert picks("LEAST_REQUEST", 5, 10) == drawn[::2].tolist()


@pytest.mark.parametrize(("policy", "uniforms"), [("FASTEST", None), ("RANDOM", [0.5]), ("LEAST_REQUEST", [0.5] * 3)])
def test_picks_refuses_what_it_cannot_do(policy: str, uniforms: list[float] | None) -> None:
    with pytest.raises(ValueError, match="policy: must be one of ROUND_ROBIN, RANDOM, LEAST_REQUEST|uniforms: too few draws for 2 picks"):
        picks(policy, 3, 2, uniforms=uniforms)


def test_a_pick_tells_which_two_were_drawn() -> None:
    """Among two of four members, from the second on; hosts by number."""
    host, draws = {7: SimpleNamespace(active=2), 8: SimpleNamespace(active=1)}, iter([0.9, 0.1, 0.4, 0.4, 0.6])
    rng = SimpleNamespace(random=lambda: next(draws))
    asked = rng, host, [9, 8, 7, 6], 1, 2, 5
    assert balancing.pick(balancing.LEAST_REQUEST, *asked) == (8, 7, 8)
    assert balancing.pick(balancing.LEAST_REQUEST, *asked) == (8, 8, 8)
    assert balancing.pick(balancing.RANDOM, *asked) == (7, NOBODY, NOBODY)
    assert balancing.pick(balancing.ROUND_ROBIN, *asked) == (7, NOBODY, NOBODY) and next(draws, None) is None


# --- circuit breakers --------------------------------------------------------------------------


def test_a_limit_is_what_is_allowed() -> None:
    assert breakers.admits(1, 2) and not breakers.admits(2, 2)
    assert breakers.may_wait(0, 1) and not breakers.may_wait(1, 1)
    assert [breakers.may_connect(1, 2, 5), breakers.may_connect(2, 2, 0), breakers.may_connect(2, 2, 1)] == [True, True, False]
    assert [breakers.closes(served, 3) for served in (2, 3, 4)] == [False, True, True]
    assert breakers.closes(1, 1) and not breakers.closes(0, 0) and not breakers.closes(5, 0)
    assert breakers.most_requests(3) == 3 and breakers.most_requests(0) > 10**9


# --- outlier detection -------------------------------------------------------------------------


def counted(statuses: list[int], local: bool = False, **policy: object) -> list[bool]:
    """Which answer of a row reaches a threshold."""
    known = Host()
    nothing = {"consecutive_5xx": 0, "consecutive_gateway_failure": 0, "consecutive_local_origin_failure": 0}
    return [bool(ejection.count(known, OutlierDetection(**(nothing | policy)), status, local)) for status in statuses]


def test_a_row_of_failures_reaches_its_threshold_once() -> None:
    assert counted([500, 500, 500], consecutive_5xx=2) == [False, True, False]
    assert counted([500, 499, 599, 599], consecutive_5xx=2) == [False, False, False, True]
    assert counted([502, 504, 503], consecutive_gateway_failure=2) == [False, True, False]
    assert counted([503, 501, 503, 505, 502, 503], consecutive_gateway_failure=2) == [False] * 5 + [True]
    assert counted([500, 500, 503, 500], consecutive_5xx=3, consecutive_gateway_failure=1) == [False, False, True, False]
    assert not any(counted([503] * 9))


def test_failures_of_the_proxys_own_have_their_own_row_only_where_it_is_split() -> None:
    split = {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 2}
    assert counted([503] * 3, local=True, **split) == [False, True, False]
    assert not any(counted([503] * 3, local=True, consecutive_5xx=1, split_external_local_origin_errors=True))
    assert counted([503] * 2, local=False, **split | {"consecutive_5xx": 2}) == [False, True]
    assert counted([503] * 2, local=True, consecutive_5xx=2, consecutive_local_origin_failure=1) == [False, True]


def test_rows_begin_anew() -> None:
    known = Host(failures_5xx=3, failures_gateway=2, failures_local=1)
    ejection.connected(known)
    assert (known.failures_5xx, known.failures_gateway, known.failures_local) == (3, 2, 0)
    known.failures_local = 4
    ejection.forget(known)
    assert (known.failures_5xx, known.failures_gateway, known.failures_local) == (0, 0, 0)


@pytest.mark.parametrize(
    ("ejected", "hosts", "percent", "always", "may"),
    [
        (0, 3, 33, False, False), (0, 3, 34, False, True), (1, 3, 66, False, False), (1, 3, 67, False, True), (0, 10, 10, False, True),
        (0, 3, 0, True, True), (0, 3, 0, False, False), (1, 3, 33, True, False), (1, 3, 34, True, True), (1, 10, 10, True, False),
        (2, 3, 67, True, True),
    ],
)  # fmt: skip
def test_the_ejection_percentage(ejected: int, hosts: int, percent: int, always: bool, may: bool) -> None:
    assert ejection.may_eject(ejected, hosts, percent, always) == may


@pytest.mark.parametrize(("base", "longest", "most"), [(30.0, 300.0, 11), (2.0, 1.0, 2), (2.0, 3.0, 3), (1.0, 1.0, 2)])
def test_the_multiplier_grows_with_each_ejection(base: float, longest: float, most: int) -> None:
    known, policy = Host(), OutlierDetection(base_ejection_time=base, max_ejection_time=longest)
    for number in range(1, 15):
        ejection.eject(known, policy, at=float(number))
        assert known.multiplier == min(number, most) and known.ejected and known.since == number


def test_the_time_outside() -> None:
    def seconds(multiplier: int, base: float, longest: float) -> float:
        return ejection.ejection_time(multiplier, OutlierDetection(base_ejection_time=base, max_ejection_time=longest))

    assert [seconds(n, 30.0, 300.0) for n in (1, 3, 10, 11)] == [30, 90, 300, 300]
    assert [seconds(n, 2.0, 1.0) for n in (1, 2)] == [2, 2] and seconds(2, 2.0, 3.0) == 3


def test_a_tick() -> None:
    policy = OutlierDetection(base_ejection_time=1.0)
    out = Host(ejected=True, since=10.0, multiplier=2)
    assert [bool(ejection.tick(out, policy, at)) for at in (11.9, 12 - 1.5e-6, 12 - 0.5e-6, 12.0)] == [False, False, True, True]
    assert out.multiplier == 2
    known = Host(multiplier=2)
    assert [(bool(ejection.tick(known, policy, 50.0)), known.multiplier) for _ in range(3)] == [(False, 1), (False, 0), (False, 0)]


def test_workers_hear_of_a_change_at_once_or_after_the_merge_window() -> None:
    at_once = [ejection.told_at_once(5.0 + later, 4.0, 1.0) for later in (-0.5, 0.0, 0.0009985, 0.001 - 1e-7, 0.001, 1.0)]
    assert [bool(each) for each in at_once] == [False, False, False, True, True, True]
    assert ejection.told_at_once(0.0, -1e300, 1.0) and not ejection.told_at_once(2.0, 2.0, 0.0) and ejection.told_at_once(2.001, 2.0, 0.0)


def test_the_next_tick_is_later_than_now() -> None:
    assert [ejection.next_tick(at, 0.25, 2.0) for at in (0.1, 0.25, 1.0, 2.25, 4.2)] == [0.25, 2.25, 2.25, 4.25, 4.25]
    assert ejection.next_tick(2.25 - 1e-13, 0.25, 2.0) == 4.25 and ejection.next_tick(0.0, 100.0, 2.0) == 100.0


def test_a_detector_by_hand() -> None:
    found = Detector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=34, base_ejection_time=30.0), hosts=3)
    assert found.answer(0, 503, at=1.0) and found.out == {0}
    assert not found.answer(0, 503, at=2.0) and not found.answer(1, 200, at=2.0)
    assert not found.answer(1, 503, at=3.0) and found.out == {0} and found.hosts[1].failures_5xx == 0
    assert found.tick(30.0) == set() and found.tick(31.0) == {0} and found.out == set()
    assert found.hosts[0].multiplier == 1 and found.tick(32.0) == set() and found.hosts[0].multiplier == 0
    assert found.answer(2, 503, at=40.0) and found.tick(69.0) == set() and found.tick(70.0) == {2}


def test_a_detector_that_splits_by_hand() -> None:
    policy = OutlierDetection(split_external_local_origin_errors=True, consecutive_local_origin_failure=2, max_ejection_percent=100)
    found = Detector(policy, hosts=1)
    assert not found.answer(0, 503, at=0.0, local=True)
    found.connected(0)
    assert not found.answer(0, 503, at=0.0, local=True) and found.answer(0, 503, at=0.0, local=True)


# --- localities and levels -----------------------------------------------------------------------


def test_health_is_overprovisioned() -> None:
    assert [locality.health(*of) for of in ((5, 7), (4, 7), (1, 2), (1, 1), (0, 3), (0, 0))] == [100, 80, 70, 100, 0, 0]


@pytest.mark.parametrize(
    ("healthy", "total", "loads"),
    [
        ((1, 2), (2, 2), [70, 30]), ((2, 2), (2, 2), [100, 0]), ((1, 1), (4, 4), [50, 50]), ((1, 1, 1), (5, 5, 5), [34, 33, 33]),
        ((0, 1, 1, 1), (5, 5, 5, 5), [0, 34, 33, 33]), ((0, 0), (2, 2), [0, 0]), ((0,), (0,), [0]), ((1, 2, 2), (2, 4, 4), [70, 30, 0]),
        ((1, 0, 1), (2, 2, 2), [70, 0, 30]),
    ],
)  # fmt: skip
def test_the_loads_of_levels(healthy: tuple[int, ...], total: tuple[int, ...], loads: list[int]) -> None:
    assert locality.level_loads(healthy, total) == loads
    assert locality.loads(healthy, total, threshold=0.0) == loads


def test_a_part_of_an_array_is_shared_out() -> None:
    healths, loads = [9, 28, 28, 28, 9], [1, 1, 1, 1, 1]
    assert locality.share_out(healths, loads, 1, 4) and loads == [1, 34, 33, 33, 1]
    assert not locality.share_out([5, 0, 5], loads, 1, 2) and loads == [1, 0, 33, 33, 1]
    one = [1]
    assert locality.share_out(one, one, 0, 1) and one == [100]


def test_who_panics() -> None:
    panics = [locality.panics(*of) for of in ((1, 4, 50, 35), (1, 4, 50, 99), (1, 4, 50, 100), (2, 4, 50, 70), (0, 0, 50, 0), (0, 3, 0, 0))]
    assert [bool(each) for each in panics] == [True, True, False, False, True, False]
    assert locality.panicking([1, 2], [4, 4], 50) == [False, False] and locality.panicking([1, 1], [4, 4], 50) == [True, True]
    assert locality.panicking([0, 2], [4, 4], 50) == [True, False]


@pytest.mark.parametrize("rule", [locality.level_loads, lambda *lists: locality.panicking(*lists, 50.0)])
def test_each_level_has_healthy_hosts_and_all_of_them(rule: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        rule([1, 1], [1])


def test_the_loads_where_all_panic_are_the_numbers_of_hosts() -> None:
    assert locality.loads([0, 0], [1, 2], 50) == [34, 66] and locality.loads([1, 1], [4, 4], 50) == [50, 50]
    assert locality.loads([0, 2], [4, 4], 50) == [0, 100] and locality.loads([1, 3], [4, 4], 50) == [35, 65]
    assert locality.panic_load(1, 3) == 33 and locality.panic_load(0, 0) == 0 and locality.loads([0, 0], [0, 2], 50) == [0, 100]


def test_a_draw_falls_into_a_level() -> None:
    loads = [50, 30, 0, 70, 50]
    assert [locality.level_of(draw, loads, 1, 4) for draw in (0.0, 29.9, 30.0, 99.9, 100.0)] == [1, 1, 3, 3, 3]
    assert [locality.level_of(draw, [30, 20, 50], 0, 3) for draw in (30.0, 49.9, 50.0)] == [1, 1, 2]


def test_the_weight_of_a_locality() -> None:
    weights = [locality.effective_weight(10.0, *of) for of in ((5, 7), (1, 1), (1, 2), (1, 4), (0, 2), (0, 0))]
    assert weights == pytest.approx([10, 10, 7, 3.5, 1e-12, 1e-12], rel=1e-12) and locality.effective_weight(0.0, 1, 1) == 1e-12


def test_localities_take_turns_by_weight() -> None:
    assert locality.schedule([4, 1], [2, 2], [2, 2], 10) == [0, 0, 0, 0, 1] * 2
    assert locality.schedule([4, 2], [1, 2], [2, 2], 6) == locality.schedule([2.8, 2], [2, 2], [2, 2], 6) == [0, 1, 0, 1, 0, 0]
    assert locality.schedule([1, 0, 1], [1, 1, 0], [1, 1, 1], 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("tried", "frequency", "loads"),
    [
        ([], 1, [100, 0]), ([0], 1, [0, 100]), ([1], 1, [100, 0]), ([0, 1], 1, [100, 0]), ([0, 1, 0], 1, [0, 100]),
        ([0, 1, 0, 1], 1, [100, 0]),
        ([0], 2, [100, 0]), ([0, 0], 2, [0, 100]), ([0, 0, 1], 2, [0, 100]), ([0, 1], 2, [100, 0]), ([0, 1, 0], 2, [100, 0]),
        ([0, 1, 0, 0], 2, [0, 100]), ([0, 0, 0], 0, [100, 0]),
    ],
)  # fmt: skip
def test_the_levels_of_a_retry(tried: list[int], frequency: int, loads: list[int]) -> None:
    assert locality.retry_loads([3, 3], [3, 3], tried, frequency) == loads


# --- outcomes and retries ------------------------------------------------------------------------


def test_what_the_caller_sees() -> None:
    assert [outcomes.status(code) for code in (200, 404, 503)] == [200, 404, 503]
    assert [outcomes.status(o) for o in (PER_TRY_TIMEOUT, ROUTE_TIMEOUT, HANG)] == [504] * 3
    assert [outcomes.status(o) for o in (REFUSED, RESET, OVERFLOW, NO_HEALTHY)] == [503] * 4


def test_outcomes_are_different_and_stand_in_tables() -> None:
    numbers = {REFUSED, RESET, HANG, PER_TRY_TIMEOUT, ROUTE_TIMEOUT, OVERFLOW, NO_HEALTHY, ABORTED, GAVE_UP}
    assert len(numbers) == 9 and min(numbers) == outcomes.LOWEST and max(numbers) < 0
    assert {outcomes.number(word) for word in outcomes.WORDS.values()} == numbers
    table = retries.table({"5xx"}, ())
    assert len(table) == 600 - outcomes.LOWEST and np.flatnonzero(table)[-1] == 599 - outcomes.LOWEST
    assert np.flatnonzero(table)[:3].tolist() == [PER_TRY_TIMEOUT - outcomes.LOWEST, RESET - outcomes.LOWEST, REFUSED - outcomes.LOWEST]


def test_words_for_outcomes() -> None:
    found = {"503": 503, 404: 404, "connect-failure": REFUSED, "per-try-timeout": PER_TRY_TIMEOUT, "timed out": ROUTE_TIMEOUT}
    assert {word: outcomes.number(word) for word in found} == found
    with pytest.raises(ValueError, match="outcome: must be a status or one of refused, reset"):
        outcomes.number("lost")


def test_what_a_detector_is_told() -> None:
    asked = [
        (503, ()),
        (429, (429,)),
        (503, (503,)),
        (500, (429,)),
        (200, (429,)),
        (500, (500,)),
        (REFUSED, (429,)),
        (HANG, ()),
        (200, (200,)),
    ]
    assert [outcomes.judged(*each) for each in asked] == [503, 500, 503, 200, 200, 500, 503, 504, 500]


ALL = (200, 404, 409, 429, 499, 500, 501, 502, 503, 504, 505, 599, 600, REFUSED, RESET, PER_TRY_TIMEOUT, ROUTE_TIMEOUT, OVERFLOW, HANG)


@pytest.mark.parametrize(
    ("words", "covered"),
    [
        ("5xx", {500, 501, 502, 503, 504, 505, 599, REFUSED, RESET, PER_TRY_TIMEOUT}),
        ("gateway-error", {502, 503, 504, REFUSED, RESET, PER_TRY_TIMEOUT}),
        ("reset", {REFUSED, RESET, PER_TRY_TIMEOUT}),
        ("connect-failure", {REFUSED}),
        ("reset-before-request", {REFUSED}),
        ("retriable-4xx", {409}),
        ("retriable-status-codes", {404, 429}),
        ("retriable-4xx, connect-failure", {409, REFUSED}),
        ("retriable-headers", set()),
        ("", set()),
    ],
)
def test_what_is_tried_again(words: str, covered: set[int]) -> None:
    codes = (404, 429)
    assert {outcome for outcome in ALL if retries.covers(words, codes, outcome)} == covered
    assert {outcome for outcome in ALL if retries.covers(frozenset(words.replace(" ", "").split(",")), codes, outcome)} == covered
    assert retries.covers(words, codes, "503") == (503 in covered)


def test_the_back_off_doubles_up_to_its_bound() -> None:
    assert [retries.longest_backoff(retry) for retry in (1, 2, 3, 4, 5, 9)] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]
    assert retries.longest_backoff(3, 0.5) == 2.0 and retries.longest_backoff(3, 0.5, 1.5) == 1.5 and retries.longest_backoff(9, 0.5) == 5.0


def test_how_many_retries_at_once() -> None:
    assert [retries.budget(active, 20.0, 3) for active in (0, 19, 20, 24, 25, 100)] == [3, 3, 4, 4, 5, 20]
    assert [retries.most_at_once(50), retries.most_at_once(50, 7), retries.most_at_once(50, percent=20.0)] == [3, 7, 10]
    assert retries.most_at_once(50, percent=0.0) == 3 and retries.most_at_once(50, percent=20.0, least=12) == 12


def test_who_was_tried_before() -> None:
    tried = np.array([[1, 2, 5], [3, 4, 1]])
    assert retries.was_tried(tried, 1, 2, 4) and retries.was_tried(tried, 0, 1, 1)
    assert not retries.was_tried(tried, 1, 1, 4) and not retries.was_tried(tried, 0, 3, 4) and not retries.was_tried(tried, 0, 0, 1)


def test_how_many_attempts_count_for_previous_priorities() -> None:
    assert [retries.tries_left_out(*of) for of in ((5, 2), (4, 2), (1, 2), (3, 1), (0, 3), (3, 0))] == [4, 4, 0, 3, 0, 0]


# --- timeouts ------------------------------------------------------------------------------------


def test_the_first_deadline_ends_an_attempt() -> None:
    assert [timeouts.attempt_deadline(1.0, 0.5, deadline, False) for deadline in (2.0, 1.2, inf)] == [1.5, 1.2, 1.5]
    assert timeouts.attempt_deadline(1.0, 0.5, 2.0, True) == 2.0 and timeouts.attempt_deadline(1.0, inf, inf, False) == inf
    assert [timeouts.outcome_at(at, 2.0) for at in (1.9, 2.0)] == [PER_TRY_TIMEOUT, ROUTE_TIMEOUT]
