"""Hosts as Istio names and matches them, and which of several resources for one host wins.

A host without a dot is a Service of the resource's own namespace; "*", "*.local", "*-web.ns.svc.cluster.local" match by
their end.  Of several matching hosts the most specific wins: the host itself, then the longest wildcard.  Of several
resources for the same host the oldest wins, of those created in the same second the first by name.

Sources: istio/istio pkg/config/host/name.go (`Matches`, `MoreSpecific`), pilot/pkg/model/config.go
(`ResolveShortnameToFQDN`, `MostSpecificHostMatch`, `sortConfigByCreationTime`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from meshmodel.istio.base import Resource

R = TypeVar("R", bound=Resource)


def fqdn(host: str, namespace: str) -> str:
    """The host as Istio resolves it for a resource of that namespace."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def covers(pattern: str, host: str) -> bool:
    """Whether a host, or a wildcard, covers another one."""
    return pattern == host or (pattern.startswith("*") and host.removeprefix("*").endswith(pattern[1:]))


def wildcards_over(host: str) -> set[str]:
    """Every wildcard that could cover the host."""
    rest = host.removeprefix("*")
    return {f"*{rest[start:]}" for start in range(len(rest) + 1)}


def oldest_first(resources: Iterable[R]) -> list[R]:
    """In the order in which Istio looks at them: by creation, those of the same second by name."""
    return sorted(resources, key=lambda resource: (resource.created, resource.name, resource.namespace))


def most_specific(resources: Iterable[R], hosts: Callable[[R], Iterable[str]], wanted: str) -> list[R]:
    """The resources whose `hosts`, resolved, cover `wanted` most specifically, the oldest first."""
    found = [(len(host), host, resource) for resource in resources for host in hosts(resource) if covers(host, wanted)]
    if not found:
        return []
    exact = [resource for _, host, resource in found if host == wanted]
    best = max(found, key=lambda each: each[0])[1]
    return oldest_first(exact or [resource for _, host, resource in found if host == best])
