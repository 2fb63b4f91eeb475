"""Cards without a browser: what an exercise, a guess, what it hides, and a summary say and do."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from meshmodel.teaching import journal, words
from meshmodel.teaching.cards.card import ALONE
from meshmodel.teaching.cards.exercise import ExerciseCard
from meshmodel.teaching.cards.summary import Summary
from meshmodel.teaching.exercises import Exercise, Mistake
from meshmodel.teaching.guesses import GuessError, guess
from meshmodel.teaching.plots import Picture

SECRET = 0.1345


@pytest.fixture(autouse=True)
def nothing_done_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_entries", {})
    monkeypatch.setattr(journal, "_listeners", {})


def asked(**settings: Any) -> Exercise:
    told: dict[str, Any] = {"name": "slow", "unit": "share", "objective": "read a share", "minutes": 2, "hints": ["last bucket", "277"]}
    mistakes = [Mistake(1 / 3, "one pod in three, and it is avoided")]
    return Exercise(lambda: SECRET, 0.0005, **{**told, "mistakes": mistakes, "solution": "Divide.\n\n277 / 2059", **settings})


def picture() -> Picture:
    made = Picture(figsize=(3, 2))
    made.subplots().plot([0, 1], [0, 1])
    made.alt_text = "A rise."
    return made


def buttons(card: Any) -> list[str]:
    return [button["press"] for button in card.state["buttons"]]


def everything(card: Any) -> str:
    """What a browser, a page and a reader get of it."""
    return json.dumps([card.spec, card.state]) + card.html() + card.text()


# --- exercises ---------------------------------------------------------------------------------


def test_a_card_names_its_objective_and_minutes_and_holds_no_answer() -> None:
    card = ExerciseCard(asked(), 3)
    assert card.spec["title"] == "Exercise 3" and [chip["label"] for chip in card.spec["chips"]] == ["read a share", "about 2 minutes"]
    assert buttons(card) == ["check", "hint", "solution"]
    for told in ("0.1345", "277", "Divide", "last bucket", "avoided"):
        assert told not in everything(card)


def test_nothing_is_computed_before_somebody_asks() -> None:
    card = ExerciseCard(Exercise(lambda: 1 / 0, hints=["x"]))
    assert repr(card) and card._repr_mimebundle_()
    with pytest.raises(ZeroDivisionError):
        card.press("check", "1")
    card._heard(None, {"press": "check", "values": ["1"]}, None)
    assert "could not be checked: ZeroDivisionError" in card.state["says"] and card.state["tone"] == "wrong"


def test_it_says_what_is_wrong_and_then_that_it_is_right() -> None:
    card = ExerciseCard(asked())
    said = {}
    for text in ("1/3", "13.45", "0.5", "x", "", "277/2059", "0.3"):
        card.press("check", text)
        said[text] = card.state["says"], card.state["tone"]
    assert said["1/3"][0].startswith("Not yet: one pod in three, and it is avoided.")
    assert "percentage" in said["13.45"][0] and "factor of about 4" in said["0.5"][0] and said["0.5"][1] == "wrong"
    assert said["x"] == ("write a number, like 0.5, 13 % or 2/3; got 'x'", "note") and said[""] == ("type your answer first", "note")
    assert said["277/2059"] == ("Correct: 0.1345.", "right")
    assert card.state["done"] and said["0.3"][1] == "wrong"  # what was solved stays solved


def test_every_answer_of_python_is_news_to_the_browser() -> None:
    card = ExerciseCard(asked())
    numbers = []
    for _ in range(3):
        card.press("check", "0.5")
        numbers.append(card.state["number"])
    assert numbers == sorted(set(numbers))


def test_hints_come_one_by_one_and_the_solution_behind_its_button() -> None:
    card = ExerciseCard(asked())
    assert card.state["parts"] == []
    card.press("hint")
    assert [part["html"] for part in card.state["parts"]] == ["last bucket"]
    card.press("hint")
    assert [part["html"] for part in card.state["parts"]] == ["last bucket", "277"] and buttons(card) == ["check", "solution"]
    card.press("solution")
    assert card.state["parts"][-1]["html"] == "<p>Answer: 0.1345</p><p>Divide.</p><pre>277 / 2059</pre>"
    assert buttons(card) == ["check"]


def test_a_students_card_tells_no_solution_even_if_asked() -> None:
    card = ExerciseCard(asked(), solutions=False)
    assert buttons(card) == ["check", "hint"]
    card.press("solution")
    assert "Divide" not in everything(card)


def test_yes_or_no_and_choices_are_radio_buttons() -> None:
    card = ExerciseCard(Exercise(True, unit="yes/no"))
    assert card.spec["fields"][0]["choices"] == ["yes", "no"]
    card.press("check", "yes")
    assert card.state["tone"] == "right"
    card = ExerciseCard(Exercise("fewer", choices=["more", "fewer"]))
    card.press("check", "more")
    assert card.state["says"] == "Not yet."


# --- guesses -----------------------------------------------------------------------------------


def test_a_guess_locks_and_what_it_hides_is_shown_with_it() -> None:
    share = guess("Which share is slow?", 0, 1, unit="share")
    hidden = share.reveal(picture(), truth=1 / 3, axis="x", says="One in `three`.")
    assert share.value is None and not hidden.uncovered and "A rise" not in json.dumps([hidden.spec, hidden.state])
    share.press("lock", "50 %")
    assert share.value == 0.5 and share.state["locked"] and share.state["buttons"] == []
    assert hidden.uncovered and hidden.state["says"] == "You guessed 0.5; it is 0.3333: too high, by about 50 %."
    assert (
        "A dashed line marks your guess: 0.5." in hidden.state["parts"][0]["html"]
        and "<code>three</code>" in hidden.state["parts"][0]["html"]
    )
    share.press("lock", "0.1")
    assert share.value == 0.5


@pytest.mark.parametrize("text", ["2", "-0.1", "", "x", "1e999", "0,5"])
def test_a_guess_that_cannot_be_is_said_and_not_locked(text: str) -> None:
    share = guess("Which share is slow?", 0, 1)
    hidden = share.reveal(picture())
    share.press("lock", text)
    assert not share.locked and not hidden.uncovered and share.state["says"]
    with pytest.raises(GuessError):
        share.lock("half")


def test_several_boxes_are_one_guess() -> None:
    both = guess("How many, and how slow?", parts=["requests", "p75 (s)"])
    hidden = both.reveal(picture(), truth={"requests": 1351, "p75 (s)": 1.01}, axis="x", part="p75 (s)")
    both.press("lock", "1,400", "")
    assert not both.locked and both.state["says"].startswith("p75 (s): ")
    both.press("lock", "1,400", "1.01")
    assert both.value == {"requests": 1400, "p75 (s)": 1.01}
    assert "Requests: you guessed 1400; it is 1351: too high, by about 4 %." in hidden.state["says"]
    assert "your guess p75 (s): 1.01" in hidden.state["parts"][0]["html"] and "your guess requests" not in hidden.state["parts"][0]["html"]


def test_a_choice_is_marked_at_its_tick() -> None:
    more = guess("More or fewer?", choices=["more", "fewer"])
    shown = picture()
    shown.axes[0].set_yticks([0.25, 0.75], ["more", "fewer"])
    assert shown is more.mark(shown, "y") and len(shown.axes[0].lines) == 1  # nothing is drawn before it is locked
    more.press("lock", "")
    assert not more.locked
    more.press("lock", "fewer")
    more.mark(shown, "y")
    assert shown.axes[0].lines[-1].get_ydata()[0] == 0.75
    with pytest.raises(GuessError, match="choose one of"):
        guess("?", choices=["more"]).lock("less")


def test_a_guess_for_which_a_picture_has_no_axis_is_written_below_it() -> None:
    choice = guess("More or fewer?", choices=["more", "fewer"])
    hidden = choice.reveal(picture(), axis="y")  # its ticks are numbers
    both = guess("How many, and how slow?", parts=["requests", "p75 (s)"])
    one_drawn = both.reveal(picture(), axis="x", part="p75 (s)")
    choice.lock("more")
    both.lock({"requests": 1400, "p75 (s)": 1.01})
    assert hidden.shown.alt_text == "A rise. Written below: your guess: more." and len(hidden.shown.axes[0].lines) == 1
    assert one_drawn.shown.alt_text == ("A rise. A dashed line marks your guess p75 (s): 1.01. Written below: your guess: requests 1400.")


def test_what_is_written_below_a_picture_moves_nothing_in_it() -> None:
    shown, before = picture(), picture()
    shown.text(0.1, 0.9, "a title")
    told = guess("Which?", choices=["one"])
    told.lock("one")
    told.mark(shown, None)
    grown = shown.get_figheight() - before.get_figheight()
    box, old = shown.axes[0].get_position(), before.axes[0].get_position()
    assert grown > 0.2 and box.height * shown.get_figheight() == pytest.approx(old.height * before.get_figheight())
    assert box.y0 * shown.get_figheight() - grown == pytest.approx(old.y0 * before.get_figheight())
    assert shown.texts[0].get_position()[1] * shown.get_figheight() - grown == pytest.approx(0.9 * before.get_figheight())


def test_a_guess_of_a_stretch_begins_where_the_picture_says() -> None:
    late = guess("How many seconds after the step?", unit="s")
    late.lock(1.5)
    shown = picture()
    late.mark(shown, "x", zero=6)
    assert shown.axes[0].lines[-1].get_xdata()[0] == 7.5


def test_a_guess_beyond_the_axis_makes_room_and_keeps_its_direction() -> None:
    far = guess("How much?")
    far.lock(9)
    shown = picture()
    shown.axes[0].invert_yaxis()
    far.mark(shown, "x")
    far.mark(shown, "y")
    left, right = shown.axes[0].get_xlim()
    bottom, top = shown.axes[0].get_ylim()
    assert left < 0 and right > 9 and bottom > 9 and top < 0


def test_seconds_of_a_broken_axis_are_where_the_picture_says() -> None:
    late = guess("How late?", unit="s")
    late.lock(1.5)
    shown = picture()
    shown.seconds = lambda seconds: seconds / 10
    late.mark(shown, "x")
    assert shown.axes[0].lines[-1].get_xdata()[0] == 0.15
    plain = picture()
    late.mark(plain, "x", scale=100)  # percent of a share
    assert plain.axes[0].lines[-1].get_xdata()[0] == 150


def test_what_is_hidden_may_be_made_of_the_guess_or_be_a_table_or_a_text() -> None:
    share = guess("Which?")
    made = share.reveal(lambda value: f"with {value}")
    table = share.reveal(pd.DataFrame({"share": [0.5]}))
    assert made.shown == "with None" and "<table" in table.html()
    share.lock(3)
    assert "<pre>with 3</pre>" in made.state["parts"][0]["html"]
    late = share.reveal("shown at once, since it is locked")
    assert late.uncovered


def test_a_stored_page_folds_what_is_hidden_and_paper_has_it() -> None:
    share = guess("Which share is `slow`?")
    data, metadata = share.reveal(picture(), says="A third.")._repr_mimebundle_()
    assert data["text/html"].startswith("<details") and "<details open" not in data["text/html"] and "<img" in data["text/html"]
    assert data["text/plain"] == "Guess first, then open this (Which share is `slow`?)\nA rise.\nA third."
    assert metadata["image/png"] == {"alt": "A rise."} and data["image/png"] and metadata["text/html"] == {ALONE: True}
    assert share._repr_mimebundle_()[0]["text/plain"] == "Predict first: Which share is `slow`?"


def test_mistakes_in_a_notebook_are_named() -> None:
    with pytest.raises(GuessError, match="axis"):
        guess("?").reveal("x", axis="z")
    with pytest.raises(GuessError, match="parts"):
        guess("?", parts=["a"], choices=["b"])


# --- the summary -------------------------------------------------------------------------------


def test_the_summary_follows_what_is_done_and_counts_nothing() -> None:
    first, second = asked(), asked(name="other", objective="read another", minutes=3)
    summary = Summary("A chapter", [first, second])
    assert summary.text() == (
        "What you did: A chapter\nNothing yet in this session. The chapter has 2 exercises, about 5 minutes, and its guesses."
    )
    card = ExerciseCard(first)
    for text in ("0.5", "0.4", "0.3"):
        card.press("check", text)
    assert "read a share: begun" in summary.text() and "read another (3 min)" in summary.text()
    card.press("check", "0.1345")
    card.press("solution")
    share = guess("Which?")
    share.reveal("x", truth=2)
    share.lock(1)
    assert summary.text().splitlines()[1:] == [
        "Which? You guessed 1; it is 2: too low, by a factor of about 2.",
        "read a share: solved",
        "read another (3 min)",
    ]
    assert not any(digit in json.dumps(summary.state["parts"][1]) for digit in "34")  # neither tries nor marks


def test_words_are_escaped() -> None:
    share = guess("<b>`a<b`</b>?")
    assert share.spec["text"] == "&lt;b&gt;<code>a&lt;b</code>&lt;/b&gt;?"
    assert "<b>x</b>" not in share.reveal("<b>x</b>").html()


def test_a_card_speaks_the_readers_language() -> None:
    words.choose("ko")
    try:
        card, share = ExerciseCard(asked(), 3), guess("Which?")
        share.lock(0.5)
        told = json.dumps([card.get_state(["spec", "state"]), share.get_state(["spec", "state"])], ensure_ascii=False)
        for english in (
            "Exercise 3",
            "about 2 minutes",
            "Check",
            "Hint 1 of 2",
            "Show the solution",
            "Predict first",
            "Your answer",
            "Locked",
        ):
            assert english not in told, english
    finally:
        words.choose("en")
