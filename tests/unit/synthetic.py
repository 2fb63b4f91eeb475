"""Replays made by hand: a closed loop over three pods, written independently of the engines."""

from __future__ import annotations

import numpy as np

from meshmodel.results.log import Ejections, RequestLog
from meshmodel.results.replay import Replay
from meshmodel.scenario import Caller, ClosedLoop, Cluster, Destination, Endpoint, Route, Scenario

PODS = (("simple-backend-1-a", "simple-backend-1"), ("simple-backend-2-a", "simple-backend-2"), ("simple-backend-2-b", "simple-backend-2"))


def scenario(connections: int = 10, duration: float = 20.0, calls: int | None = None) -> Scenario:
    """The testbed's shape: one caller, one slow pod of three."""
    pods = tuple(Endpoint(name=name, deployment=deployment, address=f"10.0.0.{k}:8080") for k, (name, deployment) in enumerate(PODS))
    route = Route(
        host="simple-backend", callers=(Caller(name="simple-web"),), destinations=(Destination(cluster=Cluster(name="b", endpoints=pods)),)
    )
    return Scenario(routes=(route,), workload=ClosedLoop(connections=connections, duration=None if calls else duration, calls=calls))


def run(rng: np.random.Generator, connections: int, duration: float, slow: float, p_slow: float, p_error: float) -> dict[str, list]:
    """Requests of one run: each connection sends its next when the last is answered."""
    rows = []
    for _ in range(connections):
        now = 0.0
        while now < duration:
            pod = 0 if rng.random() < p_slow else int(rng.integers(1, 3))
            latency = (slow if pod == 0 else 0.15) + 0.008 + rng.exponential(0.02)
            code = 500 if rng.random() < p_error else 200
            rows.append((now, latency, code, pod, 1))
            now += latency
    rows.sort()
    return dict(zip(RequestLog.FIELDS, map(list, zip(*rows, strict=True)), strict=True))


def replay(
    replications: int = 60, seed: int = 1, *, connections: int = 10, duration: float = 20.0, slow: float = 1.0, p_slow: float = 1 / 3,
    p_error: float = 0.0, resolution: float = 0.0001, ejections: Ejections | None = None,
) -> Replay:  # fmt: skip
    """`replications` independent runs; the slow pod answers with probability `p_slow`."""
    rng = np.random.default_rng(seed)
    log = RequestLog.of_runs(run(rng, connections, duration, slow, p_slow, p_error) for _ in range(replications))
    attempts = np.array([(log.endpoint == pod).sum(axis=0) for pod in range(len(PODS))])
    return Replay(scenario(connections, duration), "by hand", log, attempts, seed=seed, resolution=resolution, ejections=ejections)


def curl(replications: int, seed: int, *, calls: int = 10, p_error: float = 0.2) -> Replay:
    """Loops of `calls` calls one after another: 200 after about 0.15 s, 500 after about 0.05 s."""
    rng = np.random.default_rng(seed)
    failed = rng.random((calls, replications)) < p_error
    latency = np.where(failed, 0.03, 0.15) + rng.exponential(0.02, failed.shape)
    pod = rng.integers(0, 3, failed.shape)
    log = RequestLog(np.cumsum(latency, axis=0) - latency, latency, np.where(failed, 500, 200), pod, np.ones_like(pod))
    attempts = np.array([(pod == k).sum(axis=0) for k in range(len(PODS))])
    return Replay(scenario(1, calls=calls), "by hand", log, attempts, seed=seed)


def split(runs: Replay) -> tuple[Replay, Replay]:
    """The first replication, to serve as the record, and all others, to serve as the model."""
    halves = []
    for which in (slice(0, 1), slice(1, None)):
        log = RequestLog(*(getattr(runs.log, name)[:, which] for name in RequestLog.FIELDS))
        halves.append(Replay(runs.scenario, runs.engine, log, runs.pod_attempts[:, which], seed=runs.seed, resolution=runs.resolution))
    return halves[0], halves[1]
