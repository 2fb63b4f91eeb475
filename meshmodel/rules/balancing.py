"""Load balancing: how one of Envoy's workers picks one of the healthy endpoints.

    ROUND_ROBIN    an index for each worker, starting anywhere, advancing by one
    RANDOM         uniform
    LEAST_REQUEST  two independent uniform draws, with replacement; the second only if it has strictly fewer
                   active requests: those that the proxy has sent to the endpoint and that are not yet answered,
                   over all its workers

So under LEAST_REQUEST one endpoint in n is sent at least 1/n^2 of all requests, however slow it is.

Source: Envoy, "Supported load balancers"; load_balancer_impl.cc (`RoundRobinLoadBalancer`, `RandomLoadBalancer`,
`LeastRequestLoadBalancer::unweightedHostPick`); measured on Envoy 1.40 (`tests/envoy`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from meshmodel.compiled import rule

NOBODY = -1
"""No endpoint."""

ROUND_ROBIN, RANDOM, LEAST_REQUEST = range(3)
POLICIES = {"ROUND_ROBIN": ROUND_ROBIN, "RANDOM": RANDOM, "LEAST_REQUEST": LEAST_REQUEST}


@rule
def round_robin(index: int, endpoints: int) -> int:
    """The endpoint at a worker's index."""
    return index % endpoints


@rule
def uniform(u: float, endpoints: int) -> int:
    """The endpoint that `u` from [0, 1) draws."""
    return int(u * endpoints)


@rule
def least_request(first: int, second: int, active_first: int, active_second: int) -> int:
    """Which of two drawn endpoints."""
    return second if active_second < active_first else first


@rule
def pick(policy: int, rng: Any, host: Any, member: Any, first: int, hosts: int, index: int) -> tuple[int, int, int]:
    """The endpoint that a worker picks, one of member[first : first + hosts], and the two that were drawn for it (`NOBODY`: none).

    `rng` has `random()`, uniform on [0, 1); host[...].active is how many requests an endpoint has; `index` counts the worker's picks.
    """
    if policy == ROUND_ROBIN:
        return member[first + round_robin(index, hosts)], NOBODY, NOBODY
    one = member[first + uniform(rng.random(), hosts)]
    if policy == RANDOM:
        return one, NOBODY, NOBODY
    other = member[first + uniform(rng.random(), hosts)]
    return least_request(one, other, host[one].active, host[other].active), one, other


def picks(
    policy: str, hosts: int, n: int, start: int = 0, active: Sequence[int] | None = None, uniforms: Iterable[float] | None = None
) -> list[int]:
    """The endpoints, 0 to hosts - 1, of n picks of one worker.

    `start` is ROUND_ROBIN's index; `active` the requests under way at each endpoint (none; they stay what they are);
    `uniforms` the draws from [0, 1), one a pick for RANDOM, two for LEAST_REQUEST (by default NumPy's, seed 1).
    Raises ValueError for another policy, or for too few draws.
    """
    import numpy as np

    if policy not in POLICIES:
        raise ValueError(f"policy: must be one of {', '.join(POLICIES)}, got {policy!r}")
    host = [SimpleNamespace(active=requests) for requests in ([0] * hosts if active is None else active)]
    rng: Any = np.random.default_rng(1)
    if uniforms is not None:
        given = iter(np.ravel(np.asarray(list(uniforms), dtype=float)).tolist())
        rng = SimpleNamespace(random=lambda: next(given))
    try:
        return [pick(POLICIES[policy], rng, host, range(hosts), 0, hosts, start + i)[0] for i in range(n)]
    except StopIteration:
        raise ValueError(f"uniforms: too few draws for {n} picks") from None
