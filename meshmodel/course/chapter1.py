"""Chapter 1: one slow pod and three load-balancing policies."""

from __future__ import annotations

from typing import Any

from meshmodel.evidence.catalogue import experiment
from meshmodel.results.replay import Replay
from meshmodel.teaching.exercises import Mistake, exercise

LOAD: dict[str, Any] = {"connections": 10, "qps": 1000, "duration": "60s"}


def least_conn(replicas: int = 2, replications: int = 100) -> Replay:
    """The tutorial's load under LEAST_CONN, with so many pods of simple-backend-2."""
    mesh = experiment("lb-least-conn").mesh()
    deployment = mesh.get("Deployment", "simple-backend-2")
    deployment["spec"]["replicas"] = replicas
    return mesh.apply(deployment).fortio_load(**LOAD, replications=replications)


@exercise(
    objective="find what no choice between two draws can avoid",
    minutes=3,
    unit="share",
    tolerance=0.001,
    hints=["When is there no other pod to choose?", "Both draws must be the slow pod, and a pod may be drawn twice."],
    mistakes=[
        Mistake(1 / 5, "that is the share of one draw: the other draw can still save the request"),
        Mistake(0.0, "the two draws are made with replacement: both may be the slow pod"),
        Mistake(2 / 5, "that is how often the slow pod is among the draws: then the other one is taken"),
    ],
)
def floor() -> float:
    """Both draws must be the slow pod: 1/5 of 1/5."""
    pods = 5
    return 1 / pods**2


@exercise(
    objective="use Little's law on one pod",
    minutes=4,
    unit="connections",
    tolerance=0.1,
    hints=["Little's law: rate × share × time at the pod.", "The rate of all requests is 10 / mean latency."],
    mistakes=[
        Mistake(7.5, "that is ROUND_ROBIN's, which sends a third of the requests there"),
        Mistake(10 / 9, "that is a share of the connections by the share of the requests: a slow request holds its connection for longer"),
        Mistake(lambda: 10 * float(least_conn().endpoint_shares()["simple-backend-1"].mean),
                "that is the share of the requests; multiply the *rate* of slow requests by the second that each takes"),
    ],
)  # fmt: skip
def held() -> float:
    """10 connections over the mean latency is the rate; the slow pod's part of it, times the second that each takes there."""
    replay = least_conn()
    rate = 10 / replay.mean.mean()
    return float(rate * replay.endpoint_shares()["simple-backend-1"].mean * 1.0)


@exercise(
    objective="see why a loop of curl tells two policies not apart",
    minutes=3,
    unit="share",
    tolerance=0.005,
    hints=[
        "How many requests are under way when curl sends its next one?",
        "When all pods are idle, the two draws tie, and the first one stands.",
    ],
    mistakes=[
        Mistake(1 / 9, "nobody is active when curl sends its next call: the slow pod is no busier than the others"),
        Mistake(lambda: float(least_conn().endpoint_shares()["simple-backend-1"].mean), "that is with ten connections: curl has one", 0.02),
        Mistake(0.0, "the proxy cannot know which pod is slow: it counts active requests, and there are none"),
    ],
)
def one_by_one() -> float:
    """Nobody is active when the next call is sent: the draws tie, and the first one stands, as under RANDOM."""
    loop = experiment("lb-least-conn").mesh().curl(50, replications=2000, seed=2)
    return float(loop.endpoint_shares()["simple-backend-1"].mean)


@exercise(
    objective="predict throughput on paper",
    minutes=4,
    unit="requests",
    tolerance=40,
    hints=["10 × 60 / mean latency.", "The mean service time is (0.5 + 0.15 + 0.15) / 3."],
    mistakes=[
        Mistake(10 * 60 / (0.8 / 3), "that leaves out the 0.0138 s on the way", 15),
        Mistake(10 * 60 / (1.3 / 3 + 0.0138), "that is for a slow pod of one second", 15),
        Mistake(10 * 60 / ((0.5 + 0.15) / 2 + 0.0138), "there are two fast pods and one slow one: a third of the requests is slow", 15),
    ],
)
def half_second() -> float:
    """A third of the requests takes 0.5 s: Little's law, with the overhead."""
    return 10 * 60 / ((0.5 + 0.15 + 0.15) / 3 + 0.0138)


@exercise(
    objective="choose a number of replicas for a percentile",
    minutes=8,
    unit="replicas",
    hints=[
        "The 90th percentile is fast when less than 10 % of the requests are slow: in nearly every run, not on average.",
        "The floor is 1 / (replicas + 1)², and the policy stays above it.",
    ],
    mistakes=[
        Mistake(2, "that is what the tutorial has: one request in seven is slow there"),
        Mistake(3, "the slow share is just below 10 % on average, so in many runs it is above"),
        Mistake(9, "that is what ROUND_ROBIN would take for a tenth; LEAST_REQUEST needs fewer"),
    ],
)
def replicas() -> int:
    """The fewest with which 97.5 % of the runs have their 90th percentile below 0.3 s."""
    return next(n for n in range(2, 10) if least_conn(n).interval("p90")[1] < 0.3)


@exercise(
    objective="measure a surprise in standard deviations",
    minutes=4,
    unit="standard deviations",
    tolerance=0.1,
    hints=["A binomial's mean is n p.", "Its variance is n p (1 - p)."],
    mistakes=[
        Mistake((448 - 1366 / 6) / (1366 / 6) ** 0.5, "that divides by the root of n p: a binomial's variance has the factor 1 - p too"),
        Mistake((448 - 1366 / 6) / (1366 * 5 / 36), "that divides by the variance: take its root"),
        Mistake((448 - 1366 / 3) / (1366 * 2 / 9) ** 0.5, "that is against a third: the nominal reading expects a sixth"),
    ],
)
def sigmas() -> float:
    """The distance from the expected count, over the binomial's standard deviation."""
    n, p = 1366, 1 / 6
    return (448 - n * p) / (n * p * (1 - p)) ** 0.5


@exercise(
    objective="extend the floor to two slow pods",
    minutes=4,
    unit="share",
    tolerance=0.001,
    hints=["Count the nine pairs of draws again.", "Only pairs of two slow pods lead to a slow one."],
    mistakes=[
        Mistake(2 / 3, "that is ROUND_ROBIN's: the fast pod is drawn once in five pairs of nine, and then it is taken"),
        Mistake(2 / 9, "that counts the pairs of one slow pod with itself: two *different* slow pods are a slow pair too"),
        Mistake(1 / 9, "that is the floor of one slow pod"),
    ],
)
def two_slow_pods() -> float:
    """Both draws must be slow pods: two thirds of two thirds, where ROUND_ROBIN would send two thirds."""
    return (2 / 3) ** 2
