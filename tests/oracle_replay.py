"""The plain loop's runs in the form that every engine gives: so that one test can hold for all of them."""

from __future__ import annotations

import numpy as np

from meshmodel.results.log import Ejections, RequestLog
from meshmodel.results.replay import Replay
from meshmodel.scenario import Scenario
from tests.oracle_loop import NOBODY, World

COUNTERS = ("upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_timeout", "upstream_rq_per_try_timeout",
            "upstream_rq_pending_overflow", "outlier_detection.ejections_enforced_total")  # fmt: skip


def simulate(scenario: Scenario, replications: int, seed: int = 1) -> Replay:
    """As `meshmodel.simulation.montecarlo.simulate`, by the plain loop."""
    worlds = [World(scenario, np.random.default_rng([seed, i])) for i in range(replications)]
    names = list({e.name: e for chain in scenario.chains for e in chain[-1].endpoints})
    place = {name: index for index, name in enumerate(names)} | {None: -1, NOBODY: -1}
    runs = []
    for world in worlds:
        rows = [(start, latency, code, place[pod], attempts) for start, latency, code, pod, attempts in world.run()]
        runs.append(dict(zip(RequestLog.FIELDS, zip(*rows, strict=True) if rows else ((),) * 5, strict=True)))
    events = [(i, when, place[pod], gone) for i, world in enumerate(worlds) for when, pod, gone in world.ejections]
    table = np.array(events, dtype=[("replication", int), ("time", float), ("pod", int), ("ejected", bool)])
    return Replay(
        scenario, "oracle", RequestLog.of_runs(runs), np.array([[world.attempts[name] for world in worlds] for name in names]),
        seed=seed, counters={name: np.array([world.counters[name] for world in worlds]) for name in COUNTERS},
        ejections=Ejections(*(table[name] for name in table.dtype.names)),
        unanswered=np.array([world.unanswered for world in worlds]),
    )  # fmt: skip
