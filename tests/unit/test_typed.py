"""What is typed into a box: numbers as people write them, and how far off they are told to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmodel.teaching.typed import distance, number, read, readable, same, slip


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("0.5", "", 0.5),
        (" 1,351 ", "", 1351),
        ("1,234,567.5", "", 1234567.5),
        ("13.5 %", "share", 0.135),
        ("13.5%", "%", 13.5),
        ("150ms", "s", 0.15),
        ("0.275 s", "ms", 275),
        ("275", "ms", 275),
        ("277/2059", "share", 277 / 2059),
        ("2 × 0.15 + 1", "s", 1.3),
        ("10 * 60 / (0.3 + 0.0138)", "", 600 / 0.3138),
        ("0.5^7", "", 0.5**7),
        ("−3", "", -3),
        ("1e-3", "", 0.001),
    ],
)
def test_numbers_as_people_write_them(text: str, unit: str, value: float) -> None:
    assert number(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,5", "decimal point"),
        ("half", "write a number"),
        ("1/0", "write a number"),
        ("9**9**9**9", "write a number"),
        ("(-1)**0.5", "write a number"),
        ("1e999", "finite"),
        ("__import__('os')", "write a number"),
        ("True", "write a number"),
        ("(" * 150 + "1" + ")" * 150, "write a number"),
        ("1 2", "write a number"),
    ],
)
def test_what_is_no_number_is_told_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        number(text)


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_a_line_that_says_why_not(text: str) -> None:
    try:
        assert np.isfinite(number(text))
    except ValueError as problem:
        assert "write" in str(problem)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_is_read_as_it_was_written(value: float) -> None:
    assert number(repr(float(value))) == pytest.approx(float(value))


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [("Yes", True, True), ("false", True, False), ("RANDOM ", "x", "RANDOM"), ("0.7, 0.3", [0.0], [0.7, 0.3]), ("[1; 2]", [0], [1, 2])],
)
def test_other_kinds(text: str, like: object, value: object) -> None:
    assert read(text, like) == value


def test_nothing_typed_is_said() -> None:
    with pytest.raises(ValueError, match="type your answer first"):
        read("  ")
    with pytest.raises(ValueError, match="yes or no"):
        read("perhaps", True)


@pytest.mark.parametrize(
    ("value", "expected", "says"),
    [
        (1.2, 1.0, "too high, by about 20 %"),
        (0.7, 1.0, "too low, by about 30 %"),
        (4.1, 1.0, "too high, by a factor of about 4"),
        (1, 24, "too low, by a factor of about 20"),
        (1e6, 1, "too high, by a factor of about 1,000,000"),
        (0, 5, "too low"),
        (3, 0, "too high"),
        (2, 2, ""),
        ("a", "b", ""),
        (True, 3, ""),
        (float("inf"), 3, ""),
    ],
)
def test_how_far_off_is_said_to_one_digit(value: object, expected: object, says: str) -> None:
    assert distance(value, expected) == says


@pytest.mark.parametrize(
    ("value", "expected", "unit", "says"),
    [
        (13.45, 0.1345, "share", "percentage"),
        (0.8655, 0.1345, "share", "all the others"),
        (150, 0.15, "s", "milliseconds"),
        (0.275, 275, "ms", "in seconds"),
        (-0.2, 0.2, "s", "the sign"),
        (0.5, 0.1345, "share", ""),
        (13.45, 0.1345, "requests", ""),
    ],
)
def test_the_usual_slips_are_known_by_their_unit(value: float, expected: float, unit: str, says: str) -> None:
    told = slip(value, expected, 0.001, unit)
    assert says in told and bool(says) == bool(told)


def test_sums_of_decimals_are_the_same_as_their_value() -> None:
    assert same(0.1 + 0.2, 0.3) and not same(0.31, 0.3)


@pytest.mark.parametrize(
    ("value", "says"),
    [(1 / 3, "0.3333"), (1956.19, "1956"), (7, "7"), (True, "yes"), ([0.5, 2], "0.5, 2"), ({"a": 1}, "a: 1"), ("x", "x"), (2e12, "2e+12")],
)
def test_values_in_words(value: object, says: str) -> None:
    assert readable(value) == says
