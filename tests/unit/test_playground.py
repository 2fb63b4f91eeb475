"""The playground: what each move comes to.  The replays are made by hand: no engine runs here, and no browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshmodel.mesh import Mesh
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Replay
from meshmodel.scenario import ClosedLoop
from meshmodel.teaching import playground as ground
from meshmodel.teaching.consoles import Console

from .synthetic import replay

CASES = Path(__file__).parents[1] / "cases"
SHOP = CASES.parents[1] / "data" / "course" / "shop.yaml"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: checkout}
spec:
  host: checkout
  trafficPolicy:
    connectionPool:
      http: {http2MaxRequests: 9}
"""


@pytest.fixture
def meshes(monkeypatch: pytest.MonkeyPatch) -> list[Mesh]:
    """The meshes that were put under load, in order; the errors go with the limit."""
    seen: list[Mesh] = []

    def by_hand(mesh: Mesh, _: Any, settings: Any, replications: int) -> Replay:
        seen.append(mesh)
        pool = mesh.scenario(ClosedLoop(calls=1), "checkout").routes[0].clusters[0].connection_pool
        return replay(3, seed=settings.seed, duration=2.0, p_error=0.1 if pool.max_requests < 10 else 0.0)

    monkeypatch.setattr(ground, "simulated", by_hand)
    monkeypatch.setattr(ground, "reasons", lambda _: ["because <of> it"])
    return seen


@pytest.fixture
def console(meshes: list[Mesh], tmp_path: Path) -> Console:
    return ground.playground(Mesh(overhead="2ms"), SHOP, RULE, target="checkout", connections=12, folder=tmp_path)


def limit(mesh: Mesh) -> int:
    return mesh.scenario(ClosedLoop(calls=1), "checkout").routes[0].clusters[0].connection_pool.max_requests


def test_every_number_of_the_rules_has_a_slider_and_every_pod_can_break(console: Console) -> None:
    slider: Any = console.controls["n0"]
    assert slider.label == "checkout: http2MaxRequests" and 9 in slider.stops and max(slider.stops) == 72 and "n1" not in console.controls
    broken: Any = console.controls["broken"]
    assert broken.options == (ground.WELL, "payments-v1-1", "payments-v1-2", "payments-v2-1")
    assert "fail" in console.result.status and "because &lt;of&gt; it" in console.result.table and "overhead: 2 ms" in console.result.table


def test_a_moved_slider_wins_over_the_text_and_one_at_rest_does_not(console: Console, meshes: list[Mesh]) -> None:
    console.set(n0=18)
    assert limit(meshes[-1]) == 18 and console.result.status.startswith("0.00 %") and "http2MaxRequests: 18" in console.result.yaml
    console.set(n0=9, yaml=console.settings.yaml.replace("http2MaxRequests: 9", "http2MaxRequests: 12"))
    assert limit(meshes[-1]) == 12


def test_an_error_is_said_at_its_line_and_the_first_mesh_is_shown(console: Console) -> None:
    text = console.settings.yaml.replace("http2MaxRequests: 9", "http2MaxRequest: 9")
    line = next(number for number, each in enumerate(text.splitlines(), start=1) if "http2MaxRequest:" in each)
    ((at, kind, words),) = console.set(yaml=text).marks["yaml"]
    assert (at, kind) == (line, "error") and "http2MaxRequest" in words and "as it was at first" in console.result.status
    assert console.set(yaml="{").marks["yaml"][0][1] == "error"
    assert console.error is None


def test_warnings_are_said_at_their_lines(console: Console) -> None:
    marks = console.result.marks["yaml"]
    lines = console.settings.yaml.splitlines()
    assert marks and all(kind == "warning" for _, kind, _ in marks)
    assert any("http2MaxRequests" in lines[at - 1] for at, _, words in marks if at and "http2MaxRequests" in words)


@pytest.mark.parametrize("record", ["text", "json", "none"])
def test_a_record_stands_beside_the_model(console: Console, record: str) -> None:
    plain = (CASES / "fortio-text-errors-section" / "record.txt").read_text(encoding="utf-8")
    dropped = {"text": plain, "json": (CASES / "fortio-json-fine-resolution" / "record.json").read_text(encoding="utf-8"), "none": "hello"}[
        record
    ]
    console.set(record=dropped)
    assert bool(console.result.marks.get("record")) is (record == "none")
    console.set(view="codes")
    assert ("recorded" in console.picture.alt_text) is (record != "none")


def test_a_and_b_get_the_same_load(console: Console, meshes: list[Mesh]) -> None:
    before = len(meshes)
    console.set(view="A beside B", n0=18)
    assert {limit(mesh) for mesh in meshes[before:]} == {9, 18} and "Changes from A to B" in console.picture.alt_text


@pytest.mark.parametrize(("how", "failure"), [("hang", "hang"), ("refused", "refused"), ("503", "none")])
def test_a_pod_breaks_at_once_or_later(console: Console, meshes: list[Mesh], how: str, failure: str) -> None:
    console.set(broken="payments-v1-1", how=how, at=0, view="over time")
    pods = {pod.name: pod.behaviour for pod in meshes[-1].scenario(ClosedLoop(calls=1), "checkout").endpoints}
    assert pods["payments-v1-1"].failure == failure and (failure != "none" or pods["payments-v1-1"].error_code == 503)
    assert pods["payments-v1-2"].failure == "none"
    console.set(at=3)
    (change,) = meshes[-1].scenario(ClosedLoop(calls=1), "checkout").changes
    assert change.at == 3 and "Answers over" in console.picture.alt_text


def test_records_are_read_as_text_or_json() -> None:
    made = Histogram.from_samples([0.01, 0.02])
    read, complaint = ground._record(made.to_text())
    assert read is not None and read.to_text() == made.to_text() and not complaint and ground._record("") == (None, "")
    assert ground._record("{")[1] and ground._record("[1]")[1] and ground._record('{"a": 1}')[1]
