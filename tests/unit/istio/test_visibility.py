"""Who sees which rule: exportTo, the order of VirtualServices at sidecars and Gateways, delegates, pods without a sidecar."""

from __future__ import annotations

from typing import Any

import pytest

from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import UNLIMITED, Route
from meshmodel.workloads import curl
from tests.unit.istio.manifests import ONE_CALL, cluster, deployment, limit, resource, route, rule, service, virtual_service

HOST = "web.istioinaction.svc.cluster.local"


def exported(manifest: dict, *places: str) -> dict:
    return {**manifest, "spec": {**manifest["spec"], "exportTo": list(places)}}


def called(*sources: Any, caller: str = "shop", istio: str = "1.27") -> Route:
    """The route by which "front" of another namespace calls "web"."""
    front = service("front", namespace=caller), deployment("front", "front", namespace=caller, UPSTREAM_URIS=f"http://{HOST}/")
    mesh = Mesh(istio=istio, overhead=0, namespace="istioinaction").apply(service(), deployment(), *front, *sources)
    return mesh.scenario(ONE_CALL, "front").routes[-1]


# ---- DestinationRules


@pytest.mark.parametrize(
    ("rules", "caller", "winner"),
    [
        # one that its own namespace does not see is no rule of it; the next by host, then by namespace, holds
        ([("shop", HOST, ["elsewhere"]), ("shop", "*.local", ["."])], "shop", 2),
        ([("shop", HOST, ["elsewhere"]), ("istioinaction", HOST, ["*"])], "shop", 2),
        # a private one of the Service's namespace hides nothing, one that is exported to others does
        ([("istioinaction", HOST, ["."]), ("istioinaction", "*.local", ["*"])], "shop", 2),
        ([("istioinaction", HOST, ["elsewhere"]), ("istioinaction", "*.local", ["*"])], "shop", None),
        ([("istioinaction", HOST, ["elsewhere"]), ("istio-system", "*.local", ["*"])], "shop", 2),
        ([("istio-system", HOST, ["."])], "shop", None),
        # the root's own proxies take its private rules before all others
        ([("istioinaction", HOST, ["*"]), ("istio-system", "*.local", ["."])], "istio-system", 2),
        ([("istioinaction", HOST, ["*"]), ("istio-system", HOST, ["*"])], "istio-system", 1),
    ],
)
def test_a_rule_counts_where_it_is_exported_to(rules, caller, winner):
    listed = [
        exported(rule(limit(i), host=host, name=f"r{i}", namespace=place), *export) for i, (place, host, export) in enumerate(rules, 1)
    ]
    assert called(*listed, caller=caller).destinations[0].cluster.connection_pool.max_requests == (winner or UNLIMITED)


def test_rules_of_another_export_keep_their_subsets_for_themselves():
    """From 1.24 on the later one counts alone, without the former's subsets, and that is said."""
    first = exported(rule(limit(1), name="a", subsets=[{"name": "v"}]), "*")
    second, to_subset = rule(limit(2), name="b", subsets=[{"name": "w"}]), virtual_service(to={"host": "web", "subset": "v"})
    assert cluster(first, second, to_subset, istio="1.23").connection_pool.max_requests == 1
    with pytest.raises(ManifestError, match="no DestinationRule for web has a subset v"):
        cluster(first, second, to_subset, istio="1.24")
    mesh = Mesh(istio="1.24", namespace="istioinaction").apply(service(), deployment(), first, second)
    assert [w.resource for w in mesh.warnings if "another exportTo" in w.reason] == ["DestinationRule b"]
    assert cluster(exported(first, "."), exported(second, ".", "b"), to_subset, istio="1.24").connection_pool.max_requests == 1


# ---- VirtualServices


@pytest.mark.parametrize("istio", ["1.17", "1.27"])
@pytest.mark.parametrize(
    ("routes", "winner"),
    [
        ([("istioinaction", HOST, ["*"]), ("shop", HOST, ["*"])], 1),
        ([("istioinaction", HOST, ["*"]), ("shop", HOST, ["."])], 2),
        ([("istioinaction", HOST, ["*"]), ("istioinaction", HOST, ["shop"])], 2),
        ([("istioinaction", HOST, ["shop"]), ("shop", HOST, ["shop"])], 2),
        ([("istioinaction", HOST, ["."]), ("istioinaction", "*.svc.cluster.local", ["*"])], 2),
        ([("istioinaction", HOST, ["elsewhere"]), ("elsewhere", HOST, ["~"])], None),
    ],
)
def test_of_the_routes_that_it_sees_a_sidecar_takes_the_most_private(routes, winner, istio):
    listed = [
        exported(virtual_service(host, {"host": HOST}, f"r{i}", place, timeout=f"{i}s"), *export)
        for i, (place, host, export) in enumerate(routes, 1)
    ]
    assert called(*listed, istio=istio).timeout == winner


def test_a_route_that_some_caller_takes_is_not_said_to_have_no_effect():
    mine = exported(virtual_service(HOST, {"host": HOST}, "mine", "a-team"), ".")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), virtual_service(name="all"), mine)
    assert not [w for w in mesh.warnings if w.field == "spec.hosts"]
    mesh.apply(virtual_service(name="zzz"))
    assert [w.resource for w in mesh.warnings if w.field == "spec.hosts"] == ["VirtualService zzz"]


# ---- Gateways


def gateway(*hosts: str, namespace: str | None = None) -> dict:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": list(hosts)}
    return resource("Gateway", "gate", {"selector": {"istio": "ingressgateway"}, "servers": [server]}, namespace)


def bound(name: str, host: str = "shop.example", namespace: str | None = None, **route: Any) -> dict:
    made = virtual_service(host, {"host": HOST}, name, namespace, **route)
    made["spec"]["gateways"] = ["istioinaction/gate"]
    return made


def answered(*sources: Any, path: str = "/", target: str | None = "shop.example", istio: str = "1.27") -> Route:
    mesh = Mesh(istio=istio, overhead=0, namespace="istioinaction").apply(service(), deployment(), *sources)
    return mesh.scenario(curl(1, request={"path": path}), target).routes[0]


@pytest.mark.parametrize("istio", ["1.17", "1.27"])
def test_at_a_gateway_what_takes_everything_comes_after_the_routes_of_younger_ones(istio):
    """A catch-all of the older VirtualService does not hide the younger one's path; its own later routes it does."""
    older = bound("a", timeout="1s", match=[{"uri": {"prefix": "/old"}}, {"uri": {"prefix": "/"}}])
    older["spec"]["http"].append({"route": older["spec"]["http"][0]["route"], "timeout": "3s", "match": [{"uri": {"prefix": "/new"}}]})
    younger = bound("b", timeout="2s", match=[{"uri": {"prefix": "/new"}}, {"uri": {"prefix": "/old"}}])
    both = gateway("*"), older, younger
    assert {path: answered(*both, path=path, istio=istio).timeout for path in ("/", "/new", "/old")} == {"/": 1, "/new": 2, "/old": 1}
    header = bound("c", timeout="4s", match=[{"uri": {"prefix": "/"}, "headers": {"x": {"exact": "1"}}}])
    assert answered(*both, header, path="/else", istio=istio).timeout == 1


def test_hosts_listed_differently_meet_at_the_virtual_host_that_they_share():
    two = bound("b", timeout="2s", match=[{"uri": {"prefix": "/two"}}])
    two["spec"]["hosts"] = ["other.example", "shop.example"]
    listed = gateway("*"), bound("a", timeout="1s"), two
    assert (answered(*listed).timeout, answered(*listed, path="/two").timeout) == (1, 2)
    # a wildcard is the server's host there, and else gives way to the host itself
    wild = bound("c", "*", timeout="3s", match=[{"uri": {"prefix": "/three"}}])
    assert answered(gateway("shop.example"), listed[1], wild, path="/three").timeout == 3
    assert answered(gateway("*"), listed[1], wild, path="/three").timeout == 1


@pytest.mark.parametrize(
    ("host", "taken"), [("*", True), ("*/*", True), ("./*", False), ("shop/*", True), ("elsewhere/*", False), ("shop/other.example", False)]
)
def test_a_server_is_for_the_namespaces_that_its_hosts_name(host, taken):
    sources = gateway(host), bound("a", namespace="shop", timeout="1s")
    if taken:
        assert answered(*sources).timeout == 1
    else:
        with pytest.raises(ManifestError, match="Gateway gate serves .*, none of these hosts"):
            answered(*sources)


def test_a_servers_dot_is_the_gateways_own_namespace():
    assert answered(gateway("./*"), bound("a", timeout="1s"), bound("b", namespace="shop", timeout="2s")).timeout == 1
    assert answered(gateway("shop/*"), bound("a", timeout="1s"), bound("b", namespace="shop", timeout="2s")).timeout == 2


def test_a_gateway_has_only_what_is_exported_to_its_proxies():
    """They stand where the workload does that the Gateway selects, else in the root's namespace."""
    sources = gateway("*"), exported(bound("a", timeout="1s"), "edge", "istioinaction"), bound("z", timeout="2s")
    assert answered(*sources).timeout == 2
    proxies = deployment("gateway", "gateway", namespace="edge", istio="ingressgateway")
    assert answered(*sources, proxies).timeout == 1
    with pytest.raises(ManifestError, match=r"spec\.exportTo: hides it from the proxies of Gateway gate \(namespace istio-system\)"):
        answered(*sources[:2])


# ---- delegates


def delegated(root: dict, **child: Any) -> tuple[dict, dict]:
    parent = virtual_service(name="root")
    parent["spec"]["http"] = [{"delegate": {"name": "child"}, **root}]
    below = virtual_service(name="child", **child)
    del below["spec"]["hosts"]
    return parent, below


def test_a_delegates_route_takes_its_roots_rewrite_and_retries():
    front = service("front"), deployment("front", "front", UPSTREAM_URIS="http://web/")
    asked = {"path": "/shop/cart"}
    root, child = delegated({"match": [{"uri": {"prefix": "/shop"}}], "rewrite": {"uri": "/v2"}}, to={"host": "front"})
    root["spec"]["hosts"] = ["front"]
    inner = virtual_service(match=[{"uri": {"prefix": "/v2/cart"}}], timeout="7s", name="inner")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *front, root, child, inner)
    assert mesh.scenario(curl(1, request=asked), "front").routes[-1].timeout == 7
    hashing = rule({"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}})
    for ignoring in (True, False):
        both = delegated({"retries": {"attempts": 1, "retryIgnorePreviousHosts": ignoring}})
        assert route(hashing, *both).retries.previous_hosts is ignoring


@pytest.mark.parametrize(
    ("root", "leaf", "kept"),
    [
        ({"uri": {"prefix": "/shop"}}, {"uri": {"exact": "/shop/cart"}}, True),
        ({"uri": {"prefix": "/shop"}}, {"headers": {"x": {"exact": "1"}}}, True),
        ({"uri": {"prefix": "/"}}, {"uri": {"regex": "/shop/.*"}}, False),
        ({"uri": {"regex": "/shop/.*"}}, {"uri": {"prefix": "/shop/cart"}}, False),
        ({"uri": {"exact": "/shop/cart"}}, {"uri": {"prefix": "/shop/cart"}}, False),
        ({"uri": {"prefix": "/shop/c"}}, {"uri": {"prefix": "/shop"}}, False),
        ({"uri": {"prefix": "/shop"}, "ignoreUriCase": True}, {"uri": {"prefix": "/shop"}}, False),
        ({"headers": {"x": {"prefix": "1"}}}, {"headers": {"x": {"exact": "1"}}}, True),
        ({"headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"prefix": "1"}}}, False),
        ({"headers": {"x": {}}}, {"headers": {"x": {"exact": "1"}}}, False),
        ({"port": 80}, {"port": 81}, False),
        ({"sourceNamespace": "istioinaction"}, {}, False),
        ({"sourceLabels": {"app": "web"}}, {"sourceLabels": {"app": "api"}}, False),
    ],
)
def test_a_delegates_match_must_stay_within_its_roots(root, leaf, kept):
    """Where Istio thinks that it may not, the route is left out, even for requests that both would take."""
    sources = delegated({"match": [root]}, match=[leaf], timeout="1s")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *sources)
    asked = {"path": "/shop/cart", "headers": {"x": "1"}}
    found = mesh.scenario(curl(1, request=asked), "web").routes[0]
    assert (found.timeout, found.direct_response is None) == ((1, True) if kept else (None, False))


def test_a_delegates_route_keeps_its_roots_conditions():
    header, path = {"headers": {"x": {"exact": "1"}}}, {"uri": {"prefix": "/shop"}}
    for root, leaf in ((header, path), (path, header), (header | path, {"method": {"exact": "GET"}})):
        sources = delegated({"match": [root]}, match=[leaf], timeout="1s")
        mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *sources)
        asked = ({"path": path, "headers": {"x": x}} for path, x in (("/shop", "1"), ("/else", "1"), ("/shop", "2")))
        assert [mesh.scenario(curl(1, request=each), "web").routes[0].timeout for each in asked] == [1, None, None]


def test_a_sidecars_own_limits_are_refused():
    for spec in ({"inboundConnectionPool": {}}, {"ingress": [{"port": {"number": 80}}, {"connectionPool": {}}]}):
        with pytest.raises(ManifestError, match="onnectionPool: is not modelled: write the limits"):
            Mesh().apply(resource("Sidecar", "default", spec))


def test_a_short_host_is_of_the_namespace_of_the_rule_that_says_it():
    """At a Gateway and through a delegate too; warnings name the rule that the route stands in."""
    other = service(namespace="shop"), deployment("other", namespace="shop", pods=1)
    two = bound("b", namespace="shop", timeout="900s", match=[{"uri": {"prefix": "/two"}}])
    two["spec"]["http"][0] |= {"route": [{"destination": {"host": "web"}}], "mirror": {"host": "web"}}
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *other, gateway("*"), bound("a"), two)
    found = mesh.scenario(curl(1, request={"path": "/two"}), "shop.example").routes[0]
    assert {cluster.name for cluster in found.clusters} == {"outbound|80||web.shop.svc.cluster.local"} and len(found.mirrors) == 1
    assert [w.resource for w in mesh.warnings if w.field.endswith("timeout")] == ["VirtualService b"]
    root, child = delegated({"delegate": {"name": "child", "namespace": "shop"}, "mirror": {"host": "web"}})
    child["metadata"]["namespace"] = "shop"
    found = route(*other, root, child)
    assert [each.cluster.name.split(".")[1] for each in (*found.destinations, *found.mirrors)] == ["shop", "istioinaction"]


def test_a_delegate_must_be_exported_to_its_root():
    root, child = delegated({})
    with pytest.raises(ManifestError, match=r"http\[0\]\.delegate: VirtualService child is not exported to the namespace istioinaction"):
        route(root, exported(child, "elsewhere"))


# ---- pods without a sidecar, and what is taken for granted


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_pods_without_a_sidecar_keep_no_limit_and_call_on_by_no_rule(where):
    bare, caller = deployment(), deployment("front", "front", UPSTREAM_URIS="http://web/")
    for made in (bare, caller):
        made["spec"]["template"]["metadata"][where] |= {"sidecar.istio.io/inject": "false"}
    found = cluster(bare, rule(limit(2)))
    assert found.connection_pool.max_requests == 2
    assert {(pod.inbound, pod.inbound_retries) for pod in found.endpoints} == {(None, 0)}
    with pytest.raises(ManifestError, match="Deployment front .*inject: its pods call on without a sidecar"):
        route(service("front"), caller, target="front")


@pytest.mark.parametrize(
    ("port", "spoken"),
    [
        ({"port": 8080}, "http"),
        ({"port": 8080, "name": "api"}, "http"),
        ({"port": 3306}, "tcp"),
        ({"port": 3306, "name": "http-api"}, "http"),
        ({"port": 27017, "appProtocol": "http"}, "http"),
        ({"port": 8080, "name": "http", "appProtocol": "tcp"}, "tcp"),
        ({"port": 8080, "name": "tcp", "appProtocol": "http2-x"}, "http2"),
        ({"port": 8080, "appProtocol": "kubernetes.io/h2c"}, "http2"),
        ({"port": 8080, "appProtocol": "kubernetes.io/ws"}, "http"),
        ({"port": 8080, "name": "h2c"}, "http"),
        ({"port": 8080, "name": "grpc-web-x"}, "http2"),
        ({"port": 8080, "name": "redis-x"}, "redis"),
    ],
)
def test_what_a_port_speaks(port, spoken):
    """Its appProtocol or name up to a dash; a well-known port of a server that speaks first is TCP unless one says otherwise."""
    made = service()
    made["spec"]["ports"] = [port]
    if spoken in ("tcp", "redis"):
        with pytest.raises(ManifestError, match=f"Istio takes port {port['port']} of Service web for {spoken}"):
            cluster(made)
    else:
        assert cluster(made).connection_pool.http2 == (spoken == "http2")


def test_what_a_service_says_of_nearness():
    """An annotation as the field; a rule's localityLbSetting comes before both; what the version lacks is said."""
    written = service()
    written["metadata"]["annotations"] = {"networking.istio.io/traffic-distribution": "preferclose"}
    zones = deployment(pods=0), deployment("a", pods=1, locality="r.a"), deployment("b", pods=1, locality="r.b")
    found = cluster(written, *zones, locality="r.b")
    assert (found.priorities, found.locality_weights) == (((1, 0),), ({"r/a": 1, "r/b": 1},))
    panic = {"outlierDetection": {"minHealthPercent": 40}}
    assert cluster(service(), rule(panic)).panic_threshold == 40 and cluster(written, rule(panic)).panic_threshold == 0
    off = rule({"loadBalancer": {"localityLbSetting": {"enabled": False}}})
    assert cluster(written, *zones, off, locality="r.b").priorities == ((0, 0),)
    written["spec"] |= {"trafficDistribution": "PreferSameNode", "internalTrafficPolicy": "Local"}
    said = [w.reason for w in Mesh(istio="1.27").apply(written).warnings]
    assert any("which pods share a node" in reason for reason in said) and any("nodes are not modelled" in reason for reason in said)
    assert any("PreferSameNode has no effect" in w.reason for w in Mesh(istio="1.26").apply(written).warnings)


def test_a_mesh_config_is_said_not_to_be_read():
    told = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio"}, "data": {"mesh": "defaultHttpRetryPolicy: {}"}}
    (warning,) = Mesh().apply(told).warnings
    assert warning.group == "assumption" and "its defaults are not read" in warning.reason


def test_what_is_taken_for_granted_of_http_2_is_said():
    pool = rule({"connectionPool": {"http": {"maxConcurrentStreams": 1, "useClientProtocol": True}}})
    said = {w.field.rpartition(".")[2]: w.group for w in Mesh(istio="1.27").apply(pool).warnings}
    assert said["maxConcurrentStreams"] == said["useClientProtocol"] == "assumption"
