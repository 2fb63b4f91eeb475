"""What ends early ends in order: signals, temporary folders, sweeps over processes, and sweeps that go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from meshmodel._signals import ending_in_order
from meshmodel.envoy.folders import temporary_folder

ROOT = Path(__file__).parents[2]


def python(code: str, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, **options)


# --- signals ------------------------------------------------------------------------------

WAITS = """
import signal, sys
from meshmodel._signals import ending_in_order
with ending_in_order():
    try:
        print("up", flush=True)
        signal.pause()
    finally:
        print("closed", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_what_is_open_and_sets_the_status(how):
    with python(WAITS) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(how)
        process.send_signal(how)  # a second one interrupts nothing
        assert process.stdout.read() == "closed\n"
    assert process.returncode == 128 + how


def test_a_signal_that_is_ignored_stays_ignored():
    with python(WAITS.replace("import signal, sys", "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)")) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "closed\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_an_interrupt_that_python_drops_is_raised_again():
    """An exception in a finalizer goes nowhere."""
    code = WAITS.replace("signal.pause()", "X(); again()").replace("ending_in_order():", "ending_in_order() as again:")
    finalizer = "class X:\n    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
    with python(code.replace("with end", finalizer + "with end"), stderr=subprocess.PIPE) as process:
        assert process.stdout.read() == "up\nclosed\n"
        assert "Exception ignored in" in process.stderr.read()
    assert process.returncode == -signal.SIGINT


def test_handlers_are_put_back_and_other_threads_have_none():
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    with ending_in_order(), ending_in_order():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    thread = threading.Thread(target=lambda: ending_in_order().__enter__())
    thread.start()
    thread.join()
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before


def test_a_command_ends_by_a_signal_with_its_status(tmp_path):
    os.mkfifo(tmp_path / "manifest")
    code = "import sys; from meshmodel.__main__ import main; print('up', flush=True); sys.exit(main(['load', '-']))"
    with python(code, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write("#" * 1_000_000)  # more than a pipe holds: when it is written, the command is reading
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == ""
        process.stdin.close()
    assert process.returncode == 143


# --- temporary folders --------------------------------------------------------------------

HOLDS = """
import signal
from meshmodel.envoy.folders import temporary_folder
with temporary_folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    signal.pause()
"""


@pytest.fixture
def top(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_lives_as_long_as_its_block(top):
    with temporary_folder() as folder, pytest.raises(ZeroDivisionError), temporary_folder() as other:
        assert folder.parent == other.parent == top and folder != other
        (other / "sub").mkdir()
        _ = 1 / 0
    assert not list(top.iterdir())


def test_the_folder_of_a_dead_process_is_removed_and_that_of_a_living_one_is_not(top):
    unfinished = top / f"meshmodel-{2**22 + 1}-x"  # Linux numbers processes up to 2**22
    unfinished.mkdir()
    (top / "meshmodel-notes").mkdir()
    (top / "meshmodel-notes" / "mine").touch()
    with python(HOLDS, env={"TMPDIR": str(top)}) as dead, python(HOLDS, env={"TMPDIR": str(top)}) as living:
        left, kept = (Path(process.stdout.readline().strip()) for process in (dead, living))
        dead.kill()
        dead.wait()
        assert (left / "file").exists()
        with temporary_folder():
            assert (
                not left.exists() and not unfinished.exists() and (kept / "file").exists() and (top / "meshmodel-notes" / "mine").exists()
            )
        living.terminate()
