"""How two loads differ: what was asked of a model, and what a record says was asked of fortio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshmodel._text import shortened, visible
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Outcome

_UNITS = {"qps": " a second", "duration": " s", "calls": " calls", "timeout": " s"}
_NEAR = 1e-6


def asked_of(side: Outcome | Histogram) -> dict[str, Any]:
    """connections, qps, calls, duration, timeout, request ... of a load, as far as it is known."""
    if isinstance(side, Histogram):
        return dict(side.load)
    plain = getattr(side, "content", None)
    workload = plain.get("scenario", {}).get("workload", {}) if plain is not None else side.scenario.to_json()["workload"]
    found = {name: value for name, value in workload.items() if value is not None} if isinstance(workload, Mapping) else {}
    if plain is None and "connections" in found:
        found["connections"] = side.scenario.workload.threads  # type: ignore[union-attr]  # what fortio's own output says
    return found


def differences(one: Outcome | Histogram, other: Outcome | Histogram, names: tuple[str, str]) -> str:
    """One line on how the loads differ, "" where they do not or one of them says nothing."""
    mine, its = asked_of(one), asked_of(other)
    if not mine or not its:
        return ""
    record = isinstance(one, Histogram) or isinstance(other, Histogram)
    known = ("connections", "qps") if record else tuple(name for name in {**mine, **its} if name not in ("calls", "duration"))
    found = [f"{name} {_said(name, mine.get(name))} and {_said(name, its.get(name))}" for name in known if _differ(mine, its, name)]
    if any(_differ(mine, its, name) for name in ("calls", "duration")) and ({"calls", "duration"} & its.keys()):
        found.append(f"length {_length(mine)} and {_length(its)}")
    return f"loads differ ({names[0]} and {names[1]}): {'; '.join(found)}" if found else ""


def _differ(mine: Mapping[str, Any], its: Mapping[str, Any], name: str) -> bool:
    one, other = mine.get(name), its.get(name)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) > _NEAR * max(abs(one), abs(other))
    return one != other


def _length(asked: Mapping[str, Any]) -> str:
    return next((_said(name, asked[name]) for name in ("calls", "duration") if asked.get(name) is not None), "unknown")


def _said(name: str, value: Any) -> str:
    if name == "qps" and value == 0:
        return "as fast as possible"
    if isinstance(value, int | float):
        return f"{value:g}{_UNITS.get(name, '')}"
    return "none" if value is None else shortened(visible(str(value)), 60)
