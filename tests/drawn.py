"""What the pictures of a notebook say, in English, and whether the catalogue has Korean for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

from matplotlib.text import Text

from meshmodel.teaching import words
from meshmodel.teaching.picture import Picture
from tests.translation import english_left

WORKLOADS = ("caller", "istio-ingressgateway")
"""Names that the chapters' manifests give."""

TEXTS: dict[str, None] = {}
"""The texts of every picture noted, once each."""


def said(picture: Picture) -> list[str]:
    """The texts of a picture that has been drawn; its own titles as they were before they were broken into lines."""
    titles = [text.get_text().replace("\n", " ") for text in picture.texts]
    texts = [*titles, *(text.get_text() for axes in picture.axes for text in axes.findobj(Text) if text.get_visible())]
    return [text for text in texts if text.strip()]


def note(picture: Picture) -> None:
    """Keep the texts of a picture that has been drawn."""
    TEXTS.update(dict.fromkeys(said(picture)))


def watch(*told: Callable[[Picture], None]) -> None:
    """Tell these of every picture that is drawn from now on."""
    png = Picture.png

    def watched(self: Picture, *args: object, **more: object) -> bytes:
        drawn = png(self, *args, **more)
        for each in told:
            each(self)
        return drawn

    Picture.png = watched


def stays_english(text: str) -> bool:
    """Has the catalogue no Korean for what a picture says?  A still of the theatre joins what it has looked up: a (b), at 1 s."""
    with words.speaking("ko"):
        return all(any(map(_unknown, parts)) for parts in ([text], re.split(r" \(|\), at |, at ", text)))


def _unknown(text: str) -> bool:
    """However its lines may have been one before they were broken; a name is broken after its hyphens."""
    first, *lines = ["" if line in WORKLOADS else line for line in text.replace("-\n", "-").split("\n")]
    forms = [first + "".join(map("".join, zip(between, lines, strict=True))) for between in product("\n ", repeat=len(lines))]
    return all({*english_left(words.say(form, context))} - {*WORKLOADS} for form in forms for context in ("", "theatre"))
