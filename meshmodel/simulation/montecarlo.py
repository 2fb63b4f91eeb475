"""The Monte-Carlo engine: the whole experiment, replayed thousands of times in lock-step.

Replications are run in blocks of `BLOCK`, each with its own random stream spawned from
the one seed, so that the numbers do not depend on how many cores run the blocks.  A block
uses the short loop where nothing but the load balancer looks at an answer, else the
event loop; `loop_for` says which, and a test holds the two against each other.

References: Law, Simulation Modeling and Analysis, 5th ed. (2015), chapters 1 and 9, for
event-driven simulation and replications; NumPy's `SeedSequence.spawn` for the streams.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import numpy as np
from tqdm.auto import tqdm

from meshmodel.fakeservice import distribution
from meshmodel.results.replay import Ejections, Replay, RequestLog
from meshmodel.rules import retries
from meshmodel.scenario import UNLIMITED, ClosedLoop, Cluster, ConnectionPool, Route, Scenario
from meshmodel.simulation import closed_loop

BLOCK = 2000
"""Replications that advance together: large enough to hide NumPy's cost per call, small enough for the cache."""

MOST_ROWS = 20_000
"""Requests of a replication that a log has room for from the start; it grows."""

MOST_REQUESTS = 300_000_000
"""About 7 GB of request log; more is refused rather than swapped."""


def simulate(
    scenario: Scenario, replications: int = 1000, seed: int = 1, executor: Executor | None = None, progress: bool = False
) -> Replay:
    """Replay `scenario` `replications` times from `seed`.

    The same seed gives the same numbers on any `executor` (None: here, one block after
    another).  `progress` shows a bar of blocks.

    Raises
    ------
    ValueError : replications below 1, or a run too large to keep.
    meshmodel.simulation.hop.NotModelled : a combination of policies that the engine lacks.
    """
    if replications < 1:
        raise ValueError(f"replications: must be 1 or more, got {replications}")
    _refuse_too_large(scenario, replications)
    sizes = [min(BLOCK, replications - done) for done in range(0, replications, BLOCK)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    run = partial(run_block, scenario)
    results: Iterable = (executor.map if executor else map)(run, sizes, seeds)
    if progress:
        results = tqdm(results, total=len(sizes), desc="replaying", unit="block", disable=bool(os.environ.get("MESHMODEL_NO_PROGRESS")))
    return _joined(scenario, seed, sizes, list(results))


def run_block(
    scenario: Scenario, replications: int, seed: np.random.SeedSequence
) -> tuple[RequestLog, np.ndarray, dict[str, np.ndarray], Ejections]:
    """One block: RequestLog, attempts per pod, counters, ejections."""
    rng = np.random.default_rng(seed)
    reduced = collapse(scenario)
    expected = min(MOST_ROWS, int(1.1 * expected_requests(scenario)))
    if loop_for(reduced) == "short":
        log, attempts = closed_loop.ClosedLoopRun(reduced, replications, rng, expected).run()
        counters, ejections = {}, Ejections()
    else:
        from meshmodel.simulation.events import EventLoop  # its compiler takes most of a second to load; the short loop needs none

        log, attempts, counters, ejections = EventLoop(reduced, replications, rng, expected).run()
    if len(reduced.routes) < len(scenario.routes):
        # The pod in front, left out of the run, turns any failure into a 500 of its own.
        log.code[(log.code != 200) & (log.code != -2)] = 500
    return log, attempts, counters, ejections


def _joined(scenario: Scenario, seed: int, sizes: list[int], results: list[tuple]) -> Replay:
    logs, attempts, counters, ejections = zip(*results, strict=True)
    offsets = np.cumsum([0, *sizes[:-1]])
    names = list(dict.fromkeys(name for block in counters for name in block))
    joined = Ejections(
        np.concatenate([e.replication + offset for e, offset in zip(ejections, offsets, strict=True)]),
        *(np.concatenate([getattr(e, name) for e in ejections]) for name in ("time", "pod", "ejected")),
    )
    return Replay(
        scenario, "montecarlo", RequestLog.join(logs), np.concatenate(attempts, axis=1), seed=seed, ejections=joined,
        counters={name: np.concatenate([block[name] for block in counters]) for name in names},
    )  # fmt: skip


def _refuse_too_large(scenario: Scenario, replications: int) -> None:
    requests = expected_requests(scenario) * replications
    if requests > MOST_REQUESTS:
        raise ValueError(
            f"replications: about {requests:.3g} requests would not fit into memory; ask for fewer replications or a shorter load"
        )


def expected_requests(scenario: Scenario) -> float:
    """A rough number of requests of one replication, for the memory that they need."""
    workload = scenario.workload
    if not isinstance(workload, ClosedLoop):
        return workload.expected
    planned = sum(workload.calls_per_thread)
    if workload.duration is None:
        return planned
    pods = [e.behaviour for e in scenario.endpoints]
    fastest = min((atom.seconds for pod in pods for atom in distribution(pod)), default=0.0)
    each = max(fastest + float(scenario.overhead.ppf(0.01)), 1e-5)
    return min(planned, workload.threads * (workload.duration / each + 1))


# --- which loop ---------------------------------------------------------------------------


def collapse(scenario: Scenario) -> Scenario:
    """Without the routes that only pass requests on: one plain pod, no policy that can act."""
    last = len(scenario.routes) - 1
    keep = [i for i in range(last + 1) if i == last or not all(_passes_on(chain[i]) for chain in scenario.chains)]
    first = keep[0]
    if not first or len(keep) < last + 1 - first:
        return scenario
    changes = tuple(replace(change, routes=change.routes[first:]) for change in scenario.changes)
    return replace(scenario, routes=scenario.routes[first:], changes=changes)


def _passes_on(route: Route) -> bool:
    """Does the route hand every request to its one pod, and every answer back unchanged?"""
    pods = route.endpoints
    if len(pods) != 1 or len(route.destinations) != 1 or route.timeout or route.fault.delay or route.fault.abort_code:
        return False
    cluster, pod = route.destinations[0].cluster, pods[0].behaviour
    plain_pod = not any(pod.timings) and not pod.error_rate and pod.failure == "none" and pod.concurrency is None
    retries_500 = route.retries.attempts and retries.retriable(route.retries)[500 - retries.LOWEST]
    ejects = cluster.outlier_detection is not None
    return plain_pod and not retries_500 and not route.retries.per_try_timeout and not ejects and _unlimited(cluster.connection_pool)


def _unlimited(pool: ConnectionPool) -> bool:
    return pool.max_requests >= UNLIMITED and not pool.limits_connections


def loop_for(scenario: Scenario) -> str:
    """ "short" or "event": which loop runs a (collapsed) scenario."""
    route, workload = scenario.routes[-1], scenario.workload
    if len(scenario.routes) > 1 or scenario.changes or not isinstance(workload, ClosedLoop) or len(route.destinations) > 1:
        return "event"
    cluster = route.destinations[0].cluster
    retriable = retries.retriable(route.retries)
    outcomes = {atom.code for e in cluster.endpoints for atom in distribution(e.behaviour)}
    quiet = (
        not route.timeout
        and not route.fault.delay
        and not route.fault.abort_code
        and not route.retries.per_try_timeout
        and not (route.retries.attempts and any(retriable[code - retries.LOWEST] for code in outcomes))
        and min(outcomes, default=-1) > 0
        and _short_enough(route, cluster, workload)
    )
    return "short" if quiet else "event"


def _short_enough(route: Route, cluster: Cluster, workload: ClosedLoop) -> bool:
    return (
        len(route.callers) == 1
        and cluster.outlier_detection is None
        and cluster.locality_weights is None
        and all(level == 0 for row in cluster.priorities for level in row)
        and _unlimited(cluster.connection_pool)
        and all(e.behaviour.concurrency is None for e in cluster.endpoints)
        and (cluster.load_balancing != "LEAST_REQUEST" or workload.threads <= closed_loop.MOST_CONNECTIONS)
    )
