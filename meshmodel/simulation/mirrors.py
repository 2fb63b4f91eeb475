"""Mirrors: a copy of a request, sent when the request reaches its router, on whose fate nobody waits.

It is one attempt at the mirror's cluster, under that cluster's balancer, limits and detector; the route's timeout ends
it, nothing retries it, and faults come before it.
Source: Envoy, router.cc (`shadow_streams_`), shadow_writer_impl.cc; measured on Envoy 1.40 (tests/envoy).
"""

from __future__ import annotations

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.simulation.calls import NONE, PICK, SHADOW, schedule, take_slot
from meshmodel.simulation.state import World


@compiled
def mirror(w: World, rng: np.random.Generator, slot: int, t: float) -> None:
    """Copy the request of the call in `slot` to each mirror of its route."""
    c = w.call[slot]
    route = w.route[c.hop]
    for number in range(route.mirrors):
        target = w.mirror_then[w.clock[0].state, c.hop, number]
        if target.percent < 100 and rng.random() * 100 >= target.percent:
            continue
        fresh = take_slot(w)
        copy = w.call[fresh]
        copy.parent, copy.hop, copy.client, copy.request, copy.worker = SHADOW, c.hop, c.client, c.request, c.worker
        copy.upstream = route.first_upstream + w.upstream[c.upstream].caller * route.clusters + target.cluster
        copy.user, copy.hashed, copy.deadline, copy.back_off = c.user, c.hashed, c.deadline, 0.0
        copy.tries, copy.since, copy.endpoint, copy.server, copy.outer = 0, 0, NONE, NONE, c.outer
        w.clock[0].unsent += 1
        schedule(w, fresh, t, PICK)
