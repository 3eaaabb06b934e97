"""An activation of your own (Section 2.3): from a function, with or without its derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from afli._activation import Activation, looks_odd
from afli._inputs import Array, Function, function, points, scalar


def from_callable(
    f: Function, df: Function | None = None, kinks: Sequence[float] = (), *, name: str = "custom", scale: float = 1.0
) -> Activation:
    """An activation of your own.

    f: a vectorised function of a float64 array. df: its derivative; without it f is differentiated by differences on
    one side of the kinks, to about 1e-12 max(1, |f| / scale) if f is analytic on lengths of `scale`.
    kinks: the points where f is not twice differentiable; f itself must be continuous there. name: a label.
    scale: a length over which f is smooth between its kinks (0.02 for tanh(50 z)), in [1e-100, 1e100].
    Oddness is tested on a grid. Raises TypeError if f or df is not a hashable callable, ValueError if they do not map
    [-10, 10] to finite values of the same shape.
    """
    f, df = function("f", f), None if df is None else function("df", df)
    for key, value in (("f", f), ("df", df)):
        if value is not None and value.__hash__ is None:
            raise TypeError(f"{key} must be hashable (wrap it in a function), got {value!r}")
    edges = points("kinks", kinks)
    scale = scalar("scale", scale, low=1e-100, high=1e100)
    gradient = df if df is not None else one_sided_differences(f, edges, 0.02 * scale)
    for key, g in (("f", f), ("df", gradient)):
        _require_finite(key, g, name)
    slope = float(np.mean(gradient(np.array([-1e-9, 1e-9]) * scale)))
    rounding = 1e-15 if df is not None else 1e-12
    params = (("name", name), ("f", f), ("df", df), ("scale", scale))
    return Activation(
        "custom",
        params,
        f,
        gradient,
        kinks=edges,
        is_odd=looks_odd(f, edges, scale),
        slope=slope,
        scale=scale,
        rounding=rounding,
    )


def _require_finite(key: str, g: Function, name: str) -> None:
    grid = np.linspace(-10.0, 10.0, 2001)
    values = np.asarray(g(grid), dtype=float)
    if values.shape != grid.shape:
        raise ValueError(f"{key} must return an array of its argument's shape, got {values.shape} from {grid.shape}")
    if not np.isfinite(values).all():
        where = grid[~np.isfinite(values)][0]
        raise ValueError(f"{key} must be finite on [-10, 10], got {values[grid == where][0]} at {where:g} for {name}")


_ORDER = 10


def one_sided_differences(f: Function, kinks: tuple[float, ...], step: float) -> Function:
    """f' from eleven equally spaced points, as central as the kinks allow: none of them lies beyond a kink.

    Where two kinks are close the spacing shrinks.
    """
    ends = np.array([-np.inf, *kinks, np.inf])
    spacing = np.minimum(step, np.diff(ends) / (_ORDER + 2))
    index = np.arange(_ORDER + 1.0)
    # The derivative at node j of the polynomial through all nodes, in barycentric form.
    alternating = (-1) ** index * special.binom(_ORDER, index)
    weights = alternating / alternating[:, None] / (index[:, None] - index + np.eye(_ORDER + 1))
    np.fill_diagonal(weights, 0.0)
    np.fill_diagonal(weights, -weights.sum(axis=1))

    def gradient(z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        piece = np.searchsorted(kinks, z)
        h = spacing[piece]
        room_left, room_right = (z - ends[piece]) / h, (ends[piece + 1] - z) / h
        node = np.clip(_ORDER // 2, np.ceil(_ORDER - room_right), np.floor(room_left)).astype(int)
        stencil = z[..., None] + h[..., None] * (index - node[..., None])
        return np.sum(weights[node] * f(stencil), axis=-1) / h

    return gradient
