"""Slow start and weighted schedules against Envoy's own tests: round_robin_lb_test.cc, least_request_lb_test.cc, edf_scheduler_test.cc."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from meshmodel.rules import warmup


def picks(
    n: int,
    weight: Callable[[int], float],
    number: int,
    first: Sequence[float] | None = None,
    before: int = 0,
    usable: Sequence[bool] | None = None,
) -> list[int]:
    """`n` picks of `number` endpoints; `first` are the weights when the schedule is made, `weight` those afterwards."""
    at_start = np.array([weight(i) for i in range(number)] if first is None else first, dtype=float)
    deadline, place, given = np.zeros(number), np.zeros(number, np.int64), np.zeros(1, np.int64)
    warmup.start(at_start, np.array(usable or [True] * number), before, deadline, place, given)
    found = []
    for _ in range(n):
        i = warmup.next_due(deadline, place)
        warmup.put_back(i, weight(i), deadline, place, given)
        found.append(int(i))
    return found


# --- the factor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "window", "aggression", "minimum", "factor"),
    [
        (5, 60, 1, 10, 0.1),
        (10, 60, 1, 10, 1 / 6),
        (40, 60, 1, 10, 2 / 3),
        (60, 60, 1, 10, 1),
        (1e9, 60, 1, 10, 1),
        (0, 60, 1, 0, 1 / 60_000),  # the first millisecond counts as one
        (0.0019, 1, 1, 0, 0.001),  # whole milliseconds
        (9, 10, 1.5, 10, 0.9 ** (1 / 1.5)),
        (26, 60, 2, 10, (26 / 60) ** 0.5),
        (6, 60, 0.5, 10, 0.1),  # 0.01 is below the minimum
        (5, 60, 1, 35, 0.35),
    ],
)
def test_slow_start_factor(age: float, window: float, aggression: float, minimum: float, factor: float) -> None:
    assert warmup.slow_start_factor(age, window, aggression, minimum) == pytest.approx(factor, rel=1e-12)


def test_a_level_is_scheduled_while_weights_differ_or_somebody_warms_up() -> None:
    one, two, all_in = np.array([1, 1, 1]), np.array([1, 1, 2]), np.ones(3, bool)
    assert not warmup.scheduled(one, all_in, 5.0, 0.0), "no slow start, equal weights"
    assert warmup.scheduled(one, all_in, 60.0, 60.0) and not warmup.scheduled(one, all_in, 60.001, 60.0)
    assert warmup.scheduled(two, all_in, math.inf, 0.0)
    assert not warmup.scheduled(two, np.array([True, True, False]), math.inf, 0.0), "the odd one is out"
    assert not warmup.scheduled(one, np.array([True, False, False]), 1.0, 60.0), "there is no choice"


# --- round robin -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "window", "aggression", "expected"),
    [
        ((61 + 12, 12), 60, 1.0, [0, 0, 0, 0, 1]),  # SlowStartNoWait: 4:1
        ((61 + 20, 20), 60, 1.0, [0, 0, 1]),
        ((68, 6), 60, 2.0, [0, 0, 0, 1]),  # SlowStartNoWaitNonLinearAggression
        ((88, 26), 60, 2.0, [0, 1, 0, 0, 1, 0, 1, 0]),
        ((99, 5, 5), 10, 1.0, [0, 1, 2, 0, 0]),  # SlowStartWithRuntimeAggression: 2:1:1
    ],
)
def test_round_robin_in_slow_start(ages: Sequence[float], window: float, aggression: float, expected: list[int]) -> None:
    """The first three of Envoy's expectations hold for its plain way of making a schedule, without the 1e-13 that break ties now."""
    factor = [warmup.slow_start_factor(age, window, aggression, 10) for age in ages]
    found = picks(len(expected), factor.__getitem__, len(ages))
    assert np.bincount(found).tolist() == np.bincount(expected).tolist()
    assert found[:2] == expected[:2]


def test_equal_weights_are_round_robin_from_wherever_the_first_picks_end() -> None:
    for before in range(7):
        assert picks(6, lambda i: 1.0, 3, before=before) == [(before + k) % 3 for k in range(6)]


@pytest.mark.parametrize("before", [0, 1, 23, 12345, warmup.MOST_PICKS - 1])
def test_n_picks_share_out_by_weight_within_one(before: int) -> None:
    weights = [1.0, 2.0, 3.0, 0.5]
    found = np.bincount(picks(1300, weights.__getitem__, 4, before=before), minlength=4)
    assert np.all(np.abs(found - 1300 * np.array(weights) / 6.5) <= 1)


@pytest.mark.parametrize(("weights", "before"), [([5, 3, 7], 1773), ([1, 2, 3], 2700), ([3, 5, 1], 207)])
def test_a_round_shares_out_exactly_wherever_the_first_picks_end(weights: list[int], before: int) -> None:
    """Here rounding makes some endpoint's whole turns reach just as far as all picks, and not the others': they are one too many."""
    assert np.bincount(picks(sum(weights), weights.__getitem__, 3, before=before)).tolist() == weights


def test_a_schedule_made_with_picks_goes_on_as_one_that_made_them() -> None:
    weights = [math.sqrt(5), math.e, 1.0]  # whose multiples do not meet: ties may go either way, in Envoy as well
    whole = picks(200, weights.__getitem__, 3)
    for before in (1, 23, 99, 150):
        assert picks(50, weights.__getitem__, 3, before=before) == whole[before : before + 50]


def test_who_may_not_be_picked_is_not_scheduled() -> None:
    assert set(picks(50, lambda i: 1.0, 3, usable=[True, False, True])) == {0, 2}
    assert warmup.next_due(np.full(2, math.inf), np.zeros(2)) == -1


def test_of_equal_deadlines_the_one_that_was_put_in_first_comes_first() -> None:
    """edf_scheduler.h, EdfEntry::operator<."""
    deadline, place, given = np.array([0.5, 1.0]), np.array([0, 1]), np.array([2])
    found = []
    for weight in (2.0, 1.0, 1.0, 1.0):
        found.append(warmup.next_due(deadline, place))
        warmup.put_back(found[-1], weight, deadline, place, given)
    assert found == [0, 1, 0, 1] and deadline.tolist() == [2.0, 3.0]


# --- least request ---------------------------------------------------------------------------


def test_least_request_in_slow_start() -> None:
    """LeastRequestLoadBalancerTest.SlowStartNoWait: the active requests came after the schedule was made."""
    factor = warmup.slow_start_factor(10, 60, 1.0, 10)
    active = [1, 0]
    weight = [warmup.least_request_weight(1, active[0]), factor * warmup.least_request_weight(1, active[1])]
    assert picks(4, weight.__getitem__, 2, first=[1.0, factor]) == [0, 0, 0, 1]
    factor = warmup.slow_start_factor(40, 60, 1.0, 10)
    weight = [0.5, factor]
    assert picks(7, weight.__getitem__, 2) == [1, 0, 1, 0, 1, 0, 1]


def test_a_busy_endpoint_gets_less_by_its_active_requests() -> None:
    """With nobody else to blame: 9 active against 0 get one pick in eleven."""
    weight = [warmup.least_request_weight(1, 9), warmup.least_request_weight(1, 0)]
    assert np.bincount(picks(1100, weight.__getitem__, 2)).tolist() == pytest.approx([100, 1000], abs=1)


# --- compiled --------------------------------------------------------------------------------


def test_compiled_the_rules_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    weights = [25.0, 75.0, 10.0]
    plain = picks(100, weights.__getitem__, 3, before=77), warmup.slow_start_factor(26, 60, 2.0, 10)
    for name in ("next_due", "put_back", "start", "slow_start_factor", "warming", "scheduled"):
        monkeypatch.setattr(warmup, name, numba.njit(error_model="numpy")(getattr(warmup, name)))
    assert (picks(100, weights.__getitem__, 3, before=77), warmup.slow_start_factor(26, 60, 2.0, 10)) == plain
    assert warmup.scheduled(np.array([1, 1, 2]), np.ones(3, bool), math.inf, 0.0)
