"""What is drawn in inches, such as maps and strips, under a title that says the finding."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from meshmodel.teaching import words
from meshmodel.teaching.canvas import INK, blank, inches
from meshmodel.teaching.picture import Picture

_TITLE, _LINE, _AROUND, _LETTERS = 11, 0.2, 0.16, 10.3  # points; inches of a line; inches above and below all; letters an inch


def sheet(title: str, width: float, *heights: float) -> tuple[Picture, list[Axes]]:
    """A blank picture for a page of this width, and below its title a bare Axes for each of these heights.

    An axes' coordinates are inches from its own lower left corner: as wide as the picture, `get_figwidth()`.
    """
    lines = words.lines(words.drawn(title), round(_LETTERS * inches(width)), names=True)
    top = _AROUND + _LINE * len(lines)
    height = top + sum(heights)
    picture = blank(width, height)
    style: dict[str, Any] = {"color": INK, "fontsize": _TITLE, "fontweight": "bold", "va": "top", "linespacing": 1.2}
    picture.text(0.08 / inches(width), 1 - 0.07 / height, "\n".join(lines), **style)
    axes, floor = [], height - top
    for high in heights:
        floor -= high
        axes.append(_bare(picture, floor, high))
    return picture, axes


def _bare(picture: Picture, floor: float, high: float) -> Axes:
    wide, height = picture.get_size_inches()
    axes = picture.add_axes((0, floor / height, 1, high / height))
    axes.set_axis_off()
    axes.set(xlim=(0, wide), ylim=(0, high))
    return axes
