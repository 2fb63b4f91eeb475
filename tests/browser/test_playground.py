"""The playground in a real JupyterLab: manifests mistyped and mended, a record dropped, rules moved, a pod broken, a report, an Envoy.

The screenshots are left in the test's folder to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshmodel.envoy.process import envoy_binary
from meshmodel.teaching.consoles.replay import ON_ENVOY
from meshmodel.teaching.playground import REPORT

from .axe import grave_findings
from .lab import browser_page, chromium, jupyterlab, run_all, write_notebook
from .test_chapter_consoles import STICKING_OUT

pytestmark = pytest.mark.browser

RECORD = Path(__file__).parents[1] / "cases/fortio-text-errors-section/record.txt"
LIMIT = "http2MaxRequests: 9"
CELL = f"""from meshmodel import Mesh, data_path
from meshmodel.teaching.playground import playground
shop, limit = (data_path("course", name).read_text() for name in ("shop.yaml", "shop-limit.yaml"))
limit = limit.replace("http2MaxRequests: 39", "{LIMIT}")
playground(Mesh(istio="1.24", overhead="3ms"), shop, limit, target="checkout", connections=10, qps=40, duration=3)"""
ANSWERED = """past => { const root = document.querySelector('.mc'), { asked, answered } = root.dataset;
    return +asked > past && asked === answered && !root.hasAttribute('data-busy') && root.querySelector('img').naturalWidth > 200; }"""
DROPPED = """(area, text) => { const dataTransfer = new DataTransfer(); dataTransfer.items.add(new File([text], 'record.txt'));
    area.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })); }"""


def test_the_playground(tmp_path: Path) -> None:
    with opened(tmp_path) as page:
        console = page.locator(".mc")
        an_error_stands_at_its_line_until_it_is_mended(page, console)
        a_moved_rule_changes_yaml_figure_and_words(page, console)
        _undo_and_reset_return(page, console)
        _a_dropped_record_stands_beside_the_model_by_code(page, console)
        _a_pod_breaks(page, console)
        _a_stands_beside_b(page, console)
        _the_report_is_one_page(page, console, tmp_path)
        if envoy_binary():
            _a_real_envoy_runs_it(page, console)
        assert console.get_by_role("alert").inner_text() == ""


@pytest.mark.parametrize("dark", [False, True])
def test_the_playground_fits_its_page(dark: bool, tmp_path: Path) -> None:
    with opened(tmp_path, width=1200, dark=dark) as page:
        console, theme = page.locator(".mc"), "dark" if dark else "light"
        editor = console.get_by_label("manifests")
        editor.fill(editor.input_value() + "\nhosts: []\n")
        console.locator("li.error").first.wait_for()
        for width in (1200, 420):
            page.set_viewport_size({"width": width, "height": 2400})
            page.wait_for_timeout(400)  # it is laid out anew
            page.wait_for_function(ANSWERED, arg=0)
            console.screenshot(path=tmp_path / f"playground-{width}-{theme}.png")
            assert console.evaluate(STICKING_OUT) == []
            beside = console.locator("img").bounding_box()["x"] > editor.bounding_box()["x"] + 100
            assert beside is (width == 1200)
        assert grave_findings(page, ".mc") == []


@contextmanager
def opened(tmp_path: Path, width: int = 1280, dark: bool = False) -> Iterator[Any]:
    """The playground at rest, in a Lab without its panels."""
    chromium()
    (tmp_path / "root").mkdir()
    write_notebook(tmp_path / "root/playground.ipynb", CELL)
    size = {"width": width, "height": 1400}
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path, viewport=size) as page:
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        run_all(page, address, "playground.ipynb", tmp_path)
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        if dark:
            page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
            page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
        page.wait_for_function(ANSWERED, arg=0)
        yield page
        assert complaints == []


def after(page: Any, act: Callable[[], Any]) -> None:
    """Do something, and wait for what comes of it."""
    page.wait_for_function(ANSWERED, arg=0)
    past = int(page.locator(".mc").get_attribute("data-asked"))
    act()
    page.wait_for_function(ANSWERED, arg=past)


def said(console: Any) -> tuple[str, str]:
    """The figure's accessible name, and the finding in words."""
    return console.locator("img").get_attribute("alt"), console.get_by_role("status").inner_text()


def folded(console: Any, name: str) -> str:
    return console.locator("details", has_text=name).locator("pre").text_content()


def an_error_stands_at_its_line_until_it_is_mended(page: Any, console: Any) -> None:
    editor = console.get_by_label("manifests")
    text, before = editor.input_value(), said(console)
    line = text[: text.index(LIMIT)].count("\n") + 1
    after(page, lambda: editor.fill(text.replace(LIMIT, "http2MaxRequest: 9")))
    error = console.locator("li.error")
    assert error.get_by_role("button").inner_text() == f"line {line}" and "did you mean 'http2MaxRequests'?" in error.inner_text()
    assert console.locator(".mc-gutter .error").all_inner_texts() == [str(line)] and "no mesh" in said(console)[1]
    error.get_by_role("button").click()
    assert editor.evaluate("area => area.value.slice(area.selectionStart, area.selectionEnd)").strip().endswith("{http2MaxRequest: 9}")
    after(page, lambda: editor.fill(text))
    assert console.locator("li.error").count() == 0 and said(console) == before and before[1].startswith("10.00 %")


def a_moved_rule_changes_yaml_figure_and_words(page: Any, console: Any) -> None:
    before, slider = said(console), console.get_by_label("checkout: http2MaxRequests")
    slider.focus()
    after(page, lambda: page.keyboard.press("ArrowRight"))
    moved = slider.get_attribute("aria-valuetext")
    assert int(moved) > 9 and f"http2MaxRequests: {moved}" in folded(console, "YAML to copy")
    alt, status = said(console)
    assert alt != before[0] and status.startswith("0.00 %")


def _undo_and_reset_return(page: Any, console: Any) -> None:
    editor, start = console.get_by_label("manifests"), console.get_by_label("manifests").input_value()
    undo, reset = (console.get_by_role("button", name=name, exact=True) for name in ("undo", "reset"))
    after(page, undo.click)
    assert said(console)[1].startswith("10.00 %") and LIMIT in folded(console, "YAML to copy")
    after(page, lambda: editor.fill(start.replace(LIMIT, "http2MaxRequests: 5")))
    after(page, reset.click)
    assert editor.input_value() == start
    after(page, undo.click)
    assert "http2MaxRequests: 5" in editor.input_value()  # what was typed is not lost
    after(page, reset.click)


def _a_dropped_record_stands_beside_the_model_by_code(page: Any, console: Any) -> None:
    field = console.get_by_label("fortio's record")
    after(page, lambda: field.evaluate(DROPPED, RECORD.read_text(encoding="utf-8")))
    assert "Code 503" in field.input_value() and "recorded" in said(console)[0]
    after(page, lambda: console.get_by_label("show", exact=True).select_option("codes"))
    assert "montecarlo: 200 " in said(console)[0] and "recorded: 200 " in said(console)[0]
    after(page, lambda: field.fill("hello"))
    assert "error" in console.locator("li.error").inner_text()
    after(page, lambda: field.fill(""))
    assert console.locator("li.error").count() == 0 and "recorded" not in said(console)[0]


def _a_pod_breaks(page: Any, console: Any) -> None:
    before = said(console)
    after(page, lambda: console.get_by_label("which then").select_option("503"))
    after(page, lambda: console.get_by_label("break a pod").select_option("payments-v1-1"))
    assert said(console)[1] != before[1] and "payments-v1-1" in console.locator(".mc-table").inner_text()


def _a_stands_beside_b(page: Any, console: Any) -> None:
    after(page, lambda: console.get_by_label("show", exact=True).select_option("A beside B"))
    assert said(console)[0].startswith("Changes from A to B with 95 % intervals") and "By more than chance: " in said(console)[0]


def _the_report_is_one_page(page: Any, console: Any, tmp_path: Path) -> None:
    """It can be saved, and asks for nothing when it is opened."""
    after(page, console.get_by_role("button", name=REPORT).click)
    with page.expect_download() as saved:
        console.get_by_role("link", name="save report.html").click()
    saved.value.save_as(tmp_path / "saved.html")
    assert (tmp_path / "saved.html").read_text(encoding="utf-8") == (tmp_path / "root/report.html").read_text(encoding="utf-8")
    report, asked = page.context.new_page(), []
    report.on("request", lambda request: asked.append(request.url))
    report.goto((tmp_path / "saved.html").as_uri())
    assert report.get_by_role("heading", name="Your own mesh").is_visible()
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "saved.html").as_uri()]
    report.set_viewport_size({"width": 420, "height": 900})
    assert report.evaluate("() => document.documentElement.scrollWidth") <= 420
    report.close()


def _a_real_envoy_runs_it(page: Any, console: Any) -> None:
    after(page, console.get_by_role("button", name=ON_ENVOY).click)
    assert "real Envoy" in console.locator(".mc-table").inner_text() + said(console)[0]
    assert console.get_by_role("link").count() == 0  # the report was another mesh's
