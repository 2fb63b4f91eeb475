"""Compile what is compiled once, before somebody waits for it: `python -m meshmodel.warm` (`make lab` and `make test` do)."""

from __future__ import annotations

import time


def warm() -> None:
    """Make one request, for which the whole event loop is compiled, unless its machine code is there already."""
    from meshmodel.scenario import Caller, ClosedLoop, Cluster, Constant, Destination, Endpoint, Route, Scenario
    from meshmodel.simulation.montecarlo import simulate

    pods = Cluster(name="pods", endpoints=(Endpoint(name="pod", deployment="pod", address=""),))
    route = Route(host="pods", callers=(Caller(name="load"),), destinations=(Destination(cluster=pods),))
    simulate(Scenario(routes=(route,), workload=ClosedLoop(calls=1), overhead=Constant(0.1)), 1)


def main() -> None:
    """`warm`, with a line that says why one waits and how long it took."""
    print("compiling the event loop: half a minute the first time, seconds later ...", end=" ", flush=True)
    begun = time.perf_counter()
    warm()
    print(f"ready after {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
