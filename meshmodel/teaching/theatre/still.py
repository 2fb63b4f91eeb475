"""The still twin, for paper and for readers without widgets: the stage at its fullest, and the histogram at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch

from meshmodel.teaching.palette import BLACK, ROLES
from meshmodel.teaching.plots import Picture
from meshmodel.teaching.theatre.events import EJECTED
from meshmodel.teaching.theatre.moves import BACK, GHOST, KIND, OUT, QUEUE, WORK
from meshmodel.teaching.theatre.packing import unpack
from meshmodel.teaching.theatre.spec import heading

ANSWERED = ("healthy", "troubled", "proxy", "proxy")
"""The role of who answered, by `spec.HEALTHY` and so on."""

_PLAIN = "0.45"
_LEFT, _POD = 0.03, 0.34
"""Of the stage's width: where the load stands, and how wide a pod is."""

Point = tuple[float, float]


def still(spec: dict[str, Any], data: Sequence[bytes]) -> Picture:
    """A picture of all panels side by side; its alternative text says what each trace came to."""
    panels = spec["panels"]
    pods = max(len(panel["stage"]["columns"][-1]) for panel in panels)
    picture = Picture(figsize=(3.75 * max(2, len(panels)), 2.3 + 0.42 * pods), facecolor="white")
    grid = picture.add_gridspec(
        2, len(panels), height_ratios=(0.6 + 0.42 * pods, 1.05), left=0.04, right=0.99, top=0.86, bottom=0.13, hspace=0.22, wspace=0.12
    )
    tallest = max(_tallest(panel, unpack(part, panel["layout"])) for panel, part in zip(panels, data, strict=True))
    for k, (panel, part) in enumerate(zip(panels, data, strict=True)):
        tables = unpack(part, panel["layout"])
        _draw_stage(picture.add_subplot(grid[0, k]), panel, tables, spec["still"])
        _draw_histogram(picture.add_subplot(grid[1, k]), panel, tables, spec["buckets"], tallest)
    picture.suptitle(spec["title"], x=0.04, y=0.975, ha="left", fontsize=11, fontweight="bold")
    picture.alt_text = f"{spec['title']}. " + " ".join(panel["told"] for panel in panels)
    return picture


# --- the stage -------------------------------------------------------------------------------


def _draw_stage(axes: Axes, panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], time: float) -> None:
    stage, columns = panel["stage"], panel["stage"]["columns"]
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"{heading(panel['name'], panel['says'])}, at {time:.2f} s", loc="left", fontsize=9)
    at = _places(columns)
    for left, right in zip(columns, columns[1:], strict=False):
        axes.add_collection(
            LineCollection([(at[one], at[other]) for one in left for other in right], colors="0.85", linewidths=0.8, zorder=1)
        )
    out = _ejected(tables["hosts"], time)
    half = 0.42 / len(columns[-1])
    for column, places in enumerate(columns[:-1]):
        for place in places:
            _draw_proxy(axes, at[place], stage["names"][place], column)
    for place in columns[-1]:
        _draw_pod(axes, at[place], half, stage["names"][place], stage["roles"][place], place in out)
    most = max(panel["peaks"]["work"][place] + panel["peaks"]["queue"][place] for place in columns[-1])
    dots = list(_dots(stage, tables, time, at, _Seats(half, most)))
    if dots:
        xs, ys, roles, ghosts = zip(*dots, strict=True)
        colours = [ROLES[role].light if role in ROLES else _PLAIN for role in roles]
        faces = ["none" if ghost else colour for ghost, colour in zip(ghosts, colours, strict=True)]
        size = 18 if most <= 30 else 9 if most <= 80 else 3
        axes.scatter(xs, ys, size, facecolors=faces, edgecolors=colours, linewidths=0.7, zorder=4)


def _places(columns: Sequence[Sequence[int]]) -> dict[int, Point]:
    """The middle of each place; of a pod the middle of its left edge."""
    apart = (1 - _POD - _LEFT - 0.005) / (len(columns) - 1)
    return {
        place: (_LEFT + column * apart, 1 - (k + 0.5) / len(places))
        for column, places in enumerate(columns)
        for k, place in enumerate(places)
    }


def _draw_proxy(axes: Axes, at: Point, name: str, column: int) -> None:
    """A square and its name, below and above by turns: neighbours' names would meet."""
    x, y = at
    axes.plot(x, y, "s", color="0.93", markeredgecolor="0.5", markersize=11, zorder=2)
    below = column % 2 == 0
    y += -0.09 if below else 0.09
    axes.text(x if column else 0.0, y, name, ha="center" if column else "left", va="top" if below else "bottom", fontsize=7, zorder=5)


def _draw_pod(axes: Axes, at: Point, half: float, name: str, role: str, ejected: bool) -> None:
    x, y = at
    style: dict[str, Any] = {"linestyle": "--", "edgecolor": ROLES["proxy"].light} if ejected else {"edgecolor": "0.6"}
    box = FancyBboxPatch((x, y - half), _POD, 2 * half, boxstyle="round,pad=0,rounding_size=0.015", facecolor="0.97", zorder=2, **style)
    axes.add_patch(box)
    axes.plot([x, x], [y - 0.7 * half, y + 0.7 * half], color=ROLES[role].light, linewidth=3, zorder=3)
    if ejected:
        axes.text(x + _POD - 0.015, y - 0.85 * half, "ejected", ha="right", va="bottom", fontsize=7, color=ROLES["proxy"].light, zorder=5)
    axes.text(x + 0.015, y + 0.9 * half, name, va="top", fontsize=7, color=BLACK, zorder=5)


def _ejected(hosts: dict[str, np.ndarray], time: float) -> set[int]:
    return set(hosts["pod"][(hosts["what"] == EJECTED) & (hosts["time"] <= time) & (hosts["until"] > time)].tolist())


class _Seats:
    """Where the k-th dot of a pod stands, so that `most` of them find room under the name."""

    def __init__(self, half: float, most: int) -> None:
        self.rows = max(2, int(np.ceil(np.sqrt(most / 8))))
        self.across = max(12, -(-most // self.rows))
        self.half = half

    def __call__(self, pod: Point, k: int) -> Point:
        row, column = divmod(k, self.across)
        deep = min(row, self.rows - 1) + 0.5
        return pod[0] + 0.025 + column * (_POD - 0.04) / self.across, pod[1] + self.half * (0.35 - 1.25 * deep / self.rows)


def _dots(
    stage: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], time: float, at: dict[int, Point], seats: _Seats
) -> Iterator[tuple[float, float, str, bool]]:
    """(x, y, role, ghost?) of everything under way at `time`."""
    moves, visits = tables["moves"], tables["visits"]
    now = np.flatnonzero((moves["start"] <= time) & (moves["stop"] > time)).tolist()
    working = [int(moves["seat"][i]) for i in now if moves["kind"][i] & KIND == WORK]
    queued: dict[int, int] = {}
    for i in now:
        row, kind = int(moves["visit"][i]), int(moves["kind"][i]) & KIND
        target = int(visits["target"][row])
        role = stage["roles"][target] if target >= 0 else "middle"
        if kind in (OUT, BACK):
            share = (time - moves["start"][i]) / max(1e-9, moves["stop"][i] - moves["start"][i])
            x, y = _on_the_way(visits, row, int(moves["column"][i]), int(moves["to"][i]), share, at)
        elif kind == WORK and target in at:
            x, y = seats(at[target], int(moves["seat"][i]))
        elif kind == QUEUE and target in at:
            queued[target] = queued.get(target, max(working, default=0)) + 1
            x, y = seats(at[target], queued[target])
        else:
            x, y = at[max(0, int(visits["origin"][row]))]
        yield float(x), float(y), role, bool(moves["kind"][i] & GHOST)


def _on_the_way(visits: dict[str, np.ndarray], row: int, start: int, to: int, share: float, at: dict[int, Point]) -> Point:
    """The point at a share of a trip through the places of its columns."""
    columns = range(start, to + 1) if start < to else range(start, to - 1, -1)
    x, y = np.array([at[max(0, _place_in(visits, row, column))] for column in columns]).T
    piece = np.linspace(0, 1, len(x))
    return float(np.interp(share, piece, x)), float(np.interp(share, piece, y))


def _place_in(visits: dict[str, np.ndarray], row: int, column: int) -> int:
    """The place of a visit's way in a column."""
    while visits["hop"][row] + 1 > column:
        row = int(visits["parent"][row])
    return int(visits["origin" if visits["hop"][row] + 1 == column else "target"][row])


# --- the histogram ---------------------------------------------------------------------------


def _counts(panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    """Requests by who answered and by column, shape (4, columns)."""
    requests = tables["requests"]
    columns = panel["columns"]
    counts = np.zeros((4, columns), int)
    seen = requests["column"] < columns
    np.add.at(counts, (requests["answered"][seen], requests["column"][seen]), 1)
    return counts


def _tallest(panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]]) -> float:
    counts = _counts(panel, tables)
    recorded = np.array(panel["record"]["shares"]) * counts.sum() if panel["record"] else np.zeros(1)
    return float(max(1, counts.sum(axis=0).max(initial=0), recorded.max(initial=0)))


def _draw_histogram(
    axes: Axes, panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], buckets: dict[str, Any], tallest: float
) -> None:
    counts = _counts(panel, tables)
    x = np.arange(counts.shape[1])
    floor = np.zeros(counts.shape[1])
    for role, row in zip(ANSWERED, counts, strict=True):
        axes.bar(
            x, row, 0.84, bottom=floor, color=ROLES[role].light, hatch="xxx" if role == "proxy" else "", edgecolor="white", linewidth=0
        )
        floor += row
    if panel["record"]:
        recorded = np.array(panel["record"]["shares"]) * counts.sum()
        axes.bar(x, recorded, 0.96, facecolor="none", edgecolor=ROLES["record"].light, linestyle="--", linewidth=1.1, label="the record")
    for column, count in enumerate(counts.sum(axis=0).tolist()):
        if count and len(x) <= 12:
            axes.text(column, count + 0.02 * tallest, _percent(100 * count / counts.sum()), ha="center", va="bottom", fontsize=7)
    axes.set(ylim=(0, 1.16 * tallest), xlim=(-0.6, max(4.4, len(x) - 0.4)), yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    every = max(1, -(-len(x) // 6))
    axes.set_xticks(x[::every], [_range(buckets, k) for k in x[::every].tolist()], fontsize=7)
    axes.set_xlabel("latency (s), fortio's buckets, at the end", fontsize=7.5, labelpad=2)
    if panel["record"]:
        axes.legend(loc="upper right", fontsize=7, frameon=False)


def _percent(percent: float) -> str:
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def _range(buckets: dict[str, Any], k: int) -> str:
    start, end = buckets["starts"][k], buckets["ends"][k]
    return f"{start:g}\N{EN DASH}{end:g}" if end is not None else f"over {start:g}"
