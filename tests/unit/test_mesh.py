"""`Mesh`: kubectl's verbs, the chain of routes, changes in the middle of a load, istioctl's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop, Constant, OpenLoop, Scenario

MANIFESTS = Path(__file__).parents[2] / "data" / "tutorial" / "manifests"
ONE_CALL = ClosedLoop(calls=1)
CLUSTER = "outbound|80||simple-backend.istioinaction.svc.cluster.local"


def testbed(*files: str, **options) -> Mesh:
    return Mesh(**{"overhead": 0, "namespace": "istioinaction", **options}).apply(*(MANIFESTS / file for file in ("testbed.yaml", *files)))


testbed.__test__ = False  # a helper, though its name begins like a test's


def documents(kind: str | None = None) -> list[dict]:
    return [d for d in yaml.safe_load_all((MANIFESTS / "testbed.yaml").read_text()) if kind in (None, d["kind"])]


def scaled(name: str, replicas: int) -> dict:
    found = next(d for d in documents("Deployment") if d["metadata"]["name"] == name)
    return {**found, "spec": {**found["spec"], "replicas": replicas}}


def balancing(mesh: Mesh) -> str:
    return mesh.scenario(ONE_CALL).routes[-1].destinations[0].cluster.load_balancing


# ---- kubectl


def test_the_same_kind_and_name_replaces_and_the_rest_stays():
    mesh = testbed("dr-round-robin.yaml")
    assert balancing(mesh) == "ROUND_ROBIN"
    assert balancing(mesh.apply(MANIFESTS / "dr-random.yaml")) == "RANDOM"
    assert len(mesh.scenario(ONE_CALL).endpoints) == 3
    assert balancing(mesh.delete("DestinationRule", "simple-backend-dr")) == "LEAST_REQUEST"


def test_what_is_deleted_must_be_there():
    with pytest.raises(
        ManifestError, match="DestinationRule simple-backend-drr: there is none .* did you mean DestinationRule simple-backend-dr"
    ):
        testbed("dr-random.yaml").delete("DestinationRule", "simple-backend-drr")


def test_a_resource_without_a_namespace_goes_where_the_mesh_is():
    text = (MANIFESTS / "testbed.yaml").read_text().replace("  namespace: istioinaction\n", "")
    assert testbed().proxy_config_endpoints() == Mesh(overhead=0, namespace="istioinaction").apply(text).proxy_config_endpoints()
    assert "simple-backend.shop.svc" in Mesh(overhead=0, namespace="shop").apply(text).proxy_config_endpoints()


def test_a_rule_in_a_foreign_namespace_does_not_apply():
    rule = yaml.safe_load((MANIFESTS / "dr-random.yaml").read_text())
    rule["metadata"]["namespace"] = "elsewhere"
    assert balancing(testbed().apply(rule)) == "LEAST_REQUEST"


def test_the_first_of_two_rules_for_a_host_wins():
    rule = yaml.safe_load((MANIFESTS / "dr-random.yaml").read_text())
    rule["metadata"]["name"] = "another"
    assert balancing(testbed("dr-round-robin.yaml").apply(rule)) == "ROUND_ROBIN"


# ---- the chain of routes


def test_the_tutorials_chain():
    scenario = testbed("localities.yaml").scenario(ClosedLoop(connections=10, qps=1000, duration=60))
    first, second = scenario.routes
    assert (first.host, [caller.name for caller in first.callers]) == ("simple-web.istioinaction.io", ["istio-ingressgateway"])
    assert [(c.name, c.locality) for c in second.callers] == [("simple-web-1", "us-west1/us-west1-a")]
    assert [pod.name for pod in scenario.endpoints] == ["simple-backend-1-1", "simple-backend-2-1", "simple-backend-2-2"]
    assert scenario.endpoints[0].message == "Hello from simple-backend-1"
    assert scenario.new_connection_per_request and scenario.workers == 2


def test_each_replica_of_simple_web_is_a_caller():
    routes = testbed().apply(scaled("simple-web", 3)).scenario(ONE_CALL).routes
    assert [caller.name for caller in routes[1].callers] == [pod.name for pod in routes[0].endpoints]
    assert len(routes[1].destinations[0].cluster.priorities) == 3


def test_a_target_is_called_directly():
    mesh = testbed("localities.yaml", "dr-outlier-detection.yaml")
    backend = mesh.scenario(ONE_CALL, target="simple-backend", locality="us-west1.us-west1-b")
    assert len(backend.routes) == 1 and backend.routes[0].callers[0].locality == "us-west1/us-west1-b"
    assert backend.routes[0].destinations[0].cluster.priorities == ((1, 0, 0),)
    assert len(testbed().scenario(ONE_CALL, target="simple-web").routes) == 2
    assert len(testbed().scenario(ONE_CALL, target="simple-web.istioinaction.io").routes) == 2


def test_locality_moves_the_pods_that_call_the_backend():
    mesh = testbed("localities.yaml", "dr-outlier-detection.yaml")
    cluster = mesh.scenario(ONE_CALL, locality="us-west1.us-west1-b").routes[-1].destinations[0].cluster
    assert cluster.priorities == ((1, 0, 0),)
    assert mesh.scenario(ONE_CALL).routes[-1].destinations[0].cluster.priorities == ((0, 1, 1),)


def test_backends_alone_can_be_loaded():
    alone = [d for d in documents() if "backend" in d["metadata"]["name"]]
    scenario = Mesh(overhead=0).apply(alone).scenario(ONE_CALL)
    assert len(scenario.routes) == 1 and len(scenario.endpoints) == 3


def test_two_services_without_a_gateway_need_a_target():
    deployments = [d for d in documents() if d["kind"] in ("Deployment", "Service")]
    for document in deployments:
        for variable in document["spec"].get("template", {}).get("spec", {}).get("containers", [{}])[0].get("env", []):
            if variable["name"] == "UPSTREAM_URIS":
                variable["value"] = ""
    with pytest.raises(ManifestError, match="target.*simple-web, simple-backend"):
        Mesh(overhead=0).apply(deployments).scenario(ONE_CALL)


def test_no_pods_is_no_error():
    mesh = testbed().apply(scaled("simple-backend-1", 0), scaled("simple-backend-2", 0))
    assert mesh.scenario(ONE_CALL).endpoints == ()
    assert testbed().apply(scaled("simple-web", 0)).scenario(ONE_CALL).endpoints == ()


def test_services_that_call_each_other_in_a_circle():
    text = (MANIFESTS / "testbed.yaml").read_text().replace("http://simple-backend:80/", "http://simple-web:80/")
    with pytest.raises(ManifestError, match="circle"):
        Mesh(overhead=0).apply(text).scenario(ONE_CALL)


def test_the_clients_connections():
    fortio, curl = ClosedLoop(connections=2, duration=1.0), ClosedLoop(calls=5)
    direct = {"target": "simple-backend"}
    assert not testbed().scenario(fortio, **direct).new_connection_per_request
    assert testbed().scenario(curl, **direct).new_connection_per_request
    text = (MANIFESTS / "testbed.yaml").read_text()
    keeping = text.replace(
        "        - name: UPSTREAM_URIS", '        - {name: HTTP_CLIENT_KEEP_ALIVES, value: "true"}\n        - name: UPSTREAM_URIS'
    )
    assert not Mesh(overhead=0).apply(keeping).scenario(curl).new_connection_per_request


@pytest.mark.parametrize(("given", "seconds"), [(0.003, 0.003), ("3ms", 0.003), (0, 0.0), (Constant(1.0), 1.0)])
def test_overhead(given, seconds):
    assert testbed(overhead=given).scenario(ONE_CALL).overhead.mean() == seconds


@pytest.mark.parametrize(("given", "seconds"), [("plain", 0.0001), ("mtls", 0.0007), ("2ms", 0.002), (0, 0.0), (0.5, 0.5)])
def test_what_a_new_connection_takes(given, seconds):
    assert testbed(connect_time=given).scenario(ONE_CALL).connect_time == seconds
    assert testbed().scenario(ONE_CALL).connect_time == 0.0001


def test_a_scenario_is_plain_data():
    scenario = testbed("dr-outlier-detection.yaml").scenario(OpenLoop(segments=((1.0, 2.0, 3.0),)))
    assert isinstance(scenario, Scenario) and scenario.to_json()["workload"]["segments"] == [[1.0, 2.0, 3.0]]


# ---- changes in the middle of a load


def test_changes_take_effect_in_order_of_time_and_stay():
    mesh = testbed()
    mesh.at("20s").apply(MANIFESTS / "dr-random.yaml")
    mesh.at(30).delete("DestinationRule", "simple-backend-dr")
    mesh.at("10s").apply(MANIFESTS / "slow-backend-1.yaml")
    changes = mesh.scenario(ONE_CALL).changes
    assert [change.at for change in changes] == [10, 20, 30]
    assert [change.routes[-1].destinations[0].cluster.load_balancing for change in changes] == ["LEAST_REQUEST", "RANDOM", "LEAST_REQUEST"]
    assert all(change.routes[-1].endpoints[0].behaviour.timing_50_percentile == 1.0 for change in changes)
    assert balancing(mesh) == "LEAST_REQUEST" and mesh.scenario(ONE_CALL).endpoints[0].behaviour.timing_50_percentile == 0.15


def test_a_pod_keeps_its_name_and_address_when_others_come():
    mesh = testbed()
    mesh.at("5s").apply(scaled("simple-backend-1", 2))
    scenario = mesh.scenario(ONE_CALL)
    before, after = ({pod.name: pod.address for pod in routes[-1].endpoints} for routes in (scenario.routes, scenario.changes[0].routes))
    assert before.items() <= after.items() and len(set(after.values())) == 4


def test_a_change_of_the_chain_is_refused():
    mesh = testbed()
    mesh.at("5s").apply(scaled("simple-web", 2))
    with pytest.raises(ManifestError, match="at 5s: .* not modelled"):
        mesh.scenario(ONE_CALL)


# ---- istioctl


def test_endpoints_are_printed_as_istioctl_does():
    """The tutorial's own table, its addresses replaced by the model's."""
    assert testbed().proxy_config_endpoints().splitlines() == [
        "ENDPOINT            STATUS      OUTLIER CHECK     CLUSTER",
        f"10.10.0.19:8080     HEALTHY     OK                {CLUSTER}",
        f"10.10.0.20:8080     HEALTHY     OK                {CLUSTER}",
        f"10.10.0.21:8080     HEALTHY     OK                {CLUSTER}",
    ]


def test_endpoints_at_a_moment_of_the_last_load():
    mesh = testbed("localities.yaml", "dr-outlier-detection.yaml", "failing-backend-1-500.yaml")
    mesh.fortio_load(connections=2, qps=20, duration="5s", replications=3)
    failed = [line.split()[0] for line in mesh.proxy_config_endpoints(at="4s", replication=2).splitlines() if "FAILED" in line]
    assert failed == ["10.10.0.19:8080"]
    assert "FAILED" not in mesh.proxy_config_endpoints(at=0)
    with pytest.raises(ManifestError, match="replication: must be from 0 to 2"):
        mesh.proxy_config_endpoints(at="4s", replication=3)


def test_routes_show_what_holds_after_defaults():
    header, gateway, sidecar = testbed("vs-retry-gateway-error.yaml").proxy_config_routes().splitlines()
    assert header.split() == "PROXY HOST TIMEOUT ATTEMPTS RETRYON CODES PER TRY MAX RETRIES".split()
    default = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert gateway.split() == ["istio-ingressgateway", "simple-web.istioinaction.io", "none", "2", default, "503", "none", "-"]
    assert sidecar.split()[2:7] == ["none", "2", "gateway-error,connect-failure,retriable-4xx", "-", "0.3s"]
    assert "503" not in testbed(istio="1.24").proxy_config_routes()
