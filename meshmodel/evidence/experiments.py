"""What an experiment is, the tutorial's or one of our own on a real Envoy, and the one place where they are read.

`data/tutorial/experiments.yaml` has the tutorial's, with what it recorded; `data/envoy/experiments.yaml`
has each policy in isolation, and what else conformance needs to know of the tutorial's.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from meshmodel import workloads
from meshmodel._data import data_path
from meshmodel._lite import fewer
from meshmodel.fakeservice import parse_duration
from meshmodel.mesh import Mesh
from meshmodel.results.fortio import Histogram, read_record
from meshmodel.scenario import Scenario, Workload

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from meshmodel.results.compare import Comparison, Comparisons
    from meshmodel.results.replay import Replay

TUTORIAL = "the tutorial's experiments"
"""The `policy` of those that the tutorial made."""

Record = Histogram | tuple[tuple[int, float], ...] | Mapping[str, int] | None


@dataclass(frozen=True)
class Experiment:
    """Manifests, a load, and what is known of the outcome.

    name, policy, title : its own, and what it is about.
    manifests : paths below data/; `changes` are (seconds, manifests) applied in the middle of the load.
    workload, target, locality : as `Mesh.scenario` takes them; `options` : as `Mesh` does.
    record : what the tutorial got: fortio's `Histogram`; a tuple of (code, seconds) calls; the counts of the
        bodies; or None, where it shows none.  `resolution` is fortio's, in seconds.
    skip : so many calls of a loop came before the record began.
    causes : of figures of the tutorial's record that lie outside the model's interval: cause -> figures.
    overhead_of : the experiment whose record tells the rig's overhead on the real Envoy, where this one's
        latencies hold waiting or delays of the policy.
    envoy_causes : figure (or how its name begins) -> why the real Envoy differs there.
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
    record: Record = None
    resolution: float = 0.001
    skip: int = 0
    causes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overhead_of: str | None = None
    envoy_causes: Mapping[str, str] = field(default_factory=dict)

    def mesh(self, **options: Any) -> Mesh:
        """A mesh with the experiment's manifests applied; `options` as for `Mesh`."""
        mesh = Mesh(**{"istio": "1.17", "namespace": "istioinaction", **self.options, **options}).apply(*map(data_path, self.manifests))
        for at, manifests in self.changes:
            mesh.at(at).apply(*map(data_path, manifests))
        return mesh

    def scenario(self, **options: Any) -> Scenario:
        """The experiment as an engine takes it; `options` as for `Mesh`."""
        return self.mesh(**options).scenario(self.workload, self.target, self.locality)

    # An engine is loaded when it is first asked, so that looking at experiments starts fast.

    def replay(
        self, replications: int = 1000, seed: int = 1, executor: Executor | None = None, progress: bool = False, **options: Any
    ) -> Replay:
        """The Monte-Carlo replay; `options` as for `Mesh`."""
        from meshmodel.simulation.admission import expected_requests
        from meshmodel.simulation.montecarlo import simulate

        scenario = self.scenario(**options)
        made = fewer(replications, expected_requests(scenario))
        return self.as_recorded(simulate(scenario, made, seed, executor=executor, progress=progress))

    def predict(self, **options: Any) -> Any:
        """The analytic prediction; `options` as for `Mesh`.  Raises `NoClosedForm` where there is none."""
        from meshmodel.analytic.engine import predict

        return predict(self.scenario(**options))

    def measure(self, repetitions: int = 1, seed: int = 1, **options: Any) -> Replay:
        """The same load on a real Envoy on loopback; it takes as long as the experiment did."""
        from meshmodel.envoy.engine import measure

        return self.as_recorded(measure(self.scenario(), repetitions=repetitions, seed=seed, **options))

    def as_recorded(self, replay: Replay) -> Replay:
        """The replay as the record has it: without the calls that came before it, in its resolution."""
        return replay.after(self.skip).with_resolution(self.resolution)

    def compare(self, outcome: Any) -> Comparison | Comparisons | None:
        """Hold an engine's outcome against the tutorial's record (None: it has none)."""
        from meshmodel.results.compare import compare, compare_counts, compare_curl

        if self.record is None:
            return None
        if isinstance(self.record, Histogram):
            found: Any = compare(outcome, self.record, name="tutorial")
            return found
        if isinstance(self.record, tuple):
            codes, seconds = zip(*self.record, strict=True)
            return compare_curl(outcome, codes, seconds, name="tutorial")
        return compare_counts(outcome, self.record, name="tutorial")

    def explain(self, comparison: Comparison | Comparisons) -> str:
        """A line for each known cause of what `comparison` finds outside, and one for what has none."""
        outside = set(comparison.outside)
        lines = [
            f"known cause: {cause} ({', '.join(f for f in figures if f in outside)})"
            for cause, figures in self.causes.items()
            if outside & set(figures)
        ]
        unexplained = outside.difference(*self.causes.values())
        return "\n".join([*lines, *([f"no known cause: {', '.join(sorted(unexplained))}"] if unexplained else [])])

    def digest(self) -> str:
        """SHA-256 over the manifests, in order: what a record was made from."""
        files = [*self.manifests, *(name for _, names in self.changes for name in names)]
        return hashlib.sha256(b"".join(data_path(name).read_bytes() for name in files)).hexdigest()


# --- reading ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def tutorial() -> dict[str, Experiment]:
    """The tutorial's experiments by name, in its order."""
    more = _entries("envoy")["catalogue"]
    return {name: _of_tutorial(name, entry, more.get(name, {})) for name, entry in _entries("tutorial").items()}


@lru_cache(maxsize=1)
def everything() -> dict[str, Experiment]:
    """Every experiment by name: the tutorial's, then each policy in isolation."""
    return tutorial() | {name: _in_isolation(name, entry) for name, entry in _entries("envoy")["isolation"].items()}


def traced() -> dict[str, float | None]:
    """The experiments whose run on a real Envoy is kept attempt by attempt: so many seconds of it (None: all)."""
    found = _entries("envoy")["traces"]
    return {name: None if seconds is None else parse_duration(seconds, name) for name, seconds in found.items()}


@lru_cache(maxsize=2)
def _entries(folder: str) -> dict[str, Any]:
    text = data_path(folder, "experiments.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # in C where PyYAML has it: to start faster


def _of_tutorial(name: str, entry: Mapping[str, Any], more: Mapping[str, Any]) -> Experiment:
    return Experiment(
        name,
        TUTORIAL,
        entry["title"],
        _paths("tutorial", entry["manifests"]),
        _workload(entry),
        record=_record(entry),
        resolution=entry.get("resolution", 0.001),
        skip=entry.get("skip", 0),
        causes={cause: tuple(figures) for cause, figures in entry.get("causes", {}).items()},
        overhead_of=more.get("overhead_of"),
        envoy_causes=more.get("causes", {}),
    )


def _in_isolation(name: str, entry: Mapping[str, Any]) -> Experiment:
    return Experiment(
        name,
        entry["policy"],
        entry["title"],
        _paths("envoy", entry["manifests"]),
        _workload(entry),
        target=entry.get("target", "backend"),
        locality=entry.get("locality"),
        options={key: entry[key] for key in ("istio", "workers", "injector", "errors", "percentiles") if key in entry},
        changes=tuple((parse_duration(each["at"], "at"), _paths("envoy", each["manifests"])) for each in entry.get("changes", ())),
        overhead_of=entry.get("overhead_of"),
        envoy_causes=entry.get("causes", {}),
    )


def _paths(folder: str, names: list[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/manifests/{name}" for name in names)


def _workload(entry: Mapping[str, Any]) -> Workload:
    if "curl" in entry:
        return workloads.curl(entry["curl"] + entry.get("skip", 0))
    if "open" in entry:
        return workloads.open_loop(**entry["open"])
    return workloads.fortio(**{"qps": 0, **entry["load"]})


def _record(entry: Mapping[str, Any]) -> Record:
    if "fortio" in entry:
        return read_record(data_path("tutorial", entry["fortio"]))
    if "loop" in entry:
        return tuple((int(row["code"]), float(row["seconds"])) for row in _rows("curl-loops.csv", entry["loop"]))
    if "counts" in entry:
        return Counter({row["body"]: int(row["count"]) for row in _rows("curl-counts.csv", entry["counts"])})
    return None


def _rows(file: str, name: str) -> list[dict[str, str]]:
    with open(data_path("tutorial", file), newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["experiment"] == name]
