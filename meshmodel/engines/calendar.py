"""The calendar of the event loop: the earliest timer of every replication.

A timer is one 64-bit key: the bits of its time (a positive double sorts like the integer
with the same bits) with the timer's row in the lowest bits.  So one minimum gives both
the time and the row, and ties go to the lower row.  The row costs the time its last 20 bits:
60 s is kept to 15 nanoseconds, so compare times with `ROUNDING`.

Above `FLAT` rows the keys are the leaves of a tree with `BRANCHES` children to a node,
so that a change costs the logarithm of the rows.
"""

from __future__ import annotations

import numpy as np

NEVER = 2.0**1000
"""A time that never comes: finite, and with clear low bits."""

ROUNDING = 1e-9
"""More than the share of a time that its key may lack (2^-32)."""

FLAT = 32
BRANCHES = 8


class Calendar:
    """Timers of shape (rows, replications); all start at `NEVER`."""

    def __init__(self, rows: int, replications: int, row_bits: int = 20) -> None:
        self.replications = replications
        self.mask = np.int64((1 << row_bits) - 1)
        self.levels: list[np.ndarray] = []
        self._build(self._keys(np.full((rows, replications), NEVER), np.arange(rows)[:, None]))

    def _keys(self, times: np.ndarray, row: np.ndarray) -> np.ndarray:
        return (times.view(np.int64) & ~self.mask) | row

    def _build(self, leaves: np.ndarray) -> None:
        rows = leaves.shape[0]
        if rows > FLAT:
            spare = -rows % BRANCHES
            leaves = np.concatenate((leaves, self._keys(np.full((spare, self.replications), NEVER), rows + np.arange(spare)[:, None])))
        self.rows = leaves.shape[0]
        self.levels = [np.ascontiguousarray(leaves)]
        while self.levels[-1].shape[0] > FLAT:
            below = self.levels[-1]
            spare = -below.shape[0] % BRANCHES
            if spare:
                below = np.concatenate((below, np.full((spare, self.replications), np.iinfo(np.int64).max)))
                self.levels[-1] = below
            self.levels.append(below.reshape(-1, BRANCHES, self.replications).min(axis=1))

    def grow(self) -> None:
        """Twice as many rows (the new ones at `NEVER`)."""
        leaves = self.levels[0][: self.rows]
        more = self.rows + np.arange(self.rows)[:, None]
        self._build(np.concatenate((leaves, self._keys(np.full((self.rows, self.replications), NEVER), more))))

    def earliest(self) -> tuple[np.ndarray, np.ndarray]:
        """Time in seconds and row of the earliest timer of each replication, (replications,)."""
        key = np.minimum.reduce(self.levels[-1], axis=0)
        return key.view(np.float64), key & self.mask

    def set(self, row: np.ndarray, replication: np.ndarray, time: np.ndarray) -> None:
        """Set the timers `row` (n,) of the replications (n,), each replication once, to `time` (n,)."""
        self.levels[0].ravel()[row * self.replications + replication] = self._keys(time, row)
        group = row
        for below, level in zip(self.levels, self.levels[1:], strict=False):
            group = group // BRANCHES
            children = (group * BRANCHES + np.arange(BRANCHES)[:, None]) * self.replications + replication
            level.ravel()[group * self.replications + replication] = below.ravel()[children].min(axis=0)
