"""Retries: which outcomes are tried again, when, where, and how many at once.

Back-off before retry k, Envoy's jittered exponential:

    uniform on [0, min(base * 2^(k-1), longest))          base 25 ms, longest 10 * base

`5xx` and `gateway-error` cover every reset (no connection, reset, per-try timeout) as well; an overflow of a
circuit breaker is never retried, nor is the route's timeout.

Source: Envoy, "x-envoy-retry-on" (router filter), retry_state_impl.cc, backoff_strategy.cc, resource_manager_impl.h;
back-off and retries of per-try timeouts measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from meshmodel.compiled import rule
from meshmodel.rules.outcomes import LOWEST, PER_TRY_TIMEOUT, REFUSED, RESET, number

RESETS = (REFUSED, RESET, PER_TRY_TIMEOUT)


def covers(retry_on: Collection[str] | str, codes: Collection[int], outcome: int | str) -> bool:
    """Is this outcome tried again: a status, or "reset", "refused", "per try timeout" ...

    `retry_on` are Envoy's words, as a collection or joined by commas; `codes` those of `retriable-status-codes`.
    `retriable-headers` names no header here, and our pods send no x-envoy-ratelimited: these two words cover nothing.
    """
    words = set(retry_on.replace(" ", "").split(",") if isinstance(retry_on, str) else retry_on)
    outcome = number(outcome)
    reset = outcome in RESETS
    return bool(
        (words & {"5xx"} and (reset or 500 <= outcome <= 599))
        or (words & {"gateway-error"} and (reset or 502 <= outcome <= 504))
        or (words & {"reset"} and reset)
        or (words & {"connect-failure", "reset-before-request"} and outcome == REFUSED)
        or (words & {"retriable-4xx"} and outcome == 409)
        or (words & {"retriable-status-codes"} and outcome in set(codes))
    )


def table(retry_on: Collection[str], codes: Collection[int]) -> np.ndarray:
    """`covers` of every outcome from `LOWEST` to 599, as booleans."""
    return np.array([covers(retry_on, codes, outcome) for outcome in range(LOWEST, 600)])


@rule
def longest_backoff(retry: int, base: float = 0.025, longest: float | None = None) -> float:
    """The bound in seconds of the back-off before retry number `retry` (1, 2, ...); the back-off is uniform below it."""
    bound = base * 2.0 ** (retry - 1)
    return min(bound, 10 * base if longest is None else longest)


@rule
def budget(active: int, percent: float, least: int) -> int:
    """How many retries a retry budget allows at once while `active` requests are in flight, the one just answered included."""
    return max(least, int(percent / 100 * active))


def most_at_once(active: int, max_retries: int = 3, percent: float | None = None, least: int = 3) -> int:
    """How many retries may be under way at once: `max_retries`, or, with a `percent`, the retry budget in its place."""
    return max_retries if percent is None else budget(active, percent, least)


@rule
def was_tried(tried: Any, request: int, tries: int, endpoint: int) -> bool:
    """The host predicate `previous_hosts`: is `endpoint` among the `tries` so far, tried[request, :tries]?"""
    for k in range(tries):
        if tried[request, k] == endpoint:
            return True
    return False


@rule
def tries_left_out(tries: int, frequency: int) -> int:
    """The retry priority `previous_priorities`: the levels of so many first attempts are left out of the next one."""
    return tries - tries % frequency if frequency > 0 else 0
