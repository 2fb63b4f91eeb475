"""The load: fortio's closed loop, a loop of curl, or an open loop, over HTTP/1.1 and asyncio.

Closed loop (fortio/fortio periodic/periodic.go, `runOne`): each thread has its own connection
and does one call after the other.  With a rate it sleeps before a call until that is due
(`ClosedLoop.due`), and not at all when it is late; it stops after its calls, or before a call
that would begin after the duration (but makes two calls at least, and with one left makes
that; where a number of calls is given the duration does not count).  Calls under way are waited
for.  Open loop: calls start at given times, whatever becomes of the others.

A client gives a call up after `workload.timeout`: its code is -1 then, and its connection is closed.  One
that waits for ever and in vain makes no further call.

All times are seconds on the event loop's monotonic clock, after the start of the load.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from meshmodel.envoy.config import REQUEST_HEADER
from meshmodel.envoy.http_client import Answer, Client
from meshmodel.envoy.live_fakeservice import sleep_until
from meshmodel.scenario import ClosedLoop, HashPolicy, OpenLoop, Request, Workload, user_address

if sys.platform != "emscripten" and sys.platform != "wasi":  # a browser tab has no limits, and no Envoy
    import resource

NEVER = 60.0
"""Seconds without an answer after which a client that would wait for ever is taken to wait in vain."""

FILES_PER_CONNECTION = 4
"""The load's own socket, the two ends at the pod that it calls and that calls on, and that pod's to the next."""

NO_ANSWER = Answer(-1, {}, b"")
"""With fortio's code of a call that got no HTTP answer."""


MOST_CALLS = 10_000_000
"""Each takes the driver a fifth of a millisecond and half a kilobyte."""


class TooMuch(ValueError):
    """A load that this machine cannot make; the message names the parameter."""


def refuse_too_much(workload: Workload) -> None:
    """Raise TooMuch, from scalars alone, for more connections than one process may open or more calls than it can keep."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = workload.threads if isinstance(workload, ClosedLoop) else 1
    if files != resource.RLIM_INFINITY and FILES_PER_CONNECTION * connections > files:
        most = f"{files // FILES_PER_CONNECTION} are what this process may open, its limit (ulimit -n) being {files}"
        raise TooMuch(f"connections: {connections} are too many for a live load; {most}")
    calls = workload.expected if isinstance(workload, OpenLoop) else workload.planned_calls or 0
    if calls > MOST_CALLS:
        raise TooMuch(f"calls: about {calls:.3g} are too many for a live load, which keeps {MOST_CALLS:,} at most; ask for a shorter one")


class Call(NamedTuple):
    """One call: when it started, how long it took until the last byte (infinity: its client waits in vain), and what came.

    `number` counts the calls in the order of their starts; it goes along in `REQUEST_HEADER`.  `connection` is that of a
    closed loop, -1 in an open one.
    """

    start: float
    latency: float
    answer: Answer
    number: int
    connection: int


async def drive(
    workload: Workload,
    urls: Sequence[str],
    host: str,
    *,
    seed: int = 1,
    fresh_connections: bool = False,
    policies: Sequence[HashPolicy] = (),
    calls: list[Call] | None = None,
) -> list[Call]:
    """Load `urls` (threads take them in turn) with `Host: host`; returns every call, in the order of their ends.

    `fresh_connections`: a connection for each call, as curl.  `policies`: what is hashed on the way, so that
    each user's calls carry it.  `calls`: the list to fill.
    """
    calls = [] if calls is None else calls
    loop = asyncio.get_running_loop()
    started = loop.time()

    users, numbers = _users(workload, policies, seed), itertools.count()

    async def call(client: Client, connection: int) -> Call:
        begun, number = loop.time(), next(numbers)
        request, source = next(users)
        try:
            answer = await client.send(replace(request, headers=(*request.headers, (REQUEST_HEADER, str(number)))), source)
        except OSError:
            answer = NO_ANSWER
        took = loop.time() - begun
        in_vain = answer is NO_ANSWER and workload.timeout is None and took >= NEVER
        calls.append(Call(begun - started, math.inf if in_vain else took, answer, number, connection))
        return calls[-1]

    patience = NEVER if workload.timeout is None else workload.timeout
    threads = 1 if isinstance(workload, OpenLoop) else workload.threads
    clients = [Client(urls[i % len(urls)], host, not fresh_connections, patience) for i in range(threads)]
    callers = [partial(call, client, -1 if isinstance(workload, OpenLoop) else i) for i, client in enumerate(clients)]
    try:
        if isinstance(workload, OpenLoop):
            await _open_loop(arrivals(workload, seed), callers[0], started)
        else:
            shares = workload.calls_per_thread
            await all_of(*(_closed_loop(workload, n, caller, started) for n, caller in zip(shares, callers, strict=True)))
    finally:
        for client in clients:
            client.close()
    return calls


def _users(workload: Workload, policies: Sequence[HashPolicy], seed: int) -> Iterator[tuple[Request, str | None]]:
    """Each call's request, and from which address it comes where that counts: of a user drawn anew, if there are users."""
    asked = [workload.request.of(i, policies) for i in range(workload.users)] or [workload.request]
    by_address = workload.users and any(policy.kind == "source_ip" for policy in policies)
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    while True:
        for i in random.integers(len(asked), size=256).tolist():
            yield asked[i], user_address(i) if by_address else None


async def _closed_loop(workload: ClosedLoop, n: float, call: Callable, started: float) -> None:
    loop = asyncio.get_running_loop()
    end = started + (math.inf if workload.duration is None or workload.calls is not None else workload.duration)
    done = 0
    while done < n:
        if loop.time() > end and (not workload.qps or (done >= 2 and done != n - 1)):
            return
        if (await call()).latency == math.inf:
            return
        done += 1
        if workload.qps and done < n:
            await sleep_until(started + workload.due(done, n))


async def _open_loop(times: np.ndarray, call: Callable, started: float) -> None:
    async def call_at(when: float) -> None:
        await sleep_until(started + when)
        await call()

    await all_of(*(call_at(float(when)) for when in times))


async def all_of(*coroutines: Awaitable[Any]) -> None:
    """Wait for all; when one fails or we are cancelled, end the others first."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def arrivals(workload: OpenLoop, seed: int) -> np.ndarray:
    """Arrival times (arrivals,) in seconds: the expected count's inverse at a Poisson process's points, or at 0, 1, 2 ..."""
    if workload.arrivals == "paced":
        levels = np.arange(math.ceil(workload.expected), dtype=float)
    else:
        random = np.random.default_rng(np.random.SeedSequence(seed))
        levels = np.sort(random.uniform(0, workload.expected, random.poisson(workload.expected)))
    return _when(workload, levels)


def _when(workload: OpenLoop, levels: np.ndarray) -> np.ndarray:
    """Seconds at which the expected number of arrivals so far reaches each of `levels`.

    Within a segment it is rate * t + slope * t^2 / 2; its inverse is 2y / (rate + sqrt(rate^2 + 2 * slope * y)).
    """
    seconds, first, last = np.array(workload.segments, dtype=float).T
    begin = np.concatenate(([0.0], np.cumsum(seconds)))
    reached = np.concatenate(([0.0], np.cumsum(seconds * (first + last) / 2)))
    segment = np.clip(np.searchsorted(reached, levels, side="right") - 1, 0, len(seconds) - 1)
    y, rate, slope = levels - reached[segment], first[segment], ((last - first) / seconds)[segment]
    root = rate + np.sqrt(np.maximum(rate**2 + 2 * slope * y, 0))
    return begin[segment] + np.divide(2 * y, root, out=np.zeros_like(y), where=root > 0)
