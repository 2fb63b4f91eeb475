"""Tables of columns as one buffer of bytes, and where each column begins: what the browser reads without parsing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Tables = Mapping[str, Mapping[str, np.ndarray]]
KINDS = ("f4", "i4", "i2", "u2", "u1")
"""The types that a column may have, little-endian; each is a typed array of JavaScript's."""


def pack(tables: Tables) -> tuple[bytes, dict[str, Any]]:
    """(the bytes, the layout): layout[table] is {"rows": n, "columns": {name: [kind, offset in bytes]}}.

    Raises ValueError for a column of another type, or of another length than its table.
    """
    parts: list[bytes] = []
    layout: dict[str, Any] = {}
    at = 0
    for table, columns in tables.items():
        rows = len(next(iter(columns.values())))
        layout[table] = {"rows": rows, "columns": {}}
        for name, column in columns.items():
            kind = column.dtype.str[1:]
            if kind not in KINDS or len(column) != rows:
                raise ValueError(f"pack: {table}.{name} is {len(column)} of {kind}, needs {rows} of {', '.join(KINDS)}")
            data = column.astype(f"<{kind}").tobytes()
            data += bytes(-len(data) % 4)  # a typed array begins at a multiple of its width
            layout[table]["columns"][name] = [kind, at]
            parts.append(data)
            at += len(data)
    return b"".join(parts), layout


def unpack(data: bytes, layout: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The tables that `pack` packed."""
    return {
        table: {name: np.frombuffer(data, f"<{kind}", told["rows"], at) for name, (kind, at) in told["columns"].items()}
        for table, told in layout.items()
    }
