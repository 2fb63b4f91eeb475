"""Console of chapter 1: policy, delay, pods, connections, labels and Istio's version, beside the tutorial's own runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from meshmodel._data import data_path
from meshmodel.evidence import catalogue
from meshmodel.mesh import Mesh
from meshmodel.results.compare import Comparison, compare
from meshmodel.results.replay import Replay
from meshmodel.teaching import balance, plots
from meshmodel.teaching.balance import HIGH, draw_strips
from meshmodel.teaching.consoles.console import Console
from meshmodel.teaching.consoles.controls import Choice, Control, Result, Settings, Slider, Toggle, yaml_of
from meshmodel.teaching.consoles.replay import POLICIES, changes
from meshmodel.teaching.consoles.tables import comparison_table, figures_table
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

RECORDS = {"ROUND_ROBIN": "lb-round-robin", "LEAST_REQUEST": "lb-least-conn"}
"""Which of the tutorial's experiments recorded a policy."""

ISTIO = ("1.17", "1.24")
_OVERLAY = 3.2  # inches


def load_balancing(**start: Any) -> Console:
    """One slow pod among others, ten connections, one minute; `start` sets controls before the first look."""
    controls: list[Control] = [
        Choice("policy", "policy", "LEAST_REQUEST", POLICIES),
        Slider("delay", "delay of the slow pod", 1.0, least=0.15, most=2.5, step=0.05, unit="s"),
        Slider("replicas", "other pods", 2, least=1, most=10),
        Slider("connections", "connections", 10, least=1, most=50),
        Choice("istio", "Istio", "1.17", ISTIO),
        Toggle("labels", "labels of localities", False),
        Slider("seed", "another run", 1, least=1, most=20),
    ]
    tutorial = {"delay": 1.0, "replicas": 2, "connections": 10, "istio": "1.17", "labels": False}
    presets: dict[str, dict[str, Any]] = {
        "why not 33 %?": {"policy": "LEAST_REQUEST", "labels": True, "istio": "1.17"},
        "one slow pod in five": {"replicas": 4},
        "as good with ROUND_ROBIN": {"policy": "ROUND_ROBIN", "replicas": 6},
        "one call at a time": {"connections": 1},
    }
    console = Console(
        "One slow pod: who gets the requests, and which percentile says so?", controls, work, presets=presets, tutorial=tutorial
    )
    if start:
        console.set(**start)
    return console


def work(s: Settings, replications: int) -> Result:
    """The minute of fortio with these settings, beside the tutorial's run of the same policy."""
    mesh = _mesh(s.istio, s.labels)
    changed = changes(mesh, s, "simple-backend-1", "simple-backend-2", mesh.get("DestinationRule", "simple-backend-dr"))
    replay = mesh.copy().apply(*changed).fortio_load(connections=s.connections, replications=replications, seed=s.seed)
    replay, comparison = _beside(replay, _record(s.policy))
    return Result(
        figure=lambda width: _figure(comparison or replay, replay, width),
        status=_finding(replay),
        table=comparison_table(comparison) if comparison else figures_table(replay),
        yaml=yaml_of(*changed),
        text=replay.histogram(0).to_text(),
        beside=f"the tutorial's run of {s.policy}" if comparison else "",
        data=comparison or replay,
    )


def _beside(replay: Replay, record: Any) -> tuple[Replay, Comparison | None]:
    """The replay in the record's resolution, and what comparing says; without a record in that of fortio's web form."""
    if record is None:
        return replay.with_resolution(0.0001), None
    comparison = compare(replay, record, name="recorded")
    assert isinstance(comparison, Comparison) and isinstance(comparison.outcome, Replay)
    return comparison.outcome, comparison


def _figure(subject: Comparison | Replay, replay: Replay, width: float) -> Picture:
    says = balance.finding(replay)
    picture, (_, strips) = sheet(says, width, _OVERLAY, HIGH)
    plots.overlay(subject, onto=picture)
    for name, columns in balance.told({"model": replay}).items():
        picture.tell(name, columns)
    picture.alt_text = f"{says}. {draw_strips(strips, replay, picture.get_figwidth())}. {picture.alt_text}"
    return picture


def _finding(replay: Replay) -> str:
    share = balance.slow_share(replay)
    fast = [f"p{p}" for p in (50, 75, 90, 99) if p <= 100 * (1 - share)]
    return f"{share:.1%} of the requests meet the slow pod: fast are {', '.join(fast) or 'none'} of p50 to p99".replace("%", " %") + (
        f", and {replay.requests.mean():,.0f} requests fit into the minute"
    )


@lru_cache(maxsize=4)
def _mesh(istio: str, labels: bool) -> Mesh:
    names = ("testbed", *(("localities", "slow-backend-1-labelled") if labels else ("slow-backend-1",)), "dr-least-conn")
    return Mesh(istio=istio, namespace="istioinaction").apply(*(data_path(f"tutorial/manifests/{name}.yaml") for name in names))


def _record(policy: str) -> Any:
    return catalogue.experiment(RECORDS[policy]).record if policy in RECORDS else None
