"""The sweeps of `benchmarks/growth.py` are what they say, and about as large as each other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meshmodel.simulation.montecarlo import simulate

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import growth  # noqa: E402

SIZES = [size for sizes in growth.SWEEPS.values() for size in sizes]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_size_is_what_it_says(size: growth.Size) -> None:
    tested = growth.scenario(size, 200_000)
    assert tested.workload.threads == size.connections and len(tested.endpoints) == size.endpoints
    assert 0.5 <= sum(tested.workload.calls_per_thread) * size.replications / 200_000 <= 1.5


def test_a_row_is_played() -> None:
    """The limits are far away: nothing is refused; some of what fails is tried again."""
    size = growth.Size(connections=20, endpoints=7, replications=3)
    replay = simulate(growth.scenario(size, 600), size.replications)
    assert replay.requests.tolist() == [200] * 3 and not replay.counters["upstream_rq_pending_overflow"].any()
    assert replay.counters["upstream_rq_retry"].any()
