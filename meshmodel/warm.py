"""Compile what is compiled once, before somebody waits for it: `python -m meshmodel.warm` (`make lab` and `make test` do)."""

from __future__ import annotations

import time
from dataclasses import replace


def warm() -> None:
    """Run each part of the event loop once, so that its machine code is made and kept, unless it is there already."""
    from meshmodel.evidence.experiments import everything
    from meshmodel.scenario import ClosedLoop
    from meshmodel.simulation.montecarlo import simulate

    for experiment in everything().values():
        scenario = experiment.scenario()
        load = scenario.workload
        if isinstance(load, ClosedLoop) and load.duration is not None:
            scenario = replace(scenario, workload=replace(load, duration=min(load.duration, 6.0)))
        simulate(scenario, 2, seed=1)


def main() -> None:
    """`warm`, with a line that says why one waits and how long it took."""
    print("compiling the event loop: half a minute the first time, seconds later ...", end=" ", flush=True)
    begun = time.perf_counter()
    warm()
    print(f"ready after {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
