"""A copy of a problem set for one student, with numbers and a question of their own.

    python classroom/variant.py --student s1234567 --set ps1
    python classroom/variant.py --roster class.csv --set ps2 --root COURSE      everybody on a list, see roster.py

The numbers follow from the identifier, the set and the name of the course alone, through SHA-256: the grader computes
them again. One of them is a word that changes what is asked, so a solution pasted from elsewhere answers another
question. Change the course name, with --course or the environment variable AFLI_COURSE, and next year's copies differ.

Copies go to COURSE/copies/ID/psN/psN.ipynb, each also as COURSE/copies/psN/ID.zip, where COURSE is --root.
COURSE/copies.json remembers which sets have such copies; the grader reads that, and each copy says whose it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import zipfile
from pathlib import Path

from course import BUILD, SETS, check_set, check_student, numbers_in, read_source, released, write
from nbformat import NotebookNode
from roster import read_roster

Parameters = dict[str, float | int | str]

TRAINING_DEPTH = 50
WORDS = {  # the word of each set that decides what one of its questions asks
    "ps0": ("wave", ("sin", "cos", "sinh")),
    "ps1": ("rectifier", ("relu", "abs", "leaky")),
    "ps2": ("claim", ("at most", "at least")),
    "ps3": ("asked", ("after", "until")),
    "ps4": ("kernel", ("nngp", "tangent")),
}


def course_name() -> str:
    """The name that, with the identifier, decides the numbers."""
    return os.environ.get("AFLI_COURSE", "afli")


def common(set_name: str) -> Parameters:
    """What the released notebook itself says."""
    return numbers_in(read_source(set_name))


def parameters(student: str, set_name: str, course: str | None = None) -> Parameters:
    """Bias variance in [0.05, 0.2], linear radius in [1.5, 3], depth in [20, 80] (50 in the set that trains), a word.

    The same for the same student, set and course; bias variance in steps of 0.0001, radius in steps of 0.001.
    Raises ValueError for an identifier that cannot name a folder, or an unknown set.
    """
    text = f"{course_name() if course is None else course}/{check_set(set_name)}/{check_student(student)}"
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest())
    draw, first = divmod(draw, 1501)
    draw, second = divmod(draw, 1501)
    draw, third = divmod(draw, 61)
    depth = TRAINING_DEPTH if set_name == "ps3" else 20 + third
    word, choices = WORDS[set_name]
    numbers = {"sigma_b2": (500 + first) / 10_000, "a": (1500 + second) / 1000, "depth": depth}
    return numbers | {word: choices[draw % len(choices)]}


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


def remembered(root: Path) -> dict[str, str]:
    """The sets of which students have copies of their own, with the course name that decided the numbers."""
    path = root / "copies.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def decided(root: Path, student: str, set_name: str, notebook: NotebookNode | None) -> tuple[Parameters, str]:
    """The numbers that a submission is graded with, and what is wrong with those that it carries; empty if nothing.

    A student whose set has copies has the numbers that follow from the identifier; the cell in the copy says the same,
    or something is wrong. Without a list of copies, a copy that carries its student's own numbers has them.
    """
    names = remembered(root)
    own = parameters(student, set_name, names.get(set_name))
    claimed = numbers_in(notebook, "injected-parameters") if notebook else {}
    if not claimed and notebook:  # a platform has removed the tag
        claimed = next((found for cell in notebook.cells if "student" in (found := _assigned(cell))), {})
    whose = claimed.get("student")
    if not claimed:
        if set_name in names and notebook:
            return own, "the common notebook, not the copy with the student's own numbers"
        return (own if set_name in names else common(set_name)), ""
    if whose != student:
        return own, f"this is the copy of {whose}"
    wrong = [name for name, value in own.items() if claimed.get(name) != value]
    if wrong:
        return own, f"the copy has other numbers than {student} was given: {', '.join(wrong)}"
    return own, ""


def _assigned(cell: NotebookNode) -> Parameters:
    tagged = NotebookNode(source=cell.source, metadata=NotebookNode(tags=["parameters"]))
    return numbers_in(NotebookNode(cells=[tagged])) if cell.cell_type == "code" else {}


def hand_out(root: Path, students: list[str], set_name: str, course: str) -> list[Path]:
    """Write everybody's copy, as a notebook and as a zip, and remember that this set has copies.

    Raises ValueError if the set has copies of another course name: what was handed out could not be graded any more.
    """
    names = remembered(root)
    if names.setdefault(set_name, course) != course:
        raise ValueError(f"{set_name} has been handed out for the course {names[set_name]!r}, got {course!r}")
    notebook, made = released(root, set_name), []
    for student in students:
        copy = personal_copy(notebook, student, set_name, course)
        path = write(copy, root / "copies" / student / set_name / f"{set_name}.ipynb")
        archive = root / "copies" / set_name / f"{student}.zip"
        archive.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(path, f"{set_name}/{set_name}.ipynb")
        made.append(path)
    (root / "copies.json").write_text(json.dumps(names, indent=1), encoding="utf-8")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--student", metavar="ID", help="one identifier")
    who.add_argument("--roster", type=Path, metavar="FILE", help="a class list, see roster.py")
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--course", default=course_name(), help="decides the numbers, with the identifier")
    parser.add_argument("--root", type=Path, default=BUILD, help="the course, with its release")
    given = parser.parse_args()
    try:
        people = (
            [check_student(given.student)]
            if given.roster is None
            else [p.identifier for p in read_roster(given.roster)]
        )
        if not (given.root / "release" / given.set).is_dir():
            parser.error(f"{given.set} has not been released: python classroom/make.py release --root {given.root}")
        for path in hand_out(given.root, people, given.set, given.course):
            print(path)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
