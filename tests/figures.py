"""The figures of an engine's runs, and whether two sets of runs differ.

A figure is one number of each run.  Runs are independent; so if both sets are runs of the same thing, any
split of them in two is as likely as any other, and `p_value` is the rank sum's exact permutation test:

    p = share of all splits whose rank sum lies as far from its mean as the one that was seen

No distribution is assumed, and equal values share their rank.  Reference: E. L. Lehmann, Nonparametrics:
Statistical Methods Based on Ranks (1975), sections 1.3 and 1.5 (ties).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import comb

GAVE_UP = -1
"""The code of a request that its client gave up."""

Figures = dict[str, np.ndarray]
"""Name -> (runs,); a figure that a set lacks is 0 in each of its runs."""


def summary(start: np.ndarray, latency: np.ndarray, code: np.ndarray, attempts: np.ndarray, by: np.ndarray) -> dict[str, float]:
    """The figures of one run's requests."""
    n = len(start)
    figures: dict[str, float] = {"requests": n, "attempts": float(np.sum(attempts))}
    if n:
        order = np.sort(latency)
        figures |= {f"p{100 * q:g}": order[min(n - 1, int(q * n))] for q in (0.5, 0.75, 0.9, 0.99)}
        figures |= {"mean": latency.mean(), "sd": latency.std(), "min": order[0], "max": order[-1]}
        figures["early"] = latency[start <= np.sort(start)[n // 5] + 1e-6].mean()
    for kind, column in (("code", code), ("by", by)):
        values, counts = np.unique(column, return_counts=True)
        figures |= {f"{kind} {value}": count / n for value, count in zip(values, counts, strict=True)}
    return figures


def outlier_figures(times: np.ndarray, gone: np.ndarray) -> dict[str, float]:
    """Number of ejections and returns, and their mean times (0: none)."""
    means = {name: float(times[which].mean()) if which.any() else 0.0 for name, which in (("out at", gone), ("back at", ~gone))}
    return {"ejections": float(gone.sum()), "returns": float((~gone).sum())} | means


def figures_of(replay: Any) -> Figures:
    """Every figure of each run of a replay."""
    log, names = replay.log, np.array([*replay.pod_names, "envoy"])
    unanswered = getattr(replay, "unanswered", np.zeros(replay.replications))
    runs = []
    for i in range(replay.replications):
        real, mine = log.code[:, i] != -2, replay.ejections.replication == i
        start, latency, code, endpoint, tries = (getattr(log, f)[real, i] for f in log.FIELDS)
        by = np.where(code == GAVE_UP, "nobody", names[np.maximum(endpoint, -1)])
        figures = summary(start, latency, code, tries, by) | {"unanswered": unanswered[i]}
        figures |= {f"to {name}": replay.pod_attempts[k, i] for k, name in enumerate(replay.pod_names)}
        figures |= {name: values[i] for name, values in replay.counters.items()}
        runs.append(figures | outlier_figures(replay.ejections.time[mine], replay.ejections.ejected[mine]))
    return columns(runs)


def columns(runs: list[dict[str, float]]) -> Figures:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: np.array([float(run.get(name, 0.0)) for run in runs]) for name in names}


def differences(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float, float]]:
    """Figure -> (mean of `ours`, mean of `theirs`, p-value)."""
    a_runs, b_runs = (len(next(iter(figures.values()))) for figures in (ours, theirs))
    found = {}
    for name in sorted({*ours, *theirs}):
        a, b = ours.get(name, np.zeros(a_runs)), theirs.get(name, np.zeros(b_runs))
        found[name] = float(a.mean()), float(b.mean()), p_value(a, b)
    return found


SURE = 1e-3
"""Where the normal approximation finds more than this, the exact distribution is not asked."""

FEW = 60
"""Nor where both sets have more runs than this: there the approximation is good."""


def p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Are `a` (n,) and `b` (m,) runs of the same thing?  Differences below a microsecond do not count: times are kept to nanoseconds."""
    both = np.round(np.concatenate((a, b)), 6)
    if np.ptp(both) <= 1e-6:
        return 1.0
    n = len(both)
    ranks = np.round(2 * stats.rankdata(both)).astype(np.int64)  # doubled: whole numbers
    few = min(len(a), len(b))
    seen = ranks[-few:].sum() if few == len(b) else ranks[:few].sum()
    off = abs(seen - few * (n + 1))
    spread = np.sqrt(few * (n - few) / (n - 1) * ranks.var())
    rough = 2 * stats.norm.sf(off / spread)
    return rough if rough > SURE or few > FEW else _exact(ranks, few, off)


def _exact(ranks: np.ndarray, few: int, off: int) -> float:
    """The share of all choices of `few` ranks whose sum is `off` or more from its mean, by counting the choices of each sum."""
    values, multiples = np.unique(ranks, return_counts=True)
    size = int(few * ranks.max()) + 1
    ways = np.zeros((few + 1, size))
    ways[0, 0] = 1.0
    for value, multiple in zip(values, multiples, strict=True):
        before = ways.copy()
        for j in range(1, min(few, multiple) + 1):
            ways[j:, j * value :] += comb(multiple, j) * before[: few + 1 - j, : max(size - j * value, 0)]
    far = np.abs(np.arange(size) - few * (len(ranks) + 1)) >= off
    return float(ways[few, far].sum() / ways[few].sum())
