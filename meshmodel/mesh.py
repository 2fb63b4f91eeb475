"""`Mesh`: the tutorial's verbs.  Apply manifests, put a load on them, look at what the proxies know.

    mesh = Mesh(istio="1.17")
    mesh.apply("data/tutorial/manifests/testbed.yaml")
    replay = mesh.fortio_load(connections=10, qps=1000, duration="60s")

`apply` and `delete` work like kubectl's on (kind, namespace, name).  A resource without a namespace
belongs to the mesh's own (`namespace`, by default kubectl's), as with `kubectl -n istioinaction`, where the tutorial lives.
Reading is done by `manifests`, routes are made by `control_plane`, arithmetic by the engines.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import DataRow, TableFormat, tabulate

from meshmodel import workloads
from meshmodel._lite import fewer
from meshmodel.istio import names, remarks, said
from meshmodel.istio.base import Context, Resource
from meshmodel.istio.control_plane import ControlPlane, Plan
from meshmodel.istio.defaults import FIELDS, RULES, IstioDefaults, istio_defaults
from meshmodel.istio.field import Field, Place, together
from meshmodel.istio.kubernetes import LOCALITY_RULE, refuse_too_many_pods, slashed
from meshmodel.istio.manifests import read
from meshmodel.istio.mixture import mixed
from meshmodel.istio.said import Said, overlaid
from meshmodel.istio.skipped import Skipped
from meshmodel.istio.skipped import remarks as leave_out
from meshmodel.istio.virtual_service import RETRY_ON
from meshmodel.istio.warnings import NOTED, MeshWarning, in_order, scenario_warnings
from meshmodel.istio.yaml_source import ManifestError, each_resource
from meshmodel.results.overhead import GIVEN, Sourced, tutorials
from meshmodel.results.overhead import read as read_overhead
from meshmodel.scenario import (
    UNLIMITED,
    Change,
    ClosedLoop,
    Constant,
    Distribution,
    Errors,
    Injector,
    Mixture,
    OpenLoop,
    Percentiles,
    Reading,
    Request,
    RetryPolicy,
    Scenario,
    ScenarioError,
    Workload,
    plain,
)

if TYPE_CHECKING:
    import threading
    from concurrent.futures import Executor

    from meshmodel.results.replay import Replay

Keep = Literal["log", "figures"]
AnyRequest = workloads.AnyRequest
Key = tuple[str, str, str]
_ISTIOCTL = TableFormat(None, None, None, None, DataRow("", "     ", ""), DataRow("", "     ", ""), 0, None)
"""istioctl's columns: five spaces after the widest cell."""


class Mesh:
    """A mesh as its resources describe it.

    Parameters
    ----------
    istio : the version whose defaults apply, "1.N" or "1.N.P".
    injector : how fake-service's variables are read: "fake-service" as implemented, "nominal" as the prose has it.
    errors, percentiles : the same for ERROR_RATE alone ("counter" or "coin") and for the timings alone ("program" or
        "prose"); None: as the injector has it.
    overhead : what a request spends outside the backend: None (calibrated on the tutorial), seconds, a duration
        such as "3ms", a file that `meshmodel calibrate` wrote (it ends in .json), or a distribution of seconds (a frozen
        `scipy.stats` one).
    workers : worker threads of each Envoy.
    connect_time : what a proxy needs for a new connection to a pod: "plain" or "mtls" (as a real Envoy was
        measured on loopback: 0.1 and 0.7 ms), seconds, or a duration such as "1ms".
    namespace : where a resource without a namespace goes, "default" as with kubectl ("istioinaction" is the tutorial's).
    strict : what is otherwise only noted, and a rule that meets no Service, is an error.

    Raises ManifestError (a ValueError) with one line on anything that cannot be.
    """

    def __init__(
        self,
        istio: str = "1.17",
        injector: Injector = "fake-service",
        overhead: Distribution | float | str | Path | None = None,
        workers: int = 2,
        namespace: str = "default",
        connect_time: str | float = "plain",
        errors: Errors | None = None,
        percentiles: Percentiles | None = None,
        strict: bool = False,
    ) -> None:
        try:
            self.reading = Reading(injector, errors, percentiles).checked()
        except ScenarioError as problem:
            raise ManifestError(str(problem)) from None
        self.defaults = istio_defaults(istio)
        self.namespace = names.label(Field(namespace, Place("Mesh"), "namespace"))
        self.strict = strict
        self.workers = workloads.whole(workers, "workers", 1, 1000)
        self.overhead, self._overhead_source = _overhead(overhead)
        self.connect_time = workloads.connecting(connect_time)
        self._resources: dict[Key, Resource] = {}
        self._applied = 0
        self._later: list[tuple[float, Key, Resource | None]] = []
        self._said: list[Said] = []
        self._addresses: dict[str, str] = {}
        self._last: tuple[Workload | None, str | None, str | None] = (None, None, None)
        self._replay: Replay | None = None

    # ---- kubectl

    def apply(self, *sources: Any) -> Mesh:
        """Apply manifests: paths (a directory: all its YAML files), YAML text, dicts, or lists of those; all or nothing."""
        applied = self._resources | {resource.key: resource for resource in self._read(sources, self._resources)}
        refuse_too_many_pods(applied.values())
        self._resources = applied
        return self

    def delete(self, kind: str, name: str, namespace: str | None = None) -> Mesh:
        """Delete a resource.  Raises ManifestError where there is none of that name."""
        del self._resources[self._key(kind, name, namespace, self._resources)]
        return self

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """The manifest of a resource, as `kubectl get -o json` gives it: a dict to change and apply again."""
        return copy.deepcopy(self._resources[self._key(kind, name, namespace, self._resources)].manifest)

    @property
    def resources(self) -> list[Key]:
        """(kind, namespace, name) of every resource, in the order in which they were applied first."""
        return list(self._resources)

    def copy(self) -> Mesh:
        """Another mesh of the same resources; what is applied to one does not show in the other."""
        twin = copy.copy(self)
        twin._resources, twin._later, twin._addresses = dict(self._resources), list(self._later), dict(self._addresses)
        twin._said, twin._replay = list(self._said), None
        return twin

    def digest(self) -> str:
        """SHA-256 over what a load on it depends on: its resources in order, now and at all later moments, its version and settings."""
        kept = ("_resources", "_applied", "_later", "_said", "_addresses", "_last", "_replay")
        settings = {name: value for name, value in vars(self).items() if name not in kept}
        moments = [(time, list(self._state(time).values())) for time in (0.0, *self._times())]
        return hashlib.sha256(json.dumps(plain([settings, moments]), default=str).encode()).hexdigest()

    def at(self, time: str | float) -> Later:
        """The mesh `time` into a load: `.apply` and `.delete` on it take effect then ("20s", or seconds)."""
        seconds = workloads.seconds(time, "at")
        if seconds <= 0:
            raise ManifestError(f"at: must be after the load begins, got {time!r}")
        return Later(self, seconds)

    # ---- what manifests do not say

    def timing(
        self, name: str, p50: str | float | None = None, p90: str | float | None = None, p99: str | float | None = None, record: Any = None
    ) -> Mesh:
        """What an answer of the pods of `name` takes: a Deployment, or a Service, for all Deployments behind it.

        p50, p90, p99 : durations or seconds, without the calls that the pods make themselves; one left out takes the value
            of the one below it.  They stand in for the TIMING_ variables of fake-service, which real pods do not have.
        record : in place of the three, a fortio record or a Prometheus histogram of that Service (a path, or a `Histogram`).

        Raises ManifestError where there is no such workload, or the numbers fall.
        """
        if (p50 is None) == (record is None):
            raise ManifestError("timing: needs either p50 (with p90 and p99 where they are known) or a record")
        given = _recorded(record, name) if record is not None else _percentiles(p50, p90, p99)
        changes = said.timed(given)
        known = self._state(float("inf"))
        for each in said.workloads(name, known, self.namespace, "timing"):
            self._said.append(Said(0.0, each.key, lambda pod: said.timing(pod, changes)))
        return self

    def calls(self, caller: str, callee: str) -> Mesh:
        """The pods of `caller` (a Deployment, or a Service, for all behind it) call the Service `callee`, "payments" or "payments:8080/v2".

        For real pods, which have no UPSTREAM_URIS of fake-service's: each request to `caller` makes one call, and its answer is 500
        where that fails.  Without a path the call asks for what the caller is asked.  Raises ManifestError where there is no such
        workload or Service.
        """
        known = self._state(float("inf"))
        name, number, path = said.address(callee)
        found = said.service(name, known, self.namespace, "calls")
        over_http = [port.port for port in found.ports if not port.other]
        if not number and not over_http:
            raise ManifestError(f"calls: Service {found.name} has no port for HTTP")
        port = number or over_http[0]
        for each in said.workloads(caller, known, self.namespace, "calls"):
            said.calling(each, found.fqdn, port, path)
            self._said.append(Said(0.0, each.key, lambda pod: said.calling(pod, found.fqdn, port, path)))
        return self

    def fail(self, name: str, pods: int | None = 1, how: str | int = "hang", at: str | float | None = None) -> Mesh:
        """The first `pods` pods of a Deployment (None: all) fail, from `at` into a load on (None: from its start).

        how : "refused" (connections are), "reset" (after they were taken), "hang" (never answers), an HTTP status that every request
            is answered with at once, or a duration that every answer takes; "none": the pods are well again.

        Raises ManifestError where there is no such Deployment, or it has fewer pods.
        """
        count = None if pods is None else workloads.whole(pods, "pods", 1)
        changes, time = said.failing(how), 0.0 if at is None else workloads.seconds(at, "at")
        found = said.workloads(name, self._state(time), self.namespace, "fail")
        if len(found) > 1:
            raise ManifestError(f"fail: {name} has the pods of several Deployments, name one ({', '.join(each.name for each in found)})")
        said.broken(found[0], count, changes)
        self._said.append(Said(time, found[0].key, lambda pod: said.broken(pod, count, changes)))
        return self

    def _read(self, sources: Iterable[Any], known: dict[Key, Resource]) -> list[Resource]:
        """The resources of one `apply`: created now, all in the same second, unless they are `known` already."""
        context, problems, found = Context(self.namespace, self.reading, self.defaults), [], []
        for document in (document for source in sources for document in each_resource(source)):
            try:
                found.append(_resource(document, context))
            except ManifestError as problem:
                problems.append(problem)
        if self.strict:
            problems += [ManifestError(f"strict: {warning}") for warning in in_order(_notes(found))]
        if problems:
            raise together(problems)
        self._applied += 1
        return [
            replace(resource, created=known[resource.key].created if resource.key in known else (self._applied, resource.created[1]))
            for resource in found
        ]

    def _key(self, kind: str, name: str, namespace: str | None, known: dict[Key, Resource]) -> Key:
        """Its key: of that namespace; where none is said, of the mesh's own, or else the only one of that name."""
        key = kind, namespace or self.namespace, name
        if key not in known:
            elsewhere = [each for each in known if each[0] == kind and each[2] == name]
            if len(elsewhere) == 1 and namespace is None:
                return elsewhere[0]
            near = difflib.get_close_matches(f"{kind} {name}", [f"{k} {n}" for k, _, n in known], n=1)
            raise ManifestError(f"{kind} {name}: there is none in the namespace {key[1]}{f', did you mean {near[0]}?' if near else ''}")
        return key

    def _times(self) -> list[float]:
        return sorted({when for when, _, _ in self._later} | {each.time for each in self._said if each.time > 0})

    def _state(self, time: float) -> dict[Key, Resource]:
        state = dict(self._resources)
        for when, key, resource in sorted(self._later, key=lambda change: change[0]):
            if when > time:
                break
            if resource is not None:
                state[key] = resource
            else:
                state.pop(key, None)
        return overlaid(state, self._said, time)

    # ---- from the resources to a Scenario

    def scenario(self, workload: Workload, target: str | None = None, locality: str | None = None) -> Scenario:
        """The `Scenario` of a load on this mesh.

        `target`: None (the Gateway's route; without a Gateway the one Service that no other calls), a Service's name
        (called directly through a caller's sidecar) or a host of a Gateway.  `locality`: the caller's, as
        "region.zone.subzone": of the load's caller where `target` is a Service, else of the pods that call
        the last Service (default: their own label).
        """
        plan = self._plan(0.0, target, locality, workload.request)
        changes = []
        for time in self._times():
            later = self._plan(time, target, locality, workload.request)
            if [(r.host, r.callers) for r in later.routes] != [(r.host, r.callers) for r in plan.routes]:
                raise ManifestError(f"at {time:g}s: a change of which pods call which Service in the middle of a load is not modelled")
            changes.append(Change(at=time, routes=later.routes))
        scenario = Scenario(
            routes=plan.routes,
            workload=workload,
            overhead=self._overhead(workload),
            workers=self.workers,
            connect_time=self.connect_time,
            new_connection_per_request=_new_connections(plan, workload),
            changes=tuple(changes),
        )
        self._last = workload, target, _locality(locality)
        return scenario

    def _plan(self, time: float, target: str | None, locality: str | None, request: Request | None = None) -> Plan:
        control_plane, place = self._control_plane(time), _locality(locality)
        if self.strict:
            _refuse_unmet(control_plane)
        if isinstance(request, Mixture):
            return mixed([(control_plane.plan(target, place, each), weight) for each, weight in request.parts])
        return control_plane.plan(target, place, request)

    def _control_plane(self, time: float) -> ControlPlane:
        return ControlPlane(list(self._state(time).values()), self.defaults, self._address)

    def _address(self, pod: str) -> str:
        """A pod's IP address, handed out in the order in which pods are first seen and kept for good."""
        if pod not in self._addresses:
            high, low = divmod(len(self._addresses) + 18, 250)
            self._addresses[pod] = f"10.10.{high}.{low}"
        return self._addresses[pod]

    def sourced_overhead(self, workload: Workload | None = None) -> Sourced:
        """The overhead of a load (the last one, or fortio's) on this mesh, and where it comes from."""
        load = workload or self._last[0] or workloads.fortio()
        source = self._overhead_source if self.overhead is not None else tutorials(load)
        return Sourced(self._overhead(load), source)

    def _overhead(self, workload: Workload) -> Distribution:
        if self.overhead is not None:
            return self.overhead
        from meshmodel.results.calibration import default_overhead  # here, since SciPy takes half a second to load

        return default_overhead(workload)

    # ---- loads
    #
    # What each parameter of a load means, and what it may be: `workloads`.  An engine is loaded when it is
    # first asked, so that everything else starts fast.

    def fortio_load(
        self,
        connections: int = 10,
        qps: float = 1000,
        duration: str | float = "60s",
        calls: int | None = None,
        replications: int = 1000,
        seed: int = 1,
        target: str | None = None,
        locality: str | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        keep: Keep = "log",
        timeout: str | float | None = workloads.FORTIO_TIMEOUT,
        request: AnyRequest = None,
        users: int = 0,
    ) -> Replay:
        """`fortio load -c connections -qps qps -t duration` (or `-n calls`), simulated `replications` times."""
        load = workloads.fortio(connections, qps, duration, calls, timeout, request, users)
        return self.simulate(load, replications, seed, target, locality, executor, progress, keep)

    def curl(
        self,
        n: int = 50,
        replications: int = 1000,
        seed: int = 1,
        target: str | None = None,
        locality: str | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        keep: Keep = "log",
        timeout: str | float | None = None,
        request: AnyRequest = None,
        users: int = 0,
    ) -> Replay:
        """`for i in {1..n}; do curl ...; done`: one call after the other."""
        load = workloads.curl(n, timeout, request, users)
        return self.simulate(load, replications, seed, target, locality, executor, progress, keep)

    def open_loop(
        self,
        rate: float | Sequence[tuple[float, float, float]],
        duration: str | float | None = None,
        arrivals: str = "poisson",
        replications: int = 1000,
        seed: int = 1,
        target: str | None = None,
        locality: str | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        keep: Keep = "log",
        timeout: str | float | None = None,
        request: AnyRequest = None,
        users: int = 0,
    ) -> Replay:
        """Requests that do not wait for answers: `rate` a second for `duration`, or segments (seconds, first rate, last rate)."""
        load = workloads.open_loop(rate, duration, arrivals, timeout, request, users)
        return self.simulate(load, replications, seed, target, locality, executor, progress, keep)

    def simulate(
        self,
        workload: Workload,
        replications: int = 1000,
        seed: int = 1,
        target: str | None = None,
        locality: str | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        keep: Keep | None = "log",
        resolution: float = 0.001,
    ) -> Replay:
        """Any `workload`, simulated `replications` times from `seed`; `keep`: "log", every request, or "figures", in flat memory;
        None: what suits the size.

        `resolution`: of fortio's buckets, in seconds; of figures it cannot be changed later."""
        from meshmodel.simulation.admission import (  # it loads numba, and what is refused should be so before
            admit,
            expected_requests,
            kept_unasked,
        )

        if keep not in ("log", "figures", None):
            raise ManifestError(f"keep: must be log or figures, got {keep!r}")
        replications, seed = workloads.whole(replications, "replications", 1), workloads.whole(seed, "seed", 0, 2**64 - 1)
        scenario = self.scenario(workload, target, locality)
        keep = keep or kept_unasked(scenario, replications)
        replications = fewer(replications, expected_requests(scenario))
        admit(scenario, replications, keep)
        from meshmodel.simulation.montecarlo import simulate

        self._replay = simulate(scenario, replications, seed, executor=executor, progress=progress, keep=keep, resolution=resolution)
        return self._replay

    def predict(
        self, *load: Any, workload: Workload | None = None, target: str | None = None, locality: str | None = None, **named: Any
    ) -> Any:
        """The analytic answer to a load: the parameters of `workloads.fortio`, or any `workload`.  Raises where there is no closed form."""
        from meshmodel.analytic.engine import predict

        return predict(self.scenario(_loaded(workload, load, named), target, locality))

    def measure(
        self,
        *load: Any,
        workload: Workload | None = None,
        target: str | None = None,
        locality: str | None = None,
        repetitions: int = 1,
        seed: int = 1,
        progress: bool | Callable[[float], None] = False,
        cancel: threading.Event | None = None,
        **named: Any,
    ) -> Replay:
        """A load, as for `predict`, on a real Envoy on loopback; the other parameters are those of `envoy.engine.measure`."""
        from meshmodel.envoy.engine import measure

        scenario = self.scenario(_loaded(workload, load, named), target, locality)
        self._replay = measure(scenario, repetitions, seed, progress, cancel)
        return self._replay

    # ---- istioctl proxy-config

    def proxy_config_endpoints(
        self, at: str | float | None = None, replication: int = 0, target: str | None = None, locality: str | None = None
    ) -> str:
        """`istioctl proxy-config endpoint` of the last caller: as configured, or `at` a moment of the last load.

        The OUTLIER CHECK at that moment is replication `replication`'s of the last replay.
        """
        time, ejected = 0.0, set()
        if at is not None:
            time = workloads.seconds(at, "at")
            if self._replay is None:
                raise ManifestError("at: there has been no load yet, run fortio_load or curl first")
            if not 0 <= replication < self._replay.replications:
                raise ManifestError(f"replication: must be from 0 to {self._replay.replications - 1}, got {replication!r}")
            ejected = self._replay.ejected(time, replication)
        rows = [
            (e.address, "HEALTHY", "FAILED" if e.name in ejected else "OK", cluster.name)
            for cluster in self._plan(time, target, locality).routes[-1].clusters
            for e in cluster.endpoints
        ]
        rows.sort(key=lambda row: (row[3], [int(part) for part in row[0].split(":")[0].split(".")]))
        return _table(rows, ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"))

    def proxy_config_routes(self, target: str | None = None, locality: str | None = None) -> str:
        """What the proxies' routes hold after Istio's defaults, one row a route."""
        plan, rows = self._plan(0.0, target, locality), []
        for route, hop in zip(plan.routes, plan.hops, strict=True):
            limit = min((d.cluster.connection_pool.max_retries for d in route.destinations), default=UNLIMITED)
            for each in hop.routes:
                of_it = route.retries if each is hop.http else each.retries
                limited = "-" if limit == UNLIMITED or each is not hop.http else limit
                rows.append((route.callers[0].name, route.host, *_policy(each.timeout, of_it), limited, each.asking))
        headers = ("PROXY", "HOST", "TIMEOUT", "ATTEMPTS", "RETRYON", "CODES", "PER TRY", "MAX RETRIES", "MATCH")
        every = all(row[-1] == "*" for row in rows)
        return _table([row[:-1] for row in rows] if every else rows, headers[:-1] if every else headers)

    def version_rules(self, target: str | None = None, locality: str | None = None) -> list[str]:
        """Which rules of this version of Istio touch this mesh: those without which the proxies would be told something else.

        Each in words, with the versions that have it; "not:" before one that this version does not have.
        """
        routes = self._plan(0.0, target, locality).routes
        found = []
        for name, rule in RULES.items():
            try:
                same = self._under(replace(self.defaults, turned=frozenset((name,))))._plan(0.0, target, locality).routes == routes
            except ManifestError:
                same = False
            if not same:
                found.append(f"{'' if self.defaults.has(name) else 'not: '}{rule.says} ({rule.versions})")
        written = {name for resource in self._resources.values() for name in resource.fields(FIELDS)}
        return found + [f"{name} (from 1.{since} on)" for name, since in FIELDS.items() if name in written]

    def _under(self, defaults: IstioDefaults) -> Mesh:
        """The same mesh as other defaults read it."""
        twin = self.copy()
        twin.defaults = defaults
        again = twin._read([resource.manifest for resource in self._resources.values()], self._resources)
        twin._resources = {resource.key: resource for resource in again}
        return twin

    @property
    def warnings(self) -> list[MeshWarning]:
        """What Istio accepts but will not do what its author thinks; those on the workload are about the last one.

        First what makes the figures those of another mesh, then group by group (`MeshWarning.group`).
        """
        now = self._state(0.0)
        found = [warning for resource in now.values() for warning in resource.warnings]
        found += [warning for _, _, resource in self._later if resource is not None for warning in resource.warnings]
        control_plane = ControlPlane(list(now.values()), self.defaults, self._address)
        found += remarks.of_mesh(control_plane, now.values())
        with suppress(ManifestError):  # not a whole mesh yet; a load will say what is missing
            found += self._scenario_warnings(control_plane)
        return in_order(found)

    def _scenario_warnings(self, control_plane: ControlPlane) -> list[MeshWarning]:
        workload, target, locality = self._last
        request = workload.request if workload else None
        plan = self._plan(0.0, target, locality, request)
        changes = tuple(Change(at=when, routes=plan.routes) for when in self._times())
        any_load = workload or OpenLoop(segments=((1.0, 1.0, 1.0),))
        scenario = Scenario(routes=plan.routes, workload=any_load, workers=self.workers, changes=changes, connect_time=self.connect_time)
        idle = [r for r in control_plane.filters if str(r) not in plan.filters and any(not patch.unmodelled for patch in r.patches)]
        reason = "none of its patches meets a proxy and route of this load (context, workloadSelector, vhost, namespace)"
        unmet = [MeshWarning(str(r), "spec.configPatches", reason, "istio.io EnvoyFilter reference") for r in idle]
        owners = plan.cluster_owner, plan.route_owner, plan.localities
        of_load = remarks.of_plan(control_plane, plan, request or Request()) if workload else []
        return of_load + unmet + scenario_warnings(scenario, *owners, self.defaults.retries_503)

    def __repr__(self) -> str:
        names = ", ".join(map(str, (each for each in self._resources.values() if not isinstance(each, Skipped))))
        reading = ", ".join(f"{name}={word!r}" for name, word in self.reading._asdict().items() if word)
        return f"Mesh(istio={self.defaults.version!r}, {reading}, workers={self.workers}): {names or 'no resources'}"


class Later:
    """A mesh at a later moment of a load; see `Mesh.at`."""

    def __init__(self, mesh: Mesh, time: float) -> None:
        self._mesh, self._time = mesh, time

    def apply(self, *sources: Any) -> Later:
        """As `Mesh.apply`, at this time."""
        known = self._mesh._state(self._time)
        applied = [(self._time, resource.key, resource) for resource in self._mesh._read(sources, known)]
        refuse_too_many_pods((known | {key: resource for _, key, resource in applied}).values())
        self._mesh._later += applied
        return self

    def delete(self, kind: str, name: str, namespace: str | None = None) -> Later:
        """As `Mesh.delete`, at this time."""
        key = self._mesh._key(kind, name, namespace, self._mesh._state(self._time))
        self._mesh._later.append((self._time, key, None))
        return self


def _resource(document: Field | ManifestError, context: Context) -> Resource:
    if isinstance(document, ManifestError):
        raise document
    return read(document, context)


def _notes(resources: Iterable[Resource]) -> list[MeshWarning]:
    """What of them is only noted."""
    skipped = [each for each in resources if isinstance(each, Skipped)]
    found = [warning for resource in resources for warning in resource.warnings] + leave_out(skipped)
    return [warning for warning in found if warning.group == NOTED]


def _refuse_unmet(control_plane: ControlPlane) -> None:
    problems = [resource.error(path, f"strict: {reason}") for resource, path, reason in remarks.unmet(control_plane)]
    if problems:
        raise together(problems)


def _policy(timeout: float | None, retries: RetryPolicy) -> tuple[object, ...]:
    """Timeout, attempts, words, codes and per-try timeout as `proxy_config_routes` shows them."""
    on = ",".join(word for word in RETRY_ON if word in retries.retry_on) if retries.attempts else "-"
    codes = ",".join(map(str, sorted(retries.retriable_status_codes))) if retries.attempts else ""
    whole, per_try = ("none" if each is None else f"{each:g}s" for each in (timeout, retries.per_try_timeout))
    return whole, retries.attempts, on, codes or "-", per_try


def _new_connections(plan: Plan, workload: Workload) -> bool:
    """Whether each upstream call comes on a new connection: of the calling pod's client, else of curl but not of fortio."""
    if plan.keep_alives is not None:
        return not plan.keep_alives
    return not isinstance(workload, ClosedLoop) or workload.is_curl


def _loaded(workload: Workload | None, load: tuple[Any, ...], named: dict[str, Any]) -> Workload:
    """`workload`, or what fortio's parameters make; not both."""
    if workload is None:
        return workloads.fortio(*load, **named)
    if load or named:
        raise ManifestError(f"workload: must not be given with {', '.join(named) or 'connections'}, it has its own")
    return workload


def _locality(text: str | None) -> str | None:
    found = None if text is None else slashed(text)
    if text is not None and found is None:
        raise ManifestError(f"locality: {LOCALITY_RULE}, got {text!r}")
    return found


def _overhead(overhead: Distribution | float | str | Path | None) -> tuple[Distribution | None, str]:
    """The overhead, None for the calibrated one, and where it came from."""
    if overhead is None or all(hasattr(overhead, name) for name in ("rvs", "cdf", "ppf", "mean", "var")):
        return overhead, GIVEN  # type: ignore[return-value]
    if isinstance(overhead, Path) or isinstance(overhead, str) and overhead.endswith(".json"):
        return read_overhead(overhead)
    if isinstance(overhead, (int, float, str)):
        return Constant(workloads.seconds(overhead, "overhead")), GIVEN
    raise ManifestError(f"overhead: must be None, seconds, a duration, a file or a distribution, got {type(overhead).__name__}")


def _percentiles(p50: str | float | None, p90: str | float | None, p99: str | float | None) -> tuple[float, float, float]:
    first = workloads.seconds(p50, "timing p50")  # type: ignore[arg-type]
    second = first if p90 is None else workloads.seconds(p90, "timing p90")
    return first, second, second if p99 is None else workloads.seconds(p99, "timing p99")


def _recorded(record: Any, name: str) -> tuple[float, float, float]:
    """The three percentiles of a record."""
    from meshmodel.results.prometheus import read_timings  # here, since NumPy's part of fortio's format takes a while to load

    return read_timings(record, name)


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    text = tabulate([headers, *rows], tablefmt=_ISTIOCTL, disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.splitlines())
