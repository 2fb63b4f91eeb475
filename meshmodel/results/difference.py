"""Two replays compared as what they are: two samples of runs, not a model and a record.

Of each figure the mean difference over the replications, second minus first, with its 95 % interval and p-value (Student's t).  Replays
of one seed used common random numbers: replication i of one is paired with replication i of the other, and what both have by
chance goes out of the difference.  Other replays are two independent samples (Welch's t).

Assumptions.  Means of many replications are normal; the joint p-value is the least one times the number of figures (Bonferroni),
whatever the figures have to do with each other.

References: A. M. Law, Simulation Modeling and Analysis, 5th ed. (2015), sections 10.2 (paired-t and Welch) and 11.2 (common random
numbers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tabulate import tabulate

from meshmodel.results.loads import differences
from meshmodel.results.replay import Replay
from meshmodel.results.shown import as_html, as_text, readable

FIGURES = ("count", "avg", "p50", "p75", "p90", "p99", "p99.9")


@dataclass(frozen=True)
class DifferenceRow:
    """One figure of both replays, and the second's minus the first's with its 95 % interval and p-value (None: too few replications)."""

    figure: str
    first: float
    second: float
    difference: float
    lo: float
    hi: float
    p_value: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return bool(self.lo > 0 or self.hi < 0)

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("first", "second", "difference", "lo", "hi", "p_value")}
        return {"figure": self.figure} | {name: None if v is None or np.isnan(v) else float(v) for name, v in values.items()}


@dataclass(frozen=True)
class Difference:
    """Two replays, row by row; `paired`: by replication."""

    names: tuple[str, str]
    first: Replay = field(repr=False)
    second: Replay = field(repr=False)
    rows: tuple[DifferenceRow, ...]
    paired: bool
    loads: str = ""

    @property
    def p_value(self) -> float | None:
        """The joint one: the least of all, times their number (Bonferroni)."""
        known = [row.p_value for row in self.rows if row.p_value is not None]
        return min(1.0, len(known) * min(known)) if known else None

    def __getitem__(self, figure: str) -> DifferenceRow:
        """The row of `figure`; KeyError if there is none."""
        return {row.figure: row for row in self.rows}[figure]

    @property
    def notes(self) -> tuple[str, ...]:
        runs = f"{self.first.replications:,} and {self.second.replications:,} replications"
        if self.paired:
            how = f"{self.first.replications:,} pairs of replications with common random numbers (seed {self.first.seed})"
        else:
            how = f"{runs}, not paired: the same seed and number of replications would pair them"
        joint = "no p-value: too few replications" if self.p_value is None else f"joint p-value {self.p_value:.4f}"
        moved = ", ".join(row.figure for row in self.rows if row.clear) or "nothing"
        return f"{joint}; {how}", f"differs by more than chance (95 % interval without 0): {moved}"

    def table(self, fmt: str = "simple") -> str:
        """The rows as text, or in any other format of tabulate."""
        cells = [
            (row.figure, *(readable(row.figure, value) for value in (row.first, row.second)),
             *(readable(row.figure, value, sign=True) for value in (row.difference, row.lo, row.hi)),
             "-" if row.p_value is None else f"{row.p_value:.3f}" if row.p_value >= 0.001 else "<0.001")
            for row in self.rows
        ]  # fmt: skip
        headers = ("figure", *self.names, "difference", "2.5 %", "97.5 %", "p")
        return tabulate(cells, headers=headers, tablefmt=fmt, disable_numparse=True, colalign=("left", *["right"] * 6))

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; seconds, shares from 0 to 1, null where a value does not exist."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "paired": self.paired,
            "replications": [self.first.replications, self.second.replications],
            "loads": self.loads,
            "p_value": self.p_value,
            "rows": [row.to_json() for row in self.rows],
        }


def difference(first: Replay, second: Replay, names: tuple[str, str] = ("first", "second")) -> Difference:
    """`second` against `first`, paired where both used the same random numbers."""
    paired = first.seed is not None and first.seed == second.seed and first.replications == second.replications
    if first.resolution != second.resolution:
        second = second.with_resolution(first.resolution)
    rows = tuple(_row(figure, first.values(figure), second.values(figure), paired) for figure in _figures((first, second)))
    return Difference(names, first, second, rows, paired, differences(first, second, names))


def _figures(replays: Sequence[Replay]) -> Iterator[str]:
    yield from FIGURES
    yield from (f"code {code}" for code in sorted({code for replay in replays for code in replay.codes}))
    common = set.intersection(*(set(replay.endpoints) for replay in replays))
    yield from (f"answered by {name}" for name in sorted(common))
    yield "attempts per request"
    if any(replay.unanswered.any() for replay in replays):
        yield "unanswered"


def _row(figure: str, first: np.ndarray, second: np.ndarray, paired: bool) -> DifferenceRow:
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    mine, its = (float(np.nanmean(side)) if not np.isnan(side).all() else np.nan for side in (first, second))
    return DifferenceRow(figure, mine, its, *_tested(first, second, paired))


def _tested(first: np.ndarray, second: np.ndarray, paired: bool) -> tuple[float, float, float, float | None]:
    """Mean difference, the ends of its 95 % interval, and the p-value that it is 0."""
    from scipy import stats  # half a second, so it is loaded by who compares

    freedom: float
    if paired:
        sample = (second - first)[~np.isnan(second - first)]
        mean, error, freedom = _mean_and_error(sample)
    else:
        (a, ea, fa), (b, eb, fb) = (_mean_and_error(side[~np.isnan(side)]) for side in (first, second))
        mean, error = b - a, float(np.hypot(ea, eb))
        freedom = error**4 / (ea**4 / max(fa, 1) + eb**4 / max(fb, 1)) if error > 0 else fa + fb
    if np.isnan(mean) or freedom < 1:
        return mean, np.nan, np.nan, None
    if error <= 1e-12 * max(abs(mean), 1e-300):
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return mean, mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, freedom))


def _mean_and_error(sample: np.ndarray) -> tuple[float, float, int]:
    """Mean, its standard error, degrees of freedom."""
    if not len(sample):
        return np.nan, np.nan, 0
    error = float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else 0.0
    return float(sample.mean()), error, len(sample) - 1
