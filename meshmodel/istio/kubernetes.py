"""The Kubernetes kinds, checked: workloads (with what their fake-service does) and Service.

A container that is no fake-service (neither its image nor a variable says so) does what a user says of it (`said`).
Sources: Kubernetes API reference; istio.io, protocol selection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from meshmodel.fakeservice import from_environment
from meshmodel.istio import names
from meshmodel.istio.base import Context, Resource, describe, unused
from meshmodel.istio.field import Field
from meshmodel.istio.localities import NETWORK, REGION, SUBZONE, ZONE, LocalityLbSetting
from meshmodel.istio.warnings import ISTIO_LOCALITY
from meshmodel.scenario import Behaviour

MAX_REPLICAS = 1000
MAX_PODS = 10_000
"""In a whole mesh."""
FAILURES = ("refused", "reset", "hang")
LOCALITY_RULE = 'must be "region", "region.zone" or "region.zone.subzone"'
_WORKLOAD_UNUSED = (
    "strategy revisionHistoryLimit minReadySeconds progressDeadlineSeconds paused updateStrategy serviceName volumeClaimTemplates "
    "podManagementPolicy persistentVolumeClaimRetentionPolicy ordinals"
).split()
_ROLLOUT_UNUSED = "analysis rollbackWindow restartAt progressDeadlineAbort".split()
_POD_UNUSED = (
    "affinity automountServiceAccountToken dnsPolicy dnsConfig imagePullSecrets initContainers restartPolicy schedulerName "
    "securityContext terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes priorityClassName hostNetwork "
    "enableServiceLinks activeDeadlineSeconds ephemeralContainers hostAliases hostIPC hostPID hostUsers hostname nodeName os "
    "overhead preemptionPolicy priority readinessGates resourceClaims resources runtimeClassName schedulingGates "
    "setHostnameAsFQDN shareProcessNamespace subdomain"
).split()
_CONTAINER_UNUSED = (
    "args command lifecycle livenessProbe readinessProbe resources securityContext startupProbe stdin terminationMessagePath "
    "terminationMessagePolicy tty volumeMounts workingDir envFrom resizePolicy restartPolicy restartPolicyRules stdinOnce "
    "volumeDevices"
).split()
_SERVICE_UNUSED = (
    "sessionAffinity sessionAffinityConfig externalTrafficPolicy publishNotReadyAddresses "
    "allocateLoadBalancerNodePorts externalIPs healthCheckNodePort loadBalancerClass loadBalancerIP loadBalancerSourceRanges"
).split()
_SIDECARS = ("istio-proxy", "linkerd-proxy", "envoy")
_FAKE_SERVICE = re.compile(
    r"TIMING_(50|90|99)_PERCENTILE|TIMING_VARIANCE|ERROR_(TYPE|RATE|CODE|DELAY)|UPSTREAM_URIS|HTTP_CLIENT_KEEP_ALIVES"
)


class Upstream(NamedTuple):
    """What a pod calls; `path` stands before the path of what it is asked itself (fake-service, HTTP_CLIENT_APPEND_REQUEST), or
    `instead` of it."""

    host: str
    port: int
    path: str = ""
    instead: bool = False

    def asks(self, path: str) -> str:
        """The path of its call for a request of this path."""
        return self.path if self.instead else self.path + path


@dataclass(frozen=True, kw_only=True)
class Deployment(Resource):
    """A workload of any kind.  `upstreams` are what its pods call, one after another; `locality` is "region/zone/subzone".

    `broken` is what became of its first pods (`said`), `upstream_said`: an upstream is a user's word, no variable's.
    `timing_said`: so are its timings.
    `variables` are (name, text) of the others of its container, which may name what it calls.
    `timed`: somebody said what its answers take, if only by an image of fake-service.  `sidecar`: its pods have one.
    """

    replicas: int
    labels: dict[str, str]
    behaviour: Behaviour
    message: str = ""
    locality: str = ""
    upstreams: tuple[Upstream, ...] = ()
    keep_alives: bool = False
    named_ports: dict[str, int] = field(default_factory=dict)
    broken: tuple[tuple[tuple[str, object], ...], ...] = ()
    upstream_said: bool = False
    timing_said: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    timed: bool = True
    sidecar: bool = True

    def behaviour_of(self, pod: int) -> Behaviour:
        """How its pod number `pod`, from 1, answers."""
        changes = dict(self.broken[pod - 1]) if pod <= len(self.broken) else {}
        return replace(self.behaviour, **changes) if changes else self.behaviour  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class ServicePort:
    """`other`: what it speaks that is not HTTP; `protocol` is the transport's."""

    name: str
    port: int
    target: int | str
    http2: bool = False
    other: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True, kw_only=True)
class Service(Resource):
    """Without `selector` it has no pods of this mesh; `external` is an ExternalName's host; `near`: its trafficDistribution."""

    selector: dict[str, str]
    ports: tuple[ServicePort, ...]
    headless: bool = False
    external: str = ""
    near: LocalityLbSetting | None = None

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def names(self) -> tuple[str, ...]:
        """What Kubernetes' DNS knows it by, the bare name (which is of its namespace only) included."""
        return self.name, f"{self.name}.{self.namespace}", f"{self.name}.{self.namespace}.svc", self.fqdn

    def selects(self, deployment: Deployment) -> bool:
        return bool(self.selector) and self.namespace == deployment.namespace and self.selector.items() <= deployment.labels.items()


def read_workload(document: Field, base: dict[str, object], context: Context) -> Deployment | None:
    """A Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod or Argo's Rollout; None where the pods are those of another of them."""
    if any(owner.get_or("kind", "").value in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Node", "Job", "Rollout")
           for owner in document.need("metadata").get_or("ownerReferences", []).items()):  # fmt: skip
        context.note(document.need("kind"), "belongs to another resource, which counts")
        return None
    spec = document.need("spec")
    if base["kind"] == "Pod":
        template = document
    else:
        if "workloadRef" in spec:
            context.note(spec.need("workloadRef"), "has the pods of another resource, which counts")
            return None
        others = _WORKLOAD_UNUSED + _ROLLOUT_UNUSED * (base["kind"] == "Rollout")
        spec.only("replicas", "selector", "template", *unused(spec, others, context))
        template = spec.need("template").only("metadata", "spec")
    labels = names.label_map(_metadata(template).get_or("labels", {}))
    if base["kind"] != "Pod":
        _check_selector(spec, labels, context)
    pod = template.need("spec")
    pod.only("containers", "serviceAccountName", "serviceAccount", "nodeSelector", *unused(pod, _POD_UNUSED, context))
    containers = _containers(pod, context)
    container = _answering(containers, context)
    environment = _environment(container)
    known = "fake-service" in container.get_or("image", "").text() or any(map(_FAKE_SERVICE.fullmatch, environment))
    fake = known or "image" not in container
    return Deployment(
        **base,  # type: ignore[arg-type]
        replicas=_replicas(document, spec, context),
        labels=labels,
        behaviour=_behaviour(document, template, container, environment if fake else {}, context),
        message=environment["MESSAGE"].text() if "MESSAGE" in environment else "Hello World",
        locality=_locality(template, pod, labels),
        upstreams=_upstreams(environment) if fake else (),
        keep_alives=_keep_alives(environment) if fake else False,
        named_ports=_named_ports(containers),
        variables=tuple((name, value.text()) for name, value in environment.items() if not _FAKE_SERVICE.fullmatch(name)),
        timed=known,
        sidecar=_injected(template, labels),
    )


def _injected(template: Field, labels: dict[str, str]) -> bool:
    """Whether its pods get a sidecar: a label says, or the older annotation."""
    annotations = template.get_or("metadata", {}).get_or("annotations", {})
    return labels.get(_INJECT, annotations.get_or(_INJECT, "true").text()) != "false"


_INJECT = "sidecar.istio.io/inject"


def _metadata(template: Field) -> Field:
    """A template may have none."""
    return describe(template) if "metadata" in template else template.get_or("metadata", {})


def _check_selector(spec: Field, labels: dict[str, str], context: Context) -> None:
    selector = spec.need("selector").only("matchLabels", *unused(spec.need("selector"), ["matchExpressions"], context))
    wanted = names.label_map(selector.get_or("matchLabels", {}))
    if not (wanted or "matchExpressions" in selector) or not wanted.items() <= labels.items():
        raise selector.error("must match the labels of the template")


def _replicas(document: Field, spec: Field, context: Context) -> int:
    """Its pods; a DaemonSet has one on each node, as many as its status says, else one."""
    kind = document.need("kind").value
    if kind == "Pod":
        return 1
    if kind != "DaemonSet":
        return spec.get_or("replicas", 1).integer(0, MAX_REPLICAS)
    found = document.get_or("status", {}).get_or("desiredNumberScheduled", 1).integer(0, MAX_REPLICAS)
    context.assume(document.need("kind"), f"has a pod on each node: {found} here, as its status says (1 without)")
    return found


def refuse_too_many_pods(resources: Iterable[Resource]) -> None:
    """Raise `ManifestError` where all Deployments together have more than `MAX_PODS` pods."""
    pods = 0
    for deployment in resources:
        if isinstance(deployment, Deployment):
            pods += deployment.replicas
            if pods > MAX_PODS:
                raise deployment.error("spec.replicas", f"makes more than {MAX_PODS} pods in all")


def _containers(pod: Field, context: Context) -> list[Field]:
    """Its containers but the proxy's own, which is understood."""
    found = pod.need("containers").items()
    if not found:
        raise pod.need("containers").error("must not be empty")
    for container in found:
        container.only("name", "image", "imagePullPolicy", "ports", "env", *unused(container, _CONTAINER_UNUSED, context))
        names.label(container.need("name"))
        container.get_or("image", "").text()
        container.get_or("imagePullPolicy", "Always").choice("Always", "IfNotPresent", "Never")
    return [container for container in found if container.need("name").value not in _SIDECARS] or found


def _answering(containers: list[Field], context: Context) -> Field:
    """The container that answers: the first of fake-service, else the first with a port, else the first."""

    def rank(container: Field) -> tuple[bool, bool]:
        variables = (entry.get_or("name", "").value for entry in container.get_or("env", []).items())
        fake = any(isinstance(name, str) and _FAKE_SERVICE.fullmatch(name) for name in variables)
        return not fake, not container.get_or("ports", []).items()

    found = min(containers, key=rank)
    if len(containers) > 1:
        context.assume(found, f"of {len(containers)} containers {found.need('name').value} is taken to answer the requests")
    return found


def _environment(container: Field) -> dict[str, Field]:
    """The variables by name; one whose value comes from elsewhere (valueFrom) is left out unless it matters."""
    variables: dict[str, Field] = {}
    for entry in container.get_or("env", []).items():
        entry.only("name", "value", "valueFrom")
        name = names.variable(entry.need("name"))
        if name in variables:
            raise entry.error(f"the variable {name} stands twice")
        if "valueFrom" in entry:
            if _FAKE_SERVICE.fullmatch(name):
                raise entry.error(f"the value of {name} must be written here")
            continue
        value = entry.get("value") or replace(entry, value="")
        if not isinstance(value.value, str):
            raise value.wrong("must be text, put it in quotes")
        variables[name] = value
    return variables


def _behaviour(document: Field, template: Field, container: Field, environment: dict[str, Field], context: Context) -> Behaviour:
    def variable(remark: str) -> Field:
        return environment.get(remark.partition(": ")[0], container)

    try:
        behaviour, remarks = from_environment({name: value.text() for name, value in environment.items()}, *context.reading)
    except ValueError as problem:
        raise variable(str(problem)).error(str(problem)) from None
    for remark in remarks:
        context.warn(variable(remark), remark, "nicholasjackson/fake-service")
    for parent in (document, template):
        behaviour = _annotated(behaviour, parent.get_or("metadata", {}).get_or("annotations", {}))
    return behaviour


def _annotated(behaviour: Behaviour, annotations: Field) -> Behaviour:
    for name, value in annotations.mapping().items():
        if name == "meshmodel/concurrency":
            if not re.fullmatch(r"[1-9][0-9]{0,5}", value.text()):
                raise value.wrong('must be a whole number of 1 or more in quotes, such as "4"')
            behaviour = replace(behaviour, concurrency=int(value.text()))
        elif name == "meshmodel/failure":
            behaviour = replace(behaviour, failure=value.choice(*FAILURES))  # type: ignore[arg-type]
        elif name.startswith("meshmodel/"):
            raise value.error("unknown annotation, there are meshmodel/concurrency and meshmodel/failure")
    return behaviour


def _locality(template: Field, pod: Field, labels: dict[str, str]) -> str:
    """ "region/zone/subzone" of the label istio-locality (parts joined by dots), else of the topology labels."""
    topology = names.label_map(pod.get_or("nodeSelector", {})) | labels
    if "istio-locality" in labels:
        place = template.need("metadata").need("labels").need("istio-locality")
        locality = slashed(place.text())
        if locality is None:
            raise place.wrong(LOCALITY_RULE)
        return locality
    return "/".join(topology.get(name, "") for name in (REGION, ZONE, SUBZONE)).rstrip("/")


def slashed(locality: str) -> str | None:
    """ "region/zone/subzone" of a locality whose parts are joined by dots or slashes; None where it is no locality."""
    parts = locality.split("/" if "/" in locality else ".")
    return "/".join(parts) if len(parts) <= 3 and all(parts) else None


MOST_UPSTREAMS = 16
"""Of a pod."""


def _upstreams(environment: dict[str, Field]) -> tuple[Upstream, ...]:
    """What it calls, in this order: UPSTREAM_WORKERS, the calls that it makes at once, is one by default."""
    variable, workers = environment.get("UPSTREAM_URIS"), environment.get("UPSTREAM_WORKERS")
    # `tidyURIs` of fake-service trims blanks, but no line break
    uris = [uri.strip(" ") for uri in variable.text().split(",") if uri.strip(" ")] if variable else []
    if variable is None or not uris:
        return ()
    if len(uris) > MOST_UPSTREAMS:
        raise variable.wrong(f"more than {MOST_UPSTREAMS} upstreams are not modelled")
    if len(uris) > 1 and workers and workers.text().strip() != "1":
        raise workers.wrong("UPSTREAM_WORKERS must be 1: calls at the same time are not modelled")
    return tuple(_upstream(variable, uri) for uri in uris)


def _upstream(variable: Field, uri: str) -> Upstream:
    found = names.address(uri)
    port = 80 if found is None or found.port is None else found.port
    if not found or found.scheme != "http" or not 1 <= port <= 65535:
        raise variable.wrong("must be a URI such as http://simple-backend:80/, without a user")
    return Upstream(names.host(replace(variable, value=found.host.lower())), port, found.path.partition("?")[0].rstrip("/"))


def _keep_alives(environment: dict[str, Field]) -> bool:
    variable = environment.get("HTTP_CLIENT_KEEP_ALIVES")
    if variable and variable.value not in ("true", "false"):
        raise variable.wrong('must be "true" or "false"')
    return variable is not None and variable.value == "true"


def _named_ports(containers: list[Field]) -> dict[str, int]:
    found = {}
    for port in (port for container in containers for port in container.get_or("ports", []).items()):
        port.only("name", "containerPort", "protocol", "hostPort", "hostIP")
        number = port.need("containerPort").integer(1, 65535)
        if "name" in port:
            name = names.port(port.need("name"))
            if name in found:
                raise port.error(f"the port {name} stands twice")
            found[name] = number
    return found


# ---- Service

_KUBERNETES = ("kubernetes.io/h2c", "kubernetes.io/ws", "kubernetes.io/wss")
_HTTP = ("http", "http_proxy", "kubernetes.io/ws")
_HTTP_2 = ("http2", "grpc", "grpc-web", "kubernetes.io/h2c")
_NOT_HTTP = ("tcp", "tls", "udp", "https", "mongo", "mysql", "redis", "hbone", "kubernetes.io/wss", "sctp")
_NEVER_DETECTED = (25, 53, 3306, 27017)
"""Ports of well-known servers that speak first, which Istio takes for TCP unless a name says otherwise."""


def read_service(document: Field, base: dict[str, object], context: Context) -> Service:
    spec = document.need("spec")
    known = (*unused(spec, _SERVICE_UNUSED, context), "internalTrafficPolicy", "trafficDistribution")
    if spec.get_or("internalTrafficPolicy", "Cluster").choice("Cluster", "Local") == "Local":
        context.assume(
            spec.need("internalTrafficPolicy"), "nodes are not modelled: all its pods are called, not only those of the caller's"
        )
    spec.only("selector", "ports", "type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalName", *known)
    names.service(document.need("metadata").need("name"))
    external = spec.get_or("type", "ClusterIP").choice("ClusterIP", "NodePort", "LoadBalancer", "ExternalName") == "ExternalName"
    headless = spec.get_or("clusterIP", "").text() == "None"
    selector = names.label_map(spec.get_or("selector", {}))
    listed = spec.get_or("ports", [])
    ports = tuple(_service_port(port) for port in listed.items())
    if not ports and not external and not headless:
        raise listed.error("needs at least one port")
    numbers = [(port.port, port.protocol) for port in ports]
    if len(set(numbers)) < len(numbers):
        raise listed.error("a port stands twice")
    called = {port.name for port in ports}
    if len(ports) > 1 and ("" in called or len(called) < len(ports)):
        raise listed.error("several ports need a name each")
    return Service(
        **base,  # type: ignore[arg-type]
        selector={} if external else selector,
        ports=ports,
        headless=headless,
        external=spec.need("externalName").name() if external else "",
        near=_near(document, context),
    )


def _near(document: Field, context: Context) -> LocalityLbSetting | None:
    """What `trafficDistribution`, or the older annotation, asks of the callers (pilot/pkg/model/service.go, `GetTrafficDistribution`)."""
    annotations = document.need("metadata").get_or("annotations", {})
    given = document.need("spec").get("trafficDistribution") or annotations.get("networking.istio.io/traffic-distribution")
    word = given.text().lower() if given else ""
    if given is None or word not in ("preferclose", "prefersamezone", "prefersamenode"):
        return None
    zone = context.defaults.has("near_is_zone")
    if not context.defaults.has("traffic_distribution") or (word != "preferclose" and not zone):
        context.warn(given, f"{given.value} has no effect on the proxies of Istio {context.defaults.version}", ISTIO_LOCALITY)
        return None
    if word == "prefersamenode":
        context.assume(given, "which pods share a node is not known: the nearest subzone is preferred", ISTIO_LOCALITY)
    labels = (NETWORK, REGION, ZONE) if zone and word != "prefersamenode" else (NETWORK, REGION, ZONE, SUBZONE)
    return LocalityLbSetting(failover_priority=labels, forced=True)


def _service_port(port: Field) -> ServicePort:
    """Its protocol is what Istio takes it for: appProtocol, else the name, up to its first dash; no word it knows: HTTP, as detected.

    Source: istio/istio pkg/config/kube/conversion.go, `ConvertProtocol`.
    """
    port.only("name", "port", "targetPort", "protocol", "nodePort", "appProtocol")
    number = port.need("port").integer(1, 65535)
    name = names.label(port.need("name")) if "name" in port else ""
    target = port.get_or("targetPort", number)
    if target.value == 0 or target.value == "":
        target = replace(target, value=number)
    said = port.get_or("appProtocol", name).text().lower()
    protocol = "grpc-web" if said.startswith("grpc-web") else said if said in _KUBERNETES else said.partition("-")[0]
    if protocol not in (*_HTTP, *_HTTP_2, *_NOT_HTTP) and number in _NEVER_DETECTED:
        protocol = "tcp"
    transport = port.get_or("protocol", "TCP").choice("TCP", "UDP", "SCTP")
    where = names.port(target) if isinstance(target.value, str) else target.integer(1, 65535)
    other = transport.lower() if transport != "TCP" else protocol if protocol in _NOT_HTTP else ""
    return ServicePort(name=name, port=number, target=where, http2=protocol in _HTTP_2, other=other, protocol=transport)
