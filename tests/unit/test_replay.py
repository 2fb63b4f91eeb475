"""A log of several blocks: the replications stand beside each other, and padding is never a request."""

import numpy as np
import pytest

from meshmodel import catalogue
from meshmodel.results.replay import RequestLog


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
