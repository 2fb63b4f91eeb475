"""The ejection clock: a lane a pod, healthy, failing or out, and what the caller saw meanwhile."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from meshmodel._text import label
from meshmodel.results.replay import Replay
from meshmodel.rules import ejection as rules
from meshmodel.scenario import OutlierDetection
from meshmodel.teaching.canvas import FAINT, INK, WIDTH, say
from meshmodel.teaching.palette import ROLES, fails, look
from meshmodel.teaching.picture import Picture
from meshmodel.teaching.sheet import sheet

LANE = 0.36
_FINE, _BAD = ROLES["healthy"].light, ROLES["proxy"].light
_LEFT, _RIGHT = 1.4, 0.15
"""Inches left and right of what is drawn over time."""
_LETTER = 0.08
"""Inches of a letter in a bar."""
_LENS = (-0.6, 2.4)
"""Seconds around a return that the lens shows."""


class Stay(NamedTuple):
    """A pod (its number) out from `start` to `stop`, seconds; `back`: it came back before the end."""

    pod: int
    start: float
    stop: float
    back: bool


def multipliers(mine: list[Stay], rule: OutlierDetection) -> list[int]:
    """By how many baseEjectionTimes each stay of one pod is meant to last: one more each time, one less at a tick that finds it in."""
    host, found, since = rules.Host(), [], 0.0
    for stay in mine:
        for _ in range(int((stay.start - since) // rule.interval)):  # a return is a tick itself
            rules.tick(host, rule, stay.start)
        rules.eject(host, rule, stay.start)
        found.append(host.multiplier)
        rules.readmit(host)
        since = stay.stop
    return found


def stays(replay: Replay, i: int = 0) -> list[Stay]:
    """Every ejection of one replication, in order."""
    end, out, found = float(replay.elapsed[i]), {}, []
    mine = replay.ejections.replication == i
    for time, pod, gone in zip(*(getattr(replay.ejections, name)[mine].tolist() for name in ("time", "pod", "ejected")), strict=True):
        if gone:
            out[pod] = time
        elif pod in out:
            found.append(Stay(pod, out.pop(pod), time, True))
    return sorted([*found, *(Stay(pod, start, end, False) for pod, start in out.items())], key=lambda stay: stay.start)


def ejection_clock(replay: Replay, i: int = 0, *, cursor: float | None = None, width: float = WIDTH) -> Picture:
    """One replication: lanes of the pods, the caller's 500s, the ticks of the interval, and the first return under a lens."""
    says, high = finding(replay, i), height(replay)
    picture, (axes,) = sheet(says, width, high)
    width = picture.get_figwidth()
    picture.alt_text = f"{says}. {draw_clock(axes, replay, i, cursor, width)}"
    for name, columns in told(replay, i).items():
        picture.tell(name, columns)
    left, scale, _ = _span(replay, i, width)
    picture.seconds, picture.upright = lambda seconds: left + scale * seconds, (1.6 / high, 1.0)
    return picture


def height(replay: Replay) -> float:
    """Inches that the clock takes."""
    return LANE * len(replay.pod_names) + 2.35


def finding(replay: Replay, i: int = 0) -> str:
    """Who is ejected how often in one replication, and how many errors its caller sees all the same."""
    found, end = stays(replay, i), float(replay.elapsed[i])
    out, errors = sorted({stay.pod for stay in found}), int((replay.log.code[:, i] >= 500).sum())
    who = "No pod is" if not out else f"{label(replay.pod_names[out[0]])} is" if len(out) == 1 else f"{len(out)} pods are"
    often = "" if not found else " once" if len(found) == 1 else f" {len(found)} times"
    seen = "one error" if errors == 1 else f"{errors} errors"
    return f"{who} ejected{often} in {end:.0f} s; the caller sees {seen}"


def around_return(replay: Replay, i: int = 0, *, width: float = WIDTH) -> Picture:
    """The first return of a pod under the lens: every call near it, and the window in which the workers still use the pod."""
    returned = next(stay.stop for stay in stays(replay, i) if stay.back)
    near = _near(replay, i, returned)
    after = [code for start, code in zip(*near.values(), strict=True) if start >= 0]
    says = f"Of the {len(after)} calls in the {_LENS[1]:g} s after the first return {sum(code >= 500 for code in after)} fail"
    picture, (axes,) = sheet(says, width, 1.35)
    rule = replay.scenario.routes[-1].destinations[0].cluster.outlier_detection
    picture.alt_text = f"{says}. {_lens(axes, replay, i, returned, rule, 0.4, _LEFT, picture.get_figwidth() - _RIGHT)}"
    picture.tell("calls around the return", near)
    return picture


def told(replay: Replay, i: int = 0) -> dict[str, dict[str, list[Any]]]:
    """The clock as tables: who is out when, the caller's 500s, and the calls under the lens."""
    found, failed = stays(replay, i), np.sort(replay.log.start[replay.log.code[:, i] >= 500, i])
    ends = {"from (s)": [stay.start for stay in found], "to (s)": [stay.stop if stay.back else np.nan for stay in found]}
    tables: dict[str, dict[str, list[Any]]] = {"out": {"pod": [replay.pod_names[stay.pod] for stay in found], **ends}}
    tables |= {"the caller's 500s": {"number": list(range(1, len(failed) + 1)), "seconds": failed.tolist()}}
    returned = [stay.stop for stay in found if stay.back]
    return {name: columns for name, columns in tables.items() if next(iter(columns.values()))} | (
        {"calls around the first return": _near(replay, i, returned[0])} if returned else {}
    )


def _near(replay: Replay, i: int, returned: float) -> dict[str, list[Any]]:
    start, code = replay.log.start[:, i] - returned, replay.log.code[:, i]
    near = np.flatnonzero((start >= _LENS[0]) & (start <= _LENS[1]) & (code > 0))
    near = near[np.argsort(start[near], kind="stable")]
    return {"seconds after the return": start[near].tolist(), "code": code[near].tolist()}


def _span(replay: Replay, i: int, width: float) -> tuple[float, float, float]:
    """Inches at which the time axis begins, inches a second, and inches at which it ends."""
    left, right = _LEFT, width - _RIGHT
    return left, (right - left) / float(replay.elapsed[i]), right


def draw_clock(axes: Axes, replay: Replay, i: int, cursor: float | None, width: float) -> str:
    """The clock in inches; returns what it says."""
    found, end = stays(replay, i), float(replay.elapsed[i])
    left, scale, right = _span(replay, i, width)
    rule = replay.scenario.routes[-1].destinations[0].cluster.outlier_detection
    base = 1.8
    asked = replay.log.code[:, i] >= 500
    failed = np.sort(replay.log.start[asked, i])
    line = np.nan if cursor is None else left + min(cursor, end) * scale
    said = [
        _lane(axes, replay, pod, found, rule, base + LANE * (len(replay.pod_names) - 1 - pod), left, scale, end, line)
        for pod in range(len(replay.pod_names))
    ]
    top = base + LANE * len(replay.pod_names) + 0.12
    say(axes, left - 0.08, top, "the caller's 500s", ha="right", va="center", fontsize=9)
    axes.plot(left + failed * scale, np.full(len(failed), top), "o", color=_BAD, markersize=3.6, alpha=0.8)
    _time(axes, found, rule, base, left, right, scale, end)
    if cursor is not None:
        axes.plot([line, line], [base - 0.1, top + 0.15], color=INK, linewidth=1.6)
        side = "center" if left + 0.5 < line < right - 0.6 else "right" if line > left + 0.5 else "left"
        say(axes, line, top + 0.17, f"istioctl at {min(cursor, end):g} s", ha=side, va="bottom", fontsize=8.5)
    returned = next((stay.stop for stay in found if stay.back), None)
    if returned is not None:
        said.append(_lens(axes, replay, i, returned, rule, 0.35, left, right))
    return f"Timetable of {end:.0f} s: " + "; ".join(said) + f"; the caller saw {len(failed)} answers of 500 or more"


def _lane(
    axes: Axes, replay: Replay, pod: int, found: list[Stay], rule: OutlierDetection | None, y: float, left: float, scale: float, end: float,
    line: float,
) -> str:  # fmt: skip
    name = replay.pod_names[pod]
    behaviour = next(e.behaviour for e in replay.scenario.routes[-1].endpoints if e.name == name)
    say(axes, left - 0.08, y + 0.12, label(name), ha="right", va="center", fontsize=9)
    mine = [stay for stay in found if stay.pod == pod]
    begins, stops = np.array([0.0, *(stay.stop for stay in mine)]), np.array([*(stay.start for stay in mine), end])
    style = look("troubled" if fails(behaviour) else "healthy")
    axes.barh(np.full(len(begins), y), (stops - begins) * scale, 0.24, left=left + begins * scale, align="edge", **style)
    for stay, times in zip(mine, multipliers(mine, rule) if rule else [], strict=True):
        _stay(axes, stay, times, y, (left + stay.start * scale, left + stay.stop * scale), line)
    return f"{name} out {len(mine)} times" if mine else f"{name} never out"


def _stay(axes: Axes, stay: Stay, times: int, y: float, ends: tuple[float, float], line: float) -> None:
    """A bar between two `ends`, and in it what it is meant to last, beside a `line` across it."""
    start, stop = ends
    axes.add_patch(Rectangle((start, y), stop - start, 0.24, facecolor=FAINT, edgecolor=INK, linewidth=0.8))
    if start < line < stop:
        start, stop = (start, line) if line - start > stop - line else (line, stop)
    told = f"out {stay.stop - stay.start:.0f} s" if stay.back else "out"
    words = next((words for words in (f"×{times}: {told}", f"×{times}") if len(words) * _LETTER < stop - start), "")
    say(axes, (start + stop) / 2, y + 0.12, words, ha="center", va="center", fontsize=8.5)


def _time(
    axes: Axes, found: list[Stay], rule: OutlierDetection | None, y: float, left: float, right: float, scale: float, end: float
) -> None:
    axes.plot([left, right], [y - 0.08, y - 0.08], color=INK, linewidth=0.9)
    returned = next((stay.stop for stay in found if stay.back), None)
    if rule and returned is not None:
        ticks = np.arange(returned % rule.interval, end, rule.interval)
        axes.vlines(left + ticks * scale, y - 0.13, y - 0.03, color=INK, linewidth=0.7)
    step = next(s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if end / s <= 7)
    for seconds in np.arange(0, end + 1e-9, step):
        say(axes, left + seconds * scale, y - 0.16, f"{seconds:g}", ha="center", va="top", fontsize=8.5)
    say(axes, left - 0.08, y - 0.16, "time (s), ticks", ha="right", va="top", fontsize=8.5)


def _lens(axes: Axes, replay: Replay, i: int, returned: float, rule: OutlierDetection | None, y: float, left: float, right: float) -> str:
    """The moments around the first return: the window in which the workers still use the pod, every call a dot."""
    scale = (right - left) / (_LENS[1] - _LENS[0])
    start, code = replay.log.start[:, i] - returned, replay.log.code[:, i]
    near = (start >= _LENS[0]) & (start <= _LENS[1]) & (code > 0)
    window = rule.update_merge_window if rule else 0.0
    axes.add_patch(Rectangle((left, y), right - left, 0.8, facecolor="none", edgecolor=INK, linewidth=0.8))
    axes.add_patch(Rectangle((left - _LENS[0] * scale, y), window * scale, 0.8, facecolor=FAINT, edgecolor="none"))
    say(axes, left - _LENS[0] * scale + 0.05, y + 0.74, "merge window", va="top", fontsize=8.5)
    for bad, colour, marker, level in ((False, _FINE, "o", 0.22), (True, _BAD, "X", 0.42)):
        dots = start[near & ((code >= 500) == bad)]
        axes.plot(left + (dots - _LENS[0]) * scale, np.full(len(dots), y + level), marker, color=colour, markersize=5, alpha=0.8)
    say(axes, left - 0.08, y + 0.42, "500", ha="right", va="center", fontsize=9, color=_BAD)
    say(axes, left - 0.08, y + 0.22, "200", ha="right", va="center", fontsize=9)
    say(axes, left - 0.08, y + 0.7, "first return", ha="right", va="center", fontsize=9)
    for seconds in (0, 1, 2):
        say(
            axes, left + (seconds - _LENS[0]) * scale, y - 0.04, f"+{seconds} s" if seconds else "back", ha="center", va="top", fontsize=8.5
        )
    return f"after the first return, at {returned:.1f} s, {int((near & (code >= 500) & (start >= 0)).sum())} calls fail"
