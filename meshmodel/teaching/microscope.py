"""A fortio record under the microscope: one bucket, the straight line across it, and where its requests really may lie."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from meshmodel.results.fortio import Bucket, Histogram
from meshmodel.teaching.canvas import COLOUR, FAINT, INK, WIDTH, say
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

_RECORD, _MODEL = COLOUR["record"], COLOUR["model"]


def bucket_of(record: Histogram, percent: float) -> int:
    """The number of the bucket that holds a percentile."""
    return int(np.searchsorted(record.percents, percent - 1e-9))


def share_below(latencies: np.ndarray, percent: float) -> float:
    """The latency, in seconds, that `percent` of the requests do not exceed."""
    ordered = np.sort(latencies)
    return float(ordered[max(0, int(np.ceil(percent / 100 * len(ordered))) - 1)])


def microscope(record: Histogram, latencies: np.ndarray, percent: float = 50.0, *, width: float = WIDTH) -> Picture:
    """Above all buckets, below the one of a percentile: fortio's line, and a model's requests as dots with their own curve."""
    number, read, true = bucket_of(record, percent), float(record.percentile(percent)), share_below(latencies, percent)
    says = f"p{percent:g}: fortio reads {read:.3f} s off a straight line, the model's own is {true:.3f} s"
    picture, (axes,) = sheet(says, width, 4.7)
    width = picture.get_figwidth()
    lens = (0.75, 0.62, width - 0.2, 2.9)  # left, bottom, right, top
    _overview(axes, record, number, lens, width)
    _lens(axes, record, np.sort(latencies), percent, number, lens)
    ends = {"from (s)": [float(b.start) for b in record.buckets], "to (s)": [float(b.end) for b in record.buckets]}
    picture.tell("buckets", {**ends, "requests": record.counts, "requests up to its end (%)": record.percents})
    picture.tell(f"{percent:g} % of the requests", {"read by": ["fortio", "model"], "seconds": [read, true]})
    picture.alt_text = (
        f"{says}. {percent:g} % of the requests: fortio reads {read:.3f} s off its straight line across the bucket from "
        f"{record.buckets[number].start:.3g} to {record.buckets[number].end:.3g} s; of the model's requests {percent:g} % took "
        f"{true:.3f} s at most"
    )
    return picture


def _overview(axes: Axes, record: Histogram, chosen: int, lens: tuple[float, float, float, float], width: float) -> None:
    left, _, right, top = lens
    say(axes, width - 0.2, 4.6, "a box: one of fortio's buckets, a dot: twenty requests", ha="right", va="center", fontsize=8.5)
    wide = (width - 0.4) / len(record.buckets)
    for number, bucket in enumerate(record.buckets):
        x, here = 0.2 + number * wide, number == chosen
        axes.add_patch(
            Rectangle(
                (x + 0.04, 3.55), wide - 0.08, 0.95, facecolor=FAINT if here else "none", edgecolor=INK, linewidth=1.6 if here else 0.6
            )
        )
        _bucket_told(axes, bucket, x + wide / 2, wide, here)
        _dots(axes, bucket, x + 0.12, wide - 0.24, 3.62, 0.34)
        if here:
            for one, other in ((x + 0.04, left), (x + wide - 0.04, right)):
                axes.plot([one, other], [3.55, top], color=INK, linewidth=0.8, linestyle=":")


def _bucket_told(axes: Axes, bucket: Bucket, x: float, wide: float, here: bool) -> None:
    """How many requests, from when to when; in a narrow box in fewer words."""
    roomy, ends = wide > 1, (f"{bucket.start:.3g}", f"{bucket.end:.3g} s")
    count = f"{bucket.count:,} requests" if roomy else f"{bucket.count:,}"
    span = " to ".join(ends) if roomy else "\N{EN DASH}\n".join(ends)
    say(axes, x, 4.38, count, ha="center", fontsize=9, fontweight="bold" if here else None)
    say(axes, x, 4.25, span, ha="center", va="top", fontsize=8.5, linespacing=1.0)


def _dots(axes: Axes, bucket: Bucket, x: float, wide: float, y: float, high: float) -> None:
    """One dot for twenty requests (at least one), in a heap that has room for all."""
    dots = max(1, round(bucket.count / 20))
    apart = min(0.075, 0.9 * (wide * high / dots) ** 0.5)
    up, along = np.divmod(np.arange(dots), max(1, int(wide / apart)))
    axes.plot(x + 0.04 + along * apart, y + up * apart, "o", color=_RECORD, markersize=min(2.2, 29 * apart))


def _lens(axes: Axes, record: Histogram, ordered: np.ndarray, percent: float, number: int, lens: tuple[float, float, float, float]) -> None:
    left, bottom, right, top = lens
    bucket, high = record.buckets[number], float(record.percents[number])
    low = float(record.percents[number - 1]) if number else 100 / record.count
    start, end = float(bucket.start), float(bucket.end)

    def x(seconds: float | np.ndarray) -> float | np.ndarray:
        return left + (right - left) * (np.asarray(seconds) - start) / max(end - start, 1e-9)

    def y(p: float | np.ndarray) -> float | np.ndarray:
        return bottom + (top - bottom) * (np.asarray(p) - low) / max(high - low, 1e-9)

    axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor="none", edgecolor=INK))
    say(axes, 0.14, (bottom + top) / 2, "took at most so long", rotation=90, ha="center", va="center", fontsize=9)
    read, true = float(record.percentile(percent)), share_below(ordered, percent)
    inside = ordered[(ordered >= start) & (ordered <= end)]
    if len(inside):
        curve = y(np.linspace(low, high, len(inside)))
        axes.plot(x(inside), curve, color=_MODEL, linewidth=1.8)
        lift = 0.06 + 0.3 * (np.arange(len(inside)) * 0.618 % 1)
        axes.plot(x(inside), bottom + lift, "o", color=_MODEL, markersize=2, alpha=0.55)
    axes.plot([left, right], [bottom, top], color=_RECORD, linewidth=1.8, linestyle="--")
    level = float(y(percent))
    axes.plot([left - 0.05, right], [level, level], color=INK, linewidth=0.8)
    say(axes, left - 0.08, level, f"{percent:g} %", ha="right", va="center", fontsize=9, fontweight="bold")
    _needle(axes, float(x(read)), level, bottom, _RECORD, f"fortio reads {read:.3f} s", right, 0.0)
    if start <= true <= end:
        _needle(axes, float(x(true)), level, bottom, _MODEL, f"the model's own {true:.3f} s", right, 0.2)
    for seconds, side in ((start, "left"), (end, "right")):
        say(axes, float(x(seconds)), bottom - 0.36, f"{seconds:.3g} s", ha=side, va="top", fontsize=9)
    for p, at in ((low, "bottom"), (high, "top")):
        if abs(float(y(p)) - level) > 0.2:
            say(axes, left - 0.08, float(y(p)), f"{p:.1f} %", ha="right", va=at, fontsize=8.5)


def _needle(axes: Axes, x: float, level: float, bottom: float, colour: str, text: str, right: float, drop: float) -> None:
    axes.plot([x, x], [bottom, level], color=colour, linewidth=1.4)
    axes.plot([x], [level], "o", color=colour, markersize=6)
    late = x > right - 1.6
    say(
        axes,
        x + (-0.05 if late else 0.05),
        bottom - 0.03 - drop / 1.4,
        text,
        ha="right" if late else "left",
        va="top",
        fontsize=9,
        color=colour,
    )
