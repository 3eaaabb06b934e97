"""Where the variance map V, and the critical map W, have their fixed points (Section 2.1, Lemma 3.1).

Fixed points are bracketed on a logarithmic grid of variances and then refined by bracketing; the plain iteration
q <- V(q) stalls where V is nearly the identity, which is where the paper's networks live.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from afli import moments
from afli._activation import Activation
from afli._inputs import Array, quiet_underflow
from afli.errors import ConvergenceError, NoFixedPointError

_RESIDUAL = 1e-6  # of V(q) / q - 1 and W(q) / q - 1: roots leave rounding, and a jump of phi or a stale table 1e-2
ROUNDING = 2e-15  # V(q) within this relative distance of q is q: a linear piece must not look like a fixed point

Interval = tuple[float, float]
Residual = Callable[[float], float]  # of log q


def bias_variance_at(phi: Activation, q: Array) -> Array:
    """r(q) = q - E phi^2 / E phi'^2: the bias variance for which q is critical, without cancellation. q > 0.

    Raises ValueError where E phi'^2 is 0.
    """
    return np.asarray(moments.linear_excess(phi, q) / moments.slope2_divisor(phi, q))


def lengths(phi: Activation) -> tuple[float, float]:
    """The shortest and the longest length of phi: its scale and its kinks."""
    known = [abs(d) for d in phi.kinks if d != 0] + ([phi.scale] if phi.piece_slopes is None else [])
    return min(known, default=1.0), max(known, default=1.0)


def _is_straight(phi: Activation) -> bool:
    """Whether phi is linear far out on both sides."""
    return phi.piece_slopes is not None or bool(np.isfinite(phi.straight).all())


# --- Fixed points of the variance map ---


@lru_cache(maxsize=4096)
def _decade(phi: Activation, exponent: int) -> tuple[Array, Array]:
    q = 10.0 ** (exponent + np.linspace(0.0, 1.0, 11 if phi.piece_slopes is None else 21)[:-1])
    return q, moments.square(phi, q)


class SecondMoments(NamedTuple):
    """E phi^2 on a grid of variances, and why the grid ends early, if it does (phi overflows, say)."""

    q: Array
    square: Array
    failure: ConvergenceError | None


def second_moments(phi: Activation, sigma_w2: Array, sigma_b2: Array) -> SecondMoments:
    """A grid of variances that holds every attracting fixed point for these weights and biases, with E phi^2.

    An attracting point lies above sigma_b2 > 0, and below sigma_w2 bound^2 + sigma_b2. Where one of the two says
    nothing it is looked for 16 decades below the shortest length of phi and 8 above the longest (squared), or 6 if phi
    is a wave there, whose integrals take the longer the more lengths a standard deviation has.
    Raises ValueError for a sigma_b2 that is not 0 but below 1e-290.
    """
    if np.any((sigma_b2 > 0) & (sigma_b2 < 1e-290)):  # with digits to spare above the smallest float, 2e-308
        raise ValueError(f"sigma_b2 must be 0 or at least 1e-290, got {float(np.min(sigma_b2[sigma_b2 > 0]))!r}")
    shortest, longest = lengths(phi)
    low = float(np.min(np.where(sigma_b2 > 0, 0.1 * sigma_b2, 1e-16 * shortest**2)))
    if np.isfinite(phi.bound):
        with np.errstate(over="ignore"):
            high = 2 * float(np.max(sigma_w2) * phi.bound**2 + np.max(sigma_b2))
    else:
        high = max((1e8 if _is_straight(phi) else 1e6) * longest**2, 1e4 * float(np.max(sigma_b2)))
    first, last = (int(np.floor(np.log10(v))) for v in (max(low, 1e-300), min(high, 1e300)))
    decades, failure = [_decade(phi, first)], None
    if np.isfinite(phi.bound) and not high <= 1e300:
        failure = ConvergenceError(
            f"sigma_w2 = {np.max(sigma_w2):g} leaves the range of a float: q of {phi.name} may too"
        )
    for exponent in range(first + 1, last + 1):
        try:
            decades.append(_decade(phi, exponent))
        except ConvergenceError as error:  # what lies below may be all that is asked for
            failure = error
            break
    q, square = (np.concatenate(column) for column in zip(*decades, strict=True))
    return SecondMoments(q, square, failure)


def near_tangencies(excess: Array) -> NDArray[np.bool_]:
    """Where excess = V(q) / q - 1 turns so close to 0 that it may cross it twice between two grid points; last axis."""
    sign = np.where(excess > ROUNDING, 1.0, -1.0)
    height = sign * excess  # its minima, as high as the grid can resolve
    left, middle, right = height[..., :-2], height[..., 1:-1], height[..., 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        bend = left - 2 * middle + right
    found = np.zeros(excess.shape, dtype=bool)
    # A bend of 1e-12 is a hundred times the rounding of three values; less is a straight piece.
    found[..., 1:-1] = (middle <= left) & (middle <= right) & (middle < bend) & (bend > 1e-12)
    found[..., 1:-1] &= (sign[..., :-2] == sign[..., 1:-1]) & (sign[..., 1:-1] == sign[..., 2:])
    return found


@np.errstate(over="ignore")  # V(q) / q may be infinite, and is then above 1
def fixed_variance(phi: Activation, sigma_w2: float, sigma_b2: float, start: float | None) -> float:
    """The smallest attracting fixed point of V, or the one in whose basin `start` lies. Raises NoFixedPointError.

    The basin is read off the repelling points on either side: V is taken to increase between them.
    """
    if phi.is_homogeneous:
        return _homogeneous_variance(phi, sigma_w2, sigma_b2, start)
    grid = second_moments(phi, np.asarray(sigma_w2), np.asarray(sigma_b2))

    def residual(log_q: float) -> float:
        return float(variance_residual(phi, np.asarray(log_q), sigma_w2, sigma_b2))

    falls, rises = _crossings(residual, np.log(grid.q), (sigma_w2 * grid.square + sigma_b2) / grid.q - 1)
    attracting = [log_root(residual, cell) for cell in (falls if start is not None else falls[:1])]
    repelling = [log_root(residual, cell) for cell in rises]
    if start is not None:
        floor = max([0.0, *(r for r in repelling if r < start)])
        ceiling = min([np.inf, *(r for r in repelling if r >= start)])
        attracting = [q for q in attracting if floor < q <= ceiling]
    if not attracting:
        raise grid.failure or NoFixedPointError(_why_none(phi, sigma_w2, sigma_b2, start, repelling, grid))
    return attracting[0]


def variance_residual(phi: Activation, log_q: Array, sigma_w2: Array | float, sigma_b2: Array | float) -> Array:
    """V(q) / q - 1."""
    q = np.exp(log_q)
    return np.asarray((sigma_w2 * moments.square(phi, q) + sigma_b2) / q - 1)


def _crossings(residual: Residual, log_q: Array, excess: Array) -> tuple[list[Interval], list[Interval]]:
    """Intervals of log q in which V(q) - q changes sign: downwards (attracting), upwards (repelling)."""
    near = np.flatnonzero(near_tangencies(excess))
    turns = [_turning_point(residual, log_q[i - 1 : i + 2], np.sign(excess[i])) for i in near]
    log_q, excess = np.append(log_q, [t for t, _ in turns]), np.append(excess, [e for _, e in turns])
    order = np.argsort(log_q)
    log_q, grows = log_q[order], excess[order] > ROUNDING
    cells = [(float(a), float(b)) for a, b in pairwise(log_q)]
    falls, rises = np.flatnonzero(grows[:-1] & ~grows[1:]), np.flatnonzero(~grows[:-1] & grows[1:])
    return [cells[i] for i in falls], [cells[i] for i in rises]


def _turning_point(residual: Residual, log_q: Array, sign: float) -> Interval:
    """(log q, V(q) / q - 1) where sign * (V(q) / q - 1) is least between the first and last of three grid points."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda t: sign * residual(t),
        bounds=(log_q[0], log_q[-1]),
        method="bounded",
        options={"xatol": 1e-9},  # at a minimum its value is then known to 1e-18
    )
    return float(found.x), float(sign * found.fun)


def log_root(residual: Residual, cell: Interval) -> float:
    """q at the root of a function of log q; if rounding hides the change of sign, the end nearer to zero.

    Raises ConvergenceError if the function is not small there: it jumps, or is not the one that found the cell.
    """
    from scipy.optimize import brentq

    ends = [residual(end) for end in cell]
    if ends[0] * ends[1] > 0:
        root = cell[int(abs(ends[1]) < abs(ends[0]))]
    else:
        root = float(brentq(residual, *cell, xtol=1e-15, rtol=8.9e-16))  # the least that brentq takes
    left = abs(residual(root))
    if not left <= _RESIDUAL:
        raise ConvergenceError(f"no root: the residual at q = {np.exp(root):g} is {left:g}; phi jumps or has changed")
    return float(np.exp(root))


def _homogeneous_variance(phi: Activation, sigma_w2: float, sigma_b2: float, start: float | None) -> float:
    """V(q) = growth * q + sigma_b2."""
    growth = sigma_w2 * float(moments.square(phi, np.ones(())))
    if abs(growth - 1) <= 1e-13 + phi.rounding:  # the accuracy of E phi^2
        growth = 1.0
    if growth == 1 and sigma_b2 == 0:
        return 1.0 if start is None else start
    if growth < 1 and sigma_b2 > 0:
        return sigma_b2 / (1 - growth)
    fate = "the variance shrinks to 0" if growth < 1 else "the variance grows without bound"
    raise NoFixedPointError(f"V(q) = {growth:.6g} q + {sigma_b2:g} for {phi.name} at sigma_w2={sigma_w2:g}: {fate}")


def _why_none(
    phi: Activation,
    sigma_w2: float,
    sigma_b2: float,
    start: float | None,
    repelling: list[float],
    grid: SecondMoments,
) -> str:
    origin = f" from start={start:g}" if start is not None else ""
    setting = f"the variance of {phi.name} at sigma_w2={sigma_w2:g}, sigma_b2={sigma_b2:g}{origin}"
    shrinks = sigma_w2 * grid.square[0] + sigma_b2 <= grid.q[0] * (1 + ROUNDING)
    if shrinks and (start is None or not repelling or start <= repelling[0]):
        limit = repelling[0] if repelling else grid.q[-1]
        return f"{setting} shrinks towards 0: V(q) <= q from q = {grid.q[0]:.3g} to {limit:.3g}"
    return f"{setting} grows without bound: V(q) > q up to q = {grid.q[-1]:.3g}"


# --- Fixed points of the critical map ---


@quiet_underflow
def critical_variance(phi: Activation, sigma_b2: float) -> float:
    """The smallest root of r(q) = sigma_b2, where r(q) = q - E phi^2 / E phi'^2, to relative accuracy.

    sigma_b2 > 0 if phi(0) = 0: then r(q) > 0, by the Poincare inequality for the two halves of phi, each made odd.
    """

    def residual(log_q: float) -> float:
        q = np.exp(log_q)
        return float((bias_variance_at(phi, np.asarray(q)) - sigma_b2) / q)  # W(q) / q = 1 - this, and r < q

    low, high = _critical_bracket(phi, sigma_b2)
    return log_root(residual, (float(np.log(low)), float(np.log(high))))


def _critical_bracket(phi: Activation, sigma_b2: float) -> Interval:
    """Two variances around it.

    For odd phi, r < q and r / sqrt(q) never falls (the book proves it after Lemma 3.1), so doubling from sigma_b2 must
    cross exactly once; the others are scanned, ten variances a decade, from small to large.
    """
    shortest, longest = lengths(phi)
    if 0 < sigma_b2 < 1e-290 * longest**2:
        raise ValueError(f"sigma_b2 must be 0 or at least {1e-290 * longest**2:.3g} for {phi.name}, got {sigma_b2!r}")
    if phi.is_odd:
        high, limit = sigma_b2, max(1e8 * longest**2, 1e6 * sigma_b2)
        while float(bias_variance_at(phi, np.asarray(high))) < sigma_b2:
            high *= 2
            if high > limit:
                raise NoFixedPointError(
                    f"{phi.name} has no critical point at sigma_b2={sigma_b2:g} with q below {limit:.3g}: "
                    "it is nearly linear"
                )
        return high / 2, high
    # Functions close to ReLU are critical far out, elu with alpha = 1e-6, where a wave is out of reach.
    most = (1e20 if _is_straight(phi) else 1e8) * longest**2
    exponents = [int(np.floor(np.log10(v))) for v in (1e-16 * shortest**2, most)]
    reached, failure = False, None
    for exponent in range(exponents[0], exponents[1] + 1):
        try:
            q, r = _critical_decade(phi, exponent)
        except ConvergenceError as error:  # the point may lie elsewhere
            failure = failure or error
            continue
        for i in np.flatnonzero((r[:-1] < sigma_b2) & (r[1:] >= sigma_b2)):
            return float(q[i]), float(q[i + 1])
        reached |= bool((r >= sigma_b2).any())
    if failure:
        raise failure
    moments.slope2_divisor(phi, np.asarray(longest**2))  # of a constant phi there is no W
    raise NoFixedPointError(
        f"{phi.name} has no critical point at sigma_b2={sigma_b2:g} with q from 1e{exponents[0]} to "
        f"1e{exponents[1] + 1}{'' if reached else ': W(q) > q there'}"
    )


@lru_cache(maxsize=4096)
def _critical_decade(phi: Activation, exponent: int) -> tuple[Array, Array]:
    """Variances and r there, which is not finite where E phi'^2 underflows to 0."""
    q = 10.0 ** (exponent + np.linspace(0.0, 1.0, 11))
    with np.errstate(divide="ignore", invalid="ignore"):
        return q, moments.linear_excess(phi, q) / moments.slope_power(phi, q, 2)


# --- Fixed points of the correlation map ---


Curve = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]


def newton_from_the_left(curve: Curve, start: Array) -> Array:
    """rho* of chaotic networks by Newton's iteration; networks that have arrived drop out.

    Parameters
    ----------
    curve
        curve(rho, index) gives R(rho) - rho and its slope for the networks of those indices. It is convex on [0, 1],
        not negative at 0 and negative just left of 1, so the iteration climbs to the first root without overshooting.
    start
        One correlation for each network, not above its rho*; sigma_b2 / q will do, since R >= sigma_b2 / q on [0, 1].

    Raises
    ------
    ConvergenceError
        After 200 steps: a network too close to the edge of chaos.
    """
    rho, active = np.array(start, dtype=float), np.arange(len(start))
    for _ in range(200):
        gap, slope = curve(rho[active], active)
        step = np.where(gap > 0, -gap / np.where(slope < 0, slope, -1.0), 0.0)
        rho[active] = np.minimum(rho[active] + step, 1.0)
        active = active[step > 1e-13]  # Newton squares the error: the next step would be rounding
        if len(active) == 0:
            return rho
    raise ConvergenceError(
        f"rho* was not reached in 200 Newton steps, first at index {int(active[0])}: too near the edge"
    )
