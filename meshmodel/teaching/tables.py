"""A table that shows itself in a notebook: HTML, marked where it says NO; as text without a front end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from tabulate import tabulate

from meshmodel.teaching.palette import ROLES


class Table:
    """Rows under headers; the first column names the rows, those numbered in `no` say NO."""

    def __init__(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], no: Collection[int] = ()) -> None:
        self.headers, self.rows, self.no = list(headers), [list(map(str, row)) for row in rows], set(no)

    def __repr__(self) -> str:
        rows = [[*row, "NO" if number in self.no else ""] if self.no else row for number, row in enumerate(self.rows)]
        headers = [*self.headers, ""] if self.no else self.headers
        columns = ("left", *["right"] * (len(headers) - 1))
        return tabulate(rows, headers, disable_numparse=True, colalign=columns if rows else None)

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:{"right" if k else "left"}">{escape(name)}</th>' for k, name in enumerate(self.headers)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(self._row, range(len(self.rows))))}</tbody></table>"

    def _row(self, number: int) -> str:
        first, *others = map(escape, self.rows[number])
        mark, style = ("\N{BALLOT X} ", f"font-weight:bold;color:{ROLES['proxy'].light}") if number in self.no else ("", "")
        cells = "".join(f'<td style="text-align:right;{style}">{cell}</td>' for cell in others)
        return f'<tr><th scope="row" style="text-align:left;{style}">{mark}{first}</th>{cells}</tr>'


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], no: Collection[int] = ()) -> Table:
    """A table for a chapter; see `Table`."""
    return Table(headers, rows, no)
