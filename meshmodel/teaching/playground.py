"""The playground: one's own manifests in an editor, a record dropped beside them, sliders for every number in the rules, and what if.

    playground(Mesh(istio="1.24", overhead="overhead.json"), "shop.yaml", target="checkout", record="incident.json")

A slider that was moved wins over the text; one that was not leaves the number to the text.  A and B are the manifests as they were at
first and as they are now, under one load with common random numbers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from meshmodel._text import InputError
from meshmodel.envoy.process import envoy_binary
from meshmodel.fakeservice import parse_duration
from meshmodel.results import difference
from meshmodel.results.compare import Comparison, compare
from meshmodel.results.fortio import FortioError, Histogram, records_of
from meshmodel.results.overhead import line as overhead_line
from meshmodel.results.replay import Replay
from meshmodel.scenario import ClosedLoop
from meshmodel.teaching import charts, plots
from meshmodel.teaching.consoles import Action, Choice, Console, Result, Settings, Slider, Text
from meshmodel.teaching.consoles.controls import Control
from meshmodel.teaching.consoles.replay import NO_ENVOY, ON_ENVOY
from meshmodel.teaching.report import found, page
from meshmodel.teaching.traffic_map import traffic_map
from meshmodel.whatif.numbers import Number, numbers, with_numbers
from meshmodel.whatif.study import Study, errors, figure, reasons

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

VIEWS = ("beside the record", "codes", "over time", "A beside B")
WELL = "no pod"
WAYS = ("hang", "refused", "reset", "503", "500", "2s")
FACTORS = (0.25, 0.5, 1, 1.5, 2, 3, 4, 8)
REPORT = "write report.html"


class Ground(NamedTuple):
    """What does not change: how a mesh is made of a text, the load, and the first mesh, A."""

    made: Callable[[str], Mesh]
    load: dict[str, Any]
    first: Mesh
    numbers: list[Number]
    folder: Path


def playground(
    mesh: Mesh,
    *manifests: Any,
    record: str | Path | None = None,
    target: str | None = None,
    slo: str = "p99<300ms,errors<0.1%",
    connections: int = 10,
    qps: float = 100,
    duration: int = 20,
    folder: str | Path = ".",
) -> Console:
    """A console over the reader's own manifests.

    Parameters
    ----------
    mesh : an empty one, with its version, namespace and overhead; or one with resources that stay out of the editor.
    manifests : paths of YAML files, or YAML text; they stand in the editor.
    record : the path of a fortio record, or its text; it can be dropped onto the page as well.
    target : the Service that is called (None: the Gateway's route).
    slo : the objective that the report seeks.
    folder : where the report goes.

    Raises ManifestError where the manifests are no mesh to begin with.
    """
    bare = mesh.copy()
    text = "\n---\n".join(_text(each) for each in manifests)
    first = bare.copy().apply(text)
    ground = Ground(lambda now: bare.copy().apply(now), {"target": target}, first, numbers(first), Path(folder))
    pods = [pod.name for pod in first.scenario(ClosedLoop(calls=1), target).endpoints]
    controls: list[Control] = [
        Text("yaml", "manifests", text, rows=18),
        Text("record", "fortio's record (paste it, or drop its file here)", _text(record) if record else "", rows=4),
        Choice("view", "show", VIEWS[0], VIEWS),
        *(_slider(k, number) for k, number in enumerate(ground.numbers)),
        Choice("broken", "break a pod", WELL, (WELL, *pods)),
        Choice("how", "which then", WAYS[0], WAYS),
        Slider("at", "from", 0, least=0, most=max(1, duration - 1), unit="s"),
        Slider("connections", "connections", connections, least=1, most=max(100, connections)),
        Slider("qps", "requests a second, 0: as fast as possible", qps, least=0, most=max(1000, qps), step=5),
        Slider("duration", "duration", duration, least=2, most=max(120, duration), unit="s"),
        Slider("seed", "seed", 1, least=0, most=20),
    ]
    on_envoy = Action(ON_ENVOY, lambda s, p, c: _on_envoy(ground, s, p, c), "" if envoy_binary() else NO_ENVOY)
    written = Action(REPORT, lambda s, p, c: _report(ground, s, slo, p, c))
    return Console(
        "Your own mesh", controls, lambda s, n: answer(ground, s, n), actions=[on_envoy, written], tutorial={}, replications=(10, 60)
    )


def _text(source: Any) -> str:
    """The text of a file, or the text itself."""
    if isinstance(source, Path) or "\n" not in str(source):
        return Path(source).read_text(encoding="utf-8").strip("\n")
    return str(source).strip("\n")


def _slider(k: int, number: Number) -> Slider:
    """A number of the rules: what it is, and from a quarter of it to eightfold."""
    stops = sorted({number.value, *(number.times(factor) for factor in FACTORS)})
    return Slider(f"n{k}", number.label, number.value, unit="s" if number.duration else "", stops=stops)


# --- what a move comes to -----------------------------------------------------------------


def current(ground: Ground, s: Settings) -> Mesh:
    """B: the text, the sliders that were moved, the pod that breaks.  Raises ManifestError."""
    mesh = ground.made(s.yaml)
    there = {(number.kind, number.name, number.path) for number in numbers(mesh)}
    moved = {
        number: value
        for k, number in enumerate(ground.numbers)
        if (value := getattr(s, f"n{k}")) != number.value and (number.kind, number.name, number.path) in there
    }
    mesh = with_numbers(mesh, moved)
    if s.broken != WELL:
        return broken(mesh, s.broken, s.how, s.at, ground.load["target"])
    return mesh


def broken(mesh: Mesh, pod: str, how: str, at: float, target: str | None) -> Mesh:
    """The mesh with one pod of the Deployment of `pod` failing from `at` seconds on."""
    owner = {each.name: each.deployment for each in mesh.scenario(ClosedLoop(calls=1), target).endpoints}
    if pod not in owner:
        raise InputError(f"break a pod: there is no {pod} any more")
    return mesh.fail(owner[pod], 1, int(how) if how.isdigit() else how, at or None)


def _load(s: Settings) -> dict[str, Any]:
    return {"connections": s.connections, "qps": s.qps, "duration": float(s.duration)}


def answer(ground: Ground, s: Settings, replications: int) -> Result:
    """What the console shows; a text that is no mesh is said at its line, and the first mesh is shown."""
    try:
        mesh, problems = current(ground, s), []
        replay = simulated(mesh, ground, s, replications)
    except InputError as problem:
        mesh, problems = ground.first.copy(), [said_at(str(problem))]
        replay = simulated(mesh, ground, s, replications)
    marks = {"yaml": problems or warnings_at(mesh, s.yaml)}
    record, complaint = _record(s.record)
    if complaint:
        marks["record"] = [said_at(complaint)]
    shown = "A beside B" if s.view == VIEWS[3] else s.view
    return Result(
        figure=_figure(ground, s, shown, replay, record, replications),
        status=("the manifests are no mesh: this is A, as it was at first; " if problems else "") + status(replay),
        table=f"<div>{html.escape(overhead_line(mesh.sourced_overhead()))}</div>{traffic_map(replay)}{_why(replay)}{replay.table('html')}",
        yaml=_rules(mesh),
        text=replay.histogram(0).run_text(),
        marks=marks,
        data=replay,
    )


def simulated(mesh: Mesh, ground: Ground, s: Settings, replications: int) -> Replay:
    """The load of the controls on a mesh."""
    return mesh.fortio_load(**_load(s), **ground.load, replications=replications, seed=s.seed)


def status(replay: Replay) -> str:
    """The finding in a sentence."""
    wrong = float(errors(replay).mean())
    return f"{100 * wrong:.2f} % of the requests fail, p99 is {1000 * figure(replay, 'p99'):.0f} ms"


def _why(replay: Replay) -> str:
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in reasons(replay))
    return f"<ul>{lines}</ul>" if lines else ""


def _figure(ground: Ground, s: Settings, view: str, replay: Replay, record: Histogram | None, replications: int) -> Callable[[float], Any]:
    if view == "A beside B":
        apart = difference.difference(simulated(ground.first.copy(), ground, s, replications), replay, ("A", "B"))
        return lambda width: charts.differences(apart, width=width)
    if view == "over time":
        return lambda width: plots.series(replay, max(1.0, round(s.duration / 60)), width=width)
    counts = dict(record.statuses) if record is not None else None
    if view == "codes":
        return lambda width: plots.shares(replay, "codes", counts or None, width=width)
    subject: Any = compare(replay, record) if record is not None else replay
    return lambda width: plots.overlay(subject, width=width)


def _record(text: str) -> tuple[Histogram | None, str]:
    """The record of a text, fortio's own or JSON; what is wrong with it."""
    if not text.strip():
        return None, ""
    try:
        made = records_of(text, "record")[0]
    except FortioError as problem:
        return None, str(problem)
    return (made, "") if made.count else (None, "record: no requests in it")


# --- what is said of a line ---------------------------------------------------------------


def said_at(problem: str) -> tuple[int, str, str]:
    """A complaint with the line that it names, 0 where it names none, and without that place, which stands before it."""
    place = re.match(r"(?:[^:]*\bline ([0-9]+): )?(.*)", problem, re.DOTALL)
    assert place is not None
    return int(place[1] or 0), "error", place[2]


def warnings_at(mesh: Mesh, text: str) -> list[tuple[int, str, str]]:
    """The mesh's warnings, each at the line of its field, or of its resource."""
    places = _places(text)
    return [(_place(places, str(warning.resource), warning.field), "warning", str(warning)) for warning in mesh.warnings]


def _places(text: str) -> dict[str, list[tuple[str, int]]]:
    """ "Kind name" -> (path of a field, its line), in order."""
    found: dict[str, list[tuple[str, int]]] = {}
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        if isinstance(document, yaml.MappingNode):
            fields = list(_fields(document, ""))
            said = {path: value for path, _, value in fields}
            found[f"{said.get('kind')} {said.get('metadata.name')}"] = [(path, line) for path, line, _ in fields]
    return found


def _fields(node: Any, path: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = f"{path}.{key.value}".lstrip(".")
            yield here, key.start_mark.line + 1, getattr(value, "value", None)
            yield from _fields(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _fields(value, f"{path}[{index}]")


def _place(places: Mapping[str, Sequence[tuple[str, int]]], resource: str, field: str) -> int:
    fields = places.get(resource, ())
    exact = [line for path, line in fields if path == field]
    near = [line for path, line in fields if path.rpartition(".")[2] == field.rpartition(".")[2]]
    return next(iter((*exact, *near, *(line for _, line in fields))), 0)


def _rules(mesh: Mesh) -> str:
    rules = [mesh.get(kind, name, namespace) for kind, namespace, name in mesh.resources if kind in ("DestinationRule", "VirtualService")]
    return "---\n".join(yaml.safe_dump(rule, sort_keys=False, width=100) for rule in rules)


# --- what takes long ----------------------------------------------------------------------


def _on_envoy(ground: Ground, s: Settings, progress: Callable[[float], None], cancel: Any) -> Result:
    mesh = current(ground, s)
    replay = simulated(mesh, ground, s, 60)
    real = mesh.measure(**_load(s), **ground.load, progress=progress, cancel=cancel)
    against = compare(replay, real.histogram(0), name="real Envoy")
    assert isinstance(against, Comparison)
    return Result(
        figure=lambda width: plots.overlay(against, width=width), status="; ".join(against.notes), table=against.table("html"), data=against
    )


def _report(ground: Ground, s: Settings, slo: str, progress: Callable[[float], None], cancel: Any) -> Result:
    from meshmodel._files import write

    mesh, tried = current(ground, s), [0]

    def advance(what: str) -> None:
        tried[0] += 1
        progress(1 - 0.97 ** tried[0])  # nobody knows how many what-ifs there will be
        if cancel.is_set():
            raise InputError("report: cancelled")

    load = ClosedLoop(connections=s.connections, qps=float(s.qps), duration=parse_duration(f"{s.duration}s", "duration"), timeout=3.0)
    findings = found(mesh, Study(load, 20, s.seed, ground.load["target"], progress=advance), 60, _record(s.record)[0], "record", slo)
    out, made = ground.folder / "report.html", page(mesh, findings, "Your own mesh", slo)
    write(out, made)
    return Result(
        figure=lambda width: charts.of_replay(findings.replay), status=f"written: {out}", page=("report.html", made), data=findings
    )
