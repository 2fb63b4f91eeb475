"""Numbers of the rules moved, objectives, the map and the page.  Replays are made by hand: no engine runs here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from meshmodel.__main__ import VERBS
from meshmodel._flags import parsers
from meshmodel._text import InputError
from meshmodel.commands import report
from meshmodel.mesh import Mesh
from meshmodel.results.replay import Replay
from meshmodel.scenario import UNLIMITED, ClosedLoop
from meshmodel.teaching import charts
from meshmodel.teaching.report import Findings, headlines, page
from meshmodel.teaching.traffic_map import WIDE, flows, traffic_map
from meshmodel.whatif.numbers import numbers, with_numbers
from meshmodel.whatif.objective import objective, sought
from meshmodel.whatif.study import sensitivities

from .synthetic import replay
from .traces import tree

SHOP = Path(__file__).parents[2] / "data" / "course" / "shop.yaml"
RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments}
spec:
  host: payments
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 10}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 8}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 1m30s, maxEjectionPercent: 34}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec:
  hosts: [payments]
  http: [{timeout: 2s, retries: {attempts: 2, perTryTimeout: 500ms}, route: [{destination: {host: payments}}]}]
"""


@pytest.fixture
def mesh() -> Mesh:
    return Mesh(overhead="2ms").apply(SHOP, RULES)


def of(mesh: Mesh, field: str) -> Any:
    return next(number for number in numbers(mesh) if number.field == field)


def test_every_number_of_the_rules_is_found(mesh: Mesh) -> None:
    found = {number.field: number.value for number in numbers(mesh)}
    assert found == {
        "maxConnections": 10, "http1MaxPendingRequests": 1, "http2MaxRequests": 8, "consecutive5xxErrors": 5, "interval": 10,
        "baseEjectionTime": 90, "maxEjectionPercent": 34, "timeout": 2, "attempts": 2, "perTryTimeout": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "factor", "value", "said"),
    [
        ("timeout", 0.5, 1, "1s"),
        ("perTryTimeout", 0.5, 0.25, "250ms"),
        ("http1MaxPendingRequests", 0.5, 1, "1"),
        ("http1MaxPendingRequests", 1.2, 2, "2"),
        ("attempts", 0.1, 0, "0"),
        ("maxEjectionPercent", 8, 100, "100"),
        ("http2MaxRequests", 4, 32, "32"),
    ],
)
def test_a_number_is_moved_within_its_bounds(mesh: Mesh, field: str, factor: float, value: float, said: str) -> None:
    number = of(mesh, field)
    assert number.times(factor) == pytest.approx(value) and number.says(number.times(factor)) == said


def test_a_moved_number_reaches_the_scenario_and_leaves_the_mesh_alone(mesh: Mesh) -> None:
    moved = with_numbers(mesh, {of(mesh, "http2MaxRequests"): 3, of(mesh, "timeout"): 0.25, of(mesh, "maxConnections"): None})
    route, before = (each.scenario(ClosedLoop(calls=1), "payments").routes[-1] for each in (moved, mesh))
    pool = route.clusters[0].connection_pool
    assert (pool.max_requests, pool.max_connections, route.timeout) == (3, UNLIMITED, 0.25)
    assert before.clusters[0].connection_pool.max_requests == 8 and before.timeout == 2


# --- objectives -------------------------------------------------------------------------------


def test_an_objective_is_read() -> None:
    assert [(c.figure, c.limit) for c in objective("p99<300ms, errors<0.1%,avg<=1.5s,p99.9<1m")] == [
        ("p99", 0.3), ("errors", pytest.approx(0.001)), ("avg", 1.5), ("p99.9", 60.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "p99", "p99<300", "errors<1s", "p99<5%", "p99>300ms", "fast", "p99<300ms,", "errors<1..2%", "p99<" + "1" * 300]
)
def test_what_is_no_objective_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="--slo") as caught:
        objective(text)
    assert "\n" not in str(caught.value)


class ByHand:
    """A study whose replays are made by hand: errors while the limit of requests is below 12, slow where a try may take long."""

    load, target, locality = ClosedLoop(connections=12, duration=5.0), "payments", None

    def __init__(self, limit: int = 12) -> None:
        self.limit, self.asked = limit, []  # type: ignore[var-annotated]

    def run(self, mesh: Mesh, what: str = "as it is") -> Replay:
        self.asked.append(what)
        pool = mesh.scenario(self.load, self.target).routes[-1].clusters[0].connection_pool
        return replay(3, seed=1, duration=5.0, p_error=0.025 if pool.max_requests < self.limit else 0.0, p_slow=0.0)


def test_the_least_change_that_is_enough_is_found(mesh: Mesh) -> None:
    study: Any = ByHand()
    found = sought(mesh, study, study.run(mesh), objective("errors<0.1%"))
    assert found.met and [change.words for change in found.changes] == ["DestinationRule payments: http2MaxRequests 8 -> 16"]
    (manifest,) = found.manifests
    assert yaml.safe_load(yaml.safe_dump(dict(manifest)))["spec"]["trafficPolicy"]["connectionPool"]["http"]["http2MaxRequests"] == 16
    assert found.says() == ["errors<0.1%: 0 %, met"] and found.tried > 20


def test_an_objective_that_is_met_changes_nothing_and_one_that_cannot_be_says_so(mesh: Mesh) -> None:
    study: Any = ByHand(limit=1)
    base = study.run(mesh)
    assert sought(mesh, study, base, objective("errors<0.1%")).met and len(study.asked) == 1
    never = sought(mesh, study, base, objective("p99<1ms"))
    assert not never.met and not never.changes and "NOT met" in never.says()[0]


def test_each_number_is_moved_down_and_up(mesh: Mesh) -> None:
    study: Any = ByHand(limit=5)
    moved = {each.number.field: each for each in sensitivities(mesh, study, study.run(mesh))}
    assert moved.keys() == {number.field for number in numbers(mesh)}
    assert moved["http2MaxRequests"].values == (4, 16) and moved["http2MaxRequests"].errors == (pytest.approx(0.025, abs=0.02), 0.0)
    assert moved["http1MaxPendingRequests"].values == (1, 2) and moved["timeout"].errors == (0.0, 0.0)
    picture = charts.tornado([each.bars[1] for each in moved.values()], 0.0, "share of errors", percent=True)
    assert "http2MaxRequests" in picture.alt_text and picture.png().startswith(b"\x89PNG")


# --- the map and the page ---------------------------------------------------------------------


def test_the_map_shows_every_pod_and_its_errors() -> None:
    made = replay(5, seed=1, duration=5.0, p_error=0.1)
    ends = flows(made)
    assert sum(flow.share for flow in ends) == pytest.approx(1) and all(0.02 < flow.errors < 0.3 for flow in ends)
    svg = traffic_map(made)
    assert all(name in svg for name in made.pod_names) and 'role="img" aria-label="Traffic map: load → ' in svg
    most, failed = max(flow.share for flow in ends), float((made.log.code >= 400).sum() / made.requests.sum())
    assert re.fullmatch(r"simple-backend-\S+ answers .* of all fail", title := re.findall(r"<p [^>]*>(.*)</p>", svg)[0])
    assert f"answers {100 * most:.1f} % of the calls, {100 * failed:.1f} % of all fail" in title
    boxes = re.findall(r"<rect [^>]*>", svg)
    assert boxes and all("fill:none" in box for box in boxes) and "class=" not in svg  # it brings its own look to any page


def test_calls_beside_the_way_are_boxes_with_arrows_in_their_order() -> None:
    """web calls cart, which calls db, and then backend: no word says it, and no box lies on another or beyond the map."""
    made = replay(5, seed=1, duration=5.0)
    made.scenario = dataclasses.replace(made.scenario, routes=tree().routes)
    svg = traffic_map(made)
    names = re.findall(r"</title>([^<]*)</text>", svg)
    assert names[:5] == ["load", "web", "\N{CIRCLED DIGIT ONE} cart", "\N{CIRCLED DIGIT TWO} backend", "db"]
    boxes = [tuple(map(float, box)) for box in re.findall(r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="(\d+)"', svg)]
    spots = dict(zip(names, boxes[:5], strict=False))
    assert spots["web"][1] == spots[names[3]][1] < spots[names[2]][1] == spots["db"][1] and spots[names[2]][0] == spots[names[3]][0]
    assert all(x >= 0 and x + wide <= WIDE for x, _, wide, _ in boxes)
    assert not [1 for a, b in combinations(boxes, 2) if a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and abs(a[1] - b[1]) < a[3]]
    arrows = re.findall(r'<path d="(M[^"]*)m-5', svg)
    assert len(arrows) == 4 and sum("V" in way for way in arrows) == 1


@pytest.mark.parametrize(
    ("record", "flags", "assumed"), [("", "", True), ("connections", "", False), ("", "-c 3", False), (None, "", False)]
)
def test_a_report_says_first_whose_load_it_assumes(record: str | None, flags: str, assumed: bool) -> None:
    args = parsers(dict[str, Any](VERBS))[1]["report"].parse_args(["mesh.yaml", "-X", "POST", *flags.split()])
    seen = None if record is None else SimpleNamespace(load={"connections": 7, "qps": 70.0, "calls": 70} if record else {})
    load = report._load(args, seen)
    said = report._assumed(args, seen, load)
    assert load.connections == (7 if record else 3 if flags else 10) and load.request.method == "POST"
    assert bool(said) is assumed and (not said or "10 connections" in said)
    findings = Findings(replay(2, seed=1), None, [], None, [], said)
    assert (headlines(findings)[0]["text"] == said) is assumed


def test_the_page_stands_alone_and_tells_all(mesh: Mesh) -> None:
    from meshmodel.results.compare import compare
    from meshmodel.results.fortio import Histogram

    study: Any = ByHand()
    base = study.run(mesh)
    latencies = base.log.latency[:, 0]
    latencies = latencies[latencies == latencies]
    record = Histogram.from_samples(latencies, 0.0001, codes={200: len(latencies) - 5, 503: 5})
    answer = sought(mesh, study, base, objective("errors<0.1%"))
    comparison: Any = compare(base, record)
    html = page(
        mesh, Findings(base, comparison, sensitivities(mesh, study, base), answer, ["25 of 1,000: <refused>"]), "A <shop>", "errors<0.1%"
    )
    for part in (
        "overhead: 2 ms",
        "A &lt;shop&gt;",
        "&lt;refused&gt;",
        "http2MaxRequests 8 -&gt; 16",
        "http2MaxRequests: 16",
        "503",
        "The record:",
    ):
        assert part in html, part
    assert "http://" not in html.replace("http://www.w3.org", "") and 'src="data:image/png' in html and "<script" not in html


def test_lines_of_warnings() -> None:
    from meshmodel.teaching.playground import said_at, warnings_at

    warning = SimpleNamespace(resource="DestinationRule payments", field="spec.trafficPolicy.connectionPool.http.http2MaxRequests")
    said: Callable[[Any], Any] = lambda text: warnings_at(SimpleNamespace(warnings=[warning]), text)  # type: ignore[arg-type]  # noqa: E731
    pool = "spec:\n  trafficPolicy:\n    connectionPool:\n      http:\n        http2MaxRequests: 1\n"
    text = f"kind: DestinationRule\nmetadata:\n  name: payments\n{pool}"
    assert said(text)[0][:2] == (8, "warning") and said("kind: Service\nmetadata: {name: payments}\n")[0][0] == 0
    assert said_at("x.yaml line 12: nonsense: b") == (12, "error", "nonsense: b") and said_at("non: sense") == (0, "error", "non: sense")
