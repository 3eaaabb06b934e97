"""Run a submission under limits, so that one notebook can cost time and points but never the class.

A cell that raises loses its own tests only; nbgrader sees to that. Here is the rest: a cell that never ends is
interrupted; one that cannot be interrupted, or kills the kernel, is replaced by an error that says so and the notebook
is run again without it; output beyond a limit is dropped as it arrives; what the tests use is defined anew before each
of them, whatever an answer has redefined. These limits keep honest mistakes and clumsy tricks in check. They are no
sandbox: run the grader in a container.
"""

from __future__ import annotations

import copy
import time
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors.execute import Execute
from nbgrader.utils import is_grade, is_solution
from traitlets import Integer

TIMEOUT = "CellTimeoutError"


class CellStoppedError(Exception):
    """A cell after which the kernel is of no use any more."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index, self.reason = index, reason


class GuardedExecute(Execute):
    """nbgrader's Execute with limits on time, output and restarts."""

    timeout = Integer(120, help="seconds for one cell").tag(config=True)
    notebook_timeout = Integer(900, help="seconds for one notebook, restarts included").tag(config=True)
    output_limit = Integer(100_000, help="bytes of output that are kept of one cell").tag(config=True)
    restarts = Integer(4, help="cells that may stop the kernel before the rest is given up").tag(config=True)
    patience = Integer(20, help="seconds that a kernel has to come to rest after an interrupt").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any], km: Any = None
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Execute every cell that can be executed; each other code cell carries an error with the reason."""
        self.shutdown_kernel, self.iopub_timeout = "immediate", self.patience
        self._deadline = time.monotonic() + self.notebook_timeout
        self.error_on_timeout = _error(TIMEOUT, f"The cell ran longer than {self.timeout} s and was stopped.")
        stopped: dict[int, str] = {}
        while True:
            attempt = _prepared(nb, stopped)
            try:
                super().preprocess(attempt, resources, km)
                break
            except CellStoppedError as stop:
                stopped[stop.index] = stop.reason
                if len(stopped) > self.restarts or time.monotonic() > self._deadline:
                    _give_up(attempt.cells[stop.index :], stop.reason)
                    break
        for cell, ran in zip(nb.cells, attempt.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        return nb, resources

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Execute one cell. Raises CellStoppedError if the kernel does not survive it."""
        self._kept = 0
        if time.monotonic() > self._deadline:
            raise CellStoppedError(index, f"the notebook as a whole ran longer than {self.notebook_timeout} s")
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            raise CellStoppedError(index, "it ended the Python process (exit, too much memory, or a crash)") from None
        except CellTimeoutError:  # nbclient has interrupted it, and the kernel has not come to rest
            reason = f"it ran longer than {self.timeout} s, or wrote without end, and could not be interrupted"
            raise CellStoppedError(index, reason) from None
        return cell, resources

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str, cell_index: int) -> Any:
        """Keep an output unless the cell has written too much already; errors are always kept."""
        size = len(str(msg["content"]))
        if msg["msg_type"] != "error" and self._kept + size > self.output_limit:
            if self._kept <= self.output_limit:
                note = f"\n... output beyond {self.output_limit} bytes was dropped ...\n"
                outs.append(new_output("stream", name="stdout", text=note))
            self._kept = self.output_limit + 1
            return None
        self._kept += size
        return super().output(outs, msg, display_id, cell_index)


def _error(name: str, text: str) -> dict[str, Any]:
    return {"ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}


def _prepared(nb: NotebookNode, stopped: dict[int, str]) -> NotebookNode:
    """A copy to execute: the cells of `stopped` raise, saying why; each test begins with the tools above it.

    Tools are the locked cells worth no points: `setup`, and what a set says that everybody has to use.
    """
    attempt = copy.deepcopy(nb)
    tools = ""
    for index, cell in enumerate(attempt.cells):
        locked = cell.cell_type == "code" and is_grade(cell) and not is_solution(cell)
        tool = locked and cell.metadata["nbgrader"]["points"] == 0
        if tool:
            tools += cell.source + "\n"
        if index in stopped:
            cell.source = f"raise RuntimeError({f'This cell was stopped by the grader: {stopped[index]}.'!r})"
        elif locked and not tool:
            cell.source = tools + cell.source
    return attempt


def _give_up(cells: list[NotebookNode], reason: str) -> None:
    """None of these counts as passed: each code cell gets an error."""
    for cell in cells:
        if cell.cell_type == "code":
            text = f"This cell was not run, because the grader had to stop too often; the last time, {reason}."
            cell.outputs = [new_output("error", **_error("NotRunError", text))]
