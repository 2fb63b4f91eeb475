"""A load means the same wherever it is said: verbs, command line, experiments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from meshmodel import ManifestError, Mesh, catalogue, workloads
from meshmodel.__main__ import VERBS
from meshmodel._data import data_path
from meshmodel._flags import parsers
from meshmodel.commands.common import workload as _workload
from meshmodel.scenario import ClosedLoop, OpenLoop, Request, ScenarioError

TESTBED = data_path("tutorial", "manifests", "testbed.yaml")


def typed(*flags: str) -> ClosedLoop | OpenLoop:
    """The workload of a `meshmodel load` with these flags."""
    return _workload(parsers(dict[str, Any](VERBS))[1]["load"].parse_args(["mesh.yaml", *flags]))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), workloads.fortio()),
        (("-c", "4", "-qps", "20", "-t", "1m30s"), workloads.fortio(4, 20, 90)),
        (("-n", "7", "-timeout", "500ms", "--users", "3"), workloads.fortio(calls=7, timeout=0.5, users=3)),
        (("-H", "x-user: jason", "-H", "x-user:", "--path", "/a?b=c"),
         workloads.fortio(request=Request(path="/a?b=c", headers=(("x-user", "jason"), ("x-user", ""))))),
        (("--rate", "5", "-t", "2s", "-timeout", "1s"), workloads.open_loop(5, "2s", timeout=1)),
        (("--segment", "2s:1:3", "--arrivals", "paced"), workloads.open_loop([(2, 1, 3)], arrivals="paced")),
    ],
)  # fmt: skip
def test_flags_and_keywords_say_the_same(flags: tuple[str, ...], said: ClosedLoop | OpenLoop) -> None:
    assert typed(*flags) == said


@pytest.mark.parametrize(
    ("verb", "program"),
    [(Mesh.fortio_load, workloads.fortio), (Mesh.curl, workloads.curl), (Mesh.open_loop, workloads.open_loop)],
)
def test_verbs_and_programs_have_the_same_parameters(verb: Callable[..., Any], program: Callable[..., Any]) -> None:
    of_verb, of_program = inspect.signature(verb).parameters, inspect.signature(program).parameters
    assert {name: of_verb[name].default for name in of_program} == {name: each.default for name, each in of_program.items()}
    assert of_verb.keys() - of_program.keys() == inspect.signature(Mesh.simulate).parameters.keys() - {"workload", "resolution"}


def test_a_verb_hands_its_load_on(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = {}
    monkeypatch.setattr(Mesh, "simulate", lambda self, *load: handed.update(load=load))
    Mesh().fortio_load(3, 5, "2s", None, 7, 9, "web", "r.z", timeout="1s", request={"path": "/x"})
    assert handed["load"] == (workloads.fortio(3, 5, 2, None, 1, {"path": "/x"}), 7, 9, "web", "r.z", None, False, "log")
    Mesh().curl(3, timeout="4s", target="web")
    assert handed["load"][:4] == (ClosedLoop(calls=3, timeout=4.0), 1000, 1, "web")
    Mesh().open_loop(3, "2s", "paced", timeout="4s")
    assert handed["load"][0] == OpenLoop(segments=((2.0, 3, 3),), arrivals="paced", timeout=4.0)


def test_fortio_has_a_timeout_and_curl_has_none() -> None:
    """fortio's default: fhttp/http_client.go, HTTPReqTimeOutDefaultValue."""
    assert workloads.fortio().timeout == 3.0 and workloads.fortio(timeout=None).timeout is None
    assert workloads.curl().timeout is None and workloads.open_loop(1, 1).timeout is None
    assert catalogue.experiment("lb-random").workload == workloads.fortio(10, 1000, "60s")
    assert catalogue.experiment("timeout").workload == workloads.curl(10)
    assert catalogue.experiment("locality-failure").workload.calls == 60


def test_one_connection_of_fortio_is_no_curl() -> None:
    """It keeps its connection, and spends fortio's overhead."""
    mesh = Mesh().apply(TESTBED)
    curl, fortio = (mesh.scenario(load) for load in (workloads.curl(20), workloads.fortio(1, 0, calls=20)))
    assert curl.workload.is_curl and not fortio.workload.is_curl
    assert curl.overhead.mean() > 2 * fortio.overhead.mean()
    bare = Mesh().apply(data_path("envoy", "manifests", "pods-one-slow.yaml"))
    assert bare.scenario(workloads.curl(20)).new_connection_per_request
    assert not bare.scenario(workloads.fortio(1, 0, calls=20)).new_connection_per_request


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"path": "no-slash"}, "request.path"),
        ({"path": "/a b"}, "request.path"),
        ({"path": "/a\r\nX: y"}, "request.path"),
        ({"method": "GET /x"}, "request.method"),
        ({"headers": {"a b": "c"}}, "request.headers"),
        ({"headers": {"a": "b\nc"}}, "request.headers.a"),
        ({"headers": {"Host": "elsewhere"}}, "request.headers.host"),
        ({"headers": {"a": 1}}, "request.headers.a"),
        ({"headers": 5}, "request.headers"),
        ({"verb": "GET"}, "request"),
        ("/path", "request"),
    ],
)
def test_a_request_that_cannot_be_sent_is_refused(request_: Any, named: str) -> None:
    with pytest.raises(ManifestError, match=rf"^{named}: "):
        workloads.fortio(request=request_)


@pytest.mark.parametrize("timeout", [0, "0s", -1, True, "soon", float("inf")])
def test_a_timeout_is_more_than_zero_seconds(timeout: Any) -> None:
    for program in (workloads.fortio, workloads.curl):
        with pytest.raises((ManifestError, ScenarioError), match="^timeout: "):
            program(timeout=timeout)


def test_a_load_is_said_once() -> None:
    with pytest.raises(ManifestError, match="^workload: must not be given with qps"):
        Mesh().apply(TESTBED).predict(workload=workloads.curl(3), qps=5)
    with pytest.raises(ManifestError, match="^keep: "):
        Mesh().apply(TESTBED).curl(3, keep="nothing")  # type: ignore[arg-type]
