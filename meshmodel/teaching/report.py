"""One self-contained page for the incident channel: what happens, why, beside the record, what matters, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from meshmodel.results.compare import Comparison, compare
from meshmodel.results.fortio import Histogram
from meshmodel.results.overhead import line as overhead_line
from meshmodel.results.replay import Replay
from meshmodel.scenario import UNLIMITED, ClosedLoop, Scenario, Workload
from meshmodel.teaching import charts, plots, words
from meshmodel.teaching.traffic_map import traffic_map
from meshmodel.whatif.objective import Answer, objective, sought
from meshmodel.whatif.study import Moved, Study, figure, reasons, sensitivities

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

TEMPLATE = Path(__file__).with_name("report.html.j2")
BARS = 12
"""Numbers that a tornado chart shows, those that move most."""


class Findings(NamedTuple):
    """All that the page tells; `assumed`: what is taken for the record's load where nobody says so."""

    replay: Replay
    comparison: Comparison | None
    moved: list[Moved]
    answer: Answer | None
    reasons: list[str]
    assumed: str = ""


def found(mesh: Mesh, study: Study, replications: int, record: Histogram | None = None, name: str = "record", slo: str = "") -> Findings:
    """Everything that the page tells of a mesh under a load, `replications` runs of it; what-ifs take `study`'s.

    Raises InputError for an objective that is none, ManifestError for a mesh that cannot be.
    """
    clauses = objective(slo) if slo else ()
    whole = Study(study.load, replications, study.seed, study.target, study.locality, study.progress)
    replay = _run(mesh, whole, record)
    base = study.run(mesh)
    moved = sensitivities(mesh, study, base)
    answer = sought(mesh, study, base, clauses) if clauses else None
    mesh.scenario(study.load, study.target, study.locality)  # so that warnings and overhead are those of this load
    comparison: Any = compare(replay, record, name=name) if record is not None else None
    return Findings(replay, comparison, moved, answer, reasons(replay))


def _run(mesh: Mesh, study: Study, record: Histogram | None) -> Replay:
    study.progress("the mesh as it is")
    resolution = record.table_resolution() if record is not None and record.count else 0.001
    sides = (study.load, study.replications, study.seed, study.target, study.locality)
    return mesh.simulate(*sides, keep="figures", resolution=resolution)


def page(mesh: Mesh, findings: Findings, title: str, slo: str = "") -> str:
    """The page as HTML: one file, no request to anywhere."""
    import jinja2

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    replay, comparison = findings.replay, findings.comparison
    rendered = template.render(
        language=words.current(),
        title=title,
        slo=slo,
        overhead=overhead_line(mesh.sourced_overhead()),
        load=load_in_words(replay.scenario.workload),
        replications=replay.replications,
        seed=replay.seed,
        istio=mesh.defaults.version,
        loads=comparison.loads if comparison else "",
        findings=headlines(findings),
        reasons=findings.reasons,
        answer=findings.answer,
        yaml=as_yaml(findings.answer) if findings.answer else "",
        map=Markup(traffic_map(replay)),
        routes=mesh.proxy_config_routes(),
        limits=limits(replay.scenario),
        warnings=[str(warning) for warning in mesh.warnings],
        figures=Markup(replay.table("html")),
        codes=_shown(plots.shares(replay, "codes", _counts(comparison))),
        record=_beside(comparison),
        series=_shown(plots.series(replay, max(1.0, float(round(replay.elapsed.max() / 120))))),
        moves=Markup(_moves_table(findings.moved)) if findings.moved else "",
        tornado_p99=_tornado(findings, 0),
        tornado_errors=_tornado(findings, 1),
    )
    return words.spoken_html(rendered)


def as_yaml(answer: Answer) -> str:
    """The changed resources as `kubectl apply -f` takes them."""
    import yaml

    return "---\n".join(yaml.safe_dump(dict(manifest), sort_keys=False, width=100) for manifest in answer.manifests)


def _shown(picture: plots.Picture) -> Markup:
    return Markup(picture.html())


def load_in_words(load: Workload) -> str:
    """The load as fortio would be told it."""
    if not isinstance(load, ClosedLoop):
        return f"an open loop of {load.expected:,.0f} requests in {load.duration:g} s"
    length = f"{load.calls} calls" if load.calls is not None else f"{load.duration:g} s"
    rate = f"{load.qps:g} requests a second asked for" if load.qps else "as fast as possible"
    return f"{load.connections} connections, {rate}, {length}"


def headlines(findings: Findings) -> list[dict[str, Any]]:
    """What a reader must know first, each good news or bad."""
    wrong, p99 = (figure(findings.replay, name) for name in ("errors", "p99"))
    lines: list[dict[str, Any]] = [{"text": findings.assumed, "well": False}] * bool(findings.assumed)
    lines += [{"text": f"The model: {100 * wrong:.2f} % of the requests fail, p99 is {1000 * p99:.0f} ms.", "well": wrong < 0.001}]
    if (against := findings.comparison) is not None and against.record is not None and against.record.codes:
        well = sum(n for code, n in against.record.codes.items() if code in (200, "SERVING", "OK"))
        recorded = 1 - well / against.record.count
        row = against.find("code 200")
        inside = row is not None and row.inside is True
        unexplained = "which this mesh does NOT explain under this load: look for what the model does not know"
        verdict = "as this mesh does by itself" if inside else unexplained
        lines.append(
            {"text": f"The record: {100 * recorded:.2f} % of {against.record.count:,} requests failed, {verdict}.", "well": inside}
        )
    if findings.answer is not None:
        lines.append({"text": _advice(findings.answer), "well": findings.answer.met})
    return lines


def _advice(answer: Answer) -> str:
    if not answer.changes:
        return "The objective is met as it is." if answer.met else "No change that was tried brings the objective."
    how = "To meet the objective" if answer.met else "Nearest to the objective, not enough"
    return f"{how}: {'; then '.join(change.words for change in answer.changes)}."


def _counts(comparison: Comparison | None) -> dict[Any, int] | None:
    return dict(comparison.record.statuses) if comparison and comparison.record is not None and comparison.record.statuses else None


def limits(scenario: Scenario) -> list[str]:
    """Limits, detection and balancing of each cluster, in words."""
    lines = []
    for cluster in {c.name: c for route in scenario.routes for c in route.clusters}.values():
        pool, outlier = cluster.connection_pool, cluster.outlier_detection
        names = {"connections": pool.max_connections, "waiting": pool.max_pending_requests, "requests": pool.max_requests}
        held = [f"{name} {limit}" for name, limit in (names | {"retries": pool.max_retries}).items() if limit < UNLIMITED]
        ejects = (
            f"ejects after {outlier.consecutive_5xx} 5xx in a row, at most {outlier.max_ejection_percent} %" if outlier else "ejects nobody"
        )
        lines.append(f"{cluster.name}: {cluster.load_balancing}, at most {', '.join(held) or 'anything'}; {ejects}")
    return lines


def _beside(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    picture = _shown(charts.of_comparison(comparison))
    parts = {"name": comparison.name, "loads": comparison.loads, "notes": comparison.notes}
    return {**parts, "picture": picture, "table": Markup(comparison.table("html"))}


def _tornado(findings: Findings, which: int) -> Markup:
    bars = [moved.bars[which] for moved in findings.moved]
    base = figure(findings.replay, ("p99", "errors")[which])
    widest = sorted(bars, key=lambda bar: -max(abs(bar[1] - base), abs(bar[2] - base)))[:BARS]
    title = ("99th percentile of latency", "share of errors")[which]
    return _shown(charts.tornado(widest, base, title, percent=bool(which))) if bars else Markup("")


def _moves_table(moved: list[Moved]) -> str:
    from tabulate import tabulate

    rows = [
        (m.number.label, m.number.says(m.number.value), said, f"{1000 * p99:.1f} ms", f"{100 * wrong:.3f} %")
        for m in moved
        for said, p99, wrong in zip(map(m.number.says, m.values), m.p99, m.errors, strict=True)
    ]
    return tabulate(rows, ("number of the rules", "now", "moved to", "p99", "errors"), tablefmt="html", disable_numparse=True)
