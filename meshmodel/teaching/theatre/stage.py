"""Where a request can be: the load, and a station a route, in a tree as the calls are.

Station 0 is the load; station 1 holds the callers of the first route, whose proxies apply it; station
k + 2 holds the pods of route k, which are the callers of the routes that are called from it.  The pods
of a station that calls nobody are at work: such a station is an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np

from meshmodel.results.trace import Trace
from meshmodel.scenario import callers_of
from meshmodel.teaching.palette import troubled

MOST_CALLERS = 8
"""A station of more callers is drawn as one stack."""

CIRCLED_ONE = "\N{CIRCLED DIGIT ONE}"


def circled(number: int) -> str:
    """The number in a circle, above twenty in brackets."""
    return chr(ord(CIRCLED_ONE) + number - 1) if number <= 20 else f"({number})"


@dataclass(frozen=True)
class Stage:
    """The places of a trace, numbered; `stations[s]` are the numbers of the places in station s.

    before : for each station the one that calls it, -1 for the load.
    called : for each station the name of the Service that it stands for, "" where it is no Service's.
    """

    names: tuple[str, ...]
    stations: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]
    called: tuple[str, ...]
    index: dict[tuple[int, str], int]
    roles: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace) -> Stage:
        routes = trace.scenario.routes
        before = (-1, 0, *(caller + 2 for caller in callers_of(routes)))
        called = ("", "", *(route.host.partition(".")[0] for route in routes))
        names, index, roles = ["load"], {(0, ""): 0}, ["load"]
        stations: list[tuple[int, ...]] = [(0,)]
        for station, here in enumerate(_stations(trace), start=1):
            end = station not in before
            bad = troubled(trace.scenario, station - 2) if end else ()
            groups = [here] if len(here) > MOST_CALLERS and not end else [[name] for name in here]
            stations.append(tuple(range(len(names), len(names) + len(groups))))
            for group in groups:
                index |= {(station, name): len(names) for name in group}
                names.append(group[0] if len(group) == 1 else f"{len(group)} × {commonprefix(group).rstrip('-0')}")
                roles.append("middle" if not end else "troubled" if group[0] in bad else "healthy")
        return cls(tuple(names), tuple(stations), before, called, index, tuple(roles))

    @property
    def last(self) -> int:
        """The station of the pods whose answers the load counts."""
        return len(self.stations) - 1

    @property
    def ends(self) -> tuple[int, ...]:
        """The stations that call nobody, in the order in which a request reaches them."""
        return tuple(station for station in self._in_order(0) if station not in self.before)

    @property
    def pods(self) -> tuple[int, ...]:
        """The places at the ends."""
        return tuple(place for station in self.ends for place in self.stations[station])

    def _in_order(self, station: int) -> list[int]:
        """A station and those behind it, as a request comes to them."""
        behind = [other for other, before in enumerate(self.before) if before == station]
        return [station, *(further for other in behind for further in self._in_order(other))]

    def order(self) -> list[str]:
        """For each station the number that it has among the calls of a pod that makes several, circled; "" where it is the only one."""
        behind = [[other for other, before in enumerate(self.before) if before == mine] for mine in self.before]
        number = [calls.index(station) + 1 if len(calls) > 1 else 0 for station, calls in enumerate(behind)]
        return [circled(n) if n else "" for n in number]

    def places(self, stations: np.ndarray, names: Iterable[str]) -> np.ndarray:
        """The place of each name in its station, -1 where there is none."""
        return np.array([self.index.get(key, -1) for key in zip(stations.tolist(), names, strict=True)], dtype=np.int16)

    def origins(self, hop: np.ndarray) -> np.ndarray:
        """The stations from which calls of these routes are made; of a request (hop -1) the load's."""
        return np.array(self.before)[hop + 2]

    def short(self) -> list[str]:
        """The names without the words that all pods of a station share, for a narrow stage; where its name stands beside them."""
        names = list(self.names)
        for station in (s for s, order in enumerate(self.order()) if order or s in self.ends):
            pods = [self.names[place] for place in self.stations[station]]
            shared = commonprefix(pods).rpartition("-")[0] if len(pods) > 1 else ""
            shared = shared.rpartition("-")[0]  # one shared word stays: "backend-1-1", not "1-1"
            for place in self.stations[station]:
                names[place] = names[place].removeprefix(shared + "-") if shared else names[place]
        return names

    def to_json(self) -> dict[str, Any]:
        told = {"names": self.names, "short": self.short(), "before": self.before, "called": self.called, "order": self.order(),
                "ends": self.ends, "pods": self.pods, "roles": self.roles}  # fmt: skip
        return {**{name: list(value) for name, value in told.items()}, "stations": [list(s) for s in self.stations]}


def _stations(trace: Trace) -> list[list[str]]:
    """The names in each station but the load's: those of the scenario, then those that only the trace knows."""
    callers = callers_of(trace.scenario.routes)
    calls = [[hop for hop, caller in enumerate(callers) if caller == of] for of in range(-1, len(callers))]
    return [_callers(trace, hops) if hops else _pods(trace, of) for of, hops in enumerate(calls, start=-1)]


def _callers(trace: Trace, hops: list[int]) -> list[str]:
    told = [caller.name for routes in trace.scenario.chains for hop in hops for caller in routes[hop].callers]
    return _unique(told, trace.attempts.proxy[trace.attempts.hop.isin(hops)])


def _pods(trace: Trace, hop: int) -> list[str]:
    told = [pod.name for routes in trace.scenario.chains for pod in routes[hop].endpoints]
    answering = trace.pods if hop == len(trace.scenario.routes) - 1 else ()
    return _unique(answering, told, trace.attempts.endpoint[trace.attempts.hop == hop])


def _unique(*names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(name for some in names for name in some) if name]
