"""The record against the model: every bucket of fortio as a column, and the percentiles above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection

from meshmodel.results import fortio
from meshmodel.results.compare import FIGURES, Comparison, recorded_figure
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Estimate, Replay
from meshmodel.teaching.canvas import COLOUR, HATCH, INK, WIDTH, corners, say
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

_BLUE = COLOUR["model"]
_RARE = 0.001  # buckets with fewer of the requests are not drawn


def overlay(
    subject: Comparison | Replay,
    recorded: Histogram | None = None,
    *,
    width: float = WIDTH,
    height: float = 3.2,
    onto: Picture | None = None,
) -> Picture:
    """Recorded shares per fortio bucket, the model's predictive band, and the percentiles of both above.

    Every bucket is a column, all equally wide: a bar's area is its share, however wide the bucket, and 0.15 s and 1 s
    can both be read.  Within a column time runs evenly, as fortio's percentiles do; empty stretches are left out.
    `subject` is a comparison, or a replay with an optional record.  `onto` is a picture to draw on, whose title is its own:
    its first Axes, from (0, 0) to (1, 1), is drawn anew, faster than a new one.

    One bare Axes from (0, 0) to (1, 1) whose ticks are drawn here: matplotlib's own broken
    axes take three times as long, and the replay console redraws at every move of a slider.
    """
    replay, record, resolution = sides(subject, recorded)
    shares = 100 * replay.bucket_counts / np.maximum(replay.requests, 1)
    table = record.table_counts(resolution) if record else np.zeros(fortio.BUCKETS, dtype=np.int64)
    recorded_shares = 100 * table / max(1, table.sum())
    drawn = np.flatnonzero((shares.mean(axis=1) >= 100 * _RARE) | (table > 0))
    starts, ends = _drawn_edges(replay, record, resolution, drawn)
    lo, hi = np.quantile(shares[drawn], [0.025, 0.975], axis=1)
    height_of = _Heights(max(hi.max(), recorded_shares.max()))
    estimates = estimated(subject, replay)
    says = finding(replay, record, estimates)
    picture = onto or sheet(says, width, height)[0]
    axes, wide = picture.axes[0], picture.get_figwidth()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    time = _Columns(starts, ends, max(0.11, 0.8 / wide))
    for artist in [*axes.collections, *axes.lines, *axes.texts]:
        artist.remove()
    left, right = time.left, time.right
    if record:
        _boxes(axes, left, right, height_of(0 * lo), height_of(recorded_shares[drawn]), facecolor="none", edgecolor=INK, hatch=HATCH)
    _boxes(axes, left, right, height_of(lo), height_of(hi), color=_BLUE, alpha=0.55, linewidth=0)
    _level_lines(axes, height_of(shares[drawn].mean(axis=1)), left, right, color=_BLUE, linewidth=1.6)
    picture.seconds = time
    _draw_percentiles(axes, time, estimates, record)
    _draw_scales(axes, time, height_of)
    _draw_key(axes, record is not None, wide)
    recorded_beside: dict[str, Any] = {"recorded (%)": recorded_shares[drawn]} if record else {}
    band = {"model, mean (%)": shares[drawn].mean(axis=1), "95 % of runs, from (%)": lo, "95 % of runs, to (%)": hi}
    picture.tell("share of requests", {"from (s)": starts, "to (s)": ends, **recorded_beside, **band})
    recorded_beside = {"recorded (s)": [recorded_figure(record, name) for name in _LANES]} if record else {}
    mean, least, most = np.array([estimates[name] for name in _LANES]).T
    band = {"model, mean (s)": mean, "95 % of runs, from (s)": least, "95 % of runs, to (s)": most}
    picture.tell("percentiles", {"": list(_LANES), **recorded_beside, **band})
    picture.alt_text = f"{says}. {figures_told(replay, estimates, record)}"
    return picture


def finding(replay: Replay, record: Histogram | None, estimates: Mapping[str, Estimate]) -> str:
    """Which of the record's six figures the model does not hold; without a record, or of one run, what half of the requests take."""
    if record is None or replay.replications == 1:
        half, most = (estimates[name].mean for name in ("p50", "p99"))
        sent = bool(replay.requests.any())
        return f"Half of the model's requests take at most {half:.3f} s, 99 % at most {most:.3f} s" if sent else "The model sent no request"
    ends = {name: (recorded_figure(record, name), estimates[name]) for name in FIGURES}
    outside = [name for name, (recorded, (_, lo, hi)) in ends.items() if recorded < lo or recorded > hi]
    if not outside:
        return "All six figures of the record lie within 95 % of the model's runs"
    return f"Of the record's six figures {len(outside)} lie outside 95 % of the model's runs: {', '.join(outside)}"


def estimated(subject: Comparison | Replay, replay: Replay) -> dict[str, Estimate]:
    """The six figures; a comparison has them already."""
    if isinstance(subject, Comparison):
        return {row.figure: Estimate(row.predicted, row.lo, row.hi) for row in subject.rows}
    return {figure: Estimate.of(replay.values(figure)) for figure in FIGURES}


def sides(subject: Comparison | Replay, recorded: Histogram | None) -> tuple[Replay, Histogram | None, float]:
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
    axes.add_collection(PolyCollection(list(corners(left, right, low, high)), **style), autolim=False)


def _lines(axes: Axes, from_x: Any, from_y: Any, to_x: Any, to_y: Any, **style: Any) -> None:
    ends = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in (from_x, from_y, to_x, to_y)))
    axes.add_collection(LineCollection(list(np.stack(ends, axis=-1).reshape(-1, 2, 2)), **style), autolim=False)


def _level_lines(axes: Axes, y: Any, left: Any, right: Any, **style: Any) -> None:
    _lines(axes, left, y, right, y, **style)


def _draw_percentiles(axes: Axes, time: _Columns, estimates: Mapping[str, Estimate], record: Histogram | None) -> None:
    mean, lo, hi = (time(values) for values in np.array([estimates[figure] for figure in _LANES]).T)
    lanes = np.array(list(_LANES.values()))
    _level_lines(axes, lanes, lo, hi, color=_BLUE, linewidth=3.2)
    _lines(axes, mean, lanes - 0.02, mean, lanes + 0.02, color=_BLUE, linewidth=1.6)
    if record:
        axes.plot(time([recorded_figure(record, figure) for figure in _LANES]), lanes, "D", color=INK, markersize=4)


def _draw_scales(axes: Axes, time: _Columns, height_of: _Heights) -> None:
    """Frame, ticks and labels; slanted strokes where buckets are left out."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide = figure.get_size_inches()[0]
    at, levels, origin = time.ticks(0.5 / wide), height_of.ticks(), time.origin
    style = {"color": INK, "linewidth": 0.9}
    _lines(axes, [origin], _FLOOR, [_RIGHT], _FLOOR, **style)
    _lines(axes, origin, _FLOOR, origin, 0.97, **style)
    x = np.array([position for position, *_ in at])
    _lines(axes, x, _FLOOR, x, _FLOOR - 0.015, **style)
    _level_lines(axes, height_of(levels), origin - 0.006, origin, **style)
    _level_lines(axes, _TOP + 0.025, origin, _RIGHT, color=INK, linewidth=0.6, alpha=0.5)
    breaks = (time.right[:-1] + time.left[1:])[time.apart[1:]] / 2
    for shift in (-0.004, 0.004):
        _lines(axes, breaks + shift - 0.005, _FLOOR - 0.025, breaks + shift + 0.005, _FLOOR + 0.025, **style)
    for position, seconds, side in at:
        say(axes, position, _FLOOR - 0.03, f"{seconds:.3g}", ha=side, va="top", fontsize=9)
    for name, y in [*((f"{level:g} %", float(height_of(level))) for level in levels), *_LANES.items()]:
        say(axes, origin - 0.012, y, name, ha="right", va="center", fontsize=9)
    say(axes, (origin + _RIGHT) / 2, 0.15, "latency (s), a column for each of fortio's buckets", ha="center", va="center", fontsize=9)
    say(axes, 0.1 / wide, (_FLOOR + _TOP) / 2, "share of requests", rotation=90, ha="center", va="center", fontsize=9)


def _draw_key(axes: Axes, recorded: bool, width: float) -> None:
    """The key below, in one row or, on a narrow page, in two."""
    kinds = ("model: mean, 95 % of runs", "its percentiles", "recorded", "recorded percentiles")[: 4 if recorded else 2]
    places = (
        [(0.04, 0.08), (0.56, 0.08), (0.04, 0.025), (0.56, 0.025)]
        if width < 7.2
        else [(0.05, 0.05), (0.34, 0.05), (0.54, 0.05), (0.71, 0.05)]
    )
    mark = 0.24 / width
    for kind, text, (x, y) in zip(range(4), kinds, places, strict=False):
        if kind == 0:
            _boxes(axes, [x], [x + mark], [y - 0.02], [y + 0.02], color=_BLUE, alpha=0.55, linewidth=0)
        if kind < 2:
            _level_lines(axes, y, x, x + mark, color=_BLUE, linewidth=1.6 + 1.6 * kind)
        if kind == 1:
            _lines(axes, x + mark / 2, y - 0.02, x + mark / 2, y + 0.02, color=_BLUE, linewidth=1.6)
        if kind == 2:
            _boxes(axes, [x], [x + mark], [y - 0.02], [y + 0.02], facecolor="none", edgecolor=INK, hatch=HATCH)
        if kind == 3:
            axes.plot([x + mark / 2], [y], "D", color=INK, markersize=4)
        say(axes, x + 1.35 * mark, y, text, va="center", fontsize=8.5)


def figures_told(replay: Replay, estimates: Mapping[str, Estimate], record: Histogram | None) -> str:
    def figure(name: str) -> str:
        mean, lo, hi = estimates[name]
        digits = 0 if name == "count" else 3
        beside = f", recorded {recorded_figure(record, name):.{digits}f}" if record else ""
        return f"{name} {mean:.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f}{beside})"

    figures = ", ".join(map(figure, ("count", "avg", "p50", "p75", "p99")))
    return f"Latency histogram of {replay.replications} replications: {figures}; avg and percentiles in seconds"
