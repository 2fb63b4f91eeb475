"""What a proxy's workers believe of its endpoints' health, and outlier detection, which changes it (`rules.ejection`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from meshmodel.compiled import compiled
from meshmodel.rules import ejection, locality
from meshmodel.rules.hashing import RING_HASH
from meshmodel.simulation.calls import NOTES
from meshmodel.simulation.connections import close_idle
from meshmodel.simulation.hashed import make_tables
from meshmodel.simulation.state import World
from meshmodel.simulation.timers import NEVER, set_timer
from meshmodel.simulation.weighted import draw_first_picks, make_schedules

TICK, FLUSH = 0, 1
"""An upstream has two timers of its own: its interval's next tick, and the end of its merge window."""

READMITTED, EJECTED, PANIC, PANIC_ENDS = range(4)
"""What is noted of a host, or of a level's hosts."""

LONG_AGO = -1e9
"""When the endpoints joined that are there when a load begins, in seconds."""

EJECTIONS = 5
"""The counter of enforced ejections."""


def timer_of(upstream: int, which: int) -> int:
    """The slot of one of an upstream's timers; slots 0 and 1 are the arrivals' and the changes'."""
    return 2 + 2 * upstream + which


_timer_of = compiled(timer_of)


@compiled
def refresh(w: World, rng: np.random.Generator, upstream: int, number: int) -> None:
    """Show the workers the present health of one level, and with it the loads of all."""
    cluster, level = w.cluster[upstream], w.level[number]
    level.healthy = 0
    for each in range(level.first_group, level.first_group + level.groups):
        group = w.group[each]
        group.healthy = 0
        behind = group.first_slot + group.members - 1
        for slot in range(group.first_slot, group.first_slot + group.members):
            host = w.home[slot]
            if w.host[host].ejected:
                w.member[behind] = host
                behind -= 1
            else:
                w.member[group.first_slot + group.healthy] = host
                group.healthy += 1
        level.healthy += group.healthy
        if cluster.weighted:  # a new schedule: who was away would get all the load until it had caught up
            for worker in range(w.load[0].workers):
                w.due[worker, each] = rng.random() / max(group.weight, 1e-12)
    _balance_levels(w, upstream)
    if cluster.weighs:
        make_schedules(w, upstream, number)
    elif cluster.policy >= RING_HASH:
        make_tables(w, upstream)


@compiled
def _balance_levels(w: World, upstream: int) -> None:
    cluster = w.cluster[upstream]
    begin, end = cluster.first_level, cluster.first_level + cluster.levels
    whole = 0
    for number in range(begin, end):
        w.health[number] = locality.health(w.level[number].healthy, w.level[number].members)
        whole += w.health[number]
    locality.share_out(w.health, w.share, begin, end)
    everywhere = True
    for number in range(begin, end):
        level = w.level[number]
        panicked = level.panics
        level.panics = locality.panics(level.healthy, level.members, cluster.panic_threshold, whole)
        everywhere = everywhere and level.panics
        if panicked != level.panics:
            note(w, upstream, number, PANIC if level.panics else PANIC_ENDS)
            if cluster.weighs:
                make_schedules(w, upstream, number)
    if everywhere:
        for number in range(begin, end):
            w.share[number] = locality.panic_load(w.level[number].members, cluster.hosts)
        locality.share_out(w.share, w.share, begin, end)


@compiled
def note(w: World, upstream: int, host: int, what: int) -> None:
    """Write down what happened to a host (to a level, where it is a panic)."""
    clock = w.clock[0]
    if clock.noted < len(w.note):
        entry = w.note[clock.noted]
        entry.time, entry.upstream, entry.host, entry.what, entry.row = clock.now, upstream, host, what, clock.row
        clock.noted += 1
        if clock.noted + 2 * len(w.host) + 2 * len(w.level) > len(w.note):  # one tick may note that much
            clock.short_of |= NOTES
    if what <= EJECTED and w.route[w.upstream[upstream].hop].last:
        bin = min(int(clock.now / w.load[0].bin), len(w.ejected_by_time) - 1)
        if bin >= 0:
            w.ejected_by_time[bin] += 1 if what == EJECTED else -1


@compiled
def row_of_failures(w: World, rng: np.random.Generator, upstream: int, host: int) -> None:
    """A host's failures in a row have reached a threshold: it is ejected, if it is not yet and the percentage allows it."""
    policy, known = w.cluster[upstream], w.host[host]
    if known.ejected:
        return
    ejection.forget(known)
    if not ejection.may_eject(w.upstream[upstream].ejected, policy.hosts, policy.max_ejection_percent, policy.one_host_always):
        return
    now = w.clock[0].now
    ejection.eject(known, policy, now)
    w.upstream[upstream].ejected += 1
    if w.route[w.upstream[upstream].hop].last:
        w.counter[w.clock[0].row, EJECTIONS] += 1
    note(w, upstream, host, EJECTED)
    set_timer(w.timer, w.tree, _timer_of(upstream, TICK), ejection.next_tick(now, w.upstream[upstream].first_tick, policy.interval))
    _changed(w, rng, upstream, known.level)


@compiled
def tick(w: World, rng: np.random.Generator, upstream: int) -> None:
    """The interval timer: whose time outside is over returns, one after the other."""
    policy, now = w.cluster[upstream], w.clock[0].now
    more = False
    for host in range(policy.first_host, policy.first_host + policy.all_hosts):
        known = w.host[host]
        if known.present and ejection.tick(known, policy, now):
            ejection.readmit(known)
            w.upstream[upstream].ejected -= 1
            note(w, upstream, host, READMITTED)
            _changed(w, rng, upstream, known.level)
        more = more or known.multiplier > 0
    following = ejection.next_tick(now, w.upstream[upstream].first_tick, policy.interval) if more else NEVER
    set_timer(w.timer, w.tree, _timer_of(upstream, TICK), following)


@compiled
def _changed(w: World, rng: np.random.Generator, upstream: int, number: int) -> None:
    """The health of a host of the level has changed: its workers hear of it now, or when the merge window is over."""
    level, now, window = w.level[number], w.clock[0].now, w.cluster[upstream].update_merge_window
    if ejection.told_at_once(now, level.told, window):
        level.told, level.flush_at = now, NEVER
        refresh(w, rng, upstream, number)
    else:
        level.flush_at = min(level.flush_at, now + window)
    _next_flush(w, upstream)


@compiled
def flush(w: World, rng: np.random.Generator, upstream: int) -> None:
    """The end of a merge window: the workers hear of what was held back."""
    cluster, now = w.cluster[upstream], w.clock[0].now
    for number in range(cluster.first_level, cluster.first_level + cluster.levels):
        if w.level[number].flush_at <= now:
            w.level[number].told, w.level[number].flush_at = now, NEVER
            refresh(w, rng, upstream, number)
    _next_flush(w, upstream)


@compiled
def _next_flush(w: World, upstream: int) -> None:
    cluster, earliest = w.cluster[upstream], NEVER
    for number in range(cluster.first_level, cluster.first_level + cluster.levels):
        earliest = min(earliest, w.level[number].flush_at)
    set_timer(w.timer, w.tree, _timer_of(upstream, FLUSH), earliest)


@compiled
def configure(w: World, rng: np.random.Generator, state: int) -> None:
    """The mesh takes on another of its states: what that leaves alone keeps what it remembers."""
    now = w.clock[0].now
    for hop in range(len(w.route)):
        w.route[hop] = w.route_then[state, hop]
    for pod in range(len(w.behaviour)):
        w.behaviour[pod] = w.behaviour_then[state, pod]
        if w.behaviour[pod].is_new:  # another process, which counts from the start
            w.pod[pod].requests = 0
    _close_idle_connections(w)
    for upstream in range(len(w.cluster)):
        w.cluster[upstream] = w.cluster_then[state, upstream]
        cluster = w.cluster[upstream]
        if cluster.new_detector:
            _restart_detector(w, rng, upstream, now)
        if cluster.new_pool:
            _restart_pools(w, upstream)
        if cluster.new_cluster or (cluster.new_pool and cluster.weighs):
            _place_hosts(w, rng, state, upstream)
        if cluster.new_cluster or cluster.new_detector:
            for number in range(cluster.first_level, cluster.first_level + cluster.levels):
                refresh(w, rng, upstream, number)
            _next_flush(w, upstream)


@compiled
def _restart_detector(w: World, rng: np.random.Generator, upstream: int, now: Any) -> None:
    cluster = w.cluster[upstream]
    for host in range(cluster.first_host, cluster.first_host + cluster.all_hosts):
        if w.host[host].ejected:
            note(w, upstream, host, READMITTED)
        ejection.readmit(w.host[host])
        w.host[host].multiplier = 0
    w.upstream[upstream].ejected = 0
    # The proxy started its interval timer long before the load: any phase is as likely.
    phase = rng.random() if now == 0 else 1.0
    w.upstream[upstream].first_tick = now + cluster.interval * phase
    set_timer(w.timer, w.tree, _timer_of(upstream, TICK), NEVER)


@compiled
def _close_idle_connections(w: World) -> None:
    """Those to a pod whose process is another one now."""
    for upstream in range(len(w.cluster)):
        cluster = w.cluster[upstream]
        for host in range(cluster.first_host, cluster.first_host + cluster.all_hosts):
            if w.behaviour[w.host[host].pod].is_new:
                for worker in range(w.load[0].workers):
                    pool = w.pool[worker, host]
                    w.upstream[upstream].opened -= close_idle(w, pool)


@compiled
def _restart_pools(w: World, upstream: int) -> None:
    """Other settings make a new cluster in Envoy: what is under way at the old one goes on there, and does not count."""
    cluster, u, opened = w.cluster[upstream], w.upstream[upstream], 0
    for host in range(cluster.first_host, cluster.first_host + cluster.all_hosts):
        w.host[host].active = 0
        for worker in range(w.load[0].workers):
            pool = w.pool[worker, host]
            pool.busy = 0
            close_idle(w, pool)
            opened += pool.connecting
    u.opened, u.in_flight, u.retrying = opened, 0, 0
    for slot in range(len(w.call)):
        c = w.call[slot]
        if c.upstream == upstream:
            c.stale, c.is_retry = not c.waiting, False


@compiled
def _place_hosts(w: World, rng: np.random.Generator, state: int, upstream: int) -> None:
    cluster = w.cluster[upstream]
    if cluster.weighs:
        draw_first_picks(w, rng, upstream)
    for host in range(cluster.first_host, cluster.first_host + cluster.all_hosts):
        _place_host(w, state, upstream, host)
        if w.host[host].ejected and not w.host[host].present:
            ejection.readmit(w.host[host])
            w.upstream[upstream].ejected -= 1
    for number in range(cluster.first_level, cluster.first_level + cluster.levels):
        w.level[number] = w.level_then[state, number]
    for number in range(cluster.first_group, cluster.first_group + cluster.groups):
        w.group[number] = w.group_then[state, number]
        for worker in range(w.load[0].workers):
            w.turn[worker, number] = int(rng.random() * max(cluster.hosts, 1))


@compiled
def _place_host(w: World, state: int, upstream: int, number: int) -> None:
    """One endpoint; whoever was not there joins now, and so do all where other settings made another cluster."""
    host, then, now = w.host[number], w.host_then[state, number], w.clock[0].now
    if state == 0:
        host.joined = LONG_AGO
    elif then.present and (not host.present or w.cluster[upstream].new_pool):
        host.joined = now
    w.upstream[upstream].joined = max(w.upstream[upstream].joined, host.joined)
    host.pod, host.level, host.present, host.weight, host.group = then.pod, then.level, then.present, then.weight, then.group
    w.home[number] = w.home_then[state, number]
