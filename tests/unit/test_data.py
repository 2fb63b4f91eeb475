"""data/tutorial: the records are whole, and the manifests are what Istio's own schemas accept."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from meshmodel._data import data_path

TUTORIAL = data_path("tutorial")
MANIFESTS = sorted((TUTORIAL / "manifests").glob("*.yaml"))
ORACLE = Path(__file__).parents[1] / "oracle" / "istio-crds.yaml"
BUCKET = re.compile(r"^>=? ([\d.]+) <= ([\d.]+) , [\d.]+ , ([\d.]+), (\d+)$", re.MULTILINE)


def rows(name: str) -> list[dict[str, str]]:
    with (TUTORIAL / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def closed(schema: Any) -> Any:
    """The schema as an API server applies it: an object has no other fields than those it lists."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value) for key, value in schema.items()}
    if "properties" in copy and "type" in copy and not copy.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


def istio_schemas() -> dict[str, Any]:
    crds = documents(ORACLE)
    return {crd["spec"]["names"]["kind"]: closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) for crd in crds}


@pytest.mark.parametrize(("name", "calls", "seconds"), [("round-robin.txt", 1366, 604.598783), ("least-conn.txt", 2059, 603.120249)])
def test_histogram_is_whole(name: str, calls: int, seconds: float) -> None:
    text = (TUTORIAL / name).read_bytes().decode("ascii")
    assert text.endswith("\n") and "\r" not in text
    buckets = [(float(a), float(b), float(p), int(n)) for a, b, p, n in BUCKET.findall(text)]
    head = re.match(r"Aggregated Function Time : count (\d+) avg ([\d.]+) \+/- [\d.]+ min ([\d.]+) max ([\d.]+) sum ([\d.]+)\n", text)
    assert head is not None
    count, mean, smallest, largest, total = (float(figure) for figure in head.groups())
    assert count == calls == sum(n for *_, n in buckets)
    assert total == seconds and mean == pytest.approx(total / count, abs=1e-8)
    assert (buckets[0][0], buckets[-1][1]) == pytest.approx((smallest, largest), rel=1e-5)
    below = 0
    for _, _, percent, n in buckets:
        below += n
        assert percent == pytest.approx(100 * below / count, abs=0.005)
    assert text.count("# target") == 5


def test_curl_loops() -> None:
    loops = rows("curl-loops.csv")
    failed = Counter(row["experiment"] for row in loops if row["code"] == "500")
    assert failed == {"timeout": 3, "retry-gateway-error-500": 4}
    by_experiment = Counter(row["experiment"] for row in loops)
    assert by_experiment == dict.fromkeys(["timeout", "retry-default-503", "retry-gateway-error-500", "retry-5xx-500"], 10)
    assert [int(row["call"]) for row in loops] == 4 * list(range(1, 11))
    assert {row["code"] for row in loops} == {"200", "500"}
    assert all(0 <= float(row["seconds"]) - float(row["jq_seconds"]) < 0.006 for row in loops)  # jq starts with curl and ends with it


def test_settings_are_the_same_within_a_loop_and_stand_in_a_manifest() -> None:
    manifests = "".join(path.read_text(encoding="utf-8") for path in MANIFESTS)
    settings = {(row["experiment"], *list(row.values())[5:]) for row in rows("curl-loops.csv")}
    assert len(settings) == 4
    assert all(value in manifests for _, *values in settings for value in values)


def test_curl_counts_sum_to_their_calls() -> None:
    counts = Counter[str]()
    for row in rows("curl-counts.csv"):
        counts[row["experiment"]] += int(row["count"])
        assert row["calls"] == "50" and row["body"] in {"Hello from simple-backend-1", "Hello from simple-backend-2"}
    assert counts == {"round-robin-counts": 50, "locality": 50, "locality-failure": 50}


def test_readme_values_stand_in_their_files() -> None:
    readme = (TUTORIAL / "README.md").read_text(encoding="utf-8")
    values = re.findall(r"^\| `([^`]+)` \| [^|]+ \| `([^`]+)` \| [^|]+ \|$", readme, re.MULTILINE)
    assert len(values) == 40
    for value, name in values:
        text = (TUTORIAL / name).read_text(encoding="utf-8")
        assert re.search(rf"(?<![\w.]){re.escape(value)}(?![\w]|\.\d)", text), f"{value} is not in {name}"


def test_readme_names_every_file() -> None:
    readme = (TUTORIAL / "README.md").read_text(encoding="utf-8")
    names = [path.relative_to(TUTORIAL).as_posix() for path in TUTORIAL.rglob("*") if path.is_file() and path.name != "README.md"]
    assert [name for name in names if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifest_is_valid_for_istio(path: Path) -> None:
    schemas = istio_schemas()
    for document in documents(path):
        assert document["metadata"]["namespace"] == "istioinaction"
        kind = document["kind"]
        if document["apiVersion"].startswith("networking.istio.io/"):
            jsonschema.Draft202012Validator(schemas[kind]["properties"]["spec"]).validate(document["spec"])
        else:
            assert (document["apiVersion"], kind) in {("v1", "Service"), ("apps/v1", "Deployment")}


def test_oracle_refuses_an_unknown_field() -> None:
    spec = documents(TUTORIAL / "manifests" / "dr-outlier-detection.yaml")[0]["spec"]
    spec["trafficPolicy"]["outlierDetection"]["consecutive6xxErrors"] = 1
    with pytest.raises(jsonschema.ValidationError, match="consecutive6xxErrors"):
        jsonschema.validate(spec, istio_schemas()["DestinationRule"]["properties"]["spec"])


def test_testbed_is_the_tutorials() -> None:
    testbed = documents(TUTORIAL / "manifests" / "testbed.yaml")
    pods = {d["metadata"]["name"]: d["spec"]["replicas"] for d in testbed if d["kind"] == "Deployment"}
    assert pods == {"simple-web": 1, "simple-backend-1": 1, "simple-backend-2": 2}
    for document in (d for path in MANIFESTS for d in documents(path) if d["kind"] == "Deployment"):
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert document["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_labels_of_the_localities_come_with_the_section_on_localities() -> None:
    """No experiment before it has them, and every one from there on: each Deployment as it is applied last."""
    experiments = yaml.safe_load((TUTORIAL / "experiments.yaml").read_text(encoding="utf-8"))
    first = list(experiments).index("locality")
    for number, (name, experiment) in enumerate(experiments.items()):
        applied = [d for file in experiment["manifests"] for d in documents(TUTORIAL / "manifests" / file) if d["kind"] == "Deployment"]
        last = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"].get("istio-locality") for d in applied}
        zones = {pod: "us-west1.us-west1-" + ("b" if pod == "simple-backend-2" else "a") for pod in last}
        assert last == (zones if number >= first else dict.fromkeys(last)), name


def test_the_labels_are_all_that_the_labelled_manifests_add() -> None:
    def without_labels(name: str) -> list[dict[str, Any]]:
        found = documents(TUTORIAL / "manifests" / name)
        for document in found:
            document["spec"].get("template", {"metadata": {"labels": {}}})["metadata"]["labels"].pop("istio-locality", None)
        return [document for document in found if document["kind"] == "Deployment"]

    assert without_labels("localities.yaml") == without_labels("testbed.yaml")
    assert without_labels("slow-backend-1-labelled.yaml") == without_labels("slow-backend-1.yaml")
