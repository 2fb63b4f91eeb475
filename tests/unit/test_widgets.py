"""The replay console without a browser: its widgets are moved from Python (tests/browser moves them by keyboard)."""

from __future__ import annotations

import threading
from pathlib import Path

import ipywidgets
import pytest

from meshmodel.mesh import Mesh
from meshmodel.teaching import widgets
from meshmodel.teaching.widgets import replay_console
from tests.patience import PATIENCE

DATA = Path(__file__).parents[2] / "data/tutorial"
SMALL = {"duration": 10, "replications": 50, "connections": 4}


@pytest.fixture
def mesh():
    return Mesh(overhead=0.01).apply(
        DATA / "manifests/testbed.yaml", DATA / "manifests/slow-backend-1.yaml", DATA / "manifests/dr-random.yaml"
    )


@pytest.fixture
def console(mesh):
    return replay_console(mesh, DATA / "round-robin.txt", **SMALL)


def every_widget(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from every_widget(child)


def test_the_sliders_start_at_the_meshs_values(console):
    shown = {c.description: c.value for c in console.controls}
    assert shown == {
        "policy": "RANDOM",
        "delay (s)": 1.0,
        "replicas": 2,
        "connections": 4,
        "duration (s)": 10,
        "replications": 50,
        "seed": 1,
    }


def test_a_move_shows_what_kubectl_apply_and_fortio_would_have(console, mesh):
    before = console.figure.value
    console.delay.value, console.replicas.value, console.policy.value = 0.5, 4, "LEAST_REQUEST"
    slow, others, rule = (
        mesh.get(*key)
        for key in (("Deployment", "simple-backend-1"), ("Deployment", "simple-backend-2"), ("DestinationRule", "simple-backend-dr"))
    )
    environment = slow["spec"]["template"]["spec"]["containers"][0]["env"]
    next(v for v in environment if v["name"] == "TIMING_50_PERCENTILE")["value"] = "500ms"
    others["spec"]["replicas"] = 4
    rule["spec"]["trafficPolicy"]["loadBalancer"]["simple"] = "LEAST_REQUEST"
    direct = mesh.copy().apply(slow, others, rule).fortio_load(connections=4, duration=10.0, replications=50, seed=1)
    assert console.replay.values("avg").tolist() == direct.values("avg").tolist()
    assert console.comparison["count"].recorded == 1366
    assert console.figure.value != before and console.error is None
    assert f"count {direct.requests[0]} " in console.text.value and "round-robin" in console.table.value


def test_the_students_own_mesh_is_left_alone(console, mesh):
    console.delay.value, console.policy.value = 0.3, "ROUND_ROBIN"
    assert mesh.get("DestinationRule", "simple-backend-dr")["spec"]["trafficPolicy"] == {"loadBalancer": {"simple": "RANDOM"}}
    assert '"1000ms"' in str(mesh.get("Deployment", "simple-backend-1")).replace("'", '"')


def test_what_else_the_destination_rule_holds_is_kept(mesh):
    rule = mesh.get("DestinationRule", "simple-backend-dr")
    rule["spec"]["trafficPolicy"]["connectionPool"] = {"http": {"maxRetries": 3}}
    console = replay_console(mesh.apply(rule), **SMALL)
    console.policy.value = "ROUND_ROBIN"
    kept = console.mesh.get("DestinationRule", "simple-backend-dr")["spec"]["trafficPolicy"]
    assert kept == {"connectionPool": {"http": {"maxRetries": 3}}, "loadBalancer": {"simple": "ROUND_ROBIN"}}


def test_without_rule_or_record_it_shows_istios_default_and_the_model_alone(mesh):
    console = replay_console(mesh.delete("DestinationRule", "simple-backend-dr"), **SMALL)
    assert console.policy.value == "LEAST_REQUEST" and console.comparison is None
    assert "answered by simple-backend-1" in console.table.value


def test_a_slider_redraws_when_let_go_and_has_a_name(console):
    for control in console.controls:
        assert control.description and control.tooltip
        assert not getattr(control, "continuous_update", False)


def test_no_output_widget_and_an_image_with_its_accessible_name(console):
    assert not any(isinstance(w, ipywidgets.Output) for w in every_widget(console.view))
    assert console.figure.value.startswith('<div role="img" aria-label="Latency histogram of 50 replications')
    assert repr(console) == f"Replay console, RANDOM: {console.picture.alt_text}"
    assert console._repr_mimebundle_()["text/plain"] == repr(console)


def test_the_static_twin_is_the_same_picture(console):
    data, _ = console.static()._repr_mimebundle_()
    assert data["text/plain"] == console.picture.alt_text and len(data["text/html"]) < 120_000


@pytest.mark.parametrize("problem, line", [(ValueError("qps: too low"), "qps: too low"), (KeyError("pod"), "KeyError: &#x27;pod&#x27;")])
def test_an_exception_in_a_callback_is_one_line_in_the_console_and_is_raised(console, monkeypatch, problem, line):
    def fails(**_):
        raise problem

    monkeypatch.setattr(console.mesh, "fortio_load", fails)
    with pytest.raises(type(problem)):
        console.seed.value = 2
    assert console.message.value == f'<div role="alert">{line}</div>' and console.error is problem
    monkeypatch.undo()
    console.seed.value = 3
    assert console.error is None and "alert" not in console.message.value


# --- the real Envoy, played by a function ---------------------------------------------------


@pytest.fixture
def with_envoy(monkeypatch):
    monkeypatch.setattr(widgets, "envoy_binary", lambda: Path("/envoy"))


def finish(console):
    console._thread.join(PATIENCE)
    assert not console._thread.is_alive()


def test_a_real_run_becomes_the_record_until_a_slider_moves(with_envoy, console, monkeypatch):
    seen = []

    def measure(connections, qps, duration, progress, cancel):
        seen.append((connections, qps, duration, cancel.is_set()))
        progress(0.5)
        seen.append(console.progress.value)
        return console.mesh.fortio_load(connections=connections, qps=qps, duration=duration, replications=1, seed=9)

    monkeypatch.setattr(console.mesh, "measure", measure)
    console.run_button.click()
    finish(console)
    assert seen == [(4, 1000, 10.0, False), 0.5] and console.progress.value == 1.0
    assert console.comparison.name == "real Envoy" and "real Envoy" in console.table.value
    assert not console.run_button.disabled and console.cancel_button.disabled
    console.delay.value = 0.8
    assert console.comparison.name == "round-robin"


@pytest.mark.parametrize("how", ["button", "slider"])
def test_a_real_run_can_be_cancelled(with_envoy, console, monkeypatch, how):
    started = threading.Event()

    def measure(cancel, **_):
        started.set()
        assert cancel.wait(PATIENCE)
        raise ValueError("cancelled")

    monkeypatch.setattr(console.mesh, "measure", measure)
    console.run_button.click()
    assert started.wait(PATIENCE) and console.run_button.disabled and not console.cancel_button.disabled
    if how == "button":
        console.cancel_button.click()
    else:
        console.seed.value = 5
    finish(console)
    assert ("was cancelled" if how == "button" else "joint p-value") in console.message.value
    assert console.error is None and not console.run_button.disabled and console.cancel_button.disabled
    assert console.comparison.name == "round-robin"


def test_an_envoy_that_fails_says_so(with_envoy, console, monkeypatch):
    def measure(**_):
        raise ValueError("envoy: port 10000 is busy")

    monkeypatch.setattr(console.mesh, "measure", measure)
    console.run_button.click()
    finish(console)
    assert "port 10000 is busy" in console.message.value and 'role="alert"' in console.message.value
    assert isinstance(console.error, ValueError) and not console.run_button.disabled


def test_without_an_envoy_the_button_is_off_and_a_line_says_why(mesh, monkeypatch):
    monkeypatch.setattr(widgets, "envoy_binary", lambda: None)
    console = replay_console(mesh, **SMALL)
    assert console.run_button.disabled and "meshmodel[envoy]" in console.message.value
    console.seed.value = 4
    assert "meshmodel[envoy]" in console.message.value
