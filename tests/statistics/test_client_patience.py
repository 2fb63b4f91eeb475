"""A client that gives up, in closed form, against a loop of ten lines that shares nothing with the engines."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from meshmodel.analytic import NoClosedForm
from meshmodel.analytic.engine import predict
from meshmodel.scenario import (
    Behaviour,
    Caller,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Destination,
    Endpoint,
    OpenLoop,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
    Workload,
)

FAST, SLOW, HUNG = Behaviour(timing_50_percentile=0.15), Behaviour(timing_50_percentile=2.95), Behaviour(failure="hang")
OVERHEAD = stats.expon(scale=0.03)
RUNS = 4000


def scenario(pods: list[Behaviour], load: Workload, policy: str = "RANDOM", retries: RetryPolicy | None = None, **cluster) -> Scenario:
    endpoints = tuple(Endpoint(name=f"b-{i}", deployment=f"b-{i}", address=f"10.0.0.{i}:80", behaviour=b) for i, b in enumerate(pods))
    backend = Cluster(name="b", endpoints=endpoints, load_balancing=policy, **cluster)
    more = {} if retries is None else {"retries": retries}
    route = Route(host="b", callers=(Caller(name="w"),), destinations=(Destination(cluster=backend),), **more)
    return Scenario(routes=(route,), workload=load, overhead=OVERHEAD)


def played(pods: list[Behaviour], calls: int, timeout: float) -> tuple[np.ndarray, np.ndarray]:
    """Latencies and who gave up, each (calls, RUNS): a pod at random, its time, the overhead, the client's patience."""
    random = np.random.default_rng(1)
    seconds = np.array([np.inf if pod is HUNG else pod.timing_50_percentile for pod in pods])
    spent = seconds[random.integers(len(pods), size=(calls, RUNS))] + OVERHEAD.rvs(size=(calls, RUNS), random_state=random)
    return np.minimum(spent, timeout), spent > timeout


@pytest.mark.parametrize("third", [SLOW, HUNG])
def test_a_loop_of_calls_with_patience(third: Behaviour) -> None:
    """Six figures at 4.5 standard errors: false alarm 4e-5 for each pod."""
    pods = [FAST, FAST, third]
    latency, late = played(pods, 40, 3.0)
    prediction = predict(scenario(pods, ClosedLoop(connections=1, calls=40, timeout=3.0)))
    shares, answered = prediction.code_shares(), prediction.endpoint_shares()
    expected = {
        "given up": (late.mean(axis=0), shares[-1].mean),
        "answered by nobody": (late.mean(axis=0), answered["nobody"].mean),
        "avg": (latency.mean(axis=0), prediction.figures()["avg"].mean),
        "below 0.2 s": ((latency <= 0.2).mean(axis=0), prediction.law.shares @ prediction.law.cdf(np.array([0.2]))[:, 0]),
        "below 2.97 s": ((latency <= 2.97).mean(axis=0), prediction.law.shares @ prediction.law.cdf(np.array([2.97]))[:, 0]),
    }
    for name, (values, mean) in expected.items():
        assert abs(values.mean() - mean) <= 4.5 * values.std() / np.sqrt(RUNS) + 1e-4, name  # the grid of a delay that is cut: 1e-4
    spread = prediction.code_shares()[-1]
    assert np.mean((late.mean(axis=0) >= spread.lo) & (late.mean(axis=0) <= spread.hi)) > 0.93
    assert sum(share.mean for share in shares.values()) == pytest.approx(1) == sum(share.mean for share in answered.values())
    assert prediction.histogram().max == 3.0 and "Code  -1 : " in prediction.histogram().run_text()
    json.dumps(prediction.to_json(), allow_nan=False)


@pytest.mark.parametrize("policy", ["RANDOM", "ROUND_ROBIN"])
@pytest.mark.parametrize("load", [ClosedLoop(connections=4, duration=60, timeout=3.0), OpenLoop(segments=((60, 3, 3),), timeout=3.0)])
def test_under_either_balancer_and_load_a_third_is_given_up(policy: str, load: Workload) -> None:
    prediction = predict(scenario([FAST, FAST, HUNG], load, policy))
    assert prediction.code_shares()[-1].mean == pytest.approx(1 / 3, abs=1e-3)
    mean = (2 * (0.15 + 0.03) + 3.0) / 3
    assert prediction.figures()["avg"].mean == pytest.approx(mean, rel=1e-3)
    if isinstance(load, ClosedLoop):
        assert prediction.figures()["count"].mean == pytest.approx(4 * 60 / mean, rel=0.03)  # less the renewals at the end


def test_patience_that_is_never_tried_changes_nothing() -> None:
    with_it, without = (predict(scenario([FAST] * 3, ClosedLoop(connections=4, duration=20, timeout=t))) for t in (3.0, None))
    assert with_it.figures() == without.figures() and set(with_it.code_shares()) == {200}


@pytest.mark.parametrize(
    ("refused", "more"),
    [
        ("LEAST_REQUEST", {"policy": "LEAST_REQUEST"}),
        ("outlier detection or limits", {"outlier_detection": OutlierDetection()}),
        ("outlier detection or limits", {"connection_pool": ConnectionPool(max_requests=3)}),
        ("tried again", {"retries": RetryPolicy(attempts=2, retry_on=frozenset({"5xx"}), per_try_timeout=2.0)}),
    ],
)
@pytest.mark.parametrize("third", [Behaviour(timing_50_percentile=5.0), HUNG])
def test_where_giving_up_changes_more_there_is_no_closed_form(refused: str, more: dict, third: Behaviour) -> None:
    with pytest.raises(NoClosedForm, match=refused):
        predict(scenario([FAST, FAST, third], ClosedLoop(connections=4, duration=60, timeout=3.0), **more))


def test_a_client_that_waits_for_ever_for_what_never_comes_has_no_closed_form() -> None:
    with pytest.raises(NoClosedForm, match="hangs without any timeout"):
        predict(scenario([FAST, HUNG], ClosedLoop(connections=4, duration=60)))


def test_a_prediction_needs_no_memory_for_its_requests() -> None:
    """A thousand million calls: one byte for each would be a gigabyte."""
    tracemalloc.start()
    try:
        written = predict(scenario([FAST] * 3, ClosedLoop(connections=1, calls=10**9))).to_json()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(written["fortio"]["RetCodes"].values()) == 10**9 and peak < 100e6
