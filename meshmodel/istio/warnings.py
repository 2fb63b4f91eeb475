"""What Istio accepts but will not do what its author thinks: one `MeshWarning` each, with its reason and source.

A rule that needs only one field is raised where that field is read (`kubernetes`, `resources`);
the rules here need a whole scenario: several pods, two routes, or the workload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from meshmodel._text import visible
from meshmodel.scenario import (
    UNLIMITED,
    Behaviour,
    ClosedLoop,
    Cluster,
    HashPolicy,
    Request,
    RetryPolicy,
    Route,
    Scenario,
    Workload,
    callers_of,
)

ENVOY_DOCS = "envoyproxy.io/docs/envoy/latest"
ROUTER = f"{ENVOY_DOCS}/configuration/http/http_filters/router_filter"
ISTIO_LOCALITY = "istio/istio pilot/pkg/networking/core/loadbalancer/loadbalancer.go"
ISTIO_RETRY = "istio/istio pilot/pkg/networking/core/route/retry/retry.go"
ISTIO_CLUSTER = "istio/istio pilot/pkg/networking/core/cluster_traffic_policy.go"
NOT_MODELLED = "meshmodel: not modelled"
CHANGES, ASSUMPTION, NOTED = "changes your result", "assumption", "noted"
GROUPS = (CHANGES, ASSUMPTION, NOTED)
"""What a warning is about: figures other than one would think; what was taken for granted; what was read and left out."""
NEUTRAL = "neither times nor codes depend on it here, so it is left out"
_SETTING = "spec.trafficPolicy.loadBalancer.localityLbSetting"


@dataclass(frozen=True)
class MeshWarning:
    """`resource` ("DestinationRule simple-backend-dr"), `field` (its path), `reason` in words, `source` of the rule.

    `group`: one of `GROUPS`.  `first`: it stands before all others, since without it the figures are of another mesh.
    """

    resource: str
    field: str
    reason: str
    source: str
    group: str = CHANGES
    first: bool = False

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.resource, self.field)))
        group = "" if self.group == CHANGES else f" ({self.group})"
        return visible(f"{where}: {self.reason} [{self.source}]{group}".replace("  ", " "))


class Owner(NamedTuple):
    """Who is responsible for a route: "VirtualService reviews" (or the Service), and where in it the route stands."""

    resource: str
    path: str


def within(path: str) -> str:
    """The path of a field in its resource, whatever List it stood in."""
    return re.sub(r"^items\[[0-9]+\]\.", "", path)


def in_order(found: Iterable[MeshWarning]) -> list[MeshWarning]:
    """Each once: what comes first, then group by group; what is merely left out is one warning for each reason."""
    found = list(dict.fromkeys(found))
    left_out: dict[str, dict[str, list[str]]] = {}
    for warning in (each for each in found if each.group == NOTED and each.field):
        name = re.sub(r"\[[0-9]+\]", "", warning.field).rpartition(".")[2]
        left_out.setdefault(warning.reason, {}).setdefault(name, []).append(warning.resource)
    kept = [each for each in found if each.group != NOTED or not each.field]
    noted = [MeshWarning("", _listed(names), reason, NOT_MODELLED, NOTED) for reason, names in left_out.items()]
    return sorted(kept + noted, key=lambda each: (not each.first, GROUPS.index(each.group)))


def _listed(names: Mapping[str, list[str]]) -> str:
    """Fields with whose they are: "corsPolicy (VirtualService a, 3 more), tls (DestinationRule b)"."""
    shown = []
    for name, owners in names.items():
        others = len(set(owners)) - 1
        shown.append(f"{name} ({owners[0]}{f', {others} more' if others else ''})")
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


def scenario_warnings(
    scenario: Scenario, cluster_owner: dict[str, str], route_owner: dict[str, Owner], localities: dict[str, str], retries_503: bool
) -> list[MeshWarning]:
    """The warnings that follow from a whole scenario and its workload.

    `cluster_owner` names the DestinationRule of a cluster, `route_owner` the route of a VirtualService for a route's host,
    `localities` what a cluster's localityLbSetting asks for: "off", "distribute", "failover" or "default".
    """
    found: list[MeshWarning] = []
    for route in scenario.routes:
        for cluster in route.clusters:
            owner = cluster_owner[cluster.name]
            found += _locality(owner, cluster, localities[cluster.name])
            found += _ejections(owner, cluster)
            found += _limits(owner, route, cluster, scenario)
            found += _hashing(owner, route, cluster, scenario.workload)
        found += _timeouts(route_owner[route.host], route, scenario)
        found += _inert(route_owner[route.host], route)
        if not retries_503:
            found += _default_retry(route_owner[route.host], route)
    found += _patience(route_owner[scenario.routes[0].host], scenario)
    return found + list(_all_hops(scenario.routes, route_owner))


def _locality(owner: str, cluster: Cluster, setting: str) -> Iterator[MeshWarning]:
    localities = {endpoint.locality for endpoint in cluster.endpoints}
    if len(localities) < 2:
        return
    weights = cluster.locality_weights
    if setting == "distribute" and weights is not None:
        unfed = sorted({place or "no locality" for row in weights for place in localities if not row.get(place)})
        if unfed:
            reason = f"it sends nothing to the pods of {', '.join(unfed)}, nor when all others are out: distribute rules failover out"
            yield MeshWarning(owner, f"{_SETTING}.distribute", reason, ISTIO_LOCALITY)
    elif setting not in ("off", "near") and cluster.outlier_detection is None:
        reason = "its pods carry different localities, but without outlierDetection Istio sets no priorities: traffic does not stay local"
        if weights is not None:
            reason += ", and this version gives each locality its part by its number of pods, whatever the load balancer"
        yield MeshWarning(owner, "spec.trafficPolicy.outlierDetection", reason, ISTIO_LOCALITY)
    elif setting == "default" and any(any(row) for row in cluster.priorities):
        reason = (
            "outlierDetection switches failover by locality on: the pods of other localities get nothing while enough of the nearest are "
            "healthy (localityLbSetting.enabled: false switches it off)"
        )
        yield MeshWarning(owner, "spec.trafficPolicy.outlierDetection", reason, ISTIO_LOCALITY)


def _ejections(owner: str, cluster: Cluster) -> Iterator[MeshWarning]:
    outlier, pods = cluster.outlier_detection, len(cluster.endpoints)
    if outlier is None or pods == 0:
        return
    field = "spec.trafficPolicy.outlierDetection."
    if outlier.max_ejection_percent < 100 / pods:
        effect = "only one pod at a time is ever ejected" if outlier.one_host_always else "no pod is ever ejected"
        reason = f"{outlier.max_ejection_percent} % of {pods} pods is less than one pod: {effect} with this version of Envoy"
        yield MeshWarning(owner, field + "maxEjectionPercent", reason, "envoyproxy/envoy changelogs/1.28.0.yaml, outlier detection")
    if outlier.consecutive_5xx == 1:
        reason = (
            f"one error ejects a pod for {outlier.base_ejection_time:g} s or more: an error that all pods share "
            "(a bad request, a common database) ejects them one after another"
        )
        yield MeshWarning(owner, field + "consecutive5xxErrors", reason, f"{ENVOY_DOCS}/intro/arch_overview/upstream/outlier")


def _limits(owner: str, route: Route, cluster: Cluster, scenario: Scenario) -> Iterator[MeshWarning]:
    pool = cluster.connection_pool
    limits = {
        "tcp.maxConnections": pool.max_connections,
        "http.http1MaxPendingRequests": pool.max_pending_requests,
        "http.http2MaxRequests": pool.max_requests,
        "http.maxRetries": pool.max_retries,
    }
    if pool.max_requests_per_connection == 1 and pool.max_pending_requests < UNLIMITED and not pool.http2:
        reason = (
            f"each request waits for a connection of its own, and is pending meanwhile: {scenario.connect_time * 1000:g} ms here, "
            "more over mutual TLS or a network (--connect-time), and so the more of them overflow a limit of "
            f"{pool.max_pending_requests} pending"
        )
        source = f"{ENVOY_DOCS}/intro/arch_overview/upstream/circuit_breaking"
        yield MeshWarning(owner, "spec.trafficPolicy.connectionPool.http.maxRequestsPerConnection", reason, source, ASSUMPTION)
    in_flight = _most_in_flight(scenario.workload, route)
    for name, limit in limits.items():
        if limit == UNLIMITED:
            continue
        field = f"spec.trafficPolicy.connectionPool.{name}"
        extra = ", and each of its workers may open one more to each pod" if name == "tcp.maxConnections" and scenario.workers > 1 else ""
        also = ", and in each pod's own sidecar for all callers together" if any(e.inbound for e in cluster.endpoints) else ""
        holds = f"the limit of {limit} holds in each calling proxy ({len(route.callers)} here){also}"
        reason = f"{holds}, not for the Service as a whole{extra}"
        yield MeshWarning(owner, field, reason, f"{ENVOY_DOCS}/intro/arch_overview/upstream/circuit_breaking")
        if in_flight is not None and limit >= in_flight:
            reason = f"the workload has at most {in_flight} requests in flight, so the limit of {limit} is never reached"
            yield MeshWarning(owner, field, reason, "meshmodel: the workload")


def _most_in_flight(workload: Workload, route: Route) -> int | None:
    """The most attempts in flight at once: a closed loop has one request a connection, hedging one attempt more a retry."""
    if not isinstance(workload, ClosedLoop):
        return None
    return workload.threads * (1 + route.retries.attempts if route.retries.hedge_on_per_try_timeout else 1)


def _hashing(owner: str, route: Route, cluster: Cluster, workload: Workload) -> Iterator[MeshWarning]:
    field, random = "spec.trafficPolicy.loadBalancer.consistentHash", "each request goes to a random pod"
    if cluster.hashes and not route.hash_policy:
        reason = f"its key is not said, or not for the port that the route names: nothing is hashed, {random}"
        yield MeshWarning(owner, field, reason, ISTIO_CLUSTER)
    elif cluster.hashes and not workload.users and not any(_carried(policy, workload.request) for policy in route.hash_policy):
        names = " or ".join(policy.name for policy in route.hash_policy)
        yield MeshWarning(owner, field, f"no request has {names}, so {random}: give the load users, or the header", "meshmodel: the load")


def _carried(policy: HashPolicy, request: Request) -> bool:
    """Whether a request has what is hashed; Envoy makes up a cookie with a ttl, and every request has an address."""
    headers = {name.lower(): value for name, value in request.headers}
    if policy.kind == "header":
        return policy.name.lower() in headers
    within = headers.get("cookie", "") if policy.kind == "cookie" else request.path
    return policy.kind == "source_ip" or policy.ttl is not None or f"{policy.name}=" in within


def _timeouts(owner: Owner, route: Route, scenario: Scenario) -> Iterator[MeshWarning]:
    retries, field = route.retries, f"{owner.path}."
    per_try, tries = retries.per_try_timeout, 1 + retries.attempts
    if route.timeout is not None and per_try is not None and tries > 1 and per_try * tries > route.timeout:
        reason = f"{tries} tries of {per_try:g} s do not fit into the timeout of {route.timeout:g} s: the last ones are cut off"
        yield MeshWarning(owner.resource, field + "retries.perTryTimeout", reason, ROUTER)
    slowest = _slowest(route) if route is scenario.routes[-1] and not scenario.changes else None
    if slowest is None:
        return
    if per_try is not None and tries > 1 and per_try > slowest:
        reason = f"no answer takes {per_try:g} s, so it never ends a try"
        yield MeshWarning(owner.resource, field + "retries.perTryTimeout", reason, "meshmodel: the pods")
    if route.timeout is not None and route.timeout > _longest_request(route, slowest):
        reason = f"no request takes {route.timeout:g} s, so it is never reached"
        yield MeshWarning(owner.resource, field + "timeout", reason, "meshmodel: the pods")


def _slowest(route: Route) -> float | None:
    """The longest that a pod works on a request, seconds; None without a bound (a queue, a hanging pod, no pod)."""
    pods = [endpoint.behaviour for endpoint in route.endpoints]
    limited = any(d.cluster.connection_pool.max_connections < UNLIMITED for d in route.destinations)
    if not pods or limited or any(pod.concurrency is not None or pod.failure == "hang" for pod in pods):
        return None
    return max(map(_longest, pods))


def _longest(pod: Behaviour) -> float:
    return max(*pod.timings, pod.undelayed) * (1 + pod.timing_variance / 100) + (pod.error_delay if pod.error_rate else 0.0)


def _longest_request(route: Route, slowest: float) -> float:
    """An upper bound of what a request spends in the route: all its tries with the longest back-off where pods can fail."""
    fails = any(pod.behaviour.error_rate or pod.behaviour.failure != "none" for pod in route.endpoints)
    retries = route.retries.attempts if fails else 0
    return route.fault.delay + (1 + retries) * slowest + retries * route.retries.max_interval


def _default_retry(owner: Owner, route: Route) -> Iterator[MeshWarning]:
    default = {"unavailable", "cancelled", "refused-stream"} <= route.retries.retry_on
    returns_503 = any(pod.behaviour.error_rate and pod.behaviour.error_code == 503 for pod in route.endpoints)
    if default and 503 not in route.retries.retriable_status_codes and returns_503:
        reason = "from Istio 1.24 on the default retryOn no longer covers an answer 503, so these are not retried"
        yield MeshWarning(owner.resource, f"{owner.path}.retries.retryOn", reason, ISTIO_RETRY)


def _inert(owner: Owner, route: Route) -> Iterator[MeshWarning]:
    """Timeouts and retries that do less than they seem to."""
    retries, field = route.retries, f"{owner.path}."
    if owner.resource.startswith("Service "):  # Istio's own default, which nobody wrote
        return
    written = retries.attempts > 0 and not _is_default(retries)
    if (route.fault.abort_percent or route.fault.delay_percent) and (written or route.timeout):
        reason = "an injected fault is answered before timeouts and retries: neither touches it, it tests the caller alone"
        source = "istio/api networking/v1alpha3/virtual_service.proto (HTTPFaultInjection)"
        yield MeshWarning(owner.resource, field + "fault", reason, source)
    if written and len([each for each in route.destinations if each.weight]) > 1:
        reason = "a request's destination is drawn once, by weight: its retries stay there, they do not go to the other destinations"
        source = "istio/istio 18736; envoy router filter: the route is chosen once a request"
        yield MeshWarning(owner.resource, field + "retries", reason, source)
    yield from _tries(owner, route)


def _is_default(retries: RetryPolicy) -> bool:
    """Whether it is what Istio writes where nothing is said."""
    return retries.attempts == 2 and retries.per_try_timeout is None and {"unavailable", "cancelled", "refused-stream"} <= retries.retry_on


def _tries(owner: Owner, route: Route) -> Iterator[MeshWarning]:
    retries, field = route.retries, f"{owner.path}."
    per_try = retries.per_try_timeout
    if not retries.attempts:
        return
    covered = bool(retries.retry_on & {"5xx", "gateway-error"})
    if route.timeout is not None and covered and (per_try is None or per_try >= route.timeout):
        shorter = "" if per_try is None else f", which is no longer than a try's own {per_try:g} s"
        ended = f"a try that is too slow is ended by the timeout of {route.timeout:g} s{shorter}"
        reason = f"{ended}: the request ends with it and is not tried again"
        yield MeshWarning(owner.resource, field + "timeout", reason, ROUTER)
    if per_try is not None and not covered and not retries.hedge_on_per_try_timeout:
        said = "Istio's default retryOn" if {"unavailable", "cancelled"} <= retries.retry_on else "this retryOn"
        reason = f"a try that is ended by it is not tried again: {said} covers no per-try timeout, 5xx or gateway-error would"
        yield MeshWarning(owner.resource, field + "retries.perTryTimeout", reason, f"{ROUTER} (x-envoy-retry-on)")


def _patience(owner: Owner, scenario: Scenario) -> Iterator[MeshWarning]:
    """A client that gives up while the first proxy still waits."""
    route, patience = scenario.routes[0], scenario.workload.timeout
    retries = route.retries
    tries = None if retries.per_try_timeout is None else (1 + retries.attempts) * retries.per_try_timeout
    longest = route.timeout if tries is None or (route.timeout is not None and route.timeout < tries) else tries
    if patience is not None and longest is not None and longest > patience:
        reason = f"the client gives up after {patience:g} s (code -1, -timeout), before the mesh does after {longest:g} s"
        where = "timeout" if longest == route.timeout else "retries.perTryTimeout"
        yield MeshWarning(owner.resource, f"{owner.path}.{where}", reason, "fortio fhttp/http_client.go (-timeout); meshmodel: the load")


def _all_hops(routes: tuple[Route, ...], route_owner: Mapping[str, Owner]) -> Iterator[MeshWarning]:
    """Retries multiply over all hops in a row that try a failed call again: a failure of the last comes back as a 500 of each."""
    callers = callers_of(routes)
    for last in range(len(routes) - 1, 0, -1):
        row = [last]
        while callers[row[0]] >= 0 and routes[callers[row[0]]].retries.attempts and _repeats_500(routes[callers[row[0]]]):
            row.insert(0, callers[row[0]])
        if len(row) > 1 and routes[last].retries.attempts:
            each = [1 + routes[hop].retries.attempts for hop in row]
            shown = " x ".join(map(str, each))
            hops = {2: "two", 3: "three"}.get(len(each), str(len(each)))
            reason = f"retries multiply over {hops} hops: one request may become {prod(each)} at {routes[last].host} ({shown})"
            source = "meshmodel: (1 + attempts) of all hops; simple-web turns any failure into 500"
            owner = route_owner[routes[row[0]].host]
            yield MeshWarning(owner.resource, f"{owner.path}.retries.attempts", reason, source)
            return


def _repeats_500(route: Route) -> bool:
    codes = route.retries.retriable_status_codes if "retriable-status-codes" in route.retries.retry_on else frozenset()
    return "5xx" in route.retries.retry_on or 500 in codes
