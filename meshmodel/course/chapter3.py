"""Chapter 3: a timeout of half a second."""

from __future__ import annotations

from scipy.stats import binomtest

from meshmodel.analytic.timeouts import closed_loop_throughput, share_of_504, truncated_mean
from meshmodel.evidence.catalogue import experiment
from meshmodel.teaching.exercises import Mistake, exercise

THREE = [(0.90, 0.1, 200), (0.09, 0.4, 200), (0.01, 2.0, 200)]
"""The pod of the first exercises: (share, seconds, code)."""


@exercise(
    objective="compute a mean that a timeout cuts off",
    minutes=3,
    unit="s",
    tolerance=0.0005,
    hints=["Cut every duration at 0.3 s first.", "One answer in ten lasts until the timeout."],
    mistakes=[
        Mistake(0.9 * 0.1 + 0.09 * 0.4 + 0.01 * 2, "that is without the timeout: no try lasts longer than 0.3 s"),
        Mistake(0.1, "that is the mean of the good answers: the others wait until the timeout"),
        Mistake(0.9 * 0.1, "that gives the cut-off tries no time: each lasts 0.3 s"),
    ],
)
def mean() -> float:
    """Nine tries in ten take 0.1 s, the tenth is cut off at 0.3 s."""
    return truncated_mean(THREE, timeout=0.3)


@exercise(
    objective="find the share that a timeout fails",
    minutes=1,
    unit="share",
    tolerance=0.0005,
    hints=["Which of the three durations outlast 0.3 s?"],
    mistakes=[
        Mistake(0.01, "0.4 s is more than 0.3 s too"),
        Mistake(0.09, "the 2 s are cut off as well"),
    ],
)
def share() -> float:
    """Both 0.4 s and 2 s outlast it."""
    return share_of_504(THREE, timeout=0.3)


@exercise(
    objective="predict good answers a second",
    minutes=4,
    unit="answers a second",
    tolerance=0.5,
    hints=["All answers: 8 / (mean + overhead).", "Of these, the share that is no 504."],
    mistakes=[
        Mistake(8 / 0.14, "that is all answers: a tenth of them are 504s"),
        Mistake(8 / 0.12 * 0.9, "that leaves out the overhead of 20 ms"),
        Mistake(8 / (0.146 + 0.02) * 0.9, "that is the mean without the timeout"),
    ],
)
def good() -> float:
    """Little's law for all answers, times the share of the good ones."""
    answers, good_answers = closed_loop_throughput(THREE, timeout=0.3, connections=8, overhead=0.02)
    return good_answers


@exercise(
    objective="tell which hop made an error",
    minutes=2,
    unit="code",
    hints=["Which of the two clocks runs out first?", "Whose answer does the caller see when the gateway gives up first?"],
    mistakes=[
        Mistake(500, "that would be `simple-web`'s answer, had the sidecar given up first; the gateway does not wait for it"),
        Mistake(503, "a 503 says that nobody could be reached: here somebody was, and was too slow"),
        Mistake(408, "408 is a server that waits for a request; a proxy that waits for an answer says something else"),
    ],
)
def code() -> int:
    """The gateway's second is over first, and a proxy whose route times out answers with a gateway timeout."""
    gateway, sidecar = 1.0, 2.0
    return 504 if gateway < sidecar else 500


@exercise(
    objective="decide with an exact test",
    minutes=3,
    unit="yes/no",
    hints=["`exact_test(33, 100, 1 / 6)`, or scipy's `binomtest`.", "A sixth of a hundred is 17, give or take 4: how far out is 33?"],
    mistakes=[Mistake(False, "33 is more than four standard deviations above the 17 that a sixth expects: compute the p-value")],
)
def loops() -> bool:
    """The probability of a count as far out as that, if each call failed with a sixth."""
    return bool(binomtest(33, 100, 1 / 6).pvalue < 0.001)


@exercise(
    objective="compute how long a queue takes to drain",
    minutes=4,
    unit="s",
    tolerance=0.1,
    hints=["How many requests wait when the burst ends?", "20 a second go, 5 a second still come."],
    mistakes=[
        Mistake(50 / 20, "5 a second still come while the queue drains"),
        Mistake(50.0, "that is how many requests wait when the burst ends"),
        Mistake(5.0, "that is how long the burst lasts"),
        Mistake(150 / 15, "20 a second were served during the burst already"),
    ],
)
def drain() -> float:
    """What has piled up, over what goes and does not come."""
    waiting = (30 - 20) * 5
    return waiting / (20 - 5)


@exercise(
    objective="see what a policy does to a timeout",
    minutes=3,
    unit="share",
    tolerance=0.01,
    hints=["Which pods are slower than 0.2 s?", "ROUND_ROBIN does not look at who is busy."],
    mistakes=[
        Mistake(1 / 6, "the slow pod delays all of its answers, not half of them (chapter 0)"),
        Mistake(1 / 7, "that is LEAST_REQUEST's share: ROUND_ROBIN does not avoid the busy pod"),
        Mistake(0.0, "one pod in three takes a second"),
    ],
)
def third() -> float:
    """One pod in three takes a second, and ROUND_ROBIN sends it a third of the requests."""
    rule = (
        "{apiVersion: networking.istio.io/v1beta1, kind: VirtualService, metadata: {name: simple-backend-vs}, "
        "spec: {hosts: [simple-backend], http: [{timeout: 0.2s, route: [{destination: {host: simple-backend}}]}]}}"
    )
    mesh = experiment("lb-round-robin").mesh().apply(rule)
    return float(mesh.predict(10, 1000, "60s").code_shares()[500].mean)
