"""Slides: a deck a chapter, one HTML file that asks no other host, made from the chapter itself.

What a slide is: the chapter's title with its objectives; each section with its first paragraph; each question (*Predict first*, a
guess); each figure or widget.  A cell tagged `slide` is one too, whatever it holds, and one tagged `no-slide` is none.
Arrow keys, space, Page keys, a swipe or the buttons turn pages; the address holds the page; printing gives one page a slide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbconvert.filters import markdown2html

from docs.book import build, chapters
from meshmodel.teaching import words

HERE = Path(__file__).parent
PREDICT = re.compile(r"\*\*Predict first\.?\*\*.*", re.DOTALL)


BUTTONS = {
    "en": {"slides": "slides", "back": "back", "on": "on"},
    "ko": {"slides": "슬라이드", "back": "이전", "on": "다음"},
}
"""What a deck's buttons are called."""


def deck(source: Path, language: str = "en") -> str:
    """The chapter `source` as a deck: one HTML page."""
    with TemporaryDirectory() as folder:
        classes = chapters.write(source, Path(folder) / source.name, language)
        cells = nbformat.read(Path(folder) / source.name, as_version=4).cells
    with words.speaking(language):
        body = "\n".join(_sections(list(pages(cells))))
    title = re.sub(r"^# ", "", cells[0].source.splitlines()[0])
    parts = BUTTONS[language] | {
        "lang": language,
        "title": escape(title),
        "style": (HERE / "slides.css").read_text(encoding="utf-8"),
        "body": body,
        "scripts": "".join(f"<script>{_inline(text)}</script>" for text in _scripts(classes)),
    }
    page = (HERE / "slides.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text)
    return page


def _sections(slides: list[str]) -> Iterator[str]:
    for number, page in enumerate(slides, 1):
        yield f'<section id="s{number}" aria-label="{words.say(f"{number} of {len(slides)}")}">{page}</section>'


def _scripts(classes: set[str]) -> list[str]:
    static = Path(chapters.__file__).parent / "static"
    widgets = [chapters.widget_classes(classes), (static / "widgets.js").read_text(encoding="utf-8")] if classes else []
    return [*widgets, (HERE / "slides.js").read_text(encoding="utf-8"), build.mathjax().read_text(encoding="utf-8")]


def _inline(text: str) -> str:
    """A script that stands in a page: nothing in it may look like the script's end."""
    return text.replace("</script", "<\\/script")


def pages(cells: list[Any]) -> Iterator[str]:
    """The slides of a chapter, as HTML, in order."""
    heading = ""
    for number, cell in enumerate(cells):
        tags = cell.metadata.get("tags", [])
        if "no-slide" in tags or "hide-cell" in tags:
            continue
        if cell.cell_type == "markdown":
            if number == 0:
                yield from map(_html, re.split(r"\n\n(?=\*\*)", cell.source)[:2])
                continue
            for part in re.split(r"\n(?=#{2,3} )", cell.source):
                if found := re.match(r"#{2,3} (.*)", part):
                    heading = found[1]
                    if heading.startswith(("Exercises", "On your own", "What you did", "연습 문제", "지금까지 한 일", "더 해 보기")):
                        return
                    yield _html(f"## {heading}\n\n{_first_paragraph(part)}")
                if question := PREDICT.search(part):
                    yield _html(f"## {heading}\n\n{question[0]}", "question")
        elif shown := [_picture(output) for output in cell.outputs if _picture(output)]:
            yield f"<h3>{_inline_html(heading)}</h3>{''.join(shown)}"
        elif question := _guess(cell):
            yield f'<div class="question"><h3>{_inline_html(heading)}</h3><p class="big">{_inline_html(words.say(question))}</p></div>'
        elif "slide" in tags:
            yield f"<h3>{_inline_html(heading)}</h3><pre>{escape(cell.source)}</pre>" + "".join(map(_text, cell.outputs))


def _first_paragraph(part: str) -> str:
    paragraphs = [block for block in part.split("\n\n")[1:] if block.strip() and not PREDICT.match(block)]
    return "" if not paragraphs or paragraphs[0].startswith(("|", "```", "#")) else paragraphs[0]


def _picture(output: Any) -> str:
    page = output.get("data", {}).get("text/html", "")
    return page if "<img" in page or "mm-widget" in page else ""


def _guess(cell: Any) -> str:
    """The question of a guess (a card), as its text says it."""
    texts = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return next((text.removeprefix("Predict first: ") for text in texts if text.startswith("Predict first: ")), "")


def _text(output: Any) -> str:
    return f"<pre>{escape(output.get('text') or output.get('data', {}).get('text/plain', ''))}</pre>"


def _html(markdown: str, kind: str = "") -> str:
    page = markdown2html(markdown)
    return f'<div class="{kind}">{page}</div>' if kind else page


def _inline_html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
