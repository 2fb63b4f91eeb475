"""The consoles of chapters 3 to 5 without a browser: what each computes, against closed forms and rules; every preset works."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from matplotlib.text import Text

from meshmodel.analytic.queues import erlang_b
from meshmodel.teaching.consoles import Settings, breaker, retry, storm, timeout, yaml_text

CONSOLES = {
    "cut the tail": timeout.cut_the_tail,
    "zombies": timeout.zombies,
    "ten calls": retry.ten_calls,
    "two clocks": retry.two_clocks,
    "back-off": retry.back_off,
    "amplification": retry.amplification,
    "storm": storm.storm,
    "refusals": breaker.refusals,
    "waiting room": breaker.waiting_room,
    "breaker or detector": breaker.breaker_or_detector,
}


def beyond(picture):
    """Words of a picture that its edge cuts; labels of ticks outside an axis' limits are not drawn."""
    picture.draw_without_rendering()
    undrawn = {id(tick.label1) for axes in picture.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()}
    texts = [text for text in picture.findobj(Text) if text.get_text().strip() and id(text) not in undrawn]
    boxes = {text.get_text(): text.get_window_extent() for text in texts}
    return [text for text, box in boxes.items() if box.x0 < -2 or box.x1 > picture.bbox.x1 + 2 or box.y1 > picture.bbox.y1 + 2]


def settings(console, **values):
    return Settings(**{control.name: control.checked(values.get(control.name, control.start)) for control in console.controls.values()})


@pytest.mark.parametrize("name", CONSOLES)
def test_every_preset_is_computed_drawn_at_two_widths_and_told(name):
    console = CONSOLES[name]()
    for preset in [{}, *console.presets.values()]:
        result = console.compute(settings(console, **preset), 5)
        documents = [each for each in yaml.safe_load_all(result.yaml) if each]
        assert all(each["kind"] in ("VirtualService", "DestinationRule") for each in documents)
        assert result.status and "<table" in result.table
        for width in (3.9, 10.0):
            picture = result.figure(width)
            assert picture.alt_text and picture.get_figwidth() * picture.shrink == pytest.approx(width)
            assert beyond(picture) == []
            assert picture.png(60)[:4] == b"\x89PNG"


def test_a_console_without_front_end_says_its_figure():
    console = timeout.cut_the_tail()
    assert "A timeout of 500 ms" in repr(console) and "the tutorial's ten calls" in repr(console)
    assert console.set(timeout=0.2).status != "" and "timeout (2 s: none) 0.2 s (there 0.5 s)" in console.differs


def test_the_tail_is_cut_as_the_formula_says():
    """The engine's good answers a second of 50 runs of 10 s differ from the formula by a request in flight or two a connection."""
    console = timeout.cut_the_tail()
    for policy in timeout.POLICIES:
        for tau in (0.2, 0.5, 2.0):
            replay = console.compute(settings(console, timeout=tau, policy=policy), 50).data
            good = replay.codes[200].mean() / replay.elapsed.mean()
            taus, rates = timeout._least_request(1.0, float(replay.scenario.overhead.mean()), 10)
            if policy == "LEAST_REQUEST":
                expected = np.interp(min(tau, 1.24), taus, rates[:, 1])
            else:
                expected = timeout.figures.answers_a_second(
                    ((2 / 3, 0.15, 200), (1 / 3, 1.0, 200)), [min(tau, 1.2)], 10, float(replay.scenario.overhead.mean())
                )[0, 1]
            assert good == pytest.approx(expected, rel=0.08)


def test_zombies_appear_beyond_the_cliff():
    console = timeout.zombies()
    few, many = (console.compute(settings(console, connections=c), 20).data for c in (6, 20))
    assert few.codes[200].mean() / few.elapsed.mean() > 17 > 5 > many.codes[200].mean() / many.elapsed.mean()


def test_more_work_at_once_than_is_drawn_is_told():
    console = timeout.zombies()
    busy = settings(console, connections=30, timeout=0.1, workers=100, service=0.5)
    few, many = (console.compute(each, 1).figure(6.4).axes[0] for each in (settings(console), busy))
    names = [[label.get_text().split("\n") for label in axes.get_yticklabels()] for axes in (few, many)]
    assert names[0] == [["backend-1"], ["backend-2"], ["backend-3"]]
    assert all(lines[1].startswith("12 of ") and int(lines[1].split()[-1]) > 12 for lines in names[1])


def test_the_record_follows_the_experiment():
    console = retry.ten_calls()
    known = console.compute(settings(console, code="503", retry_on=retry.DEFAULT), 50)
    unknown = console.compute(settings(console, code="502"), 50)
    assert "Istio's default retry" in known.beside and unknown.beside == "no record of such calls"
    assert known.data.codes[200].mean() == 10
    assert console.compute(settings(console, code="503", retry_on=retry.DEFAULT, istio="1.24"), 50).data.codes[200].mean() < 8


def test_two_clocks_wait_as_long_as_the_formula_says():
    console = retry.two_clocks()
    told, worst = console.compute(settings(console, timeout=0)).data.values()
    assert told.end == pytest.approx(0.475) and worst.end == pytest.approx(0.975)
    assert "for ever where pods hang" in console.compute(settings(console, per_try=0, timeout=0)).status


CORNERS = [
    {"per_try": 0, "timeout": 0.5, "retry_on": retry.DEFAULT},
    {"first": 2, "second": 2, "attempts": 5, "per_try": 0.05, "timeout": 3},
    {"first": 0.05, "attempts": 0, "per_try": 0, "timeout": 0},
    {"attempts": 5, "per_try": 2, "timeout": 0, "first": 2, "second": 2},
    {"attempts": 3, "base": 0.25},
]


@pytest.mark.parametrize("width", [3.9, 6.4, 10.0])
@pytest.mark.parametrize("values", [{}, *retry.two_clocks().presets.values(), *CORNERS])
def test_no_name_in_two_clocks_touches_a_bar_or_another_name(values, width):
    console = retry.two_clocks()
    picture = console.compute(settings(console, **values)).figure(width)
    picture.draw_without_rendering()
    axes = picture.axes[0]
    names = [text.get_window_extent() for text in axes.texts if text.get_text() and text.axes is axes and not hasattr(text, "arrow_patch")]
    bars = [path.get_extents(part.get_transform()) for part in axes.collections for path in part.get_paths()]
    for k, name in enumerate(names):
        assert not any(name.overlaps(other) for other in bars + names[k + 1 :])


def test_who_waits_for_ever_is_not_well():
    console = retry.two_clocks()
    told, hangs = console.compute(settings(console, first=0.05, attempts=0, per_try=0, timeout=0)).data.values()
    assert told.well and not hangs.well


def test_a_longer_back_off_is_waited_for_and_stands_in_the_yaml():
    console = retry.two_clocks()
    short, long = (console.compute(settings(console, timeout=0, base=base)) for base in (0.025, 0.25))
    assert long.data["this request"].end == pytest.approx(short.data["this request"].end + 0.225)
    assert "backoff: 250ms" in long.yaml and "backoff" not in short.yaml


def test_without_a_timeout_no_figure_names_one():
    console = timeout.cut_the_tail()
    for delay in (0.2, 1.5):
        told = console.compute(settings(console, timeout=2.0, delay=delay), 2).figure(6.4)
        assert told.alt_text.startswith("No timeout: ") and "inf" not in told.alt_text
    assert console.compute(settings(console, timeout=0.5, delay=0.2), 2).figure(6.4).alt_text.startswith("A timeout of 500 ms: ")


def test_hops_multiply():
    console = retry.amplification()
    assert console.compute(settings(console, hops=4, attempts=2)).data == pytest.approx(81)


def test_a_storm_stays_or_is_tamed():
    console = storm.storm()
    last = {}
    for name in ("the storm", "no retries", "a budget", "turn load away"):
        run, _ = console.compute(settings(console, **console.presets[name]), 10).data
        last[name] = run.good[-6:-1].mean()
    assert last["the storm"] < 1 and min(last["no retries"], last["a budget"], last["turn load away"]) > 14


def test_refusals_are_erlangs():
    """100 runs: 14,000 requests refused in bunches; 0.025 is more than four standard errors."""
    console = breaker.refusals()
    for limit, kind in ((2, "constant"), (2, "varied"), (5, "constant")):
        formula, measured = console.compute(settings(console, limit=limit, kind=kind), 100).data
        assert formula == erlang_b(limit, 2) and measured == pytest.approx(formula, abs=0.025)


def test_a_larger_room_refuses_less_and_waits_longer():
    console = breaker.waiting_room()
    small, large = (console.compute(settings(console, room=room), 50).data for room in (1, 20))
    assert small[0] > large[0] and small[1] < large[1]


def test_the_detector_finds_the_pod_and_the_breaker_does_not():
    console = breaker.breaker_or_detector()
    good = {name: console.compute(settings(console, **console.presets[name]), 10).data[0] for name in ("neither", "breaker", "detector")}
    assert good["detector"] > 0.9 > 0.75 > max(good["neither"], good["breaker"])


def test_yaml_is_what_istio_takes():
    assert yaml.safe_load(yaml_text.route("a", yaml_text.retries(2, "5xx", 0.3), yaml_text.timeout(0.5)))["spec"]["http"][0] == {
        "route": [{"destination": {"host": "a"}}],
        "retries": {"attempts": 2, "retryOn": "5xx", "perTryTimeout": "300ms"},
        "timeout": "500ms",
    }
    assert yaml_text.retries(0, "5xx", 0.3) == "retries: {attempts: 0}" and yaml_text.timeout(0) == "" == yaml_text.traffic("a", "")
