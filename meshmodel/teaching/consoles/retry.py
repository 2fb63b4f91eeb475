"""The consoles of the chapter on retries: ten calls, two clocks, the back-off, and the product over hops."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from meshmodel._data import data_path
from meshmodel.analytic.retries import amplification as product
from meshmodel.evidence import catalogue
from meshmodel.evidence.experiments import Experiment
from meshmodel.rules import retries as rules
from meshmodel.teaching import retry_figures as figures
from meshmodel.teaching.canvas import seconds
from meshmodel.teaching.consoles import Choice, Console, Result, Settings, Slider, table
from meshmodel.teaching.consoles import yaml_text as text
from meshmodel.teaching.consoles.controls import Control

DEFAULT = "Istio's default"
WORDS = (DEFAULT, "5xx", "gateway-error,connect-failure,retriable-4xx", "reset", "connect-failure", "503")
BASES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
"""Seconds of a first back-off at most."""
_RECORDED = {(DEFAULT, "503"): "retry-default-503", (WORDS[2], "500"): "retry-gateway-error-500", ("5xx", "500"): "retry-5xx-500"}

# --- ten calls ------------------------------------------------------------------------------


def ten_calls() -> Console:
    """Ten calls try by try, beside the tutorial's ten where it recorded these."""
    controls: list[Control] = [
        Choice("code", "the failing pod answers", "500", ("500", "502", "503")),
        Choice("retry_on", "retryOn", "5xx", WORDS),
        Slider("attempts", "attempts", 2, least=0, most=4),
        Choice("istio", "Istio", "1.17", ("1.17", "1.23", "1.24")),
        Slider("seed", "seed", 1, least=1, most=50),
    ]
    presets: dict[str, dict[str, Any]] = {
        "loop 1": {"code": "503", "retry_on": DEFAULT, "attempts": 2, "istio": "1.17"},
        "loop 2": {"code": "500", "retry_on": WORDS[2], "attempts": 2, "istio": "1.17"},
        "loop 3": {"code": "500", "retry_on": "5xx", "attempts": 2, "istio": "1.17"},
    }
    return Console("Ten calls", controls, ten_calls_of, presets=presets, tutorial={"attempts": 2, "istio": "1.17"})


def ten_calls_of(s: Settings, replications: int) -> Result:
    """What `ten_calls` shows: the calls of one run, and of all runs how many end with which code."""
    loop = _loop("retry-default-503")
    pod = data_path("tutorial", "manifests", "failing-backend-1-503.yaml").read_text(encoding="utf-8").replace("503", s.code)
    words = "" if s.retry_on == DEFAULT else s.retry_on
    manifest = text.route("simple-backend", text.retries(s.attempts, words), name="simple-backend-vs")
    replay = loop.mesh(istio=s.istio).apply(pod, manifest).simulate(loop.workload, replications, s.seed)
    name = _RECORDED.get((s.retry_on, s.code))
    record = _loop(name).record if name else ()
    assert isinstance(record, tuple)
    trace = replay.trace(0)
    good = replay.codes.get(200, np.zeros(replications))
    recorded = {code: sum(c == code for c, _ in record) for code, _ in record}
    rows = [
        (
            f"calls with {code}",
            f"{count.mean():.1f}",
            "{:.0f} \N{EN DASH} {:.0f}".format(*np.quantile(count, [0.025, 0.975])),
            recorded.get(code, 0) if record else "-",
        )
        for code, count in sorted(replay.codes.items())
    ]
    outside = [k for k, (code, count) in enumerate(sorted(replay.codes.items())) if record and not _within(recorded.get(code, 0), count)]
    return Result(
        figure=lambda width: figures.ten_calls(trace, record, width=width),
        status=f"{good.mean():.1f} of 10 calls succeed on average of {replications} runs",
        table=table(("", "model", "95 % of runs", "recorded"), rows, no=outside),
        yaml=manifest,
        beside=f"the tutorial's ten calls, {_loop(name).title}" if name else "no record of such calls",
        data=replay,
    )


def _within(recorded: float, counts: np.ndarray) -> bool:
    low, high = np.quantile(counts, [0.025, 0.975])
    return bool(low <= recorded <= high)


@lru_cache(maxsize=8)
def _loop(name: str) -> Experiment:
    return catalogue.experiment(name)


# --- two clocks -----------------------------------------------------------------------------


def two_clocks() -> Console:
    """One request under `perTryTimeout` and `timeout`; the second lane is the longest that its caller can wait."""
    controls: list[Control] = [
        Slider("first", "first pod takes", 1.0, least=0.05, most=2, step=0.05, unit="s"),
        Slider("second", "the next ones take", 0.15, least=0.05, most=2, step=0.05, unit="s"),
        Slider("attempts", "attempts", 2, least=0, most=5),
        Slider("per_try", "perTryTimeout (0: none)", 0.3, least=0, most=2, step=0.05, unit="s"),
        Slider("timeout", "timeout (0: none)", 1.0, least=0, most=3, step=0.05, unit="s"),
        Choice("retry_on", "retryOn", "5xx", WORDS),
        Slider("base", "backoff (base interval)", 0.025, stops=BASES, unit="s"),
    ]
    presets: dict[str, dict[str, Any]] = {
        "the tutorial's timeout": {"per_try": 0, "timeout": 0.5, "attempts": 2, "retry_on": DEFAULT},
        "a timeout too short": {"per_try": 0.3, "timeout": 0.4, "attempts": 2, "retry_on": "5xx"},
        "the trap: no retryOn": {"per_try": 0.3, "timeout": 0, "attempts": 2, "retry_on": DEFAULT},
        "a long back-off": {"per_try": 0.3, "timeout": 1.0, "attempts": 3, "retry_on": "5xx", "base": 0.25},
    }
    tutorial = {"first": 1.0, "second": 0.15, "per_try": 0, "timeout": 0.5, "base": 0.025}
    return Console("Two clocks", controls, two_clocks_of, presets=presets, tutorial=tutorial, replications=None)


def two_clocks_of(s: Settings, replications: int = 1) -> Result:
    """What `two_clocks` shows."""
    words = "connect-failure" if s.retry_on == DEFAULT else s.retry_on
    how = (s.attempts, s.per_try or None, s.timeout or None, words, s.base)
    lanes = {
        "this request": figures.clocks([(s.first, 200), (s.second, 200)], *how),
        "pods that hang": figures.clocks([(np.inf, 200)], *how),
    }
    told, worst = lanes.values()
    rows = [
        (
            name,
            each.code if np.isfinite(each.end) else "none",
            f"{each.end:.3f}" if np.isfinite(each.end) else "never",
            each.ended_by or "a pod",
        )
        for name, each in lanes.items()
    ]
    most = f"at most {seconds(worst.end)}" if np.isfinite(worst.end) else "for ever where pods hang"
    return Result(
        figure=lambda width: figures.two_clocks(lanes, width=width, says=f"{told.code} after {seconds(told.end)}; a caller waits {most}"),
        status=f"the caller hears {told.code} after {told.end:.3f} s, and waits {most}",
        table=table(
            ("", "code", "seconds", "ended by"),
            rows,
            no=[k for k, each in enumerate(lanes.values()) if each.code >= 400 or np.isinf(each.end)],
        ),
        yaml=text.route(
            "simple-backend", text.retries(s.attempts, "" if s.retry_on == DEFAULT else words, s.per_try, s.base), text.timeout(s.timeout)
        )
        + _since(s.base),
        data=lanes,
    )


def _since(base: float) -> str:
    return "# the field backoff is of Istio 1.26\n" if base != 0.025 else ""


# --- the back-off ---------------------------------------------------------------------------


def back_off() -> Console:
    """When 1 to 1,000 callers who failed together come back."""
    controls: list[Control] = [
        Slider("callers", "callers", 1000, stops=(1, 3, 10, 30, 100, 300, 1000)),
        Slider("attempts", "attempts", 3, least=1, most=5),
        Slider("base", "backoff (base interval)", 0.025, stops=BASES, unit="s"),
        Slider("seed", "seed", 1, least=1, most=50),
    ]
    presets: dict[str, dict[str, Any]] = {
        "one caller": {"callers": 1},
        "a thousand": {"callers": 1000},
        "a long base": {"callers": 1000, "base": 0.25},
    }
    return Console("The back-off", controls, back_off_of, presets=presets, tutorial={"base": 0.025}, replications=None)


def back_off_of(s: Settings, replications: int = 1) -> Result:
    """What `back_off` shows."""
    times = figures.backoff_times(s.callers, s.attempts, s.base, s.seed)
    peaks = [int(np.histogram(row, np.arange(0, row.max() + 0.02, 0.01))[0].max()) for row in times]
    rows = [
        (f"retry {k + 1}", f"{1000 * rules.longest_backoff(k + 1, s.base):g}", f"{1000 * np.median(row):.0f}", f"{peak:,}")
        for k, (row, peak) in enumerate(zip(times, peaks, strict=True))
    ]
    return Result(
        figure=lambda width: figures.backoffs(s.callers, s.attempts, s.base, s.seed, width=width),
        status=f"at most {max(peaks):,} of {s.callers:,} callers try again within the same 10 ms; "
        f"the last retry is sent after {seconds(times[-1].max())}",
        table=table(("", "bound (ms)", "half are sent by (ms)", "most in 10 ms"), rows),
        yaml=text.route("backend", text.retries(s.attempts, base=s.base)) + _since(s.base),
        data=times,
    )


# --- the product over hops ------------------------------------------------------------------


def amplification() -> Console:
    """Attempts at the last hop for one request of a customer."""
    controls: list[Control] = [
        Slider("hops", "hops that retry", 2, least=1, most=4),
        Slider("attempts", "attempts at each", 2, least=0, most=4),
        Slider("failing", "an attempt fails with probability", 1.0, least=0, most=1, step=0.05),
    ]
    presets: dict[str, dict[str, Any]] = {
        "a quiet day": {"failing": 0.1},
        "everything fails": {"failing": 1.0},
        "three hops": {"hops": 3, "failing": 1.0},
    }
    return Console("Retries over hops", controls, amplification_of, presets=presets, tutorial={"hops": 1, "attempts": 2}, replications=None)


def amplification_of(s: Settings, replications: int = 1) -> Result:
    """What `amplification` shows."""
    rows = [
        (f"{k} {'hop' if k == 1 else 'hops'}", f"{product(s.failing, [s.attempts] * k):.3f}", f"{(1 + s.attempts) ** k}")
        for k in range(1, s.hops + 1)
    ]
    here = product(s.failing, [s.attempts] * s.hops)
    success = 1 - s.failing ** ((s.attempts + 1) ** s.hops)
    return Result(
        figure=lambda width: figures.amplified(s.hops, s.attempts, s.failing, width=width),
        status=f"{here:.3g} attempts a request at the last hop; {100 * success:.1f} % of the requests succeed",
        table=table(("retrying at", "attempts a request", "when all fails"), rows),
        yaml=text.route("backend", text.retries(s.attempts)),
        data=here,
    )
