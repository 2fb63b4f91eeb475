"""Two replays compared as two replays, and reports read again as the replays that they were.  Replays are made by hand."""

from __future__ import annotations

import json
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from meshmodel.__main__ import main
from meshmodel.results.compare import CompareError, compare, read_outcome
from meshmodel.results.difference import Difference, difference
from meshmodel.results.fortio import Histogram, read_record
from meshmodel.results.replay import Replay
from meshmodel.results.stored_scenario import read_scenario
from meshmodel.scenario import Scenario
from meshmodel.teaching import charts

from ..random_scenarios import scenarios
from .synthetic import replay

FALSE_ALARM = 1e-3  # of every statistical test here; seeds are fixed


def stored(folder: Path, name: str, made: Replay) -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(made.to_json(), allow_nan=False), encoding="utf-8")
    return str(path)


def short(seed: int, **options: float) -> Replay:
    return replay(40, seed=seed, duration=5.0, **options)  # type: ignore[arg-type]


# --- reports read again -----------------------------------------------------------------------


def test_a_report_is_the_replay_that_it_was(tmp_path: Path) -> None:
    made = short(1, p_error=0.05)
    again = read_outcome(stored(tmp_path, "out", made))
    assert isinstance(again, Replay) and again.scenario == made.scenario and again.to_json() == made.to_json()
    for figure in ("count", "avg", "min", "max", "p50", "p99.9", "code 500", "attempts per request", "answered by simple-backend-1"):
        np.testing.assert_allclose(again.values(figure), made.values(figure), rtol=1e-6)
    assert again.histogram(3).to_text() == made.histogram(3).to_text()
    assert again.table() == made.table()
    np.testing.assert_allclose(again.series("2s").to_numpy(), made.series("2s").to_numpy())
    assert again.bodies.keys() == made.bodies.keys() and again.with_resolution(0.0001) is again
    with pytest.raises(ValueError, match="were not kept"):
        again.with_resolution(0.001)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(scenario=scenarios())
def test_any_scenario_is_read_again(scenario: Scenario) -> None:
    plain = json.loads(json.dumps(scenario.to_json()))
    assert json.loads(json.dumps(read_scenario(plain).to_json())) == plain


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("replicas", "requests"), [], "replicas.requests"),
        (("replicas", "requests", 0), 7, "buckets: must sum"),
        (("replicas", "requests", 0), "7", "replicas.requests: must be 40 numbers"),
        (("replicas", "lowest", 3), -1, "replicas.lowest: must be 0 or more"),
        (("replicas", "answers"), [[1]], "answers: must be 5 lists"),
        (("replicas", "buckets", "99"), [0] * 40, "must be a bucket"),
        (("replicas", "resolution"), 0, "resolution: must be from"),
        (("replicas", "codes", "OK"), [0] * 40, "codes.OK: must be an HTTP status"),
        (("scenario", "routes"), [], "scenario: not as --json writes it: routes"),
        (("scenario", "routes", 0, "callers", 0, "name"), 3, "scenario: not as --json writes it: must be str"),
        (("scenario",), None, "scenario: not as --json writes it"),
    ],
)
def test_a_report_that_was_edited_is_one_line(tmp_path: Path, path: tuple, value: object, complaint: str) -> None:
    content = json.loads(json.dumps(short(1).to_json()))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CompareError, match=complaint) as caught:
        read_outcome(file)
    assert "bad.json" in str(caught.value) and "\n" not in str(caught.value)


# --- two replays ------------------------------------------------------------------------------


def test_a_replay_and_itself_do_not_differ() -> None:
    one = short(1, p_error=0.02)
    same = difference(one, one)
    assert same.paired and same.p_value == 1.0 and not any(row.clear or row.difference for row in same.rows)


def test_the_direction_is_second_minus_first() -> None:
    """The slow pod gets a third of the requests in one, 15 % in the other: fewer requests first, a longer mean."""
    slow, quick = short(1), short(2, p_slow=0.15)
    found = compare(slow, quick)
    assert isinstance(found, Difference) and not found.paired and found.p_value is not None and found.p_value < 1e-6
    assert found["count"].difference == pytest.approx(quick.requests.mean() - slow.requests.mean()) and found["count"].difference > 0
    assert found["avg"].lo < found["avg"].difference < found["avg"].hi < 0 and found["avg"].clear
    back = difference(quick, slow)
    assert back["avg"].difference == -found["avg"].difference and back["avg"].p_value == found["avg"].p_value


def test_runs_of_one_mesh_differ_by_chance_alone() -> None:
    """200 pairs of independent replays: a figure's p-value is at most 5 % in 5 % of them; chi-squared, false-alarm rate 0.1 %."""
    p = [difference(replay(15, seed=s, duration=2.0), replay(15, seed=s + 5000, duration=2.0))["avg"].p_value for s in range(200)]
    assert stats.chisquare(np.histogram(p, bins=5, range=(0, 1))[0]).pvalue > FALSE_ALARM


def test_common_random_numbers_are_paired() -> None:
    one = short(3)
    log = one.log
    slower = Replay(
        one.scenario, one.engine, changed(log, latency=log.latency + 0.001), one.pod_attempts, seed=one.seed, resolution=one.resolution
    )
    paired = difference(one, slower)["avg"]
    assert paired.difference == pytest.approx(0.001) and paired.clear and paired.hi - paired.lo < 1e-9
    apart = Replay(one.scenario, one.engine, slower.log, one.pod_attempts, seed=99, resolution=one.resolution)
    assert not difference(one, apart)["avg"].clear


def test_a_code_that_only_one_side_has_is_a_row() -> None:
    found = difference(short(1), short(1, p_error=0.1))
    assert found["code 500"].first == 0 and found["code 500"].second == pytest.approx(0.1, abs=0.02) and found["code 500"].clear
    assert "code 500" in str(found) and "10." in found.table() and "code 500" in charts.differences(found).alt_text
    for width in (3.9, 7.5):  # as narrow as a phone: no name begins outside of the figure
        picture = charts.differences(found, width=width)
        renderer = FigureCanvasAgg(picture).get_renderer()
        picture.draw(renderer)
        assert all(name.get_window_extent(renderer).x0 >= 0 for axes in picture.axes for name in axes.get_yticklabels())


def test_two_reports_are_compared_as_two_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = stored(tmp_path, "before", short(1)), stored(tmp_path, "after", short(2, p_slow=0.15, p_error=0.025))
    figure = tmp_path / "figure.png"
    assert main(["compare", first, second, "--plot", str(figure)]) == 0
    out = capsys.readouterr().out
    assert "before" in out and "after" in out and "joint p-value 0.0000" in out and "code 500" in out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", first, second, "--json", "-"]) == 0
    rows = {row["figure"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["avg"]["difference"] < 0 < rows["count"]["difference"] and rows["code 500"]["p_value"] < 1e-6
    assert main(["compare", first, first]) == 0
    assert "joint p-value 1.0000" in capsys.readouterr().out


# --- codes, and loads that differ -------------------------------------------------------------


def record_of(errors: int, load: str = "") -> Histogram:
    one = replay(1, seed=77, duration=20.0)
    latencies = one.log.latency[~np.isnan(one.log.latency)]
    codes = {200: len(latencies) - errors} | ({503: errors} if errors else {})
    return Histogram.from_text(load + Histogram.from_samples(latencies, 0.0001, codes=codes).run_text())


def test_codes_are_compared() -> None:
    model = replay(100, seed=1)
    well, ill = compare(model, record_of(0)), compare(model, record_of(12))
    assert well["code 200"].inside and well.p_value > 0.01
    assert ill["code 503"].recorded == pytest.approx(12 / record_of(12).count) and ill["code 503"].predicted == 0
    assert ill["code 503"].inside is False and ill.p_value == pytest.approx(1 / 101)
    assert "code 503" in str(ill) and "%" in next(line for line in str(ill).splitlines() if line.startswith("code 503"))


def test_a_grpc_record_says_how_many_calls_went_well() -> None:
    text = record_of(12).run_text().splitlines()
    kept = [line for line in text if not line.startswith("Code")]
    well = record_of(12).count - 12
    grpc = Histogram.from_text("\n".join([*kept[:-1], f"Health SERVING : {well}", "Health ERROR : 12", kept[-1]]))
    against = compare(replay(100, seed=1), grpc)
    assert against["code 200"].recorded == pytest.approx(well / (well + 12)) and against["other codes"].inside is False
    assert against.p_value == pytest.approx(1 / 101)


def test_loads_that_differ_are_said_first() -> None:
    load = "Starting at 500 qps with 16 thread(s) [gomax 8] for 1m0s : 1875 calls each (total 30000)\n"
    said = str(compare(replay(20, seed=1), record_of(0, load))).splitlines()[0]
    assert said == (
        "loads differ (the model and record): connections 10 and 16; qps as fast as possible and 500 a second; length 20 s and 60 s"
    )
    same = "Starting at max qps with 10 thread(s) [gomax 8] for 20s\n"
    assert str(compare(replay(20, seed=1), record_of(0, same))).startswith("figure")
    two = difference(replay(5, seed=1, duration=5.0), replay(5, seed=1, duration=6.0, connections=4))
    assert str(two).startswith("loads differ (first and second): connections 10 and 4; length 5 s and 6 s")


def test_several_records_in_one_file_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text(record_of(0).run_text() + record_of(12).run_text(), encoding="utf-8")
    both = compare(replay(100, seed=1), path)
    assert list(both) == ["two 1", "two 2"] and "code 503" in str(both)  # type: ignore[call-overload]


def test_a_record_with_codes_is_compared_with_a_stored_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.txt"
    path.write_text(record_of(12).run_text(), encoding="utf-8")
    assert read_record(path).codes[503] == 12
    assert main(["compare", stored(tmp_path, "out", replay(100, seed=1)), str(path), "--plot", str(tmp_path / "f.svg")]) == 0
    out = capsys.readouterr().out
    assert "code 503" in out and "joint p-value 0.0099" in out and out.startswith("overhead: the file does not say")
    assert b"<svg" in (tmp_path / "f.svg").read_bytes()
