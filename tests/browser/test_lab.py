"""A reader's session: JupyterLab runs a notebook, and the reader moves a slider by keyboard.

The notebooks are copied first: JupyterLab saves what it opens.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .lab import ROOT, browser_page, chromium, jupyterlab, run_all, write_notebook

pytestmark = pytest.mark.browser

CHAPTERS = [path.name for path in [ROOT / "notebooks/01-load-balancing.ipynb"] if path.exists()]
SMALL = f"""
from meshmodel.mesh import Mesh
from meshmodel.teaching.consoles.replay import replay_console
data = {str(ROOT / "data/tutorial")!r}
mesh = Mesh().apply(*(f"{{data}}/manifests/{{name}}.yaml" for name in ("testbed", "slow-backend-1", "dr-least-conn")))
console = replay_console(mesh, data + "/least-conn.txt", duration=20)
console
"""
RESTED = """said => { const root = document.querySelector('.mc'), { asked, answered } = root.dataset;
    return asked === answered && !root.hasAttribute('data-busy') && root.querySelector('img').alt !== said; }"""


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    """A folder with copies of the notebooks, beside the data."""
    chromium()
    (tmp_path / "root/notebooks").mkdir(parents=True)
    for chapter in CHAPTERS:
        shutil.copy(ROOT / "notebooks" / chapter, tmp_path / "root/notebooks")
    (tmp_path / "root/data").symlink_to(ROOT / "data")
    write_notebook(tmp_path / "root/notebooks/small.ipynb", SMALL)
    return tmp_path / "root"


@pytest.mark.parametrize("notebook", ["small.ipynb", *CHAPTERS])
def test_a_reader_runs_the_notebook_and_moves_a_slider(notebooks: Path, notebook: str, tmp_path: Path) -> None:
    with jupyterlab(notebooks, tmp_path) as address, browser_page(address, tmp_path) as page:
        run_all(page, address, f"notebooks/{notebook}", tmp_path)
        console = page.locator(".mc").first
        console.wait_for()
        console.scroll_into_view_if_needed()
        _moves_by_keyboard(page, console)
        _moves_by_mouse(page, console)
        _answers_a_burst_once(page, console)
        assert console.get_by_role("alert").inner_text() == ""
        page.screenshot(path=tmp_path / "after.png")


def _said(page: Any) -> str:
    return page.locator(".mc img").first.get_attribute("alt")


def _rests_with_another_figure(page: Any, said: str) -> None:
    page.wait_for_function(RESTED, arg=said)
    assert page.locator(".mc img").first.evaluate("image => image.complete && image.naturalWidth > 300")


def _moves_by_keyboard(page: Any, console: Any) -> None:
    """A step to the left: readout, figure, its accessible name and the status follow."""
    delay = console.get_by_role("slider", name="delay")  # found by its accessible name
    said, value, status = _said(page), float(delay.input_value()), console.get_by_role("status").inner_text()
    delay.focus()
    page.keyboard.press("ArrowLeft")
    assert float(delay.input_value()) == pytest.approx(value - 0.05) and delay.get_attribute("aria-valuetext") == f"{value - 0.05:g} s"
    _rests_with_another_figure(page, said)
    assert console.get_by_role("status").inner_text() != status and "Not as in the tutorial: delay" in console.inner_text()


def _moves_by_mouse(page: Any, console: Any) -> None:
    said, connections = _said(page), console.get_by_role("slider", name="connections")
    box = connections.bounding_box()
    connections.click(position={"x": box["width"] * 0.8, "y": box["height"] / 2})
    assert float(connections.input_value()) > 30
    _rests_with_another_figure(page, said)
    said = _said(page)
    console.get_by_role("button", name="reset").click()
    _rests_with_another_figure(page, said)
    assert "As in the tutorial." in console.inner_text() and connections.input_value() == "10"


def _answers_a_burst_once(page: Any, console: Any) -> None:
    """Eight quick presses end in one result, that of the last."""
    said, delay = _said(page), console.get_by_role("slider", name="delay")
    delay.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    _rests_with_another_figure(page, said)
    assert delay.get_attribute("aria-valuetext") == "0.6 s" and "delay of the slow pod 0.6 s" in console.inner_text()
    assert console.get_by_role("button", name="cancel").is_disabled()
