"""The ground that the chapters' figures are drawn on: one size, one ink, the finding as the title.

Made to be read at 420 pixels (panels are stacked, letters large), on white and on a dark theme: the ground is
transparent and the ink a grey that has the same contrast, 4.3 to 1, with either.  Colours are the roles' own
(`palette`), each with at least 3 to 1 on both grounds; what is drawn is labelled where it is, without a legend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from meshmodel.teaching import words
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.picture import Picture

INK = "#7A7A7A"
FAINT = INK + "26"
"""The ink as a veil: what a box or a lane is filled with."""
COLOUR = {name: role.light for name, role in ROLES.items()} | {"record": INK, "ink": INK}
"""The colour of a role on a ground of any brightness."""

WIDTH = 6.4
SMALL, LETTERS, TITLE = 11, 12, 13.5
LEAST = 10.5
"""The smallest letters of a picture that is shown 6.4 inches wide, in points: on a phone, where it is 380 pixels wide, 8.6 pixels."""
HATCH = "////"
"""What goes on although nobody waits for it, and answers that are no answers: hatched, also in grey."""

_LINE, _LETTERS_OF_A_LINE, _ABOVE = 0.25, 53, 0.36  # inches, letters: of the title; inches: of what stands above the first panel
_BELOW, _BESIDE = 22 / 72, 0.4  # inches from a panel to the names of its axes: a tick, its label and a gap


def canvas(
    title: str, *heights: float, left: float = 0.72, right: float = 0.25, gap: float = 0.62, width: float = WIDTH
) -> tuple[Picture, list[Axes]]:
    """A picture of stacked panels of these heights under a title that says the finding; inches all.

    On a page narrower than 6.4 inches letters and lines shrink with it, to 0.78 of their size at least.
    """
    shrink = min(1.0, max(0.78, width / WIDTH))
    width /= shrink
    lines = words.lines(words.drawn(title), round(_LETTERS_OF_A_LINE * width / WIDTH))
    top, bottom = 0.1 + _LINE * len(lines) + _ABOVE, 0.56
    height = top + bottom + sum(heights) + gap * (len(heights) - 1)
    picture = Picture(shrink, figsize=(width, height))
    picture.text(
        0.02, 1 - 0.08 / height, "\n".join(lines), color=INK, fontsize=TITLE, fontweight="bold", ha="left", va="top", linespacing=1.2
    )
    panels, floor = [], height - top
    for high in heights:
        floor -= high
        panels.append(_panel(picture, (left / width, floor / height, 1 - (left + right) / width, high / height)))
        floor -= gap
    return picture, panels


_FOR_A_PHONE, _LARGER = 3.9, 1.25


def blank(width: float, height: float) -> Picture:
    """An empty picture for a page of this width, laid out for a narrower one and shown up to 1.25 times as large.

    So the letters of what is drawn in inches are 9 points on a phone and 11 wherever there is room; the inches to draw in are
    the picture's own, `get_figwidth()`, and `height` is in these.
    """
    larger = _larger(width)
    return Picture(larger, figsize=(width / larger, height))


def inches(width: float) -> float:
    """How wide a `blank` picture for a page of this width is, to draw in."""
    return width / _larger(width)


def _larger(width: float) -> float:
    return min(_LARGER, max(1.0, width / (_LARGER * _FOR_A_PHONE)))


def bare_picture(width: float = WIDTH, height: float = 3.2) -> Picture:
    """A blank picture with one Axes from (0, 0) to (1, 1) and nothing drawn around it."""
    picture = blank(width, height)
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return picture


def beside(names: Iterable[str], least: float = 0.35) -> float:
    """Inches that the longest of these takes beside a panel."""
    return least + 0.088 * max(map(len, names), default=0)


def _panel(picture: Picture, where: tuple[float, float, float, float]) -> Axes:
    axes = picture.add_axes(where, facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=SMALL)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    wide, high = picture.get_size_inches() * where[2:]
    # where the axes' names go: matplotlib would lay out all ticks three times more to find it, a quarter of a drawing's time
    axes.xaxis.set_label_coords(0.5, -_BELOW / high)
    axes.yaxis.set_label_coords(-_BESIDE / wide, 0.5)
    return axes


def named(axes: Axes, x: str = "", y: str = "") -> None:
    """The axes' names: the horizontal one below, the other one above its panel, upright; smaller where they would not end in it."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide, place = figure.get_figwidth(), axes.get_position()
    room = min(place.x0 + place.x1, 2 - place.x0 - place.x1)  # below its middle, as wide as the nearer edge allows
    axes.set_xlabel(x, color=INK, fontsize=_fitting(x, wide * room, wide))
    if y:
        axes.set_title(y, loc="left", color=INK, fontsize=_fitting(y, wide * (1 - place.x0), wide), pad=5, y=1.0)


def told_below(axes: Axes) -> None:
    """No ticks below a panel: the next one has the same axis, and a tick is a millisecond of a live figure's drawing."""
    axes.set_xticks([])


def _fitting(text: str, room: float, wide: float) -> float:
    """The size of letters, in points, at which a line fits into the room, in inches: a letter is 0.6 of its size wide."""
    return min(LETTERS, max(_least(wide), 72 * room / (0.6 * max(1, len(text)))))


def _least(wide: float) -> float:
    """The smallest letters of a picture so many inches wide: a narrower one is shown less small on a phone."""
    return LEAST * min(1.0, wide / WIDTH)


def say(axes: Axes, x: float, y: float, text: str, role: str = "ink", **style: Any) -> None:
    """A direct label, in the colour of what it names."""
    bold: dict[str, Any] = {"fontweight": "bold"} if role != "ink" else {}
    look: dict[str, Any] = {"color": COLOUR[role], "fontsize": LETTERS, "va": "center"}
    axes.text(x, y, text, **(look | bold | style))


def said_apart(axes: Axes, x: float, labels: Sequence[tuple[float, str, str]], least: float) -> None:
    """Labels (height, text, role) at the ends of lines, moved apart to `least` where they would meet."""
    below = float("-inf")
    for y, text, role in sorted(labels):
        y = max(y, below + least)
        say(axes, x, y, text, role)
        below = y


def bar(axes: Axes, y: Any, start: Any, stop: Any, role: str, high: float = 0.62, hatched: bool = False, **style: Any) -> None:
    """Bars from one time to another, as one artist: matplotlib's own take ten times as long.  Hatched ones are hollow."""
    left, right, middle = (np.atleast_1d(np.asarray(values, float)) for values in (start, stop, y))
    boxes = corners(left, right, middle - high / 2, middle + high / 2)
    look: dict[str, Any] = {"facecolor": COLOUR[role], "edgecolor": COLOUR[role], "linewidth": 0.9}
    if not hatched:
        axes.add_collection(PolyCollection(list(boxes), **(look | style)), autolim=False)
    elif len(boxes):  # one outline: a collection would be hatched bar by bar
        outlines = Path.make_compound_path_from_polys(boxes)
        axes.add_collection(PathCollection([outlines], **(look | {"facecolor": "none", "hatch": HATCH} | style)), autolim=False)


def corners(left: Any, right: Any, low: Any, high: Any) -> np.ndarray:
    """Those of upright boxes, one after another: shape (boxes, 4, 2)."""
    return np.stack([np.column_stack(pair) for pair in ((left, low), (left, high), (right, high), (right, low))], axis=1)


def seconds(value: float) -> str:
    """A time in words: 150 ms, 1.5 s."""
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.3g} s"


def key(axes: Axes, words: Sequence[tuple[str, str]]) -> None:
    """Words in the colours of what they name, in a row above the panel: (text, role).

    On a narrow page the row begins left of the panel, and its letters shrink, so that it ends within the picture.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide, left = 72 * figure.get_figwidth(), 72 * figure.get_figwidth() * axes.get_position().x0
    letters, gaps = 0.62 * sum(_letters(text) for text, _ in words), 11 * (len(words) - 1)
    size = min(SMALL, max(_least(wide / 72), (wide - 8 - gaps) / letters))
    start = max(4 - left, min(0.0, wide - 4 - left - gaps - size * letters))
    at: Any = axes.transAxes
    for text, role in words:
        first = at is axes.transAxes
        at = axes.annotate(
            text, (0, 1) if first else (1, 0), xycoords=at, xytext=(start if first else 11, 7 if first else 0), textcoords="offset points",
            color=COLOUR[role], fontsize=size, fontweight="bold" if role != "ink" else None, va="bottom", annotation_clip=False,
        )  # fmt: skip


def _letters(text: str) -> int:
    """How many letters wide a text is in the reader's language, of which a Korean one is two."""
    return sum(1 + ("\u1100" <= letter <= "\uffdc") for letter in words.drawn(text))
