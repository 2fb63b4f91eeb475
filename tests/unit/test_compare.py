"""compare: exact Monte-Carlo tests of a record against replays.  Replays are made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from meshmodel.results import fortio
from meshmodel.results.compare import (
    CompareError,
    Comparisons,
    Row,
    compare,
    compare_counts,
    compare_curl,
    depth_p_value,
    rank_p_value,
    read_outcome,
    share_cells,
)
from meshmodel.results.fortio import Histogram

from .synthetic import curl, replay, split

ROOT = Path(__file__).parents[2]
ROUND_ROBIN = ROOT / "data/tutorial/round-robin.txt"
LEAST_CONN = ROOT / "data/tutorial/least-conn.txt"
FALSE_ALARM = 1e-3  # of every statistical test here; seeds are fixed


@pytest.fixture(scope="module")
def model():
    return replay(100, seed=1)


def latencies(one):
    return one.log.latency[~np.isnan(one.log.latency)]


# --- the p-values ---------------------------------------------------------------------------


@pytest.mark.parametrize("recorded, expected", [(0.5, 2 / 101), (50.5, 1.0), (100.5, 2 / 101), (1, 2 * 2 / 101), (3.5, 2 * 4 / 101)])
def test_rank_p_value_counts_the_nearer_tail(recorded, expected):
    assert rank_p_value(recorded, np.arange(1.0, 101.0)) == pytest.approx(expected)


def test_rank_p_value_is_conservative_with_ties_and_leaves_nan_out():
    assert rank_p_value(0, np.zeros(50)) == 1.0
    assert rank_p_value(5, np.array([1.0, 2.0, np.nan])) == pytest.approx(2 / 3)
    assert rank_p_value(5, np.full(3, np.nan)) is None


@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_the_joint_p_value_is_uniform_under_the_model(floor):
    """Chi-squared on ten classes of 1,000 p-values; false-alarm rate 0.1 %."""
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(3, 6))  # six figures of rank three: the covariance is singular
    p = np.array(
        [
            depth_p_value((runs := rng.poisson(4, (100, 3)) @ mixing + rng.exponential(size=(100, 6)))[0], runs[1:], floor)
            for _ in range(1000)
        ]
    )
    ranks = np.round(100 * p).astype(int)
    assert ranks.min() >= 1 and ranks.max() <= 100
    assert stats.chisquare(np.bincount((ranks - 1) // 10, minlength=10)).pvalue > FALSE_ALARM


def test_a_fortio_record_of_the_model_has_a_uniform_joint_p_value():
    """150 sets of 20 runs, the first of each being the record: chi-squared on ranks 1-5, 6-10 ...; false-alarm rate 0.1 %."""
    p = []
    for seed in range(150):
        record, model = split(replay(20, seed=1000 + seed, connections=4, duration=3.0, resolution=0.001))
        p.append(compare(model, record.histogram(0)).p_value)
    classes = np.bincount((np.round(20 * np.array(p)).astype(int) - 1) // 5, minlength=4)
    assert stats.chisquare(classes).pvalue > FALSE_ALARM


def test_a_record_far_from_every_run_gets_the_smallest_p_value_even_with_rare_buckets():
    rng = np.random.default_rng(5)
    rare = (rng.random((200, 30)) < 0.01).astype(float)  # thirty buckets that nearly always stay empty
    runs = np.column_stack((rng.normal(1000, 10, 200), rare))
    assert depth_p_value(np.array([1100.0, *[0.0] * 30]), runs, np.ones(31)) == pytest.approx(1 / 201)
    assert depth_p_value(np.array([1000.0, *[0.0] * 30]), runs, np.ones(31)) > 0.2


def test_identical_runs_and_record_are_consistent():
    assert depth_p_value(np.ones(3), np.ones((10, 3))) == 1.0


# --- against fortio records -----------------------------------------------------------------


def test_the_replay_is_binned_with_the_records_own_resolution(model):
    for resolution in (0.0001, 0.001):
        record = Histogram.from_samples(latencies(replay(1, seed=9)), resolution)
        comparison = compare(model, record)
        assert comparison.resolution == resolution
        assert comparison["p75"].predicted == pytest.approx(model.with_resolution(resolution).percentile(75).mean())


def test_the_tutorials_records_are_read_at_the_web_forms_resolution(model):
    comparison = compare(model, ROUND_ROBIN)
    assert comparison.resolution == 0.0001 and comparison.name == "round-robin"
    assert comparison["count"].recorded == 1366
    assert comparison["p75"].recorded == pytest.approx(1.01382, abs=5e-6)
    assert comparison["share over 1 s"].recorded == pytest.approx(448 / 1366)


def test_the_cells_of_the_table_partition_fortios_table():
    record = fortio.read_record(ROUND_ROBIN)
    cells = share_cells(record, 0.0001)
    assert [label for label, _ in cells] == ["up to 0.2", "0.2-0.3", "0.3-1", "over 1"]
    covered = [index for _, cell in cells for index in range(cell.start, cell.stop)]
    assert covered == list(range(fortio.BUCKETS))
    counted = record.table_counts(0.0001)
    assert [int(counted[cell].sum()) for _, cell in cells] == [916, 2, 0, 448]


def test_a_record_in_one_bucket_is_one_cell():
    assert share_cells(Histogram.from_samples([1.5, 1.6], 0.001), 0.001) == [("all", slice(0, fortio.BUCKETS))]


def test_a_record_of_the_same_model_is_inside_and_another_is_outside(model):
    own = compare(model, replay(1, seed=77).histogram(0))
    other = compare(model, replay(1, seed=77, p_slow=0.15).histogram(0))
    assert own.p_value > 0.01 and len(own.outside) <= 2
    assert other.p_value == pytest.approx(1 / 101) and {"count", "avg", "p75"} <= set(other.outside)
    for row in other.rows:
        assert row.inside == (row.lo <= row.recorded <= row.hi)


def test_rows_carry_mean_interval_and_relative_error(model):
    row = compare(model.with_resolution(0.001), replay(1, seed=4, resolution=0.001).histogram(0))["avg"]
    assert row.predicted == pytest.approx(model.mean.mean())
    assert (row.lo, row.hi) == pytest.approx(np.quantile(model.mean, [0.025, 0.975]))
    assert row.relative_error == pytest.approx(row.predicted / row.recorded - 1)
    assert np.isnan(Row("share", 0.0, 0.1, 0, 1, 1.0).relative_error)


def test_it_prints_renders_and_serialises(model):
    comparison = compare(model, ROUND_ROBIN)
    text = str(comparison)
    assert "1,366.0" in text and "67.06 %" in text and "joint p-value" in text and "outside the 95 % interval: " in text
    assert "<table>" in comparison._repr_html_()
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert content["p_value"] == comparison.p_value and content["rows"][0]["recorded"] == 1366


def test_few_replications_say_what_they_cannot_show():
    assert "no joint p-value is below 0.167" in str(compare(replay(5, duration=5.0), replay(1, seed=2, duration=5.0)))


def test_several_records_stand_side_by_side(model):
    several = compare(model, {"RR": ROUND_ROBIN, "LC": fortio.read_record(LEAST_CONN), "real": replay(2, seed=8)})
    assert isinstance(several, Comparisons) and list(several) == ["RR", "LC", "real 1", "real 2"]
    assert several.p_value == pytest.approx(min(1, 4 * min(c.p_value for c in several.values())))
    assert "1,366.0" in str(several) and "2,059.0" in str(several) and "LC: count" in several.outside
    json.dumps(several.to_json(), allow_nan=False)


def test_figures_without_samples_have_no_p_values(model, tmp_path):
    stored = tmp_path / "replay.json"
    stored.write_text(json.dumps({key: value for key, value in model.to_json().items() if key != "replicas"}), encoding="utf-8")
    comparison = compare(read_outcome(stored), ROUND_ROBIN)
    assert comparison.p_value is None and all(row.p_value is None for row in comparison.rows)
    assert comparison["avg"].predicted == pytest.approx(model.mean.mean()) and comparison["count"].inside is False
    assert "no samples: no p-values" in str(comparison)


def test_a_closed_form_is_binned_like_the_record_and_has_expected_shares():
    from meshmodel.mesh import Mesh

    manifests = ROOT / "data/tutorial/manifests"
    mesh = Mesh().apply(*(manifests / f"{name}.yaml" for name in ("testbed", "slow-backend-1", "dr-round-robin")))
    exact, simulated = compare(mesh.predict(), ROUND_ROBIN), compare(mesh.fortio_load(replications=100), ROUND_ROBIN)
    for resolution in (0.001, 0.0001):  # the record's own, not the prediction's
        record, prediction = Histogram.from_samples(latencies(replay(1, seed=9)), resolution), mesh.predict()
        binned = compare(prediction, record)
        assert binned.resolution == resolution == binned.outcome.resolution
        assert binned["p50"].predicted == prediction.with_resolution(resolution).percentile(50).mean
    assert prediction.percentile(50).mean != binned["p50"].predicted
    assert exact.p_value is None and [row.figure for row in exact.rows] == [row.figure for row in simulated.rows]
    assert exact["share over 1 s"].predicted == pytest.approx(1 / 3, abs=1e-6) and exact["share over 1 s"].inside is None
    assert exact["p50"].predicted == pytest.approx(simulated["p50"].predicted, rel=0.005)


WHOLE = '{"engine": "x", "figures": %s, "codes": %s, "endpoints": {}, "attempts": {}}'


@pytest.mark.parametrize(
    "content, complaint",
    [
        *(("{", "line 1: not JSON"), ('{"engine": "x"}', "figures"), ("[]", "not a replay")),
        (WHOLE % ('{"avg": 3}', "{}"), "figures.avg: must be an object"),
        (WHOLE % ('{"avg": {"mean": 1, "lo": 1}}', "{}"), "figures.avg.hi: must be a number, got nothing"),
        (WHOLE % ('{"avg": {"mean": true, "lo": 1, "hi": 1}}', "{}"), "figures.avg.mean: must be a number, got True"),
        (WHOLE % ("{}", '{"OK": {"mean": 1, "lo": 1, "hi": 1}}'), "codes.OK: must be an HTTP status"),
        (WHOLE % ("{}", '{"200": {}, "200": {}}'), "'200': stands twice"),
        (WHOLE.replace('"x"', "NaN"), "line 1: not JSON: no number"),
        (
            WHOLE.replace("{", '{"fortio": {"DurationHistogram": {"Count": -1, "Data": null}}, ', 1) % ("{}", "{}"),
            "fortio: DurationHistogram.Count: must",
        ),
        ('{"engine": {}}', "engine: must be text"),
    ],
)
def test_a_malformed_replay_file_gives_one_line(tmp_path, content, complaint):
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CompareError, match=complaint) as caught:
        read_outcome(path)
    assert "bad.json" in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_record_is_refused(model):
    with pytest.raises(CompareError, match="no requests"):
        compare(model, Histogram.from_text("Aggregated Function Time : no data"))


# --- curl loops -----------------------------------------------------------------------------


def test_counts_agree_with_an_exact_binomial_test():
    """4,000 runs; the Monte-Carlo p-value's standard error is below 0.008, five of them are allowed."""
    loops = curl(4000, seed=1, calls=50, p_error=0.0)
    comparison = compare_counts(loops, {"Hello from simple-backend-1": 14, '"Hello from simple-backend-2"': 36})
    distance = np.abs(np.arange(51) - 50 / 3) >= abs(14 - 50 / 3)
    exact = stats.binom.pmf(np.arange(51), 50, 1 / 3)[distance].sum()
    assert comparison.p_value == pytest.approx(exact, abs=0.04)
    assert comparison.outside == ()


def test_counts_that_the_model_cannot_give_are_rejected():
    loops = curl(200, seed=2, p_error=0.0)
    assert compare_counts(loops, {200: 9, "500": 1}).p_value == pytest.approx(1 / 201)
    assert compare_counts(loops, {"simple-backend-1": 10, "simple-backend-2": 0}).p_value == pytest.approx(1 / 201)


def test_counts_of_another_number_of_calls_are_refused():
    with pytest.raises(CompareError, match="9 calls, the replay 10"):
        compare_counts(curl(20, seed=1), {200: 9})


def test_curl_counts_of_the_model_are_rejected_at_most_as_often_as_stated():
    """300 sets of 40 loops, the first of each being the record: at most 5 % rejected at 5 % (binomial, false-alarm rate 0.1 %)."""
    rejected = 0
    for seed in range(300):
        record, model = split(curl(40, seed=seed))
        codes, counts = np.unique(record.log.code, return_counts=True)
        rejected += compare_counts(model, dict(zip(codes.tolist(), counts.tolist(), strict=True))).p_value <= 0.05
    assert stats.binom.sf(rejected - 1, 300, 0.05) > FALSE_ALARM


def test_a_curl_loop_is_tested_on_codes_and_seconds():
    model, record = curl(300, seed=3), curl(1, seed=12)
    codes, seconds = record.log.code[:, 0], record.log.latency[:, 0]
    own = compare_curl(model, codes.tolist(), seconds.tolist())
    slow = compare_curl(model, codes.tolist(), (seconds + 0.2).tolist())
    assert own.p_value > 0.01 and slow.p_value < 0.02
    assert slow["median seconds of 200"].inside is False and slow["count 200"].inside is True
    expected = [np.median(model.log.latency[model.log.code[:, i] == 200, i]) for i in range(300) if (model.log.code[:, i] == 200).any()]
    assert own["median seconds of 200"].predicted == pytest.approx(np.mean(expected))


def test_a_code_that_no_run_gives_has_no_timing_to_compare():
    comparison = compare_curl(curl(100, seed=3, p_error=0.0), [200] * 9 + [504], [0.17] * 9 + [0.5])
    assert comparison["median seconds of 504"].p_value is None and comparison.p_value == pytest.approx(1 / 101)


def test_codes_and_seconds_must_pair_up():
    with pytest.raises(CompareError, match="3 for 10 codes"):
        compare_curl(curl(10, seed=1), [200] * 10, [0.1] * 3)
