"""Load balancing: what share of the requests each endpoint gets, and how much it fluctuates.

ROUND_ROBIN and RANDOM do not look at the endpoints: equal shares.  LEAST_REQUEST draws
two endpoints independently, with replacement, and takes the second only if it has
strictly fewer active requests; with a closed population of C connections the numbers
active at the endpoints form a Markov chain when service is exponential:

    active(e) --rate n_e / s_e--> outside --rate n_0 / o, probability p_e(n)--> active(e)

Its stationary solution is exact, to an error that is bounded in the same breath (sparse linear algebra).  A constant service time is
approached by Erlang phases: k phases have squared coefficient of variation 1/k.
References: Envoy, "Supported load balancers: weighted least request"; M. Mitzenmacher,
IEEE TPDS 12(10) 2001; N. Vvedenskaya et al., Probl. Inf. Transm. 32(1) 1996.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from meshmodel.analytic import NoClosedForm

MAX_STATES = 25_000
"""More would take the factorisation minutes and gigabytes (25,000 states: 3 s)."""

LARGEST_ERROR = 1e-9
"""Of a share; what may be wrong by more is not given."""


def least_request_probabilities(active: np.ndarray) -> np.ndarray:
    """Probability that LEAST_REQUEST picks each endpoint, given the requests active at each, shape (..., endpoints).

    p_e = (#{b: n_b >= n_e} + #{a: n_a > n_e}) / H^2: e drawn first and not beaten, or drawn second and fewer.
    Source: Envoy, source/extensions/load_balancing_policies/least_request (choice_count 2, equal weights).
    """
    active = np.asarray(active)
    other, mine = active[..., None, :], active[..., :, None]
    return ((other >= mine).sum(-1) + (other > mine).sum(-1)) / active.shape[-1] ** 2


def least_share(endpoints: int) -> float:
    """The share that LEAST_REQUEST sends to an endpoint however slow it is: both draws hit it, 1 / H^2."""
    return 1 / endpoints**2


@dataclass(frozen=True)
class Occupancy:
    """Stationary LEAST_REQUEST: `shares` (endpoints,), none wrong by more than `error`, `covariance` of the shares times
    requests (endpoints, endpoints), mean numbers `active` (endpoints,), the requests each gets beyond share x rate x time
    in a run that starts with all connections outside, `burst` (endpoints,), and the number of `states` of the chain."""

    shares: np.ndarray
    covariance: np.ndarray
    active: np.ndarray
    burst: np.ndarray
    states: int
    error: float


class _Chain:
    """The jump rates between canonical states (S, E, K): requests of each endpoint in each of its Erlang `phases`."""

    def __init__(self, service: Sequence[float], phases: Sequence[int], outside: float, connections: int, most: int) -> None:
        self.most = most
        self.service, self.phases = np.asarray(service, float), np.asarray(phases)
        self.outside, self.connections = outside, connections
        self.count, self.depth = len(service), int(self.phases.max())
        kinds = list(zip(service, phases, strict=True))
        distinct = list(dict.fromkeys(kinds))
        self.group_of = np.array([distinct.index(kind) for kind in kinds])
        self.groups = [np.flatnonzero(self.group_of == g) for g in range(len(distinct))]
        shape = self.count * self.depth
        self.multipliers = np.random.default_rng(0).integers(1, 2**63, shape, dtype=np.uint64) | np.uint64(1)  # a hash, nothing random
        self._explore()

    def _canonical(self, states: np.ndarray) -> np.ndarray:
        """Endpoints that behave alike are interchangeable: sort them within their group."""
        code = states @ ((self.connections + 1) ** np.arange(self.depth, dtype=np.int64))
        result = states.copy()
        for group in self.groups:
            order = np.argsort(code[:, group], axis=1)
            result[:, group] = np.take_along_axis(states[:, group], order[..., None], axis=1)
        return result

    def _key(self, states: np.ndarray) -> np.ndarray:
        return (states.reshape(len(states), -1).astype(np.uint64) * self.multipliers).sum(axis=1, dtype=np.uint64)

    def _routed(self, states: np.ndarray, rate: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        """What a balancer makes of `rate` arrivals in each state: (source row, state, rate, group chosen)."""
        probability = least_request_probabilities(states.sum(axis=2))
        moves = []
        for e in range(self.count):
            rows = np.flatnonzero((rate > 0) & (probability[:, e] > 0))
            after = states[rows].copy()
            if self.service[e] > 0:  # an endpoint that answers in no time never holds a request
                after[:, e, 0] += 1
            moves.append((rows, after, rate[rows] * probability[rows, e], int(self.group_of[e])))
        return moves

    def moves(self, states: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        """Every jump out of `states` (S, E, K): (source row, next state, rate, group that got a request or -1)."""
        out = []
        for e in np.flatnonzero(self.service > 0):
            for k in range(self.phases[e]):
                rows = np.flatnonzero(states[:, e, k])
                after = states[rows].copy()
                rate = after[:, e, k] * self.phases[e] / self.service[e]
                after[:, e, k] -= 1
                if k + 1 < self.phases[e]:
                    after[:, e, k + 1] += 1
                    out.append((rows, after, rate, -1))
                elif self.outside > 0:
                    out.append((rows, after, rate, -1))
                else:
                    out += [(rows[sub], state, r, g) for sub, state, r, g in self._routed(after, rate)]
        if self.outside > 0:
            out += self._routed(states, (self.connections - states.sum(axis=(1, 2))) / self.outside)
        return out

    def _explore(self) -> None:
        start = np.zeros((1, self.count, self.depth), np.int64)
        if self.outside <= 0:
            start[0, int(np.argmax(self.service > 0)), 0] = self.connections
        frontier = self._canonical(start)
        self.states, known = frontier, self._key(frontier)
        while len(frontier):
            reached = self._canonical(np.concatenate([state for _, state, _, _ in self.moves(frontier)]))
            keys, first = np.unique(self._key(reached), return_index=True)
            fresh = ~np.isin(keys, known)
            frontier = reached[first[fresh]]
            self.states, known = np.concatenate((self.states, frontier)), np.concatenate((known, keys[fresh]))
            if len(known) > self.most:
                raise NoClosedForm(f"LEAST_REQUEST with more than {self.most:,} states of occupancy")
        self.order = np.argsort(known)
        self.known = known[self.order]

    def index(self, states: np.ndarray) -> np.ndarray:
        return self.order[np.searchsorted(self.known, self._key(self._canonical(states)))]

    def jumps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Every jump between the states: from, to, rate, group that got a request or -1; each (jumps,)."""
        moves = self.moves(self.states)
        source, after, rate = (np.concatenate(part) for part in list(zip(*moves, strict=True))[:3])
        return source, self.index(after), rate, np.repeat([m[3] for m in moves], [len(m[0]) for m in moves])


@lru_cache(maxsize=256)
def least_request_occupancy(
    service: tuple[float, ...], outside: float, connections: int, phases: tuple[int, ...] | None = None, most: int = MAX_STATES
) -> Occupancy:
    """Exact stationary LEAST_REQUEST of a closed population, service exponential (or Erlang with `phases` per endpoint).

    Parameters
    ----------
    service : mean seconds at each endpoint; outside : mean seconds (exponential) that a request is active nowhere.
    connections : how many requests circulate.

    Solves pi Q = 0; the covariance of the counts is that of a Markovian arrival process,
    Sigma_ij = d_ij l_i + pi D_i Z r_j + pi D_j Z r_i, with Z the deviation matrix, r_j = D_j 1.
    Source: S. Asmussen, Applied Probability and Queues (2003), sec. XI.1; Envoy's choice rule as above.

    Raises
    ------
    NoClosedForm : for more than `most` states, when no request ever takes time, or when the error exceeds LARGEST_ERROR.
    """
    # A billionth of the slowest time is no time: rates that far apart would only spoil the linear algebra.
    outside, *times = (seconds if seconds > 1e-9 * max(service) else 0.0 for seconds in (outside, *service))
    service = tuple(times)
    if not any(service) or (outside == 0 and not all(service)):
        raise NoClosedForm("LEAST_REQUEST among requests that take no time")
    chain = _Chain(service, phases or (1,) * len(service), outside, connections, most)
    count, groups = len(chain.states), len(chain.groups)
    source, target, rate, group = chain.jumps()
    reward = np.zeros((count, groups))
    np.add.at(reward, (source[group >= 0], group[group >= 0]), rate[group >= 0])
    q = _generator(source, target, rate, count)
    pi, error, poisson = _stationary(q, np.abs(q @ chain.states.sum(axis=2)) @ chain.service, reward.sum(axis=1))
    flow = pi @ reward
    bias = np.column_stack([poisson((flow - reward)[:, g]) for g in range(groups)])
    bias -= pi @ bias
    cross = np.zeros((groups, groups))
    np.add.at(cross, group[group >= 0], (pi[source] * rate)[group >= 0, None] * bias[target[group >= 0]])
    return _spread(chain, flow, np.diag(flow) + cross + cross.T, pi, bias[0], error)


def _generator(source: np.ndarray, target: np.ndarray, rate: np.ndarray, count: int) -> sparse.csc_matrix:
    """Q (states, states): the rates of the jumps, and on the diagonal what makes each row's sum 0."""
    q = sparse.coo_matrix((rate, (source, target)), (count, count)).tocsc()
    return (q - sparse.diags(np.asarray(q.sum(axis=1)).ravel())).tocsc()


def _stationary(q: sparse.csc_matrix, drift: np.ndarray, arrivals: np.ndarray) -> tuple[np.ndarray, float, Callable]:
    """Solution of pi Q = 0 (states,), a bound of the error of a share of the `arrivals`, and a solver of Poisson's equation Q y = c.

    Q less one state, the anchor, is factorised.  Its inverse holds the mean times until the anchor is hit, so an anchor that
    is hardly ever visited (nothing under way, say: once in 10^14 s) leaves no digit right, with or without pivoting, and one
    that is visited often all of them.  Tried first is the state in which the numbers under way `drift` (states,) least,
    then the likeliest one that was found.
    """
    anchor = int(np.argmin(drift))
    for _ in range(3):
        pi, error, poisson = _anchored(q, anchor, arrivals)
        if error < LARGEST_ERROR:
            return pi, error, poisson
        anchor = int(np.argmax(pi))
    raise NoClosedForm("LEAST_REQUEST with times so far apart that its equations cannot be solved")


def _anchored(q: sparse.csc_matrix, anchor: int, arrivals: np.ndarray) -> tuple[np.ndarray, float, Callable]:
    """`_stationary` with this anchor.

    Bound: with A the matrix that is left, r the residual and e the error of the solution, e A = r.  -A is an M-matrix, so
    |e| w <= |r| (-A)^-1 w for any w >= 0; and (-A)^-1 w <= 2 h wherever -A h >= w / 2.
    Source: A. Berman, R. Plemmons, Nonnegative Matrices in the Mathematical Sciences (1994), ch. 6.
    """
    others, eps = np.delete(np.arange(q.shape[0]), anchor), np.finfo(float).eps
    rest, inflow = q[others][:, others].tocsc(), q[[anchor]][:, others].toarray().ravel()
    lu = splu(rest, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
    pi = np.insert(lu.solve(-inflow, "T"), anchor, 1.0)
    visits, total = pi[others], float(pi @ arrivals)
    weight = arrivals[others] + total / pi.sum()
    passed = lu.solve(-weight)
    rounding = eps * (1 + np.diff(rest.indptr).max(initial=0))
    residual = np.abs(visits @ rest + inflow) + rounding * (np.abs(visits) @ abs(rest) + inflow)
    known = passed.min(initial=1) > 0 and (rest @ passed + rounding * (abs(rest) @ passed) + weight / 2).max(initial=0) <= 0
    error = 2 * float(residual @ (2 * passed)) / abs(total) + len(pi) * eps if known else np.inf  # of a flow and of their sum, both rounded
    return pi / pi.sum(), error, lambda c: np.insert(lu.solve(np.ascontiguousarray(np.delete(c, anchor))), anchor, 0.0)


def _spread(chain: _Chain, flow: np.ndarray, counts: np.ndarray, pi: np.ndarray, burst: np.ndarray, error: float) -> Occupancy:
    """From groups of interchangeable endpoints to endpoints: shares, and covariance of sqrt(n) x share."""
    total, size = flow.sum(), np.bincount(chain.group_of)
    centre = np.eye(len(flow)) - np.outer(flow / total, np.ones(len(flow)))  # share_g = N_g / N, delta method
    covariance = centre @ counts @ centre.T / total
    of = chain.group_of
    shares = (flow / total / size)[of]
    between = covariance[np.ix_(of, of)] / np.outer(size[of], size[of])
    # within a group an equal split: the group's requests go to its members as evenly as multinomial draws would
    same = (of[:, None] == of[None, :]) * shares[:, None]
    within = np.diag(shares) - same / size[of][None, :]
    present = chain.states.sum(axis=2)
    mean = np.array([pi @ present[:, of == g].sum(axis=1) / size[g] for g in range(len(flow))])[of]
    return Occupancy(shares, between + within, mean, (burst / size)[of], len(chain.states), error)


def least_request_constant(service: tuple[float, ...], outside: float, connections: int, most: int = MAX_STATES) -> Occupancy:
    """`least_request_occupancy` for constant service: shares of the exponential chain, covariance extrapolated.

    The shares hardly depend on the service distribution (in the tutorial's mesh by less than 1 %), their covariance
    does, about linearly in the squared coefficient of variation 1/k of k phases: from k = 1 and k = 2 of the slowest
    endpoint it is read off at 0; when the second chain has more than 1,500 states the covariance is the exponential one.
    """
    base = least_request_occupancy(service, outside, connections, None, most)
    slowest = tuple(2 if s == max(service) else 1 for s in service)
    try:
        finer = least_request_occupancy(service, outside, connections, slowest, 1500)
    except NoClosedForm:
        return base
    covariance = 2 * finer.covariance - base.covariance
    positive = np.linalg.eigvalsh(covariance).min() > -1e-9
    return replace(base, covariance=covariance if positive else finer.covariance)


def power_of_d_tail(load: float, choices: int = 2, longest: int = 20) -> np.ndarray:
    """Share of endpoints with at least i requests, i = 0 .. longest, when many endpoints serve one request at a time.

    s_i = load^((d^i - 1) / (d - 1)) (d = 1: load^i): doubly exponential instead of geometric.
    Poisson arrivals of `load` per endpoint and service time, exponential service, endpoints -> infinity.
    Source: Mitzenmacher (2001), eq. 4; Vvedenskaya et al. (1996).
    """
    i = np.arange(longest + 1)
    exponent = i if choices == 1 else (float(choices) ** i - 1) / (choices - 1)
    return np.where(i == 0, 1.0, float(load) ** exponent)


def power_of_d_response(load: float, choices: int = 2) -> float:
    """Mean response in units of the service time by Little's law: sum of power_of_d_tail over i >= 1, divided by load."""
    return float(power_of_d_tail(load, choices, 4000 if choices == 1 else 60)[1:].sum() / load)


def power_of_two_unlimited(load: float, levels: int = 60) -> np.ndarray:
    """Share of endpoints with at least i active requests when every endpoint works on all of its requests at once.

    Mean field of Envoy's rule over pods without a limit: each level balances arrivals and departures,
    load (s_(i-1)^2 - s_i^2) = i (s_i - s_(i+1)).  `load` is arrivals per endpoint and mean service time.
    Sum over i of s_i = load fixes s_1.  Source: Mitzenmacher (2001), sec. 3, with service rate i at level i.
    """
    from scipy.optimize import fsolve
    from scipy.stats import poisson

    def balance(inner: np.ndarray) -> np.ndarray:
        s = np.concatenate(([1.0], inner, [0.0]))
        i = np.arange(1, levels + 1)
        return load * (s[:-2] ** 2 - s[1:-1] ** 2) - i * (s[1:-1] - s[2:])

    return np.concatenate(([1.0], fsolve(balance, poisson.sf(np.arange(levels), load), xtol=1e-12)))
