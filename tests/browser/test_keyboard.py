"""Chapter 3 from its first cell to its last question, by somebody without a mouse: Shift+Enter, Tab, arrows and what is typed.

Nothing here clicks or sets the focus: where the keyboard is, it got by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .lab import KERNEL_READY, ROOT, TOKEN, browser_page, chromium, jupyterlab

pytestmark = pytest.mark.browser

CHAPTER = "03-timeout.ipynb"
MOST = 120
"""Keys that it may take to get somewhere: more, and nobody would."""

ACTIVE = "() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].findIndex(cell => cell.classList.contains('jp-mod-active'))"
AT_REST = """() => document.querySelector('.jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator').dataset.status === 'idle'
    && ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))"""
FAILED = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
ANSWERED = """() => { const root = document.activeElement.closest('.mc'); return root.dataset.asked === root.dataset.answered
    && !root.hasAttribute('data-busy'); }"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """The chapter, opened and with its kernel there."""
    chromium()
    (tmp_path / "root").mkdir()
    shutil.copy(ROOT / "notebooks" / CHAPTER, tmp_path / "root")
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path) as shown:
        shown.goto(f"{address}/lab/tree/{CHAPTER}?token={TOKEN}&reset", wait_until="domcontentloaded")
        shown.wait_for_selector(".jp-Notebook .jp-Cell")
        shown.evaluate(KERNEL_READY)
        yield shown


def test_a_chapter_is_done_by_keyboard_alone(page: Any) -> None:
    cells = page.locator(".jp-Notebook > * .jp-Cell, .jp-Notebook > .jp-Cell").count()
    _runs_all_cells(page, cells)
    _to_cell_with(page, ".mq.guess")
    _makes_a_guess(page)
    _plays_the_theatre(page)
    _moves_a_console(page)
    _answers_an_exercise(page)
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells  # no key reached the notebook's own shortcuts


def _runs_all_cells(page: Any, cells: int) -> None:
    for number in range(cells - 1):
        assert page.evaluate(ACTIVE) == number
        page.keyboard.press("Shift+Enter")
    page.keyboard.press("Control+Enter")  # Shift+Enter on the last one would add a cell
    page.wait_for_function(AT_REST)
    assert page.locator(FAILED).count() == 0


def _to_cell_with(page: Any, selector: str) -> None:
    """Arrows, from the last cell up to the first one whose output has it."""
    wanted = f"""() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].findIndex(cell => cell.querySelector('{selector}'))"""
    for _ in range(MOST):
        if page.evaluate(ACTIVE) == page.evaluate(wanted):
            return
        page.keyboard.press("ArrowUp")
    raise AssertionError(f"no way by keyboard to {selector}")


def _tabs_to(page: Any, selector: str) -> None:
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no way by Tab to {selector}")


def _makes_a_guess(page: Any) -> None:
    """The chapter's first, which code the call gets: it opens what it hides."""
    hidden = page.get_by_role("region", name="Behind the guess: ").first
    assert hidden.locator("img").count() == 0
    _tabs_to(page, ".mq.guess input")
    for _ in range(page.locator(".mq.guess").first.locator("input").count()):
        page.keyboard.type("0.5")
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    hidden.locator("img").wait_for()


def _plays_the_theatre(page: Any) -> None:
    _tabs_to(page, ".mt")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.activeElement.closest('.mt').theatre.t > 0.05")
    page.keyboard.press("Space")
    for key, moved in (("ArrowRight", "t > before"), ("ArrowLeft", "t <= before"), ("Home", "t === 0")):
        before = page.evaluate("() => document.activeElement.closest('.mt').theatre.t")
        page.keyboard.press(key)
        assert page.evaluate(f"before => {{ const t = document.activeElement.closest('.mt').theatre.t; return {moved}; }}", before)


def _moves_a_console(page: Any) -> None:
    _tabs_to(page, ".mc input[type=range]")
    said = "() => document.activeElement.closest('.mc').querySelector('img').alt"
    before = page.evaluate(said)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(ANSWERED)
    page.wait_for_function(f"before => ({said})() !== before", arg=before)


def _answers_an_exercise(page: Any) -> None:
    """The first one: a wrong answer, then the right one."""
    _tabs_to(page, ".mq.exercise input")
    for typed, tone in (("0.1", "wrong"), ("0.12", "right")):
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        page.locator(f".mq.exercise .mq-says.{tone}").first.wait_for()
