"""What a pod's own sidecar keeps: the limits of the rule for its Service, for all its callers together."""

from __future__ import annotations

import pytest

from meshmodel.mesh import Mesh
from meshmodel.scenario import UNLIMITED, ConnectionPool
from tests.unit.istio.manifests import ONE_CALL, cluster, deployment, limit, rule, service, virtual_service


def inbound(*sources: object, **options: object) -> ConnectionPool | None:
    (found,) = {pod.inbound for pod in cluster(*sources, **options).endpoints}
    return found


def test_without_a_limit_there_is_none():
    assert inbound() is None
    upgrade = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    unset = {"connectionPool": {"tcp": {"maxConnections": 0}}}
    for policy in ({"loadBalancer": {"simple": "RANDOM"}}, unset, upgrade, {"retryBudget": {}}):
        assert inbound(rule(policy)) is None


def test_every_limit_of_the_rule_holds_once_more():
    http = {"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4, "maxRequestsPerConnection": 5}
    policy = {"connectionPool": {"tcp": {"maxConnections": 1}, "http": http}}
    found = ConnectionPool(max_connections=1, max_pending_requests=2, max_requests=3, max_retries=4, max_requests_per_connection=5)
    assert inbound(rule(policy)) == found == cluster(rule(policy)).connection_pool


def test_the_upgrade_to_http2_ends_at_the_sidecar():
    upgrade = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "http2MaxRequests": 3}}}
    assert cluster(rule(upgrade)).connection_pool.http2
    assert inbound(rule(upgrade)) == ConnectionPool(max_requests=3)
    spoken = service()
    spoken["spec"]["ports"][0]["name"] = "http2"
    assert inbound(spoken, rule(limit(3))) == ConnectionPool(max_requests=3, http2=True)


def test_the_port_counts_and_no_subset_does():
    policy = limit(5) | {"portLevelSettings": [{"port": {"number": 8080}, **limit(6)}]}
    subsets = [{"name": "v", "labels": {"app": "web"}, "trafficPolicy": limit(7)}]
    both = service("web", 80, 8080), rule(policy, subsets=subsets), virtual_service(to={"host": "web", "subset": "v"})
    for target, outside, inside in (("web:80", 7, 5), ("web:8080", 7, 6)):
        found = cluster(*both, target=target)
        assert found.connection_pool.max_requests == outside
        assert {pod.inbound for pod in found.endpoints} == {ConnectionPool(max_requests=inside)}


@pytest.mark.parametrize("ruled", ["shop", "istioinaction", "istio-system"])
def test_the_pod_takes_the_rule_that_its_own_namespace_sees(ruled):
    """A rule in the caller's namespace is the caller's business; the pod sees that of its own, or of the root."""
    host = "web.istioinaction.svc.cluster.local"
    front = service("front", namespace="shop"), deployment("front", "front", namespace="shop", UPSTREAM_URIS=f"http://{host}/")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *front, rule(limit(4), host=host, namespace=ruled))
    found = mesh.scenario(ONE_CALL, "front").routes[-1].destinations[0].cluster
    assert found.connection_pool.max_requests == 4
    assert {pod.inbound for pod in found.endpoints} == {None if ruled == "shop" else ConnectionPool(max_requests=4)}


def test_of_two_services_for_one_port_of_a_pod_the_older_counts():
    other = service("zzz")
    other["spec"]["selector"], rules = {"app": "web"}, (rule(limit(1)), rule(limit(2), host="zzz", name="zzz"))
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment()).apply(other, *rules)
    for target, outside in (("web", 1), ("zzz", 2)):
        found = mesh.scenario(ONE_CALL, target).routes[0].destinations[0].cluster
        assert found.connection_pool.max_requests == outside
        assert {pod.inbound for pod in found.endpoints} == {ConnectionPool(max_requests=1)}


def test_the_scenario_says_it_in_json():
    pod = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), rule(limit(3))).scenario(ONE_CALL, "web").to_json()
    first = pod["routes"][0]["destinations"][0]["cluster"]["endpoints"][0]
    assert first["inbound"]["max_requests"] == 3 and first["inbound"]["max_connections"] == UNLIMITED and first["inbound_retries"] == 0
