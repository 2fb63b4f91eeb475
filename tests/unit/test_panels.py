"""A figure's numbers as tables: they are those drawn, read by a test that knows nothing of how; every figure of the chapters has one."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from meshmodel.results.compare import compare
from meshmodel.teaching import breaker_figures, canvas, lines, panels, plots, questions, retry_figures, timeout_figures

from .synthetic import replay

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
THREE = ((1 / 3, 0.15, 200), (1 / 3, 0.15, 200), (1 / 3, 1.0, 200))


class Tables(HTMLParser):
    """The tables of a page as [caption, rows of cells], and the notes below each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[list[str], list[list[str]]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.text = ""
        if tag == "table":
            self.found.append(([], []))
        if tag == "tr":
            self.found[-1][1].append([])

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.found[-1][0].append(self.text)
        if tag in ("td", "th"):
            self.found[-1][1][-1].append(self.text)

    def handle_data(self, data: str) -> None:
        self.text += data


def tables(picture: plots.Picture) -> dict[str, list[list[str]]]:
    return {caption[0] if caption else "": rows for caption, rows in Tables(picture.html()).found}


def columns(rows: list[list[str]]) -> dict[str, dict[str, str]]:
    """Column -> row -> cell."""
    heads, *body = rows
    return {head: {row[0]: row[k] for row in body} for k, head in enumerate(heads)}


def near(cell: str, value: float) -> bool:
    """Is the cell the value to three digits?"""
    return float(cell) == pytest.approx(value, rel=0.0051, abs=1e-9)


# --- each kind of drawing ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_line_is_a_column_of_what_is_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.unique(rng.uniform(0, 10, rng.integers(2, 400)).round(2))
    heights = {name: rng.lognormal(size=len(x)) for name in ("a", "b")}
    picture = lines.lines(x, {"good answers": heights}, "A title", across="rate", marks={"here": 3.0})
    ((name, rows),) = tables(picture).items()
    assert name == "good answers" and rows[0] == ["rate", "a", "b"] and len(rows) - 1 <= panels.MOST
    drawn = {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in picture.axes[0].lines}
    for head in "ab":
        for place, cell in columns(rows)[head].items():
            assert any(near(cell, y) for at, y in drawn[head].items() if near(place, at) or abs(float(place) - at) < 1e-9)
        shown = [float(cell) for cell in columns(rows)[head].values()]
        assert near(str(max(shown)), heights[head].max()) and near(str(min(shown)), heights[head].min())
    assert near(rows[1][0], x[0]) and near(rows[-1][0], x[-1])
    frame = picture.numbers()["good answers"]
    assert frame["rate"].to_numpy() == pytest.approx(x) and frame["b"].to_numpy() == pytest.approx(heights["b"])


def test_a_jump_is_told_on_both_sides_with_as_many_digits_as_it_takes() -> None:
    x = np.concatenate((np.linspace(0, 1, 200), [0.49999, 0.50001]))
    picture = lines.lines(np.sort(x), {"p": {"step": (np.sort(x) > 0.5) * 7.0}}, "A title", across="t")
    told = columns(tables(picture)["p"])["step"]
    assert told["0.49999"] == "0" and told["0.50001"] == "7"


def test_bars_and_spreads_are_rows_with_what_is_beside_them() -> None:
    picture = lines.bars({"one": 0.25, "two": 0.5}, "A title", across="share", formula={"one": 0.2})
    assert tables(picture) == {"share (%)": [["", "engine", "formula"], ["one", "25", "20"], ["two", "50", "-"]]}
    picture = lines.spread({"few": [1, 2, 6], "many": np.arange(101)}, "A title", across="calls", beside={"few": 4})
    few, many = tables(picture)["calls"][1:]
    told = dict(zip(tables(picture)["calls"][0], zip(few, many, strict=True), strict=True))
    assert told["runs"] == ("1, 2, 6", "-") and told["mean"] == ("3", "50") and told["record"] == ("4", "-")
    assert told["95 % of runs"] == ("-", "2.5 to 97.5") and told["all runs"] == ("-", "0 to 100")


def test_points_stand_in_the_row_of_their_place() -> None:
    told = columns(
        tables(retry_figures.amplified(2, 2, 1.0, {(0.5, 1): 1.7, (1.0, 2): 8.9}))[
            "attempts at the last hop for one request; circles: the engine"
        ]
    )
    assert (told["1 hop"]["0.5"], told["engine, 1 hop"]["0.5"], told["engine, 2 hops"]["1"], told["engine, 2 hops"]["0.5"]) == (
        "1.75",
        "1.7",
        "8.9",
        "-",
    )


def test_a_line_across_stands_below_the_table() -> None:
    page = timeout_figures.survival(THREE, 0.5).html()
    assert "<div>timeout: 0.5</div>" in page and "seed" not in page


def test_of_an_area_both_edges_are_told() -> None:
    picture, (axes,) = canvas.canvas("A title", 2.0)
    axes.fill_between([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 4.0, 8.0], label="band")
    canvas.named(axes, "x", "y")
    assert tables(picture)["y"] == [["x", "band, from", "band, to"], ["0", "1", "2"], ["1", "2", "4"], ["2", "3", "8"]]


@pytest.mark.parametrize("hatched", [False, True])
def test_spans_are_told_by_their_lane_and_many_of_them_one_by_one(hatched: bool) -> None:
    picture, (axes,) = canvas.canvas("A title", 2.0)
    starts = np.arange(40.0)
    canvas.bar(axes, np.arange(40) % 2, starts, starts + 0.5, "healthy", hatched=hatched, label="work")
    axes.set_yticks([0, 1], ["a", "b"])
    canvas.named(axes, "seconds")
    frame = picture.numbers()["seconds"]
    assert list(frame.columns) == ["lane", "what", "from", "to"] and set(frame.what) == {"work"}
    assert frame[frame.lane == "b"]["from"].tolist() == starts[1::2].tolist() and (frame.to - frame["from"] == 0.5).all()
    heads, *rows = tables(picture)["seconds"]
    assert (
        heads == ["", "what", "from", "to"]
        and len(rows) <= panels.MOST
        and ["a", "work", "0", "0.5"] in rows
        and ["b", "work", "39", "39.5"] in rows
    )


def test_the_buckets_of_an_overlay_are_its_record_and_its_model() -> None:
    model, record = replay(40, seed=1), replay(1, seed=50).histogram(0)
    told = tables(plots.overlay(compare(model, record)))
    shown = columns(told["share of requests"])
    assert [float(cell) for cell in shown["recorded (%)"].values()] == pytest.approx(100 * record.counts / record.count, rel=0.006)
    assert near(columns(told["percentiles"])["recorded (s)"]["p75"], record.percentile(75))
    assert near(columns(told["percentiles"])["model, mean (s)"]["p75"], model.percentile(75).mean())


def test_a_map_has_a_cell_a_number() -> None:
    told = tables(questions.stuck_failing(most=6))
    cells = columns(next(iter(told.values())))
    assert len(told) == 2 and float(cells["3 pods"]["70"]) == round(100 * questions.failing_share(3, 2, 70))


def test_who_counts_is_counted() -> None:
    assert tables(breaker_figures.who_counts(8, 3, 2))["requests in flight"][1:] == [["callers", "8", "2", "16"], ["pods", "3", "2", "6"]]


# --- numbers that another processor prints alike ----------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.1245, "0.124"), (0.12451, "0.125"), (1366.0, "1366"), (1366.4, "1366"), (59.94, "59.9"), (1e-17, "0"), (0.1 + 0.2, "0.3"),
     (-0.00123456, "-0.00123"), (1.0, "1"), (np.nan, "-"), (np.inf, "-"), ("a", "a"), (np.True_, "yes"), (np.int64(17), "17"),
     (12345678.9, "12345679")],
)  # fmt: skip
def test_a_number_is_read_to_three_digits(value: Any, said: str) -> None:
    assert panels.readable(value) == said


@pytest.mark.parametrize("seed", range(5))
def test_a_last_bit_changes_neither_a_number_nor_the_rows(seed: int) -> None:
    x = np.round(np.random.default_rng(seed).uniform(0, 3, 300), 3) / 2  # many on the edge between two roundings
    for side in (np.inf, -np.inf):
        other = np.nextafter(x, side)
        assert [panels.readable(v) for v in x] == [panels.readable(v) for v in other]
        one, two = ({"p": {"flat": values * 0 + values[0], "line": values}} for values in (x, other))
        assert tables(lines.lines(range(300), one, "t")) == tables(lines.lines(range(300), two, "t"))


def test_a_long_table_says_that_it_is_thinned_and_a_short_one_does_not() -> None:
    long, short = (lines.lines(range(n), {"p": {"a": np.arange(n)}}, "t").html() for n in (300, 25))
    assert re.search(r"<div>\d+ of 300 rows: both ends", long) and " rows: " not in short


def test_a_name_of_the_reader_is_escaped_and_the_table_folded() -> None:
    page = lines.bars({"<b>": 0.5}, "t", across="share").html()
    assert "<b>" not in page and page.count('<details class="mm-numbers"><summary>') == 1 and " open" not in page


# --- the chapters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_figure_of_a_chapter_has_its_numbers(path: Path) -> None:
    """But those whose alternative text says all that they draw: boxes with names, and the theatre's still."""
    bare = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            page, alt = output.get("data", {}).get("text/html", ""), output.get("data", {}).get("text/plain", "")
            if "<img" in page and "mm-numbers" not in page and "The chain of calls" not in alt and "theatre(" not in cell.source:
                bare.append(alt[:80])
    assert bare == []
