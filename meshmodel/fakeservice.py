"""fake-service, the tutorial's backend: how long a pod takes and what it answers.

Modelled is nicholasjackson/fake-service (timing/timing.go, errors/errors.go) as its
environment variables set it up, each group in two readings that may be mixed:

errors    "counter", as the program implements them: request n of a pod (n = 1, 2, ...) fails when
          n mod int(1/ERROR_RATE) = 0.
          "coin", as the tutorial's prose reads them: requests fail independently with probability ERROR_RATE.
percentiles
          "program": a request takes TIMING_50_PERCENTILE with probability 0.90, TIMING_90_PERCENTILE
          with 0.09 and TIMING_99_PERCENTILE with 0.01.
          "prose", as quantiles: half of the answers are not delayed (`Behaviour.undelayed`), the next 40 %
          take TIMING_50_PERCENTILE, then as above.  A pod whose TIMING_50_PERCENTILE is no more than
          `undelayed` is an ordinary pod.

The injector "fake-service" is short for counter and program, "nominal" for coin and prose.

All multiply the time by 1 + U{0 .. v-1}/100, v being TIMING_VARIANCE.  A failing request
answers after ERROR_DELAY, or at once when ERROR_TYPE is http_error.  A pod that refuses,
resets or hangs (`Behaviour.failure`) does so with every request.

Assumed: the draws of different requests are independent; CPU and memory load, rate limits
and fake-service's own socket timeouts are not modelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import durationpy
import numpy as np
from numpy.typing import NDArray

from meshmodel._text import quoted
from meshmodel.rules.outcomes import HANG, REFUSED, RESET
from meshmodel.scenario import Behaviour, Errors, Injector, Percentiles, Reading, ScenarioError

FAILURE_CODES = {"refused": REFUSED, "reset": RESET, "hang": HANG}
"""`Behaviour.failure` to the code that stands for it."""

NEVER = 2**62
"""The error period of a pod that never fails."""

_CUTS = np.array([0.5, 0.9, 0.99])
_SHARES = np.diff(_CUTS, prepend=0.0, append=1.0)
_MOST_ATOMS = 100  # of TIMING_VARIANCE in `distribution`

# --- environment variables -------------------------------------------------------------

_GO_DURATION = re.compile(r"[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
_GO_INTEGER = re.compile("[+-]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST_TEXT = 100  # characters of a number or duration
_LONGEST = 2**63 / 1e9  # seconds in Go's time.Duration

_MODELLED = {
    *("TIMING_50_PERCENTILE", "TIMING_90_PERCENTILE", "TIMING_99_PERCENTILE", "TIMING_VARIANCE"),
    *("ERROR_TYPE", "ERROR_RATE", "ERROR_CODE", "ERROR_DELAY"),
}
_CHANGES_BEHAVIOUR = ("TIMING_", "ERROR_", "RATE_LIMIT", "LOAD_")
_HARMLESS = {"NAME", "MESSAGE", "LISTEN_ADDR", "SERVER_TYPE", "KUBERNETES_NAMESPACE", "RAND_SEED"}
_HARMLESS |= {"UPSTREAM_URIS", "UPSTREAM_WORKERS", "HTTP_CLIENT_KEEP_ALIVES", "HTTP_SERVER_KEEP_ALIVES"}
# These do nothing unless RATE_LIMIT, LOAD_CPU_PERCENTAGE or LOAD_MEMORY_PER_REQUEST is set too.
_HARMLESS |= {"RATE_LIMIT_CODE", "LOAD_CPU_ALLOCATED", "LOAD_CPU_CLOCK_SPEED", "LOAD_CPU_CORES", "LOAD_MEMORY_VARIANCE"}
_HARMLESS_PREFIXES = ("LOG_", "TRACING_", "METRICS_", "ALLOW")


def parse_duration(text: object, field: str, *, negative: bool = False) -> float:
    """Seconds of a duration in Go's syntax ("0.5s", "1m30s", "300ms"), to the microsecond.

    `field` is what an error names; `negative` allows a value below zero.  Like Go it
    takes a bare "0", and no other number without a unit.  Raises ScenarioError.
    """
    # durationpy alone would let "1s junk 2s", days and digits of other scripts pass.
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or not _GO_DURATION.fullmatch(text):
        raise ScenarioError(f'{field}: must be a duration such as "300ms" or "1m30s", got {quoted(text, 60)}')
    try:
        seconds = durationpy.from_str(text).total_seconds()
    except (durationpy.DurationError, OverflowError):  # its versions differ in what they raise of more than a timedelta holds
        seconds = np.inf
    if abs(seconds) >= _LONGEST:
        raise ScenarioError(f"{field}: is longer than 292 years, got {quoted(text, 60)}")
    if seconds < 0 and not negative:
        raise ScenarioError(f"{field}: must be zero or more, got {quoted(text, 60)}")
    if seconds == 0 and re.search("[1-9]", text):
        raise ScenarioError(f"{field}: is less than a microsecond, got {quoted(text, 60)}")
    return seconds


def from_environment(
    env: Mapping[str, str], injector: Injector = "fake-service", errors: Errors | None = None, percentiles: Percentiles | None = None
) -> tuple[Behaviour, list[str]]:
    """The behaviour that a pod's environment variables give it, and warnings ("NAME: reason").

    An empty value counts as not set, as in fake-service.  Raises ScenarioError, naming
    the variable, for a bad value and for one that would change the behaviour in a way
    that is not modelled.
    """
    reading = Reading(injector, errors, percentiles).checked()
    for name, value in env.items():
        if not isinstance(value, str):
            raise ScenarioError(f"{name}: must be a string (put it in quotes), got {quoted(value, 60)}")
    env = {name: value for name, value in env.items() if value != ""}
    warnings = [warning for name, value in env.items() if name not in _MODELLED for warning in _other_variable(name, value)]

    def duration(name: str) -> float | None:
        return parse_duration(env[name], name) if name in env else None

    behaviour = Behaviour(
        timing_50_percentile=duration("TIMING_50_PERCENTILE") or 0.0,
        timing_90_percentile=duration("TIMING_90_PERCENTILE"),
        timing_99_percentile=duration("TIMING_99_PERCENTILE"),
        timing_variance=_timing_variance(env.get("TIMING_VARIANCE", "0"), warnings),
        error_type=env.get("ERROR_TYPE", "http_error"),
        error_rate=_error_rate(env.get("ERROR_RATE", "0")),
        error_code=_error_code(env.get("ERROR_CODE", "500")),
        error_delay=duration("ERROR_DELAY") or 0.0,
        **reading._asdict(),
    )
    return behaviour, warnings + _error_warnings(behaviour)


def _other_variable(name: str, value: str) -> list[str]:
    if name in _HARMLESS or name.startswith(_HARMLESS_PREFIXES):
        return []
    if name.startswith(_CHANGES_BEHAVIOUR):
        if name.startswith(("RATE_LIMIT", "LOAD_")) and re.fullmatch(r"0+(\.0*)?", value):
            return []  # switched off
        raise ScenarioError(f"{name}: not modelled, got {quoted(value, 60)}")
    return [f"{name}: not modelled, has no effect here"]


def _timing_variance(text: str, warnings: list[str]) -> int:
    if not _GO_INTEGER.fullmatch(text):
        warnings.append(f"TIMING_VARIANCE: must be a whole number of percent, got {quoted(text, 60)}; fake-service takes 0")
        return 0
    if len(text) > 9:
        raise ScenarioError(f"TIMING_VARIANCE: is too large, got {quoted(text, 60)}")
    if int(text) < 0:
        warnings.append(f"TIMING_VARIANCE: is negative, got {text}; fake-service takes 0")
    return max(0, int(text))


def _error_rate(text: str) -> float:
    rate = float(text) if len(text) <= _LONGEST_TEXT and _DECIMAL.fullmatch(text) else np.nan
    if not 0 <= rate <= 1:
        raise ScenarioError(f"ERROR_RATE: must be a number from 0 to 1, got {quoted(text, 60)}")
    return rate


def _error_code(text: str) -> int:
    if not re.fullmatch("[2-5][0-9][0-9]", text):
        raise ScenarioError(f"ERROR_CODE: must be an HTTP status from 200 to 599, got {quoted(text, 60)}")
    return int(text)


def _error_warnings(behaviour: Behaviour) -> list[str]:
    warnings = []
    if behaviour.error_type not in ("http_error", "delay"):
        warnings.append(f"ERROR_TYPE: {quoted(behaviour.error_type, 60)} is neither http_error nor delay; fake-service takes it for delay")
    period = error_period(behaviour.error_rate)
    if not behaviour.coin and behaviour.error_rate > 0 and not np.isclose(period * behaviour.error_rate, 1):
        which = "every request" if period == 1 else f"every request whose number is a multiple of {period}"
        warnings.append(f"ERROR_RATE: {behaviour.error_rate:g} fails {which}: fake-service counts to int(1/rate), it does not draw")
    return warnings


# --- one behaviour: exact distribution ---------------------------------------------------


class Atom(NamedTuple):
    """One possible outcome of a request: its probability, service time in seconds, and code."""

    probability: float
    seconds: float
    code: int


def error_period(error_rate: float) -> int:
    """Every how many requests fake-service fails one: int(1/rate), `NEVER` at rate 0."""
    return NEVER if error_rate * NEVER <= 1 else int(1 / error_rate)


def error_probability(behaviour: Behaviour) -> float:
    """The long-run share of requests that fail (1 for a pod with a `failure`)."""
    if behaviour.failure != "none":
        return 1.0
    if behaviour.coin:
        return behaviour.error_rate
    period = error_period(behaviour.error_rate)
    return 0.0 if period == NEVER else 1 / period


def distribution(behaviour: Behaviour) -> tuple[Atom, ...]:
    """Every outcome of one request, most likely first; probabilities sum to 1.

    As implemented, errors count with their long-run rate 1/int(1/rate).  A TIMING_VARIANCE
    above 100 is represented by 100 equally likely values with the exact mean.
    """
    failing = error_probability(behaviour)
    outcomes: dict[tuple[float, int], float] = {}

    def add(probability: float, seconds: float, code: int) -> None:
        if probability > 0:
            outcomes[seconds, code] = outcomes.get((seconds, code), 0.0) + probability

    add(failing, *failing_answer(behaviour))
    variance = max(1, behaviour.timing_variance)
    steps = min(variance, _MOST_ATOMS)
    percents = (np.arange(steps) + 0.5) * variance / steps - 0.5  # 0 .. v-1 when steps == v
    for share, level in zip(_SHARES, levels_of(behaviour), strict=True):
        for percent in percents:
            add((1 - failing) * share / steps, float(level * (1 + percent / 100)), 200)
    atoms = [Atom(float(probability), seconds, code) for (seconds, code), probability in outcomes.items()]
    return tuple(sorted(atoms, reverse=True))


def mean_service_time(behaviour: Behaviour) -> float:
    """The mean of `distribution` in seconds, failing requests included; inf for a pod that hangs."""
    return float(sum(atom.probability * atom.seconds for atom in distribution(behaviour)))


def failing_answer(behaviour: Behaviour) -> tuple[float, int]:
    """Seconds and code of a request that fails."""
    if behaviour.failure != "none":
        return (np.inf if behaviour.failure == "hang" else 0.0), FAILURE_CODES[behaviour.failure]
    return (0.0 if behaviour.error_type == "http_error" else behaviour.error_delay), behaviour.error_code


def levels_of(behaviour: Behaviour) -> tuple[float, float, float, float]:
    """Seconds of an answer whose timing uniform lies below 0.5, below 0.9, below 0.99, above."""
    p50, p90, p99 = behaviour.timings
    lowest = min(p50, behaviour.undelayed) if behaviour.prose else p50
    return lowest, p50, p90, p99


# --- many requests: sampler ----------------------------------------------------------------


class Sampler:
    """Service times and codes of many requests at once, from tables over E endpoints.

    The `needs_*` properties say which arguments of `answers` matter, so that an engine
    need not draw or count what no endpoint uses.
    """

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        failing = np.array([error_probability(b) for b in behaviours], dtype=float)
        answers = [failing_answer(b) for b in behaviours]
        always = failing == 1
        counted = np.array([not b.coin for b in behaviours], dtype=bool) & ~always
        self._failing_seconds = np.array([seconds for seconds, _ in answers], dtype=float)
        self._failing_code = np.array([code for _, code in answers], dtype=np.int16)
        # An endpoint that always fails needs no draw: its failure is its ordinary answer.
        self._seconds = np.array([levels_of(b) for b in behaviours], dtype=float).reshape(-1, 4)
        self._seconds[always] = self._failing_seconds[always, None]
        self._code = np.where(always, self._failing_code, 200).astype(np.int16)
        self._variance = np.where(always | ~self._seconds.any(axis=1), 0, [b.timing_variance for b in behaviours])
        self._period = np.where(counted, [error_period(b.error_rate) for b in behaviours], NEVER)
        self._rate = np.where(counted | always, 0.0, failing)
        self.needs_timing_draw = bool(np.any(self._seconds != self._seconds[:, :1]))
        """Some endpoint's time depends on `u`."""
        self.needs_variance = bool(np.any(self._variance > 1))
        """Some endpoint has a TIMING_VARIANCE, drawn from `v`."""
        self.needs_error_draw = bool(np.any(self._rate > 0))
        """Some endpoint fails at random (errors by coin), drawn from `v`."""
        self.needs_counter = bool(np.any(self._period < NEVER))
        """Some endpoint counts its requests to fail every k-th of them."""

    @property
    def constant(self) -> bool:
        """Every endpoint always answers 200 after a time of its own, `constant_seconds`."""
        drawn = self.needs_timing_draw or self.needs_variance or self.needs_error_draw or self.needs_counter
        return not drawn and bool(np.all(self._code == 200))

    @property
    def constant_seconds(self) -> NDArray[np.float64]:
        """(E,) seconds that each endpoint takes; only meaningful when `constant`."""
        return self._seconds[:, 0]

    def answers(
        self,
        endpoint: NDArray[np.integer],
        request_number: NDArray[np.integer] | None = None,
        u: NDArray[np.float64] | None = None,
        v: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
        """Service time in seconds (n,) and code (n,) of n requests, one to each `endpoint` (n,).

        `request_number` counts a pod's requests from 1; `u` and `v` are independent
        uniforms on [0, 1).  Each may be None when the `needs_*` properties allow it.
        The code is an HTTP status, or REFUSED, RESET (0 s) or HANG (inf).
        """
        if u is not None and self.needs_timing_draw:
            seconds = self._seconds.take(4 * endpoint + np.searchsorted(_CUTS, u, side="right"))
        else:
            seconds = self._seconds[:, 0].take(endpoint)
        code = self._code.take(endpoint)
        fails = None
        if self.needs_error_draw:
            rate = self._rate.take(endpoint)
            fails = v < rate
            v = (v - rate) / (1 - rate)  # uniform again, given that the request does not fail
        if self.needs_variance:
            variance = self._variance.take(endpoint)
            percent = np.floor(v * variance)
            seconds = seconds * (1 + np.clip(percent, 0, np.maximum(variance - 1, 0)) / 100)
        if self.needs_counter:
            turn = request_number % self._period.take(endpoint) == 0
            fails = turn if fails is None else fails | turn
        if fails is not None:
            which = np.flatnonzero(fails)
            seconds[which] = self._failing_seconds.take(endpoint[which])
            code[which] = self._failing_code.take(endpoint[which])
        return seconds, code
