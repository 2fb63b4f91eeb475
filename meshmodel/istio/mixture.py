"""A load of several kinds of requests as one chain of routes.

Each kind takes its own route at each proxy.  What then differs between them and is drawn for each request anyway, the destination,
an injected fault, a mirror, an answer of the proxy's own, is drawn in the mixture by the weights of the kinds; what is not drawn,
such as a timeout, must be the same for all of them.  Where they differ at several hops each hop draws anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm

from meshmodel.istio.control_plane import Plan
from meshmodel.istio.field import ManifestError
from meshmodel.scenario import Cluster, Destination, Fault, Mirror, Route, callers_of

INSTEAD = "is not modelled: give each kind of request a load of its own"
Weighted = Sequence[tuple[Route, Fraction]]


def mixed(plans: Sequence[tuple[Plan, float]]) -> Plan:
    """The plan of a mixture.  Raises `ManifestError` where its kinds differ in what is not drawn for each request."""
    first, total = plans[0][0], sum(Fraction(weight) for _, weight in plans)
    if len({callers_of(plan.routes) for plan, _ in plans}) > 1:
        raise ManifestError(f"request: a mixture whose requests go over different numbers of hops {INSTEAD}")
    hops = [[(plan.routes[hop], Fraction(weight) / total) for plan, weight in plans] for hop in range(len(first.routes))]
    plan = replace(first, routes=tuple(_route(each) for each in hops))
    for other, _ in plans[1:]:
        plan.hops = plan.hops + other.hops
        plan.deployments = plan.deployments + other.deployments
        plan.services = plan.services + other.services
        plan.cluster_owner = other.cluster_owner | plan.cluster_owner
        plan.localities = other.localities | plan.localities
        plan.filters = plan.filters | other.filters
    return plan


def _route(parts: Weighted) -> Route:
    first = parts[0][0]
    if all(route == first for route, _ in parts):
        return first
    passing = [(route, weight) for route, weight in parts if route.direct_response is None]
    if not passing:
        raise ManifestError(f"request: a mixture whose requests the proxy answers in different ways {INSTEAD}")
    for name in ("callers", "timeout", "retries", "hash_policy"):
        if len({getattr(route, name) for route, _ in passing}) > 1:
            raise ManifestError(f"request: a mixture whose requests take routes of {first.host} that differ in {name} {INSTEAD}")
    return replace(
        passing[0][0],
        destinations=_destinations(passing),
        fault=_fault(parts),
        mirrors=_mirrors(passing),
    )


def _destinations(parts: Weighted) -> tuple[Destination, ...]:
    shares: list[tuple[Cluster, Fraction]] = []
    for route, weight in parts:
        whole = sum(each.weight for each in route.destinations)
        shares += [(each.cluster, weight * each.weight / whole) for each in route.destinations]
    summed = _summed(shares)
    unit = lcm(*(share.denominator for _, share in summed))
    return tuple(Destination(cluster=cluster, weight=int(share * unit)) for cluster, share in summed)


def _mirrors(parts: Weighted) -> tuple[Mirror, ...]:
    total = sum((weight for _, weight in parts), Fraction(0))
    shares = [(each.cluster, weight / total * Fraction(each.percent)) for route, weight in parts for each in route.mirrors]
    return tuple(Mirror(cluster=cluster, percent=float(share)) for cluster, share in _summed(shares))


def _summed(shares: Iterable[tuple[Cluster, Fraction]]) -> list[tuple[Cluster, Fraction]]:
    found: dict[str, tuple[Cluster, Fraction]] = {}
    for cluster, share in shares:
        found[cluster.name] = cluster, share + (found[cluster.name][1] if cluster.name in found else 0)
    return list(found.values())


def _fault(parts: Weighted) -> Fault:
    """The delays and aborts of the routes with their shares; an answer of the proxy's own is an abort for its kind of request."""
    delayed = [(route.fault.delay, weight * Fraction(route.fault.delay_percent)) for route, weight in parts if route.fault.delay_percent]
    own = [(route.direct_response.status, 100 * weight) for route, weight in parts if route.direct_response]
    aborts = [
        (route.fault.abort_code, weight * Fraction(route.fault.abort_percent)) for route, weight in parts if route.fault.abort_percent
    ]
    if len({delay for delay, _ in delayed}) > 1 or len({code for code, _ in own + aborts}) > 1:
        raise ManifestError(f"request: a mixture whose requests meet different faults or answers of a proxy {INSTEAD}")
    if delayed and own + aborts:
        raise ManifestError(f"request: a mixture of which some are delayed and some aborted {INSTEAD}")
    return Fault(
        delay=delayed[0][0] if delayed else 0.0,
        delay_percent=float(sum(share for _, share in delayed)),
        abort_code=(own + aborts)[0][0] if own + aborts else 0,
        abort_percent=float(sum(share for _, share in own + aborts)),
    )
