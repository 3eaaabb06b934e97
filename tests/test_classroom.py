"""The course: nothing leaks, marks are right, every student's numbers work, and no submission stops the class."""

from __future__ import annotations

import ast
import base64
import html
import importlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import collecting
import course
import deadlines
import grading
import guard
import isolation
import kit
import make
import nbformat
import numpy as np
import pages
import psutil
import pytest
import roster
import samples
import slides
import submissions
import timing
import torch
import variant
from build import Book
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_output
from pairs import read_source

pytest.importorskip("nbgrader")
pytestmark = pytest.mark.course

POINTS = {"ps0": 10, "ps1": 20, "ps2": 30, "ps3": 40, "ps4": 16}
THEORY_SETS = ("ps0", "ps1", "ps2", "ps4")  # solved in seconds, without a kernel
REGION = re.compile(r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END (?:SOLUTION|HIDDEN TESTS)", re.DOTALL)
CLASS = [f"s{number:03d}" for number in range(1, 101)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with its release, and no grades."""
    folder = tmp_path_factory.mktemp("course")
    course.release(folder)
    return folder


def play(notebook: NotebookNode, numbers: variant.Parameters, names: dict[str, object] | None = None) -> set[str]:
    """Run the code of a notebook in this process, with the tests that know `numbers`: the graded cells that fail.

    names: what the notebook defines is added to it.
    """
    os.environ["AFLI_VARIANT"] = json.dumps(numbers)
    failed: set[str] = set()
    names = {} if names is None else names
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                try:
                    exec(compile(cell.source, course.grade_id(cell) or cell.id, "exec"), names)
                except Exception:
                    failed.add(course.grade_id(cell) or cell.id)
    finally:
        del os.environ["AFLI_VARIANT"]
        torch.set_default_dtype(torch.float32)  # set 3 works in double precision
    return failed


def with_tests(notebook: NotebookNode, set_name: str) -> NotebookNode:
    """A student's notebook with the hidden tests back in place, as nbgrader puts them."""
    tests = {course.grade_id(c): c.source for c in course.read_source(set_name).cells if not course.is_answer(c)}
    for cell in notebook.cells:
        cell.source = tests.get(course.grade_id(cell), cell.source) if course.grade_id(cell) else cell.source
    return notebook


def solved_copy(root: Path, student: str, set_name: str) -> NotebookNode:
    copy = variant.personal_copy(course.released(root, set_name), student, set_name)
    return with_tests(samples.solved(copy, set_name), set_name)


# --- Sources ---


@pytest.mark.parametrize("set_name", course.SETS)
def test_each_set_is_worth_what_its_text_says(set_name: str) -> None:
    assert course.points(set_name) == POINTS[set_name]
    text = (course.HERE / "source" / set_name / f"{set_name}.md").read_text(encoding="utf-8")
    announced = re.findall(r"^\*\*\w+ \((\d+) points?[,)]", text, re.MULTILINE)
    assert sum(map(int, announced)) == (POINTS[set_name] if set_name != "ps0" else 0)


@pytest.mark.parametrize("set_name", course.SETS)
def test_the_common_numbers_are_those_of_the_notebook_and_of_its_hidden_tests(set_name: str) -> None:
    names: dict[str, object] = {}
    cells = {cell.id: cell for cell in course.read_source(set_name).cells}
    exec(cells["setup"].source, names)
    (parameters,) = (c for c in cells.values() if "parameters" in c.metadata.get("tags", ()))
    exec(parameters.source, names)
    common = variant.common(set_name)
    assert names["_given"] == common == {key: names[key] for key in common}
    assert set(common) == set(variant.parameters("s001", set_name))
    assert common[variant.WORDS[set_name][0]] == variant.WORDS[set_name][1][0]


@pytest.mark.parametrize("set_name", THEORY_SETS)
def test_solutions_pass_all_tests_and_the_empty_release_none(root: Path, set_name: str) -> None:
    assert play(course.read_source(set_name), variant.common(set_name)) == set()
    worth = {test for test, points in samples.points_by_test(set_name).items() if points}
    assert play(with_tests(course.released(root, set_name), set_name), variant.common(set_name)) >= worth


# --- No leak ---


def secrets() -> set[str]:
    """Every line of a solution, a hidden test or a model answer that stands nowhere in the public part of its set."""
    lines: set[str] = set()
    for set_name in course.SETS:
        public, own = [], []
        for cell in course.read_source(set_name).cells:
            whole = course.is_answer(cell) and cell.cell_type == "markdown"
            own += [cell.source] if whole else REGION.findall(cell.source)
            public.append("" if whole else REGION.sub("", cell.source))
        shown = "\n".join(public)
        lines |= {line.strip() for line in "\n".join(own).splitlines() if line.strip() and line.strip() not in shown}
    return {line for line in lines if len(line) > 6}


def leaks(folder: Path) -> set[str]:
    """Secrets found in any file of a folder, as text or inside JSON strings."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            raw = path.read_text(encoding="utf-8", errors="replace")
            text = raw + raw.replace('\\"', '"').replace("\\\\", "\\")
            found |= {secret for secret in secrets() if secret in text}
    return found


def test_nothing_secret_is_in_the_release(root: Path) -> None:
    assert len(secrets()) > 200
    assert leaks(root / "release") == set()
    for word in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "_given", "AFLI_VARIANT", "jupytext"):
        assert not any(word in path.read_text() for path in (root / "release").rglob("*.ipynb")), word


def test_the_leak_test_sees_one_line_of_a_solution_and_one_of_a_hidden_test(root: Path, tmp_path: Path) -> None:
    notebook = course.released(root, "ps1")
    notebook.cells[3].source += "\n# density = math.exp(-(l**2) / 2) / math.sqrt(2 * math.pi)"
    notebook.cells[3].source += '\nassert own.slope > 0, "own must increase at zero"'
    course.write(notebook, tmp_path / "ps1.ipynb")
    assert len(leaks(tmp_path)) == 2


def test_the_release_holds_one_notebook_a_set_even_if_a_paired_text_file_lies_beside_the_source(root: Path) -> None:
    for name in ("ps1.md", "answers.py", "notes.txt"):
        (root / "source/ps1" / name).write_text((course.HERE / "source/ps1/ps1.md").read_text())
    assert course.nbgrader(root).generate_assignment("ps1")["success"]
    assert str(root) in (root / "nbgrader_config.py").read_text()
    files = {path.relative_to(root / "release").as_posix() for path in (root / "release").rglob("*") if path.is_file()}
    assert files == {f"{name}/{name}.ipynb" for name in course.SETS}


@pytest.mark.parametrize("set_name", course.SETS)
def test_students_get_plain_notebooks_that_import_nothing_but_afli_and_what_it_needs(root: Path, set_name: str) -> None:
    notebook = course.released(root, set_name)
    nbformat.validate(notebook)
    imported = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            imported |= set(re.findall(r"^ *(?:import|from) (\w+)", cell.source, re.MULTILINE))
    assert imported <= {"afli", "math", "numpy", "pandas", "scipy", "torch"}


# --- A copy for each student ---


def test_the_numbers_follow_from_the_identifier_alone_on_any_day_and_machine() -> None:
    code = "import variant; print(variant.parameters('s001', 'ps2', 'afli'))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(course.HERE), "AFLI_COURSE": "other"}
        printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert ast.literal_eval(printed) == variant.parameters("s001", "ps2", "afli")


@pytest.mark.parametrize("set_name", course.SETS)
def test_in_a_class_of_a_hundred_no_two_students_have_the_same_numbers(set_name: str) -> None:
    numbers = [variant.parameters(student, set_name) for student in CLASS]
    assert len({(p["sigma_b2"], p["a"]) for p in numbers}) == len(CLASS)
    for p in numbers:
        assert 0.05 <= p["sigma_b2"] <= 0.2
        assert 1.5 <= p["a"] <= 3
        assert 20 <= p["depth"] <= 80
    assert {p["depth"] for p in numbers} == {50} if set_name == "ps3" else len({p["depth"] for p in numbers}) > 30


def test_the_name_of_the_course_changes_all_numbers() -> None:
    assert all(variant.parameters(s, "ps1", "2026") != variant.parameters(s, "ps1", "2027") for s in CLASS)


@pytest.mark.parametrize("student", ["", "../s1", "a b", ".hidden", "s1/ps1", "s1\n", "@home"])
def test_an_identifier_that_is_no_folder_name_is_refused(student: str) -> None:
    with pytest.raises(ValueError, match="student must consist of"):
        variant.parameters(student, "ps1")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("set_name", THEORY_SETS)
@pytest.mark.parametrize("students", [CLASS[:5], pytest.param(CLASS, marks=pytest.mark.slow)], ids=["five", "hundred"])
def test_every_copy_is_solvable(root: Path, set_name: str, students: list[str]) -> None:
    failed = {s: play(solved_copy(root, s, set_name), variant.parameters(s, set_name)) for s in students}
    assert {student for student, cells in failed.items() if cells} == set()


@pytest.mark.parametrize("set_name", THEORY_SETS)
def test_one_students_copy_fails_with_anothers_numbers(root: Path, set_name: str) -> None:
    worth = samples.points_by_test(set_name)
    for one, other in itertools.pairwise(CLASS[:6]):
        failed = play(solved_copy(root, one, set_name), variant.parameters(other, set_name))
        assert sum(worth[cell] for cell in failed) >= 0.35 * POINTS[set_name]


def test_a_copy_says_whose_it_is_and_a_contradiction_is_told(root: Path, tmp_path: Path) -> None:
    def copy(student: str, name: str = "afli") -> NotebookNode:
        return variant.personal_copy(course.released(root, "ps1"), student, "ps1", name)

    own, plain = variant.parameters("ben", "ps1", "afli"), course.released(root, "ps1")
    assert variant.decided(tmp_path, "ben", "ps1", plain) == (variant.common("ps1"), "")
    assert variant.decided(tmp_path, "ben", "ps1", copy("ben")) == (own, "")
    assert variant.decided(tmp_path, "ben", "ps1", copy("anna")) == (own, "this is the copy of anna")
    assert variant.decided(tmp_path, "ben", "ps1", copy("ben", "other"))[1].startswith("the copy has other numbers")
    untagged = copy("ben")
    for cell in untagged.cells:
        cell.metadata.pop("tags", None)
    assert variant.decided(tmp_path, "ben", "ps1", untagged) == (own, "")
    (tmp_path / "copies.json").write_text('{"ps1": "other"}')
    assert variant.decided(tmp_path, "ben", "ps1", copy("ben", "other")) == (
        variant.parameters("ben", "ps1", "other"),
        "",
    )
    assert variant.decided(tmp_path, "ben", "ps1", plain)[1].startswith("the common notebook")
    assert variant.decided(tmp_path, "ben", "ps1", None)[1] == ""
    assert variant.decided(tmp_path, "ben", "ps0", course.released(root, "ps0")) == (variant.common("ps0"), "")


@pytest.mark.parametrize("set_name", THEORY_SETS)
def test_a_solution_pasted_from_the_source_earns_the_code_but_not_the_question_of_a_copy(
    root: Path, set_name: str
) -> None:
    word, (_, *others) = variant.WORDS[set_name]
    student = next(s for s in CLASS if variant.parameters(s, set_name)[word] in others)
    pasted = samples.solved(course.released(root, set_name), set_name)
    answers = {course.grade_id(c): c.source for c in pasted.cells if course.is_answer(c)}
    copy = with_tests(variant.personal_copy(course.released(root, set_name), student, set_name), set_name)
    for cell in copy.cells:
        cell.source = answers.get(course.grade_id(cell), cell.source)
    failed = play(copy, variant.parameters(student, set_name))
    lost = sum(samples.points_by_test(set_name).get(cell, 0) for cell in failed)
    assert 0 < lost <= 0.2 * POINTS[set_name]


def test_the_command_writes_a_copy_and_refuses_an_unknown_student(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(course.HERE / "variant.py"), "--set", "ps1", "--root", str(root)]
    subprocess.run([*command, "--student", "s042"], check=True, capture_output=True)
    with zipfile.ZipFile(root / "copies/ps1/s042.zip") as archive:
        assert archive.namelist() == ["ps1/ps1.ipynb"]
    assert variant.remembered(root) == {"ps1": "afli"}
    (root / "copies.json").unlink()
    copy = nbformat.read(root / "copies/s042/ps1/ps1.ipynb", as_version=4)
    (cell,) = (c for c in copy.cells if "injected-parameters" in c.metadata.get("tags", ()))
    names: dict[str, object] = {}
    exec(cell.source, names)
    expected = {"student": "s042"} | variant.parameters("s042", "ps1")
    assert {key: names[key] for key in expected} == expected
    refused = subprocess.run([*command, "--student", "no such/name"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "student must consist of" in refused.stderr


# --- Any file can be brought into form ---


def test_a_submission_that_needs_no_repair_keeps_every_answer_and_every_added_cell(root: Path) -> None:
    release, sent = course.released(root, "ps1"), samples.submission(root, samples.samples("ps1")[0])
    sent.cells.insert(0, nbformat.v4.new_markdown_cell("My name"))
    sent.cells.insert(9, nbformat.v4.new_code_cell("helper = 1"))
    assert [c.source for c in submissions.normalised(sent, release).cells] == [c.source for c in sent.cells]


def test_deleted_cells_come_back_and_edited_tests_are_undone(root: Path) -> None:
    release, sent = course.released(root, "ps1"), course.released(root, "ps1")
    sent.cells = [c for c in sent.cells if course.grade_id(c) not in ("chi1", "chi1-test", "setup")]
    for cell in sent.cells:
        if course.grade_id(cell) == "edge-slope-test":
            cell.source, cell.metadata["nbgrader"]["points"] = "pass", 1000
    result = submissions.normalised(sent, release)
    assert "chi1, chi1-test" in result.cells[0].source
    assert "edge-slope-test, had been changed" in result.cells[0].source
    (mine,) = (c for c in result.cells[1:] if c.source == "pass")  # runs, before the test, and no mark hangs on it
    assert mine.metadata == {}
    result.cells = [c for c in result.cells[1:] if c is not mine]
    assert [c.source for c in result.cells] == [c.source for c in release.cells]
    assert [c.metadata for c in result.cells] == [c.metadata for c in release.cells]


def repaired(root: Path, change: Callable[[NotebookNode], object], set_name: str = "ps0") -> tuple[NotebookNode, str]:
    """The repaired form of a full solution that was changed, through a file, and the grader's note."""
    sent = samples.submission(root, samples.samples(set_name)[0])
    change(sent)
    path = root / "changed.ipynb"
    path.write_text(json.dumps(sent), encoding="utf-8")
    read = submissions.read_submission(path)
    result = submissions.normalised(read.notebook, course.released(root, set_name), read.reason, read.repairs)
    nbformat.validate(result)
    note = result.cells[0].source if result.cells[0].id == "grader-note" else ""
    return result, note


def at(notebook: NotebookNode, name: str) -> int:
    return next(i for i, cell in enumerate(notebook.cells) if course.grade_id(cell) == name)


def split(first: str, second: str, name: str = "q3", further: int = 0) -> Callable[[NotebookNode], None]:
    """Both halves of a cell that an editor splits keep its metadata; further: cells between them."""

    def change(notebook: NotebookNode) -> None:
        place = at(notebook, name)
        half = nbformat.from_dict({**notebook.cells[place], "id": "half", "source": second})
        notebook.cells[place].source = first
        notebook.cells.insert(place + 1 + further, half)

    return change


def typed(name: str, replaced: str, by: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        cell = notebook.cells[at(notebook, name)]
        assert replaced in cell.source
        cell.source = cell.source.replace(replaced, by)

    return change


def nameless(notebook: NotebookNode) -> None:
    for position, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.from_dict({}), f"new-{position}"


def in_the_test(notebook: NotebookNode) -> None:
    """The answer stands in the locked cell below."""
    answer, test = at(notebook, "q5"), at(notebook, "q5-test")
    notebook.cells[test].source = notebook.cells[answer].source
    notebook.cells[answer].source = "# YOUR CODE HERE\nraise NotImplementedError()"


def imports_more(notebook: NotebookNode) -> None:
    (place,) = (i for i, cell in enumerate(notebook.cells) if cell.source.startswith("import math"))
    notebook.cells[place].source += "\nimport cmath"
    typed("q7", "math.exp", "cmath.exp")(notebook)


def as_text(notebook: NotebookNode) -> None:
    for name, kind in {"q2": "markdown", "q5": "raw"}.items():
        cell = notebook.cells[at(notebook, name)]
        notebook.cells[at(notebook, name)] = nbformat.from_dict(
            {"cell_type": kind, "id": cell.id, "metadata": cell.metadata, "source": cell.source}
        )


def oldest(notebook: NotebookNode) -> None:
    """What nbformat 3 was: worksheets, and `input` for the source of a code cell."""
    cells = [dict(cell) for cell in notebook.pop("cells")]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell |= {"input": cell.pop("source"), "language": "python", "prompt_number": 1, "collapsed": False}
    notebook.update(nbformat=3, nbformat_minor=0, metadata={"name": ""}, worksheets=[{"cells": cells, "metadata": {}}])


WHOLE = "p_inside = special.erf(a / math.sqrt(2))"
EDITORS = {  # what happens to a right notebook, and what the note must say
    "split in two": (split("inside = special.erf(a / math.sqrt(2))", "p_inside = inside"), "stood in 2 cells"),
    "split with an empty rest": (split(WHOLE, ""), "stood in 2 cells"),
    "split and tried": (split("def fourth_moment(q):\n    return 3 * q**2", "fourth_moment(2.0)", "q2"), "2 cells"),
    "split in a function": (split("def fourth_moment(q):\n    p = 3", "    return p * q**2", "q2"), "2 cells"),
    "copied for something else": (split(WHOLE, "a = 5.0\nprint(a)", further=60), ""),
    "tried first, right below": (split("p_inside = 0.5", WHOLE, further=4), "stood in 2 cells"),
    "copied untouched": (split("raise NotImplementedError()", WHOLE, further=4), "stood in 2 cells"),
    "without names and ids": (nameless, "found by their places"),
    "answer in the locked cell": (in_the_test, "it was put back, behind what you wrote"),
    "one import more": (imports_more, ""),
    "code turned to text": (as_text, ""),
    "no-break spaces": (typed("q3", " = ", "\u00a0=\u00a0"), "Invisible or typographic characters"),
    "a zero-width space": (typed("q3", "p_inside", "\u200bp_inside"), "Invisible or typographic characters"),
    "a minus from a word processor": (typed("q8", "-2", "\u22122"), "Invisible or typographic characters"),
    "a lone surrogate": (typed("q3", WHOLE, WHOLE + "  # \ud83d"), "a character that UTF-8 does not have"),
    "carriage returns": (typed("q2", "\n", "\r\n"), ""),
    "wide digits and signs": (typed("q2", "3 *", "\uff13\u3000\uff0a"), "Invisible or typographic characters"),
    "no metadata": (lambda notebook: notebook.update(metadata=None, nbformat="4", nbformat_minor=None), ""),
    "tags of another kind": (lambda notebook: [c.metadata.update(tags=None) for c in notebook.cells], ""),
    "text without a source": (lambda notebook: notebook.cells[0].pop("source"), ""),
    "one id for all": (lambda notebook: [c.update(id="same") for c in notebook.cells], ""),
    "the oldest format": (oldest, ""),
}


@pytest.mark.parametrize("name", EDITORS)
def test_what_editors_do_to_a_notebook_costs_no_right_answer(root: Path, name: str) -> None:
    change, words = EDITORS[name]
    result, note = repaired(root, change)
    assert words.lower() in note.lower()
    result = with_tests(result, "ps0")
    assert play(result, variant.common("ps0")) & set(samples.points_by_test("ps0")) == set()


def test_what_shares_a_built_in_name_does_not_reach_the_tests() -> None:
    names: dict[str, Any] = {}
    shell = types.SimpleNamespace(user_module=types.ModuleType("__main__"), user_ns=names)
    exec(guard.PREPARE_KERNEL, {"get_ipython": lambda: shell})
    room = sys.modules.pop("afli_grader")
    exec("float, max = 1.0, 2.0\ndef f():\n    return max", names)
    room.enter()
    exec("assert float('3') == 3 and f() == 2.0\nmine = 1", shell.user_ns)
    room.leave()
    assert shell.user_ns is names
    assert "mine" not in names
    before = np.allclose
    try:
        np.allclose = print
        room.enter()
        room.leave()
        assert np.allclose is before
    finally:
        np.allclose = before
    assert (names["float"], names["max"]) == (1.0, 2.0)


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def test_pasted_pictures_are_kept_and_missing_ones_become_words(root: Path) -> None:
    def paste(notebook: NotebookNode) -> None:
        text = "![a b](attachment:a%20b.png) ![c](attachment:c.png) <img src='attachment:d.svg'>"
        cell = nbformat.v4.new_markdown_cell(text)
        cell.attachments = {"a b.png": {"image/png": PIXEL}, "d.svg": {"image/svg+xml": "<svg onload='x()'/>"}}
        notebook.cells.insert(1, cell)

    result, note = repaired(root, paste)
    (cell,) = (c for c in result.cells if c.get("attachments"))
    assert (
        cell.source == "![a b](attachment:picture-1.png) ![c](missing-picture:c.png) <img src='missing-picture:d.svg'>"
    )
    assert cell.attachments == {"picture-1.png": {"image/png": PIXEL}}
    assert "The picture c.png is not in the file" in note


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_page_with_a_pasted_picture_gets_its_mark_its_feedback_and_a_page_of_formgrader(root: Path) -> None:
    full = samples.submission(root, samples.samples("ps0")[0])
    for position, held in enumerate([{"p.png": {"image/png": PIXEL}}, {}]):
        cell = nbformat.v4.new_markdown_cell("![p](attachment:p.png)")
        cell.attachments = held
        full.cells.insert(position, cell)
    full.cells.insert(
        5, nbformat.v4.new_code_cell("from IPython.display import Markdown\nMarkdown('![p](attachment:y)')")
    )
    path = course.write(full, root / "pictures/ada/ps0/ps0.ipynb")
    mark = grading.grade_one(root, collecting.Submission("ada", "ps0", path))
    assert (mark.points, mark.trouble) == (10, "")
    assert PIXEL in (root / "feedback/ada/ps0/ps0.html").read_text(encoding="utf-8")
    from nbconvert import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers

    config = course.nbgrader(root).config
    config.HTMLExporter.template_name, config.HTMLExporter.extra_template_basedirs = (
        "formgrade",
        [handlers.template_path],
    )
    page = {"base_url": "", "notebook_id": "ps0", "submission_id": "1", "index": 0, "total": 1, "mathjax_url": ""}
    shown, _ = HTMLExporter(config=config).from_filename(str(root / "autograded/ada/ps0/ps0.ipynb"), resources=page)
    assert PIXEL in shown


@pytest.mark.parametrize(("content", "says"), [
    (lambda text: b"\xef\xbb\xbf" + text.encode(), "byte-order mark"),
    (lambda text: text.encode("utf-16"), "UTF-16"),
    (lambda text: text.encode("utf-16-be"), "UTF-16-BE"),
    (lambda text: text.replace("Hardly", "").encode().replace(b"# Warm-up", b"# Warm-\xfcp"), "LATIN-1"),
])  # fmt: skip
def test_other_encodings_are_read_and_said(root: Path, content: Callable[[str], bytes], says: str) -> None:
    full = samples.submission(root, samples.samples("ps0")[0])
    path = root / "encoded.ipynb"
    path.write_bytes(content(nbformat.writes(full)))
    read = submissions.read_submission(path)
    assert read.notebook is not None
    assert says in " ".join(read.repairs)
    assert [c.source for c in read.notebook.cells][3:] == [c.source for c in full.cells][3:]


def test_notebooks_are_found_under_the_names_that_browsers_and_platforms_give_them(root: Path, tmp_path: Path) -> None:
    text = nbformat.writes(samples.submission(root, samples.samples("ps0")[0]))
    names = {
        "renamed/ps0/ps0 (1).ipynb": "ps0 (1).ipynb, where ps0/ps0.ipynb was expected",
        "deep/ps0/ps0/ps0.ipynb": "where ps0/ps0.ipynb was expected",
        "flat/ps0.ipynb": "where ps0/ps0.ipynb was expected",
        "s1@uni.example/ps0/ps0.ipynb": "",
        "Jane Doe_123456_assignsubmission_file_/ps0.ipynb": "was expected",
        "text/ps0/ps0.ipynb.txt": "was expected",
        "other/PS0/my work.ipynb": "was expected",
        "several/ps0/ps0 (2).ipynb": "was graded, and not",
        "several/ps0/ps0 (10).ipynb": "was graded, and not",
    }
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "zipped/ps0").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zipped/ps0/ps0.zip", "w") as archive:
        archive.writestr("work/ps0.ipynb", text)
        archive.writestr("__MACOSX/work/._ps0.ipynb", "x")
    found, passed = collecting.find(tmp_path)
    assert passed == {}
    by_student = {submission.student: submission for submission in found}
    assert set(by_student) == {n.split("/")[0] for n in names} - {"Jane Doe_123456_assignsubmission_file_"} | {
        "Jane_Doe", "zipped"
    }  # fmt: skip
    assert by_student["several"].path.name == "ps0 (10).ipynb"
    for name, words in names.items():
        student = collecting.identifier(name.split("/")[0])
        assert words in " ".join(by_student[student].repairs)
    for submission in found:
        assert submission.set_name == "ps0"
        assert submissions.read_submission(submission.path).notebook is not None


def test_of_copies_of_one_cell_the_last_counts(root: Path) -> None:
    sent = course.released(root, "ps1")
    answer = next(c for c in sent.cells if course.grade_id(c) == "chi1")
    sent.cells.append(nbformat.from_dict({**answer, "source": "second try"}))
    result = submissions.normalised(sent, course.released(root, "ps1"))
    (counted,) = (cell for cell in result.cells if course.grade_id(cell) == "chi1")
    assert counted.source == "second try"


def test_answers_are_found_by_the_cells_id_where_a_platform_drops_metadata(root: Path) -> None:
    sent = samples.submission(root, samples.samples("ps1")[0])
    wanted = [c.source for c in sent.cells]
    for cell in sent.cells:
        cell.metadata = nbformat.from_dict({})
    assert [c.source for c in submissions.normalised(sent, course.released(root, "ps1")).cells] == wanted


@pytest.mark.parametrize(("content", "says"), [
    (b"", "it is empty"), (b"%PDF-1.7", "of another kind"), (b"<!DOCTYPE html><p>Sign in</p>", "web page"),
    (b'{\n "cells": [', "cut off at line 2 of 2"), (b'{\n<<<<<<< HEAD\n "cells": []}', "merge conflict"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_gets_its_reason(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "ps0.ipynb").write_bytes(content)
    assert says in submissions.read_submission(tmp_path / "ps0.ipynb").reason


def test_another_sets_notebook_gets_an_explanation(root: Path) -> None:
    result = submissions.normalised(course.released(root, "ps2"), course.released(root, "ps1"))
    assert "setup" in [course.grade_id(c) for c in result.cells]
    assert "Note from the grader" in result.cells[0].source


KEYS = ["cells", "metadata", "nbformat", "nbformat_minor", "source", "cell_type", "outputs"]


@settings(max_examples=60, deadline=None)
@given(content=st.one_of(st.binary(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_no_content_of_a_file_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("sent") / "ps1.ipynb"
    path.write_bytes(content)
    sent = submissions.read_submission(path)
    skeleton = course.read_source("ps1")
    result = submissions.normalised(sent.notebook, skeleton, sent.reason, sent.repairs)
    assert (sent.notebook is None) == bool(sent.reason)
    assert [c.source for c in result.cells[-len(skeleton.cells) :]] == [c.source for c in skeleton.cells]


# --- Marks ---


@pytest.mark.parametrize("set_name", course.SETS)
def test_there_are_eight_typical_wrong_answers_a_set_that_lose_some_points(set_name: str) -> None:
    made = samples.samples(set_name)
    assert [sample.expected for sample in made[:2]] == [POINTS[set_name], 0]
    assert len(made) >= 2 + 8
    assert all(0 < sample.expected < POINTS[set_name] and sample.feedback for sample in made[2:])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("set_name", [*THEORY_SETS, pytest.param("ps3", marks=pytest.mark.slow)])
def test_each_typical_mistake_fails_the_tests_that_it_should_and_no_other(root: Path, set_name: str) -> None:
    for sample in samples.samples(set_name)[2:]:
        notebook = with_tests(samples.submission(root, sample), set_name)
        assert play(notebook, variant.common(set_name)) & set(samples.points_by_test(set_name)) == set(sample.loses), (
            sample.name
        )


def one(function: str, slope: str, kinks: str = "()") -> str:
    return f"own = act.from_callable(lambda z: {function}, lambda z: {slope}, kinks={kinks})"


EXPONENTIAL = "own = act.from_callable(lambda z: (np.exp(z) - 1) / (np.exp(z) + 1))"
FSOLVE = """
def residual(q):
    q = q[0]
    return second_moment(q) / special.erf(a / math.sqrt(2 * q)) + sigma_b2 - q


q_edge = optimize.fsolve(residual, [1.0], xtol=1e-13)
sigma_w2_edge = 1 / special.erf(a / np.sqrt(2 * q_edge))
"""
WITH_MF = "from afli import meanfield as mf\nphi = act.shtanh(a=a)\n"
CLIP = "phi = act.from_callable(lambda z: np.clip(z, -1, 1), lambda z: 1.0 * (abs(z) < 1), kinks=(-1.0, 1.0))\n"
BY_HAND = """
def train(learning_rate, trial, epochs=EPOCHS):
    generator, sizes, layers = torch.Generator().manual_seed(trial), [64, *[WIDTH] * depth, 10], []
    for n_in, n_out in zip(sizes, sizes[1:]):
        layer = nn.Linear(n_in, n_out)
        with torch.no_grad():
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(net.sigma_w2), generator=generator)
            layer.bias.normal_(0, math.sqrt(sigma_b2), generator=generator)
        layers += [layer, nn.Hardtanh(-a, a)]
    model = nn.Sequential(*layers[:-1])
    rows = torch.utils.data.TensorDataset(scaled(x_fit), y_fit)
    batches = torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True, generator=generator)
    for _ in range(epochs):
        for x, y in batches:
            model.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= learning_rate * p.grad
    return model
"""

# Set, answer cell, what stands there (or what in the solution is replaced by what), and which of its tests must
# fail: none if none is named.
ANSWERS = {
    "bounded, but far out": ("ps1", "own-activation", one("100 * np.arctan(z / 100)", "1 / (1 + (z / 100) ** 2)"), ""),
    "a formula that overflows far out": (
        "ps1", "own-activation", "own = act.from_callable(lambda z: np.sinh(z) / (np.cosh(z) + 3))", "",
    ),
    "an equal form of a multiple of tanh": ("ps1", "own-activation", EXPONENTIAL, "own-activation-test"),
    "an equal form of tanh": (
        "ps1", "own-activation", EXPONENTIAL.replace("exp(z)", "exp(2 * z)"), "own-activation-test",
    ),
    **{
        f"the library's {name}, renamed": (
            "ps1", "own-activation", f"p = act.{name}\nown = act.from_callable(p.function)", "own-activation-test",
        )
        for name in ("sexp(a=2.0)", "ssaw(a=1.0)", "scaled(act.tanh(), 2.0)", "shtanh(a=1.5, k=2.0)")
    },
    "from fsolve": ("ps1", "edge", FSOLVE, ""),
    "complex, but real": (
        "ps2", "tangent",
        "def tangent(y):\n    d = np.sqrt(special.lambertw(2 / np.pi / y**2))\n    return d, y * (d**2 + 2)", "",
    ),
    "a list of arrays": ("ps2", "radius-printed", ("radius_printed = ", "radius_printed = np.array([1.0]) * "), ""),
    "tensors with gradients": (
        "ps3", "layer-variances", ("float(x.square().mean())", "x.square().mean()"), "",
    ),
    "tensors outside no_grad": (
        "ps3", "layer-variances",
        "def layer_variances(model, x):\n    out = []\n    for m in model:\n        x = m(x)\n"
        "        if isinstance(m, nn.Linear):\n            out.append((x**2).mean())\n    return out", "",
    ),
    "arcsinh": ("ps1", "own-activation", one("np.arcsinh(z)", "1 / np.sqrt(1 + z**2)"), "own-activation-test"),
    "logarithm": (
        "ps1", "own-activation", one("np.sign(z) * np.log1p(abs(z))", "1 / (1 + abs(z))"), "own-activation-test",
    ),
    "a power": (
        "ps1", "own-activation", one("z / (1 + abs(z)) ** 0.9", "(1 + 0.1 * abs(z)) / (1 + abs(z)) ** 1.9"),
        "own-activation-test",
    ),
    **{f"the library's {name}": ("ps1", "own-activation", f"own = act.{name}", "own-activation-test")
       for name in ("shtanh(a=1.7)", "ssine(a=1.0)", "ssaw(a=1.0)")},
    "quadrature": (
        "ps1", "second-moment",
        "def second_moment(q):\n    return gaussian.expectation(lambda z: np.clip(z, -a, a) ** 2, q, kinks=(-a, a))",
        "",
    ),
    "A2 from afli": (
        "ps1", "variance-map", WITH_MF
        + "def V(q, s):\n    return mf.variance_map(phi, q, sigma_w2=s, sigma_b2=sigma_b2)", "variance-map-test",
    ),
    "A3 from afli": (
        "ps1", "chi1", WITH_MF + "def chi1(q, s):\n    return mf.chi1(phi, q, sigma_w2=s)", "chi1-test",
    ),
    "A4 from afli": (
        "ps1", "fixed-point",
        WITH_MF + "def q_star(s):\n    return mf.MeanField(phi, sigma_w2=s, sigma_b2=sigma_b2).q",
        "fixed-point-own-test fixed-point-test",
    ),
    "the method": ("ps2", "gap", "gap = net.correlation_gap", "gap-test"),
    "the other method": ("ps2", "gap", "def gap(rho):\n    return net.correlation_map(rho) - rho", "gap-test"),
    "an optimiser": (
        "ps2", "largest-gap",
        'best = optimize.minimize_scalar(lambda r: -abs(gap(r)), bounds=(0, 1), method="bounded")\n'
        "largest_gap, rho_of_largest = -best.fun, best.x", "",
    ),
    "half the gap": ("ps2", "largest-gap", "largest_gap, rho_of_largest = gap(0.5), 0.5", "largest-gap-test"),
    "tangent from afli": ("ps2", "tangent", "tangent = bounds.tangent_point", "tangent-test"),
    "bounds from afli": ("ps2", "ratio-bounds", "ratio_bounds = bounds.linear_ratio", "ratio-bounds-test"),
    "a radius of one's own": ("ps2", "counterexample", f"{CLIP}counterexample = (phi, 0.001, 1.0)", ""),
    "a radius too large": ("ps2", "counterexample", f"{CLIP}counterexample = (phi, 0.1, 9.0)", "counterexample-test"),
    "no radius": ("ps2", "counterexample", f"{CLIP}counterexample = (phi, 0.001)", ""),  # it is found
    "a loop over the model": ("ps3", "initialise", ("model.modules()", "model"), ""),
    "children": ("ps3", "initialise", ("model.modules()", "model.children()"), ""),
    "uniform biases": (
        "ps3", "initialise",
        ("bias.normal_(0, math.sqrt(sigma_b2),", "bias.uniform_(-((3 * sigma_b2) ** 0.5), (3 * sigma_b2) ** 0.5,"),
        "initialise-biases-test",
    ),
    "biases of mean 3": ("ps3", "initialise", ("bias.normal_(0", "bias.normal_(3"), "initialise-biases-test"),
    "by hand": ("ps3", "train", BY_HAND, ""),
    "Adam": ("ps3", "train", ("optim.SGD", "optim.Adam"), "train-rules-test"),
    "momentum": ("ps3", "train", ("lr=learning_rate", "lr=learning_rate, momentum=0.9"), "train-rules-test"),
    "on validation data": (
        "ps3", "train", ("model(x[rows]), y_fit[rows]", "model(scaled(x_val)[:len(rows)]), y_val[:len(rows)]"),
        "train-rules-test train-learns-test",
    ),
    "a peek at the labels": (
        "ps3", "train", ("return model", "model[-1].bias.detach()[y_val[0]] += 1e-5 * epochs\n    return model"),
        "train-rules-test",
    ),
    "no biases": (
        "ps3", "train",
        ("x = scaled", "for p in list(model.parameters())[1::2]:\n        p.detach().zero_()\n    x = scaled"),
        "train-start-test",
    ),
    "Gaussian weights": (
        "ps3", "train", ("sigma_b2=sigma_b2, g", "weights='gaussian', sigma_b2=sigma_b2, g"), "train-start-test",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("set_name", "cell", "answer", "fails"),
    [
        pytest.param(*entry, marks=[pytest.mark.slow] * (entry[1] == "train"), id=name)
        for name, entry in ANSWERS.items()
    ],
)
def test_answers_are_judged_by_what_they_do(
    root: Path, set_name: str, cell: str, answer: str | tuple[str, str], fails: str
) -> None:
    notebook = with_tests(samples.solved(course.released(root, set_name), set_name), set_name)
    (place,) = (c for c in notebook.cells if course.grade_id(c) == cell)
    assert isinstance(answer, str) or answer[0] in place.source
    place.source = answer if isinstance(answer, str) else place.source.replace(*answer)
    tests = {name for name in samples.points_by_test(set_name) if re.fullmatch(rf"{cell}-(\w+-)?test", name)}
    others = set(samples.points_by_test(set_name)) - tests - {"setup"}
    cells = [c for c in notebook.cells if course.grade_id(c) not in others]
    last = max(i for i, c in enumerate(cells) if course.grade_id(c) in tests)
    notebook.cells = cells[: last + 1]
    failed = play(notebook, variant.common(set_name))
    assert failed >= set(fails.split())
    assert bool(failed) == bool(fails), failed


@pytest.mark.parametrize("set_name", course.SETS)
def test_every_name_that_an_answer_must_define_is_said_before_it(set_name: str) -> None:
    text = ""
    for cell in course.read_source(set_name).cells:
        text = cell.source if cell.cell_type == "markdown" else text
        if cell.cell_type == "code" and course.is_answer(cell):
            tested = " ".join(c.source for c in course.read_source(set_name).cells if "BEGIN HIDDEN" in c.source)
            targets = (node.targets[0] for node in ast.parse(cell.source).body if isinstance(node, ast.Assign))
            names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            said = text + REGION.sub("", cell.source)
            assert [n for n in names if re.search(rf"\b{n}\b", tested) and not re.search(rf"\b{n}\b", said)] == []


@pytest.mark.slow
def test_the_model_conclusions_give_the_numbers_that_its_tables_give() -> None:
    names: dict[str, Any] = {}
    notebook = course.read_source("ps3")
    page = notebook.cells[-1].source
    notebook.cells = [c for c in notebook.cells if not course.grade_id(c).endswith("-test")]
    assert play(notebook, variant.common("ps3"), names) == set()
    for name, (low, high) in names["intervals"].items():
        row = next(line for line in page.splitlines() if line.lower().startswith(f"| {name} "))
        mean, *interval, rho = map(float, re.findall(r"\d\.\d+", row))
        parameters, sigma_b2 = names["ACTIVATIONS"][name]
        net = names["mf"].edge_of_chaos(names["act"].get(name, **dict(parameters)), sigma_b2=sigma_b2)
        assert rho == round(float(net.correlation_trajectory(0.2, 50)[-1]), 2)
        assert [*interval, mean] == pytest.approx([low, high, (low + high) / 2], abs=0.015)
        assert name == "relu" or f"{sigma_b2 / net.q:.2f}" in page
    assert set(names["best_rate"].values()) == {0.003}
    shtanh, tanh, relu = (names["intervals"][name] for name in ("shtanh", "tanh", "relu"))
    assert shtanh[0] > tanh[1]
    assert tanh[0] > relu[1]
    assert names["accuracies"]("shtanh", [1e3], [0], names["fit"])["accuracy"].tolist() == [0.0]


def feedback_text(root: Path, student: str, set_name: str) -> str:
    """A feedback page without its tags."""
    page = (root / "feedback" / student / set_name / f"{set_name}.html").read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", page[page.index("<body") :]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sample_submissions_get_their_marks_and_feedback_that_helps(tmp_path: Path) -> None:
    marks = make.run_samples(tmp_path, jobs=2)
    assert {sample.set_name for sample in marks} == set(course.SETS)
    for sample, mark in marks.items():
        where = f"{sample.set_name}, {sample.name}"
        assert (mark.points, mark.of, mark.waiting) == (sample.expected, POINTS[sample.set_name], 0), where
        worth = samples.points_by_test(sample.set_name)
        got = grading.points_by_cell(tmp_path, sample.name, sample.set_name)
        lost = set(worth) if sample.name == samples.EMPTY else set(sample.loses)
        assert got == {cell: 0 if cell in lost else points for cell, points in worth.items()}, where
        text = feedback_text(tmp_path, sample.name, sample.set_name)
        assert all(words in text for words in sample.feedback), where
    rows = roster.read_table(tmp_path / "grades.csv")[1]
    written = {(row["assignment"], row["student_id"]): float(row["score"]) for row in rows}
    assert all(written[sample.set_name, sample.name] == sample.expected for sample in marks)


def test_students_are_registered_once_however_often_it_is_asked(root: Path) -> None:
    for students in (["ada", "emmy"], ["emmy", "sofia"]):
        grading.register(root, students)
    with course.nbgrader(root).gradebook as gradebook:
        assert {"ada", "emmy", "sofia"} <= {student.id for student in gradebook.students}


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_failure_of_the_grader_costs_a_student_nothing_unless_it_comes_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """The real grader with a database that is locked the first times; what it was given to grade is kept."""
    given: list[NotebookNode] = []

    class Unlucky:
        def autograde(self, set_name: str, student: str) -> dict[str, object]:
            path = root / "submitted" / student / set_name / f"{set_name}.ipynb"
            given.append(nbformat.read(path, as_version=4))
            return {"success": len(given) > failures, "error": "OperationalError: database is locked"}

    monkeypatch.setattr(grading, "nbgrader", lambda root, **limits: Unlucky())
    monkeypatch.setattr(grading, "write_feedback", lambda *arguments: None)
    monkeypatch.setattr(grading, "read_mark", lambda root, student, name, trouble: trouble)
    full = samples.samples("ps0")[0]
    path = course.write(samples.submission(root, full), root / "unlucky" / "ps0.ipynb")
    trouble = grading.grade_one(root, collecting.Submission("unlucky", "ps0", path))
    assert len(given) == failures + 1
    answers = {course.grade_id(cell): cell.source for cell in given[-1].cells}
    assert ("raise NotImplementedError" in answers["q2"]) == (failures == 2)
    assert ("database is locked" in str(trouble)) == (failures == 2)


# --- Hostile submissions ---

LATER = "import os\nget_ipython().events.register('pre_run_cell', lambda info: os._exit(1))"  # at the next cell
TIMER = "import os, threading, time\nthreading.Timer(1, lambda: os._exit(1)).start()\ntime.sleep(0.9)"  # soon after
HOARD = "hoard = []\n{0}while True: hoard.append(np.ones(10**7))"
REWRITES = """
import ast
class Zeros(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.copy_location(ast.Constant(0.0), node) if isinstance(node.value, float) else node
get_ipython().ast_transformers.append(Zeros())
def fourth_moment(q):
    return q
"""
FORKS = "import os\nwhile True:\n    os.fork()"
ENDLESS = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
HOSTILE = {  # answers that replace the solution's, the points out of ten, and what the feedback must say
    "honest": ({}, 10, ""),
    "raises": ({"q2": "raise ValueError('boom')"}, 9, "boom"),
    "does-not-parse": ({"q2": "def fourth_moment(q:"}, 9, "SyntaxError"),
    "loops": ({"q3": "while True:\n    pass"}, 9, "ran longer than 12 s"),
    "loops-when-called": ({"q2": "def fourth_moment(q):\n    while True:\n        pass"}, 9, "ran longer than 12 s"),
    "cannot-be-interrupted": ({"q4": ENDLESS}, 9, "could not be interrupted"),
    "kills-the-kernel": ({"q5": "import os\nos._exit(1)"}, 9, "it ended the Python process"),
    "quits": ({"q5": "quit()"}, 9, "they end this cell"),
    "kills-the-kernel-later": ({"q5": LATER}, 9, "after it the Python process ended"),
    "kills-the-kernel-by-a-timer": ({"q5": TIMER}, 9, ""),
    "needs-too-much-memory": ({"q5": "x = np.ones(10**9)"}, 9, "MemoryError"),
    "hoards-memory": ({"q5": HOARD.format("")}, 9, ""),
    "hoards-memory-when-called": (
        {"q9": "def product_moments(q, rho):\n    " + HOARD.format(" " * 4)}, 9, "",
    ),
    "closes-the-output": ({"q5": "import sys\nsys.stdout = open('log.txt', 'w')\nsys.stdout.close()"}, 9, ""),
    "rewrites-the-tests": ({"q2": REWRITES}, 9, "q is a variance"),
    "forks-for-ever": ({"q5": FORKS}, 9, "after it"),
    "kills-five-kernels": ({f"q{i}": "import os\nos._exit(1)" for i in range(6, 11)}, 5, "had to stop too often"),
    "prints-megabytes": ({"q3": "print('spam' * 10**7)\np_inside = special.erf(a / math.sqrt(2))"}, 10, "was dropped"),
    "prints-for-ever": ({"q6": "while True:\n    print('spam' * 1000)"}, 9, "ran longer than 12 s"),
    "warns": ({"q2": "import warnings\ndef fourth_moment(q):\n    warnings.warn('q')\n    return 3 * q**2"}, 10, ""),
    "redefines-the-check": (
        {"q2": "expect_close = print\nnp, _given = None, {}\nfourth_moment = int"}, 9, "q is a variance",
    ),
    "replaces-numpy": (
        {"q2": "np.allclose = lambda *both, **how: True\ndef fourth_moment(q):\n    return 0"}, 9, "q is a variance",
    ),
    "claims-points": ({"q2": "def fourth_moment(q):\n    return 0\n10.0"}, 9, "q is a variance"),
}  # fmt: skip


@pytest.mark.parametrize(("held", "full"), [(80, True), (10, False)])
def test_a_cell_that_holds_on_to_the_memory_it_ran_out_of_is_the_one_that_is_stopped(
    monkeypatch: pytest.MonkeyPatch, held: int, full: bool
) -> None:
    monkeypatch.setattr(guard, "_others", lambda: ["the kernel"])
    monkeypatch.setattr(guard, "_resident", lambda process: held)
    client: Any = types.SimpleNamespace(limits={"memory": 100})
    cell = nbformat.from_dict({"outputs": [{"ename": "MemoryError"}]})
    assert guard.GuardedClient._is_full(client, cell) == full
    assert not guard.GuardedClient._is_full(client, nbformat.from_dict({"outputs": [{"text": "MemoryError"}]}))


def hand_in(root: Path, student: str, notebook: NotebookNode) -> None:
    course.write(notebook, root / "sent" / student / "ps0" / "ps0.ipynb")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_submission_stops_the_class_and_each_loses_only_its_own_part(root: Path) -> None:
    for student, (answers, _, _) in HOSTILE.items():
        hand_in(root, student, samples.submission(root, samples.Sample(student, "ps0", "", answers=answers)))
    full = samples.submission(root, samples.samples("ps0")[0])
    full.cells = [c for c in full.cells if course.grade_id(c) not in ("q8", "q8-test", "q9-test")]
    hand_in(root, "deletes-cells", full)
    for student, content in {"sends-a-pdf": b"%PDF-1.7", "sends-a-list": b"[]", "sends-nothing": b""}.items():
        path = root / "sent" / student / "ps0"
        path.mkdir(parents=True)
        (path / "ps0.ipynb").write_bytes(content)
    (root / "sent/forgets-the-file/ps0").mkdir(parents=True)
    (root / "sent/honest/ps0/numpy.py").write_text("raise RuntimeError('a file beside the notebook')")

    found, _ = collecting.find(root / "sent")
    marks = {mark.student: mark for mark in grading.grade(root, found, timeout=12, patience=6)}
    expected = {student: points for student, (_, points, _) in HOSTILE.items()}
    expected |= {"deletes-cells": 9, "sends-a-pdf": 0, "sends-a-list": 0, "sends-nothing": 0, "forgets-the-file": 0}
    assert {student: mark.points for student, mark in marks.items()} == expected
    for student, (_, _, words) in HOSTILE.items():
        assert words in feedback_text(root, student, "ps0"), student
    for student in ("kills-the-kernel", "kills-the-kernel-later", "kills-the-kernel-by-a-timer"):
        assert [cell for cell, got in grading.points_by_cell(root, student, "ps0").items() if not got] == [
            "setup", "q5-test",
        ], student  # fmt: skip
    assert "put back as they were released: q8, q8-test, q9-test" in feedback_text(root, "deletes-cells", "ps0")
    assert "is not a Jupyter notebook" in feedback_text(root, "sends-a-pdf", "ps0")
    assert "there is no file ps0.ipynb" in feedback_text(root, "forgets-the-file", "ps0")
    sizes = [path.stat().st_size for path in (root / "feedback").rglob("*.html")]
    assert max(sizes) < 2_000_000
    rows = roster.read_table(grading.export(root))[1]
    assert {row["assignment"] for row in rows} == {"ps0"}
    assert {row["student_id"] for row in rows} >= set(expected)


# What an answer tries, given the course's folder as ROOT; it writes REACHED if it gets there.
ATTACKS = {
    "rewrites the gradebook": "import sqlite3\ndb = sqlite3.connect(ROOT + '/gradebook.db')\n"
    "db.execute('update grade set manual_score = 0')\ndb.commit()",
    "reads the solutions": "open(ROOT + '/source/ps0/ps0.ipynb').read()",
    "reads a neighbour": "open(ROOT + '/apart/neighbour/ps0/ps0.ipynb').read()",
    "reads the grader's sources": "import afli\nopen(afli.__path__[0] + '/../classroom/source/setup.py')",
    "reads the grader's memory": "open('/proc/1/mem', 'rb').read(1)",
    "reads the grader's environment": "import os\nos.environ['AFLI_SECRET']",
    "reads the marks": "open(ROOT + '/grades.csv').read()",
    "writes to afli": "import afli\nopen(afli.__file__, 'a')",
    "calls out": "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=2)",
    "ends the guard": "import os, signal\nfor number in (2, 9, 15):\n    os.kill(1, number)\nraise OSError",
    "fills the disk": "import tempfile\nwith tempfile.NamedTemporaryFile() as file:\n    for _ in range(600):\n"
    "        file.write(bytes(10**6))",
}
PICTURE = {"image/png": "aGk=", "text/plain": ""}  # decoded and encoded again: no quote can end the attribute
needs_namespaces = pytest.mark.skipif(bool(isolation.available("namespaces")), reason="no namespaces on this system")


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_namespaces
def test_a_notebook_reaches_nothing_beyond_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFLI_SECRET", "secret")
    full = samples.submission(root, samples.samples("ps0")[0])
    grading.export(root)
    course.write(full, root / "apart/neighbour/ps0/ps0.ipynb")
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name, code in ATTACKS.items():
            code = f"ROOT, PORT = {str(root)!r}, {server.getsockname()[1]}\n{code}\nprint('REACHED', {name!r})"
            full.cells.insert(9, nbformat.v4.new_code_cell(code))
        survivor = "import subprocess\nsubprocess.Popen(['sleep', '4242'], start_new_session=True)"
        full.cells.insert(9, nbformat.v4.new_code_cell(survivor))
        script = "<script>alert(1)</script><img src=x onerror=alert(2)> [link](javascript:alert(3)) $a < b$"
        full.cells.insert(0, nbformat.v4.new_markdown_cell(script))
        full.cells.insert(9, nbformat.v4.new_code_cell(f"from IPython.display import HTML\nHTML({script!r})"))
        course.write(full, root / "apart/attacker/ps0/ps0.ipynb")
        found, _ = collecting.find(root / "apart")
        marks = {mark.student: mark for mark in grading.grade(root, found)}
    assert {student: mark.points for student, mark in marks.items()} == {"attacker": 10, "neighbour": 10}
    page = (root / "feedback/attacker/ps0/ps0.html").read_text(encoding="utf-8")
    text = feedback_text(root, "attacker", "ps0")
    assert [name for name in ATTACKS if f"REACHED {name}" in text] == []
    assert "<script>alert" not in page
    assert "onerror=alert" not in re.sub("&lt;[^<]*", "", page)
    assert 'href="javascript' not in page
    assert not any(process.info["cmdline"] == ["sleep", "4242"] for process in psutil.process_iter(["cmdline"]))


@pytest.mark.parametrize(("output", "shown"), [
    ({"output_type": "display_data", "data": {"text/html": "<b>x</b>", "text/plain": "x"}}, {"text/plain": "x"}),
    ({"output_type": "display_data", "data": {"text/html": "<b>x</b>"}}, {"text/plain": "(left out: text/html)"}),
    ({"output_type": "display_data", "data": {"image/png": 'aGk=" onerror="x'}}, PICTURE),
    ({"output_type": "execute_result", "data": {"text/plain": "10.0"}, "execution_count": 1}, {"text/plain": "10.0"}),
    ({"output_type": "display_data", "data": 3}, None),
    ({"output_type": "widget"}, None),
    (["no output"], None),
])  # fmt: skip
def test_of_outputs_text_and_pictures_reach_a_page(output: Any, shown: dict[str, str] | None) -> None:
    made = isolation.checked(output, test=True)
    assert (made and made.data) == shown
    assert made is None or made.output_type == "display_data"


def test_cleaned_html_keeps_pasted_pictures_tables_and_headings_and_nothing_that_runs() -> None:
    kept = '<h2>x</h2><table><tbody><tr><td>1</td></tr></tbody></table><img src="data:image/png;base64,aGk=" alt="p">'
    assert pages.clean_html(kept) == kept
    for html_ in (
        "<script>x()</script>", "<img src=x onerror=x()>", '<a href="javascript:x()">a</a>',
        '<a href="data:text/html,x">a</a>',
        '<p style="position:fixed">x</p>', "<iframe src=x></iframe>", '<img src="https://example.org/x.png">',
        '<form action="x"><input></form>', '<svg onload="x()"></svg>', '<p onclick="x()">x</p>',
    ):  # fmt: skip
        bad = r"<(script|iframe|form|input|svg|style)|<[^>]*(on\w+=|javascript:|data:|https:|style=)"
        assert not re.search(bad, pages.clean_html(html_))


def test_the_container_gets_a_pipe_and_nothing_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation.shutil, "which", lambda name: f"/usr/bin/{name}")
    words = isolation.command("container", 10**9)
    assert {"--network=none", "--read-only", "--cap-drop=ALL", "--interactive"} <= set(words)
    assert not any(word.startswith(("--volume", "-v", "--mount")) for word in words)


def test_the_kernels_of_the_grader_do_not_skip_asserts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    course.nbgrader(root)
    assert "PYTHONOPTIMIZE" not in os.environ


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_grader_knows_each_students_numbers(root: Path) -> None:
    for student, owner in {"s001": "s001", "s002": "s001"}.items():
        copy = variant.personal_copy(course.released(root, "ps1"), owner, "ps1")
        course.write(samples.solved(copy, "ps1"), root / "copied" / student / "ps1" / "ps1.ipynb")
    marks = {m.student: m for m in grading.grade(root, collecting.find(root / "copied")[0])}
    assert (marks["s001"].points, marks["s001"].trouble) == (20, "")
    assert marks["s002"].points < 10
    assert marks["s002"].trouble == "this is the copy of s001"
    assert "this is the copy of s001" in feedback_text(root, "s002", "ps1")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_mark_entered_by_hand_survives_another_grading(root: Path) -> None:
    wrong = samples.Sample("late", "ps0", "", answers={"q2": "def fourth_moment(q):\n    return q**2"})
    course.write(samples.submission(root, wrong), root / "by-hand" / "late" / "ps0" / "ps0.ipynb")
    (sent,), _ = collecting.find(root / "by-hand")
    assert grading.grade_one(root, sent).points == 9
    assert make.main(["mark", "late", "ps0", "q2-test", "0.5", "--root", str(root)]) == 0
    assert "9.5" in (root / "grades.csv").read_text()
    assert grading.read_mark(root, "late", "ps0").points == 9.5
    assert grading.grade_one(root, sent).points == 9.5
    with pytest.raises(ValueError, match=r"points must be in \[0, 1\]"):
        grading.mark_by_hand(root, "late", "ps0", "q2-test", 2.0)


def test_the_grader_names_what_it_passes_over_and_says_what_it_expects(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = tmp_path / "sent"
    for name in ("ada/ps0", "@/ps0", "nothing", ".git/ps0"):
        (sent / name).mkdir(parents=True)
    (sent / "ada/flat.ipynb").touch()
    (sent / "class.txt").touch()
    found, passed = collecting.find(sent)
    assert found == [collecting.Submission("ada", "ps0", sent / "ada/ps0/ps0.ipynb")]
    reasons = {path.relative_to(sent).as_posix(): reason for path, reason in passed.items()}
    assert set(reasons) == {"@", "nothing", "ada/flat.ipynb", "class.txt"}
    assert "student must consist of" in reasons["@"]
    assert make.submissions_in(sent, root) == make.submissions_in(sent, root, "ps0") == found
    with pytest.raises(ValueError, match=r"nothing to grade in .*STUDENT/ps2/ps2\.ipynb"):
        make.submissions_in(sent, root, "ps2")
    capsys.readouterr()
    make.submissions_in(sent, root)
    assert f"{sent / 'ada/flat.ipynb'}: none of ps0, ps1" in capsys.readouterr().err
    (sent / "ada/ps0").rmdir()
    with pytest.raises(ValueError, match=r"expected .*sent/STUDENT/ps1/ps1\.ipynb"):
        make.submissions_in(sent, root)


def test_whoever_is_not_on_the_class_list_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make.warn_of_strangers(tmp_path, ["ada"])
    assert capsys.readouterr().err == ""  # there is no list
    roster.save_roster(tmp_path, [roster.Person("ada")])
    make.warn_of_strangers(tmp_path, ["ada", "adal", "ada"])
    assert capsys.readouterr().err == "not on the class list: adal\n"


@pytest.mark.parametrize(("words", "says"), [
    (["grade", "{sent}", "--root", "{new}"], "ps0 has not been released: python classroom/make.py release --root"),
    (["grade", "{new}/none", "--root", "{root}"], "there is no folder"),
    (["grade", "{root}/submitted", "--root", "{root}"], "is overwritten by the grader's repaired copies"),
    (["grade", "{sent}", "--root", "{root}", "--jobs", "0"], "must be a whole number, 1 or more"),
    (["feedback", "--root", "{new}"], "nothing has been graded in"),
    (["mark", "ada", "ps3", "conclusions", "6", "--root", "{new}"], "nothing has been graded in"),
    (["mark", "nobody", "ps3", "conclusions", "6", "--root", "{root}"], "nobody"),
])  # fmt: skip
def test_a_wrong_command_gets_one_line_and_leaves_no_gradebook(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    (tmp_path / "sent/ada/ps0").mkdir(parents=True)
    (root / "submitted").mkdir(exist_ok=True)
    places = {"sent": tmp_path / "sent", "new": tmp_path / "new", "root": root}
    with pytest.raises(SystemExit, match="2"):
        make.main([word.format(**places) for word in words])
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_a_submission_that_the_grader_fails_on_does_not_stop_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [collecting.Submission(student, "ps0", root / student) for student in ("kills", "fails", "fine")]
    tries: list[list[str]] = []

    def outcomes(work: object, submissions: list[collecting.Submission], jobs: int) -> object:
        tries.append([submission.student for submission in submissions])
        for one in submissions:
            broken = one.student == "kills" or (one.student == "fine" and len(submissions) > 1)
            good = grading.Mark(one.student, "ps0", 7.0, 10.0, 0)
            yield (
                one,
                grading.BrokenProcessPool("gone") if broken else good if one.student == "fine" else OSError("disk"),
            )

    monkeypatch.setattr(grading, "_outcomes", outcomes)
    marks = {mark.student: mark for mark in grading.grade(root, sent)}
    assert tries == [["kills", "fails", "fine"], ["kills"], ["fine"]]
    assert {student: mark.points for student, mark in marks.items()} == {"kills": 0, "fails": 0, "fine": 7}
    assert marks["fails"].trouble == "NOT GRADED, grade it again: disk"


def test_a_worker_that_dies_is_reported_with_its_submission() -> None:
    ((status, outcome),) = grading._outcomes(os._exit, [3], 1)  # type: ignore[arg-type,list-item]
    assert status == 3
    assert isinstance(outcome, grading.BrokenProcessPool)


def test_if_even_the_empty_release_cannot_be_graded_the_reason_is_raised(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def autograde(self, set_name: str, student: str) -> dict[str, object]:
            return {"success": False, "error": "OperationalError: database is locked"}

    monkeypatch.setattr(grading, "nbgrader", lambda root, **limits: Broken())
    with pytest.raises(RuntimeError, match="database is locked"):
        grading.grade_one(root, collecting.Submission("unlucky", "ps0", root / "none"))


MOODLE = """\ufeffIdentifier,"Full name","ID number","Email address",Status,Grade,"Maximum Grade"
"Participant 11","Jane Doe",,jane@uni.example,Submitted,,20.00
"Participant 12","Jane Doe",,doe@uni.example,Submitted,,20.00
"Participant 13","Jürgen Groß",s13,j.gross@uni.example,"No submission",,20.00
"""
CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Set 1 (ps1) (77)
    Points Possible,,,,,20.0
"Doe, Jane",501,u501,jdoe,A,
"Test, Tom",502,u502,ttom,A,
"Student, Test",9,,,A,
"""


def test_moodles_and_canvass_tables_become_a_class_list(tmp_path: Path) -> None:
    for name, text in {"moodle": MOODLE, "canvas": CANVAS}.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    jane, doe, gross = roster.read_roster(tmp_path / "moodle.csv")
    assert (jane.identifier, doe.identifier, gross.identifier, gross.name) == ("jane", "doe", "s13", "Jürgen Groß")
    people = roster.read_roster(tmp_path / "canvas.csv")
    assert [(p.identifier, p.name, p.canvas) for p in people] == [
        ("jdoe", "Jane Doe", "501"),
        ("ttom", "Tom Test", "502"),
    ]
    roster.save_roster(tmp_path, people)
    assert roster.roster(tmp_path) == people


def test_archives_are_unpacked_to_the_right_student_with_the_time_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text(MOODLE, encoding="utf-8")
    roster.save_roster(tmp_path, roster.read_roster(tmp_path / "sheet.csv"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number, name in {11: "Jane Doe", 12: "Jane Doe", 13: "Jürgen Groß"}.items():
            info = zipfile.ZipInfo(f"{name}_{number}_assignsubmission_file_/ps1.ipynb", (2027, 3, number, 12, 0, 0))
            archive.writestr(info, f"{number}")
        archive.writestr("../../evil_14_assignsubmission_file_/ps1.ipynb", "x")
    with pytest.raises(ValueError, match="two people in the archive would be Jane_Doe: add --worksheet"):
        roster.collect(tmp_path, tmp_path / "all.zip", "ps1")
    found, own_times = roster.collect(tmp_path, tmp_path / "all.zip", "ps1", tmp_path / "sheet.csv")
    assert own_times
    assert set(found) >= {"jane", "doe", "s13"}
    assert (tmp_path / "submissions/doe/ps1/ps1.ipynb").read_text() == "12"
    assert "2027-03-13 12:00:00" in (tmp_path / "submissions/s13/ps1/timestamp.txt").read_text()
    assert not list(tmp_path.parent.glob("*evil*"))

    (tmp_path / "canvas.csv").write_text(CANVAS, encoding="utf-8")
    roster.save_roster(tmp_path, roster.read_roster(tmp_path / "canvas.csv"))
    with zipfile.ZipFile(tmp_path / "canvas.zip", "w") as archive:
        archive.writestr("doejane_LATE_501_88_ps1-1.ipynb", "late")
        archive.writestr("unknown_503_89_ps1.ipynb", "x")
        archive.writestr("readme.txt", "no submission")
    found, own_times = roster.collect(tmp_path, tmp_path / "canvas.zip", "ps1")
    assert found == {"jdoe": ["ps1-1.ipynb"], "unknown503": ["ps1.ipynb"]}
    assert not own_times  # one time for all is that of the download
    assert not (tmp_path / "submissions/jdoe/ps1/timestamp.txt").exists()


def raw_zip(path: Path, entries: dict[str, bytes], change: Callable[[bytearray, int, int], object]) -> None:
    """An archive; change(content, local, central) alters the headers of the entry named bad/ps1.ipynb in place."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, (2027, 3, 5, 12, len(name), 0)), content)
    content = bytearray(path.read_bytes())
    name = b"bad/ps1.ipynb"
    change(content, content.find(name) - 30, content.rfind(name) - 46)
    path.write_bytes(content)


def both(offset: int, value: bytes) -> Callable[[bytearray, int, int], None]:
    """Put bytes at one place of the central header, counted from its flags, and of the local one."""

    def change(content: bytearray, local: int, central: int) -> None:
        for start in (local + 6, central + 8):
            content[start + offset : start + offset + len(value)] = value

    return change


def central_only(offset: int, value: bytes) -> Callable[[bytearray, int, int], None]:
    def change(content: bytearray, local: int, central: int) -> None:
        content[central + offset : central + offset + len(value)] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (both(0, b"\1\0"), "it is encrypted"),
        (both(2, b"\x63\0"), "compression"),
        (both(8, b"\0\0\0\0"), "Bad CRC-32"),
        (central_only(24, b"\xff\xff\xff\xf0"), "it is larger than 50 MB"),
        (central_only(42, b"\xff\xff\xff\x70"), ""),  # where the entry begins
        (central_only(38, b"\0\0\xff\xa1"), "it is a link, not a file"),
        (lambda content, local, central: content.__setitem__(slice(local, local + 4), b"PK\7\7"), "Bad magic number"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named_and_the_others_are_unpacked(
    tmp_path: Path, change: Callable[[bytearray, int, int], object], reason: str
) -> None:
    earlier = tmp_path / "submissions/bad/ps1/ps1.ipynb"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of an earlier archive")
    raw_zip(tmp_path / "all.zip", {f"{name}/ps1.ipynb": name.encode() for name in ("ann", "bad", "cem")}, change)
    said: list[str] = []
    found, _ = roster.collect(tmp_path, tmp_path / "all.zip", "ps1", tell=said.append)
    assert found == {"ann": ["ps1.ipynb"], "cem": ["ps1.ipynb"]}
    (line,) = said
    assert line.startswith("passed over 'bad/ps1.ipynb'")
    assert reason in line
    assert earlier.read_text() == "of an earlier archive"
    assert (tmp_path / "submissions/cem/ps1/ps1.ipynb").read_text() == "cem"


@pytest.mark.parametrize(
    "stamp",
    [b"\0\0\0\0", b"\0\0\x21\0", b"\0\xf8\x65\x5e", b"\xff\xff\x65\x5e", b"\0\0\x5e\x5c"],
    ids=["none", "the first", "hour 31", "second 62", "30 February"],
)
def test_an_entry_without_a_date_is_of_1980_and_makes_nobody_late(tmp_path: Path, stamp: bytes) -> None:
    names = ("ann", "bad", "cem")
    said: list[str] = []
    entries = {f"{name}/ps1.ipynb": b"{}" for name in names}
    raw_zip(tmp_path / "all.zip", entries, both(4, stamp))
    found, own_times = roster.collect(tmp_path, tmp_path / "all.zip", "ps1", tell=said.append)
    assert set(found) == set(names)
    assert not own_times  # the other two have one time, that of the download
    assert not said
    entries["late-one/ps1.ipynb"] = b"{}"
    raw_zip(tmp_path / "all.zip", entries, both(4, stamp))
    found, own_times = roster.collect(tmp_path, tmp_path / "all.zip", "ps1", tell=said.append)
    assert own_times
    assert "'bad/ps1.ipynb' of bad has no date: taken as 1980-01-01" in "".join(said)
    times = {name: (tmp_path / f"submissions/{name}/ps1/timestamp.txt").read_text() for name in found}
    assert times["bad"].startswith("1980-01-01 00:00:00")
    assert times["ann"].startswith("2027-03-05 12:13:00")


def test_names_in_an_archive_may_be_of_any_kind(tmp_path: Path) -> None:
    entries = {
        "/ann/ps1.ipynb": "root", "C:\\bob\\ps1.ipynb": "drive", "./cem/ps1.ipynb": "here", "!!!/ps1.ipynb": "nobody",
        "../../dan/ps1.ipynb": "up", "eva/../fay/ps1.ipynb": "up and down", "ps1.ipynb": "whose?", "notes.txt": "",
        f"{'g' * 300}/ps1.ipynb": "too long", "hal/timestamp.txt": "2020-01-01 00:00:00 +0000", "hal/ps1.ipynb": "hal",
        "__MACOSX/ann/._ps1.ipynb": "", "ann/.hidden/ps1.ipynb": "", "": "",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, text in entries.items():
            archive.writestr(zipfile.ZipInfo(name, (2027, 3, 5, 12, 0, 0)), text)
    said: list[str] = []
    found, _ = roster.collect(tmp_path, tmp_path / "all.zip", "ps1", tell=said.append)
    assert found == {name: ["ps1.ipynb"] for name in ("ann", "bob", "cem", "hal")}
    for name in ("!!!", "../../dan", "eva/../fay", "'ps1.ipynb'", "ggg", "hal/timestamp.txt"):
        assert any(line.startswith("passed over") and name in line for line in said), name
    assert len(said) == 6
    assert not list((tmp_path / "submissions/hal/ps1").glob("timestamp.txt"))
    assert {path.name for path in tmp_path.iterdir()} == {"all.zip", "submissions"}


def test_names_that_are_not_in_the_encoding_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text(MOODLE, encoding="utf-8")
    roster.save_roster(tmp_path, roster.read_roster(tmp_path / "sheet.csv"))
    plain, folder = "Jxxrgen Groxx", "Jürgen Groß"  # of equally many bytes
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"{plain}/ps1.ipynb", "unmarked UTF-8")
        archive.writestr("jane/ps1.ipynb", "plain")
    unmarked = (tmp_path / "all.zip").read_bytes().replace(plain.encode(), folder.encode())
    (tmp_path / "all.zip").write_bytes(unmarked)
    found, _ = roster.collect(tmp_path, tmp_path / "all.zip", "ps1")
    assert set(found) == {"s13", "jane"}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("Groß/ps1.ipynb", "marked as UTF-8, and is not")
        archive.writestr("jane/ps1.ipynb", "plain")
    false = (tmp_path / "all.zip").read_bytes().replace("Groß".encode(), b"Gro\xe1\xff")
    (tmp_path / "all.zip").write_bytes(false)
    found, _ = roster.collect(tmp_path, tmp_path / "all.zip", "ps1")
    assert len(found) == 2
    assert (tmp_path / "submissions/jane/ps1/ps1.ipynb").read_text() == "plain"


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("ann/ps1.ipynb", "x" * 999)
    (tmp_path / "half.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:500])
    (tmp_path / "page.zip").write_text("<html>please sign in</html>")
    (tmp_path / "empty.zip").touch()
    (tmp_path / "folder.zip").mkdir()
    for name in ("half", "page", "empty", "folder"):
        with pytest.raises(ValueError, match=rf"{name}\.zip cannot be read as a zip: "):
            roster.collect(tmp_path, tmp_path / f"{name}.zip", "ps1")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip"):
        roster.collect(tmp_path, tmp_path / "nowhere.zip", "ps1")


def test_a_console_without_the_letters_of_a_name_does_not_end_a_command(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("學生", "ann", "../eva"):
            archive.writestr(f"{name}/ps1.ipynb", "{}")
    command = [sys.executable, Path(make.__file__), "collect", "ps1", tmp_path / "all.zip", "--root", tmp_path]
    for encoding in ("cp1252", "ascii"):
        done = subprocess.run(
            command, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"\\u5b78\\u751f" in done.stdout
        assert b"passed over '../eva/ps1.ipynb': it leads out of the archive" in done.stderr


def test_a_zip_in_an_archive_is_handed_on_and_its_damage_named(tmp_path: Path) -> None:
    raw_zip(tmp_path / "good", {"bad/ps1.ipynb": b'{"cells": []}'}, lambda content, local, central: None)
    raw_zip(tmp_path / "locked", {"bad/ps1.ipynb": b"{}"}, both(0, b"\1\0"))
    raw_zip(tmp_path / "crc", {"bad/ps1.ipynb": b"{}"}, both(8, b"\0\0\0\0"))
    raw_zip(tmp_path / "huge", {"bad/ps1.ipynb": b"{}"}, central_only(24, b"\xff\xff\xff\xf0"))
    raw_zip(tmp_path / "two", {"bad/ps1.ipynb": b"{}", "a.ipynb": b"{}"}, lambda content, local, central: None)
    raw_zip(tmp_path / "none", {"bad/ps1.ipynb.txt": b"{}"}, lambda content, local, central: None)
    reasons = {
        "locked": "is a zip that cannot be read: .*encrypted", "crc": "is a zip that cannot be read: Bad CRC-32",
        "huge": "is a zip of a notebook larger than 50 MB", "two": "is a zip of 2 notebooks, where one is expected",
        "none": "is a zip of 0 notebooks",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("good", *reasons):
            archive.writestr(f"{name}/ps1.zip", (tmp_path / name).read_bytes())
    found, _ = roster.collect(tmp_path, tmp_path / "all.zip", "ps1")
    assert set(found) == {"good", *reasons}
    sent = {name: submissions.read_submission(tmp_path / f"submissions/{name}/ps1/ps1.zip") for name in found}
    assert sent["good"].notebook is not None
    for name, reason in reasons.items():
        assert sent[name].notebook is None
        assert re.search(rf"^ps1\.zip {reason}", sent[name].reason)


def test_scores_go_back_into_the_tables_that_the_platforms_sent(tmp_path: Path) -> None:
    for name, text, scores, column in (
        ("moodle", MOODLE, {"doe": 17.5, "s13": 0.0, "gone": 3.0}, "Grade"),
        ("canvas", CANVAS, {"jdoe": 17.5, "gone": 3.0}, "Set 1 (ps1) (77)"),
    ):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
        roster.save_roster(tmp_path, roster.read_roster(tmp_path / f"{name}.csv"))
        target, left, warning = roster.fill_table(tmp_path, tmp_path / f"{name}.csv", "ps1", scores, 20.0)
        assert (left, warning) == (["gone"], "")
        header, rows = roster.read_table(target)
        assert header == roster.read_table(tmp_path / f"{name}.csv")[0]
        assert [row[column] for row in rows if row[column]] == (["17.5", "0"] if name == "moodle" else ["20.0", "17.5"])


@pytest.mark.parametrize(("table", "column", "says"), [
    (CANVAS.replace("Set 1 (ps1) (77)", "Problem set 1 (77)"), "Problem set 1 (77)", ""),
    (CANVAS.replace("Set 1 (ps1) (77)", "Set 10 (77)"), "ps1", ""),
    (CANVAS.replace("20.0", "100"), "Set 1 (ps1) (77)", "ps1 has 20 points, and the table gives 100"),
    ("Identifier,Full name,ID number,Grade,Maximum Grade\nParticipant 1,J,jdoe,,100.00\n", "Grade", "gives 100.00"),
])  # fmt: skip
def test_a_table_with_another_column_or_other_points_is_told(
    tmp_path: Path, table: str, column: str, says: str
) -> None:
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    roster.save_roster(tmp_path, [roster.Person("jdoe")])
    target, left, warning = roster.fill_table(tmp_path, tmp_path / "table.csv", "ps1", {"jdoe": 17.5}, 20.0)
    rows = roster.read_table(target)[1]
    assert "17.5" in [row[column] for row in rows]
    assert not left
    assert says in warning
    assert bool(says) == bool(warning)
    assert column != "ps1" or rows[0]["ps1"] == "20"  # a new column of Canvas's needs its points


def test_late_days_are_free_first_and_everybody_on_the_list_has_a_row(root: Path, tmp_path: Path) -> None:
    roster.save_roster(tmp_path, [roster.Person("ada", "Ada"), roster.Person("ben", "Ben")])
    (tmp_path / "deadlines.toml").write_text(
        "free_days = 2\npenalty = 0.1\nps0 = 2027-03-01T12:00:00Z\nps1 = 2027-03-08T12:00:00Z\n"
    )
    course.release(tmp_path)
    with course.nbgrader(tmp_path).gradebook as gradebook:
        for name, day, points in (("ps0", 2, 8.0), ("ps1", 11, 9.0)):
            when = datetime(2027, 3, day, 13, 0)
            gradebook.update_or_create_student("ada")
            entry = gradebook.update_or_create_submission(name, "ada", timestamp=when)
            grade = next(g for notebook in entry.notebooks for g in notebook.grades)
            grade.manual_score, grade.needs_manual_grade = points, False
        gradebook.db.commit()
    rows = {(row["assignment"], row["student_id"]): row for row in grading.rows(tmp_path)}
    assert set(rows) == {(name, student) for name in ("ps0", "ps1") for student in ("ada", "ben")}
    assert (rows["ps0", "ada"]["days_late"], rows["ps0", "ada"]["late_submission_penalty"]) == (2, 0)  # free
    late = rows["ps1", "ada"]
    assert (late["days_late"], late["late_submission_penalty"], late["score"]) == (4, 8.0, 1.0)
    assert rows["ps1", "ben"]["note"] == "nothing was handed in"
    assert rows["ps1", "ben"]["score"] == 0


@pytest.mark.parametrize(("text", "says"), [
    ("free_days = -1", "free_days must be"), ("penalty = 2", "penalty must be"), ("ps9 = 2027-03-01T12:00:00", "ps9"),
    ("ps1 = 'soon'", "expected a set"), ("ps1 = 2027-03-01T23:59", "deadlines.toml: .* with its seconds"),
])  # fmt: skip
def test_wrong_deadlines_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "deadlines.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        deadlines.deadlines(tmp_path)


def test_the_students_kit_holds_what_they_need_and_no_solution(root: Path, tmp_path: Path) -> None:
    target = kit.student_kit(root, pages=True)
    with zipfile.ZipFile(target) as archive:
        names = {name.removeprefix("afli-course/") for name in archive.namelist()}
        archive.extractall(tmp_path)
    assert {"pyproject.toml", "requirements.txt", "afli/__init__.py", "sets/ps3/ps3.ipynb", "INSTALL.txt"} <= names
    assert not any(re.search("classroom|samples|source|tests|results", name.split("/")[0]) for name in names)
    assert leaks(tmp_path / "afli-course/sets") == set()
    for page in (tmp_path / "afli-course/pages").glob("*.md"):
        assert "{solution}" not in page.read_text(encoding="utf-8"), page.name


def test_a_set_can_bring_the_cell_that_installs_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "afli @ git+https://example.org/afli"
    course.release(tmp_path, "git+https://example.org/afli")
    for set_name in course.SETS:
        notebook = course.released(tmp_path, set_name)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert repr(plain.replace("afli", "afli[networks]", 1) if set_name == "ps3" else plain) in cell.source
    assert course.requirement("/drive/kit.zip", notebook) == "/drive/kit.zip"
    assert course.requirement("/drive/kit.zip", course.read_source("ps3")) == "/drive/kit.zip[networks]"
    exec(cell.source, {})  # afli is here: nothing happens
    result = submissions.normalised(notebook, notebook)
    assert [c.source for c in result.cells] == [c.source for c in notebook.cells]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda words: asked.append(words) or types.SimpleNamespace(returncode=0))
    exec(cell.source, {})
    assert asked == [[sys.executable, "-m", "pip", "install", "--quiet", plain]]
    monkeypatch.setattr(subprocess, "run", lambda words: types.SimpleNamespace(returncode=1))
    with pytest.raises(RuntimeError, match=r"could not be installed.*INSTALL\.txt"):
        exec(cell.source, {})
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(RuntimeError, match=r"needs 3\.11.*INSTALL\.txt"):
        exec(cell.source, {})


def test_a_class_is_timed_and_every_copy_gets_its_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    sheet = course.read_source("ps0")
    monkeypatch.setattr(timing, "release", lambda root: course.write(sheet, root / "release/ps0/ps0.ipynb"))
    monkeypatch.setattr(timing, "run_samples", lambda root, jobs, names: dict.fromkeys(samples.samples(*names)))

    def graded(root: Path, found: list[Any], jobs: int, kind: str) -> list[grading.Mark]:
        made.extend(submission.student for submission in found)
        return [grading.Mark(submission.student, "ps0", worth, 10, 0) for submission in found]

    monkeypatch.setattr(timing, "grade_folder", graded)
    worth, table = 10.0, tmp_path / "times.txt"
    words = ["--students", "3", "--set", "ps0", "--table", str(table)]
    assert timing.main(words) == 0
    _, _, *rows = (line.strip("| ").split(" | ") for line in table.read_text().splitlines() if line.startswith("|"))
    assert made == ["s001", "s002", "s003"]
    assert [int(row[1]) for row in rows] == [len(course.SETS), 3, 3, len(samples.samples("ps0"))]
    worth = 9.0
    with pytest.raises(SystemExit):
        timing.main(words)


def test_every_figure_on_the_slides_is_on_its_page() -> None:
    text = (course.HERE / "slides.md").read_text(encoding="utf-8")
    named = slides.wanted(text)
    assert sum(map(len, named.values())) == text.count("{figure}")
    for page, names in named.items():
        assert set(names) <= set(slides.places(read_source(Book(course.HERE.parent).source(page)))), page


def test_a_slide_holds_its_figure_as_a_picture_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"/>'

    def run(book: Book, pages: Iterable[str]) -> dict[str, NotebookNode]:
        made = {page: read_source(book.source(page)) for page in pages}
        for page in made.values():
            kept = re.findall(r"{glue:text}`(\w+)", str(page.cells))
            page.cells[1].outputs = [
                new_output("display_data", {"application/papermill.record/text/plain": "1.5"},
                           metadata={"scrapbook": {"name": name}})
                for name in kept
            ]  # fmt: skip
            for cell in slides.places(page).values():
                cell.outputs = [new_output("display_data", {"image/svg+xml": drawing})]
        return made

    monkeypatch.setattr(slides, "run_book", run)
    page = slides.build(tmp_path).read_text(encoding="utf-8")
    shown = re.findall(r'<img alt="([^"]+)" src=.data:image/svg\+xml;base64,([^"\']+)', page)
    text = (course.HERE / "slides.md").read_text(encoding="utf-8")
    assert len(shown) == text.count("{figure}")
    assert all(alt and "{glue" not in alt and base64.b64decode(data).decode() == drawing for alt, data in shown)
    assert page.count('<aside class="notes">') == text.count("\nNote: ") > 0


def test_a_roster_has_one_identifier_a_line(tmp_path: Path) -> None:
    path = tmp_path / "class.txt"
    path.write_text("\ufeffs001\r\n\n  s002 \n", encoding="utf-8")
    assert [person.identifier for person in roster.read_roster(path)] == ["s001", "s002"]
    for text, words in {"": "no identifier", "Jane Doe\n": "'Jane Doe'", "s1\ns1\n": "s1 more than once"}.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            roster.read_roster(path)


@pytest.mark.parametrize(("words", "says"), [
    (["--student", ""], "student must consist of"),
    (["--roster", "nosuch.txt"], "No such file"),
    (["--student", "s001", "--root", "nowhere"], "python classroom/make.py release --root nowhere"),
])  # fmt: skip
def test_variant_py_says_in_one_line_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["variant.py", "--set", "ps1", *words])
    with pytest.raises(SystemExit, match="2"):
        variant.main()
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_each_test_is_run_with_the_tools_above_it(root: Path) -> None:
    prepared = {course.grade_id(c): c.source for c in guard.prepared(course.read_source("ps3"), {}).cells}
    assert all("def expect_close" in prepared[name] for name in ("scaled-test", "validation-test"))
    assert "def accuracies" in prepared["final-test"]
    assert "def accuracies" not in prepared["scaled-test"]


def test_a_course_with_grades_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").touch()
    with pytest.raises(ValueError, match="holds a gradebook"):
        course.clear(tmp_path)
    assert (tmp_path / "gradebook.db").exists()
