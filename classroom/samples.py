"""Sample submissions of a set: the full solution, the empty release, and eight or more typical wrong ones.

Nothing here is a notebook: all are made from the sources. The wrong answers, and which tests each of them fails, stand
in samples/psN.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from course import HERE, grade_id, is_answer, numbers_in, points, read_source, released, write
from nbformat import NotebookNode

FULL, EMPTY = "full", "empty"
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL)
SOLUTION_MARKS = re.compile(r"^ *### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)

# Cells that a person grades, and what the model answer gets there.
BY_HAND = {"ps3": {"conclusions": 8.0}}


@dataclass(frozen=True)
class Sample:
    """A submission whose mark is known.

    answers: source by grade_id, in place of the solution's. loses: the tests that fail. feedback: words to be found.
    """

    name: str
    set_name: str
    mistake: str
    loses: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def expected(self) -> float:
        """The points it should get."""
        if self.name == EMPTY:
            return 0.0
        worth = points_by_test(self.set_name)
        return points(self.set_name) - sum(worth[test] for test in self.loses)


def points_by_test(set_name: str) -> dict[str, float]:
    """Points of every graded cell of a set, by its grade_id."""
    own = (cell.metadata["nbgrader"] for cell in read_source(set_name).cells if grade_id(cell))
    return {str(meta["grade_id"]): float(meta["points"]) for meta in own if meta["grade"]}


def samples(set_name: str) -> list[Sample]:
    """Those of one set. Raises ValueError if an answer or a test that they name does not exist."""
    wrong = yaml.safe_load((HERE / "samples" / f"{set_name}.yaml").read_text(encoding="utf-8"))
    made = [Sample(FULL, set_name, "none"), Sample(EMPTY, set_name, "nothing was filled in")]
    for name, entry in wrong.items():
        unknown = {*entry["answers"], *entry["loses"]} - {grade_id(cell) for cell in read_source(set_name).cells}
        if unknown:
            raise ValueError(f"samples/{set_name}.yaml, {name}: there is no cell {', '.join(sorted(unknown))}")
        blank = dict.fromkeys(entry.get("blank", ()), "raise NotImplementedError()")
        answers = entry["answers"] | blank
        made.append(Sample(name, set_name, entry["mistake"], tuple(entry["loses"]), tuple(entry["feedback"]), answers))
    return made


def forms(set_name: str) -> dict[tuple[str, str], dict[str, str]]:
    """Answers by cell, for every word of a copy, and value of it, that changes the question."""
    path = HERE / "samples" / "forms.yaml"
    words = yaml.safe_load(path.read_text(encoding="utf-8")).get(set_name, {})
    return {(word, value): answers for word, values in words.items() for value, answers in values.items()}


def solved(release: NotebookNode, set_name: str) -> NotebookNode:
    """A release (or a personal copy of it, with the answers that its words ask for) filled in with the solutions."""
    source = filter(is_answer, read_source(set_name).cells)
    solutions = {grade_id(cell): SOLUTION_MARKS.sub("", cell.source).rstrip() for cell in source}
    for word, value in numbers_in(release, "injected-parameters").items():
        solutions |= forms(set_name).get((word, str(value)), {})
    for cell in release.cells:
        if is_answer(cell):
            cell.source = solutions[grade_id(cell)]
    return release


def submission(root: Path, sample: Sample) -> NotebookNode:
    """The notebook that such a student hands in."""
    notebook = released(root, sample.set_name)
    if sample.name == EMPTY:
        return notebook
    for cell in solved(notebook, sample.set_name).cells:
        cell.source = sample.answers.get(grade_id(cell), cell.source)
    return notebook


def hand_in(root: Path, set_names: tuple[str, ...]) -> list[Sample]:
    """Write all samples to root/submissions/NAME/SET/SET.ipynb."""
    made = [sample for name in set_names for sample in samples(name)]
    for sample in made:
        path = root / "submissions" / sample.name / sample.set_name / f"{sample.set_name}.ipynb"
        write(submission(root, sample), path)
    return made
