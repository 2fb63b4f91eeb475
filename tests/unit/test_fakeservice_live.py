"""The live fake-service on real loopback: what it answers, when, and that nothing is left behind.

Times are those of a clock that stands still while anything is to be done: exact, on any machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import durationpy
import numpy as np
import pytest

from meshmodel.envoy.live_fakeservice import FakeServices, Pod, precise_event_loop, sleep_until
from meshmodel.scenario import Behaviour, ScenarioError
from tests.virtual_time import run

Get = Callable[..., Awaitable[tuple[int, dict, float]]]


def exactly(seconds: float) -> object:
    """Seconds of the clock, to its last digits."""
    return pytest.approx(seconds, abs=1e-9)


@asynccontextmanager
async def serving(**pods: Pod) -> AsyncIterator[tuple[FakeServices, Get]]:
    """The services, and `get(pod)` giving status, JSON body and seconds."""
    async with FakeServices(pods, seed=1) as services, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def get(pod: str, path: str = "/", timeout: float = 5.0) -> tuple[int, dict, float]:
            now = asyncio.get_running_loop().time
            start = now()
            async with client.get(services.url(pod) + path, timeout=aiohttp.ClientTimeout(timeout)) as response:
                return response.status, await response.json(content_type=None), now() - start

        yield services, get


def pod(**behaviour: object) -> Pod:
    return Pod(Behaviour(**behaviour), "Hello", "simple-backend-1")  # type: ignore[arg-type]


async def eventually(condition: Callable[[], bool]) -> None:
    """Until it is so; in a second of this clock everything is over that the tests begin."""
    due = asyncio.get_running_loop().time() + 1
    while not condition():
        assert asyncio.get_running_loop().time() < due, "nothing is to be done any more, and it is not so"
        await asyncio.sleep(0.01)


def test_the_answer_is_fake_services() -> None:
    async def test() -> None:
        async with serving(slow=pod(timing_50_percentile=0.1), json=Pod(Behaviour(), '{"a": 1}', "j")) as (services, get):
            code, body, seconds = await get("slow", "/path?q=1")
            assert code == body["code"] == 200
            assert (body["name"], body["body"], body["uri"], body["type"]) == ("simple-backend-1", "Hello", "/path?q=1", "HTTP")
            assert "upstream_calls" not in body
            assert durationpy.from_str(body["duration"]).total_seconds() == seconds == exactly(0.1)
            assert body["start_time"] < body["end_time"]
            assert (await get("json"))[1]["body"] == {"a": 1}
            assert services.served == {"slow": 1, "json": 1}

    run(test)


def test_errors_are_counted_per_pod_and_http_error_takes_no_time() -> None:
    async def test() -> None:
        every_third = pod(timing_50_percentile=0.02, error_rate=0.3, error_code=503)
        async with serving(a=every_third, b=every_third) as (_, get):
            answers = [await get(name) for name in "aabbaaabab"]
            assert [code for code, _, _ in answers] == [200, 200, 200, 200, 503, 200, 200, 503, 503, 200]
            body = answers[4][1]
            assert body["code"] == 503 and "error" in body and "body" not in body
        async with serving(a=pod(timing_50_percentile=1, error_rate=1, error_delay=1)) as (_, get):
            assert (await get("a"))[2] == 0

    run(test)


def test_delay_sleeps_then_fails() -> None:
    async def test() -> None:
        async with serving(a=pod(error_type="delay", error_delay=0.1, error_rate=0.75, error_code=500)) as (_, get):
            code, _, seconds = await get("a")
            assert code == 500 and seconds == exactly(0.1)

    run(test)


def test_nominal_errors_are_drawn() -> None:
    """Binomial(400, 0.5) lies outside 160 .. 240 once in 15,000 seeds; the counter would give every second."""

    async def test() -> None:
        async with serving(a=pod(error_rate=0.5, injector="nominal")) as (_, get):
            codes = np.array([(await get("a"))[0] for _ in range(400)])
            assert 160 <= np.sum(codes == 500) <= 240
            assert not np.all(codes[1::2] == 500)

    run(test)


def test_concurrency_is_first_come_first_served() -> None:
    async def test() -> None:
        async with serving(a=pod(timing_50_percentile=0.06, concurrency=2)) as (_, get):
            order: list[int] = []

            async def caller(i: int) -> float:
                await asyncio.sleep(0.008 * i)
                seconds = (await get("a"))[2]
                order.append(i)
                return seconds

            seconds = await asyncio.gather(*(caller(i) for i in range(6)))
            assert order == [0, 1, 2, 3, 4, 5]
            ends = [0.06, 0.068, 0.12, 0.128, 0.18, 0.188]  # two at a time
            assert seconds == [exactly(end - 0.008 * i) for i, end in enumerate(ends)]

    run(test)


def test_work_goes_on_when_the_caller_has_gone() -> None:
    async def test() -> None:
        async with serving(a=pod(timing_50_percentile=0.2, concurrency=1)) as (services, get):
            with pytest.raises(asyncio.TimeoutError):
                await get("a", timeout=0.03)
            assert services.served == {"a": 1}
            assert (await get("a"))[2] == exactly(0.17 + 0.2)  # waits for what the first left behind

    run(test)


def test_refused_reset_and_hang() -> None:
    async def test() -> None:
        async with serving(refused=pod(failure="refused"), reset=pod(failure="reset"), hang=pod(failure="hang")) as (services, get):
            with pytest.raises(aiohttp.ClientConnectorError) as error:
                await get("refused")
            assert isinstance(error.value.os_error, ConnectionRefusedError)
            with pytest.raises(asyncio.TimeoutError):
                await get("hang", timeout=0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", services.ports["reset"])
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            assert services.served == {"refused": 0, "reset": 1, "hang": 1}

    run(test)


def test_behaviour_changes_while_running_and_the_port_stays() -> None:
    async def test() -> None:
        async with serving(a=pod(error_rate=0.5)) as (services, get):
            port = services.ports["a"]
            codes = [(await get("a"))[0]]
            await services.set_behaviour("a", Behaviour(failure="refused"))
            with pytest.raises(aiohttp.ClientConnectionError):  # the kept connection is closed, a new one refused
                await get("a")
            await services.set_behaviour("a", Behaviour(failure="reset"))
            with pytest.raises(aiohttp.ClientConnectionError):
                await get("a")
            await services.set_behaviour("a", Behaviour(error_rate=1, error_code=418))
            codes.append((await get("a"))[0])
            await services.set_behaviour("a", Behaviour())
            codes.append((await get("a"))[0])
            assert codes == [200, 418, 200] and services.ports["a"] == port

    run(test)


def test_a_pod_that_begins_to_refuse_finishes_what_it_works_on_and_then_closes_the_connection() -> None:
    async def test() -> None:
        async with serving(a=pod(timing_50_percentile=0.1)) as (services, get):
            call = asyncio.create_task(get("a"))
            await eventually(lambda: services.served["a"] == 1)
            await services.set_behaviour("a", Behaviour(failure="refused"))
            assert (await call)[0] == 200
            with pytest.raises(aiohttp.ClientConnectionError):
                await get("a")
            assert services.served["a"] == 1

    run(test)


def test_a_wider_limit_lets_the_waiting_in() -> None:
    async def test() -> None:
        async with serving(a=pod(timing_50_percentile=0.15, concurrency=1)) as (services, get):
            calls = [asyncio.create_task(get("a")) for _ in range(5)]
            await eventually(lambda: services.served["a"] == 5)
            await services.set_behaviour("a", Behaviour(timing_50_percentile=0.15))
            waited = asyncio.get_running_loop().time()
            # One by one it would have taken up to 0.75 s.
            assert [s for _, _, s in await asyncio.gather(*calls)] == [exactly(0.15), *[exactly(waited + 0.15)] * 4]

    run(test)


def test_simple_web_reports_its_upstream_call() -> None:
    async def test() -> None:
        async with serving(web=pod(timing_50_percentile=0.3), backend=pod(timing_50_percentile=0.4, error_rate=0.5, error_code=503)) as (
            services,
            get,
        ):
            services.set_upstreams("web", services.url("backend"))
            code, body, seconds = await get("web", "/x")
            assert code == 200 and seconds == exactly(0.4)  # the larger of both, not the sum
            (call,) = body["upstream_calls"]
            assert (call["body"], call["code"], call["uri"]) == ("Hello", 200, services.url("backend"))
            assert durationpy.from_str(call["duration"]).total_seconds() == exactly(0.4)

            code, body, seconds = await get("web")
            assert code == body["code"] == 500 and seconds == 0  # at once, without its own 0.3 s
            assert body["upstream_calls"][0]["code"] == 503 and "error" in body["upstream_calls"][0]

            await services.set_behaviour("backend", Behaviour())
            assert (await get("web"))[2] == exactly(0.3)

    run(test)


def test_simple_web_makes_its_calls_one_after_another_until_one_fails() -> None:
    async def test() -> None:
        async with serving(web=pod(), a=pod(timing_50_percentile=0.2, error_rate=0.5), b=pod(timing_50_percentile=0.3)) as (services, get):
            services.set_upstreams("web", services.url("a"), services.url("b"))
            code, body, seconds = await get("web")
            assert code == 200 and seconds == exactly(0.5)
            assert [call["uri"] for call in body["upstream_calls"]] == [services.url("a"), services.url("b")]
            code, body, seconds = await get("web")
            assert code == 500 and len(body["upstream_calls"]) == 1
            assert services.served == {"web": 2, "a": 2, "b": 1}

    run(test)


@pytest.mark.parametrize("failure", ["refused", "reset", "hang"])
def test_simple_web_answers_500_when_its_upstream_does_not_answer(failure: str) -> None:
    async def test() -> None:
        web = Pod(Behaviour(), "web", "simple-web", upstream_timeout=0.1)
        async with serving(web=web, backend=pod(failure=failure)) as (services, get):
            services.set_upstreams("web", services.url("backend"))
            code, body, _ = await get("web")
            assert code == 500 and body["upstream_calls"][0]["code"] == -1

    run(test)


def test_simple_web_understands_a_proxys_plain_text() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 24\r\n\r\nupstream request timeout")
        await writer.drain()
        writer.close()

    async def test() -> None:
        proxy = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with proxy, serving(web=pod()) as (services, get):
            services.set_upstreams("web", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/")
            code, body, _ = await get("web")
            assert code == 500 and body["upstream_calls"][0]["code"] == 504 and "body" not in body["upstream_calls"][0]

    run(test)


@pytest.mark.parametrize(("keep_alives", "connections"), [(False, 3), (True, 1)])
def test_simple_web_opens_a_connection_per_call_unless_kept_alive(keep_alives: bool, connections: int) -> None:
    async def test() -> None:
        opened = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal opened
            opened += 1
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except asyncio.IncompleteReadError:
                writer.close()

        upstream = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with upstream, serving(web=Pod(Behaviour(), keep_alives=keep_alives)) as (services, get):
            services.set_upstreams("web", f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}")
            assert [(await get("web"))[0] for _ in range(3)] == [200] * 3
            assert opened == connections

    run(test)


def test_simple_webs_upstream_call_outlives_its_caller() -> None:
    async def test() -> None:
        async with serving(edge=pod(), web=pod(), backend=pod()) as (services, get):
            await services.set_behaviour("web", Behaviour(timing_50_percentile=0.0))
            await services.set_behaviour("backend", Behaviour(timing_50_percentile=0.1))
            services.set_upstreams("web", services.url("backend"))
            services.set_upstreams("edge", services.url("web"))
            with pytest.raises(asyncio.TimeoutError):
                await get("edge", timeout=0.04)
            assert services.served == {"edge": 1, "web": 1, "backend": 1}
            calls = [*services._pods["web"].tasks, *services._pods["edge"].tasks]
            assert len(calls) == 2
            await eventually(lambda: all(task.done() for task in calls))
            assert not any(task.cancelled() for task in calls)

    run(test)


def test_closing_ends_everything_at_once() -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        pods = {"slow": pod(timing_50_percentile=60), "hang": pod(failure="hang"), "one": pod(timing_50_percentile=60, concurrency=1)}
        callers: list[asyncio.Task] = []
        async with aiohttp.ClientSession() as client:
            async with FakeServices(pods | {"web": pod(), "refused": pod(failure="refused")}) as services:
                services.set_upstreams("web", services.url("slow"))
                for name in ("slow", "hang", "one", "one", "web"):
                    callers.append(asyncio.create_task(client.get(services.url(name))))
                await eventually(lambda: services.served == {"slow": 2, "hang": 1, "one": 2, "web": 1, "refused": 0})
                ports, before_closing = services.ports, asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() <= before_closing + 0.1  # what aiohttp's connections are granted
            answers = await asyncio.gather(*callers, return_exceptions=True)
            assert all(isinstance(a, aiohttp.ClientError) for a in answers)
        await services.close()  # again: nothing happens
        await eventually(lambda: asyncio.all_tasks() <= before)
        for port in ports.values():
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

    run(test)


def test_an_error_inside_the_context_closes_the_ports() -> None:
    async def test() -> None:
        with pytest.raises(KeyError):
            async with FakeServices({"a": pod()}) as services:
                raise KeyError
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", services.ports["a"])) != 0

    run(test)


def test_a_message_that_is_no_json_is_refused_when_it_begins_like_json() -> None:
    async def test() -> None:
        with pytest.raises(ScenarioError, match="^MESSAGE: "):
            async with FakeServices({"good": pod(), "bad": Pod(Behaviour(), "{oops")}):
                pass

    run(test)


def test_the_server_adds_nothing_to_the_time_of_a_request() -> None:
    async def test() -> None:
        async with serving(a=pod(timing_50_percentile=0.0121)) as (_, get):
            answers = await asyncio.gather(*(get("a") for _ in range(40)))
            assert [durationpy.from_str(body["duration"]).total_seconds() for _, body, _ in answers] == [exactly(0.0121)] * 40

    run(test)


def test_sleep_until_never_wakes_early() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            due = loop.time() + 0.0034
            await sleep_until(due)
            assert loop.time() >= due - 1e-6
        await sleep_until(loop.time() - 1)

    with asyncio.Runner(loop_factory=precise_event_loop) as runner:
        runner.run(test())


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll rounds to milliseconds")
def test_the_precise_loop_asks_for_the_time_itself_and_not_for_whole_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's own loop would wait 4 ms for these 3.4."""
    asked: list[float] = []

    def waiting(*files: object, wait: Callable = select.select) -> object:
        asked.append(files[3])  # type: ignore[arg-type]
        return wait(*files)

    monkeypatch.setattr(select, "select", waiting)
    with asyncio.Runner(loop_factory=precise_event_loop) as runner:
        runner.run(asyncio.sleep(0.0034))
    assert asked and all(0 < seconds <= 0.0034 for seconds in asked)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll has a descriptor")
def test_the_precise_loop_works_in_a_process_with_more_than_1024_files() -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1100:
        pytest.skip("no more than 1,100 files may be open")
    with contextlib.ExitStack() as files:
        while files.enter_context(open(os.devnull)).fileno() < 1030:
            pass
        with asyncio.Runner(loop_factory=precise_event_loop) as runner:
            runner.run(asyncio.sleep(0.0034))
