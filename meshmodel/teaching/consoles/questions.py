"""The consoles of the questions that people really ask, of formulas and rules alone."""

from __future__ import annotations

from meshmodel.teaching.consoles import Console, Result, Settings, Slider, table
from meshmodel.teaching.questions import (
    ENOUGH,
    broken,
    calls_to_tell,
    chance_to_tell,
    failing_share,
    interval,
    stuck_failing,
    would_calls_show,
)


def ten_curls() -> Console:
    """Calls against the chance to tell two shares apart, and the interval beside the count."""
    controls = [
        Slider("share", "what really fails", 33, least=1, most=99, unit="%"),
        Slider("other", "to be told from", 17, least=1, most=99, unit="%"),
        Slider("calls", "calls in the loop", 10, least=2, most=200),
    ]
    presets = {
        "a third or a sixth": {"share": 33, "other": 17, "calls": 10},
        "two policies": {"share": 14, "other": 33, "calls": 50},
        "the load test": {"share": 33, "other": 17, "calls": 200},
    }
    return Console("Would ten curls have shown it?", controls, ten_curls_of, presets=presets, tutorial={"calls": 10}, replications=None)


def ten_curls_of(s: Settings, _: int) -> Result:
    """What `ten_curls` shows."""
    share, other, calls = s.share / 100, s.other / 100, int(s.calls)
    chance, needed = chance_to_tell(calls, share, other), calls_to_tell(share, other, most=2000)
    count = round(share * calls)
    low, high = interval(count, calls)
    rows = [
        ("chance that this loop tells them apart", f"{chance:.0%}"),
        (f"calls for a chance of {ENOUGH:.0%}", f"{needed:,}" if needed else "more than 2,000"),
        (f"what {count} of {calls} leaves possible", f"{low:.0%} \N{EN DASH} {high:.0%}"),
    ]
    return Result(
        figure=lambda width: would_calls_show(share, other, calls, width=width),
        status=f"{calls} calls tell {s.share:g} % from {s.other:g} % in {chance:.0%} of the loops",
        table=table(("", "value"), rows, no=[0] if chance < ENOUGH else []),
        beside="the exact binomial test at 5 %",
        data=(chance, needed),
    )


def why_stuck() -> Console:
    """`maxEjectionPercent` by pods, without and with a panic threshold."""
    controls = [
        Slider("failing", "pods that always fail", 50, least=10, most=100, step=10, unit="%"),
        Slider("threshold", "minHealthPercent", 50, least=0, most=100, step=10, unit="%"),
    ]
    return Console("Why is it stuck failing?", controls, why_stuck_of, tutorial={"threshold": 0}, replications=None)


def why_stuck_of(s: Settings, _: int) -> Result:
    """What `why_stuck` shows."""
    failing, threshold = s.failing / 100, int(s.threshold)
    rows = [
        (
            f"{n} pods, {broken(n, failing)} of them fail",
            *(f"{failing_share(n, broken(n, failing), p, threshold):.0%}" for p in (10, 50, 100)),
        )
        for n in (1, 3, 5, 10)
    ]
    return Result(
        figure=lambda width: stuck_failing(failing, threshold, width=width),
        status=f"of three pods, {rows[1][1]} of the requests fail for good at maxEjectionPercent 10, {rows[1][3]} at 100",
        table=table(("fail for good at maxEjectionPercent", "10", "50", "100"), rows),
        beside="Envoy's rules, from version 1.28 on",
        data=rows,
    )
