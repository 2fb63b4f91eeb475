"""The reference that the book makes from docstrings."""

from __future__ import annotations

import ast
import re

import pytest

from docs.book import reference

RULES = sorted((reference.ROOT / "meshmodel/rules").glob("[a-z]*.py"))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_the_rules_come_first_each_file_with_its_source_and_each_function_with_its_code(path):
    page = reference.text_of(reference.PAGES[0])
    text = re.search(rf"^## `meshmodel\.rules\.{path.stem}`$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[1]
    assert re.search(r"[Ss]ource|[Mm]easured|\.cc\b", text)
    public = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert [node.name for node in public if f"the code of {node.name}</summary>" not in text] == []


def test_a_property_reads_as_what_it_is_and_a_method_as_a_call():
    page = reference.text_of(next(page for page in reference.PAGES if page.name == "results"))
    assert "```python\ncodes: dict[int, np.ndarray]\n```" in page and "codes()" not in page
    assert re.search(r"```python\nhistogram\(i: int", page) and "    resolution: float = 0.001,\n" in page
