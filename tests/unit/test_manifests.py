"""Manifests: what is read from them, Istio's defaults by version, and Istio's own schemas as an oracle."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import UNLIMITED, ClosedLoop, Cluster, Fault, OutlierDetection, RetryBudget, RetryPolicy, Route

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "data" / "tutorial" / "manifests"
ORACLE = "1.31"
"""Whose schemas tests/oracle holds, or a later one's."""
DEFAULT_RETRY_ON = {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}


def resource(kind: str, spec: object, name: str = "mine") -> dict[str, object]:
    return {"apiVersion": "networking.istio.io/v1alpha3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def rule(policy: object, **more: object) -> dict[str, object]:
    return resource("DestinationRule", {"host": "simple-backend", "trafficPolicy": policy, **more})


def service(route: dict[str, object]) -> dict[str, object]:
    return resource(
        "VirtualService", {"hosts": ["simple-backend"], "http": [{"route": [{"destination": {"host": "simple-backend"}}], **route}]}
    )


def last_route(*sources: object, istio: str = "1.17") -> Route:
    mesh = Mesh(istio=istio, overhead=0, namespace="istioinaction").apply(MANIFESTS / "testbed.yaml", *sources)
    return mesh.scenario(ClosedLoop(calls=1)).routes[-1]


def last_cluster(*sources: object, istio: str = "1.17") -> Cluster:
    return last_route(*sources, istio=istio).destinations[0].cluster


# ---- Istio's defaults


@pytest.mark.parametrize(("istio", "policy"), [("1.13.9", "ROUND_ROBIN"), ("1.14", "LEAST_REQUEST"), ("1.17.8", "LEAST_REQUEST")])
def test_the_default_load_balancer_depends_on_the_version(istio, policy):
    assert last_cluster(istio=istio).load_balancing == policy
    assert last_cluster(rule({"loadBalancer": {"simple": "UNSPECIFIED"}}), istio=istio).load_balancing == policy


@pytest.mark.parametrize(("istio", "codes"), [("1.17", {503}), ("1.23.4", {503}), ("1.24", set()), ("1.27.1", set())])
def test_the_default_retry_covers_503_up_to_1_23(istio, codes):
    for sources in ((), (service({}),), (service({"retries": {"attempts": 2}}),)):
        retries = last_route(*sources, istio=istio).retries
        assert retries == RetryPolicy(attempts=2, retry_on=frozenset(DEFAULT_RETRY_ON), retriable_status_codes=frozenset(codes))


@pytest.mark.parametrize(("istio", "lenient"), [("1.17", True), ("1.19", True), ("1.20", False), ("1.26", False)])
def test_one_host_may_always_be_ejected_before_istio_1_20(istio, lenient):
    assert last_cluster(rule({"outlierDetection": {}}), istio=istio).outlier_detection.one_host_always is lenient


def test_outlier_detection_defaults():
    cluster = last_cluster(rule({"outlierDetection": {}}), istio="1.20")
    assert cluster.outlier_detection == OutlierDetection(consecutive_5xx=5, consecutive_gateway_failure=0, max_ejection_percent=10)
    assert cluster.panic_threshold == 0
    assert last_cluster().panic_threshold == 50  # Envoy's own, until outlier detection is on


def test_outlier_detection_fields():
    fields = {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": 3,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 2,
        "interval": "500ms",
        "baseEjectionTime": "1m30s",
        "maxEjectionPercent": 100,
        "minHealthPercent": 40,
    }
    cluster = last_cluster(rule({"outlierDetection": fields}), istio="1.20")
    expected = OutlierDetection(
        consecutive_5xx=0,
        consecutive_gateway_failure=3,
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=2,
        interval=0.5,
        base_ejection_time=90,
        max_ejection_percent=100,
    )
    assert (cluster.outlier_detection, cluster.panic_threshold) == (expected, 40)


def test_limits_default_to_unlimited_and_0_means_not_set():
    pool = last_cluster(rule({"connectionPool": {"tcp": {"maxConnections": 0}, "http": {"http2MaxRequests": 7}}})).connection_pool
    assert (pool.max_connections, pool.max_requests, pool.max_retries) == (UNLIMITED, 7, UNLIMITED)


# ---- DestinationRule


def test_least_conn_is_least_request():
    assert last_cluster(MANIFESTS / "dr-least-conn.yaml").load_balancing == "LEAST_REQUEST"
    assert last_cluster(MANIFESTS / "dr-random.yaml").load_balancing == "RANDOM"


def test_a_subset_selects_pods_and_its_policy_is_merged_over_the_rules():
    subsets = [
        {"name": "one", "labels": {"version": "v1"}},
        {"name": "two", "labels": {"version": "v2"}, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
    ]
    route = [
        {"destination": {"host": "simple-backend", "subset": "one"}, "weight": 25},
        {"destination": {"host": "simple-backend", "subset": "two"}, "weight": 75},
    ]
    both = rule({"loadBalancer": {"simple": "ROUND_ROBIN"}, "connectionPool": {"http": {"maxRetries": 4}}}, subsets=subsets)
    found = last_route(both, resource("VirtualService", {"hosts": ["simple-backend"], "http": [{"route": route}]}))
    one, two = found.destinations
    assert [destination.weight for destination in found.destinations] == [25, 75]
    assert one.cluster.name == "outbound|80|one|simple-backend.istioinaction.svc.cluster.local"
    assert [pod.deployment for pod in one.cluster.endpoints] == ["simple-backend-1"]
    assert [pod.deployment for pod in two.cluster.endpoints] == ["simple-backend-2"] * 2
    assert (one.cluster.load_balancing, two.cluster.load_balancing) == ("ROUND_ROBIN", "RANDOM")
    assert one.cluster.connection_pool.max_retries == two.cluster.connection_pool.max_retries == 4


def test_port_level_settings_replace_the_policy_of_their_port():
    policy = {"outlierDetection": {}, "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]}
    cluster = last_cluster(rule(policy))
    assert (cluster.load_balancing, cluster.outlier_detection) == ("RANDOM", None)
    policy["portLevelSettings"][0]["port"]["number"] = 8080
    assert last_cluster(rule(policy)).outlier_detection is not None


def test_retry_budget_and_its_envoy_filter_form():
    for budget in ({}, {"minRetryConcurrency": 0}):  # 0 is "not set"
        pool = last_cluster(rule({"retryBudget": budget}), istio="1.27").connection_pool
        assert pool.retry_budget == RetryBudget(budget_percent=20, min_retry_concurrency=3)
    budget = {"budget_percent": {"value": 25}, "min_retry_concurrency": 1}
    value = {"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}}
    match = {"context": "SIDECAR_OUTBOUND", "cluster": {"service": "simple-backend.istioinaction.svc.cluster.local"}}
    patch = {"applyTo": "CLUSTER", "match": match, "patch": {"operation": "MERGE", "value": value}}
    found = last_cluster(resource("EnvoyFilter", {"configPatches": [patch]}))
    assert found.connection_pool.retry_budget == RetryBudget(budget_percent=25, min_retry_concurrency=1)
    match["cluster"]["service"] = "simple-web.istioinaction.svc.cluster.local"
    assert last_cluster(resource("EnvoyFilter", {"configPatches": [patch]})).connection_pool.retry_budget is None


# ---- VirtualService


@pytest.mark.parametrize(("timeout", "seconds"), [("0.5s", 0.5), ("1ms", 0.001), ("1m0.25s", 60.25)])
def test_timeout(timeout, seconds):
    assert last_route(service({"timeout": timeout})).timeout == seconds


def test_retries_of_the_tutorial():
    retries = last_route(MANIFESTS / "vs-retry-gateway-error.yaml").retries
    assert retries.retry_on == {"gateway-error", "connect-failure", "retriable-4xx"}
    assert (retries.attempts, retries.per_try_timeout, retries.retriable_status_codes) == (2, 0.3, frozenset())
    assert retries.previous_priorities_update_frequency == 2 and retries.previous_hosts


def test_status_codes_in_retry_on_become_retriable_status_codes():
    retries = last_route(
        service({"retries": {"attempts": 3, "retryOn": "reset, 500,429", "backoff": "50ms", "retryIgnorePreviousHosts": False}}),
        istio="1.26",
    ).retries
    assert retries.retry_on == {"reset", "retriable-status-codes"} and retries.retriable_status_codes == {500, 429}
    assert (retries.attempts, retries.backoff_base_interval, retries.previous_hosts) == (3, 0.05, False)


def test_retriable_headers_retry_nothing_as_istio_cannot_name_any():
    retries = last_route(service({"retries": {"attempts": 3, "retryOn": "retriable-headers"}})).retries
    assert retries.retry_on == {"retriable-headers"}


@pytest.mark.parametrize("retries", [{"attempts": 0}, {}])
def test_attempts_0_or_absent_disables_retries(retries):
    assert last_route(service({"retries": retries})).retries.attempts == 0


def test_fault():
    fault = {"delay": {"fixedDelay": "2s", "percentage": {"value": 12.5}}, "abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    assert last_route(service({"fault": fault})).fault == Fault(delay=2, delay_percent=12.5, abort_code=503, abort_percent=100)
    assert last_route(service({"fault": {"delay": {"fixedDelay": "2s"}}})).fault.delay_percent == 0


def test_hedging_and_retriable_status_codes_by_envoy_filter():
    vhost = {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"vhost": {"name": "simple-backend.istioinaction.svc.cluster.local:80"}}}
    retry = {"retriable_status_codes": [500, 408], "retry_back_off": {"base_interval": "50ms"}}
    patches = [
        {"applyTo": "HTTP_ROUTE", "match": vhost, "patch": {"operation": "MERGE", "value": {"route": {"retry_policy": retry}}}},
        {
            "applyTo": "VIRTUAL_HOST",
            "match": vhost,
            "patch": {"operation": "MERGE", "value": {"hedge_policy": {"hedge_on_per_try_timeout": True}}},
        },
    ]
    spec = {"workloadSelector": {"labels": {"app": "simple-web"}}, "configPatches": patches}
    retries = last_route(resource("EnvoyFilter", spec)).retries
    assert retries.retriable_status_codes == {503, 500, 408} and retries.hedge_on_per_try_timeout and retries.backoff_base_interval == 0.05
    spec["workloadSelector"]["labels"]["app"] = "other"
    assert last_route(resource("EnvoyFilter", spec)).retries == last_route().retries


# ---- Deployment and Service


def backend(env: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **labels: str) -> dict[str, object]:
    labels = {"app": "simple-backend", "version": "v1", **labels}
    container = {"name": "c", "env": [{"name": name, "value": value} for name, value in (env or {}).items()]}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": "simple-backend"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "simple-backend-1"}, "spec": spec}


def test_behaviour_from_variables_and_annotations():
    mine = backend(
        {"TIMING_50_PERCENTILE": "1s", "ERROR_RATE": "0.2", "ERROR_CODE": "503", "MESSAGE": "hi"}, {"meshmodel/concurrency": "4"}
    )
    pod = last_cluster(mine).endpoints[0]
    assert (pod.behaviour.timing_50_percentile, pod.behaviour.error_rate, pod.behaviour.error_code) == (1, 0.2, 503)
    assert (pod.behaviour.concurrency, pod.behaviour.undelayed, pod.message) == (4, 0.15, "hi")
    assert last_cluster(backend(annotations={"meshmodel/failure": "hang"})).endpoints[0].behaviour.failure == "hang"


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ({"istio-locality": "us.a.x"}, "us/a/x"),
        ({"topology.kubernetes.io/region": "us", "topology.kubernetes.io/zone": "a", "topology.istio.io/subzone": "x"}, "us/a/x"),
        ({"topology.kubernetes.io/region": "us"}, "us"),
        ({}, ""),
    ],
)
def test_locality_from_labels(labels, locality):
    assert last_cluster(backend(**labels)).endpoints[0].locality == locality


def test_a_list_a_json_file_and_a_directory(tmp_path):
    items = list(yaml.safe_load_all((MANIFESTS / "testbed.yaml").read_text()))
    whole = Mesh(overhead=0).apply(MANIFESTS / "testbed.yaml").proxy_config_endpoints()
    (tmp_path / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    for source in (items, {"apiVersion": "v1", "kind": "List", "items": items}, tmp_path / "all.json", tmp_path, yaml.safe_dump_all(items)):
        assert Mesh(overhead=0).apply(source).proxy_config_endpoints() == whole


def test_kinds_that_take_no_part_are_named_once():
    mesh = Mesh(overhead=0).apply(
        [{"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}} for kind in ("Namespace", "ServiceAccount", "ConfigMap")]
    )
    (noted,) = mesh.warnings
    assert (noted.resource, noted.group) == ("Namespace, ServiceAccount, ConfigMap", "noted") and "no resources" in repr(mesh)


# ---- Istio's schemas as an oracle: what they refuse we refuse, what we accept they accept


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    text = (ROOT / "tests" / "oracle" / "istio-crds.yaml").read_text()
    crds = yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schema = next(crd for crd in crds if crd and crd["spec"]["names"]["kind"] == kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return jsonschema.Draft202012Validator(closed(schema["properties"]["spec"]))


def closed(schema: dict) -> dict:
    """The schema with unknown fields refused, as the API server does under strict field validation."""
    schema = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "format"}
    if "properties" in schema:
        schema["properties"] = {name: closed(child) for name, child in schema["properties"].items()}
        schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        schema["items"] = closed(schema["items"])
    return schema


def accepted(kind: str, spec: object) -> bool:
    try:
        Mesh(istio=ORACLE).apply(resource(kind, spec))
    except ManifestError:
        return False
    return True


def fields(needed: dict[str, st.SearchStrategy] | None = None, **optional: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(needed or {}, optional=optional)


durations = st.sampled_from(["1s", "0.5s", "300ms", "1m30s"])
count = st.integers(0, 10)
percent = st.integers(0, 100)
outlier = fields(
    consecutive5xxErrors=count,
    consecutiveGatewayErrors=count,
    interval=durations,
    baseEjectionTime=durations,
    maxEjectionPercent=percent,
    minHealthPercent=percent,
    splitExternalLocalOriginErrors=st.booleans(),
    consecutiveErrors=count,
)
pool = fields(
    tcp=fields(maxConnections=count, connectTimeout=durations),
    http=fields(
        http1MaxPendingRequests=count, http2MaxRequests=count, maxRetries=count, h2UpgradePolicy=st.sampled_from(["UPGRADE", "DEFAULT"])
    ),
)
locality = fields(enabled=st.booleans(), failoverPriority=st.lists(st.sampled_from(["a", "b"]), max_size=2))
balancer = fields(simple=st.sampled_from(["ROUND_ROBIN", "RANDOM", "LEAST_CONN", "UNSPECIFIED"]), localityLbSetting=locality)
policies = fields(
    outlierDetection=outlier,
    connectionPool=pool,
    loadBalancer=balancer,
    tls=fields(mode=st.just("SIMPLE")),
    retryBudget=fields(percent=percent, minRetryConcurrency=count),
)
subsets = fields({"name": st.sampled_from(["a", "b"])}, labels=fields(version=st.just("v1")), trafficPolicy=policies)
destination = fields({"host": st.just("simple-backend")}, subset=st.just("a"), port=st.just({"number": 80}))
retries = fields(
    attempts=count, perTryTimeout=durations, retryOn=st.sampled_from(["5xx", "503,reset"]), retryRemoteLocalities=st.booleans()
)
percentage = fields(value=st.floats(0, 100))
faults = fields(
    delay=fields({"fixedDelay": durations}, percentage=percentage, percent=percent),
    abort=fields({"httpStatus": st.integers(200, 599)}, percentage=percentage),
)
routes = fields(
    {"route": st.lists(fields({"destination": destination, "weight": st.integers(1, 100)}), min_size=1, max_size=2)},
    timeout=durations,
    retries=retries,
    fault=faults,
    name=st.just("first"),
    match=st.just([{"uri": {"prefix": "/"}, "name": "all"}]),
)
port = st.just({"number": 80, "name": "http", "protocol": "HTTP"})
servers = fields({"port": port, "hosts": st.lists(st.just("*"), min_size=1, max_size=2)})
STRATEGIES = {
    "DestinationRule": fields({"host": st.just("simple-backend")}, trafficPolicy=policies, subsets=st.lists(subsets, max_size=2)),
    "VirtualService": fields(
        {"hosts": st.just(["simple-backend"]), "http": st.lists(routes, min_size=1, max_size=2)}, gateways=st.just(["mesh"])
    ),
    "Gateway": fields({"selector": st.just({"istio": "ingressgateway"}), "servers": st.lists(servers, min_size=1, max_size=2)}),
}


@st.composite
def spoiled(draw: st.DrawFn, spec: object) -> object:
    """`spec` with one value somewhere replaced, one field dropped, or one added or misspelt."""
    strange = st.sampled_from([True, -3, 2.5, 10**12, "text", [], {}, ["a"], {"a": 1}])
    if isinstance(spec, dict) and spec and draw(st.booleans() if len(spec) == 1 else st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(spec)))
        return {**spec, name: draw(spoiled(spec[name]))}
    if isinstance(spec, list) and spec and draw(st.integers(0, 4)):
        return [draw(spoiled(spec[0])), *spec[1:]]
    if isinstance(spec, dict) and draw(st.booleans()):
        name = draw(st.sampled_from([*sorted(spec), "unknown"]))
        kept = {other: value for other, value in spec.items() if other != name}
        return kept if draw(st.booleans()) else {**kept, name.capitalize(): draw(strange)}
    return draw(strange)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_we_accept_istios_schema_accepts(data):
    kind = data.draw(st.sampled_from(sorted(STRATEGIES)))
    spec = data.draw(STRATEGIES[kind].flatmap(spoiled))
    if accepted(kind, spec):
        validator(kind).validate(spec)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_unspoiled_resources_pass_both(data):
    kind = data.draw(st.sampled_from(sorted(STRATEGIES)))
    spec = data.draw(STRATEGIES[kind])
    validator(kind).validate(spec)
    try:
        Mesh(istio=ORACLE).apply(resource(kind, spec))
    except ManifestError as problem:  # what Istio's webhook refuses: more than a schema can say
        assert "stands twice" in str(problem) or "Istio refuses" in str(problem)


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_the_oracle_test_meets_both_answers(kind):
    """Of fixed samples some are accepted and some refused, by us and by the schema, so that the test above can fail."""
    good = {
        "DestinationRule": {"host": "a", "trafficPolicy": {"outlierDetection": {"interval": "1s"}}},
        "VirtualService": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
        "Gateway": {"selector": {"a": "b"}, "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]},
    }[kind]
    assert accepted(kind, good) and validator(kind).is_valid(good)
    for bad in ({**good, "unknown": 1}, {name: 7 for name in good}):
        assert not accepted(kind, bad) and not validator(kind).is_valid(bad)


@pytest.mark.parametrize("file", sorted(MANIFESTS.glob("*.yaml")), ids=lambda file: file.name)
def test_the_tutorials_manifests_pass_both(file):
    Mesh().apply(file)
    for document in yaml.safe_load_all(file.read_text()):
        if document and document["kind"] in STRATEGIES:
            validator(document["kind"]).validate(document["spec"])
