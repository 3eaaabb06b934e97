"""How fast correlations converge with depth on the edge of chaos (Section 2.1, Appendix B.6), to leading order.

Two things decide: whether phi' jumps, and how much. For phi' without jumps the constant is that of Hayou, Doucet and
Rousseau (2019), and so is that of ReLU; the formula for kinks in general is this companion's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from afli import gaussian
from afli._activation import require
from afli._inputs import Array, quiet_underflow, real, scalar
from afli.activations import Activation
from afli.meanfield import MeanField, require_network

__all__ = ["curvature", "kink_constant", "predicted_distance", "slope_jumps"]


@quiet_underflow
def slope_jumps(phi: Activation) -> NDArray[np.float64]:
    """The jumps J_i of phi' at the kinks.

    Returns
    -------
    NDArray[np.float64]
        One for each of `phi.kinks`; 0 where only phi'' jumps, as in elu. Exact for piecewise-linear phi; of others to
        1e-9 of the largest |phi'|, below which a jump counts as none.
    """
    if require(phi).piece_slopes is not None:
        return np.diff(np.array(phi.piece_slopes))
    kinks = np.array(phi.kinks)
    # A millionth of a scale or of the way to the next kink; more than the rounding of a kink that was found or scaled.
    room = np.minimum(np.diff(kinks, prepend=-np.inf), np.diff(kinks, append=np.inf))
    step = np.maximum(1e-6 * np.minimum(phi.scale, room), 64 * np.spacing(np.abs(kinks)))
    right, left = (2 * phi.gradient(kinks + s) - phi.gradient(kinks + 2 * s) for s in (step, -step))  # at the kink
    smallest = max(1e-9, 100 * phi.rounding) * phi.steepest
    return np.where(np.abs(right - left) > smallest, right - left, 0.0)


@quiet_underflow
def curvature(net: MeanField) -> float:
    """R''(1) = sigma_w2 q* E phi''(U)^2, for phi' without jumps.

    Returns
    -------
    float
        Relative accuracy 1e-8, or 1e4 times the `rounding` of phi' if that is more; phi'' itself is known to 1e-12 of
        the largest |phi'| over `phi.scale`, which is felt where q* is so small that phi is a line.

    Raises
    ------
    ValueError
        If phi' jumps: R''(1) is infinite then, and `kink_constant` takes its place.
    ConvergenceError
        If the integral does not settle.
    """
    phi = require_network(net).phi
    if jumps := [d for d, jump in zip(phi.kinks, slope_jumps(phi), strict=True) if jump]:
        raise ValueError(
            f"net must have a phi' without jumps, or R''(1) is infinite: that of {phi.name} jumps at {jumps[0]:g}"
        )
    if phi.piece_slopes is not None:
        return 0.0
    second, step = _second_derivative(phi)
    # Differences of seven points magnify the rounding of phi' up to 30 times.
    rounding = 30 * phi.rounding * phi.steepest / step
    root = float(np.sqrt(net.q))
    mean, _ = gaussian.settled(lambda u: second(u) ** 2, root, phi.kinks, phi.scale, rounding, phi.straight)
    return net.sigma_w2 * net.q * mean


_NODES = np.arange(-3.0, 4.0)


def _second_derivative(phi: Activation) -> tuple[Any, float]:
    """phi'' off the kinks, from polynomials through seven values of phi' on one side of them; and the shortest step."""
    ends = np.array([-np.inf, *phi.kinks, np.inf])
    # At a hundredth of a scale the seventh derivative is left out with 1e-11, and rounding adds 1e-12.
    steps = np.minimum(0.01 * phi.scale, np.diff(ends) / 8)

    def second(u: Array) -> Array:
        piece = np.searchsorted(phi.kinks, u)
        step = steps[piece]
        middle = np.clip(u, ends[piece] + 3.5 * step, ends[piece + 1] - 3.5 * step)  # no node on a kink
        series = polynomial.polyfit(_NODES, phi.gradient(middle + step * _NODES[:, None]), 6)
        return np.asarray(polynomial.polyval((u - middle) / step, polynomial.polyder(series), tensor=False) / step)

    return second, float(steps.min())


@quiet_underflow
def kink_constant(net: MeanField) -> float:
    """c = sigma_w2 sqrt(q* / pi) sum_i J_i^2 p_q*(d_i): 1 - R'(rho) is about c sqrt(1 - rho) near rho = 1.

    Returns
    -------
    float
        0 if phi' does not jump. The jumps are those of `slope_jumps`.
    """
    phi = require_network(net).phi
    density = gaussian.normal_density(np.array(phi.kinks) / np.sqrt(net.q))  # times sqrt(q*)
    return float(np.sum((np.sqrt(net.sigma_w2) * slope_jumps(phi)) ** 2 * density) / np.sqrt(np.pi))


@np.errstate(over="ignore")  # after so many layers the distance is 0
@quiet_underflow
def predicted_distance(net: MeanField, rho0: float, depth: ArrayLike) -> NDArray[np.float64]:
    """1 - rho after `depth` layers, to leading order.

    (1 - rho)^(-1/2) grows by c / 3 a layer where phi' jumps, and (1 - rho)^(-1) by R''(1) / 2 where it does not.

    Parameters
    ----------
    net
        A network on the edge of chaos.
    rho0
        The first correlation, in [-1, 1).
    depth
        Numbers of layers, >= 0, any shape; that of the result.

    Raises
    ------
    ConvergenceError
        As for `curvature`.

    Examples
    --------
    >>> from afli import activations as act, meanfield as mf
    >>> net = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)
    >>> predicted_distance(net, 0.2, [0, 100]).round(4)
    array([0.8   , 0.0171])
    """
    if abs(require_network(net).chi1 - 1) > 1e-9:  # a thousand times the accuracy of chi_1
        raise ValueError(f"net must be on the edge of chaos, chi_1 = 1, got chi_1 = {net.chi1!r}")
    depth, start = real("depth", depth, low=0.0), 1 - scalar("rho0", rho0, low=-1.0, high=1.0)
    if start == 0:
        raise ValueError("rho0 must be in [-1, 1), got 1.0: the distance is 0 and stays 0")
    if np.any(slope_jumps(net.phi)):
        return np.asarray((start**-0.5 + kink_constant(net) / 3 * depth) ** -2.0)
    return np.asarray(1 / (1 / start + curvature(net) / 2 * depth))
