"""A real Envoy's run as a trace: what its proxies logged agrees with what the load saw, and with Envoy's own counters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meshmodel.scenario import Behaviour, ClosedLoop, ConnectionPool, OutlierDetection, RetryPolicy
from tests.envoy.live import FAILING, HANGING, chain, counter, direct, playing, pods

RETRIES = RetryPolicy(attempts=2, retry_on=frozenset({"5xx"}))
EJECTION = OutlierDetection(consecutive_5xx=2, interval=0.2, base_ejection_time=0.4, max_ejection_percent=100, update_merge_window=0.0)
IN_ORDER = 0.005
"""Seconds by which Envoy's clock, which ticks every 4 ms, may say things out of order."""


@playing(chain(direct(pods(0.05, 0.05, FAILING), calls=40, connections=4, workers=2, route={"retries": RETRIES})))
def test_every_try_of_every_proxy_is_told_and_fits_into_what_it_serves(replay) -> None:
    trace = replay.trace(0)
    requests, attempts = trace.requests, trace.attempts
    inner = attempts[attempts.hop == 1]
    assert len(requests) == 40 and (attempts.hop == 0).sum() == 40 and len(inner) == replay.pod_attempts.sum()
    assert sorted(requests.connection.unique()) == [0, 1, 2, 3] and (requests.code == 200).all()
    tries = inner.groupby("request").size()
    assert (requests.set_index("request").attempts == tries).all() and tries.max() > 1
    assert (tries - 1).sum() == counter(replay, "upstream_rq_retry") == (inner.number > 1).sum()
    last = inner.sort_values("chosen").groupby("request").last()
    assert (last.endpoint == requests.set_index("request").endpoint).all()
    outer = attempts.loc[inner.parent]
    assert (outer.hop == 0).all() and (outer.endpoint.to_numpy() == inner.proxy).all() and (outer.request.to_numpy() == inner.request).all()
    assert (inner.chosen >= outer.chosen.to_numpy() - IN_ORDER).all() and (inner.end <= outer.end.to_numpy() + IN_ORDER).all()
    asked = requests.set_index("request").loc[attempts.request]
    assert (attempts.chosen >= asked.start.to_numpy() - IN_ORDER).all() and (attempts.end <= asked.end.to_numpy() + IN_ORDER).all()
    assert (inner.start >= inner.chosen).all() and (inner[inner.outcome == "200"].end - inner[inner.outcome == "200"].start > 0.045).all()


@playing(direct(pods(0.02, FAILING), calls=30, connections=1, route={"retries": RETRIES}))
def test_a_back_off_is_what_lies_between_two_tries(replay) -> None:
    attempts = replay.trace(0).attempts
    again = attempts[attempts.number > 1]
    before = [attempts[(attempts.call == row.call) & (attempts.number == row.number - 1)].end.item() for row in again.itertuples()]
    assert (
        len(again)
        and np.allclose(again.back_off, again.chosen - before, atol=2e-6)
        and (attempts[attempts.number == 1].back_off == 0).all()
    )
    assert set(attempts.outcome) == {"200", "503"} and (again.back_off < 0.1).all()  # uniform up to 25 ms, 50 ms for a second one


def outcomes(replay) -> dict[str, int]:
    return replay.trace(0).attempts.outcome.value_counts().to_dict()


@playing(direct(pods(0.0, HANGING), calls=6, connections=1, route={"timeout": 0.3}))
def test_a_try_that_the_routes_timeout_ended(replay) -> None:
    attempts = replay.trace(0).attempts
    assert outcomes(replay) == {"200": 3, "timeout": 3} and (attempts[attempts.outcome == "timeout"].endpoint == "b-1").all()


@playing(
    direct(
        pods(0.0, HANGING), calls=6, connections=1,
        route={"timeout": 5.0, "retries": RetryPolicy(attempts=1, retry_on=frozenset({"5xx"}), per_try_timeout=0.2)},
    )
)  # fmt: skip
def test_a_try_that_its_own_timeout_ended(replay) -> None:
    attempts = replay.trace(0).attempts
    given_up = attempts[attempts.outcome == "per try timeout"]
    assert set(attempts.outcome) == {"200", "per try timeout"} and (given_up.endpoint == "b-1").all()
    assert len(given_up) == counter(replay, "upstream_rq_per_try_timeout") and (given_up.end - given_up.chosen > 0.2 - IN_ORDER).all()


@playing(*(direct(pods(Behaviour(failure=failure)), calls=4, connections=1) for failure in ("refused", "reset")))
def test_a_pod_that_refuses_or_resets(replay) -> None:
    failure = replay.scenario.endpoints[0].behaviour.failure
    assert outcomes(replay) == {failure: 4} and (replay.trace(0).requests.endpoint == "envoy").all()


LIMITS = (ConnectionPool(max_requests=2), ConnectionPool(max_connections=1, max_pending_requests=1))


@playing(*(direct(pods(0.2), calls=12, connections=4, connection_pool=pool) for pool in LIMITS))
def test_a_try_that_a_limit_refused(replay) -> None:
    told = outcomes(replay)
    trace = replay.trace(0)
    assert told["overflow"] == replay.codes[503][0] > 0 and told["200"] == replay.codes[200][0]
    assert trace.attempts[trace.attempts.outcome == "overflow"].start.isna().all()
    assert (trace.requests[trace.requests.code == 503].attempts == 0).all()


@playing(direct(pods(FAILING, FAILING), calls=24, connections=1, outlier_detection=EJECTION))
def test_ejections_and_what_nobody_could_be_chosen_for(replay) -> None:
    """Both pods are out after two errors each: from then on nobody is healthy, and no host is tried."""
    trace = replay.trace(0)
    hosts = trace.hosts
    assert set(hosts[hosts.event == "ejected"].endpoint) == {"b-0", "b-1"} and (hosts.proxy == "web-0").all()
    assert hosts.time.tolist() == [round(time, 6) for time in replay.ejections.time.tolist()]  # a trace is told to the microsecond
    nobody = trace.attempts[trace.attempts.outcome == "no healthy upstream"]
    assert len(nobody) == replay.requests[0] - replay.pod_attempts.sum() > 0
    assert (nobody.endpoint == "").all() and nobody.start.isna().all()


IMPATIENT = ClosedLoop(connections=1, calls=2, timeout=0.3)


@playing(replace(direct(pods(HANGING)), workload=IMPATIENT), replace(chain(direct(pods(HANGING))), workload=IMPATIENT))
def test_a_try_whose_client_has_gone_is_abandoned(replay) -> None:
    """Its own proxy sees it go; simple-web does not look, and its try is under way when the log is read: in no log."""
    trace = replay.trace(0)
    assert (
        (trace.requests.code == -1).all()
        and (trace.requests.endpoint == "").all()
        and (trace.requests.end - trace.requests.start).min() > 0.29
    )
    assert outcomes(replay) == {"abandoned": 2} and set(trace.attempts.hop) == {0}
