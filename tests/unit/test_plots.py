"""plots: what a figure shows and says; pictures are not compared pixel by pixel."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from meshmodel.results.compare import compare
from meshmodel.results.fortio import Histogram
from meshmodel.results.log import Ejections
from meshmodel.teaching import canvas, overlays, plots
from tests import letters

from .synthetic import replay

MOST_BYTES = 120_000


@pytest.fixture(scope="module")
def model():
    return replay(40, seed=1, p_error=0.1)


@pytest.fixture(scope="module")
def record():
    return replay(1, seed=50).histogram(0)


def every_picture(model, record):
    return {
        "overlay": plots.overlay(compare(model, record)),
        "overlay without record": plots.overlay(model),
        "timeline": plots.timeline(model, 3, seconds=8.0),
        "series": plots.series(model),
        "percentile curve": plots.percentile_curve(model, record),
        "intervals": plots.interval_plot({"a": model, "b": replay(20, seed=2)}, record),
        "shares": plots.shares({"a": model}, recorded={"simple-backend-1": 14, "simple-backend-2": 36}),
        "codes": plots.shares(model, by="codes"),
    }


def shape(picture):
    return matplotlib.image.imread(io.BytesIO(picture.png())).shape[:2]


def test_a_name_is_no_formula(model, record):
    """matplotlib would set what stands between dollar signs, and fail where it is no formula."""
    outcomes = {"a$\\frac{x$b\n": model}
    for picture in (plots.interval_plot(outcomes, record), plots.shares(outcomes, recorded={"$\\frac{$": 3})):
        assert picture.png() and picture.alt_text.isprintable() and r"a$\frac{x$b\n" in picture.alt_text


def test_every_picture_is_small_reproducible_named_and_not_blank(model, record):
    again = every_picture(model, record)
    for name, picture in every_picture(model, record).items():
        data, metadata = picture._repr_mimebundle_()
        assert len(data["text/html"]) < MOST_BYTES, name
        assert picture.png() == again[name].png(), name
        pixels = matplotlib.image.imread(io.BytesIO(picture.png()))
        assert pixels[..., :3].std() > 0.05, name
        assert len(picture.alt_text) > 40 and "\n" not in picture.alt_text, name
        assert repr(plots.show(picture)) == data["text/plain"] == metadata["image/png"]["alt"] == picture.alt_text


def test_html_carries_the_accessible_name_escaped():
    piece = plots.image_html(b"x", 'a "quoted" <name>')
    assert piece.startswith('<div role="img" aria-label="a &quot;quoted&quot; &lt;name&gt;">')


def test_no_picture_touches_pyplot():
    code = "import sys, meshmodel.teaching.plots as p; p.bare_picture().png(); sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_bucket_is_a_column_and_the_axis_is_broken_only_where_some_are_left_out():
    starts, ends = np.array([0.15, 0.2, 1.0]), np.array([0.2, 0.3, 1.06])
    axis = overlays._Columns(starts, ends, 0.11)
    assert np.ptp(axis.right - axis.left) < 1e-9  # areas are shares, however wide a bucket is
    assert axis.left[1] == pytest.approx(axis.right[0]) and axis.left[2] > axis.right[1]
    assert axis((starts + ends) / 2) == pytest.approx((axis.left + axis.right) / 2)  # as fortio interpolates
    at = axis(np.linspace(0.1, 1.1, 50))
    assert (np.diff(at) >= 0).all() and at.min() >= 0.11 and at.max() <= overlays._RIGHT
    assert [(seconds, side) for _, seconds, side in axis.ticks(0.05)] == [
        (0.15, "center"), (0.2, "center"), (0.3, "right"), (1.0, "left"), (1.06, "right"),
    ]  # fmt: skip
    assert not overlays._Columns(np.array([0.15, 0.16]), np.array([0.16, 0.18]), 0.11).apart.any()


def test_overlay_draws_recorded_and_predicted_shares_where_they_belong(model, record):
    comparison = compare(model, record)
    axes = plots.overlay(comparison).axes[0]
    heights = overlays._Heights(1.0)
    recorded, band = axes.collections[0], axes.collections[1]
    tops = np.array([path.vertices[:, 1].max() for path in recorded.get_paths()])
    scale = (tops - heights(0)) / (tops - heights(0)).sum()
    assert scale == pytest.approx(record.counts / record.count, abs=0.01)
    first = band.get_paths()[0].vertices[:, 1]
    row = next(row for row in comparison.rows if row.figure.startswith("share up to"))
    unit = (tops[0] - heights(0)) / (record.counts[0] / record.count)
    assert (first.min() - heights(0)) / unit == pytest.approx(row.lo, abs=0.002)
    assert (first.max() - heights(0)) / unit == pytest.approx(row.hi, abs=0.002)


def test_overlay_onto_a_picture_leaves_nothing_of_the_old_one(model, record):
    picture = plots.overlay(compare(model, record), onto=plots.bare_picture())
    other = replay(20, seed=4, slow=0.6)
    assert plots.overlay(other, onto=picture) is picture
    assert picture.png() == plots.overlay(other, onto=plots.bare_picture()).png()


def test_overlay_needs_samples_and_a_record(model):
    from meshmodel.results.compare import compare_counts

    with pytest.raises(ValueError, match="overlay: needs"):
        plots.overlay(compare_counts(replay_of_ten(), {200: 10}))


def replay_of_ten():
    from .synthetic import curl

    return curl(20, seed=1, p_error=0.0)


def test_timeline_has_one_bar_for_each_request_and_never_two_at_one_place(model):
    picture = plots.timeline(model, 2, seconds=6.0)
    outlines = {part: [box for path in part.get_paths() for box in path.to_polygons()] for part in picture.axes[0].collections}
    bars = [(box.min(axis=0), box.max(axis=0)) for boxes in outlines.values() for box in boxes]
    table = model.requests_table(2)
    assert len(bars) == (table["start"] < 6.0).sum()
    rows: dict[float, list[tuple[float, float]]] = {}
    for low, high in bars:
        rows.setdefault(round(low[1], 6), []).append((low[0], high[0]))
    for spans in rows.values():
        spans.sort()
        assert all(after[0] >= before[1] - 1e-9 for before, after in zip(spans, spans[1:], strict=False))
    hatched = [len(boxes) for part, boxes in outlines.items() if part.get_hatch()]
    assert sum(hatched) == ((table["start"] < 6.0) & (table["code"] != 200)).sum()
    assert "simple-backend-1-a" in picture.alt_text and shape(picture)[0] > 250


def test_stack_uses_the_first_free_row():
    rows, depth = plots._stack(np.array([0.0, 0.1, 0.5, 0.6]), np.array([0.4, 1.0, 0.2, 0.05]))
    assert rows.tolist() == [0, 1, 0, 2] and depth == 3


def test_series_shows_ejections_only_where_there_are_any(model):
    out = Ejections(np.array([0, 0]), np.array([2.0, 7.0]), np.array([0, 0]), np.array([True, False]))
    assert len(plots.series(model).axes) == 2
    ejected = plots.series(replay(1, seed=1, ejections=out))
    assert len(ejected.axes) == 3 and "at most 1.0 pods ejected" in ejected.alt_text


def test_shares_names_what_it_can_show(model):
    with pytest.raises(ValueError, match="by: must be one of endpoints, codes, attempts"):
        plots.shares(model, by="pods")


def test_a_single_latency_can_be_drawn():
    constant = replay(3, seed=1, duration=1.0, p_slow=1.0)
    constant.log.latency[:] = np.where(np.isnan(constant.log.latency), np.nan, 1.0)
    assert plots.overlay(constant, Histogram.from_samples([1.0, 1.0])).png()


@pytest.mark.parametrize("width", [canvas.WIDTH, 3.9])
def test_letters_are_read_on_a_phone(model, record, width):
    for name, picture in {
        "overlay": plots.overlay(compare(model, record), width=width),
        "shares": plots.shares(model, width=width),
    }.items():
        picture.png()
        assert letters.smallest(picture)[0] >= letters.LEAST, name


@pytest.mark.parametrize(("wide", "points"), [(7.5, 11), (6.4, 9)])
def test_a_wide_figure_with_small_letters_is_found(wide, points):
    picture = plots.Picture(figsize=(wide, 2))
    picture.text(0.5, 0.5, "small", fontsize=points)
    picture.text(0.5, 0.2, "large", fontsize=20)
    found = letters.smallest(picture)
    assert found == (pytest.approx(points * 380 / (72 * wide)), "small") and found[0] < letters.LEAST
