"""Section 3: how large the linear region must be. All bounds are functions of y = sigma_b2 / a^2 alone.

Each quantity comes twice: as the paper prints it, and `*_sharp`, the best possible for the class of Definition 2.1,
which is this companion's own (proofs in the book; we know of no earlier statement). The ratio is l = a / sqrt(q*).
y is a number or an array of any shape in [1e-300, 1e150]; results have its shape. Outside: ValueError; TypeError for
what is not a real number. Accuracy: 1e-12, relative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from afli._inputs import Array, integer, like, real, scalar
from afli.errors import ConvergenceError
from afli.gaussian import normal_density

__all__ = [
    "correlation_gap",
    "correlation_gap_sharp",
    "linear_radius",
    "linear_ratio",
    "linear_ratio_closed",
    "linear_ratio_sharp",
    "moment_ratio_gap",
    "moment_ratio_gap_sharp",
    "nearly_linear_gap",
    "tangent_point",
]

_SQRT2 = np.sqrt(2.0)


def tangent_point(y: Any) -> Any:
    """(delta, beta) of Lemma 3.4: g(delta) = y, and beta = y (delta^2 + 2) is where the tangent to g at delta meets 0.

    g(l) = sqrt(2 / pi) exp(-l^2 / 2) / l.
    """
    y = _ratio(y)
    delta = _root_lambert(2 / np.pi, y)
    return like(delta), like(y * (delta**2 + 2))


def linear_ratio(y: Any) -> Any:
    """(lower, upper) bounds of a / sqrt(q*) on the edge of chaos, as Lemma 3.4 states them, eq. (23).

    lower = nu(y), by the Lambert function; upper = (8 / pi)^(1/6) y^(-1/3). Valid for every y > 0.
    """
    y = _ratio(y)
    _, beta = tangent_point(y)
    return like(_root_lambert(2 / np.pi, np.asarray(beta))), like((8 / np.pi) ** (1 / 6) * np.cbrt(1 / y))


def linear_ratio_sharp(y: Any) -> Any:
    """(lower, upper) bounds of a / sqrt(q*), best possible over all scaled-bounded activations.

    lower: attained by Shtanh. upper: approached, never attained, by a saw tooth followed by a vanishing zigzag.
    """
    y = _ratio(y)
    lower, _ = (np.asarray(v) for v in linear_ratio(y))
    upper = np.asarray(linear_ratio_closed(y)) * (1 + 1e-9)
    sharp_lower = _root(_shtanh_residual, lower * (1 - 1e-12), upper, y)
    sharp_upper = _root(_zigzag_residual, lower * (1 - 1e-12), upper, y)
    return like(sharp_lower), like(sharp_upper)


def linear_ratio_closed(y: Any) -> Any:
    """A closed upper bound of a / sqrt(q*), tighter than the printed one.

    sqrt(W_0(8 / (pi y^2))) for y <= 1.6, else 1 / sqrt(y).
    """
    y = _ratio(y)
    return like(np.where(y <= 1.6, _root_lambert(8 / np.pi, y), 1 / np.sqrt(y)))


def correlation_gap(y: Any) -> Any:
    """Upper bound (8 y / pi)^(1/3) of max |R(rho) - rho| on [0, 1], Theorem 2.1, eq. (15). Vacuous for y >= pi / 8."""
    return like(np.cbrt(8 / np.pi * _ratio(y)))


def correlation_gap_sharp(y: Any) -> Any:
    """The best bound of max |R(rho) - rho| on [0, 1] over the class: y times the square of the sharp upper ratio."""
    y = _ratio(y)
    return like(y * np.asarray(linear_ratio_sharp(y)[1]) ** 2)


def moment_ratio_gap(y: Any) -> Any:
    """Upper bound erf(nu / sqrt 2)^-2 - 1 of |mu_2 / mu_1^2 - 1|, Theorem 2.1, eq. (16)."""
    lower = np.asarray(linear_ratio(y)[0]) / _SQRT2
    return like(special.erfc(lower) * (1 + special.erf(lower)) / special.erf(lower) ** 2)


def moment_ratio_gap_sharp(y: Any) -> Any:
    """The best bound of mu_2 / mu_1^2 - 1 over the class, which Shtanh attains.

    It is 1 / erf(l / sqrt 2) - 1 at the lower ratio l of `linear_ratio_sharp`.
    """
    lower = np.asarray(linear_ratio_sharp(y)[0]) / _SQRT2
    return like(special.erfc(lower) / special.erf(lower))


def nearly_linear_gap(y: Any, epsilon: Any) -> Any:
    """Upper bound of max |R(rho) - rho| on [0, 1] for odd phi within epsilon of k z on [-a, a]; phi may be smooth.

    2 epsilon + y l^2, where E[Z^2; |Z| >= l] = y l^2 (this companion's own). It asks for |phi'| <= k everywhere, and
    for |phi(z)| >= (1 - epsilon) k |z| on [-a, a]. epsilon in [0, 1].
    """
    y, epsilon = np.broadcast_arrays(_ratio(y), real("epsilon", epsilon, low=0.0, high=1.0))

    def residual(l: Array, parameter: Array) -> Array:
        tail = special.erfc(l / _SQRT2) + 2 * l * normal_density(l)
        return np.log(tail) - np.log(parameter) - 2 * np.log(l)

    ends = np.full(y.shape, 1e-80), np.full(y.shape, 37.5)  # soon beyond, the tail underflows
    return like(2 * epsilon + y * _root(residual, *ends, y) ** 2)


def linear_radius(
    depth: int, *, sigma_b2: float, correlation_gain: float | None = None, jacobian_variance: float | None = None
) -> float:
    """The linear radius a that assures a network of `depth` layers on the edge of chaos one or both of two promises.

    correlation_gain: no correlation in [0, 1] rises by more than this over the whole depth, in (0, 1].
    jacobian_variance: sigma^2_JJT with Haar-orthogonal weights is at most this, > 0.
    For every scaled-bounded activation whose linear radius is at least the returned a; depth >= 1, sigma_b2 > 0.
    Raises ValueError if neither is given, or if a promise divided by the depth is below 1e-290.
    """
    depth, sigma_b2 = integer("depth", depth, low=1), scalar("sigma_b2", sigma_b2, low=0.0, open_low=True)
    if correlation_gain is None and jacobian_variance is None:
        raise ValueError("linear_radius needs correlation_gain or jacobian_variance, got neither")
    radii = []
    if correlation_gain is not None:
        gain = scalar("correlation_gain", correlation_gain, low=0.0, high=1.0, open_low=True)
        share = _per_layer("correlation_gain", gain, depth)
        # Every layer adds at most y l^2 = sigma_b2 / q*; the l that the class needs solves 1 - S(l) = gain / depth.
        ratio = _root(_deficit_residual, np.asarray(1e-9), np.asarray(37.0), np.asarray(share))
        radii.append(float(np.sqrt(sigma_b2 / share) * ratio))
    if jacobian_variance is not None:
        variance = scalar("jacobian_variance", jacobian_variance, low=0.0, open_low=True)
        excess = _per_layer("jacobian_variance", variance, depth)
        # mu_2/mu_1^2 - 1 <= 1/B - 1 = variance / depth fixes B = P(|Z| < l), hence l, hence y of Shtanh.
        kept, lost = 1 / (1 + excess), excess / (1 + excess)
        ratio = _SQRT2 * (special.erfinv(kept) if kept < 0.5 else special.erfcinv(lost))
        radii.append(float(ratio * np.sqrt(sigma_b2 / _shtanh_gap(ratio))))
    return max(radii)


def _per_layer(name: str, promise: float, depth: int) -> float:
    share = promise / depth
    if share < 1e-290:
        raise ValueError(f"{name} / depth must be at least 1e-290, got {promise!r} / {depth}")
    return share


# --- The two extremal functions ---


def _shtanh_gap(l: float) -> float:
    """R(0) = y l^2 as a function of l = a / sqrt(q*) for Shtanh: (2 l p(l) - l^2 erfc) / erf."""
    z = l / _SQRT2
    return float((2 * l * normal_density(np.asarray(l)) - l * l * special.erfc(z)) / special.erf(z))


def _shtanh_residual(l: Array, y: Array) -> Array:
    """ln g - ln(erfc + y erf): positive below the ratio of Shtanh, negative above."""
    return (
        0.5 * np.log(2 / np.pi)
        - 0.5 * l * l
        - np.log(l)
        - np.log(special.erfc(l / _SQRT2) + y * special.erf(l / _SQRT2))
    )


def _zigzag_deficit(l: Array) -> Array:
    """1 - S(l), S = 2 int_0^l z^2 p + 2 int_l^2l (2 l - z)^2 p: what a saw tooth of unit q loses against a line."""
    near, far = special.ndtr(-l), special.ndtr(-2 * l)
    bump = (4 * l * l + 1) * (near - far) - 3 * l * normal_density(l) + 2 * l * normal_density(2 * l)
    return 2 * (l * normal_density(l) + near - bump)


def _zigzag_residual(l: Array, y: Array) -> Array:
    """ln (1 - S(l)) - ln (y l^2): positive below the ratio that the zigzags approach, negative above."""
    return np.log(_zigzag_deficit(l)) - np.log(y) - 2 * np.log(l)


def _deficit_residual(l: Array, share: Array) -> Array:
    """ln (1 - S(l)) - ln(share)."""
    return np.log(_zigzag_deficit(l)) - np.log(share)


def _root(residual: Callable[[Array, Array], Array], low: Array, high: Array, parameter: Array) -> Array:
    """The root l of residual(l, parameter), decreasing in l, between low and high, elementwise; sought in ln l.

    The solver drops the entries that have converged, so the parameter must travel with them as an argument.
    """
    from scipy.optimize import elementwise

    found = elementwise.find_root(
        lambda log_l, p: residual(np.exp(log_l), p),
        (np.log(low), np.log(high)),
        args=(parameter,),
        tolerances={"xrtol": 4.5e-16, "xatol": 4.5e-16},
    )
    if np.isnan(found.x).any():
        raise ConvergenceError(f"no root between l = {low} and {high} at {parameter}")
    return np.asarray(np.exp(found.x))


def _root_lambert(c: float, y: Array) -> Array:
    """sqrt(W_0(c / y^2)) for every y > 0: the Wright omega function is W_0(exp(x)), so nothing over- or underflows."""
    log_x = np.log(c) - 2 * np.log(y)
    w = special.wrightomega(log_x).real
    return np.where(w > 1e-8, np.sqrt(w), np.exp(0.5 * (log_x - w)))


def _ratio(y: Any) -> Array:
    return real("y", y, low=1e-300, high=1e150)
