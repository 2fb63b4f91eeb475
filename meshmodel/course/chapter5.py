"""Chapter 5: circuit breaking."""

from __future__ import annotations

from scipy import stats

from meshmodel._data import data_path
from meshmodel.analytic.queues import erlang_b
from meshmodel.mesh import Mesh
from meshmodel.rules.breakers import may_connect
from meshmodel.teaching.exercises import Mistake, exercise

LIMIT = """
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: backend-dr}
spec: {host: backend, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 4}}}}
"""


@exercise(
    objective="choose a limit by Erlang's formula",
    minutes=4,
    unit="requests in flight",
    hints=["Evaluate `erlang_b(limit, 2)` for growing limits.", "The table above ends too early: go on until the share is below 0.01."],
    mistakes=[
        Mistake(2, "that is the mean number in flight: two in five would be refused"),
        Mistake(5, "that still refuses one in 27"),
        Mistake(6, "that is close: it still refuses a little more than one in a hundred"),
        Mistake(8, "one fewer does it already"),
    ],
)
def least_limit() -> int:
    """The first limit whose loss is below one in a hundred."""
    return next(limit for limit in range(50) if erlang_b(limit, 2) < 0.01)


@exercise(
    objective="see why large services need less spare room",
    minutes=2,
    unit="share",
    tolerance=0.002,
    hints=["`erlang_b` with both arguments doubled.", "Is it half of the loss before?"],
    mistakes=[
        Mistake(lambda: erlang_b(2, 2), "that is the loss before: it falls when load and limit grow together"),
        Mistake(lambda: erlang_b(2, 2) / 2, "it falls, but not by half"),
        Mistake(lambda: erlang_b(2, 4), "the limit doubles too"),
    ],
)
def doubled() -> float:
    """Erlang's formula at 4 Erlangs with a limit of 4: less than the 0.40 of half the size."""
    return erlang_b(4, 4)


@exercise(
    objective="say what `maxConnections` counts",
    minutes=3,
    unit="connections",
    hints=[
        "A worker may open a connection where its pool for a pod has none, whatever the limit: how many pools are there?",
        "The limit may be used up by one pool, before any other has a connection.",
    ],
    mistakes=[
        Mistake(10, "a worker whose pool for a pod is empty opens one even beyond the limit"),
        Mistake(40, "that is one for each worker and pod; but one pool may have opened ten before the others had any"),
        Mistake(50, "nearly: the pool that has used up the limit is not empty, so it gets none beyond it"),
        Mistake(80, "the limit is the cluster's, shared by the workers: what exceeds it is one connection for each empty pool"),
        Mistake(8, "each worker has a pool for each pod"),
    ],
)
def connections() -> int:
    """One pool opens as many as the limit has, and then each of the other pools, being empty, one more."""
    limit, workers, pods, opened = 10, 8, 5, 0
    for _pool in range(workers * pods):
        here = 0
        while may_connect(opened, limit, here):
            opened, here = opened + 1, here + 1
    return opened


@exercise(
    objective="say for whom a limit holds",
    minutes=2,
    unit="requests in flight",
    hints=["Who counts?", "Each calling proxy counts for itself; the Service's total is the sum."],
    mistakes=[
        Mistake(30, "the limit holds in each calling proxy, not for the Service"),
        Mistake(300, "each *replica* of a caller has a proxy of its own"),
        Mistake(60, "ten Deployments call"),
    ],
)
def all_clients() -> int:
    """Thirty for each of the calling proxies."""
    return 30 * 10 * 2


@exercise(
    objective="estimate what a breaker lets through, then run it",
    minutes=8,
    unit="successes a second",
    tolerance=2,
    hints=["Four slots, each taken for 0.1 s.", "Refused callers come back after 45 ms on average: a free slot does not wait for long."],
    mistakes=[
        Mistake(20 / 0.145, "that is without the limit", 3),
        Mistake(4 / 0.145, "a slot is not idle while *its* caller is away: others come back all the time", 2),
        Mistake(20 / 0.045, "that is about how many ask, not how many get through", 60),
    ],
)
def per_second() -> float:
    """At most 4 / 0.1 s; a little less, as a free slot waits for the next caller."""
    mesh = Mesh(overhead=stats.expon(scale=0.045)).apply(data_path("course/backend.yaml"), LIMIT)
    replay = mesh.fortio_load(connections=20, qps=0, duration="11s", replications=10, seed=1)
    answered = replay.log.start + replay.log.latency
    settled = (answered > 1) & (answered <= 11)  # not what is under way when the run ends
    return float((settled & (replay.log.code == 200)).sum() / 10 / 10)


@exercise(
    objective="choose a limit for a known capacity",
    minutes=2,
    unit="requests in flight",
    tolerance=0.01,
    hints=["Little's law.", "Who waits longer than 0.25 s is gone before the answer."],
    mistakes=[
        Mistake(80, "that many would wait a second: their callers give up after 0.25 s"),
        Mistake(320, "multiply the rate by the patience; do not divide"),
    ],
)
def useful_limit() -> float:
    """As many as are served within the callers' patience."""
    return 80 * 0.25


@exercise(
    objective="use Little's law on the pod that hangs",
    minutes=3,
    unit="requests",
    tolerance=0.05,
    hints=["Little's law for the hanging pod alone.", "It gets a third of 20 a second, and each stays for the timeout of 1 s."],
    mistakes=[
        Mistake(20, "that is what all pods get in a second: a third of it goes to this one"),
        Mistake(20 / 3 * 0.1, "a hanging pod's requests stay until the timeout, not for 0.1 s"),
    ],
)
def clogged() -> float:
    """A third of the rate, each for the timeout."""
    rate, timeout = 20 / 3, 1.0
    return rate * timeout
