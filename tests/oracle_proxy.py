"""One proxy's picture of one cluster, for the plain loop of `tests/oracle_loop.py`: whom it picks, whom it ejects, what it lets pass.

Each class follows one file of Envoy's source, with plain lists and counters.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from meshmodel.scenario import Cluster, ConnectionPool, OutlierDetection

if TYPE_CHECKING:
    from tests.oracle_loop import Call, World

OVERPROVISIONING = 140


class Schedule:
    """Earliest deadline first among localities (edf_scheduler.h): after a pick the next deadline is one over the weight later."""

    def __init__(self, weights: dict[str, float], past: int) -> None:
        self.weights = weights
        self.heap = [(1 / weight, place, name) for place, (name, weight) in enumerate(weights.items())]
        self.count = len(self.heap)
        heapq.heapify(self.heap)
        for _ in range(past):
            self.pick()

    def pick(self) -> str | None:
        if not self.heap:
            return None
        deadline, _, name = heapq.heappop(self.heap)
        self.count += 1
        heapq.heappush(self.heap, (deadline + 1 / self.weights[name], self.count, name))
        return name


class Balancer:
    """Whom a proxy's workers pick (load_balancer_impl.cc); they know who is healthy from `show` alone."""

    def __init__(self, rng: np.random.Generator, cluster: Cluster, caller: int) -> None:
        self.rng, self.active, self.index, self.start = rng, Counter(), Counter(), {}
        self.update(cluster, caller, set())

    def update(self, cluster: Cluster, caller: int, out: set[str]) -> None:
        """Take over the endpoints; of localities without a weight Istio sends none."""
        self.cluster = cluster
        self.weights = cluster.locality_weights[caller] if cluster.locality_weights is not None else None
        levels = cluster.priorities[caller] if cluster.priorities else [0] * len(cluster.endpoints)
        kept = [(e, k) for e, k in zip(cluster.endpoints, levels, strict=True) if self.weights is None or self.weights.get(e.locality, 0)]
        self.level = {e.name: k for e, k in kept}
        self.locality = {e.name: e.locality for e, _ in kept}
        self.hosts = [[e.name for e, k in kept if k == level] for level in range(1 + max(self.level.values(), default=0))]
        self.healthy = [list(hosts) for hosts in self.hosts]
        self.schedules: dict[tuple[int, int], Schedule] = {}
        for level in range(len(self.hosts)):
            self.show(level, out)

    def show(self, level: int, out: set[str]) -> None:
        """The workers are told who of a level is out."""
        self.healthy[level] = [name for name in self.hosts[level] if name not in out]
        self.schedules = {key: schedule for key, schedule in self.schedules.items() if key[1] != level}
        sizes, threshold = [len(hosts) for hosts in self.hosts], self.cluster.panic_threshold
        well = [len(hosts) for hosts in self.healthy]
        self.health = [min(100, OVERPROVISIONING * up // n) if n else 0 for up, n in zip(well, sizes, strict=True)]
        short = sum(self.health) < 100
        self.panic = [short and (100 * up / n if n else 0) < threshold for up, n in zip(well, sizes, strict=True)]
        if all(self.panic):  # total panic: by the number of hosts, whatever their health
            self.loads = by_size(sizes)
        else:
            self.loads = divided(self.health)

    def pick(self, worker: int, loads: list[int]) -> str | None:
        """A host of the level that one draw in a hundred falls on; None: nobody there."""
        draw = self.rng.integers(100)
        level = next(k for k, most in enumerate(accumulate(loads)) if draw < most)
        hosts, source = self._source(worker, level)
        if not hosts:
            return None
        if self.cluster.load_balancing == "ROUND_ROBIN":
            start = self.start.setdefault(worker, int(self.rng.integers(1 << 30)))
            self.index[worker, level, source] += 1
            return hosts[(start + self.index[worker, level, source]) % len(hosts)]
        first, second = (hosts[self.rng.integers(len(hosts))] for _ in range(2))
        if self.cluster.load_balancing == "LEAST_REQUEST" and self.active[second] < self.active[first]:
            return second
        return first

    def _source(self, worker: int, level: int) -> tuple[list[str], str]:
        """In panic everybody; else the next locality's healthy hosts, if localities have weights; else all healthy ones."""
        if self.panic[level]:
            return self.hosts[level], "all"
        if self.weights is not None:
            if (worker, level) not in self.schedules:
                self.schedules[worker, level] = Schedule(self._scaled(level), int(self.rng.integers(100)))
            locality = self.schedules[worker, level].pick()
            if locality is not None:
                return [name for name in self.healthy[level] if self.locality[name] == locality], f"in {locality}"
        return self.healthy[level], "healthy"

    def _scaled(self, level: int) -> dict[str, float]:
        """Localities with a healthy host: their weight times min(1, 1.4 * healthy share)."""
        well, everybody = (Counter(self.locality[name] for name in names[level]) for names in (self.healthy, self.hosts))
        return {
            name: self.weights[name] * min(1.0, OVERPROVISIONING / 100 * well[name] / everybody[name]) for name in everybody if well[name]
        }

    def loads_for(self, call: Call) -> list[int]:
        """The loads that a retry sees (previous_priorities.cc): levels already tried left out, until all of them are."""
        frequency = call.route.retries.previous_priorities_update_frequency
        if not frequency or len(call.attempted) < frequency:
            return self.loads
        if len(call.attempted) % frequency == 0:
            call.left_out |= {self.level[name] for name in call.attempted if name in self.level}
            health = [0 if level in call.left_out else own for level, own in enumerate(self.health)]
            if not sum(health):
                call.left_out.clear()
                call.attempted.clear()
                health = self.health
            if not sum(health):
                return self.loads
            call.loads = divided(health)
        return call.loads


def divided(health: list[int]) -> list[int]:
    """Percent of the load for each level: its health, the first levels first; what rounding leaves goes to the first that has health."""
    total, left, loads = min(100, sum(health)), 100, []
    for own in health:
        loads.append(min(left, 100 * own // total) if total else 0)
        left -= loads[-1]
    loads[next((level for level, own in enumerate(health) if own), 0)] += left
    return loads


def by_size(sizes: list[int]) -> list[int]:
    """Percent of the load for each level in total panic."""
    loads = [100 * n // max(sum(sizes), 1) for n in sizes]
    loads[next((level for level, n in enumerate(sizes) if n), 0)] += 100 - sum(loads)
    return loads


class Pools:
    """A proxy's connections to one cluster and its circuit breakers (conn_pool_base.cc).

    One pool for each worker and host.  A stream is anything with `granted()` and `overflow()`.
    """

    def __init__(self, world: World, limits: ConnectionPool) -> None:
        self.world, self.limits = world, limits
        self.pools = defaultdict(lambda: SimpleNamespace(ready=[], waiting=deque(), open=0, connecting=0))
        self.requests = self.pending = self.open = 0

    def ask(self, worker: int, host: str, stream: SimpleNamespace) -> None:
        """`stream.granted` now or later, or `stream.overflow` now (or, at `max_requests`, when its turn comes)."""
        stream.pools, stream.pool, stream.connection = self, self.pools[worker, host], None
        if stream.pool.ready:
            self._attach(stream, stream.pool.ready.pop())
        elif self.pending >= self.limits.max_pending_requests:
            stream.overflow()
        else:
            stream.pool.waiting.append(stream)
            self.pending += 1
            self._connect(stream.pool)

    def _connection(self) -> SimpleNamespace:
        limit = self.limits.max_requests_per_connection
        return SimpleNamespace(left=limit or np.inf, streams=0, far_worker=self.world.any_worker())

    def _connect(self, pool: SimpleNamespace) -> None:
        """Open what the waiting need: below the limit, or as the pool's only connection."""
        for _ in range(3):
            room = self.open < self.limits.max_connections
            each = (self.limits.max_requests_per_connection or np.inf) if self.limits.http2 else 1
            if not pool.waiting or (pool.connecting and len(pool.waiting) <= pool.connecting * each) or not (room or not pool.open):
                return
            pool.open, pool.connecting, self.open = pool.open + 1, pool.connecting + 1, self.open + 1
            self.world.soon(self.world.connect_time, lambda: self._connected(pool))
            if not room:
                return

    def _connected(self, pool: SimpleNamespace) -> None:
        pool.connecting -= 1
        pool.ready.append(self._connection())
        self._serve(pool)

    def _serve(self, pool: SimpleNamespace) -> None:
        while pool.waiting and pool.ready:
            self.pending -= 1
            self._attach(pool.waiting.popleft(), pool.ready.pop())

    def _attach(self, stream: SimpleNamespace, connection: SimpleNamespace) -> None:
        if self.requests >= self.limits.max_requests:
            stream.pool.ready.append(connection)
            stream.overflow()
            return
        self.requests += 1
        connection.left -= 1
        connection.streams += 1
        stream.connection = connection
        if self.limits.http2 and connection.left:
            stream.pool.ready.append(connection)
        stream.granted()

    def end(self, stream: SimpleNamespace, closes: bool) -> None:
        """The stream is over, or gives up waiting; `closes`: HTTP/1.1 has no other way to give up an answer."""
        pool, connection = stream.pool, stream.connection
        if connection is None:
            if stream in pool.waiting:
                pool.waiting.remove(stream)
                self.pending -= 1
            return
        self.requests -= 1
        connection.streams -= 1
        if self.limits.http2 and (connection.left or connection.streams):
            return
        if closes or connection.left == 0:
            pool.open, self.open = pool.open - 1, self.open - 1
            self._connect(pool)
        else:
            pool.ready.append(connection)
            self._serve(pool)


class Detector:
    """Outlier detection of one proxy for one cluster (outlier_detection_impl.cc), and when its workers hear of it."""

    def __init__(self, world: World, policy: OutlierDetection, balancer: Balancer, last: bool) -> None:
        self.world, self.policy, self.balancer, self.last = world, policy, balancer, last
        self.rows = {"5xx": Counter(), "gateway": Counter(), "local": Counter()}
        self.most = {
            "5xx": policy.consecutive_5xx,
            "gateway": policy.consecutive_gateway_failure,
            "local": policy.consecutive_local_origin_failure,
        }
        self.out: dict[str, float] = {}
        self.returned: dict[str, float] = {}
        self.multiplier = Counter()
        self.told: dict[int, float] = {}
        self.pending: dict[int, object] = {}
        self.gone = False  # with its cluster
        phase = world.rng.random() if world.now == 0 else 1.0  # a proxy has run for long before the load begins
        world.after(phase * policy.interval, self.tick, daemon=True)

    def report(self, host: str, status: int, ours: bool) -> None:
        """An answer, or (`ours`) what the proxy itself makes of having none; a host knows no detector that is gone."""
        if self.gone:
            return
        if ours and self.policy.split_external_local_origin_errors:
            self._count("local", host, True)
        else:
            self._count("gateway", host, 502 <= status <= 504)
            self._count("5xx", host, status >= 500)

    def connected(self, host: str) -> None:
        self.rows["local"][host] = 0

    def _count(self, kind: str, host: str, failed: bool) -> None:
        row = self.rows[kind]
        row[host] = row[host] + 1 if failed else 0
        if failed and row[host] == self.most[kind] and host in self.balancer.level and host not in self.out:
            self._eject(host)
            row[host] = 0

    def _eject(self, host: str) -> None:
        policy, out, size = self.policy, len(self.out), len(self.balancer.level)
        strict = 100 * (out + 1) <= policy.max_ejection_percent * size
        lenient = out == 0 or 100 * out < policy.max_ejection_percent * size
        if not (lenient if policy.one_host_always else strict):
            return
        if self.multiplier[host] * policy.base_ejection_time < self._longest + policy.base_ejection_time:
            self.multiplier[host] += 1
        self.out[host] = self.world.now
        self.world.counters["outlier_detection.ejections_enforced_total"] += self.last
        self._changed(host)

    @property
    def _longest(self) -> float:
        return max(self.policy.max_ejection_time, self.policy.base_ejection_time)

    def tick(self) -> None:
        if self.gone:
            return
        policy, now = self.policy, self.world.now
        self.world.after(policy.interval, self.tick, daemon=True)
        for host in [host for host in self.balancer.level if host in self.out]:
            if now - self.out[host] >= min(policy.base_ejection_time * self.multiplier[host], self._longest) - 1e-6:
                del self.out[host]
                self.returned[host] = now
                for row in self.rows.values():
                    row[host] = 0
                self._changed(host)
        for host, when in self.returned.items():
            if host not in self.out and now - when >= policy.interval - 1e-6:
                self.multiplier[host] = max(0, self.multiplier[host] - 1)

    def _changed(self, host: str) -> None:
        """Tell the workers, unless they were told within the merge window (cluster_manager_impl.cc, scheduleUpdate)."""
        if self.last:
            self.world.ejections.append((self.world.now, host, host in self.out))
        level, window = self.balancer.level[host], self.policy.update_merge_window
        if self.world.now - self.told.get(level, -np.inf) > window + 0.000999:  # Envoy compares whole milliseconds
            self._tell(level)
        elif level not in self.pending:
            timer = self.pending[level] = object()
            self.world.after(window, lambda: self.pending.get(level) is timer and self._tell(level), daemon=True)

    def _tell(self, level: int) -> None:
        self.pending.pop(level, None)
        self.told[level] = self.world.now
        if level < len(self.balancer.hosts):
            self.balancer.show(level, set(self.out))

    def end(self) -> None:
        """Its cluster is made anew: nobody is out any more."""
        self.gone = True
        if self.last:
            self.world.ejections += [(self.world.now, host, False) for host in self.out]

    def update(self) -> None:
        """Endpoints came or went: who is gone is forgotten."""
        for known in (self.out, self.returned, self.multiplier, *self.rows.values()):
            for host in [host for host in known if host not in self.balancer.level]:
                del known[host]


class Upstream:
    """One cluster as one proxy has it."""

    def __init__(self, world: World, hop: int, cluster: Cluster, caller: int) -> None:
        self.cluster, self.caller = cluster, caller
        self.balancer = Balancer(world.rng, cluster, caller)
        self.pools = Pools(world, cluster.connection_pool)
        policy = cluster.outlier_detection
        self.detector = Detector(world, policy, self.balancer, hop == world.last) if policy else None
        self.retrying = 0

    def keeps(self, cluster: Cluster) -> bool:
        """Does a change leave Envoy's cluster in place (other endpoints only), or is it made anew, without memory?"""
        same = {name: getattr(cluster, name) for name in ("endpoints", "priorities", "locality_weights")}
        return replace(self.cluster, **same) == cluster and (self.cluster.locality_weights is None) == (cluster.locality_weights is None)

    def update(self, cluster: Cluster, caller: int) -> None:
        self.cluster, self.caller = cluster, caller
        self.balancer.update(cluster, caller, set(self.detector.out) if self.detector else set())
        if self.detector:
            self.detector.update()
