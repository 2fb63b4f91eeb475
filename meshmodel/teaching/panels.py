"""A figure's numbers as tables, for who cannot see it and for who computes with them.

They are read off what is drawn: an artist with a label of its own stands in the table of its panel, lines and dots by what is
across, bars and spans by the lane that they lie in; a labelled line across the panel, such as a limit, stands below the table.
What is drawn in inches (strips, maps, buckets) cannot be read so: its figure tells it, `Picture.tell`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator

from meshmodel.teaching.tables import Table
from meshmodel.teaching.words import spoken_html

MOST = 25
"""About so many rows of a table are shown."""
_BESIDE = 6
"""So many spans of one name share a cell of their lane; where there are more, each has a row."""
LANE = ["lane", "what", "from", "to"]
"""The columns of a panel of lanes; `to` is missing of what is a point."""


class Panel(NamedTuple):
    """A table: its name, its numbers as they were drawn, and lines across the panel as (name, where)."""

    name: str
    numbers: pd.DataFrame
    across: tuple[tuple[str, float], ...] = ()

    def table(self) -> Table:
        """As a reader is shown it: rounded, and long ones thinned."""
        lanes = list(self.numbers.columns) == LANE
        beside = lanes and self.numbers.groupby(LANE[:2], sort=False).size().max() <= _BESIDE
        frame = _side_by_side(self.numbers) if beside else self.numbers
        shown = frame if beside else frame.iloc[kept(frame)]
        heads = ["" if name == "lane" else str(name) for name in frame.columns]
        notes = [f"{name}: {readable(at)}" for name, at in self.across]
        if len(shown) < len(frame):
            notes.append(f"{len(shown)} of {len(frame)} rows: both ends, extremes, jumps and some between")
        places, *columns = ([readable(value) for value in column] for _, column in shown.items())
        first = _apart(shown.iloc[:, 0]) if len({*places}) < len(places) and not lanes else places
        return Table(heads, list(zip(first, *columns, strict=True)), caption=self.name, notes=notes)


def of(figure: Any) -> list[Panel]:
    """The tables of a figure: what it tells (name -> columns), then what can be read off its panels."""
    told = [Panel(name, pd.DataFrame(columns)) for name, columns in figure.told.items()]
    names = [axes.get_xlabel() for axes in figure.axes]
    read = [_read(axes, next(filter(None, names[k:]), "")) for k, axes in enumerate(figure.axes)]
    return [*told, *(panel for panel in read if len(panel.numbers))]


def html(figure: Any) -> str:
    """All tables of a figure in the reader's language, folded away; "" where it has none."""
    tables = "".join(panel.table()._repr_html_() for panel in of(figure))
    return spoken_html(f'<details class="mm-numbers"><summary>The figure\'s numbers</summary>{tables}</details>') if tables else ""


# --- what is drawn ------------------------------------------------------------------------------


class Marks(NamedTuple):
    """What one artist draws: its name, and of each mark from where to where it reaches, shape (marks, 2) each."""

    name: str
    x: np.ndarray
    y: np.ndarray


def _read(axes: Axes, across: str) -> Panel:
    """One panel; `across` is the name of its horizontal axis, which a panel below may bear."""
    name = (axes.get_title(loc="left") or axes.get_ylabel()).replace("\n", " ")
    marks, lines = list(_marks(axes)), tuple(_lines_across(axes))
    if isinstance(axes.yaxis.get_major_locator(), FixedLocator):
        return Panel("; ".join(filter(None, (name, across))), _lanes(axes, marks), lines)
    return Panel(name or across, _curves(marks, across), lines)


def _marks(axes: Axes) -> Iterator[Marks]:
    for bars in axes.containers:
        if _named(bars):
            x = np.array([[bar.get_x(), bar.get_x() + bar.get_width()] for bar in bars])
            level = np.array([bar.get_y() + bar.get_height() / 2 for bar in bars])
            yield Marks(str(bars.get_label()), x if x[:, 0].any() else x[:, [1, 1]], np.column_stack((level, level)))
    for artist in axes.get_children():
        if isinstance(artist, Line2D | Collection) and _named(artist) and artist.get_transform() == axes.transData:
            yield Marks(str(artist.get_label()), *(_line(artist) if isinstance(artist, Line2D) else _paths(artist)))


def _line(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(values, float) for values in line.get_data(orig=False))
    return np.column_stack((x, x)), np.column_stack((y, y))


def _paths(collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Bars are at their middle's height; an area (`fill_between`) is an upright mark at each of its places."""
    corners = [part for path in collection.get_paths() for part in _parts(path)]
    if isinstance(collection, PolyCollection) and len(corners) == 1 and len(corners[0]) > 5:
        x = np.unique(corners[0][:, 0])
        ends = [np.ptp(y) * np.array([0, 1]) + y.min() for y in (corners[0][corners[0][:, 0] == each, 1] for each in x)]
        return np.column_stack((x, x)), np.array(ends)
    low, high = (np.array([end(points, axis=0) for points in corners]).reshape(-1, 2) for end in (np.min, np.max))
    if isinstance(collection, PolyCollection | PathCollection):
        low[:, 1] = high[:, 1] = (low[:, 1] + high[:, 1]) / 2
    return np.column_stack((low[:, 0], high[:, 0])), np.column_stack((low[:, 1], high[:, 1]))


def _parts(path: Path) -> list[np.ndarray]:
    """The corners of each outline that a path is made of."""
    if path.codes is None:
        return [np.asarray(path.vertices)]
    codes = np.asarray(path.codes)
    drawn = codes != Path.CLOSEPOLY  # whose corner says nothing
    return np.split(np.asarray(path.vertices)[drawn], np.flatnonzero(codes[drawn] == Path.MOVETO)[1:])


def _lines_across(axes: Axes) -> Iterator[tuple[str, float]]:
    """Of `axhline` and `axvline`: one of their two coordinates is no number of the panel."""
    for line in axes.lines:
        if _named(line) and line.get_transform() != axes.transData:
            along = line.get_xdata() if line.get_transform() == axes.get_xaxis_transform(which="grid") else line.get_ydata()
            yield str(line.get_label()), float(np.asarray(along)[0])


def _named(artist: Any) -> bool:
    return bool(artist.get_label()) and not str(artist.get_label()).startswith("_")


# --- as a table ---------------------------------------------------------------------------------


def _curves(marks: Sequence[Marks], across: str) -> pd.DataFrame:
    """A row for each place on the horizontal axis, a column for each line; where a line jumps, what holds from there on."""
    columns: dict[str, list[pd.Series]] = {}
    for each in marks:
        ends = {"": 0} if (each.y[:, 0] == each.y[:, 1]).all() else {", from": 0, ", to": 1}
        for end, k in ends.items():
            columns.setdefault(each.name + end, []).append(pd.Series(each.y[:, k], [_plain(x) for x in each.x[:, 0]]))
    series = {name: pd.concat(parts) for name, parts in columns.items()}
    once = {name: line[~line.index.duplicated(keep="last")] for name, line in series.items()}
    return pd.DataFrame(once).sort_index().rename_axis(across or " ").reset_index() if once else pd.DataFrame()


def _lanes(axes: Axes, marks: Sequence[Marks]) -> pd.DataFrame:
    """A row for each mark, in the order of the lanes and then of time."""
    at, names = np.asarray(axes.get_yticks()), [label.get_text() for label in axes.get_yticklabels()]
    rows = [
        (int(np.abs(at - y.mean()).argmin()), each.name, start, np.nan if start == stop else stop)
        for each in marks
        for (start, stop), y in zip(each.x, each.y, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=LANE)
    if frame.groupby(LANE[:2]).size().max() > _BESIDE:
        frame = frame.sort_values(["lane", "from"], kind="stable", ignore_index=True)
    return frame.sort_values("lane", kind="stable", ignore_index=True).assign(lane=lambda rows: [names[k] for k in rows.lane])


def _side_by_side(lanes: pd.DataFrame) -> pd.DataFrame:
    """A row a lane, and in it for each name its marks."""
    told: dict[str, dict[str, list[str]]] = {str(name): {} for name in lanes.what.unique()}
    for lane, what, start, stop in lanes.itertuples(index=False):
        ends = [readable(start)] if np.isnan(stop) else [readable(start), readable(stop)]
        told[what].setdefault(lane, []).append(" to ".join(ends))
    frame = pd.DataFrame({name: {lane: ", ".join(cells) for lane, cells in column.items()} for name, column in told.items()})
    return frame.reindex(lanes.lane.unique()).rename_axis("lane").reset_index()


def kept(frame: pd.DataFrame, most: int = MOST) -> list[int]:
    """The rows that are shown: both ends, of each column the extremes, the two longest jumps and what few rows have; others evenly."""
    if len(frame) <= most:
        return list(range(len(frame)))
    found = {0, len(frame) - 1}
    for _, column in frame.iloc[:, 1:].select_dtypes("number").items():
        there = np.flatnonzero(np.isfinite(column))
        values = np.array([_plain(value) for value in column.iloc[there]])
        if len(there) <= _BESIDE:
            found |= {*there.tolist()}
        elif np.ptp(values) > 0:
            steps = np.abs(np.diff(values))
            longest = [k for k in np.argsort(-steps, kind="stable")[:2] if steps[k] > 0.1 * np.ptp(values)]
            found |= {int(there[k]) for k in (values.argmin(), values.argmax(), *longest, *(k + 1 for k in longest))}
    return sorted(found | {*np.linspace(0, len(frame) - 1, max(2, most - len(found))).round().astype(int).tolist()})


def _apart(places: pd.Series) -> list[str]:
    """Places across that are told apart, as those before and after a jump: with so many digits as it takes."""
    texts = [[readable(value, digits) for value in places] for digits in (3, 4, 5, 6)]
    return next((told for told in texts if len({*told}) == len(places)), texts[0])


def _plain(value: float) -> float:
    """Ten digits: another processor's last bit makes no other number of it."""
    return float(f"{value:.10g}")


def readable(value: Any, digits: int = 3) -> str:
    """A number to so many digits, a whole one to its last; half to even, whatever the last bit says; "-" where there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "-"
    if not np.isfinite(value):
        return "-"
    exact = Decimal(f"{value:.10g}")
    if abs(exact) < Decimal("1e-9"):
        return "0"
    places = 0 if exact == int(exact) else max(0, digits - 1 - exact.adjusted())
    text = f"{exact:.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text
