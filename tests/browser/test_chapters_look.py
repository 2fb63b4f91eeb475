"""Every chapter as it is stored, in both languages, in a reader's JupyterLab: nothing that axe-core finds grave, nothing beyond a
narrow page, in both themes.

Nothing is run: this is what a reader sees first.  Screenshots of every chapter at three widths in both themes are left in
the test's folder, to be looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from classroom import korean

from .axe import READ, grave_findings
from .lab import ROOT, TOKEN, browser_page, chromium, jupyterlab

pytestmark = pytest.mark.browser

SOURCES = sorted((ROOT / "notebooks").glob("0*.ipynb"))
CHAPTERS = [f"{prefix}{path.name}" for path in SOURCES for prefix in ("", "ko-")]
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
WIDE = """() => [...document.querySelectorAll('.jp-RenderedMarkdown, .jp-OutputArea-output')].filter(part =>
    part.scrollWidth > part.clientWidth + 2 && !['auto', 'scroll'].includes(getComputedStyle(part).overflowX)
    && ![...part.querySelectorAll('*')].some(inner => inner.scrollWidth > inner.clientWidth + 2
        && ['auto', 'scroll'].includes(getComputedStyle(inner).overflowX))).map(part => part.innerText.slice(0, 80))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium()
    home = tmp_path_factory.mktemp("chapters")
    (home / "root").mkdir()
    for path in SOURCES:
        shutil.copy(path, home / "root")  # JupyterLab saves what it opens
        nbformat.write(korean.chapter(path), home / "root" / f"ko-{path.name}")
    with jupyterlab(home / "root", home) as address, browser_page(address, home) as shown:
        shown.address = address
        yield shown


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_stored_chapter_is_accessible_and_fits(page: Any, chapter: str, tmp_path: Path) -> None:
    page.goto(f"{page.address}/lab/tree/{chapter}?token={TOKEN}&reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("() => document.querySelectorAll('.jp-RenderedMarkdown h1').length > 0")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(THEME, theme)
        for width in (420, 800, 1200):
            page.set_viewport_size({"width": width, "height": 1400})
            page.wait_for_timeout(200)
            page.screenshot(path=tmp_path / f"{chapter[:-6]}-{theme[11:]}-{width}.png")
            if width == 420:
                assert page.evaluate(WIDE) == []
        assert grave_findings(page, READ) == []
