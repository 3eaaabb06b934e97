"""What the claims of Section 4 share: the tables that `afli run` wrote and that are committed in results/.

A check on a stored table says "measured on these tables" in its source, and its statement names dataset, width, rate,
steps and number of trials or splits. Intervals are 95%, over paired trials.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from numpy.typing import ArrayLike

from afli.claims.comparisons import Evidence, below
from afli.claims.later import statistics

__all__ = ["DIGITS_MAP", "SMALL_BIAS_VARIANCES", "clear", "clearly_ahead", "level"]

# What the maps of Figure 7 on digits are, and their bias variances below 1.
DIGITS_MAP = "digits, Shtanh, width 64, 220 steps, rate 0.001, 5 paired trials, CPU"
SMALL_BIAS_VARIANCES = (0.1, 0.01, 1e-3, 1e-4)


def clear(half_widths: ArrayLike, leads: ArrayLike, *, domain: str) -> Evidence:
    """Evidence that every lead exceeds the half-width of its interval."""
    found = "The least clear lead is {bound:points}, with a 95% interval of ± {measured:points}."
    return replace(below(half_widths, leads, domain=domain), found=found)


def clearly_ahead(leads: Iterable[statistics.Interval], *, domain: str) -> Evidence:
    """Evidence that every lead, a paired difference of accuracies, exceeds the half-width of its 95% interval."""
    means, halves = zip(*((lead.mean, lead.half_width) for lead in leads), strict=True)
    return clear(halves, means, domain=f"{domain}; half-width of a lead, and lead")


def level(leads: Iterable[statistics.Interval], margin: float, *, domain: str) -> Evidence:
    """Evidence that every lead is within a margin of 0, whichever its sign: two one-sided tests, each at 2.5%.

    That an interval holds 0 says only that the trials did not resolve the sign; this says that there is nothing larger
    than the margin to resolve.
    """
    ends = [max(abs(lead.low), abs(lead.high)) for lead in leads]
    within = below(ends, margin, domain=f"{domain}; farther end of each interval, and margin")
    return replace(within, found="The farthest end of an interval is {measured:points} from level.")
