"""Outlier detection: which endpoints a proxy has ejected.

    k failures in a row        -> ejected at once, if the ejection percentage allows it
    a tick of the interval     -> an ejected endpoint returns when
                                  now - ejected at >= min(base * multiplier, max)
    each ejection              -> multiplier + 1      (while base * multiplier < max + base)
    each tick while not out    -> multiplier - 1      (not below 0)

The percentage: the current rule ejects if (ejected + 1) / all <= max_ejection_percent; the
older one (`one_host_always`) if none is out or ejected / all < max_ejection_percent.
A failure is a 5xx; a gateway failure is 502, 503 or 504.  What the proxy itself sees fail
(no connection, reset, timeout) counts as 503 or 504.  With `split_external_local_origin_errors`
it does not: it then has a counter of its own, which goes back to zero when a request gets its
connection and up when one meets a refusal, a reset or a timeout (router.cc: `onPoolReady`, then
`onUpstreamReset`).  Requests one after the other thus never reach 2; several at once do.

Source: Envoy, "Outlier detection" and outlier_detection_impl.cc; ejection times and
percentages measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.scenario import OutlierDetection


def may_eject(ejected: np.ndarray, size: int, policy: OutlierDetection) -> np.ndarray:
    """May one more endpoint go when `ejected` (n,) of `size` are out?"""
    if policy.one_host_always:
        return (ejected == 0) | (100 * ejected < policy.max_ejection_percent * size)
    return 100 * (ejected + 1) <= policy.max_ejection_percent * size


def ejection_time(multiplier: np.ndarray, policy: OutlierDetection) -> np.ndarray:
    """Seconds that an endpoint stays out at the least, (n,)."""
    return np.minimum(policy.base_ejection_time * multiplier, max(policy.max_ejection_time, policy.base_ejection_time))


class OutlierState:
    """One proxy's failure counters and ejections of one cluster, shape (endpoints, replications)."""

    def __init__(self, endpoints: int, replications: int) -> None:
        shape = (endpoints, replications)
        self.replications = replications
        self.row_5xx, self.row_gateway, self.row_local, self.multiplier = (np.zeros(shape, dtype=np.int32) for _ in range(4))
        self.ejected = np.zeros(shape, dtype=bool)
        self.since = np.zeros(shape)

    def report(
        self, policy: OutlierDetection, size: int, endpoint: np.ndarray, replication: np.ndarray, status: np.ndarray, local: np.ndarray,
        t: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Count answers of `endpoint` with `status` (n,) at time `t` (`NOBODY`'s not); returns who was ejected, (n,).

        `local`: the proxy itself saw the failure.
        """
        most = policy.consecutive_5xx, policy.consecutive_gateway_failure, policy.consecutive_local_origin_failure
        rows = self.row_5xx, self.row_gateway, self.row_local
        reached = _count(*most, policy.split_external_local_origin_errors, *rows, self.ejected, endpoint, replication, status, local)
        if not np.count_nonzero(reached):
            return reached
        which = np.flatnonzero(reached)
        cell = endpoint[which] * self.replications + replication[which]
        self._forget(cell)
        goes = may_eject(self.ejected[:, replication[which]].sum(axis=0), size, policy)
        self._eject(policy, cell[goes], t[which[goes]])
        reached[which[~goes]] = False
        return reached

    def connected(self, endpoint: np.ndarray, replication: np.ndarray) -> None:
        """Requests (n,) have got a connection each: no row of local-origin failures is longer than what they still meet."""
        self.row_local.ravel()[endpoint * self.replications + replication] = 0

    def _forget(self, cell: np.ndarray) -> None:
        for row in (self.row_5xx, self.row_gateway, self.row_local):
            row.ravel()[cell] = 0

    def _eject(self, policy: OutlierDetection, cell: np.ndarray, t: np.ndarray) -> None:
        multiplier = self.multiplier.ravel()
        grows = (
            multiplier[cell] * policy.base_ejection_time
            < max(policy.max_ejection_time, policy.base_ejection_time) + policy.base_ejection_time
        )
        multiplier[cell] += grows
        self.ejected.ravel()[cell] = True
        self.since.ravel()[cell] = t

    def tick(self, policy: OutlierDetection, replication: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The interval timer of some replications (n,) at `t`: who is to return (`readmit`), booleans (endpoints, n)."""
        out = self.ejected[:, replication]
        multiplier = self.multiplier[:, replication]
        # Envoy's timers count whole milliseconds: a tick that falls on the very end of an ejection ends it.
        due = out & (t - self.since[:, replication] >= ejection_time(multiplier, policy) - 1e-6)
        self.multiplier[:, replication] = np.where(out, multiplier, np.maximum(multiplier - 1, 0))
        return due

    def readmit(self, endpoint: int, replication: np.ndarray) -> None:
        """The endpoint returns in some replications (n,).  Envoy tells the workers of one host after the other."""
        self.ejected[endpoint, replication] = False
        self._forget(endpoint * self.replications + replication)


@compiled
def _count(consecutive_5xx, consecutive_gateway_failure, consecutive_local_origin_failure, split, row_5xx, row_gateway, row_local, ejected,
           endpoint, replication, status, local):  # fmt: skip
    """Lengthen or end the rows of failures; whose row has just reached its threshold (0: never), and is not out yet?"""
    reached = np.zeros(len(endpoint), np.bool_)
    for i in range(len(endpoint)):
        cell = endpoint[i], replication[i]
        if endpoint[i] < 0:
            continue
        if split and local[i]:
            row_local[cell] += 1
            reached[i] = row_local[cell] == consecutive_local_origin_failure
        else:
            row_5xx[cell] = row_5xx[cell] + 1 if status[i] >= 500 else 0
            reached[i] = status[i] >= 500 and row_5xx[cell] == consecutive_5xx
            if consecutive_gateway_failure > 0:
                gateway = 502 <= status[i] <= 504
                row_gateway[cell] = row_gateway[cell] + 1 if gateway else 0
                reached[i] = reached[i] or (gateway and row_gateway[cell] == consecutive_gateway_failure)
        reached[i] = reached[i] and not ejected[cell]
    return reached
