"""Which gain for my activation: the edge of chaos in the numbers that a user of a deep-learning library asks for.

The gain is the square root of sigma_w2: weights of standard deviation gain / sqrt(fan-in).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from afli import activations as act
from afli import meanfield as mf
from afli._activation import require
from afli.activations import Activation
from afli.errors import ConvergenceError, NoFixedPointError
from afli.fixed_points import log_root

__all__ = ["Gain", "attracting_bias_variance", "gain"]

SIGMA_B2 = 0.1  # the paper's own in most of its figures


@dataclass(frozen=True)
class Gain:
    """The edge of chaos of one activation.

    Parameters
    ----------
    net
        The critical network; gain is its sqrt(sigma_w2), and attracts whether the variance returns to q*.
    input_mean_square
        The ||x||^2 / n that gives layer 1 the variance q*.
    layers_until_alike
        After so many layers two inputs of correlation 0.2 are 99% alike; None if never within a million layers.
    attracting_sigma_b2
        The smallest bias variance at which q* attracts; nan if there is none.
    """

    net: mf.MeanField
    gain: float
    input_mean_square: float
    attracts: bool
    layers_until_alike: int | None
    attracting_sigma_b2: float

    def __str__(self) -> str:
        net = self.net
        alike = "never" if self.layers_until_alike is None else f"after {self.layers_until_alike} layers"
        lines = [
            f"{net.phi.name} on the edge of chaos, sigma_b2 = {net.sigma_b2:.4g}",
            f"  gain                 {self.gain:.6g}   (sigma_w2 = {net.sigma_w2:.6g})",
            f"  q*                   {net.q:.6g}"
            + ("   (a convention: every q is fixed)" if net.phi.is_homogeneous else ""),
            f"  inputs               mean square {self.input_mean_square:.6g}",
            f"  q* attracts          {'yes' if self.attracts else 'no'}   (V'(q*) = {net.variance_slope:.4g})",
            f"  inputs 99% alike     {alike} (from correlation 0.2)",
        ]
        if not self.attracts:
            lines.append(
                f"  the smallest sigma_b2 at which q* attracts: {self.attracting_sigma_b2:.4g}"
                if np.isfinite(self.attracting_sigma_b2)
                else "  q* attracts at no sigma_b2"
            )
        return "\n".join(lines)


def gain(phi: Activation | str, *, sigma_b2: float | None = None) -> Gain:
    """The gain of an activation on its edge of chaos, and whether a deep network can use it.

    Parameters
    ----------
    sigma_b2
        The bias variance, >= 0. Default: 0 for ReLU and its like, which allow no other, and 0.1 for the rest.

    Raises
    ------
    NoFixedPointError
        If there is no edge of chaos at this bias variance.

    Examples
    --------
    >>> found = gain("relu")
    >>> round(found.gain, 6), found.layers_until_alike
    (1.414214, 56)
    """
    phi = act.get(phi) if isinstance(phi, str) else require(phi)
    if sigma_b2 is None:
        sigma_b2 = 0.0 if phi.is_homogeneous else SIGMA_B2
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    try:
        alike: int | None = net.layers_until(0.99, rho0=0.2)
    except ConvergenceError:
        alike = None
    try:
        attracting = attracting_bias_variance(phi)
    except NoFixedPointError:
        attracting = float("nan")
    return Gain(net, float(np.sqrt(net.sigma_w2)), net.input_mean_square, net.attracts, alike, attracting)


@lru_cache(maxsize=256)
def attracting_bias_variance(phi: Activation) -> float:
    """The smallest sigma_b2 from which on the critical point attracts; 0 if it attracts for every one.

    Looked for on the critical curve, q from 1e-6 to 1e4 (times the square of the scale of phi), five a decade.

    Raises
    ------
    NoFixedPointError
        If it repels at the upper end.

    Examples
    --------
    >>> from afli import activations as act
    >>> round(attracting_bias_variance(act.gelu()), 3)
    0.173
    """
    require(phi)

    def excess(log_q: float) -> float:
        return mf.critical_at(phi, q=float(np.exp(log_q))).variance_slope - 1

    known: list[tuple[float, bool]] = []  # log q of the critical points, and whether they attract
    for log_q in np.log(phi.scale**2 * np.geomspace(1e-6, 1e4, 51)):
        try:
            known.append((float(log_q), excess(float(log_q)) <= 1e-9))  # as MeanField.attracts
        except (NoFixedPointError, ConvergenceError, ValueError):  # q is critical for no bias variance
            continue
    if not known or not known[-1][1]:
        raise NoFixedPointError(f"the critical point of {phi.name} attracts at no bias variance")
    last_repelling = max((i for i, (_, good) in enumerate(known) if not good), default=None)
    if last_repelling is None:
        return 0.0
    q = log_root(excess, (known[last_repelling][0], known[last_repelling + 1][0]))
    return mf.critical_at(phi, q=q).sigma_b2
