"""What Istio makes of consistentHash, warm-up, mirrors, redirects, direct responses and error codes; what is refused, with another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshmodel.analytic.engine import NoClosedForm, predict
from meshmodel.analytic.hosts import host_shares
from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop, Cluster, DirectResponse, HashPolicy, Request, Route, SlowStart

MANIFESTS = Path(__file__).parents[2] / "data" / "envoy" / "manifests"


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "backend"}, "spec": spec}


def rule(**policy: Any) -> dict[str, Any]:
    return resource("DestinationRule", {"host": "backend", "trafficPolicy": policy})


def service(route: dict[str, Any]) -> dict[str, Any]:
    return resource("VirtualService", {"hosts": ["backend"], "http": [route]})


def mesh(*resources: dict[str, Any], pods: str = "pods-three.yaml", istio: str = "1.31") -> Mesh:
    return Mesh(istio=istio, namespace="istioinaction").apply(MANIFESTS / pods, *resources)


def played(*resources: dict[str, Any], pods: str = "pods-three.yaml", locality: str | None = None) -> Route:
    return mesh(*resources, pods=pods).scenario(ClosedLoop(calls=1), "backend", locality).routes[-1]


def balanced(**balancer: Any) -> tuple[Route, Cluster]:
    route = played(rule(loadBalancer=balancer))
    return route, route.destinations[0].cluster


# --- consistentHash --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "policy"),
    [
        ({"httpHeaderName": "x-user"}, HashPolicy(kind="header", name="x-user")),
        ({"httpQueryParameterName": "user"}, HashPolicy(kind="query_parameter", name="user")),
        ({"httpCookie": {"name": "user"}}, HashPolicy(kind="cookie", name="user")),
        ({"httpCookie": {"name": "user", "ttl": "0s", "path": "/"}}, HashPolicy(kind="cookie", name="user", ttl=0.0)),
        ({"httpCookie": {"name": "user", "ttl": "1h"}}, HashPolicy(kind="cookie", name="user", ttl=3600.0)),
        ({"useSourceIp": True}, HashPolicy(kind="source_ip")),
    ],
)
def test_the_route_hashes_and_the_cluster_has_a_ring_of_1024(key: dict[str, Any], policy: HashPolicy) -> None:
    route, cluster = balanced(consistentHash=key)
    assert route.hash_policy == (policy,)
    assert (cluster.load_balancing, cluster.minimum_ring_size) == ("RING_HASH", 1024)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"ringHash": {"minimumRingSize": 64}}, ("RING_HASH", 64, 65537)),
        ({"ringHash": {}}, ("RING_HASH", 1024, 65537)),
        ({"minimumRingSize": 64}, ("RING_HASH", 64, 65537)),
        ({"maglev": {"tableSize": 251}}, ("MAGLEV", 1024, 251)),
    ],
)
def test_the_algorithm_and_its_size(more: dict[str, Any], expected: tuple[str, int, int]) -> None:
    _, cluster = balanced(consistentHash={"useSourceIp": True, **more})
    assert (cluster.load_balancing, cluster.minimum_ring_size, cluster.maglev_table_size) == expected


@pytest.mark.parametrize("key", [{}, {"useSourceIp": False}])
def test_without_a_key_nothing_is_hashed_and_a_warning_says_so(key: dict[str, Any]) -> None:
    shown = mesh(rule(loadBalancer={"consistentHash": key}))
    assert not shown.scenario(ClosedLoop(calls=1), "backend").routes[-1].hash_policy
    assert "each request goes to a random pod" in str(shown.warnings)


def test_a_port_that_the_route_does_not_name_hashes_nothing_and_a_warning_says_so() -> None:
    shown = mesh(rule(**at_port(hashes("x"))), service({"route": ONE}))
    assert [w.field for w in shown.warnings] == ["spec.trafficPolicy.loadBalancer.consistentHash"]


@pytest.mark.parametrize(
    ("key", "load", "warned"),
    [
        ({"httpHeaderName": "X-User"}, {}, True),
        ({"httpHeaderName": "X-User"}, {"users": 3}, False),
        ({"httpHeaderName": "X-User"}, {"request": Request(headers=(("x-user", "5"),))}, False),
        ({"httpCookie": {"name": "u"}}, {}, True),
        ({"httpCookie": {"name": "u"}}, {"request": Request(headers=(("Cookie", "a=b; u=5"),))}, False),
        ({"httpCookie": {"name": "u", "ttl": "0s"}}, {}, False),
        ({"httpQueryParameterName": "u"}, {}, True),
        ({"httpQueryParameterName": "u"}, {"request": Request(path="/?u=5")}, False),
        ({"useSourceIp": True}, {}, False),
    ],
)
def test_a_load_without_what_is_hashed_is_warned_of(key: dict[str, Any], load: dict[str, Any], warned: bool) -> None:
    shown = mesh(rule(loadBalancer={"consistentHash": key}))
    shown.scenario(ClosedLoop(calls=1, **load), "backend")
    assert ("each request goes to a random pod" in str(shown.warnings)) == warned


def test_every_hashing_destination_of_a_weighted_route_adds_what_it_hashes() -> None:
    subsets = [
        {"name": "v1", "labels": {"app": "backend"}},
        {"name": "v2", "labels": {"app": "backend"}, "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "y"}}}},
    ]
    spec = {"host": "backend", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}, "subsets": subsets}
    weights = [{"destination": {"host": "backend", "subset": subset}, "weight": 50} for subset in ("v1", "v2")]
    route = played(resource("DestinationRule", spec), service({"route": weights}))
    assert route.hash_policy == (HashPolicy(kind="header", name="x"), HashPolicy(kind="header", name="y"))


def rule_of_subset(whole: dict[str, Any], subset: dict[str, Any]) -> dict[str, Any]:
    own = {"trafficPolicy": subset} if subset else {}
    subsets = [{"name": "all", "labels": {"app": "backend"}, **own}]
    return resource("DestinationRule", {"host": "backend", "trafficPolicy": whole, "subsets": subsets})


def hashes(header: str) -> dict[str, Any]:
    return {"loadBalancer": {"consistentHash": {"httpHeaderName": header}}}


def at_port(policy: dict[str, Any]) -> dict[str, Any]:
    return {"portLevelSettings": [{"port": {"number": 80}, **policy}]}


@pytest.mark.parametrize(
    ("whole", "subset", "port", "hashed", "balancing"),
    [
        (hashes("r"), {}, None, "r", "RING_HASH"),
        (hashes("r"), hashes("s"), None, "s", "RING_HASH"),
        (hashes("r"), {"loadBalancer": {"simple": "RANDOM"}}, None, "r", "RANDOM"),
        (hashes("r") | at_port(hashes("p")), {}, 80, "p", "RING_HASH"),
        (hashes("r") | at_port(hashes("p")), {}, None, "r", "RING_HASH"),
        (at_port(hashes("p")), {}, None, None, "RING_HASH"),
        (at_port(hashes("p")), {}, 80, "p", "RING_HASH"),
        (at_port(hashes("p")), hashes("s"), 80, "s", "RING_HASH"),
        (hashes("r"), hashes("s") | at_port(hashes("t")), 80, "t", "RING_HASH"),
    ],
)
def test_whose_consistent_hash_a_route_hashes(
    whole: dict[str, Any], subset: dict[str, Any], port: int | None, hashed: str | None, balancing: str
) -> None:
    """route.go, HashForHTTPDestination: not merged as the cluster's policy is."""
    destination = {"host": "backend", "subset": "all"} | ({"port": {"number": port}} if port else {})
    route = played(rule_of_subset(whole, subset), service({"route": [{"destination": destination}]}))
    assert [policy.name for policy in route.hash_policy] == ([hashed] if hashed else [])
    assert route.destinations[0].cluster.load_balancing == balancing


ONE = [{"destination": {"host": "backend"}}]
TWO = [{"destination": {"host": "backend"}, "weight": 100}, {"destination": {"host": "backend"}, "weight": 0}]


@pytest.mark.parametrize(
    ("istio", "policy", "route", "elsewhere"),
    [
        ("1.22", hashes("x"), {"route": ONE}, True),
        ("1.23", hashes("x"), {"route": ONE}, False),
        ("1.23", hashes("x"), {"route": ONE, "retries": {"attempts": 3}}, False),
        ("1.26", hashes("x"), {"route": ONE, "retries": {"attempts": 3, "retryIgnorePreviousHosts": True}}, True),
        ("1.26", {}, {"route": ONE, "retries": {"attempts": 3, "retryIgnorePreviousHosts": False}}, False),
        ("1.23", {"loadBalancer": {"consistentHash": {}}}, {"route": ONE}, False),
        ("1.23", {"loadBalancer": {"simple": "RANDOM"}}, {"route": ONE}, True),
        ("1.23", hashes("x"), {"route": TWO}, True),
        ("1.23", hashes("x"), None, True),
    ],
)
def test_whether_a_retry_goes_elsewhere(istio: str, policy: dict[str, Any], route: dict[str, Any] | None, elsewhere: bool) -> None:
    """retry.go, ConvertPolicy: since 1.23 the only destination of a VirtualService, where it hashes, keeps its host."""
    resources = [*([rule(**policy)] if policy else []), *([service(route)] if route else [])]
    retries = mesh(*resources, istio=istio).scenario(ClosedLoop(calls=1), "backend").routes[-1].retries
    assert retries.previous_hosts == elsewhere


# --- warm-up ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balancer", "slow_start"),
    [
        ({"simple": "ROUND_ROBIN", "warmupDurationSecs": "180s"}, SlowStart(window=180)),
        ({"simple": "LEAST_REQUEST", "warmup": {"duration": "1m"}}, SlowStart(window=60, aggression=1, min_weight_percent=10)),
        ({"warmup": {"duration": "1s", "minimumPercent": 0, "aggression": 2.5}}, SlowStart(window=1, aggression=2.5, min_weight_percent=0)),
        ({"warmup": {"duration": "1s"}, "warmupDurationSecs": "2s"}, SlowStart(window=1)),
        ({"simple": "ROUND_ROBIN"}, None),
    ],
)
def test_both_spellings_of_warm_up(balancer: dict[str, Any], slow_start: SlowStart | None) -> None:
    assert balanced(**balancer)[1].slow_start == slow_start


@pytest.mark.parametrize("balancer", [{"simple": "RANDOM"}, {"consistentHash": {"useSourceIp": True}}])
def test_a_balancer_that_does_not_warm_up_says_so(balancer: dict[str, Any]) -> None:
    shown = mesh(rule(loadBalancer={**balancer, "warmupDurationSecs": "5s"}))
    assert "only ROUND_ROBIN and LEAST_REQUEST warm a pod up" in str(shown.warnings)


@pytest.mark.parametrize(
    ("policy", "part"),
    [
        ({"loadBalancer": {"warmup": {"aggression": 1}}}, "needs the field 'duration'"),
        ({"loadBalancer": {"warmup": {"duration": "5s", "aggression": 0}}}, "must be 1 or more, Istio refuses less, got 0"),
        ({"loadBalancer": {"warmup": {"duration": "5s", "minimumPercent": 101}}}, "must be from 0 to 100"),
        ({"loadBalancer": {"warmup": {"duration": "1.5ms"}}}, "must be whole milliseconds"),
        ({"outlierDetection": {"outlierDetectionHttpErrorCodes": [99]}}, "must be from 100 to 599"),
    ],
)
def test_what_the_webhook_refuses_of_newer_fields(policy: dict[str, Any], part: str) -> None:
    with pytest.raises(ManifestError, match=part):
        mesh(rule(**policy))


# --- localities ------------------------------------------------------------------------------


def test_failover_priority_may_split_a_locality() -> None:
    setting = {"localityLbSetting": {"failoverPriority": ["track=stable"]}}
    route = played(rule(loadBalancer=setting, outlierDetection={"interval": "1s"}), pods="pods-two-tracks.yaml", locality="r.a")
    cluster = route.destinations[0].cluster
    places = {endpoint.name: (endpoint.locality, level) for endpoint, level in zip(cluster.endpoints, cluster.priorities[0], strict=True)}
    assert places["a-stable-1"] == ("r/a", 0) and places["a-canary-1"] == ("r/a", 1) and places["b-stable-1"] == ("r/b", 0)
    assert cluster.locality_weights == ({"r/a": 4, "r/b": 2},)
    shares = dict(zip(places, host_shares(cluster, frozenset({list(places).index("a-bad-1")})), strict=True))
    # Level 0 keeps 140 * 2/3 = 93 percent; there r/a weighs 2 of its 4, scaled by 1.4/2, against 1 of r/b's 2.
    assert shares == pytest.approx(
        {
            "a-bad-1": 0,
            "a-stable-1": 0.93 * 1.4 / 2.4,
            "b-stable-1": 0.93 / 2.4,
            "a-canary-1": 0.07 / 3,
            "a-canary-2": 0.07 / 3,
            "b-canary-1": 0.07 / 3,
        }
    )


# --- what counts as an error -----------------------------------------------------------------


def test_error_codes_are_the_detectors() -> None:
    outlier = {"consecutive5xxErrors": 3, "outlierDetectionHttpErrorCodes": [429, 503]}
    detector = played(rule(outlierDetection=outlier)).destinations[0].cluster.outlier_detection
    assert detector is not None and detector.error_codes == {429, 503}


# --- routes ----------------------------------------------------------------------------------

TO_BACKEND = {"route": [{"destination": {"host": "backend"}}]}
TO_SHADOW = {"host": "shadow"}


@pytest.mark.parametrize(
    ("mirror", "percents"),
    [
        ({"mirror": TO_SHADOW}, [100]),
        ({"mirror": TO_SHADOW, "mirrorPercentage": {"value": 12.5}}, [12.5]),
        ({"mirror": TO_SHADOW, "mirrorPercent": 30}, [30]),
        ({"mirror": TO_SHADOW, "mirror_percent": 30}, [30]),
        ({"mirror": TO_SHADOW, "mirrorPercentage": {"value": 0}}, []),
        ({"mirrors": [{"destination": TO_SHADOW}, {"destination": {"host": "backend"}, "percentage": {"value": 5}}]}, [100, 5]),
    ],
)
def test_mirrors_and_their_percentages(mirror: dict[str, Any], percents: list[float]) -> None:
    route = played(service({**TO_BACKEND, **mirror}), pods="pods-shadowed.yaml")
    assert [each.percent for each in route.mirrors] == percents
    if percents:
        assert [endpoint.name for endpoint in route.endpoints] == ["real-1", "shadow-1"]


def test_a_mirror_to_nowhere_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"spec.http\[0\].mirror.host: there is no Service shadwo, did you mean shadow"):
        played(service({**TO_BACKEND, "mirror": {"host": "shadwo"}}), pods="pods-shadowed.yaml")


@pytest.mark.parametrize(
    ("route", "answer"),
    [
        ({"directResponse": {"status": 503}}, DirectResponse(status=503)),
        ({"directResponse": {"status": 200, "body": {"string": "hello"}}}, DirectResponse(status=200, body="hello")),
        ({"redirect": {"uri": "/new"}}, DirectResponse(status=301)),
        ({"redirect": {"authority": "new.example", "redirectCode": 308}}, DirectResponse(status=308)),
    ],
)
def test_the_proxys_own_answers(route: dict[str, Any], answer: DirectResponse) -> None:
    found = played(service(route))
    assert (found.direct_response, found.destinations) == (answer, ())


@pytest.mark.parametrize(
    ("route", "part"),
    [
        ({"redirect": {}}, "redirect: needs uri, authority, scheme or port"),
        ({"redirect": {"uri": "/", "redirectCode": 304}}, "redirectCode: must be one of 301, 302, 303, 307, 308, got 304"),
        ({"redirect": {"uri": "/", "prefixRewrite": "/"}}, "only one of uri and prefixRewrite"),
        ({"redirect": {"uri": "/"}, "directResponse": {"status": 200}}, "only one of redirect and directResponse"),
        ({"directResponse": {"status": 200}, "fault": {}}, "fault: beside directResponse, Istio refuses it"),
        ({"directResponse": {"status": 99}}, "status: must be from 200 to 599"),
        ({}, "needs the field 'route'"),
    ],
)
def test_what_istio_refuses_of_them(route: dict[str, Any], part: str) -> None:
    with pytest.raises(ManifestError) as refused:
        played(service(route))
    assert part in str(refused.value)


def test_what_stands_beside_the_proxys_own_answer_has_no_effect_and_is_named() -> None:
    beside = {"timeout": "1s", "retries": {"attempts": 3}, "mirror": {"host": "backend"}}
    shown = mesh(service({"directResponse": {"status": 503}, **beside}))
    route = shown.scenario(ClosedLoop(calls=1), "backend").routes[-1]
    assert (route.timeout, route.retries.attempts, route.mirrors) == (None, 0, ())
    assert {warning.field for warning in shown.warnings} == {f"spec.http[0].{name}" for name in beside}
    assert shown.proxy_config_routes(target="backend").splitlines()[1].split()[2:5] == ["none", "0", "-"]
    assert len(shown.proxy_config_endpoints(target="backend").splitlines()) == 1


def test_the_pods_of_a_mirror_are_among_the_endpoints() -> None:
    shown = mesh(service({"route": ONE, "mirror": {"host": "shadow"}}), pods="pods-shadowed.yaml")
    assert "||shadow" in shown.proxy_config_endpoints(target="backend")


# --- refused, with what to do instead --------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"host": "backend", "workloadSelector": {}}, "workloadSelector: is not modelled: leave it out where it selects all callers"),
        ({"host": "backend", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}, "leave it out and name the Service to call"),
    ],
)
def test_what_is_refused_says_what_to_do_instead(spec: dict[str, Any], part: str) -> None:
    with pytest.raises(ManifestError) as refused:
        mesh(resource("DestinationRule", spec))
    assert part in str(refused.value)


# --- no closed form --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "part"),
    [
        ([rule(loadBalancer={"consistentHash": {"useSourceIp": True}})], "consistentHash"),
        ([rule(outlierDetection={"outlierDetectionHttpErrorCodes": [429]})], "outlierDetectionHttpErrorCodes"),
        ([service({**TO_BACKEND, "mirror": TO_SHADOW})], "mirror"),
        ([service({"directResponse": {"status": 200}})], "redirect or direct"),
    ],
)
def test_there_is_no_closed_form_for_them(resources: list[dict[str, Any]], part: str) -> None:
    scenario = mesh(*resources, pods="pods-shadowed.yaml").scenario(ClosedLoop(calls=1), "backend")
    with pytest.raises(NoClosedForm, match=part):
        predict(scenario)
