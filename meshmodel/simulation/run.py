"""One replication: its random numbers, the loop, and more memory where it runs short."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from meshmodel.compiled import reference
from meshmodel.simulation import calls, loop, world
from meshmodel.simulation.closed_loop import Standstill
from meshmodel.simulation.world import Layout, World


def stream(seed: int, replication: int) -> np.random.Generator:
    """The random numbers of one replication."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(replication,))))


class TraceFull(Exception):
    """A trace has more attempts than there was room for."""


class Run:
    """Replications one after another in one `world`, which grows where one of them needs more room."""

    def __init__(self, laid_out: Layout, w: World) -> None:
        self._laid_out = laid_out
        self._hold(w)

    def replicate(self, rng: np.random.Generator, row: int) -> None:
        """One replication into row `row` of the world."""
        self._hold(world.draw_overheads(self.world, self._laid_out.reduced, rng))
        why = loop.replicate(self._handed, rng, row)
        while why != loop.DONE:
            self._hold(_grown(self._laid_out, self.world, rng, why))
            why = loop.go_on(self._handed, rng)

    def _hold(self, w: World) -> None:
        if w is not getattr(self, "world", None):
            self.world, self._handed = w, reference(w)


def _grown(laid_out: Layout, w: World, rng: np.random.Generator, short_of: int) -> World:
    if short_of & calls.STANDSTILL:
        raise Standstill(
            "workload: requests that take no time, in a closed loop, would never end: give the pods a timing or the mesh an overhead"
        )
    if short_of & calls.TRACE:
        raise TraceFull
    grow: dict[int, Callable[[World], World]] = {
        calls.SLOTS: world.with_slots, calls.TRIES: world.with_tries, calls.LOG: world.with_log, calls.NOTES: world.with_notes,
        calls.BINS: world.with_bins, calls.DRAWS: partial(world.draw_overheads, scenario=laid_out.reduced, rng=rng),
    }  # fmt: skip
    for what, how in grow.items():
        w = how(w) if short_of & what else w
    w.clock["short_of"] = loop.DONE
    return w
