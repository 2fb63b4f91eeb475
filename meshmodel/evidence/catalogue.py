"""The experiments by name: what was applied, what load was put on, what came back.

    catalogue.names()                                  the tutorial's
    experiment = catalogue.experiment("lb-least-conn")
    experiment.compare(experiment.replay())            model beside record

What an experiment is: `experiments`; what the real Envoy did with it: `records`.
"""

from __future__ import annotations

import difflib

from meshmodel.evidence import experiments, records
from meshmodel.evidence.experiments import Experiment
from meshmodel.results.fortio import Histogram


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
