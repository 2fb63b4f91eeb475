"""The one switch for what only the compiled event loop can do (issue: "one event loop, written once")."""

import pytest

NEW_ENGINE = True
"""Turn it on when `meshmodel.simulation` is the compiled event loop."""

only_the_new_engine = pytest.mark.skipif(not NEW_ENGINE, reason="waits for the compiled event loop: tests/new_engine.py")
