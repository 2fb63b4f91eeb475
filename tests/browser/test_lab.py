"""A reader's session: JupyterLab in a headless Chromium runs a notebook and moves a slider by keyboard.

Without a Chromium (or playwright) the tests are skipped with that reason; where
MESHMODEL_REQUIRE_BROWSER=1 is set, as in CI, they fail instead.  The notebooks are
copied first: JupyterLab saves what it opens.
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
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CHAPTERS = [path.name for path in [ROOT / "notebooks/01-load-balancing.ipynb"] if path.exists()]
TOKEN = "t"
PATIENCE = 120_000  # milliseconds, for a chapter's run on a busy machine
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
).split()
SMALL = f"""
from meshmodel.mesh import Mesh
from meshmodel.teaching.widgets import replay_console
data = {str(ROOT / "data/tutorial")!r}
mesh = Mesh().apply(*(f"{{data}}/manifests/{{name}}.yaml" for name in ("testbed", "slow-backend-1", "dr-least-conn")))
console = replay_console(mesh, data + "/least-conn.txt", duration=20, replications=50)
console
"""
KERNEL_READY = """async () => {
    const app = window.jupyterapp; await app.restored;
    const context = app.shell.currentWidget.sessionContext; await context.ready; await context.session.kernel.info; }"""
# The command's promise is kept when all cells have run; clicking the menu is lost while the kernel starts.
RUN_ALL = "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
REDRAWN = """([before, said]) => {
    const console = document.querySelector('.meshmodel-console'), image = console.querySelector('[role=img] img');
    return image && image.src !== before && image.alt !== said && !console.innerText.includes('replaying'); }"""
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


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab on a copy of the notebooks, beside the data; it is stopped afterwards."""
    chromium()
    _copy_notebooks(tmp_path / "root")
    for name, content in SETTINGS.items():
        file = tmp_path / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    port = _free_port()
    with (tmp_path / "lab.log").open("w") as log:
        process = subprocess.Popen(
            _command(tmp_path / "root", port), env=_environment(tmp_path), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(port, process, tmp_path / "lab.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _copy_notebooks(root: Path) -> None:
    (root / "notebooks").mkdir(parents=True)
    for chapter in CHAPTERS:
        shutil.copy(ROOT / "notebooks" / chapter, root / "notebooks")
    (root / "data").symlink_to(ROOT / "data")
    small = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SMALL)])
    small.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(small, root / "notebooks/small.ipynb")


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


@pytest.mark.parametrize("notebook", ["small.ipynb", *CHAPTERS])
def test_a_reader_runs_the_notebook_and_moves_a_slider(lab: str, notebook: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    elsewhere: list[str] = []
    local = (lab, lab.replace("http", "ws"), "data:", "blob:")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=chromium(), headless=True, args=FLAGS, viewport={"width": 1280, "height": 1000}
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)[:300]))
        page.on("request", lambda request: None if request.url.startswith(local) else elsewhere.append(request.url))
        page.goto(f"{lab}/lab/tree/notebooks/{notebook}?token={TOKEN}&reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.evaluate(KERNEL_READY)
        page.evaluate(RUN_ALL)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0, _failed(page, tmp_path)
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0, _failed(page, tmp_path)
        _move_the_delay(page, tmp_path)
        context.close()
    assert errors == [] and elsewhere == []


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


def _failed(page, tmp_path: Path) -> str:
    page.screenshot(path=tmp_path / "failed.png", full_page=True)
    outputs = page.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']")
    return f"{outputs.first.inner_text()[-1500:]} (screenshot {tmp_path / 'failed.png'})"
