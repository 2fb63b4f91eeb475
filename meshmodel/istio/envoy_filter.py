"""EnvoyFilter in the three forms that retries need: a retry budget, a route's retry policy, hedging.

A cluster's retry budget (applyTo CLUSTER), a route's retriable status codes and back-off (HTTP_ROUTE), and
hedging on a per-try timeout (HTTP_ROUTE or VIRTUAL_HOST), all by MERGE.  A filter that only observes (`OBSERVES`, as Istio's own
of telemetry) is noted, one for the pods' own side of a proxy is too; anything else of these three is refused, and of another kind
where a proxy of the load has it (`Patch.unmodelled`).
Merging follows protobuf: a single value replaces, a list is appended to.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from meshmodel.istio import names
from meshmodel.istio.base import MAX_UINT32, NO, Context, Resource, some
from meshmodel.istio.field import Field, Table
from meshmodel.scenario import RetryBudget


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One patch of an EnvoyFilter in the forms that are modelled; None leaves a value as it is."""

    context: str
    cluster_host: str | None = None
    cluster_subset: str | None = None
    cluster_port: int | None = None
    vhost: str | None = None
    retry_budget: RetryBudget | None = None
    retry: dict[str, object] = field(default_factory=dict)
    """The fields of `RetryPolicy` that it replaces."""
    retriable_status_codes: frozenset[int] = frozenset()
    """The codes that it adds (merging a list appends)."""
    unmodelled: str = ""
    """What it does that is not modelled."""

    def selects(self, host: str, port: int, subset: str | None) -> bool:
        """Whether a patch of clusters is for this one; no subset is written as an empty one."""
        return self.cluster_host in (None, host) and self.cluster_port in (None, port) and (self.cluster_subset or None) in (None, subset)


@dataclass(frozen=True, kw_only=True)
class EnvoyFilter(Resource):
    selector: dict[str, str]
    patches: tuple[Patch, ...]


def read_envoy_filter(document: Field, base: dict[str, object], context: Context) -> EnvoyFilter:
    spec = document.need("spec")
    spec.only("workloadSelector", "configPatches", *context.neutral(spec, {"priority": "any"}), refused={"targetRefs": NO})
    selector = spec.get("workloadSelector")
    labels = names.label_map(selector.only("labels").get_or("labels", {})) if selector else {}
    patches = [_patch(patch, context) for patch in some(spec.need("configPatches"))]
    return EnvoyFilter(**base, selector=labels, patches=tuple(filter(None, patches)))  # type: ignore[arg-type]


_PATCHES = "only MERGE of a cluster's retry_budget, or of a route's retry_policy or hedge_policy, is modelled"


OBSERVES = re.compile(
    r"stats|metadata_exchange|grpc_stats|access_?log|telemetry|tracing|stackdriver|alpn|x_?forwarded|server_header|request_id",
    re.IGNORECASE,
)
"""Names of filters and fields that change neither times nor codes."""
_ELSEWHERE = (
    "HTTP_FILTER NETWORK_FILTER LISTENER LISTENER_FILTER FILTER_CHAIN ROUTE_CONFIGURATION EXTENSION_CONFIG BOOTSTRAP INVALID"
).split()


def _foreign(entry: Field, where: Field, context: Context) -> Patch | None:
    """A patch of what no retry policy stands in: noted where it only observes, or is of the pods' own side; else kept to be refused."""
    match, patch = entry.get_or("match", {}), entry.need("patch")
    patch.need("operation").text()
    side = match.get_or("context", "ANY").choice("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY")
    named = " ".join(_names(patch.get_or("value", {}).plain()))
    if OBSERVES.search(named) or patch.need("operation").value == "REMOVE":
        context.note(where, "observes requests, and changes neither times nor codes")
        return None
    if where.value == "BOOTSTRAP":
        context.note(where)
        return None
    return Patch(context=side, unmodelled=f"{where.value} {named[:60]}".strip())


def _names(value: object) -> list[str]:
    """Every name and type that stands in it."""
    if isinstance(value, list):
        return [name for each in value for name in _names(each)]
    if not isinstance(value, dict):
        return []
    own = [str(value[key]) for key in ("name", "@type", "type_url") if key in value]
    return own + [name for key, each in value.items() if key not in ("inline_code", "inlineCode") for name in _names(each)]


def _patch(entry: Field, context: Context) -> Patch | None:
    entry.only("applyTo", "match", "patch")
    where = entry.need("applyTo")
    if where.text() in _ELSEWHERE:
        return _foreign(entry, where, context)
    if entry.get_or("match", {}).get_or("context", "").value == "SIDECAR_INBOUND":
        return _foreign(entry, where, context)
    operation = entry.need("patch").need("operation")
    if where.value == "CLUSTER" and operation.value == "ADD":
        context.note(where, "adds a cluster that no route of Istio's leads to")
        return None
    if operation.value in ("ADD", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REMOVE", "REPLACE"):
        return _foreign(entry, where, context)
    match, patch = entry.get_or("match", {}), entry.need("patch").only("operation", "value")
    if where.text() not in ("CLUSTER", "HTTP_ROUTE", "VIRTUAL_HOST"):
        raise where.wrong(_PATCHES)
    if patch.need("operation").text() != "MERGE":
        raise patch.need("operation").wrong(_PATCHES)
    value = patch.need("value")
    match.only("context", "cluster" if where.value == "CLUSTER" else "routeConfiguration", refused={"proxy": NO, "listener": NO})
    side = match.get_or("context", "ANY").choice("ANY", "SIDECAR_OUTBOUND", "GATEWAY")
    if where.value == "CLUSTER":
        return _cluster_patch(match, side, value)
    return _route_patch(match, side, value, virtual_host=where.value == "VIRTUAL_HOST")


_MATCH_CLUSTER: Table = {
    "service": ("cluster_host", names.host),
    "subset": ("cluster_subset", names.label),
    "portNumber": ("cluster_port", lambda field: field.integer(1, 65535)),
}


def _cluster_patch(match: Field, context: str, value: Field) -> Patch:
    cluster = match.get_or("cluster", {}).only("name", *_MATCH_CLUSTER)
    matched = cluster.read(_MATCH_CLUSTER)
    if "name" in cluster:
        named = re.fullmatch(r"outbound\|([0-9]{1,5})\|([^|]*)\|([^|]+)", cluster.need("name").name())
        if not named:
            raise cluster.need("name").wrong("must be an outbound cluster such as outbound|80||web.default.svc.cluster.local")
        matched = {"cluster_port": int(named[1]), "cluster_subset": named[2], "cluster_host": named[3]}
    return Patch(context=context, **matched, retry_budget=_retry_budget(value))


def _retry_budget(value: Field) -> RetryBudget:
    thresholds = value.only("circuit_breakers", "circuitBreakers")
    breakers = thresholds.get("circuit_breakers") or thresholds.get("circuitBreakers")
    levels = breakers.only("thresholds").need("thresholds") if breakers else value
    if not isinstance(levels.value, list) or len(levels.value) != 1:
        raise levels.error(_PATCHES)
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    level = levels.value[0].only("priority", "retry_budget", refused=dict.fromkeys(limits, "belongs into a DestinationRule"))
    if level.get_or("priority", "DEFAULT").text() != "DEFAULT":
        raise level.need("priority").error(NO)
    budget = level.need("retry_budget").only("budget_percent", "min_retry_concurrency")
    percent = budget.get("budget_percent")
    return RetryBudget(
        budget_percent=percent.only("value").need("value").number(0, 100) if percent else 20.0,
        min_retry_concurrency=budget.get_or("min_retry_concurrency", 3).integer(0, MAX_UINT32),
    )


def _route_patch(match: Field, context: str, value: Field, virtual_host: bool) -> Patch:
    vhost = None
    routes = match.get_or("routeConfiguration", {})
    host = routes.only("vhost", refused=dict.fromkeys(("name", "gateway", "portNumber", "portName"), NO)).get("vhost")
    if host:
        vhost = host.only("name", refused={"route": NO, "domainName": NO}).need("name").name()
    route = value if virtual_host else value.only("route").need("route")
    why = "the route has its own retry_policy, so this one would have no effect: patch HTTP_ROUTE"
    refused = {"retry_policy": why, "timeout": "belongs into a VirtualService"}
    route.only("hedge_policy", *(() if virtual_host else ("retry_policy",)), refused=refused)
    hedge, retry = route.get("hedge_policy"), route.get("retry_policy")
    changes = _retry_patch(retry) if retry else {}
    if hedge:
        refused = dict.fromkeys(("initial_requests", "additional_request_chance"), "is not implemented in Envoy")
        hedging = hedge.only("hedge_on_per_try_timeout", refused=refused).need("hedge_on_per_try_timeout")
        changes["hedge_on_per_try_timeout"] = hedging.boolean()
    codes = frozenset(code.integer(100, 599) for code in retry.get_or("retriable_status_codes", []).items()) if retry else frozenset()
    return Patch(context=context, vhost=vhost, retry=changes, retriable_status_codes=codes)


_RETRY_POLICY: Table = {
    "num_retries": ("attempts", Field.integer),
    "host_selection_retry_max_attempts": ("host_selection_retry_max_attempts", Field.integer),
}
_BACK_OFF: Table = {"base_interval": ("backoff_base_interval", Field.duration), "max_interval": ("backoff_max_interval", Field.duration)}


def _retry_patch(retry: Field) -> dict[str, object]:
    refused = {"retry_on": "belongs into a VirtualService (retryOn)", "per_try_timeout": "belongs into a VirtualService (perTryTimeout)"}
    retry.only(*_RETRY_POLICY, "retriable_status_codes", "retry_back_off", refused=refused)
    changes = retry.read(_RETRY_POLICY)
    back_off = retry.get("retry_back_off")
    if back_off:
        back_off.only(*_BACK_OFF).need("base_interval")
        given = back_off.read(_BACK_OFF)
        if given.get("backoff_max_interval", math.inf) < given["backoff_base_interval"]:
            raise back_off.need("max_interval").wrong("must not be below base_interval")
        changes |= given
    return changes
