"""In Korean nothing of the consoles and cards is English but names and code: every word of them is walked through."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib.text import Text

from meshmodel import Mesh, catalogue, data_path
from meshmodel.course import TITLES, exercises
from meshmodel.teaching import language, report, words
from meshmodel.teaching.cards.exercise import UNITS, ExerciseCard
from meshmodel.teaching.cards.summary import Summary
from meshmodel.teaching.consoles import (
    Console,
    Settings,
    breaker,
    load_balancing,
    locality,
    microscope,
    questions,
    replay,
    retry,
    storm,
    timeout,
)  # fmt: skip
from meshmodel.teaching.exercises import Exercise, Mistake
from meshmodel.teaching.guesses import guess
from meshmodel.teaching.playground import playground
from meshmodel.whatif.study import Study
from meshmodel.workloads import fortio
from tests.drawn import WORKLOADS
from tests.translation import english_left

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def shop() -> Console:
    manifests = (data_path("course", name) for name in ("shop.yaml", "shop-limit.yaml"))
    return playground(Mesh(istio="1.24", overhead="3ms"), *manifests, target="checkout", connections=40, qps=400, duration=2)


def replayed() -> Console:
    experiment = catalogue.experiment("lb-least-conn")
    return replay.replay_console(experiment.mesh(), experiment.record, duration=5)


CONSOLES = [
    timeout.cut_the_tail, timeout.zombies, retry.ten_calls, retry.two_clocks, retry.back_off, retry.amplification, storm.storm,
    breaker.refusals, breaker.waiting_room, breaker.breaker_or_detector, load_balancing.load_balancing, locality.map_and_clock,
    microscope.fortio_microscope, questions.ten_curls, questions.why_stuck, replayed, shop,
]  # fmt: skip


@pytest.fixture(autouse=True)
def korean() -> Iterator[None]:
    language("ko")
    yield
    language("en")


def said(state: Any) -> Iterator[str]:
    """Every text that a widget's state holds for its reader."""
    for name, value in state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ():
        if isinstance(value, str) and name in words.SPOKEN | {"table", "numbers", "html"}:
            yield from map(unescape, re.findall(r">([^<]+)<", f">{re.sub('<pre>.*?</pre>', '', value, flags=re.DOTALL)}<"))
        elif name in words.SPOKEN and isinstance(value, list):
            yield from value
        else:
            yield from said(value)


def english(texts: Any) -> dict[str, list[str]]:
    return {text: left for text in texts if (left := english_left(text))}


@pytest.mark.parametrize("make", CONSOLES, ids=lambda make: make.__name__)
def test_a_console_speaks_korean(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "_most", 2)  # replications: the words are the same
    console = make()
    assert english([*said(console.view.get_state("spec")), *said(console.view.get_state("shown"))]) == {}
    for values in console.presets.values():
        result = console.compute(Settings(**{**vars(console.settings), **values}), 2)
        assert english(said(words.spoken({"status": result.status, "table": result.table, "differs": console._compared(result)}))) == {}
    picture = console.picture
    picture.png(50)
    drawn = [text.get_text() for text in picture.findobj(Text)] if words.fonts() else []
    assert english([picture.alt_text, *drawn]) == {}  # without a Korean font a machine draws English


def test_a_report_speaks_korean_but_for_warnings_and_names() -> None:
    manifests = (data_path("course", name) for name in ("shop.yaml", "shop-limit.yaml"))
    mesh = Mesh(istio="1.24", overhead="3ms").apply(*manifests)
    study, slo = Study(fortio(connections=40, qps=400, duration="1s"), 4, target="checkout"), "p99<300ms,errors<0.1%"
    record = study.run(mesh).histogram(0)
    page = report.page(mesh, report.found(mesh, study, 4, record, "record.json", slo), "shop", slo)
    left = english(said({"html": re.sub("<style>.*?</style>|<li translate.*?</li>", "", page, flags=re.DOTALL)}))
    names = {"shop", "errors", "outbound", "default", "svc", "local"}
    assert {text: found for text, found in left.items() if not {*found} <= names} == {} and '<html lang="ko">' in page
    drawn = [unescape(name) for name in re.findall(r'aria-label="([^"]*)"', page)]
    assert len(drawn) > 3 and english(drawn) == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_numbers_of_a_chapters_figures_have_korean_names(path: Path) -> None:
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    tables = re.findall(r'<details class="mm-numbers">.*?</details>', "".join(o.get("data", {}).get("text/html", "") for o in outputs))
    assert tables and english(said({"numbers": words.spoken_html("".join(tables))})) == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_alternative_texts_of_a_chapter_are_korean_to_their_last_list(path: Path) -> None:
    pages = (o.get("data", {}).get("text/html", "") for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", []))
    told = {unescape(text) for page in pages for text in re.findall(r'aria-label="([^"]*)"', page)}
    left = english(map(words.told, told))
    assert told and {text: found for text, found in left.items() if not {*found} <= {*WORKLOADS}} == {}


@pytest.mark.parametrize("chapter", TITLES)
def test_an_exercise_speaks_korean(chapter: str) -> None:
    ask = exercises(chapter)
    texts = [TITLES[chapter], *UNITS.values()]
    for one in ask:
        says, _, _ = one.solution.partition("\n\n")
        unit = UNITS.get(one.unit, one.unit)
        texts += [one.question, one.objective, unit, says, *one.hints, *one.choices, *(mistake.says for mistake in one.mistakes)]
    assert english(map(words.say, texts)) == {}
    assert english([*said(ask.summary().get_state(["spec", "state"]))]) == {}


def test_a_card_says_what_came_of_an_answer_in_korean() -> None:
    slip = Mistake(0.3, "the size is right, the sign is not")
    exercise = Exercise(0.5, hints=["Little's law."], mistakes=[slip], unit="share", objective="calibrate by hand", minutes=2)
    card = ExerciseCard(exercise, 3)
    for typed in ("0.3", "50", "0.4", "?", "", "0.5"):
        card.press("check", typed)
        assert english(said(card.get_state())) == {}, typed
    card.press("hint")
    card.press("solution")
    assert english(said(card.get_state())) == {}
    assert english(said(Summary("Timeout", [exercise]).get_state())) == {}


def guesses() -> Iterator[Any]:
    """The guesses that the chapters ask for, as they ask."""
    for path in CHAPTERS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and "guess(" in cell.source:
                for call in ast.walk(ast.parse(cell.source)):
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "guess":
                        settings = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                        yield guess(*map(ast.literal_eval, call.args), **settings)


def test_a_guess_speaks_korean() -> None:
    for card in guesses():
        number = card.high or card.low or 3
        value: Any = card.choices[0] if card.choices else dict.fromkeys(card.names, number) if card.names else number
        hidden = card.reveal("", truth=value if card.choices else dict.fromkeys(card.names, 4) or 4)
        assert english(said(card.get_state())) == {}
        assert english(said(hidden.get_state(["spec", "state"]))) == {}
        card.lock(value)
        assert english([*said(card.get_state(["state"])), *said(hidden.get_state(["state"]))]) == {}


def test_the_walk_finds_what_is_english() -> None:
    assert english_left("호출의 {}% 실패: `code` maxConnections LEAST_REQUEST p99") == []
    assert english_left("호출의 3% fail with neither") == ["fail", "with", "neither"]
    assert list(said({"title": "a", "rows": [{"label": "b", "value": "c"}], "table": "<td>d &amp; e</td>"})) == ["a", "b", "d & e"]
