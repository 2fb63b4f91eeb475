"""Is a run small enough to be begun?  Estimated from scalars alone, before anything is allocated.

Memory: a log row is 22 bytes, held twice while the parts are joined; a tally some hundreds of bytes a replication; a
call under way some 300 bytes and its list of attempts; an endpoint some 200 bytes for each proxy that sees it, and more
for each of its workers.  Time: `EVENTS_PER_SECOND`, a low estimate of one core.
"""

from __future__ import annotations

import math
from typing import Literal

from meshmodel.fakeservice import distribution
from meshmodel.scenario import ClosedLoop, Scenario

LOG_BYTES = 44
"""Of a request, the joined log and the parts together."""

TALLY_BYTES = 2000
"""Of a replication without a log."""

MOST_BYTES = 8 * 2**30
"""More is refused rather than swapped."""

MOST_SECONDS = 24 * 3600.0
"""Of one core."""

EVENTS_PER_SECOND = 1e6

FASTEST = 1e-5
"""Seconds.  A request that takes no time, and has no overhead, is reckoned with this."""

MOST_ROOM = 2_000_000
"""Requests of a replication that a log has room for from the start; it grows."""


MOST_LOGGED = 5_000_000
"""Requests of all replications whose log is kept where nobody asks: 200 MB."""

MOST_UNASKED = 100_000_000
"""Requests that are simulated where nobody says that it may take long."""


class TooLarge(ValueError):
    """A run that would take too much memory or time; the message names what to change."""


def expected_requests(scenario: Scenario) -> float:
    """A rough number of requests of one replication, rather too many."""
    workload = scenario.workload
    if not isinstance(workload, ClosedLoop):
        return workload.expected
    planned = sum(workload.calls_per_thread) if workload.planned_calls is None else float(workload.planned_calls)
    if workload.duration is None:
        return planned
    return min(planned, workload.threads * (workload.duration / _fastest(scenario) + 1))


def _fastest(scenario: Scenario) -> float:
    """Seconds that a request takes at the least, but for one in a hundred of its overheads."""
    pods = {e.behaviour for e in scenario.endpoints}
    seconds = [atom.seconds for pod in pods for atom in distribution(pod) if atom.seconds > 0 or atom.probability > 0.2]
    return max(min(seconds, default=0.0) + float(scenario.overhead.ppf(0.01)), FASTEST)


def room(scenario: Scenario) -> int:
    """Rows of a log for one replication, from the start."""
    expected = expected_requests(scenario)
    return int(min(MOST_ROOM, expected + 4 * math.sqrt(expected) + 16))


def kept_unasked(scenario: Scenario, replications: int) -> Literal["log", "figures"]:
    """What a run keeps where nobody says.  Raises TooLarge where nobody says that it may take long."""
    requests = expected_requests(scenario) * replications
    if requests > MOST_UNASKED:
        less = "fewer replications, a lower rate or a shorter duration; or --keep figures, and time"
        raise TooLarge(f"{requests:,.0f} requests would take minutes or hours: {less}")
    return "figures" if requests > MOST_LOGGED else "log"


def admit(scenario: Scenario, replications: int, keep: str) -> None:
    """Raise TooLarge if the run would take too much memory or time."""
    requests = expected_requests(scenario)
    _refuse_if(
        requests * replications / EVENTS_PER_SECOND > MOST_SECONDS,
        scenario,
        f"about {requests * replications:.3g} requests would take days",
    )
    waiting = scenario.workload.threads if isinstance(scenario.workload, ClosedLoop) else 0
    kept = replications * (requests * LOG_BYTES if keep == "log" else TALLY_BYTES)
    state = 2 * (waiting * 1000 + sum(_bytes_of_route(scenario, hop) for hop in range(len(scenario.routes))))
    if kept + state > MOST_BYTES:
        more = '; or keep="figures"' if keep == "log" and state < MOST_BYTES else ""
        what = (
            f"about {requests * replications:.3g} requests"
            if kept > state
            else f"{waiting:,} connections and the endpoints that they reach"
        )
        _refuse_if(True, scenario, f"{what} would take {(kept + state) / 2**30:.0f} GB of memory{more}")


def _bytes_of_route(scenario: Scenario, hop: int) -> float:
    pairs = sum(len(chain[hop].callers) * len(cluster.endpoints) for chain in scenario.chains for cluster in chain[hop].clusters)
    return pairs * (250 + 60 * scenario.workers)


def _refuse_if(condition: bool, scenario: Scenario, what: str) -> None:
    if condition:
        closed = isinstance(scenario.workload, ClosedLoop)
        knobs = (
            "fewer replications, connections or calls, or a shorter duration"
            if closed
            else "fewer replications, a lower rate or a shorter duration"
        )
        raise TooLarge(f"replications: {what}; ask for {knobs}")
