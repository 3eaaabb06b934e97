"""One-dimensional moments of an activation and its derivative, eqs. (3), (7), (12): E of a product of phi, phi' and U.

U = sqrt(q) Z; q > 0 of any shape, unchecked. Closed for piecewise-linear phi, quadrature otherwise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from afli import gaussian
from afli._activation import Activation
from afli._inputs import Array, Function


def mean(phi: Activation, q: Array) -> Array:
    """E phi(U)."""
    if phi.piece_slopes is None:
        return _expectation(phi, phi.function, q)
    s, h = pieces(phi)
    return _of_pieces(phi, q, h, s, 0 * s)


def square(phi: Activation, q: Array) -> Array:
    """E phi(U)^2, eq. (3)."""
    if phi.piece_slopes is None:
        return _expectation(phi, lambda u: phi.function(u) ** 2, q)
    s, h = pieces(phi)
    return _of_pieces(phi, q, h**2, 2 * s * h, s**2)


def slope_power(phi: Activation, q: Array, power: int) -> Array:
    """E phi'(U)^power, eqs. (7), (12)."""
    if phi.piece_slopes is None:
        return _expectation(phi, lambda u: phi.gradient(u) ** power, q)
    return np.asarray(np.sum(pieces(phi)[0] ** power * gaussian.piece_moments(q, phi.kinks)[0], axis=-1))


def radial(phi: Activation, q: Array) -> Array:
    """E phi(U) phi'(U) U, which is q d/dq E phi(U)^2."""
    if phi.piece_slopes is None:
        return _expectation(phi, lambda u: phi.function(u) * phi.gradient(u) * u, q)
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

    Computed on psi = phi - k u: by Stein's lemma (A.3) the linear part drops out for every k, so a nearly linear
    activation loses no digits.
    """
    k = phi.slope
    if phi.piece_slopes is None:

        def at(v: float) -> float:
            def integrand(u: Array) -> Array:
                return v * (phi.gradient(u) - k) ** 2 - (phi.function(u) - k * u) ** 2

            root = float(np.sqrt(v))
            value, size = gaussian.settled(integrand, root, phi.kinks, phi.scale, phi.rounding * abs(k) * root)
            return value if abs(value) > 1e-13 * size else 0.0  # a homogeneous function of the user's own gives 0

        return np.array([at(float(v)) for v in np.ravel(q)]).reshape(np.shape(q))
    slope, height = pieces(phi)
    s = slope - k
    mass, first, _, shortfall = gaussian.piece_moments(q, phi.kinks)
    return np.asarray(shortfall @ s**2 - first @ (2 * s * height) - mass @ height**2)


def _expectation(phi: Activation, f: Function, q: Array) -> Array:
    """E f(sqrt(q) Z) for an f made of phi and phi', to the accuracy that phi' has."""
    roots, rounding = np.sqrt(np.ravel(q)), 0.1 * phi.rounding
    values = [gaussian.settled(f, float(root), phi.kinks, phi.scale, rounding)[0] for root in roots]
    return np.array(values).reshape(np.shape(q))


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
