"""The figures of chapters 3 to 5: their numbers against closed forms, and that each says its finding; no pixels are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from meshmodel import Mesh, data_path
from meshmodel.analytic import timeouts as formulas
from meshmodel.analytic.queues import erlang_b
from meshmodel.analytic.retries import backoff_distribution
from meshmodel.rules import retries as rules
from meshmodel.teaching import breaker_figures, canvas, lines, retry_figures, storm_figures, timeout_figures
from meshmodel.teaching.consoles import yaml_text as text

THREE = ((1 / 3, 0.15, 200), (1 / 3, 0.15, 200), (1 / 3, 1.0, 200))


def mesh(file="backend", *manifests, **options):
    return Mesh(**{"overhead": 0, "workers": 1} | options).apply(data_path("course", f"{file}.yaml"), *[each for each in manifests if each])


@pytest.fixture(scope="module")
def impatient():
    """Fourteen callers with half a second of patience at three pods that do 20 a second."""
    route = text.route("backend", text.timeout(0.5))
    return mesh("three-workers", route, overhead="10ms").fortio_load(14, 0, "5s", replications=2, seed=1).trace(0)


@pytest.fixture(scope="module")
def limited():
    pool = text.traffic("backend", "connectionPool: {http: {http2MaxRequests: 2}}")
    return mesh("backend", pool).open_loop(20, "10s", replications=100, seed=1)


def drawn(picture):
    """The picture, after a look at what every picture needs."""
    assert picture.png()[:4] == b"\x89PNG" and len(picture.png()) < 150_000
    assert picture.alt_text and picture.alt_text.isprintable()
    return picture


def title_of(picture):
    return picture.texts[0].get_text().replace("\n", " ")


# --- the ground -------------------------------------------------------------------------------


def test_a_figure_shrinks_with_a_narrow_page_and_its_title_wraps():
    wide, narrow = (canvas.canvas("a title " * 12, 2.0, width=width)[0] for width in (6.4, 3.9))
    assert wide.shrink == 1 and narrow.shrink == pytest.approx(0.78)
    assert narrow.get_figwidth() * narrow.shrink == pytest.approx(3.9)
    assert narrow.texts[0].get_text().count("\n") > wide.texts[0].get_text().count("\n") > 0


def luminance(colour):
    rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return sum(
        w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), rgb, strict=True)
    )


@pytest.mark.parametrize("role", canvas.COLOUR)
def test_every_colour_can_be_told_from_white_and_from_a_dark_theme(role):
    """WCAG 2.2, 1.4.11: 3 to 1; JupyterLab's dark ground is #111111."""
    own = luminance(canvas.COLOUR[role])
    assert 1.05 / (own + 0.05) >= 2.95 and (own + 0.05) / (luminance("#111111") + 0.05) >= 2.95


def test_labels_that_would_meet_are_moved_apart():
    _, (axes,) = canvas.canvas("t", 2.0)
    canvas.said_apart(axes, 1.0, [(1.0, "a", "model"), (1.05, "b", "proxy"), (3.0, "c", "ink")], least=0.5)
    heights = [label.get_position()[1] for label in axes.texts]
    assert heights == pytest.approx([1.0, 1.5, 3.0])


# --- chapter 3 --------------------------------------------------------------------------------


def test_the_survival_curve_is_that_of_the_pods():
    times, share = timeout_figures.survival_curve(THREE)
    assert times.tolist() == [0, 0.15, 0.15, 1.0] and share == pytest.approx([1, 2 / 3, 1 / 3, 0])
    picture = drawn(timeout_figures.survival(THREE, 0.5, calls=[(200, 0.2), (500, 0.55)]))
    assert "33 % of the calls fail" in picture.alt_text and "0.267 s" in picture.alt_text and "1 errors in 2 calls" in picture.alt_text


def test_the_answers_a_second_are_the_formulas_and_break_even_is_where_they_meet():
    even = timeout_figures.break_even(THREE, 10, 0.0131)
    assert even == pytest.approx(3 * (2 / 3 * (1.3 / 3 + 0.0131) - 0.0131) - 0.3, abs=1e-3)
    total, good = timeout_figures.answers_a_second(THREE, [0.5], 10, 0.0131)[0]
    assert (total, good) == formulas.closed_loop_throughput(THREE, 0.5, 10, 0.0131)
    picture = drawn(timeout_figures.tail(THREE, 0.5, 10, 0.0131, points={0.5: (36, 24)}))
    assert (
        f"{good:.1f} good and {total - good:.1f} failed" in title_of(picture) and "engine: 24.0 good of 36.0 at 0.5 s" in picture.alt_text
    )


def test_no_timeout_is_better_than_none_where_all_pods_are_alike():
    assert timeout_figures.break_even([(1.0, 0.2, 200)], 10, 0.01) == 0


def test_what_was_asked_for_is_what_was_got_up_to_the_ceiling():
    picture = drawn(timeout_figures.asked_and_got(0.446, [10, 50], 1000, {(10, 1000.0): 22.4}))
    assert "Asked 1,000 a second, got 22" in title_of(picture) and "50 connections 112.1" in picture.alt_text


def test_abandoned_work_is_drawn_until_its_pod_is_through_with_it(impatient):
    table = timeout_figures.work(impatient, 5.0)
    given_up = table[np.isfinite(table.left)]
    assert len(given_up) and (given_up.end - given_up.begin).min() == pytest.approx(0.15, abs=1e-6)
    assert (given_up.left - given_up.sent).to_numpy() == pytest.approx(0.5, abs=0.01)  # connecting takes a tenth of a millisecond
    late = table[(table.begin > table.left) & (table.end < 5)]
    assert len(late) > 50  # a pod works for callers who had left before it began
    picture = drawn(timeout_figures.zombies(impatient, 5.0))
    share = timeout_figures.wasted(table, 0.0, 5.0)
    assert 0.7 < share < 1 and f"{100 * share:.0f} % of the work is for callers who have left" in title_of(picture)


def test_the_queue_is_of_those_who_wait_and_of_those_who_have_left():
    table = pd.DataFrame({"pod": "a", "sent": [0.0, 0.0], "begin": [0.0, 2.0], "end": [2.0, 4.0], "left": [np.inf, 1.0]})
    alive, dead = timeout_figures.queue_lengths(table, np.array([0.5, 1.5, 2.5]))
    assert alive.tolist() == [1, 0, 0] and dead.tolist() == [0, 1, 0]
    assert timeout_figures.wasted(table, 0.0, 4.0) == pytest.approx(0.5)


def test_every_hop_has_its_code():
    testbed, slow = (data_path("tutorial", "manifests", name) for name in ("testbed.yaml", "slow-backend-1.yaml"))
    chain = Mesh(istio="1.17", namespace="istioinaction").apply(testbed, slow)
    late = chain.copy().apply(text.route("simple-backend", text.timeout(0.5), name="simple-backend-vs"))
    cases = {
        "late": late,
        "reset": chain.copy().fail("simple-backend-1", how="reset"),
        "500": chain.copy().fail("simple-backend-1", how=500),
    }
    traces = {name: each.curl(20, replications=1, seed=1).trace(0) for name, each in cases.items()}
    codes = {name: timeout_figures.codes_by_hop(trace) for name, trace in traces.items()}
    assert {name: told["sidecar"] for name, told in codes.items()} == {"late": "504", "reset": "503", "500": "500"}
    assert {told["gateway"] for told in codes.values()} == {"500"} and codes["late"]["pod"] == "" and codes["500"]["pod"] == "500"
    assert "Inside 500, 503, 504; outside the caller sees 500" in title_of(drawn(timeout_figures.hops(traces)))


# --- chapter 4 --------------------------------------------------------------------------------


def test_the_tries_of_ten_calls_are_told_one_by_one():
    replay = mesh("backend", text.route("backend", text.retries(2))).fail("backend", how=500).curl(10, replications=2, seed=1)
    table = retry_figures.tries(replay.trace(0))
    assert len(table) == 30 and not table.well.any() and (table.groupby("request").back_off.max() > 0).all()
    picture = drawn(retry_figures.ten_calls(replay.trace(0), record=[(200, 0.2), (500, 0.1)]))
    assert "0 of 10 calls succeed; recorded: 1" in title_of(picture) and "500 (500, then 500, then 500)" in picture.alt_text


def test_a_hedge_stands_beside_the_try_that_it_does_not_replace():
    hedge = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: hedge}
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {route: {hedge_policy: {hedge_on_per_try_timeout: true}}}}"""
    hedged = mesh("backend", text.route("backend", text.retries(2, per_try=0.4)), hedge).timing("backend", p50="500ms")
    table = retry_figures.tries(hedged.curl(3, replications=1).trace(0))
    assert table.beside.tolist() == [False, True] * 3 and set(table[table.beside].outcome) == {"left behind"}


SLOW = [(1.0, 200), (0.15, 200)]


@pytest.mark.parametrize(
    ("attempts", "per_try", "timeout", "words", "end", "code", "by"),
    [
        (2, None, None, "5xx", 1.0, 200, ""),
        (2, None, 0.5, "5xx", 0.5, 504, "timeout"),
        (2, 0.3, None, "5xx", 0.3 + 0.025 + 0.15, 200, ""),
        (2, 0.3, 0.4, "5xx", 0.4, 504, "timeout"),
        (2, 0.3, None, "connect-failure", 0.3, 504, "perTryTimeout"),
        (0, 0.3, None, "5xx", 0.3, 504, "perTryTimeout"),
        (2, 0.3, 0.31, "5xx", 0.31, 504, "timeout"),  # within the back-off
    ],
)
def test_two_clocks_end_a_request_as_the_rules_say(attempts, per_try, timeout, words, end, code, by):
    found = retry_figures.clocks(SLOW, attempts, per_try, timeout, words)
    assert (found.end, found.code, found.ended_by) == (pytest.approx(end), code, by)
    assert "Tries of one request" in drawn(retry_figures.two_clocks({"it": found})).alt_text


def test_two_clocks_are_those_of_the_engine():
    """The engine's slowest request of policy C meets the slow pod first, and waits no longer than the longest back-off."""
    route = text.route("backend", text.retries(2, per_try=0.3))
    turns = text.traffic("backend", "loadBalancer: {simple: ROUND_ROBIN}")  # by chance a retry may meet the slow pod again
    slow = mesh("three-pods", route, turns).timing("backend", p50="150ms").fail("backend", pods=1, how="1s")
    replay = slow.curl(20, replications=200, seed=1)
    found = retry_figures.of_route(replay.scenario.routes[-1], SLOW)
    assert found.end == pytest.approx(0.475) and 0.45 < replay.log.latency.max() <= found.end + 0.001
    assert set(replay.codes) == {200}


def test_a_caller_waits_at_most_so_long():
    assert retry_figures.longest_wait(2, 0.3, None) == pytest.approx(0.975)
    assert retry_figures.longest_wait(3, 0.3, 1.0) == 1.0
    assert retry_figures.longest_wait(3, None, None) == np.inf
    picture = drawn(retry_figures.longest_waits(0.3, 1.0, attempts=3))
    assert "since the timeout cuts" in title_of(picture) and "0.300, 0.625, 0.975, 1.375" in picture.alt_text
    hanging = mesh("backend", text.route("backend", text.retries(2, per_try=0.3))).fail("backend", how="hang")
    assert 0.9 < hanging.curl(5, replications=100, seed=1).log.latency.max() <= 0.976


def test_back_offs_are_drawn_below_their_bounds_and_follow_the_formula():
    """Kolmogorov and Smirnov's distance of 4,000 draws: above 0.034 by chance once in ten thousand; the seed is fixed."""
    times = retry_figures.backoff_times(4000, 3)
    gaps = np.diff(times, axis=0, prepend=0)
    bounds = [rules.longest_backoff(k) for k in (1, 2, 3)]
    assert (gaps >= 0).all() and (gaps.max(axis=1) <= bounds).all() and (gaps.max(axis=1) > 0.99 * np.array(bounds)).all()
    at, cdf = backoff_distribution(tuple(bounds))
    empirical = np.searchsorted(np.sort(times[2]), at, side="right") / 4000
    assert np.abs(empirical - cdf).max() < 0.034
    assert "1,000 callers who failed together" in title_of(drawn(retry_figures.backoffs()))
    assert "One caller" in title_of(drawn(retry_figures.backoffs(callers=1, retries=5)))


def test_attempts_multiply_over_hops():
    picture = drawn(retry_figures.amplified(3, 2, points={(1.0, 3): 27.0}))
    assert (
        title_of(picture) == "2 retries at each of 3 hops: 27 attempts a request when all fails"
        and "p 1, 3 hops: formula 27.00, engine 27.00" in picture.alt_text
    )


def test_a_map_of_words_says_what_each_retries():
    grid = pd.DataFrame({"500": [True, False], "hangs": [True, False]}, index=["5xx", "503"])
    assert "5xx: 500, hangs; 503: nothing" in drawn(retry_figures.words(grid, "A finding")).alt_text


# --- the storm --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def storm():
    route = text.route("backend", text.retries(2, per_try=0.5))
    return storm_figures.storm(mesh("backend-of-30", route).open_loop([(4, 18, 18), (2, 70, 70), (14, 18, 18)], replications=20, seed=1))


def test_a_storm_stays_at_the_bad_equilibrium_of_its_map(storm):
    plane = storm_figures.plane(18, 2, 3, 0.1, 0.5)
    assert plane.equilibria.stable == (True, False, True) and plane.equilibria.rates[-1] == pytest.approx(54, abs=0.01)
    assert 18 * storm.tries[-8:].sum() / storm.fresh[-8:].sum() == pytest.approx(54, abs=0.1)
    assert storm_figures.recovery(storm, 6, 18) == np.inf
    picture = drawn(storm_figures.storm_and_plane(storm, plane, (4, 6), 30))
    assert "the errors stay" in title_of(picture) and "A storm can stay, at 54" in title_of(picture)


def test_a_limit_takes_the_bad_equilibrium_away():
    for limits in ({"budget": 0.2}, {"max_retries": 1}):
        plane = storm_figures.plane(18, 2, 3, 0.1, 0.5, **limits)
        assert len(plane.equilibria.rates) == 1 and plane.equilibria.rates[0] < 30
        assert "No storm can stay" in title_of(drawn(storm_figures.equilibria(plane, 30, path=[18.0, 40.0, 20.0])))


def test_crossings_of_a_bounded_map_are_those_of_the_free_one_below_the_bound():
    free, bounded = storm_figures.plane(18, 2, 3, 0.1, 0.5), storm_figures.plane(18, 2, 3, 0.1, 0.5, max_retries=100)
    assert (
        bounded.equilibria.rates == pytest.approx(free.equilibria.rates, abs=0.15) and bounded.equilibria.stable == free.equilibria.stable
    )


def test_storms_are_told_by_who_recovers(storm):
    tame = storm_figures.Storm(storm.second, storm.fresh, storm.fresh, storm.fresh)
    picture = drawn(storm_figures.storms({"2 retries": storm, "none": tame}, (4, 6), 30))
    assert "with 2 retries the errors stay" in title_of(picture) and "none within 0 s" in picture.alt_text


# --- chapter 5 --------------------------------------------------------------------------------


def test_the_staircase_never_exceeds_the_limit_and_refusals_are_erlangs(limited):
    """22,000 requests that are refused in bunches: 0.02 is more than four standard errors; the seed is fixed."""
    times, level, refused = breaker_figures.staircase(limited.trace(0))
    assert level.max() == 2 and level.min() == 0 and (np.diff(times) >= 0).all()
    assert len(refused) == limited.codes[503][0]
    share = float((limited.log.code[limited.log.start > 3] == 503).mean())
    assert share == pytest.approx(erlang_b(2, 2), abs=0.02)
    assert "A limit of 2 refuses 40.0 % at 2 Erlangs" in title_of(drawn(breaker_figures.refusals(limited.trace(0), 2, 2.0, share)))


def test_a_waiting_room_tells_waiting_from_work():
    pool = text.traffic("backend", "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2}}")
    trace = mesh("backend", pool, overhead="100ms").fortio_load(5, 0, "2s", replications=1, seed=1).trace(0)
    picture = drawn(breaker_figures.waiting_room(trace, 2.0))
    refused = int((trace.attempts.outcome == "overflow").sum())
    assert refused > 20 and " requests are refused; the others wait" in title_of(picture)
    assert "A room for 4: 6.7 % are refused" in title_of(drawn(breaker_figures.rooms(3, 24, 0.1, 4, points={4: (0.03, 0.031)})))
    assert "In the long run a room for 2" in drawn(breaker_figures.room_and_run(trace, 1, 20, 0.1, 2, {2: (0.5, 0.1)})).alt_text


@pytest.mark.parametrize(("clients", "most"), [(1, 2), (2, 4), (3, 6), (8, 6)])
def test_callers_and_pods_both_count(clients, most):
    """24 calls at once through so many callers' sidecars to three pods: as many succeed as the narrower side lets through."""
    assert breaker_figures.most_in_flight(clients, 3, 2) == most
    assert f"lets {most} requests be in flight" in title_of(drawn(breaker_figures.who_counts(clients, 3, 2)))


def test_connections_are_counted_by_worker_and_pod():
    assert breaker_figures.most_connections(1, 16, 3, 1) == 48 and breaker_figures.most_connections(2, 1, 3, 10) == 20


def test_pod_by_pod_shows_who_failed_and_who_was_ejected():
    rules_ = text.traffic(
        "backend",
        "loadBalancer: {simple: ROUND_ROBIN}",
        "outlierDetection: {consecutive5xxErrors: 3, interval: 1s, maxEjectionPercent: 50}",
    )
    route = text.route("backend", text.timeout(1.0), text.retries(0))
    traces = {
        name: mesh("three-pods", route, *more).fail("backend", pods=1, how="hang").open_loop(20, "6s", replications=1, seed=1).trace(0)
        for name, more in {"neither": [], "detector": [rules_]}.items()
    }
    picture = drawn(breaker_figures.pod_by_pod(traces, 6.0))
    assert title_of(picture).startswith("Detector: ") and "backend-1 ejected at" in picture.alt_text
    assert picture.alt_text.count("ejected") == 1


# --- lines and bars ---------------------------------------------------------------------------


def test_lines_and_bars_say_their_numbers():
    picture = drawn(
        lines.lines([1, 2, 4], {"good": {"a": [1, 2, 3], "b": [3, 2, 1]}}, "A finding", across="callers", marks={"capacity": 2})
    )
    assert picture.alt_text == "A finding. good: a 1 2 3, b 3 2 1, over callers 1 to 4"
    picture = drawn(lines.bars({"a": 0.5, "b": 0.016}, "Another", across="share", formula={"b": 0.0163}, digits=2))
    assert picture.alt_text == "Another. share in percent: a 50.00, b 1.60 (formula 1.63)"
