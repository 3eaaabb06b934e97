"""E phi(U1) phi(U2) as a function of the correlation (Section 2.1), for one activation at one variance q.

Two routes. Piecewise-linear activations: Price's theorem makes the second derivative elementary, so one integral of 48
nodes gives the function and its slope, also from the end rho = 1, where the distance to the diagonal must keep its
relative accuracy. All others: in the angle psi = arccos(rho) the function is smooth, kinks or not, and turns fastest
near rho = +-1, so a Chebyshev series in the arsinh of the angle is computed once, checked, and evaluated ever after.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from afli import gaussian, moments
from afli._activation import Activation
from afli._inputs import Array
from afli.errors import ConvergenceError

_LEAST_DEGREE, _MOST_DEGREE = 16, 256  # of a series; built-in activations need 32 to 128
_TANGENT_RULE = np.polynomial.legendre.leggauss(24)
_WIDE_TANGENT_RULE = np.polynomial.legendre.leggauss(160)  # for angles up to pi / 2 and series of 256 terms


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
    # Kinks beyond 1e70 deviations: their squares stay floats, and the kernel is exp(-1e139), 0.
    q = np.maximum(q, 1e-140 * max((d * d for d in phi.kinks), default=0.0))[..., None, None]
    return gaussian.PriceKernel(weights, squares / q, products / q)


class PriceCurve:
    """Route of the piecewise-linear activations. q: one variance, or an array that broadcasts against rho."""

    def __init__(self, phi: Activation, q: Array | float) -> None:
        q = np.asarray(q, dtype=float)
        self._kernel = price_kernel(phi, q)
        self._mean2 = 0.0 if phi.is_odd else moments.mean(phi, q) ** 2 / q  # exactly, so that R(0) = sigma_b2 / q
        self._slope2 = moments.slope_power(phi, q, 1) ** 2

    def value(self, rho: Array) -> Array:
        """E phi(U1) phi(U2) / q."""
        return np.asarray(self._mean2 + rho * self._slope2 + self._kernel.from_zero(rho)[0])

    def slope(self, rho: Array) -> Array:
        """E phi'(U1) phi'(U2), eq. (21)."""
        return np.asarray(self._slope2 + self._kernel.from_zero(rho)[1])

    def above_tangent(self, angle: Array) -> tuple[Array, Array]:
        """For rho = cos(angle) in [0, 1]: value minus its tangent at 1, slope(1) - slope(rho); relatively accurate."""
        return self._kernel.from_one(angle)


class ChebyshevCurve:
    """Route of all other activations: Chebyshev series in an angle, for rho >= 0, and for rho < 0 when it is asked."""

    def __init__(self, phi: Activation, q: float) -> None:
        self._phi, self._q, self._layer = phi, q, layer_of(phi, q)
        self._value, self._slope = chebyshev_coefficients(phi, q, 1)
        self._quotient = divided(self._slope)

    def value(self, rho: Array) -> Array:
        """E phi(U1) phi(U2) / q; for odd phi exactly 0 at rho = 0."""
        value = self._evaluated(rho, 0)
        return np.where(rho == 0, 0.0, value) if self._phi.is_odd else value

    def slope(self, rho: Array) -> Array:
        """E phi'(U1) phi'(U2), eq. (21)."""
        return self._evaluated(rho, 1)

    def above_tangent(self, angle: Array) -> tuple[Array, Array]:
        """As for `PriceCurve`; the relative error is about 1e-12 / angle."""
        rule = _TANGENT_RULE if np.cos(np.max(angle, initial=0.0)) >= NEAR_ONE - 1e-9 else _WIDE_TANGENT_RULE
        return rise_and_drop(self._quotient, angle, self._layer, rule)

    def _evaluated(self, rho: Array, which: int) -> Any:
        x = angle_variable(np.abs(rho), self._layer)
        right = np.asarray(chebyshev.chebval(x, (self._value, self._slope)[which], tensor=False))
        below = rho < 0
        if not np.any(below):
            return right
        if self._phi.is_odd:
            return np.where(below, -right if which == 0 else right, right)
        left = chebyshev.chebval(x, chebyshev_coefficients(self._phi, self._q, -1)[which], tensor=False)
        return np.asarray(np.where(below, left, right), dtype=float)


NEAR_ONE = 0.999  # from here on the distance to the tangent at rho = 1 is integrated, not subtracted


def layer_of(phi: Activation, q: Array | float) -> Any:
    """The angle over which R turns near rho = +-1: a length of phi in standard deviations, at most 1; smooth in q."""
    return 1 / np.sqrt(1 + np.asarray(q) / phi.scale**2)


def angle_variable(rho: Array, layer: Array | float) -> Array:
    """x in [-1, 1], -1 at rho = 1 and 1 at rho = 0: the arsinh of psi / layer, psi = arccos(rho), where R is smooth."""
    return 2 * np.arcsinh(np.arccos(rho) / layer) / np.arcsinh(0.5 * np.pi / layer) - 1


def divided(series: Array) -> Array:
    """The Chebyshev series of (p(-1) - p(x)) / (1 + x) for the series p; along the last axis, two terms or more."""
    r = np.zeros((*series.shape[:-1], series.shape[-1] + 1))
    for k in range(series.shape[-1] - 1, 1, -1):
        r[..., k - 1] = 2 * (series[..., k] - r[..., k]) - r[..., k + 1]
    r[..., 0] = series[..., 1] - r[..., 1] - 0.5 * r[..., 2]
    return -r[..., :-2]


def rise_and_drop(
    quotient: Array, angle: Array, layer: Array | float, rule: tuple[Array, Array] = _TANGENT_RULE
) -> tuple[Array, Array]:
    """(value - tangent at 1, slope(1) - slope(rho)) near rho = cos(angle) = 1, relatively accurate.

    Parameters
    ----------
    quotient
        The `divided` series of the slope, shape (terms,), or (terms, n) for n networks.
    angle
        Any shape, or (n,).
    layer
        A number, or shape (n,).
    rule
        Nodes and weights on [-1, 1]; the default is for rho >= NEAR_ONE.
    """
    node, weight = rule
    layer = np.broadcast_to(layer, angle.shape)[..., None]
    end = np.arcsinh(angle[..., None] / layer)
    v = np.concatenate([0.5 * end * (node + 1), end], axis=-1)  # psi = layer sinh(v)
    one_plus_x = 2 * v / np.arcsinh(0.5 * np.pi / layer)
    drop = one_plus_x * chebyshev.chebval(one_plus_x - 1, quotient[..., None], tensor=False)
    # d rho = -sin(psi) d psi, d psi = layer cosh(v) dv.
    psi, stretch = layer * np.sinh(v[..., :-1]), layer * np.cosh(v[..., :-1])
    return 0.5 * end[..., 0] * np.sum(weight * np.sin(psi) * stretch * drop[..., :-1], axis=-1), drop[..., -1]


@lru_cache(maxsize=1024)
def chebyshev_coefficients(phi: Activation, q: float, side: int) -> tuple[Array, Array]:
    """Series in the angle variable of |rho| of E phi phi / q and E phi' phi', for rho of one sign: side is 1 or -1.

    Two rules against each other: panels are halved until the series agrees with what is known, the one-dimensional
    moments at rho = 1 and 0, and with a finer rule in between. Raises ConvergenceError if they never do.
    """
    before = 0.0
    for halvings in range(4):
        series, rest = _series_of_any_degree(phi, q, side, halvings)
        if rest == 0 and _agrees(series, phi, q, side, halvings):
            return series
        if 0 < rest == before or abs(rest - before) < 0.01 * before:
            break  # finer panels change nothing: it is the degree that does not suffice
        before = rest
    raise ConvergenceError(
        f"the correlation map of {phi.name} at q = {q:g} did not settle: a kink not declared, kinks too close for "
        f"sqrt(q), or bends on a shorter length than scale={phi.scale:g}"
    )


def _series_of_any_degree(phi: Activation, q: float, side: int, halvings: int) -> tuple[tuple[Array, Array], float]:
    """The degree is doubled until the last five coefficients are rounding.

    Also returned: 0 then, or how large they are, against the largest, at the highest degree.
    """
    degree = _LEAST_DEGREE
    samples = _samples(phi, q, side, degree, np.arange(degree + 1), halvings)
    while True:
        series = np.array([series_through(column) for column in samples.T])
        size = np.abs(series).max(axis=1, keepdims=True)
        last = np.abs(series[:, -5:])  # five: even or odd terms alone may vanish
        if np.all(last <= (2e-14 + phi.rounding) * size):
            return (series[0], series[1]), 0.0
        if degree == _MOST_DEGREE or not np.isfinite(size).all():
            return (series[0], series[1]), float(np.max(last / size))
        degree *= 2
        doubled = np.empty((degree + 1, 2))
        doubled[::2] = samples
        doubled[1::2] = _samples(phi, q, side, degree, np.arange(1, degree, 2), halvings)
        samples = doubled


def _agrees(series: tuple[Array, Array], phi: Activation, q: float, side: int, halvings: int) -> bool:
    """Whether the series has the known values at its ends, and those of a finer rule at an angle between its nodes."""
    at = np.asarray(q)
    known = [(1.0, (float(moments.mean(phi, at)) ** 2 / q, float(moments.slope_power(phi, at, 1)) ** 2))]
    square, slope2 = float(moments.square(phi, at)) / q, float(moments.slope_power(phi, at, 2))
    known.append((-1.0, (square, slope2) if side == 1 else _mirrored(phi, q)))
    layer = float(layer_of(phi, q))
    psi = layer * np.sinh(0.5 * np.arcsinh(0.5 * np.pi / layer) * (1 - 0.31))
    finer = halvings + int(psi < _hermite(phi, q, halvings).from_angle)  # of two routes the other, of one a finer rule
    value, slope = gaussian.pair_moments(phi, side * float(np.cos(psi)), float(np.sin(psi)), q, finer)
    known.append((-0.31, (value / q, slope)))
    # Ten times the accuracy that R is said to have would be too late: 1e-13 of the size, or what phi' is known to.
    slack = 2e-13 + 10 * phi.rounding
    return all(
        abs(float(chebyshev.chebval(x, p)) - right) <= slack * size
        for x, values in known
        for p, right, size in zip(series, values, (square, slope2), strict=True)
    )


def _mirrored(phi: Activation, q: float) -> tuple[float, float]:
    """(E phi phi / q, E phi' phi') at rho = -1, where U2 = -U1."""
    kinks = tuple(sorted({*phi.kinks, *(-d for d in phi.kinks)}))
    f, df = (
        float(gaussian.expectation(lambda u, g=g: g(u) * g(-u), q, kinks=kinks, scale=phi.scale))  # type: ignore[misc]
        for g in (phi.function, phi.derivative)
    )
    return f / q, df


def _samples(phi: Activation, q: float, side: int, degree: int, index: NDArray[np.intp], halvings: int) -> Array:
    """(E phi phi / q, E phi' phi') at those of the degree + 1 Chebyshev extrema, from x = 1 (rho = 0) to x = -1."""
    layer = float(layer_of(phi, q))
    # 1 + x = 2 sin^2, relatively accurate near rho = +-1
    psi = layer * np.sinh(np.arcsinh(0.5 * np.pi / layer) * np.sin(0.5 * np.pi * (degree - index) / degree) ** 2)
    hermite, values = _hermite(phi, q, halvings), np.empty((len(psi), 2))
    far = psi >= hermite.from_angle
    values[far] = hermite.at(side * np.cos(psi[far]))
    for i in np.flatnonzero(~far):
        rho, s = side * float(np.cos(psi[i])), float(np.sin(psi[i]))
        values[i] = gaussian.pair_moments(phi, rho, s, q, halvings)
    return values / (q, 1.0)


@lru_cache(maxsize=16)
def _hermite(phi: Activation, q: float, halvings: int) -> gaussian.HermiteSeries:
    sums = float(moments.square(phi, np.asarray(q))), float(moments.slope_power(phi, np.asarray(q), 2))
    return gaussian.hermite_series(phi, q, sums, halvings)


def series_through(samples: Array) -> Array:
    """Chebyshev coefficients from values at the extrema cos(pi j / n)."""
    from scipy.fft import dct

    n = len(samples) - 1
    c = dct(samples, type=1) / n
    c[0], c[-1] = 0.5 * c[0], 0.5 * c[-1]
    return np.asarray(c)


def curve(phi: Activation, q: float) -> Any:
    """The route that fits phi."""
    return PriceCurve(phi, q) if phi.piece_slopes is not None else ChebyshevCurve(phi, q)
