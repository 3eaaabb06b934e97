"""How fast correlations converge with depth on the edge of chaos (Section 2.1, Appendix B.6), to leading order.

Two things decide: whether phi' jumps, and how much. For phi' without jumps the constant is that of Hayou, Doucet and
Rousseau (2019), and so is that of ReLU; the formula for kinks in general is this companion's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli import gaussian
from afli._inputs import quiet_underflow
from afli.activations import Activation
from afli.meanfield import MeanField

__all__ = ["curvature", "kink_constant", "predicted_distance", "slope_jumps"]


@quiet_underflow
def slope_jumps(phi: Activation) -> NDArray[np.float64]:
    """J_i, the jump of phi' at each of phi.kinks; zero where only phi'' jumps, as in elu."""
    kinks = np.array(phi.kinks)
    jumps = phi.gradient(np.nextafter(kinks, np.inf)) - phi.gradient(np.nextafter(kinks, -np.inf))
    # A difference below 1e-9 is rounding of a phi' that is continuous there.
    return np.where(np.abs(jumps) > 1e-9, jumps, 0.0)


def curvature(net: MeanField, step: float = 1e-4) -> float:
    """R''(1) = sigma_w2 q* E phi''(U)^2, for phi' without jumps; phi'' by central differences of phi'."""
    phi = net.phi
    near = [d + s for d in phi.kinks for s in (-step, step)]
    second = gaussian.expectation(
        lambda u: ((phi.gradient(u + step) - phi.gradient(u - step)) / (2 * step)) ** 2,
        net.q,
        kinks=near,
        scale=phi.scale,
    )
    return net.sigma_w2 * net.q * float(second)


@quiet_underflow
def kink_constant(net: MeanField) -> float:
    """c = sigma_w2 sqrt(q* / pi) sum_i J_i^2 p_q*(d_i): 1 - R'(rho) is about c sqrt(1 - rho) near rho = 1."""
    root = np.sqrt(net.q)
    density = gaussian.normal_density(np.array(net.phi.kinks) / root) / root
    return float(net.sigma_w2 * root / np.sqrt(np.pi) * np.sum(slope_jumps(net.phi) ** 2 * density))


def predicted_distance(net: MeanField, rho0: float, depth: ArrayLike) -> NDArray[np.float64]:
    """1 - rho after `depth` layers, to leading order.

    (1 - rho)^(-1/2) grows by c / 3 a layer where phi' jumps, and (1 - rho)^(-1) by R''(1) / 2 where it does not.

    Parameters
    ----------
    net
        A network on the edge of chaos; off it the answer means nothing.
    rho0
        The first correlation, in [-1, 1).
    depth
        Numbers of layers, any shape.

    Returns
    -------
    NDArray[np.float64]
        1 - rho, in the shape of depth.
    """
    depth = np.asarray(depth, dtype=float)
    if np.any(slope_jumps(net.phi)):
        return np.asarray(((1 - rho0) ** -0.5 + kink_constant(net) / 3 * depth) ** -2.0)
    return np.asarray(1 / (1 / (1 - rho0) + curvature(net) / 2 * depth))
