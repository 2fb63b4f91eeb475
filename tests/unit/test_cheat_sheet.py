"""The cheat sheet's fields exist in Istio's own schemas, and its defaults are those that meshmodel computes with."""

from __future__ import annotations

import dataclasses
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.book import cheat_sheet
from meshmodel import scenario
from meshmodel.istio.defaults import FIELDS, istio_defaults

ROOT = Path(__file__).parents[2]
ROWS = [(group, row) for group in cheat_sheet.groups() for row in group["fields"]]
VERSIONS = [f"1.{minor}" for minor in range(10, 33)]
names = pytest.mark.parametrize(("group", "row"), ROWS, ids=[row.get("label", row["path"]) for _, row in ROWS])


def schemas() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "tests/oracle/istio-crds.yaml").read_text(encoding="utf-8"))
    return {d["spec"]["names"]["kind"]: d["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for d in documents if d}


SCHEMAS = schemas()


def step(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """One field down, through lists and alternatives."""
    schema = schema.get("items", schema)
    return schema["properties"][name]


def expected(row: dict[str, Any], version: str) -> Any:
    """What the sheet says of a version: the value of the last version named that is not newer."""
    minor = int(version[2:])
    value = [told for since, told in row["defaults"].items() if int(since[2:]) <= minor][-1]
    return scenario.UNLIMITED if value == "unlimited" else value


def modelled(of: str, version: str) -> Any:
    """The attribute of the version's defaults, or the default of a field of the scenario."""
    kind, _, name = of.partition(".")
    if hasattr(scenario, kind):
        return next(field.default for field in dataclasses.fields(getattr(scenario, kind)) if field.name == name)
    value = reduce(getattr, of.split("."), istio_defaults(version))
    return sorted(value) if isinstance(value, frozenset) else value


@names
def test_the_field_exists_in_istios_schema(group: dict[str, Any], row: dict[str, Any]) -> None:
    assert reduce(step, row["path"].split("."), step(SCHEMAS[row["kind"]], "spec"))


@names
def test_the_default_is_the_one_that_is_computed_with(group: dict[str, Any], row: dict[str, Any]) -> None:
    assert ("unset" in row) != ("defaults" in row)
    for version in VERSIONS if "defaults" in row else ():
        assert expected(row, version) == modelled(row["of"], version), version


@names
def test_the_version_is_the_one_that_the_field_came_with(group: dict[str, Any], row: dict[str, Any]) -> None:
    assert row.get("since") == next((FIELDS[name] for name in row["path"].split(".") if name in FIELDS), None)


@names
def test_the_row_is_whole(group: dict[str, Any], row: dict[str, Any]) -> None:
    assert (ROOT / "notebooks" / f"{group['chapter']}.ipynb").exists()
    assert all(row[name].strip() and "|" not in row[name] for name in ("kind", "envoy", "does", "bites"))
    assert "|" not in cheat_sheet.default(row) and cheat_sheet.default(row)


def test_a_default_that_changed_is_told_by_version() -> None:
    row = next(row for _, row in ROWS if row["path"].endswith("loadBalancer.simple"))
    assert cheat_sheet.default(row) == "ROUND_ROBIN, from 1.14 on LEAST_REQUEST"
    assert modelled(row["of"], "1.13") == "ROUND_ROBIN" != expected(row, "1.14")
