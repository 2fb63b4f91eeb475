"""The still twin, for paper and for readers without widgets: the stage at its fullest, and the histogram at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch

from meshmodel.teaching.canvas import FAINT, INK, say
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.theatre.events import EJECTED
from meshmodel.teaching.theatre.moves import BACK, GHOST, KIND, OUT, QUEUE, WORK
from meshmodel.teaching.theatre.packing import unpack
from meshmodel.teaching.theatre.spec import heading

ANSWERED = ("healthy", "troubled", "proxy", "proxy")
"""The role of who answered, by `spec.HEALTHY` and so on."""

_LEFT, _POD = 0.03, 0.34
"""Of the stage's width: where the load stands, and how wide a pod is."""

Point = tuple[float, float]


def still(spec: dict[str, Any], data: Sequence[bytes]) -> Picture:
    """A picture of all panels side by side; its alternative text says what each trace came to."""
    panels = spec["panels"]
    rows = max(_rows(panel["stage"]) for panel in panels)
    picture = Picture(figsize=(3.75 * max(2, len(panels)), 2.3 + 0.42 * rows))
    grid = picture.add_gridspec(
        2, len(panels), height_ratios=(0.6 + 0.42 * rows, 1.05), left=0.04, right=0.99, top=0.86, bottom=0.13, hspace=0.22, wspace=0.12
    )
    tallest = max(_tallest(panel, unpack(part, panel["layout"])) for panel, part in zip(panels, data, strict=True))
    for k, (panel, part) in enumerate(zip(panels, data, strict=True)):
        tables = unpack(part, panel["layout"])
        _draw_stage(picture.add_subplot(grid[0, k]), panel, tables, spec["still"])
        _draw_histogram(picture.add_subplot(grid[1, k]), panel, tables, spec["buckets"], tallest)
    picture.suptitle(spec["title"], x=0.04, y=0.975, ha="left", fontsize=11, fontweight="bold", color=INK)
    picture.alt_text = f"{spec['title']}. " + " ".join(panel["told"] for panel in panels)
    return picture


# --- the stage -------------------------------------------------------------------------------


def _draw_stage(axes: Axes, panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], time: float) -> None:
    stage = panel["stage"]
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"{heading(panel['name'], panel['says'])}, at {time:.2f} s", loc="left", fontsize=9, color=INK)
    at = _places(stage)
    for station, before in enumerate(stage["before"][1:], start=1):
        wires = [(at[one], at[other]) for one in stage["stations"][before] for other in stage["stations"][station]]
        axes.add_collection(LineCollection(wires, colors=INK, alpha=0.35, linewidths=0.8, zorder=1))
    half = 0.42 / _rows(stage)
    _draw_proxies(axes, stage, at)
    _draw_pods(axes, stage, at, half, _ejected(tables["hosts"], time))
    most = max(panel["peaks"]["work"][place] + panel["peaks"]["queue"][place] for place in stage["pods"])
    dots = list(_dots(stage, tables, time, at, _Seats(half, most)))
    if dots:
        xs, ys, roles, ghosts = zip(*dots, strict=True)
        colours = [ROLES[role].light if role in ROLES else INK for role in roles]
        faces = ["none" if ghost else colour for ghost, colour in zip(ghosts, colours, strict=True)]
        size = 18 if most <= 30 else 9 if most <= 80 else 3
        axes.scatter(xs, ys, size, facecolors=faces, edgecolors=colours, linewidths=0.7, zorder=4)


_HEADING, _CALLER = 0.5, 0.9
"""Of a pod's row: what the name of a called Service takes, where a pod calls several; and each of several callers."""


def _heading(stage: dict[str, Any]) -> float:
    return _HEADING if any(stage["order"]) else 0.0


def _behind(stage: dict[str, Any], station: int) -> list[int]:
    return [other for other, before in enumerate(stage["before"]) if before == station]


def _rows(stage: dict[str, Any], station: int = 0) -> float:
    """How many rows of pods high a station and all behind it are; the whole stage."""
    behind, places = _behind(stage, station), len(stage["stations"][station])
    if not behind:
        return places + _heading(stage)
    return max(_CALLER * places if places > 1 else 0.0, sum(_rows(stage, other) for other in behind))


def _places(stage: dict[str, Any]) -> dict[int, Point]:
    """The middle of each place; of a pod the middle of its left edge."""
    depth = _depths(stage)
    steps = 1 + max(depth[caller] for caller in stage["before"][1:])
    apart = (1 - _POD - _LEFT - 0.005) / steps
    bands = _bands(stage)
    return {
        place: (_LEFT + (steps if station in stage["ends"] else depth[station]) * apart, top - (k + 0.5) * (top - floor) / len(places))
        for station, (places, (top, floor)) in enumerate(zip(stage["stations"], bands, strict=True))
        for k, place in enumerate(places)
    }


def _depths(stage: dict[str, Any]) -> list[int]:
    """How many calls from the load each station is."""
    depths = [0]
    for caller in stage["before"][1:]:
        depths.append(depths[caller] + 1)
    return depths


def _bands(stage: dict[str, Any]) -> list[tuple[float, float]]:
    """From where down to where each station stands: what is called below one another, who calls beside all of that."""
    bands, row = [(1.0, 0.0)] * len(stage["stations"]), 1 / _rows(stage)
    for station in range(len(bands)):
        top, floor = bands[station]
        behind = _behind(stage, station)
        if not behind:
            bands[station] = top - row * _heading(stage), floor
        spare = top - floor - row * sum(_rows(stage, other) for other in behind)
        for other in behind:
            under = top - row * _rows(stage, other) - spare / len(behind)
            bands[other], top = (top, under), under
    return bands


def _draw_proxies(axes: Axes, stage: dict[str, Any], at: dict[int, Point]) -> None:
    """Squares with their names, below and above by turns: neighbours' names would meet."""
    away = min(0.09, 0.4 / _rows(stage))
    for station, depth in enumerate(_depths(stage)):
        for place in () if station in stage["ends"] else stage["stations"][station]:
            _draw_proxy(axes, at[place], f"{stage['order'][station]} {stage['names'][place]}".lstrip(), depth, away)


def _draw_pods(axes: Axes, stage: dict[str, Any], at: dict[int, Point], half: float, out: set[int]) -> None:
    """The boxes of the pods; where a pod calls several Services, with what is called above them, and which call it is."""
    for station in stage["ends"]:
        places = stage["stations"][station]
        for place in places:
            _draw_pod(axes, at[place], half, stage["names"][place], stage["roles"][place], place in out)
        if _heading(stage) and places:
            x, y = at[places[0]]
            told = f"{stage['order'][station]} {stage['called'][station]}".lstrip()
            say(axes, x, y + 1.3 * half, told, va="bottom", fontsize=7.5, fontweight="bold", zorder=5)


def _draw_proxy(axes: Axes, at: Point, name: str, depth: int, away: float) -> None:
    x, y = at
    axes.plot(x, y, "s", color="none", markeredgecolor=INK, markersize=11, zorder=2)
    below = depth % 2 == 0
    y += -away if below else away
    say(axes, x if depth else 0.0, y, name, ha="center" if depth else "left", va="top" if below else "bottom", fontsize=7, zorder=5)


def _draw_pod(axes: Axes, at: Point, half: float, name: str, role: str, ejected: bool) -> None:
    x, y = at
    style: dict[str, Any] = {"linestyle": "--", "edgecolor": ROLES["proxy"].light} if ejected else {"edgecolor": INK}
    box = FancyBboxPatch((x, y - half), _POD, 2 * half, boxstyle="round,pad=0,rounding_size=0.015", facecolor=FAINT, zorder=2, **style)
    axes.add_patch(box)
    axes.plot([x, x], [y - 0.7 * half, y + 0.7 * half], color=ROLES[role].light, linewidth=3, zorder=3)
    if ejected:
        say(axes, x + _POD - 0.015, y - 0.85 * half, "ejected", ha="right", va="bottom", fontsize=7, color=ROLES["proxy"].light, zorder=5)
    say(axes, x + 0.015, y + 0.9 * half, name, va="top", fontsize=7, zorder=5)


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
            way = _way(stage["before"], int(moves["station"][i]), int(moves["to"][i]))
            x, y = _on_the_way([at[max(0, _place_in(stage, visits, row, station))] for station in way], share)
        elif kind == WORK and target in at:
            x, y = seats(at[target], int(moves["seat"][i]))
        elif kind == QUEUE and target in at:
            queued[target] = queued.get(target, max(working, default=0)) + 1
            x, y = seats(at[target], queued[target])
        else:
            x, y = at[max(0, _place_in(stage, visits, row, int(moves["station"][i])))]
        yield float(x), float(y), role, bool(moves["kind"][i] & GHOST)


def _way(before: Sequence[int], start: int, to: int) -> list[int]:
    """The stations from one to another, of which one is on the other's way to the load."""
    way = [max(start, to)]
    while way[-1] != min(start, to):
        way.append(before[way[-1]])
    return way if way[0] == start else way[::-1]


def _on_the_way(points: Sequence[Point], share: float) -> Point:
    """The point at a share of a trip through these."""
    x, y = np.array(points).T
    piece = np.linspace(0, 1, len(points))
    return float(np.interp(share, piece, x)), float(np.interp(share, piece, y))


def _place_in(stage: dict[str, Any], visits: dict[str, np.ndarray], row: int, station: int) -> int:
    """The place of a visit's way in a station: its pod, its own proxy, or those of the visits that it serves."""
    while station not in (own := int(visits["hop"][row]) + 2, stage["before"][own]):
        row = int(visits["parent"][row])
    return int(visits["target" if station == own else "origin"][row])


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
        axes.bar(x, row, 0.84, bottom=floor, color=ROLES[role].light, hatch="xxx" if role == "proxy" else "", edgecolor="none", linewidth=0)
        floor += row
    if panel["record"]:
        recorded = np.array(panel["record"]["shares"]) * counts.sum()
        axes.bar(x, recorded, 0.96, facecolor="none", edgecolor=INK, linestyle="--", linewidth=1.1, label="the record")
    for column, count in enumerate(counts.sum(axis=0).tolist()):
        if count and len(x) <= 12:
            say(axes, column, count + 0.02 * tallest, _percent(100 * count / counts.sum()), ha="center", va="bottom", fontsize=7)
    axes.set(ylim=(0, 1.16 * tallest), xlim=(-0.6, max(4.4, len(x) - 0.4)), yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(colors=INK)
    every = max(1, -(-len(x) // 6))
    axes.set_xticks(x[::every], [_range(buckets, k) for k in x[::every].tolist()], fontsize=7)
    axes.set_xlabel("latency (s), fortio's buckets, at the end", fontsize=7.5, labelpad=2, color=INK)
    if panel["record"]:
        axes.legend(loc="upper right", fontsize=7, frameon=False, labelcolor=INK)


def _percent(percent: float) -> str:
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def _range(buckets: dict[str, Any], k: int) -> str:
    start, end = buckets["starts"][k], buckets["ends"][k]
    return f"{start:g}\N{EN DASH}{end:g}" if end is not None else f"over {start:g}"
