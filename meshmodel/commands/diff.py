"""`meshmodel diff A.yaml --against B.yaml`: what will this change do?

Both meshes get the same load and the same random numbers.  What is no mesh by itself (a rule, without the Services) is applied to the
other side, as kubectl would: so `diff shop.yaml --against rule.yaml` says what the rule does to the shop.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from meshmodel._text import visible
from meshmodel.commands.common import applied, caller, plot, print_out, simulation, workload


def run(args: argparse.Namespace) -> None:
    from meshmodel.results import overhead
    from meshmodel.results.difference import difference

    load = workload(args)
    before, after = _meshes(args, load)
    names = _names(args.files, args.against)
    replays = [mesh.simulate(load, **caller(args), **simulation(args), keep="figures", resolution=args.r) for mesh in (before, after)]
    found = difference(replays[0], replays[1], names)
    warnings = [[str(warning) for warning in mesh.warnings] for mesh in (before, after)]
    come, go = [w for w in warnings[1] if w not in warnings[0]], [w for w in warnings[0] if w not in warnings[1]]
    lines = [f"warning that comes: {w}" for w in come] + [f"warning that goes: {w}" for w in go] or ["no warning comes or goes"]
    sourced = before.sourced_overhead()
    content = found.to_json() | {"overhead": overhead.to_json(sourced), "warnings": {"come": come, "go": go}}
    print_out(args, content, overhead.line(sourced), f"what changes from {names[0]} to {names[1]}:\n{found}", "\n".join(lines))
    plot(args, lambda charts: charts.differences(found))


def _meshes(args: argparse.Namespace, load: Any) -> tuple[Any, Any]:
    """The mesh of FILE and the mesh of --against."""
    sides = {"files": args.files, "against": args.against}
    alone, problems = {}, {}
    for side, files in sides.items():
        try:
            alone[side] = _planned(args, files, load)
        except ValueError as problem:
            problems[side] = problem
    if not alone:
        raise problems["files"]
    if "files" not in alone:  # a change held against the mesh that it is for
        return alone["against"], _planned(args, [*args.against, *args.files], load)
    return alone["files"], alone.get("against") or _planned(args, [*args.files, *args.against], load)


def _planned(args: argparse.Namespace, files: list[str], load: Any) -> Any:
    mesh = applied(argparse.Namespace(**{**vars(args), "files": files}))
    mesh.scenario(load, **caller(args))
    return mesh


def _names(first: list[str], second: list[str]) -> tuple[str, str]:
    """What tells the two sides apart: the files that only one has."""
    own = [[file for file in mine if file not in other] or mine for mine, other in ((first, second), (second, first))]
    names = [visible("+".join(Path(file).name for file in files)) for files in own]
    return (names[0], names[1]) if names[0] != names[1] else (f"{names[0]} (first)", f"{names[1]} (second)")
