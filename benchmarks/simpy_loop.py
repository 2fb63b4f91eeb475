"""The simple scenarios as a user of SimPy would write them: one process for each connection.

Reference: SimPy, "Basic Concepts" and "Process Interaction".
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import simpy
from scenarios import Runs, lognormal

from meshmodel.scenario import Scenario


def run(scenario: Scenario, replications: int, seed: int) -> Runs:
    """`replications` runs of a closed loop without policies, one after another."""
    rng = random.Random(seed)
    return Runs.of([one_run(scenario, rng) for _ in range(replications)])


def one_run(scenario: Scenario, rng: random.Random) -> list[tuple]:
    """The requests of one run, in the order of their answers."""
    cluster, load = scenario.routes[-1].destinations[0].cluster, scenario.workload
    seconds = [e.behaviour.timing_50_percentile for e in cluster.endpoints]
    location, scale, sigma = lognormal(scenario.overhead)
    pods = range(len(seconds))
    active = [0 for _ in pods]
    index = [rng.choice(pods) for _ in range(scenario.workers)]
    log: list[tuple] = []

    def pick() -> int:
        if cluster.load_balancing == "ROUND_ROBIN":
            worker = rng.randrange(scenario.workers)
            index[worker] += 1
            return index[worker] % len(pods)
        if cluster.load_balancing == "RANDOM":
            return rng.choice(pods)
        first, second = rng.choice(pods), rng.choice(pods)
        return second if active[second] < active[first] else first

    def connection(env: simpy.Environment) -> Iterator[simpy.Event]:
        calls = 0
        while env.now <= load.duration:
            start, pod = env.now, pick()
            active[pod] += 1
            yield env.timeout(seconds[pod])
            active[pod] -= 1
            yield env.timeout(location + scale * rng.lognormvariate(0, sigma))
            log.append((start, env.now - start, 200, pod, 1))
            calls += 1
            if (early := calls * load.connections / load.qps - env.now) > 0:
                yield env.timeout(early)

    env = simpy.Environment()
    for _ in range(load.connections):
        env.process(connection(env))
    env.run()
    return log
