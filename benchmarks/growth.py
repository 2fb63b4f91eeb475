"""Does a request cost the same however large the run?  Connections, endpoints and replications, each over decades.

    python benchmarks/growth.py [--requests 200000] [--rounds 3] [--most 3.0]

Each row's cost per request is held against the first row's of its sweep.  All rows of a sweep do the same for a request: a
connection makes at least twenty calls, since opening it is work of its own, and a replication has as many requests as any
other.  Exit status 1: a cost grew by `--most` or more.  Seconds are of process CPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabulate import tabulate  # noqa: E402

from meshmodel.scenario import (  # noqa: E402
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Constant,
    Destination,
    Endpoint,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
)
from meshmodel.simulation.montecarlo import simulate  # noqa: E402

SERVICE, OVERHEAD = 0.15, 0.003
"""Seconds."""


class Size(NamedTuple):
    """How large a run is; `calls` of each connection (None: what makes the requests asked for)."""

    connections: int = 10
    endpoints: int = 3
    replications: int = 100
    calls: int | None = None


SWEEPS = {
    "connections": [Size(connections=n, replications=10, calls=max(20, 20_000 // n)) for n in (10, 100, 1000, 10_000)],
    "endpoints": [Size(connections=100, endpoints=n, replications=10) for n in (3, 30, 300, 1000)],
    "replications": [Size(replications=n, calls=40) for n in (1, 10, 100, 1000, 10_000)],
}


def scenario(size: Size, requests: int) -> Scenario:
    """All policies, far from biting but for the retries: one pod in three fails each fifth of its requests."""
    pods = tuple(
        Endpoint(
            name=f"p{i}",
            deployment=f"p{i}",
            address=f"10.{i // 250}.0.{i % 250}:80",
            behaviour=Behaviour(timing_50_percentile=SERVICE, error_rate=0.0 if i % 3 else 0.2, error_code=503),
        )
        for i in range(size.endpoints)
    )
    far = 10 * size.connections + 4 * size.endpoints
    cluster = Cluster(
        name="pods",
        endpoints=pods,
        load_balancing="LEAST_REQUEST",
        priorities=(tuple(i % 2 for i in range(size.endpoints)),),
        outlier_detection=OutlierDetection(consecutive_5xx=3, interval=5.0, base_ejection_time=10.0, max_ejection_percent=50),
        connection_pool=ConnectionPool(max_connections=far, max_pending_requests=far, max_requests=far, max_retries=far),
    )
    route = Route(
        host="pods",
        callers=(Caller(name="web"),),
        destinations=(Destination(cluster=cluster),),
        timeout=2.0,
        retries=RetryPolicy(attempts=2, retry_on=frozenset({"5xx"}), per_try_timeout=0.5),
    )
    calls = size.calls or max(1, round(requests / size.replications / size.connections))
    load = ClosedLoop(connections=size.connections, calls=calls * size.connections)
    return Scenario(routes=(route,), workload=load, overhead=Constant(OVERHEAD))


def microseconds(size: Size, requests: int, seed: int) -> float:
    """Of CPU for each request."""
    tested = scenario(size, requests)
    begin = time.process_time()
    replay = simulate(tested, size.replications, seed)
    return 1e6 * (time.process_time() - begin) / int(replay.requests.sum())


def table(requests: int, rounds: int) -> tuple[str, float]:
    """The sweeps as a table, and the largest growth.  The sizes take turns, so that a busy moment meets them all."""
    simulate(scenario(Size(), 1000), 2, 1)  # compiles
    rows, largest = [], 1.0
    for name, sizes in SWEEPS.items():
        costs = [[microseconds(size, requests, seed) for size in sizes] for seed in range(1, rounds + 1)]
        for k, size in enumerate(sizes):
            growth = statistics.median(each[k] / each[0] for each in costs)
            rows.append((name, *size, statistics.median(each[k] for each in costs), growth))
            largest = max(largest, growth)
    headers = ("sweep", *Size._fields, "µs CPU per request", "growth")
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", "", "", "", "", ".3f", ".2f"), intfmt=","), largest


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost per request against the size of a run.")
    parser.add_argument("--requests", type=int, default=200_000, help="simulated in each row, about (200000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each size has (3)")
    parser.add_argument("--most", type=float, default=3.0, help="a growth that is too much (3)")
    given = parser.parse_args()
    text, largest = table(given.requests, given.rounds)
    print(text)
    return int(largest >= given.most)


if __name__ == "__main__":
    sys.exit(main())
