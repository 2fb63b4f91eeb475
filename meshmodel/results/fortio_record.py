"""What fortio wrote, read: its text and its JSON, into the parts of a histogram with the place of each.

Everything that is printed twice must agree, and nothing may stand where fortio prints nothing: a record that was cut,
pasted twice or edited by hand is refused with its line or field.

Reference: fortio (Apache-2.0), stats/stats.go `Print` and fhttp/httprunner.go; no code is copied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from meshmodel._text import InputError, quoted
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
_ENDED = re.compile(r"Ended after \S+ : \S+ calls. qps=(\S+)")
_DONE = re.compile(r"All done (\S+) calls \(plus \S+ warmup\) (\S+) ms avg(?:, (\S+) qps)?\s*$")
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


def read_text(text: str, name: str) -> Parsed:
    """Of what fortio printed: the "Aggregated Function Time" block, alone or with the lines before and after it."""
    if not text.strip():
        raise FortioError(f"{name}: empty")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    heads = [i for i, line in enumerate(lines) if f"{TITLE} :" in line]
    if not heads:
        raise FortioError(f"{name}: no line '{TITLE} : count ...', not a fortio record")
    if len(heads) > 1:
        raise FortioError(f"{name} line {heads[1] + 1}: a second '{TITLE}' in one record")
    empty = lines[heads[0]].rstrip().endswith(": no data")
    parsed = _no_data(heads[0], name) if empty else _read_block(lines, heads[0], name)
    _refuse_strays(lines, name)
    return parsed._replace(agree=_read_tail(lines, name, parsed.parts))


def _no_data(head: int, name: str) -> Parsed:
    none = np.empty(0)
    figures = dict.fromkeys(("mean", "std", "min", "max", "sum"), 0.0)
    parts = {"count": 0, **figures, "starts": none, "ends": none, "counts": np.empty(0, dtype=np.int64), "targets": ()}
    return Parsed(parts, [], lambda part, index: f"{name} line {head + 1}")


def _read_block(lines: list[str], head: int, name: str) -> Parsed:
    at = f"{name} line {head + 1}"
    header = _HEADER.search(lines[head])
    if not header:
        raise FortioError(f"{at}: not '{TITLE} : count N avg A +/- S min m max M sum T'")
    count = _whole(header[1], at)
    mean, std, low, high, total = (_decimal(word, at) for word in header.groups()[1:])
    if head + 1 == len(lines) or not lines[head + 1].startswith("# range"):
        raise FortioError(f"{name} line {head + 2}: expected '# range, mid point, percentile, count'")
    buckets = _matching(lines, head + 2, ">", _BUCKET, name)
    rows = [(*(_decimal(word, at) for word in words[:4]), _whole(words[4], at)) for at, words in buckets]
    if not rows:
        raise FortioError(f"{name} line {head + 3}: no buckets; is the file cut off?")
    first_target = head + 2 + len(rows)
    printed = _matching(lines, first_target, "# target", _TARGET, name)
    targets = tuple((_decimal(percent, at), _decimal(value, at)) for at, (percent, value) in printed)
    start, end, middle, percent, counts = (np.array(column) for column in zip(*rows, strict=True))
    start[0] = low if f"{low:.6g}" == f"{start[0]:.6g}" else start[0]
    end[-1] = high if f"{high:.6g}" == f"{end[-1]:.6g}" else end[-1]
    parts = {"count": count, "mean": mean, "std": std, "min": low, "max": high, "sum": total, "targets": targets}
    parts |= {"starts": start, "ends": end, "counts": counts, "middles": middle}
    line = {"count": head + 1, "bucket": head + 3, "percentile": first_target + 1, "codes": len(lines)}
    return Parsed(parts, percent.tolist(), lambda part, index: f"{name} line {line[part] + index}")


def _matching(lines: list[str], first: int, prefix: str, pattern: re.Pattern[str], name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The run of lines from `first` on that begin with `prefix`: where each is, and the words that `pattern` finds."""
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.startswith(prefix):
            return
        match = pattern.match(line)
        if not match:
            raise FortioError(f"{name} line {number}: not as fortio prints it: {quoted(line, 60)}")
        yield f"{name} line {number}", match.groups()


def _refuse_strays(lines: list[str], name: str) -> None:
    """Buckets stand below a "# range", percentiles below buckets: of this histogram or of another one in the output."""
    before = ""
    for number, line in enumerate(lines, start=1):
        kind = _kind(line)
        if kind == "range" and (number == 1 or " : count " not in lines[number - 2]):
            raise FortioError(f"{name} line {number}: a '# range' below no ' : count '")
        if kind == "bucket" and before not in ("range", "bucket") or kind == "target" and before not in ("bucket", "target"):
            raise FortioError(f"{name} line {number}: a {kind} outside of a histogram: {quoted(line, 60)}")
        before = kind


def _kind(line: str) -> str:
    if line.startswith(">"):
        return "bucket" if _BUCKET.match(line) else ""
    return "range" if line.startswith("# range") else "target" if line.startswith("# target") else ""


def _read_tail(lines: list[str], name: str, parts: dict[str, Any]) -> Callable[[], None]:
    """Codes and rate into `parts`, from the lines around the block; returns the check that these lines agree with it."""
    codes: dict[int, int] = {}
    rates = []
    checks: list[Callable[[], None]] = []
    for number, line in enumerate(lines, start=1):
        at = f"{name} line {number}"
        if re.match("Code +-?[0-9]", line):
            code, calls, percent = _code(line, at)
            if code in codes:
                raise FortioError(f"{at}: the code {code} stands twice")
            codes[code] = calls
            checks.append(partial(_check_share, percent, calls, parts["count"], at))
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


def _code(line: str, at: str) -> tuple[int, int, float]:
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
    parts["codes"] = _read_codes(result.fields("RetCodes")) if result.value.get("RetCodes") is not None else {}
    parts["qps"] = _seconds(result, "ActualQPS") if "ActualQPS" in result else None
    return Parsed(parts, percent.tolist(), lambda part, index: f"{name}: {_PLACE.get(part, 'DurationHistogram').format(index)}")


_FIGURES = ("Avg", "StdDev", "Min", "Max", "Sum")


def _seconds(row: Fields, key: str) -> float:
    value = row.number(key)
    if value >= _LARGEST:
        row.fail(key, f"must be below {_LARGEST:g}")
    return value


def _read_codes(codes: Fields) -> dict[int, int]:
    """HTTP status -> answers; fortio writes -1 for a connection that broke."""
    found: dict[int, int] = {}
    for key in codes.keys():
        if not re.fullmatch("-?(0|[1-9][0-9]{0,2})", str(key)):
            codes.fail(key, "must be an HTTP status")
        found[int(key)] = codes.whole(key)
    return found
