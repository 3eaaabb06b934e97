"""Notebooks for Jupyter, Colab and Binder: what a page says, in Markdown that these show.

    python tools/clean.py --install-from https://github.com/OWNER/REPOSITORY
                          overwrite notebooks/*.ipynb by clean copies that install the repository on Colab

A page is written in MyST, which only the book typesets. In the copy, numbers stand where {glue:text} was, references
have their names, statements and exercises are paragraphs between rules, captions stand under figures, and the solutions
are at the end, below a heading that is folded.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from captions import GLUED, kept_numbers
from labels import Label, citations, labels
from nbformat import NotebookNode
from pairs import sources

ROOT = Path(__file__).resolve().parents[1]
# Only the published copy has this cell, before its first code cell; it does nothing outside Colab. A clone, not the
# package alone: pages read tables of the repository, some from the folder they are in. Python finds an editable install
# only when it starts, so the running kernel is told where it is.
INSTALL_CELL = """\
import sys
if "google.colab" in sys.modules:
    !test -d /content/companion || git clone --quiet --depth 1 "{repository}" /content/companion
    %pip install -q -e "/content/companion[notebooks]"
    %cd -q /content/companion/notebooks
    sys.path.insert(0, "/content/companion")"""

FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\} *(?P<title>.*)$")
OPTION = re.compile(r"^:([\w-]+): *(.*)$")
ROLE = re.compile(r"\{([a-z][\w:-]*)\}`([^`]+)`")
TARGET = re.compile(r"^(.*?)\s*<([^>]+)>$", re.DOTALL)
NUMBERED = re.compile(r"\$\$(.*?)\$\$ *\(([\w.-]+)\)", re.DOTALL)
LINK = re.compile(r"\]\((\w+)(?=[#)])")
ANCHOR = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
COMMENT = re.compile(r"^%.*\n?", re.MULTILINE)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
GLUE_RECORD = "application/papermill.record/"
RULE = "***"  # not ---, which makes a heading of the line above it


@dataclass
class Names:
    """What the references of a page are to say.

    labels: of the whole book. cited: authors and year by key. macros: TeX that the book defines and Jupyter does not.
    page: the page that refers. numbers: what it has kept.
    """

    labels: dict[str, Label]
    cited: dict[str, tuple[str, str]]
    macros: dict[str, str]
    page: str = ""
    numbers: dict[str, float] = field(default_factory=dict)

    def link(self, label: Label, text: str) -> str:
        """A link to another page's notebook; on the page itself, and to what has no notebook, the text alone."""
        folder, name = label.page.split("/")
        return f"[{text}]({name}.ipynb)" if folder == "notebooks" and name != self.page else text

    def reference(self, target: str, text: str) -> str:
        """Raises KeyError for a label that the book has not."""
        label = self.labels[target]
        return self.link(label, text or label.name)

    def document(self, target: str, text: str) -> str:
        path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"notebooks/{target}")
        return self.reference(path, text)

    def citation(self, keys: str, form: str) -> str:
        found = [self.cited[key.strip()] for key in keys.split(",")]
        if form == "cite:p":
            return f"({'; '.join(f'{who}, {when}' for who, when in found)})"
        return ", ".join(f"{who} ({when})" for who, when in found)

    def number(self, content: str) -> str:
        name, _, form = content.partition(":")
        return format(self.numbers[name], form)


def resolved(text: str, names: Names) -> str:
    """Text without MyST's roles, labels and comments, and with the book's TeX macros written out."""

    def role(match: re.Match[str]) -> str:
        kind, content = match[1], match[2]
        explicit = TARGET.match(content)
        shown, target = (explicit[1], explicit[2]) if explicit else ("", content)
        if kind == "glue:text":
            return names.number(content)
        if kind.startswith("cite:"):
            return names.citation(content, kind)
        if kind == "doc":
            return names.document(target, shown)
        return names.reference(target, shown)

    def numbered(match: re.Match[str]) -> str:
        return f"$${match[1].rstrip()}\n{tag(names, match[2])}$$"

    text = COMMENT.sub("", ANCHOR.sub("", text))
    text = LINK.sub(lambda m: f"]({m[1]}.ipynb" if f"notebooks/{m[1]}" in names.labels else m[0], text)
    text = NUMBERED.sub(numbered, text)
    text = ROLE.sub(role, text)
    for name, tex in names.macros.items():
        text = re.sub(rf"\\{name}(?![a-zA-Z])", lambda _, tex=tex: tex, text)  # type: ignore[misc]
    return text


def tag(names: Names, label: str) -> str:
    return rf"\tag{{{names.labels[label].name.strip('()')}}}" + "\n"


# --- directives ------------------------------------------------------------------------------------------------------


@dataclass
class Directive:
    """A fenced block of MyST: ```{name} title, options, body."""

    name: str
    title: str
    options: dict[str, str]
    body: str


def blocks(text: str) -> Iterator[str | Directive]:
    """The parts of a Markdown text in order: plain lines, and directives with all that is in them."""
    lines = iter(text.split("\n"))
    plain: list[str] = []
    for line in lines:
        opening = FENCE.match(line)
        if not opening:
            plain.append(line)
            continue
        yield "\n".join(plain)
        plain = []
        inside = []
        for below in lines:
            if re.fullmatch(re.escape(opening["fence"][0]) + f"{{{len(opening['fence'])},}} *", below):
                break
            inside.append(below)
        options = {}
        while inside and (option := OPTION.match(inside[0])):
            options[option[1]] = option[2]
            inside.pop(0)
        yield Directive(opening["name"], opening["title"].strip(), options, "\n".join(inside).strip("\n"))
    yield "\n".join(plain)


def between_rules(text: str) -> str:
    return f"{RULE}\n\n{text}\n\n{RULE}"


def statement(block: Directive, body: str, names: Names) -> str:
    """A lemma and its like; the book's number where the title has none."""
    number = names.labels[block.options["label"]].name if "label" in block.options else ""
    kind = block.name.removeprefix("prf:").title()
    name = re.sub(r"^[A-Z][\d.]* *", "", block.title) if block.title.startswith("(") else block.title
    head = f"{number} {name}" if name.startswith("(") else f"{kind} {name}"
    return between_rules(f"**{head.strip()}.** {body}")


def exercise(block: Directive, body: str, names: Names) -> str:
    return between_rules(f"**{names.labels[block.options['label']].name}: {block.title}** {body}")


def proof(block: Directive, body: str, names: Names) -> str:
    return f"*Proof{f' {block.title}' if block.title else ''}.* {body} ∎"


def formula(block: Directive, body: str, names: Names) -> str:
    return f"$$\n{body}\n{tag(names, block.options['label']) if 'label' in block.options else ''}$$"


def card(block: Directive, body: str, names: Names) -> str:
    title = names.document(block.options["link"], block.title) if "link" in block.options else block.title
    return f"- **{title}** {' '.join(body.split())}"


def box(block: Directive, body: str, names: Names) -> str:
    return between_rules(f"**{block.title}.** {body}" if block.title else body)


SHOWN: dict[str, Callable[[Directive, str, Names], str]] = {
    "exercise": exercise, "prf:proof": proof, "math": formula, "grid-item-card": card,
    "grid": lambda block, body, names: body,
}  # fmt: skip


def as_markdown(text: str, names: Names) -> str:
    """A text of MyST as Markdown that Jupyter shows."""
    parts = []
    for block in blocks(text):
        if isinstance(block, str):
            parts.append(resolved(block, names))
            continue
        show = SHOWN.get(block.name) or (statement if block.name.startswith("prf:") else box)
        body = block.body if block.name == "math" else as_markdown(block.body, names)
        inline = Directive(block.name, resolved(block.title, names), block.options, block.body)
        parts.append(resolved(show(inline, body, names), names))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip("\n")


# --- cells -----------------------------------------------------------------------------------------------------------


def caption(cell: NotebookNode, names: Names) -> str | None:
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if "caption" not in figure:
        return None
    text = GLUED.sub(lambda m: format(names.numbers[m[1]], m[2] or ""), figure["caption"])
    number = names.labels[figure["name"]].name if "name" in figure else "Figure"
    return f"*{number}.* {as_markdown(text, names)}"


def without_marks(cell: NotebookNode) -> NotebookNode:
    """A code cell with what it showed, folded where the book folds or hides it."""
    tags = set(cell.metadata.get("tags", []))
    kept = nbformat.v4.new_code_cell(cell.source, id=cell.id, execution_count=cell.get("execution_count"))
    if tags & {"hide-input", "hide-cell", "remove-cell", "remove-input"}:
        kept.metadata.update({"jupyter": {"source_hidden": True}, "cellView": "form"})
    for output in cell.get("outputs", []):
        kept_elsewhere = any(kind.startswith(GLUE_RECORD) for kind in output.get("data", {}))
        if not kept_elsewhere and output.get("name") != "stderr" and not tags & {"remove-cell", "remove-output"}:
            if "metadata" in output:
                output.metadata = {}
            kept.outputs.append(output)
    return kept


def split_at_solutions(text: str) -> Iterator[str | Directive]:
    """A text cut at the solutions: what stands before, between and after them, and each of their directives."""
    plain: list[str] = []
    position = 0
    for match in re.finditer(r"^(`{3,}|:{3,})\{(solution[\w-]*)\}.*?^\1 *$", text, re.MULTILINE | re.DOTALL):
        plain = [text[position : match.start()]]
        yield from plain
        yield next(block for block in blocks(match[0]) if isinstance(block, Directive))
        position = match.end()
    yield text[position:]


def clean(page: NotebookNode, names: Names) -> NotebookNode:
    """The copy of an executed page that is handed out. Raises KeyError for a label or a number that there is not."""
    names.numbers = kept_numbers(page)
    story: list[NotebookNode] = []
    solutions: list[NotebookNode] = []
    target = story

    def say(text: str) -> None:
        if shown := as_markdown(text, names):
            target.append(nbformat.v4.new_markdown_cell(shown))

    for cell in page.cells:
        if cell.cell_type == "code":
            target.append(without_marks(cell))
            if words := caption(cell, names):
                target.append(nbformat.v4.new_markdown_cell(words))
            continue
        for part in split_at_solutions(cell.source):
            if isinstance(part, str):
                say(part)
            elif part.name == "solution-end":
                target = story
            else:
                target = solutions
                say(f"### {names.labels[part.title].name}")
                say(part.body)
                if part.name == "solution":
                    target = story
    copy = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    copy.cells = story
    if solutions:
        folded = nbformat.v4.new_markdown_cell("## Solutions", metadata={"jp-MarkdownHeadingCollapsed": True})
        copy.cells += [folded, *solutions]
    for position, cell in enumerate(copy.cells):
        cell.id = f"cell-{position:03d}"
        if cell.cell_type == "markdown" and cell.source == "## Solutions":  # Colab keeps folded sections elsewhere
            cell.metadata["id"] = cell.id
            copy.metadata["colab"] = {"collapsed_sections": [cell.id]}
    return copy


RAW = re.compile(r"\{[a-z][\w:-]*\}`|^ *(?:`{3,}|:{3,})\{|^\([\w-]+\)=$", re.MULTILINE)


def raw(copy: NotebookNode) -> list[str]:
    """What is left of MyST in a notebook's text; nothing should be."""
    return [match[0] for cell in copy.cells if cell.cell_type == "markdown" for match in RAW.finditer(cell.source)]


def with_install_cell(notebook: NotebookNode, repository: str) -> NotebookNode:
    """The notebook with a cell that installs the repository on Colab, before its first code cell."""
    first = next((n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    source = INSTALL_CELL.format(repository=repository)
    notebook.cells.insert(first, nbformat.v4.new_code_cell(source, id="install", metadata={"tags": ["remove-cell"]}))
    return notebook


# --- all of them -----------------------------------------------------------------------------------------------------


def names_of(root: Path, html: Path) -> Names:
    """The names of a finished book."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    macros = config["sphinx"]["config"].get("mathjax3_config", {}).get("tex", {}).get("macros", {})
    bibliography = root / "book" / "references.bib"
    return Names(
        labels=labels(html),
        cited=citations(bibliography) if bibliography.exists() else {},
        macros={name: tex[0] if isinstance(tex, list) else tex for name, tex in macros.items()},
    )


def write_copies(executed: dict[str, Path], names: Names, folder: Path, install_from: str | None = None) -> None:
    """Write the clean copy of each executed page into a folder.

    Raises ValueError with the page's name for a label or number that there is not, and for MyST that would be left.
    """
    for page, path in executed.items():
        names.page = page
        try:
            copy = clean(nbformat.read(path, as_version=4), names)
        except KeyError as error:
            raise ValueError(f"notebooks/{page}.md: no name for {error} in the notebook that readers open") from None
        if left := raw(copy):
            raise ValueError(f"notebooks/{page}.md: the notebook that readers open would hold {left[0]!r}")
        if install_from:
            copy = with_install_cell(copy, install_from)
        nbformat.write(copy, folder / f"{page}.ipynb")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Overwrite notebooks/*.ipynb by the copies that readers open.")
    parser.add_argument("--install-from", metavar="URL", help="repository that a cell of each copy clones on Colab")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(argv)
    build = options.root / "_build"
    executed = {source.stem: build / "runs" / f"{source.stem}.ipynb" for source in sources(options.root)}
    missing = [page for page, path in executed.items() if not path.exists()]
    if missing:
        print(f"{missing[0]} has not been executed: run `make book` first", file=sys.stderr)
        return 1
    names = names_of(options.root, build / "html")
    write_copies(executed, names, options.root / "notebooks", options.install_from)
    print(f"{len(executed)} notebooks written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
