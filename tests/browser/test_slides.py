"""Every slide of every deck fits a projector, also when what a guess hides is open."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from classroom import korean, slides

from .lab import FLAGS, ROOT, chromium

pytestmark = pytest.mark.browser
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECTOR = {"width": 1280, "height": 720}
DRAWN = "() => [...document.querySelectorAll('.mm-widget')].every(widget => widget.querySelector('.mt'))"
CUT = """async () => {
  const cut = [];
  for (const [k, slide] of [...document.querySelectorAll("main > section")].entries()) {
    location.hash = `s${k + 1}`;
    for (const hidden of slide.querySelectorAll("details:not(.mm-numbers)")) hidden.open = true;
    for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
    const page = document.documentElement;
    if (!slide.checkVisibility() || page.scrollHeight > innerHeight + 1 || page.scrollWidth > innerWidth)
      cut.push([k + 1, page.scrollWidth, page.scrollHeight, slide.innerText.slice(0, 80)]);
  }
  return cut;
}"""
"""Slides that need more than the screen: their number, how large they are, how they begin."""


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_no_slide_is_cut(chapter: Path, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from playwright.sync_api import sync_playwright

    monkeypatch.setattr(slides.build, "mathjax", lambda: slides.HERE / "slides.js")  # of the extra `book`; formulas stay TeX
    deck = tmp_path / "deck.html"
    if language == "ko":
        nbformat.write(korean.chapter(chapter), tmp_path / chapter.name)
        chapter = tmp_path / chapter.name
    deck.write_text(slides.deck(chapter, language), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport=PROJECTOR)
        page.goto(deck.as_uri())
        page.wait_for_function(DRAWN)
        assert page.evaluate(CUT) == []
        browser.close()
