"""Istio's own kinds, checked: Gateway, DestinationRule and VirtualService (EnvoyFilter: `envoy_filter`).

Every field of Istio's API is either read, or refused with its reason, or warned about; any other
field is an error that names the nearest one.  Ranges follow Istio's validation
(istio/istio pkg/config/validation).  How the values meet the pods is `control_plane`'s business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from meshmodel.istio_defaults import PREVIOUS_PRIORITIES_UPDATE_FREQUENCY
from meshmodel.manifests import Context, Resource
from meshmodel.policies.locality import LocalityLbSetting
from meshmodel.scenario import UNLIMITED, ConnectionPool, Fault, LoadBalancing, OutlierDetection, RetryBudget, RetryPolicy
from meshmodel.warnings import ENVOY_DOCS, ISTIO_CLUSTER, ISTIO_LOCALITY, ISTIO_RETRY, MeshWarning
from meshmodel.yaml_source import Field

NO = "is not modelled"
UNNEEDED = "is not modelled: leave it out, neither times nor codes depend on it"
MAX_UINT32 = 2**32 - 1
RETRY_ON = tuple(
    "5xx gateway-error reset reset-before-request connect-failure refused-stream unavailable cancelled deadline-exceeded internal "
    "resource-exhausted retriable-4xx retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure".split()
)
"""Envoy's words of x-envoy-retry-on and x-envoy-retry-grpc-on (Envoy docs, router filter)."""


@dataclass(frozen=True, kw_only=True)
class Gateway(Resource):
    """`selector` is taken for the labels of the gateway's pod; `hosts` are those of all its servers."""

    selector: dict[str, str]
    hosts: tuple[str, ...]

    def serves(self, host: str) -> bool:
        return any(_covers(pattern.rpartition("/")[2], host) for pattern in self.hosts)


def _covers(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


@dataclass(frozen=True, kw_only=True)
class TrafficPolicy:
    """The parts of a trafficPolicy; each part, where present, replaces the one it is merged over (None: absent)."""

    load_balancer: tuple[LoadBalancing | None, LocalityLbSetting] | None = None
    outlier_detection: tuple[OutlierDetection, float] | None = None
    connection_pool: ConnectionPool | None = None
    retry_budget: RetryBudget | None = None
    ports: dict[int, TrafficPolicy] = field(default_factory=dict)

    def over(self, base: TrafficPolicy) -> TrafficPolicy:
        """This policy (a subset's) merged over a rule's, part by part as Istio's `MergeTrafficPolicy` does."""
        return TrafficPolicy(
            load_balancer=self.load_balancer or base.load_balancer,
            outlier_detection=self.outlier_detection or base.outlier_detection,
            connection_pool=self.connection_pool or base.connection_pool,
            retry_budget=self.retry_budget or base.retry_budget,
            ports={**base.ports, **self.ports},
        )

    def at(self, port: int) -> TrafficPolicy:
        """The policy of one port: `portLevelSettings` replace everything where they name it."""
        return replace(self.ports[port], retry_budget=self.retry_budget) if port in self.ports else self


@dataclass(frozen=True, kw_only=True)
class Subset:
    name: str
    labels: dict[str, str]
    policy: TrafficPolicy


@dataclass(frozen=True, kw_only=True)
class DestinationRule(Resource):
    host: str
    policy: TrafficPolicy
    subsets: dict[str, Subset]


@dataclass(frozen=True, kw_only=True)
class RouteDestination:
    """`path` is the destination's field, for errors that show only when the mesh is known."""

    host: str
    subset: str | None
    port: int | None
    weight: int
    path: str


@dataclass(frozen=True, kw_only=True)
class HttpRoute:
    destinations: tuple[RouteDestination, ...]
    timeout: float | None
    retries: RetryPolicy
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class VirtualService(Resource):
    """Only its first route counts: it matches every request."""

    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    route: HttpRoute


def read_gateway(document: Field, base: dict[str, object], context: Context) -> Gateway:
    spec = document.need("spec").only("selector", "servers")
    hosts: list[str] = []
    for server in spec.need("servers").items():
        server.only("port", "hosts", "name", refused=dict.fromkeys(("tls", "bind", "defaultEndpoint"), NO))
        port = server.need("port").only("number", "name", "protocol", "targetPort")
        port.need("number").integer(1, 65535)
        port.need("name").name()
        if port.need("protocol").text() not in ("HTTP", "HTTP2"):
            raise port.need("protocol").wrong("only HTTP is modelled")
        hosts += [host.name() for host in some(server.need("hosts"))]
    return Gateway(**base, selector=spec.need("selector").texts(), hosts=tuple(hosts))  # type: ignore[arg-type]


def some(values: Field) -> list[Field]:
    if not values.items():
        raise values.error("must not be empty")
    return values.items()


def _everywhere(spec: Field) -> None:
    if "exportTo" in spec and [entry.text() for entry in spec.need("exportTo").items()] != ["*"]:
        raise spec.need("exportTo").error(NO)


def read_destination_rule(document: Field, base: dict[str, object], context: Context) -> DestinationRule:
    spec = document.need("spec").only("host", "trafficPolicy", "subsets", "exportTo", refused={"workloadSelector": NO})
    _everywhere(spec)
    host = spec.need("host")
    if "*" in host.name():
        raise host.wrong("a wildcard is not modelled")
    policy = spec.get("trafficPolicy")
    subsets: dict[str, Subset] = {}
    for subset in spec.need("subsets").items() if "subsets" in spec else ():
        subset.only("name", "labels", "trafficPolicy")
        name, own, labels = subset.need("name").name(), subset.get("trafficPolicy"), subset.get("labels")
        if name in subsets:
            raise subset.error(f"the subset {name} stands twice")
        read = _traffic_policy(own, context) if own else TrafficPolicy()
        subsets[name] = Subset(name=name, labels=labels.texts() if labels else {}, policy=read)
    read = _traffic_policy(policy, context) if policy else TrafficPolicy()
    return DestinationRule(**base, host=host.name(), policy=read, subsets=subsets)  # type: ignore[arg-type]


def _traffic_policy(policy: Field, context: Context, port_level: bool = False) -> TrafficPolicy:
    parts = ["loadBalancer", "outlierDetection", "connectionPool", "tls"]
    extra = ["port"] if port_level else ["portLevelSettings", "retryBudget"]
    policy.only(*parts, *extra, refused=dict.fromkeys(("tunnel", "proxyProtocol"), NO))
    _no_effect(policy, ("tls",), context)
    balancer, outlier, pool, budget = (policy.get(name) for name in (*parts[:3], "retryBudget"))
    ports: dict[int, TrafficPolicy] = {}
    for setting in policy.need("portLevelSettings").items() if "portLevelSettings" in policy else ():
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


def _load_balancer(balancer: Field, context: Context) -> tuple[LoadBalancing | None, LocalityLbSetting]:
    refused = dict.fromkeys(("consistentHash", "warmup", "warmupDurationSecs", "backendUtilization", "zoneAwareLbSetting"), NO)
    balancer.only("simple", "localityLbSetting", refused=refused)
    simple, locality = balancer.get("simple"), balancer.get("localityLbSetting")
    chosen: LoadBalancing | None = None
    if simple:
        word = simple.choice("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "LEAST_CONN", "UNSPECIFIED", "PASSTHROUGH")
        if word == "PASSTHROUGH":
            raise simple.error("PASSTHROUGH is not modelled")
        if word == "LEAST_CONN":
            context.warn(simple, "LEAST_CONN is a deprecated alias of LEAST_REQUEST, which counts requests, not connections", ISTIO_CLUSTER)
            word = "LEAST_REQUEST"
        chosen = None if word == "UNSPECIFIED" else word  # type: ignore[assignment]
    return chosen, _locality_setting(locality) if locality else LocalityLbSetting()


def _locality_setting(setting: Field) -> LocalityLbSetting:
    setting.only("enabled", "distribute", "failover", "failoverPriority")
    distribute, failover, labels = (setting.get(name) for name in ("distribute", "failover", "failoverPriority"))
    if distribute and distribute.items() and ((failover and failover.items()) or (labels and labels.items())):
        raise setting.error("distribute excludes failover and failoverPriority")
    origins = [entry.need("from") for entry in distribute.items()] if distribute else []
    _no_overlap([(origin, origin.name()) for origin in origins])
    return LocalityLbSetting(
        enabled=setting.need("enabled").boolean() if "enabled" in setting else True,
        distribute=tuple(_distribute(entry) for entry in distribute.items()) if distribute else (),
        failover=tuple(_failover(entry) for entry in failover.items()) if failover else (),
        failover_priority=tuple(label.name() for label in labels.items()) if labels else (),
    )


def _distribute(entry: Field) -> tuple[str, dict[str, int]]:
    entry.only("from", "to")
    target = entry.need("to")
    weights = {name: weight.integer(1, 100) for name, weight in target.mapping().items()}
    if sum(weights.values()) != 100:
        raise target.error(f"the weights must sum to 100, they sum to {sum(weights.values())}")
    _no_overlap([(weight, name) for name, weight in target.mapping().items()])
    return entry.need("from").name(), weights


def _no_overlap(localities: list[tuple[Field, str]]) -> None:
    """Istio's rule: "*" only at the end, and no locality covered by another of the same list."""
    seen: list[str] = []
    for where, text in localities:
        if not re.fullmatch(r"(\*|[^*/]+(/[^*/]+){0,2}(/\*)?)", text) or text.count("/") > 2:
            raise where.error(f'must be "region/zone/subzone" with "*" at most at the end, got {text!r}')
        stem = text.removesuffix("*").rstrip("/")
        for other in seen:
            if not stem or not other or f"{stem}/".startswith(f"{other}/") or f"{other}/".startswith(f"{stem}/"):
                raise where.error(f"the locality {text!r} overlaps another one of the list")
        seen.append(stem)


def _failover(entry: Field) -> tuple[str, str]:
    entry.only("from", "to")
    origin, target = entry.need("from").name(), entry.need("to").name()
    for where in (entry.need("from"), entry.need("to")):
        if "*" in where.text() or "/" in where.text():
            raise where.wrong("must be a region")
    if origin == target:
        raise entry.error("from and to must be different regions")
    return origin, target


def _outlier_detection(outlier: Field, context: Context) -> tuple[OutlierDetection, float]:
    """The detector and the panic threshold in percent.  A field that is absent or 0 where Istio cannot tell takes Envoy's default."""
    names = "consecutive5xxErrors consecutiveGatewayErrors consecutiveLocalOriginFailures maxEjectionPercent minHealthPercent".split()
    refused = {"outlierDetectionHttpErrorCodes": NO}
    outlier.only(*names, "interval", "baseEjectionTime", "splitExternalLocalOriginErrors", "consecutiveErrors", refused=refused)
    if "consecutiveErrors" in outlier:
        outlier.need("consecutiveErrors").integer()
        context.warn(outlier.need("consecutiveErrors"), "this deprecated field has no effect, use consecutive5xxErrors", ISTIO_CLUSTER)
    given = {name: outlier.need(name).integer(0, 100 if name.endswith("Percent") else MAX_UINT32) for name in names if name in outlier}
    split = outlier.need("splitExternalLocalOriginErrors").boolean() if "splitExternalLocalOriginErrors" in outlier else False
    if "consecutiveLocalOriginFailures" in given and not split:
        reason = "has no effect without splitExternalLocalOriginErrors: true"
        context.warn(outlier.need("consecutiveLocalOriginFailures"), reason, ISTIO_CLUSTER)
    detector = OutlierDetection(
        consecutive_5xx=given.get("consecutive5xxErrors", 5),
        consecutive_gateway_failure=given.get("consecutiveGatewayErrors", 0),
        split_external_local_origin_errors=split,
        consecutive_local_origin_failure=given.get("consecutiveLocalOriginFailures", 0) or 5,
        interval=outlier.need("interval").duration() if "interval" in outlier else 10.0,
        base_ejection_time=outlier.need("baseEjectionTime").duration() if "baseEjectionTime" in outlier else 30.0,
        max_ejection_percent=given.get("maxEjectionPercent", 0) or 10,
        one_host_always=context.defaults.one_host_always,
    )
    if given.get("maxEjectionPercent") == 0:
        context.warn(outlier.need("maxEjectionPercent"), "0 cannot be told from absent: Envoy's default of 10 holds", ISTIO_CLUSTER)
    return detector, float(given.get("minHealthPercent", 0))


def _connection_pool(pool: Field, context: Context) -> ConnectionPool:
    """The limits; 0 is Istio's "not set"."""
    pool.only("tcp", "http")
    tcp, http = pool.get("tcp"), pool.get("http")
    limits = {"max_connections": UNLIMITED, "max_pending_requests": UNLIMITED, "max_requests": UNLIMITED, "max_retries": UNLIMITED}
    per_connection, http2 = 0, False
    if tcp:
        _no_effect(tcp, ("connectTimeout", "idleTimeout"), context)
        refused = {"maxConnectionDuration": NO, "tcpKeepalive": UNNEEDED}
        tcp.only("maxConnections", "connectTimeout", "idleTimeout", refused=refused)
        _limit(tcp, "maxConnections", limits, "max_connections")
    if http:
        names = ("http1MaxPendingRequests", "http2MaxRequests", "maxRetries")
        idle = ("idleTimeout", "useClientProtocol")
        http.only(
            *names, *idle, "maxRequestsPerConnection", "h2UpgradePolicy", refused={"maxConcurrentStreams": NO, "http2KeepAlive": UNNEEDED}
        )
        _no_effect(http, idle, context)
        for name, target in zip(names, ("max_pending_requests", "max_requests", "max_retries"), strict=True):
            _limit(http, name, limits, target)
        per_connection = http.need("maxRequestsPerConnection").integer() if "maxRequestsPerConnection" in http else 0
        if "h2UpgradePolicy" in http:
            http2 = http.need("h2UpgradePolicy").choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE") == "UPGRADE"
    return replace(ConnectionPool(max_requests_per_connection=per_connection, http2=http2), **limits)  # type: ignore[arg-type]


def _limit(parent: Field, name: str, limits: dict[str, int], target: str) -> None:
    if name in parent:
        limits[target] = parent.need(name).integer() or UNLIMITED


_TLS = "sni caCertificates caCrl clientCertificate privateKey credentialName subjectAltNames insecureSkipVerify".split()
_UNUSED_REASONS = {
    "connectTimeout": "connecting takes no time here: a refused connection fails at once",
    "idleTimeout": "connections are never idle for long enough here, so it changes nothing",
    "useClientProtocol": "the clients here speak HTTP/1.1, so it changes nothing",
    "tls": "encryption takes no time and never fails here",
}


def _no_effect(parent: Field, names: tuple[str, ...], context: Context) -> None:
    """Check and warn about fields that change neither times nor codes here."""
    for name in names:
        if name not in parent:
            continue
        value = parent.need(name)
        if name == "tls":
            value.only("mode", refused=dict.fromkeys(_TLS, UNNEEDED))
            if "mode" in value:
                value.need("mode").choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
        elif name == "useClientProtocol":
            value.boolean()
        else:
            value.duration(0)
        context.warn(value, _UNUSED_REASONS[name])


def _retry_budget(budget: Field, context: Context) -> RetryBudget:
    """Istio's retryBudget; defaults as in istio/api networking/v1alpha3/destination_rule.proto."""
    budget.only("percent", "minRetryConcurrency", refused={"budgetInterval": NO})
    return RetryBudget(
        budget_percent=budget.need("percent").number(0, 100) if "percent" in budget else 20.0,
        min_retry_concurrency=budget.need("minRetryConcurrency").integer(0, MAX_UINT32) if "minRetryConcurrency" in budget else 3,
    )


def read_virtual_service(document: Field, base: dict[str, object], context: Context) -> VirtualService:
    refused = dict.fromkeys(("tcp", "tls"), "only http is modelled")
    spec = document.need("spec").only("hosts", "gateways", "http", "exportTo", refused=refused)
    _everywhere(spec)
    gateways = spec.get("gateways")
    routes = some(spec.need("http"))
    for unreachable in routes[1:]:
        context.warn(unreachable, "the first route takes every request, this one is never reached", "istio.io VirtualService reference")
    read = [_http_route(route, context) for route in routes]
    return VirtualService(
        **base,  # type: ignore[arg-type]
        hosts=tuple(host.name() for host in some(spec.need("hosts"))),
        gateways=tuple(gateway.name() for gateway in gateways.items()) if gateways and gateways.items() else ("mesh",),
        route=read[0],
    )


def _http_route(route: Field, context: Context) -> HttpRoute:
    mirrors = ("mirror", "mirrors", "mirrorPercent", "mirror_percent", "mirrorPercentage")
    refused = dict.fromkeys(("redirect", "directResponse", "delegate", *mirrors), NO)
    refused |= dict.fromkeys(("headers", "corsPolicy", "rewrite"), UNNEEDED)
    route.only("name", "match", "route", "timeout", "retries", "fault", refused=refused)
    if "name" in route:
        route.need("name").text()
    for match in route.need("match").items() if "match" in route else ():
        match.mapping()
        if "name" in match:
            match.need("name").text()
        if {name: value for name, value in match.plain().items() if name != "name"} != {"uri": {"prefix": "/"}}:
            raise match.error("a match is not modelled, except uri.prefix: /")
    retries, timeout, fault = route.get("retries"), route.get("timeout"), route.get("fault")
    return HttpRoute(
        destinations=_destinations(route.need("route"), context),
        timeout=(timeout.duration(0) or None) if timeout else None,
        retries=_retries(retries, context) if retries else context.defaults.retry,
        fault=_fault(fault, context) if fault else Fault(),
    )


def _destinations(route: Field, context: Context) -> tuple[RouteDestination, ...]:
    found = []
    for entry in some(route):
        entry.only("destination", "weight", refused={"headers": UNNEEDED})
        destination = entry.need("destination").only("host", "subset", "port")
        port, subset, weight = destination.get("port"), destination.get("subset"), entry.get("weight")
        found.append(
            RouteDestination(
                host=destination.need("host").name(),
                subset=subset.name() if subset else None,
                port=port.only("number").need("number").integer(1, 65535) if port else None,
                weight=weight.integer() if weight else 0,
                path=destination.path,
            )
        )
    if len(found) == 1:
        return (replace(found[0], weight=100),)
    if sum(each.weight for each in found) == 0:
        raise route.error("the weights of several destinations must not sum to 0")
    return tuple(found)


def _retries(retries: Field, context: Context) -> RetryPolicy:
    """Istio's `ConvertPolicy`: the default policy, overridden field by field; attempts 0 (or absent) disables."""
    retries.only("attempts", "perTryTimeout", "retryOn", "retryRemoteLocalities", "retryIgnorePreviousHosts", "backoff")
    attempts = retries.need("attempts").integer() if "attempts" in retries else 0
    policy = replace(context.defaults.retry, attempts=attempts)
    if "retryOn" in retries:
        words, codes = _retry_on(retries.need("retryOn"), context)
        if words or codes:
            policy = replace(policy, retry_on=words, retriable_status_codes=codes)
    if "perTryTimeout" in retries:
        policy = replace(policy, per_try_timeout=retries.need("perTryTimeout").duration())
    if "backoff" in retries:
        policy = replace(policy, backoff_base_interval=retries.need("backoff").duration())
    if "retryIgnorePreviousHosts" in retries:
        policy = replace(policy, previous_hosts=retries.need("retryIgnorePreviousHosts").boolean())
    if "retryRemoteLocalities" in retries and retries.need("retryRemoteLocalities").boolean():
        policy = replace(policy, previous_priorities_update_frequency=PREVIOUS_PRIORITIES_UPDATE_FREQUENCY)
    if attempts == 0:
        if len(retries.mapping()) > ("attempts" in retries):
            context.warn(retries, "without attempts above 0 there are no retries, the other fields have no effect", ISTIO_RETRY)
        return RetryPolicy(attempts=0)
    return policy


def _retry_on(field: Field, context: Context) -> tuple[frozenset[str], frozenset[int]]:
    """Envoy's words and the status codes of a comma list; a code brings `retriable-status-codes` along (`parseRetryOn`)."""
    words, codes = set(), set()
    for part in (part.strip() for part in field.text().split(",")):
        if part in RETRY_ON:
            words.add(part)
        elif re.fullmatch(r"[1-5]\d\d", part) and int(part) in set(HTTPStatus):
            codes.add(int(part))
        elif part:
            replace(field, value=part).choice(*sorted(RETRY_ON), "a status code")
    if "gateway-error" in words:
        source = f"{ENVOY_DOCS}/configuration/http/http_filters/router_filter"
        context.warn(field, "gateway-error covers 502, 503 and 504; the tutorial says that it leaves 503 out", source)
    if codes:
        words.add("retriable-status-codes")
    if "retriable-headers" in words:
        raise field.error("retriable-headers is not modelled")
    return frozenset(words), frozenset(codes)


def _fault(fault: Field, context: Context) -> Fault:
    fault.only("delay", "abort")
    delay, abort, read = fault.get("delay"), fault.get("abort"), Fault()
    if delay:
        delay.only("fixedDelay", "percentage", "percent", refused={"exponentialDelay": NO})
        read = replace(read, delay=delay.need("fixedDelay").duration(), delay_percent=_percentage(delay, context))
    if abort:
        abort.only("httpStatus", "percentage", refused=dict.fromkeys(("grpcStatus", "http2Error"), NO))
        read = replace(read, abort_code=abort.need("httpStatus").integer(200, 599), abort_percent=_percentage(abort, context))
    return read


def _percentage(parent: Field, context: Context) -> float:
    whole = parent.need("percent").integer(0, 100) if "percent" in parent else None
    if "percentage" in parent:
        value = parent.need("percentage").only("value").get("value")
        return value.number(0, 100) if value else 0.0
    if whole is None:
        context.warn(parent, "without a percentage no request is affected", "istio/api networking/v1alpha3/virtual_service.proto")
    return float(whole or 0)


def conflict(winner: Resource, loser: Resource, what: str) -> MeshWarning:
    """The warning that `loser` has no effect because `winner`, applied before it, is for the same host."""
    field = "spec.host" if loser.kind == "DestinationRule" else "spec.hosts"
    source = "istio.io/latest/docs/ops/best-practices/traffic-management"
    return MeshWarning(str(loser), field, f"{winner} was applied first for the same host: {what}", source)
