"""How long a test waits for what must come: long enough for any machine, as it says nothing about speed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds after which what has not come is taken for never."""

MOMENT = 0.02
"""Seconds from one look to the next."""


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it becomes true at all."""
    end = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < end:
        time.sleep(MOMENT)
    return true()
