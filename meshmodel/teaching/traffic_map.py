"""The mesh as boxes and arrows, in SVG: the load, the callers, and each pod with its share of the answers and of the errors.

An arrow is as wide as its share of the requests, and coloured by the errors that come back over it, as Kiali colours its edges.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from meshmodel._text import shortened, visible
from meshmodel.results.replay import Replay
from meshmodel.results.tally import FIRST_POD
from meshmodel.scenario import Route, callers_of, calls_of, way_to_the_last
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.theatre.stage import circled

WIDE, BOX, HIGH, GAP, TOP = 600, 190, 38, 14, 8
LETTER = 7.4
"""How wide a letter is: names are cut to their boxes."""

FILLED = 0.8
"""Of a hop's part of the width, what its box takes; the way to it takes the rest."""

_STYLE = "width:100%;max-width:720px;height:auto;font:13px system-ui,sans-serif"
_SMALL = 'font-size="11" opacity="0.85"'
MOST_PODS = 24


class Flow(NamedTuple):
    """Who answered: share of all requests, and the share of errors among these."""

    name: str
    share: float
    errors: float


def flows(replay: Replay) -> list[Flow]:
    """Of each pod of the last hop, of the proxy, and of nobody (the client gave up), by share over all replications."""
    requests = max(1, int(replay.requests.sum()))
    answered, good = replay.counts.answers.sum(axis=1), replay.counts.good.sum(axis=1)
    names = ("nobody: the client gave up", "a proxy itself", *replay.pod_names)
    found = [Flow(name, n / requests, 1 - g / n if n else 0.0) for name, n, g in zip(names, answered.tolist(), good.tolist(), strict=True)]
    return found[FIRST_POD:] + [flow for flow in found[1::-1] if flow.share]


def traffic_map(replay: Replay) -> str:
    """The map as an SVG element with an accessible name, below a line that says its finding."""
    ends, routes = flows(replay), replay.scenario.routes
    shown = ends if len(ends) <= MOST_PODS else sorted(ends, key=lambda flow: -flow.share * (1 + flow.errors))[:MOST_PODS]
    places, hops = _places(routes), ["load", *calls_on_the_way(routes)]
    pods, widest = max(2, len(shown)) * (HIGH + GAP) + TOP + GAP, max(column for column, _ in places.values())
    step = min((WIDE - BOX - 26) / max(1, len(hops)), (WIDE - 4) / (widest + FILLED))
    middle, last = pods / 2, WIDE - BOX
    beside = widest >= len(hops)  # further to the right than the way's own boxes: below the pods
    rows = [middle, *(HIGH + GAP) * np.arange(1, len(places)) + (pods - HIGH / 2 if beside else middle)]
    spots = {hop: _spot(place, rows, step) for hop, place in places.items()}
    boxes = [_hop(name, *spots[hop], step) for hop, name in _names(routes).items()]
    boxes += [_call(spots[caller], spots[hop], step) for hop, caller in enumerate(callers_of(routes))]
    start = 2 + (len(hops) - 1) * step + FILLED * step
    for k, flow in enumerate(shown):
        y = TOP + k * (HIGH + GAP) + HIGH / 2
        boxes.append(_arrow(start, middle, last, y, flow) + _pod(last, y, flow))
    said = "; ".join(f"{flow.name} {flow.share:.1%} of the answers ({flow.errors:.1%} errors)" for flow in ends)
    name = html.escape(f"Traffic map: {' → '.join(hops)}; {said}", quote=True)
    height = max(pods, rows[max(row for _, row in places.values())] + HIGH / 2 + GAP)
    title = f'<p style="margin:0 0 6px;font-weight:600">{html.escape(finding(ends))}</p>'
    return f'{title}<svg role="img" aria-label="{name}" viewBox="0 0 {WIDE} {height:g}" style="{_STYLE}">{"".join(boxes)}</svg>'


def finding(ends: Sequence[Flow]) -> str:
    """Who answers most, and how much of everything fails."""
    most, failing = max(ends, key=lambda flow: flow.share), sum(flow.share * flow.errors for flow in ends)
    return f"{visible(most.name)} answers {100 * most.share:.1f} % of the calls, {100 * failing:.1f} % of all fail"


def calls_on_the_way(routes: Sequence[Route]) -> list[str]:
    """What is called on the way to the pods that are shown, and after which other call of the same pod."""
    callers, way = callers_of(routes), way_to_the_last(routes)
    names = [visible(route.host.split(".")[0]) for route in routes]
    before = [[names[other] for other in range(hop) if callers[other] == callers[hop]] for hop in way]
    return [names[hop] + (f", after {', '.join(each)}" if each else "") for hop, each in zip(way, before, strict=True)]


Place = tuple[int, int]
"""Column and row of a box: row 0 is the way to the pods that are shown."""


def _places(routes: Sequence[Route]) -> dict[int, Place]:
    """Where each box stands, -1 the load's: calls beside the way below it, those of the last caller first, so that no line crosses."""
    way = way_to_the_last(routes)
    at, row = {-1: (0, 0)} | {hop: (column, 0) for column, hop in enumerate(way, start=1)}, 0
    for caller in (*way[::-1], -1):
        for hop in calls_of(routes, caller):
            if hop not in at:
                row = _put(routes, hop, (at[caller][0] + 1, row + 1), at)
    return at


def _put(routes: Sequence[Route], hop: int, place: Place, at: dict[int, Place]) -> int:
    """A call beside the way, and all that is called from it, to its right and below; returns the last row taken."""
    at[hop], row = place, place[1]
    for number, inner in enumerate(calls_of(routes, hop)):
        row = _put(routes, inner, (place[0] + 1, row + (number > 0)), at)
    return row


def _names(routes: Sequence[Route]) -> dict[int, str]:
    """What stands in each box: the Service, behind its number where a pod makes several calls."""
    named = {-1: "load"}
    for caller in range(-1, len(routes)):
        calls = calls_of(routes, caller)
        for number, hop in enumerate(calls, start=1):
            named[hop] = f"{circled(number)} " * (len(calls) > 1) + visible(routes[hop].host.split(".")[0])
    return named


def _spot(place: Place, rows: Sequence[float], step: float) -> tuple[float, float]:
    """The left edge of a box, and the height of its middle."""
    column, row = place
    return 2 + column * step, float(rows[row])


def _colour(flow: Flow) -> str:
    """The role's colour of the page around, where it has one."""
    role = "healthy" if flow.errors < 0.001 else "troubled" if flow.errors < 0.05 else "proxy"
    return f"var(--{role}, {ROLES[role].light})"


def _hop(name: str, x: float, y: float, step: float) -> str:
    wide = FILLED * step
    return _box(x, y, wide, "currentColor", 0.4) + _words(x + wide / 2, y + 5, name, wide, 'text-anchor="middle"')


def _call(caller: tuple[float, float], called: tuple[float, float], step: float) -> str:
    """The arrow of a call: straight on, or from below its caller down and to the right."""
    (x, y), (to, at) = caller, called
    begin = f"M{x + FILLED * step:.1f} {y:g}" if y == at else f"M{x + FILLED * step / 2:.1f} {y + HIGH / 2:g}V{at:g}"
    line = f"{begin}H{to:.1f}m-5 -4l5 4l-5 4"
    return f'<path d="{line}" fill="none" stroke="currentColor" stroke-opacity="0.5" stroke-width="1.5"/>'


def _box(x: float, y: float, wide: float, colour: str, opacity: float = 1) -> str:
    outline = f"fill:none;stroke:{colour};stroke-opacity:{opacity:g};stroke-width:1.5"
    return f'<rect x="{x:.1f}" y="{y - HIGH / 2:g}" width="{wide:.1f}" height="{HIGH}" rx="7" style="{outline}"/>'


def _words(x: float, y: float, words: str, wide: float, style: str = "") -> str:
    """A text cut to `wide`; the whole of it when pointed at."""
    shown = shortened(words, max(3, int((wide - 12) / LETTER)))
    return f'<text x="{x:.1f}" y="{y:g}" fill="currentColor" {style}><title>{html.escape(words)}</title>{html.escape(shown)}</text>'


def _arrow(x: float, y: float, to: float, at: float, flow: Flow) -> str:
    width = 1 + 14 * float(np.sqrt(flow.share))
    bend = (x + to) / 2
    way = f"M{x:.1f} {y:g}C{bend:.1f} {y:g} {bend:.1f} {at:g} {to:g} {at:g}"
    return f'<path d="{way}" fill="none" style="stroke:{_colour(flow)}" stroke-width="{width:.1f}" stroke-opacity="0.75"/>'


def _pod(x: float, y: float, flow: Flow) -> str:
    said = f"{flow.share:.1%}" + (f", {flow.errors:.1%} errors" if flow.errors else "")
    name, share = (x + 8, y - 3, visible(flow.name), BOX), (x + 8, y + 13, said, BOX * 1.2, _SMALL)
    return _box(x, y, BOX - 4, _colour(flow)) + _words(*name) + _words(*share)
