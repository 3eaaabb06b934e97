"""Where student code runs: apart from the course, the gradebook, other submissions and the network.

nbgrader calls `IsolatedExecute`, which sends the notebook to guard.py in an enclosure and takes back nothing but
outputs, each of them checked. Three kinds of enclosure:

namespaces  Linux: a process tree of its own, see enclosure.py. The default where the system allows it.
container   Docker or Podman, with the image of the Dockerfile: the notebook goes in and the outputs come out through
            pipes, and nothing of the disk is mounted.
none        a process of the same user, which can read and write what that user can. Time, output and memory are
            limited, attacks are not stopped.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from guard import LIMITS, is_test
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Integer, Unicode

import afli

HERE = Path(__file__).resolve().parent
KINDS = ("namespaces", "container", "none")
IMAGE = "afli-grader"
PROCESSES = 256  # of one notebook, threads counted
FILE = 256_000_000  # bytes of one file, and of everything in /tmp
ANSWER = 100_000_000  # bytes that an enclosure may answer
PICTURES = ("image/png", "image/jpeg", "image/gif")

SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/nix/store", "/etc/ld.so.cache", "/etc/alternatives",
          "/etc/fonts", "/etc/localtime")  # fmt: skip


def readable() -> list[str]:
    """What a notebook needs to read: the system's programs, this Python with its packages, afli, and guard.py."""
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    pythons = [sys.prefix, sys.base_prefix, str(Path(os.path.realpath(sys.executable)).parents[1])]
    own = [str(Path(afli.__file__).parent), str(HERE / "guard.py")]
    inside = [path for path in [*pythons, *packages] if not path.startswith(("/usr/", "/bin/")) and path != "/usr"]
    return [*SYSTEM, *inside, *own]


def command(kind: str, memory: int, root: str = "") -> list[str]:
    """The command that runs guard.py in an enclosure of that kind; root: an empty folder, for namespaces."""
    run = [sys.executable, str(HERE / "guard.py")]
    if kind == "namespaces":
        spec = {"root": root, "paths": readable(), "memory": memory, "file": FILE, "scratch": FILE,
                "processes": PROCESSES}  # fmt: skip
        return [sys.executable, "-I", str(HERE / "enclosure.py"), json.dumps(spec), *run]
    if kind == "container":
        engine = shutil.which("docker") or shutil.which("podman") or "docker"
        return [
            engine, "run", "--rm", "--interactive", "--network=none", "--read-only", "--cap-drop=ALL",
            "--security-opt=no-new-privileges", "--user=65534:65534", f"--tmpfs=/tmp:size={FILE}", f"--memory={memory}",
            f"--pids-limit={PROCESSES}", "--env=AFLI_VARIANT", IMAGE,
        ]  # fmt: skip
    return run


@functools.cache
def available(kind: str) -> str:
    """Why this machine has no enclosure of that kind; empty if it has."""
    if kind == "none":
        return ""
    if kind == "namespaces" and platform.system() != "Linux":
        return f"{platform.system()} has no namespaces"
    if kind == "container":
        if not (shutil.which("docker") or shutil.which("podman")):
            return "there is neither docker nor podman"
        found = subprocess.run([*command(kind, 10**9)[:1], "image", "inspect", IMAGE], capture_output=True, text=True)
        lines = found.stderr.strip().splitlines()
        return lines[-1] if found.returncode and lines else "" if not found.returncode else f"no image {IMAGE}"
    with tempfile.TemporaryDirectory() as root:
        words = command(kind, 10**9, root)[:-2]
        tried = subprocess.run([*words, sys.executable, "-c", ""], capture_output=True, text=True)
    return (tried.stderr.strip().splitlines() or ["it failed"])[-1] if tried.returncode else ""


def best() -> str:
    """The best kind of enclosure on this machine."""
    return next(kind for kind in KINDS if not available(kind))


def _environment(home: str) -> dict[str, str]:
    """What a notebook's processes find in their environment: nothing of the teacher's. home: where they may write."""
    kept = ("LANG", "LC_ALL", "AFLI_VARIANT", "SYSTEMROOT", "PATH", "OMP_NUM_THREADS")
    folders = dict.fromkeys(("HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"), home)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = {"PYTHONPATH": str(Path(afli.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1", "USER": "student"}
    return folders | threads | paths | {name: os.environ[name] for name in kept if name in os.environ}


def run(notebook: NotebookNode, limits: Mapping[str, int], kind: str) -> tuple[dict[str, Any], str]:
    """Run a notebook in an enclosure: what guard.py answers, and the reason where it answers nothing.

    Whatever happens in the enclosure, all of its processes are gone afterwards.
    """
    limits = LIMITS | dict(limits)
    sent = json.dumps({"notebook": notebook, "limits": limits}).encode()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        words = command(kind, limits["memory"], root)
        # The client of docker or podman is a program of the teacher's, and passes on AFLI_VARIANT alone.
        environment = (
            dict(os.environ) if kind == "container" else _environment("/tmp" if kind == "namespaces" else root)
        )
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=errors,
            env=environment,
            cwd=root,
            start_new_session=True,
        )
        try:
            process.communicate(sent, timeout=limits["notebook_timeout"] + 2 * limits["timeout"] + 60)
        except subprocess.TimeoutExpired:
            return {}, "the notebook as a whole did not end in time"
        finally:
            _end(process)
        size = answer.tell()
        answer.seek(0)
        try:
            found = json.loads(answer.read()) if 0 < size <= ANSWER else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found, ""
        errors.seek(0)
        lines = errors.read(10_000).decode(errors="replace").strip().splitlines()
        return {}, f"the process that runs the notebook was ended ({lines[-1] if lines else 'it wrote nothing'})"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None and os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def checked(output: Any, *, test: bool) -> NotebookNode | None:
    """An output that a page may show: text and pictures. None for what is no output.

    HTML, JavaScript and SVG are left out, with a note where nothing else says the same. A test has no result: nbgrader
    would take a number for points.
    """
    try:
        kind = output["output_type"]
        if kind == "stream":
            return new_output(
                kind, name="stderr" if output["name"] == "stderr" else "stdout", text=_text(output["text"])
            )
        if kind == "error":
            trace = [_text(line) for line in output["traceback"]]
            return new_output(kind, ename=_text(output["ename"]), evalue=_text(output["evalue"]), traceback=trace)
        if kind not in ("display_data", "execute_result"):
            return None
        data = output["data"]
        shown = {mime: picture for mime in PICTURES if (picture := _picture(data.get(mime)))}
        left_out = ", ".join(sorted(map(str, data)))[:200]
        shown["text/plain"] = _text(data.get("text/plain", f"(left out: {left_out})" if not shown else ""))
        count = output.get("execution_count")
        if kind == "execute_result" and not test and isinstance(count, int):
            return new_output(kind, shown, execution_count=count)
        return new_output("display_data", shown)
    except (TypeError, KeyError, AttributeError):
        return None


def _text(value: Any) -> str:
    text = "".join(value) if isinstance(value, list) else str(value)
    return text.encode("utf-8", "replace").decode()


def _picture(value: Any) -> str:
    """Base64 that decodes; empty for anything else."""
    try:
        return base64.b64encode(base64.b64decode(_text(value), validate=False)).decode() if value else ""
    except (binascii.Error, ValueError):
        return ""


class IsolatedExecute(NbGraderPreprocessor):
    """nbgrader's step that runs a submission, in an enclosure and under limits."""

    kind = Unicode("", help="namespaces, container or none; the best that there is").tag(config=True)
    timeout = Integer(LIMITS["timeout"], help="seconds for one cell").tag(config=True)
    notebook_timeout = Integer(LIMITS["notebook_timeout"], help="seconds for one notebook").tag(config=True)
    output_limit = Integer(LIMITS["output_limit"], help="bytes of output that are kept of one cell").tag(config=True)
    restarts = Integer(LIMITS["restarts"], help="cells that may stop the kernel").tag(config=True)
    patience = Integer(LIMITS["patience"], help="seconds that a kernel has to come to rest").tag(config=True)
    memory = Integer(LIMITS["memory"], help="bytes of all processes of a notebook").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Run the notebook; its code cells get their outputs, and nothing else of it changes."""
        found, reason = run(nb, {name: getattr(self, name) for name in LIMITS}, self.kind or best())
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "code":
                ran = found.get(str(index))
                outputs = ran.get("outputs") if isinstance(ran, dict) else None
                if not isinstance(outputs, list):
                    text = f"This cell was not run: {reason or 'it has no outputs'}."
                    outputs = [{"output_type": "error", "ename": "NotRunError", "evalue": text,
                                "traceback": [f"NotRunError: {text}"]}]  # fmt: skip
                outputs = [checked(output, test=is_test(cell)) for output in outputs]
                cell.outputs = [output for output in outputs if output is not None]
                count = ran.get("execution_count") if isinstance(ran, dict) else None
                cell.execution_count = count if isinstance(count, int) else None
        nbformat.validate(nb)
        return nb, resources
