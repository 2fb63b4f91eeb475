"""What `--json` wrote, read again: a `Replay` where its replications were kept.  `replicas` has what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshmodel._text import InputError, visible
from meshmodel.results import replicas
from meshmodel.results.json_source import Fields
from meshmodel.results.replay import Replay
from meshmodel.results.stored_scenario import read_scenario


def read_replay(content: Mapping[str, Any], name: str, error: type[InputError]) -> Replay | None:
    """The replay of a stored report; None where it kept no replications.  Raises `error` with the field."""
    if not isinstance(content.get("replicas"), Mapping):
        return None
    report = Fields(content, "", name, error)
    scenario = read_scenario(content.get("scenario"), name, error)
    pods = len({e.name for routes in scenario.chains for e in routes[-1].endpoints})
    kept = replicas.read(report.fields("replicas"), pods)
    seed = report.whole("seed") if content.get("seed") is not None else None
    return Replay(
        scenario, visible(report.text("engine")), None, kept.attempts, seed=seed, resolution=kept.resolution,
        tally=kept.tally, unanswered=kept.unanswered, stored=content,
    )  # fmt: skip
