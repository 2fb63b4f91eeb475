"""Does the model do what the real Envoy does?  The records, and the table `policy x figure: model, Envoy, verdict`.

A case is an experiment of the tutorial's catalogue, or one policy in isolation
(`data/envoy/experiments.yaml`).  `record` plays it on a real Envoy and stores, for each
repetition, fortio's result and the figures below (`data/envoy/NAME.json`).  `check` plays it
in the Monte-Carlo engine and compares figure by figure.

Null hypothesis: the repetitions on Envoy are exchangeable with the model's replications.
With x the mean of a figure over the n repetitions, y its mean over the R replications,
and g the means of n replications drawn at random from the R, G times,

    p = (1 + #{g : |g - y| >= |x - y| - t}) / (G + 1),

t being what the rig can resolve, by one rule for all cases (`tolerance`): Envoy's timers are
up to 4 ms early or late, and what a request spends in the rig (on a busy machine: threads
that wait for a core) goes partly before the pod and once for each attempt, where the model
charges it once, after the answer.  Shares, attempts and ejections are hardly touched by that.
A row agrees when p >= FALSE_ALARM / rows, so that a model that is right
passes the entire table with a probability of 99 % (Bonferroni).  What the rig spends outside
the pods is measured with every record and goes into the model as it is: nothing is tuned.

References: R. J. Tibshirani and B. Efron, An Introduction to the Bootstrap (1993), chapter 16,
for the resampled distribution of the mean; O. J. Dunn, Multiple comparisons among means,
J. Am. Stat. Assoc. 56 (1961) 52-64, for the correction.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats
from tabulate import tabulate

from meshmodel import catalogue
from meshmodel._data import data_path
from meshmodel.fakeservice import parse_duration
from meshmodel.mesh import Mesh
from meshmodel.replay import Replay
from meshmodel.scenario import ClosedLoop, Distribution, OpenLoop, Scenario, Workload

REPETITIONS = 5
QUANTILES = np.linspace(0, 1, 41)
"""Of the rig's overhead, as records keep it."""


@dataclass(frozen=True)
class Case:
    """One experiment that model and Envoy both play; `manifests` are paths below data/.

    `changes` are (seconds, manifests) applied in the middle of the load.  `overhead_of`: the case whose record
    tells the rig's overhead, where this one's latencies hold waiting or delays of the policy.  `causes`: figure
    (a prefix) -> why Envoy differs there.
    """

    name: str
    policy: str
    title: str
    manifests: tuple[str, ...]
    workload: Workload
    target: str | None = None
    locality: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[tuple[float, tuple[str, ...]], ...] = ()
    skip: int = 0
    resolution: float = 0.001
    overhead_of: str | None = None
    causes: Mapping[str, str] = field(default_factory=dict)

    def scenario(self, overhead: Distribution | float = 0.0) -> Scenario:
        """The case as an engine takes it, the rig's overhead (seconds) being `overhead`."""
        mesh = Mesh(**{"istio": "1.17", **self.options}, overhead=overhead).apply(*map(data_path, self.manifests))
        for at, manifests in self.changes:
            mesh.at(at).apply(*map(data_path, manifests))
        return mesh.scenario(self.workload, self.target, self.locality)

    def as_recorded(self, replay: Replay) -> Replay:
        """The replay as the record has it: without the calls that came before it, in its resolution."""
        return replay.after(self.skip).with_resolution(self.resolution)

    def digest(self) -> str:
        """SHA-256 over the manifests, in order: what the record was made from."""
        files = [*self.manifests, *(name for _, names in self.changes for name in names)]
        return hashlib.sha256(b"".join(data_path(name).read_bytes() for name in files)).hexdigest()


@lru_cache(maxsize=1)
def cases() -> dict[str, Case]:
    """Every case by name: the catalogue's, then each policy in isolation."""
    return {name: _of_catalogue(name) for name in catalogue.names()} | {
        name: _of_entry(name, entry) for name, entry in _experiments()["isolation"].items()
    }


@lru_cache(maxsize=1)
def _experiments() -> dict[str, Any]:
    return yaml.safe_load(data_path("envoy", "experiments.yaml").read_text(encoding="utf-8"))


def _of_catalogue(name: str) -> Case:
    experiment, more = catalogue.experiment(name), (_experiments()["catalogue"] or {}).get(name, {})
    manifests = tuple(f"tutorial/manifests/{file}" for file in experiment.manifests)
    return Case(
        name, "the tutorial's experiments", experiment.title, manifests, experiment.workload, skip=experiment.skip,
        resolution=experiment.resolution, overhead_of=more.get("overhead_of"), causes=more.get("causes", {}),
    )  # fmt: skip


def _of_entry(name: str, entry: Mapping[str, Any]) -> Case:
    options = {key: entry[key] for key in ("istio", "workers", "injector") if key in entry}
    changes = tuple((parse_duration(change["at"], "at"), _files(change["manifests"])) for change in entry.get("changes", ()))
    return Case(
        name, entry["policy"], entry["title"], _files(entry["manifests"]), _workload(entry), entry.get("target", "backend"),
        entry.get("locality"), options, changes, overhead_of=entry.get("overhead_of"), causes=entry.get("causes", {}),
    )  # fmt: skip


def _files(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"envoy/manifests/{name}" for name in names)


def _workload(entry: Mapping[str, Any]) -> Workload:
    if "curl" in entry:
        return ClosedLoop(calls=entry["curl"])
    if "open" in entry:
        seconds, rate = parse_duration(entry["open"]["duration"], "duration"), float(entry["open"]["rate"])
        return OpenLoop(segments=((seconds, rate, rate),), arrivals=entry["open"].get("arrivals", "poisson"))
    load = entry["load"]
    return ClosedLoop(connections=load["connections"], qps=load.get("qps", 0), duration=parse_duration(load["duration"], "duration"))


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
    if not any(d.cluster.outlier_detection for route in replay.scenario.routes for d in route.destinations):
        return {}
    events, runs = replay.ejections, replay.replications
    found = {"ejections": np.bincount(events.replication[events.ejected], minlength=runs).astype(float)}
    for index, pod in enumerate(replay.pod_names):
        rows = np.full((6, runs), np.nan)
        mine = events.pod == index
        for run, when, gone in zip(events.replication[mine], events.time[mine], events.ejected[mine], strict=True):
            free = np.flatnonzero(np.isnan(rows[:, run]))
            if free.size and (free[0] % 2 == 0) == gone:  # it leaves, it comes back, it leaves ...
                rows[free[0], run] = when
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
    """Measure cases (None: all) on a real Envoy and store them in data/envoy: NAME.json and NAME.provenance.json.

    `parallel` repetitions run at once, each in a process of its own, the longest cases first.
    """
    chosen = {name: cases()[name] for name in (names or cases())}
    jobs = sorted(((name, i) for name in chosen for i in range(repetitions)), key=lambda job: -_seconds(chosen[job[0]]))
    with ProcessPoolExecutor(parallel, mp_context=get_context("spawn")) as pool:
        futures = {job: pool.submit(_measure, *job) for job in jobs}
        for name, case in chosen.items():
            runs = [futures[name, i].result() for i in range(repetitions)]
            _store(case, runs, folder or data_path("envoy"))
            medians = [about["rig_overhead"]["median"] for _, about in runs]
            print(f"{name}: rig overhead, median of each repetition, ms:", *(f"{1000 * m:.1f}" if m else "-" for m in medians), flush=True)


def _seconds(case: Case) -> float:
    workload = case.workload
    return workload.duration or getattr(workload, "calls", 0) * 0.2


def _measure(name: str, repetition: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One repetition: what is stored of it, and its provenance.  Runs in a process of its own."""
    from meshmodel.engines.envoy import measure

    case = cases()[name]
    begun = time.monotonic()
    replay = measure(case.scenario(), seed=1000 * repetition + 1)
    overhead = overheads(replay)
    replay = case.as_recorded(replay)
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
    service = np.array([endpoint.behaviour.timings[0] for endpoint in replay.scenario.endpoints])
    log = replay.log
    plain = (log.code == 200) & (log.attempts == 1) & (log.endpoint >= 0)
    spent = log.latency[plain] - service[log.endpoint[plain]]
    return np.quantile(spent, QUANTILES) if spent.size else spent


def _store(case: Case, runs: Sequence[tuple[dict[str, Any], dict[str, Any]]], folder: Path) -> None:
    provenance = [each for _, each in runs]
    shared = {key: provenance[0][key] for key in ("envoy", "python", "system", "workers", "driver")}
    about = shared | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repetitions": len(runs),
        "time_scale": 1,
        "manifests": {"files": list(case.manifests), "sha256": case.digest()},
        "rig_overhead": [each["rig_overhead"] for each in provenance],
        "seconds": [each["seconds"] for each in provenance],
    }
    rows = ",\n".join(json.dumps(run, separators=(",", ":")) for run, _ in runs)
    (folder / f"{case.name}.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    (folder / f"{case.name}.provenance.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


# --- the table ----------------------------------------------------------------------------------

FALSE_ALARM = 0.01
"""Probability that a model which is right fails anywhere in the table."""

REPLICATIONS = 400
DOCUMENT = Path(__file__).parents[1] / "docs" / "conformance.md"
DRAWS = 200_000
TOLERANCE_SECONDS = 0.005
TOLERANCE_COUNT = 0.01


@dataclass(frozen=True)
class Row:
    """One figure: the model's mean and 95 % range of a repetition, Envoy's mean of its repetitions, and the p-value."""

    case: Case
    figure: str
    model: float
    lo: float
    hi: float
    envoy: float
    p_value: float

    def agrees(self, rows: int) -> bool:
        """Whether model and Envoy agree at this row's part of `FALSE_ALARM`, the table having so many rows."""
        return self.p_value >= FALSE_ALARM / rows

    @property
    def cause(self) -> str | None:
        """The documented cause of a difference; None: there is none."""
        return next((text for figure, text in self.case.causes.items() if self.figure.startswith(figure)), None)

    def verdict(self, rows: int) -> str:
        """As the table has it."""
        return "agrees" if self.agrees(rows) else self.cause or "DIFFERS"


def read(name: str) -> list[dict[str, Any]] | None:
    """The stored repetitions of a case, as `record` wrote them; None: there is no record."""
    try:
        return json.loads(data_path("envoy", f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def rig_overhead(case: Case) -> Distribution:
    """What the rig spent outside the pods when the case was recorded (or the one that it names)."""
    return overhead_distribution([run["overhead"] for run in read(case.overhead_of or case.name) or []])


def overhead_distribution(quantiles: Iterable[Sequence[float]]) -> Distribution:
    """`QUANTILES` of the overhead of some runs (seconds; runs without are left out) as one distribution, linear between them."""
    mean = np.mean([run for run in quantiles if len(run)] or [np.zeros(len(QUANTILES))], axis=0)
    edges = np.maximum.accumulate(np.maximum(mean, 0)) + 1e-9 * np.arange(len(mean))
    return stats.rv_histogram((np.ones(len(edges) - 1), edges), density=False)


def model(case: Case, replications: int = REPLICATIONS, seed: int = 1) -> Replay:
    """The case in the Monte-Carlo engine, with the rig's overhead of its record."""
    from meshmodel.engines.montecarlo import simulate

    return case.as_recorded(simulate(case.scenario(rig_overhead(case)), replications, seed))


def check(
    case: Case, replay: Replay | None = None, recorded: Sequence[Mapping[str, float | None]] | None = None, slack: float = 1.0
) -> list[Row]:
    """Every figure of a case: `replay` (default: `model`) against the figures of each repetition (default: the record's).

    `slack` multiplies the tolerances.
    """
    replay = replay or model(case)
    recorded = recorded or [run["figures"] for run in read(case.name) or []]
    modelled = figures(replay)
    names = dict.fromkeys([*modelled, *(name for run in recorded for name in run)])
    rows = []
    for name in names:
        values = modelled.get(name, np.zeros(replay.replications) if _is_share(name) else np.full(replay.replications, np.nan))
        observed = np.array([run.get(name, 0.0 if _is_share(name) else None) for run in recorded], dtype=float)
        values, observed = values[~np.isnan(values)], observed[~np.isnan(observed)]
        if len(values) >= replay.replications / 10 and len(observed) and (values.any() or observed.any()):
            lo, hi = np.quantile(values, [0.025, 0.975])
            p = p_value(observed, values, slack * tolerance(name, replay))
            rows.append(Row(case, name, float(values.mean()), float(lo), float(hi), float(observed.mean()), p))
    return rows


def _is_share(figure: str) -> bool:
    """Where absence means zero."""
    return figure.startswith(("code ", "answered by ", "attempts at ", "upstream_"))


def tolerance(figure: str, replay: Replay) -> float:
    """What the rig can resolve of a figure.

    Times: 5 ms and the rig's overhead (its mean; at a quantile the overhead's own quantile).  Counts: one; of
    requests in a closed loop, which follow the latencies, 1 % as well.  Shares and attempts: one request's.
    """
    requests = float(np.mean(replay.requests))
    overhead = replay.scenario.overhead
    if figure.startswith("latency"):
        _, _, percent = figure.rpartition(" p")
        return TOLERANCE_SECONDS + float(overhead.ppf(float(percent) / 100) if percent.isdigit() else overhead.mean())
    if figure.endswith(" leaves") or " outage " in figure or " back " in figure:
        return TOLERANCE_SECONDS + float(overhead.mean())
    if figure == "requests":
        return 1 + TOLERANCE_COUNT * requests if isinstance(replay.scenario.workload, ClosedLoop) else 1.0
    return 1 / requests if figure.startswith(("code ", "answered by ", "attempts ")) else 1.0


def p_value(observed: np.ndarray, values: np.ndarray, tolerance: float) -> float:
    """p of the module's docstring, `observed` (n,) against `values` (R,)."""
    off = abs(observed.mean() - values.mean()) - tolerance
    if off <= 0:
        return 1.0
    groups = values[_drawn(len(values), len(observed))].mean(axis=0)
    return float((1 + (np.abs(groups - values.mean()) >= off - 1e-12).sum()) / (DRAWS + 1))


@lru_cache(maxsize=8)
def _drawn(replications: int, n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(replications, size=(n, DRAWS), dtype=np.int32)


def table(names: Iterable[str] | None = None) -> list[Row]:
    """The rows of every recorded case (or of those named)."""
    return [row for name in (names or cases()) if read(name) for row in check(cases()[name])]


def text(rows: Sequence[Row], fmt: str = "simple", total: int | None = None, brief: bool = False) -> str:
    """The rows as a table; `total`: how many rows the whole table has (default: these); `brief`: without the causes."""
    cells = [
        (row.figure, _number(row, row.model), f"{_number(row, row.lo)} to {_number(row, row.hi)}", _number(row, row.envoy),
         "differs, see above" if brief and not row.agrees(total or len(rows)) else row.verdict(total or len(rows)))
        for row in rows
    ]  # fmt: skip
    headers = ("figure", "model", "95 % of replications", "Envoy", "verdict")
    return tabulate(cells, headers, tablefmt=fmt, disable_numparse=True, colalign=("left", "right", "right", "right", "left"))


def _number(row: Row, value: float) -> str:
    share = row.figure.startswith(("code ", "answered by ", "attempts "))
    count = row.figure.startswith(("requests", "ejections", "upstream_", "busiest", "outlier_detection"))
    return f"{100 * value:.1f} %" if share and row.figure != "attempts per request" else f"{value:.1f}" if count else f"{value:.3f}"


def markdown(rows: Sequence[Row]) -> str:
    """docs/conformance.md: a summary, what differs and why, then every row."""
    recorded = {row.case.name: row.case for row in rows}
    about = {name: json.loads(data_path("envoy", f"{name}.provenance.json").read_text(encoding="utf-8")) for name in recorded}
    versions = ", ".join(sorted({each["envoy"] for each in about.values()}))
    medians = [np.median(read(name)[0]["overhead"]) for name, case in recorded.items() if case.overhead_of is None]  # type: ignore[index]
    differing = [row for row in rows if not row.agrees(len(rows))]
    policies = list(dict.fromkeys(row.case.policy for row in rows))
    parts = [
        "# Model and real Envoy\n",
        "Made by `make conformance` from the records in `data/envoy`, which `make record` makes; a test keeps it up to date.\n",
        f"Envoy {versions}; {min(each['repetitions'] for each in about.values())} repetitions of each case, in real time, on loopback. The "
        f"model: {REPLICATIONS} replications from seed 1, the rig's overhead as measured with each record (median {1000 * min(medians):.0f} "
        f"to {1000 * max(medians):.0f} ms), nothing fitted. A model that is right fails anywhere in the table with a probability of "
        f"{FALSE_ALARM:.0%}; `meshmodel/conformance.py` has the test and what the rig can resolve.\n",
        tabulate([_summary(policy, rows) for policy in policies], ("policy", "cases", "figures", "differ"), tablefmt="github") + "\n",
        "## What differs, and why\n",
        *(
            f"- {row.case.name}, {row.figure}: model {_number(row, row.model)}, Envoy {_number(row, row.envoy)}: {row.verdict(len(rows))}."
            for row in differing
        ),
        "",
    ]
    for policy in policies:
        parts.append(f"## {_sentence(policy)}\n")
        for case in (case for case in recorded.values() if case.policy == policy):
            mine = [row for row in rows if row.case is case]
            parts.append(f"### {case.name}\n\n{_sentence(case.title)}.\n\n{text(mine, 'github', len(rows), brief=True)}\n")
    return "\n".join(parts)


def _summary(policy: str, rows: Sequence[Row]) -> tuple[str, int, int, int]:
    mine = [row for row in rows if row.case.policy == policy]
    return policy, len({row.case.name for row in mine}), len(mine), sum(not row.agrees(len(rows)) for row in mine)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def write() -> None:
    """Write docs/conformance.md of the checkout."""
    DOCUMENT.write_text(markdown(table()), encoding="utf-8")
