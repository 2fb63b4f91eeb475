"""VirtualService, checked: hosts, matches, and what becomes of a request on each route.

Every field of Istio's API is either read, or refused with its reason, or noted; any other field is an error that names the
nearest one.  Ranges follow Istio's validation (istio/istio pkg/config/validation).  How the values meet the pods is
`control_plane`'s business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import takewhile
from typing import Any

from meshmodel.istio import names
from meshmodel.istio.balancing import read_answer, read_mirrors
from meshmodel.istio.base import NO, Context, Resource, collected, milliseconds, read_export, some
from meshmodel.istio.defaults import PREVIOUS_PRIORITIES_UPDATE_FREQUENCY
from meshmodel.istio.field import Field, Table
from meshmodel.istio.hosts import fqdn, wildcards_over
from meshmodel.istio.matching import Asked, Match, delegated, read_matches, rewritten
from meshmodel.istio.warnings import ENVOY_DOCS, ISTIO_RETRY, NOTED
from meshmodel.scenario import DirectResponse, Fault, Request, RetryPolicy

RETRY_ON = tuple(
    "5xx gateway-error reset reset-before-request connect-failure refused-stream unavailable cancelled deadline-exceeded internal "
    "resource-exhausted retriable-4xx retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure".split()
)
"""Envoy's words of x-envoy-retry-on and x-envoy-retry-grpc-on (Envoy docs, router filter)."""


ANY_WEIGHTS = 15
"""The minor version from which the weights of destinations need not sum to 100."""


@dataclass(frozen=True, kw_only=True)
class RouteDestination:
    """`path` is the destination's field, for errors that show only when the mesh is known."""

    host: str
    subset: str | None
    port: int | None
    weight: int
    path: str

    @property
    def key(self) -> tuple[str, str | None, int | None]:
        """What its cluster depends on."""
        return self.host, self.subset, self.port


@dataclass(frozen=True, kw_only=True)
class HttpRoute:
    """`mirrors` are (destination, percent); with an `answer` of the proxy's own there are no destinations.

    `ignore_previous_hosts`: what its retries say of `retryIgnorePreviousHosts` (None: nothing).  `matches`: whom it is for
    (none: everybody).  `rewrite_uri` is what the next
    hop sees of the path.  `delegate` is (namespace, name) of the VirtualService whose routes stand in for this one.
    `said`: the names of its fields.  `owner`: the VirtualService that it stands in, where that is not plain.
    """

    destinations: tuple[RouteDestination, ...]
    timeout: float | None
    retries: RetryPolicy
    fault: Fault
    ignore_previous_hosts: bool | None = None
    mirrors: tuple[tuple[RouteDestination, float], ...] = ()
    answer: DirectResponse | None = None
    matches: tuple[Match, ...] = ()
    name: str = ""
    rewrite_uri: str | None = None
    delegate: tuple[str, str] | None = None
    said: frozenset[str] = frozenset()
    path: str = "spec.http[0]"
    owner: str = ""

    @property
    def takes_all(self) -> bool:
        return not self.matches or any(match.takes_all for match in self.matches)

    def catches_all(self, caller: Asked) -> bool:
        """Whether it takes every request that `caller` may ask."""
        return not self.matches or any(match.anything and match.for_caller(caller) for match in self.matches)

    def takes(self, asked: Asked | None, caller: Asked) -> bool:
        """Whether it takes what is asked; None: whatever `caller` may ask."""
        holding = (match.for_caller(caller) if asked is None else match.holds(asked) for match in self.matches)
        return not self.matches or any(holding)

    @property
    def asking(self) -> str:
        """What it takes, in short: "*" is everything."""
        return " or ".join(map(str, self.matches)) or "*"

    def under(self, root: HttpRoute) -> HttpRoute | None:
        """This route of a delegate, with what `root` says and it does not (virtualservice.go, `mergeHTTPRoute`).

        None where it may take what `root` does not delegate: Istio leaves it out.
        """
        matches = delegated(root.matches, self.matches)
        if matches is None:
            return None
        more = {name: getattr(root, name) for field, name in _INHERITED if field in root.said - self.said}
        return replace(self, matches=matches, **more)

    def of(self, vs: VirtualService) -> HttpRoute:
        """Itself as another VirtualService takes it over: its hosts in full, as `vs`, in which it stands, means them."""

        def full(destination: RouteDestination) -> RouteDestination:
            return replace(destination, host=fqdn(destination.host, vs.namespace))

        mirrors = tuple((full(mirror), percent) for mirror, percent in self.mirrors)
        return replace(self, destinations=tuple(map(full, self.destinations)), mirrors=mirrors, owner=self.owner or str(vs))

    def sent_on(self, asked: Asked) -> Request:
        """The request as the pods get it."""
        if self.rewrite_uri is None:
            return asked.request
        uris = (match.uri for match in self.matches if match.uri and match.holds(asked))
        uri = next(uris, None)
        return rewritten(asked.request, uri.text if uri and uri.how == "prefix" else None, self.rewrite_uri)


_INHERITED = (
    ("timeout", "timeout"), ("retries", "retries"), ("retries", "ignore_previous_hosts"), ("fault", "fault"), ("mirror", "mirrors"),
    ("mirrors", "mirrors"), ("rewrite", "rewrite_uri"),
)  # fmt: skip
"""The fields that a delegate's route takes from its root's where it has none itself, and what is read of them."""


def catch_all_last(routes: Iterable[Iterable[HttpRoute]], caller: Asked) -> tuple[HttpRoute, ...]:
    """The routes of several VirtualServices for one host of a Gateway as its proxy has them, for what `caller` may ask.

    Each one's end with the first that takes everything, and of all these come last, whoever is older.
    Source: istio/istio pilot/pkg/networking/core/route/route.go (`BuildHTTPRoutesForVirtualService`, `SortVHostRoutes`).
    """
    first, last = [], []
    for each in routes:
        for route in each:
            if not route.catches_all(caller):
                first.append(route)
                continue
            narrower = tuple(takewhile(lambda match: not match.anything, route.matches))
            first += [replace(route, matches=narrower)] if narrower else []
            last.append(route)
            break
    return (*first, *last)


@dataclass(frozen=True, kw_only=True)
class VirtualService(Resource):
    """Of its `routes` the first that matches counts; without hosts it is there to be delegated to."""

    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    routes: tuple[HttpRoute, ...]


# What is checked and left out: neither times nor codes depend on it.
_OPERATIONS = {"set": "labels", "add": "labels", "remove": ["text"]}
_HEADERS = {"request": _OPERATIONS, "response": _OPERATIONS}
_STRING_MATCH = {"exact": "text", "prefix": "text", "regex": "text"}
_CORS = {
    **dict.fromkeys(("allowHeaders", "allowMethods", "allowOrigin", "exposeHeaders"), ["text"]),
    "allowOrigins": [_STRING_MATCH], "allowCredentials": "flag", "maxAge": "text", "unmatchedPreflights": "text",
}  # fmt: skip
_REWRITE = {"uri": "text", "authority": "text", "uriRegexRewrite": {"match": "text", "rewrite": "text"}}
_NEUTRAL = {"headers": _HEADERS, "corsPolicy": _CORS, "rewrite": _REWRITE}
_ROUTE = (
    "name match route redirect directResponse delegate timeout retries fault mirror mirrors mirrorPercent mirror_percent mirrorPercentage"
).split()


def read_virtual_service(document: Field, base: dict[str, object], context: Context) -> VirtualService:
    spec = document.need("spec").only("hosts", "gateways", "http", "exportTo", "tcp", "tls")
    for name in ("tcp", "tls"):
        if name in spec:
            spec.need(name).items()
            context.warn(spec.need(name), "its connections are not modelled, only requests over HTTP", group=NOTED)
    if not any(name in spec for name in ("http", "tcp", "tls")):
        raise spec.error("needs the field 'http'")
    listed = some(spec.need("http")) if "http" in spec else []
    gateways = tuple(names.gateway(gateway) for gateway in spec.get_or("gateways", []).items()) or ("mesh",)
    routes: list[HttpRoute] = []
    collected(*(lambda route=route: routes.append(_http_route(route, str(base["namespace"]), context)) for route in listed))  # type: ignore[misc]
    _never_reached(routes, listed, context)
    return VirtualService(
        **base,  # type: ignore[arg-type]
        hosts=_hosts(spec.need("hosts"), "mesh" in gateways) if "hosts" in spec else (),
        gateways=gateways,
        routes=tuple(routes),
        export=read_export(spec),
    )


def _never_reached(routes: list[HttpRoute], listed: list[Field], context: Context) -> None:
    """Warn about routes behind one that takes every request."""
    first = next((number for number, route in enumerate(routes) if route.takes_all and not route.delegate), len(routes))
    for unreachable in listed[first + 1 :]:
        which = "the first route" if first == 0 else f"http[{first}]"
        context.warn(unreachable, f"{which} takes every request, this one is never reached", "istio.io VirtualService reference")


def _hosts(listed: Field, inside: bool) -> tuple[str, ...]:
    """The hosts, none of them twice or covered by another, nor "*" for the sidecars (`ValidateVirtualService`)."""
    hosts = {names.wildcard_host(field): field for field in some(listed)}
    if inside and "*" in hosts:
        raise hosts["*"].error('"*" is only for Gateways, sidecars need a host')
    if len(hosts) < len(listed.items()):
        raise listed.error("a host stands twice, which Istio refuses")
    wild = {host for host in hosts if host.startswith("*")}
    for host, where in hosts.items() if wild else ():
        if wild.intersection(wildcards_over(host)) - {host}:
            raise where.wrong("is covered by another host of the list, which Istio refuses")
    return tuple(hosts)


def _http_route(route: Field, namespace: str, context: Context) -> HttpRoute:
    context.only(route, *_ROUTE, *_NEUTRAL)
    found: dict[str, Any] = {}
    answer = read_answer(route, context)

    def part(name: str, read: Callable[[], object]) -> Callable[[], object]:
        return lambda: found.__setitem__(name, read())

    retries = route.get("retries")
    collected(
        lambda: context.neutral(route, _NEUTRAL),
        part("matches", lambda: read_matches(route, namespace, context)),
        part("delegate", lambda: _delegate(route, namespace)),
        part("destinations", lambda: () if answer or "delegate" in route else _destinations(route.need("route"), context)),
        part("mirrors", lambda: tuple((_destination(mirror, 100), percent) for mirror, percent in read_mirrors(route))),
        part("timeout", lambda: _route_timeout(route.need("timeout")) if "timeout" in route else None),
        part("retries", lambda: _retries(retries, context) if retries else context.defaults.retry),
        part("fault", lambda: _fault(route.need("fault"), context) if "fault" in route else Fault()),
    )
    ignoring = retries.get("retryIgnorePreviousHosts") if retries else None
    read = HttpRoute(
        **found,
        answer=answer,
        name=route.get_or("name", "").text(),
        rewrite_uri=route.get_or("rewrite", {}).get_or("uri", "").text() or None,
        ignore_previous_hosts=ignoring.boolean() if ignoring else None,
        said=frozenset(name for name in route.mapping() if name in route),
        path=route.path,
    )
    if answer is None:
        return read
    for name in ("timeout", "retries", "mirror", "mirrors"):
        if name in route:
            context.warn(route.need(name), "has no effect here: the proxy answers itself")
    return replace(read, timeout=None, retries=RetryPolicy(attempts=0), mirrors=())


def _delegate(route: Field, namespace: str) -> tuple[str, str] | None:
    if "delegate" not in route:
        return None
    for beside in ("route", "redirect", "directResponse"):
        if beside in route:
            raise route.need(beside).error("beside delegate, Istio refuses it")
    delegate = route.need("delegate").only("name", "namespace")
    where = delegate.get("namespace")
    return names.label(where) if where else namespace, names.subdomain(delegate.need("name"))


def _route_timeout(field: Field) -> float:
    if field.duration(-math.inf) == 0:
        raise field.wrong("must be 1ms or more, Istio refuses 0s: leave it out for none")
    return milliseconds(field)


def _destinations(route: Field, context: Context) -> tuple[RouteDestination, ...]:
    found = []
    for entry in some(route):
        entry.only("destination", "weight", *context.neutral(entry, {"headers": _HEADERS}))
        found.append(_destination(entry.need("destination"), entry.get_or("weight", 0).integer()))
    if len(found) == 1:
        return (replace(found[0], weight=100),)
    total = sum(each.weight for each in found)
    if total == 0:
        raise route.error("the weights of several destinations must not sum to 0")
    if total != 100 and context.defaults.minor < ANY_WEIGHTS:
        raise route.error(f"the weights must sum to 100 before Istio 1.{ANY_WEIGHTS}, they sum to {total}")
    return tuple(found)


def _destination(destination: Field, weight: int) -> RouteDestination:
    destination.only("host", "subset", "port")
    port, subset = destination.get("port"), destination.get("subset")
    return RouteDestination(
        host=names.host(destination.need("host")),
        subset=names.subset(subset) if subset else None,
        port=port.only("number").need("number").integer(1, 65535) if port else None,
        weight=weight,
        path=destination.path,
    )


_RETRIES: Table = {
    "attempts": ("attempts", Field.integer),
    "perTryTimeout": ("per_try_timeout", milliseconds),
    "backoff": ("backoff_base_interval", milliseconds),
    "retryIgnorePreviousHosts": ("previous_hosts", Field.boolean),
}


def _retries(retries: Field, context: Context) -> RetryPolicy:
    """Istio's `ConvertPolicy`: the default policy, overridden field by field; attempts 0 (or absent) disables."""
    context.only(retries, *_RETRIES, "retryOn", "retryRemoteLocalities")
    changes = retries.read(_RETRIES)
    words, codes = _retry_on(retries.get_or("retryOn", ""), context)
    if words:
        changes |= {"retry_on": words, "retriable_status_codes": codes}
    if retries.get_or("retryRemoteLocalities", False).boolean():
        changes["previous_priorities_update_frequency"] = PREVIOUS_PRIORITIES_UPDATE_FREQUENCY
    if changes.get("attempts", 0) > 0:
        return replace(context.defaults.retry, **changes)
    inert = next((name for name in ("perTryTimeout", "retryOn", "retryRemoteLocalities") if name in retries), None)
    if inert and retries.need(inert).value != "":
        raise retries.need(inert).error("needs attempts above 0, Istio refuses it without")
    if len(retries.mapping()) > ("attempts" in retries):
        context.warn(retries, "without attempts above 0 there are no retries, the other fields have no effect", ISTIO_RETRY)
    return RetryPolicy(attempts=0)


def _retry_on(field: Field, context: Context) -> tuple[frozenset[str], frozenset[int]]:
    """Envoy's words and the status codes of a comma list; a code brings `retriable-status-codes` along (`parseRetryOn`)."""
    words, codes, parts = set(), set(), field.text().split(",")
    if field.text() and any(not part or part != part.strip() for part in parts):
        context.warn(field, "Istio's webhook refuses blanks and empty parts in retryOn; it is read without them", ISTIO_RETRY)
    for part in (part.strip() for part in parts):
        if part in RETRY_ON:
            words.add(part)
        elif re.fullmatch(r"[1-5][0-9][0-9]", part) and int(part) in set(HTTPStatus):
            codes.add(int(part))
        elif part:
            replace(field, value=part).choice(*sorted(RETRY_ON), "a status code")
    if "gateway-error" in words:
        source = f"{ENVOY_DOCS}/configuration/http/http_filters/router_filter"
        context.warn(field, "gateway-error covers 502, 503 and 504; the tutorial says that it leaves 503 out", source)
    if codes:
        words.add("retriable-status-codes")
    for word in sorted(words & {"reset-before-request", "http3-post-connect-failure"} if context.defaults.minor < 23 else ()):
        context.warn(field, f"Istio's webhook refuses {word} before 1.23", ISTIO_RETRY)
    if "retriable-headers" in words:
        source = "Envoy, retry_state_impl.cc: wouldRetryFromHeaders"
        context.warn(field, "retriable-headers retries nothing: Istio has no field for the headers that it would look for", source)
    return frozenset(words), frozenset(codes)


def _fault(fault: Field, context: Context) -> Fault:
    fault.only("delay", "abort")
    delay, abort, read = fault.get("delay"), fault.get("abort"), Fault()
    if not delay and not abort:
        raise fault.error("must have a delay or an abort, Istio refuses an empty one")
    if delay:
        delay.only("fixedDelay", "percentage", "percent", refused={"exponentialDelay": NO})
        read = replace(read, delay=milliseconds(delay.need("fixedDelay")), delay_percent=_percentage(delay, context))
    if abort:
        abort.only("httpStatus", "percentage", refused=dict.fromkeys(("grpcStatus", "http2Error"), NO))
        read = replace(read, abort_code=abort.need("httpStatus").integer(200, 599), abort_percent=_percentage(abort, context))
    return read


def _percentage(parent: Field, context: Context) -> float:
    whole = parent.get_or("percent", 0).integer(0, 100)
    if "percentage" in parent:
        percent = parent.need("percentage").only("value").get_or("value", 0.0)
        if 0 < percent.number(0, 100) < 0.0001:
            raise percent.wrong("must be 0, or 0.0001 or more: Istio refuses less")
        return percent.number(0, 100)
    if "percent" not in parent:
        context.warn(parent, "without a percentage no request is affected", "istio/api networking/v1alpha3/virtual_service.proto")
    return float(whole)
