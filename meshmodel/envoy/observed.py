"""What the proxies wrote in a measurement: every attempt, every ejection, and the `Trace` that they make with the load's calls.

Envoy writes an attempt when it is done with it, so one that is still under way when the measurement ends is not in any log;
which two hosts LEAST_REQUEST drew, which worker drew them and when a cluster panics it does not write at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from meshmodel.results.replay import ENVOY
from meshmodel.results.trace import ATTEMPTS, HOSTS, REQUESTS, Trace
from meshmodel.scenario import Scenario, callers_of


class Attempt(NamedTuple):
    """A try of a proxy: times in seconds since the load began (`sent` NaN: never); `outcome` in `Trace`'s words."""

    chosen: float
    hop: int
    proxy: str
    request: int
    call: str
    endpoint: str
    sent: float
    end: float
    outcome: str

    @property
    def reached(self) -> bool:
        """Whether a pod was picked and no circuit breaker refused it."""
        return bool(self.endpoint) and self.outcome != "overflow"


class HostEvent(NamedTuple):
    """A host that a proxy took out of its list (`left`) or back into it, seconds since the load began."""

    time: float
    hop: int
    proxy: str
    endpoint: str
    left: bool


Lines = Sequence[tuple[int, str, Mapping[str, Any]]]
"""What each proxy wrote: (hop, proxy, line)."""


def attempts(lines: Lines, start: float, pod: Callable[[str], str]) -> list[Attempt]:
    """The attempts in order of their picks; `start` is the wall clock's when the load began, `pod` who has an address."""
    timed_out = {line["call"] for _, _, line in lines if line.get("details") == "response_timeout"}
    found = [_attempt(hop, proxy, line, start, pod, line["call"] in timed_out) for hop, proxy, line in lines if "attempt" in line]
    found += [_nobody(hop, proxy, line, start) for hop, proxy, line in lines if line.get("details") == "no_healthy_upstream"]
    return sorted(found)


def _attempt(hop: int, proxy: str, line: Mapping[str, Any], start: float, pod: Callable[[str], str], timed_out: bool) -> Attempt:
    chosen = float(line["start"]) - start
    sent = math.nan if line["sent"] is None else chosen + line["sent"] / 1e6
    endpoint = pod(line["attempt"]) if line["attempt"] else ""  # of one that a full waiting room refused
    ended = _BY_FLAG.get(line["flags"]) or (str(line["status"]) if line["status"] else "timeout" if timed_out else "abandoned")
    return Attempt(chosen, hop, proxy, int(line["request"]), line["call"], endpoint, sent, float(line["end"]) - start, ended)


_BY_FLAG = {"UO": "overflow", "UF": "refused", "UC": "reset", "UR": "reset", "UT": "per try timeout"}
"""An attempt's response flag (access log's documentation, %RESPONSE_FLAGS%) -> its outcome.  UT stands for perTryTimeout here: what the
route's timeout ends has no flag of its own, only its call has."""


def _nobody(hop: int, proxy: str, line: Mapping[str, Any], start: float) -> Attempt:
    """The try for which there was no host: it took no time."""
    end = float(line["end"]) - start
    return Attempt(end, hop, proxy, int(line["request"]), line["call"], "", math.nan, end, "no healthy upstream")


def host_events(lines: Lines, start: float, pod: Callable[[str], str]) -> list[HostEvent]:
    """The ejections that were enforced, and the returns, in order; `start` and `pod` as for `attempts`."""
    told = [each for each in lines if "action" in each[2] and (each[2]["action"] == "UNEJECT" or each[2]["enforced"])]
    return sorted(_host_event(hop, proxy, line, start, pod) for hop, proxy, line in told)


def _host_event(hop: int, proxy: str, line: Mapping[str, Any], start: float, pod: Callable[[str], str]) -> HostEvent:
    time = datetime.fromisoformat(line["timestamp"]).timestamp() - start
    return HostEvent(time, hop, proxy, pod(line["upstream_url"]), line["action"] == "EJECT")


# --- the trace -------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A call of the load, as `Trace.requests` has it: `endpoint` the pod whose answer it was, None a proxy's own."""

    request: int
    connection: int
    start: float
    latency: float
    code: int
    endpoint: str | None


def trace(scenario: Scenario, asked: Iterable[Asked], tries: Sequence[Attempt], hosts: Iterable[HostEvent]) -> Trace:
    """All of them as one trace, to the microsecond."""
    last = len(scenario.routes) - 1
    reached = pd.Series([each.request for each in tries if each.hop == last and each.reached], dtype=int).value_counts()
    requests = [_request(each, int(reached.get(each.request, 0))) for each in sorted(asked)]
    rows = list(_rows(tries, callers_of(scenario.routes)))
    events = [(round(each.time, 6), each.proxy, each.endpoint, "ejected" if each.left else "readmitted") for each in hosts]
    tables = ((requests, REQUESTS), (rows, ATTEMPTS), (events, HOSTS))
    asked_table, tried, hosts_table = (pd.DataFrame(table, columns=list(columns)) for table, columns in tables)
    pods = {e.name: e.deployment for chain in scenario.chains for e in chain[-1].endpoints}
    return Trace(asked_table, tried, hosts_table, scenario, "envoy", tuple(pods), tuple(pods.values()))


def _request(asked: Asked, attempts: int) -> tuple[Any, ...]:
    """A row of `Trace.requests`."""
    start, never = round(asked.start, 6), math.isinf(asked.latency)
    end, code = (math.nan, 0) if never else (round(asked.start + asked.latency, 6), asked.code)
    endpoint = "" if never or code < 0 else ENVOY if asked.endpoint is None else asked.endpoint
    return asked.request, asked.connection, start, end, code, endpoint, attempts


def _rows(tries: Sequence[Attempt], callers: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """The rows of `Trace.attempts`; a try comes after the other tries of its call, and serves the latest try at its own proxy's pod."""
    calls: dict[tuple[int, str], int] = {}
    before: dict[int, tuple[int, float]] = {}  # of each call: how many tries, and the end of the last one
    serving: dict[tuple[int, int, str], int] = {}
    for row, each in enumerate(tries):
        call = calls.setdefault((each.hop, each.call), len(calls))
        tried, ended = before.get(call, (0, each.chosen))
        before[call] = tried + 1, each.end
        serving[each.hop, each.request, each.endpoint] = row
        parent = serving.get((callers[each.hop], each.request, each.proxy), -1)
        yield (
            each.request, each.hop, tried + 1, call, parent, each.proxy, -1, each.endpoint, round(each.chosen, 6), round(each.sent, 6),
            round(each.end, 6), each.outcome, round(max(0.0, each.chosen - ended), 6), "", "", -1, -1,
        )  # fmt: skip
