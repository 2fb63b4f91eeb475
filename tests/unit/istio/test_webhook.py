"""What Istio's webhook refuses is refused here (istio/istio pkg/config/validation), and what it takes is taken."""

from __future__ import annotations

from typing import Any

import pytest

from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from tests.unit.istio.manifests import limit, rule, virtual_service

REGION = "topology.kubernetes.io/region"


def locality(setting: dict[str, Any]) -> dict:
    return rule({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": setting}})


def distribute(*origins: str, to: dict[str, int] | None = None) -> dict:
    return locality({"distribute": [{"from": origin, "to": to or {"*": 100}} for origin in origins]})


def fault(percent: float) -> dict:
    return virtual_service(fault={"abort": {"httpStatus": 503, "percentage": {"value": percent}}})


def subset(name: str) -> dict:
    return rule(subsets=[{"name": name}])


REFUSED = {
    "no timeout by 0s": (virtual_service(timeout="0s"), "http[0].timeout: must be 1ms or more"),
    "a timeout finer than 1 ms": (virtual_service(timeout="1.0005s"), "timeout: must be whole milliseconds"),
    "a nanosecond too much": (virtual_service(retries={"attempts": 1, "perTryTimeout": "2.000000001s"}), "perTryTimeout: must be whole"),
    "a nanosecond by itself": (rule({"outlierDetection": {"interval": "2s1ns"}}), "interval: must be whole milliseconds"),
    "a short timeout": (virtual_service(timeout="500us"), "timeout: must be 1ms or more"),
    "a fine perTryTimeout": (virtual_service(retries={"attempts": 1, "perTryTimeout": "1.5ms"}), "perTryTimeout: must be whole"),
    "a fine backoff": (virtual_service(retries={"attempts": 1, "backoff": "2500us"}), "backoff: must be whole"),
    "a fine delay": (virtual_service(fault={"delay": {"fixedDelay": "0.1ms"}}), "fixedDelay: must be 1ms or more"),
    "a fine interval": (rule({"outlierDetection": {"interval": "1.0001s"}}), "interval: must be whole"),
    "a fine baseEjectionTime": (rule({"outlierDetection": {"baseEjectionTime": "10.5ms"}}), "baseEjectionTime: must be whole"),
    "no connectTimeout": (rule({"connectionPool": {"tcp": {"connectTimeout": "0s"}}}), "connectTimeout: must be 1ms or more"),
    "no HTTP idleTimeout": (rule({"connectionPool": {"http": {"idleTimeout": "0s"}}}), "idleTimeout: must be 1ms or more"),
    "an empty policy": (rule({}), "trafficPolicy: must have at least one field"),
    "a policy of empty ports": (rule({"portLevelSettings": []}), "trafficPolicy: must have at least one field"),
    "an empty policy of a subset": (rule(subsets=[{"name": "a", "trafficPolicy": {}}]), "subsets[0].trafficPolicy: must have"),
    "an empty port": (rule({"portLevelSettings": [{"port": {"number": 80}}]}), "portLevelSettings[0]: must have at least one field"),
    "an empty pool": (rule({"connectionPool": {}}), "connectionPool: must have at least one field"),
    "an empty fault": (virtual_service(fault={}), "fault: must have a delay or an abort"),
    "a tiny percentage": (fault(0.00005), "percentage.value: must be 0, or 0.0001 or more"),
    "a subset's name": (subset("v1.2"), "name: must be a DNS label"),
    "a long subset's name": (subset("v" * 64), "name: must be a DNS label"),
    "a destination's subset": (virtual_service(to={"host": "web", "subset": "v_1"}), "subset: must be a DNS label"),
    "a host twice": (virtual_service(["web", "api", "web"]), "hosts: a host stands twice"),
    "a host under a wildcard": (virtual_service(["*.example", "a.example"]), "hosts[1]: is covered by another host of the list"),
    "two wildcards": (virtual_service(["*.b.example", "*.example"]), "hosts[0]: is covered by another host of the list"),
    "every host for sidecars": (virtual_service("*"), 'hosts[0]: "*" is only for Gateways'),
    "a region beside failover": (
        locality({"failover": [{"from": "a", "to": "b"}], "failoverPriority": [REGION]}),
        f"failoverPriority[0]: {REGION} beside failover",
    ),
    "distribute and failover": (
        locality({"failover": [{"from": "a", "to": "b"}], "distribute": [{"from": "*", "to": {"*": 100}}]}),
        "distribute excludes failover",
    ),
    "general before specific": (distribute("r/*", "r/a"), "overlaps"),
    "everything first": (distribute("*", "r/a"), "overlaps"),
    "a zone after its subzone": (distribute("r/a/x", "r/a"), "overlaps"),
    "a region after its zone": (distribute("r/a", "r"), "overlaps"),
    "twice": (distribute("r/a/x", "r/a/x"), "overlaps"),
    "overlapping targets, whatever the order": (distribute("*", to={"r/a": 50, "r/*": 50}), "overlaps"),
    "the same, the other way": (distribute("*", to={"r/*": 50, "r/a": 50}), "overlaps"),
    "local errors without their split": (
        rule({"outlierDetection": {"consecutiveLocalOriginFailures": 3}}),
        "splitExternalLocalOriginErrors",
    ),
    "inert perTryTimeout": (virtual_service(retries={"perTryTimeout": "1s"}), "perTryTimeout: needs attempts above 0"),
    "inert retryOn": (virtual_service(retries={"attempts": 0, "retryOn": "5xx"}), "retryOn: needs attempts above 0"),
    "an aggression that starts high": (
        rule({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0.5}}}),
        "aggression: must be 1 or",
    ),
    "a namespace twice": (rule(limit(1), exportTo=["a", "a"]), "exportTo: must name no namespace twice"),
    "everybody and one more": (rule(limit(1), exportTo=["*", "a"]), 'none beside "*"'),
    "an empty pattern": (virtual_service(match=[{"uri": {"regex": ""}}]), "match[0].uri.regex: must not be empty"),
    "an empty prefix of a header": (virtual_service(match=[{"headers": {"x": {"prefix": ""}}}]), "headers.x.prefix: must not be empty"),
    "upgrade and client's protocol": (
        rule({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": True}}}),
        "useClientProtocol: must not be true beside",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    manifest, part = REFUSED[name]
    with pytest.raises(ManifestError) as caught:
        Mesh(istio="1.31").apply(manifest)
    assert part in str(caught.value)


TAKEN = {
    "a timeout of 1 ms": virtual_service(timeout="1ms"),
    "a long way to write it": virtual_service(timeout="0.25h1ms"),
    "a very long way": virtual_service(timeout="0.0005h.200s"),
    "no TCP idle timeout": rule({"connectionPool": {"tcp": {"idleTimeout": "0s"}}}),
    "tls alone": rule({"tls": {"mode": "DISABLE"}}),
    "an empty detector": rule({"outlierDetection": {}}),
    "an empty balancer": rule({"loadBalancer": {}}),
    "an empty half of a pool": rule({"connectionPool": {"tcp": {}}}),
    "a budget alone": rule({"retryBudget": {}}),
    "a percentage of 0": fault(0),
    "the least percentage": fault(0.0001),
    "a subset in capitals": subset("V1"),
    "hosts side by side": virtual_service(["*.a.example", "*.b.example", "web"]),
    "specific before general": distribute("r/a/x", "r/a/*", "r/b", "r/*", "*"),
    "failoverPriority beside failover": locality({"failover": [{"from": "a", "to": "b"}], "failoverPriority": ["version"]}),
    "failoverPriority beside distribute": locality({"distribute": [{"from": "*", "to": {"*": 100}}], "failoverPriority": ["version"]}),
    "no local errors": rule({"outlierDetection": {"consecutiveLocalOriginFailures": 0}}),
    "attempts 0": virtual_service(retries={"attempts": 0}),
    "an empty prefix of a path": virtual_service(match=[{"uri": {"prefix": ""}}]),
    "an aggression of 1": rule({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 1}}}),
    "no policy": rule(),
    "limits": rule(limit(1)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name):
    Mesh(istio="1.31").apply(TAKEN[name])


def test_before_1_20_a_region_may_stand_beside_failover_which_then_has_no_effect():
    both = locality({"failover": [{"from": "a", "to": "b"}], "failoverPriority": [REGION]})
    (warning,) = (w for w in Mesh(istio="1.19").apply(both).warnings if w.field.endswith("failover"))
    assert "no effect before Istio 1.20" in warning.reason


def test_blanks_in_retry_on_are_read_over_and_said():
    mesh = Mesh().apply(virtual_service(retries={"attempts": 1, "retryOn": "reset, 503"}))
    assert any("refuses blanks" in warning.reason for warning in mesh.warnings)
    assert not any(
        "refuses blanks" in w.reason for w in Mesh().apply(virtual_service(retries={"attempts": 1, "retryOn": "reset,503"})).warnings
    )


def test_what_an_older_webhook_refuses_is_said_or_refused():
    """1.20 dropped a cookie's ttl, 1.23 took two more words of retryOn, 1.15 any sum of weights."""
    cookie = rule({"loadBalancer": {"consistentHash": {"httpCookie": {"name": "user"}}}})
    early = virtual_service(retries={"attempts": 1, "retryOn": "reset-before-request"})
    for manifest, part, since in ((cookie, "without a ttl before 1.20", 20), (early, "refuses reset-before-request before 1.23", 23)):
        said = {minor: any(part in w.reason for w in Mesh(istio=f"1.{minor}").apply(manifest).warnings) for minor in (since - 1, since)}
        assert said == {since - 1: True, since: False}
    uneven = virtual_service(route=[{"destination": {"host": "web"}, "weight": weight} for weight in (1, 2)])
    Mesh(istio="1.15").apply(uneven)
    with pytest.raises(ManifestError, match="must sum to 100 before Istio 1.15, they sum to 3"):
        Mesh(istio="1.14").apply(uneven)
