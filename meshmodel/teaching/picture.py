"""A picture: a matplotlib Figure without pyplot's global state that carries an alternative text and its numbers.

`show(picture)` displays it in a notebook with that text as its accessible name.  Its ground is transparent: what is drawn on it
is to be read on white and on a dark theme alike (`canvas`).
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from meshmodel._text import visible
from meshmodel.teaching import panels, words

DPI = 100


class Picture(Figure):
    """A Figure with an alternative text; shows itself in a notebook, and prints that text.

    It is drawn at its own size and shown at `shrink` times that.
    """

    def __init__(self, shrink: float = 1.0, **settings: Any) -> None:
        super().__init__(**{"facecolor": "none"} | settings)
        self.shrink = shrink
        self._alt_text = ""
        self.seconds: Callable[[Any], Any] | None = None
        """Where on the horizontal axis a time in seconds is, where that is not the axis itself."""
        self.upright = 0.0, 1.0
        """Between which heights of the axes, from 0 to 1, an upright line across the picture goes."""
        self.told: dict[str, Mapping[str, Any]] = {}
        """What `tell` was told."""
        FigureCanvasAgg(self)  # kept from one drawing to the next, and with it the renderer's cache of text layouts

    @property
    def alt_text(self) -> str:
        """The alternative text, in the reader's language; what does not print is shown as an escape."""
        return words.told(self._alt_text)

    @alt_text.setter
    def alt_text(self, text: str) -> None:
        self._alt_text = visible(text)

    def png(self, dpi: float | None = None) -> bytes:
        """The picture as PNG at `dpi` of what is shown, in few colours: a third of the bytes, and of the time to pack them.

        The same bytes for the same content.  None: as a notebook stores it, packed as tightly as it goes.
        """
        few = self._drawn(dpi or DPI).quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        return _packed(few, optimize=True) if dpi is None else _packed(few, compress_level=1)

    def _drawn(self, dpi: float) -> Image.Image:
        self.set_dpi(dpi * self.shrink)
        words.translate_figure(self)
        with rc_context({"text.hinting": "none"}):  # the same letters whatever the FreeType, and a quarter faster
            self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba()))  # type: ignore[attr-defined]

    def svg(self) -> bytes:
        """The picture as SVG, its letters as letters, the same bytes for the same content."""
        buffer = io.BytesIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "meshmodel"}):
            self.savefig(buffer, format="svg", metadata={"Date": None, "Title": self.alt_text})
        return buffer.getvalue()

    def file(self, name: str) -> bytes:
        """The picture as the file `name` wants it: PNG or SVG by its ending."""
        return self.svg() if name.lower().endswith(".svg") else _packed(self._drawn(150), dpi=(150, 150))

    def html(self, dpi: float | None = None) -> str:
        """The picture as HTML: an image whose accessible name is the alternative text, and below it, folded away, its numbers."""
        return self.page(self.png(dpi))

    def page(self, png: bytes) -> str:
        """`html` around the picture as it was drawn."""
        return image_html(png, self.alt_text) + panels.html(self)

    def tell(self, name: str, columns: Mapping[str, Any]) -> None:
        """A table of what is drawn where no axis has numbers: name of a column -> its values, one a row."""
        self.told[name] = columns

    def numbers(self) -> dict[str, pd.DataFrame]:
        """What is drawn, neither rounded nor thinned: the name of a panel -> its table.

        Lines are columns beside their place across; bars and spans are rows: `lane`, `what`, `from` and `to` (missing of a point).
        """
        return {panel.name: panel.numbers for panel in panels.of(self)}

    def __repr__(self) -> str:
        return self.alt_text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        # HTML for JupyterLab (it gives a bare image no accessible name), the image alone for readers without HTML (print)
        png = self.png()
        data = {"text/plain": self.alt_text, "text/html": self.page(png), "image/png": base64.b64encode(png).decode()}
        return data, {"image/png": {"alt": self.alt_text}}


def _packed(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **how)
    return buffer.getvalue()


class Shown:
    """What `show` returns: an object that IPython displays."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def __repr__(self) -> str:
        return self.picture.alt_text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.picture._repr_mimebundle_()


def show(picture: Picture) -> Shown:
    """The picture as a display object: its text is the alternative text, so a strict comparison of outputs passes."""
    return Shown(picture)


def image_html(png: bytes, alt_text: str) -> str:
    """An image and its accessible name as one piece of HTML."""
    name = html.escape(alt_text, quote=True)
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<div role="img" aria-label="{name}"><img alt="{name}" style="max-width:100%" src="{source}"></div>'
