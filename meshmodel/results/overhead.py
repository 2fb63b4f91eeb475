"""The overhead of a mesh, what a request spends outside the pods: where it came from, in words and in a file.

`meshmodel calibrate RECORD FILES -o overhead.json` writes it, `--overhead overhead.json` and `Mesh(overhead="overhead.json")` read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from meshmodel import _files
from meshmodel._text import InputError, shortened, visible
from meshmodel.results import json_source
from meshmodel.results.json_source import Fields
from meshmodel.scenario import ClosedLoop, Constant, Distribution, Workload, describe

LARGEST_FILE = 2**20
WIDEST, LONGEST = 5.0, 1e6
"""Sigma and seconds that no overhead has."""

GIVEN = "as given"
TUTORIAL = "calibrated on the tutorial's {record}, not on this mesh: `meshmodel calibrate` makes yours, --overhead 0 leaves it out"
RIG = "overhead: the rig's own on loopback, which a real Envoy has instead of one that is put in"


class OverheadError(InputError):
    """A file that holds no overhead; the message names it and the field."""


class Sourced(NamedTuple):
    """An overhead and where it came from."""

    distribution: Distribution
    source: str


def tutorials(workload: Workload) -> str:
    """Where the overhead comes from that a load has by default (`calibration.default_overhead`)."""
    curl = isinstance(workload, ClosedLoop) and workload.is_curl
    return TUTORIAL.format(record="curl loop of its timeout experiment" if curl else "ROUND_ROBIN record")


def line(overhead: Sourced) -> str:
    """One line for the top of a report."""
    mean = 1000 * float(overhead.distribution.mean())
    if isinstance(overhead.distribution, Constant):
        size = f"{mean:g} ms" if mean else "none"
    else:
        size = f"{mean:.3g} ms on average, 99 % below {1000 * float(overhead.distribution.ppf(0.99)):.3g} ms"
    return f"overhead: {size}, {visible(overhead.source)}"


def to_json(overhead: Sourced) -> dict[str, Any]:
    """As a report keeps it: the distribution, its mean in seconds, and its source."""
    return {**describe(overhead.distribution), "mean": float(overhead.distribution.mean()), "source": overhead.source}


def file_content(distribution: Distribution, record: str, calls: int, pods: Sequence[str]) -> dict[str, Any]:
    """What `meshmodel calibrate` writes."""
    return {"overhead": describe(distribution), "mean": float(distribution.mean()), "record": record, "calls": calls, "pods": list(pods)}


def read(path: str | Path) -> Sourced:
    """The overhead of a file that `meshmodel calibrate` wrote.  Raises OverheadError naming file and field."""
    name = str(path)
    text = _files.read_text(path, LARGEST_FILE, OverheadError, "what `meshmodel calibrate` wrote")
    content = Fields(json_source.parse(text, name, OverheadError), "overhead file", name, OverheadError)
    found = content.fields("overhead")
    calls = f" ({content.whole('calls'):,} calls)" if "calls" in content else ""
    record = shortened(visible(content.text("record")), 200) if "record" in content else "no record that it names"
    return Sourced(_distribution(found), f"calibrated on {record}{calls}, of {shortened(visible(name), 200)}")


def _distribution(found: Fields) -> Distribution:
    if "seconds" in found:
        return Constant(found.number("seconds"))
    if found.text("distribution") != "lognorm":
        found.fail("distribution", "must be lognorm")
    from scipy import stats

    sizes = {name: found.number(name) for name in ("s", "loc", "scale")}
    for name in ("s", "scale"):
        if not sizes[name] > 0:
            found.fail(name, "must be more than zero")
    if sizes["s"] > WIDEST or sizes["loc"] + sizes["scale"] > LONGEST:
        found.fail("s", f"must be at most {WIDEST:g}, with loc and scale of at most {LONGEST:g} seconds")
    return stats.lognorm(**sizes)


def of_scenario(plain: Mapping[str, Any]) -> str:
    """The line of a report that was stored: by its own `overhead`, or unknown."""
    stored = plain.get("overhead")
    if not isinstance(stored, Mapping) or not isinstance(stored.get("mean"), int | float):
        return "overhead: the file does not say"
    return f"overhead: {1000 * float(stored['mean']):.3g} ms on average, {shortened(visible(str(stored.get('source'))), 300)}"
