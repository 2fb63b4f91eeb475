"""Tables of a console, as HTML."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from meshmodel.results.compare import Comparison
from meshmodel.results.replay import Outcome
from meshmodel.teaching.tables import Table


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, no: Collection[int] = (), caption: str = "") -> str:
    """A table whose first column names the rows; the rows numbered in `no` say NO and are marked, in colour and by a sign."""
    return Table(headers, rows, no, caption=caption)._repr_html_()


def comparison_table(comparison: Comparison) -> str:
    """Recorded, predicted, the interval of 95 % of the runs; a row whose record lies outside says NO."""
    rows = [
        (row.figure, said(row.figure, row.recorded), said(row.figure, row.predicted), _interval(row.figure, row.lo, row.hi))
        for row in comparison.rows
    ]
    no = [number for number, row in enumerate(comparison.rows) if row.inside is False]
    return table(("", comparison.name, "model", "95 % of runs"), rows, no=no)


def figures_table(outcome: Outcome) -> str:
    """All figures of an outcome, with the interval of 95 % of the runs."""
    rows = [(name, said(name, mean), _interval(name, lo, hi)) for name, mean, lo, hi in outcome.rows()]
    return table(("", "model", "95 % of runs"), rows)


def said(figure: str, value: float) -> str:
    """A figure's value as a table shows it: a count, a share in percent, seconds."""
    if math.isnan(value):
        return "-"
    if figure.startswith(("share", "code", "answered")):
        return f"{value:.1%}".replace("%", " %")
    return f"{value:,.0f}" if figure == "count" else f"{value:.3f}"


def _interval(figure: str, lo: float, hi: float) -> str:
    return "-" if math.isnan(lo) else f"{said(figure, lo).removesuffix(' %')} \N{EN DASH} {said(figure, hi)}"
