"""Loads in the words of the programs that make them: here their parameters are named, checked and made a `Workload`.

    fortio(connections=10, qps=1000, duration="60s")     fortio load -c 10 -qps 1000 -t 60s
    curl(50)                                             for i in {1..50}; do curl ...; done
    open_loop(20, "60s")                                 requests that do not wait for answers

The verbs of `Mesh`, the flags of the command line and the entries of data/*/experiments.yaml all end here.
Raises ManifestError (a ValueError) that names the parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from meshmodel._text import quoted
from meshmodel.fakeservice import parse_duration
from meshmodel.istio.yaml_source import ManifestError
from meshmodel.scenario import MTLS_CONNECT, PLAIN_CONNECT, ClosedLoop, Mixture, OpenLoop, Request

FORTIO_TIMEOUT = "3s"
"""fortio's own default of `-timeout` (fhttp/http_client.go, HTTPReqTimeOutDefaultValue)."""


LONGEST = 2**63 / 1e9
"""Seconds in Go's time.Duration."""


def fortio(
    connections: int = 10,
    qps: float = 1000,
    duration: str | float = "60s",
    calls: int | None = None,
    timeout: str | float | None = FORTIO_TIMEOUT,
    request: AnyRequest = None,
    users: int = 0,
) -> ClosedLoop:
    """`fortio load -c connections -qps qps -t duration -timeout timeout`, or `-n calls` in place of `-t`.

    `qps` 0 or less: as fast as possible.  `timeout` None: waits for ever, which fortio itself cannot.  Not modelled:
    fortio sends a call that got nothing on a kept connection once more on a new one (fhttp/http_client.go, RetryOnce).
    `request`: see `as_request`.  `users`: whose calls they are, as `ClosedLoop` has it.
    """
    if isinstance(qps, bool) or not isinstance(qps, (int, float)) or not abs(qps) < math.inf:
        raise ManifestError(f"qps: must be a number, got {quoted(qps)}")
    return ClosedLoop(
        connections=whole(connections, "connections", 1, 10**6),
        qps=max(0, qps),
        duration=seconds(duration, "duration") if calls is None else None,
        calls=None if calls is None else whole(calls, "calls", 1),
        timeout=_patience(timeout),
        request=as_request(request),
        users=whole(users, "users", 0),
    )


def curl(n: int = 50, timeout: str | float | None = None, request: AnyRequest = None, users: int = 0) -> ClosedLoop:
    """A loop of `n` calls of curl, each on a connection of its own; without a `timeout` (its `-m`) it waits for ever."""
    return ClosedLoop(calls=whole(n, "n", 1), timeout=_patience(timeout), request=as_request(request), users=whole(users, "users", 0))


def open_loop(
    rate: float | Sequence[tuple[float, float, float]],
    duration: str | float | None = None,
    arrivals: str = "poisson",
    timeout: str | float | None = None,
    request: AnyRequest = None,
    users: int = 0,
) -> OpenLoop:
    """`rate` requests a second for `duration`, or segments (seconds, first rate, last rate); `arrivals`: poisson or paced."""
    if arrivals not in ("poisson", "paced"):
        raise ManifestError(f"arrivals: must be poisson or paced, got {quoted(arrivals)}")
    if isinstance(rate, (int, float)):
        if duration is None:
            raise ManifestError("duration: must be given with a single rate")
        rate = [(seconds(duration, "duration"), rate, rate)]
    elif duration is not None:
        raise ManifestError("duration: must not be given with segments, they have their own")
    try:
        segments = tuple((seconds(time, "rate"), float(first), float(last)) for time, first, last in rate)
    except (TypeError, ValueError, OverflowError) as problem:
        raise ManifestError(f"rate: must be a number or segments (seconds, first rate, last rate): {problem}") from None
    return OpenLoop(
        segments=segments,
        arrivals=arrivals,  # type: ignore[arg-type]
        timeout=_patience(timeout),
        request=as_request(request),
        users=whole(users, "users", 0),
    )


# --- what is asked for --------------------------------------------------------------------

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_METHOD = re.compile("GET|POST|PUT|PATCH|DELETE|OPTIONS")
_PATH = re.compile(r"/[!-~]{0,2000}")
_VALUE = re.compile(r"[\t -~]{0,4000}")


AnyRequest = Request | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
MOST_KINDS = 100


def as_request(given: AnyRequest) -> Request:
    """{"path": "/", "method": "GET", "headers": {"x-user": "jason"}, "port": 8080}, or any part of it, as a `Request`; headers also
    as pairs.  A list of those, each with a "weight", is a mixture."""
    if given is None or isinstance(given, Request):
        return given or Request()
    if isinstance(given, (list, tuple)):
        return _mixture(given)
    if not isinstance(given, Mapping) or not given.keys() <= {"path", "method", "headers", "port"}:
        raise ManifestError(f"request: must be a dict with path, method, headers or port, got {quoted(given, 200)}")
    headers = given.get("headers", ())
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ManifestError(f"request.headers: must be a dict of names and values, got {quoted(headers, 200)}")
    port = given.get("port")
    return Request(
        path=_matching(given.get("path", "/"), "request.path", _PATH, "must begin with / and have no space or control character"),
        method=_matching(given.get("method", "GET"), "request.method", _METHOD, "must be GET, POST, PUT, PATCH, DELETE or OPTIONS"),
        headers=tuple(_header(name, value) for name, value in pairs),
        port=None if port is None else whole(port, "request.port", 1, 65535),
    )


def _mixture(given: Sequence[Any]) -> Request:
    """Requests with their weights, which need not sum to anything; one alone is itself."""
    parts = []
    for each in given[: MOST_KINDS + 1]:
        if not isinstance(each, Mapping):
            raise ManifestError(
                f"request: a mixture is a list of dicts with path, method, headers, port and weight, got {quoted(each, 200)}"
            )
        weight = each.get("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ManifestError(f"request.weight: must be more than 0, got {quoted(weight)}")
        parts.append((as_request({name: value for name, value in each.items() if name != "weight"}), float(weight)))
    if not 0 < len(parts) <= MOST_KINDS:
        raise ManifestError(f"request: a mixture has from 1 to {MOST_KINDS} requests, got {len(given)}")
    first = parts[0][0]
    if len(parts) == 1:
        return first
    return Mixture(path=first.path, method=first.method, headers=first.headers, port=first.port, parts=tuple(parts))


def _header(name: Any, value: Any) -> tuple[str, str]:
    _matching(name, "request.headers", _TOKEN, "a name must be letters, digits and dashes")
    if name.lower() == "host":
        raise ManifestError("request.headers.host: is chosen by target, the Service or a host of the Gateway")
    return name, _matching(value, f"request.headers.{name}", _VALUE, "must be a text of printable ASCII characters")


def _matching(value: Any, name: str, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ManifestError(f"{name}: {rule}, got {quoted(value, 200)}")
    return value


# --- numbers ------------------------------------------------------------------------------


def seconds(value: str | float, name: str) -> float:
    """Seconds, or a duration such as "1m30s", as a float."""
    if isinstance(value, str):
        return parse_duration(value, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LONGEST:
        raise ManifestError(f'{name}: must be seconds or a duration such as "20s", got {quoted(value)}')
    return float(value)


def connecting(given: str | float) -> float:
    """What a new connection takes: seconds, a duration, or what a real Envoy showed on loopback, "plain" or "mtls"."""
    measured = {"plain": PLAIN_CONNECT, "mtls": MTLS_CONNECT}
    return measured[given] if isinstance(given, str) and given in measured else seconds(given, "connect_time")


def whole(value: int, name: str, low: int, high: int = 10**12) -> int:
    """A whole number from `low` to `high` (also NumPy's)."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < low:
        raise ManifestError(f"{name}: must be a whole number of {low} or more, got {quoted(value)}")
    if int(value) > high:
        raise ManifestError(f"{name}: must be at most {high:,}, got {quoted(value)}")
    return int(value)


def _patience(timeout: str | float | None) -> float | None:
    return None if timeout is None else seconds(timeout, "timeout")
