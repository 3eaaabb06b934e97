"""E phi(U1) phi(U2) as a function of the correlation (Section 2.1), for one activation at one variance q.

Two routes. Piecewise-linear activations: Price's theorem makes the second derivative elementary, so one integral of 48
nodes gives the function and its slope, also from the end rho = 1, where the distance to the diagonal must keep its
relative accuracy. All others: in the angle psi = arccos(rho) the function is smooth, kinks or not, so a Chebyshev
series is computed once and evaluated ever after.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from afli import gaussian, moments
from afli._activation import Activation
from afli._inputs import Array
from afli.errors import ConvergenceError

_MAX_DEGREE = 512
_TANGENT_RULE = np.polynomial.legendre.leggauss(24)


@lru_cache(maxsize=256)
def jump_pairs(phi: Activation) -> tuple[Array, Array, Array]:
    """J_i J_j / 2 pi, (d_i - d_j)^2, d_i d_j over the pairs of kinks, equal exponents merged (J: jumps of phi')."""
    kinks, jumps = np.array(phi.kinks), np.diff(np.array(phi.piece_slopes))
    pairs: dict[tuple[float, float], float] = {}
    for di, ji in zip(kinks, jumps, strict=True):
        for dj, jj in zip(kinks, jumps, strict=True):
            key = ((di - dj) ** 2, di * dj)
            pairs[key] = pairs.get(key, 0.0) + ji * jj / (2 * np.pi)
    keys = np.array(list(pairs)).reshape(-1, 2)
    return np.array(list(pairs.values())), keys[:, 0], keys[:, 1]


# --- The two routes: each gives E phi phi / q, E phi' phi', and the gap to the tangent at rho = 1 ---


def price_kernel(phi: Activation, q: Array) -> gaussian.PriceKernel:
    """The kernel of Price's theorem for each variance in q. Below 1e-140 times the largest kink squared it is 0."""
    weights, squares, products = jump_pairs(phi)
    q = np.maximum(q, 1e-140 * max((d * d for d in phi.kinks), default=0.0))[..., None, None]
    return gaussian.PriceKernel(weights, squares / q, products / q)


class PriceCurve:
    """Route of the piecewise-linear activations. q: one variance, or an array that broadcasts against rho."""

    def __init__(self, phi: Activation, q: Array | float) -> None:
        q = np.asarray(q, dtype=float)
        self._kernel = price_kernel(phi, q)
        self._mean2 = moments.mean(phi, q) ** 2 / q
        self._slope2 = moments.slope_power(phi, q, 1) ** 2

    def value(self, rho: Array) -> Array:
        """E phi(U1) phi(U2) / q."""
        return np.asarray(self._mean2 + rho * self._slope2 + self._kernel.from_zero(rho)[0])

    def slope(self, rho: Array) -> Array:
        """E phi'(U1) phi'(U2), eq. (21)."""
        return np.asarray(self._slope2 + self._kernel.from_zero(rho)[1])

    def above_tangent(self, rho: Array) -> tuple[Array, Array]:
        """For rho in [0, 1]: value minus its tangent at 1, and slope(1) - slope(rho); both relatively accurate."""
        return self._kernel.from_one(rho)


class ChebyshevCurve:
    """Route of all other activations: Chebyshev series in psi = arccos(rho) on [0, pi]."""

    def __init__(self, phi: Activation, q: float) -> None:
        self._value, self._slope = chebyshev_coefficients(phi, q)
        self._quotient = divided(self._slope)

    def value(self, rho: Array) -> Array:
        """E phi(U1) phi(U2) / q."""
        return np.asarray(chebyshev.chebval(angle_variable(rho), self._value, tensor=False))

    def slope(self, rho: Array) -> Array:
        """E phi'(U1) phi'(U2), eq. (21)."""
        return np.asarray(chebyshev.chebval(angle_variable(rho), self._slope, tensor=False))

    def above_tangent(self, rho: Array) -> tuple[Array, Array]:
        """As for `PriceCurve`, for rho in [NEAR_ONE, 1]; the relative error is about 1e-12 / (1 - rho)^(1/2)."""
        return rise_and_drop(self._quotient, rho)


NEAR_ONE = 0.999  # from here on the distance to the tangent at rho = 1 is integrated, not subtracted


def divided(series: Array) -> Array:
    """The Chebyshev series of (p(-1) - p(x)) / (1 + x) for the series p; along the last axis, two terms or more."""
    r = np.zeros((*series.shape[:-1], series.shape[-1] + 1))
    for k in range(series.shape[-1] - 1, 1, -1):
        r[..., k - 1] = 2 * (series[..., k] - r[..., k]) - r[..., k + 1]
    r[..., 0] = series[..., 1] - r[..., 1] - 0.5 * r[..., 2]
    return -r[..., :-2]


def rise_and_drop(quotient: Array, rho: Array) -> tuple[Array, Array]:
    """(value - tangent at 1, slope(1) - slope(rho)) near rho = 1 from the `divided` series of the slope.

    quotient: shape (terms,), or (terms, n) for n networks and rho of shape (n,).
    """
    x, weight = _TANGENT_RULE
    end = np.arccos(rho)
    psi = np.concatenate([0.5 * end[..., None] * (x + 1), end[..., None]], axis=-1)
    drop = 2 * psi / np.pi * chebyshev.chebval(2 * psi / np.pi - 1, quotient[..., None], tensor=False)
    # d rho = -sin(psi) d psi.
    return 0.5 * end * np.sum(weight * np.sin(psi[..., :-1]) * drop[..., :-1], axis=-1), drop[..., -1]


def angle_variable(rho: Array) -> Array:
    """The Chebyshev variable 2 arccos(rho) / pi - 1 in [-1, 1]; -1 at rho = 1."""
    return 2 * np.arccos(rho) / np.pi - 1


@lru_cache(maxsize=512)
def chebyshev_coefficients(phi: Activation, q: float) -> tuple[Array, Array]:
    """Series in the angle of E phi phi / q and E phi' phi'.

    The degree is doubled until the last coefficients are rounding. Raises ConvergenceError beyond degree 512.
    """
    degree, samples = 32, _samples(phi, q, _angles(32))
    while True:
        series = np.array([_series(column) for column in samples.T])
        size = np.abs(series).max(axis=1, keepdims=True)
        if np.all(np.abs(series[:, -5:]) <= 2e-14 * size):
            return series[0], series[1]
        if degree == _MAX_DEGREE:
            raise ConvergenceError(
                f"the correlation map of {phi.name} at q = {q:g} needs more than {degree} Chebyshev terms: "
                f"kinks too close for sqrt(q), or bends on a shorter length than scale={phi.scale:g}"
            )
        degree *= 2
        doubled = np.empty((degree + 1, 2))
        doubled[::2], doubled[1::2] = samples, _samples(phi, q, _angles(degree)[1::2])
        samples = doubled


def _angles(degree: int) -> Array:
    """The angles psi of the Chebyshev extrema, from pi down to 0, relatively accurate near 0."""
    return np.asarray(np.pi * np.sin(0.5 * np.pi * np.arange(degree, -1, -1) / degree) ** 2)


def _samples(phi: Activation, q: float, psi: Array) -> Array:
    """(E phi phi / q, E phi' phi') at decreasing angles, symmetric about pi / 2; an odd phi needs only half of them."""
    out = np.empty((len(psi), 2))
    for i in reversed(range(len(psi))):
        if phi.is_odd and i < len(psi) // 2:
            out[i] = out[len(psi) - 1 - i] * (-1.0, 1.0)
        else:
            value, slope = gaussian.pair_moments(phi, float(psi[i]), q)
            out[i] = value / q, slope
    return out


def _series(samples: Array) -> Array:
    """Chebyshev coefficients from values at the extrema cos(pi j / n)."""
    from scipy.fft import dct

    n = len(samples) - 1
    c = dct(samples, type=1) / n
    c[0], c[-1] = 0.5 * c[0], 0.5 * c[-1]
    return np.asarray(c)


def curve(phi: Activation, q: float) -> Any:
    """The route that fits phi."""
    return PriceCurve(phi, q) if phi.piece_slopes is not None else ChebyshevCurve(phi, q)
