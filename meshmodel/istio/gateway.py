"""Gateway, checked: which of its servers take requests over HTTP, for which hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from meshmodel.istio import names
from meshmodel.istio.base import Context, Resource, some
from meshmodel.istio.field import Field
from meshmodel.istio.hosts import wildcards_over
from meshmodel.istio.virtual_service import VirtualService
from meshmodel.istio.warnings import NOTED

HTTP = ("HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "HTTP_PROXY")
PASSED_ON = ("PASSTHROUGH", "AUTO_PASSTHROUGH")


@dataclass(frozen=True)
class Server:
    """`redirects`: every request over plain HTTP is answered 301."""

    port: int
    hosts: tuple[str, ...]
    redirects: bool = False

    def virtual_hosts(self, vs: VirtualService) -> set[str]:
        """The hosts by which requests reach a VirtualService here: of a host of it and one of the server's that covers it, or that it
        covers, the more specific one (`Intersection` of pkg/config/host/names.go)."""
        patterns = self._for_all | self._for_one.get(vs.namespace, set()) if self._for_one else self._for_all
        found = {host for host in vs.hosts if not patterns.isdisjoint((host, *wildcards_over(host)))}
        wild = {host for host in vs.hosts if host.startswith("*")} - found
        return found | {pattern for pattern in patterns if wild and not wild.isdisjoint(wildcards_over(pattern))}

    @cached_property
    def _for_all(self) -> set[str]:
        """Its hosts for VirtualServices of any namespace ("*/host", "host")."""
        return {pattern.removeprefix("*/") for pattern in self.hosts if pattern.partition("/")[0] in ("*", pattern)}

    @cached_property
    def _for_one(self) -> dict[str, set[str]]:
        """Those for the VirtualServices of one namespace ("shop/host")."""
        found: dict[str, set[str]] = {}
        for namespace, slash, host in (pattern.partition("/") for pattern in self.hosts):
            if slash and namespace != "*":
                found.setdefault(namespace, set()).add(host)
        return found


@dataclass(frozen=True, kw_only=True)
class Gateway(Resource):
    """`selector` is taken for the labels of the gateway's pod; `servers` are those that speak HTTP, inside TLS or not."""

    selector: dict[str, str]
    servers: tuple[Server, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host for server in self.servers for host in server.hosts))

    def server(self, vs: VirtualService) -> Server | None:
        """The one by which a request for it comes: the first that does not redirect, else the first."""
        serving = [server for server in self.servers if server.virtual_hosts(vs)]
        return next((server for server in serving if not server.redirects), next(iter(serving), None))


_CERTIFICATE = dict.fromkeys(("caCertificates", "privateKey", "serverCertificate"), "text")
_TLS = {
    **dict.fromkeys(("caCertCredentialName", "caCrl", "credentialName", "maxProtocolVersion", "minProtocolVersion", "mode"), "text"),
    **dict.fromkeys(("cipherSuites", "credentialNames", "ecdhCurves", "subjectAltNames"), ["text"]),
    **dict.fromkeys(("verifyCertificateHash", "verifyCertificateSpki"), ["text"]),
    **_CERTIFICATE, "tlsCertificates": [_CERTIFICATE], "httpsRedirect": "flag", "insecureSkipVerify": "flag",
}  # fmt: skip


def read_gateway(document: Field, base: dict[str, object], context: Context) -> Gateway:
    spec = document.need("spec").only("selector", "servers")
    servers = [_server(server, str(base["namespace"]), context) for server in some(spec.need("servers"))]
    selector = names.label_map(spec.get_or("selector", {}))
    return Gateway(**base, selector=selector, servers=tuple(filter(None, servers)))  # type: ignore[arg-type]


def _server(server: Field, namespace: str, context: Context) -> Server | None:
    """A server that speaks HTTP; None for the others, which are noted."""
    neutral = context.neutral(server, {"tls": _TLS, "bind": "text", "defaultEndpoint": "text"})
    port = server.only("port", "hosts", "name", *neutral).need("port").only("number", "name", "protocol", "targetPort")
    port.need("name").name()
    number = port.need("number").integer(1, 65535)
    hosts = tuple(re.sub(r"^\./", f"{namespace}/", names.gateway_host(host)) for host in some(server.need("hosts")))
    tls = server.get_or("tls", {})
    mode, redirects = tls.get_or("mode", "").text(), tls.get_or("httpsRedirect", False).boolean()
    protocol = port.need("protocol").text().upper()
    if protocol not in (*HTTP, "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP"):
        raise port.need("protocol").wrong("must be one of HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP and TLS")
    if mode not in ("", *PASSED_ON, "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"):
        raise tls.need("mode").wrong("must be SIMPLE, MUTUAL, ISTIO_MUTUAL, OPTIONAL_MUTUAL, PASSTHROUGH or AUTO_PASSTHROUGH")
    if protocol not in HTTP or mode in PASSED_ON:
        context.warn(server, f"its connections ({protocol}) are not modelled, only requests over HTTP", group=NOTED)
        return None
    return Server(number, hosts, redirects and protocol != "HTTPS")
