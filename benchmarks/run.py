"""Speed of the Monte-Carlo engine beside a compiled loop, SimPy, Ciw and its own lock-step loop, all in this one process.

    python benchmarks/run.py [--rounds 5] [--quick] [--write]

The contestants take turns: round after round each runs every scenario once, so that a
disturbance of the machine meets them all.  A ratio is taken within a round; what is
printed is the median over the rounds.  Rates are requests per second of process CPU time.
Before the clock runs, every contestant's figures are held against ours.  README.md says how
to read the tables.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

# Before NumPy is loaded: one core for everybody.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ciw_loop  # noqa: E402
import compiled_loop  # noqa: E402
import growth  # noqa: E402
import numpy as np  # noqa: E402
import scenarios  # noqa: E402
import simpy_loop  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from tabulate import tabulate  # noqa: E402

from meshmodel import _files, catalogue, compare  # noqa: E402
from meshmodel.results.fortio import Histogram  # noqa: E402
from meshmodel.scenario import Scenario  # noqa: E402
from meshmodel.simulation import admission, plan  # noqa: E402
from meshmodel.simulation.closed_loop import ClosedLoopRun  # noqa: E402
from meshmodel.simulation.montecarlo import simulate  # noqa: E402
from meshmodel.simulation.run import stream  # noqa: E402
from meshmodel.teaching import plots  # noqa: E402

SIZES = (1, 200, 2000)
SECONDS = {scenarios.BITING: 15.0}
"""Instead of 60: ten times as many requests come, most of them refused at once."""
OURS, COMPILED, LOCK_STEP, SIMPY, CIW = "meshmodel", "compiled loop", "lock-step", "SimPy", "Ciw"
MEMORY_REQUESTS = 100_000_000
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

Call = Callable[[int], int]
"""From a seed to the number of requests that were simulated."""


class Timing(NamedTuple):
    """One call: how many requests it simulated, in how many seconds."""

    requests: int
    cpu: float
    wall: float

    @property
    def rate(self) -> float:
        """Requests per second of CPU time."""
        return self.requests / self.cpu


def timed(call: Call, seed: int) -> Timing:
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    requests = call(seed)
    return Timing(requests, time.process_time() - cpu, time.perf_counter() - wall)


def take_turns(calls: Mapping[tuple, Call], rounds: int) -> dict[tuple, list[Timing]]:
    """Each call's timing in every round; the first, in which caches fill, is not kept."""
    results: dict[tuple, list[Timing]] = {key: [] for key in calls}
    for seed in range(rounds + 1):
        for key, call in calls.items():
            results[key].append(timed(call, seed))
    return {key: timings[1:] for key, timings in results.items()}


def median(timings: list[Timing], figure: Callable[[Timing], float]) -> float:
    return statistics.median(map(figure, timings))


# --- who runs -----------------------------------------------------------------------------------


def ours(scenario: Scenario, replications: int, threads: int = 1) -> Call:
    """The engine as a user calls it, up to the log of all requests."""
    return lambda seed: int(simulate(scenario, replications, seed, threads=threads).requests.sum())


def yardstick(scenario: Scenario, replications: int) -> Call:
    return lambda seed: compiled_loop.run(scenario, replications, seed).requests


def lock_step(scenario: Scenario, replications: int) -> Call:
    """The NumPy loop that runs where there is no compiler."""
    reduced = plan.collapse(scenario)

    def call(seed: int) -> int:
        streams = [stream(seed, replication) for replication in range(replications)]
        log, _ = ClosedLoopRun(reduced, streams, admission.room(reduced)).run()
        return int((log.code != -2).sum())

    return call


def agree(scenario: Scenario, name: str) -> None:
    """Assert that the compiled loop runs the experiment that we run: mean latency and share of 200, within five standard errors."""
    replay, theirs = simulate(scenario, 100, 11), compiled_loop.run(scenario, 100, 12)
    runs = [theirs.log[a:b] for a, b in zip(theirs.first[:-1], theirs.first[1:], strict=True)]
    good = replay.codes.get(200, np.zeros(100)) / replay.requests
    pairs = {
        "mean": (replay.mean, np.array([run["latency"].mean() for run in runs])),
        "200": (good, np.array([(run["code"] == 200).mean() for run in runs])),
    }
    for figure, (a, b) in pairs.items():
        error = np.sqrt((a.var() + b.var()) / 100)
        assert abs(a.mean() - b.mean()) <= 5 * error + 1e-9, f"{name}: {figure}: {a.mean():.6g}, compiled loop {b.mean():.6g}"


def plays(scenario: Scenario) -> bool:
    """Does the compiled loop know all that the scenario uses?"""
    try:
        compiled_loop.run(scenario, 1, 1)
    except ValueError:
        return False
    return True


# --- tables -------------------------------------------------------------------------------------


def race(rounds: int, quick: bool) -> tuple[str, dict[tuple, float]]:
    """All scenarios, all contestants: rates, and ratios to the compiled loop at the same number of replications."""
    sizes = SIZES[:2] if quick else SIZES
    calls: dict[tuple, Call] = {}
    for name in scenarios.NAMES:
        scenario = scenarios.scenario(name, duration=SECONDS.get(name, 60.0))
        agree(scenario, name)
        for size in sizes:
            calls[name, COMPILED, size] = yardstick(scenario, size)
            calls[name, OURS, size] = ours(scenario, size)
        if name in scenarios.SIMPLE:
            few, fewer = (2, 1) if quick else (40, 10)
            calls[name, LOCK_STEP, sizes[-1]] = lock_step(scenario, sizes[-1])
            calls[name, SIMPY, few] = lambda seed, s=scenario, n=few: simpy_loop.run(s, n, seed).requests
            calls[name, CIW, fewer] = lambda seed, s=scenario, n=fewer: ciw_loop.run(s, n, seed).requests
    results = take_turns(calls, rounds)
    rows, ratios = [], {}
    for (name, who, size), timings in results.items():
        beside = results[name, COMPILED, size if size in sizes else sizes[-1]]
        each = [mine.rate / other.rate for mine, other in zip(timings, beside, strict=True)]
        ratios[name, who, size] = statistics.median(each)
        rows.append(
            (name, who, size, timings[0].requests, median(timings, lambda t: t.rate) / 1e6, ratios[name, who, size], min(each), max(each))
        )
    headers = ("scenario", "contestant", "replications", "requests", "M/s CPU", "ratio to compiled", "lowest", "highest")
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", "", "", "", ".3f", ".3f", ".3f", ".3f"), intfmt=","), ratios


def experiments(rounds: int) -> str:
    """Every experiment of the tutorial: one replication, a move of its console's slider, and the ratio where the compiled loop plays it."""
    rows = []
    for name in catalogue.names():
        experiment = catalogue.experiment(name)
        scenario, record = experiment.scenario(), experiment.record
        known = plays(scenario)
        calls: dict[tuple, Call] = {(OURS, size): ours(scenario, size) for size in SIZES}
        if known:
            agree(scenario, name)
            calls |= {(COMPILED, size): yardstick(scenario, size) for size in SIZES}
        results = take_turns(calls, rounds)
        ratio = [
            statistics.median(a.rate / b.rate for a, b in zip(results[OURS, size], results[COMPILED, size], strict=True)) if known else None
            for size in SIZES
        ]
        moves = slider(scenario, record if isinstance(record, Histogram) else None, rounds)
        rows.append((name, 1000 * median(results[OURS, 1], lambda t: t.wall), *ratio, *moves))
    headers = (
        "experiment",
        "one replication, ms",
        *(f"ratio at {size:,}" for size in SIZES),
        "simulate 200, ms",
        "compare",
        "draw",
        "a move",
    )
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", ".1f", ".2f", ".2f", ".2f", ".0f", ".0f", ".0f", ".0f"), missingval="")


def slider(scenario: Scenario, record: Histogram | None, rounds: int) -> tuple[float, ...]:
    """Milliseconds by the clock of what a move of a console's slider does: simulate 200 replications, compare, draw; and of all."""
    picture, rows = plots.bare_picture(), []
    for seed in range(rounds + 1):
        times = [time.perf_counter()]
        replay = simulate(scenario, 200, seed)
        times.append(time.perf_counter())
        subject = compare(replay, record, name="tutorial") if record else replay
        times.append(time.perf_counter())
        plots.overlay(subject, onto=picture)
        picture.html(80)
        times.append(time.perf_counter())
        rows.append([*(1000 * np.diff(times)), 1000 * (times[-1] - times[0])])
    return tuple(np.median(rows[1:], axis=0))


def threads(rounds: int, quick: bool) -> str:
    """Two threads against one, by the clock."""
    replications = 200 if quick else 2000
    rows = []
    for name in scenarios.NAMES:
        scenario = scenarios.scenario(name, duration=SECONDS.get(name, 60.0))
        results = take_turns({(n,): ours(scenario, replications, n) for n in (1, 2)}, rounds)
        each = [one.wall / two.wall for one, two in zip(results[1,], results[2,], strict=True)]
        rows.append((name, replications, statistics.median(each), min(each), max(each)))
    headers = ("scenario", "replications", "two threads to one", "lowest", "highest")
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", "", ".2f", ".2f", ".2f"), intfmt=",")


def memory(quick: bool) -> str:
    """The largest resident memory of a process that simulates so many requests and reads their percentiles, in both modes."""
    fewest = MEMORY_REQUESTS // (1000 if quick else 1)
    rows = []
    for keep, requests in (("log", fewest), ("figures", fewest), ("figures", 10 * fewest)):
        code = (
            f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
            "import re, scenarios\nfrom meshmodel.simulation.montecarlo import simulate\n"
            f"scenario = scenarios.scenario('LEAST_CONN'); count = int(simulate(scenario, 1, 1).requests.sum())\n"
            f"replay = simulate(scenario, {requests} // count, 1, keep={keep!r})\nreplay.figures()\n"
            "highest = re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())\n"  # getrusage's counts what its parent had
            "print(int(replay.requests.sum()), int(highest[1]) / 1024)"
        )
        counted, peak = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        rows.append((keep, int(counted), float(peak)))
    return tabulate(rows, ("keep", "requests", "largest resident memory, MB"), tablefmt="github", floatfmt=".0f", intfmt=",")


# --- report -------------------------------------------------------------------------------------


def draw(ratios: Mapping[tuple, float], path: Path) -> None:
    """The ratios to the compiled loop, a bar for each contestant, on a logarithmic axis."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    keys = [key for key in ratios if key[1] != COMPILED][::-1]
    colours = {OURS: "#0072b2", LOCK_STEP: "#56b4e9", SIMPY: "#e69f00", CIW: "#d55e00"}
    axes.barh(
        [f"{name}\n{who}, {size:,}" for name, who, size in keys], [ratios[key] for key in keys], color=[colours[key[1]] for key in keys]
    )
    axes.axvline(1, color="#777777")
    axes.set_xscale("log")
    axes.set_xlabel("requests per second of CPU, the compiled loop of the same scenario being 1 (replications behind the name)")
    axes.tick_params(labelsize=7)
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    _files.write(path, drawn.getvalue())


def processor() -> str:
    """The CPU's model name, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def report(rounds: int, quick: bool) -> tuple[str, dict[tuple, float]]:
    """All tables as Markdown, and the ratios of the race."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "simpy", "ciw"))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    table, ratios = race(rounds, quick)
    parts = [
        "# Benchmarks",
        f"Made by `benchmarks/run.py --write`, which README.md beside it says how to read. {date.today()}; {processor()}, "
        f"{os.cpu_count()} cores, load {load:.1f} at the start; Python {platform.python_version()}, {packages}; "
        f"{rounds} rounds{', --quick' if quick else ''}.",
        "## Requests per second",
        "![Requests per second of each contestant, as a ratio to the compiled loop.](benchmarks.svg)",
        table,
        "## Every experiment of the tutorial",
        experiments(rounds),
        "## Two threads",
        threads(rounds, quick),
        "## Growth",
        growth.table(20_000 if quick else 200_000, rounds)[0],
        "## Memory",
        memory(quick),
    ]
    return "\n\n".join(parts) + "\n", ratios


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the Monte-Carlo engine beside others.")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each contestant has (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works: the numbers mean little")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and its figure")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds: must be 1 or more, got {given.rounds}")
    text, ratios = report(given.rounds, given.quick)
    print(text)
    if given.write:
        _files.write(DOCUMENT, text)
        draw(ratios, DOCUMENT.with_suffix(".svg"))


if __name__ == "__main__":
    main()
