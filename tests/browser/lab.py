"""A reader's JupyterLab in a headless Chromium, for all browser tests.

Without a Chromium (or playwright) the tests are skipped with that reason; where
MESHMODEL_REQUIRE_BROWSER=1 is set, as in CI, they fail instead.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.patience import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
TOKEN = "t"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
).split()
KERNEL_READY = """async () => {
    const app = window.jupyterapp; await app.restored;
    const context = app.shell.currentWidget.sessionContext; await context.ready; await context.session.kernel.info; }"""
# The command's promise is kept when all cells have run; clicking the menu is lost while the kernel starts.
RUN_ALL = "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
# From the first move until another picture is there, of all consoles of the page, in milliseconds.
WATCH_REDRAWS = """() => { const watched = window.redraws, moved = new Map(); window.redraws = []; if (watched) return;
    new MutationObserver(changes => { for (const { target, attributeName } of changes) {
        const root = target.closest('.mc'), now = performance.now();
        if (!root) continue;
        if (attributeName === 'data-asked' && !moved.has(root)) moved.set(root, now);
        if (attributeName === 'src' && moved.has(root)) { redraws.push(now - moved.get(root)); moved.delete(root); }
    } }).observe(document.body, { subtree: true, attributeFilter: ['data-asked', 'src'] }); }"""
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # no pop-up over the page
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there too
}


def chromium() -> str:
    """Chromium's path; skips, or fails where the browser is required."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    missing = "no Chromium on the PATH" if found is None else "no playwright" if importlib.util.find_spec("playwright") is None else None
    if missing:
        (pytest.fail if os.environ.get("MESHMODEL_REQUIRE_BROWSER") == "1" else pytest.skip)(missing)
    return str(found)


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


@contextmanager
def jupyterlab(root: Path, home: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves `root` and keeps its own things in `home`; it is stopped afterwards."""
    for name, content in SETTINGS.items():
        file = home / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(_command(root), env=_environment(home), stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{_port(process, home)}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def _command(root: Path) -> list[str]:
    options = f"--no-browser --allow-root --port=0 --ip=127.0.0.1 --IdentityProvider.token={TOKEN}"
    fixed = ["--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    return [sys.executable, "-m", "jupyterlab", *options.split(), f"--ServerApp.root_dir={root}", *fixed]


def _environment(home: Path) -> dict[str, str]:
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **{name: str(home / folder) for name, folder in folders.items()}, "PYTHONPATH": path}


def _port(process: subprocess.Popen[bytes], home: Path) -> int:
    """The free port that it took, once it listens."""
    said = home / f"runtime/jpserver-{process.pid}.json"
    eventually(lambda: process.poll() is not None or (said.exists() and said.read_text().rstrip().endswith("}")))
    assert process.poll() is None and said.exists(), (home / "lab.log").read_text()[-2000:]
    return json.loads(said.read_text())["port"]


@contextmanager
def browser_page(address: str, home: Path, **settings: Any) -> Iterator[Any]:
    """A page; afterwards it must have logged no error and asked no other host than `address`."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    elsewhere: list[str] = []
    local = (address, address.replace("http", "ws"), "data:", "blob:")
    settings = {"viewport": {"width": 1280, "height": 1000}, **settings}
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(home / "profile"), executable_path=chromium(), headless=True, args=FLAGS, **settings
        )
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)[:300]))
        page.on("request", lambda request: None if request.url.startswith(local) else elsewhere.append(request.url))
        yield page
        context.close()
    assert errors == [] and elsewhere == []


def run_all(page: Any, address: str, notebook: str, tmp_path: Path) -> None:
    """Open a notebook and run all its cells; none may fail or warn."""
    page.goto(f"{address}/lab/tree/{notebook}?token={TOKEN}&reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.evaluate(KERNEL_READY)
    page.evaluate(RUN_ALL)
    for kind in ("error", "stderr"):
        assert page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").count() == 0, _failed(page, tmp_path)


@contextmanager
def redraws_reported(page: Any, record: Callable[[str, object], None], of: str) -> Iterator[None]:
    """How long the moves made here took to be seen is told at the end of the run; a machine's time is no test."""
    page.evaluate(WATCH_REDRAWS)
    yield
    record(f"redraws of {of}", page.evaluate("() => redraws"))


def _failed(page: Any, tmp_path: Path) -> str:
    page.screenshot(path=tmp_path / "failed.png", full_page=True)
    outputs = page.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']")
    return f"{outputs.first.inner_text()[-1500:]} (screenshot {tmp_path / 'failed.png'})"
