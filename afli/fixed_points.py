"""Where the variance map V, and the critical map W, have their fixed points (Section 2.1, Lemma 3.1).

Fixed points are bracketed on a logarithmic grid of variances and then refined by bracketing; the plain iteration
q <- V(q) stalls where V is nearly the identity, which is where the paper's networks live.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from afli import correlation
from afli._inputs import Array
from afli.definition import Activation
from afli.errors import NoFixedPointError

_Q_MIN, _Q_MAX = 1e-16, 1e8  # where fixed points are looked for, in units of the activation's own length
ROUNDING = 2e-15  # V(q) within this relative distance of q is q: a linear piece must not look like a fixed point


def bias_variance_at(phi: Activation, q: Array) -> Array:
    """r(q) = q - E phi^2 / E phi'^2: the bias variance for which q is critical, without cancellation. q > 0."""
    return np.asarray(correlation.linear_excess(phi, q) / correlation.moment(phi, q, "slope2"))


# --- Fixed points of the variance map ---


@lru_cache(maxsize=128)
def second_moment_grid(phi: Activation) -> tuple[Array, Array]:
    """A grid of variances and E phi^2 on it, shared by every (sigma_w2, sigma_b2)."""
    q = search_grid(phi)
    return q, correlation.moment(phi, q, "square")


def search_grid(phi: Activation) -> Array:
    length = (
        max(phi.scale, phi.bound if np.isfinite(phi.bound) else 0.0, *np.abs(phi.kinks)) if phi.kinks else phi.scale
    )
    return np.geomspace(_Q_MIN, _Q_MAX, 2401 if phi.piece_slopes is not None else 241) * max(1.0, length**2)


def _crossings(phi: Activation, sigma_w2: float, sigma_b2: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Grid indices i such that V(q) - q changes sign in [q_i, q_i+1]: downwards (attracting), upwards (repelling)."""
    q, square = second_moment_grid(phi)
    sign = sigma_w2 * square + sigma_b2 > q * (1 + ROUNDING)
    return np.flatnonzero(sign[:-1] & ~sign[1:]), np.flatnonzero(~sign[:-1] & sign[1:])


def fixed_variance(phi: Activation, sigma_w2: float, sigma_b2: float, start: float | None) -> float:
    if phi.is_homogeneous:
        return _homogeneous_variance(phi, sigma_w2, sigma_b2, start)
    down, up = _crossings(phi, sigma_w2, sigma_b2)
    attracting = [_refined(phi, sigma_w2, sigma_b2, i) for i in (down if start is not None else down[:1])]
    if start is not None:  # V carries the variance to the attracting point between the same two repelling ones
        repelling = [_refined(phi, sigma_w2, sigma_b2, i) for i in up]
        floor, ceiling = (
            max([0.0, *(r for r in repelling if r < start)]),
            min([np.inf, *(r for r in repelling if r >= start)]),
        )
        attracting = [q for q in attracting if floor < q <= ceiling]
    if not attracting:
        raise NoFixedPointError(_why_none(phi, sigma_w2, sigma_b2, start, bool(len(up))))
    return attracting[0]


def _refined(phi: Activation, sigma_w2: float, sigma_b2: float, cell: int) -> float:
    """The root of V(q) = q between two neighbours of the search grid."""
    from scipy.optimize import brentq

    def residual(log_q: float) -> float:
        q = np.exp(log_q)
        return float((sigma_w2 * correlation.moment(phi, np.asarray(q), "square") + sigma_b2) / q - 1)

    low, high = np.log(search_grid(phi)[[cell, cell + 1]])
    if residual(low) * residual(high) > 0:  # equal to rounding at one end
        return float(np.exp(high))
    return float(np.exp(brentq(residual, low, high, xtol=1e-15, rtol=8.9e-16)))


def _homogeneous_variance(phi: Activation, sigma_w2: float, sigma_b2: float, start: float | None) -> float:
    """V(q) = growth * q + sigma_b2."""
    growth = sigma_w2 * float(correlation.moment(phi, np.ones(()), "square"))
    if abs(growth - 1) <= 1e-14 and sigma_b2 == 0:
        return 1.0 if start is None else start
    if growth < 1 and sigma_b2 > 0:
        return sigma_b2 / (1 - growth)
    raise NoFixedPointError(
        f"V(q) = {growth:.6g} q + {sigma_b2:g} for {phi.name} at sigma_w2={sigma_w2:g}: no fixed point attracts"
    )


def _why_none(phi: Activation, sigma_w2: float, sigma_b2: float, start: float | None, repelling: bool) -> str:
    setting = f"{phi.name} at sigma_w2={sigma_w2:g}, sigma_b2={sigma_b2:g}" + (
        f" from start={start:g}" if start is not None else ""
    )
    grid, square = second_moment_grid(phi)
    if sigma_w2 * square[0] + sigma_b2 < grid[0] or (
        sigma_b2 == 0 and not repelling and sigma_w2 * square[-1] < grid[-1]
    ):
        return f"the variance of {setting} shrinks towards 0: no attracting fixed point above q = {grid[0]:.3g}"
    return f"the variance of {setting} grows without bound: V(q) > q up to q = {grid[-1]:.3g}"


def critical_bracket(phi: Activation, sigma_b2: float) -> tuple[float, float]:
    """Two variances around the smallest root of r(q) = sigma_b2, where r(q) = q - E phi^2 / E phi'^2.

    For odd phi, r < q and r / sqrt(q) never falls (see PROOFS of Lemma 3.1 in the book), so doubling from sigma_b2 must
    cross exactly once; for the others the whole range is scanned.
    """
    grid = search_grid(phi)
    if phi.is_odd:
        high = sigma_b2
        while float(bias_variance_at(phi, np.asarray(high))) < sigma_b2:
            high *= 2
            if high > max(grid[-1], grid[-1] * sigma_b2):
                raise NoFixedPointError(
                    f"{phi.name} has no critical point at sigma_b2={sigma_b2:g} with q below {high:.3g}: it is nearly linear"
                )
        return high / 2, high
    above = _critical_grid(phi) >= sigma_b2
    for i in np.flatnonzero(above[1:] & ~above[:-1]):
        return float(grid[i]), float(grid[i + 1])
    raise NoFixedPointError(
        f"{phi.name} has no critical point at sigma_b2={sigma_b2:g} with q in [{grid[0]:.3g}, {grid[-1]:.3g}]"
    )


@lru_cache(maxsize=128)
def _critical_grid(phi: Activation) -> Array:
    return bias_variance_at(phi, search_grid(phi))
