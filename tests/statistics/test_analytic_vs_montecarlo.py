"""The closed forms against the Monte-Carlo engine and against a plain loop: engines that share nothing but the scenario.

Exact formulas must agree within 4.5 standard errors of the simulation, plus 0.2 % of the
figure for the renewal and quadrature terms: with the seeds fixed a test either always
passes or always fails; over all seeds one comparison in 10^5 would be a false alarm, and
about 250 comparisons are made.  Approximations must agree within their documented error.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from meshmodel.analytic import NoClosedForm, approximations
from meshmodel.analytic.engine import predict
from meshmodel.results import fortio
from meshmodel.results.replay import Replay
from meshmodel.scenario import (
    Behaviour,
    Change,
    ClosedLoop,
    ConnectionPool,
    Constant,
    Destination,
    Fault,
    OpenLoop,
    OutlierDetection,
    RetryPolicy,
    Scenario,
)
from meshmodel.simulation.montecarlo import simulate

from .analytic_loop import Loop
from .analytic_scenarios import DEFAULT_RETRY, FAST, FORTIO, OVERHEAD, SLOW, mesh

CURL = ClosedLoop(calls=10)
CURL50 = ClosedLoop(calls=50)
FAILING = replace(FAST, error_rate=0.75, error_code=503)
FAILING_500 = replace(FAILING, error_code=500)
NOMINAL = replace(FAILING, injector="nominal")
GATEWAY_ERROR = RetryPolicy(
    attempts=2, retry_on=frozenset({"gateway-error", "connect-failure", "retriable-4xx"}), per_try_timeout=0.3,
    previous_priorities_update_frequency=2,
)  # fmt: skip
ALL_5XX = RetryPolicy(attempts=2, retry_on=frozenset({"5xx"}))
OUTLIER = OutlierDetection(consecutive_5xx=1, interval=5, max_ejection_percent=100)
LOCAL = {"priorities": ((0, 1, 1),), "outlier_detection": OUTLIER}

TUTORIAL: dict[str, Scenario] = {
    "25-75 split": mesh([FAST] * 3, "LEAST_REQUEST", CURL50),
    "round robin, curl": mesh(workload=CURL50),
    "round robin": mesh(),
    "random": mesh(load_balancing="RANDOM"),
    "least request": mesh(load_balancing="LEAST_REQUEST"),
    "locality": mesh([FAST] * 3, "LEAST_REQUEST", CURL50, **LOCAL),
    "locality, local pod failing": mesh([FAILING_500, FAST, FAST], "LEAST_REQUEST", CURL50, retries=DEFAULT_RETRY, **LOCAL),
    "timeout": mesh(load_balancing="LEAST_REQUEST", workload=CURL, timeout=0.5, retries=DEFAULT_RETRY),
    "timeout, fortio": mesh(load_balancing="LEAST_REQUEST", timeout=0.5, retries=DEFAULT_RETRY),
    "default retry, 503": mesh([FAILING, FAST, FAST], "LEAST_REQUEST", CURL, retries=DEFAULT_RETRY),
    "gateway-error, 500": mesh([FAILING_500, FAST, FAST], "LEAST_REQUEST", CURL, retries=GATEWAY_ERROR),
    "gateway-error, 503": mesh([FAILING, FAST, FAST], "LEAST_REQUEST", CURL, retries=GATEWAY_ERROR),
    "5xx, 500": mesh([FAILING_500, FAST, FAST], "LEAST_REQUEST", CURL, retries=ALL_5XX),
}
FURTHER: dict[str, Scenario] = {
    "local pod failing with 503 and retried": mesh([FAILING, FAST, FAST], "LEAST_REQUEST", CURL50, retries=DEFAULT_RETRY, **LOCAL),
    "ejection after three failures": mesh(
        [FAILING_500, FAST, FAST], "LEAST_REQUEST", CURL50, outlier_detection=replace(OUTLIER, consecutive_5xx=3)
    ),
    "two hops": mesh([NOMINAL] * 3, "RANDOM", CURL50, retries=replace(ALL_5XX, attempts=1), outer=replace(ALL_5XX, attempts=1)),
    "timeout in the middle of back-offs": mesh([NOMINAL] * 3, "RANDOM", CURL50, retries=replace(ALL_5XX, attempts=5), timeout=0.16),
    "slow pod given up by the try": mesh(load_balancing="RANDOM", workload=CURL50, retries=GATEWAY_ERROR),
    "pod that hangs": mesh([replace(FAST, failure="hang"), FAST, FAST], "RANDOM", CURL50, retries=GATEWAY_ERROR),
    "pod that refuses": mesh([replace(FAST, failure="refused"), FAST, FAST], "RANDOM", CURL50, retries=DEFAULT_RETRY),
    "pod that resets": mesh([replace(FAST, failure="reset"), FAST, FAST], "RANDOM", CURL50, retries=DEFAULT_RETRY),
    "open loop with a limit": mesh(
        load_balancing="RANDOM", workload=OpenLoop(segments=((60, 20, 20),)), connection_pool=ConnectionPool(max_requests=10)
    ),
}  # fmt: skip
APPROXIMATE = ("least request", "timeout, fortio")


def disagreements(scenario: Scenario, replay: Replay, slack: float) -> list[str]:
    """Figures whose mean differs by more than 4.5 standard errors + `slack` (relative)."""
    exact = {row: values for row, *values in predict(scenario).rows()}
    found = []
    for row, mean, low, high in replay.rows():
        values = replay.values(row) if row in ("count", "avg") or row.startswith("p") else None
        error = (values.std() if values is not None else (high - low) / 3.0) / np.sqrt(replay.replications)
        rare = 3 / replay.requests.sum()  # a share that a run of this size may miss
        mine = exact.get(row, (0.0,))[0]
        if abs(mine - mean) > 4.5 * error + slack * abs(mean) + (rare if values is None else 0):
            found.append(f"{row}: formula {mine:.5f}, simulation {mean:.5f} +- {error:.5f}")
    return found


def is_short(scenario: Scenario) -> bool:
    return getattr(scenario.workload, "calls", None) is not None


@cache
def runs(name: str) -> Replay:
    """The runs of a scenario that the tests share."""
    scenario = (TUTORIAL | FURTHER)[name]
    return simulate(scenario, 1000 if is_short(scenario) else 150, seed=11)


@pytest.mark.parametrize("name", [*TUTORIAL, *FURTHER])
def test_the_formulas_agree_with_the_simulation(name):
    scenario, replay = (TUTORIAL | FURTHER)[name], runs(name)
    # percentiles of ten or fifty requests jump between atoms, which the quadrature of 399 scenes resolves to a few per cent
    few, slack = is_short(scenario), 0.01 if name in APPROXIMATE else 0.002
    found = disagreements(scenario, replay, slack)
    if few:
        found = [line for line in found if not line.startswith("p")] + disagreements(scenario, replay, 0.05)
    assert not found


@pytest.mark.parametrize("name", [*TUTORIAL, *FURTHER])
def test_the_intervals_hold_the_share_of_runs_that_they_promise(name):
    """More than 88 % of 150 or more runs lie in the 95 % interval of count and average: 3.9 standard errors below 95 %."""
    replay, figures = runs(name), predict((TUTORIAL | FURTHER)[name]).figures()
    for figure in ("count", "avg"):
        inside = (replay.values(figure) >= figures[figure].lo - 1e-9) & (replay.values(figure) <= figures[figure].hi + 1e-9)
        assert inside.mean() > 0.88, figure


def test_every_approximation_keeps_its_documented_error():
    """Each measured error is within its bound + 4.5 standard errors of the simulation."""
    table = approximations.approximation_table(predict, simulate, replications=40)
    allowed = table["bound"] + 4.5 * table["noise"] / table["montecarlo"]
    assert table[table["error"] > allowed].empty, table.to_string()
    assert set(table["name"]) == set(approximations.ERRORS)


@pytest.mark.parametrize("name", approximations.CASES)
def test_an_approximation_is_named_in_the_prediction(name):
    prediction = predict(approximations.CASES[name].scenario)
    assert prediction.assumptions[name] == approximations.ERRORS[name] != ""


def test_exact_predictions_name_no_approximation():
    assert predict(TUTORIAL["default retry, 503"]).assumptions == {}


behaviours = st.builds(
    Behaviour,
    timing_50_percentile=st.sampled_from([0.02, 0.1, 0.3]),
    timing_90_percentile=st.sampled_from([None, 0.4]),
    error_rate=st.sampled_from([0.0, 0.3, 1.0]),
    error_code=st.sampled_from([500, 503]),
    injector=st.just("nominal"),
)
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(0, 3),
    retry_on=st.sampled_from([frozenset({"5xx"}), frozenset({"gateway-error"})]),
    per_try_timeout=st.sampled_from([None, 0.2]),
    previous_hosts=st.booleans(),
)


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    st.lists(behaviours, min_size=1, max_size=4), st.sampled_from(["RANDOM", "LEAST_REQUEST", "ROUND_ROBIN"]), policies,
    st.sampled_from([None, 0.25]), st.sampled_from([1, 4]),
)  # fmt: skip
def test_random_scenarios_agree(pods, load_balancing, retries, timeout, connections):
    """Whatever is not refused agrees; 12 fixed scenarios of about 12 figures, 4.5 standard errors each."""
    workload = ClosedLoop(connections=connections, calls=40 * connections)
    scenario = mesh(pods, load_balancing, workload, retries=retries, timeout=timeout, workers=1)
    try:
        approximate = bool(set(predict(scenario).assumptions) - {approximations.RENEWAL})
    except NoClosedForm:
        return
    found = disagreements(scenario, simulate(scenario, 400, seed=13), 0.05 if approximate else 0.003)
    assert not [line for line in found if not line.startswith("p")]


def test_formula_loop_and_vectorised_agree():
    """The three ways that a notebook shows: 20 runs of the plain loop, the engine, the formula; 4.5 standard errors."""
    scenario, rng = mesh(load_balancing="LEAST_REQUEST", workload=replace(FORTIO, duration=30), workers=1), np.random.default_rng(17)
    plain = [Loop(scenario, rng).run() for _ in range(20)]
    replay, figures = simulate(scenario, 200, seed=17), predict(scenario).figures()
    loops = {
        "count": np.array([len(seconds) for seconds, *_ in plain]),
        "avg": np.array([seconds.mean() for seconds, *_ in plain]),
        "p75": np.array([fortio.Histogram.from_samples(seconds).percentile(75) for seconds, *_ in plain]),
    }
    for figure, values in loops.items():
        for other in (figures[figure].mean, replay.values(figure).mean()):
            assert values.mean() == pytest.approx(other, abs=4.5 * values.std() / np.sqrt(20) + 0.003 * abs(other)), figure


def test_the_expected_histogram_is_that_of_the_simulation():
    scenario = TUTORIAL["round robin"]
    expected, replay = predict(scenario, resolution=1e-4), runs("round robin").with_resolution(1e-4)
    shares = replay.bucket_counts.sum(axis=1) / replay.requests.sum()
    assert expected.bucket_shares() == pytest.approx(shares, abs=4.5 * np.sqrt(0.25 / replay.requests.sum()))
    assert expected.histogram().count == pytest.approx(replay.requests.mean(), abs=1)


def with_route(scenario: Scenario, **changes) -> Scenario:
    return replace(scenario, routes=(*scenario.routes[:-1], replace(scenario.routes[-1], **changes)))


def with_cluster(scenario: Scenario, **changes) -> Scenario:
    cluster = replace(scenario.routes[-1].destinations[0].cluster, **changes)
    return with_route(scenario, destinations=(Destination(cluster=cluster),))


def test_faults_and_weighted_subsets():
    base = mesh([FAST, SLOW], "RANDOM", CURL50)
    one, two = (replace(base.routes[-1].destinations[0].cluster, name=e.deployment, endpoints=(e,)) for e in base.endpoints)
    fault = Fault(delay=0.3, delay_percent=40, abort_code=503, abort_percent=25)
    scenario = with_route(base, fault=fault, destinations=(Destination(cluster=one, weight=75), Destination(cluster=two, weight=25)))
    shares = predict(scenario).pod_shares()
    assert shares["backend-1"].mean == pytest.approx(0.25 * 0.75)
    found = disagreements(scenario, simulate(scenario, 3000, seed=5), 0.002)
    assert not [line for line in found if not line.startswith("p")]


REFUSED = {
    "changes": replace(mesh(), changes=(Change(at=5, routes=mesh().routes),)),
    "queue": mesh([replace(FAST, concurrency=2)] * 3),
    "maxConnections": mesh(connection_pool=ConnectionPool(max_connections=2)),
    "concurrent retries": mesh([FAILING, FAST, FAST], retries=ALL_5XX, connection_pool=ConnectionPool(max_retries=1)),
    "LEAST_REQUEST with concurrent": mesh([FAILING, FAST, FAST], "LEAST_REQUEST", retries=ALL_5XX),
    "LEAST_REQUEST among unequal": mesh(load_balancing="LEAST_REQUEST", workload=OpenLoop(segments=((9, 9, 9),))),
    "now and then": mesh([NOMINAL, FAST, FAST], workload=CURL50, outlier_detection=OUTLIER),
    "several failing": mesh([FAILING, FAST, FAST], outlier_detection=OUTLIER),
    "hangs": mesh([replace(FAST, failure="hang"), FAST], workload=CURL),
    "only just": mesh([FAST] * 3, "RANDOM", ClosedLoop(connections=10, qps=10 / 0.162, duration=60)),
    "two hops": mesh([NOMINAL, FAST, FAST], workload=CURL50, retries=replace(ALL_5XX, attempts=0), outer=ALL_5XX),
    "callers march in step": mesh([FAST], "RANDOM", overhead=Constant(0.05), connection_pool=ConnectionPool(max_requests=8)),
    "fail late": mesh([replace(FAILING, error_rate=1, error_type="delay", error_delay=0.1), FAST], retries=ALL_5XX),
    "several pods that always": mesh([FAILING, FAILING, FAST], retries=ALL_5XX),
    "counted errors": mesh([replace(FAILING, error_rate=0.2)], "RANDOM", CURL50, retries=ALL_5XX),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_what_has_no_closed_form_is_refused_by_name(feature):
    with pytest.raises(NoClosedForm, match=rf"^no closed form for .*{feature}.*; use Monte Carlo$"):
        predict(REFUSED[feature])


def test_locality_weights_without_an_endpoint_are_refused():
    with pytest.raises(NoClosedForm, match="locality weights"):
        predict(with_cluster(mesh(workload=CURL), locality_weights=({"elsewhere": 100},)))


def in_zones(scenario: Scenario, **weights: int) -> Scenario:
    """The first pod stands in zone a, the others in zone b; the zones are weighed."""
    cluster = scenario.routes[-1].destinations[0].cluster
    places = [replace(endpoint, locality="b" if i else "a") for i, endpoint in enumerate(cluster.endpoints)]
    return with_cluster(scenario, endpoints=tuple(places), locality_weights=(weights or {"a": 1, "b": 2},))


WEIGHED = {
    "least request": in_zones(mesh(load_balancing="LEAST_REQUEST")),
    "round robin": in_zones(mesh()),
    "random": in_zones(mesh(load_balancing="RANDOM")),
    "timeout": in_zones(mesh(load_balancing="LEAST_REQUEST", workload=CURL50, timeout=0.5, retries=DEFAULT_RETRY)),
    "retry": in_zones(mesh([FAILING, FAST, FAST], "LEAST_REQUEST", CURL50, retries=DEFAULT_RETRY)),
    "retry, random": in_zones(mesh([FAILING, FAST, FAST], "RANDOM", CURL50, retries=DEFAULT_RETRY)),
    "one zone has it all": in_zones(mesh(load_balancing="LEAST_REQUEST"), b=1),
}


@pytest.mark.parametrize("name", WEIGHED)
def test_weighed_localities_are_taken_in_turn_whatever_the_policy(name):
    """Shares and means to 4.5 standard errors and 0.2 %; the slow pod has its third, a failing one half of the first tries."""
    scenario = WEIGHED[name]
    found = disagreements(scenario, simulate(scenario, 1000 if is_short(scenario) else 150, seed=11), 0.002)
    assert not [line for line in found if not line.startswith("p")]
    if name in ("least request", "random"):
        assert predict(scenario).endpoint_shares()["simple-backend-1"].mean == pytest.approx(1 / 3)
    if name.startswith("retry"):
        assert predict(scenario).attempt_shares()["simple-backend-1"].mean == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "scenario",
    [
        in_zones(mesh([FAST, SLOW, FAST], "LEAST_REQUEST")),
        in_zones(mesh(load_balancing="LEAST_REQUEST"), a=70, b=30),
        in_zones(mesh([FAILING, FAST, FAST], "RANDOM", CURL50, retries=DEFAULT_RETRY), a=70, b=30),
    ],
)
def test_weighed_localities_whose_schedule_matters_are_refused(scenario):
    with pytest.raises(NoClosedForm, match="weighed localities"):
        predict(scenario)


def test_the_same_scenario_gives_the_same_numbers_and_plain_json():
    one, other = predict(mesh()), predict(mesh())
    assert one.to_json() == other.to_json()
    assert OVERHEAD.mean() + 0.15 < one.percentile(50).mean < 0.2
