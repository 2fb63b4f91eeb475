"""From a `Scenario` to the arrays of the event loop: who is there, in which state of the mesh, under which settings.

The pods of the last hop are numbered first, so that a log's `endpoint` is a pod's number.  What a change takes away
keeps its settings: requests are still under way to it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meshmodel.fakeservice import NEVER as NEVER_FAILS
from meshmodel.fakeservice import distribution, error_period, error_probability, failing_answer, levels_of
from meshmodel.rules import balancing, hashing, outcomes, retries
from meshmodel.scenario import (
    UNLIMITED,
    Behaviour,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    Endpoint,
    OutlierDetection,
    Route,
    Scenario,
    callers_of,
)
from meshmodel.simulation import state
from meshmodel.simulation.calls import MOST_MIRRORS
from meshmodel.simulation.sidecars import guards
from meshmodel.simulation.timers import NEVER

POLICIES = {**balancing.POLICIES, "RING_HASH": hashing.RING_HASH, "MAGLEV": hashing.MAGLEV}

IN_LOCK_STEP = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")
"""The policies of `closed_loop`."""


class NotModelled(ValueError):
    """A combination that the Monte-Carlo engine does not cover; the message says which."""


@dataclass(frozen=True)
class Upstream:
    """One cluster as one proxy sees it: `endpoints` are all that it has at any time, `first_host` is the first one's number."""

    hop: int
    caller: str
    cluster: str
    endpoints: tuple[Endpoint, ...]
    first_host: int

    @property
    def places(self) -> dict[str, int]:
        """Each endpoint's place among them, by its name."""
        return {endpoint.name: place for place, endpoint in enumerate(self.endpoints)}


@dataclass(frozen=True)
class Plan:
    """Who is there.  `chains`: the routes in each state of the mesh; `pods`: (hop, name) by number; `inside`: hops in sidecars of pods.

    `called_from`: for each hop the one whose pods make the call, -1: the load does.
    """

    chains: tuple[tuple[Route, ...], ...]
    change_at: tuple[float, ...]
    callers: tuple[tuple[str, ...], ...]
    clusters: tuple[tuple[str, ...], ...]
    upstreams: tuple[Upstream, ...]
    pods: tuple[tuple[int, str], ...]
    inside: frozenset[int]
    called_from: tuple[int, ...]

    def following(self, hop: int) -> int:
        """The hop that this one's pods call first, -1: they call nothing."""
        return self._first(hop, hop)

    def beside(self, hop: int) -> int:
        """The hop that the callers of this one call when they have its answer, -1: none."""
        return self._first(hop, self.called_from[hop]) if hop else -1

    def outmost(self, hop: int) -> bool:
        """Do the hop's pods, behind their sidecars, call nobody?"""
        pods = next((inside for inside in self.inside if self.called_from[inside] == hop), hop)
        return hop not in self.inside and self.following(pods) < 0

    def _first(self, after: int, caller: int) -> int:
        return next((hop for hop in range(after + 1, self.hops) if self.called_from[hop] == caller), -1)

    @property
    def hops(self) -> int:
        return len(self.callers)

    @property
    def counted(self) -> int:
        """How many pods the last hop has: those whose answers the load generator counts."""
        return sum(hop == self.last for hop, _ in self.pods)

    @property
    def last(self) -> int:
        """The hop whose pods' answers the load generator counts."""
        return max(set(range(self.hops)) - self.inside)


def plan(scenario: Scenario, inside: frozenset[int] = frozenset()) -> Plan:
    """Name and number everybody.  Raises NotModelled where a change alters the chain of calls itself."""
    chains = scenario.chains
    if len({callers_of(chain) for chain in chains}) > 1:
        raise NotModelled("changes: who calls whom must stay the same")
    hops = list(zip(*chains, strict=True))
    last = max(set(range(len(hops))) - inside)
    order = [last, *(hop for hop in range(len(hops)) if hop != last)]
    callers = tuple(_each(c.name for route in hop for c in route.callers) for hop in hops)
    clusters = tuple(
        ("inbound",) if number in inside else _each(cluster.name for route in hop for cluster in route.clusters)
        for number, hop in enumerate(hops)
    )
    upstreams: list[Upstream] = []
    if any(len(route.mirrors) > MOST_MIRRORS for hop in hops for route in hop):
        raise NotModelled(f"mirrors: at most {MOST_MIRRORS} of a route")
    first = 0
    for number, hop in enumerate(hops):
        for caller, kind in itertools.product(callers[number], clusters[number]):
            name = f"inbound {caller}" if number in inside else kind  # a sidecar has its own pod's alone
            found = {e.name: e for r in hop for cluster in r.clusters if cluster.name == name for e in cluster.endpoints}
            upstreams.append(Upstream(number, caller, name, tuple(found.values()), first))
            first += len(found)
    return Plan(
        chains=chains,
        change_at=tuple(change.at for change in scenario.changes),
        callers=callers,
        clusters=clusters,
        upstreams=tuple(upstreams),
        inside=inside,
        called_from=callers_of(chains[0]),
        pods=tuple((hop, name) for hop in order for name in _each(e.name for route in hops[hop] for e in route.endpoints)),
    )


def refuse_shared(chain: tuple[Route, ...]) -> None:
    """Raise NotModelled where a pod that is called from two places calls on or has limits.

    Each call of a scenario has pods of its own, which is the same for one that only answers.
    """
    seen: set[tuple[str, str]] = set()
    for hop, route in enumerate(chain):
        pods = {(e.name, e.address): e for e in route.endpoints if e.address}
        shared = [pods[key] for key in pods.keys() & seen]
        if any(e.behaviour.concurrency or guards(e) for e in shared) or (shared and hop in callers_of(chain)):
            raise NotModelled(f"{route.host} is called from two places, and its pods call on or have limits")
        seen |= pods.keys()


def _each(names: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))  # type: ignore[call-overload]


# --- routes and pods ------------------------------------------------------------------------


def routes(p: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states, hops) ROUTE; cumulated cluster weights, (states, hops, clusters); what is retried, (states, hops, outcomes)."""
    shape = len(p.chains), p.hops
    records = np.zeros(shape, state.ROUTE)
    weights = np.zeros((*shape, max(map(len, p.clusters))))
    retriable = np.zeros((*shape, len(retries.table((), ()))), bool)
    for (now, chain), hop in itertools.product(enumerate(p.chains), range(p.hops)):
        route, policy = chain[hop], chain[hop].retries
        before = records[now - 1, hop]["abort_code"] if now else 0
        answer = route.direct_response  # as if all were aborted
        code, percent = (answer.status, 100.0) if answer else (route.fault.abort_code, route.fault.abort_percent)
        _fill(
            records[now, hop],
            timeout=route.timeout or NEVER, per_try_timeout=policy.per_try_timeout or NEVER, attempts=policy.attempts,
            backoff_base=policy.backoff_base_interval, backoff_longest=policy.max_interval,
            redraws=policy.host_selection_retry_max_attempts if policy.previous_hosts else 0,
            mirrors=len(route.mirrors), frequency=policy.previous_priorities_update_frequency, hedges=policy.hedge_on_per_try_timeout,
            delay=route.fault.delay, delay_percent=route.fault.delay_percent if route.fault.delay else 0.0,
            abort_code=code or before,  # a request of before a change may still be delayed
            abort_percent=percent if code else 0.0,
            first_upstream=next((i for i, u in enumerate(p.upstreams) if u.hop == hop), 0), clusters=len(p.clusters[hop]),
            callers=len(p.callers[hop]), last=hop == p.last, outmost=p.outmost(hop), passes=hop in p.inside,
            following=p.following(hop), beside=p.beside(hop),
        )  # fmt: skip
        weight = {d.cluster.name: d.weight for d in route.destinations}
        weights[now, hop, : len(p.clusters[hop])] = np.cumsum([weight.get(name, 0) for name in p.clusters[hop]])
        retriable[now, hop] = retries.table(policy.retry_on, policy.retriable_status_codes)
    return records, weights, retriable


def mirrors(p: Plan) -> np.ndarray:
    """Where each route's copies go, (states, hops, mirrors) MIRROR."""
    most = max(len(route.mirrors) for chain in p.chains for route in chain)
    records = np.zeros((len(p.chains), p.hops, most), state.MIRROR)
    for (now, chain), hop in itertools.product(enumerate(p.chains), range(p.hops)):
        for number, mirror in enumerate(chain[hop].mirrors):
            _fill(records[now, hop, number], cluster=p.clusters[hop].index(mirror.cluster.name), percent=mirror.percent)
    return records


def judged(p: Plan) -> np.ndarray:
    """The status that an upstream's detector is told of each outcome, (states, upstreams, outcomes from `LOWEST` on)."""
    told = np.zeros((len(p.chains), len(p.upstreams), 600 - outcomes.LOWEST), np.int64)
    for (number, upstream), now in itertools.product(enumerate(p.upstreams), range(len(p.chains))):
        detection = seen_by(p, upstream)[now][0].outlier_detection
        codes = detection.error_codes if detection else ()
        told[now, number] = [outcomes.judged(outcome, codes) for outcome in range(outcomes.LOWEST, 600)]
    return told


def behaviours(p: Plan) -> np.ndarray:
    """How each pod answers, (states, pods) BEHAVIOUR."""
    records = np.zeros((len(p.chains), len(p.pods)), state.BEHAVIOUR)
    last: dict[tuple[int, str], Behaviour] = {}
    for chain in reversed(p.chains):
        last |= {(hop, e.name): e.behaviour for hop, route in enumerate(chain) for e in route.endpoints}
    for now, chain in enumerate(p.chains):
        present = {(hop, e.name): e.behaviour for hop, route in enumerate(chain) for e in route.endpoints}
        for number, pod in enumerate(p.pods):
            behaviour = present.get(pod, last[pod])
            _fill(records[now, number], **_behaviour(behaviour), is_new=now == 0 or behaviour != last[pod])
            last[pod] = behaviour
    return records


def _behaviour(b: Behaviour) -> dict[str, Any]:
    failing, (failing_seconds, failing_code) = error_probability(b), failing_answer(b)
    if failing == 1:  # it needs no draw: its failure is its ordinary answer
        return dict.fromkeys(("below_half", "p50", "p90", "p99", "failing_seconds"), min(failing_seconds, NEVER)) | {
            "code": failing_code, "failing_code": failing_code, "period": NEVER_FAILS, "concurrency": b.concurrency or 0,
        }  # fmt: skip
    below_half, p50, p90, p99 = seconds = levels_of(b)
    counted = not b.coin
    return dict(
        below_half=below_half, p50=p50, p90=p90, p99=p99, varies=len(set(seconds)) > 1, code=200,
        variance=b.timing_variance if any(seconds) else 0, period=error_period(b.error_rate) if counted else NEVER_FAILS,
        rate=0.0 if counted else failing, failing_seconds=failing_seconds, failing_code=failing_code, concurrency=b.concurrency or 0,
    )  # fmt: skip


def caller_of(p: Plan) -> np.ndarray:
    """The number of each pod among the callers of the hop that it calls, (pods,)."""
    called = [(p.callers[p.following(hop)] if p.following(hop) >= 0 else (), name) for hop, name in p.pods]
    return np.array([callers.index(name) if name in callers else 0 for callers, name in called], dtype=np.int64)


# --- clusters ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placing:
    """A cluster as one caller sees it: `groups`, each a level, a weight and its endpoints (by name), level after level."""

    groups: tuple[tuple[int, float, tuple[str, ...]], ...]
    weighted: bool

    @property
    def levels(self) -> int:
        return 1 + self.groups[-1][0]


def place(cluster: Cluster, caller: int) -> Placing:
    """Sort the endpoints by priority, and by locality where localities have weights; Istio removes those of weight 0."""
    weights = cluster.locality_weights[caller] if cluster.locality_weights else None
    levels = cluster.priorities[caller] if cluster.priorities else (0,) * len(cluster.endpoints)
    found: dict[tuple[int, str], list[str]] = {(level, ""): [] for level in set(range(1 + max(levels, default=0))) - set(levels)}
    for endpoint, level in zip(cluster.endpoints, levels, strict=True):
        locality = endpoint.locality if weights is not None else ""
        kept = weights is None or weights.get(locality, 0) > 0
        found.setdefault((level, locality), []).extend([endpoint.name] * kept)
    weight = dict.fromkeys(found, 1.0)
    if weights is not None:
        all_pods = Counter(endpoint.locality for endpoint in cluster.endpoints)
        weight = {key: _part(weights.get(key[1], 0), len(names), all_pods[key[1]]) for key, names in found.items()}
    return Placing(tuple((key[0], weight[key], tuple(found[key])) for key in sorted(found)), weights is not None)


def _part(weight: int, endpoints: int, all_endpoints: int) -> float:
    """The weight of the `endpoints` of a locality that stand in one level, as Istio divides it where levels split a locality."""
    return float(weight if endpoints == all_endpoints else weight * endpoints // max(all_endpoints, 1))


def clusters(p: Plan, scenario: Scenario) -> dict[str, np.ndarray]:
    """The arrays of clusters, levels, groups and hosts in each state, by the names of `World`'s fields, and `upstream`."""
    views = [seen_by(p, upstream) for upstream in p.upstreams]
    placings = [[place(cluster, caller) for cluster, caller in view] for view in views]
    most_levels = [max(each.levels for each in placing) for placing in placings]
    most_groups = [max(len(each.groups) for each in placing) for placing in placings]
    first_level, first_group = (np.concatenate(([0], np.cumsum(most, dtype=int))) for most in (most_levels, most_groups))
    hosts = sum(len(u.endpoints) for u in p.upstreams)
    sizes = {"cluster": (len(p.upstreams), state.CLUSTER), "level": (first_level[-1], state.LEVEL), "group": (first_group[-1], state.GROUP)}
    then = {name: np.zeros((len(p.chains), n), kind) for name, (n, kind) in sizes.items()}
    then |= {"host": np.zeros((len(p.chains), hosts), state.HOST), "home": np.zeros((len(p.chains), hosts), np.int64)}
    numbers = {pod: number for number, pod in enumerate(p.pods)}
    for i, upstream in enumerate(p.upstreams):
        places = upstream.places
        counts = counts_connections(scenario, [cluster for cluster, _ in views[i]])
        for now, placing in enumerate(placings[i]):
            record = then["cluster"][now, i]
            _fill(record, counts=counts, first_host=upstream.first_host, first_level=first_level[i], first_group=first_group[i])
            _lay_out({name: array[now] for name, array in then.items()}, record, upstream, placing, numbers)
            for endpoint in views[i][now][0].endpoints:
                then["host"][now, upstream.first_host + places[endpoint.name]]["weight"] = endpoint.weight
            _set(record, upstream, [cluster for cluster, _ in views[i]], now, views[i])
    upstream_records = np.zeros(len(p.upstreams), state.UPSTREAM)
    for record, upstream in zip(upstream_records, p.upstreams, strict=True):
        _fill(record, hop=upstream.hop, caller=p.callers[upstream.hop].index(upstream.caller))
    return {f"{name}_then": array for name, array in then.items()} | {"upstream": upstream_records}


def counts_connections(scenario: Scenario, seen: Sequence[Cluster]) -> bool:
    """Must the connections of a cluster be followed?  Not where none of its limits can bite and connecting would change next to nothing."""
    pools = [cluster.connection_pool for cluster in seen]
    limited = any(p.limits_connections or p.max_requests_per_connection or p.max_pending_requests < UNLIMITED for p in pools)
    return limited or (scenario.connect_time > 0 and not only_balancing(scenario))


def seen_by(p: Plan, upstream: Upstream) -> list[tuple[Cluster, int]]:
    """An upstream's cluster in each state, with the caller's place among the callers of then."""
    return [_view(p, upstream, now) for now in range(len(p.chains))]


def _view(p: Plan, upstream: Upstream, now: int) -> tuple[Cluster, int]:
    """The cluster in a state (or the last one, or the next one, that has it), and the caller's place among the callers of then."""
    states = [*range(now, -1, -1), *range(now + 1, len(p.chains))]
    for each in states:
        route = p.chains[each][upstream.hop]
        for cluster in route.clusters:
            if cluster.name == upstream.cluster:
                names = [c.name for c in route.callers]
                return cluster, names.index(upstream.caller) if upstream.caller in names else 0
    raise AssertionError("an upstream is made from some state's cluster")


def _lay_out(then: dict[str, np.ndarray], record: np.void, upstream: Upstream, placing: Placing, numbers: dict) -> None:
    """Number the levels, groups and hosts of one cluster in one state."""
    host_of = {e.name: upstream.first_host + i for i, e in enumerate(upstream.endpoints)}
    slot, group = upstream.first_host, int(record["first_group"])
    for name, host in host_of.items():
        then["host"][host]["pod"] = numbers[upstream.hop, name]
    for level in range(placing.levels):
        mine = [(weight, names) for at, weight, names in placing.groups if at == level]
        number = int(record["first_level"]) + level
        size = sum(len(names) for _, names in mine)
        _fill(then["level"][number], members=size, first_group=group, groups=len(mine), first_slot=slot, told=-NEVER, flush_at=NEVER)
        for weight, names in mine:
            _fill(then["group"][group], level=number, first_slot=slot, members=len(names), weight=weight)
            group += 1
            for name in names:
                then["home"][slot] = host_of[name]
                _fill(then["host"][host_of[name]], level=number, present=True, group=group - 1)
                slot += 1
    _fill(
        record, weighted=placing.weighted, levels=placing.levels, groups=len(placing.groups), hosts=slot - upstream.first_host,
        all_hosts=len(upstream.endpoints),
    )  # fmt: skip


def _set(record: np.void, upstream: Upstream, seen: Sequence[Cluster], now: int, views: Sequence[tuple[Cluster, int]]) -> None:
    """The policies of a cluster in state `now`, and what of it begins anew with that state."""
    cluster, detection = seen[now], seen[now].outlier_detection
    pool, budget = cluster.connection_pool, cluster.connection_pool.retry_budget
    _fill(
        record, policy=POLICIES[cluster.load_balancing], **_weights(cluster), panic_threshold=cluster.panic_threshold, http2=pool.http2,
        max_requests=pool.max_requests, max_connections=pool.max_connections, max_pending_requests=pool.max_pending_requests,
        max_requests_per_connection=pool.max_requests_per_connection, max_retries=pool.max_retries,
        budget_percent=-1.0 if budget is None else budget.budget_percent,
        budget_least=0 if budget is None else budget.min_retry_concurrency, detects=detection is not None,
        new_cluster=now == 0 or (_shape(seen[now]), views[now][1]) != (_shape(seen[now - 1]), views[now - 1][1]),
        new_detector=now == 0 or _settings(cluster) != _settings(seen[now - 1]),
        new_pool=now > 0 and _settings(cluster) != _settings(seen[now - 1]),
    )  # fmt: skip
    for name in set(OutlierDetection.__dataclass_fields__) & set(state.CLUSTER.names or ()) if detection is not None else ():
        record[name] = getattr(detection, name)


def _weights(cluster: Cluster) -> dict[str, Any]:
    """What makes the endpoints unequal, and how large a table of theirs is."""
    slow, maglev = cluster.slow_start, cluster.load_balancing == "MAGLEV"
    table = cluster.maglev_table_size if maglev else cluster.minimum_ring_size
    warms = cluster.load_balancing in ("ROUND_ROBIN", "LEAST_REQUEST")
    weighs = warms and (slow is not None or len({e.weight for e in cluster.endpoints}) > 1)
    return {"weighs": weighs, "table": table} | (asdict(slow) if slow and warms else {})


def _settings(cluster: Cluster) -> Cluster:
    """The cluster without its endpoints: whatever changes in the rest makes Envoy put a new cluster, with new hosts, in its place."""
    return replace(cluster, endpoints=(), priorities=(), locality_weights=None)


def _shape(cluster: Cluster) -> Cluster:
    """The cluster without what does not make it another one to the load balancer."""
    endpoints = tuple(replace(e, behaviour=Behaviour()) for e in cluster.endpoints)
    return replace(cluster, endpoints=endpoints, outlier_detection=None, connection_pool=ConnectionPool())


def _fill(record: np.void, **values: Any) -> None:
    for name, value in values.items():
        record[name] = value


# --- routes that only pass requests on ----------------------------------------------------------


def collapse(scenario: Scenario) -> Scenario:
    """Without the first routes, as far as they only pass requests on: one plain pod, no policy that can act."""
    last = len(scenario.routes) - 1
    keep = [i for i in range(last + 1) if i == last or not all(_passes_on(chain[i]) for chain in scenario.chains)]
    first = keep[0]
    if not first or len(keep) < last + 1 - first or scenario.branches:
        return scenario
    return scenario.with_chains(lambda chain: chain[first:])


def _passes_on(route: Route) -> bool:
    """Does the route hand every request to its one pod, and every answer back unchanged?"""
    pods = route.endpoints
    if len(pods) != 1 or len(route.destinations) != 1 or route.mirrors or route.timeout or route.fault.delay or route.fault.abort_code:
        return False
    cluster, pod = route.destinations[0].cluster, pods[0].behaviour
    plain_pod = not any(pod.timings) and not pod.error_rate and pod.failure == "none" and pod.concurrency is None and not guards(pods[0])
    retries_500 = route.retries.attempts and retries.covers(route.retries.retry_on, route.retries.retriable_status_codes, 500)
    acts = retries_500 or route.retries.per_try_timeout or cluster.outlier_detection is not None
    return plain_pod and not acts and cluster.connection_pool == ConnectionPool(http2=cluster.connection_pool.http2)


# --- what needs no event at its end ---------------------------------------------------------------


def only_balancing(scenario: Scenario) -> bool:
    """Does nothing but the load balancer look at an answer of this (collapsed) scenario, a closed loop?"""
    route = scenario.routes[-1]
    if len(scenario.routes) > 1 or scenario.changes or not isinstance(scenario.workload, ClosedLoop) or len(route.destinations) > 1:
        return False
    if route.direct_response or route.mirrors or route.destinations[0].cluster.load_balancing not in IN_LOCK_STEP:
        return False
    cluster = route.destinations[0].cluster
    if cluster.slow_start or len({e.weight for e in cluster.endpoints}) > 1:
        return False
    codes = {atom.code for behaviour in {e.behaviour for e in cluster.endpoints} for atom in distribution(behaviour)}
    policy = route.retries
    retried = policy.attempts and any(retries.covers(policy.retry_on, policy.retriable_status_codes, code) for code in codes)
    acts = route.timeout or route.fault.delay or route.fault.abort_code or policy.per_try_timeout or retried or len(route.callers) > 1
    pool = cluster.connection_pool
    limited = pool != ConnectionPool(http2=pool.http2, max_retries=pool.max_retries, retry_budget=pool.retry_budget) or any(
        e.behaviour.concurrency or guards(e) for e in cluster.endpoints
    )
    one_group = cluster.locality_weights is None and not any(level for row in cluster.priorities for level in row)
    return not acts and not limited and one_group and cluster.outlier_detection is None and min(codes, default=-1) > 0


def settled_when_sent(scenario: Scenario) -> bool:
    """... and does the balancer itself not count what is under way?  Then a request is over when it is sent."""
    return only_balancing(scenario) and scenario.routes[-1].destinations[0].cluster.load_balancing in ("ROUND_ROBIN", "RANDOM")
