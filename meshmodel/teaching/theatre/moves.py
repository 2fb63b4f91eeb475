"""What is drawn of each visit: trips, waits and work, each from one time to another.

Trips take no time of their own: a trip is drawn within the time that the visit takes, `LEG`
seconds at most at either end.  What follows without a pause is one trip, so a request that
meets no queue goes from the load to the pod in one line.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from meshmodel.teaching.theatre.stage import Stage
from meshmodel.teaching.theatre.visits import GIVEN_UP, Visits

LEG = 0.06
"""Seconds of a visit that a trip there, or back, is drawn for at most."""

OUT, WORK, BACK, WAIT, BACK_OFF, QUEUE, HOLD = range(7)
"""To the pod; at work there; on the way back; waiting for a connection; before a retry; in the pod's queue; in a pod that calls on."""

GHOST, KIND = 8, 7
"""Added to the kind of what goes on although nobody waits for it any more; and the bits that hold the kind itself."""


class _Script:
    """The moves of all visits; see `moves`."""

    def __init__(self, visits: Visits, stage: Stage) -> None:
        self.ends = set(stage.ends)
        self.own = stage.origins(visits.hop).tolist()  # the station of each visit's own proxy
        self.hop, self.call, self.parent, self.number = (
            column.tolist() for column in (visits.hop, visits.call, visits.parent, visits.number)
        )
        self.began, self.sent, self.end = visits.began.tolist(), visits.sent.tolist(), visits.end.tolist()
        self.back_off, self.work, self.done = visits.back_off.tolist(), visits.work.tolist(), visits.done.tolist()
        self.waits = (~(visits.sent - visits.began <= visits.pause)).tolist()
        self.pause = visits.pause
        self.left = visits.is_outcome(*GIVEN_UP).tolist()
        self.inner: list[list[int]] = [[] for _ in self.hop]
        for row, parent in enumerate(self.parent):
            if parent >= 0:
                self.inner[parent].append(row)
        for rows in self.inner:
            rows.sort(key=self.began.__getitem__)
        self.carries = [self.first_and_last(row) for row in range(len(self.hop))]
        self.final = _final(visits)
        self.wanted = [float("inf")] * len(self.hop)  # until when somebody waits for each visit
        self.rows: list[tuple[int, int, float, float, int, int]] = []
        for row in np.argsort(visits.hop, kind="stable").tolist():  # who is served before who serves
            self.visit(row)

    def add(self, row: int, kind: int, start: float, stop: float, station: int, to: int | None = None) -> None:
        """A move, cut where nobody waits for it any more."""
        to = station if to is None else to
        cut = min(max(self.wanted[row], start), stop)
        if cut - start > 1e-9:
            self.rows.append((row, kind, start, cut, station, to))
        if stop - cut > 1e-9:
            self.rows.append((row, kind | GHOST, cut, stop, station, to))

    # --- which station a trip begins and ends in ----------------------------------------------

    def comes_from(self, row: int) -> int:
        """The station from which the visit arrives at its own proxy without a pause."""
        parent = self.parent[row]
        if (
            parent < 0
            or self.number[row] > 1
            or self.carries[parent][0] != self.key(row)
            or self.began[row] - self.sent[parent] > self.pause
        ):
            return self.own[row]
        return self.goes_from(parent)

    def goes_from(self, row: int) -> int:
        return self.own[row] if self.waits[row] else self.comes_from(row)

    def goes_to(self, row: int) -> int:
        """The station that the answer reaches without a pause."""
        parent = self.parent[row]
        if (
            parent < 0
            or not self.final[row]
            or self.carries[parent][1] != self.key(row)
            or abs(self.end[parent] - self.end[row]) > self.pause
        ):
            return self.own[row]
        return self.goes_to(parent)

    def key(self, row: int) -> tuple[int, int]:
        return self.hop[row], self.call[row]

    def calls(self, row: int) -> dict[tuple[int, int], tuple[float, float]]:
        """When each call that a visit's pod makes begins, back-off included, and when its last try ends, in order."""
        spans: dict[tuple[int, int], tuple[float, float]] = {}
        for k in self.inner[row]:
            begins, ended = spans.get(self.key(k), (float("inf"), -float("inf")))
            spans[self.key(k)] = min(begins, self.began[k] - self.back_off[k]), max(ended, self.end[k])
        return spans

    def first_and_last(self, row: int) -> list[tuple[int, int]]:
        """The first and the last call of a visit's pod that takes its time: these carry the request there, and the answer home."""
        calls = self.calls(row)
        lasting = [key for key, (begins, ended) in calls.items() if ended - begins > self.pause] or [*calls]
        return [*lasting[:1], *lasting[-1:]]

    # --- the moves of one visit ---------------------------------------------------------------

    def visit(self, row: int) -> None:
        own, began, sent = self.own[row], self.began[row], self.sent[row]
        for inner in self.inner[row]:
            self.wanted[inner] = min(self.end[row], self.wanted[row])
        if self.back_off[row] > 0:
            self.add(row, BACK_OFF, began - self.back_off[row], began, own)
        if sent != sent:
            self.wait(row, own, began, self.turn_back(row, own, self.end[row] - began))
            return
        if self.waits[row]:
            self.wait(row, own, began, sent)
        if self.inner[row]:
            self.call_on(row, self.hop[row] + 2)
        else:
            self.at_the_pod(row, self.hop[row] + 2)

    def wait(self, row: int, own: int, start: float, stop: float) -> None:
        come = self.comes_from(row)
        leg = min(LEG, (stop - start) / 2) if come != own else 0.0
        self.add(row, OUT, start, start + leg, come, own)
        self.add(row, WAIT, start + leg, stop, own)

    def turn_back(self, row: int, own: int, seconds: float) -> float:
        """The proxy's own answer on its way, out of the last of these seconds; returns when it leaves."""
        to = self.goes_to(row)
        leg = min(LEG, seconds / 4) if to != own else 0.0
        self.add(row, BACK, self.end[row] - leg, self.end[row], own, to)
        return self.end[row] - leg

    def call_on(self, row: int, pod: int) -> None:
        """A pod that calls others, one after another: it holds the request before, between and after its calls."""
        sent, end, inner, calls = self.sent[row], self.end[row], self.inner[row], sorted(self.calls(row).values())
        first, last = calls[0][0], max(ended for _, ended in calls)
        if first - sent > self.pause:
            leg = min(LEG, (first - sent) / 2)
            self.add(row, OUT, sent, sent + leg, self.goes_from(row), pod)
            self.add(row, HOLD, sent + leg, first, pod)
        if self.left[row] or last > end + self.pause:
            leaves = self.turn_back(row, self.own[row], end - sent)
            for k in (row, *inner):
                self.wanted[k] = min(self.wanted[k], leaves)
        elif end - last > self.pause:
            leg = min(LEG, end - last)
            self.add(row, HOLD, last, end - leg, pod)
            self.add(row, BACK, end - leg, end, pod, self.goes_to(row))
        for (_, answered), (begins, _) in pairwise(calls):
            if begins - answered > self.pause:
                self.add(row, HOLD, answered, begins, pod)

    def at_the_pod(self, row: int, pod: int) -> None:
        """There, in the queue, at work, and back; or given up, and at work for nobody."""
        sent, end = self.sent[row], self.end[row]
        leg = min(LEG, (end - sent) / 4)
        kind = WORK if pod in self.ends else HOLD
        arrives, leaves = sent + leg, end - leg
        self.add(row, OUT, sent, arrives, self.goes_from(row), pod)
        if self.left[row]:
            leaves = self.turn_back(row, self.own[row], end - sent)
        else:
            self.add(row, BACK, leaves, end, pod, self.goes_to(row))
        begins = max(arrives, self.work[row]) if kind == WORK and self.work[row] == self.work[row] else arrives
        self.add(row, QUEUE, arrives, min(begins, leaves), pod)
        self.add(row, kind, min(begins, leaves), leaves, pod)
        if self.left[row] and kind == WORK and self.done[row] == self.done[row]:
            self.wanted[row] = min(self.wanted[row], leaves)
            self.add(row, QUEUE, leaves, max(begins, leaves), pod)
            self.add(row, WORK, max(begins, leaves), self.done[row], pod)


def _final(visits: Visits) -> list[bool]:
    """Does the call's answer come from this try?  Its last one, unless that was abandoned."""
    final = [False] * len(visits.hop)
    order = np.lexsort((visits.end, ~visits.is_outcome("abandoned"), visits.call, visits.hop))
    keys = list(zip(visits.hop[order].tolist(), visits.call[order].tolist(), strict=True))
    for at, row in enumerate(order.tolist()):
        final[row] = visits.hop[row] < 0 or at + 1 == len(keys) or keys[at + 1] != keys[at]
    return final


def moves(visits: Visits, stage: Stage, most: float) -> dict[str, np.ndarray]:
    """Every move in order of its start: visit, kind, start, stop (seconds), station, to (stations), seat.

    `most` is the time after which nothing is shown.
    `seat` is the smallest free one of its pod while it is at work there.
    """
    kinds = [("visit", "i4"), ("kind", "u1"), ("start", "f8"), ("stop", "f8"), ("station", "u1"), ("to", "u1")]
    table = np.array(_Script(visits, stage).rows, dtype=kinds)
    table = table[np.argsort(table["start"], kind="stable")]
    made = {name: table[name] for name, _ in kinds}
    made["stop"] = np.minimum(made["stop"], most + 1)
    seat = _seats(made, visits.target)
    times = {name: made[name].astype("f4") for name in ("start", "stop")}
    return {**made, **times, "seat": seat.astype("u2")}


def _seats(made: dict[str, np.ndarray], target: np.ndarray) -> np.ndarray:
    """The seat of each visit at work, the same before and after it turned into a ghost."""
    seats = np.zeros(len(made["visit"]), np.int64)
    working = np.flatnonzero((made["kind"] & KIND) == WORK)
    pods = target[made["visit"][working]]
    for pod in np.unique(pods):
        rows = working[pods == pod]
        until: dict[int, float] = {}
        for row, stop in zip(made["visit"][rows].tolist(), made["stop"][rows].tolist(), strict=True):
            until[row] = max(until.get(row, 0.0), stop)
        took = dict(_assigned(made["visit"][rows].tolist(), made["start"][rows].tolist(), until))
        seats[rows] = [took[row] for row in made["visit"][rows].tolist()]
    return seats


def _assigned(rows: list[int], starts: list[float], until: dict[int, float]) -> Iterator[tuple[int, int]]:
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    seen: set[int] = set()
    for row, start in zip(rows, starts, strict=True):
        if row in seen:
            continue
        seen.add(row)
        while busy and busy[0][0] <= start + 1e-9:
            heapq.heappush(free, heapq.heappop(busy)[1])
        seat = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (until[row], seat))
        yield row, seat
