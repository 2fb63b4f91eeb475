"""A console as a dashboard: Voila runs the notebook, the reader moves a control by keyboard, and the line that says so follows."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from classroom import dashboards
from tests.patience import PATIENCE, eventually

from . import test_playground
from .lab import FLAGS, ROOT, chromium, write_notebook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("voila") is None, reason="no Voila: make voila installs it"),
]

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
CELLS = (
    "# a setting\nfrom meshmodel.teaching.consoles import Console, Result, Slider\nfrom meshmodel.teaching.plots import bare_picture",
    "def double(s, replications):\n    return Result(figure=lambda width: bare_picture(width, 2), status=f'twice {s.x} is {2 * s.x}')",
    "Console('Doubling', [Slider('x', 'number', 1, least=0, most=9)], double, replications=None)",
)


def test_a_dashboard_follows_its_controls(tmp_path: Path) -> None:
    with served(tmp_path, *CELLS) as page:
        slider = page.get_by_role("slider", name="number")
        slider.wait_for()
        slider.focus()
        page.keyboard.press("ArrowRight")
        page.get_by_text("twice 2 is 4").wait_for()


def test_the_playground_is_a_dashboard(tmp_path: Path) -> None:
    with served(tmp_path, test_playground.CELL) as page:
        console = page.locator(".mc")
        console.wait_for()
        page.wait_for_function(test_playground.ANSWERED, arg=0)
        test_playground.an_error_stands_at_its_line_until_it_is_mended(page, console)
        test_playground.a_moved_rule_changes_yaml_figure_and_words(page, console)
        assert console.evaluate(test_playground.STICKING_OUT) == []
        console.screenshot(path=tmp_path / "playground.png")


@contextmanager
def served(tmp_path: Path, *cells: str) -> Iterator[Any]:
    """The page of a notebook of these cells, played by Voila."""
    from playwright.sync_api import sync_playwright

    path = tmp_path / "dashboard.ipynb"
    write_notebook(path, *cells)
    with socket.socket() as free:  # Voila tells no port of its own choosing; a taken one it counts up from
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "voila", *options, str(path)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: process.poll() is not None or ADDRESS.search((tmp_path / "log").read_text()))
        address = ADDRESS.search((tmp_path / "log").read_text())[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            page = browser.new_page()
            page.set_default_timeout(1000 * PATIENCE)
            page.route(lambda url: not url.startswith(address), lambda route: route.abort())  # Voila asks a CDN for an icon font
            page.goto(address, wait_until="commit")
            yield page
            browser.close()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def test_each_dashboard_is_a_whole_notebook(tmp_path: Path) -> None:
    made = dashboards.write(tmp_path)
    assert made
    for path in made:
        nbformat.validate(nbformat.read(path, as_version=4))
