"""A scenario's pods and proxies, live on loopback: what `measure` loads, or a reader with curl.

    load ──> Envoy of the gateway ──> simple-web ──> Envoy of simple-web ──> pods

Every caller pod of the scenario has its own Envoy process, with its own balancing and
outlier state and `scenario.workers` worker threads.  Left out are the proxies that Istio
puts before simple-web and the pods, as they decide nothing; only where a cluster speaks
HTTP/2 one stands before the pods, which speak HTTP/1.1.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from meshmodel import _files
from meshmodel.envoy import observed
from meshmodel.envoy.config import HOST, bootstrap, discovery_response, endpoints_file, inbound_bootstrap
from meshmodel.envoy.folders import temporary_folder
from meshmodel.envoy.live_fakeservice import FakeServices, Pod
from meshmodel.envoy.load import all_of
from meshmodel.envoy.observed import Attempt, HostEvent
from meshmodel.envoy.process import EnvoyError, Proxy
from meshmodel.scenario import Route, Scenario, calls_of

COUNTERS = (
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_pending_overflow",
    "upstream_rq_active_overflow",  # where Envoy 1.40 counts max_requests; older ones count it as pending_overflow
    "upstream_rq_pending_failure_eject",
    "upstream_cx_total",
    "upstream_cx_overflow",
    "upstream_cx_connect_fail",
    "upstream_cx_max_requests",
    "lb_healthy_panic",
    "outlier_detection.ejections_active",
    "outlier_detection.ejections_enforced_total",
    "outlier_detection.ejections_overflow",
)
"""Counters of the last route's clusters, summed over them and their callers, that a `Replay` gets."""


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
        if any(cluster.connection_pool.http2 for route in self.scenario.routes for cluster in route.clusters):
            inbound = await self._stack.enter_async_context(Proxy("before the pods", inbound_bootstrap(ports), self.scenario.workers))
            ports = inbound.listeners
        self.ports = ports
        self.pod_of_port = {port: name for name, port in ports.items()}
        self.folders = self._discovery() if self.scenario.membership_changes else None
        _require_free(self.port)
        self.proxies = [[self._proxy(r, c) for c in range(len(route.callers))] for r, route in enumerate(self.scenario.routes)]
        await _enter_all(self._stack, [proxy for row in self.proxies for proxy in row])
        for number, route in enumerate(self.scenario.routes):
            calls = [self.proxies[called] for called in calls_of(self.scenario.routes, number)]
            for place, endpoint in enumerate(route.endpoints if calls else ()):
                self.services.set_upstreams(endpoint.name, *(_url(proxies[place]) for proxies in calls))
        self.urls = [_url(proxy) for proxy in self.proxies[0]]

    def _proxy(self, route: int, caller: int) -> Proxy:
        listen, last = self.port if route == caller == 0 else 0, route == len(self.scenario.routes) - 1
        discovery = self.folders[caller] if self.folders and last else None
        config = bootstrap(self.scenario, route, caller, ports=self.ports, listen=listen, observed=True, discovery=discovery)
        return Proxy(self.scenario.routes[route].callers[caller].name, config, self.scenario.workers)

    def _discovery(self) -> list[Path]:
        """A folder for each caller of the last route, with its clusters' endpoints at the start."""
        top = self._stack.enter_context(temporary_folder())
        folders = [top / str(caller) for caller in range(len(self.scenario.routes[-1].callers))]
        for folder in folders:
            folder.mkdir()
        self._publish(self.scenario.routes[-1], folders)
        return folders

    def _publish(self, route: Route, folders: Sequence[Path]) -> None:
        """Tell every caller its clusters' endpoints: Envoy looks for files that are moved into place."""
        for caller, folder in enumerate(folders):
            for cluster in route.clusters:
                _files.write(endpoints_file(folder, cluster), json.dumps(discovery_response(cluster, caller, self.ports)))

    async def change(self, routes: Sequence[Route]) -> None:
        """Let these routes' pods and endpoints hold from now on."""
        for endpoint in {e.name: e for route in routes for e in route.endpoints}.values():
            await self.services.set_behaviour(endpoint.name, endpoint.behaviour)
        if self.folders:
            self._publish(routes[-1], self.folders)

    async def counters(self) -> dict[str, int]:
        """`COUNTERS` now."""
        each = [await proxy.counters(COUNTERS) for proxy in self.proxies[-1]]
        return {name: sum(values[name] for values in each) for name in COUNTERS}

    async def observed(self, start: float) -> tuple[list[Attempt], list[HostEvent]]:
        """Every attempt of every proxy, and every ejection and return, in seconds after the wall clock's `start`."""
        proxies = [(hop, proxy) for hop, row in enumerate(self.proxies) for proxy in row]
        lines = [(hop, proxy.name, line) for hop, proxy in proxies for line in await proxy.log()]
        return observed.attempts(lines, start, self._pod), observed.host_events(lines, start, self._pod)

    def reached(self, attempts: Iterable[Attempt]) -> dict[str, int]:
        """How many of `attempts` reached each pod of the last route; of copies, whose attempts Envoy does not log, what they served."""
        last = len(self.scenario.routes) - 1
        counts = Counter(each.endpoint for each in attempts if each.hop == last and each.reached)
        copies = {e.name for mirror in self.scenario.routes[-1].mirrors for e in mirror.cluster.endpoints}
        return {pod: self.services.served[pod] if pod in copies else counts[pod] for pod in self.scenario.pod_names}

    def _pod(self, address: str) -> str:
        return self.pod_of_port[int(address.rpartition(":")[2])]


async def _enter_all(stack: AsyncExitStack, proxies: Sequence[Proxy]) -> None:
    """Start them side by side; when one fails the others are stopped."""
    for proxy in proxies:
        stack.push_async_exit(proxy.__aexit__)
    await all_of(*(proxy.__aenter__() for proxy in proxies))


def _pods(scenario: Scenario) -> dict[str, Pod]:
    """Every pod that there will ever be, as it is at first."""
    pods: dict[str, Pod] = {}
    for index, route in ((index, route) for chain in scenario.chains for index, route in enumerate(chain)):
        for endpoint in route.endpoints:
            keep_alives = index == len(scenario.routes) - 1 or not scenario.new_connection_per_request
            message = endpoint.message or f"Hello from {endpoint.deployment}"
            pods.setdefault(endpoint.name, Pod(endpoint.behaviour, message, endpoint.name, keep_alives=keep_alives))
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
