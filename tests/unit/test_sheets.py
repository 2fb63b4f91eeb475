"""What is drawn in inches says its finding above, computed from what it shows, in letters that are read on a phone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from meshmodel import Mesh, catalogue, compare, data_path
from meshmodel.rules import ejection
from meshmodel.scenario import OutlierDetection
from meshmodel.teaching import balance, chain, ejections, overlays, sheet, words, zones
from meshmodel.teaching.balance import Case
from meshmodel.teaching.canvas import WIDTH
from tests import letters

from .synthetic import replay


def title_of(picture: Any) -> str:
    return picture.texts[0].get_text().replace("\n", " ")


@pytest.mark.parametrize("width", [3.9, WIDTH, 10.0])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_title_ends_within_its_sheet_and_is_read_on_a_phone(width: float, language: str) -> None:
    with words.speaking(language):
        says = "33.1 % of the calls stay in us-west1-a, 100 % of all fail. simple-backend-1-1 is ejected 12 times in 300 s"
        picture, axes = sheet.sheet(f"{says}; the caller sees 849 errors. LEAST_REQUEST ROUND_ROBIN RANDOM MAGLEV", width, 1.0, 2.0)
        picture.png()
    (title,) = picture.texts
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= picture.bbox.x1 and box.y1 <= picture.bbox.y1
    assert box.y0 >= axes[0].get_window_extent().y1
    assert width > WIDTH or letters.smallest(picture)[0] >= letters.LEAST
    assert "simple-backend-1-1" in title.get_text()


def test_the_axes_of_a_sheet_are_measured_in_inches() -> None:
    picture, axes = sheet.sheet("a title", 5.0, 1.5, 0.5)
    for each, high in zip(axes, (1.5, 0.5), strict=True):
        box = each.get_window_extent()
        assert (box.width / picture.dpi, box.height / picture.dpi) == pytest.approx((picture.get_figwidth(), high))
        assert (each.get_xlim(), each.get_ylim()) == ((0, picture.get_figwidth()), (0, high))


def test_the_overlay_says_which_of_the_records_figures_lie_outside() -> None:
    model, alike = replay(40, seed=1), replay(1, seed=50).histogram(0)
    other = replay(1, seed=51, slow=0.9).histogram(0)
    outside = [name for name in ("count", "avg", "p50", "p75", "p90", "p99") if name in compare(model, other).outside]
    assert 0 < len(outside)
    says = f"Of the record's six figures {len(outside)} lie outside 95 % of the model's runs: {', '.join(outside)}"
    for subject in ((compare(model, other),), (model, other)):
        assert title_of(overlays.overlay(*subject)) == says
    inside = not compare(model, alike).outside
    assert title_of(overlays.overlay(model, alike)).startswith("All six figures of the record lie within") == inside
    half = model.percentile(50).mean()
    assert title_of(overlays.overlay(model)).startswith(f"Half of the model's requests take at most {half:.3f} s")


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (1 / 7, "14.3 % of the requests meet the slow pod: p75 does not show it, p90 does"),
        (0.5, "50.0 % of the requests meet the slow pod: p50 does not show it, p75 does"),
        (0.6, "60.0 % of the requests meet the slow pod: p50 shows it already"),
        (0.005, "0.5 % of the requests meet the slow pod: not even p99 shows it"),
    ],
)
def test_a_percentile_above_the_step_shows_the_slow_pod(monkeypatch: pytest.MonkeyPatch, share: float, says: str) -> None:
    monkeypatch.setattr(balance, "slow_share", lambda _: share)
    monkeypatch.setattr(balance, "troubled", lambda _: {"a pod"})
    assert balance.finding(SimpleNamespace(scenario=None)) == says


def test_pods_that_are_alike_have_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "troubled", lambda _: set())
    assert balance.finding(SimpleNamespace(scenario=None)).startswith("No pod is slower")


def test_the_cases_that_a_record_fits_are_counted() -> None:
    runs = np.linspace(0.3, 0.4, 100)
    fits, other = Case(runs, [0.35], 0.33), Case(runs, [], 0.2)
    assert title_of(balance.shares_beside({"a": fits, "b": fits})) == "The model's runs have the recorded share in all 2 cases"
    assert (
        title_of(balance.shares_beside({"a": fits, "b": other})) == "The model's runs have the recorded share in 1 of 2 cases, not with b"
    )


def test_the_map_says_what_stays_and_the_clock_who_is_out() -> None:
    run = catalogue.experiment("locality-failure").replay(4, seed=1)
    found = zones.parts(run)
    home = sum(found[pod.name].share for pod in run.scenario.routes[-1].endpoints if pod.locality.endswith("west1-a"))
    failing = float((run.log.code[run.log.code != -2] >= 400).mean())
    assert zones.finding(run) == f"{zones._percent(home)} of the calls stay in us-west1-a, {zones._percent(failing)} of all fail"
    assert ejections.finding(run).startswith("No pod is ejected") == (not ejections.stays(run))
    backend = Mesh(istio="1.17").apply(data_path("course", "three-workers.yaml")).curl(6, replications=2, seed=1)
    assert " of the calls, 0 % of all fail" in zones.finding(backend) and "answers" in zones.finding(backend)


def test_the_drawing_says_who_picks_among_what() -> None:
    assert title_of(chain.chain(catalogue.experiment("lb-round-robin").mesh())) == (
        "simple-web-1 picks one of 3 pods by ROUND_ROBIN: simple-backend-1-1 is slower or fails"
    )


# --- the multiplier -------------------------------------------------------------------------------

RULE = OutlierDetection(consecutive_5xx=1, interval=5.0, base_ejection_time=30.0, max_ejection_percent=100)


@pytest.mark.parametrize("pause", [0.1, 4.0, 7.0, 100.0])
def test_a_multiplier_is_the_one_that_the_detector_holds(pause: float) -> None:
    """Ejected, back at a tick, and again after a pause: what the detector itself counted."""
    detector, found, counted, at, tick = ejection.Detector(RULE, 1), [], [], 0.5, 5.0
    for _ in range(5):
        while tick <= at:
            detector.tick(tick)
            tick += RULE.interval
        assert detector.answer(0, 500, at)
        counted.append(detector.hosts[0].multiplier)
        while detector.out:
            detector.tick(tick)
            tick += RULE.interval
        found.append(ejections.Stay(0, at, tick - RULE.interval, True))
        at = found[-1].stop + pause
    assert ejections.multipliers(found, RULE) == counted
    assert (max(counted) > 1) == (pause < RULE.interval)


def test_a_long_interval_does_not_make_a_multiplier() -> None:
    """Out for 30 s because nobody looked earlier: once the five seconds of the rule, not six times."""
    rule = OutlierDetection(consecutive_5xx=1, interval=30.0, base_ejection_time=5.0, max_ejection_percent=100)
    assert ejections.multipliers([ejections.Stay(0, 0.5, 30.0, True), ejections.Stay(0, 30.2, 60.0, True)], rule) == [1, 2]
