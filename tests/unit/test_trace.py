"""A trace is stored and read back exactly; what is none is refused with its place."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings

from meshmodel.evidence import catalogue, experiments, traces
from meshmodel.evidence.traces import UnknownTrace
from meshmodel.results.trace import ATTEMPTS, EVENTS, HOSTS, REQUESTS, Trace, TraceError

from .traces import played, scenario

TABLES = {"requests": REQUESTS, "attempts": ATTEMPTS, "hosts": HOSTS}
TIMES = st.floats(-1e8, 1e8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=6)
NUMBERS = st.integers(-1, 2**31 - 1)
KINDS = {"int": NUMBERS, "float": TIMES | st.just(float("nan")), "str": TEXTS}


def table(kinds: dict[str, str], **own: st.SearchStrategy[Any]) -> st.SearchStrategy[pd.DataFrame]:
    rows = st.lists(st.fixed_dictionaries({name: KINDS[kind] for name, kind in kinds.items()} | own), max_size=8)
    return rows.map(lambda made: pd.DataFrame(made, columns=list(kinds)))


@st.composite
def any_trace(draw: st.DrawFn) -> Trace:
    """Any trace that a reader can count on: attempts of its requests, each serving one of the hop before, or none."""
    requests = draw(table(REQUESTS, request=st.just(0), start=TIMES, code=st.integers(-1, 599)))
    requests["request"] = draw(st.permutations(range(len(requests))))
    attempts = draw(table(ATTEMPTS, hop=st.integers(0, 1), number=st.integers(1, 9), parent=st.just(-1), chosen=TIMES))
    attempts = attempts if len(requests) else attempts[:0]
    attempts["request"] = [draw(st.sampled_from(range(len(requests)))) for _ in range(len(attempts))]
    first = [row for row, hop in enumerate(attempts.hop) if hop == 0]
    attempts["parent"] = [draw(st.sampled_from([-1, *first])) if hop else -1 for hop in attempts.hop]
    hosts = draw(table(HOSTS, time=TIMES, event=st.sampled_from(EVENTS)))
    pods = tuple(draw(st.lists(TEXTS, max_size=3)))
    return Trace(requests, attempts, hosts, scenario(), draw(TEXTS), pods, tuple(draw(TEXTS) for _ in pods))


def assert_same(one: Trace, other: Trace) -> None:
    for name, kinds in TABLES.items():
        pd.testing.assert_frame_equal(getattr(one, name)[list(kinds)], getattr(other, name), check_dtype=False, check_exact=True)
    assert (one.scenario, one.engine, one.pods, one.deployments) == (other.scenario, other.engine, other.pods, other.deployments)


@given(any_trace())
@settings(deadline=None)
def test_what_is_stored_is_read_back_exactly(trace: Trace) -> None:
    assert_same(trace, Trace.from_json(json.loads(json.dumps(trace.to_json(), allow_nan=False))))


@pytest.mark.parametrize("run", [{}, {"per_try": 0.1, "retries": 2, "limit": 4}, {"fails": 1.0, "eject": True}], ids=str)
def test_a_run_is_stored_in_a_file_and_read_again(run: dict[str, Any], tmp_path: Path) -> None:
    trace, path = played(**run), tmp_path / "trace.json"
    path.write_text(json.dumps(trace.to_json()), encoding="utf-8")
    assert_same(trace, Trace.from_json(path))


def put(told: dict[str, Any], place: str, value: Any) -> None:
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for part in path:
        told = told[part]
    told[last] = value


@pytest.mark.parametrize(
    "place, value, problem",
    [
        ("requests", None, "t.json: requests: must be an object, got NoneType"),
        ("words.0", 1, "t.json: words[0]: must be text, got 1"),
        ("pods", ["a"], "t.json: deployments: must be one for each pod, got"),
        ("engine", 3, "t.json: engine: must be text, got 3"),
        ("scenario", {}, "t.json: scenario: not as --json writes it"),
        ("requests.start.2", "soon", "t.json: requests.start[2]: must be a number of seconds or null, got soon"),
        ("requests.start.2", None, "t.json: requests.start[2]: must be a number of seconds, got nan"),
        ("requests.start.0", 1e300, "t.json: requests.start[0]: must be a number of seconds or null, got 1e+300"),
        ("requests.code.1", True, "t.json: requests.code[1]: must be a whole number, got True"),
        ("requests.code.1", 1000, "t.json: requests.code[1]: must be an HTTP status, -1 or 0, got 1000"),
        ("requests.request.3", 2, "t.json: requests.request[3]: must be a number of its own, got 2"),
        ("requests.endpoint.0", 99, "t.json: requests.endpoint[0]: must be the place of a word, from 0 to"),
        ("requests.attempts", [], "t.json: requests.attempts: must have 229 rows, as the first column has, and has 0"),
        ("requests.attempts", 4, "t.json: requests.attempts: must be a list, got 4"),
        ("attempts.request.7", 229, "t.json: attempts.request[7]: must be the number of a request, got 229"),
        ("attempts.request.7", 2**40, "t.json: attempts.request[7]: must be a whole number, got 1099511627776"),
        ("attempts.hop.0", 2, "t.json: attempts.hop[0]: must be from 0 to 1, got 2"),
        ("attempts.number.0", 0, "t.json: attempts.number[0]: must be 1 or more, got 0"),
        ("attempts.parent.1", 1, "t.json: attempts.parent[1]: must be the row of an attempt of the hop that calls, or -1, got 1"),
        ("attempts.parent.1", 458, "t.json: attempts.parent[1]: must be the row of an attempt of the hop that calls, or -1, got 458"),
        ("hosts", {"time": [1.0], "proxy": [0], "endpoint": [0], "event": [0]}, "t.json: hosts.event[0]: must be one of"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_with_its_place(place: str, value: Any, problem: str) -> None:
    told = copy.deepcopy(STORED)
    put(told, place, value)
    with pytest.raises(TraceError) as refused:
        Trace.from_json(told, "t.json")
    assert str(refused.value).startswith(problem) and "\n" not in str(refused.value)


STORED = played().to_json()


@pytest.mark.parametrize("text, problem", [("{", "line 1: not JSON"), ("[]", "must be an object, got list"), ("", "empty")])
def test_a_file_that_holds_no_trace_is_refused_by_name(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=f"none.json.*{problem}"):
        Trace.from_json(path)


def test_every_missing_column_is_named() -> None:
    for title, kinds in TABLES.items():
        for name in kinds:
            told = copy.deepcopy(STORED)
            del told[title][name]
            with pytest.raises(TraceError, match=rf"t.json: {title}\.{name}: must be a list, got nothing"):
                Trace.from_json(told, "t.json")


# --- those of a real Envoy ---------------------------------------------------------------------


@pytest.mark.parametrize("name", experiments.traced())
def test_a_recorded_trace_is_of_its_experiment_as_it_is_now(name: str) -> None:
    """Of at most so many bytes, since a wheel carries it; and every request has its tries, all of the hops that it passed."""
    trace, seconds = catalogue.envoy_trace(name), experiments.traced()[name]
    expected = experiments.everything()[name].scenario(overhead=0)
    assert trace.scenario == (replace(expected, workload=replace(expected.workload, duration=seconds)) if seconds else expected)
    assert trace.engine == "envoy" and traces._path(name).stat().st_size < 100_000
    assert set(trace.requests.request) == set(trace.attempts[trace.attempts.hop == 0].request)
    assert (trace.attempts[trace.attempts.hop > 0].parent >= 0).all()


def test_a_trace_that_was_not_recorded_is_refused_with_those_that_were() -> None:
    with pytest.raises(UnknownTrace, match="no trace of 'lb-least-con', did you mean lb-least-conn\\? .there are lb-least-conn, "):
        catalogue.envoy_trace("lb-least-con")
