"""The consoles of chapters 3 to 5 in a real JupyterLab: each control by keyboard and by mouse, bursts, presets, two widths, light and dark.

The screenshots are left in the test's folder to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .axe import grave_findings
from .lab import browser_page, chromium, jupyterlab, redraws_reported, run_all, write_notebook

pytestmark = pytest.mark.browser

CONSOLES = {
    "Cut the tail": ("timeout", "cut_the_tail"),
    "The queue of the dead": ("timeout", "zombies"),
    "Ten calls": ("retry", "ten_calls"),
    "Two clocks": ("retry", "two_clocks"),
    "The back-off": ("retry", "back_off"),
    "Retries over hops": ("retry", "amplification"),
    "The storm": ("storm", "storm"),
    "Refusals": ("breaker", "refusals"),
    "The waiting room": ("breaker", "waiting_room"),
    "Breaker or detector": ("breaker", "breaker_or_detector"),
}
AT_REST = """title => { const root = document.querySelector(`.mc[aria-label="${title}"]`), { asked, answered } = root.dataset;
    return asked === answered && !root.hasAttribute('data-busy') && root.querySelector('img').naturalWidth > 200; }"""
STICKING_OUT = """root => { const box = root.getBoundingClientRect();
    return [...root.querySelectorAll(':scope :is(button, label, input, select, img, p, td, th)')].filter(part => {
        const r = part.getBoundingClientRect(); if (part.closest('.mc-table, details:not([open]) > :not(summary)')) return false;
        return r.width && (r.left < box.left - 1 || r.right > box.right + 1); })
        .map(part => part.textContent || part.tagName); }"""


def test_every_control_of_every_console(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    chromium()
    (tmp_path / "root").mkdir()
    cells = [f"from meshmodel.teaching.consoles.{module} import {name}\n{name}()" for module, name in CONSOLES.values()]
    write_notebook(tmp_path / "root/consoles.ipynb", *cells)
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path) as page:
        run_all(page, address, "consoles.ipynb", tmp_path)
        for title in CONSOLES:
            console = page.locator(f'.mc[aria-label="{title}"]')
            console.wait_for()
            console.scroll_into_view_if_needed()
            with redraws_reported(page, record_property, title):
                _each_slider_by_keyboard(page, console, title)
                _each_choice(page, console, title)
                _a_slider_by_mouse(page, console, title)
                _a_burst_ends_in_one_result(page, console, title)
                _presets(page, console, title)
            assert console.get_by_role("alert").inner_text() == ""
            assert console.evaluate(STICKING_OUT) == []
            console.screenshot(path=tmp_path / f"{title}.png")


def _rests(page: Any, title: str) -> None:
    page.wait_for_function(AT_REST, arg=title)


def _said(console: Any) -> tuple[str, str]:
    """The figure's accessible name, and what a screen reader is told."""
    return console.locator("img").first.get_attribute("alt"), console.get_by_role("status").inner_text()


def _each_slider_by_keyboard(page: Any, console: Any, title: str) -> None:
    """A step there: the readout follows at once, and an answer comes; what is the same before and after a step may say so."""
    followed = 0
    for slider in console.get_by_role("slider").all():
        before, told = slider.input_value(), _said(console)
        slider.focus()
        page.keyboard.press("ArrowLeft" if float(before) > float(slider.get_attribute("min")) else "ArrowRight")
        assert slider.input_value() != before and slider.get_attribute("aria-valuetext")
        _rests(page, title)
        followed += _said(console) != told
    assert followed > 0


def _each_choice(page: Any, console: Any, title: str) -> None:
    for choice in console.get_by_role("combobox").all():
        choice.focus()
        page.keyboard.press("ArrowDown")
        _rests(page, title)


def _a_slider_by_mouse(page: Any, console: Any, title: str) -> None:
    slider = console.get_by_role("slider").first
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] * 0.7, "y": box["height"] / 2})
    _rests(page, title)
    told = _said(console)
    console.get_by_role("button", name="reset").click()
    _rests(page, title)
    assert _said(console) != told


def _a_burst_ends_in_one_result(page: Any, console: Any, title: str) -> None:
    slider = console.get_by_role("slider").first
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    _rests(page, title)
    assert console.get_by_role("button", name="cancel").is_disabled()


def _presets(page: Any, console: Any, title: str) -> None:
    buttons = console.get_by_role("group", name="Presets").get_by_role("button").all()
    assert len(buttons) >= 3
    for button in buttons:
        button.click()
        _rests(page, title)


@pytest.mark.parametrize(("width", "dark"), [(420, False), (1200, True)])
def test_a_console_fits_its_page(width: int, dark: bool, tmp_path: Path) -> None:
    """Lab without its panels, as narrow as a phone: nothing sticks out."""
    chromium()
    (tmp_path / "root").mkdir()
    shown = ("The storm", "Two clocks", "Cut the tail", "Breaker or detector")
    cells = [f"from meshmodel.teaching.consoles.{module} import {name}\n{name}()" for module, name in map(CONSOLES.get, shown)]
    write_notebook(tmp_path / "root/fits.ipynb", *cells)
    size = {"width": width, "height": 1400}
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path, viewport=size) as page:
        run_all(page, address, "fits.ipynb", tmp_path)
        if width < 800:
            page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        if dark:
            page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
            page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
        for title in shown:
            console = page.locator(f'.mc[aria-label="{title}"]')
            console.scroll_into_view_if_needed()
            page.wait_for_timeout(300)  # it is laid out anew where the page has another width
            _rests(page, title)
            console.screenshot(path=tmp_path / f"{title}-{width}-{'dark' if dark else 'light'}.png")
            assert console.evaluate(STICKING_OUT) == []
        assert grave_findings(page, ".mc") == []
