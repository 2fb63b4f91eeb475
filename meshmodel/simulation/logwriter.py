"""Writing the requests of a block of replications, which do not all have equally many."""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.results.replay import RequestLog
from meshmodel.simulation.requestlog import longer, refuse_standstill


class LogWriter:
    """Columns of (rows, replications); each replication fills its own, from the top.

    The columns begin with room for `rows` requests and double when one replication has more.
    Rows not written cost nothing: touching memory for the first time is the dearest thing that a log does.
    """

    def __init__(self, replications: int, rows: int) -> None:
        self.count = np.zeros(replications, dtype=np.int64)
        self.sure = rows  # so many more requests of any replication have room
        self.columns = [np.empty((rows, replications), dtype=kind) for kind in (float, float, np.int16, np.int16, np.int16)]

    def write(self, records: np.ndarray, r: np.ndarray, cell: np.ndarray, t: np.ndarray, status: np.ndarray) -> np.ndarray:
        """The requests in `cell` of `records`, one of each of the replications `r` (n,), are answered with `status` at `t`, in seconds.

        Returns how many requests each of these rows has sent, (n,).
        """
        if not self.sure:
            self._make_room()
        self.sure -= 1
        start, latency, code, endpoint, attempts = self.columns
        return _write(start, latency, code, endpoint, attempts, self.count, records, r, cell, t, status)

    def _make_room(self) -> None:
        longest, rows = int(self.count.max()), len(self.columns[0])
        if longest == rows:
            refuse_standstill(self.columns[0][:, self.count == rows])
            self.columns = [longer(column) for column in self.columns]
        self.sure = len(self.columns[0]) - longest

    def finish(self) -> RequestLog:
        """The log, cut to its longest column and padded."""
        longest = int(self.count.max(initial=0))
        columns = [column[:longest] for column in self.columns]
        missing = np.arange(longest)[:, None] >= self.count
        for column in columns:
            column[missing] = np.nan if column.dtype.kind == "f" else -2
        return RequestLog(*columns)


@compiled
def _write(start, latency, code, endpoint, attempts, count, records, r, cell, t, status):
    calls = np.empty(len(r), np.int64)
    for i in range(len(r)):
        record, place = records[cell[i]], (count[r[i]], r[i])
        start[place], latency[place] = record.start, t[i] - record.start
        code[place], endpoint[place], attempts[place] = status[i], record.server, record.attempts
        count[r[i]] += 1
        record.calls += 1
        calls[i] = record.calls
    return calls
