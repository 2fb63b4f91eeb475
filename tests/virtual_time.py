"""An event loop on a clock of its own: it stands still while anything is to be done, and jumps to the next timer when nothing is.

Waiting takes no time then and work none either: what is to be 0.15 s later is 0.15 s later to the last digit, however
busy the machine.  Sockets stay real, within this one process.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")

UNDER_WAY = 0.02
"""Real seconds in which the kernel must have handed over what was written to a loopback socket; it does so within the write."""


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Reports what is ready; when nothing is, the wait asked for is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        ready = super().select(None if timeout is None else UNDER_WAY)
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run(main: Callable[[], Awaitable[_T]]) -> _T:
    """What `main` gives on such a loop."""

    async def awaited() -> _T:
        return await main()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(awaited())
