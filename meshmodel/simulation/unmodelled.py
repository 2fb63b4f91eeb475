"""What the Monte-Carlo engine does not play yet: refused by name rather than left out in silence."""

from __future__ import annotations

from collections.abc import Iterator

from meshmodel.scenario import Cluster, Route, Scenario


class Unmodelled(ValueError):
    """What the scenario has and the engine has not."""


def refuse_unmodelled(scenario: Scenario) -> None:
    """Raise `Unmodelled` with one line, where there is something of the kind; the real Envoy plays it all (`measure`)."""
    found = dict.fromkeys(what for chain in scenario.chains for route in chain for what in _unmodelled(route))
    if found:
        raise Unmodelled(f"{', '.join(found)}: not simulated yet, ask the real Envoy (measure)")


def _unmodelled(route: Route) -> Iterator[str]:
    if route.direct_response:
        yield "redirect or direct response"
    if route.mirrors:
        yield "mirror"
    for cluster in route.clusters:
        if cluster.hashes:
            yield "consistentHash"
        if cluster.slow_start:
            yield "warmup"
        if cluster.outlier_detection and cluster.outlier_detection.error_codes:
            yield "outlierDetectionHttpErrorCodes"
        if cluster.locality_weights and any(_splits_a_locality(cluster, levels) for levels in cluster.priorities):
            yield "a failoverPriority that splits a locality"


def _splits_a_locality(cluster: Cluster, levels: tuple[int, ...]) -> bool:
    places = {(endpoint.locality, level) for endpoint, level in zip(cluster.endpoints, levels, strict=True)}
    return len(places) > len({locality for locality, _ in places})
