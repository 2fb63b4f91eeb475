"""A DestinationRule's consistentHash and warm-up, and a VirtualService's mirrors, redirect and directResponse: read and checked.

Source: istio/istio pkg/config/validation (`validateLoadBalancer`, `validateHTTPRedirect`, `validateHTTPDirectResponse`) and
pilot/pkg/networking/core: cluster_traffic_policy.go (`ApplyRingHashLoadBalancer`, `setWarmup`), route/route.go
(`ConsistentHashToHashPolicy`, `MirrorPercent`, `ApplyRedirect`, `ApplyDirectResponse`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshmodel.istio.base import Context, milliseconds
from meshmodel.istio.field import Field
from meshmodel.istio.localities import LocalityLbSetting
from meshmodel.istio.warnings import ISTIO_CLUSTER
from meshmodel.scenario import Cluster, DirectResponse, HashPolicy, LoadBalancing, SlowStart

LARGEST_MAGLEV = 5_000_011
"""Istio and Envoy take only tables below this."""

TTL_OPTIONAL = 20
"""The minor version from which a cookie needs no ttl."""

DEFAULT_RING, DEFAULT_MAGLEV = 1024, 65537
REDIRECTS = (301, 302, 303, 307, 308)
"""The codes that Envoy has; for any other one Istio would send a route that does nothing."""


@dataclass(frozen=True, kw_only=True)
class Hashing:
    """A `consistentHash`: how its cluster picks, and what the routes to it hash (None: nothing, each pick is random)."""

    load_balancing: LoadBalancing = "RING_HASH"
    policy: HashPolicy | None = None
    minimum_ring_size: int = DEFAULT_RING
    maglev_table_size: int = DEFAULT_MAGLEV


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """A `loadBalancer`: its policy and locality setting (None: not said), and what else it says."""

    simple: LoadBalancing | None = None
    locality: LocalityLbSetting | None = None
    hashing: Hashing | None = None
    slow_start: SlowStart | None = None

    def on(self, cluster: Cluster) -> Cluster:
        """The cluster with what is said here of how an endpoint is picked."""
        hashing = self.hashing
        if hashing is None:
            return replace(cluster, slow_start=self.slow_start)
        cluster = replace(cluster, minimum_ring_size=hashing.minimum_ring_size, maglev_table_size=hashing.maglev_table_size)
        return replace(cluster, load_balancing=hashing.load_balancing)


_KEYS = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")


def read_hashing(hashing: Field, context: Context) -> Hashing:
    """`consistentHash`: one key at most, one algorithm at most."""
    context.only(hashing, *_KEYS, "ringHash", "maglev", "minimumRingSize")
    one_of(hashing, *_KEYS)
    one_of(hashing, "ringHash", "maglev", "minimumRingSize")
    policy = _policy(hashing, context)
    if "maglev" in hashing:
        return Hashing(load_balancing="MAGLEV", policy=policy, maglev_table_size=_table_size(hashing.need("maglev")))
    given = hashing.get("minimumRingSize")
    if given:
        context.warn(given, "is deprecated: use ringHash.minimumRingSize", ISTIO_CLUSTER)
    ring = hashing.get_or("ringHash", {}).only("minimumRingSize")
    size = (given or ring.get_or("minimumRingSize", 0)).integer(0, 8 * 2**20)
    return Hashing(policy=policy, minimum_ring_size=size or DEFAULT_RING)


def _policy(hashing: Field, context: Context) -> HashPolicy | None:
    if "httpHeaderName" in hashing:
        return HashPolicy(kind="header", name=hashing.need("httpHeaderName").name())
    if "httpQueryParameterName" in hashing:
        return HashPolicy(kind="query_parameter", name=hashing.need("httpQueryParameterName").name())
    if "httpCookie" in hashing:
        cookie = hashing.need("httpCookie")
        context.only(cookie, "name", "ttl", "path", *context.neutral(cookie, {"attributes": [{"name": "text", "value": "text"}]}))
        cookie.get_or("path", "").text()
        ttl = cookie.get("ttl")
        if ttl is None and context.defaults.minor < TTL_OPTIONAL:
            context.warn(cookie, f"Istio's webhook refuses a cookie without a ttl before 1.{TTL_OPTIONAL}", ISTIO_CLUSTER)
        return HashPolicy(kind="cookie", name=cookie.need("name").name(), ttl=ttl.duration(0) if ttl else None)
    return HashPolicy(kind="source_ip") if hashing.get_or("useSourceIp", False).boolean() else None


def _table_size(maglev: Field) -> int:
    size = maglev.only("tableSize").need("tableSize")
    number = size.integer(2, LARGEST_MAGLEV - 1)
    if any(number % factor == 0 for factor in range(2, int(number**0.5) + 1)):
        raise size.wrong("must be a prime number")
    return number


def read_slow_start(balancer: Field, context: Context) -> SlowStart | None:
    """`warmup`, or the older `warmupDurationSecs`, which it replaces where both are there."""
    old, new = balancer.get("warmupDurationSecs"), balancer.get("warmup")
    if old and new:
        context.warn(old, "warmup is there, so this has no effect", ISTIO_CLUSTER)
    for given in filter(None, (old, new)):
        if balancer.get_or("simple", "UNSPECIFIED").value in ("RANDOM", "PASSTHROUGH") or "consistentHash" in balancer:
            context.warn(given, "has no effect: only ROUND_ROBIN and LEAST_REQUEST warm a pod up", ISTIO_CLUSTER)
    if new is None:
        return SlowStart(window=old.duration()) if old else None
    new.only("duration", "minimumPercent", "aggression")
    aggression = new.get_or("aggression", 1.0)
    if aggression.number(0, 1e6) < 1:
        raise aggression.wrong("must be 1 or more, Istio refuses less")
    minimum = new.get_or("minimumPercent", 10.0).number(0, 100)
    return SlowStart(window=milliseconds(new.need("duration")), aggression=aggression.number(0, 1e6), min_weight_percent=minimum)


def one_of(parent: Field, *names: str) -> None:
    """Refuse more than one of these fields."""
    given = [name for name in names if name in parent]
    if len(given) > 1:
        raise parent.need(given[1]).error(f"only one of {' and '.join(given)}")


# --- a route's own answers and its copies ------------------------------------------------------


def read_answer(route: Field, context: Context) -> DirectResponse | None:
    """`redirect` or `directResponse`, whichever is there: what the proxy answers itself."""
    one_of(route, "redirect", "directResponse", "route")
    answer = route.get("redirect") or route.get("directResponse")
    if answer is None:
        return None
    for beside in ("fault", "rewrite"):
        if beside in route:
            raise route.need(beside).error(f"beside {answer.path.rpartition('.')[2]}, Istio refuses it")
    return _redirect(answer, context) if "redirect" in route else _direct_response(answer)


def _redirect(redirect: Field, context: Context) -> DirectResponse:
    """Where it leads is checked and not followed: fortio and curl report the redirect itself."""
    context.only(redirect, "uri", "prefixRewrite", "authority", "scheme", "port", "derivePort", "redirectCode")
    one_of(redirect, "uri", "prefixRewrite")
    one_of(redirect, "port", "derivePort")
    if not set(redirect.mapping()) - {"redirectCode"}:
        raise redirect.error("needs uri, authority, scheme or port")
    for name in ("uri", "prefixRewrite", "authority"):
        redirect.get_or(name, "").text()
    redirect.get_or("scheme", "http").choice("http", "https")
    redirect.get_or("port", 80).integer(1, 65535)
    redirect.get_or("derivePort", "FROM_PROTOCOL_DEFAULT").choice("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")
    code = redirect.get_or("redirectCode", 301)
    if (code.integer(0, 399) or 301) not in REDIRECTS:
        raise code.wrong(f"must be one of {', '.join(map(str, REDIRECTS))}")
    return DirectResponse(status=code.integer() or 301)


def _direct_response(answer: Field) -> DirectResponse:
    body = answer.only("status", "body").get_or("body", {}).only("string", "bytes")
    one_of(body, "string", "bytes")
    return DirectResponse(status=answer.need("status").integer(200, 599), body=(body.get("bytes") or body.get_or("string", "")).text())


def read_mirrors(route: Field) -> tuple[tuple[Field, float], ...]:
    """(destination, percent) of `mirror` and of `mirrors`; those of 0 percent are left out."""
    if "mirror" in route and "mirrors" in route:
        raise route.need("mirrors").error("only one of mirror and mirrors")
    found = [(route.need("mirror"), _mirror_percent(route))] if "mirror" in route else []
    for entry in route.get_or("mirrors", []).items():
        entry.only("destination", "percentage")
        percentage = entry.get_or("percentage", {"value": Field(100.0, entry.place)}).only("value")
        found.append((entry.need("destination"), percentage.get_or("value", 0.0).number(0, 100)))
    return tuple((destination, percent) for destination, percent in found if percent > 0)


def _mirror_percent(route: Field) -> float:
    if "mirrorPercentage" in route:
        return route.need("mirrorPercentage").only("value").get_or("value", 0.0).number(0, 100)
    old = route.get("mirrorPercent") or route.get("mirror_percent")
    return 100.0 if old is None else float(old.integer(0, 100))
