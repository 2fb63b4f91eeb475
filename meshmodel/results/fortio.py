"""fortio's latency histogram: its buckets, its percentiles, its text and its JSON, both ways.

What is modelled.  fortio scales a latency v to x = (v - offset) / resolution and counts it in the
bucket (a, b] of a fixed table of edges that holds x; one bucket lies below the table, one beyond.
It prints the buckets that are not empty: the first begins at the minimum, the last ends at the
maximum.  With P(b) the percent of all samples up to edge b, a percentile p in that bucket is

    v(p) = a + (p - P(a)) / (P(b) - P(a)) * (b - a)

where P(a) of the first bucket is 100/count (the minimum is one sample); up to there v(p) is the minimum.

Assumptions.  All times are seconds.  A text carries rounded numbers, so an edge read from a text is known
to six digits; minimum and maximum are exact in the text's first line and are used for the outer edges.
If every sample lies beyond the table the one bucket begins at the minimum, as since fortio 1.71.1; older ones began it at the last edge.

Reference: fortio (Apache-2.0), stats/stats.go and fhttp/httprunner.go; no code is copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meshmodel import _files
from meshmodel._text import quoted
from meshmodel.results import json_source
from meshmodel.results.fortio_record import TITLE, FortioError, Parsed, output, read_json, read_run, read_text, runs

# fmt: off
TABLE = np.array([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100,
    120, 140, 160, 180, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000,
    2000, 3000, 4000, 5000, 7500, 10000, 20000, 30000, 40000, 50000, 75000, 100000,
], dtype=float)
# fmt: on
BUCKETS = len(TABLE) + 1
AT_ONCE = 10_000
"""Replications whose percentiles are computed together: each takes kilobytes meanwhile."""
DEFAULT_PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9)
DEFAULT_RESOLUTION = 0.001
"""The command line's; fortio's web form, which the tutorial used, has 0.0001."""

LARGEST_FILE = 4 * 2**20
MOST_PERCENTILES = 1000
"""That anybody asks fortio for."""

_ON_EDGE = 1e-12  # fortio counts x on an edge, or this little above it, in the bucket below
_BLOCK = 2**17  # samples binned at once: the scratch arrays stay in the cache


class Bucket(NamedTuple):
    """`count` samples in (start, end] seconds; `percent` of all samples are at most `end`."""

    start: float
    end: float
    percent: float
    count: int  # type: ignore[assignment]  # fortio's word, though a tuple has a method of that name


# ---------------------------------------------------------------- the table, for many replications at once


def _thresholds() -> NDArray[np.float64]:
    """The least scaled value of each bucket above the first; a last one, infinity, sets NaN apart."""
    above = TABLE + _ON_EDGE
    above = np.where(above - TABLE < _ON_EDGE, np.nextafter(above, np.inf), above)
    above[0] = np.nextafter(0.0, 1.0)  # fortio has no answer for what lies this little above 0
    return np.append(above, np.inf)


_THRESHOLDS = _thresholds()


def bucket_edges(resolution: float = DEFAULT_RESOLUTION, offset: float = 0.0) -> NDArray[np.float64]:
    """Upper edges of all buckets in seconds, shape (BUCKETS,); the last one is infinite."""
    _require_table(resolution, offset)
    return np.append(resolution * TABLE + offset, np.inf)


def bucket_index(latencies: ArrayLike, resolution: float = DEFAULT_RESOLUTION, offset: float = 0.0) -> NDArray[np.intp]:
    """The bucket of every latency (seconds), same shape; BUCKETS where there is none (NaN or infinite)."""
    scaled = (np.asarray(latencies, dtype=float) - offset) / resolution
    return np.searchsorted(_THRESHOLDS, scaled, side="right")


def bucket_counts(latencies: ArrayLike, resolution: float = DEFAULT_RESOLUTION, offset: float = 0.0, axis: int = 0) -> NDArray[np.int64]:
    """Count samples per bucket, for every replication at once.

    latencies : (requests, replications) or (requests,) seconds, NaN where there is no request
    axis : the axis of the requests
    Returns the counts, shape (BUCKETS, replications) or (BUCKETS,).
    """
    _require_table(resolution, offset)
    samples = np.moveaxis(np.asarray(latencies, dtype=float), axis, 0)
    replications = samples.shape[1:]
    columns = np.arange(math.prod(replications))
    samples = samples.reshape(len(samples), len(columns))
    counts = np.zeros((BUCKETS + 1) * len(columns), dtype=np.int64)
    rows = max(1, _BLOCK // max(1, len(columns)))
    for first in range(0, len(samples), rows):
        index = bucket_index(samples[first : first + rows], resolution, offset)
        index *= len(columns)
        index += columns
        counts += np.bincount(index.ravel(), minlength=len(counts))
    return counts.reshape(BUCKETS + 1, *replications)[:BUCKETS]


def percentiles(
    counts: ArrayLike,
    minimum: ArrayLike,
    maximum: ArrayLike,
    p: ArrayLike,
    resolution: float = DEFAULT_RESOLUTION,
    offset: float = 0.0,
    before_1_71_1: bool = False,
) -> NDArray[np.float64]:
    """The percentiles that fortio (of today, or `before_1_71_1`) would print, for every replication at once.

    counts : (BUCKETS, replications); minimum, maximum : (replications,) seconds; p : (k,) percents
    Returns seconds, shape (k, replications); NaN for a replication without requests.
    """
    rows = np.asarray(counts), np.asarray(minimum, dtype=float), np.asarray(maximum, dtype=float)
    result = np.empty((np.size(p), rows[0].shape[1]))
    for first in range(0, rows[0].shape[1], AT_ONCE):
        some, low, high = (row[..., first : first + AT_ONCE] for row in rows)
        start, end = _bounds(some, low, high, resolution, offset, before_1_71_1)
        result[:, first : first + AT_ONCE] = _interpolate(start, end, some, low, high, p)
    return result


def _bounds(
    counts: NDArray[Any], minimum: NDArray[np.float64], maximum: NDArray[np.float64], resolution: float, offset: float, before_1_71_1: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and end of every bucket as fortio prints them, each of the shape of `counts`, (BUCKETS, replications)."""
    upper = bucket_edges(resolution, offset)
    lower = np.append(-np.inf, upper[:-1])
    filled = counts > 0
    column = np.arange(counts.shape[1])
    first = filled.argmax(axis=0)
    last = BUCKETS - 1 - filled[::-1].argmax(axis=0)
    start, end = (np.repeat(edge[:, None], counts.shape[1], axis=1) for edge in (lower, upper))
    start[first, column] = np.where(before_1_71_1 & (first == BUCKETS - 1), lower[-1], minimum)
    end[last, column] = maximum
    return start, end


def _interpolate(
    start: NDArray[np.float64], end: NDArray[np.float64], counts: ArrayLike, minimum: ArrayLike, maximum: ArrayLike, p: ArrayLike
) -> NDArray[np.float64]:
    """The equation of the module's docstring.

    start, end, counts : (buckets, replications), empty buckets allowed; minimum, maximum : (replications,)
    Returns shape (len(p), replications).
    """
    up_to = np.cumsum(counts, axis=0)
    total = up_to[-1]
    column = np.arange(len(total))
    wanted = np.atleast_1d(np.asarray(p, dtype=float))
    result = np.empty((len(wanted), len(total)))
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100.0 * up_to / total
        one_sample = 100.0 / total
        for row, target in enumerate(wanted):
            bucket = np.minimum((percent < target).sum(axis=0), len(percent) - 1)
            before = np.where(bucket > 0, percent[bucket - 1, column], 0.0)
            before = np.maximum(before, one_sample)
            share = (target - before) / (percent[bucket, column] - before)
            low = start[bucket, column]
            value = low + share * (end[bucket, column] - low)
            value = np.where(target <= one_sample, minimum, value)
            result[row] = np.where(target >= 100, maximum, value)
    result[:, total == 0] = np.nan
    return result


# ---------------------------------------------------------------- one histogram


@dataclass(frozen=True, eq=False, repr=False)
class Histogram:
    """The latencies of one run, as fortio keeps them; seconds.

    starts, ends, counts : (buckets,) the buckets that are not empty
    targets : the percentiles that fortio printed, (percent, seconds)
    codes : HTTP status, or the word of a gRPC run -> number of answers (empty if unknown); qps : the rate reached (None if unknown)
    load : what was asked of fortio, as far as the record says: connections, qps (0: as fast as possible), calls or duration
    result : the fortio result file this came from; its other keys are kept by `to_json`
    """

    count: int
    mean: float
    std: float
    min: float
    max: float
    sum: float
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    counts: NDArray[np.int64]
    targets: tuple[tuple[float, float], ...] = ()
    codes: Mapping[Any, int] = field(default_factory=dict)
    qps: float | None = None
    load: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    middles: NDArray[np.float64] | None = None
    """A text's own "mid point" column: it may differ in its last digit from that of the rounded edges."""

    def __post_init__(self) -> None:
        for column in (self.starts, self.ends, self.counts):
            column.setflags(write=False)

    # -- where a histogram comes from

    @classmethod
    def from_samples(
        cls,
        latencies: ArrayLike,
        resolution: float = DEFAULT_RESOLUTION,
        offset: float = 0.0,
        *,
        codes: Mapping[int, int] | None = None,
        qps: float | None = None,
        before_1_71_1: bool = False,
    ) -> Histogram:
        """Of latencies in seconds, any shape, as fortio (of today, or `before_1_71_1`) keeps them.

        The sums are added one after another, as fortio does. Raises FortioError for a latency that is negative, NaN or infinite.
        """
        samples = np.asarray(latencies, dtype=float).ravel()
        bad = np.flatnonzero(~(np.isfinite(samples) & (samples >= 0)))
        if len(bad):
            raise FortioError(f"latencies[{bad[0]}]: must be zero or more seconds, got {samples[bad[0]]}")
        counts = bucket_counts(samples, resolution, offset)
        low, high = (samples.min(), samples.max()) if len(samples) else (0.0, 0.0)
        total, squares = (float(np.add.accumulate(values)[-1]) if len(values) else 0.0 for values in (samples, np.square(samples)))
        return cls.from_counts(counts, low, high, total, squares, resolution, offset, codes=codes, qps=qps, before_1_71_1=before_1_71_1)

    @classmethod
    def from_counts(
        cls,
        counts: ArrayLike,
        minimum: float,
        maximum: float,
        total: float,
        total_of_squares: float,
        resolution: float = DEFAULT_RESOLUTION,
        offset: float = 0.0,
        *,
        codes: Mapping[int, int] | None = None,
        qps: float | None = None,
        before_1_71_1: bool = False,
    ) -> Histogram:
        """Of counts per bucket of the table, shape (BUCKETS,), with the extremes, the sum and the sum of squares (seconds).

        Raises FortioError if the parts contradict each other.
        """
        table = np.asarray(counts, dtype=np.int64)
        if table.shape != (BUCKETS,) or (table < 0).any():
            raise FortioError(f"counts: must be {BUCKETS} numbers, zero or more")
        _require_table(resolution, offset)
        number = int(table.sum())
        given = (minimum, maximum, total, total_of_squares)
        low, high, total, squares = (float(value) if number else 0.0 for value in given)
        mean = total / max(1, number)
        variance = (squares - total * total / max(1, number)) / max(1, number)
        start, end = _bounds(table[:, None], np.array([low]), np.array([high]), resolution, offset, before_1_71_1)
        filled = table > 0
        std = math.sqrt(max(0.0, variance))  # rounding can leave a tiny negative variance; fortio prints 0 then too
        made = cls(number, mean, std, low, high, total, start[filled, 0], end[filled, 0], table[filled], codes=dict(codes or {}), qps=qps)
        made.check()
        if not number:
            return made
        return replace(made, targets=tuple(zip(DEFAULT_PERCENTILES, made.percentile(DEFAULT_PERCENTILES).tolist(), strict=True)))

    @classmethod
    def from_text(cls, fortio_output: str, name: str = "<text>") -> Histogram:
        """Of what fortio printed: the "Aggregated Function Time" block, alone or with the lines before and after it.

        Raises FortioError naming `name` and the line.
        """
        return _checked(read_text(fortio_output, name))

    @classmethod
    def from_json(cls, path_or_dict: str | Path | Mapping[str, Any], name: str = "<json>") -> Histogram:
        """Of fortio's result file (a path or its content), or of its `DurationHistogram` alone.

        Raises FortioError naming the file and the field.
        """
        if not isinstance(path_or_dict, Mapping):
            name = str(path_or_dict)
            path_or_dict = _as_object(json_source.parse(read_file(path_or_dict), name, FortioError), name)
        return _checked(read_json(path_or_dict, name))

    @classmethod
    def pool(cls, histograms: Iterable[Histogram], resolution: float = DEFAULT_RESOLUTION, offset: float = 0.0) -> Histogram:
        """All samples of several histograms of one table together. Raises FortioError if one is of another table."""
        parts = list(histograms)
        filled = [part for part in parts if part.count]
        codes = {
            code: sum(part.codes.get(code, 0) for part in parts) for code in sorted({c for part in parts for c in part.codes}, key=str)
        }
        return cls.from_counts(
            sum((part.table_counts(resolution, offset) for part in filled), np.zeros(BUCKETS, dtype=np.int64)),
            min((part.min for part in filled), default=0.0),
            max((part.max for part in filled), default=0.0),
            math.fsum(part.sum for part in filled),
            math.fsum(part.count * (part.std**2 + part.mean**2) for part in filled),
            resolution,
            offset,
            codes=codes if all(part.codes for part in filled) else None,
        )

    # -- what a histogram says

    @property
    def percents(self) -> NDArray[np.float64]:
        """The percent of all samples up to the end of each bucket, shape (buckets,)."""
        return 100.0 * np.cumsum(self.counts) / self.count

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets that are not empty, in order."""
        columns = (self.starts, self.ends, self.percents, self.counts)
        return tuple(Bucket(*row) for row in zip(*(column.tolist() for column in columns), strict=True))

    @property
    def statuses(self) -> dict[int, int]:
        """HTTP status -> number of answers, -1 for none; empty of a run that is not HTTP."""
        return {code: n for code, n in self.codes.items() if isinstance(code, int)}

    def percentile(self, p: ArrayLike) -> Any:
        """The latency (seconds) that fortio would print for percent `p`: a float, or an array of the shape of `p`."""
        values = np.full(np.shape(p), np.nan)
        if self.count:
            columns = (self.starts[:, None], self.ends[:, None], self.counts[:, None])
            values = _interpolate(*columns, self.min, self.max, np.ravel(p)).reshape(np.shape(p))
        return float(values) if np.ndim(p) == 0 else values

    def table_counts(self, resolution: float = DEFAULT_RESOLUTION, offset: float = 0.0) -> NDArray[np.int64]:
        """The counts over the whole table, shape (BUCKETS,). Raises FortioError if these are not buckets of that table."""
        counts = np.zeros(BUCKETS, dtype=np.int64)
        if self.count:
            edges = bucket_edges(resolution, offset)
            index = bucket_index((self.starts + self.ends) / 2, resolution, offset)
            start_fits = np.isclose(self.starts, edges[index - 1], rtol=1e-5, atol=0) | (self.starts == self.min)
            end_fits = np.isclose(self.ends, edges[index], rtol=1e-5, atol=0) | (self.ends == self.max)
            wrong = np.flatnonzero(~(start_fits & end_fits))
            if len(wrong) or len(set(index)) < len(index):
                at = wrong[0] if len(wrong) else 0
                raise FortioError(
                    f"bucket {at}: {self.starts[at]:.6g} to {self.ends[at]:.6g} s is not in the table of resolution {resolution:g}"
                )
            counts[index] = self.counts
        return counts

    def table_resolution(self, offset: float = 0.0) -> float:
        """The resolution (seconds) whose table has these buckets.

        fortio's default if it can be, else another power of ten, else the roundest number that can be (Istio's own benchmarks have
        0.00005 s).  Raises FortioError if there is none.
        """
        for resolution in (1e-3, 1e-4, 1e-5, 1e-2, 1e-6, 1e-1, 1.0, *self._other_resolutions(offset)):
            try:
                self.table_counts(resolution, offset)
            except FortioError:
                continue
            return resolution
        raise FortioError("buckets: of no table of fortio, whatever its resolution")

    def _other_resolutions(self, offset: float) -> list[float]:
        """What an edge between two buckets can be a multiple of, the roundest first, the greatest of the equally round."""
        inner = np.append(self.ends[:-1], self.starts[1:]) - offset
        if not len(inner) or inner.max() <= 0:
            return []
        exact = inner.max() / TABLE[1:]
        found = {float(f"{value:.{digits}g}"): digits for digits in range(7, 0, -1) for value in exact}
        near = {r: digits for r, digits in found.items() if np.isclose(np.outer(r, TABLE[1:]), inner.max(), rtol=1e-5, atol=0).any()}
        return sorted(near, key=lambda r: (near[r], -r))

    def check(self) -> None:
        """Raise FortioError unless counts sum, edges ascend, min <= mean <= max, percentiles rise; nothing NaN or negative."""
        _require_sound(self, lambda part, index: part if part in ("count", "codes") else f"{part} {index}")

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Histogram) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram count {self.count} avg {self.mean:.6g} min {self.min:.6g} max {self.max:.6g}>"

    # -- as fortio writes it

    def to_text(self) -> str:
        """The block that fortio prints, to the byte; ends with a newline."""
        if not self.count:
            return f"{TITLE} : no data\n"
        lines = [
            f"{TITLE} : count {self.count} avg {self.mean:.8g} +/- {self.std:.4g} "
            f"min {_go_g(self.min)} max {_go_g(self.max)} sum {self.sum:.9g}",
            "# range, mid point, percentile, count",
        ]
        middles = (self.starts + self.ends) / 2 if self.middles is None else self.middles
        for sign, bucket, middle in zip([">=", *[">"] * (len(middles) - 1)], self.buckets, middles, strict=True):
            lines.append(f"{sign} {bucket.start:.6g} <= {bucket.end:.6g} , {middle:.6g} , {bucket.percent:.2f}, {bucket.count}")
        lines += [f"# target {_go_g(p)}% {value:.6g}" for p, value in self.targets]
        return "\n".join(lines) + "\n"

    def run_text(self, warmup: int = 0) -> str:
        """The end of fortio's console output: the block, the codes, and the "All done" line (without qps if unknown)."""
        lines = [f"Code {code:3d} : {n} ({100.0 * n / self.count:.1f} %)" for code, n in sorted(self.statuses.items()) if self.count]
        lines += [f"Health {code} : {n}" for code, n in self.codes.items() if isinstance(code, str) and self.count]
        rate = "" if self.qps is None else f", {self.qps:.1f} qps"
        lines.append(f"All done {self.count} calls (plus {warmup} warmup) {1000.0 * self.mean:.3f} ms avg{rate}")
        return self.to_text() + "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """fortio's result file as a dict that `json.dumps` takes; keys of a loaded file that are not ours are kept."""
        histogram = dict(self.result.get("DurationHistogram", {}))
        histogram |= {"Count": self.count, "Min": self.min, "Max": self.max, "Sum": self.sum, "Avg": self.mean, "StdDev": self.std}
        rows = [{"Start": b.start, "End": b.end, "Percent": b.percent, "Count": b.count} for b in self.buckets]
        histogram["Data"] = rows or None  # as Go writes an empty list
        if self.targets:
            histogram["Percentiles"] = [{"Percentile": p, "Value": value} for p, value in self.targets]
        written = dict(self.result) or {"RunType": "HTTP"}
        if self.qps is not None:
            written["ActualQPS"] = self.qps
        written["DurationHistogram"] = histogram
        if self.codes:
            written["RetCodes"] = {str(code): n for code, n in self.codes.items()}
        return written


def read_record(path: str | Path) -> Histogram:
    """A recorded run, told apart by content: fortio's text or JSON, or the fortio part of what --json or `record` wrote.

    Of a list of results the first.  Raises FortioError naming file and line or field; also where a text holds several runs.
    """
    content, name = read_file(path), str(path)
    if _is_text(content):
        return _checked(read_text(content, name))
    return _of_json(_documents(content, name)[0], name)


def read_records(path: str | Path) -> list[Histogram]:
    """Every run that a file holds: texts one after another, a list of results, or one result a line; logs between are left out.

    Raises FortioError naming file and line or field.
    """
    return records_of(read_file(path), str(path))


def records_of(content: str, name: str) -> list[Histogram]:
    """The same, of the text of a file.  Raises FortioError naming `name`."""
    if not content.strip():
        raise FortioError(f"{name}: empty")
    if not _is_text(content):
        return [_of_json(document, name) for document in _documents(content, name)]
    found = output(content, name)
    return [_checked(read_run(run)) for run in (runs(found) if len(found.heads) > 1 else [found])]


def _is_text(content: str) -> bool:
    return f"{TITLE} :" in content or "{" not in content and content.lstrip()[0] != "["


def _documents(content: str, name: str) -> list[Any]:
    """The results of a JSON file: one, a list, or some among other lines."""
    try:
        parsed = json_source.parse(content, name, FortioError)
    except FortioError:
        objects = list(json_source.among_lines(content, name, FortioError))
        results = [found for found in objects if {"DurationHistogram", "fortio"} & found.keys()]
        if results:
            return results
        if '"DurationHistogram"' not in content and (objects or content.lstrip()[0] not in "{["):
            raise FortioError(f"{name}: no line '{TITLE} : count ...' and no DurationHistogram, not a fortio record") from None
        raise
    return parsed if isinstance(parsed, list) and parsed else [parsed]  # `record` stores a list of repetitions


def _of_json(document: Any, name: str) -> Histogram:
    parsed = _as_object(document, name)
    if "fortio" in parsed:
        return _checked(read_json(_as_object(parsed["fortio"], f"{name}: fortio"), f"{name}: fortio"))
    return _checked(read_json(parsed, name))


def read_file(path: str | Path) -> str:
    """The text of a file that may hold a record."""
    return _files.read_text(path, LARGEST_FILE, FortioError, "a fortio record")


def _as_object(parsed: Any, name: str) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise FortioError(f"{name}: must be a JSON object, got {quoted(parsed, 40)}")
    return parsed


def _checked(parsed: Parsed) -> Histogram:
    made = Histogram(**parsed.parts)
    _require_sound(made, parsed.place, parsed.percents)
    parsed.agree()
    return made


# ---------------------------------------------------------------- what must hold

_TEXT_DIGITS = 1e-5  # relative: edges of a text have six digits
_SUM_DIGITS = 1e-6  # relative: a text's average has eight digits
_PERCENTILE_DIGITS = 1e-4  # relative: interpolated between six-digit edges, far tighter than a digit lost


def _require_sound(h: Histogram, locate: Callable[[str, int], str], percents: Sequence[float] = ()) -> None:
    """Raise FortioError for the first broken rule; `percents` is the record's own column, `locate` gives the place of a part."""
    for part, index, problem in _problems(h, percents):
        raise FortioError(f"{locate(part, index)}: {problem}")


def _problems(h: Histogram, percents: Sequence[float]) -> Iterator[tuple[str, int, str]]:
    """Each broken rule as (part, index, what is wrong); a part is count, bucket, percentile or codes."""
    for i, (before, after) in enumerate(pairwise(percents), start=1):
        if after < before:
            yield "bucket", i, f"percent falls from {before:g} to {after:g}"
    figures = {"avg": h.mean, "std": h.std, "min": h.min, "max": h.max, "sum": h.sum}
    yield from (("count", 0, f"{key} must be zero or more, got {value}") for key, value in figures.items() if not 0 <= value < math.inf)
    if h.min > h.max:
        yield "count", 0, f"min {h.min:g} is above max {h.max:g}"
    if not h.min * (1 - _SUM_DIGITS) <= h.mean <= h.max * (1 + _SUM_DIGITS):
        yield "count", 0, f"avg {h.mean:g} is not between min {h.min:g} and max {h.max:g}"
    if len(h.counts) > BUCKETS:
        yield "bucket", BUCKETS, f"more than the {BUCKETS} buckets that fortio has"
    previous = 0.0
    for i, (start, end, n) in enumerate(zip(h.starts.tolist(), h.ends.tolist(), h.counts.tolist(), strict=True)):
        if not (0 <= start < math.inf and 0 <= end < math.inf):
            yield "bucket", i, f"edges must be zero or more, got {start} and {end}"
        if n < 1:
            yield "bucket", i, f"count must be 1 or more, got {n}"
        if start > end * (1 + _TEXT_DIGITS) or start < previous * (1 - _TEXT_DIGITS):
            yield "bucket", i, f"edges do not ascend: {previous:g}, then {start:g} to {end:g}"
        previous = end
    last = len(h.counts) - 1
    if sum(h.counts.tolist()) != h.count:  # NumPy's sum would wrap around
        yield "bucket" if len(h.counts) else "count", max(0, last), f"counts sum to {sum(h.counts.tolist())}, header says {h.count}"
    if h.count and not math.isclose(h.ends[-1], h.max, rel_tol=_TEXT_DIGITS):
        yield "bucket", last, f"ends at {h.ends[-1]:g}, header says max {h.max:g}"
    if h.count and h.starts[0] > h.min * (1 + _TEXT_DIGITS):
        yield "bucket", 0, f"begins at {h.starts[0]:g}, header says min {h.min:g}"
    before_1_71_1 = last == 0 and h.starts[0] > 0  # all beyond the table: began at its last edge
    if h.count and h.starts[0] < h.min * (1 - _TEXT_DIGITS) and not before_1_71_1:
        yield "bucket", 0, f"begins at {h.starts[0]:g}, below the header's min {h.min:g}"
    if not math.isclose(h.mean * h.count, h.sum, rel_tol=_SUM_DIGITS):
        yield "count", 0, f"sum {h.sum:.9g} is not count times avg, {h.mean * h.count:.9g}"
    yield from _moments(h)
    if len(h.targets) > MOST_PERCENTILES:
        yield "percentile", MOST_PERCENTILES, f"more than {MOST_PERCENTILES} percentiles"
    for i, (p, value) in enumerate(h.targets):
        if not 0 <= p <= 100:
            yield "percentile", i, f"must be from 0 to 100, got {p:g}"
        elif not math.isclose(value, h.percentile(p), rel_tol=_PERCENTILE_DIGITS):
            yield "percentile", i, f"{p:g}% is {value:.6g}, but the buckets give {h.percentile(p):.6g}"
    if h.codes and sum(h.codes.values()) != h.count:
        yield "codes", 0, f"counts of the codes sum to {sum(h.codes.values())}, header says {h.count}"
    for i, (percent, counted) in enumerate(zip(percents, h.percents, strict=False)):  # a text gives two decimals
        if not abs(percent - counted) < 0.0051:
            yield "bucket", i, f"percent {percent:g} is not that of the counts, {counted:.2f}"
    for i, (start, end, middle) in enumerate(zip(h.starts, h.ends, h.starts[:0] if h.middles is None else h.middles, strict=False)):
        if not abs(middle - (start + end) / 2) <= _TEXT_DIGITS * end:
            yield "bucket", i, f"{middle:g} is not the middle of {start:g} and {end:g}"


def _moments(h: Histogram) -> Iterator[tuple[str, int, str]]:
    """What sum and deviation can be: the sum lies between those of the buckets' edges, and a spread has its largest deviation
    where all values are at its two ends (Bhatia and Davis, 2000)."""
    if not h.count:
        return
    least = h.min * float(h.counts[0]) + float(h.starts[1:] @ h.counts[1:])
    most = float(h.ends @ h.counts)
    if not least * (1 - _TEXT_DIGITS) <= h.sum <= most * (1 + _TEXT_DIGITS):
        yield "count", 0, f"sum {h.sum:.9g} cannot be: the buckets' edges give {least:.9g} to {most:.9g}"
    widest = math.sqrt(max(0.0, (h.max - h.mean) * (h.mean - h.min)))
    if h.std > widest * (1 + 1e-3) + _TEXT_DIGITS * h.max:  # a text gives four digits
        yield "count", 0, f"standard deviation {h.std:.6g} cannot be: between min and max it is at most {widest:.6g}"


def _require_table(resolution: float, offset: float) -> None:
    if not 0 < resolution < math.inf:
        raise FortioError(f"resolution: must be more than zero seconds, got {resolution!r}")
    if not 0 <= offset < math.inf:
        raise FortioError(f"offset: must be zero or more seconds, got {offset!r}")


def _go_g(value: float) -> str:
    """Go's %g of zero or more: the shortest digits that give the same float, with an exponent below 1e-4 and from 1e6 on."""
    if value == 0 or 1e-4 <= value < 1e6:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=2)
