"""Chapter 2: staying local, and leaving when the neighbour fails."""

from __future__ import annotations

from meshmodel.analytic.locality import ejection_schedule
from meshmodel.evidence.catalogue import experiment
from meshmodel.rules.ejection import may_eject
from meshmodel.rules.locality import level_loads
from meshmodel.teaching.exercises import Mistake, exercise


@exercise(
    objective="compute what spills into the next zone",
    minutes=3,
    unit="%",
    hints=["What a level keeps is 1.4 times its healthy share, rounded down.", "The second level is healthy: it takes all the rest."],
    mistakes=[
        Mistake(52, "that is what stays: the question asks for what leaves"),
        Mistake(62.5, "that leaves out the overprovisioning factor of 1.4", 1),
        Mistake(47.5, "the health of a level is rounded down to a whole percent", 0.1),
    ],
)
def spill() -> int:
    """Level 0 keeps 140 × 3 // 8 percent; the healthy level 1 takes the rest."""
    return level_loads(healthy=[3, 4], total=[8, 4])[1]


@exercise(
    objective="find when a zone begins to give load away",
    minutes=3,
    unit="pods",
    hints=["A level gives nothing away while 1.4 × its healthy share is at least 1.", "Ten pods, n out: 140 × (10 - n) // 10 against 100."],
    mistakes=[
        Mistake(1, "the factor 1.4 forgives some: what is 1.4 × 9/10?"),
        Mistake(2, "1.4 × 8/10 is still more than 1"),
        Mistake(4, "one fewer does it already: 1.4 × 7/10 is below 1"),
        Mistake(10, "that is when everything leaves: the first request leaves earlier"),
    ],
)
def lose() -> int:
    """The first number of lost pods with which level 1 gets a percent."""
    return next(out for out in range(1, 10) if level_loads([10 - out, 5], [10, 5])[1] > 0)


@exercise(
    objective="write down the timetable of a failing pod",
    minutes=5,
    unit="s",
    tolerance=0.5,
    hints=[
        "Each stay is base × its number, and then the next tick has to come.",
        "It fails just after a tick, so that tick is missed: one interval more.",
    ],
    mistakes=[
        Mistake(60, "that leaves out the wait for a tick: the pod fails just after one, so each stay takes an interval more"),
        Mistake(45, "each stay is longer than the last: base × the number of ejections"),
        Mistake(40, "that is the second return"),
        Mistake(30, "each stay is longer than the last, and each waits for a tick"),
    ],
)
def third_return() -> float:
    """Stays of 10, 20 and 30 s, each until the tick after."""
    schedule = ejection_schedule(200, interval=5, base=10, longest=300, inside=0.01, phase=4.99)
    return round(schedule[2][1])


@exercise(
    objective="tell what a return costs",
    minutes=4,
    unit="requests",
    tolerance=3,
    hints=["The ejection is at once, but the workers hear of it later.", "A return costs about one second of traffic, whatever the rate."],
    mistakes=[
        Mistake(1, "the table says FAILED at once, but the workers that route requests hear of it only when the merge window is over", 0.5),
        Mistake(75, "15 a second is what the five connections ask for together", 5),
        Mistake(5, "each connection meets the pod more than once in that second", 1),
        Mistake(20, "that counts the five that failed before the first ejection: the question is about a return", 1),
    ],
)
def failures_per_return() -> float:
    """One second of traffic: the merge window holds the second change of health back."""
    failing = experiment("locality-failure").mesh()
    replay = failing.fortio_load(5, 15, "40s", replications=20, seed=3)
    returned = replay.log.start > 20  # before that the first ejection: all five may have met the pod
    return float((returned & (replay.log.code == 500)).sum() / 20)


@exercise(
    objective="read `maxEjectionPercent` as this version does",
    minutes=2,
    unit="%",
    hints=["One pod of three is 33.3 %.", "(ejected + 1) / all must not exceed the percentage."],
    mistakes=[
        Mistake(33, "a third is a little more than 33 %: that is less than one pod"),
        Mistake(10, "that is Istio's default, with which nobody of three is ejected any more"),
        Mistake(100 / 3, "it has to be a whole number: the next one up", 0.2),
        Mistake(67, "that lets out two of three"),
    ],
)
def percent() -> int:
    """The first percentage with which the rule lets one of three go, now that it makes no exception for the first host."""
    return next(p for p in range(101) if may_eject(ejected=0, hosts=3, percent=p, one_host_always=False))


@exercise(
    objective="work out priorities as another caller sees them",
    minutes=4,
    unit="share",
    tolerance=0.02,
    hints=["Which priorities does zone c see?", "All three pods have the same priority after the compaction."],
    mistakes=[
        Mistake(0.0, "zone a is no farther from zone c than zone b is: nobody is preferred"),
        Mistake(0.5, "there are two zones but three pods: with one priority the pods share, not the zones"),
        Mistake(1.0, "it is at home in zone a; the caller has moved"),
    ],
)
def zone_c() -> float:
    """All pods are equally far away, so they share as if there were no localities: one pod of three."""
    mesh = experiment("locality").mesh()
    moved = mesh.curl(50, replications=200, seed=2, locality="us-west1.us-west1-c")
    return float(moved.endpoint_shares()["simple-backend-1"].mean)
