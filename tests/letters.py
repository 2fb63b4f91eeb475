"""How small the letters of a picture come out on a phone, and of all pictures that a notebook draws."""

from __future__ import annotations

from matplotlib.text import Text

from meshmodel.teaching.picture import DPI, Picture

PHONE = 380
"""CSS pixels of a page 420 wide that are left for a figure."""

LEAST = 8.5
"""CSS pixels of the smallest letters that are still read."""

FOUND: list[tuple[float, str, str]] = []
"""Of each picture noted: its smallest letters in CSS pixels on a phone, one text in them, and what the picture says."""


def smallest(picture: Picture, shown: float = PHONE) -> tuple[float, str]:
    """The smallest letters of a picture that has been drawn, in CSS pixels where it is `shown` pixels wide, and a text in them."""
    wide = picture.get_figwidth()
    pixels = min(shown, DPI * picture.shrink * wide) / (72 * wide)  # of a point
    hidden = {text for axes in picture.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis) for text in axis.findobj(Text)}
    texts = [text for text in picture.findobj(Text) if text not in hidden and text.get_visible() and text.get_text().strip()]
    return min(((float(pixels * text.get_fontsize()), text.get_text()) for text in texts), default=(float("inf"), ""))


def note(picture: Picture) -> None:
    """Keep what `FOUND` says of a picture that has been drawn."""
    FOUND.append((*smallest(picture), picture.alt_text[:80]))


def too_small() -> list[tuple[float, str, str]]:
    """The pictures whose smallest letters are not read on a phone."""
    return [found for found in FOUND if found[0] < LEAST]
