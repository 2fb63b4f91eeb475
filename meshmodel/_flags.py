"""What may be typed on the command line: its verbs and flags, spelled as fortio's where fortio has them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from meshmodel._text import quoted, shortened

FORTIO_ONLY = ("-nocatchup", "-uniform", "-jitter")
"""Flags of fortio that change its load in ways that the engines lack."""

MOST_WORDS = 5_000

EXAMPLES = """\
examples:
  meshmodel list
  meshmodel replay lb-least-conn
  meshmodel load testbed.yaml dr-random.yaml -c 10 -qps 1000 -t 60s --json out.json
  meshmodel load testbed.yaml --rate 50 -t 60s --at 20s failing-backend-1-500.yaml
  meshmodel curl testbed.yaml vs-timeout.yaml -n 50
  meshmodel calibrate plain.json testbed.yaml -o overhead.json
  meshmodel load testbed.yaml --overhead overhead.json
  meshmodel compare out.json least-conn.txt --plot compared.png
  meshmodel diff testbed.yaml --against dr-random.yaml
  meshmodel report shop.yaml --target checkout --record incident.json --slo 'p99<300ms,errors<0.1%%'
  meshmodel endpoints testbed.yaml dr-outlier-detection.yaml --at 20s
"""


class _Parser(argparse.ArgumentParser):
    """An argparse parser that complains in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} -h shows the flags)")


class _NotModelled(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **options: Any) -> NoReturn:
        raise ValueError(f"{args[-1]}: not modelled")


def parsers(run: Mapping[str, Any]) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and each verb's own; `run` is what each verb does."""
    top = _Parser(prog="meshmodel", description="What Istio's resilience policies do to latency and errors.", epilog=EXAMPLES)
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, text: str, *groups: Any) -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        parser.set_defaults(run=run[name])
        for group in groups:
            group(parser)
        return parser

    mesh = _files, _mesh_flags, _caller_flags, _said_flags
    runs = _simulation_flags, _keep_flag, _at_file, _output_flags, _series_flag
    replay = verb("replay", "replay an experiment of the tutorial: model beside record", _mesh_flags, _simulation_flags, _json_flag)
    replay.add_argument("name", metavar="NAME", help="its name, as `meshmodel list` shows it")
    verb("load", "put a load on a mesh, simulated", *mesh, _load_flags, *runs)
    curl = verb("curl", "call a mesh n times, one call after the other", *mesh, *runs)
    curl.add_argument("-n", type=_whole, default=50, metavar="CALLS", help="how many calls (50)")
    _request_flags(curl, "none")
    verb("predict", "the same load in closed forms, without a random number", *mesh, _load_flags, _output_flags)
    measure = verb("measure", "the same load on a real Envoy on loopback, in real time", *mesh, _load_flags, *runs[2:])
    _simulation_flags(measure, replications=1)
    measure.add_argument("--print-config", action="store_true", help="print Envoy's bootstrap configuration instead")
    compared = verb("compare", "hold stored figures against records, or against others as two replays", _json_flag, _plot_flag)
    compared.add_argument("outcome", metavar="REPLAY.json", help="what --json wrote")
    compared.add_argument("records", nargs="+", metavar="RECORD", help="fortio's text or JSON, or what --json wrote")
    changed = verb(
        "diff", "what will this change do: two meshes under one load", *mesh, _load_flags, _simulation_flags, _output_flags, _plot_flag
    )
    told = verb("report", "one page for the incident channel: what happens, why, and what to change", *mesh, _load_flags, _at_file)
    told.add_argument("--record", metavar="RECORD", help="fortio's, to stand beside the model; its load is taken where no flag says one")
    told.add_argument("--slo", metavar="'p99<300ms,errors<0.1%%'", help="find the change of the rules that brings it")
    told.add_argument("-o", "--out", dest="html", type=_writable, default="report.html", metavar="OUT.html", help="(report.html)")
    told.add_argument("--title", metavar="TEXT", help="of the page")
    _simulation_flags(told, replications=200)
    against = "the other side: a mesh, or what is applied to that of FILE (or what FILE is applied to)"
    changed.add_argument("--against", nargs="+", required=True, metavar="OTHER", help=against)
    calibrated = verb("calibrate", "the overhead of your own mesh, from a record of it", _mesh_flags, _caller_flags, _said_flags)
    calibrated.add_argument("record", metavar="RECORD", help="of fortio, made without faults; several in one file are taken together")
    _files(calibrated)
    calibrated.add_argument("--anyway", action="store_true", help="also from a record with errors, or on a mesh with faults")
    _json_flag(calibrated, "-o", "--out")
    verb("routes", "what the proxies' routes hold after Istio's defaults", *mesh)
    endpoints = verb("endpoints", "istioctl's table of endpoints", *mesh, _load_flags)
    endpoints.add_argument("--at", metavar="TIME", help="with OUTLIER CHECK as it is this long into the load, e.g. 20s")
    endpoints.add_argument("--seed", type=_whole, default=1, help="of the random numbers (1)")
    verb("list", "the tutorial's experiments, and what it recorded")
    student = verb("student", "copy a chapter without its solutions and outputs")
    student.add_argument("notebook", metavar="NOTEBOOK")
    student.add_argument("out", metavar="OUT")
    return top, verbs.choices


def _files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="manifests, applied in this order; a directory; - for standard input")


def _mesh_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--istio", default="1.17", metavar="VERSION", help="whose defaults apply (1.17)")
    parser.add_argument(
        "--injector", default="fake-service", metavar="HOW", help="--errors and --percentiles at once: fake-service or nominal"
    )
    parser.add_argument("--errors", metavar="HOW", help="how ERROR_RATE is read: counter (the program's) or coin (the prose's)")
    parser.add_argument("--percentiles", metavar="HOW", help="how TIMING_..._PERCENTILE are read: program or prose")
    parser.add_argument(
        "--overhead", metavar="TIME", help="time outside the pods, e.g. 3ms, or a file that calibrate wrote (the tutorial's)"
    )
    parser.add_argument("--workers", type=_whole, default=2, help="worker threads of each Envoy (2)")
    connecting = "what a new connection takes: plain or mtls, as measured, or e.g. 1ms (plain)"
    parser.add_argument("--connect-time", default="plain", metavar="TIME", help=connecting)


def _caller_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="SERVICE", help="what is called, instead of the Gateway's route")
    parser.add_argument("--locality", metavar="R.Z.S", help="the caller's region.zone.subzone, instead of its pod's")


def _said_flags(parser: argparse.ArgumentParser) -> None:
    """What manifests do not say: see `Mesh.timing`, `.calls` and `.fail`."""
    parser.add_argument("--namespace", default="default", metavar="NAME", help="where a resource without one goes (default)")
    parser.add_argument("--strict", action="store_true", help="refuse what is only noted otherwise, and rules that meet no Service")
    timing = "what its answers take, or a fortio record or Prometheus histogram of it; repeatable"
    parser.add_argument("--timing", action="append", default=[], type=_timing, dest="timings", metavar="NAME=P50,P90,P99", help=timing)
    calls = "the pods of A call the Service B, after what they call already, where no UPSTREAM_URIS says so; repeatable"
    parser.add_argument("--calls", action="append", default=[], type=_calls, dest="upstreams", metavar="A=B", help=calls)
    fail = "so many of its pods fail: HOW is refused, reset, hang, a status or a duration; TIME into the load (from its start); repeatable"
    parser.add_argument("--fail", action="append", default=[], type=_fail, dest="failures", metavar="NAME/PODS=HOW@TIME", help=fail)


def _timing(text: str) -> tuple[str, dict[str, Any]]:
    name, values = _assigned(text, "NAME=P50,P90,P99 such as payments-v1=45ms,120ms,700ms")
    parts = values.split(",")
    if not all(re.fullmatch("[0-9.]+[a-zµμ]*[0-9.a-zµμ]*", part) for part in parts):
        return name, {"record": values}
    if len(parts) > 3:
        raise argparse.ArgumentTypeError(f"must be at most p50, p90 and p99, got {quoted(text)}")
    return name, dict(zip(("p50", "p90", "p99"), parts, strict=False))


def _calls(text: str) -> tuple[str, str]:
    return _assigned(text, "A=B such as checkout=payments")


def _fail(text: str) -> tuple[str, dict[str, Any]]:
    name, how = _assigned(text, "NAME/PODS=HOW@TIME such as payments-v1/1=hang@10s")
    name, slash, pods = name.partition("/")
    how, _, at = how.partition("@")
    return name, {"how": how, **({"pods": _whole(pods)} if slash else {}), **({"at": at} if at else {})}


def _assigned(text: str, rule: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {quoted(text)}")
    return name, value


def _load_flags(parser: argparse.ArgumentParser) -> None:
    """Flags named (`dest`) as `workloads` names the parameters; None: not given, so that its default holds."""
    parser.add_argument("-c", type=_whole, dest="connections", metavar="CONNECTIONS", help="connections (10)")
    parser.add_argument("-qps", type=_number, metavar="RATE", help="requests a second over all connections (1000); 0: as fast as possible")
    parser.add_argument("-t", dest="duration", metavar="TIME", help="duration, e.g. 1m30s (60s)")
    parser.add_argument("-n", type=_whole, dest="calls", metavar="CALLS", help="exactly so many calls, instead of -t")
    parser.add_argument("--rate", type=_number, metavar="RATE", help="open loop: so many requests a second, whatever becomes of them")
    changing = "open loop of changing rate; repeatable"
    parser.add_argument("--segment", action="append", type=_segment, dest="segments", metavar="TIME:FIRST:LAST", help=changing)
    parser.add_argument("--arrivals", choices=("poisson", "paced"), default="poisson", help="of an open loop (poisson)")
    _request_flags(parser, "3s; of an open loop: none")
    for flag in FORTIO_ONLY:
        parser.add_argument(flag, action=_NotModelled, nargs=0, help=argparse.SUPPRESS)


def _request_flags(parser: argparse.ArgumentParser, patience: str) -> None:
    parser.add_argument("-timeout", metavar="TIME", help=f"how long a call waits for its answer, code -1 then ({patience})")
    parser.add_argument("--path", metavar="PATH", help="what is asked for (/)")
    parser.add_argument("-H", type=_header, action="append", dest="headers", metavar="'NAME: VALUE'", help="header of a call; repeatable")
    parser.add_argument("-X", dest="method", metavar="METHOD", help="how it is asked for (GET)")
    mixture = "one of several kinds of requests with its weight, in place of --path; repeatable"
    parser.add_argument("--request", action="append", type=_one_of, dest="mixture", metavar="WEIGHT:PATH[;NAME: VALUE]", help=mixture)
    parser.add_argument(
        "--users", type=_whole, metavar="N", help="each call is one of N users', whom consistentHash tells apart (0: nobody's)"
    )


def _one_of(text: str) -> dict[str, Any]:
    """ "10:/items; end-user: tester" as a request of weight 10."""
    weighted, *headers = text.split(";")
    weight, _, path = weighted.partition(":")
    if not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"must be WEIGHT:PATH such as 10:/items or '10:/items; end-user: tester', got {quoted(text)}")
    return {"weight": _number(weight), "path": path.strip(), "headers": tuple(map(_header, headers))}


def _simulation_flags(parser: argparse.ArgumentParser, replications: int = 1000) -> None:
    parser.add_argument("--replications", type=_whole, default=replications, metavar="N", help=f"how often ({replications})")
    parser.add_argument("--seed", type=_whole, default=1, help="of the random numbers (1)")


def _keep_flag(parser: argparse.ArgumentParser) -> None:
    what = "log: every request; figures: in memory that does not grow (figures of a large load, else log)"
    parser.add_argument("--keep", metavar="WHAT", help=what)


def _at_file(parser: argparse.ArgumentParser) -> None:
    what = "apply FILE during the load; repeatable"
    parser.add_argument("--at", nargs=2, action="append", default=[], dest="at_file", metavar=("TIME", "FILE"), help=what)


def _json_flag(parser: argparse.ArgumentParser, *also: str) -> None:
    parser.add_argument("--json", *also, dest="json", type=_writable, metavar="OUT", help="write the figures to OUT; -: to standard output")


def _plot_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", type=_picture_file, metavar="OUT.png|svg", help="draw it, too")


def _series_flag(parser: argparse.ArgumentParser) -> None:
    _plot_flag(parser)
    over_time = "answers by code over time, in bins of so long (of a mesh that changes under load in any case); 0: as fits"
    parser.add_argument("--series", type=_bin, metavar="TIME", help=over_time)


def _bin(text: str) -> float:
    from meshmodel.fakeservice import parse_duration

    seconds = parse_duration(text, "--series")
    if seconds != round(seconds):
        raise argparse.ArgumentTypeError(f"must be whole seconds, got {quoted(text)}")
    return seconds


def _picture_file(text: str) -> str:
    if not text.lower().endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"must end in .png or .svg, got {quoted(text)}")
    return _writable(text)


def _output_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", type=_resolution, default=0.001, metavar="SECONDS", help="fortio's resolution (0.001; its web form: 0.0001)")
    _json_flag(parser)


def _segment(text: str) -> tuple[float, float, float]:
    from meshmodel.fakeservice import parse_duration

    try:
        seconds, first, last = text.split(":")
        return parse_duration(seconds, "TIME"), _number(first), _number(last)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"must be TIME:FIRST:LAST such as 30s:10:50, got {quoted(text)}") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"must be 'NAME: VALUE', got {quoted(text)}")
    return name.strip(), value.strip()


def _whole(text: str) -> int:
    """Python's int would take "1_0", " 5" and digits of other scripts, and stop at 4,300 digits."""
    if not re.fullmatch("[+-]?[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number, got {quoted(text)}")
    return int(text)


def _number(text: str) -> float:
    if len(text) > 100 or not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"must be a number, got {quoted(text)}")
    return float(text)


def _resolution(text: str) -> float:
    seconds = _number(text)
    if not 1e-9 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"must be from 1e-9 to 1e9 seconds, got {quoted(text)}")
    return seconds


def _writable(text: str) -> str:
    """Refused before the work begins rather than after it."""
    path = Path(text)
    if "\0" in text:
        raise argparse.ArgumentTypeError("no path has a NUL character")
    if text != "-" and (path.is_dir() or not path.parent.is_dir()):
        raise argparse.ArgumentTypeError(f"{shortened(text, 200)}: {'is a folder' if path.is_dir() else 'no such folder'}")
    return text


def glued(argv: Sequence[str]) -> list[str]:
    """`-t -5s` as `-t=-5s`: argparse would take a negative value for another flag."""
    if len(argv) > MOST_WORDS:  # argparse copies what a repeated flag has gathered at each repetition
        raise ValueError(f"a command line of {len(argv):,} words: at most {MOST_WORDS:,}; a folder of manifests is one word")
    words: list[str] = []
    for word in argv:
        if re.match("-[0-9.]", word) and words and re.fullmatch(r"--?[a-z-]+", words[-1]):
            words[-1] += f"={word}"
        else:
            words.append(word)
    if words.count("--") > 1:  # argparse would give lists where a word belongs
        raise ValueError("--: stands twice")
    return words
