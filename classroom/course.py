"""`make course`: what an instructor hands out, and what stays with the instructor.

    python -m classroom.course OUT [--language ko]

OUT/students    chapters without answers, their originals, reset.py
OUT/solutions   chapters with each exercise's solution below it
OUT/slides      a deck a chapter
OUT/plans       two pages a chapter
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat

from classroom import korean, slides
from meshmodel.teaching import words
from meshmodel.teaching.copies import student_copy

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
ASKED = re.compile(r"""^ask\(["'](\w+)["']""", re.MULTILINE)
CHAPTER = re.compile(r"\bexercises\(([^),]+)")


def make(out: Path, language: str = "en") -> list[str]:
    """The whole kit in `out`; the chapters' names."""
    shutil.rmtree(out, ignore_errors=True)
    for name in ("students/originals", "solutions", "slides", "plans"):
        (out / name).mkdir(parents=True)
    chapters = _chapters(out, language)
    for path in chapters:
        hand_out(path, out / "students")
        nbformat.write(with_solutions(path, language), out / "solutions" / path.name)
        (out / "slides" / f"{path.stem}.html").write_text(slides.deck(path, language), encoding="utf-8")
    _beside(out, chapters[0].with_name("glossary.md"), language)
    return [path.stem for path in chapters]


def _chapters(out: Path, language: str) -> list[Path]:
    if language == "en":
        return sorted((ROOT / "notebooks").glob("*.ipynb"))
    korean.build(out / "chapters", above="../")
    return sorted((out / "chapters").glob("*.ipynb"))


def hand_out(chapter: Path, folder: Path) -> None:
    """The student's copy of a chapter in `folder`, and its original in `folder`/originals."""
    (folder / "originals").mkdir(exist_ok=True)
    student_copy(chapter, folder / "originals" / chapter.name)
    shutil.copy(folder / "originals" / chapter.name, folder / chapter.name)


def with_solutions(chapter: Path, language: str = "en") -> Any:
    """The chapter with the solution of each exercise card in a cell below it."""
    notebook, number, cells = nbformat.read(chapter, as_version=4), None, []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        number = found[1] if (found := CHAPTER.search(cell.source)) else number
        with words.speaking(language):
            cells += [_solution(number, name, cell.id) for name in ASKED.findall(cell.source) if number is not None]
    notebook.cells = cells
    return notebook


def _solution(chapter: str, name: str, below: str) -> Any:
    from meshmodel.course import exercises

    exercise = next(one for one in exercises(chapter.strip("\"' ")) if one.name == name)
    says, _, code = exercise.solution.partition("\n\n")
    text = f"**{words.say('Solution')}.** {words.say(says)}" + (f"\n\n```python\n{code}\n```" if code else "")
    return nbformat.v4.new_markdown_cell(text, id=f"{below[:50]}-solution", metadata={"tags": ["solution"]})


def _beside(out: Path, glossary: Path, language: str) -> None:
    """What stands beside the chapters: the reset, the plans, the glossary and the page on the records that chapters link to."""
    for folder in ("students", "solutions"):
        shutil.copy(glossary, out / folder)
    shutil.copy(HERE / "reset.py", out / "students")
    (out / "students/README.md").write_text(for_people(HERE / "STUDENTS.md", language), encoding="utf-8")
    for plan in sorted((ROOT / "docs/plans").glob("*.md")):
        (out / "plans" / plan.name).write_text(for_people(plan, language), encoding="utf-8")
    (out / "data/tutorial").mkdir(parents=True)
    shutil.copy(ROOT / "data/tutorial/README.md", out / "data/tutorial")


def for_people(path: Path, language: str) -> str:
    """A page for students or instructors in their language."""
    text = path.read_text(encoding="utf-8")
    return korean.translated(text, "plans") if language == "ko" else text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", default="en", choices=["en", "ko"])
    asked = parser.parse_args()
    names = make(asked.out, asked.language)
    print(f"{asked.out}: {len(names)} chapters for students, with solutions, as slides; see docs/plans/README.md")


if __name__ == "__main__":
    main()
