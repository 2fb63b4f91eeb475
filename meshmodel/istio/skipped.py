"""Resources that have no part in times and codes: they are taken whatever they say, and named once.

Some of them can have a part that is not modelled: what is then taken for granted is an assumption, and what would change the
result for certain is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from meshmodel.istio.base import Context, Resource
from meshmodel.istio.field import Field
from meshmodel.istio.warnings import ASSUMPTION, NOT_MODELLED, NOTED, MeshWarning

CORE = (
    "Namespace ServiceAccount ConfigMap Secret PersistentVolume PersistentVolumeClaim Node Endpoints Event LimitRange ResourceQuota "
    "ReplicationController PodTemplate ComponentStatus ControllerRevision Job CronJob"
).split()
ISTIO = "ServiceEntry Sidecar WorkloadEntry WorkloadGroup ProxyConfig".split()
OURS = ("v1", "apps/v1", "networking.istio.io")
"""Where the kinds that we read come from: any other kind from there is a slip of the pen, until it is known here."""

ASSUMED = {
    "AuthorizationPolicy": "its requests are let through",
    "RequestAuthentication": "its requests are let through",
    "NetworkPolicy": "its requests are let through",
    "PeerAuthentication": "its requests are let through, whatever a rule's tls says",
    "ProxyConfig": "each proxy has the workers that the mesh says (workers, --workers)",
    "IstioOperator": "its meshConfig is not read, Istio's own defaults hold",
    "ConfigMap of a meshConfig": "its defaults are not read, Istio's own hold",
    "HorizontalPodAutoscaler": "the number of pods stays as the workload has it",
    "ScaledObject": "the number of pods stays as the workload has it",
    "WasmPlugin": "it changes no request and takes no time",
    "Sidecar": "each proxy knows every Service",
    "ServiceEntry": "no request of the load goes to it",
    "WorkloadEntry": "no request of the load goes to it",
    "Ingress": "the load does not come by it",
    "HTTPRoute": "the load does not come by it",
    "GRPCRoute": "the load does not come by it",
}
"""What is taken for granted of a kind that can have a part."""


@dataclass(frozen=True, kw_only=True)
class Skipped(Resource):
    """`hosts` are those that a ServiceEntry names."""

    hosts: tuple[str, ...] = ()


def skips(kind: str, document: Field) -> bool:
    """Whether the kind has no part in it: a known one, or any of an API that is not ours."""
    version = document.get_or("apiVersion", "").value
    group = version if version in OURS else str(version).partition("/")[0]
    return kind in (*CORE, *ISTIO, *ASSUMED) or (bool(version) and group not in (*OURS, "apps"))


def read_skipped(document: Field, context: Context) -> Skipped:
    """The resource, of which only name and place are read."""
    kind, metadata, spec = document.need("kind").name(), document.get_or("metadata", {}), document.get_or("spec", {})
    if kind == "Sidecar":
        _refuse_limits(spec)
    if kind in ("HTTPRoute", "GRPCRoute"):
        _refuse_for_services(spec)
    namespace = metadata.get_or("namespace", context.namespace)
    return Skipped(
        kind=_called(kind, document),
        name=metadata.get_or("name", metadata.get_or("generateName", "-").value).name(),
        namespace=namespace.name(),
        place=document.need("kind").place,
        manifest=document.plain(),
        hosts=tuple(host.text() for host in spec.get_or("hosts", []).items()) if kind == "ServiceEntry" else (),
    )


def _called(kind: str, document: Field) -> str:
    """What the remark calls it."""
    if kind == "ConfigMap" and "mesh" in document.get_or("data", {}):
        return "ConfigMap of a meshConfig"
    return kind if kind != "Gateway" else "Gateway of the Gateway API"


def _refuse_limits(spec: Field) -> None:
    """The limits that a Sidecar sets for its pods, of all their ports or of one."""
    for listener, name in ((spec, "inboundConnectionPool"), *((each, "connectionPool") for each in spec.get_or("ingress", []).items())):
        if name in listener:
            raise listener.need(name).error("is not modelled: write the limits as the connectionPool of a DestinationRule")


def _refuse_for_services(spec: Field) -> None:
    for parent in spec.get_or("parentRefs", []).items():
        if parent.get_or("kind", "Gateway").value == "Service":
            raise parent.error("routes of the Gateway API for a Service are not modelled: write them as a VirtualService")


def remarks(resources: Iterable[Skipped]) -> list[MeshWarning]:
    """One assumption for each kind that could have a part, and one note of all others."""
    counts = Counter(resource.kind for resource in resources if not resource.warnings)
    found = [
        MeshWarning(f"{kind} ({count})" if count > 1 else kind, "", f"is not modelled: {ASSUMED[kind]}", NOT_MODELLED, ASSUMPTION)
        for kind, count in counts.items()
        if kind in ASSUMED
    ]
    others = [f"{kind} ({count})" if count > 1 else kind for kind, count in counts.items() if kind not in ASSUMED]
    if others:
        found.append(MeshWarning(", ".join(others), "", "such resources have no part in times and codes", NOT_MODELLED, NOTED))
    return found
