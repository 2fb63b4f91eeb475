"""The warnings of issue 13, part C: each where it is due and not where it is not; and the three groups."""

from __future__ import annotations

from typing import Any

import pytest

from meshmodel.istio.warnings import ASSUMPTION, CHANGES, GROUPS, NOTED, MeshWarning
from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.workloads import fortio
from tests.unit.test_said import pods, service

LOAD = fortio(2, 10, "5s")


def istio(kind: str, spec: dict[str, Any], name: str = "mine") -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def route(host: str = "web", to: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    route = [{"destination": {"host": each}, "weight": 50} for each in to or (host,)]
    return istio("VirtualService", {"hosts": [host], "http": [{"route": route, **fields}]}, host)


def rule(host: str = "web", name: str = "mine", **policy: Any) -> dict[str, Any]:
    return istio("DestinationRule", {"host": host, "trafficPolicy": policy}, name)


def mesh(*sources: Any, **options: Any) -> Mesh:
    made = Mesh(overhead=0, **options)
    return made.apply(pods("web", "web", 2), service("web"), pods("other", "other"), service("other"), *sources)


def warned(made: Mesh, load: Any = LOAD, target: str = "web") -> list[MeshWarning]:
    made.scenario(load, target)
    return made.warnings


def found(given: list[MeshWarning], field: str, words: str) -> list[MeshWarning]:
    return [warning for warning in given if warning.field.endswith(field) and words in warning.reason]


ABORT = {"abort": {"httpStatus": 503, "percentage": {"value": 10}}}
FIVE = {"attempts": 2, "retryOn": "5xx"}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "retries beside a fault": ("fault", "answered before timeouts and retries", route(fault=ABORT, retries=FIVE), route(fault=ABORT)),
    "a timeout beside a fault": (
        "fault", "neither touches it",
        route(fault=ABORT, timeout="1s", retries={"attempts": 0}), route(fault=ABORT, retries={"attempts": 0})),
    "retries in a weighted route": (
        "retries", "retries stay there", route(to=("web", "other"), retries=FIVE), route(to=("web", "other"))),
    "0 is unlimited": (
        "http2MaxRequests", "the same as not set",
        rule(connectionPool={"http": {"http2MaxRequests": 0}}), rule(connectionPool={"http": {"http2MaxRequests": 1}})),
    "retries under a shorter timeout": (
        "timeout", "is not tried again", route(timeout="1s", retries=FIVE | {"perTryTimeout": "2s"}),
        route(timeout="10s", retries=FIVE | {"perTryTimeout": "2s"})),
    "retries without a per-try timeout": ("timeout", "is not tried again", route(timeout="1s", retries=FIVE), route(timeout="1s")),
    "a per-try timeout that nothing retries": (
        "perTryTimeout", "Istio's default retryOn covers no per-try timeout", route(retries={"attempts": 3, "perTryTimeout": "2s"}),
        route(retries=FIVE | {"perTryTimeout": "2s"})),
    "a per-try timeout under a status code": (
        "perTryTimeout", "this retryOn covers no", route(retries={"attempts": 3, "perTryTimeout": "2s", "retryOn": "503"}),
        route(retries={"attempts": 3, "perTryTimeout": "2s", "retryOn": "gateway-error"})),
    "a client that gives up first": ("timeout", "the client gives up after 3 s", route(timeout="10s"), route(timeout="2s")),
    "a client that gives up before the tries": (
        "perTryTimeout", "before the mesh does after 6 s", route(retries=FIVE | {"perTryTimeout": "2s"}),
        route(retries=FIVE | {"perTryTimeout": "900ms"})),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_warning_is_given_when_due_and_only_then(case: str) -> None:
    field, words, due, not_due = CASES[case]
    (warning,) = found(warned(mesh(due)), field, words)
    assert warning.group == CHANGES and warning.source
    assert not found(warned(mesh(not_due)), field, words)


@pytest.mark.parametrize(("hops", "attempts"), [(2, 9), (3, 27), (4, 81)])
def test_retries_multiply_over_all_hops(hops: int, attempts: int) -> None:
    names = [f"hop-{i}" for i in range(hops)]
    parts = [each for name in names for each in (pods(name, name), service(name), route(name, retries=FIVE))]
    made = Mesh(overhead=0).apply(parts)
    for caller, callee in zip(names, names[1:], strict=False):
        made.calls(caller, callee)
    (warning,) = found(warned(made, target="hop-0"), "attempts", "retries multiply")
    assert f"may become {attempts} at {names[-1]}." in warning.reason
    quiet = made.copy().apply(route(names[-2], retries={"attempts": 2, "retryOn": "gateway-error"}))
    assert not found(warned(quiet, target="hop-0"), "attempts", f"{attempts} at")


# ---- the first on the page


def test_a_rule_that_meets_no_service_stands_first_with_the_nearest_name() -> None:
    for wrong, near in (("wbe", "web"), ("web.prod.svc.cluster.local", "web.default.svc.cluster.local (or --namespace)")):
        first = warned(mesh(rule(wrong, loadBalancer={"simple": "RANDOM"}), route(to=("web", "other"), retries=FIVE)))[0]
        assert first.resource == "DestinationRule mine" and f"did you mean {near}?" in first.reason
    vs = route("wbe", to=("web",))
    assert "there is no Service wbe" in warned(mesh(vs))[0].reason
    for source in (rule("wbe", loadBalancer={"simple": "RANDOM"}), vs):
        with pytest.raises(ManifestError, match="strict: there is no Service wbe"):
            mesh(source, strict=True).scenario(LOAD, "web")


def test_a_pod_of_which_nothing_is_known_stands_first() -> None:
    made = mesh()
    assert "--timing web=P50,P90,P99" in warned(made)[0].reason
    assert not found(warned(made.timing("web", "10ms").timing("other", "1ms")), "", "takes no time here")
    fake = pods("web", "web", image="nicholasjackson/fake-service:v0.24")
    assert not found(warned(mesh(fake)), "", "nothing says what an answer")


def test_a_service_that_nothing_calls_stands_first() -> None:
    made = mesh().timing("web", "10ms")
    assert "nothing calls other, so what they do is not in the figures: --calls web=other" in warned(made)[0].reason
    made.calls("web", "other")
    assert not found(warned(made), "", "nothing calls")
    assert not found(warned(made, target="other"), "", "nothing calls")  # web calls it, which is no secret
    routed = mesh(route(to=("web", "other")))
    assert not found(warned(routed), "", "nothing calls")
    own = mesh(route("other"))  # a VirtualService that leads a Service to its own pods calls nobody
    assert found(warned(own), "", "nothing calls other")


@pytest.mark.parametrize(
    ("variable", "value", "flag"),
    [
        ("OTHER_URL", "http://other.default.svc.cluster.local:8080/v2", "--calls web=other:8080/v2, "),
        ("OTHER_SERVICE_ADDR", "other:80", "--calls web=other:80, "),
        ("OTHER_HOST", "other", "--calls web=other, "),
        ("UPSTREAM", "grpc://other.default:80", "--calls web=other:80, "),
        ("PEERS", "http://nobody:80, http://other/", "--calls web=other, "),
        ("MODE", "other", "--calls web=other (mesh.calls)"),
        ("OTHER_URL", "http://other.elsewhere:80", "--calls web=other (mesh.calls)"),
    ],
)
def test_a_variable_that_names_a_service_says_who_may_call_it(variable: str, value: str, flag: str) -> None:
    caller = pods("web", "web", 2)
    caller["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": variable, "value": value}]
    (told,) = found(warned(mesh(caller)), "", "nothing calls other")
    assert flag in told.reason and ("as variables of the callers name them" in told.reason) is flag.endswith(", ")


def test_a_variable_of_nobody_on_the_way_leaves_the_way_in_open() -> None:
    """The first flag is of who is called already; that of another caller comes after it."""
    behind = pods("other", "other")
    behind["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "STORE_URL", "value": "http://store:8080"}]
    (told,) = found(warned(mesh(behind, pods("store", "store"), service("store"))), "", "nothing calls other, store")
    assert "--calls web=other (mesh.calls); --calls other=store:8080, as variables" in told.reason


def test_a_warning_names_the_route_that_the_request_takes() -> None:
    """Also in a List, as kubectl prints it."""
    second = {"timeout": "1s", "retries": FIVE, "route": [{"destination": {"host": "web"}}]}
    vs = istio("VirtualService", {"hosts": ["web"], "http": [{"match": [{"uri": {"prefix": "/x"}}], **second}, second]})
    for source in (vs, {"apiVersion": "v1", "kind": "List", "items": [rule(loadBalancer={"simple": "RANDOM"}), vs]}):
        (told,) = found(warned(mesh(source)), "timeout", "is not tried again")
        assert told.field == "spec.http[1].timeout"
        (missed,) = found(warned(mesh(source)), "spec.http", "does not reach")
        assert "does not reach http[0] (/x*)" in missed.reason


def test_a_destination_without_pods_stands_first() -> None:
    made = mesh(service("empty"), route(to=("web", "empty")))
    told = warned(made)[0]
    assert "there is no pod behind empty.default.svc.cluster.local, so what is sent there is answered 503" in told.reason
    blue = istio("DestinationRule", {"host": "web", "subsets": [{"name": "blue", "labels": {"colour": "blue"}}]})
    to_blue = istio("VirtualService", {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web", "subset": "blue"}}]}]})
    assert "there is no pod behind subset blue of web.default" in warned(mesh(blue, to_blue))[0].reason
    assert not found(warned(mesh(route(to=("web", "other")))), "", "there is no pod")


# ---- what is left out


NEUTRAL = {"headers": {"request": {"set": {"x-a": "b"}}}, "corsPolicy": {"allowOrigins": [{"exact": "*"}], "maxAge": "24h"}}


def test_what_neither_times_nor_codes_depend_on_is_named_once() -> None:
    given = warned(mesh(route(**NEUTRAL), route("other", **NEUTRAL, rewrite={"uri": "/v2"}), rule(tls={"mode": "SIMPLE", "sni": "a.b"})))
    noted = [warning for warning in given if warning.group == NOTED]
    assert {part.partition(" (")[0] for part in noted[0].field.split("), ")} == {"headers", "corsPolicy", "rewrite", "tls"}
    assert "headers (VirtualService web, 1 more)" in noted[0].field
    assert len(noted) == 1
    assert [warning.group for warning in given] == sorted((w.group for w in given), key=GROUPS.index)
    with pytest.raises(ManifestError, match="strict: .*headers"):
        mesh(route(**NEUTRAL), strict=True)


def test_kinds_without_a_part_are_named_once() -> None:
    def some(kind: str, name: str, version: str = "v1") -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"anything": [1]}}

    extra = [
        some("Secret", "a"), some("Secret", "b"), some("ConfigMap", "a"), some("HorizontalPodAutoscaler", "a", "autoscaling/v2"),
        some("PeerAuthentication", "a", "security.istio.io/v1"), some("Telemetry", "a", "telemetry.istio.io/v1"),
        some("Sidecar", "a", "networking.istio.io/v1"), some("ServiceMonitor", "a", "monitoring.coreos.com/v1"),
        some("AuthorizationPolicy", "a", "security.istio.io/v1"), some("Gateway", "a", "gateway.networking.k8s.io/v1"),
    ]  # fmt: skip
    made = mesh(extra)
    noted = [warning.resource for warning in warned(made) if warning.group == NOTED]
    assumed = [warning.resource for warning in warned(made) if warning.group == ASSUMPTION]
    assert noted == ["Secret (2), ConfigMap, Telemetry, ServiceMonitor, Gateway of the Gateway API"]
    assert assumed == ["HorizontalPodAutoscaler", "PeerAuthentication", "Sidecar", "AuthorizationPolicy"]
    assert repr(made).endswith(": Deployment web, Service web, Deployment other, Service other")
