"""Rules as plain Python functions, and the same functions compiled into the event loop.

`rule` marks a rule of Envoy's.  It stays what it is, a Python function that a notebook calls with plain
numbers and whose source is the source that runs; the event loop compiles it in.  `compiled` and `inlined`
make the functions of the loop itself.  Without numba, or with NUMBA_DISABLE_JIT=1, everything runs as Python:
slow, to be stepped through with a debugger, and equal.

Machine code is a build product: it is kept in the user's cache, in a folder named by a hash of every source that
goes into it, since numba by itself looks for changes in a function's own file only and a caller of an edited
rule would run stale.  It is made for a generic CPU, which costs nothing measurable here, so that what one
machine compiles runs on another and results do not depend on the CPU.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

_rules: list[Callable] = []

PACKAGE = Path(__file__).resolve().parent
SOURCES = ("compiled.py", "by_reference.py", "rules/*.py", "simulation/*.py")
"""What goes into the machine code; below the package."""


def rule(function: _Function) -> _Function:
    """Mark a rule: a function of numbers, records and arrays that the event loop compiles into itself."""
    _rules.append(function)
    return function


def enabled() -> bool:
    """Is there a compiler, and is it switched on?"""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def compiled(function: _Function) -> _Function:
    """Compile a function of the loop that few events call; its first call compiles, or loads what was kept."""
    return _jit(function, inline="never")


def inlined(function: _Function) -> _Function:
    """Compile a function that every event calls into its callers: handing over the arrays would cost more than it does."""
    return _jit(function, inline="always")


def outermost(function: _Function) -> _Function:
    """Compile a function that Python calls: it lets other threads run meanwhile."""
    return _jit(function, inline="never", nogil=True, outer=True)


def reference(arrays: Any) -> Any:
    """A named tuple of arrays as compiled functions take it: by one pointer; the tuple itself where nothing is compiled."""
    if not enabled():
        return arrays
    from meshmodel.by_reference import Reference

    return Reference(arrays)


def _jit(function: _Function, *, inline: str, nogil: bool = False, outer: bool = False) -> Any:
    if not enabled():
        return function
    numba = _numba()
    _register_rules()
    # _nrt: nothing here allocates, so numba need not count references to each array of the state at every call.
    options = {"error_model": "numpy", "_nrt": outer, "inline": inline, "nogil": nogil}
    if not outer:  # only compiled code calls it: to unpack the whole state for Python too would double the time that compiling takes
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is nowhere to keep the machine code: each process compiles
        return numba.njit(**options)(function)


def _register_rules() -> None:
    """Let compiled code call the rules: `register_jitable` leaves them as they are for everybody else."""
    from numba.extending import register_jitable

    while _rules:
        register_jitable(error_model="numpy", _nrt=False)(_rules.pop())


def _numba() -> Any:
    """numba, told for which CPU to compile and where to keep the result."""
    import numba

    settings: Any = numba.config
    if "NUMBA_CPU_NAME" not in os.environ and settings.CPU_NAME != "generic":
        settings.CPU_NAME, settings.CPU_FEATURES = "generic", ""
    settings.CACHE_DIR = str(cache_folder())
    return numba


def cache_folder() -> Path:
    """Where the machine code of these very sources is kept; NUMBA_CACHE_DIR, or the user's cache."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(repr(sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_"))).encode())
    return _cache_root() / digest.hexdigest()[:16]


def _cache_root() -> Path:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("meshmodel") / "compiled"
