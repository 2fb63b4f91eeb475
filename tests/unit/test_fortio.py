"""fortio's formats: the tutorial's two records, fortio's rules one by one, and one clear line for what it cannot have written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from meshmodel.results import fortio
from meshmodel.results.fortio import BUCKETS, FortioError, Histogram, percentiles, read_record

TUTORIAL = Path(__file__).parents[2] / "data" / "tutorial"
RECORDS = ["round-robin", "least-conn"]

LEAST_CONN = """\
Aggregated Function Time : count 2059 avg 0.29291901 +/- 0.2905 min 0.158981541 max 1.110094875 sum 603.120249
# range, mid point, percentile, count
>= 0.158982 <= 0.2 , 0.179491 , 76.49, 1575
> 0.2 <= 0.3 , 0.25 , 86.55, 207
> 1 <= 1.11009 , 1.05505 , 100.00, 277
# target 50% 0.185784
# target 75% 0.199199
# target 90% 1.02826
# target 99% 1.10191
# target 99.9% 1.10928
"""

CONSOLE = f"""\
Fortio 1.69.5 running at 1000 queries per second, 8->8 procs, for 1m0s: http://simple-web.istioinaction.io:30000
Starting at 1000 qps with 10 thread(s) [gomax 8] for 1m0s : 6000 calls each (total 60000)
Ended after 1m0.5s : 2059 calls. qps=34.033
Sleep times : no data
{LEAST_CONN}Error cases : no data
Sockets used: 10 (for perfect keepalive, would be 10)
Code 200 : 2050 (99.6 %)
Code 500 : 9 (0.4 %)
Response Header Sizes : count 2059 avg 185 +/- 0 min 185 max 185 sum 380915
All done 2059 calls (plus 10 warmup) 292.919 ms avg, 34.0 qps
"""

SAMPLES = [0.012, 0.0125, 0.03, 0.031, 0.2, 1.5]


@pytest.mark.parametrize("name", RECORDS)
def test_the_tutorials_records_print_again_to_the_byte(name: str) -> None:
    path = TUTORIAL / f"{name}.txt"
    assert read_record(path).to_text().encode() == path.read_bytes()


@pytest.mark.parametrize("name", RECORDS)
def test_the_percentiles_that_the_tutorial_prints_follow_from_its_buckets(name: str) -> None:
    record = read_record(TUTORIAL / f"{name}.txt")
    assert len(record.targets) == 5
    for percent, printed in record.targets:
        assert f"{record.percentile(percent):.6g}" == f"{printed:.6g}"


def test_the_tutorials_buckets_are_those_of_the_web_forms_resolution() -> None:
    record = read_record(TUTORIAL / "round-robin.txt")
    assert record.table_resolution() == 1e-4
    assert record.buckets[1] == (0.2, 0.3, pytest.approx(100 * 918 / 1366), 2)
    assert (record.count, record.min, record.max) == (1366, 0.158265917, 1.05813375)
    with pytest.raises(FortioError, match="not in the table of resolution 0.001"):
        record.table_counts(1e-3)


def test_a_whole_console_output_gives_block_codes_and_rate() -> None:
    record = Histogram.from_text(CONSOLE)
    assert record.to_text() == LEAST_CONN
    assert record.codes == {200: 2050, 500: 9}
    assert record.qps == 34.033
    assert record.run_text(warmup=10) == LEAST_CONN + (
        "Code 200 : 2050 (99.6 %)\nCode 500 : 9 (0.4 %)\nAll done 2059 calls (plus 10 warmup) 292.919 ms avg, 34.0 qps\n"
    )
    assert Histogram.from_text(record.run_text()).codes == record.codes


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST_CONN.replace("\n", "\r\n").encode())
    assert read_record(path).to_text() == LEAST_CONN


def test_buckets_of_samples_on_and_between_edges() -> None:
    histogram = Histogram.from_samples([0.001, 0.0010001, 0.002, 0.012, 0.013, 0.014, 150.0])
    assert [(b.start, b.end, b.count) for b in histogram.buckets] == [
        (0.001, 0.001, 1),
        (0.001, 0.002, 2),
        (0.011, 0.012, 1),
        (0.012, 0.014, 2),
        (100.0, 150.0, 1),
    ]


def test_an_offset_shifts_the_table() -> None:
    histogram = Histogram.from_samples([0.05, 0.1, 0.1005, 0.1015], offset=0.1)
    assert [(b.start, b.end, b.count) for b in histogram.buckets] == [(0.05, 0.1, 2), (0.1, 0.101, 1), (0.101, 0.1015, 1)]


@pytest.mark.parametrize(("before", "start", "median"), [(False, 500.1, 500.2), (True, 0.1, 166.866667)])
def test_samples_all_beyond_the_table_begin_at_their_minimum_since_fortio_1_71_1(before: bool, start: float, median: float) -> None:
    """fortio's own TestPercentilesIssue1080."""
    histogram = Histogram.from_samples([500.1, 500.2, 500.3, 500.4], 1e-6, before_1_71_1=before)
    assert histogram.buckets == ((pytest.approx(start), 500.4, 100.0, 4),)
    assert histogram.percentile(50) == pytest.approx(median)
    assert percentiles([[0]] * (BUCKETS - 1) + [[4]], [500.1], [500.4], [50], 1e-6, before_1_71_1=before)[0, 0] == pytest.approx(median)
    assert Histogram.from_text(histogram.to_text()).to_text() == histogram.to_text()


def test_sums_are_added_one_after_another_as_fortio_adds_them() -> None:
    samples = np.random.default_rng(1).exponential(0.1, 10_000)
    total = squares = 0.0
    for sample in samples.tolist():
        total += sample
        squares += sample * sample
    histogram = Histogram.from_samples(samples)
    assert total != samples.sum(), "else this test shows nothing"
    assert histogram.sum == total
    assert histogram.std == math.sqrt((squares - total * total / len(samples)) / len(samples))


def test_percentile_by_hand() -> None:
    histogram = Histogram.from_samples([0.0101, 0.0109, 0.0205, 0.03])  # (10, 11] holds 50 %, (20, 25] 75 %, (25, 30] 100 %
    assert histogram.percentile(10) == histogram.percentile(25) == 0.0101
    assert histogram.percentile(37.5) == pytest.approx((0.0101 + 0.011) / 2)
    assert histogram.percentile(60) == pytest.approx(0.020 + 0.4 * 0.005)
    assert histogram.percentile(100) == 0.03
    assert histogram.percentile([[25, 100]]).tolist() == [[0.0101, 0.03]]


def test_samples_print_as_fortio_would() -> None:
    histogram = Histogram.from_samples([0.0101, 0.0109, 0.0205, 0.03], codes={200: 3, 503: 1}, qps=2.5)
    assert histogram.run_text() == (
        "Aggregated Function Time : count 4 avg 0.017875 +/- 0.008109 min 0.0101 max 0.03 sum 0.0715\n"
        "# range, mid point, percentile, count\n"
        ">= 0.0101 <= 0.011 , 0.01055 , 50.00, 2\n"
        "> 0.02 <= 0.025 , 0.0225 , 75.00, 1\n"
        "> 0.025 <= 0.03 , 0.0275 , 100.00, 1\n"
        "# target 50% 0.011\n"
        "# target 75% 0.025\n"
        "# target 90% 0.028\n"
        "# target 99% 0.0298\n"
        "# target 99.9% 0.02998\n"
        "Code 200 : 3 (75.0 %)\n"
        "Code 503 : 1 (25.0 %)\n"
        "All done 4 calls (plus 0 warmup) 17.875 ms avg, 2.5 qps\n"
    )


def test_moments_are_those_of_the_samples() -> None:
    histogram = Histogram.from_samples(SAMPLES)
    assert histogram.mean == pytest.approx(np.mean(SAMPLES))
    assert histogram.std == pytest.approx(np.std(SAMPLES))
    assert histogram.sum == pytest.approx(np.sum(SAMPLES))


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0.158265917, "0.158265917"), (1.0, "1"), (5.2e-05, "5.2e-05"), (0.0001, "0.0001"), (100000.0, "100000"), (1234567.5, "1.2345675e+06"),
     (0.0, "0"), (1e-9, "1e-09"), (99.9, "99.9")],
)  # fmt: skip
def test_floats_print_as_in_go(value: float, printed: str) -> None:
    assert fortio._go_g(value) == printed


def test_no_samples_print_as_no_data_and_have_no_percentile() -> None:
    empty = Histogram.from_samples([])
    assert empty.to_text() == "Aggregated Function Time : no data\n"
    assert Histogram.from_text(empty.to_text()) == empty == Histogram.from_json(empty.to_json())
    assert np.isnan(empty.percentile(50))
    assert empty.run_text().endswith("All done 0 calls (plus 0 warmup) 0.000 ms avg\n")


def test_a_result_file_keeps_its_other_keys_and_their_order(tmp_path: Path) -> None:
    loaded = {"Labels": "mine", **Histogram.from_samples(SAMPLES, codes={200: 5, 503: 1}, qps=7.5).to_json(), "Sockets": [1, 2]}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(loaded, indent=1))
    record = read_record(path)
    assert json.dumps(record.to_json()) == json.dumps(loaded)
    assert (record.codes, record.qps) == ({200: 5, 503: 1}, 7.5)
    assert Histogram.from_json(path) == record


def test_a_bare_duration_histogram_is_enough() -> None:
    whole = Histogram.from_samples(SAMPLES)
    assert Histogram.from_json(whole.to_json()["DurationHistogram"]) == whole


def test_pooling_two_halves_gives_the_whole() -> None:
    whole = Histogram.from_samples(SAMPLES, codes={200: 6})
    pooled = Histogram.pool([Histogram.from_samples(SAMPLES[:2], codes={200: 2}), Histogram.from_samples(SAMPLES[2:], codes={200: 4})])
    assert pooled.to_text() == whole.to_text()
    assert pooled.codes == {200: 6}


def test_a_histogram_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Histogram.from_samples(SAMPLES).counts[0] = 7


def changed(old: str, new: str) -> str:
    assert LEAST_CONN.count(old) >= 1
    return LEAST_CONN.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: empty"),
        ("hello\n", "x: no line 'Aggregated Function Time"),
        (LEAST_CONN + LEAST_CONN, "x line 11: a second"),
        (LEAST_CONN[:60], "x line 1: not 'Aggregated"),
        (LEAST_CONN[:111], "x line 2: expected '# range"),
        (LEAST_CONN[:149], "x line 3: no buckets"),
        (LEAST_CONN[:170], "x line 3: not as fortio prints it"),
        ("".join(LEAST_CONN.splitlines(keepends=True)[:4]), "x line 4: counts sum to 1782, header says 2059"),
        (changed("0.25 , 86.55, 207", "0.25 , 86.55, 206"), "x line 5: counts sum to 2058, header says 2059"),
        (changed("86.55", "76.00"), "x line 4: percent falls from 76.49 to 76"),
        (changed("86.55", "87.55"), "x line 4: percent 87.55 is not that of the counts, 86.55"),
        (changed("avg 0.29291901", "avg NaN"), "x line 1: must be a number, zero or more, got 'NaN'"),
        (changed("max 1.110094875", "max +Inf"), "x line 1: must be a number"),
        (changed("min 0.158981541", "min -0.158981541"), "x line 1: must be a number, zero or more, got '-0.158981541'"),
        (changed("min 0.158981541", "min 1.2"), "x line 1: min 1.2 is above max"),
        (changed(" 207", " -207"), "x line 4: count must be a whole number, got '-207'"),
        (changed(" 207", " 2.07e2"), "x line 4: count must be a whole number"),
        (changed("> 0.2 <= 0.3", "> 0.3 <= 0.2"), "x line 4: edges do not ascend"),
        (changed("> 0.2 <= 0.3", "> 0.1 <= 0.3"), "x line 4: edges do not ascend"),
        (changed("sum 603.120249", "sum 603.1"), "x line 1: sum 603.1 is not count times avg"),
        (changed("+/- 0.2905", "+/- 0.4905"), "x line 1: standard deviation 0.4905 cannot be"),
        (changed("avg 0.29291901", "avg 0.92919010").replace("sum 603.120249", "sum 1913.202416"), "x line 1: sum 1913.20242 cannot be"),
        (changed("avg 0.29291901", "avg 1.2"), "x line 1: avg 1.2 is not between"),
        (changed("<= 1.11009", "<= 1.2"), "x line 5: ends at 1.2, header says max"),
        (changed("90% 1.02826", "90% 0.1"), "x line 8: 90% is 0.1, but the buckets give 1.02826"),
        (LEAST_CONN[:-4], "x line 10: 99.9% is 1.1, but"),
        (LEAST_CONN + "Code 200 : 17 (100.0 %)\n", "x line 11: counts of the codes sum to 17, header says 2059"),
        (LEAST_CONN + "Code 200 : 1000 (48.6 %)\nCode 200 : 1059 (51.4 %)\n", "x line 12: the code 200 stands twice"),
        (LEAST_CONN + "Code 200 : 2059 (99.0 %)\n", "x line 11: 99 % is not that of 2059 among 2059"),
        (LEAST_CONN + f"Code {'9' * 5000} : 2059 (100.0 %)\n", "x line 11: not 'Code 200 : N (P %)'"),
        (LEAST_CONN + "Code 200 : many (100.0 %)\n", "x line 11: count must be a whole number, got 'many'"),
        (LEAST_CONN + "Code 200 : 2059\n", "x line 11: not 'Code 200 : N (P %)'"),
        (LEAST_CONN + "All done 2058 calls (plus 10 warmup) 292.919 ms avg, 34.0 qps\n", "x line 11: 2058 calls, the histogram has 2059"),
        (LEAST_CONN + "All done 2059 calls (plus 10 warmup) 293.919 ms avg\n", "x line 11: 293.919 ms is not the histogram's average"),
        (LEAST_CONN + "All done 2059 calls (plus 10 warmup) 292.919 ms avg, inf qps\n", "x line 11: must be a number"),
        (LEAST_CONN + "> 0.2 <= 0.3 , 0.25 , 86.55, 207\n", "x line 11: a bucket outside of a histogram"),
        (LEAST_CONN + "\n# target 50% 0.2\n", "x line 12: a target outside of a histogram"),
        (LEAST_CONN + "# range, mid point, percentile, count\n", "x line 11: a '# range' below no"),
        ("Aggregated Function Time : no data\n> 0.2 <= 0.3 , 0.25 , 86.55, 207\n", "x line 2: a bucket outside"),
        ("Aggregated Function Time : no data\nCode 200 : 5 (100.0 %)\n", "x line 1: counts of the codes sum to 5, header says 0"),
        ("Aggregated Function Time : no data\nAll done 5 calls (plus 0 warmup) 0.000 ms avg\n", "x line 2: 5 calls, the histogram has 0"),
        (changed("0.25 , 86.55", "0.26 , 86.55"), "x line 4: 0.26 is not the middle of 0.2 and 0.3"),
        (changed(">= 0.158982", ">= 0.1"), "x line 3: begins at 0.1, below the header's min 0.158982"),
        (changed("avg 0.29291901", "avg " + "1" * 20_000 + "x"), "x line 1: must be a number, zero or more, got '111"),
        (changed(" 207", " ２０７"), "x line 4: count must be a whole number"),
        (changed("max 1.110094875", "max 1e200"), "x line 1: must be a number"),
        ("a\x0bb\x0c\u2028c\n" + LEAST_CONN + "Code x\n> 1 <= 2 , 1 , 1, 1\n", "x line 13: a bucket outside"),
    ],
)  # fmt: skip
def test_a_broken_text_is_one_line_that_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(FortioError) as error:
        Histogram.from_text(text, name="x")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def good_json() -> dict:
    return Histogram.from_text(CONSOLE).to_json()


def edited(*path_and_value: object) -> dict:
    content = json.loads(json.dumps(good_json()))
    *path, last, value = path_and_value
    place = content
    for key in path:
        place = place[key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return content


H = "DurationHistogram"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "<json>: DurationHistogram: missing"),
        (edited(H, None), "<json>: DurationHistogram: must be an object, got NoneType"),
        (edited(H, "Count", KeyError), "<json>: DurationHistogram.Count: must be a whole number, zero or more, got nothing"),
        (edited(H, "Count", True), "<json>: DurationHistogram.Count: must be a whole number"),
        (edited(H, "Count", 2058), "<json>: DurationHistogram.Data[2]: counts sum to 2059, header says 2058"),
        (edited(H, "Avg", float("nan")), "<json>: DurationHistogram.Avg: must be a number"),
        (edited(H, "Min", "0.1"), "<json>: DurationHistogram.Min: must be a number, zero or more, got 0.1"),
        (edited(H, "Data", {}), "<json>: DurationHistogram.Data: must be a list"),
        (edited(H, "Data", KeyError), "<json>: DurationHistogram.Data: must be a list, got nothing"),
        (edited(H, "Data", 1, 7), "<json>: DurationHistogram.Data[1]: must be an object, got int"),
        (edited(H, "Data", 1, "Count", -207), "<json>: DurationHistogram.Data[1].Count: must be a whole number, zero or more, got -207"),
        (edited(H, "Data", 1, "Percent", 1.0), "<json>: DurationHistogram.Data[1]: percent falls"),
        (edited(H, "Data", 0, "End", 0.1), "<json>: DurationHistogram.Data[0]: edges do not ascend"),
        (edited(H, "Percentiles", 0, "Value", 0.5), "<json>: DurationHistogram.Percentiles[0]: 50% is 0.5, but"),
        (edited("RetCodes", "200", "many"), "<json>: RetCodes.200: must be a whole number"),
        (edited("RetCodes", "OK", 1), "<json>: RetCodes.OK: must be an HTTP status"),
        (edited("RetCodes", "500", 8), "<json>: RetCodes: counts of the codes sum to 2058"),
        (edited("ActualQPS", []), "<json>: ActualQPS: must be a number"),
        (edited("RetCodes", "1000", 0), "<json>: RetCodes.1000: must be an HTTP status"),
        (edited("RetCodes", "0200", 0), "<json>: RetCodes.0200: must be an HTTP status"),
        (edited(H, "Data", 0, "Start", 0.1), "<json>: DurationHistogram.Data[0]: begins at 0.1, below the header's min 0.158982"),
        (edited(H, "Data", 0, "Count", 2**63 - 1), "<json>: DurationHistogram.Data[2]: counts sum to"),
        (edited(H, "Sum", 1e300), "<json>: DurationHistogram.Sum: must be below 1e+100"),
        ({H: dict.fromkeys(("Min", "Max", "Sum", "Avg", "StdDev"), 0) | {"Count": 2, "Data": None}}, f"<json>: {H}: counts sum to 0"),
    ],
)  # fmt: skip
def test_a_broken_json_is_one_line_that_names_the_field(content: dict, message: str) -> None:
    with pytest.raises(FortioError) as error:
        Histogram.from_json(content)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"%PDF-1.7\n\xe2\xe3", "a PDF, not a fortio record"),
        (b"\x89PNG\r\n\x1a\n", "not text (byte 0 is not UTF-8)"),
        (b"Aggregated\0", "not text (byte 10 is zero)"),
        (b" \n", "empty"),
        (b'{"DurationHistogram": ', "line 1: not JSON"),
        (b'{"a":\n' + b"[" * 100_000, " line 2: not JSON that anybody writes: nested more than 60 levels"),
        (b'{"a": 1,\n"Count": ' + b"9" * 5000 + b"}", " line 2: not JSON: a number of more than 64 bits, got '9999"),
        (b'{"a": 1,\n"Count": NaN}', " line 2: not JSON: no number, got 'NaN'"),
        (b'{"a": 1,\n"Count": -1e999}', " line 2: not JSON: a number too large, got '-1e999'"),
        (b'{"DurationHistogram": {"Count": 1, "Count": 2}}', "'Count': stands twice in one object"),
        (b'{"RetCodes": {"200": 1, "200": 1}}', "'200': stands twice in one object"),
        (b'{"a\\u001b[31m": 1, "a\\u001b[31m": 2}', r"'a\x1b[31m': stands twice"),
        (b'{"' + b'\\"' * 100_000, "line 1: not JSON"),
        (b"[]", "must be a JSON object"),
        (b'[{"fortio": 3}]', "fortio: must be a JSON object, got 3"),
        (b'{"fortio": {}}', "fortio: DurationHistogram: missing"),
    ],
)
def test_a_file_that_is_no_record_is_named(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(raw)
    with pytest.raises(FortioError) as error:
        read_record(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value) and str(error.value).isprintable()


def test_a_record_before_1_71_1_may_begin_below_its_minimum() -> None:
    old = Histogram.from_samples([500.1, 500.2], before_1_71_1=True)
    assert Histogram.from_text(old.to_text()).to_text() == old.to_text()
    assert Histogram.from_json(old.to_json()) == old


def test_the_other_histograms_of_an_output_may_stay() -> None:
    sleep = LEAST_CONN.replace("Aggregated Function Time", "Sleep times")
    assert Histogram.from_text(sleep + "IP addresses distribution:\n" + LEAST_CONN + "# Socket\n" + sleep).to_text() == LEAST_CONN


def test_a_record_is_the_fortio_part_of_what_we_wrote(tmp_path: Path) -> None:
    path, record = tmp_path / "ours.json", Histogram.from_samples(SAMPLES)
    for content in ({"engine": "x", "fortio": record.to_json()}, [{"fortio": record.to_json()}, 7]):
        path.write_text(json.dumps(content))
        assert read_record(path) == record


def test_a_path_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(FortioError) as error:
        read_record(tmp_path / "a\x1b[31m\nb")
    assert str(error.value) == f"{tmp_path}/a\\x1b[31m\\nb: No such file or directory"
    with pytest.raises(FortioError, match=r"a\\x00b: "):
        read_record("a\0b")


def test_a_missing_file_and_a_huge_one_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FortioError, match="nothing.txt: No such file"):
        read_record(tmp_path / "nothing.txt")
    monkeypatch.setattr(fortio, "LARGEST_FILE", 100)
    with pytest.raises(FortioError, match="round-robin.txt: larger than"):
        read_record(TUTORIAL / "round-robin.txt")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_samples_that_are_no_latency_are_refused(bad: float) -> None:
    with pytest.raises(FortioError, match=r"latencies\[1\]: must be zero or more seconds"):
        Histogram.from_samples([0.1, bad])


@pytest.mark.parametrize(("resolution", "offset"), [(0, 0), (np.nan, 0), (-1, 0), (0.001, -1), (0.001, np.inf)])
def test_a_table_needs_a_positive_resolution(resolution: float, offset: float) -> None:
    with pytest.raises(FortioError, match="resolution|offset"):
        Histogram.from_samples([0.1], resolution, offset)


def test_counts_that_contradict_the_extremes_are_refused() -> None:
    counts = Histogram.from_samples(SAMPLES).table_counts()
    total, squares = sum(SAMPLES), sum(x * x for x in SAMPLES)
    assert Histogram.from_counts(counts, min(SAMPLES), max(SAMPLES), total, squares).to_text() == Histogram.from_samples(SAMPLES).to_text()
    with pytest.raises(FortioError, match="avg .* is not between"):
        Histogram.from_counts(counts, min(SAMPLES), 0.1, total, squares)
    with pytest.raises(FortioError, match="57 numbers"):
        Histogram.from_counts(counts[1:], min(SAMPLES), max(SAMPLES), total, squares)


def test_percentiles_of_many_replications_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven replications, three at once, the sixth without a request."""
    samples = np.random.default_rng(1).exponential(0.2, (40, 7))
    counts = fortio.bucket_counts(samples)
    counts[:, 5] = 0
    each = [fortio.percentiles(counts[:, [i]], samples.min(axis=0)[[i]], samples.max(axis=0)[[i]], (50, 99)) for i in range(7)]
    monkeypatch.setattr(fortio, "AT_ONCE", 3)
    together = fortio.percentiles(counts, samples.min(axis=0), samples.max(axis=0), (50, 99))
    assert np.array_equal(together, np.hstack(each), equal_nan=True) and np.isnan(together[:, 5]).all()
