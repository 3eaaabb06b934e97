"""What a page shows: no table without the book's look, no object as Python writes it, no call beside its evidence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

SVG = "image/svg+xml"
DRAWINGS = ("phone", "dark", "dark phone")  # of afli.figures, beside the first
HIDDEN = {"remove-cell", "remove-output", "remove_cell", "remove_output"}
# A name with keyword arguments, a container of strings, an address: what repr() writes and nobody wants to read.
RAW_OBJECT = re.compile(r"\b[A-Z]\w*\([^()\n]*\w=|\bnp\.\w+\(|\btensor\(|<[\w.]+ .*at 0x|^[\[({].*['\"]", re.M)


def complaints(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with the outputs of an executed page, a line each."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or HIDDEN & set(cell.metadata.get("tags", [])):
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            shown = data.get("text/html", "")
            if 'class="dataframe"' in shown or "col_heading" in shown:
                yield f"cell {number}: a table as pandas shows it; use afli.tables.table"
            if '<table class="data' in shown and "<caption>" not in shown and 'class="ledger' not in shown:
                yield f"cell {number}: a table without a caption; use afli.tables.table"
            text = data.get("text/plain", "") if not shown and not any(key.startswith("image/") for key in data) else ""
            if output.output_type == "stream" and output.name == "stdout":
                text = output.text
            raw = RAW_OBJECT.search(text)
            if raw:
                yield f"cell {number}: an object as Python writes it, {raw[0]!r}"


def other_drawings(notebook: NotebookNode) -> dict[str, dict[str, str]]:
    """Figures of an executed page that were drawn several times: the first drawing -> kind -> drawing, all as SVG."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return {
        output.data[SVG]: drawings
        for output in outputs
        if (drawings := {k: v for k, v in output.get("metadata", {}).get(SVG, {}).items() if k in DRAWINGS})
    }


def without_other_drawings(notebook: NotebookNode) -> NotebookNode:
    """The notebook as Jupyter Book should read it, with one drawing of each figure."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop(SVG, None)
    return notebook


def without_ledger_calls(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the code hidden of each cell that does nothing but ask the ledger: its evidence says it all."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and _asks_the_ledger(cell.source):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-input"]
    return notebook


def _asks_the_ledger(source: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a command of the notebook
        return False
    calls = [node.value for node in body if isinstance(node, ast.Expr | ast.Assign)]
    asked = [ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)]
    rest = [value for value in calls if not isinstance(value, ast.Call)]
    return (
        bool(asked)
        and len(calls) == len(body)
        and set(asked) <= {"claims.verify", "claims.refute"}
        and all(isinstance(value, ast.Name) for value in rest)
    )
