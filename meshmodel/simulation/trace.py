"""One replication attempt by attempt: it is run again from its own stream, this time with notes of everything.

Replications have streams of their own, so running one again gives the very same run, and nothing of it need be kept.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from meshmodel.results.replay import ENVOY
from meshmodel.results.trace import EVENTS, Trace
from meshmodel.rules.outcomes import WORDS
from meshmodel.scenario import Scenario
from meshmodel.simulation import admission, world
from meshmodel.simulation.clients import NOT_YET
from meshmodel.simulation.health import EJECTED, PANIC, PANIC_ENDS, READMITTED
from meshmodel.simulation.run import Run, TraceFull, stream
from meshmodel.simulation.world import Layout, World

_EVENT = {EJECTED: EVENTS[0], READMITTED: EVENTS[1], PANIC: EVENTS[2], PANIC_ENDS: EVENTS[3]}


def trace(scenario: Scenario, seed: int, replication: int = 0) -> Trace:
    """Everything that happened in a replication of `simulate(scenario, seed=seed)`."""
    laid_out = world.layout(scenario)
    requests, attempts = admission.room(laid_out.reduced), 256
    while True:
        run = Run(laid_out, world.make(laid_out, 1, world.empty_log(1, requests), resolution=1.0, traced=attempts))
        try:
            run.replicate(stream(seed, replication), 0)
        except TraceFull:
            attempts *= 4
            continue
        w = run.world
        pods = {e.name: e.deployment for chain in scenario.chains for e in chain[-1].endpoints}
        skipped = len(scenario.routes) - len(laid_out.reduced.routes)
        return Trace(
            requests=_requests(laid_out, w), attempts=_attempts(laid_out, w, skipped), hosts=_hosts(laid_out, w), scenario=scenario,
            engine="montecarlo", pods=tuple(pods), deployments=tuple(pods.values()),
        )  # fmt: skip


def _requests(laid_out: Layout, w: World) -> pd.DataFrame:
    rows = np.asarray(w.traced_request[: int(w.clock[0]["requests"])])
    never = rows["code"] == NOT_YET
    names = np.array([*(name for _, name in laid_out.plan.pods), ENVOY], dtype=object)
    return pd.DataFrame(
        {
            "request": np.arange(len(rows)),
            "connection": rows["connection"],
            "start": rows["start"],
            "end": np.where(never, np.nan, rows["end"]),
            "code": np.where(never, 0, rows["code"]),
            "endpoint": np.where(never | (rows["code"] == -1), "", names[rows["server"]]),
            "attempts": rows["attempts"],
        }
    )


def _attempts(laid_out: Layout, w: World, skipped: int) -> pd.DataFrame:
    rows = np.asarray(w.trace[: int(w.clock[0]["traced"])])
    hosts = np.array(["", *(e.name for upstream in laid_out.plan.upstreams for e in upstream.endpoints)], dtype=object)
    inside = np.array([sum(each < hop for each in laid_out.plan.inside) for hop in range(laid_out.plan.hops)])
    callers = np.array([upstream.caller for upstream in laid_out.plan.upstreams], dtype=object)
    said = {code: WORDS.get(code, str(code)) for code in np.unique(rows["outcome"]).tolist()} | {-1: ""}
    under_way = rows["end"] < 0
    return pd.DataFrame(
        {
            "request": rows["request"],
            "hop": rows["hop"] - inside[rows["hop"]] + skipped,
            **{name: rows[name] for name in ("number", "call", "parent", "worker", "chosen", "back_off", "first_active", "second_active")},
            "proxy": callers[rows["upstream"]],
            **{name: hosts[rows[name] + 1] for name in ("endpoint", "first", "second")},
            "start": np.where(rows["start"] < 0, np.nan, rows["start"]),
            "end": np.where(under_way, np.nan, rows["end"]),
            "outcome": ["" if still else said[code] for still, code in zip(under_way, rows["outcome"].tolist(), strict=True)],
        }
    )


def _hosts(laid_out: Layout, w: World) -> pd.DataFrame:
    notes = np.asarray(w.note[: int(w.clock[0]["noted"])])
    hosts = np.array([*(e.name for upstream in laid_out.plan.upstreams for e in upstream.endpoints), ""], dtype=object)
    of_host = notes["what"] <= EJECTED
    return pd.DataFrame(
        {
            "time": notes["time"],
            "proxy": [laid_out.plan.upstreams[upstream].caller for upstream in notes["upstream"].tolist()],
            "endpoint": hosts[np.where(of_host, notes["host"], -1)],
            "event": [_EVENT[what] for what in notes["what"].tolist()],
        }
    )
