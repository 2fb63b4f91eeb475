"""Timeouts: what ends an attempt, the answer, `perTryTimeout`, or the route's `timeout`.

A route's timeout begins when the whole request has reached the proxy, and covers all attempts and the back-offs
between them; `perTryTimeout` begins anew with each attempt.  Source: Envoy, "Timeouts" (router filter),
router.cc (`onPerTryTimeout`, `onResponseTimeout`); measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from meshmodel.compiled import rule
from meshmodel.rules.outcomes import PER_TRY_TIMEOUT, ROUTE_TIMEOUT


@rule
def attempt_deadline(sent: float, per_try_timeout: float, deadline: float, last_of_hedges: bool) -> float:
    """When an attempt that was `sent` then is given up, in seconds; inf: never.

    `deadline` is the route's.  A hedging proxy has nothing to start after its last attempt, and lets that one run on.
    """
    if last_of_hedges:
        return deadline
    return min(sent + per_try_timeout, deadline)


@rule
def outcome_at(given_up: float, deadline: float) -> int:
    """Which timeout it is when an attempt is given up then."""
    return PER_TRY_TIMEOUT if given_up < deadline else ROUTE_TIMEOUT
