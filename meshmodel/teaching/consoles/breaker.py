"""The consoles of the chapter on circuit breaking: refusals beside Erlang's curve, the waiting room, breaker or detector."""

from __future__ import annotations

from typing import Any

import numpy as np

from meshmodel._data import data_path
from meshmodel.analytic.breakers import pool_loss_open, pool_wait_open
from meshmodel.analytic.queues import erlang_b
from meshmodel.mesh import Mesh
from meshmodel.results.replay import Replay
from meshmodel.teaching import breaker_figures as figures
from meshmodel.teaching.consoles import Choice, Console, Result, Settings, Slider, table
from meshmodel.teaching.consoles import yaml_text as text
from meshmodel.teaching.consoles.controls import Control

SERVICES = ("constant", "varied")
_WARM = 3.0  # seconds that a run needs to forget that it began empty
_LENGTH = 10.0


def _settled(replay: Replay, code: int) -> float:
    """The share of a code among what was sent after the run had settled."""
    later = (replay.log.start > _WARM) & (replay.log.code != -2)
    return float((replay.log.code[later] == code).mean()) if later.any() else 0.0


def _within(measured: float, formula: float, sent: float) -> bool:
    """Is the difference explained by the noise of so many requests, at four standard errors?"""
    return abs(measured - formula) < 4 * (max(formula * (1 - formula), 1e-4) / sent) ** 0.5 + 0.01


# --- refusals -------------------------------------------------------------------------------


def refusals() -> Console:
    """Poisson arrivals under `http2MaxRequests`."""
    controls: list[Control] = [
        Slider("rate", "requests a second", 20, least=2, most=100, step=2, unit="/s"),
        Slider("service", "a pod works for", 0.1, least=0.05, most=0.5, step=0.05, unit="s"),
        Slider("limit", "http2MaxRequests", 2, least=1, most=30),
        Choice("kind", "service times", "constant", SERVICES),
        Slider("seed", "seed", 1, least=1, most=50),
    ]
    presets: dict[str, dict[str, Any]] = {
        "a limit at the average": {"rate": 20, "service": 0.1, "limit": 2},
        "one in a hundred": {"rate": 20, "service": 0.1, "limit": 7},
        "ten times the load": {"rate": 100, "service": 0.2, "limit": 30},
    }
    return Console("Refusals", controls, refusals_of, presets=presets, tutorial={})


def refusals_of(s: Settings, replications: int) -> Result:
    """What `refusals` shows."""
    manifest = text.traffic("backend", f"connectionPool: {{http: {{http2MaxRequests: {s.limit}}}}}")
    mesh = Mesh(overhead=0).apply(data_path("course", "backend.yaml"), manifest)
    base = float(s.service)
    mesh.timing("backend", **({"p50": base} if s.kind == "constant" else {"p50": base / 2, "p90": 5 * base, "p99": 10 * base}))
    replay = mesh.open_loop(float(s.rate), _LENGTH, replications=replications, seed=s.seed)
    offered = s.rate * base
    formula, measured = erlang_b(s.limit, offered), _settled(replay, 503)
    trace = replay.trace(0)
    fits = _within(measured, formula, s.rate * (_LENGTH - _WARM) * replications / 3)
    rows = [
        ("offered (Erlangs)", f"{offered:.2f}"),
        ("refused, by formula", f"{100 * formula:.2f} %"),
        ("refused, by the engine", f"{100 * measured:.2f} %"),
    ]
    return Result(
        figure=lambda width: figures.refusals(trace, s.limit, offered, measured, width=width),
        status=f"{100 * measured:.1f} % are refused; Erlang's formula says {100 * formula:.1f} %",
        table=table(("", "value"), rows, no=[] if fits else [2]),
        yaml=manifest,
        beside="Erlang's formula",
        data=(formula, measured),
    )


# --- the waiting room -----------------------------------------------------------------------


def waiting_room() -> Console:
    """`maxConnections` with a room of `http1MaxPendingRequests`, one proxy with one worker."""
    controls: list[Control] = [
        Slider("rate", "requests a second", 24, least=2, most=60, step=2, unit="/s"),
        Slider("connections", "maxConnections", 3, least=1, most=8),
        Slider("room", "http1MaxPendingRequests", 4, least=1, most=20),
        Slider("seed", "seed", 1, least=1, most=50),
    ]
    presets: dict[str, dict[str, Any]] = {
        "no room to speak of": {"room": 1},
        "a large room": {"room": 20},
        "overload": {"rate": 50, "room": 20},
    }
    return Console("The waiting room", controls, waiting_room_of, presets=presets, tutorial={})


def waiting_room_of(s: Settings, replications: int) -> Result:
    """What `waiting_room` shows; a pod works for 0.1 s on each request."""
    manifest = text.traffic(
        "backend", f"connectionPool: {{tcp: {{maxConnections: {s.connections}}}, http: {{http1MaxPendingRequests: {s.room}}}}}"
    )
    mesh = Mesh(overhead=0, workers=1).apply(data_path("course", "backend.yaml"), manifest)
    replay = mesh.open_loop(float(s.rate), _LENGTH, replications=replications, seed=s.seed)
    served = (replay.log.start > _WARM) & (replay.log.code == 200)
    lost, waited = _settled(replay, 503), float(replay.log.latency[served].mean() - 0.1) if served.any() else 0.0
    loss, wait = pool_loss_open(s.connections, s.room, s.rate, 0.1), pool_wait_open(s.connections, s.room, s.rate, 0.1)
    trace = replay.trace(0)
    rows = [("refused", f"{100 * lost:.1f} %", f"{100 * loss:.1f} %"), ("mean wait", f"{1000 * waited:.0f} ms", f"{1000 * wait:.0f} ms")]
    return Result(
        figure=lambda width: figures.room_and_run(trace, s.connections, s.rate, 0.1, s.room, {s.room: (lost, waited)}, width=width),
        status=f"{100 * lost:.1f} % are refused, the others wait {1000 * waited:.0f} ms on average",
        table=table(("", "engine, constant service", "formula, exponential service"), rows),
        yaml=manifest,
        beside="the queue M/M/c/K",
        data=(lost, waited),
    )


# --- breaker or detector --------------------------------------------------------------------

_DETECTOR = "interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 50"
ILLS: dict[str, str | int] = {
    "one pod hangs": "hang",
    "one pod answers 500": 500,
    "one pod is slow (0.8 s)": "800ms",
    "none: too much load": "none",
}


def breaker_or_detector() -> Console:
    """Three pods, one of them ill, and the two halves of a DestinationRule."""
    controls: list[Control] = [
        Choice("ill", "what is wrong", "one pod hangs", tuple(ILLS)),
        Slider("limit", "http2MaxRequests (0: none)", 8, least=0, most=30),
        Slider("errors", "consecutive5xxErrors (0: no detector)", 0, least=0, most=10),
        Slider("rate", "requests a second", 20, least=5, most=120, step=5, unit="/s"),
        Slider("seed", "seed", 1, least=1, most=50),
    ]
    presets: dict[str, dict[str, Any]] = {
        "neither": {"limit": 0, "errors": 0},
        "breaker": {"limit": 8, "errors": 0},
        "detector": {"limit": 0, "errors": 3},
        "overload, breaker": {"ill": "none: too much load", "rate": 120, "limit": 8, "errors": 0},
        "overload, detector": {"ill": "none: too much load", "rate": 120, "limit": 0, "errors": 3},
    }
    return Console("Breaker or detector", controls, breaker_or_detector_of, presets=presets, tutorial={}, replications=(10, 50))


def breaker_or_detector_of(s: Settings, replications: int) -> Result:
    """What `breaker_or_detector` shows: one run pod by pod, and the codes of all; pods work on three requests at a time."""
    pods = data_path("course", "three-workers.yaml").read_text(encoding="utf-8").replace('"1"', '"3"')
    rules = (
        text.route("backend", text.timeout(1.0), text.retries(0)),
        text.traffic(
            "backend", "loadBalancer: {simple: ROUND_ROBIN}",
            f"connectionPool: {{http: {{http2MaxRequests: {s.limit}}}}}" if s.limit else "",
            f"outlierDetection: {{consecutive5xxErrors: {s.errors}, {_DETECTOR}}}" if s.errors else "",
        ),
    )  # fmt: skip
    mesh = Mesh(overhead=0, workers=1).apply(pods, *rules).timing("backend", p50="100ms")
    if ILLS[s.ill] != "none":
        mesh.fail("backend", pods=1, how=ILLS[s.ill])
    replay = mesh.open_loop(float(s.rate), _LENGTH, replications=replications, seed=s.seed)
    shares = {code: estimate.mean for code, estimate in sorted(replay.code_shares().items())}
    good = shares.get(200, 0.0)
    trace = replay.trace(0)
    says = {200: "answered", 500: "the pod's error", 503: "refused", 504: "waited in vain"}
    name = " and ".join([f"breaker of {s.limit}"] * bool(s.limit) + [f"detector of {s.errors}"] * bool(s.errors)) or "neither"
    return Result(
        figure=lambda width: figures.pod_by_pod(
            {name: trace}, _LENGTH, f"{name[0].upper()}{name[1:]}: {100 * good:.0f} % succeed", width=width
        ),
        status=f"{100 * good:.0f} % of the requests succeed with {name}",
        table=table(
            ("code", "share", "what"),
            [(code, f"{100 * share:.1f} %", says.get(code, "")) for code, share in shares.items()],
            no=[k for k, code in enumerate(shares) if code != 200],
        ),
        yaml=text.documents(rules),
        data=np.array([shares.get(code, 0.0) for code in (200, 503, 504)]),
    )
