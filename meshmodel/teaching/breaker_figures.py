"""Figures of the chapter on circuit breaking: what is in flight and what is refused, the waiting room, who counts, pod by pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from meshmodel.analytic.breakers import pool_loss_open, pool_wait_open
from meshmodel.analytic.queues import erlang_b
from meshmodel.results.replay import Replay
from meshmodel.results.trace import Trace
from meshmodel.teaching.canvas import COLOUR, INK, LETTERS, SMALL, WIDTH, bar, canvas, key, named, say, told_below
from meshmodel.teaching.picture import Picture

# --- who is served ---------------------------------------------------------------------------


def served(run: Replay, patience: float, start: float, stop: float) -> tuple[float, float, float]:
    """Answers within `patience` a second, of requests sent from `start` to `stop`; of all: mean seconds of a 200, share without one."""
    log, good = run.log, run.log.code == 200
    timely = good & (log.latency <= patience) & (log.start > start) & (log.start <= stop)
    return timely.sum() / (stop - start) / run.replications, log.latency[good].mean(), 1 - good.sum() / run.requests.sum()


# --- in flight, and refused -----------------------------------------------------------------


def last_tries(trace: Trace) -> pd.DataFrame:
    """The tries at the last hop in order of their choice; `refused`: an overflow of the caller's breaker or the pod's own."""
    table = trace.attempts[trace.attempts.hop == trace.attempts.hop.max()].sort_values("chosen", kind="stable")
    return table.assign(refused=table.outcome == "overflow")


def staircase(trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(times, requests in flight from there on, times of refusals) at the last hop, seconds."""
    table = last_tries(trace)
    sent = table[table.start.notna()]
    time = np.concatenate([sent.start, sent.end.dropna()])
    step = np.concatenate([np.ones(len(sent)), -np.ones(sent.end.notna().sum())])
    order = np.lexsort((step, time))
    return time[order], np.cumsum(step[order]), table.end[table.refused].to_numpy(float)


def refusals(trace: Trace, limit: int, offered: float, measured: float | None = None, stop: float = 5.0, width: float = WIDTH) -> Picture:
    """Above the requests in flight as a staircase with the refusals as crosses; below Erlang's curve with this limit on it.

    offered : Erlangs; measured : the share that the engine refused.
    """
    formula = erlang_b(limit, offered)
    engine = "" if measured is None else f", {100 * measured:.1f} % in the engine's runs"
    says = f"A limit of {limit} refuses {100 * formula:.1f} % at {offered:.3g} Erlangs by Erlang's formula{engine}"
    picture, (above, below) = canvas(says, 1.7, 1.9, gap=0.95, width=width)
    times, level, refused = staircase(trace)
    seen = times <= stop
    above.step(
        [0, *times[seen], stop],
        [0, *level[seen], level[seen][-1] if seen.any() else 0],
        where="post",
        color=COLOUR["healthy"],
        linewidth=1.6,
        label="in flight",
    )
    above.axhline(limit, color=COLOUR["proxy"], linewidth=2, label="limit")
    shown, room = refused[refused <= stop], max(1.0, 0.2 * limit)
    above.plot(shown, np.full(len(shown), limit + 0.35 * room), "x", color=COLOUR["proxy"], markersize=7, markeredgewidth=2)
    above.set(xlim=(0, stop), ylim=(0, limit + room))
    above.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    say(
        above,
        0.99,
        limit + 0.62 * room,
        f"{len(shown)} refused",
        "proxy",
        transform=above.get_yaxis_transform(),
        ha="right",
        fontsize=SMALL,
    )
    picture.tell("refused", {"number": range(1, len(shown) + 1), "seconds": shown})
    named(above, "seconds", "requests in flight; the limit as a line")
    limits = np.arange(0, max(limit + 4, int(2.2 * offered) + 4))
    below.plot(limits, [erlang_b(int(c), offered) for c in limits], "o-", color=COLOUR["model"], linewidth=2, markersize=5, label="formula")
    below.plot(limit, formula, "o", color=COLOUR["proxy"], markersize=12, fillstyle="none", markeredgewidth=2.6, clip_on=False)
    if measured is not None:
        below.plot(limit, measured, "x", color=INK, markersize=11, markeredgewidth=2.6, label="engine")
        left = limit > 0.6 * limits[-1]
        shift, height = (-0.03 if left else 0.03) * len(limits), max(measured, 0.05)  # above the curve's flat end
        say(below, limit + shift, height, "✕ the engine", fontsize=SMALL, va="bottom", ha="right" if left else "left")
    below.axvline(offered, color=INK, linestyle="--", linewidth=1, label="in flight without a limit, on average")
    say(below, offered, 1.04, " in flight without\n a limit, on average", fontsize=SMALL, va="top")
    below.set(xlim=(-0.2, limits[-1]), ylim=(0, 1.06))
    below.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
    named(below, "limit", "share refused: Erlang's formula")
    curve = ", ".join(f"{c}: {erlang_b(int(c), offered):.3f}" for c in limits[:9])
    picture.alt_text = f"{says}. In the {stop:g} s drawn {len(shown)} are refused; the curve by limit: {curve}"
    return picture


# --- waiting instead ------------------------------------------------------------------------


def waiting_room(trace: Trace, stop: float = 2.0, width: float = WIDTH) -> Picture:
    """A row a request in order of arrival: hatched while it waits for a connection, solid while the pod works; refusals as crosses."""
    table = _arrivals(trace, stop)
    says = _waits_say(table, stop)
    picture, (axes,) = canvas(says, max(1.6, min(3.6, 0.085 * len(table))), width=width)
    _draw_waits(axes, table, stop)
    named(axes, "seconds")
    picture.tell("requests", _waits_told(table))
    picture.alt_text = says
    return picture


def _arrivals(trace: Trace, stop: float) -> pd.DataFrame:
    table = last_tries(trace)
    return table[table.chosen < stop]


def _waits_told(table: pd.DataFrame) -> dict[str, Any]:
    return {"arrives (s)": table.chosen, "begins (s)": table.start, "ends (s)": table.end, "refused": table.refused}


def _waits_say(table: pd.DataFrame, stop: float) -> str:
    waited = (table.start - table.chosen)[table.start.notna()]
    told = (
        f"the others wait {1000 * waited.mean():.0f} ms on average, {1000 * waited.max():.0f} ms at most"
        if len(waited)
        else "nobody is served"
    )
    return f"In {stop:g} s of one run {int(table.refused.sum())} of {len(table)} requests are refused; {told}"


def _draw_waits(axes: Axes, table: pd.DataFrame, stop: float) -> None:
    row = {index: k for k, index in enumerate(table.index)}
    served, lost = table[table.start.notna()], table[table.refused]
    y = np.array([row[index] for index in served.index])
    begin, end = served.start.clip(upper=stop).to_numpy(), served.end.fillna(stop).clip(upper=stop).to_numpy()
    bar(axes, y, served.chosen.to_numpy(), begin, "troubled", 0.75, hatched=True, linewidth=min(0.9, 20 / max(1, len(table))))
    bar(axes, y, begin, end, "healthy", 0.75)
    axes.plot(lost.chosen, [row[index] for index in lost.index], "x", color=COLOUR["proxy"], markersize=6, markeredgewidth=2)
    axes.set(xlim=(0, stop), ylim=(len(table) - 0.3, -0.7))
    axes.set_ylabel("requests as they arrive", color=INK, fontsize=LETTERS)
    key(axes, [("at work", "healthy"), ("hatched: waits", "troubled"), ("✕ refused", "proxy")])


Points = Mapping[int, tuple[float, float]]
"""Size of the room -> (share refused, mean seconds waited) in the engine."""


def rooms(
    connections: int, rate: float, service: float, at: int, most: int = 20, points: Points | None = None, width: float = WIDTH
) -> Picture:
    """Share refused, and mean wait of the others, against the size of the waiting room: M/M/c/K, and the engine's points."""
    loss, wait = _by_room(connections, rate, service, most)
    says = f"A room for {at}: {100 * loss[at - 1]:.1f} % are refused, and the others wait {1000 * wait[at - 1]:.0f} ms, by formula"
    picture, panels = canvas(says, 1.5, 1.5, width=width)
    _draw_rooms(panels, loss, wait, at, points or {})
    told = "; ".join(
        f"room {s}: formula {loss[s - 1]:.3f} and {1000 * wait[s - 1]:.0f} ms, engine {a:.3f} and {1000 * b:.0f} ms"
        for s, (a, b) in (points or {}).items()
    )
    picture.alt_text = f"{says}. {told or 'Refusals fall and waits grow with the room'}"
    return picture


def room_and_run(trace: Trace, connections: int, rate: float, service: float, at: int, points: Points, width: float = WIDTH) -> Picture:
    """Two seconds of one run request by request, and below what other sizes of the room would do."""
    table = _arrivals(trace, 2.0)
    loss, wait = _by_room(connections, rate, service, max(20, at))
    says = _waits_say(table, 2.0)
    picture, (run, *panels) = canvas(says, 1.8, 1.1, 1.1, width=width)
    _draw_waits(run, table, 2.0)
    _draw_rooms(panels, loss, wait, at, points)
    picture.tell("requests", _waits_told(table))
    formula = f"a room for {at} refuses {loss[at - 1]:.3f} and makes the others wait {1000 * wait[at - 1]:.0f} ms"
    picture.alt_text = f"{says}. In the long run {formula}, by formula"
    return picture


def _by_room(connections: int, rate: float, service: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(share refused, mean wait in seconds) for rooms of 1 to `most`, each (most,)."""
    sizes = range(1, most + 1)
    return (
        np.array([pool_loss_open(connections, size, rate, service) for size in sizes]),
        np.array([pool_wait_open(connections, size, rate, service) for size in sizes]),
    )


def _draw_rooms(panels: Sequence[Axes], loss: np.ndarray, wait: np.ndarray, at: int, points: Points) -> None:
    sizes = np.arange(1, len(loss) + 1)
    for k, (axes, curve, unit) in enumerate(zip(panels, (loss, wait), (100, 1000), strict=True)):
        axes.plot(sizes, unit * curve, "o-", color=COLOUR["model"], markersize=5, linewidth=2, label="formula")
        axes.axvline(at, color=COLOUR["proxy"], linewidth=2)
        for size, measured in points.items():
            axes.plot(size, unit * measured[k], "x", color=INK, markersize=11, markeredgewidth=2.6, label="engine")
        tallest = max(1.0, unit * curve.max(), *(unit * measured[k] for measured in points.values()))  # 1 % or 1 ms at the least
        axes.set(xlim=(0.5, len(loss) + 0.5), ylim=(0, 1.08 * tallest))
    told_below(panels[0])
    named(panels[0], y="refused (%); line: formula" + ("; cross: the engine" if points else ""))
    named(panels[1], "http1MaxPendingRequests", "mean wait of those who are served (ms)")


# --- who counts -----------------------------------------------------------------------------


def most_in_flight(clients: int, pods: int, max_requests: int) -> int:
    """Requests that may be in flight at a Service under `http2MaxRequests`: each caller's proxy counts, and each pod's own."""
    return min(clients * max_requests, pods * max_requests)


def most_connections(clients: int, workers: int, pods: int, max_connections: int) -> int:
    """Connections to a Service that callers may open under `maxConnections`: a worker may always have one to each pod."""
    return clients * max(max_connections, workers * pods)


def who_counts(clients: int, pods: int, limit: int, width: float = WIDTH) -> Picture:
    """Every sidecar that holds the same `http2MaxRequests`: those of the callers, and those of the pods for all their callers."""
    most = most_in_flight(clients, pods, limit)
    side = "callers'" if clients <= pods else "pods'"
    says = f"http2MaxRequests: {limit} lets {most} requests be in flight: the {side} sidecars decide"
    picture, (axes,) = canvas(says, 0.52 * max(clients, pods) + 0.5, left=0.15, width=width)
    axes.set_axis_off()
    high = max(clients, pods)
    for count, x, who, decides in ((clients, 0.2, "caller", clients <= pods), (pods, 0.8, "pod", pods <= clients)):
        for k in range(count):
            y = (k + 0.5) * high / count
            _sidecar(axes, x, y, f"{who} {k + 1}: at most {limit}", decides)
        say(axes, x, high + 0.35, f"{count} × {limit} = {count * limit}", "proxy" if decides else "ink", ha="center")
    for a in range(clients):
        for b in range(pods):
            axes.plot([0.37, 0.63], [(a + 0.5) * high / clients, (b + 0.5) * high / pods], color=INK, linewidth=0.8, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(high + 0.6, -0.1))
    key(axes, [("filled: the narrower side", "proxy")])
    sides = {"side": ["callers", "pods"], "sidecars": [clients, pods], "limit of each": [limit, limit]}
    picture.tell("requests in flight", {**sides, "together": [clients * limit, pods * limit]})
    picture.alt_text = f"{says}. {clients} callers' sidecars allow {clients * limit}, {pods} pods' own sidecars {pods * limit}"
    return picture


def _sidecar(axes: Axes, x: float, y: float, text: str, decides: bool) -> None:
    box = {
        "boxstyle": "round,pad=0.35",
        "facecolor": COLOUR["proxy"] if decides else "none",
        "edgecolor": COLOUR["proxy"] if decides else INK,
    }
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color="white" if decides else INK, bbox=box)


# --- pod by pod -----------------------------------------------------------------------------


def pod_by_pod(traces: Mapping[str, Trace], stop: float = 10.0, title: str = "", width: float = WIDTH) -> Picture:
    """A panel a policy, a lane a pod: a dot a request, by its end; bars where a pod is ejected; refusals on a lane of their own."""
    good = {name: float((trace.requests.code == 200).mean()) for name, trace in traces.items()}
    best = max(good, key=lambda name: good[name])
    says = title or f"{best[0].upper()}{best[1:]}: {100 * good[best]:.0f} % succeed"
    pods = list(next(iter(traces.values())).pods)
    picture, panels = canvas(
        says, *[0.3 * (len(pods) + 1) + 0.1] * len(traces), left=0.35 + 0.088 * max(map(len, [*pods, "refused"])), gap=0.5, width=width
    )
    for axes, (name, trace) in zip(panels, traces.items(), strict=True):
        _lanes(axes, trace, pods, stop)
        told = f"{name}: {100 * good[name]:.0f} % succeed" if len(traces) > 1 else ""
        named(axes, "seconds" if axes is panels[-1] else "", told)
        if axes is not panels[-1]:
            axes.tick_params(labelbottom=False)
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "fontsize": SMALL,
        "fontweight": "bold",
        "ha": "right",
    }
    for text, role, left in (("● 200", "healthy", -150), ("✕ error", "proxy", -82), ("▬ ejected", "troubled", 0)):
        panels[0].annotate(text, (1, 1), xytext=(left, 7), color=COLOUR[role], **style)
    picture.alt_text = f"{says}. " + "; ".join(f"{name}: {_codes(trace)}{_ejections(trace)}" for name, trace in traces.items())
    return picture


def _lanes(axes: Axes, trace: Trace, pods: Sequence[str], stop: float) -> None:
    table = last_tries(trace)
    lane_of = {pod: k for k, pod in enumerate(pods)}
    lane = np.where(table.refused, len(pods), table.endpoint.map(lane_of).fillna(len(pods)))
    begin, end = table.chosen.to_numpy(float), table.end.fillna(np.inf).clip(upper=stop).to_numpy(float)
    well = table.outcome.str.match("[123]").fillna(False).to_numpy(bool)
    hangs = ~well & (end - begin > 0.02)
    axes.hlines(lane[hangs], begin[hangs], end[hangs], color=COLOUR["proxy"], linewidth=0.8, alpha=0.7)
    axes.plot(begin[well], lane[well], "o", color=COLOUR["healthy"], markersize=4.5, label="200")
    axes.plot(end[~well], lane[~well], "x", color=COLOUR["proxy"], markersize=5, markeredgewidth=1.8, label="error")
    for pod, since, until in _out(trace, stop):
        axes.barh(lane_of[pod], until - since, 0.72, left=since, color=COLOUR["troubled"], alpha=0.45, label="ejected")
    axes.set(xlim=(0, stop), ylim=(len(pods) + 0.5, -0.6))
    axes.set_yticks(range(len(pods) + 1), [*pods, "refused"])


def _out(trace: Trace, stop: float) -> list[tuple[str, float, float]]:
    """(pod, from, until) of every ejection."""
    since: dict[str, float] = {}
    out = []
    for event in trace.hosts.sort_values("time", kind="stable").itertuples():
        if event.event == "ejected":
            since[event.endpoint] = event.time
        elif event.event == "readmitted" and event.endpoint in since:
            out.append((event.endpoint, since.pop(event.endpoint), event.time))
    return [*out, *((pod, begun, stop) for pod, begun in since.items() if begun < stop)]


def _codes(trace: Trace) -> str:
    counts = trace.requests.code.value_counts().sort_index()
    return ", ".join(f"{count} with {code}" for code, count in counts.items())


def _ejections(trace: Trace) -> str:
    out = _out(trace, np.inf)
    return "".join(f", {pod} ejected at {since:.1f} s" for pod, since, _ in out[:3])
