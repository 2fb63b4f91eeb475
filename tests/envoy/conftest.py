"""Live tests: the scenarios of all tests of a file are measured side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshmodel.envoy.engine import measure


@pytest.fixture(scope="module")
def under_way(request):
    ours = [item for item in request.session.items if item.path == request.path and "replay" in item.fixturenames]
    with ThreadPoolExecutor(4) as pool:
        yield {item.name: pool.submit(measure, item.callspec.params["replay"]) for item in ours}


@pytest.fixture
def replay(request, under_way):
    return under_way[request.node.name].result()
