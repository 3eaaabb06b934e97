"""The phase diagram (Figure 2(b)): q*, chi_1 and rho* on a grid of weight and bias variances, all cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from afli import correlation, moments
from afli._activation import Activation, require
from afli._inputs import Array, real
from afli.errors import ConvergenceError, NoFixedPointError
from afli.fixed_points import ROUNDING, Curve, fixed_variance, near_tangencies, newton_from_the_left, second_moments

_BLOCK = 4096  # cells that are worked on at once; bounds the memory


@dataclass(frozen=True)
class PhaseDiagram:
    """Figure 2(b) and its data. Arrays are indexed [sigma_w2, sigma_b2]; q, chi1, rho are NaN where `exists` is False.

    q: the smallest attracting fixed point of the variance map. chi1: eq. (7) there. rho: the fixed point of R, rho*.
    """

    sigma_w2: Array
    sigma_b2: Array
    q: Array
    chi1: Array
    rho: Array
    exists: Array


def phase_diagram(phi: Activation, *, sigma_w2: Any, sigma_b2: Any) -> PhaseDiagram:
    """q*, chi_1 and rho* on the grid sigma_w2 (n,) x sigma_b2 (m,); entries > 0 and >= 0, a number counts as one.

    Cells without a fixed point are NaN, with exists = False. Accuracy of q and chi1 1e-12, of rho 1e-10.
    Raises ValueError or TypeError for bad input, ConvergenceError if a variance is out of reach of the quadrature.
    """
    require(phi)
    sigma_w2 = np.atleast_1d(real("sigma_w2", sigma_w2, low=0.0, open_low=True))
    sigma_b2 = np.atleast_1d(real("sigma_b2", sigma_b2, low=0.0))
    if sigma_w2.ndim != 1 or sigma_b2.ndim != 1:
        raise ValueError(
            f"sigma_w2 and sigma_b2 must be one-dimensional, got shapes {sigma_w2.shape} and {sigma_b2.shape}"
        )
    w, b = (g.ravel() for g in np.meshgrid(sigma_w2, sigma_b2, indexing="ij"))
    q = np.concatenate([np.empty(0), *(_variances(phi, w[i], b[i]) for i in _blocks(len(w)))])
    exists = np.isfinite(q)
    slope = np.full(q.shape, np.nan)
    slope[exists] = w[exists] * moments.slope_power(phi, q[exists], 2)
    rho = np.where(exists, 1.0, np.nan)
    chaotic = exists & (slope > 1 + ROUNDING)
    if chaotic.any():
        rho[chaotic] = _fixed_correlations(phi, q[chaotic], w[chaotic], b[chaotic], slope[chaotic])
    shape = (len(sigma_w2), len(sigma_b2))
    return PhaseDiagram(
        sigma_w2, sigma_b2, q.reshape(shape), slope.reshape(shape), rho.reshape(shape), exists.reshape(shape)
    )


def _blocks(count: int) -> list[NDArray[np.intp]]:
    return np.array_split(np.arange(count), 1 + count // _BLOCK)


def _variances(phi: Activation, w: Array, b: Array) -> Array:
    """The smallest attracting fixed points, NaN where there is none."""
    if phi.is_homogeneous or len(w) == 0:
        return np.array([_variance_or_nan(phi, *cell) for cell in zip(w, b, strict=True)])
    grid = second_moments(phi, w, b)
    excess = (w[:, None] * grid.square + b[:, None]) / grid.q - 1
    grows = excess > ROUNDING
    falls = grows[:, :-1] & ~grows[:, 1:]
    exists, first = falls.any(axis=1), falls.argmax(axis=1)
    from scipy.optimize import elementwise

    def residual(log_q: Array, w: Array, b: Array) -> Array:
        q = np.exp(log_q)
        return (w * moments.square(phi, q) + b) / q - 1

    q = np.full(w.shape, np.nan)
    if exists.any():
        ends = np.log(grid.q[first[exists]]), np.log(grid.q[first[exists] + 1])
        q[exists] = np.exp(elementwise.find_root(residual, ends, args=(w[exists], b[exists])).x)
    # What needs a closer look: V that all but touches the diagonal, and roots that are equal to rounding at one end.
    for cell in np.flatnonzero(near_tangencies(excess).any(axis=1) | (exists & np.isnan(q))):
        q[cell] = _variance_or_nan(phi, w[cell], b[cell])
    if grid.failure and np.isnan(q).any():
        raise grid.failure
    return q


def _variance_or_nan(phi: Activation, w: float, b: float) -> float:
    try:
        return fixed_variance(phi, float(w), float(b), start=None)
    except NoFixedPointError:
        return np.nan


def _fixed_correlations(phi: Activation, q: Array, w: Array, b: Array, slope_at_one: Array) -> Array:
    """rho* of chaotic cells."""
    tables = _Tables(phi, q) if phi.piece_slopes is None else None
    rho = np.empty(len(q))
    for i in _blocks(len(q)):
        curve = (
            tables.curve(q[i], w[i], b[i], slope_at_one[i])
            if tables
            else _price_curve(phi, q[i], w[i], slope_at_one[i])
        )
        rho[i] = newton_from_the_left(curve, b[i] / q[i])
    return rho


def _price_curve(phi: Activation, q: Array, w: Array, slope_at_one: Array) -> Curve:
    def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
        rise, drop = correlation.price_kernel(phi, q[cell]).from_one(rho)
        return (1 - rho) * (1 - slope_at_one[cell]) + w[cell] * rise, slope_at_one[cell] - w[cell] * drop - 1

    return curve


class _Tables:
    """The Chebyshev series of `correlation`, which depend smoothly on log q, interpolated from a few variances."""

    def __init__(self, phi: Activation, q: Array) -> None:
        low, high = np.log(q.min()) - 1e-9, np.log(q.max()) + 1e-9
        self.centre, self.half = 0.5 * (high + low), 0.5 * (high - low)
        for count in (16, 32, 64, 128):
            x = np.cos(np.pi * (np.arange(count) + 0.5) / count)
            tables = [self._rows(phi, float(v)) for v in np.exp(self.half * x + self.centre)]
            self.length = max(t.shape[1] for t in tables)
            stacked = np.array([np.pad(t, ((0, 0), (0, self.length - t.shape[1]))) for t in tables])
            self.series = np.linalg.solve(chebyshev.chebvander(x, count - 1), stacked.reshape(count, -1))
            if np.abs(self.series[-3:]).max() <= 1e-12 * np.abs(self.series).max():
                return
        raise ConvergenceError(f"the correlation maps of {phi.name} vary too fast over q in [{q.min():g}, {q.max():g}]")

    @staticmethod
    def _rows(phi: Activation, q: float) -> Array:
        """The series of the value, of the slope, and of the slope divided as `correlation.rise_and_drop` wants it."""
        value, slope = correlation.chebyshev_coefficients(phi, q)
        quotient = correlation.divided(slope)
        return np.array([np.pad(c, (0, len(value) - len(c))) for c in (value, slope, quotient)])

    def curve(self, q: Array, w: Array, b: Array, slope_at_one: Array) -> Curve:
        """The gap and its slope for networks with these variances, weights, biases and chi_1."""
        x = (np.log(q) - self.centre) / self.half
        series = (chebyshev.chebvander(x, len(self.series) - 1) @ self.series).reshape(len(q), 3, self.length)

        def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
            angle = correlation.angle_variable(rho)
            value, slope = (chebyshev.chebval(angle, series[cell, i].T, tensor=False) for i in (0, 1))
            gap, tilt = w[cell] * value + b[cell] / q[cell] - rho, w[cell] * slope - 1
            near = rho >= correlation.NEAR_ONE
            if near.any():
                c = cell[near]
                rise, drop = correlation.rise_and_drop(series[c, 2].T, rho[near])
                gap[near] = (1 - rho[near]) * (1 - slope_at_one[c]) + w[c] * rise
                tilt[near] = slope_at_one[c] - w[c] * drop - 1
            return gap, tilt

        return curve
