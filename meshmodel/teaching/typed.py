"""What somebody typed into a box: read as a number, a word or a list, and told how far it is from an answer.

A number may be written as people write one: `1,351`, `13.5 %`, `150 ms`, `277/2059`, `2 * 0.15 + 1`.
"""

from __future__ import annotations

import ast
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from meshmodel.teaching.words import say

SHARE, SECONDS = "share", "s"
"""Units that are read and not only shown: a share from 0 to 1, and seconds."""

LONGEST = 200
_YES, _NO = {"yes", "true", "y"}, {"no", "false", "n"}
_SUFFIX = {"%": 0.01, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "s": 1.0}
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SIGNS = str.maketrans({"×": "*", "·": "*", "−": "-", "÷": "/", "\u00a0": " "})
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def read(text: str, like: Any = 0.0, unit: str = "") -> Any:
    """The value that `text` says in `unit`, of the kind of `like`: a number, a truth value, a text, or a sequence of them.

    Raises
    ------
    ValueError : it says no such value, with what to write instead.
    """
    text = text.strip()[:LONGEST]
    if not text:
        raise ValueError("type your answer first")
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        return _truth(text)
    if isinstance(like, numbers.Real):
        return number(text, unit)
    first = next(iter(like), 0.0)
    return [read(part, first, unit) for part in re.split(r"[;\s]+|,\s*", text.strip("()[]")) if part]


def _truth(text: str) -> bool:
    if text.casefold() in _YES | _NO:
        return text.casefold() in _YES
    raise ValueError("write yes or no")


def number(text: str, unit: str = "") -> float:
    """The number that `text` says, a sum or a quotient included; a `%`, `ms` or `s` behind it is turned into `unit` (1, or seconds).

    Raises
    ------
    ValueError : it is none, or none that is finite.
    """
    plain = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text[:LONGEST].translate(_SIGNS).strip())
    suffix = re.search(r"(?<=[\d.)\s])(%|ms|us|µs|s)$", plain)
    plain = plain[: suffix.start()] if suffix else plain
    if re.search(r"\d,\d", plain):
        raise ValueError("write the decimal point as a point: 0.5")
    try:
        value = _value(ast.parse(plain.replace("^", "**").strip(), mode="eval").body)
    except (SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError):
        raise ValueError(f"write a number, like 0.5, 13 % or 2/3; got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"write a number that is finite; got {text!r}")
    return value * _SUFFIX[suffix.group()] / _SUFFIX.get(unit, 1.0) if suffix else value


def _value(node: ast.AST) -> float:
    """Numbers and the four operations and powers; TypeError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _value(node.operand) * (-1 if isinstance(node.op, ast.USub) else 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
        if isinstance(value, float):  # a root of a negative number is complex
            return value
    raise TypeError("no number")


def same(value: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Whether `value` is `expected`, numbers to the tolerance and texts without regard to case."""
    if isinstance(expected, str):
        return isinstance(value, str) and value.strip().casefold() == expected.strip().casefold()
    if isinstance(expected, bool):
        return value is expected
    if isinstance(expected, numbers.Real):
        right_kind = isinstance(value, numbers.Real) and not isinstance(value, bool)
        rounding = 1e-9 * abs(float(expected))  # 0.1 + 0.2 is 0.3
        return right_kind and abs(float(value) - float(expected)) <= tolerance + rounding
    if isinstance(expected, Mapping):
        same_keys = isinstance(value, Mapping) and value.keys() == expected.keys()
        return same_keys and all(same(value[key], expected[key], tolerance) for key in expected)
    expected = list(expected)
    sized = not isinstance(value, str) and hasattr(value, "__len__") and len(value) == len(expected)
    return sized and all(same(v, e, tolerance) for v, e in zip(value, expected, strict=True))


def readable(value: Any) -> str:
    """The value in words, numbers to four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real):
        return f"{float(value):.0f}" if 1000 <= abs(float(value)) < 1e9 else f"{float(value):.4g}"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{say(str(key))}: {readable(item)}" for key, item in value.items())
    return ", ".join(map(readable, value))


def distance(value: Any, expected: Any) -> str:
    """How far a number is off, to one digit: "too high, by about 20 %"; "" where neither more nor less can be said."""
    if not all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in (value, expected)):
        return ""
    off, whole = float(value) - float(expected), float(expected)
    if off == 0 or not math.isfinite(off):
        return ""
    way = "high" if off > 0 else "low"
    ratio = float(value) / whole if whole else 0.0
    if ratio <= 0:
        return f"too {way}"
    factor = max(ratio, 1 / ratio)
    if factor >= 1.95:
        return f"too {way}, by a factor of about {_one_digit(factor)}"
    return f"too {way}, by about {_one_digit(100 * abs(ratio - 1))} %"


def _one_digit(value: float) -> str:
    return f"{float(f'{value:.1g}'):,.10g}"


def slip(value: Any, expected: Any, tolerance: float, unit: str = "") -> str:
    """The usual slip by which a number missed the answer, whatever the question: percent, milliseconds, the other share; "" if none."""
    if not isinstance(expected, numbers.Real) or isinstance(expected, bool) or not isinstance(value, numbers.Real):
        return ""
    found = [says for factor, says in _FACTORS.get(unit, []) if expected and same(value / factor, expected, tolerance)]
    if unit == SHARE and expected != 0.5 and same(1 - value, expected, tolerance):
        found.append("that is the share of all the others: the question asks for the rest")
    if expected and same(-value, expected, tolerance):
        found.append("the size is right, the sign is not")
    return next(iter(found), "")


_FACTORS: dict[str, list[tuple[float, str]]] = {
    SHARE: [(100, "that is a percentage: write it as a share from 0 to 1, or with its %")],
    SECONDS: [(1000, "that is in milliseconds: write seconds, or write ms behind it")],
    "ms": [(0.001, "that is in seconds: the question asks for milliseconds")],
    "%": [(0.01, "that is a share from 0 to 1: the question asks for percent")],
}
"""Unit -> (so many times too large, what was written instead)."""
