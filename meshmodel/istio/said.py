"""What no manifest says and a user does: what real pods take, who calls whom, which pods fail and when.

    timing    payments-v1=45ms,120ms,700ms     calls    checkout=payments     fail    payments-v1/1=hang@10s

Each is kept beside the resources and laid over the Deployment of that name whenever routes are made, so that a
Deployment may be applied again, or scaled, without being told again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meshmodel._text import nearest, quoted
from meshmodel.fakeservice import parse_duration
from meshmodel.istio import names
from meshmodel.istio.base import Resource
from meshmodel.istio.field import ManifestError
from meshmodel.istio.kubernetes import FAILURES, Deployment, Service, Upstream

Key = tuple[str, str, str]
Resources = Mapping[Key, Resource]
HOW = "must be refused, reset, hang, an HTTP status such as 503 or a duration such as 2s"
MOST_SAID = 1000


@dataclass(frozen=True)
class Said:
    """From `time` seconds on the Deployment of `key` is what `change` makes of it."""

    time: float
    key: Key
    change: Callable[[Deployment], Deployment]


def overlaid(resources: Resources, said: Iterable[Said], time: float) -> dict[Key, Resource]:
    """The resources with everything laid over them that holds at `time`, in its order of time."""
    found = dict(resources)
    for each in sorted(said, key=lambda each: each.time):
        deployment = found.get(each.key)
        if each.time <= time and isinstance(deployment, Deployment):
            found[each.key] = each.change(deployment)
    return found


# ---- who is meant


def workloads(name: str, resources: Resources, namespace: str, what: str) -> list[Deployment]:
    """The Deployment of that name (of `namespace`, else the only one), else all Deployments behind the Service of that name.

    `name` may carry its namespace: "payments-v1.shop".  Raises ManifestError that begins with `what`.
    """
    found = [r for r in _named(name, resources, namespace) if isinstance(r, Deployment)]
    if len(found) > 1:
        places = ", ".join(f"{r.name}.{r.namespace}" for r in found)
        raise ManifestError(f"{what}: {name} stands in several namespaces, name one ({places})")
    services = [r for r in _named(name, resources, namespace) if isinstance(r, Service)]
    found = found or [r for r in resources.values() for s in services[:1] if isinstance(r, Deployment) and s.selects(r)]
    if not found:
        raise ManifestError(f"{what}: there is no workload {quoted(name)}{_near(name, resources, Deployment)}")
    return found


def service(name: str, resources: Resources, namespace: str, what: str) -> Service:
    """The Service of that name, in `namespace` before others."""
    found = [r for r in _named(name, resources, namespace) if isinstance(r, Service)]
    if not found:
        raise ManifestError(f"{what}: there is no Service {quoted(name)}{_near(name, resources, Service)}")
    return found[0]


def _named(name: str, resources: Resources, namespace: str) -> Sequence[Resource]:
    """Those of the name in `namespace`; where there is none, those of other namespaces, or of the one that the name says."""
    alike = [r for r in resources.values() if isinstance(r, (Deployment, Service))]
    for those in (
        [r for r in alike if r.name == name and r.namespace == namespace],
        [r for r in alike if r.name == name],
        [r for r in alike if name in (f"{r.name}.{r.namespace}", f"{r.name}.{r.namespace}.svc.cluster.local")],
    ):
        if those:
            return those
    return []


def _near(name: str, resources: Resources, kind: type[Resource]) -> str:
    known = sorted({r.name for r in resources.values() if isinstance(r, kind)})
    near = nearest(name, known)
    return f", did you mean {near}?" if near else f" (there are {', '.join(known[:10])})" if known else ", apply its manifest first"


# ---- what is said of them


Changes = tuple[tuple[str, object], ...]
"""Fields of `Behaviour` with what they become."""


def timed(percentiles: Sequence[float]) -> Changes:
    """What p50, p90 and p99 (seconds) make of a behaviour: they stand in for all that its variables say of timings."""
    p50, p90, p99 = percentiles
    if not p50 <= p90 <= p99:
        raise ManifestError(f"timing: p50, p90 and p99 must not fall, got {p50:g}s, {p90:g}s, {p99:g}s")
    timings = ("timing_50_percentile", p50), ("timing_90_percentile", p90), ("timing_99_percentile", p99)
    return (*timings, ("timing_variance", 0), ("percentiles", "program"))


def timing(deployment: Deployment, changes: Changes) -> Deployment:
    return replace(deployment, behaviour=replace(deployment.behaviour, **dict(changes)), timed=True, timing_said=True)  # type: ignore[arg-type]


def address(callee: str) -> tuple[str, int | None, str]:
    """Host, port and path of what is called: "payments", "payments:8080/v2", or a URL.  Raises ManifestError."""
    found = names.address(callee)
    if not found or found.scheme not in ("", "http", "https", "grpc"):
        raise ManifestError(f"calls: must be a Service such as payments, payments:8080 or payments:8080/v2, got {quoted(callee)}")
    return found.host, found.port, found.path


def calling(deployment: Deployment, host: str, port: int, path: str = "") -> Deployment:
    """The Deployment whose pods call this too, after what they call already; without `path` they ask for what they are asked."""
    called = Upstream(host, port, path, bool(path))
    upstreams = deployment.upstreams if called in deployment.upstreams else (*deployment.upstreams, called)
    return replace(deployment, upstreams=upstreams, upstream_said=True)


def failing(how: str | int) -> Changes:
    """What becomes of a pod that fails in this way.  Raises ManifestError on any other."""
    word = str(how)
    if word in (*FAILURES, "none"):
        return (("failure", word),)
    if re.fullmatch("[2-5][0-9][0-9]", word):
        return ("error_rate", 1.0), ("error_code", int(word)), ("error_type", "http_error"), ("error_delay", 0.0)
    if not isinstance(how, str) or not re.match("[0-9.]", how):
        raise ManifestError(f"how: {HOW}, got {quoted(how)}")
    return timed((parse_duration(how, "how"),) * 3)


def broken(deployment: Deployment, pods: int | None, changes: Changes) -> Deployment:
    """The Deployment whose first `pods` pods (None: all) are changed; what was said of these before no longer holds."""
    if pods is not None and pods > deployment.replicas:
        raise ManifestError(f"fail: {deployment.name} has {deployment.replicas} pods, not {pods}")
    count = deployment.replicas if pods is None else pods
    return replace(deployment, broken=(changes,) * count + deployment.broken[count:])
