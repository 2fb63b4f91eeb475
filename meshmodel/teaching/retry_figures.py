"""Figures of the chapter on retries: ten calls try by try, the two clocks, the back-off, the words, the product over hops.

Each figure has its numbers from a function of its own, which the console shares and a test holds against a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from meshmodel.analytic.retries import amplification as product
from meshmodel.analytic.retries import backoff_distribution
from meshmodel.results.trace import Trace
from meshmodel.rules import retries as rules
from meshmodel.rules import timeouts
from meshmodel.rules.outcomes import PER_TRY_TIMEOUT
from meshmodel.scenario import Route
from meshmodel.teaching.canvas import COLOUR, INK, LETTERS, SMALL, WIDTH, bar, canvas, key, named, said_apart, say, seconds
from meshmodel.teaching.palette import troubled
from meshmodel.teaching.picture import Picture

Call = tuple[int, float]
"""A recorded call: code, seconds."""

# --- ten calls ------------------------------------------------------------------------------


def tries(trace: Trace) -> pd.DataFrame:
    """The tries of the last hop, seconds from the start of their request: request, start, end, back_off, outcome, role, well, beside.

    well: answered with less than 400; beside: the try before it was still under way, as in a hedge.
    """
    table = trace.attempts[trace.attempts.hop == trace.attempts.hop.max()]
    calls = trace.requests.set_index("request")
    bad = troubled(trace.scenario)
    answered = table.outcome.str.isdigit()
    left = (table.outcome == "") | ((table.outcome == "abandoned") & (table.request.map(calls.code) != -1))  # of a hedge, the try that lost
    role = np.where(~answered, "proxy", np.where(table.endpoint.isin(bad), "troubled", "healthy"))
    begin = table.start.fillna(table.chosen)
    since = table.request.map(calls.start)
    end = table.end.fillna(table.request.map(calls.end))
    earlier = end.groupby(table.request).cummax().groupby(table.request).shift()
    return pd.DataFrame(
        {"request": table.request, "start": begin - since, "end": end - since, "back_off": table.back_off,
         "outcome": table.outcome.mask(left, "left behind"), "role": np.where(left, "ink", role),
         "well": answered & table.outcome.str.match("[123]"), "beside": begin < earlier}
    )  # fmt: skip


def ten_calls(trace: Trace, record: Sequence[Call] = (), name: str = "model", width: float = WIDTH) -> Picture:
    """A row a call: its tries in the pods' colours, the back-offs between them, its code; the recorded calls as diamonds.

    The record's rows are in its own order: which pod a call meets is chance, so rows do not belong together.
    """
    calls, table = trace.requests, tries(trace)
    picture, (axes,) = canvas(
        _ten_calls_say(calls, record, name), 0.3 * max(len(calls), len(record)) + 0.1, left=0.5, right=0.65, width=width
    )
    for row, (begin, end, code) in enumerate(zip(calls.start, calls.end, calls.code, strict=True)):
        axes.plot([0, end - begin], [row, row], color=INK, linewidth=1, zorder=1)
        say(axes, 1.015, row, str(code), "healthy" if code == 200 else "proxy", transform=axes.get_yaxis_transform(), fontsize=SMALL)
    row_of = {request: row for row, request in enumerate(calls.request)}
    for each in table.itertuples():
        _one_try(axes, row_of[each.request], each)
    for row, (code, took) in enumerate(record):
        face, edge = (INK, INK) if code == 200 else ("white", COLOUR["proxy"])
        axes.plot(took, row, "D", markersize=7, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=2, zorder=4)
    axes.set(ylim=(max(len(calls), len(record)) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(calls)), [str(row + 1) for row in range(len(calls))])
    named(axes, "seconds since the call began")
    words = [("answer", "healthy"), ("failed or slow pod", "troubled"), ("proxy gave up", "proxy")]
    key(axes, [*words, *([("◆ recorded (◇ error)", "record")] if record else [])])
    number = [row_of[request] + 1 for request in table.request]
    picture.tell("tries", {"call": number, "from (s)": table.start, "to (s)": table.end, "outcome": table.outcome})
    picture.tell("calls", {"call": range(1, len(calls) + 1), "seconds": calls.end - calls.start, "code": calls.code})
    if record:
        picture.tell("recorded calls", {"seconds": [took for _, took in record], "code": [code for code, _ in record]})
    picture.alt_text = _ten_calls_text(calls, table, record, name)
    return picture


def _one_try(axes, row, each) -> None:
    if each.back_off > 0 and not each.beside:
        axes.plot([each.start - each.back_off, each.start], [row, row], ":", color=INK, linewidth=3, zorder=2)
    if each.end - each.start > 0.002:
        high = 0.3 if each.beside else 0.62
        bar(axes, [row + 0.48 * each.beside], [each.start], [each.end], each.role, high, hatched=not each.well, zorder=3)
    else:
        axes.plot(each.start, row, "x", color=COLOUR[each.role], markersize=9, markeredgewidth=2.6, zorder=5, clip_on=False)


def _ten_calls_say(calls: pd.DataFrame, record: Sequence[Call], name: str) -> str:
    good = calls.code == 200
    again = int((good & (calls.attempts > 1)).sum())
    said = f"{name.capitalize()}: {int(good.sum())} of {len(calls)} calls succeed" + (f", {again} of them at a later try" if again else "")
    return said + (f"; recorded: {sum(code == 200 for code, _ in record)}" if record else "")


def _ten_calls_text(calls: pd.DataFrame, table: pd.DataFrame, record: Sequence[Call], name: str) -> str:
    count = table.groupby("request").outcome.agg(", then ".join)
    rows = [f"{code} ({count.get(request, 'no try')})" for request, code in zip(calls.request, calls.code, strict=True)]
    recorded = "; recorded: " + ", ".join(f"{code} after {took:.3f} s" for code, took in record) if record else ""
    return f"{_ten_calls_say(calls, record, name)}. Call by call, with its tries: {'; '.join(rows)}{recorded}"


# --- two clocks -----------------------------------------------------------------------------

_LANE = 0.84
"""Inches of a lane: names above its bars, what came of it below."""


class Span(NamedTuple):
    """A part of a request's life: try number (0, 1, ...), seconds, and what it was."""

    number: int
    start: float
    stop: float
    what: str


@dataclass(frozen=True)
class Clocks:
    """What becomes of one request: its spans, when its caller hears, which code, and which clock ended it ("" or a field's name)."""

    spans: tuple[Span, ...]
    end: float
    code: int
    ended_by: str
    timeout: float | None = None

    @property
    def well(self) -> bool:
        """Whether the caller has a good answer some time."""
        return self.code < 400 and bool(np.isfinite(self.end))


def clocks(
    answers: Sequence[tuple[float, int]],
    attempts: int,
    per_try: float | None,
    timeout: float | None,
    retry_on: str = "5xx",
    base: float = 0.025,
) -> Clocks:
    """The rules of `rules.timeouts` and `rules.retries` with plain numbers: try k meets a pod that takes answers[k] (seconds, code).

    The last pod is met by all further tries; back-offs are as long as they can be.  None: no timeout of that kind.
    """
    deadline, now, spans = timeout or np.inf, 0.0, list[Span]()
    for number in range(attempts + 1):
        took, code = answers[min(number, len(answers) - 1)]
        given_up = timeouts.attempt_deadline(now, per_try or np.inf, deadline, False)
        stop, outcome = min(now + took, given_up), code
        if now + took > given_up:
            outcome, code = timeouts.outcome_at(given_up, deadline), 504
        by = "" if now + took <= given_up else "perTryTimeout" if outcome == PER_TRY_TIMEOUT else "timeout"
        spans.append(Span(number, now, stop, by or str(code)))
        if by == "timeout" or number == attempts or not rules.covers(retry_on, (), outcome):
            return Clocks(tuple(spans), stop, code, by, timeout)
        wait = rules.longest_backoff(number + 1, base)
        spans.append(Span(number + 1, stop, min(stop + wait, deadline), "back-off"))
        if stop + wait > deadline:
            return Clocks(tuple(spans), deadline, 504, "timeout", timeout)
        now = stop + wait
    raise AssertionError("the last try returns")


def of_route(route: Route, answers: Sequence[tuple[float, int]]) -> Clocks:
    """`clocks` of a scenario's route: what its proxy was told."""
    told = route.retries
    return clocks(answers, told.attempts, told.per_try_timeout, route.timeout, ",".join(told.retry_on), told.backoff_base_interval)


def two_clocks(policies: Mapping[str, Clocks], width: float = WIDTH, says: str = "") -> Picture:
    """A lane a policy: tries and back-offs of one request, the route's timeout as a line; solid answered, hatched given up."""
    ends = [each.end for each in policies.values() if np.isfinite(each.end)]
    horizon = 1.12 * max([*ends, *(each.timeout for each in policies.values() if each.timeout), 0.1])
    good = [name for name, each in policies.items() if each.well]
    title = f"Answered in time under {', '.join(good)}" if good else "No policy leaves time for an answer"
    left = 0.35 + 0.095 * max(map(len, policies))
    picture, (axes,) = canvas(
        says or (_one_says(policies) if len(policies) == 1 else title), _LANE * len(policies), left=left, right=0.2, width=width
    )
    inch = horizon / (picture.get_figwidth() - left - 0.2)
    for lane, each in enumerate(policies.values()):
        for span in each.spans:
            _draw_span(axes, lane, span, horizon)
        _name_tries(axes, lane, each, horizon, inch)
        if each.timeout:
            axes.plot([each.timeout] * 2, [lane - 0.25, lane + 0.25], color=COLOUR["proxy"], linewidth=3, zorder=4)
        told, role = _told(each), "healthy" if each.well else "proxy"
        x, side = _beside(min(each.end, horizon), 0.09 * inch * len(told), horizon)
        say(axes, x, lane + 0.38, told, role, fontsize=SMALL, ha=side)
    axes.set(ylim=(len(policies) - 0.4, -0.55), xlim=(0, horizon))
    axes.set_yticks(range(len(policies)), list(policies))
    axes.tick_params(axis="y", labelsize=LETTERS, length=0)
    named(axes, "seconds since the request reached the proxy")
    key(axes, [("answer", "healthy"), ("try given up", "troubled"), ("back-off, at most", "ink"), ("❙ timeout", "proxy")])
    spans = [(name, span) for name, each in policies.items() for span in each.spans]
    parts = ["back-off" if span.what == "back-off" else f"try {span.number + 1}" for _, span in spans]
    when: dict[str, list[Any]] = {
        "from (s)": [s.start for _, s in spans],
        "to (s)": [s.stop for _, s in spans],
        "outcome": [s.what for _, s in spans],
    }
    picture.tell("tries and back-offs", {"policy": [name for name, _ in spans], "part": parts, **when})
    picture.alt_text = "Tries of one request on a timeline. " + "; ".join(f"{name}: {_spans_told(each)}" for name, each in policies.items())
    return picture


def _draw_span(axes, lane: int, span: Span, horizon: float) -> None:
    stop = min(span.stop, horizon)
    if span.what == "back-off":
        axes.plot([span.start, stop], [lane, lane], ":", color=INK, linewidth=4)
    elif span.stop - span.start < 0.004 * horizon:
        axes.plot(span.start, lane, "x", color=COLOUR["troubled"], markersize=10, markeredgewidth=3, clip_on=False)
    else:
        well = span.what < "400" and span.stop < np.inf
        bar(axes, [lane], [span.start], [stop], "healthy" if well else "troubled", 0.4, hatched=not well)


def _name_tries(axes, lane: int, each: Clocks, horizon: float, inch: float) -> None:
    """The tries' names above their bars: a number where there is no room for more, nothing where there is none at all."""
    free = -0.06 * inch
    for span in each.spans:
        x, number = (span.start + min(span.stop, horizon)) / 2, span.number + 1
        for text in () if span.what == "back-off" else (f"try {number}", str(number)):
            half = 0.045 * inch * len(text)
            if x - half > free:
                say(axes, x, lane - 0.34, text, ha="center", fontsize=SMALL)
                free = x + half
                break


def _beside(end: float, wide: float, horizon: float) -> tuple[float, str]:
    """Where a text so wide stands at the end of a lane: behind it, before it, or from the lane's beginning on."""
    if end + wide < horizon:
        return end, "left"
    return (end, "right") if end > wide else (0.0, "left")


def _told(each: Clocks) -> str:
    if not np.isfinite(each.end):
        return "waits for ever"
    return f"{each.code} after {seconds(each.end)}" + (f", by {each.ended_by}" if each.ended_by else "")


def _one_says(policies: Mapping[str, Clocks]) -> str:
    ((_, each),) = policies.items()
    count = 1 + max(span.number for span in each.spans if span.what != "back-off")
    return f"The caller hears {_told(each)}, {count} {'try' if count == 1 else 'tries'} made"


def _spans_told(each: Clocks) -> str:
    parts = [f"{'back-off' if s.what == 'back-off' else f'try {s.number + 1} ({s.what})'} to {s.stop:.3g} s" for s in each.spans]
    return f"{', '.join(parts)}; {_told(each)}"


# --- how long the caller can wait -----------------------------------------------------------


def longest_wait(attempts: int, per_try: float | None, timeout: float | None, base: float = 0.025) -> float:
    """Seconds after which a caller has an answer whatever the pods do: min(timeout, (1 + r) perTryTimeout + longest back-offs)."""
    waits = sum(rules.longest_backoff(k, base) for k in range(1, attempts + 1))
    return min(timeout or np.inf, (attempts + 1) * per_try + waits if per_try else np.inf)


def longest_waits(
    per_try: float, timeout: float | None, attempts: int = 2, most: int = 5, base: float = 0.025, width: float = WIDTH
) -> Picture:
    """A bar for each number of retries: tries that hang until `per_try`, the longest back-offs, and where the timeout cuts."""
    worst = longest_wait(attempts, per_try, timeout, base)
    cut = timeout is not None and worst == timeout
    says = f"{attempts} retries of {seconds(per_try)}: the caller waits {seconds(worst)} at most" + (
        ", since the timeout cuts" if cut else ""
    )
    picture, (axes,) = canvas(says, 0.42 * (most + 1) + 0.1, left=1.05, right=0.2, width=width)
    for row in range(most + 1):
        each = clocks([(np.inf, 200)], row, per_try, None, base=base)
        for span in each.spans:
            back_off = span.what == "back-off"
            role, edge = ("ink", COLOUR["ink"]) if back_off else ("model", "white")
            alpha = 1.0 if row == attempts else 0.55
            what = "back-offs" if back_off else "tries"
            bar(axes, [row], [span.start], [span.stop], role, 0.6, hatched=back_off, edgecolor=edge, alpha=alpha, label=what)
        beside = timeout if timeout and 0 <= timeout - each.end < 0.5 * per_try else each.end  # a line through a number hides it
        say(axes, beside + 0.01 * per_try, row, f" {each.end:.2f} s", fontsize=SMALL)
    if timeout:
        axes.axvline(timeout, color=COLOUR["proxy"], linewidth=3, label="timeout")
        say(axes, timeout, -0.72, f" timeout {seconds(timeout)}", "proxy", fontsize=SMALL)
    axes.set(ylim=(most + 0.5, -1.0), xlim=(0, 1.12 * longest_wait(most, per_try, None, base)))
    axes.set_yticks(range(most + 1), [f"{k} {'retry' if k == 1 else 'retries'}" for k in range(most + 1)])
    named(axes, "seconds; pods that never answer")
    key(axes, [("tries", "model"), ("longest back-offs", "ink")])
    without = longest_wait(attempts, per_try, None, base)
    picture.alt_text = f"{says}. Without the timeout it would be {without:.3f} s; with 0 to {most} retries: " + ", ".join(
        f"{longest_wait(k, per_try, None, base):.3f}" for k in range(most + 1)
    )
    return picture


# --- the back-off ---------------------------------------------------------------------------


def backoff_times(callers: int, retries: int, base: float = 0.025, seed: int = 1) -> np.ndarray:
    """Seconds at which callers who all failed at 0 send each retry, shape (retries, callers): sums of uniform back-offs."""
    bounds = np.array([rules.longest_backoff(k, base) for k in range(1, retries + 1)])
    return np.cumsum(np.random.default_rng(seed).uniform(0, bounds[:, None], (retries, callers)), axis=0)


def backoffs(callers: int = 1000, retries: int = 3, base: float = 0.025, seed: int = 1, width: float = WIDTH) -> Picture:
    """When callers who failed together come back: a dot a retry, and retries per 10 ms beside the formula and a world without jitter."""
    times = backoff_times(callers, retries, base, seed)
    bounds = tuple(rules.longest_backoff(k, base) for k in range(1, retries + 1))
    edges = np.arange(0, sum(bounds) + 0.02, 0.01)
    counts = np.array([np.histogram(row, edges)[0] for row in times])
    most = int(counts.sum(axis=0).max())
    says = f"{callers:,} callers who failed together: with jitter at most {most:,} of their retries in 10 ms, without it {callers:,}"
    if callers == 1:
        says = f"One caller comes back within {seconds(times[-1, 0])}, {seconds(sum(bounds))} at most"
    picture, (dots, rate) = canvas(says, 1.7, 1.7, width=width)
    told: dict[str, np.ndarray] = {"from (ms)": 1000 * edges[:-1]}
    for k, row in enumerate(times):
        role = _ROLES[k % 5]
        dots.plot(
            1000 * row,
            np.arange(1, callers + 1),
            ".",
            color=COLOUR[role],
            markersize=12 if callers < 30 else 5 if callers < 300 else 2.5,
            alpha=0.8,
        )
        rate.step(1000 * edges[:-1], counts[k], where="post", color=COLOUR[role], linewidth=1.8)
        cdf_at, cdf = backoff_distribution(bounds[: k + 1])
        expected = callers * np.diff(np.interp(edges, cdf_at, cdf))
        seen = expected > 0.003 * callers
        told |= {f"retry {k + 1}": counts[k], f"retry {k + 1}, formula": expected}
        rate.plot(1000 * edges[:-1][seen] + 5, expected[seen], "o", color=COLOUR[role], markersize=3.5)
    for axes in (dots, rate):
        axes.set_xlim(0, 1000 * sum(bounds) * 1.02)
    _name_retries(rate, bounds)
    dots.set_ylim(0, 1.02 * callers + 0.3)
    dots.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    rate.set_ylim(0, 1.4 * most)
    named(dots, y="callers, a dot a retry")
    named(rate, "milliseconds since the failure", "retries in 10 ms: lines drawn, dots by formula")
    picture.tell("retries in 10 ms", told)
    last = ", ".join(f"retry {k + 1} {1000 * np.median(row):.0f} ms" for k, row in enumerate(times))
    picture.alt_text = (
        f"{says}. Bounds {', '.join(f'{1000 * b:.0f}' for b in bounds)} ms; median time of {last}; the formula's dots lie on the steps"
    )
    return picture


_ROLES = ("model", "envoy", "troubled", "healthy", "proxy")
"""Of the retries, in their order."""


def _name_retries(axes, bounds: Sequence[float]) -> None:
    """The retries' names in a row above their curves, each about where it is, moved apart where they would meet."""
    apart, x = 0.64 / (axes.get_position().width * axes.get_figure().get_figwidth()), -np.inf
    for k in range(len(bounds)):
        x = max(0.5 * sum(bounds[: k + 1]) / sum(bounds), x + apart, apart / 2)
        say(axes, x, 0.92, f"retry {k + 1}", _ROLES[k % 5], ha="center", fontsize=SMALL, transform=axes.transAxes)


# --- which words retry what -----------------------------------------------------------------


def words(grid: pd.DataFrame, title: str) -> Picture:
    """Which word (rows) retries which failure (columns): a filled square for yes, a dash for no."""
    rows, columns = grid.shape
    picture, (axes,) = canvas(title, 0.36 * rows + 0.1, left=2.35, right=0.1)
    axes.spines[:].set_visible(False)
    for i, j in np.argwhere(grid.to_numpy()).tolist():
        axes.add_patch(_square(j, i))
        say(axes, j, i, "yes", color="white", ha="center", fontweight="bold", fontsize=SMALL)
    for i, j in np.argwhere(~grid.to_numpy()).tolist():
        say(axes, j, i, "–", ha="center")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set_xticks(range(columns), [str(name) for name in grid.columns])
    axes.set_yticks(range(rows), list(grid.index))
    axes.tick_params(length=0, labelsize=SMALL, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xlabel("what the pod does", color=INK, fontsize=LETTERS)
    told = [f"{name}: {', '.join(str(c) for c in grid.columns[row.to_numpy()]) or 'nothing'}" for name, row in grid.iterrows()]
    picture.tell("what is retried", {"retryOn": grid.index, **{str(name): column.to_numpy() for name, column in grid.items()}})
    picture.alt_text = f"{title}. Retried under {'; '.join(told)}"
    return picture


def _square(x: float, y: float):
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, facecolor=COLOUR["model"], edgecolor="none")


# --- the product over hops -------------------------------------------------------------------


_LINEAR = 30
"""So many attempts a request are drawn on a plain axis; more on a logarithmic one."""


def _amplified_say(hops: int, retries: int, at: float, here: float, worst: float) -> str:
    if not retries:
        return "Without retries a request is one attempt at every hop"
    each = "one hop" if hops == 1 else f"each of {hops} hops"
    who = f"{retries} {'retry' if retries == 1 else 'retries'} at {each}"
    says = f"{who}: {worst:.0f} attempts a request when all fails"
    return says if at == 1 else f"{says}, {here:.3g} at p = {at:g}"


def amplified(
    hops: int = 2, retries: int = 2, at: float = 1.0, points: Mapping[tuple[float, int], float] | None = None, width: float = WIDTH
) -> Picture:
    """Attempts at the last hop for one request against the failure probability: a line a number of hops, the engine's points on it.

    points : (failure probability, hops) -> attempts per request.
    """
    worst, here = product(1.0, [retries] * hops), product(at, [retries] * hops)
    says = _amplified_say(hops, retries, at, here, worst)
    picture, (axes,) = canvas(says, 2.7, right=0.95, width=width)
    p = np.linspace(0, 1, 201)
    labels = []
    for count in range(1, hops + 1):
        role, name = ("model", "troubled", "proxy", "envoy")[(count - 1) % 4], f"{count} {'hop' if count == 1 else 'hops'}"
        line = [product(x, [retries] * count) for x in p]
        axes.plot(p, line, color=COLOUR[role], linewidth=2.4, label=name)
        labels.append((line[-1], f"  {name}", role))
        for (x, n), measured in (points or {}).items():
            if n == count:
                look: dict[str, Any] = {"color": COLOUR[role], "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 2}
                axes.plot(x, measured, "o", clip_on=False, label=f"engine, {name}", **look)
    axes.axvline(at, color=INK, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1.005), ylim=(0, 1.08 * worst))
    if worst > _LINEAR:  # all but the worst would lie on the floor
        axes.set(yscale="log", ylim=(0.9, 1.3 * worst))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.0f}")
        axes.minorticks_off()
    if retries:
        said_apart(axes, 1.0, labels, 0.09 * worst if worst <= _LINEAR else 0.0)
    named(
        axes, "probability that an attempt fails", "attempts at the last hop for one request" + ("; circles: the engine" if points else "")
    )
    told = "; ".join(f"p {x:g}, {n} hops: formula {product(x, [retries] * n):.2f}, engine {y:.2f}" for (x, n), y in (points or {}).items())
    picture.alt_text = f"{says}. {told or 'The lines lie together while little fails and part when everything does'}"
    return picture
