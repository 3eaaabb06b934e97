"""What counts as a number, a variance or a correlation: every public function checks its arguments here."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


def real(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, open_low: bool = False) -> Array:
    """`value` as a float64 array (0-d for a scalar), every entry finite and in [low, high].

    open_low excludes the lower end. Raises TypeError for bool, complex, object and str; ValueError outside the range.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} must be a number or a rectangular array, got {reprlib.repr(value)}") from error
    if array.dtype.kind not in "iuf":
        got = f"{reprlib.repr(value)} of type {type(value).__name__}"
        raise TypeError(f"{name} must be a real number or an array of them, got {got}")
    array = array.astype(np.float64)
    inside = (array > low if open_low else array >= low) & (array <= high) & np.isfinite(array)
    if not inside.all():
        index = tuple(int(i) for i in np.argwhere(~inside)[0])
        where = f" at index {index}" if array.ndim else ""
        raise ValueError(f"{name} must be {_range(low, high, open_low)}, got {float(array[index])!r}{where}")
    return array


def scalar(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, open_low: bool = False) -> float:
    """As `real`, for one number; raises TypeError for an array."""
    array = real(name, value, low=low, high=high, open_low=open_low)
    if array.ndim:
        raise TypeError(f"{name} must be a single number, got an array of shape {array.shape}")
    return float(array)


def integer(name: str, value: Any, *, low: int) -> int:
    """`value` as an int of at least `low`; raises TypeError for anything that is not an integer, ValueError below."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value!r}")
    return int(value)


def points(name: str, value: Any) -> tuple[float, ...]:
    """A number or a sequence of them, in increasing order and without repetitions."""
    return tuple(float(x) for x in np.unique(real(name, value)))


def function(name: str, value: Any) -> Function:
    """`value` if it can be called; raises TypeError otherwise."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {value!r} of type {type(value).__name__}")
    return value


def like(array: Array) -> Any:
    """A Python float for a 0-d array, the array itself otherwise."""
    return float(array) if np.ndim(array) == 0 else array


def _range(low: float, high: float, open_low: bool) -> str:
    if np.isinf(low) and np.isinf(high):
        return "finite"
    if np.isinf(high):
        return f"finite and {'>' if open_low else '>='} {low:g}"
    return f"in {'(' if open_low else '['}{low:g}, {high:g}]"
