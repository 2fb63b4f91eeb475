"""What the analytic engine returns: the law of one request, and the figures of a run made of it.

A `Law` splits requests into strata (usually: by the endpoint first tried).  The share of
stratum g is p_g; over n requests its observed share has covariance B / n.  For any
function f of a request the mean over n requests has variance V(f) / n with

    V(f) = sum_g p_g Var(f | g) + m' B m,   m_g = E[f | g]

B = diag(p) - p p' for independent draws (RANDOM), nearly 0 for ROUND_ROBIN, and the
occupancy chain's for LEAST_REQUEST.  Percentiles: a quantile q_p <= x exactly when the
empirical F_n(x) >= p, so the law of F_n at fortio's bucket edges, and that of minimum and
maximum, give the law of what fortio prints.
References: A. W. van der Vaart, Asymptotic Statistics (1998), ch. 21; fortio stats/stats.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from scipy.stats import binom, norm

from meshmodel.analytic.delays import Delay, Delays
from meshmodel.analytic.locality import expected_errors
from meshmodel.analytic.ways import Way, merged
from meshmodel.results import fortio
from meshmodel.results.replay import ENVOY, GAVE_UP, NOBODY, PERCENTILES, Estimate, Outcome
from meshmodel.scenario import Scenario

LEVELS = (np.arange(21) + 0.5) / 21
EXTREMES = (np.arange(19) + 0.5) / 19
SHUFFLED = EXTREMES[np.arange(19) * 7 % 19]  # pairs each level of the maximum with another one of the minimum


@dataclass(frozen=True)
class Law:
    """`shares` (G,) and `ways` of each stratum, covariance `between` (G, G) of the shares times requests.

    `independent`: the strata of different requests are independent.
    """

    shares: np.ndarray
    ways: tuple[tuple[Way, ...], ...]
    between: np.ndarray
    delays: Delays
    independent: bool = False

    def per_stratum(self, value: Callable[[Way], float]) -> np.ndarray:
        """E[value | stratum], (G,)."""
        return np.array([sum(way.probability * value(way) for way in ways) for ways in self.ways])

    def mean(self, value: Callable[[Way], float]) -> float:
        return float(self.shares @ self.per_stratum(value))

    def variance(self, value: Callable[[Way], float], square: Callable[[Way], float] | None = None) -> float:
        """V(f) of the module's docstring; `square` gives E[f^2 | way] when f is random given the way."""
        first = self.per_stratum(value)
        second = self.per_stratum(square or (lambda way: value(way) ** 2))
        return float(max(self.shares @ (second - first**2), 0.0) + max(first @ self.between @ first, 0.0))

    def raw_moments(self, way: Way) -> tuple[float, float, float]:
        """E[X], E[X^2], E[X^3] of the latency of one way, seconds."""
        mean, variance, third = self.delays.moments(way.delay)
        total = way.seconds + mean
        return total, total**2 + variance, total**3 + 3 * total * variance + third

    @cached_property
    def latency_moments(self) -> tuple[float, float, float]:
        """E[X], E[X^2], E[X^3] of the latency of a request, seconds."""
        first, second = self.mean(lambda way: self.raw_moments(way)[0]), self.mean(lambda way: self.raw_moments(way)[1])
        return first, second, self.mean(lambda way: self.raw_moments(way)[2])

    @cached_property
    def latency_variance(self) -> float:
        """V(latency): n times the variance of the mean of n latencies."""
        return self.variance(lambda w: self.raw_moments(w)[0], lambda w: self.raw_moments(w)[1])

    def cdf(self, seconds: np.ndarray) -> np.ndarray:
        """P(latency <= x | stratum), shape (G, len(x))."""
        parts: dict[tuple, list[float]] = {}
        for g, ways in enumerate(self.ways):
            for way in ways:
                parts.setdefault((way.seconds, way.delay), [0.0] * len(self.ways))[g] += way.probability
        total = np.zeros((len(self.ways), len(seconds)))
        for (fixed, delay), probability in parts.items():
            total += np.outer(probability, self.delays.cdf(delay, seconds - fixed))
        return np.minimum(total, 1.0)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Latency at each probability by bisection, seconds."""
        ways = [way for group in self.ways for way in group]
        low = np.full(len(levels), -1e-12)
        high = np.full(len(levels), max(way.seconds + self.delays.largest(way.delay) for way in ways) + 1e-9)
        for _ in range(36):
            middle = (low + high) / 2
            enough = self.shares @ self.cdf(middle) >= levels
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high


def alone(ways: Iterable[Way], delays: Delays) -> Law:
    """Requests that all have the same `ways` to go, independently."""
    return Law(np.ones(1), (tuple(ways),), np.zeros((1, 1)), delays, True)


def given_up(law: Law, timeout: float) -> Law:
    """`law` for a client that waits `timeout` seconds: what takes longer ends then, with code -1, answered by nobody."""

    def seen(way: Way) -> Iterable[Way]:
        late = Way(way.probability, timeout, GAVE_UP, NOBODY, way.attempts)
        for in_time, p, delay in law.delays.split(way.seconds, way.delay, timeout):
            yield replace(way if in_time else late, probability=way.probability * p, delay=delay if in_time else Delay())

    return replace(law, ways=tuple(tuple(merged([part for way in ways for part in seen(way)])) for ways in law.ways))


@dataclass(frozen=True)
class Count:
    """Requests of a run: mean and variance (0: exactly so many)."""

    mean: float
    variance: float = 0.0


class Prediction(Outcome):
    """The figures of a scenario from closed forms; `assumptions` names each approximation with its error.

    `lo` and `hi` hold 95 % of the runs, from the exact or the asymptotic law.  `law` is the law of one request.
    """

    engine = "analytic"

    def __init__(self, scenario: Scenario, law: Law, count: Count, assumptions: Mapping[str, str], resolution: float) -> None:
        self.scenario, self.law, self.count, self.assumptions, self.resolution = scenario, law, count, assumptions, resolution
        self._deployment = {e.name: e.deployment for e in scenario.endpoints}

    def with_resolution(self, resolution: float) -> Prediction:
        """The same prediction read with another fortio resolution (seconds)."""
        return Prediction(self.scenario, self.law, self.count, self.assumptions, resolution)

    # --- shares -------------------------------------------------------------------------

    def code_shares(self) -> dict[int, Estimate]:
        codes = sorted({way.code for ways in self.law.ways for way in ways})
        return {code: self._share_with(lambda way: way.code, code) for code in codes}

    def endpoint_shares(self) -> dict[str, Estimate]:
        shares = {name: self._share_with(lambda way: self._deployment.get(way.by), name) for name in self.scenario.deployments}
        no_pod = {name: self._share_with(lambda way: way.by, name) for name in (ENVOY, NOBODY)}
        return shares | {name: share for name, share in no_pod.items() if share.mean > 0}

    def pod_shares(self) -> dict[str, Estimate]:
        """Pod -> share of the requests that it answered."""
        return {e.name: self._share_with(lambda way: way.by, e.name) for e in self.scenario.endpoints}

    def attempt_shares(self) -> dict[str, Estimate]:
        def attempts(at: str) -> Estimate:
            return self._share(lambda way: sum(count for pod, count in way.attempts if self._deployment.get(pod) == at))

        everywhere = self._share(lambda way: sum(count for _, count in way.attempts))
        return {"per_request": everywhere, **{name: attempts(name) for name in self.scenario.deployments}}

    def _share_with(self, of: Callable[[Way], object], wanted: object) -> Estimate:
        return self._share(lambda way: of(way) == wanted)

    def _share(self, value: Callable[[Way], float]) -> Estimate:
        """Mean of a function of a request over a run: binomial when 0 or 1 and independent, else normal, in steps of 1/n."""
        n, mean = max(self.count.mean, 1.0), self.law.mean(value)
        seen = {float(value(way)) for ways in self.law.ways for way in ways}
        if self.law.independent and seen <= {0.0, 1.0}:
            low, high = binom.ppf([0.025, 0.975], round(n), min(max(mean, 0.0), 1.0)) / round(n)
        else:
            spread = norm.ppf(0.975) * np.sqrt(max(self.law.variance(value), 0.0) / n)
            low, high = np.clip(np.round(np.array([mean - spread, mean + spread]) * n) / n, min(seen), max(seen))
        return Estimate(mean, float(min(low, mean)), float(max(high, mean)))

    # --- latency ------------------------------------------------------------------------

    def figures(self) -> dict[str, Estimate]:
        mean, n = self.law.latency_moments[0], max(self.count.mean, 1.0)
        spread, half = norm.ppf(0.975), np.sqrt(self.law.latency_variance / n)
        wide = spread * np.sqrt(self.count.variance)
        figures = {
            "count": Estimate(self.count.mean, *(round(self.count.mean + s * wide) if wide else self.count.mean for s in (-1, 1))),
            "avg": Estimate(mean, float(mean - spread * half), float(mean + spread * half)),
        }
        return figures | {f"p{p:g}": estimate for p, estimate in zip(PERCENTILES, self._percentiles(PERCENTILES), strict=True)}

    def percentile(self, p: float) -> Estimate:
        """The p-th percentile as fortio would print it, seconds."""
        return self._percentiles([p])[0]

    def _percentiles(self, wanted: Sequence[float]) -> list[Estimate]:
        return [Estimate.of(row) for row in fortio.percentiles(*self._scenes, list(wanted), self.resolution)]

    @cached_property
    def _scenes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bucket counts (buckets, scenes), minimum and maximum (scenes,), equally likely: a quadrature, nothing random.

        Given the counts, the extremes are those of k draws within the first and the last bucket that is not empty.
        """
        n = max(round(self.count.mean), 1)
        edges = fortio.bucket_edges(self.resolution)[:-1]
        given = self.law.cdf(edges)
        expected = np.concatenate(([0.0], self.law.shares @ given, [1.0]))
        below = np.vstack((self._empirical(given, n), np.ones(len(LEVELS))))
        counts = np.round(np.diff(np.maximum.accumulate(below, axis=0), axis=0, prepend=0.0) * n)
        first, last = (counts > 0).argmax(axis=0), len(counts) - 1 - (counts > 0)[::-1].argmax(axis=0)
        column = np.arange(len(LEVELS))

        def within(bucket: np.ndarray, part: np.ndarray) -> np.ndarray:
            return (expected[bucket] + (expected[bucket + 1] - expected[bucket]) * part).ravel()

        low = within(first, 1 - (1 - SHUFFLED[:, None]) ** (1 / counts[first, column]))
        high = within(last, EXTREMES[:, None] ** (1 / counts[last, column]))
        wanted, place = np.unique(np.concatenate((low, high)), return_inverse=True)
        ends = self.law.quantile(wanted)[place]
        lowest, highest = ends[: len(low)], ends[len(low) :]
        return np.tile(counts, len(EXTREMES)), lowest, np.maximum(highest, lowest)

    def _empirical(self, given: np.ndarray, n: int) -> np.ndarray:
        """Quantiles at LEVELS of the share of n requests below each edge, whose cdf per stratum is `given` (G, edges): (edges, levels).

        Binomial where requests are as good as independent, which rare events are under any balancer; else normal.
        """
        mean = np.clip(self.law.shares @ given, 0.0, 1.0)
        variance = self.law.shares @ (given * (1 - given)) + np.einsum("gx,gh,hx->x", given, self.law.between, given)
        value = np.round((mean[:, None] + norm.ppf(LEVELS) * np.sqrt(np.maximum(variance, 0.0) / n)[:, None]) * n) / n
        open_ = (mean > 1e-12) & (mean < 1 - 1e-12)
        rare = n * np.minimum(mean, 1 - mean) < 10
        exact = open_ & ((rare & (variance > 0.9 * mean * (1 - mean))) | (self.law.independent & (n <= 500)))
        value[exact] = binom.ppf(LEVELS, n, mean[exact, None]) / n
        value[~open_] = np.round(mean[~open_, None])
        return np.clip(value, 0.0, 1.0)

    def bucket_shares(self) -> np.ndarray:
        """Expected share of the requests in each of fortio's buckets, (buckets,)."""
        below = np.append(self.law.shares @ self.law.cdf(fortio.bucket_edges(self.resolution)[:-1]), 1.0)
        return np.diff(below, prepend=0.0)

    def histogram(self) -> fortio.Histogram:
        """The expected histogram of one run (counts rounded), with median minimum and maximum."""
        n = max(round(self.count.mean), 1)
        lowest, highest = self.law.quantile(np.array([1 - 0.5 ** (1 / n), 0.5 ** (1 / n)]))
        edges, counts = fortio.bucket_edges(self.resolution), _rounded(self.bucket_shares() * n, n)
        first, last = np.searchsorted(edges, (lowest, highest))
        inside = np.clip(np.arange(len(counts)), first, last)  # none beyond the ends
        counts = np.bincount(inside, weights=counts, minlength=len(counts)).astype(int)
        below = np.append(0.0, edges)
        first, last = counts.nonzero()[0][[0, -1]]
        mean, square, _ = self.law.latency_moments
        shares = self.code_shares()
        codes = dict(zip(shares, _rounded(np.array([share.mean for share in shares.values()]) * n, n).tolist(), strict=True))
        least, most = round(float(max(lowest, below[first])), 9), round(float(min(max(highest, below[last]), edges[last])), 9)
        # The counts are rounded, so few requests need not have the expected sum: what they can have is nearest to it.
        starts, ends = np.maximum(below[:-1], least), np.minimum(edges, most)
        total = float(np.clip(mean * n, starts @ counts[: len(starts)], ends @ counts[: len(ends)]))
        spread = min(max(square - mean**2, 0.0), max((most - total / n) * (total / n - least), 0.0))
        return fortio.Histogram.from_counts(
            counts,
            least,
            most,
            total,
            n * spread + total**2 / n,
            self.resolution,
            codes={code: count for code, count in codes.items() if count},
        )

    def to_json(self) -> dict[str, Any]:
        """The layout of every outcome; what only replications have is null or empty."""
        only_replications: dict[str, Any] = {"replications": None, "seed": None, "unanswered": None, "series": None, "counters": {}}
        rest = {"requests": self.count.mean, "assumptions": self.assumptions, "fortio": self.histogram().to_json()}
        return super().to_json() | only_replications | rest

    def __repr__(self) -> str:
        return f"<Prediction: {self.count.mean:,.1f} requests of {self.law.latency_moments[0]:.4f} s, {len(self.assumptions)} assumptions>"


def _rounded(expected: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, which the expected ones do but for rounding: largest remainders first."""
    whole = np.floor(expected + 1e-9).astype(int)
    whole[np.argsort(whole - expected, kind="stable")[: total - whole.sum()]] += 1
    return whole


def combined(weights: np.ndarray, laws: list[Law], covariance: np.ndarray) -> Law:
    """Requests that follow `laws[d]` with share weights[d]; `covariance` (D, D) of these shares times requests."""
    if len(laws) == 1:
        return laws[0]
    shares = np.concatenate([w * law.shares for w, law in zip(weights, laws, strict=True)])
    spread = block_diag(*(law.shares[:, None] for law in laws))
    between = block_diag(*(w * law.between for w, law in zip(weights, laws, strict=True)))
    ways = tuple(ways for law in laws for ways in law.ways)
    independent = all(law.independent for law in laws) and bool(np.allclose(covariance, multinomial(weights)))
    return replace(laws[0], shares=shares, ways=ways, between=between + spread @ covariance @ spread.T, independent=independent)


def multinomial(shares: np.ndarray) -> np.ndarray:
    """Covariance of the shares of independent draws, times their number: diag(p) - p p'."""
    return np.diag(shares) - np.outer(shares, shares)


def until_ejected(before: Law, after: Law, failing: tuple[Way, ...], name: str, share: float, consecutive: int, n: int) -> Law:
    """n sequential requests: those that fail at `name` (k at most), the others before its ejection, and those after it."""
    errors = expected_errors(n, consecutive, share)
    waiting = float(sum(binom.cdf(consecutive - 1, i, share) for i in range(n)))  # requests sent while it takes part
    parts = [(errors, Law(np.ones(1), (failing,), np.zeros((1, 1)), before.delays))]
    if share < 1:
        others = tuple(tuple(w for w in ways if all(pod != name for pod, _ in w.attempts)) for ways in before.ways)
        mass = np.array([sum(w.probability for w in ways) for ways in others])
        keep = np.flatnonzero(mass)
        kept = tuple(tuple(replace(w, probability=w.probability / mass[g]) for w in others[g]) for g in keep)
        shares = before.shares[keep] * mass[keep] / (before.shares @ mass)
        parts.append((waiting - errors, Law(shares, kept, multinomial(shares), before.delays)))
    parts.append((n - waiting, after))
    parts = [(count, law) for count, law in parts if count > 1e-12]
    weights = np.array([count for count, _ in parts]) / n
    return combined(weights, [law for _, law in parts], np.zeros((len(parts), len(parts))))
