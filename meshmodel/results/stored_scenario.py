"""A scenario read again from the plain values that `Scenario.to_json` gives."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from meshmodel import scenario as scenarios
from meshmodel._text import InputError, visible
from meshmodel.scenario import ClosedLoop, Constant, Distribution, OpenLoop, Scenario


def read_scenario(plain: Any, name: str = "<json>", error: type[InputError] = InputError) -> Scenario:
    """The scenario of these values.  Raises `error` on any others, with the file's name."""
    try:
        return _made(Scenario, plain, 0)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError, RecursionError) as problem:
        raise error(f"{name}: scenario: not as --json writes it: {problem}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, vars(scenarios))


def _made(kind: Any, value: Any, depth: int) -> Any:
    """`value` as the `kind` that a field of the scenario has; fields that are not there keep their defaults."""
    if kind is Distribution or kind is Constant:
        return _distribution(value)
    if isinstance(kind, type) and is_dataclass(kind):
        known = {field.name for field in fields(kind)}
        return kind(**{name: _made(_hints(kind)[name], each, depth + 1) for name, each in value.items() if name in known})
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any or origin is Literal:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(inside, value, depth)
    if origin is tuple:
        kinds = (inside[0] for _ in value) if inside[-1] is Ellipsis else inside
        return tuple(_made(each, part, depth + 1) for each, part in zip(kinds, value, strict=inside[-1] is not Ellipsis))
    if origin is frozenset:
        return frozenset(_made(inside[0], part, depth + 1) for part in value)
    if origin is not None and issubclass(origin, Mapping):
        return {str(key): _made(inside[1], part, depth + 1) for key, part in value.items()}
    return _plain(kind, value)


def _one_of(kinds: tuple[Any, ...], value: Any, depth: int) -> Any:
    if value is None:
        return None
    if set(kinds) == {ClosedLoop, OpenLoop}:
        return _made(OpenLoop if "segments" in value else ClosedLoop, value, depth)
    return _made(next(kind for kind in kinds if kind is not type(None)), value, depth)


def _plain(kind: type, value: Any) -> Any:
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or isinstance(value, bool) is not (kind is bool):
        raise TypeError(f"must be {kind.__name__}, got {visible(str(value))[:40]}")
    return kind(value)


def _distribution(value: Mapping[str, Any]) -> Distribution:
    if "seconds" in value:
        return Constant(float(value["seconds"]))
    from scipy import stats

    law = getattr(stats, str(value.get("distribution")), None)
    if not isinstance(law, stats.rv_continuous):
        return Constant(float(value["mean"]))
    sizes = {name: float(size) for name, size in value.items() if name not in ("distribution", "args")}
    return law(*map(float, value.get("args", ())), **sizes)
