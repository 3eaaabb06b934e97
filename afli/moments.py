"""One-dimensional moments of an activation and its derivative, eqs. (3), (7), (12): E of a product of phi, phi' and U.

U = sqrt(q) Z; q > 0 of any shape, unchecked. Closed for piecewise-linear phi, quadrature otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.polynomial import chebyshev

from afli import gaussian
from afli._activation import Activation
from afli._inputs import Array
from afli.errors import ConvergenceError


def mean(phi: Activation, q: Array) -> Array:
    """E phi(U)."""
    if phi.piece_slopes is None:
        return _expectation(phi, _value, q)
    s, h = pieces(phi)
    return _of_pieces(phi, q, h, s, 0 * s)


def square(phi: Activation, q: Array) -> Array:
    """E phi(U)^2, eq. (3)."""
    if phi.piece_slopes is None:
        return _expectation(phi, _square, q)
    s, h = pieces(phi)
    return _of_pieces(phi, q, h**2, 2 * s * h, s**2)


def slope_power(phi: Activation, q: Array, power: int) -> Array:
    """E phi'(U)^power, eqs. (7), (12)."""
    if phi.piece_slopes is None:
        if power <= 4:
            return _expectation(phi, _slope2 if power == 2 else lambda phi, u: phi.gradient(u) ** power, q)
        scale = phi.scale / np.sqrt(0.25 * power)  # the higher the power, the narrower its peak
        high = [_at(phi, lambda phi, u: phi.gradient(u) ** power, float(v), scale) for v in np.ravel(q)]
        return np.array(high).reshape(np.shape(q))
    slope, mass = pieces(phi)[0], gaussian.piece_moments(q, phi.kinks)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.asarray(np.sum(slope**power * mass, axis=-1))
    if np.isfinite(value).all():
        return value
    # A power may be too large for a float where its mass is too small for one. Such powers are even.
    with np.errstate(all="ignore"):
        log_mass = np.where(mass > 0, np.log(mass), gaussian.log_masses(q, phi.kinks))
        return np.asarray(np.sum(np.exp(power * np.log(np.abs(slope)) + log_mass), axis=-1))


def radial(phi: Activation, q: Array) -> Array:
    """E phi(U) phi'(U) U, which is q d/dq E phi(U)^2."""
    if phi.piece_slopes is None:
        return _expectation(phi, lambda phi, u: phi.function(u) * phi.gradient(u) * u, q)
    s, h = pieces(phi)
    return _of_pieces(phi, q, 0 * s, s * h, s**2)


def slope2_divisor(phi: Activation, q: Array) -> Array:
    """E phi'(U)^2 as a divisor. Raises ValueError where it is 0, as for a constant phi, or not finite."""
    value = slope_power(phi, q, 2)
    good = (value > 0) & np.isfinite(value)
    if not good.all():
        index = tuple(np.argwhere(~good)[0])
        raise ValueError(
            f"E[phi'(sqrt(q) Z)^2] must be > 0 and finite, got {float(value[index]):g} "
            f"for {phi.name} at q={float(q[index]):g}"
        )
    return value


def linear_excess(phi: Activation, q: Array) -> Array:
    """E[q phi'(U)^2 - phi(U)^2], the quantity whose ratio to E phi'^2 must equal sigma_b2 on the edge of chaos.

    Computed on psi = phi - h for a function h of two slopes, left and right of 0, which has none of it itself: by
    Stein's lemma (A.3) h drops out but for its jump of slope times phi(0), so a nearly linear phi, or one close to
    ReLU, loses no digits.
    """
    if phi.piece_slopes is None:
        return np.array([_excess_at(phi, float(v)) for v in np.ravel(q)]).reshape(np.shape(q))
    k = phi.slope
    slope, height = pieces(phi)
    s = slope - k
    mass, first, _, shortfall = gaussian.piece_moments(q, phi.kinks)
    return np.asarray(shortfall @ s**2 - first @ (2 * s * height) - mass @ height**2)


def _excess_at(phi: Activation, q: float) -> float:
    root = float(np.sqrt(q))
    left, right = _two_slopes(phi, root)

    def integrand(u: Array) -> Array:
        k = np.where(u > 0, right, left)
        return q * (phi.gradient(u) - k) ** 2 - (phi.function(u) - k * u) ** 2

    rounding = phi.rounding * max(abs(left), abs(right)) * root
    value, size = gaussian.settled(integrand, root, phi.kinks, phi.scale, rounding, phi.straight)
    at_zero = float(np.asarray(phi.function(np.zeros(1)))[0])
    corner = np.sqrt(2 / np.pi) * root * (right - left) * at_zero
    # A homogeneous function of the user's own gives 0, but for the rounding of its slopes.
    return value - corner if abs(value) > 1e-13 * size or corner else 0.0


def _two_slopes(phi: Activation, root: float) -> tuple[float, float]:
    """Slopes, left and right, of phi where most of the mass lies: those at 0, or far out the mean ones."""
    near = 3 * max([phi.scale, *map(abs, phi.kinks)])  # a third of the mass is beyond one deviation
    if root > near:
        if np.isfinite(phi.straight).all():  # a mean slope: phi' at one point may be 1e-69 there, and times q much
            start, end = (lengths * np.array(phi.straight) for lengths in (2.0, 1e4))
        else:
            start, end = (deviations * root * np.array([-1.0, 1.0]) for deviations in (1.0, 2.0))
        with np.errstate(all="ignore"):  # phi may overflow far out
            left, right = (float(v) for v in (phi.function(end) - phi.function(start)) / (end - start))
        return left, right
    if 0.0 not in phi.kinks:
        return phi.slope, phi.slope
    # Beside 0, but far outside the rounding of a kink there.
    left, right = (float(v) for v in phi.gradient(1e-9 * phi.scale * np.array([-1.0, 1.0])))
    return left, right


Integrand = Callable[[Activation, Array], Array]


def _value(phi: Activation, u: Array) -> Array:
    return phi.function(u)


def _square(phi: Activation, u: Array) -> Array:
    return np.asarray(phi.function(u) ** 2)


def _slope2(phi: Activation, u: Array) -> Array:
    return np.asarray(phi.gradient(u) ** 2)


_MANY = 200  # variances: from here on a series for each decade of q costs less than an integral for each q


def _expectation(phi: Activation, f: Integrand, q: Array) -> Array:
    """E f(phi, sqrt(q) Z) for an f made of phi and phi', to the accuracy that phi' has."""
    flat = np.ravel(q)
    if len(flat) < _MANY:
        return np.array([_at(phi, f, float(v)) for v in flat]).reshape(np.shape(q))
    values, decade = np.empty(flat.shape), np.floor(np.log10(flat)).astype(int)
    for exponent in np.unique(decade):
        here = decade == exponent
        series = _decade_series(phi, f, int(exponent))
        if series is None:
            values[here] = [_at(phi, f, float(v)) for v in flat[here]]
        else:
            values[here] = flat[here] * chebyshev.chebval(2 * (np.log10(flat[here]) - exponent) - 1, series)
    return values.reshape(np.shape(q))


def _at(phi: Activation, f: Integrand, q: float, scale: float | None = None) -> float:
    root, rounding = float(np.sqrt(q)), 0.1 * phi.rounding
    return gaussian.settled(partial(f, phi), root, phi.kinks, scale or phi.scale, rounding, phi.straight)[0]


@lru_cache(maxsize=1024)
def _decade_series(phi: Activation, f: Integrand, exponent: int) -> Array | None:
    """Chebyshev series in log q of E f / q over one decade; None if its last terms are not rounding.

    A Gaussian mean is analytic in log q for |Im log q| < pi / 2, so that the terms fall like 3.06^-n: 33 suffice.
    """
    x = np.cos(np.pi * np.arange(33) / 32)
    q = 10.0 ** (exponent + 0.5 * (x + 1))
    try:
        values = np.array([_at(phi, f, float(v)) for v in q]) / q
    except ConvergenceError:
        return None
    series = chebyshev.chebfit(x, values, 32)
    # The next terms are a third of these each: what is left out is below the 1e-13 that a mean is known to.
    small = (1e-14 + 10 * phi.rounding) * np.abs(values).min()
    return np.asarray(series) if np.abs(series[-3:]).max() <= small else None


def _of_pieces(phi: Activation, q: Array, constant: Array, linear: Array, quadratic: Array) -> Array:
    """E of the function that is constant + linear u + quadratic u^2 on each piece."""
    mass, first, second, _ = gaussian.piece_moments(q, phi.kinks)
    return np.asarray(mass @ constant + first @ linear + second @ quadratic)


@lru_cache(maxsize=256)
def pieces(phi: Activation) -> tuple[Array, Array]:
    """Slope s and intercept h of each piece of a piecewise-linear phi: phi(u) = s u + h there."""
    slope = np.array(phi.piece_slopes)
    anchors = np.array([phi.kinks[0], *phi.kinks]) if phi.kinks else np.zeros(1)
    return slope, phi.function(anchors) - slope * anchors
