"""The experiments by name: what was applied, what load was put on, what came back.

    catalogue.names()                                  the tutorial's
    experiment = catalogue.experiment("lb-least-conn")
    experiment.compare(experiment.replay())            model beside record
    catalogue.envoy_trace("lb-least-conn")             what the real Envoy did, attempt by attempt: for the theatre

What an experiment is: `experiments`; what the real Envoy did with it: `records`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from meshmodel.evidence import experiments, records
from meshmodel.evidence.experiments import Experiment
from meshmodel.results.fortio import Histogram

if TYPE_CHECKING:
    from meshmodel.results.trace import Trace


class UnknownExperiment(ValueError):
    """No experiment has that name; the message names the nearest."""


def names() -> list[str]:
    """The tutorial's experiments, in its order."""
    return list(experiments.tutorial())


def experiment(name: str) -> Experiment:
    """The experiment of that name: the tutorial's, or one of those that only the real Envoy played (data/envoy).

    Raises
    ------
    UnknownExperiment : naming the nearest that there is.
    """
    known = experiments.tutorial() if name in experiments.tutorial() else experiments.everything()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UnknownExperiment(f"no experiment {name!r}{f', did you mean {near[0]}?' if near else ''} (meshmodel list shows them)")
    return known[name]


def envoy_records(name: str) -> list[Histogram] | None:
    """fortio's histogram of each repetition on our own real Envoy (data/envoy/NAME.json); None: there is no record.

    `records.read` has all that was recorded: codes, endpoints, attempts, counters, ejections.
    """
    runs = records.read(name)
    return [Histogram.from_json(run["fortio"], f"{name}.json") for run in runs] if runs else None


def envoy_trace(name: str) -> Trace:
    """A run of an experiment on our own real Envoy, attempt by attempt (data/envoy/traces/NAME.json), as `Replay.trace` gives the model's.

    Raises
    ------
    meshmodel.evidence.traces.UnknownTrace : of this one no trace was kept; naming those that were.
    """
    from meshmodel.evidence import traces  # loaded when it is first asked, with pandas: looking at experiments starts fast

    return traces.read(name)
