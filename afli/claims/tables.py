"""Section 4 reads the tables that `afli run` wrote and that are committed in results/.

Every row there is of small networks, and says so in its domain: the paper's own scale (CIFAR-10, 100 epochs) is one
command away, and not in the tables. Intervals are 95%, over paired trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from afli.claims.ledger import Evidence, at_most

if TYPE_CHECKING:
    import pandas as pd

    from afli.experiments import statistics

__all__ = ["DIGITS_MAP", "SMALL_BIAS_VARIANCES", "clearly_ahead", "final_rows", "only"]

# What the maps of Figure 7 on digits are, and their bias variances below 1.
DIGITS_MAP = "digits, Shtanh, width 64, 10 epochs, rate 0.001, 5 paired trials, CPU"
SMALL_BIAS_VARIANCES = (0.1, 0.01, 1e-3, 1e-4)


def final_rows(name: str, **settings: Any) -> pd.DataFrame:
    """The rows of a committed table after its last epoch, with these settings."""
    from afli.experiments import statistics

    return only(statistics.final(statistics.load(name)), **settings)


def only(frame: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows with these settings."""
    for column, value in settings.items():
        frame = frame[frame[column] == value]
    return frame


def clearly_ahead(leads: Iterable[statistics.Interval], *, domain: str) -> Evidence:
    """Evidence that every lead, a paired difference of accuracies, exceeds the half-width of its 95% interval."""
    means, halves = zip(*((lead.mean, lead.half_width) for lead in leads), strict=True)
    return at_most(halves, means, strict=True, domain=f"{domain}; half-width of a lead, and lead")
