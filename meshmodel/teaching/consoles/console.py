"""A console: asks its function at every move, shows what it answers, and says what is not as in the tutorial."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshmodel._text import InputError
from meshmodel.teaching import panels
from meshmodel.teaching.canvas import WIDTH
from meshmodel.teaching.consoles.controls import Action, Control, Result, Settings
from meshmodel.teaching.consoles.newest import Newest
from meshmodel.teaching.consoles.view import View
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.words import fill

COARSE, FINE = 25, 200
"""Replications while the controls move, and when they rest."""

_REST = 0.12  # seconds without a move
_DPI = 96  # of a browser's inch

Compute = Callable[[Settings, int], Result]
Values = Mapping[str, Any]


class Console:
    """Controls over a function; shows itself in a notebook.  The package's docstring says how one is made.

    Parameters
    ----------
    title : a few words.
    controls : `Slider`, `Choice`, `Toggle`; their `start` is what *reset* returns to.
    compute : `(settings, replications) -> Result`.
    presets : label of a button -> values of some controls.
    tutorial : the tutorial's values, of the controls that do not choose the experiment; or a function from the
        settings to them.  Default: every control's start.
    actions : what takes long.
    replications : (coarse, fine); None where `compute` does not depend on it, and is called once a move.

    Attributes
    ----------
    settings, result, picture, error : what is set, and what came of it (error: None or an exception).
        They wait for what is being worked on.
    """

    def __init__(
        self,
        title: str,
        controls: Sequence[Control],
        compute: Compute,
        *,
        presets: Mapping[str, Values] | None = None,
        tutorial: Values | Callable[[Settings], Values] | None = None,
        actions: Sequence[Action] = (),
        replications: tuple[int, int] | None = (COARSE, FINE),
    ) -> None:
        self.title, self.compute = title, compute
        self.controls = {control.name: control for control in controls}
        self.actions = {action.label: action for action in actions}
        self.presets = dict(presets or {})
        self._tutorial = {c.name: c.start for c in controls} if tutorial is None else tutorial
        self._steps = replications or (1, 1)
        self._settings = Settings(**{control.name: control.checked(control.start) for control in controls})
        self._width, self._scale, self._number, self._fine = WIDTH, 1.0, 0, True
        self._error: Exception | None = None
        self._showing = threading.RLock()
        self._cancel, self._doing = threading.Event(), threading.Thread()
        self._newest = Newest(self._work)
        self._result = compute(self._settings, self._most)
        self.view = View(spec=self._spec(), values=vars(self._settings))
        self._show(self._result)
        self.view.observe(self._asked, "asked")

    @property
    def _most(self) -> int:
        return self._steps[1]

    # --- for a notebook -----------------------------------------------------------------------

    def set(self, **values: Any) -> Result:
        """Move controls, as a reader would, and wait for the answer.  Raises what went wrong."""
        unknown = values.keys() - self.controls.keys()
        if unknown:
            raise InputError(f"{', '.join(sorted(unknown))}: no such control; there are: {', '.join(self.controls)}")
        self._move({**vars(self.settings), **values}, self._number, coarse=False)
        self.view.values = vars(self.settings)
        return self.result

    def act(self, label: str) -> Result:
        """Press the button of an action, and wait for the answer."""
        self._begin(label)
        self._doing.join()
        return self.result

    def cancel(self) -> None:
        """Give up what is being worked on; what was shown before stays."""
        self._cancel.set()

    @property
    def settings(self) -> Settings:
        """The values of the controls."""
        self._newest.settle()
        return Settings(**vars(self._settings))

    @property
    def error(self) -> Exception | None:
        """What went wrong at the last move."""
        self._newest.settle()
        return self._error

    @property
    def result(self) -> Result:
        """What the last move came to.  Raises what went wrong."""
        self._newest.settle()
        if self._error is not None:
            raise self._error
        return self._result

    @property
    def picture(self) -> Picture:
        """The figure, for a page whose width is not known."""
        return self.result.figure(WIDTH)

    @property
    def differs(self) -> str:
        """What is not as in the tutorial, in one line; empty: nothing."""
        tutorial = self._as_in_the_tutorial()
        now = vars(self._settings)
        return ", ".join(
            fill("{} {} (there {})", c.label, c.says(now[name]), c.says(tutorial[name]))
            for name, c in self.controls.items()
            if name in tutorial and now[name] != tutorial[name]
        )

    def _as_in_the_tutorial(self) -> Values:
        return self._tutorial(self._settings) if callable(self._tutorial) else self._tutorial

    def __repr__(self) -> str:
        stop = "" if self.title.endswith("?") else "."
        return f"{self.title}{stop} {self._compared(self.result)} {self._result.status}. Figure: {self.picture.alt_text}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget for who has one, and the still figure for who has not: GitHub, paper, an untrusted notebook."""
        bundle = self.view._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle or {}
        picture = self.picture
        png = picture.png()
        page = picture.page(png)  # JupyterLab prefers it to the image, and has no widget when the kernel is gone
        still = {"text/plain": repr(self), "text/html": page, "image/png": base64.b64encode(png).decode()}
        return {**data, **still}, {"image/png": {"alt": picture.alt_text}}

    # --- what a move does ---------------------------------------------------------------------

    def _asked(self, change: Any) -> None:
        """From the browser, on a thread of the kernel's: note it and return."""
        asked = change["new"]
        self._width = min(10.0, max(3.9, asked.get("width", self._width)))
        self._scale = min(2.0, max(1.0, asked.get("scale", self._scale)))
        act = asked.get("act")
        if act:
            self._number = max(self._number, asked["number"])
        if act == "cancel":
            self.cancel()
        elif act in self.actions:
            self._begin(act)
        else:
            self._move(asked["values"], asked["number"])

    def _move(self, values: Values, number: int, coarse: bool = True) -> None:
        if self._doing.is_alive():
            self._cancel.set()  # it would be of other settings
        self._cancel = threading.Event()
        self._newest.ask((dict(values), number, coarse, self._cancel))

    def _work(self, job: tuple[Values, int, bool, threading.Event]) -> None:
        """On the console's own thread: coarse at once, fine when the controls rest."""
        values, number, coarse, cancel = job
        self._number = max(self._number, number)
        try:
            settings = Settings(**{name: control.checked(values.get(name)) for name, control in self.controls.items()})
            if settings == self._settings and self._error is None and self._fine:
                self._show(self._result)  # the page has another width
                return
            self._settings, self._error = settings, None
            self._answer(settings, coarse, cancel)
        except Exception as problem:  # nobody would catch it on this thread
            self._fail(problem)

    def _answer(self, settings: Settings, coarse: bool, cancel: threading.Event) -> None:
        for replications in (*[self._steps[0]] * coarse, self._most):
            self._fine = replications == self._most
            result = self.compute(settings, replications)
            if cancel.is_set():
                self._tell(status="cancelled", busy=False)
                return
            if self._fine and self._newest.overtaken():
                return
            self._result = result
            self._show(result, busy=not self._fine)
            if self._fine or self._newest.overtaken(after=_REST):  # what is coarse is shown: a fast drag must not starve it
                return

    def _fail(self, problem: Exception) -> None:
        self._error = problem
        name = "" if isinstance(problem, ValueError) else f"{type(problem).__name__}: "
        self._tell(alert=f"{name}{problem}", busy=False)

    # --- what takes long ----------------------------------------------------------------------

    def _begin(self, label: str) -> None:
        if self._doing.is_alive():
            return
        action, settings, self._cancel = self.actions[label], self.settings, threading.Event()
        self._tell(busy=True, status=fill("{}: begun", label))
        self._doing = threading.Thread(target=self._do, args=(action, settings, self._cancel), daemon=True, name=label)
        self._doing.start()

    def _do(self, action: Action, settings: Settings, cancel: threading.Event) -> None:
        def advance(share: float) -> None:
            if not cancel.is_set():
                self._tell(busy=True, status=f"{action.label}: {share:.0%}")

        try:
            result = action.run(settings, advance, cancel)
            if not cancel.is_set():
                self._result, self._error = result, None
                self._show(result)
        except Exception as problem:  # nobody would catch it on this thread
            if not cancel.is_set():
                self._fail(problem)
        if cancel.is_set() and cancel is self._cancel:  # by the reader, not by a move
            self._tell(status=f"{action.label}: cancelled", busy=False)

    # --- what is shown ------------------------------------------------------------------------

    def _compared(self, result: Result) -> str:
        beside = f"Beside it: {result.beside}. " if result.beside else ""
        if not self._as_in_the_tutorial():  # it has nothing like it
            return beside.strip()
        return beside + (f"Not as in the tutorial: {self.differs}." if self.differs else "As in the tutorial.")

    def _show(self, result: Result, busy: bool = False) -> None:
        picture = result.figure(self._width)
        png = picture.png(_DPI if busy else _DPI * self._scale)
        numbers = {} if busy else {"numbers": panels.html(picture)}  # folded away: they follow when the controls rest
        with self._showing, self.view.hold_sync():  # one message: never a figure with the text of another
            self.view.png = png
            self.view.page = dict(zip(("name", "html"), result.page or (), strict=False))
            self._tell(
                alt=picture.alt_text,
                status=result.status,
                differs=self._compared(result),
                table=result.table,
                text=result.text,
                yaml=result.yaml,
                marks={name: [list(mark) for mark in marks] for name, marks in result.marks.items()},
                tutorial=dict(self._as_in_the_tutorial()),
                wide=self._width,
                busy=busy,
                **numbers,
            )

    def _tell(self, **what: Any) -> None:
        with self._showing:
            self.view.shown = {**self.view.shown, "alert": "", **what, "answered": self._number}

    def _spec(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "controls": [control.spec() for control in self.controls.values()],
            "start": vars(self._settings),
            "presets": [{"label": label, "values": dict(values)} for label, values in self.presets.items()],
            "actions": [{"act": a.label, "label": a.label, "missing": a.missing} for a in self.actions.values()],
        }
