"""What `kubectl get deploy,sts,svc,dr,vs,gw,envoyfilter -A -o yaml` prints of a real cluster, and what people write by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from meshmodel.__main__ import main
from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.workloads import curl
from tests.unit.test_said import pods, service

ONE = curl(1)


def seen(item: dict[str, Any], namespace: str = "shop", **status: Any) -> dict[str, Any]:
    """The resource as the API server gives it back."""
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    metadata = {
        "annotations": {applied: '{"apiVersion":"v1","kind":"x"}\n', "deployment.kubernetes.io/revision": "3"},
        "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 4, "namespace": namespace, "resourceVersion": "12345", "uid": "a-b-c",
        "managedFields": [{"apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {".": {}}}, "manager": "kubectl"}],
        **item["metadata"],
    }  # fmt: skip
    return {**item, "metadata": metadata, "status": status or {"conditions": [{"type": "Available", "status": "True"}]}}


def workload(kind: str, name: str, app: str, **spec: Any) -> dict[str, Any]:
    made = pods(name, app)
    pod = made["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "hostAliases": []}
    pod["containers"][0] |= {
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [{"name": "LOAD_BALANCER", "value": "yes"}, {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}], "resources": {"limits": {"cpu": "500m"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}, "terminationMessagePath": "/dev/termination-log",
    }  # fmt: skip
    return made | {"kind": kind, "spec": made["spec"] | spec}


def istio(kind: str, name: str, spec: dict[str, Any], version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": f"networking.istio.io/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def envoy_filter(name: str, apply_to: str, value: dict[str, Any], context: str = "SIDECAR_OUTBOUND") -> dict[str, Any]:
    patch = {"applyTo": apply_to, "match": {"context": context}, "patch": {"operation": "INSERT_BEFORE", "value": value}}
    return istio("EnvoyFilter", name, {"configPatches": [patch], "priority": -1}, "v1alpha3")


STATS = {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct"}}
RATE = {"name": "envoy.filters.http.local_ratelimit", "typed_config": {"value": {"stat_prefix": "limits"}}}
ROUTE = [{"destination": {"host": "web.shop.svc.cluster.local", "port": {"number": 80}}}]
DNS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}, {"name": "metrics", "port": 9153}]
HTTPS = {
    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
    "hosts": ["*"],
    "tls": {"mode": "SIMPLE", "credentialName": "c"},
}
DUMP = [
    seen(workload("Deployment", "web", "web", replicas=2, strategy={"type": "RollingUpdate"}, progressDeadlineSeconds=600)),
    seen(workload("StatefulSet", "db", "db", serviceName="db", volumeClaimTemplates=[{"metadata": {"name": "d"}}])),
    seen(workload("DaemonSet", "agent", "agent"), desiredNumberScheduled=5),
    seen(pods("coredns", "coredns"), "kube-system"),
    seen(service("web")),
    seen({**service("db"), "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"name": "tcp-db", "port": 5432}]}}),
    seen({**service("kubernetes"), "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 6443}]}}, "default"),
    seen({**service("kube-dns"), "spec": {"selector": {"app": "coredns"}, "ports": DNS}}, "kube-system"),
    seen({**service("old"), "spec": {"type": "ExternalName", "externalName": "old.example.org"}}),
    seen(istio("DestinationRule", "web", {"host": "web", "exportTo": ["."], "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}})),
    seen(istio("VirtualService", "web", {"hosts": ["web.example"], "gateways": ["istio-system/front"], "http": [{"route": ROUTE}]})),
    seen(istio("VirtualService", "db", {"hosts": ["db"], "tcp": [{"route": [{"destination": {"host": "db"}}]}]})),
    seen(istio("VirtualService", "gone", {"hosts": ["gone"], "http": [{"route": [{"destination": {"host": "gone"}}]}]})),
    seen(istio("Gateway", "front", {"selector": {"istio": "ingressgateway"}, "servers": [HTTPS]}), "istio-system"),
    seen(envoy_filter("stats-filter-1.20", "HTTP_FILTER", STATS), "istio-system"),
    seen(envoy_filter("limits", "HTTP_FILTER", RATE, "SIDECAR_INBOUND"), "elsewhere"),
]  # fmt: skip


def dump(*more: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [*DUMP, *more], "metadata": {"resourceVersion": ""}}


def test_a_whole_cluster_loads_as_it_is(tmp_path, capsys) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(dump()))
    mesh = Mesh(overhead=0).apply(path)
    scenario = mesh.scenario(ONE)
    assert [pod.name for pod in scenario.endpoints] == ["web-1", "web-2"] and scenario.routes[0].host == "web.example"
    first = [str(warning) for warning in mesh.warnings if warning.first]
    assert [line.split(":")[0] for line in first] == ["VirtualService gone spec.hosts", "Deployment web"]
    assert main(["routes", str(path), "--target", "web.shop"]) == 0
    assert "web.shop.svc" in capsys.readouterr().out


def test_a_filter_that_changes_answers_is_refused_where_a_load_meets_it() -> None:
    limits = seen(envoy_filter("limits", "HTTP_FILTER", RATE, "SIDECAR_INBOUND"))
    with pytest.raises(
        ManifestError, match="EnvoyFilter limits spec.configPatches: HTTP_FILTER envoy.filters.http.local_ratelimit .*leave it out"
    ):
        Mesh(overhead=0).apply(dump(limits)).scenario(ONE)


def test_pods_of_a_workload_count_once() -> None:
    owner = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u"}]}
    template = pods("web", "web")["spec"]["template"]
    owned = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1-a", **template["metadata"], **owner}, "spec": template["spec"]}
    alone = {**owned, "metadata": {"name": "lone", **template["metadata"]}}
    mesh = Mesh(overhead=0).apply(pods("web", "web", 2), service("web"), owned, alone)
    assert [pod.name for pod in mesh.scenario(ONE, "web").endpoints] == ["lone-1", "web-1", "web-2"]


def test_two_containers_and_a_proxy() -> None:
    made = pods("web", "web")
    spec = made["spec"]["template"]["spec"]
    fake = {"name": "app", "image": "x", "env": [{"name": "TIMING_50_PERCENTILE", "value": "20ms"}], "ports": [{"containerPort": 8080}]}
    spec["containers"] = [{"name": "istio-proxy", "image": "p"}, {"name": "logs", "image": "l"}, fake]
    mesh = Mesh(overhead=0).apply(made, service("web"))
    assert mesh.scenario(ONE, "web").endpoints[0].behaviour.timing_50_percentile == 0.02
    assert [w.reason for w in mesh.warnings if "containers" in w.reason] == ["of 2 containers app is taken to answer the requests"]


@pytest.mark.parametrize(
    ("spec", "target", "part"),
    [
        ({"ports": [{"port": 80}]}, "web", "spec.selector: there is none, so its pods are not known"),
        ({"type": "ExternalName", "externalName": "a.example"}, "web", "a.example is outside of the mesh"),
        ({"selector": {"app": "web"}, "ports": [{"name": "tcp-x", "port": 80}]}, "web", "Istio takes port 80 of Service web for tcp"),
    ],
)
def test_what_a_load_cannot_play_is_refused_only_there(spec: dict[str, Any], target: str, part: str) -> None:
    mesh = Mesh(overhead=0).apply(pods("web", "web"), {**service("web"), "spec": spec}, pods("b", "b"), service("b"))
    assert len(mesh.scenario(ONE, "b").endpoints) == 1
    with pytest.raises(ManifestError, match=part):
        mesh.scenario(ONE, target)


def test_one_http_port_among_others_is_the_one_called() -> None:
    ports = [{"name": "tcp-metrics", "port": 9090}, {"name": "grpc", "port": 81, "targetPort": 8081}]
    mesh = Mesh(overhead=0).apply(pods("web", "web"), {**service("web"), "spec": {"selector": {"app": "web"}, "ports": ports}})
    cluster = mesh.scenario(ONE, "web").routes[0].destinations[0].cluster
    assert cluster.connection_pool.http2 and cluster.endpoints[0].address.endswith(":8081")


def test_who_sees_a_rule() -> None:
    rule = istio("DestinationRule", "web", {"host": "web.b.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}})

    def balancing(export: list[str]) -> str:
        ruled = {**rule, "metadata": {"name": "web", "namespace": "b"}, "spec": {**rule["spec"], "exportTo": export}}
        mesh = Mesh(overhead=0, namespace="b").apply(pods("web", "web"), service("web"), ruled)
        front = [{**each, "metadata": {**each["metadata"], "namespace": "a"}} for each in (pods("front", "front"), service("front"))]
        mesh.apply(front).calls("front", "web")
        return mesh.scenario(ONE, "front").routes[1].destinations[0].cluster.load_balancing

    assert [balancing(each) for each in (["*"], ["."], ["a"], ["b", "c"], ["~"])] == [
        "RANDOM", "LEAST_REQUEST", "RANDOM", "LEAST_REQUEST", "LEAST_REQUEST"]  # fmt: skip


def test_every_problem_of_every_file_is_listed_at_once(tmp_path, capsys) -> None:
    bad = istio("VirtualService", "vs", {"hosts": ["web"], "http": [
        {"timeuot": "1s", "route": ROUTE}, {"timeout": "1", "retries": {"attempts": -1}, "route": ROUTE}]})  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([bad, istio("DestinationRule", "dr", {"host": "web", "trafficPolicy": {
        "outlierDetection": {"maxEjectionPercent": 150}, "loadBalancer": {"simple": "RANDM"}}})]))  # fmt: skip
    (tmp_path / "b.yaml").write_text("kind: [")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(pods("web", "web") | {"kind": "Deploiment"}))
    parts = ["timeuot: unknown field", "timeout: must be a duration", "attempts: must be 0 or more", "maxEjectionPercent: must be from",
             "did you mean RANDOM?", "b.yaml line 2: not YAML", "c.yaml document 1 line 2"]  # fmt: skip
    assert main(["routes", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(parts) and all(any(part in line for line in lines) for part in parts), lines
    with pytest.raises(ManifestError) as caught:
        Mesh().apply(tmp_path)
    assert len(caught.value.problems) == len(parts) and "\n" not in str(caught.value) and "6 more problems" in str(caught.value)


def test_a_list_may_be_larger_than_a_manifest(tmp_path) -> None:
    specs = ({"hosts": [f"h-{i}.example"], "gateways": ["g"], "http": [{"route": ROUTE}]} for i in range(2200))
    many = [seen(istio("VirtualService", f"vs-{i}", spec)) for i, spec in enumerate(specs)]
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(dump(*many)))
    assert path.stat().st_size > 1_000_000
    assert len(Mesh(overhead=0).apply(path).scenario(ONE, "web.shop").endpoints) == 2


def test_a_rollout_is_a_workload() -> None:
    """Argo's Rollout has a template as a Deployment has; one that refers to a Deployment leaves the pods to that."""
    own = workload("Rollout", "shop", "shop", replicas=4, strategy={"canary": {"steps": [{"setWeight": 20}]}}, analysis={})
    own["apiVersion"] = "argoproj.io/v1alpha1"
    made = Mesh(overhead=0).apply(own, service("shop")).scenario(ONE, "shop")
    assert len(made.endpoints) == 4
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    refers = own | {"metadata": {"name": "canary"}, "spec": {"workloadRef": reference, "strategy": {}}}
    kept = Mesh(overhead=0).apply(workload("Deployment", "shop", "shop"), refers, service("shop")).scenario(ONE, "shop")
    assert [pod.deployment for pod in kept.endpoints] == ["shop"]
    others = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "a"}, "spec": {"metrics": []}}
    assert len(Mesh(overhead=0).apply(own, others, service("shop")).scenario(ONE, "shop").endpoints) == 4
    with pytest.raises(ManifestError, match="analysis"):
        Mesh().apply(workload("Deployment", "shop", "shop", analysis={}))
