"""Puts a chapter back as it was handed out; what is there is kept beside it under another name.

    python reset.py 03-timeout        # one chapter
    python reset.py                   # all of them

Needs nothing but Python; lies beside the chapters, whose originals are in the folder `originals`.
"""

import shutil
import sys
from pathlib import Path


def reset(folder: Path, names: list[str]) -> list[str]:
    """Put the chapters `names` (all, if empty) in `folder` back; a line for each.  Raises SystemExit for an unknown one."""
    originals = {path.stem: path for path in sorted((folder / "originals").glob("*.ipynb"))}
    unknown = [name for name in names if name.removesuffix(".ipynb") not in originals]
    if unknown:
        raise SystemExit(f"no such chapter: {', '.join(unknown)}; there are: {', '.join(originals)}")
    return [
        _put_back(folder / path.name, path)
        for name, path in originals.items()
        if not names or name in {n.removesuffix(".ipynb") for n in names}
    ]


def _put_back(chapter: Path, original: Path) -> str:
    if chapter.exists() and chapter.read_bytes() == original.read_bytes():
        return f"{chapter.stem}: is as it was"
    kept = ""
    if chapter.exists():
        number = next(n for n in range(1, 10_000) if not chapter.with_name(f"{chapter.stem}.mine-{n}.ipynb").exists())
        chapter.rename(chapter.with_name(f"{chapter.stem}.mine-{number}.ipynb"))
        kept = f"; yours is now {chapter.stem}.mine-{number}.ipynb"
    shutil.copy(original, chapter)
    return f"{chapter.stem}: put back{kept}"


if __name__ == "__main__":
    print("\n".join(reset(Path(__file__).resolve().parent, sys.argv[1:])))
