"""Tables of a chapter or a console: HTML, marked where they say NO, and text where no HTML is shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from tabulate import tabulate

from meshmodel.results.compare import Comparison
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.words import spoken_html

_CHIP = "padding: 0 0.45em; border-radius: 0.6em"
_NO = f"background: {ROLES['proxy'].light}; color: white; {_CHIP}; font-weight: bold"
_YES = f"border: 1.5px solid {ROLES['healthy'].light}; {_CHIP}"
_SAYS_NO = re.compile(r"NO\b|no\b(?! )")
"""A verdict, and not words that happen to begin with it: no route."""


class Table:
    """Rows under headers; the first column names the rows.

    A cell that begins with NO (or no) is coloured, one that says yes framed; of the rows numbered in `no` the name is.  As text, all
    columns but the first are set to the `side`.
    """

    def __init__(
        self, headers: Sequence[str], rows: Sequence[Sequence[Any]], no: Collection[int] = (), *,
        caption: str = "", notes: Sequence[str] = (), side: str = "right",
    ) -> None:  # fmt: skip
        self.headers, self.no, self.caption, self.notes, self.side = list(headers), set(no), caption, list(notes), side
        self.rows = [[_text(cell) for cell in row] for row in rows]

    def __repr__(self) -> str:
        rows = [[*row, "NO" if number in self.no else ""] if self.no else row for number, row in enumerate(self.rows)]
        headers = [*self.headers, ""] if self.no else self.headers
        sides = ("left", *[self.side] * (len(headers) - 1))
        drawn = tabulate(rows, headers, disable_numparse=True, colalign=sides if rows else None)
        return "\n".join([*[self.caption] * bool(self.caption), drawn, *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="text-align: {_side(k)}">{escape(name)}</th>' for k, name in enumerate(self.headers))
        body = "".join(_row(row, number in self.no) for number, row in enumerate(self.rows))
        caption = f'<caption style="text-align: left; font-weight: bold">{escape(self.caption)}</caption>' if self.caption else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return spoken_html(f'<div style="overflow-x: auto">{table}</div>{notes}')


class Several:
    """Tables one below the other."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = list(tables)

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.tables))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], no: Collection[int] = ()) -> Table:
    """A table of numbers; see `Table`."""
    return Table(headers, rows, no)


def cells(headers: Sequence[str] | str, rows: Sequence[Sequence[Any]], caption: str = "") -> Table:
    """A table of words and verdicts; headers as a list, or as one text with `|` between them."""
    names = [part.strip() for part in headers.split("|")] if isinstance(headers, str) else headers
    return Table(names, rows, caption=caption, side="left")


def marked(*comparisons: Comparison, captions: Sequence[str] = ()) -> Several:
    """Comparisons with a record as tables, what lies outside marked in colour."""
    titles = [*captions, *[""] * len(comparisons)]
    return Several([_of_comparison(each, title) for each, title in zip(comparisons, titles, strict=False)])


def _of_comparison(comparison: Comparison, caption: str) -> Table:
    headers, *rows = (line.split("\t") for line in comparison.table("tsv").splitlines())
    keep = [k for k, name in enumerate(headers) if name.strip() != "error"]
    kept = [[row[k].strip() for k in keep] for row in rows]
    return Table([headers[k].strip() for k in keep], kept, caption=caption, notes=comparison.notes, side="left")


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "NO"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _side(column: int) -> str:
    return "right" if column else "left"


def _row(row: Sequence[str], no: bool) -> str:
    name, *others = row
    shown = f'<span style="{_NO}"><span>\N{BALLOT X} </span>{escape(name)}</span>' if no else escape(name)
    bold = "; font-weight: bold" * no
    rest = "".join(f"<td>{_said(cell)}</td>" for cell in others)
    return f'<tr style="text-align: right{bold}"><th scope="row" style="text-align: left; white-space: nowrap">{shown}</th>{rest}</tr>'


def _said(cell: str) -> str:
    style = _NO if _SAYS_NO.match(cell) else _YES if cell == "yes" else ""
    return f'<span style="{style}">{escape(cell)}</span>' if style else escape(cell)
