"""`meshmodel report FILES --record RECORD --slo 'p99<300ms,errors<0.1%' -o report.html`: one page for the incident channel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from meshmodel._text import visible
from meshmodel.commands.common import applied, caller, given, request, warn, workload

LOAD = ("connections", "qps", "duration", "calls", "rate", "segments")
"""The flags that say a load."""

TRIES = 40
"""Replications of each what-if, which share their random numbers."""


def run(args: argparse.Namespace) -> None:
    from meshmodel import _files
    from meshmodel.teaching.report import found, page
    from meshmodel.whatif.objective import objective
    from meshmodel.whatif.study import Study

    slo = args.slo or ""
    if slo:
        objective(slo)
    record, name = _record(args.record)
    mesh = applied(args)
    with _Progress() as progress:
        study = Study(_load(args, record), min(TRIES, args.replications), args.seed, **caller(args), progress=progress)
        findings = found(mesh, study, args.replications, record, name, slo)._replace(assumed=_assumed(args, record, study.load))
    title = args.title or f"{', '.join(Path(file).name for file in args.files)}: what the mesh does under load"
    written = page(mesh, findings, visible(title), slo)
    _files.write(args.html, written)
    print(_summary(mesh, findings, args.html))
    warn(mesh)


def _record(path: str | None) -> tuple[Any, str]:
    from meshmodel.results.fortio import read_records

    if path is None:
        return None, ""
    records = read_records(path)
    if len(records) > 1:
        raise ValueError(f"{path}: holds {len(records)} records; a report stands beside one")
    return records[0], visible(Path(path).stem)


def _load(args: argparse.Namespace, record: Any) -> Any:
    """What the flags say; where they say nothing, what the record says was asked of fortio."""
    from meshmodel import workloads

    if record is None or given(args, *LOAD) or "connections" not in record.load:
        return workload(args)
    asked = {key: record.load[key] for key in ("connections", "qps", "calls", "duration") if key in record.load}
    return workloads.fortio(**asked, **request(args))


def _assumed(args: argparse.Namespace, record: Any, load: Any) -> str:
    """What is taken for the record's load where neither it nor a flag says so."""
    from meshmodel.teaching.report import load_in_words

    if record is None or given(args, *LOAD) or "connections" in record.load:
        return ""
    return f"The record does not say what load it is of. This is {load_in_words(load)}: -c, -qps and -t (or --rate) say another."


def _summary(mesh: Any, findings: Any, out: str) -> str:
    from meshmodel.results.overhead import line
    from meshmodel.teaching.report import headlines

    told = [each["text"] for each in headlines(findings)]
    return "\n".join((line(mesh.sourced_overhead()), *told, *findings.reasons, f"written: {visible(out)}"))


class _Progress:
    """A bar on standard error, where somebody sees it; nobody knows how many what-ifs a sweep will take."""

    def __enter__(self) -> Any:
        from tqdm import tqdm

        self.bar = tqdm(unit="run", disable=not sys.stderr.isatty(), desc="what if")
        return self

    def __call__(self, what: str) -> None:
        self.bar.set_postfix_str(what[:60])
        self.bar.update()

    def __exit__(self, *_: object) -> None:
        self.bar.close()
