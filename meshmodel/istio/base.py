"""What the readers of all kinds share: the context of reading, the resource, and checks of fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from meshmodel.istio import names
from meshmodel.istio.defaults import FIELDS, OLDEST, IstioDefaults
from meshmodel.istio.field import Field, ManifestError, Place, together
from meshmodel.istio.warnings import ASSUMPTION, CHANGES, NEUTRAL, NOT_MODELLED, NOTED, MeshWarning
from meshmodel.scenario import Reading

NO = "is not modelled"
MAX_UINT32 = 2**32 - 1
METADATA = (
    "name namespace labels annotations uid resourceVersion generation creationTimestamp managedFields selfLink "
    "ownerReferences finalizers generateName deletionTimestamp deletionGracePeriodSeconds clusterName"
).split()


@dataclass
class Context:
    """What reading depends on: the mesh's namespace, how fake-service is read, Istio's version; `warnings` collects what is found."""

    namespace: str
    reading: Reading
    defaults: IstioDefaults
    warnings: list[MeshWarning] = field(default_factory=list)

    def warn(self, at: Field, reason: str, source: str = NOT_MODELLED, group: str = CHANGES) -> None:
        self.warnings.append(MeshWarning(at.owner, at.path, reason, source, group))

    def assume(self, at: Field, reason: str, source: str = NOT_MODELLED) -> None:
        self.warn(at, reason, source, ASSUMPTION)

    def note(self, at: Field, reason: str = NEUTRAL) -> None:
        self.warn(at, reason, NOT_MODELLED, NOTED)

    def neutral(self, parent: Field, shapes: Mapping[str, Shape]) -> list[str]:
        """Check and note the fields of these shapes, on which neither times nor codes depend here; returns their names."""
        for name, shape in shapes.items():
            if name in parent:
                self.shaped(parent.need(name), shape)
                self.note(parent.need(name))
        return list(shapes)

    def shaped(self, field: Field, shape: Shape) -> None:
        """`check_shape`, which also refuses a field in it that came with a later version of Istio."""
        check_shape(field, shape)
        for name, child in field.value.items() if isinstance(shape, Mapping) else ():
            self.since(child, _dotted(field, name))

    def only(self, parent: Field, *known: str, refused: Mapping[str, str] | None = None) -> Field:
        """`Field.only`, which also refuses what this version of Istio does not have yet, naming the one that has it."""
        for name, child in parent.mapping().items():
            if name in known or name in (refused or {}):
                self.since(child, _dotted(parent, name))
        return parent.only(*known, refused=refused)

    def since(self, field: Field, name: str) -> None:
        """Refuse a field, or a word in it, that came with a later version of Istio."""
        if self.defaults.minor < FIELDS.get(name, OLDEST):
            raise field.error(f"Istio {self.defaults.version} has no {name.rpartition('.')[2]} yet, it came with 1.{FIELDS[name]}")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What every resource has: (`kind`, `namespace`, `name`) is its key.

    `created`: the number of the `apply` that made it, and its `metadata.creationTimestamp` ("~": it has none).
    `export`: its `exportTo` (None: everywhere).
    """

    kind: str
    name: str
    namespace: str
    place: Place
    created: tuple[int, str] = (0, "~")
    warnings: tuple[MeshWarning, ...] = ()
    export: tuple[str, ...] | None = None
    manifest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def seen_from(self, namespace: str) -> bool:
        """Whether proxies of that namespace have it (istio.io, exportTo)."""
        places = {self.namespace if each == "." else each for each in self.export or ("*",)}
        return "*" in places or namespace in places

    @property
    def is_private(self) -> bool:
        """Whether it is for its own namespace alone."""
        return self.export is not None and set(self.export) in ({"."}, {self.namespace})

    def fields(self, known: Container[str]) -> set[str]:
        """The names of the fields of its spec, alone and with the field that they stand in, that are `known`."""
        return set(_names("spec", self.manifest.get("spec"), known))

    def error(self, path: str, rule: str) -> ManifestError:
        """An error that shows only once the whole mesh is known."""
        return ManifestError(f"{self.place}: {self} {path}: {rule}".replace(" :", ":"))


def _dotted(parent: Field, name: str) -> str:
    """A field's name in `FIELDS`: with the field that it stands in where other ones are called alike."""
    within = f"{parent.path.rpartition('.')[2].partition('[')[0]}.{name}"
    return within if within in FIELDS else name


def read_export(spec: Field) -> tuple[str, ...] | None:
    """`exportTo`: namespaces, "." for its own, "*" for all, "~" for none; None where it is not said."""
    given = spec.get_or("exportTo", []).items()
    named = [each.text() for each in given]
    if len(set(named)) < len(named) or ("*" in named and len(named) > 1):
        raise spec.need("exportTo").error('must name no namespace twice, and none beside "*": Istio refuses it')
    return tuple(each.value if each.value in (".", "*", "~") else names.label(each) for each in given) or None


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
    """Note each of `fields` that is there; returns `fields`, to be added to the known ones."""
    for name in fields:
        if name in parent:
            context.note(parent.need(name))
    return fields


Shape = Any
"""How a field must look: "text", "flag", "number", "any", "labels" (text by any name), a list of one shape, or fields by name."""


def check_shape(field: Field, shape: Shape) -> None:
    """Refuse what is not of this shape, as the API server would."""
    if isinstance(shape, list):
        for each in field.items():
            check_shape(each, shape[0])
    elif isinstance(shape, Mapping):
        for name, child in field.only(*shape).mapping().items():
            if child.value is not None:
                check_shape(child, shape[name])
    elif shape != "any":
        {"text": Field.text, "flag": Field.boolean, "number": Field.integer, "labels": Field.texts}[shape](field)


def collected(*readers: Callable[[], object]) -> None:
    """Run all of them; the errors of all are raised together."""
    problems = []
    for reader in readers:
        try:
            reader()
        except ManifestError as problem:
            problems.append(problem)
    if problems:
        raise together(problems)


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
