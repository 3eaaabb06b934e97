"""How often a map that hardly moves a number has to be applied: repeated squaring instead of a million steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from afli._inputs import Array
from afli.correlation import series_through

_DEGREES = (32, 64, 128, 256)
_ENOUGH = 1e-13  # last coefficients from which more of them only follow rounding
_TOO_ROUGH = 1e-8  # and from which a million layers cannot be counted: a hundredth of a layer


class _Power(NamedTuple):
    """2^k steps at once: the logarithm of the fall of ln d, as a Chebyshev series of ln d on [low, high]."""

    series: Array
    low: float
    high: float

    def fall(self, x: Array | float) -> Array:
        """By how much ln d falls; relatively accurate."""
        return np.exp(
            chebyshev.chebval((2 * np.asarray(x) - self.low - self.high) / (self.high - self.low), self.series)
        )


def steps_until(fall: Callable[[Array], Array], start: float, goal: float) -> int | None:
    """The least number of steps that bring d from `start` to `goal` or below.

    Powers of the map are tabulated, each as the square of the one before, and the steps counted like the digits of a
    binary number.

    Parameters
    ----------
    fall
        By how much one step lowers x = ln d, for an array of x: > 0, relatively accurate, and such that a d never
        overtakes a larger one.
    start, goal
        0 < goal < start.

    Returns
    -------
    int or None
        None if it cannot be told for certain: the last step ends so close to the goal that the error of the tables
        decides, or `fall` is too rough for tables.
    """
    end, x = float(np.log(goal)), float(np.log(start))
    first, error = _fitted(fall, end, x)
    if first is None:
        return None
    powers = [first]
    while (square := _squared(powers[-1])) is not None:
        powers.append(square)
    steps = 0
    for k, power in reversed(list(enumerate(powers))):
        while x > end and x >= power.low and x - float(power.fall(x)) > end:
            x, steps = x - float(power.fall(x)), steps + 2**k
    share = (x - end) / float(first.fall(x))  # of the step that passes the goal
    uncertain = 1e-9 + (steps + 1) * (10 * error + 2e-13)  # twenty squarings round
    return steps + 1 if uncertain < share < 1 - uncertain else None


def _fitted(fall: Callable[[Array], Array], low: float, high: float) -> tuple[_Power | None, float]:
    """The series, and how large its last coefficients are; None if the function is too rough."""
    best: tuple[_Power | None, float] = (None, _TOO_ROUGH)
    for degree in _DEGREES:
        x = np.cos(np.pi * np.arange(degree + 1) / degree)
        values = np.asarray(fall(0.5 * (high - low) * x + 0.5 * (high + low)))
        if not np.all(values > 0):
            return None, _TOO_ROUGH
        series = series_through(np.log(values))
        rest = float(np.abs(series[-5:]).max())
        if rest < best[1]:
            best = _Power(series, low, high), rest
        if rest <= _ENOUGH:
            break
    return best


def _squared(power: _Power) -> _Power | None:
    """The square on the part of the interval where the first half of it stays inside; None if that is nothing."""
    low, high = power.low, power.high
    if high - float(power.fall(high)) <= low:
        return None
    inside, outside = high, low
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        stays = middle - float(power.fall(middle)) >= low
        inside, outside = (middle, outside) if stays else (inside, middle)

    def twice(x: Array) -> Array:
        once = power.fall(x)
        return once + power.fall(np.maximum(x - once, low))

    square, _ = _fitted(twice, inside, high)
    return square
