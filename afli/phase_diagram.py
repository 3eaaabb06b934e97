"""The phase diagram (Figure 2(b)): q*, chi_1 and rho* on a grid of weight and bias variances, all cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from afli import correlation, moments
from afli._activation import Activation, require
from afli._inputs import Array, quiet_underflow, real
from afli.errors import ConvergenceError, NoFixedPointError
from afli.fixed_points import (
    ROUNDING,
    Curve,
    fixed_variance,
    near_tangencies,
    newton_from_the_left,
    second_moments,
    variance_residual,
)

_FEW = 20  # cells of one decade of q: up to here their own tables are cheaper than those at the nodes
_BLOCK = 4096  # cells that are worked on at once; bounds the memory


@dataclass(frozen=True)
class PhaseDiagram:
    """Figure 2(b) and its data: arrays indexed [sigma_w2, sigma_b2].

    Attributes
    ----------
    sigma_w2, sigma_b2
        The axes.
    q
        The smallest attracting fixed point of the variance map, eq. (3); NaN where `exists` is False.
    chi1
        Eq. (7) there.
    rho
        rho*, the attracting fixed point of R.
    exists
        False where the variance map has no attracting fixed point, or none was found within reach.
    out_of_reach
        Where q or rho is NaN for a reason of numerics: phi overflows, or bends too often for the quadrature. Where the
        first, the middle and the last of several variances are out of reach, those between them count as such.
    """

    sigma_w2: Array
    sigma_b2: Array
    q: Array
    chi1: Array
    rho: Array
    exists: Array
    out_of_reach: Array


@quiet_underflow
def phase_diagram(phi: Activation, *, sigma_w2: ArrayLike, sigma_b2: ArrayLike) -> PhaseDiagram:
    """q*, chi_1 and rho* on a grid of weight and bias variances, Figure 2(b).

    Parameters
    ----------
    sigma_w2, sigma_b2
        Axes of shapes (n,) and (m,), entries > 0 and >= 0; a number counts as one.

    Returns
    -------
    PhaseDiagram
        Accuracy of q and chi1 1e-12, of rho 1e-10.
    """
    require(phi)
    sigma_w2 = np.atleast_1d(real("sigma_w2", sigma_w2, low=0.0, open_low=True))
    sigma_b2 = np.atleast_1d(real("sigma_b2", sigma_b2, low=0.0))
    if sigma_w2.ndim != 1 or sigma_b2.ndim != 1:
        raise ValueError(
            f"sigma_w2 and sigma_b2 must be one-dimensional, got shapes {sigma_w2.shape} and {sigma_b2.shape}"
        )
    w, b = (g.ravel() for g in np.meshgrid(sigma_w2, sigma_b2, indexing="ij"))
    found = [_variances(phi, w[i], b[i]) for i in _blocks(len(w))]
    q, out_of_reach = (np.concatenate(column) for column in zip(*found, strict=True))
    exists = np.isfinite(q)
    slope = np.full(q.shape, np.nan)
    slope[exists] = w[exists] * moments.slope_power(phi, q[exists], 2)
    rho = np.where(exists, 1.0, np.nan)
    chaotic = exists & (slope > 1 + ROUNDING)
    if chaotic.any():
        rho[chaotic] = _fixed_correlations(phi, q[chaotic], w[chaotic], b[chaotic], slope[chaotic])
    out_of_reach |= exists & np.isnan(rho)
    shape = (len(sigma_w2), len(sigma_b2))
    return PhaseDiagram(sigma_w2, sigma_b2, *(v.reshape(shape) for v in (q, slope, rho, exists, out_of_reach)))


def _blocks(count: int) -> list[NDArray[np.intp]]:
    return np.array_split(np.arange(count), 1 + count // _BLOCK)


@np.errstate(over="ignore")  # V(q) / q may be infinite, and is then above 1
def _variances(phi: Activation, w: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The smallest attracting fixed points, NaN where there is none, and where they are out of reach."""
    if phi.is_homogeneous or len(w) == 0:
        cells = [_variance_or_nan(phi, *cell) for cell in zip(w, b, strict=True)]
        return np.array([q for q, _ in cells]), np.array([out for _, out in cells], dtype=bool)
    grid = second_moments(phi, w, b)
    excess = (w[:, None] * grid.square + b[:, None]) / grid.q - 1
    grows = excess > ROUNDING
    falls = grows[:, :-1] & ~grows[:, 1:]
    exists, first = falls.any(axis=1), falls.argmax(axis=1)
    from scipy.optimize import elementwise

    q = np.full(w.shape, np.nan)
    if exists.any():
        ends = np.log(grid.q[first[exists]]), np.log(grid.q[first[exists] + 1])
        residual = partial(variance_residual, phi)
        q[exists] = np.exp(elementwise.find_root(residual, ends, args=(w[exists], b[exists])).x)
    # What needs a closer look: V that all but touches the diagonal, and roots that are equal to rounding at one end.
    # Where the grid ended early, what has no fixed point below may have one beyond.
    unreached = np.isnan(q) if grid.failure else np.zeros(q.shape, dtype=bool)
    for cell in np.flatnonzero(near_tangencies(excess).any(axis=1) | (exists & np.isnan(q))):
        q[cell], unreached[cell] = _variance_or_nan(phi, w[cell], b[cell])
    return q, unreached


def _variance_or_nan(phi: Activation, w: float, b: float) -> tuple[float, bool]:
    try:
        return fixed_variance(phi, float(w), float(b), start=None), False
    except NoFixedPointError:
        return np.nan, False
    except ConvergenceError:
        return np.nan, True


def _fixed_correlations(phi: Activation, q: Array, w: Array, b: Array, slope_at_one: Array) -> Array:
    """rho* of chaotic cells; NaN where the correlation map is out of reach."""
    rho = np.full(len(q), np.nan)

    def solved(cells: NDArray[np.intp]) -> Array:
        if phi.piece_slopes is not None:
            curve = _price_curve(phi, q[cells], w[cells], slope_at_one[cells])
        else:
            curve = _Tables(phi, q[cells]).curve(q[cells], w[cells], b[cells], slope_at_one[cells])
        return newton_from_the_left(curve, b[cells] / q[cells])

    def fill(cells: NDArray[np.intp]) -> bool:
        """Whether any of these cells, in the order of q, is within reach."""
        try:
            rho[cells] = solved(cells)
            return True
        except ConvergenceError:  # somewhere among these
            if len(cells) == 1:
                return False
        # Each failure takes long: what lies between three that fail is taken to fail too.
        if len(cells) > 3 and not any(fill(cells[at : at + 1]) for at in (0, len(cells) // 2, len(cells) - 1)):
            return False
        left, right = (fill(half) for half in np.array_split(cells, 2))
        return left or right

    for cells in _blocks(len(q)) if phi.piece_slopes is not None else _decades(q):
        fill(cells[np.argsort(q[cells], kind="stable")])
    return rho


def _decades(q: Array) -> list[NDArray[np.intp]]:
    decade = np.floor(np.log10(q))
    return [np.flatnonzero(decade == exponent) for exponent in np.unique(decade)]


def _price_curve(phi: Activation, q: Array, w: Array, slope_at_one: Array) -> Curve:
    def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
        rise, drop = correlation.price_kernel(phi, q[cell]).from_one(np.arccos(rho))
        return (1 - rho) * (1 - slope_at_one[cell]) + w[cell] * rise, slope_at_one[cell] - w[cell] * drop - 1

    return curve


class _Tables:
    """The Chebyshev series of `correlation`, which depend smoothly on log q, interpolated from a few variances."""

    def __init__(self, phi: Activation, q: Array) -> None:
        self.phi, self.centre, self.half = phi, 0.0, 1.0
        self.whole = len(q) <= _FEW
        if self.whole:
            self.series = self._stacked(phi, q)
            return
        low, high = np.log(q.min()) - 1e-9, np.log(q.max()) + 1e-9  # so that one variance is an interval too
        self.centre, self.half = 0.5 * (high + low), 0.5 * (high - low)
        # Nested, so that nothing is computed twice; over a decade of q the terms fall like 3.06^-n, as in `moments`.
        for degree in (8, 16, 32):
            x = np.cos(np.pi * (np.arange(degree + 1) / degree))
            values = self._stacked(phi, np.exp(self.half * x + self.centre)).reshape(degree + 1, -1)
            self.series = np.asarray(np.linalg.solve(chebyshev.chebvander(x, degree), values))
            if np.abs(self.series[-2:]).max() <= 1e-12 * np.abs(self.series).max():  # rho* is known to 1e-10
                return
        raise ConvergenceError(f"the correlation maps of {phi.name} vary too fast over q in [{q.min():g}, {q.max():g}]")

    def _stacked(self, phi: Activation, q: Array) -> Array:
        tables = [self._rows(phi, float(v)) for v in q]
        self.length = max(t.shape[1] for t in tables)
        return np.array([np.pad(t, ((0, 0), (0, self.length - t.shape[1]))) for t in tables])

    @staticmethod
    def _rows(phi: Activation, q: float) -> Array:
        """The series of the value, of the slope, and of the slope divided as `correlation.rise_and_drop` wants it."""
        value, slope = correlation.chebyshev_coefficients(phi, q, 1)
        quotient = correlation.divided(slope)
        return np.array([np.pad(c, (0, len(value) - len(c))) for c in (value, slope, quotient)])

    def curve(self, q: Array, w: Array, b: Array, slope_at_one: Array) -> Curve:
        """The gap and its slope for networks with these variances, weights, biases and chi_1."""
        series = self.series
        if not self.whole:
            x = (np.log(q) - self.centre) / self.half
            series = (chebyshev.chebvander(x, len(series) - 1) @ series).reshape(len(q), 3, self.length)
        layer = correlation.layer_of(self.phi, q)

        def curve(rho: Array, cell: NDArray[np.intp]) -> tuple[Array, Array]:
            angle = correlation.angle_variable(rho, layer[cell])
            value, slope = (chebyshev.chebval(angle, series[cell, i].T, tensor=False) for i in (0, 1))
            gap, tilt = w[cell] * value + b[cell] / q[cell] - rho, w[cell] * slope - 1
            near = rho >= correlation.NEAR_ONE
            if near.any():
                c = cell[near]
                rise, drop = correlation.rise_and_drop(series[c, 2].T, np.arccos(rho[near]), layer[c])
                gap[near] = (1 - rho[near]) * (1 - slope_at_one[c]) + w[c] * rise
                tilt[near] = slope_at_one[c] - w[c] * drop - 1
            return gap, tilt

        return curve
