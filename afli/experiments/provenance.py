"""Where a table comes from: code, versions, machine and commit, as its manifest records them. Needs no torch."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_hash", "commit", "git", "machine", "result_modules", "versions"]

PACKAGE = Path(__file__).resolve().parents[1]
TAKING_PART = ("afli", "numpy", "scipy", "torch", "pandas", "pyarrow", "scikit-learn")

# Where the training begins; everything of ours that it imports, directly or not, is in the hash of the code.
TRAINING = "afli.experiments.training"
# What is followed. The theory is not: its part in a row, q* and sigma_w^2, is computed again whenever a table is read.
FOLLOWED = ("afli.data", "afli.experiments.", "afli.networks.")


def result_modules(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The modules that the training imports, by name, parsed; found by following their import statements.

    package: the folder of afli. The `__init__` of a package only names what lies in it, and is left out.
    """
    found: dict[str, ast.Module] = {}
    waiting = [TRAINING]
    while waiting:
        name = waiting.pop()
        path = package.joinpath(*name.split(".")[1:]).with_suffix(".py")
        if name in found or not path.is_file():
            continue
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
        waiting += [other for other in _imported(found[name]) if other.startswith(FOLLOWED)]
    return dict(sorted(found.items()))


def _imported(module: ast.Module) -> Iterator[str]:
    """Every module that is named in an import statement, at the top or inside a function."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def code_hash() -> str:
    """16 hexadecimal digits over the meaning of `result_modules`: no comment and no docstring takes part.

    A table remembers the code that made it, and the codes under which a part of it was trained again with the same
    outcome (`afli verify`).
    """
    return _hash(result_modules())


def _hash(modules: dict[str, ast.Module]) -> str:
    digest = hashlib.sha256()
    for name, module in modules.items():
        digest.update(f"{name}\0{_meaning(module)}\0".encode())
    return digest.hexdigest()[:16]


def _meaning(node: object) -> str:
    """A syntax tree as text, without docstrings and positions, the same under every version of Python.

    `ast.dump` would not do: what it leaves out, and the names of empty fields, change from version to version.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_meaning, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(node):
        fields["body"] = fields["body"][1:]
    return f"{type(node).__name__}({','.join(f'{name}={_meaning(value)}' for name, value in fields.items())})"


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def commit() -> str:
    """The git commit of the code, "-dirty" if afli differs from it; $AFLI_COMMIT where there is no git.

    "unknown" where the repository around this package is not the one that the package belongs to.
    """
    if named := os.environ.get("AFLI_COMMIT"):
        return named
    try:
        git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py")  # fails in somebody else's repository around afli
        return git(PACKAGE, "rev-parse", "HEAD") + (
            "-dirty" if git(PACKAGE, "status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder. Raises OSError or subprocess.SubprocessError where it says nothing.

    A hook of git names its own repository in variables, which are not ours to follow.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=ours, capture_output=True, encoding="utf-8", timeout=30, check=True
    ).stdout.strip()


def versions(packages: Iterable[str] = TAKING_PART) -> dict[str, str]:
    """Python and the packages that take part."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(device: str) -> str:
    """The processor or accelerator in words, exactly enough that two of one name round alike."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in about:
        return platform.processor() or platform.machine()
    wide = next((name for name in ("avx512f", "avx2") if name in about.get("flags", "").split()), "no avx2")
    return f"{about['model name']} (family {about.get('cpu family')}, model {about.get('model')}, {wide})"
