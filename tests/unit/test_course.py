"""The course's content: every exercise can be done, knows its mistakes, and stands in its chapter without its answer."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from meshmodel import Mesh
from meshmodel.course import TITLES, exercises, glossary, pages
from meshmodel.teaching import typed
from meshmodel.teaching.cards.card import ALONE
from meshmodel.teaching.exercises import Exercise, ExerciseError
from tests.notebooks.reading import read

FOLDER = Path(__file__).parents[2] / "notebooks"
CHAPTERS = [chapter for chapter in TITLES if (Path(exercises.__code__.co_filename).parent / f"chapter{chapter}.py").exists()]
CONVERTED = CHAPTERS
EXERCISES = [pytest.param(chapter, one.name, id=f"{chapter}-{one.name}") for chapter in CHAPTERS for one in exercises(chapter)]

POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: orders-{version}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: orders, version: {version}}}}}
  template:
    metadata: {{labels: {{app: orders, version: {version}}}}}
    spec:
      containers:
      - name: orders
        image: nicholasjackson/fake-service
        ports: [{{containerPort: 8080}}]
        env: [{{name: TIMING_50_PERCENTILE, value: {p50}}}, {{name: TIMING_90_PERCENTILE, value: {p90}}}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: orders}
spec: {selector: {app: orders}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


def own_mesh(slowest: str) -> Mesh:
    fast = POD.format(version="v1", replicas=2, p50="80ms", p90="80ms")
    return Mesh(istio="1.24").apply(fast, POD.format(version="v2", replicas=1, p50="60ms", p90=slowest), SERVICE)


def given() -> dict[str, Any]:
    """What chapter 6 hands to its exercises."""
    better, load = own_mesh("400ms"), {"connections": 4, "qps": 40, "duration": "30s"}
    record = better.fortio_load(**load, replications=1, seed=11).histogram(0)
    return {"mesh": better, "better": better, "worse": own_mesh("900ms"), "load": load, "record": record}


def the(chapter: str, name: str) -> Exercise:
    one = next(one for one in exercises(chapter) if one.name == name)
    return one.given(**given()) if chapter == "6" else one


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_an_exercise_can_be_done_and_knows_its_mistakes(chapter: str, name: str) -> None:
    one = the(chapter, name)
    assert one.objective and one.minutes and one.hints and one.mistakes and one.solution
    assert one.judge(one.expected).right
    typed_by_hand = one.choices or not isinstance(one.expected, bool | str)
    assert one.holds(one.read(typed.readable(one.expected))) or not typed_by_hand or one.tolerance < 1e-4
    for mistake in one.mistakes:
        wrong = mistake.answer() if callable(mistake.answer) else mistake.answer
        assert one.judge(wrong).says == f"not yet: {mistake.says}", wrong
    assert re.search(r"\n\n\S", one.solution), "no code in its solution"


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_a_solution_runs_by_itself(chapter: str, name: str) -> None:
    """Pasted into a cell below its exercise it gives the answer: its imports and helpers stand in it."""
    code = next(one for one in exercises(chapter) if one.name == name).solution.partition("\n\n")[2]
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    names = given() if chapter == "6" else {}
    exec(compile(ast.Module(before, []), "solution", "exec"), names)
    found = eval(compile(ast.Expression(last.value), "solution", "eval"), names)
    assert typed.same(found, the(chapter, name).expected, 1e-12)


def test_names_are_the_courses_own() -> None:
    names = [one.name for chapter in CHAPTERS for one in exercises(chapter)]
    assert len(names) == len(set(names))
    with pytest.raises(ExerciseError, match="no chapter 9"):
        exercises(9)
    with pytest.raises(ExerciseError, match="no exercise 'x'; there are: slow_share, "):
        exercises(0)("x")


def test_an_answer_can_be_given_without_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    """As the text of a card without a front end says, with nothing but what the chapter has imported."""
    ask = exercises(0)
    assert "ask.check('slow_share', your answer)" in ask("slow_share").text()
    ask.check("slow_share", 277 / 2059)
    ask.check("slow_share", 277 / 1782)
    right, wrong = capsys.readouterr().out.splitlines()
    assert right == "correct: 0.1345" and wrong.startswith("not yet: that is slow over fast")


# --- the chapters ---------------------------------------------------------------------------------


def chapter_cells(chapter: str) -> list[Any]:
    path = next(path for path in FOLDER.glob(f"0{chapter}-*.ipynb"))
    return nbformat.read(path, as_version=4).cells


@pytest.mark.parametrize("chapter", CONVERTED)
def test_a_chapter_asks_every_exercise_once_in_order_and_ends_with_the_summary(chapter: str) -> None:
    sources = [cell.source for cell in chapter_cells(chapter) if cell.cell_type == "code"]
    asked = [name for source in sources for name in re.findall(r"^ask\(\"(\w+)\"", source, re.MULTILINE)]
    assert asked == [one.name for one in exercises(chapter)]
    assert "ask.summary()" in sources[-2:]


@pytest.mark.parametrize("chapter", CONVERTED)
def test_no_cell_of_an_exercise_tells_its_answer(chapter: str) -> None:
    for cell in chapter_cells(chapter):
        asked = re.match(r"ask\(\"(\w+)\"", cell.source)
        assert not {"solution", "answers"} & set(cell.metadata.get("tags", []))
        if asked and cell.cell_type == "code":
            answer = typed.readable(the(chapter, asked.group(1)).expected)
            said = "\n".join(map(read, cell.outputs)) + cell.source
            assert said and answer not in re.sub(r"Exercise \d+|about \d+ minutes?", "", said)


@pytest.mark.parametrize("chapter", CONVERTED)
def test_every_guess_is_followed_by_what_it_hides(chapter: str) -> None:
    code = "\n".join(cell.source for cell in chapter_cells(chapter) if cell.cell_type == "code")
    assert "None" not in re.findall(r"^guess\w* = (None|\{)", code, re.MULTILINE)
    for name in re.findall(r"^(\w+) = guess\(", code, re.MULTILINE):
        assert f"{name}.reveal(" in code, name


@pytest.mark.parametrize("chapter", CONVERTED)
def test_every_guess_is_held_against_the_truth(chapter: str) -> None:
    cells = [cell.source for cell in chapter_cells(chapter) if cell.cell_type == "code"]
    asked = {name for source in cells for name in re.findall(r"^(\w+) = guess\(", source, re.MULTILINE)}
    held = {name for source in cells for name in re.findall(r"^(\w+)\.reveal\((?:.|\n)*?truth=", source, re.MULTILINE)}
    assert asked <= held, asked - held


@pytest.mark.parametrize("chapter", CONVERTED)
def test_a_stored_guess_is_not_spoiled(chapter: str) -> None:
    """What a guess hides is folded in the stored page, and no card needs a kernel that is gone."""
    for cell in chapter_cells(chapter):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if output.get("metadata", {}).get("text/html", {}).get(ALONE):
                assert "application/vnd.jupyter.widget-view+json" not in data
            if ".reveal(" in cell.source.splitlines()[-1]:
                assert data["text/html"].startswith("<details")


# --- pages -----------------------------------------------------------------------------------------


def test_the_pages_are_made_of_the_data(tmp_path: Path) -> None:
    for path in FOLDER.glob("0*.ipynb"):
        (tmp_path / path.name).symlink_to(path)
    pages.write(tmp_path)
    for name in ("README.md", "glossary.md"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8"), "make pages"


def test_a_glossary_of_some_forty_words_each_with_its_own_anchor() -> None:
    words = glossary.words()
    assert 40 <= len(words) <= 60 and len({word.anchor for word in words}) == len(words)
    for word in words:
        assert word.means.rstrip(")").endswith(".") and len(word.means) < 260 and str(word.chapter) in TITLES and word.ko


@pytest.mark.parametrize("word", glossary.words(), ids=lambda word: word.anchor)
def test_a_word_is_linked_in_the_chapter_that_it_names(word: glossary.Word) -> None:
    text = "\n".join(cell.source for cell in chapter_cells(str(word.chapter)) if cell.cell_type == "markdown")
    assert f"](glossary.md#{word.anchor})" in text


@pytest.mark.parametrize("chapter", CONVERTED)
def test_a_chapter_is_told_in_short_before_what_is_left_to_the_reader(chapter: str) -> None:
    headings = re.findall(r"^## (.*)$", "\n".join(c.source for c in chapter_cells(chapter) if c.cell_type == "markdown"), re.MULTILINE)
    assert headings[-4:] == ["Exercises", "What you did", "In short", "On your own"]


def test_a_link_to_a_word_tells_its_meaning() -> None:
    assert glossary.link("closed loops", "closed loop").startswith('[closed loops](glossary.md#closed-loop "A load of a fixed')
    assert glossary.link("x", "Little's law").startswith("[x](glossary.md#littles-law ")
    with pytest.raises(KeyError):
        glossary.link("x", "unheard of")


def test_links_to_words_in_the_chapters_lead_to_words() -> None:
    anchors = {word.anchor for word in glossary.words()}
    for path in FOLDER.glob("*.ipynb"):
        assert set(re.findall(r"glossary\.md#([\w-]+)", path.read_text(encoding="utf-8"))) <= anchors


def test_a_heading_in_a_link_is_what_jupyterlab_calls_it() -> None:
    assert pages.fragment("Two clocks: `perTryTimeout` and `timeout`") == "Two-clocks:-perTryTimeout-and-timeout"
    assert pages.fragment("Why not more?") == "Why-not-more?"
