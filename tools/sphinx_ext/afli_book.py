"""The book's own additions to Sphinx: plain text in docstrings, the paper's numbers and our own, no sphinx-thebe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, NumpyDocstring
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_proof.nodes import unenumerable_node

# --- docstrings ------------------------------------------------------------------------------------------------------

CODE = re.compile(r"(`[^`]+`)")
ARGUMENT_OR_BULLET = re.compile(r"\s*(\*{1,2}(?=\w+ :)|[*-] )")
SECTION = re.compile(r"^-{3,}$", re.MULTILINE)
MARKUP = re.compile(r"([\\*|]|_(?!\w))")  # a_b is no markup; a_ is
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


def escaped(lines: list[str]) -> list[str]:
    """A docstring in the NumPy style, its words plain text, as the reStructuredText that napoleon reads.

    Words in `backticks` are code; |z| and 2 * a stay what they are. Doctests, directives and what "::" announces are
    left alone.
    """
    rst: list[str] = []
    block: int | None = None  # indentation of the line that opened what is left alone
    for line in lines:
        text = line.lstrip()
        indent = len(line) - len(text)
        if text.startswith((">>>", ".. ")):
            block = indent
        elif block is not None and text and indent <= block and not rst[-1].strip():
            block = None
        if block is None:  # the stars of an argument, or the bullet, are markup
            stay = ARGUMENT_OR_BULLET.match(line)
            line = stay[0] + escape(line[stay.end() :]) if stay else escape(line)
        rst.append(line)
        if text.endswith("::"):
            block = indent
    return rst


def to_rst(lines: list[str]) -> list[str]:
    """A docstring as Sphinx is to read it: one with sections in the NumPy style, any other as plain text."""
    if not SECTION.search("\n".join(lines)):
        return plain_to_rst(lines)
    settings = Config(napoleon_use_ivar=True, napoleon_use_param=False, napoleon_use_rtype=False)
    return str(NumpyDocstring(escaped(lines), settings)).splitlines()  # type: ignore[arg-type]


def process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """In place of the extension napoleon, which would take "word: " at the start of a property for a type."""
    lines[:] = to_rst(lines)


# --- statements and equations ----------------------------------------------------------------------------------------

PAPER_EQUATION = re.compile(r"eq-(\d+)")


def in_reading_order(env: BuildEnvironment, docname: str) -> Iterator[str]:
    """A document and all below it in the table of contents."""
    yield docname
    for below in env.toctree_includes.get(docname, []):
        yield from in_reading_order(env, below)


def remember_number(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the paper's number of each statement, "3.3" of the title "3.3 (uniform gap)"; "" for one of our own.

    sphinx-proof numbers statements itself; with :nonumber: it prints a title as it is and refers to it by type alone.
    """
    for statement in doctree.findall(unenumerable_node):
        number = statement["title"].strip().partition("(")[0].strip()
        app.env.proof_list[statement["label"]]["number"] = number  # type: ignore[attr-defined]


def number_all(app: Sphinx, env: BuildEnvironment) -> None:
    """The paper's equations, labelled eq-N, carry its number N; our own and our statements count C1, C2, ..."""
    order = {docname: place for place, docname in enumerate(in_reading_order(env, env.config.root_doc))}
    own = 0
    equations = env.get_domain("math").equations  # type: ignore[attr-defined]
    for label, (docname, _) in sorted(equations.items(), key=lambda entry: order.get(entry[1][0], len(order))):
        paper = PAPER_EQUATION.fullmatch(label)
        own += paper is None
        equations[label] = (docname, paper[1] if paper else f"C{own}")
    statements = [entry for entry in getattr(env, "proof_list", {}).values() if entry.get("number") == ""]
    statements.sort(key=lambda entry: order.get(entry["docname"], len(order)))
    for place, statement in enumerate(statements, start=1):
        statement["number"] = statement["mark"] = f"C{place}"


class ShowNumbers(SphinxPostTransform):
    """Equations and statements of our own show their mark, and references to statements read "Lemma 3.3"."""

    default_priority = 5  # before Sphinx resolves references, at 10

    def run(self, **options: Any) -> None:
        equations = self.env.get_domain("math").equations  # type: ignore[attr-defined]
        statements = getattr(self.env, "proof_list", {})
        for equation in self.document.findall(nodes.math_block):
            if equation.get("label") in equations:
                equation["number"] = equations[equation["label"]][1]
        for node in self.document.findall(unenumerable_node):
            if mark := statements[node["label"]].get("mark"):
                node[0].insert(0, nodes.Text(mark))
        for reference in list(self.document.findall(pending_xref)):
            statement = statements.get(reference["reftarget"], {})
            if reference.get("refdomain") == "prf" and "number" in statement and not reference["refexplicit"]:
                text = f"{statement['realtype'].title()} {statement['number']}"
                reference.children = [nodes.inline(text, text)]


def skip_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, of which Python only says their place: the class describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


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
    app.connect("autodoc-skip-member", skip_field)
    app.connect("doctree-read", remember_number)
    app.connect("env-updated", number_all)
    app.add_post_transform(ShowNumbers)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the extension that adds them
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
