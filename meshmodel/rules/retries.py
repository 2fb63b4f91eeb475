"""Retries: which outcomes are tried again, when, and how many at once.

Back-off before retry k, Envoy's jittered exponential:

    uniform on [0, min(base * 2^(k-1), max))          base 25 ms, max 10 * base

Outcomes are HTTP statuses, or the negative codes below for what the proxy itself sees.
`5xx` and `gateway-error` cover every reset (no connection, reset, per-try timeout) as
well; an overflow of a circuit breaker is never retried, nor is the route's timeout.

Source: Envoy, "x-envoy-retry-on" (router filter) and retry_state_impl.cc; back-off and
retries of per-try timeouts measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

import numpy as np

from meshmodel.fakeservice import HANG, REFUSED, RESET
from meshmodel.scenario import ConnectionPool, RetryPolicy

PER_TRY_TIMEOUT, ROUTE_TIMEOUT, OVERFLOW, NO_HEALTHY, ABORTED = -11, -12, -13, -14, -15
"""What a proxy makes of an attempt itself; with fake-service's REFUSED, RESET and HANG."""

LOWEST = -16
"""Tables over outcomes start here: the outcome o is at index o - LOWEST."""

_RESETS = (REFUSED, RESET, PER_TRY_TIMEOUT)


def statuses() -> np.ndarray:
    """The HTTP status that a caller sees for each outcome, a table from `LOWEST` to 599."""
    table = np.arange(LOWEST, 600)
    for outcome in (REFUSED, RESET, OVERFLOW, NO_HEALTHY):
        table[outcome - LOWEST] = 503
    for outcome in (PER_TRY_TIMEOUT, ROUTE_TIMEOUT, HANG):
        table[outcome - LOWEST] = 504
    return table.astype(np.int16)


def retriable(policy: RetryPolicy) -> np.ndarray:
    """Whether each outcome is retried by the policy's words, a table from `LOWEST` to 599."""
    table = np.zeros(600 - LOWEST, dtype=bool)

    def add(*outcomes: int) -> None:
        table[np.array(outcomes) - LOWEST] = True

    words = policy.retry_on
    if "5xx" in words:
        add(*range(500, 600), *_RESETS)
    if "gateway-error" in words:
        add(502, 503, 504, *_RESETS)
    if "reset" in words:
        add(*_RESETS)
    if words & {"connect-failure", "reset-before-request"}:
        add(REFUSED)
    if "retriable-4xx" in words:
        add(409)
    if "envoy-ratelimited" in words:
        pass  # our pods do not send x-envoy-ratelimited
    if "retriable-status-codes" in words and policy.retriable_status_codes:
        add(*policy.retriable_status_codes)
    return table


def longest_backoff(policy: RetryPolicy, attempts: int) -> np.ndarray:
    """The bound in seconds of the back-off before each retry number from 0 (none) to `attempts`, (attempts + 1,).

    The back-off itself is uniform on [0, bound).
    """
    bound = policy.backoff_base_interval * 2.0 ** np.minimum(np.arange(attempts + 1) - 1.0, 60)
    return np.minimum(bound, policy.max_interval)


def most_at_once(pool: ConnectionPool, active: np.ndarray) -> np.ndarray:
    """How many retries may be under way at once, `active` (n,) requests being in flight: (n,), or (1,) whatever their number.

    `max_retries`, or the retry budget in its place: max(min_retry_concurrency, percent of
    the active requests, the one just answered included).
    """
    if pool.retry_budget is None:
        return np.array([pool.max_retries])
    share = np.floor(pool.retry_budget.budget_percent / 100 * active)
    return np.maximum(share, pool.retry_budget.min_retry_concurrency).astype(np.int64)
