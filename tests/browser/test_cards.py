"""Guesses, exercises and the summary in a reader's JupyterLab, by keyboard and by mouse, in both themes and at three widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .axe import grave_findings
from .lab import browser_page, chromium, jupyterlab, run_all, write_notebook

pytestmark = pytest.mark.browser

CELLS = (
    """
from meshmodel.course import exercises
from meshmodel.teaching.guesses import guess
from meshmodel.teaching.plots import Picture
picture = Picture(figsize=(6, 3), facecolor="none")
picture.subplots().plot([0, 1], [0, 1])
picture.alt_text = "A rise."
ask = exercises(0)
share = guess("Which share of the `calls` is slow?", 0, 1, unit="share")
share""",
    "share.reveal(picture, truth=1 / 3, axis='x', says='One pod in three.')",
    'more = guess("More requests than under `ROUND_ROBIN`?", choices=["more", "fewer", "as many"])\nmore',
    'more.reveal("RANDOM: as many", truth="as many")',
    'ask("slow_share")',
    "ask.summary()",
)
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium()
    home = tmp_path_factory.mktemp("cards")
    (home / "root").mkdir()
    write_notebook(home / "root/cards.ipynb", *CELLS)
    with jupyterlab(home / "root", home) as address, browser_page(address, home) as shown:
        run_all(shown, address, "cards.ipynb", home)
        shown.locator(".mq.summary").wait_for()
        yield shown


def says(card: Any) -> str:
    return card.locator(".mq-says").inner_text()


def test_cards_by_keyboard_and_mouse(page: Any, tmp_path: Path) -> None:
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    _a_guess_by_keyboard(page)
    _a_choice_by_mouse(page)
    _an_exercise_by_keyboard(page)
    summary = page.get_by_role("region", name="What you did: The testbed", exact=True)
    assert "You guessed 0.5; it is 0.3333" in summary.inner_text() and "read a share off a record: solved" in summary.inner_text()
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells  # no key reached the notebook's own shortcuts
    _looks_well(page, tmp_path)


def _a_guess_by_keyboard(page: Any) -> None:
    card = page.get_by_role("region", name="Guess: Which share of the `calls` is slow?", exact=True)
    hidden = page.get_by_role("region", name="Behind the guess: Which share of the `calls` is slow?", exact=True)
    assert hidden.locator("img").count() == 0
    box = card.get_by_role("textbox", name="Your guess")
    box.focus()
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.mq.guess .mq-says').textContent.includes('from 0 to 1')")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("50 %")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the button
    hidden.locator("img").wait_for()
    assert says(hidden) == "You guessed 0.5; it is 0.3333: too high, by about 50 %."
    assert box.is_disabled() and says(card) == "Locked. You guessed: 0.5"
    assert hidden.locator("img").get_attribute("alt") == "A rise. A dashed line marks your guess: 0.5."


def _a_choice_by_mouse(page: Any) -> None:
    card = page.get_by_role("region", name="Guess: More requests than under `ROUND_ROBIN`?", exact=True)
    card.get_by_role("radio", name="fewer").check()
    card.get_by_role("button", name="Lock my guess").click()
    hidden = page.get_by_role("region", name="Behind the guess: More requests than under `ROUND_ROBIN`?", exact=True)
    hidden.get_by_text("RANDOM: as many").wait_for()
    assert says(hidden) == "You guessed fewer; it is as many."


def _an_exercise_by_keyboard(page: Any) -> None:
    card = page.get_by_role("region", name="Exercise 1: read a share off a record", exact=True)
    card.get_by_role("textbox", name="Your answer").focus()
    for typed, said in (
        ("13.45", "percentage"),
        ("1/3", "one pod in three"),
        ("0.9", "factor of about 7"),
        ("277/2059", "Correct: 0.1345."),
    ):
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        card.get_by_text(said).wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # a hint
    card.get_by_text("Slow requests are those of the last bucket.").wait_for()
    card.get_by_role("button", name="Show the solution").click()
    card.get_by_text("Answer: 0.1345").wait_for()
    assert card.get_by_role("button", name="Show the solution").count() == 0


def _looks_well(page: Any, tmp_path: Path) -> None:
    """Nothing sticks out and axe-core has no grave findings, at three widths and in both themes."""
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")  # a phone has no room for the list of files
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(THEME, theme)
        for width in (420, 800, 1200):
            page.set_viewport_size({"width": width, "height": 1000})
            page.wait_for_timeout(300)
            for k, card in enumerate(page.locator(".mq").all()):
                card.screenshot(path=tmp_path / f"{theme[11:]}-{width}-{k}.png")
            sticking = page.evaluate(
                """() => [...document.querySelectorAll('.mq')].flatMap(card => { const box = card.getBoundingClientRect();
                    return [...card.querySelectorAll('p, input, button, img, label, pre, strong')].filter(part => {
                        const r = part.getBoundingClientRect(); return r.width && (r.left < box.left - 1 || r.right > box.right + 1); })
                        .map(part => part.outerHTML.slice(0, 100)); })"""
            )
            assert sticking == []
        assert grave_findings(page, ".mq") == []
