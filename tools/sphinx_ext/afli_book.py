"""The book's own additions to Sphinx: plain docstrings set as reStructuredText, and pages without sphinx-thebe."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"(`[^`]+`)")
MARKUP = re.compile(r"([\\*|_])")
PARAMETERS = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): ")
SENTENCES_OF_THEIR_OWN = ("Returns ", "Raises ", "Accuracy", "Source")


def plain_to_rst(lines: list[str]) -> list[str]:
    """A plain-text docstring as reStructuredText.

    Blank lines separate paragraphs, `name: what it is` becomes a list item, an indented paragraph is shown as code,
    words in `backticks` are code, and nothing else is markup: |z| and 2 * a stay what they are.
    """
    rst: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        if paragraph.startswith(" "):
            rst += ["::", "", *paragraph.split("\n"), ""]
            continue
        for line in paragraph.split("\n"):
            parameters = PARAMETERS.match(line)
            if parameters:
                text = escape(line[parameters.end() :])
                rst += ["", f"* ``{parameters[1]}``: {text}"]
            elif line.startswith(SENTENCES_OF_THEIR_OWN) or not rst or not rst[-1]:
                rst += ["", escape(line.strip())]
            else:
                rst[-1] += f" {escape(line.strip())}"
        rst.append("")
    return rst


def escape(text: str) -> str:
    """Text in which only `code` is marked up."""
    parts = CODE.split(text)
    return "".join(f"`{part}`" if CODE.fullmatch(part) else MARKUP.sub(r"\\\1", part) for part in parts)


def process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain_to_rst(lines)


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out sphinx-thebe's scripts: its live kernels are not offered, and they name a network address."""
    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebe(script)]


def is_thebe(script: Any) -> bool:
    name = str(getattr(script, "filename", script) or "")
    body = (getattr(script, "attributes", None) or {}).get("body") or ""
    return "thebe" in name or "THEBE" in body


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the extension that adds them
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
