"""Guesses: a reader commits to one before the result is shown; it is drawn into the figure and held against the truth.

    share = guess("Which share is slow?", low=0, high=1)       # a card; "Lock my guess" ends it
    share
    share.reveal(figure, truth=1 / 3, axis="x")                # hidden until then, the guess drawn in

`reveal` takes a picture, a table, a text, or a function of the guess that makes one.  A stored page folds it.
Without a front end, `share.lock(0.5)` locks, and what `reveal` returns reads as what it hides.
"""

from __future__ import annotations

import base64
import numbers
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from meshmodel._text import visible
from meshmodel.teaching import journal, typed
from meshmodel.teaching.cards.card import BOX, Card, box, button
from meshmodel.teaching.cards.exercise import UNITS, inline
from meshmodel.teaching.palette import ROLES
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.words import drawn, fill, lines, say, spoken_html

_LOCKED = "Locked. You guessed:"
_SUMMARY = "Guess first, then open this"
_CLOSED = "Behind your guess. Lock it above, or show this without one."


class GuessError(ValueError):
    """A guess that cannot be asked for or locked like that."""


def guess(
    question: str,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: Sequence[str] = (),
    parts: Sequence[str] = (),
    unit: str = "",
) -> Guess:
    """A card that asks for a guess.

    Parameters
    ----------
    question : in one line; code between backticks.
    low, high : bounds of a number.
    choices : the texts to choose from, instead of a number.
    parts : names of several boxes; the value is then a mapping by these names.
    unit : `share` (0 to 1), `s`, or other words, shown beside the box.
    """
    if parts and choices:
        raise GuessError("parts: are boxes for numbers; choices are one guess")
    return Guess(question, low, high, tuple(choices), tuple(parts), unit)


class Guess(Card):
    """See `guess`.  `value` is None until the guess is locked."""

    def __init__(
        self, question: str, low: float | None, high: float | None, choices: tuple[str, ...], names: tuple[str, ...], unit: str
    ) -> None:
        self.question, self.low, self.high, self.choices, self.names, self.unit = question, low, high, choices, names, unit
        self.value: Any = None
        self._revealed: list[Reveal] = []
        shown = UNITS.get(unit, unit)
        labels = names or ("Your guess",)
        boxes = [box(label, unit=shown, choices=choices) for label in labels]
        super().__init__({"kind": "guess", "label": f"Guess: {question}", "title": "Predict first",
                          "text": inline(question), "fields": boxes})  # fmt: skip
        self.show(says="", tone="note", locked=False, done=False, buttons=[button("lock", "Lock my guess", first=True)])

    @property
    def locked(self) -> bool:
        """Whether the guess can no longer be changed (running the cell again asks anew)."""
        return self.value is not None

    def act(self, pressed: str, values: Sequence[str]) -> None:
        if pressed != "lock" or self.locked:
            return
        read = [self._read(text, label) for text, label in zip(values, self.names or ("",), strict=True)]
        self.lock(dict(zip(self.names, read, strict=True)) if self.names else read[0])

    def lock(self, value: Any) -> None:
        """Take `value` for the guess, and show what it hid.  Raises GuessError for one that cannot be."""
        for number in value.values() if isinstance(value, Mapping) else [value]:
            self._refuse(number)
        self.value = value
        journal.note(self.question, journal.Entry("guess", self.question, f"you guessed {typed.readable(value)}", True))
        self.show(says=f"{_LOCKED} {typed.readable(value)}", tone="note", locked=True, buttons=[])
        for reveal in self._revealed:
            reveal.uncover()

    def _read(self, text: str, label: str) -> Any:
        if self.choices and not text:
            raise GuessError("choose one first")
        try:
            return text if self.choices else typed.number(text, self.unit) if text.strip() else self._missing()
        except ValueError as problem:
            raise GuessError(f"{label}: {problem}" if label else str(problem)) from None

    def _missing(self) -> float:
        raise GuessError("type a guess first: any guess is better than none")

    def _refuse(self, value: Any) -> None:
        if self.choices:
            if value not in self.choices:
                raise GuessError(f"choose one of {', '.join(self.choices)}; got {visible(str(value))}")
            return
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise GuessError(f"must be a number, got {value!r}")
        number = float(value)
        if self.low is not None and number < self.low or self.high is not None and number > self.high:
            bounds = f"from {self.low:g} to {self.high:g}" if None not in (self.low, self.high) else "within its bounds"
            raise GuessError(f"a guess {bounds}, please; got {typed.readable(value)}")

    def reveal(
        self, shown: Any, *, truth: Any = None, axis: str | None = None, part: str | None = None,
        scale: float = 1.0, zero: float = 0.0, says: str = "",
    ) -> Reveal:  # fmt: skip
        """What the guess hides.

        Parameters
        ----------
        shown : a picture, a table, a text; or a function of the guess (None while there is none) that makes one.
        truth : what the guess is held against, in a line below; of several boxes a mapping.
        axis : "x" or "y", to draw the guess (of several boxes that of `part`, or all) as a line across a picture; what is
            on no axis of it is written below it.
        scale : so many of the axis' units make one of the guess (100 where a share is drawn in percent).
        zero : where on the axis a guess of 0 is.
        says : a line of its own below.
        """
        return Reveal(self, shown, truth, Where(axis, part, scale, zero), says)

    def mark(self, picture: Picture, axis: str | None = "x", part: str | None = None, scale: float = 1.0, zero: float = 0.0) -> Picture:
        """Draw the guess into a picture: a dashed line with its name, or words below; nothing while there is none."""
        if self.value is None:
            return picture
        values = self.value if isinstance(self.value, Mapping) else {"": self.value}
        on_axis = [name for name, value in values.items() if axis and part in (None, name) and _known(picture, axis, value)]
        for name in on_axis:
            mark(picture, values[name], axis or "x", f"your guess {name}".strip(), scale, zero)
        note(picture, {name: value for name, value in values.items() if name not in on_axis})
        return picture

    def against(self, truth: Any) -> str:
        """The guess held against the truth, in words; "" while there is none."""
        if self.value is None or truth is None:
            return ""
        if isinstance(self.value, Mapping):
            return "\n".join(_held(value, truth[name], name) for name, value in self.value.items() if name in truth)
        return _held(self.value, truth, "")

    def text(self) -> str:
        return f"Predict first: {self.question}"

    def html(self) -> str:
        return f'<div style="{BOX}"><b>{inline("Predict first")}</b><p>{inline(self.question)}</p></div>'


class Where(NamedTuple):
    """Where in a picture a guess is drawn; see `Guess.reveal`."""

    axis: str | None
    part: str | None
    scale: float
    zero: float


class Reveal(Card):
    """Hidden until its guess is locked, or until a reader asks for it all the same.  See `Guess.reveal`."""

    def __init__(self, of: Guess, shown: Any, truth: Any, where: Where, says: str) -> None:
        if where.axis not in (None, "x", "y"):
            raise GuessError(f"axis: must be x or y, got {where.axis!r}")
        self.guess, self.truth, self.where, self.line = of, truth, where, says
        self.make: Callable[[Any], Any] = shown if callable(shown) else lambda value: shown
        self.shown = self.make(of.value)
        super().__init__({"kind": "reveal", "label": f"Behind the guess: {of.question}"})
        self.show(says=_CLOSED, tone="note", buttons=[button("open", "Show without a guess")])
        of._revealed.append(self)
        if of.locked:
            self.uncover()

    def act(self, pressed: str, values: Sequence[str]) -> None:
        if pressed == "open":
            self.uncover()

    @property
    def uncovered(self) -> bool:
        """Whether a reader sees it."""
        return bool(self.state.get("parts"))

    def uncover(self) -> None:
        """Show it, with the guess drawn in and held against the truth."""
        if self.guess.locked:
            self.shown = self.make(self.guess.value)
            if isinstance(self.shown, Picture):
                self.guess.mark(self.shown, *self.where)
        held = self.guess.against(self.truth)
        if held:
            journal.note(self.guess.question, journal.Entry("guess", self.guess.question, held, True))
        self.show(says=held, tone="note", buttons=[], parts=[{"title": "", "html": self._hidden()}])

    def _hidden(self) -> str:
        return spoken_html(_html(self.shown)) + (f"<p>{inline(self.line)}</p>" if self.line else "")

    def text(self) -> str:
        plain = self.shown.alt_text if isinstance(self.shown, Picture) else _plain(self.shown)
        return f"{_SUMMARY} ({self.guess.question})\n{plain}" + (f"\n{self.line}" if self.line else "")

    def html(self) -> str:
        summary = f"{inline(_SUMMARY)}: {inline(self.guess.question)}"
        return f'<details style="{BOX}"><summary>{summary}</summary>{self._hidden()}</details>'

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        if isinstance(self.shown, Picture):  # for paper, which has neither widgets nor HTML
            data["image/png"] = base64.b64encode(self.shown.png()).decode()
            metadata["image/png"] = {"alt": self.shown.alt_text}
        return data, metadata


def mark(picture: Picture, value: Any, axis: str = "x", name: str = "your guess", scale: float = 1.0, zero: float = 0.0) -> None:
    """Draw a guess into the picture's first axes: a dashed line across it, its name beside it, and a word in its alternative text.

    A text is the label of a tick.  A picture of `plots.overlay` has seconds where others have an axis.
    """
    axes = picture.axes[0]
    seconds = getattr(picture, "seconds", None)
    number = 0.0 if isinstance(value, str) else zero + scale * float(value)
    placed = _tick(axes, axis, value) if isinstance(value, str) else float(seconds(number)) if seconds and axis == "x" else number
    assert placed is not None, "a text that is no label is written below"
    at = placed
    style: dict[str, Any] = {"color": ROLES["guess"].light, "linewidth": 2, "linestyle": (0, (4, 2)), "zorder": 9, "label": name}
    label: dict[str, Any] = {"color": ROLES["guess"].light, "fontsize": 11, "fontweight": "bold", "zorder": 10}
    if axis == "x":
        _make_room(axes, "x", at)
        low, high = picture.upright
        axes.axvline(at, low, high, **style)
        left = at > sum(axes.get_xlim()) / 2
        axes.annotate(name, (at, high - 0.02), (-5 if left else 5, 0), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                      ha="right" if left else "left", va="top", **label)  # fmt: skip
    else:
        _make_room(axes, "y", at)
        axes.axhline(at, **style)
        axes.annotate(name, (0.99, at), (0, 3), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                      ha="right", va="bottom", **label)  # fmt: skip
    said = value if isinstance(value, str) else typed.readable(value)
    picture.alt_text = f"{picture.alt_text} A dashed line marks {name}: {said}."


def note(picture: Picture, values: Mapping[str, Any]) -> None:
    """Write guesses below a picture that has no axis for them, and in its alternative text."""
    if not values:
        return
    said = "; ".join(f"{name} {value if isinstance(value, str) else typed.readable(value)}".strip() for name, value in values.items())
    width, high = picture.get_size_inches()
    told = lines(drawn(f"your guess: {said}"), int(11.5 * width))
    more = 0.08 + 0.2 * len(told)
    grown = high + more
    for axes in picture.axes:
        place = axes.get_position()
        axes.set_position((place.x0, (place.y0 * high + more) / grown, place.width, place.height * high / grown))
    for text in picture.texts:
        text.set_y((text.get_position()[1] * high + more) / grown)
    picture.set_size_inches(width, grown)
    picture.text(0.02, 0.05 / grown, "\n".join(told), color=ROLES["guess"].light, fontsize=11, fontweight="bold", va="bottom")
    picture.alt_text = f"{picture.alt_text} Written below: your guess: {said}."


def _make_room(axes: Any, axis: str, at: float) -> None:
    """A guess beyond the axis is drawn too: the axis grows, and keeps its direction."""
    limits = getattr(axes, f"get_{axis}lim")()
    low, high = min(limits), max(limits)
    if low <= at <= high:
        return
    pad = 0.04 * (max(high, at) - min(low, at))
    low, high = (at - pad, high) if at < low else (low, at + pad)
    getattr(axes, f"set_{axis}lim")(*((low, high) if limits[0] <= limits[1] else (high, low)))


def _tick(axes: Any, axis: str, label: str) -> float | None:
    """Where on an axis a label is, in whatever language; None: nowhere."""
    ticks = zip(getattr(axes, f"get_{axis}ticks")(), getattr(axes, f"get_{axis}ticklabels")(), strict=True)
    return next((float(at) for at, text in ticks if text.get_text() in (label, say(label))), None)


def _known(picture: Picture, axis: str, value: Any) -> bool:
    """Has the picture's axis a place for the value: any number, and a text that is one of its labels?"""
    return not isinstance(value, str) or _tick(picture.axes[0], axis, value) is not None


def _held(value: Any, truth: Any, name: str) -> str:
    told = "{}: you guessed {}; it is {}" if name else "You guessed {}; it is {}"
    label = say(name)
    parts = [f"{label[0].upper()}{label[1:]}"] if name else []
    off = typed.distance(value, truth)
    apart = [off] if off and not typed.same(value, truth, 0.02 * abs(truth)) else []
    return fill(told + ": {}" * len(apart) + ".", *parts, typed.readable(value), typed.readable(truth), *apart)


# --- anything as HTML, and as text ---------------------------------------------------------------


def _html(shown: Any) -> str:
    if isinstance(shown, Picture):
        return shown.html()
    bundle = getattr(shown, "_repr_mimebundle_", None)
    found = bundle() if bundle else None
    data = found[0] if isinstance(found, tuple) else found or {}
    made = data.get("text/html") or (shown._repr_html_() if hasattr(shown, "_repr_html_") else None)
    return made or f"<pre>{escape(_plain(shown))}</pre>"


def _plain(shown: Any) -> str:
    return shown if isinstance(shown, str) else repr(shown)
