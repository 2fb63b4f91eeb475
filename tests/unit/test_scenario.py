"""The frozen scenario: what its own methods say of a workload."""

from __future__ import annotations

import pytest

from meshmodel.scenario import ClosedLoop


@pytest.mark.parametrize("load", [ClosedLoop(connections=2, qps=4.0, duration=2.0), ClosedLoop(connections=2, qps=4.0, calls=8)])
def test_fortio_spreads_the_calls_of_a_thread_so_that_the_last_one_is_due_at_the_end(load: ClosedLoop) -> None:
    """A number of calls (`-n`) is paced as a duration is: (i + i / (n - 1)) / (qps / threads)."""
    (calls, _) = load.calls_per_thread
    assert calls == 4
    assert [load.due(done, calls) for done in range(4)] == pytest.approx([0, 2 / 3, 4 / 3, 2])


def test_the_thread_that_makes_what_is_left_over_has_a_schedule_of_its_own() -> None:
    load = ClosedLoop(connections=3, qps=3.0, calls=10)
    assert load.calls_per_thread == (4, 3, 3)
    assert [load.due(1, calls) for calls in load.calls_per_thread] == pytest.approx([4 / 3, 3 / 2, 3 / 2])


def test_without_a_rate_nothing_is_waited_for() -> None:
    assert ClosedLoop(connections=2, duration=5.0).due(3, float("inf")) == 0.0
