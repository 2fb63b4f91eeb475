"""meshmodel: what a DestinationRule or VirtualService does to latency and errors, and how you know.

One scenario, three engines (closed forms, Monte Carlo, a real Envoy), one histogram.
"""

from meshmodel.evidence import catalogue
from meshmodel.istio.yaml_source import ManifestError
from meshmodel.mesh import Mesh
from meshmodel.results.compare import compare
from meshmodel.results.fortio import Histogram
from meshmodel.results.sweep import sweep

__all__ = ["Histogram", "ManifestError", "Mesh", "catalogue", "compare", "sweep"]
__version__ = "0.1.0"
