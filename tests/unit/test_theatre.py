"""The theatre's Python side: what moves when, the stops of the step button, what is said, and what shows without a browser."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from matplotlib.text import Text

from meshmodel.results import fortio
from meshmodel.results.fortio import Histogram
from meshmodel.scenario import (
    Behaviour,
    ClosedLoop,
    Cluster,
    ConnectionPool,
    DirectResponse,
    Endpoint,
    Fault,
    HashPolicy,
    Mirror,
    OpenLoop,
    OutlierDetection,
    Request,
    RetryBudget,
    RetryPolicy,
    Route,
    Scenario,
    SlowStart,
)
from meshmodel.teaching import palette
from meshmodel.teaching.standalone import MIME, state_of
from meshmodel.teaching.theatre import events, moves, packing, theatre
from meshmodel.teaching.theatre.constants import acting, differences
from meshmodel.teaching.theatre.moves import BACK, BACK_OFF, GHOST, HOLD, KIND, LEG, OUT, QUEUE, WAIT, WORK
from meshmodel.teaching.theatre.stage import MOST_CALLERS, Stage
from meshmodel.teaching.theatre.visits import Visits, Window
from meshmodel.teaching.theatre.widget import module, style

from .traces import CARTS, NAN, PODS, WEB, forked, played, scenario, through, trace, tree

WHOLE = Window(0.0, 100.0)
RUNS = {
    "least request": {},
    "round robin": {"policy": "ROUND_ROBIN"},
    "retries": {"fails": 0.5, "retries": 2},
    "per try timeout": {"per_try": 0.3, "retries": 2},
    "connections": {"limit": 3},
    "overflow": {"limit": 3, "pending": 1},
    "ejections": {"fails": 1.0, "eject": True, "retries": 1},
}


TREE = "a tree"


def told_of(name):
    return forked() if name == TREE else played(**RUNS[name])


@cache
def run(name):
    return script(told_of(name))


def script(told, window=WHOLE):
    stage = Stage.of(told)
    visits = Visits.of(told, stage, window)
    return stage, visits, moves.moves(visits, stage, window.stop)


def of_request(visits, made, request, living=True):
    """(kind, start, stop, column, to) of a request's moves, in order."""
    rows = (visits.request[made["visit"]] == request) & ((made["kind"] & GHOST == 0) == living)
    columns = (made["kind"] & KIND, made["start"].astype(float), made["stop"].astype(float), made["station"], made["to"])
    return [tuple(value.item() for value in row) for row in zip(*(column[rows] for column in columns), strict=True)]


# --- what moves when ---------------------------------------------------------------------------


def test_a_request_without_trouble_goes_there_and_back_in_one_line():
    _, visits, made = script(trace([(0, 1.0, 2.0, 200, PODS[0], 1)], through(1.0, 2.0, 0, 0)))
    assert of_request(visits, made, 0) == [
        (OUT, 1.0, pytest.approx(1.0 + LEG), 0, 3),
        (WORK, pytest.approx(1.0 + LEG), pytest.approx(2.0 - LEG), 3, 3),
        (BACK, pytest.approx(2.0 - LEG), 2.0, 3, 0),
    ]


@pytest.mark.parametrize("name", [*RUNS, TREE])
def test_at_every_moment_a_request_is_in_exactly_one_place(name):
    """Its living moves follow one another from its start to its end: nothing is drawn twice, nothing is lost."""
    _, visits, made = run(name)
    for request in range(visits.requests):
        at = visits.began[request]
        for kind, start, stop, *_ in of_request(visits, made, request):
            assert start == pytest.approx(at, abs=2 * visits.pause), (request, kind)
            at = stop
        assert at == pytest.approx(min(visits.end[request], WHOLE.stop + 1), abs=2 * visits.pause), request


@pytest.mark.parametrize("name", [*RUNS, TREE])
def test_trips_meet_where_one_ends_and_the_next_begins(name):
    _, visits, made = run(name)
    for request in range(visits.requests):
        mine = of_request(visits, made, request)
        for (*_, to), (*_, column, _) in zip(mine, mine[1:], strict=False):
            left = visits.is_outcome("per try timeout", "timeout", "abandoned")[visits.request == request].any()
            assert column == to or left, (request, mine)  # what is given up stays; the answer begins at the proxy


@pytest.mark.parametrize("name", [*RUNS, TREE])
def test_no_two_dots_share_a_seat(name):
    _, visits, made = run(name)
    working = np.flatnonzero(made["kind"] & KIND == WORK)
    for time in np.linspace(0.05, 6, 100):
        now = working[(made["start"][working] <= time) & (made["stop"][working] > time)]
        taken = Counter(zip(visits.target[made["visit"][now]].tolist(), made["seat"][now].tolist(), strict=True))
        assert max(taken.values(), default=1) == 1, time


def test_what_a_caller_spends_after_the_answer_is_spent_there():
    outer, inner = through(0.0, 1.0, 0, 0)
    _, visits, made = script(trace([(0, 0.0, 1.3, 200, PODS[0], 1)], [outer | {"end": 1.3}, inner]))
    assert of_request(visits, made, 0)[2:] == [
        (BACK, pytest.approx(1 - LEG), 1.0, 3, 2),
        (HOLD, 1.0, pytest.approx(1.3 - LEG), 2, 2),
        (BACK, pytest.approx(1.3 - LEG), pytest.approx(1.3), 2, 0),
    ]


def test_a_request_waits_for_a_connection_in_its_proxy():
    outer, inner = through(0.0, 1.0, 0, 0)
    _, visits, made = script(trace([(0, 0.0, 1.0, 200, PODS[0], 1)], [outer, inner | {"start": 0.4}]))
    kinds = [(kind, column, to) for kind, _, _, column, to in of_request(visits, made, 0)]
    assert kinds == [(OUT, 0, 2), (WAIT, 2, 2), (OUT, 2, 3), (WORK, 3, 3), (BACK, 3, 0)]


def test_a_retry_rests_in_its_proxy_first():
    outer, first = through(0.0, 1.0, 0, 0, "backend-0", call=5)
    again = first | {"number": 2, "endpoint": "backend-1", "chosen": 0.5, "start": 0.5, "end": 1.0, "back_off": 0.1}
    first |= {"end": 0.4, "outcome": "503"}
    _, visits, made = script(trace([(0, 0.0, 1.0, 200, PODS[1], 2)], [outer, first, again]))
    kinds = [(kind, column, to) for kind, _, _, column, to in of_request(visits, made, 0)]
    assert kinds == [(OUT, 0, 3), (WORK, 3, 3), (BACK, 3, 2), (BACK_OFF, 2, 2), (OUT, 2, 3), (WORK, 3, 3), (BACK, 3, 0)]


def test_a_retry_after_a_refusal_that_took_no_time_begins_at_the_proxy():
    outer, first = through(0.0, 1.0, 0, 0, "backend-0", call=5)
    again = first | {"number": 2, "endpoint": "backend-1", "chosen": 0.0002, "start": 0.0002, "back_off": 0.0002}
    first |= {"end": 0.0, "outcome": "refused"}
    _, visits, made = script(trace([(0, 0.0, 1.0, 200, PODS[1], 2)], [outer, first, again]))
    assert [(kind, column, to) for kind, _, _, column, to in of_request(visits, made, 0)][1:] == [(OUT, 2, 3), (WORK, 3, 3), (BACK, 3, 0)]


def test_a_pod_works_on_for_nobody_after_a_timeout():
    outer, inner = through(0.0, 0.4, 0, 0, outcome="timeout")
    _, visits, made = script(trace([(0, 0.0, 0.4, 504, "envoy", 1)], [outer, inner]))
    ghosts = of_request(visits, made, 0, living=False)
    assert ghosts == [(WORK, pytest.approx(0.4 - LEG), 1.0, 3, 3)]  # the slow pod's timing_50_percentile is 1 s
    assert of_request(visits, made, 0)[-1] == (BACK, pytest.approx(0.4 - LEG), pytest.approx(0.4), 2, 0)


def test_an_inner_call_goes_on_for_nobody_when_the_outer_proxy_gives_up():
    outer, inner = through(0.0, 2.0, 0, 0)
    _, visits, made = script(trace([(0, 0.0, 0.8, 504, "envoy", 1)], [outer | {"end": 0.8, "outcome": "timeout"}, inner]))
    living = of_request(visits, made, 0)
    assert [(kind, column, to) for kind, _, _, column, to in living] == [(OUT, 0, 3), (WORK, 3, 3), (BACK, 1, 0)]
    assert living[1][2] == living[2][1] == pytest.approx(0.8 - LEG)  # no dot is in two places
    assert [(kind, column, to) for kind, _, _, column, to in of_request(visits, made, 0, living=False)] == [(WORK, 3, 3), (BACK, 3, 2)]


def test_requests_queue_in_a_pod_that_works_on_so_many_at_once():
    told = scenario([Behaviour(timing_50_percentile=1.0, concurrency=1), Behaviour(), Behaviour()])
    attempts = through(0.0, 1.0, 0, 0) + through(0.1, 2.0, 1, 2) + through(0.2, 0.5, 2, 4, outcome="timeout") + through(0.3, 4.0, 3, 6)
    requests = [(i, start, end, 200, PODS[0], 1) for i, (start, end) in enumerate([(0.0, 1.0), (0.1, 2.0), (0.2, 0.5), (0.3, 4.0)])]
    _, visits, made = script(trace(requests, attempts, told=told))
    working = {row: (visits.work[row], visits.done[row]) for row in range(4, 12) if visits.hop[row] == 1}
    assert list(working.values()) == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]  # the third is done for nobody
    assert (QUEUE, 3, 3) in [(kind, column, to) for kind, _, _, column, to in of_request(visits, made, 1)]
    assert [kind for kind, *_ in of_request(visits, made, 2, living=False)] == [QUEUE, WORK]


def test_the_winner_of_a_hedge_carries_the_answer_home():
    outer, first = through(0.0, 1.0, 0, 0, call=5)
    second = first | {"number": 2, "endpoint": "backend-1", "chosen": 0.5, "start": 0.5, "end": 1.0}
    first |= {"outcome": "abandoned"}
    _, visits, made = script(trace([(0, 0.0, 1.0, 200, PODS[1], 2)], [outer, first, second]))
    home = [row for row, kind, to in zip(made["visit"], made["kind"], made["to"], strict=True) if kind == BACK and to == 0]
    assert [visits.number[row] for row in home] == [2]


def test_hops_that_an_engine_leaves_out_are_drawn_all_the_same():
    """A trace in which the gateway's attempts are missing looks like the whole one."""
    whole = played(fails=0.5, retries=2)
    inner = whole.attempts[whole.attempts.hop == 1].assign(parent=-1).reset_index(drop=True)
    _, visits, made = script(dataclasses.replace(whole, attempts=inner))
    _, all_visits, all_made = script(whole)
    assert sorted(visits.hop) == sorted(all_visits.hop)
    for request in range(visits.requests):
        mine, theirs = of_request(visits, made, request), of_request(all_visits, all_made, request)
        assert np.allclose(np.array(mine), np.array(theirs), atol=1e-3), request


def test_a_window_keeps_who_is_under_way_in_it_and_their_families():
    told = played(fails=0.5, retries=2)
    window = Window(2.0, 3.0)
    stage, visits, made = script(told, window)
    requests = told.requests
    seen = requests[(requests.start < 3.0) & ~(requests.end < 2.0)]
    assert visits.numbers.tolist() == seen.request.tolist() and 0 < len(seen) < len(requests)
    assert len(visits.hop) == len(seen) + told.attempts.request.isin(seen.request).sum()
    served = visits.parent[visits.requests :]
    assert (visits.request[served] == visits.request[visits.requests :]).all()
    assert (visits.hop[served] == visits.hop[visits.requests :] - 1).all()


def test_a_run_that_ends_with_requests_under_way_shows_them_till_the_end():
    outer, inner = through(0.0, NAN, 0, 0, outcome="")
    told = trace(
        [(0, 0.0, NAN, -2, "", 1), (1, 0.0, 3.0, 200, PODS[1], 1)], [outer | {"outcome": ""}, inner, *through(0.0, 3.0, 1, 2, PODS[1])]
    )
    _, visits, made = script(told, Window(0.0, 3.0))
    assert of_request(visits, made, 0)[-1][2] > 3.0
    assert visits.outcomes[visits.outcome[0]] == ""


# --- a pod that makes several calls for a request ------------------------------------------------


def names(stage, station):
    return [stage.names[place] for place in stage.stations[station]]


def test_a_tree_of_calls_has_a_station_for_each_and_knows_in_which_order_a_request_comes_to_the_ends():
    stage = Stage.of(forked())
    assert [names(stage, station) for station in range(6)] == [["load"], ["gateway"], [WEB], list(CARTS), ["db-0"], list(PODS)]
    assert stage.before == (-1, 0, 1, 2, 3, 2) and stage.called == ("", "", "web", "cart", "db", "backend")
    assert stage.order() == ["", "", "", "\N{CIRCLED DIGIT ONE}", "", "\N{CIRCLED DIGIT TWO}"]
    assert [names(stage, station) for station in stage.ends] == [["db-0"], list(PODS)]
    assert [stage.roles[place] for place in stage.pods] == ["healthy", "troubled", "healthy", "healthy"]


def test_the_ends_stand_in_the_order_of_the_calls_whatever_the_routes_numbers():
    """What the first of two calls leads to comes first, also where its route is told last."""
    told = tree()
    web, cart, db, backend = told.routes
    routes = (web, cart, dataclasses.replace(backend, called_from=0), dataclasses.replace(db, called_from=1))
    stage = Stage.of(trace([], [], told=dataclasses.replace(told, routes=routes)))
    assert [stage.called[station] for station in stage.ends] == ["db", "backend"]


def test_a_request_takes_its_branches_one_after_another():
    """Number 3: a try at the cart that fails, back-off, another; web-0 is busy; then the backend; each try by its own way."""
    _, visits, made = run(TREE)
    assert [(kind, station, to) for kind, _, _, station, to in of_request(visits, made, 3)] == [
        (OUT, 0, 4), (WORK, 4, 4), (BACK, 4, 2), (BACK_OFF, 2, 2),
        (OUT, 2, 4), (WORK, 4, 4), (BACK, 4, 2), (HOLD, 2, 2),
        (OUT, 2, 5), (WORK, 5, 5), (BACK, 5, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "refused, lasting, pod", [((1, "cart-0", 0.0), (3, PODS[1], 0.0), 5), ((3, PODS[1], 0.9998), (1, "cart-0", 0.0), 3)]
)
def test_the_branch_that_takes_its_time_carries_the_request_there_and_the_answer_home(refused, lasting, pod):
    """The other one is refused within a moment, before it or after it: no way is drawn twice, none is left out."""
    tries = [
        {
            "request": 0,
            "hop": hop,
            "call": hop,
            "parent": 0,
            "endpoint": name,
            "chosen": at,
            "start": at,
            "end": at + seconds,
            "outcome": ends,
        }
        for (hop, name, at), seconds, ends in ((refused, 0.0001, "refused"), (lasting, 0.9998, "200"))
    ]
    attempts = through(0.0, 1.0, 0, 0)[:1] + sorted(tries, key=lambda each: each["end"])
    _, visits, made = script(trace([(0, 0.0, 1.0, 200, PODS[1], 1)], attempts, told=tree()))
    kind = HOLD if pod == 3 else WORK  # the cart's pods would call on
    mine = of_request(visits, made, 0)
    lasts = [(kind, station, to) for kind, start, stop, station, to in mine if stop - start > 0.001]
    assert lasts == [(OUT, 0, pod), (kind, pod, pod), (BACK, pod, 0)]
    assert [sum(end == 0 for end in ends) for ends in zip(*((station, to) for _, _, _, station, to in mine), strict=True)] == [1, 1]


def test_what_a_pod_still_calls_when_its_proxy_gave_it_up_is_done_for_nobody():
    outer = through(0.0, 0.4, 0, 0)[0] | {"outcome": "timeout"}
    inner = [{"request": 0, "hop": hop, "parent": 0, "endpoint": pod, "chosen": at, "start": at, "end": at + 0.3}
             for hop, pod, at in ((1, "cart-0", 0.0), (3, PODS[1], 0.5))]  # fmt: skip
    _, visits, made = script(trace([(0, 0.0, 0.4, 504, "envoy", 1)], [outer, *inner], told=tree()))
    held, back = of_request(visits, made, 0)[-2:]
    assert (held[0], back[0], back[3:]) == (HOLD, BACK, (1, 0)) and held[2] == back[1] == pytest.approx(0.4 - LEG)
    assert [(kind, station, to) for kind, _, _, station, to in of_request(visits, made, 0, living=False)] == [
        (HOLD, 2, 2), (OUT, 2, 5), (WORK, 5, 5), (BACK, 5, 2),
    ]  # fmt: skip


def test_every_try_of_a_trace_is_drawn_once_and_at_its_own_pod():
    """One way there, and one time at work where it ends at a pod that calls nobody: no try is lost, none is drawn on the other branch."""
    told = forked()
    stage, visits, made = script(told)
    living = made["kind"] & GHOST == 0
    there, working = ((made["kind"] & KIND == kind) & living for kind in (OUT, WORK))
    arrivals = Counter(
        visit_at(stage, visits, row, station)
        for row, start, to in zip(made["visit"][there].tolist(), made["station"][there].tolist(), made["to"][there].tolist(), strict=True)
        for station in way(stage, start, to)[1:]
    )
    tries = range(visits.requests, len(visits.hop))
    assert len(tries) == len(told.attempts) and {row: arrivals[row] for row in tries} == dict.fromkeys(tries, 1)
    works = zip(made["visit"][working].tolist(), made["station"][working].tolist(), strict=True)
    assert Counter(works) == Counter((row, visits.hop[row] + 2) for row in tries if visits.hop[row] + 2 in stage.ends)


def way(stage, start, to):
    """The stations of a trip outwards."""
    stations = [to]
    while stations[-1] != start:
        stations.append(stage.before[stations[-1]])
    return stations[::-1]


def visit_at(stage, visits, row, station):
    """The visit on a visit's way that leads to a station."""
    while visits.hop[row] + 2 != station:
        row = visits.parent[row]
    return int(row)


def test_a_tree_is_told_in_words_as_well():
    told = forked()
    shown = theatre(told)
    assert "Tries at what web calls, in order: cart 16, backend 15." in shown.picture.alt_text
    assert ("web", "calls, in order", "cart, backend", "") in acting(told.scenario)
    assert {"db-0", "backend-0"} <= {constant.place for constant in acting(told.scenario)}
    assert "web-0 has its answer from cart, and calls backend for the same request" in [
        text for _, text in shown.spec["panels"][0]["watch"]
    ]
    assert "Tries at" not in theatre(played()).picture.alt_text


# --- the stage ---------------------------------------------------------------------------------


def test_the_stage_has_a_column_for_each_proxy_and_knows_the_troubled_pod():
    stage = Stage.of(trace([], [], told=scenario()))
    assert [[stage.names[p] for p in column] for column in stage.stations] == [["load"], ["gateway"], [WEB], list(PODS)]
    assert [stage.roles[p] for p in stage.pods] == ["troubled", "healthy", "healthy"]


def test_many_callers_are_drawn_as_one():
    told = scenario()
    callers = tuple(dataclasses.replace(told.routes[1].callers[0], name=f"web-{i}") for i in range(MOST_CALLERS + 1))
    many = dataclasses.replace(told, routes=(told.routes[0], dataclasses.replace(told.routes[1], callers=callers)))
    stage = Stage.of(trace([], [], told=many))
    assert [stage.names[p] for p in stage.stations[2]] == ["9 × web"]
    assert stage.places(np.array([2, 2]), ["web-3", "web-8"]).tolist() == [stage.stations[2][0]] * 2


@pytest.mark.parametrize(
    "behaviours, bad",
    [
        ([Behaviour(timing_50_percentile=1.0), Behaviour(timing_50_percentile=0.1)], {"backend-0"}),
        ([Behaviour(timing_50_percentile=0.1, error_rate=0.5), Behaviour(timing_50_percentile=0.2)], {"backend-0"}),
        ([Behaviour(failure="hang"), Behaviour()], {"backend-0"}),
        ([Behaviour(timing_50_percentile=0.1)] * 2, set()),
        ([Behaviour(error_rate=1.0)] * 2, {"backend-0", "backend-1"}),
    ],
)
def test_a_pod_is_troubled_that_fails_or_is_the_slowest(behaviours, bad):
    assert palette.troubled(scenario(behaviours)) == bad


# --- the stops of the step button ----------------------------------------------------------------


def stops(told, window=WHOLE):
    stage, visits, _ = script(told, window)
    hosts = told.hosts.sort_values("time", kind="stable")
    made = events.events(visits, hosts, window, events.choices(told))
    return [(round(float(t), 4), int(kind), int(row)) for t, kind, row in zip(made["time"], made["kind"], made["row"], strict=True)]


def test_the_stops_come_in_the_order_of_cause_and_effect():
    """Connection 0 has its answer and sends again at the same time; proxies that have no choice are no stop."""
    attempts = through(0.0, 1.0, 0, 0) + through(1.0, 2.0, 1, 2, "backend-1")
    told = trace([(0, 0.0, 1.0, 200, PODS[0], 1), (0, 1.0, 2.0, 200, PODS[1], 1)], attempts)
    assert stops(told) == [
        (0.0, events.PICKED, 3),
        (1.0, events.ENDED, 3),
        (1.0, events.ANSWERED, 0),
        (1.0, events.PICKED, 5),
        (2.0, events.ENDED, 5),
        (2.0, events.ANSWERED, 1),
    ]


def test_a_refusal_that_takes_no_time_is_picked_before_it_ends():
    outer, inner = through(1.0, 1.0, 0, 0, "", outcome="overflow")
    told = trace([(0, 1.0, 1.0, 500, "envoy", 0)], [outer | {"outcome": "500"}, inner | {"start": NAN}])
    assert [kind for _, kind, _ in stops(told)] == [events.PICKED, events.ENDED, events.ENDED, events.ANSWERED]


def test_waiting_ejection_and_return_are_stops():
    outer, inner = through(0.0, 1.0, 0, 0)
    told = trace(
        [(0, 0.0, 1.0, 200, PODS[0], 1)],
        [outer, inner | {"start": 0.5}],
        [(0.7, WEB, PODS[1], "ejected"), (0.9, WEB, PODS[1], "readmitted")],
    )
    assert [(t, kind) for t, kind, _ in stops(told)] == [
        (0.0, events.PICKED), (0.5, events.GRANTED), (0.7, events.HOST), (0.9, events.HOST), (1.0, events.ENDED), (1.0, events.ANSWERED),
    ]  # fmt: skip


def test_an_ejection_knows_when_it_ends():
    hosts = [(1.0, WEB, PODS[0], "ejected"), (1.5, WEB, "", "panic"), (2.0, WEB, PODS[0], "readmitted"), (2.5, WEB, "", "panic ends"),
             (3.0, WEB, PODS[0], "ejected")]  # fmt: skip
    told = trace([(0, 0.0, 1.0, 200, PODS[0], 1)], through(0.0, 1.0, 0, 0), hosts)
    stage = Stage.of(told)
    made = events.host_events(told, stage)
    assert made["until"].tolist() == [2.0, 2.5, events.EVER, events.EVER, events.EVER]
    assert [stage.names[p] if p >= 0 else "" for p in made["pod"]] == [PODS[0], "", PODS[0], "", PODS[0]]


# --- bytes ---------------------------------------------------------------------------------------


def test_packed_tables_come_back_as_they_were():
    tables = {
        "a": {"t": np.array([0.5, 1.5, 2.5], "f4"), "n": np.array([1, 2, 3], "u1"), "m": np.array([-1, 2, -3], "i2")},
        "empty": {"t": np.zeros(0, "f4")},
        "b": {"k": np.array([2**31 - 1], "i4"), "s": np.array([65535], "u2")},
    }
    data, layout = packing.pack(tables)
    back = packing.unpack(data, json.loads(json.dumps(layout)))
    assert {t: {n: c.tolist() for n, c in columns.items()} for t, columns in back.items()} == {
        t: {n: c.tolist() for n, c in columns.items()} for t, columns in tables.items()
    }
    assert all(at % 4 == 0 for told in layout.values() for _, at in told["columns"].values())


@pytest.mark.parametrize("columns", [{"t": np.zeros(2)}, {"t": np.zeros(2, "f4"), "u": np.zeros(3, "f4")}])
def test_what_a_browser_cannot_read_is_not_packed(columns):
    with pytest.raises(ValueError, match="pack: a."):
        packing.pack({"a": columns})


def test_a_trace_travels_as_few_bytes():
    told = played(seconds=6.0)
    shown = theatre(told)
    assert sum(map(len, shown.data)) < 300 * len(told.requests)


# --- every constant that acts is on the screen ---------------------------------------------------

UNSEEN = {
    Scenario: {"routes", "workload", "changes"},
    Route: {"host", "callers", "destinations", "called_from"},
    Cluster: {"name", "endpoints", "connection_pool", "outlier_detection", "minimum_ring_size", "maglev_table_size"},
    Endpoint: {"name", "deployment", "address", "locality", "message"},
    Behaviour: {"undelayed", "injector", "errors", "error_type", "error_delay", "error_code"},  # said with what they belong to
    RetryBudget: set(),
    OutlierDetection: {"consecutive_local_origin_failure", "split_external_local_origin_errors"},
}
"""Fields that are names, or hold others, or act only beside another: each of those has its own line below."""

OTHERS = {
    Route: {
        "timeout": 0.7, "retries": RetryPolicy(attempts=1, retry_on=frozenset({"5xx"})), "fault": Fault(delay=1.0, delay_percent=3.0),
        "hash_policy": (HashPolicy(kind="header", name="x-user"),), "mirrors": (Mirror(cluster=Cluster(name="copy", endpoints=())),),
        "direct_response": None,
    },
    Cluster: {
        "load_balancing": "RANDOM", "priorities": ((0, 1, 1),), "locality_weights": ({"a/b": 1},), "panic_threshold": 30.0,
        "slow_start": SlowStart(window=5.0),
    },
    ConnectionPool: {
        "max_connections": 3, "max_pending_requests": 3, "max_requests": 3, "max_requests_per_connection": 3, "max_retries": 3,
        "retry_budget": RetryBudget(), "http2": True,
    },
    OutlierDetection: {
        "consecutive_5xx": 7, "consecutive_gateway_failure": 7, "interval": 7.0, "base_ejection_time": 7.0, "max_ejection_time": 70.0,
        "max_ejection_percent": 70, "one_host_always": True, "update_merge_window": 7.0, "error_codes": frozenset({501}),
    },
    RetryPolicy: {
        "attempts": 7, "retry_on": frozenset({"reset"}), "retriable_status_codes": frozenset({418}), "per_try_timeout": 7.0,
        "backoff_base_interval": 0.007, "backoff_max_interval": 0.7, "previous_hosts": False, "host_selection_retry_max_attempts": 7,
        "previous_priorities_update_frequency": 7, "hedge_on_per_try_timeout": True,
    },
    Behaviour: {
        "timing_50_percentile": 0.7, "timing_90_percentile": 0.7, "timing_99_percentile": 0.7, "timing_variance": 7, "error_rate": 0.7,
        "failure": "hang", "concurrency": 7, "percentiles": "prose",
    },
    ClosedLoop: {
        "connections": 7, "qps": 70.0, "duration": 70.0, "calls": 700, "users": 7, "timeout": 7.0, "request": Request(path="/seven"),
    },
    OpenLoop: {"segments": ((7.0, 7.0, 7.0),), "arrivals": "paced", "users": 7, "timeout": 7.0, "request": Request(path="/seven")},
    Scenario: {"overhead": None, "workers": 7, "new_connection_per_request": False, "connect_time": 0.007},
    Endpoint: {
        "weight": 7, "behaviour": Behaviour(timing_50_percentile=0.7), "inbound": ConnectionPool(max_requests=7), "inbound_retries": 7,
    },
}  # fmt: skip


def with_part(part):
    """A scenario in which `part` acts."""
    if isinstance(part, ClosedLoop | OpenLoop):
        return scenario(load=part)
    if isinstance(part, Behaviour):
        return scenario([part, Behaviour(), Behaviour()])
    if isinstance(part, Route):
        told = scenario()
        return dataclasses.replace(told, routes=(told.routes[0], part))
    if isinstance(part, Cluster):
        told = scenario()
        destination = dataclasses.replace(told.routes[1].destinations[0], cluster=part)
        return dataclasses.replace(told, routes=(told.routes[0], dataclasses.replace(told.routes[1], destinations=(destination,))))
    if isinstance(part, Endpoint):
        cluster = scenario().routes[1].destinations[0].cluster
        return with_part(dataclasses.replace(cluster, endpoints=(part, *cluster.endpoints[1:])))
    where = {ConnectionPool: "connection_pool", OutlierDetection: "outlier_detection", RetryPolicy: "retries"}[type(part)]
    return scenario(**{where: part})


def base(kind):
    told = scenario()
    route = told.routes[1]
    made = {
        Route: route,
        Cluster: dataclasses.replace(route.destinations[0].cluster, outlier_detection=OutlierDetection()),
        Endpoint: route.destinations[0].cluster.endpoints[0],
        RetryPolicy: RetryPolicy(attempts=1, retry_on=frozenset({"5xx"})),
        ClosedLoop: ClosedLoop(connections=2, duration=10.0),
        OpenLoop: OpenLoop(segments=((5.0, 5.0, 5.0),)),
        Behaviour: Behaviour(timing_50_percentile=0.1, timing_90_percentile=0.2, timing_99_percentile=0.3),
    }
    return made.get(kind) or kind()


CASES = [(kind, name) for kind, others in OTHERS.items() for name in others if kind is not Scenario and name != "direct_response"]


@pytest.mark.parametrize("kind, name", CASES, ids=lambda case: case if isinstance(case, str) else case.__name__)
def test_a_constant_that_changes_is_seen_to_change(kind, name):
    before, after = base(kind), dataclasses.replace(base(kind), **{name: OTHERS[kind][name]})
    if isinstance(after, Route) and name == "hash_policy":
        assert "header x-user" in str(acting(with_part(after)))
    assert acting(with_part(before)) != acting(with_part(after))


def test_no_field_of_a_scenario_is_forgotten():
    """A new field must be shown, or be said here to be none that acts."""
    for kind, others in OTHERS.items():
        assert {field.name for field in dataclasses.fields(kind)} == set(others) | UNSEEN.get(kind, set()), kind.__name__


def test_the_proxies_own_constants_and_a_direct_response_are_shown():
    told = scenario()
    for change in ({"workers": 7}, {"new_connection_per_request": False}, {"connect_time": 0.007}):
        assert acting(dataclasses.replace(told, **change)) != acting(told)
    direct = Route(host="a", callers=told.routes[0].callers, destinations=(), direct_response=DirectResponse(status=418))
    assert ("gateway → a", "directResponse", "418", "") in acting(dataclasses.replace(told, routes=(direct,)))


@pytest.mark.parametrize("injector, who", [("fake-service", "one request of 1"), ("nominal", "each with that chance")])
def test_an_error_rate_is_said_as_it_is_read(injector, who):
    behaviour = Behaviour(error_rate=0.75, error_code=503, error_type="delay", error_delay=0.2, undelayed=0.01, injector=injector)
    values = [constant.value for constant in acting(scenario([behaviour, Behaviour(), Behaviour()]))]
    assert f"0.75 with 503 after 200 ms: {who}" in values and ("0 s, half of them 10 ms" in values) == (injector == "nominal")


def test_two_scenarios_share_what_both_have():
    one, other = acting(scenario(load_balancing="RANDOM")), acting(scenario(load_balancing="ROUND_ROBIN"))
    both, first, second = differences(one, other)
    assert [c.value for c in first] == ["RANDOM"] and [c.value for c in second] == ["ROUND_ROBIN"]
    assert len(both) == len(one) - 1


def test_what_a_change_brings_is_said_with_its_time():
    told = scenario()
    later = dataclasses.replace(told.routes[1], timeout=0.5)
    changed = dataclasses.replace(told, changes=(dataclasses.replace(change(told), routes=(told.routes[0], later)),))
    assert [c for c in acting(changed) if c not in acting(told)] == [("web-0 → backend", "from 3 s: timeout", "500 ms", "")]


def change(told):
    from meshmodel.scenario import Change

    return Change(at=3.0, routes=told.routes)


# --- the widget, and without it ----------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    return played("ROUND_ROBIN"), played("LEAST_REQUEST")


def test_two_traces_are_told_apart_by_what_differs(pair):
    shown = theatre(*pair)
    assert [panel["name"] for panel in shown.spec["panels"]] == ["ROUND_ROBIN", "LEAST_REQUEST"]
    real = dataclasses.replace(pair[1], engine="envoy")
    assert [panel["name"] for panel in theatre(pair[1], real).spec["panels"]] == ["the model's run", "a real Envoy's run"]
    assert [panel["name"] for panel in theatre(pair[1], pair[1]).spec["panels"]] == ["first run", "second run"]
    assert [p["name"] for p in theatre(played(), played(retries=1)).spec["panels"]] == ["without retries", "retries"]


def test_it_shows_itself_as_a_widget_a_picture_and_a_line(pair):
    shown = theatre(*pair, title="Two policies")
    data, metadata = shown._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", MIME, "image/png", "text/html", "text/plain"}
    assert data["text/plain"] == metadata["image/png"]["alt"] == repr(shown)
    assert f'role="img" aria-label="{repr(shown)[:20]}' in data["text/html"]  # a bare image has no accessible name in JupyterLab
    assert all(f"{len(t.requests)} requests, 0 failed, 6 not ended; p50 " in repr(shown) for t in pair)
    assert repr(shown).startswith("Two policies. ROUND_ROBIN (the model's run): ") and "\n" not in repr(shown)
    assert "0x" not in repr(shown) and repr(theatre(*pair, title="Two policies")) == repr(shown)


def test_its_state_is_in_the_output_so_that_a_page_without_a_kernel_can_play_it(pair):
    shown = theatre(*pair)
    data, _ = shown._repr_mimebundle_()
    state = state_of(data)
    assert data[MIME]["class"] == "meshmodel.teaching.theatre.widget:Theatre"
    assert (state["spec"], state["data"]) == (shown.spec, shown.data) and not [name for name in state if name.startswith("_")]
    assert len(json.dumps(data[MIME])) < 60_000  # a chapter's notebook holds several


def test_the_still_twin_is_the_same_every_time_and_not_blank(pair):
    shown = theatre(*pair)
    assert shown.picture.png() == theatre(*pair).picture.png()
    assert np.std(np.frombuffer(shown.picture.png()[2000:4000], np.uint8)) > 10
    assert shown.picture.alt_text == repr(shown)


@pytest.mark.parametrize("limit", [None, 1])
def test_the_still_shows_the_moment_at_which_most_stands_those_who_wait_too(limit):
    shown = theatre(played("ROUND_ROBIN", limit=limit, connections=5), played("LEAST_REQUEST", limit=limit, connections=5))
    moves = [packing.unpack(data, panel["layout"])["moves"] for data, panel in zip(shown.data, shown.spec["panels"], strict=True)]
    at = {time: [standing(mine, time) for mine in moves] for time in (shown.spec["still"], *np.linspace(*shown.spec["window"], 300))}
    (all_of_them, waiting), *_ = (tuple(map(sum, zip(*here, strict=True))) for here in at.values())
    assert all_of_them >= 0.9 * max(sum(n for n, _ in here) for here in at.values()) and (waiting > 0) == (limit is not None)
    texts = " ".join(text.get_text() for text in shown.picture.findobj(Text))
    assert ("waiting" in texts) == (limit is not None)


def standing(moves, time):
    """How many stand anywhere at a time, and how many of these at a proxy."""
    kind = (moves["kind"] & KIND)[(moves["start"] <= time) & (moves["stop"] > time)]
    return np.isin(kind, (WORK, QUEUE, WAIT, BACK_OFF)).sum(), np.isin(kind, (WAIT, BACK_OFF)).sum()


@pytest.mark.parametrize("name", [*RUNS, TREE])
def test_every_kind_of_trace_has_its_picture(name):
    assert len(theatre(told_of(name)).picture.png(100)) > 10_000


def test_the_histogram_is_fortios(pair):
    record = Histogram.from_samples([0.1, 0.12, 0.4, 5.0])
    shown = theatre(pair[0], record=record)
    buckets, panel = shown.spec["buckets"], shown.spec["panels"][0]
    requests = packing.unpack(shown.data[0], panel["layout"])["requests"]
    done = pair[0].requests.dropna()
    counts = fortio.bucket_counts((done.end - done.start).to_numpy())
    used = np.flatnonzero((counts > 0) | (record.table_counts() > 0))
    assert np.bincount(requests["column"][requests["column"] < 255], minlength=len(used)).tolist() == counts[used].tolist()
    edges = fortio.bucket_edges()
    assert (
        buckets["ends"] == [pytest.approx(edges[k]) for k in used] and buckets["gaps"] == (np.flatnonzero(np.diff(used) > 1) + 1).tolist()
    )
    assert sum(panel["record"]["shares"]) == pytest.approx(1) and panel["record"]["count"] == 4


def test_each_trace_may_have_its_own_record(pair):
    record = Histogram.from_samples([0.1, 0.4])
    assert [bool(p["record"]) for p in theatre(*pair, record=(None, record)).spec["panels"]] == [False, True]
    assert [bool(p["record"]) for p in theatre(*pair, record=record).spec["panels"]] == [True, True]


def test_a_window_plays_a_part(pair):
    shown = theatre(pair[0], window=(1.0, 2.0))
    assert shown.spec["window"] == [1.0, 3.0]
    assert sum(map(len, shown.data)) < sum(map(len, theatre(pair[0]).data)) / 2


def test_of_a_very_long_trace_the_beginning_is_played(pair, monkeypatch):
    monkeypatch.setattr("meshmodel.teaching.theatre.spec.MOST_REQUESTS", 50)
    shown = theatre(pair[0])
    starts = np.sort(pair[0].requests.start)
    assert shown.spec["window"] == [0.0, pytest.approx(starts[50], abs=1e-6)] and shown.spec["whole"] > shown.spec["window"][1]


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"window": (50.0, 1.0)}, "window: needs a start from 0"),
        ({"window": (0.0, 0.0)}, "more than zero seconds"),
        ({"names": ["one"]}, "names: needs 2, got 1"),
        ({"record": [None]}, "record: needs 2, got 1"),
    ],
)
def test_bad_input_is_one_line(pair, settings, problem):
    with pytest.raises(ValueError, match=problem):
        theatre(*pair, **settings)


def test_a_trace_without_requests_is_refused():
    with pytest.raises(ValueError, match="trace: has no requests"):
        theatre(trace([], []))


def test_what_to_watch_for_is_found_or_given(pair):
    found = theatre(played(fails=1.0, eject=True, retries=1)).spec["panels"][0]["watch"]
    texts = " ".join(text for _, text in found)
    assert "first try that fails: 503" in texts and "backend-0 is ejected" in texts and "comes back" in texts and "then tries" in texts
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    given = theatre(pair[0], watch_for=["the slow pod", (2.0, "its queue")]).spec["panels"][0]["watch"]
    assert given == [[None, "the slow pod"], [2.0, "its queue"]]


def test_something_else_can_be_shown(pair):
    shown = theatre(pair[0])
    version = shown.version
    shown.show(theatre(pair[1]).spec, theatre(pair[1]).data)
    assert shown.version == version + 1 and shown.spec["panels"][0]["name"] == "LEAST_REQUEST"


def test_nothing_is_fetched_from_elsewhere():
    text = module() + style()
    assert set(re.findall(r"https?://[^\"'\s)]+", text)) == {"http://www.w3.org/2000/svg"} and "import " not in module().replace(
        "important", ""
    )


# --- colours -------------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return float(np.dot([0.2126, 0.7152, 0.0722], [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]))


@pytest.mark.parametrize("role", palette.ROLES)
def test_every_role_can_be_seen_on_either_ground(role):
    light, dark, _ = palette.ROLES[role]
    assert 1.05 / (luminance(light) + 0.05) >= 3
    assert (luminance(dark) + 0.05) / (luminance("#111111") + 0.05) >= 3
    assert f"--{role}: {light};" in style() and f"--{role}: {dark};" in style()
