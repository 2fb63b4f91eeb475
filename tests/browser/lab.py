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
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "t"
PATIENCE = 120_000  # milliseconds, for a chapter's run on a busy machine
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
).split()
KERNEL_READY = """async () => {
    const app = window.jupyterapp; await app.restored;
    const context = app.shell.currentWidget.sessionContext; await context.ready; await context.session.kernel.info; }"""
# The command's promise is kept when all cells have run; clicking the menu is lost while the kernel starts.
RUN_ALL = "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
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
    port = _free_port()
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(_command(root, port), env=_environment(home), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(port, process, home / "lab.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return any_socket.getsockname()[1]


def _command(root: Path, port: int) -> list[str]:
    options = f"--no-browser --allow-root --port={port} --ip=127.0.0.1 --IdentityProvider.token={TOKEN} --ServerApp.port_retries=0"
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


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab does not listen: {log.read_text()[-2000:]}")


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
        page.set_default_timeout(PATIENCE)
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


def _failed(page: Any, tmp_path: Path) -> str:
    page.screenshot(path=tmp_path / "failed.png", full_page=True)
    outputs = page.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']")
    return f"{outputs.first.inner_text()[-1500:]} (screenshot {tmp_path / 'failed.png'})"
