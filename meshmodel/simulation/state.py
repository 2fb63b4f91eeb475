"""The state of one run, in records: what the proxies, pods, clients and calls are and remember.

A *call* is what one proxy does with one request; it stands in a slot and has one timer.  A call at a pod's own
sidecar belongs to an attempt of the call that reached the pod (`parent`).  An *upstream* is one cluster as one proxy
sees it, with a `Host` for each endpoint; endpoints stand in *groups*: a priority level, or, with locality weights, one
locality of a level.  What holds only until a change of the mesh is kept once for each of its states (`*_then`), and
copied into place when that begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FLOAT, WHOLE, FLAG, HASH = np.float64, np.int64, np.bool_, np.uint64
PLACE = np.int32  # in some array, or a small number: with thousands of calls under way it is their size that costs


def _record(**fields: type) -> np.dtype:
    return np.dtype(list(fields.items()), align=True)


CLOCK = _record(
    short_of=WHOLE, now=FLOAT, still=WHOLE, running=WHOLE, free=WHOLE, first_call=WHOLE, row=WHOLE, logged=WHOLE, noted=WHOLE, traced=WHOLE,
    requests=WHOLE, calls=WHOLE, state=WHOLE, patience=FLOAT, detached=FLAG, keeps_worker=FLAG, drawn=WHOLE, level=FLOAT, unsent=WHOLE,
)  # fmt: skip
"""One: time, counters and what holds throughout a run.  `unsent`: copies for mirrors that are about to be sent."""

LOAD = _record(
    workers=WHOLE, closed=FLAG, duration=FLOAT, by_time=FLAG, spacing=FLOAT, poisson=FLAG, arrivals=FLOAT, hops=WHOLE,
    overhead=WHOLE, location=FLOAT, scale=FLOAT, sigma=FLOAT, keeps_log=FLAG, bin=FLOAT, endless=FLAG, behind=FLAG,
    settled=FLAG, connect_time=FLOAT, users=WHOLE,
)  # fmt: skip
"""One: the workload, in seconds; `overhead` is one of CONSTANT, LOGNORMAL, DRAWN.

`behind`: a pod in front, left out of the run, turns any failure into a 500 of its own.
`settled`: an attempt is settled when it is sent (`plan.settled_when_sent`).
"""

ROUTE = _record(
    timeout=FLOAT, per_try_timeout=FLOAT, attempts=WHOLE,
    backoff_base=FLOAT, backoff_longest=FLOAT, redraws=WHOLE, frequency=WHOLE, hedges=FLAG,
    delay=FLOAT, delay_percent=FLOAT, abort_code=WHOLE, abort_percent=FLOAT, first_upstream=WHOLE, clusters=WHOLE, callers=WHOLE,
    last=FLAG, outmost=FLAG, following=WHOLE, beside=WHOLE, passes=FLAG, hashing=WHOLE, mirrors=WHOLE,
)  # fmt: skip
"""What one hop's proxies do.

`following` is the hop that its pods call first, `beside` what its callers call after it, -1: none; `outmost`: its pods call nobody.
"""

CLUSTER = _record(
    policy=WHOLE, weighted=FLAG, hosts=WHOLE, first_host=WHOLE, all_hosts=WHOLE, levels=WHOLE, first_level=WHOLE,
    groups=WHOLE, first_group=WHOLE,
    panic_threshold=FLOAT, max_requests=WHOLE, max_connections=WHOLE, max_pending_requests=WHOLE, max_requests_per_connection=WHOLE,
    counts=FLAG, http2=FLAG, max_retries=WHOLE, budget_percent=FLOAT, budget_least=WHOLE,
    detects=FLAG, consecutive_5xx=WHOLE, consecutive_gateway_failure=WHOLE, split_external_local_origin_errors=FLAG,
    consecutive_local_origin_failure=WHOLE, interval=FLOAT, base_ejection_time=FLOAT, max_ejection_time=FLOAT,
    max_ejection_percent=WHOLE, one_host_always=FLAG, update_merge_window=FLOAT, new_cluster=FLAG, new_detector=FLAG, new_pool=FLAG,
    weighs=FLAG, window=FLOAT, aggression=FLOAT, min_weight_percent=FLOAT, table=WHOLE, first_point=WHOLE, points=WHOLE,
)  # fmt: skip
"""The settings of an upstream; the fields of its detector are `OutlierDetection`'s.  `new_*`: begins anew with this state.

`weighs`: its endpoints differ in weight, or warm up; `table` is the least size of its ring or the size of its Maglev tables,
`points` are those that its endpoints may own on a ring.
"""

UPSTREAM = _record(
    in_flight=WHOLE, retrying=WHOLE, opened=WHOLE, waiting=WHOLE, ejected=WHOLE, first_tick=FLOAT, hop=WHOLE, caller=WHOLE, joined=FLOAT,
)  # fmt: skip

HOST = _record(
    pod=WHOLE, level=WHOLE, present=FLAG, active=WHOLE,
    failures_5xx=WHOLE, failures_gateway=WHOLE, failures_local=WHOLE, multiplier=WHOLE, ejected=FLAG, since=FLOAT,
    weight=WHOLE, group=WHOLE, joined=FLOAT,
)  # fmt: skip
"""One endpoint as one proxy sees it."""

LEVEL = _record(
    members=WHOLE,
    first_group=WHOLE,
    groups=WHOLE,
    first_slot=WHOLE,
    healthy=WHOLE,
    panics=FLAG,
    told=FLOAT,
    flush_at=FLOAT,
    first_place=WHOLE,
    places=WHOLE,
)
GROUP = _record(level=WHOLE, first_slot=WHOLE, members=WHOLE, weight=FLOAT, healthy=WHOLE, scheduled=FLAG)
MIRROR = _record(cluster=WHOLE, percent=FLOAT)
POOL = _record(ready=WHOLE, busy=WHOLE, connecting=WHOLE, length=WHOLE, idle=WHOLE, head=WHOLE, tail=WHOLE)
"""One worker's connections to one endpoint; who waits for one stands in a list linked by `behind`, and so do the ready ones (`idle`)."""

BEHAVIOUR = _record(
    below_half=FLOAT, p50=FLOAT, p90=FLOAT, p99=FLOAT, varies=FLAG, code=WHOLE, variance=WHOLE, period=WHOLE, rate=FLOAT,
    failing_seconds=FLOAT, failing_code=WHOLE, concurrency=WHOLE, is_new=FLAG,
)  # fmt: skip
"""How a pod answers (`meshmodel.fakeservice`); `concurrency` 0: no limit."""

POD = _record(requests=WHOLE, attempts=WHOLE, busy=WHOLE, head=WHOLE, tail=WHOLE)

CLIENT = _record(calls=WHOLE, limit=FLOAT)

CALL = _record(
    at=FLOAT, patience=FLOAT, kind=PLACE, code=PLACE, hop=PLACE, upstream=PLACE, worker=PLACE, endpoint=PLACE, start=FLOAT, deadline=FLOAT,
    client=PLACE, server=PLACE, tries=PLACE, attempts=PLACE, parent=PLACE, child=PLACE, hedge=PLACE, since=PLACE, behind=PLACE,
    is_retry=FLAG, waiting=FLAG, idle=FLAG, stale=FLAG, user=PLACE, row=PLACE, back_off=FLOAT, request=WHOLE,
    finish=FLOAT, finish_code=PLACE, pod=PLACE, outer=PLACE, carried=PLACE, connection=PLACE, streams=PLACE, began=FLOAT, own=FLOAT,
    name=WHOLE, hashed=HASH,
)  # fmt: skip
"""What one proxy does with one request; what a field means stands in `calls.py`.  In front is what every event looks at."""

TALLY = _record(requests=WHOLE, lowest=FLOAT, highest=FLOAT, total=FLOAT, squares=FLOAT, elapsed=FLOAT, unanswered=WHOLE)
NOTE = _record(time=FLOAT, upstream=WHOLE, host=WHOLE, what=WHOLE, row=WHOLE)
ATTEMPT = _record(
    request=WHOLE, hop=WHOLE, number=WHOLE, call=WHOLE, parent=WHOLE, upstream=WHOLE, worker=WHOLE, endpoint=WHOLE,
    chosen=FLOAT, start=FLOAT,
    end=FLOAT, outcome=WHOLE, back_off=FLOAT, first=WHOLE, second=WHOLE, first_active=WHOLE, second_active=WHOLE,
)  # fmt: skip

REQUEST = _record(connection=WHOLE, start=FLOAT, end=FLOAT, code=WHOLE, server=WHOLE, attempts=WHOLE)


class World(NamedTuple):
    """All of it; S states of the mesh, H hops, U upstreams."""

    # for each state of the mesh
    route_then: np.ndarray  # (S, H) ROUTE
    cluster_then: np.ndarray  # (S, U) CLUSTER
    behaviour_then: np.ndarray  # (S, pods) BEHAVIOUR
    level_then: np.ndarray  # (S, levels) LEVEL
    group_then: np.ndarray  # (S, groups) GROUP
    host_then: np.ndarray  # (S, hosts) HOST: pod, level and whether it is there
    home_then: np.ndarray  # (S, hosts) the hosts of each group, from its first slot
    home: np.ndarray  # (hosts,) the same, now
    weights_then: np.ndarray  # (S, H, clusters) cumulated
    retriable_then: np.ndarray  # (S, H, outcomes) from outcomes.LOWEST on
    judged_then: np.ndarray  # (S, U, outcomes) the status that a detector is told
    mirror_then: np.ndarray  # (S, H, mirrors) MIRROR
    hash_then: np.ndarray  # (S, H, users) of their requests
    point: np.ndarray  # (points,) what the endpoints may own on their clusters' rings, in order of the hashes
    point_owner: np.ndarray  # (points,) the endpoint of its cluster
    point_number: np.ndarray  # (points,) of its owner's points
    taking_turns: np.ndarray  # (hosts,) the endpoints of each cluster in the order in which a Maglev table is filled
    offset_then: np.ndarray  # (S, hosts) where each begins in it
    skip_then: np.ndarray  # (S, hosts) and how it goes on
    change_at: np.ndarray  # (S + 1,) seconds; the last one never comes
    # what holds now
    route: np.ndarray  # (H,)
    cluster: np.ndarray  # (U,)
    behaviour: np.ndarray  # (pods,)
    level: np.ndarray  # (levels,)
    group: np.ndarray  # (groups,)
    health: np.ndarray  # (levels,) percent
    share: np.ndarray  # (levels,) percent of the load
    left: np.ndarray  # (levels,) the same without the levels that a retry leaves out
    member: np.ndarray  # (hosts,) the hosts of each group, those that its workers believe healthy in front
    turn: np.ndarray  # (workers, groups) counts the picks, from anywhere: the index of ROUND_ROBIN
    due: np.ndarray  # (workers, groups) when each locality's turn comes
    deadline: np.ndarray  # (workers, hosts) of a schedule by weight, in the order of `home`
    put_in: np.ndarray  # (workers, hosts) who was put in first, where two deadlines are equal
    given: np.ndarray  # (workers, groups, 1) places in the schedule so far
    first_picks: np.ndarray  # (workers, U) a schedule starts as if there had been so many
    ring: np.ndarray  # (places,) hashes, level by level
    ring_owner: np.ndarray  # (places,) endpoints of the cluster, of a ring or a Maglev table
    share_of: np.ndarray  # (hosts,) room for making schedules and tables
    due_of: np.ndarray  # (hosts,)
    weight_of: np.ndarray  # (hosts,)
    count_of: np.ndarray  # (hosts,)
    group_of: np.ndarray  # (hosts,)
    usable: np.ndarray  # (hosts,)
    group_weight: np.ndarray  # (groups,)
    made_up: np.ndarray  # (H, connections) a random number of each connection, from which Envoy makes a cookie
    upstream: np.ndarray  # (U,)
    host: np.ndarray  # (hosts,)
    pool: np.ndarray  # (workers, hosts)
    pod: np.ndarray  # (pods,)
    caller_of: np.ndarray  # (pods,) the number of a pod among the callers of the hop that it calls
    clock: np.ndarray  # (1,)
    load: np.ndarray  # (1,)
    segment: np.ndarray  # (4, segments) of an open loop: begin, area before, first rate, slope
    client: np.ndarray  # (connections,)
    accepted: np.ndarray  # (H, connections) the worker of each connection
    drawn: np.ndarray  # (draws,) overheads, seconds
    timer: np.ndarray  # (slots,) seconds
    tree: np.ndarray  # (2 * slots,)
    call: np.ndarray  # (slots,)
    tried: np.ndarray  # (slots, tries) hosts
    free: np.ndarray  # (slots,) a stack
    # what is kept
    edges: np.ndarray  # (edges,) seconds: the upper ends of fortio's buckets
    column: np.ndarray  # (601,) of a code (from -1 on) in `codes`
    log_start: np.ndarray  # (replications, requests)
    log_latency: np.ndarray
    log_code: np.ndarray
    log_endpoint: np.ndarray
    log_attempts: np.ndarray
    tally: np.ndarray  # (replications,)
    buckets: np.ndarray  # (replications, buckets)
    codes: np.ndarray  # (replications, codes)
    answers: np.ndarray  # (replications, 2 + pods) by pod; in front: the client gave up, the proxy
    good: np.ndarray  # (replications, 2 + pods) those with 200
    sent: np.ndarray  # (replications, pods of the last hop) attempts
    counter: np.ndarray  # (replications, counters)
    codes_by_time: np.ndarray  # (bins, codes)
    answers_by_time: np.ndarray  # (bins, 2 + pods)
    ejected_by_time: np.ndarray  # (bins,)
    note: np.ndarray  # (notes,) NOTE: ejections, returns, panics
    trace: np.ndarray  # (attempts,) ATTEMPT; empty: not traced
    traced_request: np.ndarray  # (attempts,) REQUEST; there are no more requests than attempts, or their faults
