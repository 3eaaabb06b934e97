"""Slides for the course, with the figures of the book: slides.md becomes COURSE/slides.html, a page of reveal.js.

    python classroom/make.py slides --root COURSE          (make slides)

A line `{figure} PAGE NAME` stands for the figure of that name on that page of the book; a page that has not run since
it changed is run. A last paragraph that begins with `Note:` is for the speaker's view, which the key S opens. The
pictures are in the file; reveal.js itself comes from the network when the slides are shown.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

from course import HERE
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

sys.path.append(str(HERE.parent / "tools"))
from build import Book, run_book
from captions import filled, kept_numbers

FIGURE = re.compile(r"^\{figure\} (?P<page>\S+) (?P<name>\S+)$", re.MULTILINE)
SHOWN = ("image/png", "image/svg+xml")
# A slide of reveal.js is 960 by 700: a title in one line, a formula or a sentence, a figure, a question.
STYLE = """<style>
.reveal .slides h1 { font-size: 42px; margin: 0 0 18px; }
.reveal .slides p, .reveal .slides li { font-size: 26px; line-height: 1.35; }
.reveal .slides img { display: block; height: 470px; max-width: 100%; margin: 8px auto; object-fit: contain; }
.reveal .slides .jp-Cell, .reveal .slides .jp-RenderedHTMLCommon { padding: 0; max-width: 100%; }
.reveal .slides .jp-InputPrompt, .reveal .slides .jp-InputCollapser { display: none; }
</style>
"""


def wanted(text: str) -> dict[str, list[str]]:
    """The figures that slides name, by page."""
    found: dict[str, list[str]] = {}
    for match in FIGURE.finditer(text):
        found.setdefault(match["page"], []).append(match["name"])
    return found


def places(page: NotebookNode) -> dict[str, NotebookNode]:
    """The cells of a page that draw its figures, by name."""
    found = ((cell.metadata.get("mystnb", {}).get("figure", {}).get("name", ""), cell) for cell in page.cells)
    return {name: cell for name, cell in found if name}


def drawn(page: NotebookNode, name: str) -> tuple[str, dict[str, str]]:
    """A figure of a page that has run: the words for whoever cannot see it, and the picture by its media type.

    Raises ValueError for a name that the page does not have.
    """
    cells = places(page)
    if name not in cells:
        raise ValueError(f"no figure {name} on that page, expected one of {', '.join(cells)}")
    shown = [output.data for output in cells[name].outputs if "data" in output]
    picture = next({kind: encoded(kind, data[kind])} for data in shown for kind in SHOWN if kind in data)
    return filled(cells[name].metadata["mystnb"]["image"]["alt"], kept_numbers(page)), picture


def encoded(kind: str, data: str) -> str:
    """A picture as an attachment holds it, in base64; in outputs SVG is plain text."""
    return base64.b64encode(data.encode()).decode() if kind == "image/svg+xml" else data


def build(root: Path) -> Path:
    """Write root/slides.html."""
    text = (HERE / "slides.md").read_text(encoding="utf-8")
    named = wanted(text)
    pages = run_book(Book(HERE.parent), named)
    figures = {name: drawn(pages[page], name) for page, names in named.items() for name in names}
    cells = []
    for slide in re.split(r"^---$", text, flags=re.MULTILINE):
        source = FIGURE.sub(lambda match: f"![{figures[match['name']][0]}](attachment:{match['name']})", slide)
        source, _, note = source.partition("\nNote: ")
        cell = new_markdown_cell(source.strip(), metadata={"slideshow": {"slide_type": "slide"}})
        if held := {match["name"]: figures[match["name"]][1] for match in FIGURE.finditer(slide)}:
            cell.attachments = held
        cells.append(cell)
        if note:
            cells.append(new_markdown_cell(note.strip(), metadata={"slideshow": {"slide_type": "notes"}}))
    page, _ = SlidesExporter().from_notebook_node(new_notebook(cells=cells))
    root.mkdir(parents=True, exist_ok=True)
    (root / "slides.html").write_text(page.replace("</head>", f"{STYLE}</head>", 1), encoding="utf-8")
    return root / "slides.html"
