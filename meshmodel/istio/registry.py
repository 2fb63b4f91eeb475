"""Who is behind which name: the Services of a mesh, their ports and their pods, as Istio's service registry has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from meshmodel._text import nearest
from meshmodel.istio.base import Resource
from meshmodel.istio.field import ManifestError
from meshmodel.istio.hosts import fqdn, oldest_first, wildcards_over
from meshmodel.istio.kubernetes import Deployment, Service, ServicePort
from meshmodel.istio.skipped import Skipped

T = TypeVar("T")


class Once:
    """Makes what is asked for once for each `key`: thousands of destinations and pods ask the same."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def __call__(self, make: Callable[[], T], *key: Hashable) -> T:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Registry:
    """The Services and Deployments of a mesh; `outside` are the hosts that only a ServiceEntry knows."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self.deployments = [r for r in resources if isinstance(r, Deployment)]
        self.services = [r for r in resources if isinstance(r, Service)]
        self.outside = {host for r in resources if isinstance(r, Skipped) for host in r.hosts}
        self._named = {name: service for service in reversed(self.services) for name in service.names}
        self._once = Once()

    def service(self, host: str, owner: Resource, path: str) -> Service:
        """The Service of a host as `owner` writes it.  Raises `ManifestError` naming owner, field and the nearest host."""
        service = self._named.get(fqdn(host, owner.namespace))
        if service is not None and service.fqdn == fqdn(host, owner.namespace):
            return service
        if host in self.outside:
            raise owner.error(path, f"{host} is outside of the mesh (ServiceEntry), which is not modelled: route to a Service of its pods")
        raise owner.error(path, f"there is no Service {host}{near(host, [name for s in self.services for name in (s.name, s.fqdn)])}")

    def knows(self, host: str) -> bool:
        """Whether a resolved host, or a wildcard, is for some Service."""
        if not host.startswith("*"):
            return host in self._named and self._named[host].fqdn == host
        return host in self._once(lambda: {wild for service in self.services for wild in wildcards_over(service.fqdn)}, "wildcards")

    def find(self, target: str | None) -> Service | None:
        """The Service of that name, as Kubernetes' DNS knows it."""
        return self._named.get(target or "")

    def upstreams(self, owner: Deployment) -> list[Service | None]:
        """The Services that the pods of a Deployment call, where they are of this mesh."""
        hosts = [upstream.host for upstream in owner.upstreams]
        return [self.find(host if "." in host else f"{host}.{owner.namespace}") for host in hosts]

    def called(self, target: str | None) -> tuple[Service | None, int | None]:
        """The Service and port of a target such as "web" or "web:8080"."""
        name, _, number = (target or "").rpartition(":")
        return (self.find(name), int(number)) if name and re.fullmatch(r"\d{1,5}", number) else (self.find(target), None)

    def numbered(self, service: Service) -> dict[int, ServicePort]:
        """Its ports by number; where TCP and UDP share one, TCP's."""
        return self._once(lambda: {port.port: port for port in service.ports[::-1] if port.protocol == "TCP"}, "ports", service.key)

    def port(self, service: Service, number: int | None, owner: Resource | None, path: str) -> ServicePort:
        """The port of that number (None: the only one, or the only one over HTTP), or `ManifestError` at `path` of the owner."""
        over_http = [port for port in service.ports if not port.other]
        if number is None and len(service.ports) != 1 and len(over_http) == 1:
            return over_http[0]
        if number is None and len(service.ports) == 1:
            return service.ports[0]
        if service.external:
            return ServicePort(name="http", port=number or 80, target=number or 80)
        if not service.ports:
            raise service.error("spec.ports", "there is none, so it cannot be called")
        found = self.numbered(service).get(number or 0)
        if found is None:
            ports = ", ".join(str(port.port) for port in service.ports)
            one = f"the ports {ports}: name one, such as {service.name}:{service.ports[0].port}"
            rule = f"Service {service.name} has {f'no port {number}, only {ports}' if number else one}"
            raise owner.error(path, rule) if owner else ManifestError(f"{path}: {rule}")
        return found

    @cached_property
    def called_by_pods(self) -> set[tuple[str, str, str]]:
        """The keys of the Services that some Deployment calls."""
        return {service.key for deployment in self.deployments for service in self.upstreams(deployment) if service}

    def uncalled(self) -> list[Service]:
        """The Services that no other calls; of those, if any, the ones with pods that answer over HTTP, and a name of its own each."""
        first = [service for service in self.services if service.key not in self.called_by_pods]
        answering = [s for s in first if self.behind(s) and any(not port.other for port in s.ports)]
        plain = [s for s in answering if not s.headless]
        return plain or answering or first

    def behind(self, service: Service) -> list[Deployment]:
        """The Deployments of a Service, in order."""
        return self._once(lambda: self._selected(service), "behind", service.key)

    def _selected(self, service: Service) -> list[Deployment]:
        """Those that have all its labels, of those that have the rarest of them."""
        having = [self._labelled.get((service.namespace, *label), []) for label in service.selector.items()]
        return [deployment for deployment in min(having, key=len, default=[]) if service.selects(deployment)]

    @cached_property
    def _labelled(self) -> dict[tuple[str, str, str], list[Deployment]]:
        """The Deployments by namespace and label, each list by name."""
        found: dict[tuple[str, str, str], list[Deployment]] = {}
        for deployment in sorted(self.deployments, key=lambda deployment: deployment.name):
            for name, value in deployment.labels.items():
                found.setdefault((deployment.namespace, name, value), []).append(deployment)
        return found

    def leading_to(self, deployment: Deployment) -> dict[int | None, tuple[Service, ServicePort]]:
        """The oldest Service that leads to each port of a Deployment's pods, and its port."""
        oldest = self._once(lambda: oldest_first(self.services), "oldest first")
        every = [(service, port) for service in oldest if service.selects(deployment) for port in service.ports]
        return {target_port(port, deployment): (service, port) for service, port in reversed(every)}


def target_port(port: ServicePort, deployment: Deployment) -> int | None:
    """The number of the port of a pod that a Service's port leads to."""
    return deployment.named_ports.get(port.target) if isinstance(port.target, str) else port.target


def near(name: str, known: list[str]) -> str:
    found = nearest(name, known)
    if found:
        return f", did you mean {found}?"
    shown = ", ".join(sorted(known)[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    return f" (there are {shown})" if known else ""
