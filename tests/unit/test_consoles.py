"""The kit of the consoles without a browser: what the browser would send is sent from here (tests/browser sends it for real)."""

from __future__ import annotations

import threading

import pytest

from meshmodel.teaching.consoles import COARSE, FINE, Action, Choice, Console, Result, Slider, Toggle, table, yaml_of
from meshmodel.teaching.plots import bare_picture
from tests.patience import MOMENT, PATIENCE, eventually

CONTROLS = (
    Slider("delay", "delay", 0.5, least=0, most=2, step=0.05, unit="s"),
    Slider("pods", "pods", 3, least=1, most=10),
    Slider("callers", "callers", 1, stops=(1, 10, 1000)),
    Choice("policy", "policy", "RANDOM", ("RANDOM", "ROUND_ROBIN")),
    Toggle("labels", "labels", False),
)


class Work:
    """A console's function that notes what it was asked, and waits at a gate."""

    def __init__(self):
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, s, replications):
        self.asked.append((s.delay, replications))
        assert self.gate.wait(PATIENCE)
        if s.policy == "ROUND_ROBIN":
            raise ValueError("policy: not today")
        if s.labels:
            raise KeyError("zone")

        def figure(width):
            picture = bare_picture(width, 1)
            picture.alt_text = f"{s.delay:g} s"
            picture.tell("delays", {"s": [s.delay]})
            return picture

        return Result(
            figure, f"{s.delay:g} s in {replications} runs", table(("", "s"), [("delay", s.delay)], no=[0]), yaml_of({"kind": "A"})
        )


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def console(work):
    return Console("A console", CONTROLS, work, presets={"slow": {"delay": 2.0}})


def send(console, number=None, **asked):
    """What the browser sends at a move."""
    last = console.view.asked.get("number", 0)
    values = {**console.view.asked.get("values", console.view.values), **asked.pop("values", {})}
    console.view.asked = {"number": number or last + 1, "values": values, **asked}


def test_it_starts_with_the_fine_result_of_the_starts(console, work):
    assert work.asked == [(0.5, 200)]
    assert vars(console.settings) == {"delay": 0.5, "pods": 3, "callers": 1, "policy": "RANDOM", "labels": False}
    assert console.result.status == "0.5 s in 200 runs" == console.view.shown["status"]
    assert repr(console) == "A console. As in the tutorial. 0.5 s in 200 runs. Figure: 0.5 s"


def test_a_move_is_answered_coarse_and_at_rest_fine(console, work):
    send(console, values={"delay": 1.0})
    assert console.result.status == "1 s in 200 runs" and work.asked[1:] == [(1.0, COARSE), (1.0, FINE)]
    assert console.view.shown["answered"] == 1 and not console.view.shown["busy"]


def test_of_a_burst_of_moves_the_first_and_the_last_are_drawn(console, work):
    work.gate.clear()
    send(console, values={"delay": 1.0})
    eventually(lambda: len(work.asked) == 2)
    for delay in (1.1, 1.2, 1.3, 1.4):
        send(console, values={"delay": delay})
    work.gate.set()
    assert console.result.status == "1.4 s in 200 runs"
    assert work.asked[1:] == [(1.0, COARSE), (1.4, COARSE), (1.4, FINE)] and console.view.shown["answered"] == 5


def test_a_fine_result_that_a_move_overtakes_is_not_shown(console, work):
    shown = []
    console.view.observe(lambda change: shown.append(change["new"]["status"]), "shown")
    send(console, values={"delay": 1.0})
    eventually(lambda: len(work.asked) == 2)
    work.gate.clear()
    eventually(lambda: len(work.asked) == 3)
    send(console, values={"delay": 1.5})
    work.gate.set()
    assert console.result.status == "1.5 s in 200 runs" and "1 s in 200 runs" not in shown


def test_the_folded_tables_stay_as_they_are_while_the_controls_move(console):
    shown = [dict(console.view.shown)]
    console.view.observe(lambda change: shown.append(change["new"]), "shown")
    send(console, values={"delay": 1.25})
    assert console.result
    before, coarse, fine = shown
    assert (before["busy"], coarse["busy"], fine["busy"]) == (False, True, False)
    assert coarse["status"] != before["status"] and coarse["numbers"] == before["numbers"] and ">0.5</th>" in before["numbers"]
    assert ">1.25</th>" in fine["numbers"]


def test_a_function_without_replications_is_called_once_a_move(work):
    console = Console("A console", CONTROLS, work, replications=None)
    send(console, values={"delay": 1.0})
    assert console.result.status == "1 s in 1 runs" and work.asked == [(0.5, 1), (1.0, 1)]


def test_a_notebook_moves_controls_and_waits(console, work):
    assert console.set(delay=0.7, pods=4).status == "0.7 s in 200 runs" == repr(console.result)
    assert work.asked[1:] == [(0.7, 200)] and console.view.values["pods"] == 4
    assert console.differs == "delay 0.7 s (there 0.5 s), pods 4 (there 3)"
    assert console.view.shown["differs"] == f"Not as in the tutorial: {console.differs}."


def test_another_width_is_drawn_and_not_computed(console, work):
    send(console, width=4.0, scale=2)
    assert console.result and work.asked == [(0.5, 200)]
    assert console.view.shown["wide"] == 4.0
    assert int.from_bytes(console.view.png[16:20], "big") == round(4.0 * 96 * 2)  # a PNG's width in pixels


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"policy": "ROUND_ROBIN"}, "policy: not today"),
        ({"labels": True}, "KeyError: 'zone'"),
        ({"delay": 9}, "delay: must be from 0 to 2, got 9"),
        ({"delay": "1"}, "delay: must be a number, got '1'"),
        ({"delay": float("nan")}, "delay: must be a number, got nan"),
        ({"policy": "MAGLEV"}, "policy: must be one of RANDOM, ROUND_ROBIN, got 'MAGLEV'"),
        ({"labels": 1}, "labels: must be true or false, got 1"),
    ],
)
def test_what_goes_wrong_is_one_line_and_is_raised_in_a_notebook(console, values, says):
    with pytest.raises((ValueError, KeyError)):
        console.set(**values)
    assert console.view.shown["alert"] == says and console.view.shown["status"] == "0.5 s in 200 runs"
    assert "Traceback" not in says and console.error is not None
    console.set(policy="RANDOM", labels=False)
    assert console.error is None and console.view.shown["alert"] == ""


def test_an_unknown_control_is_refused(console):
    with pytest.raises(ValueError, match="speed: no such control; there are: delay, pods"):
        console.set(speed=1)


def test_values_fall_onto_the_steps(console):
    console.set(delay=0.52, callers=600, pods=4.0)
    assert console.settings.delay == 0.5 and console.settings.callers == 1000 and repr(console.settings.pods) == "4"


def test_the_tutorials_values_may_follow_the_experiment_chosen(work):
    console = Console("A console", CONTROLS, work, tutorial=lambda s: {"delay": 1.0 if s.pods == 3 else 0.1})
    assert console.differs == "delay 0.5 s (there 1 s)" and console.view.shown["tutorial"] == {"delay": 1.0}
    console.set(pods=4)
    assert console.differs == "delay 0.5 s (there 0.1 s)"


def test_a_reader_cancels(console, work):
    work.gate.clear()
    send(console, values={"delay": 1.0})
    eventually(lambda: len(work.asked) == 2)
    send(console, act="cancel")
    work.gate.set()
    assert console.result.status == "0.5 s in 200 runs" and console.view.shown["status"] == "cancelled"
    send(console)
    assert console.result.status == "1 s in 200 runs"  # the same settings, asked again


def test_without_a_front_end_there_are_the_figure_and_its_text(console):
    data, metadata = console._repr_mimebundle_()
    assert data["text/plain"] == repr(console) and metadata == {"image/png": {"alt": "0.5 s"}}
    assert data["image/png"] and "application/vnd.jupyter.widget-view+json" in data


# --- what takes long --------------------------------------------------------------------------


class Long:
    """An action that goes on until it is cancelled, or let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.cancelled = False

    def __call__(self, s, progress, cancel):
        progress(0.5)
        self.begun.set()
        while not self.go.wait(MOMENT):
            if cancel.is_set():
                self.cancelled = True
                raise ValueError("cancelled")
        return Result(lambda width: bare_picture(width, 1), f"measured {s.delay:g} s")


@pytest.fixture
def long():
    return Long()


@pytest.fixture
def acting(work, long):
    return Console("A console", CONTROLS, work, actions=[Action("measure", long), Action("dream", long, "not here")])


def test_an_action_tells_its_progress_and_its_result(acting, long):
    send(acting, act="measure")
    assert long.begun.wait(PATIENCE)
    assert acting.view.shown["status"] == "measure: 50%" and acting.view.shown["busy"]
    long.go.set()
    eventually(lambda: acting.view.shown["status"] == "measured 0.5 s")
    assert not acting.view.shown["busy"] and acting.act("measure").status == "measured 0.5 s"
    assert acting.view.shown["answered"] == acting.view.asked["number"]


def test_a_page_is_offered_until_something_else_is_shown(work):
    console = Console(
        "A console", CONTROLS, lambda s, n: Result(lambda width: bare_picture(width, 1), "made", page=("a.html", f"<p>{s.pods}"))
    )
    assert console.view.page == {"name": "a.html", "html": "<p>3"}
    console.compute = work
    console.set(pods=4)
    assert console.view.page == {}


@pytest.mark.parametrize("how", ["button", "move"])
def test_an_action_is_cancelled(acting, long, how):
    send(acting, act="measure")
    assert long.begun.wait(PATIENCE)
    send(acting, **({"act": "cancel"} if how == "button" else {"values": {"delay": 1.0}}))
    eventually(lambda: long.cancelled and not acting.view.shown["busy"])
    says = "measure: cancelled" if how == "button" else "1 s in 200 runs"
    eventually(lambda: acting.view.shown["status"] == says)
    assert acting.error is None


def test_an_action_that_fails_says_so(acting, long, monkeypatch):
    monkeypatch.setattr(Long, "__call__", lambda *_: 1 / 0)
    send(acting, act="measure")
    eventually(lambda: acting.view.shown["alert"] == "ZeroDivisionError: division by zero")
    assert isinstance(acting.error, ZeroDivisionError)


def test_the_browser_is_told_what_there_is(acting):
    spec = acting.view.spec
    assert [control["kind"] for control in spec["controls"]] == ["slider", "slider", "slider", "choice", "toggle"]
    assert spec["actions"] == [
        {"act": "measure", "label": "measure", "missing": ""},
        {"act": "dream", "label": "dream", "missing": "not here"},
    ]


def test_a_table_escapes_and_marks():
    made = table(("", "<b>"), [("a&b", 1), ("c", 2)], no=[1])
    assert "&lt;b&gt;" in made and "a&amp;b" in made and made.count("\N{BALLOT X}") == 1
