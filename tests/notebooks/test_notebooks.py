"""Every notebook, run again, reads as it is stored; and the comparison sees what a reader sees, no more and no less."""

from __future__ import annotations

import ast
import base64
import copy
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from classroom.running import run
from tests.drawn import stays_english
from tests.notebooks.reading import IGNORED, differences, read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
WATCHED = (
    f"import sys; sys.path.append({str(ROOT)!r}); from tests import drawn, letters; drawn.watch(letters.note, drawn.note)",
    "len(letters.FOUND), letters.too_small(), [*drawn.TEXTS]",
)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_fresh_run_reads_as_the_stored_one(path: Path) -> None:
    """And in none of its pictures are letters too small for a phone, 420 pixels wide, or words that the Korean catalogue lacks."""
    stored = nbformat.read(path, as_version=4)
    _, *cells, last = run(path, errors=True, around=WATCHED).cells
    differing = differences(stored.cells, cells)
    assert not differing, f"\n{differing}\nIf that is as it should be: make notebooks"
    drawn, small, texts = ast.literal_eval(last.outputs[0].data["text/plain"])
    assert (drawn > 0) == ("image/png" in path.read_text(encoding="utf-8")) and small == []
    assert list(filter(stays_english, texts)) == []  # meshmodel/teaching/locale/ko.po has no Korean of these


def test_what_a_picture_says_is_looked_for_line_by_line() -> None:
    texts = ("seed", "seed\ntimeout", "maxEjectionPercent", "a real Envoy's run, at 2.5 s", "nobody ever said this", "seed\nnobody said")
    assert list(filter(stays_english, texts)) == list(texts[-2:])


# --- the comparison -----------------------------------------------------------------------

PNG = base64.b64encode(b"\x89PNG first").decode()
OTHER = base64.b64encode(b"\x89PNG other").decode()
PICTURES = {
    "image/png": PNG,
    "image/jpeg": PNG,
    "text/html": f'<div role="img" aria-label="A rise"><img alt="A rise" src="data:image/png;base64,{PNG}"></div>',
    "image/svg+xml": f'<svg><title>A rise</title><metadata>{PNG}</metadata><path d="M {PNG}"/><text>0.5 s</text></svg>',
    "application/vnd.plotly.v1+json": {"data": PNG},
    "text/plain": "A rise",
}
ALTERNATIVE = {"image/png": {"alt": "A rise"}, "image/jpeg": {"alt": "A rise"}}


def cells(*outputs: Any, tags: tuple[str, ...] = ()) -> list[Any]:
    return [{"cell_type": "code", "source": "figure", "metadata": {"tags": [*tags]}, "outputs": copy.deepcopy(list(outputs))}]


def result(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"output_type": "execute_result", "data": data, "metadata": metadata or {}}


def reworded(output: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    changed = json.loads(json.dumps(output).replace(before, after))
    assert changed != output
    return changed


@pytest.mark.parametrize("kind", [kind for kind in PICTURES if kind != "text/plain"])
def test_another_pixel_is_the_same_reading_in_every_type(kind: str) -> None:
    output = result({kind: PICTURES[kind]}, ALTERNATIVE)
    assert differences(cells(output), cells(reworded(output, PNG, OTHER))) == ""


@pytest.mark.parametrize("kind", [kind for kind in PICTURES if kind != "application/vnd.plotly.v1+json"])
def test_another_alternative_text_is_another_reading_in_every_type(kind: str) -> None:
    output = result({kind: PICTURES[kind]}, ALTERNATIVE)
    assert "A fall" in differences(cells(output), cells(reworded(output, "A rise", "A fall")))


def test_the_words_in_a_drawing_are_read() -> None:
    output = result({"image/svg+xml": PICTURES["image/svg+xml"]})
    assert "0.6 s" in differences(cells(output), cells(reworded(output, "0.5 s", "0.6 s")))


TABLE = '<table style="color: red"><tr><td style="text-align: right">  1.0</td><td>2</td></tr></table>'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (result({"text/html": TABLE}), result({"text/html": TABLE.replace("2", "3")})),
        (result({"text/html": "<b>1</b><b>2</b>"}), result({"text/html": "<b>1</b> <b>2</b>"})),
        (result({"text/plain": "1"}), result({"text/plain": "2"})),
        (result({"text/plain": "1"}), result({"text/plain": "1", "text/html": "1"})),
        (result({"text/markdown": "*1*"}), result({"text/markdown": "1"})),
        (result({"application/json": {"a": 1}}), result({"application/json": {"a": 2}})),
        ({"output_type": "stream", "name": "stdout", "text": "1\n"}, {"output_type": "stream", "name": "stderr", "text": "1\n"}),
        (result({"text/plain": "1"}), {"output_type": "error", "ename": "ValueError", "evalue": "1", "traceback": []}),
    ],
)
def test_what_reads_otherwise_is_told_with_its_cell(one: dict, other: dict) -> None:
    assert differences(cells(one), cells(one)) == ""
    assert "cell 0" in differences(cells(one), cells(other))
    assert "cell 0" in differences(cells(one), cells())
    assert differences(cells(one, tags=(IGNORED,)), cells(other)) == ""


def test_a_table_is_read_cell_by_cell_and_its_style_is_not() -> None:
    assert read(result({"text/html": TABLE})) == "text/html: | 1.0 | 2"
    assert read(result({"text/html": f"<style>b {{}}</style><script>f()</script>{TABLE.replace('red', 'blue')}"})) == "text/html: | 1.0 | 2"
