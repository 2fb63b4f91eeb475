"""Is this model consistent with this record?

What is modelled.  Under the null hypothesis the record is one more replication of the
model: exchangeable with the R simulated ones.  A statistic T that treats all R + 1 runs
alike then has a rank that is uniform, which gives exact Monte-Carlo p-values,

    one-sided   p = (1 + #{i : T_i >= T_0}) / (R + 1)
    two-sided   p = min(1, 2 min(p of "at least as large", p of "at least as small")),

conservative where values tie.  The joint test takes for T the Mahalanobis distance of a
run's figures x_i from the mean of all R + 1 runs, in their own covariance,

    T_i = (x_i - m)' (S + diag(f^2))^-1 (x_i - m),

x being the average latency, the count of every fortio bucket (their sum, the number of
requests, and to fortio's digits every percentile follow from these) and, where the record has codes, the number
of answers with each code but 200, f one tick of fortio's
resolution for the average and one request for a count: a bucket that hardly ever occurs shall not decide.

Assumptions.  One record is one run.  The p-values of single figures are not independent and
not corrected for their number: the joint one is the test.  The buckets of the table are the
record's own, those in a gap taken together; the joint test uses all of fortio's.

References: J. Besag and P. Clifford, Generalized Monte Carlo significance tests, Biometrika 76
(1989) 633-642; B. V. North, D. Curtis and P. C. Sham, A note on the calculation of empirical P
values from Monte Carlo procedures, Am. J. Hum. Genet. 71 (2002) 439-441.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from tabulate import tabulate

from meshmodel import _files
from meshmodel._text import InputError, quoted, visible
from meshmodel.results import fortio, json_source
from meshmodel.results.difference import Difference, difference
from meshmodel.results.fortio import Histogram
from meshmodel.results.json_source import Fields
from meshmodel.results.loads import differences
from meshmodel.results.replay import Estimate, Outcome, Replay
from meshmodel.results.shown import as_html, as_text, readable
from meshmodel.results.stored import read_replay

FIGURES = ("count", "avg", "p50", "p75", "p90", "p99")
Record = Histogram | Replay | str | Path


class CompareError(InputError):
    """Two things that cannot be compared; the message says why."""


@dataclass(frozen=True)
class Row:
    """One figure: recorded, the model's mean and 95 % predictive interval, two-sided p-value (None: no samples)."""

    figure: str
    recorded: float
    predicted: float
    lo: float
    hi: float
    p_value: float | None = None

    @property
    def inside(self) -> bool | None:
        """Whether the record lies in the predictive interval (None: there is no interval)."""
        return None if np.isnan(self.lo + self.hi) else bool(self.lo <= self.recorded <= self.hi)

    @property
    def relative_error(self) -> float:
        """(predicted - recorded) / recorded; NaN where nothing was recorded."""
        return (self.predicted - self.recorded) / self.recorded if self.recorded else np.nan

    @property
    def verdict(self) -> tuple[str, str]:
        """The p-value and whether the record is inside, as text."""
        return _p_text(self.p_value), {True: "yes", False: "NO", None: "-"}[self.inside]

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("recorded", "predicted", "lo", "hi", "p_value", "relative_error")}
        plain = {name: None if value is None or np.isnan(value) else float(value) for name, value in values.items()}
        return {"figure": self.figure, **plain, "inside": self.inside}


@dataclass(frozen=True)
class Comparison:
    """A record held against a model, row by row, and one joint p-value (None: the model has no samples).

    `outcome` is the model, binned like the record; `record` is None for counts of curl loops.
    """

    name: str
    outcome: Outcome = field(repr=False)
    record: Histogram | None = field(repr=False)
    rows: tuple[Row, ...]
    p_value: float | None
    resolution: float | None = None
    loads: str = ""
    """How the load of the record differs from the model's, if it does."""

    @property
    def outside(self) -> tuple[str, ...]:
        """The figures whose record lies outside the 95 % predictive interval."""
        return tuple(row.figure for row in self.rows if row.inside is False)

    def __getitem__(self, figure: str) -> Row:
        """The row of `figure`; KeyError if there is none."""
        return {row.figure: row for row in self.rows}[figure]

    def find(self, figure: str) -> Row | None:
        """The row of `figure`, None if there is none."""
        return {row.figure: row for row in self.rows}.get(figure)

    @property
    def notes(self) -> tuple[str, ...]:
        """How to read the p-values of this comparison, one line each."""
        replications = getattr(self.outcome, "replications", 0)
        outside = f"outside the 95 % interval: {', '.join(self.outside) or 'none'}"
        if self.p_value is None:
            return ("no samples: no p-values", outside)
        small = (f"with {replications} replications no joint p-value is below {1 / (replications + 1):.3f}",) if replications < 39 else ()
        return (f"joint p-value {self.p_value:.4f} ({replications:,} replications)", *small, outside)

    def table(self, fmt: str = "simple") -> str:
        """The rows as text, or in any other format of tabulate (`html`, `github`)."""
        cells = [
            (
                row.figure,
                *(readable(row.figure, v) for v in (row.recorded, row.predicted, row.lo, row.hi)),
                "-" if np.isnan(row.relative_error) else f"{100 * row.relative_error:+.1f} %",
                *row.verdict,
            )
            for row in self.rows
        ]
        headers = ("figure", self.name, self.outcome.engine, "2.5 %", "97.5 %", "error", "p", "inside")
        return tabulate(cells, headers=headers, tablefmt=fmt, disable_numparse=True, colalign=("left", *["right"] * 7))

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; seconds, shares from 0 to 1, null where a value does not exist."""
        return {
            "record": self.name,
            "engine": self.outcome.engine,
            "replications": getattr(self.outcome, "replications", None),
            "resolution": self.resolution,
            "p_value": self.p_value,
            "outside": list(self.outside),
            "loads": self.loads,
            "rows": [row.to_json() for row in self.rows],
        }


class Comparisons(dict[str, Comparison]):
    """One model against several records, by the record's name; prints them side by side."""

    @property
    def p_value(self) -> float | None:
        """The smallest joint p-value times the number of records (Bonferroni), at most 1."""
        known = [c.p_value for c in self.values() if c.p_value is not None]
        return min(1.0, len(self) * min(known)) if known else None

    @property
    def outside(self) -> tuple[str, ...]:
        """`record: figure` for every figure outside its 95 % predictive interval."""
        return tuple(f"{name}: {figure}" for name, comparison in self.items() for figure in comparison.outside)

    def table(self, fmt: str = "simple") -> str:
        """The six figures and the codes: for each record its value, the model's mean (binned like the record) and the p-value."""
        headers = ["figure", *(title for name, c in self.items() for title in (name, c.outcome.engine, "p", "inside"))]
        figures = list(
            dict.fromkeys(row.figure for c in self.values() for row in c.rows if row.figure in FIGURES or row.figure.startswith("code "))
        )
        rows = [[figure, *(cell for c in self.values() for cell in _brief(c.find(figure)))] for figure in figures]
        joint = ["joint", *(cell for c in self.values() for cell in ("", "", _p_text(c.p_value), ""))]
        return tabulate([*rows, joint], headers, tablefmt=fmt, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1)))

    def __str__(self) -> str:
        return "\n".join((*filter(None, (c.loads for c in self.values())), self.table()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table("html")

    def to_json(self) -> dict[str, Any]:
        return {"p_value": self.p_value, "records": {name: c.to_json() for name, c in self.items()}}


def _brief(row: Row | None) -> tuple[str, str, str, str]:
    if row is None:
        return "-", "-", "-", "-"
    return readable(row.figure, row.recorded), readable(row.figure, row.predicted), *row.verdict


def _p_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# --- fortio records ---------------------------------------------------------------------


@overload
def compare(
    outcome: Outcome, recorded: Histogram | str | Path | Mapping[str, Record], *, name: str | None = None
) -> Comparison | Comparisons: ...


@overload
def compare(outcome: Outcome, recorded: Replay, *, name: str | None = None) -> Any: ...


def compare(outcome: Outcome, recorded: Record | Mapping[str, Record], *, name: str | None = None) -> Comparison | Comparisons | Difference:
    """Hold the model against one record, or against several by name; or compare two replays.

    Parameters
    ----------
    outcome : a Replay, or a closed form's or stored figures (these have no samples, so no p-values).
        Its requests are binned with the record's own resolution.
    recorded : a fortio Histogram, the path of a fortio text or JSON (with several records: each), a Replay of the real Envoy or
        of one replication (each replication is a record), or a mapping of names to these.  Any other Replay: `difference`.
    name : how to call a single record (default: its file's name, or "record").

    Raises
    ------
    fortio.FortioError : the record cannot be read.
    CompareError : the record holds no requests.
    """
    if isinstance(outcome, Replay) and isinstance(recorded, Replay) and recorded.replications > 1 and recorded.engine != "envoy":
        return difference(outcome, recorded, (outcome.engine, name or recorded.engine))
    records = _records(recorded, name)
    comparisons = {label: _against(outcome, histogram, label) for label, histogram in records.items()}
    return next(iter(comparisons.values())) if len(comparisons) == 1 and not isinstance(recorded, Mapping) else Comparisons(comparisons)


def _records(recorded: Record | Mapping[str, Record], name: str | None) -> dict[str, Histogram]:
    if isinstance(recorded, Mapping):
        return {label: histogram for key, value in recorded.items() for label, histogram in _records(value, str(key)).items()}
    if isinstance(recorded, str | Path):
        name, found = name or visible(Path(recorded).stem), fortio.read_records(recorded)
        return {name: found[0]} if len(found) == 1 else {f"{name} {i}": record for i, record in enumerate(found, start=1)}
    if isinstance(recorded, Histogram):
        return {name or "record": recorded}
    name = name or recorded.engine
    if recorded.replications == 1:
        return {name: recorded.histogram(0)}
    return {f"{name} {i + 1}": recorded.histogram(i) for i in range(recorded.replications)}


def _against(outcome: Outcome, record: Histogram, name: str) -> Comparison:
    if not record.count:
        raise CompareError(f"{name}: no requests in the record, nothing to compare")
    try:
        resolution = record.table_resolution()
    except fortio.FortioError as problem:
        raise fortio.FortioError(f"{name}: {problem}") from None
    loads = differences(outcome, record, ("the model", name))
    outcome, joint = binned(outcome, resolution), None
    if isinstance(outcome, Replay):
        alike = outcome.resolution == resolution
        rows = [_row(figure, recorded_figure(record, figure), outcome.values(figure)) for figure in FIGURES]
        joint = _joint(outcome, record, resolution) if alike else None
    else:
        known, alike = outcome.figures(), True
        rows = [Row(figure, recorded_figure(record, figure), *known[figure]) for figure in FIGURES if figure in known]
    shares = _share_rows(outcome, record, resolution) if alike else ()
    return Comparison(name, outcome, record, (*rows, *_code_rows(outcome, record), *shares), joint, resolution, loads)


def answers_by_code(record: Histogram) -> dict[str, int]:
    """`code 200` ... -> answers; of a gRPC run, whose words say only that a call went well, `code 200` and `other codes`."""
    if record.statuses == dict(record.codes):
        return {f"code {code}": n for code, n in sorted(record.statuses.items())}
    well = sum(n for code, n in record.codes.items() if code in WELL)
    return {"code 200": well, "other codes": record.count - well}


WELL = ("SERVING", "OK", 200)
"""What fortio calls a call that went well: of gRPC's health check, of TCP and UDP, of HTTP."""


def _code_rows(outcome: Outcome, record: Histogram) -> Iterator[Row]:
    """The share of every code, where the record has them."""
    if not record.codes:
        return
    recorded = answers_by_code(record)
    modelled = {f"code {code}": share for code, share in outcome.code_shares().items() if "other codes" not in recorded or code == 200}
    for figure in sorted({*recorded, *modelled}, key=lambda figure: (not figure.startswith("code"), figure)):
        share = recorded.get(figure, 0) / record.count
        if isinstance(outcome, Replay):
            values = 1 - outcome.values("code 200") if figure == "other codes" else outcome.values(figure)
            yield _row(figure, share, values)
        elif figure == "other codes":
            well = outcome.code_shares().get(200, Estimate(0.0, 0.0, 0.0))
            yield Row(figure, share, 1 - well.mean, 1 - well.hi, 1 - well.lo)
        else:
            yield Row(figure, share, *modelled.get(figure, Estimate(0.0, 0.0, 0.0)))


def binned(outcome: Outcome, resolution: float) -> Outcome:
    """The outcome with its percentiles in buckets of `resolution` seconds; stored figures, and those without requests, stay as they are."""
    if getattr(outcome, "resolution", resolution) == resolution or isinstance(outcome, Replay) and not outcome.keeps_log:
        return outcome
    return outcome.with_resolution(resolution)  # type: ignore[attr-defined]


def recorded_figure(record: Histogram, figure: str) -> float:
    """count, avg or a percentile (`p75`) of a record, as `Replay.values` gives it for each replication."""
    simple = {"count": record.count, "avg": record.mean}
    return float(simple[figure]) if figure in simple else float(record.percentile(float(figure[1:])))


def _row(figure: str, recorded: float, values: np.ndarray) -> Row:
    return Row(figure, float(recorded), *Estimate.of(values), rank_p_value(recorded, values))


def share_cells(record: Histogram, resolution: float) -> list[tuple[str, slice]]:
    """The table's buckets as the record prints them, those between two printed ones taken together.

    Returns (label in seconds, slice of fortio's table): a partition, so that the shares sum to 1.
    """
    edges = fortio.bucket_edges(resolution)
    printed = np.flatnonzero(record.table_counts(resolution)).tolist()
    first, last = printed[0], printed[-1]
    if first == last:
        return [("all", slice(0, fortio.BUCKETS))]
    cells = [(f"up to {edges[first]:g}", slice(0, first + 1))]
    for before, index in pairwise(printed):
        if index > before + 1:
            cells.append((f"{edges[before]:g}-{edges[index - 1]:g}", slice(before + 1, index)))
        cells.append((f"{edges[index - 1]:g}-{edges[index]:g}", slice(index, index + 1)))
    cells[-1] = (f"over {edges[last - 1]:g}", slice(last, fortio.BUCKETS))
    return cells


def _share_rows(outcome: Outcome, record: Histogram, resolution: float) -> Iterator[Row]:
    """The share of each bucket; a closed form's come without an interval, and stored figures have none."""
    counted = record.table_counts(resolution)
    for label, cell in share_cells(record, resolution):
        figure, recorded = f"share {label} s", float(counted[cell].sum() / record.count)
        if isinstance(outcome, Replay):
            with np.errstate(invalid="ignore"):
                yield _row(figure, recorded, outcome.bucket_counts[cell].sum(axis=0) / outcome.requests)
        elif hasattr(outcome, "bucket_shares"):
            yield Row(figure, recorded, float(outcome.bucket_shares()[cell].sum()), np.nan, np.nan)


def _joint(replay: Replay, record: Histogram, resolution: float) -> float:
    errors = [figure for figure in answers_by_code(record) if figure != "code 200"] if record.codes else []
    errors += [f"code {code}" for code in replay.codes if record.codes and code != 200 and "other codes" not in errors]
    errors = list(dict.fromkeys(errors))
    counted = np.concatenate(([record.mean], record.table_counts(resolution), [answers_by_code(record).get(e, 0) for e in errors]))
    runs = np.vstack((np.nan_to_num(replay.mean), replay.bucket_counts, *(_errors(replay, figure) for figure in errors))).T
    return depth_p_value(counted, runs, np.array([resolution, *[1.0] * (fortio.BUCKETS + len(errors))]))


def _errors(replay: Replay, figure: str) -> np.ndarray:
    """How many requests of each replication ended with a code, or with any but 200."""
    share = 1 - replay.values("code 200") if figure == "other codes" else replay.values(figure)
    return np.nan_to_num(share) * replay.requests


# --- the tests --------------------------------------------------------------------------


def rank_p_value(recorded: float, values: np.ndarray) -> float | None:
    """Two-sided Monte-Carlo p-value of `recorded` among `values`, shape (replications,); NaN entries are left out.

    Source: North, Curtis and Sham 2002, (r + 1) / (n + 1).
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not values.size or np.isnan(recorded):
        return None
    tail = min((values >= recorded).sum(), (values <= recorded).sum())
    return min(1.0, 2 * (1 + int(tail)) / (values.size + 1))


def depth_p_value(recorded: np.ndarray, runs: np.ndarray, floor: np.ndarray | float = 0.0) -> float:
    """Joint p-value of the module's docstring: uniform on 1/(R + 1) ... 1 if the record is one more run.

    Parameters
    ----------
    recorded : (k,) figures; runs : (R, k) the same of each replication; NaN (a figure that does not
        exist in a run) counts as the mean over the runs that have it.
    floor : (k,) what is added to the standard deviations, in quadrature.

    Source: Besag and Clifford 1989; the distance is Mahalanobis's.
    """
    pooled = np.vstack((recorded, runs)).astype(float)
    missing = np.isnan(pooled)
    present = np.maximum((~missing).sum(axis=0), 1)
    centred = np.where(missing, 0.0, pooled - np.where(missing, 0.0, pooled).sum(axis=0) / present)
    variance = (centred**2).mean(axis=0)
    scale = np.sqrt(variance + np.square(floor))
    varies = variance > 1e-24 * (1 + np.square(pooled, where=~missing, out=np.zeros_like(pooled)).mean(axis=0))
    if not varies.any():
        return 1.0
    scaled = centred[:, varies] / scale[varies]
    spread = np.broadcast_to(np.square(floor), scale.shape)[varies] / scale[varies] ** 2
    covariance = scaled.T @ scaled / len(scaled) + np.diag(spread)
    distance = np.einsum("ij,jk,ik->i", scaled, np.linalg.pinv(covariance, rcond=1e-9, hermitian=True), scaled)
    return float((1 + (distance[1:] >= distance[0] * (1 - 1e-9)).sum()) / len(distance))


# --- curl loops -------------------------------------------------------------------------


def compare_counts(replay: Replay, counts: Mapping[Any, int], *, name: str = "record") -> Comparison:
    """The counts of a curl loop (by code, by body or by Deployment) against the model's, as an exact Monte-Carlo test.

    The joint p-value ranks the record's distance among the runs': Pearson's chi-squared
    where the counts are multinomial, but without its large-sample approximation and without
    assuming that the calls are independent (under ROUND_ROBIN they are not).

    Raises
    ------
    CompareError : the counts are not those of as many calls as the replay sends.
    """
    modelled = _modelled_counts(replay, counts)
    recorded = {_key(key): count for key, count in counts.items()}
    calls = sum(recorded.values())
    if np.any(replay.requests != calls):
        raise CompareError(f"counts: the record has {calls} calls, the replay {int(replay.requests.min())} to {int(replay.requests.max())}")
    names = sorted({*recorded, *modelled}, key=str)
    matrix = _count_matrix(replay, modelled, names)
    record = np.array([recorded.get(key, 0) for key in names], dtype=float)
    rows = tuple(_row(f"count {visible(str(key))}", *pair) for key, *pair in zip(names, record, matrix.T, strict=True))
    return Comparison(name, replay, None, rows, depth_p_value(record, matrix))


def compare_curl(replay: Replay, codes: Sequence[int], seconds: Sequence[float], *, name: str = "record") -> Comparison:
    """A curl loop call by call: the counts of its codes, and for each code the median of its seconds.

    The joint p-value is that of codes and medians together.

    Raises
    ------
    CompareError : `codes` and `seconds` are not those of as many calls as the replay sends.
    """
    if len(codes) != len(seconds):
        raise CompareError(f"seconds: {len(seconds)} for {len(codes)} codes")
    answered, took = np.asarray(codes), np.asarray(seconds, dtype=float)
    seen = {int(code): int((answered == code).sum()) for code in np.unique(answered)}
    counted = compare_counts(replay, seen, name=name)
    every_code = sorted({*seen, *replay.codes}, key=str)
    medians = {code: _medians(replay, code) for code in sorted(seen)}
    rows = [_row(f"median seconds of {code}", float(np.median(took[answered == code])), values) for code, values in medians.items()]
    recorded = np.array([row.recorded for row in (*counted.rows, *rows)])
    runs = np.column_stack((_count_matrix(replay, replay.codes, every_code), *medians.values()))
    return Comparison(name, replay, None, (*counted.rows, *rows), depth_p_value(recorded, runs))


def _medians(replay: Replay, code: int) -> np.ndarray:
    """The median latency of the answers with `code` in each replication, NaN where it has none."""
    latency = np.ma.masked_where(replay.log.code != code, replay.log.latency)
    return np.ma.filled(np.ma.median(latency, axis=0), np.nan)


def _key(key: int | str) -> int | str:
    """A code as a number, also where a CSV gives it as text; a body without jq's quotes."""
    return int(key) if re.fullmatch("[0-9]{1,3}", str(key)) else str(key).strip('"')


def _modelled_counts(replay: Replay, counts: Mapping[Any, int]) -> dict[Any, np.ndarray]:
    keys = {_key(key) for key in counts}
    if all(isinstance(key, int) for key in keys):
        return dict(replay.codes)
    return dict(replay.endpoints) if keys <= {*replay.scenario.deployments, "envoy"} else dict(replay.bodies)


def _count_matrix(replay: Replay, counts: Mapping[Any, np.ndarray], names: Sequence[Any]) -> np.ndarray:
    return np.array([counts.get(name, np.zeros(replay.replications)) for name in names], dtype=float).T


# --- figures stored by the command line -------------------------------------------------


class StoredOutcome(Outcome):
    """The figures of a JSON file that `--json` wrote: means and intervals, no samples."""

    def __init__(self, content: Mapping[str, Any], name: str = "<json>") -> None:
        self.content = content
        fields = Fields(content, "", name, CompareError)
        self.engine = visible(fields.text("engine"))
        self._figures, self._endpoints, self._attempts = (
            {visible(key): estimate for _, key, estimate in _estimates(fields, part)} for part in ("figures", "endpoints", "attempts")
        )
        self._codes = {part.status(key): estimate for part, key, estimate in _estimates(fields, "codes")}
        try:
            self.recorded = Histogram.from_json(fields.fields("fortio").value, f"{name}: fortio") if "fortio" in fields else None
        except fortio.FortioError as problem:
            raise CompareError(str(problem)) from None

    def figures(self) -> dict[str, Estimate]:
        return self._figures

    def code_shares(self) -> dict[int, Estimate]:
        return self._codes

    def endpoint_shares(self) -> dict[str, Estimate]:
        return self._endpoints

    def attempt_shares(self) -> dict[str, Estimate]:
        return self._attempts

    def to_json(self) -> dict[str, Any]:
        return dict(self.content)


def _estimates(fields: Fields, part: str) -> Iterator[tuple[Fields, str, Estimate]]:
    """Each estimate of a part with its key; null stands for a figure that does not exist."""
    inside = fields.fields(part)
    for key in inside.keys():
        values = inside.fields(key)
        yield inside, key, Estimate(*(values.number(end, low=-1.7e308, null=True) for end in ("mean", "lo", "hi")))


def read_outcome(path: str | Path) -> Replay | StoredOutcome:
    """The outcome that `meshmodel load --json PATH` wrote: a Replay where it kept its replications, else its figures.

    Raises CompareError naming the file and line or field."""
    return outcome_of(_files.read_text(path, LARGEST_OUTCOME, CompareError, "what --json wrote"), str(path))


def outcome_of(text: str, name: str) -> Replay | StoredOutcome:
    """The same, of a file's text."""
    content = json_source.parse(text, name, CompareError)
    if not isinstance(content, dict):
        raise CompareError(f"{name}: not a replay written by --json, got {quoted(content, 40)}")
    figures = StoredOutcome(content, name)
    return read_replay(content, name, CompareError) or figures


LARGEST_OUTCOME = 64 * 2**20
