"""What a reader did in this session: the guesses that were locked and the exercises that were tried, for the summary of a chapter.

Nothing is counted against anybody, nothing is stored, and nothing leaves the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One thing done: `kind` is "guess" or "exercise", `done` whether it came to its end."""

    kind: str
    title: str
    says: str
    done: bool


_entries: dict[tuple[str, str], Entry] = {}
_listeners: dict[str, Callable[[], None]] = {}


def note(key: str, entry: Entry) -> None:
    """Write down what was done about `key` (again: instead of what was), and tell who listens."""
    _entries[entry.kind, key] = entry
    for listener in list(_listeners.values()):
        listener()


def entries(kind: str) -> dict[str, Entry]:
    """What was done, by key, in the order in which it began."""
    return {key: entry for (of, key), entry in _entries.items() if of == kind}


def listen(name: str, listener: Callable[[], None]) -> None:
    """Call `listener` at every note, instead of the last one of that name."""
    _listeners[name] = listener
