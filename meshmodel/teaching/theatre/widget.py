"""The theatre as a widget, and as a picture where no widget can be."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from meshmodel.results.trace import Trace
from meshmodel.teaching.picture import Picture, image_html
from meshmodel.teaching.standalone import standalone
from meshmodel.teaching.theatre.buckets import Record, read
from meshmodel.teaching.theatre.spec import Watch, in_the_readers_language, spec, whole_or_first
from meshmodel.teaching.theatre.still import still
from meshmodel.teaching.theme import themed
from meshmodel.teaching.words import TR, script_words

_HERE = Path(__file__).parent
_SCRIPTS = ("data", "words", "layout", "frame", "paint", "stage", "histogram", "panel", "player", "main")
"""In the order in which they make one ES module: plain functions, exported by the last."""


def module() -> str:
    """The ES module."""
    return "\n".join([TR, *((_HERE / "js" / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)])


def style() -> str:
    """The style sheet."""
    return themed(".mt") + (_HERE / "theatre.css").read_text(encoding="utf-8")


class Theatre(anywidget.AnyWidget):
    """One or two traces on one clock; shows itself in a notebook.  See `theatre`."""

    _esm = module()
    _css = style()
    words = script_words()
    spec = traitlets.Dict().tag(sync=True, to_json=lambda value, _: in_the_readers_language(value))
    data = traitlets.List(traitlets.Bytes()).tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)

    def show(self, told: dict[str, Any], data: Sequence[bytes]) -> None:
        """Show something else; the version tells the browser, which hears nothing of equal bytes."""
        with self.hold_sync():
            self.spec, self.data, self.version = told, list(data), self.version + 1

    @property
    def picture(self) -> Picture:
        """The still twin, for paper."""
        return still(in_the_readers_language(self.spec), self.data)

    def __repr__(self) -> str:
        return self.picture.alt_text

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget for who has one, its state for the book, and the still picture for GitHub, paper, an untrusted notebook."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle or {}
        picture = self.picture
        png = picture.png()
        page = image_html(png, picture.alt_text)  # JupyterLab gives a bare image no accessible name
        still = {"text/plain": picture.alt_text, "text/html": page, "image/png": base64.b64encode(png).decode()}
        return {**data, **standalone(self), **still}, {"image/png": {"alt": picture.alt_text}}


def theatre(
    trace: Trace,
    other: Trace | None = None,
    *,
    record: Record | Sequence[Record | None] | None = None,
    title: str = "What happened to every request",
    names: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    watch_for: Watch | None = None,
) -> Theatre:
    """Plays one trace, or two side by side on one clock.

    Parameters
    ----------
    trace, other : `Replay.trace(i)` of any engine: two policies from one seed, or a model beside a real Envoy.
    record : a fortio histogram (or its path) drawn beside that of the trace; one for each trace as (one, other).
    names : what the panels are called (default: the constants, or the engines, in which they differ).
    window : (start, seconds) of the part that is played (default: all, of very long traces the beginning).
    watch_for : what to look at, as texts or (seconds, text); default: what is found in the traces.

    Raises
    ------
    ValueError : a window in which nothing happens, a trace without requests, records of different resolutions,
        or not as many names or records as traces.
    """
    traces = [trace] if other is None else [trace, other]
    records = list(record) if isinstance(record, Sequence) and not isinstance(record, str) else [record] * len(traces)
    for what, given in (("record", records), ("names", names)):
        if given is not None and len(given) != len(traces):
            raise ValueError(f"{what}: needs {len(traces)}, got {len(given)}")
    if not all(len(t.requests) for t in traces):
        raise ValueError("trace: has no requests")
    played = whole_or_first(traces, window)
    made = Theatre()
    made.show(*spec(traces, [read(r) for r in records], title=title, names=names, window=played, watch_for=watch_for))
    return made
