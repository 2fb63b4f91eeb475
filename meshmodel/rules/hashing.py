"""Consistent hashing: requests with the same key go to the same endpoint.

    a request's hash = XXH64(value), over several values  hash = rotate(hash, 1) ^ XXH64(value)
    RING_HASH          the first point of the ring at or after the hash, then around it; endpoint `key` owns
                       XXH64("key_0"), XXH64("key_1") ..., as many as its share of the ring
    MAGLEV             table[hash mod size]; the endpoints fill the table in turns, each in an order of its own:
                       (offset + n * skip) mod size with offset = XXH64(key) mod size,
                       skip = XXH64(key, seed 1) mod (size - 1) + 1

An endpoint's key is its address.  The ring has ceil(least * minimum) / least points, `least` being the least of
the endpoints' normalised weights (which sum to 1), so that the lightest one owns a whole number of them.  Ring and
table are made of the healthy endpoints of a priority level (of all of them when it panics) and anew when that
changes; all workers share them.  Locality weights count, whatever is healthy in a locality.

The hash also picks the level: the first one whose loads reach `hash mod 100 + 1` (`previous_priorities` has no say).
A retry that avoids hosts tries the next point of the ring, or the hash with `attempt` taken from it, and so on.
A request without any value has a random hash for each try.

Source: Envoy, source/extensions/load_balancing_policies: ring_hash/ring_hash_lb.cc, maglev/maglev_lb.cc,
common/thread_aware_lb_impl.cc (`normalizeWeights`, `chooseHost`); source/common/http/hash_policy.cc.  Tables are
made by `fill_*` in arrays that the caller owns: the event loop calls them on an ejection, and nothing allocates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from meshmodel.compiled import rule
from meshmodel.scenario import HashPolicy, Request, user_address

MAXIMUM_RING_SIZE = 8 * 2**20
"""Envoy's default, which Istio leaves alone."""

RING_HASH, MAGLEV = 100, 101
"""After all policies of `balancing`."""

_FULL = np.uint64(2**64 - 1)

# --- the hash --------------------------------------------------------------------------------

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(p) for p in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)


def xxh64(texts: Sequence[str] | Sequence[bytes], seed: int = 0) -> np.ndarray:
    """XXH64 of each text (UTF-8), shape (texts,), uint64 (Y. Collet, XXH64, github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    hashes = np.empty(len(encoded), dtype=np.uint64)
    lengths = np.array([len(text) for text in encoded], dtype=int)
    for length in np.unique(lengths):
        (where,) = np.nonzero(lengths == length)
        rows = np.frombuffer(b"".join(encoded[i] for i in where), dtype=np.uint8).reshape(len(where), length)
        hashes[where] = _xxh64(rows, seed)
    return hashes


def _xxh64(rows: np.ndarray, seed: int) -> np.ndarray:
    """Of texts of one length, (n, length) bytes."""
    n, length = rows.shape
    first = np.full(n, seed, dtype=np.uint64)
    at = length // 32 * 32
    if at:
        lanes = [first + _P1 + _P2, first + _P2, first.copy(), first - _P1]
        for start in range(0, at, 8):
            lane = start // 8 % 4
            lanes[lane] = _round(lanes[lane], _words(rows[:, start : start + 8], 8))
        hashes = np.zeros(n, dtype=np.uint64)
        for lane_value, by in zip(lanes, (1, 7, 12, 18), strict=True):
            hashes = hashes + _rotated(lane_value, by)
        for lane_value in lanes:
            hashes = (hashes ^ _round(np.zeros(n, np.uint64), lane_value)) * _P1 + _P4
    else:
        hashes = first + _P5
    hashes = hashes + np.uint64(length)
    for _ in range((length - at) // 8):
        hashes = _rotated(hashes ^ _round(np.zeros(n, np.uint64), _words(rows[:, at : at + 8], 8)), 27) * _P1 + _P4
        at += 8
    if length - at >= 4:
        hashes = _rotated(hashes ^ _words(rows[:, at : at + 4], 4) * _P1, 23) * _P2 + _P3
        at += 4
    for column in range(at, length):
        hashes = _rotated(hashes ^ rows[:, column].astype(np.uint64) * _P5, 11) * _P1
    for shift, factor in ((33, _P2), (29, _P3)):
        hashes = (hashes ^ hashes >> np.uint64(shift)) * factor
    return hashes ^ hashes >> np.uint64(32)


def _words(rows: np.ndarray, size: int) -> np.ndarray:
    return np.ascontiguousarray(rows).view(f"<u{size}")[:, 0].astype(np.uint64)


def _round(accumulator: np.ndarray, word: np.ndarray) -> np.ndarray:
    return _rotated(accumulator + word * _P2, 31) * _P1


def _rotated(values: np.ndarray, by: int) -> np.ndarray:
    return values << np.uint64(by) | values >> np.uint64(64 - by)


# --- what a request carries ------------------------------------------------------------------


def request_hash(policies: Sequence[HashPolicy], headers: Mapping[str, str], path: str, address: str, connection: int = 0) -> int | None:
    """The hash of one request, None where it carries nothing that a policy asks for.

    `headers` by their names in lower case, `address` the client's; `connection` stands for the addresses of the
    request's connection, from which Envoy makes up a cookie.
    """
    total: int | None = None
    for policy in policies:
        value = _value(policy, headers, path, address, connection)
        if value is not None:
            rotated = 0 if total is None else (total << 1 | total >> 63) & (2**64 - 1)
            total = rotated ^ int(xxh64([value])[0])
    return total


def _value(policy: HashPolicy, headers: Mapping[str, str], path: str, address: str, connection: int) -> str | None:
    if policy.kind == "header":
        return headers.get(policy.name.lower())
    if policy.kind == "query_parameter":
        return dict(reversed(parse_qsl(urlsplit(path).query, keep_blank_values=True))).get(policy.name)
    if policy.kind == "source_ip":
        return address
    made_up = None if policy.ttl is None else f"{int(xxh64([str(connection)])[0]):016x}"
    return _cookie(policy.name, headers) or made_up


def user_hashes(policies: Sequence[HashPolicy], users: int, request: Request) -> tuple[np.ndarray, bool]:
    """The hash of each user's requests, (users,) uint64, or of every request where there are no users, (1,); empty: it is random.

    `request` is what the load itself asks for.  The second value: does Envoy make up a cookie, so that a random
    number of the connection is to be xored in?
    """
    asked = [request.of(i, policies) for i in range(users)] or [request]
    headers = [_joined(each.headers) for each in asked]
    made_up = [_makes_up(policy, headers[0]) for policy in policies]
    plain = [policy for policy, new in zip(policies, made_up, strict=True) if not new]
    found = [
        request_hash(plain, *each) for each in zip(headers, (r.path for r in asked), map(user_address, range(len(asked))), strict=True)
    ]
    known = [0 if value is None else value for value in found if value is not None or any(made_up)]
    return np.array(known, dtype=np.uint64), any(made_up)


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """By name in lower case; cookies are joined, of other headers the first one counts here."""
    joined = {name.lower(): value for name, value in reversed(headers)}
    cookies = [value for name, value in headers if name.lower() == "cookie"]
    return joined | ({"cookie": "; ".join(cookies)} if cookies else {})


def _makes_up(policy: HashPolicy, headers: Mapping[str, str]) -> bool:
    return policy.kind == "cookie" and policy.ttl is not None and _cookie(policy.name, headers) is None


def _cookie(name: str, headers: Mapping[str, str]) -> str | None:
    pairs = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
    return next((value for found, _, value in pairs if found == name and value), None)


# --- weights ---------------------------------------------------------------------------------


@rule
def normalise(weight: Any, group: Any, group_weight: Any, usable: Any, share: Any) -> Any:
    """Write each endpoint's normalised weight into `share` (0: not usable); returns the least and the greatest.

    weight, group, usable, share : (endpoints,) `load_balancing_weight`, index of the endpoint's locality within its
    level, may it be picked, the result.  group_weight : (groups,) the localities' weights, 0 where the locality is of
    another level; empty: without locality weights.  `thread_aware_lb_impl.cc`, normalizeWeights.
    """
    least, greatest = 1.0, 0.0
    total = group_weight.sum()
    for i in range(len(weight)):
        share[i] = 0.0
        if not usable[i]:
            continue
        mates = 0
        for j in range(len(weight)):
            if usable[j] and (len(group_weight) == 0 or group[j] == group[i]):
                mates += weight[j]
        part = 1.0 if len(group_weight) == 0 else (group_weight[group[i]] / total if total > 0 else 0.0)
        share[i] = weight[i] * part / mates
        if share[i] > 0:
            least, greatest = min(least, share[i]), max(greatest, share[i])
    return least, greatest


# --- the ring --------------------------------------------------------------------------------


@rule
def ring_scale(least: Any, minimum_ring_size: Any, maximum_ring_size: Any) -> Any:
    """The number of points on the ring (not whole where the maximum cuts it), an endpoint's share of them being its weight."""
    return min(math.ceil(least * minimum_ring_size) / least, float(maximum_ring_size))


def ring_points(keys: Sequence[str], each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`each` points of every endpoint in the order of their hashes: (hashes, endpoints, numbers), each (keys * each,).

    `each` is the most that an endpoint can own: `ring_scale` of the least weight possible, rounded up.
    """
    hashes = np.concatenate([xxh64([f"{key}_{i}" for i in range(each)]) for key in keys]) if keys else np.empty(0, np.uint64)
    order = np.argsort(hashes, kind="stable")
    endpoints, numbers = np.divmod(order, max(each, 1))
    return hashes[order], endpoints.astype(np.int32), numbers.astype(np.int32)


@rule
def fill_ring(
    share: Any,
    least: Any,
    minimum_ring_size: Any,
    maximum_ring_size: Any,
    points: Any,
    owner: Any,
    number: Any,
    owned: Any,
    ring: Any,
    ring_owner: Any,
) -> Any:
    """Write the ring of the endpoints with a `share` into `ring` (hashes) and `ring_owner`; returns its size, 0 where nobody has one.

    points, owner, number : of `ring_points`; owned : (endpoints,) room for how many points each owns; ring,
    ring_owner : as long as `points`.
    """
    target = current = 0.0
    scale = ring_scale(least, minimum_ring_size, maximum_ring_size)
    for i in range(len(share)):
        target += scale * share[i]
        owned[i] = max(0, math.ceil(target - current))
        current += owned[i]
    size = 0
    for k in range(len(points)):
        if number[k] < owned[owner[k]]:
            ring[size] = points[k]
            ring_owner[size] = owner[k]
            size += 1
    return size


@rule
def ring_pick(ring: Any, ring_owner: Any, size: Any, hashed: Any, attempt: int = 0) -> Any:
    """The endpoint of the hash (uint64), -1 where the ring is empty; `attempt` points further on for a pick that was refused."""
    if size == 0:
        return -1
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if ring[middle] < hashed:
            low = middle + 1
        else:
            high = middle
    return ring_owner[(low + attempt) % size]


# --- Maglev ----------------------------------------------------------------------------------


def maglev_orders(keys: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The endpoints in the order of their keys, in which they take turns, and the offset and skip of each: (keys,) each."""
    order = np.array(sorted(range(len(keys)), key=lambda i: keys[i]), dtype=np.int64)
    offset = (xxh64(list(keys)) % np.uint64(size)).astype(np.int64)
    skip = (xxh64(list(keys), 1) % np.uint64(size - 1)).astype(np.int64) + 1
    return order, offset, skip


@rule
def fill_maglev(share: Any, greatest: Any, order: Any, offset: Any, skip: Any, turn: Any, due: Any, table: Any) -> Any:
    """Write an endpoint into every place of `table` (size,), -1 where nobody has a share.

    turn, due : (endpoints,) room for how far each has come in its own order, and when it is its turn again: an
    endpoint with a third of the greatest share takes part in every third round.
    """
    size = len(table)
    table[:] = -1
    turn[:] = 0
    due[:] = 0.0
    filled = 0
    rounds = 0
    while filled < size and greatest > 0:
        rounds += 1
        for i in order:
            if share[i] == 0 or rounds * share[i] < due[i] or filled == size:
                continue
            due[i] += greatest
            place = (offset[i] + skip[i] * turn[i]) % size
            while table[place] >= 0:
                turn[i] += 1
                place = (offset[i] + skip[i] * turn[i]) % size
            table[place] = i
            turn[i] += 1
            filled += 1


@rule
def maglev_pick(table: Any, hashed: Any, attempt: int = 0) -> Any:
    """The endpoint of the hash (uint64), -1 where there is none; `attempt` changes the hash for a pick that was refused."""
    if attempt > 0:
        hashed = hashed ^ (_FULL - np.uint64(attempt) + np.uint64(1))
    return table[np.int64(hashed % np.uint64(len(table)))]


# --- the level -------------------------------------------------------------------------------


@rule
def percent(hashed: Any) -> Any:
    """The hash's place among the percents 1 to 100 of the levels' loads (in the place of a random one)."""
    return np.int64(hashed % np.uint64(100)) + 1
