"""What all tests share.

Hypothesis tries the same examples at every run, unless HYPOTHESIS_PROFILE=explore; compiled code checks its indices.
"""

import os
from pathlib import Path

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# An index beyond an array would otherwise read whatever is there.  The notebooks' kernels inherit this too;
# what is compiled so is kept away from what users run.
os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
