"""What is counted of each replication: by the engine where it keeps no requests, else from the log of them, when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meshmodel.results import fortio
from meshmodel.results.log import GAVE_UP, RequestLog

FIRST_POD = 2
"""Where the pods begin in an array by who answered: nobody (the client gave up), the proxy, each pod."""


@dataclass(frozen=True)
class Tally:
    """Counts that the engine made; P pods.  Times are seconds.

    Parameters
    ----------
    requests, lowest, highest, total, squares, elapsed : (R,) requests, and of their latencies the least, the greatest, the
        sum and the sum of squares; when the last one was answered.
    buckets : (buckets, R) requests in each of fortio's buckets.
    codes : code -> (R,) requests that ended with it.
    answers, good : (2 + P, R) requests by who answered (nobody, since the client gave up; the proxy; each pod), and those with 200.
    bin : seconds of a bin of the series, which are sums over the replications by the time of the answer:
        codes_by_time (code -> (bins,)), answers_by_time (2 + P, bins), ejected_by_time (bins,) ejections less returns.
    """

    requests: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    elapsed: np.ndarray
    buckets: np.ndarray
    codes: Mapping[int, np.ndarray]
    answers: np.ndarray
    good: np.ndarray
    bin: float
    codes_by_time: Mapping[int, np.ndarray]
    answers_by_time: np.ndarray
    ejected_by_time: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Tally]) -> Tally:
        """The replications of all parts, in order."""
        bins = max(len(part.ejected_by_time) for part in parts)

        def beside(name: str, axis: int = 0) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts], axis=axis)

        def added(series: Sequence[np.ndarray]) -> np.ndarray:
            return np.sum([np.pad(s, [(0, 0)] * (s.ndim - 1) + [(0, bins - s.shape[-1])]) for s in series], axis=0)

        return cls(
            requests=beside("requests"), lowest=beside("lowest"), highest=beside("highest"), total=beside("total"),
            squares=beside("squares"),
            elapsed=beside("elapsed"), buckets=beside("buckets", 1), answers=beside("answers", 1), good=beside("good", 1),
            codes={code: np.concatenate([part.codes[code] for part in parts]) for code in parts[0].codes}, bin=parts[0].bin,
            codes_by_time={code: added([part.codes_by_time[code] for part in parts]) for code in parts[0].codes},
            answers_by_time=added([part.answers_by_time for part in parts]), ejected_by_time=added([p.ejected_by_time for p in parts]),
        )  # fmt: skip

    def by_time(self, bin: float) -> tuple[Mapping[int, np.ndarray], np.ndarray]:
        """Requests per bin of `bin` seconds by the time of their answer, over all replications.

        By code, (bins,) each, and by who answered, (2 + P, bins).

        Raises ValueError where `bin` is no multiple of the bins that were counted in."""
        width = round(bin / self.bin)
        if width < 1 or abs(width * self.bin - bin) > 1e-9:
            raise ValueError(f"bin: must be a multiple of {self.bin:g} s where the requests were not kept, got {bin:g}")
        used = int(np.flatnonzero(self.answers_by_time.any(axis=0)).max(initial=0)) + 1
        edges = np.arange(0, used, width)
        return {code: np.add.reduceat(n[:used], edges) for code, n in self.codes_by_time.items()}, np.add.reduceat(
            self.answers_by_time[:, :used], edges, axis=1
        )


class LogTally:
    """The same of a log; `pods` is the number of pods, `resolution` that of fortio's buckets in seconds."""

    def __init__(self, log: RequestLog, pods: int, resolution: float) -> None:
        self.log, self.pods, self.resolution = log, pods, resolution

    @cached_property
    def requests(self) -> np.ndarray:
        return (self.log.code != -2).sum(axis=0)

    @cached_property
    def codes(self) -> dict[int, np.ndarray]:
        return {int(code): (self.log.code == code).sum(axis=0) for code in np.unique(self.log.code) if code != -2}

    @cached_property
    def answers(self) -> np.ndarray:
        return self._by_answer(np.ones((), bool))

    @cached_property
    def good(self) -> np.ndarray:
        return self._by_answer(self.log.code == 200)

    def _by_answer(self, which: np.ndarray) -> np.ndarray:
        return np.stack([(answered & which).sum(axis=0) for answered in self._answered_by()])

    def _answered_by(self) -> list[np.ndarray]:
        """Which requests nobody, the proxy, and each pod answered, each of the shape of the log."""
        no_pod, given_up = self.log.endpoint == -1, self.log.code == GAVE_UP
        return [no_pod & given_up, no_pod & ~given_up, *(self.log.endpoint == pod for pod in range(self.pods))]

    @cached_property
    def lowest(self) -> np.ndarray:
        return np.fmin.reduce(self.log.latency, axis=0, initial=np.inf)

    @cached_property
    def highest(self) -> np.ndarray:
        return np.fmax.reduce(self.log.latency, axis=0, initial=-np.inf)

    @cached_property
    def total(self) -> np.ndarray:
        return np.add.reduce(self.log.latency, axis=0, where=self.log.code != -2)

    @cached_property
    def squares(self) -> np.ndarray:
        return np.add.reduce(np.square(self.log.latency), axis=0, where=self.log.code != -2)

    @cached_property
    def elapsed(self) -> np.ndarray:
        return np.fmax.reduce(self.log.start + self.log.latency, axis=0, initial=0.0)

    @cached_property
    def buckets(self) -> np.ndarray:
        return fortio.bucket_counts(self.log.latency, self.resolution)

    def by_time(self, bin: float) -> tuple[Mapping[int, np.ndarray], np.ndarray]:
        """As `Tally.by_time`, for any bin."""
        done = self.log.start + self.log.latency
        bins = max(1, int(np.ceil(np.nanmax(done, initial=0.0) / bin)))
        which = np.where(np.isnan(done), -1, np.minimum(np.nan_to_num(done) / bin, bins - 1)).astype(np.intp)

        def counted(mask: np.ndarray) -> np.ndarray:
            return np.bincount(which[mask], minlength=bins)

        by_answer = np.stack([counted(answered) for answered in self._answered_by()])
        return {code: counted(self.log.code == code) for code in self.codes}, by_answer


Counts = Tally | LogTally
