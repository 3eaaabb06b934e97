"""Bring what students hand in into the form that nbgrader expects, whatever editors and platforms have done to it.

The released notebook is the skeleton: its questions and tests are taken as they were released. From the submission come
the answers, found by nbgrader's name of the cell, by the cell's id or, where a platform has removed both, by its place
between cells that are known; every cell that the student has added, kept behind the same neighbour; and the student's
versions of the other released cells, run where they stand. So deleted tests come back, edited ones are undone, halves
of a split cell both count, and nothing but one notebook is taken: no file beside it can shadow a library. What is
repaired is said in a first cell. A file that is no notebook becomes the empty release, with the reason there.
"""

from __future__ import annotations

import ast
import base64
import binascii
import copy
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
from course import grade_id, is_answer
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

MAX_BYTES = 50_000_000
SURROGATE = re.compile("[\ud800-\udfff]")
ATTACHMENT = re.compile(r"""attachment:([^)\s"'<>]+)""")
PICTURES = ("image/png", "image/jpeg", "image/gif")

# What editors, browsers and chat programs put in place of plain characters.
SPACES, INVISIBLE = "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", "\u200b\u200c\u200d\u2060\ufeff\x00"
PLAIN = str.maketrans(dict.fromkeys(SPACES, " ") | dict.fromkeys(INVISIBLE, ""))
WIDE = {0xFEE0 + plain: plain for plain in range(0x21, 0x7F)}  # letters, digits and signs of East Asian keyboards
TYPED = PLAIN | WIDE | str.maketrans("“”„‘’‚′″−–×", "\"\"\"''''\"--*")


@dataclass(frozen=True)
class Sent:
    """What a file holds: a notebook, or None and the reason; and what had to be repaired to read it."""

    notebook: NotebookNode | None
    reason: str = ""
    repairs: tuple[str, ...] = ()


class ZipError(ValueError):
    """A zip in which there is not the one notebook; the message says what it is instead."""


def read_submission(path: Path) -> Sent:
    """The notebook in a file; in a zip of one notebook too."""
    if path.is_symlink() or not path.is_file():
        return Sent(None, f"there is no file {path.name}")
    if path.stat().st_size > MAX_BYTES:
        return Sent(None, f"{path.name} is larger than {MAX_BYTES // 10**6} MB; clear its outputs")
    try:
        return _read(path.read_bytes())
    except json.JSONDecodeError as error:
        return Sent(None, f"{path.name} is not a Jupyter notebook: {_damage(error)}")
    except ZipError as error:
        return Sent(None, f"{path.name} is {error}")
    except Exception as error:  # nbformat raises many kinds on malformed files; each means the same to a student
        return Sent(None, f"{path.name} is not a Jupyter notebook ({type(error).__name__})")


def _damage(error: json.JSONDecodeError) -> str:
    """What may have happened to a file that is no JSON."""
    if not error.doc.strip():
        return "it is empty"
    if error.doc.lstrip().startswith("<"):
        return "it is a web page, perhaps one that asks to sign in; download the notebook itself"
    if re.search("^ *<<<<<<< ", error.doc, re.MULTILINE):
        return "it holds the marks of a merge conflict (<<<<<<<)"
    if error.doc.lstrip().startswith("{"):
        return f"it is damaged or cut off at line {error.lineno} of {error.doc.count(chr(10)) + 1}"
    return "it is a file of another kind"


def _read(raw: bytes) -> Sent:
    repairs = []
    if zipfile.is_zipfile(io.BytesIO(raw)):
        raw = _unzipped(raw)
        repairs.append("The file was a zip; the notebook in it was taken.")
    encoding = json.detect_encoding(raw)
    said = "UTF-8 with a byte-order mark" if encoding == "utf-8-sig" else encoding.upper()
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
        said = "LATIN-1"
    if said != "UTF-8":
        repairs.append(f"The file was encoded as {said}, where notebooks are UTF-8.")
    notebook = nbformat.from_dict(_cells_of(text))
    cells = [cell for cell in notebook.cells if cell.get("cell_type") in ("code", "markdown", "raw")]
    for cell in cells:
        cell.metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else NotebookNode()
        if not isinstance(cell.metadata.get("tags", []), list):
            del cell.metadata["tags"]
        source = cell.get("source", "")
        cell.source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        if SURROGATE.search(cell.source):
            cell.source = SURROGATE.sub("\ufffd", cell.source)
            repairs.append("A character that UTF-8 does not have (half of a pair, perhaps of an emoji) was replaced.")
        cell.source = cell.source.replace("\r\n", "\n").replace("\r", "\n")
    for cell in cells:
        if cell.cell_type == "code":
            repairs += _retyped(cell)
        else:
            repairs += _repair_pictures(cell)
    notebook.cells = cells
    return Sent(notebook, repairs=tuple(dict.fromkeys(repairs)))


def _cells_of(text: str) -> dict[str, Any]:
    """A notebook of the present format with the cells of the file, whatever else the file says or lacks.

    Only the cells are graded, and each is repaired on its own; nbformat reads the older formats.
    """
    given = json.loads(text)
    if not (isinstance(given, dict) and isinstance(given.get("cells"), list)):
        given = nbformat.reads(text, as_version=4)
    cells = [cell for cell in given["cells"] if isinstance(cell, dict)]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def _unzipped(raw: bytes) -> bytes:
    """The one notebook in a zip. Raises ZipError if there are none or several, or it is too large or cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            found = [
                info for info in archive.infolist()
                if info.filename.endswith(".ipynb") and not re.search(r"__MACOSX|(^|/)\.", info.filename)
            ]  # fmt: skip
            if len(found) != 1:
                raise ZipError(f"a zip of {len(found)} notebooks, where one is expected")
            if found[0].file_size > MAX_BYTES:
                raise ZipError(f"a zip of a notebook larger than {MAX_BYTES // 10**6} MB; clear its outputs")
            return archive.read(found[0])
    except ZipError:
        raise
    except Exception as error:  # what is raised depends on where the damage is, and on how it is encrypted
        raise ZipError(f"a zip that cannot be read: {error}") from error


def _retyped(cell: NotebookNode) -> list[str]:
    """Replace characters that Python cannot read by those that were meant."""
    plain = cell.source.translate(PLAIN)
    if not _parses(plain) and _parses(plain.translate(TYPED)):
        plain = plain.translate(TYPED)
    changed, cell.source = plain != cell.source, plain
    return ["Invisible or typographic characters in code were replaced by plain ones."] if changed else []


def _parses(code: str) -> bool:
    """Whether Python can read code, lines of IPython's own left out."""
    try:
        ast.parse("\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in code.split("\n")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _repair_pictures(cell: NotebookNode) -> list[str]:
    """Keep pasted pictures under simple names; a reference to a picture that is not there becomes words."""
    kept: dict[str, dict[str, str]] = {}
    repairs: list[str] = []
    held = cell.pop("attachments", None)
    held = held if isinstance(held, dict) else {}

    def replaced(match: re.Match[str]) -> str:
        name = match[1] if match[1] in held else unquote(match[1])
        bundle = held.get(name)
        for kind in PICTURES:
            if isinstance(bundle, dict) and _is_base64(bundle.get(kind)):
                new = f"picture-{len(kept) + 1}.{kind.removeprefix('image/')}"
                kept[new] = {kind: "".join(bundle[kind])}
                return f"attachment:{new}"
        repairs.append(f"The picture {name[:80]} is not in the file, or of a kind that a page cannot show.")
        return f"missing-picture:{match[1]}"

    cell.source = ATTACHMENT.sub(replaced, cell.source)
    if kept:
        cell.attachments = nbformat.from_dict(kept)
    return repairs


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode("".join(value), validate=False))
    except (TypeError, ValueError, binascii.Error):
        return False


def normalised(
    submission: NotebookNode | None, release: NotebookNode, reason: str = "", repairs: Sequence[str] = ()
) -> NotebookNode:
    """The release with the submission's answers and added cells; the empty release if there is no submission.

    What had to be repaired is said in a first cell, which reaches the student with the feedback.
    """
    result = copy.deepcopy(release)
    if submission is None:
        return _with_note(result, [f"Nothing could be graded: {reason}."])
    lines = list(repairs)
    position_of, by_place = _positions(submission.cells, release)
    if by_place:
        lines.append("The cells had lost their names and ids; answers were found by their places.")
    found: dict[int, list[NotebookNode]] = {}
    added: dict[int, list[NotebookNode]] = {}
    place = -1
    for cell, position in zip(submission.cells, position_of, strict=True):
        if position is None:
            if cell.cell_type != "raw":
                added.setdefault(place, []).append(_plain(cell))
        elif (
            is_answer(release.cells[position])
            and (copies := found.setdefault(position, []))
            and (place != position and not _is_another_try(cell, copies, release.cells[position]))
        ):
            added.setdefault(place, []).append(_plain(cell))  # a copy further down, for something else
        else:
            place = position if position not in found or not found[position] else place
            found.setdefault(position, []).append(cell)
    before: dict[int, list[NotebookNode]] = {}
    for position, cells in found.items():
        cell = result.cells[position]
        if is_answer(cell):
            before[position] = _answer(cell, cells)
            if len(cells) > 1:
                lines.append(f"The answer {grade_id(cell)} stood in {len(cells)} cells; all of them count, in order.")
        elif (own := [c for c in cells if _differs(c, cell)]) and _takes_edits(cell):
            cell.source = own[-1].source
        elif own:
            before[position] = [_plain(c) for c in own]
            name = grade_id(cell) or "without a name"
            lines.append(f"A cell of the release, {name}, had been changed; it was put back, behind what you wrote.")
    missing = [grade_id(cell) for i, cell in enumerate(release.cells) if grade_id(cell) and i not in found]
    cells = added.get(-1, [])
    for position, cell in enumerate(result.cells):
        cells += [*before.get(position, []), cell, *added.get(position, [])]
    result.cells = cells
    return _with_note(result, [*lines, *_explain(missing, release)])


def _positions(cells: list[NotebookNode], release: NotebookNode) -> tuple[list[int | None], bool]:
    """Position in the release of each cell, None for a student's own; and whether places had to be used."""
    names = {cell.id: i for i, cell in enumerate(release.cells)}
    names |= {grade_id(cell): i for i, cell in enumerate(release.cells) if grade_id(cell)}
    found = [names.get(grade_id(cell), names.get(str(cell.get("id", "")))) for cell in cells]
    named, last = any(position is not None for position in found), -1
    for index, cell in enumerate(cells):
        if found[index] is None:  # the text of the release; where it has one twice, in order
            same = [i for i, other in enumerate(release.cells) if other.source.strip() == cell.source.strip()]
            found[index] = next((i for i in same if i > last), same[-1] if same else None)
        position = found[index]
        last = last if position is None else position
    if named or all(position is None for position in found):
        return found, False
    used = False  # neither names nor ids: what lies between two known cells is the answer that the release has there
    for index, cell in enumerate(cells):
        if found[index] is None:
            last = next((p for p in reversed(found[:index]) if p is not None), -1)
            following = next((p for p in found[index + 1 :] if p is not None), len(release.cells))
            between = (
                range(last, following) if last >= 0 and is_answer(release.cells[last]) else range(last + 1, following)
            )
            answers = [
                p for p in between if is_answer(release.cells[p]) and release.cells[p].cell_type == cell.cell_type
            ]
            if answers:
                found[index], used = answers[0], True
    return found, used


def _is_another_try(cell: NotebookNode, copies: list[NotebookNode], released: NotebookNode) -> bool:
    """Whether a copy further down answers the question again, or for the first time."""
    untouched = all(not _differs(other, released) for other in copies)
    return untouched or bool(_defined(cell.source) & set().union(*(_defined(other.source) for other in copies)))


def _defined(code: str) -> set[str]:
    """Names that code defines at its top level."""
    names: set[str] = set()
    if _parses(code):
        lines = ["pass" if line.lstrip().startswith(("%", "!")) else line for line in code.split("\n")]
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def _answer(cell: NotebookNode, parts: list[NotebookNode]) -> list[NotebookNode]:
    """Put an answer into the released cell; returns the cells that are to run before it, the other parts.

    Halves that are no code by themselves are joined. An untouched copy does not count where another is filled in.
    """
    filled = [part for part in parts if part.source.strip() and _differs(part, cell)] or parts[-1:]
    sources = [part.source for part in filled]
    if cell.cell_type == "markdown":
        cell.source = "\n\n".join(sources)
        pictures = _renamed(filled)
        if pictures:
            cell.source, cell.attachments = pictures
        return []
    joined = "\n".join(sources)
    if not all(map(_parses, sources)) and _parses(joined):
        sources = [joined]
    cell.source = sources[-1]
    return [new_code_cell(source) for source in sources[:-1]]


def _renamed(parts: list[NotebookNode]) -> tuple[str, NotebookNode] | None:
    """The joined text and pictures of several Markdown cells, each of which counts its pictures from 1."""
    texts, pictures = [], NotebookNode()
    for number, part in enumerate(parts):
        text = part.source
        for name, bundle in part.get("attachments", {}).items():
            text = text.replace(f"attachment:{name}", f"attachment:{number}-{name}")
            pictures[f"{number}-{name}"] = bundle
        texts.append(text)
    return ("\n\n".join(texts), pictures) if pictures else None


def _takes_edits(cell: NotebookNode) -> bool:
    """Whether a student's version of a released cell replaces it: imports and the like, but not the numbers."""
    return cell.cell_type == "code" and not grade_id(cell) and not cell.metadata.get("tags")


def _differs(cell: NotebookNode, released: NotebookNode) -> bool:
    """Whether a cell has lines that the released one has not."""
    lines = {line.strip() for line in released.source.splitlines()}
    return any(line.strip() not in lines for line in cell.source.splitlines() if line.strip())


def _plain(cell: NotebookNode) -> NotebookNode:
    """A student's own cell without metadata or outputs: it is run, but no mark hangs on it."""
    if cell.cell_type == "code":
        return new_code_cell(cell.source)
    plain = new_markdown_cell(cell.source)
    if cell.get("attachments"):
        plain.attachments = cell.attachments
    return plain


def _explain(missing: list[str], release: NotebookNode) -> list[str]:
    if not missing:
        return []
    if len(missing) == sum(bool(grade_id(cell)) for cell in release.cells):
        return ["None of the released cells is in this file, so there is no answer to grade. Is it the right set?"]
    return [f"These cells had been deleted and were put back as they were released: {', '.join(missing)}."]


def _with_note(notebook: NotebookNode, lines: list[str]) -> NotebookNode:
    if lines:
        text = " ".join(line.replace("<", "&lt;") for line in lines)
        notebook.cells.insert(0, new_markdown_cell(f"**Note from the grader.** {text}", id="grader-note"))
    return notebook
