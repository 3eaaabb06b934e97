"""What is known about each run of a page, and the table of it that the Provenance page shows."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from afli.experiments.provenance import git, machine


@dataclass(frozen=True)
class Run:
    """One execution of one page: papermill's clock, and what it ran on."""

    page: str
    key: str  # of everything the outputs depend on; see build.page_key
    started: str  # UTC, to the second
    seconds: float
    python: str
    packages: dict[str, str]
    device: str
    commit: str

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Run | None:
        """The run recorded at path; None where there is none, or one of an older format."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def environment(self) -> tuple[str, ...]:
        """What two runs must share to count as made in the same place."""
        return (f"Python {self.python}", *(f"{k} {v}" for k, v in self.packages.items()), self.device)


def device() -> str:
    """The processor in words, as far as the system tells it."""
    return f"{machine('cpu')}, {os.cpu_count()} cores, one thread a page, {platform.system()}"


def commit(root: Path) -> str:
    """The commit checked out at root, marked where tracked files differ from it; 'unknown' outside git.

    A repository that does not track the book's files is somebody else's, around it, and its commit says nothing.
    """
    try:
        git(root, "ls-files", "--error-unmatch", "_toc.yml", "afli", "notebooks")
        return git(root, "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def table(runs: Iterable[Run], executed_now: set[str]) -> str:
    """The Provenance page's tables in Markdown: one row a page, then each environment once."""
    runs = list(runs)
    environments = list(dict.fromkeys(run.environment for run in runs))
    lines = [
        "| page | run at (UTC) | seconds | commit | in this build | environment |",
        "|---|---|--:|---|---|---|",
    ]
    for run in runs:
        state = "executed" if run.page in executed_now else "unchanged, kept"
        lines.append(
            f"| {{doc}}`/notebooks/{run.page}` | {run.started} | {run.seconds:.1f} | `{run.commit}` | {state} "
            f"| {environments.index(run.environment) + 1} |"
        )
    total = sum(run.seconds for run in runs)
    lines += ["", f"Together: {len(runs)} pages, {total:.0f} seconds of execution.", ""]
    for number, parts in enumerate(environments, start=1):
        lines += [f"Environment {number}", f": {'; '.join(parts)}", ""]
    return "\n".join(lines)
