"""Replications of the event loop with the state that they leave behind, for tests that look into the books."""

from __future__ import annotations

from collections.abc import Iterator

from meshmodel.scenario import Scenario
from meshmodel.simulation import admission, world
from meshmodel.simulation.run import Run, stream
from meshmodel.simulation.state import World


def worlds(tested: Scenario, replications: int, seed: int = 1) -> Iterator[World]:
    """The world at the end of each replication, from the streams that `simulate` uses."""
    laid_out = world.layout(tested)
    for replication in range(replications):
        run = Run(laid_out, world.make(laid_out, 1, world.empty_log(1, admission.room(laid_out.reduced)), resolution=0.001))
        run.replicate(stream(seed, replication), 0)
        yield run.world
