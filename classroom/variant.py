"""A copy of a problem set for one student, with numbers of their own.

    python classroom/variant.py --student s1234567 --set ps1
    python classroom/variant.py --roster class.txt --set ps2 --root COURSE      one identifier a line

The numbers follow from the identifier, the set and the name of the course alone, through SHA-256: the grader computes
them again and needs no list. Change the course name, with --course or the environment variable AFLI_COURSE, and next
year's numbers differ. Copies go to COURSE/copies/ID/psN/psN.ipynb, where COURSE is --root. Grade them with
`make.py grade --variants`, and the same course name.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from course import BUILD, SETS, check_set, check_student, released, write
from nbformat import NotebookNode

Parameters = dict[str, float | int]

COMMON: Parameters = {"sigma_b2": 0.1, "a": 2.0, "depth": 50}  # what the released notebooks themselves say
TRAINING_DEPTH = 50


def course_name() -> str:
    """The name that, with the identifier, decides the numbers."""
    return os.environ.get("AFLI_COURSE", "afli")


def parameters(student: str, set_name: str, course: str | None = None) -> Parameters:
    """Bias variance in [0.05, 0.2], linear radius in [1.5, 3] and depth in [20, 80] (50 in the set that trains).

    The same for the same student, set and course; bias variance in steps of 0.0001, radius in steps of 0.001.
    Raises ValueError for an identifier that cannot name a folder, or an unknown set.
    """
    text = f"{course_name() if course is None else course}/{check_set(set_name)}/{check_student(student)}"
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest())
    draw, first = divmod(draw, 1501)
    draw, second = divmod(draw, 1501)
    _, third = divmod(draw, 61)
    depth = TRAINING_DEPTH if set_name == "ps3" else 20 + third
    return {"sigma_b2": (500 + first) / 10_000, "a": (1500 + second) / 1000, "depth": depth}


def personal_copy(notebook: NotebookNode, student: str, set_name: str, course: str | None = None) -> NotebookNode:
    """A released notebook with a cell that sets this student's numbers, after the cell tagged `parameters`."""
    from papermill.parameterize import parameterize_notebook

    notebook.metadata.setdefault("papermill", {})  # papermill expects both of these
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    values = {"student": student} | parameters(student, set_name, course)
    copy = parameterize_notebook(notebook, values, comment=f"The numbers of {student}; they replace those above.")
    copy.metadata.pop("papermill", None)
    return copy


def read_roster(path: Path) -> list[str]:
    """The identifiers in a file, one a line. Raises ValueError if there is none, or one that cannot name a folder."""
    students = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not students:
        raise ValueError(f"there is no identifier in {path}")
    return [check_student(student) for student in students]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--student", metavar="ID", help="one identifier")
    who.add_argument("--roster", type=Path, metavar="FILE", help="a file of identifiers, one a line")
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--course", default=course_name(), help="decides the numbers, with the identifier")
    parser.add_argument("--root", type=Path, default=BUILD, help="the course, with its release")
    given = parser.parse_args()
    try:
        students = [check_student(given.student)] if given.roster is None else read_roster(given.roster)
        if not (given.root / "release" / given.set).is_dir():
            parser.error(f"{given.set} has not been released: python classroom/make.py release --root {given.root}")
        notebook = released(given.root, given.set)
        for student in students:
            copy = personal_copy(notebook, student, given.set, given.course)
            print(write(copy, given.root / "copies" / student / given.set / f"{given.set}.ipynb"))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
