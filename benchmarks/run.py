"""Speed of the Monte-Carlo engine beside a compiled loop, SimPy and Ciw, all in this one process.

    python benchmarks/run.py [--replications 2000] [--rounds 5] [--quick] [--write]

The contestants take turns: round after round each runs every scenario once, so that a
disturbance of the machine meets them all.  A ratio is taken within a round; what is
printed is the median over the rounds.  Rates are requests per second of process CPU time;
wall time is printed beside it.  README.md says how to read the tables.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
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
import numpy as np  # noqa: E402
import scenarios  # noqa: E402
import simpy_loop  # noqa: E402
from tabulate import tabulate  # noqa: E402

from meshmodel import _files, catalogue, compare  # noqa: E402
from meshmodel.scenario import Scenario  # noqa: E402
from meshmodel.simulation.montecarlo import simulate  # noqa: E402
from meshmodel.simulation.plan import collapse, settled_when_sent  # noqa: E402
from meshmodel.teaching import plots  # noqa: E402

SIZES = (200, 1000, 2000, 4000)
SECONDS = {scenarios.BITING: 15.0}
"""Instead of 60: ten times as many requests come, most of them refused at once."""
IN_FLIGHT = (10, 50, 100, 1000)
OURS, COMPILED, SIMPY, CIW = "meshmodel", "compiled loop", "SimPy", "Ciw"


class Timing(NamedTuple):
    """One call: how many requests it simulated, in how many seconds."""

    requests: int
    cpu: float
    wall: float

    @property
    def rate(self) -> float:
        """Requests per second of CPU time."""
        return self.requests / self.cpu


def timed(call: Callable[[], int]) -> Timing:
    """Time `call`, which returns a number of requests."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    requests = call()
    return Timing(requests, time.process_time() - cpu, time.perf_counter() - wall)


def ours(scenario: Scenario, replications: int, seed: int) -> int:
    """The engine as a user calls it, up to the log of all requests."""
    return int((simulate(scenario, replications, seed).log.code != -2).sum())


def contestants(name: str, replications: int, quick: bool) -> dict[tuple[str, int], Callable[[Scenario, int], int]]:
    """Who runs the scenario: (contestant, replications) -> call with (scenario, seed)."""
    sizes = (replications,) if quick or name == scenarios.BITING else sorted({*SIZES, replications})
    calls: dict[tuple[str, int], Callable[[Scenario, int], int]] = {}
    calls[COMPILED, replications] = lambda scenario, seed: compiled_loop.run(scenario, replications, seed).requests
    for size in sizes:
        calls[OURS, size] = lambda scenario, seed, size=size: ours(scenario, size, seed)
    if name in scenarios.SIMPLE:
        few, fewer = (2, 1) if quick else (40, 10)
        calls[SIMPY, few] = lambda scenario, seed: simpy_loop.run(scenario, few, seed).requests
        calls[CIW, fewer] = lambda scenario, seed: ciw_loop.run(scenario, fewer, seed).requests
    return calls


def race(replications: int, rounds: int, quick: bool) -> str:
    """All scenarios, all contestants; a table of rates and of ratios to the compiled loop."""
    entries = [(name, who, call) for name in scenarios.NAMES for who, call in contestants(name, replications, quick).items()]
    built = {name: scenarios.scenario(name, duration=SECONDS.get(name, 60.0)) for name in scenarios.NAMES}
    for name in scenarios.NAMES:  # compile, and fill the caches of the calibration, before the clock runs
        compiled_loop.run(built[name], 1, 1)
        ours(built[name], 10, 1)
    results: dict[tuple[str, tuple[str, int]], list[Timing]] = {(name, who): [] for name, who, _ in entries}
    for seed in range(1, rounds + 1):
        for name, who, call in entries:
            results[name, who].append(timed(lambda call=call, name=name, seed=seed: call(built[name], seed)))
    rows = [_row(name, who, timings, results[name, (COMPILED, replications)]) for (name, who), timings in results.items()]
    headers = ("scenario", "contestant", "replications", "requests", "M/s CPU", "M/s wall", "ratio to compiled", "lowest", "highest")
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", "", "", "", ".3f", ".3f", ".3f", ".3f", ".3f"), intfmt=",")


def _row(name: str, who: tuple[str, int], timings: list[Timing], compiled: list[Timing]) -> tuple:
    ratios = [mine.rate / other.rate for mine, other in zip(timings, compiled, strict=True)]
    rate = statistics.median(t.rate for t in timings) / 1e6
    wall = statistics.median(t.requests / t.wall for t in timings) / 1e6
    return (name, *who, timings[0].requests, rate, wall, statistics.median(ratios), min(ratios), max(ratios))


def in_flight(rounds: int, quick: bool) -> str:
    """Cost per request as the requests in flight grow, beside the growth of their logarithm.

    The number of replications stays, the duration shrinks: about as many requests each time.
    """
    replications = 50 if quick else 500
    cases = [(name, n) for name in ("LEAST_CONN", scenarios.ALL) for n in IN_FLIGHT]
    seconds = {n: max(1.5, (10 if quick else 60) * IN_FLIGHT[0] / n) for n in IN_FLIGHT}
    built = {(name, n): scenarios.scenario(name, connections=n, duration=seconds[n]) for name, n in cases}
    cost: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for seed in range(1, rounds + 1):
        for case in cases:
            cost[case].append(1e6 / timed(lambda case=case, seed=seed: ours(built[case], replications, seed)).rate)
    loops = {case: "settled" if settled_when_sent(collapse(built[case])) else "event" for case in cases}
    rows = []
    for name, n in cases:
        least = next(few for few in IN_FLIGHT if loops[name, few] == loops[name, n])
        growth = statistics.median(mine / first for mine, first in zip(cost[name, n], cost[name, least], strict=True))
        rows.append((name, loops[name, n], n, statistics.median(cost[name, n]), growth, np.log(n) / np.log(least)))
    headers = ("scenario", "loop", "connections", "µs CPU per request", "growth", "growth of the logarithm")
    return tabulate(rows, headers, tablefmt="github", floatfmt=("", "", "", ".3f", ".2f", ".2f"), intfmt=",")


def slider(rounds: int) -> str:
    """What a move of a slider of the replay console does: simulate 200 replications, compare, draw the overlay."""
    experiment = catalogue.experiment("lb-least-conn")
    mesh, picture, rows = experiment.mesh(), plots.bare_picture(), []
    for seed in range(rounds + 1):
        times = [time.perf_counter()]
        replay = mesh.fortio_load(connections=10, qps=1000, duration="60s", replications=200, seed=seed)
        times.append(time.perf_counter())
        comparison = compare(replay, experiment.record, name="tutorial")
        times.append(time.perf_counter())
        plots.overlay(comparison, onto=picture)
        picture.html(80)
        times.append(time.perf_counter())
        rows.append([*(1000 * np.diff(times)), 1000 * (times[-1] - times[0])])
    middle = np.median(rows[1:], axis=0)  # the first one fills caches
    return tabulate([tuple(middle)], ("simulate, ms wall", "compare", "overlay as PNG", "all"), tablefmt="github", floatfmt=".0f")


def processor() -> str:
    """The CPU's model name, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def report(replications: int, rounds: int, quick: bool) -> str:
    """All tables as Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "simpy", "ciw"))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    parts = [
        "# Results of benchmarks/run.py",
        f"{date.today()}; {processor()}, {os.cpu_count()} cores, load {load:.1f} at the start; "
        f"Python {platform.python_version()}, {packages}. "
        f"{rounds} rounds{', --quick' if quick else ''}. README.md says how to read this.",
        "## Requests per second",
        race(replications, rounds, quick),
        "## Cost per request against requests in flight",
        in_flight(rounds, quick),
        "## A move of a slider: LEAST_CONN, 200 replications",
        slider(rounds),
    ]
    return "\n\n".join(parts) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of the Monte-Carlo engine beside a compiled loop, SimPy and Ciw.")
    parser.add_argument("--replications", type=int, help="of the main comparison (2000; with --quick 200)")
    parser.add_argument("--rounds", type=int, help="turns that each contestant has (5; with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works: the numbers mean little")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results.md")
    given = parser.parse_args()
    for name in ("replications", "rounds"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name}: must be 1 or more, got {getattr(given, name)}")
    return given


def main() -> None:
    given = arguments()
    text = report(given.replications or (200 if given.quick else 2000), given.rounds or (2 if given.quick else 5), given.quick)
    print(text)
    if given.write:
        _files.write(Path(__file__).parent / "results.md", text)


if __name__ == "__main__":
    main()
