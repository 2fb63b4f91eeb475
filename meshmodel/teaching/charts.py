"""Figures of comparisons that the command line, the report and the playground draw: what changed, what matters most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from meshmodel._text import label
from meshmodel.results.compare import Comparison
from meshmodel.results.difference import Difference
from meshmodel.results.replay import Replay
from meshmodel.results.shown import readable
from meshmodel.teaching import plots
from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, bar, beside, canvas, named, say
from meshmodel.teaching.picture import Picture


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


def differences(difference: Difference, *, width: float = WIDTH) -> Picture:
    """Each figure's change with its 95 % interval, relative to the first side; shares in percent points."""
    rows = [row for row in difference.rows if not np.isnan(row.lo + row.hi)]
    times = [row for row in rows if not row.figure.startswith(("code", "answered by")) and row.first > 0]
    shares = [row for row in rows if row.figure.startswith(("code", "answered by"))]
    clear = ", ".join(row.figure for row in rows if row.clear) or "nothing"
    left, right = beside([row.figure for row in rows]), beside(["0.0000"])
    heights = [0.15 + 0.3 * max(1, len(part)) for part in (times, shares)]
    picture, (above, below) = canvas(f"Changed by more than chance: {clear}", *heights, left=left, right=right, gap=0.7, width=width)
    _intervals(above, times, [100 / row.first for row in times], f"change in % of {label(difference.names[0])}")
    _intervals(below, shares, [100.0] * len(shares), "change in percent points of all requests")
    said = [f"{row.figure} {readable(row.figure, row.first)} to {readable(row.figure, row.second)}" for row in rows]
    names = " to ".join(difference.names)
    picture.alt_text = f"Changes from {names} with 95 % intervals: {'; '.join(said)}. By more than chance: {clear}"
    return picture


def _intervals(axes: Axes, rows: Sequence, scales: Sequence[float], name: str) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for y, (row, scale) in enumerate(zip(rows, scales, strict=True)):
        colour = COLOUR["proxy" if row.clear else "ink"]
        axes.hlines(y, row.lo * scale, row.hi * scale, color=colour, linewidth=4, label="95 % interval")
        axes.plot([row.difference * scale], [y], "o" if row.clear else "|", color=colour, markersize=7, label="change")
        say(axes, 1.015, y, readable(row.figure, row.second), transform=axes.get_yaxis_transform(), fontsize=SMALL)
    axes.set_yticks(range(len(rows)), [label(row.figure) for row in rows])
    axes.set_ylim(max(0.5, len(rows) - 0.5), -0.5)
    named(axes, name)


def tornado(
    bars: Sequence[tuple[str, float, float, str, str]], base: float, title: str, *, width: float = WIDTH, percent: bool = False
) -> Picture:
    """What matters most: for each number the figure with it moved down and up, around `base`, the widest first.

    `bars`: (name, figure with the lower value, with the higher value, the two values in words).  Seconds, or shares as percent.
    """
    scale = 100.0 if percent else 1000.0
    ordered = sorted(bars, key=lambda each: -max(abs(each[1] - base), abs(each[2] - base)))
    says = f"What moves {title} most: {ordered[0][0]}" if ordered else f"No number of the rules moves {title}"
    picture, (axes,) = canvas(says, 0.2 + 0.42 * max(1, len(ordered)), left=0.42 * width, right=0.7, width=width)
    for y, (_, low, high, low_said, high_said) in enumerate(ordered):
        for value, said, role, shift in ((low, low_said, "model", -0.19), (high, high_said, "troubled", 0.19)):
            bar(axes, y + shift, scale * min(value, base), scale * max(value, base), role, 0.34, hatched=shift > 0)
            place: dict[str, Any] = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": SMALL, "color": INK}
            axes.annotate(label(said), (scale * max(value, base), y + shift), **place)
    axes.axvline(scale * base, color=INK, linewidth=1.2)
    axes.set_yticks(range(len(ordered)), [label(each[0]) for each in ordered])
    axes.set_ylim(max(0.5, len(ordered) - 0.5), -0.5)
    ends = [scale * value for each in ordered for value in each[1:3]] + [scale * base]
    axes.set_xlim(min(ends) - 0.05 * (np.ptp(ends) or 1), max(ends) + 0.05 * (np.ptp(ends) or 1))
    named(axes, f"{title} ({'%' if percent else 'ms'}); the line is the mesh as it is")
    unit = " %" if percent else " ms"
    told: dict[str, list[Any]] = {"number": [each[0] for each in ordered]}
    for side, value, word in (("lower", 1, 3), ("higher", 2, 4)):
        told |= {side: [each[word] for each in ordered], f"then ({side})": [scale * float(each[value]) for each in ordered]}
    picture.tell(f"{title} ({unit.strip()})", told)
    moved = [f"{name}: {down} gives {scale * low:.3g}{unit}, {up} {scale * high:.3g}{unit}" for name, low, high, down, up in ordered]
    picture.alt_text = f"What moves {title}, {scale * base:.3g}{unit} as it is: {'; '.join(moved) or 'no number in the rules'}"
    return picture
