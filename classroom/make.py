"""The course from a shell.

    python classroom/make.py                       release, sample submissions, grades, feedback   (make classroom)
    python classroom/make.py release --root COURSE          only the notebooks for students
    python classroom/make.py grade FOLDER --root COURSE     grade FOLDER/STUDENT/SET/SET.ipynb; --set ps1: only that
    python classroom/make.py mark STUDENT ps3 conclusions 6.5 --root COURSE     enter a mark by hand
    python classroom/make.py feedback --root COURSE         write all feedback and grades.csv again
    python classroom/make.py roster class.csv --root COURSE             keep the class list: every name gets a row
    python classroom/make.py collect ps1 submissions.zip --root COURSE  unpack Moodle's or Canvas's archive
    python classroom/make.py fill ps1 grades-of-moodle.csv --root COURSE     write the scores into their table

COURSE gets release/, feedback/, grades.csv and the gradebook. Without --root it is classroom/_build, which the first
command empties: give a real class a folder of its own. `grade` executes student code, apart from all else where the
system can, see isolation.py; it says so where the system cannot.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from collecting import Submission, find
from course import BUILD, SETS, clear, points, release
from grading import Mark, export, grade, mark_by_hand, read_mark, remember_notes, rows, write_feedback
from isolation import KINDS, available, best
from kit import student_kit
from roster import collect, fill_table, read_roster, roster, save_roster
from samples import BY_HAND, EMPTY, Sample, hand_in, samples
from tqdm import tqdm


def grade_folder(root: Path, found: Sequence[Submission], jobs: int, kind: str) -> list[Mark]:
    """Grade with a progress bar in enclosures of that kind, and return the marks in order."""
    marks = []
    with tqdm(total=len(found), unit="notebook", disable=None) as bar:
        for mark in grade(root, found, jobs=jobs, kind=kind):
            marks.append(mark)
            bar.set_postfix_str(f"{mark.student} {mark.set_name}")
            bar.update()
    remember_notes(root, marks)
    return sorted(marks, key=lambda mark: (mark.set_name, mark.student))


def enclosure(wanted: str) -> str:
    """The kind of enclosure to grade in, the best if none is wanted; says so where student code is not kept apart.

    Raises ValueError if there is none of that kind here.
    """
    kind = wanted or best()
    if reason := available(kind):
        raise ValueError(f"no {kind} here: {reason}")
    if kind == "none":
        reasons = "; ".join(f"{other}: {available(other)}" for other in KINDS if other != "none" and available(other))
        print(
            f"WARNING: student code can read and write all that you can ({reasons or 'as you asked'})", file=sys.stderr
        )
    return kind


def run_samples(root: Path, jobs: int, set_names: tuple[str, ...] = SETS, kind: str = "") -> dict[Sample, Mark]:
    """Release, hand in the samples, grade them, enter what is graded by hand, write feedback and grades.csv."""
    clear(root)
    release(root)
    made = hand_in(root, set_names)
    marks = {
        (m.student, m.set_name): m for m in grade_folder(root, find(root / "submissions")[0], jobs, enclosure(kind))
    }
    for sample in made:
        for cell, full in BY_HAND.get(sample.set_name, {}).items():
            if sample.name != EMPTY:
                mark_by_hand(root, sample.name, sample.set_name, cell, full)
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


def count(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)


def submissions_in(folder: Path, root: Path, only: str = "") -> list[Submission]:
    """What is to be graded in a folder, of one set or of all; says what it passes over.

    Raises ValueError if that is nothing.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    if folder.resolve().is_relative_to(root / "submitted"):
        raise ValueError(f"{folder} is overwritten by the grader's repaired copies: collect submissions elsewhere")
    found, passed = find(folder.resolve())
    for path, reason in passed.items():
        print(f"passed over: {path}: {reason}", file=sys.stderr)
    found = [submission for submission in found if only in ("", submission.set_name)]
    if not found:
        name = only or "ps1"
        raise ValueError(f"nothing to grade in {folder}, expected {folder}/STUDENT/{name}/{name}.ipynb")
    for name in {submission.set_name for submission in found}:
        if not (root / "release" / name).is_dir():
            raise ValueError(f"{name} has not been released: python classroom/make.py release --root {root}")
    return found


def warn_of_strangers(root: Path, students: Iterable[str]) -> None:
    """Say who is not on the class list, if there is one: somebody new, or a name that was not recognised."""
    listed = {person.identifier for person in roster(root)}
    strangers = sorted(set(students) - listed)
    if listed and strangers:
        print(f"not on the class list: {', '.join(strangers)}", file=sys.stderr)


def feedback(root: Path) -> int:
    """Write all feedback and grades.csv again; returns how many pages could not be written, and says why."""
    failed = 0
    for submission in find(root / "submitted")[0]:
        try:
            write_feedback(root, submission.student, submission.set_name)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed += 1
    export(root)
    return failed


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    course = argparse.ArgumentParser(add_help=False)
    course.add_argument("--root", type=Path, default=BUILD, help="the course: release, gradebook, feedback")
    work = argparse.ArgumentParser(add_help=False, parents=[course])
    work.add_argument("--jobs", type=count, default=2, help="notebooks at a time")
    work.add_argument("--isolation", choices=KINDS, default="", help="where student code runs; the best that there is")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("all", parents=[work], help="release, sample submissions, grades, feedback")
    releasing = commands.add_parser("release", parents=[course], help="the notebooks for students")
    address = "what pip installs where afli is missing, on Colab and Binder: git+https://..., or a zip"
    releasing.add_argument("--install-from", default="", help=address)
    packing = commands.add_parser("kit", parents=[course], help="what students need, without solutions, in one archive")
    packing.add_argument(
        "--pages", action="store_true", help="and the book's pages, without the solutions of exercises"
    )
    grading = commands.add_parser("grade", parents=[work], help="grade what students have handed in")
    grading.add_argument("folder", type=Path, help="FOLDER/STUDENT/SET/SET.ipynb")
    grading.add_argument("--set", choices=SETS, default="", help="only this set; otherwise all that are there")
    marking = commands.add_parser("mark", parents=[course], help="enter a mark by hand, and write the feedback again")
    for name in ("student", "set", "cell"):
        marking.add_argument(name)
    marking.add_argument("points", type=float)
    listing = commands.add_parser(
        "roster", parents=[course], help="keep a class list: a list of identifiers, or a table"
    )
    listing.add_argument("file", type=Path)
    collecting = commands.add_parser("collect", parents=[course], help="unpack the archive of Moodle or Canvas")
    collecting.add_argument("set", choices=SETS)
    collecting.add_argument("archive", type=Path)
    collecting.add_argument("--worksheet", type=Path, help="Moodle's grading worksheet of this assignment")
    filling = commands.add_parser("fill", parents=[course], help="write grades into the table of Moodle or Canvas")
    filling.add_argument("set", choices=SETS)
    filling.add_argument("table", type=Path)
    commands.add_parser("slides", parents=[course], help="slides.html, with the figures of the book")
    commands.add_parser("mistakes", parents=[course], help="what students typically get wrong, as a table")
    commands.add_parser("feedback", parents=[course], help="write all feedback and grades.csv again")
    return parser


def run(given: argparse.Namespace, root: Path) -> int:
    """One command; returns the exit status. Raises ValueError for what a user got wrong."""
    if given.command in ("mark", "feedback", "fill") and not (root / "gradebook.db").exists():
        raise ValueError(f"nothing has been graded in {root}")
    if given.command == "release":
        release(root, given.install_from)
    elif given.command == "kit":
        if root == BUILD and not (root / "release").is_dir():
            release(root)
        print(student_kit(root, pages=given.pages))
    elif given.command == "grade":
        found = submissions_in(given.folder, root, given.set)
        warn_of_strangers(root, [submission.student for submission in found])
        show(grade_folder(root, found, given.jobs, enclosure(given.isolation)))
        export(root)
    elif given.command == "slides":
        import slides  # which needs what builds the book

        print(slides.build(root))
    elif given.command == "mistakes":
        print("| set | submission | mistake | points |\n|---|---|---|---|")
        for sample in (sample for name in SETS for sample in samples(name)[2:]):
            of = points(sample.set_name)
            print(f"| {sample.set_name} | {sample.name} | {sample.mistake} | {sample.expected:g} of {of:g} |")
    elif given.command == "roster":
        people = read_roster(given.file)
        print(f"{save_roster(root, people)}: {len(people)} students")
    elif given.command == "collect":
        taken, own_times = collect(root, given.archive, given.set, given.worksheet)
        for student, files in sorted(taken.items()):
            print(f"{student:34} {', '.join(files)}")
        if not own_times:
            print("all files have one time, that of the download: nobody counts as late", file=sys.stderr)
        warn_of_strangers(root, taken)
    elif given.command == "fill":
        scores = {row["student_id"]: row["score"] for row in rows(root) if row["assignment"] == given.set}
        target, left, warning = fill_table(root, given.table, given.set, scores, points(given.set))
        print(target)
        if left:
            print(f"no row for {', '.join(left)}", file=sys.stderr)
        if warning:
            print(f"WARNING: {warning}", file=sys.stderr)
        return 1 if left or warning else 0
    elif given.command == "mark":
        mark_by_hand(root, given.student, given.set, given.cell, given.points)
        write_feedback(root, given.student, given.set)
        export(root)
        show([read_mark(root, given.student, given.set)])
    elif given.command == "feedback":
        return 1 if feedback(root) else 0
    else:
        marks = run_samples(root, given.jobs, kind=given.isolation)
        show(list(marks.values()))
        wrong = [f"{m.student} {m.set_name}" for sample, m in marks.items() if m.points != sample.expected]
        if wrong:
            print(f"not the expected mark: {', '.join(wrong)}", file=sys.stderr)
            return 1
    return 0


def main(words: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a letter must not end a command
    parser = arguments()
    given = parser.parse_args((sys.argv[1:] if words is None else words) or ["all"])
    root, start = given.root.resolve(), time.perf_counter()
    try:
        status = run(given, root)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    print(f"{root}: {time.perf_counter() - start:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
