"""The consoles of the chapter on timeouts: cut the tail, and the queue of those whom nobody waits for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from meshmodel._data import data_path
from meshmodel.analytic.balancing import least_request_constant
from meshmodel.evidence import catalogue
from meshmodel.mesh import Mesh
from meshmodel.teaching import timeout_figures as figures
from meshmodel.teaching.consoles import Choice, Console, Result, Settings, Slider, table
from meshmodel.teaching.consoles import yaml_text as text
from meshmodel.teaching.consoles.controls import Control

POLICIES = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")
FAST, SLOW = 0.15, 1.0  # seconds, of the tutorial's pods
_NONE = 2.0  # a timeout that nobody reaches

# --- cut the tail ---------------------------------------------------------------------------


def cut_the_tail() -> Console:
    """Drag the timeout along the survival curve of the tutorial's pods."""
    controls: list[Control] = [
        Slider("timeout", "timeout (2 s: none)", 0.5, least=0.05, most=_NONE, step=0.05, unit="s"),
        Choice("policy", "load balancing", "ROUND_ROBIN", POLICIES),
        Slider("delay", "the slow pod takes", SLOW, least=0.2, most=1.5, step=0.1, unit="s"),
        Slider("connections", "connections", 10, least=1, most=20),
    ]
    presets: dict[str, dict[str, Any]] = {
        "no timeout": {"timeout": _NONE},
        "just above the fast pods": {"timeout": 0.2},
        "break-even": {"timeout": 0.55, "policy": "ROUND_ROBIN"},
        "below every pod": {"timeout": 0.1},
    }
    return Console("Cut the tail", controls, cut_the_tail_of, presets=presets, tutorial={"timeout": 0.5, "delay": SLOW})


def cut_the_tail_of(s: Settings, replications: int) -> Result:
    """What `cut_the_tail` shows: the curves by formula, and the engine at this timeout."""
    loop = catalogue.experiment("timeout")
    manifests = (text.route("simple-backend", text.timeout(s.timeout if s.timeout < _NONE else 0), name="simple-backend-vs"),
                 text.traffic("simple-backend", f"loadBalancer: {{simple: {s.policy}}}", name="simple-backend-dr"))  # fmt: skip
    mesh = _slow_mesh().copy().apply(*manifests).timing("simple-backend-1", p50=float(s.delay))
    replay = mesh.fortio_load(s.connections, 0, "10s", replications=replications, seed=1, keep="figures")
    way = float(replay.scenario.overhead.mean())
    elapsed = float(replay.elapsed.mean())
    total, good = replay.requests.mean() / elapsed, replay.codes.get(200, np.zeros(1)).mean() / elapsed
    atoms = ((2 / 3, FAST, 200), (1 / 3, float(s.delay), 200))
    rates = _least_request(float(s.delay), way, s.connections) if s.policy == "LEAST_REQUEST" else None
    shown = s.timeout if s.timeout < _NONE else np.inf
    recorded = s.delay == SLOW and s.timeout == 0.5
    calls = loop.record if recorded and isinstance(loop.record, tuple) else ()
    without = _without(s.policy, float(s.delay), way, s.connections)
    return Result(
        figure=lambda width: figures.tail(atoms, shown, s.connections, way, calls, rates, {shown: (total, good)}, width=width),
        status=f"{good:.1f} good answers a second and {total - good:.1f} errors; without a timeout {without:.1f}",
        table=table(
            ("a second", "engine", "without a timeout"),
            [("good answers", f"{good:.1f}", f"{without:.1f}"), ("errors", f"{total - good:.1f}", "0.0")],
            no=[0] if good < without - 0.3 else [],
        ),
        yaml=text.documents(manifests),
        beside="the tutorial's ten calls with this timeout" if recorded else "no record of such calls",
        data=replay,
    )


@lru_cache(maxsize=1)
def _slow_mesh() -> Mesh:
    """The testbed before zones have labels: with them Istio 1.17 takes the localities in turn, whatever the policy."""
    folder = data_path("tutorial", "manifests")
    return Mesh(istio="1.17", namespace="istioinaction").apply(folder / "testbed.yaml", folder / "slow-backend-1.yaml")


@lru_cache(maxsize=64)
def _least_request(delay: float, way: float, connections: int) -> tuple[np.ndarray, np.ndarray]:
    """(timeouts, (all, good) answers a second) under LEAST_REQUEST, whose shares depend on the timeout."""
    taus = np.unique(np.round([*np.linspace(0.03, 1.25 * delay, 14), FAST - 0.001, FAST + 0.001, delay - 0.001, delay + 0.001], 4))
    rates = [_under_least_request(delay, tau, way, connections) for tau in taus.tolist()]
    return taus, np.array(rates)


def _under_least_request(delay: float, tau: float, way: float, connections: int) -> tuple[float, float]:
    service = tuple(min(took, tau) for took in (delay, FAST, FAST))
    shares = least_request_constant(service, way, connections).shares
    total = connections / (float(shares @ np.array(service)) + way)
    return total, total * float(shares[[delay <= tau, FAST <= tau, FAST <= tau]].sum())


def _without(policy: str, delay: float, way: float, connections: int) -> float:
    if policy == "LEAST_REQUEST":
        return _under_least_request(delay, 2 * delay, way, connections)[1]
    return connections / ((2 * FAST + delay) / 3 + way)


# --- the queue of the dead ------------------------------------------------------------------


def zombies() -> Console:
    """Three pods with few workers, callers with little patience, and the work that goes on."""
    controls: list[Control] = [
        Slider("connections", "connections", 14, least=1, most=30),
        Slider("timeout", "timeout (2 s: none)", 0.5, least=0.1, most=_NONE, step=0.1, unit="s"),
        Slider("workers", "workers of a pod", 1, stops=(1, 2, 3, 5, 10, 100)),
        Slider("service", "a pod works for", FAST, least=0.05, most=0.5, step=0.05, unit="s"),
    ]
    presets: dict[str, dict[str, Any]] = {
        "just below the cliff": {"connections": 8, "timeout": 0.5, "workers": 1},
        "the collapse": {"connections": 14, "timeout": 0.5, "workers": 1},
        "more workers": {"connections": 14, "timeout": 0.5, "workers": 2},
        "more patience": {"connections": 14, "timeout": _NONE, "workers": 1},
    }
    return Console(
        "The queue of the dead", controls, zombies_of, presets=presets, tutorial={"timeout": 0.5, "service": FAST}, replications=(5, 20)
    )


def zombies_of(s: Settings, replications: int) -> Result:
    """What `zombies` shows: the first five seconds of one run, and the answers a second of all."""
    pods = data_path("course", "three-workers.yaml").read_text(encoding="utf-8").replace('"1"', f'"{s.workers}"')
    manifest = text.route("backend", text.timeout(s.timeout if s.timeout < _NONE else 0))
    mesh = Mesh(istio="1.17", overhead="10ms").apply(pods, manifest).timing("backend", p50=float(s.service))
    replay = mesh.fortio_load(s.connections, 0, "5s", replications=replications, seed=1)
    trace = replay.trace(0)
    work = figures.work(trace, 5.0)
    elapsed = replay.elapsed.mean()
    good = replay.codes.get(200, np.zeros(1)).mean() / elapsed
    wasted, capacity = figures.wasted(work, 0.0, 5.0), 3 * s.workers / s.service
    errors = replay.requests.mean() / elapsed - good
    rows = [
        ("good answers a second", f"{good:.1f}"),
        ("errors a second", f"{errors:.1f}"),
        ("capacity, a second", f"{capacity:.0f}"),
        ("work for nobody", f"{wasted:.0%}"),
    ]
    return Result(
        figure=lambda width: figures.zombies(trace, 5.0, width=width),
        status=f"{good:.1f} good answers a second of a capacity of {capacity:.0f}; {wasted:.0%} of the work is for nobody",
        table=table(("five seconds", ""), rows, no=[0] if good < 0.5 * min(capacity, good + errors) else []),
        yaml=manifest,
        data=replay,
    )
