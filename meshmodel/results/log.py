"""The requests of many replications, one by one, and what befell the pods meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GAVE_UP = -1
"""The code of a request on which its client gave up: fortio's for a call without an answer."""


@dataclass(frozen=True)
class RequestLog:
    """Every request of every replication, each array of shape (requests, replications).

    Columns shorter than the longest are padded: start and latency NaN, the rest -2.
    `endpoint` indexes the pods of the replay, -1 being none of them: the proxy itself answered, or nobody (code -1).
    """

    start: np.ndarray
    latency: np.ndarray
    code: np.ndarray
    endpoint: np.ndarray
    attempts: np.ndarray

    FIELDS = ("start", "latency", "code", "endpoint", "attempts")

    @classmethod
    def join(cls, logs: Iterable[RequestLog]) -> RequestLog:
        """One log whose replications are those of all `logs`, in order."""
        logs = list(logs)
        if len(logs) == 1:
            return logs[0]
        return cls(*(_side_by_side([getattr(log, name) for log in logs]) for name in cls.FIELDS))

    @classmethod
    def of_runs(cls, runs: Iterable[Mapping[str, Any]]) -> RequestLog:
        """From one mapping per replication of the five field names to equally long sequences."""
        kinds = (float, float, np.int16, np.int16, np.int16)
        return cls.join(
            [cls(*(np.asarray(run[name], dtype=kind)[:, None] for name, kind in zip(cls.FIELDS, kinds, strict=True))) for run in runs]
        )


def _side_by_side(columns: list[np.ndarray]) -> np.ndarray:
    """Columns of (requests, replications) beside each other, the shorter ones padded."""
    longest, width = max(len(column) for column in columns), sum(column.shape[1] for column in columns)
    joined = np.empty((longest, width), dtype=columns[0].dtype)
    at = 0
    for column in columns:
        part = joined[:, at : at + column.shape[1]]
        part[: len(column)] = column
        part[len(column) :] = np.nan if column.dtype.kind == "f" else -2
        at += column.shape[1]
    return joined


@dataclass(frozen=True)
class Ejections:
    """Outlier ejections and returns, in time order within each replication."""

    replication: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    time: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pod: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    ejected: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
