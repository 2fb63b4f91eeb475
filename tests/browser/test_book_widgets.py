"""A chapter's page without a kernel: the theatre plays from the state in its stored output, a console has its picture and a note."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from docs.book import chapters
from meshmodel.teaching.standalone import MIME
from meshmodel.teaching.theatre import theatre

from ..unit.traces import played
from .lab import FLAGS, chromium

pytestmark = pytest.mark.browser
STATIC = Path(chapters.__file__).parent / "static"


def notebook(*outputs: dict) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell("show", outputs=[nbformat.v4.new_output("display_data", data)]) for data in outputs]
    return nbformat.v4.new_notebook(cells=cells)


def page_of(tmp_path: Path, *outputs: dict) -> Path:
    """The outputs as the book shows them, on a page of their own, opened from its file."""
    nbformat.write(notebook(*outputs), tmp_path / "stored.ipynb")
    classes = chapters.write(tmp_path / "stored.ipynb", tmp_path / "page.ipynb")
    (tmp_path / "widget-classes.js").write_text(chapters.widget_classes(classes), encoding="utf-8")
    (tmp_path / "widgets.js").write_text((STATIC / "widgets.js").read_text(encoding="utf-8"), encoding="utf-8")
    shown = nbformat.read(tmp_path / "page.ipynb", as_version=4).cells
    body = "".join(cell.outputs[0].data["text/html"] for cell in shown)
    scripts = "".join(f'<script defer src="{name}.js"></script>' for name in ("widget-classes", "widgets"))
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset='utf-8'><title>page</title><body>{body}{scripts}", encoding="utf-8")
    return tmp_path / "page.html"


def test_the_theatre_plays_from_its_stored_output(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    stored, _ = theatre(played("ROUND_ROBIN"), played("LEAST_REQUEST"), title="Two policies")._repr_mimebundle_()
    path, troubles = page_of(tmp_path, stored), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or troubles.append(request.url))
        page.goto(path.as_uri())
        page.locator(".mt").focus()
        page.keyboard.press("Space")
        page.wait_for_function("() => document.querySelector('.mt').theatre.t > 0.1")
        assert page.locator(".mm-widget > img").count() == 0 and page.locator(".mt-panel").count() == 2
        browser.close()
    assert troubles == []


def test_where_a_widget_cannot_live_its_picture_stays(tmp_path: Path) -> None:
    stored, _ = theatre(played(), title="One policy")._repr_mimebundle_()
    text = page_of(tmp_path, stored).read_text(encoding="utf-8")
    assert '<img class="mm-still" alt="One policy.' in text and stored[MIME]["state"] in text


def test_a_console_has_a_note_that_says_how_to_get_it_alive(tmp_path: Path) -> None:
    told = page_of(tmp_path, {chapters.VIEW: {"model_id": "x"}, "text/plain": "Replay console"}).read_text(encoding="utf-8")
    assert "make lab" in told and 'role="note"' in told and "model_id" not in told
