"""The Monte-Carlo engine: the whole experiment, replayed thousands of times.

Each replication has a random stream of its own, made from the seed and its number, so that the first hundred of two
hundred replications are the run of one hundred, on any number of threads, processes or machines.  Replications run in
threads, since compiled code lets others run.  Without a compiler a closed loop in which only the load balancer acts
runs in lock-step, in NumPy (`closed_loop`); everything else runs as Python.

References: Law, Simulation Modeling and Analysis, 5th ed. (2015), chapters 1 and 9, for event-driven simulation and
replications; NumPy's `SeedSequence` for the streams.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from meshmodel import compiled
from meshmodel.results import fortio
from meshmodel.results.replay import Replay
from meshmodel.scenario import Scenario
from meshmodel.simulation import admission, plan, world
from meshmodel.simulation.closed_loop import ClosedLoopRun
from meshmodel.simulation.closed_loop_trace import trace_in_lock_step
from meshmodel.simulation.parts import Part, collect, join
from meshmodel.simulation.run import Run, stream
from meshmodel.simulation.trace import trace
from meshmodel.simulation.world import Layout, empty_log

Keep = Literal["log", "figures"]

PARTS = 8
"""Parts of the replications for each thread: so that the last one does not leave the others waiting, and that progress shows."""

SMALL_PART = 20_000
"""Requests.  A smaller part takes longer to prepare than to run."""


class Cancelled(Exception):
    """Whoever asked for the replay does not want it any more."""


def simulate(
    scenario: Scenario,
    replications: int = 1000,
    seed: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    *,
    keep: Keep = "log",
    resolution: float = fortio.DEFAULT_RESOLUTION,
    threads: int | None = None,
    cancel: threading.Event | None = None,
) -> Replay:
    """Replay `scenario` `replications` times from `seed`.

    Parameters
    ----------
    executor : where parts of the replications run (None: `threads` here, by default one for each core).  The same seed
        gives the same numbers on any.
    progress : show a bar.
    keep : "log" keeps every request; "figures" only fortio's buckets (of that `resolution`, in seconds), shares, counters
        and the series by the second, in memory that does not grow with the number of requests.
    cancel : set it to end the replay early, with `Cancelled`.

    Raises
    ------
    ValueError : replications below 1; a run too large to keep, or too long; one that would never end (`Standstill`).
    meshmodel.simulation.plan.NotModelled : a change under load that the engine lacks.
    """
    if replications < 1:
        raise ValueError(f"replications: must be 1 or more, got {replications}")
    if keep not in ("log", "figures"):
        raise ValueError(f"keep: must be log or figures, got {keep!r}")
    admission.admit(scenario, replications, keep)
    threads = threads or os.cpu_count() or 1
    if not compiled.enabled():
        threads = 1
    size = _part(scenario, replications, threads)
    starts = range(0, replications, size)
    sizes = [min(size, replications - first) for first in starts]
    laid_out = world.layout(scenario)
    if not compiled.enabled() and keep == "log" and plan.only_balancing(laid_out.reduced):
        return _in_lock_step(laid_out, seed, replications, resolution)
    requests = _requests(laid_out, seed, replications) if keep == "log" else None
    log = empty_log(replications, requests) if requests is not None and executor is None else None
    run = partial(run_part, scenario, seed, requests=requests, resolution=resolution)
    with _mapping(executor, threads, len(starts)) as run_all:
        results = run_all(run if executor else partial(run, shared=(laid_out, cancel, log)), starts, sizes)
        hidden = not progress or bool(os.environ.get("MESHMODEL_NO_PROGRESS"))
        parts = list(tqdm(results, total=len(starts), desc="replaying", unit="part", disable=hidden))
    return join(scenario, seed, parts, resolution, log, partial(trace, scenario, seed))


def _part(scenario: Scenario, replications: int, threads: int) -> int:
    """Replications of a part."""
    enough = math.ceil(SMALL_PART / max(admission.expected_requests(scenario), 1.0))
    return max(-(-replications // (threads * PARTS)), min(enough, -(-replications // threads)))


def _requests(laid_out: Layout, seed: int, replications: int) -> int:
    """Requests of a replication that a log is to have room for: memory too much costs more than a replication to measure it."""
    requests = admission.room(laid_out.reduced)
    if replications < 2 * PARTS:
        return requests
    pilot = Run(laid_out, world.make(laid_out, 1, empty_log(1, requests), resolution=1.0))
    pilot.replicate(stream(seed, 0), 0)
    counted = int(pilot.world.tally["requests"][0])
    return int(1.03 * counted + 4 * np.sqrt(counted) + 8)


class _mapping:
    """A `map` over an executor: the given one, or threads of our own, which end with the block."""

    def __init__(self, executor: Executor | None, threads: int, parts: int) -> None:
        self.own = ThreadPoolExecutor(min(threads, parts)) if executor is None and min(threads, parts) > 1 else None
        self.map: Callable[..., Iterator[Part]] = (executor or self.own).map if executor or self.own else map  # type: ignore[union-attr]

    def __enter__(self) -> Callable[..., Iterator[Part]]:
        return self.map

    def __exit__(self, *_: object) -> None:
        if self.own is not None:
            self.own.shutdown(cancel_futures=True)


def _in_lock_step(laid_out: Layout, seed: int, replications: int, resolution: float) -> Replay:
    """Without a compiler NumPy's arrays are the faster way, where they suffice."""
    streams = [stream(seed, replication) for replication in range(replications)]
    log, attempts = ClosedLoopRun(laid_out.reduced, streams, admission.room(laid_out.reduced)).run()
    if laid_out.behind:
        log.code[(log.code != 200) & (log.code > 0)] = 500
    tracer = partial(trace_in_lock_step, laid_out, seed)
    return Replay(laid_out.scenario, "montecarlo", log, attempts, seed=seed, resolution=resolution, tracer=tracer)


def run_part(
    scenario: Scenario, seed: int, first: int, replications: int, *, requests: int | None, resolution: float,
    shared: tuple[Layout, threading.Event | None, dict[str, np.ndarray] | None] | None = None,
) -> Part:  # fmt: skip
    """Replications `first` to `first + replications - 1`, with a log that has room for `requests` of each (None: figures only)."""
    laid_out, cancel, room = shared or (world.layout(scenario), None, None)
    log = None
    if requests is not None:
        log = {name: column[first : first + replications] for name, column in room.items()} if room else empty_log(replications, requests)
    run = Run(laid_out, world.make(laid_out, replications, log, resolution=resolution))
    for row in range(replications):
        if cancel is not None and cancel.is_set():
            raise Cancelled("the replay was cancelled")
        run.replicate(stream(seed, first + row), row)
    return collect(laid_out, run.world, first)
