"""An activation of your own (Section 2.3): from a function, with or without its derivative.

What the caller says of the function is tested, and what he does not say is found: kinks and the length over which it
bends by `afli.kinks`, the derivative by differences of two step sizes, straight pieces by their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from afli import kinks as kink_search
from afli._activation import Activation, grid, looks_odd
from afli._inputs import Array, Function, function, points, scalar

_ORDER = 10  # of the differences: eleven points
_STEP = 0.02  # scales between them: truncation and rounding are both about 1e-13 for tanh
_REMEDY = (
    "write it with numpy (np.tanh for math.tanh), or wrap it: np.vectorize(f) for a function of one number, "
    "lambda z: f(torch.from_numpy(z)).numpy() for one of a torch tensor"
)


def from_callable(
    f: Function,
    df: Function | None = None,
    kinks: Sequence[float] | None = None,
    *,
    name: str = "custom",
    scale: float | None = None,
    piecewise_linear: bool = False,
) -> Activation:
    """An activation of your own.

    What can be tested is tested: that f acts on each number by itself, in float64 and the same way every time, that it
    is continuous, that df is its derivative (to 1e-9 of its size, or 1e-7 beyond 7 scales). It is looked at on
    [-100, 100] scales, and called on [-1000, 1000], where it may be infinite but must not raise. If f is straight
    between its kinks the theory takes the closed route. f is called later too; if its values have changed by then,
    that is an error.

    Parameters
    ----------
    f
        A vectorised function of a float64 array; it need not accept other shapes than (n,), and may overwrite it.
    df
        Its derivative. Without it f is differentiated by differences on one side of the kinks, to about
        1e-12 max(1, |f| / scale); two step sizes are compared, and more than 1e-8 between them is an error.
    kinks
        The points where f is not twice differentiable; f itself must be continuous there. Without them they are found.
    name
        A label.
    scale
        A length over which f is smooth between its kinks, in [1e-100, 1e100]: at most that of the shortest bend, which
        is found. It is the unit in which f is looked at; 1 unless given.
    piecewise_linear
        Say that f is straight between its kinks. It is found without saying, but said it is held to be an error if not.

    Raises
    ------
    TypeError
        If f or df is not a hashable callable, or does not return real float64 numbers, if name is not a str.
    ValueError
        If f or df is not finite on [-10, 10], acts on an array as a whole, scatters or jumps, if df is not the
        derivative of f, if kinks leaves one out, if the derivative cannot be found, if f is so steep or so flat that
        f^2 or f'^4 is no float, or f is not piecewise linear.

    Examples
    --------
    >>> from_callable(lambda z: np.clip(z, 0, 6), name="relu6").kinks
    (0.0, 6.0)
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r} of type {type(name).__name__}")
    unit = 1.0 if scale is None else scalar("scale", scale, low=1e-100, high=1e100)
    declared = () if kinks is None else points("kinks", kinks)
    if any(abs(z) > 1e100 for z in declared):
        raise ValueError(f"kinks must be in [-1e+100, 1e+100], got {max(declared, key=abs):g}")
    own = _Own("f", f, name, unit)
    own_slope = None if df is None else _Own("df", df, name, unit)
    edges, length, seen = _surveyed(own, declared, kinks is not None, own_slope is not None, unit)
    slopes = _straight(own, edges, seen, unit)
    if slopes is None and piecewise_linear:
        raise ValueError(
            f"f must be straight between its kinks {edges} if piecewise_linear is said, and is not: {name}"
        )
    gradient: Function
    if slopes is None:
        gradient, error = _differentiated(own, edges, length)
    else:
        gradient, error = Steps(edges, slopes), np.zeros(len(grid(length)))
    if own_slope is not None:
        _compare(own_slope, gradient, error, edges, length, name)
        gradient = own_slope if slopes is None else gradient
    elif error.max() > 1e-8:
        at = float(grid(length)[np.argmax(error)])
        raise ValueError(
            f"the derivative of {name} at z = {at:g} cannot be found to 8 digits: differences of two step sizes are "
            f"{error.max():.1g} apart: give df, or a scale"
        )
    radius, bound = (0.0, np.inf) if slopes is None else _radius_and_bound(own, edges, slopes)
    params = (("name", name), ("f", f), ("df", df), ("scale", scale))
    near = np.abs(grid(length)) <= 10 * length  # further out |f| and its rounding grow
    steepest = float(np.abs(gradient(grid(length)[near])).max())
    # So that f^2 and f'^4 are floats, as for the families.
    if steepest > 0 and not (1e-70 <= steepest <= 1e70 and 1e-140 <= steepest * length <= 1e140):
        raise ValueError(
            f"f must have slopes in [1e-70, 1e70] and heights in [1e-140, 1e140], got a slope of {steepest:g} over"
            f" {length:g} for {name}: multiply it by a constant"
        )
    rounding = 1e-15 if slopes is not None or df is not None else max(1e-12, float(error[near].max()))
    return Activation(
        "custom",
        params,
        own,
        gradient,
        kinks=edges,
        is_odd=looks_odd(own, edges, length),
        slope=float(np.mean(gradient(np.array([-1e-9, 1e-9]) * length))),
        scale=length,
        rounding=rounding,
        piece_slopes=slopes,
        linear_radius=radius,
        bound=bound,
    )


# --- The function ---


class _Own:
    """A caller's function, called with a copy of a flat array; what it returns is checked, and that it is unchanged."""

    def __init__(self, key: str, f: Any, name: str, unit: float) -> None:
        self.key, self.f, self.name = key, function(key, f), name
        if f.__hash__ is None:
            raise TypeError(f"{key} must be hashable (wrap it in a function), got {f!r}")
        self._require_good(unit)
        side = unit * np.array([1e-3, 0.03, 0.1, 0.3, 0.7, 1.1, 1.7, 2.9, 5.3, 9.7, 31.0, 97.0])
        self.watched = np.concatenate([-side, [0.0], side])
        with np.errstate(all="ignore"):
            self.seen = self._values(self.watched)

    def __call__(self, z: Array) -> Array:
        with np.errstate(all="ignore"):
            now = self._values(self.watched)
        if not (np.array_equal(now, self.seen, equal_nan=True) or np.allclose(now, self.seen, 1e-12, 0, True)):
            raise ValueError(
                f"{self.key} of {self.name} gives other values than when the activation was made: make it again"
            )
        return self._values(z)

    def _values(self, z: Array) -> Array:
        flat = np.array(z, dtype=np.float64).ravel()
        if flat.size == 0:
            return np.zeros(np.shape(z))
        try:
            values = np.asarray(self.f(flat.copy()))
        except Exception as error:  # whatever a caller's function raises
            raise TypeError(
                f"{self.key} must take a float64 array and return one of its shape, "
                f"but it raised {type(error).__name__}: {error} (arguments up to {np.abs(flat).max():g}); {_REMEDY}"
            ) from error
        if values.shape != flat.shape:
            raise ValueError(
                f"{self.key} must return an array of its argument's shape, got {values.shape} from {flat.shape}"
            )
        if values.dtype.kind not in "biufO" or values.dtype in (np.float16, np.float32):
            raise TypeError(f"{self.key} must return real numbers in float64, got {values.dtype}: {self.name}")
        try:
            return values.astype(np.float64).reshape(np.shape(z))
        except (TypeError, ValueError):
            raise TypeError(f"{self.key} must return real numbers, got {values[0]!r}: {self.name}") from None

    def _require_good(self, unit: float) -> None:
        z = np.linspace(-10.0, 10.0, 2001)
        values = self._values(z)
        if not np.isfinite(values).all():
            at = z[~np.isfinite(values)][0]
            raise ValueError(
                f"{self.key} must be finite on [-10, 10], got {values[z == at][0]} at {at:g} for {self.name}"
            )
        slack = 1e-12 * float(np.abs(values).max())
        if np.any(np.abs(self._values(z) - values) > slack):
            raise ValueError(f"{self.key} must give the same values each time it is called: {self.name}")
        if np.any(np.abs(self._values(z[700::-2]) - values[700::-2]) > slack):
            raise ValueError(
                f"{self.key} must act on each number by itself, whatever else is in the array: {self.name}"
            )
        scatter = kink_search.scatter(self._values, unit)
        if scatter > 1e-12:
            raise ValueError(
                f"{self.key} must be computed in float64, but its values scatter by {scatter:.1g} of their size "
                f"(float32 inside?): {self.name}"
            )


def _surveyed(
    f: _Own, declared: tuple[float, ...], said: bool, has_slope: bool, unit: float
) -> tuple[Any, float, Array]:
    """The kinks, the length over which f is smooth between them, and the points at which f was looked at."""
    found = kink_search.survey(f, declared, unit)
    if found.jumps:
        raise ValueError(f"f must be continuous, but {f.name} jumps at z = {_listed(found.jumps)}")
    rough = [z for z in found.rough if not any(abs(z - d) < 1e-3 * unit for d in declared)]
    if rough or (found.rough and not has_slope):
        remedy = "declare them as kinks, and give df" if not has_slope else "declare them as kinks"
        raise ValueError(f"{f.name} is not smooth on a side of z = {_listed(found.rough)}: {remedy}")
    if said and found.kinks:
        raise ValueError(
            f"kinks must hold every point where f is not twice differentiable, but z = {_listed(found.kinks)} is "
            f"missing for {f.name} (without kinks they are found)"
        )
    # tanh asks for windows of 1, arctan, as smooth to the integrals, for 1/2.
    return tuple(sorted({*declared, *found.kinks})), min(unit, 2 * found.length), found.seen


def _listed(z: Sequence[float]) -> str:
    return ", ".join(f"{x:.10g}" for x in z[:4]) + (f" and {len(z) - 4} more" if len(z) > 4 else "")


# --- Its derivative ---


class Differences:
    """f' from eleven equally spaced points, as central as the kinks allow: none of them lies beyond a kink.

    Where two kinks are close the spacing shrinks.
    """

    def __init__(self, f: Function, kinks: tuple[float, ...], step: float) -> None:
        self.f, self.kinks = f, kinks
        self.ends = np.array([-np.inf, *kinks, np.inf])
        self.spacing = np.minimum(step, np.diff(self.ends) / (_ORDER + 2))
        self.index = np.arange(_ORDER + 1.0)
        # The derivative at node j of the polynomial through all nodes, in barycentric form.
        alternating = (-1) ** self.index * special.binom(_ORDER, self.index)
        weights = alternating / alternating[:, None] / (self.index[:, None] - self.index + np.eye(_ORDER + 1))
        np.fill_diagonal(weights, 0.0)
        np.fill_diagonal(weights, -weights.sum(axis=1))
        self.weights = weights

    def __call__(self, z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        piece = np.searchsorted(self.kinks, z)
        h = self.spacing[piece]
        room_left, room_right = (z - self.ends[piece]) / h, (self.ends[piece + 1] - z) / h
        node = np.clip(_ORDER // 2, np.ceil(_ORDER - room_right), np.floor(room_left)).astype(int)
        stencil = z[..., None] + h[..., None] * (self.index - node[..., None])
        return np.asarray(np.sum(self.weights[node] * self.f(stencil), axis=-1) / h)


def _differentiated(f: _Own, kinks: tuple[float, ...], length: float) -> tuple[Differences, Array]:
    """Differences of f, and their error on the grid of the length, as a share of |f'|.

    The error is how far they are from those of half the step, but no less than its median, since what rounding leaves
    is small in places by chance. exp(10 z) needs shorter steps than its length: the best of four is taken.
    """
    z, best = grid(length), np.inf
    for halvings in range(4):
        coarse, fine = (Differences(f, kinks, _STEP * length / 2**h) for h in (halvings, halvings + 1))
        with np.errstate(all="ignore"):
            values = fine(z)
            error = np.nan_to_num(np.abs(coarse(z) - values) / _slope_size(values, length), nan=0.0, posinf=0.0)
        error = np.maximum(error, np.median(error))
        if error.max() < 0.5 * best:
            found, best = (coarse, error), float(error.max())
        if best <= 1e-11:  # ten times what rounding leaves of tanh
            break
    return found


def _slope_size(slope: Array, length: float) -> Array:
    """|f'| on the grid, but at least its size near 0: where it vanishes, errors are a share of that."""
    finite = np.where(np.isfinite(slope), np.abs(slope), 0.0)
    near = float(finite[np.abs(grid(length)) <= 3 * length].max())
    return np.maximum(finite, max(near, 1e-3 * float(finite.max()), 1e-300))


def _compare(df: _Own, differences: Function, error: Array, kinks: tuple[float, ...], length: float, name: str) -> None:
    """Raise ValueError if df is not what differences of f give, off the kinks."""
    z = grid(length)
    with np.errstate(all="ignore"):
        given, found = df(z), differences(z)
        off = np.abs(given - found) / _slope_size(found, length)
    near = np.min(np.abs(z[:, None] - np.array([*kinks, np.inf])), axis=1) <= 1e-9 * np.maximum(length, np.abs(z))
    off[near | ~np.isfinite(found)] = 0.0
    # Far out df may lose digits, where its argument is clipped against overflow.
    wrong = ~(off <= np.where(np.abs(z) <= 7 * length, 1e-9, 1e-7) + 100 * error)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[np.argmin(np.abs(z[wrong]))])
        raise ValueError(
            f"df must be the derivative of f: at z = {z[at]:.6g} it is {given[at]:.10g}, differences of f give "
            f"{found[at]:.10g} for {name}"
        )


# --- Straight pieces ---


class Steps:
    """The derivative of a piecewise-linear function."""

    def __init__(self, kinks: ArrayLike, slopes: ArrayLike) -> None:
        self.kinks, self.slopes = np.asarray(kinks), np.asarray(slopes)

    def __call__(self, z: Array) -> Array:
        return self.slopes[np.searchsorted(self.kinks, z)]


def _straight(f: _Own, kinks: tuple[float, ...], seen: Array, unit: float) -> tuple[float, ...] | None:
    """The slopes left of, between and right of the kinks, if f is straight there; None if not.

    It is looked at wherever the search for kinks looked, at four points between neighbouring kinks, and far out, a
    hundred points a side up to 10^6 units, or 10^6 where that is further. A line through the ends of each piece,
    outer pieces cut at 100 units, must meet all of these values to rounding.
    """
    reach = max([unit, *(abs(z) for z in kinks)])
    ends = np.array([-100 * reach, *kinks, 100 * reach])
    side = reach * np.geomspace(100.0, 1e6 * max(1.0, 1 / reach), 100)
    between = ends[:-1, None] + np.diff(ends)[:, None] * np.array([0.1, 0.37, 0.5, 0.81])
    z = np.concatenate([-side, seen, between.ravel(), side])
    try:
        with np.errstate(all="ignore"):
            values, found = f(ends), f(z)
    except TypeError:  # f is not made for numbers so far out; a straight line would be
        return None
    if not (np.isfinite(values).all() and np.isfinite(found).all()):
        return None
    slopes, piece = np.diff(values) / np.diff(ends), np.searchsorted(kinks, z)
    line = values[piece] + slopes[piece] * (z - ends[piece])
    size = np.maximum(np.maximum(np.abs(values[piece]), np.abs(values[piece + 1])), np.abs(line))
    if np.any(np.abs(found - line) > 1e-14 * size):
        return None
    return tuple(float(s) for s in slopes)


def _radius_and_bound(f: _Own, kinks: tuple[float, ...], slopes: tuple[float, ...]) -> tuple[float, float]:
    """The largest a with f(z) = f'(0) z on [-a, a], and the largest |f|."""
    turns = [abs(z) for z, left, right in zip(kinks, slopes, slopes[1:], strict=False) if left != right]
    radius = min(turns, default=np.inf) if f(np.zeros(1))[0] == 0 else 0.0
    bound = float(np.abs(f(np.array(kinks or (0.0,)))).max()) if slopes[0] == slopes[-1] == 0 else np.inf
    return radius, bound
