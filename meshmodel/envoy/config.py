"""A `Scenario` as Envoy's own configuration: what Istio would have sent to each proxy.

Every caller of every route has one proxy, hence one bootstrap: one listener for what the
pod sends to the route's host, the route, and one cluster for each destination.  Names
and values are those that Istio 1.17 and later write; only the endpoints' addresses are
ports of this machine, and the clusters STATIC where istiod would keep them up to date.

References: envoyproxy.io, API v3 (config.cluster, config.route, config.listener);
istio/istio pilot/pkg/networking/core (cluster, route, loadbalancer).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from meshmodel.scenario import (
    Cluster,
    ConnectionPool,
    DirectResponse,
    Endpoint,
    Fault,
    HashPolicy,
    Mirror,
    OutlierDetection,
    RetryPolicy,
    Route,
    Scenario,
    SlowStart,
)

HOST = "127.0.0.1"
STDOUT = "/dev/stdout"
_TYPE = "type.googleapis.com/envoy."
REQUEST_HEADER = "x-meshmodel-request"
"""The number that the load gives a request, which the pods hand on: by it the logs of all proxies tell whom an attempt serves."""


def _log(fields: dict[str, str], **more: Any) -> dict[str, Any]:
    """An access log: when it ends, a line of JSON with these fields, and by which call of which request it is."""
    told = {"request": f"%REQ({REQUEST_HEADER})%", "call": "%REQ(X-REQUEST-ID)%", "end": "%EMIT_TIME(%s.%6f)%", **fields}
    config = {"@type": _TYPE + "extensions.access_loggers.file.v3.FileAccessLog", "path": STDOUT, "log_format": {"json_format": told}}
    return {"name": "envoy.access_loggers.file", "typed_config": config, **more}


_ATTEMPT_LOG = _log(
    {
        "attempt": "%UPSTREAM_HOST%",
        "start": "%START_TIME(%s.%6f)%",  # of the attempt: its host has been chosen; DS_RX_BEG is the same moment
        "sent": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
    }
)
_CALL_LOG = _log({"details": "%RESPONSE_CODE_DETAILS%"}, filter={"response_flag_filter": {"flags": ["UH", "UT"]}})
"""Of what no attempt's own line says: that there was no host to choose, and that the route's timeout ended it."""
_HTTP2: dict[str, Any] = {"http2_protocol_options": {}}
_HTTP1: dict[str, Any] = {"http_protocol_options": {}}
_ISTIO_OUTLIER_MAX = 300.0  # Envoy's own default, which Istio leaves out


def bootstrap(
    scenario: Scenario,
    route: int = 0,
    caller: int = 0,
    *,
    ports: Mapping[str, int] | None = None,
    listen: int = 0,
    observed: bool = False,
    discovery: Path | None = None,
) -> dict[str, Any]:
    """The configuration of the proxy of `routes[route].callers[caller]`, as Envoy's JSON.

    Parameters
    ----------
    ports : pod name to its port on 127.0.0.1; None: the addresses in the scenario.
    listen : port of the listener (0: Envoy takes a free one).
    observed : write every upstream attempt and every ejection to standard output, a line of JSON each (`observed.py` reads them).
    discovery : the folder with each cluster's `endpoints_file`, where endpoints come and go; None: they are in here for good.
    """
    this, pod = scenario.routes[route], scenario.routes[route].callers[caller]
    clusters = {cluster.name: cluster for cluster in this.clusters}
    last = route == len(scenario.routes) - 1
    router = _typed("extensions.filters.http.router.v3.Router", **({"upstream_log": [_ATTEMPT_LOG]} if observed else {}))
    manager = _manager("outbound", [_virtual_host(this, last)], router, gateway=route == 0)
    if observed:
        manager["access_log"] = [_CALL_LOG]
    return {
        "node": {"id": pod.name, "cluster": pod.name, "locality": _locality(pod.locality)},
        "admin": {"address": _address(HOST, 0)},
        **({"cluster_manager": {"outlier_detection": {"event_log_path": STDOUT}}} if observed else {}),
        "static_resources": {
            "listeners": [_listener("outbound", listen, manager)],
            "clusters": [_cluster(cluster, caller, ports, discovery) for cluster in clusters.values()],
        },
    }


def endpoints_file(folder: Path, cluster: Cluster) -> Path:
    """Where the cluster's endpoints stand, for an Envoy that watches it (a move into its place, as `rig` makes one)."""
    return folder / (re.sub("[^A-Za-z0-9.-]", "_", cluster.name) + ".json")


def discovery_response(cluster: Cluster, caller: int, ports: Mapping[str, int]) -> dict[str, Any]:
    """What that file holds: the endpoints as istiod would send them to this caller."""
    return {"resources": [_typed("config.endpoint.v3.ClusterLoadAssignment", **_assignment(cluster, caller, ports))]}


def inbound_bootstrap(ports: Mapping[str, int]) -> dict[str, Any]:
    """One proxy that stands before every pod and takes HTTP/2 for it, as the pods' sidecars do.

    It decides nothing: a listener, named like the pod, and a cluster without limits for each.
    """
    router = _typed("extensions.filters.http.router.v3.Router")
    listeners = [_listener(name, 0, _manager(name, [_plain_host(name)], router)) for name in ports]
    clusters = [_cluster(Cluster(name=name, endpoints=(Endpoint(name=name, deployment=name, address=""),)), 0, ports) for name in ports]
    return {"admin": {"address": _address(HOST, 0)}, "static_resources": {"listeners": listeners, "clusters": clusters}}


def print_config(scenario: Scenario) -> str:
    """Every proxy's bootstrap as YAML documents, with the pods' addresses from the manifests."""
    documents = []
    for index, route in enumerate(scenario.routes):
        for caller, pod in enumerate(route.callers):
            text = yaml.safe_dump(bootstrap(scenario, index, caller), sort_keys=False, width=120)
            documents.append(f"# the proxy of {pod.name}, for {route.host}: envoy --concurrency {scenario.workers}\n{text}")
    return "---\n".join(documents)


def seconds(value: float) -> str:
    """A duration as Envoy's JSON has it: 0.025s."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": _TYPE + name, **fields}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _locality(locality: str) -> dict[str, str]:
    return {name: part for name, part in zip(("region", "zone", "sub_zone"), locality.split("/"), strict=False) if part}


# --- listener and route ------------------------------------------------------------------


def _listener(name: str, port: int, manager: dict[str, Any]) -> dict[str, Any]:
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _address(HOST, port), "filter_chains": [{"filters": filters}]}


def _manager(name: str, virtual_hosts: list[dict[str, Any]], router: dict[str, Any], gateway: bool = False) -> dict[str, Any]:
    http_filters = [
        {"name": "envoy.filters.http.fault", "typed_config": _typed("extensions.filters.http.fault.v3.HTTPFault")},
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]
    return _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        use_remote_address=gateway,
        stream_idle_timeout="0s",
        route_config={"name": name, "virtual_hosts": virtual_hosts},
        http_filters=http_filters,
    )


def _virtual_host(route: Route, last: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "match": {"prefix": "/"},
        **(_direct_response(route.direct_response) if route.direct_response else _action(route)),
    }
    if route.fault.delay_percent or route.fault.abort_percent:
        entry["typed_per_filter_config"] = {"envoy.filters.http.fault": _fault(route.fault)}
    # Every host that simple-web may write; the attempt count is how `measure` learns of retries.
    return {"name": route.host, "domains": ["*"], "include_attempt_count_in_response": last, "routes": [entry]}


def _action(route: Route) -> dict[str, Any]:
    action: dict[str, Any] = {**_destinations(route), "timeout": seconds(route.timeout or 0)}
    if route.hash_policy:
        action["hash_policy"] = [_hash_policy(policy) for policy in route.hash_policy]
    if route.mirrors:
        action["request_mirror_policies"] = [_mirror(mirror) for mirror in route.mirrors]
    if route.retries.attempts:
        action["retry_policy"] = _retry_policy(route.retries)
        if route.retries.hedge_on_per_try_timeout:
            action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return {"route": action}


def _direct_response(answer: DirectResponse) -> dict[str, Any]:
    """A redirect needs no more than its status here: nobody follows it."""
    body = {"body": {"inline_string": answer.body}} if answer.body else {}
    return {"direct_response": {"status": answer.status, **body}}


def _hash_policy(policy: HashPolicy) -> dict[str, Any]:
    if policy.kind == "source_ip":
        return {"connection_properties": {"source_ip": True}}
    if policy.kind == "header":
        return {"header": {"header_name": policy.name}}
    ttl = {} if policy.ttl is None else {"ttl": seconds(policy.ttl)}
    return {policy.kind: {"name": policy.name, **ttl}}


def _mirror(mirror: Mirror) -> dict[str, Any]:
    return {"cluster": mirror.cluster.name, "runtime_fraction": {"default_value": _percentage(mirror.percent)}}


def _percentage(percent: float) -> dict[str, Any]:
    return {"numerator": round(percent * 10_000), "denominator": "MILLION"}


def _plain_host(cluster: str) -> dict[str, Any]:
    return {"name": cluster, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]}


def _destinations(route: Route) -> dict[str, Any]:
    if len(route.destinations) == 1:
        return {"cluster": route.destinations[0].cluster.name}
    return {"weighted_clusters": {"clusters": [{"name": d.cluster.name, "weight": d.weight} for d in route.destinations]}}


def _retry_policy(retries: RetryPolicy) -> dict[str, Any]:
    policy: dict[str, Any] = {"retry_on": ",".join(sorted(retries.retry_on)), "num_retries": retries.attempts}
    if retries.retriable_status_codes:
        policy["retriable_status_codes"] = sorted(retries.retriable_status_codes)
    if retries.per_try_timeout is not None:
        policy["per_try_timeout"] = seconds(retries.per_try_timeout)
    policy["retry_back_off"] = {"base_interval": seconds(retries.backoff_base_interval), "max_interval": seconds(retries.max_interval)}
    if retries.previous_hosts:
        predicate = _typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
        policy["retry_host_predicate"] = [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": predicate}]
        policy["host_selection_retry_max_attempts"] = retries.host_selection_retry_max_attempts
    if retries.previous_priorities_update_frequency:
        config = _typed(
            "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=retries.previous_priorities_update_frequency,
        )
        policy["retry_priority"] = {"name": "envoy.retry_priorities.previous_priorities", "typed_config": config}
    return policy


def _fault(fault: Fault) -> dict[str, Any]:
    config = _typed("extensions.filters.http.fault.v3.HTTPFault")
    if fault.delay_percent:
        config["delay"] = {"fixed_delay": seconds(fault.delay), "percentage": _percentage(fault.delay_percent)}
    if fault.abort_percent:
        config["abort"] = {"http_status": fault.abort_code, "percentage": _percentage(fault.abort_percent)}
    return config


# --- cluster -----------------------------------------------------------------------------


def _cluster(cluster: Cluster, caller: int, ports: Mapping[str, int] | None, discovery: Path | None = None) -> dict[str, Any]:
    pool = cluster.connection_pool
    config: dict[str, Any] = {
        "name": cluster.name,
        **(_static(cluster, caller, ports) if discovery is None else _discovered(endpoints_file(discovery, cluster))),
        "connect_timeout": "10s",
        "lb_policy": cluster.load_balancing,
        "circuit_breakers": {"thresholds": [_thresholds(pool)]},
        "common_lb_config": _common_lb_config(cluster),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocol(cluster)},
        **_lb_config(cluster),
    }
    if cluster.outlier_detection is not None:
        config["outlier_detection"] = _outlier_detection(cluster.outlier_detection)
    return config


def _static(cluster: Cluster, caller: int, ports: Mapping[str, int] | None) -> dict[str, Any]:
    return {"type": "STATIC", "load_assignment": _assignment(cluster, caller, ports)}


def _discovered(file: Path) -> dict[str, Any]:
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}
    return {"type": "EDS", "eds_cluster_config": {"eds_config": source}}


def _assignment(cluster: Cluster, caller: int, ports: Mapping[str, int] | None) -> dict[str, Any]:
    return {"cluster_name": cluster.name, "endpoints": _localities(cluster, caller, ports)}


def _lb_config(cluster: Cluster) -> dict[str, Any]:
    if cluster.load_balancing == "RING_HASH":
        return {"ring_hash_lb_config": {"minimum_ring_size": cluster.minimum_ring_size}}
    if cluster.load_balancing == "MAGLEV":
        return {"maglev_lb_config": {"table_size": cluster.maglev_table_size}}
    if cluster.slow_start is None or cluster.load_balancing == "RANDOM":
        return {}
    return {f"{cluster.load_balancing.lower()}_lb_config": {"slow_start_config": _slow_start(cluster.slow_start)}}


def _slow_start(slow_start: SlowStart) -> dict[str, Any]:
    return {
        "slow_start_window": seconds(slow_start.window),
        "aggression": {"default_value": slow_start.aggression, "runtime_key": "("},  # Istio's key: none that anybody sets
        "min_weight_percent": {"value": slow_start.min_weight_percent},
    }


def _localities(cluster: Cluster, caller: int, ports: Mapping[str, int] | None) -> list[dict[str, Any]]:
    """The endpoints by locality and priority, as this caller sees them."""
    priorities = cluster.priorities[caller] if cluster.priorities else (0,) * len(cluster.endpoints)
    groups: dict[tuple[int, str], dict[str, Any]] = {}
    for endpoint, priority in zip(cluster.endpoints, priorities, strict=True):
        empty = {"locality": _locality(endpoint.locality), "priority": priority, "lb_endpoints": []}
        group = groups.setdefault((priority, endpoint.locality), empty)
        host, _, port = endpoint.address.partition(":")
        address = _address(HOST, ports[endpoint.name]) if ports is not None else _address(host, int(port or 8080))
        group["lb_endpoints"].append({"endpoint": {"address": address}, **_endpoint(endpoint, cluster.hashes)})
    if cluster.locality_weights is not None:
        weights, pods = cluster.locality_weights[caller], Counter(e.locality for e in cluster.endpoints)
        for (_, locality), group in groups.items():
            if weights.get(locality):  # no weight: no load
                group["load_balancing_weight"] = weights[locality] * len(group["lb_endpoints"]) // pods[locality]
    return [groups[key] for key in sorted(groups)]


def _endpoint(endpoint: Endpoint, hashed: bool) -> dict[str, Any]:
    """The weight, and the address in the mesh, by which it is hashed also where it has a port of this machine."""
    more: dict[str, Any] = {} if endpoint.weight == 1 else {"load_balancing_weight": endpoint.weight}
    return more | ({"metadata": {"filter_metadata": {"envoy.lb": {"hash_key": endpoint.hash_key}}}} if hashed else {})


def _thresholds(pool: ConnectionPool) -> dict[str, Any]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    thresholds: dict[str, Any] = {**{name: getattr(pool, name) for name in names}, "track_remaining": True}
    budget = pool.retry_budget
    if budget is not None:
        percent = {"value": budget.budget_percent}
        thresholds["retry_budget"] = {"budget_percent": percent, "min_retry_concurrency": budget.min_retry_concurrency}
    return thresholds


def _common_lb_config(cluster: Cluster) -> dict[str, Any]:
    config: dict[str, Any] = {"healthy_panic_threshold": {"value": cluster.panic_threshold}}
    if cluster.locality_weights is not None:
        config["locality_weighted_lb_config"] = {}
    outlier = cluster.outlier_detection
    if outlier is not None and outlier.update_merge_window != OutlierDetection.update_merge_window:
        config["update_merge_window"] = seconds(outlier.update_merge_window)
    return config


def _protocol(cluster: Cluster) -> dict[str, Any]:
    pool, outlier = cluster.connection_pool, cluster.outlier_detection
    options = _typed("extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config=_HTTP2 if pool.http2 else _HTTP1)
    if pool.max_requests_per_connection:
        options["common_http_protocol_options"] = {"max_requests_per_connection": pool.max_requests_per_connection}
    if outlier is not None and outlier.error_codes:
        options["outlier_detection"] = {"error_matcher": _any_of(outlier.error_codes)}
    return options


def _any_of(codes: frozenset[int]) -> dict[str, Any]:
    """As Istio's applyOutlierDetectionErrorCodes writes it."""
    rules = [
        {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": str(code)}}]}} for code in sorted(codes)
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _outlier_detection(outlier: OutlierDetection) -> dict[str, Any]:
    """Istio switches success-rate ejection off and the detectors that are not asked for."""
    config: dict[str, Any] = {
        "consecutive_5xx": outlier.consecutive_5xx,
        "enforcing_consecutive_5xx": 100 if outlier.consecutive_5xx else 0,
        "enforcing_success_rate": 0,
        "interval": seconds(outlier.interval),
        "base_ejection_time": seconds(outlier.base_ejection_time),
        "max_ejection_percent": outlier.max_ejection_percent,
    }
    if outlier.consecutive_gateway_failure:
        config |= {"consecutive_gateway_failure": outlier.consecutive_gateway_failure, "enforcing_consecutive_gateway_failure": 100}
    if outlier.split_external_local_origin_errors:
        config |= {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": outlier.consecutive_local_origin_failure,
            "enforcing_consecutive_local_origin_failure": 100 if outlier.consecutive_local_origin_failure else 0,
            "enforcing_local_origin_success_rate": 0,
        }
    if outlier.max_ejection_time != _ISTIO_OUTLIER_MAX:
        config["max_ejection_time"] = seconds(outlier.max_ejection_time)
    if outlier.one_host_always:
        config["always_eject_one_host"] = True
    return config
