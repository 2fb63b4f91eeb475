"""Does the model do what the real Envoy does?  The table `policy x figure: model, Envoy, verdict`.

`check` plays an experiment in the Monte-Carlo engine and holds it against its record, figure by figure.

Null hypothesis: the repetitions on Envoy are exchangeable with the model's replications.
With x the mean of a figure over the n repetitions, y its mean over the R replications,
and g the means of n replications drawn at random from the R, G times,

    p = (1 + #{g : |g - y| >= |x - y| - t}) / (G + 1),

t being what the rig can resolve, by one rule for all experiments (`tolerance`): Envoy's timers are
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

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate

from meshmodel import _files
from meshmodel._data import data_path
from meshmodel.evidence.experiments import Experiment, everything
from meshmodel.evidence.records import QUANTILES, figures, read
from meshmodel.results.replay import Replay
from meshmodel.scenario import ClosedLoop, Distribution, Route, Scenario

FALSE_ALARM = 0.01
"""Probability that a model which is right fails anywhere in the table."""

REPLICATIONS = 400
DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
DRAWS = 200_000
TOLERANCE_SECONDS = 0.005
TOLERANCE_COUNT = 0.01


@dataclass(frozen=True)
class Row:
    """One figure: the model's mean and 95 % range of a repetition, Envoy's mean of its repetitions, and the p-value."""

    experiment: Experiment
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
        return next((text for figure, text in self.experiment.envoy_causes.items() if self.figure.startswith(figure)), None)

    def verdict(self, rows: int) -> str:
        """As the table has it."""
        return "agrees" if self.agrees(rows) else self.cause or "DIFFERS"


def rig_overhead(experiment: Experiment) -> Distribution:
    """What the rig spent outside the pods when the experiment was recorded (or the one that it names)."""
    return overhead_distribution([run["overhead"] for run in read(experiment.overhead_of or experiment.name) or []])


def overhead_distribution(quantiles: Iterable[Sequence[float]]) -> Distribution:
    """`QUANTILES` of the overhead of some runs (seconds; runs without are left out) as one distribution, linear between them."""
    mean = np.mean([run for run in quantiles if len(run)] or [[0.0] * len(QUANTILES)], axis=0)
    edges = np.maximum.accumulate(np.maximum(mean, 0)) + 1e-9 * np.arange(len(mean))
    return stats.rv_histogram((np.ones(len(edges) - 1), edges), density=False)


def without_receivers(scenario: Scenario) -> Scenario:
    """The scenario as the rig plays it: its pods have no sidecars of their own, whose limits Istio would write too."""

    def bare(route: Route) -> Route:
        return route.with_endpoints(lambda endpoint: replace(endpoint, inbound=None))

    return scenario.with_chains(lambda chain: tuple(map(bare, chain)))


def model(experiment: Experiment, replications: int = REPLICATIONS, seed: int = 1) -> Replay:
    """The experiment in the Monte-Carlo engine, with the rig's overhead of its record."""
    from meshmodel.simulation.montecarlo import simulate

    scenario = without_receivers(experiment.scenario(overhead=rig_overhead(experiment)))
    return experiment.as_recorded(simulate(scenario, replications, seed))


def check(
    experiment: Experiment, replay: Replay | None = None, recorded: Sequence[Mapping[str, float | None]] | None = None, slack: float = 1.0
) -> list[Row]:
    """Every figure of an experiment: `replay` (default: `model`) against the figures of each repetition (default: the record's).

    `slack` multiplies what the run itself contributes to the tolerances: its overhead, and its requests.
    """
    replay = replay or model(experiment)
    recorded = recorded or [run["figures"] for run in read(experiment.name) or []]
    modelled = figures(replay)
    names = dict.fromkeys([*modelled, *(name for run in recorded for name in run)])
    rows = []
    for name in names:
        values = modelled.get(name, np.zeros(replay.replications) if _is_share(name) else np.full(replay.replications, np.nan))
        observed = np.array([run.get(name, 0.0 if _is_share(name) else None) for run in recorded], dtype=float)
        values, observed = values[~np.isnan(values)], observed[~np.isnan(observed)]
        if len(values) >= replay.replications / 10 and len(observed) and (values.any() or observed.any()):
            lo, hi = np.quantile(values, [0.025, 0.975])
            p = p_value(observed, values, tolerance(name, replay, slack))
            rows.append(Row(experiment, name, float(values.mean()), float(lo), float(hi), float(observed.mean()), p))
    return rows


def _is_share(figure: str) -> bool:
    """Where absence means zero."""
    return figure.startswith(("code ", "answered by ", "attempts at ", "upstream_"))


def tolerance(figure: str, replay: Replay, slack: float = 1.0) -> float:
    """What the rig can resolve of a figure.

    Times: 5 ms and `slack` times the rig's overhead (its mean; at a quantile the overhead's own quantile).  Counts:
    `slack`; of requests in a closed loop, which follow the latencies, as many percent as well.  Shares and attempts:
    `slack` requests'.
    """
    requests = float(np.mean(replay.requests))
    overhead = replay.scenario.overhead
    if figure.startswith("latency"):
        _, _, percent = figure.rpartition(" p")
        return TOLERANCE_SECONDS + slack * float(overhead.ppf(float(percent) / 100) if percent.isdigit() else overhead.mean())
    if figure.endswith(" leaves") or " outage " in figure or " back " in figure:
        return TOLERANCE_SECONDS + slack * float(overhead.mean())
    if figure == "requests":
        return slack * (1 + TOLERANCE_COUNT * requests if isinstance(replay.scenario.workload, ClosedLoop) else 1.0)
    return slack / requests if figure.startswith(("code ", "answered by ", "attempts ")) else slack


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
    """The rows of every recorded experiment (or of those named)."""
    return [row for name in (names or everything()) if read(name) for row in check(everything()[name])]


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
    recorded = {row.experiment.name: row.experiment for row in rows}
    about = {name: json.loads(data_path("envoy", f"{name}.provenance.json").read_text(encoding="utf-8")) for name in recorded}
    versions = ", ".join(sorted({each["envoy"] for each in about.values()}))
    medians = [np.median(read(name)[0]["overhead"]) for name, experiment in recorded.items() if experiment.overhead_of is None]  # type: ignore[index]
    differing = [row for row in rows if not row.agrees(len(rows))]
    keys = list(dict.fromkeys((row.experiment.name, row.cause) for row in differing))
    policies = list(dict.fromkeys(row.experiment.policy for row in rows))
    parts = [
        "# Model and real Envoy\n",
        "Made by `make conformance` from the records in `data/envoy`, which `make record` makes; a test keeps it up to date.\n",
        f"Envoy {versions}; {min(each['repetitions'] for each in about.values())} repetitions of each case, in real time, on loopback. The "
        f"model: {REPLICATIONS} replications from seed 1, the rig's overhead as measured with each record (median "
        f"{1000 * min(medians):.0f} to {1000 * max(medians):.0f} ms), nothing fitted. A model that is right fails anywhere in the table "
        f"with a probability of {FALSE_ALARM:.0%}; `meshmodel/evidence/conformance.py` has the test and what the rig can resolve.\n",
        tabulate([_summary(policy, rows) for policy in policies], ("policy", "cases", "figures", "differ"), tablefmt="github") + "\n",
        "## What differs, and why\n",
        *(_difference([row for row in differing if (row.experiment.name, row.cause) == key], len(rows)) for key in keys),
        "",
    ]
    for policy in policies:
        parts.append(f"## {_sentence(policy)}\n")
        for experiment in (each for each in recorded.values() if each.policy == policy):
            mine = [row for row in rows if row.experiment is experiment]
            parts.append(f"### {experiment.name}\n\n{_sentence(experiment.title)}.\n\n{text(mine, 'github', len(rows), brief=True)}\n")
    return "\n".join(parts)


def _difference(rows: Sequence[Row], total: int) -> str:
    """One experiment's rows of one cause, as a line of a list."""
    figures_of = "; ".join(f"{row.figure} (model {_number(row, row.model)}, Envoy {_number(row, row.envoy)})" for row in rows)
    return f"- **{rows[0].experiment.name}**, {figures_of}: {rows[0].verdict(total)}."


def _summary(policy: str, rows: Sequence[Row]) -> tuple[str, int, int, int]:
    mine = [row for row in rows if row.experiment.policy == policy]
    return policy, len({row.experiment.name for row in mine}), len(mine), sum(not row.agrees(len(rows)) for row in mine)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def write() -> None:
    """Write docs/conformance.md of the checkout."""
    _files.write(DOCUMENT, markdown(table()))
