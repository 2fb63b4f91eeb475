"""A log of several blocks: the replications stand beside each other, and padding is never a request."""

import json

import numpy as np
import pytest

from meshmodel import catalogue
from meshmodel.results.fortio import Histogram
from meshmodel.results.log import RequestLog
from meshmodel.results.replay import RESENT, Replay

from . import synthetic


def given_up() -> Replay:
    """Two runs: an answer, one by the proxy, a call that its client gave up after 3 s; and one answer.  Three and no calls never ended."""
    first = {"start": [0.0, 0.2, 0.3], "latency": [0.2, 0.1, 3.0], "code": [200, 503, -1], "endpoint": [2, -1, -1], "attempts": [1, 0, 1]}
    second = {name: values[:1] for name, values in first.items()}
    attempts = np.array([[1, 0], [0, 0], [1, 1]])
    return Replay(synthetic.scenario(), "by hand", RequestLog.of_runs([first, second]), attempts, unanswered=np.array([3, 0]))


def test_nothing_is_lost() -> None:
    """Every call that was sent is answered by somebody, given up (code -1, answered by nobody), or unanswered."""
    replay = given_up()
    assert replay.requests.tolist() == [3, 1] and replay.unanswered.tolist() == [3, 0]
    assert replay.codes[-1].tolist() == [1, 0]
    assert {name: count.tolist() for name, count in replay.endpoints.items()} == {
        **{"simple-backend-1": [0, 0], "simple-backend-2": [1, 1]}, "envoy": [1, 0], "nobody": [1, 0],
    }  # fmt: skip
    for shares in (replay.code_shares(), replay.endpoint_shares()):
        assert sum(share.mean for share in shares.values()) == pytest.approx(1)
    assert sum(count.sum() for count in replay.pods.values()) == replay.requests.sum()
    assert replay.requests_table(0)["endpoint"].tolist() == ["simple-backend-2-b", "envoy", "nobody"]
    series = replay.series(1.0)
    assert series.filter(like="endpoint").to_numpy().sum() == series.filter(like="code").to_numpy().sum() == 2.0
    assert series["endpoint nobody"].tolist() == [0, 0, 0, 0.5]
    for reading in (replay.with_resolution(0.1), replay.after(1)):
        assert reading.unanswered.tolist() == [3, 0]


def test_what_never_ended_is_said() -> None:
    replay = given_up()
    assert "unanswered" in replay.table() and replay.interval("unanswered") == pytest.approx((0.075, 2.925))
    written = replay.to_json()
    assert written["unanswered"] == pytest.approx({"mean": 1.5, "lo": 0.075, "hi": 2.925})
    assert written["codes"]["-1"]["mean"] == pytest.approx(1 / 6) and written["fortio"]["RetCodes"]["-1"] == 1
    json.dumps(written, allow_nan=False)
    assert replay.remarks == [
        "unanswered: 1.5 requests of a replication on average were sent and never answered, as their client waits for ever; "
        "they are in no other figure",
        RESENT,
    ]
    answered = synthetic.replay(3)
    assert not answered.unanswered.any() and not answered.remarks and "unanswered" not in answered.table()
    assert answered.to_json()["unanswered"] == {"mean": 0, "lo": 0, "hi": 0}


def test_a_call_that_was_given_up_is_printed_and_read_as_fortio_has_it() -> None:
    """fortio's "%3d" (fhttp/httprunner.go)."""
    text = given_up().histogram(0).run_text()
    assert "Code  -1 : 1 (33.3 %)\nCode 200 : 1 (33.3 %)\nCode 503 : 1 (33.3 %)\n" in text
    assert Histogram.from_text(text).codes == {-1: 1, 200: 1, 503: 1}


def test_a_run_without_a_single_answer_is_written_all_the_same() -> None:
    none = {name: [] for name in RequestLog.FIELDS}
    attempts = np.array([[1], [0], [0]])
    silent = Replay(synthetic.scenario(), "by hand", RequestLog.of_runs([none]), attempts, unanswered=np.array([1]))
    json.dumps(silent.to_json(), allow_nan=False)
    assert "unanswered" in silent.table() and silent.histogram().run_text()


def test_every_row_of_the_table_has_its_values() -> None:
    replay = given_up()
    for name, mean, *_ in replay.rows():
        values = replay.values(name)
        assert values.shape == (2,) and np.nanmean(values) == pytest.approx(mean, nan_ok=True), name
    assert replay.values("code 418").tolist() == [0, 0]
    with pytest.raises(KeyError, match="unknown figure 'p'"):
        replay.values("p")


def test_the_series_of_a_run_that_takes_days_is_coarser() -> None:
    run = {"start": [0.0, 3e6], "latency": [1.0, 1.0], "code": [200, 200], "endpoint": [0, 0], "attempts": [1, 1]}
    long = Replay(synthetic.scenario(), "by hand", RequestLog.of_runs([run]), np.array([[2], [0], [0]]))
    series = long.to_json()["series"]
    assert series["bin"] == 100 and len(series["codes"]["200"]) == 30_001 and sum(series["codes"]["200"]) == 2


def test_logs_of_different_lengths_are_padded_when_joined() -> None:
    run = {"start": [0.0, 1.0], "latency": [0.5, 0.5], "code": [200, 503], "endpoint": [0, -1], "attempts": [1, 2]}
    shorter = {name: values[:1] for name, values in run.items()}
    joined = RequestLog.of_runs([shorter, run])
    assert joined.code.tolist() == [[200, 200], [-2, 503]]
    assert joined.endpoint.tolist() == [[0, 0], [-2, -1]]
    assert joined.attempts.tolist() == [[1, 1], [-2, 2]]
    for column in (joined.start, joined.latency):
        assert np.isnan(column).tolist() == [[False, False], [True, False]]


def test_leaving_out_the_first_requests_leaves_out_their_attempts() -> None:
    experiment = catalogue.experiment("locality-failure")
    replay = experiment.replay(replications=5, seed=1)
    assert replay.requests.tolist() == [50] * 5 and replay.pod_attempts.sum(axis=0).tolist() == [50] * 5
    assert replay.attempt_shares()["simple-backend-1"].mean == 0


def test_requests_whose_attempts_nobody_knows_cannot_be_left_out() -> None:
    retried = catalogue.experiment("retry-5xx-500").replay(replications=5, seed=1)
    with pytest.raises(ValueError, match="skip: one of the first 3 requests"):
        retried.after(3)
