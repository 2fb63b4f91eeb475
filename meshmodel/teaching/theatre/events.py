"""What happens, one thing after another (the stops of the step button), and who is out when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from meshmodel.results.trace import EVENTS, Trace
from meshmodel.teaching.theatre.stage import Stage
from meshmodel.teaching.theatre.visits import UNFINISHED, Visits, Window

ENDED, HOST, ANSWERED, SENT, PICKED, GRANTED = range(6)
"""A try ended; a pod left or came back; a request was answered; sent; a pod was picked; a connection became free."""

EJECTED, READMITTED, PANIC, PANIC_ENDS = range(4)
"""What can happen to hosts, as `host_events` numbers it."""

EVER = 1e9
"""The end of what did not end within the trace."""


def events(visits: Visits, hosts: pd.DataFrame, window: Window, choices: np.ndarray) -> dict[str, np.ndarray]:
    """Every stop in order: time (seconds), kind, and row (of the visits; for HOST of the hosts).

    `choices[hop]` is the most pods among which a proxy of that hop can choose: a try that had no choice
    and did not fail is no stop.
    """
    requests = np.arange(visits.requests)
    tries = np.arange(visits.requests, len(visits.hop))
    hop, number = visits.hop[tries], visits.number[tries]
    telling = tries[(choices[hop] > 1) | (number > 1) | (visits.target[tries] < 0)]
    failed = visits.failed()
    ended = tries[(failed[tries] | np.isin(tries, telling)) & (visits.outcome[tries] != visits.outcomes.index(UNFINISHED))]
    at_once = visits.end - visits.began <= 0
    waited = telling[visits.sent[telling] - visits.began[telling] > visits.pause]
    answered = requests[visits.outcome[requests] != visits.outcomes.index(UNFINISHED)]
    first = np.isin(requests, visits.request[telling[visits.number[telling] == 1]])
    parts: list[tuple[np.ndarray, int, np.ndarray, Any]] = [  # time, kind, row, rank among what happens at the same time
        (visits.end[ended], ENDED, ended, np.where(at_once[ended], 6, 0)),
        (hosts["time"].to_numpy(float), HOST, np.arange(len(hosts)), 1),
        (visits.end[answered], ANSWERED, answered, np.where(at_once[answered], 7, 2)),
        (visits.began[requests[~first]], SENT, requests[~first], 3),
        (visits.began[telling], PICKED, telling, 4),
        (visits.sent[waited], GRANTED, waited, 5),
    ]
    time = np.concatenate([part[0] for part in parts])
    kind = np.concatenate([np.full(len(part[0]), part[1]) for part in parts])
    row = np.concatenate([part[2] for part in parts])
    rank = np.concatenate([np.broadcast_to(part[3], len(part[0])) for part in parts])
    order = np.lexsort((row, rank, time))
    order = order[(time[order] >= window.start) & (time[order] <= window.stop)]
    return {"time": time[order].astype("f4"), "kind": kind[order].astype("u1"), "row": row[order].astype("i4")}


def choices(trace: Trace) -> np.ndarray:
    """The most pods that a proxy of each hop can choose among."""
    return np.array([max(len(routes[hop].endpoints) for routes in trace.scenario.chains) for hop in range(len(trace.scenario.routes))])


def host_events(trace: Trace, stage: Stage) -> dict[str, np.ndarray]:
    """Every event of the hosts: time, until (when the matching end comes; `EVER`: not in this trace), proxy, pod, what.

    `what` numbers trace.EVENTS; `pod` is -1 for a panic.
    """
    hosts = trace.hosts.sort_values("time", kind="stable")
    what = hosts.event.map(dict(zip(EVENTS, range(4), strict=True))).to_numpy(int)
    hop = _hops(trace, hosts)
    until = np.full(len(hosts), EVER)
    begun: dict[tuple[str, str, int], int] = {}
    time = hosts["time"].to_numpy(float)
    for row, (proxy, pod, kind) in enumerate(zip(hosts.proxy, hosts.endpoint, what.tolist(), strict=True)):
        key = (proxy, pod, kind // 2)
        if kind % 2 == 0:
            begun[key] = row
        elif key in begun:
            until[begun.pop(key)] = time[row]
    made = {
        "time": time,
        "until": until,
        "proxy": stage.places(stage.origins(hop), hosts.proxy),
        "pod": stage.places(hop + 2, hosts.endpoint),
    }
    return {"time": made["time"].astype("f4"), "until": made["until"].astype("f4"), "proxy": made["proxy"], "pod": made["pod"],
            "what": what.astype("u1")}  # fmt: skip


def _hops(trace: Trace, hosts: pd.DataFrame) -> np.ndarray:
    """For each event the route by which its proxy calls its pod; where no pod is told, the last that the proxy calls."""
    pods = [{pod.name for routes in trace.scenario.chains for pod in routes[hop].endpoints} for hop in range(len(trace.scenario.routes))]
    calls: dict[str, list[int]] = {}
    for hop, route in reversed([*enumerate(trace.scenario.routes)]):
        for caller in route.callers:
            calls.setdefault(caller.name, []).append(hop)
    mine = [(calls.get(proxy, [len(pods) - 1]), pod) for proxy, pod in zip(hosts.proxy, hosts.endpoint, strict=True)]
    return np.array([next((hop for hop in hops if pod in pods[hop]), hops[0]) for hops, pod in mine], dtype=int)
