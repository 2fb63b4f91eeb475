"""Scenarios that the tests of the analytic engine share: the tutorial's mesh, built without YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy import stats

from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, Destination, Endpoint, RetryPolicy, Route, Scenario

OVERHEAD = stats.gamma(4, scale=0.003)
FAST = Behaviour(timing_50_percentile=0.15)
SLOW = Behaviour(timing_50_percentile=1.0)
FORTIO = ClosedLoop(connections=10, qps=1000, duration=60)
NO_RETRY = RetryPolicy(attempts=0)
DEFAULT_RETRY = RetryPolicy(
    attempts=2,
    retry_on=frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}),
    retriable_status_codes=frozenset({503}),
)


def pods(behaviours: Sequence[Behaviour]) -> tuple[Endpoint, ...]:
    """backend-0 is Deployment simple-backend-1, the others are simple-backend-2's."""
    return tuple(
        Endpoint(name=f"backend-{i}", deployment=f"simple-backend-{1 if i == 0 else 2}", address=f"10.0.0.{i}:80", behaviour=b)
        for i, b in enumerate(behaviours)
    )


def mesh(
    behaviours: Sequence[Behaviour] = (SLOW, FAST, FAST),
    load_balancing: str = "ROUND_ROBIN",
    workload: Any = FORTIO,
    *,
    retries: RetryPolicy = NO_RETRY,
    timeout: float | None = None,
    outer: RetryPolicy = DEFAULT_RETRY,
    overhead: Any = OVERHEAD,
    workers: int = 2,
    **cluster: Any,
) -> Scenario:
    """The gateway, one simple-web, and pods behind it with these behaviours."""
    backend = Cluster(name="simple-backend", endpoints=pods(behaviours), load_balancing=load_balancing, **cluster)
    web = Endpoint(name="simple-web", deployment="simple-web", address="10.0.0.99:80")
    routes = (
        Route(
            host="simple-web", callers=(Caller(name="ingress"),), retries=outer,
            destinations=(Destination(cluster=Cluster(name="simple-web", endpoints=(web,))),),
        ),
        Route(
            host="simple-backend", callers=(Caller(name="simple-web"),), retries=retries, timeout=timeout,
            destinations=(Destination(cluster=backend),),
        ),
    )  # fmt: skip
    return Scenario(routes=routes, workload=workload, overhead=overhead, workers=workers)
