"""What all tests share.

Hypothesis tries the same examples at every run, unless HYPOTHESIS_PROFILE=explore; compiled code checks its indices.
A run that fails ends with which tests failed and what to do about them.
"""

from __future__ import annotations

import os
import platform
import signal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# An index beyond an array would otherwise read whatever is there.  The notebooks' kernels inherit this too;
# what is compiled so is kept away from what users run.
os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))

# Shells let what they start in the background ignore interrupts, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def what_tests_start_can_be_hung_up() -> None:
    """Under nohup as well: a signal that is handled, be it by doing nothing, is not ignored in a program that is started."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


ADVICE = {
    "tests/notebooks": "where the stored text is out of date: make notebooks, then read the difference",
    "tests/envoy/test_conformance_records": "where the model has changed for good reason: make conformance, then read the difference",
    "tests/envoy": "a real Envoy ran: what its own log and counters say decides, see above",
    "tests/browser": "needs Chromium on the PATH; the screenshots are in the folder that is named above",
    "tests": "seeds are fixed: what fails by itself fails again",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long a console's reader waited for a picture, where a browser ran: told, never judged."""
    for report in terminalreporter.getreports("passed"):
        for name, times in report.user_properties:
            if name.startswith("redraws of"):
                terminalreporter.write_line(f"{name}: median of {len(times)} {median(times):.0f} ms, longest {max(times):.0f} ms")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last words on the screen."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    failed = [report.nodeid for kind in ("failed", "error") for report in reporter.stats.get(kind, [])] if reporter else []
    if failed and not hasattr(config, "workerinput"):  # a worker of xdist has no screen
        reporter.write_line("\n" + last_words(failed))


def last_words(failed: list[str]) -> str:
    """Which tests failed, and what to do."""
    names = list(dict.fromkeys(name.split("@")[0] for name in failed))
    listed = [f"    {name}" for name in names[:20]] + [f"    and {len(names) - 20} more"] * (len(names) > 20)
    found = dict.fromkeys(next((place for place in ADVICE if name.startswith(place)), "tests") for name in names)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "matplotlib") if find_spec(name))
    return "\n".join(
        [
            f"{len(names)} failed:",
            *listed,
            "What to do:",
            f"    look at one alone: .venv/bin/pytest -x '{names[0]}'",
            *(f"    {place}: {ADVICE[place]}" for place in found),
            f"    on an untouched checkout, report it: Python {platform.python_version()}, {packages}, {platform.platform()}",
        ]
    )
