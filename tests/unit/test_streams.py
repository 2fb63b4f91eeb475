"""The same seed gives the same numbers, from one version to the next: what the notebooks say in words depends on it.

One replication of each scenario of `tests/oracle_family.py` against what is kept in `streams.json`.  Where a change of the
engine changes numbers for good reason, `python -m tests.unit.test_streams` keeps the new ones: read the difference, it should
be in the scenarios that use what was changed, and in no others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshmodel.simulation.montecarlo import simulate
from tests.oracle_family import FAMILY, NEW_FAMILY

KEPT = Path(__file__).parent / "streams.json"
SCENARIOS = {name: (lambda tested=tested: tested) for name, tested in FAMILY.items()} | NEW_FAMILY


def numbers(name: str) -> dict[str, object]:
    """What a replication comes to: counts, and seconds to the millisecond."""
    runs = simulate(SCENARIOS[name](), 1, seed=5, keep="figures")  # without a compiler too this is the event loop
    counted = {"codes": runs.codes, "attempts": runs.attempts, "answers": runs.endpoints, "counters": runs.counters}
    counts = {what: {str(key): int(n[0]) for key, n in each.items() if n[0]} for what, each in counted.items()}
    requests = int(runs.requests[0])
    return counts | {"unanswered": int(runs.unanswered[0]), "seconds": round(float(runs.mean[0]) * requests, 3) if requests else 0.0}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seeds_numbers_stay(name: str) -> None:
    assert numbers(name) == json.loads(KEPT.read_text(encoding="utf-8"))[name]


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(numbers(name))}" for name in SCENARIOS]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
