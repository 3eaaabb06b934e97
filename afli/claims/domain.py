"""What the claims are searched over, stated once: the four families at five radii and five bias variances."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from afli import activations as act
from afli import meanfield as mf
from afli.activations import Activation

RADII = (1.0, 2.0, 3.0, 5.0, 10.0)
BIAS_VARIANCES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
FAMILY_MEMBERS: tuple[Activation, ...] = tuple(
    act.get(family, a=a) for family in act.SCALED_BOUNDED_FAMILIES for a in RADII
)


def networks(activations: Sequence[Activation], sigma_b2: Sequence[float] = BIAS_VARIANCES) -> list[mf.MeanField]:
    """The critical network of every activation at every bias variance, activation by activation."""
    return [_network(phi, b) for phi in activations for b in sigma_b2]


@lru_cache(maxsize=1024)
def _network(phi: Activation, sigma_b2: float) -> mf.MeanField:
    return mf.edge_of_chaos(phi, sigma_b2=sigma_b2)


def describe(activations: Sequence[Activation], sigma_b2: Sequence[float] = BIAS_VARIANCES) -> str:
    """The domain in words."""
    if tuple(activations) == FAMILY_MEMBERS:
        who = f"the four families at a = {', '.join(f'{a:g}' for a in RADII)}"
    else:
        who = ", ".join(phi.name for phi in activations)
    return f"{who}; sigma_b2 = {', '.join(f'{b:g}' for b in sigma_b2)}"
