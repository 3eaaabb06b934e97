"""The words that the claims are made of: whom they search, how it is named, and the comparisons that recur.

The four families at five radii and five bias variances are the domain of every claim about the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from afli import activations as act
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.ledger import ClaimRefuted, Evidence, at_most, equal, on
from afli.errors import NoFixedPointError

__all__ = [
    "BIAS",
    "BIAS_VARIANCES",
    "FAMILIES",
    "FAMILY_MEMBERS",
    "OURS",
    "RADII",
    "ClaimRefuted",
    "Evidence",
    "agree",
    "at_most",
    "below",
    "critical",
    "describe",
    "equal",
    "multiples",
    "names",
    "network",
    "networks",
    "off_the_edge",
    "on",
    "place",
    "point",
    "rising",
    "within_errors",
]

OURS = "holds, and sharpened"
BIAS = 0.1  # the bias variance of most figures of the paper
RADII = (1.0, 2.0, 3.0, 5.0, 10.0)
BIAS_VARIANCES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
FAMILIES = tuple(act.SCALED_BOUNDED_FAMILIES)
FAMILY_MEMBERS: tuple[Activation, ...] = tuple(act.get(family, a=a) for family in FAMILIES for a in RADII)

# --- Networks ---


@lru_cache(maxsize=4096)
def critical(phi: Activation, sigma_b2: float = BIAS) -> mf.MeanField:
    """The network of phi on the edge of chaos; for a homogeneous phi at sigma_b2 = 0, the only value it has.

    That there is none refutes the claim.
    """
    try:
        return mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else sigma_b2)
    except NoFixedPointError as error:
        raise ClaimRefuted(str(error)) from None


def networks(activations: Sequence[Activation], sigma_b2: Sequence[float] = BIAS_VARIANCES) -> list[mf.MeanField]:
    """The critical network of every activation at every bias variance, activation by activation."""
    return [critical(phi, b) for phi in activations for b in sigma_b2]


@lru_cache(maxsize=256)
def network(phi: Activation, factor: float = 1.0) -> mf.MeanField:
    """The critical network of phi at sigma_b2 = 0.1, or the one with `factor` times its weight variance."""
    edge = critical(phi)
    return edge if factor == 1.0 else mf.MeanField(phi, sigma_w2=factor * edge.sigma_w2, sigma_b2=BIAS)


def off_the_edge(activations: Sequence[Activation], factors: Sequence[float]) -> list[mf.MeanField]:
    """Networks at multiples of the critical weight variance; an unbounded phi (elu) has a fixed point only up to 1."""
    return [network(phi, f) for phi in activations for f in factors if f <= 1.0 or phi.bound < np.inf]


# --- Names ---


def names(activations: Sequence[Activation]) -> str:
    """Their names, or the name of them all."""
    if tuple(activations) == FAMILY_MEMBERS:
        return f"the four families at a = {', '.join(f'{a:g}' for a in RADII)}"
    return ", ".join(phi.name for phi in activations)


def describe(activations: Sequence[Activation], sigma_b2: Sequence[float] = BIAS_VARIANCES) -> str:
    """Activations and bias variances in words."""
    return f"{names(activations)}; sigma_b2 = {', '.join(f'{b:g}' for b in sigma_b2)}"


def place(net: mf.MeanField) -> str:
    """A network in words, as the point of a counter-example."""
    return f"{net.phi.name}, sigma_b2 = {net.sigma_b2:.3g}, sigma_w2 = {net.sigma_w2:.4g}"


def point(*cases: Sequence[Any], **grids: ArrayLike) -> Callable[[tuple[int, ...]], str]:
    """What names an entry of an array: its axes run over cases (networks, activations or words), then over grids."""

    def named(case: Any) -> str:
        return place(case) if isinstance(case, mf.MeanField) else getattr(case, "name", str(case))

    def at(index: tuple[int, ...]) -> str:
        numbers = zip(grids, grids.values(), index[len(cases) :], strict=False)
        words = [f"{name} = {np.asarray(grid)[i]:.4g}" for name, grid, i in numbers]
        return ", ".join([*words, *(named(case[i]) for case, i in zip(cases, index, strict=False))])

    return at


def multiples(factors: Sequence[float]) -> str:
    """Weight variances in words."""
    listed = ", ".join(f"{f:g}" for f in factors)
    return f"sigma_b2 = {BIAS:g}; sigma_w2 at {listed} times its critical value (for elu only up to 1)"


# --- Comparisons ---


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
