"""fakeservice: environment variables, exact distribution, sampler.

Statistical tests use fixed seeds; each states the chance that a correct sampler fails it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from meshmodel.fakeservice import (
    HANG,
    NEVER,
    REFUSED,
    RESET,
    Sampler,
    distribution,
    error_period,
    error_probability,
    from_environment,
    mean_service_time,
    parse_duration,
)
from meshmodel.scenario import Behaviour, ScenarioError

FALSE_ALARM = 1e-4

# --- durations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("0", 0),
        ("0.5s", 0.5),
        (".5s", 0.5),
        ("1m30s", 90),
        ("300ms", 0.3),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("1h", 3600),
        ("+2s", 2),
    ],
)
def test_go_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text, "timeout") == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    ["", "1000", "1000.0", "NaN", "nans", "infs", "-1s", "1 s", " 1s", "1s\n", "1S", "1d", "1w", "1y", "1s junk 2s", "1.2.3s", "1e3s", "١s"]
    + ["s", "-", "99999999999h", "9" * 400 + "s", "100ns", None, 1, 1.5, float("nan"), True, ["1s"], "x" * 100_000],
)
def test_what_is_no_duration_is_refused_in_one_line_that_names_the_field(text: object) -> None:
    with pytest.raises(ScenarioError, match=r"^spec\.http\[0\]\.timeout: ") as error:
        parse_duration(text, "spec.http[0].timeout")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_negative_durations_only_where_allowed() -> None:
    assert parse_duration("-1.5s", "offset", negative=True) == -1.5


@given(st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_add_up(minutes: int, seconds: int, milliseconds: int) -> None:
    text = f"{minutes}m{seconds}s{milliseconds}ms"
    assert parse_duration(text, "x") == pytest.approx(60 * minutes + seconds + milliseconds / 1000)


@given(st.text(max_size=12))
def test_any_text_is_a_finite_duration_or_one_clear_error(text: str) -> None:
    try:
        assert 0 <= parse_duration(text, "x") < 1e10
    except ScenarioError as error:
        assert str(error).startswith("x: ")


# --- environment -----------------------------------------------------------------------


def test_the_tutorials_slow_pod() -> None:
    env = {
        "NAME": "simple-backend-1",
        "MESSAGE": "Hello",
        "LISTEN_ADDR": "0.0.0.0:8080",
        "SERVER_TYPE": "http",
        "TIMING_50_PERCENTILE": "1000ms",
    }
    behaviour, warnings = from_environment(env)
    assert behaviour == Behaviour(timing_50_percentile=1.0)
    assert warnings == []


def test_every_variable_arrives() -> None:
    env = {"TIMING_50_PERCENTILE": "100ms", "TIMING_90_PERCENTILE": "0.2s", "TIMING_99_PERCENTILE": "1s", "TIMING_VARIANCE": "30"}
    env |= {"ERROR_TYPE": "delay", "ERROR_RATE": "0.5", "ERROR_CODE": "503", "ERROR_DELAY": "3s"}
    assert from_environment(env, "nominal") == (
        Behaviour(
            timing_50_percentile=0.1,
            timing_90_percentile=0.2,
            timing_99_percentile=1.0,
            timing_variance=30,
            error_type="delay",
            error_rate=0.5,
            error_code=503,
            error_delay=3.0,
            injector="nominal",
        ),
        [],
    )


def test_empty_values_count_as_not_set() -> None:
    env = dict.fromkeys(
        ("TIMING_50_PERCENTILE", "TIMING_90_PERCENTILE", "TIMING_VARIANCE", "ERROR_RATE", "ERROR_CODE", "ERROR_TYPE", "RATE_LIMIT"), ""
    )
    assert from_environment(env) == (Behaviour(), [])


@pytest.mark.parametrize("text", ["40ms", "4.5", "-3", "forty"])
def test_a_variance_that_is_no_percentage_is_zero_with_a_warning(text: str) -> None:
    behaviour, warnings = from_environment({"TIMING_VARIANCE": text})
    assert behaviour.timing_variance == 0
    assert len(warnings) == 1 and warnings[0].startswith("TIMING_VARIANCE: ") and text in warnings[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ERROR_RATE", "2"), ("ERROR_RATE", "-0.1"), ("ERROR_RATE", "nan"), ("ERROR_RATE", "20%"), ("ERROR_RATE", "inf")]
    + [
        ("ERROR_CODE", "99"),
        ("ERROR_CODE", "600"),
        ("ERROR_CODE", "100"),
        ("ERROR_CODE", "5xx"),
        ("ERROR_DELAY", "3"),
        ("ERROR_DELAY", "-3s"),
    ]
    + [("TIMING_50_PERCENTILE", "1000"), ("TIMING_90_PERCENTILE", "NaN"), ("TIMING_99_PERCENTILE", "-1s"), ("TIMING_VARIANCE", "9" * 5000)]
    + [
        ("TIMING_75_PERCENTILE", "1s"),
        ("ERROR_BURST", "3"),
        ("RATE_LIMIT", "10"),
        ("LOAD_CPU_PERCENTAGE", "50"),
        ("LOAD_MEMORY_PER_REQUEST", "1024"),
    ]
    + [("ERROR_RATE", 0.5), ("NAME", None)],
)
def test_bad_and_not_modelled_variables_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ScenarioError, match=rf"^{name}: ") as error:
        from_environment({name: value})
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_harmless_variables_are_accepted_and_unknown_ones_warned_about() -> None:
    harmless = [
        "UPSTREAM_URIS",
        "UPSTREAM_WORKERS",
        "KUBERNETES_NAMESPACE",
        "HTTP_CLIENT_KEEP_ALIVES",
        "LOG_LEVEL",
        "TRACING_ZIPKIN",
        "RATE_LIMIT_CODE",
    ]
    assert from_environment(dict.fromkeys(harmless, "x") | {"RATE_LIMIT": "0", "LOAD_CPU_PERCENTAGE": "0.0"})[1] == []
    assert [w.split(":")[0] for w in from_environment({"READY_CHECK_RESPONSE_DELAY": "3s", "MY_OWN": "1"})[1]] == [
        "READY_CHECK_RESPONSE_DELAY",
        "MY_OWN",
    ]


@pytest.mark.parametrize(
    ("rate", "said"), [("0.75", "every request"), ("0.3", "a multiple of 3"), ("0.2", ""), ("1", ""), ("0", ""), ("0.1", "")]
)
def test_an_error_rate_that_the_counter_cannot_give_is_warned_about(rate: str, said: str) -> None:
    warnings = from_environment({"ERROR_RATE": rate})[1]
    assert len(warnings) == bool(said) and all(said in w for w in warnings)
    assert from_environment({"ERROR_RATE": rate}, "nominal")[1] == []


def test_an_unknown_error_type_is_a_delay_and_said_so() -> None:
    behaviour, warnings = from_environment({"ERROR_TYPE": "http_eror", "ERROR_RATE": "1", "ERROR_DELAY": "2s"})
    assert distribution(behaviour) == ((1.0, 2.0, 500),)
    assert len(warnings) == 1 and "http_eror" in warnings[0]


@pytest.mark.parametrize("knob", ["injector", "errors", "percentiles"])
def test_an_unknown_reading(knob: str) -> None:
    with pytest.raises(ScenarioError, match=f"^{knob}: must be one of .*, got 'heads'"):
        from_environment({}, **{knob: "heads"})  # type: ignore[arg-type]


MIXED = {"timing_50_percentile": 1.0, "undelayed": 0.1, "error_rate": 0.75, "error_code": 503}
DELAYED, PLAIN = {0.1: 0.5, 1.0: 0.5}, {1.0: 1.0}


@pytest.mark.parametrize(
    ("reading", "failing", "seconds"),
    [
        ({}, 1.0, PLAIN),
        ({"injector": "nominal"}, 0.75, DELAYED),
        ({"errors": "coin"}, 0.75, PLAIN),
        ({"percentiles": "prose"}, 1.0, DELAYED),
        ({"injector": "nominal", "errors": "counter"}, 1.0, DELAYED),
        ({"injector": "nominal", "percentiles": "program"}, 0.75, PLAIN),
        ({"errors": "coin", "percentiles": "prose"}, 0.75, DELAYED),
    ],
)
def test_errors_and_timings_are_two_knobs(reading: dict[str, Any], failing: float, seconds: dict[float, float]) -> None:
    """How ERROR_RATE is read does not touch the timings, nor the other way round; the injector is short for both."""
    assert error_probability(Behaviour(**MIXED, **reading)) == failing
    well = [atom for atom in distribution(Behaviour(**{**MIXED, "error_rate": 0.0}, **reading)) if atom.code == 200]
    assert {atom.seconds: atom.probability for atom in well} == seconds
    environment = {"TIMING_50_PERCENTILE": "1s", "ERROR_RATE": "0.75", "ERROR_CODE": "503"}
    behaviour, warnings = from_environment(environment, **reading)
    assert replace(behaviour, undelayed=0.1) == Behaviour(**MIXED, **reading)
    assert any("fails every request" in warning for warning in warnings) == (failing == 1.0)


def test_the_sampler_follows_each_knob() -> None:
    """20,000 requests to a pod for each mixture; shares within 4.5 standard errors: false alarm below 1 in 30,000 a share."""
    pods = [Behaviour(**{**MIXED, "error_rate": 0.3}, errors=e, percentiles=p) for e in ("counter", "coin") for p in ("program", "prose")]
    random, n = np.random.default_rng(4), 20_000
    for e, pod in enumerate(pods):
        seconds, code = Sampler(pods).answers(np.full(n, e), np.arange(1, n + 1), random.random(n), random.random(n))
        failing = 1 / 3 if pod.errors == "counter" else 0.3
        assert (code == 503).mean() == pytest.approx(failing, abs=4.5 * (0.21 / n) ** 0.5 if pod.coin else 1 / n)
        slow = (seconds[code == 200] == 1.0).mean()
        assert slow == (pytest.approx(0.5, abs=4.5 * 0.5 / (0.65 * n) ** 0.5) if pod.prose else 1.0)


# --- exact distribution ----------------------------------------------------------------


def as_rows(behaviour: Behaviour) -> list[tuple[float, float, int]]:
    return [(round(p, 12), round(s, 12), c) for p, s, c in distribution(behaviour)]


def test_timing_as_implemented_is_90_9_1() -> None:
    behaviour = Behaviour(timing_50_percentile=0.1, timing_90_percentile=0.2, timing_99_percentile=1.0)
    assert as_rows(behaviour) == [(0.9, 0.1, 200), (0.09, 0.2, 200), (0.01, 1.0, 200)]
    assert mean_service_time(behaviour) == pytest.approx(0.9 * 0.1 + 0.09 * 0.2 + 0.01 * 1.0)


def test_a_missing_percentile_takes_the_one_below() -> None:
    assert as_rows(Behaviour(timing_50_percentile=1.0)) == [(1.0, 1.0, 200)]
    assert as_rows(Behaviour(timing_50_percentile=0.1, timing_90_percentile=0.5)) == [(0.9, 0.1, 200), (0.1, 0.5, 200)]


def test_timing_nominal_delays_half_of_the_slow_pods_answers_and_none_of_an_ordinary_pods() -> None:
    slow = Behaviour(timing_50_percentile=1.0, undelayed=0.15, injector="nominal")
    ordinary = Behaviour(timing_50_percentile=0.15, undelayed=0.15, injector="nominal")
    assert as_rows(slow) == [(0.5, 1.0, 200), (0.5, 0.15, 200)]
    assert as_rows(ordinary) == [(1.0, 0.15, 200)]
    full = Behaviour(timing_50_percentile=1.0, timing_90_percentile=2.0, timing_99_percentile=3.0, undelayed=0.1, injector="nominal")
    assert as_rows(full) == [(0.5, 0.1, 200), (0.4, 1.0, 200), (0.09, 2.0, 200), (0.01, 3.0, 200)]


def test_variance_expands_to_its_atoms() -> None:
    atoms = as_rows(Behaviour(timing_50_percentile=1.0, timing_variance=4))
    assert sorted(atoms) == [(0.25, 1.0, 200), (0.25, 1.01, 200), (0.25, 1.02, 200), (0.25, 1.03, 200)]
    wide = Behaviour(timing_50_percentile=1.0, timing_variance=1001)
    assert len(distribution(wide)) == 100
    assert mean_service_time(wide) == pytest.approx(1 + 500 / 100)  # 1 + E U{0..1000}/100


@pytest.mark.parametrize(
    ("rate", "implemented", "period"),
    [(0, 0, NEVER), (1e-300, 0, NEVER), (0.2, 1 / 5, 5), (0.3, 1 / 3, 3), (0.5, 1 / 2, 2), (0.75, 1, 1), (1, 1, 1)],
)
def test_error_rates_as_implemented_and_nominal(rate: float, implemented: float, period: int) -> None:
    assert error_period(rate) == period
    for injector, expected in (("fake-service", implemented), ("nominal", rate)):
        atoms = distribution(Behaviour(timing_50_percentile=0.1, error_rate=rate, error_code=503, injector=injector))  # type: ignore[arg-type]
        assert sum(a.probability for a in atoms if a.code == 503) == pytest.approx(expected)
        assert sum(a.probability for a in atoms) == pytest.approx(1)
        assert all(a.seconds == 0 for a in atoms if a.code == 503)


def test_errors_count_in_the_mean() -> None:
    behaviour = Behaviour(timing_50_percentile=0.1, error_rate=0.25, error_type="delay", error_delay=2.0)
    assert mean_service_time(behaviour) == pytest.approx(0.75 * 0.1 + 0.25 * 2.0)


# --- sampler ---------------------------------------------------------------------------

behaviours = st.builds(
    Behaviour,
    timing_50_percentile=st.sampled_from([0.0, 0.1, 1.0]),
    timing_90_percentile=st.sampled_from([None, 0.3]),
    timing_99_percentile=st.sampled_from([None, 2.0]),
    timing_variance=st.sampled_from([0, 1, 3, 50]),
    error_type=st.sampled_from(["http_error", "delay"]),
    error_rate=st.sampled_from([0.0, 0.2, 0.3, 0.75, 1.0]),
    error_delay=st.sampled_from([0.0, 0.7]),
    injector=st.sampled_from(["fake-service", "nominal"]),
    undelayed=st.sampled_from([0.0, 0.05]),
    failure=st.sampled_from(["none", "none", "none", "refused", "reset", "hang"]),
)


def drawn(sampled: list[Behaviour], n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Endpoint, seconds and code of n requests to each of the behaviours, in turn."""
    rng = np.random.default_rng(seed)
    endpoint = np.tile(np.arange(len(sampled)), n)
    number = np.repeat(np.arange(1, n + 1), len(sampled))
    seconds, code = Sampler(sampled).answers(endpoint, number, rng.random(endpoint.size), rng.random(endpoint.size))
    return endpoint, seconds, code


@pytest.mark.parametrize(
    ("rate", "failing"),
    [(0.2, [5, 10, 15, 20, 25, 30]), (0.3, list(range(3, 31, 3))), (0.75, list(range(1, 31))), (1, list(range(1, 31))), (0, [])],
)
def test_errors_as_implemented_are_counted_not_drawn(rate: float, failing: list[int]) -> None:
    _, seconds, code = drawn([Behaviour(timing_50_percentile=0.1, error_rate=rate, error_code=503)], 30, seed=1)
    assert [n for n in range(1, 31) if code[n - 1] == 503] == failing
    np.testing.assert_array_equal(seconds, np.where(code == 503, 0.0, 0.1))
    assert code.dtype == np.int16


CHECKED = [
    Behaviour(timing_50_percentile=0.1, timing_90_percentile=0.2, timing_99_percentile=1.0),
    Behaviour(timing_50_percentile=0.1, timing_90_percentile=0.3, timing_variance=4),
    Behaviour(timing_50_percentile=1.0, undelayed=0.15, injector="nominal"),
    Behaviour(timing_50_percentile=1.0, timing_90_percentile=2.0, timing_variance=3, undelayed=0.1, error_rate=0.3, injector="nominal"),
    Behaviour(timing_50_percentile=0.1, error_rate=0.75, error_code=503, error_type="delay", error_delay=0.4, injector="nominal"),
]


@pytest.mark.parametrize("which", range(len(CHECKED)))
def test_the_sampler_draws_the_exact_distribution(which: int) -> None:
    """Chi-square over all atoms, drawn side by side with other endpoints; false alarms: 1 in 10,000 each."""
    n = 40_000
    endpoint, seconds, code = drawn(CHECKED, n, seed=20 + which)
    mine = endpoint == which
    counts = Counter(zip(np.round(seconds[mine], 9), code[mine], strict=True))
    expected = {(round(a.seconds, 9), a.code): a.probability * n for a in distribution(CHECKED[which])}
    assert set(counts) <= set(expected)
    assert stats.chisquare([counts[key] for key in expected], list(expected.values())).pvalue > FALSE_ALARM


def test_nominal_errors_are_independent_of_each_other() -> None:
    """Runs test by the number of changes between failing and not; false alarms: 1 in 10,000."""
    n = 20_000
    code = drawn([Behaviour(error_rate=0.3, injector="nominal")], n, seed=5)[2]
    changes = int(np.sum(code[1:] != code[:-1]))
    assert stats.binomtest(changes, n - 1, 2 * 0.3 * 0.7).pvalue > FALSE_ALARM


def test_failure_modes_have_codes_of_their_own() -> None:
    modes = [Behaviour(failure=f, timing_50_percentile=0.1, timing_variance=9, error_rate=0.5) for f in ("refused", "reset", "hang")]  # type: ignore[arg-type]
    _, seconds, code = drawn(modes, 2, seed=1)
    assert code.tolist() == [REFUSED, RESET, HANG] * 2
    assert seconds.tolist() == [0, 0, np.inf] * 2
    assert [mean_service_time(b) for b in modes] == [0, 0, np.inf]


def test_properties_say_what_is_needed() -> None:
    def needs(*sampled: Behaviour) -> tuple[bool, ...]:
        s = Sampler(sampled)
        return s.needs_timing_draw, s.needs_variance, s.needs_error_draw, s.needs_counter, s.constant

    ordinary = Behaviour(timing_50_percentile=0.15)
    assert needs(ordinary, Behaviour(timing_50_percentile=1.0)) == (False, False, False, False, True)
    assert Sampler([ordinary, Behaviour(timing_50_percentile=1.0)]).constant_seconds.tolist() == [0.15, 1.0]
    assert needs(ordinary, Behaviour(timing_90_percentile=0.2)) == (True, False, False, False, False)
    assert needs(Behaviour(timing_50_percentile=1, undelayed=0.1, injector="nominal")) == (True, False, False, False, False)
    assert needs(ordinary, Behaviour(timing_50_percentile=1, timing_variance=2)) == (False, True, False, False, False)
    assert needs(Behaviour(timing_variance=50), Behaviour(timing_50_percentile=1, timing_variance=1)) == (False, False, False, False, True)
    assert needs(ordinary, Behaviour(error_rate=0.2)) == (False, False, False, True, False)
    assert needs(ordinary, Behaviour(error_rate=0.2, injector="nominal")) == (False, False, True, False, False)
    assert needs(ordinary, Behaviour(error_rate=0.75)) == (False, False, False, False, False)
    assert needs() == (False, False, False, False, True)


@given(st.lists(behaviours, min_size=1, max_size=4), st.integers(0, 2**32))
def test_what_is_not_needed_may_be_left_out(sampled: list[Behaviour], seed: int) -> None:
    rng = np.random.default_rng(seed)
    endpoint, number, u, v = rng.integers(len(sampled), size=50), rng.integers(1, 40, size=50), rng.random(50), rng.random(50)
    sampler = Sampler(sampled)
    lean = sampler.answers(
        endpoint,
        number if sampler.needs_counter else None,
        u if sampler.needs_timing_draw else None,
        v if sampler.needs_variance or sampler.needs_error_draw else None,
    )
    for got, full in zip(lean, sampler.answers(endpoint, number, u, v), strict=True):
        np.testing.assert_array_equal(got, full)


@given(behaviours, st.integers(0, 2**32))
def test_every_draw_is_an_atom(behaviour: Behaviour, seed: int) -> None:
    _, seconds, code = drawn([behaviour], 60, seed)
    atoms = {(round(a.seconds, 9), a.code) for a in distribution(behaviour)}
    assert set(zip(np.round(seconds, 9), code, strict=True)) <= atoms
