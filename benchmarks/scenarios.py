"""What is benchmarked, and the one form in which every contestant hands over its requests.

Simple scenarios: the tutorial's three load-balancing experiments (10 connections, 60 s, one
pod of 1 s and two of 0.15 s).  "all policies": the testbed with every resilience policy set,
where one pod fails every fifth request with 503.  There the retries act all the time, and
the other policies are consulted at every request but hardly ever bite; so "all policies,
biting" has a pod that always fails, slow answers and limits low enough to be reached.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from meshmodel import Mesh
from meshmodel.scenario import ClosedLoop, Distribution, Scenario

MANIFESTS = Path(__file__).resolve().parents[1] / "data" / "tutorial" / "manifests"

SIMPLE = {"ROUND_ROBIN": "dr-round-robin.yaml", "RANDOM": "dr-random.yaml", "LEAST_CONN": "dr-least-conn.yaml"}
ALL, BITING = "all policies", "all policies, biting"
ISTIO = "1.24"
"""The first version with priorities by locality and no weights beside them, which the compiled loop leaves out."""
NAMES = (*SIMPLE, ALL, BITING)

FIELDS = [("start", "f8"), ("latency", "f8"), ("code", "i2"), ("endpoint", "i2"), ("attempts", "i2")]
REQUEST = np.dtype(FIELDS)
"""One request: seconds, seconds, status, index of the pod that answered (-1: the proxy), upstream attempts."""

POLICIES = """
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {{name: simple-backend-dr}}
spec:
  host: simple-backend.istioinaction.svc.cluster.local
  trafficPolicy:
    loadBalancer: {{simple: LEAST_REQUEST}}
    connectionPool:
      tcp: {{maxConnections: {connections}}}
      http: {{http1MaxPendingRequests: {pending}, http2MaxRequests: {requests}, maxRetries: {retries}}}
    outlierDetection: {{consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 10s, maxEjectionPercent: 50}}
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {{name: simple-backend-vs}}
spec:
  hosts: [simple-backend]
  http:
  - route: [{{destination: {{host: simple-backend}}}}]
    timeout: {timeout}
    retries: {{attempts: 2, retryOn: 5xx, perTryTimeout: 500ms, retryRemoteLocalities: true}}
"""


class Runs(NamedTuple):
    """All requests, one replication after another: replication i is `log[first[i] : first[i + 1]]`."""

    log: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, runs: list[list[tuple]]) -> Runs:
        """From a list of requests, as tuples in the order of `REQUEST`, for each replication."""
        return cls(np.array([row for run in runs for row in run], dtype=REQUEST), np.cumsum([0, *map(len, runs)]))

    @property
    def requests(self) -> int:
        return int(self.first[-1])


def _set_environment(mesh: Mesh, deployment: str, **variables: str) -> None:
    manifest = mesh.get("Deployment", deployment)
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    mesh.apply(manifest)


def scenario(name: str, connections: int = 10, duration: float = 60.0) -> Scenario:
    """The scenario of that name under fortio's `-c connections -qps (100 a connection) -t duration`.

    The limits of "all policies" grow with the connections, so that they are as far away with 1000 of them as with 10.
    """
    mesh = Mesh(istio=ISTIO if name in (ALL, BITING) else "1.17", namespace="istioinaction").apply(MANIFESTS / "testbed.yaml")
    if name in (ALL, BITING):
        mesh.apply(MANIFESTS / "localities.yaml")
    if name in SIMPLE:
        mesh.apply(MANIFESTS / "slow-backend-1.yaml", MANIFESTS / SIMPLE[name])
    elif name == ALL:
        far = 10 * connections
        mesh.apply(POLICIES.format(connections=far, pending=far, requests=far, retries=connections // 2, timeout="2s"))
        _set_environment(mesh, "simple-backend-1", ERROR_RATE="0.2", ERROR_CODE="503", ERROR_TYPE="http_error")
    elif name == BITING:
        mesh.apply(POLICIES.format(connections=100, pending=100, requests=6, retries=1, timeout="800ms"))
        _set_environment(mesh, "simple-backend-1", ERROR_RATE="1", ERROR_CODE="503", ERROR_TYPE="http_error")
        _set_environment(mesh, "simple-backend-2", TIMING_90_PERCENTILE="700ms", TIMING_99_PERCENTILE="3s")
    else:
        raise ValueError(f"no scenario {name!r}: {', '.join(NAMES)}")
    return mesh.scenario(ClosedLoop(connections=connections, qps=100.0 * connections, duration=duration))


def lognormal(overhead: Distribution) -> tuple[float, float, float]:
    """Location, scale (seconds) and sigma of the lognormal that the tutorial's overhead is.

    Raises ValueError for any other distribution.
    """
    if getattr(getattr(overhead, "dist", None), "name", None) != "lognorm":
        raise ValueError(f"overhead: the loops that we compare with draw a lognormal only, got {overhead!r}")
    return float(overhead.kwds["loc"]), float(overhead.kwds["scale"]), float(overhead.kwds["s"])
