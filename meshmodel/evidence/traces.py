"""Runs of a real Envoy, attempt by attempt: recorded once (`make traces`), and read again beside the model's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from meshmodel import _files
from meshmodel._data import data_path
from meshmodel._text import nearest
from meshmodel.evidence.experiments import everything, traced
from meshmodel.results.trace import Trace


class UnknownTrace(ValueError):
    """No trace of that name was recorded; the message names those that were."""


def names() -> list[str]:
    """The experiments of which a trace was recorded."""
    return [name for name in traced() if _path(name).exists()]


def read(name: str) -> Trace:
    """The recorded trace of an experiment.  Raises UnknownTrace."""
    if name not in names():
        near = nearest(name, names())
        raise UnknownTrace(f"no trace of {name!r}{f', did you mean {near}?' if near else ''} (there are {', '.join(names())})")
    return Trace.from_json(_path(name))


def record(wanted: Iterable[str] | None = None, folder: Path | None = None) -> None:
    """Play experiments (None: all that experiments.yaml names) on a real Envoy, and store their traces in data/envoy/traces."""
    from meshmodel.envoy.engine import measure  # reading needs no Envoy

    for name in wanted or traced():
        scenario = everything()[name].scenario(overhead=0)
        if (seconds := traced()[name]) is not None:
            scenario = replace(scenario, workload=replace(scenario.workload, duration=seconds))  # type: ignore[arg-type]  # a closed loop
        replay = measure(scenario)
        told = {"experiment": name, "provenance": replay.provenance, **replay.trace(0).to_json()}
        _files.write((folder or _path(name).parent) / f"{name}.json", json.dumps(told, separators=(",", ":"), allow_nan=False) + "\n")
        print(replay.trace(0), name, flush=True)


def _path(name: str) -> Path:
    return data_path("envoy", "traces") / f"{name}.json"
