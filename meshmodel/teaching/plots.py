"""Figures of replays and records: what was recorded, what the model predicts, who answered when.

Every function returns a `Picture` on the chapters' one ground (`canvas`).  Times are seconds on every axis; a predictive band holds
95 % of the replications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from meshmodel._text import label
from meshmodel.results import fortio
from meshmodel.results.compare import FIGURES, binned, recorded_figure
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Estimate, Outcome, Replay
from meshmodel.teaching.canvas import COLOUR, FAINT, INK, WIDTH, bar, bare_picture, beside, canvas, key, named, said_apart, say
from meshmodel.teaching.overlays import estimated, figures_told, overlay, sides
from meshmodel.teaching.palette import troubled
from meshmodel.teaching.picture import Picture, Shown, image_html, show

__all__ = [
    "Picture",
    "Shown",
    "bare_picture",
    "image_html",
    "interval_plot",
    "overlay",
    "percentile_curve",
    "series",
    "shares",
    "show",
    "timeline",
]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")
SIDES = ("model", "envoy", "healthy", "troubled", "proxy")
"""The roles of several outcomes in one figure, in their order."""
_ROLES_OF = {"200": "healthy", "503": "proxy", "envoy": "proxy", "-1": "ink", "nobody": "ink"}
_OTHERS = ("model", "envoy", "troubled", "guess")

MOST_BARS = 1500
"""How many requests a timeline draws at most."""


# --- one replication, request by request ------------------------------------------------


def timeline(replay: Replay, i: int = 0, seconds: float = 5.0, *, width: float = WIDTH) -> Picture:
    """One lane per pod, one bar per request from its start to its answer, of the first `seconds` of replication `i`.

    Requests that a pod has at the same time are stacked: a slow pod is seen to hold the
    connections.  An answer other than 200 is hatched.  At most `MOST_BARS` requests are drawn.
    """
    table = replay.requests_table(i)
    table = table[table["start"] < seconds].head(MOST_BARS)
    pods = [*replay.pod_names, *(["envoy"] if (table["endpoint"] == "envoy").any() else [])]
    lanes = {pod: table[table["endpoint"] == pod] for pod in pods}
    stacks = {pod: _stack(mine["start"].to_numpy(), mine["latency"].to_numpy()) for pod, mine in lanes.items()}
    busy = {pod: mine["latency"].clip(upper=seconds - mine["start"]).sum() / seconds for pod, mine in lanes.items()}
    most = max(pods, key=lambda pod: busy[pod])
    says = f"{most} has {busy[most]:.1f} of {sum(busy.values()):.1f} requests under way, on average"
    high = max(1.2, 0.17 * sum(depth for _, depth in stacks.values()) + 0.2 * len(pods))
    picture, (axes,) = canvas(says, high, left=beside(pods), width=width)
    base, ticks, bad = 0.0, [], troubled(replay.scenario)
    for pod, mine in lanes.items():
        row, depth = stacks[pod]
        role = "proxy" if pod == "envoy" else "troubled" if pod in bad else "healthy"
        _requests(axes, base + row + 0.5, mine, role, 0.004 * seconds)
        axes.axhspan(base - 0.2, base + depth + 0.2, facecolor=FAINT, linewidth=0)
        ticks.append(base + depth / 2)
        base += depth + 0.9
    axes.set_yticks(ticks, map(label, pods))
    axes.set(xlim=(0, seconds), ylim=(base - 0.5, -0.4))
    named(axes, "time (s): a bar is one request, from its start to its answer")
    codes = [code for code in sorted(table["code"].unique().tolist()) if code != 200]
    if codes:
        key(axes, [("200", "healthy"), (f"hatched: {', '.join(map(str, codes))}", "ink")])
    columns = {"answered by": table["endpoint"], "from (s)": table["start"], "to (s)": table["start"] + table["latency"]}
    picture.tell("requests", columns | {"code": table["code"]})
    told = [f"{pod} {len(mine)} requests, {busy[pod]:.1f} at a time on average" for pod, mine in lanes.items()]
    picture.alt_text = f"Timeline of the first {seconds:g} s of replication {i}: " + "; ".join(told)
    return picture


def _requests(axes: Axes, y: np.ndarray, table: Any, role: str, gap: float) -> None:
    """Bars with a gap after each, so that one request is told from the next."""
    start, latency = table["start"].to_numpy(), table["latency"].to_numpy()
    stop, well = start + np.maximum(latency - gap, 0.5 * latency), (table["code"] == 200).to_numpy()
    bar(axes, y[well], start[well], stop[well], role, 0.86, linewidth=0)
    bar(axes, y[~well], start[~well], stop[~well], role, 0.86, hatched=True)


def _stack(start: np.ndarray, latency: np.ndarray) -> tuple[np.ndarray, int]:
    """The first free row for each request (in order of start), and how many rows that takes."""
    free_at: list[float] = []
    rows = np.zeros(len(start))
    for k, (begin, took) in enumerate(zip(start, latency, strict=True)):
        row = next((r for r, free in enumerate(free_at) if free <= begin), len(free_at))
        free_at[row : row + 1] = [begin + took]
        rows[k] = row
    return rows, max(1, len(free_at))


# --- over time --------------------------------------------------------------------------


def series(replay: Replay, bin: float = 1.0, *, width: float = WIDTH) -> Picture:
    """Answers per second by code and by Deployment, and how many pods are ejected: means over replications."""
    table = replay.series(bin)
    groups = {"code ": "answers per second, by code", "endpoint ": "answers per second, by who answered"}
    names = {prefix: [column for column in table if column.startswith(prefix)] for prefix in groups}
    ejected = bool(table["ejected"].any())
    totals = table.sum()
    answers = totals[names["code "]]
    says = f"{100 * totals.get('code 200', 0.0) / max(1e-9, answers.sum()):.1f} % of the answers are 200"
    right = beside([column.partition(" ")[2] for column in table])
    picture, panels = canvas(says, 1.5, 1.5, *[1.0] * ejected, right=right, gap=0.5, width=width)
    for axes, (prefix, title) in zip(panels, groups.items(), strict=False):
        lines = {column.removeprefix(prefix): (table.index + bin / 2, table[column] / bin) for column in names[prefix]}
        _over_time(axes, lines, len(table) * bin)
        named(axes, "time (s)" if axes is panels[-1] else "", title)
    if ejected:
        panels[2].step(table.index + bin, table["ejected"], color=COLOUR["proxy"], linewidth=1.8, label="ejected")
        panels[2].set(xlim=(0, len(table) * bin), ylim=(0, None))
        named(panels[2], "time (s)", "pods ejected")
    said = [f"{column} {totals[column]:.0f}" for columns in names.values() for column in columns]
    said += [f"at most {table['ejected'].max():.1f} pods ejected"] * ejected
    picture.alt_text = f"Answers over {len(table) * bin:g} s, mean of {replay.replications} replications, in all: " + ", ".join(said)
    return picture


def _over_time(axes: Axes, lines: Mapping[str, tuple[Any, Any]], end: float) -> None:
    """Lines of one panel, each named where it ends."""
    others, top = cycle(_OTHERS), 1.1 * max(1e-9, *(float(y.max()) for _, y in lines.values()))
    ends, every = [], max(1, max(len(x) for x, _ in lines.values()) // 12)
    for k, (name, (x, y)) in enumerate(lines.items()):
        role = _ROLES_OF[name] if name in _ROLES_OF else next(others)
        style: dict[str, Any] = {"marker": MARKERS[k % len(MARKERS)], "markevery": (k % every, every), "markersize": 5}
        axes.plot(x, y, color=COLOUR[role], linewidth=1.8, label=label(name), **style)
        ends.append((float(y.iloc[-1]), f" {label(name)}", role))
    axes.set(xlim=(0, end), ylim=(0, top))
    said_apart(axes, end, ends, 0.14 * top)


# --- percentiles, engines, shares -------------------------------------------------------


def percentile_curve(replay: Replay, recorded: Histogram | None = None, *, width: float = WIDTH, height: float = 2.6) -> Picture:
    """Latency against percentile as fortio interpolates it: predictive band, mean, and the record."""
    replay, record, resolution = sides(replay, recorded)
    percents = np.append(np.arange(1.0, 100.0), 99.9)
    values = fortio.percentiles(replay.bucket_counts, replay.min, replay.max, percents, resolution)
    lo, hi = np.nanquantile(values, [0.025, 0.975], axis=1)
    mean = np.nanmean(values, axis=1)
    picture, (axes,) = canvas(
        f"Half of the model's requests take at most {mean[49]:.3f} s, 99 % at most {mean[98]:.2f} s", height, width=width
    )
    axes.fill_between(percents, lo, hi, color=COLOUR["model"], alpha=0.35, linewidth=0, label="model, 95 % of runs")
    axes.plot(percents, mean, color=COLOUR["model"], linewidth=1.8, label="model, mean")
    if record:
        axes.plot(percents, record.percentile(percents), color=INK, linestyle="--", linewidth=1.8, label="recorded")
    axes.set(xlim=(0, 100), ylim=(0, None))
    named(axes, "percent of requests at most as slow", "latency (s)")
    say(axes, 0.03, 0.92, "model: mean, 95 % of runs", "model", transform=axes.transAxes)
    if record:
        say(axes, 0.03, 0.8, "dashed: recorded", transform=axes.transAxes)
    picture.alt_text = "Percentile curve. " + figures_told(replay, estimated(replay, replay), record)
    return picture


def interval_plot(
    outcomes: Mapping[str, Outcome], recorded: Histogram, figures: Sequence[str] = FIGURES, *, width: float = WIDTH
) -> Picture:
    """Several engines side by side: each figure's mean and 95 % interval relative to the record (1 on the axis)."""
    resolution = recorded.table_resolution()
    known = {name: binned(outcome, resolution).figures() for name, outcome in outcomes.items()}
    ratios = {name: _over_record(of, recorded, figures) for name, of in known.items()}
    farthest = max(abs(ratio[0] - 1) for ratio in (ratio for of in ratios.values() for ratio in of.values()))
    says = f"No figure is farther from the record than {100 * farthest:.0f} %"
    picture, (axes,) = canvas(says, 0.3 + 0.26 * len(figures) * max(2, len(outcomes)), left=beside(figures), width=width)
    for k, (name, of) in enumerate(ratios.items()):
        offset, colour = (k - (len(outcomes) - 1) / 2) * 0.7 / len(outcomes), COLOUR[SIDES[k % len(SIDES)]]
        mean, lo, hi = np.array(list(of.values())).reshape(-1, 3).T
        y = np.array([figures.index(figure) for figure in of]) + offset
        axes.plot(mean, y, MARKERS[k % len(MARKERS)], color=colour, markersize=7, label=label(name))
        axes.hlines(y, lo, hi, color=colour, linewidth=2.4, label=f"{label(name)}, 95 % of runs")
    axes.axvline(1, color=INK, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(figures)), map(label, figures))
    axes.set(ylim=(len(figures) - 0.5, -0.5))
    named(axes, "predicted / recorded (1 is the record)")
    key(axes, [(label(name), SIDES[k % len(SIDES)]) for k, name in enumerate(outcomes)])
    said = [f"{name}: " + ", ".join(f"{figure} {ratio[0]:.2f}" for figure, ratio in of.items()) for name, of in ratios.items()]
    picture.alt_text = "Predicted over recorded. " + "; ".join(said)
    return picture


def _over_record(known: Mapping[str, Estimate], recorded: Histogram, figures: Sequence[str]) -> dict[str, np.ndarray]:
    """(mean, from, to) of each figure that is known, over the record's."""
    return {figure: np.array(known[figure]) / recorded_figure(recorded, figure) for figure in figures if figure in known}


def shares(
    outcomes: Outcome | Mapping[str, Outcome], by: str = "endpoints", recorded: Mapping[Any, int] | None = None, *, width: float = WIDTH
) -> Picture:
    """Share of the requests by who answered (`endpoints`), by `codes`, or upstream `attempts` per request; with 95 % intervals.

    `recorded` holds counts by the same names (those of a curl loop).
    """
    kinds = {"endpoints": "endpoint_shares", "codes": "code_shares", "attempts": "attempt_shares"}
    if by not in kinds:
        raise ValueError(f"by: must be one of {', '.join(kinds)}, got {by!r}")
    of = outcomes if isinstance(outcomes, Mapping) else {outcomes.engine: outcomes}
    found = {name: {str(key): e for key, e in getattr(outcome, kinds[by])().items()} for name, outcome in of.items()}
    counted = {str(key): count / max(1, sum(recorded.values())) for key, count in recorded.items()} if recorded else {}
    names = sorted({key for each in found.values() for key in each} | set(counted))
    says = _shares_say(found, by)
    picture, (axes,) = canvas(says, 0.2 + 0.3 * len(names) * (len(found) + bool(counted)), left=beside(names), width=width)
    said = [_draw_group(axes, k, len(found), name, each, names) for k, (name, each) in enumerate(found.items())]
    if counted:
        axes.plot(list(counted.values()), [names.index(key) for key in counted], "D", color=INK, markersize=8, label="recorded")
        said.append("recorded: " + ", ".join(f"{key} {value:.3f}" for key, value in counted.items()))
    axes.set_yticks(range(len(names)), map(label, names))
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, None))
    named(axes, "attempts per request" if by == "attempts" else "share of requests")
    key(axes, [*((label(name), SIDES[k % len(SIDES)]) for k, name in enumerate(found)), *[("◆ recorded", "ink")] * bool(counted)])
    picture.alt_text = f"{says}. {'; '.join(said)}"
    return picture


def _shares_say(found: Mapping[str, Mapping[str, Estimate]], by: str) -> str:
    """The greatest of the means, over all outcomes."""
    means: dict[str, list[float]] = {}
    for of in found.values():
        for name, estimate in of.items():
            means.setdefault(name, []).append(estimate.mean)
    if by == "attempts":
        tries = means["per_request"]
        return f"A request is tried {_between(tries, 1, 2)} times on average"
    if not means:
        return "Nobody answers"
    most = max(means, key=lambda name: max(means[name]))
    does = "answers" if by == "endpoints" else "is the answer to"
    return f"{label(most)} {does} most, {_between(means[most], 100, 0)} % of the requests"


def _between(values: Sequence[float], unit: float, digits: int) -> str:
    return " to ".join(dict.fromkeys(f"{unit * end:.{digits}f}" for end in (min(values), max(values))))


def _draw_group(axes: Axes, k: int, groups: int, name: str, of: Mapping[str, Estimate], names: Sequence[str]) -> str:
    """The bars of one outcome, hollow and hatched but for the first's, and below each the interval of 95 % of its runs."""
    y = np.array([names.index(name) for name in of]) + (k - (groups - 1) / 2) * 0.8 / groups
    mean, lo, hi = np.array(list(of.values())).T
    colour = COLOUR[SIDES[k % len(SIDES)]]
    look: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "hatch": HATCHES[k % len(HATCHES)]} if k else {"facecolor": colour}
    axes.barh(y - 0.06 / groups, mean, 0.56 / groups, label=label(name), **look)
    axes.hlines(y + 0.32 / groups, lo, hi, color=colour, linewidth=2.4, label=f"{label(name)}, 95 % of runs")
    return f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in zip(of, mean, strict=True))
