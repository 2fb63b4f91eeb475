"""The console of the storm: load that goes away, errors that stay, and the point on the map of equilibria."""

from __future__ import annotations

from typing import Any

import numpy as np

from meshmodel._data import data_path
from meshmodel.mesh import Mesh
from meshmodel.teaching import storm_figures as figures
from meshmodel.teaching.consoles import Choice, Console, Result, Settings, Slider, table
from meshmodel.teaching.consoles import yaml_text as text
from meshmodel.teaching.consoles.controls import Control

SERVERS, SERVICE, PATIENCE = 3, 0.1, 0.5
CAPACITY = SERVERS / SERVICE
BEGIN, LENGTH = 4.0, 40.0  # seconds
LIMITS = ("none", "maxRetries: 1", "budget 20 %", "shed above 15 in flight")


def storm() -> Console:
    """A pod of 30 requests a second under a load, a burst, and the load again."""
    controls: list[Control] = [
        Slider("rate", "requests a second", 18, least=4, most=29, unit="/s"),
        Slider("burst", "during the overload", 70, least=20, most=150, step=5, unit="/s"),
        Slider("seconds", "the overload lasts", 2, least=1, most=6, unit="s"),
        Slider("attempts", "attempts", 2, least=0, most=4),
        Choice("limit", "limit", "none", LIMITS),
        Slider("away", "then load is turned away for", 0, least=0, most=20, unit="s"),
    ]
    presets: dict[str, dict[str, Any]] = {
        "the storm": {"attempts": 2, "limit": "none", "away": 0},
        "no retries": {"attempts": 0, "limit": "none", "away": 0},
        "a budget": {"attempts": 2, "limit": "budget 20 %", "away": 0},
        "turn load away": {"attempts": 2, "limit": "none", "away": 15},
    }
    return Console("The storm", controls, storm_of, presets=presets, tutorial={"attempts": 2}, replications=(5, 50))


def manifests(s: Settings) -> tuple[str, str]:
    """The route's retries and the limit, as YAML; without retries the timeout is the route's."""
    fields = (text.retries(s.attempts, per_try=PATIENCE),) if s.attempts else (text.retries(0), text.timeout(PATIENCE))
    limit = {
        LIMITS[0]: "",
        LIMITS[1]: "connectionPool: {http: {maxRetries: 1}}",
        LIMITS[2]: "retryBudget: {percent: 20, minRetryConcurrency: 1}",
        LIMITS[3]: "connectionPool: {http: {http2MaxRequests: 15}}",
    }[s.limit]
    return text.route("backend", *fields), text.traffic("backend", limit)


def segments(s: Settings) -> list[tuple[float, float, float]]:
    """The load: (seconds, first and last rate); what is turned away is all but one request in ten."""
    after = LENGTH - BEGIN - s.seconds - s.away
    away = [(float(s.away), 0.1 * s.rate, 0.1 * s.rate)] if s.away else []
    return [(BEGIN, s.rate, s.rate), (float(s.seconds), s.burst, s.burst), *away, (after, s.rate, s.rate)]


def storm_of(s: Settings, replications: int) -> Result:
    """What `storm` shows: means by the second, and the map for the same policy."""
    yaml = manifests(s)
    mesh = Mesh(istio="1.27", overhead=0, workers=1).apply(data_path("course", "backend-of-30.yaml"), *[part for part in yaml if part])
    run = figures.storm(mesh.open_loop(segments(s), replications=replications, seed=1))
    found = figures.plane(
        s.rate, s.attempts, SERVERS, SERVICE, PATIENCE, 0.2 if s.limit == LIMITS[2] else None, 1 if s.limit == LIMITS[1] else None
    )
    after = figures.recovery(run, BEGIN + s.seconds + s.away, s.rate)
    back = "never recovers within the forty seconds" if np.isinf(after) else f"recovers within {after:.0f} s"
    rows = [
        (name, f"{run.fresh[part].mean():.1f}", f"{run.tries[part].mean():.1f}", f"{run.good[part].mean():.1f}")
        for name, part in (("before", slice(0, 4)), ("overload", slice(4, 4 + s.seconds)), ("last 5 s", slice(-6, -1)))
    ]
    stays = rows[2:] and run.good[-6:-1].mean() < 0.5 * run.fresh[-6:-1].mean()
    return Result(
        figure=lambda width: figures.storm_and_plane(run, found, (BEGIN, BEGIN + s.seconds), CAPACITY, width=width),
        status=f"after {s.seconds} s of overload the service {back}",
        table=table(("a second", "arrive", "tries", "good answers"), rows, no=[2] if stays else []),
        yaml=text.documents(yaml),
        beside="the map's formula, for exponential service" + (", which knows nothing of shedding" if s.limit == LIMITS[3] else ""),
        data=(run, found),
    )
