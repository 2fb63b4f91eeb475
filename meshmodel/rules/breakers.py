"""Circuit breakers: how many requests, connections and waiting requests a proxy allows a cluster.

`max_requests`: so many in flight, the rest answered 503 at once; on HTTP/1.1 too.
`max_connections` (HTTP/1.1: one request each): a request that finds no idle connection of its worker to its
endpoint opens one, if the cluster has fewer than `max_connections` or that worker has none to that endpoint;
else it waits.  An idle connection stays open and counts.  At most `max_pending_requests` wait, the rest get 503
at once.  So a limit below workers x endpoints is not strict: each worker may have one connection to each endpoint.

Source: Envoy, "Circuit breaking"; ConnPoolImplBase::newStreamImpl and tryCreateNewConnection (conn_pool_base.cc);
measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from meshmodel.compiled import rule


@rule
def admits(in_flight: int, max_requests: int) -> bool:
    """May one more request be in flight?"""
    return in_flight < max_requests


@rule
def may_connect(opened: int, max_connections: int, open_here: int) -> bool:
    """May a worker open a connection to an endpoint to which it has `open_here`, the cluster having `opened` in all?"""
    return opened < max_connections or open_here == 0


@rule
def may_wait(waiting: int, max_pending_requests: int) -> bool:
    """May one more request wait for a connection?"""
    return waiting < max_pending_requests


@rule
def most_requests(max_requests_per_connection: int) -> int:
    """How many requests a connection carries before it is closed."""
    return max_requests_per_connection if max_requests_per_connection > 0 else 2**31


@rule
def closes(served: int, max_requests_per_connection: int) -> bool:
    """Is a connection closed after its `served`-th request?"""
    return max_requests_per_connection > 0 and served >= max_requests_per_connection
