"""What a thread brings back from its part of the replications, and the `Replay` that all parts make."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from meshmodel.results.log import Ejections, RequestLog
from meshmodel.results.replay import Replay
from meshmodel.results.tally import Tally
from meshmodel.results.trace import Trace
from meshmodel.scenario import Scenario
from meshmodel.simulation.attempts import COUNTERS
from meshmodel.simulation.health import EJECTED
from meshmodel.simulation.world import COLUMNS, Layout, World


class Part(NamedTuple):
    """Some replications, from number `first` on; R of them, P pods of the last hop."""

    first: int
    requests: np.ndarray  # (R,)
    log: list[np.ndarray] | None  # (R, requests) each
    tally: Tally | None
    sent: np.ndarray  # (P, R) attempts
    counters: dict[str, np.ndarray]  # (R,) each
    unanswered: np.ndarray  # (R,)
    ejections: Ejections


def collect(laid_out: Layout, w: World, first: int) -> Part:
    """The results in a world whose replications have run."""
    keeps_log = bool(w.load[0]["keeps_log"])
    return Part(
        first,
        w.tally["requests"].astype(np.int64),
        [getattr(w, name) for name in COLUMNS] if keeps_log else None,
        None if keeps_log else _tally(laid_out, w),
        w.sent.T,
        dict(zip(COUNTERS, w.counter.T, strict=True)),
        w.tally["unanswered"].astype(np.int64),
        _ejections(laid_out, w, first),
    )


def joined_log(parts: list[Part], room: dict[str, np.ndarray] | None) -> RequestLog:
    """The log of all parts, cut to the longest replication, the others padded; no copy where all still write into `room`."""
    counts = np.concatenate([part.requests for part in parts])
    shortest, longest = int(counts.min(initial=0)), int(counts.max(initial=0))
    columns = []
    for number, (name, kind) in enumerate(COLUMNS.items()):
        written = [part.log[number] for part in parts if part.log is not None]
        if room is not None and all(column.base is room[name] for column in written):
            column = room[name][:, :longest]
        else:
            column = np.empty((len(counts), longest), kind)
            for part, rows in zip(parts, written, strict=True):
                column[part.first : part.first + len(rows), : rows.shape[1]] = rows[:, :longest]
        column[:, shortest:][np.arange(shortest, longest) >= counts[:, None]] = np.nan if kind is float else -2
        columns.append(column.T)
    return RequestLog(*columns)


def _tally(laid_out: Layout, w: World) -> Tally:
    return Tally(
        requests=w.tally["requests"].astype(np.int64), lowest=w.tally["lowest"].copy(), highest=w.tally["highest"].copy(),
        total=w.tally["total"].copy(), squares=w.tally["squares"].copy(), elapsed=w.tally["elapsed"].copy(), buckets=w.buckets.T,
        codes=dict(zip(laid_out.codes, w.codes.T, strict=True)), answers=w.answers.T, good=w.good.T, bin=float(w.load[0]["bin"]),
        codes_by_time=dict(zip(laid_out.codes, w.codes_by_time.T, strict=True)), answers_by_time=w.answers_by_time.T,
        ejected_by_time=w.ejected_by_time,
    )  # fmt: skip


def _ejections(laid_out: Layout, w: World, first: int) -> Ejections:
    notes = np.asarray(w.note[: int(w.clock[0]["noted"])])
    hops = np.array([upstream.hop for upstream in laid_out.plan.upstreams])
    notes = notes[(notes["what"] <= EJECTED) & (hops[notes["upstream"]] == laid_out.plan.last)]
    return Ejections(notes["row"] + first, notes["time"], w.host["pod"][notes["host"]], notes["what"] == EJECTED)


def join(
    scenario: Scenario, seed: int, parts: list[Part], resolution: float, room: dict[str, np.ndarray] | None, tracer: Callable[[int], Trace]
) -> Replay:
    """All parts, in their order; `room`: what their logs are parts of, where they are."""
    keeps_log = parts[0].log is not None
    counters = {name: np.concatenate([part.counters[name] for part in parts]) for name in COUNTERS}
    return Replay(
        scenario, "montecarlo", joined_log(parts, room) if keeps_log else None, np.concatenate([part.sent for part in parts], axis=1),
        seed=seed, tracer=tracer,
        tally=None if keeps_log else Tally.join([part.tally for part in parts if part.tally is not None]),
        counters=counters, unanswered=np.concatenate([part.unanswered for part in parts]), resolution=resolution,
        ejections=Ejections(*(np.concatenate(column) for column in zip(*(_columns(part.ejections) for part in parts), strict=True))),
    )  # fmt: skip


def _columns(ejections: Ejections) -> tuple[np.ndarray, ...]:
    return ejections.replication, ejections.time, ejections.pod, ejections.ejected
