"""What a YAML scalar means, as kubectl reads it.

    replicas: 3        a whole number          1:30, 1e999, 2024-01-31     text
    replicas: "3"      text                    0x1f, 0b11, 017, 0o17, 1_000  whole numbers

kubectl uses go-yaml (resolve.go): YAML 1.1 without base 60, dates as text, numbers of up to 64 bits.  A tag that the
value does not fit (`!!int x`) is an error, and so is every tag but those of JSON's types.

Deliberately stricter than go-yaml: numbers longer than any that has a meaning, and dates that are none.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any

PREFIX = "tag:yaml.org,2002:"
PLAIN = "plain"
"""Our own tag of a scalar that carries none and stands in no quotes."""

_TYPES = {PREFIX + "int": int, PREFIX + "float": float, PREFIX + "bool": bool, PREFIX + "null": type(None)}
_LONGEST_NUMBER = 64
_NULLS = {"", "~", "null", "Null", "NULL"}
_YES = {case(word) for word in ("true", "yes", "on") for case in (str.lower, str.upper, str.capitalize)}
_NO = {case(word) for word in ("false", "no", "off") for case in (str.lower, str.upper, str.capitalize)}
_SPECIAL = {f"{sign}.{case('inf')}": float(f"{sign}inf") for sign in ("", "+", "-") for case in (str.lower, str.upper, str.capitalize)}
_SPECIAL |= dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan"))
_NUMBER = re.compile(r"[-+]?[0-9.][0-9a-fA-FoxX_.+-]*")
_WHOLE = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def value(text: str, tag: str) -> Any:
    """The value of a scalar: None, a bool, int, float or str.  Raises ValueError, which says what is wrong."""
    if tag == PREFIX + "str":
        return text
    if tag != PLAIN and tag not in _TYPES:
        raise ValueError(f"cannot be read: the tag {shown(tag)} is not taken, only those of text, numbers, true, false and null")
    found = _plain(text)
    if tag == PREFIX + "float" and type(found) is int:
        return float(found)
    if tag != PLAIN and type(found) is not _TYPES[tag]:
        raise ValueError(f"cannot be read as {shown(tag)}")
    return found


def is_null(text: str) -> bool:
    """Whether a plain scalar is null."""
    return text in _NULLS


def shown(tag: str) -> str:
    """A tag as it is written."""
    return f"!!{tag.removeprefix(PREFIX)}" if tag.startswith(PREFIX) else tag


def _plain(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _YES or text in _NO:
        return text in _YES
    if text in _SPECIAL:
        return _SPECIAL[text]
    return _number(text) if _NUMBER.fullmatch(text) else text


def _number(text: str) -> int | float | str:
    """A number, or the text that only begins like one."""
    if _DATE.match(text):
        return _day(text)
    digits = text.replace("_", "")
    whole, decimal = _WHOLE.fullmatch(digits), _FLOAT.fullmatch(digits)
    if not whole and not decimal:
        return text
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("cannot be read: a number of so many digits; put it in quotes if it is text")
    if whole:
        number = next(int(part, base) for part, base in zip(whole.groups()[1:], (16, 2, 8, 10), strict=True) if part)
        number = -number if whole[1] == "-" else number
        return number if -(2**63) <= number < 2**64 else float(number)
    return float(digits) if math.isfinite(float(digits)) else text  # as Go, which has no number for it


def _day(text: str) -> str:
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError("cannot be read: no such day; put it in quotes if it is text") from None
    return text
