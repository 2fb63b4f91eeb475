"""One load on many meshes with common random numbers: each number of the rules moved down and up, and what brings an objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meshmodel.results.replay import Replay
from meshmodel.scenario import Workload
from meshmodel.whatif.numbers import Number, numbers, with_numbers

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

Progress = Callable[[str], None]


def errors(replay: Replay) -> np.ndarray:
    """Share of the requests of each replication that did not end with 200, (replications,)."""
    return 1 - replay.values("code 200")


def figure(replay: Replay, name: str) -> float:
    """A figure's mean over the replications; `errors` is the share of all codes but 200."""
    values = errors(replay) if name == "errors" else replay.values(name)
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan


def _unwatched(what: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Study:
    """A load and how it is simulated; the same random numbers for every mesh."""

    load: Workload
    replications: int = 40
    seed: int = 1
    target: str | None = None
    locality: str | None = None
    progress: Progress = _unwatched

    def run(self, mesh: Mesh, what: str = "the mesh as it is") -> Replay:
        """The load on this mesh; `what` is told to who watches."""
        self.progress(what)
        return mesh.simulate(self.load, self.replications, self.seed, self.target, self.locality, keep="figures")


@dataclass(frozen=True)
class Moved:
    """A number moved down and up: the values, and the figures (p99 in seconds, share of errors) with each."""

    number: Number
    values: tuple[float, float]
    p99: tuple[float, float]
    errors: tuple[float, float]

    @property
    def bars(self) -> tuple[tuple[str, float, float, str, str], tuple[str, float, float, str, str]]:
        """As `charts.tornado` takes them: of p99, and of the errors."""
        said = tuple(map(self.number.says, self.values))
        label = f"{self.number.label} {self.number.says(self.number.value)}"
        return (label, *self.p99, *said), (label, *self.errors, *said)  # type: ignore[return-value]


def sensitivities(mesh: Mesh, study: Study, base: Replay, factor: float = 2.0) -> list[Moved]:
    """Every number of the rules by itself, divided and multiplied by `factor`.  A value that Istio refuses counts as no move."""
    found = []
    for number in numbers(mesh):
        low, high = number.times(1 / factor), number.times(factor)
        sides = [_moved(mesh, study, base, number, value) for value in (low, high)]
        p99, wrong = ([figure(side, name) for side in sides] for name in ("p99", "errors"))
        found.append(Moved(number, (low, high), (p99[0], p99[1]), (wrong[0], wrong[1])))
    return found


def _moved(mesh: Mesh, study: Study, base: Replay, number: Number, value: float) -> Replay:
    if value == number.value:
        return base
    try:
        return study.run(with_numbers(mesh, {number: value}), f"{number.label} {number.says(value)}")
    except ValueError:  # the rest of the rule does not allow it
        return base


WHY = {
    "overflow": "refused by a limit of the connection pool (503, flag UO): no connection or place in the queue was free",
    "timeout": "cut off by the route's timeout (504, flag UT)",
    "per try timeout": "tries cut off by perTryTimeout",
    "no healthy upstream": "no pod left that is healthy (503, flag UH)",
    "refused": "connections refused by the pod (503, flag UF)",
    "reset": "connections reset by the pod (503, flag UC)",
    "abandoned": "tries given up, as the client did or another try was quicker",
}
"""What became of a try, in words, with the code and the flag of Envoy's access log."""


def reasons(replay: Replay) -> list[str]:
    """Why requests failed, the most frequent first: what became of the tries of one run, hop by hop, per 1,000 requests."""
    if not replay.requests[0] or not errors(replay).any() and not replay.counters.get("upstream_rq_retry", np.zeros(1)).any():
        return []
    trace = replay.trace(0)
    ill = trace.attempts[~trace.attempts["outcome"].str.fullmatch("[123][0-9][0-9]")]
    routes = replay.scenario.routes
    last, counted = len(routes) - 1, Counter[str]()
    for hop, endpoint, outcome in zip(ill["hop"], ill["endpoint"], ill["outcome"], strict=True):
        host = routes[hop].host.split(".")[0]
        pod = (
            f" by the pod {endpoint}" if endpoint and outcome not in ("overflow", "timeout", "no healthy upstream") and hop == last else ""
        )
        counted[f"calls to {host}: {WHY.get(outcome, f'answered {outcome}')}{pod}"] += 1
    lines = [f"{1000 * n / len(trace.requests):.3g} of 1,000 requests, {words}" for words, n in counted.most_common(MOST_REASONS)]
    ejected = (trace.hosts["event"] == "ejected").sum()
    return lines + ([f"{ejected} ejections of a pod by outlier detection"] if ejected else [])


MOST_REASONS = 8
