"""What a reader wants to know before a page or about all of them: how long, what it needs, which figures there are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nbformat import NotebookNode

WORDS_A_MINUTE = 150  # slower than a novel, for a text with formulas
SHORT = 300  # words; the home page and lists need no such line
NEEDED = {"sklearn": "scikit-learn", "torch": "PyTorch", "pandas": "pandas", "matplotlib": "matplotlib"}
TABLES = re.compile(r"\b(statistics|analysis)\.|\bexperiments\b")
DIRECTIVE = re.compile(r"^\s*(?:[`:]{3,}.*|:[\w-]+:.*)$", re.MULTILINE)


def words(notebook: NotebookNode) -> int:
    """Words of the text of a page; formulas count for what stands between spaces in them."""
    text = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return len(DIRECTIVE.sub("", text).split())


def facts(notebook: NotebookNode, seconds: float) -> str:
    """One line in words about a page whose code ran for so many seconds; "" for a short page."""
    length = words(notebook)
    if length < SHORT:
        return ""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
    if "from afli.networks" in code or re.search(r"import .*\bnetworks\b", code):
        imported.add("torch")
    if re.search(r"\bfigures\b", code):
        imported.add("matplotlib")
    needs = ["NumPy and SciPy", *(name for module, name in NEEDED.items() if module in imported)]
    reads = ", and the tables in `results/`" if TABLES.search(code) else ""
    minutes = max(5, 5 * round(length / WORDS_A_MINUTE / 5))
    return f"About {minutes} minutes to read. Its code ran for {seconds:.0f} s and needs {', '.join(needs)}{reads}."


def with_facts(notebook: NotebookNode, seconds: float) -> NotebookNode:
    """The notebook with that line below its title."""
    line = facts(notebook, seconds)
    first = notebook.cells[0]
    if line and first.cell_type == "markdown":
        title, _, rest = first.source.partition("\n")
        first.source = f"{title}\n\n```{{container}} page-facts\n{line}\n```\n{rest}"
    return notebook


def figure_list(pages: Iterable[tuple[str, NotebookNode]]) -> str:
    """All numbered figures of the book in Markdown, a line each: number, first sentence of the caption, page."""
    lines = []
    for page, notebook in pages:
        for cell in notebook.cells:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            if figure.get("name") and figure.get("caption"):
                sentence = re.split(r"(?<=[a-z0-9$)])\.(?:\s+(?=[A-Z])|\s*$)", figure["caption"], maxsplit=1)[0]
                lines.append(f"- {{numref}}`{figure['name']}`. {sentence}. ({{doc}}`/notebooks/{page}`)")
    return "\n".join(lines) + "\n"
