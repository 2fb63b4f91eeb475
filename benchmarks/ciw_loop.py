"""The simple scenarios as a user of Ciw would write them: a closed network of queues.

Nodes 1 ... pods are the pods, the last node is the client, where a request spends its
overhead; each has as many servers as come.  As many customers as connections go round and round.

What Ciw has and we use: `Probabilistic` for RANDOM, `Cycle` for ROUND_ROBIN (one index,
where Envoy has one for each worker).  LEAST_REQUEST is a router of our own, since Ciw's
`LoadBalancing` looks at all nodes, not at two.  fortio's pacing is left out: in these
scenarios every connection is always behind its schedule.

Reference: Ciw, "How to set routing objects", "How to define custom routing".
"""

from __future__ import annotations

import random

import ciw
from scenarios import Runs, lognormal

from meshmodel.scenario import Scenario


class Overhead(ciw.dists.Distribution):
    """What the client spends between two requests; nothing before its first."""

    def __init__(self, location: float, scale: float, sigma: float) -> None:
        self.location, self.scale, self.sigma = location, scale, sigma

    def sample(self, t: float | None = None, ind: object = None) -> float:
        return self.location + self.scale * random.lognormvariate(0, self.sigma) if t else 0.0


class LeastRequest(ciw.routing.NodeRouting):
    """The less busy of two nodes drawn with replacement."""

    def __init__(self, destinations: list[int]) -> None:
        self.destinations = destinations

    def next_node(self, ind: object) -> object:
        first, second = (self.simulation.nodes[random.choice(self.destinations)] for _ in range(2))
        return second if second.number_of_individuals < first.number_of_individuals else first


def network(scenario: Scenario) -> ciw.network.Network:
    """The scenario as a Ciw network."""
    cluster, load = scenario.routes[-1].destinations[0].cluster, scenario.workload
    pods = list(range(1, len(cluster.endpoints) + 1))
    client = len(pods) + 1
    routers = {
        "RANDOM": lambda: ciw.routing.Probabilistic(pods, [1 / len(pods) for _ in pods]),
        "ROUND_ROBIN": lambda: ciw.routing.Cycle(random.sample(pods, len(pods))),
        "LEAST_REQUEST": lambda: LeastRequest(pods),
    }
    return ciw.create_network(
        arrival_distributions=[None for _ in pods] + [ciw.dists.Sequential([0.0, float("inf")])],
        batching_distributions=[ciw.dists.Deterministic(1) for _ in pods] + [ciw.dists.Deterministic(load.connections)],
        service_distributions=[ciw.dists.Deterministic(e.behaviour.timing_50_percentile) for e in cluster.endpoints]
        + [Overhead(*lognormal(scenario.overhead))],
        number_of_servers=[float("inf")] * client,
        routing=ciw.routing.NetworkRouting([ciw.routing.Direct(client) for _ in pods] + [routers[cluster.load_balancing]()]),
    )


def run(scenario: Scenario, replications: int, seed: int) -> Runs:
    """`replications` runs of a closed loop without policies, one after another.

    `latency` is the time at the pod: Ciw's records are of visits to a node.
    """
    ciw.seed(seed)
    return Runs.of([one_run(scenario) for _ in range(replications)])


def one_run(scenario: Scenario) -> list[tuple]:
    """The requests that began within the duration."""
    pods = range(1, len(scenario.endpoints) + 1)
    simulation = ciw.Simulation(network(scenario))
    simulation.simulate_until_max_time(scenario.workload.duration)
    log = [(r.arrival_date, r.service_time, 200, r.node - 1, 1) for r in simulation.get_all_records() if r.node in pods]
    under_way = [(i.arrival_date, i.service_time, 200, k - 1, 1) for k in pods for i in simulation.nodes[k].all_individuals]
    return log + under_way
