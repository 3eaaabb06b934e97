"""The phase diagram (Figure 2(b)): q*, chi_1 and rho* on a grid of weight and bias variances, all cells at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from afli import correlation, gaussian
from afli._inputs import Array, real
from afli.definition import Activation, require
from afli.errors import ConvergenceError
from afli.fixed_points import ROUNDING, second_moment_grid


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
    """q*, chi_1 and rho* on the grid sigma_w2 (n,) x sigma_b2 (m,); entries > 0 and >= 0.

    Cells without a fixed point are NaN, with exists = False.
    """
    require(phi)
    sigma_w2 = np.atleast_1d(real("sigma_w2", sigma_w2, low=0.0, open_low=True))
    sigma_b2 = np.atleast_1d(real("sigma_b2", sigma_b2, low=0.0))
    if sigma_w2.ndim != 1 or sigma_b2.ndim != 1:
        raise ValueError(
            f"sigma_w2 and sigma_b2 must be one-dimensional, got shapes {sigma_w2.shape} and {sigma_b2.shape}"
        )
    w, b = (g.ravel() for g in np.meshgrid(sigma_w2, sigma_b2, indexing="ij"))
    q = _variances_on_grid(phi, w, b)
    exists = np.isfinite(q)
    slope = np.full(q.shape, np.nan)
    slope[exists] = w[exists] * correlation.moment(phi, q[exists], "slope2")
    rho = np.where(exists, 1.0, np.nan)
    chaotic = exists & (slope > 1)
    if chaotic.any():
        rho[chaotic] = _fixed_correlations(phi, q[chaotic], w[chaotic], b[chaotic], slope[chaotic])
    shape = (len(sigma_w2), len(sigma_b2))
    return PhaseDiagram(
        sigma_w2, sigma_b2, q.reshape(shape), slope.reshape(shape), rho.reshape(shape), exists.reshape(shape)
    )


def _variances_on_grid(phi: Activation, w: Array, b: Array) -> Array:
    """The smallest attracting fixed points, NaN where there is none."""
    if phi.is_homogeneous:
        growth = w * float(correlation.moment(phi, np.ones(()), "square"))
        fixed = np.divide(b, 1 - growth, out=np.full(w.shape, np.nan), where=(growth < 1) & (b > 0))
        return np.where((np.abs(growth - 1) <= 1e-14) & (b == 0), 1.0, fixed)
    grid, square = second_moment_grid(phi)
    above = w[:, None] * square + b[:, None] > grid * (1 + ROUNDING)
    falls = above[:, :-1] & ~above[:, 1:]
    exists, first = falls.any(axis=1), falls.argmax(axis=1)
    from scipy.optimize import elementwise

    def residual(log_q: Array, w: Array, b: Array) -> Array:
        q = np.exp(log_q)
        return (w * correlation.moment(phi, q, "square") + b) / q - 1

    q = np.full(w.shape, np.nan)
    if exists.any():
        ends = np.log(grid[first[exists]]), np.log(grid[first[exists] + 1])
        q[exists] = np.exp(elementwise.find_root(residual, ends, args=(w[exists], b[exists])).x)
    return q


Curve = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]


def _fixed_correlations(phi: Activation, q: Array, w: Array, b: Array, slope_at_one: Array) -> Array:
    """rho* of chaotic cells."""
    if phi.piece_slopes is not None:
        return newton_from_zero(_price_curves(phi, q, w, slope_at_one), len(q))
    return newton_from_zero(_chebyshev_curves(phi, q, w, b), len(q))


def newton_from_zero(curve: Curve, count: int) -> Array:
    """rho* of `count` chaotic networks by Newton's iteration from rho = 0; networks that have arrived drop out.

    curve(rho, index): R(rho) - rho and its slope for the networks of those indices. It is convex on [0, 1], not negative
    at 0 and negative just left of 1, so the iteration climbs to the first root without overshooting.
    Raises ConvergenceError after 200 steps: a network too close to the edge of chaos.
    """
    rho, active = np.zeros(count), np.arange(count)
    for _ in range(200):
        gap, slope = curve(rho[active], active)
        step = np.where(gap > 0, -gap / np.where(slope < 0, slope, -1.0), 0.0)
        rho[active] = np.minimum(rho[active] + step, 1.0)
        active = active[step > 1e-13]
        if len(active) == 0:
            return rho
    raise ConvergenceError(
        f"rho* was not reached in 200 Newton steps, first at index {int(active[0])}: too near the edge"
    )


def _price_curves(phi: Activation, q: Array, w: Array, slope_at_one: Array) -> Curve:
    weights, squares, products = correlation.jump_pairs(phi)

    def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
        scale = q[cell, None, None]
        rise, drop = gaussian.PriceKernel(weights, squares / scale, products / scale).from_one(rho)
        return (1 - rho) * (1 - slope_at_one[cell]) + w[cell] * rise, slope_at_one[cell] - w[cell] * drop - 1

    return curve


def _chebyshev_curves(phi: Activation, q: Array, w: Array, b: Array) -> Curve:
    """The Chebyshev series in the angle depend smoothly on log q: interpolate them there from a few variances."""
    low, high = np.log(q.min()) - 1e-9, np.log(q.max()) + 1e-9
    variable = (2 * np.log(q) - low - high) / (high - low)
    for count in (16, 32, 64, 128):
        nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        tables = [
            correlation.chebyshev_coefficients(phi, float(np.exp(0.5 * (high - low) * x + 0.5 * (high + low))))
            for x in nodes
        ]
        length = max(len(t[0]) for t in tables)
        stacked = np.array([[np.pad(c, (0, length - len(c))) for c in t] for t in tables])  # (nodes, 2, length)
        series = np.linalg.solve(chebyshev.chebvander(nodes, count - 1), stacked.reshape(count, -1))
        if np.abs(series[-3:]).max() <= 1e-12 * np.abs(series).max():
            break
    else:
        raise ConvergenceError(f"the correlation maps of {phi.name} vary too fast over q in [{q.min():g}, {q.max():g}]")
    values, slopes = np.moveaxis((chebyshev.chebvander(variable, count - 1) @ series).reshape(len(q), 2, length), 1, 0)

    def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
        x = correlation.angle_variable(rho)
        value, slope = (chebyshev.chebval(x, c[cell].T, tensor=False) for c in (values, slopes))
        return w[cell] * value + b[cell] / q[cell] - rho, w[cell] * slope - 1

    return curve
