"""Figures of replays and records: what was recorded, what the model predicts, who answered when.

Every function returns a `Picture`: a matplotlib Figure without pyplot's global state that
carries an alternative text.  `show(picture)` displays it in a notebook with that text as
its accessible name.  Times are seconds on every axis; a predictive band holds 95 % of the
replications.  Colours are Okabe and Ito's (Color Universal Design, 2008), which readers
with any colour vision can tell apart; hatches and markers say the same once more.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from meshmodel._text import label, visible
from meshmodel.results import fortio
from meshmodel.results.compare import FIGURES, Comparison, binned, recorded_figure
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Estimate, Outcome, Replay
from meshmodel.teaching import panels, words
from meshmodel.teaching.palette import BLACK, BLUE, GREEN, ORANGE, PURPLE, ROLES, SKY, VERMILION, YELLOW

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_ROLES_OF = {"200": ROLES["healthy"].light, "503": ROLES["proxy"].light, "envoy": ROLES["proxy"].light, "-1": "0.45", "nobody": "0.45"}
_OTHERS = (BLUE, PURPLE, ORANGE, SKY, BLACK, YELLOW)
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")

DPI = 100
MOST_BARS = 1500
"""How many requests a timeline draws at most."""

_RARE = 0.001  # buckets with fewer of the requests are not drawn


class Picture(Figure):
    """A Figure with an alternative text; shows itself in a notebook, and prints that text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._alt_text = ""
        self.seconds: Callable[[Any], Any] | None = None
        """Where on the horizontal axis a time in seconds is, where that is not the axis itself."""
        self.upright = 0.0, 1.0
        """Between which heights of the axes, from 0 to 1, an upright line across the picture goes."""
        self.told: dict[str, Mapping[str, Any]] = {}
        """What `tell` was told."""
        FigureCanvasAgg(self)  # kept from one drawing to the next, and with it the renderer's cache of text layouts

    @property
    def alt_text(self) -> str:
        """The alternative text, in the reader's language; what does not print is shown as an escape."""
        return words.say(self._alt_text)

    @alt_text.setter
    def alt_text(self, text: str) -> None:
        self._alt_text = visible(text)

    def png(self, dpi: float = DPI, compress_level: int = 6) -> bytes:
        """The picture as PNG, the same bytes for the same content; at level 1 in a tenth less time, a fifth larger."""
        buffer = io.BytesIO()
        self.set_dpi(dpi)
        words.translate_figure(self)
        with rc_context({"text.hinting": "none"}):  # the same letters whatever the FreeType, and a quarter faster
            self.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": compress_level})
        return buffer.getvalue()

    def svg(self) -> bytes:
        """The picture as SVG, its letters as letters, the same bytes for the same content."""
        buffer = io.BytesIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "meshmodel"}):
            self.savefig(buffer, format="svg", metadata={"Date": None, "Title": self.alt_text})
        return buffer.getvalue()

    def file(self, name: str) -> bytes:
        """The picture as the file `name` wants it: PNG or SVG by its ending."""
        return self.svg() if name.lower().endswith(".svg") else self.png(150)

    def html(self, dpi: float = DPI) -> str:
        """The picture as HTML: an image whose accessible name is the alternative text, and below it, folded away, its numbers."""
        return self.page(self.png(dpi))

    def page(self, png: bytes) -> str:
        """`html` around the picture as it was drawn."""
        return image_html(png, self.alt_text) + panels.html(self)

    def tell(self, name: str, columns: Mapping[str, Any]) -> None:
        """A table of what is drawn where no axis has numbers: name of a column -> its values, one a row."""
        self.told[name] = columns

    def numbers(self) -> dict[str, pd.DataFrame]:
        """What is drawn, neither rounded nor thinned: the name of a panel -> its table.

        Lines are columns beside their place across; bars and spans are rows: `lane`, `what`, `from` and `to` (missing of a point).
        """
        return {panel.name: panel.numbers for panel in panels.of(self)}

    def __repr__(self) -> str:
        return self.alt_text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        # HTML for JupyterLab (it gives a bare image no accessible name), the image alone for readers without HTML (print)
        png = self.png()
        data = {"text/plain": self.alt_text, "text/html": self.page(png), "image/png": base64.b64encode(png).decode()}
        return data, {"image/png": {"alt": self.alt_text}}


class Shown:
    """What `show` returns: an object that IPython displays."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def __repr__(self) -> str:
        return self.picture.alt_text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.picture._repr_mimebundle_()


def show(picture: Picture) -> Shown:
    """The picture as a display object: its text is the alternative text, so a strict comparison of outputs passes."""
    return Shown(picture)


def image_html(png: bytes, alt_text: str) -> str:
    """An image and its accessible name as one piece of HTML."""
    name = html.escape(alt_text, quote=True)
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<div role="img" aria-label="{name}"><img alt="{name}" style="max-width:100%" src="{source}"></div>'


def _picture(width: float, height: float, **margins: float) -> Picture:
    """Margins are set by hand: a layout engine would draw every text twice."""
    picture = Picture(figsize=(width, height), facecolor="white")
    picture.subplots_adjust(**({"left": 0.1, "right": 0.98, "top": 0.9, "bottom": 0.14} | margins))
    return picture


def _beside(names: Iterable[str], width: float) -> float:
    """The share of a figure `width` inches wide that the longest of these takes beside it, at 8 points."""
    return min(0.5, (0.35 + 0.075 * max(map(len, names), default=0)) / width)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


# --- the record against the model -------------------------------------------------------


def overlay(
    subject: Comparison | Replay, recorded: Histogram | None = None, *, width: float = 7.5, height: float = 3.6, onto: Picture | None = None
) -> Picture:
    """Recorded shares per fortio bucket, the model's predictive band, and the percentiles of both above.

    Every bucket is a column, all equally wide: a bar's area is its share, however wide the bucket, and 0.15 s and 1 s
    can both be read.  Within a column time runs evenly, as fortio's percentiles do; empty stretches are left out.
    `subject` is a comparison, or a replay with an optional record.  `onto` is a picture of
    `bare_picture` to draw anew: faster than a new one.

    One bare Axes from (0, 0) to (1, 1) whose ticks are drawn here: matplotlib's own broken
    axes take three times as long, and the replay console redraws at every move of a slider.
    """
    replay, record, resolution = _sides(subject, recorded)
    shares = 100 * replay.bucket_counts / np.maximum(replay.requests, 1)
    table = record.table_counts(resolution) if record else np.zeros(fortio.BUCKETS, dtype=np.int64)
    recorded_shares = 100 * table / max(1, table.sum())
    drawn = np.flatnonzero((shares.mean(axis=1) >= 100 * _RARE) | (table > 0))
    starts, ends = _drawn_edges(replay, record, resolution, drawn)
    lo, hi = np.quantile(shares[drawn], [0.025, 0.975], axis=1)
    time = _Columns(starts, ends, max(0.11, 0.8 / width))
    height_of = _Heights(max(hi.max(), recorded_shares.max()))
    picture = onto or bare_picture(width, height)
    axes = picture.axes[0]
    for artist in [*axes.collections, *axes.lines, *axes.texts]:
        artist.remove()
    left, right = time.left, time.right
    if record:
        _boxes(axes, left, right, height_of(0 * lo), height_of(recorded_shares[drawn]), facecolor="0.88", edgecolor="0.35", hatch="///")
    _boxes(axes, left, right, height_of(lo), height_of(hi), color=BLUE, alpha=0.55, linewidth=0)
    _level_lines(axes, height_of(shares[drawn].mean(axis=1)), left, right, color=BLUE, linewidth=1.6)
    estimates = _estimates(subject, replay)
    picture.seconds = time
    _draw_percentiles(axes, time, estimates, record)
    _draw_scales(axes, time, height_of)
    _draw_key(axes, record is not None, width)
    recorded_beside: dict[str, Any] = {"recorded (%)": recorded_shares[drawn]} if record else {}
    band = {"model, mean (%)": shares[drawn].mean(axis=1), "95 % of runs, from (%)": lo, "95 % of runs, to (%)": hi}
    picture.tell("share of requests", {"from (s)": starts, "to (s)": ends, **recorded_beside, **band})
    recorded_beside = {"recorded (s)": [recorded_figure(record, name) for name in _LANES]} if record else {}
    mean, least, most = np.array([estimates[name] for name in _LANES]).T
    band = {"model, mean (s)": mean, "95 % of runs, from (s)": least, "95 % of runs, to (s)": most}
    picture.tell("percentiles", {"": list(_LANES), **recorded_beside, **band})
    picture.alt_text = _overlay_text(replay, estimates, record)
    return picture


def _estimates(subject: Comparison | Replay, replay: Replay) -> dict[str, Estimate]:
    """The six figures; a comparison has them already."""
    if isinstance(subject, Comparison):
        return {row.figure: Estimate(row.predicted, row.lo, row.hi) for row in subject.rows}
    return {figure: Estimate.of(replay.values(figure)) for figure in FIGURES}


def bare_picture(width: float = 7.5, height: float = 3.6) -> Picture:
    """An empty picture with one Axes from (0, 0) to (1, 1) and nothing drawn around it."""
    picture = Picture(figsize=(width, height), facecolor="white")
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return picture


def paper(width: float, height: float) -> tuple[Picture, Axes]:
    """An empty picture, and its one Axes whose coordinates are inches from the lower left corner."""
    picture = bare_picture(width, height)
    picture.axes[0].set(xlim=(0, width), ylim=(0, height))
    return picture, picture.axes[0]


def _sides(subject: Comparison | Replay, recorded: Histogram | None) -> tuple[Replay, Histogram | None, float]:
    if isinstance(subject, Comparison):
        if not isinstance(subject.outcome, Replay) or subject.record is None or subject.resolution is None:
            raise ValueError("overlay: needs a comparison of a replay with a fortio record")
        return subject.outcome, subject.record, subject.resolution
    resolution = subject.resolution if recorded is None else recorded.table_resolution()
    return (subject if subject.resolution == resolution else subject.with_resolution(resolution)), recorded, resolution


def _drawn_edges(replay: Replay, record: Histogram | None, resolution: float, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the buckets, the outermost ones cut at the least and the greatest latency of either side."""
    upper = fortio.bucket_edges(resolution)
    lower = np.append(0.0, upper[:-1])
    least, most = float(replay.min.min()), float(replay.max.max())
    if record:
        least, most = min(least, record.min), max(most, record.max)
    return np.maximum(lower[drawn], least), np.minimum(upper[drawn], most)


_RIGHT, _FLOOR, _TOP = 0.98, 0.27, 0.7
_LANES = {"p50": 0.76, "p75": 0.82, "p90": 0.88, "p99": 0.94}
"""Where, in parts of the picture, the shares and the percentiles above them are drawn."""


class _Columns:
    """Seconds to horizontal position: a column for each bucket, and a gap where buckets in between are left out."""

    def __init__(self, starts: np.ndarray, ends: np.ndarray, origin: float) -> None:
        self.origin = origin
        self.apart = np.concatenate(([False], starts[1:] > ends[:-1] + 1e-12))
        pad, gap = 0.012, 0.022
        wide = (_RIGHT - origin - 2 * pad - gap * self.apart.sum()) / len(starts)
        self.left = origin + pad + wide * np.arange(len(starts)) + gap * np.cumsum(self.apart)
        self.right = self.left + wide
        self._seconds, self._positions = np.column_stack((starts, ends)).ravel(), np.column_stack((self.left, self.right)).ravel()

    def __call__(self, seconds: Any) -> np.ndarray:
        return np.interp(seconds, self._seconds, self._positions)

    def ticks(self, apart: float) -> list[tuple[float, float, str]]:
        """(position, seconds, side of its text) of the buckets' edges, as many as have room; the two sides of a gap share it."""
        kept: list[tuple[float, float, str]] = []
        edges = list(zip(self._positions.tolist(), self._seconds.tolist(), strict=True))
        torn = {2 * k for k in np.flatnonzero(self.apart).tolist()}
        for k, (position, seconds) in enumerate(edges):
            side = "left" if k in torn else "right" if k + 1 in torn or k + 1 == len(edges) else "center"
            if not kept or position - kept[-1][0] >= apart or (k in torn and kept[-1][2] == "right"):
                kept.append((position, seconds, side))
        return kept


class _Heights:
    """Percent of requests to vertical position."""

    def __init__(self, tallest: float) -> None:
        self.tallest = tallest
        self.step = next(step for step in (1, 2, 5, 10, 20, 25) if tallest / step <= 5.2)

    def __call__(self, percent: Any) -> np.ndarray:
        return _FLOOR + (_TOP - _FLOOR) * np.asarray(percent) / self.tallest

    def ticks(self) -> np.ndarray:
        return np.arange(0, self.tallest * 1.001, self.step)


def _boxes(axes: Axes, left: Any, right: Any, low: Any, high: Any, **style: Any) -> None:
    corners = np.stack([np.column_stack(pair) for pair in ((left, low), (left, high), (right, high), (right, low))], axis=1)
    axes.add_collection(PolyCollection(list(corners), **style), autolim=False)


def _lines(axes: Axes, from_x: Any, from_y: Any, to_x: Any, to_y: Any, **style: Any) -> None:
    ends = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in (from_x, from_y, to_x, to_y)))
    axes.add_collection(LineCollection(list(np.stack(ends, axis=-1).reshape(-1, 2, 2)), **style), autolim=False)


def _level_lines(axes: Axes, y: Any, left: Any, right: Any, **style: Any) -> None:
    _lines(axes, left, y, right, y, **style)


def _draw_percentiles(axes: Axes, time: _Columns, estimates: Mapping[str, Estimate], record: Histogram | None) -> None:
    mean, lo, hi = (time(values) for values in np.array([estimates[figure] for figure in _LANES]).T)
    lanes = np.array(list(_LANES.values()))
    _level_lines(axes, lanes, lo, hi, color=BLUE, linewidth=3.2)
    _lines(axes, mean, lanes - 0.02, mean, lanes + 0.02, color=BLUE, linewidth=1.6)
    if record:
        axes.plot(time([recorded_figure(record, figure) for figure in _LANES]), lanes, "D", color=BLACK, markersize=4)


def _draw_scales(axes: Axes, time: _Columns, height_of: _Heights) -> None:
    """Frame, ticks and labels; slanted strokes where buckets are left out."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide = figure.get_size_inches()[0]
    at, levels, origin = time.ticks(0.4 / wide), height_of.ticks(), time.origin
    style = {"color": "0.2", "linewidth": 0.8}
    _lines(axes, [origin], _FLOOR, [_RIGHT], _FLOOR, **style)
    _lines(axes, origin, _FLOOR, origin, 0.97, **style)
    x = np.array([position for position, *_ in at])
    _lines(axes, x, _FLOOR, x, _FLOOR - 0.015, **style)
    _level_lines(axes, height_of(levels), origin - 0.006, origin, **style)
    _level_lines(axes, _TOP + 0.025, origin, _RIGHT, color="0.75", linewidth=0.6)
    breaks = (time.right[:-1] + time.left[1:])[time.apart[1:]] / 2
    for shift in (-0.004, 0.004):
        _lines(axes, breaks + shift - 0.005, _FLOOR - 0.025, breaks + shift + 0.005, _FLOOR + 0.025, **style)
    for position, seconds, side in at:
        axes.text(position, _FLOOR - 0.03, f"{seconds:.3g}", ha=side, va="top", fontsize=9)
    for name, y in [*((f"{level:g} %", float(height_of(level))) for level in levels), *_LANES.items()]:
        axes.text(origin - 0.012, y, name, ha="right", va="center", fontsize=9)
    axes.text((origin + _RIGHT) / 2, 0.15, "latency (s), a column for each of fortio's buckets", ha="center", va="center", fontsize=9)
    axes.text(0.1 / wide, (_FLOOR + _TOP) / 2, "share of requests", rotation=90, ha="center", va="center", fontsize=9)


def _draw_key(axes: Axes, recorded: bool, width: float) -> None:
    """The key below, in one row or, on a narrow page, in two."""
    kinds = ("model: mean, 95 % of runs", "its percentiles", "recorded", "recorded percentiles")[: 4 if recorded else 2]
    places = (
        [(0.04, 0.08), (0.56, 0.08), (0.04, 0.025), (0.56, 0.025)]
        if width < 6
        else [(0.05, 0.05), (0.34, 0.05), (0.54, 0.05), (0.71, 0.05)]
    )
    mark = 0.24 / width
    for kind, text, (x, y) in zip(range(4), kinds, places, strict=False):
        if kind == 0:
            _boxes(axes, [x], [x + mark], [y - 0.02], [y + 0.02], color=BLUE, alpha=0.55, linewidth=0)
        if kind < 2:
            _level_lines(axes, y, x, x + mark, color=BLUE, linewidth=1.6 + 1.6 * kind)
        if kind == 1:
            _lines(axes, x + mark / 2, y - 0.02, x + mark / 2, y + 0.02, color=BLUE, linewidth=1.6)
        if kind == 2:
            _boxes(axes, [x], [x + mark], [y - 0.02], [y + 0.02], facecolor="0.88", edgecolor="0.35", hatch="///")
        if kind == 3:
            axes.plot([x + mark / 2], [y], "D", color=BLACK, markersize=4)
        axes.text(x + 1.35 * mark, y, text, va="center", fontsize=8.5)


def _overlay_text(replay: Replay, estimates: Mapping[str, Estimate], record: Histogram | None) -> str:
    def figure(name: str) -> str:
        mean, lo, hi = estimates[name]
        digits = 0 if name == "count" else 3
        beside = f", recorded {recorded_figure(record, name):.{digits}f}" if record else ""
        return f"{name} {mean:.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f}{beside})"

    figures = ", ".join(map(figure, ("count", "avg", "p50", "p75", "p99")))
    return f"Latency histogram of {replay.replications} replications: {figures}; avg and percentiles in seconds"


# --- one replication, request by request ------------------------------------------------


def timeline(replay: Replay, i: int = 0, seconds: float = 5.0, *, width: float = 7.5) -> Picture:
    """One lane per pod, one bar per request from its start to its answer, of the first `seconds` of replication `i`.

    Requests that a pod has at the same time are stacked: a slow pod is seen to hold the
    connections.  An answer other than 200 is hatched.  At most `MOST_BARS` requests are drawn.
    """
    table = replay.requests_table(i)
    table = table[table["start"] < seconds].head(MOST_BARS)
    pods = [*replay.pod_names, *(["envoy"] if (table["endpoint"] == "envoy").any() else [])]
    margin = (max(map(len, pods)) * 0.085 + 0.2) / width
    picture = _picture(width, 1.2 + 0.9 * len(pods), left=margin, top=0.98, bottom=0.22 if len(pods) > 2 else 0.3)
    axes = picture.subplots()
    codes = sorted(table["code"].unique().tolist(), key=lambda code: (code != 200, code))
    base, ticks, said = 0.0, [], []
    for number, pod in enumerate(pods):
        mine = table[table["endpoint"] == pod]
        row, depth = _stack(mine["start"].to_numpy(), mine["latency"].to_numpy())
        for code in codes:
            which = (mine["code"] == code).to_numpy()
            axes.barh(
                base + row[which] + 0.5, mine["latency"][which], 0.86, left=mine["start"][which], edgecolor="white", linewidth=0.6,
                color=COLOURS[number % len(COLOURS)], hatch=HATCHES[codes.index(code) % len(HATCHES)],
            )  # fmt: skip
        axes.axhspan(base - 0.2, base + depth + 0.2, color="0.5", alpha=0.06, linewidth=0)
        ticks.append(base + depth / 2)
        busy = mine["latency"].clip(upper=seconds - mine["start"]).sum() / seconds
        said.append(f"{pod} {len(mine)} requests, {busy:.1f} at a time on average")
        base += depth + 0.9
    axes.set_yticks(ticks, map(label, pods))
    axes.set(xlim=(0, seconds), ylim=(base - 0.5, -0.4), xlabel="time (s): a bar is one request, from its start to its answer")
    _plain(axes)
    if codes != [200]:
        _code_legend(picture, codes)
    columns = {"answered by": table["endpoint"], "from (s)": table["start"], "to (s)": table["start"] + table["latency"]}
    picture.tell("requests", columns | {"code": table["code"]})
    picture.alt_text = f"Timeline of the first {seconds:g} s of replication {i}: " + "; ".join(said)
    return picture


def _stack(start: np.ndarray, latency: np.ndarray) -> tuple[np.ndarray, int]:
    """The first free row for each request (in order of start), and how many rows that takes."""
    free_at: list[float] = []
    rows = np.zeros(len(start))
    for k, (begin, took) in enumerate(zip(start, latency, strict=True)):
        row = next((r for r, free in enumerate(free_at) if free <= begin), len(free_at))
        free_at[row : row + 1] = [begin + took]
        rows[k] = row
    return rows, max(1, len(free_at))


def _code_legend(picture: Picture, codes: Sequence[int]) -> None:
    hatches = [HATCHES[k % len(HATCHES)] for k in range(len(codes))]
    handles = [Patch(facecolor="0.55", edgecolor="white", hatch=h, label=f"code {code}") for h, code in zip(hatches, codes, strict=True)]
    picture.legend(handles=handles, loc="lower right", ncols=len(codes), fontsize=8, frameon=False)


# --- over time --------------------------------------------------------------------------


def series(replay: Replay, bin: float = 1.0, *, width: float = 7.5) -> Picture:
    """Answers per second by code and by Deployment, and how many pods are ejected: means over replications."""
    table = replay.series(bin)
    groups = {"code ": "answers per second,\nby code", "endpoint ": "answers per second,\nby who answered"}
    ejected = bool(table["ejected"].any())
    beside = _beside([column.partition(" ")[2] for column in table], width)
    picture = _picture(width, 3.9 + 1.6 * ejected, left=min(0.2, 0.95 / width), right=0.97 - beside, top=0.96, bottom=0.12, hspace=0.18)
    all_axes = picture.subplots(2 + ejected, 1, sharex=True)
    every = max(1, len(table) // 12)
    said = []
    for axes, (prefix, title) in zip(all_axes, groups.items(), strict=False):
        others = cycle(_OTHERS)
        for k, column in enumerate(column for column in table if column.startswith(prefix)):
            name = column.removeprefix(prefix)
            colour = _ROLES_OF[name] if name in _ROLES_OF else next(others)
            style = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "markevery": (k % every, every)}
            axes.plot(table.index + bin / 2, table[column] / bin, linewidth=1.3, markersize=4, label=label(name), **style)
            said.append(f"{column} {table[column].sum():.0f}")
        axes.set(ylim=(0, None))
        axes.set_ylabel(title, fontsize=9)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
        _plain(axes)
    if ejected:
        all_axes[2].step(table.index + bin, table["ejected"], color=VERMILION, linewidth=1.5, label="ejected")
        all_axes[2].set(ylabel="pods ejected", ylim=(0, None))
        _plain(all_axes[2])
        said.append(f"at most {table['ejected'].max():.1f} pods ejected")
    all_axes[-1].set_xlabel("time (s)")
    picture.alt_text = f"Answers over {len(table) * bin:g} s, mean of {replay.replications} replications, in all: " + ", ".join(said)
    return picture


# --- percentiles, engines, shares -------------------------------------------------------


def percentile_curve(replay: Replay, recorded: Histogram | None = None, *, width: float = 7.5, height: float = 3.4) -> Picture:
    """Latency against percentile as fortio interpolates it: predictive band, mean, and the record."""
    replay, record, resolution = _sides(replay, recorded)
    percents = np.append(np.arange(1.0, 100.0), 99.9)
    values = fortio.percentiles(replay.bucket_counts, replay.min, replay.max, percents, resolution)
    lo, hi = np.nanquantile(values, [0.025, 0.975], axis=1)
    picture = _picture(width, height, bottom=0.16, top=0.96)
    axes = picture.subplots()
    axes.fill_between(percents, lo, hi, color=BLUE, alpha=0.35, linewidth=0, label="model, 95 % of runs")
    axes.plot(percents, np.nanmean(values, axis=1), color=BLUE, linewidth=1.3, label="model, mean")
    if record:
        axes.plot(percents, record.percentile(percents), color=BLACK, linestyle="--", linewidth=1.2, label="recorded")
    axes.set(xlabel="percent of requests at most as slow", ylabel="latency (s)", xlim=(0, 100), ylim=(0, None))
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    _plain(axes)
    picture.alt_text = "Percentile curve. " + _overlay_text(replay, _estimates(replay, replay), record)
    return picture


def interval_plot(outcomes: Mapping[str, Outcome], recorded: Histogram, figures: Sequence[str] = FIGURES, *, width: float = 7.5) -> Picture:
    """Several engines side by side: each figure's mean and 95 % interval relative to the record (1 on the axis)."""
    resolution = recorded.table_resolution()
    outcomes = {name: binned(outcome, resolution) for name, outcome in outcomes.items()}
    picture = _picture(width, 1.3 + 0.26 * len(figures) * max(2, len(outcomes)), left=0.1, bottom=0.2, top=0.88)
    axes = picture.subplots()
    said = []
    for k, (name, outcome) in enumerate(outcomes.items()):
        offset = (k - (len(outcomes) - 1) / 2) * 0.7 / len(outcomes)
        known = outcome.figures()
        shown = [figure for figure in figures if figure in known]
        ratio = np.array([known[figure] for figure in shown]) / np.array([[recorded_figure(recorded, figure)] for figure in shown])
        y = np.array([figures.index(figure) for figure in shown]) + offset
        axes.hlines(y, ratio[:, 1], ratio[:, 2], color=COLOURS[k % len(COLOURS)], linewidth=2, label=f"{label(name)}, 95 % of runs")
        axes.plot(ratio[:, 0], y, MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)], markersize=5, label=label(name))
        said.append(f"{name}: " + ", ".join(f"{figure} {value:.2f}" for figure, value in zip(shown, ratio[:, 0], strict=True)))
    axes.axvline(1, color=BLACK, linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(figures)), map(label, figures))
    axes.set(ylim=(len(figures) - 0.5, -0.5), xlabel="predicted / recorded (1 is the record)")
    picture.legend(handles=axes.lines[: len(outcomes)], loc="upper center", ncols=len(outcomes), fontsize=8, frameon=False)
    _plain(axes)
    picture.alt_text = "Predicted over recorded. " + "; ".join(said)
    return picture


def shares(
    outcomes: Outcome | Mapping[str, Outcome], by: str = "endpoints", recorded: Mapping[Any, int] | None = None, *, width: float = 7.5
) -> Picture:
    """Share of the requests by who answered (`endpoints`), by `codes`, or upstream `attempts` per request; with 95 % intervals.

    `recorded` holds counts by the same names (those of a curl loop).
    """
    kinds = {"endpoints": "endpoint_shares", "codes": "code_shares", "attempts": "attempt_shares"}
    if by not in kinds:
        raise ValueError(f"by: must be one of {', '.join(kinds)}, got {by!r}")
    named = outcomes if isinstance(outcomes, Mapping) else {outcomes.engine: outcomes}
    found = {name: {str(key): e for key, e in getattr(outcome, kinds[by])().items()} for name, outcome in named.items()}
    counted = {str(key): count / max(1, sum(recorded.values())) for key, count in recorded.items()} if recorded else {}
    names = sorted({key for estimates in found.values() for key in estimates} | set(counted))
    height = 1.3 + 0.3 * len(names) * (len(found) + bool(counted))
    picture = _picture(width, height, left=_beside(names, width), bottom=0.22, top=0.84)
    axes = picture.subplots()
    said = [_draw_group(axes, k, len(found), name, estimates, names) for k, (name, estimates) in enumerate(found.items())]
    if counted:
        axes.plot(list(counted.values()), [names.index(key) for key in counted], "D", color=BLACK, markersize=6, label="recorded")
        said.append("recorded: " + ", ".join(f"{key} {value:.3f}" for key, value in counted.items()))
    axes.set_yticks(range(len(names)), map(label, names))
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, None), xlabel="attempts per request" if by == "attempts" else "share of requests")
    picture.legend(handles=[*axes.containers, *axes.lines], loc="upper center", ncols=4, fontsize=8, frameon=False)
    _plain(axes)
    picture.alt_text = f"Shares by {by}. " + "; ".join(said)
    return picture


def _draw_group(axes: Axes, k: int, groups: int, name: str, estimates: Mapping[str, Estimate], names: Sequence[str]) -> str:
    y = np.array([names.index(name) for name in estimates]) + (k - (groups - 1) / 2) * 0.8 / groups
    mean, lo, hi = np.array(list(estimates.values())).T
    axes.barh(
        y, mean, 0.7 / groups, facecolor=COLOURS[k % len(COLOURS)], edgecolor="white", hatch=HATCHES[k % len(HATCHES)], alpha=0.8,
        label=label(name),
    )  # fmt: skip
    axes.hlines(y, lo, hi, color=BLACK, linewidth=1.4, label=f"{label(name)}, 95 % of runs")
    return f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in zip(estimates, mean, strict=True))
