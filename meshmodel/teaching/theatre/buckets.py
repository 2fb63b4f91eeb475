"""fortio's histogram for the theatre: the buckets that anybody fills, as equally wide columns, and what was recorded in each.

Columns of equal width count requests: fortio's own buckets differ in width, and shares drawn over
their true widths would have to be read as areas.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meshmodel.results import fortio
from meshmodel.results.fortio import Histogram
from meshmodel.results.trace import Trace

PERCENTILES = (50.0, 75.0, 90.0, 99.0)
Record = Histogram | str | Path


class Scale(NamedTuple):
    """The buckets that are shown: `resolution` of fortio's table, and the numbers of its buckets, in order."""

    resolution: float
    shown: np.ndarray

    @classmethod
    def of(cls, traces: Sequence[Trace], records: Sequence[Histogram | None]) -> Scale:
        """Raises FortioError where two records come from tables of different resolutions."""
        resolutions = [record.table_resolution() for record in records if record]
        resolution = resolutions[0] if resolutions else fortio.DEFAULT_RESOLUTION
        filled = np.zeros(fortio.BUCKETS, dtype=bool)
        for trace in traces:
            filled |= fortio.bucket_counts((trace.requests.end - trace.requests.start).to_numpy(float), resolution) > 0
        for record in records:
            if record:
                filled |= record.table_counts(resolution) > 0
        return cls(resolution, np.flatnonzero(filled))

    def column_of(self, latency: np.ndarray) -> np.ndarray:
        """The column of each latency (seconds), 255 for none."""
        bucket = fortio.bucket_index(latency, self.resolution)
        at = np.searchsorted(self.shown, bucket)
        return np.where(bucket < fortio.BUCKETS, at, 255).astype("u1")

    def to_json(self) -> dict[str, Any]:
        """Edges in seconds, the last one maybe null, and `gaps`: before which columns buckets are left out."""
        upper = fortio.bucket_edges(self.resolution)
        lower = np.append(0.0, upper[:-1])
        starts, ends = ([None if np.isinf(v) else round(float(v), 9) for v in edge[self.shown]] for edge in (lower, upper))
        return {"starts": starts, "ends": ends, "gaps": (np.flatnonzero(np.diff(self.shown) > 1) + 1).tolist()}


def read(record: Record | None) -> Histogram | None:
    return fortio.read_record(record) if isinstance(record, str | Path) else record


def record_json(record: Histogram, scale: Scale) -> dict[str, Any]:
    """The record's share in each column, its count, and its percentiles (seconds)."""
    counts = record.table_counts(scale.resolution)[scale.shown]
    percentiles = [round(float(v), 6) for v in record.percentile(np.array(PERCENTILES))]
    return {"shares": [round(float(s), 6) for s in counts / max(1, record.count)], "count": record.count, "percentiles": percentiles}
