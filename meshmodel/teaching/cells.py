"""Tables of a chapter: HTML, coloured where they say NO, and text where no HTML is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from tabulate import tabulate

from meshmodel.results.compare import Comparison
from meshmodel.teaching.palette import ROLES

_NO = f"background: {ROLES['proxy'].light}; color: white; padding: 0 0.45em; border-radius: 0.6em; font-weight: bold"
_YES = f"border: 1.5px solid {ROLES['healthy'].light}; padding: 0 0.45em; border-radius: 0.6em"
_SAYS = re.compile(r"(NO|no)\b")


class Cells:
    """A table whose first column names its rows; a cell that begins with NO (or no) is coloured, one that says yes framed."""

    def __init__(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "", notes: Sequence[str] = ()) -> None:
        self.headers, self.caption, self.notes = list(headers), caption, list(notes)
        self.rows = [[_text(cell) for cell in row] for row in rows]

    def __repr__(self) -> str:
        lines = [self.caption] * bool(self.caption)
        return "\n".join([*lines, tabulate(self.rows, self.headers, disable_numparse=True), *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="text-align: {_side(k)}">{escape(name)}</th>' for k, name in enumerate(self.headers))
        body = "".join(f"<tr>{''.join(_cell(k, text) for k, text in enumerate(row))}</tr>" for row in self.rows)
        caption = f'<caption style="text-align: left; font-weight: bold">{escape(self.caption)}</caption>' if self.caption else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f'<div style="overflow-x: auto"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{notes}'


class Several:
    """Tables one below the other."""

    def __init__(self, tables: Sequence[Cells]) -> None:
        self.tables = list(tables)

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.tables))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables)


def cells(headers: Sequence[str] | str, rows: Sequence[Sequence[Any]], caption: str = "") -> Cells:
    """A table; headers as a list, or as one text with `|` between them."""
    return Cells([part.strip() for part in headers.split("|")] if isinstance(headers, str) else headers, rows, caption)


def marked(*comparisons: Comparison, captions: Sequence[str] = ()) -> Several:
    """Comparisons with a record as tables, what lies outside marked in colour."""
    titles = [*captions, *[""] * len(comparisons)]
    return Several([_of_comparison(each, title) for each, title in zip(comparisons, titles, strict=False)])


def _of_comparison(comparison: Comparison, caption: str) -> Cells:
    headers, *rows = (line.split("\t") for line in comparison.table("tsv").splitlines())
    keep = [k for k, name in enumerate(headers) if name.strip() != "error"]
    return Cells([headers[k].strip() for k in keep], [[row[k].strip() for k in keep] for row in rows], caption, comparison.notes)


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "NO"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _side(column: int) -> str:
    return "right" if column else "left"


def _cell(column: int, text: str) -> str:
    inside = (
        f'<span style="{_NO if _SAYS.match(text) else _YES}">{escape(text)}</span>' if _SAYS.match(text) or text == "yes" else escape(text)
    )
    name = 'th scope="row"' if column == 0 else "td"
    if column == 0:
        inside = escape(text)
    return f'<{name} style="text-align: {_side(column)}">{inside}</{name.split()[0]}>'
