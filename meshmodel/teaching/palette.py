"""One colour for one role, in figures, consoles and the theatre alike.

The colours are Okabe and Ito's (Color Universal Design, 2008), which readers with any colour
vision can tell apart.  A role has one for a light ground and one for a dark ground, each with
a contrast of at least 3 to 1 against it (WCAG 2.2, 1.4.11); hatches and shapes say the same
once more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from meshmodel.scenario import Behaviour, Scenario

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"


class Role(NamedTuple):
    """The colours of one role on a light and on a dark ground, and what they stand for."""

    light: str
    dark: str
    meaning: str


ROLES = {
    "healthy": Role(GREEN, "#1FB58A", "a healthy pod"),
    "troubled": Role("#C98600", "#F0AC1A", "a slow or failing pod"),
    "proxy": Role("#B83A14", "#E8622C", "a proxy's own answer"),
    "record": Role("#333333", "#DDDDDD", "the record"),
    "model": Role(BLUE, SKY, "the model"),
    "envoy": Role("#A64F82", "#D68AB6", "a real Envoy"),
    "guess": Role("#8A63D2", "#B5A1F2", "what the reader guessed"),
}


def look(role: str) -> dict[str, Any]:
    """How a bar of a role is filled on any ground: in its colour, a troubled pod's with dots, which grey shows too."""
    dots = {"hatch": "..", "edgecolor": BLACK + "55"} if role == "troubled" else {"edgecolor": "none"}
    return {"facecolor": ROLES[role].light, "linewidth": 0, **dots}


def css(dark: bool = False) -> str:
    """The roles as CSS custom properties: `--healthy: #009E73; ...`."""
    return " ".join(f"--{name}: {role.dark if dark else role.light};" for name, role in ROLES.items())


def troubled(scenario: Scenario, hop: int = -1) -> frozenset[str]:
    """Names of a route's pods that fail at any time, and of the slowest others where not all are equally slow."""
    pods = [pod for routes in scenario.chains for pod in routes[hop].endpoints]
    longest = [max(pod.behaviour.timings) for pod in pods if not fails(pod.behaviour)]
    slow = max(longest) if longest and max(longest) > min(longest) else float("inf")
    return frozenset(pod.name for pod in pods if fails(pod.behaviour) or max(pod.behaviour.timings) == slow)


def fails(behaviour: Behaviour) -> bool:
    """Does a pod fail at least sometimes?"""
    return behaviour.error_rate > 0 or behaviour.failure != "none"
