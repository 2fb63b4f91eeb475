"""From a `Scenario` to the arrays of consistent hashing: users' hashes, the points of rings, the order of Maglev tables."""

from __future__ import annotations

import itertools
import math

import numpy as np

from meshmodel.rules import hashing
from meshmodel.scenario import Cluster, Scenario
from meshmodel.simulation.hashed import KNOWN, MADE_UP, RANDOM
from meshmodel.simulation.plan import Plan, seen_by


def route_hashes(p: Plan, scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """How each route hashes, (states, hops), 0: it does not; and each user's hash there, (states, hops, users)."""
    workload, users = scenario.workload, max(1, scenario.workload.users)
    kinds = np.zeros((len(p.chains), p.hops), np.int64)
    found = np.zeros((len(p.chains), p.hops, users), np.uint64)
    for (now, chain), hop in itertools.product(enumerate(p.chains), range(p.hops)):
        if not any(cluster.hashes for cluster in chain[hop].clusters):
            continue
        hashes, made_up = hashing.user_hashes(chain[hop].hash_policy, workload.users, workload.request)
        kinds[now, hop] = RANDOM if len(hashes) == 0 else MADE_UP if made_up else KNOWN
        found[now, hop, : len(hashes)] = hashes
    return kinds, found


def tables(p: Plan, then: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of all clusters' rings and tables; writes where each begins into the records of `clusters_then` and `level_then`."""
    states, hosts = then["host_then"].shape
    found = {"taking_turns": np.zeros(hosts, np.int64)} | {
        f"{name}_then": np.zeros((states, hosts), np.int64) for name in ("offset", "skip")
    }
    points: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32))]
    place = 0
    for i, upstream in enumerate(p.upstreams):
        seen = [cluster for cluster, _ in seen_by(p, upstream)]
        keys = [endpoint.hash_key for endpoint in upstream.endpoints]
        rings = [c for c in seen if c.load_balancing == "RING_HASH"]
        mine = hashing.ring_points(keys, max(map(_most_points, rings))) if rings else points[0]
        records = then["cluster_then"][:, i]
        records["first_point"], records["points"] = sum(len(hashes) for hashes, _, _ in points), len(mine[0])
        points.append(mine)
        begin, end = int(records["first_host"][0]), int(records["first_host"][0]) + len(keys)
        for now, cluster in enumerate(seen):
            if cluster.load_balancing == "MAGLEV":
                orders = hashing.maglev_orders(keys, cluster.maglev_table_size)
                found["taking_turns"][begin:end], found["offset_then"][now, begin:end], found["skip_then"][now, begin:end] = orders
        room = max([len(mine[0]), *(c.maglev_table_size for c in seen if c.load_balancing == "MAGLEV")])
        for level in range(max(int(n) for n in records["levels"])):
            then["level_then"]["first_place"][:, int(records["first_level"][0]) + level] = place
            place += room
    names = ("point", "point_owner", "point_number")
    return found | dict(zip(names, map(np.concatenate, zip(*points, strict=True)), strict=True)) | {"places": np.zeros(place, bool)}


def _most_points(cluster: Cluster) -> int:
    """The most points of a ring that one endpoint can own."""
    weights = [endpoint.weight for endpoint in cluster.endpoints]
    rows = [[weight for weight in row.values() if weight > 0] for row in cluster.locality_weights or ()]
    part = min((min(row) / sum(row) for row in rows if row), default=1.0)
    least = part * min(weights, default=1) / max(sum(weights), 1)
    unequal = part < 1 or len(set(weights)) > 1
    return min(hashing.MAXIMUM_RING_SIZE, cluster.minimum_ring_size + (math.ceil(1 / least) if unequal else 0))
