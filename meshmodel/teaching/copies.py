"""Copies of a chapter for a class: without its solutions, its answers and its outputs."""

from __future__ import annotations

import re
from pathlib import Path

from meshmodel import _files

LEFT_OUT = {"solution", "answers"}
"""Tags of the cells that a student's copy does not have."""

_EXERCISES = re.compile(r"\bexercises\((?!.*\bsolutions=)([^()]+)\)")


class ExerciseError(ValueError):
    """An exercise that does not exist, or a notebook that cannot be copied."""


def student_copy(notebook: str | Path, destination: str | Path) -> Path:
    """Write `notebook` without solutions (cells of solutions, the cards' button) and without outputs to `destination`.

    Raises
    ------
    ExerciseError : `notebook` is missing or no notebook.
    ValueError : `destination` is the notebook itself.
    """
    import nbformat
    from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

    _files.refuse_overwriting(destination, [notebook])
    try:
        original = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as problem:
        raise ExerciseError(f"{notebook}: cannot be read as a notebook: {str(problem).splitlines()[0]}") from problem
    copy, _ = TagRemovePreprocessor(remove_cell_tags=LEFT_OUT).preprocess(original, {})
    copy, _ = ClearOutputPreprocessor().preprocess(copy, {})
    for cell in copy.cells:
        if cell.cell_type == "code":  # the cards of a copy have no button for the solution
            cell.source = _EXERCISES.sub(r"exercises(\1, solutions=False)", cell.source)
    _files.write(destination, nbformat.writes(copy).rstrip("\n") + "\n")
    return Path(destination)
