"""axe-core on a page in a browser: what a screen reader, a keyboard or weak eyes would stumble over."""

from __future__ import annotations

from typing import Any

import pytest

GRAVE = ("serious", "critical")

READ = ".jp-OutputArea-output, .jp-RenderedMarkdown"
"""What is ours in a JupyterLab: what cells show and what is written between them."""


FOCUSABLE_BY_ITSELF = {"scrollable-region-focusable": {"enabled": False}}
"""Chromium makes what scrolls focusable by itself."""


def grave_findings(page: Any, selector: str, only: str = "") -> list[str]:
    """axe-core's serious and critical findings inside `selector`, of the rule `only` or of all: "rule: element"; skips without axe-core."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"runOnly": [only]} if only else {"rules": FOCUSABLE_BY_ITSELF}
    found = axe.run(page, context={"include": [[part] for part in selector.split(", ")]}, options=options)
    return [
        f"{violation['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for violation in found.response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
