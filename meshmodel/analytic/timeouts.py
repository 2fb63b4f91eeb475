"""Timeouts: what a deadline tau does to latency, to errors, and to the pace of a closed loop.

A request takes min(S, tau) and ends with 504 when S > tau.  `atoms` are the exact
outcomes of a pod, (probability, seconds, code); the pod goes on working after tau.
Reference: Envoy, route `timeout`; measured: 504 at the nominal time, within milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

Atoms = Iterable[tuple[float, float, int]]
"""(probability, seconds, code) of each outcome; probabilities sum to 1."""


def share_of_504(atoms: Atoms, timeout: float) -> float:
    """Probability that the timer fires: P(S > tau)."""
    return float(sum(p for p, seconds, _ in atoms if seconds > timeout))


def truncated_mean(atoms: Atoms, timeout: float) -> float:
    """Mean seconds with the timeout: E[min(S, tau)], the integral of P(S > t) from 0 to tau."""
    return float(sum(p * min(seconds, timeout) for p, seconds, _ in atoms))


def closed_loop_throughput(atoms: Atoms, timeout: float, connections: int, overhead: float = 0.0) -> tuple[float, float]:
    """(requests, answers in time) per second of `connections` clients: C / (E[min(S, tau)] + o), and the part that is no 504.

    A timeout raises the pace of a closed loop, and may still raise the number of good answers:
    a connection that gives up early is free for a fast pod.
    """
    atoms = list(atoms)
    rate = connections / (truncated_mean(atoms, timeout) + overhead)
    return rate, rate * (1 - share_of_504(atoms, timeout))


def wasted_work(atoms: Atoms, timeout: float) -> float:
    """Seconds per request that pods spend on requests already given up: E[max(S - tau, 0)]."""
    return float(sum(p * max(seconds - timeout, 0.0) for p, seconds, _ in atoms))
