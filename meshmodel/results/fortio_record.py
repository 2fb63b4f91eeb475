"""What fortio wrote, read: its text and its JSON, into the parts of a histogram with the place of each.

Everything that is printed twice must agree, and nothing may stand where fortio prints nothing: a record that was cut,
pasted twice or edited by hand is refused with its line or field.  What a terminal, `kubectl logs` or a CI system put around
it is left out: log lines (fortio's own in JSON or as text, a sidecar's), colours, indentation, and whatever stands before
the title of the histogram where other lines have the like of it (a time, a pod's name).

References: fortio (Apache-2.0), stats/stats.go `Print`, periodic/periodic.go, fhttp/httprunner.go, fgrpc/grpcrunner.go,
tcprunner/tcprunner.go; no code is copied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from meshmodel._text import InputError, quoted
from meshmodel.fakeservice import parse_duration
from meshmodel.results.json_source import Fields

TITLE = "Aggregated Function Time"
_LARGEST = 1e100  # seconds; sums and squares of it are still numbers


class FortioError(InputError):
    """A record that fortio cannot have written; the message names the file and the line or field."""


class Parsed(NamedTuple):
    """The arguments of a `Histogram`, the record's own column of percents, and the place of bucket i, percentile i ..."""

    parts: dict[str, Any]
    percents: list[float]
    place: Callable[[str, int], str]
    agree: Callable[[], None] = lambda: None
    """Raises where what stands around the histogram disagrees with it."""


# ---------------------------------------------------------------- text

_HEADER = re.compile(rf"{TITLE} : count (\S+) avg (\S+) \+/- (\S+) min (\S+) max (\S+) sum (\S+)\s*$")
_BUCKET = re.compile(r">=? (\S+) <= (\S+) , (\S+) , (\S+), (\S+)\s*$")
_TARGET = re.compile(r"# target (\S+)% (\S+)\s*$")
_CODE = re.compile(r"Code +(-?[0-9]{1,3}) : (\S+) \((\S+) %\)\s*$")
_STATUS = re.compile(r"(?:Health|Ping|tcp|udp) ([A-Z][A-Z_]{0,40}) : ([0-9]+)(?: \((\S+) %\))?\s*$")
"""What a gRPC, TCP or UDP run has in place of codes."""
_STARTING = re.compile(
    r"Starting at (max|\S+) qps with ([0-9]{1,9}) thread\(s\) \[gomax [0-9]+\] (?:for |: )(?:exactly ([0-9]{1,15})|([0-9][0-9.a-zµ]{0,40}))"
)
_ENDED = re.compile(r"Ended after \S+ : \S+ calls. qps=(\S+)")
_DONE = re.compile(r"All done (\S+) calls \(plus \S+ warmup\) (\S+) ms avg(?:, (\S+) qps)?\s*$")
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


class Output(NamedTuple):
    """Lines of fortio's own, each with its number in the file of that `name`."""

    name: str
    lines: list[str]
    numbers: list[int]

    def at(self, index: int) -> str:
        """Where the line of that index is; one beyond the last is the next line of the file."""
        if index < len(self.numbers):
            return f"{self.name} line {self.numbers[index]}"
        return f"{self.name} line {self.numbers[-1] + 1 + index - len(self.numbers)}"

    @property
    def heads(self) -> list[int]:
        """The lines with which a histogram of latencies begins."""
        return [i for i, line in enumerate(self.lines) if f"{TITLE} :" in line]

    def part(self, first: int, end: int) -> Output:
        return Output(self.name, self.lines[first:end], self.numbers[first:end])


_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")
_LOG = re.compile(
    r"\s*(?:\{.*\}|[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\S*\s.*"
    r"|[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)? (?:r[0-9]+ )?(?:\[[A-Z]{3,4}\]|[DVIWECF]) .*)\s*"
)
"""A line of a log: fortio's in JSON or as text, Go's, a sidecar's."""


def output(text: str, name: str) -> Output:
    """The lines of `text` without logs and without what other programs put before each line."""
    lines = _COLOUR.sub("", text).replace("\r\n", "\n").removesuffix("\n").split("\n")
    before = next((line[: line.index(f"{TITLE} :")] for line in lines if f"{TITLE} :" in line), "")
    prefix = re.compile(re.sub("[0-9]+", "[0-9]+", re.escape(before[:200]))) if before.strip() else re.compile("")
    own = [(number, prefix.sub("", line, count=1).lstrip(" \t")) for number, line in enumerate(lines, start=1)]
    kept = [(number, line) for number, line in own if f"{TITLE} :" in line or not _LOG.fullmatch(line)]
    return Output(name, [line for _, line in kept], [number for number, _ in kept])


def runs(found: Output) -> Iterator[Output]:
    """The parts of an output that holds several runs, one after another: each ends with its "All done", or where the next begins."""
    first = 0
    for head, following in pairwise([*found.heads, len(found.lines)]):
        between = range(head + 1, following)
        done = next((i + 1 for i in between if _DONE.match(found.lines[i])), following)
        begins = next((i for i in between if _BEGINS.match(found.lines[i])), following)
        end = len(found.lines) if following == len(found.lines) else min(done, begins)
        yield found.part(first, end)
        first = end


_BEGINS = re.compile(r"Fortio \S+ running at |Starting at \S+ qps ")


def read_text(text: str, name: str) -> Parsed:
    """Of what fortio printed: the "Aggregated Function Time" block, alone or with the lines before and after it."""
    if not text.strip():
        raise FortioError(f"{name}: empty")
    return read_run(output(text, name))


def read_run(run: Output) -> Parsed:
    """Of the output of one run."""
    heads = run.heads
    if not heads:
        raise FortioError(f"{run.name}: no line '{TITLE} : count ...', not a fortio record")
    if len(heads) > 1:
        raise FortioError(f"{run.at(heads[1])}: a second '{TITLE}' in one record")
    empty = run.lines[heads[0]].rstrip().endswith(": no data")
    parsed = _no_data(run.at(heads[0])) if empty else _read_block(run, heads[0])
    _refuse_strays(run)
    return parsed._replace(agree=_read_tail(run, parsed.parts))


def _no_data(at: str) -> Parsed:
    none = np.empty(0)
    figures = dict.fromkeys(("mean", "std", "min", "max", "sum"), 0.0)
    parts = {"count": 0, **figures, "starts": none, "ends": none, "counts": np.empty(0, dtype=np.int64), "targets": ()}
    return Parsed(parts, [], lambda part, index: at)


def _read_block(run: Output, head: int) -> Parsed:
    at, lines = run.at(head), run.lines
    header = _HEADER.search(lines[head])
    if not header:
        raise FortioError(f"{at}: not '{TITLE} : count N avg A +/- S min m max M sum T'")
    count = _whole(header[1], at)
    mean, std, low, high, total = (_decimal(word, at) for word in header.groups()[1:])
    if head + 1 == len(lines) or not lines[head + 1].startswith("# range"):
        raise FortioError(f"{run.at(head + 1)}: expected '# range, mid point, percentile, count'")
    buckets = _matching(run, head + 2, ">", _BUCKET)
    rows = [(*(_decimal(word, at) for word in words[:4]), _whole(words[4], at)) for at, words in buckets]
    if not rows:
        raise FortioError(f"{run.at(head + 2)}: no buckets; is the file cut off?")
    first_target = head + 2 + len(rows)
    printed = _matching(run, first_target, "# target", _TARGET)
    targets = tuple((_decimal(percent, at), _decimal(value, at)) for at, (percent, value) in printed)
    start, end, middle, percent, counts = (np.array(column) for column in zip(*rows, strict=True))
    start[0] = low if f"{low:.6g}" == f"{start[0]:.6g}" else start[0]
    end[-1] = high if f"{high:.6g}" == f"{end[-1]:.6g}" else end[-1]
    parts = {"count": count, "mean": mean, "std": std, "min": low, "max": high, "sum": total, "targets": targets}
    parts |= {"starts": start, "ends": end, "counts": counts, "middles": middle}
    line = {"count": head, "bucket": head + 2, "percentile": first_target, "codes": len(lines) - 1}
    return Parsed(parts, percent.tolist(), lambda part, index: run.at(line[part] + index))


def _matching(run: Output, first: int, prefix: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The run of lines from `first` on that begin with `prefix`: where each is, and the words that `pattern` finds."""
    for index, line in enumerate(run.lines[first:], start=first):
        if not line.startswith(prefix):
            return
        match = pattern.match(line)
        if not match:
            raise FortioError(f"{run.at(index)}: not as fortio prints it: {quoted(line, 60)}")
        yield run.at(index), match.groups()


def _refuse_strays(run: Output) -> None:
    """Buckets stand below a "# range", percentiles below buckets: of this histogram or of another one in the output."""
    before = ""
    for index, line in enumerate(run.lines):
        kind = _kind(line)
        if kind == "range" and (index == 0 or " : count " not in run.lines[index - 1]):
            raise FortioError(f"{run.at(index)}: a '# range' below no ' : count '")
        if kind == "bucket" and before not in ("range", "bucket") or kind == "target" and before not in ("bucket", "target"):
            raise FortioError(f"{run.at(index)}: a {kind} outside of a histogram: {quoted(line, 60)}")
        before = kind


def _kind(line: str) -> str:
    if line.startswith(">"):
        return "bucket" if _BUCKET.match(line) else ""
    return "range" if line.startswith("# range") else "target" if line.startswith("# target") else ""


def _read_tail(run: Output, parts: dict[str, Any]) -> Callable[[], None]:
    """Codes, load and rate into `parts`, from the lines around the block; returns the check that these lines agree with it."""
    codes: dict[int | str, int] = {}
    rates = []
    checks: list[Callable[[], None]] = []
    for index, line in enumerate(run.lines):
        at = run.at(index)
        if re.match("Code +-?[0-9]", line) or _STATUS.match(line):
            code, calls, percent = _code(line, at)
            if code in codes:
                raise FortioError(f"{at}: the code {code} stands twice")
            codes[code] = calls
            if percent is not None:
                checks.append(partial(_check_share, percent, calls, parts["count"], at))
        elif found := _STARTING.match(line):
            parts["load"] = _load(*found.groups())
        elif found := _ENDED.match(line):
            rates.append(_decimal(found[1], at))
        elif found := _DONE.match(line):
            rates += [_decimal(found[3], at)] if found[3] else []
            checks.append(partial(_check_done, _whole(found[1], at), _decimal(found[2], at), parts, at))
    parts.update(codes=codes, qps=rates[0] if rates else None)

    def agree() -> None:
        for check in checks:
            check()

    return agree


def _load(qps: str, threads: str, calls: str | None, duration: str | None) -> dict[str, Any]:
    """What was asked of fortio, as `ClosedLoop` names it: connections, qps (0: as fast as possible), calls, duration."""
    asked: dict[str, Any] = {"connections": int(threads)}
    if qps == "max" or _DECIMAL.fullmatch(qps[:40]):
        asked["qps"] = 0.0 if qps == "max" else max(0.0, float(qps[:40]))
    if calls is not None:
        asked["calls"] = int(calls)
    elif duration is not None:
        with suppress(ValueError):
            asked["duration"] = parse_duration(duration, "duration")
    return asked


def _code(line: str, at: str) -> tuple[int | str, int, float | None]:
    if status := _STATUS.match(line):
        return status[1], _whole(status[2], at), None if status[3] is None else _decimal(status[3], at)
    found = _CODE.match(line)
    if not found:
        raise FortioError(f"{at}: not 'Code 200 : N (P %)': {quoted(line, 60)}")
    return int(found[1]), _whole(found[2], at), _decimal(found[3], at)


def _check_share(percent: float, calls: int, count: int, at: str) -> None:
    if count and not abs(percent - 100 * calls / count) < 0.051:  # printed with one decimal
        raise FortioError(f"{at}: {percent:g} % is not that of {calls} among {count}")


def _check_done(calls: int, average: float, parts: Mapping[str, Any], at: str) -> None:
    if calls != parts["count"]:
        raise FortioError(f"{at}: {calls} calls, the histogram has {parts['count']}")
    if not math.isclose(average, 1000 * parts["mean"], rel_tol=1e-6, abs_tol=0.00051):  # printed with three decimals
        raise FortioError(f"{at}: {average:g} ms is not the histogram's average, {1000 * parts['mean']:.3f} ms")


def _decimal(word: str, where: str) -> float:
    """A printed number, zero or more; also refuses "NaN", "+Inf" and an overflow such as 1e999."""
    if len(word) > 400 or not _DECIMAL.fullmatch(word) or not 0 <= float(word) < _LARGEST:
        raise FortioError(f"{where}: must be a number, zero or more, got {quoted(word, 40)}")
    return float(word)


def _whole(word: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", word):
        raise FortioError(f"{where}: count must be a whole number, got {quoted(word, 40)}")
    return int(word)


# ---------------------------------------------------------------- JSON

_PLACE = {"bucket": "DurationHistogram.Data[{}]", "percentile": "DurationHistogram.Percentiles[{}]", "codes": "RetCodes"}


def read_json(content: Mapping[str, Any], name: str) -> Parsed:
    """Of fortio's result file's content, or of its `DurationHistogram` alone."""
    bare = "DurationHistogram" not in content and "Data" in content
    result = Fields({"DurationHistogram": content} if bare else content, "", name, FortioError)
    if "DurationHistogram" not in result:
        raise FortioError(f"{name}: DurationHistogram: missing, not a fortio result file")
    h = result.fields("DurationHistogram")
    rows = [(*(_seconds(row, key) for key in ("Start", "End", "Percent")), row.whole("Count")) for row in h.rows("Data")]
    start, end, percent, counts = (np.array([row[i] for row in rows], dtype=kind) for i, kind in enumerate((float, float, float, np.int64)))
    percentiles = h.rows("Percentiles") if "Percentiles" in h else []
    parts = {"count": h.whole("Count"), "starts": start, "ends": end, "counts": counts, "result": {} if bare else dict(content)}
    parts |= {part: _seconds(h, key) for part, key in zip(("mean", "std", "min", "max", "sum"), _FIGURES, strict=True)}
    parts["targets"] = tuple((row.number("Percentile"), _seconds(row, "Value")) for row in percentiles)
    parts["load"] = _json_load(content)
    named = str(content.get("RunType", "")).upper() not in ("", "HTTP")
    parts["codes"] = _read_codes(result.fields("RetCodes"), named) if result.value.get("RetCodes") is not None else {}
    parts["qps"] = _seconds(result, "ActualQPS") if "ActualQPS" in result else None
    return Parsed(parts, percent.tolist(), lambda part, index: f"{name}: {_PLACE.get(part, 'DurationHistogram').format(index)}")


_FIGURES = ("Avg", "StdDev", "Min", "Max", "Sum")


def _seconds(row: Fields, key: str) -> float:
    value = row.number(key)
    if value >= _LARGEST:
        row.fail(key, f"must be below {_LARGEST:g}")
    return value


def _json_load(content: Mapping[str, Any]) -> dict[str, Any]:
    """The load of a result file; what is missing or odd in it is left out."""
    qps, duration, threads = (content.get(key) for key in ("RequestedQPS", "RequestedDuration", "NumThreads"))
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        return {}
    asked = re.match("exactly ([0-9]{1,15}) calls", str(duration)[:80])
    return _load(str(qps), str(threads), asked[1] if asked else None, None if asked or duration is None else str(duration)[:80])


def _read_codes(codes: Fields, named: bool) -> dict[int | str, int]:
    """HTTP status -> answers; fortio writes -1 for a connection that broke.  `named`: of a run that is not HTTP, by gRPC's words."""
    found: dict[int | str, int] = {}
    for key in codes.keys():
        if named and re.fullmatch("[A-Z][A-Z_]{0,40}", str(key)):
            found[str(key)] = codes.whole(key)
            continue
        if not re.fullmatch("-?(0|[1-9][0-9]{0,2})", str(key)):
            codes.fail(key, "must be an HTTP status")
        found[int(key)] = codes.whole(key)
    return found
