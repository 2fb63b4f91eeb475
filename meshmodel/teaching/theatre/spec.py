"""Everything that the theatre shows of one or two traces: what is said as JSON values, what moves as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import ENVOY
from meshmodel.results.trace import Trace
from meshmodel.scenario import UNLIMITED, ConnectionPool, Endpoint, Route
from meshmodel.teaching import words
from meshmodel.teaching.theatre import constants, watch
from meshmodel.teaching.theatre.buckets import PERCENTILES, Scale, record_json
from meshmodel.teaching.theatre.events import choices, events, host_events
from meshmodel.teaching.theatre.moves import BACK_OFF, HOLD, KIND, LEG, QUEUE, WAIT, WORK, moves
from meshmodel.teaching.theatre.packing import pack
from meshmodel.teaching.theatre.stage import Stage
from meshmodel.teaching.theatre.visits import Visits, Window

ENGINES = {"montecarlo": ("model", "the model's run"), "envoy": ("envoy", "a real Envoy's run")}
"""Engine of a trace -> its role in the palette, and what the screen says."""

MOST_REQUESTS = 20_000
"""Of a longer trace only the beginning is played, unless a window is given: a browser would be slow."""

HEALTHY, TROUBLED, PROXY, NOBODY = range(4)
"""Who answered a request."""

Panel = tuple[dict[str, Any], bytes, Visits, dict[str, np.ndarray]]
Watch = Sequence[str | tuple[float, str]]


def spec(
    traces: Sequence[Trace],
    records: Sequence[Histogram | None],
    *,
    title: str,
    names: Sequence[str] | None,
    window: Window,
    watch_for: Watch | None,
) -> tuple[dict[str, Any], list[bytes]]:
    """What is said of all panels, and one buffer of bytes a panel."""
    scale = Scale.of(traces, records)
    constants_of = [constants.acting(trace.scenario) for trace in traces]
    shared, *own = constants.differences(*constants_of) if len(traces) == 2 else (constants_of[0], [])
    names = names or _names(traces, own)
    made = [_panel(trace, record, scale, window) for trace, record in zip(traces, records, strict=True)]
    panels = [panel | {"name": name, "own": _rows(mine)} for (panel, *_), name, mine in zip(made, names, own, strict=True)]
    for panel, trace in zip(panels, traces, strict=True):
        panel["watch"] = _watch(watch_for, panel["watch"])
        panel["told"] = _told(trace, panel["name"], scale)
    whole = max(_stop(trace) for trace in traces)
    told = {
        "title": title,
        "window": [round(window.start, 6), round(window.stop, 6)],
        "whole": round(whole, 6),
        "still": watch.most_to_see([visits for *_, visits, _ in made], [moves for *_, moves in made], window),
        "leg": LEG,
        "speed": _speed(traces),
        "percentiles": list(PERCENTILES),
        "buckets": scale.to_json(),
        "constants": _rows(shared),
        "panels": panels,
    }
    return told, [data for _, data, *_ in made]


SPOKEN = words.SPOKEN | {"name", "own", "constants", "takes", "watch", "told"}
"""The names in what `spec` makes under which there are words."""


def in_the_readers_language(told: dict[str, Any]) -> dict[str, Any]:
    """What `spec` made, in the current language."""
    return words.spoken(told, SPOKEN, "theatre")


def whole_or_first(traces: Sequence[Trace], window: tuple[float, float] | None) -> Window:
    """The window that is played: (start, seconds) as given, or all, or the beginning of what is too long.

    Raises ValueError for a window in which nothing happens.
    """
    stop = max(_stop(trace) for trace in traces)
    if window is None:
        starts = [np.sort(trace.requests.start.to_numpy(float)) for trace in traces]
        return Window(0.0, min([stop, *(float(s[MOST_REQUESTS]) for s in starts if len(s) > MOST_REQUESTS)]))
    start, seconds = window
    if not (0 <= start < stop and seconds > 0):
        raise ValueError(f"window: needs a start from 0 to below {stop:g} s and more than zero seconds, got {window!r}")
    return Window(start, min(stop, start + seconds))


def _stop(trace: Trace) -> float:
    """When the last request ends or starts, seconds."""
    return float(np.nanmax([trace.requests.start.max(), trace.requests.end.max()], initial=0.0))


def _panel(trace: Trace, record: Histogram | None, scale: Scale, window: Window) -> Panel:
    """What is said of a trace, what moves as bytes, its visits, and the moves."""
    stage = Stage.of(trace)
    visits = Visits.of(trace, stage, window)
    made = moves(visits, stage, window.stop)
    hosts = host_events(trace, stage)
    tables = {
        "visits": visits.packed(),
        "requests": _requests(trace, visits, stage, scale),
        "moves": made,
        "hosts": hosts,
        "events": events(visits, _in_order(trace), window, choices(trace)),
    }
    data, layout = pack(tables)
    role, says = ENGINES.get(trace.engine, ("model", f"engine {trace.engine}"))
    open_loop = not hasattr(trace.scenario.workload, "connections")
    ends = [(station - 2, stage.names[place]) for station in stage.ends for place in stage.stations[station]]
    pods = [_pod(trace, hop, name) for hop, name in ends]
    panel = {
        "engine": role,
        "says": says,
        "stage": stage.to_json(),
        "takes": [_takes(pod) for pod in pods],
        "zones": [_zone(trace, hop, pod) for (hop, _), pod in zip(ends, pods, strict=True)],
        "places": [(pod.behaviour.concurrency or 0) if pod else 0 for pod in pods],
        "lanes": 0 if open_loop else int(trace.scenario.workload.threads),  # type: ignore[union-attr]
        "policies": _policies(trace),
        "limits": _limits(trace),
        "peaks": _peaks(made, visits, stage),
        "outcomes": list(visits.outcomes),
        "pause": visits.pause,
        "columns": len(scale.shown),
        "record": record_json(record, scale) if record else None,
        "watch": [list(moment) for moment in watch.moments(stage, visits, made, hosts, window)],
        "layout": layout,
    }
    return panel, data, visits, made


def _in_order(trace: Trace) -> Any:
    return trace.hosts.sort_values("time", kind="stable")


def _requests(trace: Trace, visits: Visits, stage: Stage, scale: Scale) -> dict[str, np.ndarray]:
    """One row a request that is played: connection, code, who answered, and its column of the histogram."""
    table = trace.requests.set_index("request").loc[visits.numbers]
    roles = {name: TROUBLED if stage.roles[stage.index[stage.last, name]] == "troubled" else HEALTHY for name in trace.pods}
    answered = [PROXY if name == ENVOY else roles.get(name, NOBODY) for name in table.endpoint]
    return {
        "number": table.index.to_numpy().astype("i4"),
        "connection": table.connection.to_numpy().astype("i4"),
        "code": table.code.to_numpy().astype("i2"),
        "answered": np.array(answered, dtype="u1"),
        "column": scale.column_of((table.end - table.start).to_numpy(float)),
    }


def _pod(trace: Trace, hop: int, name: str) -> Endpoint | None:
    """A pod of a route, as it is first told."""
    return next((pod for routes in trace.scenario.chains for pod in routes[hop].endpoints if pod.name == name), None)


def _takes(pod: Endpoint | None) -> str:
    """What a pod does with a request: the small print in its box."""
    if pod is None:
        return ""
    if pod.behaviour.failure != "none":
        return {"refused": "refuses", "reset": "resets", "hang": "never answers"}[pod.behaviour.failure]
    return constants.seconds(pod.behaviour.timings[0]) + (f", fails {pod.behaviour.error_rate:g}" if pod.behaviour.error_rate else "")


def _zone(trace: Trace, hop: int, pod: Endpoint | None) -> str:
    """Where a pod is, where not all pods of its route are in one place."""
    localities = {other.locality for other in trace.scenario.routes[hop].endpoints}
    return pod.locality.rpartition("/")[2] if pod and len(localities) > 1 else ""


def _policies(trace: Trace) -> list[list[list[Any]]]:
    """For each hop, [from when, policy] in order."""
    times = [0.0, *(change.at for change in trace.scenario.changes)]
    return [
        [[at, _balancing(routes[hop])] for at, routes in zip(times, trace.scenario.chains, strict=True)]
        for hop in range(len(trace.scenario.routes))
    ]


def _balancing(route: Route) -> str:
    return route.destinations[0].cluster.load_balancing if route.destinations else "direct response"


def _limits(trace: Trace) -> list[dict[str, int]]:
    """For each hop the limits of its first cluster that can bite: connections, pending, requests."""
    pools = [route.destinations[0].cluster.connection_pool if route.destinations else ConnectionPool() for route in trace.scenario.routes]
    limits = [{"connections": p.max_connections, "pending": p.max_pending_requests, "requests": p.max_requests} for p in pools]
    return [{name: limit for name, limit in mine.items() if limit < UNLIMITED} for mine in limits]


def _peaks(made: dict[str, np.ndarray], visits: Visits, stage: Stage) -> dict[str, list[int]]:
    """The most dots that each place ever holds: at work (seats), queueing, waiting, backing off, held."""
    names = stage.names
    work = np.zeros(len(names), int)
    kind, place = made["kind"] & KIND, _place_of(made, visits, stage)
    here = place >= 0
    np.maximum.at(work, place[here & (kind == WORK)], made["seat"][here & (kind == WORK)].astype(int) + 1)
    peaks = {"work": work.tolist()}
    for word, one in (("queue", QUEUE), ("wait", WAIT), ("back_off", BACK_OFF), ("hold", HOLD)):
        peaks[word] = [_most_at_once(made, here & (kind == one) & (place == p)) for p in range(len(names))]
    return peaks


def _place_of(made: dict[str, np.ndarray], visits: Visits, stage: Stage) -> np.ndarray:
    """Where each move that is no trip is: its proxy or its pod."""
    visit = made["visit"]
    return np.where(made["station"] == visits.hop[visit] + 2, visits.target[visit], visits.origin[visit])


def _most_at_once(made: dict[str, np.ndarray], rows: np.ndarray) -> int:
    time = np.concatenate([made["start"][rows], made["stop"][rows]])
    step = np.repeat([1, -1], rows.sum())
    return int(np.cumsum(step[np.lexsort((step, time))]).max(initial=0))


def _names(traces: Sequence[Trace], own: Sequence[Sequence[constants.Constant]]) -> list[str]:
    """What tells the panels apart: the engine, or the constants in which they differ."""
    if len(traces) == 1:
        return [_balancing(traces[0].scenario.routes[-1])]
    if traces[0].engine != traces[1].engine:
        return [says for _, says in (ENGINES.get(trace.engine, ("", trace.engine)) for trace in traces)]
    told = [_told_apart(own[0], own[1]), _told_apart(own[1], own[0])]
    return told if told[0] != told[1] else ["first run", "second run"]


def _told_apart(mine: Sequence[constants.Constant], others: Sequence[constants.Constant]) -> str:
    """The values where both have a constant, else the parts that only this one has, or lacks."""
    names = {constant.name for constant in others}
    both = [c.value if c.name == "loadBalancer" else f"{c.name} {c.value}" for c in mine if c.name in names]
    only = dict.fromkeys(c.part or c.name for c in mine if c.name not in names)
    lacks = dict.fromkeys(c.part or c.name for c in others if c.name not in {m.name for m in mine})
    return ", ".join([*both, *only][:2]) or "without " + ", ".join([*lacks][:2])


def _rows(found: Sequence[constants.Constant]) -> list[list[str]]:
    return [list(constant[:3]) for constant in found]


def _told(trace: Trace, name: str, scale: Scale) -> str:
    """What a trace came to, in rounded figures: for readers who see nothing move."""
    requests = trace.requests
    histogram = Histogram.from_samples((requests.end - requests.start).dropna().to_numpy(float), resolution=scale.resolution)
    ended = requests.end.notna()
    failed = int((ended & ((requests.code < 0) | (requests.code >= 400))).sum())
    left = f", {int((~ended).sum())} not ended" if not ended.all() else ""
    share = requests.endpoint.value_counts(normalize=True)
    who = ", ".join(f"{pod} {100 * share.get(pod, 0):.0f} %" for pod in (*trace.pods, *([ENVOY] if ENVOY in share else [])))
    figures = ", ".join(f"p{p:g} {v:.3f} s" for p, v in zip(PERCENTILES, histogram.percentile(np.array(PERCENTILES)), strict=True))
    says = ENGINES.get(trace.engine, ("", trace.engine))[1]
    return f"{heading(name, says)}: {len(requests)} requests, {failed} failed{left}; {figures}; answered by {who}.{_branches(trace)}"


def _branches(trace: Trace) -> str:
    """What the pods call that make several calls for a request, and how many tries there were at each."""
    tries = trace.attempts.hop.value_counts()
    several = constants.several_calls(trace.scenario.routes)
    told = [(who, ", ".join(f"{called} {tries.get(hop, 0)}" for hop, called in calls)) for who, calls in several]
    return "".join(f" Tries at what {who} calls, in order: {calls}." for who, calls in told)


def heading(name: str, says: str) -> str:
    """What a panel is called, and whose run it is."""
    return name if name == says else f"{name} ({says})"


def _watch(given: Watch | None, found: list[list[Any]]) -> list[list[Any]]:
    if given is None:
        return found
    return [[None, entry] if isinstance(entry, str) else [round(float(entry[0]), 6), entry[1]] for entry in given]


def _speed(traces: Sequence[Trace]) -> float:
    """Seconds of the trace in a second of the reader's: so that a typical request takes about two."""
    typical = float(np.nanmedian(np.concatenate([(t.requests.end - t.requests.start).to_numpy(float) for t in traces])))
    speeds = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    return min(speeds, key=lambda speed: abs(np.log(speed / max(typical / 2, 1e-4))))
