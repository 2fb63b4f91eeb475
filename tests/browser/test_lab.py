"""A reader's session: JupyterLab runs a notebook, and the reader moves a slider by keyboard.

The notebooks are copied first: JupyterLab saves what it opens.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .lab import ROOT, browser_page, chromium, jupyterlab, run_all, write_notebook

pytestmark = pytest.mark.browser

CHAPTERS = [path.name for path in [ROOT / "notebooks/01-load-balancing.ipynb"] if path.exists()]
SMALL = f"""
from meshmodel.mesh import Mesh
from meshmodel.teaching.widgets import replay_console
data = {str(ROOT / "data/tutorial")!r}
mesh = Mesh().apply(*(f"{{data}}/manifests/{{name}}.yaml" for name in ("testbed", "slow-backend-1", "dr-least-conn")))
console = replay_console(mesh, data + "/least-conn.txt", duration=20, replications=50)
console
"""
REDRAWN = """([before, said]) => {
    const console = document.querySelector('.meshmodel-console'), image = console.querySelector('[role=img] img');
    return image && image.src !== before && image.alt !== said && !console.innerText.includes('replaying'); }"""


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
        _move_the_delay(page, tmp_path)


def _move_the_delay(page, tmp_path: Path) -> None:
    """Two steps to the right by keyboard: the readout, the figure and its accessible name follow."""
    console = page.locator(".meshmodel-console").first
    console.wait_for()
    figure = console.locator("[role=img] img").first
    figure.wait_for()
    console.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "before.png")
    handle = console.get_by_role("slider", name="delay (s)")  # found by its accessible name
    before, said, value = figure.get_attribute("src"), figure.get_attribute("alt"), float(handle.get_attribute("aria-valuenow"))
    handle.focus()
    for _ in range(2):  # one at a time: the figure of the first step is not yet that of the second
        page.keyboard.press("ArrowRight")
        page.wait_for_function(REDRAWN, arg=[before, said])
        before, said = figure.get_attribute("src"), figure.get_attribute("alt")
    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(value + 0.1)
    assert console.locator("[role=alert]").count() == 0, console.locator("[role=alert]").first.inner_text()
    assert figure.evaluate("image => image.complete && image.naturalWidth > 300")
    names = [slider.get_attribute("aria-label") for slider in console.get_by_role("slider").all()]
    assert names == ["delay (s)", "replicas", "connections", "duration (s)", "replications"]
    page.screenshot(path=tmp_path / "after.png")
