"""Settings of nbgrader for this course; `make.py` and the nbgrader commands, run in this folder, both read them."""

import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
os.environ.pop("PYTHONOPTIMIZE", None)  # the tests are asserts, and the kernels that run them inherit this

from isolation import IsolatedExecute  # noqa: E402
from nbgrader.preprocessors import (  # noqa: E402
    AssignLatePenalties,
    CheckCellMetadata,
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
)
from pages import clean_html  # noqa: E402

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (traitlets provides it)
c.CourseDirectory.root = str(here / "_build")
c.CourseDirectory.course_id = "afli"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.md", "*.py", "*.txt", "*.yaml"]

# Student code runs apart from all else and under limits, see isolation.py and guard.py.
c.Autograde.autograde_preprocessors = [
    IsolatedExecute, IgnorePattern, LimitOutput, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata
]  # fmt: skip
# nbgrader takes anything on stderr for a failed test; a warning from numpy is none. Errors are reported separately.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"
c.LimitOutput.max_lines = 200
c.OverwriteCells.add_missing_cells = True

# What students write in Markdown is shown on pages that teachers and they open: text and pictures, no scripts.
c.HTMLExporter.sanitize_html = True
# Only the second of these filters stands behind Markdown in the templates of nbgrader's pages.
c.HTMLExporter.filters = {"clean_html": clean_html, "strip_files_prefix": clean_html}
