"""SIGTERM and SIGHUP end a program in order, as Ctrl-C does: by an exception, so that what is open gets closed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_DEFAULT: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
_AT_ONCE = 1.0  # seconds in which a second signal is the same as the first: it shall not interrupt the cleaning
_received: list[tuple[float, int]] = []


@contextmanager
def ending_in_order() -> Iterator[Callable[[], None]]:
    """While it is open, SIGTERM and SIGHUP raise SystemExit (status 128 + signal) in the main thread, and SIGINT KeyboardInterrupt.

    Gives a function that raises it again: Python drops an exception that a signal raises in a finalizer.  Nothing
    changes in another thread, and for a signal that somebody handles or ignores already (nohup).
    """
    main = threading.current_thread() is threading.main_thread()
    ours = [each for each, usual in _DEFAULT.items() if main and signal.getsignal(each) == usual]
    for each in ours:
        signal.signal(each, _end)
    try:
        yield _raise_what_was_received if main else lambda: None
    finally:
        for each in ours:
            signal.signal(each, _DEFAULT[each])
        if ours:
            _received.clear()


def _end(number: int, frame: FrameType | None) -> None:
    again = bool(_received) and time.monotonic() - _received[0][0] < _AT_ONCE
    if not again:
        _received[:] = [(time.monotonic(), number)]
        _raise_what_was_received()


def _raise_what_was_received() -> None:
    for _, number in _received:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
