"""Hosts as Istio names and matches them, and which of several resources for one host wins.

A host without a dot is a Service of the resource's own namespace; "*", "*.local", "*-web.ns.svc.cluster.local" match by
their end.  Of several matching hosts the most specific wins: the host itself, then the longest wildcard.  Of several
resources for the same host the oldest wins, of those created in the same second the first by name.

Sources: istio/istio pkg/config/host/name.go (`Matches`, `MoreSpecific`), pilot/pkg/model/config.go
(`ResolveShortnameToFQDN`, `MostSpecificHostMatch`, `sortConfigByCreationTime`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from meshmodel.istio.base import Resource

R = TypeVar("R", bound=Resource)

LONGEST = 253
"""Letters of a host's name at most (RFC 1123)."""


def fqdn(host: str, namespace: str) -> str:
    """The host as Istio resolves it for a resource of that namespace."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def covers(pattern: str, host: str) -> bool:
    """Whether a host, or a wildcard, covers another one."""
    return pattern == host or (pattern.startswith("*") and host.removeprefix("*").endswith(pattern[1:]))


def wildcards_over(host: str) -> list[str]:
    """Every wildcard that could cover the host, the most specific first; none is longer than a name may be."""
    rest = host.removeprefix("*")
    return [f"*{rest[start:]}" for start in range(max(0, len(rest) - LONGEST), len(rest) + 1)]


def oldest_first(resources: Iterable[R]) -> list[R]:
    """In the order in which Istio looks at them: by creation, those of the same second by name."""
    return sorted(resources, key=lambda resource: (resource.created, resource.name, resource.namespace))


class ByHost(Generic[R]):
    """Resources by the hosts that they are for, each host resolved."""

    def __init__(self, resources: Iterable[R], hosts: Callable[[R], Iterable[str]]) -> None:
        self._by_pattern: dict[str, list[R]] = {}
        for resource in resources:
            for host in dict.fromkeys(hosts(resource)):
                self._by_pattern.setdefault(host, []).append(resource)

    def covering(self, host: str) -> list[R]:
        """Those for the host itself and those for a wildcard that covers it, the oldest first."""
        found = (resource for pattern in self.patterns(host) for resource in self._by_pattern[pattern])
        return oldest_first({resource.key: resource for resource in found}.values())

    def most_specific(self, host: str, among: Callable[[R], bool] = lambda _: True) -> list[R]:
        """Of these (of those that `among` takes) those for the most specific host, the oldest first."""
        for pattern in self.patterns(host):
            found = [resource for resource in self._by_pattern[pattern] if among(resource)]
            if found:
                return oldest_first(found)
        return []

    def patterns(self, host: str) -> tuple[str, ...]:
        """The hosts of resources that cover this one (which is no wildcard), the most specific first."""
        return tuple(pattern for pattern in (host, *wildcards_over(host)) if pattern in self._by_pattern)
