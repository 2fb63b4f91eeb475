"""Writing the requests of a block of replications, which do not all have equally many."""

from __future__ import annotations

import numpy as np

from meshmodel.replay import RequestLog


class Standstill(ValueError):
    """A closed loop whose answers take no time never ends."""


def refuse_standstill(start: np.ndarray) -> None:
    """Raise Standstill if the later half of the requests of some replication all started at one time.

    `start`, shape (requests, replications), holds their times in seconds in the order of the answers.
    """
    if len(start) >= 1000 and np.ptp(start[len(start) // 2 :], axis=0).min(initial=np.inf) <= 1e-6:
        raise Standstill(
            "workload: requests that take no time, in a closed loop, would never end: give the pods a timing or the mesh an overhead"
        )


def longer(column: np.ndarray) -> np.ndarray:
    """A full column in one of twice its length; the new half is not yet memory until it is written."""
    new = np.empty((2 * column.shape[0], column.shape[1]), dtype=column.dtype)
    new[: column.shape[0]] = column
    return new


class LogWriter:
    """Columns of (rows, replications); each replication fills its own, from the top.

    The columns begin with room for `rows` requests and double when one replication has more.
    Rows not written cost nothing: touching memory for the first time is the dearest thing that a log does.
    """

    def __init__(self, replications: int, rows: int) -> None:
        self.replications = replications
        self.count = np.zeros(replications, dtype=np.int64)
        self.columns = [np.empty((rows, replications), dtype=kind) for kind in (float, float, np.int16, np.int16, np.int16)]

    def write(
        self, r: np.ndarray, start: np.ndarray, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray, attempts: np.ndarray
    ) -> None:
        """One request of each of the replications `r` (n,); seconds."""
        row = self.count.take(r)
        if row.max() >= self.columns[0].shape[0]:
            refuse_standstill(self.columns[0][:, self.count == self.columns[0].shape[0]])
            self.columns = [longer(column) for column in self.columns]
        cell = row * self.replications + r
        for column, values in zip(self.columns, (start, latency, code, endpoint, attempts), strict=True):
            column.reshape(-1)[cell] = values
        self.count[r] = row + 1

    def finish(self) -> RequestLog:
        """The log, cut to its longest column and padded."""
        longest = int(self.count.max(initial=0))
        columns = [column[:longest] for column in self.columns]
        missing = np.arange(longest)[:, None] >= self.count
        for column in columns:
            column[missing] = np.nan if column.dtype.kind == "f" else -2
        return RequestLog(*columns)
