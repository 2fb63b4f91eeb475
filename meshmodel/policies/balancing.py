"""Load balancing: how one of Envoy's workers picks an endpoint for a request.

`ROUND_ROBIN`: an index for each worker, starting anywhere, advancing by one.
`RANDOM`: uniform.
`LEAST_REQUEST`: two independent uniform draws, with replacement; the second is taken only
if it has strictly fewer active requests.  So one endpoint in n is sent at least 1/n^2 of
all requests, however slow it is.

Active requests are those that the proxy has sent to the endpoint and that are not yet
answered, over all its workers.  Source: Envoy, "Supported load balancers"; measured on
Envoy 1.40 (`tests/envoy`).

The array functions below see one pick for each replication; the pickers keep the state
that the short loop (`engines.closed_loop`) needs, over all its endpoints.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from meshmodel.scenario import LoadBalancing


def least_request(first: np.ndarray, second: np.ndarray, active_first: np.ndarray, active_second: np.ndarray | int) -> np.ndarray:
    """Of two draws the second only if it has strictly fewer active requests; arrays (n,)."""
    return np.where(active_second < active_first, second, first)


class Picker(Protocol):
    """Picks one endpoint for each replication, all endpoints being healthy and equal."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        """Draw the random numbers of the next shape[0] steps."""

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        """The endpoints, (replications,), picked at times `t` in step k of the last draw."""

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        """Note that connection `cell` (flat index) is active at `endpoint` for `seconds` from `t`."""


class RandomPicker:
    """`RANDOM`."""

    def __init__(self, endpoints: int) -> None:
        self.endpoints = endpoints

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.drawn = rng.integers(self.endpoints, size=shape)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        return self.drawn[k]

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        pass


class RoundRobinPicker(RandomPicker):
    """`ROUND_ROBIN`: one index for each worker and replication."""

    def __init__(self, endpoints: int, workers: int, replications: int) -> None:
        super().__init__(endpoints)
        self.workers, self.column = workers, np.arange(replications)
        self.index: np.ndarray | None = None
        self.successor = (np.arange(endpoints) + 1) % endpoints

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        if self.index is None:
            self.index = rng.integers(self.endpoints, size=self.workers * len(self.column))
        self.cell = rng.integers(self.workers, size=shape) * len(self.column) + self.column

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        cell = self.cell[k] if worker is None else worker * len(self.column) + self.column
        chosen = self.index.take(cell)
        self.index[cell] = self.successor.take(chosen)
        return chosen


class LeastRequestPicker(RandomPicker):
    """`LEAST_REQUEST`: active requests are counted anew for each pick, over the connections.

    A connection has at most one request, active until `until`; so no event is needed when
    an answer leaves the endpoint.
    """

    def __init__(self, endpoints: int, connections: int, replications: int) -> None:
        super().__init__(endpoints)
        small = np.int8 if endpoints < 128 else np.int16  # compared for every connection at every pick
        self.until = np.zeros((connections, replications))
        self.at = np.zeros((connections, replications), dtype=small)
        self.flat_until, self.flat_at = self.until.reshape(-1), self.at.reshape(-1)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.drawn = rng.integers(self.endpoints, size=(2, *shape))
        self.small = self.drawn.astype(self.at.dtype)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        surplus = (self.at == self.small[0, k]).view(np.int8)
        surplus -= (self.at == self.small[1, k]).view(np.int8)
        surplus *= (self.until > t * (1 + 1e-12)).view(np.int8)  # t lacks its last bits: its connection's last request is over
        active_more_at_first = np.add.reduce(surplus, axis=0, dtype=np.int8)
        return least_request(self.drawn[0, k], self.drawn[1, k], active_more_at_first, 0)

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        self.flat_until[cell] = t + seconds
        self.flat_at[cell] = endpoint


def picker(policy: LoadBalancing, endpoints: int, connections: int, workers: int, replications: int) -> Picker:
    """The picker of a policy name."""
    if policy == "ROUND_ROBIN":
        return RoundRobinPicker(endpoints, workers, replications)
    if policy == "RANDOM":
        return RandomPicker(endpoints)
    return LeastRequestPicker(endpoints, connections, replications)
