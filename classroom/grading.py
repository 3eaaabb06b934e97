"""Grade a folder of submissions with nbgrader: marks in the gradebook, feedback pages, grades.csv.

What students hand in stays as it is, in FOLDER/STUDENT/SET/SET.ipynb; nbgrader sees repaired copies of it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from collecting import Submission
from course import nbgrader, points, released, write
from submissions import normalised, read_submission
from variant import parameters


@dataclass(frozen=True)
class Mark:
    """Points of one submission.

    waiting: how many cells a person still has to grade. trouble: what went wrong with the file, if anything.
    """

    student: str
    set_name: str
    points: float
    of: float
    waiting: int
    trouble: str = ""


def grade(
    root: Path, submissions: Iterable[Submission], *, course: str | None = None, jobs: int = 2, **limits: int | str
) -> Iterator[Mark]:
    """Grade submissions against the release in `root`; yields a mark as soon as it is there, never stops the class.

    course: the name that decided the numbers, where every student had their own, see variant.py; None if all had the
    same. limits: traits of isolation.IsolatedExecute. A submission that the grader itself fails on gets no points, and
    the reason as its trouble.
    """
    submissions = list(submissions)
    register(root, {submission.student for submission in submissions})
    work = partial(grade_one, root, course=course, limits=limits)
    killed = []
    for submission, outcome in _outcomes(work, submissions, jobs):
        if isinstance(outcome, BrokenProcessPool):
            killed.append(submission)
        else:
            yield _mark(submission, outcome)
    for again in killed:  # one of these took the process down and the others with it: once more, each on its own
        for submission, outcome in _outcomes(work, [again], 1):
            yield _mark(submission, outcome)


def _outcomes(
    work: Callable[[Submission], Mark], submissions: list[Submission], jobs: int
) -> Iterator[tuple[Submission, Mark | BaseException]]:
    """Each submission with its mark, or with what grading it raised."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(work, submission): submission for submission in submissions}
        for future in as_completed(pending):
            yield pending[future], future.exception() or future.result()


def _mark(submission: Submission, outcome: Mark | BaseException) -> Mark:
    if isinstance(outcome, Mark):
        return outcome
    reason = (str(outcome).strip() or type(outcome).__name__).splitlines()[-1]
    name = submission.set_name
    return Mark(submission.student, name, 0.0, points(name), 0, f"NOT GRADED, grade it again: {reason}")


def register(root: Path, students: Iterable[str]) -> None:
    """Put students in the gradebook, once each.

    nbgrader would do it on grading. But where two sets of a new student are graded at the same time, both find no such
    student, both add one, and one of the two fails.
    """
    with nbgrader(root).gradebook as gradebook:
        for student in sorted(students):
            gradebook.update_or_create_student(student)


def grade_one(
    root: Path, submission: Submission, *, course: str | None = None, limits: Mapping[str, int | str] | None = None
) -> Mark:
    """Repair, execute and mark one submission, and write its feedback page.

    If nbgrader itself fails, it tries once more, since the cause may be the machine and not the student: a full disk, a
    locked gradebook. If it fails again, the empty release is graded in its place, with the reason in the feedback.
    Raises RuntimeError if that fails too.
    """
    student, name = submission.student, submission.set_name
    api, release = nbgrader(root, **(limits or {})), released(root, name)
    sent = read_submission(submission.path)
    notebook, trouble, repairs = sent.notebook, sent.reason, [*submission.repairs, *sent.repairs]
    submitted = root / "submitted" / student / name
    for failures in range(3):
        shutil.rmtree(submitted, ignore_errors=True)
        write(normalised(notebook, release, trouble, repairs), submitted / f"{name}.ipynb")
        with _numbers(None if course is None else parameters(student, name, course)):
            result = api.autograde(name, student)
        if result["success"]:
            break
        if failures == 0:
            continue
        last = (result.get("error") or result.get("log") or "").strip().splitlines()
        notebook, trouble = None, f"the grader failed on it ({last[-1] if last else 'no message'})"
    else:
        raise RuntimeError(trouble)
    try:
        write_feedback(root, student, name)
    except RuntimeError as error:  # the mark stands
        trouble = trouble or f"no feedback page: {str(error).strip().splitlines()[-1]}"
    return read_mark(root, student, name, trouble)


def write_feedback(root: Path, student: str, set_name: str) -> None:
    """Write root/feedback/STUDENT/SET/SET.html, which says what each mark is for; again after hand grading.

    Raises RuntimeError with nbgrader's log if there is nothing graded.
    """
    result = nbgrader(root).generate_feedback(set_name, student)
    if not result["success"]:
        raise RuntimeError(f"no feedback for {student}, {set_name}:\n{result.get('log')}")


def read_mark(root: Path, student: str, set_name: str, trouble: str = "") -> Mark:
    """The mark as it stands in the gradebook."""
    with nbgrader(root).gradebook as gradebook:
        entry = gradebook.find_submission(set_name, student)
        waiting = sum(grade.needs_manual_grade for notebook in entry.notebooks for grade in notebook.grades)
        return Mark(student, set_name, float(entry.score), float(entry.max_score), waiting, trouble)


def points_by_cell(root: Path, student: str, set_name: str) -> dict[str, float]:
    """Points of every graded cell of one submission."""
    with nbgrader(root).gradebook as gradebook:
        (notebook,) = gradebook.find_submission(set_name, student).notebooks
        return {grade.name: float(grade.score) for grade in notebook.grades}


def mark_by_hand(root: Path, student: str, set_name: str, cell: str, points: float) -> None:
    """Enter a person's mark, as nbgrader's formgrader does. Raises ValueError for points outside the cell's range, or a
    student, set or cell that is not in the gradebook.
    """
    from nbgrader.api import MissingEntry

    with nbgrader(root).gradebook as gradebook:
        try:
            entry = gradebook.find_grade(cell, set_name, set_name, student)
        except MissingEntry as error:
            raise ValueError(str(error)) from None
        if not 0 <= points <= entry.max_score:
            raise ValueError(f"points must be in [0, {entry.max_score:g}] for {cell}, got {points!r}")
        entry.manual_score, entry.needs_manual_grade = points, False
        gradebook.db.commit()


def export(root: Path) -> Path:
    """Write root/grades.csv, one row per student and set; a set that nobody has handed in yet has no rows."""
    from nbgrader.plugins import CsvExportPlugin

    target = root / "grades.csv"
    with nbgrader(root).gradebook as gradebook:
        graded = [assignment.name for assignment in gradebook.assignments if assignment.submissions]
        CsvExportPlugin(to=str(target), assignment=graded).export(gradebook)
    return target


@contextmanager
def _numbers(values: dict[str, Any] | None) -> Iterator[None]:
    """Tell the hidden tests a student's numbers, through the environment of the kernel."""
    os.environ.pop("AFLI_VARIANT", None)
    if values is not None:
        os.environ["AFLI_VARIANT"] = json.dumps(values)
    try:
        yield
    finally:
        os.environ.pop("AFLI_VARIANT", None)
