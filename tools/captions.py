"""Numbers in captions and alt texts: {glue:text}`name:.2f` there is filled in from what the page has kept.

In the text MyST-NB does this; an alt text it takes as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nbformat import NotebookNode

GLUED = re.compile(r"\{glue:text\}`(\w+)(?::([^`]+))?`")


def texts(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, str]]:
    """Where captions and alt texts stand: a mapping in a cell's metadata, and the key in it."""
    for cell in notebook.cells:
        options = cell.metadata.get("mystnb", {})
        for part, key in (("figure", "caption"), ("image", "alt")):
            if key in options.get(part, {}):
                yield options[part], key


def kept_numbers(notebook: NotebookNode) -> dict[str, float]:
    """What `figures.numbers` has left in the outputs of an executed page."""
    found: dict[str, float] = {}
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        text = output.get("data", {}).get("application/papermill.record/text/plain")
        if name and text:
            found[name] = int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    return found


def filled(text: str, numbers: dict[str, float]) -> str:
    """A text with the numbers that it names. Raises KeyError for a name that was not kept."""
    return GLUED.sub(lambda match: format(numbers[match[1]], match[2] or ""), text)


def fill(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the numbers in its captions and alt texts. Raises KeyError for a name that was not kept."""
    numbers = kept_numbers(notebook)
    for options, key in texts(notebook):
        options[key] = filled(options[key], numbers)
    return notebook
