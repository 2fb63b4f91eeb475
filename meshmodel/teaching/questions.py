"""Figures for questions that people really ask, each from a rule of Envoy or an exact formula.

would_calls_show(1 / 3, 1 / 6)        would ten curls have shown it?
stuck_failing(pods=range(1, 11))      why is it stuck failing?
least_request_by_load(...)            why does LEAST_REQUEST look random at low load?
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import IdentityTransform
from scipy.stats import beta, binom

from meshmodel.analytic.balancing import least_request_constant, least_share
from meshmodel.rules.ejection import may_eject
from meshmodel.rules.locality import panicking
from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, canvas, named, say
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.picture import Picture

ENOUGH = 0.8
"""The chance that an experiment should have to show what it is made for."""


# --- would ten curls have shown it? --------------------------------------------------------------


def interval(count: int, calls: int, level: float = 0.95) -> tuple[float, float]:
    """The shares that a count does not contradict: Clopper and Pearson's exact interval.

    Raises
    ------
    ValueError : a count that so many calls cannot give.
    """
    if not 0 <= count <= calls or calls < 1:
        raise ValueError(f"count: must be from 0 to the {calls} calls, got {count}")
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, calls - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, calls - count)) if count < calls else 1.0
    return low, high


def chance_to_tell(calls: int, share: float, other: float, level: float = 0.05) -> float:
    """The chance that a loop of so many calls, of which `share` are hits, rejects `other` (exact two-sided binomial test)."""
    counts = np.arange(calls + 1)
    probability = binom.pmf(counts, calls, other)
    order = np.argsort(probability, kind="stable")
    pvalue = np.empty(calls + 1)
    summed = np.cumsum(probability[order])
    alike = np.searchsorted(probability[order], probability[order] * (1 + 1e-7), side="right") - 1  # as scipy's binomtest counts ties
    pvalue[order] = summed[alike]
    return float(binom.pmf(counts, calls, share)[pvalue <= level].sum())


def calls_to_tell(share: float, other: float, chance: float = ENOUGH, most: int = 5000, level: float = 0.05) -> int | None:
    """The fewest calls from which on the chance to tell is at least `chance` (it goes up in a saw); None: more than `most`."""
    if share == other:
        return None
    last_below, step = 0, 1
    for calls in range(1, most + 1):
        if chance_to_tell(calls, share, other, level) < chance:
            last_below = calls
        elif calls - last_below > max(step, calls // 4):  # so long without a relapse: there is none to come
            break
    return last_below + 1 if last_below < most else None


def would_calls_show(share: float, other: float, calls: int = 10, *, width: float = WIDTH) -> Picture:
    """The chance that a loop of n calls tells two shares apart, and the interval beside the count that it expects.

    `share` is what really happens, `other` what is to be rejected, `calls` the loop that somebody made.
    """
    needed = calls_to_tell(share, other)
    needed = needed and max(2, needed)
    most = max(20, 2 * calls, round(1.4 * needed) if needed else 5000)
    numbers = np.unique(np.round(np.geomspace(2, most, 90)).astype(int))
    chances = np.array([chance_to_tell(int(n), share, other) for n in numbers])
    here = chance_to_tell(calls, share, other)
    told = f"{calls} calls tell {_percent(share)} from {_percent(other)} in {_percent(here)} of the loops"
    told += f", {needed} calls in {_percent(ENOUGH)}" if needed else ""
    if share == other:
        told = f"{calls} calls find a difference where there is none in {_percent(here)} of the loops"
    picture, (above, below) = canvas(told, 1.9, 1.9, left=1.05, right=0.25, width=width)
    above.plot(numbers, 100 * chances, color=COLOUR["model"], linewidth=2, label="chance")
    above.axhline(100 * ENOUGH, color=INK, linewidth=0.8, linestyle=":", label="enough")
    above.plot([calls], [100 * here], "D", color=COLOUR["troubled"], markersize=8, zorder=4, label="this loop", clip_on=False)
    late = calls > (2 * most) ** 0.5
    beside = 100 * here + (11 if here < (0.88 if late else 0.15) else -11)  # off the saw, which goes up to the right
    say(above, calls * (0.93 if late else 1.07), beside, f"{calls} calls: {_percent(here)}", "troubled", ha="right" if late else "left")
    if needed:
        above.plot(
            [needed],
            [100 * chance_to_tell(needed, share, other)],
            "o",
            color=COLOUR["healthy"],
            markersize=8,
            zorder=4,
            label="fewest calls",
            clip_on=False,
        )
        say(above, needed * 0.94, 100 * ENOUGH + 9, f"{needed}", "healthy", ha="right")
    above.set(xscale="log", ylim=(0, 104), xlim=(2, most))
    named(above, "", "chance to tell them apart (%)")
    _intervals(below, share, other, sorted({10, calls, 30, 100, 300, *([needed] if needed else [])}))
    _plain_numbers(above)
    picture.alt_text = (
        f"{told}. Intervals of 95 % beside the expected counts: "
        + "; ".join(
            f"{round(share * n)} of {n}: {_percent(low)} to {_percent(high)}" for n, low, high in _rows(share, sorted({10, calls, 100}))
        )
        + "."
    )
    return picture


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _rows(share: float, numbers: Sequence[int]) -> list[tuple[int, float, float]]:
    return [(n, *interval(round(share * n), n)) for n in numbers]


def _intervals(axes: Axes, share: float, other: float, numbers: Sequence[int]) -> None:
    """A bar for each number of calls: the shares that its expected count leaves possible."""
    axes.axvline(100 * other, color=COLOUR["proxy"], linewidth=1.5, linestyle="--", label="the other share")
    say(axes, 100 * other + 0.8, -0.95, f"{_percent(other)}?", "proxy", fontsize=SMALL)
    for row, (n, low, high) in enumerate(_rows(share, numbers)):
        role = "healthy" if not low <= other <= high else "troubled"
        axes.hlines(row, 100 * low, 100 * high, color=COLOUR[role], linewidth=4, label="possible")
        axes.plot([100 * round(share * n) / n], [row], "D", color=INK, markersize=5, label="counted")
    axes.set_yticks(range(len(numbers)), [f"{round(share * n)} of {n}" for n in numbers])
    axes.set(ylim=(len(numbers) - 0.5, -1.4), xlim=(0, None))
    named(axes, "share that the count leaves possible (%), 95 %")


def _plain_numbers(axes: Axes) -> None:
    low, high = axes.get_xlim()
    some = (2, 5, 10, 20, 50, 100, 200, 500) if high < 600 else (2, 10, 50, 200, 1000, 5000)
    ticks = [n for n in some if low <= n <= high]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel("calls in the loop", color=INK, fontsize=SMALL + 1)


# --- why is it stuck failing? --------------------------------------------------------------------


def ejected(pods: int, failing: int, percent: int, one_host_always: bool = False) -> int:
    """How many of the `failing` pods are out in the end, by Envoy's rule."""
    out = 0
    while out < failing and may_eject(out, pods, percent, one_host_always):
        out += 1
    return out


def failing_share(pods: int, failing: int, percent: int, threshold: int = 0, one_host_always: bool = False) -> float:
    """The share of the requests that fail for good, when `failing` of `pods` always fail and the ejections are done.

    With nobody left and no panic, the proxy answers 503 to all of them.
    """
    out = ejected(pods, failing, percent, one_host_always)
    if panicking([pods - out], [pods], threshold)[0]:
        return failing / pods
    return (failing - out) / (pods - out) if out < pods else 1.0


def stuck_failing(
    failing: float = 0.5, threshold: int = 50, most: int = 10, *, one_host_always: bool = False, width: float = WIDTH
) -> Picture:
    """A map: pods by `maxEjectionPercent`, without and with a panic threshold; each cell the percent of requests that fail for good.

    `failing` is the share of the pods that always fail (see `broken`); `threshold` is Istio's `minHealthPercent`, off by default.
    """
    pods, percents = range(1, most + 1), range(0, 101, 10)
    levels = sorted({0, threshold})
    grids = {level: _grid(pods, percents, failing, level, one_host_always) for level in levels}
    stuck = np.array([[ejected(n, broken(n, failing), p, one_host_always) == 0 for n in pods] for p in percents])
    title = "Below 100 / pods percent nobody may be ejected (framed): it stays as bad as it is"
    title = title if stuck[1:].any() else "The first pod may always go (Envoy before 1.28): nothing is stuck, whatever the percent"
    picture, panels = canvas(title, *[3.1] * len(levels), gap=0.95, width=width)
    names = {threshold: f"minHealthPercent: {threshold}", 0: "no panic (Istio's default)"}
    for axes, (level, grid) in zip(panels, grids.items(), strict=True):
        _draw_map(axes, grid, pods, percents)
        _frame(axes, stuck)
        named(axes, "pods", f"maxEjectionPercent (%), {names[level]}")
        columns = {f"{n} {'pod' if n == 1 else 'pods'}": np.round(100 * grid[:, k]).astype(int) for k, n in enumerate(pods)}
        picture.tell(f"requests that fail for good (%), {names[level]}", {"maxEjectionPercent": list(percents), **columns})
    cells = len(pods) * len(percents)
    worst = ", ".join(f"{name}: in {int((grids[level] > 0).sum())} some fail for good" for level, name in sorted(names.items()))
    picture.alt_text = (
        f"{title}. {failing:.0%} of the pods, rounded up, always fail. Cells of 1 to {most} pods by 0 to 100 percent, each with the "
        f"percent of requests that fail for good; of {cells} cells {int(stuck.sum())} eject nobody; {worst}."
    )
    return picture


def broken(pods: int, failing: float) -> int:
    """How many of so many pods always fail: the share of them, rounded up, and one at the least."""
    return max(1, ceil(round(failing * pods, 9)))  # 0.7 * 10 is a little more than 7


def _grid(pods: Sequence[int], percents: Sequence[int], failing: float, threshold: int, one_host_always: bool) -> np.ndarray:
    """Shares that fail for good, shape (percents, pods)."""
    return np.array([[failing_share(n, broken(n, failing), p, threshold, one_host_always) for n in pods] for p in percents])


def _draw_map(axes: Axes, grid: np.ndarray, pods: Sequence[int], percents: Sequence[int]) -> None:
    colours = LinearSegmentedColormap.from_list("failing", ["#FFFFFF", "#F3B79B", ROLES["proxy"].light])
    axes.imshow(grid, origin="lower", aspect="auto", cmap=colours, vmin=0, vmax=1)
    percent = np.round(100 * grid).astype(int)
    for number in np.unique(percent).tolist():
        row, column = np.nonzero(percent == number)
        colour = "white" if number > 80 else "black"
        where = {"transform": IdentityTransform(), "offsets": np.column_stack([column, row]), "offset_transform": axes.transData}
        axes.add_collection(PathCollection([_digits(number)], [1.0], color=colour, linewidths=0, **where), autolim=False)
    axes.set_xticks(range(len(pods)), list(map(str, pods)))
    axes.set_yticks(range(0, len(percents), 2), [str(p) for p in percents[::2]])


@cache
def _digits(number: int) -> Path:
    """A number as an outline around its middle, in points: as one collection hundreds of them are drawn in the time of ten texts."""
    outline = TextPath((0, 0), str(number), size=90).cleaned(curves=False)  # matplotlib asks each time how far a curve reaches
    corners = np.asarray(outline.vertices)[:-1] / 10  # the last one is none
    return Path(corners - (corners.min(axis=0) + corners.max(axis=0)) / 2, np.asarray(outline.codes)[:-1])


def _frame(axes: Axes, cells: np.ndarray) -> None:
    """A line around the cells that are true."""
    padded, lines = np.pad(cells, 1), []
    for row, column in zip(*np.nonzero(cells), strict=True):
        x, y = column - 0.5, row - 0.5
        sides = {
            (1, 0): ([x, x + 1], [y + 1, y + 1]),
            (-1, 0): ([x, x + 1], [y, y]),
            (0, 1): ([x + 1, x + 1], [y, y + 1]),
            (0, -1): ([x, x], [y, y + 1]),
        }
        for (up, right), (xs, ys) in sides.items():
            if not padded[row + 1 + up, column + 1 + right]:
                lines.append(list(zip(xs, ys, strict=True)))
    axes.add_collection(
        LineCollection(lines, colors="black", linewidths=2.2, capstyle="projecting", clip_on=False, zorder=5), autolim=False
    )


# --- why does LEAST_REQUEST look random at low load? ---------------------------------------------


def least_request_by_load(
    service: Sequence[float] = (1.0, 0.15, 0.15),
    overhead: float = 0.0138,
    connections: Sequence[int] = (1, 2, 3, 5, 10, 20),
    *,
    width: float = WIDTH,
) -> Picture:
    """The share of the slowest pod under LEAST_REQUEST against the number of connections, between RANDOM's and the floor; exact.

    service : seconds of each pod.  overhead : seconds that a request spends elsewhere.
    """
    slowest, pods = int(np.argmax(service)), len(service)
    found = [least_request_constant(tuple(service), overhead, n) for n in connections]
    shares = [float(one.shares[slowest]) for one in found]
    active = [float(one.active.sum()) for one in found]
    ends = f"{_percent(shares[0])} to the slow pod; with {connections[-1]}, {_percent(shares[-1])}"
    title = f"With one connection LEAST_REQUEST is RANDOM: {ends}"
    picture, (above,) = canvas(title, 2.9, width=width)
    above.axhline(100 / pods, color=INK, linewidth=1, linestyle=":", label="RANDOM")
    above.axhline(100 * least_share(pods), color=INK, linewidth=1, linestyle=":", label="the floor")
    above.plot(connections, [100 * share for share in shares], "o-", color=COLOUR["troubled"], linewidth=2, label="LEAST_REQUEST")
    above.set(xscale="log", ylim=(0, 112 / pods), xlim=(0.9, connections[-1] * 1.15))
    above.set_xticks(list(connections), map(str, connections))
    above.minorticks_off()
    right = connections[-1] * 1.1
    say(above, right, 100 / pods + 1.5, "RANDOM: one pod of " + str(pods), ha="right")
    say(above, right, 100 * least_share(pods) - 2, "the floor: both draws are the slow pod", ha="right")
    named(above, "connections: requests under way at once", "share of the slow pod (%)")
    told = "; ".join(f"{n}: {s:.1%}, {a:.1f} active" for n, s, a in zip(connections, shares, active, strict=True))
    picture.alt_text = f"{title}. By connections: {told}. RANDOM sends {1 / pods:.1%}, the floor is {least_share(pods):.1%}."
    return picture
