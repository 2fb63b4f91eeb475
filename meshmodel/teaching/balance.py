"""Who answered, and which percentiles are slow: two strips a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from meshmodel._text import label
from meshmodel.evidence import catalogue, records
from meshmodel.results.fortio import Histogram
from meshmodel.results.replay import Outcome, Replay
from meshmodel.teaching.canvas import COLOUR, INK, SMALL, WIDTH, canvas, key, named, say
from meshmodel.teaching.palette import BLACK, ROLES, look, troubled
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

NEEDLES = (50, 75, 90, 99)
HIGH = 1.5
"""Inches of one policy's two strips."""

_FAST, _SLOW = ROLES["healthy"].light, ROLES["troubled"].light


class Case(NamedTuple):
    """Shares of one pod: the model's, (replications,); a real Envoy's, one a run; and the recorded one."""

    model: np.ndarray
    envoy: list[float]
    recorded: float


def which_percentile_lies(replays: Mapping[str, Replay], *, width: float = WIDTH) -> Picture:
    """For each policy who answered, and all requests from the fastest to the slowest with p50 to p99 stuck into them.

    The needles stand still, the step from fast to slow moves: a percentile jumps when the step passes it.
    """
    says = _seen_from(replays)
    picture, panels = sheet(says, width, *[HIGH] * len(replays))
    width = picture.get_figwidth()
    said = [draw_strips(axes, replay, width, name) for axes, (name, replay) in zip(panels, replays.items(), strict=True)]
    for name, columns in told(replays).items():
        picture.tell(name, columns)
    picture.alt_text = f"{says}. {'; '.join(said)}"
    return picture


def first_slow(replay: Replay) -> int | None:
    """The first of p50 to p99 above the step from fast to slow; None: all are below it."""
    step = 100 * (1 - slow_share(replay))
    return next((percent for percent in NEEDLES if percent > step), None)


def finding(replay: Replay) -> str:
    """The share that meets the slow or failing pods, and from which percentile on it is seen."""
    if not troubled(replay.scenario):
        return "No pod is slower than the others: every percentile is fast"
    seen, share = first_slow(replay), 100 * slow_share(replay)
    if seen is None:
        says = "not even p99 shows it"
    else:
        below = [percent for percent in NEEDLES if percent < seen]
        says = f"p{below[-1]} does not show it, p{seen} does" if below else f"p{seen} shows it already"
    return f"{share:.1f} % of the requests meet the slow pod: {says}"


def _seen_from(replays: Mapping[str, Replay]) -> str:
    groups: dict[int | None, list[str]] = {}
    for name, replay in replays.items():
        groups.setdefault(first_slow(replay), []).append(label(name))
    seen = "is seen from p{} on under {}", "is not seen up to p99 under {1}"
    return f"The slow pod {'; '.join(seen[percent is None].format(percent, ', '.join(names)) for percent, names in groups.items())}"


def told(replays: Mapping[str, Replay]) -> dict[str, dict[str, list[Any]]]:
    """The strips as tables: a column a policy."""
    shares = {name: pod_shares(replay) for name, replay in replays.items()}
    pods = list(dict.fromkeys(pod for share in shares.values() for pod in share))
    values = {name: [float(np.nanmean(replay.percentile(p))) for p in NEEDLES] for name, replay in replays.items()}
    return {
        "share of the requests (%)": {"pod": pods} | {name: [100 * share.get(pod, 0) for pod in pods] for name, share in shares.items()},
        "percentiles (s)": {"percentile": [f"p{p}" for p in NEEDLES]} | values,
    }


def slow_share(replay: Replay) -> float:
    """Mean share of the attempts that the slow or failing pods got."""
    shares, bad = pod_shares(replay), troubled(replay.scenario)
    return sum(share for pod, share in shares.items() if pod in bad)


def pod_shares(replay: Replay) -> dict[str, float]:
    """Mean share of the attempts, by pod of the last route."""
    tried = replay.pod_attempts.sum(axis=1)
    return dict(zip(replay.pod_names, (tried / max(1, tried.sum())).tolist(), strict=True))


def draw_strips(axes: Axes, replay: Replay, width: float, name: str = "") -> str:
    """Both strips, in inches; returns what they say."""
    left, right = 0.8, width - 0.15
    values = {p: float(np.nanmean(replay.percentile(p))) for p in NEEDLES}
    step = 100 * (1 - slow_share(replay))
    if name:
        say(axes, 0.08, HIGH - 0.1, label(name), va="top", fontsize=10, fontweight="bold")
    _who(axes, replay, left, right, 0.98)
    _sorted(axes, values, step, left, right, 0.2)
    told = ", ".join(f"p{p} {value:.2f} s" for p, value in values.items())
    return f"{name}{': ' * bool(name)}{100 - step:.0f} % go to the slow pod, slow from p{step:.0f} on; {told}"


def _who(axes: Axes, replay: Replay, left: float, right: float, y: float) -> None:
    bad, at = troubled(replay.scenario), left
    say(axes, left - 0.08, y + 0.09, "who", ha="right", va="center", fontsize=9)
    for pod, share in pod_shares(replay).items():
        wide = share * (right - left)
        axes.barh(y, wide - 0.03, 0.2, left=at, align="edge", **look("troubled" if pod in bad else "healthy"))
        if wide > 0.42:
            say(axes, at + wide / 2, y + 0.09, f"{share:.0%}".replace("%", " %"), ha="center", va="center", fontsize=9, color=BLACK)
        at += wide


def _sorted(axes: Axes, values: Mapping[int, float], step: float, left: float, right: float, y: float) -> None:
    scale = (right - left) / 100
    say(axes, left - 0.08, y + 0.09, "how fast", ha="right", va="center", fontsize=9)
    for start, stop, role, said in ((0, step, "healthy", "fast"), (step, 100, "troubled", "slow")):
        axes.barh(y, (stop - start) * scale, 0.2, left=left + start * scale, align="edge", **look(role))
        if (stop - start) * scale > 0.4:
            say(
                axes,
                left + (start + 0.5 * min(stop - start, 40)) * scale,
                y + 0.09,
                said,
                ha="center",
                va="center",
                fontsize=9,
                color=BLACK,
            )
    for number, (percent, value) in enumerate(values.items()):
        x, high = left + percent * scale, 0.26 + 0.14 * number  # above all needles to the left
        slow = percent > step
        axes.plot([x, x], [y + 0.16, y + high], color=INK, linewidth=1.2)
        axes.plot([x], [y + high], "o", color=_SLOW if slow else _FAST, markeredgecolor=INK, markersize=6)
        say(
            axes,
            x - 0.07,
            y + high + 0.02,
            f"p{percent} {value:.2f} s",
            ha="right",
            va="center",
            fontsize=9,
            fontweight="bold" if slow else None,
        )
    say(axes, left, y - 0.04, "0 %", ha="left", va="top", fontsize=8.5)
    say(axes, right, y - 0.04, "100 % of the requests, sorted", ha="right", va="top", fontsize=8.5)


def share_by_delay(
    simulated: Mapping[float, Replay], formula: Mapping[float, Outcome], deployment: str, *, width: float = WIDTH
) -> Picture:
    """The share of a Deployment's requests against the time that its pods take: two engines, and the floor of 1/n^2 for n pods."""
    delays, pods = list(simulated), len(next(iter(simulated.values())).pod_names)
    estimates = [replay.endpoint_shares()[deployment] for replay in simulated.values()]
    exact = [formula[delay].endpoint_shares()[deployment].mean for delay in delays]
    says = f"The longer the slow pod takes, the nearer its share to 1/{pods**2}"
    picture, (axes,) = canvas(says, 2.6, width=width)
    axes.plot(delays, exact, color=COLOUR["model"], linewidth=2, label="formula")
    axes.vlines(delays, [e.lo for e in estimates], [e.hi for e in estimates], color=INK, linewidth=4, label="95 % of runs")
    axes.axhline(1 / pods**2, color=_SLOW, linestyle="--", label="the floor")
    say(axes, delays[-1], 1 / pods**2 - 0.012, f"the floor, 1/{pods**2}", "troubled", ha="right", va="top", fontsize=SMALL)
    say(axes, delays[1] + 0.08, exact[1], "line: the formula, bars: 95 % of the simulated runs", va="bottom", fontsize=SMALL)
    axes.set(ylim=(0, 0.36))
    named(axes, "time that the slow pod takes (s)", "share of its requests")
    told = ", ".join(f"{100 * e.mean:.1f} % at {delay:g} s" for delay, e in zip(delays, estimates, strict=True))
    picture.alt_text = f"The share of {deployment}: {told}; the floor is {100 / pods**2:.1f} %, and the formula agrees"
    return picture


def shares_beside(cases: Mapping[str, Case], *, width: float = WIDTH) -> Picture:
    """One share in several cases: the model's band, each run of a real Envoy as a dot, the record as a diamond."""
    title = _held(cases)
    picture, (axes,) = canvas(title, 0.5 * len(cases) + 0.1, left=0.3 + 0.095 * max(map(len, cases)), width=width)
    said = []
    for row, (name, case) in enumerate(cases.items()):
        lo, hi = np.quantile(case.model, [0.025, 0.975])
        axes.barh(row, 100 * max(hi - lo, 0.001), 0.5, left=100 * lo, color=COLOUR["model"], alpha=0.4, label="95 % of runs")
        axes.vlines(100 * case.model.mean(), row - 0.25, row + 0.25, color=COLOUR["model"], linewidth=2, label="model, mean")
        axes.plot(100 * np.array(case.envoy), np.full(len(case.envoy), row), "o", color=COLOUR["envoy"], markersize=5, label="a real Envoy")
        axes.plot([100 * case.recorded], [row], "D", color=INK, markersize=8, markerfacecolor="none", markeredgewidth=2, label="record")
        real = f", a real Envoy {100 * min(case.envoy):.1f} to {100 * max(case.envoy):.1f} %" if case.envoy else ""
        said.append(f"{name}: model {100 * lo:.1f} to {100 * hi:.1f} %{real}, recorded {100 * case.recorded:.1f} %")
    axes.set(xlim=(8, 40), ylim=(len(cases) - 0.4, -0.6))
    axes.set_yticks(range(len(cases)), list(cases))
    named(axes, "share of the slow pod (%)")
    key(axes, [("model", "model"), ("a real Envoy", "envoy"), ("\N{WHITE DIAMOND} record", "ink")])
    picture.alt_text = f"{title}. {'; '.join(said)}"
    return picture


def _held(cases: Mapping[str, Case]) -> str:
    """In which cases the recorded share is none that 95 % of the model's runs have."""
    ends = {name: np.quantile(case.model, [0.025, 0.975]) for name, case in cases.items()}
    apart = [name for name, case in cases.items() if not ends[name][0] <= case.recorded <= ends[name][1]]
    says = "The model's runs have the recorded share in"
    if not apart:
        return f"{says} all {len(cases)} cases"
    return f"{says} {len(cases) - len(apart)} of {len(cases)} cases, not with {'; '.join(apart)}"


def case(experiment: str, recorded: Histogram, replications: int = 200) -> Case:
    """What the model, the real Envoy and a record make of an experiment; `recorded` has its slow requests in its last bucket."""
    replay = catalogue.experiment(experiment).replay(replications, seed=1)
    slow = [k for k, pod in enumerate(replay.pod_names) if pod in troubled(replay.scenario)]
    runs = records.read(experiment) or []
    envoy = [run["endpoints"][replay.pod_names[slow[0]]] / sum(run["endpoints"].values()) for run in runs]
    return Case(replay.pod_attempts[slow].sum(axis=0) / replay.pod_attempts.sum(axis=0), envoy, recorded.counts[-1] / recorded.count)
