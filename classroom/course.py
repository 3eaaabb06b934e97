"""The course's sources as notebooks, and the folder that nbgrader works in.

Each set is one MyST file, source/psN/psN.md, with solutions, hidden tests and nbgrader metadata. nbgrader copies
everything that lies beside a notebook into the release, so the folder that it sees holds nothing but .ipynb files.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

HERE = Path(__file__).resolve().parent
BUILD = HERE / "_build"
SETS = tuple(sorted(path.name for path in (HERE / "source").glob("ps*")))
IDENTIFIER = re.compile(r"[^\W_][\w.@+-]*")

# The nbformat and kernel of every notebook; nothing of jupytext's own, which would name the source file.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


INSTALL = """# On Colab or Binder run this first. Where the package of this course is missing, it is installed now;
# that needs a network, and Python 3.11 or newer. Everywhere else this cell does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("afli") is None:
    way_out = "Work on a machine of yours with the kit, as its INSTALL.txt says, or ask your teacher."
    if sys.version_info < (3, 11):
        raise RuntimeError(f"This is Python {{sys.version.split()[0]}}, and the package needs 3.11. {{way_out}}")
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", {0!r}]).returncode:
        raise RuntimeError(f"The package could not be installed; the lines above say why. {{way_out}}")
    importlib.invalidate_caches()"""


def requirement(address: str, notebook: NotebookNode) -> str:
    """What pip is told: the package at that address, with what networks need if the notebook trains some."""
    trains = any("import torch" in cell.source for cell in notebook.cells)
    extra = "[networks]" if trains else ""
    return f"afli{extra} @ {address}" if "://" in address else f"{address}{extra}"


def check_set(name: str) -> str:
    """The name of a problem set. Raises ValueError naming the sets if there is none of that name."""
    if name not in SETS:
        raise ValueError(f"set must be one of {', '.join(SETS)}, got {name!r}")
    return name


def check_student(student: str) -> str:
    """An identifier that can name a folder. Raises ValueError for any other."""
    if not IDENTIFIER.fullmatch(student):
        raise ValueError(
            f"student must consist of letters, digits and . _ - @ + and begin with a letter or digit, got {student!r}"
        )
    return student


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's name for a cell; empty for an ordinary one."""
    own = cell.metadata.get("nbgrader")
    return str(own.get("grade_id", "")) if isinstance(own, dict) else ""


def is_answer(cell: NotebookNode) -> bool:
    """Whether students write in this cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution", False))


def read_source(set_name: str) -> NotebookNode:
    """The teacher's notebook of one set, with solutions and hidden tests; cell ids are the same on every reading."""
    path = HERE / "source" / check_set(set_name) / f"{set_name}.md"
    notebook = jupytext.read(path, fmt="md:myst")
    for position, cell in enumerate(notebook.cells):
        cell.id = grade_id(cell) or f"cell-{position:02d}"
        if "load" in cell.metadata:  # the cell that all sets share stands in a file of its own
            cell.source = (path.parent / cell.metadata.pop("load")).read_text(encoding="utf-8").rstrip()
            cell.source = cell.source.replace('"THE COMMON NUMBERS"', repr(json.dumps(numbers_in(notebook))))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.validate(notebook)
    return notebook


def numbers_in(notebook: NotebookNode, tag: str = "parameters") -> dict[str, float | int | str]:
    """The numbers and words that the cell of that tag assigns; empty if there is no such cell, or it computes them."""
    found: dict[str, float | int | str] = {}
    for cell in notebook.cells:
        if tag in cell.metadata.get("tags", ()):
            try:
                for line in ast.parse(cell.source).body:
                    if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                        found[line.targets[0].id] = ast.literal_eval(line.value)
            except (SyntaxError, ValueError):
                return {}
    return found


def points(set_name: str) -> float:
    """What a set is worth."""
    return sum(float(cell.metadata.get("nbgrader", {}).get("points", 0)) for cell in read_source(set_name).cells)


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def released(root: Path, set_name: str) -> NotebookNode:
    """The notebook that students get. Raises FileNotFoundError before `release`."""
    return nbformat.read(root / "release" / set_name / f"{set_name}.ipynb", as_version=4)


def nbgrader(root: Path, **settings: Any) -> Any:
    """nbgrader's own interface to the course in `root`, configured by nbgrader_config.py.

    settings: traits of IsolatedExecute, for instance timeout=10.
    """
    from nbgrader.apps import NbGraderAPI
    from sqlalchemy.exc import SAWarning
    from traitlets.config import PyFileConfigLoader

    bin_folder = str(Path(sys.executable).parent)  # nbgrader calls alembic by name
    if bin_folder not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([bin_folder, os.environ["PATH"]])
    warnings.filterwarnings("ignore", category=SAWarning, module="nbgrader")
    os.environ["IPYTHONDIR"] = str(root / "ipython")  # a teacher's own IPython profile does not run in the grader
    config = PyFileConfigLoader("nbgrader_config.py", path=str(HERE)).load_config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}?timeout=120"  # two graders write by turns
    config.IsolatedExecute.update(settings)
    return NbGraderAPI(config=config)


def clear(root: Path = BUILD) -> None:
    """Remove a course and its grades. Raises ValueError for any folder but the build folder that has a gradebook."""
    if root.resolve() != BUILD and (root / "gradebook.db").exists():
        raise ValueError(f"{root} holds a gradebook; remove it yourself if you mean to")
    shutil.rmtree(root, ignore_errors=True)


def release(root: Path = BUILD, install_from: str = "") -> None:
    """Write root/source and, from it, root/release: the notebooks that students get. Grades in root stay as they are.

    root/nbgrader_config.py lets nbgrader's own commands and its formgrader find the course, started in root.
    install_from: what pip installs where afli is missing, on Colab for instance; the notebooks get a cell for it.
    Raises RuntimeError with nbgrader's log if it refuses a source.
    """
    for name in ("source", "release"):
        shutil.rmtree(root / name, ignore_errors=True)
    for set_name in SETS:
        notebook = read_source(set_name)
        if install_from:
            place = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
            notebook.cells.insert(
                place, new_code_cell(INSTALL.format(requirement(install_from, notebook)), id="install")
            )
        write(notebook, root / "source" / set_name / f"{set_name}.ipynb")
    settings = (
        f"load_subconfig('nbgrader_config.py', path={str(HERE)!r})\nc.CourseDirectory.root = {str(root.resolve())!r}\n"
    )
    (root / "nbgrader_config.py").write_text(settings, encoding="utf-8")
    api = nbgrader(root)
    for set_name in SETS:
        result = api.generate_assignment(set_name)
        if not result["success"]:
            raise RuntimeError(f"nbgrader could not release {set_name}:\n{result.get('log')}")
