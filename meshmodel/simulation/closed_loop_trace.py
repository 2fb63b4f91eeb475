"""One replication of the lock-step loop attempt by attempt: it is run again alone, from its own stream, with a note of every request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from meshmodel.results.log import GAVE_UP
from meshmodel.results.trace import HOSTS, Trace
from meshmodel.simulation import admission
from meshmodel.simulation.closed_loop import ClosedLoopRun, LeastRequestPicker, Picker, RoundRobinPicker, Streams
from meshmodel.simulation.run import stream
from meshmodel.simulation.world import Layout


def trace_in_lock_step(laid_out: Layout, seed: int, replication: int) -> Trace:
    """Everything that happened in a replication that `montecarlo` ran in lock-step."""
    scenario, reduced = laid_out.scenario, laid_out.reduced
    run = _NotedRun(reduced, [stream(seed, replication)], admission.room(reduced))
    log, _ = run.run()
    kept = np.flatnonzero(log.code[:, 0] != -2)  # a connection's request after the end is none
    start, latency, code = (column[kept, 0] for column in (log.start, log.latency, log.code))
    noted = pd.DataFrame([run.picks.notes[row] for row in kept.tolist()], columns=list(_Note._fields))
    if laid_out.behind:
        code = np.where((code != 200) & (code > 0), 500, code)
    names = np.array([*(e.name for e in run.cluster.endpoints), ""], dtype=object)
    number = np.arange(len(kept))
    requests = pd.DataFrame(
        {
            "request": number, "connection": noted.connection, "start": start, "end": start + latency, "code": code,
            "endpoint": np.where(code == GAVE_UP, "", names[noted.endpoint]), "attempts": 1,
        }
    )  # fmt: skip
    attempts = pd.DataFrame(
        {
            "request": number, "hop": len(scenario.routes) - len(reduced.routes), "number": 1, "call": number, "parent": -1,
            "proxy": reduced.routes[-1].callers[0].name, "worker": noted.worker, "endpoint": names[noted.endpoint],
            "chosen": start, "start": start, "end": start + noted.seconds,
            "outcome": [str(code) for code in np.concatenate(run.answers)[kept].tolist()], "back_off": 0.0,
            "first": names[noted["first"]], "second": names[noted.second],
            "first_active": noted.first_active, "second_active": noted.second_active,
        }
    )  # fmt: skip
    pods = {e.name: e.deployment for e in scenario.endpoints}
    hosts = pd.DataFrame([], columns=list(HOSTS))
    return Trace(requests, attempts, hosts, scenario, "montecarlo", tuple(pods), tuple(pods.values()))


class _Note(NamedTuple):
    """A pick: `first` and `second` are what LEAST_REQUEST drew (-1: nothing), with how many requests they had."""

    worker: int
    endpoint: int
    first: int
    second: int
    first_active: int
    second_active: int
    connection: int
    seconds: float


class _NotedRun(ClosedLoopRun):
    """`answers` are the codes that pods gave, also where the client did not wait for them."""

    def __init__(self, *settings: object) -> None:
        super().__init__(*settings)  # type: ignore[arg-type]
        self.pick = self.picks = _NotingPicker(self.pick)
        self.answers: list[np.ndarray] = []

    def _patience(self, latency: np.ndarray, code: np.ndarray, endpoint: np.ndarray) -> None:
        self.answers.append(code.copy())
        super()._patience(latency, code, endpoint)


class _NotingPicker:
    """Picks as another does, of one replication, and notes why."""

    def __init__(self, picker: Picker) -> None:
        self.picker = picker
        self.notes: list[_Note] = []

    def draw(self, rng: Streams, steps: int) -> None:
        self.picker.draw(rng, steps)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        chosen = self.picker.choose(k, t, worker)
        by = int(worker[0]) if worker is not None else int(self.picker.cell[k][0]) if isinstance(self.picker, RoundRobinPicker) else -1
        self.notes.append(_Note(by, int(chosen[0]), *_draws(self.picker, k, t), connection=-1, seconds=0.0))
        return chosen

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        self.notes[-1] = self.notes[-1]._replace(connection=int(cell[0]), seconds=float(np.broadcast_to(seconds, 1)[0]))
        self.picker.sent(cell, endpoint, t, seconds)


def _draws(picker: Picker, k: int, t: np.ndarray) -> tuple[int, int, int, int]:
    """The two pods that LEAST_REQUEST drew, and their active requests when it did; -1: another policy draws none."""
    if not isinstance(picker, LeastRequestPicker):
        return -1, -1, -1, -1
    pods = [int(drawn[0]) for drawn in picker.drawn[:, k]]
    busy = picker.until > t * (1 + 1e-12)  # as `choose` asks
    first, second = (int(((picker.at == pod) & busy).sum()) for pod in pods)
    return pods[0], pods[1], first, second
