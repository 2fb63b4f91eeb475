"""meshmodel: what a DestinationRule or VirtualService does to latency and errors, and how you know.

One scenario, three engines (closed forms, Monte Carlo, a real Envoy), one histogram.
"""

from meshmodel import catalogue
from meshmodel.compare import compare
from meshmodel.fortio import Histogram
from meshmodel.mesh import Mesh
from meshmodel.sweep import sweep

__all__ = ["Histogram", "Mesh", "catalogue", "compare", "sweep"]
__version__ = "0.1.0"
