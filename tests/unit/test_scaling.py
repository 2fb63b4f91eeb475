"""Whatever has a size costs no more than in proportion to it, and at the largest size admitted less than two CPU seconds.

Each case is made as large as one file may be (1 MB), or as large as its own limit, and read at a quarter, a half and the whole
of that.  Four times the input costs about 4 times as much where the cost is linear, 16 times where it is quadratic: the bound
lies between the two, at their geometric mean 8, on the smallest of up to three measurements of CPU time.  What takes less than
0.1 s at its largest size is not worth a ratio.  The two seconds are those of a machine that counts as fast as `COUNTING` says;
one that counts slower, or does so while others are at work on it, gets more in proportion.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshmodel import __main__ as command_line
from meshmodel.fakeservice import from_environment, parse_duration
from meshmodel.mesh import Mesh
from meshmodel.results.compare import read_outcome
from meshmodel.results.fortio import LARGEST_FILE, Histogram, read_record
from meshmodel.scenario import ClosedLoop

from .hostile import without_engine

MOST_SECONDS = 2.0
MOST_GROWTH = 8.0
COUNTING = 5_000_000, 0.1
"""So many turns of an empty loop, in so many seconds of CPU."""
WORTH_A_RATIO = 0.1
TRIES = 3
TUTORIAL = Path(__file__).parents[2] / "data" / "tutorial" / "manifests"

NETWORKING = "apiVersion: networking.istio.io/v1alpha3\nkind: %s\nmetadata: {name: %s}\nspec: %s\n---\n"


def deployment(
    name: str = "web", app: str = "web", spec: str = "", pod: str = "", container: str = "", own: str = "", template: str = ""
) -> str:
    """A Deployment, each text put in where its name says."""
    labels = f"selector: {{matchLabels: {{app: {app}}}}}"
    described = f"metadata: {{labels: {{app: {app}}}{template}}}"
    pods = f"template: {{{described}, spec: {{containers: [{{name: c{container}}}]{pod}}}}}"
    return f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}{own}}}\nspec: {{{labels}, {pods}{spec}}}\n---\n"


def service(name: str = "web", app: str = "web", ports: str = "[{port: 80}]") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {app}}}, ports: {ports}}}\n---\n"


def several(n: int, item: str, separator: str = ", ") -> str:
    """n times `item`, its @ being the number of each."""
    return separator.join(item.replace("@", str(i)) for i in range(n))


def rule(policy: str, more: str = "", name: str = "rule") -> str:
    return NETWORKING % ("DestinationRule", name, f"{{host: web, trafficPolicy: {{{policy}}}{more}}}")


def route(http: str = "{route: [{destination: {host: web}}]}", hosts: str = "web", more: str = "", name: str = "vs") -> str:
    return NETWORKING % ("VirtualService", name, f"{{hosts: [{hosts}], http: [{http}]{more}}}")


def patches(n: int, patch: str) -> str:
    return NETWORKING % ("EnvoyFilter", "filter", f"{{configPatches: [{several(n, patch)}]}}")


MESH = deployment() + service()
ANY = "loadBalancer: {simple: RANDOM}"
LOCALITY = "loadBalancer: {localityLbSetting: {%s}}, outlierDetection: {}"
DISTRIBUTE = '{from: r@/z, to: {"*": 100}}'
RETRY_PATCH = "{applyTo: HTTP_ROUTE, patch: {operation: MERGE, value: {route: {retry_policy: {retriable_status_codes: [%s]}}}}}"
UPSTREAM = ", env: [{name: UPSTREAM_URIS, value: %s}]"
DESTINATION = "{destination: {host: web}, weight: 1}"
TO_SUBSET, TO_PORT = "{destination: {host: web, subset: s@}, weight: 1}", "{destination: {host: web, port: {number: 1@}}, weight: 1}"
GATEWAY = NETWORKING % ("Gateway", "g@", "{selector: {a: b}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: [web]}]}")
BUDGET = "{circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 20}}}]}}"
BUDGET_PATCH = f"{{applyTo: CLUSTER, patch: {{operation: MERGE, value: {BUDGET}}}}}"
PLACE = ", nodeSelector: {topology.kubernetes.io/region: r@}"
LABELS = lambda n: several(n, "l@: x")  # noqa: E731
FAILOVER_LABELS = lambda n: f"failoverPriority: [{several(n, 'l@')}]"  # noqa: E731
RETRY_ON = "{retries: {attempts: 1, retryOn: '%s'}, route: [{destination: {host: web}}]}"
NAMESPACE = "{kind: Namespace, metadata: {name: n@}}"

MANIFESTS: dict[str, tuple[int, Callable[[int], str]]] = {
    # resources
    "ConfigMaps": (10_000, lambda n: MESH + several(n, "kind: ConfigMap\nmetadata: {name: c@}\n", "---\n")),
    "items of a List": (8_000, lambda n: f"apiVersion: v1\nkind: List\nitems: [{several(n, NAMESPACE)}]"),
    "Deployments": (2_400, lambda n: MESH + several(n, deployment("d@", "a@"), "")),
    "Deployments of one Service": (2_400, lambda n: MESH + several(n, deployment("d@"), "")),
    "Services": (3_900, lambda n: MESH + several(n, service("s@", "a@"), "")),
    "Services, each with its Deployment": (1_500, lambda n: MESH + several(n, deployment("d@", "a@") + service("s@", "a@"), "")),
    "Services, rules and routes": (800, lambda n: MESH + several(n, deployment("d@", "a@") + service("s@", "a@"), "")
        + several(n, rule(ANY, name="r@").replace("host: web", "host: s@") + route(hosts="s@", name="v@"), "")),
    "DestinationRules": (6_000, lambda n: MESH + several(n, rule(ANY, name="r@"), "")),
    "VirtualServices": (2_900, lambda n: MESH + several(n, route(name="v@"), "")),
    "VirtualServices of a Gateway": (2_500, lambda n: MESH + several(n, route(hosts="h@", more=", gateways: [g]", name="v@"), "")
        + NETWORKING % ("Gateway", "g", '{selector: {a: b}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ["*"]}]}')),
    "Gateways": (3_000, lambda n: MESH + several(n, GATEWAY, "")),
    "EnvoyFilters": (2_100, lambda n: MESH + several(n, patches(1, RETRY_PATCH % "").replace("filter", "f@"), "")),
    # pods
    "replicas": (1_000, lambda n: deployment(spec=f", replicas: {n}") + service() + rule("outlierDetection: {}")),
    "Deployments of a thousand replicas": (10, lambda n: several(n, deployment("d@", spec=", replicas: 1000"), "") + service()),
    "replicas that call replicas": (1_000, lambda n: service() + service("front", "front") + rule("outlierDetection: {}")
        + deployment(spec=f", replicas: {n}", template=", annotations: {}")
        + deployment("front", "front", f", replicas: {n}", container=UPSTREAM % "http://web")),
    # fields of a Deployment and of a Service
    "variables": (15_000, lambda n: deployment(container=f', env: [{several(n, "{name: A@, value: x}")}]') + service()),
    "annotations": (24_000, lambda n: deployment(template=f", annotations: {{{several(n, 'a@: x')}}}") + service()),
    "labels": (24_000, lambda n: deployment(own=f", labels: {{{several(n, 'l@: x')}}}") + service()),
    "container ports": (10_000, lambda n: deployment(container=f', ports: [{several(n, "{containerPort: 1, name: p@}")}]') + service()),
    "Service ports": (5_000, lambda n: deployment() + service(ports=f"[{several(n, '{port: 1@, name: p@}')}]")),
    "selector": (20_000, lambda n: deployment() + service().replace("app: web}", f"app: web, {several(n, 'l@: x')}}}")),
    "node selector": (20_000, lambda n: deployment(pod=f", nodeSelector: {{{several(n, 'l@: x')}}}") + service()),
    "MESSAGE": (900_000, lambda n: deployment(container=f", env: [{{name: MESSAGE, value: {'x' * n}}}]") + service()),
    "UPSTREAM_URIS": (900_000, lambda n: deployment(container=UPSTREAM % ("http://" + "a." * (n // 2)))),
    "several UPSTREAM_URIS": (900_000, lambda n: deployment(container=UPSTREAM % ('"' + "http://a," * (n // 9) + '"'))),
    # Istio's lists
    "distribute": (6_000, lambda n: MESH + rule(LOCALITY % f"distribute: [{several(n, DISTRIBUTE)}]")),
    "targets of distribute": (20_000, lambda n: MESH + rule(LOCALITY % f'distribute: [{{from: "*", to: {{{several(n, "r@: 1")}}}}}]')),
    "failover": (8_000, lambda n: MESH + rule(LOCALITY % f"failover: [{several(n, '{from: r@, to: x}')}]")),
    "failoverPriority": (40_000, lambda n: MESH + rule(LOCALITY % f"failoverPriority: [{several(n, 'l@')}]")),
    "failoverPriority of many pods": (1_000, lambda n: deployment(spec=f", replicas: {n}") + service()
        + rule(LOCALITY % f"failoverPriority: [{several(20 * n, 'l@')}]")),
    "distribute over many pods": (1_000, lambda n: deployment(spec=f", replicas: {n}") + service()
        + rule(LOCALITY % f"distribute: [{several(6 * n, DISTRIBUTE)}]")),
    "subsets": (15_000, lambda n: MESH + rule(ANY, f", subsets: [{several(n, '{name: s@}')}]")),
    "port levels": (5_000, lambda n: MESH
        + rule(f"portLevelSettings: [{several(n, '{port: {number: 1@}, loadBalancer: {simple: RANDOM}}')}]")),
    "hosts": (40_000, lambda n: MESH + route(hosts="web, " + several(n, "h@"))),
    "gateways": (40_000, lambda n: MESH + route(more=f", gateways: [mesh, {several(n, 'g@')}]")),
    "routes": (8_000, lambda n: MESH + route(several(n, "{route: [{destination: {host: web}}]}"))),
    "destinations": (9_000, lambda n: MESH + route(f"{{route: [{several(n, DESTINATION)}]}}")),
    "matches": (12_000, lambda n: MESH + route(f"{{match: [{several(n, '{uri: {prefix: /}}')}], route: [{DESTINATION}]}}")),
    "retryOn": (150_000, lambda n: MESH + route(RETRY_ON % several(n, "5xx", ","))),
    "words of retryOn": (100_000, lambda n: MESH + route(RETRY_ON % several(n, "@", ","))),
    "patches": (4_000, lambda n: MESH + patches(n, RETRY_PATCH % "")),
    "status codes of a patch": (40_000, lambda n: MESH + patches(1, RETRY_PATCH % several(n, "503"))),
    # one list times another
    "destinations of subsets": (6_000, lambda n: MESH + route(f"{{route: [{several(n, TO_SUBSET)}]}}")
        + rule(ANY, f", subsets: [{several(n, '{name: s@}')}]")),
    "destinations of subsets of many pods": (6_000, lambda n: deployment(spec=", replicas: 1000") + service()
        + route(f"{{route: [{several(n, TO_SUBSET)}]}}") + rule(ANY, f", subsets: [{several(n, '{name: s@}')}]")),
    "destinations, each a Service": (2_000, lambda n: MESH + several(n, service("s@", "web"), "")
        + route(f"{{route: [{several(n, DESTINATION.replace('web', 's@'))}]}}")),
    "destinations and ports": (5_000, lambda n: service("front", "front") + deployment()
        + deployment("front", "front", container=UPSTREAM % "http://web:10") + service(ports=f"[{several(n, '{port: 1@, name: p@}')}]")
        + route(f"{{route: [{several(n, TO_PORT)}]}}")),
    "destinations and Deployments": (1_200, lambda n: service() + several(n, deployment("d@"), "")
        + rule(ANY, f", subsets: [{several(n, '{name: s@}')}]") + route(f"{{route: [{several(n, TO_SUBSET)}]}}")),
    "destinations and patches": (2_500, lambda n: MESH + patches(n, BUDGET_PATCH) + route(f"{{route: [{several(n, TO_SUBSET)}]}}")
        + rule(ANY, f", subsets: [{several(n, '{name: s@}')}]")),
    "labels of many pods": (24_000, lambda n: deployment(spec=f", replicas: {n // 24}", template=f", labels: {{app: web, {LABELS(n)}}}")
        .replace("labels: {app: web}, ", "") + service() + rule("outlierDetection: {}")),
    "failoverPriority over labels": (12_000, lambda n: service() + service("front", "front") + rule(LOCALITY % FAILOVER_LABELS(n))
        + deployment(spec=f", replicas: {n // 12}", template=f", labels: {{app: web, {LABELS(n)}}}").replace("labels: {app: web}, ", "")
        + deployment("front", "front", container=UPSTREAM % "http://web", template=f", labels: {{app: front, {LABELS(n)}}}")
        .replace("labels: {app: front}, ", "")),
    "callers of many places and distribute": (700, lambda n: service() + service("front", "front") + deployment()
        + rule(LOCALITY % f"distribute: [{several(6 * n, DISTRIBUTE)}]")
        + several(n, deployment("f@", "front", container=UPSTREAM % "http://web", pod=PLACE), "")),
    "callers of many places and failover": (700, lambda n: service() + service("front", "front") + deployment()
        + rule(LOCALITY % f"failover: [{several(8 * n, '{from: r@, to: x}')}]")
        + several(n, deployment("f@", "front", container=UPSTREAM % "http://web", pod=PLACE), "")),
    "callers and called, each in its place": (1_000, lambda n: service() + service("front", "front") + rule("outlierDetection: {}")
        + several(n, deployment("d@", pod=PLACE) + deployment("f@", "front", container=UPSTREAM % "http://web", pod=PLACE), "")),
    "wildcard hosts and Services": (3_500, lambda n: MESH + several(n, service("s@", "web"), "")
        + route(hosts="web, " + several(n, '"*.h@"'))),
    "wildcard rules and Services": (1_500, lambda n: MESH + several(n, service("s@", "web"), "")
        + several(n, rule(ANY, name="r@").replace("host: web", 'host: "*.local"'), "")),
    "rules and wildcard rules": (900, lambda n: MESH
        + several(n, service("s@", "web") + rule(ANY, name="a@").replace("web,", "s@,"), "")
        + several(n, rule(ANY, name="r@").replace("host: web", 'host: "*.local"'), "")),
    "unknown destinations": (5_000, lambda n: MESH + several(n // 5, service("s@", "web"), "")
        + route(f"{{route: [{several(n, DESTINATION.replace('web', 'x@'))}]}}")),
    "rules for unknown hosts": (2_000, lambda n: MESH + several(n, service("s@", "web") + rule(ANY, name="a@").replace("web,", "x@,"), "")),
    "Gateways and those that name them": (2_500, lambda n: MESH + several(n, GATEWAY, "")
        + route(more=f", gateways: [mesh, {several(n, 'g@')}]", hosts="web, " + several(n, "h@"))),
    # digits and letters
    "digits of a duration": (900_000, lambda n: MESH + route(f'{{timeout: "{"1" * n}", route: [{DESTINATION}]}}')),
    "digits of a fraction": (900_000, lambda n: MESH + route(f'{{timeout: "1.{"1" * n}", route: [{DESTINATION}]}}')),
    "parts of a duration": (900_000, lambda n: MESH + route(f'{{timeout: "{"1h" * (n // 2)}x", route: [{DESTINATION}]}}')),
    "digits of a number": (900_000, lambda n: deployment(spec=f", replicas: {'9' * n}")),
    "digits of a hexadecimal": (900_000, lambda n: deployment(spec=f", replicas: 0x{'f' * n}")),
    "digits of a fractional number": (900_000, lambda n: deployment(spec=f", replicas: 1.{'9' * n}x")),
    "base 60": (900_000, lambda n: deployment(spec=f", replicas: {'1:' * (n // 2)}1")),
    "letters of a name": (900_000, lambda n: deployment("a" * n)),
    "dashes of a name": (900_000, lambda n: deployment("a" + "-" * n)),
    "letters of a label": (450_000, lambda n: deployment(app="a" * n)),
    "letters of a host": (900_000, lambda n: MESH + route(hosts="a." * (n // 2))),
    "letters of a kind": (900_000, lambda n: f"kind: {'S' * n}\nmetadata: {{name: a}}\n"),
    "letters of an unknown field": (900_000, lambda n: f"kind: Service\napiVersion: v1\nmetadata: {{name: a}}\n? {'s' * n}\n: x\n"),
    "letters of a choice": (900_000, lambda n: rule(f"loadBalancer: {{simple: {'R' * n}}}")),
    "letters of a locality": (900_000, lambda n: rule(LOCALITY % f"distribute: [{{from: '*', to: {{? {'a/' * (n // 2)} : 100}}}}]")),
    # YAML
    "comments": (900_000, lambda n: "#\n" * (n // 2) + MESH),
    "empty documents": (45_000, lambda n: "---\n" * n + MESH),
    "anchors": (50_000, lambda n: MESH + several(n, "k@: &a@ x\n", "")),
    "aliases": (45_000, lambda n: "k: &a x\nl: [" + "*a," * n + "]\n"),
    "directives": (60_000, lambda n: several(n, "%TAG !t@! x\n", "") + "--- a: b\n"),
    "fields under a long one": (45_000, lambda n: f"? {'k' * n}\n: [{'x,' * n}]\n"),
    "levels": (900_000, lambda n: "\n" + "[" * n),
    "levels in blocks": (1_300, lambda n: several(n, "", "").join(f"{' ' * i}a:\n" for i in range(n))),
    "quotes": (900_000, lambda n: "a: '" + "'" * n),
    "escapes": (900_000, lambda n: 'a: "' + "\\x41" * (n // 4) + '"\n'),
    "folded lines": (900_000, lambda n: "a: >\n" + " x\n" * (n // 3)),
    "a plain text of many lines": (900_000, lambda n: "a: x\n" + " x\n" * (n // 3)),
    "tags": (900_000, lambda n: f"a: !{'t' * n} x\n"),
}  # fmt: skip


def _seconds(read: Callable[[Any], object], given: Any) -> float:
    """CPU seconds, without those of collecting garbage: they depend on what else there is."""
    gc.collect()
    gc.disable()
    begun = time.process_time()
    with suppress(ValueError):
        read(given)
    spent = time.process_time() - begun
    gc.enable()
    return spent


def _slowness() -> float:
    """How many times slower than `COUNTING` this machine is just now, at least 1."""
    begun = time.process_time()
    for _ in range(COUNTING[0]):
        pass
    return max(1.0, (time.process_time() - begun) / COUNTING[1])


def require_proportion(read: Callable[[Any], object], make: Callable[[int], Any], largest: int) -> None:
    """What the module says, of `read(make(n))` for n up to `largest`; a measurement that breaks it is made anew, twice."""
    inputs = [make(largest // parts) for parts in (4, 2, 1)]
    seconds = [math.inf] * 3
    for _ in range(TRIES):
        seconds[-1] = min(seconds[-1], _seconds(read, inputs[-1]))
        if seconds[-1] < WORTH_A_RATIO:
            return
        seconds[:2] = [min(known, _seconds(read, given)) for known, given in zip(seconds[:2], inputs[:2], strict=True)]
        if seconds[-1] < MOST_GROWTH * seconds[0] and (seconds[-1] < MOST_SECONDS or seconds[-1] < MOST_SECONDS * _slowness()):
            return
    pytest.fail(
        f"{seconds[-1]:.2f} s of CPU time, {seconds[-1] / seconds[0]:.1f} times a quarter's, {seconds[-1] / seconds[1]:.1f} times a half's"
    )


def use(text: str) -> None:
    mesh = Mesh(overhead=0).apply(text)
    target = next((name for name in ("front", "web") if f"kind: Service\nmetadata: {{name: {name}}}" in text), None)
    with suppress(ValueError):
        mesh.scenario(ClosedLoop(calls=1), target=target)
    assert isinstance(mesh.warnings, list)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_mesh(name: str) -> None:
    largest, make = MANIFESTS[name]
    assert len(make(largest)) < 1_000_000, "this is more than a file may hold"
    require_proportion(use, make, largest)


# --- records ------------------------------------------------------------------------------

HEAD = "Aggregated Function Time : count 2 avg 1.5 +/- 0.5 min 1 max 2 sum 3\n# range, mid point, percentile, count\n"
BLOCK = HEAD + ">= 1 <= 1 , 1 , 50.00, 1\n> 1 <= 2 , 1.5 , 100.00, 1\n# target 50% 1\n"
RESULT = '{"DurationHistogram": {"Count": 2, "Min": 1, "Max": 2, "Sum": 3, "Avg": 1.5, "StdDev": 0.5, "Data": [%s]%s}%s}'
ROW = '{"Start": 1, "End": 2, "Percent": 100, "Count": 1}'
OUTCOME = '{"engine": "x", "figures": {%s}, "codes": {%s}, "endpoints": {}, "attempts": {}}'
ESTIMATE = '"@": {"mean": 1, "lo": 1, "hi": 1}'
PERCENTILES, PERCENTILE, RET_CODES = ', "Percentiles": [%s]', '{"Percentile": 50, "Value": 1}', ', "RetCodes": {%s}'
MOST = 3_900_000

RECORDS: dict[str, tuple[int, Callable[[int], str]]] = {
    "lines before": (MOST // 40, lambda n: "12:00:00 I some line that fortio logged\n" * n + BLOCK),
    "codes": (MOST // 26, lambda n: BLOCK + several(n, "Code @ : 1 (50.0 %)\n", "")),
    "one code": (MOST // 22, lambda n: BLOCK + "Code 200 : 1 (50.0 %)\n" * n),
    "digits of a code": (MOST, lambda n: BLOCK + f"Code {'9' * n} : 2 (100.0 %)\n"),
    "digits of a count": (MOST, lambda n: BLOCK.replace("count 2", "count " + "2" * n)),
    "digits of an average": (MOST, lambda n: BLOCK.replace("avg 1.5", "avg 1." + "5" * n + "x")),
    "digits of an edge": (MOST, lambda n: BLOCK.replace("<= 1 ,", "<= 1" + "1" * n + " ,")),
    "spaces of the header": (MOST, lambda n: BLOCK.replace("sum 3\n", "sum 3" + " " * n + "x\n")),
    "many headers": (MOST // 60, lambda n: "Aggregated Function Time : count 1 avg " * n + BLOCK),
    "averages of All done": (MOST // 14, lambda n: BLOCK + "All done 2 calls (plus 1 warmup) 1 ms avg" + ", 1 qps ms avg" * n + "\n"),
    "calls of Ended after": (MOST // 15, lambda n: BLOCK + "Ended after x :" + " 1 calls. qps=" * n + "\n"),
    "rates": (MOST // 30, lambda n: BLOCK + "Ended after 1s : 2 calls. qps=1\n" * n),
    "buckets": (MOST // 30, lambda n: HEAD + "> 1 <= 2 , 1.5 , 100.00, 1\n" * n),
    "percentiles": (MOST // 20, lambda n: BLOCK + "# target 50% 1\n" * n),
    "other histograms": (MOST // 170, lambda n: BLOCK.replace("Aggregated Function Time", "Sleep times") * n + BLOCK),
    "returns": (MOST, lambda n: "\r" * n + BLOCK),
    "blanks": (MOST, lambda n: BLOCK + " " * n),
    "rows": (MOST // 60, lambda n: RESULT % (", ".join([ROW] * n), "", "")),
    "percentiles of JSON": (MOST // 40, lambda n: RESULT % (ROW, PERCENTILES % several(n, PERCENTILE), "")),
    "codes of JSON": (MOST // 16, lambda n: RESULT % (ROW, "", RET_CODES % several(n, '"@": 1'))),
    "other keys": (MOST // 16, lambda n: RESULT % (ROW, "", ", " + several(n, '"k@": 1'))),
    "numbers": (MOST // 4, lambda n: RESULT % (ROW, "", ', "k": [' + "1, " * n + "1]")),
    "digits of a whole number": (MOST, lambda n: RESULT.replace('"Count": 2', '"Count": ' + "2" * n) % (ROW, "", "")),
    "digits of a number": (MOST, lambda n: RESULT.replace("1.5", "1." + "5" * n) % (ROW, "", "")),
    "levels": (MOST, lambda n: RESULT % (ROW, "", ', "k": ' + "[" * n)),
    "levels of objects": (MOST, lambda n: '{"a":' * (n // 5)),
    "escaped quotes": (MOST, lambda n: '{"' + '\\"' * (n // 2)),
    "backslashes": (MOST, lambda n: '{"' + "\\" * n),
    "quotes": (MOST, lambda n: "{" + '"' * n),
    "letters of a key": (MOST, lambda n: RESULT.replace("Count", "k" * n) % (ROW, "", "")),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record(name: str, tmp_path: Path) -> None:
    largest, make = RECORDS[name]
    assert len(make(largest)) < LARGEST_FILE

    def read(text: str) -> Histogram:
        (tmp_path / "record").write_text(text, encoding="utf-8", newline="")
        return read_record(tmp_path / "record")

    require_proportion(read, make, largest)


OUTCOMES: dict[str, tuple[int, Callable[[int], str]]] = {
    "figures": (MOST // 45, lambda n: OUTCOME % (several(n, ESTIMATE), "")),
    "codes": (MOST // 45, lambda n: OUTCOME % ("", several(n, ESTIMATE))),
    "letters of a figure": (MOST, lambda n: OUTCOME % (ESTIMATE.replace("@", "f" * n), "")),
    "letters of an engine": (MOST, lambda n: OUTCOME.replace('"x"', f'"{"x" * n}"') % ("", "")),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_stored_figures(name: str, tmp_path: Path) -> None:
    largest, make = OUTCOMES[name]

    def read(text: str) -> object:
        (tmp_path / "outcome").write_text(text, encoding="utf-8")
        return read_outcome(tmp_path / "outcome")

    require_proportion(read, make, largest)


# --- command lines ------------------------------------------------------------------------

LINES: dict[str, tuple[int, Callable[[int], list[str]]]] = {
    "-t": (MOST, lambda n: ["-t", "1" * n]),
    "-timeout": (MOST, lambda n: ["-timeout", "1." + "1" * n]),
    "-c": (MOST, lambda n: ["-c", "1" * n]),
    "-qps": (MOST, lambda n: ["-qps", "1" * n + "x"]),
    "-r": (MOST, lambda n: ["-r", "0." + "0" * n + "x"]),
    "-H": (MOST, lambda n: ["-H", "a" + ":" * n]),
    "many -H": (2_400, lambda n: ["-H", "a: b"] * n),
    "--path": (MOST, lambda n: ["--path", "/" * n]),
    "--segment": (MOST, lambda n: ["--segment", ":" * n]),
    "many --segment": (2_400, lambda n: ["--segment", "1s:1:1"] * n),
    "--target": (MOST, lambda n: ["--target", "a" * n]),
    "--locality": (MOST, lambda n: ["--locality", "a." * n]),
    "--istio": (MOST, lambda n: ["--istio", "1." + "1" * n]),
    "--overhead": (MOST, lambda n: ["--overhead", "1" * n]),
    "--injector": (MOST, lambda n: ["--injector", "a" * n]),
    "--json": (MOST, lambda n: ["--json", "/" * n]),
    "files": (400, lambda n: ["testbed.yaml"] * n),
    "many words": (100_000, lambda n: ["-H", "a: b"] * n),
    "a negative number": (MOST, lambda n: ["-t", "-" + "1" * n]),
    "an unknown flag": (MOST, lambda n: ["-" * n]),
}


@pytest.mark.parametrize("name", LINES)
def test_a_command_line(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    largest, make = LINES[name]
    monkeypatch.chdir(TUTORIAL)
    monkeypatch.setattr(command_line, "VERBS", command_line.VERBS | {"load": without_engine})

    def read(words: list[str]) -> int:
        return command_line.main(["load", "testbed.yaml", "--overhead", "0s", *words])

    require_proportion(read, make, largest)


@pytest.mark.parametrize("name", "TIMING_50_PERCENTILE TIMING_VARIANCE ERROR_RATE ERROR_CODE ERROR_TYPE RATE_LIMIT OTHER".split())
@pytest.mark.parametrize("text", ["1", "0", ".", "1.", "1s"])
def test_an_environment(name: str, text: str) -> None:
    require_proportion(lambda value: from_environment({name: value}), lambda n: text * (n // len(text)), MOST)


@pytest.mark.parametrize("text", ["1", "1.", "1h", ".", "1.1h"])
def test_a_duration(text: str) -> None:
    require_proportion(lambda value: parse_duration(value, "-t"), lambda n: text * (n // len(text)), MOST)
