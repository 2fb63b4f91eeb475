"""Kubernetes and Istio resources, checked: `read(field, context)` turns a YAML tree into a typed resource.

Nothing is guessed: a field is used, or raises an error, or leaves a warning that names it.  Fields that
only describe (image, port names, labels of the object itself ...) are taken without a word.
This is the way in; the kinds are in `kubernetes`, `resources`, `virtual_service`, `gateway` and `envoy_filter`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from meshmodel._text import nearest
from meshmodel.istio import names
from meshmodel.istio.base import Context, Resource, describe
from meshmodel.istio.envoy_filter import read_envoy_filter
from meshmodel.istio.field import Field
from meshmodel.istio.gateway import read_gateway
from meshmodel.istio.kubernetes import read_service, read_workload
from meshmodel.istio.resources import read_destination_rule
from meshmodel.istio.skipped import Skipped, read_skipped, skips
from meshmodel.istio.virtual_service import read_virtual_service

_NETWORKING = tuple(f"networking.istio.io/{version}" for version in ("v1", "v1beta1", "v1alpha3"))
READERS: dict[str, tuple[tuple[str, ...], Callable[..., Resource | None]]] = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), (("apps/v1",), read_workload)),
    "Rollout": (("argoproj.io/v1alpha1",), read_workload),
    "Pod": (("v1",), read_workload),
    "Service": (("v1",), read_service),
    "Gateway": (_NETWORKING, read_gateway),
    "DestinationRule": (_NETWORKING, read_destination_rule),
    "VirtualService": (_NETWORKING, read_virtual_service),
    "EnvoyFilter": (_NETWORKING[2:], read_envoy_filter),
}


def read(document: Field, context: Context) -> Resource:
    """The resource that a document describes; a `Skipped` for one that has no part in it.
    Raises `ManifestError` with file, document, line and field.
    """
    kind = document.need("kind").text()
    known = READERS.get(kind, ((),))[0]
    if document.get_or("apiVersion", "").value not in known and skips(kind, document):
        return read_skipped(document.named(kind), context)
    metadata = document.need("metadata")
    name = metadata.need("name").name()
    document = document.named(f"{kind} {name}")
    names.subdomain(document.need("metadata").need("name"))
    if kind not in READERS:
        near = nearest(kind, READERS)
        raise document.need("kind").error(f"this kind is not modelled{f', did you mean {near}?' if near else ''}")
    versions, reader = READERS[kind]
    document.only("apiVersion", "kind", "metadata", "spec", "status")
    document.need("apiVersion").choice(*versions)
    metadata = describe(document)
    own = replace(context, warnings=[])
    namespace, created = metadata.get("namespace"), metadata.get("creationTimestamp")
    base = {
        "kind": kind,
        "name": name,
        "namespace": names.label(namespace) if namespace else context.namespace,
        "manifest": document.plain(),
        "place": document.need("kind").place,
        "created": (0, created.text() if created else "~"),
    }
    resource = reader(document, base, own)
    if resource is None:
        return Skipped(**base, warnings=tuple(own.warnings))  # type: ignore[arg-type]
    return replace(resource, warnings=tuple(own.warnings))
