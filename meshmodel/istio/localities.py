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

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from meshmodel.istio.defaults import NEWEST, RULES, IstioDefaults

NEWEST_RULES = IstioDefaults(NEWEST)
NETWORK = "topology.istio.io/network"
REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"


@dataclass(frozen=True, kw_only=True)
class LocalityLbSetting:
    """A DestinationRule's `localityLbSetting`: (from, to) pairs, as Istio spells them.

    `forced`: it is a Service's trafficDistribution, which sets priorities without outlier detection too.
    """

    enabled: bool = True
    distribute: tuple[tuple[str, Mapping[str, int]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()
    forced: bool = False

    @property
    def kind(self) -> str:
        """What it asks for, in a word."""
        if not self.enabled or self.forced:
            return "near" if self.forced else "off"
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


def covering(locality: str) -> list[str]:
    """Every rule that covers a locality, as `whole` writes it; an absent or "*" part covers all."""
    region, zone, subzone = parts(locality)
    return [f"{r}/{z}/{s}" for r in {region, "*"} for z in {zone, "*"} for s in {subzone, "*"}]


def whole(rule: str) -> str:
    """A rule such as "us-west1/*" with all its three parts."""
    region, zone, subzone = parts(rule)
    return f"{region}/{zone or '*'}/{subzone or '*'}"


def numbered(rules: Iterable[str]) -> dict[str, int]:
    """`whole` rule -> its number in the list, the first one where it stands twice."""
    found: dict[str, int] = {}
    for number, rule in enumerate(rules):
        found.setdefault(whole(rule), number)
    return found


def first_covering(locality: str, rules: Mapping[str, int]) -> int | None:
    """The number of the first of `numbered` rules that covers a locality."""
    return min((rules[rule] for rule in covering(locality) if rule in rules), default=None)


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
    if not (outlier_detection or setting.forced) or not setting.enabled or setting.distribute:
        return (0,) * len(endpoints)
    unlike = list({id(endpoint): endpoint for endpoint in endpoints}.values())  # those of a Deployment are one object
    levels = [0] * len(unlike)
    if setting.failover_priority:
        levels = _label_levels(caller, unlike, setting.failover_priority, istio)
    if not setting.failover_priority or (setting.failover and istio.has("failover_after_labels")):
        target = next((to for origin, to in setting.failover if origin == parts(caller.locality)[0]), None)
        levels = [5 * level + _level(caller.locality, e.locality, target) for level, e in zip(levels, unlike, strict=True)]
    ranks = {level: rank for rank, level in enumerate(sorted(set(levels)))}
    rank = {id(endpoint): ranks[level] for endpoint, level in zip(unlike, levels, strict=True)}
    return tuple(rank[id(endpoint)] for endpoint in endpoints)


def _level(caller: str, endpoint: str, target: str | None) -> int:
    """`target`: the region that takes over for the caller's, where the setting says one."""
    mine, other = parts(caller), parts(endpoint)
    for level, upto in enumerate((3, 2, 1)):
        if mine[:upto] == other[:upto]:
            return level
    return 4 if target is not None and other[0] != target else 3


def _label_levels(caller: Pod, endpoints: Sequence[Pod], failover_priority: Sequence[str], istio: IstioDefaults) -> list[int]:
    """For each endpoint the number of labels left from the first one that differs on ("label" or "label=value").

    Where the network comes first, another network ranks behind all pods of one's own, and the labels go on counting.
    """
    mine, number = caller.all_labels, len(failover_priority)
    if not mine:
        return [0] * len(endpoints)
    valued = istio.has("label_values")
    given = dict(entry.split("=") for entry in failover_priority if entry.count("=") == 1) if valued else {}
    labels = [entry.partition("=")[0] if valued else entry for entry in failover_priority]
    wanted = {label: given.get(label, mine.get(label, "")) for label in labels}
    first, later = _Differences(labels, wanted, 0), _Differences(labels, wanted, 1)
    network_first = failover_priority[0] == NETWORK and istio.has("other_networks_last")
    levels = []
    for theirs in (endpoint.all_labels for endpoint in endpoints):
        passed, behind = first.of(theirs), 0
        if passed == 0 and network_first:
            passed, behind = later.of(theirs), number
        levels.append(behind + (0 if passed is None else number - passed))
    return levels


class _Differences:
    """Where, in a list of labels from number `begin` on, pods first differ from what is wanted of each label ("": its absence)."""

    def __init__(self, labels: Sequence[str], wanted: Mapping[str, str], begin: int) -> None:
        self._number = {labels[number]: number for number in range(len(labels) - 1, begin - 1, -1)}
        self._wanted = wanted
        self._present = sorted((number, label) for label, number in self._number.items() if wanted[label])

    def of(self, theirs: Mapping[str, str]) -> int | None:
        """None where there is no difference; takes as long as a pod has labels, however long the list is."""
        found = [self._number[label] for label, value in theirs.items() if label in self._number and value != self._wanted[label]]
        found += itertools.islice((number for number, label in self._present if not theirs.get(label)), 1)
        return min(found, default=None)


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
    entry = first_covering(caller.locality, numbered(origin for origin, _ in setting.distribute))
    if entry is None:
        return dict(pods)
    shares = list(setting.distribute[entry][1].items())
    targets = numbered(target for target, _ in shares)
    covered: dict[int, list[str]] = {}
    for locality in pods:
        if (share := first_covering(locality, targets)) is not None:
            covered.setdefault(share, []).append(locality)
    weights = dict.fromkeys(pods, 0)
    for share, localities in covered.items():
        total = sum(pods[locality] for locality in localities)
        weights |= {locality: math.ceil(pods[locality] * shares[share][1] / total) for locality in localities}
    return weights


def _weighs(setting: LocalityLbSetting, outlier_detection: bool, localities: int, istio: IstioDefaults) -> bool:
    """Whether Istio writes `locality_weighted_lb_config`; not said where one locality leaves nothing to weigh."""
    if not setting.enabled:
        return False
    if istio.has("locality_weights") and localities > 1:
        return True
    if istio.minor < RULES["locality_weights"].since:
        return bool(setting.distribute or setting.failover)
    return bool(setting.distribute or ((outlier_detection or setting.forced) and (setting.failover or setting.failover_priority)))
