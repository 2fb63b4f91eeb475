"""One replication attempt by attempt: what the theatre plays and what explains a single request.

The Monte-Carlo engine fills the tables from its event loop, the real Envoy from its access
logs; a reader of the tables need not know which.  All times are seconds since the load began.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from meshmodel.scenario import Scenario

REQUESTS = {"request": "int", "connection": "int", "start": "float", "end": "float", "code": "int", "endpoint": "str", "attempts": "int"}
"""Columns of `Trace.requests` and their kinds."""

ATTEMPTS = {
    "request": "int", "hop": "int", "number": "int", "call": "int", "parent": "int", "proxy": "str", "worker": "int", "endpoint": "str",
    "chosen": "float", "start": "float", "end": "float", "outcome": "str", "back_off": "float",
    "first": "str", "second": "str", "first_active": "int", "second_active": "int",
}  # fmt: skip
"""Columns of `Trace.attempts` and their kinds."""

HOSTS = {"time": "float", "proxy": "str", "endpoint": "str", "event": "str"}
"""Columns of `Trace.hosts` and their kinds."""

EVENTS = ("ejected", "readmitted", "panic", "panic ends")
"""What can happen to the hosts of a proxy."""


@dataclass(frozen=True)
class Trace:
    """Every request, every attempt and every change of hosts of one replication.

    Parameters
    ----------
    requests : one row a request of the load generator, in order of `start`.

        ============ =========================================================================
        request      its number
        connection   of the closed loop; -1 in an open loop
        start, end   seconds; sent, and answered or given up (NaN: neither when the run ended)
        code         HTTP status; -1 where the client gave up
        endpoint     pod that answered, "envoy" where a proxy did, "" where nobody did
        attempts     attempts that reached a pod of the last route
        ============ =========================================================================
    attempts : one row a try of a proxy, in order of `chosen`.  The first hops may be left out where no policy acts
        on them; `parent` is -1 then.

        ============ =========================================================================
        request      number of the request that it serves
        hop          index of the route: 0 is the first proxy
        number       1 for the first try of its call, 2 for the first retry ...
        call         which call of that hop: the tries of one call share it
        parent       row of the attempt one hop further out that the call belongs to; -1 at hop 0
        proxy        name of the caller whose proxy tries
        worker       of that proxy
        endpoint     pod picked, "" where none was
        chosen       seconds; when the endpoint was picked
        start        seconds; when it was sent on a connection (NaN: it never was: it waited, or overflowed)
        end          seconds; when the proxy was done with it (the pod may work on)
        outcome      a status ("200"), "refused", "reset", "per try timeout", "timeout", "overflow",
                     "no healthy upstream" or "abandoned"
        back_off     seconds that the proxy waited before it; 0 for a first try
        first, second                 pods that LEAST_REQUEST drew, "" otherwise
        first_active, second_active   their active requests when they were drawn, -1 otherwise
        ============ =========================================================================
    hosts : columns time, proxy, endpoint and event (one of `EVENTS`; "panic" and its end concern no endpoint: "").
    scenario, engine : what was run; "montecarlo" or "envoy".
    pods : names of the last route's pods, in order.
    deployments : the Deployment of each of `pods`.

    Raises
    ------
    ValueError : a table lacks one of its columns.
    """

    requests: pd.DataFrame
    attempts: pd.DataFrame
    hosts: pd.DataFrame
    scenario: Scenario
    engine: str
    pods: tuple[str, ...]
    deployments: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, columns in (("requests", REQUESTS), ("attempts", ATTEMPTS), ("hosts", HOSTS)):
            missing = [column for column in columns if column not in getattr(self, name)]
            if missing:
                raise ValueError(f"trace: {name} lacks {', '.join(missing)}")

    def __repr__(self) -> str:
        return f"<Trace {self.engine}: {len(self.requests):,} requests, {len(self.attempts):,} attempts, {len(self.hosts):,} host events>"
