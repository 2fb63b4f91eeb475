"""`meshmodel compare REPLAY.json RECORD...`: stored figures against records, or against other stored figures as two replays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshmodel._text import visible
from meshmodel.commands.common import plot, print_out


def run(args: argparse.Namespace) -> None:
    from meshmodel.results.compare import compare, read_outcome
    from meshmodel.results.overhead import of_scenario
    from meshmodel.results.replay import Replay

    outcome = read_outcome(args.outcome)
    sides = dict(_sides(args.records))
    replays = {name: side for name, side in sides.items() if isinstance(side, Replay) and isinstance(outcome, Replay)}
    records = {name: side.histogram(0) if isinstance(side, Replay) else side for name, side in sides.items() if name not in replays}
    mine = visible(Path(args.outcome).stem)
    differences = [_difference(outcome, second, (mine, name)) for name, second in replays.items()]
    comparison: Any = None
    if records:
        (name, record), *more = records.items()
        comparison = compare(outcome, records) if more else compare(outcome, record, name=name)
    heads = [of_scenario(outcome.to_json()), *(f"{name}: {of_scenario(each.to_json())}" for name, each in replays.items())]
    found = [*differences, *([comparison] if comparison is not None else [])]
    print_out(args, _content(differences, comparison), "\n".join((*heads, str(found[0]))), *map(str, found[1:]))
    plot(args, lambda charts: _picture(charts, found[0]))
    for name, record in records.items():
        _warn_of_other_buckets(outcome, record, name)


def _difference(first: Any, second: Any, names: tuple[str, str]) -> Any:
    from meshmodel.results.difference import difference

    return difference(first, second, names)


def _content(differences: list[Any], comparison: Any) -> dict[str, Any]:
    """One comparison as it is; several by their kinds."""
    if not differences:
        return comparison.to_json()
    if len(differences) == 1 and comparison is None:
        return differences[0].to_json()
    records = {} if comparison is None else {"records": comparison.to_json()}
    return {"differences": [each.to_json() for each in differences], **records}


def _picture(charts: Any, found: Any) -> Any:
    """Of two replays their difference, of a record (the first of several) the overlay."""
    if hasattr(found, "paired"):
        return charts.differences(found)
    return charts.of_comparison(next(iter(found.values())) if isinstance(found, dict) else found)


def _sides(paths: list[str]) -> Iterator[tuple[str, Any]]:
    """Each record by its name, and each of our own reports that kept its replications; those of the real Envoy are records."""
    from meshmodel.results.fortio import read_records

    names = [visible(Path(path).stem) for path in paths]
    for path, name in zip(paths, names if len({*names}) == len(names) else map(visible, paths), strict=True):
        if (replay := _report(path)) is not None and replay.engine != "envoy":
            yield name, replay
            continue
        records = [replay.histogram(i) for i in range(replay.replications)] if replay is not None else read_records(path)
        for i, record in enumerate(records, start=1):
            yield name if len(records) == 1 else f"{name} {i}", record


def _report(path: str) -> Any:
    """The replay of a file that --json wrote; None where it is something else."""
    from meshmodel import _files
    from meshmodel.results.compare import LARGEST_OUTCOME, outcome_of
    from meshmodel.results.fortio import FortioError
    from meshmodel.results.replay import Replay

    text = _files.read_text(path, LARGEST_OUTCOME, FortioError, "a record or what --json wrote")
    if not text.lstrip().startswith("{") or '"replicas"' not in text:
        return None
    found = outcome_of(text, path)
    return found if isinstance(found, Replay) else None


def _warn_of_other_buckets(outcome: Any, record: Any, name: str) -> None:
    """Percentiles are interpolated in buckets: those of two resolutions differ although the latencies may not."""
    from meshmodel.results.fortio import FortioError
    from meshmodel.results.replay import Replay

    stored = outcome.histogram(0) if isinstance(outcome, Replay) else outcome.recorded
    if stored is None:
        return
    resolution = outcome.resolution if isinstance(outcome, Replay) else stored.table_resolution()
    try:
        record.table_counts(resolution)
    except FortioError:
        found = record.table_resolution()
        remark = f"recorded with resolution {found:g}, not {resolution:g}: make the figures with -r {found:g}"
        print(f"warning: {name}: {remark}", file=sys.stderr)
