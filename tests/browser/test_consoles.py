"""The consoles of chapters 0, 1 and 2 in a real JupyterLab: every control by keyboard and by mouse, and the figure follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .axe import grave_findings
from .lab import browser_page, chromium, jupyterlab, redraws_reported, run_all, write_notebook
from .test_chapter_consoles import STICKING_OUT

pytestmark = pytest.mark.browser

CONSOLES = {
    "microscope": "from meshmodel.teaching.consoles.microscope import fortio_microscope\nfortio_microscope()",
    "load_balancing": "from meshmodel.teaching.consoles.load_balancing import load_balancing\nload_balancing()",
    "locality": "from meshmodel.teaching.consoles.locality import map_and_clock\nmap_and_clock()",
}
RESTED = """said => { const root = document.querySelector('.mc'), { asked, answered } = root.dataset;
    return asked === answered && !root.hasAttribute('data-busy') && root.querySelector('img').alt !== said; }"""
IDLE = "() => { const { asked, answered } = document.querySelector('.mc').dataset; return !asked || asked === answered; }"


@pytest.mark.parametrize("name", CONSOLES)
def test_a_console_in_jupyterlab(tmp_path: Path, name: str, record_property: Callable[[str, object], None]) -> None:
    chromium()
    (tmp_path / "root").mkdir()
    write_notebook(tmp_path / "root/console.ipynb", CONSOLES[name])
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path) as page:
        run_all(page, address, "console.ipynb", tmp_path)
        console = page.locator(".mc")
        console.wait_for()
        _has_names(console)
        with redraws_reported(page, record_property, name):
            for slider in console.get_by_role("slider").all():
                _steps(page, slider)
            _chooses_and_returns(page, console)
            _is_pressed(page, console)
        assert console.get_by_role("alert").inner_text() == "" and console.get_by_role("button", name="cancel").is_disabled()
        page.screenshot(path=tmp_path / f"{name}.png")
        page.set_viewport_size({"width": 520, "height": 1000})
        page.wait_for_function(IDLE)
        page.screenshot(path=tmp_path / f"{name}-520.png")
        assert console.evaluate(STICKING_OUT) == [] and grave_findings(page, ".mc") == []


def _rests(page: Any) -> None:
    page.wait_for_function(RESTED, arg="")


def _has_names(console: Any) -> None:
    for role in ("slider", "combobox", "switch"):
        for control in console.get_by_role(role).all():
            assert control.evaluate("input => input.labels[0].textContent.length > 1")


def _steps(page: Any, slider: Any) -> None:
    """One step by keyboard, to where there is room; the readout follows, and a result comes."""
    before, said = slider.input_value(), slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowLeft" if before == slider.get_attribute("max") else "ArrowRight")
    assert slider.input_value() != before and slider.get_attribute("aria-valuetext") != said
    _rests(page)


def _chooses_and_returns(page: Any, console: Any) -> None:
    for select in console.get_by_role("combobox").all():
        wanted = select.evaluate("select => [...select.options].find(option => !option.selected).value")
        select.select_option(wanted)
        _rests(page)
    for switch in console.get_by_role("switch").all():
        switch.click()
        _rests(page)
    assert "Not as in the tutorial" in console.inner_text()
    said = console.locator("img").get_attribute("alt")
    console.get_by_role("button", name="reset").click()
    page.wait_for_function(RESTED, arg=said)
    assert "As in the tutorial." in console.inner_text()


def _is_pressed(page: Any, console: Any) -> None:
    """Each preset shows something else than the start does, or says what it shows as before."""
    for preset in console.get_by_role("group", name="Presets").get_by_role("button").all():
        preset.click()
        _rests(page)
    for choice in ("tutorial's values", "reset"):
        console.get_by_role("button", name=choice).click()
        _rests(page)
    assert "As in the tutorial." in console.inner_text()
