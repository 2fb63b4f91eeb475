"""Figures of the storm: load that goes away and errors that stay, and the equilibria between which it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from meshmodel.analytic.retries import Equilibria, response_tail, storm_equilibria, storm_load
from meshmodel.results.replay import Replay
from meshmodel.scenario import OpenLoop
from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, canvas, named, said_apart, say, told_below
from meshmodel.teaching.picture import Picture

ROLES_OF_LINES = ("healthy", "proxy", "model", "troubled", "envoy")
"""Of several policies in one figure, in their order."""


class Storm(NamedTuple):
    """A run by the second, means over the replications, each shape (seconds,): requests that begin, tries that these
    requests make, good answers, all a second."""

    second: np.ndarray
    fresh: np.ndarray
    tries: np.ndarray
    good: np.ndarray


def storm(replay: Replay) -> Storm:
    """What an open loop came to, second by second, while requests arrive."""
    assert isinstance(replay.scenario.workload, OpenLoop)
    length = int(round(sum(segment[0] for segment in replay.scenario.workload.segments)))
    edges = np.arange(length + 1.0)
    sent = replay.log.code != -2
    start = replay.log.start[sent]
    fresh = np.histogram(start, edges)[0] / replay.replications
    tries = np.histogram(start, edges, weights=np.maximum(replay.log.attempts[sent], 0).astype(float))[0] / replay.replications
    table = replay.series(1.0)
    good = table["code 200"].to_numpy()[:length] if "code 200" in table else np.zeros(length)
    return Storm(edges[:-1], fresh, tries, np.pad(good, (0, length - len(good))))


def recovery(storm: Storm, after: float, rate: float, share: float = 0.9) -> float:
    """Seconds from `after` on until the good answers reach `share` of `rate` and stay there for two seconds; inf: they never do."""
    fine = storm.good >= share * rate
    for second in range(int(after), len(fine) - 1):
        if fine[second] and fine[second + 1]:
            return float(second - after)
    return np.inf


def storms(runs: Mapping[str, Storm], step: tuple[float, float], capacity: float, width: float = WIDTH) -> Picture:
    """Above what arrives, as a step, and the tries that it causes; below the good answers: a line a policy.

    step : (begin, end) of the overload in seconds.
    """
    says, told = _storms_say(runs, step)
    picture, (above, below) = canvas(says, 1.5, 2.0, right=1.75, width=width)
    _draw_storms(above, below, runs, step, capacity)
    picture.alt_text = f"{says}. Capacity {capacity:g} a second. {told}"
    return picture


def _usual(runs: Mapping[str, Storm]) -> float:
    return float(np.median(next(iter(runs.values())).fresh))


def _storms_say(runs: Mapping[str, Storm], step: tuple[float, float]) -> tuple[str, str]:
    """The finding, and when each policy recovers."""
    usual = _usual(runs)
    again = {name: recovery(run, step[1], usual) for name, run in runs.items()}
    never = [name for name, seconds in again.items() if np.isinf(seconds)]
    stays = (
        (f"with {' and '.join(never)} the errors stay" if len(runs) > 1 else "the errors stay")
        if never
        else "every policy recovers"
        if len(runs) > 1
        else "the mesh recovers"
    )
    told = "; ".join(f"{name} {'never' if np.isinf(s) else f'within {s:g} s'}" for name, s in again.items())
    most = next(iter(runs.values())).fresh.max()
    return (
        f"{step[1] - step[0]:g} s of overload: {stays}",
        f"{usual:.0f} requests a second, {most:.0f} during the overload. Good answers are back: {told}",
    )


def _draw_storms(above: Axes, below: Axes, runs: Mapping[str, Storm], step: tuple[float, float], capacity: float) -> None:
    first = next(iter(runs.values()))
    tallest = [1.1 * max(run.tries.max() for run in runs.values()), 1.2 * max(1.0, *(run.good.max() for run in runs.values()))]
    for axes, top, part, least in ((above, tallest[0], "tries", 0.13), (below, tallest[1], "good", 0.1)):
        ends = []
        for (name, run), role in zip(runs.items(), ROLES_OF_LINES, strict=False):
            axes.plot(run.second + 0.5, getattr(run, part), color=COLOUR[role], linewidth=2.2, label=name or part)
            ends.append((float(getattr(run, part)[-1]), f" {name}", role))
        said_apart(axes, len(first.second), ends, least * top)
        axes.axvspan(*step, color=INK, alpha=0.12, linewidth=0)
        axes.set(xlim=(0, len(first.second)), ylim=(-0.04 * top, top))
    above.fill_between(first.second, 0, first.fresh, step="post", color=INK, alpha=0.22, linewidth=0)
    above.step(first.second + 0.5, first.fresh, where="mid", color=INK, linewidth=0.8, label="requests that arrive")
    above.axhline(capacity, color=INK, linestyle="--", linewidth=1.2, label="capacity")
    told_below(above)
    named(above, y="tries a second; grey: arrivals, dashed: capacity")
    named(below, "seconds", "good answers a second")


class Plane(NamedTuple):
    """The storm's map: tries that a load of tries causes, shape of `load`; its equilibria; all in tries a second."""

    load: np.ndarray
    caused: np.ndarray
    equilibria: Equilibria


def plane(
    fresh: float, retries: int, servers: int, service: float, patience: float, budget: float | None = None, max_retries: float | None = None
) -> Plane:
    """The map of `analytic.retries` for a pod of `servers` places, with exponential service: an approximation.

    max_retries : retries at once; in a storm a try lasts as long as the patience, so that many a patience are what it allows.
    """

    def failure(total: float) -> float:
        return response_tail(total, servers, service, patience)

    most = fresh * (retries + 1)
    load = np.linspace(0.01, 1.12 * max(most, servers / service), 240)
    caused = np.array([storm_load(fresh, x, failure, retries, budget) for x in load])
    if max_retries is not None:
        caused = np.minimum(caused, fresh + max_retries / patience)
        return Plane(load, caused, _crossings(load, caused))
    return Plane(load, caused, storm_equilibria(fresh, failure, retries, budget, points=1000))


def _crossings(load: np.ndarray, caused: np.ndarray) -> Equilibria:
    """Where the map meets the diagonal, between two points of the grid."""
    above = caused - load
    at = np.flatnonzero((above[:-1] > 0) != (above[1:] > 0))
    rates = load[at] + above[at] / (above[at] - above[at + 1]) * (load[at + 1] - load[at])
    return Equilibria(tuple(rates.tolist()), tuple((above[at] > 0).tolist()))


def equilibria(found: Plane, capacity: float, path: Sequence[float] | np.ndarray = (), width: float = WIDTH) -> Picture:
    """The tries that a load causes, against that load; where the curve meets the diagonal a storm stands still.

    path : loads of a run, second by second, drawn as a trail of dots on the curve.
    """
    says = _equilibria_say(found, capacity)
    picture, (axes,) = canvas(says, 3.1, width=width)
    _draw_plane(axes, found, capacity, path)
    picture.alt_text = f"{says}. {_crossed(found)}; capacity {capacity:g}" + (f"; the run ends at {path[-1]:.1f}" if len(path) else "")
    return picture


def storm_and_plane(run: Storm, found: Plane, step: tuple[float, float], capacity: float, width: float = WIDTH) -> Picture:
    """One policy's run by the second, and below its way over the map of equilibria."""
    runs = {"": run}
    says, told = _storms_say(runs, step)
    picture, (above, middle, below) = canvas(f"{says}. {_equilibria_say(found, capacity)}", 1.25, 1.25, 2.5, gap=0.85, width=width)
    _draw_storms(above, middle, runs, step, capacity)
    _draw_plane(below, found, capacity, run.tries)
    picture.alt_text = f"{says}. {told}. {_crossed(found)}; capacity {capacity:g}; the run ends at {run.tries[-1]:.1f} tries a second"
    return picture


def _equilibria_say(found: Plane, capacity: float) -> str:
    rates = found.equilibria.rates
    if len(rates) > 1:
        return f"A storm can stay, at {rates[-1]:.0f} tries a second"
    if rates and rates[0] > capacity:
        return f"Nothing but the storm: {rates[0]:.0f} tries a second, above the capacity"
    return f"No storm can stay: the load falls back to {rates[0]:.1f} tries a second" if rates else "No equilibrium"


def _crossed(found: Plane) -> str:
    told = zip(found.equilibria.rates, found.equilibria.stable, strict=True)
    return f"The curve meets the diagonal at {', '.join(f'{rate:.1f} ({_holds(holds)})' for rate, holds in told)} tries a second"


def _holds(stable: bool) -> str:
    return "stable" if stable else "tipping point"


def _aside(rate: float, stable: bool, capacity: float) -> tuple[float, float, str]:
    """Where beside an equilibrium its name stands, in parts of the axes: neither on the curve, the diagonal nor the capacity's line."""
    if not stable:
        return rate - 0.03, rate + 0.05, "right"
    if rate < capacity < rate + 0.34:
        return max(0.33, rate - 0.02), rate - 0.09, "right"
    return (rate - 0.005, rate - 0.07, "left") if rate < 0.72 else (0.99, rate - 0.16, "right")


def _draw_plane(axes: Axes, found: Plane, capacity: float, path: Sequence[float] | np.ndarray) -> None:
    top = float(found.load[-1])
    for grows, role in ((True, "proxy"), (False, "healthy")):
        where = (found.caused > found.load) == grows
        axes.fill_between(found.load, found.load, found.caused, where=where, color=COLOUR[role], alpha=0.14, linewidth=0)
    axes.plot([0, top], [0, top], color=INK, linestyle="--", linewidth=1.2)
    axes.plot(found.load, found.caused, color=COLOUR["model"], linewidth=2.6, label="tries that it causes")
    axes.axvline(capacity, color=COLOUR["troubled"], linewidth=1.6, label="capacity")
    say(axes, capacity, 0.03 * top, " capacity ", "troubled", fontsize=SMALL, ha="left" if capacity < 0.7 * top else "right")
    for rate, holds in zip(found.equilibria.rates, found.equilibria.stable, strict=True):
        role = ("healthy" if rate < capacity else "proxy") if holds else "ink"
        look: dict[str, Any] = {"markersize": 12, "fillstyle": "full" if holds else "none", "markeredgewidth": 2}
        axes.plot(rate, rate, "o", color=COLOUR[role], zorder=5, label=_holds(holds), **look)
        x, y, side = _aside(rate / top, holds, capacity / top)
        say(axes, x * top, y * top, f"{_holds(holds)} {rate:.1f}", role, ha=side, fontsize=SMALL)
    if len(path):
        path = np.minimum(path, top)
        along = np.interp(path, found.load, found.caused)
        axes.plot(path, along, ".", color=COLOUR["envoy"], markersize=9, zorder=6)
        axes.plot(path[-1:], along[-1:], "D", color=COLOUR["envoy"], markersize=11, zorder=7, label="the run's end")
        say(axes, path[-1] - 0.03 * top, along[-1] + 0.06 * top, "the run's end", "envoy", ha="right", fontsize=SMALL)
    axes.set(xlim=(0, top), ylim=(0, top))
    named(axes, "load: tries a second", "tries that this load causes; dashed: the load itself")
