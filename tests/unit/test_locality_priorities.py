"""Istio's priorities and locality weights: the tables of its documentation and source, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmodel.istio.defaults import IstioDefaults
from meshmodel.istio.localities import LocalityLbSetting, Pod, covering, locality_weights, priorities, whole

DEFAULT = LocalityLbSetting()
HERE = Pod("us-west1/us-west1-a/x")
PODS = tuple(map(Pod, ("us-west1/us-west1-a/x", "us-west1/us-west1-a/y", "us-west1/us-west1-b", "us-east1/us-east1-a", "eu/eu-a")))

name = st.sampled_from(["a", "b", "c"])
localities = st.lists(name, min_size=0, max_size=3).map("/".join)
pods = st.lists(localities.map(Pod), min_size=1, max_size=8)


def test_same_subzone_zone_region_and_elsewhere():
    assert priorities(HERE, PODS, DEFAULT, True) == (0, 1, 2, 3, 3)


def test_priorities_are_compacted():
    assert priorities(HERE, PODS[2:], DEFAULT, True) == (0, 1, 1)
    assert priorities(Pod("asia/a"), PODS, DEFAULT, True) == (0, 0, 0, 0, 0)


def test_the_tutorials_pods():
    web = Pod("us-west1/us-west1-a")
    backends = (Pod("us-west1/us-west1-a"), Pod("us-west1/us-west1-b"), Pod("us-west1/us-west1-b"))
    assert priorities(web, backends, DEFAULT, True) == (0, 1, 1)
    assert priorities(web, backends, DEFAULT, False) == (0, 0, 0)


@pytest.mark.parametrize("setting", [LocalityLbSetting(enabled=False), LocalityLbSetting(distribute=(("*", {"*": 100}),))])
def test_disabled_or_distributed_there_are_no_priorities(setting):
    assert priorities(HERE, PODS, setting, True) == (0,) * 5


def test_failover_prefers_the_named_region():
    setting = LocalityLbSetting(failover=(("us-west1", "eu"),))
    assert priorities(HERE, PODS, setting, True) == (0, 1, 2, 4, 3)
    assert priorities(Pod("asia"), PODS, setting, True) == (0,) * 5


def test_failover_priority_counts_labels_from_the_first_that_differs():
    setting = LocalityLbSetting(failover_priority=("version", "topology.kubernetes.io/region"))
    caller = Pod("us", (("version", "v1"),))
    endpoints = (Pod("us", (("version", "v1"),)), Pod("eu", (("version", "v1"),)), Pod("us", (("version", "v2"),)))
    assert priorities(caller, endpoints, setting, True) == (0, 1, 2)
    override = LocalityLbSetting(failover_priority=("version=v2",))
    assert priorities(caller, endpoints, override, True) == (1, 1, 0)


NETWORK, CLUSTER = "topology.istio.io/network", "topology.istio.io/cluster"


def labelled(**labels: str) -> Pod:
    names = {"network": NETWORK, "cluster": CLUSTER}
    return Pod("", tuple((names.get(name, name), value) for name, value in labels.items()))


@pytest.mark.parametrize(
    ("entries", "caller", "pods", "levels"),
    [
        ((NETWORK, CLUSTER), {"network": "n", "cluster": "c"}, [("n1", "c1"), ("n2", "c2")], (0, 0)),
        ((NETWORK, CLUSTER), {"network": "n1", "cluster": "c"}, [("n1", "c1"), ("n2", "c2"), ("n1", "c3")], (0, 1, 0)),
        ((NETWORK, CLUSTER), {"network": "n1", "cluster": "c1"}, [("n1", "c1"), ("n2", "c1"), ("n1", "c2"), ("n2", "c2")], (0, 2, 1, 3)),
        ((f"{NETWORK}=n1",), {"network": "n2"}, [("n1", "c"), ("n2", "c")], (0, 1)),
        ((f"{NETWORK}=n1", CLUSTER), {"cluster": "c1"}, [("n1", "c1"), ("n2", "c1"), ("n1", "c2"), ("n2", "c2")], (0, 2, 1, 2)),
        ((f"{NETWORK}=n3",), {"network": "n1"}, [("n1", "c"), ("n2", "c")], (0, 0)),
        ((CLUSTER, NETWORK), {"network": "n1", "cluster": "c1"}, [("n1", "c1"), ("n2", "c1"), ("n1", "c2"), ("n2", "c2")], (0, 1, 2, 2)),
        ((NETWORK, CLUSTER), {}, [("n1", "c1"), ("n2", "c2")], (0, 0)),
    ],
)
def test_networks_and_clusters_among_the_labels(entries, caller, pods, levels):
    """Kinds of Istio's own loadbalancer_test.go ("FailoverPriority"), with the network rule of 1.31."""
    setting = LocalityLbSetting(failover_priority=entries)
    assert priorities(labelled(**caller), [labelled(network=n, cluster=c) for n, c in pods], setting, True) == levels


def test_the_network_first_and_then_places():
    """ "FailoverPriority including locality" of the same file: other networks last, the places counted among them too."""
    setting = LocalityLbSetting(failover_priority=(NETWORK, "region", "zone"))
    where = [("n1", "r1", "z1"), ("n2", "r1", "z2"), ("n1", "r2", "z2"), ("n2", "r3", "z3"), ("n2", "r2", "z2"), ("n1", "r3", "z3")]
    pods = [labelled(network=n, region=r, zone=z) for n, r, z in where]
    caller = labelled(network="n1", region="r2", zone="z2")
    assert priorities(caller, pods, setting, True) == (1, 3, 0, 3, 2, 1)
    assert priorities(caller, pods, setting, True, IstioDefaults(30)) == (1, 2, 0, 2, 2, 1)


def test_distribute_splits_a_wildcard_by_pods_and_leaves_the_rest_out():
    setting = LocalityLbSetting(distribute=(("us-west1/*", {"us-west1/*": 80, "us-east1/*": 20}),))
    expected = {
        "us-west1/us-west1-a/x": 27,
        "us-west1/us-west1-a/y": 27,
        "us-west1/us-west1-b": 27,
        "us-east1/us-east1-a": 20,
        "eu/eu-a": 0,
    }
    assert locality_weights(HERE, PODS, setting, False) == expected


def test_distribute_from_elsewhere_weighs_by_pods():
    setting = LocalityLbSetting(distribute=(("us-west1/*", {"us-west1/*": 100}),))
    assert locality_weights(Pod("eu"), (*PODS, Pod("eu/eu-a")), setting, False)["eu/eu-a"] == 2


def test_only_explicit_settings_weigh_localities():
    explicit = LocalityLbSetting(failover=(("a", "b"),))
    assert locality_weights(HERE, PODS, DEFAULT, True) is None
    assert locality_weights(HERE, PODS, explicit, False) is None
    assert locality_weights(HERE, PODS, explicit, True) == dict.fromkeys((pod.locality for pod in PODS), 1)


@pytest.mark.parametrize(
    ("locality", "rule", "answer"),
    [("us/a/x", "us/*", True), ("us/a/x", "us/a", True), ("us/a", "us/a/x", False), ("eu/a", "*", True), ("eu/a", "us/*", False)],
)
def test_wildcards(locality, rule, answer):
    assert (whole(rule) in covering(locality)) is answer


@given(localities.map(Pod), pods)
def test_priorities_are_dense_and_start_at_0(caller, endpoints):
    levels = priorities(caller, endpoints, DEFAULT, True)
    assert set(levels) == set(range(max(levels) + 1))


@given(localities.map(Pod), pods)
def test_nearer_is_never_worse(caller, endpoints):
    def shared(pod: Pod) -> int:
        mine, other = ([*p.locality.split("/"), "", ""][:3] for p in (caller, pod))
        return next((i for i in range(3) if mine[i] != other[i]), 3)

    levels = priorities(caller, endpoints, DEFAULT, True)
    for one, level in zip(endpoints, levels, strict=True):
        for other, other_level in zip(endpoints, levels, strict=True):
            assert (shared(one) > shared(other)) <= (level < other_level)


@given(localities.map(Pod), pods, st.integers(1, 99))
def test_distribute_keeps_its_shares_up_to_rounding(caller, endpoints, share):
    setting = LocalityLbSetting(distribute=(("*", {"a/*": share, "b/*": 100 - share}),))
    weights = locality_weights(caller, endpoints, setting, False)
    present = {pod.locality for pod in endpoints}
    for region, wanted in (("a", share), ("b", 100 - share)):
        covered = [locality for locality in present if locality.split("/")[0] == region]
        total = sum(weights[locality] for locality in covered)
        assert not covered or wanted <= total < wanted + len(covered)
    assert all(weights[locality] == 0 for locality in present if locality.split("/")[0] not in ("a", "b"))
