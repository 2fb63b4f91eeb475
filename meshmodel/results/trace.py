"""One replication attempt by attempt: what the theatre plays and what explains a single request.

The Monte-Carlo engine fills the tables from its event loop, the real Envoy from its access
logs; a reader of the tables need not know which.  All times are seconds since the load began.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from meshmodel import _files
from meshmodel._text import InputError, visible
from meshmodel.results import json_source
from meshmodel.results.json_source import Fields
from meshmodel.results.stored_scenario import read_scenario
from meshmodel.scenario import Scenario, callers_of

REQUESTS = {"request": "int", "connection": "int", "start": "float", "end": "float", "code": "int", "endpoint": "str", "attempts": "int"}
"""Columns of `Trace.requests` and their kinds."""

ATTEMPTS = {
    "request": "int", "hop": "int", "number": "int", "call": "int", "parent": "int", "proxy": "str", "worker": "int", "endpoint": "str",
    "chosen": "float", "start": "float", "end": "float", "outcome": "str", "back_off": "float",
    "first": "str", "second": "str", "first_active": "int", "second_active": "int",
}  # fmt: skip
"""Columns of `Trace.attempts` and their kinds."""

HOSTS = {"time": "float", "proxy": "str", "endpoint": "str", "event": "str"}
"""Columns of `Trace.hosts` and their kinds."""

EVENTS = ("ejected", "readmitted", "panic", "panic ends")
"""What can happen to the hosts of a proxy."""

LARGEST_FILE = 50 * 2**20
"""Bytes of a stored trace."""


class TraceError(InputError):
    """A stored trace that is none; one line with the file's name and the place."""


@dataclass(frozen=True)
class Trace:
    """Every request, every attempt and every change of hosts of one replication.

    Parameters
    ----------
    requests : one row a request of the load generator, in order of `start`.

        ============ =========================================================================
        request      its number
        connection   of the closed loop; -1 in an open loop
        start, end   seconds; sent, and answered or given up (NaN: neither when the run ended)
        code         HTTP status; -1 where the client gave up
        endpoint     pod that answered, "envoy" where a proxy did, "" where nobody did
        attempts     attempts that reached a pod of the last route
        ============ =========================================================================
    attempts : one row a try of a proxy, in order of `chosen`.  The first hops may be left out where no policy acts
        on them; `parent` is -1 then.

        ============ =========================================================================
        request      number of the request that it serves
        hop          index of the route: 0 is the first proxy
        number       1 for the first try of its call, 2 for the first retry ...
        call         which call of that hop: the tries of one call share it
        parent       row of the attempt of the calling hop (`scenario.callers_of`) that the call belongs to; -1 at hop 0
        proxy        name of the caller whose proxy tries
        worker       of that proxy
        endpoint     pod picked, "" where none was
        chosen       seconds; when the endpoint was picked
        start        seconds; when it was sent on a connection (NaN: it never was: it waited, or overflowed)
        end          seconds; when the proxy was done with it (the pod may work on)
        outcome      a status ("200"), "refused", "reset", "per try timeout", "timeout", "overflow",
                     "no healthy upstream" or "abandoned"
        back_off     seconds that the proxy waited before it; 0 for a first try
        first, second                 pods that LEAST_REQUEST drew, "" otherwise
        first_active, second_active   their active requests when they were drawn, -1 otherwise
        ============ =========================================================================
    hosts : columns time, proxy, endpoint and event (one of `EVENTS`; "panic" and its end concern no endpoint: "").
    scenario, engine : what was run; "montecarlo" or "envoy".
    pods : names of the last route's pods, in order.
    deployments : the Deployment of each of `pods`.

    Raises
    ------
    ValueError : a table lacks one of its columns.
    """

    requests: pd.DataFrame
    attempts: pd.DataFrame
    hosts: pd.DataFrame
    scenario: Scenario
    engine: str
    pods: tuple[str, ...]
    deployments: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, columns in (("requests", REQUESTS), ("attempts", ATTEMPTS), ("hosts", HOSTS)):
            missing = [column for column in columns if column not in getattr(self, name)]
            if missing:
                raise ValueError(f"trace: {name} lacks {', '.join(missing)}")

    def to_json(self) -> dict[str, Any]:
        """All of it, exactly: tables by column, no number for NaN, texts by their places in `words`."""
        tables = {"requests": (self.requests, REQUESTS), "attempts": (self.attempts, ATTEMPTS), "hosts": (self.hosts, HOSTS)}
        texts = {text for table, kinds in tables.values() for name, kind in kinds.items() if kind == "str" for text in table[name]}
        words = {text: place for place, text in enumerate(sorted(texts))}
        columns = {
            title: {name: _plain(table[name], kind, words) for name, kind in kinds.items()} for title, (table, kinds) in tables.items()
        }
        about = {"engine": self.engine, "pods": list(self.pods), "deployments": list(self.deployments), "scenario": self.scenario.to_json()}
        return {**about, "words": list(words), **columns}

    @classmethod
    def from_json(cls, path_or_dict: str | Path | Mapping[str, Any], name: str = "<json>") -> Trace:
        """What `to_json` gave: a path of a file of it, or its content.

        Raises TraceError with the place: not JSON, a column that is missing, of the wrong kind or too short, and rows that no trace has
        (an attempt of no request, one that serves none of the hop that calls).
        """
        if not isinstance(path_or_dict, Mapping):
            name = str(path_or_dict)
            path_or_dict = json_source.parse(_files.read_text(path_or_dict, LARGEST_FILE, TraceError, "a trace"), name, TraceError)
        fields = Fields(path_or_dict, "", name, TraceError)
        words = _texts(fields, "words")
        requests, attempts, hosts = (
            _table(fields.fields(title), kinds, words)
            for title, kinds in (("requests", REQUESTS), ("attempts", ATTEMPTS), ("hosts", HOSTS))
        )
        pods, deployments = _texts(fields, "pods"), _texts(fields, "deployments")
        scenario = read_scenario(fields.value.get("scenario"), name, TraceError)
        if len(deployments) != len(pods):
            fields.fail("deployments", "must be one for each pod")
        _check_rows(fields, requests, attempts, hosts, scenario)
        return cls(requests, attempts, hosts, scenario, visible(fields.text("engine")), tuple(pods), tuple(deployments))

    def __repr__(self) -> str:
        return f"<Trace {self.engine}: {len(self.requests):,} requests, {len(self.attempts):,} attempts, {len(self.hosts):,} host events>"


# --- stored ----------------------------------------------------------------------------------


def _plain(column: pd.Series, kind: str, words: Mapping[str, int]) -> list[Any]:
    """A column as JSON has it."""
    if kind == "str":
        return [words[text] for text in column]
    if kind == "int":
        return [int(number) for number in column]
    return [None if math.isnan(number) else float(number) for number in column]


def _texts(fields: Fields, key: str) -> list[str]:
    return [visible(text) for text in fields.column(key, "must be text", lambda value: isinstance(value, str))]


def _table(fields: Fields, kinds: Mapping[str, str], words: list[str]) -> pd.DataFrame:
    """A table's columns, each as long as the first."""
    columns = {name: _column(fields, name, kind, words) for name, kind in kinds.items()}
    rows = len(next(iter(columns.values())))
    for name, column in columns.items():
        if len(column) != rows:
            fields.fail(name, f"must have {rows} rows, as the first column has, and has {len(column)}")
    return pd.DataFrame(columns)


def _column(fields: Fields, name: str, kind: str, words: list[str]) -> np.ndarray:
    if kind == "str":
        rule = f"must be the place of a word, from 0 to {len(words) - 1}"
        places = fields.column(name, rule, lambda value: _is_whole(value) and 0 <= value < len(words))
        return np.array([words[place] for place in places], dtype=object)
    if kind == "int":
        return np.array(
            fields.column(name, "must be a whole number", lambda value: _is_whole(value) and abs(value) < 2**31), dtype=np.int64
        )
    times = fields.column(
        name, "must be a number of seconds or null", lambda value: value is None or (_is_number(value) and abs(value) < 1e9)
    )
    return np.array([math.nan if time is None else time for time in times], dtype=float)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_rows(fields: Fields, requests: pd.DataFrame, attempts: pd.DataFrame, hosts: pd.DataFrame, scenario: Scenario) -> None:
    """What every reader of a trace counts on."""
    callers, hop, parent = callers_of(scenario.routes), attempts.hop, attempts.parent
    served = parent.between(0, len(attempts) - 1)
    serves = served & (hop.reindex(parent).to_numpy() == hop.map(dict(enumerate(callers))))
    rules = {
        "requests.request": (requests.request, ~requests.request.duplicated(), "must be a number of its own"),
        "requests.start": (requests.start, requests.start.notna(), "must be a number of seconds"),
        "requests.code": (requests.code, requests.code.between(-2, 999), "must be an HTTP status, -1 or 0"),
        "attempts.request": (attempts.request, attempts.request.isin(requests.request), "must be the number of a request"),
        "attempts.hop": (attempts.hop, hop.between(0, len(callers) - 1), f"must be from 0 to {len(callers) - 1}"),
        "attempts.number": (attempts.number, attempts.number >= 1, "must be 1 or more"),
        "attempts.parent": (attempts.parent, (parent == -1) | serves, "must be the row of an attempt of the hop that calls, or -1"),
        "attempts.chosen": (attempts.chosen, attempts.chosen.notna(), "must be a number of seconds"),
        "hosts.event": (hosts.event, hosts.event.isin(EVENTS), f"must be one of {', '.join(EVENTS)}"),
        "hosts.time": (hosts.time, hosts.time.notna(), "must be a number of seconds"),
    }
    for place, (column, fine, rule) in rules.items():
        wrong = np.flatnonzero(~np.asarray(fine))
        if len(wrong):
            raise TraceError(f"{fields.name}: {place}[{wrong[0]}]: {rule}, got {column.iloc[wrong[0]]}")
