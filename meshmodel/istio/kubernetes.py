"""The Kubernetes kinds, checked: Deployment (with what its fake-service does) and Service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from meshmodel.fakeservice import from_environment
from meshmodel.istio import names
from meshmodel.istio.base import Context, Resource, describe, unused
from meshmodel.istio.field import Field
from meshmodel.istio.localities import REGION, SUBZONE, ZONE
from meshmodel.scenario import Behaviour

MAX_REPLICAS = 1000
MAX_PODS = 10_000
"""In a whole mesh."""
FAILURES = ("refused", "reset", "hang")
LOCALITY_RULE = 'must be "region", "region.zone" or "region.zone.subzone"'
_DEPLOYMENT_UNUSED = "strategy revisionHistoryLimit minReadySeconds progressDeadlineSeconds paused".split()
_POD_UNUSED = (
    "affinity automountServiceAccountToken dnsPolicy dnsConfig imagePullSecrets initContainers restartPolicy schedulerName securityContext "
    "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes priorityClassName hostNetwork enableServiceLinks"
).split()
_CONTAINER_UNUSED = (
    "args command lifecycle livenessProbe readinessProbe resources securityContext startupProbe stdin terminationMessagePath "
    "terminationMessagePolicy tty volumeMounts workingDir"
).split()
_SERVICE_UNUSED = "sessionAffinity sessionAffinityConfig internalTrafficPolicy externalTrafficPolicy publishNotReadyAddresses".split()


@dataclass(frozen=True, kw_only=True)
class Deployment(Resource):
    """`upstream` is the (host, port) that its pods call; `locality` is "region/zone/subzone".

    `broken` is what became of its first pods (`said`), `upstream_said`: its upstream is a user's word, no variable's.
    `timed`: somebody said what its answers take, if only by an image of fake-service.
    """

    replicas: int
    labels: dict[str, str]
    behaviour: Behaviour
    message: str = ""
    locality: str = ""
    upstream: tuple[str, int] | None = None
    keep_alives: bool = False
    named_ports: dict[str, int] = field(default_factory=dict)
    broken: tuple[Callable[[Behaviour], Behaviour], ...] = ()
    upstream_said: bool = False
    timed: bool = True

    def behaviour_of(self, pod: int) -> Behaviour:
        """How its pod number `pod`, from 1, answers."""
        return self.broken[pod - 1](self.behaviour) if pod <= len(self.broken) else self.behaviour


@dataclass(frozen=True, kw_only=True)
class ServicePort:
    name: str
    port: int
    target: int | str
    http2: bool = False


@dataclass(frozen=True, kw_only=True)
class Service(Resource):
    selector: dict[str, str]
    ports: tuple[ServicePort, ...]

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def names(self) -> tuple[str, ...]:
        """What Kubernetes' DNS knows it by, the bare name (which is of its namespace only) included."""
        return self.name, f"{self.name}.{self.namespace}", f"{self.name}.{self.namespace}.svc", self.fqdn

    def selects(self, deployment: Deployment) -> bool:
        return self.namespace == deployment.namespace and self.selector.items() <= deployment.labels.items()


def read_deployment(document: Field, base: dict[str, object], context: Context) -> Deployment:
    spec = document.need("spec")
    spec.only("replicas", "selector", "template", *unused(spec, _DEPLOYMENT_UNUSED, context))
    template = spec.need("template").only("metadata", "spec")
    labels = names.label_map(describe(template).get_or("labels", {}))
    selector = spec.need("selector").only("matchLabels", refused={"matchExpressions": "is not modelled, use matchLabels"})
    wanted = names.label_map(selector.get_or("matchLabels", {}))
    if not wanted or not wanted.items() <= labels.items():
        raise selector.error("must match the labels of the template")
    pod = template.need("spec")
    pod.only("containers", "serviceAccountName", "serviceAccount", "nodeSelector", *unused(pod, _POD_UNUSED, context))
    container = _container(pod, context)
    environment = _environment(container)
    return Deployment(
        **base,  # type: ignore[arg-type]
        replicas=spec.get_or("replicas", 1).integer(0, MAX_REPLICAS),
        labels=labels,
        behaviour=_behaviour(document, template, container, environment, context),
        message=environment["MESSAGE"].text() if "MESSAGE" in environment else "Hello World",
        locality=_locality(template, pod, labels),
        upstream=_upstream(environment),
        keep_alives=_keep_alives(environment),
        named_ports=_named_ports(container),
    )


def refuse_too_many_pods(resources: Iterable[Resource]) -> None:
    """Raise `ManifestError` where all Deployments together have more than `MAX_PODS` pods."""
    pods = 0
    for deployment in resources:
        if isinstance(deployment, Deployment):
            pods += deployment.replicas
            if pods > MAX_PODS:
                raise deployment.error("spec.replicas", f"makes more than {MAX_PODS} pods in all")


def _container(pod: Field, context: Context) -> Field:
    containers = pod.need("containers")
    if len(containers.items()) != 1:
        raise containers.error("must hold exactly one container (the sidecar is understood)")
    container = containers.items()[0]
    known = unused(container, _CONTAINER_UNUSED, context)
    refused = {"envFrom": "is not modelled, write the variables in env"}
    container.only("name", "image", "imagePullPolicy", "ports", "env", *known, refused=refused)
    names.label(container.need("name"))
    container.get_or("image", "").text()
    container.get_or("imagePullPolicy", "Always").choice("Always", "IfNotPresent", "Never")
    return container


def _environment(container: Field) -> dict[str, Field]:
    """The variables by name; one whose value comes from elsewhere (valueFrom) is left out unless it matters."""
    variables: dict[str, Field] = {}
    for entry in container.get_or("env", []).items():
        entry.only("name", "value", "valueFrom")
        name = names.variable(entry.need("name"))
        if name in variables:
            raise entry.error(f"the variable {name} stands twice")
        if "valueFrom" in entry:
            if re.match(r"TIMING_|ERROR_|UPSTREAM_|HTTP_CLIENT_", name):
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
        behaviour = _annotated(behaviour, parent.need("metadata").get_or("annotations", {}))
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


_URI = re.compile(r"http://([^/:@?#\s]+)(?::([0-9]{1,5}))?/?", re.IGNORECASE)


def _upstream(environment: dict[str, Field]) -> tuple[str, int] | None:
    variable = environment.get("UPSTREAM_URIS")
    if variable is None or not variable.text().strip():
        return None
    uris = [uri.strip() for uri in variable.text().split(",") if uri.strip()]
    if len(uris) != 1:
        raise variable.wrong("more than one upstream is not modelled")
    found = _URI.fullmatch(uris[0]) if len(uris[0]) < 300 else None
    port = int(found[2] or 80) if found else 0
    if not found or not 1 <= port <= 65535:
        raise variable.wrong("must be a URI such as http://simple-backend:80/, without user, path or query")
    return names.host(replace(variable, value=found[1].lower())), port


def _keep_alives(environment: dict[str, Field]) -> bool:
    variable = environment.get("HTTP_CLIENT_KEEP_ALIVES")
    if variable and variable.value not in ("true", "false"):
        raise variable.wrong('must be "true" or "false"')
    return variable is not None and variable.value == "true"


def _named_ports(container: Field) -> dict[str, int]:
    found = {}
    for port in container.get_or("ports", []).items():
        port.only("name", "containerPort", "protocol")
        number = port.need("containerPort").integer(1, 65535)
        if "name" in port:
            name = names.port(port.need("name"))
            if name in found:
                raise port.error(f"the port {name} stands twice")
            found[name] = number
    return found


def read_service(document: Field, base: dict[str, object], context: Context) -> Service:
    spec = document.need("spec")
    refused = dict.fromkeys(("externalName", "trafficDistribution", "externalIPs"), "is not modelled")
    known = unused(spec, _SERVICE_UNUSED, context)
    spec.only("selector", "ports", "type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", *known, refused=refused)
    spec.get_or("type", "ClusterIP").choice("ClusterIP", "NodePort", "LoadBalancer")
    if spec.get_or("clusterIP", "").text() == "None":
        raise spec.need("clusterIP").error("a headless Service is not modelled")
    names.service(document.need("metadata").need("name"))
    selector = names.label_map(spec.need("selector"))
    if not selector:
        raise spec.need("selector").error("must name at least one label")
    ports = tuple(_service_port(port) for port in spec.need("ports").items())
    if not ports:
        raise spec.need("ports").error("needs at least one port")
    numbers = [port.port for port in ports]
    if len(set(numbers)) < len(numbers):
        raise spec.need("ports").error("a port stands twice")
    called = {port.name for port in ports}
    if len(ports) > 1 and ("" in called or len(called) < len(ports)):
        raise spec.need("ports").error("several ports need a name each")
    return Service(**base, selector=selector, ports=ports)  # type: ignore[arg-type]


def _service_port(port: Field) -> ServicePort:
    port.only("name", "port", "targetPort", "protocol", "nodePort", "appProtocol")
    number = port.need("port").integer(1, 65535)
    name = names.label(port.need("name")) if "name" in port else ""
    target = port.get_or("targetPort", number)
    protocol = port.get_or("appProtocol", name.split("-")[0]).text()
    port.get_or("protocol", "TCP").choice("TCP")
    if protocol in ("tcp", "tls", "udp", "https", "grpc", "mongo", "mysql", "redis"):
        raise port.error(f"only HTTP is modelled, and Istio takes this port for {protocol}")
    where = names.port(target) if isinstance(target.value, str) else target.integer(1, 65535)
    return ServicePort(name=name, port=number, target=where, http2=protocol == "http2")
