"""The book as a reader opens it: from its files, on a phone and on a desk, light and dark.

`make book-pages` runs these on what `make book` built.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.book.build import DOCUMENTS
from tests.browser.axe import grave_findings
from tests.browser.lab import FLAGS, chromium

BOOK = Path(os.environ.get("MESHMODEL_BOOK", "no book"))
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not BOOK.is_dir(), reason="make book-pages builds a book and runs these")]

EVERY = sorted(path.relative_to(BOOK).as_posix() for path in BOOK.rglob("*.html") if "_static" not in path.parts)
PAGES = [
    page for page in EVERY if not page.startswith(("ko/reference", "ko/plans")) and page not in [f"ko/{name}.html" for name in DOCUMENTS]
]
"""But those that the Korean book has in English."""
CHAPTERS = [page for page in PAGES if Path(page).name[:2].isdigit() and "plans" not in page]
STICKING_OUT = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
THEME = "theme => document.documentElement.dataset.theme = theme"
WIDTHS = (1400, 900, 400)
LEAST_SCALE = """async () => { await window.MathJax?.startup?.promise; return Math.min(1, ...[...document.querySelectorAll(
    "mjx-container[display=true] > svg")].map(svg => { const shown = svg.getBoundingClientRect().width; svg.style.maxWidth = "none";
    return shown / svg.getBoundingClientRect().width; })); }"""
"""By how much the widest formula is shrunk to fit."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a page from its file; none may log an error or ask a host."""
    shown = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    troubles: list[str] = []
    shown.on("pageerror", lambda error: troubles.append(str(error)))
    shown.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or troubles.append(request.url))

    def open(page: str) -> Any:
        shown.goto(f"{BOOK.resolve().as_uri()}/{page}")
        return shown

    yield open
    shown.close()
    assert troubles == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_every_width_and_has_no_grave_barrier_in_either_theme(opened: Any, page: str) -> None:
    shown = opened(page)
    for width in WIDTHS:
        shown.set_viewport_size({"width": width, "height": 900})
        assert shown.evaluate(STICKING_OUT) <= 0, width
    shown.evaluate(THEME, "light")
    assert grave_findings(shown, "body") == []
    if page.startswith("ko/"):
        return  # in the same colours
    shown.evaluate(THEME, "dark")
    assert grave_findings(shown, "body", only="color-contrast") == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapters_widgets_are_alive_without_a_kernel(opened: Any, chapter: str) -> None:
    shown = opened(chapter)
    shown.wait_for_function("() => [...document.querySelectorAll('.mm-widget')].every(box => box.querySelector('div'))")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_formulas_are_legible_on_a_phone(opened: Any, chapter: str) -> None:
    shown = opened(chapter)
    shown.set_viewport_size({"width": 380, "height": 900})
    assert shown.evaluate(LEAST_SCALE) > 0.8


@pytest.mark.parametrize("page", ["reference/rules", "03-timeout"])
def test_each_page_leads_to_itself_in_the_other_language(opened: Any, page: str) -> None:
    shown = opened(f"{page}.html")
    for language in ("ko", "en"):
        shown.locator(".mm-language").click()
        shown.wait_for_function("language => document.documentElement.lang === language", arg=language)
    assert shown.url.endswith(f"book/{page}.html")


def test_a_field_of_the_cheat_sheet_is_a_card_whose_parts_are_named(opened: Any) -> None:
    shown = opened(next(page for page in PAGES if page.endswith("cheat-sheet.html")))
    assert shown.locator("table.table:not(.mm-wide)").count() == 0 and shown.locator("td:not([data-label])").count() == 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith("search.html")])
def test_the_search_finds_a_rule(opened: Any, page: str) -> None:
    shown = opened(f"{page}?q=panic")
    shown.wait_for_selector("#search-results li")
    assert "panic" in shown.inner_text("#search-results").lower()
