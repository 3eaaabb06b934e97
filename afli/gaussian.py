"""Gaussian expectations in one and two dimensions (Section 2): the only place of the package that integrates.

The textbook rule, Gauss-Hermite, is wrong by 3e-2 on hard tanh with 100 nodes, because it does not see a kink. Here the
line is cut at the kinks, and at a few fixed points around the origin where activations bend, and every piece gets its
own 16-point Gauss-Legendre rule. Piecewise-linear functions need no quadrature: their moments are closed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, overload

import numpy as np
from scipy import special

from afli._inputs import Array, Function, Many, function, like, points, quiet_underflow, real, scalar
from afli.errors import ConvergenceError

__all__ = ["expectation", "expectation2"]

_X, _W = np.polynomial.legendre.leggauss(16)
_REACHES = (12.0, 18.0, 27.0, 38.0)  # tried in turn until the tail is nothing; the density underflows beyond 38
_RADII = (9.0, 13.0, 19.0, 27.0)  # the same in the plane, where P(|(Z1, Z2)| > 9) is 3e-18
_STEP = 3.4  # widest panel, in standard deviations: the 16-point rule integrates the density over it to 1e-16
_FAR = 1e5  # further out than this many lengths the panels grow: a wave is followed up to there, a tail beyond


@overload
def expectation(f: Function, q: float, *, kinks: Sequence[float] = (), scale: float = 1.0) -> float: ...
@overload
def expectation(f: Function, q: Many, *, kinks: Sequence[float] = (), scale: float = 1.0) -> Array: ...
@quiet_underflow
def expectation(f: Function, q: float | Many, *, kinks: Sequence[float] = (), scale: float = 1.0) -> Any:
    """E f(sqrt(q) Z), Z standard normal.

    Parameters
    ----------
    f
        Vectorised function of a float64 array, smooth between the kinks on lengths of `scale`: a narrower spike may be
        missed beside larger values.
    q
        Variances >= 0, any shape.
    kinks
        Points where f or its first derivatives jump.
    scale
        A length in [1e-100, 1e100].

    Returns
    -------
    float or Array
        In the shape of q. Panels are halved until two results agree to 1e-13 of E |f|.

    Raises
    ------
    ConvergenceError
        If they do not (a kink not declared, a scale too long), if the integral diverges, or f(0) at q = 0 is not
        finite.
    ValueError, TypeError
        For bad input, and for an f that does not return one real number for each of its argument.

    Examples
    --------
    >>> round(expectation(lambda u: u**4, 2.0), 12)
    12.0
    """
    f, q, kinks, scale = _checked("f", f), real("q", q, low=0.0), points("kinks", kinks), _length(scale)
    values = [_seen(f, float(np.sqrt(v)), kinks, scale) for v in q.ravel()]
    return like(np.array(values).reshape(q.shape))


def _seen(f: Function, root_q: float, kinks: Sequence[float], scale: float) -> float:
    value, size = settled(f, root_q, kinks, scale)
    if size == 0 < root_q and _narrow(f, root_q, kinks, scale):
        raise ConvergenceError(_why_unsettled(f, root_q, kinks, scale, size, _REACHES[0]))
    return value


def _narrow(f: Function, root_q: float, kinks: Sequence[float], scale: float) -> bool:
    """Whether f is 0 at all nodes of the coarsest rule and not at those of the finest."""
    with np.errstate(all="ignore"):
        coarse, fine = (_line(f, root_q, kinks, scale, _NOWHERE, _REACHES[0], halvings)[1] for halvings in (0, 8))
    return coarse == 0 != fine


def _checked(name: str, f: Function) -> Function:
    """f, and an error if it returns anything but real numbers in the shape of its argument, or one of them."""
    function(name, f)

    def values(u: Array) -> Array:
        returned = f(u)
        if np.ma.is_masked(returned):
            raise ValueError(f"{name} must not return masked entries, got {reprlib.repr(returned)}")
        found = np.asarray(returned)
        if found.dtype.kind not in "biuf":
            raise TypeError(f"{name} must return real numbers, got {reprlib.repr(returned)} from an array of numbers")
        if found.shape not in ((), np.shape(u)):
            raise ValueError(
                f"{name} must return an array of its argument's shape, got {found.shape} from {np.shape(u)}"
            )
        return found

    return values


Straight = tuple[float, float]  # f is linear to rounding left of the first number and right of the second
_NOWHERE = (-np.inf, np.inf)


def settled(
    f: Function,
    root_q: float,
    kinks: Sequence[float],
    scale: float,
    rounding: float = 0.0,
    straight: Straight = _NOWHERE,
) -> tuple[float, float]:
    """(E f(sqrt(q) Z), E |f|) for one sqrt(q), unchecked; the mean is known to 1e-13 of E |f|.

    Parameters
    ----------
    f, kinks, scale
        As for `expectation`, checked.
    root_q
        sqrt(q) >= 0.
    rounding
        Absolute error of the square root of f, if f is a square.
    straight
        Where f needs no fine panels.
    """
    if root_q == 0.0:
        with np.errstate(all="ignore"):
            value = float(np.ravel(f(np.zeros(1)))[0])
        if not np.isfinite(value):
            raise ConvergenceError(f"E f(sqrt(q) Z) at q = 0 is f(0), which is {value}")
        return value, abs(value)
    with np.errstate(all="ignore"):  # an f that overflows does not settle, which is reported below
        for reach in _REACHES:
            previous, size = _line(f, root_q, kinks, scale, straight, reach, 0)
            if not np.isfinite(size) or _tail(f, root_q, reach) > 1e-14 * size:  # a tenth of what is promised
                continue
            for halvings in range(1, 9):
                value, size = _line(f, root_q, kinks, scale, straight, reach, halvings)
                if abs(value - previous) <= 1e-13 * size + rounding * (np.sqrt(size) + rounding):
                    return value, size
                previous = value
            break
    raise ConvergenceError(_why_unsettled(f, root_q, kinks, scale, size, reach))


def _line(
    f: Function,
    root_q: float,
    kinks: Sequence[float],
    scale: float,
    straight: Straight,
    reach: float,
    halvings: int,
) -> tuple[float, float]:
    """One composite rule on [-reach, reach]: the integral of f, and of |f|."""
    z, weight = _rule(_edges(root_q, kinks, scale / 2**halvings, straight, reach), _STEP / 2**halvings)
    terms = weight * normal_density(z) * f(root_q * z)
    return float(np.sum(terms)), float(np.sum(np.abs(terms)))


def _tail(f: Function, root_q: float, reach: float) -> float:
    """About the integral of |f| beyond +-reach: the last value over the rate at which the integrand falls there."""
    z = reach - np.linspace(0.0, 1.0, 17)  # the nearer half of the last unit, then the further one
    z = np.concatenate([z, -z])
    height = (normal_density(z) * np.abs(f(root_q * z) + 0 * z)).reshape(2, 17)
    near, far = height[:, :9].max(axis=1), height[:, 8:].max(axis=1)
    rate = 2 * np.log(far / near)
    return float(np.sum(np.where(near == 0, 0.0, np.where(rate > 0.2, near / rate, np.inf))))


def _why_unsettled(f: Function, root_q: float, kinks: Sequence[float], scale: float, size: float, reach: float) -> str:
    """What a look at the values of f tells; a rule that does not settle cannot say which."""
    start = f"E f(sqrt(q) Z) did not settle at q = {root_q**2:g}: "
    z = np.linspace(-_REACHES[0], _REACHES[0], 4001)
    with np.errstate(all="ignore"):
        values = np.asarray(f(root_q * z))
    bad = ~np.isfinite(values)
    if bad.any():
        return start + f"f is not finite, first at {root_q * float(z[np.broadcast_to(bad, z.shape)][0]):g}"
    if not np.isfinite(size) or reach == _REACHES[-1]:
        return start + "f grows too fast for the integral to converge"
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return start + f"f returns {values.dtype}, whose rounding is above the accuracy asked for"
    return start + (
        f"f has a kink not declared, or bends on a shorter length than scale={scale:g}, "
        "or is known with a rounding above 1e-13 of its size"
    )


def _edges(root_q: float, kinks: Sequence[float], scale: float, straight: Straight, reach: float) -> Array:
    """Cut points on [-reach, reach]: the kinks, and a grid, fine where activations bend and coarser further out."""
    ends = min(reach * root_q, max(-straight[0], 0.0)), min(reach * root_q, max(straight[1], 0.0))
    cuts = np.concatenate([-_bends(ends[0], scale), _bends(ends[1], scale), kinks]) / root_q
    return np.unique(np.concatenate([cuts[np.abs(cuts) < reach], [-reach, reach]]))


def _bends(end: float, scale: float) -> Array:
    """Cut points from 0 up to `end`."""
    lengths = end / scale
    bends = np.concatenate([[0.0, 2.0, 4.0, 8.0], np.arange(12.0, min(lengths, _FAR), 8.0)])
    if lengths > _FAR:
        bends = np.concatenate([bends, np.geomspace(_FAR, lengths, 2 + int(4 * np.log2(lengths / _FAR)))])
    return np.append(scale * bends[bends < lengths], end)


def _rule(edges: Array, step: float) -> tuple[Array, Array]:
    """Nodes and weights of the composite rule on those pieces, none wider than `step`."""
    _, left, width = _panels(edges[:-1], edges[1:], step)
    return (left[:, None] + 0.5 * width[:, None] * (_X + 1)).ravel(), (0.5 * width[:, None] * _W).ravel()


def _panels(low: Array, high: Array, step: float) -> tuple[Any, Array, Array]:
    """Every interval [low, high] in equal panels no wider than `step`: index of the interval, left end, width."""
    parts = np.ceil((high - low) / step).astype(int)
    owner, width = np.repeat(np.arange(len(parts)), parts), np.repeat((high - low) / parts, parts)
    left = np.repeat(low, parts) + width * (np.arange(len(width)) - np.repeat(np.cumsum(parts) - parts, parts))
    return owner, left, width


def _length(scale: Any) -> float:
    return scalar("scale", scale, low=1e-100, high=1e100)


def normal_density(z: Array) -> Array:
    """The standard normal density."""
    with np.errstate(under="ignore", over="ignore"):  # far out it is 0, whatever the caller thinks of that
        return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


# --- Two dimensions ---


@overload
def expectation2(
    f: Function,
    g: Function,
    rho: float,
    *,
    q1: float,
    q2: float,
    kinks_f: Sequence[float] = (),
    kinks_g: Sequence[float] = (),
    scale: float = 1.0,
    straight: Straight = _NOWHERE,
) -> float: ...
@overload
def expectation2(
    f: Function,
    g: Function,
    rho: Many,
    *,
    q1: float,
    q2: float,
    kinks_f: Sequence[float] = (),
    kinks_g: Sequence[float] = (),
    scale: float = 1.0,
    straight: Straight = _NOWHERE,
) -> Array: ...
def expectation2(
    f: Function,
    g: Function,
    rho: float | Many,
    *,
    q1: float,
    q2: float,
    kinks_f: Sequence[float] = (),
    kinks_g: Sequence[float] = (),
    scale: float = 1.0,
    straight: Straight = _NOWHERE,
) -> Any:
    """E f(U1) g(U2) for centred Gaussians of two variances and a correlation, eq. (4).

    Parameters
    ----------
    f, g
        As f of `expectation`.
    rho
        Correlations in [-1, 1], any shape.
    q1, q2
        Variances of U1 and U2, > 0.
    kinks_f, kinks_g
        Points where f, or g, or first derivatives jump.
    scale
        A length over which both are smooth between their kinks, in [1e-100, 1e100].
    straight
        Left of the first number and right of the second f and g are linear to rounding, and need no fine panels.

    Returns
    -------
    float or Array
        In the shape of rho; to 1e-13 of E |f g|, in about 5 ms a value. A correlation map at many rho is cheaper
        through `meanfield.MeanField`, which tabulates it.

    Raises
    ------
    ConvergenceError
        As for `expectation`, and for standard deviations of very many scales.
    ValueError, TypeError
        For bad input.
    """
    f, g, rho, scale = _checked("f", f), _checked("g", g), real("rho", rho, low=-1.0, high=1.0), _length(scale)
    root1, root2 = (np.sqrt(scalar(n, v, low=0.0, open_low=True)) for n, v in (("q1", q1), ("q2", q2)))
    kinks_f, kinks_g = points("kinks_f", kinks_f), points("kinks_g", kinks_g)

    def missed() -> bool:
        return _narrow(f, root1, kinks_f, scale) or _narrow(g, root2, kinks_g, scale)

    def one(r: float) -> float:
        s = float(np.sqrt((1 - r) * (1 + r)))
        for radius in _RADII:
            previous = np.inf
            for halvings in range(5):
                [(value, size, rim)] = _plane(
                    [(f, g)], r, s, root1, root2, kinks_f, kinks_g, scale, straight, radius, halvings
                )
                if not np.isfinite(size) or rim > 1e-12 * size:  # what lies beyond the rim is far less than on it
                    break
                if abs(value - previous) <= 1e-13 * size and not (size == 0 and missed()):
                    return value
                previous = value
            else:
                break
        raise ConvergenceError(
            f"E f(U1) g(U2) did not settle at rho = {r!r}, q1 = {root1**2:g}, q2 = {root2**2:g}: "
            f"f or g is not finite or grows too fast, has a kink not declared, or bends on a shorter length "
            f"than scale={scale:g}"
        )

    with np.errstate(all="ignore"):  # what overflows does not settle
        return like(np.array([one(float(r)) for r in rho.ravel()]).reshape(rho.shape))


def pair_moments(phi: Any, rho: float, s: float, q: float, halvings: int = 0) -> tuple[float, float]:
    """(E phi(U1) phi(U2), E phi'(U1) phi'(U2)) for two variables of one variance, on one set of nodes.

    Parameters
    ----------
    phi
        An Activation.
    rho, s
        The correlation, and sqrt(1 - rho^2): near rho = 1 the slope moves with s, which rho does not resolve.
    q
        The variance.
    halvings
        One rule is used, with panels halved so many times; the caller compares it with what is known.
    """
    root_q, kinks = float(np.sqrt(q)), phi.kinks
    pairs = [(phi.function, phi.function), (phi.gradient, phi.gradient)]
    with np.errstate(all="ignore"):
        (value, *_), (slope, *_) = _plane(
            pairs,
            rho,
            s,
            root_q,
            root_q,
            kinks,
            kinks,
            phi.scale,
            phi.straight,
            _RADII[0],
            halvings,
            sizes=False,
            half=phi.is_odd,
        )
    return value, slope


_TERMS = (1024, 2048)  # of a Hermite series: angles from 0.25 and 0.18 on, in some 5 and 15 ms
_DEAR = 8.0  # lengths of phi in a standard deviation, from which two-dimensional integrals cost more than terms
_BLOCK = 64  # terms at once


class HermiteSeries(NamedTuple):
    """E phi(U1) phi(U2) and E phi'(U1) phi'(U2) as series in rho.

    Attributes
    ----------
    squares
        Of the Hermite coefficients of phi(sqrt(q) Z) and of phi'(sqrt(q) Z), shape (terms, 2).
    from_angle
        The series is complete for correlations cos(psi) with psi from here on.
    """

    squares: Array
    from_angle: float

    def at(self, rho: Array) -> Array:
        """The two means, shape (len(rho), 2)."""
        return np.vander(rho, len(self.squares), increasing=True) @ self.squares


def hermite_series(phi: Any, q: float, sums: tuple[float, float], halvings: int = 0) -> HermiteSeries:
    """The series of `HermiteSeries`, from one-dimensional integrals only (Mehler's formula).

    For smooth phi it is complete after some dozens of terms and holds at every correlation; a kink leaves a tail that
    falls like a power, which cos(psi)^n must cut off.

    Parameters
    ----------
    phi
        An Activation.
    q
        The variance.
    sums
        E phi^2 and E phi'^2: what all squares together come to.
    halvings
        One rule is used, with panels halved so many times; the caller compares.
    """
    root_q = float(np.sqrt(q))
    terms = _TERMS[int(root_q > _DEAR * phi.scale)]
    step = min(_STEP, 13 / np.sqrt(terms)) / 2**halvings  # the n-th function is a wave of length 2 pi / sqrt(n)
    z, weight = _rule(_edges(root_q, phi.kinks, phi.scale / 2**halvings, phi.straight, _REACHES[0]), step)
    parity = np.ones((_BLOCK, 2))
    if phi.is_odd:  # half of the line is enough: of phi every other coefficient is 0, and of phi' the rest
        z, weight = z[z > 0], 2 * weight[z > 0]
        parity[::2, 0] = parity[1::2, 1] = 0.0
    waves = np.zeros((_BLOCK + 2, len(z)))  # h_n sqrt(density), orthonormal on the line; two of the block before
    waves[-1] = np.sqrt(normal_density(z))
    with np.errstate(all="ignore"):  # what is not finite has no series, and the caller notices
        integrand = (weight * waves[-1])[:, None] * np.stack(
            [phi.function(root_q * z), phi.gradient(root_q * z)], axis=1
        )
        squares, rest = np.empty((0, 2)), np.ones(2)
        for start in range(0, terms, _BLOCK):
            waves[:2] = waves[-2:]
            for i, n in enumerate(range(start, start + _BLOCK), 2):
                np.multiply(z, waves[i - 1], out=waves[i])
                waves[i] -= np.sqrt(n) * waves[i - 2]
                waves[i] /= np.sqrt(n + 1)
            squares = np.concatenate([squares, parity * (waves[1:-1] @ integrand) ** 2])
            rest = 1 - squares.sum(axis=0) / sums
            if np.all(np.abs(rest) <= 2e-15):  # rounding: the rest is nothing
                return HermiteSeries(squares, 0.0)
    tail = float(np.max(np.abs(rest)))
    angle = float(np.sqrt(2 * np.log(max(tail, 1e-15) / 1e-16) / terms))  # cos(psi)^n <= exp(-n psi^2 / 2)
    return HermiteSeries(squares, angle if np.isfinite(angle) else np.inf)


_MOST_NODES = 5e6  # of one rule, about half a second: what takes more is refused


def _plane(
    pairs: list[tuple[Function, Function]],
    rho: float,
    s: float,
    root1: float,
    root2: float,
    kinks_f: Sequence[float],
    kinks_g: Sequence[float],
    scale: float,
    straight: Straight,
    radius: float,
    halvings: int,
    sizes: bool = True,
    half: bool = False,
) -> list[tuple[float, float, float]]:
    """For each (f, g): the integral of f(U1) g(U2), and with `sizes` of its absolute value, and of that near the rim.

    Outer variable Z1 with U1 = root1 Z1; inner U2 = root2 (rho Z1 + s Z2), rho^2 + s^2 = 1, cut at the kinks of g;
    Z1^2 + Z2^2 <= radius^2. half: f(-u) g(-v) = f(u) g(v), so that Z1 > 0 is half of it.
    """
    scale, step = scale / 2**halvings, _STEP / 2**halvings
    if s == 0.0:
        both = tuple(kinks_f) + tuple(rho * root1 / root2 * d for d in kinks_g)
        along = [partial(_along, f, g, rho * root2 / root1) for f, g in pairs]
        if rho < 0:
            straight = -max(-straight[0], straight[1]), max(-straight[0], straight[1])
        reach = _REACHES[_RADII.index(radius)]
        return [(*_line(h, root1, both, scale, straight, reach, 0), _tail(h, root1, reach)) for h in along]
    outer = [_edges(root1, kinks_f, scale, straight, radius)]
    if s < abs(rho):  # near rho = +-1 the inner mean turns quickly where U2 crosses a kink: finer panels there
        band = s / abs(rho) * np.linspace(-9, 9, 7)
        outer += [d / (root2 * rho) + band for d in kinks_g]
    if abs(rho) > 0.1:  # the inner mean bends where g does, smeared over s root2
        width, near = max(8 * scale, 3 * s * root2), 0.9 < abs(rho) * root2 / root1 < 1.1
        for sign, straight_from in zip((-1, 1), (-straight[0], straight[1]), strict=True):
            last = max(straight_from, 0.0) / root2
            end = min(radius, last + 9 * s)
            start = min(last, end) if near else 0.0  # near the diagonal the panels of f serve the bends of g too
            outer.append(sign * np.linspace(start, end, 2 + int((end - start) * root2 / width)) / rho)
        if s * root2 < 4 * scale and not near:
            outer.append(_edges(root2, (), scale, straight, radius) / rho)
    edges = np.unique(np.concatenate(outer))
    z, weight = _rule(edges[np.abs(edges) <= radius], step)
    if half:
        z, weight = z[z > 0], 2 * weight[z > 0]
    weight = weight * normal_density(z)
    inner_edges = _edges(root2, kinks_g, scale, straight, radius)[1:-1]
    if len(z) * len(_X) * (18 / step + len(inner_edges) * min(1.0, s)) > _MOST_NODES:
        raise ConvergenceError(
            f"a variance of {max(root1, root2) ** 2:g} is out of reach of two-dimensional quadrature "
            f"for a function that bends on the length {scale:g}"
        )
    totals = np.zeros((len(pairs), 3))
    for block in np.array_split(np.arange(len(z)), 1 + len(z) // 1000):  # bounds the memory
        owner, t, inner_weight = _inner(rho * z[block], z[block], s, inner_edges, step, radius)
        owner = block[owner]
        joint, u2 = weight[owner] * inner_weight, root2 * (rho * z[owner] + s * t)
        rim = z[owner] ** 2 + t**2 > (radius - 0.5) ** 2 if sizes else None
        for i, (f, g) in enumerate(pairs):
            left, right = np.broadcast_to(f(root1 * z), z.shape)[owner], g(u2)
            totals[i, 0] += np.sum(joint * left * right)
            if sizes:
                size = np.abs(joint * left * right)
                totals[i, 1:] += np.sum(size), np.sum(size[rim])
    return [(float(value), float(size), float(rim)) for value, size, rim in totals]


def _along(f: Function, g: Function, ratio: float, u: Array) -> Array:
    return f(u) * g(ratio * u)


def _inner(mean: Array, z: Array, s: float, edges: Array, step: float, radius: float) -> tuple[Any, Array, Array]:
    """The inner rule in t, z^2 + t^2 <= radius^2, cut where y = mean + s t is in `edges`: outer index, t, weight.

    It is laid out in t, so that the weights keep their accuracy when s is as small as rounding.
    """
    cuts = np.concatenate([[-np.inf], edges, [np.inf]])
    most = np.sqrt(np.maximum(radius**2 - z**2, 0.0))[:, None]
    low = np.maximum((cuts[:-1] - mean[:, None]) / s, -most)
    high = np.minimum((cuts[1:] - mean[:, None]) / s, most)
    outer, piece = np.nonzero(high > low)
    interval, left, width = _panels(low[outer, piece], high[outer, piece], step)
    owner = np.repeat(outer[interval], len(_X))
    t = (left[:, None] + 0.5 * width[:, None] * (_X + 1)).ravel()
    return owner, t, (0.5 * width[:, None] * _W).ravel() * normal_density(t)


# --- Piecewise-linear functions: closed moments, and Price's theorem ---


def piece_moments(q: Array, kinks: Sequence[float]) -> tuple[Array, Array, Array, Array]:
    """For each piece between the kinks: P(U in piece), and E of U, of U^2, of q - U^2 on it; U = sqrt(q) Z, q > 0.

    Each result has shape q.shape + (len(kinks) + 1,).
    """
    root = np.sqrt(q)[..., None]
    ends = np.full(root.shape, 40.0)  # P(Z > 40) = 0 in floating point
    x = np.concatenate([-ends, np.clip(np.asarray(kinks, dtype=float) / root, -40.0, 40.0), ends], axis=-1)
    left, right, p, xp = x[..., :-1], x[..., 1:], normal_density(x), x * normal_density(x)
    # In the right tail the difference of survival functions keeps relative accuracy.
    mass = np.where(left > 0, special.ndtr(-left) - special.ndtr(-right), special.ndtr(right) - special.ndtr(left))
    first, shortfall = p[..., :-1] - p[..., 1:], xp[..., 1:] - xp[..., :-1]
    second = mass - shortfall
    narrow = right - left < 0.5
    if narrow.any():  # there all these differences cancel, and one panel integrates
        half = 0.5 * (right - left)[narrow][:, None]
        z = left[narrow][:, None] + half * (_X + 1)
        weight = half * _W * normal_density(z)
        mass[narrow], first[narrow], second[narrow] = (np.sum(weight * z**n, axis=-1) for n in range(3))
        shortfall[narrow] = np.sum(weight * (1 - z) * (1 + z), axis=-1)
    return mass, root * first, root**2 * second, root**2 * shortfall


def log_masses(q: Array, kinks: Sequence[float]) -> Array:
    """The logarithms of P(U in piece), also of a piece so far out that its mass is nothing in floats."""
    root = np.sqrt(q)[..., None]
    ends = np.full(root.shape, np.inf)
    x = np.concatenate([-ends, np.asarray(kinks, dtype=float) / root, ends], axis=-1)
    right_tail = x[..., :-1] > 0
    more = special.log_ndtr(np.where(right_tail, -x[..., :-1], x[..., 1:]))
    less = special.log_ndtr(np.where(right_tail, -x[..., 1:], x[..., :-1]))
    return np.asarray(np.where(more > -np.inf, more + np.log1p(-np.exp(less - more)), -np.inf))


_PRICE_RULE = np.polynomial.legendre.leggauss(48)
_PRICE_RULE_FINE = np.polynomial.legendre.leggauss(192)  # for kinks closer than 0.8 standard deviations


class PriceKernel:
    """The integrand of Price's theorem for a piecewise-linear function with kinks d_i and jumps of slope J_i.

    K(t) = (1 / 2 pi) sum_ij J_i J_j exp(-[(d_i - d_j)^2 + 2 d_i d_j (1 - sin t)] / (2 q cos^2 t)): with s = sin t it is
    sqrt(1 - s^2) times the second derivative in s of E phi(U1) phi(U2), divided by q.

    Parameters
    ----------
    weights
        J_i J_j / 2 pi, one for each pair of kinks.
    squares, products
        (d_i - d_j)^2 / q and d_i d_j / q; last axis over the pairs, others over q.
    """

    def __init__(self, weights: Array, squares: Array, products: Array) -> None:
        self.weights, self.squares, self.products = weights, squares, products
        apart = np.where(squares > 0, squares, np.inf).min(axis=-1, initial=np.inf)[..., 0]
        # K turns within this angle of rho = +-1; the nodes below crowd there.
        self.layer = np.sqrt(np.where(np.isfinite(apart), apart, 1.0))
        self._x, self._w = _PRICE_RULE if self.layer.min(initial=1.0) > 0.8 else _PRICE_RULE_FINE

    def _nodes(self, start: Array, stop: Array) -> tuple[Array, Array]:
        """Nodes and weights on [start, stop], equally fine in arsinh(angle / layer)."""
        low, high = np.arcsinh(start / self.layer), np.arcsinh(stop / self.layer)
        u = 0.5 * (high - low)[..., None] * (self._x + 1) + low[..., None]
        layer = np.broadcast_to(self.layer, low.shape)[..., None]
        return layer * np.sinh(u), layer * np.cosh(u) * (0.5 * (high - low)[..., None] * self._w)

    def from_zero(self, rho: Array) -> tuple[Array, Array]:
        """(int_0^rho (rho - s) C'' ds, int_0^rho C'' ds) / q; rho in [-1, 1], any shape that broadcasts against q."""
        sign = np.where(rho < 0, -1.0, 1.0)
        psi, weight = self._nodes(np.arccos(np.abs(rho)), np.full(np.shape(rho), 0.5 * np.pi))
        kernel = self._at(psi, sign) * weight
        rise = np.abs(rho)[..., None] - np.cos(psi)
        return np.einsum("...i,...i", rise, kernel), sign * np.sum(kernel, axis=-1)

    def from_one(self, end: Array) -> tuple[Array, Array]:
        """(int (s - rho) C'' ds, int C'' ds) / q over s in [rho, 1], relatively accurate; end = arccos(rho) <= pi/2."""
        psi, weight = self._nodes(np.zeros(np.shape(end)), end)
        kernel = self._at(psi, np.ones(np.shape(end))) * weight
        rise = 2 * np.sin(0.5 * (end[..., None] + psi)) * np.sin(0.5 * (end[..., None] - psi))
        return np.einsum("...i,...i", rise, kernel), np.sum(kernel, axis=-1)

    def _at(self, psi: Array, sign: Array) -> Array:
        """K at s = sign cos(psi), psi in (0, pi / 2]; at s = -cos(psi) the kinks d_j change sign."""
        sign = sign[..., None, None]
        squares = np.where(sign > 0, self.squares, self.squares + 4 * self.products)
        one_minus, one_plus = 2 * np.sin(0.5 * psi)[..., None] ** 2, 1 + np.cos(psi)[..., None]
        sine2 = np.maximum(one_minus * one_plus, 1e-150)  # so that squares / sine2 stays a float
        with np.errstate(under="ignore"):
            return np.asarray(np.exp(-0.5 * squares / sine2 - sign * self.products / one_plus) @ self.weights)
