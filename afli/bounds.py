"""Section 3: how large the linear region must be. All bounds are functions of y = sigma_b2 / a^2 alone.

Each quantity comes twice: as the paper prints it, and `*_sharp`, the best possible for the class of Definition 2.1,
which is this companion's own (proofs in the book; we know of no earlier statement). The ratio is l = a / sqrt(q*).
y is a number or an array of any shape in [1e-300, 1e150]; results have its shape, a float for a number. Outside:
ValueError; TypeError for what is not a real number. Accuracy: 1e-12, relative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from scipy import special

from afli._inputs import Array, Many, integer, like, quiet_underflow, real, scalar
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


@overload
def tangent_point(y: float) -> tuple[float, float]: ...
@overload
def tangent_point(y: Many) -> tuple[Array, Array]: ...
@quiet_underflow
def tangent_point(y: float | Many) -> tuple[Any, Any]:
    """The tangent from which Lemma 3.4 reads its lower bound, to g(l) = sqrt(2 / pi) exp(-l^2 / 2) / l.

    Returns
    -------
    delta, beta
        g(delta) = y, and beta = y (delta^2 + 2) is where the tangent to g at delta meets 0.
    """
    y = _ratio(y)
    delta = _root_lambert(2 / np.pi, y)
    return like(delta), like(y * (delta**2 + 2))


@overload
def linear_ratio(y: float) -> tuple[float, float]: ...
@overload
def linear_ratio(y: Many) -> tuple[Array, Array]: ...
@quiet_underflow
def linear_ratio(y: float | Many) -> tuple[Any, Any]:
    """Bounds of a / sqrt(q*) on the edge of chaos, as Lemma 3.4 states them, eq. (23).

    Returns
    -------
    lower, upper
        nu(y), by the Lambert function, and (8 / pi)^(1/6) y^(-1/3). Valid for every y > 0.

    Examples
    --------
    >>> lower, upper = linear_ratio(0.01)
    >>> round(lower, 4), round(upper, 4)
    (1.7969, 5.424)
    """
    y = _ratio(y)
    _, beta = tangent_point(y)
    return like(_root_lambert(2 / np.pi, np.asarray(beta))), like((8 / np.pi) ** (1 / 6) * np.cbrt(1 / y))


@overload
def linear_ratio_sharp(y: float) -> tuple[float, float]: ...
@overload
def linear_ratio_sharp(y: Many) -> tuple[Array, Array]: ...
@quiet_underflow
def linear_ratio_sharp(y: float | Many) -> tuple[Any, Any]:
    """Bounds of a / sqrt(q*), best possible over all scaled-bounded activations.

    Returns
    -------
    lower, upper
        Shtanh attains the lower one. The upper one is approached, and never attained, by a saw tooth followed by a
        vanishing zigzag.
    """
    y = _ratio(y)
    lower, _ = (np.asarray(v) for v in linear_ratio(y))
    upper = np.asarray(linear_ratio_closed(y)) * (1 + 1e-9)  # a hair outside both bounds, in case they are attained
    # From a hair below the printed bound, which at large y is the sharp one to rounding.
    sharp_lower = _root(_shtanh_residual, lower * (1 - 1e-12), upper, y)
    sharp_upper = _root(_zigzag_residual, lower * (1 - 1e-12), upper, y)
    return like(sharp_lower), like(sharp_upper)


@overload
def linear_ratio_closed(y: float) -> float: ...
@overload
def linear_ratio_closed(y: Many) -> Array: ...
@quiet_underflow
def linear_ratio_closed(y: float | Many) -> Any:
    """A closed upper bound of a / sqrt(q*), tighter than the printed one.

    Returns
    -------
    float or Array
        sqrt(W_0(8 / (pi y^2))) for y <= 1.6, 1 / sqrt(y) beyond.
    """
    y = _ratio(y)
    return like(np.where(y <= 1.6, _root_lambert(8 / np.pi, y), 1 / np.sqrt(y)))


@overload
def correlation_gap(y: float) -> float: ...
@overload
def correlation_gap(y: Many) -> Array: ...
@quiet_underflow
def correlation_gap(y: float | Many) -> Any:
    """Upper bound (8 y / pi)^(1/3) of max |R(rho) - rho| on [0, 1], Theorem 2.1, eq. (15). Vacuous for y >= pi / 8."""
    return like(np.cbrt(8 / np.pi * _ratio(y)))


@overload
def correlation_gap_sharp(y: float) -> float: ...
@overload
def correlation_gap_sharp(y: Many) -> Array: ...
@quiet_underflow
def correlation_gap_sharp(y: float | Many) -> Any:
    """The best bound of max |R(rho) - rho| on [0, 1] over the class: y times the square of the sharp upper ratio."""
    y = _ratio(y)
    return like(y * np.asarray(linear_ratio_sharp(y)[1]) ** 2)


@overload
def moment_ratio_gap(y: float) -> float: ...
@overload
def moment_ratio_gap(y: Many) -> Array: ...
@quiet_underflow
def moment_ratio_gap(y: float | Many) -> Any:
    """Upper bound erf(nu / sqrt 2)^-2 - 1 of |mu_2 / mu_1^2 - 1|, Theorem 2.1, eq. (16)."""
    lower = np.asarray(linear_ratio(y)[0]) / _SQRT2
    return like(special.erfc(lower) * (1 + special.erf(lower)) / special.erf(lower) ** 2)


@overload
def moment_ratio_gap_sharp(y: float) -> float: ...
@overload
def moment_ratio_gap_sharp(y: Many) -> Array: ...
@quiet_underflow
def moment_ratio_gap_sharp(y: float | Many) -> Any:
    """The best bound of mu_2 / mu_1^2 - 1 over the class, which Shtanh attains.

    Returns
    -------
    float or Array
        1 / erf(l / sqrt 2) - 1 at the lower ratio l of `linear_ratio_sharp`.
    """
    y = _ratio(y)
    return like(y / _excess(np.asarray(linear_ratio_sharp(y)[0])))  # since g = erfc + y erf at that ratio


@overload
def nearly_linear_gap(y: float, epsilon: float) -> float: ...
@overload
def nearly_linear_gap(y: Many, epsilon: float | Many) -> Array: ...
@overload
def nearly_linear_gap(y: float, epsilon: Many) -> Array: ...
@quiet_underflow
def nearly_linear_gap(y: float | Many, epsilon: float | Many) -> Any:
    """Upper bound of max |R(rho) - rho| on [0, 1] for odd phi within epsilon of k z on [-a, a]; phi may be smooth.

    Parameters
    ----------
    epsilon
        In [0, 1], of a shape that fits: |phi(z)| >= (1 - epsilon) k |z| on [-a, a]. |phi'| <= k is asked everywhere.

    Returns
    -------
    float or Array
        2 epsilon + y l^2, where E[Z^2; |Z| >= l] = y l^2 (this companion's own).
    """
    y, epsilon = np.broadcast_arrays(_ratio(y), real("epsilon", epsilon, low=0.0, high=1.0))

    def residual(l: Array, parameter: Array) -> Array:
        tail = special.erfc(l / _SQRT2) + 2 * l * normal_density(l)
        return np.log(tail) - np.log(parameter) - 2 * np.log(l)

    ends = np.full(y.shape, 1e-80), np.full(y.shape, 37.5)  # soon beyond, the tail underflows
    return like(2 * epsilon + y * _root(residual, *ends, y) ** 2)


@quiet_underflow
def linear_radius(
    depth: int, *, sigma_b2: float, correlation_gain: float | None = None, jacobian_variance: float | None = None
) -> float:
    """The linear radius a that assures a network of `depth` layers on the edge of chaos one or both of two promises.

    Parameters
    ----------
    depth
        Number of layers, at least 1.
    sigma_b2
        Bias variance, > 0.
    correlation_gain
        No correlation in [0, 1] rises by more than this over the whole depth; in (0, 1].
    jacobian_variance
        sigma^2_JJT with Haar-orthogonal weights is at most this, > 0.

    Returns
    -------
    float
        The promises are kept by every scaled-bounded activation whose linear radius is at least this. Relative accuracy
        1e-12, or 1e-16 / (1 - correlation_gain / depth) if that is more: near 1 the promise itself has no more digits.

    Raises
    ------
    ValueError
        If neither promise is given, or one divided by the depth is below 1e-290.
    TypeError
        If depth is no integer, or the rest no numbers.

    Examples
    --------
    >>> round(linear_radius(100, sigma_b2=0.01, correlation_gain=0.5), 2)
    4.5
    """
    depth, sigma_b2 = integer("depth", depth, low=1), scalar("sigma_b2", sigma_b2, low=0.0, open_low=True)
    if correlation_gain is None and jacobian_variance is None:
        raise ValueError("linear_radius needs correlation_gain or jacobian_variance, got neither")
    radii = []
    if correlation_gain is not None:
        gain = scalar("correlation_gain", correlation_gain, low=0.0, high=1.0, open_low=True)
        share = _per_layer("correlation_gain", gain, depth)
        # Every layer adds at most y l^2 = sigma_b2 / q*; the l that the class needs solves 1 - S(l) = gain / depth.
        # A gain of 1 in one layer is no promise at all. 1 - S is 1 to rounding below l = 1e-5, and nothing at 37.
        ratio = _root(_deficit_residual, np.asarray(1e-9), np.asarray(37.0), np.asarray(share)) if share < 1 else 0.0
        radii.append(float(np.sqrt(sigma_b2) / np.sqrt(share) * ratio))
    if jacobian_variance is not None:
        variance = scalar("jacobian_variance", jacobian_variance, low=0.0, open_low=True)
        excess = _per_layer("jacobian_variance", variance, depth)
        # mu_2/mu_1^2 - 1 <= 1/B - 1 = variance / depth fixes B = P(|Z| < l), hence l, hence y of Shtanh.
        kept, lost = 1 / (1 + excess), excess / (1 + excess)
        ratio = _SQRT2 * (special.erfinv(kept) if kept < 0.5 else special.erfcinv(lost))
        # R(0) = y l^2 of Shtanh is (g - erfc) l^2 / erf, and erfc / erf is the excess.
        gap = ratio * (ratio * excess) * float(_excess(np.asarray(ratio)))
        radii.append(float(ratio * np.sqrt(sigma_b2) / np.sqrt(gap)))
    return max(radii)


def _per_layer(name: str, promise: float, depth: int) -> float:
    share = promise / depth
    if share < 1e-290:  # near the smallest normal float, 2e-308, erfc and its root lose their digits
        raise ValueError(f"{name} / depth must be at least 1e-290, got {promise!r} / {depth}")
    return share


# --- The two extremal functions ---


def _excess(l: Array) -> Array:
    """g(l) / erfc(l / sqrt 2) - 1, free of the underflow of both; it falls like 1 / l^2."""
    return np.asarray(np.sqrt(2 / np.pi) / (l * special.erfcx(l / _SQRT2)) - 1)


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
        tolerances={"xrtol": 4.5e-16, "xatol": 4.5e-16},  # of ln l: two units in the last place of l
    )
    if np.isnan(found.x).any():
        raise ConvergenceError(f"no root between l = {low} and {high} at {parameter}")
    return np.asarray(np.exp(found.x))


def _root_lambert(c: float, y: Array) -> Array:
    """sqrt(W_0(c / y^2)) for every y > 0: the Wright omega function is W_0(exp(x)), so nothing over- or underflows."""
    log_x = np.log(c) - 2 * np.log(y)
    w = special.wrightomega(log_x).real
    # W exp(W) = x: where W is small, and may underflow, its logarithm is log x - W.
    return np.where(w > 1e-8, np.sqrt(w), np.exp(0.5 * (log_x - w)))


def _ratio(y: Any) -> Array:
    return real("y", y, low=1e-300, high=1e150)
