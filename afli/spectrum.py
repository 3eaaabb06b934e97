"""The whole spectrum of the Jacobian for Shtanh on the edge of chaos, orthogonal or Gaussian weights (Section 2.2).

`isometry` has the moments that the paper gives; this is the law behind them. phi'^2 is 0 or k^2, the latter with
probability B = erf(a / sqrt(2 q)), and sigma_w2 k^2 = 1 / B. For asymptotically free factors S-transforms multiply, to
[B (1 + u) / (u + B)]^L, times (1 + u)^-L for Gaussian weights, so that the moment transform M of eq. (11) solves

    z = (1 + M)^r / M * ((M + B) / B)^L,    r = 1 - L for Haar-orthogonal weights, r = 1 for Gaussian ones.

For hard tanh with orthogonal weights this is in Pennington, Schoenholz and Ganguli (2017).

On the spectrum z = x is real and M is not. In other unknowns that is a condition on angles, which a triangle solves,
so that x and the density are elementary in one angle theta, from 0 at the edge to pi / L at x = 0:

    orthogonal, t = 1 + B / M:    x = t^L / (B (t - 1 + B)^(L - 1)),    t = (1 - B) sin(L theta) / sin(theta)
                                                                           * exp(i (L - 1) theta)
    Gaussian, v = 1 + M / B:    x = v^L (v + c) / (v - 1),    c = (1 - B) / B,    v = R exp(i theta)

with R^2 - P R = c and P = (sin((L + 1) theta) - c sin((L - 1) theta)) / sin(L theta): from v the interval [-c, 1] is
seen under the angle L theta.

In the functions `net` is a Shtanh network on the edge of chaos (anything else raises ValueError), `depth` its number of
layers, at least 1 for the atoms and 2 for the rest, and `weights` are "orthogonal" (Haar) or "gaussian".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from afli._inputs import WEIGHTS, Array, integer, like, quiet_underflow, real, word
from afli.errors import ConvergenceError
from afli.meanfield import MeanField, require_network

__all__ = ["atoms", "density", "edge"]


@quiet_underflow
def atoms(net: MeanField, depth: int, *, weights: str = "orthogonal") -> tuple[float, float, float]:
    """The point masses of the law of the squared singular values of J: at 0, and at the top for orthogonal weights.

    Returns
    -------
    Mass at 0, mass at the top, position B^-depth of the top. The top is there for orthogonal weights while
    depth (1 - B) < 1; otherwise its mass is 0.

    Raises
    ------
    ValueError
        If B^-depth overflows.
    """
    inside, outside = _shares(net)
    depth, weights = integer("depth", depth, low=1), word("weights", weights, WEIGHTS)
    if -depth * np.log(inside) > 700:
        raise ValueError(f"depth={depth} is too deep for B={inside:.6g}: B^-depth leaves the range of a float")
    uncut = 0.0 if weights == "gaussian" else max(0.0, 1 - depth * outside)
    return outside, uncut, inside**-depth


@quiet_underflow
def edge(net: MeanField, depth: int, *, weights: str = "orthogonal") -> float:
    """Right end of the continuous part of the squared singular values of J, where dz/dM = 0.

    For orthogonal weights it is (1 - B) / B * L^L / (L - 1)^(L - 1), L the depth, and lies below the top atom while
    that exists; for Gaussian ones M there is the positive root of L M^2 + (L - 1) M = B.

    It is 0 if orthogonal weights cut nothing that a float can tell (1 - B underflows).
    """
    inside, outside = _shares(net)
    depth = integer("depth", depth, low=2)
    if word("weights", weights, WEIGHTS) == "orthogonal":
        return float(outside / inside * depth * np.exp((depth - 1) * -np.log1p(-1 / depth)))
    # 1 / M rather than M, which is small where the network is deep.
    inverse = (depth - 1 + np.sqrt((depth - 1) ** 2 + 4 * depth * inside)) / (2 * inside)
    return float((1 + inverse) * np.exp(depth * np.log1p(1 / (inside * inverse))))


@quiet_underflow
def density(net: MeanField, depth: int, x: ArrayLike, *, weights: str = "orthogonal") -> float | Array:
    """Density of the continuous part of the squared singular values of J, -Im M(x + i 0) / (pi x); 0 beyond `edge`.

    Near 0 it behaves like x^(1 / depth - 1): integrate it in ln x.

    Parameters
    ----------
    x
        Where, > 0, any shape; that of the result. Its relative error is about 1e-15 depth / (1 - x / edge): so much the
        rounding of x and of the edge does already.

    Raises
    ------
    ValueError
        If x is so small that the density overflows (below 1e-307).
    ConvergenceError
        If the angle found does not give x back.
    """
    inside, outside = _shares(net)
    depth, x = integer("depth", depth, low=2), real("x", x, low=0.0, open_low=True)
    end = edge(net, depth, weights=weights)
    law = partial(_orthogonal if weights == "orthogonal" else _gaussian, inside, outside, depth)
    below, values = x < end, np.zeros(x.shape)
    with np.errstate(over="ignore"):  # reported below
        values[below] = _imaginary_part(law, depth, np.log(x[below])) / (np.pi * x[below])
    if not np.isfinite(values).all():
        raise ValueError(f"x = {x[~np.isfinite(values)][0]:g} is too small: the density leaves the range of a float")
    return like(values)


def _shares(net: MeanField) -> tuple[float, float]:
    """B, the probability that a preactivation lies in the linear region, and 1 - B."""
    if require_network(net).phi.family != "shtanh" or abs(net.chi1 - 1) > 1e-12:  # sigma_w2 is known to that
        raise ValueError(f"net must be a Shtanh network on the edge of chaos, got {net!r}")
    reach = net.phi.linear_radius / np.sqrt(2 * net.q)
    return float(special.erf(reach)), float(special.erfc(reach))


# Three angles keep their digits where they are small: theta, pi / L - theta, and pi / (L + 1) - theta, whose sign
# decides that of P. A law maps them to (ln x, |Im M|).
Law = Callable[[Array, Array, Array], tuple[Array, Array]]


def _orthogonal(inside: float, outside: float, depth: int, theta: Array, _: Array, left: Array) -> tuple[Array, Array]:
    """The law of the top of this file for orthogonal weights."""
    sine, part = np.sin(depth * np.minimum(theta, left)), np.sin((depth - 1) * theta)
    t = outside * sine / np.sin(theta) * np.exp(1j * (depth - 1) * theta)
    log_x = np.log(outside / inside) + depth * np.log(sine) - np.log(np.sin(theta)) - (depth - 1) * np.log(part)
    return log_x, inside * t.imag / np.abs(t - 1) ** 2


def _gaussian(
    inside: float, outside: float, depth: int, theta: Array, to_turn: Array, left: Array
) -> tuple[Array, Array]:
    """The law of the top of this file for Gaussian weights."""
    c = outside / inside
    p = np.sin((depth + 1) * np.minimum(theta, to_turn)) - c * np.sin((depth - 1) * theta)
    p = p / np.sin(depth * np.minimum(theta, left))
    root = np.hypot(p, 2 * np.sqrt(c))
    radius = np.where(p > 0, 0.5 * (p + root), 2 * c / (root - p))
    v = radius * np.exp(1j * theta)
    log_x = depth * np.log(radius) + np.log(np.abs(v + c)) - np.log(np.abs(v - 1))
    return log_x, inside * v.imag


def _imaginary_part(law: Law, depth: int, log_x: Array) -> Array:
    """|Im M| where ln x has these values: x falls as theta grows, so theta is bisected, on a logistic scale."""
    turn, rest = np.pi / (depth + 1), np.pi / (depth * (depth + 1))  # pi / L is their sum
    with np.errstate(divide="ignore", over="ignore"):  # ln x is minus infinity where nothing is cut
        before = log_x > law(np.array(turn), np.array(0.0), np.array(rest))[0]

        def at(u: Array) -> tuple[Array, Array]:
            share, remainder = special.expit(u), special.expit(-u)
            to_turn = np.where(before, turn * remainder, -rest * share)
            theta = np.where(before, turn * share, turn - to_turn)
            return law(theta, to_turn, np.where(before, rest + to_turn, rest * remainder))

        # theta from 1e-17, pi / L - theta to 1e-321
        low, high = np.full(log_x.shape, -40.0), np.full(log_x.shape, 740.0)
        for _ in range(70):  # 780 / 2^70 is less than rounding
            u = 0.5 * (low + high)
            beyond = at(u)[0] < log_x
            low, high = np.where(beyond, low, u), np.where(beyond, u, high)
        found, part = at(0.5 * (low + high))
    off = np.abs(found - log_x)
    if np.any(off > 1e-13 * (depth + np.abs(log_x))):  # of ln x, a sum of that many rounded logarithms
        raise ConvergenceError(f"the density at x = {np.exp(log_x[np.argmax(off)]):g} was not found")
    return part
