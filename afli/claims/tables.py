"""Section 4 reads the tables that `afli run` wrote and that are committed in results/.

Every row there is of small networks, and says so in its domain: the paper's own scale (CIFAR-10, 100 epochs) is one
command away, and not in the tables. Intervals are 95%, over paired trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["final_rows", "only"]


def final_rows(name: str, **settings: Any) -> pd.DataFrame:
    """The rows of a committed table after its last epoch, with these settings."""
    from afli.experiments import statistics

    return only(statistics.final(statistics.load(name)), **settings)


def only(frame: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows with these settings."""
    for column, value in settings.items():
        frame = frame[frame[column] == value]
    return frame
