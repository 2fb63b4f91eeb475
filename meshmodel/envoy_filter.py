"""EnvoyFilter in the three forms that retries need: a retry budget, a route's retry policy, hedging.

A cluster's retry budget (applyTo CLUSTER), a route's retriable status codes and back-off (HTTP_ROUTE), and
hedging on a per-try timeout (HTTP_ROUTE or VIRTUAL_HOST), all by MERGE.  Anything else is refused.
Merging follows protobuf: a single value replaces, a list is appended to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from meshmodel.istio_resources import MAX_UINT32, NO, some
from meshmodel.manifests import Context, Resource
from meshmodel.scenario import RetryBudget
from meshmodel.yaml_source import Field


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One patch of an EnvoyFilter in the forms that are modelled; None leaves a value as it is."""

    context: str
    cluster_host: str | None = None
    cluster_subset: str | None = None
    cluster_port: int | None = None
    vhost: str | None = None
    retry_budget: RetryBudget | None = None
    hedge_on_per_try_timeout: bool | None = None
    retry: dict[str, object] = field(default_factory=dict)
    retriable_status_codes: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class EnvoyFilter(Resource):
    selector: dict[str, str]
    patches: tuple[Patch, ...]


def read_envoy_filter(document: Field, base: dict[str, object], context: Context) -> EnvoyFilter:
    spec = document.need("spec").only("workloadSelector", "configPatches", refused={"targetRefs": NO, "priority": NO})
    selector = spec.get("workloadSelector")
    labels = selector.only("labels").get("labels") if selector else None
    patches = tuple(_patch(patch) for patch in some(spec.need("configPatches")))
    return EnvoyFilter(**base, selector=labels.texts() if labels else {}, patches=patches)  # type: ignore[arg-type]


_PATCHES = "only MERGE of a cluster's retry_budget, or of a route's retry_policy or hedge_policy, is modelled"


def _patch(entry: Field) -> Patch:
    entry.only("applyTo", "match", "patch")
    where, match, patch = entry.need("applyTo"), entry.get("match"), entry.need("patch").only("operation", "value")
    if where.text() not in ("CLUSTER", "HTTP_ROUTE", "VIRTUAL_HOST"):
        raise where.wrong(_PATCHES)
    if patch.need("operation").text() != "MERGE":
        raise patch.need("operation").wrong(_PATCHES)
    context, value = "ANY", patch.need("value")
    if match:
        match.only("context", "cluster" if where.value == "CLUSTER" else "routeConfiguration", refused={"proxy": NO, "listener": NO})
        if "context" in match:
            context = match.need("context").choice("ANY", "SIDECAR_OUTBOUND", "GATEWAY")
    if where.value == "CLUSTER":
        return _cluster_patch(match, context, value)
    return _route_patch(match, context, value, virtual_host=where.value == "VIRTUAL_HOST")


def _cluster_patch(match: Field | None, context: str, value: Field) -> Patch:
    cluster = match.get("cluster") if match else None
    host = subset = port = None
    if cluster:
        cluster.only("name", "service", "portNumber", "subset")
        host, subset = (cluster.need(name).name() if name in cluster else None for name in ("service", "subset"))
        port = cluster.need("portNumber").integer(1, 65535) if "portNumber" in cluster else None
        if "name" in cluster:
            named = re.fullmatch(r"outbound\|(\d{1,5})\|([^|]*)\|([^|]+)", cluster.need("name").name())
            if not named:
                raise cluster.need("name").wrong("must be an outbound cluster such as outbound|80||web.default.svc.cluster.local")
            port, subset, host = int(named[1]), named[2], named[3]
    thresholds = value.only("circuit_breakers", "circuitBreakers")
    breakers = thresholds.get("circuit_breakers") or thresholds.get("circuitBreakers")
    levels = breakers.only("thresholds").need("thresholds") if breakers else value
    if not isinstance(levels.value, list) or len(levels.value) != 1:
        raise levels.error(_PATCHES)
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    level = levels.value[0].only("priority", "retry_budget", refused=dict.fromkeys(limits, "belongs into a DestinationRule"))
    if "priority" in level and level.need("priority").text() != "DEFAULT":
        raise level.need("priority").error(NO)
    budget = level.need("retry_budget").only("budget_percent", "min_retry_concurrency")
    percent = budget.get("budget_percent")
    limit = budget.get("min_retry_concurrency")
    read = RetryBudget(
        budget_percent=percent.only("value").need("value").number(0, 100) if percent else 20.0,
        min_retry_concurrency=limit.integer(0, MAX_UINT32) if limit else 3,
    )
    return Patch(context=context, cluster_host=host, cluster_subset=subset, cluster_port=port, retry_budget=read)


def _route_patch(match: Field | None, context: str, value: Field, virtual_host: bool) -> Patch:
    vhost = None
    routes = match.get("routeConfiguration") if match else None
    if routes:
        host = routes.only("vhost", refused=dict.fromkeys(("name", "gateway", "portNumber", "portName"), NO)).get("vhost")
        if host:
            vhost = host.only("name", refused={"route": NO, "domainName": NO}).need("name").name()
    route = value if virtual_host else value.only("route").need("route")
    why = "the route has its own retry_policy, so this one would have no effect: patch HTTP_ROUTE"
    refused = {"retry_policy": why, "timeout": "belongs into a VirtualService"}
    route.only("hedge_policy", *(() if virtual_host else ("retry_policy",)), refused=refused)
    hedge, retry = route.get("hedge_policy"), route.get("retry_policy")
    hedging = None
    if hedge:
        refused = dict.fromkeys(("initial_requests", "additional_request_chance"), "is not implemented in Envoy")
        hedging = hedge.only("hedge_on_per_try_timeout", refused=refused).need("hedge_on_per_try_timeout").boolean()
    changes, codes = _retry_patch(retry) if retry else ({}, frozenset())
    return Patch(context=context, vhost=vhost, hedge_on_per_try_timeout=hedging, retry=changes, retriable_status_codes=codes)


def _retry_patch(retry: Field) -> tuple[dict[str, object], frozenset[int]]:
    """The fields of `RetryPolicy` that a patch sets, and the codes that it adds (merging a list appends)."""
    refused = {"retry_on": "belongs into a VirtualService (retryOn)", "per_try_timeout": "belongs into a VirtualService (perTryTimeout)"}
    retry.only("num_retries", "retriable_status_codes", "retry_back_off", "host_selection_retry_max_attempts", refused=refused)
    changes: dict[str, object] = {}
    if "num_retries" in retry:
        changes["attempts"] = retry.need("num_retries").integer()
    if "host_selection_retry_max_attempts" in retry:
        changes["host_selection_retry_max_attempts"] = retry.need("host_selection_retry_max_attempts").integer()
    back_off = retry.get("retry_back_off")
    if back_off:
        base = back_off.only("base_interval", "max_interval").need("base_interval").duration()
        changes["backoff_base_interval"] = base
        if "max_interval" in back_off:
            highest = changes["backoff_max_interval"] = back_off.need("max_interval").duration()
            if highest < base:
                raise back_off.need("max_interval").wrong("must not be below base_interval")
    codes = retry.get("retriable_status_codes")
    return changes, frozenset(code.integer(100, 599) for code in codes.items()) if codes else frozenset()
