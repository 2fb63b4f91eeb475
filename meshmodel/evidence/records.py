"""The real Envoy's records: what is kept of an experiment, and the recording itself.

`record` plays an experiment on a real Envoy and stores, for each repetition, fortio's
result, codes, endpoints, attempts, counters, ejections, the rig's overhead and the `figures` that
`conformance` compares (`data/envoy/NAME.json`, and `NAME.provenance.json`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from meshmodel import _files
from meshmodel._data import data_path
from meshmodel.evidence.experiments import Experiment, everything
from meshmodel.results.replay import Replay

REPETITIONS = 5
QUANTILES = np.linspace(0, 1, 41)
"""Of the rig's overhead, as records keep it."""


# --- figures, the same of a record and of the model -----------------------------------------


def figures(replay: Replay) -> dict[str, np.ndarray]:
    """Every figure that is compared, each (replications,); NaN where a replication has none. Seconds, shares, counts."""
    requests = np.maximum(replay.requests, 1)
    found: dict[str, np.ndarray] = {"requests": replay.requests}
    found |= {f"code {code}": counts / requests for code, counts in replay.codes.items()}
    found |= {f"answered by {name}": counts / requests for name, counts in replay.endpoints.items()}
    found["attempts per request"] = replay.pod_attempts.sum(axis=0) / requests
    found |= {f"attempts at {name}": counts / requests for name, counts in replay.attempts.items()}
    pods = np.array([replay.pods[name] for name in replay.pod_names])
    if len(pods) > 1:
        found["busiest less idlest pod"] = pods.max(axis=0) - pods.min(axis=0)
    everything = replay.log.code != -2
    found["latency mean"] = np.sum(replay.log.latency, axis=0, where=everything) / requests
    found |= _quantiles(replay, "latency", everything, (50, 90, 99))
    if len(replay.codes) > 1:
        for code in replay.codes:
            found |= _quantiles(replay, f"latency of {code}", replay.log.code == code, (50, 90))
    return {name: np.asarray(values, dtype=float) for name, values in (found | _outages(replay) | _counters(replay)).items()}


def _quantiles(replay: Replay, name: str, which: np.ndarray, percents: Iterable[int]) -> dict[str, np.ndarray]:
    """Empirical quantiles of the latencies: the smallest value that so many percent do not exceed."""
    count = which.sum(axis=0)
    ordered = np.sort(np.where(which, replay.log.latency, np.inf), axis=0)
    found = {}
    for percent in percents:
        index = np.maximum(np.ceil(percent / 100 * count).astype(int) - 1, 0)
        found[f"{name} p{percent}"] = np.where(count > 0, np.take_along_axis(ordered, index[None], 0)[0], np.nan)
    return found


def _outages(replay: Replay) -> dict[str, np.ndarray]:
    """Ejections, when the first one came, and how long each pod's first three lasted."""
    if not any(cluster.outlier_detection for route in replay.scenario.routes for cluster in route.clusters):
        return {}
    events = replay.ejections
    found = {"ejections": np.bincount(events.replication[events.ejected], minlength=replay.replications).astype(float)}
    for index, pod in enumerate(replay.pod_names):
        rows = np.full((6, replay.replications), np.nan)
        mine = events.pod == index
        for replication, when, gone in zip(events.replication[mine], events.time[mine], events.ejected[mine], strict=True):
            free = np.flatnonzero(np.isnan(rows[:, replication]))
            if free.size and (free[0] % 2 == 0) == gone:  # it leaves, it comes back, it leaves ...
                rows[free[0], replication] = when
        if mine.any():
            found[f"{pod} leaves"] = rows[0]
            found |= {f"{pod} outage {n + 1}": rows[2 * n + 1] - rows[2 * n] for n in range(3)}
            found |= {f"{pod} back before leaving {n + 2}": rows[2 * n + 2] - rows[2 * n + 1] for n in range(2)}
    return found


def _counters(replay: Replay) -> dict[str, np.ndarray]:
    """The counters that the model keeps; overflow of max_requests has a counter of its own from Envoy 1.40 on."""
    values = dict(replay.counters)
    overflow = values.pop("upstream_rq_active_overflow", 0)
    if "upstream_rq_pending_overflow" in values:
        values["upstream_rq_pending_overflow"] = values["upstream_rq_pending_overflow"] + overflow
    kept = (*COUNTERS, "outlier_detection.ejections_enforced_total")
    return {name: values[name] for name in kept if name in values}


COUNTERS = (
    "upstream_rq_retry",
    "upstream_rq_retry_overflow",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_pending_overflow",
)

# --- recording --------------------------------------------------------------------------------


def record(names: Iterable[str] | None = None, repetitions: int = REPETITIONS, parallel: int = 4, folder: Path | None = None) -> None:
    """Measure experiments (None: all) on a real Envoy and store them in data/envoy: NAME.json and NAME.provenance.json.

    `parallel` repetitions run at once, each in a process of its own, the longest ones first.
    """
    from concurrent.futures import ProcessPoolExecutor  # here, since a browser tab may have none
    from multiprocessing import get_context

    chosen = {name: everything()[name] for name in (names or everything())}
    jobs = sorted(((name, i) for name in chosen for i in range(repetitions)), key=lambda job: -_seconds(chosen[job[0]]))
    with ProcessPoolExecutor(parallel, mp_context=get_context("spawn")) as pool:
        futures = {job: pool.submit(_measure, *job) for job in jobs}
        for name, experiment in chosen.items():
            runs = [futures[name, i].result() for i in range(repetitions)]
            _store(experiment, runs, folder or data_path("envoy"))
            medians = [about["rig_overhead"]["median"] for _, about in runs]
            print(f"{name}: rig overhead, median of each repetition, ms:", *(f"{1000 * m:.1f}" if m else "-" for m in medians), flush=True)


def _seconds(experiment: Experiment) -> float:
    workload = experiment.workload
    return workload.duration or getattr(workload, "calls", 0) * 0.2


def _measure(name: str, repetition: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One repetition: what is stored of it, and its provenance.  Runs in a process of its own."""
    from meshmodel.envoy.engine import measure

    experiment = everything()[name]
    begun = time.monotonic()
    replay = measure(experiment.scenario(overhead=0), seed=1000 * repetition + 1)
    overhead = overheads(replay)
    replay = experiment.as_recorded(replay)
    run = {
        "fortio": replay.histogram(0).to_json(),
        "codes": {str(code): int(counts[0]) for code, counts in replay.codes.items()},
        "endpoints": {pod: int(counts[0]) for pod, counts in replay.pods.items()},
        "attempts": {pod: int(count) for pod, count in zip(replay.pod_names, replay.pod_attempts[:, 0], strict=True)},
        "counters": {counter: int(values[0]) for counter, values in replay.counters.items() if values[0]},
        "ejections": [
            [round(float(when), 3), replay.pod_names[pod], "ejected" if gone else "returned"]
            for when, pod, gone in zip(replay.ejections.time, replay.ejections.pod, replay.ejections.ejected, strict=True)
        ],
        "figures": {figure: None if np.isnan(value[0]) else round(float(value[0]), 6) for figure, value in figures(replay).items()},
        "overhead": [round(float(seconds), 6) for seconds in overhead],
    }
    return run, replay.provenance | {"seconds": round(time.monotonic() - begun, 1)}


def overheads(replay: Replay) -> np.ndarray:
    """`QUANTILES` of latency less service time, over the requests that met no error and no retry; empty: there is none."""
    seconds = {e.name: e.behaviour.timings[0] for chain in reversed(replay.scenario.chains) for e in chain[-1].endpoints}
    service = np.array([seconds[name] for name in replay.pod_names])
    log = replay.log
    plain = (log.code == 200) & (log.attempts == 1) & (log.endpoint >= 0)
    spent = log.latency[plain] - service[log.endpoint[plain]]
    return np.quantile(spent, QUANTILES) if spent.size else spent


def _store(experiment: Experiment, runs: Sequence[tuple[dict[str, Any], dict[str, Any]]], folder: Path) -> None:
    provenance = [each for _, each in runs]
    shared = {key: provenance[0][key] for key in ("envoy", "python", "system", "workers", "driver")}
    about = shared | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repetitions": len(runs),
        "time_scale": 1,
        "manifests": {"files": list(experiment.manifests), "sha256": experiment.digest()},
        "rig_overhead": [each["rig_overhead"] for each in provenance],
        "seconds": [each["seconds"] for each in provenance],
    }
    rows = ",\n".join(json.dumps(run, separators=(",", ":")) for run, _ in runs)
    _files.write(folder / f"{experiment.name}.json", f"[\n{rows}\n]\n")
    _files.write(folder / f"{experiment.name}.provenance.json", json.dumps(about, indent=1) + "\n")


def read(name: str) -> list[dict[str, Any]] | None:
    """The stored repetitions of an experiment, as `record` wrote them; None: there is no record."""
    try:
        return json.loads(data_path("envoy", f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
