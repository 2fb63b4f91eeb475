"""A log of several blocks: the replications stand beside each other, and padding is never a request."""

import numpy as np

from meshmodel.replay import RequestLog


def test_logs_of_different_lengths_are_padded_when_joined() -> None:
    run = {"start": [0.0, 1.0], "latency": [0.5, 0.5], "code": [200, 503], "endpoint": [0, -1], "attempts": [1, 2]}
    shorter = {name: values[:1] for name, values in run.items()}
    joined = RequestLog.of_runs([shorter, run])
    assert joined.code.tolist() == [[200, 200], [-2, 503]]
    assert joined.endpoint.tolist() == [[0, 0], [-2, -1]]
    assert joined.attempts.tolist() == [[1, 1], [-2, 2]]
    for column in (joined.start, joined.latency):
        assert np.isnan(column).tolist() == [[False, False], [True, False]]
