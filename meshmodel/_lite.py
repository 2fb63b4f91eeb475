"""Where the loops cannot be compiled and somebody waits: fewer replications than were asked for, and a line that says so.

That is wherever numba is not installed, as in a browser tab (Pyodide), and wherever MESHMODEL_LITE=1 says to do as there.
With MESHMODEL_LITE=0, and where numba is only switched off (NUMBA_DISABLE_JIT=1), all that were asked for are made.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

REQUESTS = 2_500
"""That a replay simulates in all, roughly: a second or two of Python, six where each is retried six times, so that a chapter takes
less than three minutes."""

LEAST = 2
"""Replications at least: one has no spread at all."""

_told: set[str] = set()


def lite() -> bool:
    """Are we where nothing can be compiled and few replications must do?"""
    told = os.environ.get("MESHMODEL_LITE", "")
    return told == "1" if told else sys.platform == "emscripten" or find_spec("numba") is None


def fewer(replications: int, requests: float) -> int:
    """How many of the replications asked for are made, of so many requests each; prints a line at the first time that it is not all."""
    if not lite():
        return replications
    made = min(replications, max(LEAST, int(REQUESTS / max(requests, 1.0))))
    if made < replications and not _told:
        _told.add("told")
        print(f"Nothing can be compiled here: {made} replications instead of {replications}, so intervals are wide and figures rough.")
    return made
