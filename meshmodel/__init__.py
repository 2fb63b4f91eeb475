"""meshmodel: what a DestinationRule or VirtualService does to latency and errors, and how you know.

One scenario, three engines (closed forms, Monte Carlo, a real Envoy), one histogram.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshmodel._data import data_path
    from meshmodel.evidence import catalogue
    from meshmodel.grid import sweep
    from meshmodel.istio.yaml_source import ManifestError
    from meshmodel.mesh import Mesh
    from meshmodel.results.compare import compare
    from meshmodel.results.fortio import Histogram

__all__ = ["Histogram", "ManifestError", "Mesh", "catalogue", "compare", "data_path", "sweep"]
__version__ = "0.1.0"

_HOME = {
    "Histogram": "results.fortio",
    "ManifestError": "istio.yaml_source",
    "Mesh": "mesh",
    "compare": "results.compare",
    "data_path": "_data",
    "sweep": "grid",
}


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first asked for: importing meshmodel then takes no time (PEP 562)."""
    if name == "catalogue":
        return import_module("meshmodel.evidence.catalogue")
    if name in _HOME:
        return getattr(import_module(f"meshmodel.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
