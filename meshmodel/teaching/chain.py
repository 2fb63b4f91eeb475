"""A drawing of the testbed: who calls whom, one box a pod, one arrow a route, from the manifests applied.

Boxes show what the manifests say (a pod's slowest timing and its error rate); the gateway's and each
caller's arrow carries the load-balancing policy of the route.  See `plots` for `Picture`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from meshmodel.scenario import Behaviour, ClosedLoop, Scenario, way_to_the_last
from meshmodel.teaching.palette import BLACK, ROLES, troubled
from meshmodel.teaching.plots import Picture, bare_picture

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

_CALLER = "0.92"
_LEFT, _WIDE = 0.01, 0.2  # parts of the picture
_HIGH = 0.46  # inches


def chain(subject: Mesh | Scenario, *, width: float = 7.5) -> Picture:
    """The chain that a request takes: the load, each calling proxy, the pods of the last Service."""
    scenario = subject if isinstance(subject, Scenario) else subject.copy().scenario(ClosedLoop(calls=1))
    pods = scenario.endpoints
    height = max(1.5, 0.62 * len(pods) + 0.3)
    picture = bare_picture(width, height)
    axes = picture.axes[0]
    way = [scenario.routes[hop] for hop in way_to_the_last(scenario.routes)]
    callers = [route.callers[0].name if len(route.callers) == 1 else f"{len(route.callers)} callers" for route in way]
    columns = len(callers) + 2
    xs = [_LEFT + k * (1 - _WIDE - 2 * _LEFT) / (columns - 1) for k in range(columns)]
    for k, name in enumerate(["the load\n(curl or fortio)", *callers]):
        _box(axes, xs[k], 0.5, _HIGH / height, name, _CALLER)
        if k:
            _arrow(axes, xs[k - 1], 0.5, xs[k], 0.5)
    bad = troubled(scenario)
    for j, pod in enumerate(pods):
        y = 1 - (j + 0.5) / len(pods)
        role = ROLES["troubled" if pod.name in bad else "healthy"]
        _box(axes, xs[-1], y, _HIGH / height, f"{pod.name}\n{_says(pod.behaviour)}", role.light, BLACK)
        _arrow(axes, xs[-2], 0.5, xs[-1], y)
    policy = ", ".join(sorted({d.cluster.load_balancing for d in scenario.routes[-1].destinations}))
    axes.text(xs[-2] + _WIDE / 2, 0.5 - 0.72 * _HIGH / height, policy, ha="center", va="top", fontsize=8, style="italic")
    told = "; ".join(f"{pod.name}, {_says(pod.behaviour)}" for pod in pods)
    picture.alt_text = (
        f"The chain of calls: the load, then {', then '.join(callers)}, which picks by {policy} one of {len(pods)} pods: {told}"
    )
    return picture


def _says(behaviour: Behaviour) -> str:
    timing = " to ".join(f"{t:g}" for t in sorted({behaviour.timings[0], behaviour.timings[-1]})) + " s"
    return f"{timing}, ERROR_RATE {behaviour.error_rate:g}" if behaviour.error_rate else timing


def _box(axes: Axes, x: float, y: float, high: float, label: str, face: str, text: str = BLACK) -> None:
    shape = FancyBboxPatch((x, y - high / 2), _WIDE, high, boxstyle="round,pad=0,rounding_size=0.015", facecolor=face, edgecolor="0.35")
    axes.add_patch(shape)
    axes.text(x + _WIDE / 2, y, label, ha="center", va="center", fontsize=8.5, color=text)


def _arrow(axes: Axes, x0: float, y0: float, x1: float, y1: float) -> None:
    axes.annotate("", (x1, y1), (x0 + _WIDE, y0), arrowprops={"arrowstyle": "->", "color": "0.3", "shrinkA": 2, "shrinkB": 2})
