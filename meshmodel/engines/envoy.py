"""The third engine: the real Envoy, live pods and a real load, on loopback.

    load ──> Envoy of the gateway ──> simple-web ──> Envoy of simple-web ──> pods

Every caller pod of the scenario has its own Envoy process, with its own balancing and
outlier state and `scenario.workers` worker threads; pods and load share one asyncio thread.
Nothing is modelled here.  `scenario.overhead` is not added: the rig has its own, which is
measured (latency less the service time that the pod reports) and goes with the result.
Left out are the proxies that Istio puts before simple-web and the pods, as they decide nothing
(where a cluster speaks HTTP/2 one stands before the pods, which speak HTTP/1.1).

Whatever ends a measurement, also `kill -9`, ends its processes and closes its ports.
"""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple, TypeVar

import durationpy
import numpy as np

from .. import load
from ..fakeservice_live import FakeServices, Pod
from ..replay import Ejections, Replay, RequestLog
from ..scenario import Behaviour, Change, ClosedLoop, Endpoint, Route, Scenario
from .envoy_config import HOST, bootstrap, inbound_bootstrap, print_config
from .envoy_process import Cancelled, EnvoyError, Proxy, envoy_binary, require_binary

__all__ = ["COUNTERS", "Cancelled", "EnvoyError", "Rig", "bootstrap", "envoy_binary", "measure", "print_config"]

COUNTERS = (
    *("upstream_rq_total", "upstream_rq_retry", "upstream_rq_retry_success", "upstream_rq_retry_overflow", "upstream_rq_retry_limit_exceeded"),
    *("upstream_rq_retry_backoff_exponential", "upstream_rq_timeout", "upstream_rq_per_try_timeout", "upstream_rq_pending_overflow", "upstream_rq_active_overflow"),
    *("upstream_rq_pending_failure_eject", "upstream_cx_total", "upstream_cx_overflow", "upstream_cx_pool_overflow", "upstream_cx_connect_fail"),
    *("upstream_cx_max_requests", "lb_healthy_panic", "retry.upstream_rq_503", "retry.upstream_rq_504", "outlier_detection.ejections_active"),
    *("outlier_detection.ejections_enforced_total", "outlier_detection.ejections_overflow"),
)
"""Counters of the last route's clusters, summed over them and their callers, that a `Replay` gets."""

Driver = Literal["asyncio", "fortio"]
_T = TypeVar("_T")


def measure(
    scenario: Scenario,
    repetitions: int = 1,
    seed: int = 1,
    progress: bool | Callable[[float], None] = False,
    cancel: threading.Event | None = None,
    driver: Driver = "asyncio",
) -> Replay:
    """Play the scenario on a real Envoy, in real time, each repetition with new processes.

    Parameters
    ----------
    seed : of the pods' draws and of open-loop arrivals (Envoy draws its own numbers).
    progress : True: a bar; or a function that gets the share done, from 0 to 1.
    cancel : ends the measurement when it is set.
    driver : what makes the load; "fortio" needs that program on the PATH.

    Raises
    ------
    EnvoyError : no Envoy, one that refuses its configuration (with its own message), a
        change of anything but the pods' behaviour, or `Cancelled`.
    """
    if repetitions < 1:
        raise EnvoyError(f"repetitions: must be 1 or more, got {repetitions!r}")
    if driver != "asyncio":
        raise EnvoyError(f"driver: must be asyncio, got {driver!r}")
    require_binary()
    changes = [(change.at, _behaviour_changes(scenario, change)) for change in scenario.changes]
    seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(repetitions)]

    async def all_repetitions() -> list[_Run]:
        with _Progress(progress, repetitions) as done:
            return [await _repetition(scenario, changes, s, done.part(i)) for i, s in enumerate(seeds)]

    return _replay(scenario, seed, _in_own_thread(all_repetitions(), cancel))


# --- the rig -----------------------------------------------------------------------------


class Rig:
    """A scenario's pods and proxies, running while the context is open.

    `urls`: where to send requests, one for each caller of the first route.  `port`: where
    the first of them listens (0: a free port), for the tutorial's own curl lines.
    """

    def __init__(self, scenario: Scenario, seed: int = 1, port: int = 0) -> None:
        self.scenario, self.seed, self.port = scenario, seed, port
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Rig:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        self.services = await self._stack.enter_async_context(FakeServices(_pods(self.scenario), seed=self.seed))
        ports = self.services.ports
        if any(d.cluster.connection_pool.http2 for route in self.scenario.routes for d in route.destinations):
            inbound = await self._stack.enter_async_context(Proxy("before the pods", inbound_bootstrap(ports), self.scenario.workers))
            ports = inbound.listeners
        self.pod_of_port = {port: name for name, port in ports.items()}
        _require_free(self.port)
        self.proxies = [[self._proxy(r, c, ports) for c in range(len(route.callers))] for r, route in enumerate(self.scenario.routes)]
        await _enter_all(self._stack, [proxy for row in self.proxies for proxy in row])
        for route, callers in zip(self.scenario.routes, self.proxies[1:], strict=False):
            for endpoint, proxy in zip(route.endpoints, callers, strict=True):
                self.services.set_upstream(endpoint.name, _url(proxy))
        self.urls = [_url(proxy) for proxy in self.proxies[0]]

    def _proxy(self, route: int, caller: int, ports: Mapping[str, int]) -> Proxy:
        listen = self.port if route == caller == 0 else 0
        config = bootstrap(self.scenario, route, caller, ports=ports, listen=listen, observed=route == len(self.scenario.routes) - 1)
        return Proxy(self.scenario.routes[route].callers[caller].name, config, self.scenario.workers)

    async def counters(self) -> dict[str, int]:
        """`COUNTERS` now."""
        each = [await proxy.counters(COUNTERS) for proxy in self.proxies[-1]]
        return {name: sum(values[name] for values in each) for name in COUNTERS}

    async def observed(self, start: float) -> tuple[dict[str, int], list[tuple[float, str, bool]]]:
        """What the last route's proxies did to its pods: attempts of each, and ejections.

        An ejection is (seconds after the wall clock's `start`, pod, whether it left).  An
        attempt that a circuit breaker refused never reached a pod and does not count.
        """
        attempts = dict.fromkeys((e.name for e in self.scenario.endpoints), 0)
        ejections = []
        for event in [event for proxy in self.proxies[-1] for event in await proxy.log()]:
            if "attempt" in event:
                if event["attempt"] and "UO" not in (event["flags"] or ""):
                    attempts[self._pod(event["attempt"])] += 1
            elif event["action"] == "UNEJECT" or event["enforced"]:
                when = datetime.fromisoformat(event["timestamp"]).timestamp() - start
                ejections.append((when, self._pod(event["upstream_url"]), event["action"] == "EJECT"))
        return attempts, sorted(ejections)

    def _pod(self, address: str) -> str:
        return self.pod_of_port[int(address.rpartition(":")[2])]


async def _enter_all(stack: AsyncExitStack, proxies: Sequence[Proxy]) -> None:
    """Start them side by side; when one fails the others are stopped."""
    for proxy in proxies:
        stack.push_async_exit(proxy.__aexit__)
    await load.all_of(*(proxy.__aenter__() for proxy in proxies))


def _pods(scenario: Scenario) -> dict[str, Pod]:
    pods = {}
    for index, route in enumerate(scenario.routes):
        for endpoint in route.endpoints:
            keep_alives = index == len(scenario.routes) - 1 or not scenario.new_connection_per_request
            message = endpoint.message or f"Hello from {endpoint.deployment}"
            pods[endpoint.name] = Pod(endpoint.behaviour, message, endpoint.name, keep_alives=keep_alives)
    return pods


def _url(proxy: Proxy) -> str:
    return f"http://{HOST}:{next(iter(proxy.listeners.values()))}"


def _require_free(port: int) -> None:
    """Two Envoys would silently share a port (SO_REUSEPORT), so we ask for it first."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise EnvoyError(f"port {port} of {HOST} is not free: {error.strerror}") from None


# --- one repetition ----------------------------------------------------------------------


class _Run(NamedTuple):
    """What one repetition gave; `rows` are the requests as `RequestLog.of_runs` takes them."""

    rows: dict[str, list]
    attempts: dict[str, int]
    ejections: list[tuple[float, str, bool]]
    counters: dict[str, int]
    overheads: list[float]
    version: str


async def _repetition(scenario: Scenario, changes: list, seed: int, report: Callable[[float], None]) -> _Run:
    loop = asyncio.get_running_loop()
    async with Rig(scenario, seed) as rig:
        calls: list[load.Call] = []
        before, version = await rig.counters(), await rig.proxies[0][0].version()
        wall_clock, started = time.time(), loop.time()
        others = [asyncio.ensure_future(_apply_changes(rig, changes)), asyncio.ensure_future(_watch(scenario.workload, calls, started, report))]
        try:
            host, fresh = scenario.routes[0].host, _fresh_connections(scenario)
            await load.drive(scenario.workload, rig.urls, host, seed=seed, fresh_connections=fresh, calls=calls)
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        after = await rig.counters()
        counters = {name: after[name] - before[name] for name in COUNTERS}
        rows, overheads = _rows(scenario, calls)
        return _Run(rows, *await rig.observed(wall_clock), counters, overheads, version)


def _fresh_connections(scenario: Scenario) -> bool:
    """Whether the load opens a connection for each call: a loop of curl, or in the place of a pod that does."""
    workload = scenario.workload
    curl = isinstance(workload, ClosedLoop) and workload.duration is None and workload.connections == 1 and not workload.qps
    return curl or (len(scenario.routes) == 1 and scenario.new_connection_per_request)


async def _watch(workload: load.Workload, calls: list[load.Call], started: float, report: Callable[[float], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        by_calls = len(calls) / workload.calls if isinstance(workload, ClosedLoop) and workload.calls else 0.0
        by_time = (loop.time() - started) / workload.duration if workload.duration else 0.0
        report(min(1.0, max(by_calls, by_time)))
        await asyncio.sleep(0.2)


async def _apply_changes(rig: Rig, changes: list[tuple[float, dict[str, Behaviour]]]) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    for at, behaviours in changes:
        await asyncio.sleep(max(0.0, started + at - loop.time()))
        for pod, behaviour in behaviours.items():
            await rig.services.set_behaviour(pod, behaviour)


def _behaviour_changes(scenario: Scenario, change: Change) -> dict[str, Behaviour]:
    """Pod -> its behaviour from `change.at` on; EnvoyError when the change is of anything else."""
    if _without_behaviour(change.routes) != _without_behaviour(scenario.routes):
        raise EnvoyError(f"the change at {change.at:g} s: only the behaviour of pods can change, other changes are not supported on the real Envoy")
    return {endpoint.name: endpoint.behaviour for route in change.routes for endpoint in route.endpoints}


def _without_behaviour(routes: Iterable[Route]) -> list[Route]:
    def plain(endpoint: Endpoint) -> Endpoint:
        return replace(endpoint, behaviour=Behaviour())

    return [
        replace(r, destinations=tuple(replace(d, cluster=replace(d.cluster, endpoints=tuple(map(plain, d.cluster.endpoints)))) for d in r.destinations))
        for r in routes
    ]


# --- what the answers say ----------------------------------------------------------------


def _rows(scenario: Scenario, calls: Iterable[load.Call]) -> tuple[dict[str, list], list[float]]:
    """The requests as columns, and the rig's overhead (seconds) of those that met no error and no retry."""
    index = {endpoint.name: i for i, endpoint in enumerate(scenario.endpoints)}
    rows: dict[str, list] = {name: [] for name in RequestLog.FIELDS}
    overheads = []
    for call in calls:
        answer = _last_answer(call, len(scenario.routes) - 1)
        pod = index.get(answer.get("name", ""), -1)
        attempts = int(_header(answer.get("headers", {}), "x-envoy-attempt-count") or 1)
        for name, value in zip(RequestLog.FIELDS, (call.start, call.latency, call.code, pod, attempts), strict=True):
            rows[name].append(value)
        if call.code == 200 and attempts == 1 and "duration" in answer:
            overheads.append(call.latency - durationpy.from_str(answer["duration"]).total_seconds())
    return rows, overheads


def _last_answer(call: load.Call, depth: int) -> dict[str, Any]:
    """The answer that the last route gave, with its headers: inside simple-web's; {} when it was not reached."""
    answer = {**_json(call.body), "headers": call.headers}
    for _ in range(depth):
        answer = next(iter(answer.get("upstream_calls", [])), {})
    return answer


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:  # Envoy's own answers are plain text
        return {}
    return value if isinstance(value, dict) else {}


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _replay(scenario: Scenario, seed: int, runs: list[_Run]) -> Replay:
    names = [endpoint.name for endpoint in scenario.endpoints]
    log = RequestLog.of_runs([run.rows for run in runs])
    attempts = np.array([[run.attempts[name] for run in runs] for name in names]).reshape(len(names), len(runs))
    counters = {name: np.array([run.counters[name] for run in runs]) for name in COUNTERS}
    events = [(i, when, names.index(pod), left) for i, run in enumerate(runs) for when, pod, left in run.ejections]
    replication, when, pod, left = zip(*events, strict=True) if events else ((),) * 4
    ejections = Ejections(np.array(replication, int), np.array(when, float), np.array(pod, int), np.array(left, bool))
    return Replay(scenario, "envoy", log, attempts, seed=seed, counters=counters, ejections=ejections, provenance=_provenance(scenario, runs))


def _provenance(scenario: Scenario, runs: list[_Run]) -> dict[str, Any]:
    overheads = [seconds for run in runs for seconds in run.overheads]
    median, p99 = (float(q) for q in np.quantile(overheads, [0.5, 0.99])) if overheads else (None, None)
    return {
        "envoy": runs[0].version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "repetitions": len(runs),
        "workers": scenario.workers,
        "driver": "asyncio",
        "rig_overhead": {"median": median, "p99": p99, "requests": len(overheads)},
        "changes": [change.at for change in scenario.changes],
    }


# --- a thread, and progress --------------------------------------------------------------


def _in_own_thread(main: Coroutine[Any, Any, _T], cancel: threading.Event | None) -> _T:
    """Run `main` on an event loop in a thread of its own: a notebook's thread has one already.

    It is cancelled, and waited for, when `cancel` is set and when we are interrupted.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(main)
    thread = threading.Thread(target=_run, args=(loop, task), name="meshmodel-envoy")
    gc.freeze()  # a full collection of a notebook's objects would stop pods and load for tens of milliseconds
    thread.start()
    try:
        while thread.is_alive() and not (cancel is not None and cancel.is_set()):
            thread.join(0.1)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
        gc.unfreeze()
        loop.close()
    try:
        return task.result()
    except asyncio.CancelledError:
        raise Cancelled("the measurement was cancelled") from None


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(task)
    except BaseException:  # it stays in the task, whose result the other thread asks for
        pass
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())


class _Progress:
    """A bar, or calls of a function, for `repetitions` equally long parts."""

    def __init__(self, progress: bool | Callable[[float], None], repetitions: int) -> None:
        self.progress, self.repetitions = progress, repetitions
        self.bar: Any = None

    def __enter__(self) -> _Progress:
        if self.progress is True:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=100, unit="%", desc="Envoy", file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def part(self, index: int) -> Callable[[float], None]:
        """A function that takes the share done of repetition `index`."""

        def report(share: float) -> None:
            total = (index + share) / self.repetitions
            if self.bar is not None:
                self.bar.n = round(100 * total)
                self.bar.refresh()
            elif callable(self.progress):
                self.progress(total)

        return report
