"""Figures of the chapter on timeouts: the tail that is cut, the answers that are left, the work that goes on, the hop that answered.

`atoms` are exact outcomes of the pods, (probability, seconds, code), as in `analytic.timeouts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from meshmodel.analytic import timeouts as formulas
from meshmodel.results.trace import Trace
from meshmodel.rules.outcomes import number, status
from meshmodel.teaching.canvas import COLOUR, INK, LETTERS, SMALL, WIDTH, bar, canvas, key, named, say, seconds, told_below
from meshmodel.teaching.palette import troubled
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.theatre.stage import Stage
from meshmodel.teaching.theatre.visits import GIVEN_UP, Visits, Window

Atoms = Sequence[tuple[float, float, int]]
Call = tuple[int, float]
"""A recorded call: code, seconds."""

# --- the tail and what is left of it --------------------------------------------------------


def survival_curve(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, P(S > t) from there on), beginning at 0 s: a staircase."""
    steps = sorted((took, p) for p, took, _ in atoms)
    times = np.array([0.0, *(took for took, _ in steps)])
    return times, np.clip(1 - np.cumsum([0.0, *(p for _, p in steps)]), 0, 1)


def answers_a_second(atoms: Atoms, timeouts: Sequence[float] | np.ndarray, connections: int, overhead: float) -> np.ndarray:
    """(all, good) answers a second of a closed loop for each timeout, shape (timeouts, 2): `closed_loop_throughput`."""
    return np.array([formulas.closed_loop_throughput(atoms, tau, connections, overhead) for tau in timeouts])


def break_even(atoms: Atoms, connections: int, overhead: float) -> float:
    """The longest timeout that gives more good answers a second than none does, seconds; 0: there is none."""
    longest = max(took for _, took, _ in atoms)
    taus = np.linspace(0, longest, 20001)[1:-1]
    without = formulas.closed_loop_throughput(atoms, 2 * longest, connections, overhead)[1]
    better = taus[answers_a_second(atoms, taus, connections, overhead)[:, 1] > without]
    return float(better[-1]) if len(better) else 0.0


def tail(
    atoms: Atoms, timeout: float, connections: int = 10, overhead: float = 0.0, calls: Sequence[Call] = (),
    rates: tuple[np.ndarray, np.ndarray] | None = None, points: Mapping[float, tuple[float, float]] | None = None, width: float = WIDTH,
) -> Picture:  # fmt: skip
    """Above the survival curve with the timeout as a line and the recorded calls as dots; below good and failed answers a second.

    timeout : seconds; inf: none.  What lies beyond the panel is told at its right edge.
    points : timeout -> (all, good) answers a second of the engine.
    rates : (timeouts, answers (timeouts, 2)) of another way than the formula's, which holds where shares do not depend on the timeout.
    """
    longest = 1.25 * max(took for _, took, _ in atoms)
    taus, curves = rates or _rates(atoms, longest, connections, overhead)
    some = f"A timeout of {seconds(timeout)}" if np.isfinite(timeout) else "No timeout"
    drawn, timeout = timeout <= longest, min(timeout, 0.992 * longest)
    total, good = (float(np.interp(timeout, taus, curve)) for curve in curves.T)
    failing = formulas.share_of_504(atoms, timeout)
    says = f"{some}: {good:.1f} good and {total - good:.1f} failed answers a second by formula"
    picture, (above, below) = canvas(says, 1.8, 1.9, width=width)
    _survival(above, atoms, timeout, calls, drawn)
    below.fill_between(taus, 0, curves[:, 1], color=COLOUR["healthy"], alpha=0.35, linewidth=0)
    below.plot(taus, curves[:, 1], color=COLOUR["healthy"], linewidth=2.4, label="good")
    below.plot(taus, curves[:, 0], color=COLOUR["proxy"], linewidth=0.9, label="good and failed")
    below.fill_between(taus, curves[:, 1], curves[:, 0], facecolor="none", edgecolor=COLOUR["proxy"], hatch="////", linewidth=0)
    top = 1.8 * curves[:, 1].max()
    if drawn:
        below.axvline(timeout, color=COLOUR["proxy"], linewidth=2.4, label="timeout")
    below.plot([timeout, timeout], [good, total], "o", color=COLOUR["proxy"], markersize=8, clip_on=True)
    say(below, 0.98, 0.12, "good", "healthy", transform=below.transAxes, ha="right")
    say(below, 0.98, 0.9, "hatched: failed", "proxy", transform=below.transAxes, ha="right")
    if total > top:
        below.plot(timeout, 0.95 * top, "^", color=COLOUR["proxy"], markersize=11)  # the dot is far above
    for tau, (all_of, good_of) in (points or {}).items():
        for name, measured in (("engine, good", good_of), ("engine, good and failed", all_of)):
            below.plot(min(tau, 0.992 * longest), measured, "x", color=INK, markersize=9, markeredgewidth=2.4, zorder=6, label=name)
    for axes in (above, below):
        axes.set_xlim(0, longest)
    below.set_ylim(0, top)
    named(above, y="P(S > t): how many pods' answers take longer")
    named(
        below,
        "timeout (s)",
        f"answers a second of {connections} connection{'s' * (connections > 1)}" + ("; crosses: the engine" if points else ""),
    )
    wait = formulas.truncated_mean(atoms, timeout)
    picture.alt_text = (
        f"{says}. {100 * failing:.1f} % of the calls end with 504; a call waits {wait:.4f} s for its pod on average" + _recorded(calls)
    )
    if points:
        told = (f"{g:.1f} good of {a:.1f} {f'at {tau:g} s' if np.isfinite(tau) else 'without'}" for tau, (a, g) in points.items())
        picture.alt_text += f"; engine: {', '.join(told)}"
    return picture


def survival(atoms: Atoms, timeout: float, calls: Sequence[Call] = (), width: float = WIDTH) -> Picture:
    """The survival curve alone: what a caller waits for is shaded, what the timeout saves is hatched."""
    wait, failing = formulas.truncated_mean(atoms, timeout), formulas.share_of_504(atoms, timeout)
    says = f"A timeout of {seconds(timeout)}: {100 * failing:.0f} % of the calls fail, and a call waits {wait:.3f} s on average"
    picture, (axes,) = canvas(says, 2.2, width=width)
    _survival(axes, atoms, timeout, calls)
    axes.set_xlim(0, 1.25 * max(took for _, took, _ in atoms))
    named(axes, "t (s)", "P(S > t): how many pods' answers take longer")
    times, share = survival_curve(atoms)
    steps = ", ".join(f"{p:.2f} from {t:g} s" for t, p in zip(times, share, strict=True))
    picture.alt_text = f"{says}. The curve: {steps}{_recorded(calls)}"
    return picture


def _rates(atoms: Atoms, longest: float, connections: int, overhead: float) -> tuple[np.ndarray, np.ndarray]:
    taus = np.unique(np.concatenate([np.linspace(0.02, longest, 120), *([took - 1e-4, took + 1e-4] for _, took, _ in atoms)]))
    return taus, answers_a_second(atoms, taus, connections, overhead)


def _survival(axes: Axes, atoms: Atoms, timeout: float, calls: Sequence[Call], drawn: bool = True) -> None:
    times, share = survival_curve(atoms)
    end = 1.25 * times[-1]
    grid_at, grid = np.append(times, end), np.append(share, share[-1])
    axes.step(grid_at, grid, where="post", color=COLOUR["model"], linewidth=2.6, label="P(S > t)")
    at = np.unique([*times[times < timeout], timeout])
    level = share[np.searchsorted(times, at, side="right") - 1]
    axes.fill_between(at, level, step="post", color=COLOUR["model"], alpha=0.3, linewidth=0)
    late = np.unique([timeout, *times[times > timeout]])
    if len(late) > 1:
        level = share[np.searchsorted(times, late, side="right") - 1]
        axes.fill_between(late, level, step="post", facecolor="none", edgecolor=COLOUR["proxy"], hatch="////", linewidth=0)
    if drawn:
        axes.axvline(timeout, color=COLOUR["proxy"], linewidth=2.4, label="timeout")
    for k, (code, took) in enumerate(sorted(calls, key=lambda call: call[1])):
        face, edge = (INK, INK) if code == 200 else ("white", COLOUR["proxy"])
        axes.plot(
            took, 1 - (k + 0.5) / len(calls), "D", markerfacecolor=face, markeredgecolor=edge, markersize=7, markeredgewidth=2, zorder=5,
            label="recorded calls" if code == 200 else "recorded errors",
        )  # fmt: skip
    words = [("waited", "model"), ("hatched: saved", "proxy")]
    if calls:
        say(axes, 0.98, 0.9, "◆ the record's calls (◇ errors)", transform=axes.transAxes, ha="right", fontsize=SMALL)
    for k, (text, role) in enumerate(words):
        say(axes, 0.98, 0.9 - 0.16 * (k + bool(calls)), text, role, transform=axes.transAxes, ha="right", fontsize=SMALL)
    axes.set_ylim(0, 1.08)


def _recorded(calls: Sequence[Call]) -> str:
    errors = sum(code != 200 for code, _ in calls)
    return f". Recorded: {errors} errors in {len(calls)} calls, the way included" if calls else ""


def asked_and_got(
    latency: float, connections: Sequence[int], asked: float, points: Mapping[tuple[int, float], float] | None = None, width: float = WIDTH
) -> Picture:
    """What a closed loop gets of the rate that it asks for: min(qps, connections / latency), the ceilings as flat lines.

    points : (connections, qps) -> requests a second that the engine sent.
    """
    got = {c: min(asked, c / latency) for c in connections}
    first = connections[0]
    says = f"Asked {asked:,.0f} a second, got {got[first]:.0f}: {first} connections of {latency:.3f} s each can do no more"
    picture, (axes,) = canvas(says, 2.5, right=1.7, width=width)
    qps = np.logspace(0, np.log10(2 * asked), 200)
    for c, role in zip(connections, ("proxy", "model", "healthy", "envoy"), strict=False):
        axes.loglog(qps, np.minimum(qps, c / latency), color=COLOUR[role], linewidth=2.4, label=f"{c} connections")
        say(axes, qps[-1] * 1.15, got[c], f"{c} connections", role, fontsize=SMALL)
    for (c, q), measured in (points or {}).items():
        axes.loglog(q, measured, "o", color=INK, markersize=8, markerfacecolor="none", markeredgewidth=2, label=f"engine, {c} connections")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set_xlim(1, 2 * asked)
    axes.minorticks_off()
    named(
        axes,
        "requests a second that fortio is asked for (-qps)",
        "requests a second that it sends" + ("; circles: the engine" if points else ""),
    )
    told = ", ".join(f"{c} connections {got[c]:.1f}" for c in connections)
    picture.alt_text = f"{says}. At {asked:,.0f} asked: {told}" + "".join(
        f"; engine {m:.1f} of {q:g} asked on {c}" for (c, q), m in (points or {}).items()
    )
    return picture


# --- work that goes on ----------------------------------------------------------------------


def work(trace: Trace, stop: float) -> pd.DataFrame:
    """What the pods of the last hop work on until `stop`: pod, sent, begin, end, and `left`, when its proxy gave up (inf: never)."""
    stage = Stage.of(trace)
    visits = Visits.of(trace, stage, Window(0.0, stop))
    rows = np.flatnonzero(~np.isnan(visits.work))
    left = np.where(visits.is_outcome(*GIVEN_UP)[rows], visits.end[rows], np.inf)
    pods = [stage.names[place] for place in visits.target[rows].tolist()]
    return pd.DataFrame({"pod": pods, "sent": visits.sent[rows], "begin": visits.work[rows], "end": visits.done[rows], "left": left})


def wasted(table: pd.DataFrame, start: float, stop: float) -> float:
    """The part of the pods' work between `start` and `stop` that is for callers who have gone, 0 to 1."""
    begin, end = table.begin.clip(start, stop), table.end.clip(start, stop)
    dead = (end - np.maximum(begin, table.left.clip(start, stop))).clip(lower=0)
    return float(dead.sum() / max(1e-12, (end - begin).clip(lower=0).sum()))


_LANES = 12
"""So many pieces of work at once are drawn of a pod; where there are more, its name says of how many."""


def zombies(trace: Trace, stop: float = 5.0, start: float = 0.0, width: float = WIDTH) -> Picture:
    """A lane a pod with its work as bars, and below what waits in the pods' queues; hatched: for callers who have left."""
    table = work(trace, stop)
    share = wasted(table, start, stop)
    says = f"{100 * share:.0f} % of the work is for callers who have left" if share else "Every piece of work has a caller who waits for it"
    bad, pods = troubled(trace.scenario), list(trace.pods)
    rows = {pod: _rows(table[table.pod == pod]) for pod in pods}
    queued = bool((table.begin - table.sent).max() > 1e-3)
    at_once = {pod: int(lanes.max(initial=0)) + 1 for pod, lanes in rows.items()}
    depth = {pod: min(_LANES, most) for pod, most in at_once.items()}
    high = max(1.2, 0.17 * sum(depth.values()) + 0.25 * len(pods))
    left = 0.35 + 0.088 * max(map(len, pods))
    picture, panels = canvas(says, high, *([1.2] if queued else []), left=left, width=width)
    axes, base, ticks = panels[0], 0.0, []
    for pod in pods:
        mine, lane = table[table.pod == pod], rows[pod]
        role = "troubled" if pod in bad else "healthy"
        y, alive = base + lane + 0.5, np.minimum(mine.end, np.maximum(mine.left, mine.begin))
        for first, last, dead in ((mine.begin, alive, False), (alive, mine.end, True)):
            shown = ((last - first) > 1e-6).to_numpy() & (last > start).to_numpy() & (lane < _LANES)
            bar(axes, y[shown], first[shown], last[shown], "proxy" if dead else role, 0.8, hatched=dead)
        ticks.append(base + depth[pod] / 2)
        base += depth[pod] + 0.8
    axes.set(xlim=(start, stop), ylim=(base - 0.4, -0.4))
    axes.set_yticks(ticks, [pod if most <= _LANES else f"{pod}\n{_LANES} of {most}\ndrawn" for pod, most in at_once.items()])
    named(axes, "" if queued else "seconds")
    key(axes, [("work somebody waits for", "healthy"), ("hatched: nobody does", "proxy")])
    if queued:
        told_below(axes)
        _queue(panels[1], table, start, stop)
    seen = table[table.end > start]
    picture.tell("the pods' work", {"pod": seen.pod, "from (s)": seen.begin, "to (s)": seen.end, "its caller leaves (s)": seen.left})
    picture.alt_text = f"{says} (from {start:g} to {stop:g} s). " + "; ".join(
        f"{pod}: {int((table.pod == pod).sum())} pieces of work, {int((np.isfinite(table.left) & (table.pod == pod)).sum())} given up"
        for pod in pods
    )
    return picture


def _rows(table: pd.DataFrame) -> np.ndarray:
    """The first free lane of each piece of work."""
    free: list[float] = []
    begin, end = table.begin.to_numpy(), table.end.tolist()
    lanes = np.zeros(len(table), int)
    for k in np.argsort(begin, kind="stable").tolist():
        lanes[k] = next((n for n, until in enumerate(free) if until <= begin[k] + 1e-9), len(free))
        free[lanes[k] : lanes[k] + 1] = [end[k]]
    return lanes


def queue_lengths(table: pd.DataFrame, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many wait in the pods' queues at each of `times`: (with a caller who waits too, without)."""
    sent, begin, left = (table[name].to_numpy()[:, None] for name in ("sent", "begin", "left"))
    waiting = (sent <= times) & (times < begin)
    return (waiting & (times < left)).sum(axis=0), (waiting & (times >= left)).sum(axis=0)


def _queue(axes: Axes, table: pd.DataFrame, start: float, stop: float) -> None:
    times = np.linspace(start, stop, 400)
    alive, dead = queue_lengths(table, times)
    axes.fill_between(times, 0, alive, color=COLOUR["healthy"], alpha=0.6, linewidth=0, step="post")
    axes.fill_between(times, alive, alive + dead, facecolor="none", edgecolor=COLOUR["proxy"], hatch="////", linewidth=0, step="post")
    for name, line in (("whose callers wait", alive), ("all", alive + dead)):
        axes.step(times, line, where="post", color=COLOUR["healthy" if line is alive else "proxy"], linewidth=0.8, label=name)
    axes.set(xlim=(start, stop), ylim=(0, 1.1 * max(1, (alive + dead).max())))
    named(axes, "seconds", "requests in the pods' queues")


# --- which hop made this 500? ---------------------------------------------------------------


def codes_by_hop(trace: Trace) -> dict[str, str]:
    """Of the first failing request: what the pod answered ("" if it did not), what its proxy, the service before, and the gateway said.

    A request that its proxy refused reached no pod: that pod was "not asked".
    """
    failed = trace.requests[trace.requests.code >= 400].iloc[0]
    mine = trace.attempts[trace.attempts.request == failed.request]
    last = mine[mine.hop == trace.attempts.hop.max()].iloc[-1]
    answered = last.outcome.isdigit()
    inner = last.outcome if answered else str(status(number(last.outcome)))
    outer = mine[(mine.hop == 0) & (mine.hop < last.hop)]
    web = outer.iloc[-1].outcome if len(outer) else str(failed.code)
    pod = last.outcome if answered else "" if pd.notna(last.start) else "not asked"
    return {"pod": pod, "sidecar": inner, "web": web if web.isdigit() else "", "gateway": str(failed.code)}


def hops(cases: Mapping[str, Trace], width: float = WIDTH) -> Picture:
    """A row a case: the code at each place on the way back from the pod to the caller; who makes a code is filled."""
    found = {name: codes_by_hop(trace) for name, trace in cases.items()}
    outside = sorted({codes["gateway"] for codes in found.values()})
    says = f"Inside {', '.join(sorted({c['sidecar'] for c in found.values()}))}; outside the caller sees {' or '.join(outside)}"
    places = {"pod": "the pod", "sidecar": "its caller's\nsidecar", "web": "simple-web", "gateway": "the gateway"}
    picture, (axes,) = canvas(says, 0.85 * len(cases) + 0.3, left=0.15, right=0.15, width=width)
    axes.set_axis_off()
    xs = {place: 0.09 + 0.27 * (3 - k) for k, place in enumerate(places)}
    for row, (name, codes) in enumerate(found.items()):
        say(axes, 0.0, row - 0.36, name, fontsize=SMALL, fontweight="bold")
        before = ""
        for place, code in codes.items():
            _place(axes, xs[place], row + 0.05, code or "waits…", code != before and code.isdigit())
            before = code
        for x in list(xs.values())[:-1]:
            axes.annotate(
                "", (x - 0.185, row + 0.05), (x - 0.09, row + 0.05), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.6}
            )
    for place, text in places.items():
        say(axes, xs[place], len(cases) - 0.28, text, ha="center", va="top", fontsize=SMALL)
    axes.set(xlim=(0, 1), ylim=(len(cases) + 0.15, -0.6))
    key(axes, [("filled: made here", "proxy"), ("framed: passed on", "ink")])
    told = "; ".join(
        f"{name}: pod {c['pod'] or 'no answer'}, sidecar {c['sidecar']}, simple-web {c['web'] or 'no answer'}, gateway {c['gateway']}"
        for name, c in found.items()
    )
    answered = {text.replace("\n", " "): [c[place] or "-" for c in found.values()] for place, text in places.items()}
    picture.tell("codes", {"case": list(found), **answered})
    picture.alt_text = f"{says}. {told}"
    return picture


def _place(axes: Axes, x: float, y: float, text: str, made: bool) -> None:
    colour = COLOUR["healthy" if text.startswith("2") else "proxy"]
    box = {"boxstyle": "round,pad=0.35", "facecolor": colour if made else "none", "edgecolor": colour if made else INK}
    axes.text(x, y, text, ha="center", va="center", fontsize=LETTERS, fontweight="bold", color="white" if made else INK, bbox=box)
