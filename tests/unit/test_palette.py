"""Colours are read on white, on dark grounds and in print: contrast by WCAG 2.2's formula, for everything that the package draws."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from meshmodel.teaching import cards, palette, theme

WHITE, LAB_DARK, THEATRE_DARK, BOOK_DARK = "#FFFFFF", "#111111", "#131416", "#14181E"
TEXT, THINGS = 4.5, 3.0
"""The least contrast of text, and of what is drawn (WCAG 2.2: 1.4.3 and 1.4.11)."""

STYLES = [Path(theme.__file__).parent / "theme.css", Path(cards.__file__).parent / "card.css"]


def channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
    return sum(part * c for part, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def mixed(ink: str, percent: float, ground: str) -> str:
    parts = (percent / 100 * a + (1 - percent / 100) * b for a, b in zip(channels(ink), channels(ground), strict=True))
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def test_the_formula_is_wcags() -> None:
    assert contrast("#000000", WHITE) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)  # the specification's own example of a near miss


@pytest.mark.parametrize("name", palette.ROLES)
def test_a_role_is_seen_on_both_grounds(name: str) -> None:
    role = palette.ROLES[name]
    assert contrast(role.light, WHITE) >= THINGS
    for ground in (LAB_DARK, THEATRE_DARK, BOOK_DARK):
        assert contrast(role.dark, ground) >= THINGS


def test_a_stored_figures_colours_are_seen_on_any_ground() -> None:
    """A stored picture does not know the theme: all roles but the record's ink, which canvas draws in its own grey."""
    for name, role in palette.ROLES.items():
        if name != "record":
            assert min(contrast(role.light, ground) for ground in (WHITE, LAB_DARK, THEATRE_DARK, BOOK_DARK)) >= 2.9, name


@pytest.mark.parametrize("dark", [False, True])
def test_no_two_roles_are_one_colour(dark: bool) -> None:
    for (name, one), (other, two) in combinations(palette.ROLES.items(), 2):
        a, b = (channels(role.dark if dark else role.light) for role in (one, two))
        assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 0.15, (name, other)


def test_what_a_style_mixes_of_ink_and_ground_can_be_read() -> None:
    """Text (--muted, --plain) and edges of boxes, in either theme, JupyterLab's and ours."""
    mixes = {
        name: float(percent)
        for path in STYLES
        for name, percent in re.findall(r"--(\w+): color-mix\(in srgb, var\(--ink\) ([\d.]+)%", path.read_text(encoding="utf-8"))
    }
    assert {"muted", "plain", "edge", "fill"} <= mixes.keys()
    for ink, ground in (("#1C1E21", WHITE), ("#212121", WHITE), ("#E6E6E6", THEATRE_DARK), ("#FFFFFF", LAB_DARK), ("#CED6DD", BOOK_DARK)):
        fill = mixed(ink, mixes["fill"], ground)
        assert contrast(ink, fill) >= TEXT
        assert contrast(mixed(ink, mixes["muted"], ground), fill) >= TEXT
        assert contrast(mixed(ink, mixes["plain"], ground), ground) >= THINGS
        assert contrast(mixed(ink, mixes["edge"], ground), ground) >= THINGS


def test_a_troubled_pods_bar_is_told_in_grey_too() -> None:
    """Its colour and a healthy pod's are nearly one grey."""
    well, ill = palette.look("healthy"), palette.look("troubled")
    assert abs(luminance(well["facecolor"]) - luminance(ill["facecolor"])) < 0.1
    assert "hatch" in ill and "hatch" not in well
