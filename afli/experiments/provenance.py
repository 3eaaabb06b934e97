"""Where a table comes from: code, versions, machine and commit, as its manifest records them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["RESULT_FILES", "code_hash", "commit", "machine", "versions"]

PACKAGE = Path(__file__).resolve().parents[1]
TAKING_PART = ("afli", "numpy", "scipy", "torch", "pandas", "pyarrow", "scikit-learn")

# The files that determine a network's numbers, given the theory's q* and sigma_w2.
RESULT_FILES = (
    "data.py",
    "experiments/spec.py",
    "experiments/training.py",
    "networks/ensemble.py",
    "networks/init.py",
    "networks/modules.py",
    "networks/passes.py",
    "networks/products.py",
)


@cache
def code_hash() -> str:
    """16 hexadecimal digits over RESULT_FILES: tables made by different code are never mixed."""
    digest = hashlib.sha256()
    for name in RESULT_FILES:
        digest.update(name.encode() + b"\0" + (PACKAGE / name).read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


def commit() -> str:
    """The git commit of the code, "-dirty" if RESULT_FILES differ from it; $AFLI_COMMIT where there is no git."""
    if named := os.environ.get("AFLI_COMMIT"):
        return named
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("-dirty" if _git("status", "--porcelain", "--", *RESULT_FILES) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


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
    """The processor or accelerator in words."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
