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


def backoff(policy: RetryPolicy, retry: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Seconds before retry number `retry` (n,), from 1, with uniforms `u` (n,) on [0, 1)."""
    bound = policy.backoff_base_interval * 2.0 ** np.minimum(retry - 1, 60)
    return u * np.minimum(bound, policy.max_interval)


def retries_allowed(pool: ConnectionPool, retrying: np.ndarray, active: np.ndarray) -> np.ndarray:
    """May one more retry be scheduled, `retrying` (n,) being under way and `active` (n,) requests in flight?

    `max_retries`, or the retry budget in its place: max(min_retry_concurrency, percent of
    the active requests, the one just answered included).
    """
    if pool.retry_budget is None:
        return retrying < pool.max_retries
    share = np.floor(pool.retry_budget.budget_percent / 100 * active)
    return retrying < np.maximum(share, pool.retry_budget.min_retry_concurrency)
