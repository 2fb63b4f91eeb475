"""Calls over HTTP/1.1, as little as loopback needs: answers of known length, one at a time on a connection.

aiohttp's client would do, but takes several times the processor time for a call; closed
loops make theirs in bursts, and a burst's whole cost is in its last latency.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

from meshmodel.scenario import Request


class Answer(NamedTuple):
    """An answer; its headers' names as Go writes them (X-Envoy-Attempt-Count)."""

    code: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Calls one server, on an idle connection if there is one; `keep_alives` False: always on a new one, as curl does."""

    def __init__(self, url: str, host: str | None = None, keep_alives: bool = True, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self.url, self.keep_alives, self.timeout = url, keep_alives, timeout
        self._address = parts.hostname, parts.port or 80
        connection = "" if keep_alives else "Connection: close\r\n"
        self._headers = f" HTTP/1.1\r\nHost: {host or parts.netloc}\r\nUser-Agent: meshmodel\r\n{connection}"
        self._idle: dict[str | None, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def get(self, path: str = "/") -> Answer:
        """The answer to GET `path`; see `send`."""
        return await self.send(Request(path=path))

    async def send(self, request: Request, source: str | None = None) -> Answer:
        """The answer to `request`, within `timeout` seconds.  Raises OSError when none comes (TimeoutError is one).

        `source`: the address of this machine from which to call; each has connections of its own.
        """
        async with asyncio.timeout(self.timeout):
            reader, writer = await self._connection(source)
            try:
                writer.write(self._written(request))
                answer = await _read(reader)
            except BaseException:
                writer.transport.abort()
                raise
        if self.keep_alives and answer.headers.get("Connection") != "close":
            self._idle.setdefault(source, []).append((reader, writer))
        else:
            writer.close()
        return answer

    def _written(self, request: Request) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        length = "" if request.method == "GET" else "Content-Length: 0\r\n"
        return f"{request.method} {request.path}{self._headers}{more}{length}\r\n".encode()

    async def _connection(self, source: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = self._idle.get(source, [])
        while idle:
            reader, writer = idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self._address, local_addr=(source, 0) if source else None)

    def close(self) -> None:
        """Close the idle connections; a call that is cancelled closes its own."""
        while self._idle:
            for _, writer in self._idle.popitem()[1]:
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    try:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split()[1])
        length = 0 if code in (204, 304) else int(headers["Content-Length"])
        return Answer(code, headers, await reader.readexactly(length))
    except (EOFError, LookupError, ValueError, asyncio.LimitOverrunError) as error:
        raise ConnectionError(f"no HTTP answer of known length: {type(error).__name__}") from None
