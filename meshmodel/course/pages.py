"""Pages made of the course's data: its first page and the glossary, both beside the chapters.

python -m meshmodel.course.pages notebooks
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from meshmodel import _files
from meshmodel.course import glossary

FIRST = (
    "# The course\n\nIstio's resilience policies on one small mesh, chapter by chapter: predict, run, explain. Start JupyterLab "
    "(`make lab`) and open a chapter; it runs from top to bottom without a cluster. What a guess hides opens when you have made one, "
    "exercises say what is wrong with an answer, and nothing is counted.\n\nThe [glossary](glossary.md) has the words.\n"
)

TWICE = "In JupyterLab the first click on a link opens the chapter, and the second one goes to the place."


class Question(NamedTuple):
    """A question, its short answer, and the chapter and heading under which it is shown."""

    ask: str
    says: str
    chapter: int
    heading: str


@lru_cache(maxsize=1)
def questions() -> tuple[Question, ...]:
    """The questions that people really ask, in the order of the course."""
    read = yaml.safe_load((Path(__file__).parent / "questions.yaml").read_text(encoding="utf-8"))
    return tuple(Question(**entry) for entry in read)


def fragment(heading: str) -> str:
    """What JupyterLab calls a heading in a link: its text with hyphens for blanks, and nothing encoded, or it is not found."""
    return re.sub(r"[`*$]", "", heading).replace(" ", "-")


def first_page(headings: Mapping[str, Sequence[str]]) -> str:
    """The first page; `headings` are those of each chapter by file name, its title first.  A question without its heading is left out."""
    by_number = _by_number(headings)
    lines = [FIRST, "## Chapters", ""]
    lines += [f"- [{told[0]}]({name})" for name, told in sorted(headings.items())]
    lines += ["", "## Questions that people really ask", "", TWICE, "", "| question | in short | where |", "| --- | --- | --- |"]
    for one in questions():
        name = by_number[one.chapter]
        if one.heading in headings[name]:
            lines.append(f"| {one.ask} | {one.says} | [chapter {one.chapter}]({name}#{fragment(one.heading)}) |")
    return "\n".join([*lines, ""])


def _by_number(names: Iterable[str]) -> dict[int, str]:
    """The file of each chapter; of a chapter with an optional part (01b) the first."""
    return {int(name[1]): name for name in sorted(names, reverse=True)}


def headings(folder: Path) -> dict[str, list[str]]:
    """The headings of each chapter, by file name."""
    return {path.name: _headings(path) for path in sorted(folder.glob("0*.ipynb"))}


def _headings(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.findall(r"^#{1,4} (.+?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)


def write(folder: Path) -> None:
    """Both pages into `folder`, where the chapters are."""
    found = headings(folder)
    _files.write(folder / "README.md", first_page(found))
    _files.write(folder / "glossary.md", glossary.page(_by_number(found)))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
