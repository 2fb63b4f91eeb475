"""The pods' own sidecars, which keep `connectionPool` for all who call: a hop for each route whose pods have limits.

Limits that no load of the scenario can reach are left out, as they change nothing.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from meshmodel.fakeservice import levels_of
from meshmodel.scenario import Behaviour, Caller, ClosedLoop, Cluster, ConnectionPool, Destination, Endpoint, Route, Scenario, callers_of


def guards(endpoint: Endpoint) -> bool:
    """Has the pod's own sidecar a limit?  Its retries alone change nothing: a pod here refuses or resets either always or never."""
    return endpoint.inbound not in (None, ConnectionPool(), ConnectionPool(http2=True))


def with_sidecars(scenario: Scenario) -> tuple[Scenario, frozenset[int]]:
    """The scenario with a hop for every route whose pods' own sidecars have limits; and which hops those are.

    Such a sidecar is a proxy like any other, with a cluster of one endpoint, the application beside it.  It passes answers on
    as they are, and the pod in front of it is no more than its address.
    """
    hops = range(len(scenario.routes))
    guarded = {hop for hop in hops if any(guards(e) for chain in scenario.chains for e in chain[hop].endpoints)}
    if not guarded:
        return scenario, frozenset()
    innermost = [hop + sum(other <= hop for other in guarded) for hop in hops]  # where each hop's pods stand, as the new hops count

    def chain_of(chain: tuple[Route, ...]) -> tuple[Route, ...]:
        called_from = [innermost[caller] if caller >= 0 else None for caller in callers_of(chain)]
        moved = [replace(route, called_from=caller) for route, caller in zip(chain, called_from, strict=True)]
        return tuple(r for hop, route in enumerate(moved) for r in ((_outside(route), _inside(route)) if hop in guarded else (route,)))

    return scenario.with_chains(chain_of), frozenset(innermost[hop] for hop in guarded)


def _outside(route: Route) -> Route:
    """The route to the pods' sidecars, which take no time; a pod that refuses or resets does so here."""

    def sidecar(endpoint: Endpoint) -> Endpoint:
        failure = endpoint.behaviour.failure
        return replace(endpoint, behaviour=Behaviour(failure=failure if failure in ("refused", "reset") else "none"), inbound=None)

    return route.with_endpoints(sidecar)


def _inside(route: Route) -> Route:
    """From each pod's sidecar to its application: a cluster for each."""
    pods = route.endpoints
    destinations = [Cluster(name=f"inbound {e.name}", endpoints=(e,), connection_pool=e.inbound or ConnectionPool()) for e in pods]
    callers = tuple(Caller(name=e.name, locality=e.locality) for e in pods)
    return Route(host=route.host, callers=callers, destinations=tuple(Destination(cluster=cluster) for cluster in destinations))


# --- limits that are never reached ---------------------------------------------------------------


def without_idle_limits(scenario: Scenario) -> Scenario:
    """The scenario without the limits of sidecars that there are never enough requests for."""
    most = sum(most_in_flight(scenario, chain) for chain in scenario.chains)  # what began before a change goes on after it

    def without(endpoint: Endpoint) -> Endpoint:
        kept = endpoint.inbound is not None and _reached(endpoint.inbound, most, scenario.workers)
        return endpoint if kept else replace(endpoint, inbound=None)

    return scenario.with_chains(lambda chain: tuple(route.with_endpoints(without) for route in chain))


def _reached(pool: ConnectionPool, most: float, workers: int) -> bool:
    """Can `most` requests reach a limit?  Each worker may keep as many connections as it ever had requests at once."""
    least = min(pool.max_connections / workers, pool.max_pending_requests, pool.max_requests)
    return least < most or pool.max_requests_per_connection > 0


def most_in_flight(scenario: Scenario, chain: tuple[Route, ...]) -> float:
    """No pod ever has more requests from proxies at once than this; inf where nothing bounds them.

    Each connection of the load has one call, and behind it those that go on although somebody in front has given up: at
    most one for each time that the patience there fits into the longest that such a call can take, and the two at the ends.
    """
    if not isinstance(scenario.workload, ClosedLoop):
        return inf
    most, patience = float(scenario.workload.connections), scenario.workload.timeout or inf
    for hop, route in enumerate(chain):
        most *= (1 + route.retries.attempts * route.retries.hedge_on_per_try_timeout) * (1 + len(route.mirrors))
        patience = min(patience, route.timeout or inf, route.retries.per_try_timeout or inf)
        if hop in callers_of(chain) and patience < inf:
            most *= 2 + _longest_calls_from(chain, hop) / patience
    return most


def _longest_calls_from(chain: tuple[Route, ...], hop: int) -> float:
    """The longest that the calls of one of the hop's pods can take together, in seconds; inf: there is no bound."""
    return sum(longest_call(chain, number) for number, caller in enumerate(callers_of(chain)) if caller == hop)


def longest_call(chain: tuple[Route, ...], hop: int) -> float:
    """The longest that a call of the hop can take, in seconds; inf: there is no bound."""
    route, policy = chain[hop], chain[hop].retries
    behind = _longest_calls_from(chain, hop)
    attempt = min(max(map(_slowest, route.endpoints), default=0.0) + behind, policy.per_try_timeout or inf)
    if any(guards(e) or d.cluster.connection_pool != ConnectionPool() for d in route.destinations for e in d.cluster.endpoints):
        attempt = inf  # it may wait, pending; a per-try timeout does not count that
    return route.fault.delay + min((1 + policy.attempts) * (attempt + policy.max_interval), route.timeout or inf)


def _slowest(endpoint: Endpoint) -> float:
    pod = endpoint.behaviour
    if pod.failure == "hang" or pod.concurrency:
        return inf
    return max(*levels_of(pod), pod.error_delay) * (1 + pod.timing_variance / 100)
