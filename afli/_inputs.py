"""What counts as a number, a variance or a correlation: every public function checks its arguments here."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Many = NDArray[Any] | Sequence[Any]  # what gives an array back, where a number gives a number
Function = Callable[[Array], Array]
Layer = tuple[NDArray[Any], NDArray[Any]]  # W (n_out, n_in) and b (n_out,)

# Underflow means 0 here, also in a session in which numpy raises. A decorator of what is called from outside.
quiet_underflow = np.errstate(under="ignore")
# Where in the end it is looked at whether all is finite.
quiet = np.errstate(all="ignore")

WEIGHTS = ("gaussian", "orthogonal")  # the two kinds of random weights: independent normal entries, Haar matrices


def real(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, open_low: bool = False) -> Array:
    """`value` as a float64 array (0-d for a scalar), every entry finite and in [low, high].

    open_low excludes the lower end. Raises TypeError for bool, complex, object and str; ValueError outside the range.
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must not have masked entries, got {reprlib.repr(value)}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} must be a number or a rectangular array, got {reprlib.repr(value)}") from error
    except RuntimeError as error:  # a torch tensor that needs gradients, or lies on another device
        raise TypeError(f"{name} must be a number or an array, got a {type(value).__name__}: {error}") from error
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


def integer(name: str, value: Any, *, low: int, high: int = 2**53) -> int:
    """`value` as an int in [low, high], by default as far as floats count; raises TypeError for what is no integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value!r}")
    if int(value) > high:
        raise ValueError(f"{name} must be at most {high}, got {reprlib.repr(value)}")
    return int(value)


def together(**arrays: Array) -> list[Array]:
    """The arrays broadcast to one shape; ValueError, naming them, if they do not fit together."""
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays.values())
        raise ValueError(f"{', '.join(arrays)} must broadcast together, got shapes {shapes}") from None


def points(name: str, value: Any) -> tuple[float, ...]:
    """A number or a sequence of them, in increasing order and without repetitions."""
    return tuple(float(x) for x in np.unique(real(name, value)))


def function(name: str, value: Any) -> Function:
    """`value` if it can be called; raises TypeError otherwise."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {value!r} of type {type(value).__name__}")
    return value


def word(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value` if it is one of these words; raises ValueError otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {reprlib.repr(value)}")
    return str(value)


def text(name: str, value: Any) -> str:
    """`value` as a plain str that is not blank; raises TypeError for another type, ValueError for a blank one."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {reprlib.repr(value)} of type {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be blank, got {value!r}")
    return str(value)


def generator(rng: Any) -> np.random.Generator:
    """`rng` if it is a numpy Generator; raises TypeError otherwise."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator such as np.random.default_rng(0), got {reprlib.repr(rng)}")
    return rng


def array(name: str, value: Any, dimensions: int, shape: str) -> NDArray[Any]:
    """`value` as a float array of that many dimensions, checked as in `real`; float32 is kept."""
    checked = real(name, value)
    if checked.ndim != dimensions:
        raise ValueError(f"{name} must have shape {shape}, got {checked.shape}")
    given = np.asarray(value)
    return given if given.dtype == np.float32 else checked


def layer_of(layer: Any, number: int, n_in: int) -> Layer:
    """The pair (W, b), its shapes checked; its entries are not looked at, since the result is."""
    try:
        pair = tuple(layer)
        w, b = (np.asarray(each) for each in pair)
    except (TypeError, ValueError):
        raise TypeError(f"layers must be pairs (W, b), got {reprlib.repr(layer)} as layer {number}") from None
    if any(np.ma.isMaskedArray(each) for each in pair) or {w.dtype.kind, b.dtype.kind} - set("iuf"):
        raise TypeError(f"W and b of layer {number} must be arrays of real numbers, got {reprlib.repr(pair)}")
    if w.ndim != 2 or b.ndim != 1 or w.shape != (len(b), n_in):
        raise ValueError(
            f"W and b of layer {number} must have shapes (units, {n_in}) and (units,), got {w.shape} and {b.shape}"
        )
    return w, b


def like(array: Array) -> Any:
    """A Python float for a 0-d array, the array itself otherwise."""
    return float(array) if np.ndim(array) == 0 else array


def _range(low: float, high: float, open_low: bool) -> str:
    if np.isinf(low) and np.isinf(high):
        return "finite"
    if np.isinf(high):
        return f"finite and {'>' if open_low else '>='} {low:g}"
    return f"in {'(' if open_low else '['}{low:g}, {high:g}]"
