"""The third engine: the real Envoy, live pods and a real load, on loopback (`envoy_rig` draws it).

Nothing is modelled here.  `scenario.overhead` is not added: the rig has its own, which is
measured and goes with the result: latency less the service time that the pod itself
reports, over the requests that met neither error nor retry.  Pods and load share one
asyncio thread.  Whatever ends a measurement, also `kill -9`, ends its processes and
closes its ports (`envoy_guard`).
"""

from __future__ import annotations

import asyncio
import math
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import durationpy
import numpy as np

from meshmodel.envoy import load
from meshmodel.envoy.background import in_own_thread, reporting
from meshmodel.envoy.config import bootstrap, print_config
from meshmodel.envoy.live_fakeservice import json_object, sleep_until
from meshmodel.envoy.observed import Asked, Attempt, HostEvent, trace
from meshmodel.envoy.process import Cancelled, EnvoyError, envoy_binary, require_binary
from meshmodel.envoy.rig import COUNTERS, Rig
from meshmodel.results.log import Ejections, RequestLog
from meshmodel.results.replay import Replay
from meshmodel.scenario import Change, ClosedLoop, Route, Scenario, callers_of, way_to_the_last

__all__ = ["COUNTERS", "Cancelled", "EnvoyError", "Rig", "bootstrap", "envoy_binary", "measure", "print_config"]


def measure(
    scenario: Scenario,
    repetitions: int = 1,
    seed: int = 1,
    progress: bool | Callable[[float], None] = False,
    cancel: threading.Event | None = None,
) -> Replay:
    """Play the scenario on a real Envoy, in real time, each repetition with new processes.

    Parameters
    ----------
    seed : of the pods' draws and of open-loop arrivals (Envoy draws its own numbers).
    progress : True: a bar; or a function that gets the share done, from 0 to 1.
    cancel : ends the measurement when it is set.

    Raises
    ------
    EnvoyError : no Envoy, one that refuses its configuration (with its own message), a
        change of anything but the pods' behaviour, or `Cancelled`.
    load.TooMuch : a load that this machine cannot make.
    """
    if repetitions < 1:
        raise EnvoyError(f"repetitions: must be 1 or more, got {repetitions!r}")
    require_binary()
    load.refuse_too_much(scenario.workload)
    for change in scenario.changes:
        _require_playable(scenario, change)
    seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(repetitions)]

    async def all_repetitions() -> list[_Run]:
        with reporting(progress, repetitions) as report:
            return [await _repetition(scenario, s, partial(report, i)) for i, s in enumerate(seeds)]

    return _replay(scenario, seed, in_own_thread(all_repetitions(), cancel))


# --- one repetition ----------------------------------------------------------------------


class _Run(NamedTuple):
    """What one repetition gave; `rows` are the requests as `RequestLog.of_runs` takes them, `unanswered` those without an end."""

    rows: dict[str, list]
    unanswered: int
    asked: list[Asked]
    attempts: list[Attempt]
    hosts: list[HostEvent]
    reached: dict[str, int]
    counters: dict[str, int]
    overheads: list[float]
    version: str


async def _repetition(scenario: Scenario, seed: int, report: Callable[[float], None]) -> _Run:
    loop = asyncio.get_running_loop()
    async with Rig(scenario, seed) as rig:
        calls: list[load.Call] = []
        before, version = await rig.counters(), await rig.proxies[0][0].version()
        wall_clock, started = time.time(), loop.time()
        watch = asyncio.ensure_future(_watch(scenario.workload, calls, started, report))
        change = asyncio.ensure_future(_apply_changes(rig, scenario.changes))
        try:
            host, fresh = scenario.routes[0].host, _fresh_connections(scenario)
            policies = scenario.hash_policies
            await load.drive(scenario.workload, rig.urls, host, seed=seed, fresh_connections=fresh, policies=policies, calls=calls)
            if change.done():
                change.result()  # raises what went wrong
        finally:
            change.cancel()
            watch.cancel()
            await asyncio.gather(change, watch, return_exceptions=True)
        after = await rig.counters()
        counters = {name: after[name] - before[name] for name in COUNTERS}
        answered = _answers(scenario, calls)
        ended = [(call, answer) for call, answer in answered if call.latency < math.inf]
        rows, overheads = _rows(scenario, ended)
        attempts, hosts = await rig.observed(wall_clock)
        unanswered = len(calls) - len(ended)
        return _Run(rows, unanswered, _asked(answered), attempts, hosts, rig.reached(attempts), counters, overheads, version)


def _fresh_connections(scenario: Scenario) -> bool:
    """Whether the load opens a connection for each call: a loop of curl, or in the place of a pod that does."""
    workload = scenario.workload
    return (isinstance(workload, ClosedLoop) and workload.is_curl) or (len(scenario.routes) == 1 and scenario.new_connection_per_request)


async def _watch(workload: load.Workload, calls: list[load.Call], started: float, report: Callable[[float], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        by_calls = len(calls) / workload.calls if isinstance(workload, ClosedLoop) and workload.calls else 0.0
        by_time = (loop.time() - started) / workload.duration if workload.duration else 0.0
        report(min(1.0, max(by_calls, by_time)))
        await asyncio.sleep(0.2)


async def _apply_changes(rig: Rig, changes: Iterable[Change]) -> None:
    started = asyncio.get_running_loop().time()
    for change in changes:
        await sleep_until(started + change.at)
        await rig.change(change.routes)


def _require_playable(scenario: Scenario, change: Change) -> None:
    """EnvoyError unless the change is one of pods' behaviour, or of the endpoints of the last route's clusters."""
    if [_without_endpoints(r) for r in change.routes] != [_without_endpoints(r) for r in scenario.routes]:
        what = "where only the behaviour of pods, and the endpoints of the last hop, can change"
        raise EnvoyError(f"the change at {change.at:g} s: not supported on the real Envoy, {what}")
    if any(
        [e.name for e in new.endpoints] != [e.name for e in old.endpoints]
        for new, old in zip(change.routes[:-1], scenario.routes[:-1], strict=True)
    ):
        raise EnvoyError(f"the change at {change.at:g} s: not supported on the real Envoy, pods that call on cannot come or go")


def _without_endpoints(route: Route) -> Route:
    return route.with_clusters(lambda cluster: replace(cluster, endpoints=(), priorities=(), locality_weights=None))


# --- what the answers say ----------------------------------------------------------------


Answered = tuple[load.Call, dict[str, Any]]
"""A call, and the answer that the last route gave it."""


def _answers(scenario: Scenario, calls: Iterable[load.Call]) -> list[Answered]:
    way = _calls_to_the_last(scenario.routes)
    return [(call, _answer_at(call, way)) for call in calls]


def _rows(scenario: Scenario, answered: Iterable[Answered]) -> tuple[dict[str, list], list[float]]:
    """The requests as columns, and the rig's overhead (seconds) of those that met no error and no retry."""
    index = {name: i for i, name in enumerate(scenario.pod_names)}
    rows: dict[str, list] = {name: [] for name in RequestLog.FIELDS}
    overheads = []
    for call, answer in answered:
        pod = index.get(answer.get("name", ""), -1)
        attempts = int(answer.get("headers", {}).get("X-Envoy-Attempt-Count", 1))
        for name, value in zip(RequestLog.FIELDS, (call.start, call.latency, call.answer.code, pod, attempts), strict=True):
            rows[name].append(value)
        if call.answer.code == 200 and attempts == 1 and "duration" in answer:
            overheads.append(call.latency - durationpy.from_str(answer["duration"]).total_seconds())
    return rows, overheads


def _asked(answered: Iterable[Answered]) -> list[Asked]:
    """The calls as a trace has them."""
    return [Asked(c.number, c.connection, c.start, c.latency, c.answer.code, answer.get("name")) for c, answer in answered]


def _calls_to_the_last(routes: Sequence[Route]) -> list[int]:
    """Which of the calls of each pod on the way leads to the last route."""
    callers = callers_of(routes)
    return [callers[:hop].count(callers[hop]) for hop in way_to_the_last(routes)[1:]]


def _answer_at(call: load.Call, way: Iterable[int]) -> dict[str, Any]:
    """The answer at the end of the way, with its headers: inside simple-web's; {} when it was not reached."""
    answer = {**json_object(call.answer.body), "headers": call.answer.headers}
    for place in way:
        answer = dict(enumerate(answer.get("upstream_calls", []))).get(place, {})
    return answer


def _replay(scenario: Scenario, seed: int, runs: list[_Run]) -> Replay:
    names = list(scenario.pod_names)
    log = RequestLog.of_runs([run.rows for run in runs])
    attempts = np.array([[run.reached[name] for run in runs] for name in names]).reshape(len(names), len(runs))
    counters = {name: np.array([run.counters[name] for run in runs]) for name in COUNTERS}
    last = len(scenario.routes) - 1
    events = [(i, e.time, names.index(e.endpoint), e.left) for i, run in enumerate(runs) for e in run.hosts if e.hop == last]
    replication, when, pod, left = zip(*events, strict=True) if events else ((),) * 4
    ejections = Ejections(np.array(replication, int), np.array(when, float), np.array(pod, int), np.array(left, bool))
    return Replay(
        scenario, "envoy", log, attempts, seed=seed, counters=counters, ejections=ejections,
        unanswered=np.array([run.unanswered for run in runs]), provenance=_provenance(scenario, runs),
        tracer=lambda i: trace(scenario, runs[i].asked, runs[i].attempts, runs[i].hosts),
    )  # fmt: skip


def _provenance(scenario: Scenario, runs: list[_Run]) -> dict[str, Any]:
    overheads = [seconds for run in runs for seconds in run.overheads]
    median, p99 = (float(q) for q in np.quantile(overheads, [0.5, 0.99])) if overheads else (None, None)
    return {
        "envoy": runs[0].version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repetitions": len(runs),
        "workers": scenario.workers,
        "driver": "asyncio",
        "rig_overhead": {"median": median, "p99": p99, "requests": len(overheads)},
        "changes": [change.at for change in scenario.changes],
    }
