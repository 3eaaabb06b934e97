"""How long a class takes: a list, a copy and a zip for everybody, all filled in, graded; and `make classroom`.

    python classroom/timing.py                                     50 students, into book/class_times.txt
    python classroom/timing.py --students 5 --set ps1 --table mine.txt

The table is in Markdown, and *For teachers* shows it.

Every copy is filled in with the answers to its own numbers and its own question, so that each must get all points that
the computer gives: one that does not ends the command. Everything happens in a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from collecting import find
from course import HERE, SETS, points, release, write
from make import count, enclosure, grade_folder, run_samples
from roster import read_roster, save_roster
from samples import BY_HAND, samples, solved
from variant import course_name, hand_out

from afli.experiments.provenance import machine

TABLE = HERE.parent / "book" / "class_times.txt"


def used() -> tuple[float, float]:
    """The clock, and what this process and the ended ones that it started have used of processors; seconds."""
    return time.perf_counter(), sum(os.times()[:4])


def timed(step: Callable[..., Any], *words: Any) -> tuple[Any, tuple[float, float]]:
    """What a step returns, and its minutes on the clock and of processors."""
    clock, processors = used()
    result = step(*words)
    then, more = used()
    return result, ((then - clock) / 60, (more - processors) / 60)


def copies(root: Path, students: int, set_names: Sequence[str]) -> None:
    """A class list of so many, kept, and everybody's copy of every set, as a notebook and as a zip."""
    path = root / "class.csv"
    rows = [f"s{number:03d},Student {number},s{number:03d}@example.org" for number in range(1, students + 1)]
    path.write_text("\n".join(["identifier,name,email", *rows]) + "\n", encoding="utf-8")
    save_roster(root, read_roster(path))
    for set_name in set_names:
        hand_out(root, [person.identifier for person in read_roster(path)], set_name, course_name())


def fill_in(root: Path, set_name: str) -> Path:
    """Solve what is in everybody's zip; returns the folder of the submissions."""
    folder = root / f"submissions-{set_name}"
    for archive in sorted((root / "copies" / set_name).glob("*.zip")):
        with zipfile.ZipFile(archive) as file:
            notebook = nbformat.reads(file.read(f"{set_name}/{set_name}.ipynb").decode(), as_version=4)
        write(solved(notebook, set_name), folder / archive.stem / set_name / f"{set_name}.ipynb")
    return folder


def grade_all(root: Path, folder: Path, set_name: str, jobs: int) -> int:
    """Grade them; returns how many. Raises ValueError if one has not all points that the computer gives."""
    marks = grade_folder(root, find(folder)[0], jobs, enclosure(""))
    full = points(set_name) - sum(BY_HAND.get(set_name, {}).values())
    if wrong := [f"{mark.student} {mark.points:g} {mark.trouble}" for mark in marks if mark.points != full]:
        raise ValueError(f"{set_name}, full marks are {full:g}: {', '.join(wrong)}")
    return len(marks)


def measure(
    root: Path, students: int, set_names: Sequence[str], jobs: int
) -> list[tuple[str, int, tuple[float, float]]]:
    """What was done, with how many notebooks, in how many minutes on the clock and of processors."""
    _, minutes = timed(release, root)
    found = [("release of the sets", len(SETS), minutes)]
    _, minutes = timed(copies, root, students, set_names)
    found.append(("copies and zips for a class", students * len(set_names), minutes))
    for set_name in set_names:
        graded, minutes = timed(grade_all, root, fill_in(root, set_name), set_name, jobs)
        found.append((f"grading of set {set_name.removeprefix('ps')}, with feedback", graded, minutes))
    made, minutes = timed(run_samples, root / "samples", jobs, tuple(set_names))
    found.append(("`make classroom`, all sample submissions", sum(len(samples(name)) for name in set_names), minutes))
    assert len(made) == found[-1][1]
    return found


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=count, default=50)
    parser.add_argument("--set", choices=SETS, action="append", help="these sets only; may be said again")
    parser.add_argument("--jobs", type=count, default=2, help="notebooks at a time")
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="afli-class-") as folder:
        try:
            found = measure(Path(folder), given.students, given.set or SETS, given.jobs)
        except ValueError as error:
            parser.error(str(error))
    rows = [(what, str(notebooks), *(f"{each:.1f}" for each in minutes)) for what, notebooks, minutes in found]
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    where = f"{machine('cpu')}, {os.cpu_count()} cores, {given.jobs} notebooks at a time{load}"
    text = as_markdown(rows, f"{given.students} students; {where}; {datetime.now(UTC):%Y-%m-%d}.")
    given.table.write_text(text, encoding="utf-8")
    print(text)
    return 0


def as_markdown(rows: Sequence[Sequence[str]], where: str) -> str:
    """The table, with where it was measured under it."""
    head = ["what", "notebooks", "minutes", "minutes of processors"]
    lines = [head, ["---", "---:", "---:", "---:"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{where}\n"


if __name__ == "__main__":
    sys.exit(main())
