"""Writing the requests of a block of replications, which do not all have equally many."""

from __future__ import annotations

import numpy as np

from meshmodel.replay import RequestLog


class Standstill(ValueError):
    """A closed loop whose answers take no time never ends."""


def refuse_standstill(start: np.ndarray, requests: int) -> None:
    """Raise Standstill if the later half of `requests` started at one time, in the replication that has so many.

    `start`, shape (requests, replications), holds their times in seconds.
    """
    full = ~np.isnan(start[requests - 1])
    half = start[requests // 2 : requests, full]  # in the order of the answers: late ones may have started early
    if requests >= 1000 and np.ptp(half, axis=0).min(initial=np.inf) <= 1e-6:
        raise Standstill(
            "workload: requests that take no time, in a closed loop, would never end: give the pods a timing or the mesh an overhead"
        )


class LogWriter:
    """Rows of (replications,) that grow by doubling; each replication fills its own column."""

    def __init__(self, replications: int, rows: int = 256) -> None:
        self.replications = replications
        self.count = np.zeros(replications, dtype=np.int64)
        self.floats = [np.full((rows, replications), np.nan) for _ in range(2)]
        self.integers = [np.full((rows, replications), -2, dtype=np.int16) for _ in range(3)]

    def write(
        self, r: np.ndarray, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray, attempts: np.ndarray
    ) -> None:
        """One request of each of the replications `r` (n,); seconds."""
        row = self.count[r]
        if row.max() >= self.floats[0].shape[0]:
            refuse_standstill(self.floats[0], int(row.max()))
            self.floats = [np.concatenate((a, np.full_like(a, np.nan))) for a in self.floats]
            self.integers = [np.concatenate((a, np.full_like(a, -2))) for a in self.integers]
        cell = row * self.replications + r
        for column, values in zip((*self.floats, *self.integers), (start, latency, code, endpoint, attempts), strict=True):
            column.ravel()[cell] = values
        self.count[r] = row + 1

    def finish(self) -> RequestLog:
        """The log, cut to its longest column."""
        longest = int(self.count.max(initial=0))
        return RequestLog(*(column[:longest] for column in (*self.floats, *self.integers)))
