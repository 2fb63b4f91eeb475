"""`mesh.warnings`: each warning of issue 3 is given where it is due and not where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmodel.istio.warnings import MeshWarning
from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop

MANIFESTS = Path(__file__).parents[2] / "data" / "tutorial" / "manifests"
TEN = ClosedLoop(connections=10, qps=1000, duration=60.0)


def istio(kind: str, spec: dict, name: str = "mine") -> dict:
    return {"apiVersion": "networking.istio.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def rule(name: str = "mine", **policy) -> dict:
    return istio("DestinationRule", {"host": "simple-backend", **({"trafficPolicy": policy} if policy else {})}, name)


def distribute(to: dict[str, int]) -> dict:
    return rule(loadBalancer={"localityLbSetting": {"distribute": [{"from": "*", "to": to}]}})


def service(host: str = "simple-backend", name: str = "mine", gateways: list[str] | None = None, **route) -> dict:
    hosts = ["simple-web.istioinaction.io"] if gateways else [host]
    http = [{"route": [{"destination": {"host": host}}], **route}]
    return istio("VirtualService", {"hosts": hosts, "http": http, **({"gateways": gateways} if gateways else {})}, name)


def warnings(
    *sources: object, version: str = "1.17", workload: ClosedLoop | None = None, injector: str = "fake-service"
) -> list[MeshWarning]:
    mesh = Mesh(istio=version, overhead=0, injector=injector, namespace="istioinaction").apply(
        MANIFESTS / "testbed.yaml", *(MANIFESTS / s if isinstance(s, str) else s for s in sources)
    )
    if workload:
        mesh.scenario(workload)
    return mesh.warnings


def found(given: list[MeshWarning], field: str, words: str) -> list[MeshWarning]:
    return [warning for warning in given if warning.field.endswith(field) and words in warning.reason]


def test_a_warning_names_resource_field_reason_and_source():
    (warning,) = found(warnings("dr-least-conn.yaml"), "loadBalancer.simple", "alias")
    assert warning.resource == "DestinationRule simple-backend-dr" and warning.source.startswith("istio/istio")
    assert str(warning).startswith(
        "DestinationRule simple-backend-dr spec.trafficPolicy.loadBalancer.simple: LEAST_CONN is a deprecated alias"
    )


CASES = {
    "localities without outlier detection": (
        "outlierDetection",
        "does not stay local, and this version gives each locality its part",
        ["localities.yaml", rule()],
        ["localities.yaml", rule(outlierDetection={})],
    ),
    "outlier detection keeps traffic in the zone": (
        "outlierDetection",
        "switches failover by locality on",
        ["localities.yaml", rule(outlierDetection={})],
        ["localities.yaml", rule(outlierDetection={}, loadBalancer={"localityLbSetting": {"enabled": False}})],
    ),
    "distribute leaves a zone out": (
        "localityLbSetting.distribute",
        "sends nothing to the pods of us-west1/us-west1-b",
        ["localities.yaml", distribute({"us-west1/us-west1-a": 100})],
        ["localities.yaml", distribute({"us-west1/us-west1-a": 50, "us-west1/us-west1-b": 50})],
    ),
    "failover without outlier detection": (
        "localityLbSetting",
        "needs outlierDetection",
        [rule(loadBalancer={"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}})],
        [rule(loadBalancer={"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}, outlierDetection={})],
    ),
    "LEAST_CONN": ("simple", "alias", [rule(loadBalancer={"simple": "LEAST_CONN"})], [rule(loadBalancer={"simple": "LEAST_REQUEST"})]),
    "gateway-error includes 503": ("retryOn", "502, 503 and 504", ["vs-retry-gateway-error.yaml"], ["vs-retry-5xx.yaml"]),
    "max ejection percent": (
        "maxEjectionPercent",
        "only one pod",
        [rule(outlierDetection={"maxEjectionPercent": 33})],
        [rule(outlierDetection={"maxEjectionPercent": 34})],
    ),
    "tries beyond the timeout": (
        "perTryTimeout",
        "3 tries of 0.3 s do not fit",
        [service(timeout="0.8s", retries={"attempts": 2, "perTryTimeout": "300ms"})],
        [service(timeout="0.9s", retries={"attempts": 2, "perTryTimeout": "300ms"})],
    ),
    "retries at two hops": (
        "attempts",
        "may become 9",
        [service("simple-web", "simple-web-vs-for-gateway", ["simple-web-gateway"], retries={"attempts": 2, "retryOn": "5xx"})],
        [service("simple-web", "simple-web-vs-for-gateway", ["simple-web-gateway"], retries={"attempts": 2, "retryOn": "gateway-error"})],
    ),
    "one error ejects": (
        "consecutive5xxErrors",
        "one error ejects",
        ["dr-outlier-detection.yaml"],
        [rule(outlierDetection={"consecutive5xxErrors": 2})],
    ),
    "two rules": ("spec.host", "applied first", [rule("first"), rule("second")], [rule("first")]),
    "two virtual services": ("spec.hosts", "applied first", [service(name="first"), service(name="second")], [service()]),
    "limits hold per proxy": (
        "http2MaxRequests",
        "each calling proxy (1 here), and in each pod's own sidecar for all callers together",
        [rule(connectionPool={"http": {"http2MaxRequests": 3}})],
        [rule()],
    ),
    "limit never reached": (
        "http2MaxRequests",
        "never reached",
        [rule(connectionPool={"http": {"http2MaxRequests": 10}})],
        [rule(connectionPool={"http": {"http2MaxRequests": 9}})],
    ),
    "timeout never reached": ("timeout", "never reached", [service(timeout="0.5s")], [service(timeout="0.5s"), "slow-backend-1.yaml"]),
    "per-try timeout never reached": (
        "perTryTimeout",
        "never ends a try",
        ["vs-retry-gateway-error.yaml"],
        ["vs-retry-gateway-error.yaml", "slow-backend-1.yaml"],
    ),
    "ERROR_RATE as implemented": ("value", "fails every request", ["failing-backend-1-503.yaml"], ["failing-backend-1-500.yaml"]),
    "variance is no number": ("value", "TIMING_VARIANCE", [], None),
    "rule for no Service": ("spec.host", "there is no Service", [istio("DestinationRule", {"host": "nobody"})], [rule()]),
    "unreachable route": (
        "spec.http[1]",
        "never reached",
        [istio("VirtualService", {"hosts": ["simple-backend"], "http": [{"route": [{"destination": {"host": "simple-backend"}}]}] * 2})],
        [service()],
    ),
    "fault without a percentage": (
        "fault.delay",
        "no request is affected",
        [service(fault={"delay": {"fixedDelay": "1s"}})],
        [service(fault={"delay": {"fixedDelay": "1s", "percentage": {"value": 1}}})],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_warning_is_given_when_due_and_only_then(case):
    field, words, due, not_due = CASES[case]
    assert found(warnings(*due, workload=TEN), field, words), [str(w) for w in warnings(*due, workload=TEN)]
    if not_due is not None:
        assert not found(warnings(*not_due, workload=TEN), field, words)


def test_from_1_24_on_the_default_does_not_retry_503():
    sources = ("failing-backend-1-503.yaml",)
    assert found(warnings(*sources, version="1.24"), "retryOn", "no longer covers")
    assert not found(warnings(*sources, version="1.23"), "retryOn", "no longer covers")
    assert not found(warnings(*sources, "vs-retry-5xx.yaml", version="1.24"), "retryOn", "no longer covers")


def test_failover_that_was_asked_for_needs_no_warning():
    asked = rule(outlierDetection={}, loadBalancer={"localityLbSetting": {"failover": [{"from": "us-west1", "to": "eu"}]}})
    assert not found(warnings("localities.yaml", asked), "outlierDetection", "switches failover by locality on")


def test_localities_without_weights_are_only_not_local():
    reason = "traffic does not stay local"
    assert found(warnings("localities.yaml", rule(), version="1.24"), "outlierDetection", reason)
    assert not found(warnings("localities.yaml", rule(), version="1.24"), "outlierDetection", "gives each locality its part")
    assert not found(warnings(rule()), "outlierDetection", reason)  # no labels, nothing to say


def test_a_strict_percentage_ejects_nobody():
    policy = rule(outlierDetection={"maxEjectionPercent": 33})
    assert found(warnings(policy, version="1.20"), "maxEjectionPercent", "no pod is ever ejected")


def test_read_nominally_the_error_rate_needs_no_warning():
    assert not found(warnings("failing-backend-1-503.yaml", injector="nominal"), "value", "fails every request")


def test_an_envoy_filter_that_meets_nothing():
    value = {"hedge_policy": {"hedge_on_per_try_timeout": True}}
    patch = {"applyTo": "VIRTUAL_HOST", "match": {"context": "SIDECAR_OUTBOUND"}, "patch": {"operation": "MERGE", "value": value}}
    spec = {"workloadSelector": {"labels": {"app": "simple-web"}}, "configPatches": [patch]}
    envoy_filter = {**istio("EnvoyFilter", spec), "apiVersion": "networking.istio.io/v1alpha3"}
    assert not found(warnings(envoy_filter), "spec.configPatches", "none of its patches")
    spec["workloadSelector"]["labels"]["app"] = "nobody"
    assert found(warnings(envoy_filter), "spec.configPatches", "none of its patches")


def test_a_mesh_that_is_not_whole_still_warns():
    mesh = Mesh(overhead=0).apply(MANIFESTS / "dr-least-conn.yaml")
    assert {warning.field for warning in mesh.warnings} == {"spec.trafficPolicy.loadBalancer.simple", "spec.host"}


def test_no_more_warnings_of_a_kind_than_anybody_reads():
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r%d}\nspec: {host: none%d}\n---\n"
    found = Mesh(overhead=0).apply("".join(rule % (i, i) for i in range(102))).warnings
    assert len(found) == 101 and "more than 100 warnings of this kind" in str(found[-1])
