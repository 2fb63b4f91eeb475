"""exercises: verdicts, hints in order, and the student's copy of a notebook."""

from __future__ import annotations

import nbformat
import numpy as np
import pytest

from meshmodel.teaching.exercises import Exercise, ExerciseError, check, exercise, student_copy


def test_the_answer_is_computed_when_first_needed_and_once():
    calls = []
    one = Exercise(lambda: calls.append(1) or 1 / 9, tolerance=0.005)
    assert one.verdict(None) == "not tried yet: replace None by your answer" and not calls
    assert one.verdict(0.111) == one.verdict(0.113) == "correct: 0.1111"
    assert calls == [1]


def test_hints_come_one_more_with_each_wrong_try():
    one = Exercise(3, hints=["think", "think harder"])
    said = [one.verdict(value) for value in (None, 1, 2, 4, 3)]
    assert said == [
        "not tried yet: replace None by your answer",
        "not yet: hint 1 of 2: think",
        "not yet: hint 2 of 2: think harder",
        "not yet: hint 2 of 2: think harder",
        "correct: 3",
    ]
    assert Exercise(3).verdict(4) == "not yet: try again"


@pytest.mark.parametrize(
    "answer, right, wrong",
    [
        (0.5, np.float64(0.505), 0.52),
        (0.5, 0.495, "0.5"),
        (1, 1.0, True),
        (True, True, 1),
        ("LEAST_REQUEST", " least_request ", "RANDOM"),
        ([0.7, 0.3], (0.7, 0.3), [0.3, 0.7]),
        ([0.7, 0.3], np.array([0.7, 0.3]), [0.7]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}),
        (0.5, 0.5, float("nan")),
        (["x"], ["X"], "x"),
    ],
)
def test_kinds_of_answers(answer, right, wrong):
    one = Exercise(answer, tolerance=0.01)
    assert one.holds(right) and not one.holds(wrong)


def test_check_prints_one_line_and_returns_nothing(capsys):
    exercise("ninth", answer=lambda: 1 / 9, tolerance=0.01, hints=["two draws"])
    assert check("ninth", 0.5) is None and check("ninth", 1 / 9) is None
    assert capsys.readouterr().out == "not yet: hint 1 of 1: two draws\ncorrect: 0.1111\n"
    exercise("ninth", answer=1)  # the cell run again: the tries are forgotten
    check("ninth", 0.5)
    assert capsys.readouterr().out == "not yet: try again\n"


def test_mistakes_in_a_notebook_are_named():
    with pytest.raises(ExerciseError, match="no exercise 'unheard of'"):
        check("unheard of", 1)
    with pytest.raises(ExerciseError, match="tolerance"):
        Exercise(1, tolerance=-1)


def test_the_students_copy_has_no_solutions_and_no_outputs(tmp_path):
    cell = nbformat.v4.new_code_cell
    solution = cell("answer = 1 / 9", metadata={"tags": ["solution"]})
    tried = cell("check('ninth', None)", outputs=[nbformat.v4.new_output("stream", text="correct")], execution_count=3)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Why?"), tried, solution]), tmp_path / "full.ipynb")
    copy = nbformat.read(student_copy(tmp_path / "full.ipynb", tmp_path / "student.ipynb"), as_version=4)
    assert [c.source for c in copy.cells] == ["Why?", "check('ninth', None)"]
    assert copy.cells[1].outputs == [] and copy.cells[1].execution_count is None
    nbformat.validate(copy)


@pytest.mark.parametrize("content", [None, "no notebook"])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ExerciseError, match="cannot be read as a notebook"):
        student_copy(path, tmp_path / "y.ipynb")
