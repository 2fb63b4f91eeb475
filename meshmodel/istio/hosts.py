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


class ByHost(Generic[R]):
    """Resources by the hosts that they are for, each host resolved."""

    def __init__(self, resources: Iterable[R], hosts: Callable[[R], Iterable[str]]) -> None:
        self._hosts = hosts
        self._named: dict[str, list[R]] = {}
        self._wild: list[tuple[str, R]] = []
        for resource in resources:
            for host in hosts(resource):
                if host.startswith("*"):
                    self._wild.append((host, resource))
                else:
                    self._named.setdefault(host, []).append(resource)

    def covering(self, host: str) -> list[R]:
        """Those for the host itself and those for a wildcard that covers it, the oldest first."""
        found = [*self._named.get(host, ()), *(resource for pattern, resource in self._wild if covers(pattern, host))]
        return oldest_first({resource.key: resource for resource in found}.values())

    def most_specific(self, host: str, namespace: str | None = None) -> list[R]:
        """Of these (of one namespace, if it is given) those for the most specific host, the oldest first."""
        found = [resource for resource in self.covering(host) if namespace in (None, resource.namespace)]
        exact = [resource for resource in found if host in self._hosts(resource)]
        longest = max((len(self._longest(resource, host)) for resource in found), default=0)
        return exact or [resource for resource in found if len(self._longest(resource, host)) == longest]

    def _longest(self, resource: R, host: str) -> str:
        return max((pattern for pattern in self._hosts(resource) if covers(pattern, host)), key=len)
