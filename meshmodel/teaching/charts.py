"""Figures of comparisons that the command line, the report and the playground draw: what changed, what matters most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from meshmodel._text import label
from meshmodel.results.compare import Comparison
from meshmodel.results.difference import Difference
from meshmodel.results.replay import Replay
from meshmodel.results.shown import readable
from meshmodel.teaching import plots
from meshmodel.teaching.palette import BLACK, ROLES, VERMILION
from meshmodel.teaching.plots import Picture, _beside, _picture, _plain


def of_comparison(comparison: Comparison) -> Picture:
    """Model beside record: the overlay, or the six figures relative to the record where there are no replications or no buckets."""
    if comparison.record is None:
        raise ValueError("plot: counts of a curl loop have no histogram")
    outcome = comparison.outcome
    if isinstance(outcome, Replay) and outcome.resolution == comparison.resolution:
        return plots.overlay(comparison)
    return plots.interval_plot({outcome.engine: outcome}, comparison.record)


def of_replay(replay: Replay) -> Picture:
    """The histogram; of a mesh that changes under load, what happened second by second."""
    return plots.series(replay, _bin(replay)) if replay.scenario.changes else plots.overlay(replay)


def _bin(replay: Replay) -> float:
    return max(1.0, float(np.ceil(replay.elapsed.max() / 300)))


def differences(difference: Difference, *, width: float = 7.5) -> Picture:
    """Each figure's change with its 95 % interval, relative to the first side; shares in percent points."""
    rows = [row for row in difference.rows if not np.isnan(row.lo + row.hi)]
    times = [row for row in rows if not row.figure.startswith(("code", "answered by")) and row.first > 0]
    shares = [row for row in rows if row.figure.startswith(("code", "answered by"))]
    left, right = _beside([row.figure for row in rows], width), 1 - _beside(["0.0000"], width)
    picture = _picture(width, 1.3 + 0.3 * (len(times) + len(shares)), left=left, right=right, top=0.93, bottom=0.12, hspace=0.45)
    heights = [max(1, len(times)), max(1, len(shares))]
    above, below = picture.subplots(2, 1, gridspec_kw={"height_ratios": heights})
    _intervals(above, times, [100 / row.first for row in times], difference, f"change in % of {label(difference.names[0])}")
    _intervals(below, shares, [100.0] * len(shares), difference, "change in percent points of all requests")
    said = [f"{row.figure} {readable(row.figure, row.first)} to {readable(row.figure, row.second)}" for row in rows]
    clear = ", ".join(row.figure for row in rows if row.clear) or "nothing"
    names = " to ".join(difference.names)
    picture.alt_text = f"Changes from {names} with 95 % intervals: {'; '.join(said)}. By more than chance: {clear}"
    return picture


def _intervals(axes: plots.Axes, rows: Sequence, scales: Sequence[float], difference: Difference, title: str) -> None:
    axes.axvline(0, color=BLACK, linewidth=0.8)
    for y, (row, scale) in enumerate(zip(rows, scales, strict=True)):
        colour = VERMILION if row.clear else "0.55"
        axes.hlines(y, row.lo * scale, row.hi * scale, color=colour, linewidth=4, label="95 % interval")
        axes.plot([row.difference * scale], [y], "o" if row.clear else "|", color=colour, markersize=6, label="change")
        axes.annotate(readable(row.figure, row.second), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [label(row.figure) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(title, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    _plain(axes)


def tornado(
    bars: Sequence[tuple[str, float, float, str, str]], base: float, title: str, *, width: float = 7.5, percent: bool = False
) -> Picture:
    """What matters most: for each number the figure with it moved down and up, around `base`, the widest first.

    `bars`: (name, figure with the lower value, with the higher value, the two values in words).  Seconds, or shares as percent.
    """
    scale = 100.0 if percent else 1000.0
    ordered = sorted(bars, key=lambda bar: -max(abs(bar[1] - base), abs(bar[2] - base)))
    height = 1.2 + 0.36 * max(1, len(ordered))
    picture = _picture(width, height, left=0.42, right=0.95, top=1 - 0.15 / height, bottom=0.62 / height)
    axes = picture.subplots()
    lower, higher = ROLES["model"].light, ROLES["troubled"].light
    for y, (_, low, high, low_said, high_said) in enumerate(ordered):
        for value, said, colour, hatch, shift in ((low, low_said, lower, "", -0.19), (high, high_said, higher, "////", 0.19)):
            axes.barh(y + shift, scale * (value - base), 0.36, left=scale * base, color=colour, hatch=hatch, edgecolor="white")
            axes.annotate(
                label(said), (scale * max(value, base), y + shift), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.axvline(scale * base, color=BLACK, linewidth=0.9)
    axes.set_yticks(range(len(ordered)), [label(bar[0]) for bar in ordered], fontsize=7.5)
    axes.set_ylim(max(0.5, len(ordered) - 0.5), -0.5)
    axes.set_xlabel(f"{title} ({'%' if percent else 'ms'}); the line is the mesh as it is", fontsize=8)
    axes.margins(x=0.16)
    _plain(axes)
    unit = " %" if percent else " ms"
    told: dict[str, list[Any]] = {"number": [bar[0] for bar in ordered]}
    for side, value, word in (("lower", 1, 3), ("higher", 2, 4)):
        told |= {side: [bar[word] for bar in ordered], f"then ({side})": [scale * float(bar[value]) for bar in ordered]}
    picture.tell(f"{title} ({unit.strip()})", told)
    moved = [f"{name}: {down} gives {scale * low:.3g}{unit}, {up} {scale * high:.3g}{unit}" for name, low, high, down, up in ordered]
    picture.alt_text = f"What moves {title}, {scale * base:.3g}{unit} as it is: {'; '.join(moved) or 'no number in the rules'}"
    return picture
