"""Where a function of one variable is not smooth: its kinks, its jumps, and the length over which it bends.

The line is cut into windows, and a window is halved until a polynomial of degree 17 passes through f there. Windows
overlap their neighbours, so that a kink at a common end is seen. Around a kink they shrink without end, around a point
where a smooth function bends on a short length they do not; so where windows are far smaller than those nearby, one
polynomial on each side is tried. If both fit and one for both sides does not, that is a kink, where the two cross, or,
if they do not meet, a jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from afli._inputs import Array, Function

_DEGREE = 17
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_FIT = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))
_REACH = 100.0  # units from 0 that are looked at: 12 standard deviations at a variance of 69
_OVERLAP = 0.05  # of a window, on each side
_ACCURACY = 1e-11  # a polynomial fits if its last coefficients are below this share of the variation of f
_ROUNDING = 4e-15  # of |f|: what rounding leaves in them
_HALVINGS = 30  # from one unit down to 1e-9
_MOST = 40_000  # windows of one width: those furthest from 0 are left out
_SHORT = 12  # halvings from which a window at a known point is suspect
_SINGULAR = 22  # halvings from which a point beside which no polynomial fits is no short bend
_SHARPER = 4  # halvings more than windows ten places away: there may be a kink
_SUSPECTS = 100  # the nearest to 0 are looked at
_NOISE = (1e-10, 1e-9, 1e-7, 1e-5)  # of |f|: what rounding leaves of a jump of the 0th to 3rd derivative


@dataclass(frozen=True)
class Survey:
    """What `survey` found, all points increasing.

    Parameters
    ----------
    kinks
        Where a derivative jumps, beside the declared points.
    jumps
        Where f jumps, declared points among them.
    rough
        Where no polynomial fits on a side: a vertical tangent, say.
    length
        The shortest window that had to be cut out, at most the unit: f is smooth over that length.
    seen
        The points at which f was looked at in the end: the nodes of every window.
    """

    kinks: tuple[float, ...]
    jumps: tuple[float, ...]
    rough: tuple[float, ...]
    length: float
    seen: Array


def survey(f: Function, declared: tuple[float, ...] = (), unit: float = 1.0) -> Survey:
    """Kinks, jumps and lengths of f on [-100, 100] units, or as far out as 40,000 windows of one width reach.

    Parameters
    ----------
    f
        Vectorised function of a float64 array; where it is not finite nothing is found.
    declared
        Kinks that are known.
    unit
        Width of the widest windows around 0: a guess of the length over which f is smooth.
    """
    found: dict[str, list[float]] = {"kink": [], "jump": [], "rough": []}
    for _ in range(5):  # a strong kink hides a weak one beside it
        known = _together(declared, found)
        leaves, length = _leaves(f, known, unit)
        new = [_kind(f, suspect, known, unit) for suspect in _pinched(leaves)]
        for kind, at in new:
            if kind != "smooth" and not np.any(np.abs(_together(declared, found) - at) <= 1e-8 * unit):
                found[kind].append(at)
        if len(_together(declared, found)) == len(known) or len(found["rough"]) > 8:
            break
    everything = _together(declared, found)
    kinds = {z: _kind(f, _Suspect(z, 0.0, _HALVINGS), everything[everything != z], unit)[0] for z in declared}
    found["jump"] += [z for z, kind in kinds.items() if kind == "jump"]
    found["rough"] += _rough_beside(f, leaves, everything, unit)
    kinks, jumps, rough = (tuple(sorted(set(points))) for points in found.values())
    return Survey(kinks, jumps, rough, unit if rough else length, _nodes(leaves.left, leaves.right).ravel())


def _rough_beside(f: Function, leaves: _Leaves, known: Array, unit: float) -> list[float]:
    """Known points beside which windows had to shrink until f hardly varies in them: |z|^(3/2) at 0, say."""
    points: list[float] = []
    for ends, inner in ((leaves.left, leaves.right), (leaves.right, leaves.left)):
        i = np.flatnonzero(np.isin(ends, known) & (leaves.halvings >= _SHORT))
        with np.errstate(all="ignore"):
            little = np.abs(f(inner[i]) - f(ends[i])) < 1e-6 * _size(f, unit)
        points += ends[i][little].tolist()
    return points


def _together(declared: tuple[float, ...], found: dict[str, list[float]]) -> Array:
    return np.array(sorted({*declared, *(z for points in found.values() for z in points)}))


# --- Windows ---


class _Leaves(NamedTuple):
    """Windows that were not cut further, from left to right, and how often they were halved."""

    left: Array
    right: Array
    halvings: NDArray[np.int64]


def _leaves(f: Function, known: Array, unit: float) -> tuple[_Leaves, float]:
    side = np.concatenate([np.arange(0.0, 8.0), np.geomspace(8.0, _REACH, 12)])
    edges = unit * np.concatenate([-side, side])
    edges = np.unique(np.concatenate([edges, known[np.abs(known) < _REACH * unit]]))
    left, right, floor = edges[:-1], edges[1:], _size(f, unit)
    done: list[tuple[Array, Array, NDArray[np.int64]]] = []
    for halvings in range(_HALVINGS):
        fits = _fits(f, *_widened(left, right, known), floor)
        done.append((left[fits], right[fits], np.full(fits.sum(), halvings)))
        left, right = left[~fits], right[~fits]
        if len(left) == 0:
            break
        if len(left) > _MOST:
            nearest = np.argsort(np.abs(left + right), kind="stable")[:_MOST]
            left, right = left[nearest], right[nearest]
        middle = 0.5 * (left + right)
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    smooth = np.concatenate([r - l for l, r, _ in done[1:]]) if len(done) > 1 else np.empty(0)
    done.append((left, right, np.full(len(left), _HALVINGS)))
    columns = [np.concatenate(column) for column in zip(*done, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    length = float(min(unit, smooth.min(initial=unit)))
    return _Leaves(*(column[order] for column in columns)), length


def _widened(left: Array, right: Array, known: Array) -> tuple[Array, Array]:
    """The windows with their overlap, which does not go beyond a known point."""
    walls = np.concatenate([[-np.inf], known, [np.inf]])
    cell, width = np.searchsorted(known, 0.5 * (left + right)), right - left
    return np.maximum(left - _OVERLAP * width, walls[cell]), np.minimum(right + _OVERLAP * width, walls[cell + 1])


def _size(f: Function, unit: float) -> float:
    """|f| near 0, or if it is 0 there, further out: what is far below is rounding."""
    for reach in (1.0, 8.0, _REACH):
        with np.errstate(all="ignore"):
            values = np.abs(f(unit * np.linspace(-reach, reach, 101)))
        size = float(values[np.isfinite(values)].max(initial=0.0))
        if size > 0:
            break
    return size


def _series(f: Function, left: Array, right: Array) -> tuple[Array, Array]:
    """Values at the nodes and Chebyshev coefficients in each window, one row each."""
    z = _nodes(left, right)
    with np.errstate(all="ignore"):
        values = f(z.ravel()).reshape(z.shape)
        return values, values @ _FIT.T


def _nodes(left: Array, right: Array) -> Array:
    """Those of the polynomial in each window, one row each."""
    return np.asarray(0.5 * (left + right)[:, None] + 0.5 * (right - left)[:, None] * _NODES)


def _fits(f: Function, left: Array, right: Array, floor: float) -> NDArray[np.bool_]:
    """Where the polynomial of degree 17 fits; also where f is not finite, since nothing more can be learnt there."""
    values, series = _series(f, left, right)
    size = np.abs(values).max(axis=1, initial=0.0)
    with np.errstate(invalid="ignore"):
        last, variation = np.abs(series[:, -3:]).max(axis=1), np.ptp(values, axis=1)
        return np.asarray(~np.isfinite(size) | (last <= _ACCURACY * variation + _ROUNDING * (size + floor)))


# --- Points ---


class _Suspect(NamedTuple):
    """A point that may be a kink, known to a few widths of the windows there, and how often these were halved."""

    z: float
    width: float
    halvings: int


def _pinched(leaves: _Leaves) -> list[_Suspect]:
    """The runs of windows that were halved far more often than those to their left and to their right."""
    padded = np.pad(leaves.halvings, 10)
    nearby = np.array([padded[10 + shift : len(padded) - 10 + shift] for shift in range(-10, 11)])
    most = leaves.halvings == nearby.max(axis=0)
    low = np.maximum(nearby[:11].min(axis=0), nearby[10:].min(axis=0))
    points: list[_Suspect] = []
    for i in np.flatnonzero(most & (leaves.halvings >= low + _SHARPER)):
        at, width = 0.5 * float(leaves.left[i] + leaves.right[i]), float(leaves.right[i] - leaves.left[i])
        if not points or at - points[-1].z > 4 * width:  # otherwise it is the same run
            points.append(_Suspect(at, width, int(leaves.halvings[i])))
    return sorted(points, key=lambda point: abs(point.z))[:_SUSPECTS]


def _kind(f: Function, suspect: _Suspect, known: Array, unit: float) -> tuple[str, float]:
    """("kink" | "jump" | "rough" | "smooth", its place)."""
    z, width, halvings = suspect
    gap, floor = 4 * width, _size(f, unit)
    room = min(float(np.min(np.abs(known - z), initial=np.inf)), unit)
    reach = room * 0.5 ** np.arange(24.0)[::-1]
    reach = reach[reach >= 32 * gap]
    one_sided = _fits(f, z - reach, z - gap + 0 * reach, floor) & _fits(f, z + gap + 0 * reach, z + reach, floor)
    fitting = int(np.argmin(np.append(one_sided, False)))  # the shorter ones too: the ends of a window are seen badly
    if fitting == 0:
        return ("rough" if width > 0 and halvings >= _SINGULAR else "smooth"), z
    d = float(reach[fitting - 1])
    if width > 0 and _fits(f, np.array([z - d]), np.array([z + d]), floor).all():
        return "smooth", z
    return _crossing(f, suspect, d, floor)


def _crossing(f: Function, suspect: _Suspect, d: float, floor: float) -> tuple[str, float]:
    """The first derivative that jumps near z, and the place: there the two polynomials have all lower ones in common.

    A kink shrinks the windows to the width at which rounding hides it; a smooth bend stops earlier.
    """
    z, width, halvings = suspect
    gap, domains = 4 * width, ([z - d, z - 4 * width], [z + 4 * width, z + d])
    values, series = _series(f, *np.transpose(domains))
    if not np.isfinite(values).all():
        return "smooth", z
    left, right = (chebyshev.Chebyshev(row, domain=ends) for row, ends in zip(series, domains, strict=True))
    size, deepest = float(np.abs(values).max()) + floor, halvings >= _HALVINGS - 2
    if size == 0:  # zero all around
        return "smooth", z

    def jump(order: int, x: float) -> float:
        """Of that derivative at x, as the share of f that it makes at the distance d."""
        return float(right.deriv(order)(x) - left.deriv(order)(x)) * d**order / math.factorial(order) / size

    for order in (3, 2, 1):
        at = z
        for _ in range(5):  # Newton's method for the derivative below
            slope = order / d * jump(order, at)
            at = float(np.clip(at - jump(order - 1, at) / slope, z - d, z + d)) if slope else np.inf
        if abs(at - z) > gap or any(abs(jump(m, at)) > _NOISE[m] for m in range(order)):
            continue
        weight = abs(jump(order, at))
        hidden = d * (_ROUNDING * 16.0 ** (order + 1) / weight) ** (1 / order) if weight > _NOISE[order] else 0.0
        if hidden and (deepest or width <= 10 * hidden):
            return "kink", _rounded(at, 0.01 * d * _NOISE[order - 1] / weight)
    step = abs(jump(0, z)) * size
    # Left of a jump f is nearer to the left polynomial, right of it to the right one.
    low, high = z - gap, z + gap
    while deepest and low < (middle := 0.5 * (low + high)) < high:
        value = float(f(np.array([middle]))[0])
        low, high = (middle, high) if abs(value - left(middle)) < abs(value - right(middle)) else (low, middle)
    if deepest and step > 0 and (width == 0 or np.ptp(f(np.array([low, high]))) > 0.25 * step):
        # Less than 1e-8 of f is no jump to anybody: torch's Softplus cuts its tail at 2e-9.
        return ("jump" if step > 100 * _NOISE[0] * size else "kink"), _rounded(low, 0.0)
    return ("rough" if width > 0 and deepest else "smooth"), z


def _rounded(z: float, error: float) -> float:
    """z to as few decimals as its error allows: 6 rather than 5.999999999998."""
    for decimals in range(13):
        if abs(round(z, decimals) - z) <= max(error, 4 * float(np.spacing(abs(z)))):
            return float(round(z, decimals)) + 0.0
    return z


def scatter(f: Function, unit: float) -> float:
    """By how much of their size the values of f depart from a polynomial on windows so short that one should fit.

    The median over those of 64 windows of 1e-4 units in which f is not constant; 0 if f bends as shortly as that. Where
    f is below a thousandth of its largest value its size counts as that: in 1 - tanh(z)^2 the tail is all rounding.
    """
    left = unit * (np.linspace(-7.0, 7.0, 64) + 0.0123)
    values, series = _series(f, left, left + 1e-4 * unit)
    size, variation, last = np.abs(values).max(axis=1), np.ptp(values, axis=1), np.abs(series[:, -3:]).max(axis=1)
    with np.errstate(all="ignore"):
        floor = 1e-3 * size[np.isfinite(size)].max(initial=0.0)
        share = (last / np.maximum(size, floor))[(variation > 1e-12 * size) & (last < 0.05 * variation)]
    return float(np.median(share)) if len(share) > 8 else 0.0
