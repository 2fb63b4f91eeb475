"""Outlier detection: which endpoints a proxy ejects, and for how long.

    k failures in a row        -> ejected at once, if the ejection percentage allows it
    a tick of the interval     -> an ejected endpoint returns when
                                  now - ejected at >= min(base * multiplier, max)
    each ejection              -> multiplier + 1      (while base * multiplier < max + base)
    each tick while not out    -> multiplier - 1      (not below 0)

A failure is a 5xx; a gateway failure is 502, 503 or 504.  What the proxy itself sees fail (no connection, reset,
timeout) counts as 503 or 504.  With `split_external_local_origin_errors` it does not: it then has a counter of its
own, which goes back to zero when a request gets its connection and up when one meets a refusal, a reset or a
timeout (router.cc: `onPoolReady`, then `onUpstreamReset`).  Requests one after the other thus never reach 2;
several at once do.

`host` is whatever has the fields of `Host`, `policy` whatever has those of `meshmodel.scenario.OutlierDetection`.
Source: Envoy, "Outlier detection" and outlier_detection_impl.cc; cluster_manager_impl.cc (`scheduleUpdate`) for the
merge window; ejection times and percentages measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshmodel.compiled import rule
from meshmodel.scenario import OutlierDetection

ROUNDING = 1e-6
"""Seconds.  Envoy's timers count whole milliseconds: a tick that falls on the very end of an ejection ends it."""


@dataclass
class Host:
    """What outlier detection knows of one endpoint."""

    failures_5xx: int = 0
    failures_gateway: int = 0
    failures_local: int = 0
    multiplier: int = 0
    ejected: bool = False
    since: float = 0.0


@rule
def count(host: Any, policy: Any, status: int, local: bool) -> bool:
    """Count an answer; has a row of failures just reached its threshold (0: never)?  `local`: the proxy itself saw it fail."""
    if policy.split_external_local_origin_errors and local:
        host.failures_local += 1
        return host.failures_local == policy.consecutive_local_origin_failure
    failed, gateway = status >= 500, 502 <= status <= 504
    host.failures_5xx = host.failures_5xx + 1 if failed else 0
    host.failures_gateway = host.failures_gateway + 1 if gateway else 0
    reached_5xx = failed and host.failures_5xx == policy.consecutive_5xx
    return reached_5xx or (gateway and host.failures_gateway == policy.consecutive_gateway_failure)


@rule
def connected(host: Any) -> None:
    """A request has got its connection: a row of local-origin failures begins anew."""
    host.failures_local = 0


@rule
def forget(host: Any) -> None:
    """All rows of failures begin anew: after an ejection (allowed or not), and on the return."""
    host.failures_5xx = 0
    host.failures_gateway = 0
    host.failures_local = 0


@rule
def may_eject(ejected: int, hosts: int, percent: int, one_host_always: bool) -> bool:
    """May one more host go when `ejected` of `hosts` are out, at most `percent` being allowed?

    Strict today; older Envoys (`one_host_always`) let the first one go in any case.
    """
    if one_host_always:
        return ejected == 0 or 100 * ejected < percent * hosts
    return 100 * (ejected + 1) <= percent * hosts


@rule
def eject(host: Any, policy: Any, at: float) -> None:
    """The host leaves; its time outside grows with each ejection, up to `max_ejection_time`."""
    longest = max(policy.max_ejection_time, policy.base_ejection_time)
    if host.multiplier * policy.base_ejection_time < longest + policy.base_ejection_time:
        host.multiplier += 1
    host.ejected = True
    host.since = at


@rule
def ejection_time(multiplier: int, policy: Any) -> float:
    """Seconds that a host stays out at the least."""
    return min(policy.base_ejection_time * multiplier, max(policy.max_ejection_time, policy.base_ejection_time))


@rule
def tick(host: Any, policy: Any, at: float) -> bool:
    """The interval timer comes to a host: is its time outside over?  A host that is in becomes more trusted."""
    if host.ejected:
        return at - host.since >= ejection_time(host.multiplier, policy) - ROUNDING
    host.multiplier = max(host.multiplier - 1, 0)
    return False


@rule
def readmit(host: Any) -> None:
    """The host returns."""
    host.ejected = False
    forget(host)


@rule
def told_at_once(at: float, told: float, window: float) -> bool:
    """Do the workers hear of a change of health at once, the last one having been told at `told`?

    Else they hear of it `update_merge_window` seconds later.  Envoy compares whole milliseconds.
    """
    return int(1000 * min(at - told, 1e9) + 1e-3) > 1000 * window


@rule
def next_tick(at: float, first: float, interval: float) -> float:
    """The first tick of the interval timer after `at`, the very first one having been at `first`."""
    late = at * (1 + 1e-12) + 1e-12  # of ticks at this very moment, the one under way is over
    return first + interval * max((late - first) // interval + 1, 0)


class Detector:
    """One proxy's outlier detection of one cluster, to be played with by hand.

        detector = Detector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=100), hosts=3)
        detector.answer(0, 503, at=0.0)
        detector.out                                  # {0}

    `hosts`: how many there are.  `told` is not modelled here: `out` is what the detector itself holds.
    """

    def __init__(self, policy: OutlierDetection, hosts: int) -> None:
        self.policy = policy
        self.hosts = [Host() for _ in range(hosts)]

    @property
    def out(self) -> set[int]:
        """The hosts that are ejected."""
        return {number for number, host in enumerate(self.hosts) if host.ejected}

    def answer(self, host: int, status: int, at: float, local: bool = False) -> bool:
        """An answer of `host`; is it ejected by it?"""
        known = self.hosts[host]
        if not count(known, self.policy, status, local) or known.ejected:
            return False
        forget(known)
        allowed = bool(may_eject(len(self.out), len(self.hosts), self.policy.max_ejection_percent, self.policy.one_host_always))
        if allowed:
            eject(known, self.policy, at)
        return allowed

    def connected(self, host: int) -> None:
        """A request to `host` has got its connection."""
        connected(self.hosts[host])

    def tick(self, at: float) -> set[int]:
        """The interval timer at `at` seconds; who returns?"""
        back = {number for number, host in enumerate(self.hosts) if tick(host, self.policy, at)}
        for number in back:
            readmit(self.hosts[number])
        return back
