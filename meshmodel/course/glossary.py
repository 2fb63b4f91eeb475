"""The course's words, and the page that is made of them (`pages.py` writes it)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml


class Word(NamedTuple):
    """A word of the course: what it means here, the chapter that first needs it, and its Korean."""

    term: str
    means: str
    chapter: int
    ko: str

    @property
    def anchor(self) -> str:
        """Of its heading on the page, as GitHub, the book and JupyterLab's preview make it of lower-case words."""
        return "".join(c for c in self.term.lower().replace(" ", "-") if c.isalnum() or c in "-_")


@lru_cache(maxsize=1)
def words() -> tuple[Word, ...]:
    """All words, in alphabetical order."""
    read = yaml.safe_load((Path(__file__).parent / "glossary.yaml").read_text(encoding="utf-8"))
    return tuple(sorted((Word(**entry) for entry in read), key=lambda word: word.term.casefold()))


def link(text: str, term: str, page: str = "glossary.md") -> str:
    """`text` as a Markdown link to its word, whose meaning is shown to who points at it.  Raises KeyError."""
    word = {word.term: word for word in words()}[term]
    means = word.means.replace('"', "'")
    return f'[{text}]({page}#{word.anchor} "{means}")'


def page(chapters: dict[int, str]) -> str:
    """The glossary as Markdown; `chapters` are the files of the chapters, by number."""
    lines = ["# Glossary", "", "What the course's words mean here, each with the chapter that first needs it.", ""]
    for word in words():
        where = f"[chapter {word.chapter}]({chapters[word.chapter]})"
        lines += [f"## {word.term}", "", f"{word.means} ({where}; {word.ko})", ""]
    return "\n".join(lines)
