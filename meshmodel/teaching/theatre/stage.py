"""Where a request can be: the load, a column of proxies a route, and the pods of the last route.

Column 0 is the load; column k + 1 holds the callers of route k, whose proxies apply it (the
pods of route k - 1); the last column holds the pods that answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np

from meshmodel.results.trace import Trace
from meshmodel.teaching.palette import troubled

MOST_CALLERS = 8
"""A column of more callers is drawn as one stack."""


@dataclass(frozen=True)
class Stage:
    """The places of a trace, numbered; `columns[c]` are the numbers of the places in column c."""

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    index: dict[tuple[int, str], int]
    roles: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace) -> Stage:
        bad = troubled(trace.scenario)
        names, index, roles = ["load"], {(0, ""): 0}, ["load"]
        columns: list[tuple[int, ...]] = [(0,)]
        for column, here in enumerate(_columns(trace), start=1):
            last = column == len(trace.scenario.routes) + 1
            groups = [here] if len(here) > MOST_CALLERS and not last else [[name] for name in here]
            columns.append(tuple(range(len(names), len(names) + len(groups))))
            for group in groups:
                index |= {(column, name): len(names) for name in group}
                names.append(group[0] if len(group) == 1 else f"{len(group)} × {commonprefix(group).rstrip('-0')}")
                roles.append("middle" if not last else "troubled" if group[0] in bad else "healthy")
        return cls(tuple(names), tuple(columns), index, tuple(roles))

    @property
    def last(self) -> int:
        """The pods' column."""
        return len(self.columns) - 1

    def places(self, columns: np.ndarray, names: Iterable[str]) -> np.ndarray:
        """The place of each name in its column, -1 where there is none."""
        return np.array([self.index.get(key, -1) for key in zip(columns.tolist(), names, strict=True)], dtype=np.int16)

    def short(self) -> list[str]:
        """The names without the words that all pods share, for a narrow stage."""
        pods = [self.names[place] for place in self.columns[-1]]
        shared = commonprefix(pods).rpartition("-")[0] if len(pods) > 1 else ""
        shared = shared.rpartition("-")[0]  # one shared word stays: "backend-1-1", not "1-1"
        return [name.removeprefix(shared + "-") if shared else name for name in self.names]

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "short": self.short(), "columns": [list(c) for c in self.columns], "roles": list(self.roles)}


def _columns(trace: Trace) -> list[list[str]]:
    """The names in each column but the load's: those of the scenario, then those that only the trace knows."""
    attempts, hops = trace.attempts, len(trace.scenario.routes)
    columns: list[list[str]] = []
    for hop in range(hops):
        told = [caller.name for routes in trace.scenario.chains for caller in routes[hop].callers]
        columns.append(_unique(told, attempts.proxy[attempts.hop == hop]))
    return [*columns, _unique(trace.pods, attempts.endpoint[attempts.hop == hops - 1])]


def _unique(*names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(name for some in names for name in some) if name]
