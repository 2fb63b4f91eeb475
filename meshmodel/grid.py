"""A grid of scenarios, run on any `concurrent.futures.Executor`: threads, processes, Dask.

    sweep(mesh.fortio_load, {"connections": [1, 10, 100], "qps": [100, 1000]}, replications=200)
    sweep(mesh.predict, {"connections": range(1, 30)})
    sweep(build, {"timeout": [0.2, 0.5, 1.0]}, executor=ProcessPoolExecutor())      # def build(timeout) -> Scenario
    sweep(build, {...}, resume="sweep.jsonl")         # goes on where it was interrupted, or killed

Every cell of the grid gets its own seed, spawned from the one seed by its place in the grid, so the numbers
are the same on any executor.  With `common_random_numbers` all cells share the seed itself: the
differences between cells are then less noisy, and curves over the grid smoother, as long as the
cells use their numbers in the same order.

References: Law, Simulation Modeling and Analysis, 5th ed. (2015), section 11.2, for common
random numbers; NumPy's `SeedSequence.spawn` for independent streams.
"""

from __future__ import annotations

import inspect
import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import ExitStack
from functools import lru_cache, partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from meshmodel._lite import fewer
from meshmodel._signals import ending_in_order
from meshmodel._text import quoted
from meshmodel.results.journal import SweepError, digest, journal
from meshmodel.results.replay import Outcome, Replay
from meshmodel.scenario import Scenario
from meshmodel.simulation.admission import expected_requests
from meshmodel.simulation.montecarlo import simulate

MOST_CELLS = 1_000_000
SHARES = ("code ", "answered by ", "attempts ")
"""How the columns of shares begin: a code or Deployment that a cell never saw has the share 0 there."""


Call = Callable[[], dict[str, Any]]


def sweep(
    build: Callable[..., Scenario | Outcome],
    grid: Mapping[str, Iterable[Any]],
    replications: int = 1000,
    seed: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    common_random_numbers: bool = False,
    resume: str | Path | None = None,
) -> pd.DataFrame:
    """The figures of `build(**cell)` for every cell of the grid.

    Parameters
    ----------
    build : gives the Scenario of a cell, which is then simulated, or an outcome: `mesh.fortio_load`,
        `mesh.curl`, `mesh.predict`, a function of your own.  It gets `replications` and `seed` too if
        it has parameters of these names.  For processes it must be picklable: no lambda.
    grid : parameter -> its values; the cells are all combinations, the last parameter varying fastest.
    executor : where the cells run (None: here, one after the other).  Interrupted, a sweep kills the workers of
        a ProcessPoolExecutor.
    resume : a file in which every finished cell is stored at once.  A sweep that was interrupted or killed goes on
        from it and computes no cell twice; the file of another sweep is refused.

    Returns
    -------
    A row per cell: the parameters; `requests`, the total over replications (the expected number of one run where
        the outcome is a closed form's); then for each figure its mean and the ends of its 95 % interval,
        e.g. `p75`, `p75 lo`, `p75 hi`.  Times in seconds, codes and endpoints as shares of all requests.

    Raises
    ------
    SweepError : an empty grid, a cell that its engine refuses, or a file that is not this sweep's.
    """
    cells = _cells(grid)
    if common_random_numbers:
        seeds = [seed] * len(cells)
    else:
        seeds = [int(child.generate_state(1, np.uint64)[0]) for child in np.random.SeedSequence(seed).spawn(len(cells))]
    rows: dict[int, dict[str, Any]] = {}
    with ExitStack() as stack:
        stack.enter_context(ending_in_order())
        stored = None
        if resume is not None:
            of = f"{getattr(build, '__name__', 'a function')} over {', '.join(grid)}"
            header = {"sweep": digest(build, cells, seeds, replications), "cells": len(cells), "of": of}
            stored = stack.enter_context(journal(resume, header))
            rows = stored.rows
        bar = tqdm(total=len(cells), initial=len(rows), desc="sweep", unit="cell", disable=not progress)
        stack.callback(bar.close)

        def finish(cell: int, figures: dict[str, Any]) -> None:
            if stored is not None:
                stored.add(cell, figures)
            rows[cell] = figures
            bar.update()

        todo = [i for i in range(len(cells)) if i not in rows]
        _compute(executor, [partial(_figures, build, replications, cells[i], seeds[i]) for i in todo], todo, finish)
    return _table([cell | rows[i] for i, cell in enumerate(cells)])


def _compute(executor: Executor | None, calls: Sequence[Call], cells: Sequence[int], finish: Callable[[int, dict[str, Any]], None]) -> None:
    """Each call's figures to `finish` as soon as there are; whatever ends it, nothing goes on computing for long."""
    if executor is None:
        for call, cell in zip(calls, cells, strict=True):
            finish(cell, call())
        return
    from concurrent.futures import ProcessPoolExecutor  # here, since a browser tab may have none

    in_processes = isinstance(executor, ProcessPoolExecutor)
    futures: dict[Future[dict[str, Any]], int] = {}
    try:
        for call, cell in zip(calls, cells, strict=True):
            futures[executor.submit(_in_worker, call) if in_processes else executor.submit(call)] = cell
        for future in as_completed(futures):
            finish(futures[future], future.result())
    except BaseException as problem:
        for future in futures:
            future.cancel()
        if in_processes and not isinstance(problem, Exception):  # an interrupt, not a cell that is refused
            _kill(executor)
        raise


def _kill(pool: Executor) -> None:
    """End the workers now: compiled code looks at no signal until its cell is done."""
    for worker in list((getattr(pool, "_processes", None) or {}).values()):  # Python 3.14 has `kill_workers`
        worker.kill()
    pool.shutdown(wait=True, cancel_futures=True)


def _in_worker(call: Call) -> dict[str, Any]:
    """`call` in a worker process: Ctrl-C is its parent's business, and a worker does not outlive its parent."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch_parent()
    return call()


@lru_cache(maxsize=1)
def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    shares = [column for column in table if str(column).startswith(SHARES)]
    table[shares] = table[shares].fillna(0.0)
    return table


def _cells(grid: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    if not grid:
        raise SweepError("grid: has no parameter")
    values = {name: _values(name, given) for name, given in grid.items()}
    if math.prod(map(len, values.values())) > MOST_CELLS:
        raise SweepError(f"grid: has more than {MOST_CELLS:,} cells")
    return [dict(zip(values, cell, strict=True)) for cell in itertools.product(*values.values())]


def _values(name: str, given: Iterable[Any]) -> list[Any]:
    """The values of one parameter, NumPy's scalars as Python's."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise SweepError(f"grid: {name}: must be a list of values, got {quoted(given)}")
    values = [value.item() if isinstance(value, np.generic) else value for value in itertools.islice(given, MOST_CELLS + 1)]
    if not values:
        raise SweepError(f"grid: {name}: has no values")
    return values


def _figures(build: Callable[..., Scenario | Outcome], replications: int, cell: dict[str, Any], seed: int) -> dict[str, Any]:
    """The figures of one cell, computed where the executor runs it; only they travel back."""
    offered = {"replications": replications, "seed": seed}
    wanted = inspect.signature(build).parameters
    try:
        built = build(**{name: value for name, value in offered.items() if name in wanted} | cell)
        outcome = simulate(built, fewer(replications, expected_requests(built)), seed) if isinstance(built, Scenario) else built
    except ValueError as problem:
        raise SweepError(f"{', '.join(f'{name}={quoted(value)}' for name, value in cell.items())}: {problem}") from problem
    row = {"requests": int(outcome.requests.sum()) if isinstance(outcome, Replay) else outcome.figures()["count"].mean}
    for figure, mean, lo, hi in outcome.rows():
        if figure in cell:
            raise SweepError(f"grid: {figure}: is the name of a figure, give the parameter another")
        row |= {figure: mean, f"{figure} lo": lo, f"{figure} hi": hi}
    return row
