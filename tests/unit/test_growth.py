"""The sweeps of `benchmarks/growth.py` are what they say, and the rows of each do the same for a request."""

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
    assert min(tested.workload.calls_per_thread) >= 20  # opening a connection is work of its own


@pytest.mark.parametrize("name", growth.SWEEPS)
def test_only_one_thing_grows_in_a_sweep(name: str) -> None:
    sizes = growth.SWEEPS[name]
    for other in {"connections", "endpoints", "replications"} - {name}:
        assert len({getattr(size, other) for size in sizes}) == 1
    a_replication = {sum(growth.scenario(size, 200_000).workload.calls_per_thread) for size in sizes}
    assert len(a_replication) == 1 or name == "connections"  # twenty calls of ten thousand are more than all the others make


def test_a_row_is_played() -> None:
    """The limits are far away: nothing is refused; some of what fails is tried again."""
    size = growth.Size(connections=20, endpoints=7, replications=3)
    replay = simulate(growth.scenario(size, 600), size.replications)
    assert replay.requests.tolist() == [200] * 3 and not replay.counters["upstream_rq_pending_overflow"].any()
    assert replay.counters["upstream_rq_retry"].any()
