"""What students need, in one archive, and none of what they must not see.

    python classroom/make.py kit --root COURSE            COURSE/student-kit.zip   (make student-kit)
    python classroom/make.py kit --root COURSE --pages    with the book's pages, their solutions taken out

The package, its requirements, the licences and the release: named here one by one, so that what is new in the
repository stays out of the kit until somebody lists it.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from course import HERE, SETS

REPOSITORY = HERE.parent
FOLDER = "afli-course"
FILES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "LICENSE-text")
SOLUTION = re.compile(r"^(?P<fence>`{3,}|:{3,})\{solution\}.*?^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
HELP = """Install, in this folder:

    python -m venv .venv
    .venv/bin/pip install --requirement requirements.txt jupyterlab
    .venv/bin/pip install --no-deps .
    .venv/bin/jupyter lab

(On Windows .venv\\Scripts in place of .venv/bin.) The problem sets are in sets/.
"""


def without_solutions(page: str) -> str:
    """A page of the book without its worked solutions."""
    return SOLUTION.sub("*(The solution is in the book.)*", page)


def student_kit(root: Path, *, pages: bool = False) -> Path:
    """Write root/student-kit.zip. Raises ValueError before the release."""
    contents = {name: REPOSITORY / name for name in FILES}
    package = REPOSITORY / "afli"
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            contents[f"afli/{path.relative_to(package).as_posix()}"] = path
    for set_name in SETS:
        released = root / "release" / set_name / f"{set_name}.ipynb"
        if not released.exists():
            raise ValueError(f"{set_name} has not been released: python classroom/make.py release --root {root}")
        contents[f"sets/{set_name}/{set_name}.ipynb"] = released
    target = root / "student-kit.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{FOLDER}/INSTALL.txt", HELP)
        for name, path in contents.items():
            archive.write(path, f"{FOLDER}/{name}")
        for path in sorted((REPOSITORY / "notebooks").glob("*.md")) if pages else ():
            archive.writestr(f"{FOLDER}/pages/{path.name}", without_solutions(path.read_text(encoding="utf-8")))
    return target
