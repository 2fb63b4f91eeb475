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


def least_request(first: np.ndarray, second: np.ndarray, active_first: np.ndarray, active_second: np.ndarray) -> np.ndarray:
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
        self.drawn = rng.integers(self.endpoints, size=shape, dtype=np.int16).astype(np.intp)

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
        small = np.int8 if endpoints < 128 else np.int16
        self.until = np.zeros((connections, replications))
        self.at = np.zeros((connections, replications), dtype=small)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.first, self.second = rng.integers(self.endpoints, size=(2, *shape), dtype=self.at.dtype)

    def choose(self, k: int, t: np.ndarray, worker: np.ndarray | None) -> np.ndarray:
        first, second = self.first[k], self.second[k]
        active = self.until > t
        surplus = (self.at == first).view(np.int8)
        surplus -= (self.at == second).view(np.int8)
        surplus *= active.view(np.int8)
        fewer_at_second = np.add.reduce(surplus, axis=0, dtype=np.int8) > 0
        return np.where(fewer_at_second, second, first).astype(np.intp)

    def sent(self, cell: np.ndarray, endpoint: np.ndarray, t: np.ndarray, seconds: np.ndarray) -> None:
        self.until.ravel()[cell] = t + seconds
        self.at.ravel()[cell] = endpoint


def picker(policy: LoadBalancing, endpoints: int, connections: int, workers: int, replications: int) -> Picker:
    """The picker of a policy name."""
    if policy == "ROUND_ROBIN":
        return RoundRobinPicker(endpoints, workers, replications)
    if policy == "RANDOM":
        return RandomPicker(endpoints)
    return LeastRequestPicker(endpoints, connections, replications)
