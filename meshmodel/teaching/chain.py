"""A drawing of the testbed: who calls whom, one box a pod, one arrow a route, from the manifests applied.

Boxes show what the manifests say (a pod's slowest timing and its error rate); the gateway's and each
caller's arrow carries the load-balancing policy of the route.  See `plots` for `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from meshmodel.scenario import Behaviour, ClosedLoop, Route, Scenario, callers_of, calls_of
from meshmodel.teaching.canvas import INK, WIDTH, say
from meshmodel.teaching.palette import BLACK, ROLES, troubled
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet
from meshmodel.teaching.theatre.stage import circled
from meshmodel.teaching.words import drawn, lines

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

_LEFT, _WIDE = 0.01, 0.2  # parts of the picture
_HIGH, _ROW = 0.56, 0.68  # inches
_LETTER = 0.07
"""Inches, of the width of a letter: a name that is longer than its box is broken behind a hyphen."""

Point = tuple[float, float]


def chain(subject: Mesh | Scenario, *, width: float = WIDTH) -> Picture:
    """The way that a request takes: the load, each calling proxy, the pods that call nobody; below one another what a pod calls in turn."""
    scenario = subject if isinstance(subject, Scenario) else subject.copy().scenario(ClosedLoop(calls=1))
    tree = _Tree(scenario.routes)
    height = max(1.5, _ROW * tree.rows + 0.1)
    says = tree.finding(scenario)
    picture, (axes,) = sheet(says, width, height)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    steps, box = tree.deepest + 2, (min(_WIDE, 0.86 / (tree.deepest + 3)), _HIGH / height)
    xs = [_LEFT + k * (1 - box[0] - 2 * _LEFT) / steps for k in range(steps + 1)]
    _box(axes, (xs[0], 0.5), box, "the load\n(curl or fortio)")
    _arrow(axes, (xs[0] + box[0], 0.5), (xs[1], 0.5))
    for caller, hops in tree.calls.items():
        x, y = xs[tree.depth[caller] + 1], tree.middle(caller)
        _box(axes, (x, y), box, tree.ordered(caller, tree.who(caller)))
        say(axes, x + box[0] / 2, y - 0.72 * _HIGH / height, tree.policies(caller), ha="center", va="top", fontsize=8.5, style="italic")
        for hop in hops:
            if hop in tree.calls:
                _arrow(axes, (x + box[0], y), (xs[tree.depth[hop] + 1], tree.middle(hop)))
            else:
                _draw_pods(axes, (x + box[0], y), xs[-1], tree, hop, troubled(scenario, hop), box)
    picture.alt_text = f"{says}. {tree.told()}"
    return picture


class _Tree:
    """The routes as the tree of calls: `calls[hop]` are those that the pods of route `hop` call, in order; -1: the load's proxy does."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = routes
        self.callers = callers_of(routes)
        every = {of: calls_of(routes, of) for of in range(-1, len(routes))}
        self.calls = {of: hops for of, hops in every.items() if hops}
        self.depth = {-1: 0}
        for hop, caller in enumerate(self.callers):
            self.depth[hop] = self.depth[caller] + 1
        self.deepest = max(self.depth[of] for of in self.calls)
        self.ends = self._ends(-1)
        self.rows = sum(len(routes[hop].endpoints) for hop in self.ends)

    def _ends(self, hop: int) -> list[int]:
        """The routes at the ends of what a route's pods call, in the order of the calls."""
        return [end for called in self.calls[hop] for end in self._ends(called)] if hop in self.calls else [hop]

    def row(self, end: int) -> int:
        """How many rows of pods stand above those of an end."""
        return sum(len(self.routes[hop].endpoints) for hop in self.ends[: self.ends.index(end)])

    def middle(self, hop: int) -> float:
        """Where beside the pods that it leads to a caller stands, from 0 (the bottom) to 1."""
        ends = self._ends(hop)
        return 1 - (self.row(ends[0]) + self.row(ends[-1]) + len(self.routes[ends[-1]].endpoints)) / (2 * self.rows)

    def who(self, caller: int) -> str:
        """Who makes the calls of a route's pods; where pods make several, by the name of their Service."""
        callers = self.routes[self.calls[caller][0]].callers
        several = f"{self.service(caller)}, {len(callers)} pods" if caller >= 0 and len(self.ends) > 1 else f"{len(callers)} callers"
        return callers[0].name if len(callers) == 1 else several

    def ordered(self, hop: int, name: str) -> str:
        """A name, behind the circled number that the call of the route has where a pod makes several."""
        mine = self.calls[self.callers[hop]] if hop >= 0 else [hop]
        return f"{circled(mine.index(hop) + 1)} {name}" if len(mine) > 1 else name

    def service(self, hop: int) -> str:
        return self.routes[hop].host.partition(".")[0]

    def policy(self, hop: int) -> str:
        return ", ".join(sorted({d.cluster.load_balancing for d in self.routes[hop].destinations}))

    def policies(self, caller: int) -> str:
        """By what a caller picks the pods that answer; each of its calls, where there are several."""
        hops = self.calls[caller]
        if len(hops) > 1:
            return "\n".join(self.ordered(hop, f"{self.service(hop)}: {self.policy(hop)}") for hop in hops)
        return self.policy(hops[0]) if hops[0] in self.ends else ""

    def finding(self, scenario: Scenario) -> str:
        """Who picks among how many pods by what, and which of these are slower or fail; of a tree, how many calls it is."""
        if len(self.ends) > 1:
            return f"One request of the load makes {len(self.routes)} calls inside the mesh"
        end = self.ends[0]
        pods, bad = self.routes[end].endpoints, sorted(troubled(scenario, end))
        who = self.who(self.callers[end])
        if len(pods) == 1:
            return f"{who} sends every request to one pod"
        odd = "" if not bad else f": {bad[0]} is slower or fails" if len(bad) == 1 else f": {len(bad)} of them are slower or fail"
        return f"{who} picks one of {len(pods)} pods by {self.policy(end)}{odd}"

    def told(self) -> str:
        if len(self.ends) == 1:
            way, end = ", then ".join(self.who(caller) for caller in self.calls), self.ends[0]
            return f"The chain of calls: the load, then {way}, which picks by {self.policy(end)} one of {self.pods(end)}"
        calls = "; ".join(f"{self.who(of)}: calls {', then '.join(map(self.service, hops))}" for of, hops in self.calls.items())
        ends = "; ".join(f"{self.service(end)} is {self.pods(end)}, picked by {self.policy(end)}" for end in self.ends)
        return f"The tree of calls: the load, then {calls}. {ends}"

    def pods(self, end: int) -> str:
        pods = self.routes[end].endpoints
        return f"{len(pods)} pod{'s' * (len(pods) > 1)}: {'; '.join(f'{pod.name}, {_says(pod.behaviour)}' for pod in pods)}"


def _draw_pods(axes: Axes, caller: Point, x: float, tree: _Tree, end: int, bad: frozenset[str], box: Point) -> None:
    """The pods of an end, each with an arrow from its caller."""
    for row, pod in enumerate(tree.routes[end].endpoints, start=tree.row(end)):
        y, role = 1 - (row + 0.5) / tree.rows, ROLES["troubled" if pod.name in bad else "healthy"]
        _box(axes, (x, y), box, f"{tree.ordered(end, pod.name)}\n{_says(pod.behaviour)}", role.light)
        _arrow(axes, caller, (x, y))


def _says(behaviour: Behaviour) -> str:
    timing = " to ".join(f"{t:g}" for t in sorted({behaviour.timings[0], behaviour.timings[-1]})) + " s"
    return f"{timing}, ERROR_RATE {behaviour.error_rate:g}" if behaviour.error_rate else timing


def _box(axes: Axes, at: Point, size: Point, label: str, face: str = "none") -> None:
    (x, y), (wide, high) = at, size
    shape = FancyBboxPatch((x, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.015", facecolor=face, edgecolor=INK)
    axes.add_patch(shape)
    figure = axes.get_figure(root=True)
    assert figure is not None
    letters = int(wide * figure.get_figwidth() / _LETTER)
    told = "\n".join(line for part in label.split("\n") for line in lines(drawn(part), letters))
    say(axes, x + wide / 2, y, told, ha="center", va="center", fontsize=8.5, color=INK if face == "none" else BLACK)


def _arrow(axes: Axes, start: Point, end: Point) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 2, "shrinkB": 2})
