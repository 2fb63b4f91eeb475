"""Files from outside, and those that the project writes: whole, or not at all.

What is written goes to a temporary file in the same folder, which takes the place of the old one (rename(2)) once it
is on the disk: a full disk, a kill or a power failure in between leaves the old file as it was.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from meshmodel._text import InputError, shortened

if sys.platform != "emscripten" and sys.platform != "wasi":  # in a browser tab nobody else writes
    import fcntl


def read_text(path: str | os.PathLike[str], largest: int, error: type[InputError], what: str) -> str:
    """The text of a file that shall be `what`: at most `largest` bytes, not empty.  Raises `error` that names `path`."""
    shown = shortened(str(path), 200)
    try:
        with open(path, "rb") as file:
            raw = file.read(largest + 1)
    except (OSError, ValueError) as problem:  # ValueError: no path has a NUL character
        raise error(f"{shown}: {getattr(problem, 'strerror', None) or problem}") from None
    if len(raw) > largest:
        raise error(f"{shown}: larger than {largest / 2**20:g} MB, not {what}")
    if raw.startswith(b"%PDF"):
        raise error(f"{shown}: a PDF, not {what}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{shown}: not text (byte {problem.start} is not UTF-8)") from None
    if "\0" in text:
        raise error(f"{shown}: not text (byte {raw.index(0)} is zero)")
    if not text.strip():
        raise error(f"{shown}: empty")
    return text


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file; text as UTF-8, line ends as they are.

    A link is followed and what it points at is replaced; an existing file keeps its permissions.  What is no
    ordinary file (/dev/stdout, a pipe) is written to.  Raises OSError that names `path`.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        _write(Path(path).resolve(), data)
    except OSError as problem:  # a full disk does not say which
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def _write(target: Path, data: bytes) -> None:
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as stream:
            stream.write(data)
        return
    if mode is not None and not os.access(target, os.W_OK):  # a rename would not ask
        raise PermissionError(13, "Permission denied")
    part = target.with_name(f".meshmodel-{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            part.chmod(stat.S_IMODE(mode))
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


class Lines:
    """A file of lines that grows line by line, each on the disk when `append` returns: it survives a kill.

    `found` are the lines that stand in it, `torn` the beginning of one that a kill tore: the next line takes its place.
    The file is ours while it is open: BlockingIOError where another process has it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._stream = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if sys.platform != "emscripten" and sys.platform != "wasi":
                fcntl.lockf(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: forked workers would share it, and outlive us
            with open(self._stream, "rb", closefd=False) as stream:
                content = stream.read()
            *self.found, self.torn = content.split(b"\n")
        except BaseException:
            self.close()
            raise

    def append(self, line: str) -> None:
        if self.torn:
            os.ftruncate(self._stream, os.lseek(self._stream, 0, os.SEEK_END) - len(self.torn))
            self.torn = b""
        data = f"{line}\n".encode()
        while data:
            data = data[os.write(self._stream, data) :]
        os.fsync(self._stream)

    def close(self) -> None:
        os.close(self._stream)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refuse_overwriting(out: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], suffixes: Iterable[str] = ()) -> None:
    """Raise ValueError where writing `out` would destroy one of the `inputs`.

    Of a folder the files with one of the `suffixes` are read: a new one in it would be read the next time.
    """
    for each in map(Path, inputs):
        if _same(Path(out), each):
            raise ValueError(f"{out}: is read as input, write somewhere else")
        if each.is_dir() and Path(out).suffix in suffixes and _same(Path(out).parent, each):
            raise ValueError(f"{out}: the files of the folder {each} are read as input, write somewhere else")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or is no path
        return False
