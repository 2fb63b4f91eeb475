"""The cheat sheet, a page made of docs/cheat-sheet.yaml: what to know of each field, a table a chapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import yaml

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "cheat-sheet.yaml"
HEAD = ("Istio's field", "Envoy's field", "default", "what it does", "where it bites")
INTRO = (
    "# Cheat sheet\n\nEach field that decides a time or a code. Limits and counters hold for each calling proxy by itself. "
    "The defaults are those of a field that is left out where its block is written; without the block "
    "(no `outlierDetection`, no `retryBudget`) there is no such thing at all.\n"
)


def groups() -> list[dict[str, Any]]:
    """The file as it is."""
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def page() -> str:
    """The page as Markdown."""
    return "\n".join([INTRO, *(_table(group) for group in groups())])


def _table(group: dict[str, Any]) -> str:
    chapter = f"{group['chapter']}.ipynb"
    rows = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    rows += ["| " + " | ".join(_row(field)) + " |" for field in group["fields"]]
    return "\n".join([f"## {group['group']}", "", f"Chapter: [{title(ROOT / 'notebooks' / chapter)}]({chapter})", "", *rows, ""])


def _row(field: dict[str, Any]) -> tuple[str, ...]:
    since = f" (from 1.{field['since']} on)" if "since" in field else ""
    name = field.get("label", field["path"])
    name = name if " " in name else f"`{name}`"
    return f"{field['kind']} {name}{since}", f"`{field['envoy']}`", default(field), field["does"], field["bites"]


def default(field: dict[str, Any]) -> str:
    """The default in words, by version where it changed: "ROUND_ROBIN, from 1.14 on LEAST_REQUEST"."""
    if "unset" in field:
        return field["unset"]
    told = [(version, _word(field, value)) for version, value in field["defaults"].items()]
    return ", ".join([told[0][1], *(f"from {version} on {word}" for version, word in told[1:])])


def _word(field: dict[str, Any], value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == []:
        return field["none"]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value == 0 and "zero" in field:
        return field["zero"]
    unit = field.get("unit", "")
    return f"{value:g}{' ' * bool(unit)}{unit}" if isinstance(value, int | float) else value


def title(path: Path) -> str:
    """A chapter's own title, the first line of its first cell."""
    return nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
