"""The map: zones as boxes, arrows as wide as their share of the calls and coloured by their errors, as Kiali draws them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from meshmodel._text import label
from meshmodel.results.replay import Replay
from meshmodel.rules.locality import level_loads
from meshmodel.scenario import Caller, Endpoint
from meshmodel.teaching.canvas import COLOUR, FAINT, INK, SMALL, WIDTH, canvas, named, say
from meshmodel.teaching.palette import ROLES, fails
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

_FINE, _ILL, _BAD = ROLES["healthy"].light, ROLES["troubled"].light, ROLES["proxy"].light


_ROW, _NAME = 0.48, 0.7
"""Inches of a pod's row, and how many rows the name of a zone takes."""


class Part(NamedTuple):
    """What a pod did: its share of all requests, and the share of its own answers that failed."""

    share: float
    errors: float


def parts(replay: Replay) -> dict[str, Part]:
    """Pod (and "envoy", where the proxy answered itself) -> its part, over all replications."""
    names = (*replay.pod_names, "nobody", "envoy")
    asked = replay.log.code != -2
    who, failed = replay.log.endpoint[asked] % len(names), replay.log.code[asked] >= 400
    total, bad = np.bincount(who, minlength=len(names)), np.bincount(who[failed], minlength=len(names))
    return {name: Part(float(n / max(1, total.sum())), float(b / max(1, n))) for name, n, b in zip(names, total, bad, strict=True)}


def zones(replay: Replay, *, width: float = WIDTH) -> Picture:
    """The last route: its caller, the zones with their pods and priorities, and who answered how much."""
    says, high = finding(replay), height(replay)
    picture, (axes,) = sheet(says, width, high)
    picture.alt_text = f"{says}. {draw_zones(axes, replay, picture.get_figwidth())}"
    picture.tell("who answered", told(replay))
    return picture


def height(replay: Replay) -> float:
    """Inches that the map takes: a row a pod, and less than one for the name of each zone."""
    pods = replay.scenario.routes[-1].endpoints
    return _ROW * (len(pods) + _NAME * len({pod.locality for pod in pods})) + 0.1


def finding(replay: Replay) -> str:
    """How much of the load stays in its caller's zone, or is answered by whom most; and how much of it fails."""
    route, found = replay.scenario.routes[-1], parts(replay)
    here = route.callers[0].locality
    failing = _percent(sum(part.share * part.errors for part in found.values()))
    if here and any(pod.locality for pod in route.endpoints):
        stays = _percent(sum(found[pod.name].share for pod in route.endpoints if pod.locality == here))
        return f"{stays} of the calls stay in {label(here.split('/')[-1])}, {failing} of all fail"
    most = max(route.endpoints, key=lambda pod: found[pod.name].share).name
    return f"{label(most)} answers {_percent(found[most].share)} of the calls, {failing} of all fail"


def told(replay: Replay) -> dict[str, list[Any]]:
    """The map as the columns of a table: every pod of the last route, and the proxy where it answered itself."""
    found, pods = parts(replay), {pod.name: pod.locality or "no locality" for pod in replay.scenario.routes[-1].endpoints}
    names = [*pods, *["envoy"] * (found["envoy"].share > 0)]
    share, failing = ([100 * part[k] for part in map(found.__getitem__, names)] for k in (0, 1))
    return {"who": names, "locality": [pods.get(name, "-") for name in names], "share (%)": share, "of it errors (%)": failing}


def draw_zones(axes: Axes, replay: Replay, width: float) -> str:
    """The map in inches; returns what it says."""
    route = replay.scenario.routes[-1]
    caller, cluster = route.callers[0], route.destinations[0].cluster
    priorities = cluster.priorities[0] if cluster.priorities else (0,) * len(cluster.endpoints)
    zoned: dict[tuple[int, str], list[Endpoint]] = defaultdict(list)
    for pod, priority in zip(cluster.endpoints, priorities, strict=True):
        zoned[priority, pod.locality].append(pod)
    found, top, left, right = parts(replay), height(replay), max(2.1, 0.42 * width), width - 0.12
    source = (1.45, top / 2)
    _caller(axes, caller, source)
    if found["envoy"].share > 0.0005:
        say(axes, 0.15, source[1] - 0.5, f"answered by itself:\n{_percent(found['envoy'].share)} (503)", va="top", fontsize=9, color=_BAD)
    several, said = len(set(priorities)) > 1, []
    for (priority, locality), pods in sorted(zoned.items()):
        bottom = top - _ROW * (len(pods) + _NAME) + 0.08
        axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                right - left,
                top - bottom - 0.06,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=FAINT,
                edgecolor=INK,
            )
        )
        name = locality or "no locality"
        zone = f"{name.split('/')[-1]}, priority {priority}" if several else name.split("/")[-1]
        say(axes, left + 0.12, top - 0.12, label(zone), va="top", fontsize=9, fontweight="bold")
        for k, pod in enumerate(pods):
            y = top - _ROW * (k + 1.05) - 0.06
            said.append(_pod(axes, pod, found[pod.name], source, (left + 0.2, y), right, zone))
        top -= _ROW * (len(pods) + _NAME)
    if found["envoy"].share > 0.0005:
        said.append(f"the proxy answered {_percent(found['envoy'].share)} itself")
    return f"Map of the calls of {caller.name}: " + "; ".join(said)


def _caller(axes: Axes, caller: Caller, at: tuple[float, float]) -> None:
    x, y = at
    axes.add_patch(
        FancyBboxPatch((0.12, y - 0.27), x - 0.12, 0.54, boxstyle="round,pad=0,rounding_size=0.08", facecolor="none", edgecolor=INK)
    )
    zone = caller.locality.split("/")[-1] if caller.locality else ""
    say(axes, (x + 0.12) / 2, y, "\n".join(map(label, filter(None, (caller.name, zone)))), ha="center", va="center", fontsize=9)


def _pod(axes: Axes, pod: Endpoint, part: Part, source: tuple[float, float], at: tuple[float, float], right: float, zone: str) -> str:
    x, y = at
    colour = _FINE if part.errors < 0.001 else _ILL if part.errors < 0.2 else _BAD
    if part.share > 0:
        axes.plot(
            [source[0], x], [source[1], y], color=colour, linewidth=max(0.8, 16 * part.share), alpha=0.75, solid_capstyle="butt", zorder=0.5
        )
    axes.plot([x], [y], "o", color=_ILL if fails(pod.behaviour) else _FINE, markersize=9)
    failing = f", {_percent(part.errors)} fail" if part.errors >= 0.0005 else ""
    below = right - x < 2.9  # a narrow page
    say(axes, x + 0.16, y + 0.08 * below, label(pod.name), va="center", fontsize=9)
    side: dict[str, Any] = {"x": x + 0.16, "y": y - 0.09, "ha": "left"} if below else {"x": right - 0.1, "y": y, "ha": "right"}
    say(axes, **side, text=f"{_percent(part.share)}{failing}", va="center", fontsize=9, fontweight="bold")
    return f"{pod.name} in {zone} {_percent(part.share)}{failing}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.0995 else f"{100 * share:.1f} %"


def stays_local(cases: Sequence[tuple[int, int]] = ((1, 2), (2, 3), (5, 7)), *, width: float = WIDTH) -> Picture:
    """Percent of the load that the best level keeps against its healthy pods, the next level being well; `cases` are (healthy, all)."""
    picture, (axes,) = canvas("A zone keeps all of its load until two of seven pods are gone", 2.5, right=0.3, width=width)
    share = np.arange(101)
    axes.plot(
        share, [level_loads([healthy, 1], [100, 1])[0] for healthy in share.tolist()], color=COLOUR["model"], linewidth=2.4, label="Envoy"
    )
    axes.plot(share, share, color=INK, linestyle="--", linewidth=1.4, label="without the factor 1.4")
    say(axes, 70, 58, "without the factor 1.4", fontsize=SMALL)
    kept = {(healthy, pods): level_loads([healthy, 1], [pods, 1])[0] for healthy, pods in cases}
    for (healthy, pods), percent in kept.items():
        axes.plot(100 * healthy / pods, percent, "D", color=COLOUR["proxy"], markersize=8, label="cases")
        at = 100 * healthy / pods
        x, y, side = (at + 1, percent + 3, "left") if percent == 100 else (at - 3, percent + 1, "right")
        say(axes, x, y, f"{healthy} of {pods}: {percent} %", "proxy", ha=side, va="bottom", fontsize=SMALL)
    axes.set(xlim=(0, 100), ylim=(0, 112))
    named(axes, "healthy local pods (%)", "load that stays local (%)")
    told = ", ".join(f"{healthy} of {pods} healthy {percent} %" for (healthy, pods), percent in kept.items())
    picture.alt_text = f"Load that stays local: 1.4 times the share of healthy pods, and all of it from 71.4 % on; {told}"
    return picture
