"""GET over HTTP/1.1, as little as loopback needs: answers with a Content-Length, one at a time on a connection.

aiohttp's client would do, but it takes a quarter of a millisecond of processor time for a
call, and closed loops make theirs in bursts: many times that would be in the latencies.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """An answer; names of headers as Go writes them (X-Envoy-Attempt-Count)."""

    code: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Calls one server, on an idle connection if there is one; `keep_alives` False: always on a new one, as curl.

    `url` may end with a path, which goes before that of `get`; `timeout` in seconds is for a whole call.
    """

    def __init__(self, url: str, host: str | None = None, keep_alives: bool = True, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self.url, self.timeout, self.keep_alives = url, timeout, keep_alives
        self._address, self._prefix = (parts.hostname, parts.port or 80), parts.path.rstrip("/")
        self._headers = f"Host: {host or parts.netloc}\r\nUser-Agent: meshmodel\r\n" + ("" if keep_alives else "Connection: close\r\n")
        self._idle: list[_Connection] = []

    async def get(self, path: str = "/") -> Answer:
        """The answer to GET `path`, which is percent-encoded.  Raises OSError (TimeoutError is one) when none comes."""
        async with asyncio.timeout(self.timeout):
            while self._idle and self._idle[-1].transport.is_closing():
                self._idle.pop()
            if self._idle:
                connection = self._idle.pop()
            else:
                _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
            try:
                answer = await connection.exchange(f"GET {self._prefix}{path} HTTP/1.1\r\n{self._headers}\r\n".encode())
            except BaseException:
                connection.transport.abort()
                raise
        if self.keep_alives and answer.headers.get("Connection") != "close":
            self._idle.append(connection)
        else:
            connection.transport.close()
        return answer

    def close(self) -> None:
        """Close the idle connections; the others close with their calls' cancellation."""
        while self._idle:
            self._idle.pop().transport.close()


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def exchange(self, request: bytes) -> Answer:
        self.received, self.answer = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or self.answer.done():
            return
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        try:
            code = int(status.split()[1])
            length = 0 if code in (204, 304) else int(headers["Content-Length"])
        except (LookupError, ValueError):
            self.answer.set_exception(ConnectionError("not an HTTP answer with a Content-Length"))
        else:
            if len(body) >= length:
                self.answer.set_result(Answer(code, headers, body))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(error or ConnectionResetError("closed before the answer"))
