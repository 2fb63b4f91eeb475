"""The tutorial's experiments by name: what was applied, what load was put on, what came back.

    catalogue.names()                                  every name
    experiment = catalogue.experiment("lb-least-conn")
    experiment.compare(experiment.replay())            model beside record

The experiments and their records are data (`data/tutorial/experiments.yaml`); here they are only read.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from meshmodel._data import data_path
from meshmodel.fakeservice import parse_duration
from meshmodel.mesh import Mesh
from meshmodel.results.fortio import Histogram, read_record
from meshmodel.scenario import ClosedLoop, Scenario

if TYPE_CHECKING:
    from meshmodel.results.compare import Comparison, Comparisons
    from meshmodel.results.replay import Replay


class UnknownExperiment(ValueError):
    """No experiment has that name; the message names the nearest."""


@dataclass(frozen=True)
class Experiment:
    """One experiment of the tutorial.

    `record` is what came back: fortio's `Histogram`; a tuple of (code, seconds) calls; the
    counts of the bodies; or None, where the tutorial shows none.  The first `skip` calls of a
    loop came before the record began.  `resolution` is fortio's, in seconds.  `causes` says
    of figures that lie outside the model's interval why they do.
    """

    name: str
    title: str
    manifests: tuple[str, ...]
    workload: ClosedLoop
    record: Histogram | tuple[tuple[int, float], ...] | Mapping[str, int] | None
    resolution: float = 0.001
    skip: int = 0
    causes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def mesh(self, **options: Any) -> Mesh:
        """A mesh with the experiment's manifests applied; `options` as for `Mesh`."""
        return Mesh(**options).apply(*(data_path("tutorial", "manifests", name) for name in self.manifests))

    def scenario(self, **options: Any) -> Scenario:
        """The experiment as an engine takes it."""
        return self.mesh(**options).scenario(self.workload)

    def replay(self, replications: int = 1000, seed: int = 1, executor: Any = None, progress: bool = False, **options: Any) -> Replay:
        """The Monte-Carlo replay; `options` as for `Mesh`."""
        from meshmodel.simulation.montecarlo import simulate

        return self._as_recorded(simulate(self.scenario(**options), replications, seed, executor=executor, progress=progress))

    def predict(self, **options: Any) -> Any:
        """The analytic prediction.  Raises `NoClosedForm` where there is none."""
        from meshmodel.analytic.engine import predict

        return predict(self.scenario(**options))

    def measure(self, repetitions: int = 1, seed: int = 1, **options: Any) -> Replay:
        """The same load on a real Envoy on loopback; it takes as long as the experiment did."""
        from meshmodel.envoy.engine import measure

        return self._as_recorded(measure(self.scenario(), repetitions=repetitions, seed=seed, **options))

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

    def _as_recorded(self, replay: Replay) -> Replay:
        return replay.after(self.skip).with_resolution(self.resolution)

    def compare(self, outcome: Any) -> Comparison | Comparisons | None:
        """Hold an engine's outcome against the record (None: the tutorial has none)."""
        from meshmodel.results.compare import compare, compare_counts, compare_curl

        if self.record is None:
            return None
        if isinstance(self.record, Histogram):
            return compare(outcome, self.record, name="tutorial")
        if isinstance(self.record, tuple):
            codes, seconds = zip(*self.record, strict=True)
            return compare_curl(outcome, codes, seconds, name="tutorial")
        return compare_counts(outcome, self.record, name="tutorial")


@lru_cache(maxsize=1)
def _experiments() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(data_path("tutorial", "experiments.yaml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Every experiment, in the tutorial's order."""
    return list(_experiments())


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises
    ------
    UnknownExperiment : naming the nearest that there is.
    """
    entry = _experiments().get(name)
    if entry is None:
        near = difflib.get_close_matches(name, names(), n=1)
        raise UnknownExperiment(f"no experiment {name!r}{f', did you mean {near[0]}?' if near else ''} (meshmodel list shows them all)")
    skip = entry.get("skip", 0)
    load = entry.get("load")
    if load:
        workload = ClosedLoop(connections=load["connections"], qps=load["qps"], duration=parse_duration(load["duration"], "duration"))
    else:
        workload = ClosedLoop(calls=entry["curl"] + skip)
    resolution = (load or {}).get("resolution", 0.001)
    causes = {cause: tuple(figures) for cause, figures in entry.get("causes", {}).items()}
    return Experiment(name, entry["title"], tuple(entry["manifests"]), workload, _record(entry), resolution, skip, causes)


def envoy_records(name: str) -> list[Histogram] | None:
    """fortio's histogram of each repetition on our own real Envoy (data/envoy/NAME.json); None: there is no record.

    `envoy_records.read` has all that was recorded: codes, endpoints, attempts, counters, ejections.
    """
    from meshmodel.evidence import records as envoy_records

    runs = envoy_records.read(name)
    return [Histogram.from_json(run["fortio"], f"{name}.json") for run in runs] if runs else None


def _record(entry: Mapping[str, Any]) -> Histogram | tuple[tuple[int, float], ...] | Mapping[str, int] | None:
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
