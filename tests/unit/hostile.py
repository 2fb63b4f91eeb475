"""What a stranger may hand us: manifests, records and command lines, whole, bent and broken; Hypothesis strategies.

Each starts from something that is read well, and spoils it where it hurts: another value, tag or name somewhere in the
tree, lines cut, doubled and swapped, odd bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from meshmodel import catalogue, workloads
from meshmodel.commands import common
from meshmodel.results.fortio import Histogram
from meshmodel.scenario import ClosedLoop

DATA = Path(__file__).parents[2] / "data"
MANIFESTS = sorted((DATA / "tutorial" / "manifests").glob("*.yaml")) + sorted((DATA / "envoy" / "manifests").glob("*.yaml"))
DOCUMENTS = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
RECORDS = [(DATA / "tutorial" / f"{name}.txt").read_text(encoding="utf-8") for name in ("round-robin", "least-conn")]

EVERY_TAG = "!!int !!float !!bool !!null !!str !!timestamp !!binary !!set !!omap !!pairs !!map !!seq !!merge !!value !!yaml !!x".split()
EVERY_TAG += ["!", "!x", "!<y>", "!!python/object:os.system"]
ODD_SCALARS = "_ - + . x maybe yes NO ~ null true 0x 0x_ 0xffffffffffffffffff 0777 08 1_0 1e3 1e999 -0 -1 0 1.5 .inf -.inf .nan".split()
ODD_SCALARS += "1:1:1 190:20:30 2024-01-31 2024-99-99 2024-01-31T00:00:00Z é １ 😀 * a/b/c us/* 0s -1s 1d 300ms 5xx,503,777".split()
ODD_SCALARS += "'' '5' {} [] {a:b} *none http://u:p@a:1/x?y#z http://a:0 http://[::1]:80 http://a:99999 ROUND_ROBIN HTTP v1".split()
ODD_SCALARS += ["a b", "{a: b}", "[a, b]", "&a x", "\u202e", '"\\e[31m"', '"a\\nb"', '"\\0"', '"\\ud800"', "'a$\\frac{x$b'", '"\\x9b"']
ODD_SCALARS += ["1" * 400, "9" * 5000, "0x" + "f" * 5000, "1:" * 2000 + "1", "1e" + "9" * 400, "a" * 5000, "1" * 3000 + "s", "a." * 3000]
ODD_KEYS = [
    "<<",
    "? [a]",
    "5",
    "true",
    '"\\e[31m"',
    "spec",
    "kind",
    "metadata",
    "name",
    "replicas",
    "a" * 3000,
    "!!int 5",
    "~",
    '""',
    "a.b/c",
]
ODD_VALUES = [None, True, 0, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), [], {}, b"x", object()]
ODD_VALUES += ["", "\ud800", "a\x1b[31m\nb", "a$b$", "x" * 3000]


class Raw(str):
    """A piece of YAML that stands as it is."""


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a tree."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in pairs] + [place for _, child in pairs for place in places(child)]


def flow(tree: Any) -> str:
    """The tree as YAML in one line, `Raw` pieces as they are."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key if isinstance(key, Raw) else json.dumps(key)}: {flow(child)}" for key, child in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(flow, tree)) + "]"
    return str(tree) if isinstance(tree, Raw) else json.dumps(tree, default=repr)


def _copied(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


@st.composite
def bent_trees(draw: st.DrawFn, tree: Any, odd: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> Any:
    """A tree with up to three of its places spoilt: replaced, left out, doubled, renamed, wrapped."""
    bent = _copied(tree)
    for _ in range(draw(st.integers(1, 3))):
        here = places(bent)
        if not here:
            break
        where, key = draw(st.sampled_from(here))
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "rename", "wrap", "tag", "double"]))
        if how == "drop":
            del where[key]
        elif how == "rename" and isinstance(where, dict):
            where[draw(keys)] = where.pop(key)
        elif how == "wrap":
            where[key] = draw(st.sampled_from([[where[key]], {"a": where[key]}]))
        elif how == "double" and isinstance(where, list):
            where.append(where[key])
        elif how == "tag" and not isinstance(where[key], Raw):
            where[key] = Raw(f"{draw(st.sampled_from(EVERY_TAG))} {flow(where[key])}")
        else:
            where[key] = draw(odd)
    return bent


tags = st.sampled_from(["", "", "", *EVERY_TAG])
raw_scalars = st.builds(lambda tag, odd: Raw(f"{tag} {odd}".strip()), tags, st.sampled_from(ODD_SCALARS))
raw_scalars |= st.sampled_from([Raw(json.dumps(text)) for text in ("Hello", "5", "1s", "a\tb")])


@st.composite
def bent_manifests(draw: st.DrawFn) -> bytes:
    """One or two documents, each bent."""
    bent = bent_trees(draw(st.sampled_from(DOCUMENTS)), raw_scalars, st.sampled_from(ODD_KEYS).map(Raw))
    parts = [flow(draw(bent)) for _ in range(draw(st.integers(1, 2)))]
    return "\n---\n".join(parts).encode("utf-8", "surrogatepass")


@st.composite
def lists_of_manifests(draw: st.DrawFn) -> bytes:
    """A kind: List with bent edges."""
    whole = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [draw(st.sampled_from(DOCUMENTS))]}
    return flow(draw(bent_trees(whole, raw_scalars, st.sampled_from(ODD_KEYS).map(Raw)))).encode("utf-8", "surrogatepass")


JUNK = ["\n", "- ", ": ", "{", "[", "]", "}", "&a ", "*a", "'", '"', "\t", "\r", "\0", "\u2028", "\ufeff", "!!", "#", "? "]
JUNK += ["%TAG ! a\n", "---\n", "...\n", "|\n"]


@st.composite
def spoilt_texts(draw: st.DrawFn, texts: list[str], junk: list[str]) -> bytes:
    """A text with pieces cut out, put in, doubled or moved; at last a few wrong bytes."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 3))):
        lines = text.splitlines(keepends=True) or [""]
        at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["cut", "put", "double", "swap", "drop", "end"]))
        if how == "double":
            lines.insert(other, lines[at])
        elif how == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "drop":
            del lines[at]
        elif how == "end":
            lines = lines[: at + 1]
        else:
            line, cut = lines[at], draw(st.integers(0, len(lines[at])))
            new = draw(st.sampled_from(junk) | st.text(max_size=3)) if how == "put" else ""
            lines[at] = line[:cut] + new + line[cut + (0 if new else 3) :]
        text = "".join(lines)
    content = text.encode("utf-8", "surrogatepass")
    return content + draw(st.sampled_from([b"", b"", b"", b"", b"\xff", b"\xed\xa0\x80", b"\0"]))


soups = st.lists(st.sampled_from([*JUNK, *ODD_SCALARS[:60], *EVERY_TAG, "kind", "metadata", "spec", "Service", "a"]), max_size=30).map(
    lambda words: " ".join(words).encode("utf-8", "surrogatepass")
)
TEXTS = [file.read_text(encoding="utf-8") for file in MANIFESTS]
manifests = bent_manifests() | lists_of_manifests() | spoilt_texts(TEXTS, JUNK) | soups | st.binary(max_size=60)


@st.composite
def plain_sources(draw: st.DrawFn) -> Any:
    """What a caller in Python may hand over in place of a file: dicts, lists of them, odd objects."""
    odd = st.sampled_from(ODD_VALUES)
    names = st.sampled_from(["", "a\nb", "\ud800", 5, None, "x" * 3000])
    tree = draw(bent_trees(draw(st.sampled_from(DOCUMENTS)), odd, names))
    return draw(st.sampled_from([tree, [tree], (tree, [tree]), [tree, draw(odd)], draw(odd)]))


# --- records ------------------------------------------------------------------------------

NUMBERS = "0 -0 1 -1 1e-300 1e300 1e999 NaN +Inf inf 0x1 1_0 １ 007 1e18 99999999999999999999 0.1 0.3 1e-9 2059".split()
NUMBERS += ["1" * 400, "9" * 20_000, "1" * 20_000 + "x", ".", "-", "", "%", "1,5", "1" + "0" * 17]
CONSOLE = ["Code 200 : 1000 (48.6 %)", "Code 200 : 2059 (100.0 %)", "Code 999999 : 1 (0.0 %)", "Code -1 : 0 (0.0 %)", "Code  : x ("]
CONSOLE += ["All done 2059 calls (plus 10 warmup) 292.919 ms avg, 34.0 qps", "Ended after 1m0.5s : 2059 calls. qps=34.0"]
CONSOLE += ["> 1 <= 2 , 1.5 , 1, 1", "# range, mid point, percentile, count", "# target 50% 1"]
CONSOLE += ["Aggregated Function Time : no data", "Sleep times : count 1 avg 1"]


@st.composite
def texts_with_other_numbers(draw: st.DrawFn) -> bytes:
    """A record with some of its words changed, and a line of the console's somewhere."""
    lines = draw(st.sampled_from(RECORDS)).splitlines()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(NUMBERS))
        lines[at] = " ".join(words)
    for line in draw(st.lists(st.sampled_from(CONSOLE), max_size=2)):
        lines.insert(draw(st.sampled_from([len(lines), len(lines), 0, len(lines) // 2])), line)
    return "\n".join(lines).encode()


RESULTS = [Histogram.from_text(text).to_json() | {"ActualQPS": 9.5} for text in RECORDS]
RESULTS += [result | {"RetCodes": {"200": result["DurationHistogram"]["Count"] - 1, "500": 1}} for result in RESULTS]
ODD_JSON = [*NUMBERS, "null", "true", "[]", "{}", "[{}]", '""', '"\\ud800"', '"\\u001b[31m"', "[[[[", '{"a": 1, "a": 2}']
raw_json = st.sampled_from(ODD_JSON).map(Raw)
json_keys = st.sampled_from(["Count", "Data", "200", "-1", "0200", "OK", "\x1b[31m", "DurationHistogram", "fortio", "x" * 3000])


@st.composite
def json_records(draw: st.DrawFn) -> bytes:
    """fortio's result file, or its histogram alone, or ours around it; bent, doubled keys and all."""
    result = draw(st.sampled_from(RESULTS))
    shaped = draw(st.sampled_from([result, result, result["DurationHistogram"], {"fortio": result}, [{"fortio": result}, {}]]))
    bent = draw(bent_trees(shaped, raw_json, json_keys))
    text = flow(bent)
    return text.replace('"Count":', '"Count": 1, "Count":', draw(st.sampled_from([0, 0, 0, 1]))).encode("utf-8", "surrogatepass")


OTHER_LINES = [f"{line}\n" for line in CONSOLE]
records = texts_with_other_numbers() | json_records() | spoilt_texts(RECORDS, [*NUMBERS[:20], *OTHER_LINES, "\0", "\r", "\u2028", ">", "#"])
records |= spoilt_texts([json.dumps(result, indent=1) for result in RESULTS], [*NUMBERS[:20], "{", "[", '"', ",", "\\", "\\u0000", "\0"])
records |= st.binary(max_size=60)

OUTCOME = {
    "engine": "montecarlo",
    "figures": {name: {"mean": 1.5, "lo": 1, "hi": None} for name in ("count", "avg", "p50", "p75", "p90", "p99", "p99.9")},
    "codes": {"200": {"mean": 0.9, "lo": 0.8, "hi": 1}, "-1": {"mean": 0, "lo": 0, "hi": 0}},
    "endpoints": {"a": {"mean": 1, "lo": 1, "hi": 1}},
    "attempts": {"per_request": {"mean": 1, "lo": 1, "hi": 1}},
    "fortio": RESULTS[0],
}
outcomes = bent_trees(OUTCOME, raw_json, json_keys).map(lambda tree: flow(tree).encode("utf-8", "surrogatepass"))
outcomes |= spoilt_texts([json.dumps(OUTCOME, indent=1)], [*NUMBERS[:20], "{", "[", '"', ",", "\\u001b"]) | st.binary(max_size=60)

# --- environment, durations, command lines ------------------------------------------------

ODD_DURATIONS = ["1s", "300ms", "1m30s", "0", "-1s", "1e3s", "１s", "1 s", "1µs", "1μs", "+1s"]
ODD_DURATIONS += ["1h" * 300, "9" * 20_000, "." * 20_000, "1" * 20_000 + "s"]
durations = st.sampled_from(ODD_DURATIONS) | st.text("0123456789.hmsnuµ+- e_", max_size=12)
VARIABLES = [f"TIMING_{which}" for which in ("50_PERCENTILE", "90_PERCENTILE", "99_PERCENTILE", "VARIANCE")]
VARIABLES += ["ERROR_TYPE", "ERROR_RATE", "ERROR_CODE", "ERROR_DELAY", "MESSAGE", "RATE_LIMIT", "LOAD_CPU_PERCENTAGE", "UPSTREAM_URIS"]
VARIABLES += ["X: Y", "A\x1b[31m", "x" * 3000]
ODD_TEXTS = [*NUMBERS, "http_error", "delay", "500", "503", "0.0", "1_0", " 0.5", "0.5 ", "1e-400", "\x1b[31m", "a\nb", "False"]
values = durations | st.sampled_from(ODD_TEXTS)
environments = st.dictionaries(st.sampled_from(VARIABLES), values, max_size=5)

VERBS = "load curl predict measure routes endpoints compare replay student lod".split()
FLAGS = (
    "-c -qps -t -n -r -timeout -H --path --users --rate --segment --arrivals --replications --seed --keep --at --target --locality".split()
)
FLAGS += "--overhead --workers --istio --injector --json -nocatchup -h --print-config".split()
WORDS = "testbed.yaml dr-random.yaml no-such.yaml - /dev/null . simple-backend us-west1.us-west1-a poisson 5s:1:1 5s:1:1_0 nominal".split()
WORDS += "log 1.17 1.１７ 1.24.99999999999999999999 -- -5 1,000".split()
WORDS += ["", "x: y", "/a b", "\ud800", "\0", "a\x1b[31m\nb"]
command_lines = st.tuples(st.sampled_from(VERBS), st.lists(st.sampled_from(FLAGS) | st.sampled_from(WORDS) | values, max_size=6)).map(
    lambda pair: [pair[0], "testbed.yaml", *pair[1]]
)


def without_engine(args: Any) -> None:
    """What a verb does before its engine starts."""
    if "files" not in args:
        catalogue.experiment(args.name)
        return
    mesh = common.applied(args)
    workload = common.workload(args) if "rate" in args else ClosedLoop(calls=workloads.whole(args.n, "n", 1))
    mesh.scenario(workload, **common.caller(args))
    print(mesh.proxy_config_routes(**common.caller(args)))
