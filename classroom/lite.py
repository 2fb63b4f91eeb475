"""`make lite`: a JupyterLite site, the course in a browser tab without a server.

    python -m classroom.lite OUT [--language ko]

The kernel is Pyodide, which the reader's browser loads from where JupyterLite says (a CDN); the wheel of this checkout and the chapters
lie on the site itself.  There numba does not exist: the loops run as Python, with fewer replications (`meshmodel._lite`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from classroom import korean

ROOT = Path(__file__).parents[1]
REMARK = {
    "en": "# In a browser tab: the package and what it needs, once a session; half a minute\n",
    "ko": "# 브라우저 탭에서: 패키지와 필요한 것을 세션마다 한 번 설치합니다. 30초쯤 걸립니다\n",
}
INSTALL = """%pip install -q meshmodel
import tqdm

tqdm.tqdm.monitor_interval = 0  # it would start a thread, and there are none"""
"""What a chapter begins with there, after a remark in its language."""

PYODIDE = "@jupyterlite/pyodide-kernel-extension:kernel"


def wheel(folder: Path) -> Path:
    """The wheel of this checkout, built into `folder`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


def contents(folder: Path, language: str = "en") -> list[Path]:
    """The chapters as they open there, with their outputs and the cell that installs, in `folder`; around them what they link to."""
    source = ROOT / "notebooks"
    if language == "ko":
        korean.build(source := folder / "korean", above="../")
    made = []
    for path in sorted(source.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(1, nbformat.v4.new_code_cell(REMARK[language] + INSTALL, id="install"))
        nbformat.write(notebook, folder / path.name)
        made.append(folder / path.name)
    shutil.copy(source / "glossary.md", folder)
    if language == "ko":
        shutil.rmtree(source)
    (folder.parent / "data/tutorial").mkdir(parents=True)
    shutil.copy(ROOT / "data/tutorial/README.md", folder.parent / "data/tutorial")
    return made


def build(out: Path, language: str = "en") -> None:
    """The site in `out`.  Raises CalledProcessError, with JupyterLite's own words on standard error."""
    shutil.rmtree(out, ignore_errors=True)
    with TemporaryDirectory() as place:
        here = Path(place)
        (here / "contents/notebooks").mkdir(parents=True)
        contents(here / "contents/notebooks", language)
        told = {"LiteBuildConfig": {"contents": ["contents"], "output_dir": str(out.resolve())}}
        told["PipliteAddon"] = {"piplite_urls": [str(wheel(here))]}
        (here / "jupyter_lite_config.json").write_text(json.dumps(told), encoding="utf-8")
        command = [sys.executable, "-m", "jupyter", "lite", "build", "--lite-dir", str(here)]
        subprocess.run(command, cwd=here, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", default="en", choices=["en", "ko"])
    asked = parser.parse_args()
    build(asked.out, asked.language)
    print(
        f"the site: serve {asked.out} by any web server, for instance\n    python -m http.server --bind 127.0.0.1 --directory {asked.out}"
    )


if __name__ == "__main__":
    main()
