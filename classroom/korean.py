"""The course in Korean: catalogues of the English prose (gettext's .po), and chapters made from both.

    python -m classroom.korean update          # after an English text has changed: notebooks/ko/*.po follow
    python -m classroom.korean build OUT       # Korean chapters in OUT, from the English ones and the catalogues
    python -m classroom.korean status          # what is missing or stale, catalogue by catalogue

One message is one paragraph, one row of a table or one list. Code cells are the English ones, and so is what they print;
tables, cards and the theatre, whose words the package's own catalogue has, are in Korean, as they are in a Korean notebook that
is run (`spoken`), and the pictures are those of such a run (`drawings`). A paragraph whose English has changed is stale: its
old Korean stays in the catalogue, marked `fuzzy`, and the reader gets the English until somebody has read both: true before
translated.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import polib

from classroom import drawings
from meshmodel.teaching import words
from meshmodel.teaching.standalone import MIME, standalone, state_of
from meshmodel.teaching.theatre.widget import Theatre

ROOT = Path(__file__).parents[1]
CATALOGUES = ROOT / "notebooks" / "ko"
ALIKE = 0.6
"""How much of a text must be left (difflib's ratio) for its Korean to be worth keeping as a draft."""

FIRST_CELL = """# 그림과 위젯의 말을 한국어로
from meshmodel.teaching import language

language("ko")"""
"""What a Korean chapter begins with; all other code is the English chapter's."""


class Message(NamedTuple):
    """A paragraph of English and where it stands."""

    text: str
    place: str


# --- paragraphs ------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    """Markdown cut into messages and what lies between them; joined they are the text again.

    A message is a paragraph outside of fences and display maths, or a row of a table.
    """
    parts = re.split(r"(```.*?```|~~~.*?~~~|\$\$.*?\$\$)", text, flags=re.DOTALL)
    return [
        piece
        for k, part in enumerate(parts)
        for piece in ([part] if k % 2 else re.split(r"(\n(?:[ \t]*\n)+|\n(?=\|)|(?<=\|)\n)", part))
        if piece
    ]


def is_message(block: str) -> bool:
    """Is there anything to translate: a letter outside code, links' addresses, maths?"""
    if re.match(r"```|~~~|\$\$", block) or re.fullmatch(r"[\s|:-]*", block):
        return False
    return bool(re.search(r"[A-Za-z]", re.sub(r"`[^`]*`|\]\([^)]*\)|\$[^$]*\$|<[^>]*>", "", block)))


def messages_of_text(text: str, place: str) -> Iterator[Message]:
    """The messages of one Markdown text."""
    return (Message(block, place) for block in blocks(text) if is_message(block))


def messages_of_notebook(path: Path) -> Iterator[Message]:
    """The messages of a chapter's Markdown cells."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            yield from messages_of_text(cell.source, cell.id)


# --- catalogues ------------------------------------------------------------------------------


def sources() -> dict[str, list[Message]]:
    """What each catalogue is made from: the chapters, the pages that only the book has, and those for a classroom."""
    from docs.book import build

    found = {path.stem: list(messages_of_notebook(path)) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    pages = [message for name, text in build.pages().items() for message in messages_of_text(text, name)]
    plans = [*sorted((ROOT / "docs/plans").glob("*.md")), ROOT / "classroom/STUDENTS.md"]
    return found | {"pages": pages, "plans": [m for path in plans for m in messages_of_text(path.read_text(encoding="utf-8"), path.stem)]}


def catalogue(name: str) -> polib.POFile:
    """The catalogue of a chapter; an empty one where there is none yet."""
    path = CATALOGUES / f"{name}.po"
    if path.exists():
        return polib.pofile(str(path), wrapwidth=0)
    empty = polib.POFile(wrapwidth=0)
    empty.metadata = {
        "Language": "ko",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
    }
    return empty


def update(name: str, messages: Iterable[Message]) -> polib.POFile:
    """The catalogue after its English: new messages empty or with a stale draft, gone ones gone, translated ones kept."""
    old = catalogue(name)
    kept = {entry.msgid: entry for entry in old}
    fresh = catalogue(name)
    fresh.clear()
    wanted = {message.text: message.place for message in messages}
    gone = {text: entry for text, entry in kept.items() if text not in wanted and entry.msgstr}
    for text, place in wanted.items():
        entry = kept.get(text) or _draft(text, gone)
        entry.occurrences, entry.obsolete = [(place, "")], False
        fresh.append(entry)
    return fresh


def _draft(text: str, gone: dict[str, polib.POEntry]) -> polib.POEntry:
    """A new entry, with the Korean of the most similar English that is gone as its stale draft."""
    like = difflib.get_close_matches(text, gone, n=1, cutoff=ALIKE)
    if not like:
        return polib.POEntry(msgid=text, msgstr="")
    return polib.POEntry(msgid=text, msgstr=gone[like[0]].msgstr, previous_msgid=like[0], flags=["fuzzy"])


class State(NamedTuple):
    """How far a catalogue is: messages in all, and the English of those without Korean and of those whose Korean is stale."""

    all: int
    missing: list[Message]
    stale: list[Message]


def state(name: str, messages: Iterable[Message]) -> State:
    """The state against the English as it is now, whether or not `update` has run since."""
    messages = list(messages)
    followed = {entry.msgid: entry for entry in update(name, messages)}
    missing = [m for m in messages if not followed[m.text].msgstr]
    return State(len(messages), missing, [m for m in messages if followed[m.text].msgstr and followed[m.text].fuzzy])


def told(states: dict[str, State]) -> str:
    """A line a catalogue, then a line for each stale message."""
    lines = [f"{name:24} {s.all:4} messages, {len(s.missing):4} not yet in Korean, {len(s.stale):4} stale" for name, s in states.items()]
    stale = [f"stale: {name} {m.place}: {m.text[:70]!r}" for name, s in states.items() for m in s.stale]
    return "\n".join(lines + stale)


# --- what is built ---------------------------------------------------------------------------


def translated(text: str, name: str) -> str:
    """A Markdown text in Korean; paragraphs without fresh Korean stay English.

    A link to a heading of a chapter leads to the chapter: its headings have other names here.
    """
    known = {entry.msgid: _units_kept(entry.msgstr) for entry in catalogue(name) if entry.msgstr and not entry.fuzzy}
    return re.sub(r"(\]\([\w.-]+\.ipynb)#[^)\s]*", r"\1", "".join(known.get(block, block) for block in blocks(text)))


def _units_kept(text: str) -> str:
    """With no line's end between a number and its unit (outside code and maths): Korean writes its particle right behind."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    return "".join(
        part if k % 2 else re.sub(r"(?<=\d) (?=(?:ms|MB|GB)(?![A-Za-z]))", "\N{NO-BREAK SPACE}", part) for k, part in enumerate(parts)
    )


def chapter(path: Path, drawn: Any = None, above: str = "../../") -> Any:
    """The chapter at `path` in Korean: its prose from the catalogue, its code as it is, its outputs `spoken`.

    Its pictures are those of `drawn`, the same chapter after a run in Korean; without one they are the English ones.  `above` is
    where its links find what lies above notebooks/.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            spoken(output)
        if cell.cell_type == "markdown":
            cell.source = translated(cell.source, path.stem)
            cell.source = cell.source.replace("](../", f"]({above}")
    if drawn is not None:
        drawings.redraw(notebook, drawn)
    first = nbformat.v4.new_code_cell(FIRST_CELL, id="korean", metadata={"tags": ["korean"], "jupyter": {"source_hidden": True}})
    notebook.cells.insert(1, first)
    notebook.metadata["language"] = "ko"
    return notebook


def spoken(output: Any) -> None:
    """Puts what the package says in an output into Korean: tables, cards, the theatre's state.

    What a cell prints by itself stays, as its code says it; so do pictures, each with the text that stands for it.
    """
    data = output.get("data", {})
    with words.speaking("ko"):
        if "text/html" in data:
            data["text/html"] = words.spoken_html(data["text/html"])
        if MIME in data:
            state = state_of(data)
            told = Theatre(spec=state["spec"], data=state["data"], version=state["version"])
            data.update(standalone(told))


def build(out: Path, above: str = "../../") -> None:
    """All chapters in Korean, into `out`, and the pages beside them; `above`: from there to what lies above notebooks/."""
    from docs.book.build import BESIDE, pages

    out.mkdir(parents=True, exist_ok=True)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path, drawn in zip(paths, drawings.runs(paths), strict=True):
        (out / path.name).write_text(nbformat.writes(chapter(path, drawn, above)).rstrip("\n") + "\n", encoding="utf-8")
    for name, file in BESIDE.items():
        (out / file).write_text(translated(pages()[name], "pages"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["update", "build", "status"])
    parser.add_argument("out", type=Path, nargs="?", default=CATALOGUES)
    asked = parser.parse_args()
    if asked.what == "update":
        for name, messages in sources().items():
            update(name, messages).save(str(CATALOGUES / f"{name}.po"))
    if asked.what == "build":
        build(asked.out)
    print(told({name: state(name, messages) for name, messages in sources().items()}))


if __name__ == "__main__":
    main()
