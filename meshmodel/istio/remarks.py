"""What there is to say of a mesh as a whole, before and beside its load: rules that meet nothing, pods of which nothing is known,
Services that nobody calls, routes that no request reaches.  (What follows from a scenario's numbers: `warnings`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from meshmodel._text import nearest
from meshmodel.istio import names, skipped
from meshmodel.istio.base import Resource
from meshmodel.istio.control_plane import NO_ROUTE, ROOT_NAMESPACE, ControlPlane, Hop, Plan, hosts_of, names_of
from meshmodel.istio.field import ManifestError
from meshmodel.istio.hosts import fqdn
from meshmodel.istio.kubernetes import Deployment, Service
from meshmodel.istio.resources import DestinationRule
from meshmodel.istio.virtual_service import HttpRoute, VirtualService
from meshmodel.istio.warnings import ASSUMPTION, CHANGES, NOTED, MeshWarning, within
from meshmodel.scenario import Request

NAMES = "istio.io/latest/docs/reference/config/networking/destination-rule (host: short names)"
MATCHING = "istio.io VirtualService reference (HTTPMatchRequest)"
SAID = "meshmodel: nobody has said"
SYSTEM = (ROOT_NAMESPACE, "kube-system", "kube-public")
MOST_NAMED = 5
MOST_FLAGS = 20
MOST_UNKNOWN, MOST_CONFLICTS = 100, 10_000
"""Warnings of a kind, of which nobody reads more; the name that may be meant costs milliseconds for each."""


def of_mesh(mesh: ControlPlane, resources: Iterable[Resource]) -> list[MeshWarning]:
    """Of the resources alone, without a load."""
    left_out = [each for each in resources if isinstance(each, skipped.Skipped)]
    unknown = [*_at_most(MOST_UNKNOWN, _without_service(mesh)), *_at_most(MOST_UNKNOWN, _unknown_destinations(mesh))]
    return [*unknown, *_at_most(MOST_CONFLICTS, _all_conflicts(mesh)), *skipped.remarks(left_out)]


def of_plan(mesh: ControlPlane, plan: Plan, request: Request) -> list[MeshWarning]:
    """Of a load, which asks for `request`."""
    unsaid = [*_empty(plan), *_untimed(plan), *_uncalled(mesh, plan)]
    return [*unsaid, *_unmatched(plan, request), *_unreached(plan, request), *_taken_for_granted(plan)]


def _at_most(most: int, found: Iterator[MeshWarning]) -> Iterator[MeshWarning]:
    """The first `most`; where there are more, one says so."""
    yield from islice(found, most)
    for each in islice(found, 1):
        yield replace(each, reason=f"there are more than {most:,} warnings of this kind, the rest is not listed")


# ---- rules that meet no Service


def unmet(mesh: ControlPlane) -> Iterator[tuple[DestinationRule | VirtualService, str, str]]:
    """Every rule that is for no Service of the mesh, its field, and what to say of it."""
    known = [host for service in mesh.registry.services for host in (service.name, service.fqdn)]
    ruled: list[tuple[DestinationRule | VirtualService, str]] = [(rule, "spec.host") for rule in mesh.rules]
    ruled += [(vs, "spec.hosts") for vs in mesh.virtual_services if "mesh" in vs.gateways and vs.hosts]
    for resource, path in ruled:
        if not any(map(mesh.registry.knows, hosts_of(resource))):
            shown = [name if "." in name else f"{name} in the namespace {resource.namespace}" for name in names_of(resource)]
            yield resource, path, f"there is no Service {', '.join(shown)}{_nearest(resource, known, mesh)}"


def _nearest(resource: DestinationRule | VirtualService, known: list[str], mesh: ControlPlane) -> str:
    """The Service that may be meant: the one of that name in another namespace, else the nearest name."""
    short = {host.partition(".")[0] for host in hosts_of(resource)}
    elsewhere = next((service.fqdn for service in mesh.registry.services if service.name in short), None)
    if elsewhere:
        return f", so it has no effect: did you mean {elsewhere} (or --namespace)?"
    found = nearest(names_of(resource)[0], known) if names_of(resource) else None
    return f", so it has no effect{f': did you mean {found}?' if found else ''}"


def _without_service(mesh: ControlPlane) -> Iterator[MeshWarning]:
    for resource, path, reason in unmet(mesh):
        if mesh.registry.outside.isdisjoint(names_of(resource)):
            yield MeshWarning(str(resource), path, reason, NAMES, CHANGES, first=True)
        else:
            yield MeshWarning(str(resource), path, "is for hosts outside of the mesh (ServiceEntry), which are not modelled", NAMES, NOTED)
    delegated = {route.delegate for vs in mesh.virtual_services for route in vs.routes}
    for vs in mesh.virtual_services:
        if not vs.hosts and (vs.namespace, vs.name) not in delegated:
            yield MeshWarning(
                str(vs), "spec.hosts", "it has no hosts, and no other delegates to it: it has no effect", MATCHING, first=True
            )


def _unknown_destinations(mesh: ControlPlane) -> Iterator[MeshWarning]:
    """Destinations of any route that are not there: a request on it would get 503, a load on it is refused."""
    for vs in mesh.virtual_services:
        for destination in (each for route in vs.routes for each in route.destinations):
            try:
                mesh.registry.service(destination.host, vs, f"{destination.path}.host")
            except ManifestError as problem:
                reason = str(problem).partition(f"{destination.path}.host: ")[2]
                yield MeshWarning(
                    str(vs), f"{destination.path}.host", reason, NAMES, NOTED if destination.host in mesh.registry.outside else CHANGES
                )


# ---- of two rules one wins


def _all_conflicts(mesh: ControlPlane) -> Iterator[MeshWarning]:
    alike = {(mesh.ruled.patterns(s.fqdn), mesh.routed.patterns(s.fqdn)): s for s in reversed(mesh.registry.services)}
    for service in reversed(alike.values()):
        yield from _conflicts(mesh, service)


def _conflicts(mesh: ControlPlane, service: Service) -> Iterator[MeshWarning]:
    rules = mesh.ruled.covering(service.fqdn)
    for namespace in dict.fromkeys(rule.namespace for rule in rules):
        groups = mesh.merged(mesh.ruled.most_specific(service.fqdn, lambda rule: rule.namespace == namespace))  # noqa: B023
        together = {rule.key: group[0] for group in groups for rule in group}
        for rule in (rule for rule in rules if rule.namespace == namespace and rule is not together.get(rule.key)):
            first = together.get(rule.key, groups[0][0])
            why = f"{_why(first, rule)}: its trafficPolicy wins, of this one only further subsets count"
            beaten = "has the more specific host: this one has no effect for it"
            yield _conflict(first, rule, "spec.host", why if rule.key in together else beaten)
        for group in groups[1:]:
            why = "is for the same host with another exportTo: where both are seen this one counts alone, without its subsets"
            yield _conflict(groups[0][0], group[0], "spec.host", why)
    yield from _beaten_routes(mesh, service)


def _beaten_routes(mesh: ControlPlane, service: Service) -> Iterator[MeshWarning]:
    """The VirtualServices that no caller of a Service takes, each with one that they take instead."""
    listed = mesh.routed.covering(service.fqdn)
    exported = any(vs.export for vs in listed)
    places = {service.namespace, *({r.namespace for r in mesh.registry.deployments} | {vs.namespace for vs in listed} if exported else ())}
    winners = {place: next(iter(mesh.virtual_services_of(service, place)), None) for place in sorted(places)}
    for loser in listed:
        winner = next((won for place, won in winners.items() if won and loser.seen_from(place)), None)
        if winner is not None and loser not in winners.values():
            alike = set(hosts_of(winner)) & set(hosts_of(loser)) or not mesh.defaults.has("specific_hosts")
            why = _why(winner, loser) if alike else "has the more specific host"
            yield _conflict(winner, loser, "spec.hosts", f"{why}: this one has no effect for it")


def _why(winner: Resource, loser: Resource) -> str:
    together = " (of those of one second the first by name)" if winner.created == loser.created else ""
    return f"was applied first for the same host{together}"


def _conflict(winner: Resource, loser: Resource, path: str, what: str) -> MeshWarning:
    """The warning that `loser` has no effect, or less, because `winner` is for the same host."""
    source = "istio.io/latest/docs/ops/best-practices/traffic-management; pilot/pkg/model/push_context.go"
    return MeshWarning(str(loser), path, f"{winner} {what}", source)


# ---- what nobody has said


def _empty(plan: Plan) -> Iterator[MeshWarning]:
    """Destinations behind which there is no pod."""
    for hop, route in zip(plan.hops, plan.routes, strict=True):
        for cluster in (each for each in route.clusters if not each.endpoints):
            subset, host = cluster.name.split("|")[2:]
            reason = (
                f"there is no pod behind {f'subset {subset} of ' * bool(subset)}{host}, so what is sent there is answered 503: "
                "apply its workload, or look at the labels that select it"
            )
            yield MeshWarning(str(hop.owner), "", reason, "envoyproxy.io, response flags (UH: no healthy upstream)", first=True)


def _untimed(plan: Plan) -> Iterator[MeshWarning]:
    for deployment in {each.key: each for each in plan.deployments if not each.timed}.values():
        reason = (
            "nothing says what an answer of its pods takes, so it takes no time here: "
            f"--timing {deployment.name}=P50,P90,P99 (mesh.timing), or a record of it"
        )
        yield MeshWarning(str(deployment), "", reason, SAID, first=True)


def _uncalled(mesh: ControlPlane, plan: Plan) -> Iterator[MeshWarning]:
    """Services with pods that the load does not come by: nobody calls them, and they call nobody."""
    on_the_way = {deployment.key for deployment in plan.deployments}
    called = mesh.registry.called_by_pods | {service.key for service in plan.services}
    routed_to = {host for vs in mesh.virtual_services for host in _leads_to(vs)}
    if any(route.direct_response for route in plan.routes):  # the load ends there
        return
    alone = [
        service
        for service in mesh.registry.services
        if service.key not in called
        and any(not port.other for port in service.ports)
        and service.namespace not in SYSTEM
        and routed_to.isdisjoint(service.names)
        and mesh.registry.behind(service)
        and not any(deployment.key in on_the_way or deployment.upstreams for deployment in mesh.registry.behind(service))
    ]
    if alone:
        listed = ", ".join(service.name for service in alone[:MOST_NAMED])
        more = f" and {len(alone) - MOST_NAMED} more" if len(alone) > MOST_NAMED else ""
        reason = f"nothing calls {listed}{more}, so what they do is not in the figures: {_who_may_call(mesh, plan, alone)}"
        yield MeshWarning("Service" if len(alone) == 1 else "Services", "", reason, SAID, first=True)


def _leads_to(vs: VirtualService) -> set[str]:
    """The hosts that it sends requests for others to."""
    return {fqdn(each.host, vs.namespace) for route in vs.routes for each in route.destinations}.difference(hosts_of(vs))


_ADDRESSES = re.compile(r".*(HOST|HOSTNAME|URL|URI|ADDR|ADDRESS|ENDPOINT|SERVICE|SVC|UPSTREAM|BACKEND|TARGET)S?", re.IGNORECASE)


def _who_may_call(mesh: ControlPlane, plan: Plan, alone: Sequence[Service]) -> str:
    """The flags that would have them called: as variables of the callers name them, else by the last on the way."""
    known = {name: service for service in alone for name in service.names[1:]}
    named = dict.fromkeys(
        (caller.name, address)
        for caller in mesh.registry.deployments
        for text in _texts(caller)
        for address in _called(text, caller, known)
    )
    told = " ".join(f"--calls {caller}={address}" for caller, address in islice(named, MOST_FLAGS))
    told += ", as variables of the callers name them" if named else ""
    if not {caller for caller, _ in named}.isdisjoint(deployment.name for deployment in plan.deployments):
        return f"{told} (mesh.calls)"
    caller = plan.deployments[-1].name if plan.deployments else "CALLER"
    return f"--calls {caller}={alone[0].name} (mesh.calls){f'; {told}' if named else ''}"


def _texts(deployment: Deployment) -> Iterator[str]:
    """What may be an address: of a variable that is called so, or with a port or a scheme."""
    for name, value in deployment.variables:
        yield from (text for text in map(str.strip, value.split(",")) if ":" in text or "." in text or _ADDRESSES.fullmatch(name))


def _called(text: str, caller: Deployment, known: Mapping[str, Service]) -> Iterator[str]:
    """The Service of `known` (by its names but the bare one) that a text names, as --calls takes it."""
    found = names.address(text)
    host = found.host.lower() if found else ""
    service = known.get(host if "." in host else f"{host}.{caller.namespace}")
    if found and service:
        path = "" if found.path == "/" else found.path
        port = "" if found.port is None else f":{found.port}"
        yield f"{service.name if service.namespace == caller.namespace else service.names[1]}{port}{path}"


def _taken_for_granted(plan: Plan) -> Iterator[MeshWarning]:
    for deployment in {each.key: each for each in plan.deployments if each.upstream_said}.values():
        reason = "each request makes its calls one after another, and its answer is 500 where one fails, as fake-service has it"
        yield MeshWarning(str(deployment), "", reason, "nicholasjackson/fake-service", ASSUMPTION)
    for deployment in {each.key: each for each in plan.deployments if each.timing_said}.values():
        reason = "nine answers in ten take its p50, the next nine in a hundred its p90, the last its p99, whatever it is asked"
        yield MeshWarning(str(deployment), "", reason, "meshmodel: timings are read as fake-service's (TIMING_50_PERCENTILE)", ASSUMPTION)
    for service in {each.key: each for each in plan.services if each.headless}.values():
        reason = "is headless: the load balancer of its rule picks the pod here, not the client by DNS"
        yield MeshWarning(str(service), "spec.clusterIP", reason, "istio.io, traffic routing: headless Services", ASSUMPTION)


# ---- routes and what is asked


def _unmatched(plan: Plan, request: Request) -> Iterator[MeshWarning]:
    for hop, asked in _asked(plan, request):
        if hop.http.answer is NO_ROUTE:
            wanted = _short(" or ".join(str(match) for route in hop.routes for match in route.matches[:2]))
            how = (
                "with --path and -H (request=)"
                if asked is request
                else f"with --calls CALLER={hop.hosts[0].partition('.')[0]}/PATH (mesh.calls)"
            )
            reason = f"no route takes {asked}, so Envoy answers 404: ask for what one takes ({wanted}) {how}"
            yield MeshWarning(str(hop.owner), "spec.http", reason, MATCHING, first=True)


def _unreached(plan: Plan, request: Request) -> Iterator[MeshWarning]:
    for hop, asked in _asked(plan, request):
        others = _others(hop)
        if others and hop.http.answer is not NO_ROUTE:
            named = ", ".join(
                f"{route.name or within(route.path).removeprefix('spec.')} ({_short(route.asking)})" for route in others[:MOST_NAMED]
            )
            more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
            yield MeshWarning(str(hop.owner), "spec.http", f"{asked} does not reach {named}{more}", MATCHING, ASSUMPTION)


def _asked(plan: Plan, request: Request) -> Iterator[tuple[Hop, Request]]:
    """What each hop is asked: the first what the load asks."""
    for number, hop in enumerate(plan.hops):
        yield hop, hop.asked.request if number else request


def _others(hop: Hop) -> list[HttpRoute]:
    """The routes that something else would reach."""
    end = next((number for number, route in enumerate(hop.routes) if route.takes_all), len(hop.routes))
    return [route for route in hop.routes[: end + 1] if route is not hop.http]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
