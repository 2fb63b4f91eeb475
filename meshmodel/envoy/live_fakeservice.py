"""fake-service as a live HTTP server: every pod of an experiment in one asyncio process.

Each pod has its own port on 127.0.0.1 and answers with the times and codes that
`fakeservice.Sampler` draws, one request at a time, so that model and server cannot differ.
As in handlers/request_http.go of nicholasjackson/fake-service:

- an injected error is answered before anything else is done;
- then the upstream is called with the request's own path and headers, over a new connection
  unless keep-alives are on; when that fails the pod answers 500 at once;
- then it sleeps until its own service time, counted from the start, is over: a pod takes
  max(its own time, its upstream's);
- none of this stops when the caller goes away.

What fake-service cannot do, `Behaviour` can: a limit of concurrent requests (the others
wait first come first served), refused connections, resets once the request has arrived,
and requests that are never answered.

Run it in a `precise_event_loop`; in asyncio's own every answer comes 1 to 2 ms late on Linux.
"""

from __future__ import annotations

import asyncio
import json
import select
import selectors
import socket
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from aiohttp import web

from meshmodel.envoy.http_client import Client
from meshmodel.fakeservice import HANG, Sampler
from meshmodel.scenario import Behaviour, Request, ScenarioError

HOST = "127.0.0.1"
_LINGER_0 = struct.pack("ii", 1, 0)  # closing then sends RST


class Pod(NamedTuple):
    """What a pod is started with.

    `message` becomes the answer's body (JSON when it begins with "{"), `name` its name.
    `upstream_timeout` in seconds is fake-service's HTTP_CLIENT_REQUEST_TIMEOUT.
    """

    behaviour: Behaviour
    message: str = "Hello World"
    name: str = "Service"
    keep_alives: bool = False
    upstream_timeout: float = 30.0


def precise_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers fire about 0.2 ms late; use it as `asyncio.Runner(loop_factory=precise_event_loop)`.

    asyncio on Linux waits with epoll in whole milliseconds, rounded up (twice), so that
    its own loop wakes 1 to 2 ms late.
    """
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()  # kqueue's timeouts are fine enough

    class PreciseSelector(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if self.fileno() >= 1024:  # select() takes no descriptor beyond, which a process with many connections has
                return super().select(timeout)
            if timeout is None or timeout > 0:
                select.select([self], [], [], timeout)  # waits for the epoll descriptor, to the microsecond
            return super().select(0)

    return asyncio.SelectorEventLoop(PreciseSelector())


async def sleep_until(when: float) -> None:
    """Sleep until the running loop's monotonic clock shows `when` seconds."""
    await asyncio.sleep(when - asyncio.get_running_loop().time())


class _Slots:
    """A first-come-first-served semaphore whose size may change (None: as many as come)."""

    def __init__(self, size: int | None) -> None:
        self.busy = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.size = size

    async def __aenter__(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        self.admit()
        if not place.done():
            await place

    async def __aexit__(self, *_: object) -> None:
        self.busy -= 1
        self.admit()

    def admit(self) -> None:
        while self.waiting and (self.size is None or self.busy < self.size):
            place = self.waiting.popleft()
            if not place.done():
                self.busy += 1
                place.set_result(None)


class _RunningPod:
    """One pod: its port, its counter, and what it is doing."""

    def __init__(self, spec: Pod, random: np.random.Generator) -> None:
        self.spec = spec
        self.body = _body(spec.message)
        self.random = random
        self.served = 0
        self.slots = _Slots(None)
        self.tasks: dict[asyncio.Task[Any], object] = {}  # of each request: its connection
        self.server = web.Server(self._handle, access_log=None)
        self.listener: asyncio.Server | None = None
        self.upstreams: list[Client] = []
        self.socket = _bound_socket(0)
        self.port: int = self.socket.getsockname()[1]

    async def behave(self, behaviour: Behaviour) -> None:
        """Take on a behaviour, now; requests being worked on finish as they began."""
        self.spec = self.spec._replace(behaviour=behaviour)
        self.sampler = Sampler([behaviour])
        self.slots.size = behaviour.concurrency
        self.slots.admit()
        if behaviour.failure == "refused":
            self._stop_listening()
        elif self.listener is None:
            # Inherited by the connections, so that the port can be bound again while they last.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            loop = asyncio.get_running_loop()
            self.listener = await loop.create_server(self.server, sock=self.socket, backlog=1024)

    def _stop_listening(self) -> None:
        """Keep the port but accept nothing; idle connections close, busy ones after their answer."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
            self.socket.close()
            self.socket = _bound_socket(self.port)
            busy = set(self.tasks.values())
            for connection in self.server.connections:
                if connection in busy:
                    connection.close()
                else:
                    connection.force_close()

    async def close(self) -> None:
        """End every request, connection and the listener."""
        if self.listener is not None:
            self.listener.close()
        self.socket.close()
        self.server.pre_shutdown()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.shutdown(timeout=0.1)
        self.call([])

    def call(self, urls: Iterable[str]) -> None:
        """Call these URLs for each request from now on, one after another."""
        for upstream in self.upstreams:
            upstream.close()
        self.upstreams = [Client(url, keep_alives=self.spec.keep_alives, timeout=self.spec.upstream_timeout) for url in urls]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # aiohttp lets a handler run on when its caller has gone; we remember it so that `close` can end it.
        task = asyncio.current_task()
        assert task is not None
        self.tasks[task] = request.protocol
        self.served += 1
        number = self.served
        try:
            if self.spec.behaviour.failure != "none":
                return await self._fail(request)
            async with self.slots:
                return await self._answer(request, number)
        finally:
            del self.tasks[task]

    async def _fail(self, request: web.BaseRequest) -> web.StreamResponse:
        """Never answer, or reset the connection (also one left over by a pod that now refuses)."""
        if self._draw(0)[1] == HANG:
            await asyncio.get_running_loop().create_future()
        reset_connection(request)
        return web.Response()

    def _draw(self, number: int) -> tuple[float, int]:
        u, v = self.random.random((2, 1))
        seconds, code = self.sampler.answers(np.zeros(1, dtype=np.intp), np.array([number]), u, v)
        return float(seconds[0]), int(code[0])

    async def _answer(self, request: web.BaseRequest, number: int) -> web.Response:
        loop = asyncio.get_running_loop()
        started, wall_clock = loop.time(), datetime.now()
        seconds, code = self._draw(number)
        answer: dict[str, Any] = {"name": self.spec.name, "uri": request.path_qs, "type": "HTTP", "ip_addresses": [HOST]}
        if code != 200:
            await sleep_until(started + seconds)
            return _response({**answer, "code": code, "error": "error injected by the service"})
        for upstream in self.upstreams:
            call = await _call(upstream, request)
            answer.setdefault("upstream_calls", []).append(call)
            if "error" in call:  # its only worker ends: no other upstream is called
                code = 500
                break
        if code == 200:
            await sleep_until(started + seconds)
        answer |= {
            "start_time": wall_clock.isoformat(),
            "end_time": datetime.now().isoformat(),
            "duration": _go_duration(loop.time() - started),
            "body": self.body,
            "code": code,
        }
        return _response(answer)


async def _call(upstream: Client, received: web.BaseRequest) -> dict[str, Any]:
    """The upstream's own answer with our view of it (`uri`, `code`), and `error` unless it is 200."""
    try:
        code, headers, body = await upstream.send(Request(path=received.rel_url.raw_path_qs, headers=_handed_on(received)))
    except OSError as error:
        return {"uri": upstream.url, "code": -1, "error": f"no answer from the upstream: {type(error).__name__}"}
    answer = {**json_object(body), "uri": upstream.url, "headers": headers, "code": code}
    return answer if code == 200 else {**answer, "error": f"expected code 200 from the upstream, got {code}"}


def _handed_on(received: web.BaseRequest) -> tuple[tuple[str, str], ...]:
    """The caller's own headers, as fake-service hands them on (HTTP_CLIENT_APPEND_REQUEST), not those of proxies and connections."""
    ours = {"host", "user-agent", "connection", "content-length", "transfer-encoding", "x-request-id", "x-forwarded-proto"}
    return tuple(
        (name, value) for name, value in received.headers.items() if not (name.lower() in ours or name.lower().startswith("x-envoy-"))
    )


class FakeServices:
    """All pods of an experiment, listening while the context is open.

        async with FakeServices({"simple-backend-1-0": Pod(behaviour, "Hello", "simple-backend-1")}) as services:
            services.ports["simple-backend-1-0"]

    `seed` seeds the draws of all pods (None: from the system).
    """

    def __init__(self, pods: Mapping[str, Pod], seed: int | None = None) -> None:
        self._specs = pods
        self._seed = seed
        self._pods: dict[str, _RunningPod] = {}

    async def __aenter__(self) -> FakeServices:
        try:
            for random, (name, spec) in zip(np.random.default_rng(self._seed).spawn(len(self._specs)), self._specs.items(), strict=True):
                self._pods[name] = _RunningPod(spec, random)
                await self._pods[name].behave(spec.behaviour)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every port and connection and end every request; may be called again."""
        await asyncio.gather(*(pod.close() for pod in self._pods.values()))

    @property
    def ports(self) -> dict[str, int]:
        """Pod name to its port on 127.0.0.1; a pod keeps its port when it refuses connections."""
        return {name: pod.port for name, pod in self._pods.items()}

    @property
    def served(self) -> dict[str, int]:
        """Pod name to how many requests have reached it, whatever became of them."""
        return {name: pod.served for name, pod in self._pods.items()}

    def url(self, pod: str) -> str:
        """The URL of a pod, without a slash at its end."""
        return f"http://{HOST}:{self._pods[pod].port}"

    async def set_behaviour(self, pod: str, behaviour: Behaviour) -> None:
        """Change a running pod.  Its request counter goes on."""
        await self._pods[pod].behave(behaviour)

    def set_upstreams(self, pod: str, *urls: str) -> None:
        """Change the URLs that a pod calls for each of its requests, one after another (none: calls nothing)."""
        self._pods[pod].call(urls)


def reset_connection(request: web.BaseRequest) -> None:
    """Close the request's connection with a TCP RST."""
    transport = request.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        transport.abort()


def _bound_socket(port: int) -> socket.socket:
    """A socket that owns a port (0: a free one) and does not listen: connections to it are refused."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if port else 0)
        bound.bind((HOST, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # else another socket might share the port
    except BaseException:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def _response(answer: dict[str, Any]) -> web.Response:
    text = json.dumps(answer) + "\n"  # unlike fake-service's without indentation, which costs 0.1 ms
    return web.Response(body=text.encode(), status=answer["code"], content_type="text/plain", charset="utf-8")


def _body(message: str) -> Any:
    """MESSAGE as fake-service reads it: JSON when it begins with "{", else text."""
    try:
        return json.loads(message) if message.startswith("{") else message
    except ValueError as error:
        raise ScenarioError(f"MESSAGE: begins with {{ and is not JSON: {error}") from None


def json_object(text: bytes) -> dict[str, Any]:
    """The object in `text`; empty when it holds anything else, such as a proxy's error message."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _go_duration(seconds: float) -> str:
    """A duration as Go prints one: 150.3214ms, 1.000412s."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.6f}".rstrip("0").rstrip(".") + unit
    return f"{seconds * 1e6:.3f}".rstrip("0").rstrip(".") + "µs"
