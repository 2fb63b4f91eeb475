"""Which route takes a request: `match` as Istio and Envoy read it, delegates, and mixtures of requests."""

from __future__ import annotations

import time
from typing import Any

import pytest

from meshmodel.istio import re2
from meshmodel.istio.field import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import Route
from meshmodel.workloads import curl
from tests.unit.test_said import pods, service


def virtual_service(*http: dict[str, Any], name: str = "web", hosts: tuple[str, ...] = ("web",), **spec: Any) -> dict[str, Any]:
    found = {"http": list(http), **({"hosts": list(hosts)} if hosts else {}), **spec}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": found}


def to(match: Any = None, timeout: str | None = None, host: str = "web", **fields: Any) -> dict[str, Any]:
    """A route to `host`, known by its timeout."""
    more = {"match": match if isinstance(match, list) else [match]} if match is not None else {}
    return {"route": [{"destination": {"host": host}}], **more, **({"timeout": timeout} if timeout else {}), **fields}


WEB = pods("web", "web", 2), service("web", 80, 8080), pods("other", "other"), service("other")


def taken(*sources: Any, target: str = "web:80", **request: Any) -> Route:
    return Mesh(overhead=0).apply(WEB, *sources).scenario(curl(1, request=request), target).routes[0]


def matches(match: Any, target: str = "web:80", **request: Any) -> bool:
    """Whether the request takes the route of this match, rather than the next one."""
    return taken(virtual_service(to(match, "1s"), to(None, "2s")), target=target, **request).timeout == 1


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"uri": {"exact": "/a"}}, ["/a", "/a?b=c"], ["/", "/a/", "/A", "/ab"]),
        ({"uri": {"prefix": "/a"}}, ["/a", "/a/b", "/ab"], ["/", "/A", "/b/a"]),
        ({"uri": {"regex": "/a.*"}}, ["/a", "/ab/c"], ["/", "/b/a"]),
        ({"uri": {"regex": "^/.+$"}}, ["/x"], ["/"]),
        ({"uri": {"exact": "/Ab"}, "ignoreUriCase": True}, ["/aB"], ["/a"]),
        ({"uri": {"prefix": "/Ab"}, "ignoreUriCase": True}, ["/aBc"], ["/a"]),
        ({"uri": {"regex": "/Ab"}, "ignoreUriCase": True}, ["/Ab"], ["/ab"]),
        ({"queryParams": {"v": {"exact": "2"}}}, ["/?v=2", "/?a=b&v=2"], ["/", "/?v=3", "/?V=2"]),
        ({"queryParams": {"v": {}}}, ["/?v=", "/?v=1"], ["/"]),
        ([{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}], ["/a", "/b"], ["/"]),
        ({"uri": {"prefix": "/a"}, "queryParams": {"v": {"regex": "[0-9]+"}}}, ["/a?v=12"], ["/a", "/?v=1", "/a?v=x"]),
        ({"name": "n"}, ["/"], []),
    ],
)
def test_paths(match: Any, yes: list[str], no: list[str]) -> None:
    assert [path for path in (*yes, *no) if matches(match, path=path)] == yes


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"headers": {"end-user": {"exact": "tester"}}}, [{"End-User": "tester"}], [{}, {"end-user": "Tester"}]),
        ({"headers": {"End-User": {"exact": "tester"}}}, [{"end-user": "tester"}], [{}]),
        ({"headers": {"cookie": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}}, [{"cookie": "a=b;user=jason"}], [{"cookie": "user=jasonx"}]),
        ({"headers": {"x": {}}}, [{"x": "1"}], [{}]),
        ({"headers": {"x": {"prefix": "v"}}, "withoutHeaders": {"y": {"exact": "no"}}}, [{"x": "v1"}, {"x": "v", "y": "a"}],
         [{"x": "v1", "y": "no"}, {"y": "a"}]),
        ({"withoutHeaders": {"x": {}}}, [{}], [{"x": "1"}]),
    ],
)  # fmt: skip
def test_headers(match: Any, yes: list[dict[str, str]], no: list[dict[str, str]]) -> None:
    assert [headers for headers in (*yes, *no) if matches(match, headers=headers)] == yes


def test_what_else_is_matched() -> None:
    assert matches({"method": {"exact": "POST"}}, method="POST") and not matches({"method": {"exact": "POST"}})
    assert matches({"scheme": {"exact": "http"}}) and not matches({"scheme": {"exact": "https"}})
    assert matches({"port": 8080}, target="web:8080") and not matches({"port": 8080})
    assert matches({"port": 8080}, target="web", port=8080)
    assert matches({"authority": {"exact": "web.default"}}) and not matches({"authority": {"exact": "web.example"}})
    assert matches({"gateways": ["mesh"]}) and not matches({"gateways": ["front"]})
    assert not matches({"sourceLabels": {"app": "checkout"}})
    mesh = (
        Mesh(overhead=0).apply(WEB, virtual_service(to({"sourceLabels": {"app": "other"}}, "1s"), to(None, "2s"))).calls("other", "web:80")
    )
    assert mesh.scenario(curl(1), "other").routes[1].timeout == 1


def test_without_any_route_envoy_answers_404_and_the_first_warning_says_what_to_ask_for() -> None:
    mesh = Mesh(overhead=0).apply(WEB, virtual_service(to({"uri": {"prefix": "/api/"}}, "1s", rewrite={"uri": "/"})))
    answer = mesh.scenario(curl(1), "web:80").routes[0].direct_response
    assert answer is not None and answer.status == 404
    reason = "no route takes GET /, so Envoy answers 404: ask for what one takes (/api/*) with --path and -H (request=)"
    assert [warning.reason for warning in mesh.warnings if warning.first and "404" in warning.reason] == [reason]
    assert mesh.scenario(curl(1, request={"path": "/api/x"}), "web:80").routes[0].timeout == 1


def test_routes_that_the_request_does_not_reach_are_said_once() -> None:
    tester = to({"headers": {"end-user": {"exact": "tester"}}}, fault={"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}})
    mesh = Mesh(overhead=0).apply(WEB, virtual_service(tester, to({"uri": {"prefix": "/a"}}, name="the a"), to(None, "2s")))
    assert mesh.scenario(curl(1), "web:80").routes[0].fault.delay == 0
    (said,) = [warning for warning in mesh.warnings if "does not reach" in warning.reason]
    assert said.reason == "GET / does not reach http[0] (end-user=tester), the a (/a*)" and said.group == "assumption"
    assert mesh.scenario(curl(1, request={"headers": {"end-user": "tester"}}), "web:80").routes[0].fault.delay == 7


def test_the_table_of_routes_shows_every_route_with_its_match() -> None:
    http = to({"uri": {"prefix": "/a"}}, "1s"), to({"headers": {"x": {"exact": "y"}}}, "2s"), to(None, "3s")
    lines = Mesh(overhead=0).apply(WEB, virtual_service(*http)).proxy_config_routes("web:80").splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["1s", "2s", "3s"]
    assert lines[0].endswith("MATCH") and [line.split()[-1] for line in lines[1:]] == ["/a*", "x=y", "*"]


def test_a_rewritten_path_is_what_the_next_hop_matches() -> None:
    first = virtual_service(to({"uri": {"prefix": "/shop/"}}, rewrite={"uri": "/"}))
    second = virtual_service(to({"uri": {"exact": "/pay"}}, "1s", host="other"), to(None, "2s", host="other"), name="o", hosts=("other",))
    mesh = Mesh(overhead=0).apply(WEB, first, second).calls("web", "other")
    assert mesh.scenario(curl(1, request={"path": "/shop/pay"}), "web:80").routes[1].timeout == 1
    assert mesh.scenario(curl(1, request={"path": "/shop/x"}), "web:80").routes[1].timeout == 2


def test_a_path_of_the_upstream_stands_before_what_was_asked() -> None:
    environment = [{"name": "UPSTREAM_URIS", "value": "http://other:80/items"}]
    front = pods("web", "web")
    front["spec"]["template"]["spec"]["containers"][0]["env"] = environment
    second = virtual_service(to({"uri": {"prefix": "/items/"}}, "1s", "other"), to(None, "2s", "other"), name="o", hosts=("other",))
    mesh = Mesh(overhead=0).apply(WEB, front, second)
    assert mesh.scenario(curl(1, request={"path": "/7"}), "web:80").routes[1].timeout == 1


# ---- Gateways and delegates


def gateway(*servers: dict[str, Any], name: str = "front") -> dict[str, Any]:
    listed = servers or ({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},)
    spec = {"selector": {"istio": "ingressgateway"}, "servers": list(listed)}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": name}, "spec": spec}


def test_a_delegate_stands_in_for_the_route() -> None:
    root = virtual_service(
        {"match": [{"uri": {"prefix": "/api"}}], "delegate": {"name": "api"}, "timeout": "9s"},
        to(None, "2s"), name="root", hosts=("shop.example",), gateways=["front"],
    )  # fmt: skip
    delegate = virtual_service(to({"uri": {"prefix": "/api/v1"}}, "1s", "other"), to(None, None, "other"), name="api", hosts=())
    for path, host, timeout in (("/api/v1", "other", 1), ("/api/v2", "other", 9), ("/", "web", 2)):
        route = taken(gateway(), root, delegate, target="shop.example", path=path)
        assert (f"|{host}." in route.destinations[0].cluster.name, route.timeout) == (True, timeout)
    with pytest.raises(ManifestError, match=r"delegate: there is no VirtualService api without hosts"):
        taken(gateway(), root, target="shop.example")


def test_a_gateway_over_tls_and_one_that_redirects() -> None:
    plain = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"], "tls": {"httpsRedirect": True}}
    secure = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": ["*"],
        "tls": {"mode": "SIMPLE", "credentialName": "c"},
    }
    passed = {"port": {"number": 444, "name": "tls", "protocol": "TLS"}, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}}
    bound = virtual_service(to(None, "1s", "other"), hosts=("*",), gateways=["front"])
    assert taken(gateway(passed, plain, secure), bound, target=None, path="/").timeout == 1
    answer = taken(gateway(plain), bound, target=None).direct_response
    assert answer is not None and answer.status == 301


# ---- mixtures


def shares(route: Route) -> dict[str, float]:
    whole = sum(each.weight for each in route.destinations)
    return {each.cluster.name.split("|")[3].split(".")[0]: each.weight / whole for each in route.destinations}


def mixed(vs: dict[str, Any], *parts: dict[str, Any]) -> Route:
    return Mesh(overhead=0).apply(WEB, vs).scenario(curl(1, request=list(parts)), "web:80").routes[0]


def test_a_mixture_goes_where_each_of_its_requests_goes() -> None:
    both = [{"destination": {"host": "web"}, "weight": 25}, {"destination": {"host": "other"}, "weight": 75}]
    vs = virtual_service(to({"uri": {"prefix": "/o"}}, host="other"), {"match": [{"uri": {"exact": "/b"}}], "route": both}, to())
    assert shares(mixed(vs, {"path": "/", "weight": 3}, {"path": "/o", "weight": 1})) == {"web": 0.75, "other": 0.25}
    assert shares(mixed(vs, {"path": "/b", "weight": 0.4}, {"path": "/o", "weight": 0.6})) == pytest.approx({"web": 0.1, "other": 0.9})
    assert mixed(vs, {"path": "/"}, {"path": "/x"}) == mixed(vs, {"path": "/"})


def test_a_mixture_meets_faults_and_missing_routes_by_weight() -> None:
    delay = {"delay": {"fixedDelay": "7s", "percentage": {"value": 50}}}
    vs = virtual_service(to({"headers": {"u": {"exact": "t"}}}, fault=delay), to())
    fault = mixed(vs, {"weight": 90}, {"headers": {"u": "t"}, "weight": 10}).fault
    assert (fault.delay, fault.delay_percent) == (7, 5)
    fault = mixed(virtual_service(to({"uri": {"prefix": "/a"}})), {"path": "/a", "weight": 4}, {"path": "/b", "weight": 1}).fault
    assert (fault.abort_code, fault.abort_percent) == (404, 20)


@pytest.mark.parametrize(
    ("parts", "part"),
    [
        ([{"path": "/"}, {"path": "/a"}], "differ in timeout is not modelled: give each kind of request a load of its own"),
        ([{"path": "/", "weight": 0}], "request.weight: must be more than 0"),
        ([{"path": "/", "share": 1}], "request: must be a dict with path"),
        (["/"], "request: a mixture is a list of dicts"),
        ([], "request: a mixture has from 1 to 100 requests"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(parts: list[Any], part: str) -> None:
    with pytest.raises(ManifestError) as caught:
        mixed(virtual_service(to({"uri": {"prefix": "/a"}}, "1s"), to()), *parts)
    assert part in str(caught.value)


# ---- RE2


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a|bc?", ["a", "b", "bc"], ["ab", ""]),
        ("[^/]+", ["abc"], ["a/", ""]),
        ("(?i)/Ab", ["/aB"], ["/a"]),
        (r"\d{2,3}\.\w", ["12.a", "123._"], ["1.a", "12xa"]),
        ("(a*)*b", ["aab", "b"], ["a" * 5000]),
        ("(x+x+)+y", ["xxy"], ["x" * 2000]),
        ("[[:alpha:]]+", ["ab"], ["a1"]),
        (r"^.*\.(png|css)$", ["/a/b.png"], ["/a.pngx"]),
        ("(?P<v>v[12])", ["v1"], ["v3"]),
        (r"/a\b.*", ["/a", "/a/b"], ["/ab"]),
        ("", [""], ["a"]),
    ],
)
def test_regular_expressions_match_in_full_and_in_time(pattern: str, yes: list[str], no: list[str]) -> None:
    begun = time.process_time()
    assert [text for text in (*yes, *no) if re2.full_match(pattern, text)] == yes
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "a{2000}", "(a{500}){500}", "x" * 3000, "[z-a]"])
def test_what_is_no_expression_of_re2_is_refused(pattern: str) -> None:
    with pytest.raises(re2.PatternError):
        re2.full_match(pattern, "a")
