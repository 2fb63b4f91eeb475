"""Small scenarios for the real Envoy, and how a test gets what they gave (the fixtures are in conftest.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, Destination, Endpoint, RetryPolicy, Route, Scenario

ISTIO_WORDS = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"})
ISTIO_RETRIES = RetryPolicy(attempts=2, retry_on=ISTIO_WORDS, retriable_status_codes=frozenset({503}))
FAILING = Behaviour(error_rate=1.0, error_code=503)


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
