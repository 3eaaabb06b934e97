"""The whole spectrum of the Jacobian for Shtanh on the edge of chaos, orthogonal or Gaussian weights (Section 2.2).

`isometry` has the moments that the paper gives; this is the law behind them. phi'^2 is 0 or k^2, the latter with
probability B = erf(a / sqrt(2 q)), and sigma_w2 k^2 = 1 / B. For asymptotically free factors S-transforms multiply, to
[B (1 + u) / (u + B)]^L, times (1 + u)^-L for Gaussian weights, so that the moment transform M of eq. (11) solves

    z = (1 + M)^r / M * ((M + B) / B)^L,    r = 1 - L for Haar-orthogonal weights, r = 1 for Gaussian ones.

For hard tanh with orthogonal weights this is in Pennington, Schoenholz and Ganguli (2017).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from afli._inputs import Array, integer, like, real
from afli.meanfield import MeanField

__all__ = ["atoms", "density", "edge"]


def atoms(net: MeanField, depth: int, *, weights: str = "orthogonal") -> tuple[float, float, float]:
    """(mass at 0, mass at the top, position of the top) of the squared singular values of J; depth >= 1.

    The top atom, at B^-depth, is there for orthogonal weights while depth (1 - B) < 1; otherwise its mass is 0.
    Raises ValueError unless net is a Shtanh network on the edge of chaos and weights "orthogonal" or "gaussian", or if
    B^-depth overflows; TypeError unless net is a MeanField.
    """
    inside, depth = _share_inside(net), integer("depth", depth, low=1)
    if -depth * np.log(inside) > 700:
        raise ValueError(f"depth={depth} is too deep for B={inside:.6g}: B^-depth leaves the range of a float")
    uncut = 0.0 if _power(depth, weights) == 1 else max(0.0, 1 - depth * (1 - inside))
    return 1 - inside, uncut, inside**-depth


def edge(net: MeanField, depth: int, *, weights: str = "orthogonal") -> float:
    """Right end of the continuous part of the squared singular values of J; depth >= 2. Raises as `atoms` does.

    There dz/dM = 0: at M = B / (depth (1 - B) - 1) for orthogonal weights, where the continuous part ends below the top
    atom while that exists; for Gaussian ones at the positive root of depth M^2 + (depth - 1) M = B.
    """
    inside, depth = _share_inside(net), integer("depth", depth, low=2)
    # 1/M rather than M: it passes through 0 where the top atom vanishes and M leaves through infinity.
    if _power(depth, weights) == 1:
        inverse = (depth - 1 + np.sqrt((depth - 1) ** 2 + 4 * depth * inside)) / (2 * inside)
        return float((1 + inverse) * ((1 + inside * inverse) / (inside * inverse)) ** depth)
    inverse = (depth * (1 - inside) - 1) / inside
    return float((1 + inverse) * ((1 + inside * inverse) / (inside * (1 + inverse))) ** depth)


def density(net: MeanField, depth: int, x: Any, *, weights: str = "orthogonal") -> Any:
    """Density of the continuous part of the squared singular values of J at x > 0, any shape; depth >= 2.

    It is 0 beyond `edge`. Near 0 it behaves like x^(1/depth - 1): integrate it in ln x. Raises as `atoms` does.
    """
    inside, depth = _share_inside(net), integer("depth", depth, low=2)
    power, x = _power(depth, weights), real("x", x, low=0.0, open_low=True)
    # The unknown is M + B, which keeps its digits where x is small and M all but -B.
    outside = float(special.erfc(net.phi.linear_radius / np.sqrt(2 * net.q)))
    w = _transform_left_of_zero(inside, outside, depth, power, x).astype(complex)
    # From z = -x, where M is real, along a half circle to just above +x: a step with the slope, then Newton.
    angles = np.pi * np.linspace(1.0, 0.0, 201)
    angles[-1] = 1e-9
    for before, angle in pairwise(angles):
        w = w + 1j * (angle - before) / _log_slope(inside, outside, depth, power, w)
        for _ in range(5):
            log_z = power * np.log(outside + w) - np.log(w - inside) + depth * np.log(w / inside)
            w = w - _wrapped(log_z - np.log(x) - 1j * angle) / _log_slope(inside, outside, depth, power, w)
    end = edge(net, depth, weights=weights)
    return like(np.where(x < end, np.maximum(-w.imag, 0.0) / (np.pi * x), 0.0))


def _power(depth: int, weights: str) -> int:
    """r, the power of 1 + M."""
    if weights not in ("orthogonal", "gaussian"):
        raise ValueError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    return 1 if weights == "gaussian" else 1 - depth


def _log_slope(inside: float, outside: float, depth: int, power: int, w: Array) -> Array:
    """d ln z / d M at M = w - B."""
    return np.asarray(power / (outside + w) - 1 / (w - inside) + depth / w)


def _wrapped(log: Array) -> Array:
    """The same logarithm with its imaginary part in [-pi, pi]."""
    return np.asarray(log - 2j * np.pi * np.round(log.imag / (2 * np.pi)))


def _transform_left_of_zero(inside: float, outside: float, depth: int, power: int, x: Array) -> Array:
    """M(-x) + B, in (0, B): with M = -B s(t), s the logistic function, ln|z| falls as t grows; bisection."""
    low, high = np.full(x.shape, -700.0), np.full(x.shape, 700.0)
    for _ in range(70):
        t = 0.5 * (low + high)
        log_z = power * np.log(outside + inside * special.expit(-t)) - np.log(inside * special.expit(t))
        log_z += depth * special.log_expit(-t)
        beyond = log_z > np.log(x)
        low, high = np.where(beyond, t, low), np.where(beyond, high, t)
    return np.asarray(inside * special.expit(-0.5 * (low + high)))


def _share_inside(net: MeanField) -> float:
    """B, the probability that a preactivation lies in the linear region."""
    if not isinstance(net, MeanField):
        raise TypeError(f"net must be a MeanField, got {net!r} of type {type(net).__name__}")
    if net.phi.family != "shtanh" or abs(net.chi1 - 1) > 1e-12:
        raise ValueError(f"net must be a Shtanh network on the edge of chaos, got {net!r}")
    return float(special.erf(net.phi.linear_radius / np.sqrt(2 * net.q)))
