"""How Istio turns localities into priorities and weights, for one calling proxy.

    priority = 0  same region, zone and subzone        then compacted to 0, 1, 2 ...
               1  same region and zone
               2  same region
               3  elsewhere (4 where a `failover` entry sends the caller's region to another one)

A lower number is better; what Envoy does with priorities (spill-over, panic) is another file.
Priorities need outlier detection, since without it no proxy ever sees an endpoint fail; `distribute`
does not.  `enabled: false` turns everything off.

Envoy weighs localities where Istio tells it to: with `distribute`, with an explicit failover, and from 1.12 to
1.23 on every cluster.  It then picks a locality by weight and a pod within it.

A locality is text "region/zone/subzone"; trailing parts may be absent.
Reference: istio/istio pilot/pkg/networking/core/loadbalancer/loadbalancer.go (`applyLocalityFailover`,
`applyFailoverPriorityPerLocality`, `applyLocalityWeights`), cluster_traffic_policy.go (`applyLocalityLoadBalancer`)
and pkg/config/validation/agent/validation.go (`validateLocalities`).  What depends on the version: `defaults`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshmodel.istio.defaults import NEWEST, RULES, IstioDefaults

NEWEST_RULES = IstioDefaults(NEWEST)
NETWORK = "topology.istio.io/network"
REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"


@dataclass(frozen=True, kw_only=True)
class LocalityLbSetting:
    """A DestinationRule's `localityLbSetting`: (from, to) pairs, as Istio spells them."""

    enabled: bool = True
    distribute: tuple[tuple[str, Mapping[str, int]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What it asks for, in a word."""
        if not self.enabled:
            return "off"
        return "distribute" if self.distribute else "failover" if self.failover or self.failover_priority else "default"


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


def overlapping(localities: Sequence[str]) -> str | None:
    """The first locality of a list that a former one covers already; None where there is none.

    Specific before general is fine ("us/a", then "us/*"), as Istio's `validateLocalities` has it; "us/a/x" and then
    "us/a" is not.
    """
    listed: set[tuple[str, ...]] = set()
    begun: set[tuple[str, ...]] = set()
    for locality in localities:
        here = tuple(locality.split("/"))
        covering = {("*",), here[:1], (*here[:1], "*"), here[:2], (*here[:2], "*"), here} if len(here) > 1 else {("*",)}
        if here in begun or covering & listed:
            return locality
        listed.add(here)
        begun.update(here[:n] for n in range(1, len(here) + 1))
    return None


def priorities(
    caller: Pod, endpoints: Sequence[Pod], setting: LocalityLbSetting, outlier_detection: bool, istio: IstioDefaults = NEWEST_RULES
) -> tuple[int, ...]:
    """The priority of each endpoint as `caller` sees it: shape (endpoints,), 0 is best, no number skipped."""
    if not outlier_detection or not setting.enabled or setting.distribute:
        return (0,) * len(endpoints)
    levels = [0] * len(endpoints)
    if setting.failover_priority:
        levels = [_label_level(caller, endpoint, setting.failover_priority, istio) for endpoint in endpoints]
    if not setting.failover_priority or (setting.failover and istio.has("failover_after_labels")):
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


def _label_level(caller: Pod, endpoint: Pod, failover_priority: Sequence[str], istio: IstioDefaults) -> int:
    """The number of labels left from the first one that differs on ("label" or "label=value").

    Where the network comes first, another network ranks behind all pods of one's own, and the labels go on counting.
    """
    if not caller.all_labels:
        return 0
    number, behind = len(failover_priority), 0
    given = dict(entry.split("=") for entry in failover_priority if entry.count("=") == 1) if istio.has("label_values") else {}
    for passed, entry in enumerate(failover_priority):
        label = entry.partition("=")[0] if istio.has("label_values") else entry
        if endpoint.all_labels.get(label, "") != given.get(label, caller.all_labels.get(label, "")):
            if passed > 0 or entry != NETWORK or not istio.has("other_networks_last"):
                return behind + number - passed
            behind = number
    return behind


def locality_weights(
    caller: Pod, endpoints: Sequence[Pod], setting: LocalityLbSetting, outlier_detection: bool, istio: IstioDefaults = NEWEST_RULES
) -> dict[str, int] | None:
    """The load-balancing weight of each locality as `caller` sees it, None where Envoy does not weigh localities.

    `distribute` splits each entry's weight over the localities that it covers, by their numbers of pods and
    rounded up; a locality that no entry covers gets 0 (Istio removes its endpoints).  Where no entry is from
    the caller's locality, and without `distribute`, the weights are numbers of pods.
    """
    pods = Counter(endpoint.locality for endpoint in endpoints)
    if not _weighs(setting, outlier_detection, len(pods), istio):
        return None
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


def _weighs(setting: LocalityLbSetting, outlier_detection: bool, localities: int, istio: IstioDefaults) -> bool:
    """Whether Istio writes `locality_weighted_lb_config`; not said where one locality leaves nothing to weigh."""
    if not setting.enabled:
        return False
    if istio.has("locality_weights") and localities > 1:
        return True
    if istio.minor < RULES["locality_weights"].since:
        return bool(setting.distribute or setting.failover)
    return bool(setting.distribute or (outlier_detection and (setting.failover or setting.failover_priority)))
