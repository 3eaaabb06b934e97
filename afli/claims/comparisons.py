"""The comparisons that checks are made of: each is evidence, or refutes the claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from afli.claims.evidence import Evidence
from afli.claims.wording import shortfall

__all__ = ["ClaimRefuted", "Evidence", "agree", "at_most", "below", "equal", "rising", "within_errors"]


class ClaimRefuted(AssertionError):
    """The check of a claim found a counter-example; the message says where, and by how much."""


# --- The two shapes that almost every check has ---


def at_most(
    measured: ArrayLike,
    bound: ArrayLike,
    *,
    domain: str,
    at: Callable[[tuple[int, ...]], str] | None = None,
    strict: bool = False,
    oracle: str = "",
    values: Mapping[str, float] | None = None,
) -> Evidence:
    """Evidence that measured <= bound (or <, if strict) in every entry, at the entry with the least margin.

    Parameters
    ----------
    measured, bound
        Of shapes that broadcast.
    domain
        What was searched, in words.
    at
        Describes the point of an index, for the message.
    strict
        Whether equality refutes.
    oracle
        The independent source of the comparison, if any.
    values
        Named numbers for the sentence on what was found, and for the prose of a page.

    Raises
    ------
    ClaimRefuted
        At the entry that is furthest beyond its bound; NaN never passes.
    """
    measured, bound = np.broadcast_arrays(np.asarray(measured, dtype=float), np.asarray(bound, dtype=float))
    return _decide(measured, bound, strict, at, domain, oracle, values or {})


def _decide(
    measured: NDArray[np.float64],
    bound: NDArray[np.float64],
    strict: bool,
    at: Callable[[tuple[int, ...]], str] | None,
    domain: str,
    oracle: str,
    values: Mapping[str, float],
) -> Evidence:
    """The one place where a comparison is made; the tests replace it to see which comparisons a claim makes."""
    margin = bound - measured
    worst = np.unravel_index(int(np.argmin(np.where(np.isfinite(margin), margin, -np.inf))), margin.shape)
    least = float(margin[worst])
    where = f", at {at(tuple(int(i) for i in worst))}" if at else ""
    if not np.isfinite(least) or least < 0 or (strict and least == 0):
        raise ClaimRefuted(f"{shortfall(float(measured[worst]), float(bound[worst]), strict=strict)}{where}")
    counts = {"cases": len(measured) if measured.ndim else 1, "compared": measured.size}
    return Evidence(float(measured[worst]), float(bound[worst]), least, domain, oracle, counts | dict(values))


def equal(measured: ArrayLike, expected: ArrayLike, tolerance: float, **shown: Any) -> Evidence:
    """Evidence that |measured - expected| <= tolerance everywhere; its `measured` is the largest difference.

    The rest is as in `at_most`.
    """
    difference = np.abs(np.asarray(measured, dtype=float) - np.asarray(expected, dtype=float))
    return at_most(difference, tolerance, **shown)


# --- Shapes that recur ---


def below(measured: ArrayLike, bound: ArrayLike = 1.0, **shown: Any) -> Evidence:
    """Evidence that measured < bound, strictly, in every entry."""
    return at_most(measured, bound, strict=True, **shown)


def rising(values: ArrayLike, axis: int = -1, **shown: Any) -> Evidence:
    """Evidence that the values rise strictly along an axis: each fall is below 0."""
    return at_most(-np.diff(values, axis=axis), 0.0, strict=True, **shown)


FALSE_ALARMS = 1e-3  # how often a true sampling claim would be refuted by chance, all its comparisons together


def within_errors(distances: ArrayLike, *, freedom: float = np.inf, domain: str, **shown: Any) -> Evidence:
    """Evidence that no distance, in standard errors, is beyond what chance allows to all of them together.

    The bound is Student's quantile: a true claim is refuted once in a thousand seeds.

    Parameters
    ----------
    distances
        In standard errors, any shape.
    freedom
        Degrees of freedom of the standard errors.
    domain, shown
        As in `at_most`.
    """
    distances = np.asarray(distances, dtype=float)
    domain = f"{domain}; in standard errors, {distances.size} comparisons, a false alarm once in a thousand seeds"
    agreed = at_most(distances, errors_allowed(distances.size, freedom), domain=domain, **shown)
    return replace(
        agreed,
        found="Samples agree: the largest of {compared} distances is {measured:.1f} standard errors; chance allows "
        "{bound:.1f}.",
    )


def errors_allowed(comparisons: int, freedom: float = np.inf) -> float:
    """How many standard errors off one of so many true statements may be."""
    return float(stats.t.isf(FALSE_ALARMS / (2 * comparisons), freedom))


def agree(samples: ArrayLike, theory: ArrayLike, *, domain: str, **shown: Any) -> Evidence:
    """Evidence that the mean of independent samples agrees with a theory.

    Measured is the largest distance in standard errors. The domain states the power: the smallest error, relative to
    the largest value of the theory, that would be seen nine times in ten in every entry.

    Parameters
    ----------
    samples
        Shape (samples, ...).
    theory
        Of the shape without the first axis.
    domain, shown
        As in `at_most`.
    """
    samples, theory = np.asarray(samples, dtype=float), np.asarray(theory, dtype=float)
    freedom = len(samples) - 1
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    least = (errors_allowed(error.size, freedom) + stats.norm.isf(0.1)) * np.max(error) / np.max(np.abs(theory))
    domain = f"{domain}; an error of {least:.1%} of the largest value would be seen"
    return within_errors(np.abs(samples.mean(axis=0) - theory) / error, freedom=freedom, domain=domain, **shown)
