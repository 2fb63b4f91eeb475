"""What an attempt comes to: an HTTP status, or a negative number for what no pod answered.

The caller of a proxy sees a status in any case: 503 where no connection or host was to be had, 504 where
somebody's patience ended (Envoy, "Response flags" and router.cc).
"""

from __future__ import annotations

from collections.abc import Collection

from meshmodel.compiled import rule

REFUSED, RESET, HANG = -1, -2, -3
"""A pod that accepts no connection, one that resets it, one that never answers."""

PER_TRY_TIMEOUT, ROUTE_TIMEOUT, OVERFLOW, NO_HEALTHY, ABORTED, GAVE_UP = range(-11, -17, -1)
"""What a proxy makes of an attempt itself; the fault filter's abort; the client's own patience."""

LOWEST = -16
"""Tables over outcomes begin here: the outcome o stands at o - LOWEST."""

WORDS = {
    REFUSED: "refused", RESET: "reset", HANG: "hang", PER_TRY_TIMEOUT: "per try timeout", ROUTE_TIMEOUT: "timeout",
    OVERFLOW: "overflow", NO_HEALTHY: "no healthy upstream", ABORTED: "abort", GAVE_UP: "abandoned",
}  # fmt: skip
"""How an outcome that is no status is called."""


@rule
def status(outcome: int) -> int:
    """The HTTP status that a proxy's caller sees for an outcome other than an abort."""
    if outcome > 0:
        return outcome
    if outcome == PER_TRY_TIMEOUT or outcome == ROUTE_TIMEOUT or outcome == HANG:
        return 504
    return 503


def judged(outcome: int, error_codes: Collection[int]) -> int:
    """The status that a detector is told; with `error_codes` only those are errors, and each of them is one, at least a 500.

    What no pod answered counts as ever.  Source: Envoy, router.cc, processHttpForOutlierDetection; measured on Envoy 1.40.
    """
    if outcome < 0 or not error_codes:
        return status(outcome)
    return max(outcome, 500) if outcome in error_codes else 200


def number(outcome: int | str) -> int:
    """The number of an outcome given as one, as a word of `WORDS`, or as digits.  Raises ValueError for any other word."""
    if not isinstance(outcome, str):
        return int(outcome)
    if outcome.isdigit():
        return int(outcome)
    known = {word: code for code, word in WORDS.items()} | {
        "connect-failure": REFUSED,
        "per-try-timeout": PER_TRY_TIMEOUT,
        "timed out": ROUTE_TIMEOUT,
    }
    if outcome not in known:
        raise ValueError(f"outcome: must be a status or one of {', '.join(WORDS.values())}, got {outcome!r}")
    return known[outcome]
