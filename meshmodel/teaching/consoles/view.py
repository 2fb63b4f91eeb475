"""What the browser has of a console: one ES module without a build, and its style."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from meshmodel.teaching.theme import themed
from meshmodel.teaching.words import TR, script_words, spoken

_HERE = Path(__file__).parent


class View(anywidget.AnyWidget):
    """Carries what is asked and what is shown; knows nothing of either."""

    _esm = TR + (_HERE / "console.js").read_text(encoding="utf-8")
    _css = themed(".mc") + (_HERE / "console.css").read_text(encoding="utf-8")
    words = script_words()
    spec = traitlets.Dict().tag(sync=True, to_json=lambda value, _: spoken(value))  # title, controls, presets, tutorial, actions
    values = traitlets.Dict().tag(sync=True)  # of the controls, as Python set them
    asked = traitlets.Dict().tag(sync=True)  # number, values or act, width (inches), scale
    shown = traitlets.Dict().tag(
        sync=True, to_json=lambda value, _: spoken(value)
    )  # answered, alt, status, alert, differs, table, numbers, text, yaml, busy
    page = traitlets.Dict().tag(sync=True)  # name, html: of a page to be opened or saved; empty: there is none
    png = traitlets.Bytes(b"").tag(sync=True)
