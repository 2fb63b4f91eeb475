"""When requests are sent: fortio's threads (closed loop), and streams of arrivals (open loop)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.scenario import ClosedLoop, OpenLoop
from meshmodel.simulation.requestlog import NEVER


def pacing(workload: ClosedLoop, done: np.ndarray, calls: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """When a thread of fortio that has made `calls` calls, the last answered at `done`, makes its next.

    Arrays (n,); `limit` is the thread's number of calls; NEVER: it stops.  A thread behind
    schedule does not sleep; one ahead sleeps to its target.  After the duration it stops, though
    with a qps never before two calls, nor before its very last.  Source: fortio's
    periodic/periodic.go, runOne.
    """
    seconds = np.inf if workload.duration is None else workload.duration
    spacing = workload.threads / workload.qps if workload.qps > 0 else 0.0
    return _next_calls(seconds, spacing, workload.calls is None, done, calls, limit)


@compiled
def _next_calls(duration, spacing, by_time, done, calls, limit):
    following = np.empty(len(done))
    for i in range(len(done)):
        stretch = 1 + 1 / max(limit[i] - 1, 1) if duration < np.inf else 1.0
        start = max(done[i], calls[i] * spacing * stretch) if spacing > 0 else done[i]
        late = by_time and start > duration
        if late and spacing > 0:
            late = calls[i] >= 2 and calls[i] != limit[i] - 1
        following[i] = NEVER if late or calls[i] >= limit[i] or done[i] >= NEVER else start
    return following


class Arrivals:
    """The arrival times of an open loop, one stream for each replication.

    Arrivals come where the integrated rate, the area under the rate's line, passes the next
    level: a Poisson process of rate 1 for "poisson", the whole numbers for "paced".
    Reference: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes" (1979).
    """

    def __init__(self, workload: OpenLoop, replications: int, uniform: Callable[[int], np.ndarray]) -> None:
        self.workload, self.uniform = workload, uniform
        self.level = np.zeros(replications)
        seconds, first, last = np.array(workload.segments).T
        self.begin = np.concatenate(([0.0], np.cumsum(seconds)))
        self.area = np.concatenate(([0.0], np.cumsum(seconds * (first + last) / 2)))
        self.first, self.slope = first, (last - first) / seconds

    def next(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Time of the next arrival of replications `r` (n,), NEVER after the end; and whether there is one."""
        if self.workload.arrivals == "poisson":
            self.level[r] -= np.log1p(-self.uniform(len(r)))
            level = self.level[r]
        else:
            level = self.level[r]
            self.level[r] += 1
        more = level < self.area[-1]
        return np.where(more, self._time(np.minimum(level, self.area[-1])), NEVER), more

    def _time(self, level: np.ndarray) -> np.ndarray:
        """Where the integrated rate reaches `level`: first * x + slope * x^2 / 2 = rest, solved stably."""
        segment = np.clip(np.searchsorted(self.area, level, side="right") - 1, 0, len(self.first) - 1)
        rest, first, slope = level - self.area[segment], self.first[segment], self.slope[segment]
        root = np.sqrt(np.maximum(first**2 + 2 * slope * rest, 0))
        return self.begin[segment] + np.where(rest > 0, 2 * rest / np.maximum(first + root, 1e-300), 0.0)
