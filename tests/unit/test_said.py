"""What no manifest says: timings, calls and failures, in Python and as flags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshmodel.__main__ import main
from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop, Route, callers_of
from meshmodel.simulation.plan import NotModelled
from meshmodel.workloads import curl

ONE_CALL = ClosedLoop(calls=1)


def pods(name: str, app: str, replicas: int = 1, image: str = "registry.example/shop:1.0") -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str, *ports: int) -> dict[str, Any]:
    named = [{"name": f"http-{port}", "port": port, "targetPort": 8080} for port in ports or (80,)]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": named}}


SHOP = (pods("checkout-v1", "checkout", 2), service("checkout"), pods("payments-v1", "payments", 3), service("payments", 80, 8080))


def shop() -> Mesh:
    return Mesh(overhead=0).apply(SHOP)


def backends(mesh: Mesh, target: str = "payments:80") -> Route:
    return mesh.scenario(ONE_CALL, target).routes[-1]


# ---- timing


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"p50": "45ms", "p90": "120ms", "p99": "700ms"}, (0.045, 0.12, 0.7)),
        ({"p50": 0.045}, (0.045, 0.045, 0.045)),
        ({"p50": "45ms", "p90": "120ms"}, (0.045, 0.12, 0.12)),
    ],
)
@pytest.mark.parametrize("name", ["payments-v1", "payments", "payments-v1.default"])
def test_timings_are_those_of_every_pod(given: dict[str, Any], seconds: tuple[float, ...], name: str) -> None:
    assert [pod.behaviour.timings for pod in backends(shop().timing(name, **given)).endpoints] == [seconds] * 3


def test_what_is_said_outlives_the_manifest() -> None:
    mesh = shop().timing("payments-v1", "45ms").apply(pods("payments-v1", "payments", 5))
    assert [pod.behaviour.timings[0] for pod in backends(mesh).endpoints] == [0.045] * 5
    other = mesh.copy().timing("payments-v1", "1s")
    assert (backends(mesh).endpoints[0].behaviour.timings[0], backends(other).endpoints[0].behaviour.timings[0]) == (0.045, 1)


# ---- calls


def test_a_call_makes_a_chain() -> None:
    mesh = shop().calls("checkout", "payments:8080")
    first, second = mesh.scenario(ONE_CALL).routes
    assert (first.host, second.host) == ("checkout.default.svc.cluster.local", "payments.default.svc.cluster.local")
    assert [caller.name for caller in second.callers] == ["checkout-v1-1", "checkout-v1-2"]
    assert "|8080|" in second.destinations[0].cluster.name


def test_a_call_may_say_its_path() -> None:
    """What the caller is asked is no matter then; else its path is the call's."""
    only = {"hosts": ["payments"], "http": [{"match": [{"uri": {"exact": "/v2/pay"}}], "route": [{"destination": {"host": "payments"}}]}]}
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "payments"}, "spec": only}
    for callee in ("payments:8080/v2/pay", "http://payments.default.svc.cluster.local:8080/v2/pay", "payments/v2/pay"):
        said = shop().apply(rule).calls("checkout", callee).scenario(curl(1, request={"path": "/cart"}), "checkout").routes[1]
        assert said.direct_response is None and said.destinations
    passed_on = shop().apply(rule).calls("checkout", "payments")
    for path, takes in (("/cart", False), ("/v2/pay", True)):
        route = passed_on.scenario(curl(1, request={"path": path}), "checkout").routes[1]
        assert (route.direct_response is None) is takes
        told = any("no route takes GET /cart" in w.reason and "--calls CALLER=payments/PATH" in w.reason for w in passed_on.warnings)
        assert told is not takes


def test_a_workload_makes_its_calls_one_after_another() -> None:
    mesh = shop().calls("checkout-v1", "payments").calls("checkout", "payments")  # said twice is no harm
    assert len(mesh.scenario(ONE_CALL).routes) == 2
    mesh.apply(pods("audit-v1", "audit"), service("audit"), pods("bank-v1", "bank"), service("bank"))
    mesh.calls("payments", "bank").calls("checkout", "audit")
    routes = mesh.scenario(ONE_CALL).routes
    assert [route.host.partition(".")[0] for route in routes] == ["checkout", "payments", "bank", "audit"]
    assert callers_of(routes) == (-1, 0, 1, 0)
    assert [len(route.callers) for route in routes] == [1, 2, 3, 2]


def test_retries_multiply_along_the_way_of_a_call_and_not_beside_it() -> None:
    """9 tries at the bank, behind payments; the audit is beside them, and meets its own 3."""
    rule = "http: [{route: [{destination: {host: %s}}], retries: {attempts: 2, retryOn: 5xx}}]"
    head = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: %s}, spec: {hosts: [%s], "
    rules = [head % (name, name) + rule % name + "}}" for name in ("bank", "audit", "payments")]
    mesh = shop().apply(pods("audit-v1", "audit"), service("audit"), pods("bank-v1", "bank"), service("bank"))
    mesh.calls("checkout", "payments").calls("payments", "bank").calls("checkout", "audit").apply(*rules)
    (told,) = [warning.reason for warning in mesh.warnings if "multiply" in warning.reason]
    assert "may become 9 at bank.default" in told


def test_a_service_that_two_call_has_pods_that_only_answer_or_is_refused() -> None:
    mesh = shop().apply(pods("audit-v1", "audit"), service("audit"), pods("bank-v1", "bank"), service("bank"))
    mesh.calls("checkout", "payments").calls("payments", "audit").calls("checkout", "audit")
    assert mesh.simulate(ONE_CALL, replications=1, target="checkout").codes == {200: 1}
    with pytest.raises(NotModelled, match="audit.* is called from two places, and its pods call on"):
        mesh.calls("audit", "bank").simulate(ONE_CALL, replications=1, target="checkout")


def test_calls_that_come_back_and_calls_without_end_are_refused() -> None:
    with pytest.raises(ManifestError, match="over more than 8 hops"):
        shop().calls("checkout", "payments").calls("payments", "checkout").scenario(ONE_CALL, "checkout")
    fan = shop()
    names = [f"s{k}" for k in range(4)]
    for name in names:
        fan.apply(pods(name, name), service(name, 80, 81, 82, 83))
    for caller, callee in zip(["checkout", *names[:-1]], names, strict=True):
        for port in (80, 81, 82, 83):
            fan.calls(caller, f"{callee}:{port}")
    with pytest.raises(ManifestError, match="more than 64 calls"):
        fan.scenario(ONE_CALL, "checkout")


# ---- fail


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        *((word, {"failure": word}) for word in ("refused", "reset", "hang")),
        (503, {"error_rate": 1.0, "error_code": 503}),
        ("429", {"error_rate": 1.0, "error_code": 429}),
        ("2s", {"timings": (2.0, 2.0, 2.0)}),
    ],
)
def test_so_many_pods_fail(how: str | int, expected: dict[str, Any]) -> None:
    found = backends(shop().fail("payments-v1", pods=2, how=how)).endpoints
    failed = [all(getattr(pod.behaviour, name) == value for name, value in expected.items()) for pod in found]
    assert failed == [True, True, False]


def test_failures_begin_and_end_during_a_load() -> None:
    mesh = shop().fail("payments-v1", 1, "hang", at="10s").fail("payments-v1", pods=None, how="reset", at=20)
    mesh.fail("payments-v1", None, "none", "30s")
    scenario = mesh.scenario(ONE_CALL, "payments:80")
    words = [[pod.behaviour.failure for pod in chain[-1].endpoints] for chain in scenario.chains]
    assert [change.at for change in scenario.changes] == [10, 20, 30]
    assert words == [["none"] * 3, ["hang", "none", "none"], ["reset"] * 3, ["none"] * 3]


def test_timings_and_failures_in_any_order() -> None:
    one, other = shop().timing("payments", "45ms").fail("payments", 1, 503), shop().fail("payments", 1, 503).timing("payments", "45ms")
    assert backends(one) == backends(other)


# ---- what cannot be


@pytest.mark.parametrize(
    ("say", "part"),
    [
        (lambda mesh: mesh.timing("paymets-v1", "1s"), "timing: there is no workload 'paymets-v1', did you mean payments-v1?"),
        (lambda mesh: mesh.timing("payments-v1", "1s", "0.5s"), "must not fall, got 1s, 0.5s, 0.5s"),
        (lambda mesh: mesh.timing("payments-v1", "45"), "timing p50: must be a duration"),
        (lambda mesh: mesh.timing("payments-v1"), "needs either p50"),
        (lambda mesh: mesh.calls("checkout", "paymnts"), "calls: there is no Service 'paymnts', did you mean payments?"),
        (lambda mesh: mesh.calls("checkout", "payments:80a"), "must be a Service such as payments, payments:8080 or payments:8080/v2"),
        (lambda mesh: mesh.calls("checkout", "payments:81").scenario(ONE_CALL), "has no port 81, only 80, 8080"),
        (lambda mesh: mesh.fail("payments-v1", 4), "fail: payments-v1 has 3 pods, not 4"),
        (lambda mesh: mesh.fail("payments-v1", 0), "pods: must be a whole number of 1 or more"),
        (lambda mesh: mesh.fail("payments-v1", how="explode"), "how: must be refused, reset, hang, an HTTP status"),
        (lambda mesh: mesh.fail("payments-v1", how=700), "how: must be refused"),
        (lambda mesh: mesh.fail("payments-v1", at="soon"), "at: must be a duration"),
        (lambda mesh: Mesh().fail("payments-v1"), "there is no workload 'payments-v1', apply its manifest first"),
    ],
)
def test_what_cannot_be_is_one_line(say: Any, part: str) -> None:
    with pytest.raises(ValueError) as caught:
        say(shop())
    assert part in str(caught.value)


# ---- flags


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": SHOP}))
    return str(path)


def test_flags_say_the_same(file, capsys) -> None:
    flags = ("--timing", "payments-v1=45ms,120ms,700ms", "--calls", "checkout=payments", "--fail", "payments-v1/2=503@1s")
    assert main(["load", file, *flags, "-c", "1", "-qps", "10", "-t", "2s", "--overhead", "0", "--replications", "2", "--json", "-"]) == 0
    written = json.loads(capsys.readouterr().out)["scenario"]
    (change,) = written["changes"]
    assert [pod["behaviour"]["error_rate"] for pod in change["routes"][1]["destinations"][0]["cluster"]["endpoints"]] == [1, 1, 0]
    assert written["routes"][1]["destinations"][0]["cluster"]["endpoints"][0]["behaviour"]["timing_99_percentile"] == 0.7


def test_the_namespace_is_kubectls_unless_told(file, capsys) -> None:
    assert main(["routes", file, "--target", "payments:80", "--namespace", "prod"]) == 0
    assert "payments.prod.svc" in capsys.readouterr().out
    assert main(["routes", file, "--target", "payments:80"]) == 0
    assert "payments.default.svc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--timing", "payments-v1"), "--timing: must be NAME=P50,P90,P99"),
        (("--timing", "payments-v1=1s,2s,3s,4s"), "--timing: must be at most p50, p90 and p99"),
        (("--timing", "payments-v1=45"), "--timing payments-v1: timing p50: must be a duration"),
        (("--timing", "paymets=45ms"), "--timing paymets: timing: there is no workload"),
        (("--timing", "payments=no-such-record.txt"), "no-such-record.txt"),
        (("--calls", "checkout"), "--calls: must be A=B"),
        (("--calls", "checkout=paymnts"), "--calls checkout: calls: there is no Service 'paymnts'"),
        (("--fail", "payments-v1/1"), "--fail: must be NAME/PODS=HOW@TIME"),
        (("--fail", "payments-v1/x=hang"), "--fail: must be a whole number"),
        (("--fail", "payments-v1/9=hang@10s"), "--fail payments-v1: fail: payments-v1 has 3 pods, not 9"),
        (("--namespace", "No Name"), "namespace: must be a name"),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(file, capsys, flags: tuple[str, ...], part: str) -> None:
    assert main(["routes", file, *flags, "--target", "payments:80"]) == 2
    printed = capsys.readouterr()
    assert part in printed.err and printed.err.count("\n") == 1 and not printed.out


# ---- timings of a record


BUCKETS = {5: 10, 10: 50, 25: 85, 50: 95, 100: 99, "+Inf": 100}
"""50 of 100 up to 10 ms, 90 up to 37.5, 99 up to 100."""


def exposition(**labels: str) -> str:
    named = "".join(f'{name}="{value}",' for name, value in labels.items())
    metric = "istio_request_duration_milliseconds_bucket"
    return "".join(f'{metric}{{{named}le="{edge}"}} {count}\n' for edge, count in BUCKETS.items())


def api(**labels: str) -> str:
    result = [{"metric": {**labels, "le": str(edge)}, "value": [1.5, str(count / 1000)]} for edge, count in BUCKETS.items()]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


SOURCE = {"reporter": "source", "destination_workload": "payments-v1"}
OWN = {"reporter": "destination", "destination_workload": "payments-v1"}


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (exposition(), 1e-3),
        ("# TYPE x histogram\n" + exposition(**OWN) + exposition(**OWN, pod="b").replace('"10"} 50', '"10"} 50 1700000000'), 1e-3),
        (exposition(**OWN) + exposition(destination_workload="other", reporter="destination").replace("} 50", "} 10"), 1e-3),
        (exposition(**OWN) + exposition(**SOURCE).replace("} 50", "} 20"), 1e-3),
        (exposition().replace("istio_request_duration_milliseconds", "http_request_seconds"), 1),
        (api(__name__="istio_request_duration_milliseconds_bucket"), 1e-3),
        (api(), 1),
    ],
)
def test_timings_of_a_prometheus_histogram(tmp_path, text: str, unit: float) -> None:
    path = tmp_path / "metrics"
    path.write_text(text)
    found = backends(shop().timing("payments-v1", record=path)).endpoints[0].behaviour.timings
    assert found == pytest.approx((10 * unit, 37.5 * unit, 100 * unit))


def test_timings_of_a_fortio_record(tmp_path) -> None:
    replay = shop().timing("payments-v1", "45ms", "120ms", "700ms").fortio_load(2, 20, "20s", replications=1, target="payments:80")
    path = tmp_path / "record.txt"
    path.write_text(replay.histogram(0).to_text())
    expected = tuple(replay.histogram(0).percentile(p) for p in (50, 90, 99))
    assert backends(shop().timing("payments-v1", record=path)).endpoints[0].behaviour.timings == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("hello\n", "metrics"),
        ("", "metrics"),
        (exposition() + exposition().replace("istio", "other"), "holds several histograms"),
        (exposition().replace("le=", "ge="), "needs its upper edge le"),
        (exposition().replace("} 99", "} 9"), "its counts must rise"),
    ],
)
def test_a_record_without_timings_is_refused(tmp_path, text: str, part: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(text)
    with pytest.raises(ValueError, match=part):
        shop().timing("payments-v1", record=str(path))
