"""The pictures of a Korean chapter: taken from its run in Korean, and nothing but they; run again only where something changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
import pytest

from classroom import drawings
from meshmodel.teaching import words


def chapter(alt: str, png: str, rows: str = "<td>1 to 2</td>", outputs: int = 2) -> Any:
    """A cell that prints and then draws."""
    told = {"text/plain": alt, "text/html": f'<img alt="{alt}"><table>{rows}</table>', "image/png": png}
    printed = nbformat.v4.new_output("stream", text=alt)
    drawn = nbformat.v4.new_output("display_data", told, metadata={"image/png": {"alt": alt}})
    page = nbformat.v4.new_output("display_data", {"text/html": alt, "text/plain": alt})
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(alt),
            nbformat.v4.new_code_cell("draw", outputs=[printed, drawn][:outputs]),
            nbformat.v4.new_code_cell("say", outputs=[page]),
        ]
    )


def test_the_picture_its_page_and_its_text_are_taken_and_nothing_else() -> None:
    notebook, korean = chapter("a rise", "one"), chapter("상승", "two", "<td>1 ~ 2</td>")
    before = copy.deepcopy(notebook)
    drawings.redraw(notebook, korean)
    assert notebook.cells[1].outputs[1] == korean.cells[1].outputs[1]
    notebook.cells[1].outputs[1] = before.cells[1].outputs[1]
    assert notebook == before


@pytest.mark.parametrize(
    "other",
    [chapter("상승", "two", "<td>1 ~ 3</td>"), chapter("상승", "two", "<td>1</td><td>2</td>"), chapter("상승", "two", outputs=1)],
    ids=["another number", "another table", "no picture"],
)
def test_a_run_that_tells_something_else_is_refused(other: Any) -> None:
    with pytest.raises(ValueError, match="cell .*: its figures, run in Korean, do not tell what is stored"):
        drawings.redraw(chapter("a rise", "one"), other)


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A chapter, and the languages in which it has been run."""
    path, seen = tmp_path / "one.ipynb", list[str]()
    nbformat.write(chapter("a rise", "one"), path)

    def run(path: Path, language: str) -> Any:
        seen.append(language)
        return nbformat.read(path, as_version=4)

    monkeypatch.setattr(drawings, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(drawings, "run", run)
    monkeypatch.setattr(words, "fonts", lambda: ["a font"])
    return path, seen


def test_a_chapter_is_run_once_until_its_code_changes_and_old_runs_go(one: tuple[Path, list[str]]) -> None:
    path, seen = one
    (first,), (again,) = drawings.runs([path]), drawings.runs([path])
    assert first == again and seen == ["ko"]
    nbformat.write(chapter("another text", "another picture"), path)
    assert drawings.runs([path]) == [first] and seen == ["ko"]  # prose and stored outputs draw nothing
    changed = nbformat.read(path, as_version=4)
    changed.cells[1].source = "draw again"
    nbformat.write(changed, path)
    drawings.runs([path])
    assert seen == ["ko", "ko"] and len([*drawings.KEPT.iterdir()]) == 1


def test_without_a_font_the_pictures_stay_english_and_a_line_says_why(
    one: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(words, "fonts", list)
    assert drawings.runs([one[0]]) == [None] and one[1] == []
    assert capsys.readouterr().out.startswith("no font with Korean letters is installed (Noto Sans CJK KR, ")
