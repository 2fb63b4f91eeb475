"""Closed forms, one file per chapter: what the analytic engine is made of.

Each public function is one formula with its source; a notebook shows it beside a loop.
Nothing here knows of YAML, of random numbers, or of another engine.  Seconds always.
"""

from __future__ import annotations


class NoClosedForm(ValueError):
    """The scenario has a feature for which no formula is known; the message names it."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"no closed form for {feature}; use Monte Carlo")
