"""The course from a shell.

    python classroom/make.py                       release, sample submissions, grades, feedback   (make classroom)
    python classroom/make.py release --root COURSE          only the notebooks for students
    python classroom/make.py grade FOLDER --root COURSE     grade FOLDER/STUDENT/SET/SET.ipynb
    python classroom/make.py feedback --root COURSE         write feedback and grades.csv again, after hand grading

COURSE gets release/, feedback/, grades.csv and the gradebook. Without --root it is classroom/_build, which the first
command empties: give a real class a folder of its own. `grade` executes student code: run it in a container
(classroom/README.md has the command).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from course import BUILD, SETS, clear, release
from grading import Mark, Submission, export, find, grade, mark_by_hand, read_mark, write_feedback
from samples import BY_HAND, EMPTY, Sample, hand_in
from tqdm import tqdm


def grade_folder(root: Path, found: Sequence[Submission], variants: bool, jobs: int) -> list[Mark]:
    """Grade with a progress bar, export, and return the marks in order."""
    marks = []
    with tqdm(total=len(found), unit="notebook", disable=None) as bar:
        for mark in grade(root, found, variants=variants, jobs=jobs):
            marks.append(mark)
            bar.set_postfix_str(f"{mark.student} {mark.set_name}")
            bar.update()
    return sorted(marks, key=lambda mark: (mark.set_name, mark.student))


def run_samples(root: Path, jobs: int, set_names: tuple[str, ...] = SETS) -> dict[Sample, Mark]:
    """Release, hand in the samples, grade them, enter what is graded by hand, write feedback and grades.csv."""
    clear(root)
    release(root)
    made = hand_in(root, set_names)
    marks = {(m.student, m.set_name): m for m in grade_folder(root, find(root / "submissions"), False, jobs)}
    for sample in made:
        for cell, points in BY_HAND.get(sample.set_name, {}).items():
            if sample.name != EMPTY:
                mark_by_hand(root, sample.name, sample.set_name, cell, points)
                write_feedback(root, sample.name, sample.set_name)
                marks[sample.name, sample.set_name] = read_mark(root, sample.name, sample.set_name)
    export(root)
    return {sample: marks[sample.name, sample.set_name] for sample in made}


def show(marks: Sequence[Mark]) -> None:
    """Print a line for each mark."""
    for mark in marks:
        rest = f"   {mark.waiting} cell(s) to grade by hand" if mark.waiting else ""
        trouble = f"   {mark.trouble}" if mark.trouble else ""
        print(f"{mark.set_name}   {mark.student:34} {mark.points:5g} of {mark.of:g}{rest}{trouble}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="all", choices=["all", "release", "grade", "feedback"])
    parser.add_argument("folder", nargs="?", type=Path, help="what students have handed in, for `grade`")
    parser.add_argument("--root", type=Path, default=BUILD, help="the course: release, gradebook, feedback")
    parser.add_argument("--variants", action="store_true", help="students had numbers of their own, see variant.py")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    given = parser.parse_args()
    root, start = given.root.resolve(), time.perf_counter()
    if given.command == "release":
        release(root)
    elif given.command == "grade":
        if given.folder is None or not given.folder.is_dir():
            parser.error(f"grade needs a folder of submissions, got {given.folder}")
        show(grade_folder(root, find(given.folder.resolve()), given.variants, given.jobs))
        export(root)
    elif given.command == "feedback":
        for submission in find(root / "submitted"):
            write_feedback(root, submission.student, submission.set_name)
        export(root)
    else:
        try:
            marks = run_samples(root, given.jobs)
        except ValueError as error:
            parser.error(str(error))
        show(list(marks.values()))
        wrong = [f"{m.student} {m.set_name}" for sample, m in marks.items() if m.points != sample.expected]
        if wrong:
            print(f"not the expected mark: {', '.join(wrong)}", file=sys.stderr)
            return 1
    print(f"{root}: {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
