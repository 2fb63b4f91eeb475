"""Nothing is lost: what was sent was answered, given up or is counted as unanswered, for any scenario and by every engine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from meshmodel.analytic import NoClosedForm
from meshmodel.analytic.engine import predict
from meshmodel.results.replay import Replay
from meshmodel.scenario import ClosedLoop, OpenLoop, Scenario, callers_of
from meshmodel.simulation import montecarlo
from tests import oracle_replay
from tests.new_engine import NEW_ENGINE
from tests.oracle_family import FAMILY, NEW_FAMILY
from tests.oracle_loop import plain, route, scenario
from tests.random_scenarios import CODES, plain_scenarios, scenarios

REPLICATIONS = 3
ENGINES = {"engine": montecarlo.simulate, "oracle": oracle_replay.simulate}
EXAMPLES = 100
HANGING = [NEW_FAMILY[name]() for name in ("some never end", "some never end, at any time")]

repeatable = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.explicit, Phase.generate],
)


def patience(tested: Scenario) -> float | None:
    return tested.workload.timeout


def sent_at_most(load: ClosedLoop | OpenLoop) -> float:
    """Requests that are sent where every one ends (inf: as many as fit)."""
    if isinstance(load, ClosedLoop):
        return sum(load.calls_per_thread) if load.duration is None else math.inf
    return math.ceil(load.expected) if load.arrivals == "paced" else math.inf


def check_counts(replay: Replay) -> None:
    """Sent = answered + given up + unanswered."""
    load, most, unanswered = replay.scenario.workload, sent_at_most(replay.scenario.workload), replay.unanswered
    assert unanswered.shape == (replay.replications,) and np.all(unanswered >= 0)
    sent = replay.requests + unanswered
    assert patience(replay.scenario) is None or not unanswered.any()
    if isinstance(load, OpenLoop):
        assert math.isinf(most) or np.all(sent == most)
        return
    assert np.all(unanswered <= load.threads) and np.all(sent <= most)
    if math.isfinite(most):
        assert np.all(replay.requests[unanswered == 0] == most)


def check_shares(replay: Replay) -> None:
    """Each request has one code, one answerer, one body, one place in the histogram."""
    for counts in (replay.codes, replay.pods, replay.endpoints, replay.bodies):
        assert np.array_equal(sum(counts.values(), np.zeros(replay.replications, int)), replay.requests)
    if replay.requests.all():
        for shares in (replay.code_shares(), replay.endpoint_shares()):
            assert math.isclose(sum(share.mean for share in shares.values()), 1.0, rel_tol=1e-9)
    for i in range(replay.replications):
        table = replay.requests_table(i)
        assert len(table) == replay.requests[i]
        assert not len(table) or replay.histogram(i).count == len(table)
    series = replay.series("1s")
    codes, endpoints = (series[[c for c in series if c.startswith(kind)]].to_numpy().sum() for kind in ("code ", "endpoint "))
    assert math.isclose(codes, replay.requests.mean(), abs_tol=1e-9) and math.isclose(endpoints, codes, abs_tol=1e-9)


def check_requests(replay: Replay) -> None:
    """Every request began, ended, and was sent as often as its policies allow."""
    tested, limit = replay.scenario, patience(replay.scenario)
    tries = [1 + max(route.retries.attempts for route in hop) for hop in zip(*tested.chains, strict=True)]
    for i in range(replay.replications):
        table = replay.requests_table(i)
        given_up = table["code"] == -1
        assert set(table["code"]) - {-1} <= CODES and (limit is not None or not given_up.any())
        assert (table["latency"] >= 0).all() and (table["start"] >= 0).all()
        assert limit is None or ((table["latency"] <= limit + 1e-6).all() and np.allclose(table["latency"][given_up], limit, atol=1e-6))
        assert table["attempts"].between(0, math.prod(tries)).all()
        if isinstance(tested.workload, ClosedLoop):
            assert len(table) < 2 or busiest(table["start"].to_numpy(), table["latency"].to_numpy()) <= tested.workload.threads


def busiest(start: np.ndarray, latency: np.ndarray) -> int:
    """Requests under way at once, at most (times are kept to nanoseconds)."""
    steps = np.concatenate((np.ones(len(start)), -np.ones(len(start))))
    return int(np.cumsum(steps[np.argsort(np.concatenate((start + 1e-6, start + latency)), kind="stable")]).max())


def check_attempts(replay: Replay) -> None:
    """Attempts at pods are those of the requests, but for requests and calls that go on when nobody waits for them."""
    of_requests = np.array([replay.requests_table(i)["attempts"].sum() for i in range(replay.replications)])
    at_pods = sum(replay.attempts.values(), np.zeros(replay.replications, int))
    assert np.all(of_requests <= at_pods)
    fronts = [route for chain in replay.scenario.chains for route in chain[:-1]]
    somebody_leaves = patience(replay.scenario) is not None or any(r.timeout or r.retries.per_try_timeout for r in fronts)
    if not somebody_leaves and not replay.unanswered.any():
        assert np.array_equal(of_requests, at_pods)
    counted = replay.counters.get("upstream_rq_retry")
    assert all(np.all(values >= 0) for values in replay.counters.values())
    assert counted is None or len(replay.scenario.routes) > 1 or np.all(at_pods <= replay.requests + replay.unanswered + counted)


def check_trace(replay: Replay) -> None:
    """The trace tells of the same requests, attempts and ejections; no attempt begins before it is chosen, or outlives its end."""
    trace, table = replay.trace(0), replay.requests_table(0)
    told = trace.requests[trace.requests["end"].notna()].sort_values("start", kind="stable")
    assert len(trace.requests) == replay.requests[0] + replay.unanswered[0]
    assert np.allclose(told["start"], table["start"], atol=1e-6) and sorted(told["code"]) == sorted(table["code"])
    assert told["attempts"].sum() == table["attempts"].sum()
    tries, last = trace.attempts, len(replay.scenario.routes) - 1
    sent = tries[tries["start"].notna()]
    assert (sent["chosen"] <= sent["start"] + 1e-9).all() and not (tries["end"] < tries["chosen"] - 1e-9).any()
    alone = [r for chain in replay.scenario.chains for r in chain if not r.mirrors]
    if not last and len(alone) == len(replay.scenario.chains):  # nothing goes on when the request is answered
        assert tries[tries["request"].isin(told["request"])]["end"].notna().all()
    at_pods = sent[sent["hop"] == last]["endpoint"].value_counts()
    assert at_pods.to_dict() == {name: n[0] for name, n in replay.attempts.items() if n[0]}
    assert ((tries["parent"] == -1) == (tries["hop"] == tries["hop"].min())).all()
    inner = tries[tries["hop"] > tries["hop"].min()]
    outer = tries.loc[inner["parent"]]
    callers = np.array(callers_of(replay.scenario.routes))
    assert (outer["hop"].to_numpy() == callers[inner["hop"]]).all() and (outer["request"].to_numpy() == inner["request"]).all()
    assert (tries[tries["number"] == 1]["back_off"] == 0).all() and not tries.duplicated(["call", "hop", "number"]).any()
    mine = replay.ejections.ejected[replay.ejections.replication == 0]
    events = trace.hosts[trace.hosts["endpoint"].isin(replay.pod_names)]["event"].value_counts()
    assert (events.get("ejected", 0), events.get("readmitted", 0)) == (mine.sum(), (~mine).sum())


def check_figures_alone(replay: Replay) -> None:
    """What is kept without the requests is what the requests come to."""
    alone = montecarlo.simulate(replay.scenario, replay.replications, seed=1, keep="figures")
    for name in ("codes", "pods", "endpoints", "bodies", "attempts", "counters"):
        kept, counted = (getattr(each, name) for each in (alone, replay))
        assert kept.keys() == counted.keys() and all(np.array_equal(kept[key], counted[key]) for key in kept), name
    assert np.array_equal(alone.requests, replay.requests) and np.array_equal(alone.unanswered, replay.unanswered)
    assert np.allclose(alone.mean, replay.mean, equal_nan=True)
    for i in range(replay.replications):
        assert not replay.requests[i] or alone.histogram(i).buckets == replay.histogram(i).buckets
    if replay.requests.all() and not any_on_a_second(replay):
        series, counted = alone.series("1s"), replay.series("1s")
        assert all(np.allclose(series[column].iloc[: len(counted)], counted[column]) for column in counted)
    json.dumps(alone.to_json(), allow_nan=False)


def any_on_a_second(replay: Replay) -> bool:
    """Is an ejection or an answer on the very second, where the last bit of its time decides with which second it counts?"""
    ends = replay.log.start + replay.log.latency
    return bool((replay.ejections.time % 1 == 0).any() or (np.abs(ends - np.round(ends)) < 1e-9).any())


def somebody_hangs(tested: Scenario) -> bool:
    return any(e.behaviour.failure == "hang" for chain in tested.chains for route in chain for e in route.endpoints)


def check(replay: Replay) -> None:
    if NEW_ENGINE or replay.engine == "oracle" or not somebody_hangs(replay.scenario):
        check_counts(replay)
        check_attempts(replay)
    check_shares(replay)
    check_requests(replay)
    if NEW_ENGINE and replay.engine == "montecarlo":
        check_trace(replay)
        check_figures_alone(replay)
    json.dumps(replay.to_json(), allow_nan=False)


def played(simulate: Callable[..., Replay], tested: Scenario) -> Replay | None:
    """The replay, or None where the engine before the compiled event loop does not cover the scenario."""
    try:
        return simulate(tested, REPLICATIONS, seed=1)
    except ValueError as refusal:
        if NEW_ENGINE or type(refusal).__name__ != "NotModelled":
            raise
        return None


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_lost(engine: str) -> None:
    """Of any scenario."""

    @repeatable
    @example(HANGING[0])
    @example(HANGING[1])
    @given(st.one_of(scenarios(), scenarios(deepest=1), plain_scenarios()))
    def holds(tested: Scenario) -> None:
        replay = played(ENGINES[engine], tested)
        if replay is not None:
            check(replay)

    holds()


@pytest.mark.parametrize("name", [*FAMILY, *NEW_FAMILY])
def test_nothing_is_lost_by_any_policy(name: str) -> None:
    """One replication of each scenario that the engine is held against the plain loop in."""
    check(montecarlo.simulate(FAMILY[name] if name in FAMILY else NEW_FAMILY[name](), 1, seed=1))


def test_an_answer_at_the_end_of_a_bucket_is_in_it() -> None:
    """Figures kept alone count as those of a log: at fortio's edges, below the first, and beyond the last second of the series."""
    seconds = (0.0, 0.001, 0.002, 0.0125, 0.02, 0.1, 0.5, 1.0, 99.0, 101.0, 900.0)
    tested = scenario(route([plain(each) for each in seconds], timeout=1000.0), load=ClosedLoop(calls=22), overhead=0.0)
    alone, replay = montecarlo.simulate(tested, 2, keep="figures"), montecarlo.simulate(tested, 2)
    assert [alone.histogram(i).buckets for i in range(2)] == [replay.histogram(i).buckets for i in range(2)]
    series = alone.series("1s")
    assert series[[column for column in series if column.startswith("code ")]].to_numpy().sum() == 22


@repeatable
@given(st.one_of(plain_scenarios(), scenarios(deepest=1), scenarios(deepest=2)))
def test_a_prediction_is_whole(tested: Scenario) -> None:
    try:
        prediction = predict(tested)
    except NoClosedForm:
        return
    for shares in (prediction.code_shares(), prediction.endpoint_shares()):
        assert math.isclose(sum(share.mean for share in shares.values()), 1.0, abs_tol=1e-6)
        assert all(-1e-9 <= share.mean <= 1 + 1e-9 for share in shares.values())
    json.dumps(prediction.to_json(), allow_nan=False)
