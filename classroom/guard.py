"""Run one submission under limits: a notebook on standard input, its outputs on standard output, both as JSON.

The grader starts this file in an enclosure, see isolation.py, and it starts the kernel. A cell that raises loses its
own tests only. A cell that never ends is interrupted; one that cannot be interrupted, or ends the kernel, then or
later, is replaced by an error that says so, and the notebook is run again without it. Output beyond a limit is dropped
as it arrives. Each test runs in a namespace of its own, with Python's own built-in names and with what the tests use
defined anew, whatever an answer has redefined.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

TIMEOUT = "CellTimeoutError"
LIMITS = {
    "timeout": 120,  # seconds for one cell
    "notebook_timeout": 900,  # seconds for one notebook, restarts included
    "output_limit": 100_000,  # bytes of output that are kept of one cell
    "restarts": 4,  # cells that may stop the kernel before the rest is given up
    "patience": 20,  # seconds that a kernel has to come to rest after an interrupt
    "memory": 4_000_000_000,  # bytes of all processes of the notebook together
}

# Runs in the kernel before the notebook does. A test sees the student's names but for those of Python's built-ins, and
# what it defines is gone after it; the functions of numpy and afli are put back for it, and IPython's transformers are
# its own; quit() raises, as sys.exit() does.
PREPARE_KERNEL = """
def _prepare():
    import builtins, contextlib, importlib, sys, types
    shell, own = get_ipython(), dict(vars(builtins))
    outside = shell.user_module, shell.user_ns
    originals = [(builtins, own)]
    for name in "math numpy afli.activations afli.bounds afli.gaussian afli.kernels afli.meanfield".split():
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            originals.append((module, dict(vars(module))))

    manager = getattr(shell, "input_transformer_manager", shell)
    hooks = [(shell, name) for name in "ast_transformers input_transformers_post custom_exceptions CustomTB".split()]
    hooks += [(manager, name) for name in "cleanup_transforms line_transforms token_transformers".split()]

    def held():
        return [list(v) if isinstance(v, list) else v for v in (getattr(owner, name, None) for owner, name in hooks)]

    def hang(values):
        for (owner, name), value in zip(hooks, values):
            setattr(owner, name, list(value) if isinstance(value, list) else value)

    plain, theirs = held(), []

    def enter():
        for module, names in originals:
            vars(module).update(names)
        theirs[:] = held()
        hang(plain)
        room = types.ModuleType("tests")
        room.__dict__.update({k: v for k, v in outside[1].items() if k not in own}, __builtins__=builtins)
        shell.user_module, shell.user_ns = room, vars(room)

    def leave():
        hang(theirs)
        shell.user_module, shell.user_ns = outside

    streams = sys.stdout, sys.stderr

    def reopen(*arguments):  # the kernel flushes both before it answers, and never does if it cannot
        for name, stream in zip(("stdout", "stderr"), streams):
            if getattr(getattr(sys, name), "closed", False):
                setattr(sys, name, stream)

    if hasattr(shell, "events"):
        shell.events.register("post_run_cell", reopen)

    def ask_exit(*arguments):
        raise SystemExit("quit() and exit() would end the kernel; they end this cell")

    shell.ask_exit = ask_exit
    sys.modules["afli_grader"] = room = types.ModuleType("afli_grader")
    room.enter, room.leave = enter, leave

_prepare()
del _prepare
"""


class CellStoppedError(Exception):
    """A cell after which the kernel is of no use any more."""

    def __init__(self, index: int, reason: str, *, ended: bool = False) -> None:
        super().__init__(reason)
        self.index, self.reason, self.ended = index, reason, ended


class GuardedClient(NotebookClient):
    """nbclient's client with limits on time, output and memory.

    linger: seconds for which the kernel has to live on after the last cell.
    """

    def __init__(self, nb: NotebookNode, limits: dict[str, int], deadline: float, linger: float = 0.0) -> None:
        super().__init__(
            nb, kernel_name="python3", kernel_manager_class=AsyncKernelManager, timeout=limits["timeout"],
            allow_errors=True, interrupt_on_timeout=True, raise_on_iopub_timeout=True,
            iopub_timeout=limits["patience"], shutdown_kernel="immediate", shell_timeout_interval=1,
            error_on_timeout=_error(TIMEOUT, f"The cell ran longer than {limits['timeout']} s and was stopped."),
        )  # fmt: skip
        self.limits, self.deadline, self.linger, self.too_large = limits, deadline, linger, False

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        if os.name == "posix":  # sockets in a folder: an enclosure has no network, and needs none
            manager.transport, manager.ip = "ipc", os.path.join(tempfile.mkdtemp(), "kernel")
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        client = await super().async_start_new_kernel_client()
        if os.name == "posix":  # nbclient would end the kernel, and a student may send these
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
        await self._tell(PREPARE_KERNEL)
        return client

    async def _tell(self, code: str) -> None:
        """Run code in the kernel that leaves no trace in the notebook."""
        assert self.kc is not None
        await self.async_wait_for_reply(self.kc.execute(code, silent=True, store_history=False))

    async def async_execute_cell(
        self, cell: NotebookNode, cell_index: int, execution_count: int | None = None, store_history: bool = True
    ) -> NotebookNode:
        """Execute one cell. Raises CellStoppedError if the kernel does not survive it."""
        self._kept = 0
        if time.monotonic() > self.deadline:
            whole = self.limits["notebook_timeout"]
            raise CellStoppedError(cell_index, f"the notebook as a whole ran longer than {whole} s")
        runs, test = cell.cell_type == "code" and bool(cell.source.strip()), is_test(cell)
        try:
            if test:
                await self._tell("__import__('afli_grader').enter()")
            cell = await super().async_execute_cell(cell, cell_index, execution_count, store_history)
            if runs and self._is_full(cell):
                raise CellStoppedError(cell_index, f"it needed more memory than {self.limits['memory'] / 1e9:g} GB")
            if runs:  # an answer comes only from a kernel that is still there
                await self._tell("__import__('afli_grader').leave()" if test else "")
            if self.linger and cell_index == len(self.nb.cells) - 1:
                await asyncio.sleep(self.linger)
                await self._tell("")
        except DeadKernelError:
            memory = f"it needed more memory than {self.limits['memory'] / 1e9:g} GB"
            reason = memory if self.too_large else "it ended the Python process (exit, too much memory, or a crash)"
            raise CellStoppedError(cell_index, reason, ended=True) from None
        except CellTimeoutError:  # it has been interrupted, and the kernel has not come to rest
            reason = f"it ran longer than {self.timeout} s, or wrote without end, and could not be interrupted"
            raise CellStoppedError(cell_index, reason) from None
        return cell

    def _is_full(self, cell: NotebookNode) -> bool:
        """Whether a cell ran out of memory and left so little that the next one would pay for it."""
        failed = any(output.get("ename") == "MemoryError" for output in cell.outputs)
        return failed and sum(_resident(process) for process in _others()) > self.limits["memory"] / 2

    async def on_cell_executed(self, cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
        """An error that wrote no output, an interrupt for instance, is an error all the same."""
        content = execute_reply["content"]
        shown = [output.get("ename") for output in cell.outputs]
        if content["status"] == "error" and content["ename"] not in shown:
            trace = content["traceback"] or [f"{content['ename']}: {content['evalue']}"]
            cell.outputs.append(new_output("error", ename=content["ename"], evalue=content["evalue"], traceback=trace))

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        """Keep an output unless the cell has written too much already; errors are always kept."""
        size, limit = len(str(msg["content"])), self.limits["output_limit"]
        if msg["msg_type"] != "error" and self._kept + size > limit:
            if self._kept <= limit:
                note = f"\n... output beyond {limit} bytes was dropped ...\n"
                outs.append(new_output("stream", name="stdout", text=note))
            self._kept = limit + 1
            return None
        self._kept += size
        return super().output(outs, msg, display_id, cell_index)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """End all processes of the notebook when together they need more memory than they may have."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.3):
                if sum(_resident(process) for process in _others()) > self.limits["memory"]:
                    self.too_large = True
                    end_others()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _others() -> list[psutil.Process]:
    """Every process that this one is responsible for: as process 1 of an enclosure, all."""
    if os.getpid() == 1:
        return [process for process in psutil.process_iter() if process.pid != 1]
    return psutil.Process().children(recursive=True)


def end_others() -> None:
    """End them, and wait until they are gone."""
    others = _others()
    for process in others:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(others, timeout=5)


def execute(nb: NotebookNode, limits: dict[str, int]) -> None:
    """Execute every cell that can be executed; each other code cell gets an error with the reason."""
    limits = LIMITS | limits
    deadline = time.monotonic() + limits["notebook_timeout"]
    stopped: dict[int, str] = {}
    first, linger = None, 0.0
    while True:
        began = time.monotonic()
        attempt, stop = _attempt(nb, stopped, limits, deadline, linger)
        if stop is None:
            break
        if first is not None and stop.ended:  # the kernel ended again: did one cell before the first end do both?
            late = _late(nb, first, limits, deadline, linger)
            if late is not None:
                attempt = late
                break
        if first is None and stop.ended:  # a timer may have ended it: from now on the kernel must live as long again
            first, linger = stop.index, min(time.monotonic() - began, limits["patience"])
        stopped[stop.index] = stop.reason
        if len(stopped) > limits["restarts"] or time.monotonic() > deadline:
            _give_up(attempt.cells[stop.index :], stop.reason)
            break
    for cell, ran in zip(nb.cells, attempt.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count


def _attempt(
    nb: NotebookNode, stopped: dict[int, str], limits: dict[str, int], deadline: float, linger: float
) -> tuple[NotebookNode, CellStoppedError | None]:
    """Run a copy without the stopped cells, in a kernel and a folder of its own; nothing of it stays behind."""
    attempt = prepared(nb, stopped)
    scratch = Path(tempfile.gettempdir())
    there = set(scratch.iterdir())
    client, folder = GuardedClient(attempt, limits, deadline, linger), tempfile.mkdtemp()
    try:
        with client.watched():
            client.execute(cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return attempt, None
    except CellStoppedError as stop:
        return attempt, stop
    finally:
        end_others()
        for left in {Path(folder)} if os.getpid() != 1 else set(scratch.iterdir()) - there:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _late(nb: NotebookNode, end: int, limits: dict[str, int], deadline: float, linger: float) -> NotebookNode | None:
    """A run in which the kernel lives, without one of the student's cells up to `end`; the latest such cell."""
    suspects = [i for i, cell in enumerate(nb.cells[:end]) if cell.cell_type == "code" and not is_locked(cell)]
    for index in reversed(suspects):
        if time.monotonic() > deadline:
            return None
        attempt, stop = _attempt(nb, {index: "after it the Python process ended"}, limits, deadline, linger)
        if stop is None:
            return attempt
    return None


def is_locked(cell: NotebookNode) -> bool:
    """Whether it is a code cell of the release in which students do not write, test or tool."""
    own = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(own.get("grade")) and not own.get("solution")


def is_test(cell: NotebookNode) -> bool:
    """Whether points hang on the cell's outputs."""
    return is_locked(cell) and cell.metadata["nbgrader"]["points"] > 0


def _error(name: str, text: str) -> dict[str, Any]:
    return {"ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}


def prepared(nb: NotebookNode, stopped: dict[int, str]) -> NotebookNode:
    """A copy to execute: the cells of `stopped` raise, saying why; each test begins with the tools above it.

    Tools are the locked cells worth no points: `setup`, and what a set says that everybody has to use.
    """
    attempt = copy.deepcopy(nb)
    tools = ""
    for index, cell in enumerate(attempt.cells):
        source = cell.source
        if index in stopped:
            cell.source = f"raise RuntimeError({f'This cell was stopped by the grader: {stopped[index]}.'!r})"
        elif is_test(cell):
            cell.source = tools + source
        if is_locked(cell) and not is_test(cell):
            tools += source + "\n"
    return attempt


def _give_up(cells: list[NotebookNode], reason: str) -> None:
    """None of these counts as passed: each code cell gets an error."""
    for cell in cells:
        if cell.cell_type == "code":
            text = f"This cell was not run, because the grader had to stop too often; the last time, {reason}."
            cell.outputs = [new_output("error", **_error("NotRunError", text))]


def main() -> None:
    """Read a notebook and its limits, write the outputs; students' processes reach neither."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    given = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    sys.stdin.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: nobody reads this process's memory or files
    notebook = nbformat.from_dict(given["notebook"])
    execute(notebook, given["limits"])
    ran = {i: cell for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"}
    json.dump({i: {"outputs": c.outputs, "execution_count": c.execution_count} for i, c in ran.items()}, answer)
    answer.close()


if __name__ == "__main__":
    main()
