"""Lines and points against one another, labelled where they end: what a chapter draws in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, canvas, key, named, said_apart, say
from meshmodel.teaching.plots import Picture

ORDER = ("model", "proxy", "healthy", "troubled", "envoy")
"""The roles of lines that have none of their own."""


def lines(
    x: Sequence[float], panels: Mapping[str, Mapping[str, Any]], title: str, *, across: str = "", marks: Mapping[str, float] | None = None,
    roles: Mapping[str, str] | None = None, right: float = 1.6, high: float = 1.9, width: float = WIDTH,
) -> Picture:  # fmt: skip
    """Stacked panels over one horizontal axis: name of the panel -> name of a line -> its heights.

    marks : vertical lines, name -> where.  roles : of lines that have one of their own, name -> role.
    """
    picture, drawn = canvas(title, *[high] * len(panels), right=right, width=width)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    role_of = dict(zip(names, ORDER * 2, strict=False)) | dict(roles or {})
    for axes, (panel, curves) in zip(drawn, panels.items(), strict=True):
        top = max(float(np.nanmax(curve)) for curve in curves.values()) or 1.0
        for name, curve in curves.items():
            axes.plot(x, curve, color=COLOUR[role_of[name]], linewidth=2.3, marker="o" if len(x) < 12 else None, markersize=6)
        said_apart(
            axes,
            float(x[-1]),
            [(float(curve[-1]), f"  {name}", role_of[name]) for name, curve in curves.items()],
            0.12 * 1.15 * top * 1.9 / high,
        )
        axes.set(xlim=(min(0, x[0]), x[-1]), ylim=(0, 1.15 * top))
        named(axes, across if axes is drawn[-1] else "", panel)
        for mark, at in (marks or {}).items():
            axes.axvline(at, color=INK, linestyle="--", linewidth=1.2)
            if axes is drawn[0]:
                say(axes, at, 1.08 * top, f" {mark}", fontsize=SMALL)
    told = "; ".join(
        f"{panel}: " + ", ".join(f"{name} {_range(curve)}" for name, curve in curves.items()) for panel, curves in panels.items()
    )
    picture.alt_text = f"{title}. {told}, over {across} {x[0]:g} to {x[-1]:g}"
    return picture


def bars(
    values: Mapping[str, float], title: str, *, across: str = "", formula: Mapping[str, float] | None = None, role: str = "model",
    roles: Mapping[str, str] | None = None, percent: bool = True, digits: int = 1, width: float = WIDTH,
) -> Picture:  # fmt: skip
    """A bar a name, with its value beside it; `formula` as diamonds.  `roles` are those of bars that have one of their own."""
    picture, (axes,) = canvas(title, 0.5 * len(values) + 0.1, left=0.3 + 0.095 * max(map(len, values)), right=0.95, width=width)
    unit = 100 if percent else 1
    for row, (name, value) in enumerate(values.items()):
        mine = dict(roles or {}).get(name, role)
        axes.barh(row, unit * value, 0.6, color=COLOUR[mine])
        ends = [value]
        if formula and name in formula:
            axes.plot(unit * formula[name], row, "D", color=INK, markersize=8)
            ends.append(formula[name])
        say(axes, unit * max(ends), row, f"   {unit * value:.{digits}f}{' %' * percent}", mine)
    axes.set(ylim=(len(values) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(values)), list(values))
    named(axes, across)
    if formula:
        key(axes, [("engine", role), ("◆ formula", "ink")])
    told = [
        f"{name} {unit * v:.{digits}f}" + (f" (formula {unit * formula[name]:.{digits}f})" if formula and name in formula else "")
        for name, v in values.items()
    ]
    picture.alt_text = f"{title}. {across}{' in percent' * percent}: {', '.join(told)}"
    return picture


def _range(curve: Any) -> str:
    return " ".join(f"{float(y):.3g}" for y in curve) if len(curve) < 12 else f"from {float(curve[0]):.3g} to {float(curve[-1]):.3g}"
