"""The figures of the questions that people really ask, against scipy's tests, Envoy's rules and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from meshmodel.analytic.balancing import least_request_probabilities
from meshmodel.rules.ejection import may_eject
from meshmodel.rules.locality import loads
from meshmodel.teaching.consoles.questions import ten_curls, why_stuck
from meshmodel.teaching.plots import Picture
from meshmodel.teaching.questions import (
    broken,
    calls_to_tell,
    chance_to_tell,
    ejected,
    failing_share,
    interval,
    least_request_by_load,
    stuck_failing,
    would_calls_show,
)

# --- would ten curls have shown it? --------------------------------------------------------------


@pytest.mark.parametrize(("count", "calls"), [(0, 10), (3, 10), (10, 10), (1, 1), (448, 1366)])
def test_the_interval_is_clopper_and_pearsons(count: int, calls: int) -> None:
    expected = binomtest(count, calls).proportion_ci(method="exact")
    assert interval(count, calls) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="count"):
        interval(calls + 1, calls)


@pytest.mark.parametrize(("calls", "share", "other"), [(10, 1 / 3, 1 / 6), (7, 0.5, 0.5), (50, 0.2, 1 / 3), (23, 0.9, 0.5)])
def test_the_chance_to_tell_is_that_of_the_exact_test(calls: int, share: float, other: float) -> None:
    """Summed over all counts, each tested by scipy."""
    rejected = [k for k in range(calls + 1) if binomtest(k, calls, other).pvalue <= 0.05]
    rng = np.random.default_rng(1)
    counts = rng.binomial(calls, share, 20_000)
    simulated = np.isin(counts, rejected).mean()
    assert chance_to_tell(calls, share, other) == pytest.approx(simulated, abs=0.015)  # 4 standard errors of the widest


def test_a_false_alarm_is_no_likelier_than_the_level() -> None:
    assert max(chance_to_tell(n, 0.3, 0.3) for n in range(1, 80)) <= 0.05


def test_enough_calls_are_the_last_relapse_and_one() -> None:
    needed = calls_to_tell(1 / 3, 1 / 6)
    assert needed is not None and 30 < needed < 90
    assert chance_to_tell(needed - 1, 1 / 3, 1 / 6) < 0.8
    assert all(chance_to_tell(n, 1 / 3, 1 / 6) >= 0.8 for n in range(needed, 3 * needed))
    assert calls_to_tell(0.5, 0.5) is None and calls_to_tell(0.30, 0.31, most=100) is None
    assert calls_to_tell(1 / 3, 0.0) == 4  # one hit is proof; (2/3)^4 < 0.2


def test_its_figure_says_the_finding() -> None:
    picture = would_calls_show(1 / 3, 1 / 6)
    assert isinstance(picture, Picture) and picture.png()
    assert picture.alt_text.startswith("10 calls tell 33 % from 17 % in 21 % of the loops, 53 calls in 80 %.")
    assert "3 of 10: 6.7 % to 65 %" in picture.alt_text
    assert would_calls_show(0.5, 0.5, calls=20).alt_text.startswith("20 calls find a difference where there is none in 4.1 %")


# --- why is it stuck failing? --------------------------------------------------------------------


@pytest.mark.parametrize("one_host_always", [False, True])
@pytest.mark.parametrize("pods", [1, 2, 3, 7, 10])
def test_as_many_are_ejected_as_the_rule_lets_go(pods: int, one_host_always: bool) -> None:
    for percent in range(0, 101):
        out = ejected(pods, pods, percent, one_host_always)
        assert out == pods or not may_eject(out, pods, percent, one_host_always)
        assert out == max(int(one_host_always), pods * percent // 100) or one_host_always


@pytest.mark.parametrize(
    ("pods", "failing", "percent", "threshold", "share"),
    [
        (3, 1, 33, 0, 1 / 3),  # less than one pod: nobody goes
        (3, 1, 34, 0, 0.0),
        (3, 3, 100, 0, 1.0),  # nobody is left: 503 by the proxy
        (3, 3, 100, 50, 1.0),  # panic: back to pods that all fail
        (4, 3, 100, 0, 0.0),
        (4, 3, 100, 50, 3 / 4),  # one of four is too few: panic brings the others back
        (4, 2, 100, 50, 0.0),  # half is not below half
        (10, 5, 30, 0, 2 / 7),
    ],
)
def test_what_fails_for_good(pods: int, failing: int, percent: int, threshold: int, share: float) -> None:
    assert failing_share(pods, failing, percent, threshold) == pytest.approx(share)
    out = ejected(pods, failing, percent)
    assert (sum(loads([pods - out], [pods], threshold)) == 0) == (share == 1.0 and threshold == 0 and out == pods)


@pytest.mark.parametrize(("pods", "share", "number"), [(1, 0.1, 1), (3, 0.5, 2), (5, 0.5, 3), (9, 0.5, 5), (10, 0.7, 7), (10, 0.3, 3)])
def test_a_share_of_the_pods_is_rounded_up_whatever_their_number(pods: int, share: float, number: int) -> None:
    """Half of five and half of seven alike; and 0.7 * 10 is no eighth pod."""
    assert broken(pods, share) == number


def test_the_map_frames_the_cells_that_eject_nobody() -> None:
    picture = stuck_failing(failing=0.5, threshold=50)
    below = sum(n * p < 100 for n in range(1, 11) for p in range(0, 101, 10))
    assert picture.png() and f"of 110 cells {below} eject nobody" in picture.alt_text
    assert "Envoy before 1.28" in stuck_failing(one_host_always=True).alt_text


# --- why does LEAST_REQUEST look random at low load? ---------------------------------------------


def test_least_request_is_random_where_nobody_is_active() -> None:
    assert least_request_probabilities(np.zeros(3)) == pytest.approx([1 / 3] * 3)
    said = least_request_by_load(connections=(1, 5)).alt_text
    assert said.startswith("With one connection LEAST_REQUEST is RANDOM: 33 % to the slow pod; with 5, ")
    assert "1: 33.3%, 1.0 active" in said and "the floor is 11.1%" in said


# --- consoles ------------------------------------------------------------------------------------


def test_the_console_of_ten_curls_says_what_the_figure_says() -> None:
    console = ten_curls()
    assert console.result.status == "10 calls tell 33 % from 17 % in 21% of the loops"
    result = console.set(calls=200)
    assert result.data[0] > 0.99 and "200 calls tell" in console.picture.alt_text
    assert console.set(share=50, other=50).data[1] is None


def test_the_console_of_the_map_follows_the_rules() -> None:
    console = why_stuck()
    assert console.result.status == "of three pods, 67% of the requests fail for good at maxEjectionPercent 10, 67% at 100"
    assert console.set(threshold=0).status.endswith("67% of the requests fail for good at maxEjectionPercent 10, 0% at 100")
    assert "no panic" in console.picture.alt_text
