"""The reference, made from docstrings: the rules first, each with its source.

Docstrings here are plain English with names in backticks and NumPy's sections, so they are Markdown but for those.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Page(NamedTuple):
    """One page: its file, its title, what it begins with, and the modules (globs below the package) in it."""

    name: str
    title: str
    intro: str
    modules: tuple[str, ...]
    with_source: bool = False


PAGES = (
    Page(
        "rules",
        "The rules: what Envoy decides",
        "Each rule is one small function of plain numbers, the same that the event loop compiles into itself. "
        "What it was read in, or measured on, stands at the head of its file. "
        "Call one from a notebook: `from meshmodel.rules import locality`.",
        ("rules/balancing.py", "rules/locality.py", "rules/*.py"),
        with_source=True,
    ),
    Page("verbs", "The verbs: apply, load, look", "What a notebook types.", ("mesh.py", "workloads.py", "grid.py", "_data.py")),
    Page(
        "results",
        "Results: replays, histograms, comparing",
        "What every engine gives, and what is made of it.",
        ("results/replay.py", "results/trace.py", "results/fortio.py", "results/compare.py", "results/calibration.py"),
    ),
    Page("formulas", "The formulas", "Closed forms, a file a chapter.", ("analytic/*.py",)),
    Page(
        "scenario",
        "The scenario: what an engine is told",
        "Frozen, checked, in seconds, named as Envoy names it.",
        ("scenario.py", "fakeservice.py"),
    ),
    Page("defaults", "Istio's defaults by version", "When rules and fields came and went.", ("istio/defaults.py",), with_source=True),
    Page("experiments", "Experiments and records", "Where each is read.", ("evidence/*.py",)),
    Page(
        "teaching",
        "Figures, consoles, the theatre, exercises",
        "What the chapters show.",
        ("teaching/plots.py", "teaching/*.py", "teaching/theatre/widget.py"),
    ),
)


def write(folder: Path) -> list[str]:
    """Write a page for each of `PAGES` into `folder`; their names, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        (folder / f"{page.name}.md").write_text(text_of(page), encoding="utf-8")
    return [page.name for page in PAGES]


def text_of(page: Page) -> str:
    """The page as Markdown."""
    package = ROOT / "meshmodel"
    files = dict.fromkeys(path for glob in page.modules for path in sorted(package.glob(glob)) if path.name != "__init__.py")
    return "\n\n".join([f"# {page.title}", page.intro, *(part for path in files for part in _of_module(path, page.with_source))]) + "\n"


def _of_module(path: Path, with_source: bool) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    yield f"## `{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}`"
    yield _prose(ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield from _of_function(node, text, 3, with_source)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _of_class(node, text, with_source)


def _of_class(node: ast.ClassDef, text: str, with_source: bool) -> Iterator[str]:
    yield f"### {node.name}"
    yield _signature(_initialiser(node) or node, node.name)
    yield _prose(ast.get_docstring(node) or "")
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_") and ast.get_docstring(member):
            yield from _of_function(member, text, 4, with_source)


def _initialiser(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next((member for member in node.body if isinstance(member, ast.FunctionDef) and member.name == "__init__"), None)


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, text: str, level: int, with_source: bool) -> Iterator[str]:
    yield f"{'#' * level} {node.name}"
    yield _signature(node, node.name)
    yield _prose(ast.get_docstring(node) or "")
    if with_source:
        source = ast.get_source_segment(text, node) or ""
        yield f'<details class="mm-source"><summary>the code of {node.name}</summary>\n\n```python\n{source}\n```\n\n</details>'


def _signature(node: ast.AST, name: str) -> str:
    """The parameters without `self`, over as many lines as it takes; a property's type; of a class without an initialiser its fields."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)]
        return "```python\n" + "\n".join([f"class {name}:", *(f"    {field}" for field in fields)]) + "\n```" if fields else ""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = list(map(_spaced, _split(re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args)))))
    if {ast.unparse(decorator) for decorator in node.decorator_list} & {"property", "cached_property"}:
        return f"```python\n{name}: {ast.unparse(node.returns) if node.returns else 'Any'}\n```"
    returned = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{name}({', '.join(arguments)}){returned}"
    if len(line) > 90:
        line = f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returned}"
    return f"```python\n{line}\n```"


def _split(arguments: str) -> list[str]:
    """At commas that stand in no bracket."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _spaced(parameter: str) -> str:
    """A default behind a type as people write it: `seed: int = 1`."""
    return re.sub(r"^(\w+: [^=]+)=", r"\1 = ", parameter)


SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)


def _prose(docstring: str) -> str:
    """A docstring as Markdown: sections as bold words with lists, indented blocks as they are, the rest escaped."""
    docstring = SECTION.sub(lambda found: f"**{found[1]}**\n\n", docstring)
    out, listing = [], False
    for line in docstring.splitlines():
        if line.startswith("**") and line.endswith("**"):
            out, listing = [*out, line], line != "**Returns**"
        elif listing and line and not line.startswith(" "):
            out += ["", "- " + _escaped(re.sub(r"^(\**\w[\w, *]*?) :", r"`\1`:", line))]
        elif listing:
            out.append("  " + _escaped(line.strip()) if line.strip() else "")
        else:
            out.append(line if line.startswith("    ") else _escaped(line))
    return "\n".join(out).replace("::\n\n    ", ":\n\n    ")


def _escaped(line: str) -> str:
    """Markdown's signs outside backticks as they are."""
    parts = re.split(r"(`+[^`]*`+)", line)
    return "".join(part if k % 2 else re.sub(r"([*_<>$\[\]|])", r"\\\1", part) for k, part in enumerate(parts))
