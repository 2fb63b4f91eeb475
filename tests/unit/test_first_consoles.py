"""The consoles of chapters 0, 1 and 2: their functions and figures without a browser."""

from __future__ import annotations

import pytest
import yaml

from meshmodel.mesh import Mesh
from meshmodel.teaching.balance import slow_share, which_percentile_lies
from meshmodel.teaching.consoles import load_balancing, locality, microscope
from meshmodel.teaching.consoles.controls import Settings
from meshmodel.teaching.ejections import around_return, stays
from meshmodel.teaching.microscope import bucket_of
from meshmodel.teaching.zones import parts, stays_local, zones

BALANCED = Settings(policy="LEAST_REQUEST", delay=1.0, replicas=2, connections=10, istio="1.17", labels=False, seed=1)
MAPPED = Settings(
    fault="the local pod fails", neighbours=0, row=1, interval=5, base=30, percent=100, panic=False, istio="1.17", cursor=20, seed=1
)
MEDIAN = Settings(percent=50, run="ROUND_ROBIN", bins="as recorded (0.1 ms)")


def but(settings: Settings, **changed: object) -> Settings:
    return Settings(**{**vars(settings), **changed})


def sticks_out(picture) -> list[str]:
    """The texts that a picture does not hold whole; a hundredth of an inch is no matter."""
    box, renderer = picture.bbox, picture.canvas.get_renderer()
    slack = 0.03 * picture.dpi
    texts = [(text.get_text(), text.get_window_extent(renderer)) for axes in picture.axes for text in axes.texts if text.get_text()]
    return [said for said, at in texts if at.x0 < box.x0 - slack or at.x1 > box.x1 + slack or at.y0 < -slack or at.y1 > box.y1 + slack]


@pytest.mark.parametrize("width", [3.9, 7.5, 10])
@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda: load_balancing.work(BALANCED, 5), id="load balancing"),
        pytest.param(lambda: load_balancing.work(but(BALANCED, policy="RANDOM", replicas=10), 5), id="eleven pods"),
        pytest.param(lambda: locality.work(MAPPED, 2), id="map and clock"),
        pytest.param(lambda: locality.work(but(MAPPED, fault="each fifth request fails", neighbours=4), 2), id="everybody fails"),
        pytest.param(lambda: microscope.work(MEDIAN), id="microscope"),
        pytest.param(lambda: microscope.work(but(MEDIAN, percent=99.5, run="LEAST_CONN")), id="at the end"),
    ],
)
def test_every_text_of_a_figure_has_room(result, width):
    picture = result().figure(width)
    assert sticks_out(picture) == [] and picture.alt_text


# --- load balancing -------------------------------------------------------------------------


def test_the_record_follows_the_policy():
    for policy, count in (("ROUND_ROBIN", 1366), ("LEAST_REQUEST", 2059)):
        result = load_balancing.work(but(BALANCED, policy=policy), 5)
        assert result.data["count"].recorded == count and result.beside == f"the tutorial's run of {policy}"
    assert load_balancing.work(but(BALANCED, policy="RANDOM"), 5).beside == ""


@pytest.mark.parametrize(
    ("labels", "istio", "low", "high"), [(True, "1.17", 0.32, 0.35), (True, "1.24", 0.12, 0.17), (False, "1.17", 0.12, 0.17)]
)
def test_the_labels_decide_until_istio_1_24(labels, istio, low, high):
    """Bounds that the real Envoy's runs in data/envoy keep as well; 20 runs with a fixed seed."""
    replay = load_balancing.work(but(BALANCED, labels=labels, istio=istio), 20).data.outcome
    assert low < slow_share(replay) < high


def test_the_yaml_of_a_console_makes_the_same_run():
    result = load_balancing.work(but(BALANCED, delay=0.5, replicas=4), 5)
    mesh = Mesh(istio="1.17", namespace="istioinaction").apply(load_balancing.data_path("tutorial/manifests/testbed.yaml"), result.yaml)
    again = mesh.fortio_load(connections=10, replications=5, seed=1)
    assert again.values("avg").tolist() == result.data.outcome.values("avg").tolist()


def test_needles_are_slow_above_the_step():
    replay = load_balancing.work(BALANCED, 5).data.outcome
    alt = which_percentile_lies({"LEAST_REQUEST": replay}).alt_text
    assert "LEAST_REQUEST: 14 % go to the slow pod, slow from p86 on" in alt
    assert replay.percentile(75).mean() < 0.3 < replay.percentile(90).mean()


# --- the microscope -------------------------------------------------------------------------


def test_the_median_is_a_reading_off_a_straight_line():
    read, true = microscope.work(MEDIAN).data
    assert read == pytest.approx(0.189373, abs=1e-6) and 0.160 < true < 0.170


def test_fortios_text_is_marked_where_the_percentile_is_read():
    table = microscope.work(but(MEDIAN, percent=75)).table
    assert "<mark>&gt; 1 &lt;= 1.05813 , 1.02907 , 100.00, 448</mark>" in table and "<mark># target 75% 1.01382</mark>" in table
    assert table.count("<mark>") == 2


@pytest.mark.parametrize(("percent", "number"), [(1, 0), (67.05, 0), (67.1, 1), (67.3, 2), (99.5, 2)])
def test_a_percentile_lies_in_the_first_bucket_that_reaches_it(percent, number):
    assert bucket_of(load_balancing._record("ROUND_ROBIN"), percent) == number


# --- the map and the clock ------------------------------------------------------------------


def test_presets_do_what_they_are_called():
    console = locality.map_and_clock()
    start = vars(console.settings)
    found = {name: console.compute(but(Settings(**start), **values), 4).data for name, values in console.presets.items()}
    assert parts(found["everybody ejected"])["envoy"].share > 0.5
    assert parts(found["33 % of three pods, Istio 1.24"])["simple-backend-1-1"] == (1.0, 1.0)
    assert parts(found["33 % of three pods, Istio 1.17"])["simple-backend-1-1"].share < 0.05
    assert 0.6 < parts(found["half a zone gone"])["simple-backend-3-1"].share < 0.8


def test_the_map_says_zones_priorities_shares_and_errors():
    alt = zones(locality.work(MAPPED, 2).data).alt_text
    assert "simple-backend-1-1 in us-west1-a, priority 0" in alt and "100 % fail" in alt and "us-west1-b, priority 1" in alt


def test_stays_are_those_of_the_ejections():
    replay = locality.work(MAPPED, 2).data
    mine = stays(replay, 1)
    of_run = replay.ejections.replication == 1
    assert [s.start for s in mine] == replay.ejections.time[of_run & replay.ejections.ejected].tolist()
    assert [s.stop for s in mine if s.back] == replay.ejections.time[of_run & ~replay.ejections.ejected].tolist()
    assert [s.back for s in mine] == [True] * (len(mine) - 1) + [False] and "calls fail" in around_return(replay).alt_text


def test_istioctl_speaks_at_the_cursor():
    assert locality.work(MAPPED, 2).text.count("FAILED") == 1
    assert locality.work(but(MAPPED, cursor=0), 2).text.count("FAILED") == 0


def test_the_rule_to_copy_is_the_one_applied():
    rule = yaml.safe_load(locality.work(but(MAPPED, row=3, panic=True, percent=33), 1).yaml)
    assert rule["spec"]["trafficPolicy"]["outlierDetection"] == {
        "consecutive5xxErrors": 3, "interval": "5s", "baseEjectionTime": "30s", "maxEjectionPercent": 33, "minHealthPercent": 50,
    }  # fmt: skip


def test_all_of_the_load_stays_from_five_of_seven_on():
    assert "2 of 3 healthy 93 %, 5 of 7 healthy 100 %" in stays_local([(2, 3), (5, 7)]).alt_text
