"""Chapter 6: about the mesh that the reader has typed, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshmodel.mesh import Mesh
from meshmodel.results.fortio import Histogram
from meshmodel.teaching.exercises import Mistake, exercise

RANDOM = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders}
spec: {host: orders, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""


@exercise(
    objective="write a rule and read its effect",
    minutes=5,
    unit="share",
    tolerance=0.02,
    hints=["RANDOM does not look at the pods.", "There are two pods of v1 and one of v2."],
    mistakes=[Mistake(0.5, "RANDOM draws a pod, not a version: how many pods has each?")],
)
def random_share(mesh: Mesh, load: Mapping[str, Any]) -> float:
    """Apply the rule to your mesh and look at the shares: v2 is one pod in three, fast or slow."""
    replay = mesh.copy().apply(RANDOM).fortio_load(**load, replications=60, seed=1)
    return float(replay.endpoint_shares()["orders-v2"].mean)


@exercise(
    objective="find the record that tells two models apart",
    minutes=6,
    unit="s",
    tolerance=0.05,
    hints=["Without the rule nothing is cut off.", "3 % of the requests take 900 ms instead of 400 ms."],
    mistakes=[
        Mistake(0.0, "that is with the VirtualService still on: take it away", 0.02),
        Mistake(0.9, "that is the worse model's percentile: the question asks for the difference"),
    ],
)
def tell_apart(better: Mesh, worse: Mesh, load: Mapping[str, Any]) -> float:
    """Without the rule, the 99th percentile is the slow answer of v2 itself."""
    p99 = [mesh.fortio_load(**load, replications=60, seed=1).figures()["p99"].mean for mesh in (better, worse)]
    return float(p99[1] - p99[0])


@exercise(
    objective="calibrate by hand",
    minutes=6,
    unit="s",
    tolerance=0.001,
    hints=["Mean latency = mean service time + mean overhead.", "The shares: 2/3 at 80 ms, 0.3 at 60 ms, a thirtieth at 400 ms."],
    mistakes=[
        Mistake(lambda record: record.mean - (2 * 0.08 + 0.06) / 3, "that leaves out that v2 takes 400 ms in one of ten of its answers"),
        Mistake(lambda record: record.mean - (2 * 0.08 + 0.5 * 0.06 + 0.5 * 0.4) / 3, 
                "fake-service takes the 50th percentile below 0.90, not below 0.5"),
        Mistake(lambda record: record.mean - 0.08, "that takes every answer for one of v1"),
    ],
)  # fmt: skip
def mean_by_hand(record: Histogram) -> float:
    """As if every pod had answered a third. LEAST_REQUEST sends less than that to the pod that is slow at times; `calibrate` leaves
    the shares free, so it does not take the difference for overhead."""
    service = 2 / 3 * 0.08 + 0.9 / 3 * 0.06 + 0.1 / 3 * 0.4
    return record.mean - service
