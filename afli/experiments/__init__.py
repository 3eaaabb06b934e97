"""Experiments on real networks (Section 4): what they are, how they run, and the tables they leave behind.

    from afli import experiments
    grid = experiments.grid("fig7", "smoke")
    experiments.run(grid, "results")                    # or, in a shell: afli run fig7 --profile smoke --out results
    frame = experiments.Table("results/fig7-smoke-digits").frame
    experiments.train(grid.experiments[:1], data.load("digits"))   # one row again, to compare

What needs torch or pandas is loaded when it is first used: listing presets needs neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from afli.experiments.presets import PRESETS, PROFILES, Profile, grid, register_preset
from afli.experiments.spec import Experiment, Grid, LinearSchedule, register_activation

if TYPE_CHECKING:
    from afli.experiments.executors import WorkerError
    from afli.experiments.runner import Report, run
    from afli.experiments.table import Table, TableError, merge, same_rows, summary
    from afli.experiments.training import Setup, train
    from afli.experiments.verification import Verification, verify

__all__ = [
    "PRESETS", "PROFILES", "Experiment", "Grid", "LinearSchedule", "Profile", "Report", "Setup", "Table", "TableError",
    "Verification", "WorkerError", "grid", "merge", "register_activation", "register_preset", "run", "same_rows",
    "summary", "train", "verify",
]  # fmt: skip

_LATER = {
    "executors": ("WorkerError",),
    "runner": ("Report", "run"),
    "table": ("Table", "TableError", "merge", "same_rows", "summary"),
    "training": ("Setup", "train"),
    "verification": ("Verification", "verify"),
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(f"afli.experiments.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
