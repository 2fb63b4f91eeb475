""" "Watch for": where in a trace the things happen that a reader should see, and what to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from meshmodel.teaching.theatre.moves import BACK_OFF, GHOST, KIND, QUEUE, WAIT, WORK
from meshmodel.teaching.theatre.stage import Stage
from meshmodel.teaching.theatre.visits import Visits, Window


class Moment(NamedTuple):
    """`time` in seconds (None: nowhere in particular) and what to look at there."""

    time: float | None
    text: str


def moments(stage: Stage, visits: Visits, moves: dict[str, np.ndarray], hosts: dict[str, np.ndarray], window: Window) -> list[Moment]:
    """The first time of each thing that happens at all, in order."""
    found = [moment for find in _FINDERS for moment in find(stage, visits, moves, hosts, window)]
    return sorted((m for m in found if m.time is None or window.start <= m.time <= window.stop), key=lambda moment: moment.time or 0.0)


Finder = Callable[[Stage, Visits, dict[str, np.ndarray], dict[str, np.ndarray], Window], Iterator[Moment]]


def _first(times: np.ndarray, where: np.ndarray) -> int | None:
    """The row with the least time among those where `where` holds."""
    rows = np.flatnonzero(where)
    return int(rows[np.argmin(times[rows])]) if len(rows) else None


def _draws(stage: Stage, visits: Visits, *_: object) -> Iterator[Moment]:
    """The draw of LEAST_REQUEST that made the greatest difference, and the one that could not make any."""
    choices = [station for station in stage.ends if len(stage.stations[station]) > 1]
    drawn = np.isin(visits.hop + 2, choices) & (visits.first >= 0)
    spared = np.where(drawn, visits.first_active - visits.second_active, 0)
    row = int(np.argmax(spared))
    if spared[row] > 0:
        chosen, other = stage.names[visits.second[row]], stage.names[visits.first[row]]
        active = visits.first_active[row], visits.second_active[row]
        yield Moment(float(visits.began[row]), f"of two draws, {other} has {active[0]} active, {chosen} {active[1]}: fewer wins")
    twice = np.where(drawn & (visits.first == visits.second), visits.first_active, 0)
    row = int(np.argmax(twice))
    if twice[row] > 0:
        name = stage.names[visits.first[row]]
        yield Moment(float(visits.began[row]), f"both draws are {name}: it gets the request, {twice[row]} active or not")


def fullest(stage: Stage, visits: Visits, moves: dict[str, np.ndarray], window: Window) -> tuple[int, float | None, str]:
    """The most requests that a pod holds at once in the window, when, and which pod; (0, None, "") where none holds any."""
    here = np.isin(moves["kind"], (WORK, QUEUE))
    best: tuple[int, float | None, str] = (0, None, "")
    for place in stage.pods:
        rows = here & (visits.target[moves["visit"]] == place)
        most, time = _most_at_once(moves["start"][rows], moves["stop"][rows], window)
        if most > best[0]:
            best = (most, time, stage.names[place])
    return best


def most_to_see(visits: Sequence[Visits], moves: Sequence[dict[str, np.ndarray]], window: Window) -> float:
    """When most is to be seen in all panels together: requests that stand anywhere, and once more those of the largest crowd.

    They stand at work, in a pod's queue, and at a proxy before a connection or a retry; the middle, where none ever does.
    """
    stands = [_standing(mine, made) for mine, made in zip(visits, moves, strict=True)]
    times = np.unique(np.concatenate([made["start"] for made in moves]))
    times = times[(times >= window.start) & (times <= window.stop)]
    seen = sum(_held(times, *rows.T[1:]) + np.max([_held(times, *rows[rows[:, 0] == place].T[1:]) for place in {*rows[:, 0]}], axis=0)
               for rows in stands if len(rows))  # fmt: skip
    return float(times[np.argmax(seen)]) if np.any(seen) else (window.start + window.stop) / 2


def _standing(visits: Visits, moves: dict[str, np.ndarray]) -> np.ndarray:
    """(place, start, stop) of whatever stands somewhere."""
    kind, visit = moves["kind"] & KIND, moves["visit"]
    place = np.where(np.isin(kind, (WORK, QUEUE)), visits.target[visit], visits.origin[visit])
    return np.column_stack((place, moves["start"], moves["stop"]))[np.isin(kind, (WORK, QUEUE, WAIT, BACK_OFF))]


def _held(times: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """How many of these spans there are at each of the times."""
    return np.searchsorted(np.sort(start), times, "right") - np.searchsorted(np.sort(stop), times, "right")


def _most_at_once(start: np.ndarray, stop: np.ndarray, window: Window) -> tuple[int, float | None]:
    """How many of these spans there are at once in the window at most, and from when on; None: there is none."""
    time = np.concatenate([start, stop])
    step = np.repeat([1, -1], len(start))
    order = np.lexsort((step, time))
    within = (time[order] >= window.start) & (time[order] <= window.stop)
    held = np.where(within, np.cumsum(step[order]), 0)
    return (int(held.max()), float(time[order][held.argmax()])) if held.any() else (0, None)


def _fullest(stage: Stage, visits: Visits, moves: dict[str, np.ndarray], hosts: object, window: Window) -> Iterator[Moment]:
    most, time, name = fullest(stage, visits, moves, window)
    if most > 3:
        yield Moment(time, f"{name} holds {most} requests at once, the most of any pod")


def _tries(stage: Stage, visits: Visits, *_: object) -> Iterator[Moment]:
    failed = visits.failed()
    row = _first(visits.end, failed & (visits.hop >= 0))
    if row is not None:
        yield Moment(float(visits.end[row]), f"the first try that fails: {visits.outcomes[visits.outcome[row]]}")
    row = _first(visits.began - visits.back_off, visits.number > 1)
    if row is not None:
        yield Moment(float(visits.began[row] - visits.back_off[row]), "a proxy waits (the ring empties), then tries another pod")
    row = _first(visits.began, ~(visits.sent - visits.began <= visits.pause) & (visits.target >= 0) & (visits.hop >= 0) & ~failed)
    if row is not None:
        yield Moment(float(visits.began[row]), "no connection is free: the request waits in its proxy")
    row = _first(visits.end, visits.is_outcome("overflow"))
    if row is not None:
        yield Moment(float(visits.end[row]), "the waiting room is full: the proxy refuses at once")


def _next_call(stage: Stage, visits: Visits, *_: object) -> Iterator[Moment]:
    """The first request for which a pod makes its second call."""
    served = visits.parent >= 0
    first = np.full(len(visits.hop), np.iinfo(int).max)  # of each visit the first route that is called for it
    np.minimum.at(first, visits.parent[served], visits.hop[served])
    row = _first(visits.began, served & (visits.hop > first[visits.parent]))
    if row is not None:
        who, before, now = stage.names[visits.origin[row]], stage.called[first[visits.parent[row]] + 2], stage.called[visits.hop[row] + 2]
        yield Moment(float(visits.began[row]), f"{who} has its answer from {before}, and calls {now} for the same request")


def _leftovers(stage: Stage, visits: Visits, moves: dict[str, np.ndarray], *_: object) -> Iterator[Moment]:
    row = _first(moves["start"], (moves["kind"] & GHOST > 0) & ((moves["kind"] & KIND) == WORK))
    if row is not None:
        name = stage.names[visits.target[moves["visit"][row]]]
        yield Moment(float(moves["start"][row]), f"the hollow dot: {name} works on, and nobody waits for it")


def _hosts(stage: Stage, visits: Visits, moves: dict[str, np.ndarray], hosts: dict[str, np.ndarray], *_: object) -> Iterator[Moment]:
    texts = {0: "{} is ejected: new requests go to the others", 1: "{} comes back", 2: "panic: ejected pods are used again"}
    for what, text in texts.items():
        row = _first(hosts["time"], hosts["what"] == what)
        if row is not None:
            yield Moment(float(hosts["time"][row]), text.format(stage.names[hosts["pod"][row]]))


_FINDERS: tuple[Finder, ...] = (_draws, _fullest, _tries, _next_call, _leftovers, _hosts)
