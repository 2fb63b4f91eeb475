"""What every engine returns: the requests of many replications, and their figures.

A replication is one run of the experiment.  The simulation gives thousands, the real
Envoy a handful; `Outcome` is what a closed form can give as well.  Percentiles are
fortio's: interpolated in fortio's buckets, one value per replication.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tabulate import tabulate

from meshmodel.fakeservice import parse_duration
from meshmodel.results import fortio, replicas
from meshmodel.results.fortio import Histogram
from meshmodel.results.log import GAVE_UP, Ejections, RequestLog
from meshmodel.results.tally import FIRST_POD, Counts, LogTally, Tally
from meshmodel.scenario import ClosedLoop, Scenario

if TYPE_CHECKING:
    import pandas as pd  # half a second, so it is loaded by the first table

    from meshmodel.results.trace import Trace

PERCENTILES = fortio.DEFAULT_PERCENTILES

NOBODY = "nobody"
"""Who answered when the client gave up."""

ENVOY = "envoy"
"""Who answered when no pod did: the proxy itself (timeouts, overflow, no healthy upstream)."""

NOBODY = "nobody"
"""Who answered a request that its client gave up."""


RESENT = (
    "code -1: the client gives a call up at its timeout; fortio itself sends a call of a kept connection once more, on a new one, "
    "and gives up at twice the timeout [fortio/fortio fhttp/http_client.go, RetryOnce]"
)
"""What a reader who compares with fortio's own run must know."""

MOST_BINS = 100_000
"""Of the series in JSON: seconds, of a longer run tens of seconds, hundreds ..."""


class Estimate(NamedTuple):
    """Mean over replications and the central interval that holds 95 % of them."""

    mean: float
    lo: float
    hi: float

    @classmethod
    def of(cls, values: np.ndarray, level: float = 0.95) -> Estimate:
        """From one value per replication, shape (replications,); NaN entries are left out."""
        values = np.asarray(values, dtype=float)
        values = values[~np.isnan(values)]
        if not values.size:
            return cls(np.nan, np.nan, np.nan)
        lo, hi = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return cls(float(values.mean()), float(lo), float(hi))


class Outcome(ABC):
    """The figures that any engine can give; subclasses say where they come from."""

    scenario: Scenario
    engine: str

    @abstractmethod
    def figures(self) -> dict[str, Estimate]:
        """count, avg, p50, p75, p90, p99, p99.9: requests and seconds."""

    @abstractmethod
    def code_shares(self) -> dict[int, Estimate]:
        """HTTP status as the load generator sees it -> share of all requests."""

    @abstractmethod
    def endpoint_shares(self) -> dict[str, Estimate]:
        """Deployment (or `envoy`) -> share of the requests that it answered."""

    @abstractmethod
    def attempt_shares(self) -> dict[str, Estimate]:
        """`per_request` and Deployment -> upstream attempts per request."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values; times in seconds."""
        return {
            "scenario": self.scenario.to_json(),
            "engine": self.engine,
            "figures": _plain(self.figures()),
            "codes": _plain(self.code_shares()),
            "endpoints": _plain(self.endpoint_shares()),
            "attempts": _plain(self.attempt_shares()),
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before believing the figures, a line each."""
        return []

    def rows(self) -> list[tuple[str, float, float, float]]:
        """(figure, mean, lo, hi) for every figure, as the tables show them."""
        rows = [(name, *estimate) for name, estimate in self.figures().items()]
        rows += [(f"code {code}", *estimate) for code, estimate in self.code_shares().items()]
        rows += [(f"answered by {name}", *estimate) for name, estimate in self.endpoint_shares().items()]
        rows += [(f"attempts {name}".replace("_", " "), *estimate) for name, estimate in self.attempt_shares().items()]
        return rows

    def table(self, fmt: str = "simple") -> str:
        """All figures with their 95 % interval, as text (or `fmt="html"`)."""
        rows = [(name, *(_readable(name, value) for value in values)) for name, *values in self.rows()]
        return tabulate(
            rows, headers=("figure", "mean", "2.5 %", "97.5 %"), tablefmt=fmt, disable_numparse=True, colalign=("left", *["right"] * 3)
        )

    def _repr_html_(self) -> str:
        return self.table("html")


def _shares(counts: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """Counts as shares of the requests of each replication; NaN where it has none."""
    return np.divide(counts, requests, out=np.full(requests.shape, np.nan), where=requests > 0)


def _readable(name: str, value: float) -> str:
    return "-" if np.isnan(value) else f"{value:,.1f}" if name in ("count", "unanswered") else f"{value:.4f}"


def _plain(estimates: Mapping[Any, Estimate]) -> dict[str, dict[str, float | None]]:
    """NaN (nothing was measured) becomes null: JSON has no NaN."""
    return {
        str(name): {key: None if np.isnan(value) else float(value) for key, value in estimate._asdict().items()}
        for name, estimate in estimates.items()
    }


class Replay(Outcome):
    """The requests of `replications` runs of one scenario, and every figure of them.

    Arrays have shape (replications,).  `resolution` is fortio's histogram resolution in
    seconds (its command line's default; its web form's is 0.0001).

    Parameters
    ----------
    scenario, engine, seed : what was run, by which engine, from which seed.
    pods : names of the pods that `log.endpoint` indexes, and their Deployment and message.
    pod_attempts : (pods, replications) upstream attempts that reached each pod.
    counters : Envoy's counter name -> (replications,) of its increase during the run.
    tally : what was counted, where there is no log.
    unanswered : (replications,) requests that were sent and never answered, nor given up, before the run
        ended: their client waits for ever.  They are in no other figure.
    tracer : tells everything of a replication, by its number.
    stored : the report that it was read from, if it was.
    """

    def __init__(
        self,
        scenario: Scenario,
        engine: str,
        log: RequestLog | None,
        pod_attempts: np.ndarray,
        *,
        seed: int | None = None,
        counters: Mapping[str, np.ndarray] | None = None,
        ejections: Ejections | None = None,
        unanswered: np.ndarray | None = None,
        resolution: float = 0.001,
        provenance: Mapping[str, Any] | None = None,
        tally: Tally | None = None,
        tracer: Callable[[int], Trace] | None = None,
        stored: Mapping[str, Any] | None = None,
    ) -> None:
        self.scenario, self.engine, self.seed = scenario, engine, seed
        self._log, self._tally, self._tracer, self.pod_attempts = log, tally, tracer, pod_attempts
        self.counters = dict(counters or {})
        self.ejections = ejections or Ejections()
        self.unanswered = np.zeros(self.replications, int) if unanswered is None else np.asarray(unanswered)
        self.resolution = resolution
        self.provenance = dict(provenance or {})
        self.stored = dict(stored or {})
        endpoints = {e.name: e for routes in scenario.chains for e in routes[-1].endpoints}
        self.pod_names = tuple(endpoints)
        self._deployment = [e.deployment for e in endpoints.values()]
        self._message = [e.message or f"Hello from {e.deployment}" for e in endpoints.values()]

    @property
    def replications(self) -> int:
        """How many runs."""
        return self.pod_attempts.shape[1] if self._log is None else self._log.start.shape[1]

    @property
    def log(self) -> RequestLog:
        """Every request.  Raises ValueError where the engine was asked to keep figures only."""
        if self._log is None:
            raise ValueError('keep: the requests were not kept; ask for keep="log"')
        return self._log

    @property
    def keeps_log(self) -> bool:
        """Whether every request was kept, so that any resolution can be had."""
        return self._log is not None

    def with_resolution(self, resolution: float) -> Replay:
        """The same requests, read with another histogram resolution (seconds).

        Raises ValueError where the requests were not kept."""
        if resolution == self.resolution:
            return self
        return self._reading(self.log, self.pod_attempts, resolution)

    def after(self, calls: int) -> Replay:
        """The replay without the first `calls` requests of each replication; counters and ejections stay those of the whole run.

        Raises ValueError where one of these requests was tried more than once: the log does not say where.
        """
        if not calls:
            return self
        first, rest = (
            RequestLog(*(getattr(self.log, name)[part] for name in RequestLog.FIELDS)) for part in (slice(calls), slice(calls, None))
        )
        if ((first.code != -2) & (first.attempts != (first.endpoint >= 0))).any():
            raise ValueError(
                f"skip: one of the first {calls} requests was tried more than once, or its proxy answered: it cannot be left out"
            )
        gone = np.stack([(first.endpoint == pod).sum(axis=0) for pod in range(len(self.pod_names))])
        return self._reading(rest, self.pod_attempts - gone, self.resolution)

    def _reading(self, log: RequestLog, pod_attempts: np.ndarray, resolution: float) -> Replay:
        return Replay(
            self.scenario, self.engine, log, pod_attempts, seed=self.seed, counters=self.counters, ejections=self.ejections,
            resolution=resolution, provenance=self.provenance, unanswered=self.unanswered, tracer=self._tracer,
        )  # fmt: skip

    # --- counts -------------------------------------------------------------------------

    @cached_property
    def counts(self) -> Counts:
        """What is counted of each replication: the engine's own tally, or that of the log."""
        if self._tally is not None:
            return self._tally
        return LogTally(self.log, len(self.pod_names), self.resolution)

    @property
    def requests(self) -> np.ndarray:
        """Requests of each replication that were answered or given up, (replications,)."""
        return self.counts.requests

    @property
    def codes(self) -> dict[int, np.ndarray]:
        """HTTP status (-1: the client gave up) -> requests of each replication that ended with it."""
        return {code: n for code, n in self.counts.codes.items() if n.any()}

    @property
    def pods(self) -> dict[str, np.ndarray]:
        """Pod (or `envoy`, or `nobody`) -> requests of each replication that it answered."""
        nobody, proxy = self.counts.answers[:FIRST_POD]
        counts = dict(zip(self.pod_names, self.counts.answers[FIRST_POD:], strict=True))
        return counts | {name: n for name, n in ((ENVOY, proxy), (NOBODY, nobody)) if n.any()}

    @property
    def endpoints(self) -> dict[str, np.ndarray]:
        """Deployment (or `envoy`, or `nobody`) -> requests of each replication that it answered."""
        counts = self._by(self._deployment, [self.pods[name] for name in self.pod_names])
        return counts | {name: self.pods[name] for name in (ENVOY, NOBODY) if name in self.pods}

    @property
    def attempts(self) -> dict[str, np.ndarray]:
        """Deployment -> upstream attempts of each replication that reached it."""
        return self._by(self._deployment, list(self.pod_attempts))

    @property
    def bodies(self) -> dict[str, np.ndarray]:
        """Body -> requests of each replication: what `jq ".upstream_calls[0].body"` counts.

        A request that did not end with 200 has no body ("null").
        """
        counts = self._by(self._message, list(self.counts.good[FIRST_POD:]))
        missing = self.requests - sum(counts.values(), np.zeros(self.replications, int))
        return counts | ({"null": missing} if missing.any() else {})

    def _by(self, names: list[str], values: list[np.ndarray]) -> dict[str, np.ndarray]:
        total: dict[str, np.ndarray] = {}
        for name, value in sorted(zip(names, values, strict=True), key=lambda pair: pair[0]):
            total[name] = total.get(name, 0) + value
        return total

    # --- latency ------------------------------------------------------------------------

    @property
    def min(self) -> np.ndarray:
        """Shortest latency of each replication, seconds."""
        return self.counts.lowest

    @property
    def max(self) -> np.ndarray:
        """Longest latency of each replication, seconds."""
        return self.counts.highest

    @property
    def mean(self) -> np.ndarray:
        """Mean latency of each replication, seconds (NaN where it has no request)."""
        with np.errstate(invalid="ignore"):
            return self.counts.total / self.requests

    @property
    def bucket_counts(self) -> np.ndarray:
        """Requests in each of fortio's buckets, shape (buckets, replications)."""
        return self.counts.buckets

    def percentile(self, p: float) -> np.ndarray:
        """The p-th percentile of each replication as fortio would print it, seconds."""
        return fortio.percentiles(self.bucket_counts, self.min, self.max, [p], self.resolution)[0]

    def histogram(self, i: int = 0) -> Histogram:
        """fortio's histogram of replication `i`, with its status codes and achieved qps."""
        return self._as_histogram(slice(i, i + 1))

    @property
    def pooled(self) -> Histogram:
        """fortio's histogram of all replications together."""
        return self._as_histogram(slice(None))

    def _as_histogram(self, which: slice) -> Histogram:
        kept = self.counts
        lowest, highest, total, squares = (moment[which] for moment in (kept.lowest, kept.highest, kept.total, kept.squares))
        codes = {code: int(counts[which].sum()) for code, counts in self.codes.items() if counts[which].any()}
        elapsed = self.elapsed[which].sum()
        return Histogram.from_counts(
            self.bucket_counts[:, which].sum(axis=1),
            round(float(lowest.min()), 9),  # fortio's clock counts whole nanoseconds, and it prints all its digits
            round(float(highest.max()), 9),
            total.sum(),
            squares.sum(),
            self.resolution,
            codes=codes,
            qps=float(self.requests[which].sum() / elapsed) if elapsed > 0 else None,
        )

    @property
    def elapsed(self) -> np.ndarray:
        """Seconds from the start to the last answer of each replication."""
        return self.counts.elapsed

    # --- figures over replications ------------------------------------------------------

    def values(self, figure: str) -> np.ndarray:
        """A figure of each replication, (replications,), by its name in `table`: "p75", "code 503", "attempts per request" ...

        Besides: min, max, unanswered, and any percentile ("p99.9").

        Raises
        ------
        KeyError : for any other name.
        """
        simple = {"count": self.requests, "avg": self.mean, "min": self.min, "max": self.max, "unanswered": self.unanswered}
        if figure in simple:
            return simple[figure]
        if re.fullmatch(r"p\d+(\.\d+)?", figure):
            return self.percentile(float(figure[1:]))
        counted: dict[str, Mapping[Any, np.ndarray]] = {"code": self.codes, "answered by": self.endpoints, "attempts": self._attempts}
        for kind, counts in counted.items():
            for name, count in counts.items():
                if figure == f"{kind} {name}".replace("_", " "):
                    return _shares(count, self.requests)
        if re.fullmatch(r"code -?\d+", figure):  # none ended with it
            return _shares(np.zeros(self.replications), self.requests)
        raise KeyError(f"unknown figure {figure!r}: count, avg, min, max, p50, p99.9, code 503 ... (`table` shows them)")

    def interval(self, figure: str, level: float = 0.95) -> tuple[float, float]:
        """The central interval that holds `level` of the replications' values of `figure`."""
        return Estimate.of(self.values(figure), level)[1:]

    def figures(self) -> dict[str, Estimate]:
        names = ("count", "avg", *(f"p{p:g}" for p in PERCENTILES))
        return {name: Estimate.of(self.values(name)) for name in names}

    def code_shares(self) -> dict[int, Estimate]:
        return self._shares(self.codes)

    def endpoint_shares(self) -> dict[str, Estimate]:
        return self._shares(self.endpoints)

    def attempt_shares(self) -> dict[str, Estimate]:
        return self._shares(self._attempts)

    @property
    def _attempts(self) -> dict[str, np.ndarray]:
        return {"per_request": self.pod_attempts.sum(axis=0), **self.attempts}

    def _shares(self, counts: Mapping[Any, np.ndarray]) -> dict[Any, Estimate]:
        return {name: Estimate.of(_shares(count, self.requests)) for name, count in counts.items()}

    def rows(self) -> list[tuple[str, float, float, float]]:
        return super().rows() + ([("unanswered", *Estimate.of(self.unanswered))] if self.unanswered.any() else [])

    @property
    def remarks(self) -> list[str]:
        found = []
        if self.unanswered.any():
            many = f"{self.unanswered.mean():,.1f} requests of a replication on average"
            found.append(f"unanswered: {many} were sent and never answered, as their client waits for ever; they are in no other figure")
        if GAVE_UP in self.codes and isinstance(self.scenario.workload, ClosedLoop):
            found.append(RESENT)
        return found

    # --- over time, and one by one ------------------------------------------------------

    def series(self, bin: float | str = 1.0) -> pd.DataFrame:
        """Answers per bin of `bin` (seconds, or a duration such as "1s"), mean over replications, by the time of the answer.

        Columns: `code 200` ..., `endpoint NAME` ..., `ejected` (pods out at the bin's end); index: the bin's start.
        """
        import pandas as pd

        bin = parse_duration(bin, "bin") if isinstance(bin, str) else float(bin)
        if not 0 < bin < np.inf:
            raise ValueError(f"bin: must be more than zero seconds, got {bin!r}")
        columns = self._series(bin)
        return pd.DataFrame(columns, index=pd.Index(bin * np.arange(len(columns["ejected"])), name="seconds"))

    def _series(self, bin: float) -> dict[str, np.ndarray]:
        """The columns of `series`."""
        by_code, by_answer = self.counts.by_time(bin)
        by_answer = by_answer / self.replications
        columns = {f"code {code}": n / self.replications for code, n in by_code.items() if n.any()}
        by_pod = dict(zip((NOBODY, ENVOY, *self.pod_names), by_answer, strict=True))
        for name in self.endpoints:
            pods = [name] if name in (ENVOY, NOBODY) else [p for p, d in zip(self.pod_names, self._deployment, strict=True) if d == name]
            columns[f"endpoint {name}"] = sum((by_pod[pod] for pod in pods), np.zeros(by_answer.shape[1]))
        bins = by_answer.shape[1]
        columns["ejected"] = self.ejected_at(bin * (1 + np.arange(bins)))
        return columns

    def ejected_at(self, times: np.ndarray) -> np.ndarray:
        """How many pods are ejected at these seconds, mean over replications."""
        if self._tally is not None:
            running = np.concatenate(([0.0], np.cumsum(self._tally.ejected_by_time)))
            return running[np.minimum(np.rint(times / self._tally.bin).astype(int), len(running) - 1)] / self.replications
        change = np.where(self.ejections.ejected, 1, -1)
        order = np.argsort(self.ejections.time, kind="stable")
        running = np.concatenate(([0], np.cumsum(change[order])))
        return running[np.searchsorted(self.ejections.time[order], times, side="right")] / self.replications

    def ejected(self, at: float, replication: int = 0) -> set[str]:
        """Names of the pods that outlier detection holds ejected `at` seconds into a replication."""
        out: set[str] = set()
        mine = (self.ejections.replication == replication) & (self.ejections.time <= at)
        for pod, gone in zip(self.ejections.pod[mine], self.ejections.ejected[mine], strict=True):
            (out.add if gone else out.discard)(self.pod_names[pod])
        return out

    def requests_table(self, i: int = 0) -> pd.DataFrame:
        """Every request of replication `i` in order of its start; seconds.

        Columns: start, latency, code, endpoint (pod, `envoy` or `nobody`), deployment, attempts.
        """
        import pandas as pd

        rows = self.log.code[:, i] != -2
        endpoint = np.where(self.log.code[rows, i] == GAVE_UP, -2, self.log.endpoint[rows, i])
        table = pd.DataFrame(
            {
                "start": np.round(self.log.start[rows, i], 9),
                "latency": np.round(self.log.latency[rows, i], 9),
                "code": self.log.code[rows, i],
                "endpoint": np.array([*self.pod_names, NOBODY, ENVOY], dtype=object)[endpoint],
                "deployment": np.array([*self._deployment, NOBODY, ENVOY], dtype=object)[endpoint],
                "attempts": self.log.attempts[rows, i],
            }
        )
        return table.sort_values("start", kind="stable", ignore_index=True)

    def trace(self, i: int = 0) -> Trace:
        """Everything that happened in replication `i`.

        Raises ValueError where the engine can tell nothing of it.
        """
        if self._tracer is None:
            raise ValueError(f"trace: this replay of the engine {self.engine} has none")
        if not 0 <= i < self.replications:
            raise ValueError(f"trace: there are replications 0 to {self.replications - 1}, got {i}")
        return self._tracer(i)

    def to_json(self) -> dict[str, Any]:
        """The figures, and of each replication what they follow from (`results.stored` reads them again)."""
        if self.stored:
            return dict(self.stored)
        bin = float(max(1.0, 10 ** np.ceil(np.log10(max(self.elapsed.max(), 1.0) / MOST_BINS))))
        series = self._series(bin)
        codes = {str(code): series[f"code {code}"].tolist() for code in self.codes}
        endpoints = {name: series[f"endpoint {name}"].tolist() for name in self.endpoints}
        return super().to_json() | {
            "replications": self.replications,
            "seed": self.seed,
            "requests": int(self.requests.sum()),
            "unanswered": _plain({"": Estimate.of(self.unanswered)})[""],
            "pods": _plain(self._shares(self.pods)),
            "bodies": _plain(self._shares(self.bodies)),
            "series": {"bin": bin, "codes": codes, "endpoints": endpoints, "ejected": series["ejected"].tolist()},
            "counters": _plain({name: Estimate.of(values) for name, values in self.counters.items()}),
            "fortio": self.histogram(0).to_json(),
            "replicas": replicas.to_json(
                self.counts, self.pod_attempts, self.unanswered, self.resolution, bin, np.asarray(series["ejected"])
            ),
            **({"provenance": self.provenance} if self.provenance else {}),
        }

    def __repr__(self) -> str:
        return f"<Replay {self.engine}: {self.replications:,} replications, {int(self.requests.sum()):,} requests>"
