"""What ends early ends in order: signals, temporary folders, sweeps over processes, and sweeps that go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from meshmodel._signals import ending_in_order
from meshmodel.envoy.folders import temporary_folder
from meshmodel.grid import SweepError, sweep
from meshmodel.mesh import Mesh
from meshmodel.results.journal import digest
from meshmodel.results.replay import Outcome
from meshmodel.scenario import ClosedLoop
from tests.patience import PATIENCE, eventually

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
    waits = WAITS.replace('print("closed"', 'sys.stdin.readline(); print("closed"')  # closing takes until both signals are sent
    with python(waits, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(how)
        process.send_signal(how)  # a second one interrupts nothing
        process.stdin.write("\n")
        process.stdin.flush()
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


def test_a_folder_goes_although_somebody_goes_on_writing_into_it(top):
    """As an Envoy does that is about to be killed, while it starts."""
    over = threading.Event()

    def write(folder: Path) -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                (folder / f"file{number}").touch()
            except FileNotFoundError:
                number = 0

    for _ in range(20):
        over.clear()
        with temporary_folder() as folder:
            writer = threading.Thread(target=write, args=[folder])
            writer.start()
            while len(list(folder.iterdir())) < 20:
                pass
        over.set()
        writer.join()
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


# --- sweeps -------------------------------------------------------------------------------

GRID = {"connections": [1, 2, 3, 4], "qps": [10.0, 100.0]}


def noted(connections: int, qps: float, log: str, replications: int, seed: int) -> Outcome:
    """A load whose every computing leaves a line in the file `log`."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{connections} {qps}\n")
    mesh = Mesh(overhead=0).apply(ROOT / "data/tutorial/manifests/testbed.yaml")
    return mesh.fortio_load(connections, qps, "1s", replications=replications, seed=seed)


def computed(log: Path) -> Counter[str]:
    return Counter(log.read_text(encoding="utf-8").splitlines()) if log.exists() else Counter()


def stored(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_a_sweep_goes_on_where_it_was_interrupted_and_computes_no_cell_twice(tmp_path):
    log, path = tmp_path / "log", tmp_path / "sweep.jsonl"
    build = partial(noted, log=str(log))
    whole = sweep(build, GRID, replications=3, seed=5)
    log.unlink()
    interrupted = sweep(build, GRID, replications=3, seed=5, resume=path)
    lines = stored(path)
    path.write_text("\n".join(lines[:4]) + '\n{"cell": 7, "figu', encoding="utf-8")  # three cells, and a line that a kill tore
    log.unlink()
    with ThreadPoolExecutor(2) as pool:
        resumed = sweep(build, GRID, replications=3, seed=5, resume=path, executor=pool)
    assert sorted(computed(log).values()) == [1] * 5 and sorted(stored(path)) == sorted(lines)
    log.unlink()
    again = sweep(build, GRID, replications=3, seed=5, resume=path)
    assert not computed(log)
    for table in (interrupted, resumed, again):
        pd.testing.assert_frame_equal(table, whole, check_exact=True)


def test_progress_begins_with_the_cells_that_are_done(tmp_path, capsys):
    build = partial(noted, log=str(tmp_path / "log"))
    sweep(build, GRID, replications=1, resume=tmp_path / "s")
    sweep(build, GRID, replications=1, resume=tmp_path / "s", progress=True)
    assert "8/8" in capsys.readouterr().err and len(computed(tmp_path / "log")) == 8


@pytest.mark.parametrize("change", ["seed", "replications", "grid", "common", "build", "mesh"])
def test_the_file_of_another_sweep_is_refused(tmp_path, change):
    mesh = Mesh(overhead=0).apply(ROOT / "data/tutorial/manifests/testbed.yaml")
    path = tmp_path / "sweep.jsonl"

    def run(duration: str = "1s", grid: Any = GRID, seed: int = 1, **options: Any) -> None:
        sweep(
            partial(mesh.fortio_load, duration=duration),
            grid,
            replications=options.pop("replications", 1),
            seed=seed,
            resume=path,
            **options,
        )

    run()
    before = path.read_bytes()
    if change == "mesh":
        mesh.apply(ROOT / "data/tutorial/manifests/dr-random.yaml")
    changed: dict[str, dict[str, Any]] = {
        "seed": {"seed": 2},
        "replications": {"replications": 2},
        "common": {"common_random_numbers": True},
    }
    changed |= {"grid": {"grid": {"connections": [1, 2]}}, "build": {"duration": "2s"}, "mesh": {}}
    with pytest.raises(
        SweepError, match="sweep.jsonl line 1: is of another sweep, fortio_load over connections, qps|another sweep, a function"
    ):
        run(**changed[change])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("hello", "line 3: not JSON"),
        ("[]", "line 3: must be a JSON object"),
        ("{}", "cell: must be a whole number"),
        ('{"cell": 8, "figures": {}}', "cell: must be below 8"),
        ('{"cell": -1, "figures": {}}', "cell: must be a whole number"),
        ('{"cell": 0, "figures": {}}', "stand once"),
        ('{"cell": 1, "figures": {"avg": "1"}}', "figures.avg: must be a number"),
        ('{"cell": 1, "figures": {"avg": NaN}}', "line 3: not JSON"),
        ('{"cell": 1, "cell": 1, "figures": {}}', "stands twice"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, line, part):
    path = tmp_path / "sweep.jsonl"
    build = partial(noted, log=str(tmp_path / "log"))
    sweep(build, GRID, replications=1, resume=path)
    header, first = [line for line in stored(path) if '"sweep"' in line or '"cell": 0' in line]
    path.write_text("\n".join((header, first, line)) + "\n", encoding="utf-8")
    with pytest.raises(SweepError, match=part) as caught:
        sweep(build, GRID, replications=1, resume=path)
    assert "sweep.jsonl line 3" in str(caught.value)


@pytest.mark.parametrize("content", ["kind: Service", "kind: Service\n", "a\nb", '{"sweep": \n', "\0"])
def test_a_file_that_is_something_else_is_left_as_it_was(tmp_path, content):
    path = tmp_path / "other"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SweepError, match="other line 1: (is of|not JSON)"):
        sweep(partial(noted, log=str(tmp_path / "log")), GRID, replications=1, resume=path)
    assert path.read_text(encoding="utf-8") == content and not computed(tmp_path / "log")


def test_a_first_line_that_a_kill_tore_is_written_anew(tmp_path):
    build = partial(noted, log=str(tmp_path / "log"))
    sweep(build, GRID, replications=1, resume=tmp_path / "whole")
    (tmp_path / "torn").write_text(stored(tmp_path / "whole")[0][:9], encoding="utf-8")
    sweep(build, GRID, replications=1, resume=tmp_path / "torn")
    assert sorted(stored(tmp_path / "torn")) == sorted(stored(tmp_path / "whole"))


def other_loads(number: int) -> Outcome:
    raise ZeroDivisionError


def test_a_sweep_is_told_from_another_by_all_that_it_is_given():
    """Objects whose text carries their place in memory, and sets, whose order is another in each process, tell nothing wrong."""
    mesh = Mesh(overhead=0).apply(ROOT / "data/tutorial/manifests/testbed.yaml")
    scenario = mesh.scenario(ClosedLoop(calls=1))
    values = [1, 1.0, "1", None, (1, 2), norm(0, 1), norm(0, 2), scenario, replace(scenario, workers=1), mesh, other_loads, noted]
    values += [np.arange(2000), np.arange(2000) // 2, mesh.copy().delete("Service", "simple-backend"), frozenset("abc"), object()]
    told = [digest(partial(other_loads, value), [{"number": value}], [1], 1) for value in values]
    assert len(set(told)) == len(values)
    later, failing = mesh.copy(), mesh.copy().fail("simple-backend-1", how="503")
    later.at(1).delete("Service", "simple-backend")
    assert len({each.digest() for each in (mesh, later, failing, mesh.copy().fail("simple-backend-1", how="500"), Mesh())}) == 5
    assert told[9] == digest(partial(other_loads, mesh.copy()), [{"number": mesh.copy()}], [1], 1)
    assert told[5] == digest(partial(other_loads, norm(0, 1)), [{"number": norm(0, 1)}], [1], 1)
    assert told[-1] == digest(partial(other_loads, object()), [{"number": object()}], [1], 1)


@pytest.mark.parametrize("name", ["no/such/folder", ".", "a\0b"])
def test_a_file_that_cannot_be_is_refused(tmp_path, name):
    with pytest.raises(SweepError):
        sweep(partial(noted, log=str(tmp_path / "log")), GRID, replications=1, resume=f"{tmp_path}/{name}")
    assert not computed(tmp_path / "log")


SWEEPS = """
import ctypes, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from meshmodel.grid import sweep
from tests.unit.test_interrupts import noted

def build(cell, replications, seed):
    if cell >= 3:
        os.write(1, b"up\\n")  # at once: two workers say it
        (ctypes.PyDLL(None).sleep if sys.argv[1] == "compiled" else time.sleep)(1000)  # with the lock of Python held, or without
    return noted(cell + 1, 10.0, sys.argv[2], replications, seed)

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        sweep(build, {"cell": range(6)}, replications=1, executor=pool, resume=sys.argv[3])
"""


class Sweep:
    """A sweep over two worker processes, of which the fourth cell never ends; all of it carries a mark in its environment."""

    def __init__(self, folder: Path, how: str) -> None:
        (folder / "sweeps.py").write_text(SWEEPS, encoding="utf-8")
        self.log, self.path, self.mark = folder / "log", folder / "sweep.jsonl", uuid.uuid4().hex
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MESHMODEL_TEST": self.mark}
        command = [sys.executable, str(folder / "sweeps.py"), how, str(self.log), str(self.path)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout.readline() == "up\n"
        assert eventually(lambda: len(stored(self.path)) == 4)  # the header and three cells

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.running():
            os.kill(int(number), signal.SIGKILL)
        self.process.communicate()

    def running(self) -> list[str]:
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                state = (environ.parent / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and self.mark.encode() in environ.read_bytes():
                    found.append(environ.parent.name)
            except OSError:  # gone meanwhile
                continue
        return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", ["compiled", "plain"])
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_over_processes_ends_on_a_signal_and_leaves_no_worker(tmp_path, how, signal_):
    """Its cells would take 1000 s, more than the test waits, and look at no signal."""
    with Sweep(tmp_path, how) as begun:
        begun.process.send_signal(signal_)
        begun.process.wait(PATIENCE)
        assert eventually(lambda: not begun.running())
    assert begun.process.returncode == (-signal.SIGINT if signal_ == signal.SIGINT else 143)
    assert len(stored(begun.path)) == 4 and set(computed(begun.log).values()) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_sweep_that_is_killed_leaves_no_worker_and_what_it_had_finished(tmp_path):
    with Sweep(tmp_path, "plain") as begun:
        begun.process.kill()
        assert eventually(lambda: not begun.running())
    assert len(stored(begun.path)) == 4
    with Sweep(tmp_path, "plain") as second:  # goes on: the three cells are there, and the fourth is begun
        with pytest.raises(SweepError, match="another process is at work on this sweep"):
            sweep(partial(noted, log=str(begun.log)), GRID, resume=begun.path)
        second.process.terminate()
    assert set(computed(begun.log).values()) == {1}
