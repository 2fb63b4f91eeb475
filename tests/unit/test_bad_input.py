"""Bad input: one clear line that says where and why, quickly, whatever is thrown at it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.scenario import ClosedLoop

MANIFESTS = Path(__file__).parents[2] / "data" / "tutorial" / "manifests"
ONE_CALL = ClosedLoop(calls=1)


def destination_rule(policy: str, name: str = "dr") -> str:
    return f"""apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: {name}
spec:
  host: simple-backend
  trafficPolicy:
    {policy}
"""


def virtual_service(route: str, host: str = "simple-backend") -> str:
    return f"""apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [simple-backend]
  http:
  - route:
    - destination: {{host: {host}}}
    {route}
"""


def deployment(replicas: str = "1", env: str = "[]", extra: str = "") -> str:
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: backend}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: backend}}}}
  template:
    metadata:
      labels: {{app: backend}}
      annotations: {{{extra}}}
    spec:
      containers:
      - name: backend
        env: {env}
"""


def refused(source: object, *parts: str, scenario: bool = False) -> str:
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(MANIFESTS / "testbed.yaml")
    before = repr(mesh)
    with pytest.raises(ManifestError) as caught:
        mesh.apply(source)
        if scenario:
            mesh.scenario(ONE_CALL)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for part in parts:
        assert part in message, message
    assert scenario or repr(mesh) == before
    return message


def test_an_error_names_file_document_line_resource_and_field(tmp_path):
    file = tmp_path / "dr.yaml"
    text = destination_rule("outlierDetection:\n      maxEjectionPercent: 150")
    file.write_text("# a comment\n---\n" + text)
    message = refused(file)
    assert message == (
        "dr.yaml document 1 line 11: DestinationRule dr spec.trafficPolicy.outlierDetection.maxEjectionPercent: "
        "must be from 0 to 100, got 150"
    )


def test_an_error_in_the_second_document_counts_from_the_top_of_the_file(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(
        destination_rule("loadBalancer: {simple: RANDOM}") + "---\n" + destination_rule("loadBalancer: {simpel: RANDOM}", "other")
    )
    refused(file, "two.yaml document 2 line 17", "DestinationRule other", "loadBalancer.simpel: unknown field, did you mean 'simple'?")


@pytest.mark.parametrize(
    ("policy", "part"),
    [
        ("loadBalancer: {simple: ROUNDROBIN}", "did you mean ROUND_ROBIN?"),
        ("loadBalancer: {simple: PASSTHROUGH}", "not modelled"),
        ("loadBalancer: {simple: PASSTHROUGH}", "leave it out and name the Service to call"),
        ("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}", "only one of simple and consistentHash"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}", "only one of httpHeaderName and useSourceIp"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {}, maglev: {tableSize: 7}}}", "only one of ringHash and maglev"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 8}}}", "must be a prime number, got 8"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}}", "needs the field 'tableSize'"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}", "must be from 2 to 5000010"),
        ("loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}", "needs the field 'name'"),
        ("loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 5}}}", "ttl: must be text, got 5"),
        ("loadBalancer: {warmupDurationSecs: 5}", "must be text, got 5"),
        ("loadBalancer: {simple: [RANDOM]}", "must be one of"),
        ("loadBalancer: RANDOM", "must be a mapping, got 'RANDOM'"),
        ("loadbalancer: {simple: RANDOM}", "did you mean 'loadBalancer'?"),
        ("outlierDetection: {interval: -5s}", "interval: must be 1ms or more"),
        ("outlierDetection: {interval: 5}", "must be text, got 5"),
        ("outlierDetection: {baseEjectionTime: 30}", "must be text, got 30"),
        ("outlierDetection: {baseEjectionTime: 30 seconds}", "duration"),
        ("outlierDetection: {consecutive5xxErrors: -1}", "must be 0 or more, got -1"),
        ("outlierDetection: {consecutive5xxErrors: '1'}", "must be a whole number, got '1'"),
        ("outlierDetection: {consecutive5xxErrors: true}", "must be a whole number, got True"),
        ("outlierDetection: {consecutive5xxErrors: 1.5}", "must be a whole number, got 1.5"),
        ("outlierDetection: {consecutive5xxError: 1}", "did you mean 'consecutive5xxErrors'?"),
        ("outlierDetection: {maxEjectionPercent: 101}", "must be from 0 to 100"),
        ("outlierDetection: {splitExternalLocalOriginErrors: 1}", "must be true or false"),
        ("connectionPool: {tcp: {maxConnections: -1}}", "must be 0 or more, got -1"),
        ("connectionPool: {http: {http2MaxRequests: 99999999999}}", "must be from 0 to 2147483647"),
        ("connectionPool: {http: {maxConcurrentStreams: 3}}", "Istio 1.17 has no maxConcurrentStreams yet, it came with 1.21"),
        ("connectionPool: {http: {h2UpgradePolicy: YES_PLEASE}}", "must be one of DEFAULT, DO_NOT_UPGRADE, UPGRADE"),
        ("retryBudget: {percent: 20}", "Istio 1.17 has no retryBudget yet, it came with 1.27"),
        ("tunnel: {targetHost: a, targetPort: 1}", "is not modelled"),
        ("portLevelSettings: [{port: {number: 0}}]", "must be from 1 to 65535"),
    ],
)
def test_a_bad_traffic_policy_is_refused(policy, part):
    refused(destination_rule(policy), part, "DestinationRule dr spec.trafficPolicy")


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ('{distribute: [{from: us/*, to: {"us/a/*": 80, "us/b/*": 30}}]}', "must sum to 100, they sum to 110"),
        ('{distribute: [{from: us/*, to: {"us/a/*": 100, "us/b/*": 0}}]}', "must be from 1 to 100, got 0"),
        ('{distribute: [{from: "us/*", to: {"us/*": 50, "us/b/*": 50}}]}', "overlaps"),
        ('{distribute: [{from: "*/a", to: {"us/*": 100}}]}', 'with "*" at most at the end'),
        ("{distribute: [{from: us, to: {us: 100}}], failover: [{from: us, to: eu}]}", "excludes"),
        ("{failover: [{from: us, to: us}]}", "must be different regions"),
        ('{failover: [{from: "us/*", to: eu}]}', "must be a region"),
        ("{enabled: 'yes'}", "must be true or false"),
    ],
)
def test_a_bad_locality_setting_is_refused(setting, part):
    refused(destination_rule(f"loadBalancer:\n      localityLbSetting: {setting}"), part)


@pytest.mark.parametrize(
    ("route", "part"),
    [
        ("timeout: -1s", "timeout: must be 1ms or more"),
        ("timeout: 0s", "timeout: must be 1ms or more, Istio refuses 0s: leave it out for none"),
        ("timeout: 0.5", "must be text, got 0.5"),
        ("timeout: 1d", "must be a duration"),
        ("retries: {attempts: -1}", "attempts: must be 0 or more"),
        ("retries: {attempts: 2, retryOn: '5XX'}", "did you mean 5xx?"),
        ("retries: {attempts: 2, retryOn: 'gateway-errors'}", "did you mean gateway-error?"),
        ("retries: {attempts: 2, retryOn: '777'}", "must be one of"),
        ("retries: {attempts: 2, perTryTimeout: 0s}", "must be 1ms or more"),
        ("retries: {attempts: 2, perTryTimout: 1s}", "did you mean 'perTryTimeout'?"),
        ("fault: {abort: {httpStatus: 99, percentage: {value: 1}}}", "must be from 200 to 599"),
        ("fault: {abort: {httpStatus: 503, percentage: {value: 101}}}", "must be from 0 to 100"),
        ("fault: {delay: {percentage: {value: 1}}}", "needs the field 'fixedDelay'"),
        ("fault: {abort: {grpcStatus: INTERNAL}}", "grpcStatus: is not modelled"),
        ("mirror: {host: simple-web}\n    mirrorPercentage: {value: 101}", "must be from 0 to 100"),
        ("redirect: {uri: /}", "only one of redirect and route"),
        ("match: [{uri: {prefix: /api, exact: /a}}]", "uri: must have one of exact, prefix and regex"),
        ("match: [{uri: {regex: '(?=/)'}}]", "RE2 has no look-around"),
        ("match: [{uri: {regex: '('}}]", "is no regular expression"),
        ("match: [{header: {a: {exact: b}}}]", "did you mean 'headers'?"),
        ("delegate: {name: other}", "beside delegate, Istio refuses it"),
        ("headers: {request: {sett: {a: b}}}", "did you mean 'set'?"),
        ("timeouts: 1s", "did you mean 'timeout'?"),
    ],
)
def test_a_bad_route_is_refused(route, part):
    refused(virtual_service(route), part, "VirtualService vs spec.http[0]")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (deployment(replicas="-1"), "spec.replicas: must be from 0 to 1000, got -1"),
        (deployment(replicas="1.5"), "must be a whole number"),
        (deployment(replicas="1000000000"), "must be from 0 to 1000"),
        (deployment(env='[{name: ERROR_RATE, value: "2"}]'), "env[0].value: ERROR_RATE: "),
        (deployment(env='[{name: TIMING_50_PERCENTILE, value: "-1s"}]'), "TIMING_50_PERCENTILE: "),
        (deployment(env="[{name: ERROR_RATE, value: 0.5}]"), "must be text, put it in quotes, got 0.5"),
        (deployment(env='[{name: A, value: "1"}, {name: A, value: "2"}]'), "the variable A stands twice"),
        (deployment(env=f'[{{name: UPSTREAM_URIS, value: "{",".join(["http://a"] * 17)}"}}]'), "more than 16 upstreams are not modelled"),
        (
            deployment(env='[{name: UPSTREAM_URIS, value: "http://a,http://b"}, {name: UPSTREAM_WORKERS, value: "2"}]'),
            "env[1].value: UPSTREAM_WORKERS must be 1: calls at the same time are not modelled",
        ),
        (deployment(env='[{name: UPSTREAM_URIS, value: "grpc://a:1"}]'), "must be a URI"),
        (deployment(env='[{name: UPSTREAM_URIS, value: "http://a\\n"}]'), "must be a URI"),
        (deployment(env='[{name: UPSTREAM_URIS, value: "http://a:99999999"}]'), "must be a URI"),
        (deployment(extra='meshmodel/concurrency: "0"'), "must be a whole number of 1 or more"),
        (deployment(extra="meshmodel/failure: sulk"), "must be one of refused, reset, hang"),
        (deployment(extra="meshmodel/speed: fast"), "unknown annotation"),
        (deployment().replace("matchLabels: {app: backend}", "matchLabels: {app: other}"), "must match the labels of the template"),
        (deployment().replace("apps/v1", "apps/v2"), "apiVersion: must be one of apps/v1"),
        (deployment().replace("Deployment", "Deploiment"), "this kind is not modelled, did you mean Deployment?"),
        (deployment().replace("name: backend}", "nam: backend}"), "needs the field 'name'"),
    ],
)
def test_a_bad_deployment_is_refused(text, part):
    refused(text, part)


def test_names_that_lead_nowhere_are_refused_when_the_mesh_is_used():
    refused(
        virtual_service("", "simple-bakend"),
        "VirtualService vs spec.http[0].route[0].destination.host",
        "did you mean simple-backend?",
        scenario=True,
    )
    weighted = virtual_service("", "simple-backend, subset: v9")
    refused(weighted, "destination.subset: no DestinationRule for simple-backend has a subset v9", scenario=True)
    refused(virtual_service("", "simple-backend, port: {number: 81}"), "has no port 81, only 80", scenario=True)
    gateway = virtual_service("").replace(
        "hosts: [simple-backend]", "hosts: [simple-web.istioinaction.io]\n  gateways: [simple-web-gatway]"
    )
    refused(gateway, "there is no Gateway simple-web-gatway, did you mean simple-web-gateway?", scenario=True)


def test_weights_that_sum_to_nothing_are_refused():
    text = virtual_service("").replace(
        "- destination: {host: simple-backend}",
        "- {destination: {host: simple-backend}, weight: 0}\n    - {destination: {host: simple-web}, weight: 0}",
    )
    refused(text, "must not sum to 0")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (b"\n---\n# nothing\n---\n", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "not a text file"),
        (b"kind: A\0B", "NUL"),
        (b"a: b\n\tc: d\n", "not YAML"),
        (b"a: [1, 2\n", "not YAML"),
        (b"kind: Service\nkind: Deployment\n", "stands twice"),
        (b"just words", "must be a mapping"),
        (b"- 1\n- 2\n", "must be a mapping"),
        (b"a: &a [*a]\n", "aliases"),
        (b"? [1, 2]\n: x\n", "field's name must be plain text"),
        (b"a: !!python/object:os.system x\n", "cannot be read"),
        (b"kind: Service\nmetadata: {<<: {name: a}}\n", "merge keys"),
        (b"a: 2024-99-99\n", "cannot be read"),
        (b"x" * 10_000_000, "larger than 1 MB"),
        (b"[" * 100_000, "nest"),  # some versions of the parser have a limit of their own
    ],
)
def test_a_file_that_is_no_manifest_is_refused_in_one_line(tmp_path, content, part):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    refused(file, "bad.yaml", part)


def test_a_yaml_bomb_is_refused_at_once():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    start = time.process_time()
    refused(bomb, "anchors and aliases")
    assert time.process_time() - start < 10  # of this process's own CPU


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("no-such-file.yaml", "no such file"),
        (Path("/dev/null"), "is no ordinary file"),
        ("a\0b", "NUL"),
        (7, "a manifest is a path"),
        (None, "a manifest is a path"),
        (b"kind: Service", "a manifest is a path"),
        ({"kind": object()}, "must be text"),
        ({1: 2}, "field's name must be text"),
        ({"kind": "Service"}, "needs the field 'metadata'"),
        ({"kind": "Service", "metadata": {"name": "a"}, "apiVersion": "v1", "spec": {"selector": {"a": float("nan")}}}, "must be text"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(source, part):
    refused(source, part)


def test_a_dict_that_contains_itself_is_refused():
    loop: dict[str, object] = {}
    loop["kind"] = loop
    refused(loop, "levels")


@pytest.mark.parametrize(
    "options",
    [
        {"istio": "2.0"},
        {"istio": "latest"},
        {"istio": 1.17j},
        {"injector": "coin"},
        {"errors": "nominal"},
        {"percentiles": "quantiles"},
        {"overhead": -1},
        {"overhead": "soon"},
        {"overhead": [1]},
        {"workers": 0},
        {"workers": 1.5},
    ],
)
def test_a_mesh_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError) as caught:
        Mesh(**options)
    assert "\n" not in str(caught.value) and next(iter(options)) in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda mesh: mesh.fortio_load(connections=0),
        lambda mesh: mesh.fortio_load(connections="ten"),
        lambda mesh: mesh.fortio_load(duration="a minute"),
        lambda mesh: mesh.fortio_load(duration=0),
        lambda mesh: mesh.fortio_load(qps="fast"),
        lambda mesh: mesh.fortio_load(qps=float("nan")),
        lambda mesh: mesh.fortio_load(connections=10**5000),
        lambda mesh: mesh.fortio_load(qps=10**400),
        lambda mesh: mesh.fortio_load(duration=10**400),
        lambda mesh: mesh.open_loop([(1, 10**400, 1)]),
        lambda mesh: mesh.open_loop([(1, 1, 1)], users=10**400),
        lambda mesh: mesh.fortio_load(seed=[10**5000]),
        lambda mesh: mesh.curl(0),
        lambda mesh: mesh.curl(5, target="simple-webb"),
        lambda mesh: mesh.curl(5, locality="a.b.c.d"),
        lambda mesh: mesh.open_loop(5),
        lambda mesh: mesh.open_loop([(1, 2)]),
        lambda mesh: mesh.open_loop(5, "1s", arrivals="bursty"),
        lambda mesh: mesh.at("-1s"),
        lambda mesh: mesh.at(0),
        lambda mesh: mesh.at("1s").delete("Service", "simple-bakend"),
        lambda mesh: mesh.delete("Service", "simple-bakend"),
        lambda mesh: mesh.proxy_config_endpoints(at="1s"),
    ],
)
def test_a_load_that_cannot_be_is_refused(call):
    with pytest.raises(ValueError) as caught:
        call(Mesh(overhead=0).apply(MANIFESTS / "testbed.yaml"))
    assert str(caught.value).isprintable() and ": " in str(caught.value)


TEXTS = [file.read_text() for file in sorted(MANIFESTS.glob("*.yaml"))]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TEXTS),
    st.floats(0, 1),
    st.integers(0, 30),
    st.text(max_size=5) | st.sampled_from(["\n", "- ", ": ", "{", "[", "&a ", "*a", "'"]),
)
def test_a_spoiled_manifest_is_read_or_refused_in_one_line(text, where, cut, junk):
    """Whatever a slip of the editor does to a file: never another exception, never a second line."""
    at = int(where * len(text))
    mesh = Mesh(overhead=0, namespace="istioinaction").apply(MANIFESTS / "testbed.yaml")
    try:
        mesh.apply([text[:at] + junk + text[at + cut :] + "\n"])
        mesh.scenario(ONE_CALL)
        assert all(len(str(warning).splitlines()) == 1 for warning in mesh.warnings)
    except ManifestError as problem:
        assert len(str(problem).splitlines()) == 1


def test_an_empty_mesh_says_what_is_missing():
    with pytest.raises(ManifestError, match="no Gateway leads into the mesh"):
        Mesh(overhead=0).scenario(ONE_CALL)
