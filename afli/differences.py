"""Derivatives by central differences: the second route by which the book checks its formulas for slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_OFFSETS = np.array([-3, -2, -1, 1, 2, 3])
_WEIGHTS = np.array([-1, 9, -45, 45, -9, 1]) / 60


def derivative(
    f: Callable[[NDArray[np.float64]], ArrayLike], at: ArrayLike, step: ArrayLike
) -> NDArray[np.float64] | np.float64:
    """f'(at) from six points, `step` apart; the error is of order step^6, plus rounding over step.

    Parameters
    ----------
    f
        A function of arrays. It is called once, with the six points along a new first axis.
    at
        The points, any shape.
    step
        The distance of two neighbouring points, > 0; may depend on the point.
    """
    at, step = np.asarray(at, dtype=float), np.asarray(step, dtype=float)
    along = (6,) + (1,) * np.broadcast(at, step).ndim
    values = np.asarray(f(at + step * _OFFSETS.reshape(along)))
    return np.tensordot(_WEIGHTS, values, axes=1) / step
