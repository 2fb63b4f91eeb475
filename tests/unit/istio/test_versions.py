"""Istio's rules by version: what one version does and its neighbour does not, from the manifests to the scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshmodel.istio.defaults import FIELDS, NEWEST, OLDEST, RULES, IstioDefaults
from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from tests.unit.istio.manifests import cluster, deployment, limit, route, rule, service, virtual_service

TWO_ZONES = (deployment(pods=0), deployment("a", pods=1, locality="r.a"), deployment("b", locality="r.b"))
NETWORK = "topology__istio__io_network"
"""`deployment` spells it out."""


def weights(version: str, *sources: Any) -> object:
    return cluster(*TWO_ZONES, *sources, istio=version, locality="r.a").locality_weights


def levels(version: str, setting: dict[str, Any], *pods: dict, locality: str = "r.a") -> object:
    """The priorities of the pods, or what is wrong with the setting."""
    policy = {"outlierDetection": {}, "loadBalancer": {"localityLbSetting": setting}}
    try:
        return cluster(deployment(pods=0), *pods, rule(policy), istio=version, locality=locality).priorities[0]
    except ManifestError as problem:
        return "refused" if "Istio refuses" in str(problem) else str(problem)


def by_label(version: str) -> object:
    pods = deployment("v1", pods=1, locality="r.a"), deployment("v2", pods=1, locality="r.b")
    return levels(version, {"failoverPriority": ["version=v2"]}, *pods)


def labels_then_region(version: str) -> object:
    """The caller has no version: both pods miss the label alike, and stand in its region or not."""
    pods = deployment("v1", pods=1, locality="r.a"), deployment("v2", pods=1, locality="s.a")
    return levels(version, {"failoverPriority": ["version"], "failover": [{"from": "r", "to": "t"}]}, *pods)


def region_beside_failover(version: str) -> object:
    pods = (deployment("v1", pods=1, locality="r.a"),)
    return levels(version, {"failoverPriority": ["topology.kubernetes.io/region"], "failover": [{"from": "r", "to": "t"}]}, *pods)


def other_network(version: str) -> object:
    """Pods of the caller's region and of another one, without a network as the caller is, and with one."""
    pods = (
        deployment("v1", pods=1, locality="r.a"),
        deployment("v2", pods=1, locality="s.a"),
        deployment("v3", pods=1, locality="r.b", **{NETWORK: "n2"}),
        deployment("v4", pods=1, locality="s.b", **{NETWORK: "n2"}),
    )
    return levels(version, {"failoverPriority": ["topology.istio.io/network", "topology.kubernetes.io/region"]}, *pods)


def of_two_hosts(version: str) -> object:
    older = virtual_service("*.istioinaction.svc.cluster.local", name="all", timeout="1s")
    return route(older, virtual_service(name="web-only", timeout="2s"), istio=version).timeout


def one_host_always(version: str) -> object:
    return cluster(rule({"outlierDetection": {}}), istio=version).outlier_detection.one_host_always


def of_two_exports(version: str) -> object:
    """The limit of two rules for one host, of which only the older one says to whom it is exported."""
    rules = rule(limit(1), name="a", exportTo=["*"]), rule(limit(2), name="b")
    return cluster(*rules, istio=version).connection_pool.max_requests


def near(version: str) -> object:
    """The priorities of pods in the caller's subzone, its zone and another one."""
    kept = service()
    kept["spec"]["trafficDistribution"] = "PreferClose"
    places = (deployment(name, pods=1, locality=place) for name, place in (("v1", "r.a.x"), ("v2", "r.a.y"), ("v3", "r.b.x")))
    return cluster(kept, deployment(pods=0), *places, istio=version, locality="r.a.x").priorities[0]


def other_host_under_hash(version: str) -> object:
    return IstioDefaults(int(version[2:])).default_retry(consistent_hash=True).previous_hosts


RULES_BY_VERSION: dict[str, tuple[int, Callable[[str], object], object, object]] = {
    "locality_weights": (12, weights, None, ({"r/a": 1, "r/b": 2},)),
    "least_request": (14, lambda version: cluster(istio=version).load_balancing, "ROUND_ROBIN", "LEAST_REQUEST"),
    "label_values": (18, by_label, (0, 0), (1, 0)),
    "specific_hosts": (18, of_two_hosts, 1.0, 2.0),
    "strict_ejection": (20, one_host_always, True, False),
    "failover_after_labels": (20, labels_then_region, (0, 0), (0, 1)),
    "failover_after_labels, region": (20, region_beside_failover, (0,), "refused"),
    "hash_keeps_host": (23, other_host_under_hash, True, False),
    "retries_503": (24, lambda version: set(route(istio=version).retries.retriable_status_codes), {503}, set()),
    "locality_weights, the end": (24, weights, ({"r/a": 1, "r/b": 2},), None),
    "inbound_retries": (24, lambda version: cluster(istio=version).endpoints[0].inbound_retries, 0, 2),
    "exports_apart": (24, of_two_exports, 1, 2),
    "traffic_distribution": (25, near, (0, 0, 0), (0, 1, 2)),
    "near_is_zone": (27, near, (0, 1, 2), (0, 0, 1)),
    "other_networks_last": (31, other_network, (0, 1, 2, 2), (0, 1, 2, 3)),
}  # fmt: skip
"""Rule -> (first version of the newer way, what to look at, what is there before, what from then on)."""


@pytest.mark.parametrize("name", RULES_BY_VERSION)
def test_a_rule_holds_from_its_version_on_and_not_in_the_one_before(name):
    first, look, before, since = RULES_BY_VERSION[name]
    assert (look(f"1.{first - 1}"), look(f"1.{first}")) == (before, since)


def test_every_rule_has_its_test():
    assert {name.partition(",")[0] for name in RULES_BY_VERSION} == set(RULES)
    for name, each in RULES.items():
        firsts = {first for test, (first, *_) in RULES_BY_VERSION.items() if test.partition(",")[0] == name}
        assert firsts == {version for version in (each.since, each.until) if OLDEST < version <= NEWEST}, name


def redirected(**redirect: Any) -> dict:
    made = virtual_service(redirect=redirect)
    del made["spec"]["http"][0]["route"]
    return made


FIELDS_BY_VERSION = {
    "backoff": (26, virtual_service(retries={"attempts": 1, "backoff": "50ms"})),
    "retryIgnorePreviousHosts": (26, virtual_service(retries={"attempts": 1, "retryIgnorePreviousHosts": False})),
    "retryBudget": (27, rule({"retryBudget": {"percent": 10}})),
    "retryBudget of a subset": (27, rule(subsets=[{"name": "a", "trafficPolicy": {"retryBudget": {}}}])),
    "LEAST_REQUEST": (14, rule({"loadBalancer": {"simple": "LEAST_REQUEST"}})),
    "failoverPriority": (12, rule({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}}})),
    "splitExternalLocalOriginErrors": (11, rule({"outlierDetection": {"splitExternalLocalOriginErrors": True}})),
    "ringHash": (16, rule({"loadBalancer": {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 7}}}})),
    "maglev": (16, rule({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 7}}}})),
    "httpCookie.attributes": (28, rule({"loadBalancer": {"consistentHash": {"httpCookie": {"name": "u", "attributes": [{"name": "a"}]}}}})),
    "redirect.port": (12, redirected(uri="/", port=80)),
    "derivePort": (12, redirected(uri="/", derivePort="FROM_REQUEST_PORT")),
    "redirect.scheme": (12, redirected(scheme="https")),
    "prefixRewrite": (31, redirected(authority="a", prefixRewrite="/")),
    "rewrite.uriRegexRewrite": (19, virtual_service(rewrite={"uriRegexRewrite": {"match": "a", "rewrite": "b"}})),
    "statPrefix": (15, virtual_service(match=[{"uri": {"prefix": "/"}, "statPrefix": "a"}])),
    "corsPolicy.unmatchedPreflights": (23, virtual_service(corsPolicy={"unmatchedPreflights": "IGNORE"})),
    "tls.caCrl": (22, rule({"tls": {"mode": "SIMPLE", "caCrl": "a"}})),
    "tcp.idleTimeout": (21, rule({"connectionPool": {"tcp": {"idleTimeout": "1s"}}})),
}


@pytest.mark.parametrize("name", FIELDS_BY_VERSION)
def test_a_field_that_a_version_lacks_is_refused_with_the_version_that_has_it(name):
    first, manifest = FIELDS_BY_VERSION[name]
    assert FIELDS[name.partition(" of")[0]] == first
    Mesh(istio=f"1.{first}").apply(manifest)
    with pytest.raises(ManifestError, match=rf"Istio 1\.{first - 1} has no .* yet, it came with 1\.{first}"):
        Mesh(istio=f"1.{first - 1}").apply(manifest)


def test_http_has_its_idle_timeout_in_every_version():
    Mesh(istio="1.10").apply(rule({"connectionPool": {"http": {"idleTimeout": "1s"}}}))


@pytest.mark.parametrize(
    ("setting", "outlier", "before", "between", "after"),
    [
        ({}, False, None, True, None),
        ({}, True, None, True, None),
        ({"enabled": False}, True, None, None, None),
        ({"failover": [{"from": "r", "to": "s"}]}, False, True, True, None),
        ({"failover": [{"from": "r", "to": "s"}]}, True, True, True, True),
        ({"failoverPriority": ["topology.kubernetes.io/zone"]}, True, None, True, True),
        ({"distribute": [{"from": "elsewhere", "to": {"r/a": 100}}]}, False, True, True, True),
    ],
)
def test_when_localities_are_weighed_by_their_pods(setting, outlier, before, between, after):
    """Up to 1.11, from 1.12 to 1.23, and since: with more than one locality."""
    by_pods = ({"r/a": 1, "r/b": 2},)
    policy = {"loadBalancer": {"localityLbSetting": setting}, **({"outlierDetection": {}} if outlier else {})}
    wanted = {"1.11": before, "1.12": between, "1.17": between, "1.23": between, "1.24": after, "1.30": after}
    for version, weighed in wanted.items():
        if "failoverPriority" not in setting or version != "1.11":
            assert weights(version, rule(policy)) == (by_pods if weighed else None), version


def test_one_locality_leaves_nothing_to_weigh():
    assert cluster(istio="1.17").locality_weights is None
    assert cluster(deployment(locality="r.a"), istio="1.17").locality_weights is None


def test_version_rules_names_what_touches_the_mesh_and_nothing_else():
    def said(*sources: Any, istio: str) -> list[str]:
        return Mesh(istio=istio, overhead=0, namespace="istioinaction").apply(service(), deployment(), *sources).version_rules("web")

    old = said(*TWO_ZONES, istio="1.17")
    assert "every cluster weighs its localities by their numbers of pods (from 1.12 to 1.23)" in old
    assert "the default retry covers 503 (to 1.23)" in old
    assert "not: each pod's inbound route tries reset-before-request twice more (from 1.24 on)" in old
    assert not any("maxEjectionPercent" in line or "locality" in line for line in said(istio="1.17"))
    own = virtual_service(retries={"attempts": 1, "retryOn": "5xx"}), rule({"loadBalancer": {"simple": "RANDOM"}})
    assert said(*own, istio="1.17") == ["not: each pod's inbound route tries reset-before-request twice more (from 1.24 on)"]
    budget = said(rule({"retryBudget": {}, "outlierDetection": {}}), istio="1.27")
    assert "retryBudget (from 1.27 on)" in budget and "maxEjectionPercent is strict, one host too many stays (from 1.20 on)" in budget
    labels = rule({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failoverPriority": ["version=b"]}}})
    mesh = Mesh(istio="1.24", overhead=0, namespace="istioinaction").apply(service(), *TWO_ZONES, labels)
    assert "failoverPriority takes label=value (from 1.18 on)" in mesh.version_rules("web", locality="r.a")
