"""The requests and attempts of a trace as one tree of visits, in columns of numbers.

A request is a visit of the load to the first proxy (hop -1), an attempt a visit of a proxy to
a pod; the parent of a visit is the one that it serves.  Rows: first the requests, then the
attempts, each in the order of its table.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from meshmodel.results.trace import Trace
from meshmodel.scenario import callers_of
from meshmodel.teaching.theatre.stage import Stage

GIVEN_UP = ("timeout", "per try timeout", "abandoned")
"""Outcomes after which the pod works on: nobody tells it."""

UNFINISHED = ""
"""The outcome of a visit that had not ended when the run did."""

GAVE_UP = "gave up"
"""The outcome of a request whose client gave up (code -1)."""


_PAUSE, _REAL_PAUSE = 0.0005, 0.01  # seconds; a real Envoy's clock ticks every 4 ms, and its pods are busy between two hops


class Window(NamedTuple):
    """The part of a trace that is played, seconds from the start of the load."""

    start: float
    stop: float


@dataclass(frozen=True)
class Visits:
    """Columns of equal length, one row a visit; seconds, and numbers of places (-1: none).

    began, sent, end : when it was decided (the endpoint picked), sent on a connection (NaN: never), over.
    work, done : when the pod began to work on it and was through with it, by `_work` (NaN where no pod works).
    origin, target : who visits whom.  first, second : the two pods that LEAST_REQUEST drew.
    outcome : number into `outcomes`.  numbers : (requests,) the trace's numbers of the requests in the first rows.
    pause : what is shorter, in seconds, is no wait: connecting, and the clock's last digits.
    """

    numbers: np.ndarray
    pause: float
    outcomes: tuple[str, ...]
    request: np.ndarray
    hop: np.ndarray
    number: np.ndarray
    call: np.ndarray
    parent: np.ndarray
    worker: np.ndarray
    origin: np.ndarray
    target: np.ndarray
    began: np.ndarray
    sent: np.ndarray
    end: np.ndarray
    back_off: np.ndarray
    outcome: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_active: np.ndarray
    second_active: np.ndarray
    work: np.ndarray
    done: np.ndarray

    PACKED = {
        "request": "i4", "hop": "i2", "number": "i2", "call": "i4", "parent": "i4", "worker": "i2", "origin": "i2", "target": "i2",
        "began": "f4", "sent": "f4", "end": "f4", "back_off": "f4", "outcome": "u1",
        "first": "i2", "second": "i2", "first_active": "i2", "second_active": "i2",
    }  # fmt: skip

    @classmethod
    def of(cls, trace: Trace, stage: Stage, window: Window) -> Visits:
        requests, attempts = _within(trace, window)
        attempts = _with_all_hops(trace, requests, attempts)
        last = max([window.stop, *requests.end.dropna(), *attempts.end.dropna()]) + 1
        table = pd.concat([_as_visits(requests), attempts], ignore_index=True)
        hop = table.hop.to_numpy(int)
        outcomes = [UNFINISHED, *sorted(set(table.outcome) - {UNFINISHED})]
        first_proxy = attempts[attempts.hop == 0].drop_duplicates("request").set_index("request").proxy
        target = table.endpoint.to_numpy(object)
        target[: len(requests)] = requests.request.map(first_proxy).fillna(stage.names[1])
        columns = {
            "request": np.searchsorted(requests.request, table.request),
            "origin": stage.places(stage.origins(hop), table.proxy),
            "target": stage.places(hop + 2, target),
            "began": table.chosen.to_numpy(float),
            "sent": table.start.to_numpy(float),
            "end": table.end.fillna(last).to_numpy(float),
            "outcome": pd.Categorical(table.outcome, outcomes).codes.astype(np.int64),
            "first": stage.places(hop + 2, table["first"]),
            "second": stage.places(hop + 2, table["second"]),
        }
        plain = ("hop", "number", "call", "parent", "worker", "back_off", "first_active", "second_active")
        columns |= {name: table[name].to_numpy() for name in plain}
        work, done = _work(trace, table, columns["sent"], columns["end"], [station - 2 for station in stage.ends])
        pause = trace.scenario.connect_time + (_REAL_PAUSE if trace.engine == "envoy" else _PAUSE)
        return cls(requests.request.to_numpy(), pause, tuple(outcomes), **columns, work=work, done=done)

    @property
    def requests(self) -> int:
        """How many rows are requests."""
        return len(self.numbers)

    def packed(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name).astype(kind) for name, kind in self.PACKED.items()}

    def is_outcome(self, *words: str) -> np.ndarray:
        """Which visits ended with one of these."""
        return np.isin(self.outcome, [number for number, word in enumerate(self.outcomes) if word in words])

    def failed(self) -> np.ndarray:
        """Which visits ended with anything but a status below 400."""
        fine = [word for word in self.outcomes if word == UNFINISHED or (word.isdigit() and int(word) < 400)]
        return ~self.is_outcome(*fine)


def _within(trace: Trace, window: Window) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The requests under way at some time of the window, in order of their numbers, and their attempts; `parent` counts both."""
    requests = trace.requests
    seen = requests[(requests.start < window.stop) & ~(requests.end < window.start)].sort_values("request")
    attempts = trace.attempts[trace.attempts.request.isin(seen.request)]
    row = pd.Series(np.arange(len(attempts)) + len(seen), index=attempts.index)
    of_request = pd.Series(np.arange(len(seen)), index=seen.request)
    parent = attempts.parent.map(row).fillna(attempts.request.map(of_request)).astype(int)
    return seen, attempts.assign(parent=parent, outcome=attempts.outcome.fillna(UNFINISHED))


def _with_all_hops(trace: Trace, requests: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts with those of the first hops, which an engine may leave out where no policy acts on them.

    Such an attempt lasts as long as its request; where a hop has several callers, it is drawn at the first.
    """
    callers = np.array(callers_of(trace.scenario.routes))
    while (orphans := (attempts.hop > 0) & (attempts.parent < len(requests))).any():
        calling = callers[attempts.hop]
        orphans &= calling == calling[orphans].max()  # the innermost first: what is put before them lacks somebody in its turn
        inner = attempts[orphans].drop_duplicates("request")
        mine = requests.set_index("request").loc[inner.request].reset_index()
        hops = callers[inner.hop]
        told = {
            "request": mine.request, "hop": hops, "number": 1, "call": -2 - mine.request, "parent": inner.parent.to_numpy(),
            "proxy": [trace.scenario.routes[hop].callers[0].name for hop in hops], "worker": -1, "endpoint": inner.proxy.to_numpy(),
            "chosen": mine.start, "start": mine.start, "end": mine.end, "outcome": _outcomes(mine), "back_off": 0.0,
            "first": "", "second": "", "first_active": -1, "second_active": -1,
        }  # fmt: skip
        row = pd.Series(len(requests) + len(attempts) + np.arange(len(mine)), index=mine.request)
        parent = attempts.parent.where(~orphans, attempts.request.map(row)).astype(int)
        attempts = pd.concat([attempts.assign(parent=parent), pd.DataFrame(told)], ignore_index=True)
    return attempts


def _outcomes(requests: pd.DataFrame) -> pd.Series:
    return requests.code.astype(str).mask(requests.code == -1, GAVE_UP).mask(requests.end.isna(), UNFINISHED)


def _as_visits(requests: pd.DataFrame) -> pd.DataFrame:
    none = {"endpoint": "", "proxy": "", "first": "", "second": "", "first_active": -1, "second_active": -1, "worker": -1, "back_off": 0.0}
    return pd.DataFrame(
        {"request": requests.request, "hop": -1, "number": 1, "call": -1, "parent": -1, "chosen": requests.start, "start": requests.start,
         "end": requests.end, "outcome": _outcomes(requests)}
    ).assign(**none)  # fmt: skip


def _work(trace: Trace, table: pd.DataFrame, sent: np.ndarray, end: np.ndarray, hops: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """When the pods of these routes, which call nobody, begin and end their work on each visit, seconds; NaN for all other visits.

    The trace says when the proxy is done.  A pod of finite concurrency works in order of arrival,
    so its begin follows from the ends before it.  What goes on after the proxy gave up is taken
    to last as long as the pod's `timing_50_percentile`.
    """
    begin, done = np.full(len(table), np.nan), np.full(len(table), np.nan)
    chains = list(reversed(trace.scenario.chains))
    behaviours = {(hop, pod.name): pod.behaviour for routes in chains for hop in hops for pod in routes[hop].endpoints}
    reached = table.hop.isin(hops) & table.start.notna() & ~table.outcome.isin(("refused", "reset"))
    for pod, rows in table[reached].groupby(["hop", "endpoint"]).groups.items():
        behaviour = behaviours.get(pod)
        order = rows.to_numpy()[np.argsort(sent[rows], kind="stable")]
        left = table.outcome.isin(GIVEN_UP).to_numpy()
        places = behaviour.concurrency if behaviour and behaviour.concurrency and behaviour.failure == "none" else len(order)
        takes = behaviour.timing_50_percentile if behaviour and behaviour.failure == "none" else np.inf
        free = [0.0] * min(places, len(order))
        for row in order.tolist():
            begin[row] = max(sent[row], heapq.heappop(free))
            if not left[row]:
                begin[row] = min(begin[row], end[row])
            done[row] = max(end[row], begin[row] + takes) if left[row] else end[row]
            heapq.heappush(free, done[row])
    return begin, done
