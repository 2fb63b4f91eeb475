"""Tables of a chapter: what is coloured, and what a reader without HTML reads."""

from __future__ import annotations

from meshmodel import catalogue
from meshmodel.teaching.tables import cells, marked, table


def test_a_cell_that_says_no_is_coloured_and_one_that_says_yes_is_framed():
    said = cells("policy | every call | note", [["B", False, "NO: too short"], ["C", True, "none of <these>"]])
    html = said._repr_html_()
    assert html.count("background:") == 2 and html.count(">yes<") == 1 and "&lt;these&gt;" in html and "none of" in html
    assert repr(said).splitlines()[2:] == ["B         NO            NO: too short", "C         yes           none of <these>"]


def test_a_comparison_is_marked_where_the_record_lies_outside():
    loop = catalogue.experiment("retry-default-503")
    shown = marked(loop.compare(loop.replay(replications=200, seed=1)), captions=["the first loop"])
    html = shown._repr_html_()
    assert html.count("background:") == html.count(">NO<") and "the first loop" in html and "joint p-value" in html
    assert "error" not in repr(shown).splitlines()[1] and "inside" in repr(shown).splitlines()[1]


def test_a_row_that_says_no_is_marked_by_a_sign_and_in_text_by_a_word():
    shown = table(("", "value"), [("<a>", 1), ("b", 0.25)], no=[0])
    html = shown._repr_html_()
    assert html.count("\N{BALLOT X}") == html.count("background:") == 1 and html.index("\N{BALLOT X}") < html.index("&lt;a&gt;")
    assert repr(shown).splitlines()[2:] == ["<a>        1  NO", "b       0.25"]
