"""What a report keeps of each replication, so that two reports can be compared as two replays; to JSON and back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from meshmodel.results import fortio
from meshmodel.results.json_source import Fields
from meshmodel.results.tally import FIRST_POD, Counts, Tally

MOST_NUMBERS = 1_000_000
"""Of one list: replications, or bins of time."""
_MOMENTS = ("lowest", "highest", "total", "squares", "elapsed")


class Replicas(NamedTuple):
    """R replications, P pods."""

    tally: Tally
    attempts: np.ndarray  # (P, R)
    unanswered: np.ndarray  # (R,)
    resolution: float


def to_json(
    counts: Counts, attempts: np.ndarray, unanswered: np.ndarray, resolution: float, bin: float, ejected: np.ndarray
) -> dict[str, Any]:
    """Counts, moments and buckets (those that any replication has) of each; the series as sums over all; `ejected` by bin, a mean."""
    filled = np.flatnonzero(counts.buckets.any(axis=1))
    by_code, by_answer = counts.by_time(bin)
    return {
        "resolution": resolution,
        "requests": counts.requests.tolist(),
        **{name: [None if not np.isfinite(v) else round(v, 9) for v in getattr(counts, name).tolist()] for name in _MOMENTS},
        "buckets": {str(index): counts.buckets[index].tolist() for index in filled.tolist()},
        "codes": {str(code): n.tolist() for code, n in counts.codes.items() if n.any()},
        "answers": counts.answers.tolist(),
        "good": counts.good.tolist(),
        "attempts": attempts.tolist(),
        "unanswered": unanswered.tolist(),
        "bin": bin,
        "codes_by_time": {str(code): n.tolist() for code, n in by_code.items() if n.any()},
        "answers_by_time": by_answer.tolist(),
        "ejected_by_time": ejected.tolist(),
    }


def read(kept: Fields, pods: int) -> Replicas:
    """What `to_json` gave, of a scenario with so many pods.  Raises the error of `kept`, with the field."""
    columns = _Columns(kept, len(_list(kept, "requests")))
    resolution = kept.number("resolution")
    if not 1e-9 <= resolution <= 1e9:
        kept.fail("resolution", "must be from 1e-9 to 1e9")
    return Replicas(_tally(kept, columns, pods), columns.rows("attempts", pods), columns.whole("unanswered"), resolution)


def _tally(kept: Fields, columns: _Columns, pods: int) -> Tally:
    buckets = np.zeros((fortio.BUCKETS, columns.replications), dtype=np.int64)
    for key in (inside := kept.fields("buckets")).keys():
        if not re.fullmatch("[0-9]{1,2}", key) or int(key) >= fortio.BUCKETS:
            inside.fail(key, f"must be a bucket from 0 to {fortio.BUCKETS - 1}")
        buckets[int(key)] = columns.of(inside).whole(key)
    codes = {kept.fields("codes").status(key): columns.of(kept.fields("codes")).whole(key) for key in kept.fields("codes").keys()}
    bins = len(_list(kept, "ejected_by_time"))
    over_time = _Columns(kept, bins)
    timed = kept.fields("codes_by_time")
    requests = columns.whole("requests")
    if (buckets.sum(axis=0) != requests).any():
        kept.fail("buckets", "must sum to the requests of each replication")
    return Tally(
        requests=requests, buckets=buckets, codes=codes, **_moments(columns),
        answers=columns.rows("answers", FIRST_POD + pods), good=columns.rows("good", FIRST_POD + pods), bin=max(kept.number("bin"), 1e-9),
        codes_by_time={timed.status(key): over_time.of(timed).whole(key) for key in timed.keys()},
        answers_by_time=over_time.rows("answers_by_time", FIRST_POD + pods),
        ejected_by_time=np.diff(over_time.numbers("ejected_by_time"), prepend=0.0) * columns.replications,
    )  # fmt: skip


def _moments(columns: _Columns) -> dict[str, np.ndarray]:
    found = {name: columns.numbers(name) for name in _MOMENTS}
    for name, none in (("lowest", np.inf), ("highest", -np.inf)):  # of a replication without a request
        found[name] = np.where(np.isnan(found[name]), none, found[name])
    return found


class _Columns:
    """The lists of an object, each with one number a replication (or a bin of time)."""

    def __init__(self, kept: Fields, replications: int) -> None:
        self.kept, self.replications = kept, replications
        if not 1 <= replications <= MOST_NUMBERS:
            kept.fail("requests", f"must be from 1 to {MOST_NUMBERS} numbers")

    def of(self, inside: Fields) -> _Columns:
        return _Columns(inside, self.replications)

    def whole(self, key: str) -> np.ndarray:
        return self._array(_list(self.kept, key), key, int)

    def numbers(self, key: str, low: float = 0.0) -> np.ndarray:
        values = self._array([np.nan if v is None else v for v in _list(self.kept, key)], key, float)
        if (values < low).any():
            self.kept.fail(key, f"must be {low:g} or more")
        return values

    def rows(self, key: str, number: int) -> np.ndarray:
        rows = _list(self.kept, key)
        if len(rows) != number or not all(isinstance(row, list) for row in rows):
            self.kept.fail(key, f"must be {number} lists, one for each that may answer")
        return np.array([self._array(row, key, int) for row in rows]).reshape(number, self.replications)

    def _array(self, values: list[Any], key: str, kind: type) -> np.ndarray:
        kinds = (int,) if kind is int else (int, float)
        plain = all(isinstance(v, kinds) and not isinstance(v, bool) for v in values)
        if len(values) != self.replications or not plain or kind is int and not all(0 <= v < 2**62 for v in values):
            self.kept.fail(key, f"must be {self.replications} numbers")
        return np.array(values, dtype=np.int64 if kind is int else float)


def _list(kept: Fields, key: str) -> list[Any]:
    value = kept.value.get(key)
    if not isinstance(value, list):
        kept.fail(key, "must be a list")
    return value
