"""Short manifests for the tests of the control plane: a Service "web" of two pods, and Istio's rules for it."""

from __future__ import annotations

from typing import Any

from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop, Cluster, Route

ONE_CALL = ClosedLoop(calls=1)


def resource(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None, api: str = "networking.istio.io/v1") -> dict:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def service(name: str = "web", *ports: int, namespace: str | None = None) -> dict:
    listed = [{"name": f"http-{port}", "port": port, "targetPort": 8000 + port} for port in ports or (80,)]
    return resource("Service", name, {"selector": {"app": name}, "ports": listed}, namespace, "v1")


def deployment(
    name: str = "web", app: str = "web", pods: int = 2, namespace: str | None = None, note: dict | None = None, **env: str
) -> dict:
    labels = {"app": app, "version": name}
    labels |= {"istio-locality": env.pop("locality")} if "locality" in env else {}
    labels |= {label: env.pop(label) for label in list(env) if not label.isupper()}
    labels = {label.replace("__", ".").replace("_", "/"): value for label, value in labels.items()}
    container = {"name": "app", "env": [{"name": variable, "value": value} for variable, value in env.items()]}
    template = {"metadata": {"labels": labels, "annotations": note or {}}, "spec": {"containers": [container]}}
    spec = {"replicas": pods, "selector": {"matchLabels": {"app": app, "version": name}}, "template": template}
    return resource("Deployment", name, spec, namespace, "apps/v1")


def rule(policy: dict | None = None, host: str = "web", name: str = "rule", namespace: str | None = None, **spec: Any) -> dict:
    spec = {"host": host, **({} if policy is None else {"trafficPolicy": policy}), **spec}
    return resource("DestinationRule", name, spec, namespace)


def virtual_service(
    hosts: str | list[str] = "web", to: dict | None = None, name: str = "route", namespace: str | None = None, **route: Any
) -> dict:
    http = [{"route": [{"destination": to or {"host": "web"}}], **route}]
    return resource("VirtualService", name, {"hosts": [hosts] if isinstance(hosts, str) else hosts, "http": http}, namespace)


def route(*sources: Any, istio: str = "1.27", target: str = "web", locality: str | None = None, **mesh: Any) -> Route:
    """The first route of a load on `target`; the sources are applied at once, after the Service and two pods of "web"."""
    whole = Mesh(**{"istio": istio, "overhead": 0, "namespace": "istioinaction", **mesh}).apply(service(), deployment(), *sources)
    return whole.scenario(ONE_CALL, target, locality).routes[0]


def cluster(*sources: Any, **options: Any) -> Cluster:
    """The cluster of that route's first destination."""
    return route(*sources, **options).destinations[0].cluster


def limit(value: int) -> dict:
    """A connectionPool that can be told from others."""
    return {"connectionPool": {"http": {"http2MaxRequests": value}}}
