"""Array functions compiled by numba, for the event loop.

A step of the event loop passes over the same thousands of rows some hundred times.  As NumPy calls
each pass costs a microsecond and a trip through memory; as one compiled loop over the rows neither.
The functions keep the interface of array functions: arrays (n,) in, arrays (n,) out.

numba keeps the machine code beside the source file (in `__pycache__`), so only the first run on a machine
compiles, for ten seconds or so.  It looks for changes in the function's own file alone: hence a compiled
function calls compiled functions of its own file only (`tests/unit/test_project.py` checks).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from numba import njit
from numba.core import event
from numba.core.dispatcher import Dispatcher


def compiled(function: Callable) -> Dispatcher:
    """Decorator: compile at the first call.  Division by zero gives inf or nan, as in NumPy."""
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # there is nowhere to keep the machine code: each run compiles
        return njit(error_model="numpy")(function)


class _Announcement(event.Listener):
    """Tells who waits at a terminal why; a notebook's output stays what it is on every machine."""

    def __init__(self) -> None:
        self.made = not sys.stderr.isatty()

    def on_start(self, event: event.Event) -> None:
        if not self.made:
            self.made = True
            print("compiling the event loop (once on this machine, about ten seconds) ...", file=sys.stderr)

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())
