"""What the readers of all kinds share: the context of reading, the resource, and checks of fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from meshmodel.istio import names
from meshmodel.istio.defaults import IstioDefaults
from meshmodel.istio.field import Field, ManifestError, Place
from meshmodel.istio.warnings import NOT_MODELLED, MeshWarning
from meshmodel.scenario import Injector

NO = "is not modelled"
UNNEEDED = "is not modelled: leave it out, neither times nor codes depend on it"
MAX_UINT32 = 2**32 - 1
METADATA = (
    "name namespace labels annotations uid resourceVersion generation creationTimestamp managedFields selfLink "
    "ownerReferences finalizers generateName"
).split()


@dataclass
class Context:
    """What reading depends on: the mesh's namespace, injector and Istio version; `warnings` collects what is found."""

    namespace: str
    injector: Injector
    defaults: IstioDefaults
    warnings: list[MeshWarning] = field(default_factory=list)

    def warn(self, at: Field, reason: str, source: str = NOT_MODELLED) -> None:
        self.warnings.append(MeshWarning(at.owner, at.path, reason, source))


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What every resource has: (`kind`, `namespace`, `name`) is its key."""

    kind: str
    name: str
    namespace: str
    place: Place
    warnings: tuple[MeshWarning, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def error(self, path: str, rule: str) -> ManifestError:
        """An error that shows only once the whole mesh is known."""
        return ManifestError(f"{self.place}: {self} {path}: {rule}".replace(" :", ":"))


def describe(parent: Field) -> Field:
    """The metadata of an object or of a template, checked."""
    metadata = parent.need("metadata").only(*METADATA)
    names.label_map(metadata.get_or("labels", {}))
    names.annotation_map(metadata.get_or("annotations", {}))
    return metadata


def unused(parent: Field, fields: list[str], context: Context) -> list[str]:
    """Warn about each of `fields` that is there; returns `fields`, to be added to the known ones."""
    for name in fields:
        if name in parent:
            context.warn(parent.need(name), "has no effect here")
    return fields


def some(values: Field) -> list[Field]:
    """The entries of a list that must not be empty."""
    if not values.items():
        raise values.error("must not be empty")
    return values.items()
