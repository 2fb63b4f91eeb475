"""Small scenarios for the real Envoy, and how a test gets what they gave (the fixtures are in conftest.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import pytest

from meshmodel.envoy.live_fakeservice import precise_event_loop
from meshmodel.envoy.rig import Rig
from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, Destination, Endpoint, RetryPolicy, Route, Scenario
from tests.patience import PATIENCE

ISTIO_WORDS = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"})
ISTIO_RETRIES = RetryPolicy(attempts=2, retry_on=ISTIO_WORDS, retriable_status_codes=frozenset({503}))
FAILING = Behaviour(error_rate=1.0, error_code=503)
HANGING = Behaviour(failure="hang")

_T = TypeVar("_T")


def pods(*behaviours: Behaviour | float) -> tuple[Endpoint, ...]:
    """Pods b-0, b-1 ...; a number is the seconds that each answer takes."""
    taken = [b if isinstance(b, Behaviour) else Behaviour(timing_50_percentile=b) for b in behaviours]
    return tuple(Endpoint(name=f"b-{i}", deployment=f"b-{i}", address=f"10.0.0.{i}:8080", behaviour=b) for i, b in enumerate(taken))


def direct(endpoints, calls: int = 30, connections: int = 3, workers: int = 1, route: dict | None = None, **cluster) -> Scenario:
    """One route, loaded in the place of its caller."""
    backend = Cluster(name="outbound|80||b", endpoints=endpoints, **{"load_balancing": "ROUND_ROBIN"} | cluster)
    hop = Route(host="b", callers=(Caller(name="web-0"),), destinations=(Destination(cluster=backend),), **route or {})
    return Scenario(routes=(hop,), workload=ClosedLoop(connections=connections, calls=calls), workers=workers)


def chain(scenario: Scenario) -> Scenario:
    """The same behind a gateway and simple-web."""
    web = Endpoint(name="web-0", deployment="web", address="10.0.1.1:8080")
    destination = Destination(cluster=Cluster(name="web", endpoints=(web,)))
    gateway = Route(host="web.example", callers=(Caller(name="gateway"),), destinations=(destination,))
    return replace(scenario, routes=(gateway, *scenario.routes))


def counter(replay, name: str) -> int:
    return int(replay.counters[name][0])


def playing(*scenarios: Scenario) -> pytest.MarkDecorator:
    """The test gets what each scenario gave, as `replay`, once for each; all tests' scenarios are measured side by side."""
    return pytest.mark.parametrize("replay", scenarios, indirect=True)


def delay(replay) -> float:
    """Seconds that the rig itself added to plain requests of that very run, at worst: the yardstick for times on a busy machine."""
    return replay.provenance["rig_overhead"]["p99"]


# --- under watch -------------------------------------------------------------------------


def on_a_rig(scenario: Scenario, main: Callable[[Rig], Awaitable[_T]]) -> _T:
    """What `main` gives, with the scenario's pods and proxies running and no load but its own."""

    async def running() -> _T:
        async with asyncio.timeout(PATIENCE), Rig(scenario) as rig:
            return await main(rig)

    with asyncio.Runner(loop_factory=precise_event_loop) as runner:
        return runner.run(running())


async def become(true: Callable[[], bool]) -> None:
    """Wait until it is so."""
    while not true():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def calling(calls: Iterable[Coroutine[Any, Any, _T]]) -> AsyncIterator[list[asyncio.Task[_T]]]:
    """Calls under way; those that no pod has answered are given up at the end."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Attempt(NamedTuple):
    """One that Envoy logged: when it began by Envoy's clock (seconds since the epoch), and at which pod."""

    start: float
    pod: str


async def logged(rig: Rig) -> tuple[list[Attempt], list[dict[str, Any]]]:
    """What the last route's proxy wrote: attempts in the order in which they began, and the outlier detector's events in theirs."""
    lines = await rig.proxies[-1][0].log()
    attempts = [Attempt(float(line["start"]), rig._pod(line["attempt"])) for line in lines if line.get("attempt")]
    return sorted(attempts), [line for line in lines if "action" in line]
