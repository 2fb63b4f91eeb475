"""RE2's regular expressions, matched in full and in time linear in the text, whatever the expression.

Envoy matches a path or header against the whole of a `regex` (RE2 has no back-references and no look-around).  Python's own
engine tries ways one after the other and can take for ever; here all of them advance together, as sets of positions.
Source: google/re2 syntax; envoy source/common/common/regex.cc (`GoogleReMatcher::match` is a full match).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]  # the standard library's reader of patterns, in all of 3.11 to 3.14
from typing import Any

MOST_CHARACTERS = 2_000
MOST_REPEATS = 1000
"""RE2's own limit of a counted repetition."""

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "digit": "0-9", "lower": "a-z",
    "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip
_REFUSED = {"ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS"}


class PatternError(ValueError):
    """What is no expression of RE2's; says why."""


def full_match(pattern: str, text: str) -> bool:
    """Does the whole text match?  Raises PatternError."""
    if pattern.startswith("(?i)"):
        pattern, text = re.sub(r"\\.|[A-Z]", lambda found: found[0] if found[0][0] == "\\" else found[0].lower(), pattern), text.lower()
    return len(text) in _ends(parsed(pattern), text, frozenset((0,)))


@lru_cache(maxsize=1000)
def parsed(pattern: str) -> tuple[Any, ...]:
    """The expression as (operation, argument) pairs.  Raises PatternError."""
    if len(pattern) > MOST_CHARACTERS:
        raise PatternError(f"has more than {MOST_CHARACTERS} characters")
    python = re.sub(r"\[:(\^?)([a-z]+):\]", lambda found: _POSIX.get(found[2], found[0]) if not found[1] else found[0], pattern)
    python = python.replace(r"\z", r"\Z").replace("(?<", "(?P<") if "(?<=" not in python and "(?<!" not in python else python
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = tuple(_parser.parse(python, re.ASCII))
        _check(tree)
    except (re.error, OverflowError, RecursionError) as problem:
        raise PatternError(f"is no regular expression: {problem}") from None
    return tree


def _check(items: Iterable[Any], repeats: int = 1) -> None:
    for operation, argument in items:
        name = str(operation)
        if name in _REFUSED:
            raise PatternError("RE2 has no look-around and no back-references")
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = argument
            counted = repeats * max(low, 1 if high is _parser.MAXREPEAT else high, 1)
            if counted > MOST_REPEATS:
                raise PatternError(f"repeats more than {MOST_REPEATS} times")
            _check(inner, counted)
        elif name == "SUBPATTERN":
            _check(argument[-1], repeats)
        elif name == "BRANCH":
            for each in argument[1]:
                _check(each, repeats)


def _ends(items: Iterable[Any], text: str, at: frozenset[int]) -> frozenset[int]:
    """Where a match may end that begins at one of `at`."""
    for operation, argument in items:
        at = _step(str(operation), argument, text, at) if at else at
    return at


def _step(name: str, argument: Any, text: str, at: frozenset[int]) -> frozenset[int]:
    if name == "BRANCH":
        return frozenset().union(*(_ends(each, text, at) for each in argument[1]))
    if name == "SUBPATTERN":
        return _ends(argument[-1], text, at)
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeated(argument, text, at)
    if name == "AT":
        return frozenset(i for i in at if _anchored(str(argument), text, i))
    return frozenset(i + 1 for i in at if i < len(text) and _is(name, argument, text[i]))


def _repeated(argument: Any, text: str, at: frozenset[int]) -> frozenset[int]:
    low, high, inner = argument
    for _ in range(low):
        at = _ends(inner, text, at)
    found = new = at
    rounds = len(text) + 1 if high is _parser.MAXREPEAT else high - low
    for _ in range(rounds):
        new = _ends(inner, text, new) - found
        if not new:
            break
        found |= new
    return found


def _anchored(where: str, text: str, i: int) -> bool:
    if where in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return i == 0
    if where in ("AT_END", "AT_END_STRING"):
        return i == len(text)
    around = [0 <= j < len(text) and _in_category("CATEGORY_WORD", text[j]) for j in (i - 1, i)]
    return (around[0] != around[1]) == (where == "AT_BOUNDARY")


def _is(name: str, argument: Any, character: str) -> bool:
    """Whether one character matches one item."""
    if name == "ANY":
        return character != "\n"
    if name in ("LITERAL", "NOT_LITERAL"):
        return (ord(character) == argument) == (name == "LITERAL")
    if name == "IN":
        negated = bool(argument) and str(argument[0][0]) == "NEGATE"
        return any(_is(str(kind), each, character) for kind, each in argument[negated:]) != negated
    if name == "RANGE":
        return argument[0] <= ord(character) <= argument[1]
    return name == "CATEGORY" and _in_category(str(argument), character)


def _in_category(category: str, character: str) -> bool:
    kinds = {"DIGIT": "0123456789", "SPACE": "\t\n\f\r "}
    word = character.isascii() and (character.isalnum() or character == "_")
    kind = category.rpartition("_")[2]
    return (word if kind == "WORD" else character in kinds[kind]) != ("_NOT_" in category)
