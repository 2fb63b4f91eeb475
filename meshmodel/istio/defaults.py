"""What Istio writes when a resource leaves a field out, by Istio version: one table, one place.

Sources (istio = github.com/istio/istio, envoy = github.com/envoyproxy/envoy):
- load balancing: istio pilot/pkg/networking/core/cluster_traffic_policy.go, `defaultLBAlgorithm`; LEAST_REQUEST since 1.14;
- retries: istio pilot/pkg/networking/core/route/retry/retry.go; 503 left out from 1.24 on
  (`EXCLUDE_UNSAFE_503_FROM_DEFAULT_RETRY`, Istio's 1.24 change notes);
- outlier detection: `applyOutlierDetection` in cluster_traffic_policy.go, Envoy's own defaults elsewhere;
- `max_ejection_percent` is strict from Envoy 1.28 on (envoy changelogs/1.28.0.yaml, "Outlier detection will always
  respect max_ejection_percent now"); Istio 1.N carries Envoy 1.(N+8), so strict from Istio 1.20 on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshmodel.istio.yaml_source import ManifestError
from meshmodel.scenario import LoadBalancing, RetryPolicy

ENVOY_PANIC_THRESHOLD = 50.0
"""Percent; Envoy's `healthy_panic_threshold`.  Istio replaces it by `minHealthPercent` only with outlier detection."""

PREVIOUS_PRIORITIES_UPDATE_FREQUENCY = 2
"""What `retryRemoteLocalities` writes (retry.go, `buildPreviousPrioritiesConfig`)."""

OLDEST, NEWEST = 10, 99


@dataclass(frozen=True)
class IstioDefaults:
    """The defaults of Istio 1.`minor`."""

    minor: int

    @property
    def version(self) -> str:
        return f"1.{self.minor}"

    @property
    def load_balancing(self) -> LoadBalancing:
        return "LEAST_REQUEST" if self.minor >= 14 else "ROUND_ROBIN"

    @property
    def one_host_always(self) -> bool:
        """Whether one host may be ejected whatever `maxEjectionPercent` says."""
        return self.minor < 20

    @property
    def retries_503(self) -> bool:
        """Whether 503 is a retriable status code of the default retry policy."""
        return self.minor < 24

    @property
    def retry(self) -> RetryPolicy:
        """The policy of a route without `retries`; also what a `retries` that leaves fields out starts from."""
        return RetryPolicy(
            attempts=2,
            retry_on=frozenset(("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")),
            retriable_status_codes=frozenset((503,) if self.retries_503 else ()),
            previous_hosts=True,
            host_selection_retry_max_attempts=5,
        )


def istio_defaults(version: str) -> IstioDefaults:
    """The defaults of an Istio version, "1.N" or "1.N.P".  Raises `ManifestError` on anything else."""
    found = re.fullmatch(r"1\.(\d{1,3})(\.\d+)?", str(version))
    if not found or not OLDEST <= int(found[1]) <= NEWEST:
        raise ManifestError(f"istio: must be a version 1.{OLDEST} or newer such as '1.17' or '1.24.1', got {version!r}")
    return IstioDefaults(int(found[1]))
