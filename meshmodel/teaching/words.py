"""The language of figures' words and widgets' labels: English, or what a catalogue in locale/ says.

Drawing code is written in English and knows nothing of this.  A `Picture` asks for its words when it is drawn, a widget
when its state goes to the browser; what a widget's script says by itself stands in it as `tr("...")` (words.js), and goes
along as one trait (`of_script`).  A message of the catalogue with {} in it stands for any part of a sentence there: "Answers over {} s"
is found in "Answers over 60 s", and what stood in the holes is put, in the same order or by its number, into the translation.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from html import escape, unescape
from pathlib import Path
from typing import Any

import traitlets

LOCALE = Path(__file__).parent / "locale"
FONTS = ("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "AppleGothic", "Malgun Gothic")
"""Of these the first that is installed draws what matplotlib's own font lacks; of a collection it knows the first face alone, JP."""

_chosen: list[str] = []


def choose(name: str) -> None:
    """Speak `name` from now on: "en", or a language that locale/ has a catalogue of.  Raises ValueError for any other."""
    if name not in ("en", *available()):
        raise ValueError(f"language: must be one of {', '.join(('en', *available()))}, got {name!r}")
    _chosen[:] = [name]


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Speak `name` within, and then as before."""
    before = _chosen[:]
    choose(name)
    try:
        yield
    finally:
        _chosen[:] = before


def current() -> str:
    """The language chosen, else that of MESHMODEL_LANGUAGE, else English."""
    asked = _chosen[0] if _chosen else os.environ.get("MESHMODEL_LANGUAGE", "en")
    return asked if asked in available() else "en"


def available() -> list[str]:
    """The languages besides English."""
    return sorted(path.stem for path in LOCALE.glob("*.po"))


PARTS = ("\n", " · ", ". ", "; ")
"""What stands between parts of a text that are looked up one by one."""


def say(text: str, context: str = "", parts: tuple[str, ...] = PARTS) -> str:
    """`text` in the current language; as it is where the catalogue has nothing for it.

    Several lines, sentences, or parts with a semicolon between them, are looked up one by one too.  With a `context` only
    the catalogue's messages of that one are looked up (msgctxt), without one only those that have none.
    """
    core = text.strip()
    if current() == "en" or not core:
        return text
    if core != text:
        return say(core, context, parts).join(text.split(core, 1))
    found = _lookup(text, context, parts)
    if found is not None:
        return found
    between = next((mark for mark in parts if mark in text), "")
    if between:
        return between.join(say(part, context, parts) for part in text.split(between))
    return _named(text, context) if parts is ITEMS else _around_numbers(text, context)


ITEMS = (*PARTS, ": ", ", ", " (", ")")
"""What stands between the items of a list of names and values as well."""


def told(text: str) -> str:
    """An alternative text in the current language: as `say` says it, and its lists of names and values item by item: a 1, b 2 (c 3)."""
    return say(text, parts=ITEMS)


def _named(text: str, context: str) -> str:
    """An item of a list that is not known: the longest name it begins with that is, and what comes after it."""
    exact, names = _catalogue(current(), context)[0], text.split(" ")
    for end in range(len(names) - 1, 0, -1):
        if (name := " ".join(names[:end])) in exact:
            return f"{exact[name]} {say(' '.join(names[end:]), context, ITEMS)}"
    return _around_numbers(text, context)


def fill(english: str, *values: Any) -> str:
    """The message `english` with its holes filled, in the current language: for what could not be taken apart again."""
    known = {} if current() == "en" else {entry.msgid: entry.msgstr for entry in _entries(current())}
    return known.get(english, english).format(*(say(str(value)) for value in values))


def _lookup(text: str, context: str, parts: tuple[str, ...]) -> str | None:
    exact, sentences, numbers = _catalogue(current(), context)
    if text in exact:
        return exact[text]
    for pattern, wanted in (*sentences, *numbers):
        if found := pattern.fullmatch(text):
            return wanted.format(*(say(part, context, parts) for part in found.groups()))
    return None


def _around_numbers(text: str, context: str) -> str:
    """A text that is not known, with the words beside its numbers that are: 3 to 5."""
    for pattern, wanted in _catalogue(current(), context)[2]:
        text = pattern.sub(partial(_filled, wanted), text)
    return text


def _filled(wanted: str, found: re.Match[str]) -> str:
    return wanted.format(*found.groups())


Patterns = list[tuple[re.Pattern[str], str]]


@cache
def _catalogue(name: str, context: str) -> tuple[dict[str, str], Patterns, Patterns]:
    """Messages without holes, those with, and those around numbers; the longest first, which say most, and sentences by their beginning."""
    entries = [entry for entry in _entries(name) if (entry.msgctxt or "") in (context, NUMBER)]
    holes = sorted((entry for entry in entries if "{" in entry.msgid), key=lambda entry: -len(entry.msgid))
    by_beginning = sorted(holes, key=lambda entry: entry.msgid.startswith("{"))
    sentences = [(_pattern(e.msgid), e.msgstr) for e in by_beginning if e.msgctxt != NUMBER]
    numbers = [(_pattern(e.msgid, _FIGURE, r"(?<![\w.])", "(?![A-Za-z])"), e.msgstr) for e in holes if e.msgctxt == NUMBER]
    return {e.msgid: e.msgstr for e in entries if "{" not in e.msgid}, sentences, numbers


@cache
def _entries(name: str) -> list[Any]:
    import polib  # only who does not read English needs it

    return polib.pofile(str(LOCALE / f"{name}.po")).translated_entries()


_HOLE = r"((?:(?!\n|\. |; ).)+?)"
"""What stands in a hole is no more than a part of a sentence."""


NUMBER = "number"
"""The context of a message with so few words of its own that its holes stand for numbers, with a unit or without, anywhere in a text."""

_FIGURE = r"(\d+(?:[.,-]\d+)*(?: ?(?:ms|s|%)(?!\w))?)"


def _pattern(english: str, hole: str = _HOLE, before: str = "", after: str = "") -> re.Pattern[str]:
    return re.compile(before + hole.join(map(re.escape, re.split(r"\{\d*\}", english))) + after)


def translate_figure(figure: Any) -> None:
    """Put every text of a matplotlib figure into the current language, once; without a font for it they stay English."""
    families = fonts()
    if not families:
        return
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _translate_ticks(axis)
    for text in figure.findobj(Text):
        text.set_text(say(text.get_text()))
        text.set_fontfamily(families)


def _translate_ticks(axis: Any) -> None:
    """The labels that somebody wrote at the ticks of an axis; at every drawing they are made anew."""
    from matplotlib.ticker import FixedLocator

    if isinstance(axis.get_major_locator(), FixedLocator):
        axis.set_ticklabels([say(tick.get_text()) for tick in axis.get_ticklabels()])


def drawn(text: str) -> str:
    """`text` in the current language if there is a font to draw it with."""
    return say(text) if fonts() else text


def lines(text: str, letters: int, names: bool = False) -> list[str]:
    """`text` in as few lines of at most so many letters as will do, about equally long; a number keeps its unit, and what it is equal to.

    `names`: keep them whole, none is broken at its dashes.
    In a text that has Korean, Chinese or Japanese letters these, capitals and % are half as wide again, and a space is half as wide.
    """
    whole = re.sub(r"(\d) (?=(?:s|ms|Erlangs)\b|%)", "\\1\N{NO-BREAK SPACE}", text)
    whole = whole.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    if re.search(r"[\u1100-\uffdc]", whole):
        whole, letters = re.sub(r"([A-Z_%\u1100-\uffdc])", "\\1\0", re.sub(r"(\S)", "\\1\0", whole)), 2 * letters
    wrap = textwrap.TextWrapper(letters, break_on_hyphens=not names)
    needed = wrap.wrap(whole)
    for wrap.width in range(letters - 1, max(map(len, whole.split(" "))) - 1, -1):  # no word is to be broken for it
        if len(needed) < 2 or len(narrower := wrap.wrap(whole)) > len(needed):
            break
        needed = narrower
    return [line.replace("\0", "").replace("\N{NO-BREAK SPACE}", " ") for line in needed]


def fonts() -> list[str]:
    """Font families, each for the letters that those before it lack; none: matplotlib's own will do, or none is found."""
    if current() == "en":
        return []
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    found = [name for name in FONTS if name in known][:1]
    return ["DejaVu Sans", *found] if found else []


SPOKEN = frozenset({"title", "label", "labels", "alt", "status", "differs", "alert", "caption", "says", "unit", "missing"})
"""The names under which a widget's state holds words for its reader."""


def spoken(state: Any, names: frozenset[str] = SPOKEN, context: str = "") -> Any:
    """A widget's state as its browser is to get it: every text under one of `names` in the current language, values as they are."""
    if current() == "en":
        return state
    if isinstance(state, list):
        return [spoken(item, names, context) for item in state]
    if not isinstance(state, dict):
        return state
    said = {name: _said(value, context) if name in names else spoken(value, names, context) for name, value in state.items()}
    if isinstance(table := said.get("table"), str):
        said["table"] = spoken_html(table)
    return said


def spoken_html(page: str) -> str:
    """HTML whose texts are in the current language; not what stands letter by letter in `pre`, such as fortio's, nor a warning."""
    if current() == "en":
        return page
    parts = re.split(r"(<pre\b.*?</pre>|<style.*?</style>|<li translate=\"no\">.*?</li>)", page, flags=re.DOTALL)
    parts[::2] = (re.sub(r"(?<=>)(?:[^<]|</?code>)+(?=<)", _said_in_html, part) for part in parts[::2])
    return re.sub(r'(?<=aria-label=")[^"]*', lambda name: escape(told(unescape(name[0]))), "".join(parts))


def _said_in_html(found: re.Match[str]) -> str:
    """A text between two tags; code in it stands between backticks in the catalogue."""
    text = unescape(re.sub(r"</?code>", "`", found[0]))
    said = say(text)
    return found[0] if said == text else re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(said))


def _said(value: Any, context: str) -> Any:
    """A text, or all texts of nested lists, in the current language."""
    if isinstance(value, list):
        return [_said(item, context) for item in value]
    return say(value, context) if isinstance(value, str) else value


# --- the words of a widget's script ----------------------------------------------------------

TR = (Path(__file__).parent / "words.js").read_text(encoding="utf-8")
"""What a script that says something has before it: `tr` and `speak`."""


SCRIPT = "script"
"""The context (msgctxt) in a catalogue of what only a script says, with too few words of its own to be looked for in figures."""


def marked(script: str) -> list[str]:
    """The messages of a script, once each: what it says to its reader stands in it as tr("...")."""
    return list(dict.fromkeys(json.loads(text) for text in re.findall(r'\btr\(\s*("(?:[^"\\]|\\.)*")', script)))


def of_script(script: str) -> dict[str, str]:
    """English -> the current language, of the messages of a script that have a translation; the script gives them to `speak`."""
    if current() == "en":
        return {}
    known = {entry.msgid: entry.msgstr for context in (None, SCRIPT) for entry in _entries(current()) if entry.msgctxt == context}
    return {english: known[english] for english in marked(script) if english in known}


def script_words() -> traitlets.Dict:
    """The trait that carries the words of a widget's own script (`_esm`) to it."""
    return traitlets.Dict().tag(sync=True, to_json=lambda _, widget: of_script(str(widget._esm)))
