"""DestinationRule, checked: subsets and traffic policies (the other kinds: `virtual_service`, `gateway`, `envoy_filter`).

Every field of Istio's API is either read, or refused with its reason, or noted; any other field is an error that names the
nearest one.  Ranges follow Istio's validation (istio/istio pkg/config/validation).  How the values meet the pods is
`control_plane`'s business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from meshmodel._text import quoted
from meshmodel.istio import names
from meshmodel.istio.balancing import Hashing, LoadBalancer, one_of, read_hashing, read_slow_start
from meshmodel.istio.base import MAX_UINT32, NO, Context, Resource, collected, milliseconds, read_export
from meshmodel.istio.field import Field, Table
from meshmodel.istio.localities import REGION, SUBZONE, ZONE, LocalityLbSetting, overlapping
from meshmodel.istio.warnings import ISTIO_CLUSTER, ISTIO_LOCALITY
from meshmodel.rules.balancing import POLICIES
from meshmodel.scenario import UNLIMITED, ConnectionPool, OutlierDetection, RetryBudget


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


_SELECTOR = ": leave it out where it selects all callers, and the whole rule where it selects none; callers that differ are two meshes"
_OTHER_PROTOCOL = ": leave it out; what its pods get is then plain HTTP"
_PASSTHROUGH = ": the proxy would call whatever address its caller asked for; leave it out and name the Service to call"


def read_destination_rule(document: Field, base: dict[str, object], context: Context) -> DestinationRule:
    spec = context.only(document.need("spec"), "host", "trafficPolicy", "subsets", "exportTo", refused={"workloadSelector": NO + _SELECTOR})
    host = names.wildcard_host(spec.need("host"))
    subsets: dict[str, Subset] = {}
    policy: list[TrafficPolicy | None] = []
    listed = spec.get_or("subsets", []).items()
    collected(
        lambda: policy.append(_policy_of(spec, context)),
        *(lambda subset=subset: _add_subset(subsets, subset, context) for subset in listed),  # type: ignore[misc]
    )
    return DestinationRule(**base, host=host, policy=policy[0], subsets=subsets, export=read_export(spec))  # type: ignore[arg-type]


def _add_subset(subsets: dict[str, Subset], subset: Field, context: Context) -> None:
    name = names.subset(subset.only("name", "labels", "trafficPolicy").need("name"))
    if name in subsets:
        raise subset.error(f"the subset {name} stands twice")
    subsets[name] = Subset(labels=names.label_map(subset.get_or("labels", {})), policy=_policy_of(subset, context))


def _policy_of(parent: Field, context: Context) -> TrafficPolicy | None:
    policy = parent.get("trafficPolicy")
    return _traffic_policy(policy, context) if policy else None


def _traffic_policy(policy: Field, context: Context, port_level: bool = False) -> TrafficPolicy:
    extra = ["port"] if port_level else ["portLevelSettings", "retryBudget"]
    known = ["loadBalancer", "outlierDetection", "connectionPool", "tls", *extra]
    context.only(policy, *known, refused=dict.fromkeys(("tunnel", "proxyProtocol"), NO + _OTHER_PROTOCOL))
    if not any(part in policy and policy.need(part).value != [] for part in known if part != "port"):
        raise policy.error("must have at least one field, Istio refuses an empty one")
    if "tls" in policy:
        _tls(policy.need("tls"), context)
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
    read: dict[str, Any] = {}
    parts = (
        ("load_balancer", balancer, _load_balancer), ("outlier_detection", outlier, _outlier_detection),
        ("connection_pool", pool, _connection_pool), ("retry_budget", budget, _retry_budget),
    )  # fmt: skip
    collected(*(lambda name=name, given=given, reader=reader: read.update({name: reader(given, context)})  # type: ignore[misc]
                for name, given, reader in parts if given))  # fmt: skip
    return TrafficPolicy(**read, ports=ports)


def _load_balancer(balancer: Field, context: Context) -> LoadBalancer:
    refused = dict.fromkeys(("backendUtilization", "zoneAwareLbSetting"), NO)
    context.only(balancer, "simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs", refused=refused)
    one_of(balancer, "simple", "consistentHash")
    hashing = balancer.get("consistentHash")
    simple = balancer.get_or("simple", "UNSPECIFIED")
    word = simple.choice(*POLICIES, "LEAST_CONN", "UNSPECIFIED", "PASSTHROUGH")
    if word == "LEAST_REQUEST":
        context.since(simple, word)
    if word == "PASSTHROUGH":
        raise simple.error(f"PASSTHROUGH is not modelled{_PASSTHROUGH}")
    if word == "LEAST_CONN":
        context.warn(simple, "LEAST_CONN is a deprecated alias of LEAST_REQUEST, which counts requests, not connections", ISTIO_CLUSTER)
        word = "LEAST_REQUEST"
    return LoadBalancer(
        simple=None if word == "UNSPECIFIED" else word,  # type: ignore[arg-type]
        locality=_locality_setting(balancer.need("localityLbSetting"), context) if "localityLbSetting" in balancer else None,
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
        holds = outlier.get_or("consecutive5xxErrors", 5).value
        reason = f"this deprecated field has no effect: consecutive5xxErrors holds, by default 5, so {holds} errors in a row eject"
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
    context.only(tcp, *_TCP_POOL, "connectTimeout", "idleTimeout", *context.neutral(tcp, _TCP_NEUTRAL))
    known = "h2UpgradePolicy", "idleTimeout", "useClientProtocol", "maxConcurrentStreams"
    context.only(http, *_HTTP_POOL, *known, *context.neutral(http, _HTTP_NEUTRAL))
    _of_http_2(http, context)
    for parent in (tcp, http):
        _durations(parent, context)
        _zeros(parent, context)
    upgrade = http.get_or("h2UpgradePolicy", "DEFAULT").choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE") == "UPGRADE"
    if upgrade and http.get_or("useClientProtocol", False).boolean():
        raise http.need("useClientProtocol").error("must not be true beside h2UpgradePolicy: UPGRADE, Istio refuses both")
    return ConnectionPool(**tcp.read(_TCP_POOL), **http.read(_HTTP_POOL), http2=upgrade)


_KEEPALIVE = {"interval": "text", "time": "text", "probes": "number"}
_TCP_NEUTRAL = {"tcpKeepalive": _KEEPALIVE, "maxConnectionDuration": "text"}
_HTTP_NEUTRAL = {"http2KeepAlive": {"interval": "text", "timeout": "text"}}
_TLS = {
    **dict.fromkeys("sni caCertificates caCrl clientCertificate privateKey credentialName mode".split(), "text"),
    "subjectAltNames": ["text"], "insecureSkipVerify": "flag",
}  # fmt: skip


def _tls(tls: Field, context: Context) -> None:
    context.shaped(tls, _TLS)
    tls.get_or("mode", "DISABLE").choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
    context.note(tls)


def _durations(parent: Field, context: Context) -> None:
    """Check the times of connections; none of them changes anything here."""
    for name in ("tcpKeepalive", "http2KeepAlive"):
        for time in ("interval", "time", "timeout"):
            if time in parent.get_or(name, {}):
                milliseconds(parent.need(name).need(time))
    if "maxConnectionDuration" in parent:
        milliseconds(parent.need("maxConnectionDuration"))
    if "idleTimeout" in parent:
        idle = parent.need("idleTimeout")
        if not (idle.path.endswith("tcp.idleTimeout") and idle.duration(0) == 0):  # 0s switches TCP's off
            milliseconds(idle)
        context.note(idle)
    if "connectTimeout" in parent:
        milliseconds(parent.need("connectTimeout"))
        context.assume(parent.need("connectTimeout"), "a connection is made or refused at once here, so this time is never reached")


def _of_http_2(http: Field, context: Context) -> None:
    """What is taken for granted of HTTP/2."""
    if http.get_or("maxConcurrentStreams", 0).integer():
        context.assume(http.need("maxConcurrentStreams"), "is not modelled: over HTTP/2 one connection carries any number of requests")
    if http.get_or("useClientProtocol", False).boolean():
        context.assume(http.need("useClientProtocol"), "is not modelled: the port's name alone decides between HTTP/1.1 and HTTP/2")


def _zeros(parent: Field, context: Context) -> None:
    for name in (*_TCP_POOL, *_HTTP_POOL):
        if name in parent and parent.need(name).value == 0 and name != "maxRequestsPerConnection":
            context.warn(parent.need(name), "0 is the same as not set: there is no limit", ISTIO_CLUSTER)


def _retry_budget(budget: Field, context: Context) -> RetryBudget:
    """Istio's retryBudget (cluster_traffic_policy.go, `applyRetryBudget`): a concurrency of 0 is "not set", which means 3."""
    context.only(budget, "percent", "minRetryConcurrency", refused={"budgetInterval": NO})
    return RetryBudget(
        budget_percent=budget.get_or("percent", 20.0).number(0, 100),
        min_retry_concurrency=budget.get_or("minRetryConcurrency", 0).integer(0, MAX_UINT32) or 3,
    )
