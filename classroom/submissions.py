"""Bring what students hand in into the form that nbgrader expects, whatever state it is in.

The released notebook is the skeleton: its questions and tests are taken as they were released. From the submission come
the answers, found by nbgrader's name of the cell or, where a platform has removed that, by the cell's id, and every
cell that the student has added, kept behind the same neighbour. So deleted tests come back, edited ones are undone,
copied cells count once (the last), and nothing but one notebook is taken: no file beside it can shadow a library.
A file that is not a notebook becomes the empty release, with the reason in its first cell.
"""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
from course import grade_id, is_answer
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

MAX_BYTES = 50_000_000


def read_submission(path: Path) -> tuple[NotebookNode | None, str]:
    """The notebook in that file, or None and the reason why there is none."""
    if not path.is_file():
        return None, f"there is no file {path.name}"
    if path.is_symlink() or path.stat().st_size > MAX_BYTES:
        return None, f"{path.name} is a link or larger than {MAX_BYTES // 10**6} MB; clear its outputs"
    try:
        notebook = nbformat.from_dict(nbformat.reads(path.read_text(encoding="utf-8"), as_version=4))
        for cell in notebook.cells:
            if not (cell.cell_type in ("code", "markdown", "raw") and isinstance(cell.source, str)):
                raise TypeError(f"a cell of type {cell.cell_type!r}")
            if not isinstance(cell.metadata, dict):
                raise TypeError("a cell whose metadata is no dictionary")
    except Exception as error:  # nbformat raises many kinds on malformed files; each means the same to a student
        return None, f"{path.name} is not a Jupyter notebook ({type(error).__name__})"
    return notebook, ""


def normalised(submission: NotebookNode | None, release: NotebookNode, reason: str = "") -> NotebookNode:
    """The release with the submission's answers and added cells; the empty release if there is no submission.

    What had to be repaired is said in a first cell, which reaches the student with the feedback.
    """
    result = copy.deepcopy(release)
    if submission is None:
        return _with_note(result, [f"Nothing could be graded: {reason}."])
    place_of = _places(release)
    found: dict[int, NotebookNode] = {}
    added: dict[int, list[NotebookNode]] = {}
    place = -1
    for cell in submission.cells:
        known = place_of.get(grade_id(cell), place_of.get(cell.get("id", "")))
        if known is not None:
            place, found[known] = known, cell
        elif cell.cell_type != "raw" and not _is_released(cell, release):
            added.setdefault(place, []).append(cell)
    for position, cell in enumerate(result.cells):
        if is_answer(cell) and position in found:
            cell.source = found[position].source
    missing = [grade_id(cell) for i, cell in enumerate(release.cells) if grade_id(cell) and i not in found]
    cells = [_plain(cell) for cell in added.get(-1, [])]
    for position, cell in enumerate(result.cells):
        cells += [cell, *(_plain(extra) for extra in added.get(position, []))]
    result.cells = cells
    return _with_note(result, _explain(missing, release))


def _places(release: NotebookNode) -> dict[str, int]:
    """Position of each released cell by its names."""
    places = {cell.id: i for i, cell in enumerate(release.cells)}
    return places | {grade_id(cell): i for i, cell in enumerate(release.cells) if grade_id(cell)}


def _is_released(cell: NotebookNode, release: NotebookNode) -> bool:
    """Whether a cell without a known name is only the release's own text again."""
    return any(cell.source == other.source for other in release.cells)


def _plain(cell: NotebookNode) -> NotebookNode:
    """A student's own cell without metadata or outputs: it is run, but no mark hangs on it."""
    return new_code_cell(cell.source) if cell.cell_type == "code" else new_markdown_cell(cell.source)


def _explain(missing: list[str], release: NotebookNode) -> list[str]:
    if not missing:
        return []
    if len(missing) == sum(bool(grade_id(cell)) for cell in release.cells):
        return ["None of the released cells is in this file, so there is no answer to grade. Is it the right set?"]
    return [f"These cells had been deleted and were put back as they were released: {', '.join(missing)}."]


def _with_note(notebook: NotebookNode, lines: list[str]) -> NotebookNode:
    if lines:
        notebook.cells.insert(0, new_markdown_cell("**Note from the grader.** " + " ".join(lines), id="grader-note"))
    return notebook
