"""The event loop's memory for a scenario: made once, shared where nothing changes it, and grown where a run needs more.

`Layout` is what all threads read; each of them has a `World` of its own, for a part of the replications.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshmodel.compiled import enabled
from meshmodel.results import fortio
from meshmodel.scenario import ClosedLoop, Constant, OpenLoop, Scenario
from meshmodel.simulation import hash_plan, sidecars, state
from meshmodel.simulation import plan as planning
from meshmodel.simulation.attempts import COUNTERS
from meshmodel.simulation.clients import CONSTANT, DRAWN, LOGNORMAL
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, tournament

DRAWS = 512
"""Overheads of a distribution that the loop does not draw itself, asked for at once."""


@dataclass(frozen=True)
class Layout:
    """A scenario as arrays that no run changes: `shared` by the names of `World`'s fields; `settled`: `plan.settled_when_sent`."""

    scenario: Scenario
    reduced: Scenario
    plan: planning.Plan
    shared: dict[str, np.ndarray]
    codes: tuple[int, ...]
    settled: bool

    @property
    def behind(self) -> bool:
        """Was a pod in front left out, which the load generator's call goes through?"""
        return len(self.reduced.routes) < len(self.scenario.routes)


def layout(scenario: Scenario) -> Layout:
    """Raises `plan.NotModelled`."""
    reduced = planning.collapse(sidecars.without_idle_limits(scenario))
    for chain in reduced.chains:
        planning.refuse_shared(chain)
    expanded, inside = sidecars.with_sidecars(reduced)
    made = planning.plan(expanded, inside)
    route, weights, retriable = planning.routes(made)
    shared = planning.clusters(made, expanded) | {
        "route_then": route,
        "weights_then": weights,
        "retriable_then": retriable,
        "behaviour_then": planning.behaviours(made),
        "change_at": np.array([*made.change_at, NEVER]),
        "caller_of": planning.caller_of(made),
        "mirror_then": planning.mirrors(made),
        "judged_then": planning.judged(made),
        "segment": _segments(reduced.workload),
    }
    shared |= hash_plan.tables(made, shared)
    route["hashing"], shared["hash_then"] = hash_plan.route_hashes(made, reduced)
    return Layout(scenario, reduced, made, shared, _codes(made), planning.settled_when_sent(reduced))


def _codes(made: planning.Plan) -> tuple[int, ...]:
    """Every code that a request can end with."""
    pods = {e.behaviour.error_code for chain in made.chains for route in chain for e in route.endpoints if e.behaviour.error_rate}
    aborts = {route.fault.abort_code for chain in made.chains for route in chain if route.fault.abort_code}
    answers = {route.direct_response.status for chain in made.chains for route in chain if route.direct_response}
    return tuple(sorted({-1, 200, 500, 503, 504} | pods | aborts | answers))


def _segments(workload: ClosedLoop | OpenLoop) -> np.ndarray:
    if isinstance(workload, ClosedLoop):
        return np.zeros((4, 1))
    seconds, first, last = np.array(workload.segments, dtype=float).T
    areas = np.cumsum(seconds * (first + last) / 2)
    return np.array(
        [np.concatenate(([0.0], np.cumsum(seconds)[:-1])), np.concatenate(([0.0], areas[:-1])), first, (last - first) / seconds]
    )


COLUMNS = {"log_start": float, "log_latency": float, "log_code": np.int16, "log_endpoint": np.int16, "log_attempts": np.int16}
"""The columns of a log while it is written, each (replications, requests)."""


def empty_log(replications: int, requests: int) -> dict[str, np.ndarray]:
    """Room for a log, of which only what is written takes memory."""
    return {name: np.empty((replications, requests), kind) for name, kind in COLUMNS.items()}


# --- what a thread writes ---------------------------------------------------------------------


def make(of: Layout, replications: int, log: dict[str, np.ndarray] | None, *, resolution: float, traced: int = 0) -> World:
    """Memory for `replications`, which write their requests into `log` (None: only figures); `traced`: room for so many attempts."""
    shared, workload = of.shared, of.reduced.workload
    closed = isinstance(workload, ClosedLoop)
    connections = workload.threads if isinstance(workload, ClosedLoop) else 1
    states, hosts = shared["host_then"].shape
    workers, pods, counted = of.reduced.workers, len(of.plan.pods), of.plan.counted
    first_call = 2 + 2 * len(of.plan.upstreams)
    slots = 1 << (first_call + 8 + (connections if closed else 8) - 1).bit_length()
    bounded = log is None
    bins = int(2 * _horizon(of.reduced) + 20) if bounded else 0
    zeros = {
        "route": (of.plan.hops, state.ROUTE), "cluster": (len(of.plan.upstreams), state.CLUSTER), "behaviour": (pods, state.BEHAVIOUR),
        "level": (shared["level_then"].shape[1], state.LEVEL), "group": (shared["group_then"].shape[1], state.GROUP),
        "health": (shared["level_then"].shape[1], np.int64), "share": (shared["level_then"].shape[1], np.int64),
        "left": (shared["level_then"].shape[1], np.int64), "member": (hosts, np.int64), "home": (hosts, np.int64),
        "turn": ((workers, shared["group_then"].shape[1]), np.int64), "due": ((workers, shared["group_then"].shape[1]), float),
        "deadline": ((workers, hosts), float), "put_in": ((workers, hosts), np.int64),
        "given": ((workers, shared["group_then"].shape[1], 1), np.int64), "first_picks": ((workers, len(of.plan.upstreams)), np.int64),
        "ring": (len(shared["places"]), np.uint64), "ring_owner": (len(shared["places"]), np.int64), "share_of": (hosts, float),
        "due_of": (hosts, float), "weight_of": (hosts, np.int64), "count_of": (hosts, np.int64), "group_of": (hosts, np.int64),
        "usable": (hosts, bool), "group_weight": (shared["group_then"].shape[1], float),
        "made_up": ((of.plan.hops, connections), np.uint64),
        "host": (hosts, state.HOST), "pool": ((workers, hosts), state.POOL), "pod": (pods, state.POD),
        "client": (connections, state.CLIENT), "accepted": ((of.plan.hops, connections), np.int64), "drawn": (1, float),
        "call": (slots, state.CALL), "tried": ((slots, 4), state.PLACE), "free": (slots, np.int64),
        "tally": (replications, state.TALLY), "buckets": ((replications * bounded, fortio.BUCKETS), np.int32),
        "codes": ((replications * bounded, len(of.codes)), np.int32), "answers": ((replications * bounded, 2 + counted), np.int32),
        "good": ((replications * bounded, 2 + counted), np.int32), "sent": ((replications, counted), np.int64),
        "counter": ((replications, len(COUNTERS)), np.int64), "codes_by_time": ((bins, len(of.codes)), np.int64),
        "answers_by_time": ((bins, 2 + counted), np.int64), "ejected_by_time": (bins, np.int64),
        "note": (0 if bounded else 64 + 4 * (hosts + shared["level_then"].shape[1]), state.NOTE), "trace": (traced, state.ATTEMPT),
        "traced_request": (traced, state.REQUEST),
    }  # fmt: skip
    arrays = {name: np.zeros(shape, kind) for name, (shape, kind) in zeros.items()}
    arrays |= {
        **(log or empty_log(0, 0)),
        "upstream": shared["upstream"].copy(), "timer": np.full(slots, NEVER), "edges": fortio.bucket_edges(resolution),
        "column": _columns(of.codes), "clock": _clock(of, first_call), "load": _load(of, log is not None),
    }  # fmt: skip
    arrays["tree"] = tournament(arrays["timer"])
    arrays["tally"]["lowest"], arrays["tally"]["highest"] = np.inf, -np.inf
    arrays["client"]["limit"] = workload.calls_per_thread if isinstance(workload, ClosedLoop) else 0
    return _world({name: shared[name] for name in World._fields if name in shared and name not in arrays} | arrays)


def _world(arrays: dict[str, np.ndarray]) -> World:
    """Python reads a record's fields as attributes only where the array says so; compiled code always does."""
    if not enabled():
        arrays = {name: array.view(np.recarray) if array.dtype.names else array for name, array in arrays.items()}
    return World(**arrays)


def _columns(codes: tuple[int, ...]) -> np.ndarray:
    column = np.zeros(601, np.int64)
    for number, code in enumerate(codes):
        column[code + 1] = number
    return column


def _clock(of: Layout, first_call: int) -> np.ndarray:
    workload, clock = of.reduced.workload, np.zeros(1, state.CLOCK)
    patience = getattr(workload, "timeout", None)
    clock["first_call"], clock["patience"], clock["detached"] = first_call, NEVER if patience is None else patience, of.behind
    clock["keeps_worker"] = isinstance(workload, ClosedLoop) and not of.reduced.new_connection_per_request
    return clock


def _load(of: Layout, keeps_log: bool) -> np.ndarray:
    scenario, workload, load = of.reduced, of.reduced.workload, np.zeros(1, state.LOAD)
    values: dict[str, object] = {
        "workers": scenario.workers,
        "hops": of.plan.hops,
        "keeps_log": keeps_log,
        "bin": 1.0,
        "behind": of.behind,
        "connect_time": scenario.connect_time,
        "settled": of.settled,
        "users": workload.users,
    }
    if isinstance(workload, ClosedLoop):
        values |= {
            "closed": True, "duration": NEVER if workload.duration is None else workload.duration, "by_time": workload.calls is None,
            "spacing": workload.threads / workload.qps if workload.qps > 0 else 0.0, "endless": workload.planned_calls is None,
        }  # fmt: skip
    else:
        values |= {"poisson": workload.arrivals == "poisson", "arrivals": workload.expected}
    for name, value in (values | _overhead(scenario)).items():
        load[name] = value
    return load


def _overhead(scenario: Scenario) -> dict[str, object]:
    """How the loop draws the overhead: a lognormal as SciPy parametrises it, a constant, or from numbers drawn beforehand."""
    distribution = scenario.overhead
    if isinstance(distribution, Constant):
        return {"overhead": CONSTANT, "location": distribution.seconds}
    given = getattr(distribution, "kwds", {})
    if getattr(getattr(distribution, "dist", None), "name", None) == "lognorm" and set(given) <= {"s", "loc", "scale"} and "s" in given:
        return {"overhead": LOGNORMAL, "location": given.get("loc", 0.0), "scale": given.get("scale", 1.0), "sigma": given["s"]}
    return {"overhead": DRAWN}


def _horizon(scenario: Scenario) -> float:
    """Seconds of a run for which a series has room from the start."""
    workload = scenario.workload
    duration = workload.duration
    return min(1e6, 60.0 if duration is None else duration)


# --- growing ----------------------------------------------------------------------------------


def draw_overheads(w: World, scenario: Scenario, rng: np.random.Generator) -> World:
    """The next overheads of a distribution that the loop cannot draw itself."""
    if w.load[0]["overhead"] != DRAWN:
        return w
    w.clock["drawn"] = 0
    return w._replace(drawn=np.asarray(scenario.overhead.rvs(size=DRAWS, random_state=rng), dtype=float))


def with_slots(w: World) -> World:
    """Twice as many calls at once."""
    old = len(w.timer)
    timer = np.concatenate((w.timer, np.full(old, NEVER)))
    free = np.zeros(2 * old, np.int64)
    count = int(w.clock[0]["free"])
    free[:old] = np.arange(2 * old - 1, old - 1, -1)
    free[old : old + count] = w.free[:count]
    w.clock["free"] = old + count
    return w._replace(timer=timer, tree=tournament(timer), free=free, call=_longer(w.call), tried=_longer(w.tried))


def with_tries(w: World) -> World:
    """Twice as many attempts of a call."""
    return w._replace(tried=np.concatenate((w.tried, np.zeros_like(w.tried)), axis=1))


def with_log(w: World) -> World:
    """Half as many requests again in each replication."""
    grown = {}
    for name in COLUMNS:
        column = getattr(w, name)
        more = np.empty((column.shape[0], column.shape[1] + column.shape[1] // 2 + 64), column.dtype)
        more[:, : column.shape[1]] = column
        grown[name] = more
    return w._replace(**grown)


def with_bins(w: World) -> World:
    """A series of twice as many seconds."""
    return w._replace(**{name: _longer(getattr(w, name)) for name in ("codes_by_time", "answers_by_time", "ejected_by_time")})


def with_notes(w: World) -> World:
    """Room for twice as many notes."""
    return w._replace(note=_longer(w.note))


def _longer(array: np.ndarray) -> np.ndarray:
    longer = np.zeros((2 * len(array), *array.shape[1:]), array.dtype).view(type(array))
    longer[: len(array)] = array
    return longer
