"""The command line: parsing and printing, nothing else.

    meshmodel load data/tutorial/manifests -c 10 -qps 1000 -t 60s

Flags are spelled as fortio's.  Exit status 0, 2 with one line on standard error for bad input, 130 on Ctrl-C, 143 and 129 on SIGTERM
and SIGHUP.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshmodel import _files
from meshmodel._flags import glued, parsers
from meshmodel._signals import ending_in_order
from meshmodel._text import line, visible


def _mesh_options(args: argparse.Namespace) -> dict[str, Any]:
    flags = ("istio", "injector", "errors", "percentiles", "overhead", "workers", "connect_time")
    return {name: getattr(args, name) for name in flags}


def _caller(args: argparse.Namespace) -> dict[str, Any]:
    return {"target": args.target, "locality": args.locality}


def _simulation(args: argparse.Namespace) -> dict[str, Any]:
    return {"replications": args.replications, "seed": args.seed, "progress": sys.stderr.isatty()}


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the flags that were given; the others are left to their defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _request(args: argparse.Namespace) -> dict[str, Any]:
    """`timeout`, `users` and `request` as `workloads` takes them."""
    return _given(args, "timeout", "users") | {"request": _given(args, "path", "headers")}


def _workload(args: argparse.Namespace) -> Any:
    """What the load flags say: fortio's closed loop, or an open one."""
    from meshmodel import workloads

    if args.rate is None and args.segments is None:
        return workloads.fortio(**_given(args, "connections", "qps", "duration", "calls"), **_request(args))
    if _given(args, "connections", "qps", "calls"):
        raise ValueError("-c, -qps and -n are of a closed loop; an open loop (--rate, --segment) has none of them")
    if args.segments and (args.rate is not None or args.duration is not None):
        raise ValueError("--segment has its own rates and times: leave --rate and -t out")
    if args.segments:
        return workloads.open_loop(args.segments, arrivals=args.arrivals, **_request(args))
    return workloads.open_loop(args.rate, args.duration or "60s", args.arrivals, **_request(args))


def _keep_inputs(args: argparse.Namespace) -> None:
    """Refuse, before the work begins, to write over what is read: manifests, records, the data that come with meshmodel."""
    from meshmodel._data import data_path
    from meshmodel.istio.yaml_source import SUFFIXES

    given = vars(args)
    out = given.get("json")
    if out in (None, "-"):
        return
    inputs = [*given.get("files", ()), *(file for _, file in given.get("at_file", ())), *given.get("records", ())]
    _files.refuse_overwriting(out, [*inputs, *([args.outcome] if "outcome" in args else [])], SUFFIXES)
    if Path(out).resolve().is_relative_to(data_path().resolve()):
        raise ValueError(f"{out}: lies in the data that come with meshmodel, write somewhere else")


def _manifest(file: str) -> Path | str:
    text = sys.stdin.read(2_000_000) if file == "-" else file  # more than any manifest may have
    if not text.strip():
        raise ValueError(f"FILE {file!r}: empty")
    return text if file == "-" else Path(file)


def _mesh(args: argparse.Namespace) -> Any:
    from meshmodel.mesh import Mesh

    mesh = Mesh(**_mesh_options(args)).apply(*map(_manifest, args.files))
    for time, file in getattr(args, "at_file", ()):
        mesh.at(time).apply(_manifest(file))
    return mesh


# --- the verbs ----------------------------------------------------------------------------


def _load(args: argparse.Namespace) -> None:
    mesh = _mesh(args)
    _report(mesh, mesh.simulate(_workload(args), **_caller(args), **_simulation(args), keep=args.keep), args)


def _curl(args: argparse.Namespace) -> None:
    mesh = _mesh(args)
    replay = mesh.curl(args.n, **_request(args), **_caller(args), **_simulation(args), keep=args.keep)
    _report(mesh, replay, args, _curl_counts(replay))


def _predict(args: argparse.Namespace) -> None:
    mesh = _mesh(args)
    prediction = mesh.predict(workload=_workload(args), **_caller(args))
    _report(mesh, prediction, args, "\n".join(f"approximation: {name}: {error}" for name, error in prediction.assumptions.items()))


def _measure(args: argparse.Namespace) -> None:
    from meshmodel.envoy.engine import print_config
    from meshmodel.scenario import ClosedLoop

    mesh = _mesh(args)
    if args.print_config:
        print(print_config(mesh.scenario(ClosedLoop(calls=1), **_caller(args))), end="")
        return
    options = {"repetitions": args.replications, "seed": args.seed, "progress": sys.stderr.isatty()}
    _report(mesh, mesh.measure(workload=_workload(args), **_caller(args), **options), args)


def _replay(args: argparse.Namespace) -> None:
    from meshmodel import catalogue

    experiment = catalogue.experiment(args.name)
    mesh = experiment.mesh(**_mesh_options(args))
    mesh.scenario(experiment.workload, experiment.target, experiment.locality)  # so that the warnings know of the load
    replay = experiment.replay(**_simulation(args), **_mesh_options(args))
    against = experiment.compare(replay)
    told = [against, experiment.explain(against)] if against else ["the tutorial recorded nothing for it"]
    counts = [] if experiment.workload.duration else [_curl_counts(replay)]
    title = f"{args.name}: {experiment.title}\napplied: {', '.join(Path(file).name for file in experiment.manifests)}\n"
    _report(mesh, replay, args, *counts, *map(str, told), *_envoy_records(args.name, replay), title=title)


def _envoy_records(name: str, replay: Any) -> Iterator[str]:
    """The model beside the first repetition of our own record of the real Envoy, data/envoy/NAME.json, where there is one."""
    from meshmodel import catalogue
    from meshmodel.results.compare import compare

    if runs := catalogue.envoy_records(name):
        yield f"A real Envoy, the first of {len(runs)} runs; with the overhead of loopback, not of the tutorial's cluster:"
        yield str(compare(replay, runs[0], name="real Envoy"))


def _compare(args: argparse.Namespace) -> None:
    from meshmodel.results.compare import compare, read_outcome
    from meshmodel.results.fortio import read_record

    outcome = read_outcome(args.outcome)
    names = [visible(Path(path).stem) for path in args.records]
    records = dict(zip(names if len({*names}) == len(names) else map(visible, args.records), map(read_record, args.records), strict=True))
    comparison = compare(outcome, records) if len(records) > 1 else compare(outcome, *records.values(), name=names[0])
    _print(args, comparison.to_json(), str(comparison))
    for name, record in records.items():
        _warn_of_other_buckets(outcome, record, name)


def _warn_of_other_buckets(outcome: Any, record: Any, name: str) -> None:
    """Percentiles are interpolated in buckets: those of two resolutions differ although the latencies may not."""
    from meshmodel.results.fortio import FortioError

    if outcome.recorded is None:
        return
    resolution = outcome.recorded.table_resolution()
    try:
        record.table_counts(resolution)
    except FortioError:
        found = record.table_resolution()
        remark = f"recorded with resolution {found:g}, not {resolution:g}: make the figures with -r {found:g}"
        print(f"warning: {name}: {remark}", file=sys.stderr)


def _routes(args: argparse.Namespace) -> None:
    mesh = _mesh(args)
    print(mesh.proxy_config_routes(**_caller(args)))
    rules = mesh.version_rules(**_caller(args))
    print(f"\nOf the rules that came or went with a version, Istio {mesh.defaults.version} here: {'; '.join(rules) or 'none'}")
    _warn(mesh)


def _endpoints(args: argparse.Namespace) -> None:
    mesh = _mesh(args)
    if args.at is not None:
        mesh.simulate(_workload(args), 1, args.seed, **_caller(args))
    print(mesh.proxy_config_endpoints(at=args.at, **_caller(args)))
    _warn(mesh)


def _list(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from meshmodel import catalogue

    experiments = map(catalogue.experiment, catalogue.names())
    print(tabulate([(e.name, "yes" if e.record else "no", e.title) for e in experiments], ("name", "record", "title")))


def _student(args: argparse.Namespace) -> None:
    from meshmodel.teaching.exercises import student_copy

    print(student_copy(args.notebook, args.out))


# --- what is printed ----------------------------------------------------------------------


def _report(mesh: Any, outcome: Any, args: argparse.Namespace, *more: str, title: str = "") -> None:
    """fortio's text of the first replication, what else there is of it, the figures over all replications; warnings."""
    outcome = outcome.with_resolution(args.r) if "r" in args else outcome
    _print(args, outcome.to_json(), *filter(None, (title, outcome.histogram().run_text(), *more, outcome.table())))
    _warn(mesh)
    for remark in outcome.remarks:
        print(f"warning: {remark}", file=sys.stderr)


def _print(args: argparse.Namespace, content: Mapping[str, Any], *texts: str) -> None:
    written = json.dumps(content, allow_nan=False) + "\n" if args.json else ""
    if args.json == "-":
        sys.stdout.write(written)
        return
    if args.json:
        _files.write(args.json, written)
    print("\n\n".join(text.strip("\n") for text in texts))


def _curl_counts(replay: Any) -> str:
    """Bodies and codes of the first replication as `sort | uniq -c | sort -nr` prints them."""
    bodies = {
        "null" if body == "null" else visible(json.dumps(body, ensure_ascii=False)): counts[0] for body, counts in replay.bodies.items()
    }
    codes = {str(code): counts[0] for code, counts in replay.codes.items()}
    return "\n\n".join(_uniq(counts) for counts in (bodies, codes))


def _uniq(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return "\n".join(f"{count:4d} {line}" for line, count in ordered if count)


def _warn(mesh: Any) -> None:
    sys.stdout.flush()
    for warning in mesh.warnings:
        print(f"warning: {warning}", file=sys.stderr)


VERBS = {
    "replay": _replay,
    "load": _load,
    "curl": _curl,
    "predict": _predict,
    "measure": _measure,
    "compare": _compare,
    "routes": _routes,
    "endpoints": _endpoints,
    "list": _list,
    "student": _student,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit status."""
    with suppress(AttributeError):  # a terminal without é gets an escape; streams that are no files are left alone
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with ending_in_order():
        return _status(sys.argv[1:] if argv is None else argv)


def _status(argv: Sequence[str]) -> int:
    try:
        words = glued(argv)
        top, verbs = parsers(VERBS)
        args = verbs[words[0]].parse_intermixed_args(words[1:]) if words and words[0] in verbs else top.parse_args(words)
        _keep_inputs(args)
        args.run(args)
        sys.stdout.flush()
    except SystemExit as end:  # after -h, or by a signal
        return int(end.code or 0)
    except BrokenPipeError:  # the reader, head for instance, has seen enough; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except OSError as problem:
        return _bad_input(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
    except (ValueError, OverflowError, RecursionError) as problem:
        return _bad_input(str(problem))
    except MemoryError:
        return _bad_input("not enough memory; ask for fewer replications or a shorter load")
    return 0


def _bad_input(message: str) -> int:
    print(f"meshmodel: {line(' '.join(message.split()))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
