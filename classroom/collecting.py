"""Find what students have handed in: in folders as they come, and in the archives of Moodle and Canvas."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from course import SETS, check_student, grade_id, read_source
from submissions import read_submission

NOTEBOOK = re.compile(r"\.ipynb(?:\.json|\.txt|\.zip)?$|\.zip$", re.IGNORECASE)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)_?")
DEPTH = 5  # folders below a student's own that are looked through


@dataclass(frozen=True)
class Submission:
    """What one student has handed in for one set.

    repairs: what was unusual about the file's name or place, for the feedback.
    """

    student: str
    set_name: str
    path: Path
    repairs: tuple[str, ...] = ()


def identifier(folder_name: str) -> str:
    """The student that a folder's name stands for; a name of Moodle's or with spaces gets the form of an identifier.

    Raises ValueError if nothing is left of it.
    """
    moodle = MOODLE.fullmatch(folder_name)
    text = unicodedata.normalize("NFC", moodle["name"] if moodle else folder_name)
    return check_student(re.sub(r"[^\w.@+-]+", "_", text).strip("_.-+@"))


def find(folder: Path) -> tuple[list[Submission], dict[Path, str]]:
    """All submissions in a folder, FOLDER/STUDENT/SET/SET.ipynb, and what was passed over, with the reason.

    A notebook under another name, or in another folder of the student's, is found too. A set's folder without a
    notebook is a submission of nothing. Hidden files are not mentioned, nor are other files in a student's folder.
    """
    found: list[Submission] = []
    passed: dict[Path, str] = {}
    for entry in sorted(path for path in folder.iterdir() if path.name[0] not in "._"):
        try:
            if not entry.is_dir():
                raise ValueError("not the folder of a student")
            student = identifier(entry.name)
        except ValueError as error:
            passed[entry] = str(error)
            continue
        sent, left = _sent(entry, student)
        passed |= left
        if not sent and not left:
            passed[entry] = "no notebook in it"
        for submission in sent:
            if any((s.student, s.set_name) == (student, submission.set_name) for s in found):
                passed[submission.path] = f"a second submission of {student}, or of somebody of the same name"
            else:
                found.append(submission)
    return found, passed


def _sent(folder: Path, student: str) -> tuple[list[Submission], dict[Path, str]]:
    """One student's submissions, and the notebooks that belong to no set."""
    candidates: dict[str, list[Path]] = {
        path.name: [] for path in folder.iterdir() if path.name in SETS and path.is_dir()
    }
    passed = {}
    for path in sorted(folder.rglob("*"), key=_by_number):
        inside = path.relative_to(folder).parts
        if len(inside) > DEPTH or any(part.startswith((".", "__MACOSX")) for part in inside) or path.is_dir():
            continue
        if NOTEBOOK.search(path.name):
            set_name = _set_of(path, folder)
            if set_name:
                candidates.setdefault(set_name, []).append(path)
            else:
                passed[path] = f"none of {', '.join(SETS)}"
    sent = []
    for set_name, paths in sorted(candidates.items()):
        exact = folder / set_name / f"{set_name}.ipynb"
        path = exact if exact in paths or not paths else paths[-1]
        repairs = []
        if path != exact:
            repairs.append(f"The file was {path.relative_to(folder)}, where {set_name}/{set_name}.ipynb was expected.")
        others = [str(other.relative_to(folder)) for other in paths if other != path]
        if others:
            repairs.append(f"Of several notebooks {path.name} was graded, and not {', '.join(others)}.")
        sent.append(Submission(student, set_name, path, tuple(repairs)))
    return sent, passed


def _by_number(path: Path) -> list[tuple[bool, int, str]]:
    """A key that puts `ps1 (10)` behind `ps1 (2)`, and `ps1` before both."""
    parts = re.split(r"(\d+)", str(path.with_suffix("")))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _set_of(path: Path, folder: Path) -> str:
    """The set that a notebook belongs to: by its place, by its cells, by its name; empty if by none."""
    if path.parent.name in SETS and path.name == f"{path.parent.name}.ipynb":
        return path.parent.name
    notebook = read_submission(path).notebook
    names = {grade_id(cell) for cell in notebook.cells} - {"", "setup"} if notebook else set()
    shared = {s: len(names & {grade_id(cell) for cell in read_source(s).cells}) for s in SETS}
    best = max(SETS, key=lambda name: shared[name])
    if shared[best]:
        return best
    for text in [path.name, *(parent.name for parent in path.parents if parent.is_relative_to(folder))]:
        match = re.search(r"(?:ps|set)[\s_-]?(\d+)", text.lower())
        if match and f"ps{match[1]}" in SETS:
            return f"ps{match[1]}"
    return ""
