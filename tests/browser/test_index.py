"""The links of the course's first page, as a reader clicks them in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from meshmodel.course.pages import fragment

from .lab import TOKEN, browser_page, chromium, jupyterlab

pytestmark = pytest.mark.browser
HEADINGS = ("Why not more?", "Two clocks: `perTryTimeout` and `timeout`", "I asked for 1,000 requests a second and got 22")
OPEN = "async path => { await window.jupyterapp.restored; await window.jupyterapp.commands.execute('markdownviewer:open', { path }); }"
SHOWN = """text => [...document.querySelectorAll('.jp-Notebook h3')].some(heading => {
    const { top, height } = heading.getBoundingClientRect();
    return height && top > 0 && top < 300 && heading.textContent.startsWith(text); })"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def test_a_question_leads_to_its_heading(tmp_path: Path) -> None:
    chromium()
    root = tmp_path / "root"
    root.mkdir()
    cells = [text for heading in HEADINGS for text in (*["a paragraph"] * 40, f"### {heading}")] + ["the end"] * 40
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in cells], metadata=KERNEL)
    nbformat.write(notebook, root / "01.ipynb")
    links = [f"[question {k}](01.ipynb#{fragment(heading)})" for k, heading in enumerate(HEADINGS)]
    (root / "README.md").write_text("\n\n".join(links))
    with jupyterlab(root, tmp_path) as address, browser_page(address, tmp_path) as page:
        page.goto(f"{address}/lab/tree/01.ipynb?token={TOKEN}&reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        for number, heading in enumerate(HEADINGS):
            page.evaluate(OPEN, "README.md")
            page.get_by_text(f"question {number}").click()
            page.wait_for_function(SHOWN, arg=heading.replace("`", ""))
