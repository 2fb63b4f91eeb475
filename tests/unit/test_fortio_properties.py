"""What holds for every histogram: counts sum, percents end at 100, percentiles rise, text, JSON and object agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from meshmodel.results.fortio import BUCKETS, DEFAULT_PERCENTILES, TABLE, Histogram, bucket_counts, bucket_edges, bucket_index, percentiles

RESOLUTIONS = st.sampled_from([1e-4, 1e-3, 1e-2, 0.0007])
OFFSETS = st.sampled_from([0.0, 0.15, 0.123456, 30.0])
SECONDS = st.just(0.0) | st.floats(1e-9, 300)  # fortio's clock counts nanoseconds
SAMPLES = st.lists(SECONDS | st.integers(0, 2000).map(lambda n: n / 1000), min_size=1, max_size=60)
PERCENTS = st.lists(st.floats(0.001, 100), min_size=2, max_size=20)


@given(SAMPLES, RESOLUTIONS, OFFSETS)
def test_counts_sum_percents_end_at_100_and_edges_enclose_the_samples(samples: list[float], resolution: float, offset: float) -> None:
    histogram = Histogram.from_samples(samples, resolution, offset)
    assert sum(bucket.count for bucket in histogram.buckets) == histogram.count == len(samples)
    assert histogram.buckets[-1].percent == 100
    assert np.all(np.diff(histogram.percents) > 0)
    assert histogram.ends[-1] == max(samples)
    assert histogram.starts[0] <= min(samples)


@given(SAMPLES, RESOLUTIONS, OFFSETS, PERCENTS)
def test_percentiles_rise_from_the_minimum_to_the_maximum(samples: list[float], resolution: float, offset: float, p: list[float]) -> None:
    histogram = Histogram.from_samples(samples, resolution, offset)
    values = histogram.percentile(np.sort(p))
    assert np.all(np.diff(values) >= -1e-12 * max(samples))
    assert values[0] >= min(samples) * (1 - 1e-12)
    assert values[-1] <= max(samples) * (1 + 1e-12)
    assert histogram.percentile(0) == min(samples)
    assert histogram.percentile(100) == max(samples)


@given(SAMPLES, RESOLUTIONS, OFFSETS)
@example([30.000001, 30.00002], 1e-6, 30.0)
@example([1000.0004, 1000.0031, 1000.0039], 0.001, 1000.0)
def test_a_text_read_prints_the_same_bytes(samples: list[float], resolution: float, offset: float) -> None:
    text = Histogram.from_samples(samples, resolution, offset).to_text()
    assert Histogram.from_text(text).to_text() == text


@given(SAMPLES, RESOLUTIONS, OFFSETS, st.floats(0, 1e6))
def test_json_and_object_agree_through_a_file(samples: list[float], resolution: float, offset: float, qps: float) -> None:
    histogram = Histogram.from_samples(samples, resolution, offset, codes={200: len(samples)}, qps=qps)
    read = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert read == histogram
    assert read.to_text() == histogram.to_text()
    from_text = Histogram.from_text(histogram.run_text())
    assert Histogram.from_json(json.loads(json.dumps(from_text.to_json()))) == from_text


@given(SAMPLES, st.sampled_from([1e-4, 1e-3]), st.data())
def test_pooling_is_as_if_sampled_together(samples: list[float], resolution: float, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(samples)))
    whole = Histogram.from_samples(samples, resolution)
    parts = [Histogram.from_samples(part, resolution) for part in (samples[:cut], samples[cut:])]
    pooled = Histogram.pool(parts, resolution)
    assert pooled.buckets == whole.buckets
    assert pooled.percentile([50, 99]).tolist() == whole.percentile([50, 99]).tolist()
    assert pooled.mean == pytest.approx(whole.mean)
    assert pooled.std == pytest.approx(whole.std, abs=1e-5)


@given(st.floats(0, 200), RESOLUTIONS, OFFSETS)
def test_every_sample_is_in_the_bucket_whose_edges_enclose_it(value: float, resolution: float, offset: float) -> None:
    edges = bucket_edges(resolution, offset)
    index = int(bucket_index(value, resolution, offset))
    slack = 1e-9 * (1 + value)
    assert value <= edges[index] + slack
    assert index == 0 or value >= edges[index - 1] - slack


@given(st.integers(0, 100_000))
def test_a_whole_number_is_in_the_bucket_that_it_ends(value: int) -> None:
    assert bucket_index(value, 1.0) == np.searchsorted(TABLE, value, side="left")


LATENCIES = arrays.arrays(float, st.tuples(st.integers(0, 30), st.integers(1, 5)), elements=SECONDS | st.just(np.nan))


@given(LATENCIES, RESOLUTIONS)
def test_many_replications_at_once_are_each_as_alone(latencies: np.ndarray, resolution: float) -> None:
    counts = bucket_counts(latencies, resolution)
    assert counts.shape == (BUCKETS, latencies.shape[1])
    assert np.array_equal(bucket_counts(latencies.T, resolution, axis=1), counts)
    low = np.fmin.reduce(latencies, axis=0, initial=np.inf)
    high = np.fmax.reduce(latencies, axis=0, initial=0)
    at_once = percentiles(counts, low, high, DEFAULT_PERCENTILES, resolution)
    for i, column in enumerate(latencies.T):
        alone = Histogram.from_samples(column[~np.isnan(column)], resolution)
        assert np.array_equal(counts[:, i], alone.table_counts(resolution))
        assert np.array_equal(at_once[:, i], alone.percentile(DEFAULT_PERCENTILES), equal_nan=True)


@given(SAMPLES, RESOLUTIONS, OFFSETS, st.floats(0, 100))
def test_percentile_is_the_walk_along_the_buckets(samples: list[float], resolution: float, offset: float, p: float) -> None:
    histogram = Histogram.from_samples(samples, resolution, offset)
    before, expected = 100 / len(samples), min(samples)
    for bucket in histogram.buckets if p > before else ():
        if p <= bucket.percent:
            expected = bucket.start + (p - before) / (bucket.percent - before) * (bucket.end - bucket.start)
            break
        before = bucket.percent
    assert histogram.percentile(p) == pytest.approx(expected, rel=1e-12)
