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
from meshmodel.scenario import Route, callers_of, way_to_the_last
from meshmodel.teaching.palette import ROLES

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
    """The map as an SVG element with an accessible name."""
    ends = flows(replay)
    shown = ends if len(ends) <= MOST_PODS else sorted(ends, key=lambda flow: -flow.share * (1 + flow.errors))[:MOST_PODS]
    hops = ["load", *calls_on_the_way(replay.scenario.routes)]
    height = max(2, len(shown)) * (HIGH + GAP) + TOP + GAP
    middle, last = height / 2, WIDE - BOX
    step = (last - 26) / max(1, len(hops))
    parts = [_hop(name, 2 + k * step, middle, step) for k, name in enumerate(hops)]
    start = 2 + (len(hops) - 1) * step + FILLED * step
    for k, flow in enumerate(shown):
        y = TOP + k * (HIGH + GAP) + HIGH / 2
        parts.append(_arrow(start, middle, last, y, flow) + _pod(last, y, flow))
    said = "; ".join(f"{flow.name} {flow.share:.1%} of the answers, {flow.errors:.1%} of them errors" for flow in ends)
    name = html.escape(f"Traffic map: {' to '.join(hops)}; {said}", quote=True)
    return f'<svg role="img" aria-label="{name}" viewBox="0 0 {WIDE} {height:g}" style="{_STYLE}">{"".join(parts)}</svg>'


def calls_on_the_way(routes: Sequence[Route]) -> list[str]:
    """What is called on the way to the pods that are shown, and after which other call of the same pod."""
    callers, way = callers_of(routes), way_to_the_last(routes)
    names = [visible(route.host.split(".")[0]) for route in routes]
    before = [[names[other] for other in range(hop) if callers[other] == callers[hop]] for hop in way]
    return [names[hop] + (f", after {', '.join(each)}" if each else "") for hop, each in zip(way, before, strict=True)]


def _colour(flow: Flow) -> str:
    """The role's colour of the page around, where it has one."""
    role = "healthy" if flow.errors < 0.001 else "troubled" if flow.errors < 0.05 else "proxy"
    return f"var(--{role}, {ROLES[role].light})"


def _hop(name: str, x: float, y: float, step: float) -> str:
    wide = FILLED * step
    way = f"M{x - (1 - FILLED) * step:.1f} {y:g}H{x:.1f}"
    line = f'<path d="{way}" fill="none" stroke="currentColor" stroke-opacity="0.4" stroke-width="2"/>' if x > 10 else ""
    called, _, after = name.partition(", ")
    middle = x + wide / 2
    words = _words(middle, y + (-2 if after else 5), called, wide, 'text-anchor="middle"')
    if after:
        words += _words(middle, y + 12, after, wide * 1.2, f'text-anchor="middle" {_SMALL}')
    return line + _box(x, y, wide, "currentColor", 0.4) + words


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
