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

from meshmodel.compiled import compiled
from meshmodel.simulation.requestlog import NEVER

ROUNDING = 1e-9
"""More than the share of a time that its key may lack (2^-32)."""

FLAT = 32
BRANCHES = 8
ROW_BITS = 20
ROW_MASK = (1 << ROW_BITS) - 1


@compiled
def _put(keys, first, kinds, row, replication, time, kind):
    """Set leaves, and every node above them to the least of its children."""
    for i in range(len(row)):
        r, node = replication[i], row[i]
        kinds[node, r] = kind
        keys[node, r] = (np.float64(time[i]).view(np.int64) & ~ROW_MASK) | node
        for level in range(1, len(first) - 1):
            node //= BRANCHES
            child = first[level - 1] + node * BRANCHES
            least = keys[child, r]
            for other in range(child + 1, child + BRANCHES):
                least = min(least, keys[other, r])
            keys[first[level] + node, r] = least


@compiled
def _sort(key, time, until, finished, kinds, most):
    begin = np.zeros(most + 1, np.int64)
    for r in range(len(key)):
        if time[r] < until and not finished[r]:
            begin[kinds[key[r] & ROW_MASK, r] + 1] += 1
    begin = np.cumsum(begin)
    n, place = begin[most], begin.copy()
    replication, row, cell, when = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    for r in range(len(key)):
        if time[r] < until and not finished[r]:
            leaf = key[r] & ROW_MASK
            kind = kinds[leaf, r]
            i = place[kind]
            place[kind] += 1
            replication[i], row[i], cell[i], when[i] = r, leaf, leaf * len(key) + r, time[r]
    return begin, replication, row, cell, when


class Calendar:
    """Timers of shape (rows, replications), each of a kind below `kinds`; all start at `NEVER`, of kind 0."""

    def __init__(self, rows: int, replications: int, kinds: int) -> None:
        self.replications, self.most = replications, kinds
        self.kinds = np.zeros((0, replications), dtype=np.int16)
        self._build(self._never(0, rows))

    def _never(self, first: int, last: int) -> np.ndarray:
        """Keys of the rows from `first` to before `last` that have no time."""
        never = np.float64(NEVER).view(np.int64)
        return np.repeat((never | np.arange(first, last))[:, None], self.replications, axis=1)

    def _build(self, leaves: np.ndarray) -> None:
        """All levels of the tree below one another in `keys`; `first` says where each begins, and the end."""
        if len(leaves) > FLAT and len(leaves) % BRANCHES:
            leaves = np.concatenate((leaves, self._never(len(leaves), len(leaves) + -len(leaves) % BRANCHES)))
        self.rows = len(leaves)
        levels = [leaves]
        while len(levels[-1]) > FLAT:
            spare = -len(levels[-1]) % BRANCHES
            levels[-1] = np.concatenate((levels[-1], np.full((spare, self.replications), np.iinfo(np.int64).max)))
            levels.append(levels[-1].reshape(-1, BRANCHES, self.replications).min(axis=1))
        self.kinds = np.concatenate((self.kinds, np.zeros((self.rows - len(self.kinds), self.replications), dtype=np.int16)))
        self.keys = np.concatenate(levels)
        self.first = np.cumsum([0, *map(len, levels)])

    def grow(self) -> None:
        """Twice as many rows (the new ones at `NEVER`)."""
        self._build(np.concatenate((self.keys[: self.rows], self._never(self.rows, 2 * self.rows))))

    def earliest(self, until: float, finished: np.ndarray) -> tuple[np.ndarray, ...]:
        """The earliest timer of each replication that is not `finished` (replications,), if it is before `until`.

        Returns where each kind begins (kinds + 1,), and (n,) sorted by kind: replication, row, flat
        index row * replications + replication, and time in seconds.
        """
        key = np.minimum.reduce(self.keys[self.first[-2] :], axis=0)
        return _sort(key, key.view(np.float64), until, finished, self.kinds, self.most)

    def set(self, row: np.ndarray, replication: np.ndarray, time: np.ndarray, kind: int) -> None:
        """Set the timers `row` (n,) of the replications (n,), each replication once, to `time` (n,); all of one kind."""
        _put(self.keys, self.first, self.kinds, row, replication, time, kind)
