"""The timers of a run: one for each slot, the earliest found at once.

A tournament: the slots are the leaves of a binary tree (`tree`, of twice their number, a power of two), and each
node names the slot below it whose timer ends first, so that node 1 names the earliest of all.  Setting a timer
replays the matches on the way up: log2(slots) comparisons, and no search.  At equal times the lower slot comes first.

Reference: Knuth, The Art of Computer Programming, vol. 3, section 5.4.1 (trees of winners).
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled, inlined

NEVER = 1e300
"""A time that never comes."""


@inlined
def set_timer(timer: np.ndarray, tree: np.ndarray, slot: int, at: float) -> None:
    """Let the timer of `slot` end at `at` seconds."""
    timer[slot] = at
    node, first, earliest = len(timer) + slot, slot, at
    while node > 1:
        rival = tree[node ^ 1]
        if timer[rival] < earliest or (timer[rival] == earliest and rival < first):
            first, earliest = rival, timer[rival]
        node >>= 1
        tree[node] = first


@compiled
def stop_all(timer: np.ndarray, tree: np.ndarray) -> None:
    """No timer ends any more."""
    slots = len(timer)
    for slot in range(slots):
        timer[slot] = NEVER
        tree[slots + slot] = slot
    for node in range(slots - 1, 0, -1):
        tree[node] = tree[2 * node]


def tournament(timer: np.ndarray) -> np.ndarray:
    """The tree of `timer`, (slots,) seconds, slots being a power of two: (2 * slots,) slots."""
    row = np.arange(len(timer), dtype=np.int32)
    rows = [row]
    while len(row) > 1:
        left, right = row[::2], row[1::2]
        row = np.where(timer[left] <= timer[right], left, right)
        rows.insert(0, row)
    return np.concatenate([np.zeros(1, np.int32), *rows])
