"""How a trafficPolicy, its ports, its subsets and their ports come together: Istio's `MergeSubsetTrafficPolicy`, and who wins."""

from __future__ import annotations

import pytest

from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import RetryBudget
from tests.unit.istio.manifests import ONE_CALL, cluster, deployment, limit, resource, route, rule, service, virtual_service

RANDOM = {"loadBalancer": {"simple": "RANDOM"}}
DETECT = {"outlierDetection": {"consecutive5xxErrors": 3}}
BUDGET = {"retryBudget": {"percent": 10}}
TO_SUBSET = virtual_service(to={"host": "web", "subset": "v"})


def at_port(policy: dict, port: int = 80) -> dict:
    return {"portLevelSettings": [{"port": {"number": port}, **policy}]}


def merged(policy: dict | None, subset: dict | None = None, own: bool = True) -> tuple[object, ...]:
    """(load balancer, consecutive 5xx, limit, budget in percent) of the subset "v" (`own`) or of the Service itself."""
    subsets = [{"name": "v", "labels": {"app": "web"}, **({"trafficPolicy": subset} if subset else {})}]
    found = cluster(rule(policy, subsets=subsets), *([TO_SUBSET] if own else []))
    pool, detection = found.connection_pool, found.outlier_detection
    budget = pool.retry_budget.budget_percent if pool.retry_budget else None
    limited = pool.max_requests if pool.max_requests < 2**32 - 1 else None
    return found.load_balancing, detection.consecutive_5xx if detection else None, limited, budget


@pytest.mark.parametrize(
    ("policy", "subset", "expected"),
    [
        (None, None, ("LEAST_REQUEST", None, None, None)),
        (RANDOM, None, ("RANDOM", None, None, None)),
        (RANDOM, DETECT, ("RANDOM", 3, None, None)),
        (RANDOM | limit(5), DETECT | limit(7), ("RANDOM", 3, 7, None)),
        (None, RANDOM, ("RANDOM", None, None, None)),
        # the subset's parts go over those of the rule's port, which replaced the rule's own
        (RANDOM | limit(5) | at_port(limit(6)), DETECT, ("LEAST_REQUEST", 3, 6, None)),
        (RANDOM | limit(5) | at_port(DETECT), limit(7), ("LEAST_REQUEST", 3, 7, None)),
        # a subset's port replaces the rule's, its port's and the subset's own parts
        (RANDOM | limit(5), DETECT | at_port(limit(8)), ("LEAST_REQUEST", None, 8, None)),
        (RANDOM | at_port(DETECT), limit(7) | at_port(limit(8)), ("LEAST_REQUEST", None, 8, None)),
        # settings of a port that is not called
        (RANDOM | limit(5) | at_port(limit(6), 8080), DETECT | at_port(limit(8), 8080), ("RANDOM", 3, 5, None)),
        # the retry budget: no port has one; a rule's port drops the rule's, a subset's port the subset's alone
        (BUDGET, None, ("LEAST_REQUEST", None, None, 10)),
        (BUDGET | at_port(limit(6)), None, ("LEAST_REQUEST", None, 6, None)),
        (BUDGET, RANDOM, ("RANDOM", None, None, 10)),
        (BUDGET, {"retryBudget": {"percent": 30}}, ("LEAST_REQUEST", None, None, 30)),
        (BUDGET | limit(5), {"retryBudget": {"percent": 30}} | at_port(limit(8)), ("LEAST_REQUEST", None, 8, 10)),
        (BUDGET | at_port(limit(6)), RANDOM, ("RANDOM", None, 6, None)),
        (BUDGET | at_port(limit(6)), {"retryBudget": {"percent": 30}}, ("LEAST_REQUEST", None, 6, 30)),
    ],
)
def test_a_subset_over_its_rule(policy, subset, expected):
    assert merged(policy, subset) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RANDOM | limit(5) | at_port(DETECT), ("LEAST_REQUEST", 3, None, None)),
        (BUDGET | limit(5) | at_port(RANDOM), ("RANDOM", None, None, None)),
        (BUDGET | limit(5) | at_port(RANDOM, 8080), ("LEAST_REQUEST", None, 5, 10)),
    ],
)
def test_a_rule_at_its_port(policy, expected):
    assert merged(policy, own=False) == expected


@pytest.mark.parametrize(("budget", "least"), [({}, 3), ({"minRetryConcurrency": 0}, 3), ({"minRetryConcurrency": 7}, 7)])
def test_a_budget_without_a_least_number_has_three(budget, least):
    assert cluster(rule({"retryBudget": budget})).connection_pool.retry_budget == RetryBudget(
        budget_percent=20, min_retry_concurrency=least
    )


# ---- ports


def test_a_destination_without_a_port_takes_the_port_that_was_called():
    both = service("web", 80, 8080), virtual_service(timeout="1s")
    for target, port in (("web:80", 80), ("web:8080", 8080)):
        found = cluster(*both, target=target)
        assert found.name == f"outbound|{port}||web.istioinaction.svc.cluster.local"
        assert {pod.address.rpartition(":")[2] for pod in found.endpoints} == {str(8000 + port)}
    other = service("other", 8080), deployment("other", "other"), virtual_service(to={"host": "other"})
    assert cluster(service("web", 80, 8080), *other, target="web:8080").name.startswith("outbound|8080||other.")
    with pytest.raises(
        ManifestError, match=r"destination\.port: is missing, so it is the port called, 80, and Service other has only 8080"
    ):
        cluster(service("web", 80, 8080), *other, target="web:80")


def test_a_gateway_knows_the_only_port_of_a_service_and_else_takes_its_own():
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["shop.example"]}
    gateway = resource("Gateway", "gate", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    bound = virtual_service("shop.example")
    bound["spec"]["gateways"] = ["gate"]
    assert cluster(gateway, bound, target="shop.example").name.startswith("outbound|80||")
    assert cluster(gateway, bound, service("web", 80, 8080), target="shop.example").name.startswith("outbound|8080||")
    with pytest.raises(ManifestError, match="the port called, 8080, and Service web has only 80, 81"):
        cluster(gateway, bound, service("web", 80, 81), target="shop.example")


def test_each_port_has_its_own_policy():
    policy = limit(5) | at_port(limit(6), 8080)
    for target, requests in (("web:80", 5), ("web:8080", 6)):
        assert cluster(service("web", 80, 8080), rule(policy), target=target).connection_pool.max_requests == requests


def test_a_target_with_several_ports_needs_one():
    with pytest.raises(ManifestError, match="Service web has the ports 80, 8080: name one, such as web:80"):
        route(service("web", 80, 8080))
    with pytest.raises(ManifestError, match="Service web has no port 81, only 80, 8080"):
        route(service("web", 80, 8080), target="web:81")


def test_an_upstream_says_its_port():
    front = service("front"), deployment("front", "front", UPSTREAM_URIS="http://web.istioinaction:8080/")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service("web", 80, 8080), deployment(), *front)
    assert mesh.scenario(ONE_CALL).routes[-1].destinations[0].cluster.name.startswith("outbound|8080||web.")


# ---- which resource wins


def requests(*sources: object, **options: object) -> int:
    return cluster(*sources, **options).connection_pool.max_requests


@pytest.mark.parametrize(
    ("hosts", "winner"),
    [
        (["*", "web"], 1),
        (["web", "*"], 0),
        (["*", "*.istioinaction.svc.cluster.local"], 1),
        (["*.local", "*.svc.cluster.local", "*.cluster.local"], 1),
        (["web.istioinaction.svc.cluster.local", "*.istioinaction.svc.cluster.local"], 0),
        (["*eb.istioinaction.svc.cluster.local", "*.istioinaction.svc.cluster.local"], 0),
        (["other", "*.local"], 1),
        (["*web.istioinaction.svc.cluster.local", "web"], 1),
    ],
)
def test_the_most_specific_host_of_a_rule_wins(hosts, winner):
    rules = [rule(limit(i + 1), host=host, name=f"r{i}") for i, host in enumerate(hosts)]
    assert requests(*rules) == requests(*rules[::-1]) == winner + 1


def test_a_wildcard_that_covers_nothing_is_warned_of_and_one_that_loses_too():
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment())
    mesh.apply(rule(limit(1), host="*.example", name="nobody"), rule(limit(2), host="*.local", name="all"), rule(limit(3)))
    said = {warning.resource: warning.reason for warning in mesh.warnings if warning.field == "spec.host"}
    assert said["DestinationRule nobody"] == "there is no Service *.example, so it has no effect"
    assert said["DestinationRule all"] == "DestinationRule rule has the more specific host: this one has no effect for it"


@pytest.mark.parametrize(
    ("names", "calls", "winner"), [(("b", "a"), 1, "a"), (("b", "a"), 2, "b"), (("a", "b"), 1, "a"), (("a", "b"), 2, "a")]
)
def test_of_two_rules_the_older_wins_and_of_the_same_second_the_first_by_name(names, calls, winner):
    """One `apply` is one second, two are two; rules and VirtualServices alike."""
    rules = [rule(limit(ord(name)), name=name) for name in names]
    routes = [virtual_service(name=name, timeout=f"{ord(name)}s") for name in names]
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment())
    for kind in (rules, routes):
        for sources in (kind,) if calls == 1 else ([each] for each in kind):
            mesh.apply(*sources)
    found = mesh.scenario(ONE_CALL, "web").routes[0]
    assert found.timeout == found.destinations[0].cluster.connection_pool.max_requests == ord(winner)
    assert any("was applied first" in warning.reason for warning in mesh.warnings)


def test_a_resource_keeps_its_age_when_it_is_applied_again_and_loses_it_when_deleted():
    mesh = (
        Mesh(overhead=0, namespace="istioinaction")
        .apply(service(), deployment())
        .apply(rule(limit(1), name="z"))
        .apply(rule(limit(2), name="a"))
    )

    def limited() -> int:
        return mesh.scenario(ONE_CALL, "web").routes[0].destinations[0].cluster.connection_pool.max_requests

    mesh.apply(rule(limit(3), name="z"))
    assert limited() == 3
    mesh.delete("DestinationRule", "z").apply(rule(limit(4), name="z"))
    assert limited() == 2
    mesh.at("5s").apply(rule(limit(5), name="a"))
    assert mesh.scenario(ONE_CALL, "web").changes[0].routes[0].destinations[0].cluster.connection_pool.max_requests == 5


def test_of_a_dump_the_creation_timestamps_count():
    dumped = [rule(limit(1), name="a"), rule(limit(2), name="b")]
    for each, second in zip(dumped, ("12", "11"), strict=True):
        each["metadata"]["creationTimestamp"] = f"2025-04-27T09:00:{second}Z"
    assert requests(*dumped) == 2


def test_rules_for_one_host_add_their_subsets_and_the_first_policy_wins():
    """A policy that says nothing that counts here is one all the same; of a subset named twice the first stays."""
    first = rule(name="a", subsets=[{"name": "v", "labels": {"version": "web"}}])
    second = rule({"tls": {"mode": "ISTIO_MUTUAL"}}, name="b", subsets=[{"name": "v", "trafficPolicy": limit(9)}])
    third = rule(limit(3), name="c", subsets=[{"name": "w", "labels": {"version": "canary"}, "trafficPolicy": RANDOM}])
    canary = deployment("canary", pods=1)
    found = cluster(canary, first, second, third, TO_SUBSET)
    assert len(found.endpoints) == 2 and found.connection_pool.max_requests == 2**32 - 1
    found = cluster(canary, first, second, third, virtual_service(to={"host": "web", "subset": "w"}))
    assert [pod.deployment for pod in found.endpoints] == ["canary"] and found.load_balancing == "RANDOM"
    assert requests(first, third) == 3


NAMESPACES = ("istioinaction", "shop", "istio-system")


@pytest.mark.parametrize(
    ("caller", "ruled", "winner"),
    [
        ("shop", ("istioinaction", "shop", "istio-system"), "shop"),
        ("shop", ("istioinaction", "istio-system"), "istioinaction"),
        ("shop", ("istio-system",), "istio-system"),
        ("shop", ("elsewhere",), None),
        ("istioinaction", ("istioinaction", "shop", "istio-system"), "istioinaction"),
        ("istio-system", ("istioinaction", "shop", "istio-system"), "istioinaction"),
        ("istio-system", ("istio-system",), "istio-system"),
    ],
)
def test_the_callers_namespace_then_the_services_then_the_roots(caller, ruled, winner):
    """A caller in the root namespace takes the rule of the Service's namespace before its own."""
    names = [*NAMESPACES, "elsewhere"]
    host = "web.istioinaction.svc.cluster.local"
    rules = [rule(limit(names.index(place) + 1), host=host, namespace=place) for place in ruled]
    front = service("front", namespace=caller), deployment("front", "front", namespace=caller, UPSTREAM_URIS=f"http://{host}/")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *front, *rules)
    found = mesh.scenario(ONE_CALL, "front").routes[-1].destinations[0].cluster.connection_pool.max_requests
    assert found == (names.index(winner) + 1 if winner else 2**32 - 1)


def test_within_a_namespace_the_specific_host_wins_and_a_nearer_wildcard_over_a_farther_host():
    host = "web.istioinaction.svc.cluster.local"
    front = service("front", namespace="shop"), deployment("front", "front", namespace="shop", UPSTREAM_URIS=f"http://{host}/")
    mine = rule(limit(1), host="*.local", namespace="shop")
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(service(), deployment(), *front, mine, rule(limit(2), host=host))
    assert mesh.scenario(ONE_CALL, "front").routes[-1].destinations[0].cluster.connection_pool.max_requests == 1


def test_a_virtual_service_for_a_wildcard_takes_the_services_that_no_other_names():
    everything = virtual_service("*.istioinaction.svc.cluster.local", name="z", timeout="1s")
    assert route(everything).timeout == 1
    assert route(everything, virtual_service(name="a", timeout="2s")).timeout == 2
    longer = virtual_service("*web.istioinaction.svc.cluster.local", name="zz", timeout="3s")
    assert route(everything, longer).timeout == 3
    said = Mesh(istio="1.27", overhead=0, namespace="istioinaction").apply(service(), deployment(), everything, longer).warnings
    assert [w.reason for w in said if w.resource == "VirtualService z"] == [
        "VirtualService zz has the more specific host: this one has no effect for it"
    ]


# ---- distribute


@pytest.mark.parametrize(
    ("origins", "taken"),
    [(["r/a/*", "r/*"], 0), (["r/b", "r/*"], 1), (["r/b", "*"], 1), (["r/a/x", "r/a/*"], 1), (["s/*"], None)],
)
def test_the_first_entry_that_covers_the_caller_counts(origins, taken):
    shares = [{"r/a": 90 - 10 * i, "r/b": 10 + 10 * i} for i in range(len(origins))]
    entries = [{"from": origin, "to": to} for origin, to in zip(origins, shares, strict=True)]
    zones = deployment(pods=0), deployment("a", pods=1, locality="r.a"), deployment("b", pods=2, locality="r.b")
    policy = {"loadBalancer": {"localityLbSetting": {"distribute": entries}}}
    found = cluster(*zones, rule(policy), locality="r.a.y").locality_weights
    assert found == ((shares[taken] if taken is not None else {"r/a": 1, "r/b": 2}),)
