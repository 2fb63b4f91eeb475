"""Runs a command that must not outlive the process that starts it: `envoy_guard.py PID COMMAND…`.

Nothing can be cleaned up after `kill -9`, so the operating system has to do it.  On Linux
the kernel kills the command when its parent dies (prctl(2), PR_SET_PDEATHSIG; it holds
across exec, so this script is gone when the command runs).  Elsewhere this script stays:
it kills the command when its standard input, a pipe that only PID holds, closes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def exec_dying_with_parent(parent: int, command: list[str]) -> None:
    """Become `command`, to be killed when `parent` is no more (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    os.execv(command[0], command)


def run_until_pipe_closes(command: list[str]) -> int:
    """Run `command` until it ends or standard input does."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        child.kill()

    threading.Thread(target=wait_for_end, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    if sys.platform == "linux":
        exec_dying_with_parent(int(sys.argv[1]), sys.argv[2:])
    else:
        status = run_until_pipe_closes(sys.argv[2:])
        os._exit(status if status >= 0 else 1)  # the thread still reads
