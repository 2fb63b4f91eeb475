"""Inputs reduced from public reports (tests/cases, one folder a report), each with the value that its maintainers gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmodel.mesh import Mesh

CASES = Path(__file__).parents[2] / "cases"


def mesh(case: str, *files: str, **options: str) -> Mesh:
    return Mesh(overhead=0, **options).apply(*(CASES / case / f"{file}.yaml" for file in ("app", *files)))


@pytest.mark.parametrize("istio", ["1.17", "1.27"])
def test_zone_b_gets_nothing(istio):
    """istio/istio 39477: outlier detection alone switches locality load balancing on; enabled: false switches it off."""
    load = {"target": "web", "locality": "r1.za", "connections": 4, "qps": 40, "duration": "20s", "replications": 20}
    alone = mesh("zone-b-gets-nothing", "rule", istio=istio, namespace="istioinaction")
    assert alone.fortio_load(**load).endpoint_shares()["web-a"].mean == 1
    assert any("switches failover by locality on" in warning.reason for warning in alone.warnings)
    off = mesh("zone-b-gets-nothing", "rule-off", istio=istio, namespace="istioinaction")
    assert off.fortio_load(**load).endpoint_shares()["web-a"].mean == pytest.approx(0.5, abs=0.05)
    assert not any("locality" in warning.reason for warning in off.warnings)


@pytest.mark.parametrize("istio", ["1.17", "1.27"])
def test_distribute_all_to_a_dead_zone(istio):
    """istio/istio 33470, 48197: intended, the other zones have no endpoints; 503 for good."""
    dead = mesh("distribute-all-to-a-dead-zone", "rule", istio=istio)
    replay = dead.fortio_load(target="shop", locality="r.zj", connections=4, qps=40, duration="30s", replications=10)
    assert replay.code_shares()[503].mean == 1
    assert any("sends nothing to the pods of r/zk" in warning.reason for warning in dead.warnings)


def test_default_namespace_fqdn():
    """istio/istio 39477, 12178: without a namespace everything is in kubectl's default, and so the rules meet their Service."""
    ruled = mesh("default-namespace-fqdn", "rule")
    assert not any("there is no Service" in warning.reason for warning in ruled.warnings)
    replay = ruled.fortio_load(target="api", connections=6, qps=0, calls=6, replications=10)
    assert replay.code_shares()[503].mean == pytest.approx(0.5)
    routed = mesh("default-namespace-fqdn", "route")
    assert routed.scenario(replay.scenario.workload, "api").routes[0].timeout == 1
