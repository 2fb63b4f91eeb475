"""How Istio turns localities into priorities and weights, for one calling proxy.

    priority = 0  same region, zone and subzone        then compacted to 0, 1, 2 ...
               1  same region and zone
               2  same region
               3  elsewhere (4 where a `failover` entry sends the caller's region to another one)

A lower number is better; what Envoy does with priorities (spill-over, panic) is another file.
Priorities need outlier detection, since without it no proxy ever sees an endpoint fail; `distribute`
does not.  `enabled: false` turns everything off.

A locality is text "region/zone/subzone"; trailing parts may be absent.
Reference: istio/istio pilot/pkg/networking/core/loadbalancer/loadbalancer.go (`applyLocalityFailover`,
`applyFailoverPriorityPerLocality`, `applyLocalityWeights`) and cluster_traffic_policy.go (`applyLocalityLoadBalancer`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"


@dataclass(frozen=True, kw_only=True)
class LocalityLbSetting:
    """A DestinationRule's `localityLbSetting`: (from, to) pairs, as Istio spells them."""

    enabled: bool = True
    distribute: tuple[tuple[str, Mapping[str, int]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pod:
    """What Istio looks at in a pod: its locality and its labels."""

    locality: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def all_labels(self) -> dict[str, str]:
        """The pod's labels with the topology labels that Istio derives from its locality."""
        topology = {name: part for name, part in zip((REGION, ZONE, SUBZONE), parts(self.locality), strict=True) if part}
        return {**dict(self.labels), **topology}


def parts(locality: str) -> tuple[str, str, str]:
    """Region, zone and subzone of "region/zone/subzone", absent ones empty."""
    region, zone, subzone = [*locality.split("/"), "", "", ""][:3]
    return region, zone, subzone


def matches(locality: str, rule: str) -> bool:
    """Whether a locality is covered by a rule such as "us-west1/*"; an absent or "*" part covers all."""
    wanted, actual = parts(rule), parts(locality)
    if wanted[0] not in ("*", actual[0]):
        return False
    return all(want in ("*", "", have) for want, have in zip(wanted[1:], actual[1:], strict=True))


def priorities(caller: Pod, endpoints: Sequence[Pod], setting: LocalityLbSetting, outlier_detection: bool) -> tuple[int, ...]:
    """The priority of each endpoint as `caller` sees it: shape (endpoints,), 0 is best, no number skipped."""
    if not outlier_detection or not setting.enabled or setting.distribute:
        return (0,) * len(endpoints)
    levels = [0] * len(endpoints)
    if setting.failover_priority:
        levels = [_label_level(caller, endpoint, setting.failover_priority) for endpoint in endpoints]
    if setting.failover or not setting.failover_priority:
        levels = [5 * level + _level(caller.locality, e.locality, setting.failover) for level, e in zip(levels, endpoints, strict=True)]
    ranks = {level: rank for rank, level in enumerate(sorted(set(levels)))}
    return tuple(ranks[level] for level in levels)


def _level(caller: str, endpoint: str, failover: Sequence[tuple[str, str]]) -> int:
    mine, other = parts(caller), parts(endpoint)
    for level, upto in enumerate((3, 2, 1)):
        if mine[:upto] == other[:upto]:
            return level
    target = next((to for origin, to in failover if origin == mine[0]), None)
    return 4 if target is not None and other[0] != target else 3


def _label_level(caller: Pod, endpoint: Pod, failover_priority: Sequence[str]) -> int:
    """The number of labels left from the first one that differs on ("label" or "label=value")."""
    if not caller.all_labels:
        return 0
    for passed, entry in enumerate(failover_priority):
        label, given, value = entry.partition("=")
        wanted = value if given else caller.all_labels.get(label, "")
        if endpoint.all_labels.get(label, "") != wanted:
            return len(failover_priority) - passed
    return 0


def locality_weights(caller: Pod, endpoints: Sequence[Pod], setting: LocalityLbSetting, outlier_detection: bool) -> dict[str, int] | None:
    """The load-balancing weight of each locality as `caller` sees it, None where Envoy does not weigh localities.

    `distribute` splits each entry's weight over the localities that it covers, by their numbers of pods and
    rounded up; a locality that no entry covers gets 0 (Istio removes its endpoints).  Where no entry is from
    the caller's locality, and with an explicit `failover` or `failoverPriority`, the weights are numbers of pods.
    """
    explicit = outlier_detection and (setting.failover or setting.failover_priority)
    if not setting.enabled or not (setting.distribute or explicit):
        return None
    pods = Counter(endpoint.locality for endpoint in endpoints)
    rule = next((to for origin, to in setting.distribute if matches(caller.locality, origin)), None)
    if rule is None:
        return dict(pods)
    weights = dict.fromkeys(pods, 0)
    free = set(pods)
    for target, weight in rule.items():
        covered = {locality for locality in free if matches(locality, target)}
        total = sum(pods[locality] for locality in covered)
        free -= covered
        for locality in covered:
            weights[locality] = math.ceil(pods[locality] * weight / total)
    return weights


def split_by_priority(endpoints: Sequence[Pod], levels: Sequence[int]) -> bool:
    """Whether weights by locality would misstate a level: some locality has pods at several priorities."""
    seen: dict[str, set[int]] = {}
    for endpoint, level in zip(endpoints, levels, strict=True):
        seen.setdefault(endpoint.locality, set()).add(level)
    return any(len(found) > 1 for found in seen.values())
