"""Code as a page shows it: no line longer than the column of text. The source keeps its own lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from nbformat import NotebookNode

COLUMN = 78  # characters that fit beside a page's contents at 1280 pixels


def too_wide(source: str) -> bool:
    return any(len(line) > COLUMN for line in source.split("\n"))


def narrow(notebooks: list[NotebookNode]) -> None:
    """Lay out anew, in place, the code cells that have a longer line. What they mean stays the same.

    Raises subprocess.CalledProcessError for code that does not parse.
    """
    cells = [cell for page in notebooks for cell in page.cells if cell.cell_type == "code" and too_wide(cell.source)]
    with TemporaryDirectory(prefix="afli-columns-") as folder:
        files = [Path(folder) / f"{number}.py" for number in range(len(cells))]
        for file, cell in zip(files, cells, strict=True):
            file.write_text(cell.source, encoding="utf-8")
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--quiet", f"--line-length={COLUMN}", folder]
        subprocess.run(command, check=True)
        for file, cell in zip(files, cells, strict=True):
            cell.source = file.read_text(encoding="utf-8").rstrip("\n")
