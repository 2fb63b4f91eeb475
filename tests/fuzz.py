"""Hostile inputs with fresh seeds, until Ctrl-C or as many as asked for: `make fuzz`, `make fuzz CASES=100000`.

Runs `tests/unit/test_error_contract.py` over and over; what it finds it prints with the line that plays it again.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTRACT = ROOT / "tests" / "unit" / "test_error_contract.py"
A_ROUND = 1000
"""Cases of each test before a new seed is drawn."""


def played(cases: int, seed: int) -> tuple[bool, int]:
    """Whether one round held, and how many cases it was."""
    words = ["-q", "-x", "-s", "-p", "no:cacheprovider", "-p", "no:nbval", f"--hypothesis-seed={seed}", str(CONTRACT)]
    environment = os.environ | {"HYPOTHESIS_PROFILE": "explore", "FUZZ_CASES": str(cases)}
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    counted = [int(line.removeprefix("cases: ")) for line in done.stdout.splitlines() if line.startswith("cases: ")]
    if done.returncode:
        print(done.stdout, done.stderr, f"seed {seed}: HYPOTHESIS_PROFILE=explore FUZZ_CASES={cases} pytest {' '.join(words)}", sep="\n")
    return done.returncode == 0, sum(counted)


def main(wanted: int | None) -> int:
    total = 0
    try:
        while wanted is None or total < wanted:
            held, cases = played(A_ROUND, secrets.randbelow(2**32))
            total += cases
            print(f"{total:,} cases", flush=True)
            if not held:
                return 1
    except KeyboardInterrupt:
        pass
    print(f"{total:,} cases: each was read, or refused in one line with its place, within 2 CPU seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else None))
