"""What a move of each console's controls costs: milliseconds of process CPU time to compute it and to draw it.

    python benchmarks/consoles.py [--rounds 3]

Every slider goes one step and every choice to its next value, as a reader would.  Coarse is what is drawn while
a control moves, fine what is drawn when it rests; the promise is 100 ms a move.  CPU time of all threads, so that a busy
machine changes little; the first move, in which caches fill, is not kept.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabulate import tabulate  # noqa: E402

from meshmodel.teaching.canvas import WIDTH  # noqa: E402
from meshmodel.teaching.consoles import (  # noqa: E402
    Choice,
    Console,
    Settings,
    Slider,
    breaker,
    load_balancing,
    locality,
    microscope,
    questions,
    retry,
    storm,
    timeout,
)

CONSOLES: tuple[Callable[[], Console], ...] = (
    microscope.fortio_microscope, load_balancing.load_balancing, locality.map_and_clock, questions.why_stuck, timeout.cut_the_tail,
    timeout.zombies, questions.ten_curls, retry.ten_calls, retry.two_clocks, retry.back_off, retry.amplification, storm.storm,
    breaker.refusals, breaker.waiting_room, breaker.breaker_or_detector,
)  # fmt: skip


def moves(console: Console) -> Iterator[tuple[str, dict[str, Any]]]:
    """(control, settings): each control moved alone, from where it starts."""
    start = {name: control.start for name, control in console.controls.items()}
    for name, control in console.controls.items():
        if isinstance(control, Slider) and not control.stops:
            step = control.step if control.start + control.step <= control.most else -control.step
            yield name, {**start, name: control.start + step}
        elif isinstance(control, Slider | Choice):
            values = list(control.stops if isinstance(control, Slider) else control.options)
            yield name, {**start, name: values[(values.index(control.start) + 1) % len(values)]}


def cost(console: Console, values: dict[str, Any], replications: int) -> tuple[float, float]:
    """Milliseconds of CPU: to compute a move, to draw it."""
    settings = Settings(**{name: control.checked(values[name]) for name, control in console.controls.items()})
    times = [time.process_time()]
    result = console.compute(settings, replications)
    times.append(time.process_time())
    result.figure(WIDTH).png(96)
    times.append(time.process_time())
    return 1000 * (times[1] - times[0]), 1000 * (times[2] - times[1])


def row(make: Callable[[], Console], rounds: int) -> tuple[Any, ...]:
    """Name, (compute, draw, together) coarse and fine over all controls, and the control whose coarse move costs most."""
    console = make()
    found, steps = [], console._steps
    for name, values in moves(console):
        each = [[cost(console, values, n) for n in steps] for _ in range(rounds + 1)][1:]
        found.append((name, [tuple(statistics.median(column) for column in zip(*part, strict=True)) for part in zip(*each, strict=True)]))
    told = [statistics.median(parts[step][k] for _, parts in found) for step in (0, 1) for k in (0, 1)]
    worst, parts = max(found, key=lambda one: sum(one[1][0]))
    return make.__name__, told[0], told[1], told[0] + told[1], told[2], told[3], told[2] + told[3], worst, sum(parts[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of a move of each console.")
    parser.add_argument("--rounds", type=int, default=3, help="times that each move is made (3)")
    parser.add_argument("names", nargs="*", help="consoles, by name; none: all")
    given = parser.parse_args()
    headers = ("console", "coarse: compute", "draw", "a move", "fine: compute", "draw", "a move", "dearest control", "its move")
    rows = [row(make, given.rounds) for make in CONSOLES if not given.names or make.__name__ in given.names]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
