"""One thread that works on what was asked last: what a later question overtakes is never begun, or not shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Newest:
    """Calls `work(job)` in a thread of its own, which ends when nothing is left to do."""

    def __init__(self, work: Callable[[Any], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._waiting: list[Any] = []
        self._thread: threading.Thread | None = None
        self._alone = False

    def ask(self, job: Any) -> None:
        """Work on this next, in place of what waits; returns at once."""
        with self._changed:
            self._waiting = [job]
            if self._thread is None:
                self._begin()
            self._changed.notify_all()
        if self._alone:
            self._run()

    def _begin(self) -> None:
        try:
            self._thread = threading.Thread(target=self._run, daemon=True, name="console")
            self._thread.start()
        except RuntimeError:  # a browser tab has no threads: whoever asks waits
            self._thread, self._alone = None, True

    def overtaken(self, after: float = 0.0) -> bool:
        """For `work`: has a later question come, or does one within so many seconds?"""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting), after) if after and not self._alone else bool(self._waiting)

    def settle(self) -> None:
        """Wait until nothing is left to do."""
        while (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                job = self._waiting.pop()
            self._work(job)
