"""Istio's own kinds, checked: Gateway, DestinationRule and VirtualService (EnvoyFilter: `envoy_filter`).

Every field of Istio's API is either read, or refused with its reason, or warned about; any other
field is an error that names the nearest one.  Ranges follow Istio's validation
(istio/istio pkg/config/validation).  How the values meet the pods is `control_plane`'s business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus

from meshmodel._text import quoted
from meshmodel.istio import names
from meshmodel.istio.balancing import Hashing, LoadBalancer, one_of, read_answer, read_hashing, read_mirrors, read_slow_start
from meshmodel.istio.base import MAX_UINT32, NO, UNNEEDED, Context, Resource, milliseconds, some, unused
from meshmodel.istio.defaults import PREVIOUS_PRIORITIES_UPDATE_FREQUENCY
from meshmodel.istio.field import Field, Table
from meshmodel.istio.hosts import wildcards_over
from meshmodel.istio.localities import REGION, SUBZONE, ZONE, LocalityLbSetting, overlapping
from meshmodel.istio.warnings import ENVOY_DOCS, ISTIO_CLUSTER, ISTIO_LOCALITY, ISTIO_RETRY
from meshmodel.scenario import UNLIMITED, ConnectionPool, DirectResponse, Fault, OutlierDetection, RetryBudget, RetryPolicy

RETRY_ON = tuple(
    "5xx gateway-error reset reset-before-request connect-failure refused-stream unavailable cancelled deadline-exceeded internal "
    "resource-exhausted retriable-4xx retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure".split()
)
"""Envoy's words of x-envoy-retry-on and x-envoy-retry-grpc-on (Envoy docs, router filter)."""


@dataclass(frozen=True, kw_only=True)
class Gateway(Resource):
    """`selector` is taken for the labels of the gateway's pod; `hosts` are those of all its servers, `port` is the first one's."""

    selector: dict[str, str]
    hosts: tuple[str, ...]
    port: int

    def serves(self, host: str) -> bool:
        return not self._patterns.isdisjoint((host, *wildcards_over(host)))

    @cached_property
    def _patterns(self) -> set[str]:
        return {pattern.rpartition("/")[2] for pattern in self.hosts}


@dataclass(frozen=True, kw_only=True)
class TrafficPolicy:
    """The parts of a trafficPolicy; each part, where present, replaces the one it is merged over (None: absent)."""

    load_balancer: LoadBalancer | None = None
    outlier_detection: tuple[OutlierDetection, float] | None = None
    connection_pool: ConnectionPool | None = None
    retry_budget: RetryBudget | None = None
    ports: dict[int, TrafficPolicy] = field(default_factory=dict)

    def over(self, base: TrafficPolicy, whole: bool = False) -> TrafficPolicy:
        """This policy (a subset's) merged over a rule's, part by part; with `whole` it replaces all but the retry budget.

        Source: istio/istio pilot/pkg/model/destination_rule.go, `MergeTrafficPolicy`.
        """
        budget = self.retry_budget or base.retry_budget
        if whole:
            return replace(self, retry_budget=budget)
        return TrafficPolicy(
            load_balancer=self.load_balancer or base.load_balancer,
            outlier_detection=self.outlier_detection or base.outlier_detection,
            connection_pool=self.connection_pool or base.connection_pool,
            retry_budget=budget,
        )

    def at(self, port: int) -> TrafficPolicy:
        """The policy of one port: where `portLevelSettings` name it they replace everything, the retry budget too."""
        return self.ports.get(port, self)


def policy_at(port: int, rule: TrafficPolicy | None, subset: TrafficPolicy | None = None) -> TrafficPolicy:
    """What holds for one port of a rule, or of a subset of it: the subset's parts over those of the rule's port.

    Source: istio/istio pilot/pkg/networking/util/util.go, `MergeSubsetTrafficPolicy`.
    """
    base = (rule or TrafficPolicy()).at(port)
    return subset.at(port).over(base, whole=port in subset.ports) if subset else base


def hashing_at(port: int | None, rule: TrafficPolicy | None, subset: TrafficPolicy | None) -> Hashing | None:
    """What a route hashes for a destination: its subset's word before its rule's, a port's (where it names one) before the whole's.

    Not merged as `policy_at` merges: another load balancer of a subset or port does not end the hashing of the route, and a
    port's `consistentHash` is not seen by a destination that leaves the port out.
    Source: istio/istio pilot/pkg/networking/core/route/route.go, `HashForHTTPDestination`.
    """
    for policy in filter(None, (subset, rule)):
        for level in filter(None, (policy.ports.get(port or 0), policy)):
            if level.load_balancer and level.load_balancer.hashing:
                return level.load_balancer.hashing
    return None


@dataclass(frozen=True, kw_only=True)
class Subset:
    labels: dict[str, str]
    policy: TrafficPolicy | None


@dataclass(frozen=True, kw_only=True)
class DestinationRule(Resource):
    host: str
    policy: TrafficPolicy | None
    subsets: dict[str, Subset]


@dataclass(frozen=True, kw_only=True)
class RouteDestination:
    """`path` is the destination's field, for errors that show only when the mesh is known."""

    host: str
    subset: str | None
    port: int | None
    weight: int
    path: str

    @property
    def key(self) -> tuple[str, str | None, int | None]:
        """What its cluster depends on."""
        return self.host, self.subset, self.port


@dataclass(frozen=True, kw_only=True)
class HttpRoute:
    """`mirrors` are (destination, percent); with an `answer` of the proxy's own there are no destinations.

    `ignore_previous_hosts`: what its retries say of `retryIgnorePreviousHosts` (None: nothing).
    """

    destinations: tuple[RouteDestination, ...]
    timeout: float | None
    retries: RetryPolicy
    fault: Fault
    ignore_previous_hosts: bool | None = None
    mirrors: tuple[tuple[RouteDestination, float], ...] = ()
    answer: DirectResponse | None = None


@dataclass(frozen=True, kw_only=True)
class VirtualService(Resource):
    """Only its first route counts: it matches every request."""

    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    route: HttpRoute


def read_gateway(document: Field, base: dict[str, object], context: Context) -> Gateway:
    spec = document.need("spec").only("selector", "servers")
    hosts: list[str] = []
    for server in some(spec.need("servers")):
        server.only("port", "hosts", "name", refused=dict.fromkeys(("tls", "bind", "defaultEndpoint"), NO))
        port = server.need("port").only("number", "name", "protocol", "targetPort")
        port.need("number").integer(1, 65535)
        port.need("name").name()
        if port.need("protocol").text() not in ("HTTP", "HTTP2"):
            raise port.need("protocol").wrong("only HTTP is modelled")
        hosts += [names.gateway_host(host) for host in some(server.need("hosts"))]
    first = spec.need("servers").items()[0].need("port").need("number").integer()
    return Gateway(**base, selector=names.label_map(spec.need("selector")), hosts=tuple(hosts), port=first)  # type: ignore[arg-type]


_EXPORT = ": leave it out (then all namespaces see the resource), or the whole resource where the load's callers do not see it"
_SELECTOR = ": leave it out where it selects all callers, and the whole rule where it selects none; callers that differ are two meshes"
_PASSTHROUGH = ": the proxy would call whatever address its caller asked for; leave it out and name the Service to call"


def _everywhere(spec: Field) -> None:
    if "exportTo" in spec and [entry.text() for entry in spec.need("exportTo").items()] != ["*"]:
        raise spec.need("exportTo").error(NO + _EXPORT)


def read_destination_rule(document: Field, base: dict[str, object], context: Context) -> DestinationRule:
    spec = context.only(document.need("spec"), "host", "trafficPolicy", "subsets", "exportTo", refused={"workloadSelector": NO + _SELECTOR})
    _everywhere(spec)
    host = names.wildcard_host(spec.need("host"))
    subsets: dict[str, Subset] = {}
    for subset in spec.get_or("subsets", []).items():
        name = names.subset(subset.only("name", "labels", "trafficPolicy").need("name"))
        if name in subsets:
            raise subset.error(f"the subset {name} stands twice")
        subsets[name] = Subset(labels=names.label_map(subset.get_or("labels", {})), policy=_policy_of(subset, context))
    return DestinationRule(**base, host=host, policy=_policy_of(spec, context), subsets=subsets)  # type: ignore[arg-type]


def _policy_of(parent: Field, context: Context) -> TrafficPolicy | None:
    policy = parent.get("trafficPolicy")
    return _traffic_policy(policy, context) if policy else None


def _traffic_policy(policy: Field, context: Context, port_level: bool = False) -> TrafficPolicy:
    extra = ["port"] if port_level else ["portLevelSettings", "retryBudget"]
    parts = ["loadBalancer", "outlierDetection", "connectionPool", "tls", *extra]
    context.only(policy, *parts, refused=dict.fromkeys(("tunnel", "proxyProtocol"), NO))
    if not any(part in policy and policy.need(part).value != [] for part in parts if part != "port"):
        raise policy.error("must have at least one field, Istio refuses an empty one")
    _no_effect(policy, context)
    balancer, outlier = policy.get("loadBalancer"), policy.get("outlierDetection")
    pool, budget = policy.get("connectionPool"), policy.get("retryBudget")
    ports: dict[int, TrafficPolicy] = {}
    for setting in policy.get_or("portLevelSettings", []).items():
        number = setting.need("port").only("number").need("number").integer(1, 65535)
        if number in ports:
            raise setting.error(f"the port {number} stands twice")
        ports[number] = _traffic_policy(setting, context, port_level=True)
    locality = balancer.get("localityLbSetting") if balancer else None
    if locality and outlier is None and ("failover" in locality or "failoverPriority" in locality):
        context.warn(locality, "failover needs outlierDetection in the same trafficPolicy, without it nothing fails over", ISTIO_LOCALITY)
    return TrafficPolicy(
        load_balancer=_load_balancer(balancer, context) if balancer else None,
        outlier_detection=_outlier_detection(outlier, context) if outlier else None,
        connection_pool=_connection_pool(pool, context) if pool else None,
        retry_budget=_retry_budget(budget, context) if budget else None,
        ports=ports,
    )


def _load_balancer(balancer: Field, context: Context) -> LoadBalancer:
    refused = dict.fromkeys(("backendUtilization", "zoneAwareLbSetting"), NO)
    context.only(balancer, "simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs", refused=refused)
    one_of(balancer, "simple", "consistentHash")
    hashing = balancer.get("consistentHash")
    simple = balancer.get_or("simple", "UNSPECIFIED")
    word = simple.choice("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "LEAST_CONN", "UNSPECIFIED", "PASSTHROUGH")
    if word == "LEAST_REQUEST":
        context.since(simple, word)
    if word == "PASSTHROUGH":
        raise simple.error(f"PASSTHROUGH is not modelled{_PASSTHROUGH}")
    if word == "LEAST_CONN":
        context.warn(simple, "LEAST_CONN is a deprecated alias of LEAST_REQUEST, which counts requests, not connections", ISTIO_CLUSTER)
        word = "LEAST_REQUEST"
    return LoadBalancer(
        simple=None if word == "UNSPECIFIED" else word,  # type: ignore[arg-type]
        locality=_locality_setting(balancer.get_or("localityLbSetting", {}), context),
        hashing=read_hashing(hashing, context) if hashing else None,
        slow_start=read_slow_start(balancer, context),
    )


def _locality_setting(setting: Field, context: Context) -> LocalityLbSetting:
    context.only(setting, "enabled", "distribute", "failover", "failoverPriority")
    distribute, failover, labels = (setting.get_or(name, []).items() for name in ("distribute", "failover", "failoverPriority"))
    if distribute and failover:
        raise setting.error("distribute excludes failover")
    if distribute and labels:
        context.warn(setting.need("failoverPriority"), "distribute is there, so this has no effect", ISTIO_LOCALITY)
    if failover and labels:
        _beside_failover(setting, context)
    _no_overlap([(entry.need("from"), entry.need("from").name()) for entry in distribute])
    return LocalityLbSetting(
        enabled=setting.get_or("enabled", True).boolean(),
        distribute=tuple(_distribute(entry) for entry in distribute),
        failover=tuple(_failover(entry) for entry in failover),
        failover_priority=tuple(label.name() for label in labels),
    )


def _beside_failover(setting: Field, context: Context) -> None:
    """`failover` and `failoverPriority` together: up to 1.19 the former has no effect, later both must not say the same."""
    if not context.defaults.has("failover_after_labels"):
        reason = "failoverPriority is there, so this has no effect before Istio 1.20"
        context.warn(setting.need("failover"), reason, ISTIO_LOCALITY)
        return
    for label in setting.need("failoverPriority").items():
        if label.value in (REGION, ZONE, SUBZONE):
            raise label.error(f"{label.value} beside failover, Istio refuses a topology label there")


def _distribute(entry: Field) -> tuple[str, dict[str, int]]:
    entry.only("from", "to")
    target = entry.need("to")
    weights = {name: weight.integer(1, 100) for name, weight in target.mapping().items()}
    if sum(weights.values()) != 100:
        raise target.error(f"the weights must sum to 100, they sum to {sum(weights.values())}")
    named = [(weight, name) for name, weight in target.mapping().items()]
    _no_overlap(named)
    _no_overlap(named[::-1])  # a mapping has no order for Istio
    return entry.need("from").name(), weights


def _no_overlap(localities: list[tuple[Field, str]]) -> None:
    """Istio's rule: "*" only at the end, and no locality covered by a former one of the same list."""
    for where, text in localities:
        if len(text) > 253 or not re.fullmatch(r"\*|[^*/]+(/[^*/]+)?(/([^*/]+|\*))?", text):
            raise where.error(f'must be "region/zone/subzone" with "*" at most at the end, got {quoted(text)}')
    double = overlapping([text for _, text in localities])
    if double is not None:
        where = next(where for where, text in localities[::-1] if text == double)
        raise where.error(f"the locality {quoted(double)} overlaps another one of the list")


def _failover(entry: Field) -> tuple[str, str]:
    entry.only("from", "to")
    origin, target = entry.need("from"), entry.need("to")
    for region in (origin, target):
        if re.search("[*/]", region.name()):
            raise region.wrong("must be a region")
    if origin.value == target.value:
        raise entry.error("from and to must be different regions")
    return origin.value, target.value


def _uint32(field: Field) -> int:
    return field.integer(0, MAX_UINT32)


def _percent(field: Field) -> int:
    return field.integer(0, 100)


_OUTLIER_DETECTION: Table = {
    "consecutive5xxErrors": ("consecutive_5xx", _uint32),
    "consecutiveGatewayErrors": ("consecutive_gateway_failure", _uint32),
    "consecutiveLocalOriginFailures": ("consecutive_local_origin_failure", _uint32),
    "maxEjectionPercent": ("max_ejection_percent", _percent),
    "minHealthPercent": ("min_health_percent", _percent),
    "splitExternalLocalOriginErrors": ("split_external_local_origin_errors", Field.boolean),
    "interval": ("interval", milliseconds),
    "baseEjectionTime": ("base_ejection_time", milliseconds),
}


def _outlier_detection(outlier: Field, context: Context) -> tuple[OutlierDetection, float]:
    """The detector and the panic threshold in percent.  A field that is absent or 0 where Istio cannot tell takes Envoy's default."""
    context.only(outlier, *_OUTLIER_DETECTION, "consecutiveErrors", "outlierDetectionHttpErrorCodes")
    codes = frozenset(code.integer(100, 599) for code in outlier.get_or("outlierDetectionHttpErrorCodes", []).items())
    if "consecutiveErrors" in outlier:
        outlier.need("consecutiveErrors").integer()
        reason = "this deprecated field has no effect: consecutive5xxErrors holds, by default 5"
        context.warn(outlier.need("consecutiveErrors"), reason, ISTIO_CLUSTER)
    given = outlier.read(_OUTLIER_DETECTION)
    if given.get("consecutive_local_origin_failure") and not given.get("split_external_local_origin_errors"):
        reason = "needs splitExternalLocalOriginErrors: true, Istio refuses it without"
        raise outlier.need("consecutiveLocalOriginFailures").error(reason)
    if given.get("max_ejection_percent") == 0:
        context.warn(outlier.need("maxEjectionPercent"), "0 cannot be told from absent: Envoy's default of 10 holds", ISTIO_CLUSTER)
    for name in ("consecutive_local_origin_failure", "max_ejection_percent"):
        if given.get(name) == 0:
            del given[name]
    panic_threshold = float(given.pop("min_health_percent", 0))
    return OutlierDetection(**given, one_host_always=context.defaults.one_host_always, error_codes=codes), panic_threshold


def _limit(field: Field) -> int:
    return field.integer() or UNLIMITED


_TCP_POOL: Table = {"maxConnections": ("max_connections", _limit)}
_HTTP_POOL: Table = {
    "http1MaxPendingRequests": ("max_pending_requests", _limit),
    "http2MaxRequests": ("max_requests", _limit),
    "maxRetries": ("max_retries", _limit),
    "maxRequestsPerConnection": ("max_requests_per_connection", Field.integer),
}


def _connection_pool(pool: Field, context: Context) -> ConnectionPool:
    """The limits; 0 is Istio's "not set"."""
    if "tcp" not in pool.only("tcp", "http") and "http" not in pool:
        raise pool.error("must have at least one field, Istio refuses an empty one")
    tcp, http = pool.get_or("tcp", {}), pool.get_or("http", {})
    context.only(tcp, *_TCP_POOL, "connectTimeout", "idleTimeout", refused={"maxConnectionDuration": NO, "tcpKeepalive": UNNEEDED})
    refused = {"maxConcurrentStreams": NO, "http2KeepAlive": UNNEEDED}
    context.only(http, *_HTTP_POOL, "h2UpgradePolicy", "idleTimeout", "useClientProtocol", refused=refused)
    _no_effect(tcp, context)
    _no_effect(http, context)
    upgrade = http.get_or("h2UpgradePolicy", "DEFAULT").choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE") == "UPGRADE"
    if upgrade and http.get_or("useClientProtocol", False).boolean():
        raise http.need("useClientProtocol").error("must not be true beside h2UpgradePolicy: UPGRADE, Istio refuses both")
    return ConnectionPool(**tcp.read(_TCP_POOL), **http.read(_HTTP_POOL), http2=upgrade)


_TLS = "sni caCertificates caCrl clientCertificate privateKey credentialName subjectAltNames insecureSkipVerify".split()


def _tls(tls: Field) -> None:
    mode = tls.only("mode", refused=dict.fromkeys(_TLS, UNNEEDED)).get_or("mode", "DISABLE")
    mode.choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")


def _idle_timeout(field: Field) -> float:
    """0s switches TCP's off."""
    return 0.0 if field.path.endswith("tcp.idleTimeout") and field.duration(0) == 0 else milliseconds(field)


_NO_EFFECT: dict[str, tuple[Callable[[Field], object], str]] = {
    "connectTimeout": (milliseconds, "connecting takes no time here: a refused connection fails at once"),
    "idleTimeout": (_idle_timeout, "connections are never idle for long enough here, so it changes nothing"),
    "useClientProtocol": (Field.boolean, "the clients here speak HTTP/1.1, so it changes nothing"),
    "tls": (_tls, "encryption takes no time and never fails here"),
}


def _no_effect(parent: Field, context: Context) -> None:
    """Check and warn about fields that change neither times nor codes here."""
    for name, (check, reason) in _NO_EFFECT.items():
        if name in parent:
            check(parent.need(name))
            context.warn(parent.need(name), reason)


def _retry_budget(budget: Field, context: Context) -> RetryBudget:
    """Istio's retryBudget (cluster_traffic_policy.go, `applyRetryBudget`): a concurrency of 0 is "not set", which means 3."""
    context.only(budget, "percent", "minRetryConcurrency", refused={"budgetInterval": NO})
    return RetryBudget(
        budget_percent=budget.get_or("percent", 20.0).number(0, 100),
        min_retry_concurrency=budget.get_or("minRetryConcurrency", 0).integer(0, MAX_UINT32) or 3,
    )


def read_virtual_service(document: Field, base: dict[str, object], context: Context) -> VirtualService:
    refused = dict.fromkeys(("tcp", "tls"), "only http is modelled")
    spec = document.need("spec").only("hosts", "gateways", "http", "exportTo", refused=refused)
    _everywhere(spec)
    routes = some(spec.need("http"))
    for unreachable in routes[1:]:
        context.warn(unreachable, "the first route takes every request, this one is never reached", "istio.io VirtualService reference")
    read = [_http_route(route, context) for route in routes]
    gateways = tuple(names.gateway(gateway) for gateway in spec.get_or("gateways", []).items()) or ("mesh",)
    return VirtualService(
        **base,  # type: ignore[arg-type]
        hosts=_hosts(spec.need("hosts"), "mesh" in gateways),
        gateways=gateways,
        route=read[0],
    )


def _hosts(listed: Field, inside: bool) -> tuple[str, ...]:
    """The hosts, none of them twice or covered by another, nor "*" for the sidecars (`ValidateVirtualService`)."""
    hosts = {names.wildcard_host(field): field for field in some(listed)}
    if inside and "*" in hosts:
        raise hosts["*"].error('"*" is only for Gateways, sidecars need a host')
    if len(hosts) < len(listed.items()):
        raise listed.error("a host stands twice, which Istio refuses")
    wild = {host for host in hosts if host.startswith("*")}
    for host, where in hosts.items() if wild else ():
        if wild.intersection(wildcards_over(host)) - {host}:
            raise where.wrong("is covered by another host of the list, which Istio refuses")
    return tuple(hosts)


def _http_route(route: Field, context: Context) -> HttpRoute:
    refused = {"delegate": NO} | dict.fromkeys(("headers", "corsPolicy", "rewrite"), UNNEEDED)
    known = ("name", "match", "route", "redirect", "directResponse", "timeout", "retries", "fault")
    context.only(route, *known, "mirror", "mirrors", "mirrorPercent", "mirror_percent", "mirrorPercentage", refused=refused)
    route.get_or("name", "").text()
    for match in route.get_or("match", []).items():
        match.get_or("name", "").text()
        if match.plain() | {"name": ""} != {"uri": {"prefix": "/"}, "name": ""}:
            raise match.error("a match is not modelled, except uri.prefix: /")
    retries = route.get("retries")
    ignoring = retries.get("retryIgnorePreviousHosts") if retries else None
    answer = read_answer(route)
    read = HttpRoute(
        destinations=_destinations(route.need("route")) if answer is None else (),
        mirrors=tuple((_destination(mirror, 100), percent) for mirror, percent in read_mirrors(route)),
        answer=answer,
        timeout=_route_timeout(route.need("timeout")) if "timeout" in route else None,
        retries=_retries(retries, context) if retries else context.defaults.retry,
        ignore_previous_hosts=ignoring.boolean() if ignoring else None,
        fault=_fault(route.need("fault"), context) if "fault" in route else Fault(),
    )
    if answer is None:
        return read
    unused(route, ["timeout", "retries", "mirror", "mirrors"], context)
    return replace(read, timeout=None, retries=RetryPolicy(attempts=0), mirrors=())


def _route_timeout(field: Field) -> float:
    if field.duration(-math.inf) == 0:
        raise field.wrong("must be 1ms or more, Istio refuses 0s: leave it out for none")
    return milliseconds(field)


def _destinations(route: Field) -> tuple[RouteDestination, ...]:
    found = []
    for entry in some(route):
        entry.only("destination", "weight", refused={"headers": UNNEEDED})
        found.append(_destination(entry.need("destination"), entry.get_or("weight", 0).integer()))
    if len(found) == 1:
        return (replace(found[0], weight=100),)
    if sum(each.weight for each in found) == 0:
        raise route.error("the weights of several destinations must not sum to 0")
    return tuple(found)


def _destination(destination: Field, weight: int) -> RouteDestination:
    destination.only("host", "subset", "port")
    port, subset = destination.get("port"), destination.get("subset")
    return RouteDestination(
        host=names.host(destination.need("host")),
        subset=names.subset(subset) if subset else None,
        port=port.only("number").need("number").integer(1, 65535) if port else None,
        weight=weight,
        path=destination.path,
    )


_RETRIES: Table = {
    "attempts": ("attempts", Field.integer),
    "perTryTimeout": ("per_try_timeout", milliseconds),
    "backoff": ("backoff_base_interval", milliseconds),
    "retryIgnorePreviousHosts": ("previous_hosts", Field.boolean),
}


def _retries(retries: Field, context: Context) -> RetryPolicy:
    """Istio's `ConvertPolicy`: the default policy, overridden field by field; attempts 0 (or absent) disables."""
    context.only(retries, *_RETRIES, "retryOn", "retryRemoteLocalities")
    changes = retries.read(_RETRIES)
    words, codes = _retry_on(retries.get_or("retryOn", ""), context)
    if words:
        changes |= {"retry_on": words, "retriable_status_codes": codes}
    if retries.get_or("retryRemoteLocalities", False).boolean():
        changes["previous_priorities_update_frequency"] = PREVIOUS_PRIORITIES_UPDATE_FREQUENCY
    if changes.get("attempts", 0) > 0:
        return replace(context.defaults.retry, **changes)
    inert = next((name for name in ("perTryTimeout", "retryOn", "retryRemoteLocalities") if name in retries), None)
    if inert and retries.need(inert).value != "":
        raise retries.need(inert).error("needs attempts above 0, Istio refuses it without")
    if len(retries.mapping()) > ("attempts" in retries):
        context.warn(retries, "without attempts above 0 there are no retries, the other fields have no effect", ISTIO_RETRY)
    return RetryPolicy(attempts=0)


def _retry_on(field: Field, context: Context) -> tuple[frozenset[str], frozenset[int]]:
    """Envoy's words and the status codes of a comma list; a code brings `retriable-status-codes` along (`parseRetryOn`)."""
    words, codes, parts = set(), set(), field.text().split(",")
    if field.text() and any(not part or part != part.strip() for part in parts):
        context.warn(field, "Istio's webhook refuses blanks and empty parts in retryOn; it is read without them", ISTIO_RETRY)
    for part in (part.strip() for part in parts):
        if part in RETRY_ON:
            words.add(part)
        elif re.fullmatch(r"[1-5][0-9][0-9]", part) and int(part) in set(HTTPStatus):
            codes.add(int(part))
        elif part:
            replace(field, value=part).choice(*sorted(RETRY_ON), "a status code")
    if "gateway-error" in words:
        source = f"{ENVOY_DOCS}/configuration/http/http_filters/router_filter"
        context.warn(field, "gateway-error covers 502, 503 and 504; the tutorial says that it leaves 503 out", source)
    if codes:
        words.add("retriable-status-codes")
    if "retriable-headers" in words:
        source = "Envoy, retry_state_impl.cc: wouldRetryFromHeaders"
        context.warn(field, "retriable-headers retries nothing: Istio has no field for the headers that it would look for", source)
    return frozenset(words), frozenset(codes)


def _fault(fault: Field, context: Context) -> Fault:
    fault.only("delay", "abort")
    delay, abort, read = fault.get("delay"), fault.get("abort"), Fault()
    if not delay and not abort:
        raise fault.error("must have a delay or an abort, Istio refuses an empty one")
    if delay:
        delay.only("fixedDelay", "percentage", "percent", refused={"exponentialDelay": NO})
        read = replace(read, delay=milliseconds(delay.need("fixedDelay")), delay_percent=_percentage(delay, context))
    if abort:
        abort.only("httpStatus", "percentage", refused=dict.fromkeys(("grpcStatus", "http2Error"), NO))
        read = replace(read, abort_code=abort.need("httpStatus").integer(200, 599), abort_percent=_percentage(abort, context))
    return read


def _percentage(parent: Field, context: Context) -> float:
    whole = parent.get_or("percent", 0).integer(0, 100)
    if "percentage" in parent:
        percent = parent.need("percentage").only("value").get_or("value", 0.0)
        if 0 < percent.number(0, 100) < 0.0001:
            raise percent.wrong("must be 0, or 0.0001 or more: Istio refuses less")
        return percent.number(0, 100)
    if "percent" not in parent:
        context.warn(parent, "without a percentage no request is affected", "istio/api networking/v1alpha3/virtual_service.proto")
    return float(whole)
