"""Temporary folders that do not outlive their process for long.

A folder is removed when its block ends, however it ends.  Only SIGKILL leaves one behind; the next one to be made
removes it.  Whether its process lives is seen by a lock that the system takes back from a dead one (flock(2)), which
holds between containers too, where process numbers mean nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "emscripten" and sys.platform != "wasi":  # a browser tab has no locks, and no Envoy that would need one
    import fcntl

_PREFIX, _LOCK = "meshmodel-", ".meshmodel-lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder below the system's temporary one, for as long as the block runs."""
    _remove_dead(Path(tempfile.gettempdir()))
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    """A new folder and the descriptor of its lock.  Before it is locked it looks dead: whoever removes it then holds the lock meanwhile."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        lock = None
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # it has not been removed
                return folder, lock
        except FileNotFoundError:  # removed before it had a lock
            pass
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if lock is not None:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Under another name, since an Envoy that is about to be killed makes files under the old one.

    The lock goes last, so that what a kill leaves of the folder is still known as ours.
    """
    with suppress(OSError):
        folder = folder.rename(f"{folder}.gone")
        for entry in set(folder.iterdir()) - {folder / _LOCK}:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(top: Path) -> None:
    """Remove the folders of ours whose process is dead; what others call so has no lock of ours in it, or another owner."""
    for folder in top.glob(f"{_PREFIX}[0-9]*-*"):
        with suppress(OSError):  # not ours, just removed, or its process lives (BlockingIOError)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            try:
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            except FileNotFoundError:
                _remove_unfinished(folder)
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove_unfinished(folder: Path) -> None:
    """A process that died between making a folder and locking it left the folder empty, with its number in the name."""
    try:
        os.kill(int(folder.name.split("-")[1]), 0)
    except ProcessLookupError:
        folder.rmdir()  # fails where it is not empty
