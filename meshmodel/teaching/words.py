"""The language of figures' words and widgets' labels: English, or what a catalogue in locale/ says.

Drawing code is written in English and knows nothing of this.  A `Picture` asks for its words when it is drawn, a widget
when its state goes to the browser; what a widget's script says by itself stands in it as `tr("...")` (words.js), and goes
along as one trait (`of_script`).  A message of the catalogue with {} in it stands for any text there: "Answers over {} s" is found in
"Answers over 60 s", and what stood in the holes is put, in the same order or by its number, into the translation.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
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


def current() -> str:
    """The language chosen, else that of MESHMODEL_LANGUAGE, else English."""
    asked = _chosen[0] if _chosen else os.environ.get("MESHMODEL_LANGUAGE", "en")
    return asked if asked in available() else "en"


def available() -> list[str]:
    """The languages besides English."""
    return sorted(path.stem for path in LOCALE.glob("*.po"))


def say(text: str) -> str:
    """`text` in the current language; as it is where the catalogue has nothing for it.  Several lines are looked up line by line too."""
    if current() == "en" or not text.strip():
        return text
    found = _lookup(text, current())
    if found is None and "\n" in text:
        return "\n".join(map(say, text.split("\n")))
    return text if found is None else found


def _lookup(text: str, name: str) -> str | None:
    exact, patterns = _catalogue(name)
    if text in exact:
        return exact[text]
    for pattern, wanted in patterns:
        if found := pattern.fullmatch(text):
            return wanted.format(*map(say, found.groups()))
    return None


@cache
def _catalogue(name: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Messages without holes, and those with; of these the longest first, which say most."""
    entries = [(entry.msgid, entry.msgstr) for entry in _entries(name) if entry.msgctxt != SCRIPT]
    holes = sorted(((english, other) for english, other in entries if "{" in english), key=lambda pair: -len(pair[0]))
    return dict(pair for pair in entries if pair not in holes), [(_pattern(english), other) for english, other in holes]


@cache
def _entries(name: str) -> list[Any]:
    import polib  # only who does not read English needs it

    return polib.pofile(str(LOCALE / f"{name}.po")).translated_entries()


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, re.split(r"\{\d*\}", english))), re.DOTALL)


def translate_figure(figure: Any) -> None:
    """Put every text of a matplotlib figure into the current language, once; without a font for it they stay English."""
    families = fonts()
    if not families:
        return
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(say(text.get_text()))
        text.set_fontfamily(families)


def fonts() -> list[str]:
    """Font families, each for the letters that those before it lack; none: matplotlib's own will do, or none is found."""
    if current() == "en":
        return []
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    found = [name for name in FONTS if name in known][:1]
    return ["DejaVu Sans", *found] if found else []


SPOKEN = frozenset({"title", "label", "alt", "status", "differs", "alert", "caption", "says", "unit"})
"""The names under which a widget's state holds words for its reader."""


def spoken(state: Any, names: frozenset[str] = SPOKEN) -> Any:
    """A widget's state as its browser is to get it: every text under one of `names` in the current language, values as they are."""
    if current() == "en":
        return state
    if isinstance(state, list):
        return [spoken(item, names) for item in state]
    if not isinstance(state, dict):
        return state
    said = {name: _said(value) if name in names else spoken(value, names) for name, value in state.items()}
    if isinstance(table := said.get("table"), str):
        said["table"] = re.sub(r">([^<]+)<", lambda found: f">{say(found[1])}<", table)
    return said


def _said(value: Any) -> Any:
    """A text, or all texts of nested lists, in the current language."""
    if isinstance(value, list):
        return [_said(item) for item in value]
    return say(value) if isinstance(value, str) else value


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
    known = {entry.msgid: entry.msgstr for entry in sorted(_entries(current()), key=lambda entry: entry.msgctxt == SCRIPT)}
    return {english: known[english] for english in marked(script) if english in known}


def script_words() -> traitlets.Dict:
    """The trait that carries the words of a widget's own script (`_esm`) to it."""
    return traitlets.Dict().tag(sync=True, to_json=lambda _, widget: of_script(str(widget._esm)))
