"""Gateway, checked: which of its servers take requests over HTTP, for which hosts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from meshmodel.istio import names
from meshmodel.istio.base import Context, Resource, some
from meshmodel.istio.field import Field
from meshmodel.istio.hosts import wildcards_over
from meshmodel.istio.warnings import NOTED

HTTP = ("HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "HTTP_PROXY")
PASSED_ON = ("PASSTHROUGH", "AUTO_PASSTHROUGH")


@dataclass(frozen=True)
class Server:
    """`redirects`: every request over plain HTTP is answered 301."""

    port: int
    hosts: tuple[str, ...]
    redirects: bool = False

    def serves(self, host: str) -> bool:
        """Whether a VirtualService's host, which may be a wildcard, is one of its own, or covers one."""
        return not self._patterns.isdisjoint((host, *wildcards_over(host))) or host in self._over

    @cached_property
    def _patterns(self) -> set[str]:
        return {pattern.rpartition("/")[2] for pattern in self.hosts}

    @cached_property
    def _over(self) -> set[str]:
        return {wild for pattern in self._patterns for wild in wildcards_over(pattern)}


@dataclass(frozen=True, kw_only=True)
class Gateway(Resource):
    """`selector` is taken for the labels of the gateway's pod; `servers` are those that speak HTTP, inside TLS or not."""

    selector: dict[str, str]
    servers: tuple[Server, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host for server in self.servers for host in server.hosts))

    def server(self, host: str) -> Server | None:
        """The one by which a request for the host comes: the first that does not redirect, else the first."""
        serving = [server for server in self.servers if server.serves(host)]
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
    servers = [_server(server, context) for server in some(spec.need("servers"))]
    selector = names.label_map(spec.get_or("selector", {}))
    return Gateway(**base, selector=selector, servers=tuple(filter(None, servers)))  # type: ignore[arg-type]


def _server(server: Field, context: Context) -> Server | None:
    """A server that speaks HTTP; None for the others, which are noted."""
    neutral = context.neutral(server, {"tls": _TLS, "bind": "text", "defaultEndpoint": "text"})
    port = server.only("port", "hosts", "name", *neutral).need("port").only("number", "name", "protocol", "targetPort")
    port.need("name").name()
    number = port.need("number").integer(1, 65535)
    hosts = tuple(names.gateway_host(host) for host in some(server.need("hosts")))
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
