"""The book's own additions to Sphinx: plain docstrings, references by the paper's numbers, no sphinx-thebe."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_proof.nodes import unenumerable_node

# --- docstrings ------------------------------------------------------------------------------------------------------

CODE = re.compile(r"(`[^`]+`)")
MARKUP = re.compile(r"([\\*|_])")
PARAMETERS = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): ")
PAPER_EQUATION = re.compile(r"eq-(\d+)")
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


# --- statements ------------------------------------------------------------------------------------------------------


def number_equations(app: Sphinx, doctree: nodes.document) -> None:
    """The paper's equations, labelled eq-N, carry its number N; this book's own count C1, C2, ... on each page."""
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    own = 0
    for equation in doctree.findall(nodes.math_block):
        label = equation.get("label")
        if label is None:
            continue
        match = PAPER_EQUATION.fullmatch(label)
        own += match is None
        equation["number"] = match[1] if match else f"C{own}"
        equations[label] = (app.env.docname, equation["number"])


def remember_number(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the paper's number of each statement, "3.3" of the title "3.3 (uniform gap)", for references to it.

    sphinx-proof numbers statements itself; with :nonumber: it prints a title as it is and refers to it by type alone.
    """
    for statement in doctree.findall(unenumerable_node):
        number = statement["title"].strip().partition(" (")[0]
        app.env.proof_list[statement["label"]]["number"] = number  # type: ignore[attr-defined]


class PaperNumbers(SphinxPostTransform):
    """References to statements read "Lemma 3.3"."""

    default_priority = 5  # before Sphinx resolves references, at 10

    def run(self, **options: Any) -> None:
        for reference in list(self.document.findall(pending_xref)):
            statement = getattr(self.env, "proof_list", {}).get(reference["reftarget"], {})
            if reference.get("refdomain") == "prf" and "number" in statement and not reference["refexplicit"]:
                text = f"{statement['realtype'].title()} {statement['number']}"
                reference.children = [nodes.inline(text, text)]


# --- scripts ---------------------------------------------------------------------------------------------------------


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out sphinx-thebe's scripts: its live kernels are not offered, and they name a network address."""
    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebe(script)]


def is_thebe(script: Any) -> bool:
    name = str(getattr(script, "filename", script) or "")
    body = (getattr(script, "attributes", None) or {}).get("body") or ""
    return "thebe" in name or "THEBE" in body


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("doctree-read", number_equations)
    app.connect("doctree-read", remember_number)
    app.add_post_transform(PaperNumbers)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the extension that adds them
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
