"""The words that the claims are made of: whom they search, and how it is named.

The four families at five radii and five bias variances are the domain of every claim about the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from afli import activations as act
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import ClaimRefuted
from afli.errors import NoFixedPointError

__all__ = [
    "BIAS",
    "BIAS_VARIANCES",
    "FAMILIES",
    "FAMILY_MEMBERS",
    "OURS",
    "RADII",
    "critical",
    "describe",
    "multiples",
    "names",
    "network",
    "networks",
    "off_the_edge",
    "place",
    "point",
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
        words = [named(case[i]) for case, i in zip(cases, index, strict=False)]
        numbers = zip(grids.items(), index[len(cases) :], strict=False)
        return ", ".join([*words, *(f"{name} = {np.asarray(grid)[i]:g}" for (name, grid), i in numbers)])

    return at


def multiples(factors: Sequence[float]) -> str:
    """Weight variances in words."""
    listed = ", ".join(f"{f:g}" for f in factors)
    return f"sigma_b2 = {BIAS:g}; sigma_w2 at {listed} times its critical value (for elu only up to 1)"
