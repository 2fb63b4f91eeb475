"""Every number in the rules of a mesh: each limit, timeout, retry and ejection number, where it stands, and how it is moved."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshmodel.fakeservice import parse_duration
from meshmodel.scenario import ScenarioError

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

KINDS = ("DestinationRule", "VirtualService")
LIMITS = ("maxConnections", "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries")
"""Of a connection pool: left out, each is unlimited."""
_WHOLE = {
    **dict.fromkeys(LIMITS, (1, 1_000_000)),
    **dict.fromkeys(("consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures"), (1, 1000)),
    **dict.fromkeys(("maxEjectionPercent", "minHealthPercent"), (0, 100)),
    **dict.fromkeys(("attempts", "minRetryConcurrency"), (0, 20)),
}
_DURATIONS = ("timeout", "perTryTimeout", "interval", "baseEjectionTime", "fixedDelay", "backoff")


@dataclass(frozen=True)
class Number:
    """A number of a rule: in which resource, where in it, its value (seconds, or a whole number) and between what it may be."""

    kind: str
    namespace: str
    name: str
    path: tuple[str | int, ...]
    value: float
    least: float
    most: float
    duration: bool

    @property
    def field(self) -> str:
        return str(self.path[-1])

    @property
    def label(self) -> str:
        """In words: the field, and whose."""
        route = f" of http[{self.path[2]}]" if self.path[1] == "http" and self.path[2] else ""
        subset = f" of subset {self.path[2]}" if self.path[1] == "subsets" else ""
        return f"{self.name}: {self.field}{route}{subset}"

    def says(self, value: float | None) -> str:
        """A value as YAML has it; None: the field is left out."""
        if value is None:
            return "unlimited" if self.field in LIMITS else "left out"
        return (f"{value:g}s" if value >= 1 and value == round(value) else f"{round(1000 * value)}ms") if self.duration else f"{value:g}"

    def times(self, factor: float) -> float:
        """The value, `factor` times as much, within its bounds: whole milliseconds or whole numbers, another one where it can be."""
        wanted = self.value * factor
        if self.duration:
            return min(self.most, max(self.least, round(wanted, 3)))
        whole = round(wanted)
        if whole == self.value:
            whole += 1 if factor > 1 else -1
        return min(self.most, max(self.least, whole))

    def moved(self, manifest: Mapping[str, Any], value: float | None) -> dict[str, Any]:
        """The manifest with this number set to `value`; None: left out."""
        changed = copy.deepcopy(dict(manifest))
        place: Any = changed
        for key in self.path[:-1]:
            place = place[key]
        if value is None:
            del place[self.path[-1]]
        else:
            place[self.path[-1]] = self.says(value) if self.duration else int(value)
        return changed


def numbers(mesh: Mesh) -> list[Number]:
    """All numbers in the DestinationRules and VirtualServices of the mesh, in the order in which they were applied."""
    return [
        number
        for kind, namespace, name in mesh.resources
        if kind in KINDS
        for number in _within(mesh.get(kind, name, namespace).get("spec"), (kind, namespace, name), ("spec",))
    ]


def _within(value: Any, owner: tuple[str, str, str], path: tuple[str | int, ...]) -> Iterator[Number]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _within(inside, owner, (*path, str(key)))
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from _within(inside, owner, (*path, index))
    elif (number := _number(value, owner, path)) is not None:
        yield number


def _number(value: Any, owner: tuple[str, str, str], path: tuple[str | int, ...]) -> Number | None:
    field = str(path[-1])
    if field in _WHOLE and isinstance(value, int) and not isinstance(value, bool):
        least, most = _WHOLE[field]
        return Number(*owner, path, value, least, max(most, value), duration=False)
    if field in _DURATIONS and isinstance(value, str):
        try:
            return Number(*owner, path, parse_duration(value, field), 0.001, 86400.0, duration=True)
        except ScenarioError:
            return None
    return None


def with_numbers(mesh: Mesh, values: Mapping[Number, float | None]) -> Mesh:
    """Another mesh, with these numbers moved."""
    changed: dict[tuple[str, str, str], dict[str, Any]] = {}
    for number, value in values.items():
        owner = number.kind, number.namespace, number.name
        manifest = changed[owner] if owner in changed else mesh.get(number.kind, number.name, number.namespace)
        changed[owner] = number.moved(manifest, value)
    return mesh.copy().apply(*changed.values()) if changed else mesh.copy()
