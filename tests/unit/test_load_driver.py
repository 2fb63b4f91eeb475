"""The load that the real Envoy gets: what a client sends, and when it gives up."""

from __future__ import annotations

import asyncio
import math
import re

import numpy as np
import pytest

from meshmodel.envoy import load
from meshmodel.envoy.live_fakeservice import FakeServices, Pod
from meshmodel.envoy.load import Call, drive
from meshmodel.scenario import Behaviour, ClosedLoop, OpenLoop, Request, Workload
from tests.virtual_time import run

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def driven(workload: Workload, silent: set[int]) -> tuple[list[Call], list[bytes], int]:
    """The calls of a load on a server that leaves the requests numbered `silent` (from 0) unanswered; what it got; its connections."""
    requests: list[bytes] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if len(requests) - 1 not in silent:
                    writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        calls = await drive(workload, [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"], "web.example")
        await asyncio.gather(*filter(None, serving))
    return calls, requests, len(serving)


def test_a_call_is_given_up_after_the_timeout_and_the_next_one_has_a_new_connection() -> None:
    calls, _, connections = run(lambda: driven(ClosedLoop(calls=4, timeout=0.05), silent={1}))
    assert [call.answer.code for call in calls] == [200, -1, 200, 200] and connections == 2
    assert [call.latency for call in calls] == [0, 0.05, 0, 0] and [call.start for call in calls] == [0, 0, 0.05, 0.05]


def test_who_waits_for_ever_calls_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "NEVER", 0.05)
    calls, requests, _ = run(lambda: driven(ClosedLoop(calls=4), silent={1}))
    assert [call.latency < math.inf for call in calls] == [True, False] and len(requests) == 2


def test_arrivals_do_not_wait_for_who_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "NEVER", 0.05)
    calls, requests, _ = run(lambda: driven(OpenLoop(segments=((0.05, 100, 100),), arrivals="paced"), silent={1}))
    assert len(requests) == len(calls) == 5
    assert sum(call.latency == math.inf for call in calls) == 1


@pytest.mark.parametrize(
    ("workload", "named"),
    [
        (ClosedLoop(connections=10**8, duration=60), "connections: 100000000"),
        (ClosedLoop(connections=1, calls=10**9), "calls: about 1e+09"),
        (ClosedLoop(connections=1, qps=1, duration=1e10), "calls: about 1e+10"),
        (OpenLoop(segments=((60, 1e9, 1e9),)), "calls: about 6e+10"),
    ],
)
def test_a_load_that_this_machine_cannot_make_is_refused_from_scalars(workload: Workload, named: str) -> None:
    with pytest.raises(load.TooMuch, match=re.escape(named)):
        load.refuse_too_much(workload)


async def on_a_pod(workload: Workload, seconds: float) -> list[Call]:
    """The calls of a load on a pod that takes `seconds` for each."""
    async with FakeServices({"a": Pod(Behaviour(timing_50_percentile=seconds))}) as services:
        return await drive(workload, [services.url("a")], "web.example")


def test_closed_loop_keeps_fortios_schedule() -> None:
    """4 calls of each of 2 threads at 4 a second in all: before call i, (i + i/3) / 2 seconds."""
    calls = run(lambda: on_a_pod(ClosedLoop(connections=2, qps=4.0, duration=2.0), 0.01))
    assert [call.start for call in calls] == pytest.approx(np.repeat(np.arange(4) * 4 / 3 / 2, 2))
    assert [call.latency for call in calls] == pytest.approx([0.01] * 8)


def test_who_is_late_does_not_sleep() -> None:
    calls = run(lambda: on_a_pod(ClosedLoop(connections=1, qps=4.0, duration=2.0), 0.7))
    assert [call.start for call in calls] == pytest.approx([0, 0.7, 1.4])


def test_open_loop_does_not_wait_for_answers() -> None:
    calls = run(lambda: on_a_pod(OpenLoop(segments=((0.5, 20.0, 20.0),), arrivals="paced"), 0.6))
    assert [call.start for call in calls] == pytest.approx(np.arange(10) / 20)
    assert [call.latency for call in calls] == pytest.approx([0.6] * 10)


def test_the_request_is_sent_as_it_was_given() -> None:
    asked = Request(path="/cart?id=7", method="POST", headers=(("x-user", "jason"), ("x-user", "maria")))
    _, requests, _ = run(lambda: driven(ClosedLoop(calls=1, request=asked), silent=set()))
    lines = requests[0].split(b"\r\n")
    assert lines[:2] == [b"POST /cart?id=7 HTTP/1.1", b"Host: web.example"]
    assert [line for line in lines if line.startswith(b"x-user")] == [b"x-user: jason", b"x-user: maria"]
    assert b"Content-Length: 0" in lines
