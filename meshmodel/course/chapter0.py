"""Chapter 0: reading the record of LEAST_CONN by hand."""

from __future__ import annotations

from meshmodel.evidence.catalogue import experiment
from meshmodel.fakeservice import from_environment, mean_service_time
from meshmodel.results.fortio import Histogram
from meshmodel.teaching.exercises import Mistake, exercise


def record(name: str = "lb-least-conn") -> Histogram:
    """What fortio printed under LEAST_CONN."""
    found = experiment(name).record
    assert isinstance(found, Histogram)
    return found


@exercise(
    objective="read a share off a record",
    minutes=2,
    unit="share",
    tolerance=0.0005,
    hints=["Slow requests are those of the last bucket.", "Divide its count by the count of the first line."],
    mistakes=[
        Mistake(lambda: 277 / (2059 - 277), "that is slow over fast: the question asks for slow over all"),
        Mistake(lambda: 448 / 1366, "that is the other record, of ROUND_ROBIN"),
        Mistake(1 / 3, "one pod in three is slow, and LEAST_CONN avoids it: count the requests"),
    ],
)
def slow_share() -> float:
    """The last bucket holds 277 of the 2059 requests."""
    return record().counts[-1] / record().count


@exercise(
    objective="interpolate a percentile as fortio does",
    minutes=5,
    unit="s",
    tolerance=0.00002,
    hints=[
        "Which bucket holds request number 0.9 × 2059?",
        "1575 + 207 requests lie below 1 s.",
        "The last bucket ends at the maximum of the first line, not at the rounded edge.",
    ],
    mistakes=[
        Mistake(lambda: 1.0 + 0.9 * (record().max - 1), "that is nine tenths of the *bucket*: some of the 90 % lie below it already"),
        Mistake(lambda: (1 + record().max) / 2, "that is the middle of the bucket: fortio draws a straight line through it"),
    ],
)
def p90() -> float:
    """86.55 % of the requests lie below 1 s, so the 90th percentile lies a little way into the last bucket."""
    below = 100 * (1575 + 207) / 2059
    return 1 + (90 - below) / (100 - below) * (record().max - 1)


@exercise(
    objective="use Little's law on a record",
    minutes=2,
    unit="connections",
    tolerance=0.01,
    hints=["Seconds of waiting per second of the clock.", "`sum` of the first line, over 60 s."],
    mistakes=[
        Mistake(10, "ten is what was asked for; the record says a little more: the calls under way at the end are waited for", 0.001),
        Mistake(lambda: 2059 / 60, "that is the number of requests a second: each holds a connection for less than a second"),
    ],
)
def busy() -> float:
    """All waiting together, over the time that it took."""
    return record().sum / 60


@exercise(
    objective="find the overhead of a run",
    minutes=4,
    unit="s",
    tolerance=0.0001,
    hints=[
        "The mean latency is the mean service time plus the mean overhead.",
        "Each request takes 0.15 s, and 277 of 2059 take 0.85 s more.",
    ],
    mistakes=[
        Mistake(lambda: record().mean - (1 + 0.15 + 0.15) / 3, "you counted a third of the requests as slow: under LEAST_CONN fewer are"),
        Mistake(lambda: record().mean - 0.15, "that leaves out that some requests take a second"),
        Mistake(lambda: record().mean - 0.15 - 277 / 2059, "a slow request takes 0.85 s *more* than a fast one, not 1 s more"),
    ],
)
def overhead() -> float:
    """What is left of the mean when the pods' own time is taken away: twice as much as under ROUND_ROBIN."""
    slow = 277 / 2059
    return record().mean - (0.15 + slow * (1 - 0.15))


@exercise(
    objective="compute what fake-service's timings mean",
    minutes=3,
    unit="s",
    tolerance=0.0005,
    hints=["It draws one number for each request; below which does it take which time?", "The shares are 0.90, 0.09 and 0.01."],
    mistakes=[
        Mistake(0.1, "that is the time of most answers, not their mean"),
        Mistake(
            lambda: 0.5 * 0.1 + 0.4 * 0.2 + 0.1 * 2, "those are the shares that the names promise; the program's are 0.90, 0.09 and 0.01"
        ),
        Mistake(
            lambda: 0.5 * 0.1 + 0.4 * 0.2 + 0.09 * 2, "those are the shares that the names promise; the program's are 0.90, 0.09 and 0.01"
        ),
        Mistake(lambda: (0.1 + 0.2 + 2) / 3, "the three times are not equally likely"),
    ],
)
def service_time() -> float:
    """Nine answers in ten take 0.1 s, nine in a hundred 0.2 s, one in a hundred 2 s."""
    times = {"TIMING_50_PERCENTILE": "100ms", "TIMING_90_PERCENTILE": "200ms", "TIMING_99_PERCENTILE": "2s"}
    behaviour, _ = from_environment(times)
    return mean_service_time(behaviour)


@exercise(
    objective="predict throughput in a closed loop",
    minutes=3,
    unit="requests",
    tolerance=10,
    hints=["Connections × time = requests × mean latency.", "The mean latency grows by 0.0138 s."],
    mistakes=[
        Mistake(lambda: 10 * 60 / record().mean, "that is with the overhead as it was: add the 13.8 ms to each request"),
        Mistake(2059, "a slower request slows the asking: fewer fit into the minute"),
    ],
)
def requests() -> float:
    """Little's law with a mean latency that is 13.8 ms longer."""
    return 10 * 60 / (record().mean + 0.0138)
