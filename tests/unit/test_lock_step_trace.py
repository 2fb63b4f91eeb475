"""Without a compiler a replay that the lock-step loop made tells its replications attempt by attempt too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from meshmodel import compiled
from meshmodel.results.replay import Replay
from meshmodel.scenario import ClosedLoop
from meshmodel.simulation.montecarlo import simulate
from tests.oracle_loop import plain, route, scenario

POLICIES = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")


def replayed(monkeypatch: pytest.MonkeyPatch, policy: str, **load: float) -> Replay:
    monkeypatch.setattr(compiled, "enabled", lambda: False)
    pods = [plain(0.3), plain(0.1), plain(0.1, error_rate=0.25, error_code=503)]
    tested = scenario(route(pods, load_balancing=policy), load=ClosedLoop(connections=5, duration=4, **load), workers=2, overhead=0.01)
    return simulate(tested, 3, seed=1)


@pytest.mark.parametrize("patience", [{}, {"timeout": 0.2}], ids=str)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_trace_is_that_of_the_replication(monkeypatch: pytest.MonkeyPatch, policy: str, patience: dict[str, float]) -> None:
    replay = replayed(monkeypatch, policy, **patience)
    for i in range(3):
        requests, log = replay.trace(i).requests, replay.requests_table(i)
        assert (requests.start.round(9) == log.start).all() and np.allclose(requests.end - requests.start, log.latency)
        assert (requests.code == log.code).all() and (requests.endpoint == log.endpoint.replace("nobody", "")).all()
    assert ((log.code == -1) == (log.latency == 0.2)).all() and (log.code == -1).any() == bool(patience)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_connection_sends_when_its_last_request_is_over(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    requests = replayed(monkeypatch, policy).trace(1).requests
    assert set(requests.connection) == set(range(5))
    for _, mine in requests.groupby("connection"):
        assert np.allclose(mine.start.to_numpy()[1:], mine.end.to_numpy()[:-1])


def active(attempts: pd.DataFrame, row: int, pod: str) -> int:
    """Requests at a pod when attempt number `row` was sent, of those before it."""
    before = attempts[:row]
    return int(((before.endpoint == pod) & (before.end > attempts.start[row] + 1e-9)).sum())


def test_least_requests_two_draws_are_told_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = replayed(monkeypatch, "LEAST_REQUEST").trace(2).attempts
    taken = np.where(attempts.second_active < attempts.first_active, attempts.second, attempts["first"])
    assert (taken == attempts.endpoint).all() and len(set(attempts["first"])) == 3
    for row in range(len(attempts)):
        assert active(attempts, row, attempts["first"][row]) == attempts.first_active[row]
        assert active(attempts, row, attempts.second[row]) == attempts.second_active[row]


def test_round_robin_takes_pods_in_turn_worker_by_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = replayed(monkeypatch, "ROUND_ROBIN").trace(0).attempts
    assert set(attempts.worker) == {0, 1} and (attempts.first_active == -1).all()
    for _, mine in attempts.groupby("worker"):
        place = mine.endpoint.astype("category").cat.codes.to_numpy()
        assert (np.diff(place) % 3 == 1).all()
