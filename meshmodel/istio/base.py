"""What the readers of all kinds share: the context of reading, the resource, and checks of fields."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from meshmodel.istio import names
from meshmodel.istio.defaults import FIELDS, OLDEST, IstioDefaults
from meshmodel.istio.field import Field, ManifestError, Place
from meshmodel.istio.warnings import NOT_MODELLED, MeshWarning
from meshmodel.scenario import Reading

NO = "is not modelled"
UNNEEDED = "is not modelled: leave it out, neither times nor codes depend on it"
MAX_UINT32 = 2**32 - 1
METADATA = (
    "name namespace labels annotations uid resourceVersion generation creationTimestamp managedFields selfLink "
    "ownerReferences finalizers generateName"
).split()


@dataclass
class Context:
    """What reading depends on: the mesh's namespace, how fake-service is read, Istio's version; `warnings` collects what is found."""

    namespace: str
    reading: Reading
    defaults: IstioDefaults
    warnings: list[MeshWarning] = field(default_factory=list)

    def warn(self, at: Field, reason: str, source: str = NOT_MODELLED) -> None:
        self.warnings.append(MeshWarning(at.owner, at.path, reason, source))

    def only(self, parent: Field, *known: str, refused: Mapping[str, str] | None = None) -> Field:
        """`Field.only`, which also refuses what this version of Istio does not have yet, naming the one that has it."""
        for name, child in parent.mapping().items():
            within = f"{parent.path.rpartition('.')[2]}.{name}"
            if name in known or name in (refused or {}):
                self.since(child, within if within in FIELDS else name)
        return parent.only(*known, refused=refused)

    def since(self, field: Field, name: str) -> None:
        """Refuse a field, or a word in it, that came with a later version of Istio."""
        if self.defaults.minor < FIELDS.get(name, OLDEST):
            raise field.error(f"Istio {self.defaults.version} has no {name.rpartition('.')[2]} yet, it came with 1.{FIELDS[name]}")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What every resource has: (`kind`, `namespace`, `name`) is its key.

    `created`: the number of the `apply` that made it, and its `metadata.creationTimestamp` ("~": it has none).
    """

    kind: str
    name: str
    namespace: str
    place: Place
    created: tuple[int, str] = (0, "~")
    warnings: tuple[MeshWarning, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def fields(self, known: Container[str]) -> set[str]:
        """The names of the fields of its spec, alone and with the field that they stand in, that are `known`."""
        return set(_names("spec", self.manifest.get("spec"), known))

    def error(self, path: str, rule: str) -> ManifestError:
        """An error that shows only once the whole mesh is known."""
        return ManifestError(f"{self.place}: {self} {path}: {rule}".replace(" :", ":"))


def describe(parent: Field) -> Field:
    """The metadata of an object or of a template, checked."""
    metadata = parent.need("metadata").only(*METADATA)
    names.label_map(metadata.get_or("labels", {}))
    names.annotation_map(metadata.get_or("annotations", {}))
    return metadata


def _names(parent: str, value: object, known: Container[str]) -> Iterator[str]:
    for name, child in value.items() if isinstance(value, dict) else ():
        yield from (each for each in (name, f"{parent}.{name}") if each in known)
        yield from _names(name, child, known)
    for child in value if isinstance(value, list) else ():
        yield from _names(parent, child, known)


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


def milliseconds(field: Field) -> float:
    """Seconds of a duration as Istio's webhook takes it: 1 ms or more, no finer than that (`ValidateDuration`)."""
    seconds = field.duration()
    if sum(Fraction(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(field.text())) % 1:
        raise field.wrong("must be whole milliseconds, Istio refuses a finer duration")
    return seconds


_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_MILLISECONDS = {
    "ns": Fraction(1, 10**6), "us": Fraction(1, 1000), "µs": Fraction(1, 1000), "μs": Fraction(1, 1000),
    "ms": Fraction(1), "s": Fraction(1000), "m": Fraction(60_000), "h": Fraction(3_600_000),
}  # fmt: skip
