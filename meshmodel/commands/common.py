"""What several verbs of the command line do alike: the mesh and the load that flags describe, and printing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshmodel import _files
from meshmodel._text import visible
from meshmodel.results.overhead import RIG, line, to_json


def mesh_options(args: argparse.Namespace) -> dict[str, Any]:
    flags = ("istio", "injector", "errors", "percentiles", "overhead", "workers", "connect_time")
    return {name: getattr(args, name) for name in flags}


def caller(args: argparse.Namespace) -> dict[str, Any]:
    return {"target": args.target, "locality": args.locality}


def simulation(args: argparse.Namespace) -> dict[str, Any]:
    return {"replications": args.replications, "seed": args.seed, "progress": sys.stderr.isatty()}


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the flags that were given; the others are left to their defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def request(args: argparse.Namespace) -> dict[str, Any]:
    """`timeout`, `users` and `request` as `workloads` takes them."""
    common = given(args, "path", "headers", "method")
    if args.mixture:
        if "path" in common:
            raise ValueError("--path: beside --request, which has its own")
        return given(args, "timeout", "users") | {"request": [_beside(each, common) for each in args.mixture]}
    return given(args, "timeout", "users") | {"request": common}


def _beside(each: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """One of several requests with what all of them have."""
    return common | each | {"headers": (*common.get("headers", ()), *each["headers"])}


def workload(args: argparse.Namespace) -> Any:
    """What the load flags say: fortio's closed loop, or an open one."""
    from meshmodel import workloads

    if args.rate is None and args.segments is None:
        return workloads.fortio(**given(args, "connections", "qps", "duration", "calls"), **request(args))
    if given(args, "connections", "qps", "calls"):
        raise ValueError("-c, -qps and -n are of a closed loop; an open loop (--rate, --segment) has none of them")
    if args.segments and (args.rate is not None or args.duration is not None):
        raise ValueError("--segment has its own rates and times: leave --rate and -t out")
    if args.segments:
        return workloads.open_loop(args.segments, arrivals=args.arrivals, **request(args))
    return workloads.open_loop(args.rate, args.duration or "60s", args.arrivals, **request(args))


def manifest(file: str) -> Path | str:
    text = sys.stdin.read(2_000_000) if file == "-" else file  # more than any manifest may have
    if not text.strip():
        raise ValueError(f"FILE {file!r}: empty")
    return text if file == "-" else Path(file)


def applied(args: argparse.Namespace) -> Any:
    """The mesh of the files, with what --at applies later and what is said beside them."""
    from meshmodel.mesh import Mesh

    mesh = Mesh(**mesh_options(args), namespace=args.namespace, strict=args.strict).apply(*map(manifest, args.files))
    for time, file in getattr(args, "at_file", ()):
        mesh.at(time).apply(manifest(file))
    _say(mesh, args)
    return mesh


def _say(mesh: Any, args: argparse.Namespace) -> None:
    """What the flags say that no manifest does; a complaint names its flag."""
    calls = [(caller, {"callee": callee}) for caller, callee in args.upstreams]
    verbs = ("--timing", mesh.timing, args.timings), ("--calls", mesh.calls, calls), ("--fail", mesh.fail, args.failures)
    for flag, verb, (name, more) in [(flag, verb, each) for flag, verb, given in verbs for each in given]:
        try:
            verb(name, **more)
        except ValueError as problem:
            raise ValueError(f"{flag} {name}: {problem}") from None


def simulated(mesh: Any, load: Any, args: argparse.Namespace) -> Any:
    """The load simulated as the flags say; a large one keeps figures only, so that memory stays flat."""
    return mesh.simulate(load, **caller(args), **simulation(args), keep=args.keep, resolution=args.r)


def report(mesh: Any, outcome: Any, args: argparse.Namespace, *more: str, title: str = "") -> None:
    """The overhead in it, fortio's text of the first replication, what else there is of it, the figures over all replications; warnings."""
    outcome = outcome.with_resolution(args.r) if "r" in args else outcome
    overhead = mesh.sourced_overhead()
    content = outcome.to_json() | {"overhead": to_json(overhead)}
    said = RIG if outcome.engine == "envoy" else line(overhead)
    texts = (said, title, outcome.histogram().run_text(), *more, _over_time(outcome, args), outcome.table())
    print_out(args, content, *filter(None, texts))
    plot(args, lambda charts: charts.of_replay(outcome))
    warn(mesh)
    for remark in outcome.remarks:
        print(f"warning: {remark}", file=sys.stderr)


def _over_time(outcome: Any, args: argparse.Namespace) -> str:
    """The series, where it is asked for or something changes under load."""
    asked = getattr(args, "series", None)
    if not hasattr(outcome, "series") or asked is None and not outcome.scenario.changes:
        return ""
    from meshmodel.results.over_time import text

    return text(outcome, asked or None)


def plot(args: argparse.Namespace, draw: Callable[[Any], Any]) -> None:
    """Write the figure that `draw` makes of `meshmodel.teaching.charts`, where --plot says where to."""
    if getattr(args, "plot", None):
        from meshmodel.teaching import charts  # matplotlib takes a second

        _files.write(args.plot, draw(charts).file(args.plot))


def print_out(args: argparse.Namespace, content: Mapping[str, Any], *texts: str) -> None:
    written = json.dumps(content, allow_nan=False) + "\n" if args.json else ""
    if args.json == "-":
        sys.stdout.write(written)
        return
    if args.json:
        _files.write(args.json, written)
    print("\n\n".join(text.strip("\n") for text in texts))


def curl_counts(replay: Any) -> str:
    """Bodies and codes of the first replication as `sort | uniq -c | sort -nr` prints them."""
    bodies = {
        "null" if body == "null" else visible(json.dumps(body, ensure_ascii=False)): counts[0] for body, counts in replay.bodies.items()
    }
    codes = {str(code): counts[0] for code, counts in replay.codes.items()}
    return "\n\n".join(_uniq(counts) for counts in (bodies, codes))


def _uniq(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return "\n".join(f"{count:4d} {line}" for line, count in ordered if count)


def warn(mesh: Any) -> None:
    sys.stdout.flush()
    for warning in mesh.warnings:
        print(f"warning: {warning}", file=sys.stderr)
