"""Every approximation that `predict` may use: its name, and its error against Monte Carlo.

The errors are measured, not estimated, in the scenarios of `CASES` (those of OCCUPANCY and INTERLEAVED
are the worst of fifty that were tried): `approximation_table` measures them again, and a test holds
them against the documented bounds.  `simulate` is
handed in, so that the analytic engine knows nothing of the Monte-Carlo engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from scipy import stats

from meshmodel.scenario import (
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Constant,
    Destination,
    Endpoint,
    OpenLoop,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
)

RENEWAL = "stationary renewal at the deadline"
OCCUPANCY = "exponential service in the LEAST_REQUEST chain"
SYMMETRIC = "LEAST_REQUEST among alike endpoints spreads as independent draws would"
INTERLEAVED = "other requests draw from a ROUND_ROBIN ring as a Poisson process"
PACED = "paced loop that keeps its schedule"
COUNTER = "counted errors drawn independently"
LOSSES = "stationary losses, independent of each other, in a run of 20 s or more"
EJECTIONS = "ejections and returns at mean times"
EJECTED_RING = "round robin across an ejection drawn at random"

_FAST = Behaviour(timing_50_percentile=0.15)
_QUICK = Behaviour(timing_50_percentile=0.02)
_SLOW = Behaviour(timing_50_percentile=1.0)
_FAILING = replace(_FAST, error_rate=1.0, error_code=503)
_FORTIO = ClosedLoop(connections=10, qps=1000, duration=60)
_RETRY = RetryPolicy(attempts=2, retry_on=frozenset({"5xx"}))
_OUTLIER = OutlierDetection(consecutive_5xx=1, interval=5, max_ejection_percent=100)
_SHORT = replace(_FORTIO, duration=20)
_ONCE = RetryPolicy(attempts=1, retry_on=frozenset({"5xx"}))


@dataclass(frozen=True)
class Case:
    """Where an approximation is measured; `bounds`: row of `Outcome.rows` -> relative error of its mean ("width ROW": of its interval)."""

    scenario: Scenario
    bounds: Mapping[str, float]


def _case(behaviours: tuple[Behaviour, ...], balancing: Any, workload: Any, bounds: Mapping[str, float], **options: Any) -> Case:
    """The tutorial's mesh with one simple-web: backend-0 is simple-backend-1's pod, the others simple-backend-2's."""
    pods = tuple(
        Endpoint(name=f"backend-{i}", deployment=f"simple-backend-{1 if i == 0 else 2}", address=f"10.0.0.{i}:8080", behaviour=b)
        for i, b in enumerate(behaviours)
    )
    policy = {name: options.pop(name) for name in ("retries", "timeout") if name in options}
    outer, workers = options.pop("outer", RetryPolicy(attempts=0)), options.pop("workers", 2)
    overhead = options.pop("overhead", stats.gamma(4, scale=0.003))
    cluster = Cluster(name="simple-backend", endpoints=pods, load_balancing=balancing, **options)
    web = Cluster(name="simple-web", endpoints=(Endpoint(name="simple-web", deployment="simple-web", address="10.0.1.0:8080"),))
    routes = (
        Route(host="simple-web", callers=(Caller(name="ingress"),), destinations=(Destination(cluster=web),), retries=outer),
        Route(host="simple-backend", callers=(Caller(name="simple-web"),), destinations=(Destination(cluster=cluster),), **policy),
    )
    return Case(Scenario(routes=routes, workload=workload, overhead=overhead, workers=workers), bounds)


CASES: dict[str, Case] = {
    RENEWAL: _case((_SLOW, _FAST, _FAST), "ROUND_ROBIN", _FORTIO, {"count": 0.001, "avg": 0.001}),
    OCCUPANCY: _case(
        (_SLOW, _FAST, _FAST), "LEAST_REQUEST", _FORTIO, {"count": 0.025, "avg": 0.025, "answered by simple-backend-1": 0.05},
        overhead=Constant(0.005),
    ),
    SYMMETRIC: _case(
        (_FAST,) * 3, "LEAST_REQUEST", OpenLoop(segments=((60.0, 20.0, 20.0),)),
        {"avg": 0.001, "answered by simple-backend-1": 0.001, "width answered by simple-backend-1": 1.0},
    ),
    INTERLEAVED: _case(
        (_FAILING, _QUICK, _QUICK), "ROUND_ROBIN", ClosedLoop(connections=2, duration=20),
        {"count": 0.03, "avg": 0.03, "attempts per request": 0.03}, retries=_ONCE, workers=1,
    ),
    PACED: _case((_FAST,) * 3, "RANDOM", ClosedLoop(connections=10, qps=30, duration=60), {"count": 0.001, "avg": 0.001}),
    COUNTER: _case(
        (replace(_FAILING, error_rate=0.2),) * 3, "RANDOM", _SHORT, {"count": 0.002, "attempts per request": 0.002, "code 500": 0.03},
        retries=_ONCE,
    ),
    LOSSES: _case(
        (_SLOW, _FAST, _FAST), "RANDOM", _SHORT, {"count": 0.015, "avg": 0.015, "code 200": 0.06},
        connection_pool=ConnectionPool(max_requests=5),
    ),
    EJECTIONS: _case(
        (replace(_FAILING, error_code=500), _FAST, _FAST), "RANDOM", ClosedLoop(calls=1500), {"avg": 0.005, "code 500": 0.03},
        priorities=((0, 1, 1),), outlier_detection=_OUTLIER,
    ),
    EJECTED_RING: _case(
        (_FAILING, _FAST, _FAST), "ROUND_ROBIN", ClosedLoop(calls=50), {"avg": 0.002, "answered by simple-backend-2": 0.001},
        retries=_RETRY, priorities=((0, 1, 1),), outlier_detection=_OUTLIER,
    ),
}  # fmt: skip

ERRORS: dict[str, str] = {name: ", ".join(f"{row} {100 * bound:g} %" for row, bound in case.bounds.items()) for name, case in CASES.items()}
"""Name -> the largest relative error of each figure that a test allows."""


def approximation_table(
    predict: Callable[[Scenario], Any], simulate: Callable[..., Any], replications: int = 400, seed: int = 1
) -> pd.DataFrame:
    """Each approximation's error, measured anew: name, figure, analytic, montecarlo, noise (standard error), error, bound."""
    rows = []
    for name, case in CASES.items():
        exact = {row: values for row, *values in predict(case.scenario).rows()}
        replay = simulate(case.scenario, replications, seed)
        drawn = {row: values for row, *values in replay.rows()}
        for figure, bound in case.bounds.items():
            row = figure.removeprefix("width ")
            wide = figure != row
            mine, other = ((v[2] - v[1]) if wide else v[0] for v in (exact[row], drawn[row]))
            noise = (drawn[row][2] - drawn[row][1]) / 3.92 / replications**0.5 * (3.0 if wide else 1.0)
            rows.append((name, figure, mine, other, noise, abs(mine / other - 1), bound))
    return pd.DataFrame(rows, columns=["name", "figure", "analytic", "montecarlo", "noise", "error", "bound"])
