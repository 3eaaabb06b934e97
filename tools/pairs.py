"""Notebook pairs: each notebooks/*.md is a source, the .ipynb beside it is written from it and holds no outputs.

    python tools/pairs.py             write every .ipynb            (make sync)
    python tools/pairs.py --check     compare, change nothing       (part of make lint)

What readers open is another copy, of the executed page: see clean.py. Pairs are compared by content: modification
times mean nothing after a clone.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]

LINK_TO_SOURCE = re.compile(r"\]\((\w+)\.md(?=[#)])")


def sources(root: Path) -> list[Path]:
    """The Markdown sources of a book's notebooks, in name order."""
    return sorted((root / "notebooks").glob("*.md"))


def read_source(path: Path) -> NotebookNode:
    """The notebook that a Markdown source describes; cell ids are positions, so two readings are equal.

    A link to another source becomes one to its notebook: that is what lies beside it, here and in the book. Some
    editors put a byte order mark before UTF-8; it is no part of the text. ValueError for any other encoding.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be saved as UTF-8, which byte {error.start} is not: {error.reason}") from None
    notebook = jupytext.reads(text, fmt="md:myst")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{position:03d}"
        if cell.cell_type == "markdown":
            cell.source = LINK_TO_SOURCE.sub(r"](\1.ipynb", cell.source)
    # Which jupytext wrote the header is of no interest to a reader, and would differ from one author to the next.
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)
    return notebook


def stripped(path: Path) -> str:
    """The text of the .ipynb that belongs beside a source."""
    return nbformat.writes(read_source(path)) + "\n"


def complaint(path: Path) -> str | None:
    """What is wrong with the pair of a source, or None."""
    pair = path.with_suffix(".ipynb")
    if not pair.exists():
        return f"{pair.name} is missing: run `make sync`"
    if pair.read_text(encoding="utf-8") != stripped(path):
        return f"{pair.name} differs from {path.name}: edit the .md, then run `make sync`, which overwrites the .ipynb"
    return None


def check(root: Path, pages: list[Path]) -> int:
    """Print what differs; 1 if anything does."""
    orphans = {p.stem for p in (root / "notebooks").glob("*.ipynb")} - {p.stem for p in pages}
    complaints = [f"{name}.ipynb has no source" for name in sorted(orphans)]
    complaints += [found for page in pages if (found := complaint(page))]
    print("\n".join(complaints) or f"{len(pages)} notebooks equal their sources")
    return 1 if complaints else 0


def write(pages: list[Path]) -> int:
    """Write the .ipynb of every source."""
    for page in pages:
        page.with_suffix(".ipynb").write_text(stripped(page), encoding="utf-8")
    print(f"{len(pages)} notebooks written")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write or check the .ipynb beside each notebook source.")
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(argv)
    pages = sources(options.root)
    try:
        return check(options.root, pages) if options.check else write(pages)
    except ValueError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
