"""Old against new before the old goes: two checkouts' Monte-Carlo engines, figure by figure.

    git worktree add OLD COMMIT
    python tests/statistics/old_and_new.py OLD [--new NEW] [--replications 1000] [--only family|experiments|conformance] [NAME ...]

The scenarios are the oracle's family, every experiment (the tutorial's and those in isolation) with the overhead that a
user gets, and again with what the rig of its record spent.  This checkout makes them; each engine, imported in a process
of its own from its own checkout, plays the very same ones from seeds of its own and writes the figures of every
replication.  Both are then compared as in `tests/figures.py`: false-alarm rate 1 % for the whole table (Bonferroni).

Connecting takes no time here and clients wait for ever, as an engine from before these fields has it.  What one side
refuses or cannot play is listed, not compared; what differs because a rule was mended is listed with the rule (`MENDED`).
Exit status 1: something else differs.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
FALSE_ALARMS = 0.01
MENDED = {
    "a change of the cluster forgets who is out": "other policies make Envoy build a cluster anew, its detector too",
    "a change takes a pod away": "who was out is back, and said to be, when his detector goes",
    "all priorities tried": "previous_priorities begins anew when all levels were tried",
    "connections full before requests": "max_requests is asked when there is a connection, not before",
    "hanging behind a limit": "a new connection needs a place among the pending",
    "hedging and a timeout": "a hedge that a limit refuses leaves the first attempt to answer",
    "limits that change": "who waits while a cluster is replaced",
    "one request for each connection": "a new connection needs a place among the pending",
    "panic ignores locality weights": "a panicking level has no localities",
    "pending while connecting": "a new connection needs a place among the pending",
    "some never end": "requests that never end are counted",
    "some never end, at any time": "requests that never end are counted",
    "the client gives up on a pod that hangs": "requests that never end are counted",
    "total panic": "where every level panics the load goes by the number of hosts",
    "waiting for a connection": "a connection that closes is replaced only below the limit",
}
"""Of the family: where the engine before the compiled event loop did not do as Envoy does, and the plain loop says so."""

PLAYED, REFUSED, SECONDS = "played", "refused", "CPU seconds"


class AnyClass:
    """Stands for a class that the other checkout has not; what it would say is not asked there."""


class Reader(pickle.Unpickler):
    """Reads scenarios made by a newer checkout."""

    def find_class(self, module: str, name: str) -> type:
        try:
            return super().find_class(module, name)
        except (AttributeError, ModuleNotFoundError):
            if module.startswith("meshmodel."):
                return AnyClass
            raise


def scenarios() -> dict[str, dict[str, object]]:
    """Kind -> name -> Scenario, as this checkout makes them."""
    from meshmodel.evidence import conformance, experiments, records
    from tests.oracle_family import FAMILY, NEW_FAMILY

    every = experiments.everything()
    rig = {name: each.scenario(overhead=conformance.rig_overhead(each)) for name, each in every.items() if records.read(name)}
    made = {
        "family": FAMILY | {name: made for name, make in NEW_FAMILY.items() if (made := _made(make))},
        "experiments": {name: each.scenario() for name, each in every.items()},
        "conformance": rig,
    }
    return {kind: {name: _timeless(each) for name, each in chosen.items()} for kind, chosen in made.items()}


def _made(make: Callable[[], object]) -> object | None:
    """None where the scenario needs a field that this checkout lacks."""
    try:
        return make()
    except TypeError:
        return None


def _timeless(scenario: object) -> object:
    return replace(scenario, connect_time=0.0, workload=replace(scenario.workload, timeout=None))


def play(checkout: Path, asked: Path, out: Path, replications: int, seed: int) -> None:
    """In a process of its own: the engine of `checkout` on the scenarios in `asked`."""
    sys.path[:0] = [str(checkout)]
    import meshmodel
    from meshmodel.simulation.montecarlo import simulate

    assert Path(meshmodel.__file__).resolve().parents[1] == checkout.resolve(), meshmodel.__file__
    sys.path[0] = str(HERE)
    from tests.figures import figures_of

    answers: dict[str, dict] = {}
    for name, scenario in Reader(asked.open("rb")).load().items():
        begin = time.process_time()
        try:
            replay = simulate(scenario, replications, seed)
        except Exception as refusal:
            answers[name] = {REFUSED: f"{type(refusal).__name__}: {refusal}".splitlines()[0]}
        else:
            answers[name] = {SECONDS: time.process_time() - begin, PLAYED: figures_of(replay)}
        print(f"{checkout.name}: {name}", file=sys.stderr)
    out.write_bytes(pickle.dumps(answers))


def both(checkouts: Mapping[str, Path], chosen: Mapping[str, object], replications: int) -> dict[str, dict]:
    """What each side answers, one after the other; nothing of one reaches the other's process."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "asked")
        asked.write_bytes(pickle.dumps(dict(chosen)))
        answers = {}
        for seed, (side, checkout) in enumerate(checkouts.items(), start=1):
            out = Path(folder, side)
            command = [sys.executable, __file__, "--play", str(checkout), str(asked), str(out), str(replications), str(seed)]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
            answers[side] = pickle.loads(out.read_bytes())
    return answers


def report(answers: Mapping[str, Mapping[str, Mapping]]) -> tuple[str, bool]:
    """The differences as text, and whether there are any."""
    from tabulate import tabulate

    from tests.figures import differences

    old, new = answers["old"], answers["new"]
    played = [name for name in old if PLAYED in old[name] and PLAYED in new[name]]
    found = {(name, figure): values for name in played for figure, values in differences(old[name][PLAYED], new[name][PLAYED]).items()}
    threshold = FALSE_ALARMS / max(len(found), 1)
    rows = [(*key, *values) for key, values in found.items() if values[-1] < threshold]
    mended = [row for row in rows if row[0].removeprefix("family: ") in MENDED]
    rows = [row for row in rows if row not in mended]
    lines = [f"{len(played)} scenarios, {len(found)} figures, p below {threshold:.1e} differs; the least p is {least(found):.1e}"]
    lines += (
        [tabulate(rows, ("scenario", "figure", "old", "new", "p"), floatfmt=("", "", ".6g", ".6g", ".1e"))] if rows else ["none differs"]
    )
    names = dict.fromkeys(row[0] for row in mended)
    lines += [
        f"differs in {sum(row[0] == name for row in mended)} figures, as it must, {name}: {MENDED[name.removeprefix('family: ')]}"
        for name in names
    ]
    lines += [f"{side} refuses {name}: {each[REFUSED]}" for side in answers for name, each in answers[side].items() if REFUSED in each]
    seconds = {side: sum(answers[side][name][SECONDS] for name in played) for side in answers}
    lines.append(", ".join(f"{side}: {value:.1f} s of CPU" for side, value in seconds.items()))
    return "\n".join(lines), bool(rows)


def least(found: Mapping[tuple[str, str], tuple[float, float, float]]) -> float:
    return min((values[-1] for values in found.values()), default=1.0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Two checkouts' Monte-Carlo engines, figure by figure.")
    parser.add_argument("old", type=Path, help="a checkout with the old engine (git worktree add OLD COMMIT)")
    parser.add_argument("names", nargs="*", help="only these scenarios")
    parser.add_argument("--new", type=Path, default=HERE, help="a checkout with the new engine (this one)")
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--only", choices=("family", "experiments", "conformance"))
    return parser.parse_intermixed_args()


def main() -> int:
    if sys.argv[1:2] == ["--play"]:
        checkout, asked, out, replications, seed = sys.argv[2:]
        play(Path(checkout), Path(asked), Path(out), int(replications), int(seed))
        return 0
    given = arguments()
    sys.path[:0] = [str(HERE)]
    made = scenarios()
    chosen = {
        f"{kind}: {name}": scenario
        for kind, every in made.items()
        for name, scenario in every.items()
        if given.only in (None, kind) and (not given.names or name in given.names)
    }
    text, differs = report(both({"old": given.old, "new": given.new}, chosen, given.replications))
    print(text)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
