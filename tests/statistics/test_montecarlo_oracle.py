"""The engine against the plain loop of `tests/oracle_loop.py`: every figure of many scenarios.

A figure has one value for each run, and runs are independent; so Welch's t-test compares the
engine's runs with the oracle's.  False-alarm rate: 1e-3 for each test function, by Bonferroni
over its figures; seeds are fixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from meshmodel.scenario import (
    Behaviour,
    Caller,
    Change,
    ClosedLoop,
    ConnectionPool,
    Destination,
    Fault,
    OpenLoop,
    RetryBudget,
    Route,
    Scenario,
)
from meshmodel.simulation import montecarlo
from meshmodel.simulation.events import EventLoop
from tests.oracle_loop import World, cluster, detection, plain, retry, route, scenario

FALSE_ALARMS = 1e-3
COIN = {"error_rate": 0.5, "injector": "nominal"}
"""A pod that fails half of its requests, independently."""


def summary(start: np.ndarray, latency: np.ndarray, code: np.ndarray, attempts: np.ndarray, by: list[str]) -> dict[str, float]:
    """The figures of one run."""
    figures = {"requests": len(start), "attempts": attempts.sum()}
    if len(start):
        figures |= {"mean": latency.mean(), "p50": np.quantile(latency, 0.5), "p90": np.quantile(latency, 0.9), "max": latency.max()}
        figures["early"] = latency[start <= np.quantile(start, 0.2) + 1e-6].mean()
    figures |= {f"code {int(c)}": float(np.mean(code == c)) for c in np.unique(code)}
    return figures | {f"by {name}": float(np.mean([b == name for b in by])) for name in set(by)}


def engine_runs(tested: Scenario, runs: int, seed: int) -> list[dict[str, float]]:
    """Figures of `runs` replications of the event loop."""
    loop = EventLoop(tested, runs, np.random.default_rng(seed))
    log, attempts, counters, ejections = loop.run()
    names = [*loop.hops[-1].pod_names, "envoy"]
    found = []
    for i in range(runs):
        real = log.code[:, i] != -2
        start, latency, code, endpoint, tries = (getattr(log, f)[real, i] for f in log.FIELDS)
        mine = ejections.replication == i
        figures = summary(start, latency, code, tries, [names[e] for e in endpoint])
        figures |= {f"to {name}": attempts[k, i] for k, name in enumerate(names[:-1])}
        figures |= {name: counters[name][i] for name in ("upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_pending_overflow")}
        figures |= outlier_figures(ejections.time[mine], ejections.ejected[mine])
        found.append(figures)
    return found


def outlier_figures(times: np.ndarray, gone: np.ndarray) -> dict[str, float]:
    """Number of ejections, and the mean times of ejections and returns (0: none)."""
    means = {name: float(times[which].mean()) if which.any() else 0.0 for name, which in (("out at", gone), ("back at", ~gone))}
    return {"ejections": float(gone.sum()), "returns": float((~gone).sum())} | means


def oracle_runs(tested: Scenario, runs: int, seed: int) -> list[dict[str, float]]:
    """Figures of `runs` runs of the oracle."""
    found = []
    for i in range(runs):
        world = World(tested, np.random.default_rng([seed, i]))
        log = world.run()
        start, latency, code, by, tries = (list(column) for column in zip(*log, strict=True)) if log else ([],) * 5
        figures = summary(*(np.array(a, dtype=float) for a in (start, latency, code, tries)), [b or "envoy" for b in by])
        figures |= {f"to {name}": count for name, count in world.attempts.items()} | dict(world.counters)
        figures |= outlier_figures(np.array([t for t, _, _ in world.ejections]), np.array([g for _, _, g in world.ejections], dtype=bool))
        found.append(figures)
    return found


IGNORED = ("upstream_rq_timeout", "upstream_rq_per_try_timeout")  # follow from the codes


def differences(tested: Scenario, engine: int, oracle: int, seed: int = 1) -> dict[str, tuple[float, float, float]]:
    """Figure -> (mean of the engine, of the oracle, p-value)."""
    ours, theirs = engine_runs(tested, engine, seed), oracle_runs(tested, oracle, seed)
    names = sorted(set().union(*ours, *theirs) - set(IGNORED))
    found = {}
    for name in names:
        a, b = (np.array([float(run.get(name, 0.0)) for run in runs]) for runs in (ours, theirs))
        if max(np.ptp(a), np.ptp(b)) < 1e-6:  # not random (times are kept to some nanoseconds)
            p = float(abs(a[0] - b[0]) < 1e-6)
        else:
            spread = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            p = float(
                2 * stats.t.sf(abs(a.mean() - b.mean()) / spread, min(len(a), len(b)) - 1)
            )  # Welch, with the fewest degrees of freedom
        found[name] = (float(a.mean()), float(b.mean()), p)
    return found


def closed(connections: int = 4, duration: float = 5.0, **more: float) -> ClosedLoop:
    return ClosedLoop(connections=connections, duration=duration, **more)


def poisson(rate: float, duration: float = 5.0) -> OpenLoop:
    return OpenLoop(segments=((duration, rate, rate),))


def web(**more: object) -> Route:
    return route([plain()], callers=("gateway",), name="w", **more)


SLOW = [plain(1.0), plain(0.15), plain(0.15)]
DELAYED = plain(0.3, error_type="delay", error_delay=0.1, **COIN)
FAMILY = {
    "round robin": scenario(route(SLOW), load=closed(6)),
    "least request": scenario(route(SLOW, "LEAST_REQUEST"), load=closed(6)),
    "connections keep their worker": scenario(route(SLOW), new_connection_per_request=False),
    "several proxies": scenario(route(SLOW, "LEAST_REQUEST", callers=("a", "b", "c")), load=closed(6)),
    "curl": scenario(route([plain(0.1, **COIN), plain(0.2)], "RANDOM", retries=retry(2)), load=ClosedLoop(calls=30)),
    "random, noisy": scenario(route([plain(0.3, **COIN), plain(0.15, timing_variance=40, timing_90_percentile=0.4)], "RANDOM")),
    "every second fails": scenario(
        route([plain(0.2, error_rate=0.5, error_code=503), plain(0.15)], "LEAST_REQUEST", retries=retry(2, "gateway-error"))
    ),
    "both timeouts": scenario(route([plain(1.0, **COIN), plain(0.15)], "RANDOM", timeout=0.5, retries=retry(3, per_try_timeout=0.2))),
    "refused": scenario(
        route([plain(failure="refused"), plain(0.15)], "RANDOM", retries=retry(1, "connect-failure", previous_hosts=False))
    ),
    "a pod ejected": scenario(
        route([plain(0.05, error_rate=1.0), plain(0.15), plain(0.1)], outlier_detection=detection()), load=closed(4, 8)
    ),
    "flapping": scenario(
        route(
            [plain(0.05, **COIN), plain(0.15, **COIN), plain(0.1)],
            "RANDOM",
            outlier_detection=detection(consecutive_5xx=2, max_ejection_percent=67),
        ),
        load=closed(4, 12),
    ),
    "two detectors": scenario(
        route(
            [plain(0.05, **COIN, error_code=503), plain(0.1, **COIN)],
            outlier_detection=detection(consecutive_gateway_failure=2, one_host_always=True, max_ejection_percent=10),
        ),
        load=closed(4, 8),
    ),
    "resets": scenario(
        route([plain(0.15), plain(failure="reset")], "RANDOM", retries=retry(2, "reset"), outlier_detection=detection(consecutive_5xx=3))
    ),
    "local origin": scenario(
        route(
            [plain(0.15), plain(failure="refused")],
            "RANDOM",
            outlier_detection=detection(split_external_local_origin_errors=True, consecutive_local_origin_failure=3),
        )
    ),
    "priorities": scenario(
        route(
            [plain(0.05, **COIN), plain(0.15), plain(0.1), plain(0.1)],
            "RANDOM",
            priorities=((0, 0, 1, 1),),
            outlier_detection=detection(consecutive_5xx=2),
        ),
        load=closed(4, 8),
    ),
    "retry remote localities": scenario(
        route(
            [plain(0.05, **COIN), plain(0.05, **COIN), plain(0.1)],
            priorities=((0, 0, 1),),
            outlier_detection=detection(consecutive_5xx=50),
            retries=retry(4, previous_priorities_update_frequency=2),
        ),
    ),
    "max_requests": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", connection_pool=ConnectionPool(max_requests=3)), load=poisson(15), workers=1
    ),
    "max_connections": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", connection_pool=ConnectionPool(max_connections=3, max_pending_requests=4)),
        load=poisson(25),
    ),
    "waiting for a connection": scenario(
        route(
            [plain(0.3), plain(0.2)],
            "LEAST_REQUEST",
            timeout=0.5,
            retries=retry(1, per_try_timeout=0.25),
            connection_pool=ConnectionPool(max_connections=2),
        ),
        load=closed(8),
    ),
    "max_retries": scenario(
        route([DELAYED, DELAYED], "RANDOM", retries=retry(2), connection_pool=ConnectionPool(max_retries=2)), load=poisson(25)
    ),
    "retry budget": scenario(
        route(
            [DELAYED, DELAYED],
            "RANDOM",
            retries=retry(2),
            connection_pool=ConnectionPool(retry_budget=RetryBudget(budget_percent=20, min_retry_concurrency=1)),
        ),
        load=poisson(40),
    ),
    "retries at two hops": scenario(
        web(retries=retry(2)), route([plain(0.1, **COIN), plain(0.1)], "RANDOM", retries=retry(1), callers=("w0",))
    ),
    "two web pods": scenario(
        route([plain(0.01), plain(0.02, **COIN)], callers=("gateway",), name="w", retries=retry(1)),
        route([plain(0.5), plain(0.1)], "LEAST_REQUEST", callers=("w0", "w1")),
    ),
    "the outer proxy gives up": scenario(
        web(timeout=0.35, retries=retry(2)),
        route([plain(0.5, **COIN), plain(0.1)], "RANDOM", callers=("w0",), timeout=0.45, retries=retry(1)),
    ),
    "the outer proxy gives up on who waits": scenario(
        web(retries=retry(1, per_try_timeout=0.35)),
        route(
            [plain(0.5), plain(0.1)],
            "RANDOM",
            callers=("w0",),
            connection_pool=ConnectionPool(max_connections=2, max_retries=1),
            retries=retry(1, per_try_timeout=0.3),
        ),
        load=closed(6),
    ),
    "queue in the pod": scenario(
        route([plain(0.3, concurrency=1), plain(0.2, concurrency=2)], "LEAST_REQUEST", timeout=1.0, retries=retry(1, per_try_timeout=0.5)),
        load=poisson(12),
    ),
    "faults": scenario(
        route([plain(0.3), plain(0.2)], "RANDOM", timeout=0.25, fault=Fault(delay=0.3, delay_percent=50, abort_code=418, abort_percent=30))
    ),
    "hanging": scenario(route([plain(0.3), plain(failure="hang")], "RANDOM", timeout=0.5)),
    "paced": scenario(route([plain(0.15), plain(0.2)], "RANDOM"), load=closed(3, 5, qps=7)),
    "weights": scenario(
        Route(
            host="x",
            callers=(Caller(name="web"),),
            destinations=(
                Destination(cluster=cluster([plain(0.1)], name="a"), weight=30),
                Destination(cluster=cluster([plain(0.2)] * 2, name="b"), weight=70),
            ),
        )
    ),
    "ramp": scenario(route([plain(0.15), plain(0.2)], "LEAST_REQUEST"), load=OpenLoop(segments=((2, 0, 20), (1, 20, 20), (2, 5, 0)))),
    "changes": scenario(
        route([plain(0.1), plain(0.1)]),
        changes=(
            Change(at=2, routes=(route([plain(0.5, **COIN), plain(0.1), plain(0.2)], "LEAST_REQUEST", timeout=0.4, retries=retry(1)),)),
        ),
    ),
    "a change takes a pod away": scenario(
        route([plain(0.1), plain(0.2, **COIN)], outlier_detection=detection()),
        changes=(Change(at=2, routes=(route([plain(0.1)], retries=retry(1)),)),),
    ),
}


@pytest.mark.parametrize("name", FAMILY)
def test_engine_agrees_with_the_plain_loop(name: str) -> None:
    """False-alarm rate 1e-3 over the whole family: Bonferroni over scenarios and figures."""
    found = differences(FAMILY[name], engine=200, oracle=14)
    assert found["requests"][0] > 5
    threshold = FALSE_ALARMS / len(FAMILY) / len(found)
    assert {figure: values for figure, values in found.items() if values[-1] < threshold} == {}


def some(values: list) -> st.SearchStrategy:
    return st.sampled_from(values)


pods = st.builds(
    lambda seconds, failing: replace(failing, timing_50_percentile=seconds),
    some([0.05, 0.1, 0.3]),
    some(
        [
            Behaviour(),
            Behaviour(),
            Behaviour(**COIN),
            Behaviour(error_rate=0.34, error_code=503),
            Behaviour(failure="refused"),
            Behaviour(concurrency=1),
        ]
    ),
)
pools = some(
    [
        ConnectionPool(),
        ConnectionPool(),
        ConnectionPool(max_requests=3),
        ConnectionPool(max_connections=2, max_pending_requests=3),
        ConnectionPool(max_retries=1),
    ]
)
policies = st.builds(
    retry,
    some([0, 1, 3]),
    some(["5xx", "gateway-error", "connect-failure"]),
    per_try_timeout=some([None, None, 0.12]),
    previous_hosts=st.booleans(),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any mixture of policies, on one hop or two."""
    behaviours = draw(st.lists(pods, min_size=1, max_size=4))
    two = draw(st.booleans())
    last = route(
        behaviours, draw(some(["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])), callers=("w0",), retries=draw(policies),
        timeout=draw(some([None, 0.25, 0.7])),
        connection_pool=draw(pools), outlier_detection=draw(some([None, detection(consecutive_5xx=3)])),
        priorities=draw(some([(), (tuple(min(i, 1) for i in range(len(behaviours))),)])),
    )  # fmt: skip
    front = (web(timeout=draw(some([None, 0.4])), retries=draw(policies)),) if two else ()
    load = draw(some([closed(3, 3), closed(6, 2), ClosedLoop(calls=15), poisson(8, 3), poisson(25, 2)]))
    return scenario(*front, last, load=load, workers=draw(some([1, 2])), overhead=stats.uniform(0.01, 0.02))  # no ties


EXAMPLES = 20


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(scenarios())
def test_engine_agrees_on_any_mixture(tested: Scenario) -> None:
    """False-alarm rate 1e-3: Bonferroni over the examples and their figures."""
    found = differences(tested, engine=60, oracle=8)
    threshold = FALSE_ALARMS / EXAMPLES / len(found)
    assert {figure: values for figure, values in found.items() if values[-1] < threshold} == {}


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
@pytest.mark.parametrize("own_worker", [False, True])
def test_short_loop_agrees_with_the_event_loop(policy: str, own_worker: bool) -> None:
    """Kolmogorov-Smirnov on five figures of 6 cases, over runs; false-alarm rate 1e-3 in all."""
    behaviours = [plain(0.3, **COIN), plain(0.1, timing_90_percentile=0.2, timing_variance=20), plain(0.1, error_rate=0.34)]
    tested = scenario(
        route(behaviours, policy), load=closed(5, 6, qps=9 if own_worker else 0), new_connection_per_request=not own_worker, overhead=0.002
    )
    assert montecarlo.loop_for(montecarlo.collapse(tested)) == "short"
    short = montecarlo.simulate(tested, 600, seed=3).log
    event = EventLoop(tested, 600, np.random.default_rng(4)).run()[0]
    figures = [lambda log: (log.code == 200).sum(0), lambda log: np.nanmean(log.latency, axis=0), lambda log: np.nanmax(log.start, axis=0)]
    figures += [lambda log, e=e: (log.endpoint == e).sum(0) for e in (0, 1)]
    pvalues = [stats.ks_2samp(*(np.round(figure(log), 6) for log in (short, event))).pvalue for figure in figures]
    assert min(pvalues) > FALSE_ALARMS / 6 / len(figures), pvalues
