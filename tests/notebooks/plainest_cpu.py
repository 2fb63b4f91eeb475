"""Settings that make this machine compute as one without any fast paths would: `env $(python plainest_cpu.py) command`.

NumPy's loops for newer processors are switched off (all that this one has), OpenBLAS takes the kernel that every
processor of the kind runs, and numba compiles for any of them.
"""

from __future__ import annotations

import platform

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

BLAS = {"x86_64": "Prescott", "AMD64": "Prescott", "arm64": "ARMV8", "aarch64": "ARMV8"}


def settings() -> dict[str, str]:
    """Environment variables; none that this machine's NumPy would refuse."""
    paths = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    chosen = {"NUMBA_CPU_NAME": "generic", "OPENBLAS_CORETYPE": BLAS.get(platform.machine(), "")}
    return {name: value for name, value in {"NPY_DISABLE_CPU_FEATURES": ",".join(paths), **chosen}.items() if value}


if __name__ == "__main__":
    print(*(f"{name}={value}" for name, value in settings().items()))
