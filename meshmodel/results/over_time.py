"""The series of a replay as text: who reads a report in a terminal sees when things broke, and when they were well again."""

from __future__ import annotations

import numpy as np
from tabulate import tabulate

from meshmodel.results.replay import Replay

MOST_ROWS = 60
_BINS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


def readable_bin(seconds: float) -> float:
    """The shortest bin, in round seconds, with which a run of `seconds` has at most `MOST_ROWS` rows."""
    return float(next((b for b in _BINS if seconds / b <= MOST_ROWS), np.ceil(seconds / MOST_ROWS / 3600) * 3600))


def text(replay: Replay, bin: float | None = None) -> str:
    """Answers a second by code, and pods ejected, in bins of `bin` seconds (None: as many as can be read); means over replications."""
    bin = bin or readable_bin(float(replay.elapsed.max()))
    series = replay.series(bin)
    codes = [column for column in series if column.startswith("code ")]
    changes = {float(change.at) for change in replay.scenario.changes}
    rows = [
        (
            f"{start:g}{'*' if any(start <= at < start + bin for at in changes) else ''}",
            *(f"{row[column] / bin:.1f}" for column in codes),
            f"{sum(row[column] for column in codes if column != 'code 200') / max(sum(row[column] for column in codes), 1e-12):.1%}",
            f"{row['ejected']:.2f}",
        )
        for start, row in series.iterrows()
    ]
    headers = ("from second", *(f"{column} a second" for column in codes), "not 200", "ejected")
    table = tabulate(rows, headers, disable_numparse=True, colalign=("right",) * len(headers))
    return f"over time, in bins of {bin:g} s (* something changes in it):\n{table}"
