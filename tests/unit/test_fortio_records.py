"""Records as people keep them: of any resolution, with logs, prefixes and colours, several in a file, of gRPC."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from meshmodel.results.fortio import TABLE, FortioError, Histogram, read_record, read_records

CASES = Path(__file__).parents[1] / "cases"
TEXTS = CASES / "fortio-text-errors-section"
PLAIN = (TEXTS / "record-first-line-plain.txt").read_text(encoding="utf-8")
LOG = (
    '{"ts":1704746942.92735,"level":"warn","r":13,"file":"http_client.go","line":1104,"msg":"Non ok http code","code":503}',
    "05:25:34 W http_client.go:693> Parsed non ok code 503 (HTTP/1.1 503)",
    "20:41:47.123 r7 [WRN] http_client.go:1104> Non ok http code",
    "\x1b[36m20:41:47 I periodic.go:723> \x1b[0mT001 ended after 34.0563ms : 3 calls. qps=88.0894283876992",
    "2025-04-22T12:00:31.838827230Z\tinfo\txdsproxy\tconnected to upstream",
    "2017/07/04 15:49:17 T001 ended after 5.076985609s : 10 calls. qps=1.9696727093874258",
)


def written(folder: Path, text: str) -> Path:
    path = folder / "record"
    path.write_text(text, encoding="utf-8")
    return path


def samples(seed: int, scale: float) -> np.ndarray:
    return scale * np.random.default_rng(seed).lognormal(2.5, 0.8, 2000)


@pytest.mark.parametrize("resolution", [0.00005, 0.0002, 0.00025, 0.003, 0.000125, 0.0007, 0.02, 2.5, 0.0001, 0.001, 1e-6])
def test_the_resolution_of_a_record_is_found_whatever_it_is(resolution: float) -> None:
    for seed in range(5):
        record = Histogram.from_samples(samples(seed, resolution), resolution)
        assert record.table_resolution() == resolution
        assert Histogram.from_text(record.to_text()).table_resolution() == pytest.approx(resolution, rel=1e-6)
        assert Histogram.from_json(record.to_json()).table_counts(resolution).sum() == 2000


def test_buckets_of_no_table_are_refused() -> None:
    record = Histogram.from_samples(samples(1, 0.001)).to_json()
    record["DurationHistogram"]["Data"][2]["End"] *= 1.01
    record["DurationHistogram"]["Data"][3]["Start"] *= 1.01
    del record["DurationHistogram"]["Percentiles"]
    with pytest.raises(FortioError, match="of no table"):
        Histogram.from_json(record).table_resolution()


def test_the_records_of_istios_own_benchmarks() -> None:
    record = read_record(CASES / "fortio-json-fine-resolution" / "record.json")
    assert record.table_resolution() == 0.00005 and record.count == 240_000
    assert record.load == {"connections": 16, "qps": 1000.0, "duration": 240.0}
    assert np.isin(np.round(record.ends[:-1] / 0.00005), TABLE).all()


@pytest.mark.parametrize("name", ["record", "record-first-line-plain", "record-sleep-histogram"])
def test_a_text_is_read_among_the_logs_of_a_pod(name: str) -> None:
    record = read_record(TEXTS / f"{name}.txt")
    assert (record.count, record.max, record.codes) == (20, 0.013544634, {200: 15, 503: 5})
    assert record.load == {"connections": 2, "qps": 0.0, "calls": 20}


def test_log_lines_stand_anywhere(tmp_path: Path) -> None:
    """200 ways to strew five lines of six logs over an output, also between buckets."""
    rng, lines = random.Random(1), PLAIN.splitlines()
    for _ in range(200):
        strewn = list(lines)
        for line in rng.sample(LOG, 5):
            strewn.insert(rng.randrange(len(strewn) + 1), line)
        assert read_record(written(tmp_path, "\n".join(strewn))) == Histogram.from_text(PLAIN)


@pytest.mark.parametrize(
    "prefix",
    ["2025-04-22T12:00:{:02d}.838827230Z ", "[pod/fortio-7d9/fortio] ", "2025-04-22T12:00:{:02d}.83Z fortio ", "fortio-1  | ", "   ", "\t"],
)
def test_what_kubectl_and_others_put_before_each_line_is_left_out(tmp_path: Path, prefix: str) -> None:
    text = "\n".join(prefix.format(i % 60) + line for i, line in enumerate(PLAIN.splitlines()))
    record = read_record(written(tmp_path, text))
    assert record == Histogram.from_text(PLAIN) and record.codes == {200: 15, 503: 5} and record.load["connections"] == 2


def test_a_line_among_logs_is_named_by_its_number_in_the_file() -> None:
    text = "\n".join((LOG[0], LOG[1], PLAIN.replace("0.0045 , 30.00, 1", "0.0045 , 30.00, 2")))
    with pytest.raises(FortioError, match="x line 18: counts sum to 21"):
        Histogram.from_text(text, "x")


@pytest.mark.parametrize("between", ["", "\n", LOG[0] + "\n"])
def test_several_texts_in_one_file(tmp_path: Path, between: str) -> None:
    other = PLAIN.replace("Code 200 : 15 (75.0 %)\nCode 503 : 5 (25.0 %)", "Code 200 : 20 (100.0 %)")
    path = written(tmp_path, between.join((PLAIN, other, PLAIN)))
    assert [record.codes for record in read_records(path)] == [{200: 15, 503: 5}, {200: 20}, {200: 15, 503: 5}]
    with pytest.raises(FortioError, match="a second"):
        read_record(path)


def test_several_bare_blocks_in_one_file(tmp_path: Path) -> None:
    blocks = [Histogram.from_samples(samples(seed, 0.001)) for seed in range(3)]
    assert read_records(written(tmp_path, "".join(block.to_text() for block in blocks)))[2].to_text() == blocks[2].to_text()


@pytest.mark.parametrize("indent", [None, 2])
def test_results_among_lines_of_logs(tmp_path: Path, indent: int | None) -> None:
    results = [Histogram.from_samples(samples(seed, 0.001), codes={200: 2000}) for seed in range(3)]
    lines = [LOG[0], "Fortio 1.60.3 running", *(json.dumps(result.to_json(), indent=indent) for result in results), LOG[1]]
    assert read_records(written(tmp_path, "\n".join(lines))) == results
    assert read_records(written(tmp_path, json.dumps([result.to_json() for result in results], indent=indent))) == results
    assert read_record(tmp_path / "record") == results[0]


def test_logs_alone_are_no_record(tmp_path: Path) -> None:
    for lines in (LOG[:1] * 3, LOG, ("{", *LOG)):
        with pytest.raises(FortioError, match="record"):
            read_records(written(tmp_path, "\n".join(lines)))


def test_a_grpc_run_has_words_for_codes(tmp_path: Path) -> None:
    text = PLAIN.replace("Code 200 : 15 (75.0 %)\nCode 503 : 5 (25.0 %)", "Health SERVING : 15\nHealth ERROR : 5")
    record = Histogram.from_text(text)
    assert record.codes == {"SERVING": 15, "ERROR": 5} and record.statuses == {}
    assert Histogram.from_text(record.run_text()).codes == record.codes
    result = record.to_json() | {"RunType": "GRPC Health for ''"}
    assert Histogram.from_json(result).codes == record.codes
    with pytest.raises(FortioError, match="sum to 19"):
        Histogram.from_text(text.replace("ERROR : 5", "ERROR : 4"))
