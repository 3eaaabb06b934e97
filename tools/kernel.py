"""Run one notebook in a kernel of this very interpreter, and ask that kernel what it was."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

# Their versions can change a number on a page.
PACKAGES = ("afli", "numpy", "scipy", "matplotlib", "pandas", "scikit-learn", "torch")

# Runs after the page's last cell: what its imports in fact found, wherever paths and variables pointed.
QUESTION = f"""\
import importlib.metadata, json, platform, sys
def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
print(json.dumps({{
    "python": platform.python_version(),
    "packages": {{package: _version(package) for package in {PACKAGES}}},
    "library": getattr(sys.modules.get("afli"), "__file__", None),
}}))"""


class ThisInterpreter(AsyncKernelManager):
    """Starts the interpreter that runs this process; a kernel installed under some name may be any other."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


@dataclass(frozen=True)
class Kernel:
    """What ran a page, as the kernel said itself."""

    python: str
    packages: dict[str, str]
    library: str | None  # the file of the `afli` that the page imported, if it did


def prepare_environment() -> None:
    """Variables of this process that its kernels inherit; what a page shows must not hang on a user's own."""
    os.environ.update(
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",  # what is published is what a machine without a GPU shows
        PYTHONHASHSEED="0", PYTHONUTF8="1",
    )  # fmt: skip
    for name in ("PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONIOENCODING", "PYTHONSTARTUP"):
        os.environ.pop(name, None)


def execute(notebook: NotebookNode, executed: Path, *, folder: Path, cell_limit: int) -> tuple[NotebookNode, Kernel]:
    """Run a notebook in a folder; returns the executed copy, with papermill's clock in its metadata, and the kernel.

    notebook: gains a last cell. executed: where papermill writes the copy while it runs, to show how far it came.
    cell_limit: seconds. Raises whatever the failing cell, or papermill, raises.
    """
    import papermill

    source = executed.with_suffix(".source.ipynb")
    notebook.cells.append(nbformat.v4.new_code_cell(QUESTION, id="kernel"))
    nbformat.write(notebook, source)
    for attempt in (1, 2):
        try:
            ran = papermill.execute_notebook(
                source, executed, cwd=folder, kernel_name="python3", kernel_manager_class=ThisInterpreter,
                progress_bar=False, log_output=False, execution_timeout=cell_limit,
            )  # fmt: skip
            break
        except RuntimeError as error:  # a kernel of another page took a port between its choice and its use
            if attempt == 2 or "Kernel died before replying" not in str(error):
                raise
    answer = ran.cells.pop()
    return ran, Kernel(**json.loads("".join(output.get("text", "") for output in answer.outputs)))
