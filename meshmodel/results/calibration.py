"""What a request spends outside the backend, estimated from one recorded histogram.

The latency of a request is S + X: S the service time of the pod that answered, known from
its manifest, and X the overhead (simple-web, sidecars, network), of which all we have is
what fortio printed.  X is taken to be lognormal above a smallest value,

    X = loc + scale * exp(sigma * Z),   Z standard normal,

because overheads are sums and products of positive delays with a long right tail.  The
shares of the pods are free as well, so that a record with an odd share does not bend X.
The four numbers that fortio keeps exactly enter one composite likelihood (the counts of
the buckets, the mean, the smallest and the largest latency), maximised by Nelder-Mead.

The defaults are calibrated on one record each and then used to predict all the others:
fortio's on the tutorial's ROUND_ROBIN record, curl's (which includes starting curl itself,
as the shell's `time` does) on the loop of the tutorial's timeout experiment.

References: Varin, Reid and Firth, "An overview of composite likelihood methods",
Statistica Sinica 21 (2011); David and Nagaraja, Order Statistics, 3rd ed., section 2.1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from meshmodel._data import data_path
from meshmodel.fakeservice import distribution
from meshmodel.results.fortio import Histogram, read_record
from meshmodel.scenario import Behaviour, ClosedLoop, Distribution, Scenario, Workload


class CalibrationError(ValueError):
    """The record cannot come from these pods; the message says why."""


def calibrate(record: Histogram, pods: Sequence[Behaviour], *behind: Sequence[Behaviour]) -> Distribution:
    """The overhead distribution that best explains `record`, whose requests these pods answered.

    Parameters
    ----------
    record : what fortio printed, seconds.
    pods : the behaviour of every pod; their shares of the requests are estimated too.
    behind : the pods of each further hop, which `pods` call.  A pod in front works while it waits for what it calls (fake-service,
        handlers/request.go: it sleeps what is left of its own time), so that a request takes the last hop's time and the overhead,
        unless a pod in front takes longer by itself.

    Returns
    -------
    A frozen `scipy.stats.lognorm`, seconds.

    Raises
    ------
    CalibrationError : an answer of the record came before any pod could give it; or a pod in front takes so long by itself that
        what the way takes is hidden behind it.
    """
    *front, last = (_times(hop) for hop in (pods, *behind))
    service = last
    longest = max((times.max(initial=0.0) for times in front), default=0.0)
    if longest >= record.min > 0:
        raise CalibrationError(
            f"record: pods in front take {longest:g} s by themselves, the fastest call {record.min:g} s: what the way takes is hidden "
            "behind that; record and calibrate on the last Service (--target)"
        )
    least = record.min - service.min() if service.size else -1.0
    if least <= 0:
        raise CalibrationError(
            f"record: its fastest answer took {record.min:g} s, the fastest pod alone takes {service.min(initial=np.inf):g} s"
        )
    spread = max(record.mean - _expected_service(record, service) - least, least / 10)
    start = [np.log(9.0), np.log(spread), np.log(0.8)]  # loc at nine tenths of the least overhead
    fit = optimize.minimize(
        lambda theta: -_log_likelihood(_overhead(theta, least), record, service), start,
        method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4, "maxiter": 600},
    )  # fmt: skip
    return _overhead(fit.x, least)


def _times(pods: Sequence[Behaviour]) -> np.ndarray:
    """The times that an answer of these pods may take, ascending seconds."""
    return np.array(sorted({atom.seconds for pod in pods for atom in distribution(pod) if np.isfinite(atom.seconds)}))


def refuse_troubled(record: Histogram, scenario: Scenario) -> None:
    """Raise CalibrationError where the record or the mesh has errors, faults or limits on time: overheads are of answers that went well."""
    well = record.codes.get(200, 0) + record.codes.get("SERVING", 0) + record.codes.get("OK", 0)
    if record.codes and well < record.count:
        other = ", ".join(f"{n} of {code}" for code, n in record.codes.items() if code not in (200, "SERVING", "OK"))
        raise CalibrationError(f"record: {other} among its {record.count} calls: an overhead is that of answers that went well")
    faults = [f"{route.host} has an injected fault" for route in scenario.routes if route.fault.abort_percent or route.fault.delay_percent]
    faults += [
        f"pod {pod.name} fails" for route in scenario.routes for pod in route.endpoints
        if pod.behaviour.error_rate or pod.behaviour.failure != "none"
    ]  # fmt: skip
    if faults or scenario.changes:
        raise CalibrationError(f"mesh: {faults[0] if faults else 'it changes under load'}: calibrate on a mesh without faults")


def _overhead(theta: np.ndarray, least: float) -> Distribution:
    """loc anywhere in (0, least); scale and sigma positive."""
    location, scale, sigma = theta
    loc = least / (1 + np.exp(-location))
    return stats.lognorm(s=float(np.exp(sigma)), loc=float(loc), scale=float(np.exp(scale)))


def _expected_service(record: Histogram, service: np.ndarray) -> float:
    """Mean service time if every request of a bucket took the longest service time that fits below it."""
    middles = (record.starts + record.ends) / 2
    longest = service[np.maximum(np.searchsorted(service, middles) - 1, 0)]
    return float(np.average(longest, weights=record.counts))


def _log_likelihood(overhead: Distribution, record: Histogram, service: np.ndarray) -> float:
    """The composite log-likelihood of counts, mean, minimum and maximum, the pods' shares maximised over."""
    edges = np.array([-np.inf, *record.ends[:-1], np.inf])
    inside = np.diff(overhead.cdf(edges[:, None] - service), axis=0)  # (buckets, services)
    share = _shares(inside, record.counts)
    probability = np.maximum(inside @ share, 1e-300)
    mean = share @ service + overhead.mean()  # the shares follow the counts, so only X is left to vary
    n = record.count
    within = record.counts @ np.log(probability) + stats.norm.logpdf(record.mean, mean, np.sqrt(overhead.var() / n))
    # The smallest of n lies in (a, b] with probability (1-F(a))^n - (1-F(b))^n, the largest likewise.
    # Both to the histogram's resolution: as densities they would be unbounded as loc nears the minimum.
    half = record.table_resolution() / 2
    extremes = np.add.outer([record.min, record.max], [-half, half])
    cdf = overhead.cdf(extremes[..., None] - service) @ share
    smallest = (1 - cdf[0, 0]) ** n - (1 - cdf[0, 1]) ** n
    largest = cdf[1, 1] ** n - cdf[1, 0] ** n
    return float(within + np.log(np.maximum(smallest, 1e-300)) + np.log(np.maximum(largest, 1e-300)))


def _shares(inside: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The pods' shares that make the bucket counts likeliest (EM for mixture weights; Dempster et al. 1977)."""
    share = np.full(inside.shape[1], 1 / inside.shape[1])
    for _ in range(20):
        weight = inside * share
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        share = counts @ weight / counts.sum()
    return share


def calibrate_curl(seconds: Iterable[float], service: Iterable[float]) -> Distribution:
    """The lognormal overhead (from zero) of curl calls that took `seconds`, `service` of it in the backend.

    Raises
    ------
    CalibrationError : a call took no longer than its backend, or there are fewer than three.
    """
    overhead = np.asarray(list(seconds)) - np.asarray(list(service))
    if len(overhead) < 3 or (overhead <= 0).any():
        raise CalibrationError("curl: needs three calls or more, each longer than its backend's time")
    logs = np.log(overhead)
    return stats.lognorm(s=float(logs.std(ddof=1)), scale=float(np.exp(logs.mean())))


FORTIO_PODS = (Behaviour(timing_50_percentile=0.15), Behaviour(timing_50_percentile=1.0))
"""The pods of the ROUND_ROBIN record, as testbed.yaml and slow-backend-1.yaml have them (a test compares)."""


@lru_cache(maxsize=1)
def fortio_overhead() -> Distribution:
    """The default under fortio: calibrated on the tutorial's ROUND_ROBIN record, alone."""
    return calibrate(read_record(data_path("tutorial", "round-robin.txt")), FORTIO_PODS)


CURL_CALIBRATION = "timeout"
"""The one curl loop that the default overhead of curl is calibrated on; all others are predictions."""


@lru_cache(maxsize=1)
def curl_overhead() -> Distribution:
    """The default under a curl loop: calibrated on the tutorial's timeout loop, alone.

    There a call that ended with 200 took the backend 0.15 s, one with 500 the timeout of 0.5 s.
    """
    with open(data_path("tutorial", "curl-loops.csv"), newline="", encoding="utf-8") as file:
        calls = [row for row in csv.DictReader(file) if row["experiment"] == CURL_CALIBRATION]
    return calibrate_curl([float(row["seconds"]) for row in calls], [0.15 if row["code"] == "200" else 0.5 for row in calls])


def default_overhead(workload: Workload) -> Distribution:
    """The calibrated overhead of a workload: curl's for a loop of curl, else fortio's."""
    return curl_overhead() if isinstance(workload, ClosedLoop) and workload.is_curl else fortio_overhead()
