"""What a Service takes, from a record of it: fortio's, or a Prometheus histogram as /metrics or the HTTP API prints it.

    istio_request_duration_milliseconds_bucket{reporter="destination",destination_workload="payments-v1",le="50"} 120

Buckets are cumulative, `le` is the upper edge; all series that are left are added up, and a percentile is interpolated linearly
in its bucket, as `histogram_quantile` does (of the bucket without an end: its start).  Where series name a workload, app or
service, those that name the one asked for count; where the reporter is said, the pod's own ("destination").
Source: prometheus.io/docs/instrumenting/exposition_formats, prometheus/prometheus promql/quantile.go (`bucketQuantile`).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meshmodel._text import InputError
from meshmodel.results.fortio import Histogram, read_file, read_record

_LINE = re.compile(r'([a-zA-Z_:][\w:]*)_bucket\s*\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\}\s+([0-9.eE+]+)(?:\s.*)?')
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_WHO = ("destination_workload", "destination_app", "destination_service_name", "destination_canonical_service", "app", "job", "service")
Series = tuple[str, dict[str, str], float]


class RecordError(InputError):
    """A record that says no timings."""


def read_timings(record: str | Path | Histogram, name: str) -> tuple[float, float, float]:
    """p50, p90 and p99 in seconds of a record of `name`.  Raises RecordError, or fortio's own errors, on what is none."""
    if not isinstance(record, Histogram):
        text = read_file(record)
        series = list(_series(text))
        if series:
            return _percentiles(_asked(series, name), str(record))
        record = read_record(record)
    p50, p90, p99 = (float(record.percentile(p)) for p in (50, 90, 99))
    return p50, p90, p99


def _series(text: str) -> Iterable[Series]:
    """Every bucket of a text: the metric's name, its labels, the count up to its edge."""
    if text.lstrip().startswith("{") and '"le"' in text:
        yield from _of_api(text)
    for line in text.splitlines() if "_bucket" in text else ():
        found = _LINE.fullmatch(line.strip())
        if found:
            yield found[1], dict(_LABEL.findall(found[2])), float(found[3])


def _of_api(text: str) -> Iterable[Series]:
    """The answer of /api/v1/query: a vector of samples, or a matrix, of which the last value counts."""
    try:
        results = json.loads(text)["data"]["result"]
        for each in results:
            labels = {name: str(value) for name, value in each["metric"].items()}
            value = each["values"][-1] if "values" in each else each["value"]
            yield labels.get("__name__", "").removesuffix("_bucket"), labels, float(value[1])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return


def _asked(series: list[Series], name: str) -> list[Series]:
    """Those of the workload or Service `name`, where any of them says whose it is; of one reporter."""
    labelled = next((label for label in _WHO if any(labels.get(label) == name for _, labels, _ in series)), None)
    series = [each for each in series if labelled is None or each[1].get(labelled) == name]
    pods_own = [each for each in series if each[1].get("reporter") == "destination"]
    return pods_own or series


def _percentiles(series: list[Series], source: str) -> tuple[float, float, float]:
    metrics = sorted({metric for metric, _, _ in series})
    if len(metrics) > 1:
        raise RecordError(f"{source}: holds several histograms, keep one ({', '.join(metrics[:5])})")
    unit = 0.001 if re.search("milliseconds|_ms$", metrics[0]) else 1.0
    upto: Counter[float] = Counter()
    for _, labels, count in series:
        upto[_edge(labels, source)] += count  # type: ignore[assignment]
    edges, counts = zip(*sorted(upto.items()), strict=True)
    if not counts[-1] > 0 or list(counts) != sorted(counts):
        raise RecordError(f"{source}: no histogram: its counts must rise with le, to more than 0")
    p50, p90, p99 = (unit * _quantile(q, edges, counts) for q in (0.5, 0.9, 0.99))
    return p50, p90, p99


def _edge(labels: Mapping[str, str], source: str) -> float:
    try:
        return math.inf if labels["le"].lower() in ("+inf", "inf") else float(labels["le"])
    except (KeyError, ValueError):
        raise RecordError(f"{source}: a bucket needs its upper edge le") from None


def _quantile(q: float, edges: Any, counts: Any) -> float:
    rank = q * counts[-1]
    i = next(i for i, count in enumerate(counts) if count >= rank)
    start, before = (edges[i - 1], counts[i - 1]) if i else (0.0, 0.0)
    return start if math.isinf(edges[i]) else start + (edges[i] - start) * (rank - before) / (counts[i] - before)
