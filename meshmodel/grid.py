"""A grid of scenarios, run on any `concurrent.futures.Executor`: threads, processes, Dask.

    sweep(mesh.fortio_load, {"connections": [1, 10, 100], "qps": [100, 1000]}, replications=200)
    sweep(mesh.predict, {"connections": range(1, 30)})
    sweep(build, {"timeout": [0.2, 0.5, 1.0]}, executor=ProcessPoolExecutor())      # def build(timeout) -> Scenario

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
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from meshmodel.results.replay import Outcome, Replay
from meshmodel.scenario import Scenario
from meshmodel.simulation.montecarlo import simulate

SHARES = ("code ", "answered by ", "attempts ")
"""How the columns of shares begin: a code or Deployment that a cell never saw has the share 0 there."""


class SweepError(ValueError):
    """A grid that cannot be run, or a cell of it that cannot; the message names the cell."""


def sweep(
    build: Callable[..., Scenario | Outcome],
    grid: Mapping[str, Iterable[Any]],
    replications: int = 1000,
    seed: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    common_random_numbers: bool = False,
) -> pd.DataFrame:
    """The figures of `build(**cell)` for every cell of the grid.

    Parameters
    ----------
    build : gives the Scenario of a cell, which is then simulated, or an outcome: `mesh.fortio_load`,
        `mesh.curl`, `mesh.predict`, a function of your own.  It gets `replications` and `seed` too if
        it has parameters of these names.  For processes it must be picklable: no lambda.
    grid : parameter -> its values; the cells are all combinations, the last parameter varying fastest.
    executor : where the cells run (None: here, one after the other).

    Returns
    -------
    A row per cell: the parameters; `requests`, the total over replications (the expected number of one run where
        the outcome is a closed form's); then for each figure its mean and the ends of its 95 % interval,
        e.g. `p75`, `p75 lo`, `p75 hi`.  Times in seconds, codes and endpoints as shares of all requests.

    Raises
    ------
    SweepError : an empty grid, or a cell that its engine refuses.
    """
    cells = _cells(grid)
    if common_random_numbers:
        seeds = [seed] * len(cells)
    else:
        seeds = [int(child.generate_state(1, np.uint64)[0]) for child in np.random.SeedSequence(seed).spawn(len(cells))]
    rows: Iterable[dict[str, Any]] = (executor.map if executor else map)(partial(_row, build, replications), cells, seeds)
    table = pd.DataFrame(list(tqdm(rows, total=len(cells), desc="sweep", unit="cell", disable=not progress)))
    shares = [column for column in table if str(column).startswith(SHARES)]
    table[shares] = table[shares].fillna(0.0)
    return table


def _cells(grid: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    if not grid:
        raise SweepError("grid: has no parameter")
    values = {name: _values(name, given) for name, given in grid.items()}
    return [dict(zip(values, cell, strict=True)) for cell in itertools.product(*values.values())]


def _values(name: str, given: Iterable[Any]) -> list[Any]:
    """The values of one parameter, NumPy's scalars as Python's."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise SweepError(f"grid: {name}: must be a list of values, got {given!r}")
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        raise SweepError(f"grid: {name}: has no values")
    return values


def _row(build: Callable[..., Scenario | Outcome], replications: int, cell: dict[str, Any], seed: int) -> dict[str, Any]:
    """One cell, where the executor runs it; only the figures travel back."""
    offered = {"replications": replications, "seed": seed}
    wanted = inspect.signature(build).parameters
    try:
        built = build(**{name: value for name, value in offered.items() if name in wanted} | cell)
        outcome = simulate(built, replications, seed) if isinstance(built, Scenario) else built
    except ValueError as problem:
        raise SweepError(f"{', '.join(f'{name}={value!r}' for name, value in cell.items())}: {problem}") from problem
    row = cell | {"requests": int(outcome.requests.sum()) if isinstance(outcome, Replay) else outcome.figures()["count"].mean}
    for figure, mean, lo, hi in outcome.rows():
        if figure in cell:
            raise SweepError(f"grid: {figure}: is the name of a figure, give the parameter another")
        row |= {figure: mean, f"{figure} lo": lo, f"{figure} hi": hi}
    return row
