"""Chapter 4: retries."""

from __future__ import annotations

from meshmodel.analytic.retries import amplification, storm_onset, success_probability
from meshmodel.evidence.catalogue import experiment
from meshmodel.rules.retries import longest_backoff
from meshmodel.teaching.exercises import Mistake, exercise


@exercise(
    objective="choose a number of retries",
    minutes=3,
    unit="retries",
    hints=["A request fails when all its tries do.", "How small must p to the power retries + 1 be?"],
    mistakes=[
        Mistake(4, "that is the number of tries: the first one is no retry"),
        Mistake(2, "three tries leave one request in a thousand"),
        Mistake(1, "two tries leave one request in a hundred"),
    ],
)
def retries_needed() -> int:
    """The fewest retries with which all tries fail in at most one request of ten thousand."""
    return next(k for k in range(9) if success_probability(0.1, k) >= 0.9999)


@exercise(
    objective="know what the default policy covers",
    minutes=4,
    unit="share",
    tolerance=0.001,
    hints=["Which codes does the default policy of 1.17 retry?", "502 is not in its list."],
    mistakes=[
        Mistake(0.0, "that would be a 503: the default policy of 1.17 lists 503, and no other code"),
        Mistake(1 / 27, "nothing is tried again here: is 502 among the codes that the policy names?", 0.01),
        Mistake(1 / 9, "nothing is tried again here: is 502 among the codes that the policy names?"),
    ],
)
def bad_gateway() -> float:
    """No try is repeated, so one pod of three fails its third of the calls."""
    loop = experiment("retry-default-503")
    mesh = loop.mesh(istio="1.17")
    pod = mesh.get("Deployment", "simple-backend-1")
    next(v for v in pod["spec"]["template"]["spec"]["containers"][0]["env"] if v["name"] == "ERROR_CODE")["value"] = "502"
    return float(1 - mesh.apply(pod).predict(workload=loop.workload).code_shares()[200].mean)


@exercise(
    objective="count the draws of `previous_hosts`",
    minutes=4,
    unit="share",
    tolerance=1e-5,
    hints=[
        "A host that was tried is drawn again, up to five times.",
        "The first try, and then six draws that all meet it: each with probability 1/2.",
    ],
    mistakes=[
        Mistake(0.25, "that is two draws: the retry draws up to six times to avoid the host that was tried"),
        Mistake(0.5**6, "the retry has its first draw and five more, and the first try one"),
        Mistake(0.5**8, "the retry has six draws in all, and the first try one"),
        Mistake(0.0, "the predicate gives up after five more draws: the last one stands, whatever it is"),
    ],
)
def six_draws() -> float:
    """The first try meets the bad pod, and so do the retry's first draw and its five more."""
    reselections = 5
    return 0.5 * 0.5 ** (1 + reselections)


@exercise(
    objective="bound the waiting that retries add",
    minutes=4,
    unit="ms",
    tolerance=1,
    hints=[
        "The bound doubles from 25 ms on, up to a longest one.",
        "The longest back-off is ten times the base. Add the bounds of the five retries.",
    ],
    mistakes=[
        Mistake(25 + 50 + 100 + 200 + 400, "the back-off stops doubling at ten times its base"),
        Mistake(312.5, "that is the mean: the question asks for the most"),
        Mistake(250, "that is the last back-off alone: add the five"),
        Mistake(25 + 50 + 100 + 200, "five attempts are five retries, after a first try"),
    ],
)
def worst_wait() -> float:
    """The bounds of the five back-offs: 25, 50, 100, 200 and 250 ms."""
    return 1000 * sum(longest_backoff(retry) for retry in range(1, 6))


@exercise(
    objective="set two clocks that do not cut each other off",
    minutes=4,
    unit="s",
    tolerance=0.001,
    hints=[
        "What happens between the first send and the answer of the second try?",
        "One lost try, the longest first back-off, one good try.",
    ],
    mistakes=[
        Mistake(0.3 + 0.15, "between the two tries there is a back-off"),
        Mistake(0.6, "the second try on a good pod takes 0.15 s, and before it there is a back-off"),
        Mistake(0.3 + 0.0125 + 0.15, "that is with the mean back-off: *never* asks for the longest"),
    ],
)
def timeout() -> float:
    """One try until its limit, the longest first back-off, one good answer."""
    return 0.3 + longest_backoff(1) + 0.15


@exercise(
    objective="compute the amplification over hops",
    minutes=2,
    unit="attempts",
    hints=["Two retries are three tries.", "Each hop tries its own three for each try of the one before: the factors multiply."],
    mistakes=[
        Mistake(8, "two retries are three tries"),
        Mistake(9, "the factors multiply over three hops"),
        Mistake(7, "the factors multiply; they do not add"),
        Mistake(6, "the factors multiply; they do not add"),
    ],
)
def three_hops() -> float:
    """Three tries at each of three hops."""
    return amplification(1.0, [2, 2, 2])


@exercise(
    objective="find where a storm can keep itself alive",
    minutes=5,
    unit="requests a second",
    tolerance=0.01,
    hints=["In the bad state every try fails.", "Then each request makes two tries, and they must reach the capacity."],
    mistakes=[
        Mistake(10, "that is with two retries: one retry makes two tries of a request"),
        Mistake(30, "that is the capacity: the tries that retries add count too"),
        Mistake(20, "one retry makes *two* tries of a request that fails"),
    ],
)
def one_retry() -> float:
    """In the bad state all tries fail, so twice the fresh rate arrives: the storm lives where that is the capacity."""
    return storm_onset(retries=1, capacity=30)


@exercise(
    objective="set a retry budget",
    minutes=4,
    unit="share",
    tolerance=0.005,
    hints=["The budget is a share of *all* requests in flight, the retries included.", "18 / (1 - b) must not exceed 30."],
    mistakes=[
        Mistake(30 / 18 - 1, "that is retries over fresh requests: the budget counts the retries in as well"),
        Mistake(18 / 30, "that is the share of the fresh ones: the budget is for the retries"),
    ],
)
def budget() -> float:
    """The fresh requests are the rest: 18 of the 30 that the service can bear."""
    return 1 - 18 / 30
