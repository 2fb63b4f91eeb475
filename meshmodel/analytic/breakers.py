"""Circuit breakers as loss systems: what share of the requests is answered 503 (`UO`) at once.

`max_requests` (http2MaxRequests) has no waiting room: Erlang's loss system under an open
loop, Engset's under a closed one; both hold for any service distribution (but see `loss_closed`).
`max_connections` with `max_pending_requests` has one: M/M/c/K with c connections and
K = c + pending places (exponential service; one proxy, one worker).
References: Envoy, "Circuit breaking"; L. Kleinrock vol. 1 (1975), ch. 3; F. P. Kelly (1979).
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from meshmodel.analytic.queues import engset_loss, erlang_b, mmck


def loss_open(max_requests: int, rate: float, service: float) -> float:
    """Share of Poisson arrivals refused by `max_requests`: B(limit, rate x service).  Exact for any service (Sevastyanov 1957)."""
    return erlang_b(max_requests, rate * service)


def loss_closed(max_requests: int, connections: int, service: float, think: float) -> float:
    """Share of a closed loop's requests refused by `max_requests`; `think` is the seconds between answer and next request.

    Engset: exact for any service and think distributions with means in seconds if one of them is spread out.  With both
    constant the callers march in step, and the share depends on their start for ever (0.15 s and 0.05 s, 10 connections,
    limit 8: 0.45 instead of 0.24).  Think 0 and more connections than the limit gives 1: those refused call again without end.
    """
    if connections <= max_requests:
        return 0.0
    return 1.0 if think <= 0 else engset_loss(max_requests, connections, service / think)


def pool_loss_open(max_connections: int, max_pending: int, rate: float, service: float) -> float:
    """Share of Poisson arrivals that find all connections busy and the queue full: pi_K of M/M/c/K."""
    return float(mmck(max_connections, max_connections + max_pending, rate * service)[-1])


def pool_wait_open(max_connections: int, max_pending: int, rate: float, service: float) -> float:
    """Mean seconds in the queue of those not refused: Lq / (rate (1 - loss)), Little's law on M/M/c/K."""
    pi = mmck(max_connections, max_connections + max_pending, rate * service)
    waiting = np.maximum(np.arange(len(pi)) - max_connections, 0) @ pi
    return float(waiting / (rate * (1 - pi[-1])))


def pool_loss_closed(max_connections: int, max_pending: int, connections: int, service: float, think: float) -> float:
    """Share of a closed loop's requests that overflow: finite-source M/M/c/K, seen by arrivals.

    pi_n from (N - n+1) / think against min(n, c) / service; loss = (N - K) pi_K / sum (N - n) pi_n.
    Source: Kleinrock vol. 1, sec. 3.8-3.10; exponential service and think time.
    """
    places = max_connections + max_pending
    if connections <= places:
        return 0.0
    n = np.arange(1, places + 1)
    ratio = (connections - n + 1) / think * service / np.minimum(n, max_connections)
    pi = softmax(np.concatenate(([0.0], np.cumsum(np.log(ratio)))))
    arrivals = (connections - np.arange(places + 1)) * pi
    return float(arrivals[-1] / arrivals.sum())
