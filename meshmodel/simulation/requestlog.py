"""What the loops of the Monte-Carlo engine share in keeping a log of requests."""

from __future__ import annotations

import numpy as np

NEVER = 2.0**1000
"""A time that never comes: finite, and with clear low bits."""


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
