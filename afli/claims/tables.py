"""What the claims of Section 4 share: the tables that `afli run` wrote and that are committed in results/.

A check on a stored table says "measured on these tables" in its source, and its statement names dataset, width, rate,
steps and number of trials or splits. Intervals are 95%, over paired trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from afli.claims.ledger import Evidence, at_most

if TYPE_CHECKING:
    from afli.experiments import statistics

__all__ = ["DIGITS_MAP", "SMALL_BIAS_VARIANCES", "clearly_ahead"]

# What the maps of Figure 7 on digits are, and their bias variances below 1.
DIGITS_MAP = "digits, Shtanh, width 64, 220 steps, rate 0.001, 5 paired trials, CPU"
SMALL_BIAS_VARIANCES = (0.1, 0.01, 1e-3, 1e-4)


def clearly_ahead(leads: Iterable[statistics.Interval], *, domain: str) -> Evidence:
    """Evidence that every lead, a paired difference of accuracies, exceeds the half-width of its 95% interval."""
    means, halves = zip(*((lead.mean, lead.half_width) for lead in leads), strict=True)
    return at_most(halves, means, strict=True, domain=f"{domain}; half-width of a lead, and lead")
