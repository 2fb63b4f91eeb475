"""exercises: verdicts, hints in order, and the student's copy of a notebook."""

from __future__ import annotations

import nbformat
import numpy as np
import pytest

from meshmodel.teaching.exercises import Exercise, ExerciseError, Mistake, check, exercise, student_copy


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
        "not yet: too low, by a factor of about 3; hint 1 of 2: think",
        "not yet: too low, by about 30 %; hint 2 of 2: think harder",
        "not yet: too high, by about 30 %; hint 2 of 2: think harder",
        "correct: 3",
    ]
    assert Exercise("x").verdict("y") == "not yet"


def test_the_usual_mistake_is_told_what_is_wrong_with_it():
    one = Exercise(0.25, 0.01, unit="share", mistakes=[Mistake(lambda: 1 / 3, "slow over fast"), Mistake(0.5, "a half", tolerance=0.1)])
    said = {value: one.judge(value).says for value in (0.33, 0.42, 0.75, 25, 0.9, 0.251)}
    assert said == {
        0.33: "not yet: slow over fast",
        0.42: "not yet: a half",
        0.75: "not yet: that is the share of all the others: the question asks for the rest",
        25: "not yet: that is a percentage: write it as a share from 0 to 1, or with its %",
        0.9: "not yet: too high, by a factor of about 4",
        0.251: "correct: 0.25",
    }


def test_a_function_is_its_own_solution():
    @exercise(hints=["two draws"], objective="draw", minutes=2)
    def ninth():
        """Both draws are the slow pod."""
        slow = 1 / 3
        return slow**2

    assert ninth.name == "ninth" and ninth.holds(1 / 9)
    assert ninth.solution == "Both draws are the slow pod.\n\nslow = 1 / 3\nslow**2"


def test_an_exercise_may_be_about_things_of_the_notebook():
    @exercise(mistakes=[Mistake(lambda record: record[0], "that is the first")])
    def last(record, unused=1):
        return record[-1]

    assert last.given(record=[1, 2, 3], load=4).judge(1).says == "not yet: that is the first"
    assert last.given(record=[1, 2, 3]).holds(3) and last.given(record=[5]).holds(5)


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
    assert capsys.readouterr().out == "not yet: too high, by a factor of about 4; hint 1 of 1: two draws\ncorrect: 0.1111\n"
    exercise("ninth", answer=1)  # the cell run again: the tries are forgotten
    check("ninth", 0.5)
    assert capsys.readouterr().out == "not yet: too low, by a factor of about 2\n"


def test_mistakes_in_a_notebook_are_named():
    with pytest.raises(ExerciseError, match="no exercise 'unheard of'"):
        check("unheard of", 1)
    with pytest.raises(ExerciseError, match="tolerance"):
        Exercise(1, tolerance=-1)


def test_the_students_copy_has_no_solutions_no_answers_and_no_outputs(tmp_path):
    cell = nbformat.v4.new_code_cell
    solution = cell("answer = 1 / 9", metadata={"tags": ["solution"]})
    answers = cell("exercise('ninth', 1 / 9)", metadata={"tags": ["answers"]})
    kit = cell("from meshmodel.course import exercises\n\nask = exercises(0)")
    prose = nbformat.v4.new_markdown_cell("Why? `exercises(0)`")
    tried = cell("check('ninth', None)", outputs=[nbformat.v4.new_output("stream", text="correct")], execution_count=3)
    nbformat.write(nbformat.v4.new_notebook(cells=[prose, kit, answers, tried, solution]), tmp_path / "full.ipynb")
    copy = nbformat.read(student_copy(tmp_path / "full.ipynb", tmp_path / "student.ipynb"), as_version=4)
    without = "from meshmodel.course import exercises\n\nask = exercises(0, solutions=False)"
    assert [c.source for c in copy.cells] == [prose.source, without, "check('ninth', None)"]
    assert copy.cells[2].outputs == [] and copy.cells[2].execution_count is None
    nbformat.validate(copy)
    student_copy(tmp_path / "student.ipynb", tmp_path / "again.ipynb")
    assert (tmp_path / "again.ipynb").read_bytes() == (tmp_path / "student.ipynb").read_bytes()


@pytest.mark.parametrize("content", [None, "no notebook"])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ExerciseError, match="cannot be read as a notebook"):
        student_copy(path, tmp_path / "y.ipynb")
