"""Which requests a route is for: a VirtualService's `match`, read and applied as Istio and Envoy do.

A route without `match` takes every request; with several, one that holds is enough; within one, all conditions must hold.  A text is
matched `exact`, by `prefix`, or by an RE2 `regex` in full; a header or parameter of no rule must only be there.  The path is
matched without its query; `ignoreUriCase` is for exact and prefix alone.

Sources: istio.io VirtualService reference (HTTPMatchRequest); istio/istio pilot/pkg/networking/core/route/route.go
(`TranslateRouteMatch`, `sourceMatchHTTP`); envoy route_components.proto (RouteMatch, HeaderMatcher, QueryParameterMatcher).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from meshmodel.istio import names, re2
from meshmodel.istio.base import Context
from meshmodel.istio.field import Field
from meshmodel.scenario import Request


@dataclass(frozen=True)
class TextMatch:
    """`how`: "exact", "prefix", "regex", or "present", which any text satisfies."""

    how: str
    text: str = ""

    def holds(self, given: str | None, ignore_case: bool = False) -> bool:
        if given is None or self.how == "present":
            return given is not None
        if self.how == "regex":
            return re2.full_match(self.text, given)
        text, given = (self.text.lower(), given.lower()) if ignore_case else (self.text, given)
        return given.startswith(text) if self.how == "prefix" else given == text

    def __str__(self) -> str:
        return {"exact": self.text, "prefix": f"{self.text}*", "regex": f"~{self.text}", "present": "*"}[self.how]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as one proxy meets it: to one of `hosts` (all its names) on `port`, by a caller of these labels, at a Gateway
    ("namespace/name") or a sidecar ("mesh")."""

    request: Request
    hosts: tuple[str, ...]
    port: int
    gateway: str = "mesh"
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""

    @property
    def path(self) -> str:
        return self.request.path.partition("?")[0]

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; what stands twice is joined by commas, as Envoy does."""
        found: dict[str, str] = {}
        for name, value in self.request.headers:
            found[name.lower()] = f"{found[name.lower()]},{value}" if name.lower() in found else value
        return found

    @property
    def parameters(self) -> dict[str, str]:
        """The first value of each."""
        return dict(reversed(parse_qsl(self.request.path.partition("?")[2], keep_blank_values=True)))


@dataclass(frozen=True, kw_only=True)
class Match:
    """One entry of `match`; the fields are its conditions."""

    uri: TextMatch | None = None
    ignore_uri_case: bool = False
    scheme: TextMatch | None = None
    method: TextMatch | None = None
    authority: TextMatch | None = None
    headers: tuple[tuple[str, TextMatch], ...] = ()
    without_headers: tuple[tuple[str, TextMatch], ...] = ()
    parameters: tuple[tuple[str, TextMatch], ...] = ()
    port: int | None = None
    gateways: tuple[str, ...] = ()
    source_labels: tuple[tuple[str, str], ...] = ()
    source_namespace: str = ""

    def holds(self, asked: Asked) -> bool:
        return self.for_caller(asked) and self._asks(asked)

    def for_caller(self, asked: Asked) -> bool:
        """Whether the proxy has this match at all: its gateway, port and workload, whatever is asked."""
        return (
            (not self.gateways or asked.gateway in self.gateways)
            and self.port in (None, asked.port)
            and self.source_namespace in ("", asked.namespace)
            and all(asked.labels.get(name) == value for name, value in self.source_labels)
        )

    def _asks(self, asked: Asked) -> bool:
        headers = asked.headers
        texts = (self.scheme, "http"), (self.method, asked.request.method)
        hosts = *asked.hosts, *(f"{host}:{asked.port}" for host in asked.hosts)
        return (
            (self.authority is None or any(map(self.authority.holds, hosts)))
            and (self.uri is None or self.uri.holds(asked.path, self.ignore_uri_case))
            and all(match is None or match.holds(given) for match, given in texts)
            and all(match.holds(headers.get(name)) for name, match in self.headers)
            and not any(match.holds(headers.get(name)) for name, match in self.without_headers)
            and all(match.holds(asked.parameters.get(name)) for name, match in self.parameters)
        )

    @property
    def takes_all(self) -> bool:
        """Whether every request satisfies it, whoever calls."""
        return self.anything and self.for_caller(NOBODY)

    @property
    def anything(self) -> bool:
        """Whether every request of the callers that it is for satisfies it (route.go, `IsCatchAllRoute`)."""
        texts = self.scheme, self.method, self.authority, *self.headers, *self.without_headers, *self.parameters
        return self.uri in (None, TextMatch("prefix", "/"), TextMatch("regex", ".*")) and not any(texts)

    def __str__(self) -> str:
        """In short, for tables: "GET /api* end-user=jason"."""
        words = [str(self.method or ""), str(self.uri or ""), *(f"{name}={match}" for name, match in (*self.headers, *self.parameters))]
        words += [f"without {name}={match}" for name, match in self.without_headers]
        words += [f"host={self.authority}" if self.authority else "", f"port={self.port}" if self.port else ""]
        words += [f"from {name}={value}" for name, value in self.source_labels] + list(self.gateways)
        return " ".join(filter(None, words)) or "*"


NOBODY = Asked(request=Request(), hosts=(), port=0, gateway="")
"""A caller that only what is for all callers is for."""

_KNOWN = (
    "name uri scheme method authority headers port sourceLabels gateways queryParams ignoreUriCase withoutHeaders sourceNamespace "
    "statPrefix"
).split()


def read_matches(route: Field, namespace: str, context: Context) -> tuple[Match, ...]:
    """A route's `match`; empty: it takes every request."""
    return tuple(_match(entry, namespace, context) for entry in route.get_or("match", []).items())


def _match(entry: Field, namespace: str, context: Context) -> Match:
    context.only(entry, *_KNOWN)
    for name in ("name", "statPrefix"):
        entry.get_or(name, "").text()
    port = entry.get("port")
    return Match(
        uri=_text(entry.get("uri")),
        ignore_uri_case=entry.get_or("ignoreUriCase", False).boolean(),
        scheme=_text(entry.get("scheme")),
        method=_text(entry.get("method")),
        authority=_text(entry.get("authority")),
        headers=_texts(entry.get_or("headers", {})),
        without_headers=_texts(entry.get_or("withoutHeaders", {})),
        parameters=_texts(entry.get_or("queryParams", {}), lower=False),
        port=port.integer(0, 65535) or None if port else None,
        gateways=tuple(qualified(names.gateway(each), namespace) for each in entry.get_or("gateways", []).items()),
        source_labels=tuple(names.label_map(entry.get_or("sourceLabels", {})).items()),
        source_namespace=names.label(entry.need("sourceNamespace")) if entry.get_or("sourceNamespace", "").value else "",
    )


def qualified(gateway: str, namespace: str) -> str:
    """A Gateway's name with its namespace; "mesh" stays."""
    return gateway if gateway == "mesh" or "/" in gateway else f"{namespace}/{gateway}"


def _texts(parent: Field, lower: bool = True) -> tuple[tuple[str, TextMatch], ...]:
    """Conditions by name; headers have no case, and one without a rule must only be there."""
    found = []
    for name, each in parent.mapping().items():
        if not name or len(name) > 256 or not name.isprintable() or " " in name:
            raise each.error("must be a header's or parameter's name")
        match = TextMatch("present") if each.value is None or each.value == {} else _text(each)
        found.append((name.lower() if lower else name, match or TextMatch("present")))
    return tuple(found)


def _text(match: Field | None) -> TextMatch | None:
    if match is None:
        return None
    given = [name for name in ("exact", "prefix", "regex") if name in match.only("exact", "prefix", "regex")]
    if len(given) != 1:
        raise match.error("must have one of exact, prefix and regex")
    found = TextMatch(given[0], match.need(given[0]).text())
    if not found.text and (found.how == "regex" or (found.how == "prefix" and not match.path.endswith(".uri"))):
        raise match.need(given[0]).error("must not be empty, Istio refuses it")
    if found.how == "regex":
        try:
            re2.parsed(found.text)
        except re2.PatternError as problem:
            raise match.need("regex").wrong(str(problem)) from None
    return found


# ---- what a route delegates


def delegated(roots: tuple[Match, ...], leaves: tuple[Match, ...]) -> tuple[Match, ...] | None:
    """What a delegate's route takes of what its root's does: each of its matches with each of the root's that it stays within.

    None where one of its matches stays within none of the root's: Istio leaves that route out.
    Source: istio/istio pilot/pkg/model/virtualservice.go (`mergeHTTPMatchRequests`, `hasConflict`).
    """
    if not roots or not leaves:
        return roots or leaves
    merged = [[_both(root, leaf) for root in roots if _within(root, leaf)] for leaf in leaves]
    return tuple(match for each in merged for match in each) if all(merged) else None


def _both(root: Match, leaf: Match) -> Match:
    """The leaf's conditions, and those of the root's that it does not have."""
    named = ("headers", "without_headers", "parameters", "source_labels")
    joined: dict[str, Any] = {name: tuple({**dict(getattr(root, name)), **dict(getattr(leaf, name))}.items()) for name in named}
    own = ("uri", "scheme", "method", "authority", "port", "source_namespace", "gateways")
    return replace(leaf, **joined, **{name: getattr(leaf, name) or getattr(root, name) for name in own})


def _within(root: Match, leaf: Match) -> bool:
    """Whether the leaf can only take what the root takes, as Istio judges it."""
    texts = [(getattr(root, name), getattr(leaf, name)) for name in ("uri", "scheme", "method", "authority")]
    for name in ("headers", "without_headers", "parameters"):
        texts += [(dict(getattr(root, name)).get(key), match) for key, match in getattr(leaf, name)]
    labels = dict(root.source_labels)
    return (
        all(_narrows(*pair) for pair in texts)
        and root.ignore_uri_case == leaf.ignore_uri_case
        and (None in (root.port, leaf.port) or root.port == leaf.port)
        and root.source_namespace in ("", leaf.source_namespace)
        and all(labels.get(name, value) == value for name, value in leaf.source_labels)
        and (not root.gateways or set(leaf.gateways) <= set(root.gateways))
    )


def _narrows(root: TextMatch | None, leaf: TextMatch | None) -> bool:
    """Whether a text's condition is within another one; a regex never is, nor is anything within a regex."""
    if root is None or leaf is None:
        return True
    if root.how == "prefix":
        return leaf.how in ("prefix", "exact") and leaf.text.startswith(root.text)
    return root.how == leaf.how == "exact" and root.text == leaf.text


# ---- what goes on to the next hop


def rewritten(request: Request, prefix: str | None, uri: str | None) -> Request:
    """The request with `rewrite.uri` in place of the prefix that matched (None: of the whole path)."""
    if uri is None:
        return request
    path, mark, query = request.path.partition("?")
    path = uri + path[len(prefix) :] if prefix is not None and path.startswith(prefix) else uri
    return Request(path=(path if path.startswith("/") else f"/{path}") + mark + query, method=request.method, headers=request.headers)
