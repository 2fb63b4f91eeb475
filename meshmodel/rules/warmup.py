"""Weights: a young endpoint's grows (slow start), and endpoints of unequal weights take turns by them.

    factor = max((age / window)^(1 / aggression), min_weight_percent / 100)       1 from `window` on
    ROUND_ROBIN    weight * factor
    LEAST_REQUEST  weight / (active + 1) * factor

age counts from the moment that the endpoint joined (its return after an ejection does not count), in whole
milliseconds, 1 at the least.  The schedule is Envoy's earliest deadline first:

    pick the endpoint whose deadline is earliest (of two the one that was put in first)
    put it back with that deadline + 1 / its weight now

so that of n picks each gets n * weight / sum of the weights, within one.  Each worker has a schedule of its own for
every level (and every locality, with locality weights), made anew whenever the level's endpoints or their health
change: where all weights are equal and the youngest endpoint's window is over there is none, and the plain ROUND_ROBIN
index or LEAST_REQUEST's two draws hold.  Between such changes a schedule stays, also after the window: LEAST_REQUEST
then picks by 1 / (active + 1).  RANDOM, RING_HASH and MAGLEV know no slow start.

Source: Envoy, load_balancing_policies/common/load_balancer_impl.cc (`applySlowStartFactor`, `noHostsAreInSlowStart`,
EdfLoadBalancerBase::refresh), edf_scheduler.h (`createWithPicks`, `pickAndAdd`), round_robin_lb.h and
least_request_lb.cc (`hostWeight`).  Istio writes `warmupDurationSecs` as the window alone, so with aggression 1 and
10 percent, which are also the defaults of `warmup` (cluster_traffic_policy.go, `setSlowStartConfig`, `setWarmup`).
"""

from __future__ import annotations

import math
from typing import Any

from meshmodel.compiled import rule

MOST_PICKS = 429_496_729
"""Envoy takes its random number of first picks modulo this."""

_AUGMENT = 1e-13
_MILLISECOND = 1e-3
_ROUNDING = 1e-6  # of a millisecond: Envoy counts whole ones


@rule
def slow_start_factor(age: Any, window: Any, aggression: Any, min_weight_percent: Any) -> Any:
    """What an endpoint's weight is multiplied with, `age` seconds after it joined, the window being `window` seconds."""
    passed = math.floor(age / _MILLISECOND + _ROUNDING)
    whole = math.floor(window / _MILLISECOND + _ROUNDING)
    if passed >= whole:
        return 1.0
    factor = max(1.0, passed) / whole
    if aggression != 1.0:
        factor = factor ** (1.0 / aggression)
    return max(factor, min_weight_percent / 100.0)


@rule
def least_request_weight(weight: Any, active: Any) -> Any:
    """LEAST_REQUEST's weight of an endpoint with `active` requests, before slow start."""
    return weight / (active + 1.0)


@rule
def warming(age: Any, window: Any) -> Any:
    """Is the youngest endpoint's window still open, `age` seconds after it joined?"""
    return math.floor(age / _MILLISECOND + _ROUNDING) <= math.floor(window / _MILLISECOND + _ROUNDING)


@rule
def scheduled(weight: Any, usable: Any, age: Any, window: Any) -> Any:
    """Does a level, made anew, take its endpoints by a schedule?

    weight, usable : (endpoints,) `load_balancing_weight`, and is the endpoint one of those to pick from; `age` seconds of
    the youngest endpoint that has ever joined, `window` 0 without slow start.
    """
    first, number, unequal = 0, 0, False
    for i in range(len(weight)):
        if usable[i]:
            number += 1
            unequal = unequal or (number > 1 and weight[i] != first)
            first = weight[i] if number == 1 else first
    return number > 1 and (unequal or (window > 0 and warming(age, window)))


@rule
def start(weight: Any, usable: Any, picks: Any, deadline: Any, place: Any, given: Any) -> Any:
    """Make a schedule as if `picks` had been made (a random number of each worker's, the same at every start).

    weight, usable : (endpoints,) weights now, and which of them to schedule.  Written: deadline, place : (endpoints,) when an
    endpoint's turn is (inf: never) and who was put in first; given : (1,) how many places were.
    """
    total, number, done = 0.0, 0, 0
    for i in range(len(weight)):
        deadline[i] = math.inf
        if usable[i]:
            total += weight[i] + _AUGMENT
    for i in range(len(weight)):
        if usable[i]:
            own = weight[i] + _AUGMENT
            turns = int(own * picks / total)
            if turns > 0 and turns / own >= picks / total:
                turns -= 1
            deadline[i] = (turns + 1) / own
            place[i] = number
            number += 1
            done += turns
    given[0] = number
    for _ in range(picks - done if number else 0):
        i = next_due(deadline, place)
        put_back(i, weight[i], deadline, place, given)


@rule
def next_due(deadline: Any, place: Any) -> Any:
    """The endpoint whose turn it is, -1 where none is scheduled."""
    best = -1
    for i in range(len(deadline)):
        if deadline[i] < math.inf:
            if best < 0 or deadline[i] < deadline[best] or (deadline[i] == deadline[best] and place[i] < place[best]):
                best = i
    return best


@rule
def put_back(i: Any, weight: Any, deadline: Any, place: Any, given: Any) -> Any:
    """Endpoint `i` was picked, and its weight is now `weight`, the request just picked for not counted."""
    deadline[i] += 1.0 / weight
    place[i] = given[0]
    given[0] += 1
