"""Where the records and manifests are: data/ of a checkout, or the copy that a wheel carries inside the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_path(*parts: str) -> Path:
    """Path of a file or folder below `data/`, e.g. ``data_path("tutorial", "round-robin.txt")``.

    Raises FileNotFoundError, naming the path, when there is no such file.
    """
    for root in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"meshmodel has no data/{'/'.join(parts)}")
