"""Every constant that acts in a scenario, in Istio's and Envoy's words: it belongs on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meshmodel.scenario import (
    UNLIMITED,
    Behaviour,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Endpoint,
    OutlierDetection,
    Request,
    RetryPolicy,
    Route,
    Scenario,
    Workload,
    callers_of,
)


class Constant(NamedTuple):
    """`place` is who or what it acts on, `name` what a manifest or flag calls it, `value` its value with its unit.

    `part` is the block of a manifest that it stands in (its own name where it stands alone).
    """

    place: str
    name: str
    value: str
    part: str = ""


def acting(scenario: Scenario) -> list[Constant]:
    """The constants of the scenario; those of its changes begin with the time from which they hold."""
    found = [*_load(scenario.workload), *_of_routes(scenario.routes), *_around(scenario)]
    known = set(found)
    for change in scenario.changes:
        for constant in _of_routes(change.routes):
            if constant not in known:
                found.append(constant._replace(name=f"from {seconds(change.at)}: {constant.name}".removesuffix(": ")))
    return found


def differences(one: list[Constant], other: list[Constant]) -> tuple[list[Constant], list[Constant], list[Constant]]:
    """(what both have, what only the first has, what only the other has), in order."""
    return [c for c in one if c in other], [c for c in one if c not in other], [c for c in other if c not in one]


def seconds(value: float) -> str:
    """0.025 -> "25 ms", 1.5 -> "1.5 s": short, and never rounded to nothing."""
    return f"{1000 * value:.4g} ms" if 0 < value < 1 else f"{value:.6g} s"


def _load(load: Workload) -> Iterator[Constant]:
    facts: list[tuple[str, str]] = []
    if isinstance(load, ClosedLoop):
        facts.append(("connections", str(load.threads)))
        if load.qps:
            facts.append(("qps", f"{load.qps:g} asked for"))
        if load.calls is not None:
            facts.append(("calls", str(load.calls)))
    else:
        rates = ", then ".join(f"{first:g}" + (f"–{last:g}" if last != first else "") for _, first, last in load.segments)
        facts.append(("rate", f"{rates} requests a second, {load.arrivals}"))
    if load.duration is not None:
        facts.append(("duration", seconds(load.duration)))
    if load.timeout is not None:
        facts.append(("timeout", seconds(load.timeout)))
    if load.users:
        facts.append(("users", str(load.users)))
    if load.request != Request():
        facts.append(("request", " ".join((load.request.method, load.request.path, *(f"{k}: {v}" for k, v in load.request.headers)))))
    yield from (Constant("load", name, value) for name, value in facts)


def _of_routes(routes: tuple[Route, ...]) -> Iterator[Constant]:
    for route in routes:
        callers = route.callers[0].name if len(route.callers) == 1 else f"{len(route.callers)} callers"
        yield from _route(route, f"{callers} → {route.host.partition('.')[0]}")
    for who, calls in several_calls(routes):
        yield Constant(who, "calls, in order", ", ".join(called for _, called in calls))
    calling = callers_of(routes)
    ends = {name: pod for hop, route in enumerate(routes) if hop not in calling for name, pod in _by_kind(route)}
    for name, pod in ends.items():
        yield from _pod(name, pod)


def several_calls(routes: Sequence[Route]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Each Service whose pods make more than one call for a request, and these in order: the route's number, and what is called."""
    callers, names = callers_of(routes), [route.host.partition(".")[0] for route in routes]
    calls = {hop: [(other, names[other]) for other, caller in enumerate(callers) if caller == hop] for hop in range(len(routes))}
    return [(names[hop], mine) for hop, mine in calls.items() if len(mine) > 1]


def _route(route: Route, place: str) -> Iterator[Constant]:
    if route.direct_response:
        yield Constant(place, "directResponse", str(route.direct_response.status))
    if route.fault.delay_percent:
        yield Constant(place, "fault.delay", f"{seconds(route.fault.delay)} for {route.fault.delay_percent:g} %", "fault")
    if route.fault.abort_percent:
        yield Constant(place, "fault.abort", f"{route.fault.abort_code} for {route.fault.abort_percent:g} %", "fault")
    if route.timeout is not None:
        yield Constant(place, "timeout", seconds(route.timeout))
    for name, value in _retries(route.retries):
        yield Constant(place, name, value, "retries")
    for mirror in route.mirrors:
        yield Constant(place, "mirror", f"{mirror.percent:g} % to {mirror.cluster.name}")
    for policy in route.hash_policy:
        kept = f", kept {seconds(policy.ttl)}" if policy.ttl is not None else ""
        yield Constant(place, "hash of", f"{policy.kind.replace('_', ' ')} {policy.name}".rstrip() + kept)
    for destination in route.destinations:
        mine = place
        if len(route.destinations) > 1:
            mine = f"{place}, {destination.cluster.name}"
            yield Constant(mine, "weight", str(destination.weight))
        yield from _cluster(destination.cluster, mine)


def _retries(policy: RetryPolicy) -> Iterator[tuple[str, str]]:
    if not policy.attempts:
        return
    codes = ", ".join(str(code) for code in sorted(policy.retriable_status_codes))
    words = ", ".join(sorted(policy.retry_on - {"retriable-status-codes"}))
    yield "retries", f"{policy.attempts} ({', '.join(filter(None, (words, codes)))})"
    if policy.per_try_timeout is not None:
        yield "perTryTimeout", seconds(policy.per_try_timeout)
    first, longest = seconds(policy.backoff_base_interval), seconds(policy.max_interval)
    yield "back-off", f"uniform from 0 to {first}, doubling to {longest} at most"
    if policy.previous_hosts:
        yield "tried pods", f"drawn again up to {policy.host_selection_retry_max_attempts} times"
    if policy.previous_priorities_update_frequency:
        yield "retryRemoteLocalities", f"after every {policy.previous_priorities_update_frequency} tries"
    if policy.hedge_on_per_try_timeout:
        yield "hedging", "a try that takes too long stays alive"


def _cluster(cluster: Cluster, place: str) -> Iterator[Constant]:
    if len(cluster.endpoints) > 1:
        yield Constant(place, "loadBalancer", cluster.load_balancing)
        if cluster.hashes:
            size = cluster.minimum_ring_size if cluster.load_balancing == "RING_HASH" else cluster.maglev_table_size
            yield Constant(place, "minimumRingSize" if cluster.load_balancing == "RING_HASH" else "tableSize", str(size), "loadBalancer")
    if cluster.slow_start:
        slow = cluster.slow_start
        least = f"{slow.min_weight_percent:g} % of its weight at least, aggression {slow.aggression:g}"
        yield Constant(place, "warmup", f"{seconds(slow.window)}, {least}")
    if len({pod.weight for pod in cluster.endpoints}) > 1:
        yield Constant(place, "weights", ", ".join(f"{pod.name} {pod.weight}" for pod in cluster.endpoints))
    if any(any(row) for row in cluster.priorities):
        yield Constant(place, "priorities", " ".join(str(level) for level in cluster.priorities[0]))
    for weights in (cluster.locality_weights or ())[:1]:
        yield Constant(place, "locality weights", ", ".join(f"{where} {weight}" for where, weight in weights.items()))
    if cluster.outlier_detection:
        for name, value in _detection(cluster.outlier_detection):
            yield Constant(place, name, value, "outlierDetection")
        yield Constant(place, "panic below", f"{cluster.panic_threshold:g} % healthy", "outlierDetection")
    for name, value in _pool(cluster.connection_pool):
        yield Constant(place, name, value, "connectionPool")


def _detection(policy: OutlierDetection) -> Iterator[tuple[str, str]]:
    rows = {
        "consecutive5xxErrors": policy.consecutive_5xx,
        "consecutiveGatewayErrors": policy.consecutive_gateway_failure,
        "consecutiveLocalOriginFailures": policy.consecutive_local_origin_failure if policy.split_external_local_origin_errors else 0,
    }
    for name, row in rows.items():
        if row:
            yield name, str(row)
    if policy.error_codes:
        yield "errors", ", ".join(str(code) for code in sorted(policy.error_codes))
    yield "interval", seconds(policy.interval)
    yield "baseEjectionTime", f"{seconds(policy.base_ejection_time)} × ejections, {seconds(policy.max_ejection_time)} at most"
    always = ", one pod always" if policy.one_host_always else ""
    yield "maxEjectionPercent", f"{policy.max_ejection_percent}{always}"
    if policy.update_merge_window:
        yield "update_merge_window", seconds(policy.update_merge_window)


def _pool(pool: ConnectionPool) -> Iterator[tuple[str, str]]:
    limits = {
        "maxConnections": pool.max_connections,
        "http1MaxPendingRequests": pool.max_pending_requests,
        "http2MaxRequests": pool.max_requests,
        "maxRetries": pool.max_retries,
    }
    for name, limit in limits.items():
        if limit < UNLIMITED:
            yield name, str(limit)
    if pool.max_requests_per_connection:
        yield "maxRequestsPerConnection", str(pool.max_requests_per_connection)
    if pool.http2:
        yield "protocol", "HTTP/2, any number of requests on a connection"
    if pool.retry_budget:
        yield "retryBudget", f"{pool.retry_budget.budget_percent:g} % of active, at least {pool.retry_budget.min_retry_concurrency}"


def _by_kind(route: Route) -> Iterator[tuple[str, Endpoint]]:
    """One pod of a Deployment under its name where all are of a kind, else each pod."""
    by_deployment: dict[str, list[Endpoint]] = {}
    for pod in route.endpoints:
        by_deployment.setdefault(pod.deployment, []).append(pod)
    for deployment, pods in by_deployment.items():
        if len(pods) > 1 and len({(pod.behaviour, pod.inbound, pod.inbound_retries) for pod in pods}) == 1:
            yield deployment, pods[0]
        else:
            yield from ((pod.name, pod) for pod in pods)


def _pod(name: str, pod: Endpoint) -> Iterator[Constant]:
    for what, value in _behaviour(pod.behaviour):
        yield Constant(name, what, value)
    for what, value in _pool(pod.inbound or ConnectionPool()):
        yield Constant(f"sidecar of {name}", what, value, "inbound")
    if pod.inbound_retries:
        yield Constant(f"sidecar of {name}", "retries", f"{pod.inbound_retries} (reset-before-request)", "inbound")


def _behaviour(behaviour: Behaviour) -> Iterator[tuple[str, str]]:
    if behaviour.failure != "none":
        yield "fails", {"refused": "refuses connections", "reset": "resets connections", "hang": "never answers"}[behaviour.failure]
        return
    yield "takes", takes(behaviour)
    if behaviour.error_rate:
        who = "each with that chance" if behaviour.coin else f"one request of {int(1 / behaviour.error_rate)}"
        delay = f" after {seconds(behaviour.error_delay)}" if behaviour.error_type == "delay" and behaviour.error_delay else ""
        yield "ERROR_RATE", f"{behaviour.error_rate:g} with {behaviour.error_code}{delay}: {who}"
    if behaviour.concurrency is not None:
        yield "works on", f"{behaviour.concurrency} at once, the others queue"


def takes(behaviour: Behaviour) -> str:
    """What an answer takes: "150 ms", or the three timings, and the half of the answers that the prose's reading does not delay."""
    p50, p90, p99 = behaviour.timings
    told = seconds(p50) if p50 == p90 == p99 else f"{seconds(p50)}, one in ten {seconds(p90)}, one in a hundred {seconds(p99)}"
    spread = f" + up to {behaviour.timing_variance} %" if behaviour.timing_variance else ""
    return told + spread + (f", half of them {seconds(behaviour.undelayed)}" if behaviour.prose else "")


def _around(scenario: Scenario) -> Iterator[Constant]:
    overhead = float(scenario.overhead.mean())
    if overhead:
        yield Constant("every proxy", "overhead", f"{seconds(overhead)} a request outside the last pod")
    yield Constant("every proxy", "workers", str(scenario.workers))
    if scenario.connect_time:
        yield Constant("every proxy", "a new connection takes", seconds(scenario.connect_time))
    if not scenario.new_connection_per_request:
        yield Constant("every proxy", "connections", "kept between requests, each on its worker")
