"""The book as a reader opens it: from its files, on a phone and on a desk, light and dark.  `make book` runs these on what it built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import FLAGS, chromium

BOOK = Path(os.environ.get("MESHMODEL_BOOK", "no book"))
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not BOOK.is_dir(), reason="there is no book: make book builds one and runs these")]

PAGES = sorted(path.relative_to(BOOK).as_posix() for path in BOOK.rglob("*.html") if "_static" not in path.parts)
CHAPTERS = [page for page in PAGES if page[:2].isdigit()]
STICKING_OUT = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
THEMES = ("light", "dark")
LOOKED_AT = ["index.html", *CHAPTERS, "cheat-sheet.html", "reference/rules.html"]
ACCEPTED = {
    "scrollable-region-focusable",  # Chromium makes what scrolls focusable by itself
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield found
        found.close()


def opened(browser: Any, page: str, width: int = 1280, theme: str = "light") -> Any:
    """The page from its file; it must log no error and ask no host."""
    shown = browser.new_page(viewport={"width": width, "height": 900})
    shown.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    shown.troubles = []
    shown.on("pageerror", lambda error: shown.troubles.append(str(error)))
    shown.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or shown.troubles.append(request.url))
    shown.goto(f"{BOOK.resolve().as_uri()}/{page}")
    return shown


@pytest.mark.parametrize("width", [380, 768])
def test_nothing_sticks_out_of_a_narrow_screen(browser: Any, width: int) -> None:
    wide = {}
    for page in PAGES:
        shown = opened(browser, page, width)
        if beyond := shown.evaluate(STICKING_OUT):
            wide[page] = beyond
        shown.close()
    assert wide == {}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("page", LOOKED_AT)
def test_a_page_has_no_serious_barrier(browser: Any, page: str, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown = opened(browser, page, theme=theme)
    found = Axe().run(shown).response["violations"]
    serious = {
        rule["id"]: [node["html"][:120] for node in rule["nodes"]][:5]
        for rule in found
        if rule["impact"] in ("serious", "critical") and rule["id"] not in ACCEPTED
    }
    troubles = list(shown.troubles)
    shown.close()
    assert serious == {} and troubles == []


def test_the_search_finds_a_rule(browser: Any) -> None:
    shown = opened(browser, "search.html?q=panic")
    shown.wait_for_selector("#search-results li")
    assert "panic" in shown.inner_text("#search-results").lower() and shown.troubles == []
    shown.close()


def test_widgets_are_alive_without_a_kernel(browser: Any) -> None:
    with_widgets = [page for page in CHAPTERS if 'class="mm-widget"' in (BOOK / page).read_text(encoding="utf-8")]
    for page in with_widgets:
        shown = opened(browser, page)
        shown.wait_for_function("() => [...document.querySelectorAll('.mm-widget')].every(box => box.querySelector('div'))")
        assert shown.troubles == []
        shown.close()
