"""Console of chapter 2: the map and the ejection clock, of one caller with three calls a second for five minutes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from meshmodel._data import data_path
from meshmodel.mesh import Mesh
from meshmodel.results.replay import Replay
from meshmodel.teaching import ejections, zones
from meshmodel.teaching.consoles.console import Console
from meshmodel.teaching.consoles.controls import Choice, Control, Result, Settings, Slider, Toggle, yaml_of
from meshmodel.teaching.consoles.replay import set_environment
from meshmodel.teaching.consoles.tables import table
from meshmodel.teaching.ejections import draw_clock, stays
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet
from meshmodel.teaching.zones import draw_zones, parts

FAULTS = ("nobody fails", "the local pod fails", "each fifth request fails")
RATE, SECONDS = 3, 300


def map_and_clock(**start: Any) -> Console:
    """Who gets the calls, which pods are out when, and what `istioctl` would say; `start` sets controls before the first look."""
    controls: list[Control] = [
        Choice("fault", "what fails", FAULTS[1], FAULTS),
        Slider("neighbours", "healthy pods beside it in zone a", 0, least=0, most=4),
        Slider("row", "consecutive5xxErrors", 1, least=1, most=7),
        Slider("interval", "interval", 5, least=1, most=30, unit="s"),
        Slider("base", "baseEjectionTime", 30, least=5, most=120, step=5, unit="s"),
        Slider("percent", "maxEjectionPercent", 100, stops=(10, 20, 33, 34, 50, 100), unit="%"),
        Toggle("panic", "minHealthPercent: 50", False),
        Choice("istio", "Istio", "1.17", ("1.17", "1.24")),
        Slider("cursor", "istioctl at", 20, least=0, most=SECONDS, step=5, unit="s"),
        Slider("seed", "another run", 1, least=1, most=20),
    ]
    presets = {
        "everybody ejected": {"fault": FAULTS[2], "neighbours": 0, "row": 1, "percent": 100, "panic": False},
        "33 % of three pods, Istio 1.24": {"fault": FAULTS[1], "neighbours": 0, "percent": 33, "istio": "1.24"},
        "33 % of three pods, Istio 1.17": {"fault": FAULTS[1], "neighbours": 0, "percent": 33, "istio": "1.17"},
        "half a zone gone": {"fault": FAULTS[1], "neighbours": 1, "percent": 100, "row": 1},
    }
    tutorial = {"row": 1, "interval": 5, "base": 30, "percent": 100, "panic": False, "istio": "1.17", "neighbours": 0}
    console = Console("The map and the ejection clock", controls, work, presets=presets, tutorial=tutorial, replications=(4, 20))
    if start:
        console.set(**start)
    return console


def work(s: Settings, replications: int) -> Result:
    """Five minutes of three calls a second with these settings."""
    rule = outlier_rule(s)
    mesh = _mesh(s.fault, s.neighbours, s.istio).copy().apply(rule)
    replay = mesh.fortio_load(connections=1, qps=RATE, duration=f"{SECONDS}s", replications=replications, seed=s.seed)
    return Result(
        figure=lambda width: _figure(replay, float(s.cursor), width),
        status=_finding(replay),
        table=_table(replay),
        yaml=yaml_of(rule),
        text=mesh.proxy_config_endpoints(at=float(s.cursor)) if s.cursor else mesh.proxy_config_endpoints(),
        data=replay,
    )


def outlier_rule(s: Settings) -> dict[str, Any]:
    """The DestinationRule that the controls describe."""
    detection = {
        "consecutive5xxErrors": s.row,
        "interval": f"{s.interval:g}s",
        "baseEjectionTime": f"{s.base:g}s",
        "maxEjectionPercent": s.percent,
        **({"minHealthPercent": 50} if s.panic else {}),
    }
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "DestinationRule",
        "metadata": {"name": "simple-backend-dr", "namespace": "istioinaction"},
        "spec": {"host": "simple-backend.istioinaction.svc.cluster.local", "trafficPolicy": {"outlierDetection": detection}},
    }


def _figure(replay: Replay, cursor: float, width: float) -> Picture:
    says = f"{zones.finding(replay)}. {ejections.finding(replay)}"
    picture, (above, below) = sheet(says, width, zones.height(replay), ejections.height(replay))
    width = picture.get_figwidth()
    said = draw_zones(above, replay, width)
    for name, columns in {"who answered": zones.told(replay), **ejections.told(replay)}.items():
        picture.tell(name, columns)
    picture.alt_text = f"{says}. {said}. {draw_clock(below, replay, 0, cursor, width)}"
    return picture


def _finding(replay: Replay) -> str:
    failed = float(np.mean(replay.log.code[replay.log.code != -2] >= 500))
    found, out = parts(replay), stays(replay)
    local = {pod.name for pod in replay.scenario.routes[-1].endpoints if pod.locality.endswith("west1-a")}
    home = sum(found[name].share for name in local)
    who = f"{100 * home:.0f} % of the calls are answered in zone a"
    itself = f", {100 * found['envoy'].share:.0f} % by the proxy itself" if found["envoy"].share >= 0.005 else ""
    return f"{100 * failed:.1f} % of the calls fail; {who}{itself}; in this run {len(out)} ejections"


def _table(replay: Replay) -> str:
    found, out = parts(replay), stays(replay)
    rows: list[tuple[Any, ...]] = [
        (name, f"{100 * found[name].share:.1f} %", f"{100 * found[name].errors:.1f} %", sum(stay.pod == k for stay in out))
        for k, name in enumerate(replay.pod_names)
    ]
    if found["envoy"].share:
        rows.append(("the proxy itself", f"{100 * found['envoy'].share:.1f} %", f"{100 * found['envoy'].errors:.1f} %", "-"))
    return table(("", "answers", "of these failed", "ejected"), rows, no=[k for k, row in enumerate(rows) if float(row[2][:-2]) >= 20])


@lru_cache(maxsize=16)
def _mesh(fault: str, neighbours: int, istio: str) -> Mesh:
    mesh = Mesh(istio=istio, namespace="istioinaction")
    mesh.apply(data_path("tutorial/manifests/testbed.yaml"), data_path("tutorial/manifests/localities.yaml"))
    if neighbours:
        more = mesh.get("Deployment", "simple-backend-1")
        more["metadata"]["name"], more["spec"]["replicas"] = "simple-backend-3", neighbours
        mesh.apply(more)
    names = {FAULTS[0]: (), FAULTS[1]: ("simple-backend-1",)}.get(fault, ("simple-backend-1", "simple-backend-2"))
    for name in names:
        deployment = mesh.get("Deployment", name)
        for variable, value in (("ERROR_TYPE", "http_error"), ("ERROR_RATE", "1" if len(names) == 1 else "0.2"), ("ERROR_CODE", "500")):
            set_environment(deployment, variable, value)
        mesh.apply(deployment)
    return mesh
