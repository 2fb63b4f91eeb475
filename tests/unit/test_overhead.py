"""The overhead: said in the first line of every report, calibrated on one's own record, read from the file that calibrating wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from meshmodel.__main__ import main
from meshmodel.mesh import Mesh
from meshmodel.results.calibration import CalibrationError, calibrate
from meshmodel.results.fortio import Histogram
from meshmodel.results.overhead import OverheadError, Sourced, file_content, line, read
from meshmodel.scenario import Behaviour, Constant

SHOP = Path(__file__).parents[2] / "data" / "course" / "shop.yaml"
ONE = Path(__file__).parents[1] / "cases" / "shop-of-two" / "one.yaml"
FAULT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec:
  hosts: [payments]
  http: [{fault: {abort: {httpStatus: 503, percentage: {value: 1}}}, route: [{destination: {host: payments}}]}]
"""


def record(codes: dict[int, int] | None = None, seed: int = 1) -> Histogram:
    """Of the shop: payments takes 20 or 40 ms, and the overhead 1 ms and a lognormal of 2.3 ms; checkout's 5 ms go by meanwhile."""
    rng = np.random.default_rng(seed)
    took = rng.choice([0.02, 0.04], 3000, p=[2 / 3, 1 / 3]) + 0.001 + rng.lognormal(np.log(0.002), 0.5, 3000)
    return Histogram.from_samples(took, 0.0005, codes=codes or {200: 3000})


@pytest.fixture
def plain(tmp_path: Path) -> str:
    path = tmp_path / "plain.txt"
    path.write_text(record().run_text(), encoding="utf-8")
    return str(path)


def test_calibrating_takes_the_pods_of_the_whole_chain() -> None:
    """The mean of a record is known to 3 %: five standard errors of its 3,000 calls."""
    hops = [Behaviour(timing_50_percentile=0.005)], [Behaviour(timing_50_percentile=0.02), Behaviour(timing_50_percentile=0.04)]
    for seed in (1, 2):
        assert calibrate(record(seed=seed), *hops).mean() == pytest.approx(0.001 + 0.002 * np.exp(0.125), rel=0.03)


def test_a_pod_in_front_that_takes_as_long_as_a_whole_call_hides_the_overhead() -> None:
    last = [Behaviour(timing_50_percentile=0.02), Behaviour(timing_50_percentile=0.04)]
    with pytest.raises(CalibrationError, match="hidden"):
        calibrate(record(), [Behaviour(timing_50_percentile=0.05)], last)


def test_what_calibrate_writes_a_load_reads(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "overhead.json")
    assert main(["calibrate", plain, str(SHOP), "-o", out]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("overhead: 3.") and "checkout-v1 -> payments-v1, payments-v2" in printed and f"--overhead {out}" in printed
    mesh = Mesh(overhead=out).apply(SHOP)
    assert mesh.overhead.mean() == json.loads(Path(out).read_text())["mean"]  # type: ignore[union-attr]
    assert line(mesh.sourced_overhead()).startswith("overhead: 3.") and f"calibrated on {plain} (3,000 calls)" in line(
        mesh.sourced_overhead()
    )


@pytest.mark.parametrize("codes", [{200: 2925, 503: 75}, {200: 2999, -1: 1}])
def test_a_record_with_errors_is_refused_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], codes: dict[int, int]) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(record(codes).run_text(), encoding="utf-8")
    assert main(["calibrate", str(path), str(SHOP)]) == 2
    assert f"of {min(codes, key=lambda code: codes[code])} among its 3000 calls" in capsys.readouterr().err
    assert main(["calibrate", str(path), str(SHOP), "--anyway"]) == 0


def test_a_mesh_with_faults_is_refused_unless_told(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault = tmp_path / "fault.yaml"
    fault.write_text(FAULT, encoding="utf-8")
    assert main(["calibrate", plain, str(SHOP), str(fault)]) == 2
    assert "has an injected fault" in capsys.readouterr().err
    failing = tmp_path / "failing.yaml"
    failing.write_text(SHOP.read_text().replace("value: 40ms}", 'value: 40ms}, {name: ERROR_RATE, value: "0.1"}'), encoding="utf-8")
    assert main(["calibrate", plain, str(failing)]) == 2
    assert "pod payments-v2-1 fails" in capsys.readouterr().err


def test_a_record_that_is_faster_than_the_pods_is_refused() -> None:
    with pytest.raises(CalibrationError, match="fastest"):
        calibrate(record(), [Behaviour(timing_50_percentile=0.005)], [Behaviour(timing_50_percentile=0.03)])


def test_the_first_line_says_what_overhead_is_in_it_and_where_from(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(ONE), "-c", "2", "-t", "5s"]
    for given, said in {
        (): "overhead: 54.9 ms on average, 99 % below",
        ("--overhead", "3ms"): "overhead: 3 ms, as given",
        ("--overhead", "0"): "overhead: none, as given",
    }.items():
        assert main([*words, *given]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert first.startswith("overhead: ") and first.startswith(said.split(",")[0].split(":")[0])
        assert ("tutorial's ROUND_ROBIN record, not on this mesh" in first) == (not given) and (not given or first == said)
        assert main([*words, *given, "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out)["overhead"]["source"] in first


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "must be an object"),
        ("{}", "overhead: must be an object"),
        ('{"overhead": {"distribution": "gamma"}}', "distribution: must be lognorm"),
        ('{"overhead": {"distribution": "lognorm", "s": 0, "loc": 0, "scale": 1}}', "s: must be more than zero"),
        ('{"overhead": {"distribution": "lognorm", "s": 99, "loc": 0, "scale": 1}}', "s: must be at most 5"),
        ('{"overhead": {"seconds": -1}}', "seconds: must be a number, zero or more"),
    ],
)
def test_a_file_that_holds_no_overhead_is_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OverheadError, match=complaint) as caught:
        read(path)
    assert "bad.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_constant_is_kept_as_well(tmp_path: Path) -> None:
    path = tmp_path / "constant.json"
    path.write_text(json.dumps(file_content(Constant(0.002), "mine", 5, ())), encoding="utf-8")
    assert read(path) == Sourced(Constant(0.002), f"calibrated on mine (5 calls), of {path}")
