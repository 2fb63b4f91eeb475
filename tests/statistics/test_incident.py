"""An incident, as somebody new would meet it: two Services as people write them, a record with 2.5 % of 503, and one command."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from meshmodel.__main__ import main
from meshmodel.mesh import Mesh
from meshmodel.results.replay import Replay

SHOP = Path(__file__).parents[2] / "data" / "course"
STARTED = "Starting at 400 qps with 40 thread(s) [gomax 8] for 5s : 50 calls each (total 2000)\n"


def recorded(mesh: Mesh, seed: int) -> Replay:
    """The cluster's stand-in: one run of the mesh, with an overhead that whoever reads the record does not know."""
    return mesh.fortio_load(40, 400, "5s", replications=1, seed=seed, target="checkout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """plain.txt from before the rule came, incident.txt from after it: fortio has 40 connections, the rule lets 39 requests through."""
    from scipy import stats

    folder = tmp_path_factory.mktemp("incident")
    cluster = Mesh(overhead=stats.lognorm(s=0.5, loc=0.001, scale=0.002)).apply(SHOP / "shop.yaml")
    (folder / "plain.txt").write_text(STARTED + recorded(cluster, 11).histogram(0).run_text(), encoding="utf-8")
    ill = recorded(cluster.apply(SHOP / "shop-limit.yaml"), 12).histogram(0)
    assert ill.codes[503] / ill.count == pytest.approx(0.025, abs=0.005)
    (folder / "incident.txt").write_text(STARTED + ill.run_text(), encoding="utf-8")
    return folder


def test_the_report_says_why_and_what_to_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, incident, overhead, page = (str(folder / name) for name in ("plain.txt", "incident.txt", "overhead.json", "report.html"))
    files = [str(SHOP / "shop.yaml"), str(SHOP / "shop-limit.yaml")]
    assert main(["calibrate", plain, files[0], "--target", "checkout", "-o", overhead]) == 0
    capsys.readouterr()
    words = ["--target", "checkout", "--record", incident, "--overhead", overhead, "--slo", "p99<300ms,errors<0.1%"]
    assert main(["report", *files, *words, "--replications", "40", "-o", page]) == 0
    out = capsys.readouterr().out
    assert out.startswith("overhead: 3.") and "plain.txt" in out.splitlines()[0]
    assert re.search(r"The model: 2\.[45]\d % of the requests fail", out)
    assert re.search(r"The record: 2\.[3-7]\d % of 2,000 requests failed, as this mesh does by itself", out)
    assert "calls to checkout: refused by a limit of the connection pool (503, flag UO)" in out
    assert "To meet the objective: DestinationRule checkout: http2MaxRequests 39 -> 78." in out
    told = html.unescape(Path(page).read_text(encoding="utf-8"))
    assert "http2MaxRequests: 78" in told and "This is enough" in told and "Beside the record incident" in told
    assert "40 connections, 400 requests a second asked for, 5 s" in told  # which no flag said: the record did
