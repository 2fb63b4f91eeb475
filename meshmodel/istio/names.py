"""Which names Kubernetes and Istio admit: a reader each, refusing every other text.

Nothing that passes can move a terminal's cursor, break a line or be a formula.
Sources: kubernetes apimachinery pkg/util/validation/validation.go (RFC 1123 and 1035 labels, qualified names, label values,
port names, relaxed environment variable names); istio pkg/config/validation (`ValidateWildcardDomain`, subsets, gateways).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from meshmodel.istio.field import Field

_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_HOST = f"(?i:{_LABEL}(?:\\.{_LABEL})*)"


def _rule(pattern: str, longest: int, what: str) -> Callable[[Field], str]:
    compiled = re.compile(pattern)

    def read(field: Field) -> str:
        text = field.text()
        if len(text) > longest or not compiled.fullmatch(text):
            raise field.wrong(f"must be {what}")
        return text

    return read


_LOWER = "lower-case letters, digits and '-'"
subdomain = _rule(f"{_LABEL}(?:\\.{_LABEL})*", 253, f"a name (RFC 1123): {_LOWER}, parts joined by '.', 253 characters at most")
label = _rule(_LABEL, 63, f"a name (RFC 1123 label): {_LOWER}, 63 characters at most")
service = _rule("[a-z](?:[-a-z0-9]*[a-z0-9])?", 63, f"a Service's name (RFC 1035): {_LOWER}, a letter first, 63 characters at most")
port = _rule("(?!.*--)(?=.*[a-z])" + _LABEL, 15, f"a port's name: {_LOWER}, at least one letter, 15 characters at most")
variable = _rule("[ -<>-~]+", 253, "a variable's name: printable ASCII characters without '='")
host = _rule(_HOST + r"\.?", 255, 'a host such as "web" or "web.default.svc.cluster.local"')
wildcard_host = _rule(rf"\*|(?:\*[.-]?)?{_HOST}\.?", 255, 'a host such as "web" or "*.example.org"')
subset = _rule(f"(?i:{_LABEL})", 63, "a DNS label: letters, digits and '-' between them, 63 characters at most")
gateway = _rule(rf"(?:{_LABEL}/)?{_HOST}", 317, 'a Gateway\'s name, "namespace/name", or "mesh"')
gateway_host = _rule(rf"(?:(?:[*.]|{_LABEL})/)?(?:\*|(?:\*\.)?{_HOST})", 319, 'a host such as "*.example.org" or "namespace/*"')
_label_value = _rule(f"(?:{_QUALIFIED})?", 63, "a label's value: letters, digits, '-', '_' and '.', 63 characters at most")
_qualified_name = re.compile(f"(?:{_LABEL}(?:\\.{_LABEL})*/)?({_QUALIFIED})")


def label_map(field: Field) -> dict[str, str]:
    """A mapping of labels: qualified names ("app", "topology.kubernetes.io/zone") to their values."""
    return {name: _label_value(value) for name, value in _qualified(field).items()}


def annotation_map(field: Field) -> dict[str, str]:
    """A mapping of annotations: qualified names to any text."""
    return {name: value.text() for name, value in _qualified(field).items()}


def _qualified(field: Field) -> dict[str, Field]:
    for name, value in field.mapping().items():
        found = _qualified_name.fullmatch(name) if len(name) <= 317 else None
        if not found or len(found[1]) > 63:
            raise value.error("must be a label's or annotation's name such as app or topology.kubernetes.io/zone")
    return field.mapping()


class Address(NamedTuple):
    """Where somebody is called: what stands before "://" in lower case, the host, the port and the path; "" or None what is left out."""

    scheme: str
    host: str
    port: int | None
    path: str


_ADDRESS = re.compile(r"(?:([a-z]+)://)?([^/:@?#\s]+)(?::([0-9]{1,5}))?(/[!-~]*)?", re.IGNORECASE)


def address(text: str) -> Address | None:
    """Of "payments", "payments:8080/v2" or a URL without a user; None of any other text."""
    found = _ADDRESS.fullmatch(text) if len(text) < 300 else None
    return Address((found[1] or "").lower(), found[2], int(found[3]) if found[3] else None, found[4] or "") if found else None
