"""Console of chapter 0: how fortio bins and interpolates."""

from __future__ import annotations

from functools import lru_cache
from html import escape

import numpy as np

from meshmodel.evidence import catalogue
from meshmodel.results.fortio import Histogram
from meshmodel.teaching.consoles.console import Console
from meshmodel.teaching.consoles.controls import Choice, Control, Result, Settings, Slider
from meshmodel.teaching.microscope import bucket_of, microscope, share_below

RUNS = {"ROUND_ROBIN": "lb-round-robin", "LEAST_CONN": "lb-least-conn"}
BINS = {"as recorded (0.1 ms)": 0.0001, "the command line's (1 ms)": 0.001}


def fortio_microscope() -> Console:
    """The tutorial's two records, one percentile at a time."""
    bins = list(BINS)
    controls: list[Control] = [
        Slider("percent", "percentile", 50, least=1, most=99.5, step=0.5, unit="%"),
        Choice("run", "the tutorial's run", "ROUND_ROBIN", list(RUNS)),
        Choice("bins", "buckets", bins[0], bins),
    ]
    presets = {f"p{p}": {"percent": p} for p in (50, 75, 90, 99)}
    return Console(
        "The fortio microscope: why is the median 0.189 and not 0.165?", controls, work, presets=presets,
        tutorial={"bins": bins[0]}, replications=None,
    )  # fmt: skip


def work(s: Settings, _: int = 1) -> Result:
    """One percentile of a record (or, in finer buckets, of the model's run) and the dots that may lie behind it."""
    latencies = _latencies(RUNS[s.run])
    recorded = s.bins == next(iter(BINS))
    record = catalogue.experiment(RUNS[s.run]).record if recorded else Histogram.from_samples(latencies, resolution=BINS[s.bins])
    assert isinstance(record, Histogram)
    read, true = float(record.percentile(s.percent)), share_below(latencies, s.percent)
    return Result(
        figure=lambda width: microscope(record, latencies, s.percent, width=width),
        status=f"The {s.percent:g}th percentile: fortio prints {read:.3f} s, and the model's requests have theirs at {true:.3f} s",
        table=highlighted(record, s.percent),
        beside=f"the tutorial's run of {s.run}" if recorded else "the model's run, as the tutorial shows none in these buckets",
        data=(read, true),
    )


def highlighted(record: Histogram, percent: float) -> str:
    """fortio's text with the bucket of a percentile marked, and the line of that percentile where there is one."""
    lines = record.to_text().splitlines()
    marked = {2 + bucket_of(record, percent)} | {k for k, line in enumerate(lines) if line.startswith(f"# target {percent:g}%")}
    return "<pre>" + "\n".join(f"<mark>{escape(line)}</mark>" if k in marked else escape(line) for k, line in enumerate(lines)) + "</pre>"


@lru_cache(maxsize=2)
def _latencies(experiment: str) -> np.ndarray:
    """Seconds of every request of one run of the model, to the last digit."""
    return catalogue.experiment(experiment).replay(replications=1, seed=1).requests_table(0)["latency"].to_numpy()
