"""Grade a folder of submissions with nbgrader: marks in the gradebook, feedback pages, grades.csv.

What students hand in stays as it is, in FOLDER/STUDENT/SET/SET.ipynb; nbgrader sees repaired copies of it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from collecting import Submission
from course import nbgrader, points, released, write
from deadlines import FAR, deadlines
from roster import roster
from submissions import normalised, read_submission
from variant import decided


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


def grade(root: Path, submissions: Iterable[Submission], *, jobs: int = 2, **limits: int | str) -> Iterator[Mark]:
    """Grade submissions against the release in `root`; yields a mark as soon as it is there, never stops the class.

    limits: traits of isolation.IsolatedExecute. A submission that the grader itself fails on gets no points, and
    the reason as its trouble.
    """
    submissions = list(submissions)
    register(root, {submission.student for submission in submissions})
    work = partial(grade_one, root, limits=limits)
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


def grade_one(root: Path, submission: Submission, *, limits: Mapping[str, int | str] | None = None) -> Mark:
    """Repair, execute and mark one submission, and write its feedback page.

    If nbgrader itself fails, it tries once more, since the cause may be the machine and not the student: a full disk, a
    locked gradebook. If it fails again, the empty release is graded in its place, with the reason in the feedback.
    Raises RuntimeError if that fails too.
    """
    student, name = submission.student, submission.set_name
    api, release = nbgrader(root, **(limits or {})), released(root, name)
    sent = read_submission(submission.path)
    notebook, trouble, repairs = sent.notebook, sent.reason, [*submission.repairs, *sent.repairs]
    numbers, contradiction = decided(root, student, name, notebook)
    if contradiction:
        repairs.append(f"CAUTION: {contradiction}. It was graded with the numbers of {student}.")
    submitted = root / "submitted" / student / name
    for failures in range(3):
        shutil.rmtree(submitted, ignore_errors=True)
        write(normalised(notebook, release, trouble, repairs), submitted / f"{name}.ipynb")
        with _numbers(numbers):
            result = api.autograde(name, student)
        if result["success"]:
            break
        if failures == 0:
            continue
        last = (result.get("error") or result.get("log") or "").strip().splitlines()
        notebook, trouble = None, f"the grader failed on it ({last[-1] if last else 'no message'})"
    else:
        raise RuntimeError(trouble)
    trouble = trouble or contradiction
    _remember_time(root, submission)
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
        raise RuntimeError(f"no feedback for {student}, {set_name}:\n{result.get('error') or result.get('log')}")


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


def _remember_time(root: Path, submission: Submission) -> None:
    """Put the time of a submission in the gradebook, from the timestamp.txt that lies with it."""
    from nbgrader.utils import parse_utc

    for folder in (submission.path.parent, submission.path.parent.parent):
        if (folder / "timestamp.txt").is_file():
            with suppress(ValueError), nbgrader(root).gradebook as gradebook:
                when = parse_utc((folder / "timestamp.txt").read_text(encoding="utf-8").strip())
                gradebook.find_submission(submission.set_name, submission.student).timestamp = when
                gradebook.db.commit()
            return


def remember_notes(root: Path, marks: Iterable[Mark]) -> None:
    """Keep what was wrong with submissions, by set and student, for the table of grades."""
    path = root / "notes.json"
    notes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    notes |= {f"{mark.set_name}/{mark.student}": mark.trouble for mark in marks}
    path.write_text(json.dumps(notes, indent=1, sort_keys=True), encoding="utf-8")


def late(when: datetime | None, deadline: datetime | None) -> int:
    """Whole days, begun ones counted, from the deadline to a submission; 0 where either is unknown."""
    if when is None or deadline is None:
        return 0
    return max(0, math.ceil((when - deadline) / timedelta(days=1)))


def rows(root: Path) -> list[dict[str, Any]]:
    """A row for each student of the class list or the gradebook, and each set that somebody has handed in.

    Days late are taken from the student's free days first, in the order of the deadlines; each further day costs a
    share of the set's points, see deadlines.py.
    """
    rules, people, notes = deadlines(root), {p.identifier: p for p in roster(root)}, {}
    if (root / "notes.json").exists():
        notes = json.loads((root / "notes.json").read_text(encoding="utf-8"))
    free: dict[str, int] = defaultdict(lambda: rules.free_days)
    made = []
    with nbgrader(root).gradebook as gradebook:
        graded = [assignment for assignment in gradebook.assignments if assignment.submissions]
        students = sorted({*people, *(student.id for student in gradebook.students)})
        for assignment in sorted(graded, key=lambda a: (rules.of.get(a.name, FAR), a.name)):
            entries = {entry.student.id: entry for entry in assignment.submissions}
            for student in students:
                entry, person = entries.get(student), people.get(student)
                when = entry.timestamp.replace(tzinfo=UTC) if entry and entry.timestamp else None
                days = late(when, rules.of.get(assignment.name))
                paid = max(0, days - free[student])
                free[student] = max(0, free[student] - days)
                raw, of = (entry.score if entry else 0.0), assignment.max_score
                waiting = sum(g.needs_manual_grade for n in entry.notebooks for g in n.grades) if entry else 0
                penalty = min(raw, paid * rules.penalty * of)
                made.append({
                    "assignment": assignment.name, "duedate": rules.of.get(assignment.name, ""),
                    "timestamp": when or "",
                    "student_id": student, "last_name": person.name if person else "", "first_name": "",
                    "email": person.email if person else "", "raw_score": raw, "late_submission_penalty": penalty,
                    "score": raw - penalty, "max_score": of, "waiting_for_hand_grading": waiting, "days_late": days,
                    "note": notes.get(f"{assignment.name}/{student}", "") if entry else "nothing was handed in",
                })  # fmt: skip
    return made


def export(root: Path) -> Path:
    """Write root/grades.csv, see `rows`; a set that nobody has handed in yet has no rows."""
    target, table = root / "grades.csv", rows(root)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]) if table else ["assignment", "student_id", "score"])
        writer.writeheader()
        writer.writerows(table)
    return target


@contextmanager
def _numbers(values: dict[str, Any]) -> Iterator[None]:
    """Tell the hidden tests a student's numbers, through the environment of the kernel."""
    os.environ["AFLI_VARIANT"] = json.dumps(values)
    try:
        yield
    finally:
        os.environ.pop("AFLI_VARIANT", None)
