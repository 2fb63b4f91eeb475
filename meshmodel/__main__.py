"""The command line: parsing and printing, nothing else.

    meshmodel load data/tutorial/manifests -c 10 -qps 1000 -t 60s

Flags are spelled as fortio's.  Exit status 0, 2 with one line on standard error for bad input, 130 on Ctrl-C, 143 and 129 on SIGTERM
and SIGHUP.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshmodel import _files
from meshmodel._flags import glued, parsers
from meshmodel._signals import ending_in_order
from meshmodel._text import line
from meshmodel.commands import calibrate, compare, diff
from meshmodel.commands import report as report_page
from meshmodel.commands.common import (
    applied,
    caller,
    curl_counts,
    mesh_options,
    report,
    request,
    simulated,
    simulation,
    warn,
    workload,
)


def _keep_inputs(args: argparse.Namespace) -> None:
    """Refuse, before the work begins, to write over what is read: manifests, records, the data that come with meshmodel."""
    from meshmodel.istio.yaml_source import SUFFIXES

    given = vars(args)
    for out in (given.get("json"), given.get("plot"), given.get("html")):
        if out not in (None, "-"):
            _keep_from(given, out, SUFFIXES)


def _keep_from(given: dict[str, Any], out: str, suffixes: tuple[str, ...]) -> None:
    from meshmodel._data import data_path

    inputs = [
        *given.get("against", ()),
        *given.get("files", ()),
        *(file for _, file in given.get("at_file", ())),
        *given.get("records", ()),
    ]
    inputs += [given[name] for name in ("outcome", "record") if given.get(name)]
    _files.refuse_overwriting(out, inputs, suffixes)
    if Path(out).resolve().is_relative_to(data_path().resolve()):
        raise ValueError(f"{out}: lies in the data that come with meshmodel, write somewhere else")


# --- the verbs ----------------------------------------------------------------------------


def _load(args: argparse.Namespace) -> None:
    mesh = applied(args)
    report(mesh, simulated(mesh, workload(args), args), args)


def _curl(args: argparse.Namespace) -> None:
    from meshmodel import workloads

    mesh = applied(args)
    replay = simulated(mesh, workloads.curl(args.n, **request(args)), args)
    report(mesh, replay, args, curl_counts(replay))


def _predict(args: argparse.Namespace) -> None:
    mesh = applied(args)
    prediction = mesh.predict(workload=workload(args), **caller(args))
    report(mesh, prediction, args, "\n".join(f"approximation: {name}: {error}" for name, error in prediction.assumptions.items()))


def _measure(args: argparse.Namespace) -> None:
    from meshmodel.envoy.engine import print_config
    from meshmodel.scenario import ClosedLoop

    mesh = applied(args)
    if args.print_config:
        print(print_config(mesh.scenario(ClosedLoop(calls=1), **caller(args))), end="")
        return
    options = {"repetitions": args.replications, "seed": args.seed, "progress": sys.stderr.isatty()}
    report(mesh, mesh.measure(workload=workload(args), **caller(args), **options), args)


def _replay(args: argparse.Namespace) -> None:
    from meshmodel import catalogue

    experiment = catalogue.experiment(args.name)
    mesh = experiment.mesh(**mesh_options(args))
    mesh.scenario(experiment.workload, experiment.target, experiment.locality)  # so that the warnings know of the load
    replay = experiment.replay(**simulation(args), **mesh_options(args))
    against = experiment.compare(replay)
    told = [against, experiment.explain(against)] if against else ["the tutorial recorded nothing for it"]
    counts = [] if experiment.workload.duration else [curl_counts(replay)]
    title = f"{args.name}: {experiment.title}\napplied: {', '.join(Path(file).name for file in experiment.manifests)}\n"
    report(mesh, replay, args, *counts, *map(str, told), *_envoy_records(args.name, replay), title=title)


def _envoy_records(name: str, replay: Any) -> Iterator[str]:
    """The model beside the first repetition of our own record of the real Envoy, data/envoy/NAME.json, where there is one."""
    from meshmodel import catalogue
    from meshmodel.results.compare import compare

    if runs := catalogue.envoy_records(name):
        yield f"A real Envoy, the first of {len(runs)} runs; with the overhead of loopback, not of the tutorial's cluster:"
        yield str(compare(replay, runs[0], name="real Envoy"))


def _routes(args: argparse.Namespace) -> None:
    mesh = applied(args)
    print(mesh.proxy_config_routes(**caller(args)))
    rules = mesh.version_rules(**caller(args))
    print(f"\nOf the rules that came or went with a version, Istio {mesh.defaults.version} here: {'; '.join(rules) or 'none'}")
    warn(mesh)


def _endpoints(args: argparse.Namespace) -> None:
    mesh = applied(args)
    if args.at is not None:
        mesh.simulate(workload(args), 1, args.seed, **caller(args))
    print(mesh.proxy_config_endpoints(at=args.at, **caller(args)))
    warn(mesh)


def _list(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from meshmodel import catalogue

    experiments = map(catalogue.experiment, catalogue.names())
    print(tabulate([(e.name, "yes" if e.record else "no", e.title) for e in experiments], ("name", "record", "title")))


def _student(args: argparse.Namespace) -> None:
    from meshmodel.teaching.exercises import student_copy

    print(student_copy(args.notebook, args.out))


VERBS = {
    "replay": _replay,
    "load": _load,
    "curl": _curl,
    "predict": _predict,
    "measure": _measure,
    "compare": compare.run,
    "diff": diff.run,
    "report": report_page.run,
    "calibrate": calibrate.run,
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
        return _bad_input(*getattr(problem, "problems", (str(problem),)))
    except MemoryError:
        return _bad_input("not enough memory; ask for fewer replications or a shorter load")
    return 0


def _bad_input(*messages: str) -> int:
    """Each problem is a line of its own."""
    for message in messages:
        print(f"meshmodel: {line(' '.join(message.split()))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
