"""The Korean chapters: their code is the English one's, their numbers and names too, and what is stale is told, not hidden."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import polib
import pytest

from classroom import korean
from meshmodel.teaching import words
from meshmodel.teaching.standalone import MIME, state_of
from tests.translation import changed

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ENGLISH = (
    "# A title\n\nTwo words of `code` and 3.5 s.\n\n```\nnot a word\n```\n\n| a name | 1 |\n| --- | --- |\n| another | 2 |\n\n$$x = 1$$"
)
CATALOGUES = sorted(korean.CATALOGUES.glob("*.po"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(korean, "CATALOGUES", tmp_path)
    return tmp_path


def messages(text: str) -> list[korean.Message]:
    return list(korean.messages_of_text(text, "cell"))


def translate(name: str, text: str, **wanted: str) -> None:
    found = korean.update(name, messages(text))
    for entry in found:
        entry.msgstr = wanted.get(entry.msgid, entry.msgstr) or f"한국어 {entry.msgid}"
    found.save(str(korean.CATALOGUES / f"{name}.po"))


def test_a_text_is_cut_into_messages_and_is_whole_again() -> None:
    assert "".join(korean.blocks(ENGLISH)) == ENGLISH
    assert [m.text for m in messages(ENGLISH)] == ["# A title", "Two words of `code` and 3.5 s.", "| a name | 1 |", "| another | 2 |"]


def test_what_is_translated_is_shown_and_the_rest_stays(elsewhere: Path) -> None:
    translate("one", "# A title")
    assert korean.translated(ENGLISH, "one") == ENGLISH.replace("# A title", "한국어 # A title")


def test_no_line_ends_between_a_number_and_its_unit(elsewhere: Path) -> None:
    text = "It takes 25 ms, `5 ms` and $3 ms$."
    translate("one", text, **{text: "25 ms이고 `5 ms`와 $3 ms$입니다."})
    assert korean.translated(text, "one") == "25\N{NO-BREAK SPACE}ms이고 `5 ms`와 $3 ms$입니다."


def test_an_english_text_that_changes_marks_its_korean_as_stale(elsewhere: Path) -> None:
    before = "It takes half a second, and no more than that."
    translate("one", before)
    after = before.replace("half a second", "a second")
    state = korean.state("one", messages(after))
    assert [m.text for m in state.stale] == [after] and state.missing == []
    assert "stale: one cell: 'It takes a second" in korean.told({"one": state})
    korean.update("one", messages(after)).save(str(elsewhere / "one.po"))
    entry = polib.pofile(str(elsewhere / "one.po"))[0]
    assert entry.fuzzy and entry.previous_msgid == before and entry.msgstr == f"한국어 {before}"
    assert korean.translated(after, "one") == after  # true before translated


def test_a_text_that_is_gone_is_gone_and_a_new_one_is_missing(elsewhere: Path) -> None:
    translate("one", "An old paragraph about pods.")
    state = korean.state("one", messages("Quite another thing, with other words in it: zones."))
    assert (state.all, len(state.missing), state.stale) == (1, 1, [])


def told(output: Any) -> tuple[Any, ...]:
    """What an output has but for the words of its HTML and of its theatre: text, pictures, and the numbers of its tables' cells."""
    data = {kind: value for kind, value in output.get("data", {}).items() if kind not in ("text/html", MIME)}
    cells = re.findall(r"<td>(?:<span[^>]*>)?([-\d.,]+)<", output.get("data", {}).get("text/html", ""))
    return output.output_type, output.get("text"), data, cells


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_code_is_the_english_one_and_so_are_numbers_pictures_and_what_cells_print(path: Path) -> None:
    english, other = nbformat.read(path, as_version=4).cells, korean.chapter(path).cells
    assert "korean" in other.pop(1).metadata.tags and len(english) == len(other)
    for one, two in zip(english, other, strict=True):
        if one.cell_type == "code":
            assert one.source == two.source
            assert list(map(told, one.outputs)) == list(map(told, two.outputs))


def test_what_the_package_says_in_an_output_is_korean_and_the_language_is_left_as_it_was() -> None:
    cells = korean.chapter(CHAPTERS[1]).cells
    pages = "".join(output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", []))
    assert "<summary>그림의 숫자</summary>" in pages and "<summary>The figure" not in pages and ">먼저 예측해 보세요<" in pages
    assert "먼저 예측하고 나서 열어 보세요: <code>ROUND_ROBIN</code>으로 60초" in pages and words.current() == "en"
    theatres = [state_of(output.data) for cell in cells for output in cell.get("outputs", []) if MIME in output.get("data", {})]
    assert theatres and all(re.search("[가-힣]", json.dumps(state["spec"], ensure_ascii=False)) and state["words"] for state in theatres)


@pytest.mark.parametrize(
    ("english", "korean", "wrong"),
    [
        ("sixty seconds, a third, 0.5 s", "60초, 3분의 1, 0.5초", []),
        ("sixty seconds", "육십 초", []),
        ("sixty seconds", "50초", ["50"]),
        ("in 60 s", "6초", ["6", "60"]),
        ("half of `code`, $x$", "0.5, 0.5 `cod`", ["$x$", "0.5", "`cod`", "`code`"]),
    ],
)
def test_a_number_that_english_spells_may_be_digits(english: str, korean: str, wrong: list[str]) -> None:
    assert changed(english, korean) == wrong


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_the_korean_has_the_code_links_and_numbers_of_the_english(path: Path) -> None:
    entries = polib.pofile(str(path)).translated_entries()
    assert {entry.msgid[:80]: wrong for entry in entries if (wrong := changed(entry.msgid, entry.msgstr))} == {}


INSTEAD = {
    "호출하는 쪽": "호출자",
    "호출한 쪽": "호출자",
    "재설정": "리셋",
    "복원력": "복원성",
    "패닉 모드": "패닉",
    "복제 실행": "반복 실행",
    "지역성": "지역",
    "마감 시각": "데드라인",
    "모의 실행": "재현",
    "낱말": "단어",
    "애너테이션": "어노테이션",
    "연결 거부": "커넥션 거부",
}
"""Second words that the course had for one thing, and the one that it has."""


@pytest.mark.parametrize("path", [*CATALOGUES, *words.LOCALE.glob("*.po")], ids=lambda path: path.stem)
def test_one_thing_has_one_word(path: Path) -> None:
    entries = polib.pofile(str(path)).translated_entries()
    assert [f"{old} → {new}: {entry.msgstr[:60]}" for entry in entries for old, new in INSTEAD.items() if old in entry.msgstr] == []


def test_the_pages_call_a_chapter_by_its_title() -> None:
    catalogues = {path.stem: polib.pofile(str(path)).translated_entries() for path in CATALOGUES}
    pages = catalogues.pop("pages")
    titles = {entry.msgid[2:]: entry.msgstr[2:] for entries in catalogues.values() for entry in entries if entry.msgid.startswith("# ")}
    named = [(title, page) for title in titles for page in pages if f"[{title}](" in page.msgid]
    assert named and [titles[title] for title, page in named if f"[{titles[title]}](" not in page.msgstr] == []


def test_what_is_stale_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A stale paragraph fails nothing, since who mends the English need not know Korean; it is named at every run."""
    found = korean.told({name: korean.state(name, told) for name, told in korean.sources().items()})
    with capsys.disabled():
        print(f"\nthe Korean course:\n{found}")
