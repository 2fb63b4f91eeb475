"""What Istio does by version: when its rules came and went, what it writes where a resource leaves a field out.

Each rule of `RULES` and each field of `FIELDS` was looked up in the source of the last patch release of each minor
version (istio = github.com/istio/istio; fields: manifests/charts/base, crd-all.gen.yaml).  Istio 1.N carries
Envoy 1.(N+8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshmodel.istio.field import ManifestError
from meshmodel.scenario import LoadBalancing, RetryPolicy

ENVOY_PANIC_THRESHOLD = 50.0
"""Percent; Envoy's `healthy_panic_threshold`.  Istio replaces it by `minHealthPercent` only with outlier detection."""

PREVIOUS_PRIORITIES_UPDATE_FREQUENCY = 2
"""What `retryRemoteLocalities` writes (retry.go, `buildPreviousPrioritiesConfig`)."""

OLDEST, NEWEST = 10, 99


@dataclass(frozen=True)
class Rule:
    """A rule that holds from Istio 1.`since` to before 1.`until`; `says` it in words, `source` is where it stands."""

    since: int
    until: int
    says: str
    source: str

    @property
    def versions(self) -> str:
        since = f"from 1.{self.since}" if self.since > OLDEST else ""
        return " ".join(filter(None, (since, f"to 1.{self.until - 1}" if self.until <= NEWEST else "on" if since else "")))


_CLUSTER = "istio pilot/pkg/networking/core/cluster_traffic_policy.go (v1alpha3/cluster.go before 1.22)"
_LOCALITY = "istio pilot/pkg/networking/core/loadbalancer/loadbalancer.go"
_RETRY = "istio pilot/pkg/networking/core/route/retry/retry.go"

RULES = {
    "least_request": Rule(14, NEWEST + 1, "LEAST_REQUEST is the default load balancer", f"{_CLUSTER}, defaultLBAlgorithm"),
    "locality_weights": Rule(
        12, 24, "every cluster weighs its localities by their numbers of pods",
        f"{_CLUSTER}, applyLoadBalancer; left out by istio/istio 52898",
    ),
    "label_values": Rule(18, NEWEST + 1, "failoverPriority takes label=value", f"{_LOCALITY}, priorityLabelOverrides"),
    "specific_hosts": Rule(
        18, NEWEST + 1, "of a VirtualService for *.host and one for the host itself the latter wins, not the older",
        "istio pilot/pkg/model/sidecar.go, computeWildcardHostVirtualServiceIndex; releasenotes/notes/45415",
    ),
    "failover_after_labels": Rule(20, NEWEST + 1, "failover counts beside failoverPriority", f"{_LOCALITY}, ApplyLocalityLoadBalancer"),
    "strict_ejection": Rule(
        20, NEWEST + 1, "maxEjectionPercent is strict, one host too many stays", "envoy changelogs/1.28.0.yaml, outlier detection",
    ),
    "hash_keeps_host": Rule(
        23, NEWEST + 1, "a retry under consistentHash may go to the same host again", f"{_RETRY}, newRetryPolicy",
    ),
    "exports_apart": Rule(
        24, NEWEST + 1, "of DestinationRules for one host those of another exportTo count for themselves, the last one wins",
        "istio pilot/pkg/model/destination_rule.go, mergeDestinationRule; ENABLE_ENHANCED_DESTINATIONRULE_MERGE",
    ),
    "retries_503": Rule(10, 24, "the default retry covers 503", f"{_RETRY}; EXCLUDE_UNSAFE_503_FROM_DEFAULT_RETRY"),
    "inbound_retries": Rule(
        24, NEWEST + 1, "each pod's inbound route tries reset-before-request twice more",
        "istio pilot/pkg/networking/core/route/route.go, BuildDefaultHTTPInboundRoute; ENABLE_INBOUND_RETRY_POLICY",
    ),
    "traffic_distribution": Rule(
        25, NEWEST + 1, "a Service's trafficDistribution keeps calls near, without outlier detection too",
        f"{_LOCALITY}, GetLocalityLbSetting; pilot/pkg/model/service.go, GetTrafficDistribution",
    ),
    "near_is_zone": Rule(27, NEWEST + 1, "trafficDistribution looks at the zone, not at the subzone", f"{_LOCALITY}, GetLocalityLbSetting"),
    "other_networks_last": Rule(
        31, NEWEST + 1, "topology.istio.io/network first in failoverPriority ranks other networks last", f"{_LOCALITY}; istio/istio 60829",
    ),
}  # fmt: skip
"""The rules that not all versions have, by name."""

FIELDS = {
    "splitExternalLocalOriginErrors": 11,
    "consecutiveLocalOriginFailures": 11,
    "failoverPriority": 12,
    "redirect.port": 12,
    "derivePort": 12,
    "redirect.scheme": 12,
    "LEAST_REQUEST": 14,
    "warmupDurationSecs": 14,
    "workloadSelector": 14,
    "tunnel": 14,
    "directResponse": 15,
    "maxConnectionDuration": 15,
    "statPrefix": 15,
    "ringHash": 16,
    "maglev": 16,
    "mirrors": 19,
    "rewrite.uriRegexRewrite": 19,
    "tcp.idleTimeout": 21,
    "maxConcurrentStreams": 21,
    "proxyProtocol": 21,
    "tls.caCrl": 22,
    "corsPolicy.unmatchedPreflights": 23,
    "warmup": 24,
    "backoff": 26,
    "retryIgnorePreviousHosts": 26,
    "retryBudget": 27,
    "httpCookie.attributes": 28,
    "prefixRewrite": 31,
    "budgetInterval": 31,
    "http2KeepAlive": 31,
    "outlierDetectionHttpErrorCodes": 31,
    "zoneAwareLbSetting": 31,
    "backendUtilization": 32,
}
"""The minor version that a field (or a word for one) of DestinationRule or VirtualService came with."""


@dataclass(frozen=True)
class IstioDefaults:
    """The rules and defaults of Istio 1.`minor`; `turned` are rules held the other way round, to see what they do."""

    minor: int
    turned: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        return f"1.{self.minor}"

    def has(self, rule: str) -> bool:
        """Whether this version has the rule of `RULES`."""
        return (RULES[rule].since <= self.minor < RULES[rule].until) != (rule in self.turned)

    @property
    def load_balancing(self) -> LoadBalancing:
        return "LEAST_REQUEST" if self.has("least_request") else "ROUND_ROBIN"

    @property
    def one_host_always(self) -> bool:
        """Whether one host may be ejected whatever `maxEjectionPercent` says."""
        return not self.has("strict_ejection")

    @property
    def retries_503(self) -> bool:
        """Whether 503 is a retriable status code of the default retry policy."""
        return self.has("retries_503")

    @property
    def inbound_retries(self) -> int:
        """How often a pod's own sidecar tries a request again that was reset before it was sent."""
        return 2 if self.has("inbound_retries") else 0

    @property
    def retry(self) -> RetryPolicy:
        """The policy of a route without `retries`; also what a `retries` that leaves fields out starts from."""
        return self.default_retry(consistent_hash=False)

    def default_retry(self, consistent_hash: bool) -> RetryPolicy:
        """The default policy of a route; under `consistentHash` newer versions let a retry go to the same host again."""
        return RetryPolicy(
            attempts=2,
            retry_on=frozenset(("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")),
            retriable_status_codes=frozenset((503,) if self.retries_503 else ()),
            previous_hosts=not (consistent_hash and self.has("hash_keeps_host")),
            host_selection_retry_max_attempts=5,
        )


def istio_defaults(version: str) -> IstioDefaults:
    """The defaults of an Istio version, "1.N" or "1.N.P".  Raises `ManifestError` on anything else."""
    found = re.fullmatch(r"1\.(\d{1,3})(\.\d+)?", str(version))
    if not found or not OLDEST <= int(found[1]) <= NEWEST:
        raise ManifestError(f"istio: must be a version 1.{OLDEST} or newer such as '1.17' or '1.24.1', got {version!r}")
    return IstioDefaults(int(found[1]))
