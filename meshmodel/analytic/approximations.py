"""Every approximation that `predict` may use: its name, and its error against Monte Carlo.

The errors are measured, not estimated: `approximation_table(simulate)` measures them again
(a test does), on the scenario named with each.  `simulate` is handed in, so that the
analytic engine does not know the Monte-Carlo engine.
"""

from __future__ import annotations

RENEWAL = "stationary renewal at the deadline"
OCCUPANCY = "exponential service in the LEAST_REQUEST chain"
INTERLEAVED = "interleaved round robin"
PACED = "paced loop that keeps its schedule"
COUNTER = "counted errors drawn independently"
TWO_HOPS = "outer retries independent of the inner round robin"
LOSSES = "losses independent"
EJECTED_RING = "round robin across an ejection drawn at random"

ERRORS: dict[str, str] = {}
