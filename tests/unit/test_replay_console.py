"""The replay console without a browser."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from meshmodel.mesh import Mesh
from meshmodel.teaching.consoles import replay
from meshmodel.teaching.consoles.replay import ON_ENVOY, replay_console
from tests.patience import PATIENCE, eventually

DATA = Path(__file__).parents[2] / "data/tutorial"
SMALL = {"duration": 10, "connections": 4}


@pytest.fixture
def mesh():
    return Mesh(overhead=0.01).apply(
        DATA / "manifests/testbed.yaml", DATA / "manifests/slow-backend-1.yaml", DATA / "manifests/dr-random.yaml"
    )


@pytest.fixture
def console(mesh):
    return replay_console(mesh, DATA / "round-robin.txt", **SMALL)


def test_the_controls_start_at_the_meshs_values(console):
    assert vars(console.settings) == {"policy": "RANDOM", "delay": 1.0, "replicas": 2, "connections": 4, "duration": 10, "seed": 1}


def test_a_move_shows_what_kubectl_apply_and_fortio_would_have(console, mesh):
    result = console.set(delay=0.5, replicas=4, policy="LEAST_REQUEST")
    slow, others, rule = (
        mesh.get(*key)
        for key in (("Deployment", "simple-backend-1"), ("Deployment", "simple-backend-2"), ("DestinationRule", "simple-backend-dr"))
    )
    environment = slow["spec"]["template"]["spec"]["containers"][0]["env"]
    next(v for v in environment if v["name"] == "TIMING_50_PERCENTILE")["value"] = "500ms"
    others["spec"]["replicas"] = 4
    rule["spec"]["trafficPolicy"]["loadBalancer"]["simple"] = "LEAST_REQUEST"
    direct = mesh.copy().apply(slow, others, rule).fortio_load(connections=4, duration=10.0, replications=200, seed=1)
    assert result.data.outcome.values("avg").tolist() == direct.values("avg").tolist()
    assert result.data["count"].recorded == 1366 and result.beside == "round-robin"
    assert f"count {direct.requests[0]} " in result.text and "round-robin" in result.table
    pasted = mesh.copy().apply(result.yaml).fortio_load(connections=4, duration=10.0, replications=200, seed=1)
    assert pasted.values("avg").tolist() == direct.values("avg").tolist()


def test_the_students_own_mesh_is_left_alone(console, mesh):
    console.set(delay=0.3, policy="ROUND_ROBIN")
    assert mesh.get("DestinationRule", "simple-backend-dr")["spec"]["trafficPolicy"] == {"loadBalancer": {"simple": "RANDOM"}}
    assert '"1000ms"' in str(mesh.get("Deployment", "simple-backend-1")).replace("'", '"')


def test_what_else_the_destination_rule_holds_is_kept(mesh):
    rule = mesh.get("DestinationRule", "simple-backend-dr")
    rule["spec"]["trafficPolicy"]["connectionPool"] = {"http": {"maxRetries": 3}}
    console = replay_console(mesh.apply(rule), **SMALL)
    kept = mesh.copy().apply(console.set(policy="ROUND_ROBIN").yaml).get("DestinationRule", "simple-backend-dr")["spec"]["trafficPolicy"]
    assert kept == {"connectionPool": {"http": {"maxRetries": 3}}, "loadBalancer": {"simple": "ROUND_ROBIN"}}


def test_without_rule_or_record_it_shows_istios_default_and_the_model_alone(mesh):
    console = replay_console(mesh.delete("DestinationRule", "simple-backend-dr"), **SMALL)
    assert console.settings.policy == "LEAST_REQUEST" and console.result.beside == ""
    assert "answered by simple-backend-1" in console.result.table


# --- the real Envoy, played by a function ---------------------------------------------------


def test_a_real_run_becomes_the_record_until_a_control_moves(mesh, monkeypatch):
    monkeypatch.setattr(replay, "envoy_binary", lambda: Path("/envoy"))
    seen = []

    def measure(self, connections, qps, duration, progress, cancel):
        seen.append((connections, qps, duration, cancel.is_set()))
        progress(0.5)
        return self.fortio_load(connections=connections, qps=qps, duration=duration, replications=1, seed=9)

    monkeypatch.setattr(Mesh, "measure", measure)
    console = replay_console(mesh, DATA / "round-robin.txt", **SMALL)
    assert console.act(ON_ENVOY).beside == "real Envoy" and seen == [(4, 1000, 10.0, False)]
    assert console.set(delay=0.8).beside == "round-robin"


def test_a_real_run_is_cancelled(mesh, monkeypatch):
    monkeypatch.setattr(replay, "envoy_binary", lambda: Path("/envoy"))
    started = threading.Event()

    def measure(self, cancel, **_):
        started.set()
        assert cancel.wait(PATIENCE)
        raise ValueError("cancelled")

    monkeypatch.setattr(Mesh, "measure", measure)
    console = replay_console(mesh, DATA / "round-robin.txt", **SMALL)
    console.view.asked = {"number": 1, "act": ON_ENVOY}
    assert started.wait(PATIENCE)
    console.view.asked = {"number": 2, "act": "cancel"}
    eventually(lambda: "was" not in console.view.shown["status"] and "cancelled" in console.view.shown["status"])
    assert console.error is None and console.result.beside == "round-robin"


def test_without_an_envoy_the_button_is_off_and_a_line_says_why(mesh, monkeypatch):
    monkeypatch.setattr(replay, "envoy_binary", lambda: None)
    assert "meshmodel[envoy]" in replay_console(mesh, **SMALL).view.spec["actions"][0]["missing"]
