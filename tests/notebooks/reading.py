"""What a reader of a notebook reads: text, tables, and the texts that stand for pictures; never a picture itself.

A picture's bytes differ between two processors by a pixel, in whatever type they come (PNG, SVG, HTML that carries either).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

IGNORED = "nbval-ignore-output"
"""The tag (nbval's own) of a cell whose output is another at every run: the real Envoy's."""

_LINES = {"p", "div", "tr", "li", "br", "h1", "h2", "h3", "h4", "table", "pre", "svg", "img", "details", "summary"}
_UNREAD = {"script", "style", "metadata"}


class _Page(HTMLParser):
    """Text of HTML or SVG, a line for each block; cells between bars, alternative texts in brackets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.unread = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unread += tag in _UNREAD
        self.parts.append("\n" if tag in _LINES else " | " if tag in ("td", "th") else "")
        self.parts += [f"[{text}]" for name, text in attrs if name in ("alt", "aria-label", "title", "placeholder")]

    def handle_endtag(self, tag: str) -> None:
        self.unread -= tag in _UNREAD
        self.parts.append("\n" if tag in _LINES else "")

    def handle_data(self, data: str) -> None:
        self.parts.append("" if self.unread else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        return "\n".join(line for line in (" ".join(line.split()) for line in "".join(self.parts).split("\n")) if line)


def read(output: Any) -> str:
    """What one output of a cell says."""
    if output["output_type"] == "stream":
        return f"{output['name']}: {output['text']}"
    if output["output_type"] == "error":
        return f"error: {output['ename']}: {output['evalue']}"
    metadata = output.get("metadata", {})
    read = {kind: _read(kind, value, metadata) for kind, value in sorted(output["data"].items())}
    return "\n".join(f"{kind}: {text}" for kind, text in read.items() if text is not None)


def _read(kind: str, value: Any, metadata: dict[str, Any]) -> str | None:
    if kind in ("text/html", "image/svg+xml"):
        return _Page("".join(value)).text()
    if kind.startswith("image/"):
        return f"[{metadata.get(kind, {}).get('alt') or metadata.get('alt', '')}]"
    if kind.startswith("text/"):
        return "".join(value)
    return json.dumps(value, sort_keys=True) if kind == "application/json" else None  # widgets: their text/plain


def differences(stored: Iterable[Any], fresh: Iterable[Any]) -> str:
    """Where two runs of a notebook's cells read differently, cell by cell; "" where nowhere."""
    found = []
    for number, (old, new) in enumerate(zip(stored, fresh, strict=True)):
        if old["cell_type"] == "code" and IGNORED not in [tag.lower().replace("_", "-") for tag in old["metadata"].get("tags", [])]:
            before, after = ("\n".join(map(read, cell["outputs"])).splitlines() for cell in (old, new))
            lines = list(difflib.unified_diff(before, after, "stored", "fresh", n=0, lineterm=""))
            found += [f"--- cell {number}:", *old["source"].splitlines()[:3], *lines[2:], ""] if lines else []
    return "\n".join(found)
