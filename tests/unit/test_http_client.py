"""The small HTTP client: what it takes for an answer, and what it does with connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from meshmodel.envoy.http_client import Answer, Client
from tests.virtual_time import run


async def calls(replies: Sequence[bytes], keep_alives: bool = True) -> tuple[list[Answer | OSError], list[bytes], int]:
    """What `get` gave for each of a server's raw replies; the requests as sent; how many connections there were."""
    left, requests, connections = list(replies), [], 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                requests.append(request)
                writer.write(reply := left.pop(0))
                if not reply.endswith(b"}"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "web.example", keep_alives, timeout=2.0)
        answers: list[Answer | OSError] = []
        for _ in replies:
            try:
                answers.append(await client.get("/a%20b"))
            except OSError as error:
                answers.append(error)
            await asyncio.sleep(0.02)  # of a clock that waits until the server's closing has arrived
        client.close()
        await asyncio.sleep(0.02)
    return answers, requests, connections


GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-envoy-attempt-count: 3\r\n\r\n{}"


@pytest.mark.parametrize(("keep_alives", "connections"), [(True, 1), (False, 3)])
def test_answers_and_connections(keep_alives: bool, connections: int) -> None:
    answers, requests, opened = run(lambda: calls([GOOD] * 3, keep_alives))
    assert answers == [Answer(200, {"Content-Length": "2", "X-Envoy-Attempt-Count": "3"}, b"{}")] * 3 and opened == connections
    head = requests[0].split(b"\r\n")
    assert head[:2] == [b"GET /a%20b HTTP/1.1", b"Host: web.example"] and (b"Connection: close" in head) != keep_alives


@pytest.mark.parametrize("bad", [b"nonsense", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12", b""])
def test_what_is_no_answer_is_an_error_and_the_next_call_works(bad: bytes) -> None:
    (first, second), _, opened = run(lambda: calls([bad, GOOD]))
    assert isinstance(first, ConnectionError) and isinstance(second, Answer) and opened == 2


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    closing = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
    answers, _, opened = run(lambda: calls([closing, GOOD]))
    assert [a.code for a in answers if isinstance(a, Answer)] == [503, 200] and opened == 2


def test_the_timeout_is_an_error() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.05)
            with pytest.raises(TimeoutError):
                await client.get()
            await asyncio.sleep(0.02)

    run(test)
