"""A chapter as the book shows it: code and solutions folded, widgets alive from their stored state, consoles with a note."""

from __future__ import annotations

import html
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat

from meshmodel.teaching.standalone import MIME

VIEW = "application/vnd.jupyter.widget-view+json"
PAGES = {"../data/tutorial/README.md": "record.md", "../docs/": "", "../README.md": "index.md", "README.md": "course.md"}
"""Where the book has what a chapter links to."""

NOTE = {
    "en": "This console computes, so it needs Python behind it: open this chapter in JupyterLab (<code>make lab</code>) or in the browser "
    "tab, and run this cell. What stands here is its picture.",
    "ko": "이 콘솔은 실제로 계산하므로 파이썬이 필요합니다. JupyterLab(<code>make lab</code>)이나 브라우저 탭에서 이 장을 열고 "
    "이 셀을 실행하세요. 여기 있는 것은 정지 그림입니다.",
}


SOLUTION = {"en": "Solution", "ko": "풀이"}


def write(source: Path, destination: Path, language: str = "en") -> set[str]:
    """The notebook `source` as a page of the book; the classes of the widgets in it ("module:Class")."""
    from classroom.course import with_solutions  # which needs this folder for its slides

    notebook = with_solutions(source, language)
    notebook.cells = [cell for cell in notebook.cells if "korean" not in cell.metadata.get("tags", [])]
    classes: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source)
        if "solution" in cell.metadata.get("tags", []) and cell.cell_type == "markdown":
            cell.source = f'<details class="mm-source"><summary>{SOLUTION[language]}</summary>\n\n{cell.source}\n\n</details>'
        if cell.cell_type == "code":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), *_folding(cell.metadata)]
            classes |= {output.data[MIME]["class"] for output in cell.outputs if MIME in output.get("data", {})}
            cell.outputs = [shown for output in cell.outputs if (shown := _shown(output, language)) is not None]
    nbformat.write(notebook, destination)
    return classes


def linked(text: str) -> str:
    """Links as the book has them: to its own pages, and to headings as Sphinx calls them (JupyterLab keeps capitals and marks)."""
    for old, new in PAGES.items():
        text = text.replace(f"](../{old}", f"]({new}").replace(f"]({old}", f"]({new}")
    return re.sub(r"(\.ipynb)#([^)\s]+)", lambda found: f"{found[1]}#{_slug(unquote(found[2]))}", text)


def _slug(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower())


def _folding(metadata: Mapping[str, Any]) -> list[str]:
    """myst-nb's tags for what JupyterLab has folded."""
    folded = metadata.get("jupyter", {})
    if folded.get("outputs_hidden"):
        return ["hide-cell"]
    return ["hide-input"] if folded.get("source_hidden") else []


def _shown(output: Any, language: str) -> Any:
    """The output for a page without a kernel; None where nothing is left to show."""
    data = output.get("data", {})
    if MIME in data:
        return _html(
            output, f'<div class="mm-widget" data-class="{data[MIME]["class"]}">{_still(output)}{_state(data[MIME]["state"])}</div>'
        )
    if VIEW in data:
        picture = data.get("text/html") or _still(output)
        return _html(output, f'{picture}<div class="mm-note" role="note"><p>{NOTE[language]}</p></div>')
    return output


def _state(state: str) -> str:
    return f'<script type="application/octet-stream">{state}</script>'


def _still(output: Any) -> str:
    """The picture that stands for a widget; its alternative text where there is none."""
    png, alt = output.data.get("image/png"), output.data.get("text/plain", "")
    name = html.escape(output.get("metadata", {}).get("image/png", {}).get("alt") or alt, quote=True)
    return f'<img class="mm-still" alt="{name}" src="data:image/png;base64,{re.sub(chr(10), "", png)}">' if png else ""


def _html(output: Any, page: str) -> Any:
    return nbformat.v4.new_output("display_data", {"text/html": page, "text/plain": output.data.get("text/plain", "")})


def widget_classes(classes: Iterable[str]) -> str:
    """A script that holds the ES module and the style sheet of each class."""
    told = {name: _module(name) for name in sorted(classes)}
    return f"window.meshmodelWidgets = {json.dumps(told)};\n"


def _module(name: str) -> dict[str, str]:
    module, kind = name.split(":")
    found = getattr(importlib.import_module(module), kind)
    return {"esm": str(found._esm), "css": str(getattr(found, "_css", ""))}
