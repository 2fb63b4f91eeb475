"""The language of figures and widgets: English where nothing is known, numbers always as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import polib
import pytest

from meshmodel.teaching import language, plots, words
from meshmodel.teaching.theatre.widget import module
from tests.translation import changed


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    language("en")


def test_english_is_spoken_until_asked() -> None:
    assert words.say("latency (s)") == "latency (s)" and words.fonts() == []
    language("ko")
    assert words.say("latency (s)") == "지연 시간 (s)"


def test_the_environment_chooses_for_who_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    words._chosen.clear()
    monkeypatch.setenv("MESHMODEL_LANGUAGE", "ko")
    assert words.current() == "ko"
    monkeypatch.setenv("MESHMODEL_LANGUAGE", "tlh")
    assert words.current() == "en"


def test_a_language_that_is_spoken_for_a_while_ends_with_it_whatever_happens() -> None:
    with pytest.raises(ZeroDivisionError), words.speaking("ko"):
        raise ZeroDivisionError(words.say("seed"))
    assert words.current() == "en"


def test_what_stood_in_the_holes_is_kept() -> None:
    language("ko")
    said = words.say("Timeline of the first 2.5 s of replication 7: a, 3 requests; b: 4")
    assert said == "7번 반복 실행의 처음 2.5초 타임라인: a, 요청 3개; b: 4"
    assert words.say("nobody has ever said this") == "nobody has ever said this"
    assert words.say("timeout\nnobody\nseed") == "타임아웃\nnobody\n시드"


def test_a_hole_holds_no_more_than_a_part_of_a_sentence() -> None:
    language("ko")
    assert words.say("3 % are refused; 5 connections") == "거절 3%; 커넥션 5개"
    assert words.say("Locked. You guessed: fewer") == "확정되었습니다. 내 예측: 더 적음"
    assert words.say("nobody knows. seed\ntimeout") == "nobody knows. 시드\n타임아웃"


def test_a_message_for_numbers_is_found_anywhere_and_for_nothing_else() -> None:
    language("ko")
    assert words.say("p99 1.06 (1.04 to 1.07, recorded 1.1)") == "p99 1.06 (1.04 ~ 1.07, 기록 1.1)"
    assert words.say("nothing to see") == "nothing to see"
    assert words.say("in 0.5 s 66 % say so") == "in 0.5초 66% say so"  # and no beginning of a word is its unit


def test_the_lists_of_an_alternative_text_are_said_item_by_item() -> None:
    language("ko")
    listed = "nobody knows: by hand 1342, no limit 5.44 (formula 6); labels, Istio 1.17: mean 0.15 s, rule on"
    assert words.told(listed) == "nobody knows: 손으로 1342, 한도 없음 5.44 (공식 6); 레이블, Istio 1.17: 평균 0.15초, 규칙 켜짐"
    assert words.say("simple-web, timeout: must be a number") == "simple-web, timeout: must be a number"  # an error is no list


def test_a_message_is_known_by_its_beginning_before_one_that_begins_with_a_hole() -> None:
    language("ko")
    assert words.say("Map of the calls of a: b in c, priority 0 5 %, 1 % fail") == "a의 호출 지도: c의 b, 우선순위 0, 5%, 1% 실패"


def test_what_cannot_be_taken_apart_again_is_filled() -> None:
    assert words.fill("{} {} (there {})", "pods that always fail", "50 %", "0 %") == "pods that always fail 50 % (there 0 %)"
    language("ko")
    assert words.fill("{} {} (there {})", "pods that always fail", "50 %", "0 %") == "항상 실패하는 파드 50% (튜토리얼은 0%)"
    assert words.fill("Not yet: {}.", "the factors multiply; they do not add") == "아직입니다: 배수는 더해지지 않고 곱해집니다."


def test_html_is_spoken_but_for_what_stands_letter_by_letter() -> None:
    page = "<b>Erlang&#x27;s formula</b> <td>\n seed </td><pre>seed</pre>"
    assert words.spoken_html(page) is page
    language("ko")
    assert words.spoken_html(page) == "<b>얼랑의 공식</b> <td>\n 시드 </td><pre>seed</pre>"
    drawn = '<svg aria-label="{}"></svg>'
    english = "Traffic map: load → checkout; a&amp;b 32.6% of the answers (0.0% errors); a proxy itself 2.5% of the answers"
    korean = "트래픽 지도: 부하 → checkout; a&amp;b 응답의 32.6% (오류 0.0%); 프록시 자신 응답의 2.5%"
    assert words.spoken_html(drawn.format(english)) == drawn.format(korean)
    assert words.spoken_html('<pre style="a">seed</pre><p>seed</p>') == '<pre style="a">seed</pre><p>시드</p>'


def test_code_within_a_text_is_code_in_its_translation() -> None:
    language("ko")
    page = "<p>Which share of the customers of <code>simple-web</code> is there?</p><p><code>a</code> &amp; b</p>"
    assert words.spoken_html(page) == page
    asked = "Which code does the customer of <code>simple-web</code> see for a refused call?"
    assert words.spoken_html(f"<p>{asked}</p>") == "<p>거절된 호출에 대해 <code>simple-web</code>의 고객은 어떤 코드를 볼까요?</p>"


def test_in_korean_its_letters_and_capitals_are_half_as_wide_again() -> None:
    assert words.lines("one two three", 8) == ["one two", "three"]
    assert words.lines("하나 둘 셋 넷", 8) == ["하나 둘", "셋 넷"] and words.lines("하나 둘 셋 넷", 6) == ["하나 둘", "셋 넷"]
    assert words.lines("pod 하나", 8) == ["pod 하나"] and words.lines("RANDOM 하나", 9) == ["RANDOM", "하나"]


def test_another_language_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="language: must be one of en, ko, got 'tlh'"):
        language("tlh")


def test_a_figure_speaks_the_readers_language() -> None:
    language("ko")
    picture = plots.Picture(figsize=(3, 2))
    axes = picture.subplots()
    axes.set(xlabel="latency (s)", title="LEAST_REQUEST")
    axes.set_yticks([0, 1], ["the load", "a name"])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x} %")  # whoever makes labels as it draws is left to it
    picture.alt_text = "Percentile curve. p50 0.19, no limit 5"
    png = picture.png()
    assert axes.get_xlabel() == ("지연 시간 (s)" if words.fonts() else "latency (s)")  # a machine may have no font for it
    assert axes.get_title() == "LEAST_REQUEST"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["부하" if words.fonts() else "the load", "a name"]
    assert picture.alt_text == "백분위수 곡선. p50 0.19, 한도 없음 5" and png[:4] == b"\x89PNG"


def test_a_widgets_values_stay_while_its_words_change() -> None:
    state = {
        "title": "policy",
        "values": {"policy": "policy"},
        "table": "<th>model</th><td>1.5</td>",
        "controls": [{"label": "seed", "name": "seed"}],
    }
    assert words.spoken(state) is state
    language("ko")
    said = words.spoken(state)
    assert said["title"] == "정책" and said["values"] == {"policy": "policy"} and said["controls"] == [{"label": "시드", "name": "seed"}]
    assert said["table"] == "<th>모델</th><td>1.5</td>"


def test_every_text_under_a_name_for_words_is_said_however_deep() -> None:
    language("ko")
    state = {"rows": [["checkout", "duration", "60 s"]], "watch": [[1.5, "seed"], [None, "timeout"]], "names": ["seed"]}
    said = words.spoken(state, words.SPOKEN | {"rows", "watch"})
    assert said == {"rows": [["checkout", "지속 시간", "60초"]], "watch": [[1.5, "시드"], [None, "타임아웃"]], "names": ["seed"]}


# --- widgets' scripts --------------------------------------------------------------------------

SCRIPTS = {path.name: path for path in Path(words.__file__).parent.rglob("*.js") if "tr(" in path.read_text(encoding="utf-8")}


def test_a_script_gets_the_words_that_it_marks_and_no_others() -> None:
    script = 'say(tr("seed"), tr("{} to {} of the {} that it took.", 1), tr("never said before"), str("timeout"))'
    assert words.marked(script) == ["seed", "{} to {} of the {} that it took.", "never said before"]
    assert words.of_script(script) == {}
    language("ko")
    assert words.of_script(script) == {"seed": "시드", "{} to {} of the {} that it took.": "전체 {2} 가운데 {0}부터 {1}까지."}


def test_what_a_script_alone_says_is_not_looked_for_in_figures() -> None:
    language("ko")
    assert words.of_script('tr("{} sent")') == {"{} sent": "전송 {}"}
    assert words.say("requests sent") == "requests sent"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_marks_its_words_as_literals(name: str) -> None:
    script = SCRIPTS[name].read_text(encoding="utf-8")
    assert len(re.findall(r"(?<!function )\btr\(", script)) == len(re.findall(r'\btr\("', script))


@pytest.mark.parametrize("path", sorted(words.LOCALE.glob("*.po")), ids=lambda path: path.stem)
def test_a_catalogue_has_every_word_of_every_script(path: Path) -> None:
    language(path.stem)
    for name, script in SCRIPTS.items():
        marked = words.marked(script.read_text(encoding="utf-8"))
        assert marked == [*words.of_script(script.read_text(encoding="utf-8"))], name
    assert words.of_script(module())


@pytest.mark.parametrize("path", sorted(words.LOCALE.glob("*.po")), ids=lambda path: path.stem)
def test_a_catalogue_is_whole(path: Path) -> None:
    """Nothing stale or empty; holes, numbers and code are those of the English."""
    for entry in polib.pofile(str(path)):
        assert entry.msgstr and not entry.fuzzy and not entry.obsolete, entry.msgid
        assert len(re.findall(r"\{\d*\}", entry.msgid)) == len(re.findall(r"\{\d*\}", entry.msgstr)), entry.msgid
        assert changed(*(re.sub(r"\{\d*\}", "", text) for text in (entry.msgid, entry.msgstr))) == [], entry.msgid


# --- the theatre of the chapters -----------------------------------------------------------------


def theatres() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and "theatre(" in cell.source:
                tree = ast.parse(cell.source)
                yield from (
                    (path.stem, call) for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == "theatre"
                )


def test_what_chapters_call_their_theatres_is_in_the_catalogue() -> None:
    language("ko")
    found = 0
    for chapter, call in theatres():
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg in ("title", "names")}
        for text in [given["title"], *given.get("names", ())]:
            found += 1
            assert re.search("[가-힣]", words.say(text, "theatre")) or re.fullmatch(r"[A-Z_]+|\w+: \d+", text), f"{chapter}: {text}"
    assert found > 10
