"""One small form in a notebook: a text, boxes to type into, buttons, a line that says what came of it.

The browser draws what `spec` and `state` say and sends back which button was pressed, with what the
boxes hold; everything else is decided here.  Where there is no widget (GitHub, paper, a test), a card
is its HTML or its text.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from meshmodel.teaching.theme import themed
from meshmodel.teaching.words import spoken

_HERE = Path(__file__).parent

SILENT = "Python does not answer. Run the notebook's cells first (or again) to have this checked."
"""What the browser says by itself."""


def style() -> str:
    """The style sheet."""
    return themed(".mq") + (_HERE / "card.css").read_text(encoding="utf-8")


class Card(anywidget.AnyWidget):
    """What every card has; see `card.js` for the fields of `spec` and `state`."""

    _esm = (_HERE / "card.js").read_text(encoding="utf-8")
    _css = style()
    spec = traitlets.Dict().tag(sync=True, to_json=lambda value, _: spoken(value))
    state = traitlets.Dict().tag(sync=True, to_json=lambda value, _: spoken(value))

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec={"silent": {"label": SILENT}, "fields": [], **spec})
        self._busy = threading.RLock()
        self.on_msg(self._heard)

    def act(self, pressed: str, values: Sequence[str]) -> None:
        """What the button `pressed` does; `values` are the texts of the boxes, in order."""
        raise NotImplementedError

    def show(self, **changes: Any) -> None:
        """Change the state; the number tells the browser that this is an answer, even if it reads as before."""
        self.state = {**self.state, **changes, "number": self.state.get("number", 0) + 1}

    def press(self, pressed: str, *values: str) -> None:
        """What a reader does who fills in the boxes and presses a button."""
        with self._busy:
            try:
                self.act(pressed, values)
            except ValueError as problem:
                self.show(says=str(problem), tone="note")

    def _heard(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        try:
            self.press(str(content.get("press", "")), *map(str, content.get("values", ())))
        except Exception as problem:  # nobody would see it in this thread
            self.show(says=f"This could not be checked: {type(problem).__name__}: {problem}", tone="wrong")

    # --- where there is no widget ------------------------------------------------------------

    def text(self) -> str:
        """The card in words."""
        raise NotImplementedError

    def html(self) -> str:
        """The card for a page without a kernel."""
        return f'<div style="{BOX}">{escape(self.text())}</div>'

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle or {}
        return {**data, "text/plain": self.text(), "text/html": self.html()}, {"text/html": {ALONE: True}}


ALONE = "stands alone"
"""Metadata of a page that needs no widget beside it where there is no kernel: it is stored without its view."""

BOX = "border: 1px solid #8888; border-radius: 10px; padding: 0.5em 0.9em; max-width: 46em"
"""The frame of a card without its style sheet, on any ground."""


def button(press: str, label: str, *, first: bool = False) -> dict[str, Any]:
    """A button; `first` is the one that the Enter key presses."""
    return {"press": press, "label": label, "first": first}


def box(label: str, *, unit: str = "", choices: Sequence[str] = ()) -> dict[str, Any]:
    """A box to type into, or texts to choose from."""
    return {"label": label, "unit": unit, "choices": list(choices), "labels": list(choices)}
