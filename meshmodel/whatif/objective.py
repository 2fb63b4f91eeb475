"""An objective such as "p99<300ms,errors<0.1%", and the change of the rules that brings it: found by a sweep.

The sweep tries every number of the rules moved by itself, limits taken away, and the three remedies that a mesh has (retries,
outlier detection, a timeout); where none alone is enough, the best is kept and the next is sought, three times at most.  Of the
changes that are enough the least is taken: the fewest fields, then the smallest factor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshmodel._text import InputError, quoted
from meshmodel.fakeservice import parse_duration
from meshmodel.results.replay import Replay
from meshmodel.whatif.numbers import LIMITS, numbers
from meshmodel.whatif.study import Study, figure

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

FACTORS = (2.0, 0.5, 4.0, 0.25, 8.0)
MOST_STEPS = 3
_CLAUSE = re.compile(r"\s*(avg|p[0-9]{1,2}(?:\.[0-9]{1,3})?|errors)\s*(<=|<)\s*([0-9.]+\s*(?:%|[a-zµ][0-9a-zµ.]*)?)\s*")


@dataclass(frozen=True)
class Clause:
    """`figure` below `limit`: seconds, or a share."""

    figure: str
    limit: float
    text: str

    def excess(self, replay: Replay) -> float:
        """0 where it holds, else how far above the limit, relative to it (against a thousandth where the limit is 0)."""
        value = figure(replay, self.figure)
        return max(0.0, (value - self.limit) / max(self.limit, 1e-3)) if value == value else 1e9

    def says(self, replay: Replay) -> str:
        value = figure(replay, self.figure)
        shown = f"{100 * value:.3g} %" if self.figure == "errors" else f"{1000 * value:.4g} ms"
        return f"{self.text}: {shown}, {'met' if not self.excess(replay) else 'NOT met'}"


def objective(text: str) -> tuple[Clause, ...]:
    """The clauses of an objective.  Raises InputError."""
    return tuple(_clause(part) for part in text.split(","))


def _clause(text: str) -> Clause:
    found = _CLAUSE.fullmatch(text[:200])
    if not found:
        raise InputError(f"--slo: must be such as p99<300ms,errors<0.1% (avg, p50, p99.9, errors), got {quoted(text)}")
    name, _, limit = found.groups()
    if (name == "errors") is not limit.endswith("%"):
        raise InputError(f"--slo {quoted(text)}: errors are in %, times with a unit such as 300ms")
    try:
        value = float(limit.rstrip("% ")) / 100 if name == "errors" else parse_duration(limit.strip(), "--slo")
    except ValueError as problem:
        raise InputError(f"--slo {quoted(text)}: {problem}") from None
    return Clause(name, value, text.strip())


def excess(clauses: tuple[Clause, ...], replay: Replay) -> float:
    """How far the clauses together are from being met; 0: all are."""
    return sum(min(clause.excess(replay), 1e6) for clause in clauses)


@dataclass(frozen=True)
class Change:
    """A change of the rules: in words, the manifests that make it, and how large it is."""

    words: str
    manifests: tuple[Mapping[str, Any], ...]
    size: float


@dataclass(frozen=True)
class Answer:
    """The changes that were kept, one after another, what they come to, and whether that is enough."""

    clauses: tuple[Clause, ...]
    changes: tuple[Change, ...]
    before: Replay
    after: Replay
    tried: int

    @property
    def met(self) -> bool:
        return excess(self.clauses, self.after) == 0

    @property
    def manifests(self) -> list[Mapping[str, Any]]:
        """The changed resources, each as it is after all changes."""
        return list({_key(m): m for change in self.changes for m in change.manifests}.values())

    def says(self) -> list[str]:
        """What was asked, and what each side comes to."""
        return [clause.says(self.after) for clause in self.clauses]


def _key(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def sought(mesh: Mesh, study: Study, base: Replay, clauses: tuple[Clause, ...]) -> Answer:
    """The least change that meets the clauses, as far as the sweep finds one."""
    kept: list[Change] = []
    now, tried = base, 0
    while excess(clauses, now) and len(kept) < MOST_STEPS:
        results = [(change, replay) for change in candidates(mesh, study, clauses) if (replay := _run(mesh, study, change)) is not None]
        tried += len(results)
        if not results:
            break
        change, best = min(results, key=lambda pair: (excess(clauses, pair[1]), pair[0].size))
        if excess(clauses, best) >= 0.98 * excess(clauses, now):
            break
        mesh, now = mesh.copy().apply(*change.manifests), best
        kept.append(change)
    return Answer(clauses, tuple(kept), base, now, tried)


def _run(mesh: Mesh, study: Study, change: Change) -> Replay | None:
    try:
        return study.run(mesh.copy().apply(*change.manifests), change.words)
    except ValueError:  # Istio refuses it, or the run would be too large
        return None


def candidates(mesh: Mesh, study: Study, clauses: tuple[Clause, ...]) -> Iterator[Change]:
    """Each number moved, each limit taken away, and the remedies for the Service that is called last."""
    for number in numbers(mesh):
        for factor in FACTORS:
            value = number.times(factor)
            if value != number.value:
                yield _set(mesh, number, value, max(factor, 1 / factor))
        if number.field in LIMITS:
            yield _set(mesh, number, None, 16.0)
    yield from _remedies(mesh, study, clauses)


def _set(mesh: Mesh, number: Any, value: float | None, size: float) -> Change:
    changed = number.moved(mesh.get(number.kind, number.name, number.namespace), value)
    words = f"{number.kind} {number.name}: {number.field} {number.says(number.value)} -> {number.says(value)}"
    return Change(words, (changed,), size)


def _remedies(mesh: Mesh, study: Study, clauses: tuple[Clause, ...]) -> Iterator[Change]:
    host = mesh.scenario(study.load, study.target, study.locality).routes[-1].host
    rule, route = _rule(mesh, host), _virtual_service(mesh, host)
    detection = {"consecutive5xxErrors": 3, "interval": "2s", "baseEjectionTime": "30s", "maxEjectionPercent": 50}
    policy = rule["spec"].get("trafficPolicy", {})
    if "outlierDetection" not in policy:
        spec = {**rule["spec"], "trafficPolicy": {**policy, "outlierDetection": detection}}
        yield Change(f"outlier detection for {host}: a pod goes after 3 errors in a row", ({**rule, "spec": spec},), 20.0)
    slowest = [clause.limit for clause in clauses if clause.figure != "errors"]
    limits = [None, *(f"{max(1, round(1000 * limit / 3))}ms" for limit in slowest[:1])]
    for per_try in limits:
        retries = {"attempts": 3, "retryOn": "5xx,reset,connect-failure", **({"perTryTimeout": per_try} if per_try else {})}
        if any("retries" in http for http in route["spec"]["http"]):
            continue
        spec = {**route["spec"], "http": [{**http, "retries": retries} for http in route["spec"]["http"]]}
        tries = f", each of at most {per_try}" if per_try else ""
        yield Change(f"three retries of calls to {host}{tries}", ({**route, "spec": spec},), 30.0)


def _rule(mesh: Mesh, host: str) -> dict[str, Any]:
    """The DestinationRule of the host, or a new one."""
    return _of_host(mesh, "DestinationRule", host) or {
        "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule",
        "metadata": {"name": host.split(".")[0], "namespace": _namespace(mesh, host)}, "spec": {"host": host},
    }  # fmt: skip


def _virtual_service(mesh: Mesh, host: str) -> dict[str, Any]:
    """The VirtualService of the host, or a new one."""
    return _of_host(mesh, "VirtualService", host) or {
        "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
        "metadata": {"name": host.split(".")[0], "namespace": _namespace(mesh, host)},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
    }  # fmt: skip


def _namespace(mesh: Mesh, host: str) -> str:
    return host.split(".")[1] if host.count(".") > 1 else mesh.namespace


def _of_host(mesh: Mesh, kind: str, host: str) -> dict[str, Any] | None:
    for found, namespace, name in mesh.resources:
        if found != kind:
            continue
        manifest = mesh.get(kind, name, namespace)
        hosts = [manifest["spec"].get("host")] if kind == "DestinationRule" else manifest["spec"].get("hosts", [])
        short = host.split(".")[0]
        if any(each in (host, short, f"{short}.{namespace}", f"{short}.{namespace}.svc") for each in hosts):
            return manifest if kind == "DestinationRule" or manifest["spec"].get("http") else None
    return None
