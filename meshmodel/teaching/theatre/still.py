"""The still twin, for paper and for readers without widgets: the stage at its fullest, and the histogram at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch

from meshmodel._text import shortened
from meshmodel.teaching.canvas import FAINT, INK, LEAST, SMALL, WIDTH, canvas, say
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.theatre.events import EJECTED
from meshmodel.teaching.theatre.moves import BACK, BACK_OFF, GHOST, KIND, OUT, QUEUE, WAIT, WORK
from meshmodel.teaching.theatre.packing import unpack
from meshmodel.teaching.theatre.spec import heading

ANSWERED = ("healthy", "troubled", "proxy", "proxy")
"""The role of who answered, by `spec.HEALTHY` and so on."""

_LEFT_EDGE, _STAGE, _HISTOGRAM = 0.1, 3.85, 2.1
"""Inches: left of the stage, its width, and that of the histogram."""

_LEFT, _POD = 0.03, 0.36
"""Of the stage's width: where the load stands, and how wide a pod is."""

_LETTERS = 15
"""So many letters of a pod's name stand in its box."""

_GAP = 0.5
"""Of a column's width, where buckets are left out."""

Point = tuple[float, float]


def still(spec: dict[str, Any], data: Sequence[bytes]) -> Picture:
    """A picture of all panels below one another, histogram beside stage; its alternative text says what each trace came to."""
    panels = spec["panels"]
    heights = [max(1.5, 0.2 + 0.52 * _rows(panel["stage"])) for panel in panels]
    tables = [unpack(part, panel["layout"]) for panel, part in zip(panels, data, strict=True)]
    says = "; ".join(map(_finding, panels, tables))
    picture, stages = canvas(f"{spec['title']}. {says}", *heights, left=_LEFT_EDGE, right=WIDTH - _LEFT_EDGE - _STAGE, gap=0.72)
    tallest = max(_tallest(panel, mine) for panel, mine in zip(panels, tables, strict=True))
    for panel, mine, axes in zip(panels, tables, stages, strict=True):
        _draw_stage(axes, panel, mine, spec["still"])
        _draw_histogram(_beside(picture, axes), panel, mine, spec["buckets"], tallest, axes is stages[-1])
    picture.alt_text = f"{spec['title']}. " + " ".join(panel["told"] for panel in panels)
    return picture


def _finding(panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]]) -> str:
    """How many of the requests that end do so well."""
    code = tables["requests"]["code"]
    ended = code[(code > 0) | (code == -1)]
    return f"{panel['name']}: {((ended > 0) & (ended < 400)).sum()} of {len(ended)} requests succeed"


# --- the stage -------------------------------------------------------------------------------


def _draw_stage(axes: Axes, panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], time: float) -> None:
    stage = panel["stage"]
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"{heading(panel['name'], panel['says'])}, at {time:.2f} s", loc="left", fontsize=SMALL, color=INK)
    at = _places(stage)
    for station, before in enumerate(stage["before"][1:], start=1):
        wires = [(at[one], at[other]) for one in stage["stations"][before] for other in stage["stations"][station]]
        axes.add_collection(LineCollection(wires, colors=INK, alpha=0.35, linewidths=0.8, zorder=1))
    half = 0.42 / _rows(stage)
    _draw_proxies(axes, stage, at, _waiting(stage, tables, time))
    _draw_pods(axes, stage, at, half, _ejected(tables["hosts"], time))
    most = max(panel["peaks"]["work"][place] + panel["peaks"]["queue"][place] for place in stage["pods"])
    dots = list(_dots(stage, tables, time, at, _Seats(half, most)))
    if dots:
        xs, ys, roles, ghosts = zip(*dots, strict=True)
        colours = [ROLES[role].light if role in ROLES else INK for role in roles]
        faces = ["none" if ghost else colour for ghost, colour in zip(ghosts, colours, strict=True)]
        size = 26 if most <= 30 else 10 if most <= 80 else 4
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


def _draw_proxies(axes: Axes, stage: dict[str, Any], at: dict[int, Point], waiting: dict[int, int]) -> None:
    """Squares with their names and how many requests wait there, below and above by turns: neighbours' names would meet."""
    away = min(0.1, 0.4 / _rows(stage))
    for station, depth in enumerate(_depths(stage)):
        for place in () if station in stage["ends"] else stage["stations"][station]:
            name = f"{stage['order'][station]} {stage['names'][place]}".lstrip()
            below = depth % 2 == 0 or len(stage["stations"][station]) > 1
            _draw_proxy(axes, at[place], name + f"\n{waiting.get(place)} waiting" * (place in waiting), depth == 0, below, away)


def _waiting(stage: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], time: float) -> dict[int, int]:
    """How many requests stand at each proxy: for a connection, or before a retry."""
    moves, visits = tables["moves"], tables["visits"]
    now = (moves["start"] <= time) & (moves["stop"] > time) & np.isin(moves["kind"] & KIND, (WAIT, BACK_OFF))
    return dict(Counter(visits["origin"][moves["visit"][now]].tolist()))


def _draw_pods(axes: Axes, stage: dict[str, Any], at: dict[int, Point], half: float, out: set[int]) -> None:
    """The boxes of the pods; where a pod calls several Services, with what is called above them, and which call it is."""
    for station in stage["ends"]:
        places = stage["stations"][station]
        for place in places:
            _draw_pod(axes, at[place], half, stage["short"][place], stage["roles"][place], place in out)
        if _heading(stage) and places:
            x, y = at[places[0]]
            told = f"{stage['order'][station]} {stage['called'][station]}".lstrip()
            say(axes, x, y + 1.3 * half, told, va="bottom", fontsize=LEAST, fontweight="bold", zorder=5)


def _draw_proxy(axes: Axes, at: Point, name: str, first: bool, below: bool, away: float) -> None:
    x, y = at
    axes.plot(x, y, "s", color="none", markeredgecolor=INK, markersize=11, zorder=2)
    y += -away if below else away
    say(axes, 0.0 if first else x, y, name, ha="left" if first else "center", va="top" if below else "bottom", fontsize=LEAST, zorder=5)


def _draw_pod(axes: Axes, at: Point, half: float, name: str, role: str, ejected: bool) -> None:
    x, y = at
    style: dict[str, Any] = {"linestyle": "--", "edgecolor": ROLES["proxy"].light} if ejected else {"edgecolor": INK}
    box = FancyBboxPatch((x, y - half), _POD, 2 * half, boxstyle="round,pad=0,rounding_size=0.015", facecolor=FAINT, zorder=2, **style)
    axes.add_patch(box)
    axes.plot([x, x], [y - 0.7 * half, y + 0.7 * half], color=ROLES[role].light, linewidth=3, zorder=3)
    if ejected:
        say(
            axes,
            x + _POD - 0.015,
            y - 0.85 * half,
            "ejected",
            ha="right",
            va="bottom",
            fontsize=LEAST,
            color=ROLES["proxy"].light,
            zorder=5,
        )
    say(axes, x + 0.03, y + 0.78 * half, shortened(name, _LETTERS), va="top", fontsize=LEAST, zorder=5)


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
        return pod[0] + 0.025 + column * (_POD - 0.04) / self.across, pod[1] + self.half * (0.2 - 1.1 * deep / self.rows)


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


def _beside(picture: Picture, stage: Axes) -> Axes:
    """The axes of the histogram beside a stage."""
    place, wide = stage.get_position(), _HISTOGRAM / WIDTH
    return picture.add_axes((0.97 - wide, place.y0, wide, 0.92 * place.height), facecolor="none")


def _draw_histogram(
    axes: Axes, panel: dict[str, Any], tables: dict[str, dict[str, np.ndarray]], buckets: dict[str, Any], tallest: float, lowest: bool
) -> None:
    counts = _counts(panel, tables)
    x = np.arange(counts.shape[1]) + _GAP * np.isin(np.arange(counts.shape[1]), buckets["gaps"]).cumsum()
    floor = np.zeros(counts.shape[1])
    for role, row in zip(ANSWERED, counts, strict=True):
        axes.bar(x, row, 0.84, bottom=floor, color=ROLES[role].light, hatch="xxx" if role == "proxy" else "", edgecolor="none", linewidth=0)
        floor += row
    if panel["record"]:
        recorded = np.array(panel["record"]["shares"]) * counts.sum()
        axes.bar(x, recorded, 0.96, facecolor="none", edgecolor=INK, linestyle="--", linewidth=1.1, label="the record")
    wide = max(4.0, len(x) + _GAP * len(buckets["gaps"]))
    for column in _apart(x, counts.sum(axis=0), 0.5 * wide / _HISTOGRAM):
        share = _percent(100 * counts[:, column].sum() / counts.sum())
        say(axes, x[column], counts[:, column].sum() + 0.02 * tallest, share, ha="center", va="bottom", fontsize=LEAST)
    axes.set(ylim=(0, 1.16 * tallest), xlim=(-0.6, wide - 0.4), yticks=[], xticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    for at, text, side in _edges(buckets, x, wide / _HISTOGRAM):
        axes.annotate(
            text, (at, 0), (0, -4), textcoords="offset points", ha=side, va="top", fontsize=LEAST, color=INK, annotation_clip=False
        )
    axes.set_xlabel("latency (s), at the end" if lowest else "", fontsize=LEAST, labelpad=19, color=INK)
    if panel["record"]:
        axes.set_title("dashed: the record", loc="right", fontsize=LEAST, color=INK)


def _apart(x: np.ndarray, count: np.ndarray, least: float) -> list[int]:
    """The columns whose shares are written: the highest, and others so far from these that the texts do not meet."""
    kept: list[int] = []
    for column in np.argsort(-count, kind="stable").tolist():
        if count[column] and all(abs(x[column] - x[other]) >= least for other in kept):
            kept.append(column)
    return kept


def _edges(buckets: dict[str, Any], x: np.ndarray, inch: float) -> list[tuple[float, str, str]]:
    """(position, seconds, side of its text) of the buckets' edges: those beside a gap first, and of the others as many as have room."""
    starts, ends = [0, *buckets["gaps"]], [*buckets["gaps"], len(x)]
    wanted = [(x[k] - 0.5, buckets["starts"][k], "left") for k in starts]
    wanted += [(x[k - 1] + 0.5, buckets["ends"][k - 1], "right") for k in ends[::-1] if buckets["ends"][k - 1] is not None]
    wanted += [(x[k] - 0.5, buckets["starts"][k], "center") for k in range(len(x)) if k not in starts]
    kept: list[tuple[float, str, str]] = []
    taken: list[tuple[float, float]] = []
    for at, seconds, side in wanted:
        text = f"{seconds:.3g}"
        wide = inch * 0.62 * LEAST / 72 * len(text)
        left = at - {"left": 0.0, "center": 0.5, "right": 1.0}[side] * wide
        if all(left > end + 0.05 * inch or left + wide < start - 0.05 * inch for start, end in taken):
            kept.append((float(at), text, side))
            taken.append((left, left + wide))
    return kept


def _percent(percent: float) -> str:
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"
