"""`meshmodel calibrate RECORD FILES -o overhead.json`: what a request spends outside the pods of one's own mesh."""

from __future__ import annotations

import argparse
from typing import Any

from meshmodel._text import visible
from meshmodel.commands.common import applied, caller, print_out, warn


def run(args: argparse.Namespace) -> None:
    from meshmodel.results import overhead
    from meshmodel.results.calibration import calibrate, refuse_troubled
    from meshmodel.workloads import fortio

    record = _record(args.record)
    args.overhead = args.overhead or "0"  # which is what is sought, and what no route depends on
    mesh = applied(args)
    scenario = mesh.scenario(fortio(), **caller(args))
    if not args.anyway:
        refuse_troubled(record, scenario)
    hops = [route.endpoints for route in scenario.routes]
    found = calibrate(record, *([pod.behaviour for pod in pods] for pods in hops))
    content = overhead.file_content(found, visible(args.record), record.count, [pod.name for pods in hops for pod in pods])
    print_out(args, content, _told(found, overhead.Sourced(found, f"calibrated on {visible(args.record)}"), hops, args))
    warn(mesh)


def _record(path: str) -> Any:
    from meshmodel.results.fortio import Histogram, read_records

    records = read_records(path)
    return records[0] if len(records) == 1 else Histogram.pool(records, records[0].table_resolution())


def _told(found: Any, sourced: Any, hops: list[Any], args: argparse.Namespace) -> str:
    from meshmodel.results.overhead import line
    from meshmodel.scenario import describe

    sizes = ", ".join(f"{name} {value:.4g}" for name, value in describe(found).items() if isinstance(value, float))
    taken = " -> ".join(", ".join(sorted({pod.deployment for pod in pods})) for pods in hops)
    use = f"use it: --overhead {visible(args.json)}" if args.json else "keep it: -o overhead.json, then --overhead overhead.json"
    return f"{line(sourced)}\nlognormal: {sizes} (seconds)\npods whose times were taken off: {taken}\n{use}"
