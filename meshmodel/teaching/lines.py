"""Lines and points against one another, labelled where they end: what a chapter draws in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, canvas, key, named, said_apart, say
from meshmodel.teaching.picture import Picture

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
            axes.plot(
                x,
                curve,
                color=COLOUR[role_of[name]],
                linewidth=2.3,
                marker="o" if len(x) < 12 else None,
                markersize=6,
                clip_on=False,
                label=name,
            )
        said_apart(
            axes,
            float(x[-1]),
            [(float(curve[-1]), f"  {name}", role_of[name]) for name, curve in curves.items()],
            0.12 * 1.15 * top * 1.9 / high,
        )
        axes.set(xlim=(min(0, x[0]), x[-1]), ylim=(0, 1.15 * top))
        named(axes, across if axes is drawn[-1] else "", panel)
        for mark, at in (marks or {}).items():
            axes.axvline(at, color=INK, linestyle="--", linewidth=1.2, label=mark)
            if axes is drawn[0]:
                say(axes, at, 1.08 * top, f" {mark}", fontsize=SMALL)
    told = "; ".join(
        f"{panel}: " + ", ".join(f"{name} {_range(curve)}" for name, curve in curves.items()) for panel, curves in panels.items()
    )
    picture.alt_text = f"{title}. {told}, over {across} {x[0]:g} to {x[-1]:g}"
    return picture


def bars(
    values: Mapping[str, float], title: str, *, across: str = "", formula: Mapping[str, float] | None = None, role: str = "model",
    roles: Mapping[str, str] | None = None, percent: bool = True, digits: int = 1, sides: tuple[str, str] = ("engine", "formula"),
    width: float = WIDTH,
) -> Picture:  # fmt: skip
    """A bar a name, with its value beside it; `formula` as diamonds.

    roles : of bars that have one of their own.  sides : what the bars are, and what the diamonds.
    """
    picture, (axes,) = canvas(title, 0.5 * len(values) + 0.1, left=0.3 + 0.095 * max(map(len, values)), right=0.95, width=width)
    unit = 100 if percent else 1
    for row, (name, value) in enumerate(values.items()):
        mine = dict(roles or {}).get(name, role)
        axes.barh(row, unit * value, 0.6, color=COLOUR[mine], label=sides[0] if formula else "value")
        ends = [value]
        if formula and name in formula:
            axes.plot(unit * formula[name], row, "D", color=INK, markersize=8, label=sides[1])
            ends.append(formula[name])
        say(axes, unit * max(ends), row, f"   {unit * value:.{digits}f}{' %' * percent}", mine)
    axes.set(ylim=(len(values) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(values)), list(values))
    named(axes, _in_percent(across) if percent else across)
    if formula:
        key(axes, [(sides[0], role), (f"◆ {sides[1]}", "ink")])
    told = [
        f"{name} {unit * v:.{digits}f}" + (f" ({sides[1]} {unit * formula[name]:.{digits}f})" if formula and name in formula else "")
        for name, v in values.items()
    ]
    picture.alt_text = f"{title}. {across}{' in percent' * percent}: {', '.join(told)}"
    return picture


def spread(
    runs: Mapping[str, Any], title: str, *, across: str = "", beside: Mapping[str, float] | None = None, beside_is: str = "record",
    role: str = "model", percent: bool = False, digits: int = 0, width: float = WIDTH,
) -> Picture:  # fmt: skip
    """A row a name, what its runs found: a dot a run where there are few, else 95 % of them as a bar, all as a line; the mean as a tick.

    beside : one value a name to hold the runs against, as diamonds; `beside_is` says what they are: record, formula ...
    """
    picture, (axes,) = canvas(title, 0.5 * len(runs) + 0.1, left=0.3 + 0.095 * max(map(len, runs)), right=1.45, width=width)
    unit, held, told = 100 if percent else 1, dict(beside or {}), []
    for row, (name, found) in enumerate(runs.items()):
        values = unit * np.asarray(found, float)
        low, high = _run_row(axes, row, values, role)
        ends = " to ".join(dict.fromkeys(f"{end:z.{digits}f}" for end in (low, high)))
        whole = f", all {values.min():z.{digits}f} to {values.max():z.{digits}f}" if len(values) > FEW else ""
        says = f"mean {values.mean():z.{digits}f}, {'95 % ' * bool(whole)}{ends}{' %' * percent}{whole}"
        if name in held:
            axes.plot(unit * held[name], row, "D", color=INK, markersize=8, markerfacecolor="none", markeredgewidth=2, label=beside_is)
            says += f" ({beside_is} {unit * held[name]:.{digits}f})"
        say(axes, 1.02, row, ends + " %" * percent, role, transform=axes.get_yaxis_transform(), fontsize=SMALL)
        told.append(f"{name} {says}")
    axes.set(ylim=(len(runs) - 0.4, -0.6))
    axes.set_yticks(range(len(runs)), list(runs))
    axes.margins(x=0.06)
    named(axes, _in_percent(across) if percent else across)
    if held:
        key(axes, [("runs", role), (f"◇ {beside_is}", "ink")])
    picture.alt_text = f"{title}. {across}: {'; '.join(told)}"
    return picture


FEW = 12
"""So many runs are drawn as dots."""


def _run_row(axes: Any, row: int, values: np.ndarray, role: str) -> tuple[float, float]:
    """Draw one row of `spread`; returns between which values its runs lie, 95 % of them where they are many."""
    colour, few = COLOUR[role], len(values) <= FEW
    low, high = (values.min(), values.max()) if few else np.quantile(values, [0.025, 0.975])
    axes.vlines(values.mean(), row - 0.3, row + 0.3, color=colour, linewidth=2.5, label="mean")
    if few:
        axes.plot(values, np.full(len(values), row), "o", color=colour, markersize=8, alpha=0.75, label="runs")
    else:
        axes.hlines(row, low, high, color=colour, linewidth=11, alpha=0.6, label="95 % of runs")
    axes.hlines(row, values.min(), values.max(), color=colour, linewidth=1.5, label="_" if few else "all runs")
    return float(low), float(high)


def _in_percent(across: str) -> str:
    return across if "%" in across else f"{across} (%)".strip()


def _range(curve: Any) -> str:
    return " ".join(f"{float(y):.3g}" for y in curve) if len(curve) < 12 else f"from {float(curve[0]):.3g} to {float(curve[-1]):.3g}"
