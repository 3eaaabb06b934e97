"""Grade a folder of submissions with nbgrader: marks in the gradebook, feedback pages, grades.csv.

What students hand in stays as it is, in FOLDER/STUDENT/SET/SET.ipynb; nbgrader sees repaired copies of it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from course import IDENTIFIER, SETS, nbgrader, released, write
from submissions import normalised, read_submission
from variant import course_name, parameters


@dataclass(frozen=True)
class Submission:
    """What one student has handed in for one set."""

    student: str
    set_name: str
    path: Path


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


def find(folder: Path) -> list[Submission]:
    """All submissions in a folder: one folder per student, in it one per set. Other names are left out.

    A set's folder without the right file is a submission too, of nothing.
    """
    students = sorted(p for p in folder.iterdir() if p.is_dir() and IDENTIFIER.fullmatch(p.name))
    return [
        Submission(student.name, name, student / name / f"{name}.ipynb")
        for student in students
        for name in SETS
        if (student / name).is_dir()
    ]


def grade(
    root: Path, submissions: Iterable[Submission], *, variants: bool = False, jobs: int = 2, **limits: int
) -> Iterator[Mark]:
    """Grade submissions against the release in `root`; yields a mark as soon as it is there, never stops the class.

    variants: whether every student had numbers of their own, see variant.py. limits: traits of guard.GuardedExecute.
    """
    submissions = list(submissions)
    register(root, {submission.student for submission in submissions})
    work = partial(grade_one, root, variants=variants, limits=limits)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(work, submission): submission for submission in submissions}
        for future in as_completed(pending):
            yield future.result()


def register(root: Path, students: Iterable[str]) -> None:
    """Put students in the gradebook, once each.

    nbgrader would do it on grading. But where two sets of a new student are graded at the same time, both find no such
    student, both add one, and one of the two fails.
    """
    with nbgrader(root).gradebook as gradebook:
        for student in sorted(students):
            gradebook.update_or_create_student(student)


def grade_one(
    root: Path, submission: Submission, *, variants: bool = False, limits: Mapping[str, int] | None = None
) -> Mark:
    """Repair, execute and mark one submission, and write its feedback page.

    If nbgrader itself fails, it tries once more, since the cause may be the machine and not the student: a full disk, a
    locked gradebook. If it fails again, the empty release is graded in its place, with the reason in the feedback.
    """
    student, name = submission.student, submission.set_name
    api, release = nbgrader(root, **(limits or {})), released(root, name)
    notebook, trouble = read_submission(submission.path)
    submitted = root / "submitted" / student / name
    for failures in range(3):
        shutil.rmtree(submitted, ignore_errors=True)
        write(normalised(notebook, release, trouble), submitted / f"{name}.ipynb")
        with _numbers(parameters(student, name, course_name()) if variants else None):
            result = api.autograde(name, student)
        if result["success"]:
            break
        if failures == 0:
            continue
        last = (result.get("error") or result.get("log") or "").strip().splitlines()
        notebook, trouble = None, f"the grader failed on it ({last[-1] if last else 'no message'})"
    write_feedback(root, student, name)
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
    """Enter a person's mark, as nbgrader's formgrader does. Raises ValueError if it is outside the cell's range."""
    with nbgrader(root).gradebook as gradebook:
        entry = gradebook.find_grade(cell, set_name, set_name, student)
        if not 0 <= points <= entry.max_score:
            raise ValueError(f"points must be in [0, {entry.max_score:g}] for {cell}, got {points!r}")
        entry.manual_score, entry.needs_manual_grade = points, False
        gradebook.db.commit()


def export(root: Path) -> Path:
    """Write root/grades.csv, one row per student and set."""
    from nbgrader.plugins import CsvExportPlugin

    target = root / "grades.csv"
    with nbgrader(root).gradebook as gradebook:
        CsvExportPlugin(to=str(target)).export(gradebook)
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
