"""What an engine is told: one experiment, frozen, in seconds, free of YAML.

A request of the load generator passes the routes of a `Scenario` in order.  Each
`Route` is what one proxy does with it (the gateway's, then simple-web's sidecar):
it picks a destination `Cluster`, the cluster's load balancer picks an `Endpoint`,
and that pod either answers or calls on through the next route.

    load generator ──routes[0]──> pod ──routes[1]──> pod ... ──> answer

A pod may make several calls, one after another; the routes are then a tree, written
down in the order of the calls (`Route.called_from`).

Everything is checked at construction, so an engine need not check again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from meshmodel._text import quoted

UNLIMITED = 2**32 - 1
"""Istio writes this for every circuit-breaker limit that a DestinationRule leaves out."""

PLAIN_CONNECT, MTLS_CONNECT = 0.0001, 0.0007
"""Seconds that a request waits longer for a new connection, over TCP alone and with Istio's mutual TLS (a session
resumed; 0.0008 without): measured on Envoy 1.40 over loopback; a network adds one round trip, and one more for TLS."""

LoadBalancing = Literal["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "RING_HASH", "MAGLEV"]
Failure = Literal["none", "refused", "reset", "hang"]
Injector = Literal["fake-service", "nominal"]
Errors = Literal["counter", "coin"]
Percentiles = Literal["program", "prose"]


class Distribution(Protocol):
    """A distribution of seconds: the part of a frozen `scipy.stats` distribution that we use."""

    def rvs(self, size: Any = ..., random_state: Any = ...) -> Any: ...
    def cdf(self, x: Any) -> Any: ...
    def ppf(self, q: Any) -> Any: ...
    def mean(self) -> float: ...
    def var(self) -> float: ...


@dataclass(frozen=True)
class Constant:
    """A distribution that always gives the same number of `seconds`."""

    seconds: float

    def __post_init__(self) -> None:
        _require(0 <= self.seconds < np.inf, "overhead", "must be zero or more seconds", self.seconds)

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        return np.full(() if size is None else size, self.seconds)

    def cdf(self, x: Any) -> Any:
        return np.where(np.asarray(x) >= self.seconds, 1.0, 0.0)

    def ppf(self, q: Any) -> Any:
        return np.full(np.shape(q), self.seconds)

    def mean(self) -> float:
        return self.seconds

    def var(self) -> float:
        return 0.0


class ScenarioError(ValueError):
    """A value that no mesh can have; the message names the field."""


def _require(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        raise ScenarioError(f"{name}: {rule}, got {quoted(value, 200)}")


def _require_patience(timeout: float | None) -> None:
    _require(timeout is None or 0 < timeout < np.inf, "timeout", "must be more than zero seconds", timeout)


class Reading(NamedTuple):
    """How the variables are read; `errors` and `percentiles` None: as the injector has it."""

    injector: Injector = "fake-service"
    errors: Errors | None = None
    percentiles: Percentiles | None = None

    def checked(self) -> Reading:
        """Itself.  Raises ScenarioError on a word that none of them knows."""
        for name, words in (("injector", Injector), ("errors", Errors), ("percentiles", Percentiles)):
            value = getattr(self, name)
            if value not in get_args(words) and (name == "injector" or value is not None):
                raise ScenarioError(f"{name}: must be one of {', '.join(get_args(words))}, got {value!r}")
        return self


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a pod answers: fake-service's environment variables, in seconds.

    `errors` says how ERROR_RATE is read: the program's "counter" or the prose's "coin"; `percentiles` how the
    TIMING_..._PERCENTILE are: as the "program" or the "prose" has them (`meshmodel.fakeservice` has all four).
    `injector` is short for both: "fake-service" counter and program, "nominal" coin and prose, where they are None.
    `undelayed` is what an answer takes that the prose does not delay.
    `failure` is a pod that fake-service cannot imitate: it refuses connections, resets
    them after accepting, or never answers.  `concurrency` requests are worked on at
    once, the others queue first come first served (None: no limit).
    """

    timing_50_percentile: float = 0.0
    timing_90_percentile: float | None = None
    timing_99_percentile: float | None = None
    timing_variance: int = 0
    error_type: str = "http_error"
    error_rate: float = 0.0
    error_code: int = 500
    error_delay: float = 0.0
    injector: Injector = "fake-service"
    errors: Errors | None = None
    percentiles: Percentiles | None = None
    undelayed: float = 0.0
    failure: Failure = "none"
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("timing_50_percentile", "timing_90_percentile", "timing_99_percentile", "error_delay", "undelayed"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < np.inf, name, "must be zero or more seconds", value)
        _require(self.timing_variance >= 0, "timing_variance", "must be zero or more percent", self.timing_variance)
        _require(0 <= self.error_rate <= 1, "error_rate", "must be from 0 to 1", self.error_rate)
        _require(100 <= self.error_code <= 599, "error_code", "must be an HTTP status", self.error_code)
        _require(self.concurrency is None or self.concurrency >= 1, "concurrency", "must be 1 or more", self.concurrency)

    @property
    def coin(self) -> bool:
        """Whether errors are drawn, request by request; else counted."""
        return self.errors == "coin" if self.errors else self.injector == "nominal"

    @property
    def prose(self) -> bool:
        """Whether the percentiles are read as the prose has them: half of the answers are not delayed."""
        return self.percentiles == "prose" if self.percentiles else self.injector == "nominal"

    @property
    def timings(self) -> tuple[float, float, float]:
        """The three durations, a missing one taking the value of the one below it."""
        p50 = self.timing_50_percentile
        p90 = self.timing_90_percentile or p50
        return p50, p90, self.timing_99_percentile or p90


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One pod behind a Service.  `locality` is "region/zone/subzone", parts may be empty.

    `message` is the body of its answers (fake-service's MESSAGE).  `weight` is Envoy's
    `load_balancing_weight`: where those of a cluster differ, its endpoints are scheduled by weight.
    `inbound` are the limits that the pod's own sidecar keeps between itself and the application, for
    the requests of all callers together (None: no limit bites).  What it refuses it answers 503, which is an answer
    like any other to the caller's proxy: a 5xx for its detector, and retried where `retry_on` covers it (measured on
    Envoy 1.40, the header x-envoy-overloaded notwithstanding), while a refusal by the caller's own limit never is.
    `inbound_retries` is how often that sidecar tries a request again that was reset before it was sent
    (Envoy's `reset-before-request`, back-off from 25 ms on), beside all retries of callers.
    """

    name: str
    deployment: str
    address: str
    locality: str = ""
    message: str = ""
    behaviour: Behaviour = Behaviour()
    weight: int = 1
    inbound: ConnectionPool | None = None
    inbound_retries: int = 0

    def __post_init__(self) -> None:
        _require(self.weight >= 1, "weight", "must be 1 or more", self.weight)
        _require(self.inbound_retries >= 0, "inbound_retries", "must be zero or more", self.inbound_retries)

    @property
    def hash_key(self) -> str:
        """What RING_HASH and MAGLEV know the pod by: address and port."""
        return self.address if ":" in self.address else f"{self.address}:8080"


@dataclass(frozen=True, kw_only=True)
class OutlierDetection:
    """Envoy's outlier detection with the values that Istio writes; 0 turns a detector off.

    `one_host_always`: whether one host may be ejected whatever `max_ejection_percent`
    says (Envoy before 1.27 or so) or the percentage is strict.  `update_merge_window`
    is Envoy's `common_lb_config.update_merge_window`.  `error_codes`: the statuses that count as
    errors, and no others (Envoy's `error_matcher`; empty: every 5xx).
    """

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failure: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10
    one_host_always: bool = False
    update_merge_window: float = 1.0
    error_codes: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in ("interval", "base_ejection_time", "max_ejection_time"):
            _require(getattr(self, name) > 0, name, "must be more than zero seconds", getattr(self, name))
        _require(0 <= self.max_ejection_percent <= 100, "max_ejection_percent", "must be from 0 to 100", self.max_ejection_percent)
        for name in ("consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure"):
            _require(getattr(self, name) >= 0, name, "must be zero or more", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RetryBudget:
    """Envoy's retry budget: at most max(`min_retry_concurrency`, `budget_percent` of the active requests)."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, kw_only=True)
class ConnectionPool:
    """Envoy's circuit-breaker thresholds of one cluster; a field at `UNLIMITED` never bites."""

    max_connections: int = UNLIMITED
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_requests_per_connection: int = 0
    max_retries: int = UNLIMITED
    retry_budget: RetryBudget | None = None
    http2: bool = False

    @property
    def limits_connections(self) -> bool:
        """Must connections be counted?  HTTP/2 carries any number of requests on one."""
        return not self.http2 and self.max_connections < UNLIMITED


@dataclass(frozen=True, kw_only=True)
class SlowStart:
    """Envoy's slow start: an endpoint younger than `window` seconds has a smaller weight, `min_weight_percent` of it at the least."""

    window: float
    aggression: float = 1.0
    min_weight_percent: float = 10.0

    def __post_init__(self) -> None:
        _require(0 < self.window < np.inf, "slow start", "must be more than zero seconds", self.window)
        _require(0 < self.aggression < np.inf, "aggression", "must be more than zero", self.aggression)
        _require(0 <= self.min_weight_percent <= 100, "min_weight_percent", "must be from 0 to 100", self.min_weight_percent)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What Envoy knows of one destination (a Service, or a subset of it).

    `priorities`, shape (callers, endpoints), is the priority of each endpoint as each
    caller of the route sees it (0 is best; all zero: no locality failover).
    `locality_weights`, when not None, is one mapping a caller from locality to load balancing weight: Envoy first
    picks a locality of the level by weight (Istio's `distribute`, and from 1.12 to 1.23 every cluster with more than
    one locality, by numbers of pods); one whose endpoints are of several priorities has in each the part of its
    weight that its endpoints there are.  `panic_threshold` is a percentage.
    `minimum_ring_size` is of RING_HASH, `maglev_table_size` (a prime) of MAGLEV; `slow_start`
    of ROUND_ROBIN and LEAST_REQUEST: an endpoint is as old as the time since it joined,
    those of the scenario's start have long been there.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    load_balancing: LoadBalancing = "LEAST_REQUEST"
    priorities: tuple[tuple[int, ...], ...] = ()
    locality_weights: tuple[Mapping[str, int], ...] | None = None
    outlier_detection: OutlierDetection | None = None
    connection_pool: ConnectionPool = ConnectionPool()
    panic_threshold: float = 0.0
    minimum_ring_size: int = 1024
    maglev_table_size: int = 65537
    slow_start: SlowStart | None = None

    def __post_init__(self) -> None:
        for row in self.priorities:
            _require(len(row) == len(self.endpoints), "priorities", "needs one per endpoint", row)
        _require(1 <= self.minimum_ring_size <= 8 * 2**20, "minimum_ring_size", "must be from 1 to 8388608", self.minimum_ring_size)
        _require(2 <= self.maglev_table_size < 5_000_011, "maglev_table_size", "must be below 5000011", self.maglev_table_size)

    @property
    def hashes(self) -> bool:
        """Does a request's hash pick its endpoint?"""
        return self.load_balancing in ("RING_HASH", "MAGLEV")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Envoy's retry policy of a route.  `retry_on` holds Envoy's words; `attempts` retries at most."""

    attempts: int = 2
    retry_on: frozenset[str] = frozenset()
    retriable_status_codes: frozenset[int] = frozenset()
    per_try_timeout: float | None = None
    backoff_base_interval: float = 0.025
    backoff_max_interval: float | None = None
    previous_hosts: bool = True
    host_selection_retry_max_attempts: int = 5
    previous_priorities_update_frequency: int = 0
    hedge_on_per_try_timeout: bool = False

    def __post_init__(self) -> None:
        _require(self.attempts >= 0, "attempts", "must be zero or more", self.attempts)
        _require(self.backoff_base_interval > 0, "backoff", "must be more than zero seconds", self.backoff_base_interval)
        _require(
            self.per_try_timeout is None or self.per_try_timeout > 0,
            "per_try_timeout",
            "must be more than zero seconds",
            self.per_try_timeout,
        )

    @property
    def max_interval(self) -> float:
        """Envoy's default upper bound of the back-off is ten times its base."""
        return 10 * self.backoff_base_interval if self.backoff_max_interval is None else self.backoff_max_interval


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The VirtualService's fault filter: a fixed delay and an abort, each with its percentage."""

    delay: float = 0.0
    delay_percent: float = 0.0
    abort_code: int = 0
    abort_percent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A weighted destination of a route; weights are relative."""

    cluster: Cluster
    weight: int = 100


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A pod whose proxy applies a route: the gateway, or one replica of simple-web."""

    name: str
    locality: str = ""


@dataclass(frozen=True, kw_only=True)
class HashPolicy:
    """What of a request Envoy hashes: a header, a cookie or a query parameter of that `name`, or the client's address.

    `ttl` of a cookie in seconds: Envoy makes one up for a request without it, by the addresses of its
    connection, so that all requests of a connection hash alike; None: it makes none.
    """

    kind: Literal["header", "cookie", "query_parameter", "source_ip"]
    name: str = ""
    ttl: float | None = None


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A copy of `percent` of the requests goes to another cluster; nobody waits for its answer."""

    cluster: Cluster
    percent: float = 100.0


@dataclass(frozen=True, kw_only=True)
class DirectResponse:
    """The proxy answers itself: a VirtualService's directResponse, or its redirect (the status is 3xx then)."""

    status: int
    body: str = ""

    def __post_init__(self) -> None:
        _require(200 <= self.status <= 599, "status", "must be an HTTP status", self.status)


@dataclass(frozen=True, kw_only=True)
class Route:
    """What the callers' proxies do with a request for `host`.

    `timeout` None means no timeout.  `callers` holds one entry for each pod whose
    proxy applies this route; each proxy keeps its own load-balancing and outlier
    state.  They are the endpoints of the route that it is called from, in order.
    `hash_policy` is what RING_HASH and MAGLEV clusters pick by.  With a `direct_response`
    there are no destinations, and no other route follows.  `called_from` is the number of
    the route whose pods make this call, when they have all answers of their calls before
    (None: the route before this one).
    """

    host: str
    callers: tuple[Caller, ...]
    destinations: tuple[Destination, ...]
    timeout: float | None = None
    retries: RetryPolicy = RetryPolicy(attempts=0)
    fault: Fault = Fault()
    hash_policy: tuple[HashPolicy, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    direct_response: DirectResponse | None = None
    called_from: int | None = None

    def __post_init__(self) -> None:
        _require(self.timeout is None or self.timeout > 0, "timeout", "must be more than zero seconds", self.timeout)
        _require(len(self.callers) > 0, "callers", "needs at least one", self.callers)
        if self.direct_response is None:
            _require(sum(d.weight for d in self.destinations) > 0, "destinations", "needs a positive weight", self.destinations)
        else:
            _require(not self.destinations, "destinations", "must be none beside a direct response", self.destinations)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every pod that the route can reach, once, in the order of its clusters."""
        return tuple({e.name: e for cluster in self.clusters for e in cluster.endpoints}.values())

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The destinations' clusters, then those that only mirrors reach."""
        return (*(d.cluster for d in self.destinations), *(mirror.cluster for mirror in self.mirrors))

    def with_clusters(self, change: Callable[[Cluster], Cluster]) -> Route:
        """The route with each of its clusters, mirrors' too, changed."""
        destinations = tuple(replace(each, cluster=change(each.cluster)) for each in self.destinations)
        return replace(self, destinations=destinations, mirrors=tuple(replace(each, cluster=change(each.cluster)) for each in self.mirrors))

    def with_endpoints(self, change: Callable[[Endpoint], Endpoint]) -> Route:
        """The route with each endpoint of its clusters changed."""
        return self.with_clusters(lambda cluster: replace(cluster, endpoints=tuple(map(change, cluster.endpoints))))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a load asks for; `headers` are (name, value) in their order, `port` is the one called (None: as the target has it)."""

    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    port: int | None = None

    def __str__(self) -> str:
        return " ".join((self.method, self.path, *(f"{name}: {value}" for name, value in self.headers)))

    def of(self, number: int, policies: Iterable[HashPolicy]) -> Request:
        """The same, by user number `number`: with the user's name wherever one of `policies` looks."""
        path, headers = self.path, list(self.headers)
        for policy in policies:
            if policy.kind == "query_parameter":
                path += ("&" if "?" in path else "?") + f"{policy.name}={user(number)}"
            elif policy.kind == "header" and policy.name.lower() not in (name.lower() for name, _ in headers):
                headers.append((policy.name, user(number)))
            elif policy.kind == "cookie":
                headers.append(("Cookie", f"{policy.name}={user(number)}"))
        return replace(self, path=path, headers=tuple(headers))


@dataclass(frozen=True, kw_only=True)
class Mixture(Request):
    """Requests of several kinds, each with its weight; what a proxy cannot tell apart is the first one's."""

    parts: tuple[tuple[Request, float], ...]

    def __str__(self) -> str:
        return " and ".join(dict.fromkeys(str(each) for each, _ in self.parts))


LOWEST_RATE, HIGHEST_RATE = 1e-6, 1e9
"""Requests a second: one in eleven days, and more than any machine sends."""

MOST_USERS = 65_000
"""Each calls from an address of its own (`user_address`)."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """fortio, or a loop of curl: a connection sends its next request when the last is answered.

    fortio stops a connection at `duration` seconds (calls in flight finish) or after its
    share of `calls`; each connection aims at qps / connections and, when late, does not
    sleep (0: as fast as possible).  `timeout`: seconds after which the client gives a request
    up (code -1) and opens a new connection; None: it waits for ever.  `is_curl` says which it is.
    `users`: each request is one of so many users', drawn anew: it carries `user(i)` in whatever a
    route hashes (header, cookie, parameter; its address is then the user's); 0: it carries nothing.
    """

    connections: int = 1
    qps: float = 0.0
    duration: float | None = None
    calls: int | None = None
    users: int = 0
    timeout: float | None = None
    request: Request = Request()

    def __post_init__(self) -> None:
        _require(0 <= self.users <= MOST_USERS, "users", f"must be from 0 to {MOST_USERS}", self.users)
        _require(self.connections >= 1, "connections", "must be 1 or more", self.connections)
        _require(self.qps == 0 or LOWEST_RATE <= self.qps <= HIGHEST_RATE, "qps", "must be 0, or from 1e-6 to 1e9", self.qps)
        _require(self.duration is None or 0 < self.duration < np.inf, "duration", "must be more than zero seconds", self.duration)
        _require(self.calls is None or self.calls >= 1, "calls", "must be 1 or more", self.calls)
        _require(self.calls is not None or self.duration is not None, "duration", "needs a duration or a number of calls", None)
        _require_patience(self.timeout)

    @property
    def is_curl(self) -> bool:
        """Whether it is a loop of curl: each call on a connection of its own.

        One connection, a number of calls, no rate, and as much patience as it takes; fortio always has a timeout.
        """
        return self.connections == 1 and self.duration is None and not self.qps and self.timeout is None

    @property
    def planned_calls(self) -> int | None:
        """fortio's number of calls: the exact one, or qps x duration rounded down, never below 2 with a qps."""
        calls = self.calls
        if calls is None and self.qps > 0 and self.duration is not None:
            calls = int(self.qps * self.duration)
        return calls if calls is None or self.qps <= 0 else max(2, calls)

    @property
    def threads(self) -> int:
        """How many connections fortio really opens: with a qps, no more than half the planned calls."""
        if self.planned_calls is None:
            return self.connections
        return max(1, min(self.connections, self.planned_calls // 2 if self.qps > 0 else self.planned_calls))

    @property
    def calls_per_thread(self) -> tuple[float, ...]:
        """How many calls each thread makes at most (math.inf: as many as fit into the duration).

        Source: fortio's periodic/periodic.go: shared out equally, what is left over of an
        exact number of calls going to the first thread.
        """
        if self.planned_calls is None:
            return (np.inf,) * self.threads
        each, left_over = divmod(self.planned_calls, self.threads)
        return (each + (left_over if self.calls is not None else 0), *[each] * (self.threads - 1))

    def due(self, done: int, calls: float) -> float:
        """Seconds after the start before which a thread that has made `done` of its `calls` does not begin the next (0: no rate).

        Source: runOne in fortio's periodic/periodic.go: the last call is due at the end of the duration; a number of
        calls (`-n`) changes nothing, since the duration keeps its default beside it.
        """
        return (done + done / (calls - 1)) * self.threads / self.qps if self.qps > 0 and calls > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """Requests that arrive whether or not earlier ones were answered.

    `segments` are (seconds, rate at their start, rate at their end) in requests per
    second, linear between: a constant rate, a step (two segments) or a ramp.  `users`, `timeout`
    and `request` are as in `ClosedLoop`.
    """

    segments: tuple[tuple[float, float, float], ...]
    arrivals: Literal["poisson", "paced"] = "poisson"
    users: int = 0
    timeout: float | None = None
    request: Request = Request()

    def __post_init__(self) -> None:
        _require(0 <= self.users <= MOST_USERS, "users", f"must be from 0 to {MOST_USERS}", self.users)
        for seconds, first, last in self.segments:
            _require(
                0 < seconds < np.inf and 0 <= first <= HIGHEST_RATE and 0 <= last <= HIGHEST_RATE,
                "rate",
                "needs positive seconds and rates from 0 to 1e9",
                self.segments,
            )
        _require(self.expected >= LOWEST_RATE, "rate", "must let some request arrive", self.segments)
        _require_patience(self.timeout)

    @property
    def duration(self) -> float:
        """Seconds from the first segment's start to the last one's end."""
        return sum(seconds for seconds, _, _ in self.segments)

    @property
    def expected(self) -> float:
        """Expected number of requests."""
        return sum(seconds * (first + last) / 2 for seconds, first, last in self.segments)


Workload = ClosedLoop | OpenLoop


def user(i: int) -> str:
    """What the requests of user number `i` carry."""
    return f"user-{i}"


def user_address(i: int) -> str:
    """Where user number `i` calls from: an address of this machine, so that the real Envoy sees the same one."""
    return f"127.0.{(i + 1) // 256}.{(i + 1) % 256}"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What holds from `at` seconds on: the same chain of routes with other values.

    Endpoints are the same pod when their names are.
    """

    at: float
    routes: tuple[Route, ...]


def callers_of(chain: Sequence[Route]) -> tuple[int, ...]:
    """For each route the number of the one whose pods make the call; -1 for the first, the load's own."""
    return tuple(number - 1 if route.called_from is None else route.called_from for number, route in enumerate(chain))


def calls_of(chain: Sequence[Route], caller: int) -> tuple[int, ...]:
    """The numbers of the routes that the pods of this one call, in order; of -1 those of the load's own proxy."""
    return tuple(number for number, of in enumerate(callers_of(chain)) if of == caller)


def way_to_the_last(chain: Sequence[Route]) -> tuple[int, ...]:
    """The numbers of the routes that a request passes on its way to the pods of the last one, without those beside it."""
    callers, way = callers_of(chain), [len(chain) - 1]
    while callers[way[0]] >= 0:
        way.insert(0, callers[way[0]])
    return tuple(way)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One experiment.  `overhead` is what a request spends outside the last pod.

    It is drawn anew for each call of the last route, and for a call that fails of pods
    beside it, as the last one is then not called; and spent by that route's caller after
    the answer: the request is then active at no endpoint.  `workers` is the number
    of Envoy worker threads of every proxy.  `new_connection_per_request`: the caller
    opens a connection for each upstream call, so that each request meets a random
    worker (fake-service without keep-alives); else a connection keeps its worker.
    `connect_time` is what a proxy needs for a new connection to a pod (`PLAIN_CONNECT`).
    """

    routes: tuple[Route, ...]
    workload: Workload
    overhead: Distribution = Constant(0.0)
    workers: int = 2
    new_connection_per_request: bool = True
    changes: tuple[Change, ...] = field(default=())
    connect_time: float = PLAIN_CONNECT

    def __post_init__(self) -> None:
        _require(len(self.routes) > 0, "routes", "needs at least one", self.routes)
        _require(0 <= self.connect_time < np.inf, "connect_time", "must be zero or more seconds", self.connect_time)
        _require(self.workers >= 1, "workers", "must be 1 or more", self.workers)
        for chain in self.chains:
            for number, caller in enumerate(callers_of(chain)):
                _require(min(number, 1) <= caller + 1 <= number, "called_from", "must be a route before this one", caller)
        times = [change.at for change in self.changes]
        _require(times == sorted(times) and all(t > 0 for t in times), "changes", "must come at increasing times after 0", times)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The pods of the last route: those whose answers the load generator counts."""
        return self.routes[-1].endpoints

    @property
    def branches(self) -> bool:
        """Does a pod make more than one call for a request?"""
        return any(callers_of(chain) != tuple(range(-1, len(chain) - 1)) for chain in self.chains)

    @property
    def chains(self) -> tuple[tuple[Route, ...], ...]:
        """The routes that hold at the start, and after each change."""
        return (self.routes, *(change.routes for change in self.changes))

    def with_chains(self, change: Callable[[tuple[Route, ...]], tuple[Route, ...]]) -> Scenario:
        """The scenario with the routes changed that hold at the start, and those after each change."""
        return replace(self, routes=change(self.routes), changes=tuple(replace(each, routes=change(each.routes)) for each in self.changes))

    @property
    def pod_names(self) -> tuple[str, ...]:
        """The pods of the last route, also those that come with a change."""
        return tuple(dict.fromkeys(e.name for chain in self.chains for e in chain[-1].endpoints))

    @property
    def membership_changes(self) -> bool:
        """Do endpoints of the last route come or go?"""
        return len({tuple(e.name for e in chain[-1].endpoints) for chain in self.chains}) > 1

    @property
    def hash_policies(self) -> tuple[HashPolicy, ...]:
        """What any proxy hashes, each once: fake-service hands path and headers of a request on."""
        return tuple(dict.fromkeys(policy for chain in self.chains for route in chain for policy in route.hash_policy))

    @property
    def deployments(self) -> tuple[str, ...]:
        """The Deployments of `endpoints`, each once, sorted by name."""
        pods = [e for routes in self.chains for e in routes[-1].endpoints]
        return tuple(sorted({e.deployment for e in pods}))

    def to_json(self) -> dict[str, Any]:
        """The scenario as plain JSON values (a distribution by its repr)."""
        return plain(self)


def describe(distribution: Distribution) -> dict[str, Any]:
    """A distribution as plain values: `Constant` or a frozen SciPy one by name and parameters."""
    if isinstance(distribution, Constant):
        return {"seconds": distribution.seconds}
    frozen = getattr(distribution, "dist", None)
    if frozen is None:
        return {"distribution": type(distribution).__name__, "mean": float(distribution.mean())}
    return {
        "distribution": frozen.name,
        "args": [float(a) for a in getattr(distribution, "args", ())],
        **{k: float(v) for k, v in getattr(distribution, "kwds", {}).items()},
    }


def plain(value: Any) -> Any:
    """Dataclasses, sets, tuples and distributions as plain dicts and lists, in an order of their own."""
    if is_dataclass(value) and not isinstance(value, (type, Constant)):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if hasattr(value, "rvs"):
        return describe(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
