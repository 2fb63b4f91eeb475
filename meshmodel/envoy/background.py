"""Long work beside the caller: an event loop in a thread of its own, and how far it is."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tqdm.auto import tqdm

from meshmodel._signals import ending_in_order
from meshmodel.envoy.live_fakeservice import precise_event_loop
from meshmodel.envoy.process import Cancelled

_T = TypeVar("_T")
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_own_thread(main: Coroutine[Any, Any, _T], cancel: threading.Event | None) -> _T:
    """Run `main` on an event loop in a thread of its own: a notebook's thread has one already.

    It is cancelled, and waited for, when `cancel` is set and when we are interrupted: by Ctrl-C, SIGTERM or SIGHUP.
    """
    loop = precise_event_loop()
    task = loop.create_task(main)
    # Not Thread.join: interrupted, it takes the thread for ended (CPython 3.11, bpo-45274), and all would run on.
    finished, broken = threading.Event(), list[BaseException]()
    thread = threading.Thread(target=_run, args=(loop, task, finished, broken), name="meshmodel-envoy")
    with ending_in_order() as raise_again:
        try:
            with _uninterrupted():  # else we could not tell whether there is a thread to wait for
                thread.start()
            while not finished.wait(0.1) and not (cancel is not None and cancel.is_set()):
                raise_again()
        finally:
            with suppress(RuntimeError):  # the loop is closed: it has ended by itself
                loop.call_soon_threadsafe(task.cancel)
            if thread.ident is not None:
                finished.wait()
    if broken:
        raise broken[0]
    try:
        return task.result()
    except asyncio.CancelledError:
        raise Cancelled("the measurement was cancelled") from None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait for the block's end."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task, finished: threading.Event, broken: list[BaseException]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)  # what it starts would inherit that they are blocked
    asyncio.set_event_loop(loop)
    gc.freeze()  # a full collection of a notebook's objects would stop pods and load for tens of milliseconds
    try:
        loop.run_until_complete(task)
    except BaseException as error:  # the task's own stays in it, and the other thread asks for its result
        if not task.done():  # the loop itself broke
            broken.append(error)
            task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(task)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        gc.unfreeze()
        finished.set()


@contextmanager
def reporting(progress: bool | Callable[[float], None], parts: int) -> Iterator[Callable[[int, float], None]]:
    """A function that takes the index of one of equally long `parts` and its share done, and moves a bar or calls `progress`."""
    with tqdm(total=100, unit="%", desc="Envoy", file=sys.stderr, disable=progress is not True) as bar:

        def report(part: int, share: float) -> None:
            done = (part + share) / parts
            bar.n = round(100 * done)
            bar.refresh()
            if callable(progress):
                progress(done)

        yield report
