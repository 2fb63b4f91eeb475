"""Sums of random seconds: overheads and back-offs, and what a deadline leaves of them.

A request's latency is a fixed number of seconds (service times, exact) plus a `Delay`:
some draws of the scenario's overhead and some uniform back-offs.  Its distribution is
folded numerically on a grid; one overhead alone keeps its exact distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.signal import fftconvolve

from meshmodel.scenario import Distribution

POINTS = 1500


@dataclass(frozen=True)
class Delay:
    """`overheads` draws of the overhead + uniforms on [0, w) for w in `widths` + `cuts`: (delay given that it is <= cap, cap)."""

    overheads: int = 0
    widths: tuple[float, ...] = ()
    cuts: tuple[tuple[Delay, float], ...] = ()

    def __add__(self, other: Delay) -> Delay:
        return Delay(self.overheads + other.overheads, tuple(sorted(self.widths + other.widths)), self.cuts + other.cuts)


class Delays:
    """Distributions of every `Delay` under one overhead distribution.

    `pmf` lives on cells of `step` seconds whose k-th holds the mass of [k, k+1) steps of each summand.
    """

    def __init__(self, overhead: Distribution, widest: float) -> None:
        self.overhead = overhead
        self.constant = float(overhead.mean()) if overhead.var() == 0 else None
        largest = 0.0 if self.constant is not None else float(overhead.ppf(1 - 1e-9))
        self.step = max(largest, widest, 1e-4) / POINTS
        self._largest = largest
        self._cells = lru_cache(maxsize=None)(self._cells_of)
        self.moments = lru_cache(maxsize=None)(self._moments_of)

    def _cells_of(self, delay: Delay) -> tuple[np.ndarray, float]:
        """Mass per cell, and the seconds at which the first cell is centred."""
        parts = [self._overhead_cells] * (delay.overheads if self.constant is None else 0)
        parts += [np.diff(np.minimum(np.arange(np.ceil(w / self.step - 1e-9) + 1) * self.step / w, 1.0)) for w in delay.widths]
        offset = 0.5 * self.step * len(parts) + (0.0 if self.constant is None else delay.overheads * self.constant)
        for summand, cap in delay.cuts:
            cells, first = self._cells(summand)
            inside = np.clip((cap - first) / self.step - np.arange(len(cells)) + 0.5, 0.0, 1.0)
            parts.append(cells * inside / (cells @ inside))
            offset += first
        pmf = np.ones(1)
        for part in parts:
            pmf = np.maximum(fftconvolve(pmf, part), 0.0)
        return pmf / pmf.sum(), offset

    @cached_property
    def _overhead_cells(self) -> np.ndarray:
        edges = np.arange(int(np.ceil(self._largest / self.step)) + 1) * self.step
        return np.diff(np.asarray(self.overhead.cdf(edges)))

    def _fixed(self, delay: Delay) -> float | None:
        """The delay where nothing in it is random, seconds."""
        if delay.widths or delay.cuts or (delay.overheads and self.constant is None):
            return None
        return delay.overheads * (self.constant or 0.0)

    def cdf(self, delay: Delay, seconds: np.ndarray) -> np.ndarray:
        """P(delay <= seconds), elementwise."""
        seconds = np.asarray(seconds, float)
        fixed = self._fixed(delay)
        if fixed is not None:
            return np.where(seconds >= fixed - 1e-12, 1.0, 0.0)
        if delay == Delay(1):
            return np.asarray(self.overhead.cdf(seconds))
        cells, first = self._cells(delay)
        edges = first + (np.arange(len(cells) + 1) - 0.5) * self.step
        return np.interp(seconds, edges, np.concatenate(([0.0], np.cumsum(cells))))

    def split(self, seconds: float, delay: Delay, deadline: float | None) -> list[tuple[bool, float, Delay]]:
        """(in time, probability, delay given that) of `seconds` + `delay` against a deadline in seconds (None: there is none)."""
        if deadline is None:
            return [(True, 1.0, delay)]
        room = deadline - seconds
        if room < 0 or self.largest(delay) <= room:
            return [(room >= 0, 1.0, delay)]
        p = float(self.cdf(delay, np.asarray(room)))
        parts = [(True, p, Delay(cuts=((delay, room),))), (False, 1 - p, delay)]
        return [part for part in parts if part[1] > 1e-12]

    def _moments_of(self, delay: Delay) -> tuple[float, float, float]:
        """Mean, variance and third central moment."""
        fixed = self._fixed(delay)
        if fixed is not None:
            return fixed, 0.0, 0.0
        cells, first = self._cells(delay)
        seconds = first + np.arange(len(cells)) * self.step
        mean = cells @ seconds
        return float(mean), float(cells @ (seconds - mean) ** 2), float(cells @ (seconds - mean) ** 3)

    def largest(self, delay: Delay) -> float:
        """Seconds that the delay practically never exceeds."""
        total = sum(delay.widths) + sum(min(cap, self.largest(part)) for part, cap in delay.cuts)
        return total + delay.overheads * (self._largest if self.constant is None else self.constant)
