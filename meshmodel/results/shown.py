"""How a comparison shows itself, whatever it compares: how the loads differ, a table, notes."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Shown(Protocol):
    """What has something to show."""

    @property
    def loads(self) -> str: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def table(self, fmt: str = "simple") -> str: ...


def as_text(subject: Shown) -> str:
    """As a terminal has it."""
    return "\n".join(filter(None, (subject.loads, subject.table(), *subject.notes)))


def as_html(subject: Shown) -> str:
    """As a notebook has it: a table that scrolls where the page is narrow, and is marked where it says NO."""
    before = f"<div>{html.escape(subject.loads)}</div>" if subject.loads else ""
    marked = re.sub(r"NO(?=\s*</td>)", "<mark>NO</mark>", subject.table("html"))
    table = f'<div style="overflow-x: auto; white-space: nowrap">{marked}</div>'
    return before + table + "".join(f"<div>{html.escape(note)}</div>" for note in subject.notes)


def readable(figure: str, value: float, sign: bool = False) -> str:
    """A figure with its unit: percent of shares, seconds, numbers."""
    plus = "+" if sign else ""
    if np.isnan(value):
        return "-"
    if figure.startswith(("code", "answered by", "share")):
        return f"{100 * value:{plus}.2f} %"
    return f"{value:{plus},.1f}" if figure.startswith(("count", "unanswered")) else f"{value:{plus}.4f}"
