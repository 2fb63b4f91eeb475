"""Istio's control plane in small: from the applied resources to the routes of a `Scenario`.

    Gateway + VirtualService ──> route 1 ──> Service ──> pods ──UPSTREAM_URIS──> route 2 ──> ...

A route takes its policy from the VirtualService for its host, a cluster its policy from the DestinationRule
(which one wins: `hosts`); what they leave out is Istio's default.  Each proxy that applies a route is a `Caller`.
A pod's own sidecar has the rule's limits too, for all its callers together (`Endpoint.inbound`).
Nothing here knows of engines or of time.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from meshmodel.istio.balancing import Hashing, LoadBalancer
from meshmodel.istio.base import Resource
from meshmodel.istio.defaults import ENVOY_PANIC_THRESHOLD, IstioDefaults
from meshmodel.istio.envoy_filter import EnvoyFilter, Patch
from meshmodel.istio.field import ManifestError
from meshmodel.istio.gateway import Gateway, Server
from meshmodel.istio.hosts import ByHost, fqdn, oldest_first, wildcards_over
from meshmodel.istio.kubernetes import Deployment, Service, ServicePort
from meshmodel.istio.localities import LocalityLbSetting, Pod, locality_weights, priorities
from meshmodel.istio.matching import Asked, qualified
from meshmodel.istio.registry import Once, Registry, near, target_port
from meshmodel.istio.resources import DestinationRule, Subset, TrafficPolicy, hashing_at, policy_at
from meshmodel.istio.virtual_service import HttpRoute, RouteDestination, VirtualService, catch_all_last
from meshmodel.istio.warnings import Owner, within
from meshmodel.scenario import (
    Caller,
    Cluster,
    ConnectionPool,
    Destination,
    DirectResponse,
    Endpoint,
    Fault,
    Mirror,
    Request,
    RetryPolicy,
    Route,
)

INGRESS = "istio-ingressgateway"
ROOT_NAMESPACE = "istio-system"
MAX_HOPS, MAX_CALLS = 8, 64
"""Calls of a request behind one another, and in all."""
MAX_SIZE = 100_000
"""Of all destinations of a load, each counted for itself: pods, Deployments, callers, patches; places that call times places called,
and times the entries of a localityLbSetting."""
NO_ROUTE = DirectResponse(status=404)
"""What Envoy answers a request that no route is for (router filter, NR)."""


@dataclass(frozen=True)
class Proxy:
    """A calling proxy with what Istio matches on: its namespace, labels and kind ("GATEWAY" or "SIDECAR_OUTBOUND").

    `pod` has the same labels, and is one object for all pods that are alike.
    """

    caller: Caller
    namespace: str
    labels: dict[str, str]
    pod: Pod
    kind: str = "SIDECAR_OUTBOUND"


@dataclass
class Plan:
    """The chain of routes with who is responsible for it.

    `cluster_owner` and `route_owner` give the DestinationRule of a cluster's name and the route of a VirtualService for a
    route's host (the Service where there is none), `localities` what a cluster's localityLbSetting asks for; `filters`
    are the EnvoyFilters that changed something; `keep_alives` is the last caller's (None: the load's own); `size` counts
    towards `MAX_SIZE`; `hops` are what the routes were made from, and `deployments` those of the pods on the way.
    """

    routes: tuple[Route, ...] = ()
    cluster_owner: dict[str, str] = field(default_factory=dict)
    route_owner: dict[str, Owner] = field(default_factory=dict)
    localities: dict[str, str] = field(default_factory=dict)
    filters: set[str] = field(default_factory=set)
    keep_alives: bool | None = None
    size: int = 0
    hops: list[Hop] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)


@dataclass(frozen=True)
class Hop:
    """What a route is made from: who is responsible for it, its hosts, the port called, and what it may do.

    `routes` are all that the proxy has, `asked` is what it is asked (its request None: anything), `http` the route that takes it.
    """

    owner: VirtualService | Service
    hosts: tuple[str, ...]
    port: int
    routes: tuple[HttpRoute, ...]
    asked: Asked
    anything: bool = False

    @property
    def http(self) -> HttpRoute:
        """The first route that takes what is asked; where none does, Envoy answers itself."""
        asked = None if self.anything else self.asked
        found = next((route for route in self.routes if route.takes(asked, self.asked)), None)
        return found or HttpRoute(destinations=(), timeout=None, retries=RetryPolicy(attempts=0), fault=Fault(), answer=NO_ROUTE)


class Bound(NamedTuple):
    """A VirtualService at a server of a Gateway."""

    vs: VirtualService
    gateway: Gateway
    server: Server


class ControlPlane:
    """The resources of a mesh under the rules of one version of Istio."""

    def __init__(self, resources: Sequence[Resource], defaults: IstioDefaults, address: Callable[[str], str]) -> None:
        self.registry = Registry(resources)
        self.rules = [r for r in resources if isinstance(r, DestinationRule)]
        self.virtual_services = [r for r in resources if isinstance(r, VirtualService)]
        self.gateways = [r for r in resources if isinstance(r, Gateway)]
        self.filters = [r for r in resources if isinstance(r, EnvoyFilter)]
        self.ruled = ByHost(self.rules, hosts_of)
        self.routed = ByHost((vs for vs in self.virtual_services if "mesh" in vs.gateways and vs.routes), hosts_of)
        self.defaults = defaults
        self._address = address
        self._once = Once()

    # ---- the chain of routes

    def plan(self, target: str | None, locality: str | None, request: Request | None = None) -> Plan:
        """The routes of a load on `target` (a Service, or a host of a Gateway; None: the only Gateway's host).

        `locality` ("region/zone/subzone") is where the load's caller stands: the caller of the first route when
        `target` is a Service, else of the last one.  `request`: what is asked, which may take other routes than the first ones
        (None: whatever takes those).
        """
        plan = Plan()
        hop, proxies = self._entry(target, locality, request)
        self._call(plan, hop, proxies, None if self.registry.called(target)[0] else locality, request, ())
        self._refuse_inbound(plan.deployments)
        if locality and len(plan.routes) == 1 and proxies[0].kind == "GATEWAY":
            moved = [replace(p, caller=replace(p.caller, locality=locality), pod=replace(p.pod, locality=locality)) for p in proxies]
            plan.routes = (self._route(plan, hop, moved)[0],)
        return plan

    def _call(
        self, plan: Plan, hop: Hop, proxies: list[Proxy], place: str | None, request: Request | None, behind: tuple[int, ...]
    ) -> None:
        """Add the route of a call, which stands behind those routes, and then those of the calls that its pods make."""
        if len(behind) == MAX_HOPS:
            raise ManifestError(f"the Services call each other over more than {MAX_HOPS} hops: UPSTREAM_URIS goes in a circle?")
        number = len(plan.routes)
        if number == MAX_CALLS:
            raise ManifestError(f"a request makes more than {MAX_CALLS} calls, each with all that it leads to, which is not modelled")
        route, pods = self._route(plan, hop, proxies)
        plan.routes += (replace(route, called_from=behind[-1]) if number and behind[-1] != number - 1 else route,)
        plan.hops.append(hop)
        plan.deployments += [deployment for _, deployment in pods]
        owner = self._caller(pods)
        if owner is None or not owner.upstreams:
            return
        for bare in (deployment for _, deployment in pods if not deployment.sidecar):
            raise bare.error("sidecar.istio.io/inject", "its pods call on without a sidecar, by no rule of Istio's, which is not modelled")
        plan.keep_alives = owner.keep_alives
        proxies = [self._sidecar(endpoint, deployment, place) for endpoint, deployment in pods]
        asked = hop.http.sent_on(hop.asked)
        for upstream, service in zip(owner.upstreams, self.registry.upstreams(owner), strict=True):
            service = service or self.registry.service(upstream.host, owner, "UPSTREAM_URIS")
            onward = None if request is None else replace(asked, path=upstream.asks(asked.path), port=None)
            called = self._hop(service, self.registry.port(service, upstream.port, owner, "UPSTREAM_URIS"), proxies, onward)
            self._call(plan, called, proxies, place, onward, (*behind, number))

    def _entry(self, target: str | None, locality: str | None, request: Request | None) -> tuple[Hop, list[Proxy]]:
        service, number = self.registry.called(target)
        if service is not None:
            place = locality or ""
            caller = Proxy(Caller(name="caller", locality=place), service.namespace, {}, Pod(place))
            number = number or (request.port if request else None)
            return self._hop(service, self.registry.port(service, number, None, "target"), [caller], request), [caller]
        bound = self._bound(target)
        if bound:
            return self._by_gateway(bound, target, request)
        first = self.registry.uncalled()
        if len(first) != 1:
            names = ", ".join(service.name for service in self.registry.services) or "there is none yet"
            raise ManifestError(f"target: no Gateway leads into the mesh, name the Service to call as target ({names})")
        return self._entry(f"{first[0].name}.{first[0].namespace}", locality, request)

    def _by_gateway(self, bound: list[Bound], target: str | None, request: Request | None) -> tuple[Hop, list[Proxy]]:
        """What a Gateway's proxy does: it has the routes of all VirtualServices for the host, one after the other."""
        vs, gateway, server = bound[0]
        labels, namespace = gateway.selector, self._place(gateway)
        proxy = Proxy(Caller(name=INGRESS), namespace, labels, Pod("", tuple(labels.items())), "GATEWAY")
        asked = Asked(
            request=request or Request(), hosts=(target,) if target else vs.hosts, port=server.port,
            gateway=f"{gateway.namespace}/{gateway.name}", labels=labels, namespace=namespace,
        )  # fmt: skip
        routes = self._routes(vs)
        if len(bound) > 1:
            routes = catch_all_last(([route.of(other) for route in self._routes(other)] for other, _, _ in bound), asked)
        if server.redirects:
            redirect = DirectResponse(status=301)
            routes = (HttpRoute(destinations=(), timeout=None, retries=RetryPolicy(attempts=0), fault=Fault(), answer=redirect),)
        return Hop(vs, vs.hosts, server.port, routes, asked, request is None), [proxy]

    def _place(self, gateway: Gateway) -> str:
        """The namespace of the Gateway's proxies: that of the workload which it selects, else the root's."""
        selected = (d for d in self.registry.deployments if gateway.selector and gateway.selector.items() <= d.labels.items())
        return self._once(lambda: next((deployment.namespace for deployment in selected), ROOT_NAMESPACE), "place", gateway.key)

    def _bound(self, target: str | None) -> list[Bound]:
        """The VirtualServices that stand at a Gateway for the target, in the order in which its proxy takes them."""
        found: list[Bound] = []
        problems = []
        named = {(gateway.namespace, gateway.name): gateway for gateway in self.gateways}
        for vs in oldest_first(vs for vs in self.virtual_services if vs.routes and vs.hosts):
            for name in dict.fromkeys(name for name in vs.gateways if name != "mesh"):
                gateway = named.get(tuple(qualified(name, vs.namespace).split("/", 1)))  # type: ignore[arg-type]
                if gateway is None:
                    problems.append(self._no_gateway(vs, name))
                    continue
                server, rule = self._server(vs, gateway)
                if server:
                    found.append(Bound(vs, gateway, server))
                else:
                    problems.append(rule)
        if target is not None:
            found = _for_host(target, found)
        if not found and problems:
            raise problems[0]
        if not found and target is not None:
            raise ManifestError(f"target: there is no Service {target}{near(target, [s.name for s in self.registry.services])}")
        if target is None and len({each.vs.hosts for each in found}) > 1:
            names = ", ".join(sorted({host for each in found for host in each.vs.hosts}))
            raise ManifestError(f"target: several VirtualServices stand at a Gateway, name one of their hosts as target ({names})")
        once = list({each.vs.key: each for each in reversed(found)}.values())[::-1]
        return sorted(once, key=lambda each: _publicity(each.vs, self._place(each.gateway)))

    def _server(self, vs: VirtualService, gateway: Gateway) -> tuple[Server | None, ManifestError]:
        """The server of a Gateway by which requests reach a VirtualService; None with the reason."""
        place = self._place(gateway)
        if not vs.seen_from(place):
            return None, vs.error("spec.exportTo", f"hides it from the proxies of Gateway {gateway.name} (namespace {place})")
        serves = ", ".join(gateway.hosts) or "nobody over HTTP"
        return gateway.server(vs), vs.error("spec.hosts", f"Gateway {gateway.name} serves {serves}, none of these hosts")

    def _no_gateway(self, vs: VirtualService, name: str) -> ManifestError:
        """That a Gateway is missing.  Raises it at once where another's name is so near that it must be meant."""
        short, known = name.rpartition("/")[2], [gateway.name for gateway in self.gateways]
        error = vs.error("spec.gateways", f"there is no Gateway {name}{near(short, known)}")
        if difflib.get_close_matches(short, known, n=1, cutoff=0.9):
            raise error
        return error

    def _caller(self, pods: list[tuple[Endpoint, Deployment]]) -> Deployment | None:
        """One Deployment of the pods of a route, which must all call on alike; None where there is no pod."""
        owners = list({owner.key: owner for _, owner in pods}.values())
        if len({(owner.upstreams, owner.keep_alives and owner.upstreams != ()) for owner in owners}) > 1:
            names = " and ".join(str(owner) for owner in owners)
            raise owners[0].error("UPSTREAM_URIS", f"{names} are called alike but call on differently, which is not modelled")
        return owners[0] if owners else None

    # ---- one route

    def _hop(self, service: Service, port: ServicePort, proxies: list[Proxy], request: Request | None) -> Hop:
        """A call of a Service; without a VirtualService Istio writes a route of its own."""
        destination = RouteDestination(host=service.fqdn, subset=None, port=port.port, weight=100, path="")
        default = HttpRoute(
            destinations=(destination,), timeout=None, retries=self.defaults.retry, fault=Fault(), ignore_previous_hosts=True
        )
        caller = proxies[0]
        vs = next(iter(self.virtual_services_of(service, caller.namespace)), None)
        routes = self._routes(vs) if vs else (default,)
        asked = [
            Asked(request=request or Request(), hosts=service.names, port=port.port, labels=each.labels, namespace=each.namespace)
            for each in {(proxy.namespace, id(proxy.pod)): proxy for proxy in proxies}.values()
        ]
        hops = [Hop(vs or service, (service.fqdn,), port.port, routes, each, request is None) for each in asked]
        if vs is not None and len({id(hop.http) if hop.http in routes else 0 for hop in hops}) > 1:
            raise vs.error("spec.http", "matches only some of the callers of a route, which is not modelled")
        return hops[0]

    def _routes(self, vs: VirtualService) -> tuple[HttpRoute, ...]:
        """Its routes, those of its delegates in their place."""
        found: list[HttpRoute] = []
        for route in vs.routes:
            if route.delegate is None:
                found.append(route)
                continue
            namespace, name = route.delegate
            delegate = next((d for d in self.virtual_services if (d.namespace, d.name) == (namespace, name) and not d.hosts), None)
            if delegate is None:
                known = [d.name for d in self.virtual_services if not d.hosts]
                raise vs.error(f"{route.path}.delegate", f"there is no VirtualService {name} without hosts{near(name, known)}")
            if not delegate.seen_from(vs.namespace):
                raise vs.error(f"{route.path}.delegate", f"VirtualService {name} is not exported to the namespace {vs.namespace}")
            found += filter(None, (each.of(delegate).under(route) for each in delegate.routes))
        return tuple(found)

    def _route(self, plan: Plan, hop: Hop, proxies: list[Proxy]) -> tuple[Route, list[tuple[Endpoint, Deployment]]]:
        plan.route_owner[hop.hosts[0]] = Owner(hop.http.owner or str(hop.owner), within(hop.http.path))
        weighed = [each for each in hop.http.destinations if each.weight]
        pods: dict[str, tuple[Endpoint, Deployment]] = {}
        clusters: dict[Hashable, Cluster] = {}
        patches = self._patches(proxies)
        for each in hop.http.destinations:
            if not each.weight:  # it is asked for nothing, but must be there
                self._subset(self.registry.service(each.host, hop.owner, f"{each.path}.host"), proxies[0].namespace, each, hop.owner)
        for each in (*weighed, *(mirror for mirror, _ in hop.http.mirrors)):
            if each.key not in clusters:
                clusters[each.key] = self._reached(plan, each, hop, proxies, patches, pods)
        mirrors = [Mirror(cluster=clusters[each.key], percent=percent) for each, percent in hop.http.mirrors]
        hashed = [self._hashed(each, hop, proxies[0].namespace) for each in weighed]
        vhosts = {*hop.hosts, *(f"{host}:{hop.port}" for host in hop.hosts)}
        route = Route(
            host=hop.hosts[0],
            callers=tuple(proxy.caller for proxy in proxies),
            destinations=tuple(Destination(cluster=clusters[each.key], weight=each.weight) for each in weighed),
            timeout=hop.http.timeout,
            retries=self._patched(plan, self._retries(hop.http, hashed), vhosts, patches),
            fault=hop.http.fault,
            hash_policy=tuple(hashing.policy for hashing in hashed if hashing and hashing.policy),
            mirrors=tuple(mirrors),
            direct_response=hop.http.answer,
        )
        return route, list(pods.values())

    def _reached(
        self,
        plan: Plan,
        each: RouteDestination,
        hop: Hop,
        proxies: list[Proxy],
        patches: list[tuple[EnvoyFilter, Patch]],
        pods: dict[str, tuple[Endpoint, Deployment]],
    ) -> Cluster:
        """A destination's cluster; its pods are added to `pods`."""
        cluster, owners = self._cluster(plan, each, hop, proxies, patches)
        if any(pods.get(name, pod)[1].key != pod[1].key for name, pod in owners.items()):
            raise hop.owner.error(each.path, "two Deployments of one name in two namespaces are not modelled")
        pods.update(owners)
        return cluster

    def _hashed(self, each: RouteDestination, hop: Hop, namespace: str) -> Hashing | None:
        """The `consistentHash` that a route to this destination hashes for."""
        service = self.registry.service(each.host, hop.owner, f"{each.path}.host")
        owner, subset = self._ruler(service, namespace), self._subset(service, namespace, each, hop.owner)
        return hashing_at(each.port, owner.policy if owner else None, subset.policy if subset else None)

    def _retries(self, http: HttpRoute, hashed: list[Hashing | None]) -> RetryPolicy:
        """Its retries: to the host that failed too, where its only destination hashes and the version has it so."""
        keeps = http.ignore_previous_hosts is None and len(http.destinations) == 1 and hashed[0] is not None
        return replace(http.retries, previous_hosts=False) if keeps and self.defaults.has("hash_keeps_host") else http.retries

    def _patched(self, plan: Plan, retries: RetryPolicy, vhosts: set[str], patches: list[tuple[EnvoyFilter, Patch]]) -> RetryPolicy:
        for envoy_filter, patch in patches:
            if patch.retry_budget is None and (patch.vhost is None or patch.vhost in vhosts):
                plan.filters.add(str(envoy_filter))
                codes = retries.retriable_status_codes | patch.retriable_status_codes
                retries = replace(retries, retriable_status_codes=codes, **patch.retry)  # type: ignore[arg-type]
        return retries

    def _patches(self, proxies: list[Proxy]) -> list[tuple[EnvoyFilter, Patch]]:
        unlike = list({(proxy.namespace, id(proxy.pod), proxy.kind): proxy for proxy in proxies}.values())
        found = [(f, patch) for f in self.filters for patch in f.patches if self._applies(f, patch, unlike)]
        for envoy_filter, patch in found:
            _refuse(envoy_filter, patch)
        return found

    def _refuse_inbound(self, deployments: Iterable[Deployment]) -> None:
        """Refuse what an EnvoyFilter does in the pods' own sidecars."""
        pods = {deployment.key: deployment for deployment in deployments}.values()
        for envoy_filter in self.filters:
            for patch in (patch for patch in envoy_filter.patches if patch.unmodelled and patch.context in ("ANY", "SIDECAR_INBOUND")):
                for pod in pods:
                    if envoy_filter.namespace in (pod.namespace, ROOT_NAMESPACE) and envoy_filter.selector.items() <= pod.labels.items():
                        _refuse(envoy_filter, patch)

    def _applies(self, envoy_filter: EnvoyFilter, patch: Patch, proxies: list[Proxy]) -> bool:
        answers = {
            envoy_filter.namespace in (proxy.namespace, ROOT_NAMESPACE)
            and envoy_filter.selector.items() <= proxy.labels.items()
            and patch.context in ("ANY", proxy.kind)
            for proxy in proxies
        }
        if len(answers) > 1:
            raise envoy_filter.error("spec.workloadSelector", "selects only some of the callers of a route, which is not modelled")
        return answers == {True}

    def virtual_services_of(self, service: Service, namespace: str) -> list[VirtualService]:
        """Those that sidecars of a namespace have for a Service, the one that holds first: of those that they see at all."""

        def seen(vs: VirtualService) -> bool:
            return vs.seen_from(namespace)

        if self.defaults.has("specific_hosts"):
            found = self.routed.most_specific(service.fqdn, seen)
        else:
            found = [vs for vs in self.routed.covering(service.fqdn) if seen(vs)]
        return sorted(found, key=lambda vs: _publicity(vs, namespace))

    # ---- one cluster

    def _cluster(
        self,
        plan: Plan,
        destination: RouteDestination,
        hop: Hop,
        proxies: list[Proxy],
        patches: list[tuple[EnvoyFilter, Patch]],
    ) -> tuple[Cluster, dict[str, tuple[Endpoint, Deployment]]]:
        service = self.registry.service(destination.host, hop.owner, f"{destination.path}.host")
        port = self._destination_port(service, destination, hop, proxies[0].kind)
        plan.services.append(service)
        self._refuse_outside(service, port, hop.owner)
        namespace = proxies[0].namespace
        subset, owner = self._subset(service, namespace, destination, hop.owner), self._ruler(service, namespace)
        policy = policy_at(port.port, owner.policy if owner else None, subset.policy if subset else None)
        pods = self._pods(service, port, subset.labels if subset else {})
        name = f"outbound|{port.port}|{destination.subset or ''}|{service.fqdn}"
        plan.cluster_owner[name] = str(owner or next(iter(self._rules(service, namespace)), service))
        setting = (policy.load_balancer or LoadBalancer()).locality or service.near or LocalityLbSetting()
        plan.localities[name] = setting.kind
        budgets = [(envoy_filter, patch) for envoy_filter, patch in patches if patch.retry_budget is not None]
        self._admit(plan, destination, hop, setting, pods, proxies, len(self.registry.behind(service)) + len(budgets))
        cluster = self._balanced(name, policy, setting, port, pods, proxies)
        if service.near:  # cluster_traffic_policy.go, `SupportsUnhealthyEndpoints`: whatever minHealthPercent says
            cluster = replace(cluster, panic_threshold=0.0)
        meant = [(f, patch.retry_budget) for f, patch in budgets if patch.selects(service.fqdn, port.port, destination.subset)]
        plan.filters.update(str(envoy_filter) for envoy_filter, _ in meant)
        for _, budget in meant[-1:]:
            cluster = replace(cluster, connection_pool=replace(cluster.connection_pool, retry_budget=budget))
        return cluster, {endpoint.name: (endpoint, deployment) for endpoint, deployment in pods}

    def _admit(
        self,
        plan: Plan,
        destination: RouteDestination,
        hop: Hop,
        setting: LocalityLbSetting,
        pods: list[tuple[Endpoint, Deployment]],
        proxies: list[Proxy],
        besides: int,
    ) -> None:
        """Raise `ManifestError` where this destination takes the plan beyond `MAX_SIZE`."""
        places, callers = {owner.key for _, owner in pods}, {id(proxy.pod) for proxy in proxies}
        entries = len(setting.distribute) + len(setting.failover) + len(setting.failover_priority)
        plan.size += len(pods) + len(proxies) + besides + len(callers) * (len(places) + entries)
        if plan.size > MAX_SIZE:
            rule = f"has, with the destinations before it, more than {MAX_SIZE:,} pods, callers and patches, counted for each destination"
            raise hop.owner.error(destination.path, rule)

    def _refuse_outside(self, service: Service, port: ServicePort, owner: Resource) -> None:
        """What is not pods that answer over HTTP cannot be played."""
        if service.external:
            raise service.error(
                "spec.externalName", f"{service.external} is outside of the mesh, which is not modelled: name its pods instead"
            )
        if port.other:
            raise owner.error("", f"only HTTP is modelled, and Istio takes port {port.port} of Service {service.name} for {port.other}")
        if not service.selector and not service.external:
            raise service.error("spec.selector", "there is none, so its pods are not known: give it one that selects some")

    def _destination_port(self, service: Service, destination: RouteDestination, hop: Hop, kind: str) -> ServicePort:
        """A destination without a port takes the one that was called; at a Gateway the only one of a Service with one port."""
        if service.external:
            return ServicePort(name="http", port=destination.port or hop.port, target=destination.port or hop.port)
        if destination.port is None and kind == "GATEWAY" and len(service.ports) == 1:
            return service.ports[0]
        found = self.registry.numbered(service).get(destination.port or hop.port)
        if found is not None or destination.port is not None:
            return found or self.registry.port(service, destination.port, hop.owner, f"{destination.path}.port")
        ports = ", ".join(str(port.port) for port in service.ports)
        rule = f"is missing, so it is the port called, {hop.port}, and Service {service.name} has only {ports}: Envoy would answer 503"
        raise hop.owner.error(f"{destination.path}.port", rule)

    def _balanced(
        self,
        name: str,
        policy: TrafficPolicy,
        setting: LocalityLbSetting,
        port: ServicePort,
        pods: list[tuple[Endpoint, Deployment]],
        proxies: list[Proxy],
    ) -> Cluster:
        """The cluster's policy and, for each calling proxy, its priorities and locality weights."""
        balancer = policy.load_balancer or LoadBalancer()
        outlier, panic = policy.outlier_detection or (None, ENVOY_PANIC_THRESHOLD)
        places = [self._pod(deployment, endpoint.locality) for endpoint, deployment in pods]
        alike = {id(proxy.pod): proxy.pod for proxy in proxies}  # a thousand replicas that call stand in few places
        level_of = {each: priorities(pod, places, setting, outlier is not None, self.defaults) for each, pod in alike.items()}
        weights_of = {each: locality_weights(pod, places, setting, outlier is not None, self.defaults) for each, pod in alike.items()}
        levels, weights = tuple(level_of[id(proxy.pod)] for proxy in proxies), [weights_of[id(proxy.pod)] for proxy in proxies]
        weighted = tuple(weight for weight in weights if weight is not None)  # of all proxies or of none
        pool = policy.connection_pool or ConnectionPool()
        cluster = Cluster(
            name=name,
            endpoints=tuple(endpoint for endpoint, _ in pods),
            load_balancing=balancer.simple or self.defaults.load_balancing,
            priorities=levels,
            locality_weights=weighted or None,
            outlier_detection=outlier,
            connection_pool=replace(pool, retry_budget=policy.retry_budget, http2=pool.http2 or port.http2),
            panic_threshold=panic,
        )
        return balancer.on(cluster)

    def _pods(self, service: Service, port: ServicePort, labels: dict[str, str]) -> list[tuple[Endpoint, Deployment]]:
        """The pods behind a Service (or a subset) with their Deployments; named in order, deployment by deployment."""
        chosen = [deployment for deployment in self.registry.behind(service) if labels.items() <= deployment.labels.items()]
        return [(pod, deployment) for deployment in chosen for pod in self._pods_of(deployment, service, port)]

    def _pods_of(self, deployment: Deployment, service: Service, port: ServicePort) -> list[Endpoint]:
        return self._once(lambda: self._endpoints(deployment, service, port), "pods", deployment.key, service.key, port)

    def _endpoints(self, deployment: Deployment, service: Service, port: ServicePort) -> list[Endpoint]:
        number = target_port(port, deployment)
        if number is None:
            raise service.error("spec.ports", f"{deployment} has no port named {port.target}")
        timings = (d.behaviour.timing_50_percentile for d in self.registry.behind(service) if d.replicas)
        fastest = self._once(lambda: min(timings, default=0.0), "fastest", service.key)
        inbound = self._inbound(deployment, number) if deployment.sidecar else None
        return [
            Endpoint(
                name=f"{deployment.name}-{i}",
                deployment=deployment.name,
                address=f"{self._address(f'{deployment.namespace}/{deployment.name}-{i}')}:{number}",
                locality=deployment.locality,
                message=deployment.message,
                behaviour=replace(deployment.behaviour_of(i), undelayed=fastest),
                inbound=inbound,
                inbound_retries=self.defaults.inbound_retries if deployment.sidecar else 0,
            )
            for i in range(1, deployment.replicas + 1)
        ]

    def _pod(self, deployment: Deployment, locality: str) -> Pod:
        """What Istio sees of the pods of a Deployment in a place."""
        return self._once(lambda: Pod(locality, tuple(deployment.labels.items())), "pod", deployment.key, locality)

    def _sidecar(self, pod: Endpoint, deployment: Deployment, locality: str | None) -> Proxy:
        place = pod.locality if locality is None else locality
        return Proxy(Caller(name=pod.name, locality=place), deployment.namespace, deployment.labels, self._pod(deployment, place))

    def _inbound(self, deployment: Deployment, number: int) -> ConnectionPool | None:
        """The limits that a pod's own sidecar keeps for its port `number`; None where it has none.

        They are the DestinationRule's for the pod's Service (the oldest one, where several lead to this port) as the
        pod's namespace sees it, those of the port where it names it, never a subset's.
        Source: istio/istio pilot/pkg/networking/core/cluster_builder.go, `buildInboundCluster`.
        """
        service, port = self._once(lambda: self.registry.leading_to(deployment), "leading to", deployment.key)[number]
        owner = self._ruler(service, deployment.namespace)
        policy = policy_at(port.port, owner.policy if owner else None)
        pool = replace(policy.connection_pool or ConnectionPool(), http2=False)
        return None if pool == ConnectionPool() else replace(pool, retry_budget=policy.retry_budget, http2=port.http2)

    def _rules(self, service: Service, namespace: str) -> list[DestinationRule]:
        """The DestinationRules for a Service as callers of a namespace see it, merged in this order.

        Those of the caller's namespace (of the root's only its private ones); else what the Service's exports; else the root's.
        Of one namespace those for the most specific host: what a namespace exports, if only to others, hides the less specific.
        Source: istio/istio pilot/pkg/model/push_context.go, `destinationRule` and `setDestinationRules`.
        """
        return self._once(lambda: self._rules_seen(service, namespace), "rules", service.key, namespace)

    def _rules_seen(self, service: Service, namespace: str) -> list[DestinationRule]:
        def at_home(rule: DestinationRule) -> bool:
            return rule.namespace == namespace and rule.seen_from(namespace) and (rule.is_private or namespace != ROOT_NAMESPACE)

        own = self.merged(self.ruled.most_specific(service.fqdn, at_home))
        if own:
            return own[-1]
        for place in (service.namespace, ROOT_NAMESPACE):
            exported = self.ruled.most_specific(service.fqdn, lambda rule: rule.namespace == place and not rule.is_private)  # noqa: B023
            seen = [group for group in self.merged(exported) if group[0].seen_from(namespace)]
            if seen:
                return seen[-1]
        return []

    def merged(self, rules: list[DestinationRule]) -> list[list[DestinationRule]]:
        """Rules of one namespace and host as Istio merges them (destination_rule.go, `mergeDestinationRule`): where the version
        has it so, one joins only those whose `exportTo` it has too.  Of several groups that a caller sees the last one counts
        (sidecar.go, `DestinationRule`)."""
        if not self.defaults.has("exports_apart"):
            return [rules] if rules else []
        groups: list[list[DestinationRule]] = []
        for rule in rules:
            apart = True
            for group in groups:
                first, export = set(group[0].export or ()), set(rule.export or ())
                apart = not (export == first or (first and export > first))
                if not apart:
                    group.append(rule)
            if apart:
                groups.append([rule])
        return groups

    def _ruler(self, service: Service, namespace: str) -> DestinationRule | None:
        """The rule whose trafficPolicy counts: the first that has one (destination_rule.go, `mergeDestinationRule`)."""
        with_policy = (rule for rule in self._rules(service, namespace) if rule.policy is not None)
        return self._once(lambda: next(with_policy, None), "ruler", service.key, namespace)

    def _subset(self, service: Service, namespace: str, destination: RouteDestination, owner: Resource) -> Subset | None:
        if destination.subset is None:
            return None
        every = ((name, subset) for rule in reversed(self._rules(service, namespace)) for name, subset in rule.subsets.items())
        subsets = self._once(lambda: dict(every), "subsets", service.key, namespace)
        if destination.subset not in subsets:
            rule = f"no DestinationRule for {destination.host} has a subset {destination.subset}{near(destination.subset, list(subsets))}"
            raise owner.error(f"{destination.path}.subset", rule)
        return subsets[destination.subset]


def names_of(resource: DestinationRule | VirtualService) -> tuple[str, ...]:
    return (resource.host,) if isinstance(resource, DestinationRule) else resource.hosts


def hosts_of(resource: DestinationRule | VirtualService) -> tuple[str, ...]:
    return tuple(fqdn(host, resource.namespace) for host in names_of(resource))


def _publicity(vs: VirtualService, namespace: str) -> int:
    """Proxies of a namespace take its private VirtualServices before those that are exported to it, and these before public ones.

    Source: istio/istio pilot/pkg/model/virtualservice.go, `SelectVirtualServices`; push_context.go, `VirtualServicesForGateway`.
    """
    if "*" in (vs.export or ("*",)):
        return 2
    return 0 if vs.namespace == namespace else 1


def _for_host(target: str, found: list[Bound]) -> list[Bound]:
    """Those that share the most specific virtual host for a target."""
    hosts = [each.server.virtual_hosts(each.vs) for each in found]
    host = next((pattern for pattern in (target, *wildcards_over(target)) if any(pattern in each for each in hosts)), None)
    return [each for each, its in zip(found, hosts, strict=True) if host in its]


def _refuse(envoy_filter: EnvoyFilter, patch: Patch) -> None:
    if patch.unmodelled:
        rule = f"{patch.unmodelled} is not modelled, and a proxy of this load has it: leave it out where it changes neither times nor codes"
        raise envoy_filter.error("spec.configPatches", rule)
