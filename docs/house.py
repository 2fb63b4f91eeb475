"""Draws the house, docs/house.svg, from the code's own imports: `make house`.

A place is a folder of meshmodel/ or a file beside the folders.  It stands one floor above the highest
place that it imports; a line goes down to each import that no other line leads to already.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "meshmodel"
DRAWING = ROOT / "docs" / "house.svg"

TOOLS = {"by_reference", "_data", "_files", "_lite", "_signals", "_text", "compiled"}
"""They know nothing of meshes; anybody may use them, and they are not drawn."""

TRADES = {
    "warm": "compiles ahead",
    "__main__": "the command line",
    "course": "exercises and questions",
    "evidence": "experiments and records",
    "grid": "sweeps",
    "mesh": "the tutorial's verbs",
    "teaching": "figures and consoles",
    "whatif": "numbers moved, objectives",
    "workloads": "what a load is told",
    "simulation": "Monte Carlo",
    "analytic": "closed forms",
    "envoy": "the real one",
    "istio": "YAML and control plane",
    "rules": "what Envoy decides",
    "results": "Replay, fortio, compare",
    "fakeservice": "how a pod answers",
    "scenario": "what an engine is told",
}
"""Place -> its trade in a word or two; the order from left to right on a floor."""

WIDE, BOX, HIGH, FLOOR = 1000, (170, 46), 40, 92


def arrows(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Place -> places that it imports, inside functions too, but not for the type checker alone."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        here = place(path.relative_to(package).parts)
        found.setdefault(here, set()).update({place(parts) for parts in imported(path)} - {here})
    found.pop("__init__", None)  # the public names, each loaded when it is asked for
    return {here: others & found.keys() for here, others in found.items()}


def place(parts: tuple[str, ...]) -> str:
    return {"_flags": "__main__", "commands": "__main__", "catalogue": "evidence"}.get(here := parts[0].removesuffix(".py"), here)


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports of meshmodel, as ("results", "fortio", "Histogram")."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in typing_only and (node.module or "").split(".")[0] == "meshmodel":
            for alias in node.names:
                yield tuple(f"{node.module}.{alias.name}".split("."))[1:]


def floors(below: Mapping[str, set[str]]) -> dict[str, int]:
    """Place -> its floor, 0 being the ground.  Raises RecursionError where imports go in a circle."""

    def floor(here: str) -> int:
        return 1 + max(map(floor, below[here]), default=-1)

    return {here: floor(here) for here in below}


def stairs(below: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that a longer way makes needless."""

    def reached(here: str) -> set[str]:
        return below[here].union(*map(reached, below[here]))

    return {here: others - set().union(*map(reached, others)) for here, others in below.items()}


def drawing() -> str:
    """The house as SVG, in the colour of the text around it."""
    below = {here: others - TOOLS for here, others in arrows().items() if here not in TOOLS}
    floor, (width, height) = floors(below), BOX
    top = max(floor.values())
    centre = {}
    for level in range(top + 1):
        row = [here for here in TRADES if floor[here] == level]
        for number, here in enumerate(row):
            centre[here] = WIDE * (number + 0.5) / len(row), HIGH + FLOOR * (top - level)
    lines = [
        f'<path d="M{centre[here][0]:.0f} {centre[here][1] + height / 2:.0f} C{centre[here][0]:.0f} {centre[here][1] + FLOOR / 2:.0f} '
        f'{centre[other][0]:.0f} {centre[other][1] - FLOOR / 2:.0f} {centre[other][0]:.0f} {centre[other][1] - height / 2:.0f}"/>'
        for here, others in stairs(below).items()
        for other in sorted(others)
    ]
    boxes = [
        f'<g transform="translate({x:.0f} {y:.0f})"><rect x="{-width // 2}" y="{-height // 2}" width="{width}" height="{height}" rx="6"/>'
        f'<text y="-4" class="name">{escape(here)}{"/" if (PACKAGE / here).is_dir() else ""}</text>'
        f'<text y="14">{escape(TRADES[here])}</text></g>'
        for here, (x, y) in centre.items()
    ]
    said = f"The places of meshmodel on {top + 1} floors, from the command line down to the scenario; each line is an import."
    style = (
        "text{font:12px sans-serif;text-anchor:middle;fill:#222}.name{font-weight:bold}"
        "rect{fill:#fff;stroke:#777}path{fill:none;stroke:#8a8a8a;stroke-width:1.4}"
    )
    body = "\n".join([*lines, *boxes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {2 * HIGH + FLOOR * top}" role="img" aria-label="{said}">\n'
        f"<style>{style}</style>\n{body}\n</svg>\n"
    )


if __name__ == "__main__":
    from meshmodel import _files

    _files.write(DRAWING, drawing())
